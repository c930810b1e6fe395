/* event-loop: a program that lives in poll() hears of what another process puts into a map.
 * SPDX-License-Identifier: MIT
 *
 * A map has no descriptor that can be polled.  So one thread sleeps on a word of the map, the bell, and passes each
 * ring on to an eventfd.  The loop polls that beside its other descriptors.  Who has put something into the map rings:
 * it changes the bell, then wakes who sleeps on it.  To end the thread, its own process rings. */
#include <ammap.h>
#include <err.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGES = 2000, SLOTS = 8 }; /* SLOTS is a power of two: the counters may wrap */
/* Each word is moved on by another side: they do not lie on one cache line. */
enum { BELL_AT = 0, PUT_AT = 128, TAKEN_AT = 256, RING_AT = 384, SIZE = RING_AT + SLOTS * 8 };

static ammap_t *map;
static ammap_u32_view_t bell, put, taken;

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

static void take_views(void)
{
        must(ammap_atomic_u32(map, BELL_AT, &bell));
        must(ammap_atomic_u32(map, PUT_AT, &put));
        must(ammap_atomic_u32(map, TAKEN_AT, &taken));
}

static void free_map(void)
{
        ammap_u32_view_release(&taken);
        ammap_u32_view_release(&put);
        ammap_u32_view_release(&bell);
        must(ammap_free(map));
}

static void ring(void)
{
        atomic_fetch_add(bell.value, 1); /* a wake alone is lost where nobody sleeps yet; a change is not */
        must(ammap_wake_u32(map, BELL_AT, INT_MAX));
}

static uint64_t place(uint32_t number)
{
        return RING_AT + number % SLOTS * 8;
}

static uint64_t message(uint32_t number)
{
        return (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* --- The other process: it knows the bell, and nothing of loops and descriptors --- */

static void produce(int32_t reader)
{
        for (uint32_t number = 0; number < MESSAGES; number++) {
                uint64_t text = message(number);
                uint32_t gone;

                while (number - (gone = atomic_load(taken.value)) == SLOTS) /* no room */
                        must(ammap_wait_u32_peer(map, TAKEN_AT, gone, -1, reader));
                must(ammap_update_region(map, place(number), &text, sizeof(text)));
                atomic_store(put.value, number + 1);
                ring();
        }
}

/* --- The thread that listens --- */

struct listener {
        pthread_t thread;
        int event; /* the eventfd: readable when the bell has rung */
        atomic_bool ending;
        uint32_t waits, events; /* how often it slept, and wrote the eventfd */
};

static void *listen_to_bell(void *arg)
{
        struct listener *listener = arg;
        const uint64_t one = 1;
        uint32_t heard = 0; /* what the bell had when it was looked at last */

        while (!atomic_load(&listener->ending)) {
                must(ammap_wait_u32(map, BELL_AT, heard, -1));
                listener->waits++;
                uint32_t now = atomic_load(bell.value);
                if (now == heard)
                        continue; /* woken for no reason */
                heard = now;
                if (write(listener->event, &one, sizeof(one)) != sizeof(one))
                        err(1, "eventfd");
                listener->events++;
        }
        return NULL;
}

static void start(struct listener *listener)
{
        listener->event = eventfd(0, EFD_CLOEXEC);
        if (listener->event < 0)
                err(1, "eventfd");
        must(-pthread_create(&listener->thread, NULL, listen_to_bell, listener));
}

/* First the flag, then the ring: whenever the thread hears it, it sees the flag. */
static void stop(struct listener *listener)
{
        atomic_store(&listener->ending, true);
        ring();
        pthread_join(listener->thread, NULL);
        close(listener->event);
}

/* --- The program with the loop --- */

/* Takes what is there.  Several rings may have been one event. */
static void take_all(void)
{
        uint32_t number = atomic_load(taken.value), come = atomic_load(put.value);

        if (number == come)
                return;
        for (; number != come; number++) {
                uint64_t text;

                must(ammap_read_into(map, place(number), &text, sizeof(text)));
                if (text != message(number))
                        errx(1, "message %" PRIu32 " is not what was sent", number);
        }
        atomic_store(taken.value, number);
        must(ammap_wake_u32(map, TAKEN_AT, 1));
}

/* Polls until the other process has ended.  Returns how often poll() returned. */
static unsigned loop(int event, int alive)
{
        enum { BELL, ALIVE };
        struct pollfd polled[] = { [BELL] = { .fd = event, .events = POLLIN }, [ALIVE] = { .fd = alive } };
        unsigned rounds = 0;
        uint64_t rings;

        for (;;) {
                if (poll(polled, 2, -1) < 0)
                        err(1, "poll");
                rounds++;
                if (polled[BELL].revents && read(event, &rings, sizeof(rings)) != sizeof(rings))
                        err(1, "eventfd");
                take_all(); /* after the read: what is put from here on makes the next event */
                if (polled[ALIVE].revents & POLLHUP)
                        return rounds; /* what it put before its end has been taken */
        }
}

int main(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct listener listener = { .waits = 0 };
        int ends[2], status; /* of a pipe: the child has the end to write, and says nothing but that it lives */
        const pid_t parent = getpid();

        options.share = AMMAP_SHARED;
        must(ammap_new_with(&map, SIZE, &options));
        if (pipe(ends) < 0)
                err(1, "pipe");
        pid_t child = fork();
        if (child < 0)
                err(1, "fork");
        close(ends[child == 0 ? 0 : 1]);
        take_views();
        if (child == 0) {
                produce(parent);
                free_map();
                return 0;
        }

        start(&listener);
        unsigned rounds = loop(listener.event, ends[0]);
        stop(&listener);
        close(ends[0]);
        if (waitpid(child, &status, 0) < 0 || status != 0)
                errx(1, "the child has failed");
        uint32_t count = atomic_load(taken.value), rang = atomic_load(bell.value);
        free_map();
        printf("%" PRIu32 " messages came through poll(), which returned %u times\n", count, rounds);
        if (count != MESSAGES || rang != MESSAGES + 1)
                errx(1, "messages or rings are missing");
        /* A ring ends two waits at most, as a change and as a wake; and an event one poll, but for the end. */
        if (listener.waits > 2 * rang || rounds > listener.events + 1)
                errx(1, "it waits or polls in vain");
        return 0;
}
