/* lock.c - the lock of a lane, between the threads of one process
 *
 * SPDX-License-Identifier: MIT
 *
 * A reader-writer lock in one word (lane.word, lock.h), made of these known parts:
 *
 *   seqlock                  copies out read without entering, but for long ones
 *   BRAVO reader bias        slices enter by a store to memory of their own thread
 *   asymmetric Dekker        a light fence where threads enter, a heavy one (membarrier)
 *                            where one waits for them
 *   eventcount               who sleeps, and who wakes
 *   phase-fair hand-over     turns, for those who have waited long ("starving")
 *
 * What it guarantees
 *
 *   G1  While a writer is in, nobody else is in; readers may be in together.
 *   G2  A copy without entering that succeeds is of a moment at which nobody wrote.
 *   G3  Whoever cannot enter because of his own thread learns it before he waits.
 *   G4  A thread that waits enters, as long as the others release what they take.
 *   G5  A writer that is gone leaves the lane dead, and every later entry says so.
 *   G6  A shrink takes no byte away that somebody reads or writes.
 *   G7  Who watches a lane is woken after each write, and sees its bytes.
 *
 * The states of the word
 *
 *      bits                       who is in                      who may enter
 *      0, BIAS, SLOTS             readers that name the lane     readers by a name; a writer that
 *                                                                revokes the bias
 *      readers > 0                so many, counted               readers; nobody, with HANDOFF_WRITERS
 *      WRITER, sequence odd       one writer: the word is his    nobody
 *      WRITER and DEAD            a writer that is gone          nobody, until lane_recover; one
 *                                                                writer that takes DEAD away
 *      HANDOFF_READERS            nobody, or readers             readers
 *      HANDOFF_WRITERS            nobody, or readers             starving writers
 *      FROZEN                     readers                        readers; no writer ever again
 *
 * How each enters and leaves
 *
 * A writer enters by one compare-and-swap that adds WRITER to a word whose lower bits are
 * 0.  That makes the sequence odd.  It leaves by one store that makes it even again.  A
 * counted reader adds 1 to a word without WRITER and HANDOFF_WRITERS, and subtracts 1.
 * Without a call it tries that once, and leaves it to the way that waits where it fails.
 * A writer that becomes a reader counts itself by the store that makes the sequence even:
 * no word in between says that nobody is in.  A turn that it gives to writers in that store
 * lets one of them in when the reader has left.
 *
 * A reader that does not enter loads the word (begin), copies, and loads it again (valid).
 * If it finds the same even sequence, nobody wrote in between.  The sequence has 37 bits
 * above WRITER: to be fooled, a copy must be stopped for exactly 2^37 writes, which is a
 * third of an hour of nothing but writes.
 *
 * BIAS says that a reader may enter by a name: it stores the lane in a hold of its own
 * thread.  SLOTS says that such readers may be in.  A writer that finds SLOTS takes BIAS
 * away, runs a heavy fence, and waits until no hold names the lane.  It clears SLOTS as it
 * enters.  A writer that gives up leaves SLOTS set.  Who is to write many lanes takes the
 * bias from all of them first, with one fence and one look at all holds (lane_settle).
 *
 * BIAS comes back after a number of counted reads, but not before BIAS_PAUSE times as long
 * as the last revocation took: revoking takes at most one part in BIAS_PAUSE of the time.
 * While a writer that took it waits, it does not come back.
 *
 * Invariants
 *
 *   I1  While WRITER is set, only the writer changes the word.
 *   I2  The sequence takes no value twice within 2^37 writes.
 *   I3  SLOTS is cleared, and BIAS is set beside a SLOTS that is set, only by a step that
 *       changes the sequence too.  So a writer that ran its fence at some sequence, and
 *       still sees it with SLOTS and without BIAS, knows that no new reader came by a name.
 *   I4  A hold to write names a lane only while its thread is in; for a moment it may be in
 *       to read already.  A hold to read may name it for a moment longer, by a reader that
 *       withdraws.
 *   I5  A turn that is out has somebody starving to take it, or somebody is about to take
 *       it back.
 *   I6  The length of a map is shorter before a shrink looks for those who are in.
 *
 * What pairs with what
 *
 *      one side                        other side                      gives
 *      writer: WRITER by CAS           begin: word (acquire)           G2: who copies a byte of the
 *              fence (release)         copies                          writer's sees his odd sequence
 *              bytes                   fence (acquire), word
 *
 *      writer leaves: word (release)   begin, CAS: word (acquire)      G1: the bytes are seen
 *
 *      reader: hold.lane = lane        writer: word &= ~BIAS           G1: the reader withdraws, or
 *              light fence                     heavy fence             the writer waits for him
 *              BIAS still set?                 does a hold name it?
 *
 *      reader leaves: hold.lane =      writer: looks at holds          G1: his reads are over
 *              NULL (release)          (acquire)
 *
 *      waiter: waiting |= ASLEEP       leaver: word = ..., or          G4: he enters, or is woken
 *              heavy fence                     hold.lane = NULL
 *              may I enter now?                light fence
 *              os_wait(event)                  waiting?  then wake
 *
 *      watcher: waiting |= WATCHED     writer leaves: word = ...       G7: he sees the new sequence,
 *               heavy fence                    light fence             or is woken
 *               has the sequence changed?      waiting?  then wake
 *               os_wait(written)
 *
 *      who gives a turn: turn          last starving one: counts       I5: one of them takes the
 *              full fence              himself out, full fence         turn back
 *              is anybody starving?    is the turn out?
 *
 *      enters: notes his reach         shrink: length = shorter        G6: he finds the length too
 *              light fence                     heavy fence             short and leaves, or the
 *              length                          looks at holds, WRITER  shrink sees him
 *
 *      begin: word (acquire)           shrink: length = shorter        G6: who finds the new word
 *      length                                  word += 2               finds the length
 *                                              (lane_bump_sequence)
 *
 *      begin: word, what a writer      shrink: length = shorter        G6: he left after the look,
 *              left (acquire)                  heavy fence             so that what he left is found
 *      fence (causal)                          a writer is in          behind the length
 *      length                                  (lane_bump_sequence)
 *
 *      copies a byte that is gone      shrink: word += 2               G2: by that byte, or by the
 *      valid: fence (acquire), word            fence (release)         kernel's lock of its page,
 *                                              takes it away           valid finds word + 2
 *
 * In the last row but one the writer's store and the shrink's fence stand in two threads
 * and the reader in a third.  Where stores reach all other processors at once, the order
 * of the reader's loads is enough.  Elsewhere (POWER) it takes his fence: two full fences
 * forbid it in C11, as the heavy one does that interrupts him (os_fence_causal).
 *
 * Waiting, and progress
 *
 * Who cannot enter spins for a bounded time, with pauses that grow: on a busy lane the
 * others then run long bursts out of their own cache.  Then it sleeps.  A waker takes
 * ASLEEP away and adds to event.  A waiter has read event before its last look, so it does
 * not fall asleep after the wake-up.  All readers are woken, but one writer, who sets
 * ASLEEP again for those who sleep on.  A waiter that gives up wakes the next.
 *
 * A reader that does not enter does nothing that would slow a writer down, until it asks.  A
 * writer that writes again and again has the lane in its own cache, and leaves the reader
 * hardly a moment between two writes.  After some looks the reader sets ASKED.  The writer
 * that leaves next takes ASKED away, and pauses before its call returns: now the reader has
 * the lane in its cache, and reads a burst.  ASKED keeps nobody out.  A reader that has read,
 * or goes on to wait, takes it away itself, others' too, who ask again.  Who leaves several
 * lanes pauses in each in which a reader asked.
 *
 * To enter past those who wait is what makes the lock fast, and unfair.  So a waiter
 * becomes starving after WAITER_STARVING_AFTER; a writer that readers keep out, after a
 * short spin.  The starving are counted in waiting.  A writer that leaves sees them and
 * hands over in the same store: HANDOFF_READERS if readers are starving, else
 * HANDOFF_WRITERS.  The one keeps writers out until the last starving reader has entered,
 * the other all but starving writers until one of them has entered.  A starving writer
 * also sets HANDOFF_WRITERS by itself where readers hold the lane.  So a starving reader
 * waits for one writer at most.  A starving writer waits for the readers that are in, for
 * one turn of readers, and then only for other starving writers.
 *
 * A waiter may be stopped, by a debugger or in a signal handler, and must not keep the
 * others out with its turn.  Whoever sees a turn that could be taken, and sees it still
 * after TURN_MAX, forgets all the starving that it is for and takes it back (pass_over).
 * How often the starving were forgotten is counted beside them.  One that was forgotten
 * sees so by that count, takes nothing off the new count, and looks, as the last of them,
 * whether a turn is out that is no one's.  No sleep lasts longer than SLEEP_MAX, or
 * TURN_MAX beside a turn, so that nobody misses such a turn.
 *
 * One's own holds (G3)
 *
 * Who cannot enter looks, before it waits, whether it is itself in the way, here or in a
 * lane that it wants besides.  Then the answer is AMMAP_ERR_DEADLOCK: whoever keeps it out
 * here may wait for that.  A reader that reads already is counted past a waiting writer:
 * its own hold keeps every writer out meanwhile.
 *
 * Slices of the process
 *
 * A slice that is detached is no thread's any more: its hold stands in a block of the
 * process's, which no thread looks at for its own ways.  A reader that is in by a name is
 * counted in the word first.  Else a writer could look at the new name too early and at
 * the old one too late.  The count makes his compare-and-swap fail.  A shrink, who looks
 * at the holds of readers and writers alike, is kept out meanwhile by a mutex of thread.c.
 *
 * Death (G5)
 *
 * A writer that is gone leaves WRITER set, and DEAD: a thread that ended with a mut slice,
 * and in a forked child every writer but the forking thread.  All quick paths stop at
 * WRITER; the slow ones report DEAD.  lane_recover makes the sequence even.  Or one
 * writer takes DEAD away, and has the lane as its own: the sequence stays odd until he leaves,
 * so nobody sees the bytes before, and if he is gone, too, the lane is dead again.  What a thread
 * takes after its end has been seen, in the last round of its destructors, is left by
 * whoever has slept in vain for it: each thread has a robust mutex that says for certain
 * that it is gone (thread_bury).
 *
 * Frost
 *
 * The writer that freezes a map leaves FROZEN in each lane, for good.  No writer enters by
 * the quick path any more, and the slow one answers READ_ONLY.  That writer writes no byte,
 * and IDLE says so from the compare-and-swap on by which it enters: a forked child does
 * not take it for a dead writer.
 *
 * Watching (G7)
 *
 * The sequence counts the writes.  Who waits for one sets WATCHED in each lane of a range and
 * sleeps on one word of the map, written, of which it has read the value before.  A writer
 * finds WATCHED where it looks for other waiters, takes it away, adds to written, and wakes
 * all.  WATCHED may be left behind by one who gave up: it costs one wake-up.  A step of the
 * sequence without a write, beside a bias (I3), is taken for one.
 *
 * Shrinks (G6)
 *
 * A shrink must not wait for the slices that it leaves whole, so it enters no lane.  It
 * publishes the shorter length, runs a heavy fence, and waits for those whom a hold shows
 * to reach beyond it, and for a writer whom no hold shows; but not for one who writes no byte
 * (IDLE), who freezes the map, say: he needs the mutex of the resize before he goes on, and may wait
 * for a copy that waits for the shrink's thread.  Everyone else enters, notes how far he reaches,
 * fences lightly, and looks at the length.  A copy with two parts notes it when it has both: while
 * it waits for one of them it must not be waited for.  lane_bump_sequence then adds to
 * the sequence, so that no copy without entering succeeds over what is taken away.  A writer
 * that is in keeps such copies out, and adds to the sequence when he leaves.
 *
 * References
 *
 *   Dice, Kogan: BRAVO - Biased Locking for Reader-Writer Locks, USENIX ATC 2019
 *   Boehm: Can Seqlocks Get Along with Programming Language Memory Models?, MSPC 2012
 *   Brandenburg, Anderson: Reader-Writer Synchronization (phase-fair), ECRTS 2009
 *   membarrier(2); tests/model-bias.pml, model-sleep.pml, model-look.pml
 */
