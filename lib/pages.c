/* pages.c - the pages of a map: present, discarded, locked, on the disk
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/file_head.h"
#include "map/map.h"
#include "map/span.h"
#include "memory/bytes.h"

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
        if (from < to) {
                rc = os_advise(map->region.data + from, to - from, known[advice]);
                map->recycle = false; /* the advice would stay, as in on_pages */
        }
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
        if (from < to) {
                rc = call(&map->region, from, to);
                map->recycle = false;
        }
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
        int rc = span_take_range(map, offset, length, &span);

        if (rc <= 0)
                return rc;
        rc = 0;
        from = map_region_offset(map, offset);
        if (map->may_fault)
                rc = region_zero_careful(&map->region, from, from + (size_t)length, &done);
        else
                region_zero(&map->region, from, from + (size_t)length);
        span_leave_written(&span, rc, done);
        return rc;
}

/* --- On the disk --- */

int ammap_flush(ammap_t *map, uint64_t offset, uint64_t length)
{
        size_t page = os_page_size(), from;
        unsigned char last;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if ((rc = map_look(map, offset, length)) < 0)
                return rc;
        if (backing_is_none(map_backing(map)))
                return AMMAP_ERR_UNSUPPORTED;
        from = (size_t)offset & ~(page - 1);
        /* The system does not say that a file was cut; nor do the lengths, where the header is there. */
        if (length > 0 &&
            (rc = bytes_peek(map_backing(map), map_region_offset(map, offset + length) - 1, &last, sizeof last)) == 0)
                rc = os_sync(map_backing(map)->fd, map->base + from, region_pages(offset + length) - from);
        if (rc == 0 && map->file)
                rc = os_sync(map_backing(map)->fd, map->file->head, map->file->head_size);
        else if (rc == 0 && map->shared && map->shared->in_file)
                rc = os_sync(map_backing(map)->fd, map->shared->head, shared_head_size(map->shared));
        return rc;
}
