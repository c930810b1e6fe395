/* internal.h - struct ammap, and what each file offers the others
 *
 * SPDX-License-Identifier: MIT
 *
 * Calls go down only: the nouns (map, copy, slice, atomic), then range and
 * lock, then thread, then os.
 */
#ifndef INTERNAL_H
#define INTERNAL_H

#include "ammap.h"
#include "lock.h"
#include "range.h"

struct ammap {
        /* Line 0: written at birth, read by every call. */
        _Alignas(128) unsigned char *base;
        uint64_t length;
        uint64_t lane_size; /* bytes in a lane; the last one may be shorter */
        uint64_t lanes;

        /* Line 1 */
        _Alignas(64) _Atomic uint64_t views; /* live views; RMWs, relaxed */
        struct ammap *next, **link;          /* on the list of all maps; guard: its mutex */
        size_t mapped;
        bool recycle;            /* to be kept when freed */
        struct ammap *kept_next; /* while kept; guard: the mutex of recycle.c */

        struct lane lane[];
};

/* --- map.c --- */

/* Unmap and forget a map that no one uses. */
int map_destroy(struct ammap *map);

/* The lane that an offset lies in; for the map's end, the last one. */
static inline uint64_t map_lane_index(const struct ammap *map, uint64_t offset)
{
        if (map->lanes == 1)
                return 0;
        return offset < map->length ? offset / map->lane_size : map->lanes - 1;
}

/* The last lane that count bytes at offset lie in. */
static inline uint64_t map_lane_last(const struct ammap *map, uint64_t offset, uint64_t count)
{
        return map_lane_index(map, count ? offset + (count - 1) : offset);
}

#endif /* INTERNAL_H */
