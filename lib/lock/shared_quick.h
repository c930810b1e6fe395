/* shared_quick.h - the lock of a shared map's lanes: the paths that take no call
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of shared_lock.c explains the whole.  What one of these cannot do it
 * leaves to shared_lock.h's, as it has found it.
 */
#ifndef SHARED_QUICK_H
#define SHARED_QUICK_H

#include "lock/read_set.h"
#include "lock/shared_lock.h"
#include "lock/shared_owner.h"

/* --- To write --- */

/* Own the lane, by what shared_write does first.  False: nothing has changed. */
static ALWAYS_INLINE bool shared_own_quick(struct format_lane *lane, struct slot *slot)
{
        uint64_t nobody = 0;

        shared_note_writing(slot, true);
        if (likely(!shared_is_odd(lane) && atomic_compare_exchange_strong(&lane->owner, &nobody, slot->owner_id)))
                return true;
        shared_note_writing(slot, false);
        return false;
}

/* Whether that is all that there is to do but for the odd sequence, which is *sequence + 1.
 * head: the map's, found before, for the processor stops at who owns. */
static ALWAYS_INLINE bool shared_is_alone(const struct shared *shared, const struct format_head *head,
                                          const struct format_lane *lane, uint64_t *sequence)
{
        os_fence_light_after();
        if (unlikely(shared_is_odd(lane) || shared_bars_writers(shared, head) || read_set_any_at_all(shared, head) ||
                     atomic_load(&lane->rescan)))
                return false;
        *sequence = shared_sequence(lane);
        return true;
}

/* For who does not write after all. */
static inline void shared_disown_quick(struct format_lane *lane, struct slot *slot)
{
        shared_note_writing(slot, false);
        shared_disown(lane);
}

/* Let it go, where nobody is to have it next.  What is left to do for shared_finish_leaving,
 * which is a call, and answers 0. */
enum shared_left { LEFT, LEFT_SLEEPERS, LEFT_OWNED };

static ALWAYS_INLINE enum shared_left shared_leave_quick(struct format_lane *lane)
{
        if (unlikely(atomic_load_explicit(&lane->next, memory_order_relaxed) != 0))
                return LEFT_OWNED;
        return unlikely((atomic_exchange(&lane->owner, 0) & OWNER_WAITERS) != 0) ? LEFT_SLEEPERS : LEFT;
}

int shared_finish_leaving(struct format_lane *lane, enum shared_left left);

/* --- A slice to write, of a map of one lane --- */

/* First own the lane.  NULL: nothing has changed. */
static ALWAYS_INLINE struct shared_hold *shared_mut_slice_own(const struct shared *shared)
{
        struct slot *slot = slot_recent(shared);
        struct shared_hold *hold;

        if (unlikely(!slot || !(hold = slot->unused) || !shared->writable || os_maybe_forked()))
                return NULL;
        shared_note_mut_slices(slot, 1);
        if (unlikely(!shared_own_quick(shared->lane, slot))) {
                shared_note_mut_slices(slot, -UINT32_C(1));
                return NULL;
        }
        return hold;
}

/* Then, where one is alone, write; or give it back. */
static ALWAYS_INLINE void shared_mut_slice_begin(const struct shared *shared, struct shared_hold *hold, uint64_t reach,
                                                 uint64_t sequence)
{
        struct slot *slot = hold->slot;

        slot->unused = hold->unused;
        shared_open_from(shared->lane, sequence);
        hold->reach = reach;
        hold->set = SET_HELD;
        atomic_store_explicit(&hold->refs, HOLD_SLICE, memory_order_relaxed);
        shared_note_writing(slot, false);
}

static inline void shared_mut_slice_unown(const struct shared *shared, struct slot *slot)
{
        shared_note_mut_slices(slot, -UINT32_C(1));
        shared_disown_quick(shared->lane, slot);
}

/* Whether shared_mut_slice_end may let it go: one of the calling thread's own. */
static ALWAYS_INLINE bool shared_mut_slice_is_mine(const struct shared_hold *hold)
{
        return likely(slot_is_mine(hold->slot) && hold->set == SET_HELD &&
                      atomic_load_explicit(&hold->refs, memory_order_relaxed) == HOLD_SLICE && !os_maybe_forked());
}

static ALWAYS_INLINE enum shared_left shared_mut_slice_end(struct shared_hold *hold, struct format_lane *lane)
{
        struct slot *slot = hold->slot;
        enum shared_left left;

        atomic_store_explicit(&hold->refs, 0, memory_order_relaxed);
        shared_close_to(lane, shared_sequence(lane) + 1);
        left = shared_leave_quick(lane);
        shared_note_mut_slices(slot, -UINT32_C(1));
        slot_write_unhold(hold);
        return left;
}

/* --- To read --- */

/* What shared_enter and shared_leave do for a slice of a map of one lane, where
 * that takes no call: name the lane; look whether that is enough; or take the name
 * back, by shared_slice_unname.  NULL, or false: it takes one. */
static inline struct slot *shared_slice_name(const struct shared *shared, uint64_t reach)
{
        struct slot *slot = slot_recent(shared);
        struct format_slot *record;

        if (!slot || atomic_load_explicit(&slot->read[0].refs, memory_order_relaxed) || os_maybe_forked())
                return NULL;
        record = slot->record;
        atomic_store_explicit(&record->reach[0], reach, memory_order_release);
        atomic_exchange(&record->read_set[0], SET_HELD);
        return slot;
}

static inline bool shared_slice_is_in(const struct format_lane *lane)
{
        return !(atomic_load(&lane->owner) & OWNER_ID) && !shared_is_odd(lane);
}

static inline void shared_slice_begin(struct slot *slot)
{
        atomic_store_explicit(&slot->record->read_set[0], SET_HELD | SET_SLICE, memory_order_relaxed);
        slot->read[0].set = SET_HELD;
        atomic_store_explicit(&slot->read[0].refs, HOLD_SLICE, memory_order_relaxed);
}

static inline void shared_slice_unname(struct slot *slot)
{
        shared_unname(slot->shared, slot, 0, SET_HELD);
}

/* Whether shared_slice_end may let it go: one of the calling thread's own. */
static ALWAYS_INLINE bool shared_slice_is_mine(const struct shared_hold *hold)
{
        const struct slot *slot = hold->slot;

        return likely(hold == slot->read && hold->set == SET_HELD && slot_is_mine(slot) &&
                      atomic_load_explicit(&hold->refs, memory_order_relaxed) == HOLD_SLICE && !os_maybe_forked());
}

/* True: someone may wait for that, and shared_slice_wake is to be called, which answers 0. */
static ALWAYS_INLINE bool shared_slice_end(struct slot *slot)
{
        atomic_store_explicit(&slot->read[0].refs, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->record->read_set[0], 0, memory_order_release);
        return unlikely((atomic_load_explicit(&slot->shared->lane->owner, memory_order_relaxed) & OWNER_WAITERS) != 0);
}

int shared_slice_wake(struct slot *slot);

#endif /* SHARED_QUICK_H */
