/* shared_watch.h - waiting until lanes of a shared map are written
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of shared_lock.c explains the whole.
 */
#ifndef SHARED_WATCH_H
#define SHARED_WATCH_H

#include "lock/lock.h"
#include "lock/slot.h"

/* How often lanes were written: a sum of counts that each only grow.  Whoever has it sees the
 * bytes of those writes.  0, or AMMAP_ERR_OWNER_DEAD: a writer of one died. */
int shared_writes(const struct shared *shared, struct lane_range lanes, uint64_t *count);

/* Sleep until they may have been written more often, or a writer may have died. */
void shared_watch(struct shared *shared, struct lane_range lanes, uint64_t count, int64_t until);

#endif /* SHARED_WATCH_H */
