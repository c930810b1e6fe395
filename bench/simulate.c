/* simulate.c - what an operation costs that is known by the cache lines that it touches
 *
 * SPDX-License-Identifier: MIT
 *
 * Each thread has a processor with a cache of its own, without end, and goes through the
 * recorded accesses of its operations, one after the other.
 *
 *   - A line is in the caches of some who have read it, or one has it alone, and may write it
 *     (MESI).  Who has it pays for the access only.  Who has it not, or not alone to write, waits
 *     for a transfer.  For some of that time the line is still where it was, and may be used
 *     there; then it is on its way.  Transfers to those who write come one after the other;
 *     to those who read, at once.
 *   - A store does not wait: it is done when the transfer is, after the stores before it.  An
 *     RMW and a fence wait for the stores and the loads before them; an RMW waits for its own
 *     line, too.  Up to OVERLAP loads wait for their lines at the same time.
 *   - Where an operation enters, it may have to wait: it looks again after pauses that double up
 *     to 64, give or take a half, and tries again when it sees that it could.  Nobody sleeps.  While a writer waits for readers, no more of these enter.
 *     A reader that looks afterwards begins again when a writer was there; after four times it
 *     enters.
 *
 * What this leaves out: hyperthreads, sockets and the distance between processors, what
 * is fetched ahead, caches that are full, and the scheduler.
 */
#include <err.h>
#include <stdint.h>
#include <stdlib.h>

#include "simulate.h"

enum { THREADS_MAX = 256, TRIES = 4, PAUSES_MAX = 64, OVERLAP = 8, WARM = 20, STEPS_MAX = 30000000, NOBODY = -1 };

struct line {
        uint64_t has[THREADS_MAX / 64]; /* in whose caches it is */
        int alone;                      /* who may write it, or NOBODY */
        int next;                       /* to whom it is on its way for a store, until then */
        double free;                    /* when the last transfer to one who writes is over */
        bool common;                    /* more than one thread touches it */
};

enum what { GO_ON, TAKEN, FETCHED, LOOKED, LOADED, OWNED, STORED };

struct event {
        double at;
        enum what what;
        bool leaves, alone;
        unsigned thread, line;
};

struct thread {
        double stores, loads; /* when those that are under way are done */
        unsigned fetching[OVERLAP], fetches;
        const struct trace *trace;
        unsigned op, at, pause, tries;
        uint64_t seen; /* the version that it began with */
        bool entered, granted;
        bool ends;      /* it waits for its leaving store alone */
        unsigned share; /* of a write that is due, in hundredths */
        uint64_t done;
};

static struct {
        const struct traffic *traffic;
        const struct costs *costs;
        unsigned writes;
        struct line *line;
        struct thread thread[THREADS_MAX];
        int writer;             /* who is in to write, or NOBODY */
        int waits_to_write;     /* who keeps readers out meanwhile, or NOBODY */
        unsigned readers, warm; /* warm: how many threads have done WARM operations */
        uint64_t version, done, steps, random;
        double now;
        struct event *heap;
        unsigned count, room;
} sim;

/* --- What comes next --- */

static void later(struct event event)
{
        unsigned at = sim.count++;

        if (sim.count > sim.room) {
                sim.room = sim.room * 2 + 64;
                sim.heap = realloc(sim.heap, sim.room * sizeof *sim.heap);
                if (!sim.heap)
                        errx(1, "no memory");
        }
        for (; at > 0 && sim.heap[(at - 1) / 2].at > event.at; at = (at - 1) / 2)
                sim.heap[at] = sim.heap[(at - 1) / 2];
        sim.heap[at] = event;
}

static struct event next(void)
{
        struct event first = sim.heap[0], last = sim.heap[--sim.count];
        unsigned at = 0;

        for (unsigned child; (child = 2 * at + 1) < sim.count; at = child) {
                if (child + 1 < sim.count && sim.heap[child + 1].at < sim.heap[child].at)
                        child++;
                if (sim.heap[child].at >= last.at)
                        break;
                sim.heap[at] = sim.heap[child];
        }
        sim.heap[at] = last;
        return first;
}

static void go_on(unsigned thread, double at)
{
        later((struct event){ .at = at, .what = GO_ON, .thread = thread });
}

/* --- Lines --- */

static bool has(const struct line *line, unsigned thread)
{
        return line->has[thread / 64] >> thread % 64 & 1;
}

static bool may_write(const struct line *line, unsigned thread)
{
        return line->alone == (int)thread || line->next == (int)thread;
}

