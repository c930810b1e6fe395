/* workload.c - what is measured
 *
 * SPDX-License-Identifier: MIT
 *
 * Every run has a fresh map, so that neither what a lock has learnt from the
 * workload before nor the place of one page speaks in all of the results.
 */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "team.h"
#include "workload.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define MAP_SIZE (64 * KIB)
#define RANDOM_AREA (64 * MIB)
#define AREA (32 * KIB) /* what the small operations go round in: both halves of it fit the first cache */

static ammap_t *new_map(const struct peer *peer, uint64_t size, unsigned lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.lanes = lanes;
        map = peer_new(peer, size, lanes > 1 ? &options : NULL);
        if (map)
                memset(peer->address(map), 0x5a, size);
        return map;
}

/* --- One thread ---------------------------------------------------------- */

static int run_one(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                   double values[ROWS_MAX][EVENTS_MAX])
{
        uint64_t size = workload->size > MAP_SIZE ? workload->size : MAP_SIZE;
        ammap_t *map = new_map(peer, size, 1);
        struct job job;

        job_init(&job, map, workload->size, 0, workload->size > AREA ? workload->size : AREA);
        values[0][0] = job_time(workload->loop, peer, &job, pace->loop);
        job_destroy(&job);
        peer_free(peer, map);
        return 1;
}

/* A shared map is far larger than what a processor's address cache covers. */
static int run_random(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                      double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        struct job job;

        options.share = AMMAP_SHARED;
        options.huge = workload->variant == RANDOM_HUGE ? AMMAP_TRY : AMMAP_NO;
        map = peer_new(peer, RANDOM_AREA, &options);
        if (!map)
                return 0;
        memset(peer->address(map), 0x5a, RANDOM_AREA);
        job_init(&job, map, workload->size, 0, RANDOM_AREA);
        values[0][0] = job_time(workload->loop, peer, &job, pace->loop);
        job_destroy(&job);
        peer_free(peer, map);
        return 1;
}

/* --- Some threads, or processes ------------------------------------------ */

struct team *workload_team(const struct workload *workload, const struct peer *peer, ammap_t **map)
{
        static struct team *team;
        int i;

        if (!team)
                team = worker_memory(sizeof(*team));
        memset(team, 0, sizeof(*team));
        team->peer = peer;
        team->size = workload->threads;
        team->timed = team->crowded = workload->threads >= TEAM_CROWD;
        team->processes = workload->processes;
        if (team->processes) {
                *map = peer_share(peer, MAP_SIZE, &team->fd);
                memset(peer->address(*map), 0x5a, MAP_SIZE);
        } else {
                *map = new_map(peer, MAP_SIZE, workload->lanes);
        }
        if (!*map)
                return NULL;
        for (i = 0; i < team->size; i++) {
                struct member *member = &team->members[i];

                member->loop = workload->loop;
                job_init(&member->job, *map, workload->size, 0, AREA);
                member->job.random += (uint64_t)i << 40;
                member->job.position = (uint64_t)i * (AREA / TEAM_CROWD) % AREA;
                member->job.writes = (uint32_t)(workload->writes * 4294967295.0);
        }
        return team;
}

void workload_dismiss(struct team *team, ammap_t *map)
{
        int i;

        for (i = 0; i < team->size; i++)
                job_destroy(&team->members[i].job);
        if (team->processes)
                close(team->fd);
        peer_free(team->peer, map);
}

static int run_team(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                    double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_t *map;
        struct team *team = workload_team(workload, peer, &map);
        int64_t longest = 0;
        int i;

        team_run(team, team->crowded ? pace->crowd : pace->team);
        values[0][0] = 0;
        for (i = 0; i < team->size; i++) {
                values[0][0] += team_rate(&team->members[i]);
                if (team->members[i].longest > longest)
                        longest = team->members[i].longest;
        }
        values[1][0] = (double)longest / (double)MILLISECOND;
        workload_dismiss(team, map);
        return 1;
}

/* Each writer has its own half of the map, which with two lanes is a lane: the
 * lock is measured, and not how the data goes from processor to processor. */
static int run_writers(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                       double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_t *map;
        struct team *team = workload_team(workload, peer, &map);

        if (!team)
                return 0;
        team->members[1].job.base = MAP_SIZE / 2;
        team_run(team, pace->team);
        values[0][0] = team_rate(&team->members[0]) + team_rate(&team->members[1]);
        workload_dismiss(team, map);
        return 1;
}

