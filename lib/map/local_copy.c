/* local_copy.c - copies of maps that the threads of one process lock
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/local_copy.h"

#include "lock/waiter.h"

/* Counted in the lane, but not noted as a hold: a shrink does not see it and
 * may take bytes away underway, and so is looked for afterwards.
 * 1: it did; nothing has been read. */
static int read_counted(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        struct lane *lane = &map->lane[map_lane_index(map, offset)];
        uint32_t shrinks = atomic_load(&map->shrinks);
        bool within;
        int rc = lane_read_slow(lane, deadline);

        if (rc < 0)
                return rc;
        os_fence_causal();
        within = map_has_simple(map, offset, length);
        if (within)
                move_out(buffer, map->base + offset, length);
        lane_read_leave(lane);
        atomic_thread_fence(memory_order_acquire); /* keeps the bytes before the second look */
        return !within || atomic_load_explicit(&map->shrinks, memory_order_relaxed) != shrinks ||
               !map_has_simple(map, offset, length);
}

static bool read_in_a_moment(struct ammap *map, struct lane *lane, uint64_t offset, void *buffer, size_t length)
{
        bool done = false;

        if (!waiter_may_spin)
                return false;
        lane_ask(lane);
        for (int looks = 0; looks < OPTIMISTIC_TRIES && !done; looks++) {
                done = local_read_quick(map, lane, offset, buffer, length);
                if (!done)
                        transfer_pause(2);
        }
        lane_ask_no_more(lane);
        return done;
}

int local_read_again(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        struct lane *lane = &map->lane[map_lane_index(map, offset)];
        int rc = map_check(map, offset, length);

        for (unsigned tries = 1; rc == 0 && length <= OPTIMISTIC_SHORT && tries <= OPTIMISTIC_TRIES; tries++) {
                transfer_pause(tries);
                if (local_read_quick(map, lane, offset, buffer, length))
                        return 0;
        }
        if (rc == 0 && length <= OPTIMISTIC_SHORT && read_in_a_moment(map, lane, offset, buffer, length))
                return 0;
        while (rc == 0)
                if ((rc = read_counted(map, offset, buffer, length, deadline)) <= 0)
                        return rc;
                else
                        rc = map_check(map, offset, length);
        return rc;
}

int local_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        uint64_t first = map_lane_index(map, offset);

        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (map->may_fault || length > OPTIMISTIC_MAX || first != map_lane_last(map, offset, length))
                return transfer_read(map, offset, buffer, length, deadline);
        if (local_read_quick(map, &map->lane[first], offset, buffer, length))
                return 0;
        return local_read_again(map, offset, buffer, length, deadline);
}

int local_write_resized(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        struct lane *lane = &map->lane[map_lane_index(map, offset)];

        return local_write_entered(map, lane, offset, data, length)
                       ? 0
                       : transfer_write(map, offset, data, length, deadline);
}

int local_write(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        uint64_t first = map_lane_index(map, offset);
        int rc = map_check(map, offset, length);

        if (rc < 0)
                return rc;
        if (map->may_fault || first != map_lane_last(map, offset, length))
                return transfer_write(map, offset, data, length, deadline);
        if ((rc = lane_write(&map->lane[first], deadline)) < 0)
                return rc;
        if (local_write_entered(map, &map->lane[first], offset, data, length))
                return 0;
        return transfer_write(map, offset, data, length, deadline);
}
