/* map.c - the life of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"
#include "memory/recycle.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 47 bits of address space, or what a 32-bit process could have of its. */
#define SIZE_LIMIT (sizeof(void *) > 4 ? UINT64_C(1) << 47 : UINT64_C(1) << 31)

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
                lane_forked(&map->lane[i], atomic_load(&map->frozen));
}

/* The child has the mutexes as another thread may have left them. */
static void map_forked(struct ammap *map)
{
        pthread_mutex_init(&map->viewing, NULL);
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
}

static void fork_after(void)
{
        unlock_maps();
        recycle_after_fork();
}

static void fork_child(void)
{
        pthread_mutex_init(&all_maps_mutex, NULL);
        recycle_forked();
        thread_forked();
        slot_forked();
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
        shared_start();
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

/* A forked child that ran no fork handlers may find the list between two of
 * these stores: it is whole for a walk at each. */
void map_link(struct ammap *map)
{
        lock_maps();
        map->next = all_maps;
        map->link = &all_maps;
        if (all_maps)
                all_maps->link = &map->next;
        all_maps = map;
        unlock_maps();
}

static void unlink_map(struct ammap *map)
{
        lock_maps();
        *map->link = map->next;
        if (map->next)
                map->next->link = map->link;
        unlock_maps();
}

/* --- Options --- */

/* A hole in the structure would hold whatever an old caller's memory held, and a
 * field that comes to lie there would be read from it. */
_Static_assert(offsetof(ammap_options_t, reserved_a) == offsetof(ammap_options_t, allow_faults) + sizeof(bool) &&
                       offsetof(ammap_options_t, huge) == offsetof(ammap_options_t, reserved_a) + 3 &&
                       sizeof(ammap_options_t) == offsetof(ammap_options_t, reserved_b) + sizeof(uint32_t) &&
                       offsetof(ammap_options_t, reserved_b) ==
                               offsetof(ammap_options_t, recycle) + sizeof(ammap_want_t),
               "no hidden room");

/* Zeros where the caller's header knew fewer, nothing but zeros where it knew
 * more. */
int map_read_options(const ammap_options_t *options, ammap_options_t *known)
{
        const unsigned char *bytes = (const unsigned char *)options;
        size_t size;

        memset(known, 0, sizeof *known);
        if (!options)
                return 0;
        memcpy(&size, bytes, sizeof size);
        if (size < sizeof size)
                return AMMAP_ERR_INVALID;
        for (size_t i = sizeof *known; i < size; i++)
                if (bytes[i] != 0)
                        return AMMAP_ERR_INVALID;
        memcpy(known, bytes, size < sizeof *known ? size : sizeof *known);
        return known->reserved_a[0] || known->reserved_a[1] || known->reserved_a[2] || known->reserved_b
                       ? AMMAP_ERR_INVALID
                       : 0;
}

static bool is_want(ammap_want_t want)
{
        return want == AMMAP_NO || want == AMMAP_TRY || want == AMMAP_MUST;
}

int map_check_options(uint64_t size, ammap_options_t *options)
{
        if (options->lanes == 0)
                options->lanes = 1;
        if (options->capacity == 0)
                options->capacity = size;
        if (options->lanes > AMMAP_LANES_MAX || !is_want(options->huge) || !is_want(options->populate) ||
            !is_want(options->lock) || !is_want(options->guard) || !is_want(options->nodump) ||
            !is_want(options->secret) || !is_want(options->noreserve) || !is_want(options->recycle) ||
            (options->share != AMMAP_PRIVATE && options->share != AMMAP_SHARED && options->share != AMMAP_RAW) ||
            (options->fork != AMMAP_FORK_COPY && options->fork != AMMAP_FORK_OMIT && options->fork != AMMAP_FORK_WIPE))
                return AMMAP_ERR_INVALID;
        if (size == 0 || size > options->capacity || options->capacity > SIZE_LIMIT)
                return AMMAP_ERR_SIZE;
        if (options->lanes > options->capacity || (options->share == AMMAP_RAW && options->capacity != size))
                return AMMAP_ERR_INVALID;
        /* Nobody wipes what others have. */
        if (options->share != AMMAP_PRIVATE && (options->fork == AMMAP_FORK_WIPE || options->secret == AMMAP_MUST))
                return AMMAP_ERR_UNSUPPORTED;
        return 0;
}

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

/* Whether nothing is special about it but its size and its lanes. */
static bool is_plain(uint64_t size, const ammap_options_t *o)
{
        uint64_t page = os_page_size();

        return (size + page - 1) / page == (o->capacity + page - 1) / page && (!o->name || !*o->name) &&
               o->fork == AMMAP_FORK_COPY && !o->huge && !o->populate && !o->lock && !o->guard && !o->nodump &&
               !o->secret && !o->noreserve;
}

/* What a new map and a recycled one have in common: all but its memory. */
static void map_begin(struct ammap *map, uint64_t size, const ammap_options_t *options)
{
        map->options = *options;
        map->options.name = map->name;
        atomic_store(&map->length, size);
        atomic_store(&map->undo, 0);
        map->capacity = options->capacity;
        map->lanes = options->lanes;
        map->lane_size = (map->capacity + map->lanes - 1) / map->lanes;
        map->recycle = options->recycle != AMMAP_NO && is_plain(size, options);
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_init(&map->lane[i], map);
}

/* A lock of this process's own is the place to say that it does not write. */
static void begin_read_only(struct ammap *map)
{
        map->read_only = true;
        atomic_store(&map->frozen, true);
        for (uint64_t i = 0; i < map->lanes; i++)
                atomic_store(&map->lane[i].word, LANE_FROZEN);
}

int map_make(struct ammap **made, const struct kind *kind, uint64_t size, const ammap_options_t *options,
             const struct backing *backing)
{
        struct os_file file;
        struct ammap *map;
        void *block;
        int rc;

        if (posix_memalign(&block, _Alignof(struct ammap),
                           sizeof *map + (size_t)options->lanes * sizeof map->lane[0]) != 0)
                return -ENOMEM;
        map = block;
        memset(map, 0, sizeof *map);
        map->kind = kind;
        map->backing = backing ? *backing : (struct backing){ .fd = -1, .own = true };
        if (backing && (rc = os_file(backing->fd, &file)) < 0) {
                free(map);
                return rc;
        }
        if (backing) {
                map->backing.device = file.device;
                map->backing.inode = file.inode;
        }
        set_name(map, options->name);
        map_begin(map, size, options);
        map->recycle = map->recycle && !backing;
        map->fast_path_ok = map->lanes == 1 && map->backing.own;
        if (!map->backing.own && !map->backing.write)
                begin_read_only(map);
        rc = region_make(&map->region, size, &map->options, backing ? &map->backing : NULL, &map->base);
        if (rc < 0) {
                free(map);
                return rc;
        }
        pthread_mutex_init(&map->viewing, NULL);
        pthread_mutex_init(&map->resizing, NULL);
        *made = map;
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

        if (rc < 0)
                return rc;
        unlink_map(map);
        map->kind->end(map);
        if (map->backing.fd >= 0)
                os_close_file(map->backing.fd, map->backing.device, map->backing.inode);
        pthread_mutex_destroy(&map->viewing);
        pthread_mutex_destroy(&map->resizing);
        free(map);
        return 0;
}

int ammap_new(ammap_t **map, uint64_t size)
{
        return ammap_new_with(map, size, NULL);
}

int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        ammap_options_t known;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = map_read_options(options, &known)) < 0 || (rc = map_check_options(size, &known)) < 0 ||
            (rc = map_start()) < 0)
                return rc;
        if (known.share != AMMAP_PRIVATE)
                return share_new(map, size, &known);
        if (known.recycle != AMMAP_NO && is_plain(size, &known) &&
            (*map = recycle_take(region_pages(size), known.lanes))) {
                map_begin(*map, size, &known);
                (*map)->region.used = region_pages(size);
                return 0;
        }
        if ((rc = map_make(map, &kind_private, size, &known, NULL)) < 0)
                return rc;
        map_link(*map);
        return 0;
}

