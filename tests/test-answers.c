/* test-answers.c - lib/os on Linux: what a kernel may answer, and this one does not
 *
 * SPDX-License-Identifier: MIT
 *
 * Old kernels, filters and emulators; /proc with other things in it; calls that are interrupted, or do
 * half of what was asked.  answers.h says how.
 */
#include "answers.h"
#include "proc.h"

#include "os/linux-abi.h"
#include "os/linux.h"
#include "os/os.h"

#include <linux/membarrier.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PAGE os_page_size()

static TCase *answers_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_unchecked_fixture(tcase, os_start, NULL);
        tcase_add_checked_fixture(tcase, NULL, answers_end);
        return tcase;
}

static int new_memory(size_t size)
{
        int fd = os_memory("answers", size);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

/* --- Threads and processes ---------------------------------------------------------- */

DEFINE_TEST("processes", processors_that_are_not_told)
{
        for (long told = -1; told < 4; told++) {
                answer_value(ANSWER_SYSCONF, _SC_NPROCESSORS_ONLN, 1, told);
                ck_assert_uint_eq(os_cpus(), told < 1 ? 1 : (unsigned)told);
        }
        ck_assert_uint_eq(answers.given, 5);
}

/* qemu-user takes any advice.  What it has not refused it has not followed either. */
static void start_where_all_is_taken(void *unused)
{
        struct os_usage usage;
        unsigned char there = 7;
        void *page = NULL;

        (void)unused;
        answer_value(ANSWER_MADVISE, -1, 1, 0);
        os_start();
        child_must_int((int)answers.given, 1);
        child_must_int(os_map(&page, PAGE), 0);
        *(volatile unsigned char *)page = 1;
        child_must_int(os_guard(page, PAGE), -EINVAL);
        child_must_int(os_wipe_on_fork(page, PAGE), -EINVAL);
        child_must_int(os_populate(page, PAGE, OS_WRITE), -EINVAL);
        child_must_int(os_present(page, 1, &there), -ENOSYS);
        child_must_int(os_usage(page, PAGE, &usage), -ENOSYS);
        child_must(usage.resident == OS_UNKNOWN && usage.locked == OS_UNKNOWN);
        child_must_int(*(volatile unsigned char *)page, 1);
        /* Memory is given back all the same: who frees it could not wait. */
        child_must_int(os_discard(page, PAGE), 0);
        child_must_int(*(volatile unsigned char *)page, 0);
}

DEFINE_TEST("processes", advice_that_is_never_refused)
{
        child_passes(start_where_all_is_taken, NULL);
}

/* Of the calls from a fence on: which are refused, and whether it is relied on then. */
static const struct {
        unsigned after, times;
        bool asymmetric;
} fences[] = {
        { 0, 0, true },
        { 0, 1, true },              /* it was forgotten, and registers again */
        { 0, ANSWER_ALWAYS, false }, /* registering, too */
        { 0, 2, false },             /* registering alone */
        { 1, ANSWER_ALWAYS, true },  /* never asked a second time */
};

static void fence_where_it_is_refused(void *argument)
{
        const size_t i = *(const size_t *)argument;

        answer_with(.call = ANSWER_SYSCALL, .argument = SYS_membarrier, .after = fences[i].after,
                    .times = fences[i].times, .error = EPERM);
        errno = 77;
        os_fence_heavy();
        child_must_int(errno, 77);
        child_must(os_fence_asymmetric == fences[i].asymmetric);
        os_fence_heavy();
        /* What is not relied on is not asked for. */
        child_must(fences[i].asymmetric || answers.given <= 2);
}

/* It registers, and then it is refused. */
static void fence_refused_once_registered(void *argument)
{
        (void)argument;
        answer_error(ANSWER_SYSCALL, SYS_membarrier, 1, EPERM);
        answer_value(ANSWER_SYSCALL, SYS_membarrier, 1, 0);
        answer_error(ANSWER_SYSCALL, SYS_membarrier, 1, EPERM);
        os_fence_heavy();
        child_must(!os_fence_asymmetric);
        child_must_int((int)answers.given, 3);
}

DEFINE_TEST("processes", fences_that_are_refused)
{
        if (!os_fence_asymmetric) {
                skip_part(__func__, "there is no membarrier");
                return;
        }
        for (size_t i = 0; i < COUNT_OF(fences); i++)
                child_passes(fence_where_it_is_refused, &i);
        child_passes(fence_refused_once_registered, NULL);
}

DEFINE_TEST("processes", random_bytes_of_a_file)
{
        static const struct {
                enum answer_call call;
                int error, rc;
                long value;
        } cases[] = {
                { ANSWER_OPEN, EMFILE, -EMFILE, 0 }, { ANSWER_READ, EIO, -EIO, 0 }, { ANSWER_READ, EISDIR, -EISDIR, 0 },
                { ANSWER_READ, 0, -EIO, 0 },         { ANSWER_READ, 0, -EIO, 31 },
        };
        unsigned char bytes[32] = { 0 };
        struct footprint before = footprint();

        answer_error(ANSWER_GETRANDOM, ANSWER_ANY, ANSWER_ALWAYS, ENOSYS);
        ck_assert_int_eq(os_random(bytes, sizeof(bytes)), 0);
        ck_assert(!is_all(bytes, 0, sizeof(bytes)));
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                answers_end();
                answer_error(ANSWER_GETRANDOM, ANSWER_ANY, ANSWER_ALWAYS, ENOSYS);
                answer_with(.call = cases[i].call, .argument = ANSWER_ANY, .times = 1, .error = cases[i].error,
                            .value = cases[i].value);
                ck_assert_int_eq(os_random(bytes, sizeof(bytes)), cases[i].rc);
                ck_assert_uint_eq(answers.given, 2);
        }
        ck_assert_footprint(before);
}

