/* worker.h - a thread, or a process, that runs a function
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct worker {
        pthread_t thread;
        pid_t pid; /* 0: a thread */
};

/* Memory, all zero, that threads and processes alike work on together; at the
 * same address in all of them, and never given back. */
void *worker_memory(size_t size);

/* A process dies with its parent, and succeeds by returning from run. */
void worker_start(struct worker *worker, bool process, void *(*run)(void *), void *argument);

/* Exit where a process has ended that someone waits for. */
void worker_check(const struct worker *worker);

/* Exit where a process has failed. */
void worker_join(const struct worker *worker);

#endif
