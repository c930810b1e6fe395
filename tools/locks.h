/* locks.h - which bytes of files the kernel has locked, and for whom
 *
 * SPDX-License-Identifier: MIT
 *
 * The kernel tells a process what is locked, but not by whom.  It does tell in fdinfo, of each
 * descriptor: so all that may be seen are looked at, once a round.
 */
#ifndef LOCKS_H
#define LOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Call each(pid, write, first, last, context) for all locks of the file that are known. */
void locks_each(dev_t device, ino_t inode,
                void (*each)(uint32_t pid, bool write, uint64_t first, uint64_t last, void *context), void *context);

/* The next round begins: look again. */
void locks_forget(void);

#endif /* LOCKS_H */