/* In a forked child, which has not asked yet. */
static void name_without_proc(void *unused)
{
        int space = os_memory("answers", 1), self = os_memory("answers", 1);
        struct stat st;

        (void)unused;
        child_must_int(fstat(space, &st), 0);
        answer_error(ANSWER_STAT, ANSWER_ANY, ANSWER_ALWAYS, ENOENT);
        answer_value(ANSWER_SYSCALL, SYS_pidfd_open, 1, self);
        answer_value(ANSWER_IOCTL, ANSWER_ANY, 1, space);
        answer_error(ANSWER_FSTAT, space, 1, ENOMEM);
        child_must(os_pid_space() == 0);
        child_must(!is_open(space) && !is_open(self));
        answers_end();

        space = os_memory("answers", 1);
        self = os_memory("answers", 1);
        child_must_int(fstat(space, &st), 0);
        answer_error(ANSWER_STAT, ANSWER_ANY, ANSWER_ALWAYS, ENOENT);
        answer_value(ANSWER_SYSCALL, SYS_pidfd_open, 1, self);
        answer_value(ANSWER_IOCTL, ANSWER_ANY, 1, space);
        child_must(os_pid_space() == st.st_ino);
        child_must(!is_open(space) && !is_open(self));
}

DEFINE_TEST("processes", a_namespace_without_proc)
{
        child_passes(name_without_proc, NULL);
}

/* --- Whether another process lives, by /proc ------------------------------------------ */

static char stat_path[32];

static void made_up_stat(int32_t pid, const char *text)
{
        answers_end();
        snprintf(stat_path, sizeof(stat_path), "/proc/%d/stat", (int)pid);
        answers.path = stat_path;
        answers.text = text;
        answer_error(ANSWER_SYSCALL, SYS_pidfd_open, ANSWER_ALWAYS, ENOSYS);
}

/* Fields up to the time at which it started. */
#define STAT(state, threads, start)                                                                                    \
        "1 (a) b) c) " state " 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 " threads " 0 " start " 9 9\n"

