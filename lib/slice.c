/* slice.c - guarded slices
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/shared_quick.h"
#include "map/map.h"
#include "map/span.h"
#include "os/hints.h"

#include <string.h>

/* Every way in and out of a slice has a quick path without a call, for a map of
 * one lane that nobody stands in the way of, and a full one; what the quick one
 * cannot do it leaves to the full one from the start.  The quick one looks at the
 * range once, when the hold is there: a shrink may have come before. */

/* What a slice is to be of; the rest of the request is filled in here. */
static ALWAYS_INLINE int take(ammap_t *map, const struct request *wanted, span_t *span)
{
        struct request request;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (map->may_fault && !map->faults) {
                int rc = map_look(map, wanted->offset, wanted->length);

                return rc < 0 ? rc : AMMAP_ERR_UNSUPPORTED;
        }
        request = span_request(map, wanted->offset, wanted->length, wanted->access);
        request.use = HOLD_SLICE;
        request.deadline = wanted->deadline;
        request.recovers = wanted->recovers;
        return wanted->recovers ? span_take_any(map, &request, span) : span_take(map, &request, span);
}

/* What holds nothing (any more) is released already. */
static int leave(const span_t *span)
{
        if (span_is_mine(span))
                span_leave(span, HOLD_SLICE);
        else if (span_is_detached(span))
                span_leave_detached(span, HOLD_SLICE);
        else if (span_is_held(span))
                return AMMAP_ERR_INVALID;
        return 0;
}

/* The one lane that a range lies in, of a map of several that is locked here and whose memory
 * stays; or NULL. */
static struct lane *only_lane(ammap_t *map, uint64_t offset, uint64_t length)
{
        uint64_t number = map_lane_index(map, offset);

        return !map->kind->joint && !map->may_fault && number == map_lane_last(map, offset, length) ? &map->lane[number]
                                                                                                    : NULL;
}

static NOINLINE int refuse(void *slice, size_t size)
{
        if (slice)
                memset(slice, 0, size);
        return AMMAP_ERR_INVALID;
}

/* --- Slices --- */

static inline int fill(const ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        slice->data = map->base + offset;
        slice->length = (size_t)length;
        return 0;
}

static NOINLINE int take_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice, int64_t deadline)
{
        const struct request wanted = { .offset = offset, .length = length, .access = READ, .deadline = deadline };
        int rc;

        if (!slice || !map)
                return refuse(slice, sizeof *slice);
        rc = take(map, &wanted, &slice->ammap_private);
        if (rc < 0) {
                memset(slice, 0, sizeof *slice);
                return rc;
        }
        return fill(map, offset, length, slice);
}

/* The quick path has named the lane in the slice's hold, and the bias has gone or a shrink
 * has come. */
static NOINLINE int retake_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice, int64_t deadline)
{
        hold_withdraw(slice->ammap_private.ammap_hold, &map->lane[0]);
        return take_slice(map, offset, length, slice, deadline);
}

static NOINLINE int retake_entered_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice,
                                         int64_t deadline)
{
        lane_hold_leave(slice->ammap_private.ammap_hold);
        return take_slice(map, offset, length, slice, deadline);
}

/* The quick path where there is no bias: after a write. */
static NOINLINE int count_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice, int64_t deadline)
{
        struct hold *hold = lane_hold_count_try(&map->lane[0], HOLD_SLICE, offset + length);

        if (!hold)
                return take_slice(map, offset, length, slice, deadline);
        os_fence_light(); /* as in hold_publish */
        slice->ammap_private.ammap_hold = hold;
        if (unlikely(!map_has_simple(map, offset, length)))
                return retake_entered_slice(map, offset, length, slice, deadline);
        slice->ammap_private.ammap_count = 1;
        fill(map, offset, length, slice);
        lane_counted(&map->lane[0]);
        return 0;
}

