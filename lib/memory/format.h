/* format.h - what stands before the data of a shared map
 *
 * SPDX-License-Identifier: MIT
 *
 * ammap-format(5) describes it byte by byte.  In memory that cannot be taken
 * away (a sealed memfd):
 *
 *      0             head
 *      256           lane[0 ... lanes]: a lane record each, and one for the length
 *      slots         record[slots]: what each slot's thread reads
 *      pages         a page per slot, a lock word near its end
 *      data          the bytes, in whole pages; the memory is as long as the map has been,
 *                    a file as its capacity
 *
 * In a file there are no slots, and of each lane record the sequence alone is
 * used: the lock is the kernel's (file_lock.c); unless its maker has accepted that it may
 * be cut (allow_faults).  Then it is as in memory.
 *
 * Whatever stands here any process that has it writable may change at any time.
 * The first part of the head is read once, checked, and never looked at again;
 * what is atomic is clamped wherever it is used.
 */
#ifndef FORMAT_H
#define FORMAT_H

#include "ammap.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMAT_MAGIC "ammap\0\r\n"
enum {
        FORMAT_VERSION = 1,
        FORMAT_ORDER = 0x01020304,
        FORMAT_SLOTS = 256,
        FORMAT_SLOTS_MAX = 4095,   /* the most that an owner has room for */
        FORMAT_SETS = 8,           /* what a thread can have slices of at once ... */
        FORMAT_COPY = FORMAT_SETS, /* ... and the place of what it copies out */
        FORMAT_PLACES = FORMAT_COPY + 1,
};

struct format_head {
        unsigned char magic[8];
        uint32_t version;
        uint32_t order; /* of bytes: FORMAT_ORDER as written */
        uint32_t
                lock_word; /* how many bytes before a slot page's end its lock word begins; where there are no slots 0 */
        uint32_t page;     /* the size of one */
        uint64_t data;     /* where it begins */
        uint64_t capacity; /* how long it can become */
        uint32_t lanes;
        uint32_t slots;
        uint64_t pid_space; /* the PID namespace that lock words count in, 0: its maker did not know */
        unsigned char boot[16];
        unsigned char identity[16]; /* of a map in a file: random, made with it */

        _Alignas(128) _Atomic uint64_t length;
        _Atomic uint64_t generation; /* how often the length has changed */
        _Atomic uint32_t frozen;     /* not 0: for good */
        _Atomic uint32_t slots_used; /* no slot from here on was ever taken */
        unsigned char unused[104];
};

struct format_lane {
        /* Cache line 0: odd while someone writes.  Written by the owner alone. */
        _Alignas(128) _Atomic uint64_t sequence;

        /* Cache line 1: who writes, and who wants to (shared_lock.c). */
        _Alignas(64) _Atomic uint64_t owner;
        _Atomic uint64_t next;
        _Atomic uint32_t rescan; /* a reader has entered past the owner, who waits for it: he looks once more */

        /* While sequence is odd: whose writer died, where the owner's slot tells it no more; or 0.
         * Serves those alone who ask. */
        _Atomic uint32_t dead_process, dead_thread;
};

/* A slot record. */
struct format_slot {
        /* Cache line 0: the slot's thread alone writes it. */
        _Alignas(128) _Atomic uint32_t read_set[FORMAT_PLACES]; /* which lanes it reads */
        _Atomic uint32_t mut_slices;                            /* how many the thread has */
        _Atomic uint64_t generation;                            /* how often the slot has been taken */
        _Atomic uint32_t process, thread;                       /* whose it is */
        _Atomic uint64_t copy_reach;                            /* where in the map the copy's set ends */

        _Alignas(64) _Atomic uint64_t reach[FORMAT_SETS]; /* and each of the others */
};

/* What stands in a slot's lock word: the thread's ID, or a number of a slot that is the process's;
 * the kernel replaces it by DIED when the thread is gone. */
#define FORMAT_WORD_THREAD UINT32_C(0x3fffffff)
#define FORMAT_WORD_DIED UINT32_C(0x40000000)
#define FORMAT_WORD_PROCESS UINT32_C(0x20000000) /* no thread's ID is as great */

/* The bytes of a file that locks are taken of.  Nothing is read or written there for it.  Those
 * of lanes in a row are in a row, which the kernel keeps as one lock: a lane more costs
 * no more for all that are held already. */
enum {
        FILE_OPENING = 0,
        FILE_USE = 1,
        FILE_WATCHED = 2,
        FILE_LANES = sizeof(struct format_head), /* as many as there are lanes, and the length's */
        FILE_QUEUES = FILE_LANES + AMMAP_LANES_MAX + 1
};

_Static_assert(sizeof(struct format_head) == 256 && offsetof(struct format_head, length) == 128, "as documented");
_Static_assert(sizeof(struct format_lane) == 128 && sizeof(struct format_slot) == 128, "as documented");
_Static_assert(offsetof(struct format_lane, dead_process) == 84 && offsetof(struct format_lane, dead_thread) == 88,
               "as documented");
_Static_assert(offsetof(struct format_slot, generation) == 40 && offsetof(struct format_slot, reach) == 64,
               "as documented");

/* Where the parts begin, for checked numbers. */
static inline struct format_lane *format_first_lane(struct format_head *head)
{
        return (void *)(head + 1);
}

static inline uint64_t format_slots(uint32_t lanes)
{
        return sizeof(struct format_head) + ((uint64_t)lanes + 1) * sizeof(struct format_lane);
}

static inline uint64_t format_pages(uint32_t lanes, uint32_t slots, uint32_t page)
{
        uint64_t end = format_slots(lanes) + (uint64_t)slots * sizeof(struct format_slot);

        return (end + page - 1) / page * page;
}

static inline uint64_t format_data(uint32_t lanes, uint32_t slots, uint32_t page)
{
        return format_pages(lanes, slots, page) + (uint64_t)slots * page;
}

/* For a map that is to have huge pages the data begins where one can. */
static inline uint64_t format_data_huge(uint32_t lanes, uint32_t slots, uint32_t page)
{
        uint64_t huge = (uint64_t)page / 8 * page;

        return (format_data(lanes, slots, page) + huge - 1) / huge * huge;
}

/* Whether the data begins where it may, for checked numbers. */
static inline bool format_data_is_right(const struct format_head *head)
{
        return head->data == format_data(head->lanes, head->slots, head->page) ||
               head->data == format_data_huge(head->lanes, head->slots, head->page);
}

#endif /* FORMAT_H */
