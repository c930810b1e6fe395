/* shared_run.h - a lock in a file, that another run of the machine has left
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_RUN_H
#define SHARED_RUN_H

#include "lock/slot.h"

/* Make the lock that of this run: who had anything is dead.  For who keeps others from
 * opening the map, and knows that none of this run has it open. */
void shared_run_begin(struct shared *shared);

#endif /* SHARED_RUN_H */
