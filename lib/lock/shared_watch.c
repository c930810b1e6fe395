/* shared_watch.c - waiting until lanes of a shared map are written
 *
 * SPDX-License-Identifier: MIT
 *
 * Who watches one lane sets OWNER_WAITERS, whether the lane has an owner or not, looks at the
 * sequence, and sleeps on the low half of owner.  A writer leaves by an exchange of owner,
 * after its sequence is even: it finds the bit and wakes all, or the watcher's
 * read-modify-write comes later and finds the sequence.  A writer pays nothing for that but
 * the longer way in, where owner is not 0.
 *
 * Of several lanes, and where this process may not set a bit, nobody wakes the watcher.
 */
#include "lock/shared_watch.h"

#include "ammap.h"
#include "lock/shared_owner.h"
#include "lock/shared_wait.h"

enum {
        LOOK_READER = 10000000, /* ns between two looks, of one who may only read */
        LOOK_SEVERAL = 1000000, /* of one who watches several lanes */
        LOOK_DEAD = 10000000,   /* for a writer who died */
};

/* The acquire pairs with the release of shared_close_lane. */
int shared_writes(const struct shared *shared, struct lane_range lanes, uint64_t *count)
{
        int rc = 0;

        *count = 0;
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                uint64_t sequence = atomic_load_explicit(&shared->lane[lane].sequence, memory_order_acquire);

                *count += sequence / 2; /* odd: the write under way does not count yet */
                if ((sequence & 1) && shared_is_dead(shared, lane))
                        rc = AMMAP_ERR_OWNER_DEAD;
        }
        return rc;
}

void shared_watch(struct shared *shared, struct lane_range lanes, uint64_t count, int64_t until)
{
        struct format_lane *lane = &shared->lane[lanes.first];
        const int64_t now = os_now();
        uint64_t owner, found;

        if (!shared->writable || lanes.first != lanes.last) {
                int64_t look = shared->writable ? LOOK_SEVERAL : LOOK_READER;

                waiter_nap(earlier(look, until - now));
                return;
        }
        owner = atomic_fetch_or(&lane->owner, OWNER_WAITERS) | OWNER_WAITERS;
        if (shared_writes(shared, lanes, &found) < 0 || found != count)
                return;
        os_wait_shared(shared_low_half(&lane->owner), (uint32_t)owner, earlier(until, now + LOOK_DEAD));
}
