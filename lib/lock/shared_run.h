/* shared_run.h - a lock in a file, that another run of the machine has left
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_RUN_H
#define SHARED_RUN_H

#include "lock/slot.h"

/* Whether a header is of a run of the machine that is over. */
bool shared_run_is_over(const struct format_head *head);

/* Make the lock that of this run: who had anything is dead.  For who keeps others from
 * opening the map, and knows that none of this run has it open. */
void shared_run_begin(struct shared *shared);

/* Whether nobody who may write has done that yet; for who may not, and found it so. */
bool shared_run_is_old(const struct shared *shared);

#endif /* SHARED_RUN_H */
