/* shared_copy.c - copies of maps that processes lock by words in their memory
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/shared_copy.h"

#include "lock/shared_quick.h"
#include "map/transfer.h"
#include "memory/move.h"

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
 * past writers who never pause.  Bytes that no map of that capacity has lie in no lanes. */
static int read_looking_on(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        struct lane_range lanes;
        int rc;

        if (!range_ok(map->capacity, offset, length))
                return AMMAP_ERR_BOUNDS;
        lanes = map_lanes(map, offset, length);
        if (deadline == LANE_FOR_EVER)
                deadline = os_now() + WAITER_PATIENCE;

        for (unsigned looks = 0; (rc = try_read(map, lanes, offset, buffer, length)) > 0; looks++) {
                if (map_frozen(map))
                        return read_frozen(map, offset, buffer, length);
                if ((rc = map_check(map, offset, length)) < 0 ||
                    (rc = shared_look_again(map->shared, lanes, looks, deadline)) < 0)
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
        const unsigned most = length <= OPTIMISTIC_SHORT ? OPTIMISTIC_TRIES : 1;

        for (unsigned tries = 1; tries < most; tries++) {
                int rc;

                transfer_pause(tries);
                if ((rc = try_read(map, lanes, offset, buffer, length)) <= 0)
                        return rc;
        }
        return read_entering(map, offset, buffer, length, deadline);
}

static NOINLINE int read_any(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
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

/* Of few bytes, in a map of one lane that nobody writes: without a call. */
int shared_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        const struct lane_range lane = one_lane(0);
        const struct shared *shared;
        uint64_t sequence;

        /* cppcheck-suppress unsignedLessThanZero ; true only where OPTIMISTIC_MAX is 0 */
        if (unlikely(length > OPTIMISTIC_FEW || map->lanes > 1 ||
                     atomic_load_explicit(&map->omitted, memory_order_relaxed)))
                return read_any(map, offset, buffer, length, deadline);
        shared = map->shared;
        if (unlikely(!shared_read_begin(shared, lane, &sequence) ||
                     !head_has(shared->head, map_room(map), offset, length)))
                return read_any(map, offset, buffer, length, deadline);
        racy_copy(buffer, map->base + offset, length);
        if (unlikely(!shared_read_valid(shared, lane, sequence)))
                return read_any(map, offset, buffer, length, deadline);
        return 0;
}

/* One who owns the lane: what shared_write does then, and the rest. */
static int finish(struct ammap *map, uint64_t offset, const void *data, size_t length, struct slot *slot)
{
        const uint32_t lane = (uint32_t)map_lane_index(map, offset);
        int rc = 0;

        if (likely(map_has_shared(map, offset, length)))
                move_in(map->base + offset, data, length);
        else
                rc = AMMAP_ERR_BOUNDS;
        shared_write_leave(map->shared, lane, slot);
        return rc;
}

static NOINLINE int update_owned(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        struct slot *slot = slot_recent(map->shared);
        int rc = shared_write_owned(map->shared, (uint32_t)map_lane_index(map, offset), deadline, slot);

        return rc < 0 ? rc : finish(map, offset, data, length, slot);
}

static NOINLINE int update(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        const uint32_t lane = (uint32_t)map_lane_index(map, offset);
        struct slot *slot;
        int rc = map_check(map, offset, length);

        if (rc < 0)
                return rc;
        if (!map->shared)
                return AMMAP_ERR_UNSUPPORTED;
        if (lane != map_lane_last(map, offset, length))
                return transfer_write(map, offset, data, length, deadline);
        if ((rc = shared_write(map->shared, lane, deadline, &slot)) < 0)
                return rc;
        return finish(map, offset, data, length, slot);
}

/* The map has no such bytes, or one has not seen that it has. */
static NOINLINE int update_anew(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        shared_disown_quick(&map->shared->lane[map_lane_index(map, offset)], slot_recent(map->shared));
        return update(map, offset, data, length, deadline);
}

/* After the bytes of a quick update. */
static ALWAYS_INLINE int update_end(struct format_lane *lane, uint64_t sequence, struct slot *slot)
{
        enum shared_left left;

        shared_note_writing(slot, false);
        shared_close_to(lane, sequence + 2);
        left = shared_leave_quick(lane);
        return likely(left == LEFT) ? 0 : shared_finish_leaving(lane, left);
}

/* The rest of one that takes a call for its bytes. */
static NOINLINE int update_many(const struct ammap *map, uint64_t offset, const void *data, size_t length,
                                struct format_lane *lane, uint64_t sequence)
{
        move_in(map->base + offset, data, length);
        return update_end(lane, sequence, slot_recent(map->shared));
}

/* Of bytes in a lane in whose way nobody is; of few of them, without a call. */
static ALWAYS_INLINE int update_lane(struct ammap *map, uint64_t offset, const void *data, size_t length,
                                     int64_t deadline)
{
        const struct shared *shared = map->shared; /* NULL: a fork left it out */
        struct slot *slot = likely(shared) ? slot_recent(shared) : NULL;
        const struct format_head *head;
        struct format_lane *lane;
        uint64_t sequence;

        if (unlikely(!slot || !shared->writable || os_maybe_forked()))
                return update(map, offset, data, length, deadline);
        head = shared->head;
        lane = &shared->lane[map_lane_index(map, offset)];
        if (unlikely(!shared_own_quick(lane, slot)))
                return update(map, offset, data, length, deadline);
        if (unlikely(!head_has(head, shared_room(shared), offset, length)))
                return update_anew(map, offset, data, length, deadline);
        if (unlikely(!shared_is_alone(shared, head, lane, &sequence)))
                return update_owned(map, offset, data, length, deadline);
        shared_open_from(lane, sequence);
        if (unlikely(length > WORD_FEW))
                return update_many(map, offset, data, length, lane, sequence);
        word_copy_in_few(map->base + offset, data, length);
        return update_end(lane, sequence, slot);
}

static NOINLINE int update_one_of_many(struct ammap *map, uint64_t offset, const void *data, size_t length,
                                       int64_t deadline)
{
        if (map_lane_index(map, offset) != map_lane_last(map, offset, length))
                return update(map, offset, data, length, deadline);
        return update_lane(map, offset, data, length, deadline);
}

int shared_update(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        if (unlikely(map->lanes != 1))
                return update_one_of_many(map, offset, data, length, deadline);
        return update_lane(map, offset, data, length, deadline);
}