#include "lock/lock.h"

#include "ammap.h"

#include <errno.h>
#include <stdlib.h>

enum {
        ASLEEP = 1, /* << kind */
        STARVING_SHIFT = 2,
        STARVING_BITS = 15,
        STARVING_MAX = (1 << (STARVING_BITS - 1)) - 1, /* the bits above are LANE_ASKED and LANE_WATCHED */
        FORGOTTEN_SHIFT = 32,
        FORGOTTEN_BITS = 16,
        FORGOTTEN_MAX = (1 << FORGOTTEN_BITS) - 1,
};

enum {
        SPIN_MIN = 256, /* pauses in all before sleeping, at least and at most */
        SPIN_MAX = 2048,
        CLAIM_AFTER = 192,    /* pauses before a writer claims its turn from readers */
        TURN_MAX = 10000000,  /* ns: whoever takes no turn for so long is passed over */
        SLEEP_MAX = 50000000, /* ns: between two looks for such a turn */
        BIAS_EVERY = 64,      /* counted reads between two thoughts of bias */
        BIAS_PAUSE = 32,
        COURTESY = 16, /* pauses of a writer that was asked */
};

struct lane_waiter {
        struct lock_waiter base;
        struct lane *lane;
        enum access kind;
        bool starving;
        bool counted;       /* among the sleepers */
        uint16_t forgotten; /* how often the starving were, when it became one */
        int64_t revoking;   /* os_now when it took the bias away, or 0 */
};

