/* lines.c - which cache lines each operation reads and writes
 *
 * SPDX-License-Identifier: MIT
 *
 * The library's own sources are compiled as for ThreadSanitizer, so that each access to memory
 * that is not a local variable is a call, __tsan_..., and linked with the functions of this file
 * instead of the sanitizer's.  They do the access, and note it where the thread is recorded.
 * (__SANITIZE_THREAD__ is not defined: the sources are to be those that ship.)
 *
 * Some threads do one operation after the other, each in a turn of its own, on one map, until
 * nothing changes any more; then each does it once more, recorded.
 *
 * What is not seen, and what is done about it:
 *   - the loads in assembly (lib/memory/racy.h): the bytes that a copy out without entering
 *     takes from the map.  They are added, before the last access of the operation.
 *   - memcpy and its like, where the compiler makes a call of them: wrapped by the linker.
 *   - the heavy fence, which is a system call: os_fence_heavy is wrapped, and noted as one.
 *   - a libc's own memory (a mutex is taken by no quick path), and the thread's stack, which no
 *     other thread touches: left out.
 *
 *      lines                   the table, of two threads
 *      lines --check           of eight; fails where reads share a line that one of them writes
 *      lines --traces N...     what scale.c reads, for so many threads
 */
#include <err.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ammap.h>

#include "lock/slot.h"
#include "map/map.h"
#include "rivals.h"

enum { LINE = 64, THREADS_MAX = 256, EVENTS_MAX = 4096, WARM_UP = 300 };

/* --- The record --- */

enum how { LOAD = 'L', STORE = 'S', RMW = 'X', FENCE = 'F', HEAVY = 'H' };

struct event {
        uintptr_t line;
        enum how how;
};

struct trace {
        unsigned count;
        struct event event[EVENTS_MAX];
};

static _Thread_local struct trace *recording;
static _Thread_local uintptr_t stack_low, stack_high;

static void note(enum how kind, const volatile void *address, size_t size)
{
        struct trace *trace = recording;
        uintptr_t at = (uintptr_t)address;

        if (!trace || (at >= stack_low && at < stack_high))
                return;
        for (uintptr_t line = at / LINE; line <= (at + (size ? size - 1 : 0)) / LINE; line++) {
                if (trace->count == EVENTS_MAX)
                        errx(1, "an operation has more than %d accesses", EVENTS_MAX);
                trace->event[trace->count++] = (struct event){ line, kind };
        }
}

/* --- What instrumented code calls --- */

/* The names are the compiler's: NOLINTBEGIN(bugprone-reserved-identifier) */
#define NOTHING(name)                                                                                                  \
        void name(void *);                                                                                             \
        void name(void *p)                                                                                             \
        {                                                                                                              \
                (void)p;                                                                                               \
        }
NOTHING(__tsan_init)
NOTHING(__tsan_func_entry)
NOTHING(__tsan_func_exit)

#define PLAIN(name, kind, size)                                                                                        \
        void name(void *);                                                                                             \
        void name(void *p)                                                                                             \
        {                                                                                                              \
                note(kind, p, size);                                                                                   \
        }
