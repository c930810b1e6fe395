/* span.c - lanes in a row, held by the calling thread
 *
 * SPDX-License-Identifier: MIT
 *
 * A span notes where its first lane's hold stands, which is all of them for most;
 * the others hang on to that in a chain.
 */
#include "map/span.h"

#include "lock/file_lock.h"
#include "lock/file_twins.h"
#include "lock/shared_detach.h"
#include "os/hints.h"

static bool hold_writes(const struct hold *hold)
{
        return (atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE;
}

/* --- Between threads --- */

/* A slice that a fork has made void has fewer than it says. */
static void leave_chain(struct hold *hold, size_t count)
{
        for (struct hold *rest; count > 0 && hold; count--, hold = rest) {
                rest = hold->rest;
                lane_hold_leave(hold);
        }
}

/* The same as it was found. */
static void return_chain(struct hold *hold, size_t count)
{
        for (struct hold *rest; count > 0; count--, hold = rest) {
                rest = hold->rest;
                lane_hold_return(hold);
        }
}

/* The lanes after the first; on an error none of them is held.  1: a writer was gone. */
static int take_rest(struct hold *first, enum access access, struct lane_request *request)
{
        struct lane *lane = hold_lane(first) + 1;
        struct hold *last = first;
        int died = 0;

        if (access == WRITE)
                lane_settle(lane, (size_t)(request->end - lane));
        for (size_t taken = 0; lane < request->end; lane++, taken++) {
                int rc = access == WRITE ? lane_hold_write(lane, request, HOLD_COPY, &last->rest)
                                         : lane_hold_read(lane, request, HOLD_COPY, &last->rest);

                if (rc < 0) {
                        return_chain(first->rest, taken);
                        return rc;
                }
                died |= rc;
                last = last->rest;
        }
        return died;
}

int span_enter_local(struct ammap *map, const struct request *request, span_t *span)
{
        struct lane *first = &map->lane[request->lanes.first];
        struct lane_request lanes = { .end = &map->lane[request->lanes.last] + 1,
                                      .deadline = request->deadline,
                                      .recovers = request->recovers };
        struct hold *hold;
        int more = 0, rc = request->access == WRITE ? lane_hold_write(first, &lanes, request->use, &hold)
                                                    : lane_hold_read(first, &lanes, request->use, &hold);

        if (rc < 0)
                return rc;
        if (lanes.end - first > 1 && (more = take_rest(hold, request->access, &lanes)) < 0) {
                lane_hold_return(hold);
                return more;
        }
        span_note_reach(hold, request->reach);
        span->ammap_hold = hold;
        span->ammap_count = (size_t)(lanes.end - first);
        return rc | more;
}

/* A slice that a fork has made void is to read already. */
static int downgrade_local(const span_t *span)
{
        struct hold *hold = span->ammap_hold;

        if (!hold_writes(hold))
                return AMMAP_ERR_INVALID;
        for (size_t count = span->ammap_count & ~SPAN_FILE; count > 0; count--, hold = hold->rest)
                lane_hold_downgrade(hold);
        return 0;
}

static void leave_local(const span_t *span)
{
        struct hold *hold = span->ammap_hold;

        if (span->ammap_count > 1)
                leave_chain(hold->rest, span->ammap_count - 1);
        lane_hold_leave(hold);
}

/* --- Between processes, too --- */

int span_enter_shared(struct ammap *map, const struct request *request, span_t *span)
{
        struct shared_hold *hold;
        int rc = shared_enter(map->shared, request, &hold);

        if (rc < 0)
                return rc;
        span->ammap_hold = hold;
        span->ammap_count = SPAN_SHARED;
        if (likely(!request->recovers))
                return 0;
        if (map_has(map, request->offset, request->length))
                return shared_open(hold);
        shared_abandon(hold, request->use);
        return AMMAP_ERR_BOUNDS;
}

static struct lane_range lanes_in_file(const span_t *span)
{
        const struct lane *lane = hold_lane(span->ammap_hold);
        uint32_t first = (uint32_t)(lane - lane->map->lane);

        return (struct lane_range){ first, first + (uint32_t)(span->ammap_count & ~SPAN_FILE) - 1 };
}

/* For a thread of this process that has died, and is about to leave the lane to what stands in
 * the file (file_abandon). */
enum { DYING_NAP = 50000 }; /* ns */

/* Whoever is in the way here may wait for what this thread holds through another map in
 * the file: so he is not waited for.  file_enter looks at the length that other processes may
 * have changed.  FILE_AGAIN: somebody is in the way of several. */
static int enter_row(struct ammap *map, const struct request *request, span_t *span)
{
        int elsewhere = file_elsewhere(map->file, request->lanes, request->access), rc;
        struct request here = *request;
        span_t local;

        if (elsewhere < 0)
                return elsewhere;
        if (elsewhere)
                here.deadline = LANE_TRY;
        here.recovers = false;
        while ((rc = span_enter_local(map, &here, &local)) == AMMAP_ERR_OWNER_DEAD && request->recovers)
                waiter_nap(DYING_NAP);
        if (rc == AMMAP_ERR_BUSY && elsewhere)
                return lane_count(request->lanes) > 1 ? FILE_AGAIN : AMMAP_ERR_DEADLOCK;
        if (rc < 0)
                return rc;
        if ((rc = file_enter(map->file, request)) < 0 || rc == FILE_AGAIN) {
                leave_local(&local);
                return rc;
        }
        span->ammap_hold = local.ammap_hold;
        span->ammap_count = rc == FILE_FROZEN ? local.ammap_count : local.ammap_count | SPAN_FILE;
        return rc == FILE_RECOVERED;
}

static struct hold *last_of(const span_t *span)
{
        struct hold *last = span->ammap_hold;

        for (size_t count = span->ammap_count & ~SPAN_FILE; count > 1; count--)
                last = last->rest;
        return last;
}

/* All lanes by one step; where somebody is in the way of several, half of them, and then more again.  Who
 * waits has earlier lanes alone (I2 in file_lock.c). */
static int enter_rows(struct ammap *map, const struct request *request, span_t *span)
{
        const uint64_t end = (uint64_t)request->lanes.last + 1;
        uint64_t i = request->lanes.first, step = end - i;
        struct request row = *request;
        struct hold *last = NULL;
        int died = 0;

        while (i < end) {
                span_t more;
                int rc;

                row.lanes = (struct lane_range){ (uint32_t)i, (uint32_t)(i + step - 1) };
                row.use = last ? HOLD_COPY : request->use;
                rc = enter_row(map, &row, &more);
                if (rc == FILE_AGAIN) {
                        step /= 2;
                        continue;
                }
                if (rc < 0) {
                        if (last) /* nothing is marked yet: what was dead stays so */
                                span_leave_any(span, request->use);
                        return rc;
                }
                if (last && more.ammap_count < SPAN_FILE && span->ammap_count >= SPAN_FILE) {
                        /* Only a liar has frozen it while we have lanes.  For us it is frozen from here on. */
                        leave_local(&more);
                        span_leave_any(span, request->use);
                        last = NULL;
                        i = request->lanes.first;
                        step = end - i;
                        continue;
                }
                if (last) {
                        last->rest = more.ammap_hold;
                        span->ammap_count += more.ammap_count & ~SPAN_FILE;
                } else {
                        *span = more;
                }
                died |= rc;
                i += step;
                if (i < end)
                        last = last_of(&more);
                step = 2 * step < end - i ? 2 * step : end - i;
        }
        return died;
}

static bool is_kept_out(int rc)
{
        return rc == AMMAP_ERR_BUSY || rc == AMMAP_ERR_TIMEOUT || rc == AMMAP_ERR_DEADLOCK;
}

/* Who would write a frozen file does not wait for those who read it here, and is not told that they are in
 * the way. */
static int enter_to_write(struct ammap *map, const struct request *request, span_t *span)
{
        int rc, marked;

        if (atomic_load(&map->frozen))
                return AMMAP_ERR_READ_ONLY;
        rc = enter_rows(map, request, span);
        if (rc < 0)
                return is_kept_out(rc) && file_frozen(map->file) ? AMMAP_ERR_READ_ONLY : rc;
        if (request->unmarked || (marked = file_mark(map->file, request->lanes)) == 0)
                return rc;
        span->ammap_count &= ~SPAN_FILE; /* they are not locked any more */
        leave_local(span);
        return marked;
}

int span_enter_file(struct ammap *map, const struct request *request, span_t *span)
{
        span_t entered = { .ammap_hold = NULL };
        int rc = request->access == WRITE ? enter_to_write(map, request, &entered) : enter_rows(map, request, &entered);

        if (rc >= 0)
                *span = entered;
        return rc;
}

static void leave_file(const span_t *span)
{
        struct hold *hold = span->ammap_hold;
        span_t local = { .ammap_hold = hold, .ammap_count = span->ammap_count & ~SPAN_FILE };

        file_leave(hold_lane(hold)->map->file, lanes_in_file(span), hold_writes(hold) ? WRITE : READ);
        leave_local(&local);
}

/* The others of this process come last: they share what it has then. */
static int downgrade_file(const span_t *span)
{
        struct hold *hold = span->ammap_hold;
        int rc =
                hold_writes(hold) ? file_downgrade(hold_lane(hold)->map->file, lanes_in_file(span)) : AMMAP_ERR_INVALID;

        return rc < 0 ? rc : downgrade_local(span);
}

/* --- The process's --- */

/* Drop the thread's holds.  The process has the lanes. */
static void drop_chain(struct hold *hold, size_t count)
{
        for (struct hold *rest; count > 0; count--, hold = rest) {
                rest = hold->rest;
                hold_drop(hold);
        }
}

static void reattach_chain(const struct hold *hold, struct hold *detached)
{
        for (struct hold *rest; detached; hold = hold->rest, detached = rest) {
                rest = detached->rest;
                lane_hold_reattach(hold, detached);
        }
}

/* Two holds name each lane until all have been doubled.  This does not take the map's mutex: who
 * cuts a file has it while he waits, and perhaps for this slice. */
static int detach_local(span_t *span)
{
        const size_t count = span->ammap_count & ~SPAN_FILE;
        struct hold *first = span->ammap_hold, *detached = NULL, **link = &detached;
        const struct hold *hold = first;
        int rc = 0;

        if (hold_lane(first)->map->lanes == 0) /* a forked child's, of a map in a file: it holds nothing */
                return AMMAP_ERR_INVALID;
        thread_begin_detach();
        for (size_t done = 0; done < count && rc == 0; done++, hold = hold->rest) {
                rc = lane_hold_detach(hold, link);
                if (rc == 0)
                        link = &(*link)->rest;
                else
                        *link = NULL;
        }
        if (rc < 0) {
                reattach_chain(first, detached);
        } else {
                drop_chain(first, count);
                span->ammap_hold = detached;
        }
        thread_end_detach();
        return rc;
}

int span_detach(span_t *span)
{
        struct shared_hold *hold = span->ammap_hold;
        int rc;

        if (span->ammap_count != SPAN_SHARED)
                return detach_local(span);
        if ((rc = shared_detach(&hold)) == 0)
                span->ammap_hold = hold;
        return rc;
}

bool span_is_detached(const span_t *span)
{
        if (!span->ammap_hold)
                return false;
        return span->ammap_count == SPAN_SHARED ? shared_is_detached(span->ammap_hold)
                                                : thread_is_detached(span->ammap_hold);
}

void span_leave_detached(const span_t *span, uint64_t use)
{
        if (span->ammap_count == SPAN_SHARED)
                shared_leave_detached(span->ammap_hold, use);
        else
                span_leave(span, use);
}

/* --- Any span --- */

/* What one who recovers is not to leave as good.  Other processes are asked for the length
 * before anything is written (span_enter_shared, file_enter): there it is a liar's. */
static void span_return(const span_t *span, uint64_t use)
{
        if (span->ammap_count < SPAN_FILE) /* LCOV_EXCL_BR_LINE: else who lies about the length came in between */
                return_chain(span->ammap_hold, span->ammap_count);
        else
                span_abandon(span, use);
}

int span_take_any(struct ammap *map, const struct request *request, span_t *span)
{
        for (unsigned shrinks = 0; shrinks < SHRINKS_MAX || !map->kind->joint; shrinks++) {
                int rc = map_check(map, request->offset, request->length);

                if (rc < 0 || (rc = map->kind->enter(map, request, span)) < 0)
                        return rc;
                if (likely(map_has(map, request->offset, request->length)))
                        return rc;
                if (rc > 0)
                        span_return(span, request->use);
                else
                        span_leave(span, request->use);
        }
        return AMMAP_ERR_BOUNDS;
}

int span_take_range(struct ammap *map, uint64_t offset, uint64_t length, span_t *span)
{
        struct request request;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_look(map, offset, 0);
        request = span_request(map, offset, length, WRITE);
        rc = span_take(map, &request, span);
        return rc < 0 ? rc : 1;
}

void span_leave_any(const span_t *span, uint64_t use)
{
        if (span->ammap_count == SPAN_SHARED)
                shared_leave(span->ammap_hold, use);
        else if (span->ammap_count >= SPAN_FILE)
                leave_file(span);
        else
                leave_local(span);
}

int span_downgrade(span_t *span)
{
        struct shared_hold *hold = span->ammap_hold;
        int rc;

        if (span->ammap_count != SPAN_SHARED)
                return span->ammap_count >= SPAN_FILE ? downgrade_file(span) : downgrade_local(span);
        if ((rc = shared_downgrade(&hold)) == 0)
                span->ammap_hold = hold;
        return rc;
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
