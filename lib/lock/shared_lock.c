/* shared_lock.c - the lock of a shared map's lanes, between processes
 *
 * SPDX-License-Identifier: MIT
 *
 * A reader-writer lock among processes, any of which may be killed at any instruction, and
 * some of which may be hostile.  Nothing that would have to be undone is counted.  Whoever
 * is in, or waits, says so in a slot or by a slot's owner id, and it can be asked at any
 * time whether that still stands for a living thread (slot.c: robust futexes).  The parts
 * are known: an owner word taken by compare-and-swap, readers that name what they read as
 * hazard pointers do, and a seqlock for short copies.
 *
 * Here stands who enters and leaves, and in shared_quick.h what of it takes no call.
 * shared_owner.c takes a lane's owner, read_set.c finds who reads, shared_wait.c waits for
 * either, and shared_shrink.c has those who make the map shorter, or recover.  A slice that is
 * no thread's any more is held by a slot of the process, which is like one of a thread in all
 * that follows (shared_detach.c).
 *
 * What it guarantees
 *
 *   G1  While a writer owns a lane and its sequence is odd, no living thread has it in
 *       a read set, and no other writes it.
 *   G2  A copy without entering that succeeds is of a moment at which nobody wrote.
 *   G3  After a death at any instruction of a writer either nothing is half written, or the
 *       sequence is odd with no living owner: AMMAP_ERR_OWNER_DEAD for all.
 *   G4  The death of a reader leaves nothing.
 *   G5  Whoever cannot enter because of his own thread learns it before he waits.
 *   G6  Whatever others write to the header, no call reads or writes outside the map, and
 *       calls with a timeout end.
 *   G7  Who watches a lane sees each write, or is woken by it (shared_watch.c).
 *
 * The words of a lane, and of a thread's slot record
 *
 *      lane.owner      the slot that writes, or is about to, or 0; OWNER_WAITERS, _RESERVED
 *      lane.sequence   odd while bytes may be half written
 *      lane.next       the slot that is to come next, or 0: a hint
 *      lane.rescan     whether the owner is to look for readers once more
 *      lane.dead_...   who died there, for those who ask: nothing to the lock (slot_note_dead)
 *      slot.read_set[] the lanes that its thread reads, and slot.reach[]: how far
 *
 *      owner           sequence   means
 *      0               even       free, or readers are in
 *      a living slot   even       a writer waits for readers, or has just left
 *      a living slot   odd        a writer is in
 *      0, or a dead    odd        a writer died within: OWNER_DEAD
 *      a dead slot     even       it left nothing to mend: the owner may be replaced
 *
 * How each enters and leaves
 *
 * A writer takes owner by compare-and-swap, waits until no living slot names the lane in a
 * read set, makes the sequence odd, writes, makes it even, and lets owner go.  A reader
 * names the lanes in a read set of its own record, and is in if none of them has an owner
 * then.  A reader that sees an owner takes the set back and waits.
 *
 * A writer that becomes a reader names its lanes in a read set first, and then leaves as a
 * writer does.  An owner who comes next finds the set.  A death before a lane's sequence is
 * even is that of a writer, and a death after it that of a reader.
 *
 * If the reader's thread reads the lane already, the owner waits for that, and the reader
 * must not wait for the owner: it stays.  It may have named the lane in a place that the
 * owner has passed, and have let go of the one that the owner waits at.  So it says so in
 * lane.rescan while it has both, and an owner who finds that there, when he has found no
 * reader, looks once more.  This does not hold beside an owner who shrinks the map: he
 * waits for no slice, and might not see the new one.  So the reader waits for him, and looks at
 * each wake-up whether he still shrinks: he may own the lane anew, to write, and wait for it.
 *
 * A record has eight places for slices and one for a copy.  A slice whose lanes lie within
 * those of a place that its thread has shares that place.  How many share it is counted in
 * the thread's struct slot, which no other process sees: the lanes are named.  Another
 * slice takes a free place; without one it is AMMAP_ERR_LIMIT, at once.
 *
 * With a read set stands its reach: where in the map it ends.  Who shrinks the map goes by
 * it and passes over those that stay.  A slice that shares a place and goes further writes
 * the new reach, then the set once more as it is, by an exchange, and looks whether someone
 * who shrinks the map owns one of its lanes.  When it leaves, the reach stays until the
 * last one that shares the place has left: a shrink may be refused for it.
 *
 * Invariants
 *
 *   I1  The sequence is changed by the owner alone, and by who recovers as owner.
 *   I2  A thread stores the read sets of its own record alone, and under a mutex those of
 *       its process.
 *   I3  What a thread holds, and so what it stores when it leaves, it knows from its own
 *       struct slot, never from the header.
 *   I4  There is no second word that tells of a death: the sequence alone does.
 *
 * What pairs with what
 *
 *      one side                        other side                      gives
 *      reader: set = lanes             writer: owner = me              G1: the reader sees an owner,
 *              owner of these free?            does a set name it?     or the writer sees the set
 *                                                                      (all seq_cst, the stores RMWs)
 *
 *      writer becomes a reader: set    next owner: owner = me          G1: he sees the set
 *              sequence even                   does a set name it?
 *              owner = 0
 *
 *      reader with a hold: set,        owner: finds no reader          G1: he looks once more, or the
 *              rescan = 1,                     rescan?                 reader's other set is found
 *              lets the other set go           looks once more
 *
 *      slice is detached: its new      shrink: rescan = 0              G1: the new set is found, or
 *              set, rescan = 1,                looks at the sets               rescan, and then the set
 *              lets the old set go             rescan?  looks once more
 *
 *      slice goes further: reach,      shrink: owner = me              the slice waits, or the shrink
 *              set by an exchange              reach of the sets       is refused
 *              does a shrink own it?
 *
 *      writer: sequence odd            begin: sequence (acquire)       G2: as in lock.c
 *              fence (release), bytes  copies, fence (acquire),
 *                                      sequence
 *
 *      writer leaves: sequence even    next owner, begin (acquire)     the bytes are seen
 *              (release), owner = 0
 *
 *      waiter: OWNER_WAITERS, sleeps   owner leaves by an exchange     he sees the bit and wakes all
 *
 *      watcher: OWNER_WAITERS          writer leaves: sequence even,   G7: he finds the sequence, or is
 *               (RMW), sequence                then exchange of owner  woken by who finds the bit
 *
 *      writer: owner = me (CAS)        freezer: frozen, heavy fence    the writer sees frozen, or the
 *              light fence, frozen?            is anybody writing?     freezer waits for him
 *
 * A reader leaves by a plain store and then looks for OWNER_WAITERS, unfenced, and may miss
 * it.  So every sleep ends by itself after some time; that is also how a waiter sees that
 * the one it waits for is dead.
 *
 * Death (G3, G4)
 *
 * A slot whose thread is gone stands for nobody: its sets are passed over, and an owner
 * that it is may be replaced by compare-and-swap.  Each instruction of a writer lies before
 * owner is taken, or between that and the odd sequence, or between odd and even, or between
 * even and the release of owner.  Only in the third is something half written.  Whoever
 * finds the sequence odd lets owner go again, so that all others can see so too, until
 * shared_recover makes it even.  Or one writer keeps the owner of an odd lane, which stays
 * odd until he leaves: others wait for him, and if he dies it is as it was.  A reader that looks at sequence and owner one after the
 * other may see an odd one of a writer who then leaves: so it looks at the sequence again.
 *
 * Progress
 *
 * A waiter spins, sets OWNER_WAITERS and sleeps on owner's low half.  Once it is starving
 * (waiter.h) it puts its owner id in next, if that is free or dead.  An owner that finds one
 * there leaves OWNER_RESERVED: for RESERVED_MAX writers other than next keep out, and
 * readers enter.  So a stream of writers lets others in now and then.  One who was to come next
 * may be stopped: so a handle notes from call to call since when a lane is kept (struct turn), and
 * also who only tries takes the turn back then.  A stream of readers does not keep a writer out,
 * who has taken owner before he waits for them.
 *
 * Deadlocks (G5)
 *
 * Several lanes are entered in ascending order, to write one after the other.  Before a
 * thread waits for one of them it looks at what it holds itself of that and those to come,
 * through all its handles: AMMAP_ERR_DEADLOCK.  What it reads stands in its struct
 * slots, what it writes in the owners.
 *
 * What it costs
 *
 * Where nobody is in the way, shared_quick.h enters and leaves without a call.  What a thread
 * stores to write once, in this order; RMW: by a sequentially consistent one:
 *
 *      slot.writing = 1        its own memory's, for its own process's freezer
 *      owner = me      RMW     who writes: no other does, and readers and their sets are found
 *      sequence odd            a death from here on is found, and a torn copy
 *      the bytes
 *      slot.writing = 0
 *      sequence even           they are whole
 *      owner = 0       RMW     who sleeps is found
 *
 * A slice to write also counts itself in the record, twice, and notes its hold.  One to read
 * stores reach, the set (RMW), the set with its mark, and 0.  A short copy out stores nothing.
 *
 * No less will do.  Who takes a lane must see who has it, and who leaves must see who sleeps:
 * each is a store and then a look, of which one is an RMW in any lock that does not wait for
 * the other processors.  The two of the sequence tell a lane that somebody died in, written
 * in part, from one that he had only taken, or left: the owner alone does not.  A mutex of
 * glibc's that is shared by processes stores as often, four times besides its two RMWs (its
 * owner and its users), and tells nobody of a death.  The stores are not what is to be
 * saved: bare, with the look at one slot's sets, they take as long as the two RMWs do alone.
 * What is left is to find the slot, the range, and whether this is a forked child.  And each slot
 * that was ever taken adds the look at its sets.
 *
 * Who lies (G6)
 *
 * A process that can write the header can make all this say anything.  Indices are
 * checked.  No loop but waiting depends on what others write, and waiting ends at its
 * deadline.  The list through which the kernel finds the lock words of a thread is on pages
 * that no other process has (os.h).
 *
 * References
 *
 *   Michael: Hazard Pointers, IEEE TPDS 2004 (named, and asked for)
 *   Boehm: Can Seqlocks Get Along with Programming Language Memory Models?, MSPC 2012
 *   get_robust_list(2), futex(2); tests/model-shared.pml, model-reach.pml, tests/step.c
 */
