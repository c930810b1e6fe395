/* slot.h - a thread's place in the header of a shared map, and a process's handle on it
 *
 * SPDX-License-Identifier: MIT
 *
 * Whoever locks a lane of a shared map does so by a slot, and a slot tells whether its
 * thread lives.  A thread takes one at its first use of a map and keeps it until it ends,
 * or the map is freed, or it has so many that it gives up one that it holds nothing by.
 *
 * What other threads are to know of a slot is its record, in the header (format.h).  What
 * its own has to know of it is a struct slot, out of other processes' reach.  All that a
 * process keeps of one header, its threads' slots too, hangs on a handle.
 */
#ifndef SLOT_H
#define SLOT_H

#include "lock/thread.h"
#include "memory/format.h"
#include "os/hints.h"
#include "os/os.h"

struct slot;

/* Of the threads of a process that wait for one lane, one sleeps on its owner and looks after
 * it for all (shared_wait.c). */
enum { LOOKOUTS = 8 };
struct lookout {
        _Atomic uint32_t lane;  /* which lane somebody looks after, + 1; 0: nobody looks */
        _Atomic uint32_t event; /* what the others sleep on; it grows when they are to look */
};

/* For whom a free lane was found kept, and since when, from one call to the next: calls that try, or
 * wait for a moment, would keep it for one who is stopped for ever (shared_owner.c).  All of it is relaxed,
 * and pairs with nothing: of several who store at once, parts of each may stand there, and then a turn ends
 * sooner or later than it would have. */
struct turn {
        _Atomic uint32_t lane; /* + 1; 0: none */
        _Atomic uint64_t next, sequence;
        _Atomic int64_t since; /* os_now */
};

/* A process's handle on the lock that stands in a header. */
struct shared {
        /* Constant. */
        struct format_head *head;
        struct format_lane *lane; /* lanes of them, and one more for the length */
        struct format_slot *record;
        unsigned char *pages;
        int fd; /* of what it stands in, from its first byte on */
        size_t page;
        uint32_t lanes, slots;
        bool writable;          /* else there are no slots, and only what needs none */
        bool ids_count;         /* process and thread IDs in it mean to this process what they say */
        bool in_file;           /* its pages take room on a disk */
        bool old_run;           /* not writable, and left by another run of the machine: see shared_run.c */
        uint64_t device, inode; /* of what it stands in */
        uint64_t name;          /* no other handle of this process has it, or had it */
        uint32_t recent;        /* where in struct my_slots its slot is looked for */

        /* How many bytes of data the memory has been seen to have, up to the capacity.
         * Memory that nobody can make shorter: so it only grows, by compare-and-swap;
         * but when a map turns out to be frozen it comes down to last, the length of
         * then.  Relaxed: what any thread has seen is there for all of them. */
        _Atomic uint64_t room, last;

        /* What the header cannot take back: one of SHARED_LIVE to SHARED_FROZEN, changed
         * under the mutex of slot.c.  Its release, after last and room, pairs with the
         * acquire in shared_frozen. */
        _Atomic uint32_t frozen;

        /* This process's threads that wait for a lane by this handle. */
        _Atomic uint32_t sleepers;

        /* Those for lane i, and others, have lookout[(i + 1) % LOOKOUTS]. */
        struct lookout lookout[LOOKOUTS];

        /* That of lane i, or of another one, is turn[i % LOOKOUTS]. */
        struct turn turn[LOOKOUTS];

        /* Guard: the mutex of slot.c. */
        struct slot *mine;           /* what this process's threads have of it, and it has itself */
        struct shared *next, **link; /* on the list of all handles */

        struct slot *detached; /* the process's own slots; guard: the mutex of shared_detach.c */
};

/* Some lanes that a thread holds.  Written by the thread alone; never freed, so
 * that a slice can be released twice. */
struct shared_hold {
        struct slot *slot;          /* constant */
        struct shared_hold *next;   /* of those that write; constant */
        struct shared_hold *unused; /* the next of these that is free */
        uint32_t set;               /* which lanes, as in format_slot */
        uint64_t reach;             /* of one that writes: where in the map that ends */

        /* How many copies share it, in the high half, and how many slices, in the low
         * one (HOLD_COPY, HOLD_SLICE); 0: it is free.  A free and a
         * stat read it. */
        _Atomic uint64_t refs;
};

/* What stands in frozen. */
enum { SHARED_LIVE, SHARED_FREEZING, SHARED_FROZEN };

