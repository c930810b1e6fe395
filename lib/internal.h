/* internal.h - struct ammap, and what each file offers the others
 *
 * SPDX-License-Identifier: MIT
 *
 * Calls go down only: the nouns (map, copy, slice, atomic, memory), then range,
 * region and lock, then thread, then os.
 */
#ifndef INTERNAL_H
#define INTERNAL_H

#include "ammap.h"
#include "hints.h"
#include "lock.h"
#include "range.h"
#include "region.h"
#include "shared_lock.h"

#include <pthread.h>

struct file;
struct view;

struct ammap {
        /* Line 0: read by every call, and all of it but length for good. */
        _Alignas(128) unsigned char *base;
        _Atomic uint64_t length; /* stored with release by a resize; 0: omitted from this process */
        uint64_t lane_size;      /* bytes in a lane; the last one may be shorter */
        uint64_t lanes;
        uint64_t capacity;
        _Atomic uint32_t shrinks; /* odd while one is under way, and the length may yet come back */
        _Atomic bool frozen;      /* nobody writes; for good; set under both mutexes, all lanes held */
        _Atomic bool freezing;    /* for a forked child: the pages may be read only though frozen is not set */
        _Atomic bool omitted;     /* the fork left the memory out of this process */
        bool simple;              /* what the quick paths want: one lane, locked here, of memory that stays */
        bool careful;             /* memory that others can take away: to be copied by os_peek and os_poke ... */
        bool faults;              /* ... unless who touches it himself has said that he may */
        bool read_only;           /* this process may not write; frozen, too, from the start */

        /* Whose lock it is besides that of lane[], which only the quick paths of a
         * simple map take for granted; both NULL: nobody's. */
        struct shared *shared; /* other processes', in sealed memory: lane[] and length serve for nothing */
        struct file *file;     /* other processes', in a file: on top of that of lane[] */

        /* Line 1 */
        _Alignas(64) _Atomic uint64_t views; /* live views; changed under viewing */
        struct view *view;                   /* the list of them, by viewing */
        pthread_mutex_t viewing;             /* a leaf */

        /* Whoever holds it waits for copies at most, for no slice: a thread that
         * holds a slice may come for it. */
        pthread_mutex_t resizing;
        struct backing backing;     /* constant */
        struct region region;       /* guard: resizing */
        _Atomic uint64_t undo;      /* while shrinks is odd: the length to go back to, or 0 */
        struct ammap *next, **link; /* on the list of all maps; guard: its mutex */
        struct ammap *kept_newer;   /* while kept; guard: the mutex of recycle.c */
        struct ammap *kept_older;
        bool recycle;            /* to be kept when freed; guard: resizing */
        ammap_options_t options; /* as made, and name our own */
        char name[REGION_NAME];

        struct lane lane[];
};

/* --- map.c --- */

/* The lane that an offset lies in; from the map's end on, the last one. */
static inline uint64_t map_lane_index(const struct ammap *map, uint64_t offset)
{
        if (map->lanes == 1)
                return 0;
        return offset < map->capacity ? offset / map->lane_size : map->lanes - 1;
}

/* The last lane that count bytes at offset lie in. */
static inline uint64_t map_lane_last(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return map_lane_index(map, count ? offset + (count - 1) : offset);
}

/* Whether count bytes at offset lie within the map at this moment.  The acquire
 * pairs with the release of a growth: the bytes are there.  The first is for
 * simple maps alone, the second for shared ones. */
static inline bool map_has_simple(const struct ammap *map, uint64_t offset, uint64_t count)
{
        uint64_t length = atomic_load_explicit(&map->length, memory_order_acquire);

        return range_ok(length, offset, count) && length > 0;
}

static inline bool head_has(const struct format_head *head, uint64_t room, uint64_t offset, uint64_t count)
{
        uint64_t length = atomic_load_explicit(&head->length, memory_order_acquire);

        return range_ok(length < room ? length : room, offset, count);
}

static inline uint64_t map_room(const struct ammap *map)
{
        return atomic_load_explicit(&map->shared->room, memory_order_relaxed);
}

/* The same where the memory may have grown since one looked (share.c). */
bool share_has(const struct ammap *map, uint64_t offset, uint64_t count);

static inline bool map_has_shared(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return likely(head_has(map->shared->head, map_room(map), offset, count)) || share_has(map, offset, count);
}

static inline bool map_has(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return map->shared ? map_has_shared(map, offset, count) : map_has_simple(map, offset, count);
}

/* Why they do not: AMMAP_ERR_BOUNDS or _UNSUPPORTED; 0 where they do after all,
 * the shrink in whose midst the length was seen having been called off. */
int map_refuse(struct ammap *map, uint64_t offset, uint64_t count);

