/* slot.h - a thread's place in the header of a shared map
 *
 * SPDX-License-Identifier: MIT
 *
 * Whoever locks a lane of a shared map does so in the name of a slot, and a slot
 * tells whether its thread lives.  A thread takes one at its first use of a map
 * and keeps it until it ends, or the map is freed, or it has so many that it gives
 * up one that it holds nothing by.
 *
 * The thread has a record of it here, out of other processes' reach.
 */
#ifndef SLOT_H
#define SLOT_H

#include "lock/shared_lock.h"
#include "os/hints.h"

/* What stands in a lane's owner, and in its next. */
#define OWNER_WAITERS UINT64_C(1)  /* someone sleeps on the low half */
#define OWNER_RESERVED UINT64_C(2) /* free, but for next to take */
#define OWNER_NAME (~UINT64_C(3))  /* a slot's name: its index + 1, 12 bits, and its generation, 50; 0: free */
#define OWNER_INDEX_BITS 12
#define OWNER_GENERATIONS ((UINT64_C(1) << 50) - 1)

/* What stands in a line's run. */
#define RUN_HELD (UINT32_C(1) << 31)
#define RUN_SLICE (UINT32_C(1) << 30) /* for a slice that has entered; else a copy, or yet on its way */
#define RUN_LANES ((UINT32_C(1) << 12) - 1)

struct slot {
        /* Constant while it is one. */
        struct format_line *line;
        uint64_t shared_name; /* whose slot it is: struct shared's name; 0: its map is gone */
        uint64_t name;        /* as in OWNER_NAME */
        uint32_t index;
        struct thread_life life; /* its thread's: no peer can say that it has ended */
        uint64_t device, inode;
        struct os_slot place;

        /* Its thread may be writing, and has not noted a hold for that; its own, but for
         * the freezer that waits for it.  Between this and the look at shared->frozen
         * there is an owner's compare-and-swap, and os_fence_light_after; between frozen
         * and the look at this, os_fence_heavy. */
        _Atomic bool writing;

        const void *_Atomic thread; /* whose it is: an address of its own; NULL: nobody's; relaxed */
        struct slot *next;          /* of the same thread, or nobody's */
        struct slot *made_before;   /* constant */

        /* Guard: the mutex of slot.c. */
        struct shared *shared; /* NULL: freed */
        struct slot *sibling, **link;

        struct shared_hold read[FORMAT_PLACES]; /* read[i] is the line's run[i] */
        struct shared_hold *_Atomic write;      /* a list that only grows */
        struct shared_hold *unused;             /* those of it that are free; the thread's */
        struct format_line own;                 /* line, for one that has no place in the header */
};

/* The calling thread's slots, and those that it used last. */
enum { RECENT = 8 };
struct my_slots {
        struct slot *recent[RECENT];
        struct slot *all;
        unsigned places; /* how many of them have one in a header */
};
extern _Thread_local struct my_slots my_slots;

static inline bool slot_is_mine(const struct slot *slot)
{
        return atomic_load_explicit(&slot->thread, memory_order_relaxed) == &my_slots;
}

static inline struct slot *slot_recent(const struct shared *shared)
{
        struct slot *slot = my_slots.recent[shared->name % RECENT];

        return slot && slot->shared_name == shared->name ? slot : NULL;
}

/* The calling thread's slot of a map, taken if it has none: 0, AMMAP_ERR_LIMIT
 * (there are no more, or it holds something by all that it can have) or the
 * system's code. */
int slot_take(struct shared *shared, struct slot **slot);

/* The calling thread's slot that has a place, or a name, in the same memory,
 * through whichever handle; or NULL. */
struct slot *slot_mine_at(const struct shared *shared, uint32_t index);
struct slot *slot_mine_named(const struct shared *shared, uint64_t name);

/* Whether the thread lives that has a slot, or had it when it was given that
 * name.  thorough: ask the kernel whether there is such a thread; and tell all
 * others, if there is not. */
bool slot_lives(const struct shared *shared, uint32_t index, bool thorough);
bool slot_lives_named(const struct shared *shared, uint64_t name, bool thorough);

/* The slot that a name is of; beyond all slots: of none. */
static inline uint32_t slot_index(uint64_t name)
{
        return (uint32_t)(name >> 2 & ((1U << OWNER_INDEX_BITS) - 1)) - 1;
}

/* How many slots there may be anything in. */
static inline uint32_t slots_used(const struct shared *shared)
{
        uint32_t used = atomic_load(&shared->head->slots_used);

        return used < shared->slots ? used : shared->slots;
}

/* A free hold of a slot's, to write, and not free any more; NULL: no memory.  And
 * free again. */
struct shared_hold *slot_more_holds(struct slot *slot);

static inline struct shared_hold *slot_write_hold(struct slot *slot)
{
        struct shared_hold *hold = slot->unused;

        if (unlikely(!hold))
                return slot_more_holds(slot);
        slot->unused = hold->unused;
        return hold;
}

static inline void slot_write_unhold(struct shared_hold *hold)
{
        hold->unused = hold->slot->unused;
        hold->slot->unused = hold;
}

/* Where in the map what place i reads ends. */
static inline _Atomic uint64_t *slot_reach(struct format_line *line, unsigned i)
{
        return i == FORMAT_COPY ? &line->copy_reach : &line->reach[i];
}

/* Take a run out of a line, and wake whoever owns one of its lanes, and waits. */
void shared_unname(const struct shared *shared, struct slot *slot, unsigned i, uint32_t run);

/* What shared_enter and shared_leave do for a slice of a map of one lane, where
 * that takes no call: name the lane; look whether that is enough; or take the name
 * back, by shared_slice_unname.  NULL, or false: it takes one. */
static inline struct slot *shared_slice_name(const struct shared *shared, uint64_t reach)
{
        struct slot *slot = slot_recent(shared);

        if (!slot || atomic_load_explicit(&slot->read[0].use, memory_order_relaxed) || os_forked_quick())
                return NULL;
        if (atomic_load_explicit(&slot->line->reach[0], memory_order_relaxed) != reach)
                atomic_store_explicit(&slot->line->reach[0], reach, memory_order_release);
        atomic_exchange(&slot->line->run[0], RUN_HELD);
        return slot;
}

static inline bool shared_slice_is_in(const struct format_lane *lane)
{
        return !(atomic_load(&lane->owner) & OWNER_NAME) && !(atomic_load(&lane->sequence) & 1);
}

static inline void shared_slice_begin(struct slot *slot)
{
        atomic_store_explicit(&slot->line->run[0], RUN_HELD | RUN_SLICE, memory_order_relaxed);
        if (slot->read[0].run != RUN_HELD)
                slot->read[0].run = RUN_HELD;
        atomic_store_explicit(&slot->read[0].use, SHARED_SLICE, memory_order_relaxed);
}

static inline void shared_slice_unname(struct slot *slot)
{
        shared_unname(slot->shared, slot, 0, RUN_HELD);
}

static inline bool shared_slice_end(struct shared_hold *hold)
{
        struct slot *slot = hold->slot;

        if (hold != slot->read || hold->run != RUN_HELD || !slot_is_mine(slot) ||
            atomic_load_explicit(&hold->use, memory_order_relaxed) != SHARED_SLICE || os_forked_quick())
                return false;
        atomic_store_explicit(&hold->use, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->line->run[0], 0, memory_order_release);
        return true;
}

static inline bool shared_slice_was_awaited(const struct slot *slot)
{
        return unlikely((atomic_load_explicit(&slot->shared->lane[0].owner, memory_order_relaxed) & OWNER_WAITERS) !=
                        0);
}

#endif /* SLOT_H */