static void give(struct line *line, unsigned thread, bool alone)
{
        if (alone)
                for (unsigned i = 0; i < THREADS_MAX / 64; i++)
                        line->has[i] = 0;
        line->has[thread / 64] |= UINT64_C(1) << thread % 64;
        line->alone = alone ? (int)thread : NOBODY;
        if (alone && line->next == (int)thread)
                line->next = NOBODY;
}

/* Ask for a line, to load it or to have it alone: when it has come. */
static double transfer(unsigned number, bool alone, double now)
{
        struct line *line = &sim.line[number];
        double start = now > line->free ? now : line->free, done = start + sim.costs->transfer;

        later((struct event){ .at = start + sim.costs->held, .what = TAKEN, .alone = alone, .line = number });
        if (alone)
                line->free = done;
        return done;
}

static bool is_fetching(const struct thread *thread, unsigned line)
{
        for (unsigned k = 0; k < thread->fetches; k++)
                if (thread->fetching[k] == line)
                        return true;
        return false;
}

/* --- Who is in --- */

static bool enters(const struct thread *thread)
{
        enum readers readers = sim.traffic->readers;

        return thread->op == OP_WRITE || readers == READERS_IN ||
               (readers == READERS_VERSIONED && thread->tries >= TRIES);
}

static bool could_enter(unsigned i, const struct thread *thread)
{
        if (sim.writer != NOBODY)
                return false;
        if (thread->op == OP_READ)
                return sim.waits_to_write == NOBODY;
        return sim.readers == 0 && (sim.waits_to_write == NOBODY || sim.waits_to_write == (int)i);
}

static bool try_to_enter(unsigned i, struct thread *thread)
{
        if (!could_enter(i, thread)) {
                if (thread->op == OP_WRITE && sim.writer == NOBODY && sim.waits_to_write == NOBODY)
                        sim.waits_to_write = (int)i;
                return false;
        }
        if (thread->op == OP_WRITE) {
                if (sim.waits_to_write == (int)i)
                        sim.waits_to_write = NOBODY;
                sim.writer = (int)i;
                sim.version++;
        } else {
                sim.readers++;
        }
        thread->entered = true;
        return true;
}

static void leave(unsigned i)
{
        struct thread *thread = &sim.thread[i];

        if (sim.writer == (int)i) {
                sim.writer = NOBODY;
                sim.version++;
        } else {
                sim.readers--;
        }
        thread->entered = false;
}

/* --- Threads --- */

static void begin(unsigned i)
{
        struct thread *thread = &sim.thread[i];

        thread->share += sim.writes;
        thread->op = thread->share >= 100 ? OP_WRITE : OP_READ;
        thread->share %= 100;
        thread->trace = &sim.traffic->trace[thread->op * sim.traffic->threads + i];
        thread->at = 0;
        thread->pause = 1;
        thread->tries = 0;
}

/* The thread goes on after so many pauses. */
static void pause_for(unsigned i, struct thread *thread, double now)
{
        sim.random = sim.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        go_on(i, now + thread->pause * sim.costs->pause * (0.5 + (double)(sim.random >> 40) / (1 << 24)));
        if (thread->pause < PAUSES_MAX)
                thread->pause *= 2;
}

/* The access at which a thread stands, to a line that it has; false: it is to wait. */
static bool look(unsigned i, struct thread *thread, double now, char how)
{
        bool first = thread->at == thread->trace->enter, last = thread->at == thread->trace->leave;
        enum readers readers = sim.traffic->readers;

        if (readers == READERS_ALONE || (thread->op == OP_READ && readers == READERS_FREE))
                return true;
        if (enters(thread)) {
                if (first && !thread->entered && !try_to_enter(i, thread)) {
                        pause_for(i, thread, now);
                        return false;
                }
                if (last && thread->entered && how != 'S')
                        leave(i);
                return true;
        }
        if (first)
                thread->seen = sim.version;
        if ((first && sim.writer != NOBODY) || (last && thread->seen != sim.version)) {
                thread->at = thread->trace->enter;
                thread->tries++;
                pause_for(i, thread, now);
                return false;
        }
        return true;
}

/* Ask for the line of the access at which a thread stands; what: how it comes. */
static double ask(unsigned i, unsigned line, enum what what, double now)
{
        double done = transfer(line, what == OWNED || what == STORED, now);

        if (what != STORED)
                later((struct event){ .at = done, .what = what, .thread = i, .line = line });
        return done;
}

static bool has_or_gets(unsigned i, unsigned line)
{
        return has(&sim.line[line], i) || may_write(&sim.line[line], i) || is_fetching(&sim.thread[i], line);
}