static inline int map_check(struct ammap *map, uint64_t offset, uint64_t count)
{
        return likely(map_has(map, offset, count)) ? 0 : map_refuse(map, offset, count);
}

/* The same, by the length that a file has now: for calls that take no lock, where that
 * is looked at. */
int map_look(struct ammap *map, uint64_t offset, uint64_t count);

/* The caller's options as this library knows them; check them, and fill in what 0
 * stands for. */
int map_read_options(const ammap_options_t *options, ammap_options_t *known);
int map_check_options(uint64_t size, ammap_options_t *options);

/* Once, before anything else is done with a map. */
int map_start(void);

/* Make a map of checked options; with NULL, on memory of its own, else on what is
 * behind a descriptor, which it closes when it is freed. */
int map_make(struct ammap **made, uint64_t size, const ammap_options_t *options, const struct backing *backing);

/* Unmap and forget a map that no one uses. */
int map_destroy(struct ammap *map);

/* Lock resizing, unlock it. */
void map_lock(struct ammap *map);
void map_unlock(struct ammap *map);

/* Whether nobody writes any more, by any process's doing, or this process may not. */
bool map_frozen(struct ammap *map);

/* Whether somebody has frozen it. */
bool map_was_frozen(struct ammap *map);

/* --- share.c --- */

/* Make a map of checked options that others can be given. */
int share_new(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* Make a map of all bytes of an open file, of options as read.  It takes the
 * descriptor, also on an error. */
int share_raw(struct ammap **made, int fd, const ammap_options_t *options);

/* Give up what of a map other processes see, before its memory goes; in a forked
 * child, take it for its own. */
void share_end(struct ammap *map);
void share_forked(struct ammap *map);

/* The length that all processes see.  NULL is no such map. */
uint64_t share_length(const struct ammap *map);

/* Look how much memory there is: map_room.  Make it enough for a length, by who has
 * the lane of the length: 0, or the system's code. */
uint64_t share_room(const struct ammap *map);
int share_grow(struct ammap *map, uint64_t length);

/* --- file.c and file_lock.c --- */

/* Make a map of an open file that has a header, or is to have one (size > 0, and
 * there is nothing in the file).  It takes the descriptor, also on an error.  path:
 * by which it was opened, or NULL. */
int file_make(struct ammap **made, int fd, const char *path, uint64_t size, const ammap_options_t *options);

/* Instead of 0: it is frozen, so that nothing has been locked, nor need be to read. */
enum { FILE_FROZEN = 1 };

/* Lock, and unlock, lanes first to last against other processes, for a thread that
 * has them against those of its own, by holds that it has noted (but for
 * writing); to write also mark them as being written, and as written.  On the way
 * it does what file_look does.  0; FILE_FROZEN, to read;
 * AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD, _READ_ONLY, _FAULT,
 * _UNSUPPORTED (a fork left no lock) or the system's code. */
int file_enter(struct ammap *map, uint64_t first, uint64_t last, enum access access, int64_t deadline);
void file_leave(struct ammap *map, uint64_t first, uint64_t last, enum access access);

/* Before that: what the calling thread has of these lanes through other maps in
 * the same file.  0: nothing; 1: it reads some, and they are to be read; so a
 * writer here may wait for it, and it must not wait for the lane: busy would be
 * AMMAP_ERR_DEADLOCK; or AMMAP_ERR_DEADLOCK at once. */
int file_elsewhere(const struct ammap *map, uint64_t first, uint64_t last, enum access access);

/* The thread ends that has a lane to write: AMMAP_ERR_OWNER_DEAD in every process
 * from now on, by what stands in the file; the local lane is not dead any more. */
void file_abandon(struct ammap *map, uint64_t lane);

void file_end(struct ammap *map);
void file_forked(struct ammap *map);

/* Clear OWNER_DEAD, here and in the file.  0, AMMAP_ERR_READ_ONLY, ... */
int file_recover(struct ammap *map);

/* Resize, under resizing.  What ammap_resize answers, and AMMAP_ERR_FAULT. */
int file_resize(struct ammap *map, uint64_t size);

/* Set the flag, for who has entered all lanes to write, by file_enter too. */
int file_freeze(struct ammap *map);

/* Take over what other processes have made of the length, and of frozen.  0,
 * AMMAP_ERR_FAULT or AMMAP_ERR_UNSUPPORTED. */
int file_look(struct ammap *map);

/* Whether it says that it is frozen. */
bool file_was_frozen(struct ammap *map);

/* --- atomic.c --- */

/* Whether a live view ends beyond an offset.  Under viewing. */
bool map_views_reach(const struct ammap *map, uint64_t offset);

#endif /* INTERNAL_H */
