/* file_lock.c - the lock of a map in a file, against other processes
 *
 * SPDX-License-Identifier: MIT
 *
 * A file has no memory that stays: whoever may write it may cut it short at any moment.
 * So no lock word can live there.  The lock is the kernel's: locks of single bytes that
 * belong to an open file description (OFD locks), which go when the last descriptor of it
 * is closed, however that came about.
 *
 * What it guarantees
 *
 *   G1  While a process has a lane to write, no other has it; to read, no other writes it.
 *   G2  After the death of a writer (its process, its thread, the machine) the lane says
 *       AMMAP_ERR_OWNER_DEAD to all, until file_recover, or until a writer who recovers has
 *       left it; the sequence is odd until then.
 *   G3  No lock outlives the process that took it; no child keeps one of its parent's.
 *   G4  Readers and writers do not starve each other.
 *   G5  A thread that is in its own way, by another handle too, learns it at once.
 *   G6  A frozen file is read without a lock.
 *   G7  A copy out without a lock that succeeds is of a moment at which nobody wrote.
 *
 * The states of a lane, as its locked byte and the sequence in its record tell
 *
 *      byte              sequence   means
 *      free              even       nobody is in
 *      locked to read    even       processes read
 *      locked to write   odd        a process writes, or has a mut slice
 *      locked to write   even       a writer has just entered, or is about to leave
 *      free              odd        a writer died: OWNER_DEAD
 *
 * How each enters and leaves
 *
 * A thread first takes a lane that it wants from the other threads of its process
 * (lock.c), then from other processes (file_lanes.c: which bytes are locked, and who waits
 * for whom, G4; file_twins.c: who is in his own way, G5).  Threads that read one lane share
 * the process's lock of it: the first takes it, the last gives it back.  A writer is alone on
 * its lane already.  What the process has is noted and locked in one step, under the file's
 * mutex, which nobody holds while he waits for others.
 *
 * Who has locked a lane copies its sequence and the head's state by one call (file_look_at):
 * neither the sequence nor what the state says of this lane can change while he has the lock.
 *
 * A writer makes the sequence odd before it writes a byte, and even before it gives the
 * lock back.  One that becomes a reader makes it even, too, and then has the kernel make its
 * lock one to read, in one step.  A shrink marks the record of the length in the same way, besides the lanes
 * that it takes: whoever recovers makes zero what it may not have come to.
 *
 * Each map has a description of its own for its locks, that no one else is ever given.
 * What ammap_fd tells, and what is mapped, is another one.  Else the locks of a dead
 * process would live on in whoever was given a duplicate, and in its children: a mapping
 * keeps the description that it is of.
 *
 * Invariants
 *
 *   I1  The sequence is changed only under the lock of the lane's byte, and looked at there
 *       by all but those who read without it, and watch.
 *   I2  Who waits for a lane has earlier ones alone; of each the local one comes first, then the byte.
 *       So who waits for a byte has no later local lane either: somebody who has that byte may
 *       wait for one, since he reads earlier lanes by this map, too, or has them by another map of
 *       this process in the file.
 *   I3  file->fd has been given to nobody, and nothing is mapped by it.
 *   I4  Where frozen is seen, nothing else is looked at (FILE_FROZEN).
 *
 * Who watches a lane sleeps on its sequence, as it has seen it.  Who makes one even wakes all:
 * the kernel compares before it lets one sleep.  Who makes many even does so only if somebody
 * watches: he has said so, by FILE_WATCHED and within the process by a count, before he looks
 * at the sequence.
 *
 * What pairs with what: the kernel's calls order all of it.  The sequence is written by
 * calls too, and read after the lock of the byte was taken.
 *
 * A copy into one lane makes the sequence odd, writes the bytes and makes it even by one call of
 * the kernel's, in that order (file_write_unmarked).  A kill before, within or after it leaves
 * what it would leave between calls.  What is cut off, or has no room, ends it early: the
 * copy begins again from the odd sequence, by calls of its own.  That the file is still the
 * map's has been looked at once, just before; a mut slice looks again before it makes the
 * sequence even, since it may have been long.
 *
 * A short copy out of one lane takes no lock (file_read_unlocked, G7): one call of the kernel's
 * copies the sequence, the bytes, the head's state and the sequence again, in that order
 * (os_peek_pieces).  It is a seqlock.  Whoever changes a byte of a lane has its lock to write,
 * and the sequence is odd meanwhile: copies, mut slices, shrinks, and a freeze.  If both
 * sequences are the same even one, nobody wrote in between.  A dead writer's is odd, and so
 * is that of a mut slice of the reader itself: the way with the lock tells either.  The
 * state is copied after the bytes, so that these are the map's if it is, and the length is
 * that of before.  A file that is cut meanwhile is a copy that fails, or the way it was.
 * Such a reader keeps nobody out, and does not wait: it is no part of G4.
 *
 *      writer: sequence odd, fence, bytes      reader: sequence, bytes,       G7: he sees none of the bytes,
 *              fence, sequence even                    sequence                  or another sequence
 *
 * Forks (G3)
 *
 * The child has its parent's descriptions, and so its locks.  They must neither keep others
 * out after the parent's end nor be given back by the child.  So each is opened, and closed,
 * under a mutex that a fork waits for, and is on a list meanwhile.  The child closes all of
 * them (file_twins.c; that gives nothing back, the parent has them too), opens the file anew,
 * and begins with nothing: the slices of the thread that forked are void in the child.  Where it cannot
 * open the file, it has no map, as after AMMAP_FORK_OMIT.
 *
 * Reference: fcntl_locking(2), open file description locks.
 */