DEFINE_TEST("peers", what_proc_may_say)
{
        static const struct {
                const char *text;
                uint64_t start;
        } begins[] = {
                { STAT("S", "1", "77"), 77 },
                { "", 0 },
                { "1 (a", 0 },
                { "1 (a)", 0 },
                { "1 (a)S 1", 0 },
                { "1 (a) ", 0 },
                { "1 (a) S 1 2 3", 0 },
        };
        static const struct {
                const char *text;
                bool ended;
        } ends[] = {
                { STAT("S", "1", "77"), false }, { STAT("R", "4", "77"), false }, { STAT("S", "1", "78"), true },
                { STAT("Z", "1", "77"), true },  { STAT("Z", "2", "77"), false }, { STAT("X", "1", "77"), true },
                { STAT("X", "0", "77"), true },  { STAT("X", "2", "77"), false }, { "1 (a) Z", false },
        };
        const int32_t pid = getpid();
        struct os_peer peer;

        for (size_t i = 0; i < COUNT_OF(begins); i++) {
                made_up_stat(pid, begins[i].text);
                ck_assert_int_eq(os_peer_begin(&peer, pid), 0);
                ck_assert_int_lt(peer.fd, 0);
                ck_assert_uint_eq(peer.start, begins[i].start);
                /* What it does not tell is no death, and no other process. */
                ck_assert(!os_peer_ended(&peer));
                os_peer_end(&peer);
        }
        made_up_stat(pid, STAT("S", "1", "77"));
        ck_assert_int_eq(os_peer_begin(&peer, pid), 0);
        for (size_t i = 0; i < COUNT_OF(ends); i++) {
                made_up_stat(pid, ends[i].text);
                ck_assert(os_peer_ended(&peer) == ends[i].ended);
        }
        os_peer_end(&peer);
        /* When it started is not known: it cannot be another's number. */
        made_up_stat(pid, "");
        ck_assert_int_eq(os_peer_begin(&peer, pid), 0);
        made_up_stat(pid, STAT("S", "1", "78"));
        ck_assert(!os_peer_ended(&peer));
        made_up_stat(pid, STAT("Z", "1", "78"));
        ck_assert(os_peer_ended(&peer));
        os_peer_end(&peer);
}

DEFINE_TEST("peers", no_such_process)
{
        struct os_peer peer;
        pid_t child;

        answer_error(ANSWER_SYSCALL, SYS_pidfd_open, ANSWER_ALWAYS, ENOSYS);
        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                for (;;)
                        pause();
        ck_assert_int_eq(os_peer_begin(&peer, child), 0);
        ck_assert(!os_peer_ended(&peer));
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        ck_assert(os_peer_ended(&peer));
        os_peer_end(&peer);
        ck_assert_int_eq(os_peer_begin(&peer, child), -ESRCH);
}

/* A process of another user's may not be asked: it lives, then. */
DEFINE_TEST("peers", that_may_not_be_asked)
{
        static const int errors[] = { EPERM, EINVAL };
        const int32_t pid = getpid();
        struct os_peer peer;

        for (size_t i = 0; i < COUNT_OF(errors); i++) {
                made_up_stat(pid, STAT("S", "1", "77"));
                answer_error(ANSWER_KILL, pid, ANSWER_ALWAYS, errors[i]);
                ck_assert_int_eq(os_peer_begin(&peer, pid), 0);
                ck_assert_uint_eq(peer.start, 77);
                ck_assert(!os_peer_ended(&peer));
                ck_assert_uint_eq(answers.given, 3);
                /* Where /proc shows nothing of it either. */
                answers.text = "";
                ck_assert(!os_peer_ended(&peer));
                answers_end();
        }
}

/* The number that a descriptor has must not be a standard stream's. */
static void begin_without_streams(void *unused)
{
        struct os_peer peer;

        (void)unused;
        close(0);
        child_must_int(os_peer_begin(&peer, getpid()), 0);
        child_must(!is_open(0));
        child_must(peer.fd < 0 || peer.fd >= OS_FD_MIN);
        child_must(!os_peer_ended(&peer));
        os_peer_end(&peer);
        /* What others have closed, or there is none, tells nothing. */
        peer.fd = 0;
        child_must(!os_peer_ended(&peer));
}

DEFINE_TEST("peers", no_standard_streams)
{
        child_passes(begin_without_streams, NULL);
}

/* --- Memory -------------------------------------------------------------------------- */

DEFINE_TEST("memory", names)
{
        void *page = NULL;

        ck_assert_int_eq(os_map(&page, PAGE), 0);
        answer_value(ANSWER_PRCTL, PR_SET_VMA, 1, 0);
        answer_error(ANSWER_PRCTL, PR_SET_VMA, 1, EINVAL);
        ck_assert_int_eq(os_name(page, PAGE, "name"), 0);
        ck_assert_int_eq(os_name(page, PAGE, "name"), -EINVAL);
        ck_assert_uint_eq(answers.given, 2);
        ck_assert_int_eq(os_unmap(page, PAGE), 0);
        ck_assert_int_eq(os_resident(page, PAGE, (unsigned char[1]){ 0 }), -ENOMEM);
}

