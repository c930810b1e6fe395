/* test-fork-points.c - a fork at every instruction of another thread's call
 *
 * SPDX-License-Identifier: MIT
 *
 *      test-fork-points [POINTS]
 *
 * A thread goes through a call instruction by instruction, stopped after each by
 * the processor's trap flag.  At some of the stops, at every one where there are few,
 * another thread forks the process.  The child has the map as it was before
 * the call or as it is after it, and a lane may be AMMAP_ERR_OWNER_DEAD only where
 * the call writes bytes; with ammap_recover all of it can be written, or none.
 *
 * What is behind a map that others have is the parent's, too: there the child looks
 * once the parent has come to the end of the call, and each fork has a map of its own.
 */
#include "proc.h"
#include "share.h"

static unsigned points; /* of a call, about */

#if TEST_OS_LINUX
#define LINUX_ONLY true
#else
#define LINUX_ONLY false
#endif

#if defined(__x86_64__) && defined(__linux__) && !TEST_SANITIZED
#define CAN_TRAP 1
#else
#define CAN_TRAP 0
#endif

#if CAN_TRAP

enum { LENGTH = 20480, SHORT = 12200, CAPACITY = 40000, FROM = 3000, TO = 13000 };
enum { OLD = 0x11, NEW = 0x22 };

enum call_kind {
        CALL_FREEZE,
        CALL_GROW,
        CALL_SHRINK,
        CALL_NO_SHRINK, /* there is a slice */
        CALL_DISCARD,
        CALL_CLONE,
        CALL_FREE,
        CALL_NEW,
        CALL_MLOCK,
        CALL_OPEN,
        CALL_VIEW, /* beside a view that the forking thread has */
        CALL_END_VIEW,
        CALLS
};

static const char *const call_names[CALLS] = {
        "freeze", "growth", "shrink", "refused shrink", "discard", "clone",
        "free",   "new",    "mlock",  "open",           "view",    "view's end",
};

enum map_kind {
        PLAIN,
        RECYCLED,
        MANY, /* lanes, and a guard */
        OMITTED,
        WIPED,
        SHARED,
        RAW,
        FILED,
        MAPS
};

static const char *const map_names[MAPS] = { "plain", "recycled", "many lanes", "omitted",
                                             "wiped", "shared",   "raw",        "file" };

static bool is_private(enum map_kind kind)
{
        return kind < SHARED;
}

/* --- The thread that is led ------------------------------------------------- */

struct subject {
        enum call_kind call;
        enum map_kind kind;
        ammap_t *map, *copy;
        ammap_slice_t slice;
        ammap_u32_view_t view, own;
        const char *path;
        int rc;
};

static ammap_options_t options_of(enum map_kind kind)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.capacity = kind == PLAIN || kind == RECYCLED || kind == RAW ? 0 : CAPACITY;
        options.lanes = kind == PLAIN || kind == RECYCLED || kind == RAW ? 1 : 5;
        options.recycle = kind == RECYCLED ? AMMAP_TRY : AMMAP_NO;
        options.guard = kind == MANY ? AMMAP_TRY : AMMAP_NO;
        options.fork = kind == OMITTED ? AMMAP_FORK_OMIT : kind == WIPED ? AMMAP_FORK_WIPE : AMMAP_FORK_COPY;
        options.share = kind == SHARED ? AMMAP_SHARED : kind == RAW ? AMMAP_RAW : AMMAP_PRIVATE;
        return options;
}

static int make(struct subject *subject, ammap_t **map)
{
        ammap_options_t options = options_of(subject->kind);

        if (subject->kind != FILED)
                return ammap_new_with(map, LENGTH, &options);
        options.allow_faults = true;
        return open_by_kernel(map, subject->path, LENGTH, &options);
}

