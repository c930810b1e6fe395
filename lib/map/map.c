/* map.c - what every map has: its place on the list of all, its memory, its mutexes
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"

#include "lock/file_twins.h"
#include "lock/shared_detach.h"
#include "map/options.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* All maps, for fork.  The mutex is held across a fork, so that the child finds
 * the list whole.  They are listed by what malloc gave for them, which who looks for
 * leaks wants to find. */
static struct mutex all_maps_mutex;
static void *all_maps;

static bool forking; /* a thread forks, and has locked whatever is held across it; guard: all_maps_mutex */

static pthread_once_t started = PTHREAD_ONCE_INIT;
static bool forks_known; /* by all_maps_mutex */
static _Atomic bool threads_known;

/* The map in a block; NULL: there is none. */
static struct ammap *map_in(void *block)
{
        const uintptr_t line = _Alignof(struct ammap);

        return block ? (void *)((unsigned char *)block + (-(uintptr_t)block & (line - 1))) : NULL;
}

static void *block_of(struct ammap *map)
{
        return (unsigned char *)map - map->shift;
}

static void lock_maps(void)
{
        os_fork_check();
        mutex_lock(&all_maps_mutex);
}

static void unlock_maps(void)
{
        mutex_unlock(&all_maps_mutex);
}

/* The child may have a freeze to end that it does not have the thread of.  Frozen is
 * what the map calls so, or its lock.  Where none does, the pages are made writable again;
 * and it is frozen after all where that cannot be. */
