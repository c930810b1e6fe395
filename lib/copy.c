/* copy.c - copies in, out, across, and fill
 *
 * SPDX-License-Identifier: MIT
 */
#include "internal.h"
#include "racy.h"
#include "span.h"

#include <string.h>

/* The longest copy that is worth reading twice when a writer comes by, rather
 * than keeping the writer out. */
#if defined(AMMAP_NO_OPTIMISTIC_READS) || defined(OS_TSAN)
enum { OPTIMISTIC_MAX = 0 };
#else
enum { OPTIMISTIC_MAX = 1024 };
#endif

/* Tries before entering the lane. */
enum { OPTIMISTIC_TRIES = 4 };

/* The length is looked at between begin and valid: a shrink changes the sequence
 * before it takes bytes away. */
static inline __attribute__((always_inline)) bool read_optimistic(const struct ammap *map, const struct lane *lane,
                                                                  uint64_t offset, void *buffer, size_t length)
{
        uint64_t sequence;

        if (!lane_read_begin(lane, &sequence))
                return false;
        if (__builtin_expect(!map_has(map, offset, length), 0))
                return false;
        racy_copy(buffer, map->base + offset, length);
        return lane_read_valid(lane, sequence);
}

static __attribute__((noinline)) int read_locked(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        span_t span;
        int rc = map_span_take(map, offset, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);

        if (rc < 0)
                return rc;
        memcpy(buffer, map->base + offset, length);
        span_leave(&span, HOLD_COPY);
        return 0;
}

/* Counted in the lane, but not noted as a hold: a shrink does not see it and
 * may take bytes away underway, and so is looked for afterwards.
 * 1: it did; nothing has been read. */
static int read_counted(ammap_t *map, struct lane *lane, uint64_t offset, void *buffer, size_t length)
{
        uint32_t shrinks = atomic_load(&map->shrinks);
        bool within;
        int rc = lane_read_slow(lane, LANE_FOR_EVER);

        if (rc < 0)
                return rc;
        within = map_has(map, offset, length);
        if (within)
                memcpy(buffer, map->base + offset, length);
        if (rc != LANE_MINE)
                lane_read_leave(lane);
        atomic_thread_fence(memory_order_acquire); /* keeps the bytes before the second look */
        return !within || atomic_load_explicit(&map->shrinks, memory_order_relaxed) != shrinks ||
               !map_has(map, offset, length);
}

static __attribute__((noinline)) int read_again(ammap_t *map, struct lane *lane, uint64_t offset, void *buffer,
                                                size_t length)
{
        int rc = map_check(map, offset, length);

        for (unsigned tries = 1; rc == 0 && tries < OPTIMISTIC_TRIES; tries++) {
                for (unsigned n = 1U << tries; n > 0; n--)
                        os_pause();
                if (read_optimistic(map, lane, offset, buffer, length))
                        return 0;
        }
        while (rc == 0)
                if ((rc = read_counted(map, lane, offset, buffer, length)) <= 0)
                        return rc;
                else
                        rc = map_check(map, offset, length);
        return rc;
}

int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        if (!map || (!buffer && length))
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_check(map, offset, 0);

        uint64_t first = map_lane_index(map, offset);
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (length > OPTIMISTIC_MAX || first != map_lane_last(map, offset, length))
                return read_locked(map, offset, buffer, length);
        if (read_optimistic(map, &map->lane[first], offset, buffer, length))
                return 0;
        return read_again(map, &map->lane[first], offset, buffer, length);
}

