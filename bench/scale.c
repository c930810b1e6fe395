/* scale.c - what the locks would do on more processors than there are
 *
 * SPDX-License-Identifier: MIT
 *
 * Reads the traces that lines.c prints, and has simulate.c run them for as many threads.  What that
 * says of one thread and of two is compared with what they do.
 *
 *      lines --traces 1 2 8 64 256 | scale libammap=LIBRARY
 *
 * Measured are, by loops over single words, what an RMW, a fence and a line from another
 * processor cost; and by one thread, for each lock, what a read alone and a write alone does.
 * The rest is predicted, and nothing is fitted to that.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "peer.h"
#include "rivals.h"
#include "simulate.h"
#include "team.h"

enum {
        THREADS_MAX = 256,
        GROUPS_MAX = 16,
        SIZES_MAX = 8,
        BYTES = 64,
        ROUNDS = 9,
        ATTEMPTS = 200,
        BATCH = 32,
        REPEAT = 16
};

static const struct {
        const char *title, *alone, *mixed; /* the traces where all read, and beside writes */
        enum readers readers;              /* beside writes */
} locks[] = {
        { "private copies", "private-copies", "private-copies", READERS_VERSIONED },
        { "private slices", "private-slices", "private-slices-mixed", READERS_IN },
        { "shared copies", "shared-copies", "shared-copies", READERS_VERSIONED },
        { "shared slices", "shared-slices", "shared-slices", READERS_IN },
        { "counted", "counted", "counted", READERS_IN },
        { "BRAVO", "bravo", "bravo-mixed", READERS_IN },
        { "RCU (a bound)", "rcu", "rcu", READERS_FREE },
};
enum { LOCKS = sizeof locks / sizeof locks[0], LOCKS_OWN = 4 };

/* --- Traces --- */

static struct group {
        char name[32];
        struct traffic traffic[SIZES_MAX]; /* by how many threads: as in sizes */
} groups[GROUPS_MAX];
static unsigned groups_count, sizes[SIZES_MAX], sizes_count;

static struct traffic *traffic_of(const char *name, unsigned threads, bool make)
{
        unsigned g = 0, s = 0;

        while (g < groups_count && strcmp(groups[g].name, name) != 0)
                g++;
        while (s < sizes_count && sizes[s] != threads)
                s++;
        if (make && g == groups_count && groups_count < GROUPS_MAX)
                snprintf(groups[groups_count++].name, sizeof groups[0].name, "%s", name);
        if (make && s == sizes_count && sizes_count < SIZES_MAX)
                sizes[sizes_count++] = threads;
        if (g >= groups_count || s >= sizes_count)
                return NULL;
        if (make && !groups[g].traffic[s].trace) {
                groups[g].traffic[s].threads = threads;
                groups[g].traffic[s].trace = calloc((size_t)OPS * threads, sizeof(struct trace));
                if (!groups[g].traffic[s].trace)
                        errx(1, "no memory");
        }
        return groups[g].traffic[s].trace ? &groups[g].traffic[s] : NULL;
}

static void read_traces(FILE *file)
{
        char *line = NULL, name[32], op[8];
        size_t room = 0;
        unsigned threads, thread;
        int end;

        while (getline(&line, &room, file) > 0) {
                struct traffic *traffic;
                struct trace *trace;

                if (sscanf(line, "%31s %7s %u %u%n", name, op, &threads, &thread, &end) != 4 || threads < 1 ||
                    threads > THREADS_MAX || thread >= threads || !(traffic = traffic_of(name, threads, true)))
                        errx(1, "not a trace: %.60s", line);
                trace = &traffic->trace[(strcmp(op, "write") == 0 ? OP_WRITE : OP_READ) * threads + thread];
                trace->access = calloc(strlen(line) / 2 + 1, sizeof *trace->access);
                if (!trace->access)
                        errx(1, "no memory");
                for (char *at = strtok(line + end, " \n"); at; at = strtok(NULL, " \n"))
                        trace->access[trace->count++] = (struct access){ at[0], (unsigned)strtoul(at + 1, NULL, 10) };
        }
        free(line);
}