/* The quick path of one lane of several; or there is none. */
static NOINLINE int take_lane_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice,
                                    int64_t deadline)
{
        struct lane *lane = only_lane(map, offset, length);
        struct hold *hold = lane ? lane_hold_biased(lane, HOLD_SLICE, offset + length) : NULL;

        if (!hold)
                return take_slice(map, offset, length, slice, deadline);
        slice->ammap_private.ammap_hold = hold;
        if (unlikely(!map_has_simple(map, offset, length)))
                return retake_entered_slice(map, offset, length, slice, deadline);
        slice->ammap_private.ammap_count = 1;
        return fill(map, offset, length, slice);
}

static NOINLINE int retake_shared_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice,
                                        int64_t deadline)
{
        shared_slice_unname(((struct shared_hold *)slice->ammap_private.ammap_hold)->slot);
        return take_slice(map, offset, length, slice, deadline);
}

/* The quick path of a shared map, of bytes that end somewhere.  What it looks at behind the
 * naming, for which the processor stops, is found before. */
static ALWAYS_INLINE int take_other_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice,
                                          int64_t deadline)
{
        struct format_head *head;
        const struct format_lane *lane;
        const uint64_t end = offset + length;
        struct slot *slot;

        if (!map->shared_path_ok)
                return take_lane_slice(map, offset, length, slice, deadline);
        head = map->shared->head;
        lane = format_first_lane(head); /* not one more that is to be found */
        if (end > map_room(map) || !(slot = shared_slice_name(map->shared, end)))
                return take_slice(map, offset, length, slice, deadline);
        if (unlikely(!shared_slice_is_in(lane) || !head_reaches(head, end))) {
                slice->ammap_private.ammap_hold = &slot->read[0];
                return retake_shared_slice(map, offset, length, slice, deadline);
        }
        shared_slice_begin(slot);
        slice->ammap_private.ammap_hold = &slot->read[0];
        slice->ammap_private.ammap_count = SPAN_SHARED;
        return fill(map, offset, length, slice);
}

static ALWAYS_INLINE int quick_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice,
                                     int64_t deadline)
{
        struct hold *hold;
        uint64_t end;

        if (!slice || !map || !range_end(offset, length, &end))
                return take_slice(map, offset, length, slice, deadline);
        if (!map->fast_path_ok)
                return take_other_slice(map, offset, length, slice, deadline);
        if (!(hold = hold_publish(&map->lane[0], HOLD_SLICE, end)))
                return count_slice(map, offset, length, slice, deadline);
        if (unlikely(!lane_still_biased(&map->lane[0]) || !map_reaches(map, end))) {
                slice->ammap_private.ammap_hold = hold;
                return retake_slice(map, offset, length, slice, deadline);
        }
        slice->ammap_private.ammap_hold = hold;
        slice->ammap_private.ammap_count = 1;
        return fill(map, offset, length, slice);
}

int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        return quick_slice(map, offset, length, slice, LANE_FOR_EVER);
}

int ammap_try_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        return quick_slice(map, offset, length, slice, LANE_TRY);
}

int ammap_timed_as_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns, ammap_slice_t *slice)
{
        return quick_slice(map, offset, length, slice, os_deadline(timeout_ns));
}

static NOINLINE int release_slice(ammap_slice_t *slice)
{
        int rc = leave(&slice->ammap_private);

        if (rc == 0)
                memset(slice, 0, sizeof *slice);
        return rc;
}

static NOINLINE int release_other_slice(ammap_slice_t *slice)
{
        struct shared_hold *hold = slice->ammap_private.ammap_hold;

        struct slot *slot;

        if (slice->ammap_private.ammap_count != SPAN_SHARED || !shared_slice_is_mine(hold))
                return release_slice(slice);
        slot = hold->slot;
        memset(slice, 0, sizeof *slice);
        return likely(!shared_slice_end(slot)) ? 0 : shared_slice_wake(slot);
}

static NOINLINE int release_counted_slice(ammap_slice_t *slice)
{
        struct hold *hold = slice->ammap_private.ammap_hold;
        struct lane *lane = lane_of_mine(hold, HOLD_SLICE | HOLD_COUNTED);

        if (!lane)
                return release_slice(slice);
        memset(slice, 0, sizeof *slice);
        return lane_hold_uncount(hold, lane);
}