#define PLAIN_OF(size)                                                                                                 \
        PLAIN(__tsan_read##size, LOAD, size)                                                                           \
        PLAIN(__tsan_write##size, STORE, size)                                                                         \
        PLAIN(__tsan_unaligned_read##size, LOAD, size)                                                                 \
        PLAIN(__tsan_unaligned_write##size, STORE, size)
PLAIN_OF(1)
PLAIN_OF(2)
PLAIN_OF(4)
PLAIN_OF(8)
PLAIN_OF(16)

#define RANGE(name, kind)                                                                                              \
        void name(void *, size_t);                                                                                     \
        void name(void *p, size_t size)                                                                                \
        {                                                                                                              \
                note(kind, p, size);                                                                                   \
        }
RANGE(__tsan_read_range, LOAD)
RANGE(__tsan_write_range, STORE)

#define CHANGE(type, bits, name, builtin)                                                                              \
        type __tsan_atomic##bits##_##name(volatile type *, type, int);                                                 \
        type __tsan_atomic##bits##_##name(volatile type *p, type value, int order)                                     \
        {                                                                                                              \
                (void)order;                                                                                           \
                note(RMW, p, sizeof(type));                                                                            \
                return builtin(p, value, __ATOMIC_SEQ_CST);                                                            \
        }
#define EXCHANGE_IF(type, bits, strength)                                                                              \
        int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *, type *, type, int, int);                \
        int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *p, type *expected, type value, int order, \
                                                              int failure)                                             \
        {                                                                                                              \
                (void)order, (void)failure;                                                                            \
                note(RMW, p, sizeof(type));                                                                            \
                return __atomic_compare_exchange_n(p, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
        }
/* A sequentially consistent store waits for all stores before it, as a fence does. */
#define ATOMIC(type, bits)                                                                                             \
        type __tsan_atomic##bits##_load(const volatile type *, int);                                                   \
        type __tsan_atomic##bits##_load(const volatile type *p, int order)                                             \
        {                                                                                                              \
                (void)order;                                                                                           \
                note(LOAD, p, sizeof(type));                                                                           \
                return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                           \
        }                                                                                                              \
        void __tsan_atomic##bits##_store(volatile type *, type, int);                                                  \
        void __tsan_atomic##bits##_store(volatile type *p, type value, int order)                                      \
        {                                                                                                              \
                note(order == __ATOMIC_SEQ_CST ? RMW : STORE, p, sizeof(type));                                        \
                __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                                          \
        }                                                                                                              \
        CHANGE(type, bits, exchange, __atomic_exchange_n)                                                              \
        CHANGE(type, bits, fetch_add, __atomic_fetch_add)                                                              \
        CHANGE(type, bits, fetch_sub, __atomic_fetch_sub)                                                              \
        CHANGE(type, bits, fetch_and, __atomic_fetch_and)                                                              \
        CHANGE(type, bits, fetch_or, __atomic_fetch_or)                                                                \
        CHANGE(type, bits, fetch_xor, __atomic_fetch_xor)                                                              \
        EXCHANGE_IF(type, bits, strong)                                                                                \
        EXCHANGE_IF(type, bits, weak)
ATOMIC(uint8_t, 8)
ATOMIC(uint16_t, 16)
ATOMIC(uint32_t, 32)
ATOMIC(uint64_t, 64)

void __tsan_atomic_thread_fence(int);
void __tsan_atomic_thread_fence(int order)
{
        if (order == __ATOMIC_SEQ_CST)
                note(FENCE, NULL, 0);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int);
void __tsan_atomic_signal_fence(int order)
{
        (void)order;
}

#define MOVES(name)                                                                                                    \
        void *__real_##name(void *, const void *, size_t);                                                             \
        void *__wrap_##name(void *, const void *, size_t);                                                             \
        void *__wrap_##name(void *to, const void *from, size_t size)                                                   \
        {                                                                                                              \
                if (size) {                                                                                            \
                        note(LOAD, from, size);                                                                        \
                        note(STORE, to, size);                                                                         \
                }                                                                                                      \
                return __real_##name(to, from, size);                                                                  \
        }
MOVES(memcpy)
MOVES(memmove)

void *__real_memset(void *, int, size_t);
void *__wrap_memset(void *, int, size_t);
void *__wrap_memset(void *to, int byte, size_t size)
{
        if (size)
                note(STORE, to, size);
        return __real_memset(to, byte, size);
}

void __real_os_fence_heavy(void);
void __wrap_os_fence_heavy(void);
void __wrap_os_fence_heavy(void)
{
        note(HEAVY, NULL, 0);
        __real_os_fence_heavy();
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- Operations --- */

struct subject {
        ammap_t *map;
        const struct rival *rival;
};

/* Of one thread.  before is done, unrecorded, ahead of each. */
typedef void operation(struct subject *subject, unsigned thread);

static _Thread_local _Alignas(LINE) unsigned char own_buffer[LINE];

static void must(int rc)
{
        if (rc != 0)
                errx(1, "an operation failed: %s", ammap_errname(rc));
}

static void copy_out(struct subject *subject, unsigned thread)
{
        struct trace *trace = recording;

        (void)thread;
        must(ammap_read_into(subject->map, 0, own_buffer, LINE));
        if (trace && trace->count > 0) { /* the loads that are not seen */
                struct event last = trace->event[--trace->count];

                note(LOAD, ammap_as_ptr(subject->map), LINE);
                trace->event[trace->count++] = last;
        }
}

static void copy_in(struct subject *subject, unsigned thread)
{
        (void)thread;
        must(ammap_update_region(subject->map, 0, own_buffer, LINE));
}

static void slice(struct subject *subject, unsigned thread)
{
        ammap_slice_t taken;

        (void)thread;
        must(ammap_as_slice(subject->map, 0, LINE, &taken));
        note(LOAD, taken.data, LINE);
        must(ammap_slice_release(&taken));
}

static void mut_slice(struct subject *subject, unsigned thread)
{
        ammap_mut_slice_t taken;

        (void)thread;
        must(ammap_as_mut_slice(subject->map, 0, LINE, &taken));
        note(STORE, taken.data, LINE);
        must(ammap_mut_slice_release(&taken));
}

static void rival_read(struct subject *subject, unsigned thread)
{
        subject->rival->read(thread, own_buffer);
}

static void rival_write(struct subject *subject, unsigned thread)
{
        subject->rival->write(thread, own_buffer);
}

/* The operations of one group are on one map, or lock, after each other. */
static const struct row {
        const char *group, *name;
        operation *run, *before;
        ammap_share_t share;
        int rival;
        bool reads;
} rows[] = {
        { "private-copies", "read", copy_out, NULL, AMMAP_PRIVATE, -1, true },
        { "private-copies", "write", copy_in, NULL, AMMAP_PRIVATE, -1, false },
        { "private-slices", "read", slice, NULL, AMMAP_PRIVATE, -1, true },
        { "private-slices-mixed", "read", slice, copy_in, AMMAP_PRIVATE, -1, false },
        { "private-slices-mixed", "write", mut_slice, NULL, AMMAP_PRIVATE, -1, false },
        { "shared-copies", "read", copy_out, NULL, AMMAP_SHARED, -1, true },
        { "shared-copies", "write", copy_in, NULL, AMMAP_SHARED, -1, false },
        { "shared-slices", "read", slice, NULL, AMMAP_SHARED, -1, true },
        { "shared-slices", "write", mut_slice, NULL, AMMAP_SHARED, -1, false },
        { "counted", "read", rival_read, NULL, AMMAP_PRIVATE, RIVAL_COUNTED, false },
        { "counted", "write", rival_write, NULL, AMMAP_PRIVATE, RIVAL_COUNTED, false },
        { "bravo", "read", rival_read, NULL, AMMAP_PRIVATE, RIVAL_BRAVO, false },
        { "bravo-mixed", "read", rival_read, rival_write, AMMAP_PRIVATE, RIVAL_BRAVO, false },
        { "bravo-mixed", "write", rival_write, NULL, AMMAP_PRIVATE, RIVAL_BRAVO, false },
        { "rcu", "read", rival_read, NULL, AMMAP_PRIVATE, RIVAL_RCU, false },
        { "rcu", "write", rival_write, NULL, AMMAP_PRIVATE, RIVAL_RCU, false },
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* --- Threads that take turns --- */

static struct member {
        pthread_t thread;
        sem_t go, done;
        unsigned number;

        struct trace trace;
} members[THREADS_MAX];

static struct {
        const struct row *row; /* NULL: end */
        struct subject subject;
        unsigned times;
        bool record;
} turn;

static void *take_turns(void *argument)
{
        struct member *me = argument;
        uintptr_t here = (uintptr_t)__builtin_frame_address(0);

        /* Not far up: what is the thread's by name may lie above its first frame. */
        stack_low = here - 65536;
        stack_high = here + LINE;
        for (;;) {
                sem_wait(&me->go);
                if (!turn.row)
                        return NULL;
                for (unsigned i = 0; i < turn.times; i++) {
                        if (turn.row->before)
                                turn.row->before(&turn.subject, me->number);
                        me->trace.count = 0;
                        recording = turn.record ? &me->trace : NULL;
                        turn.row->run(&turn.subject, me->number);
                        recording = NULL;
                }
                sem_post(&me->done);
        }
}

static void each(unsigned threads)
{
        for (unsigned i = 0; i < threads; i++) {
                sem_post(&members[i].go);
                if (turn.row)
                        sem_wait(&members[i].done);
                else
                        pthread_join(members[i].thread, NULL);
        }
}

/* Record a row by so many threads. */
static void record(const struct row *row, unsigned threads)
{
        turn.row = row;
        turn.times = WARM_UP;
        turn.record = false;
        each(threads);
        turn.times = 1;
        turn.record = true;
        each(threads);
}

static void start(unsigned threads)
{
        for (unsigned i = 0; i < threads; i++) {
                struct member *member = &members[i];

                member->number = i;
                if (sem_init(&member->go, 0, 0) < 0 || sem_init(&member->done, 0, 0) < 0 ||
                    pthread_create(&member->thread, NULL, take_turns, member) != 0)
                        errx(1, "no thread");
        }
}

/* The map of a row, or its lock; false: there is no such map here. */
static bool begin(const struct row *row)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int rc;

        turn.subject.rival = row->rival < 0 ? NULL : &rivals[row->rival];
        if (row->rival >= 0) {
                rivals_reset();
                return true;
        }
        options.share = row->share;
        rc = ammap_new_with(&turn.subject.map, 4096, &options);
        if (rc == AMMAP_ERR_UNSUPPORTED)
                return false;
        must(rc);
        return true;
}

static void end(void)
{
        if (turn.subject.map)
                must(ammap_free(turn.subject.map));
        turn.subject.map = NULL;
}

/* --- Whose a line is --- */

struct use {
        uintptr_t line;
        unsigned thread;
        bool wrote;
};

struct line {
        uintptr_t line;
        unsigned threads, writers; /* how many touch it, and write it */
};

static struct {
        unsigned count;
        struct line *line;
} lines;

static bool writes(enum how kind)
{
        return kind == STORE || kind == RMW;
}

static bool is_access(enum how kind)
{
        return kind != FENCE && kind != HEAVY;
}

static int compare_uses(const void *a, const void *b)
{
        const struct use *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        return x->thread < y->thread ? -1 : x->thread > y->thread;
}

/* Of what has been recorded last: all lines, in ascending order. */
static void gather_lines(unsigned threads)
{
        size_t count = 0, all = 0;
        struct use *uses;

        for (unsigned i = 0; i < threads; i++)
                all += members[i].trace.count;
        uses = calloc(all + 1, sizeof *uses);
        free(lines.line);
        lines.line = calloc(all + 1, sizeof *lines.line);
        lines.count = 0;
        if (!uses || !lines.line)
                errx(1, "no memory");
        for (unsigned i = 0; i < threads; i++)
                for (unsigned k = 0; k < members[i].trace.count; k++) {
                        const struct event *event = &members[i].trace.event[k];

                        if (is_access(event->how))
                                uses[count++] = (struct use){ event->line, i, writes(event->how) };
                }
        qsort(uses, count, sizeof *uses, compare_uses);
        for (size_t k = 0; k < count;) {
                struct line *line = &lines.line[lines.count++];

                line->line = uses[k].line;
                while (k < count && uses[k].line == line->line) {
                        unsigned thread = uses[k].thread;
                        bool wrote = false;

                        for (; k < count && uses[k].line == line->line && uses[k].thread == thread; k++)
                                wrote |= uses[k].wrote;
                        line->threads++;
                        line->writers += wrote;
                }
        }
        free(uses);
}

static const struct line *line_of(uintptr_t number)
{
        unsigned low = 0, high = lines.count;

        while (high - low > 1) {
                unsigned middle = (low + high) / 2;

                if (lines.line[middle].line <= number)
                        low = middle;
                else
                        high = middle;
        }
        return &lines.line[low];
}

static bool lies_in(uintptr_t line, const void *start, size_t size)
{
        return line >= (uintptr_t)start / LINE && line < ((uintptr_t)start + size + LINE - 1) / LINE;
}

static const char *name_of_shared(const struct shared *shared, uintptr_t line)
{
        if (lies_in(line, &shared->lane[0], LINE))
                return "sequence";
        if (lies_in(line, &shared->lane[0].owner, LINE))
                return "owner";
        if (lies_in(line, shared->record, shared->slots * sizeof shared->record[0]))
                return "records";
        return lies_in(line, shared->head, sizeof *shared->head) ? "head" : "handle";
}

static const char *name_of(uintptr_t line)
{
        const ammap_t *map = turn.subject.map;
        const struct shared *shared = map ? map->shared : NULL;

        if (!map)
                return "lock";
        if (lies_in(line, map->base, LINE))
                return "data";
        if (lies_in(line, map, sizeof *map))
                return "map";
        if (lies_in(line, &map->lane[0], sizeof map->lane[0]))
                return lies_in(line, &map->lane[0], LINE) ? "lane" : "lane's second";
        if (shared && (lies_in(line, shared, sizeof *shared) || lies_in(line, shared->head, shared_head_size(shared))))
                return name_of_shared(shared, line);
        return "library";
}

/* --- The table --- */

struct sum {
        unsigned accesses, rmws, fences, own_read, own_written, common, contended;
};

static bool is_first(const struct trace *trace, unsigned k)
{
        for (unsigned i = 0; i < k; i++)
                if (is_access(trace->event[i].how) && trace->event[i].line == trace->event[k].line)
                        return false;
        return true;
}

static bool is_written_by(const struct trace *trace, uintptr_t line)
{
        for (unsigned i = 0; i < trace->count; i++)
                if (writes(trace->event[i].how) && trace->event[i].line == line)
                        return true;
        return false;
}

static struct sum sum_up(const struct trace *trace)
{
        struct sum sum = { 0 };

        for (unsigned k = 0; k < trace->count; k++) {
                enum how kind = trace->event[k].how;

                sum.accesses += is_access(kind);
                sum.rmws += kind == RMW;
                sum.fences += kind == FENCE || kind == HEAVY;
                if (is_access(kind) && is_first(trace, k)) {
                        const struct line *line = line_of(trace->event[k].line);
                        bool own = line->threads == 1;

                        sum.own_written += own && line->writers;
                        sum.own_read += own && !line->writers;
                        sum.common += !own && !line->writers;
                        sum.contended += !own && line->writers;
                }
        }
        return sum;
}

/* The names of the lines that others touch, too: those that one of them writes, or the rest;
 * and * where the thread itself writes it. */
static void print_common(const struct trace *trace, bool written)
{
        for (unsigned k = 0; k < trace->count; k++) {
                uintptr_t number = trace->event[k].line;

                if (!is_access(trace->event[k].how) || !is_first(trace, k) || line_of(number)->threads == 1 ||
                    (line_of(number)->writers > 0) != written)
                        continue;
                printf(" %s%s", name_of(number), is_written_by(trace, number) ? "*" : "");
        }
}

static bool show(const struct row *row, unsigned threads, bool check)
{
        const struct trace *trace = &members[threads - 1].trace;
        struct sum sum = sum_up(trace);
        unsigned contended = 0;

        printf("%-20s %-5s %5u %4u %6u   %3u %3u   %3u %3u  ", row->group, row->name, sum.accesses, sum.rmws,
               sum.fences, sum.own_read, sum.own_written, sum.common, sum.contended);
        print_common(trace, false);
        printf(" |");
        print_common(trace, true);
        printf("\n");
        if (!check)
                return true;
        for (unsigned i = 0; i < lines.count; i++)
                contended += lines.line[i].threads > 1 && lines.line[i].writers;
        if (row->reads && (contended || sum.common == 0)) {
                printf("FAIL: %s: %s\n", row->group,
                       contended ? "reads of different threads share a line that one of them writes"
                                 : "the reads have no line in common: nothing has been recorded");
                return false;
        }
        if (strcmp(row->name, "write") == 0 && !contended) {
                printf("FAIL: %s: the writes share no line: they have not been recorded\n", row->group);
                return false;
        }
        return true;
}

/* --- Traces --- */

/* A small number for a line, the same wherever it comes again. */
static unsigned short_name(uintptr_t line)
{
        enum { ROOM = 1 << 16 };
        static struct {
                uintptr_t line;
                unsigned name;
        } known[ROOM];
        static unsigned names;
        size_t at = line * 11400714819323198485u % ROOM;

        while (known[at].line && known[at].line != line)
                at = (at + 1) % ROOM;
        if (!known[at].line) {
                if (names == ROOM / 2)
                        errx(1, "there are more than %u lines", names);
                known[at].line = line;
                known[at].name = names++;
        }
        return known[at].name;
}

/* One operation a line: the group, its name, how many threads, which; its accesses. */
static void print_traces(const struct row *row, unsigned threads)
{
        for (unsigned i = 0; i < threads; i++) {
                const struct trace *trace = &members[i].trace;

                printf("%s %s %u %u", row->group, row->name, threads, i);
                for (unsigned k = 0; k < trace->count; k++)
                        if (is_access(trace->event[k].how))
                                printf(" %c%u", trace->event[k].how, short_name(trace->event[k].line));
                        else
                                printf(" %c", trace->event[k].how);
                printf("\n");
        }
}

/* All rows by so many threads; traces, or a table. */
static bool run(unsigned threads, bool traces, bool check)
{
        bool good = true;

        start(threads);
        for (const struct row *row = rows; row < rows + ROWS; row++) {
                if ((row == rows || strcmp(row->group, row[-1].group) != 0)) {
                        end();
                        if (!begin(row))
                                continue;
                } else if (row->rival < 0 && !turn.subject.map) {
                        continue;
                }
                record(row, threads);
                if (traces) {
                        print_traces(row, threads);
                } else {
                        gather_lines(threads);
                        good &= show(row, threads, check);
                }
        }
        end();
        turn.row = NULL;
        each(threads);
        return good;
}

int main(int argc, char **argv)
{
        bool check = argc == 2 && strcmp(argv[1], "--check") == 0;
        unsigned threads;
        bool good;

        if (argc > 2 && strcmp(argv[1], "--traces") == 0) {
                for (int i = 2; i < argc; i++) {
                        threads = (unsigned)strtoul(argv[i], NULL, 10);
                        if (threads < 1 || threads > THREADS_MAX)
                                errx(2, "1 to %d threads, not %s", THREADS_MAX, argv[i]);
                        run(threads, true, false);
                }
                return 0;
        }
        if (argc > 1 && !check)
                errx(2, "usage: lines [--check | --traces THREADS...]");
        threads = check ? 8 : 2;
        printf("of %u threads              acc-                   own    common\n", threads);
        printf("%-26s %5s %4s %6s   %3s %3s   %3s %3s   which: those that are read alone | *: written by it\n",
               "operation", "esses", "RMWs", "fences", "r", "w", "r", "w");
        good = run(threads, false, check);
        if (check && good)
                printf("reads of different threads share no line that one of them writes\n");
        return good ? 0 : 1;
}