int ammap_free(ammap_t *map)
{
        if (!map)
                return 0;
        os_fork_check();
        if (atomic_load(&map->views) > 0 || map->kind->is_held(map))
                return AMMAP_ERR_BUSY;
        if (map->recycle && recycle_keep(map))
                return 0;
        return map_destroy(map);
}

uint64_t ammap_len(const ammap_t *map)
{
        return map ? map->kind->length(map) : 0;
}

bool ammap_is_empty(const ammap_t *map)
{
        return ammap_len(map) == 0;
}

int ammap_describe(const ammap_t *map, char *text, size_t size)
{
        uint64_t length;

        if (!map || (!text && size))
                return AMMAP_ERR_INVALID;
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        length = ammap_len(map);
        return snprintf(text, size, "ammap: %" PRIu64 " bytes, %s, %" PRIu64 " lane%s%s%s", length, map->kind->name,
                        map->lanes, map->lanes == 1 ? "" : "s", map->read_only ? ", read-only" : "",
                        map->kind->was_frozen(map->lane[0].map) ? ", frozen" : "");
}

int ammap_recover(ammap_t *map)
{
        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        return map->kind->recover(map);
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

int ammap_resize(ammap_t *map, uint64_t size)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (size == 0 || size > map->capacity)
                return AMMAP_ERR_SIZE;
        map_lock(map);
        rc = atomic_load(&map->omitted) ? AMMAP_ERR_UNSUPPORTED : map->kind->resize(map, size);
        map_unlock(map);
        return rc;
}

/* --- Raw pointers --- */

const void *ammap_as_ptr(const ammap_t *map)
{
        return map && (!map->may_fault || map->faults) ? map->base : NULL;
}

void *ammap_as_mut_ptr(ammap_t *map)
{
        if (!map || map->read_only || (map->may_fault && !map->faults) || !map->base || map_frozen(map))
                return NULL;
        return map->base;
}
