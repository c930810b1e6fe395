/* file_twins.h - maps of one process that lie in one file
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_TWINS_H
#define FILE_TWINS_H

#include "lock/file_head.h"

/* Put it on the list of all, when all of it is set; and take it off, if it is there. */
void file_link(struct file *file);
void file_unlink(struct file *file);

/* Call found(map, context) for each other map of this process in the same file. */
void file_each_twin(const struct file *file, void (*found)(const struct file *twin, void *context), void *context);

/* Before these lanes are entered: what the calling thread has of them through other maps in
 * the same file.  0: nothing; 1: it reads some, and they are to be read; so a
 * writer here may wait for it, and it must not wait for the lane: busy would be
 * AMMAP_ERR_DEADLOCK; or AMMAP_ERR_DEADLOCK at once. */
int file_elsewhere(const struct file *file, struct lane_range lanes, enum access access);

/* Around a fork, which finds the list whole; and in the child, before the calls above. */
void file_twins_before_fork(void);
void file_twins_after_fork(void);
void file_twins_forked(void);

#endif /* FILE_TWINS_H */
