/* support.h - what the test programs share
 *
 * SPDX-License-Identifier: MIT
 *
 * - DEFINE_TEST(case, name), in place of Check's START_TEST: all that a test
 *   needs to be run.
 * - A watchdog over every test.  Check's own works only where it forks, and it
 *   does not under valgrind (CK_FORK=no).
 * - Check's checks are for the test's own thread: in children and in other threads
 *   a failure ends the process.  thread_check does not: a failure is printed and
 *   counted, and the end of the test fails by the count.
 * - Tasks (threads that can be seen to be blocked), holders (a thread that
 *   holds a slice until it is told), and every locking call of the library as
 *   a value (enum op), so that one table can go through all of them.
 * - The edges of 64 bits for the range tables.
 *
 * AMMAP_TEST_WITHOUT has patterns (fnmatch) of the tests to be left out, of which each
 * is SUITE/TEST/LOOP, with a 0 where it is in no loop.
 * AMMAP_TEST_SCALE says how many times slower than usual the run is: it
 * stretches limits of time and divides counts of rounds.  Sanitizers and
 * valgrind have a scale of their own where it is not given.
 *
 * AMMAP_TEST_LONG=1, which make check-long sets, asks for all of what make check
 * tries a part of, and for more rounds.
 */
#ifndef AMMAP_TESTS_SUPPORT_H
#define AMMAP_TESTS_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ammap.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

/* --- Time --------------------------------------------------------------- */

static inline int64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static inline void pause_ms(long ms)
{
        struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

        nanosleep(&time, NULL);
}

static inline bool under_valgrind(void)
{
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "vgpreload");
}

static inline int test_scale(void)
{
        const char *given = getenv("AMMAP_TEST_SCALE");
        int scale = given ? atoi(given) : 0;

        if (scale > 0)
                return scale;
        if (under_valgrind())
                return 20;
        return TEST_SANITIZED ? 5 : 1;
}

/* Whether there is time for everything. */
static inline bool test_is_long(void)
{
        const char *given = getenv("AMMAP_TEST_LONG");

        return given && atoi(given) > 0;
}

/* A count of rounds, fewer where each is slow. */
static inline int rounds(int count)
{
        int scaled = count / test_scale();

        return scaled > 0 ? scaled : 1;
}

static inline int rounds_or_all(int count, int all)
{
        return rounds(test_is_long() ? all : count);
}

/* Of many trials that are alike make check makes one in so many, others each time, and
 * make check-long all.  The number is printed; AMMAP_TEST_PART repeats it. */
static unsigned long test_part;

static inline void choose_part(const char *suite)
{
        const char *given = getenv("AMMAP_TEST_PART");

        test_part = given ? strtoul(given, NULL, 0) : (unsigned long)(now_ns() / 1000 % 1000);
        if (!test_is_long())
                printf("%s: AMMAP_TEST_PART=%lu\n", suite, test_part);
        fflush(stdout);
}

static inline bool is_in_part(unsigned long number, unsigned in)
{
        return test_is_long() || (number + test_part) % in == 0;
}

/* How many want a processor, for each that there is: what takes a second alone may take so many more. */
static inline unsigned load_scale(void)
{
        const long processors = sysconf(_SC_NPROCESSORS_ONLN);
        const int error = errno;
        double load = 0;
        bool told = getloadavg(&load, 1) == 1 && processors > 0;

        errno = error;
        return told ? (unsigned)(load / (double)processors) : 0;
}

/* How long something may take that must not take for ever: no test ends sooner for
 * it, and on the busiest machine nothing takes so long. */
static inline int64_t patience_ns(void)
{
        return 60 * SECOND * test_scale() * (1 + load_scale());
}

/* --- Memory ------------------------------------------------------------- */

static inline bool is_mapped(const void *address, size_t size)
{
        const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)address & ~(page - 1);
        const size_t length = (uintptr_t)address + size - begin;
        unsigned char *there = malloc(length / page + 1);
        bool mapped = mincore((void *)begin, length, there) == 0;

        free(there);
        return mapped;
}