static void (*lane_left)(struct lane *lane, enum access access);

static uint32_t starving(uint64_t waiting, enum access kind)
{
        return waiting >> (STARVING_SHIFT + STARVING_BITS * (int)kind) & STARVING_MAX;
}

static uint64_t one_starving(enum access kind)
{
        return UINT64_C(1) << (STARVING_SHIFT + STARVING_BITS * (int)kind);
}

static uint16_t forgotten(uint64_t waiting, enum access kind)
{
        return waiting >> (FORGOTTEN_SHIFT + FORGOTTEN_BITS * (int)kind) & FORGOTTEN_MAX;
}

void lane_init(struct lane *lane, struct ammap *map, struct lane_common *common)
{
        lane->map = map;
        lane->common = common;
        atomic_init(&lane->word, 0);
        atomic_init(&lane->waiting, 0);
        atomic_init(&lane->bias_countdown, 4);
        for (int kind = READ; kind <= WRITE; kind++) {
                atomic_init(&lane->event[kind], 0);
                atomic_init(&lane->asleep[kind], 0);
        }
        atomic_init(&lane->spins, 0);
        atomic_init(&lane->bias_after, 0);
        atomic_init(&lane->idle_turn, 0);
        atomic_init(&lane->idle_since, 0);
}

/* --- Waking --- */

static void wake(struct lane *lane, enum access kind, int count)
{
        atomic_fetch_and(&lane->waiting, ~((uint64_t)ASLEEP << kind));
        atomic_fetch_add(&lane->event[kind], 1);
        os_wake(&lane->event[kind], count);
}

int lane_wake(struct lane *lane)
{
        uint64_t waiting = atomic_load(&lane->waiting);
        uint64_t word = atomic_load(&lane->word);
        int count = 1;

        if (word & LANE_DEAD) { /* all are to hear of it */
                wake(lane, READ, INT32_MAX);
                wake(lane, WRITE, INT32_MAX);
                return 0;
        }
        if (word & LANE_WRITER) /* who will look again on leaving */
                return 0;
        if ((waiting & ASLEEP << READ) && !(word & LANE_HANDOFF_WRITERS))
                wake(lane, READ, INT32_MAX);
        /* Only the starving may use HANDOFF_WRITERS, or claim it where readers came in
         * without it; and which of the sleepers are starving is not known. */
        if (!(waiting & ASLEEP << WRITE) || (word & LANE_HANDOFF_READERS))
                return 0;
        if ((word & LANE_HANDOFF_WRITERS) || starving(waiting, WRITE))
                count = INT32_MAX;
        if (!(word & LANE_READERS) || (!(word & LANE_HANDOFF_WRITERS) && starving(waiting, WRITE)))
                wake(lane, WRITE, count);
        return 0;
}

