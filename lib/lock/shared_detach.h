/* shared_detach.h - slices of a shared map that are no thread's any more
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_DETACH_H
#define SHARED_DETACH_H

#include "lock/slot.h"

/* A slice of the calling thread's becomes the process's: *hold is another one then.  0;
 * AMMAP_ERR_LIMIT: no slot is free; AMMAP_ERR_UNSUPPORTED: the process cannot have one;
 * or the system's code, and all is as it was. */
int shared_detach(struct shared_hold **hold);

/* Whether a hold is the process's. */
bool shared_is_detached(const struct shared_hold *hold);

/* Leave one that is. */
void shared_leave_detached(struct shared_hold *hold, uint64_t use);

/* Around a fork, which is not to see half of this, nor of what slot.c lists; and in the child,
 * where nothing is detached. */
void detach_before_fork(void);
void detach_after_fork(void);
void detach_forked(void);

#endif /* SHARED_DETACH_H */
