/* span.h - a run of lanes held by the calling thread
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPAN_H
#define SPAN_H

#include "internal.h"

/* The caller's slices hold one, so that its type stands in ammap.h:
 *
 *      ammap_lane    the first lane; NULL: nothing is held
 *      ammap_count   how many lanes
 *      ammap_block   where the first lane's hold stands
 *      ammap_index   and at which index
 */
typedef struct ammap_span span_t;

/* Lanes 1 to count - 1 of a span; on an error none of them is held. */
int span_take_rest(const span_t *span, enum access access, int64_t deadline);
void span_leave_rest(const span_t *span);

/* Hold count lanes, in ascending order.  On an error *span is let be. */
static inline int span_take(struct lane *first, size_t count, enum access access, int64_t deadline, span_t *span)
{
        struct holds *block;
        unsigned i;
        int rc = access == WRITE ? lane_hold_write(first, deadline, &block, &i)
                                 : lane_hold_read(first, deadline, &block, &i);

        if (rc < 0)
                return rc;
        if (count > 1) {
                span_t rest = { .ammap_lane = first, .ammap_count = count };

                if ((rc = span_take_rest(&rest, access, deadline)) < 0) {
                        lane_hold_leave(block, i);
                        return rc;
                }
        }
        span->ammap_lane = first;
        span->ammap_count = count;
        span->ammap_block = block;
        span->ammap_index = i;
        return 0;
}

static inline struct hold *span_hold(const span_t *span)
{
        return &((struct holds *)span->ammap_block)->hold[span->ammap_index];
}

static inline void span_leave(const span_t *span)
{
        if (span->ammap_count > 1)
                span_leave_rest(span);
        lane_hold_leave(span->ammap_block, (unsigned)span->ammap_index);
}

/* Whether the calling thread holds it. */
static inline bool span_is_mine(const span_t *span)
{
        const struct holds *block = span->ammap_block;

        return span->ammap_lane && (block == thread_holds || thread_owns(block)) &&
               (block->busy & 1U << span->ammap_index) && span_hold(span)->lane == span->ammap_lane;
}

/* Hold the lanes that length bytes at offset lie in. */
static inline int map_span_take(struct ammap *map, uint64_t offset, uint64_t length, enum access access,
                                int64_t deadline, span_t *span)
{
        uint64_t first = map_lane_index(map, offset), last = map_lane_last(map, offset, length);

        return span_take(&map->lane[first], (size_t)(last - first) + 1, access, deadline, span);
}

#endif /* SPAN_H */