static __attribute__((noinline)) int update_span(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        span_t span;
        int rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span);

        if (rc < 0)
                return rc;
        memcpy(map->base + offset, data, length);
        span_leave(&span, HOLD_COPY);
        return 0;
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        int rc;

        if (!map || (!data && length))
                return AMMAP_ERR_INVALID;
        if ((rc = map_check(map, offset, length)) < 0 || length == 0)
                return rc;

        uint64_t first = map_lane_index(map, offset);
        if (first != map_lane_last(map, offset, length))
                return update_span(map, offset, data, length);
        if ((rc = lane_write(&map->lane[first], LANE_FOR_EVER)) < 0)
                return rc;
        os_fence_light(); /* as in hold_reaches: a shrink sees that someone writes */
        if (__builtin_expect(!map_has(map, offset, length), 0)) {
                lane_write_leave(&map->lane[first]);
                return update_span(map, offset, data, length);
        }
        memcpy(map->base + offset, data, length);
        lane_write_leave(&map->lane[first]);
        return 0;
}

int ammap_fill(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        span_t span;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_check(map, offset, 0);
        if ((rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span)) < 0)
                return rc;
        memset(map->base + offset, byte, (size_t)length);
        span_leave(&span, HOLD_COPY);
        return 0;
}

/* --- From map to map --- */

struct run {
        struct lane *first;
        size_t count; /* 0: nothing to take */
        enum access access;
        uint64_t reach; /* where in the map the copy ends */
};

static struct run run_of(ammap_t *map, uint64_t first, uint64_t last, enum access access, uint64_t reach)
{
        return (struct run){
                .first = &map->lane[first], .count = (size_t)(last + 1 - first), .access = access, .reach = reach
        };
}

/* What a copy must hold, in the order in which every copy takes it: by the
 * address of the lane.  Of lanes that are written and read, the write. */
static void plan_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length,
                      struct run run[3])
{
        uint64_t a = map_lane_index(to, to_offset), b = map_lane_last(to, to_offset, length);
        uint64_t c = map_lane_index(from, from_offset), d = map_lane_last(from, from_offset, length);
        uint64_t end = from_offset + length;

        memset(run, 0, 3 * sizeof run[0]);
        run[1] = run_of(to, a, b, WRITE, to_offset + length);
        if (to != from) {
                run[(uintptr_t)from < (uintptr_t)to ? 0 : 2] = run_of(from, c, d, READ, end);
                return;
        }
        if (end > run[1].reach)
                run[1].reach = end;
        if (c < a)
                run[0] = run_of(from, c, d < a ? d : a - 1, READ, end);
        if (d > b)
                run[2] = run_of(from, c > b ? c : b + 1, d, READ, end);
}

/* Take all of it, or none. */
static int take_runs(const struct run run[3], span_t span[3])
{
        unsigned taken;
        int rc = 0;

        for (taken = 0; taken < 3 && rc == 0; taken++)
                if (run[taken].count)
                        rc = span_take(run[taken].first, run[taken].count, run[taken].access, LANE_FOR_EVER, HOLD_COPY,
                                       &span[taken]);
        if (rc == 0)
                return 0;
        for (taken--; taken-- > 0;)
                if (run[taken].count)
                        span_leave(&span[taken], HOLD_COPY);
        return rc;
}

int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        span_t span[3] = { { .ammap_count = 0 } };
        struct run run[3];
        int rc;

        if (!to || !from)
                return AMMAP_ERR_INVALID;
        do {
                if ((rc = map_check(to, to_offset, length)) < 0 || (rc = map_check(from, from_offset, length)) < 0)
                        return rc;
                if (length == 0)
                        return 0;

                plan_copy(to, to_offset, from, from_offset, length, run);
                if ((rc = take_runs(run, span)) < 0)
                        return rc;
                for (unsigned i = 0; i < 3; i++)
                        if (run[i].count)
                                hold_reaches(span[i].ammap_hold, run[i].reach);
                rc = !map_has(to, to_offset, length) || !map_has(from, from_offset, length);
                if (rc == 0)
                        memmove(to->base + to_offset, from->base + from_offset, (size_t)length);
                for (unsigned i = 3; i-- > 0;)
                        if (run[i].count)
                                span_leave(&span[i], HOLD_COPY);
        } while (rc > 0); /* a shrink came first */
        return 0;
}
