/* pages.c - the pages of a map: present, discarded, locked, frozen, cloned
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"
#include "map/span.h"

#include <errno.h>
#include <string.h>

/* --- Ranges of pages --- */

/* The pages that a range touches, with resizing locked; or a negative code, with
 * resizing not locked. */
static int lock_pages(ammap_t *map, uint64_t offset, uint64_t length, size_t *from, size_t *to)
{
        size_t page = os_page_size();
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        map_lock(map);
        if ((rc = map_look(map, offset, length)) < 0) {
                map_unlock(map);
                return rc;
        }
        *from = map_region_offset(map, offset) & ~(page - 1);
        *to = length ? (map_region_offset(map, offset + length) + page - 1) & ~(page - 1) : *from;
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
        map->recycle = false; /* the advice would stay, as in on_pages */
        map_unlock(map);
        return rc;
}

/* What has been locked is not kept for another map: the lock would stay with it. */
static int on_pages(ammap_t *map, uint64_t offset, uint64_t length,
                    int (*call)(struct region *region, size_t from, size_t to))
{
        size_t from, to;
        int rc = lock_pages(map, offset, length, &from, &to);

        if (rc < 0)
                return rc;
        rc = call(&map->region, from, to);
        map->recycle = false;
        map_unlock(map);
        return rc;
}

int ammap_mlock(ammap_t *map, uint64_t offset, uint64_t length)
{
        return on_pages(map, offset, length, region_lock);
}

int ammap_munlock(ammap_t *map, uint64_t offset, uint64_t length)
{
        return on_pages(map, offset, length, region_unlock);
}

int ammap_discard(ammap_t *map, uint64_t offset, uint64_t length)
{
        span_t span;
        size_t from, done = 0;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_look(map, offset, 0);
        if ((rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span)) < 0)
                return rc;
        from = map_region_offset(map, offset);
        if (map->may_fault)
                rc = region_zero_careful(&map->region, from, from + (size_t)length, &done);
        else
                region_zero(&map->region, from, from + (size_t)length);
        span_leave_written(&span, rc, done);
        return rc;
}

/* --- Freezing, cloning --- */

int map_freeze_pages(struct ammap *map)
{
        return region_freeze(&map->region);
}

int map_freeze(struct ammap *map, int (*freeze)(struct ammap *map))
{
        int rc;

        pthread_mutex_lock(&map->viewing);
        atomic_store(&map->freezing, true);
        rc = atomic_load(&map->views) > 0 ? AMMAP_ERR_BUSY : freeze(map);
        if (rc == 0) {
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        atomic_store(&map->freezing, false); /* after the pages, and frozen: see end_freeze in map.c */
        pthread_mutex_unlock(&map->viewing);
        return rc;
}

int ammap_freeze(ammap_t *map)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = map->kind->freeze(map);
        /* It is frozen already, or not ours to freeze. */
        return rc == AMMAP_ERR_READ_ONLY && !map->read_only ? 0 : rc;
}

int map_clone(struct ammap *map, int (*copy)(struct ammap *map, uint64_t length, struct ammap **made),
              struct ammap **made)
{
        uint64_t length;
        span_t span;
        int rc;

        do {
                length = map->kind->length(map);
                rc = map_span_take(map, 0, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);
        } while (rc == AMMAP_ERR_BOUNDS); /* a shrink came between */
        if (rc < 0)
                return rc;
        rc = copy(map, length, made);
        span_leave(&span, HOLD_COPY);
        return rc;
}

int ammap_clone(ammap_t *map, ammap_t **copy)
{
        if (!copy)
                return AMMAP_ERR_INVALID;
        *copy = NULL;
        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        return map->kind->clone(map, copy);
}

/* --- The kernel's account --- */

_Static_assert(AMMAP_STAT_UNKNOWN == OS_UNKNOWN, "what is not known is told as such");
_Static_assert(offsetof(ammap_stat_t, reserved) == offsetof(ammap_stat_t, read_only) + sizeof(bool) &&
                       sizeof(ammap_stat_t) == offsetof(ammap_stat_t, reserved) + 2,
               "no hidden room, through which bytes of the stack would be told");

/* The kernel is asked first, with no mutex held: that takes as long as there are
 * mappings, and the pages' place is constant. */
static int fill_stat(ammap_t *map, ammap_stat_t *stat)
{
        struct os_usage usage;
        bool frozen;

        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        os_usage(map->region.data, map->region.size, &usage);
        frozen = map->kind->was_frozen(map);
        map_lock(map);
        *stat = (ammap_stat_t){
                .length = ammap_len(map),
                .capacity = map->capacity,
                .mapped = map->region.mapped,
                .page = os_page_size(),
                .resident = usage.resident,
                .huge = usage.huge,
                .locked = usage.locked,
                .slices = map->kind->slices(map),
                .views = atomic_load(&map->views),
                .lanes = map->lanes,
                .share = map->kind->share,
                .fork = map->region.fork,
                .guard = map->region.guard,
                .frozen = frozen,
                .read_only = frozen || map->read_only,
        };
        map_unlock(map);
        return 0;
}

int ammap_stat(ammap_t *map, ammap_stat_t *stat)
{
        const size_t first = offsetof(ammap_stat_t, length);
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
        size = size < sizeof known ? size : sizeof known;
        if (size > first)
                memcpy((unsigned char *)stat + first, (unsigned char *)&known + first, size - first);
        return 0;
}

int ammap_is_hugepage_backed(ammap_t *map)
{
        struct os_usage usage;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_usage(map->region.data, map->region.size, &usage);
        if (usage.huge != OS_UNKNOWN)
                return usage.huge > 0;
        return os_absent(rc) ? AMMAP_ERR_UNSUPPORTED : rc;
}