/* What stands in a lane's owner, and in its next. */
#define OWNER_WAITERS UINT64_C(1)  /* someone sleeps on the low half */
#define OWNER_RESERVED UINT64_C(2) /* free, but for next to take */
#define OWNER_ID (~UINT64_C(3))    /* a slot's: its index + 1, 12 bits, and its generation, 50; 0: free */
#define OWNER_INDEX_BITS 12
#define OWNER_GENERATIONS ((UINT64_C(1) << 50) - 1)

/* What stands in a record's read_set. */
#define SET_HELD (UINT32_C(1) << 31)
#define SET_SLICE (UINT32_C(1) << 30) /* for a slice that has entered; else a copy, or yet on its way */
#define SET_LANES ((UINT32_C(1) << 12) - 1)

struct slot {
        /* Constant while it is one. */
        struct format_slot *record;
        uint64_t shared_name; /* whose slot it is: struct shared's name; 0: its map is gone */
        uint64_t owner_id;    /* as in OWNER_ID */
        uint32_t index;
        struct thread_life life; /* its thread's: no peer can say that it has ended; the process's: no owner */
        uint64_t device, inode;
        struct os_slot place;
        void *process_life; /* instead of place; NULL: it has no place in the header */
        uint32_t word;      /* with that */

        /* Its thread may be writing, and has not noted a hold for that; its own, but for
         * the freezer that waits for it.  Between this and the look at shared->frozen
         * there is an owner's compare-and-swap, and os_fence_light_after; between frozen
         * and the look at this, os_fence_heavy. */
        _Atomic bool writing;

        const void *_Atomic thread; /* whose it is: an address of its own; NULL: nobody's; relaxed; the
                                     * slot's own: the process's */
        struct slot *next;          /* of the same thread, of the process, or nobody's */
        struct slot *made_before;   /* constant */

        /* Guard: the mutex of slot.c. */
        struct shared *shared; /* NULL: freed */
        struct slot *sibling, **link;

        struct shared_hold read[FORMAT_PLACES]; /* read[i] is the record's read_set[i] */
        struct shared_hold *_Atomic write;      /* a list that only grows */
        struct shared_hold *unused;             /* those of it that are free; the thread's */
        struct format_slot own;                 /* record, for one that has no place in the header */
};

/* The calling thread's slots, and those that it used last. */
enum { RECENT = 8 };
struct my_slots {
        struct slot *recent[RECENT]; /* never NULL: else one that is of no map */
        struct slot *all;
        unsigned places; /* how many of them have one in a header */
};
extern HIDDEN _Thread_local struct my_slots my_slots;

static inline bool slot_is_mine(const struct slot *slot)
{
        return atomic_load_explicit(&slot->thread, memory_order_relaxed) == &my_slots;
}

static inline struct slot *slot_recent(const struct shared *shared)
{
        struct slot *slot = my_slots.recent[shared->recent];

        return likely(slot->shared_name == shared->name) ? slot : NULL;
}

/* The calling thread's slot of a map, taken if it has none: 0, AMMAP_ERR_LIMIT
 * (there are no more, or it holds something by all that it can have) or the
 * system's code. */
int slot_take(struct shared *shared, struct slot **slot);

/* The process's, as far as it has no thread's: a new one, or one less.  Of the process's own,
 * and under its guard; in_header: others are to see it.  0, or as slot_take. */
int slot_take_for_process(struct shared *shared, bool in_header, struct slot **slot);
void slot_give_up_for_process(struct shared *shared, struct slot *slot);

static inline bool slot_is_process(const struct slot *slot)
{
        return atomic_load_explicit(&slot->thread, memory_order_relaxed) == slot;
}

/* Whether anything is held by it. */
bool slot_holds_any(const struct slot *slot);

/* In between the slots and handles of this process are as they are: where what one holds goes to
 * another slot those who count see both or neither; and a forked child finds all. */
void slots_lock(void);
void slots_unlock(void);

/* The quick way to what slot_take finds. */
static inline int slot_mine(struct shared *shared, struct slot **slot)
{
        *slot = slot_recent(shared);
        if (likely(*slot && !os_forked_quick()))
                return 0;
        return slot_take(shared, slot);
}

/* The calling thread's slot that has a place, or an owner id, in the same memory,
 * through whichever handle; or NULL. */
struct slot *slot_mine_at(const struct shared *shared, uint32_t index);
struct slot *slot_mine_by_id(const struct shared *shared, uint64_t owner_id);

/* Whether the thread, or process, lives that has a slot, or had it when it was given that
 * owner id.  thorough: ask the kernel whether there is such a thread; and tell all others, if
 * there is not. */
bool slot_lives(const struct shared *shared, uint32_t index, bool thorough);
bool slot_lives_by_id(const struct shared *shared, uint64_t owner_id, bool thorough);

/* Whether a header is of a run of the machine that is over: the numbers in it are nobody's. */
bool slot_run_is_over(const struct format_head *head);

