/* simulate.h - what an operation costs that is known by the cache lines that it touches
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_SIMULATE_H
#define BENCH_SIMULATE_H

#include <stdbool.h>

enum { OP_READ, OP_WRITE, OPS };

/* Of this machine, in ns. */
struct costs {
        double call;        /* what is done between two operations, */
        double access[OPS]; /* each access to a line that the processor has, and the work around it, */
        double rmw;         /* an atomic change of one, besides, */
        double fence;       /* and a full fence */
        double transfer;    /* a line comes from another processor, or is made one's own */
        double held;        /* for so long of that its last owner may use it yet */
        double pause;       /* one of those that wait */
};

/* How a reader and a writer of a group keep out of each other's way. */
enum readers {
        READERS_ALONE,     /* there is no writer */
        READERS_FREE,      /* they do not (rcu) */
        READERS_VERSIONED, /* the reader looks afterwards whether a writer was there, and if, again */
        READERS_IN,        /* it enters by its first RMW, and leaves by its last write to the same line */
};

struct access {
        char how; /* as lines.c prints it */
        unsigned line;
};

struct trace {
        unsigned count;
        struct access *access;
        unsigned enter, leave; /* which of them; for versioned readers: their looks */
};

/* One group of operations, by so many threads: trace[op * threads + thread]. */
struct traffic {
        unsigned threads;
        enum readers readers;
        struct trace *trace;
};

/* Finds where each operation enters and leaves. */
void simulate_prepare(struct traffic *traffic);

/* Operations in a microsecond, of all threads together; writes: how many of 100 are. */
double simulate(const struct traffic *traffic, const struct costs *costs, unsigned writes);

#endif
