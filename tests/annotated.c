/* annotated.c - how a program tells valgrind's helgrind or drd of the library's locks
 *
 * SPDX-License-Identifier: MIT
 *
 * Both tools know the locks of POSIX threads.  Of atomic words and futexes they know nothing, and take what
 * slices guard for unguarded.  So a program says at each slice what the slice is: a read-write lock.
 *
 *        annotated told      says so: the tools find nothing
 *        annotated untold    does not: they report races that there are not
 *        annotated racing    says so, and writes to what it has to read alone: they report that race
 *
 * tests/platforms runs all three.  With -DFOR_DRD it is for drd, whose requests have other numbers.
 */
#include <ammap.h>

#ifdef FOR_DRD
#include <valgrind/drd.h>
#else
#include <valgrind/helgrind.h>
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { WRITER, READER, THREADS = 4, ROUNDS = 100 };

static ammap_t *map;
static bool told, racing;
static int lane; /* its address is the name of the lane's lock */
static int results[THREADS];
static pthread_barrier_t together;

static int add_one(void)
{
        ammap_mut_slice_t slice;
        int rc = ammap_as_mut_slice(map, 0, 8, &slice);

        if (rc < 0)
                return rc;
        if (told)
                ANNOTATE_RWLOCK_ACQUIRED(&lane, 1);
        slice.data[0]++;
        if (told)
                ANNOTATE_RWLOCK_RELEASED(&lane, 1);
        ammap_mut_slice_release(&slice);
        return 0;
}

static int look(unsigned char *seen)
{
        ammap_slice_t slice;
        int rc = ammap_as_slice(map, 0, 8, &slice);

        if (rc < 0)
                return rc;
        if (told)
                ANNOTATE_RWLOCK_ACQUIRED(&lane, 0);
        *seen = slice.data[0];
        if (racing)
                ((volatile unsigned char *)ammap_as_mut_ptr(map))[0] = *seen;
        if (told)
                ANNOTATE_RWLOCK_RELEASED(&lane, 0);
        ammap_slice_release(&slice);
        return 0;
}

static void *work(void *argument)
{
        const size_t self = (size_t)((int *)argument - results);
        unsigned char seen = 0;

        /* A thread's first slice and its end take a mutex, which orders threads beside the slices. */
        results[self] = look(&seen);
        pthread_barrier_wait(&together);
        for (int i = 0; i < ROUNDS && results[self] == 0; i++)
                results[self] = self % 2 == WRITER ? add_one() : look(&seen);
        pthread_barrier_wait(&together);
        return NULL;
}

int main(int argc, char **argv)
{
        pthread_t threads[THREADS];
        int failed = 0;

        racing = argc == 2 && strcmp(argv[1], "racing") == 0;
        told = racing || (argc == 2 && strcmp(argv[1], "told") == 0);
        if (!told && (argc != 2 || strcmp(argv[1], "untold") != 0)) {
                fprintf(stderr, "usage: %s told | untold | racing\n", argv[0]);
                return 2;
        }
        if (ammap_new(&map, 4096) < 0)
                return 1;
        /* A map's memory was reserved first, without access, which helgrind takes to mean for ever. */
        ANNOTATE_NEW_MEMORY(ammap_as_mut_ptr(map), 4096);
        ANNOTATE_RWLOCK_CREATE(&lane);
        pthread_barrier_init(&together, NULL, THREADS);
        for (int i = 0; i < THREADS; i++)
                if (pthread_create(&threads[i], NULL, work, &results[i]) != 0)
                        return 1;
        for (int i = 0; i < THREADS; i++) {
                pthread_join(threads[i], NULL);
                failed |= results[i];
        }
        ANNOTATE_RWLOCK_DESTROY(&lane);
        return failed || ammap_free(map) < 0;
}
