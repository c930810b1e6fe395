/* shared_wait.h - waiting for a lane of a shared map
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_WAIT_H
#define SHARED_WAIT_H

#include "lock/slot.h"
#include "lock/waiter.h"

struct shared_waiter {
        struct lock_waiter base;
        struct shared *shared;
        struct slot *slot;
        struct format_lane *lane;
        int64_t reserved; /* os_now when the lane was first found kept for another, or 0 */
        int64_t nap;      /* the next one, for readers */
        uint32_t lost;    /* races for a word, in a row or not */
        bool counted;     /* among the handle's sleepers */
        bool alone;       /* it looks for what no change of owner tells */

        /* Since it was starving. */
        struct lookout *lookout; /* the one it is, or has relied on; or NULL */
        uint32_t looked_after;   /* and for which lane, + 1 */
        bool looks;              /* it is that one */
};

struct shared_waiter shared_wait_begin(struct shared *shared, struct slot *slot, uint32_t number, int64_t deadline);

/* Each of these, 0: look again; AMMAP_ERR_BUSY, _TIMEOUT, _UNSUPPORTED (in a child that was
 * forked meanwhile). */

/* For a lane whose owner has been seen so. */
int shared_wait_for_owner(struct shared_waiter *w, uint64_t seen);

/* For one who owns the lane, until a reader has gone. */
int shared_wait_for_reader(struct shared_waiter *w);

/* The lane has changed underway, so that another look may be all that it takes; but
 * one who changes it all the time is not to keep us here. */
int shared_wait_lost_race(struct shared_waiter *w);

/* It is over, with that result, which it returns. */
int shared_wait_end(struct shared_waiter *w, int rc);

/* The turn is over: used, or not wanted any more. */
void shared_wait_end_turn(struct shared_waiter *w);

/* The half of owner that is slept on. */
static inline const _Atomic uint32_t *shared_low_half(const _Atomic uint64_t *word)
{
        const _Atomic uint32_t *half = (const _Atomic uint32_t *)(const void *)word;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        half++;
#endif
        return half;
}

/* Wake all who sleep on a lane. */
static inline void shared_wake(const struct format_lane *lane)
{
        os_wake_shared(shared_low_half(&lane->owner), INT32_MAX);
}

#endif /* SHARED_WAIT_H */
