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

/* A system, or a build of libammap, may have no sharing. */
static bool shares(const struct peer *peer)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        if (!peer->export_map || !peer->import_map)
                return false;
        options.share = AMMAP_SHARED;
        map = peer_new(peer, 4096, &options);
        if (map)
                peer_free(peer, map);
        return map;
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
        find(library, peer, "ammap_new", false, &peer->new_map);
        find(library, peer, "ammap_free", true, &peer->free_map);
        find(library, peer, "ammap_as_mut_ptr", true, &peer->address);
        find(library, peer, "ammap_read_into", true, &peer->read_into);
        find(library, peer, "ammap_update_region", true, &peer->update);
        find(library, peer, "ammap_as_slice", true, &peer->take);
        find(library, peer, "ammap_slice_release", true, &peer->release);
        find(library, peer, "ammap_as_mut_slice", true, &peer->take_mut);
        find(library, peer, "ammap_mut_slice_release", true, &peer->release_mut);
        find(library, peer, "ammap_new_with", false, &peer->new_with);
        find(library, peer, "ammap_try_read_into", false, &peer->try_read);
        find(library, peer, "ammap_try_update_region", false, &peer->try_update);
        find(library, peer, "ammap_mut_slice_downgrade", false, &peer->downgrade);
        find(library, peer, "ammap_open", false, &peer->open_map);
        find(library, peer, "ammap_wait_u32_peer", false, &peer->wait_peer);
        find(library, peer, "ammap_export", false, &peer->export_map);
        find(library, peer, "ammap_import", false, &peer->import_map);
        find(library, peer, "ammap_atomic_u32_slice", false, &peer->view);
        find(library, peer, "ammap_u32_view_release", false, &peer->release_view);
        find(library, peer, "ammap_wait_u32", false, &peer->wait);
        find(library, peer, "ammap_wake_u32", false, &peer->wake);
        find(library, peer, "ammap_version", false, &peer->version);
        peer->threads = peer->new_map;
        peer->processes = shares(peer);
}

bool peer_can(const struct peer *peer, bool processes)
{
        return processes ? peer->processes : peer->threads;
}

ammap_t *peer_new(const struct peer *peer, uint64_t size, const ammap_options_t *options)
{
        ammap_t *map = NULL;
        int rc;

        if (options && !peer->new_with)
                return NULL;
        rc = options ? peer->new_with(&map, size, options) : peer->new_map(&map, size);
        if (rc == AMMAP_ERR_UNSUPPORTED)
                return NULL;
        if (rc < 0)
                errx(1, "%s: a map of %llu bytes: error %d", peer->name, (unsigned long long)size, rc);
        return map;
}

ammap_t *peer_share(const struct peer *peer, uint64_t size, int *fd)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        options.share = AMMAP_SHARED;
        map = peer_new(peer, size, &options);
        rc = peer->export_map(map, AMMAP_READ | AMMAP_WRITE, fd);
        if (rc < 0)
                errx(1, "%s: export: error %d", peer->name, rc);
        return map;
}

/* What is already there is in the way of the next. */
ammap_t *peer_import(const struct peer *peer, int fd, int n)
{
        ammap_t *map = NULL;

        for (; n >= 0; n--) {
                int rc = peer->import_map(&map, fd, NULL);

                if (rc < 0)
                        errx(1, "%s: import: error %d", peer->name, rc);
        }
        return map;
}

void peer_free(const struct peer *peer, ammap_t *map)
{
        int rc = peer->free_map(map);

        if (rc < 0)
                errx(1, "%s: free: error %d", peer->name, rc);
}