static int run_pair(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                    double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_t *map;
        struct team *team = workload_team(workload, peer, &map);
        double reader, writer;

        team->members[1].loop = job_update;
        team_run(team, pace->team);
        reader = team_rate(&team->members[0]);
        writer = team_rate(&team->members[1]);
        values[0][0] = reader + writer;
        values[1][0] = reader;
        values[2][0] = writer;
        values[3][0] = reader < writer ? reader / writer : writer / reader;
        workload_dismiss(team, map);
        return 1;
}

/* --- The first write after a time of reading alone ------------------------ */

struct first_write {
        struct job job;
        const struct peer *peer;
        int events;
        double *values;
};

#define READING_TIME MILLISECOND

static void *slicer(void *argument)
{
        struct member *member = argument;
        struct team *team = member->team;

        team_pin(pthread_self(), 1);
        member->loop(team->peer, &member->job, 64);
        atomic_store(&team->ready, 1);
        while (!atomic_load_explicit(&team->stop, memory_order_relaxed))
                member->loop(team->peer, &member->job, 16);
        return NULL;
}

static int run_first_write(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                           double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_t *map;
        struct team *team = workload_team(workload, peer, &map);
        struct job *reader = &team->members[0].job, *writer = &team->members[1].job;
        pthread_t thread;
        int i;

        atomic_init(&team->ready, 0);
        atomic_init(&team->stop, false);
        team->members[0].team = team;
        writer->base = reader->base + MAP_SIZE / 2;
        if (pthread_create(&thread, NULL, slicer, &team->members[0]))
                return 0;
        while (!atomic_load(&team->ready))
                sched_yield();
        for (i = 0; i < pace->events; i++) {
                int64_t start = clock_now();

                while (clock_now() - start < READING_TIME)
                        ;
                start = clock_now();
                job_update(peer, writer, 1);
                values[0][i] = (double)(clock_now() - start) / 1000;
        }
        atomic_store(&team->stop, true);
        pthread_join(thread, NULL);
        workload_dismiss(team, map);
        return pace->events;
}

/* --- The list ------------------------------------------------------------ */

/* clang-format off */
#define NS(key, title)         { { key, title, UNIT_NS, SUMMARY_MEDIAN } }
#define MOPS(key, title)       { { key, title, UNIT_MOPS, SUMMARY_MEDIAN } }
#define LIFE(key, title, unit) { { key, title, unit, SUMMARY_MEDIAN } }
#define CROWD(key, title)      { { key, title, UNIT_MOPS, SUMMARY_MEDIAN }, \
                                 { key "-longest", "  its longest operation", UNIT_MS, SUMMARY_WORST } }
#define TAIL(key, title)       { { key "-p50", title ": half", UNIT_NS, SUMMARY_MEDIAN }, \
                                 { key "-p99", "  99 of 100", UNIT_NS, SUMMARY_MEDIAN }, \
                                 { key "-p999", "  999 of 1,000", UNIT_US, SUMMARY_MEDIAN }, \
                                 { key "-max", "  the longest", UNIT_MS, SUMMARY_WORST } }
#define WAITERS(key, title)    { { key, title, UNIT_MS, SUMMARY_MEDIAN } }
#define STREAM(key, title)     { { key, title, UNIT_MBS, SUMMARY_MEDIAN }, \
                                 { key "-pipe", "  by a pipe", UNIT_MBS, SUMMARY_MEDIAN }, \
                                 { key "-socket", "  by a UNIX socket", UNIT_MBS, SUMMARY_MEDIAN } }

/* What one thread does comes just before what two do of it, as the targets
 * compare the two and the machine's speed drifts. */
