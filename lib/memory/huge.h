/* huge.h - huge pages, made and verified
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HUGE_H
#define HUGE_H

#include "memory/backing.h"
#include "os/os.h"

/* Some of the pages that begin at data. */
struct huge_range {
        unsigned char *data;
        size_t from, to;               /* counted from data */
        const struct backing *backing; /* NULL: memory of this process's own */
        enum os_access access;
};

/* Make huge pages of memory that others have too, as many as fit.  0;
 * AMMAP_ERR_UNSUPPORTED; AMMAP_ERR_FAULT: others have taken it away; or the system's code. */
int huge_make(const struct huge_range *range);

/* Whether all of those are there, and the system says so; or the first one, made there if
 * need be.  0; AMMAP_ERR_UNSUPPORTED, also where none fits; or the system's code. */
int huge_verify(const struct huge_range *range);
int huge_verify_first(const struct huge_range *range);

/* Whether who made the backing wanted huge pages.  Those that are there show at an address
 * that fits, whether they are asked for or not. */
bool huge_is_meant(const struct backing *backing);

#endif /* HUGE_H */
