/* message.c - what two processes send each other
 *
 * SPDX-License-Identifier: MIT
 *
 * This process is the near end, a forked one the far end.  The ways that are
 * compared are taken one after another in one run, in an order drawn anew.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "team.h"
#include "workload.h"

/* The map: two counters, each on cache lines of its own, then the ring. */
enum { PUT = 0, TAKEN = 32, WORDS = 64 };
#define RING 4096

/* The ring's counters go up by 2; the bit below says that someone sleeps until
 * it is gone.  In the counter's own word, as a change must not take back what
 * was said after another. */
#define STEP 2U
#define SLEEPS 1U

#define ROOM (256 * 1024) /* of the ring, and of the pipe and the socket where the system grants it */
#define SPINS 1000        /* looks at a counter before going to sleep */
#define BATCH 16          /* operations between two looks at the clock */
#define PATIENCE 10       /* seconds, with the other process */
#define LAST UINT64_MAX   /* the number of the message after which there is none */

/* What both processes see. */
struct talk {
        const struct peer *peer;
        bool bare;     /* sleep and wake without the library */
        int processor; /* where the far end is; the near end is on the first */
        size_t length; /* of a message */
        int fd;        /* of the map */
        int files[2];  /* in place of the ring, to read and to write; or -1 */
        _Atomic bool ready;
        _Atomic bool stop;
        int64_t start; /* results: from when */
        int64_t finish;
        uint64_t count; /* how much was done until then */
};

struct end {
        struct talk *talk;
        ammap_t *map;
        unsigned char *ring;
        ammap_u32_view_t view;
        uint32_t count; /* what this end has put or taken, in steps */
        uint32_t other; /* what the other end had when we last looked */
};

static void end_open(struct end *end, struct talk *talk, ammap_t *map)
{
        int rc;

        memset(end, 0, sizeof(*end));
        end->talk = talk;
        end->map = map;
        end->ring = (unsigned char *)talk->peer->address(map) + RING;
        memset(end->ring, 0, ROOM); /* so that the work has no page to wait for */
        rc = talk->peer->view(map, 0, WORDS, &end->view);
        if (rc < 0)
                errx(1, "%s: view: error %d", talk->peer->name, rc);
}

/* --- Words --------------------------------------------------------------- */

static void sleep_on(const struct end *end, int word, uint32_t seen)
{
        static const struct timespec patience = { PATIENCE, 0 };
        const struct peer *peer = end->talk->peer;
        bool late;

        if (end->talk->bare) {
                late = syscall(SYS_futex, &end->view.value[word], FUTEX_WAIT, seen, &patience, NULL, 0) < 0 &&
                       errno == ETIMEDOUT;
        } else {
                int rc = peer->wait(end->map, (uint64_t)word * sizeof(uint32_t), seen, PATIENCE * 1000 * MILLISECOND);

                late = rc == AMMAP_ERR_TIMEOUT;
                if (rc < 0 && !late)
                        errx(1, "%s: wait: error %d", peer->name, rc);
        }
        if (late)
                errx(1, "%s: nothing from the other process", peer->name);
}

static void wake(const struct end *end, int word)
{
        if (end->talk->bare)
                syscall(SYS_futex, &end->view.value[word], FUTEX_WAKE, 1, NULL, NULL, 0);
        else if (end->talk->peer->wake(end->map, (uint64_t)word * sizeof(uint32_t), 1) < 0)
                errx(1, "%s: a wake failed", end->talk->peer->name);
}

/* --- There and back ------------------------------------------------------ */

/* Nobody looks twice before sleeping: the sleeping is what is measured. */
static uint32_t await(const struct end *end, int word, uint32_t seen)
{
        uint32_t now;

        while ((now = atomic_load(&end->view.value[word])) == seen)
                sleep_on(end, word, seen);
        return now;
}

static void tell(const struct end *end, int word, uint32_t value)
{
        atomic_store(&end->view.value[word], value);
        wake(end, word);
}

static void ping(struct end *end, int64_t duration)
{
        struct talk *talk = end->talk;
        uint32_t n = 0;

        talk->start = clock_now();
        do {
                do {
                        n++;
                        tell(end, PUT, n);
                        await(end, TAKEN, n - 1);
                } while (n % BATCH);
                talk->finish = clock_now();
        } while (talk->finish - talk->start < duration);
        talk->count = n;
        atomic_store(&talk->stop, true);
        tell(end, PUT, n + 1);
}

static void pong(struct end *end)
{
        uint32_t n = 0;

        do {
                n = await(end, PUT, n);
                tell(end, TAKEN, n);
        } while (!atomic_load(&end->talk->stop));
}

/* --- A stream of messages ------------------------------------------------- */

static void await_more(struct end *end, int word)
{
        ammap_atomic_uint32_t *counter = &end->view.value[word];
        uint32_t now;
        int i = 0;

        while (((now = atomic_load(counter)) & ~SLEEPS) == end->other)
                if (i++ >= SPINS && (now & SLEEPS || atomic_compare_exchange_strong(counter, &now, now | SLEEPS)))
                        sleep_on(end, word, end->other | SLEEPS);
        end->other = now;
}

static void advance(struct end *end, int word)
{
        end->count += STEP;
        if (atomic_exchange(&end->view.value[word], end->count) & SLEEPS)
                wake(end, word);
}

static unsigned char *place(const struct end *end)
{
        size_t length = end->talk->length;

        return end->ring + end->count / STEP % (ROOM / length) * length;
}

