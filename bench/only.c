/* only.c - what none of the others has
 *
 * SPDX-License-Identifier: MIT
 *
 * Calls that do not wait, a writer that becomes a reader, maps in files, and a wait that the
 * end of a process ends.  Each row is to be compared with another one of the same run.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "worker.h"
#include "workload.h"

#define ONLY_SIZE ((uint64_t)64 * 1024)
#define ONLY_AREA ((uint64_t)32 * 1024)

static bool has(const struct peer *peer, job_loop *loop)
{
        return loop == job_try_read     ? peer->try_read != NULL
               : loop == job_try_update ? peer->try_update != NULL
               : loop == job_downgrade  ? peer->downgrade != NULL
                                        : true;
}

/* A file without a name, once it is open. */
static ammap_t *new_in_file(const struct peer *peer, unsigned variant)
{
        char path[] = "/dev/shm/ammap-bench-XXXXXX";
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int fd = mkstemp(path);
        ammap_t *map = NULL;

        if (fd < 0)
                return NULL;
        close(fd);
        options.allow_faults = variant == ONLY_WORDS;
        if (peer->open_map(&map, path, ONLY_SIZE, &options) < 0)
                map = NULL;
        unlink(path);
        return map;
}

static ammap_t *new_shared(const struct peer *peer)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = AMMAP_SHARED;
        return peer_new(peer, ONLY_SIZE, &options);
}

int only_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_t *map = NULL;
        struct job job;
        uint64_t n = 2;
        int64_t start, elapsed;

        if (!has(peer, workload->loop) || !peer->open_map)
                return 0;
        map = workload->variant == ONLY_PRIVATE  ? peer_new(peer, ONLY_SIZE, NULL)
              : workload->variant == ONLY_SHARED ? new_shared(peer)
                                                 : new_in_file(peer, workload->variant);
        if (!map)
                return 0;
        job_init(&job, map, workload->size, 0, ONLY_AREA);
        do {
                n *= 2;
                start = clock_now();
                workload->loop(peer, &job, n);
                elapsed = clock_now() - start;
        } while (elapsed < pace->loop);
        values[0][0] = (double)elapsed / (double)n;
        job_destroy(&job);
        peer_free(peer, map);
        return 1;
}

/* --- A process that is gone --- */

struct death {
        _Atomic int64_t time;
};

static void die_soon(struct death *death, int event)
{
        const struct timespec time = { 0, (2 + event % 11) * 1000000L };

        nanosleep(&time, NULL);
        atomic_store(&death->time, clock_now());
        raise(SIGKILL);
}

int only_death(const struct workload *workload, const struct peer *peer, const struct pace *pace,
               double values[ROWS_MAX][EVENTS_MAX])
{
        static struct death *death;
        ammap_t *map;
        int i;

        (void)workload;
        if (!peer->wait_peer || !(map = new_shared(peer)))
                return 0;
        if (!death)
                death = worker_memory(sizeof(*death));
        for (i = 0; i < pace->events; i++) {
                pid_t pid = fork();
                int rc;

                if (pid == 0)
                        die_soon(death, i);
                rc = pid < 0 ? -1 : peer->wait_peer(map, 0, 0, 1000000000, (int32_t)pid);
                if (rc != AMMAP_ERR_OWNER_DEAD) {
                        fprintf(stderr, "bench: a wait for a process that is gone: error %d\n", rc);
                        exit(1);
                }
                values[0][i] = (double)(clock_now() - atomic_load(&death->time)) / 1e6;
                waitpid(pid, NULL, 0);
        }
        peer_free(peer, map);
        return pace->events;
}
