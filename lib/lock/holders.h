/* holders.h - who holds which lanes, for one who asks
 *
 * SPDX-License-Identifier: MIT
 *
 * A list that the locks add to what they find.  It is of a moment that is over: nobody is
 * kept from entering or leaving meanwhile.
 */
#ifndef HOLDERS_H
#define HOLDERS_H

#include "ammap.h"
#include "lock/lock.h"

struct holder {
        uint32_t process, thread; /* 0: not known */
        ammap_hold_t hold;
        struct lane_range lanes;
};

struct holders {
        struct holder *at;
        size_t count, room;
        int rc; /* -ENOMEM: there was no room for one */
};

void holders_add(struct holders *list, const struct holder *holder);

/* Lanes in a row that one holds in one way become one of them. */
void holders_merge(struct holders *list);

void holders_end(struct holders *list);

/* Add who holds which of count lanes between the threads of this process. */
void lane_holders(struct lane *first, size_t count, struct holders *list);

#endif /* HOLDERS_H */