static void wake_watchers(struct lane *lane)
{
        if (!(atomic_load(&lane->waiting) & LANE_WATCHED))
                return;
        atomic_fetch_and(&lane->waiting, ~LANE_WATCHED);
        atomic_fetch_add(&lane->common->written, 1);
        os_wake(&lane->common->written, INT32_MAX);
}

int lane_wake_written(struct lane *lane)
{
        wake_watchers(lane);
        return lane_wake(lane);
}

/* --- Turns --- */

static void become_starving(struct lane_waiter *w)
{
        uint64_t waiting = atomic_load_explicit(&w->lane->waiting, memory_order_relaxed);

        if (w->starving && forgotten(waiting, w->kind) != w->forgotten)
                w->starving = false;
        while (!w->starving && starving(waiting, w->kind) < STARVING_MAX) {
                w->forgotten = forgotten(waiting, w->kind);
                w->starving =
                        atomic_compare_exchange_weak(&w->lane->waiting, &waiting, waiting + one_starving(w->kind));
        }
}

/* Whether it was the last, or is counted no more: it is to see whether a turn is out
 * that is no one's. */
static bool end_starving(struct lane_waiter *w)
{
        uint64_t waiting = atomic_load(&w->lane->waiting);

        w->starving = false;
        while (forgotten(waiting, w->kind) == w->forgotten)
                if (atomic_compare_exchange_weak(&w->lane->waiting, &waiting, waiting - one_starving(w->kind)))
                        return starving(waiting, w->kind) == 1;
        return true;
}

static void forget_starving(struct lane *lane, enum access kind)
{
        uint64_t waiting = atomic_load(&lane->waiting), after;
        uint64_t counts = STARVING_MAX * one_starving(kind);
        int shift = FORGOTTEN_SHIFT + FORGOTTEN_BITS * (int)kind;

        do {
                uint64_t times = (forgotten(waiting, kind) + 1) & FORGOTTEN_MAX;

                after = (waiting & ~counts & ~((uint64_t)FORGOTTEN_MAX << shift)) | times << shift;
        } while (!atomic_compare_exchange_weak(&lane->waiting, &waiting, after));
}

/* Take back a turn that no starving one is left to use.  WRITER and a turn are
 * never both set, so that this changes no word that a writer owns. */
static void end_turn(struct lane *lane, enum access kind)
{
        uint64_t turn = kind == READ ? LANE_HANDOFF_READERS : LANE_HANDOFF_WRITERS;
        uint64_t word;

        os_fence_full();
        word = atomic_load(&lane->word);
        while ((word & turn) && starving(atomic_load(&lane->waiting), kind) == 0)
                if (atomic_compare_exchange_weak(&lane->word, &word, word & ~turn)) {
                        lane_wake(lane);
                        return;
                }
}

/* Whether the word has changed, for a turn was out that was not taken though it could
 * be, at two looks so far apart.  Whoever has it is stopped, in a signal handler say,
 * and it and its like are starving no more. */
static bool pass_over(struct lane *lane, uint64_t word)
{
        uint64_t turn = word & (LANE_HANDOFF_READERS | LANE_HANDOFF_WRITERS), idle = turn | (word & LANE_SEQUENCE);
        int64_t now;

        if (!turn)
                return false;
        if ((turn & LANE_HANDOFF_WRITERS) &&
            ((word & LANE_READERS) || ((word & LANE_SLOTS) && thread_any_names(lane)))) {
                atomic_store_explicit(&lane->idle_turn, 0, memory_order_relaxed);
                return false;
        }
        now = os_now();
        if (atomic_load_explicit(&lane->idle_turn, memory_order_acquire) != idle) {
                atomic_store_explicit(&lane->idle_since, now, memory_order_relaxed);
                atomic_store_explicit(&lane->idle_turn, idle, memory_order_release);
                return false;
        }
        if (now - atomic_load_explicit(&lane->idle_since, memory_order_relaxed) < TURN_MAX)
                return false;
        atomic_store_explicit(&lane->idle_turn, 0, memory_order_relaxed);
        forget_starving(lane, (turn & LANE_HANDOFF_READERS) ? READ : WRITE);
        if (atomic_compare_exchange_strong(&lane->word, &word, word & ~turn))
                lane_wake(lane);
        return true;
}

static bool may_claim(uint64_t word)
{
        return !(word & (LANE_WRITER | LANE_HANDOFF_WRITERS | LANE_HANDOFF_READERS | LANE_BIAS));
}

/* Readers keep a writer out: let in no more of them. */
static void claim_turn(struct lane_waiter *w, uint64_t word)
{
        if (!may_claim(word))
                return;
        become_starving(w);
        while (w->starving && may_claim(word))
                if (atomic_compare_exchange_weak(&w->lane->word, &word, word | LANE_HANDOFF_WRITERS)) {
                        atomic_store_explicit(&w->lane->idle_turn, 0, memory_order_relaxed);
                        return;
                }
}

/* --- Waiting --- */

static bool blocked(const struct lane_waiter *w, uint64_t word)
{
        if (word & LANE_DEAD)
                return false;
        if (w->kind == READ)
                return word & (LANE_WRITER | LANE_HANDOFF_WRITERS);
        if (word & LANE_FROZEN)
                return false;
        if (word & (LANE_WRITER | LANE_HANDOFF_READERS | LANE_READERS))
                return true;
        if ((word & LANE_HANDOFF_WRITERS) && !w->starving)
                return true;
        if (word & LANE_BIAS)
                return false;
        return (word & LANE_SLOTS) && thread_any_names(w->lane);
}

