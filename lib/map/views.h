/* views.h - the live views of a map
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef VIEWS_H
#define VIEWS_H

#include "map/map.h"

/* A view that is alive, on the list of all handles of its map; guard: the list's mutex. */
struct view {
        struct view *next, **link;
        const struct ammap *map; /* whose */
        uint64_t begin, end;     /* where in the map it begins and ends */
};

/* All under that mutex. */
void views_add(struct ammap *map, struct view *view, uint64_t begin, uint64_t end);
void views_drop(struct ammap *map, struct view *view);

/* In a forked child: another thread may have been about to change the list, or the map's count. */
void views_forked(struct ammap *map);

/* Whether a live view, of any handle, ends beyond an offset. */
bool views_reach(const struct ammap *map, uint64_t offset);

#endif /* VIEWS_H */