#include "lock/shared_lock.h"

#include "ammap.h"
#include "lock/read_set.h"
#include "lock/shared_owner.h"
#include "lock/shared_wait.h"
#include "os/hints.h"

#include <errno.h>

/* --- Owning a lane --- */

/* On the way to last: before one waits for a lane one looks whether one holds it, or
 * one that is yet to come. */
static NOINLINE int own_to_write_slow(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last,
                                      int64_t deadline)
{
        const struct lane_range lanes = { number, last };

        shared_note_writing(slot, false);
        if (!shared_frozen(shared) && (read_set_is_mine(shared, lanes) || shared_owner_is_mine(shared, lanes)))
                return AMMAP_ERR_DEADLOCK;
        return shared_own_slow(shared, slot, number, TO_WRITE, deadline);
}

static inline int own_to_write(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last,
                               int64_t deadline)
{
        struct format_lane *lane = &shared->lane[number];
        uint64_t nobody = 0;
        int rc;

        if (unlikely(shared_is_odd(lane) || !atomic_compare_exchange_strong(&lane->owner, &nobody, slot->owner_id)) &&
            (rc = own_to_write_slow(shared, slot, number, last, deadline)) < 0)
                return rc;
        return shared_refuse_odd(shared, lane);
}

static NOINLINE int wait_until_unread(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last,
                                      int64_t deadline)
{
        const struct lane_range lanes = { number, last }, to_come = { number + 1, last };
        struct shared_waiter w = shared_wait_begin(shared, slot, number, deadline);
        uint32_t index = 0;
        int rc;

        if (read_set_is_mine(shared, lanes) || shared_owner_is_mine(shared, to_come))
                return AMMAP_ERR_DEADLOCK;
        atomic_store(&w.lane->rescan, 0);
        while (read_set_find(shared, one_lane(number), 0, &index) || atomic_load(&w.lane->rescan)) {
                if (index >= slots_used(shared)) { /* a reader may have moved to where one has looked */
                        if ((rc = shared_wait_for_reader(&w)) < 0)
                                return shared_wait_end(&w, rc);
                        atomic_store(&w.lane->rescan, 0);
                        index = 0;
                        continue;
                }
                if (!slot_lives(shared, index, waiter_is_thorough(&w.base))) {
                        index++;
                        continue;
                }
                if (slot_mine_at(shared, index))
                        return shared_wait_end(&w, AMMAP_ERR_DEADLOCK);
                if ((rc = shared_wait_for_reader(&w)) < 0)
                        return shared_wait_end(&w, rc);
        }
        return shared_wait_end(&w, 0);
}

