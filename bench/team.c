/* team.c - threads, or processes, that work at the same time, for a given time
 *
 * SPDX-License-Identifier: MIT
 */
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "clock.h"
#include "team.h"

/* Operations between two looks at the stop flag: seldom enough to cost
 * nothing, often enough not to overrun.  Where batches are timed they are
 * smaller, as a batch's time stands for its longest operation's. */
#define BATCH 64
#define BATCH_TIMED 16

static cpu_set_t allowed;

void team_init(void)
{
        if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
                err(1, "sched_getaffinity");
}

int team_processors(void)
{
        return CPU_COUNT(&allowed);
}

static size_t processor(int n)
{
        size_t cpu;

        n %= CPU_COUNT(&allowed);
        for (cpu = 0;; cpu++)
                if (CPU_ISSET(cpu, &allowed) && n-- == 0)
                        return cpu;
}

void team_pin(pthread_t thread, int n)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(processor(n), &set);
        errno = pthread_setaffinity_np(thread, sizeof(set), &set);
        if (errno)
                err(1, "pthread_setaffinity_np");
}

void team_pin_to_two(pthread_t thread)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(processor(0), &set);
        CPU_SET(processor(1), &set);
        errno = pthread_setaffinity_np(thread, sizeof(set), &set);
        if (errno)
                err(1, "pthread_setaffinity_np");
}

static void work_timed(struct member *member)
{
        struct team *team = member->team;
        int64_t before = clock_now(), now = before;
        int bad = 0;

        while (!atomic_load_explicit(&team->stop, memory_order_relaxed)) {
                bad |= member->loop(team->peer, &member->job, BATCH_TIMED);
                now = clock_now();
                if (now - before > member->longest)
                        member->longest = now - before;
                before = now;
                member->operations += BATCH_TIMED;
        }
        member->elapsed = now - team->start;
        if (bad)
                errx(1, "%s: an operation failed (%d)", team->peer->name, bad);
}

static void work(struct member *member)
{
        struct team *team = member->team;
        uint64_t operations = 0;
        int64_t begin = clock_own();
        int bad = 0;

        while (!atomic_load_explicit(&team->stop, memory_order_relaxed)) {
                bad |= member->loop(team->peer, &member->job, BATCH);
                operations += BATCH;
        }
        member->elapsed = team->size == 1 ? clock_own() - begin : clock_now() - team->start;
        member->operations = operations;
        if (bad)
                errx(1, "%s: an operation failed (%d)", team->peer->name, bad);
}

static void *begin(void *argument)
{
        struct member *member = argument;
        struct team *team = member->team;

        if (team->crowded)
                team_pin_to_two(pthread_self());
        else
                team_pin(pthread_self(), (int)(member - team->members));
        if (team->processes) {
                member->job.map = peer_import(team->peer, team->fd, (int)(member - team->members));
                member->address = team->peer->address(member->job.map);
        }
        member->loop(team->peer, &member->job, BATCH); /* what the first use costs a thread is not timed */
        atomic_fetch_add(&team->ready, 1);
        while (!atomic_load_explicit(&team->go, memory_order_acquire))
                sched_yield();
        if (team->timed)
                work_timed(member);
        else
                work(member);
        return NULL;
}

void team_run(struct team *team, int64_t duration)
{
        struct timespec nap = { duration / 1000000000, duration % 1000000000 };
        int i;

        atomic_init(&team->ready, 0);
        atomic_init(&team->go, false);
        atomic_init(&team->stop, false);
        for (i = 0; i < team->size; i++) {
                struct member *member = &team->members[i];

                member->team = team;
                member->operations = 0;
                member->elapsed = 0;
                member->longest = 0;
                worker_start(&member->worker, team->processes, begin, member);
        }
        while (atomic_load(&team->ready) < team->size) {
                for (i = 0; i < team->size; i++)
                        worker_check(&team->members[i].worker);
                sched_yield();
        }
        if (team->processes && team->size > 1 && team->members[0].address == team->members[1].address)
                errx(1, "%s: two processes have the map at one address", team->peer->name);
        /* One start for all: a thread that waits for a processor meanwhile has
         * that time against it, else four threads on two would seem faster. */
        team->start = clock_now();
        atomic_store_explicit(&team->go, true, memory_order_release);
        nanosleep(&nap, NULL); /* the time given, not a way to wait for anything */
        atomic_store_explicit(&team->stop, true, memory_order_relaxed);
        for (i = 0; i < team->size; i++)
                worker_join(&team->members[i].worker);
}

double team_rate(const struct member *member)
{
        return member->elapsed > 0 ? (double)member->operations * 1000 / (double)member->elapsed : 0;
}