#include "lock/file_lock.h"

#include "lock/file_lanes.h"
#include "lock/file_twins.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPENING_WAIT INT64_C(10000000000) /* ns */
#define MAKING_WAIT INT64_C(500000000)
#define ALL_LANES (AMMAP_LANES_MAX + 1) /* and the length's */

/* --- Opening --- */

/* So many bytes from an offset on, after so long at most: 0, file_nap's code, or the system's. */
static int lock_within(int64_t wait, int fd, uint64_t offset, uint64_t count, enum os_lock lock)
{
        const int64_t deadline = os_now() + wait;
        int rc;

        for (unsigned tries = 0; (rc = os_lock_bytes(fd, offset, count, lock)) == -EAGAIN; tries++)
                if ((rc = file_nap(deadline, tries)) < 0)
                        break;
        return rc;
}

int file_lock_opening(int fd, bool write)
{
        int rc = lock_within(OPENING_WAIT, fd, FILE_OPENING, 1, write ? OS_LOCK_WRITE : OS_LOCK_READ);

        return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
}

void file_unlock_opening(int fd)
{
        os_lock_byte(fd, FILE_OPENING, OS_UNLOCK);
}

/* To read: who has a slice to read keeps it.  Who has a lane to write and waits for FILE_OPENING waits for one who
 * gives up. */
int file_lock_making(int fd)
{
        int rc = lock_within(MAKING_WAIT, fd, FILE_LANES, ALL_LANES, OS_LOCK_READ);

        return rc == AMMAP_ERR_TIMEOUT ? AMMAP_ERR_BUSY : rc;
}

void file_unlock_making(int fd)
{
        os_lock_bytes(fd, FILE_LANES, ALL_LANES, OS_UNLOCK);
}

/* A mapping keeps the description that it was made of, and so the lock. */
int file_use(int fd)
{
        int rc = os_lock_byte(fd, FILE_USE, OS_LOCK_READ);

        return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
}

int file_in_use(int fd)
{
        int rc = os_lock_byte(fd, FILE_USE, OS_LOOK_WRITE);

        return rc == -EAGAIN ? 1 : rc;
}

/* --- Entering and leaving --- */

/* Whether somebody sleeps on a sequence, in this process or in another.  He has said so before he
 * looked at the sequence, and one looks here after it was changed. */
static bool is_watched(struct file *file)
{
        bool watched;

        pthread_mutex_lock(&file->mutex);
        watched = file->watchers > 0;
        pthread_mutex_unlock(&file->mutex);
        return watched || os_lock_byte(file->fd, FILE_WATCHED, OS_LOOK_WRITE) == -EAGAIN;
}

