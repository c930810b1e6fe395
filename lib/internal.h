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
#include "lock.h"
#include "range.h"
#include "region.h"

#include <pthread.h>

struct view;

struct ammap {
        /* Line 0: read by every call, and all of it but length for good. */
        _Alignas(128) unsigned char *base;
        _Atomic uint64_t length; /* stored with release by a resize; 0: omitted from this process */
        uint64_t lane_size;      /* bytes in a lane; the last one may be shorter */
        uint64_t lanes;
        uint64_t capacity;
        _Atomic uint32_t shrinks; /* odd while one is under way, and the length may yet come back */
        _Atomic bool frozen;      /* for good; set under both mutexes, all lanes held */
        _Atomic bool omitted;     /* the fork left the memory out of this process */

        /* Line 1 */
        _Alignas(64) _Atomic uint64_t views; /* live views; changed under viewing */
        struct view *view;                   /* the list of them, by viewing ... */
        uint64_t unlisted;                   /* ... and how many are not on it */
        pthread_mutex_t viewing;             /* a leaf */

        /* Whoever holds it waits for copies at most, for no slice: a thread that
         * holds a slice may come for it. */
        pthread_mutex_t resizing;
        struct region region;       /* guard: resizing */
        _Atomic uint64_t undo;      /* while shrinks is odd: the length to go back to, or 0 */
        struct ammap *next, **link; /* on the list of all maps; guard: its mutex */
        struct ammap *kept_next;    /* while kept; guard: the mutex of recycle.c */
        bool recycle;               /* to be kept when freed; guard: resizing */
        ammap_options_t options;    /* as made, and name our own */
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
 * pairs with the release of a growth: the bytes are there. */
static inline bool map_has(const struct ammap *map, uint64_t offset, uint64_t count)
{
        uint64_t length = atomic_load_explicit(&map->length, memory_order_acquire);

        return range_ok(length, offset, count) && length > 0;
}

/* Why they do not: AMMAP_ERR_BOUNDS or _UNSUPPORTED; 0 where they do after all,
 * the shrink in whose midst the length was seen having been called off. */
int map_refuse(struct ammap *map, uint64_t offset, uint64_t count);

static inline int map_check(struct ammap *map, uint64_t offset, uint64_t count)
{
        return __builtin_expect(map_has(map, offset, count), 1) ? 0 : map_refuse(map, offset, count);
}

/* Make a map of checked options. */
int map_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* Unmap and forget a map that no one uses. */
int map_destroy(struct ammap *map);

/* Lock resizing, unlock it. */
void map_lock(struct ammap *map);
void map_unlock(struct ammap *map);

/* --- atomic.c --- */

/* Whether a live view ends beyond an offset.  Under viewing. */
bool map_views_reach(const struct ammap *map, uint64_t offset);

#endif /* INTERNAL_H */
