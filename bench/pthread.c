/* pthread.c - what one writes by hand: mmap and a pthread_rwlock
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <ammap.h>

struct ammap {
        unsigned char *data;
        uint64_t size;
        pthread_rwlock_t lock;
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
        return -pthread_rwlock_init(&(*map)->lock, NULL);
}

int ammap_free(ammap_t *map)
{
        pthread_rwlock_destroy(&map->lock);
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
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_rwlock_rdlock(&map->lock);
        if (rc)
                return -rc;
        memcpy(buffer, map->data + offset, length);
        return -pthread_rwlock_unlock(&map->lock);
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_rwlock_wrlock(&map->lock);
        if (rc)
                return -rc;
        memcpy(map->data + offset, data, length);
        return -pthread_rwlock_unlock(&map->lock);
}

int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_rwlock_rdlock(&map->lock);
        if (rc)
                return -rc;
        slice->data = map->data + offset;
        slice->length = length;
        memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

int ammap_slice_release(ammap_slice_t *slice)
{
        ammap_t *map;

        memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = NULL;
        pthread_rwlock_unlock(&map->lock);
        return 0;
}

int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_rwlock_wrlock(&map->lock);
        if (rc)
                return -rc;
        slice->data = map->data + offset;
        slice->length = length;
        memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

int ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        ammap_t *map;

        memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = NULL;
        pthread_rwlock_unlock(&map->lock);
        return 0;
}