/* Mark lanes that are locked as being written, or as written. */
static int mark(struct file *file, struct lane_range lanes, uint64_t step, bool keep_dead)
{
        const struct file_lane *first = &file->lane[lanes.first];
        int rc;

        for (uint32_t i = lanes.first; i <= lanes.last; i++)
                file->lane[i].marked = true;
        if (lanes.first == lanes.last)
                return keep_dead && first->dead ? 0 : file_write_sequence(file, lanes.first, first->sequence + step);
        rc = file_write_sequences(file, lanes, step, keep_dead);
        if (step == 2 && is_watched(file))
                for (uint64_t i = lanes.first; i <= lanes.last; i++)
                        file_wake_sequence(file, i);
        return rc;
}

/* What has been written is not to say OWNER_DEAD for a refusal that passes. */
static void mark_written(struct file *file, struct lane_range lanes, bool keep_dead)
{
        for (unsigned tries = 0; file_may_pass(mark(file, lanes, 2, keep_dead), tries);)
                tries++;
}

/* as_found: but for what a writer left who died.  Unless the file is gone, or the lanes are, by
 * the thread's end or a fork. */
static void leave_written(struct file *file, struct lane_range lanes, bool as_found)
{
        const bool marked = file->lane[lanes.first].marked;

        for (uint32_t i = lanes.first, last; marked && i <= lanes.last && (i > lanes.first || file_is_same(file));
             i = last + 1) {
                for (last = i; last < lanes.last && file->lane[last + 1].writing == file->lane[i].writing;)
                        last++;
                if (file->lane[i].writing)
                        mark_written(file, (struct lane_range){ i, last }, as_found);
        }
        file_leave_lanes(file, lanes, WRITE);
}

static bool any_dead(const struct file *file, struct lane_range lanes)
{
        uint64_t i = lanes.first;

        while (i <= lanes.last && !file->lane[i].dead)
                i++;
        return i <= lanes.last;
}

/* What the head has to say to one who has locked them all, and has looked since he locked the
 * last. */
static int check_entered(const struct file *file, const struct request *request)
{
        if (request->access == WRITE && atomic_load(file->frozen))
                return AMMAP_ERR_READ_ONLY;
        /* Who recovers is not to have to leave what is dead once it has been entered. */
        if (request->recovers && request->reach > atomic_load(file->length))
                return AMMAP_ERR_BOUNDS;
        return 0;
}