/* Spinning has paid up to twice its average of late, else not. */
static bool spin(struct lane_waiter *w)
{
        uint32_t limit = SPIN_MIN + 2 * atomic_load_explicit(&w->lane->spins, memory_order_relaxed);

        return waiter_spin(&w->base, limit < SPIN_MAX ? limit : SPIN_MAX);
}

static int wait(struct lane_waiter *w)
{
        struct lane *lane = w->lane;
        const bool has_slept = w->base.since;
        int64_t now, until = w->base.deadline;
        uint32_t event;
        uint64_t word;
        int rc;

        if (w->base.deadline != LANE_TRY && spin(w))
                return 0;
        if (os_fork_check()) { /* which forgets the starving, this one too */
                w->starving = w->counted = false;
                return 0;
        }
        if (!w->counted) { /* until the word says that it is in, for who would free the map */
                w->counted = true;
                atomic_fetch_add(&lane->common->sleepers, 1);
        }
        if ((rc = waiter_begin_sleep(&w->base, &now)) < 0)
                return rc;
        /* A writer that was woken may have got the one wake-up that was meant for
         * the starving, by one who knew nothing of their turn: it takes the turn. */
        if (has_slept && w->kind == WRITE && (atomic_load(&lane->word) & LANE_HANDOFF_WRITERS))
                become_starving(w);
        if (waiter_is_starving(&w->base, now))
                become_starving(w);
        else
                until = earlier(until, w->base.since + WAITER_STARVING_AFTER);
        until = earlier(until, now + SLEEP_MAX);

        event = atomic_load(&lane->event[w->kind]);
        atomic_fetch_add(&lane->asleep[w->kind], 1);
        atomic_fetch_or(&lane->waiting, (uint64_t)ASLEEP << w->kind);
        os_fence_heavy();
        word = atomic_load(&lane->word);
        if (word & (LANE_HANDOFF_READERS | LANE_HANDOFF_WRITERS))
                until = earlier(until, now + TURN_MAX);
        /* Nobody wakes a starving writer that lets readers come and go. */
        if (blocked(w, word) && !(w->kind == WRITE && w->starving && may_claim(word)))
                rc = os_wait(&lane->event[w->kind], event, until);
        /* A wake-up of one writer took the note of all. */
        if (atomic_fetch_sub(&lane->asleep[w->kind], 1) > 1 && w->kind == WRITE)
                atomic_fetch_or(&lane->waiting, (uint64_t)ASLEEP << WRITE);
        if (rc == -ETIMEDOUT)
                thread_bury(lane, lane + 1);
        return 0;
}

static int finish(struct lane_waiter *w, int rc)
{
        struct lane *lane = w->lane;

        if (w->base.spun) {
                uint32_t spins = atomic_load_explicit(&lane->spins, memory_order_relaxed);
                uint32_t spun = w->base.since || rc ? 0 : w->base.spun;
                atomic_store_explicit(&lane->spins, spins - spins / 8 + spun / 8, memory_order_relaxed);
        }
        if (w->revoking)
                atomic_store_explicit(&lane->bias_after, os_now() + (os_now() - w->revoking) * BIAS_PAUSE,
                                      memory_order_relaxed);
        if (w->starving && end_starving(w))
                end_turn(lane, w->kind);
        if (rc < 0 && w->base.since) {
                os_fence_heavy(); /* after the note for those who sleep on, as in wait */
                lane_wake(lane);
        }
        if (w->counted)
                atomic_fetch_sub(&lane->common->sleepers, 1);
        return rc;
}

/* --- Writers --- */

/* It does not come back while its writer waits. */
static void revoke_bias(struct lane_waiter *w, uint64_t word)
{
        if (!w->revoking) {
                w->revoking = os_now();
                atomic_store_explicit(&w->lane->bias_after, OS_NEVER, memory_order_relaxed);
        }
        atomic_compare_exchange_strong(&w->lane->word, &word, word & ~LANE_BIAS);
}

/* Whether the calling thread itself is in the way of a request, in this lane or in
 * one that comes later. */
