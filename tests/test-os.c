/* test-os.c - lib/os/os.h: the contract with the system
 *
 * SPDX-License-Identifier: MIT
 *
 * The same for both backends: memory, clock and deadlines, waiting and waking
 * (value, time, count, signals, no lost wake-up), thread ends, and the
 * asymmetric fence by the store-and-load race that it is there to forbid.
 * Internal functions: links the library's objects, not the shared library.
 */
#include "proc.h"

#include "os/mutex.h"
#include "os/os.h"

static TCase *os_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_unchecked_fixture(tcase, os_start, NULL);
        return tcase;
}

/* --- Memory ------------------------------------------------------------------ */

DEFINE_TEST("os", pages_and_processors)
{
        size_t page = os_page_size();

        ck_assert_uint_ge(page, 4096);
        ck_assert_uint_eq(page & (page - 1), 0);
        ck_assert_uint_eq(page, (size_t)sysconf(_SC_PAGESIZE));
        ck_assert_uint_ge(os_cpus(), 1);
}

DEFINE_TEST("os", memory_is_mapped_and_zero)
{
        for (size_t pages = 1; pages < 300; pages = pages * 2 + 1) {
                size_t length = pages * os_page_size();
                void *address = NULL;

                ck_assert_int_eq(os_map(&address, length), 0);
                ck_assert_ptr_nonnull(address);
                ck_assert_uint_eq((uintptr_t)address % os_page_size(), 0);
                ck_assert(is_all(address, 0, length));
                memset(address, 0xff, length);
                ck_assert_int_eq(os_unmap(address, length), 0);
        }
}

DEFINE_TEST("os", the_systems_refusal_is_a_negative_errno)
{
        void *address = NULL;
        int result = os_map(&address, SIZE_MAX - os_page_size() + 1);

        /* ENOMEM, but for valgrind, whose is EINVAL. */
        ck_assert(result == -ENOMEM || result == -EINVAL);
}

/* --- Accounts ------------------------------------------------------------------ */

/* An ioctl that an old kernel does not know; and what pagemap answers then. */
static bool no_scan;
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
        if (!no_scan)
                return __real_ioctl(fd, request, argument);
        errno = ENOTTY;
        return -1;
}