static int run_call(struct subject *subject)
{
        switch (subject->call) {
        case CALL_FREEZE:
                return ammap_freeze(subject->map);
        case CALL_GROW:
                return ammap_resize(subject->map, CAPACITY);
        case CALL_SHRINK:
        case CALL_NO_SHRINK:
                return ammap_resize(subject->map, SHORT);
        case CALL_DISCARD:
                return ammap_discard(subject->map, FROM, TO - FROM);
        case CALL_CLONE:
                return ammap_clone(subject->map, &subject->copy);
        case CALL_FREE:
                return ammap_free(subject->map);
        case CALL_NEW:
        case CALL_OPEN:
                return make(subject, &subject->copy);
        case CALL_VIEW:
                return ammap_atomic_u32(subject->map, 4, &subject->view);
        case CALL_END_VIEW:
                ammap_u32_view_release(&subject->view);
                return 0;
        case CALL_MLOCK:
                return ammap_mlock(subject->map, 0, LENGTH);
        case CALLS:
                break;
        }
        return INT_MIN;
}

static int expected_result(enum call_kind call)
{
        return call == CALL_NO_SHRINK ? AMMAP_ERR_BUSY : 0;
}

static sem_t to_worker, to_forker;

/* Of the fork that has been asked for. */
enum { NONE, ASKED, DONE };
static _Atomic int fork_state;

static _Atomic bool call_done;
static struct {
        unsigned long count, next, stride;
} trap;

/* In the middle of whatever the library does.  Where the fork wants a mutex that
 * this thread has, the library's or malloc's, it comes later. */
static void trapped(int number, siginfo_t *info, void *context)
{
        int64_t end;

        (void)number;
        (void)info;
        (void)context;
        if (++trap.count < trap.next)
                return;
        if (atomic_load(&fork_state) == NONE) {
                trap.next += trap.stride;
                atomic_store(&fork_state, ASKED);
                sem_post(&to_forker);
                end = now_ns() + 10 * MS;
                while (atomic_load(&fork_state) == ASKED && now_ns() < end)
                        sched_yield();
        }
        if (atomic_load(&fork_state) == DONE)
                atomic_store(&fork_state, NONE);
}

#define TRAP_FLAG 0x100

static void set_trap(bool on)
{
        unsigned long long flags = __builtin_ia32_readeflags_u64();

        __builtin_ia32_writeeflags_u64(on ? flags | TRAP_FLAG : flags & ~(unsigned long long)TRAP_FLAG);
}

static void *worker(void *argument)
{
        struct subject **subject = argument;

        for (;;) {
                sem_wait_surely(&to_worker);
                if (!*subject)
                        return NULL;
                set_trap(trap.stride > 0);
                (*subject)->rc = run_call(*subject);
                set_trap(false);
                atomic_store(&call_done, true);
                sem_post(&to_forker);
        }
}

/* --- What a child finds -------------------------------------------------------- */

static struct {
        unsigned instructions, forks, before, after, dead;
} tally;

/* Writes to each lane, and to each page by pointer: all of it works or none. */
static void check_writes(const struct subject *subject, bool may_be_frozen)
{
        uint64_t length = ammap_len(subject->map), written = 0, refused = 0, tries = 0;
        unsigned char byte;

        for (uint64_t at = 0; at < length; at += 512, tries++) {
                int rc = ammap_update_region(subject->map, at, "\x22", 1);

                child_must_int(ammap_read_into(subject->map, at, &byte, 1), 0);
                if (rc == 0)
                        child_must(byte == NEW);
                written += rc == 0;
                refused += rc == AMMAP_ERR_READ_ONLY;
        }
        child_must(written == tries || (may_be_frozen && refused == tries));
        if (subject->kind != FILED) {
                unsigned char *bytes = ammap_as_mut_ptr(subject->map);

                child_must((bytes == NULL) == (refused > 0));
                for (uint64_t at = 0; bytes && at < length; at += 64)
                        bytes[at] = NEW;
        }
        if (refused || subject->kind == RAW || options_of(subject->kind).capacity == 0)
                return;
        child_must_int(ammap_resize(subject->map, CAPACITY), 0);
        child_must_int(ammap_fill(subject->map, 0, CAPACITY, NEW), 0);
        child_must_int(ammap_resize(subject->map, 1), 0);
        child_must_int(ammap_resize(subject->map, LENGTH), 0);
        child_must(holds(subject->map, 1, LENGTH - 1, 0));
        child_must_int(ammap_freeze(subject->map), 0);
        child_must_int(ammap_update_region(subject->map, 0, "", 1), AMMAP_ERR_READ_ONLY);
}

