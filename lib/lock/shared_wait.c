/* shared_wait.c - waiting for a lane of a shared map
 *
 * SPDX-License-Identifier: MIT
 *
 * Who waits spins, and then sleeps on the low half of the lane's owner, never for long: the
 * one it waits for may be dead, and a reader leaves without a fence.  The essay on top of
 * shared_lock.c explains the whole.
 */
#include "lock/shared_wait.h"

#include "ammap.h"

enum {
        SPIN_MAX = 1024,      /* pauses in all before sleeping */
        OWNER_NAP = 10000000, /* ns, as the two below */
        READER_NAP_MIN = 50000,
        READER_NAP_MAX = 1000000,
        LOST_MAX = 1000,  /* races until it is no accident any more */
        END_TURN_MAX = 8, /* tries */
};

struct shared_waiter shared_wait_begin(struct shared *shared, struct slot *slot, uint32_t number, int64_t deadline)
{
        return (struct shared_waiter){ .base = { .deadline = deadline, .pause = 1 },
                                       .shared = shared,
                                       .slot = slot,
                                       .lane = &shared->lane[number],
                                       .nap = READER_NAP_MIN };
}

/* 0: go on waiting, *now being the time; else it is over.  A child that was forked by a
 * signal handler meanwhile has no slot to wait by. */
static int out_of_time(struct shared_waiter *w, int64_t *now)
{
        if (os_fork_check() || !slot_is_mine(w->slot))
                return AMMAP_ERR_UNSUPPORTED;
        return waiter_begin_sleep(&w->base, now);
}

/* Before it sleeps.  1: it has spun, and is to look again; 0: it may; else it is over. */
static int begin_sleep(struct shared_waiter *w, int64_t *now)
{
        if (w->base.deadline != LANE_TRY && waiter_spin(&w->base, SPIN_MAX))
                return 1;
        if (!w->counted) {
                w->counted = true;
                atomic_fetch_add(&w->shared->sleepers, 1);
        }
        return out_of_time(w, now);
}

/* A child that was forked meanwhile has no slot, and has not been counted. */
int shared_wait_end(struct shared_waiter *w, int rc)
{
        shared_wait_end_turn(w);
        if (w->counted && slot_is_mine(w->slot))
                atomic_fetch_sub(&w->shared->sleepers, 1);
        return rc;
}

int shared_wait_lost_race(struct shared_waiter *w)
{
        int64_t now;

        return ++w->lost < LOST_MAX ? 0 : out_of_time(w, &now);
}

static void ask_turn(struct shared_waiter *w)
{
        uint64_t next = atomic_load(&w->lane->next);

        if (next != w->slot->owner_id && (next == 0 || !slot_lives_by_id(w->shared, next, false)))
                atomic_compare_exchange_strong(&w->lane->next, &next, w->slot->owner_id);
}

void shared_wait_end_turn(struct shared_waiter *w)
{
        uint64_t mine = w->slot->owner_id, owner;

        if (!w->base.since || !atomic_compare_exchange_strong(&w->lane->next, &mine, 0))
                return;
        owner = atomic_load(&w->lane->owner);
        for (int tries = 0; (owner & OWNER_RESERVED) && !(owner & OWNER_ID) && tries < END_TURN_MAX; tries++)
                if (atomic_compare_exchange_strong(&w->lane->owner, &owner, 0)) {
                        if (owner & OWNER_WAITERS)
                                shared_wake(w->lane);
                        return;
                }
}

int shared_wait_for_owner(struct shared_waiter *w, uint64_t seen)
{
        int64_t now;
        int rc = begin_sleep(w, &now);

        if (rc != 0)
                return rc < 0 ? rc : 0;
        if (waiter_is_starving(&w->base, now))
                ask_turn(w);
        if (!(seen & OWNER_WAITERS) && !atomic_compare_exchange_strong(&w->lane->owner, &seen, seen | OWNER_WAITERS))
                return 0;
        os_wait_shared(shared_low_half(&w->lane->owner), (uint32_t)(seen | OWNER_WAITERS),
                       earlier(w->base.deadline,
                               now + (waiter_is_starving(&w->base, now) ? OWNER_NAP : WAITER_STARVING_AFTER)));
        return 0;
}

int shared_wait_for_reader(struct shared_waiter *w)
{
        uint64_t seen;
        int64_t now;
        int rc = begin_sleep(w, &now);

        if (rc != 0)
                return rc < 0 ? rc : 0;
        seen = atomic_fetch_or(&w->lane->owner, OWNER_WAITERS) | OWNER_WAITERS;
        os_wait_shared(shared_low_half(&w->lane->owner), (uint32_t)seen, earlier(w->base.deadline, now + w->nap));
        if (w->nap < READER_NAP_MAX)
                w->nap *= 2;
        return 0;
}