/* A file whose every page has its number, and room for it. */
static int numbered_file(size_t pages, unsigned char **room)
{
        int fd = new_memory(pages * PAGE);

        for (size_t i = 0; i < pages; i++)
                ck_assert_int_eq(os_write_at(fd, i * PAGE, &i, sizeof(i)), 0);
        ck_assert_int_eq(os_map((void **)room, pages * PAGE), 0);
        memset(*room, 0xee, pages * PAGE);
        return fd;
}

static bool is_numbered(const unsigned char *room, size_t pages)
{
        for (size_t i = 0; i < pages; i++)
                if (memcmp(room + i * PAGE, &i, sizeof(i)) != 0)
                        return false;
        return true;
}

/* Without room for twice as much a file is mapped in smaller pieces: halves, and what is left. */
DEFINE_TEST("memory", a_file_in_pieces)
{
        enum { PAGES = 1201 };
        static const int errors[] = { ENOMEM, EAGAIN };
        unsigned char *room = NULL;
        int fd;

        for (size_t e = 0; e < COUNT_OF(errors); e++)
                for (unsigned times = 1; times < 4; times++) {
                        fd = numbered_file(PAGES, &room);
                        answer_error(ANSWER_MMAP, fd, times, errors[e]);
                        if (times < 3) {
                                ck_assert_int_eq(os_map_file(room, PAGES * PAGE, fd, 0, OS_READ), 0);
                                ck_assert(is_numbered(room, PAGES));
                        } else {
                                answer_error(ANSWER_MMAP, fd, ANSWER_ALWAYS, errors[e]);
                                ck_assert_int_eq(os_map_file(room, PAGES * PAGE, fd, 0, OS_READ), -errors[e]);
                                ck_assert(is_all(room, 0xee, PAGES * PAGE));
                        }
                        ck_assert_uint_ge(answers.given, times);
                        answers_end();
                        ck_assert_int_eq(os_unmap(room, PAGES * PAGE), 0);
                        os_close(fd);
                }
}

/* Nothing can be moved (valgrind): it is mapped at once, or refused. */
DEFINE_TEST("memory", a_file_where_nothing_moves)
{
        unsigned char *room = NULL;
        int fd = numbered_file(3, &room);

        answer_error(ANSWER_MREMAP, ANSWER_ANY, ANSWER_ALWAYS, ENOSYS);
        answer_with(.call = ANSWER_MMAP, .argument = fd, .after = 1, .times = 1, .error = ENOMEM);
        ck_assert_int_eq(os_map_file(room, PAGE, fd, 0, OS_READ), -ENOMEM);
        ck_assert_int_eq(os_map_file(room, 3 * PAGE, fd, 0, OS_READ), 0);
        ck_assert(is_numbered(room, 3));
        ck_assert_int_eq(os_unmap(room, 3 * PAGE), 0);
        os_close(fd);
}

/* By a filter of system calls, say: the signal would kill. */
static void take_signal_that_is_interrupted(void *argument)
{
        const struct rlimit limit = { 8192, 8192 };
        const int fd = *(const int *)argument;
        sigset_t pending;

        child_must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        answer_error(ANSWER_SIGTIMEDWAIT, ANSWER_ANY, 2, EINTR);
        child_must_int(os_resize_file(fd, 8193), -EFBIG);
        child_must_int((int)answers.given, 2);
        sigpending(&pending);
        child_must(!sigismember(&pending, SIGXFSZ));
}

DEFINE_TEST("memory", an_interrupted_end_of_a_limit)
{
        int fd = new_memory(8192);

        child_passes(take_signal_that_is_interrupted, &fd);
        os_close(fd);
}

DEFINE_TEST("memory", an_interrupted_sync)
{
        unsigned char *room = NULL;
        int fd = numbered_file(2, &room);

        ck_assert_int_eq(os_map_file(room, 2 * PAGE, fd, 0, OS_WRITE), 0);
        answer_error(ANSWER_MSYNC, ANSWER_ANY, 3, EINTR);
        ck_assert_int_eq(os_sync(fd, room, 2 * PAGE), 0);
        ck_assert_uint_eq(answers.given, 3);
        answer_error(ANSWER_MSYNC, ANSWER_ANY, 1, EIO);
        ck_assert_int_eq(os_sync(fd, room, 2 * PAGE), -EIO);
        ck_assert_int_eq(os_unmap(room, 2 * PAGE), 0);
        os_close(fd);
}

