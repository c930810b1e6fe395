/* map.h - struct ammap, and what every kind of it has in common
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MAP_H
#define MAP_H

#include "ammap.h"
#include "lock/lock.h"
#include "lock/shared_lock.h"
#include "memory/backing.h"
#include "memory/range.h"
#include "memory/recycle.h"
#include "memory/region.h"
#include "os/hints.h"
#include "os/mutex.h"

struct file;
struct holders;
struct kind;

/* A view that is alive, on the list of all handles of its map; guard: the list's mutex. */
struct view {
        struct view *next, **link;
        const struct ammap *map; /* whose */
        uint64_t begin, end;     /* where in the map it begins and ends */
};

/* The views that are alive. */
struct views {
        struct mutex mutex; /* a leaf */
        unsigned handles;   /* who has them; guard: the mutex of the list of all maps */
        struct view *first; /* guard: mutex */
};

/* What a plain private map does not have. */
struct extra {
        struct backing backing;  /* constant */
        ammap_options_t options; /* as made, and name our own */
        char name[REGION_NAME];
};

/* All of it but the lanes is four cache lines.  Of those the first stands apart from what
 * is written by whoever locks a lane, or waits for one, by more than the pair of lines that
 * processors fetch as one. */
struct ammap {
        /* Line 0: read by every call, and all of it but length for good. */
        _Alignas(64) unsigned char *base;
        _Atomic uint64_t length; /* stored with release by a resize; 0: omitted from this process */
        uint64_t lane_size;      /* bytes in a lane; the last one may be shorter */
        uint64_t capacity;
        uint32_t lanes;
        _Atomic uint32_t shrinks; /* odd while one is under way, and the length may yet come back */
        _Atomic bool frozen;      /* somebody has frozen it: nobody writes, for good; set under both mutexes, all
                                   * lanes held, or by one who found out what another process did */
        _Atomic bool omitted;     /* the fork left the memory out of this process */
        bool fast_path_ok;        /* what the quick paths want: one lane, locked here, of memory that stays */
        bool shared_path_ok;      /* what those of shared maps want: one lane, in memory that others have, too */
        bool may_fault;           /* memory that others can take away: copied by os_peek and os_poke; see faults */
        bool faults;              /* who touches such memory himself has said that he may */
        bool read_only;           /* this process may not write it, whether it is frozen or not */
        unsigned char shift;      /* how far behind the beginning of its block it stands */
        const struct kind *kind;

        /* Whose lock it is besides that of lane[], which only the quick paths of a
         * simple map take for granted; this and file NULL: nobody's. */
        struct shared *shared; /* other processes', in sealed memory: lane[] and length serve for nothing */

        /* Lines 1 to 3: for calls that are not quick. */
        struct file *file;         /* other processes', in a file: on top of that of lane[] */
        _Atomic uint64_t views;    /* live views of this handle; changed under joint_views->mutex */
        struct views *joint_views; /* of all handles that this process has of the map; changed by map_link alone */
        struct views own_views;
        struct lane_common common; /* lane[]'s; sleepers: of the other calls, too */

        /* Whoever holds it waits for copies at most, for no slice: a thread that
         * holds a slice may come for it.  But in a file a shrink waits for slices, not for long. */
        struct mutex resizing;
        _Atomic bool freezing;          /* for a forked child: the pages may be read only though frozen is not set */
        bool recycle;                   /* to be kept when freed; guard: resizing */
        ammap_want_t asked_recycle : 8; /* as made */
        ammap_why_t why_read_only : 8;  /* why it is; changed as that: made, or in a forked child */
        struct extra *extra;            /* NULL: it is a plain private map */
        _Atomic uint64_t undo;          /* while shrinks is odd: the length to go back to, or 0 */
        void *next, **link;             /* on the list of all maps, by their blocks; guard: its mutex */
        struct kept kept;               /* of one that is recycled */
        struct region region;           /* guard: resizing */

        struct lane lane[];
};

#if UINTPTR_MAX > UINT32_MAX
_Static_assert(sizeof(struct ammap) == 256, "one line more, and the heap gives every map two");
#endif

/* Makes a map with what the first length bytes of another one hold. */
typedef int clone_copy(struct ammap *map, uint64_t length, struct ammap **copy);

/* What is different in private, shared, file and raw maps.  The quick paths come before
 * it: they ask whether a map is simple, or shared. */
struct kind {
        const char *name;
        ammap_share_t share;
        bool joint;               /* its lock is one for all who have the same memory, or file */
        bool sealable;            /* its memory is, by those who may write it */
        bool needs_write_to_lock; /* who may not write it cannot keep writers out */

