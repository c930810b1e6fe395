/* memory.c - the pages of a map: present, discarded, locked, frozen, cloned
 *
 * SPDX-License-Identifier: MIT
 */
#include "internal.h"
#include "span.h"

#include <errno.h>
#include <string.h>

/* --- Ranges of pages --- */

/* The bytes of a range, counted from the region's start. */
static size_t region_offset(const struct ammap *map, uint64_t offset)
{
        return (size_t)(map->base - map->region.data) + (size_t)offset;
}

/* The pages that a range touches, with resizing locked; or a negative code, with
 * resizing not locked. */
static int lock_pages(ammap_t *map, uint64_t offset, uint64_t length, size_t *from, size_t *to)
{
        size_t page = os_page_size();
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        map_lock(map);
        if ((rc = map_check(map, offset, length)) < 0) {
                map_unlock(map);
                return rc;
        }
        *from = region_offset(map, offset) & ~(page - 1);
        *to = length ? (region_offset(map, offset + length) + page - 1) & ~(page - 1) : *from;
        return 0;
}

int ammap_populate(ammap_t *map, uint64_t offset, uint64_t length)
{
        size_t from, to;
        int rc = lock_pages(map, offset, length, &from, &to);

        if (rc < 0)
                return rc;
        rc = region_populate(&map->region, from, to);
        map_unlock(map);
        return rc;
}

int ammap_advise(ammap_t *map, uint64_t offset, uint64_t length, ammap_advice_t advice)
{
        static const enum os_advice known[] = {
                [AMMAP_ADVICE_NORMAL] = OS_NORMAL,
                [AMMAP_ADVICE_RANDOM] = OS_RANDOM,
                [AMMAP_ADVICE_SEQUENTIAL] = OS_SEQUENTIAL,
                [AMMAP_ADVICE_WILLNEED] = OS_WILLNEED,
                [AMMAP_ADVICE_COLD] = OS_COLD,
                [AMMAP_ADVICE_PAGEOUT] = OS_PAGEOUT,
                [AMMAP_ADVICE_HUGEPAGE] = OS_HUGEPAGE,
                [AMMAP_ADVICE_NOHUGEPAGE] = OS_NOHUGEPAGE,
        };
        size_t from, to;
        int rc;

        if ((unsigned)advice >= sizeof known / sizeof known[0])
                return AMMAP_ERR_INVALID;
        if ((rc = lock_pages(map, offset, length, &from, &to)) < 0)
                return rc;
        if (from < to)
                rc = os_advise(map->region.data + from, to - from, known[advice]);
        map->recycle = false; /* the advice would stay with the memory, as a lock does */
        map_unlock(map);
        return rc;
}

int ammap_mlock(ammap_t *map, uint64_t offset, uint64_t length)
{
        size_t from, to;
        int rc = lock_pages(map, offset, length, &from, &to);

        if (rc < 0)
                return rc;
        if (from < to)
                rc = os_lock(map->region.data + from, to - from);
        map->recycle = false;
        map_unlock(map);
        return rc;
}

int ammap_munlock(ammap_t *map, uint64_t offset, uint64_t length)
{
        size_t from, to;
        int rc = lock_pages(map, offset, length, &from, &to);

        if (rc < 0)
                return rc;
        if (from < to)
                rc = os_unlock(map->region.data + from, to - from);
        map_unlock(map);
        return rc;
}

int ammap_discard(ammap_t *map, uint64_t offset, uint64_t length)
{
        span_t span;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_check(map, offset, 0);
        if ((rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span)) < 0)
                return rc;
        region_zero(&map->region, region_offset(map, offset), region_offset(map, offset + length));
        span_leave(&span, HOLD_COPY);
        return 0;
}

/* --- Freezing --- */

static void leave_lanes(ammap_t *map, uint64_t count, bool frozen)
{
        while (count-- > 0)
                if (frozen)
                        lane_write_leave_frozen(&map->lane[count]);
                else
                        lane_write_leave(&map->lane[count]);
}

/* All lanes to write, in ascending order, then resizing; which a thread that
 * shrinks the map may hold while it waits for us to leave the lanes. */
