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
 * The bytes that are locked; nothing is read or written there for it
 *
 *      FILE_OPENING           a file is being made, or looked at
 *      FILE_USE               a file whose lock is in its words is open (shared_run.c)
 *      FILE_WATCHED           somebody sleeps on the sequence of a lane
 *      FILE_LANES + i         lane i; after the last lane, the length
 *      FILE_QUEUES + i        the queue for lane i
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
 * A thread first takes the lanes that it wants from the other threads of its process
 * (lock.c), then from other processes, here.  Threads that read one lane share the
 * process's lock of it: the first takes it, the last gives it back.  A writer is alone on
 * its lane already.  What the process has is noted and locked in one step, under the file's
 * mutex, which nobody holds while he waits.
 *
 * Who wants many lanes tries to have all of them in one step, by one lock of their bytes,
 * which the kernel gives whole or not at all, and one look at all sequences.  If somebody is
 * in the way, he tries half as many, and waits for one at most.  What he has is always the
 * first of his lanes, so the order is the same.
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
 *   I2  Lanes are locked in ascending order, all local ones first.  So nobody waits for a
 *       thread of his own process while he has what others wait for.
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
 * Waiting, and progress (G4)
 *
 * The kernel would let us sleep until a lock is free, but not until a deadline, and it
 * keeps no order.  So a waiter tries, naps, and tries again.
 *
 * Who comes looks whether the queue is free, and then tries to lock the lane; if the queue is
 * not free, he waits.  He does not lock the queue for that: while nobody is in the way one look
 * is enough.  A writer whom somebody in the lane keeps waiting locks the queue to write, which
 * one can, and a reader to read, which any number can, until he is in.  So a waiting writer
 * lets in no more readers, of any process, and waits for those that are in; a waiting reader
 * lets in no more writers.  Only those come before him who had the queue first, one writer at
 * most, and those who looked before he had it, each once: to come again they look again.  For
 * the queue itself the tries decide.
 *
 * Who has the queue may be stopped, and must not keep the others out.  One who finds the
 * queue taken and the lane free, for PASS_AFTER at every look, goes past the queue.
 *
 * A thread that reads a lane and wants to read it again does not look at the queue: the
 * lock is there, and it must not wait for a writer who waits for it.
 *
 * Deadlocks (G5)
 *
 * Two maps of one process that lie in one file have descriptions of their own and keep each
 * other out.  So a thread looks, before it naps, whether it is itself in its way through
 * another map: AMMAP_ERR_DEADLOCK; or, if it reads what it reads there, no queue.
 *
 * Forks (G3)
 *
 * The child has its parent's descriptions, and so its locks.  They must neither keep others
 * out after the parent's end nor be given back by the child.  It closes them (file_forked;
 * that gives nothing back, the parent has them too), opens the file anew, and begins with
 * nothing: the slices of the thread that forked are void in the child.  Where it cannot
 * open the file, it has no map, as after AMMAP_FORK_OMIT.
 *
 * Reference: fcntl_locking(2), open file description locks.
 */
#include "lock/file_lock.h"

#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The bytes that locks are taken of.  Nothing is read or written there for it.  Those
 * of lanes in a row are in a row, which the kernel keeps as one lock: a lane more costs
 * no more for all that are held already. */
enum {
        FILE_OPENING = 0,
        FILE_USE = 1,
        FILE_WATCHED = 2,
        FILE_LANES = sizeof(struct format_head), /* as many as there are lanes, and the length's */
        FILE_QUEUES = FILE_LANES + AMMAP_LANES_MAX + 1
};

enum {
        NAP_MIN = 50000, /* ns */
        NAP_DOUBLES = 5, /* until 1.6 ms */
        PASS_AFTER = 20000000,
};
#define LENGTH_WAIT INT64_C(10000000000) /* ns */
#define OPENING_WAIT INT64_C(10000000000)

/* All files of this process. */
static pthread_mutex_t files_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;

static bool same_file(const struct file *a, const struct file *b)
{
        return a->device == b->device && a->inode == b->inode;
}

void file_link(struct file *file)
{
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file)) {
                        atomic_fetch_add(&other->twins, 1);
                        atomic_fetch_add(&file->twins, 1);
                }
        file->next = files;
        files = file;
        pthread_mutex_unlock(&files_mutex);
}

static void unlink_file(struct file *file)
{
        struct file **link;

        pthread_mutex_lock(&files_mutex);
        for (link = &files; *link && *link != file; link = &(*link)->next)
                ;
        if (*link)
                *link = file->next;
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file))
                        atomic_fetch_sub(&other->twins, 1);
        pthread_mutex_unlock(&files_mutex);
}

