/* local_copy.h - copies of maps that the threads of one process lock
 *
 * SPDX-License-Identifier: MIT
 *
 * The quick halves are here, for the calls to begin with: a map of one lane, whose memory
 * stays, is read and written without a look at its kind.
 */
#ifndef LOCAL_COPY_H
#define LOCAL_COPY_H

#include "map/map.h"
#include "map/transfer.h"
#include "memory/move.h"

/* Read without entering; false: a writer came by, or the map has no such bytes.  The
 * length is looked at between begin and valid: a shrink changes the sequence before it
 * takes bytes away. */
static ALWAYS_INLINE bool local_read_quick(const struct ammap *map, const struct lane *lane, uint64_t offset,
                                           void *buffer, size_t length)
{
        uint64_t sequence;

        if (!lane_read_begin(lane, &sequence))
                return false;
        os_fence_causal();
        if (unlikely(!map_has_simple(map, offset, length)))
                return false;
        racy_copy(buffer, map->base + offset, length);
        return lane_read_valid(lane, sequence);
}

/* Enter to write bytes; then it is move_in, and lane_write_leave.  The range is looked at
 * before, for what the map has not is not to be waited for; and inside whether it is still the
 * same map. */
enum local_entry { WRITE_ENTERED, WRITE_NOT_ENTERED, WRITE_RESIZED };

static ALWAYS_INLINE enum local_entry local_write_enter(struct ammap *map, struct lane *lane, uint64_t offset,
                                                        size_t length)
{
        uint64_t whole = atomic_load_explicit(&map->length, memory_order_acquire);

        if (unlikely(!range_ok(whole, offset, length)) || !lane_write_try(lane))
                return WRITE_NOT_ENTERED;
        os_fence_light_after(); /* a shrink sees that someone writes, or the length is looked at after it */
        if (unlikely(atomic_load_explicit(&map->length, memory_order_acquire) != whole))
                return WRITE_RESIZED;
        return WRITE_ENTERED;
}

/* Write to a lane that has been entered for that, and leave it; false: the map has no such
 * bytes any more, and nothing has been written. */
static ALWAYS_INLINE bool local_write_entered(struct ammap *map, struct lane *lane, uint64_t offset, const void *data,
                                              size_t length)
{
        os_fence_light(); /* a shrink sees that someone writes, or the length is looked at after it */
        if (unlikely(!map_has_simple(map, offset, length))) {
                lane_write_leave(lane);
                return false;
        }
        move_in(map->base + offset, data, length);
        lane_write_leave(lane);
        return true;
}

/* After local_read_quick, of bytes in one lane. */
int local_read_again(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline);

/* After local_write_enter, WRITE_RESIZED; after WRITE_NOT_ENTERED, local_write. */
int local_write_resized(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline);

/* Any range; entries of struct kind. */
int local_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline);
int local_write(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline);

#endif /* LOCAL_COPY_H */
