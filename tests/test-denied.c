/* test-denied.c - a process that may not do one thing
 *
 * SPDX-License-Identifier: MIT
 *
 * A session makes every call on every kind of map, has two threads and two processes meet on
 * each, and notes what each call answers and what bytes it leaves.  Children have it under a
 * filter that refuses one call of the system's or one flavour of it (deny.h), under limits
 * (address space, descriptors, locked memory, the length of files), and without /proc.
 *
 * What must hold for each call: it answers what it does in a process that may do all, and
 * leaves the same bytes; or it returns the system's code or the code that ammap.h has for it,
 * and leaves the bytes as they were.  No session dies or hangs.
 *
 * With AMMAP_TEST_LONG each flavour is refused with both errnos, and each limit is tried; else a part, another one each
 * time.
 */
#define WORLD_PAGES 16
#include "calls.h"

#if TEST_OS_LINUX && defined(__LP64__) && !TEST_SANITIZED

#include "deny.h"

enum { KINDS = COUNT_OF(world_kinds), CALLS = COUNT_OF(api_calls), MEETINGS = 2, STEPS = CALLS + MEETINGS + 1 };
enum { MAKING = STEPS - 1 }; /* of the map itself */

enum outcome { NOT_TRIED, DONE, NOT_READY, CHANGED }; /* not ready: what it needs cannot be had */

/* What a session found, on memory that outlives it. */
struct notes {
        bool begun, ended;
        struct note {
                enum outcome outcome;
                int rc;
                uint64_t hash; /* of the bytes that were left */
        } note[KINDS][STEPS];
};

/* --- A session: in a child, which calls nothing of Check's ------------------------------ */

static int session_map(struct world *world)
{
        int rc = world_prepare(world, &world->map, "one");

        if (rc < 0 || (rc = world_prepare(world, &world->other, "two")) < 0)
                return rc;
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, world->socket) < 0 ? -errno : 0;
}

static int session_begin(struct world *world, const struct world_kind *kind)
{
        int rc;

        memset(world, 0, sizeof(*world));
        world->kind = kind;
        world->size = WORLD_PAGES * PAGE;
        world->fd = world->socket[0] = world->socket[1] = -1;
        if (kind->file)
                world->path = path_of("world");
        rc = session_map(world);
        if (rc == 0)
                rc = ammap_fill(world->map, 0, world->size, 'm');
        if (rc == 0)
                rc = ammap_fill(world->other, 0, world->size, 'o');
        return rc;
}

static void session_tidy(struct world *world)
{
        ammap_slice_release(&world->slice);
        ammap_mut_slice_release(&world->mut_slice);
        ammap_u32_view_release(&world->u32);
        ammap_u64_view_release(&world->u64);
        ammap_free(world->made);
        world->made = NULL;
        if (world->fd >= 0)
                close(world->fd);
        world->fd = -1;
}

static void session_end(struct world *world)
{
        static const char *const names[] = { "one", "two", "new" };

        session_tidy(world);
        ammap_free(world->map);
        ammap_free(world->other);
        for (int i = 0; i < 2; i++)
                if (world->socket[i] >= 0)
                        close(world->socket[i]);
        for (size_t i = 0; world->kind->file && i < COUNT_OF(names); i++)
                unlink(world_file(world, names[i]).text);
}

/* 0: they cannot be read now. */
static uint64_t hash_of(ammap_t *map)
{
        static uint64_t words[(WORLD_PAGES + 2) * 4096 / 8 + 1];
        uint64_t length = ammap_len(map), hash = UINT64_C(0xcbf29ce484222325) ^ length;

        if (length >= sizeof(words) || ammap_read_into(map, 0, words, (size_t)length) < 0)
                return 0;
        memset((unsigned char *)words + length, 0, 8 - length % 8);
        for (uint64_t i = 0; i < length / 8 + 1; i++)
                hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
        return hash ? hash : 1;
}

static void note_call(struct world *world, const struct api_call *call, struct note *note)
{
        uint64_t before = hash_of(world->map);

        if (call->prepare && (note->rc = call->prepare(world)) < 0) {
                note->outcome = NOT_READY;
        } else {
                note->rc = call->run(world);
                note->outcome = DONE;
        }
        session_tidy(world);
        note->hash = hash_of(world->map);
        if (note->rc < 0 && note->hash && before && note->hash != before)
                note->outcome = CHANGED;
}

/* --- ... two threads, and two processes, who have the map ---------------------------------- */

enum { TIMES = 20 };

