/* shared_owner.c - owning a lane of a shared map
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/shared_owner.h"

#include "lock/read_set.h"

#define RESERVED_MAX INT64_C(5000000) /* ns */

bool shared_owner_is_mine(const struct shared *shared, struct lane_range lanes)
{
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                uint64_t owner_id = atomic_load(&shared->lane[lane].owner) & OWNER_ID;

                if (owner_id && slot_mine_by_id(shared, owner_id))
                        return true;
        }
        return false;
}

/* The odd sequence is that of the owner that is asked for if both are the same afterwards: a slice
 * that is detached changes the owner of a lane alone. */
bool shared_is_dead(const struct shared *shared, uint32_t number)
{
        const struct format_lane *lane = &shared->lane[number];
        uint64_t sequence = atomic_load(&lane->sequence), owner_id = atomic_load(&lane->owner) & OWNER_ID;

        return (sequence & 1) && !(owner_id && slot_lives_by_id(shared, owner_id, false)) &&
               atomic_load(&lane->sequence) == sequence && (atomic_load(&lane->owner) & OWNER_ID) == owner_id;
}

void shared_disown_lanes(struct shared *shared, uint32_t first, uint32_t end)
{
        while (end-- > first)
                shared_disown(&shared->lane[end]);
}

static void end_turn(struct format_lane *lane, uint64_t next)
{
        atomic_compare_exchange_strong(&lane->next, &next, 0);
}

/* Since when a free lane is kept for next, as far as this handle knows: as long as it is, nobody writes it.
 * Lanes share what is noted.  A turn that is over does not keep another from being noted; it ends, or two
 * of them that are looked at by turns would be noted anew each time.  One that is not over does. */
static int64_t kept_since(struct shared *shared, uint32_t number, uint64_t next)
{
        struct turn *turn = &shared->turn[number % LOOKOUTS];
        const uint64_t sequence = atomic_load(&shared->lane[number].sequence);
        const uint32_t noted = atomic_load_explicit(&turn->lane, memory_order_relaxed);
        const uint64_t noted_next = atomic_load_explicit(&turn->next, memory_order_relaxed);
        const uint64_t noted_sequence = atomic_load_explicit(&turn->sequence, memory_order_relaxed);
        const int64_t since = atomic_load_explicit(&turn->since, memory_order_relaxed), now = os_now();

        if (noted == number + 1 && noted_next == next && noted_sequence == sequence)
                return since;
        if (noted != 0 && noted != number + 1 && atomic_load(&shared->lane[noted - 1].sequence) == noted_sequence &&
            atomic_load(&shared->lane[noted - 1].next) == noted_next) {
                if (now - since < RESERVED_MAX)
                        return now;
                end_turn(&shared->lane[noted - 1], noted_next);
        }
        atomic_store_explicit(&turn->lane, number + 1, memory_order_relaxed);
        atomic_store_explicit(&turn->next, next, memory_order_relaxed);
        atomic_store_explicit(&turn->sequence, sequence, memory_order_relaxed);
        atomic_store_explicit(&turn->since, now, memory_order_relaxed);
        return now;
}

/* Whether someone else is to have a free lane first. */
static bool is_kept(struct shared_waiter *w, uint64_t owner)
{
        uint64_t next = atomic_load(&w->lane->next);

        if (!(owner & OWNER_RESERVED) || next == 0 || next == w->slot->owner_id)
                return false;
        if (w->reserved == 0)
                w->reserved = kept_since(w->shared, (uint32_t)(w->lane - w->shared->lane), next);
        if (os_now() - w->reserved < RESERVED_MAX && slot_lives_by_id(w->shared, next, false))
                return true;
        end_turn(w->lane, next);
        return false;
}

static bool is_to_write(enum shared_entry entry)
{
        return entry == TO_WRITE || entry == TO_TAKE_OVER;
}

/* What it means that one who lives owns the lane. */
static int meet_owner(const struct shared_waiter *w, uint64_t owner_id, enum shared_entry entry)
{
        if (slot_mine_by_id(w->shared, owner_id))
                return is_to_write(entry) ? AMMAP_ERR_DEADLOCK : AMMAP_ERR_BUSY;
        if (entry == TO_RECOVER ||
            (entry == TO_SHRINK && atomic_load(&w->shared->record[slot_index(owner_id)].mut_slices) > 0))
                return AMMAP_ERR_BUSY;
        return 0;
}

static bool take_owner(struct shared_waiter *w, uint64_t seen, enum shared_entry entry)
{
        if (is_to_write(entry))
                shared_note_writing(w->slot, true);
        if (atomic_compare_exchange_strong(&w->lane->owner, &seen, w->slot->owner_id | (seen & OWNER_WAITERS)))
                return true;
        if (is_to_write(entry))
                shared_note_writing(w->slot, false);
        return false;
}

int shared_own_slow(struct shared *shared, struct slot *slot, uint32_t number, enum shared_entry entry,
                    int64_t deadline)
{
        struct shared_waiter w = shared_wait_begin(shared, slot, number, deadline);
        int rc = 0;

        w.alone = entry == TO_SHRINK; /* a slice may come in its way */
        while (rc == 0) {
                uint64_t seen = atomic_load(&w.lane->owner), owner_id = seen & OWNER_ID;
                bool kept =
                        owner_id ? slot_lives_by_id(shared, owner_id, waiter_is_thorough(&w.base)) : is_kept(&w, seen);

                if (entry != TO_RECOVER && shared_frozen(shared))
                        rc = AMMAP_ERR_READ_ONLY;
                else if (entry != TO_RECOVER && entry != TO_TAKE_OVER && shared_is_dead(shared, number))
                        rc = AMMAP_ERR_OWNER_DEAD;
                else if (kept && owner_id && entry == TO_SHRINK && read_set_any_slice(shared, number))
                        rc = AMMAP_ERR_BUSY; /* whom the owner may wait for */
                else if (kept && (!owner_id || (rc = meet_owner(&w, owner_id, entry)) == 0))
                        rc = shared_wait_for_owner(&w, seen);
                else if (kept)
                        continue; /* rc says it */
                else if (take_owner(&w, seen, entry))
                        break;
                else
                        rc = shared_wait_lost_race(&w);
        }
        return shared_wait_end(&w, rc);
}

int shared_own(struct shared *shared, struct slot *slot, uint32_t number, enum shared_entry entry, int64_t deadline)
{
        struct format_lane *lane = &shared->lane[number];
        uint64_t nobody = 0;
        int rc;

        if ((shared_is_odd(lane) || !atomic_compare_exchange_strong(&lane->owner, &nobody, slot->owner_id)) &&
            (rc = shared_own_slow(shared, slot, number, entry, deadline)) < 0)
                return rc;
        return entry == TO_RECOVER ? 0 : shared_refuse_odd(shared, lane);
}
