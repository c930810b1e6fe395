/* span.h - lanes in a row, held by the calling thread
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

/* How often other processes may have made a map shorter, and longer again, underway. */
enum { SHRINKS_MAX = 100 };

/* A copy of length bytes at offset, which waits for as long as it takes. */
static inline struct request span_request(const struct ammap *map, uint64_t offset, uint64_t length, enum access access)
{
        return (struct request){ .offset = offset,
                                 .length = length,
                                 .lanes = map_lanes(map, offset, length),
                                 .reach = offset + length,
                                 .access = access,
                                 .use = HOLD_COPY,
                                 .deadline = LANE_FOR_EVER };
}

/* Note where in the map what holds a lane ends, for a shrink to see.  Whether the map has
 * that is to be looked at afterwards. */
static inline void span_note_reach(struct hold *hold, uint64_t end)
{
        atomic_store_explicit(&hold->reach, end, memory_order_relaxed);
        os_fence_light();
}

/* What span_take does of a map of one lane whose memory stays; and of any map. */
static inline int span_take_simple(struct ammap *map, const struct request *request, span_t *span)
{
        for (;;) {
                struct lane_request lanes = { .end = map->lane + 1, .deadline = request->deadline };
                struct hold *hold;
                int rc = map_check(map, request->offset, request->length);

                if (rc < 0)
                        return rc;
                rc = request->access == WRITE ? lane_hold_write(map->lane, &lanes, request->use, &hold)
                                              : lane_hold_read(map->lane, &lanes, request->use, &hold);
                if (rc < 0)
                        return rc;
                span_note_reach(hold, request->reach);
                if (likely(map_has_simple(map, request->offset, request->length))) {
                        *span = (span_t){ .ammap_hold = hold, .ammap_count = 1 };
                        return 0;
                }
                lane_hold_leave(hold);
        }
}
int span_take_any(struct ammap *map, const struct request *request, span_t *span);

/* Hold the lanes of a request, in ascending order, and the map to where its bytes end at
 * least.  0; AMMAP_ERR_BOUNDS or what its lock says, and *span is let be.  One that recovers
 * goes by span_take_any.  1: a writer of one of the lanes had died. */
static inline int span_take(struct ammap *map, const struct request *request, span_t *span)
{
        return map->fast_path_ok ? span_take_simple(map, request, span) : span_take_any(map, request, span);
}

/* For a call that writes a range: 1: it is held; 0: it is empty, and within the map; or
 * the call's code. */
int span_take_range(struct ammap *map, uint64_t offset, uint64_t length, span_t *span);

/* Hold the lanes without a look at the length: whether the map has the bytes is to be looked at
 * afterwards.  Each is the entry of a kind. */
int span_enter_local(struct ammap *map, const struct request *request, span_t *span);
int span_enter_shared(struct ammap *map, const struct request *request, span_t *span);
int span_enter_file(struct ammap *map, const struct request *request, span_t *span);

void span_leave_any(const span_t *span, uint64_t use);

static inline void span_leave(const span_t *span, uint64_t use)
{
        if (likely(span->ammap_count == 1))
                lane_hold_leave(span->ammap_hold);
        else
                span_leave_any(span, use);
}

/* Let what a slice holds to write be held to read, with no writer in between.  0;
 * AMMAP_ERR_INVALID: it is not held to write; AMMAP_ERR_LIMIT, _FAULT, _FORMAT or the system's code.
 * On an error nothing has changed. */
int span_downgrade(span_t *span);

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

/* The process's instead of the calling thread's, whose it is.  0, or why not, and all is
 * as it was. */
int span_detach(span_t *span);

/* Whether it is the process's; then any thread may leave it. */
bool span_is_detached(const span_t *span);
void span_leave_detached(const span_t *span, uint64_t use);

/* Whether anybody holds it. */
static inline bool span_is_held(const span_t *span)
{
        const struct hold *hold = span->ammap_hold;

        if (span->ammap_count == SPAN_SHARED)
                return hold && shared_is_held(span->ammap_hold);
        return hold && hold_lane(hold);
}

#endif /* SPAN_H */
