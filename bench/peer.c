/* peer.c - loads the libraries that are measured
 *
 * SPDX-License-Identifier: MIT
 */
#include <dlfcn.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

/* POSIX lets an object pointer from dlsym hold a function; ISO C has no cast
 * for that, hence the copy. */
static void find(void *library, const struct peer *peer, const char *name, bool needed, void *pointer)
{
        void *symbol = dlsym(library, name);

        if (!symbol && needed)
                errx(1, "%s: %s", peer->name, dlerror());
        memcpy(pointer, &symbol, sizeof(symbol));
}

void peer_load(struct peer *peer, char *name_and_path)
{
        char *path = strchr(name_and_path, '=');
        void *library;

        if (!path)
                errx(2, "%s: NAME=LIBRARY expected", name_and_path);
        *path++ = '\0';
        peer->name = name_and_path;
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library)
                errx(1, "%s: %s", peer->name, dlerror());
        find(library, peer, "ammap_new", true, &peer->new_map);
        find(library, peer, "ammap_free", true, &peer->free_map);
        find(library, peer, "ammap_as_mut_ptr", true, &peer->address);
        find(library, peer, "ammap_read_into", true, &peer->read_into);
        find(library, peer, "ammap_update_region", true, &peer->update);
        find(library, peer, "ammap_as_slice", true, &peer->take);
        find(library, peer, "ammap_slice_release", true, &peer->release);
        find(library, peer, "ammap_as_mut_slice", true, &peer->take_mut);
        find(library, peer, "ammap_mut_slice_release", true, &peer->release_mut);
        find(library, peer, "ammap_new_with", false, &peer->new_with);
        find(library, peer, "ammap_version", false, &peer->version);
}

ammap_t *peer_new(const struct peer *peer, uint64_t size, const ammap_options_t *options)
{
        ammap_t *map = NULL;
        int rc;

        if (options && !peer->new_with)
                return NULL;
        rc = options ? peer->new_with(&map, size, options) : peer->new_map(&map, size);
        if (rc < 0)
                errx(1, "%s: a map of %llu bytes: error %d", peer->name, (unsigned long long)size, rc);
        return map;
}

void peer_free(const struct peer *peer, ammap_t *map)
{
        int rc = peer->free_map(map);

        if (rc < 0)
                errx(1, "%s: free: error %d", peer->name, rc);
}
