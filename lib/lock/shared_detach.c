/* shared_detach.c - slices of a shared map that are no thread's any more
 *
 * SPDX-License-Identifier: MIT
 *
 * A slice that is detached is held by a slot of the process (slot.c), which lives as long
 * as the process has any thread.  A slot of the process is like one of a thread, but for
 * two things: no thread takes it for its own, so that nobody finds himself in his own way
 * there, and all threads change it, under a mutex.
 *
 * How a slice goes from the slot T of its thread to the slot P of the process
 *
 *      a writer    P counts one mut slice more
 *                  each lane's owner: P in place of T, by one exchange
 *                  T counts one less
 *
 *      a reader    P: reach, and the read set, by an exchange, as a reader enters
 *                  each of these lanes that has an owner: rescan = 1
 *                  T leaves
 *
 * At each instruction either T or P owns a writer's lane, whose sequence is odd, and T or P
 * or both name a reader's.  T dies a little before P does, if the process is killed:
 * so nothing must rest on their dying at once, and nothing does.
 *
 * An owner who waits for readers may have passed P before it named the lanes, and come to T
 * after it left.  He finds rescan then, which was set while T still named them, and looks
 * once more; so does one who shrinks the map (shared_shrink.c).
 *
 * The exchange of the owner sets OWNER_WAITERS, whether anybody waits or not: who sleeps on
 * the old word is woken when P leaves.
 *
 * A process has as many slots as its slices need.  One stays for those to come.
 */
#include "lock/shared_detach.h"

#include "ammap.h"
#include "lock/read_set.h"
#include "lock/shared_lock.h"
#include "lock/shared_owner.h"

#include <errno.h>

/* All slots of the process, of all handles.  Only slot.c's is taken under it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void detach_before_fork(void)
{
        pthread_mutex_lock(&mutex);
        slots_lock();
}

void detach_after_fork(void)
{
        slots_unlock();
        pthread_mutex_unlock(&mutex);
}

void detach_forked(void)
{
        pthread_mutex_init(&mutex, NULL);
}

static bool is_to_read(const struct shared_hold *hold)
{
        return hold >= hold->slot->read && hold < hold->slot->read + FORMAT_PLACES;
}

bool shared_is_detached(const struct shared_hold *hold)
{
        return slot_is_process(hold->slot) && shared_hold_refs(hold);
}

/* A place of the process's that has the lanes, or else one that is free. */
static struct shared_hold *find_place(const struct shared *shared, struct lane_range lanes)
{
        struct shared_hold *found = NULL;

        for (struct slot *slot = shared->detached; slot; slot = slot->next)
                for (unsigned i = 0; i < FORMAT_SETS; i++) {
                        struct shared_hold *hold = &slot->read[i];
                        uint64_t refs = shared_hold_refs(hold);

                        if (refs && !shared_hold_is_full(hold) && read_set_has(hold->set, lanes))
                                return hold;
                        if (!refs && !found)
                                found = hold;
                }
        return found;
}

static void note_mut_slice(const struct slot *slot, uint32_t more)
{
        atomic_store(&slot->record->mut_slices, atomic_load(&slot->record->mut_slices) + more);
}

/* The set is named with the reach of both. */
static void name_set(const struct shared_hold *hold, uint32_t set, uint64_t reach)
{
        struct slot *slot = hold->slot;
        unsigned i = (unsigned)(hold - slot->read);
        _Atomic uint64_t *place = slot_reach(slot->record, i);

        if (!shared_hold_refs(hold) || atomic_load_explicit(place, memory_order_relaxed) < reach)
                atomic_store_explicit(place, reach, memory_order_release);
        atomic_exchange(&slot->record->read_set[i], set | SET_SLICE);
}

static void ask_rescan(const struct shared *shared, struct lane_range lanes)
{
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++)
                if (atomic_load(&shared->lane[lane].owner) & OWNER_ID)
                        atomic_store(&shared->lane[lane].rescan, 1);
}

static int detach_to_read(struct shared_hold *from, struct shared_hold **to)
{
        struct slot *slot = from->slot;
        struct shared *shared = slot->shared;
        const bool in_header = shared->writable && !shared_frozen(shared);
        uint64_t reach = atomic_load(slot_reach(slot->record, (unsigned)(from - slot->read)));
        struct shared_hold *hold = find_place(shared, read_set_lanes(from->set));

        if (!hold) {
                struct slot *process;
                int rc = slot_take_for_process(shared, in_header, &process);

                if (rc < 0)
                        return rc;
                hold = &process->read[0];
        }
        if (!shared_hold_refs(hold))
                hold->set = from->set;
        name_set(hold, hold->set, reach);
        if (shared->writable)
                ask_rescan(shared, read_set_lanes(from->set));
        slots_lock();
        atomic_store(&hold->refs, shared_hold_refs(hold) + HOLD_SLICE);
        shared_leave(from, HOLD_SLICE);
        slots_unlock();
        *to = hold;
        return 0;
}

/* One that was made when the map was frozen is in no header. */
static struct slot *find_writer(const struct shared *shared)
{
        struct slot *slot = shared->detached;

        while (slot && !slot->process_life)
                slot = slot->next;
        return slot;
}

static int detach_to_write(struct shared_hold *from, struct shared_hold **to)
{
        struct slot *slot = from->slot, *process;
        struct shared *shared = slot->shared;
        const struct lane_range lanes = read_set_lanes(from->set);
        struct shared_hold *hold;
        int rc = 0;

        process = find_writer(shared);
        if (!process && (rc = slot_take_for_process(shared, true, &process)) < 0)
                return rc;
        if (!(hold = slot_write_hold(process)))
                return -ENOMEM;
        note_mut_slice(process, 1);
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++)
                atomic_exchange(&shared->lane[lane].owner, process->owner_id | OWNER_WAITERS);
        slots_lock();
        hold->set = from->set;
        hold->reach = from->reach;
        atomic_store(&hold->refs, HOLD_SLICE);
        atomic_store(&from->refs, 0);
        slots_unlock();
        note_mut_slice(slot, -1U);
        slot_write_unhold(from);
        *to = hold;
        return 0;
}

int shared_detach(struct shared_hold **hold)
{
        int rc;

        pthread_mutex_lock(&mutex);
        rc = is_to_read(*hold) ? detach_to_read(*hold, hold) : detach_to_write(*hold, hold);
        pthread_mutex_unlock(&mutex);
        return rc;
}

void shared_leave_detached(struct shared_hold *hold, uint64_t use)
{
        struct slot *slot = hold->slot;

        pthread_mutex_lock(&mutex);
        if (shared_is_detached(hold)) {
                struct shared *shared = slot->shared;

                shared_leave(hold, use);
                if (!slot_holds_any(slot) && (slot->next || shared->detached != slot))
                        slot_give_up_for_process(shared, slot);
        }
        pthread_mutex_unlock(&mutex);
}
