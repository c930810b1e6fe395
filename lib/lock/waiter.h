/* waiter.h - what all who wait for a lock have: a deadline, a spin, a nap
 *
 * SPDX-License-Identifier: MIT
 *
 * Who cannot enter spins first, with pauses that grow, and then sleeps.  What it sleeps on,
 * and what wakes it, is the lock's affair (lock.c, shared_wait.c).
 */
#ifndef WAITER_H
#define WAITER_H

#include "ammap.h"
#include "os/os.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Deadlines besides those of os_now's clock. */
#define LANE_TRY INT64_C(0)
#define LANE_FOR_EVER OS_NEVER

enum {
        WAITER_PAUSE_MAX = 64,           /* pauses between two looks, at most */
        WAITER_STARVING_AFTER = 2000000, /* ns from which on it wants its turn */
        WAITER_THOROUGH_AFTER = 20000000 /* ns from which on it asks the kernel who lives */
};

/* How long to wait for those who are done in a moment, as long as they are what they
 * pretend to be, in ns. */
#define WAITER_PATIENCE INT64_C(10000000000)

struct lock_waiter {
        int64_t deadline;
        int64_t since;  /* os_now when it first came to sleep, or 0 */
        uint32_t pause; /* the next one */
        uint32_t spun;  /* pauses so far */
};

/* Whether there is more than one processor; else nobody spins.  Set once. */
extern bool waiter_may_spin;
void waiter_count_cpus(void);

/* Let some time pass, up to so many pauses in all.  False: they are used up. */
static inline bool waiter_spin(struct lock_waiter *w, uint32_t limit)
{
        /* cppcheck-suppress knownConditionTrueFalse ; it takes what others set for 0 */
        if (!waiter_may_spin || w->spun >= limit)
                return false;
        for (uint32_t n = w->pause; n > 0; n--)
                os_pause();
        w->spun += w->pause;
        if (w->pause < WAITER_PAUSE_MAX)
                w->pause *= 2;
        return true;
}

/* Before it sleeps.  0: it may, *now being the time; AMMAP_ERR_BUSY or _TIMEOUT. */
static inline int waiter_begin_sleep(struct lock_waiter *w, int64_t *now)
{
        if (w->deadline == LANE_TRY)
                return AMMAP_ERR_BUSY;
        *now = os_now();
        if (*now >= w->deadline)
                return AMMAP_ERR_TIMEOUT;
        if (w->since == 0)
                w->since = *now;
        return 0;
}

static inline bool waiter_is_starving(const struct lock_waiter *w, int64_t now)
{
        return now - w->since >= WAITER_STARVING_AFTER;
}

/* Whether to ask the kernel who lives, which takes a call: where one waits, or will not
 * look again. */
static inline bool waiter_is_thorough(const struct lock_waiter *w)
{
        return w->deadline == LANE_TRY || (w->since && os_now() - w->since > WAITER_THOROUGH_AFTER);
}

static inline int64_t earlier(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

/* Sleep for so many ns, where nobody wakes one. */
static inline void waiter_nap(int64_t length)
{
        const _Atomic uint32_t nobody = 0;

        os_wait(&nobody, 0, os_now() + length);
}

#endif /* WAITER_H */