/* Whose a slot is by its record, thread 0: the process's; and whose an owner id is, or was,
 * as far as its slot still tells; else false. */
struct slot_owner {
        uint32_t process, thread;
};
struct slot_owner slot_owner_of(const struct format_slot *record);
bool slot_tells(const struct shared *shared, uint64_t owner_id, struct slot_owner *owner);

/* The slot is about to tell it no more: note in the lanes from first to before end, where it
 * died, or is left as if it had. */
void slot_note_dead(const struct shared *shared, uint32_t index, uint32_t first, uint32_t end);

/* The slot that an owner id is of; beyond all slots: of none. */
static inline uint32_t slot_index(uint64_t owner_id)
{
        return (uint32_t)(owner_id >> 2 & ((1U << OWNER_INDEX_BITS) - 1)) - 1;
}

/* How many bytes are mapped at head. */
static inline size_t shared_head_size(const struct shared *shared)
{
        return (size_t)format_data(shared->lanes, shared->slots, (uint32_t)shared->page);
}

static inline unsigned char *slot_page(const struct shared *shared, uint32_t index)
{
        return shared->pages + index * shared->page;
}

static inline _Atomic uint32_t *slot_word(const struct shared *shared, uint32_t index)
{
        return (_Atomic uint32_t *)(void *)(slot_page(shared, index + 1) - os_slot_word());
}

/* How many bytes of the map the memory has been seen to have. */
static inline uint64_t shared_room(const struct shared *shared)
{
        return atomic_load_explicit(&shared->room, memory_order_relaxed);
}

/* How many slots there may be anything in; head: the map's, found before. */
static inline uint32_t slots_used_in(const struct shared *shared, const struct format_head *head)
{
        uint32_t used = atomic_load(&head->slots_used);

        return unlikely(used > shared->slots) ? shared->slots : used;
}

static inline uint32_t slots_used(const struct shared *shared)
{
        return slots_used_in(shared, shared->head);
}

/* How many threads have one. */
uint32_t slots_taken(const struct shared *shared);

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
        struct slot *slot = hold->slot;

        hold->unused = slot->unused;
        slot->unused = hold;
}

/* Where in the map what place i reads ends. */
static inline _Atomic uint64_t *slot_reach(struct format_slot *record, unsigned i)
{
        return i == FORMAT_COPY ? &record->copy_reach : &record->reach[i];
}

/* --- Handles --- */

/* Begin to use a header that has been checked: all but mine is set. */
void handle_attach(struct shared *shared);

/* Stop using it; nobody of this process holds anything there. */
void handle_detach(struct shared *shared);

/* Whether a handle of this process may write the map in that file. */
bool handle_any_writes(uint64_t device, uint64_t inode);

/* The map is frozen: note that, and its length, in every handle that this process has of
 * it, for good.  True. */
bool handle_learn_frozen(struct shared *shared);

/* Whether somebody has frozen the map, as far as this process has ever seen.  Then
 * nobody writes, and what else the header says of lanes and length does not count. */
static inline bool shared_frozen(struct shared *shared)
{
        return atomic_load_explicit(&shared->frozen, memory_order_acquire) == SHARED_FROZEN ||
               (unlikely(atomic_load(&shared->head->frozen) != 0) && handle_learn_frozen(shared));
}

/* What who owns a lane to write looks at: whether it is, or is about to be, frozen. */
static inline bool shared_bars_writers(const struct shared *shared, const struct format_head *head)
{
        return (atomic_load(&shared->frozen) | atomic_load(&head->frozen)) != 0;
}

/* For one who has entered all lanes, and the length, and is to make the pages read
 * only: keep the writers of this handle out, whatever others have made of the lanes.
 * 0; AMMAP_ERR_BUSY, _DEADLOCK: one is in.  It ends with handle_learn_frozen, or with
 * the other one. */
int handle_freeze_begin(struct shared *shared);
void handle_freeze_cancel(struct shared *shared);

/* Call found(read_set, thread, context) for each set that a thread of this process reads by a
 * handle that has no slots, of the same map; thread: its ID. */
typedef void handle_found(uint32_t read_set, uint32_t thread, void *context);
void handle_each_unseen(const struct shared *shared, handle_found *found, void *context);

/* How many slices this process has by it; whether slices or copies. */
uint64_t handle_slices(struct shared *shared);
bool handle_is_held(struct shared *shared);

/* --- Threads and processes that come and go --- */

/* In a forked child: its thread has no slots any more. */
void slot_forked(void);

/* The calling thread ends.  True: it still holds something, and has kept it; but
 * not if this is the last time. */
bool slot_thread_exit(bool last);

#endif /* SLOT_H */