int file_enter(struct file *file, const struct request *request)
{
        const enum access access = request->access;
        int rc = 0;

        os_fork_check();
        if (file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        if (access == WRITE && !file->write)
                return AMMAP_ERR_READ_ONLY;
        if (atomic_load(file->frozen) && (rc = file_refresh(file)) == 0)
                rc = FILE_FROZEN;
        if (rc == 0)
                rc = file_enter_lanes(file, request);
        if (rc == FILE_FROZEN && access == WRITE)
                return AMMAP_ERR_READ_ONLY;
        if (rc == AMMAP_ERR_OWNER_DEAD && !file_is_same(file))
                return AMMAP_ERR_FORMAT;
        if (rc != 0)
                return rc;
        if ((rc = check_entered(file, request)) < 0)
                file_leave_lanes(file, request->lanes, access);
        return rc == 0 && request->recovers && any_dead(file, request->lanes) ? FILE_RECOVERED : rc;
}

int file_mark(struct file *file, struct lane_range lanes)
{
        int rc = mark(file, lanes, 1, false);

        if (rc < 0)
                leave_written(file, lanes, true);
        return rc;
}

int file_write_unmarked(struct file *file, uint32_t lane, const struct os_piece *bytes)
{
        os_fork_check();
        if (file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        if (file_write_between(file, lane, bytes, file->lane[lane].sequence) == 0)
                return 1;
        return mark(file, one_lane(lane), 1, false);
}

void file_leave(struct file *file, struct lane_range lanes, enum access access)
{
        os_fork_check();
        if (file->fd < 0)
                return;
        if (access == WRITE)
                leave_written(file, lanes, false);
        else
                file_leave_lanes(file, lanes, READ);
}

/* All bytes by one call of the kernel's, which does all of it or nothing, and lets nobody in
 * between.  Before that the sequences: whoever reads next looks at them. */
int file_downgrade(struct file *file, struct lane_range lanes)
{
        int rc = file_refresh(file);

        if (rc < 0)
                return rc;
        rc = mark(file, lanes, 2, false);
        pthread_mutex_lock(&file->mutex);
        if (rc == 0)
                rc = file_lock_lanes(file, lanes, OS_LOCK_READ);
        for (uint64_t i = lanes.first; rc == 0 && i <= lanes.last; i++) {
                file->lane[i].writing = false;
                file->lane[i].readers = 1;
        }
        pthread_mutex_unlock(&file->mutex);
        if (rc == 0)
                return 0;
        /* It writes on, unless the file is gone: from another odd sequence, or who has seen the even one would
         * take what comes after it for the same bytes. */
        for (uint64_t i = lanes.first; i <= lanes.last; i++)
                file->lane[i].sequence += 2;
        mark(file, lanes, 1, false);
        return rc;
}

/* What stands in the file says it all, and who recovers may be another process. */
void file_abandon(struct file *file, uint64_t lane)
{
        if (file->fd >= 0)
                file_leave_lanes(file, one_lane((uint32_t)lane), WRITE);
        lane_recover(&file->local[lane]);
}

/* --- The length --- */

static int try_length(struct file *file, enum os_lock lock)
{
        int rc;

        pthread_mutex_lock(&file->mutex);
        rc = file->resizing ? -EAGAIN : file_lock_lane(file, file->lanes, lock);
        if (rc == 0)
                file->resizing = true;
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

void file_leave_length(struct file *file)
{
        pthread_mutex_lock(&file->mutex);
        file->resizing = false;
        file_lock_lane(file, file->lanes, OS_UNLOCK);
        pthread_mutex_unlock(&file->mutex);
}

int file_enter_length(struct file *file, int64_t deadline)
{
        uint64_t sequence;
        int rc;

        for (unsigned tries = 0; (rc = try_length(file, OS_LOCK_WRITE)) == -EAGAIN; tries++)
                if (file_nap(deadline, tries) < 0)
                        return AMMAP_ERR_BUSY;
        if (rc < 0)
                return rc;
        rc = file_read_sequence(file, file->lanes, &sequence);
        if (rc == 0 && (sequence & 1))
                rc = AMMAP_ERR_OWNER_DEAD;
        if (rc < 0)
                file_leave_length(file);
        return rc;
}

int file_mark_length(struct file *file, bool changing)
{
        uint64_t sequence;
        int rc = file_read_sequence(file, file->lanes, &sequence);

        if (rc == 0 && (sequence & 1) != changing)
                rc = file_write_sequence(file, file->lanes, sequence + 1);
        return rc;
}

/* --- Death --- */

/* Whether to try again for a record that is locked: while its sequence stays the
 * same odd one.  Who only looks is about to see that its writer is dead, and to let
 * go; who has it for longer is its writer. */
static bool may_be_dead(const struct file *file, uint64_t record, uint64_t *seen, unsigned tries)
{
        enum { TRIES = 100 };
        uint64_t sequence;

        if (tries == TRIES || file_read_sequence(file, record, &sequence) < 0 || !(sequence & 1) ||
            (tries > 0 && sequence != *seen))
                return false;
        *seen = sequence;
        return file_nap(OS_NEVER, 0) == 0;
}

/* A lane that this process has nobody in, for what is found there to be a dead
 * one's.  Locally it is dead for as long as its thread has not left it to the file
 * (file_abandon).  1: it is to be cleared, and that takes someone who may write. */
static int try_recover_lane(struct file *file, uint64_t i)
{
        uint64_t sequence = 0;
        int rc = 0;

        pthread_mutex_lock(&file->mutex);
        if (file->lane[i].readers == 0 && !file->lane[i].writing &&
            (rc = file_lock_lane(file, i, file->write ? OS_LOCK_WRITE : OS_LOCK_READ)) == 0) {
                rc = file_read_sequence(file, i, &sequence);
                if (rc == 0 && (sequence & 1))
                        rc = file->write ? file_write_sequence(file, i, sequence + 1) : 1;
                file_lock_lane(file, i, OS_UNLOCK);
        }
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

static int recover_lane(struct file *file, uint64_t i)
{
        uint64_t seen = 0;
        int rc;

        for (unsigned tries = 0; (rc = try_recover_lane(file, i)) == -EAGAIN; tries++)
                if (!may_be_dead(file, i, &seen, tries))
                        return 0;
        return rc;
}

static int recover_length(struct file *file, int (*mend)(void *context), void *context)
{
        uint64_t sequence = 0, seen = 0;
        int rc;

        for (unsigned tries = 0; (rc = try_length(file, file->write ? OS_LOCK_WRITE : OS_LOCK_READ)) == -EAGAIN;
             tries++)
                if (!may_be_dead(file, file->lanes, &seen, tries))
                        return 0;
        if (rc < 0)
                return rc;
        rc = file_read_sequence(file, file->lanes, &sequence);
        if (rc == 0 && (sequence & 1)) {
                rc = file->write ? mend(context) : 1;
                if (rc == 0)
                        rc = file_mark_length(file, false);
        }
        file_leave_length(file);
        return rc;
}

/* A lane that someone is in to read or to write has no dead writer, but for one
 * that came and died since, which is the next call's. */
int file_recover(struct file *file, int (*mend)(void *context), void *context)
{
        int rc;

        os_fork_check();
        if (file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        rc = file_refresh(file);
        if (rc == AMMAP_ERR_FORMAT || rc == AMMAP_ERR_FAULT)
                return rc;
        if (atomic_load(file->frozen))
                return 0;
        rc = recover_length(file, mend, context);
        for (uint64_t i = 0; i < file->lanes && rc == 0; i++)
                rc = recover_lane(file, i);
        return rc > 0 ? AMMAP_ERR_READ_ONLY : rc;
}

/* --- Watching --- */

/* Whether the odd sequence that a lane was seen to have is that of one who died: nobody has
 * the lane, and the sequence is still the same. */
static bool is_dead(struct file *file, uint64_t i, uint64_t seen)
{
        uint64_t sequence;
        bool dead;

        pthread_mutex_lock(&file->mutex);
        dead = !file->lane[i].writing && file_lock_lane(file, i, OS_LOOK_READ) == 0 &&
               file_read_sequence(file, i, &sequence) == 0 && sequence == seen;
        pthread_mutex_unlock(&file->mutex);
        return dead;
}

int file_writes(struct file *file, struct lane_range lanes, uint64_t *count)
{
        int rc = 0;

        memcpy(count, file->identity, sizeof *count);
        for (uint64_t i = lanes.first; i <= lanes.last; i++) {
                uint64_t sequence;
                int read = file_read_sequence(file, i, &sequence);

                if (read < 0)
                        return read;
                *count += sequence / 2; /* odd: the write under way does not count yet */
                if ((sequence & 1) && is_dead(file, i, sequence))
                        rc = AMMAP_ERR_OWNER_DEAD;
        }
        return rc;
}

/* Without that byte, where the system has no more locks, he is not woken after a write to many. */
static void begin_watch(struct file *file)
{
        pthread_mutex_lock(&file->mutex);
        if (file->watchers++ == 0)
                os_lock_byte(file->fd, FILE_WATCHED, OS_LOCK_READ);
        pthread_mutex_unlock(&file->mutex);
}

static void end_watch(struct file *file)
{
        pthread_mutex_lock(&file->mutex);
        if (--file->watchers == 0)
                os_lock_byte(file->fd, FILE_WATCHED, OS_UNLOCK);
        pthread_mutex_unlock(&file->mutex);
}

void file_watch(struct file *file, struct lane_range lanes, uint64_t count, int64_t until)
{
        enum { LOOK_DEAD = 10000000, LOOK_SEVERAL = 1000000 }; /* ns between two looks */
        const int64_t now = os_now();
        uint64_t sequence, base;

        if (lanes.first != lanes.last) {
                waiter_nap(earlier(LOOK_SEVERAL, until - now));
                return;
        }
        begin_watch(file);
        memcpy(&base, file->identity, sizeof base);
        if (file_read_sequence(file, lanes.first, &sequence) == 0 && base + sequence / 2 == count)
                file_wait_sequence(file, lanes.first, sequence, earlier(until, now + LOOK_DEAD));
        end_watch(file);
}

/* --- Its end, and a fork --- */

void file_end(struct file *file)
{
        file_unlink(file);
        os_unmap(file->head, file->head_size);
        pthread_mutex_destroy(&file->mutex);
        free(file);
}

void file_forked(struct file *file, int shown)
{
        pthread_mutex_init(&file->mutex, NULL);
        for (uint64_t i = 0; i < file->lanes; i++)
                file->lane[i] = (struct file_lane){ .readers = 0 };
        file->resizing = false;
        file->watchers = 0;
        file_relink(file, shown);
}