/* The slice is emptied before the lane is left, which may take a call: nothing is to be
 * saved for after that. */
int ammap_slice_release(ammap_slice_t *slice)
{
        struct hold *hold;
        struct lane *lane;

        if (!slice)
                return 0;
        if (slice->ammap_private.ammap_count != 1)
                return release_other_slice(slice);
        hold = slice->ammap_private.ammap_hold;
        if (!(lane = lane_of_mine(hold, HOLD_SLICE | HOLD_BIASED)))
                return release_counted_slice(slice);
        memset(slice, 0, sizeof *slice);
        return lane_hold_unbias(hold, lane);
}

/* --- Mut slices --- */

static inline int fill_mut(const ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        slice->data = map->base + offset;
        slice->length = (size_t)length;
        return 0;
}

/* The quick path of one lane of several; false: there is none, or somebody is in the way. */
static bool take_lane_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        struct lane *lane = only_lane(map, offset, length);
        struct hold *hold = lane ? lane_hold_write_try(lane, HOLD_SLICE, offset + length) : NULL;

        if (!hold)
                return false;
        os_fence_light(); /* as in hold_publish */
        if (unlikely(!map_has_simple(map, offset, length))) {
                lane_hold_leave(hold);
                return false;
        }
        slice->ammap_private.ammap_hold = hold;
        slice->ammap_private.ammap_count = 1;
        return true;
}

static NOINLINE int take_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice,
                                   int64_t deadline)
{
        const struct request wanted = { .offset = offset, .length = length, .access = WRITE, .deadline = deadline };
        int rc;

        if (!slice || !map)
                return refuse(slice, sizeof *slice);
        if (map->lanes > 1 && take_lane_mut_slice(map, offset, length, slice))
                return fill_mut(map, offset, length, slice);
        rc = take(map, &wanted, &slice->ammap_private);
        if (rc < 0) {
                memset(slice, 0, sizeof *slice);
                return rc;
        }
        return fill_mut(map, offset, length, slice);
}

/* It is entered, and does not seem to reach so far: but for no bytes at 0, or a growth that
 * came, it is left again. */
static NOINLINE int retake_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice,
                                     int64_t deadline)
{
        if (map_has_simple(map, offset, length)) {
                slice->ammap_private.ammap_count = 1;
                return fill_mut(map, offset, length, slice);
        }
        lane_hold_leave(slice->ammap_private.ammap_hold);
        return take_mut_slice(map, offset, length, slice, deadline);
}

static NOINLINE int retake_shared_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice,
                                            int64_t deadline)
{
        shared_mut_slice_unown(map->shared, ((struct shared_hold *)slice->ammap_private.ammap_hold)->slot);
        return take_mut_slice(map, offset, length, slice, deadline);
}

/* The quick path of a shared map, as take_other_slice is. */
static ALWAYS_INLINE int take_other_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice,
                                              int64_t deadline)
{
        const struct shared *shared;
        const struct format_head *head;
        const uint64_t end = offset + length;
        struct shared_hold *hold;
        uint64_t sequence;

        if (!map->shared_path_ok)
                return take_mut_slice(map, offset, length, slice, deadline);
        shared = map->shared;
        head = shared->head;
        if (end > shared_room(shared) || !(hold = shared_mut_slice_own(shared)))
                return take_mut_slice(map, offset, length, slice, deadline);
        slice->ammap_private.ammap_hold = hold;
        if (unlikely(!head_reaches(head, end) || !shared_is_alone(shared, head, shared->lane, &sequence)))
                return retake_shared_mut_slice(map, offset, length, slice, deadline);
        shared_mut_slice_begin(shared, hold, end, sequence);
        slice->ammap_private.ammap_count = SPAN_SHARED;
        return fill_mut(map, offset, length, slice);
}

