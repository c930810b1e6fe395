/* test-refused.c - every call, with each system call that it makes refused in turn
 *
 * SPDX-License-Identifier: MIT
 *
 * A call on a map is made in a child that is traced: which system calls does it make?
 * Then once more for each of them and each errno that its manual names: refused
 * wherever it is made, by a filter, and, where it is made several times, refused the
 * first, the second ... time alone, by the tracer.
 *
 * What must hold: no signal, no hang; the call succeeds in another way, or returns the
 * system's code, or AMMAP_ERR_UNSUPPORTED for a call that the system does not have; no
 * descriptor is left open; and what failed has left no lane locked.
 */
#define WORLD_PAGES 16
#include "calls.h"

#if TEST_OS_LINUX && defined(__x86_64__) && !defined(__ILP32__) && !TEST_SANITIZED

#include "refuse.h"

#include <poll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { CALLS_MAX = 200, ERRORS_MAX = 6, DESCRIPTORS = 64, NTH_MAX = 6 };

/* A kind of world that differs from these in nothing but the number of its lanes makes no
 * other system calls. */
static const struct world_kind *tried[COUNT_OF(world_kinds)];

static int find_tried(void)
{
        int count = 0;

        for (const struct world_kind *kind = world_kinds; kind < world_kinds + COUNT_OF(world_kinds); kind++)
                if (kind->more || kind->share == AMMAP_RAW || (kind->file && kind->lanes == 1))
                        tried[count++] = kind;
        return count;
}

/* The errnos that the manuals name, but those of a bad argument. */
static const struct {
        long number;
        const char *name;
        int errors[ERRORS_MAX];
} refusals[] = {
#define REFUSE(name, ...)                                                                                              \
        {                                                                                                              \
                SYS_##name, #name,                                                                                     \
                {                                                                                                      \
                        __VA_ARGS__                                                                                    \
                }                                                                                                      \
        }
        REFUSE(mmap, ENOMEM, EPERM, ENFILE),
        REFUSE(munmap, ENOMEM),
        REFUSE(mprotect, ENOMEM, EACCES),
        REFUSE(mremap, ENOMEM, EPERM, ENOSYS, EAGAIN),
        REFUSE(madvise, ENOMEM, EPERM, EINVAL, ENOSYS, EAGAIN),
        REFUSE(mlock, ENOMEM, EPERM, EAGAIN),
        REFUSE(munlock, ENOMEM, EPERM),
        REFUSE(msync, EIO, ENOMEM),
        REFUSE(mincore, ENOMEM, EPERM, ENOSYS),
        REFUSE(memfd_create, ENOMEM, EMFILE, ENFILE, EPERM, ENOSYS),
        REFUSE(openat, EMFILE, ENFILE, ENOENT, EACCES, ENOMEM),
        REFUSE(ftruncate, EFBIG, EPERM, EIO),
        REFUSE(fallocate, ENOSPC, EOPNOTSUPP, EPERM, EIO),
        REFUSE(fchmod, EPERM, EROFS),
        REFUSE(fcntl, EMFILE, EPERM, ENOLCK),
        REFUSE(fstat, ENOMEM, EACCES),
        REFUSE(newfstatat, ENOMEM, EACCES),
        REFUSE(fstatfs, ENOSYS, EIO),
        REFUSE(lseek, EINVAL, ENXIO),
        REFUSE(pread64, EIO, ENOMEM),
        REFUSE(pwrite64, EIO, ENOSPC, EDQUOT),
        REFUSE(read, EIO, ENOMEM),
        REFUSE(write, EIO, EPERM),
        REFUSE(pipe2, EMFILE, ENFILE),
        REFUSE(process_vm_readv, ENOSYS, EPERM, ENOMEM),
        REFUSE(process_vm_writev, ENOSYS, EPERM, ENOMEM),
        REFUSE(sendmsg, EPIPE, ENOBUFS, ENOMEM),
        REFUSE(recvmsg, ECONNREFUSED, ENOMEM),
        REFUSE(getsockopt, EPERM, ENOPROTOOPT),
        REFUSE(setsockopt, EPERM, ENOPROTOOPT),
        REFUSE(ioctl, ENOTTY, EPERM),
        REFUSE(getrandom, ENOSYS, EAGAIN),
        REFUSE(membarrier, ENOSYS, EPERM),
        REFUSE(get_robust_list, ENOSYS, EPERM),
        REFUSE(pidfd_open, ENOSYS, EPERM, EMFILE),
        REFUSE(rt_sigprocmask, EPERM),
        REFUSE(fsync, EIO, ENOSPC),
        REFUSE(sched_getaffinity, EPERM),
        REFUSE(prctl, EPERM, EINVAL),
};