static int take_everything(ammap_t *map)
{
        for (;;) {
                for (uint64_t i = 0; i < map->lanes; i++) {
                        int rc = lane_write(&map->lane[i], LANE_FOR_EVER);

                        if (rc < 0) {
                                leave_lanes(map, i, false);
                                return rc;
                        }
                }
                if (pthread_mutex_trylock(&map->resizing) == 0)
                        return 0;
                leave_lanes(map, map->lanes, false);
                map_lock(map);
                map_unlock(map);
        }
}

int ammap_freeze(ammap_t *map)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = take_everything(map);
        if (rc < 0) /* READ_ONLY: it is frozen already */
                return rc == AMMAP_ERR_READ_ONLY ? 0 : rc;
        pthread_mutex_lock(&map->viewing);
        rc = atomic_load(&map->views) > 0 ? AMMAP_ERR_BUSY : region_freeze(&map->region);
        if (rc == 0) {
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        pthread_mutex_unlock(&map->viewing);
        map_unlock(map);
        leave_lanes(map, map->lanes, rc == 0);
        return rc;
}

/* --- Cloning --- */

int ammap_clone(ammap_t *map, ammap_t **copy)
{
        ammap_t *made;
        uint64_t length;
        span_t span;
        int rc;

        if (!copy)
                return AMMAP_ERR_INVALID;
        *copy = NULL;
        if (!map)
                return AMMAP_ERR_INVALID;
        do {
                length = ammap_len(map);
                rc = map_span_take(map, 0, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);
        } while (rc == AMMAP_ERR_BOUNDS); /* a shrink came between */
        if (rc < 0)
                return rc;
        rc = map_make(&made, length, &map->options);
        if (rc == 0) {
                region_copy(&made->region, &map->region, region_offset(map, length));
                *copy = made;
        }
        span_leave(&span, HOLD_COPY);
        return rc;
}

/* --- The kernel's account --- */

/* All zeros where the system keeps none. */
static int usage_of(ammap_t *map, struct os_usage *usage)
{
        int rc = os_usage(map->region.data, map->region.size, usage);

        if (rc == -ENOSYS)
                memset(usage, 0, sizeof *usage);
        return rc == -ENOSYS ? 0 : rc;
}

static int fill_stat(ammap_t *map, ammap_stat_t *stat)
{
        struct os_usage usage = { .resident = 0 };
        int rc;

        map_lock(map);
        rc = atomic_load(&map->omitted) ? AMMAP_ERR_UNSUPPORTED : usage_of(map, &usage);
        *stat = (ammap_stat_t){
                .length = ammap_len(map),
                .capacity = map->capacity,
                .mapped = map->region.mapped,
                .page = os_page_size(),
                .resident = usage.resident,
                .huge = usage.huge,
                .locked = usage.locked,
                .slices = thread_slices(map->lane, map->lane + map->lanes),
                .views = atomic_load(&map->views),
                .lanes = map->lanes,
                .share = AMMAP_PRIVATE,
                .fork = map->region.fork,
                .guard = map->region.guard,
                .frozen = atomic_load(&map->frozen),
                .read_only = atomic_load(&map->frozen),
        };
        map_unlock(map);
        return rc;
}

int ammap_stat(ammap_t *map, ammap_stat_t *stat)
{
        ammap_stat_t known;
        size_t size;
        int rc;

        if (!stat || (size = stat->struct_size) < sizeof size)
                return AMMAP_ERR_INVALID;
        memset((unsigned char *)stat + sizeof size, 0, size - sizeof size);
        if (!map)
                return AMMAP_ERR_INVALID;
        if ((rc = fill_stat(map, &known)) < 0)
                return rc;
        memcpy((unsigned char *)stat + sizeof size, (unsigned char *)&known + sizeof size,
               (size < sizeof known ? size : sizeof known) - sizeof size);
        return 0;
}

int ammap_is_hugepage_backed(ammap_t *map)
{
        struct os_usage usage = { .huge = 0 };
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        map_lock(map);
        rc = atomic_load(&map->omitted) ? AMMAP_ERR_UNSUPPORTED : usage_of(map, &usage);
        map_unlock(map);
        return rc < 0 ? rc : usage.huge > 0;
}