/* The line of a load; false: it is not there yet.  Only where one looks at a lock it is waited for. */
static bool obtain_to_load(unsigned i, struct thread *thread, unsigned line, bool is_edge, double now)
{
        double done;

        if (thread->granted || has_or_gets(i, line))
                return true;
        if (is_edge) {
                ask(i, line, LOADED, now);
                return false;
        }
        if (thread->fetches == OVERLAP) {
                thread->fetches = 0;
                go_on(i, thread->loads > now ? thread->loads : now);
                return false;
        }
        done = ask(i, line, FETCHED, now);
        thread->fetching[thread->fetches++] = line;
        thread->loads = done > thread->loads ? done : thread->loads;
        return true;
}

/* The line of an RMW; who has looked in vain before looks first without taking it. */
static bool obtain_to_change(unsigned i, struct thread *thread, unsigned line, double now)
{
        if (thread->granted)
                return true;
        if (thread->at == thread->trace->enter && thread->pause > 1) {
                if (!has_or_gets(i, line)) {
                        ask(i, line, LOOKED, now);
                        return false;
                }
                if (!could_enter(i, thread) && !(thread->op == OP_WRITE && sim.writer == NOBODY)) {
                        pause_for(i, thread, now);
                        return false;
                }
        }
        if (may_write(&sim.line[line], i))
                return true;
        ask(i, line, OWNED, now);
        return false;
}

static void store(unsigned i, struct thread *thread, unsigned number, double now)
{
        struct line *line = &sim.line[number];
        bool leaves = thread->at == thread->trace->leave && thread->entered, mine = may_write(line, i);

        if (!mine) {
                double done = ask(i, number, STORED, now);

                thread->stores = done > thread->stores ? done : thread->stores;
                line->next = (int)i;
        }
        if (!mine || (leaves && thread->stores > now))
                later((struct event){ thread->stores, STORED, leaves, true, i, number });
        else if (leaves)
                leave(i);
}

/* Whether what an access comes after is done. */
static bool is_in_order(unsigned i, struct thread *thread, char how, double now)
{
        double done = how != 'L' && thread->stores > thread->loads ? thread->stores : thread->loads;

        if (done > now) {
                go_on(i, done);
                return false;
        }
        thread->fetches = 0;
        return true;
}

/* One access; false: the thread goes on later.  A line that only one thread touches has no
 * others to wait for. */
static bool step(unsigned i, struct thread *thread, double *now)
{
        const struct access *access = &thread->trace->access[thread->at];
        bool is_edge = thread->at == thread->trace->enter || thread->at == thread->trace->leave;
        bool is_fence = access->how == 'F' || access->how == 'H';
        /* A reader that has looked in vain enters. */
        char how = is_edge && access->how == 'L' && enters(thread) ? 'X' : access->how;

        if ((is_fence || how == 'X' || (is_edge && how == 'L')) && !is_in_order(i, thread, how, *now))
                return false;
        if (!is_fence && (is_edge || sim.line[access->line].common)) {
                if (how == 'L' && !obtain_to_load(i, thread, access->line, is_edge, *now))
                        return false;
                if (how == 'X' && !obtain_to_change(i, thread, access->line, *now))
                        return false;
                thread->granted = false;
                if (!look(i, thread, *now, how))
                        return false;
                if (how == 'S')
                        store(i, thread, access->line, *now);
        }
        *now += is_fence ? sim.costs->fence : sim.costs->access[thread->op] + (how == 'X' ? sim.costs->rmw : 0);
        thread->at++;
        return true;
}

static void run(unsigned i, double now)
{
        struct thread *thread = &sim.thread[i];

        for (;;) {
                if (thread->at == thread->trace->count) {
                        thread->ends = thread->entered;
                        if (thread->ends)
                                return;
                        if (thread->loads > now) {
                                go_on(i, thread->loads);
                                return;
                        }
                        thread->fetches = 0;
                        now += sim.costs->call;
                        sim.done++;
                        sim.warm += ++thread->done == WARM;
                        sim.now = now;
                        begin(i);
                        go_on(i, now);
                        return;
                }
                sim.steps++;
                /* What others do in the meantime comes first. */
                if (sim.count > 0 && sim.heap[0].at < now) {
                        go_on(i, now);
                        return;
                }
                if (!step(i, thread, &now))
                        return;
        }
}