static bool is_old_or(const unsigned char *bytes, size_t length, unsigned char other)
{
        for (size_t i = 0; i < length; i++)
                if (bytes[i] != OLD && bytes[i] != other)
                        return false;
        return true;
}

static void check_bytes(const struct subject *subject, bool done)
{
        static unsigned char bytes[CAPACITY];
        uint64_t length = ammap_len(subject->map);
        unsigned char old = subject->kind == WIPED ? 0 : OLD;

        if (subject->call == CALL_GROW && length == CAPACITY)
                length = LENGTH;
        else if (subject->call == CALL_SHRINK)
                child_must(length == SHORT || (length == LENGTH && !done));
        else
                child_must(length == LENGTH);
        child_must_int(ammap_read_into(subject->map, 0, bytes, (size_t)ammap_len(subject->map)), 0);
        child_must(is_all(bytes + length, 0, ammap_len(subject->map) - length));
        if (subject->call != CALL_DISCARD) {
                child_must(is_all(bytes, old, length));
                return;
        }
        child_must(is_all(bytes, old, FROM) && is_all(bytes + TO, old, LENGTH - TO));
        child_must(is_old_or(bytes + FROM, TO - FROM, 0));
}

/* The map that the call is made of.  done: it has come to its end. */
static void check_map(const struct subject *subject, bool done, bool may_be_dead)
{
        bool dead = false;
        unsigned char byte;

        if (subject->kind == OMITTED) {
                child_must_int(ammap_read_into(subject->map, 0, &byte, 1), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_free(subject->map), 0);
                return;
        }
        for (uint64_t at = 0; at < ammap_len(subject->map); at += 1000) {
                int rc = ammap_read_into(subject->map, at, &byte, 1);

                dead = dead || rc == AMMAP_ERR_OWNER_DEAD;
                child_must(rc == 0 || rc == AMMAP_ERR_OWNER_DEAD);
        }
        child_must(!dead || may_be_dead);
        child_must_int(ammap_recover(subject->map), 0);
        check_bytes(subject, done);
        check_writes(subject, subject->call == CALL_FREEZE);
        child_must_int(ammap_free(subject->map), 0);
        _exit(dead ? 2 : 0);
}

/* One that another thread was about to take, or to release, is nobody's in the child, or has never been. */
static void check_views(struct subject *subject)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;
        int rc;

        ammap_u32_view_release(&subject->own);
        for (int i = 0; i < 3; i++) {
                ammap_u32_view_t view;

                child_must_int(ammap_atomic_u32(subject->map, 8, &view), 0);
                ammap_u32_view_release(&view);
        }
        child_must_int(ammap_stat(subject->map, &stat), 0);
        child_must(stat.views <= 1);
        rc = ammap_freeze(subject->map);
        child_must_int(rc, stat.views > 0 ? AMMAP_ERR_BUSY : 0);
        child_must_int(ammap_free(subject->map), rc);
}

static bool is_of_views(enum call_kind call)
{
        return call == CALL_VIEW || call == CALL_END_VIEW;
}

/* Whatever became of the one, there is another; in a file of its own. */
static void check_others(struct subject *subject)
{
        ammap_t *map;

        if (subject->kind == FILED)
                unlink(subject->path);
        child_must_int(make(subject, &map), 0);
        child_must(holds(map, 0, LENGTH, 0));
        child_must_int(ammap_fill(map, 0, LENGTH, NEW), 0);
        child_must_int(ammap_free(map), 0);
}

