/* boost.cc - Boost.Interprocess: anonymous_shared_memory and its sharable mutex
 *
 * SPDX-License-Identifier: MIT
 *
 * Among threads the mutex lies in the handle, not in the region, so that a map
 * of one page costs Boost one page; between processes, before the data.
 */
#include <cerrno>
#include <cstring>
#include <new>

#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>

#include <ammap.h>

#include "shared.h"

namespace bi = boost::interprocess;

struct ammap {
        explicit ammap(uint64_t bytes)
            : region(bi::anonymous_shared_memory(bytes)), data(static_cast<unsigned char *>(region.get_address())),
              size(bytes), mutex(&own_mutex)
        {
        }

        explicit ammap(const struct shared &memory)
            : shared(memory), data(memory.base + SHARED_LOCK_ROOM), size(memory.size - SHARED_LOCK_ROOM),
              mutex(reinterpret_cast<bi::interprocess_sharable_mutex *>(memory.base))
        {
        }

        ~ammap()
        {
                if (shared.base)
                        shared_free(&shared);
        }

        bool outside(uint64_t offset, uint64_t length) const
        {
                return offset > size || length > size - offset;
        }

        bi::mapped_region region;
        struct shared shared = {};
        unsigned char *data;
        uint64_t size;
        bi::interprocess_sharable_mutex own_mutex;
        bi::interprocess_sharable_mutex *mutex;
};

extern "C" int ammap_new(ammap_t **map, uint64_t size)
{
        try {
                *map = new ammap(size);
                return 0;
        } catch (...) {
                *map = nullptr;
                return -ENOMEM;
        }
}

extern "C" int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        struct shared memory;
        int rc;

        if (options->lanes > 1)
                return AMMAP_ERR_UNSUPPORTED;
        if (options->share != AMMAP_SHARED)
                return ammap_new(map, size);
        rc = shared_new(&memory, size);
        if (rc < 0)
                return rc;
        new (memory.base) bi::interprocess_sharable_mutex;
        *map = new ammap(memory);
        return 0;
}

extern "C" int ammap_import(ammap_t **map, int fd, const ammap_options_t *)
{
        struct shared memory;
        int rc = shared_map(&memory, shared_duplicate(fd));

        if (rc < 0)
                return rc;
        *map = new ammap(memory);
        return 0;
}

extern "C" int ammap_export(ammap_t *map, unsigned, int *fd)
{
        *fd = shared_duplicate(map->shared.fd);
        return *fd < 0 ? -errno : 0;
}

extern "C" int ammap_free(ammap_t *map)
{
        delete map;
        return 0;
}

extern "C" void *ammap_as_mut_ptr(ammap_t *map)
{
        return map->data;
}

extern "C" int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex->lock_sharable();
        std::memcpy(buffer, map->data + offset, length);
        map->mutex->unlock_sharable();
        return 0;
}

extern "C" int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex->lock();
        std::memcpy(map->data + offset, data, length);
        map->mutex->unlock();
        return 0;
}

extern "C" int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex->lock_sharable();
        slice->data = map->data + offset;
        slice->length = length;
        std::memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

extern "C" int ammap_slice_release(ammap_slice_t *slice)
{
        ammap_t *map;

        std::memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = nullptr;
        map->mutex->unlock_sharable();
        return 0;
}

extern "C" int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex->lock();
        slice->data = map->data + offset;
        slice->length = length;
        std::memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

extern "C" int ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        ammap_t *map;

        std::memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = nullptr;
        map->mutex->unlock();
        return 0;
}
