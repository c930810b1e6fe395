/* lock.h - the lock of a lane: its words and the paths that take no call
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of lock.c explains the whole.
 */
#ifndef LOCK_H
#define LOCK_H

#include "lock/thread.h"
#include "lock/waiter.h"
#include "os/hints.h"
#include "os/os.h"

struct ammap;

enum access { READ, WRITE };

/* Lanes in a row. */
struct lane_range {
        uint32_t first, last;
};

static inline struct lane_range one_lane(uint32_t number)
{
        return (struct lane_range){ number, number };
}

static inline uint64_t lane_count(struct lane_range lanes)
{
        return (uint64_t)lanes.last - lanes.first + 1;
}

/* What one call wants of a map. */
struct request {
        uint64_t offset, length; /* which bytes: for the floor above, the lock does not look at them */
        struct lane_range lanes; /* what they lie in */
        uint64_t reach;          /* where in the map what is done there ends */
        enum access access;
        bool recovers;    /* to write, and lanes whose writer died, too: as that one left them */
        bool unmarked;    /* to write a lane of a file, which file_write_unmarked marks */
        uint64_t use;     /* HOLD_COPY or HOLD_SLICE */
        int64_t deadline; /* by os_now's clock, LANE_TRY or LANE_FOR_EVER */
};

/* What the lanes of a map have in common. */
struct lane_common {
        _Atomic uint32_t written;  /* futex word: counts wake-ups of those who watch */
        _Atomic uint32_t sleepers; /* threads that wait in a call, for whatever it is */
};

struct lane {
        /* Line 0: written by whoever enters or leaves, read by all.
         *
         *   bits 0-19   how many read holds are counted here
         *   bit  20     HANDOFF_READERS: starving readers' turn, writers keep out
         *   bit  21     HANDOFF_WRITERS: starving writers' turn, all others keep out
         *   bit  22     BIAS: readers may enter by their thread's block alone
         *   bit  23     SLOTS: some may have done so and still be in
         *   bit  24     FROZEN: nobody writes any more (never with WRITER)
         *   bit  25     DEAD: the writer is gone (only with WRITER)
         *   bit  26     WRITER: someone writes
         *   bits 26-63  the sequence, odd while someone writes
         *
         * While WRITER is set all of bits 0 to 24 are 0, but for SLOTS, which
         * then says that the writer writes no byte (IDLE), and the word belongs
         * to the writer: nobody else changes it. */
        _Alignas(64) _Atomic uint64_t word;

        /* Who waits: bit 0 readers asleep, bit 1 writers asleep, bits 2-15 how
         * many readers are starving, bits 17-30 how many writers; bit 16 a reader asks
         * for a moment without writers (ASKED); bit 31 somebody
         * waits for the lane to be written (WATCHED); bits 32-47 how
         * often starving readers were forgotten, bits 48-63 writers.  Changed by
         * those who wait or ask, and by those who wake them, with RMWs. */
        _Atomic uint64_t waiting;

        /* Counted reads until a bias is considered.  A hint: relaxed, races
         * lose a count. */
        _Atomic uint32_t bias_countdown;

        _Atomic uint32_t dead_process; /* stored before DEAD, as dead_thread is */
        struct ammap *map;             /* whose it is; constant, and nothing to the lock */
        struct lane_common *common;    /* of all lanes of the map; constant */

        /* Line 1: those who sleep, by enum access. */
        _Alignas(64) _Atomic uint32_t event[2]; /* futex words, counting wake-ups */
        _Atomic uint32_t asleep[2];             /* how many are in os_wait or about to be */

        _Atomic uint32_t spins;       /* how long spinning has paid lately; a hint */
        _Atomic uint32_t dead_thread; /* while DEAD: whose thread that was, and of which process; 0: not known */
        _Atomic int64_t bias_after;   /* os_now before which there is no bias; a hint */

        /* A turn that nobody was seen to take, with its sequence, and os_now when that
         * was seen first; by those who wait for it to end.  Hints. */
        _Atomic uint64_t idle_turn;
        _Atomic int64_t idle_since;
};

_Static_assert(sizeof(struct lane) == 128, "two lines, as every map has one of these");

