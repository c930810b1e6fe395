/* shared_owner.h - owning a lane of a shared map
 *
 * SPDX-License-Identifier: MIT
 *
 * Who writes, shrinks or recovers takes a lane's owner first, and lets it go last: in
 * between it alone changes the sequence.  The essay on top of shared_lock.c explains the
 * whole.
 */
#ifndef SHARED_OWNER_H
#define SHARED_OWNER_H

#include "ammap.h"
#include "lock/lock.h"
#include "lock/shared_wait.h"
#include "lock/slot.h"
#include "os/hints.h"

/* Whom to keep out, and who may be in. */
enum shared_entry {
        TO_WRITE,
        TO_TAKE_OVER, /* as that, and minds no odd sequence */
        TO_SHRINK,    /* answers BUSY where a mut slice may be in the way */
        TO_RECOVER,   /* answers BUSY where anyone is, and minds no odd sequence */
};

/* Own a lane.  0; AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD, _READ_ONLY,
 * _UNSUPPORTED. */
int shared_own(struct shared *shared, struct slot *slot, uint32_t number, enum shared_entry entry, int64_t deadline);

/* The same where it was not free, or odd; and it may be odd afterwards. */
int shared_own_slow(struct shared *shared, struct slot *slot, uint32_t number, enum shared_entry entry,
                    int64_t deadline);

/* Let it go. */
static inline void shared_disown(struct format_lane *lane)
{
        uint64_t next = atomic_load_explicit(&lane->next, memory_order_relaxed);
        uint64_t owner = atomic_exchange(&lane->owner, next ? OWNER_RESERVED : 0);

        if (unlikely((owner & OWNER_WAITERS) != 0))
                shared_wake(lane);
}

/* And all from first on, up to end, which is left out. */
void shared_disown_lanes(struct shared *shared, uint32_t first, uint32_t end);

/* Whether the calling thread owns one of the lanes, through whichever handle. */
bool shared_owner_is_mine(const struct shared *shared, struct lane_range lanes);

static inline bool shared_is_odd(const struct format_lane *lane)
{
        return atomic_load(&lane->sequence) & 1;
}

/* Whether a writer of the lane died. */
bool shared_is_dead(const struct shared *shared, uint32_t lane);

/* For one who owns it now: its writer may have died since one looked. */
static inline int shared_refuse_odd(struct shared *shared, struct format_lane *lane)
{
        if (likely(!shared_is_odd(lane)))
                return 0;
        shared_disown(lane);
        return shared_frozen(shared) ? AMMAP_ERR_READ_ONLY : AMMAP_ERR_OWNER_DEAD;
}

/* Not while one waits: the freezer who waits for it has the lane. */
static inline void shared_note_writing(struct slot *slot, bool writing)
{
        atomic_store_explicit(&slot->writing, writing, memory_order_release);
}

/* How many slices its thread writes by, for who shrinks the map: noted before it owns a lane. */
static inline void shared_note_mut_slices(struct slot *slot, uint32_t more)
{
        uint32_t count = atomic_load_explicit(&slot->record->mut_slices, memory_order_relaxed);

        atomic_store_explicit(&slot->record->mut_slices, count + more, memory_order_relaxed);
}

/* From here on bytes may be half written; the fence is lane_write_try's.  And not any more. */
static inline void shared_open_from(struct format_lane *lane, uint64_t even)
{
        atomic_store_explicit(&lane->sequence, even + 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
}

static inline void shared_close_to(struct format_lane *lane, uint64_t even)
{
        atomic_store_explicit(&lane->sequence, even, memory_order_release);
}

/* The owner alone changes it. */
static inline uint64_t shared_sequence(const struct format_lane *lane)
{
        return atomic_load_explicit(&lane->sequence, memory_order_relaxed);
}

static inline void shared_open_lane(struct format_lane *lane)
{
        shared_open_from(lane, shared_sequence(lane));
}

static inline void shared_close_lane(struct format_lane *lane)
{
        shared_close_to(lane, shared_sequence(lane) + 1);
        shared_disown(lane);
}

#endif /* SHARED_OWNER_H */
