/* bare.c - the limit: memcpy on a bare mapping, with bounds checks and no lock
 *
 * SPDX-License-Identifier: MIT
 *
 * What this one does every other peer does as well.  Only who does without
 * memcpy, too, and copies a few bytes on the spot, can be faster.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <ammap.h>

#include "shared.h"

struct ammap {
        unsigned char *data;
        uint64_t size;
        struct shared shared; /* for processes */
};

int ammap_new(ammap_t **map, uint64_t size)
{
        *map = calloc(1, sizeof(**map));
        if (!*map)
                return -ENOMEM;
        (*map)->size = size;
        (*map)->data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if ((*map)->data == MAP_FAILED) {
                free(*map);
                *map = NULL;
                return -errno;
        }
        return 0;
}

/* With fd < 0 a new one. */
static int attach(ammap_t **map, int fd, uint64_t size)
{
        ammap_t *new_map = calloc(1, sizeof(*new_map));
        int rc;

        *map = NULL;
        if (!new_map)
                return -ENOMEM;
        rc = fd < 0 ? shared_new(&new_map->shared, size) : shared_map(&new_map->shared, shared_duplicate(fd));
        if (rc < 0) {
                free(new_map);
                return rc;
        }
        new_map->data = new_map->shared.base + SHARED_LOCK_ROOM;
        new_map->size = new_map->shared.size - SHARED_LOCK_ROOM;
        *map = new_map;
        return 0;
}

int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        if (options->lanes > 1)
                return AMMAP_ERR_UNSUPPORTED;
        return options->share == AMMAP_SHARED ? attach(map, -1, size) : ammap_new(map, size);
}

int ammap_import(ammap_t **map, int fd, const ammap_options_t *options)
{
        (void)options;
        return attach(map, fd, 0);
}

int ammap_export(ammap_t *map, unsigned rights, int *fd)
{
        (void)rights;
        *fd = shared_duplicate(map->shared.fd);
        return *fd < 0 ? -errno : 0;
}

int ammap_free(ammap_t *map)
{
        if (map->shared.base)
                shared_free(&map->shared);
        else
                munmap(map->data, map->size);
        free(map);
        return 0;
}

void *ammap_as_mut_ptr(ammap_t *map)
{
        return map->data;
}

static inline bool outside(const ammap_t *map, uint64_t offset, uint64_t length)
{
        return offset > map->size || length > map->size - offset;
}

int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        memcpy(buffer, map->data + offset, length);
        return 0;
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        memcpy(map->data + offset, data, length);
        return 0;
}

int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        slice->data = map->data + offset;
        slice->length = length;
        memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

int ammap_slice_release(ammap_slice_t *slice)
{
        slice->data = NULL;
        return 0;
}

int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        slice->data = map->data + offset;
        slice->length = length;
        memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

int ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        slice->data = NULL;
        return 0;
}
