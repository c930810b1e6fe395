/* thread.h - which thread holds which lane
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread's holds stand in blocks of HOLDS that are its own for as long as it
 * lives; the process has some of its own, for the slices that are no thread's any more.
 * The quick paths know one of a thread's, thread_holds, and move on to another
 * when it is full.  They serve these ends: a thread that asks for what its own slice
 * forbids is told so; a fork, or a thread's end, knows what is left behind;
 * a reader of a biased lane (lock.c) shows itself to writers in its block
 * instead of in the lane; and one who asks is told who holds what (holders.c).
 *
 * All blocks are on one list, which only grows: a block whose thread has ended
 * is claimed by the next that starts.  So the list can be walked without a lock.
 */
#ifndef THREAD_H
#define THREAD_H

#include "os/hints.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lane; /* one of an array: a map's */

enum { HOLDS = 7 };

/* One lane, held by one thread.  Written by the owner alone, lane last when it is
 * taken and first when it is left: who finds a lane finds what belongs to it. */
struct hold {
        /* NULL: free.  Released by the owner; acquired by whoever revokes the
         * bias of a lane, shrinks its map or counts its slices. */
        _Atomic(struct lane *) lane;

        /* What has it: HOLD_SLICE, a slice for its first lane, else HOLD_COPY; and
         * the kind.  Stored with release, for look in thread.c. */
        _Atomic uint64_t use;

        /* Where in the map the farthest of those ends that began at this lane.  A
         * shrink of the map looks at it, behind a heavy fence.  Set back with
         * release, for look in thread.c. */
        _Atomic uint64_t reach;

        /* The owner's alone: the hold of the next lane of the same span.  Of one that is
         * the process's, his who may release it. */
        struct hold *rest;
};

/* All of a slice's fits into what an instruction can hold. */
#define HOLD_COPY (UINT64_C(1) << 32)
#define HOLD_SLICE UINT64_C(1)
#define HOLD_KIND (UINT64_C(3) << 28)
#define HOLD_COUNTED (UINT64_C(0) << 28) /* read, counted in the lane's word */
#define HOLD_BIASED (UINT64_C(1) << 28)  /* read, known by this hold alone */
#define HOLD_WRITE (UINT64_C(2) << 28)
#define HOLD_RECOVERED                                                                                                 \
        (UINT64_C(1) << 27) /* to write, from a writer that was gone: so it is found by who gives it back */

/* A power of two, so that a hold's address gives its block's. */
struct holds {
        _Alignas(256) struct hold hold[HOLDS];

        _Atomic(struct owner *) owner; /* NULL: nobody; taken by exchange, given back with release */
        struct holds *next;            /* constant once the block is on the list */

        /* The owner's alone: his next block; and the next of those that have room
         * though he has moved on from them (itself: the last of them; NULL: it is
         * none of them). */
        struct holds *more, *roomy;
};

/* A thread that has blocks, for as long as it lives; then the next one's. */
struct owner {
        struct holds *first, *last; /* of his blocks, by more */
        struct holds *roomy;
        struct holds *unseen, *seen; /* what of the list he has not looked at for free ones, and its end */
        unsigned pages;              /* he has mapped so many for blocks at once */
        unsigned exits;              /* how often the thread's end has come by */
        _Atomic bool claimed;        /* taken by exchange, given back with release */
        pthread_mutex_t life;        /* the thread has it for as long as it lives: robust */
        _Atomic uint64_t number;     /* which of its threads; changed by that when it begins */
        _Atomic uint32_t thread;     /* its ID; stored when it begins; relaxed, for those who list holds */
        struct owner *next;          /* constant once it is on the list of all */
};

_Static_assert(sizeof(struct holds) == 256, "a block is as long as it is aligned");

/* Never NULL: of a thread that has none it is one that is full, and nobody's. */
extern HIDDEN _Thread_local struct holds *thread_holds;

/* Once, but again where it failed.  left(hold) is called for whatever a thread still
 * holds when it ends. */
int thread_start(void (*left)(struct hold *hold));

/* Once: ends(last) is called, too, when a thread ends that has ever had room; it
 * is called again, later in the thread's end, where it returns true. */
void thread_at_end(bool (*ends)(bool last));

/* A free hold of the calling thread.  0, or the system's code where it has none
 * and gets none. */
int thread_room(struct hold **hold);

