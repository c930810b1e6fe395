/* shared_wait.c - waiting for a lane of a shared map
 *
 * SPDX-License-Identifier: MIT
 *
 * Who waits spins, and then sleeps on the low half of the lane's owner, never for long: the
 * one it waits for may be dead, and who may only read can take a wake-up away.  The essay on
 * top of shared_lock.c explains the whole.  Here stands how many wait at the price of one.
 *
 * What it guarantees
 *
 *   G1  Some thread of each process that waits for a lane looks at it every LOOK_NAP at least
 *       (10 ms).  So a process learns of a death in that time.
 *   G2  What that one finds, and a change of owner that lets anyone in, the others of its
 *       process learn then.
 *   G3  However many threads of a process wait for a lane by one handle, one of them looks.
 *
 * Of those who are starving, and wait for one lane by one handle, the first becomes the
 * lookout, and the others rely on it: they sleep on its event, in memory of this process.
 * No peer sees that word, nor can it take a wake-up away there.
 *
 *      lookout.lane    whether somebody looks, and for which lane: of several that share a
 *                      struct lookout, one; those who wait for others look for themselves
 *      lookout.event   it grows before those who sleep on it are woken
 *
 * The lookout sleeps on the owner, and looks as each did that is alone.  It wakes the others
 * when it ends its wait, whatever the reason, or goes on to another lane, or finds the lane kept
 * for one who is to come next, which may be one of them.  While one lives who owns the lane,
 * the others have nothing to do, whoever it is.  Who may have something to do all the same
 * relies on nobody (alone): who shrinks the map, and who reads the lane already, for which it
 * matters whether the owner shrinks the map or has come to write.
 *
 * When it ends since it has waited for too long, or has got the lane to write, the lane is
 * as it was for the others: one is woken, which becomes the lookout.  If that one ends its wait
 * instead, it finds no lookout, and wakes the next one.  Else all are woken.
 *
 * Why none sleeps while nobody looks
 *
 *      one side                        other side                      gives
 *      relies: event?                  lookout ends: lane = 0          it finds no lookout, or another
 *              is there a lookout?             event + 1, wakes        event, or is woken
 *              sleeps on event
 *
 *      relies: event?                  lookout: sees it free or kept   it finds the owner changed, or
 *              is the owner the same?          event + 1, wakes        another event, or is woken
 *              sleeps on event
 *
 * All of that is seq_cst, and the kernel compares the event before it lets one sleep.  A lookout
 * cannot be lost: its thread is in a call of ours, from which it comes back, or the
 * process is gone with all who rely on it; and a child of fork() begins with none.  A lookout
 * that does not come to run (its priority is less) costs the others RELY_NAP at most.
 *
 * An owner waits for readers.  A reader leaves without a fence, and may not see
 * OWNER_WAITERS: but its store is older than that bit then, and is seen by the first look
 * after it, of READER_NAP_MIN.  All later ones see the bit.  So the naps may grow, until
 * they are as long as those of who looks for the dead.
 */
#include "lock/shared_wait.h"

#include "ammap.h"

enum {
        SPIN_MAX = 1024,        /* pauses in all before sleeping */
        LOOK_NAP = 10000000,    /* ns, as those below */
        RELY_NAP = 1000000000,  /* of one for whom another looks */
        READER_NAP_MIN = 50000, /* and it doubles until LOOK_NAP */
        LOST_MAX = 1000,        /* races until it is no accident any more */
        END_TURN_MAX = 8,       /* tries */
        ALL = INT32_MAX,
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

/* --- One looks for all --- */

static void tell(struct lookout *lookout, int count)
{
        atomic_fetch_add(&lookout->event, 1);
        os_wake(&lookout->event, count);
}

/* Look for others no more, nor rely on one who does. */
static void leave_lookout(struct shared_waiter *w, int count)
{
        struct lookout *lookout = w->lookout;

        if (!lookout)
                return;
        if (w->looks)
                atomic_store(&lookout->lane, 0);
        if (w->looks || atomic_load(&lookout->lane) == 0)
                tell(lookout, count);
        w->lookout = NULL;
        w->looks = false;
}

/* True: it has slept while another one looked, or is to look itself; false: it is to sleep on
 * the owner, which it has seen so. */
static bool rely_on_lookout(struct shared_waiter *w, uint64_t seen, int64_t now)
{
        const uint32_t lane = (uint32_t)(w->lane - w->shared->lane) + 1;
        struct lookout *lookout = &w->shared->lookout[lane % LOOKOUTS];
        const uint32_t event = atomic_load(&lookout->event);
        uint32_t found = 0;

        if (w->looked_after != lane)
                leave_lookout(w, ALL);
        w->looked_after = lane;
        if (!w->looks && atomic_compare_exchange_strong(&lookout->lane, &found, lane)) {
                w->lookout = lookout;
                w->looks = true;
        }
        if (w->looks && !(seen & OWNER_ID))
                tell(lookout, ALL);
        if (w->looks || found != lane || w->alone || !(seen & OWNER_ID))
                return false;
        w->lookout = lookout;
        if ((atomic_load(&w->lane->owner) & OWNER_ID) == (seen & OWNER_ID))
                os_wait(&lookout->event, event, earlier(w->base.deadline, now + RELY_NAP));
        return true;
}

/* Who has the lane to write, or has waited for too long, leaves it to the others as it is. */
static int how_many_are_to_look(const struct shared_waiter *w, int rc)
{
        bool owns = rc == 0 && (atomic_load(&w->lane->owner) & OWNER_ID) == w->slot->owner_id;

        return owns || rc == AMMAP_ERR_TIMEOUT ? 1 : ALL;
}

/* A child that was forked meanwhile has no slot, and has not been counted. */
int shared_wait_end(struct shared_waiter *w, int rc)
{
        shared_wait_end_turn(w);
        if (!slot_is_mine(w->slot))
                return rc;
        leave_lookout(w, how_many_are_to_look(w, rc));
        if (w->counted)
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
        int64_t now, nap = WAITER_STARVING_AFTER;
        int rc = begin_sleep(w, &now);

        if (rc != 0)
                return rc < 0 ? rc : 0;
        if (waiter_is_starving(&w->base, now)) {
                nap = LOOK_NAP;
                ask_turn(w);
                if (rely_on_lookout(w, seen, now))
                        return 0;
        }
        if (!(seen & OWNER_WAITERS) && !atomic_compare_exchange_strong(&w->lane->owner, &seen, seen | OWNER_WAITERS))
                return 0;
        os_wait_shared(shared_low_half(&w->lane->owner), (uint32_t)(seen | OWNER_WAITERS),
                       earlier(w->base.deadline, now + nap));
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
        w->nap = earlier(2 * w->nap, LOOK_NAP);
        return 0;
}