/* --- Locks of bytes --- */

static int lock_lane(const struct file *file, uint64_t lane, enum os_lock lock)
{
        return os_lock_byte(file->fd, FILE_LANES + lane, lock);
}

/* All by one call of the kernel's, which does all of it or nothing. */
static int lock_lanes(const struct file *file, struct lane_range lanes, enum os_lock lock)
{
        return os_lock_bytes(file->fd, FILE_LANES + lanes.first, lane_count(lanes), lock);
}

static int look_at_queues(const struct file *file, struct lane_range lanes, enum os_lock lock)
{
        return os_lock_bytes(file->fd, FILE_QUEUES + lanes.first, lane_count(lanes), lock);
}

static int lock_queue(const struct file *file, uint64_t lane, enum os_lock lock)
{
        return os_lock_byte(file->fd, FILE_QUEUES + lane, lock);
}

static int nap(int64_t deadline, unsigned tries)
{
        static const _Atomic uint32_t never;
        int64_t now, until;

        if (deadline == LANE_TRY)
                return AMMAP_ERR_BUSY;
        now = os_now();
        if (now >= deadline)
                return AMMAP_ERR_TIMEOUT;
        until = now + ((int64_t)NAP_MIN << (tries < NAP_DOUBLES ? tries : NAP_DOUBLES));
        os_wait(&never, 0, until < deadline ? until : deadline);
        return 0;
}

int file_lock_opening(int fd, bool write)
{
        int64_t deadline = os_now() + OPENING_WAIT;
        int rc;

        for (unsigned tries = 0; (rc = os_lock_byte(fd, FILE_OPENING, write ? OS_LOCK_WRITE : OS_LOCK_READ)) == -EAGAIN;
             tries++)
                if ((rc = nap(deadline, tries)) < 0)
                        break;
        return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
}