/* --- Writing --- */

static NOINLINE int refuse_frozen(struct shared *shared)
{
        shared_frozen(shared); /* what it has seen it is not to forget */
        return AMMAP_ERR_READ_ONLY;
}

/* Of a lane on the way to last that one owns now: keep it, or let it go. */
static ALWAYS_INLINE int keep_owned(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last,
                                    int64_t deadline)
{
        uint32_t index = 0;
        int rc = 0;

        os_fence_light_after();
        if (unlikely(shared_bars_writers(shared, shared->head)))
                rc = refuse_frozen(shared);
        else if (unlikely(read_set_find(shared, one_lane(number), 0, &index) ||
                          atomic_load(&shared->lane[number].rescan)))
                rc = wait_until_unread(shared, slot, number, last, deadline);
        if (unlikely(rc < 0))
                shared_disown(&shared->lane[number]);
        return rc;
}

/* Enter a lane on the way to last, but for the odd sequence. */
static ALWAYS_INLINE int write_lane(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last,
                                    int64_t deadline)
{
        int rc = own_to_write(shared, slot, number, last, deadline);

        return unlikely(rc < 0) ? rc : keep_owned(shared, slot, number, last, deadline);
}

/* The same of one that may be odd. */
static NOINLINE int take_over_lane(struct shared *shared, struct slot *slot, uint32_t number, uint32_t last)
{
        const struct lane_range lanes = { number, last };
        int rc;

        shared_note_writing(slot, false);
        if (!shared_frozen(shared) && (read_set_is_mine(shared, lanes) || shared_owner_is_mine(shared, lanes)))
                return AMMAP_ERR_DEADLOCK;
        rc = shared_own_slow(shared, slot, number, TO_TAKE_OVER, LANE_FOR_EVER);
        return rc < 0 ? rc : keep_owned(shared, slot, number, last, LANE_FOR_EVER);
}