static void end_freeze(struct ammap *map)
{
        if (atomic_load(&map->freezing) && !atomic_load(&map->frozen) &&
            (map->kind->freeze_holds(map) || region_thaw(&map->region) < 0)) {
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        atomic_store(&map->freezing, false);
        map->kind->freeze_forked(map);
}

/* What it is to know before what the calling thread holds. */
static void lanes_forked(struct ammap *map)
{
        if (map->region.fork != AMMAP_FORK_OMIT)
                end_freeze(map);
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_forked(&map->lane[i], atomic_load(&map->frozen) || map->read_only);
}

/* Another thread may have been about to change the list, or the map's count. */
static void views_forked(struct ammap *map)
{
        struct views *views = map->joint_views;
        struct view **link = &views->first;
        uint64_t count = 0;

        mutex_init(&views->mutex);
        for (struct view *view = views->first; view; view = view->next) {
                view->link = link;
                link = &view->next;
                count += view->map == map;
        }
        atomic_store(&map->views, count);
}

/* The child has the mutexes as another thread may have left them. */
static void map_forked(struct ammap *map)
{
        atomic_store(&map->common.sleepers, 0);
        views_forked(map);
        mutex_init(&map->resizing);
        region_forked(&map->region);
        map->kind->forked(map);
        if (map->region.fork == AMMAP_FORK_OMIT) {
                map->base = NULL;
                atomic_store(&map->length, 0);
                atomic_store(&map->omitted, true);
        }
}

int map_no_refresh(struct ammap *map)
{
        (void)map;
        return 0;
}

uint64_t map_no_slots(const struct ammap *map, uint64_t *max)
{
        (void)map;
        *max = 0;
        return 0;
}

void map_no_thread_left(struct ammap *map, uint64_t lane, enum access access)
{
        (void)map, (void)lane, (void)access;
}

bool map_never(const struct ammap *map)
{
        (void)map;
        return false;
}

void map_nothing(struct ammap *map)
{
        (void)map;
}

static void fork_before(void)
{
        recycle_before_fork();
        lock_maps();
        detach_before_fork();
        file_twins_before_fork();
        forking = true;
}

static void fork_after(void)
{
        forking = false;
        file_twins_after_fork();
        detach_after_fork();
        unlock_maps();
        recycle_after_fork();
}

/* Without fork handlers another thread may have been about to change the links. */
static void link_anew(void)
{
        void **link = &all_maps;

        for (struct ammap *map = map_in(all_maps); map; map = map_in(map->next)) {
                map->link = link;
                link = &map->next;
        }
}

static void fork_child(void)
{
        if (forking) { /* ThreadSanitizer takes what is locked for locked, though it is made anew */
                file_twins_after_fork();
                detach_after_fork();
        }
        forking = false;
        mutex_init(&all_maps_mutex);
        link_anew();
        recycle_forked();
        thread_forked();
        slot_forked();
        detach_forked();
        file_twins_forked();
        for (struct ammap *map = map_in(all_maps); map; map = map_in(map->next))
                lanes_forked(map);
        lane_forked_all();
        for (struct ammap *map = map_in(all_maps); map; map = map_in(map->next))
                map_forked(map);
}

static void lane_left(struct lane *lane, enum access access)
{
        struct ammap *map = lane->map;

        map->kind->thread_left(map, (uint64_t)(lane - map->lane), access);
}

static void start(void)
{
        os_start();
        thread_at_end(slot_thread_exit);
}

/* Where there was no room for the fork handlers, or for what a thread has of its own, it
 * is tried again.  A fork meanwhile has os_fork_check. */
int map_start(void)
{
        int rc = 0;

        pthread_once(&started, start);
        if (atomic_load_explicit(&threads_known, memory_order_acquire))
                return 0;
        lock_maps();
        if (!forks_known)
                rc = os_at_fork(fork_before, fork_after, fork_child);
        forks_known = rc == 0;
        if (rc == 0 && !atomic_load(&threads_known) && (rc = lane_start(lane_left)) == 0)
                atomic_store_explicit(&threads_known, true, memory_order_release);
        unlock_maps();
        return rc;
}

static bool is_same_map(const struct ammap *a, const struct ammap *b)
{
        const struct backing *one = map_backing(a), *other = map_backing(b);

        return a->kind->joint && one->device == other->device && one->inode == other->inode;
}

/* gcc's analyser takes what is stored by a pointer that map_in has rounded up for lost. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 10
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* Views of a private or a raw map are its own.  The others have theirs on the heap, since
 * any of the handles may be freed first. */
static bool begin_views(struct ammap *map)
{
        map->joint_views = map->kind->joint ? calloc(1, sizeof(struct views)) : &map->own_views;
        return map->joint_views != NULL;
}

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 10
#pragma GCC diagnostic pop
#endif

static void end_views(const struct ammap *map, struct views *views)
{
        if (views != &map->own_views)
                free(views);
}

/* A forked child that ran no fork handlers may find the list between two of
 * these stores: it is whole for a walk at each (link_anew). */
void map_link(struct ammap *map)
{
        struct views *alone = map->joint_views;
        struct ammap *same;

        lock_maps();
        same = map->kind->joint ? map_in(all_maps) : NULL;
        while (same && !is_same_map(same, map))
                same = map_in(same->next);
        if (same)
                map->joint_views = same->joint_views;
        map->joint_views->handles++;
        map->next = all_maps;
        map->link = &all_maps;
        if (all_maps)
                map_in(all_maps)->link = &map->next;
        all_maps = block_of(map);
        unlock_maps();
        if (same)
                end_views(map, alone);
}

/* True: it was the last one that had these views. */
static bool unlink_map(struct ammap *map)
{
        bool last;

        lock_maps();
        *map->link = map->next;
        if (map->next)
                map_in(map->next)->link = map->link;
        last = --map->joint_views->handles == 0;
        unlock_maps();
        return last;
}

/* --- Options --- */

/* What the kernel takes of a name. */
static void set_name(char name[REGION_NAME], const char *asked)
{
        size_t i;

        for (i = 0; asked && asked[i] && i < REGION_NAME - 1; i++)
                name[i] = asked[i];
        while (i-- > 0)
                if (name[i] < ' ' || name[i] > '~' || strchr("\\`$[]", name[i]))
                        name[i] = '_';
}

ammap_options_t map_options(const struct ammap *map)
{
        if (map->extra)
                return map->extra->options;
        return (ammap_options_t){ .struct_size = sizeof(ammap_options_t),
                                  .capacity = map->capacity,
                                  .lanes = map->lanes,
                                  .recycle = map->asked_recycle };
}

/* --- Life --- */

static bool is_for_recycling(uint64_t size, const ammap_options_t *options)
{
        return options->recycle != AMMAP_NO && options_can_recycle(options, size);
}

/* What a new map and a recycled one have in common: all but its memory.  Relaxed: nobody
 * else has it yet. */
static void begin(struct ammap *map, uint64_t size, const ammap_options_t *options, bool recycle)
{
        atomic_store_explicit(&map->length, size, memory_order_relaxed);
        atomic_store_explicit(&map->undo, 0, memory_order_relaxed);
        map->capacity = options->capacity;
        map->lanes = (uint32_t)options->lanes;
        map->lane_size = map_lane_size(map->capacity, map->lanes);
        map->asked_recycle = options->recycle;
        map->recycle = recycle;
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_init(&map->lane[i], map, &map->common);
}

/* A lock of this process's own is the place to say that it does not write. */
static void begin_read_only(struct ammap *map)
{
        map->read_only = true;
        map->why_read_only = map->extra->options.read_only ? AMMAP_WHY_OPTION : AMMAP_WHY_RIGHTS;
        for (uint64_t i = 0; i < map->lanes; i++)
                atomic_store(&map->lane[i].word, LANE_FROZEN);
}

/* What a map takes, besides its pages. */
static uint64_t overhead(uint64_t lanes)
{
        return sizeof(struct ammap) + lanes * sizeof(struct lane);
}

static void begin_extra(struct extra *extra, const struct recipe *recipe)
{
        set_name(extra->name, recipe->options->name);
        extra->options = *recipe->options;
        extra->options.name = extra->name;
        extra->backing = recipe->backing;
}

static int fill(struct ammap *map, const struct recipe *recipe)
{
        struct extra *extra = map->extra;
        const struct backing *backing = map_backing(map);
        int rc;

        if (extra)
                begin_extra(extra, recipe);
        map->kind = recipe->kind;
        map->shared = recipe->shared;
        map->file = recipe->file;
        map->may_fault = recipe->may_fault;
        map->faults = recipe->options->allow_faults;
        begin(map, recipe->size, recipe->options, is_for_recycling(recipe->size, recipe->options));
        if (map->shared)
                atomic_store(&map->length, 0); /* nobody looks at it: better none than a wrong one */
        map->fast_path_ok = map->lanes == 1 && !map->kind->joint && !map->may_fault;
        map->shared_path_ok = map->lanes == 1 && map->shared != NULL;
        if (!backing_is_none(backing) && !backing->write)
                begin_read_only(map);
        if (map->recycle && region_pages(recipe->size) + overhead(map->lanes) > AMMAP_RECYCLE_MAX) {
                if (recipe->options->recycle == AMMAP_MUST)
                        return AMMAP_ERR_UNSUPPORTED;
                map->recycle = false;
        }
        if (!begin_views(map))
                return -ENOMEM;
        rc = region_make(&map->region, recipe->size, extra ? &extra->options : recipe->options,
                         backing_is_none(backing) ? NULL : backing, &map->base);
        if (rc < 0) {
                end_views(map, map->joint_views);
                return rc;
        }
        if (extra)
                extra->backing.data = map->region.data;
        if (map->recycle)
                map->kept = (struct kept){ .mapped = (uint32_t)map->region.mapped,
                                           .weight = (uint32_t)(map->region.mapped + overhead(map->lanes)) };
        return 0;
}

/* Of one lane, it has lines of its own, in a block that is not: what aligned ones leave
 * unused in some heaps is a quarter of all.  Of several each has a pair of lines. */
static struct ammap *new_block(uint64_t lanes, size_t size)
{
        const size_t slack = _Alignof(struct ammap) - _Alignof(max_align_t);
        struct ammap *map;
        void *block = NULL;

        if (lanes == 1)
                block = malloc(size + slack);
        else if (posix_memalign(&block, sizeof(struct lane), size) != 0)
                return NULL;
        if (!block)
                return NULL;
        map = map_in(block);
        memset(map, 0, size);
        map->shift = (unsigned char)((unsigned char *)map - (unsigned char *)block);
        return map;
}

int map_make(struct ammap **made, const struct recipe *recipe)
{
        const ammap_options_t *options = recipe->options;
        const bool plain = backing_is_none(&recipe->backing) && options_are_plain(options);
        const size_t size = (size_t)overhead(options->lanes);
        struct ammap *map = new_block(options->lanes, size + (plain ? 0 : sizeof(struct extra)));
        int rc;

        if (!map)
                return -ENOMEM;
        map->extra = plain ? NULL : (void *)((unsigned char *)map + size);
        if ((rc = fill(map, recipe)) < 0) {
                free(block_of(map));
                return rc;
        }
        *made = map;
        return 0;
}

void map_unmake(struct ammap *map)
{
        region_free(&map->region);
        end_views(map, map->joint_views);
        free(block_of(map));
}

/* A child that sees to the memory itself finds it on the list as long as it is
 * there, and no longer.  (Who unmaps keeps a fork waiting in any case.) */
static int unmap(struct ammap *map)
{
        bool by_hand = map->region.fork_by_hand;
        int rc;

        if (by_hand)
                lock_maps();
        rc = region_free(&map->region);
        if (rc == 0)
                map->region.fork_by_hand = false;
        if (by_hand)
                unlock_maps();
        return rc;
}

/* What other processes see goes last: whatever fails comes before. */
int map_destroy(struct ammap *map)
{
        const struct backing *backing = map_backing(map);
        bool last;
        int rc = 0;

        if (atomic_load(&map->omitted))
                region_forget(&map->region);
        else
                rc = unmap(map);
        if (rc < 0)
                return rc;
        last = unlink_map(map);
        map->kind->end(map);
        if (!backing_is_none(backing))
                os_close_file(backing->fd, backing->device, backing->inode);
        if (last)
                end_views(map, map->joint_views);
        free(block_of(map));
        return 0;
}

/* --- Kept for those to come --- */

static struct ammap *map_of(struct kept *kept)
{
        return (struct ammap *)(void *)((char *)kept - offsetof(struct ammap, kept));
}

static int destroy_kept(struct kept *kept)
{
        return map_destroy(map_of(kept));
}

bool map_keep(struct ammap *map)
{
        return map->recycle && recycle_keep(&map->kept, destroy_kept);
}

struct ammap *map_reuse(uint64_t size, const ammap_options_t *options)
{
        size_t pages = region_pages(size);
        struct kept *kept;
        struct ammap *map;

        if (!is_for_recycling(size, options) || !(kept = recycle_take(pages, pages + overhead(options->lanes))))
                return NULL;
        map = map_of(kept);
        recycle_zero(map->base, pages);
        begin(map, size, options, true);
        map->region.used = pages;
        return map;
}

int map_trim(uint64_t keep)
{
        return recycle_shrink(keep, destroy_kept);
}

/* --- Its length --- */

void map_lock(struct ammap *map)
{
        os_fork_check();
        mutex_lock(&map->resizing);
}

void map_unlock(struct ammap *map)
{
        mutex_unlock(&map->resizing);
}

int map_recheck(struct ammap *map, uint64_t offset, uint64_t count)
{
        int rc;

        os_fork_check();
        if ((rc = map->kind->refresh(map)) < 0)
                return rc;
        for (;;) {
                uint32_t shrinks = atomic_load(&map->shrinks);
                bool within;

                if (shrinks & 1) {
                        map_lock(map);
                        map_unlock(map);
                        continue;
                }
                within = map_has(map, offset, count);
                if (atomic_load(&map->shrinks) != shrinks)
                        continue;
                if (within)
                        return 0;
                return atomic_load(&map->omitted) ? AMMAP_ERR_UNSUPPORTED : AMMAP_ERR_BOUNDS;
        }
}

void map_drop_old(struct ammap *map, uint64_t length, uint64_t size)
{
        size_t from = map_region_offset(map, length), to = region_pages(map_region_offset(map, size));

        if (to > map->region.committed)
                to = map->region.committed;
        if (from < to)
                region_zero(&map->region, from, to);
}

int map_freeze_pages(struct ammap *map)
{
        return region_freeze(&map->region);
}

int map_freeze(struct ammap *map, int (*freeze)(struct ammap *map))
{
        int rc;

        mutex_lock(&map->joint_views->mutex);
        atomic_store(&map->freezing, true);
        rc = map->joint_views->first ? AMMAP_ERR_BUSY : freeze(map);
        if (rc == 0) {
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        atomic_store(&map->freezing, false); /* after the pages, and frozen: see end_freeze in map.c */
        mutex_unlock(&map->joint_views->mutex);
        return rc;
}