        /* What read_into and update_region answer, of a range that is not empty.  The deadline
         * is that of a request. */
        int (*read)(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline);
        int (*write)(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline);

        /* Hold the lanes of a request: span_enter_* (span.h). */
        int (*enter)(struct ammap *map, const struct request *request, struct ammap_span *span);

        /* The length that all see; 0: a fork left it out. */
        uint64_t (*length)(const struct ammap *map);

        /* Take over what others have made of the length, and of frozen, where only a look
         * tells.  0, or why there is nothing any more. */
        int (*refresh)(struct ammap *map);

        /* Whether somebody has frozen it. */
        bool (*frozen)(struct ammap *map);

        /* Whether a thread holds any of it; how many slices this process's threads have. */
        bool (*is_held)(struct ammap *map);
        uint64_t (*slices)(const struct ammap *map);

        /* How many threads of all processes have a place in its lock, of so many. */
        uint64_t (*slots)(const struct ammap *map, uint64_t *max);

        /* Add who holds its lanes: of those asked for all, of others some.  The list says
         * where it could not. */
        void (*holders)(struct ammap *map, struct lane_range lanes, struct holders *list);

        /* What the calls of these names answer; to resize, under resizing. */
        int (*resize)(struct ammap *map, uint64_t size);
        int (*freeze)(struct ammap *map);
        int (*recover)(struct ammap *map);
        int (*clone)(struct ammap *map, clone_copy *to_private, struct ammap **copy);

        /* How often lanes were written, all in all: 0; AMMAP_ERR_OWNER_DEAD, with *count, too;
         * or why that cannot be told.  Sleep until it may be another count.  Whether the
         * calling thread itself keeps writers out of each of them. */
        int (*writes)(struct ammap *map, struct lane_range lanes, uint64_t *count);
        void (*watch)(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until);
        bool (*keeps_out)(struct ammap *map, struct lane_range lanes);

        /* A thread ended that had a lane: to write, and it is dead now, or to read, and it is
         * about to be left. */
        void (*thread_left)(struct ammap *map, uint64_t lane, enum access access);

        /* In a forked child: whether what it locks by is frozen for good, though map->frozen may
         * not say so yet; end a freeze, of which map->frozen tells how; then the rest. */
        bool (*freeze_holds)(const struct ammap *map);
        void (*freeze_forked)(struct ammap *map);
        void (*forked)(struct ammap *map);

        /* Give up what there is besides the memory, before its descriptor. */
        void (*end)(struct ammap *map);
};

/* --- map.c --- */

/* Around a wait for which no lane is taken: so long nobody frees the map. */
static inline void map_begin_sleep(struct ammap *map)
{
        atomic_fetch_add(&map->common.sleepers, 1);
}

static inline void map_end_sleep(struct ammap *map)
{
        atomic_fetch_sub(&map->common.sleepers, 1);
}

/* How many bytes a lane has, but the last ones, which may have fewer. */
static inline uint64_t map_lane_size(uint64_t capacity, uint32_t lanes)
{
        return lanes == 1 ? capacity : (capacity + lanes - 1) / lanes;
}

/* The lane that an offset lies in; from the map's end on, the last one. */
static inline uint64_t map_lane_index(const struct ammap *map, uint64_t offset)
{
        if (map->lanes == 1)
                return 0;
        return offset < map->capacity ? offset / map->lane_size : map->lanes - 1;
}

/* The last lane that count bytes at offset lie in.  Mostly it is the first one, which is known:
 * so nothing is divided twice. */
static inline uint64_t map_lane_last(const struct ammap *map, uint64_t offset, uint64_t count)
{
        uint64_t first = map_lane_index(map, offset);

        if (map->lanes == 1 || count <= map->lane_size - (offset - first * map->lane_size))
                return first;
        return map_lane_index(map, offset + (count - 1));
}

/* All of them. */
static inline struct lane_range map_lanes(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return (struct lane_range){ (uint32_t)map_lane_index(map, offset),
                                    (uint32_t)map_lane_last(map, offset, count) };
}

/* Whether count bytes at offset lie within the map at this moment.  The acquire
 * pairs with the release of a growth: the bytes are there.  The first two are for
 * simple maps alone, the others for shared ones.  What is of bytes that end somewhere, and
 * more than 0 if they end at 0, has no offset to look at. */
static inline bool map_reaches(const struct ammap *map, uint64_t end)
{
        return end - 1 < atomic_load_explicit(&map->length, memory_order_acquire);
}

static inline bool map_has_simple(const struct ammap *map, uint64_t offset, uint64_t count)
{
        uint64_t length = atomic_load_explicit(&map->length, memory_order_acquire);

        return range_ok(length, offset, count) && (count > 0 || length > 0);
}