void file_unlock_opening(int fd)
{
        os_lock_byte(fd, FILE_OPENING, OS_UNLOCK);
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

/* --- One lane, under the mutex: 0, -EAGAIN, or why it cannot be had --- */

/* What whoever has locked a lane finds there, and in the head.  Of a writer who recovers it is the
 * even one from which the dead one began. */
static int find_sequence(struct file *file, uint64_t i, bool recovers)
{
        uint64_t sequence;
        int rc = file_look_at(file, i, &sequence);

        if (rc < 0)
                return rc;
        if ((sequence & 1) && !recovers)
                return AMMAP_ERR_OWNER_DEAD;
        file->lane[i].dead = sequence & 1;
        file->lane[i].sequence = sequence & ~UINT64_C(1);
        return 0;
}

static void leave_queue(struct file *file, uint64_t i, enum access access, bool *queued)
{
        if (!*queued)
                return;
        *queued = false;
        if (access == WRITE || --file->lane[i].queued == 0)
                lock_queue(file, i, OS_UNLOCK);
}

/* past: without the queue. */
static int try_write(struct file *file, uint64_t i, bool recovers, bool past, bool *queued)
{
        const bool queues = !*queued && !past;
        int rc;

        if (queues && (rc = lock_queue(file, i, OS_LOOK_WRITE)) < 0)
                return rc;
        rc = lock_lane(file, i, OS_LOCK_WRITE);
        if (rc == -EAGAIN && queues && (rc = lock_queue(file, i, OS_LOCK_WRITE)) == 0) {
                *queued = true;
                rc = -EAGAIN;
        }
        if (rc < 0)
                return rc;
        leave_queue(file, i, WRITE, queued);
        if ((rc = find_sequence(file, i, recovers)) < 0)
                lock_lane(file, i, OS_UNLOCK);
        else
                file->lane[i].writing = true;
        file->lane[i].marked = false;
        return rc;
}

static int join_queue_to_read(struct file *file, uint64_t i, bool *queued)
{
        struct file_lane *lane = &file->lane[i];
        int rc = lane->queued > 0 ? 0 : lock_queue(file, i, OS_LOCK_READ);

        if (rc < 0)
                return rc;
        lane->queued++;
        *queued = true;
        return 0;
}

/* past: without a look at the queue. */
static int try_read(struct file *file, uint64_t i, bool past, bool *queued)
{
        struct file_lane *lane = &file->lane[i];
        int rc;

        if (!past && (rc = lock_queue(file, i, OS_LOOK_READ)) < 0)
                return rc;
        if (lane->readers == 0) {
                rc = lock_lane(file, i, OS_LOCK_READ);
                if (rc == -EAGAIN && !*queued && (rc = join_queue_to_read(file, i, queued)) == 0)
                        rc = -EAGAIN;
                if (rc < 0)
                        return rc;
        }
        rc = find_sequence(file, i, false);
        if (rc == 0)
                lane->readers++;
        else if (lane->readers == 0)
                lock_lane(file, i, OS_UNLOCK);
        return rc;
}

/* --- Lanes in a row, under the mutex --- */

/* Whether the process is to give it back then. */
static bool let_go(struct file_lane *lane, enum access access)
{
        if (access == READ)
                return lane->readers > 0 && --lane->readers == 0;
        if (!lane->writing)
                return false;
        lane->writing = false;
        return true;
}

/* As few calls as there are rows of them. */
static void leave_row(struct file *file, struct lane_range lanes, enum access access)
{
        uint32_t first = lanes.first;

        for (uint32_t i = lanes.first; i <= lanes.last; i++) {
                if (let_go(&file->lane[i], access))
                        continue;
                if (i > first)
                        lock_lanes(file, (struct lane_range){ first, i - 1 }, OS_UNLOCK);
                first = i + 1;
        }
        if (first <= lanes.last)
                lock_lanes(file, (struct lane_range){ first, lanes.last }, OS_UNLOCK);
}

static int find_sequences(struct file *file, struct lane_range lanes, bool recovers)
{
        int rc = file_read_sequences(file, lanes);

        for (uint32_t i = lanes.first; i <= lanes.last && rc == 0; i++) {
                struct file_lane *lane = &file->lane[i];

                if ((lane->sequence & 1) && !recovers)
                        rc = AMMAP_ERR_OWNER_DEAD;
                lane->dead = lane->sequence & 1;
                lane->sequence &= ~UINT64_C(1);
        }
        return rc < 0 ? rc : file_look(file);
}

/* What try_read and try_write do of one, if nobody is in the way of any: else nothing has changed,
 * and they say why.  A queue that is free is not locked: whoever comes to have it meanwhile is
 * not passed by those who look next. */
static int try_row(struct file *file, struct lane_range lanes, const struct request *request)
{
        const bool writes = request->access == WRITE;
        int rc = look_at_queues(file, lanes, writes ? OS_LOOK_WRITE : OS_LOOK_READ);

        if (rc < 0 || (rc = lock_lanes(file, lanes, writes ? OS_LOCK_WRITE : OS_LOCK_READ)) < 0)
                return rc;
        for (uint32_t i = lanes.first; i <= lanes.last; i++) {
                if (writes)
                        file->lane[i].writing = true;
                else
                        file->lane[i].readers++;
                file->lane[i].marked = false;
        }
        if ((rc = find_sequences(file, lanes, writes && request->recovers)) < 0)
                leave_row(file, lanes, request->access);
        return rc;
}

/* --- Who is in --- */

void file_each_twin(const struct file *file, void (*found)(const struct file *twin, void *context), void *context)
{
        if (atomic_load_explicit(&file->twins, memory_order_relaxed) == 0)
                return;
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (const struct file *other = files; other; other = other->next)
                if (other != file && same_file(other, file))
                        found(other, context);
        pthread_mutex_unlock(&files_mutex);
}

/* The system tells any of those that are in a range: so look before that one, until there
 * is none. */
int file_find_locked(const struct file *file, struct lane_range lanes, struct lane_range *locked, bool *write)
{
        struct os_locked found = { .offset = FILE_LANES + lanes.first, .end = FILE_LANES + (uint64_t)lanes.last + 1 };
        int rc, any = 0;

        while ((rc = os_find_locked(file->fd, &found)) > 0) {
                any = 1;
                *write = found.write;
                locked->first = (uint32_t)(found.offset - FILE_LANES);
                locked->last = (uint32_t)(found.end - FILE_LANES - 1);
                found = (struct os_locked){ .offset = FILE_LANES + lanes.first, .end = found.offset };
        }
        return any ? any : rc;
}

bool file_has(struct file *file, uint32_t lane)
{
        bool has;

        pthread_mutex_lock(&file->mutex);
        has = file->lane[lane].readers > 0 || file->lane[lane].writing;
        pthread_mutex_unlock(&file->mutex);
        return has;
}

/* --- Entering --- */

/* Whether the calling thread has a lane to read besides what it has just taken. */
static bool reads_again(const struct lane *lane)
{
        const struct hold *hold = thread_hold_next(lane, lane + 1, NULL);

        return hold && thread_hold_next(lane, lane + 1, hold);
}

int file_elsewhere(const struct file *file, struct lane_range lanes, enum access access)
{
        int rc = 0;

        if (atomic_load_explicit(&file->twins, memory_order_relaxed) == 0)
                return 0;
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (const struct file *other = files; other; other = other->next) {
                const struct lane *from = &other->local[lanes.first];
                const struct lane *end = &other->local[lanes.last < other->lanes ? lanes.last + 1 : other->lanes];

                if (other == file || !same_file(other, file))
                        continue;
                for (struct hold *hold = NULL; rc >= 0 && (hold = thread_hold_next(from, end, hold));)
                        rc = access == WRITE || (atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE ? AMMAP_ERR_DEADLOCK
                                                                                                    : 1;
        }
        pthread_mutex_unlock(&files_mutex);
        return rc;
}

/* Whether nobody has had a lane for PASS_AFTER, as far as the looks since then tell. */
static bool is_idle(const struct file *file, uint64_t i, int64_t *since)
{
        int64_t now;

        if (file->lane[i].readers > 0 || file->lane[i].writing || lock_lane(file, i, OS_LOOK_WRITE) < 0) {
                *since = 0;
                return false;
        }
        now = os_now();
        if (*since == 0)
                *since = now;
        return now - *since >= PASS_AFTER;
}

/* FILE_FROZEN instead of waiting, and instead of a death: nobody writes any more. */
static int enter_lane(struct file *file, uint64_t i, const struct request *request)
{
        const enum access access = request->access;
        bool queued = false, past = false;
        int64_t free_since = 0;
        int rc;

        for (unsigned tries = 0;; tries++) {
                pthread_mutex_lock(&file->mutex);
                rc = access == WRITE ? try_write(file, i, request->recovers, past, &queued)
                                     : try_read(file, i, past, &queued);
                if (rc != -EAGAIN)
                        leave_queue(file, i, access, &queued);
                else if (is_idle(file, i, &free_since))
                        past = true;
                pthread_mutex_unlock(&file->mutex);
                if ((rc == -EAGAIN || rc == AMMAP_ERR_OWNER_DEAD) && file_frozen(file))
                        rc = FILE_FROZEN;
                if (rc != -EAGAIN)
                        break;
                if (tries == 0) {
                        rc = access == READ && reads_again(&file->local[i])
                                     ? 1
                                     : file_elsewhere(file, one_lane((uint32_t)i), access);
                        past = rc > 0;
                }
                if (!(tries == 0 && past) && (rc >= 0 || rc == -EAGAIN))
                        rc = nap(request->deadline, tries);
                if (rc < 0)
                        break;
        }
        pthread_mutex_lock(&file->mutex);
        leave_queue(file, i, access, &queued);
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

/* Of many: all that nobody is in the way of by one step, and half of them where somebody is; and
 * wait for one. */
static int enter_lanes(struct file *file, const struct request *request, uint64_t *entered)
{
        const uint64_t end = (uint64_t)request->lanes.last + 1;
        uint64_t i = request->lanes.first, step = end - i;
        int rc = 0;

        while (i < end && rc == 0) {
                const struct lane_range row = { (uint32_t)i, (uint32_t)(i + step - 1) };

                if (step == 1) {
                        rc = enter_lane(file, i, request);
                } else {
                        pthread_mutex_lock(&file->mutex);
                        rc = try_row(file, row, request);
                        pthread_mutex_unlock(&file->mutex);
                        if (rc < 0) {
                                step /= 2;
                                rc = 0;
                                continue;
                        }
                }
                if (rc == 0)
                        i += step;
                step = 2 * step < end - i ? 2 * step : end - i;
        }
        *entered = i - request->lanes.first;
        return rc;
}

/* The first ones. */
static void leave_lanes(struct file *file, struct lane_range lanes, uint64_t count, enum access access)
{
        if (count == 0)
                return;
        pthread_mutex_lock(&file->mutex);
        leave_row(file, (struct lane_range){ lanes.first, (uint32_t)(lanes.first + count - 1) }, access);
        pthread_mutex_unlock(&file->mutex);
}

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
                        mark(file, (struct lane_range){ i, last }, 2, as_found);
        }
        leave_lanes(file, lanes, lane_count(lanes), WRITE);
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
        const struct lane_range lanes = request->lanes;
        const enum access access = request->access;
        uint64_t entered = 0;
        int rc = 0;

        os_fork_check();
        if (file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        if (access == WRITE && !file->write)
                return AMMAP_ERR_READ_ONLY;
        if (atomic_load(file->frozen) && (rc = file_refresh(file)) == 0)
                rc = FILE_FROZEN;
        if (rc == 0)
                rc = enter_lanes(file, request, &entered);
        if (rc != 0) {
                leave_lanes(file, lanes, entered, access);
                if (rc == FILE_FROZEN)
                        return access == WRITE ? AMMAP_ERR_READ_ONLY : FILE_FROZEN;
                return rc == AMMAP_ERR_OWNER_DEAD && !file_is_same(file) ? AMMAP_ERR_FORMAT : rc;
        }
        rc = check_entered(file, request);
        if (rc < 0)
                leave_lanes(file, lanes, lane_count(lanes), access);
        else if (access == WRITE && !request->unmarked && (rc = mark(file, lanes, 1, false)) < 0)
                leave_written(file, lanes, true);
        return rc == 0 && request->recovers && any_dead(file, lanes) ? FILE_RECOVERED : rc;
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
                leave_lanes(file, lanes, lane_count(lanes), READ);
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
                rc = lock_lanes(file, lanes, OS_LOCK_READ);
        for (uint64_t i = lanes.first; rc == 0 && i <= lanes.last; i++) {
                file->lane[i].writing = false;
                file->lane[i].readers = 1;
        }
        pthread_mutex_unlock(&file->mutex);
        if (rc < 0)
                mark(file, lanes, 1, false); /* unless it is gone */
        return rc;
}

/* What stands in the file says it all, and who recovers may be another process. */
void file_abandon(struct file *file, uint64_t lane)
{
        if (file->fd >= 0)
                leave_lanes(file, one_lane((uint32_t)lane), 1, WRITE);
        lane_recover(&file->local[lane]);
}

/* --- The length --- */

static int try_length(struct file *file, enum os_lock lock)
{
        int rc;

        pthread_mutex_lock(&file->mutex);
        rc = file->resizing ? -EAGAIN : lock_lane(file, file->lanes, lock);
        if (rc == 0)
                file->resizing = true;
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

void file_leave_length(struct file *file)
{
        pthread_mutex_lock(&file->mutex);
        file->resizing = false;
        lock_lane(file, file->lanes, OS_UNLOCK);
        pthread_mutex_unlock(&file->mutex);
}

int file_enter_length(struct file *file)
{
        int64_t deadline = os_now() + LENGTH_WAIT;
        uint64_t sequence;
        int rc;

        for (unsigned tries = 0; (rc = try_length(file, OS_LOCK_WRITE)) == -EAGAIN; tries++)
                if (nap(deadline, tries) < 0)
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
        return nap(OS_NEVER, 0) == 0;
}

/* A lane that this process has nobody in, for what is found there to be a dead
 * one's.  1: it is to be cleared, and that takes someone who may write. */
static int try_recover_lane(struct file *file, uint64_t i)
{
        uint64_t sequence = 0;
        int rc = 0;

        pthread_mutex_lock(&file->mutex);
        if (file->lane[i].readers == 0 && !file->lane[i].writing &&
            (rc = lock_lane(file, i, file->write ? OS_LOCK_WRITE : OS_LOCK_READ)) == 0) {
                rc = file_read_sequence(file, i, &sequence);
                if (rc == 0 && (sequence & 1))
                        rc = file->write ? file_write_sequence(file, i, sequence + 1) : 1;
                lock_lane(file, i, OS_UNLOCK);
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
        if ((rc = file_refresh(file)) == AMMAP_ERR_FORMAT)
                return rc;
        if (atomic_load(file->frozen))
                return 0;
        rc = recover_length(file, mend, context);
        for (uint64_t i = 0; i < file->lanes && rc == 0; i++) {
                rc = recover_lane(file, i);
                if (rc == 0)
                        lane_recover(&file->local[i]);
        }
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
        dead = !file->lane[i].writing && lock_lane(file, i, OS_LOOK_READ) == 0 &&
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
        unlink_file(file);
        if (file->fd >= 0)
                os_close_file(file->fd, file->device, file->inode);
        os_unmap(file->head, file->head_size);
        pthread_mutex_destroy(&file->mutex);
        free(file);
}

void file_forked(struct file *file, int shown)
{
        pthread_mutex_init(&files_mutex, NULL);
        pthread_mutex_init(&file->mutex, NULL);
        for (uint64_t i = 0; i < file->lanes; i++)
                file->lane[i] = (struct file_lane){ .readers = 0 };
        file->resizing = false;
        file->watchers = 0;
        if (file->fd >= 0)
                os_close_file(file->fd, file->device, file->inode);
        file->fd = -1;
        if (shown >= 0 && os_is_file(shown, file->device, file->inode) > 0)
                file->fd = os_reopen(shown, file->write);
}