static int fail_to_write(struct shared *shared, uint32_t lane, struct slot *slot, int rc)
{
        shared_note_writing(slot, false);
        return rc == AMMAP_ERR_TIMEOUT && lane == shared->lanes ? AMMAP_ERR_BUSY : rc;
}

int shared_write_owned(struct shared *shared, uint32_t lane, int64_t deadline, struct slot *slot)
{
        int rc = shared_refuse_odd(shared, &shared->lane[lane]);

        if (rc < 0 || (rc = keep_owned(shared, slot, lane, lane, deadline)) < 0)
                return fail_to_write(shared, lane, slot, rc);
        shared_open_lane(&shared->lane[lane]);
        return 0;
}

int shared_write(struct shared *shared, uint32_t lane, int64_t deadline, struct slot **slot)
{
        int rc;

        if (unlikely(!shared->writable))
                return AMMAP_ERR_READ_ONLY;
        if (unlikely(lane == shared->lanes))
                deadline = os_now() + WAITER_PATIENCE;
        if ((rc = slot_mine(shared, slot)) < 0)
                return rc;
        shared_note_writing(*slot, true);
        if ((rc = own_to_write(shared, *slot, lane, lane, deadline)) < 0)
                return fail_to_write(shared, lane, *slot, rc);
        return shared_write_owned(shared, lane, deadline, *slot);
}

void shared_write_leave(struct shared *shared, uint32_t lane, struct slot *slot)
{
        shared_note_writing(slot, false);
        shared_close_lane(&shared->lane[lane]);
}

/* --- Holds --- */

static inline bool is_to_read(const struct shared_hold *hold)
{
        return hold >= hold->slot->read && hold < hold->slot->read + FORMAT_PLACES;
}