static const struct workload list[] = {
        { NS("read-8", "read 8 B"), run_one, "One thread", job_read, .size = 8 },
        { NS("read-64", "read 64 B"), run_one, .loop = job_read, .size = 64 },
        { NS("read-256", "read 256 B"), run_one, .loop = job_read, .size = 256 },
        { NS("read-1K", "read 1 KiB"), run_one, .loop = job_read, .size = KIB },
        { NS("read-1025", "read 1,025 B"), run_one, .loop = job_read, .size = KIB + 1 },
        { NS("read-4K", "read 4 KiB"), run_one, .loop = job_read, .size = 4 * KIB },
        { NS("read-16K", "read 16 KiB"), run_one, .loop = job_read, .size = 16 * KIB },
        { NS("read-64K", "read 64 KiB"), run_one, .loop = job_read, .size = 64 * KIB },
        { NS("read-1M", "read 1 MiB"), run_one, .loop = job_read, .size = MIB },
        { NS("update-8", "update 8 B"), run_one, .loop = job_update, .size = 8 },
        { NS("update-64", "update 64 B"), run_one, .loop = job_update, .size = 64 },
        { NS("update-256", "update 256 B"), run_one, .loop = job_update, .size = 256 },
        { NS("update-1K", "update 1 KiB"), run_one, .loop = job_update, .size = KIB },
        { NS("update-1025", "update 1,025 B"), run_one, .loop = job_update, .size = KIB + 1 },
        { NS("update-4K", "update 4 KiB"), run_one, .loop = job_update, .size = 4 * KIB },
        { NS("update-16K", "update 16 KiB"), run_one, .loop = job_update, .size = 16 * KIB },
        { NS("update-64K", "update 64 KiB"), run_one, .loop = job_update, .size = 64 * KIB },
        { NS("update-1M", "update 1 MiB"), run_one, .loop = job_update, .size = MIB },
        { NS("alternate-64", "update/read 64 B"), run_one, .loop = job_alternate, .size = 64 },
        { NS("slice", "take, release slice"), run_one, .loop = job_slice, .size = 64 },
        { NS("mut-slice", "take, release mut slice"), run_one, .loop = job_mut_slice, .size = 64 },

        { MOPS("read-8-t1", "1 reads 8 B"), run_team, "Threads", job_read, .size = 8, .threads = 1 },
        { MOPS("read-8-t2", "2 read 8 B"), run_team, .loop = job_read, .size = 8, .threads = 2 },
        { MOPS("read-8-t4", "4 read 8 B"), run_team, .loop = job_read, .size = 8, .threads = 4 },
        { MOPS("read-64-t1", "1 reads 64 B"), run_team, .loop = job_read, .size = 64, .threads = 1 },
        { MOPS("read-64-t2", "2 read 64 B"), run_team, .loop = job_read, .size = 64, .threads = 2 },
        { MOPS("read-64-t4", "4 read 64 B"), run_team, .loop = job_read, .size = 64, .threads = 4 },
        { MOPS("read-4K-t1", "1 reads 4 KiB"), run_team, .loop = job_read, .size = 4 * KIB, .threads = 1 },
        { MOPS("read-4K-t2", "2 read 4 KiB"), run_team, .loop = job_read, .size = 4 * KIB, .threads = 2 },
        { MOPS("read-4K-t4", "4 read 4 KiB"), run_team, .loop = job_read, .size = 4 * KIB, .threads = 4 },
        { MOPS("slice-t2", "2 take slices"), run_team, .loop = job_slice, .size = 64, .threads = 2 },
        { MOPS("mix-99-t2", "2 at 99/1 of 64 B"), run_team, .loop = job_mix, .size = 64, .threads = 2, .writes = .01 },
        { MOPS("mix-95-t2", "2 at 95/5"), run_team, .loop = job_mix, .size = 64, .threads = 2, .writes = .05 },
        { MOPS("mix-50-t2", "2 at 50/50"), run_team, .loop = job_mix, .size = 64, .threads = 2, .writes = .50 },
        { { { "pair", "1 writes, 1 reads 64 B", UNIT_MOPS, SUMMARY_MEDIAN },
            { "pair-reader", "  the reader", UNIT_MOPS, SUMMARY_MEDIAN },
            { "pair-writer", "  the writer", UNIT_MOPS, SUMMARY_MEDIAN },
            { "pair-even", "  slower/faster of them", UNIT_RATIO, SUMMARY_MEDIAN } },
          run_pair, .loop = job_read, .size = 64, .threads = 2 },
        { MOPS("update-64-t1", "1 writes 64 B"), run_team, .loop = job_update, .size = 64, .threads = 1 },
        { MOPS("update-64-t2", "2 write, one lane"), run_writers, .loop = job_update, .size = 64, .threads = 2,
          .lanes = 1 },
        { MOPS("update-64-t2-lanes", "2 write, two lanes"), run_writers, .loop = job_update, .size = 64, .threads = 2,
          .lanes = 2 },
        { { { "first-write", "write after slices", UNIT_US, SUMMARY_MEDIAN },
            { "first-write-p99", "  its 99th percentile", UNIT_US, SUMMARY_P99 } },
          run_first_write, .loop = job_slice, .size = 64, .threads = 2, .every = 6 },

        { CROWD("mix-99-t8", "8 at 99/1 of 64 B"), run_team, "Eight threads on two processors", job_mix, .size = 64,
          .threads = 8, .writes = .01, .every = 12 },
        { CROWD("mix-95-t8", "8 at 95/5"), run_team, .loop = job_mix, .size = 64, .threads = 8, .writes = .05,
          .every = 12 },
        { CROWD("mix-50-t8", "8 at 50/50"), run_team, .loop = job_mix, .size = 64, .threads = 8, .writes = .50,
          .every = 12 },

        { TAIL("tail-95-t8", "8 at 95/5"), tail_run, "A call (and the clock's own 20 ns or so), on two processors",
          .size = 64, .threads = 8, .writes = .05, .every = 24 },
        { TAIL("tail-50-t8", "8 at 50/50"), tail_run, .size = 64, .threads = 8, .writes = .50, .every = 24 },
        { TAIL("tail-95-t64", "64 at 95/5"), tail_run, .size = 64, .threads = 64, .writes = .05, .every = 24 },
        { TAIL("tail-50-t64", "64 at 50/50"), tail_run, .size = 64, .threads = 64, .writes = .50, .every = 24 },

        { LIFE("new-4K", "make 4 KiB", UNIT_US), life_run, "Create, touch each page, free", .size = 4 * KIB },
        { LIFE("new-64K", "make 64 KiB", UNIT_US), life_run, .size = 64 * KIB },
        { LIFE("new-1M", "make 1 MiB", UNIT_US), life_run, .size = MIB },
        { LIFE("new-64M", "make 64 MiB", UNIT_MS), life_run, .size = 64 * MIB, .every = 12 },
        { LIFE("new-1G", "make 1 GiB", UNIT_MS), life_run, .size = GIB, .every = 40 },
        { LIFE("new-4K-recycled", "make 4 KiB, recycled", UNIT_US), life_run, .size = 4 * KIB,
          .variant = LIFE_RECYCLED },
        { LIFE("new-64K-recycled", "make 64 KiB, recycled", UNIT_US), life_run, .size = 64 * KIB,
          .variant = LIFE_RECYCLED },
        { LIFE("new-1M-recycled", "make 1 MiB, recycled", UNIT_US), life_run, .size = MIB, .variant = LIFE_RECYCLED },
        { LIFE("new-64M-recycled", "make 64 MiB, recycled", UNIT_MS), life_run, .size = 64 * MIB, .every = 12,
          .variant = LIFE_RECYCLED },
        { LIFE("new-64M-huge", "make 64 MiB, huge pages", UNIT_MS), life_run, .size = 64 * MIB, .every = 12,
          .variant = LIFE_HUGE },
        { LIFE("new-1G-huge", "make 1 GiB, huge pages", UNIT_MS), life_run, .size = GIB, .every = 40,
          .variant = LIFE_HUGE },

        { NS("shared-random-64M", "8 B of 64 MiB at random"), run_random, "Shared memory", job_random, .size = 8,
          .processes = true, .every = 6 },
        { NS("shared-random-64M-huge", "  in huge pages"), run_random, .loop = job_random, .size = 8,
          .processes = true, .variant = RANDOM_HUGE, .every = 6 },

        { MOPS("shared-read-64", "1 reads 64 B"), run_team, "Processes", job_read, .size = 64, .threads = 1,
          .processes = true },
        { MOPS("shared-update-64", "1 writes 64 B"), run_team, .loop = job_update, .size = 64, .threads = 1,
          .processes = true },
        { MOPS("shared-slice", "1 takes slices"), run_team, .loop = job_slice, .size = 64, .threads = 1,
          .processes = true },
        { MOPS("shared-mut-slice", "1 takes mut slices"), run_team, .loop = job_mut_slice, .size = 64, .threads = 1,
          .processes = true },
        { MOPS("shared-read-64-p2", "2 read 64 B"), run_team, .loop = job_read, .size = 64, .threads = 2,
          .processes = true },
        { MOPS("shared-slice-p2", "2 take slices"), run_team, .loop = job_slice, .size = 64, .threads = 2,
          .processes = true },
        { MOPS("shared-mix-95-p2", "2 at 95/5 of 64 B"), run_team, .loop = job_mix, .size = 64, .threads = 2,
          .writes = .05, .processes = true },
        { { { "shared-pair", "1 writes, 1 reads 64 B", UNIT_MOPS, SUMMARY_MEDIAN },
            { "shared-pair-reader", "  the reader", UNIT_MOPS, SUMMARY_MEDIAN },
            { "shared-pair-writer", "  the writer", UNIT_MOPS, SUMMARY_MEDIAN },
            { "shared-pair-even", "  slower/faster of them", UNIT_RATIO, SUMMARY_MEDIAN } },
          run_pair, .loop = job_read, .size = 64, .threads = 2, .processes = true },

        { WAITERS("shared-wait-64-writer", "behind a writer"), waiters_run,
          "64 threads that wait: processor time in a second", .threads = 64, .processes = true, .every = 40,
          .variant = WAITERS_BEHIND_WRITER },
        { WAITERS("shared-wait-64-reader", "behind a reader"), waiters_run, .threads = 64, .processes = true,
          .every = 40, .variant = WAITERS_BEHIND_READER },
        { WAITERS("shared-wait-64-mixed", "both, behind a writer"), waiters_run, .threads = 64,
          .processes = true, .every = 40, .variant = WAITERS_MIXED },

        { NS("only-read-64", "read 64 B"), only_run, "What the others have not", job_read, .size = 64 },
        { NS("only-try-read-64", "  that does not wait"), only_run, .loop = job_try_read, .size = 64 },
        { NS("only-update-64", "update 64 B"), only_run, .loop = job_update, .size = 64 },
        { NS("only-try-update-64", "  that does not wait"), only_run, .loop = job_try_update, .size = 64 },
        { NS("only-mut-slice", "take, release mut slice"), only_run, .loop = job_mut_slice, .size = 64 },
        { NS("only-downgrade", "  with a downgrade"), only_run, .loop = job_downgrade, .size = 64 },
        { NS("shared-only-downgrade", "downgrade, shared"), only_run, .loop = job_downgrade, .size = 64,
          .processes = true, .variant = ONLY_SHARED },
        { NS("shared-only-read-64", "read 64 B, shared"), only_run, .loop = job_read, .size = 64,
          .processes = true, .variant = ONLY_SHARED },
        { NS("shared-only-read-64-words", "  file, allow_faults"), only_run, .loop = job_read, .size = 64,
          .processes = true, .variant = ONLY_WORDS },
        { NS("shared-only-read-64-kernel", "  file, kernel's lock"), only_run, .loop = job_read, .size = 64,
          .processes = true, .variant = ONLY_KERNEL },
        { NS("shared-only-update-64", "update 64 B, shared"), only_run, .loop = job_update, .size = 64,
          .processes = true, .variant = ONLY_SHARED },
        { NS("shared-only-update-64-words", "  file, allow_faults"), only_run, .loop = job_update, .size = 64,
          .processes = true, .variant = ONLY_WORDS },
        { NS("shared-only-update-64-kernel", "  file, kernel's lock"), only_run, .loop = job_update, .size = 64,
          .processes = true, .variant = ONLY_KERNEL },
        { { { "shared-only-death", "a death is told after", UNIT_MS, SUMMARY_MEDIAN },
            { "shared-only-death-p99", "  its 99th percentile", UNIT_MS, SUMMARY_P99 } },
          only_death, .processes = true, .every = 24 },

        { { { "shared-ping1", "word to and fro, 1 CPU", UNIT_US, SUMMARY_MEDIAN },
            { "shared-ping1-bare", "  by bare futexes", UNIT_US, SUMMARY_MEDIAN },
            { "shared-ping2", "word to and fro, 2 CPUs", UNIT_US, SUMMARY_MEDIAN },
            { "shared-ping2-bare", "  by bare futexes", UNIT_US, SUMMARY_MEDIAN } },
          message_ping, "Messages between two processes", .processes = true, .every = 3 },
        { STREAM("shared-ring-64", "64 B, by a ring"), message_stream, .size = 64, .processes = true,
          .every = 3 },
        { STREAM("shared-ring-4K", "4 KiB, by a ring"), message_stream, .size = 4 * KIB, .processes = true,
          .every = 3 },
        { STREAM("shared-ring-64K", "64 KiB, by a ring"), message_stream, .size = 64 * KIB, .processes = true,
          .every = 3 },
};
/* clang-format on */

const struct workload *workloads = list;
int workload_count = sizeof(list) / sizeof(list[0]);