/* One system call that is refused: everywhere, or the nth time alone. */
struct refusal {
        long number;
        int error;
        unsigned nth;
};

struct outcome {
        int rc, opened; /* descriptors that are left open */
        bool done;
        unsigned count; /* of the system calls that it made */
        long number[CALLS_MAX];
};

/* By a call that none of the above is. */
static int descriptors(void)
{
        struct pollfd fds[DESCRIPTORS];
        int open = 0;

        for (int fd = 0; fd < DESCRIPTORS; fd++)
                fds[fd] = (struct pollfd){ .fd = fd };
        if (poll(fds, DESCRIPTORS, 0) < 0)
                return -1;
        for (int fd = 0; fd < DESCRIPTORS; fd++)
                open += !(fds[fd].revents & POLLNVAL);
        return open;
}

static void make_call(struct world *world, const struct api_call *call, const struct refusal *refusal,
                      struct outcome *outcome)
{
        struct rlimit no_core = { 0, 0 };
        int before;

        setrlimit(RLIMIT_CORE, &no_core);
        if (call->prepare && call->prepare(world) < 0)
                _exit(2);
        before = descriptors();
        if (refusal->error && refusal->nth == 0) {
                alarm(test_time());
                if (!refuse_call(refusal->number, refusal->error))
                        _exit(3);
        } else if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0) {
                _exit(3);
        }
        outcome->rc = call->run(world);
        (void)syscall(SYS_getppid); /* what comes now is not the call's */
        outcome->opened = outcome->rc < 0 ? descriptors() - before : 0;
        outcome->done = true;
        _exit(0);
}