static void child_looks(struct subject *subject, bool done, bool may_be_dead)
{
        set_trap(false);
        alarm(test_time());
        if (subject->call == CALL_NO_SHRINK)
                ammap_slice_release(&subject->slice);
        check_others(subject);
        if (is_of_views(subject->call))
                check_views(subject);
        else if (subject->call != CALL_FREE && subject->call != CALL_NEW && subject->call != CALL_OPEN)
                check_map(subject, done, may_be_dead);
        _exit(0);
}

/* --- Forking ------------------------------------------------------------------- */

static pid_t child;
static int child_go[2]; /* closed when the child may look */

static void bury_child(const struct subject *subject)
{
        int status;

        if (child == 0)
                return;
        status = peer_status(child);
        ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2),
                      "%s of a map (%s): at instruction %lu the child's status is %#x", call_names[subject->call],
                      map_names[subject->kind], trap.count, (unsigned)status);
        tally.dead += WEXITSTATUS(status) == 2;
        tally.forks++;
        child = 0;
}

static void fork_now(struct subject *subject)
{
        char byte;

        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                if (!is_private(subject->kind)) {
                        close(child_go[1]);
                        child_must(read(child_go[0], &byte, 1) == 0);
                }
                /* Where the lock is the process's own. */
                child_looks(subject, !is_private(subject->kind),
                            (is_private(subject->kind) || subject->kind == RAW) && subject->call == CALL_DISCARD);
        }
        if (is_private(subject->kind))
                bury_child(subject);
}

/* The map as it is before the call. */
static void set_up(struct subject *subject)
{
        subject->map = subject->copy = NULL;
        memset(&subject->slice, 0, sizeof(subject->slice));
        memset(&subject->view, 0, sizeof(subject->view));
        memset(&subject->own, 0, sizeof(subject->own));
        if (subject->kind == FILED)
                unlink(subject->path);
        if (subject->call != CALL_OPEN && subject->call != CALL_NEW) {
                ck_assert_int_eq(make(subject, &subject->map), 0);
                ck_assert_int_eq(ammap_fill(subject->map, 0, LENGTH, OLD), 0);
        }
        if (is_of_views(subject->call))
                ck_assert_int_eq(ammap_atomic_u32(subject->map, 0, &subject->own), 0);
        if (subject->call == CALL_END_VIEW)
                ck_assert_int_eq(ammap_atomic_u32(subject->map, 4, &subject->view), 0);
        if (subject->call == CALL_NO_SHRINK)
                ck_assert_int_eq(ammap_as_slice(subject->map, SHORT, 10, &subject->slice), 0);
}

static void clean_up(struct subject *subject)
{
        if (subject->call != CALL_FREE)
                ck_assert_int_eq(ammap_free(subject->map), 0);
        ck_assert_int_eq(ammap_free(subject->copy), 0);
}

/* One call, from its instruction number first on, every stride of them (0: none of
 * them); so many instructions it has. */
static unsigned long go_through(struct subject *subject, unsigned long first, unsigned long stride)
{
        set_up(subject);
        ck_assert_int_eq(pipe(child_go), 0);
        atomic_store(&call_done, false);
        atomic_store(&fork_state, NONE);
        trap.count = 0;
        trap.next = first;
        trap.stride = stride;
        sem_post(&to_worker);
        for (;;) {
                sem_wait_surely(&to_forker);
                if (atomic_load(&fork_state) == ASKED) {
                        if (child == 0)
                                fork_now(subject);
                        atomic_store(&fork_state, DONE);
                } else if (atomic_load(&call_done)) {
                        break;
                }
        }
        ck_assert_int_eq(subject->rc, expected_result(subject->call));
        close(child_go[0]);
        close(child_go[1]);
        ammap_slice_release(&subject->slice);
        ammap_u32_view_release(&subject->view);
        ammap_u32_view_release(&subject->own);
        bury_child(subject);
        clean_up(subject);
        return trap.count;
}

