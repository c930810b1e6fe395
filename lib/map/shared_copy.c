/* shared_copy.c - copies of maps that processes lock by words in their memory
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/shared_copy.h"

#include "lock/shared_lock.h"
#include "map/transfer.h"
#include "memory/racy.h"
#include "memory/word.h"

/* 0, 1: not now, or a negative code. */
static ALWAYS_INLINE int try_read(const struct ammap *map, struct lane_range lanes, uint64_t offset, void *buffer,
                                  size_t length)
{
        uint64_t sequence;

        if (!shared_read_begin(map->shared, lanes, &sequence))
                return 1;
        if (unlikely(!map_has_shared(map, offset, length)))
                return shared_read_valid(map->shared, lanes, sequence) ? AMMAP_ERR_BOUNDS : 1;
        racy_copy(buffer, map->base + offset, length);
        return shared_read_valid(map->shared, lanes, sequence) ? 0 : 1;
}

/* Nobody writes it, and what its lanes say does not count. */
static int read_frozen(const struct ammap *map, uint64_t offset, void *buffer, size_t length)
{
        return map_has_shared(map, offset, length) ? transfer_out(map, offset, buffer, length) : AMMAP_ERR_BOUNDS;
}

/* One who cannot enter, and so never keeps a writer out, may never get a long copy
 * past writers who never pause. */
static int read_looking_on(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        const struct lane_range lanes = map_lanes(map, offset, length);
        int rc;

        if (deadline == LANE_FOR_EVER)
                deadline = os_now() + WAITER_PATIENCE;

        for (unsigned looks = 0; (rc = try_read(map, lanes, offset, buffer, length)) > 0; looks++) {
                if (map_frozen(map))
                        return read_frozen(map, offset, buffer, length);
                if ((rc = shared_look_again(map->shared, lanes, looks, deadline)) < 0)
                        return rc;
        }
        return rc;
}

static NOINLINE int read_entering(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        if (unlikely(atomic_load_explicit(&map->omitted, memory_order_relaxed)))
                return AMMAP_ERR_UNSUPPORTED;
        if (map_frozen(map))
                return read_frozen(map, offset, buffer, length);
        if (!map->shared->writable)
                return read_looking_on(map, offset, buffer, length, deadline);
        return transfer_read(map, offset, buffer, length, deadline);
}

/* Of bytes in one lane, after a first try. */
static NOINLINE int read_again(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        const struct lane_range lanes = map_lanes(map, offset, length);

        for (unsigned tries = 1; tries < OPTIMISTIC_TRIES; tries++) {
                int rc;

                transfer_pause(tries);
                if ((rc = try_read(map, lanes, offset, buffer, length)) <= 0)
                        return rc;
        }
        return read_entering(map, offset, buffer, length, deadline);
}

int shared_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        const uint32_t lane = (uint32_t)map_lane_index(map, offset);

        /* cppcheck-suppress unsignedLessThanZero ; true only where OPTIMISTIC_MAX is 0 */
        if (likely(length <= OPTIMISTIC_MAX && lane == map_lane_last(map, offset, length) &&
                   !atomic_load_explicit(&map->omitted, memory_order_relaxed))) {
                int rc = try_read(map, one_lane(lane), offset, buffer, length);

                return likely(rc <= 0) ? rc : read_again(map, offset, buffer, length, deadline);
        }
        return read_entering(map, offset, buffer, length, deadline);
}

int shared_update(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        uint32_t lane = (uint32_t)map_lane_index(map, offset);
        struct slot *slot;
        int rc;

        if (lane != map_lane_last(map, offset, length))
                return transfer_write(map, offset, data, length, deadline);
        if ((rc = shared_write(map->shared, lane, deadline, &slot)) < 0)
                return rc;
        if (unlikely(!map_has_shared(map, offset, length))) {
                shared_write_leave(map->shared, lane, slot);
                return AMMAP_ERR_BOUNDS;
        }
        word_copy_in(map->base + offset, data, length);
        shared_write_leave(map->shared, lane, slot);
        return 0;
}