static void happen(struct event event)
{
        struct line *line = &sim.line[event.line];
        struct thread *thread = &sim.thread[event.thread];

        sim.now = event.at;
        switch (event.what) {
        case GO_ON:
                break;
        case TAKEN:
                if (event.alone)
                        for (unsigned i = 0; i < THREADS_MAX / 64; i++)
                                line->has[i] = 0;
                line->alone = NOBODY;
                return;
        case FETCHED:
                give(line, event.thread, false);
                return;
        case LOOKED:
                give(line, event.thread, false);
                break;
        case LOADED:
                give(line, event.thread, false);
                thread->granted = true;
                break;
        case OWNED:
                give(line, event.thread, true);
                thread->granted = true;
                break;
        case STORED:
                give(line, event.thread, true);
                if (event.leaves)
                        leave(event.thread);
                if (!thread->ends || thread->entered)
                        return;
                break;
        }
        run(event.thread, event.at);
}

/* --- From outside --- */

static bool changes(char how)
{
        return how == 'S' || how == 'X';
}

/* Whether a writer changes the line. */
static bool is_written(const struct traffic *traffic, unsigned line)
{
        const struct trace *write = &traffic->trace[OP_WRITE * traffic->threads];

        for (unsigned k = 0; k < write->count; k++)
                if (changes(write->access[k].how) && write->access[k].line == line)
                        return true;
        return false;
}

static void find_looks(const struct traffic *traffic, struct trace *trace)
{
        trace->enter = trace->leave = trace->count;
        for (unsigned k = 0; k < trace->count; k++)
                if (trace->access[k].how == 'L' && is_written(traffic, trace->access[k].line)) {
                        if (trace->enter == trace->count)
                                trace->enter = k;
                        trace->leave = k;
                }
}

static void find_edges(struct trace *trace)
{
        trace->enter = 0;
        while (trace->enter < trace->count && trace->access[trace->enter].how != 'X')
                trace->enter++;
        trace->leave = trace->count;
        for (unsigned k = trace->enter + 1; k < trace->count; k++)
                if (changes(trace->access[k].how) && trace->access[k].line == trace->access[trace->enter].line)
                        trace->leave = k;
}

void simulate_prepare(struct traffic *traffic)
{
        for (unsigned op = 0; op < OPS; op++)
                for (unsigned i = 0; i < traffic->threads; i++) {
                        struct trace *trace = &traffic->trace[op * traffic->threads + i];

                        if (op == OP_READ && traffic->readers == READERS_VERSIONED)
                                find_looks(traffic, trace);
                        else
                                find_edges(trace);
                        if (traffic->readers != READERS_ALONE && trace->leave >= trace->count &&
                            (op == OP_WRITE || traffic->readers != READERS_FREE))
                                errx(1, "an operation is recorded that does not lock");
                }
}

/* All lines of a group, and which of them more than one thread touches. */
static void make_lines(const struct traffic *traffic)
{
        unsigned count = 0;
        int *toucher;

        for (unsigned k = 0; k < OPS * traffic->threads; k++)
                for (unsigned a = 0; a < traffic->trace[k].count; a++)
                        if (traffic->trace[k].access[a].line >= count)
                                count = traffic->trace[k].access[a].line + 1;
        sim.line = calloc(count + 1, sizeof *sim.line);
        toucher = calloc(count + 1, sizeof *toucher);
        if (!sim.line || !toucher)
                errx(1, "no memory");
        for (unsigned k = 0; k < OPS * traffic->threads; k++)
                for (unsigned a = 0; a < traffic->trace[k].count; a++) {
                        unsigned number = traffic->trace[k].access[a].line;
                        int who = (int)(k % traffic->threads) + 1;

                        sim.line[number].common |= toucher[number] && toucher[number] != who;
                        toucher[number] = who;
                        sim.line[number].alone = sim.line[number].next = NOBODY;
                }
        free(toucher);
}

double simulate(const struct traffic *traffic, const struct costs *costs, unsigned writes)
{
        uint64_t enough = 0, before = 0;
        double since = 0;

        sim.traffic = traffic;
        sim.costs = costs;
        sim.writes = writes;
        sim.writer = sim.waits_to_write = NOBODY;
        sim.readers = sim.warm = 0;
        sim.version = sim.done = sim.steps = sim.random = 0;
        sim.count = 0;
        make_lines(traffic);
        for (unsigned i = 0; i < traffic->threads; i++) {
                sim.thread[i] = (struct thread){ .share = i * 37 % 100 };
                begin(i);
                go_on(i, i * costs->call / traffic->threads);
        }
        while (sim.count > 0 && (!enough || sim.done < enough) && sim.steps < STEPS_MAX) {
                happen(next());
                if (!enough && (sim.warm == traffic->threads || sim.steps > STEPS_MAX / 4)) {
                        before = sim.done;
                        since = sim.now;
                        enough = before + 5000 + 100 * traffic->threads;
                }
        }
        free(sim.line);
        return sim.now > since && enough ? (double)(sim.done - before) * 1000 / (sim.now - since) : 0;
}
