/* file_lanes.c - the lanes of a map in a file, as bytes that are locked
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of file_lock.c explains the whole; here is how a process comes to have
 * lanes, and who waits for whom (G4).
 *
 * The bytes that are locked; nothing is read or written there for it
 *
 *      FILE_OPENING           a file is being made, or looked at
 *      FILE_USE               a file whose lock is in its words is open (shared_run.c)
 *      FILE_WATCHED           somebody sleeps on the sequence of a lane
 *      FILE_LANES + i         lane i; after the last lane, the length
 *      FILE_QUEUES + i        the queue for lane i
 *
 * Many lanes
 *
 * Who wants many lanes tries to have all of them in one step, by one lock of their bytes,
 * which the kernel gives whole or not at all, and one look at all sequences.  If somebody is
 * in the way he has none, and comes again for fewer (span.c): he waits for one lane alone.
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
 * queue taken and the lane free, for PASS_AFTER at every look, goes past the queue; if somebody
 * comes before him into the lane, he has the queue yet, as soon as it is free.
 *
 * A thread that reads a lane and wants to read it again does not look at the queue: the
 * lock is there, and it must not wait for a writer who waits for it.
 */
#include "lock/file_lanes.h"

#include "lock/file_twins.h"
#include "os/os.h"

#include <errno.h>

enum {
        NAP_MIN = 50000, /* ns */
        NAP_DOUBLES = 5, /* until 1.6 ms */
        PASS_AFTER = 20000000,
};

/* --- Locks of bytes --- */

/* To unlock some bytes of those that are locked in a row takes memory of the kernel's, which may have none just now.
 * Nobody would have them until this description is closed: it is tried again, some times, while the mutex is held. */
static int unlock_again(int fd, uint64_t offset, uint64_t count)
{
        enum { TRIES = 20 };
        int rc = -ENOLCK;

        for (unsigned tries = 0; rc < 0 && tries < TRIES; tries++) {
                file_nap(OS_NEVER, 0);
                rc = os_lock_bytes(fd, offset, count, OS_UNLOCK);
        }
        return rc;
}

static int lock_bytes(const struct file *file, uint64_t offset, uint64_t count, enum os_lock lock)
{
        int rc = os_lock_bytes(file->fd, offset, count, lock);

        return unlikely(rc < 0) && lock == OS_UNLOCK ? unlock_again(file->fd, offset, count) : rc;
}

int file_lock_lane(const struct file *file, uint64_t lane, enum os_lock lock)
{
        return lock_bytes(file, FILE_LANES + lane, 1, lock);
}

/* All by one call of the kernel's, which does all of it or nothing. */
int file_lock_lanes(const struct file *file, struct lane_range lanes, enum os_lock lock)
{
        return lock_bytes(file, FILE_LANES + lanes.first, lane_count(lanes), lock);
}

static int look_at_queues(const struct file *file, struct lane_range lanes, enum os_lock lock)
{
        return lock_bytes(file, FILE_QUEUES + lanes.first, lane_count(lanes), lock);
}

static int lock_queue(const struct file *file, uint64_t lane, enum os_lock lock)
{
        return lock_bytes(file, FILE_QUEUES + lane, 1, lock);
}

int file_nap(int64_t deadline, unsigned tries)
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

/* past: without a look at the queue, which is locked all the same as soon as it can be: whoever had it may be gone. */
static int try_write(struct file *file, uint64_t i, bool recovers, bool past, bool *queued)
{
        int rc;

        if (!*queued && !past && (rc = lock_queue(file, i, OS_LOOK_WRITE)) < 0)
                return rc;
        rc = file_lock_lane(file, i, OS_LOCK_WRITE);
        if (rc == -EAGAIN && !*queued && (rc = lock_queue(file, i, OS_LOCK_WRITE)) == 0) {
                *queued = true;
                rc = -EAGAIN;
        }
        if (rc < 0)
                return rc;
        leave_queue(file, i, WRITE, queued);
        if ((rc = find_sequence(file, i, recovers)) < 0)
                file_lock_lane(file, i, OS_UNLOCK);
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
                rc = file_lock_lane(file, i, OS_LOCK_READ);
                if (rc == -EAGAIN && !*queued && (rc = join_queue_to_read(file, i, queued)) == 0)
                        rc = -EAGAIN;
                if (rc < 0)
                        return rc;
        }
        rc = find_sequence(file, i, false);
        if (rc == 0)
                lane->readers++;
        else if (lane->readers == 0)
                file_lock_lane(file, i, OS_UNLOCK);
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
                        file_lock_lanes(file, (struct lane_range){ first, i - 1 }, OS_UNLOCK);
                first = i + 1;
        }
        if (first <= lanes.last)
                file_lock_lanes(file, (struct lane_range){ first, lanes.last }, OS_UNLOCK);
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

        if (rc < 0 || (rc = file_lock_lanes(file, lanes, writes ? OS_LOCK_WRITE : OS_LOCK_READ)) < 0)
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

/* Whether nobody has had a lane for PASS_AFTER, as far as the looks since then tell. */
static bool is_idle(const struct file *file, uint64_t i, int64_t *since)
{
        int64_t now;

        if (file->lane[i].readers > 0 || file->lane[i].writing || file_lock_lane(file, i, OS_LOOK_WRITE) < 0) {
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
                        rc = file_nap(request->deadline, tries);
                if (rc < 0)
                        break;
        }
        pthread_mutex_lock(&file->mutex);
        leave_queue(file, i, access, &queued);
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

int file_enter_lanes(struct file *file, const struct request *request)
{
        int rc;

        if (request->lanes.first == request->lanes.last)
                return enter_lane(file, request->lanes.first, request);
        pthread_mutex_lock(&file->mutex);
        rc = try_row(file, request->lanes, request);
        pthread_mutex_unlock(&file->mutex);
        return rc < 0 ? FILE_AGAIN : rc;
}

void file_leave_lanes(struct file *file, struct lane_range lanes, enum access access)
{
        pthread_mutex_lock(&file->mutex);
        leave_row(file, lanes, access);
        pthread_mutex_unlock(&file->mutex);
}
