/* recycle.h - freed maps kept for those to come
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RECYCLE_H
#define RECYCLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The part of a map by which it is kept.  Constant while it is: mapped, weight. */
struct kept {
        uint32_t mapped;            /* bytes of its memory, in whole pages */
        uint32_t weight;            /* bytes of all that it takes, AMMAP_RECYCLE_MAX at most */
        struct kept *newer, *older; /* in its list; guard: the mutex of recycle.c */
};

/* Unmaps and frees what is kept: 0, or the system's code, and it is as it was. */
typedef int recycle_destroy(struct kept *kept);

/* One with as much memory and as much weight; NULL: there is none.  Then zero its memory. */
struct kept *recycle_take(size_t mapped, uint64_t weight);
void recycle_zero(unsigned char *pages, size_t length);

/* Keep one that nobody uses any more.  Others may have to go for it, by destroy.  False:
 * there is no room for it, and the caller destroys it. */
bool recycle_keep(struct kept *kept, recycle_destroy *destroy);

/* Destroy kept ones until so many bytes at most are left.  0, or the first code that
 * destroy gave: those are still kept. */
int recycle_shrink(uint64_t keep, recycle_destroy *destroy);

/* Around a fork, in the parent and the child. */
void recycle_before_fork(void);
void recycle_after_fork(void);
void recycle_forked(void);

#endif /* RECYCLE_H */
