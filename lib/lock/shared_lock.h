/* shared_lock.h - the lock of a shared map's lanes
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of shared_lock.c explains the whole.
 */
#ifndef SHARED_LOCK_H
#define SHARED_LOCK_H

#include "lock/lock.h"
#include "lock/slot.h"
#include "memory/format.h"
#include "os/hints.h"

/* Enter the lanes of a request.  Where it recovers, they are to be opened then, or abandoned,
 * which leaves them as they were.  0; AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD,
 * _READ_ONLY, _LIMIT, _UNSUPPORTED (only to read what it cannot keep from writers) or
 * the system's code. */
int shared_enter(struct shared *shared, const struct request *request, struct shared_hold **hold);
void shared_leave(struct shared_hold *hold, uint64_t use);

/* Write what is held by a request that recovers.  1: a writer of one of the lanes had died. */
int shared_open(struct shared_hold *hold);

/* Let a hold to write be one to read, with nobody in between: *hold is another one then.
 * 0; AMMAP_ERR_LIMIT: its thread has no place for one more; AMMAP_ERR_INVALID: it reads
 * already.  Then nothing has changed. */
int shared_downgrade(struct shared_hold **hold);

/* Leave what is held to write as if the process had died within. */
void shared_abandon(struct shared_hold *hold, uint64_t use);

/* Whether a hold is the calling thread's; whether it is anybody's. */
bool shared_is_mine(const struct shared_hold *hold);
bool shared_is_held(const struct shared_hold *hold);

/* Enter one lane to write for as long as a call lasts.  Of the length, which nobody has while
 * he waits for a slice, the deadline is not looked at: AMMAP_ERR_BUSY after some seconds. */
int shared_write(struct shared *shared, uint32_t lane, int64_t deadline, struct slot **slot);
void shared_write_leave(struct shared *shared, uint32_t lane, struct slot *slot);

/* The rest of shared_write, for one who has noted that he writes, and owns the lane. */
int shared_write_owned(struct shared *shared, uint32_t lane, int64_t deadline, struct slot *slot);

/* Read lanes without entering: between begin, true, and valid, true, nobody wrote
 * them.  What is read in between may be torn and must be read by racy.h's means.
 * A sequence only grows, so that the sum of several is that of before only if
 * each is.  begin's acquire pairs with the release of shared_write_leave, valid's
 * fence with that of shared_open_lane. */
static inline bool shared_read_begin(const struct shared *shared, struct lane_range lanes, uint64_t *sequence)
{
        uint64_t sum = 0;

        for (uint32_t lane = lanes.first; lane != lanes.last + 1; lane++) {
                uint64_t one = atomic_load_explicit(&shared->lane[lane].sequence, memory_order_acquire);

                if (one & 1)
                        return false;
                sum += one;
        }
        *sequence = sum;
        return true;
}

static inline bool shared_read_valid(const struct shared *shared, struct lane_range lanes, uint64_t sequence)
{
        uint64_t sum = 0;

        atomic_thread_fence(memory_order_acquire);
        for (uint32_t lane = lanes.first; lane != lanes.last + 1; lane++)
                sum += atomic_load_explicit(&shared->lane[lane].sequence, memory_order_relaxed);
        return sum == sequence;
}

/* For those who only read so, and could not: let some time pass, the longer the more looks
 * there were.  0; AMMAP_ERR_BUSY, _TIMEOUT; _DEADLOCK: the calling thread writes one of the
 * lanes, by another handle; _OWNER_DEAD: a writer of one of them died. */
int shared_look_again(struct shared *shared, struct lane_range lanes, unsigned looks, int64_t deadline);

/* Take a read set out of a record, and wake whoever owns one of its lanes, and waits. */
void shared_unname(const struct shared *shared, struct slot *slot, unsigned i, uint32_t set);

#endif /* SHARED_LOCK_H */