static inline void begin_hold(struct shared_hold *hold, uint32_t set, uint64_t refs)
{
        hold->set = set;
        atomic_store_explicit(&hold->refs, refs, memory_order_relaxed);
}

/* Own the lanes of a request, and write them. */
static inline int write_lanes(struct shared *shared, struct slot *slot, const struct request *request)
{
        const struct lane_range lanes = request->lanes;

        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                int rc = write_lane(shared, slot, lane, lanes.last, request->deadline);

                if (rc == 0)
                        continue;
                shared_disown_lanes(shared, lanes.first, lane);
                return rc;
        }
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++)
                shared_open_lane(&shared->lane[lane]);
        return 0;
}

/* Own them, dead or not, and let shared_open write them. */
static NOINLINE int take_over_lanes(struct shared *shared, struct slot *slot, const struct request *request)
{
        const struct lane_range lanes = request->lanes;

        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                int rc = take_over_lane(shared, slot, lane, lanes.last);

                if (rc == 0)
                        continue;
                shared_disown_lanes(shared, lanes.first, lane);
                return rc;
        }
        return 0;
}

static int enter_to_write(struct shared *shared, struct slot *slot, const struct request *request,
                          struct shared_hold **taken)
{
        const uint64_t use = request->use;
        struct shared_hold *hold = slot_write_hold(slot);
        int rc;

        if (!hold)
                return -ENOMEM;
        shared_note_mut_slices(slot, (uint32_t)use); /* before it owns a lane: for shared_shrink */
        shared_note_writing(slot, true);
        if (unlikely(request->recovers))
                rc = take_over_lanes(shared, slot, request);
        else
                rc = write_lanes(shared, slot, request);
        if (unlikely(rc < 0)) {
                shared_note_writing(slot, false);
                shared_note_mut_slices(slot, -(uint32_t)use);
                slot_write_unhold(hold);
                return rc;
        }
        hold->reach = request->reach;
        begin_hold(hold, read_set_of(request->lanes), use);
        shared_note_writing(slot, false);
        *taken = hold;
        return 0;
}

int shared_open(struct shared_hold *hold)
{
        const struct lane_range lanes = read_set_lanes(hold->set);
        int died = 0;

        for (uint32_t number = lanes.first; number <= lanes.last; number++) {
                struct format_lane *lane = &hold->slot->shared->lane[number];

                if (shared_is_odd(lane)) {
                        atomic_store(&lane->dead_process, 0); /* it is this writer's from here on */
                        atomic_store(&lane->dead_thread, 0);
                        died = 1;
                } else {
                        shared_open_lane(lane);
                }
        }
        return died;
}

/* --- Reading --- */

/* The first of the lanes that has an owner or is odd; beyond them: none. */
static inline uint32_t find_writer(const struct shared *shared, struct lane_range lanes)
{
        uint32_t lane = lanes.first;

        while (lane <= lanes.last && !(atomic_load(&shared->lane[lane].owner) & OWNER_ID) &&
               !shared_is_odd(&shared->lane[lane]))
                lane++;
        return lane;
}

/* Whether a lane's owner, if it has one, shrinks the map, who waits for no slice that
 * stays; of others whoever owns what the calling thread reads waits for it. */
static bool owner_shrinks(const struct shared *shared, uint32_t lane)
{
        uint64_t owner_id = atomic_load(&shared->lane[lane].owner) & OWNER_ID;

        return owner_id && owner_id == (atomic_load(&shared->lane[shared->lanes].owner) & OWNER_ID);
}

/* The same, but for owners who wait for the calling thread. */
static uint32_t find_other_writer(const struct shared *shared, struct lane_range lanes)
{
        for (;; lanes.first++) {
                uint32_t lane = lanes.first = find_writer(shared, lanes);

                if (lane > lanes.last || !read_set_is_mine(shared, one_lane(lane)) || owner_shrinks(shared, lane))
                        return lane;
                atomic_store(&shared->lane[lane].rescan, 1);
        }
}

