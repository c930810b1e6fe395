/* memory.c - the pages of a map: present, discarded, locked, frozen, cloned
 *
 * SPDX-License-Identifier: MIT
 */
#include "file.h"
#include "internal.h"
#include "span.h"

#include <errno.h>
#include <string.h>

/* How long one tries to read who keeps no writer out, in ns. */
#define UNENTERED_MAX INT64_C(10000000000)

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
        if ((rc = map_look(map, offset, length)) < 0) {
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
        from = region_offset(map, offset);
        if (map->careful)
                rc = region_zero_careful(&map->region, from, from + (size_t)length, &done);
        else
                region_zero(&map->region, from, from + (size_t)length);
        span_leave_written(&span, rc, done);
        return rc;
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
                struct lane_request request = { .end = map->lane + map->lanes, .deadline = LANE_FOR_EVER };

                lane_settle(map->lane, (size_t)map->lanes);
                for (uint64_t i = 0; i < map->lanes; i++) {
                        int rc = lane_freeze(&map->lane[i], &request);

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

/* In a file the flag is what holds, whatever becomes of the pages. */
static int freeze_pages(ammap_t *map)
{
        int rc;

        pthread_mutex_lock(&map->viewing);
        atomic_store(&map->freezing, true);
        rc = atomic_load(&map->views) > 0 ? AMMAP_ERR_BUSY : map->file ? file_freeze(map) : region_freeze(&map->region);
        if (rc == 0) {
                if (map->file)
                        region_freeze(&map->region);
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        atomic_store(&map->freezing, false); /* after the pages, and frozen: see end_freeze in map.c */
        pthread_mutex_unlock(&map->viewing);
        return rc;
}

/* The length, then all lanes, as a shrink takes them: who has the length waits for
 * no slice.  So one of these is waited for without it. */
static int take_everything_shared(ammap_t *map, struct slot **slot)
{
        struct shared *shared = map->shared;
        struct shared_hold *hold;

        for (;;) {
                int rc;

                map_lock(map);
                rc = shared_write(shared, shared->lanes, slot);
                if (rc == 0) {
                        rc = shared_cut(shared, 0, shared->lanes - 1, 0, *slot);
                        if (rc == 0)
                                return 0;
                        shared_write_leave(shared, shared->lanes, *slot);
                }
                map_unlock(map);
                if (rc != AMMAP_ERR_BUSY)
                        return rc;
                rc = shared_enter(shared, 0, shared->lanes, WRITE, 0, SHARED_COPY, LANE_FOR_EVER, &hold);
                if (rc < 0)
                        return rc;
                shared_leave(hold, SHARED_COPY);
        }
}

/* Others look at the flag whenever they have entered to write.  The seal is for
 * those who come later, and the kernel may not know it. */
static int freeze_shared(ammap_t *map)
{
        struct shared *shared = map->shared;
        struct slot *slot;
        int rc;

        if (map_frozen(map))
                return 0;
        if (map->read_only)
                return AMMAP_ERR_READ_ONLY;
        rc = take_everything_shared(map, &slot);
        if (rc < 0)
                return rc;
        rc = shared_freeze_begin(shared);
        if (rc == 0 && (rc = freeze_pages(map)) < 0)
                shared_freeze_cancel(shared);
        if (rc == 0) {
                shared_learn_frozen(shared);
                atomic_store(&shared->head->frozen, 1);
                os_add_seals(map->backing.fd, AMMAP_SEAL_FUTURE_WRITE);
        }
        shared_cut_leave(shared, 0, shared->lanes - 1);
        shared_write_leave(shared, shared->lanes, slot);
        map_unlock(map);
        return rc;
}

/* The length last: who cuts a file does not wait for ever for lanes. */
static int freeze_file(ammap_t *map)
{
        int rc = file_enter(map, 0, map->lanes - 1, WRITE, LANE_FOR_EVER);

        if (rc < 0)
                return rc;
        rc = file_enter_length(map->file);
        if (rc == 0) {
                rc = freeze_pages(map);
                file_leave_length(map->file);
        }
        file_leave(map, 0, map->lanes - 1, WRITE);
        return rc;
}

static int freeze_local(ammap_t *map)
{
        int rc;

        if (map->file && file_was_frozen(map))
                return 0;
        rc = take_everything(map);
        if (rc < 0)
                return rc;
        rc = map->file ? freeze_file(map) : freeze_pages(map);
        if (rc == 0 && !map->file && !map->backing.own)
                os_add_seals(map->backing.fd, AMMAP_SEAL_FUTURE_WRITE);
        map_unlock(map);
        leave_lanes(map, map->lanes, rc == 0);
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
        rc = map->shared ? freeze_shared(map) : freeze_local(map);
        /* It is frozen already, or not ours to freeze. */
        return rc == AMMAP_ERR_READ_ONLY && !map->read_only ? 0 : rc;
}

/* --- Cloning --- */

/* A map of its own, with what the first length bytes hold. */
static int copy_private(ammap_t *map, uint64_t length, ammap_t **copy)
{
        ammap_options_t options = map->options;
        ammap_t *made;
        unsigned char *to;
        int rc;

        options.share = AMMAP_PRIVATE;
        if ((rc = map_make(&made, length, &options, NULL)) < 0)
                return rc;
        to = made->base - (map->base - map->region.data);
        if (map->careful)
                rc = region_copy_careful(to, &map->region, region_offset(map, length));
        else
                region_copy(to, &map->region, region_offset(map, length));
        if (rc < 0)
                map_destroy(made);
        else
                *copy = made;
        return rc;
}

static int copy_shared(ammap_t *map, uint64_t length, ammap_t **copy)
{
        int rc = length ? share_new(copy, length, &map->options) : AMMAP_ERR_SIZE;

        if (rc == 0)
                region_copy((*copy)->base, &map->region, (size_t)length);
        return rc;
}

/* The same for one who cannot keep writers out: until none came by. */
static int copy_unentered(ammap_t *map, ammap_t **copy)
{
        const int64_t deadline = os_now() + UNENTERED_MAX;
        struct shared *shared = map->shared;
        uint64_t sequence;
        int rc = 0;

        for (unsigned looks = 0; rc == 0; looks++) {
                if (shared_read_begin(shared, 0, shared->lanes + 1, &sequence)) {
                        rc = copy_shared(map, share_length(map), copy);
                        if (rc < 0 || shared_read_valid(shared, 0, shared->lanes + 1, sequence))
                                return rc;
                        map_destroy(*copy);
                        *copy = NULL;
                }
                rc = os_now() > deadline ? AMMAP_ERR_TIMEOUT : shared_look_again(shared, 0, shared->lanes + 1, looks);
        }
        return rc;
}

int ammap_clone(ammap_t *map, ammap_t **copy)
{
        uint64_t length;
        span_t span;
        int rc;

        if (!copy)
                return AMMAP_ERR_INVALID;
        *copy = NULL;
        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (map->shared && map_frozen(map)) {
                length = share_length(map);
                return length ? copy_private(map, length, copy) : AMMAP_ERR_SIZE; /* who wrote that lies */
        }
        if (map->shared && map->read_only)
                return copy_unentered(map, copy);
        do {
                length = ammap_len(map);
                rc = map_span_take(map, 0, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);
        } while (rc == AMMAP_ERR_BOUNDS); /* a shrink came between */
        if (rc < 0)
                return rc;
        rc = map->shared ? copy_shared(map, length, copy) : copy_private(map, length, copy);
        span_leave(&span, HOLD_COPY);
        return rc;
}

/* --- The kernel's account --- */

static ammap_share_t share_of(const ammap_t *map)
{
        if (map->backing.own)
                return AMMAP_PRIVATE;
        return map->shared || map->file ? AMMAP_SHARED : AMMAP_RAW;
}

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
        frozen = map_was_frozen(map);
        map_lock(map);
        *stat = (ammap_stat_t){
                .length = ammap_len(map),
                .capacity = map->capacity,
                .mapped = map->region.mapped,
                .page = os_page_size(),
                .resident = usage.resident,
                .huge = usage.huge,
                .locked = usage.locked,
                .slices = map->shared ? shared_slices(map->shared) : thread_slices(map->lane, map->lane + map->lanes),
                .views = atomic_load(&map->views),
                .lanes = map->lanes,
                .share = share_of(map),
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
