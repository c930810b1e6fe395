/* local.h - maps that the threads of one process lock
 *
 * SPDX-License-Identifier: MIT
 *
 * All but shared ones: those in files have this lock, too.
 */
#ifndef LOCAL_H
#define LOCAL_H

#include "map/map.h"

/* A new private map of checked options. */
int private_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* The entries of struct kind that are the same in all of them. */
uint64_t local_length(const struct ammap *map);
bool local_is_held(struct ammap *map);
uint64_t local_slices(const struct ammap *map);
bool local_frozen(struct ammap *map);
int local_freeze(struct ammap *map);
int local_recover(struct ammap *map);
void local_forked(struct ammap *map);

/* All lanes to write, and resizing locked.  0, or why not; and back. */
int local_take_all(struct ammap *map);
void local_leave_all(struct ammap *map, bool frozen);

#endif /* LOCAL_H */