/* Copies go through a pipe where the kernel's call is refused. */
DEFINE_TEST("memory", copies_by_pipe)
{
        static const struct {
                enum answer_call call;
                int error;
                long value;
                int rc;
        } cases[] = {
                { ANSWER_PIPE2, EMFILE, 0, -EMFILE }, { ANSWER_WRITE, EINTR, 0, 0 },
                { ANSWER_READ, EINTR, 0, 0 },         { ANSWER_WRITE, EFAULT, 0, -EFAULT },
                { ANSWER_READ, EIO, 0, -EIO },        { ANSWER_WRITE, 0, 5, -EFAULT },
                { ANSWER_READ, 0, 7, -EFAULT },       { ANSWER_WRITE, ENOMEM, 0, -ENOMEM },
        };
        unsigned char from[9000], to[9000];
        struct footprint before = footprint();

        for (size_t i = 0; i < sizeof(from); i++)
                from[i] = pattern_byte(i);
        for (size_t i = 0; i < COUNT_OF(cases); i++)
                for (int poke = 0; poke < 2; poke++) {
                        size_t done = 1;

                        memset(to, 0, sizeof(to));
                        answer_error(ANSWER_VM_COPY, ANSWER_ANY, 1, ENOSYS);
                        /* Of the second piece. */
                        answer_with(.call = cases[i].call, .argument = ANSWER_ANY,
                                    .after = cases[i].call != ANSWER_PIPE2, .times = 1, .error = cases[i].error,
                                    .value = cases[i].value);
                        ck_assert_int_eq(poke ? os_poke(to, from, sizeof(to), &done) : os_peek(to, from, sizeof(to)),
                                         cases[i].rc);
                        ck_assert_uint_eq(answers.given, 2);
                        answers_end();
                        if (cases[i].rc == 0)
                                ck_assert(memcmp(to, from, sizeof(to)) == 0);
                        if (poke && cases[i].rc == 0)
                                ck_assert_uint_eq(done, sizeof(to));
                        else if (poke)
                                ck_assert_uint_eq(done, cases[i].call == ANSWER_PIPE2 ? 0
                                                        : cases[i].call == ANSWER_READ
                                                                ? PIPE_BUF + (size_t)cases[i].value
                                                                : PIPE_BUF);
                }
        ck_assert_footprint(before);
}

/* Nothing done, and nothing said. */
DEFINE_TEST("memory", copies_of_nothing)
{
        unsigned char from[8] = "1234567", to[8] = "";
        size_t done = 1;

        answer_value(ANSWER_VM_COPY, ANSWER_ANY, 2, 0);
        ck_assert_int_eq(os_peek(to, from, sizeof(to)), -EFAULT);
        ck_assert_int_eq(os_poke(to, from, sizeof(to), &done), -EFAULT);
        ck_assert_uint_eq(done, 0);
        ck_assert_uint_eq(answers.given, 2);
        ck_assert_int_eq(os_peek(to, from, sizeof(to)), 0);
        ck_assert_str_eq((char *)to, "1234567");
}

/* --- Descriptors ----------------------------------------------------------------------- */

/* All that there may be are in use but a standard stream's. */
static void open_the_last(void *unused)
{
        struct rlimit limit = { 64, 64 };

        (void)unused;
        child_must_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (int fd = OS_FD_MIN; fd < 64; fd++)
                child_must_int(dup2(1, fd), fd);
        close(0);
        child_must_int(os_memory("last", 1), -EMFILE);
        child_must(!is_open(0));
        child_must_int(os_open("/dev/null", false, false), -EMFILE);
        child_must(!is_open(0));
        close(63);
        child_must_int(os_memory("last", 1), 63);
        child_must(!is_open(0));
}

DEFINE_TEST("descriptors", none_left_but_a_stream)
{
        child_passes(open_the_last, NULL);
}

/* No file takes nothing without saying why; if one did, it is not asked for ever. */
DEFINE_TEST("descriptors", a_write_of_nothing)
{
        int fd = new_memory(10);

        answer_value(ANSWER_PWRITE, fd, 1, 3);
        answer_value(ANSWER_PWRITE, fd, 1, 0);
        ck_assert_int_eq(os_write_at(fd, 0, "abcdef", 6), -EIO);
        ck_assert_uint_eq(answers.given, 2);
        ck_assert_int_eq(os_write_at(fd, 0, "abcdef", 6), 0);
        os_close(fd);
}

