/* boost.cc - Boost.Interprocess: anonymous_shared_memory and its sharable mutex
 *
 * SPDX-License-Identifier: MIT
 *
 * The mutex lies in the handle, not in the region, so that a map of one page
 * costs Boost one page.
 */
#include <cerrno>
#include <cstring>
#include <new>

#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>

#include <ammap.h>

namespace bi = boost::interprocess;

struct ammap {
        explicit ammap(uint64_t bytes)
            : region(bi::anonymous_shared_memory(bytes)), data(static_cast<unsigned char *>(region.get_address())),
              size(bytes)
        {
        }

        bool outside(uint64_t offset, uint64_t length) const
        {
                return offset > size || length > size - offset;
        }

        bi::mapped_region region;
        unsigned char *data;
        uint64_t size;
        bi::interprocess_sharable_mutex mutex;
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
        map->mutex.lock_sharable();
        std::memcpy(buffer, map->data + offset, length);
        map->mutex.unlock_sharable();
        return 0;
}

extern "C" int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex.lock();
        std::memcpy(map->data + offset, data, length);
        map->mutex.unlock();
        return 0;
}

extern "C" int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex.lock_sharable();
        slice->data = map->data + offset;
        slice->length = length;
        std::memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

extern "C" void ammap_slice_release(ammap_slice_t *slice)
{
        ammap_t *map;

        std::memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = nullptr;
        map->mutex.unlock_sharable();
}

extern "C" int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        if (map->outside(offset, length))
                return AMMAP_ERR_BOUNDS;
        map->mutex.lock();
        slice->data = map->data + offset;
        slice->length = length;
        std::memcpy(&slice->ammap_private, &map, sizeof(map));
        return 0;
}

extern "C" void ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        ammap_t *map;

        std::memcpy(&map, &slice->ammap_private, sizeof(map));
        slice->data = nullptr;
        map->mutex.unlock();
}
