/* span.h - a run of lanes held by the calling thread
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPAN_H
#define SPAN_H

#include "map/map.h"
#include "os/hints.h"

/* The caller's slices hold one, so that its type stands in ammap.h:
 *
 *      ammap_hold    the hold of the first lane; NULL: nothing is held
 *      ammap_count   how many lanes, and SPAN_FILE where other processes are kept
 *                    out of them, too; or SPAN_SHARED: it is a struct shared_hold
 */
typedef struct ammap_span span_t;

#define SPAN_FILE (SIZE_MAX / 2 + 1)
#define SPAN_SHARED SIZE_MAX

/* The lanes after the first; on an error none of them is held. */
int span_take_rest(struct hold *first, enum access access, struct lane_request *request);
void span_leave_rest(struct hold *first, size_t count);

/* Hold count lanes, in ascending order, the first for HOLD_COPY or
 * HOLD_SLICE.  On an error *span is let be. */
static inline int span_take(struct lane *first, size_t count, enum access access, int64_t deadline, uint64_t use,
                            span_t *span)
{
        struct lane_request request = { .end = first + count, .deadline = deadline };
        struct hold *hold;
        int rc = access == WRITE ? lane_hold_write(first, &request, use, &hold)
                                 : lane_hold_read(first, &request, use, &hold);

        if (rc < 0)
                return rc;
        if (count > 1 && (rc = span_take_rest(hold, access, &request)) < 0) {
                lane_hold_leave(hold);
                return rc;
        }
        span->ammap_hold = hold;
        span->ammap_count = count;
        return 0;
}

static inline void span_leave_local(const span_t *span)
{
        struct hold *hold = span->ammap_hold;

        if (span->ammap_count > 1)
                span_leave_rest(hold, span->ammap_count - 1);
        lane_hold_leave(hold);
}

/* Note where in the map what holds a lane ends, for a shrink to see; whether the
 * map still has that is to be looked at afterwards. */
static inline void hold_reaches(struct hold *hold, uint64_t end)
{
        atomic_store_explicit(&hold->reach, end, memory_order_relaxed);
        os_fence_light();
}

/* How often others may have made a map shorter, and longer again, underway. */
enum { SHRINKS_MAX = 100 };

/* Lanes of a map that are to be held in one way. */
struct part {
        struct ammap *map;
        uint64_t first, last;
        enum access access;
        uint64_t reach; /* where in the map what is done there ends */
};

static inline struct part part_of(struct ammap *map, uint64_t offset, uint64_t length, enum access access)
{
        return (struct part){ .map = map,
                              .first = map_lane_index(map, offset),
                              .last = map_lane_last(map, offset, length),
                              .access = access,
                              .reach = offset + length };
}

/* Hold them, on any map.  Whether the map has what lies there is to be looked at
 * afterwards.  On an error *span is let be. */
int part_take(struct part part, int64_t deadline, uint64_t use, span_t *span);

/* map_span_take for maps that other processes lock, too. */
int map_span_take_special(struct ammap *map, uint64_t offset, uint64_t length, enum access access, int64_t deadline,
                          uint64_t use, span_t *span);
void span_leave_special(const span_t *span, uint64_t use);

static inline void span_leave(const span_t *span, uint64_t use)
{
        if (unlikely(span->ammap_count >= SPAN_FILE))
                span_leave_special(span, use);
        else
                span_leave_local(span);
}

/* Leave what is held to write as if its writer had died: AMMAP_ERR_OWNER_DEAD, for
 * what was to be written there is half there. */
void span_abandon(const span_t *span, uint64_t use);

/* Leave what a copy has written, so many bytes of it before rc ended it. */
static inline void span_leave_written(const span_t *span, int rc, size_t done)
{
        if (unlikely(rc < 0 && done > 0))
                span_abandon(span, HOLD_COPY);
        else
                span_leave(span, HOLD_COPY);
}

/* Whether the calling thread holds it. */
static inline bool span_is_mine(const span_t *span)
{
        const struct hold *hold = span->ammap_hold;
        struct holds *block = hold_block(hold);

        if (span->ammap_count == SPAN_SHARED)
                return hold && shared_is_mine(span->ammap_hold);
        return hold && (block == thread_holds || thread_owns(block)) && hold_lane(hold);
}

/* Hold the lanes that length bytes at offset lie in, and the map to that length
 * at least. */
static inline int map_span_take(struct ammap *map, uint64_t offset, uint64_t length, enum access access,
                                int64_t deadline, uint64_t use, span_t *span)
{
        if (map->shared || map->file)
                return map_span_take_special(map, offset, length, access, deadline, use, span);
        for (;;) {
                uint64_t first = map_lane_index(map, offset), last = map_lane_last(map, offset, length);
                int rc = map_check(map, offset, length);

                if (rc < 0)
                        return rc;
                rc = span_take(&map->lane[first], (size_t)(last - first) + 1, access, deadline, use, span);
                if (rc < 0)
                        return rc;
                hold_reaches(span->ammap_hold, offset + length);
                if (likely(map_has_simple(map, offset, length)))
                        return 0;
                span_leave_local(span);
        }
}

#endif /* SPAN_H */
