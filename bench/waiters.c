/* waiters.c - what threads cost that wait for a map
 *
 * SPDX-License-Identifier: MIT
 *
 * One thread holds the map for as long as the measurement takes, and many others want it.
 * What the process takes of the processors meanwhile, they take: the holder sleeps.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "clock.h"
#include "team.h"
#include "workload.h"

#define SIZE ((uint64_t)64 * 1024)
#define LENGTH 64
#define SETTLE (50 * MILLISECOND) /* all have begun to wait, and sleep, unless they never do */

struct waiters {
        const struct peer *peer;
        ammap_t *map;
        _Atomic int begun;
        _Atomic int done;
        _Atomic int bad;
};

static void *reader(void *argument)
{
        struct waiters *all = argument;
        ammap_slice_t slice;
        int rc;

        team_pin_to_two(pthread_self());
        atomic_fetch_add(&all->begun, 1);
        rc = all->peer->take(all->map, 0, LENGTH, &slice);
        atomic_fetch_add(&all->done, 1);
        if (rc == 0)
                rc = all->peer->release(&slice);
        if (rc != 0)
                atomic_store(&all->bad, rc);
        return NULL;
}

static void *writer(void *argument)
{
        static const unsigned char bytes[LENGTH];
        struct waiters *all = argument;
        int rc;

        team_pin_to_two(pthread_self());
        atomic_fetch_add(&all->begun, 1);
        rc = all->peer->update(all->map, 0, bytes, LENGTH);
        atomic_fetch_add(&all->done, 1);
        if (rc != 0)
                atomic_store(&all->bad, rc);
        return NULL;
}

static int64_t spent(void)
{
        struct timespec time;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void rest(int64_t duration)
{
        struct timespec nap = { duration / 1000000000, duration % 1000000000 };

        nanosleep(&nap, NULL); /* the time given, not a way to wait for anything */
}

/* Milliseconds of processor time in a second. */
static double cost_of(struct waiters *all, int count, int64_t duration)
{
        int64_t start, used;

        while (atomic_load(&all->begun) < count)
                sched_yield();
        rest(SETTLE);
        used = spent();
        start = clock_now();
        rest(duration);
        used = spent() - used;
        return (double)used * 1000 / (double)(clock_now() - start);
}

int waiters_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        pthread_t threads[TEAM_MAX];
        struct waiters all = { .peer = peer };
        ammap_mut_slice_t held_mut;
        ammap_slice_t held;
        bool behind_reader = workload->variant == WAITERS_BEHIND_READER, in;
        int i, rc;

        options.share = AMMAP_SHARED;
        all.map = peer_new(peer, SIZE, workload->processes ? &options : NULL);
        if (!all.map)
                return 0;
        rc = behind_reader ? peer->take(all.map, 0, LENGTH, &held) : peer->take_mut(all.map, 0, LENGTH, &held_mut);
        if (rc != 0)
                errx(1, "%s: no slice: error %d", peer->name, rc);
        for (i = 0; i < workload->threads; i++) {
                bool writes = behind_reader || (workload->variant == WAITERS_MIXED && i % 2);

                errno = pthread_create(&threads[i], NULL, writes ? writer : reader, &all);
                if (errno)
                        err(1, "pthread_create");
        }
        values[0][0] = cost_of(&all, workload->threads, pace->crowd);
        in = atomic_load(&all.done) > 0;
        rc = behind_reader ? peer->release(&held) : peer->release_mut(&held_mut);
        if (rc != 0)
                atomic_store(&all.bad, rc);
        for (i = 0; i < workload->threads; i++)
                pthread_join(threads[i], NULL);
        if (atomic_load(&all.bad))
                errx(1, "%s: an operation failed (%d)", peer->name, atomic_load(&all.bad));
        peer_free(peer, all.map);
        return in ? 0 : 1; /* who does not wait has no price for it */
}