#define LANE_READER UINT64_C(1)
#define LANE_READERS ((UINT64_C(1) << 20) - 1)
#define LANE_MANY_READERS (UINT64_C(1) << 19) /* set: one who counts himself looks whether there is room */
#define LANE_HANDOFF_READERS (UINT64_C(1) << 20)
#define LANE_HANDOFF_WRITERS (UINT64_C(1) << 21)
#define LANE_BIAS (UINT64_C(1) << 22)
#define LANE_SLOTS (UINT64_C(1) << 23)
#define LANE_IDLE LANE_SLOTS
#define LANE_FROZEN (UINT64_C(1) << 24)
#define LANE_DEAD (UINT64_C(1) << 25)
#define LANE_WRITER (UINT64_C(1) << 26)
#define LANE_SEQUENCE (~(LANE_WRITER - 1))

#define LANE_ASKED (UINT64_C(1) << 16) /* these two in waiting */
#define LANE_WATCHED (UINT64_C(1) << 31)

/* What one call wants of a run of lanes, which it enters one after the other: up to
 * end, until when, and whether it has looked already at what its own thread has of
 * those that it has not entered yet; and where it found that last, or NULL.  And whether
 * it takes over from a writer who is gone. */
struct lane_request {
        const struct lane *end;
        int64_t deadline;
        bool recovers;
        bool looked;
        const struct hold *own;
};

/* --- lock.c --- */

/* Once, but again where it failed.  left(...): a thread ends that has a hold of the lane: to write, and it is
 * DEAD now, or to read, and it is about to be left. */
int lane_start(void (*left)(struct lane *lane, enum access access));
void lane_init(struct lane *lane, struct ammap *map, struct lane_common *common);

/* Enter to write, or to read counted, as one who does not note it among the
 * thread's holds; for as long as a call of this library lasts.
 * 0; AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD or, to write,
 * _READ_ONLY; -EAGAIN: too many readers. */
int lane_write_slow(struct lane *lane, int64_t deadline);
int lane_read_slow(struct lane *lane, int64_t deadline);
void lane_read_leave(struct lane *lane);

/* When lane_counted has counted down. */
void lane_consider_bias(struct lane *lane);

/* Before many lanes are entered to write: take the bias from those that have it, all
 * at once. */
void lane_settle(struct lane *first, size_t count);

/* Leave after writing, when someone waits; or stay as one reader, LANE_READER, and not 0.
 * This and the next two answer 0: so a call that ends with one of them has nothing to save
 * for after it. */
int lane_write_leave_slow(struct lane *lane, uint64_t reader);

/* The same as one who writes no byte: a child that is forked meanwhile finds the
 * lane as it was, not DEAD.  Leave as the last writer ever, or by lane_write_leave. */
int lane_freeze(struct lane *lane, struct lane_request *request);
void lane_write_leave_frozen(struct lane *lane);

/* Let in those who sleep and may enter; after a write, also wake those who watch. */
int lane_wake(struct lane *lane);
int lane_wake_written(struct lane *lane);

/* How often lanes of one map, from first to last, were written: a sum of counts that each only
 * grow, modulo 2^37.  Whoever has it sees the bytes of those writes.  *dead: a writer of one
 * is gone. */
uint64_t lane_writes(const struct lane *first, const struct lane *last, bool *dead);

/* Sleep until they may have been written more often than that. */
void lane_watch(struct lane *first, struct lane *last, uint64_t seen, int64_t until);

/* For a shrink, which others may outlast on the lane: tear what is read without
 * entering, unless a writer is in, who will have done that; and whether a writer
 * is in whom no hold tells of: one who copies, or is about to note his hold. */
void lane_bump_sequence(struct lane *lane);
bool lane_writes_unseen(const struct lane *lane);

/* Take the name of a lane out of a hold, with the fence that lane_write_leave
 * has. */
void hold_withdraw(struct hold *hold, struct lane *lane);

/* Enter as a hold of the calling thread, for HOLD_COPY or HOLD_SLICE.  1: its writer was
 * gone, and it is as that one left it. */
int lane_hold_write_slow(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold);
int lane_hold_read_slow(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold);

/* Whether a live hold, by whichever thread, stands in the way of the lane's
 * end.  For a caller who excludes all others. */
bool lane_is_held(const struct lane *lane);

/* Let a hold to write be one to read, counted, with nobody in between. */
void lane_hold_downgrade(struct hold *hold);

/* Leave what the calling thread has to write as if it had ended within. */
void lane_hold_abandon(struct hold *hold);

/* Leave it as it was found: for whom it turns out to be no use to have entered. */
void lane_hold_return(struct hold *hold);

