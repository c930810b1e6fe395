/* counter: two threads take turns at one counter: atomic views, wait and wake.  SPDX-License-Identifier: MIT */
#include <ammap.h>
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 10000 };
enum { COUNT_AT = 0, TURN_AT = 8 }; /* offsets in the map: a 64-bit count, a 32-bit word that says whose turn it is */

static ammap_t *map;

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

static void *play(void *arg)
{
        const uint32_t me = *(uint32_t *)arg;
        ammap_u32_view_t turn;
        ammap_u64_view_t count;

        must(ammap_atomic_u32(map, TURN_AT, &turn));
        must(ammap_atomic_u64(map, COUNT_AT, &count));
        for (int i = 0; i < ROUNDS; i++) {
                /* The wait ends when the word is not what we saw, when woken, or for no reason: look again. */
                uint32_t seen;
                while ((seen = atomic_load(turn.value)) != me)
                        must(ammap_wait_u32(map, TURN_AT, seen, -1));
                atomic_fetch_add(count.value, 1);
                /* First change the word, then wake who sleeps on it. */
                atomic_store(turn.value, 1 - me);
                must(ammap_wake_u32(map, TURN_AT, 1));
        }
        ammap_u64_view_release(&count);
        ammap_u32_view_release(&turn);
        return NULL;
}

int main(void)
{
        struct timespec from, to;
        pthread_t threads[2];
        uint32_t names[2] = { 0, 1 };
        uint64_t count;

        must(ammap_new(&map, 12));
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < 2; i++)
                must(-pthread_create(&threads[i], NULL, play, &names[i]));
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        clock_gettime(CLOCK_MONOTONIC, &to);
        must(ammap_read_into(map, COUNT_AT, &count, sizeof(count)));
        printf("two threads took %" PRIu64 " turns in %.2f ms\n", count,
               (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
        must(ammap_free(map));
        return count == 2 * ROUNDS ? 0 : 1;
}