/* musl's malloc maps its memory and has ENOMEM for all that mmap is refused with, and its mmap itself for EPERM. */
#ifdef __GLIBC__
#define LIBC_HIDES_MMAP false
#else
#define LIBC_HIDES_MMAP true
#endif

/* What the library has given back a sanitizer's own thread may map since, for itself. */
static inline bool is_given_back(const void *address, size_t size)
{
        return TEST_SANITIZED || !is_mapped(address, size);
}

/* --- Maps in files ------------------------------------------------------ */

/* Who made the file says by what it is locked. */
enum in_file { NO_FILE, BY_KERNEL, BY_WORDS };

/* Slices are wanted, and yet the kernel's lock. */
static inline int open_by_kernel(ammap_t **map, const char *path, uint64_t size, const ammap_options_t *options)
{
        ammap_options_t careful = *options;
        ammap_t *made;

        careful.allow_faults = false;
        if (size > 0 && ammap_open(&made, path, size, &careful) == 0 && ammap_free(made) < 0)
                return AMMAP_ERR_BUSY;
        return ammap_open(map, path, size, options);
}

static inline int open_in_file(enum in_file by, ammap_t **map, const char *path, uint64_t size,
                               const ammap_options_t *options)
{
        return by == BY_KERNEL ? open_by_kernel(map, path, size, options) : ammap_open(map, path, size, options);
}

/* --- The suite ---------------------------------------------------------- */

/* Seconds that a test may take beyond the usual: for those that go on for as
 * long as they are told.  To be set before run_tests. */
static unsigned test_time_extra;

static inline unsigned test_time(void)
{
        return (test_is_long() ? 1200 : 240) * (unsigned)test_scale() + test_time_extra;
}

/* Check notes under a mutex of its own that a check has succeeded, and leaves the test where one has failed.  A child
 * may find that mutex locked for ever, and what is left is the thread of the test alone.  So elsewhere, in a child or in
 * another thread, a check that succeeds notes nothing, and one that fails is told and ends the process. */
static pid_t test_process;
static pthread_t test_thread;

static inline bool test_is_here(void)
{
        return getpid() == test_process && pthread_equal(pthread_self(), test_thread);
}

__attribute__((noreturn, format(printf, 4, 5))) static inline void
check_failed_elsewhere(const char *file, int line, const char *expression, const char *text, ...)
{
        va_list values;

        fprintf(stderr, "%s:%d: in a child or a thread: %s\n", file, line, expression);
        if (text) {
                va_start(values, text);
                vfprintf(stderr, text, values);
                va_end(values);
                fputc('\n', stderr);
        }
        _exit(1);
}

/* The names are Check's: NOLINTBEGIN(bugprone-reserved-identifier) */
#define _mark_point(file, line) (test_is_here() ? (_mark_point)(file, line) : (void)0)
#define _ck_assert_failed(file, line, ...)                                                                             \
        (test_is_here() ? (_ck_assert_failed)(file, line, __VA_ARGS__)                                                 \
                        : check_failed_elsewhere(file, line, __VA_ARGS__))
/* NOLINTEND(bugprone-reserved-identifier) */

static _Atomic int thread_failures;

static inline void thread_check_failed(const char *file, int line, const char *what)
{
        atomic_fetch_add(&thread_failures, 1);
        fprintf(stderr, "%s:%d: in a thread: %s\n", file, line, what);
}

