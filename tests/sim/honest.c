/* honest.c - what a liar does not reach: other maps, and the time that a call was given
 *
 * SPDX-License-Identifier: MIT
 *
 * Beside the map that lies.c lies about each process has one of its own, and all have one whose header
 * nobody touches.  Both hold what they were filled with, and nobody is in them when the calls are over.
 *
 * A call with a timeout sleeps for no longer than that, whatever the header says, and does but so many
 * steps of its own once the time is over: some looks at all slots.
 */
#include "model.h"

#include "os/os.h"

#include <string.h>

enum { SIZE = 256, OVER_MAX = 30000, SLACK = 10000000 };

static ammap_t *own[PROCESSES_MAX], *common[PROCESSES_MAX];
static struct due {
        bool is;        /* the call has a timeout */
        int64_t at;     /* 0: the library has not looked at the clock yet */
        unsigned steps; /* since then */
} due[THREADS_MAX];

/* --- Other maps --- */

static ammap_t *make(ammap_share_t share, unsigned char byte)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        options.share = share;
        if ((rc = ammap_new_with(&map, SIZE, &options)) < 0 || (rc = ammap_fill(map, 0, SIZE, byte)) < 0)
                fail("no map: %d", rc);
        return map;
}

/* After the one that is lied about, which is the first to have a descriptor. */
void honest_begin(void)
{
        int rc, fd;

        memset(common, 0, sizeof common);
        common[0] = make(AMMAP_SHARED, 'c');
        fd = ammap_fd(common[0]);
        files_give(fd);
        for (unsigned p = 0; p < plan.processes; p++) {
                enter_process(p);
                own[p] = make(AMMAP_PRIVATE, (unsigned char)('0' + p));
                if (p > 0 && (rc = ammap_import(&common[p], fd, NULL)) < 0)
                        fail("no import: %d", rc);
        }
        enter_process(0);
}

static void look_at(ammap_t *map, unsigned char byte)
{
        unsigned char bytes[SIZE];
        int rc = ammap_read_into(map, 0, bytes, sizeof bytes);

        if (rc < 0 && current && was_refused(rc))
                return;
        if (rc != 0)
                fail("a map that nobody lies about is read: %d", rc);
        for (unsigned i = 0; i < SIZE; i++)
                if (bytes[i] != byte)
                        fail("a map that nobody lies about has changed");
}

void honest_look(unsigned process)
{
        if (!own[process])
                return;
        look_at(own[process], (unsigned char)('0' + process));
        look_at(common[process], 'c');
}

/* Of the process that is there, when the calls are over. */
void honest_end(unsigned process)
{
        int rc;

        if (!own[process])
                return;
        honest_look(process);
        if ((rc = ammap_try_update_region(own[process], 0, "x", 1)) != 0 ||
            (rc = ammap_try_update_region(common[process], 0, "c", 1)) != 0)
                fail("a map that nobody lies about is written in the end: %d", rc);
        if ((rc = ammap_free(own[process])) != 0 || (rc = ammap_free(common[process])) != 0)
                fail("a map that nobody lies about is freed: %d", rc);
        own[process] = NULL;
}

void honest_forget(void)
{
        memset(due, 0, sizeof due);
        memset(own, 0, sizeof own);
}

/* --- Time --- */

int64_t due_begin(int64_t timeout)
{
        due[current->number] = (struct due){ .is = timeout >= 0 };
        return timeout;
}

void due_end(void)
{
        if (current)
                due[current->number].is = false;
}

void due_set(int64_t deadline)
{
        if (current && due[current->number].is)
                due[current->number].at = deadline;
}

void due_step(void)
{
        struct due *mine = &due[current->number];

        if (mine->is && mine->at && clock_now > mine->at && ++mine->steps > OVER_MAX)
                fail("the time of a call is over, and it goes on for %d steps", OVER_MAX);
}

/* A nap is counted from a later look at the clock: hence the slack.  Who has a mutex of the process is not asked
 * for how long. */
void due_sleep(const volatile void *word, int64_t deadline)
{
        const struct due *mine = &due[current->number];

        if (mine->is && mine->at && (deadline == OS_NEVER || deadline > mine->at + SLACK) &&
            (deadline != OS_NEVER || memory_is_shared((uintptr_t)word)))
                fail("a call sleeps for longer than its timeout");
}
