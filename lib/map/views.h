/* views.h - the live views of a map
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef VIEWS_H
#define VIEWS_H

#include "map/map.h"

/* All under the mutex of the list. */
void views_add(struct ammap *map, struct view *view, uint64_t begin, uint64_t end);
void views_drop(struct ammap *map, struct view *view);

/* Whether a live view, of any handle, ends beyond an offset. */
bool views_reach(const struct ammap *map, uint64_t offset);

#endif /* VIEWS_H */
