/* target.h - what somebody asked about, looked at and shown
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TARGET_H
#define TARGET_H

#include "picture.h"

struct view {
        const struct show *show;
        FILE *out;
        bool all; /* also memory and descriptors that may be anybody's */
};

/* Show what it is: 0; or -1, and something of it could not be seen, which is said. */
int target_show(struct target *target, const struct view *view);

/* All processes that may be seen, and have maps; this one is left out.  How many could not
 * be seen. */
uint64_t target_show_all(const struct view *view);

#endif /* TARGET_H */
