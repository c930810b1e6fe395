/* file_twins.h - maps of one process that lie in one file
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_TWINS_H
#define FILE_TWINS_H

#include "lock/file_head.h"

/* Open a file that is open once more, by a description of its own: by its path, where there is one and the file is
 * there yet.  A descriptor, or the system's code. */
int file_open_again(const char *path, int shown, const struct os_file *there);

/* Open what the file is locked by, and put it on the list of all, when all of it is set but that: 0, or the system's
 * code.  path: as of file_open_again.  And take it off, and close that. */
int file_link(struct file *file, const char *path, int shown);
void file_unlink(struct file *file);

/* Call found(map, context) for each other map of this process in the same file. */
void file_each_twin(const struct file *file, void (*found)(const struct file *twin, void *context), void *context);

/* Before these lanes are entered: what the calling thread has of them through other maps in
 * the same file.  0: nothing; 1: it reads some, and they are to be read; so a
 * writer here may wait for it, and it must not wait for the lane: busy would be
 * AMMAP_ERR_DEADLOCK; or AMMAP_ERR_DEADLOCK at once. */
int file_elsewhere(const struct file *file, struct lane_range lanes, enum access access);

/* Around a fork, which finds the list whole.  In the child, first: close all, and list none; then list those again that
 * it has, by a descriptor opened anew for what shown is of; -1: by none. */
void file_twins_before_fork(void);
void file_twins_after_fork(void);
void file_twins_forked(void);
void file_relink(struct file *file, int shown);

#endif /* FILE_TWINS_H */