/* The calling thread's next hold of a lane from first to before end, after the one
 * given (NULL: its first), or NULL. */
struct hold *thread_hold_next(const struct lane *first, const struct lane *end, const struct hold *after);

/* The same of any lane. */
struct hold *thread_hold_any(const struct hold *after);

/* A block of the calling thread's that is not the current one has room. */
void thread_has_room(struct holds *block);

/* Whether a block is the calling thread's. */
bool thread_owns(struct holds *block);

/* What detaches a slice does so between these two: its holds stand twice in between, and
 * nobody counts them.  No lane is waited for there. */
void thread_begin_detach(void);
void thread_end_detach(void);

/* A hold of the process's that says what one of the calling thread's does, but for its
 * kind.  The thread keeps its own until it drops it.  0, or the system's code.  And back. */
int thread_detach(const struct hold *hold, uint64_t kind, struct hold **detached);
void thread_reattach(struct hold *detached);

/* Whether a hold is the process's. */
bool thread_is_detached(const struct hold *hold);

/* Whether any thread has a hold that names the lane.  Acquire: what those who
 * had one have read before they let go they have read. */
bool thread_any_names(const struct lane *lane);

/* Of count words, one for each of as many lanes of so many bytes: set to 0 those whose
 * lane any thread has such a hold of. */
void thread_strike_named(const struct lane *first, size_t count, size_t size, uint64_t *words);

/* Whether any thread has a hold to write it. */
bool thread_any_writes(const struct lane *lane);

/* Call found(lane, use, thread, context) for each hold that any thread has of the lanes
 * from first to before end; thread: its ID. */
typedef void thread_found(struct lane *lane, uint64_t use, uint32_t thread, void *context);
void thread_each(const struct lane *first, const struct lane *end, thread_found *found, void *context);

/* The ID of the thread that has a hold. */
uint32_t hold_thread(const struct hold *hold);

/* Of all threads' holds of the lanes from first to before end: how many slices,
 * and whether there is a slice, or only a copy, that reaches beyond an offset. */
enum reach { REACH_NONE, REACH_COPY, REACH_SLICE };
enum reach thread_reach(const struct lane *first, const struct lane *end, uint64_t offset);
uint64_t thread_slices(const struct lane *first, const struct lane *end);

/* What a thread took after the library had seen its end, in the last round of its
 * destructors, is left as at a thread's end.  Whether there was such a hold of the lanes
 * from first to before end. */
bool thread_bury(const struct lane *first, const struct lane *end);

/* The calling thread's, which has had room; and whether it has ended since. */
struct thread_life {
        struct owner *owner;
        uint64_t number;
};
struct thread_life thread_life(void);
bool thread_is_gone(struct thread_life life);
uint32_t thread_id(struct thread_life life); /* 0: it has ended, and what it had here is another's */

/* In a forked child: forget all threads but the calling one. */
void thread_forked(void);

static inline struct holds *hold_block(const struct hold *hold)
{
        return (struct holds *)((uintptr_t)hold & ~(uintptr_t)(sizeof(struct holds) - 1));
}

static inline struct lane *hold_lane(const struct hold *hold)
{
        return atomic_load_explicit(&hold->lane, memory_order_relaxed);
}

/* A free hold of a block; false: there is none.  Branches and not a mask: they are foretold,
 * where a mask that the last release wrote would be waited for. */
static ALWAYS_INLINE bool holds_free(struct holds *block, struct hold **free)
{
        struct hold *hold = block->hold;

        ASSUME(block); /* LCOV_EXCL_BR_LINE: said to the compiler, and never asked */
        for (; unlikely(hold_lane(hold)); hold++)
                if (hold == &hold_block(hold)->hold[HOLDS - 1])
                        return false;
        *free = hold;
        return true;
}

/* Let a hold of the calling thread be free. */
static inline void hold_drop(struct hold *hold)
{
        atomic_store_explicit(&hold->lane, NULL, memory_order_release);
        if (unlikely(hold_block(hold) != thread_holds))
                thread_has_room(hold_block(hold));
}

static inline void hold_note(struct hold *hold, struct lane *lane, uint64_t use, uint64_t reach)
{
        atomic_store_explicit(&hold->use, use, memory_order_release);
        atomic_store_explicit(&hold->reach, reach, memory_order_release);
        atomic_store_explicit(&hold->lane, lane, memory_order_release);
}

#endif /* THREAD_H */