void shared_unname(const struct shared *shared, struct slot *slot, unsigned i, uint32_t set)
{
        const struct lane_range lanes = read_set_lanes(set);

        atomic_store_explicit(&slot->record->read_set[i], 0, memory_order_release);
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                uint64_t owner = atomic_load_explicit(&shared->lane[lane].owner, memory_order_relaxed);

                if (unlikely(owner & OWNER_WAITERS) && (owner & OWNER_ID)) /* else it is who watches the lane */
                        shared_wake(&shared->lane[lane]);
        }
}

/* Until there seems to be no writer on a lane; or one who waits for what the calling thread
 * reads there: he who shrank the map has left it, and owns the lane anew to write. */
static int wait_until_unowned(struct shared_waiter *w, uint32_t number)
{
        for (int rc = 0;;) {
                uint64_t seen = atomic_load(&w->lane->owner), owner_id = seen & OWNER_ID;

                if (!owner_id || shared_frozen(w->shared))
                        return shared_is_dead(w->shared, number) && !shared_frozen(w->shared) ? AMMAP_ERR_OWNER_DEAD
                                                                                              : 0;
                if (shared_is_dead(w->shared, number))
                        return AMMAP_ERR_OWNER_DEAD;
                if (slot_mine_by_id(w->shared, owner_id))
                        return AMMAP_ERR_DEADLOCK;
                if (read_set_is_mine(w->shared, one_lane(number)) && !owner_shrinks(w->shared, number))
                        return 0;
                if (slot_lives_by_id(w->shared, owner_id, waiter_is_thorough(&w->base)))
                        rc = shared_wait_for_owner(w, seen);
                else if (!shared_is_odd(w->lane) && atomic_compare_exchange_strong(&w->lane->owner, &seen, 0))
                        shared_wake(w->lane);
                else /* dead since one looked, or gone */
                        rc = shared_wait_lost_race(w);
                if (rc < 0)
                        return rc;
        }
}

/* Name lanes in place i, and be in.  A turn that has been waited for ends when the
 * set has been tried once more. */
static NOINLINE int name_slow(struct shared *shared, struct slot *slot, unsigned i, const struct request *request)
{
        const struct lane_range lanes = request->lanes;
        struct shared_waiter w = shared_wait_begin(shared, slot, lanes.first, request->deadline);
        uint32_t set = read_set_of(lanes);
        int rc;

        if (!shared_frozen(shared) && shared_owner_is_mine(shared, lanes))
                return AMMAP_ERR_DEADLOCK;
        w.alone = read_set_is_mine(shared, lanes); /* the same owner may come to wait for that */
        do {
                uint32_t lane;

                atomic_exchange(&slot->record->read_set[i], set);
                lane = find_other_writer(shared, lanes);
                shared_wait_end_turn(&w);
                if (lane > lanes.last || shared_frozen(shared))
                        return shared_wait_end(&w, 0);
                shared_unname(shared, slot, i, set);
                w.lane = &shared->lane[lane];
                if ((rc = wait_until_unowned(&w, lane)) == 0)
                        rc = shared_wait_lost_race(&w);
        } while (rc == 0);
        return shared_wait_end(&w, rc);
}

/* Let place i reach as far as a request does.  The set stands, so that no owner but one
 * who shrinks the map matters: he may have looked at it already, and have gone by what it
 * reached then.  The exchange is for him as the first one was for writers: he sees the new
 * reach, or is seen. */
static int reach_further(struct shared *shared, struct slot *slot, unsigned i, const struct request *request)
{
        const struct lane_range lanes = request->lanes;
        _Atomic uint64_t *place = slot_reach(slot->record, i);
        uint64_t was = atomic_load_explicit(place, memory_order_relaxed);
        struct shared_waiter w = shared_wait_begin(shared, slot, lanes.first, request->deadline);
        int rc;

        if (was >= request->reach)
                return 0;
        w.alone = true; /* the same owner may come to wait for the set */
        do {
                uint32_t lane = lanes.first;

                atomic_store_explicit(place, request->reach, memory_order_release);
                if (!shared->writable)
                        return 0;
                atomic_exchange(&slot->record->read_set[i],
                                atomic_load_explicit(&slot->record->read_set[i], memory_order_relaxed));
                while (lane <= lanes.last && !owner_shrinks(shared, lane))
                        lane++;
                shared_wait_end_turn(&w);
                if (lane > lanes.last || shared_frozen(shared))
                        return shared_wait_end(&w, 0);
                atomic_store_explicit(place, was, memory_order_release);
                w.lane = &shared->lane[lane];
                if ((rc = wait_until_unowned(&w, lane)) == 0)
                        rc = shared_wait_lost_race(&w);
        } while (rc == 0);
        return shared_wait_end(&w, rc);
}