/* Follow the child from its stop to its end of the call. */
static void follow(pid_t child, const struct refusal *refusal, struct outcome *outcome)
{
        unsigned seen = 0;
        bool within = false, over = false;
        int status;

        ck_assert_int_eq(waitpid(child, &status, 0), child);
        if (!WIFSTOPPED(status))
                return; /* it says why */
        ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
        while (!over) {
                struct user_regs_struct registers;

                ck_assert_int_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
                ck_assert_int_eq(waitpid(child, &status, 0), child);
                if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) {
                        if (WIFSTOPPED(status))
                                ptrace(PTRACE_KILL, child, NULL, NULL);
                        return;
                }
                within = !within;
                ck_assert_int_eq(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
                if (!within)
                        continue;
                over = registers.orig_rax == SYS_getppid;
                if (!over && outcome->count < CALLS_MAX)
                        outcome->number[outcome->count++] = (long)registers.orig_rax;
                if (!over && refusal->error && (long)registers.orig_rax == refusal->number && ++seen == refusal->nth) {
                        registers.orig_rax = (__typeof__(registers.orig_rax))-1;
                        ck_assert_int_eq(ptrace(PTRACE_SETREGS, child, NULL, &registers), 0);
                        ck_assert_int_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
                        ck_assert_int_eq(waitpid(child, &status, 0), child);
                        ck_assert_int_eq(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
                        registers.rax = (__typeof__(registers.rax))-refusal->error;
                        ck_assert_int_eq(ptrace(PTRACE_SETREGS, child, NULL, &registers), 0);
                        within = false;
                }
        }
        ptrace(PTRACE_DETACH, child, NULL, NULL);
}

static bool is_absent(int error)
{
        return error == ENOSYS || error == EPERM || error == EACCES || error == EINVAL || error == ENOTTY ||
               error == ENOENT || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

/* plain: what the call answers where nothing is refused. */
static bool may_answer(const struct refusal *refusal, int rc, int plain)
{
        return rc >= 0 || rc == plain || rc == -refusal->error ||
               (rc == AMMAP_ERR_UNSUPPORTED && is_absent(refusal->error)) ||
               (rc == -ENOMEM && refusal->number == SYS_mmap && LIBC_HIDES_MMAP);
}

static void complain(const struct world *world, const struct api_call *call, const struct refusal *refusal,
                     const char *name, const char *what, int rc)
{
        printf("ammap_%s, %s, %s at call %u of %s (0: all): %s%s%s\n", call->name, world->kind->name,
               ammap_errname(-refusal->error), refusal->nth, name, what, rc < 0 ? " " : "",
               rc < 0 ? ammap_errname(rc) : "");
}

/* Whether all is as it must be.  The outcome is a board's, for the child to fill. */
static bool run(const struct world_kind *kind, const struct api_call *call, const struct refusal *refusal,
                const char *name, int plain, struct outcome *outcome)
{
        struct world world;
        ammap_slice_t slice;
        const char *wrong = NULL;
        int left, status;
        pid_t child;

        memset(outcome, 0, sizeof(*outcome));
        world_begin(&world, kind);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                make_call(&world, call, refusal, outcome);
        if (!refusal->error || refusal->nth > 0)
                follow(child, refusal, outcome);
        waitpid(child, &status, 0);
        left = kind->share == AMMAP_PRIVATE ? 0 : ammap_try_as_slice(world.map, 0, 1, &slice);
        if (!outcome->done)
                wrong = "does not return";
        else if (outcome->opened > 0)
                wrong = "leaves a descriptor open, and returns";
        else if (refusal->error && !may_answer(refusal, outcome->rc, plain))
                wrong = "returns";
        if (wrong)
                complain(&world, call, refusal, name, wrong, outcome->rc);
        if (outcome->rc < 0 && left < 0)
                complain(&world, call, refusal, name, "leaves the map", left);
        if (kind->share != AMMAP_PRIVATE)
                ammap_slice_release(&slice);
        world_end(&world);
        return !wrong && (outcome->rc >= 0 || left == 0);
}

DEFINE_LOOP_TEST("refused", in_turn, 0, find_tried())
{
        const struct world_kind *kind = tried[_i];
        struct outcome *plain = board_of(sizeof(*plain)), *outcome = board_of(sizeof(*outcome));
        unsigned count = 0, wrong = 0;

        for (size_t c = 0; c < COUNT_OF(api_calls); c++) {
                const struct api_call *call = &api_calls[c];

                if (!call_is_for(call, kind))
                        continue;
                ck_assert(run(kind, call, &(struct refusal){ .number = 0 }, "none", 0, plain));
                for (size_t i = 0; i < COUNT_OF(refusals); i++) {
                        unsigned times = 0;

                        for (unsigned n = 0; n < plain->count; n++)
                                times += plain->number[n] == refusals[i].number;
                        for (unsigned e = 0; times > 0 && e < ERRORS_MAX && refusals[i].errors[e]; e++)
                                for (unsigned nth = 0; nth <= (times > 1 ? times : 0) && nth <= NTH_MAX; nth++, count++)
                                        wrong += is_in_part(count, 4) &&
                                                 !run(kind, call,
                                                      &(struct refusal){ refusals[i].number, refusals[i].errors[e],
                                                                         nth },
                                                      refusals[i].name, plain->rc, outcome);
                }
        }
        printf("%s: %s of %u refusals\n", kind->name, test_is_long() ? "all" : "one in four", count);
        ck_assert_uint_gt(count, 0);
        ck_assert_uint_eq(wrong, 0);
        munmap(plain, sizeof(*plain));
        munmap(outcome, sizeof(*outcome));
}

#else

DEFINE_NO_TEST("no way to refuse a call on this system or processor, or under this sanitizer");

#endif

int main(void)
{
        if (under_valgrind()) {
                printf("skipped: not with valgrind\n");
                return SKIPPED;
        }
        test_time_extra = 540;
        return run_tests("refused", share_case);
}
