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

struct ammap {
        unsigned char *data;
        uint64_t size;
};

int ammap_new(ammap_t **map, uint64_t size)
{
        *map = malloc(sizeof(**map));
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

int ammap_free(ammap_t *map)
{
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

void ammap_slice_release(ammap_slice_t *slice)
{
        slice->data = NULL;
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

void ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        slice->data = NULL;
}
