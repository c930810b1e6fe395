/* shared_lock.h - the lock of a shared map's lanes
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of shared_lock.c explains the whole.
 */
#ifndef SHARED_LOCK_H
#define SHARED_LOCK_H

#include "lock/lock.h"
#include "memory/format.h"
#include "os/hints.h"
#include "os/os.h"

#include <pthread.h>

struct slot;

/* A process's handle on the lock that stands in a header. */
struct shared {
        /* Constant. */
        struct format_head *head;
        struct format_lane *lane; /* lanes of them, and one more for the length */
        struct format_line *line;
        unsigned char *pages;
        int fd; /* of what it stands in, from its first byte on */
        size_t page;
        uint32_t lanes, slots;
        bool writable;          /* else there are no slots, and only what needs none */
        bool ids_count;         /* process and thread IDs in it mean to this process what they say */
        uint64_t device, inode; /* of what it stands in */
        uint64_t name;          /* no other handle of this process has it, or had it */

        /* How many bytes of data the memory has been seen to have, up to the capacity.
         * Memory that nobody can make shorter: so it only grows, by compare-and-swap;
         * but when a map turns out to be frozen it comes down to last, the length of
         * then.  Relaxed: what any thread has seen is there for all of them. */
        _Atomic uint64_t room, last;

        /* What the header cannot take back: one of SHARED_LIVE to SHARED_FROZEN, changed
         * under the mutex of slot.c.  Its release, after last and room, pairs with the
         * acquire in shared_frozen. */
        _Atomic uint32_t frozen;

        /* Which word writers look at: the header's where this one is SHARED_LIVE, and else
         * this one. */
        const _Atomic uint32_t *_Atomic frozen_word;

        /* Guard: the mutex of slot.c. */
        struct slot *mine;           /* what this process's threads have of it */
        struct shared *next, **link; /* on the list of all handles */
};

/* Some lanes that a thread holds.  Written by the thread alone; never freed, so
 * that a slice can be released twice. */
struct shared_hold {
        struct slot *slot;          /* constant */
        struct shared_hold *next;   /* of those that write; constant */
        struct shared_hold *unused; /* the next of these that is free */
        uint32_t run;               /* which lanes, as in format_line */

        /* How many slices and copies share it, in the high half, and of these
         * slices, in the low one; 0: it is free.  A free and a stat read it. */
        _Atomic uint64_t use;
};

/* What stands in frozen. */
enum { SHARED_LIVE, SHARED_FREEZING, SHARED_FROZEN };

#define SHARED_COPY (UINT64_C(1) << 32)
#define SHARED_SLICE (SHARED_COPY | 1)

/* Once. */
void shared_start(void);

/* Begin to use a header that has been checked: all but mine is set. */
void shared_attach(struct shared *shared);

/* Whether a handle of this process writes the map in that file. */
bool shared_is_written(uint64_t device, uint64_t inode);

/* Stop using it; nobody of this process holds anything there. */
void shared_detach(struct shared *shared);

/* In a forked child: its thread has no slots any more. */
void shared_forked(void);

/* The calling thread ends.  True: it still holds something, and has kept it; but
 * not if this is the last time. */
bool shared_thread_exit(bool last);

/* Enter count lanes to read or to write, to where in the map, as SHARED_COPY or as
 * SHARED_SLICE.  0; AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD, _READ_ONLY,
 * _LIMIT, _UNSUPPORTED (only to read what it cannot keep from writers) or the system's
 * code. */
int shared_enter(struct shared *shared, uint32_t first, uint32_t count, enum access access, uint64_t reach,
                 uint64_t use, int64_t deadline, struct shared_hold **hold);
void shared_leave(struct shared_hold *hold, uint64_t use);

/* Leave what is held to write as if the process had died within. */
void shared_abandon(struct shared_hold *hold, uint64_t use);

/* Whether a hold is the calling thread's. */
bool shared_is_mine(const struct shared_hold *hold);

/* Enter one lane to write for as long as a call lasts. */
int shared_write(struct shared *shared, uint32_t lane, struct slot **slot);
void shared_write_leave(struct shared *shared, uint32_t lane, struct slot *slot);

/* Whether somebody has frozen the map, as far as this process has ever seen.  Then
 * nobody writes, and what else the header says of lanes and length does not count. */
bool shared_learn_frozen(struct shared *shared);

static inline bool shared_frozen(struct shared *shared)
{
        return atomic_load_explicit(&shared->frozen, memory_order_acquire) == SHARED_FROZEN ||
               (unlikely(atomic_load(&shared->head->frozen) != 0) && shared_learn_frozen(shared));
}

/* For one who has entered all lanes, and the length, and is to make the pages read
 * only: keep the writers of this handle out, whatever others have made of the lanes.
 * 0; AMMAP_ERR_BUSY, _DEADLOCK: one is in.  It ends with shared_learn_frozen, or with
 * the other one. */
int shared_freeze_begin(struct shared *shared);
void shared_freeze_cancel(struct shared *shared);

/* Read lanes without entering: between begin, true, and valid, true, nobody wrote
 * them.  What is read in between may be torn and must be read by racy.h's means.
 * A sequence only grows, so that the sum of several is that of before only if
 * each is.  begin's acquire pairs with the release of shared_write_leave, valid's
 * fence with that of open_lane (shared_lock.c). */
static inline bool shared_read_begin(const struct shared *shared, uint32_t first, uint32_t count, uint64_t *sequence)
{
        uint64_t sum = 0;

        for (uint32_t lane = first; lane < first + count; lane++) {
                uint64_t one = atomic_load_explicit(&shared->lane[lane].sequence, memory_order_acquire);

                if (one & 1)
                        return false;
                sum += one;
        }
        *sequence = sum;
        return true;
}

static inline bool shared_read_valid(const struct shared *shared, uint32_t first, uint32_t count, uint64_t sequence)
{
        uint64_t sum = 0;

        atomic_thread_fence(memory_order_acquire);
        for (uint32_t lane = first; lane < first + count; lane++)
                sum += atomic_load_explicit(&shared->lane[lane].sequence, memory_order_relaxed);
        return sum == sequence;
}

/* For those who only read so, and cannot: let some time pass, the longer the more
 * looks there were.  AMMAP_ERR_OWNER_DEAD: a writer of one of the lanes died. */
int shared_look_again(struct shared *shared, uint32_t first, uint32_t count, unsigned looks);

/* For a shrink that has entered the lane of the length, by a slot: enter the lanes
 * from first to last to write, but for slices to an offset at most, which stay.
 * AMMAP_ERR_BUSY: one goes further, or is a mut one; AMMAP_ERR_OWNER_DEAD. */
int shared_cut(struct shared *shared, uint32_t first, uint32_t last, uint64_t offset, struct slot *slot);
void shared_cut_leave(struct shared *shared, uint32_t first, uint32_t last);

/* Whether a writer of the lane died; clear that, with mend(context), if not NULL,
 * while nobody is in.  shared_recover: 0, or what entering may return. */
bool shared_is_dead(const struct shared *shared, uint32_t lane);
int shared_recover(struct shared *shared, uint32_t lane, void (*mend)(void *context), void *context);

/* How many slices, or slices and copies, this process has of it. */
uint64_t shared_slices(struct shared *shared);
bool shared_is_held(struct shared *shared);

#endif /* SHARED_LOCK_H */