static bool in_own_way(const struct lane *lane, struct lane_request *request, enum access access)
{
        const struct hold *hold = NULL;

        if (request->looked)
                return false;
        request->looked = true;
        while ((hold = thread_hold_next(lane, request->end, hold))) {
                if (access == WRITE || (atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE)
                        return true;
                request->own = hold;
        }
        return false;
}

/* Whether the calling thread, which reads some of the lanes of a request, reads this
 * one.  Lanes in a row are held in a row: it goes on where it found the last. */
static bool reads_already(const struct lane *lane, struct lane_request *request)
{
        const struct hold *hold = request->own;

        if (hold && hold_lane(hold) != lane)
                hold = thread_hold_next(lane, lane + 1, hold);
        if (!hold && request->own)
                hold = thread_hold_next(lane, lane + 1, NULL);
        if (hold)
                request->own = hold;
        return hold;
}

static int write_slow(struct lane *lane, struct lane_request *request, uint64_t idle)
{
        struct lane_waiter w = { .base = { .deadline = request->deadline, .pause = 32 }, .lane = lane, .kind = WRITE };
        uint64_t word, fenced = LANE_WRITER; /* the sequence of the last heavy fence: none, odd */
        int rc;

        os_fork_check();
        if (!(atomic_load(&lane->word) & (LANE_DEAD | LANE_FROZEN)) && in_own_way(lane, request, WRITE))
                return AMMAP_ERR_DEADLOCK;

        for (;;) {
                word = atomic_load(&lane->word);
                if ((word & LANE_DEAD) && !request->recovers)
                        return finish(&w, AMMAP_ERR_OWNER_DEAD);
                if (word & LANE_DEAD) {
                        if (!atomic_compare_exchange_strong(&lane->word, &word, word & ~LANE_DEAD))
                                continue;
                        atomic_thread_fence(memory_order_release); /* as in lane_write_try */
                        return finish(&w, 1);
                }
                if (word & LANE_FROZEN)
                        return finish(&w, AMMAP_ERR_READ_ONLY);
                if (word & LANE_BIAS) {
                        revoke_bias(&w, word);
                        continue;
                }
                if ((word & LANE_SLOTS) && (word & LANE_SEQUENCE) != fenced) {
                        os_fence_heavy();
                        fenced = word & LANE_SEQUENCE;
                }
                if (!blocked(&w, word)) {
                        uint64_t mine = ((word & ~(LANE_HANDOFF_WRITERS | LANE_SLOTS)) | idle) + LANE_WRITER;

                        if (atomic_compare_exchange_strong(&lane->word, &word, mine)) {
                                atomic_thread_fence(memory_order_release); /* as in lane_write_try */
                                return finish(&w, 0);
                        }
                        spin(&w);
                        continue;
                }
                if (in_own_way(lane, request, WRITE)) /* it was dead, or frozen, when one began */
                        return finish(&w, AMMAP_ERR_DEADLOCK);
                if (pass_over(lane, word))
                        continue;
                if (request->deadline != LANE_TRY && (w.base.spun >= CLAIM_AFTER || w.base.since || !waiter_may_spin))
                        claim_turn(&w, word);
                if ((rc = wait(&w)) < 0)
                        return finish(&w, rc);
        }
}

int lane_write_slow(struct lane *lane, int64_t deadline)
{
        struct lane_request request = { .end = lane + 1, .deadline = deadline };

        return write_slow(lane, &request, 0);
}

int lane_freeze(struct lane *lane, struct lane_request *request)
{
        return write_slow(lane, request, LANE_IDLE);
}

static uint64_t unbias(struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        while (word & LANE_BIAS)
                if (atomic_compare_exchange_weak(&lane->word, &word, word & ~LANE_BIAS))
                        return word & ~LANE_BIAS;
        return word;
}

/* The compare-and-swap proves that no reader came unseen since the fence, as a
 * writer's does. */
void lane_settle(struct lane *first, size_t count)
{
        enum { FEW = 64 };
        uint64_t few[FEW], *words = few;
        bool any = false;
        int64_t since;

        for (size_t i = 0; i < count && !any; i++)
                any = atomic_load_explicit(&first[i].word, memory_order_relaxed) & LANE_BIAS;
        if (!any)
                return;
        if (count > FEW && !(words = malloc(count * sizeof *words)))
                return;
        since = os_now();
        for (size_t i = 0; i < count; i++) {
                words[i] = unbias(&first[i]);
                if ((words[i] & LANE_WRITER) || !(words[i] & LANE_SLOTS))
                        words[i] = 0;
        }
        os_fence_heavy();
        thread_strike_named(first, count, sizeof *first, words);
        since += (os_now() - since) * (BIAS_PAUSE + 1);
        for (size_t i = 0; i < count; i++)
                if (words[i]) {
                        atomic_compare_exchange_strong(&first[i].word, &words[i],
                                                       (words[i] & ~LANE_SLOTS) + 2 * LANE_WRITER);
                        atomic_store_explicit(&first[i].bias_after, since, memory_order_relaxed);
                }
        if (words != few)
                free(words);
}

/* With a turn for who is starving, or a moment for who asked. */
static NOINLINE int leave_to(struct lane *lane, uint64_t word, uint64_t waiting)
{
        if (starving(waiting, READ)) {
                atomic_store(&lane->word, word | LANE_HANDOFF_READERS);
                end_turn(lane, READ);
        } else if (starving(waiting, WRITE)) {
                atomic_store(&lane->word, word | LANE_HANDOFF_WRITERS);
                end_turn(lane, WRITE);
        } else {
                atomic_store(&lane->word, word);
        }
        if (waiting & LANE_ASKED)
                lane_ask_no_more(lane);
        os_fence_full();
        lane_wake_written(lane);
        if ((waiting & LANE_ASKED) && !(word & LANE_READERS)) /* who downgrades lets readers in anyway */
                for (int i = 0; i < COURTESY; i++)
                        os_pause();
        return 0;
}

int lane_write_leave_slow(struct lane *lane, uint64_t reader)
{
        uint64_t word = atomic_load_explicit(&lane->word, memory_order_relaxed) + LANE_WRITER + reader;
        uint64_t waiting = atomic_load(&lane->waiting);

        if (unlikely((waiting & (STARVING_MAX * (one_starving(READ) | one_starving(WRITE)) | LANE_ASKED)) != 0))
                return leave_to(lane, word, waiting);
        atomic_store(&lane->word, word);
        os_fence_full();
        return lane_wake_written(lane);
}

void lane_write_leave_frozen(struct lane *lane)
{
        uint64_t word = atomic_load_explicit(&lane->word, memory_order_relaxed) & ~LANE_IDLE;

        atomic_store(&lane->word, (word + LANE_WRITER) | LANE_FROZEN);
        os_fence_full();
        wake_watchers(lane);
        wake(lane, READ, INT32_MAX);
        wake(lane, WRITE, INT32_MAX);
}

/* --- Readers --- */

/* For a counted reader that is in, so that no writer is. */
void lane_consider_bias(struct lane *lane)
{
        uint64_t word;

        atomic_store_explicit(&lane->bias_countdown, BIAS_EVERY, memory_order_relaxed);
        if (os_now() < atomic_load_explicit(&lane->bias_after, memory_order_relaxed))
                return;
        word = atomic_load(&lane->word);
        if (!(word & (LANE_BIAS | LANE_HANDOFF_WRITERS | LANE_HANDOFF_READERS)))
                atomic_compare_exchange_strong(&lane->word, &word,
                                               (word | LANE_BIAS | LANE_SLOTS) +
                                                       ((word & LANE_SLOTS) ? 2 * LANE_WRITER : 0));
}

static int read_slow(struct lane *lane, struct lane_request *request)
{
        struct lane_waiter w = { .base = { .deadline = request->deadline, .pause = 1 }, .lane = lane, .kind = READ };
        bool looked = false, reads = false;
        uint64_t word;
        int rc;

        os_fork_check();
        for (;;) {
                word = atomic_load(&lane->word);
                if ((reads ? !(word & LANE_WRITER) : !blocked(&w, word)) && !(word & LANE_DEAD)) {
                        if ((word & LANE_READERS) == LANE_READERS)
                                return finish(&w, -EAGAIN);
                        if (atomic_compare_exchange_strong(&lane->word, &word, word + LANE_READER)) {
                                lane_counted(lane);
                                return finish(&w, 0);
                        }
                        continue;
                }
                if (word & LANE_DEAD)
                        return finish(&w, AMMAP_ERR_OWNER_DEAD);
                if (in_own_way(lane, request, READ))
                        return finish(&w, AMMAP_ERR_DEADLOCK);
                if (!looked) {
                        looked = true;
                        reads = reads_already(lane, request);
                        continue;
                }
                if (pass_over(lane, word))
                        continue;
                if ((rc = wait(&w)) < 0)
                        return finish(&w, rc);
        }
}

int lane_read_slow(struct lane *lane, int64_t deadline)
{
        struct lane_request request = { .end = lane + 1, .deadline = deadline };

        return read_slow(lane, &request);
}

void lane_read_leave(struct lane *lane)
{
        atomic_fetch_sub(&lane->word, LANE_READER);
        os_fence_light();
        if (atomic_load_explicit(&lane->waiting, memory_order_relaxed))
                lane_wake(lane);
}

/* --- Holds --- */

void hold_withdraw(struct hold *hold, struct lane *lane)
{
        hold_drop(hold);
        os_fence_light();
        if (atomic_load_explicit(&lane->waiting, memory_order_relaxed))
                lane_wake(lane);
}

int lane_hold_write_slow(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold)
{
        int rc = thread_room(hold);

        if (rc < 0 || (!lane_write_try(lane) && (rc = write_slow(lane, request, 0)) < 0))
                return rc;
        hold_note(*hold, lane, use | HOLD_WRITE | (rc ? HOLD_RECOVERED : 0), 0);
        return rc;
}

int lane_hold_read_slow(struct lane *lane, struct lane_request *request, uint64_t use, struct hold **hold)
{
        int rc;

        if ((*hold = lane_hold_count_try(lane, use, 0))) {
                lane_counted(lane);
                return 0;
        }
        if ((rc = thread_room(hold)) < 0 || (rc = read_slow(lane, request)) < 0)
                return rc;
        hold_note(*hold, lane, use | HOLD_COUNTED, 0);
        return 0;
}

/* What it is used for comes after the word: a shrink that sees a writer in the word, and
 * no hold of his, would wait for him (lane_writes_unseen). */
void lane_hold_downgrade(struct hold *hold)
{
        uint64_t use = atomic_load_explicit(&hold->use, memory_order_relaxed);

        lane_write_leave_slow(hold_lane(hold), LANE_READER);
        atomic_store_explicit(&hold->use, (use & ~(HOLD_KIND | HOLD_RECOVERED)) | HOLD_COUNTED, memory_order_release);
}

/* No writer is in, where the caller is. */
static int count_reader(struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        do
                if ((word & LANE_READERS) == LANE_READERS)
                        return -EAGAIN;
        while (!atomic_compare_exchange_weak(&lane->word, &word, word + LANE_READER));
        return 0;
}

static uint64_t hold_kind(const struct hold *hold)
{
        return atomic_load_explicit(&hold->use, memory_order_relaxed) & HOLD_KIND;
}

int lane_hold_detach(const struct hold *hold, struct hold **detached)
{
        uint64_t kind = hold_kind(hold);
        int rc = kind == HOLD_BIASED ? count_reader(hold_lane(hold)) : 0;

        if (rc < 0)
                return rc;
        rc = thread_detach(hold, kind == HOLD_BIASED ? HOLD_COUNTED : kind, detached);
        if (rc < 0 && kind == HOLD_BIASED)
                lane_read_leave(hold_lane(hold));
        return rc;
}

void lane_hold_reattach(const struct hold *hold, struct hold *detached)
{
        thread_reattach(detached);
        if (hold_kind(hold) == HOLD_BIASED)
                lane_read_leave(hold_lane(hold));
}

/* --- Watching --- */

/* The acquire pairs with the release of who left after writing. */
uint64_t lane_writes(const struct lane *first, const struct lane *last, bool *dead)
{
        uint64_t sum = 0;

        *dead = false;
        for (const struct lane *lane = first; lane <= last; lane++) {
                uint64_t word = atomic_load_explicit(&lane->word, memory_order_acquire);

                sum += word / (2 * LANE_WRITER); /* odd: the write under way does not count yet */
                *dead |= (word & LANE_DEAD) != 0;
        }
        return sum;
}

void lane_watch(struct lane *first, struct lane *last, uint64_t seen, int64_t until)
{
        uint32_t event = atomic_load(&first->common->written);
        bool dead;

        for (struct lane *lane = first; lane <= last; lane++)
                if (!(atomic_load(&lane->waiting) & LANE_WATCHED))
                        atomic_fetch_or(&lane->waiting, LANE_WATCHED);
        os_fence_heavy();
        if (lane_writes(first, last, &dead) != seen || dead)
                return;
        if (os_wait(&first->common->written, event, earlier(until, os_now() + SLEEP_MAX)) == -ETIMEDOUT)
                thread_bury(first, last + 1);
}

/* --- Shrinks --- */

void lane_bump_sequence(struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        while (!(word & LANE_WRITER))
                if (atomic_compare_exchange_weak(&lane->word, &word, word + 2 * LANE_WRITER))
                        break;
        atomic_thread_fence(memory_order_release); /* as in lane_write_try */
        wake_watchers(lane);
}

/* A hold to write that is noted while one and the same writer is in is that
 * writer's.  One to read may be that of a reader who is about to withdraw: he looked
 * for BIAS first, and whoever cleared that ran a heavy fence, so he names the lane once
 * at most while that writer is in.  So where the lane is named before and after the
 * look at what the hold is used for, and the word has not changed, all of it was so at
 * once (model-look.pml). */
bool lane_writes_unseen(const struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        return (word & LANE_WRITER) && !(word & (LANE_DEAD | LANE_IDLE)) && !thread_any_writes(lane) &&
               atomic_load(&lane->word) == word;
}

/* --- Death --- */

/* By its writer, whom no hold tells of any more. */
static void die(struct lane *lane, uint32_t thread)
{
        atomic_store(&lane->dead_process, os_process());
        atomic_store(&lane->dead_thread, thread);
        atomic_store(&lane->word, atomic_load(&lane->word) | LANE_DEAD);
        os_fence_full();
        lane_left(lane, WRITE);
        lane_wake_written(lane);
}

void lane_hold_abandon(struct hold *hold)
{
        struct lane *lane = hold_lane(hold);
        uint32_t thread = hold_thread(hold);

        hold_drop(hold);
        die(lane, thread);
}

void lane_hold_return(struct hold *hold)
{
        if (atomic_load_explicit(&hold->use, memory_order_relaxed) & HOLD_RECOVERED)
                lane_hold_abandon(hold);
        else
                lane_hold_leave(hold);
}

/* The thread ends with this hold. */
static void abandon(struct hold *hold)
{
        struct lane *lane = hold_lane(hold);

        if ((atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE) {
                atomic_store(&hold->lane, NULL);
                die(lane, hold_thread(hold));
        } else {
                lane_left(lane, READ);
                lane_hold_leave(hold);
        }
}

int lane_start(void (*left)(struct lane *lane, enum access access))
{
        lane_left = left;
        waiter_count_cpus();
        return thread_start(abandon);
}

bool lane_is_held(const struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        if (word & LANE_DEAD)
                return false;
        return (word & (LANE_WRITER | LANE_READERS)) || ((word & LANE_SLOTS) && thread_any_names(lane));
}

void lane_recover(struct lane *lane)
{
        uint64_t word = atomic_load(&lane->word);

        while (word & LANE_DEAD)
                if (atomic_compare_exchange_weak(&lane->word, &word, (word & ~LANE_DEAD) + LANE_WRITER)) {
                        wake_watchers(lane);
                        return;
                }
}

void lane_forked(struct lane *lane, bool frozen)
{
        uint64_t word = atomic_load(&lane->word);
        uint64_t kept = (word & (LANE_SEQUENCE | LANE_SLOTS | LANE_FROZEN)) | (frozen ? LANE_FROZEN : 0);

        if ((word & LANE_WRITER) && (word & LANE_IDLE))
                kept += LANE_WRITER;
        else if (word & LANE_WRITER)
                kept |= LANE_DEAD;
        if (!(word & LANE_DEAD)) {
                atomic_store(&lane->dead_process, 0);
                atomic_store(&lane->dead_thread, 0);
        }
        atomic_store(&lane->word, kept);
        atomic_store(&lane->waiting, 0);
        for (int kind = READ; kind <= WRITE; kind++)
                atomic_store(&lane->asleep[kind], 0);
        if (atomic_load(&lane->bias_after) == OS_NEVER) /* by a writer who is gone */
                atomic_store(&lane->bias_after, 0);
}

void lane_forked_all(void)
{
        for (struct hold *hold = NULL; (hold = thread_hold_any(hold));) {
                struct lane *lane = hold_lane(hold);
                uint64_t word = atomic_load(&lane->word), kind = atomic_load(&hold->use) & HOLD_KIND;

                if (kind == HOLD_WRITE)
                        atomic_store(&lane->word, word & ~LANE_DEAD);
                else if (kind == HOLD_COUNTED)
                        atomic_store(&lane->word, word + LANE_READER);
        }
}
