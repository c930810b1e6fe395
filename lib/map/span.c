/* span.c - a run of lanes held by the calling thread
 *
 * SPDX-License-Identifier: MIT
 *
 * A span notes where its first lane's hold stands, which is all of them for most;
 * the others hang on to that in a chain.
 */
#include "map/span.h"

#include "lock/file_lock.h"
#include "os/hints.h"

/* A slice that a fork has made void has fewer than it says. */
static void leave_chain(struct hold *hold, size_t count)
{
        for (struct hold *rest; count > 0 && hold; count--, hold = rest) {
                rest = hold->rest;
                lane_hold_leave(hold);
        }
}

int span_take_rest(struct hold *first, enum access access, struct lane_request *request)
{
        struct lane *lane = hold_lane(first) + 1;
        struct hold *last = first;

        if (access == WRITE)
                lane_settle(lane, (size_t)(request->end - lane));
        for (size_t taken = 0; lane < request->end; lane++, taken++) {
                int rc = access == WRITE ? lane_hold_write(lane, request, HOLD_COPY, &last->rest)
                                         : lane_hold_read(lane, request, HOLD_COPY, &last->rest);

                if (rc < 0) {
                        leave_chain(first->rest, taken);
                        return rc;
                }
                last = last->rest;
        }
        return 0;
}

void span_leave_rest(struct hold *first, size_t count)
{
        leave_chain(first->rest, count);
}

/* --- Of maps that other processes lock, too --- */

static inline int take_shared(struct part part, int64_t deadline, uint64_t use, span_t *span)
{
        const struct request request = { .lanes = { (uint32_t)part.first, (uint32_t)part.last },
                                         .reach = part.reach,
                                         .access = part.access,
                                         .use = use,
                                         .deadline = deadline };
        struct shared_hold *hold;
        int rc = shared_enter(part.map->shared, &request, &hold);

        if (rc < 0)
                return rc;
        span->ammap_hold = hold;
        span->ammap_count = SPAN_SHARED;
        return 0;
}

static int take_local(struct ammap *map, uint64_t first, uint64_t last, enum access access, uint64_t reach,
                      int64_t deadline, uint64_t use, span_t *span)
{
        int rc = span_take(&map->lane[first], (size_t)(last - first) + 1, access, deadline, use, span);

        if (rc == 0)
                hold_reaches(span->ammap_hold, reach);
        return rc;
}

/* file_enter looks at the length that other processes may have changed. */
static int take_file(struct ammap *map, uint64_t first, uint64_t last, enum access access, uint64_t reach,
                     int64_t deadline, uint64_t use, span_t *span)
{
        int elsewhere = file_elsewhere(map->file, first, last, access), rc;
        span_t local;

        if (elsewhere < 0)
                return elsewhere;
        rc = take_local(map, first, last, access, reach, elsewhere ? LANE_TRY : deadline, use, &local);
        /* Whoever is in the way may wait for what this thread holds elsewhere. */
        if (rc == AMMAP_ERR_BUSY && elsewhere)
                return AMMAP_ERR_DEADLOCK;
        if (rc < 0)
                return rc;
        if ((rc = file_enter(map->file, first, last, access, deadline)) < 0) {
                span_leave_local(&local);
                return rc;
        }
        span->ammap_hold = local.ammap_hold;
        span->ammap_count = rc == FILE_FROZEN ? local.ammap_count : local.ammap_count | SPAN_FILE;
        return 0;
}

static inline int take_special(struct part part, int64_t deadline, uint64_t use, span_t *span)
{
        if (likely(part.map->shared != NULL))
                return take_shared(part, deadline, use, span);
        return take_file(part.map, part.first, part.last, part.access, part.reach, deadline, use, span);
}

int part_take(struct part part, int64_t deadline, uint64_t use, span_t *span)
{
        if (part.map->shared || part.map->file)
                return take_special(part, deadline, use, span);
        return take_local(part.map, part.first, part.last, part.access, part.reach, deadline, use, span);
}

int map_span_take_special(struct ammap *map, uint64_t offset, uint64_t length, enum access access, int64_t deadline,
                          uint64_t use, span_t *span)
{
        const struct part part = part_of(map, offset, length, access);

        for (unsigned shrinks = 0; shrinks < SHRINKS_MAX; shrinks++) {
                int rc = map_check(map, offset, length);

                if (rc < 0 || (rc = take_special(part, deadline, use, span)) < 0)
                        return rc;
                if (likely(map_has(map, offset, length)))
                        return 0;
                span_leave_special(span, use);
        }
        return AMMAP_ERR_BOUNDS;
}

void span_abandon(const span_t *span, uint64_t use)
{
        struct hold *hold = span->ammap_hold;

        if (span->ammap_count == SPAN_SHARED) {
                shared_abandon(span->ammap_hold, use);
                return;
        }
        for (size_t count = span->ammap_count & ~SPAN_FILE; count > 0 && hold; count--) {
                struct hold *rest = count > 1 ? hold->rest : NULL;

                lane_hold_abandon(hold);
                hold = rest;
        }
}

static void leave_file(const span_t *span)
{
        struct hold *hold = span->ammap_hold;
        span_t local = { .ammap_hold = hold, .ammap_count = span->ammap_count & ~SPAN_FILE };
        struct lane *lane = hold_lane(hold);
        struct ammap *map = lane->map;
        uint64_t first = (uint64_t)(lane - map->lane);
        bool write = (atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE;

        file_leave(map->file, first, first + local.ammap_count - 1, write ? WRITE : READ);
        span_leave_local(&local);
}

void span_leave_special(const span_t *span, uint64_t use)
{
        if (span->ammap_count == SPAN_SHARED)
                shared_leave(span->ammap_hold, use);
        else
                leave_file(span);
}