static inline bool head_reaches(const struct format_head *head, uint64_t end)
{
        return end <= atomic_load_explicit(&head->length, memory_order_acquire);
}

static inline bool head_has(const struct format_head *head, uint64_t room, uint64_t offset, uint64_t count)
{
        uint64_t length = atomic_load_explicit(&head->length, memory_order_acquire);

        return range_ok(length < room ? length : room, offset, count);
}

static inline uint64_t map_room(const struct ammap *map)
{
        return shared_room(map->shared);
}

/* The memory may have grown since one looked. */
static inline bool map_has_shared(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return likely(head_has(map->shared->head, map_room(map), offset, count)) ||
               range_ok(map->kind->length(map), offset, count);
}

static inline bool map_has(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return map->shared ? map_has_shared(map, offset, count) : map_has_simple(map, offset, count);
}

/* Why they do not: AMMAP_ERR_BOUNDS or _UNSUPPORTED; 0 where they do after all,
 * the shrink in whose midst the length was seen having been called off. */
int map_recheck(struct ammap *map, uint64_t offset, uint64_t count);

static inline int map_check(struct ammap *map, uint64_t offset, uint64_t count)
{
        return likely(map_has(map, offset, count)) ? 0 : map_recheck(map, offset, count);
}

/* The same, by the length that a file has now: for calls that take no lock, where that
 * is looked at. */
static inline int map_look(struct ammap *map, uint64_t offset, uint64_t count)
{
        int rc = map->kind->refresh(map);

        return rc < 0 ? rc : map_check(map, offset, count);
}

/* Once, before anything else is done with a map. */
int map_start(void);

/* What others have of its memory: backing_none, where that is its own. */
static inline const struct backing *map_backing(const struct ammap *map)
{
        return map->extra ? &map->extra->backing : &backing_none;
}

static inline const char *map_name(const struct ammap *map)
{
        return map->extra ? map->extra->name : "";
}

/* What it was asked to be; the name lasts as long as the map. */
ammap_options_t map_options(const struct ammap *map);

/* What a map is made of. */
struct recipe {
        const struct kind *kind;
        uint64_t size;                  /* bytes */
        const ammap_options_t *options; /* checked */
        struct backing backing;         /* all but data, or fd = -1; the map closes it when it is freed */
        bool may_fault;                 /* others can take the memory away */
        struct shared *shared;          /* the lock, of a shared map, or ... */
        struct file *file;              /* ... of one in a file */
};

/* Make it, and then link it, when all that it has is set: a forked child finds it
 * from then on.  map_make: 0, or the system's code. */
int map_make(struct ammap **made, const struct recipe *recipe);
void map_link(struct ammap *map);

/* Instead of that: undo it.  What the recipe gave stays the caller's. */
void map_unmake(struct ammap *map);

/* Unmap and forget a map that no one uses. */
int map_destroy(struct ammap *map);

/* Keep one for another to come, false: there is no room; a kept one for a plain map of
 * checked options, or NULL; and destroy kept ones until so many bytes are left. */
bool map_keep(struct ammap *map);
struct ammap *map_reuse(uint64_t size, const ammap_options_t *options);
int map_trim(uint64_t keep);

/* Lock resizing, unlock it. */
void map_lock(struct ammap *map);
void map_unlock(struct ammap *map);

static inline bool map_frozen(struct ammap *map)
{
        return map->kind->frozen(map);
}

/* Whether this process may write it. */
static inline bool map_may_write(struct ammap *map)
{
        return !map->read_only && !map_frozen(map);
}

/* What a kind has no need of. */
int map_no_refresh(struct ammap *map);
uint64_t map_no_slots(const struct ammap *map, uint64_t *max);
void map_no_thread_left(struct ammap *map, uint64_t lane, enum access access);
bool map_never(const struct ammap *map);
void map_nothing(struct ammap *map);

/* The bytes of a map, counted from the region's start. */
static inline size_t map_region_offset(const struct ammap *map, uint64_t offset)
{
        return (size_t)(map->base - map->region.data) + (size_t)offset;
}

/* Freeze by what is given, for who has kept all others out: 0; AMMAP_ERR_BUSY: a view is
 * alive; or its code.  The pages are what that is but for a file. */
int map_freeze(struct ammap *map, int (*freeze)(struct ammap *map));
int map_freeze_pages(struct ammap *map);

/* What has been stored, by an old pointer or a view elsewhere, in bytes that a shrink
 * took away is not to be there when they are added again. */
void map_drop_old(struct ammap *map, uint64_t length, uint64_t size);

#endif /* MAP_H */