static ALWAYS_INLINE int quick_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice,
                                         int64_t deadline)
{
        struct hold *hold;
        uint64_t end;

        if (!slice || !map || !range_end(offset, length, &end))
                return take_mut_slice(map, offset, length, slice, deadline);
        if (!map->fast_path_ok)
                return take_other_mut_slice(map, offset, length, slice, deadline);
        if (!(hold = lane_hold_write_try(&map->lane[0], HOLD_SLICE, end)))
                return take_mut_slice(map, offset, length, slice, deadline);
        os_fence_light(); /* as in hold_publish */
        if (unlikely(!map_reaches(map, end))) {
                slice->ammap_private.ammap_hold = hold;
                return retake_mut_slice(map, offset, length, slice, deadline);
        }
        slice->ammap_private.ammap_hold = hold;
        slice->ammap_private.ammap_count = 1;
        return fill_mut(map, offset, length, slice);
}

int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        return quick_mut_slice(map, offset, length, slice, LANE_FOR_EVER);
}

int ammap_try_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        return quick_mut_slice(map, offset, length, slice, LANE_TRY);
}

int ammap_timed_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns,
                             ammap_mut_slice_t *slice)
{
        return quick_mut_slice(map, offset, length, slice, os_deadline(timeout_ns));
}

int ammap_recover_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        const struct request wanted = {
                .offset = offset, .length = length, .access = WRITE, .deadline = LANE_FOR_EVER, .recovers = true
        };
        int rc;

        if (!slice)
                return AMMAP_ERR_INVALID;
        rc = take(map, &wanted, &slice->ammap_private);
        if (rc < 0)
                memset(slice, 0, sizeof *slice);
        else
                fill_mut(map, offset, length, slice);
        return rc;
}

static NOINLINE int release_mut_slice(ammap_mut_slice_t *slice)
{
        int rc = leave(&slice->ammap_private);

        if (rc == 0)
                memset(slice, 0, sizeof *slice);
        return rc;
}

static NOINLINE int release_other_mut_slice(ammap_mut_slice_t *slice)
{
        struct shared_hold *hold = slice->ammap_private.ammap_hold;
        struct format_lane *lane;
        enum shared_left left;

        if (unlikely(slice->ammap_private.ammap_count != SPAN_SHARED || !shared_mut_slice_is_mine(hold)))
                return release_mut_slice(slice);
        memset(slice, 0, sizeof *slice);
        lane = hold->slot->shared->lane;
        left = shared_mut_slice_end(hold, lane);
        return likely(left == LEFT) ? 0 : shared_finish_leaving(lane, left);
}

int ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        struct hold *hold;
        struct lane *lane;

        if (!slice)
                return 0;
        if (slice->ammap_private.ammap_count != 1)
                return release_other_mut_slice(slice);
        hold = slice->ammap_private.ammap_hold;
        if (!(lane = lane_of_mine(hold, HOLD_SLICE | HOLD_WRITE)))
                return release_mut_slice(slice);
        memset(slice, 0, sizeof *slice);
        return lane_hold_unwrite(hold, lane);
}

int ammap_mut_slice_downgrade(ammap_mut_slice_t *from, ammap_slice_t *to)
{
        span_t span;
        int rc;

        if (to)
                memset(to, 0, sizeof *to);
        if (!from || !to)
                return AMMAP_ERR_INVALID;
        span = from->ammap_private;
        if (!span.ammap_hold)
                return 0;
        if (!span_is_mine(&span))
                return AMMAP_ERR_INVALID;
        if ((rc = span_downgrade(&span)) < 0)
                return rc;
        *to = (ammap_slice_t){ .data = from->data, .length = from->length, .ammap_private = span };
        memset(from, 0, sizeof *from);
        return 0;
}

/* --- Detached --- */

static int detach(span_t *span)
{
        os_fork_check();
        if (span_is_detached(span))
                return 0;
        return span_is_mine(span) ? span_detach(span) : AMMAP_ERR_INVALID;
}

int ammap_slice_detach(ammap_slice_t *slice)
{
        return slice ? detach(&slice->ammap_private) : AMMAP_ERR_INVALID;
}

int ammap_mut_slice_detach(ammap_mut_slice_t *slice)
{
        return slice ? detach(&slice->ammap_private) : AMMAP_ERR_INVALID;
}
