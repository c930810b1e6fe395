/* file.h - a map's hold on the file that it lies in
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of file_lock.c explains the lock.
 */
#ifndef FILE_H
#define FILE_H

#include "map/map.h"
#include "memory/format.h"

/* What this process has of a lane.  Guard: the file's mutex; sequence: whoever
 * writes. */
struct file_lane {
        uint32_t readers;  /* who share its lock to read */
        uint32_t queued;   /* who share its place in the queue, to read */
        bool writing;      /* one has it to write, or is about to mark it so */
        uint64_t sequence; /* as the writer found it */
};

struct file {
        /* Constant, but fd in a forked child. */
        int fd; /* what locks are taken by: opened for this map alone, and never given away; -1: there is none */
        bool write;
        uint64_t device, inode;
        unsigned char identity[sizeof(((struct format_head *)0)->identity)]; /* the map's; another one is not ours */
        unsigned char *head; /* the header as mapped; os_peek and os_poke only */
        size_t head_size;
        struct ammap *map;

        struct file *next;      /* on the list of all; guard: its mutex */
        _Atomic bool frozen;    /* seen in the file; for good */
        _Atomic uint32_t twins; /* other maps of this process in the same file; changed under that mutex */

        /* A leaf.  Held for each lock of a byte and what is noted of it, never while
         * waiting for one. */
        pthread_mutex_t mutex;
        bool resizing;       /* the length's byte is locked; guard: mutex */
        uint64_t generation; /* as last seen; guard: mutex */
        struct file_lane lane[];
};

/* The bytes that locks are taken of.  Nothing is read or written there for it.  Those
 * of lanes in a row are in a row, which the kernel keeps as one lock: a lane more costs
 * no more for all that are held already. */
enum {
        FILE_OPENING = 0,
        FILE_LANES = sizeof(struct format_head), /* as many as there are lanes, and the length's */
        FILE_QUEUES = FILE_LANES + AMMAP_LANES_MAX + 1
};

static inline uint64_t file_record(uint64_t lane)
{
        return sizeof(struct format_head) + lane * sizeof(struct format_lane);
}

extern const struct kind kind_file;

/* --- file_lock.c --- */

/* Put it on the list, when all of it is set. */
void file_link(struct file *file);

/* Some time to pass before another try to lock a byte.  0; AMMAP_ERR_BUSY (there
 * is to be no other) or _TIMEOUT. */
int file_nap(int64_t deadline, unsigned tries);

/* Whether the file still has the map that the handle was opened with; not where it
 * was cut and another map was made in it. */
bool file_is_same(const struct file *file);

/* Lock the length against other processes, and the other threads of this one,
 * and say whether who had it last died.  0; AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_BUSY
 * after some seconds, AMMAP_ERR_FAULT, ...: it is not locked. */
int file_enter_length(struct file *file);
void file_leave_length(struct file *file);

/* Mark the length as being changed, or as changed.  For who has locked it. */
int file_mark_length(struct file *file, bool changing);

/* 0, the system's code, or AMMAP_ERR_FAULT, of bytes of the header. */
int file_peek(const struct file *file, uint64_t offset, void *bytes, size_t size);
int file_poke(const struct file *file, uint64_t offset, const void *bytes, size_t size);

/* Keep others from making the file, and opening it. */
int file_lock_opening(int fd, bool write);
void file_unlock_opening(int fd);

/* Make a map of an open file that has a header, or is to have one (size > 0, and
 * there is nothing in the file).  It takes the descriptor, also on an error.  path:
 * by which it was opened, or NULL. */
int file_make(struct ammap **made, int fd, const char *path, uint64_t size, const ammap_options_t *options);

/* Instead of 0: it is frozen, so that nothing has been locked, nor need be to read. */
enum { FILE_FROZEN = 1 };

/* Lock, and unlock, lanes first to last against other processes, for a thread that
 * has them against those of its own, by holds that it has noted (but for
 * writing); to write also mark them as being written, and as written.  On the way
 * it does what file_refresh does.  0; FILE_FROZEN, to read;
 * AMMAP_ERR_BUSY, _TIMEOUT, _DEADLOCK, _OWNER_DEAD, _READ_ONLY, _FAULT,
 * _UNSUPPORTED (a fork left no lock) or the system's code. */
int file_enter(struct ammap *map, uint64_t first, uint64_t last, enum access access, int64_t deadline);
void file_leave(struct ammap *map, uint64_t first, uint64_t last, enum access access);

/* Before that: what the calling thread has of these lanes through other maps in
 * the same file.  0: nothing; 1: it reads some, and they are to be read; so a
 * writer here may wait for it, and it must not wait for the lane: busy would be
 * AMMAP_ERR_DEADLOCK; or AMMAP_ERR_DEADLOCK at once. */
int file_elsewhere(const struct ammap *map, uint64_t first, uint64_t last, enum access access);

/* The thread ends that has a lane to write: AMMAP_ERR_OWNER_DEAD in every process
 * from now on, by what stands in the file; the local lane is not dead any more. */
void file_abandon(struct ammap *map, uint64_t lane);

/* What kind_file has of file_lock.c. */
void file_end(struct ammap *map);
void file_forked(struct ammap *map);

/* Clear OWNER_DEAD, here and in the file.  0, AMMAP_ERR_READ_ONLY, ... */
int file_recover(struct ammap *map);

/* Take over what other processes have made of the length, and of frozen.  0,
 * AMMAP_ERR_FAULT or AMMAP_ERR_UNSUPPORTED. */
int file_refresh(struct ammap *map);

/* Whether it says that it is frozen. */
bool file_was_frozen(struct ammap *map);

/* --- file.c --- */

/* Make zero what lies behind the length. */
int file_zero_rest(struct ammap *map);

#endif /* FILE_H */
