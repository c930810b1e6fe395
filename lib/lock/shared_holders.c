/* shared_holders.c - who holds which lanes of a shared map, for one who asks
 *
 * SPDX-License-Identifier: MIT
 *
 * All of it is said by the header, which any of the processes may have written: so who is
 * named there is asked whether he lives, and is named as he is, but by numbers that a
 * process can have.
 */
#include "lock/shared_holders.h"

#include "lock/read_set.h"
#include "lock/shared_owner.h"

#include <stdint.h>

struct looks {
        const struct shared *shared;
        struct holders *list;
};

/* A number that is given to kill() is not to mean a group, or everybody. */
static uint32_t known(const struct shared *shared, uint32_t id)
{
        return shared->ids_count && id <= INT32_MAX ? id : 0;
}

static void add(const struct looks *looks, struct slot_owner owner, ammap_hold_t hold, struct lane_range lanes)
{
        const struct shared *shared = looks->shared;
        const struct holder holder = { .process = known(shared, owner.process),
                                       .thread = known(shared, owner.process) ? known(shared, owner.thread) : 0,
                                       .hold = hold,
                                       .lanes = lanes };

        holders_add(looks->list, &holder);
}

/* --- Who reads --- */

/* Whether a set that is not yet a slice's is of somebody who is in: beside a writer nobody
 * is, but who is about to take it back. */
static bool is_in(const struct shared *shared, uint32_t set, struct lane_range lanes)
{
        bool in = true;

        for (uint32_t lane = lanes.first; lane <= lanes.last && in && !(set & SET_SLICE); lane++)
                in = !shared_is_odd(&shared->lane[lane]);
        return in;
}

static void add_reader(const struct looks *looks, uint32_t set, struct slot_owner owner)
{
        struct lane_range lanes = read_set_lanes(set);

        if (lanes.last >= looks->shared->lanes)
                lanes.last = looks->shared->lanes - 1;
        if ((set & SET_HELD) && lanes.first <= lanes.last && is_in(looks->shared, set, lanes))
                add(looks, owner, AMMAP_HOLD_READ, lanes);
}

/* Whoever takes the slot notes its generation, then who it is, and then a set: so who it is is asked after the
 * sets, and the generation before and after both. */
static void add_readers(const struct looks *looks, uint32_t index)
{
        const struct shared *shared = looks->shared;
        const struct format_slot *record = &shared->record[index];
        const uint64_t generation = atomic_load(&record->generation);
        uint32_t set[FORMAT_PLACES], any = 0;
        struct slot_owner owner;

        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                any |= set[i] = atomic_load(&record->read_set[i]);
        if (!any)
                return;
        owner = slot_owner_of(record);
        if (!slot_lives(shared, index, true) || atomic_load(&record->generation) != generation)
                return;
        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                add_reader(looks, set[i], owner);
}

/* By a handle without slots, which has read sets only where the map is frozen. */
static void add_own_reader(uint32_t set, uint32_t thread, void *context)
{
        const struct looks *looks = context;
        const struct slot_owner owner = { os_process(), thread };

        add_reader(looks, set, owner);
}

/* --- Who writes --- */

/* An owner whose sequence is even may wait for readers, and then they are in, not he. */
static bool waits(const struct shared *shared, uint32_t number)
{
        uint32_t index = 0;

        if (shared_is_odd(&shared->lane[number]))
                return false;
        while (read_set_find(shared, one_lane(number), 0, &index))
                if (slot_lives(shared, index++, false))
                        return true;
        return false;
}

static void add_writer(const struct looks *looks, uint32_t number)
{
        const struct shared *shared = looks->shared;
        const struct format_lane *lane = &shared->lane[number];
        const uint64_t owner_id = atomic_load(&lane->owner) & OWNER_ID;
        struct slot_owner owner = { 0, 0 };

        if (owner_id && slot_lives_by_id(shared, owner_id, true)) {
                if (slot_tells(shared, owner_id, &owner) && !waits(shared, number))
                        add(looks, owner, AMMAP_HOLD_WRITE, one_lane(number));
        } else if (shared_is_dead(shared, number)) {
                if (!owner_id || !slot_tells(shared, owner_id, &owner))
                        owner = (struct slot_owner){ atomic_load(&lane->dead_process),
                                                     atomic_load(&lane->dead_thread) };
                add(looks, owner, AMMAP_HOLD_DEAD, one_lane(number));
        }
}

/* Where the map is frozen, what its lanes say does not count. */
void shared_holders(const struct shared *shared, struct holders *list)
{
        struct looks looks = { shared, list };
        const uint32_t used = slots_used(shared);

        for (uint32_t index = 0; index < used; index++)
                add_readers(&looks, index);
        handle_each_unseen(shared, add_own_reader, &looks);
        for (uint32_t lane = 0; lane < shared->lanes; lane++)
                if (atomic_load(&shared->frozen) != SHARED_FROZEN)
                        add_writer(&looks, lane);
}