/* --- What is measured --- */

struct subject;
typedef void operation(const struct subject *subject, unsigned thread, void *buffer);

struct subject {
        const struct peer *peer;
        ammap_t *map;
        const struct rival *rival;
        _Atomic uint64_t *word;
        operation *op[OPS];
        unsigned writes; /* of 100 */
};

static void copy_out(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)thread;
        subject->peer->read_into(subject->map, 0, buffer, BYTES);
}

static void copy_in(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)thread;
        subject->peer->update(subject->map, 0, buffer, BYTES);
}

static void slice(const struct subject *subject, unsigned thread, void *buffer)
{
        ammap_slice_t taken;

        (void)thread;
        if (subject->peer->take(subject->map, 0, BYTES, &taken) != 0)
                errx(1, "no slice");
        memcpy(buffer, taken.data, 8);
        subject->peer->release(&taken);
}

static void mut_slice(const struct subject *subject, unsigned thread, void *buffer)
{
        ammap_mut_slice_t taken;

        (void)thread;
        if (subject->peer->take_mut(subject->map, 0, BYTES, &taken) != 0)
                errx(1, "no slice");
        memcpy(taken.data, buffer, 8);
        subject->peer->release_mut(&taken);
}

static void rival_read(const struct subject *subject, unsigned thread, void *buffer)
{
        subject->rival->read(thread, buffer);
}

static void rival_write(const struct subject *subject, unsigned thread, void *buffer)
{
        subject->rival->write(thread, buffer);
}

static void add(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)thread, (void)buffer;
        for (int n = 0; n < REPEAT; n++)
                atomic_fetch_add(subject->word, 1);
}

static void fence(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)subject, (void)thread, (void)buffer;
        for (int n = 0; n < REPEAT; n++)
                atomic_thread_fence(memory_order_seq_cst);
}

static void nothing(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)subject, (void)thread;
        __asm__ volatile("" ::"r"(buffer) : "memory");
}

static void one_pause(const struct subject *subject, unsigned thread, void *buffer)
{
        (void)subject, (void)thread, (void)buffer;
        for (int n = 0; n < REPEAT; n++) {
#if defined(__x86_64__) || defined(__i386__)
                __builtin_ia32_pause();
#endif
        }
}

/* Threads hand a word to each other: when it is even, or odd, it is one's turn. */
static void hand_over(const struct subject *subject, unsigned thread, void *buffer)
{
        uint64_t value;

        (void)buffer;
        for (unsigned n = 0; n < 100000; n++) {
                value = atomic_load_explicit(subject->word, memory_order_acquire);
                if ((value & 1) == thread) {
                        atomic_store_explicit(subject->word, value + 1, memory_order_release);
                        return;
                }
        }
}

/* --- Measuring --- */

static struct {
        const struct subject *subject;
        unsigned threads;
        _Atomic unsigned ready;
        _Atomic bool go;
        struct hand {
                pthread_t thread;
                unsigned number;
                double operations, start, wall, busy; /* ns */
        } hand[2];
} crew;

