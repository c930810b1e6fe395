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
 * slices to an offset at most, which stay.
 * AMMAP_ERR_BUSY: one goes further, or is a mut one; AMMAP_ERR_OWNER_DEAD. */
int shared_shrink(struct shared *shared, struct slot *slot, struct lane_range lanes, uint64_t offset);
void shared_shrink_leave(struct shared *shared, struct lane_range lanes);

/* Where a writer of the lane died, clear that, with mend(context), if not NULL, while nobody
 * is in.  0, or what entering may return. */
int shared_recover(struct shared *shared, uint32_t lane, void (*mend)(void *context), void *context);

#endif /* SHARED_SHRINK_H */
