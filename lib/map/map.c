/* map.c - what every map has: its place on the list of all, its memory, its mutexes
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"

#include "lock/shared_detach.h"
#include "map/options.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* All maps, for fork.  The mutex is held across a fork, so that the child finds
 * the list whole. */
static pthread_mutex_t all_maps_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ammap *all_maps;

static pthread_once_t started = PTHREAD_ONCE_INIT;
static int at_fork_result;
static _Atomic bool threads_known;

static void lock_maps(void)
{
        os_fork_check();
        pthread_mutex_lock(&all_maps_mutex);
}

static void unlock_maps(void)
{
        pthread_mutex_unlock(&all_maps_mutex);
}

/* The child may have a freeze to end that it does not have the thread of.  Frozen is
 * what the map calls so.  Where it does not, the pages are made writable again; and
 * it is frozen after all where that cannot be. */
static void end_freeze(struct ammap *map)
{
        if (atomic_load(&map->freezing) && !atomic_load(&map->frozen) && region_thaw(&map->region) < 0)
                atomic_store(&map->frozen, true);
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

/* The child has the mutexes as another thread may have left them. */
static void map_forked(struct ammap *map)
{
        atomic_store(&map->common.sleepers, 0);
        pthread_mutex_init(&map->joint_views->mutex, NULL);
        pthread_mutex_init(&map->resizing, NULL);
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

void map_nothing(struct ammap *map)
{
        (void)map;
}

static void fork_before(void)
{
        recycle_before_fork();
        lock_maps();
        detach_before_fork();
}

static void fork_after(void)
{
        detach_after_fork();
        unlock_maps();
        recycle_after_fork();
}

static void fork_child(void)
{
        pthread_mutex_init(&all_maps_mutex, NULL);
        recycle_forked();
        thread_forked();
        slot_forked();
        detach_forked();
        for (struct ammap *map = all_maps; map; map = map->next)
                lanes_forked(map);
        lane_forked_all();
        for (struct ammap *map = all_maps; map; map = map->next)
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
        at_fork_result = os_at_fork(fork_before, fork_after, fork_child);
}

/* Where there was no room for what a thread has of its own, it is tried again. */
int map_start(void)
{
        int rc = 0;

        pthread_once(&started, start);
        if (at_fork_result < 0 || atomic_load_explicit(&threads_known, memory_order_acquire))
                return at_fork_result;
        lock_maps();
        if (!atomic_load(&threads_known) && (rc = lane_start(lane_left)) == 0)
                atomic_store_explicit(&threads_known, true, memory_order_release);
        unlock_maps();
        return rc;
}

static bool is_same_map(const struct ammap *a, const struct ammap *b)
{
        return a->kind->joint && a->backing.device == b->backing.device && a->backing.inode == b->backing.inode;
}

/* Views of a private or a raw map are its own.  The others have theirs on the heap, since
 * any of the handles may be freed first. */
static struct views *begin_views(struct ammap *map)
{
        struct views *views = map->kind->joint ? calloc(1, sizeof *views) : &map->own_views;

        if (views)
                pthread_mutex_init(&views->mutex, NULL);
        return views;
}

static void end_views(const struct ammap *map, struct views *views)
{
        pthread_mutex_destroy(&views->mutex);
        if (views != &map->own_views)
                free(views);
}

/* A forked child that ran no fork handlers may find the list between two of
 * these stores: it is whole for a walk at each. */
void map_link(struct ammap *map)
{
        struct views *alone = map->joint_views;
        struct ammap *same;

        lock_maps();
        same = map->kind->joint ? all_maps : NULL;
        while (same && !is_same_map(same, map))
                same = same->next;
        if (same)
                map->joint_views = same->joint_views;
        map->joint_views->handles++;
        map->next = all_maps;
        map->link = &all_maps;
        if (all_maps)
                all_maps->link = &map->next;
        all_maps = map;
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
                map->next->link = map->link;
        last = --map->joint_views->handles == 0;
        unlock_maps();
        return last;
}

/* --- Options --- */

/* --- Life --- */

/* What the kernel takes of a name. */
static void set_name(struct ammap *map, const char *name)
{
        size_t i;

        for (i = 0; name && name[i] && i < sizeof map->name - 1; i++)
                map->name[i] = name[i];
        while (i-- > 0)
                if (map->name[i] < ' ' || map->name[i] > '~' || strchr("\\`$[]", map->name[i]))
                        map->name[i] = '_';
}

/* What a new map and a recycled one have in common: all but its memory. */
static void begin(struct ammap *map, uint64_t size, const ammap_options_t *options)
{
        map->options = *options;
        map->options.name = map->name;
        atomic_store(&map->length, size);
        atomic_store(&map->undo, 0);
        map->capacity = options->capacity;
        map->lanes = options->lanes;
        map->lane_size = (map->capacity + map->lanes - 1) / map->lanes;
        map->recycle =
                backing_is_none(&map->backing) && options->recycle != AMMAP_NO && options_are_plain(options, size);
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_init(&map->lane[i], map, &map->common);
}

/* A lock of this process's own is the place to say that it does not write. */
static void begin_read_only(struct ammap *map)
{
        map->read_only = true;
        map->why_read_only = map->options.read_only ? AMMAP_WHY_OPTION : AMMAP_WHY_RIGHTS;
        for (uint64_t i = 0; i < map->lanes; i++)
                atomic_store(&map->lane[i].word, LANE_FROZEN);
}

/* What a map takes, besides its pages. */
static uint64_t overhead(uint64_t lanes)
{
        return sizeof(struct ammap) + lanes * sizeof(struct lane);
}

static int begin_backing(struct ammap *map, const struct recipe *recipe)
{
        struct os_file file;
        int rc;

        map->backing = recipe->backing;
        if (backing_is_none(&map->backing))
                return 0;
        if ((rc = os_file(map->backing.fd, &file)) < 0)
                return rc;
        map->backing.device = file.device;
        map->backing.inode = file.inode;
        return 0;
}

static int fill(struct ammap *map, const struct recipe *recipe)
{
        const struct backing *backing = &map->backing;
        int rc = begin_backing(map, recipe);

        if (rc < 0)
                return rc;
        map->kind = recipe->kind;
        map->shared = recipe->shared;
        map->file = recipe->file;
        map->may_fault = recipe->may_fault;
        map->faults = recipe->options->allow_faults;
        set_name(map, recipe->options->name);
        begin(map, recipe->size, recipe->options);
        if (map->shared)
                atomic_store(&map->length, 0); /* nobody looks at it: better none than a wrong one */
        map->fast_path_ok = map->lanes == 1 && !map->kind->joint && !map->may_fault;
        if (!backing_is_none(backing) && !backing->write)
                begin_read_only(map);
        if (map->recycle && region_pages(recipe->size) + overhead(map->lanes) > AMMAP_RECYCLE_MAX) {
                if (recipe->options->recycle == AMMAP_MUST)
                        return AMMAP_ERR_UNSUPPORTED;
                map->recycle = false;
        }
        if (!(map->joint_views = begin_views(map)))
                return -ENOMEM;
        rc = region_make(&map->region, recipe->size, &map->options, backing_is_none(backing) ? NULL : backing,
                         &map->base);
        if (rc < 0)
                end_views(map, map->joint_views);
        map->backing.data = map->region.data;
        map->kept = (struct kept){ .pages = map->base,
                                   .mapped = map->region.mapped,
                                   .weight = map->region.mapped + overhead(map->lanes) };
        return rc;
}

int map_make(struct ammap **made, const struct recipe *recipe)
{
        size_t size = (size_t)overhead(recipe->options->lanes);
        void *block;
        int rc;

        if (posix_memalign(&block, _Alignof(struct ammap), size) != 0)
                return -ENOMEM;
        memset(block, 0, size);
        if ((rc = fill(block, recipe)) < 0) {
                free(block);
                return rc;
        }
        *made = block;
        pthread_mutex_init(&(*made)->resizing, NULL);
        return 0;
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
        int rc = atomic_load(&map->omitted) ? 0 : unmap(map);
        bool last;

        if (rc < 0)
                return rc;
        last = unlink_map(map);
        map->kind->end(map);
        if (map->backing.fd >= 0)
                os_close_file(map->backing.fd, map->backing.device, map->backing.inode);
        if (last)
                end_views(map, map->joint_views);
        pthread_mutex_destroy(&map->resizing);
        free(map);
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

        if (options->recycle == AMMAP_NO || !options_are_plain(options, size) ||
            !(kept = recycle_take(pages, pages + overhead(options->lanes))))
                return NULL;
        map = map_of(kept);
        begin(map, size, options);
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
        pthread_mutex_lock(&map->resizing);
}

void map_unlock(struct ammap *map)
{
        pthread_mutex_unlock(&map->resizing);
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

        pthread_mutex_lock(&map->joint_views->mutex);
        atomic_store(&map->freezing, true);
        rc = map->joint_views->first ? AMMAP_ERR_BUSY : freeze(map);
        if (rc == 0) {
                atomic_store(&map->frozen, true);
                map->recycle = false;
        }
        atomic_store(&map->freezing, false); /* after the pages, and frozen: see end_freeze in map.c */
        pthread_mutex_unlock(&map->joint_views->mutex);
        return rc;
}