static void put(struct end *end, const unsigned char *message)
{
        const struct talk *talk = end->talk;
        size_t done = 0;

        if (talk->files[1] < 0) {
                while (end->count - end->other == ROOM / talk->length * STEP)
                        await_more(end, TAKEN);
                memcpy(place(end), message, talk->length);
                advance(end, PUT);
                return;
        }
        while (done < talk->length) {
                ssize_t n = write(talk->files[1], message + done, talk->length - done);

                if (n < 0)
                        err(1, "write");
                done += (size_t)n;
        }
}

static void take(struct end *end, unsigned char *message)
{
        const struct talk *talk = end->talk;
        size_t done = 0;

        if (talk->files[0] < 0) {
                while (end->count == end->other)
                        await_more(end, PUT);
                memcpy(message, place(end), talk->length);
                advance(end, TAKEN);
                return;
        }
        while (done < talk->length) {
                ssize_t n = read(talk->files[0], message + done, talk->length - done);

                if (n <= 0)
                        err(1, "read");
                done += (size_t)n;
        }
}

static unsigned char *new_message(const struct talk *talk)
{
        unsigned char *message = calloc(1, talk->length);

        if (!message)
                err(1, "calloc");
        return message;
}

static void produce(struct end *end, int64_t duration)
{
        struct talk *talk = end->talk;
        unsigned char *message = new_message(talk);
        uint64_t number;

        talk->start = clock_now();
        for (number = 0; number != LAST; number++) {
                if (number % BATCH == 0 && clock_now() - talk->start >= duration)
                        number = LAST;
                memcpy(message, &number, sizeof(number));
                put(end, message);
                if (number == LAST)
                        break;
        }
        free(message);
}

static void consume(struct end *end)
{
        struct talk *talk = end->talk;
        unsigned char *message = new_message(talk);
        uint64_t number;

        for (;; talk->count++) {
                take(end, message);
                memcpy(&number, message, sizeof(number));
                if (number == LAST)
                        break;
                if (number != talk->count)
                        errx(1, "a message is not the next one");
        }
        talk->finish = clock_now();
        free(message);
}

/* --- Both ends ----------------------------------------------------------- */

static void *far_end(void *argument)
{
        struct talk *talk = argument;
        struct end end;

        team_pin(pthread_self(), talk->processor);
        end_open(&end, talk, peer_import(talk->peer, talk->fd, 0));
        atomic_store(&talk->ready, true);
        if (talk->length)
                consume(&end);
        else
                pong(&end);
        return NULL;
}

static struct talk *talk_new(const struct peer *peer, size_t length)
{
        static struct talk *talk;

        if (!talk)
                talk = worker_memory(sizeof(*talk));
        memset(talk, 0, sizeof(*talk));
        talk->peer = peer;
        talk->length = length;
        talk->processor = 1;
        talk->files[0] = talk->files[1] = -1;
        return talk;
}

/* The near end works on the map itself, the far end on what it imports, and as
 * it also has what it was forked with, that lies elsewhere. */
static void talk_run(struct talk *talk, int64_t duration)
{
        ammap_t *map = peer_share(talk->peer, RING + ROOM, &talk->fd);
        struct worker worker;
        struct end end;

        end_open(&end, talk, map);
        worker_start(&worker, true, far_end, talk);
        while (!atomic_load(&talk->ready)) {
                worker_check(&worker);
                sched_yield();
        }
        if (talk->files[0] >= 0)
                close(talk->files[0]); /* so that a write fails when the far end has died */
        if (talk->length)
                produce(&end, duration);
        else
                ping(&end, duration);
        worker_join(&worker);
        if (talk->files[1] >= 0)
                close(talk->files[1]);
        talk->peer->release_view(&end.view);
        close(talk->fd);
        peer_free(talk->peer, map);
}

static bool has_words(const struct peer *peer)
{
        return peer->view && peer->release_view && peer->wait && peer->wake;
}

/* On one processor each end has to sleep for the other to run.  On two, now and
 * then they get in step so that nobody does. */
int message_ping(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                 double values[ROWS_MAX][EVENTS_MAX])
{
        int i, first = rand() % 4;

        (void)workload;
        if (!has_words(peer))
                return 0;
        for (i = 0; i < 4; i++) {
                struct talk *talk = talk_new(peer, 0);
                int way = (first + i) % 4;

                talk->bare = way % 2;
                talk->processor = way / 2;
                talk_run(talk, pace->team);
                values[way][0] = (double)(talk->finish - talk->start) / (double)talk->count / 1000;
        }
        return 1;
}

static void open_pipe(int files[2])
{
        if (pipe2(files, O_CLOEXEC) < 0)
                err(1, "pipe");
        (void)fcntl(files[1], F_SETPIPE_SZ, ROOM);
}

static void open_socket(int files[2])
{
        int room = ROOM;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, files) < 0)
                err(1, "socketpair");
        (void)setsockopt(files[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

int message_stream(const struct workload *workload, const struct peer *peer, const struct pace *pace,
                   double values[ROWS_MAX][EVENTS_MAX])
{
        int i, first = rand() % 3;

        if (!has_words(peer))
                return 0;
        for (i = 0; i < 3; i++) {
                struct talk *talk = talk_new(peer, workload->size);
                int way = (first + i) % 3;

                if (way == 1)
                        open_pipe(talk->files);
                else if (way == 2)
                        open_socket(talk->files);
                talk_run(talk, pace->team);
                values[way][0] = (double)(talk->count * talk->length) * 1000 / (double)(talk->finish - talk->start);
        }
        return 1;
}
