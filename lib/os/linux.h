/* linux.h - what the files for Linux have of each other
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OS_LINUX_H
#define OS_LINUX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How often this process, or one that it comes of, has been forked: what a thread has noted
 * of itself may be its parent's if this is another number. */
extern _Atomic uint32_t os_forks;

/* What claims to be a kernel takes any advice, even what there is not, and follows hardly any
 * (qemu-user).  Set by os_start. */
extern bool os_advice_ignored;

/* Move pages over what is mapped at an address.  On an error both stay. */
int os_move(void *address, void *from, size_t length);

/* The same, but that on an error the pages are gone. */
int os_move_over(void *address, void *from, size_t length);

#endif /* OS_LINUX_H */
