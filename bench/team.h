/* team.h - threads, or processes, that work at the same time, for a given time
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "job.h"
#include "worker.h"

#define TEAM_MAX 64
#define TEAM_CROWD 8 /* so many threads are a crowd, whatever the machine */

struct team;

struct member {
        struct team *team;
        struct worker worker;
        job_loop *loop;
        struct job job;
        void *address;       /* of the map, for this process */
        uint64_t operations; /* results: how many, */
        int64_t elapsed;     /* in how many nanoseconds: of its own if it is alone, else since the team's start, */
        int64_t longest;     /* and the longest batch, where the team is `timed` */
};

/* Lies in worker_memory where it is of processes. */
struct team {
        const struct peer *peer;
        int size;
        bool processes; /* each with the map behind fd, else threads */
        int fd;
        bool timed;   /* look at the clock after each small batch */
        bool crowded; /* more threads than processors: share the first two, wherever the scheduler likes */
        int64_t start;
        _Atomic int ready;
        _Atomic bool go;
        _Atomic bool stop;
        struct member members[TEAM_MAX];
};

/* Learn which processors there are; call it before all else of this file. */
void team_init(void);

/* How many processors the process may use. */
int team_processors(void);

/* The first two processors (or the only one) that the process may use. */
void team_pin_to_two(pthread_t thread);

/* The n-th processor that the process may use, modulo how many there are. */
void team_pin(pthread_t thread, int n);

/* Run the members' loops for duration nanoseconds. */
void team_run(struct team *team, int64_t duration);

/* One member's operations in a microsecond: its Mops. */
double team_rate(const struct member *member);

#endif
