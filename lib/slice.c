/* slice.c - guarded slices
 *
 * SPDX-License-Identifier: MIT
 */
#include "internal.h"
#include "span.h"

#include <string.h>

/* What the two kinds of slice share. */
static inline int take(ammap_t *map, uint64_t offset, uint64_t length, enum access access, int64_t deadline,
                       span_t *span)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (!range_ok(map->length, offset, length))
                return AMMAP_ERR_BOUNDS;
        if ((rc = map_span_take(map, offset, length, access, deadline, span)) == 0)
                span_hold(span)->slices++;
        return rc;
}

static inline bool leave(const span_t *span)
{
        if (!span_is_mine(span))
                return false;
        span_hold(span)->slices--;
        span_leave(span);
        return true;
}

static inline int take_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t deadline, ammap_slice_t *slice)
{
        int rc;

        if (!slice)
                return AMMAP_ERR_INVALID;
        rc = take(map, offset, length, READ, deadline, &slice->ammap_private);
        if (rc < 0) {
                memset(slice, 0, sizeof *slice);
                return rc;
        }
        slice->data = map->base + offset;
        slice->length = (size_t)length;
        return 0;
}

static inline int take_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t deadline,
                                 ammap_mut_slice_t *slice)
{
        int rc;

        if (!slice)
                return AMMAP_ERR_INVALID;
        rc = take(map, offset, length, WRITE, deadline, &slice->ammap_private);
        if (rc < 0) {
                memset(slice, 0, sizeof *slice);
                return rc;
        }
        slice->data = map->base + offset;
        slice->length = (size_t)length;
        return 0;
}

int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        return take_slice(map, offset, length, LANE_FOR_EVER, slice);
}

int ammap_try_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        return take_slice(map, offset, length, LANE_TRY, slice);
}

int ammap_timed_as_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns, ammap_slice_t *slice)
{
        return take_slice(map, offset, length, os_deadline(timeout_ns), slice);
}

int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        return take_mut_slice(map, offset, length, LANE_FOR_EVER, slice);
}

int ammap_try_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        return take_mut_slice(map, offset, length, LANE_TRY, slice);
}

int ammap_timed_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns,
                             ammap_mut_slice_t *slice)
{
        return take_mut_slice(map, offset, length, os_deadline(timeout_ns), slice);
}

void ammap_slice_release(ammap_slice_t *slice)
{
        if (slice && leave(&slice->ammap_private))
                memset(slice, 0, sizeof *slice);
}

void ammap_mut_slice_release(ammap_mut_slice_t *slice)
{
        if (slice && leave(&slice->ammap_private))
                memset(slice, 0, sizeof *slice);
}
