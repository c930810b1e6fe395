/* mutex.c - what one writes by hand between processes: a pthread_mutex in the shared memory
 *
 * SPDX-License-Identifier: MIT
 *
 * Only for processes: among threads pthread.c is what one writes.  A plain
 * mutex: it hangs all others when its owner dies.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <ammap.h>

#include "shared.h"

struct ammap {
        unsigned char *data;
        uint64_t size;
        pthread_mutex_t *mutex;
        struct shared shared;
};

/* With fd < 0 a new one. */
static int attach(ammap_t **map, int fd, uint64_t size)
{
        ammap_t *new_map = malloc(sizeof(*new_map));
        int rc;

        *map = NULL;
        if (!new_map)
                return -ENOMEM;
        rc = fd < 0 ? shared_new(&new_map->shared, size) : shared_map(&new_map->shared, shared_duplicate(fd));
        if (rc < 0) {
                free(new_map);
                return rc;
        }
        new_map->mutex = (pthread_mutex_t *)(void *)new_map->shared.base;
        new_map->data = new_map->shared.base + SHARED_LOCK_ROOM;
        new_map->size = new_map->shared.size - SHARED_LOCK_ROOM;
        *map = new_map;
        return 0;
}

int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        pthread_mutexattr_t attributes;
        int rc;

        if (options->share != AMMAP_SHARED || options->lanes > 1)
                return AMMAP_ERR_UNSUPPORTED;
        rc = attach(map, -1, size);
        if (rc < 0)
                return rc;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        return -pthread_mutex_init((*map)->mutex, &attributes);
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
        shared_free(&map->shared);
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
        rc = pthread_mutex_lock(map->mutex);
        if (rc)
                return -rc;
        memcpy(buffer, map->data + offset, length);
        return -pthread_mutex_unlock(map->mutex);
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_mutex_lock(map->mutex);
        if (rc)
                return -rc;
        memcpy(map->data + offset, data, length);
        return -pthread_mutex_unlock(map->mutex);
}

int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_mutex_lock(map->mutex);
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
        pthread_mutex_unlock(map->mutex);
        return 0;
}

int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        int rc;

        if (outside(map, offset, length))
                return AMMAP_ERR_BOUNDS;
        rc = pthread_mutex_lock(map->mutex);
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
        pthread_mutex_unlock(map->mutex);
        return 0;
}
