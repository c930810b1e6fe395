/* test-fork.c - what a forked child finds
 *
 * SPDX-License-Identifier: MIT
 *
 * While other threads read, write, wait and copy, the process is forked, many
 * times; each child must come to its end within a bound, and one that does not
 * is killed and counted.  Vanished readers are forgotten; vanished writers are
 * AMMAP_ERR_OWNER_DEAD until ammap_recover; what the forking thread holds it
 * holds in the child too, apart from the parent; and the parent notices nothing.
 * By fork(), and by _Fork() where there is one, which runs no fork handlers.
 */
#include "support.h"

#include <dirent.h>

#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34) && !TEST_SANITIZED
#define HAVE_BARE_FORK 1
#else
#define HAVE_BARE_FORK 0
#endif

static pid_t plain_fork(void)
{
        return fork();
}

#if HAVE_BARE_FORK
static pid_t bare_fork(void)
{
        return _Fork();
}
#endif

static pid_t (*const forks[])(void) = {
        plain_fork,
#if HAVE_BARE_FORK
        bare_fork,
#endif
};

enum { CHILD_OK = 0, CHILD_WRONG = 1, CHILD_HUNG = -1 };

/* The child's checks: it has no one to tell but its parent. */
#define child_check(expression)                                                                                        \
        do {                                                                                                           \
                if (!(expression)) {                                                                                   \
                        fprintf(stderr, "%s:%d: in a child: '%s' is false\n", __FILE__, __LINE__, #expression);        \
                        return CHILD_WRONG;                                                                            \
                }                                                                                                      \
        } while (0)

#define child_check_int(got, want)                                                                                     \
        do {                                                                                                           \
                int got_ = (got), want_ = (want);                                                                      \
                if (got_ != want_) {                                                                                   \
                        fprintf(stderr, "%s:%d: in a child: %s is %d (%s), not %d\n", __FILE__, __LINE__, #got, got_,  \
                                ammap_errname(got_), want_);                                                           \
                        return CHILD_WRONG;                                                                            \
                }                                                                                                      \
        } while (0)

/* An op in a thread of the child's.  ThreadSanitizer cannot do that: it keeps
 * the vanished threads, and dies of a new one at the address of an old one.  Nor
 * can AddressSanitizer: a vanished thread may have its allocator's lock, which
 * the new thread wants. */
#if TEST_SANITIZED
#define child_check_elsewhere(op, map, offset, length, want) ((void)(map))
#else
#define child_check_elsewhere(op, map, offset, length, want)                                                           \
        child_check_int(op_elsewhere(op, map, offset, length), want)
#endif

static void tell_file(const char *path)
{
        char line[256];
        FILE *file = fopen(path, "r");

        while (file && fgets(line, sizeof line, file))
                fprintf(stderr, "%s: %s", path, line);
        if (file)
                fclose(file);
}

/* In which calls of the system its threads are, and where those addresses lie: for whoever reads of it. */
static void tell_hung(pid_t child)
{
        char path[64];
        DIR *tasks;

        snprintf(path, sizeof path, "/proc/%d/task", (int)child);
        tasks = opendir(path);
        for (const struct dirent *task; tasks && (task = readdir(tasks));) {
                if (task->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof path, "/proc/%d/task/%.16s/syscall", (int)child, task->d_name);
                tell_file(path);
        }
        if (tasks)
                closedir(tasks);
        snprintf(path, sizeof path, "/proc/%d/maps", (int)child);
        tell_file(path);
}

/* The child's result; or it is killed. */
static int child_wait(pid_t child)
{
        int64_t deadline = now_ns() + patience_ns();
        int status;

        for (;;) {
                pid_t pid = waitpid(child, &status, WNOHANG);

                if (pid == child)
                        break;
                if (pid < 0 && errno != EINTR)
                        return CHILD_WRONG;
                if (now_ns() > deadline) {
                        tell_hung(child);
                        kill(child, SIGKILL);
                        waitpid(child, &status, 0);
                        return CHILD_HUNG;
                }
                pause_ms(1);
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_WRONG;
}

static pid_t child_start(pid_t (*forker)(void), int (*body)(void *), void *argument)
{
        pid_t child;

        fflush(NULL);
        child = forker();
        if (child == 0)
                _exit(body(argument));
        return child;
}

static int in_child(pid_t (*forker)(void), int (*body)(void *), void *argument)
{
        pid_t child = child_start(forker, body, argument);

        return child < 0 ? CHILD_WRONG : child_wait(child);
}

/* --- Others' slices -------------------------------------------------------------- */

static int child_forgets_the_reader(void *argument)
{
        ammap_t *map = argument;

        for (enum op op = 0; op < OP_COUNT; op++)
                child_check_int(op_run(op, map, 0, 600, SECOND), 0);
        child_check_int(ammap_recover(map), 0);
        child_check_int(ammap_free(map), 0);
        return CHILD_OK;
}

static int child_frees_at_once(void *argument)
{
        child_check_int(ammap_free(argument), 0);
        return CHILD_OK;
}

DEFINE_TEST("fork", vanished_readers_are_forgotten)
{
        for (size_t f = 0; f < COUNT_OF(forks); f++) {
                ammap_t *map = new_pattern_map(600, 3);
                struct holder holders[3];

                for (size_t i = 0; i < 3; i++)
                        holder_start(&holders[i], map, i * 150, 300, false);
                for (int round = 0; round < rounds(20); round++) {
                        ck_assert_int_eq(in_child(forks[f], child_forgets_the_reader, map), CHILD_OK);
                        ck_assert_int_eq(in_child(forks[f], child_frees_at_once, map), CHILD_OK);
                }
                /* In the parent they are all still there, and its bytes its own. */
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 600, 0), AMMAP_ERR_BUSY);
                ck_assert(is_pattern(map));
                for (size_t i = 0; i < 3; i++)
                        holder_stop(&holders[i]);
                ck_assert_int_eq(op_run(OP_UPDATE, map, 0, 600, 0), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

static int child_finds_the_owner_dead(void *argument)
{
        ammap_t *map = argument;
        ammap_slice_t slice;

        for (enum op op = 0; op < OP_COUNT; op++) {
                child_check_int(op_run(op, map, 200, 200, -1), AMMAP_ERR_OWNER_DEAD);
                child_check_int(op_run(op, map, 0, 600, -1), AMMAP_ERR_OWNER_DEAD);
                child_check_int(op_run(op, map, 399, 2, 0), AMMAP_ERR_OWNER_DEAD);
                child_check_int(op_run(op, map, 0, 200, 0), 0);
                child_check_int(op_run(op, map, 400, 200, 0), 0);
        }
        child_check_int(ammap_recover(map), 0);
        child_check_int(ammap_as_slice(map, 0, 600, &slice), 0);
        /* As the writer left them. */
        child_check(is_all(slice.data + 200, 0x99, 50));
        child_check(slice.data[250] == pattern_byte(250));
        ammap_slice_release(&slice);
        for (enum op op = 0; op < OP_COUNT; op++)
                child_check_int(op_run(op, map, 0, 600, 0), 0);
        child_check_int(ammap_recover(map), 0);
        child_check_int(ammap_free(map), 0);
        return CHILD_OK;
}

/* The dead owner is inherited by the child's child. */
static int child_forks_on(void *argument)
{
        child_check_int(op_run(OP_READ_INTO, argument, 200, 200, 0), AMMAP_ERR_OWNER_DEAD);
        child_check_int(in_child(plain_fork, child_finds_the_owner_dead, argument), CHILD_OK);
        return child_finds_the_owner_dead(argument);
}

static int child_forks_on_at_once(void *argument)
{
        child_check_int(in_child(plain_fork, child_finds_the_owner_dead, argument), CHILD_OK);
        return CHILD_OK;
}

DEFINE_TEST("fork", vanished_writers_are_dead_owners)
{
        for (size_t f = 0; f < COUNT_OF(forks); f++) {
                ammap_t *map = new_pattern_map(600, 3);
                struct holder holder;

                holder_start(&holder, map, 200, 200, true);
                memset(holder.data, 0x99, 50);
                for (int round = 0; round < rounds(20); round++) {
                        ck_assert_int_eq(in_child(forks[f], child_finds_the_owner_dead, map), CHILD_OK);
                        ck_assert_int_eq(in_child(forks[f], child_frees_at_once, map), CHILD_OK);
                        ck_assert_int_eq(in_child(forks[f], child_forks_on, map), CHILD_OK);
                        ck_assert_int_eq(in_child(forks[f], child_forks_on_at_once, map), CHILD_OK);
                }
                ck_assert_int_eq(op_run(OP_TRY_SLICE, map, 200, 1, 0), AMMAP_ERR_BUSY);
                ck_assert_uint_eq(((const unsigned char *)ammap_as_ptr(map))[0], pattern_byte(0));
                holder_stop(&holder);
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, map, 0, 600, 0), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- One's own slices ------------------------------------------------------------- */

struct own {
        ammap_t *map;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        ammap_u32_view_t view;
};

static int child_holds_on(void *argument)
{
        struct own *own = argument;
        ammap_t *map = own->map;

        for (enum op op = 0; op < OP_COUNT; op++) {
                child_check_int(op_run(op, map, 0, 300, -1), op_writes(op) ? AMMAP_ERR_DEADLOCK : 0);
                child_check_int(op_run(op, map, 300, 300, -1), AMMAP_ERR_DEADLOCK);
        }
        child_check_elsewhere(OP_TRY_MUT_SLICE, map, 0, 300, AMMAP_ERR_BUSY);
        child_check_elsewhere(OP_TRY_SLICE, map, 0, 300, 0);
        child_check_elsewhere(OP_TRY_SLICE, map, 300, 300, AMMAP_ERR_BUSY);
        child_check_elsewhere(OP_TIMED_SLICE, map, 300, 300, AMMAP_ERR_TIMEOUT);
        child_check_int(ammap_free(map), AMMAP_ERR_BUSY);
        child_check(own->slice.data[7] == pattern_byte(7));
        memset(own->mut.data, 0x66, own->mut.length);
        ammap_mut_slice_release(&own->mut);
        child_check(slice_is_zero(&own->mut));
        child_check_elsewhere(OP_READ_INTO, map, 300, 300, 0);
        child_check_elsewhere(OP_MUT_SLICE, map, 300, 300, 0);
        child_check_int(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_slice_release(&own->slice);
        child_check(slice_is_zero(&own->slice));
        child_check_elsewhere(OP_MUT_SLICE, map, 0, 600, 0);
        /* The view is of no thread, so of this process too. */
        child_check_int(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&own->view);
        child_check_int(ammap_free(map), 0);
        return CHILD_OK;
}

/* A new thread of the child is the first to ask: the one that forked holds all
 * the same.  Not for _Fork, where the child learns of itself by its first call. */
static int child_asks_by_another_thread(void *argument)
{
        struct own *own = argument;

        child_check_elsewhere(OP_TRY_MUT_SLICE, own->map, 0, 300, AMMAP_ERR_BUSY);
        child_check_elsewhere(OP_TRY_SLICE, own->map, 0, 300, 0);
        child_check_elsewhere(OP_TRY_SLICE, own->map, 300, 300, AMMAP_ERR_BUSY);
        return child_holds_on(argument);
}

static void own_take(struct own *own)
{
        own->map = new_pattern_map(600, 2);
        ck_assert_int_eq(ammap_as_slice(own->map, 0, 300, &own->slice), 0);
        ck_assert_int_eq(ammap_as_mut_slice(own->map, 300, 300, &own->mut), 0);
        ck_assert_int_eq(ammap_atomic_u32(own->map, 0, &own->view), 0);
}

static void own_check_and_free(struct own *own)
{
        ck_assert(is_pattern(own->map));
        ck_assert_int_eq(ammap_free(own->map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, own->map, 0, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, own->map, 300, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_run(OP_UPDATE, own->map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&own->slice);
        ammap_mut_slice_release(&own->mut);
        ammap_u32_view_release(&own->view);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, own->map, 0, 600), 0);
        ck_assert_int_eq(ammap_free(own->map), 0);
}

DEFINE_TEST("fork", ones_own_slices_live_on)
{
        for (size_t f = 0; f < COUNT_OF(forks); f++) {
                struct own own;

                own_take(&own);
                for (int round = 0; round < rounds(10); round++) {
                        ck_assert_int_eq(in_child(forks[f], child_holds_on, &own), CHILD_OK);
                        ck_assert_int_eq(in_child(plain_fork, child_asks_by_another_thread, &own), CHILD_OK);
                }
                own_check_and_free(&own);
        }
}

/* The same from another thread than the first: it is the child's only one.  Meanwhile the first one is in Check,
 * mostly, with its mutex locked. */
static void *fork_from_here(void *argument)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct own own;

        (void)argument;
        options.lanes = 2;
        own.map = NULL;
        thread_check_int(ammap_new_with(&own.map, 600, &options), 0);
        if (!own.map)
                return NULL;
        for (uint64_t i = 0; i < 600; i++)
                ((unsigned char *)ammap_as_mut_ptr(own.map))[i] = pattern_byte(i);
        thread_check_int(ammap_as_slice(own.map, 0, 300, &own.slice), 0);
        thread_check_int(ammap_as_mut_slice(own.map, 300, 300, &own.mut), 0);
        thread_check_int(ammap_atomic_u32(own.map, 0, &own.view), 0);
        for (int round = 0; round < rounds(10); round++)
                thread_check_int(in_child(plain_fork, child_holds_on, &own), CHILD_OK);
        ammap_slice_release(&own.slice);
        ammap_mut_slice_release(&own.mut);
        ammap_u32_view_release(&own.view);
        thread_check_int(ammap_free(own.map), 0);
        return NULL;
}

DEFINE_TEST("fork", a_thread_may_fork)
{
        struct task tasks[2];

        for (size_t i = 0; i < 2; i++)
                task_start(&tasks[i], fork_from_here, NULL);
        while (!atomic_load(&tasks[0].done) || !atomic_load(&tasks[1].done)) {
                mark_point();
                sched_yield();
        }
        for (size_t i = 0; i < 2; i++)
                task_join(&tasks[i]);
}

/* Beside one's own read slice, another's on the same lane: one stays, one goes. */
static int child_keeps_one_of_two(void *argument)
{
        struct own *own = argument;

        child_check_int(op_run(OP_UPDATE, own->map, 0, 600, 0), AMMAP_ERR_DEADLOCK);
        child_check_int(op_run(OP_READ_INTO, own->map, 0, 600, 0), 0);
        child_check_int(ammap_free(own->map), AMMAP_ERR_BUSY);
        ammap_slice_release(&own->slice);
        child_check_int(op_run(OP_UPDATE, own->map, 0, 600, 0), 0);
        child_check_elsewhere(OP_TRY_MUT_SLICE, own->map, 0, 600, 0);
        child_check_int(ammap_free(own->map), 0);
        return CHILD_OK;
}

DEFINE_TEST("fork", of_two_readers_the_forking_one_stays)
{
        for (size_t f = 0; f < COUNT_OF(forks); f++) {
                struct own own = { .map = new_pattern_map(600, 1) };
                struct holder holder;

                ck_assert_int_eq(ammap_as_slice(own.map, 0, 600, &own.slice), 0);
                holder_start(&holder, own.map, 0, 600, false);
                for (int round = 0; round < rounds(20); round++)
                        ck_assert_int_eq(in_child(forks[f], child_keeps_one_of_two, &own), CHILD_OK);
                ammap_slice_release(&own.slice);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, own.map, 0, 1, 0), AMMAP_ERR_BUSY);
                holder_stop(&holder);
                ck_assert_int_eq(ammap_free(own.map), 0);
        }
}

/* --- Those who waited at the fork --------------------------------------------------- */

static int child_meets_no_waiters(void *argument)
{
        struct own *own = argument;

        ammap_slice_release(&own->slice);
        ammap_mut_slice_release(&own->mut);
        for (int again = 0; again < 3; again++)
                for (enum op op = 0; op < OP_COUNT; op++) {
                        child_check_int(op_run(op, own->map, 0, 600, 0), 0);
                        child_check_elsewhere(op, own->map, 0, 600, 0);
                }
        child_check_int(ammap_free(own->map), 0);
        return CHILD_OK;
}

DEFINE_TEST("fork", vanished_waiters_are_forgotten)
{
        for (int writes = 0; writes < 2; writes++)
                for (size_t f = 0; f < COUNT_OF(forks); f++) {
                        struct own own = { .map = new_pattern_map(600, 1) };
                        struct call calls[3] = {
                                { OP_UPDATE, own.map, 0, 600, -1, INT_MIN, 0 },
                                { OP_SLICE, own.map, 0, 600, -1, INT_MIN, 0 },
                                { OP_TIMED_MUT_SLICE, own.map, 0, 600, 1000 * SECOND, INT_MIN, 0 },
                        };
                        struct task tasks[3];

                        if (writes)
                                ck_assert_int_eq(ammap_as_mut_slice(own.map, 0, 600, &own.mut), 0);
                        else
                                ck_assert_int_eq(ammap_as_slice(own.map, 0, 600, &own.slice), 0);
                        for (size_t i = 0; i < 3; i++) {
                                task_start(&tasks[i], call_body, &calls[i]);
                                task_sleeps(&tasks[i]);
                        }
                        for (int round = 0; round < rounds(10); round++)
                                ck_assert_int_eq(in_child(forks[f], child_meets_no_waiters, &own), CHILD_OK);
                        ammap_slice_release(&own.slice);
                        ammap_mut_slice_release(&own.mut);
                        for (size_t i = 0; i < 3; i++) {
                                task_join(&tasks[i]);
                                ck_assert_int_eq(calls[i].result, 0);
                        }
                        ck_assert_int_eq(ammap_free(own.map), 0);
                }
}

static void *wait_for_word(void *argument)
{
        thread_check_int(ammap_wait_u32(argument, 0, 0, -1), 0);
        return NULL;
}

static int child_wakes_nobody(void *argument)
{
        child_check_int(ammap_wake_u32(argument, 0, INT_MAX), 0);
        child_check_int(ammap_wait_u32(argument, 0, 0, 5 * MS), AMMAP_ERR_TIMEOUT);
        return CHILD_OK;
}

DEFINE_TEST("fork", a_child_wakes_nobody_in_its_parent)
{
        ammap_t *map = new_map(64, 1);
        struct task task;
        int64_t deadline = now_ns() + patience_ns();
        int woken = 0;

        task_start(&task, wait_for_word, map);
        ck_assert(task_sleeps(&task));
        for (size_t f = 0; f < COUNT_OF(forks); f++)
                ck_assert_int_eq(in_child(forks[f], child_wakes_nobody, map), CHILD_OK);
        ck_assert(task_sleeps(&task));
        while (!woken && now_ns() < deadline)
                woken = ammap_wake_u32(map, 0, 1);
        ck_assert_int_eq(woken, 1);
        task_join(&task);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- In the child ---------------------------------------------------------------------- */

#if !TEST_SANITIZED
enum { CHILD_THREADS = 4, CHILD_ROUNDS = 300 };

static void *count_up(void *argument)
{
        ammap_t *map = argument;

        for (int i = 0; i < CHILD_ROUNDS; i++) {
                ammap_mut_slice_t mut;

                if (ammap_as_mut_slice(map, 8, 8, &mut) < 0)
                        return NULL;
                mut.data[i % 8]++;
                ammap_mut_slice_release(&mut);
        }
        return NULL;
}

/* Threads and maps work as in any process: contention, sleep and wake-up too. */
static int child_is_a_process(void *argument)
{
        pthread_t threads[CHILD_THREADS];
        ammap_t *map, *shared = argument;
        uint32_t sum = 0, want = 0;
        unsigned char bytes[8];

        child_check_int(ammap_new(&map, 4096), 0);
        for (int i = 0; i < CHILD_THREADS; i++)
                child_check_int(pthread_create(&threads[i], NULL, count_up, i % 2 ? map : shared), 0);
        for (int i = 0; i < CHILD_THREADS; i++)
                child_check_int(pthread_join(threads[i], NULL), 0);
        child_check_int(ammap_read_into(map, 8, bytes, 8), 0);
        for (int i = 0; i < 8; i++) {
                sum += bytes[i];
                want += (unsigned char)((CHILD_THREADS / 2) * ((CHILD_ROUNDS + 7 - i) / 8));
        }
        child_check(sum == want);
        child_check_int(ammap_read_into(shared, 8, bytes, 8), 0);
        child_check_int(ammap_free(map), 0);
        child_check_int(ammap_free(shared), 0);
        return CHILD_OK;
}

DEFINE_TEST("fork", a_child_has_threads_and_maps_of_its_own)
{
        ammap_t *map = new_map(4096, 1);
        struct holder holder;

        holder_start(&holder, map, 0, 4096, false);
        for (int round = 0; round < rounds(10); round++)
                ck_assert_int_eq(in_child(plain_fork, child_is_a_process, map), CHILD_OK);
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}
#endif

/* --- Forks in the thick of it ------------------------------------------------------------ */

enum { BUSY_SIZE = 256 * 1024, BUSY_THREADS = 4 };

struct busy {
        ammap_t *map;
        int kind;
        _Atomic bool stop;
        _Atomic long done;
};

/* Every block that anyone writes is of one value throughout. */
static void *be_busy(void *argument)
{
        struct busy *busy = argument;
        struct random random = { (uint64_t)own_tid() };
        unsigned char *block = malloc(BUSY_SIZE);

        while (block && !atomic_load(&busy->stop)) {
                unsigned char byte = (unsigned char)random_next(&random);
                ammap_slice_t slice = { 0 };
                ammap_mut_slice_t mut = { 0 };

                switch (busy->kind >= 0 ? (uint64_t)busy->kind : random_below(&random, 5)) {
                case 0:
                        memset(block, byte, BUSY_SIZE);
                        thread_check_int(ammap_update_region(busy->map, 0, block, BUSY_SIZE), 0);
                        break;
                case 1:
                        thread_check_int(ammap_fill(busy->map, 0, BUSY_SIZE, byte), 0);
                        break;
                case 2:
                        thread_check_int(ammap_as_mut_slice(busy->map, 0, BUSY_SIZE, &mut), 0);
                        if (mut.data)
                                memset(mut.data, byte, BUSY_SIZE);
                        ammap_mut_slice_release(&mut);
                        break;
                case 3:
                        thread_check_int(ammap_read_into(busy->map, 0, block, BUSY_SIZE), 0);
                        break;
                default:
                        thread_check_int(ammap_as_slice(busy->map, 0, BUSY_SIZE, &slice), 0);
                        ammap_slice_release(&slice);
                        break;
                }
                atomic_fetch_add(&busy->done, 1);
        }
        free(block);
        return NULL;
}

static unsigned char child_buffer[BUSY_SIZE];

static int child_reads_or_recovers(void *argument)
{
        struct busy *busy = argument;
        int result = ammap_read_into(busy->map, 0, child_buffer, BUSY_SIZE);

        if (result == 0) {
                child_check(is_all(child_buffer, child_buffer[0], BUSY_SIZE));
        } else {
                child_check_int(result, AMMAP_ERR_OWNER_DEAD);
                child_check_int(op_run(OP_MUT_SLICE, busy->map, 0, 1, 0), AMMAP_ERR_OWNER_DEAD);
                child_check_int(ammap_recover(busy->map), 0);
        }
        child_check_int(ammap_fill(busy->map, 0, BUSY_SIZE, 0x77), 0);
        child_check_int(ammap_read_into(busy->map, 0, child_buffer, BUSY_SIZE), 0);
        child_check(is_all(child_buffer, 0x77, BUSY_SIZE));
        child_check_elsewhere(OP_MUT_SLICE, busy->map, 0, BUSY_SIZE, 0);
        child_check_int(ammap_free(busy->map), 0);
        return CHILD_OK;
}

static void fork_while_busy(int kind, uint64_t lanes, int threads, int count)
{
        struct busy busy = { new_map(BUSY_SIZE, lanes), kind, false, 0 };
        struct task tasks[BUSY_THREADS];
        int hung = 0, wrong = 0;

        for (int i = 0; i < threads; i++)
                task_start(&tasks[i], be_busy, &busy);
        while (atomic_load(&busy.done) == 0)
                sched_yield();
        for (int round = 0; round < count && hung < 2; round++) {
                int result = in_child(plain_fork, child_reads_or_recovers, &busy);

                hung += result == CHILD_HUNG;
                wrong += result != CHILD_HUNG && result != CHILD_OK;
        }
        atomic_store(&busy.stop, true);
        for (int i = 0; i < threads; i++)
                task_join(&tasks[i]);
        ck_assert_msg(hung == 0 && wrong == 0, "%d children hung, %d were wrong", hung, wrong);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, busy.map, 0, BUSY_SIZE, 0), 0);
        ck_assert_int_eq(ammap_free(busy.map), 0);
}

DEFINE_TEST("fork", forks_during_updates)
{
        fork_while_busy(0, 1, 1, rounds(150));
        fork_while_busy(0, 3, 1, rounds(50));
}

DEFINE_TEST("fork", forks_during_fills)
{
        fork_while_busy(1, 1, 1, rounds(100));
}

DEFINE_TEST("fork", forks_during_mut_slices)
{
        fork_while_busy(2, 1, 2, rounds(100));
}

DEFINE_TEST("fork", forks_during_reads)
{
        fork_while_busy(3, 1, 2, rounds(100));
        fork_while_busy(4, 2, 3, rounds(100));
}

DEFINE_TEST("fork", forks_during_everything)
{
        fork_while_busy(-1, 1, BUSY_THREADS, rounds(150));
        fork_while_busy(-1, 3, BUSY_THREADS, rounds(100));
}

#if !TEST_SANITIZED
static void *make_and_free(void *argument)
{
        struct busy *busy = argument;

        while (!atomic_load(&busy->stop)) {
                ammap_t *map = NULL;

                thread_check_int(ammap_new(&map, 10000), 0);
                thread_check_int(ammap_fill(map, 0, 10000, 1), 0);
                thread_check_int(ammap_free(map), 0);
                atomic_fetch_add(&busy->done, 1);
        }
        return NULL;
}

static int child_makes_and_frees(void *argument)
{
        struct busy *busy = argument;

        for (int i = 0; i < 5; i++) {
                ammap_t *map;

                child_check_int(ammap_new(&map, 5000), 0);
                child_check(is_all(ammap_as_ptr(map), 0, 5000));
                child_check_elsewhere(OP_FILL, map, 0, 5000, 0);
                child_check_int(ammap_free(map), 0);
        }
        child_check_int(op_run(OP_FILL, busy->map, 0, 100, 0), 0);
        child_check_int(ammap_free(busy->map), 0);
        return CHILD_OK;
}

/* Whatever list the library keeps of its maps, nobody leaves it locked. */
DEFINE_TEST("fork", forks_while_maps_come_and_go)
{
        struct busy busy = { new_map(100, 1), 0, false, 0 };
        struct task tasks[3];
        int hung = 0, wrong = 0;

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], make_and_free, &busy);
        while (atomic_load(&busy.done) == 0)
                sched_yield();
        for (int round = 0; round < rounds(150) && hung < 2; round++) {
                int result = in_child(plain_fork, child_makes_and_frees, &busy);

                hung += result == CHILD_HUNG;
                wrong += result != CHILD_HUNG && result != CHILD_OK;
        }
        atomic_store(&busy.stop, true);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        ck_assert_msg(hung == 0 && wrong == 0, "%d children hung, %d were wrong", hung, wrong);
        ck_assert_int_eq(ammap_free(busy.map), 0);
}
#endif

int main(void)
{
        return run_tests("fork", test_case);
}