/* The place that has the lanes already; or FORMAT_SETS. */
static unsigned find_set(const struct slot *slot, struct lane_range lanes)
{
        unsigned i = 0;

        while (i < FORMAT_SETS && !(shared_hold_refs(&slot->read[i]) && read_set_has(slot->read[i].set, lanes)))
                i++;
        return i;
}

/* A place that has none; or FORMAT_SETS. */
static inline unsigned find_free_set(const struct slot *slot)
{
        unsigned i = 0;

        while (i < FORMAT_SETS && shared_hold_refs(&slot->read[i]))
                i++;
        return i;
}

/* Share what the thread has of them. */
static int enter_shared(struct shared *shared, struct slot *slot, unsigned i, const struct request *request)
{
        struct shared_hold *hold = &slot->read[i];
        uint64_t refs;
        int rc;

        if (shared_hold_is_full(hold))
                return -EAGAIN;
        if ((rc = reach_further(shared, slot, i, request)) < 0)
                return rc;
        refs = shared_hold_refs(hold) + request->use;
        if ((uint32_t)refs)
                atomic_store(&slot->record->read_set[i], hold->set | SET_SLICE);
        atomic_store(&hold->refs, refs);
        return 0;
}

static inline int enter_to_read(struct shared *shared, struct slot *slot, const struct request *request,
                                struct shared_hold **taken)
{
        uint32_t set = read_set_of(request->lanes);
        unsigned i = FORMAT_COPY;

        if (request->use == HOLD_SLICE ||
            shared_hold_refs(&slot->read[i])) { /* no copy begins within a copy; if one does, it is as a slice */
                i = find_set(slot, request->lanes);
                if (i < FORMAT_SETS) {
                        *taken = &slot->read[i];
                        return enter_shared(shared, slot, i, request);
                }
                if ((i = find_free_set(slot)) == FORMAT_SETS)
                        return shared_owner_is_mine(shared, request->lanes) ? AMMAP_ERR_DEADLOCK : AMMAP_ERR_LIMIT;
        }
        atomic_store_explicit(slot_reach(slot->record, i), request->reach, memory_order_release);
        atomic_exchange(&slot->record->read_set[i], set);
        if (unlikely(find_writer(shared, request->lanes) <= request->lanes.last && shared->writable)) {
                int rc;

                shared_unname(shared, slot, i, set);
                if ((rc = name_slow(shared, slot, i, request)) < 0)
                        return rc;
        }
        if (request->use == HOLD_SLICE)
                atomic_store_explicit(&slot->record->read_set[i], set | SET_SLICE, memory_order_relaxed);
        begin_hold(&slot->read[i], set, request->use);
        *taken = &slot->read[i];
        return 0;
}

int shared_enter(struct shared *shared, const struct request *request, struct shared_hold **hold)
{
        struct slot *slot;
        int rc;

        if (unlikely(!shared->writable)) {
                if (request->access == WRITE)
                        return AMMAP_ERR_READ_ONLY;
                if (!shared_frozen(shared))
                        return AMMAP_ERR_UNSUPPORTED;
        }
        if ((rc = slot_mine(shared, &slot)) < 0)
                return rc;
        if (request->access == WRITE)
                return enter_to_write(shared, slot, request, hold);
        return enter_to_read(shared, slot, request, hold);
}

bool shared_is_mine(const struct shared_hold *hold)
{
        return slot_is_mine(hold->slot) && shared_hold_refs(hold) && !os_forked_quick();
}

bool shared_is_held(const struct shared_hold *hold)
{
        return shared_hold_refs(hold);
}

