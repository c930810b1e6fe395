/* file_head.h - a map's file, and the header that stands in it
 *
 * SPDX-License-Identifier: MIT
 *
 * Whoever may write the file may change the header at any time, and cut the file short.
 * So the header is touched by calls that survive that.  All return 0, AMMAP_ERR_FAULT
 * (the file has the bytes no more) or the system's code.
 */
#ifndef FILE_HEAD_H
#define FILE_HEAD_H

#include "ammap.h"
#include "lock/lock.h"
#include "memory/format.h"
#include "os/os.h"

#include <pthread.h>

/* What this process has of a lane.  Guard: the file's mutex; sequence: whoever
 * writes. */
struct file_lane {
        uint32_t readers;  /* who share its lock to read */
        uint32_t queued;   /* who share its place in the queue, to read */
        bool writing;      /* one has it to write, or is about to mark it so */
        bool dead;         /* ... and found that its writer had died */
        bool marked;       /* the sequence may be odd now, for the writer */
        uint64_t sequence; /* as the writer found it */
};

struct file {
        /* Constant, but fd: until it is on the list of all, and in a forked child. */
        int fd; /* what locks are taken by: opened for this map alone, and never given away; -1: there is none */
        bool write;
        uint64_t device, inode;
        unsigned char identity[sizeof(((struct format_head *)0)->identity)]; /* the map's; another one is not ours */
        unsigned char *head;                                                 /* the header as mapped */
        size_t head_size;

        /* The map's: constant; but length and frozen point to what it goes by, changed
         * under the mutex to what stands in the file, and frozen only to true. */
        struct lane *local;
        uint64_t lanes, capacity;
        _Atomic uint64_t *length;
        _Atomic bool *frozen;

        struct file *next;      /* on the list of all; guard: its mutex */
        _Atomic uint32_t twins; /* other maps of this process in the same file; changed under that mutex */

        /* A leaf.  Held for each lock of a byte and what is noted of it, never while
         * waiting for one. */
        pthread_mutex_t mutex;
        bool resizing;     /* the length's byte is locked; guard: mutex */
        uint32_t watchers; /* threads that sleep on a sequence, or are about to; guard: mutex */
        struct file_lane lane[];
};

/* Of one who comes to have lanes, instead of 0: it is frozen, so that nothing has been locked, nor need be to read; or it is
 * locked, and a writer of one of the lanes had died; or somebody is in the way of several, of which none is locked: he is to
 * come again for fewer. */
enum { FILE_FROZEN = 1, FILE_RECOVERED, FILE_AGAIN };

/* Bytes of it. */
int file_peek(const struct file *file, uint64_t offset, void *bytes, size_t size);
int file_poke(const struct file *file, uint64_t offset, const void *bytes, size_t size);

/* Whether to try once more what the system has refused, after a nap, for so many tries: memory, or a descriptor, that
 * it has not just now.  What is cut off stays so. */
bool file_may_pass(int rc, unsigned tries);

/* Whether the file still has the map that the handle was opened with; not where it
 * was cut and another map was made in it.  What cannot be read for another reason, for all
 * tries, tells nothing against it. */
bool file_is_same(const struct file *file);

/* The sequence of a lane, or, after the last one, of the length. */
int file_read_sequence(const struct file *file, uint64_t record, uint64_t *sequence);
int file_write_sequence(const struct file *file, uint64_t record, uint64_t sequence);

/* Those of lanes in a row: what stands in the file into lane[].sequence; and what stands there, and so
 * much more, into the file, for who has locked them.  keep_dead: of those whose writer died what
 * he left.  Those who sleep on them sleep on. */
int file_read_sequences(struct file *file, struct lane_range lanes);
int file_write_sequences(const struct file *file, struct lane_range lanes, uint64_t step, bool keep_dead);
void file_wake_sequence(const struct file *file, uint64_t record);

/* Make the even sequence of a lane odd, write bytes, and make it the next even one.  0, or the
 * system's code: it has got as far as it has. */
int file_write_between(const struct file *file, uint64_t record, const struct os_piece *bytes, uint64_t even);

/* Sleep while a lane's sequence is that, until one wakes all who do: by any even one that is
 * written. */
void file_wait_sequence(const struct file *file, uint64_t record, uint64_t sequence, int64_t until);

/* Take over what other processes have made of the length, and of frozen.  Also
 * AMMAP_ERR_UNSUPPORTED (a fork left no file) and AMMAP_ERR_FORMAT (another map is there). */
int file_refresh(struct file *file);

/* The same, for who has the mutex; and the sequence of a lane with it, for who has that locked. */
int file_look(struct file *file);
int file_look_at(struct file *file, uint64_t record, uint64_t *sequence);

/* Copy bytes of the map, all in one lane, as they were at one moment at which nobody wrote it;
 * false: it takes one who locks, and to is untouched. */
enum { FILE_UNLOCKED_MAX = 1024 };
bool file_read_unlocked(struct file *file, uint64_t record, const void *from, void *to, size_t length);

/* Whether it says that it is frozen. */
bool file_frozen(struct file *file);

/* Change them, here and there; for who keeps others out. */
int file_set_length(struct file *file, uint64_t length);
int file_set_frozen(struct file *file);

#endif /* FILE_HEAD_H */
