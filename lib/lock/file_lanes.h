/* file_lanes.h - the lanes of a map in a file, as bytes that are locked
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_LANES_H
#define FILE_LANES_H

#include "lock/file_head.h"

/* One call of the kernel's, which does all of it or nothing, and does not wait: 0, -EAGAIN or the
 * system's code.  An unlock that is refused is tried again, some times.  For who has the mutex, and notes it. */
int file_lock_lane(const struct file *file, uint64_t lane, enum os_lock lock);
int file_lock_lanes(const struct file *file, struct lane_range lanes, enum os_lock lock);

/* Between two tries: 0; AMMAP_ERR_BUSY, AMMAP_ERR_TIMEOUT. */
int file_nap(int64_t deadline, unsigned tries);

/* Have lanes against other processes, and note what has been found there: 0, FILE_FROZEN, FILE_AGAIN or a code, as of
 * file_enter; then none of them is had. */
int file_enter_lanes(struct file *file, const struct request *request);

/* Give them back. */
void file_leave_lanes(struct file *file, struct lane_range lanes, enum access access);

/* For those who list who is in; of no moment but their own: the first of the lanes that another
 * description than this one has locked, and as many as it has locked in a row, to write or
 * to read: 1, 0 (there is none) or the system's code; and whether this process has a lane. */
int file_find_locked(const struct file *file, struct lane_range lanes, struct lane_range *locked, bool *write);
bool file_has(struct file *file, uint32_t lane);

#endif /* FILE_LANES_H */