/* Ranges within one mapping, and across several, on a new kernel and an old one. */
DEFINE_LOOP_TEST("os", accounts_of_parts, 0, 4)
{
        const size_t page = os_page_size(), pages = 700;
        struct random random = random_start("accounts_of_parts");
        unsigned char *memory;
        void *address = NULL;

        if (!TEST_OS_LINUX || TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        ck_assert_int_eq(os_map(&address, pages * page), 0);
        memory = address;
        for (size_t i = 0; i < pages; i++)
                if (random_below(&random, 3) > 0)
                        memory[i * page] = 1;
        no_scan = _i & 1;
        if (_i & 2) { /* several mappings, one of them locked */
                ck_assert_int_eq(os_protect(memory + 100 * page, 50 * page, OS_READ), 0);
                ck_assert_int_eq(os_lock(memory + 300 * page, 77 * page), 0);
        }
        for (int round = 0; round < 200; round++) {
                size_t from = (size_t)random_below(&random, pages),
                       count = 1 + (size_t)random_below(&random, pages - from);
                size_t locked_from = from > 300 ? from : 300, locked_to = from + count < 377 ? from + count : 377;
                struct os_usage usage;

                ck_assert_int_eq(os_usage(memory + from * page, count * page, &usage), 0);
                ck_assert_uint_eq(usage.resident, pages_in_core(memory + from * page, count * page) * page);
                ck_assert_uint_eq(usage.huge, 0);
                ck_assert_uint_eq(usage.locked,
                                  _i & 2 && locked_from < locked_to ? (locked_to - locked_from) * page : 0);
                ck_assert_uint_eq(usage.unreserved, 0);
        }
        no_scan = false;
        ck_assert_int_eq(os_unmap(memory, pages * page), 0);
}

/* What is not mapped at all is not known to hold nothing. */
DEFINE_TEST("os", accounts_of_nothing)
{
        struct os_usage usage;
        void *address = NULL;

        ck_assert_int_eq(os_map(&address, 3 * os_page_size()), 0);
        ck_assert_int_eq(os_unmap((char *)address + os_page_size(), os_page_size()), 0);
        ck_assert_int_lt(os_usage(address, 3 * os_page_size(), &usage), 0);
        ck_assert(usage.resident == OS_UNKNOWN && usage.huge == OS_UNKNOWN && usage.locked == OS_UNKNOWN &&
                  usage.unreserved == OS_UNKNOWN);
}

/* --- Time --------------------------------------------------------------------- */

DEFINE_TEST("os", the_clock_is_monotonic)
{
        int64_t last = os_now();

        ck_assert_int_gt(last, 0);
        for (int i = 0; i < 10000; i++) {
                int64_t now = os_now();

                ck_assert_int_ge(now, last);
                last = now;
        }
}

DEFINE_TEST("os", deadlines_do_not_overflow)
{
        const int64_t endless[] = { -1, -2, INT64_MIN, INT64_MIN + 1, INT64_MAX };
        const int64_t ending[] = { 0, 1, 1000, SECOND, 1000 * SECOND };

        for (size_t i = 0; i < COUNT_OF(endless); i++)
                ck_assert(os_deadline(endless[i]) == OS_NEVER);
        /* Never, or the far future; but not the past. */
        ck_assert(os_deadline(INT64_MAX - 1) > os_now());
        ck_assert(os_deadline(INT64_MAX / 2 + INT64_MAX / 4) > os_now());
        for (size_t i = 0; i < COUNT_OF(ending); i++) {
                int64_t before = os_now();
                int64_t deadline = os_deadline(ending[i]);

                ck_assert_int_ge(deadline, before + ending[i]);
                ck_assert_int_le(deadline, os_now() + ending[i]);
        }
}

/* --- Wait and wake ---------------------------------------------------------------- */

DEFINE_TEST("os", another_value_does_not_wait)
{
        _Atomic uint32_t word = 5;

        ck_assert_int_eq(os_wait(&word, 4, OS_NEVER), 0);
        ck_assert_int_eq(os_wait(&word, 4, os_now() + SECOND), 0);
        ck_assert_int_eq(os_wait(&word, UINT32_MAX, OS_NEVER), 0);
}

DEFINE_TEST("os", a_wait_ends_at_its_deadline)
{
        const int64_t times[] = { -SECOND, 0, 1, MS, 20 * MS, 100 * MS };
        _Atomic uint32_t word = 5;

        for (size_t i = 0; i < COUNT_OF(times); i++) {
                int64_t deadline = os_now() + times[i];
                int result;

                while ((result = os_wait(&word, 5, deadline)) == 0)
                        ;
                ck_assert_int_eq(result, -ETIMEDOUT);
                ck_assert_int_ge(os_now(), deadline);
        }
}

DEFINE_TEST("os", a_deadline_long_past_is_past)
{
        _Atomic uint32_t word = 5;
        int result;

        while ((result = os_wait(&word, 5, 1)) == 0)
                ;
        ck_assert_int_eq(result, -ETIMEDOUT);
}

struct sleeper {
        _Atomic uint32_t *word;
        int64_t deadline;
        int result;
        struct task task;
};

static void *sleep_once(void *argument)
{
        struct sleeper *sleeper = argument;

        sleeper->result = os_wait(sleeper->word, 0, sleeper->deadline);
        return NULL;
}

static void sleeper_start(struct sleeper *sleeper, _Atomic uint32_t *word, int64_t deadline)
{
        sleeper->word = word;
        sleeper->deadline = deadline;
        sleeper->result = INT_MIN;
        task_start(&sleeper->task, sleep_once, sleeper);
        ck_assert(task_sleeps(&sleeper->task));
}

DEFINE_TEST("os", the_woken_are_counted)
{
        enum { SLEEPERS = 5 };
        static _Atomic uint32_t words[3];
        struct sleeper sleepers[SLEEPERS];
        int64_t give_up;
        int woken = 0;

        ck_assert_int_eq(os_wake(&words[1], INT_MAX), 0);
        for (size_t i = 0; i < SLEEPERS; i++)
                sleeper_start(&sleepers[i], &words[1], i % 2 ? OS_NEVER : os_now() + 1000 * SECOND);
        ck_assert_int_eq(os_wake(&words[0], INT_MAX), 0);
        ck_assert_int_eq(os_wake(&words[2], INT_MAX), 0);
        give_up = now_ns() + patience_ns();
        while (woken < SLEEPERS && now_ns() < give_up) {
                int count = woken < 2 ? 2 : INT_MAX;
                int now_woken = os_wake(&words[1], count);

                ck_assert_int_ge(now_woken, 0);
                ck_assert_int_le(now_woken, count);
                woken += now_woken;
        }
        ck_assert_int_eq(woken, SLEEPERS);
        for (size_t i = 0; i < SLEEPERS; i++) {
                task_join(&sleepers[i].task);
                ck_assert_int_eq(sleepers[i].result, 0);
        }
        ck_assert_int_eq(os_wake(&words[1], INT_MAX), 0);
}

/* Many words asleep at once, woken one by one: each wake-up finds its own. */
DEFINE_TEST("os", every_word_has_its_own_sleepers)
{
        enum { WORDS = 24 };
        static _Atomic uint32_t words[WORDS];
        struct sleeper sleepers[WORDS];

        for (size_t i = 0; i < WORDS; i++)
                sleeper_start(&sleepers[i], &words[i], OS_NEVER);
        for (size_t i = 0; i < WORDS; i++) {
                size_t at = i * 7 % WORDS;
                int64_t give_up = now_ns() + patience_ns();
                int woken = 0;

                while (!woken && now_ns() < give_up)
                        woken = os_wake(&words[at], 1);
                ck_assert_int_eq(woken, 1);
                task_join(&sleepers[at].task);
                ck_assert_int_eq(sleepers[at].result, 0);
        }
}

static void ignore_signal(int signal_number)
{
        (void)signal_number;
}

static void *sleep_out(void *argument)
{
        struct sleeper *sleeper = argument;

        while ((sleeper->result = os_wait(sleeper->word, 0, sleeper->deadline)) == 0)
                ;
        return NULL;
}

DEFINE_TEST("os", signals_neither_end_nor_stretch_a_wait)
{
        static _Atomic uint32_t word;
        struct sigaction action, before;
        struct sleeper sleeper = { .word = &word, .deadline = os_now() + 200 * MS };

        memset(&action, 0, sizeof(action));
        action.sa_handler = ignore_signal;
        ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
        task_start(&sleeper.task, sleep_out, &sleeper);
        while (!atomic_load(&sleeper.task.done)) {
                pthread_kill(sleeper.task.thread, SIGUSR1);
                sched_yield();
        }
        task_join(&sleeper.task);
        ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
        ck_assert_int_eq(sleeper.result, -ETIMEDOUT);
        ck_assert_int_ge(os_now(), sleeper.deadline);
}

/* No call is a cancellation point. */
DEFINE_TEST("os", a_wait_is_no_cancellation_point)
{
        static _Atomic uint32_t word;
        struct sleeper sleeper;
        void *result;
        int woken = 0;

        sleeper_start(&sleeper, &word, OS_NEVER);
        ck_assert_int_eq(pthread_cancel(sleeper.task.thread), 0);
        ck_assert(task_sleeps(&sleeper.task));
        while (!woken)
                woken = os_wake(&word, 1);
        ck_assert_int_eq(pthread_join(sleeper.task.thread, &result), 0);
        ck_assert(result != PTHREAD_CANCELED);
        ck_assert_int_eq(sleeper.result, 0);
}

struct player {
        _Atomic uint32_t *word;
        uint32_t turn;
        int count;
};

static void *play(void *argument)
{
        struct player *player = argument;

        for (int i = 0; i < player->count; i++) {
                uint32_t value;

                while ((value = atomic_load(player->word)) % 2 != player->turn)
                        thread_check_int(os_wait(player->word, value, OS_NEVER), 0);
                atomic_store(player->word, value + 1);
                os_wake(player->word, 1);
        }
        return NULL;
}

DEFINE_TEST("os", no_wake_up_is_lost)
{
        static _Atomic uint32_t word;
        const int count = rounds(20000);
        struct player players[2] = { { &word, 0, count }, { &word, 1, count } };
        struct task tasks[2];

        atomic_store(&word, 0);
        for (size_t i = 0; i < 2; i++)
                task_start(&tasks[i], play, &players[i]);
        for (size_t i = 0; i < 2; i++)
                task_join(&tasks[i]);
        ck_assert_uint_eq(atomic_load(&word), 2 * (uint32_t)count);
}

static struct {
        struct mutex mutex;
        uint32_t count; /* guard: mutex */
        int rounds;
} guarded;

static void *count_guarded(void *tries)
{
        for (int i = 0; i < guarded.rounds; i++) {
                if (!tries || !mutex_try(&guarded.mutex))
                        mutex_lock(&guarded.mutex);
                guarded.count++;
                if (i % 64 == 0)
                        sched_yield(); /* so that others find it held, and sleep */
                mutex_unlock(&guarded.mutex);
        }
        return NULL;
}

DEFINE_TEST("os", a_mutex_lets_one_in_and_wakes_all)
{
        enum { THREADS = 4 };
        struct task task[THREADS];

        guarded.rounds = rounds(50000);
        mutex_init(&guarded.mutex);
        for (int i = 0; i < THREADS; i++)
                task_start(&task[i], count_guarded, i % 2 ? &guarded : NULL);
        for (int i = 0; i < THREADS; i++)
                task_join(&task[i]);
        ck_assert_uint_eq(guarded.count, THREADS * (uint32_t)guarded.rounds);
        ck_assert(mutex_try(&guarded.mutex));
        ck_assert(!mutex_try(&guarded.mutex));
        mutex_unlock(&guarded.mutex);
        ck_assert_uint_eq(atomic_load(&guarded.mutex.word), MUTEX_FREE);
}

/* --- The fence ----------------------------------------------------------------- */

static struct {
        _Alignas(64) _Atomic uint32_t light;
        _Alignas(64) _Atomic uint32_t heavy;
        _Alignas(64) _Atomic uint32_t light_saw;
        _Alignas(64) _Atomic uint32_t heavy_saw;
        pthread_barrier_t barrier;
        int count;
} race;

static void *race_light(void *argument)
{
        (void)argument;
        for (int i = 0; i < race.count; i++) {
                pthread_barrier_wait(&race.barrier);
                atomic_store_explicit(&race.light, 1, memory_order_relaxed);
                os_fence_light();
                atomic_store_explicit(&race.light_saw, atomic_load_explicit(&race.heavy, memory_order_relaxed),
                                      memory_order_relaxed);
                pthread_barrier_wait(&race.barrier);
        }
        return NULL;
}

/* Both store, fence, load: that neither sees the other is counted.  A model
 * finds a missing fence surely, this only by luck; it does find a fence that
 * fails or that does not return. */
DEFINE_TEST("os", one_of_two_sees_the_other)
{
        struct task task;
        int blind = 0;

        race.count = rounds(20000);
        ck_assert_int_eq(pthread_barrier_init(&race.barrier, NULL, 2), 0);
        task_start(&task, race_light, NULL);
        for (int i = 0; i < race.count; i++) {
                atomic_store(&race.light, 0);
                atomic_store(&race.heavy, 0);
                pthread_barrier_wait(&race.barrier);
                atomic_store_explicit(&race.heavy, 1, memory_order_relaxed);
                os_fence_heavy();
                atomic_store_explicit(&race.heavy_saw, atomic_load_explicit(&race.light, memory_order_relaxed),
                                      memory_order_relaxed);
                pthread_barrier_wait(&race.barrier);
                blind += !atomic_load(&race.light_saw) && !atomic_load(&race.heavy_saw);
        }
        task_join(&task);
        pthread_barrier_destroy(&race.barrier);
        ck_assert_int_eq(blind, 0);
}

/* --- Thread ends ----------------------------------------------------------------- */

static _Atomic int ended;
static void *_Atomic ended_with;

static void note_end(void *value)
{
        atomic_store(&ended_with, value);
        atomic_fetch_add(&ended, 1);
}

static void *end_with(void *argument)
{
        if (argument)
                thread_check_int(os_thread_set(argument), 0);
        return NULL;
}

DEFINE_TEST("os", the_end_of_a_thread_is_told)
{
        static int value;
        struct task task;

        ck_assert_uint_ge(os_thread_rounds(), 1);
        ck_assert_int_eq(os_thread_key(note_end), 0);
        task_start(&task, end_with, NULL);
        task_join(&task);
        ck_assert_int_eq(atomic_load(&ended), 0);
        task_start(&task, end_with, &value);
        task_join(&task);
        ck_assert_int_eq(atomic_load(&ended), 1);
        ck_assert_ptr_eq(atomic_load(&ended_with), &value);
}

/* --- Forks -------------------------------------------------------------------------- */

static int before_count, after_count, child_count;

static void count_before(void)
{
        before_count++;
}

static void count_after(void)
{
        after_count++;
}

static void count_child(void)
{
        child_count++;
}

DEFINE_TEST("os", forks_are_told)
{
        int status = 0;
        pid_t child;

        /* This process is itself a fork of the one that called os_start. */
        os_forked_reset();
        ck_assert_int_eq(os_at_fork(count_before, count_after, count_child), 0);
        ck_assert(!os_fork_check());
        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(before_count == 1 && after_count == 0 && child_count == 1 && !os_fork_check() ? 0 : 1);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_int_eq(before_count, 1);
        ck_assert_int_eq(after_count, 1);
        ck_assert_int_eq(child_count, 0);
        ck_assert(!os_fork_check());
}

int main(void)
{
        return run_tests("os", os_case);
}
