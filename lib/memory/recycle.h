/* recycle.h - freed maps kept for those to come
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RECYCLE_H
#define RECYCLE_H

#include "map/map.h"

/* A kept map of mapped bytes and as many lanes, zeroed; NULL if there is none.
 * Its length and its lanes are the caller's to set. */
struct ammap *recycle_take(size_t mapped, uint64_t lanes);

/* Keep a map that no one uses any more.  False where there is no room for it: the
 * caller destroys it. */
bool recycle_keep(struct ammap *map);

/* Around a fork, in the parent and the child. */
void recycle_before_fork(void);
void recycle_after_fork(void);
void recycle_forked(void);

#endif /* RECYCLE_H */