#define thread_check(expression)                                                                                       \
        ((expression) ? (void)0 : thread_check_failed(__FILE__, __LINE__, "'" #expression "' is false"))

static inline void thread_check_int_at(const char *file, int line, const char *what, int got, int want)
{
        if (got == want)
                return;
        atomic_fetch_add(&thread_failures, 1);
        fprintf(stderr, "%s:%d: in a thread: %s is %d (%s), not %d\n", file, line, what, got, ammap_errname(got), want);
}

#define thread_check_int(got, want) thread_check_int_at(__FILE__, __LINE__, #got, got, want)

/* On a busy machine, after a time that grows with the load. */
static int64_t watchdog_since;

static inline void watchdog_bites(int signal_number)
{
        static const char text[] = "watchdog: the test hangs\n";
        int64_t rest = test_time() * SECOND * (1 + load_scale()) - (now_ns() - watchdog_since);

        (void)signal_number;
        if (rest > SECOND) {
                alarm((unsigned)(rest / SECOND));
                return;
        }
        if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
                _exit(71);
        _exit(70);
}

static inline void test_setup(void)
{
        struct sigaction action;

        test_process = getpid();
        test_thread = pthread_self();
        memset(&action, 0, sizeof(action));
        action.sa_handler = watchdog_bites;
        action.sa_flags = SA_RESTART;
        watchdog_since = now_ns();
        sigaction(SIGALRM, &action, NULL);
        alarm(test_time());
        atomic_store(&thread_failures, 0);
}

static inline void test_teardown(void)
{
        alarm(0);
        ck_assert_int_eq(atomic_load(&thread_failures), 0);
}

static inline TCase *test_case(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, test_setup, test_teardown);
        tcase_set_timeout(tcase, 100.0 * test_time()); /* the watchdog comes first */
        suite_add_tcase(suite, tcase);
        return tcase;
}

/* A test that DEFINE_TEST has put on the list. */
struct test {
        const char *case_name;
        void (*add)(TCase *tcase);
        int line;
        TCase *tcase;
        struct test *next;
};

/* Constructors put the tests here, before main, in whatever order the compiler
 * and the linker have left them; the list is in the order of the lines, which
 * all are of one file.  They need nothing but these two variables, which have
 * no constructor, and call nothing of Check's, of the C library's or of the
 * library under test: so the order among all other constructors, those of the
 * sanitizers too, does not matter either. */
static struct test *test_list;
static const char *test_none;

static inline void test_register(struct test *test)
{
        struct test **place = &test_list;

        while (*place && (*place)->line < test->line)
                place = &(*place)->next;
        test->next = *place;
        *place = test;
}

/* Part of a suite is left out: make check says so in the end. */
static inline void skip_part(const char *part, const char *why)
{
        printf("skipped: %s: %s\n", part, why);
        fflush(stdout);
}

/* ... and this is the usual reason: what looks on, or is linked, has not what the test wants. */
static inline const char *why_not_here(void)
{
        if (under_valgrind())
                return "not with valgrind";
        if (TEST_SANITIZED)
                return "not with this sanitizer";
#if defined(TEST_OS_LINUX) && !TEST_OS_LINUX
        return "not of the portable backend";
#endif
        return "not in this build, on this system, or in so short a run";
}

/* A loop that never runs would leave the test out, and not be seen: DEFINE_LOOP_TEST_IF is. */
static inline void test_check_loop(const char *name, int from, int to)
{
        if (from < to)
                return;
        fprintf(stderr, "%s: a loop from %d to %d leaves the test out\n", name, from, to);
        exit(EXIT_FAILURE);
}

static const char *test_suite;

/* Tests that cannot work where they run are left out: tests/platforms has the patterns, and the reasons. */
static inline bool is_left_out(const char *name, int loop)
{
        const char *without = getenv("AMMAP_TEST_WITHOUT");
        char word[200], pattern[200];
        int length;

        snprintf(word, sizeof(word), "%s/%s/%d", test_suite, name, loop);
        for (; without && sscanf(without, " %199s%n", pattern, &length) == 1; without += length) {
                if (fnmatch(pattern, word, 0) != 0)
                        continue;
                printf("left out: %s\n", word);
                fflush(stdout);
                return true;
        }
        return false;
}

/* A test of this case that runs for each _i from here to there, the end not
 * included.  Its body follows.  It is on the list because it stands in the
 * program's file (not in a header: the order is that of the lines), and is left
 * out only where the condition does not hold as the suite starts. */
#define DEFINE_LOOP_TEST_IF(condition, case_name, name, from, to)                                                      \
        _Static_assert(__INCLUDE_LEVEL__ == 0, "a test stands in the file of its suite");                              \
        static void name##_run(int _i);                                                                                \
        START_TEST(name)                                                                                               \
        {                                                                                                              \
                name##_run(_i);                                                                                        \
        }                                                                                                              \
        END_TEST                                                                                                       \
        static void name##_add(TCase *tcase)                                                                           \
        {                                                                                                              \
                int first_i, end_i;                                                                                    \
                                                                                                                       \
                if (!(condition)) {                                                                                    \
                        skip_part(#name, why_not_here());                                                              \
                        return;                                                                                        \
                }                                                                                                      \
                first_i = (int)(from);                                                                                 \
                end_i = (int)(to);                                                                                     \
                test_check_loop(#name, first_i, end_i);                                                                \
                for (int i = first_i; i < end_i; i++)                                                                  \
                        if (!is_left_out(#name, i))                                                                    \
                                tcase_add_loop_test(tcase, name, i, i + 1);                                            \
        }                                                                                                              \
        __attribute__((constructor, used)) static void name##_register(void)                                           \
        {                                                                                                              \
                static struct test test = { case_name, name##_add, __LINE__, NULL, NULL };                             \
                                                                                                                       \
                test_register(&test);                                                                                  \
        }                                                                                                              \
        static void name##_run(__attribute__((unused)) int _i)

#define DEFINE_LOOP_TEST(case_name, name, from, to) DEFINE_LOOP_TEST_IF(true, case_name, name, from, to)
#define DEFINE_TEST_IF(condition, case_name, name) DEFINE_LOOP_TEST_IF(condition, case_name, name, 0, 1)
#define DEFINE_TEST(case_name, name) DEFINE_LOOP_TEST_IF(true, case_name, name, 0, 1)

/* In place of tests, where this system or processor leaves nothing to be tested. */
#define DEFINE_NO_TEST(why)                                                                                            \
        __attribute__((constructor, used)) static void no_test_register(void)                                          \
        {                                                                                                              \
                test_none = why;                                                                                       \
        }                                                                                                              \
        _Static_assert(__INCLUDE_LEVEL__ == 0, "it is said in the file of the suite")

/* The exit code of a program that is skipped. */
#define SKIPPED 77

/* Run what is on the list, the cases in the order of their first tests; to be
 * returned by main.  make_case is test_case, or one that adds to it.  An empty
 * list is a failure where the file does not say that it has no tests. */
static inline int run_tests(const char *name, TCase *(*make_case)(Suite *suite, const char *name))
{
        Suite *suite;
        SRunner *runner;
        int failed;

        test_suite = name;
        if (!test_list == !test_none) {
                fprintf(stderr, "%s %s\n", name, test_list ? "has tests, and says that it has none" : "has no test");
                return EXIT_FAILURE;
        }
        if (test_none) {
                printf("skipped: %s\n", test_none);
                return SKIPPED;
        }
        choose_part(name);
        suite = suite_create(name);
        for (struct test *test = test_list; test; test = test->next) {
                struct test *first = test_list;

                while (strcmp(first->case_name, test->case_name) != 0)
                        first = first->next;
                if (first == test)
                        first->tcase = make_case(suite, first->case_name);
                test->add(first->tcase);
        }
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* How much a stress is to do: its first argument, or what is usual. */
static inline double stress_of(int argc, char **argv, double usual, double least, const char *unit)
{
        double given = argc > 1 ? atof(argv[1]) : usual;

        if (given >= least && given < 1e6)
                return given;
        fprintf(stderr, "usage: %s [%s]\n", argv[0], unit);
        exit(2);
}

/* --- Random ------------------------------------------------------------- */

struct random {
        uint64_t state;
};

/* The seed is printed, and AMMAP_TEST_SEED repeats it. */
static inline struct random random_start(const char *test)
{
        const char *given = getenv("AMMAP_TEST_SEED");
        struct random random = { given ? strtoull(given, NULL, 0) : (uint64_t)now_ns() };

        printf("%s: AMMAP_TEST_SEED=%llu\n", test, (unsigned long long)random.state);
        fflush(stdout);
        return random;
}

/* splitmix64 */
static inline uint64_t random_next(struct random *random)
{
        uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static inline uint64_t random_below(struct random *random, uint64_t limit)
{
        return random_next(random) % limit;
}

/* --- Tasks -------------------------------------------------------------- */

struct task {
        void *(*body)(void *);
        void *argument;
        pthread_t thread;
        _Atomic int tid;
        long sleeps; /* how many times it has gone to sleep, when it has ended */
        _Atomic bool done;
};

static inline int own_tid(void)
{
        return (int)syscall(SYS_gettid);
}

/* How many times a thread has gone to sleep; -1: there is none. */
static inline long sleeps_of(int process, int thread)
{
        static const char key[] = "\nvoluntary_ctxt_switches:";
        char path[80], text[4096];
        const char *found;
        ssize_t length;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/status", process, thread);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        length = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[length > 0 ? length : 0] = '\0';
        found = strstr(text, key);
        return found ? atol(found + strlen(key)) : -1;
}

/* What is to be noticed at once is noticed in fewer sleeps than these, however long each
 * takes: who relies on being patient has slept hundreds of times. */
enum { SLEEPS_FEW = 60 };

/* Of the calling thread; no cancellation point. */
static inline long own_sleeps(void)
{
        struct rusage usage;

        return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : -1;
}

static inline void *task_main(void *argument)
{
        struct task *task = argument;
        void *result;

        atomic_store(&task->tid, own_tid());
        result = task->body(task->argument);
        task->sleeps = own_sleeps();
        atomic_store(&task->done, true);
        return result;
}

static inline void task_start(struct task *task, void *(*body)(void *), void *argument)
{
        task->body = body;
        task->argument = argument;
        atomic_init(&task->tid, 0);
        atomic_init(&task->done, false);
        ck_assert_int_eq(pthread_create(&task->thread, NULL, task_main, task), 0);
}

static inline void task_join(struct task *task)
{
        ck_assert_int_eq(pthread_join(task->thread, NULL), 0);
}

/* The state letter of a thread, '?' where there is none to be had. */
static inline char task_state(const struct task *task)
{
        char path[64], text[512];
        const char *after_name;
        FILE *file;
        size_t length;

        snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&task->tid));
        file = fopen(path, "r");
        if (!file)
                return '?';
        length = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
        text[length] = '\0';
        after_name = strrchr(text, ')');
        return after_name && after_name[1] ? after_name[2] : '?';
}

/* Wait until the task sleeps, seen so several times in a row.  Where a tool
 * makes a runnable thread look asleep, a test that relies on it gets weaker
 * but never wrong: none fails because the thread is not asleep yet.
 * False where the task has ended instead. */
static inline bool task_sleeps(const struct task *task)
{
        int64_t deadline = now_ns() + patience_ns();
        int seen = 0;

        while (seen < 5) {
                if (atomic_load(&task->done))
                        return false;
                if (now_ns() > deadline)
                        ck_abort_msg("a thread that should block neither blocks nor ends");
                pause_ms(1);
                seen = atomic_load(&task->tid) && task_state(task) == 'S' ? seen + 1 : 0;
        }
        return !atomic_load(&task->done);
}

/* --- Every call that takes the lock, as a value -------------------------- */

enum op {
        OP_READ_INTO,
        OP_TRY_READ,
        OP_TIMED_READ,
        OP_COPY_FROM,
        OP_SLICE,
        OP_TRY_SLICE,
        OP_TIMED_SLICE,
        OP_UPDATE, /* from here on they write */
        OP_TRY_UPDATE,
        OP_TIMED_UPDATE,
        OP_FILL,
        OP_COPY_TO,
        OP_COPY_WITHIN,
        OP_MUT_SLICE,
        OP_TRY_MUT_SLICE,
        OP_TIMED_MUT_SLICE,
        OP_COUNT
};

/* What the writing ones write; the slices write nothing. */
#define OP_BYTE 0x5a

static inline const char *op_name(enum op op)
{
        static const char *const names[OP_COUNT] = {
                "ammap_read_into",           "ammap_try_read_into", "ammap_timed_read_into",
                "ammap_copy from",           "ammap_as_slice",      "ammap_try_as_slice",
                "ammap_timed_as_slice",      "ammap_update_region", "ammap_try_update_region",
                "ammap_timed_update_region", "ammap_fill",          "ammap_copy to",
                "ammap_copy within",         "ammap_as_mut_slice",  "ammap_try_as_mut_slice",
                "ammap_timed_as_mut_slice",
        };

        return names[op];
}

static inline bool op_writes(enum op op)
{
        return op >= OP_UPDATE;
}

static inline bool op_tries(enum op op)
{
        return op == OP_TRY_READ || op == OP_TRY_SLICE || op == OP_TRY_UPDATE || op == OP_TRY_MUT_SLICE;
}

static inline bool op_is_timed(enum op op)
{
        return op == OP_TIMED_READ || op == OP_TIMED_SLICE || op == OP_TIMED_UPDATE || op == OP_TIMED_MUT_SLICE;
}

static inline int op_copy(enum op op, ammap_t *map, uint64_t offset, uint64_t length)
{
        ammap_t *other;
        int result;

        if (ammap_new(&other, length ? length : 1) < 0)
                return INT_MIN;
        if (op == OP_COPY_FROM) {
                result = ammap_copy(other, 0, map, offset, length);
        } else {
                if (ammap_fill(other, 0, length, OP_BYTE) < 0)
                        return INT_MIN;
                result = ammap_copy(map, offset, other, 0, length);
        }
        if (ammap_free(other) < 0)
                return INT_MIN;
        return result;
}

static inline int op_bytes(enum op op, ammap_t *map, uint64_t offset, void *bytes, size_t size, int64_t timeout_ns)
{
        switch (op) {
        case OP_READ_INTO:
                return ammap_read_into(map, offset, bytes, size);
        case OP_TRY_READ:
                return ammap_try_read_into(map, offset, bytes, size);
        case OP_TIMED_READ:
                return ammap_timed_read_into(map, offset, bytes, size, timeout_ns);
        case OP_TRY_UPDATE:
                return ammap_try_update_region(map, offset, bytes, size);
        case OP_TIMED_UPDATE:
                return ammap_timed_update_region(map, offset, bytes, size, timeout_ns);
        default:
                return ammap_update_region(map, offset, bytes, size);
        }
}

static inline int op_buffer(enum op op, ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns)
{
        size_t size = (size_t)length;
        unsigned char *buffer = malloc(size ? size : 1);
        int result;

        if (!buffer)
                return INT_MIN;
        memset(buffer, OP_BYTE, size);
        result = op_bytes(op, map, offset, buffer, size, timeout_ns);
        free(buffer);
        return result;
}

/* Do it, and let go of what was taken. */
static inline int op_run(enum op op, ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns)
{
        ammap_slice_t slice = { 0 };
        ammap_mut_slice_t mut = { 0 };
        int result = INT_MIN;

        switch (op) {
        case OP_READ_INTO:
        case OP_TRY_READ:
        case OP_TIMED_READ:
        case OP_UPDATE:
        case OP_TRY_UPDATE:
        case OP_TIMED_UPDATE:
                return op_buffer(op, map, offset, length, timeout_ns);
        case OP_COPY_FROM:
        case OP_COPY_TO:
                return op_copy(op, map, offset, length);
        case OP_COPY_WITHIN:
                return ammap_copy(map, offset, map, offset, length);
        case OP_FILL:
                return ammap_fill(map, offset, length, OP_BYTE);
        case OP_SLICE:
                result = ammap_as_slice(map, offset, length, &slice);
                break;
        case OP_TRY_SLICE:
                result = ammap_try_as_slice(map, offset, length, &slice);
                break;
        case OP_TIMED_SLICE:
                result = ammap_timed_as_slice(map, offset, length, timeout_ns, &slice);
                break;
        case OP_MUT_SLICE:
                result = ammap_as_mut_slice(map, offset, length, &mut);
                break;
        case OP_TRY_MUT_SLICE:
                result = ammap_try_as_mut_slice(map, offset, length, &mut);
                break;
        case OP_TIMED_MUT_SLICE:
                result = ammap_timed_as_mut_slice(map, offset, length, timeout_ns, &mut);
                break;
        case OP_COUNT:
                break;
        }
        ammap_slice_release(&slice);
        ammap_mut_slice_release(&mut);
        return result;
}

struct call {
        enum op op;
        ammap_t *map;
        uint64_t offset;
        uint64_t length;
        int64_t timeout_ns;
        int result;
        int64_t took_ns;
};

static inline void *call_body(void *argument)
{
        struct call *call = argument;
        int64_t start = now_ns();

        call->result = op_run(call->op, call->map, call->offset, call->length, call->timeout_ns);
        call->took_ns = now_ns() - start;
        return NULL;
}

/* The op's result in a thread of its own. */
static inline int op_elsewhere(enum op op, ammap_t *map, uint64_t offset, uint64_t length)
{
        struct call call = { op, map, offset, length, 0, INT_MIN, 0 };
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, call_body, &call), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        return call.result;
}

/* --- A thread that holds a slice until it is told to let go ---------------- */

struct holder {
        ammap_t *map;
        uint64_t offset;
        uint64_t length;
        bool writes;
        bool leaves; /* ends with its slice alive */
        int result;
        unsigned char *data;
        struct task task;
        sem_t taken;
        sem_t finish;
};

static inline void sem_wait_surely(sem_t *semaphore)
{
        while (sem_wait(semaphore) < 0 && errno == EINTR)
                ;
}

static inline void *holder_body(void *argument)
{
        struct holder *holder = argument;
        ammap_slice_t slice = { 0 };
        ammap_mut_slice_t mut = { 0 };

        if (holder->writes) {
                holder->result = ammap_as_mut_slice(holder->map, holder->offset, holder->length, &mut);
                holder->data = mut.data;
        } else {
                holder->result = ammap_as_slice(holder->map, holder->offset, holder->length, &slice);
        }
        sem_post(&holder->taken);
        sem_wait_surely(&holder->finish);
        if (!holder->leaves) {
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
        }
        return NULL;
}

static inline void holder_start(struct holder *holder, ammap_t *map, uint64_t offset, uint64_t length, bool writes)
{
        holder->map = map;
        holder->offset = offset;
        holder->length = length;
        holder->writes = writes;
        holder->leaves = false;
        holder->data = NULL;
        sem_init(&holder->taken, 0, 0);
        sem_init(&holder->finish, 0, 0);
        task_start(&holder->task, holder_body, holder);
        sem_wait_surely(&holder->taken);
        ck_assert_int_eq(holder->result, 0);
}

static inline void holder_stop(struct holder *holder)
{
        sem_post(&holder->finish);
        task_join(&holder->task);
        sem_destroy(&holder->taken);
        sem_destroy(&holder->finish);
}

/* End the thread with its slice alive. */
static inline void holder_vanish(struct holder *holder)
{
        holder->leaves = true;
        holder_stop(holder);
}

/* --- Maps and memory ------------------------------------------------------ */

static inline ammap_t *new_map(uint64_t size, uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.lanes = lanes;
        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        ck_assert_ptr_nonnull(map);
        return map;
}

static inline unsigned char pattern_byte(uint64_t index)
{
        return (unsigned char)(index * 131 + index / 251 + 7);
}

/* A map that holds pattern_byte of each offset. */
static inline ammap_t *new_pattern_map(uint64_t size, uint64_t lanes)
{
        ammap_t *map = new_map(size, lanes);
        unsigned char *bytes = ammap_as_mut_ptr(map);

        for (uint64_t i = 0; i < size; i++)
                bytes[i] = pattern_byte(i);
        return map;
}

static inline bool is_pattern(const ammap_t *map)
{
        const unsigned char *bytes = ammap_as_ptr(map);

        for (uint64_t i = 0; i < ammap_len(map); i++)
                if (bytes[i] != pattern_byte(i))
                        return false;
        return true;
}

static inline bool is_all(const void *memory, unsigned char byte, uint64_t length)
{
        const unsigned char *bytes = memory;

        for (uint64_t i = 0; i < length; i++)
                if (bytes[i] != byte)
                        return false;
        return true;
}

/* All zeros in every member, padding left aside. */
#define slice_is_zero(slice)                                                                                           \
        (!(slice)->data && !(slice)->length && is_all(&(slice)->ammap_private, 0, sizeof((slice)->ammap_private)))
#define view_is_zero(view)                                                                                             \
        (!(view)->value && !(view)->count && is_all(&(view)->ammap_private, 0, sizeof((view)->ammap_private)))

/* --- The edges of 64 bits -------------------------------------------------- */

#define EDGES_MAX 48

/* Every number at which a range check may go wrong for a map of this length. */
static inline size_t edges_of(uint64_t length, uint64_t edges[EDGES_MAX])
{
        const uint64_t all[] = {
                0,
                1,
                2,
                3,
                4,
                5,
                7,
                8,
                9,
                length / 2,
                length / 2 + 1,
                length - 1,
                length,
                length + 1,
                length + 4096,
                2 * length,
                INT32_MAX,
                UINT64_C(1) << 31,
                UINT32_MAX,
                UINT64_C(1) << 32,
                (UINT64_C(1) << 32) + 1,
                (UINT64_C(1) << 32) + length,
                UINT64_C(1) << 47,
                INT64_MAX,
                UINT64_C(1) << 63,
                (UINT64_C(1) << 63) + length,
                UINT64_MAX / 4 + 1,
                UINT64_MAX / 8 + 1,
                UINT64_MAX - 2 * length,
                UINT64_MAX - length - 1,
                UINT64_MAX - length,
                UINT64_MAX - length + 1,
                UINT64_MAX - length + 2,
                UINT64_MAX - 8,
                UINT64_MAX - 7,
                UINT64_MAX - 4,
                UINT64_MAX - 3,
                UINT64_MAX - 1,
                UINT64_MAX,
        };
        _Static_assert(COUNT_OF(all) <= EDGES_MAX, "room for every edge");

        memcpy(edges, all, sizeof(all));
        return COUNT_OF(all);
}

/* Whether the range lies in the map, said byte by byte where it is short and
 * by the carry where it is not: not the formula that the library uses. */
static inline bool range_is_inside(uint64_t map_length, uint64_t offset, uint64_t length)
{
        uint64_t end = offset + length;
        bool carried = end < offset;

        return !carried && end <= map_length;
}

static inline const uint64_t *map_lengths(size_t *count)
{
        static const uint64_t lengths[] = { 1, 2, 7, 8, 24, 4095, 4096, 4099 };

        *count = COUNT_OF(lengths);
        return lengths;
}

#endif
