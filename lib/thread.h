/* thread.h - which thread holds which lane
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread's holds stand in blocks of HOLDS that are its own for as long as it
 * lives.  They serve three ends: a thread that asks for what its own slice
 * forbids is told so; a fork, or a thread's end, knows what is left behind; and
 * a reader of a biased lane (lib/lock.c) shows itself to writers in its block
 * instead of in the lane.
 *
 * All blocks are on one list, which only grows: a block whose thread has ended
 * is claimed by the next that starts.  So the list can be walked without a lock.
 */
#ifndef THREAD_H
#define THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lane;

enum { HOLDS = 8, HOLDS_FULL = (1 << HOLDS) - 1 };

enum hold_kind {
        HOLD_COUNTED, /* read, counted in the lane's word */
        HOLD_BIASED,  /* read, named in the block's biased[] */
        HOLD_WRITE,
};

/* One lane, held by one thread.  Owned by the thread; the child of a fork reads
 * those of its only thread. */
struct hold {
        struct lane *lane;
        uint32_t count;  /* who shares the hold: slices and copies under way */
        uint32_t slices; /* slices among them whose first lane this is */
        enum hold_kind kind;
};

struct holds {
        /* Line 0.  Written by the owner, release; read by whoever revokes the
         * bias of a lane, acquire.  The lane that hold[i] holds biased. */
        _Alignas(64) _Atomic(struct lane *) biased[HOLDS];

        /* From here on the owner's alone, but for the last two. */
        _Alignas(64) struct hold hold[HOLDS];
        uint32_t busy;      /* a bit for each hold in use */
        unsigned exits;     /* how often the thread's end has come by */
        struct holds *more; /* the next block of the same thread */

        struct holds *next;   /* constant once the block is on the list */
        _Atomic bool claimed; /* taken by exchange, given back with release */
};

extern _Thread_local struct holds *thread_holds;

/* Once.  left(hold) is called for whatever a thread still holds when it ends. */
int thread_start(void (*left)(struct holds *block, unsigned i));

/* A block of the calling thread that is not full.  0, or the system's code where
 * it has none and gets none. */
int thread_room(struct holds **block);

/* The calling thread's next hold of a lane after *block and *i (NULL: its
 * first).  False where there is no more; *block is NULL then. */
bool thread_hold_next(const struct lane *lane, struct holds **block, unsigned *i);

/* Whether a block is the calling thread's. */
bool thread_owns(const struct holds *block);

/* Whether any thread holds a lane biased.  Acquire: what those who did have
 * read before they let go they have read. */
bool thread_any_biased(const struct lane *lane);

/* In a forked child: forget all threads but the calling one. */
void thread_forked(void);

/* The index of a free hold in a block that is not full. */
static inline unsigned holds_free(const struct holds *block)
{
        return (unsigned)__builtin_ctz(~block->busy);
}

/* Note a lane in it; that index again. */
static inline unsigned holds_note(struct holds *block, struct lane *lane, enum hold_kind kind)
{
        unsigned i = holds_free(block);

        block->hold[i] = (struct hold){ .lane = lane, .count = 1, .kind = kind };
        block->busy |= 1U << i;
        return i;
}

#endif /* THREAD_H */