/* Count in a word under the lock, and wake who waits for it. */
static int count_up(ammap_t *map, uint64_t word)
{
        for (int i = 0; i < TIMES; i++) {
                ammap_mut_slice_t slice;
                uint32_t value;
                int rc = ammap_timed_as_mut_slice(map, word, 4, patience_ns(), &slice);

                if (rc < 0)
                        return rc;
                memcpy(&value, slice.data, 4);
                value++;
                memcpy(slice.data, &value, 4);
                rc = ammap_mut_slice_release(&slice);
                if (rc == 0)
                        rc = ammap_wake_u32(map, word, 1);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

struct counter {
        ammap_t *map;
        int rc;
};

static void *counting(void *argument)
{
        struct counter *counter = argument;

        counter->rc = count_up(counter->map, 0);
        return NULL;
}

static bool has_failed(pid_t pid)
{
        siginfo_t info = { .si_pid = 0 };

        return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid &&
               (info.si_code != CLD_EXITED || info.si_status != 0);
}

/* Until the word is so much; -ETIME: it never is, or the child that counts, too, has failed. */
static int wait_for_count(ammap_t *map, uint32_t wanted, pid_t pid)
{
        int64_t deadline = now_ns() + patience_ns();
        uint32_t value = 0;
        int rc;

        while ((rc = ammap_load_u32(map, 0, &value)) == 0 && value != wanted) {
                if (has_failed(pid) || now_ns() > deadline)
                        return -ETIME;
                rc = ammap_wait_u32(map, 0, value, 100 * MS);
                if (rc < 0 && rc != AMMAP_ERR_TIMEOUT)
                        return rc;
        }
        return rc;
}

static void meet_thread(struct world *world, struct note *note)
{
        struct counter other = { world->map, 0 };
        pthread_t thread;

        note->outcome = NOT_READY;
        if ((note->rc = ammap_fill(world->map, 0, 4, 0)) < 0 ||
            (note->rc = -pthread_create(&thread, NULL, counting, &other)) < 0)
                return;
        note->rc = count_up(world->map, 0);
        pthread_join(thread, NULL);
        if (note->rc == 0 && (note->rc = other.rc) == 0)
                note->rc = wait_for_count(world->map, 2 * TIMES, 0);
        note->outcome = DONE;
        note->hash = hash_of(world->map);
}

static void meet_process(struct world *world, struct note *note)
{
        int status, rc;
        pid_t pid;

        note->outcome = NOT_READY;
        if ((note->rc = ammap_fill(world->map, 0, 4, 0)) < 0)
                return;
        pid = fork();
        if (pid < 0)
                return;
        if (pid == 0) {
                rc = count_up(world->map, 0);
                _exit(rc == 0 ? 0 : rc == AMMAP_ERR_UNSUPPORTED ? 1 : -rc < 200 ? -rc : 255);
        }
        if (world_is_joint(world)) {
                note->rc = count_up(world->map, 0);
                if (note->rc == 0)
                        note->rc = wait_for_count(world->map, 2 * TIMES, pid);
        }
        while (waitpid(pid, &status, 0) < 0)
                ;
        note->outcome = DONE;
        note->hash = hash_of(world->map);
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
                note->rc = -ETIME;
        else if (WEXITSTATUS(status) == 1)
                note->rc = AMMAP_ERR_UNSUPPORTED;
        else if (WEXITSTATUS(status) > 1)
                note->rc = -WEXITSTATUS(status);
}

static void (*const meetings[MEETINGS])(struct world *world, struct note *note) = { meet_thread, meet_process };

/* One that changes the map for good is made of a map of its own. */
static void note_kind(const struct world_kind *kind, struct note *notes)
{
        struct world world;

        notes[MAKING].rc = session_begin(&world, kind);
        notes[MAKING].outcome = DONE;
        for (size_t step = 0; notes[MAKING].rc == 0 && step < MAKING; step++) {
                if (step >= CALLS) {
                        meetings[step - CALLS](&world, &notes[step]);
                } else if (call_is_for(&api_calls[step], kind)) {
                        if (ammap_fill(world.map, 0, world.size, 'm') < 0)
                                continue;
                        note_call(&world, &api_calls[step], &notes[step]);
                        if (!(api_calls[step].flags & CHANGES))
                                continue;
                        session_end(&world);
                        if (session_begin(&world, kind) < 0)
                                break;
                }
        }
        session_end(&world);
}

/* --- What is denied ------------------------------------------------------------------------ */

struct denial {
        const struct flavour *flavour; /* NULL: none */
        int error;                     /* that it is refused with; or that a limit leads to */
        int resource;                  /* -1: none */
        uint64_t limit;
        bool proc; /* without it */
};

static bool is_absent(int error)
{
        return error == ENOSYS || error == EPERM || error == EINVAL;
}

/* What a call may return that returns something else where all is allowed. */
static bool may_answer(const struct denial *denial, int rc)
{
        if (rc == AMMAP_ERR_UNSUPPORTED)
                return denial->proc || is_absent(denial->error);
        if (denial->resource == RLIMIT_MEMLOCK && (rc == -EAGAIN || rc == -EPERM))
                return true;
        if (denial->resource == RLIMIT_AS && rc == -EAGAIN)
                return true; /* of a thread, which had no memory */
        if (denial->flavour && denial->flavour->number == SYS_mmap && rc == -ENOMEM && LIBC_HIDES_MMAP)
                return true;
        return rc == -denial->error;
}

static bool enter(const struct denial *denial)
{
        if (denial->resource >= 0)
                return set_limit((limit_number)denial->resource, denial->limit);
        if (denial->proc && !mount_small("/proc", "64k")) {
                printf("no /proc: nothing can be mounted, and the library's open and stat find none\n");
                deny_proc = true;
        }
        return !denial->flavour || deny_flavour(denial->flavour, denial->error);
}

static const char *name_of(const struct denial *denial, char text[100])
{
        if (denial->flavour)
                snprintf(text, 100, "%s refused (%s)", denial->flavour->name, ammap_errname(-denial->error));
        else
                snprintf(text, 100, "%s%llu (%s)", denial->proc ? "no /proc " : "limit ",
                         (unsigned long long)denial->limit, ammap_errname(-denial->error));
        return text;
}

static struct notes *usual, *found;
static struct {
        unsigned sessions, same, codes, wrong;
} tally;

/* False: the child could not be denied that. */
static bool have_session(const struct denial *denial, struct notes *notes, int *status)
{
        pid_t child;

        memset(notes, 0, sizeof(*notes));
        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                struct rlimit no_core = { 0, 0 };

                setrlimit(RLIMIT_CORE, &no_core);
                signal(SIGALRM, SIG_DFL);
                alarm(test_time() * (1 + load_scale()));
                if (denial && !enter(denial))
                        _exit(0);
                notes->begun = true;
                for (size_t kind = 0; kind < KINDS; kind++)
                        note_kind(&world_kinds[kind], notes->note[kind]);
                notes->ended = true;
                _exit(0);
        }
        ck_assert_int_eq(waitpid(child, status, 0), child);
        ck_assert(notes->begun || *status == 0);
        return notes->begun;
}

static const char *step_name(size_t step)
{
        static const char *const others[] = { "meets a thread", "meets a process", "is made" };

        return step < CALLS ? api_calls[step].name : others[step - CALLS];
}

static bool is_wait(size_t step)
{
        return step < CALLS && (api_calls[step].run == run_wait_u32 || api_calls[step].run == run_wait_u32_peer ||
                                api_calls[step].run == run_wait_change);
}

/* What a call tells that has nothing to do with what is denied. */
static bool is_same(size_t step, const struct note *note, const struct note *usually)
{
        if ((note->rc < 0 || usually->rc < 0) && note->rc != usually->rc && !(is_wait(step) && note->rc == 0))
                return false;
        return note->hash == usually->hash || !note->hash || !usually->hash;
}

static void check_session(const struct denial *denial, int status)
{
        char text[100];

        tally.sessions++;
        if (!found->ended || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                printf("%s: the session ends with status %#x\n", name_of(denial, text), (unsigned)status);
                tally.wrong++;
        }
        for (size_t kind = 0; kind < KINDS; kind++)
                for (size_t step = 0; step < STEPS; step++) {
                        const struct note *note = &found->note[kind][step], *usually = &usual->note[kind][step];

                        if (note->outcome == NOT_TRIED || (note->outcome == NOT_READY && may_answer(denial, note->rc)))
                                continue;
                        if (note->outcome != CHANGED && is_same(step, note, usually)) {
                                tally.same++;
                        } else if (note->outcome != CHANGED && note->rc < 0 && may_answer(denial, note->rc)) {
                                tally.codes++;
                        } else {
                                tally.wrong++;
                                printf("%s: %s, %s: %d (%s), not %d%s\n", name_of(denial, text), world_kinds[kind].name,
                                       step_name(step), note->rc, ammap_errname(note->rc), usually->rc,
                                       note->outcome == CHANGED      ? ", and has changed the map"
                                       : note->hash != usually->hash ? ", and the bytes are others"
                                                                     : "");
                        }
                }
}

static void be_denied(const struct denial *denial)
{
        int status;

        if (have_session(denial, found, &status))
                check_session(denial, status);
}

static void begin_denials(void)
{
        int status;

        memset(&tally, 0, sizeof(tally));
        usual = board_of(sizeof(*usual));
        found = board_of(sizeof(*found));
        ck_assert(have_session(NULL, usual, &status));
        ck_assert(usual->ended);
        for (size_t kind = 0; kind < KINDS; kind++)
                ck_assert_int_eq(usual->note[kind][MAKING].rc, 0);
}

/* answered: some calls are to have the code of it. */
static void end_denials(const char *what, bool answered)
{
        printf("%s: %u sessions; %u calls as ever, %u with the code of it\n", what, tally.sessions, tally.same,
               tally.codes);
        ck_assert_uint_eq(tally.wrong, 0);
        if (tally.sessions == 0)
                skip_part(what, "it cannot be denied here");
        else
                ck_assert(!answered || tally.codes > 0);
        munmap(usual, sizeof(*usual));
        munmap(found, sizeof(*found));
}

/* --- The tests --------------------------------------------------------------------------------- */

DEFINE_TEST("denied", nothing)
{
        const struct denial none = { NULL, 0, -1, 0, false };

        begin_denials();
        be_denied(&none);
        ck_assert_uint_eq(tally.sessions, 1);
        ck_assert_uint_eq(tally.codes, 0);
        end_denials("nothing denied", false);
}

enum { AT_ONCE = 16 }; /* of the flavours in one test */

DEFINE_LOOP_TEST("denied", by_filter, 0, (COUNT_OF(flavours) + AT_ONCE - 1) / AT_ONCE)
{
        begin_denials();
        for (size_t i = (size_t)_i * AT_ONCE; i < COUNT_OF(flavours) && i < (size_t)(_i + 1) * AT_ONCE; i++) {
                if (is_in_part(i, 2))
                        be_denied(&(struct denial){ &flavours[i], ENOSYS, -1, 0, false });
                if (is_in_part(i + 1, 2))
                        be_denied(&(struct denial){ &flavours[i], EPERM, -1, 0, false });
        }
        end_denials("filters", (size_t)(_i + 1) * AT_ONCE <= COUNT_OF(flavours));
}

DEFINE_TEST("denied", proc)
{
        begin_denials();
        be_denied(&(struct denial){ NULL, 0, -1, 0, true });
        ck_assert_uint_eq(tally.sessions, 1);
        end_denials("no /proc", true);
}

DEFINE_TEST("denied", descriptors)
{
        begin_denials();
        for (unsigned limit = 3; limit < 40; limit++)
                if (is_in_part(limit, 3))
                        be_denied(&(struct denial){ NULL, EMFILE, RLIMIT_NOFILE, limit, false });
        end_denials("RLIMIT_NOFILE", true);
}

DEFINE_TEST("denied", address_space)
{
        uint64_t size = status_bytes("VmSize:");

        begin_denials();
        for (unsigned step = 0; step < 3 * MB / (64 * KB); step++)
                if (is_in_part(step, 3))
                        be_denied(&(struct denial){ NULL, ENOMEM, RLIMIT_AS, size + step * 64 * KB, false });
        end_denials("RLIMIT_AS", true);
}

DEFINE_TEST("denied", locked_memory)
{
        begin_denials();
        for (uint64_t pages = 0; pages < 6 * WORLD_PAGES; pages += pages < 4 ? 1 : 7)
                if (pages < 4 || is_in_part(pages / 7, 3))
                        be_denied(&(struct denial){ NULL, ENOMEM, RLIMIT_MEMLOCK, pages * PAGE, false });
        end_denials("RLIMIT_MEMLOCK", true);
}

DEFINE_TEST("denied", length_of_files)
{
        begin_denials();
        for (uint64_t pages = 0; pages < 2 * WORLD_PAGES; pages += pages < 4 ? 1 : 3)
                if (pages < 4 || is_in_part(pages / 3, 3))
                        be_denied(&(struct denial){ NULL, EFBIG, RLIMIT_FSIZE, pages * PAGE, false });
        end_denials("RLIMIT_FSIZE", true);
}

#else

DEFINE_NO_TEST("no way to deny a call on this system, or under this sanitizer");

#endif

int main(void)
{
        if (under_valgrind())
                return SKIPPED;
        test_time_extra = 240;
        setvbuf(stdout, NULL, _IOLBF, 0);
        return run_tests("denied", share_case);
}