static struct subject *current;

static pthread_t start_worker(void)
{
        struct sigaction action;
        pthread_t thread;

        memset(&action, 0, sizeof(action));
        action.sa_sigaction = trapped;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGTRAP, &action, NULL);
        sem_init(&to_worker, 0, 0);
        sem_init(&to_forker, 0, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, worker, &current), 0);
        return thread;
}

static bool has_call(enum map_kind kind, enum call_kind call)
{
        bool whole = options_of(kind).capacity == 0;

        if (!LINUX_ONLY && !is_private(kind))
                return false;
        if (call == CALL_OPEN || call == CALL_NEW)
                return (kind == FILED) == (call == CALL_OPEN);
        if (call == CALL_GROW)
                return !whole;
        if (is_of_views(call))
                return kind != OMITTED;
        return kind != RAW || (call != CALL_SHRINK && call != CALL_NO_SHRINK);
}

/* A call that has been made before, at about so many points. */
static void sweep(struct subject *subject, unsigned long wanted)
{
        unsigned long count, stride;
        unsigned forks = tally.forks;

        current = subject;
        go_through(subject, ULONG_MAX, 0);
        count = go_through(subject, ULONG_MAX, 1);
        if (!is_private(subject->kind) && wanted * count > 2000UL * points) /* each takes a call of its own */
                wanted = 2000UL * points / count + 2;
        stride = count / wanted + 1;
        if (is_private(subject->kind))
                go_through(subject, 1 + test_part % stride, stride);
        else
                for (unsigned long at = 1 + test_part % stride; at <= count; at += stride)
                        go_through(subject, at, ULONG_MAX / 2);
        tally.instructions += (unsigned)count;
        if (getenv("AMMAP_TEST_VERBOSE"))
                fprintf(stderr, "%s, %s: %lu instructions, %u forks\n", map_names[subject->kind],
                        call_names[subject->call], count, tally.forks - forks);
}

DEFINE_LOOP_TEST("fork-points", forked, 0, LINUX_ONLY ? MAPS : SHARED)
{
        enum map_kind kind = (enum map_kind)_i;
        struct path path = path_of("forked");
        unsigned calls = 0;
        pthread_t thread = start_worker();

        memset(&tally, 0, sizeof(tally));
        for (enum call_kind call = 0; call < CALLS; call++) {
                struct subject subject = { .call = call, .kind = kind, .path = path.text };

                if (!has_call(kind, call) || !is_in_part((unsigned long)call, 3))
                        continue;
                calls++;
                sweep(&subject, (unsigned long)(call == CALL_FREEZE ? 3 * points
                                                : is_of_views(call) ? 6 * points
                                                                    : points));
        }
        current = NULL;
        sem_post(&to_worker);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert(calls == 0 || tally.forks > 0);
        printf("fork-points: %s: %u calls of %u instructions, %u forks; OWNER_DEAD in %u of them\n", map_names[kind],
               calls, tally.instructions, tally.forks, tally.dead);
}

/* Whether the trap flag works here: emulators and tools know better. */
static volatile sig_atomic_t traps;

static void count_trap(int number)
{
        (void)number;
        traps = traps + 1;
}

static bool trapping_works(void)
{
        struct sigaction action;

        if (under_valgrind())
                return false;
        memset(&action, 0, sizeof(action));
        action.sa_handler = count_trap;
        sigaction(SIGTRAP, &action, NULL);
        set_trap(true);
        set_trap(false);
        return traps > 0;
}

#else

DEFINE_NO_TEST("no trap flag on this processor, or under this sanitizer");

#endif

int main(int argc, char **argv)
{
#if CAN_TRAP
        if (!trapping_works()) {
                printf("fork-points: no trap flag here\n");
                return SKIPPED;
        }
#endif
        points = (unsigned)stress_of(argc, argv, test_is_long() ? 40 : 5, 1, "POINTS");
        return run_tests("fork-points", share_case);
}