/* A lock that has no end is as long as what was asked about. */
DEFINE_TEST("descriptors", a_lock_without_an_end)
{
        struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 0 };
        struct os_locked locked = { .offset = 10, .end = 500 };
        int fd = new_memory(10), other = os_reopen(fd, true);

        ck_assert_int_ge(other, 0);
        ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &all), 0);
        ck_assert_int_eq(os_find_locked(fd, &locked), 1);
        ck_assert_uint_eq(locked.offset, 100);
        ck_assert_uint_eq(locked.end, 500);
        ck_assert(locked.write);
        os_close(other);
        os_close(fd);
}

static int no_descriptor;

/* Numbers beside a byte, of a type that is SCM_RIGHTS' number at another level. */
static void receive_numbers(void *what)
{
        struct msghdr *message = what;
        struct cmsghdr *header = CMSG_FIRSTHDR(message);

        header->cmsg_level = IPPROTO_IP;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(no_descriptor));
        memcpy(CMSG_DATA(header), &no_descriptor, sizeof(no_descriptor));
        message->msg_controllen = CMSG_SPACE(sizeof(no_descriptor));
        message->msg_flags = 0;
}

/* They are no descriptors, and nothing is closed. */
DEFINE_TEST("descriptors", numbers_that_are_none)
{
        no_descriptor = new_memory(1);
        answer_with(.call = ANSWER_RECVMSG, .argument = 99, .times = 1, .value = 1, .besides = receive_numbers);
        ck_assert_int_eq(os_receive(99), -EBADMSG);
        ck_assert_uint_eq(answers.given, 1);
        ck_assert(is_open(no_descriptor));
        os_close(no_descriptor);
}

/* --- The kernel's account ---------------------------------------------------------------- */

#define SMAPS "/proc/thread-self/smaps"
#define AT(address) ((const void *)(uintptr_t)(address))

/* The system is asked again where a line is none. */
DEFINE_TEST("accounts", lines_of_smaps)
{
        static const struct {
                const char *text;
                int rc;
                uint64_t resident, locked;
        } cases[] = {
                { "b0000000-b0010000 rw-p 00000000 00:00 0\nRss: 16 kB\nAnonHugePages: 0 kB\nVmFlags: rd wr lo nr\n", 0,
                  16384, 16384 },
                { "zz\n\nb0000000-b0010000 rw-p\nRss: 16 kB\n@\n[\nVmFlags: rd lo\n", 0, 16384, 0 },
                { "zz\nb0000000-b0010000 rw-p\nRss: 16 kB\nSwap: 0 kB\nVmFlags: rd\n", 0, 16384, 0 },
                { "b0000000\nRss: 16 kB\n", -EAGAIN, OS_UNKNOWN, OS_UNKNOWN },
                { "b0000000 b0010000\nRss: 16 kB\n", -EAGAIN, OS_UNKNOWN, OS_UNKNOWN },
                { "", -EAGAIN, OS_UNKNOWN, OS_UNKNOWN },
        };
        struct os_usage usage;

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                answers.path = SMAPS;
                answers.text = cases[i].text;
                ck_assert_int_eq(os_usage(AT(0xb0000000), 0x10000, &usage), cases[i].rc);
                ck_assert_uint_eq(usage.resident, cases[i].resident);
                ck_assert_uint_eq(usage.locked, cases[i].locked);
        }
}

/* 64 pages that are there. */
static void fill_entries(void *bytes)
{
        for (size_t i = 0; i < 64; i++)
                ((uint64_t *)bytes)[i] = UINT64_C(1) << 63;
}

