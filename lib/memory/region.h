/* region.h - the address range of a map
 *
 * SPDX-License-Identifier: MIT
 *
 *      map                 data                                          mapped
 *      | guard, if wanted  | used            | unused  | out of reach     | guard |
 *                            ^ base
 *                          |<----------- committed --->|
 *                          |<----------- size --------------------------->|
 *
 * base is where the map begins: at data, or, with guards, so far behind it that
 * the end of the capacity is the end of size, but for what keeps base aligned.
 * On a backing base is at data, and all of size is committed from the start.
 * All below is in whole pages, counted in bytes from data.
 *
 * No locks here: the map has them.
 */
#ifndef REGION_H
#define REGION_H

#include "ammap.h"
#include "memory/backing.h"

#include <stddef.h>

/* With its end; what Linux takes. */
enum { REGION_NAME = 80 };

/* So many bytes. */
struct stretch {
        size_t from, to;
};

/* Some of them, in ascending order, none touching another; and how many there is room for. */
struct locked {
        size_t count, room;
        struct stretch stretch[];
};

struct region {
        unsigned char *map;
        size_t mapped;
        unsigned char *data;
        size_t size;
        size_t committed;              /* readable and writable, and so for good; but see frozen */
        size_t used;                   /* what the length comes to */
        const struct backing *backing; /* NULL: memory of its own */
        struct locked *locked;         /* what this process has locked; NULL: it never has */
        ammap_guard_t guard : 8;
        ammap_fork_t fork : 8;     /* what becomes of it */
        ammap_want_t lock : 8;     /* what growth has to do again */
        ammap_want_t populate : 8; /* that, too */
        ammap_want_t huge : 8;     /* the same, of a backing in memory */
        bool fork_by_hand;         /* what becomes of it does so by the child itself */
        bool secret;               /* wiped wherever it is given up */
        bool nodump;               /* left out of core dumps */
        bool noreserve;            /* asked not to be accounted for */
        bool frozen;               /* not writable, or not any more */
};

/* Whole pages for so many bytes. */
size_t region_pages(uint64_t length);

/* Reserve capacity bytes of which the first length are to be used, with the
 * properties that options want; *base is where they begin.  On a backing, if it
 * is not NULL, which must stay.
 * 0, or AMMAP_ERR_UNSUPPORTED, or the system's code, and nothing is left. */
int region_make(struct region *region, uint64_t length, const ammap_options_t *options, const struct backing *backing,
                unsigned char **base);

/* Give it all back.  0, or the system's code: it is still there. */
int region_free(struct region *region);

/* Of one that was left out: forget what was noted of it. */
void region_forget(struct region *region);

/* By another handle it was cut there: what lies behind are new pages where it grows again. */
static inline void region_note_cut(struct region *region, size_t used)
{
        if (used < region->used)
                region->used = used;
}

/* Use pages up to an end beyond used.  0, or the system's code: used as before. */
int region_grow(struct region *region, size_t used);

/* Use no byte from an offset on: they read as zero, and their pages are given
 * back but can be read on.  to: where what may hold anything ends, which is used
 * where no others have the memory too. */
void region_cut(struct region *region, size_t from, size_t to);

/* Make bytes zero, and give back the whole pages among them if that can be. */
void region_zero(struct region *region, size_t from, size_t to);

/* The same where others can take the pages away: as bytes_zero answers. */
int region_zero_careful(struct region *region, size_t from, size_t to, size_t *done);

/* Make pages present.  AMMAP_ERR_FAULT: others have taken them away; or the system's
 * code. */
int region_populate(struct region *region, size_t from, size_t to);

/* Keep pages in memory; no longer.  0; or the system's code, and as many are locked
 * as were. */
int region_lock(struct region *region, size_t from, size_t to);
int region_unlock(struct region *region, size_t from, size_t to);

/* Make it read-only.  0; or the system's code, and it is as it was.  (Where the
 * system refuses half-way and then refuses to go back, 0: some of it is read-only,
 * and none is to be written.)  Make it writable again. */
int region_freeze(struct region *region);
int region_thaw(struct region *region);

/* Whether it is all that a secret is: wiped, left out of core dumps, and locked. */
bool region_is_secret(const struct region *region);

/* In a forked child: do what the kernel could not.  Memory that cannot be wiped is
 * left out: see fork. */
void region_forked(struct region *region);

/* Leave it out, then, for a reason of the map's. */
void region_leave_out(struct region *region);

/* Copy what is not zero of a region's first length bytes to memory that is all
 * zero, page by page, without making pages present in either that hold nothing. */
void region_copy(unsigned char *to, const struct region *from, size_t length);

/* The same where others can take the pages away: 0, AMMAP_ERR_FAULT if they have,
 * or the system's code. */
int region_copy_careful(unsigned char *to, const struct region *from, size_t length);

#endif /* REGION_H */
