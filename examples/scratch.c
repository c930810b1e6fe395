/* scratch: four threads fill, read and count in one map.  SPDX-License-Identifier: MIT */
#include <ammap.h>
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { THREADS = 4, PART = 4 << 20, FILLED = THREADS * PART, ROUNDS = 100000 };
static ammap_t *map; /* a lane of PART bytes for each thread, and one for the counter */
static pthread_barrier_t filled;

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

static double milliseconds(void)
{
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void *work(void *arg)
{
        const unsigned char number = *(unsigned char *)arg;
        ammap_mut_slice_t mine;
        ammap_slice_t all;
        ammap_u64_view_t counter;
        size_t found = 0;

        /* A writer has the lanes that it touches to itself; each thread has its own, so none waits. */
        double start = milliseconds();
        must(ammap_as_mut_slice(map, (uint64_t)(number - 1) * PART, PART, &mine));
        memset(mine.data, number, mine.length);
        ammap_mut_slice_release(&mine);
        printf("thread %d: filled %d bytes in %.2f ms\n", number, PART, milliseconds() - start);
        pthread_barrier_wait(&filled);

        /* Readers share: all four hold all of it at once, each looking for its own bytes. */
        start = milliseconds();
        must(ammap_as_slice(map, 0, FILLED, &all));
        for (size_t i = 0; i < all.length; i++)
                found += all.data[i] == number;
        ammap_slice_release(&all);
        printf("thread %d: read %d bytes in %.2f ms, %zu are mine\n", number, FILLED, milliseconds() - start, found);

        /* An atomic view takes no lock and waits for nobody. */
        start = milliseconds();
        must(ammap_atomic_u64(map, FILLED, &counter));
        for (int i = 0; i < ROUNDS; i++)
                atomic_fetch_add(counter.value, 1);
        ammap_u64_view_release(&counter);
        printf("thread %d: counted to %d in %.2f ms\n", number, ROUNDS, milliseconds() - start);
        return NULL;
}

int main(void)
{
        pthread_t threads[THREADS];
        unsigned char numbers[THREADS] = { 1, 2, 3, 4 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t total;

        options.lanes = THREADS + 1;
        must(ammap_new_with(&map, FILLED + PART, &options));
        pthread_barrier_init(&filled, NULL, THREADS);
        for (int i = 0; i < THREADS; i++)
                must(-pthread_create(&threads[i], NULL, work, &numbers[i]));
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        must(ammap_read_into(map, FILLED, &total, sizeof(total)));
        printf("together: counted to %" PRIu64 "\n", total);
        must(ammap_free(map));
        return total == (uint64_t)THREADS * ROUNDS ? 0 : 1;
}
