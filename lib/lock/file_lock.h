/* file_lock.h - the lock of a map in a file, against other processes
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of file_lock.c explains the whole.
 */
#ifndef FILE_LOCK_H
#define FILE_LOCK_H

#include "lock/file_head.h"

/* Keep others from making the file, and opening it; fd: one that may be written, or not.
 * 0; AMMAP_ERR_TIMEOUT, AMMAP_ERR_UNSUPPORTED or the system's code. */
int file_lock_opening(int fd, bool write);
void file_unlock_opening(int fd);

/* Keep those from writing who have a map open that was in the file before it was emptied, while another one is made:
 * who looked whose file it is has left, and who comes waits until it can be told.  0; AMMAP_ERR_BUSY: one of them has
 * a lane, or its length, for longer than a moment; or the system's code. */
int file_lock_making(int fd);
void file_unlock_making(int fd);

/* Be one of those who have a file open, as long as anything has the description: 0, or
 * as above.  Whether there is one, by another description: 1, 0, or the system's code. */
int file_use(int fd);
int file_in_use(int fd);

/* Lock, and unlock, lanes against other processes, for a thread that
 * has them against those of its own, by holds that it has noted.  On the way
 * it does what file_refresh does.  It waits for one lane, not for several.  0; FILE_FROZEN, to read; FILE_AGAIN, of
 * several lanes; FILE_RECOVERED, where the request recovers, which goes by the length, too: AMMAP_ERR_BOUNDS;
 * AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD, _READ_ONLY, _FAULT,
 * _UNSUPPORTED (a fork left no lock) or the system's code.  Who leaves marks as written what is marked, and nothing else: a lane
 * whose writer had died says so again. */
int file_enter(struct file *file, const struct request *request);
void file_leave(struct file *file, struct lane_range lanes, enum access access);

/* Mark lanes that are locked to write as being written.  0, AMMAP_ERR_FAULT or the system's code: they
 * are not locked any more. */
int file_mark(struct file *file, struct lane_range lanes);

/* Write bytes in a lane that is locked to write, and unmarked.  1; 0: perhaps some of them, and
 * the lane is marked now; AMMAP_ERR_FAULT, _UNSUPPORTED or the system's code. */
int file_write_unmarked(struct file *file, uint32_t lane, const struct os_piece *bytes);

/* Let what is locked to write be locked to read, with nobody in between; then the holds.  0;
 * AMMAP_ERR_FAULT, _FORMAT, _UNSUPPORTED or the system's code, and nothing has changed. */
int file_downgrade(struct file *file, struct lane_range lanes);

/* The thread ends that has a lane to write: AMMAP_ERR_OWNER_DEAD in every process
 * from now on, by what stands in the file; the local lane is not dead any more. */
void file_abandon(struct file *file, uint64_t lane);

/* Lock the length against other processes, and the other threads of this one,
 * and say whether who had it last died.  0; AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_BUSY
 * at the deadline, AMMAP_ERR_FAULT, ...: it is not locked. */
int file_enter_length(struct file *file, int64_t deadline);
void file_leave_length(struct file *file);

/* Mark the length as being changed, or as changed.  For who has locked it. */
int file_mark_length(struct file *file, bool changing);

/* Clear OWNER_DEAD, here and in the file; and that of the length, when mend(context) has
 * made zero what lies behind it.  0, AMMAP_ERR_READ_ONLY, ... */
int file_recover(struct file *file, int (*mend)(void *context), void *context);

/* How often lanes were written, by all processes, and which map of the file's it was: a sum of
 * counts that each only grow.  0; AMMAP_ERR_OWNER_DEAD: a writer of one died; AMMAP_ERR_FAULT, ... */
int file_writes(struct file *file, struct lane_range lanes, uint64_t *count);

/* Sleep until they may have been written more often, or a writer may have died. */
void file_watch(struct file *file, struct lane_range lanes, uint64_t count, int64_t until);

/* Take it off the list, and free it. */
void file_end(struct file *file);

/* In a forked child: begin with nothing, and with a descriptor opened anew for what shown
 * is of; -1: with none. */
void file_forked(struct file *file, int shown);

#endif /* FILE_LOCK_H */