/* Enter once more as the process, which has what a hold of the calling thread's has; it is
 * left like any other, by any thread, or taken back.  The thread then drops its own hold,
 * and is not to leave the lane.  0; -EAGAIN: too many readers; or the system's code. */
int lane_hold_detach(const struct hold *hold, struct hold **detached);
void lane_hold_reattach(const struct hold *hold, struct hold *detached);

/* Clear DEAD. */
void lane_recover(struct lane *lane);

/* In a forked child: forget who is in, for each lane; the map is frozen, whether the
 * lane says so or not.  Then, once: who is in is what the calling thread holds. */
void lane_forked(struct lane *lane, bool frozen);
void lane_forked_all(void);

/* --- The paths that take no call --- */

/* Enter to write if no one is there, waits or may be in unseen.  Pairs
 * (acquire) with the release of whoever left last; the fence keeps the bytes to
 * be written behind the odd sequence, for lane_read_valid. */
static inline bool lane_write_try(struct lane *lane)
{
        uint64_t word = atomic_load_explicit(&lane->word, memory_order_relaxed);

        if (word & (LANE_WRITER | (LANE_WRITER - 1)))
                return false;
        if (!atomic_compare_exchange_strong_explicit(&lane->word, &word, word + LANE_WRITER, memory_order_acquire,
                                                     memory_order_relaxed))
                return false;
        atomic_thread_fence(memory_order_release);
        return true;
}

static inline int lane_write(struct lane *lane, int64_t deadline)
{
        return lane_write_try(lane) ? 0 : lane_write_slow(lane, deadline);
}

/* The writer owns the word: a plain store, released to whoever enters next and
 * to lane_read_begin.  Then the fence that pairs with the heavy one of a waiter
 * between its note in waiting and its last look at the word: one who waits to enter, or
 * one who watches.  0. */
static inline int lane_write_leave(struct lane *lane)
{
        if (unlikely(atomic_load_explicit(&lane->waiting, memory_order_relaxed) != 0))
                return lane_write_leave_slow(lane, 0);
        atomic_store_explicit(&lane->word, atomic_load_explicit(&lane->word, memory_order_relaxed) + LANE_WRITER,
                              memory_order_release);
        os_fence_light();
        if (unlikely(atomic_load_explicit(&lane->waiting, memory_order_relaxed) != 0))
                return lane_wake_written(lane);
        return 0;
}

/* Read without entering: between begin, true, and valid, true, nobody wrote.
 * What is read in between may be torn and must be read by racy.h's means.
 * begin's acquire pairs with the release of the last writer; valid's fence
 * keeps the reads before it, and pairs with the fence of lane_write_try. */
static inline bool lane_read_begin(const struct lane *lane, uint64_t *sequence)
{
        *sequence = atomic_load_explicit(&lane->word, memory_order_acquire);
        return !(*sequence & LANE_WRITER);
}

static inline bool lane_read_valid(const struct lane *lane, uint64_t sequence)
{
        atomic_thread_fence(memory_order_acquire);
        return ((atomic_load_explicit(&lane->word, memory_order_relaxed) ^ sequence) & LANE_SEQUENCE) == 0;
}

/* By a reader that does not enter, and finds a write at each look.  A hint, relaxed: the next
 * writer to leave may not see it yet, and nothing but time depends on it. */
static inline void lane_ask(struct lane *lane)
{
        atomic_fetch_or_explicit(&lane->waiting, LANE_ASKED, memory_order_relaxed);
}

static inline void lane_ask_no_more(struct lane *lane)
{
        if (atomic_load_explicit(&lane->waiting, memory_order_relaxed) & LANE_ASKED)
                atomic_fetch_and_explicit(&lane->waiting, ~LANE_ASKED, memory_order_relaxed);
}

/* Enter to write as a hold of the calling thread, if that takes no call; NULL:
 * it does.  reach is what a shrink is to see; 0: that is for later. */
static inline struct hold *lane_hold_write_try(struct lane *lane, uint64_t use, uint64_t reach)
{
        struct hold *hold;

        if (!holds_free(thread_holds, &hold) || !lane_write_try(lane))
                return NULL;
        hold_note(hold, lane, use | HOLD_WRITE, reach);
        return hold;
}

/* Enter to read as a hold of the calling thread, if the lane is biased: by
 * naming it in the hold, and then looking whether it still is; if not,
 * hold_withdraw.  NULL: it is not.  The light fence between that store and the look
 * at BIAS pairs with the heavy one in lane_write_slow between the clearing of
 * BIAS and the look at all holds.  It also stands between the note of reach and
 * the caller's look at the length of the map. */
