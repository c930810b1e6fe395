/* workload.h - what is measured
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "job.h"

#define ROWS_MAX 4     /* of one workload */
#define EVENTS_MAX 256 /* of one run */

enum unit {
        UNIT_NONE, /* the end of a list of rows */
        UNIT_NS,
        UNIT_US,
        UNIT_MS,
        UNIT_MOPS, /* more is better in this one and in the next ones */
        UNIT_MBS,
        UNIT_RATIO,
};

enum summary {
        SUMMARY_MEDIAN,
        SUMMARY_P99, /* of the events of the workload's first row, all rounds together */
        SUMMARY_WORST,
};

/* A line of the table: one figure of a workload. */
struct row {
        const char *key; /* in targets and the CSV file */
        const char *title;
        enum unit unit;
        enum summary summary;
};

/* How long to run, in nanoseconds. */
struct pace {
        int64_t loop;  /* one thread */
        int64_t team;  /* some threads or processes */
        int64_t crowd; /* more threads than processors */
        int events;    /* first writes */
};

struct team;

struct workload {
        struct row rows[ROWS_MAX];
        /* Put a figure for each row into values; or, for a workload of events,
         * that many into the first row's.  How many each, or 0 where the peer
         * cannot do it. */
        int (*run)(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                   double values[ROWS_MAX][EVENTS_MAX]);
        const char *heading; /* printed before it */
        job_loop *loop;
        uint64_t size;
        int threads; /* or processes: */
        bool processes;
        double writes; /* share of them in a mix */
        int every;     /* only in every n-th round; 0: in each */
        unsigned lanes;
        unsigned variant;
};

extern const struct workload *workloads; /* the list in workload.c, or another */
extern int workload_count;

/* A team with a map of its own for the workload, and the end of both; NULL where the peer cannot
 * make such a map. */
struct team *workload_team(const struct workload *workload, const struct peer *peer, ammap_t **map);
void workload_dismiss(struct team *team, ammap_t *map);

/* life.c: make a map of workload->size, touch each page, free it. */
int life_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX]);

/* message.c: two processes pass a word to and fro; or messages of workload->size
 * one way. */
int message_ping(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                 double values[ROWS_MAX][EVENTS_MAX]);
int message_stream(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                   double values[ROWS_MAX][EVENTS_MAX]);

/* tail.c: how long calls take, of workload->threads that share two processors: half of them, 99
 * and 99.9 of 100 not longer than so, and the longest. */
int tail_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX]);

/* waiters.c: what workload->threads cost that wait for one who holds the map. */
int waiters_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                double values[ROWS_MAX][EVENTS_MAX]);

/* only.c: an operation of the loop's on a map of workload->variant; how long after a process
 * is killed one who waits for it learns that. */
int only_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX]);
int only_death(const struct workload *workload, const struct peer *peer, const struct pace *pace,
               double values[ROWS_MAX][EVENTS_MAX]);

/* What workload->variant asks of a peer that has it. */
#define LIFE_PLAIN 0
#define LIFE_RECYCLED 1
#define LIFE_HUGE 2
#define RANDOM_HUGE 1
enum { WAITERS_BEHIND_WRITER, WAITERS_BEHIND_READER, WAITERS_MIXED };
enum { ONLY_PRIVATE, ONLY_SHARED, ONLY_WORDS, ONLY_KERNEL };

#endif