void shared_leave(struct shared_hold *hold, uint64_t use)
{
        struct slot *slot = hold->slot;
        struct shared *shared = slot->shared;
        const struct lane_range lanes = read_set_lanes(hold->set);
        bool reads = is_to_read(hold);

        atomic_store_explicit(&hold->refs, shared_hold_refs(hold) - use, memory_order_relaxed);
        if (reads && !shared_hold_refs(hold)) {
                shared_unname(shared, slot, (unsigned)(hold - slot->read), hold->set);
        } else if (!reads) {
                for (uint32_t lane = lanes.last + 1; lane-- > lanes.first;)
                        shared_close_lane(&shared->lane[lane]);
                shared_note_mut_slices(slot, -(uint32_t)use);
                slot_write_unhold(hold);
        }
}

/* The set stands before the first lane is let go, so that whoever owns one next finds it.
 * No set of this thread has one of the lanes, or it would not write them: it takes a place
 * of its own. */
int shared_downgrade(struct shared_hold **taken)
{
        struct shared_hold *written = *taken;
        struct slot *slot = written->slot;
        const struct lane_range lanes = read_set_lanes(written->set);
        const uint64_t refs = shared_hold_refs(written);
        unsigned i = find_free_set(slot);

        if (is_to_read(written))
                return AMMAP_ERR_INVALID;
        if (i == FORMAT_SETS)
                return AMMAP_ERR_LIMIT;
        atomic_store_explicit(slot_reach(slot->record, i), written->reach, memory_order_release);
        atomic_exchange(&slot->record->read_set[i], written->set | SET_SLICE);
        for (uint32_t lane = lanes.last + 1; lane-- > lanes.first;)
                shared_close_lane(&slot->shared->lane[lane]);
        shared_note_mut_slices(slot, -(uint32_t)refs);
        slot->read[i].set = written->set;
        atomic_store_explicit(&slot->read[i].refs, refs, memory_order_relaxed);
        atomic_store_explicit(&written->refs, 0, memory_order_release); /* for holds_any */
        slot_write_unhold(written);
        *taken = &slot->read[i];
        return 0;
}

void shared_abandon(struct shared_hold *hold, uint64_t use)
{
        struct slot *slot = hold->slot;
        const struct lane_range lanes = read_set_lanes(hold->set);

        atomic_store_explicit(&hold->refs, 0, memory_order_relaxed);
        slot_note_dead(slot->shared, slot->index, lanes.first, lanes.last + 1);
        shared_disown_lanes(slot->shared, lanes.first, lanes.last + 1);
        shared_note_mut_slices(slot, -(uint32_t)use);
        slot_write_unhold(hold);
}

/* --- Without entering --- */

int shared_look_again(struct shared *shared, struct lane_range lanes, unsigned looks, int64_t deadline)
{
        enum { TRIES = 4, SPINS = 64, NAP = 100000, THOROUGH = 256 };
        const bool last = deadline == LANE_TRY && looks == TRIES - 1;
        int64_t now = 0;

        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                uint64_t owner_id = atomic_load(&shared->lane[lane].owner) & OWNER_ID;

                if (shared_is_dead(shared, lane) ||
                    ((last || looks % THOROUGH == THOROUGH - 1) && owner_id && shared_is_odd(&shared->lane[lane]) &&
                     !slot_lives_by_id(shared, owner_id, true) && shared_is_odd(&shared->lane[lane]) &&
                     (atomic_load(&shared->lane[lane].owner) & OWNER_ID) == owner_id))
                        return AMMAP_ERR_OWNER_DEAD;
        }
        if (looks == 0 && shared_owner_is_mine(shared, lanes))
                return AMMAP_ERR_DEADLOCK;
        if (last)
                return AMMAP_ERR_BUSY;
        if (deadline != LANE_TRY && (now = os_now()) >= deadline)
                return AMMAP_ERR_TIMEOUT;
        if (looks >= SPINS) {
                atomic_fetch_add(&shared->sleepers, 1);
                waiter_nap(earlier(NAP, deadline - now));
                atomic_fetch_sub(&shared->sleepers, 1);
        } else {
                for (unsigned n = looks; n > 0; n--)
                        os_pause();
        }
        return 0;
}