static inline struct hold *hold_publish(struct lane *lane, uint64_t use, uint64_t reach)
{
        struct hold *hold;

        if (!(atomic_load_explicit(&lane->word, memory_order_relaxed) & LANE_BIAS) || !holds_free(thread_holds, &hold))
                return NULL;
        hold_note(hold, lane, use | HOLD_BIASED, reach);
        os_fence_light();
        return hold;
}

static inline bool lane_still_biased(const struct lane *lane)
{
        return likely((atomic_load_explicit(&lane->word, memory_order_acquire) & LANE_BIAS) != 0);
}

static inline struct hold *lane_hold_biased(struct lane *lane, uint64_t use, uint64_t reach)
{
        struct hold *hold = hold_publish(lane, use, reach);

        if (!hold || lane_still_biased(lane))
                return hold;
        hold_withdraw(hold, lane);
        return NULL;
}

/* Enter to read counted, as a hold of the calling thread, if that takes no call; NULL: it
 * does.  Pairs as lane_write_try does.  Then lane_counted. */
static inline struct hold *lane_hold_count_try(struct lane *lane, uint64_t use, uint64_t reach)
{
        uint64_t word = atomic_load_explicit(&lane->word, memory_order_relaxed);
        struct hold *hold;

        if ((word & (LANE_WRITER | LANE_HANDOFF_WRITERS | LANE_MANY_READERS)) || !holds_free(thread_holds, &hold) ||
            !atomic_compare_exchange_strong(&lane->word, &word, word + LANE_READER))
                return NULL;
        hold_note(hold, lane, use | HOLD_COUNTED, reach);
        return hold;
}

/* Every so often, by one who has entered counted and is in: let readers in by their blocks. */
static inline void lane_counted(struct lane *lane)
{
        uint32_t count = atomic_load_explicit(&lane->bias_countdown, memory_order_relaxed);

        if (likely(count > 0))
                atomic_store_explicit(&lane->bias_countdown, count - 1, memory_order_relaxed);
        else
                lane_consider_bias(lane);
}

/* The lane of a hold of a kind that is in the calling thread's current block; NULL: it
 * is another, or void. */
static inline struct lane *lane_of_mine(const struct hold *hold, uint64_t use)
{
        if (hold_block(hold) != thread_holds || atomic_load_explicit(&hold->use, memory_order_relaxed) != use)
                return NULL;
        return hold_lane(hold);
}

/* The ways back of what lane_of_mine has found.  The fence is lane_write_leave's.  0. */
static inline int lane_hold_unbias(struct hold *hold, struct lane *lane)
{
        atomic_store_explicit(&hold->lane, NULL, memory_order_release);
        os_fence_light();
        if (unlikely(atomic_load_explicit(&lane->waiting, memory_order_relaxed) != 0))
                return lane_wake(lane);
        return 0;
}

static inline int lane_hold_uncount(struct hold *hold, struct lane *lane)
{
        atomic_store_explicit(&hold->lane, NULL, memory_order_release);
        atomic_fetch_sub(&lane->word, LANE_READER);
        os_fence_light_after();
        if (unlikely(atomic_load_explicit(&lane->waiting, memory_order_relaxed) != 0))
                return lane_wake(lane);
        return 0;
}

static inline int lane_hold_unwrite(struct hold *hold, struct lane *lane)
{
        atomic_store_explicit(&hold->lane, NULL, memory_order_release);
        return lane_write_leave(lane);
}

static inline int lane_hold_write(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold)
{
        *hold = lane_hold_write_try(lane, use, 0);
        return *hold ? 0 : lane_hold_write_slow(lane, request, use, hold);
}

static inline int lane_hold_read(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold)
{
        *hold = lane_hold_biased(lane, use, 0);
        return *hold ? 0 : lane_hold_read_slow(lane, request, use, hold);
}

static inline void lane_hold_leave(struct hold *hold)
{
        struct lane *lane = hold_lane(hold);
        uint64_t kind = atomic_load_explicit(&hold->use, memory_order_relaxed) & HOLD_KIND;

        if (kind == HOLD_BIASED) {
                hold_withdraw(hold, lane);
                return;
        }
        /* Before the lane is left: who enters next may look for names. */
        hold_drop(hold);
        if (kind == HOLD_WRITE)
                lane_write_leave(lane);
        else
                lane_read_leave(lane);
}

#endif /* LOCK_H */
