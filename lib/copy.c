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

static bool read_optimistic(const struct lane *lane, void *buffer, const void *bytes, size_t length)
{
        uint64_t sequence;

        if (!lane_read_begin(lane, &sequence))
                return false;
        racy_copy(buffer, bytes, length);
        return lane_read_valid(lane, sequence);
}

static int read_locked(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        span_t span;
        int rc = map_span_take(map, offset, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);

        if (rc < 0)
                return rc;
        memcpy(buffer, map->base + offset, length);
        span_leave(&span, HOLD_COPY);
        return 0;
}

static __attribute__((noinline)) int read_again(ammap_t *map, struct lane *lane, uint64_t offset, void *buffer,
                                                size_t length)
{
        int rc;

        for (unsigned tries = 1; tries < OPTIMISTIC_TRIES; tries++) {
                for (unsigned n = 1U << tries; n > 0; n--)
                        os_pause();
                if (read_optimistic(lane, buffer, map->base + offset, length))
                        return 0;
        }
        if ((rc = lane_read_slow(lane, LANE_FOR_EVER)) < 0)
                return rc;
        memcpy(buffer, map->base + offset, length);
        if (rc != LANE_MINE)
                lane_read_leave(lane);
        return 0;
}

int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        if (!map || (!buffer && length))
                return AMMAP_ERR_INVALID;
        if (!range_ok(map->length, offset, length))
                return AMMAP_ERR_BOUNDS;
        if (length == 0)
                return 0;

        uint64_t first = map_lane_index(map, offset);
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (length > OPTIMISTIC_MAX || first != map_lane_last(map, offset, length))
                return read_locked(map, offset, buffer, length);
        if (read_optimistic(&map->lane[first], buffer, map->base + offset, length))
                return 0;
        return read_again(map, &map->lane[first], offset, buffer, length);
}

static int update_span(ammap_t *map, uint64_t offset, const void *data, size_t length)
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
        if (!range_ok(map->length, offset, length))
                return AMMAP_ERR_BOUNDS;
        if (length == 0)
                return 0;

        uint64_t first = map_lane_index(map, offset);
        if (first != map_lane_last(map, offset, length))
                return update_span(map, offset, data, length);
        if ((rc = lane_write(&map->lane[first], LANE_FOR_EVER)) < 0)
                return rc;
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
        if (!range_ok(map->length, offset, length))
                return AMMAP_ERR_BOUNDS;
        if (length == 0)
                return 0;
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
};

static struct run run_of(ammap_t *map, uint64_t first, uint64_t last, enum access access)
{
        return (struct run){ .first = &map->lane[first], .count = (size_t)(last + 1 - first), .access = access };
}

/* What a copy must hold, in the order in which every copy takes it: by the
 * address of the lane.  Of lanes that are written and read, the write. */
static void plan_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length,
                      struct run run[3])
{
        uint64_t a = map_lane_index(to, to_offset), b = map_lane_last(to, to_offset, length);
        uint64_t c = map_lane_index(from, from_offset), d = map_lane_last(from, from_offset, length);
        struct run write = run_of(to, a, b, WRITE);

        memset(run, 0, 3 * sizeof run[0]);
        run[1] = write;
        if (to != from) {
                run[(uintptr_t)from < (uintptr_t)to ? 0 : 2] = run_of(from, c, d, READ);
                return;
        }
        if (c < a)
                run[0] = run_of(from, c, d < a ? d : a - 1, READ);
        if (d > b)
                run[2] = run_of(from, c > b ? c : b + 1, d, READ);
}

int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        span_t span[3];
        struct run run[3];
        unsigned taken;
        int rc = 0;

        if (!to || !from)
                return AMMAP_ERR_INVALID;
        if (!range_ok(to->length, to_offset, length) || !range_ok(from->length, from_offset, length))
                return AMMAP_ERR_BOUNDS;
        if (length == 0)
                return 0;

        plan_copy(to, to_offset, from, from_offset, length, run);
        for (taken = 0; taken < 3 && rc == 0; taken++)
                if (run[taken].count)
                        rc = span_take(run[taken].first, run[taken].count, run[taken].access, LANE_FOR_EVER, HOLD_COPY,
                                       &span[taken]);
        if (rc == 0)
                memmove(to->base + to_offset, from->base + from_offset, (size_t)length);
        else
                taken--;
        while (taken-- > 0)
                if (run[taken].count)
                        span_leave(&span[taken], HOLD_COPY);
        return rc;
}
