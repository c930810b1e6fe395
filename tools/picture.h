/* picture.h - what is known of a map, for those who show it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define UNKNOWN UINT64_MAX

enum map_kind {
        MAP_PRIVATE, /* memory with a name */
        MAP_SHARED,  /* the lock is in the header */
        MAP_FILE,    /* the lock is the kernel's */
        MAP_RAW,     /* no header, and the name that raw maps have */
        MAP_DAMAGED, /* our mark, and what cannot be */
        MAP_OTHER,   /* no header: raw, or nobody's map */
};

enum holding {
        HOLD_READS,
        HOLD_WRITES,
        HOLD_DIED, /* writing */
        HOLD_WAITS
};

struct thread {
        char state; /* as ps(1) has it; 0: not known */
        char name[64];
};

struct holder {
        uint32_t pid, tid; /* 0: not known */
        enum holding hold;
        bool slice;           /* else a copy, or it is not known */
        uint32_t first, last; /* lanes */
        struct thread thread;
};

/* One that is not free. */
struct busy {
        uint32_t lane;
        enum holding hold;
        bool waiters;
        uint64_t sequence;
};

/* Numbers that are UNKNOWN were not told. */
struct picture {
        enum map_kind kind;
        const char *problem; /* in words; NULL */
        char *name, *path;   /* NULL; the picture's own */
        uint64_t address, inode;
        int fd; /* of the process; -1 */
        uint64_t length, capacity, mapped, resident, huge, locked, allocated;
        int seals; /* as fcntl has them; -1: it cannot be sealed */
        bool frozen, old_run, pids_known;
        uint64_t pid_space, generation;
        uint32_t lanes, slots, slots_used, slots_max;
        uint64_t lane_size;
        struct busy *busy;
        size_t busy_count;
        struct holder *holders;
        size_t holder_count, holder_room;
};

/* What somebody asked about. */
struct target {
        uint32_t pid;     /* 0: not a process */
        int fd;           /* -1: all that it has */
        const char *path; /* NULL */
        struct thread thread;
        char why[160]; /* why it, or something of it, cannot be seen; "" */
};

void picture_begin(struct picture *picture);
void picture_end(struct picture *picture);

/* false: there is no memory. */
bool picture_add(struct picture *picture, const struct holder *holder);

/* Lanes in a row that one holds in one way become one holder. */
void picture_merge(struct picture *picture);

const char *picture_kind(enum map_kind kind);
const char *picture_hold(enum holding hold);

/* The name of seal i, and the kernel's bit; NULL: no more. */
const char *picture_seal(unsigned i, int *bit);

/* --- Who shows them --- */

struct show {
        void (*begin)(FILE *out);
        void (*begin_target)(FILE *out, const struct target *target);
        void (*map)(FILE *out, const struct picture *picture);
        void (*end_target)(FILE *out, const struct target *target, uint64_t omitted);
        void (*end)(FILE *out, uint64_t unseen);
};

extern const struct show show_table, show_json;

#endif /* PICTURE_H */
