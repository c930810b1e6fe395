/* ipc: two processes pass messages through a ring in shared memory.  SPDX-License-Identifier: MIT
 *
 * They have a socket in common and nothing else: the parent makes the map and sends it over.  One process puts messages
 * into the ring and one takes them out, so that two counters are all the order that is wanted, and there is no lock. */
#include <ammap.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 32, SLOTS = 1024, SPINS = 1000 }; /* SLOTS is a power of two: the counters may wrap */
struct message {
        uint64_t word[WORDS];
};

/* A counter in the map, and beside it whether someone sleeps until it changes. */
enum { COUNT, SLEEPS };
struct counter {
        const uint64_t offset;
        ammap_u32_view_t view;
};
/* Each process moves one of them on all the time: they do not lie on one cache line. */
static struct counter put = { .offset = 0 }, taken = { .offset = 128 };
enum { RING = 256, SIZE = RING + SLOTS * (int)sizeof(struct message) };

static ammap_t *map;
static int peer; /* our end of the socket, which says when the other process is gone */

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

/* Wait until the counter is no longer `seen`: look for a while, then sleep. */
static uint32_t await(struct counter *counter, uint32_t seen)
{
        uint32_t now;
        char byte;
        int i;

        for (i = 0; (now = atomic_load(&counter->view.value[COUNT])) == seen; i++) {
                if (i < SPINS)
                        continue;
                /* First say so, then look: the wait looks for itself before it sleeps.  Pairs with advance, which
                 * leaves the flag alone: who took it back for us could take back what we say next. */
                atomic_store(&counter->view.value[SLEEPS], 1);
                int rc = ammap_wait_u32(map, counter->offset, seen, 1000000000);
                /* Who was killed wakes nobody.  See now and then whether there is someone to wait for. */
                if (rc == AMMAP_ERR_TIMEOUT && recv(peer, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
                        errx(1, "the other process is gone");
                if (rc != AMMAP_ERR_TIMEOUT)
                        must(rc);
        }
        if (i > SPINS)
                atomic_store(&counter->view.value[SLEEPS], 0);
        return now;
}

/* Move the counter on.  A wake-up is a system call: there is one only where someone sleeps. */
static void advance(struct counter *counter, uint32_t count)
{
        atomic_store(&counter->view.value[COUNT], count); /* first this, then look; pairs with await */
        if (atomic_load(&counter->view.value[SLEEPS]))
                must(ammap_wake_u32(map, counter->offset, 1));
}

/* Where in the map a message is.  Whatever its number, that is inside the ring. */
static uint64_t place(uint32_t number)
{
        return RING + number % SLOTS * sizeof(struct message);
}

static uint64_t expected(uint32_t number, size_t i)
{
        return (number + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static void produce(uint32_t count)
{
        unsigned char *base = ammap_as_mut_ptr(map);
        uint32_t gone = 0; /* how many of ours have been taken, when we last looked */

        for (uint32_t number = 0; number != count; number++) {
                struct message message;
                for (size_t i = 0; i < WORDS; i++)
                        message.word[i] = expected(number, i);
                while (number - gone == SLOTS)
                        gone = await(&taken, gone);
                memcpy(base + place(number), &message, sizeof(message));
                advance(&put, number + 1);
        }
}

static void consume(uint32_t count)
{
        const unsigned char *base = ammap_as_ptr(map);
        uint32_t come = 0; /* how many have been put, when we last looked */

        for (uint32_t number = 0; number != count; number++) {
                struct message message;
                while (number == come)
                        come = await(&put, come);
                /* Copy, then look: what has been looked at in the map the other process could still change. */
                memcpy(&message, base + place(number), sizeof(message));
                for (size_t i = 0; i < WORDS; i++)
                        if (message.word[i] != expected(number, i))
                                errx(1, "message %" PRIu32 " is not what was sent", number);
                advance(&taken, number + 1);
        }
}

static void run(void (*side)(uint32_t), uint32_t count)
{
        must(ammap_atomic_u32_slice(map, put.offset, 2, &put.view));
        must(ammap_atomic_u32_slice(map, taken.offset, 2, &taken.view));
        side(count);
        ammap_u32_view_release(&taken.view);
        ammap_u32_view_release(&put.view);
        must(ammap_free(map));
}

int main(int argc, char **argv)
{
        uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct timespec from, to;
        int sockets[2], status;

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0)
                err(1, "socketpair");
        pid_t child = fork();
        if (child < 0)
                err(1, "fork");
        peer = sockets[child == 0];
        close(sockets[child != 0]); /* or nobody would ever see the other end closed */
        if (child == 0) {
                must(ammap_recv(&map, peer, NULL));
                run(consume, count);
                return 0;
        }

        options.share = AMMAP_SHARED;
        options.name = "ring";
        must(ammap_new_with(&map, SIZE, &options));
        must(ammap_send(map, peer));
        clock_gettime(CLOCK_MONOTONIC, &from);
        run(produce, count);
        if (waitpid(child, &status, 0) < 0 || status != 0)
                errx(1, "the child has failed");
        clock_gettime(CLOCK_MONOTONIC, &to);
        double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        printf("%" PRIu32 " messages of %zu bytes, each as it was sent: %.2f million/s, %.0f MB/s\n", count,
               sizeof(struct message), count / seconds / 1e6, (double)count * sizeof(struct message) / seconds / 1e6);
        return 0;
}