static double busy_now(void)
{
        struct timespec now;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *work(void *argument)
{
        struct hand *me = argument;
        const struct subject *subject = crew.subject;
        _Alignas(BYTES) unsigned char buffer[BYTES] = { 0 };
        unsigned share = me->number * 37 % 100;
        uint64_t done = 0;
        int64_t start, now;
        double busy;

        team_pin(pthread_self(), (int)me->number);
        for (int n = 0; n < 2000 && crew.threads == 1; n++)
                subject->op[OP_READ](subject, me->number, buffer);
        atomic_fetch_add(&crew.ready, 1);
        while (!atomic_load(&crew.go))
                sched_yield();
        busy = busy_now();
        start = now = clock_now();
        while (now - start < 2 * MILLISECOND) {
                for (int n = 0; n < BATCH; n++) {
                        share += subject->writes;
                        if (share >= 100) {
                                share -= 100;
                                subject->op[OP_WRITE](subject, me->number, buffer);
                        } else {
                                subject->op[OP_READ](subject, me->number, buffer);
                        }
                }
                done += BATCH;
                now = clock_now();
        }
        me->busy = busy_now() - busy;
        me->start = (double)start;
        me->wall = (double)(now - start);
        me->operations = (double)done;
        return NULL;
}

/* Operations in a microsecond, all threads together; 0: they had not each a processor for itself,
 * for the same time. */
static double measure(const struct subject *subject, unsigned threads)
{
        double rate = 0;
        bool alone = true;

        crew.subject = subject;
        crew.threads = threads;
        atomic_store(&crew.ready, 0);
        atomic_store(&crew.go, false);
        for (unsigned i = 0; i < threads; i++) {
                crew.hand[i].number = i;
                if (pthread_create(&crew.hand[i].thread, NULL, work, &crew.hand[i]) != 0)
                        errx(1, "no thread");
        }
        while (atomic_load(&crew.ready) < threads)
                sched_yield();
        atomic_store(&crew.go, true);
        for (unsigned i = 0; i < threads; i++) {
                pthread_join(crew.hand[i].thread, NULL);
                alone &= crew.hand[i].busy > 0.97 * crew.hand[i].wall;
                alone &= crew.hand[i].start - crew.hand[0].start < 0.05 * crew.hand[0].wall;
                alone &= crew.hand[0].start - crew.hand[i].start < 0.05 * crew.hand[0].wall;
                rate += crew.hand[i].operations * 1000 / crew.hand[i].wall;
        }
        return alone ? rate : 0;
}

/* What is measured: round after round, all of it in each, for processors are faster at one time
 * than at another. */
struct figure {
        double rate[ROUNDS];
        unsigned good;
};

enum { CALL, ADD, FULL_FENCE, PAUSE, ADD_BOTH, HAND_OVER, WORDS };
static const unsigned mixes[] = { 0, 1, 50, 100 }; /* writes of 100 */
enum { MIXES = 3, MIXES_MEASURED };

static struct figure words[WORDS], figures[LOCKS][MIXES_MEASURED][3]; /* by threads */

static void add_round(struct figure *figure, const struct subject *subject, unsigned threads)
{
        double rate = 0;

        for (unsigned attempt = 0; attempt < ATTEMPTS && rate == 0; attempt++)
                rate = measure(subject, threads);
        if (rate > 0)
                figure->rate[figure->good++] = rate;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x < y) - (x > y);
}

/* The best of one thread, which nothing disturbed; the median of two, who disturb each
 * other; 0: there is none. */
static double rate_of(struct figure *figure, unsigned threads)
{
        qsort(figure->rate, figure->good, sizeof figure->rate[0], compare);
        return figure->good ? figure->rate[threads > 1 ? figure->good / 2 : 0] : 0;
}

static double ns_of(struct figure *figure, unsigned threads)
{
        double rate = rate_of(figure, threads);

        if (rate == 0)
                errx(1, "the processors are too busy to measure anything");
        return 1000 / rate;
}

static bool set_up(struct subject *subject, const struct peer *peer, unsigned lock, unsigned writes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        *subject = (struct subject){ .peer = peer, .writes = writes };
        if (lock >= LOCKS_OWN) {
                rivals_reset();
                subject->rival = &rivals[lock - LOCKS_OWN];
                subject->op[OP_READ] = rival_read;
                subject->op[OP_WRITE] = rival_write;
                return true;
        }
        options.share = lock < 2 ? AMMAP_PRIVATE : AMMAP_SHARED;
        subject->op[OP_READ] = lock % 2 ? slice : copy_out;
        subject->op[OP_WRITE] = lock % 2 ? mut_slice : copy_in;
        subject->map = peer_new(peer, 4096, &options);
        return subject->map;
}

