/* linux.h - what the files for Linux have of each other
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OS_LINUX_H
#define OS_LINUX_H

#include <stddef.h>

/* Move pages over what is mapped at an address.  On an error that stays, and the pages
 * are gone. */
int os_move_over(void *address, void *from, size_t length);

#endif /* OS_LINUX_H */
