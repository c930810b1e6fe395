/* torture.c - is what is about to be timed a lock at all?
 *
 * SPDX-License-Identifier: MIT
 *
 * The writer fills a range with one number, the next one each time; whoever
 * reads it must never see two numbers in it, nor may what a slice shows change
 * while the slice lives.  Two that count in a mut slice, without
 * atomics, must not lose a count.  The writer rests now and then, so that a
 * lock that favours readers after a while comes to do so.
 */
#include <err.h>
#include <unistd.h>

#include "clock.h"
#include "team.h"
#include "torture.h"

#define MAP_SIZE (64 * 1024)
#define WORDS_MAX 512
#define PATIENCE INT64_C(2000000000) /* ns for a reader to come in */

struct torture {
        const struct peer *peer;
        ammap_t *map;
        bool processes; /* each with the map behind fd, else threads */
        int fd;
        size_t words;
        bool by_slice;         /* the reader reads through a slice, */
        bool by_mut_slice;     /* the writer writes through one */
        uint64_t counts[2];    /* how often each has counted */
        _Atomic uint64_t seen; /* how many times the reader looked */
        _Atomic bool torn;
        _Atomic bool stop;
};

static bool stopped(struct torture *torture)
{
        return atomic_load_explicit(&torture->stop, memory_order_relaxed);
}

static void check(const struct torture *torture, int rc)
{
        if (rc < 0)
                errx(1, "%s: an operation failed (%d)", torture->peer->name, rc);
}

/* Of who is on that processor. */
static ammap_t *begin(const struct torture *torture, int processor)
{
        team_pin(pthread_self(), processor);
        return torture->processes ? peer_import(torture->peer, torture->fd, processor) : torture->map;
}

static bool same(const volatile uint64_t *words, size_t n, uint64_t number)
{
        while (n--)
                if (words[n] != number)
                        return false;
        return true;
}

static void *reader(void *argument)
{
        struct torture *torture = argument;
        const struct peer *peer = torture->peer;
        ammap_t *map = begin(torture, 0);
        uint64_t buffer[WORDS_MAX];
        size_t bytes = torture->words * sizeof(buffer[0]);

        for (; !stopped(torture); atomic_fetch_add(&torture->seen, 1)) {
                bool whole;

                if (torture->by_slice) {
                        ammap_slice_t slice;
                        const volatile uint64_t *words;
                        uint64_t number;

                        check(torture, peer->take(map, 0, bytes, &slice));
                        words = (const volatile uint64_t *)(const void *)slice.data;
                        number = words[0];
                        whole = same(words, torture->words, number) && words[0] == number;
                        peer->release(&slice);
                } else {
                        check(torture, peer->read_into(map, 0, buffer, bytes));
                        whole = same(buffer, torture->words, buffer[0]);
                }
                if (!whole)
                        atomic_store(&torture->torn, true);
        }
        return NULL;
}

static void rest(uint64_t *random)
{
        int64_t start = clock_now(), time;

        *random = *random * 6364136223846793005 + 1442695040888963407;
        time = *random >> 60 ? (int64_t)(*random >> 55 & 127) : 100000;
        while (clock_now() - start < time)
                ;
}

static void *writer(void *argument)
{
        struct torture *torture = argument;
        const struct peer *peer = torture->peer;
        ammap_t *map = begin(torture, 1);
        uint64_t buffer[WORDS_MAX], number, random = 1;
        size_t i, bytes = torture->words * sizeof(buffer[0]);

        for (number = 1; !stopped(torture); number++) {
                if (torture->by_mut_slice) {
                        ammap_mut_slice_t slice;
                        volatile uint64_t *words;

                        check(torture, peer->take_mut(map, 0, bytes, &slice));
                        words = (volatile uint64_t *)(void *)slice.data;
                        for (i = 0; i < torture->words; i++)
                                words[i] = number;
                        peer->release_mut(&slice);
                } else {
                        for (i = 0; i < torture->words; i++)
                                buffer[i] = number;
                        check(torture, peer->update(map, 0, buffer, bytes));
                }
                rest(&random);
        }
        return NULL;
}

static void count(struct torture *torture, int who)
{
        ammap_t *map = begin(torture, who);

        for (; !stopped(torture); torture->counts[who]++) {
                ammap_mut_slice_t slice;
                volatile uint64_t *counter;

                check(torture, torture->peer->take_mut(map, 0, sizeof(*counter), &slice));
                counter = (volatile uint64_t *)(void *)slice.data;
                *counter = *counter + 1;
                torture->peer->release_mut(&slice);
        }
}

static void *count_first(void *argument)
{
        count(argument, 0);
        return NULL;
}

static void *count_second(void *argument)
{
        count(argument, 1);
        return NULL;
}

static void run(struct torture *torture, void *(*one)(void *), void *(*other)(void *), int64_t duration)
{
        struct timespec nap = { duration / 1000000000, duration % 1000000000 };
        int64_t start = clock_now();
        struct worker workers[2];

        torture->counts[0] = torture->counts[1] = 0;
        atomic_init(&torture->seen, 0);
        atomic_init(&torture->torn, false);
        atomic_init(&torture->stop, false);
        torture->map = torture->processes ? peer_share(torture->peer, MAP_SIZE, &torture->fd)
                                          : peer_new(torture->peer, MAP_SIZE, NULL);
        worker_start(&workers[0], torture->processes, one, torture);
        worker_start(&workers[1], torture->processes, other, torture);
        nanosleep(&nap, NULL);
        /* On a busy machine one may have to wait for a processor first. */
        while (one == reader && !atomic_load(&torture->seen) && clock_now() - start < PATIENCE)
                nanosleep(&nap, NULL);
        atomic_store(&torture->stop, true);
        worker_join(&workers[0]);
        worker_join(&workers[1]);
        if (torture->processes)
                close(torture->fd);
}

const char *torture_run(const struct peer *peer, bool processes, int64_t duration)
{
        static const size_t sizes[] = { 8, 32, WORDS_MAX };
        static const char *const torn[2][2] = {
                { "a read saw half an update", "a read saw half of a mut slice's work" },
                { "a slice saw half an update", "a slice saw half of a mut slice's work" },
        };
        static struct torture *torture;
        const uint64_t *counter;
        size_t i, way;
        bool lost;

        if (!torture)
                torture = worker_memory(sizeof(*torture));
        torture->peer = peer;
        torture->processes = processes;
        for (way = 0; way < 4; way++) {
                torture->by_slice = way & 1;
                torture->by_mut_slice = way & 2;
                for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                        torture->words = sizes[i];
                        run(torture, reader, writer, duration);
                        peer_free(peer, torture->map);
                        if (atomic_load(&torture->torn))
                                return torn[torture->by_slice][torture->by_mut_slice];
                        if (!atomic_load(&torture->seen))
                                return "the reader never came in";
                }
        }
        run(torture, count_first, count_second, duration);
        counter = peer->address(torture->map);
        lost = *counter != torture->counts[0] + torture->counts[1];
        peer_free(peer, torture->map);
        return lost ? "two mut slices were alive at once" : NULL;
}