static void add_round_of_all(const struct peer *peer)
{
        static _Alignas(128) _Atomic uint64_t word;
        static operation *const operations[WORDS] = { nothing, add, fence, one_pause, add, hand_over };
        unsigned most = team_processors() > 1 ? 2 : 1;
        struct subject subject;

        for (unsigned which = 0; which < WORDS; which++) {
                subject = (struct subject){ .op = { operations[which], operations[which] }, .word = &word };
                if (which < ADD_BOTH || most > 1)
                        add_round(&words[which], &subject, which < ADD_BOTH ? 1 : 2);
        }
        for (unsigned lock = 0; lock < LOCKS; lock++)
                for (unsigned mix = 0; mix < MIXES_MEASURED; mix++)
                        for (unsigned threads = 1; threads <= most; threads++)
                                if (set_up(&subject, peer, lock, mixes[mix])) {
                                        add_round(&figures[lock][mix][threads], &subject, threads);
                                        if (subject.map)
                                                peer_free(peer, subject.map);
                                }
}

static const struct trace *trace_of(const char *name, unsigned op)
{
        const struct traffic *traffic = traffic_of(name, 1, false);

        if (!traffic)
                errx(1, "there are no traces of %s by one thread", name);
        return &traffic->trace[op * traffic->threads];
}

/* What is the same for all locks. */
static struct costs calibrate(void)
{
        struct costs costs = { .call = ns_of(&words[CALL], 1) };

        costs.rmw = (ns_of(&words[ADD], 1) - costs.call) / REPEAT;
        costs.fence = (ns_of(&words[FULL_FENCE], 1) - costs.call) / REPEAT;
        costs.pause = (ns_of(&words[PAUSE], 1) - costs.call) / REPEAT;
        if (words[HAND_OVER].good && words[ADD_BOTH].good) {
                /* Each turn is a load of the other's line, and a store that makes it one's own. */
                costs.transfer = ns_of(&words[HAND_OVER], 2) / 2;
                /* Of two who change a word all the time each does one RMW when the line has come,
                 * and more until it is taken away. */
                costs.held = (costs.transfer * REPEAT / ns_of(&words[ADD_BOTH], 2) - 1) * costs.rmw;
                costs.held = costs.held < 0 ? 0 : costs.held > costs.transfer ? costs.transfer : costs.held;
        }
        return costs;
}

/* What the work around an access is, where the operation takes so long: without what the RMWs
 * and fences among them cost. */
static double around(const char *group, unsigned op, double ns, const struct costs *costs)
{
        const struct trace *trace = trace_of(group, op);

        ns -= costs->call;
        for (unsigned k = 0; k < trace->count; k++)
                ns -= trace->access[k].how == 'X' ? costs->rmw : trace->access[k].how == 'F' ? costs->fence : 0;
        return ns > 0 ? ns / trace->count : 0;
}

/* By one thread, reads alone and writes alone.  A read that goes another way beside writes is
 * never alone: it is what a write leaves of the two of them. */
static void calibrate_lock(unsigned lock, struct costs *alone, struct costs *mixed)
{
        double read, write;

        if (figures[lock][0][1].good == 0)
                return;
        read = ns_of(&figures[lock][0][1], 1);
        write = ns_of(&figures[lock][MIXES][1], 1);
        alone->access[OP_READ] = around(locks[lock].alone, OP_READ, read, alone);
        if (strcmp(locks[lock].alone, locks[lock].mixed) != 0)
                read = 2 * ns_of(&figures[lock][MIXES - 1][1], 1) - write;
        mixed->access[OP_READ] = around(locks[lock].mixed, OP_READ, read, mixed);
        mixed->access[OP_WRITE] = around(locks[lock].mixed, OP_WRITE, write, mixed);
}

