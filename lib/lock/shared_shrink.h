/* shared_shrink.h - a shared map that gets shorter, or whose writer died
 *
 * SPDX-License-Identifier: MIT
 *
 * Both own lanes otherwise than who writes: neither waits for slices.
 */
#ifndef SHARED_SHRINK_H
#define SHARED_SHRINK_H

#include "lock/lock.h"
#include "lock/slot.h"

/* For one that has entered the lane of the length, by a slot: enter lanes to write, but for
 * slices that end before reach, which stay; with 0 none does, not even one of no bytes at 0.
 * AMMAP_ERR_BUSY: one reaches that, or is a mut one; AMMAP_ERR_OWNER_DEAD. */
int shared_shrink(struct shared *shared, struct slot *slot, struct lane_range lanes, uint64_t reach);
void shared_shrink_leave(struct shared *shared, struct lane_range lanes);

/* Where a writer of the lane died, clear that, with mend(context), if not NULL, while nobody
 * is in.  0, or what entering may return. */
int shared_recover(struct shared *shared, uint32_t lane, void (*mend)(void *context), void *context);

#endif /* SHARED_SHRINK_H */
