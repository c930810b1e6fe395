/* worker.h - another thread, which does one thing at a time, while the first one waits for it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WORKER_H
#define WORKER_H

#include "input.h"

#include <pthread.h>

static struct worker {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        bool started;
        void (*job)(void *context);
        void *context;
} worker = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void *work(void *unused)
{
        (void)unused;
        pthread_mutex_lock(&worker.mutex);
        for (;;) {
                while (!worker.job)
                        pthread_cond_wait(&worker.changed, &worker.mutex);
                worker.job(worker.context);
                worker.job = NULL;
                pthread_cond_broadcast(&worker.changed);
        }
        return NULL;
}

static void on_worker(void (*job)(void *context), void *context)
{
        pthread_mutex_lock(&worker.mutex);
        if (!worker.started) {
                pthread_t thread;

                MUST(pthread_create(&thread, NULL, work, NULL) == 0, "a thread");
                pthread_detach(thread);
                worker.started = true;
        }
        worker.job = job;
        worker.context = context;
        pthread_cond_broadcast(&worker.changed);
        while (worker.job)
                pthread_cond_wait(&worker.changed, &worker.mutex);
        pthread_mutex_unlock(&worker.mutex);
}

/* One that ends. */
static inline void on_passing_thread(void *(*body)(void *context), void *context)
{
        pthread_t thread;

        MUST(pthread_create(&thread, NULL, body, context) == 0, "a thread");
        MUST(pthread_join(thread, NULL) == 0, "its end");
}

#endif /* WORKER_H */