/* --- Tables --- */

/* costs: beside writes, and alone. */
static double predict(unsigned lock, unsigned threads, unsigned writes, const struct costs costs[2])
{
        struct traffic *traffic = traffic_of(writes ? locks[lock].mixed : locks[lock].alone, threads, false);

        if (!traffic)
                return 0;
        traffic->readers = writes ? locks[lock].readers : READERS_ALONE;
        simulate_prepare(traffic);
        return simulate(traffic, &costs[writes == 0], writes);
}

static void compare_with_measured(struct costs costs[LOCKS][2])
{
        printf("\nMillions of operations a second, and by how much the prediction is off\n\n%-22s", "");
        for (unsigned threads = 1; threads <= 2; threads++)
                printf("   %u thread%s                   ", threads, threads > 1 ? "s" : " ");
        printf("\n%-16s %5s   predicted measured  off   predicted measured  off\n", "", "reads");
        for (unsigned lock = 0; lock < LOCKS; lock++)
                for (unsigned mix = 0; mix < MIXES; mix++) {
                        printf("%-16s %4u%%  ", mix ? "" : locks[lock].title, 100 - mixes[mix]);
                        for (unsigned threads = 1; threads <= 2; threads++) {
                                double predicted = predict(lock, threads, mixes[mix], costs[lock]);
                                double measured = rate_of(&figures[lock][mix][threads], threads);

                                if (measured > 0 && predicted > 0)
                                        printf(" %9.1f %8.1f %+4.0f%% ", predicted, measured,
                                               (predicted / measured - 1) * 100);
                                else
                                        printf(" %9.1f        ?    ?  ", predicted); /* too busy, or one processor */
                        }
                        printf("\n");
                }
}

static void print_predictions(struct costs costs[LOCKS][2])
{
        printf("\nMillions of operations a second, predicted\n\n%-16s %5s", "", "reads");
        for (unsigned s = 0; s < sizes_count; s++)
                printf(" %8u", sizes[s]);
        printf(" threads\n");
        for (unsigned mix = 0; mix < MIXES; mix++) {
                for (unsigned lock = 0; lock < LOCKS; lock++) {
                        printf("%-16s %4u%%", locks[lock].title, 100 - mixes[mix]);
                        for (unsigned s = 0; s < sizes_count; s++)
                                printf(" %8.1f", predict(lock, sizes[s], mixes[mix], costs[lock]));
                        printf("\n");
                        fflush(stdout);
                }
                printf("\n");
        }
}

int main(int argc, char **argv)
{
        struct peer peer = { 0 };
        struct costs costs[LOCKS][2], common;

        if (argc != 2)
                errx(2, "usage: lines --traces 1 2 8 64 256 | scale libammap=LIBRARY");
        setvbuf(stdout, NULL, _IOLBF, 0);
        team_init();
        peer_load(&peer, argv[1]);
        read_traces(stdin);
        for (unsigned round = 0; round < ROUNDS; round++)
                add_round_of_all(&peer);
        common = calibrate();
        printf("Costs in ns: a call %.1f, an RMW %.1f, a fence %.1f, a pause %.1f, a line from another processor "
               "%.1f, held for %.1f of that\nAn access, and the work around it, in reads alone, reads beside writes, "
               "and writes:",
               common.call, common.rmw, common.fence, common.pause, common.transfer, common.held);
        for (unsigned lock = 0; lock < LOCKS; lock++) {
                costs[lock][0] = costs[lock][1] = common;
                calibrate_lock(lock, &costs[lock][1], &costs[lock][0]);
                printf("%s%s %.2f %.2f %.2f", lock ? ", " : " ", locks[lock].title, costs[lock][1].access[OP_READ],
                       costs[lock][0].access[OP_READ], costs[lock][0].access[OP_WRITE]);
        }
        printf("\n");
        compare_with_measured(costs);
        print_predictions(costs);
        return 0;
}