/* Of a part of a mapping pagemap is asked, which may fail, here or there. */
DEFINE_TEST("accounts", parts_that_are_not_told)
{
        static const char text[] = "b0000000-b0100000 rw-p\nRss: 512 kB\nAnonHugePages: 0 kB\nVmFlags: rd\n"
                                   "b0100000-b0200000 rw-p\nRss: 512 kB\nAnonHugePages: 64 kB\nVmFlags: rd\n"
                                   "b0200000-b0300000 rw-p\nRss: 8 kB\nVmFlags: rd nr\n"
                                   "b0300000-b0400000 rw-p\nRss: 0 kB\nVmFlags: rd nr\n";
        static const struct {
                uintptr_t from, to;
                bool huge; /* known */
        } ranges[] = {
                { 0xb0000000, 0xb0050000, true },  { 0xb0000000, 0xb00b0000, true },  { 0xb0050000, 0xb00f0000, true },
                { 0xb0050000, 0xb0150000, false }, { 0xb0150000, 0xb0380000, false }, { 0xb0100000, 0xb01f0000, false },
        };
        static const struct {
                int error, rc;
        } failures[] = { { EIO, -EIO }, { 0, -ENOSYS } };

        for (size_t r = 0; r < COUNT_OF(ranges); r++)
                for (size_t f = 0; f < COUNT_OF(failures); f++) {
                        struct os_usage usage;

                        answers.path = SMAPS;
                        answers.text = text;
                        answer_error(ANSWER_IOCTL, ANSWER_ANY, ANSWER_ALWAYS, ENOTTY);
                        answer_with(.call = ANSWER_PREAD, .argument = ANSWER_ANY, .times = ANSWER_ALWAYS,
                                    .error = failures[f].error);
                        ck_assert_int_eq(os_usage(AT(ranges[r].from), ranges[r].to - ranges[r].from, &usage),
                                         failures[f].rc);
                        ck_assert_uint_eq(usage.resident, OS_UNKNOWN);
                        ck_assert((usage.huge == 0) == ranges[r].huge && (usage.huge == OS_UNKNOWN) != ranges[r].huge);
                        ck_assert_uint_eq(usage.locked, 0);
                        ck_assert_uint_eq(usage.unreserved, ranges[r].to == 0xb0380000 ? 0x180000 : 0);
                        answers_end();
                }
}

/* Half of a mapping has half its pages.  How many of them are in huge pages nobody knows, unless
 * none is, or all are. */
DEFINE_TEST("accounts", huge_pages_of_a_part)
{
        static const struct {
                const char *text;
                uint64_t huge;
        } cases[] = {
                { "b0000000-b0080000 rw-p\nRss: 512 kB\nAnonHugePages: 256 kB\nVmFlags: rd\n", OS_UNKNOWN },
                { "b0000000-b0080000 rw-p\nRss: 512 kB\nAnonHugePages: 512 kB\nVmFlags: rd\n", 0x40000 },
                { "b0000000-b0080000 rw-p\nRss: 512 kB\nShmemPmdMapped: 0 kB\nVmFlags: rd\n", 0 },
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                struct os_usage usage;

                answers.path = SMAPS;
                answers.text = cases[i].text;
                answer_error(ANSWER_IOCTL, ANSWER_ANY, ANSWER_ALWAYS, ENOTTY);
                answer_with(.call = ANSWER_PREAD, .argument = ANSWER_ANY, .times = 1, .value = 512,
                            .besides = fill_entries);
                ck_assert_int_eq(os_usage(AT(0xb0000000), 0x40000, &usage), 0);
                ck_assert_uint_eq(usage.resident, 0x40000);
                ck_assert_uint_eq(usage.huge, cases[i].huge);
                answers_end();
        }
}

/* A scan is interrupted, or comes to no end: the pages are asked one by one then. */
DEFINE_TEST("accounts", scans_that_do_not_end)
{
        unsigned char *page = NULL;
        struct os_usage usage;

        ck_assert_int_eq(os_map((void **)&page, 16 * PAGE), 0);
        os_advise(page, 16 * PAGE, OS_NOHUGEPAGE);
        for (size_t i = 0; i < 16; i += 2)
                page[i * PAGE] = 1;
        for (int way = 0; way < 3; way++) {
                if (way == 1)
                        answer_error(ANSWER_IOCTL, ANSWER_ANY, 3, EINTR);
                if (way == 2)
                        answer_value(ANSWER_IOCTL, ANSWER_ANY, ANSWER_ALWAYS, 0);
                ck_assert_int_eq(os_usage(page + 4 * PAGE, 6 * PAGE, &usage), 0);
                ck_assert_uint_eq(usage.resident, 3 * PAGE);
                ck_assert(way == 0 || answers.given > 0);
                answers_end();
        }
        ck_assert_int_eq(os_unmap(page, 16 * PAGE), 0);
}

int main(void)
{
        if (answers_are_given())
                return run_tests("answers", answers_case);
        printf("answers: the linker did not wrap the calls\n");
        return SKIPPED;
}
