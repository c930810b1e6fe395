/* linux.c - threads and processes: futexes, fences, forks and who is who
 *
 * SPDX-License-Identifier: MIT
 */
#define _FILE_OFFSET_BITS 64

#include "os/os.h"

#include "os/calm.h"
#include "os/linux-abi.h"
#include "os/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a libc's headers may be too old for. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xFF, 5)
#endif

_Atomic bool os_fence_asymmetric;

bool os_advice_ignored;

/* A page that a fork sets to zero: 1 in the process that wrote it.  Where the
 * kernel cannot (before Linux 4.14), or advice is not followed, the process ID is compared instead. */
static _Atomic uint32_t no_fork_word;
_Atomic uint32_t *os_fork_word = &no_fork_word;
static pid_t fork_pid;
_Atomic uint32_t os_forks;

/* In that page: the name of the PID namespace, as far as this process has asked, and 0 in a
 * child, which may be in another one; NULL: there is no such page, and it is asked each time. */
static _Atomic uint64_t *pid_space_known;

/* Nobody relies on membarrier any more.  True later than os_fence_asymmetric is
 * false: in between, those who saw it true are still to be fenced. */
static _Atomic bool fence_settled = true;

/* The page that fence_by_shootdown gives back. */
static void *fence_page;

static int membarrier(int command)
{
        return (int)syscall(SYS_membarrier, command, 0, 0);
}

void os_start(void)
{
        void *page = NULL;
        size_t size = os_page_size();

        if (os_map(&page, size) == 0) {
                os_advice_ignored = madvise(page, size, -1) == 0;
                if (!os_advice_ignored && madvise(page, size, MADV_WIPEONFORK) == 0)
                        os_fork_word = page, pid_space_known = (void *)((unsigned char *)page + size / 2);
                else
                        os_unmap(page, size);
        }
        os_forked_reset();

#ifndef OS_TSAN
        /* The page comes first: a fence that fails later needs it. */
        if (os_map(&fence_page, size) == 0 && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
                atomic_store(&fence_settled, false);
                atomic_store(&os_fence_asymmetric, true);
        }
#endif
}

/* Membarrier, once granted, is refused (a seccomp filter came later): stop
 * relying on it, and fence those who still do.  Giving a touched page back makes
 * the kernel interrupt every processor that runs a thread of ours where the
 * hardware has no broadcast for it; where it has one, a nap longer than any
 * store buffer holds a store drains them. */
static void fence_by_shootdown(void)
{
        _Atomic uint32_t nobody = 0;
        int64_t rested;

        atomic_store(&os_fence_asymmetric, false);
        atomic_fetch_add((_Atomic uint32_t *)fence_page, 1);
        madvise(fence_page, os_page_size(), MADV_DONTNEED);
        for (rested = os_now() + 20000000; os_now() < rested;)
                os_wait(&nobody, 0, rested);
        atomic_store(&fence_settled, true);
}

void os_fence_heavy(void)
{
        int saved = errno;

        os_fence_full();
        if (!atomic_load_explicit(&fence_settled, memory_order_relaxed) &&
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) < 0 &&
            (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0 ||
             membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) < 0))
                fence_by_shootdown();
        os_fence_full();
        errno = saved;
}

/* The kernel's own type for a futex deadline: 64-bit seconds where the call of
 * that name is there, long where only the old one is. */
#if defined(SYS_futex_time64) && !defined(SYS_futex)
#define FUTEX_CALL SYS_futex_time64
#else
#define FUTEX_CALL SYS_futex
#endif

struct futex_time {
#if defined(SYS_futex_time64) && !defined(SYS_futex)
        int64_t seconds;
        int64_t nanoseconds;
#else
        long seconds;
        long nanoseconds;
#endif
};

/* Private to the process or not, by what the futex call takes for each. */
static int wait_on(const _Atomic uint32_t *word, int operation, uint32_t expected, int64_t deadline)
{
        struct futex_time until, *wait = NULL;
        int saved = errno, rc = 0;

        if (deadline != OS_NEVER) {
                int64_t seconds = deadline / 1000000000;
                /* 32-bit long ends after 68 years of uptime: for ever. */
                if (sizeof until.seconds > 4 || seconds <= INT32_MAX) {
                        until.seconds = (__typeof__(until.seconds))seconds;
                        until.nanoseconds = (__typeof__(until.nanoseconds))(deadline % 1000000000);
                        wait = &until;
                }
        }
        do
                errno = 0;
        while (syscall(FUTEX_CALL, word, operation, expected, wait, NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
               errno == EINTR);
        if (errno == ETIMEDOUT)
                rc = -ETIMEDOUT;
        errno = saved;
        return rc;
}

static int wake_on(const _Atomic uint32_t *word, int operation, int count)
{
        int saved = errno;
        long woken = syscall(FUTEX_CALL, word, operation, count, NULL, NULL, 0);

        errno = saved;
        return woken < 0 ? 0 : (int)woken;
}

int os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return wait_on(word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline);
}

int os_wake(const _Atomic uint32_t *word, int count)
{
        return wake_on(word, FUTEX_WAKE_PRIVATE, count);
}

int os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return wait_on(word, FUTEX_WAIT_BITSET, expected, deadline);
}

int os_wake_shared(const _Atomic uint32_t *word, int count)
{
        return wake_on(word, FUTEX_WAKE, count);
}

bool os_forked(void)
{
        return os_maybe_forked() && (os_fork_word != &no_fork_word || fork_pid != getpid());
}

void os_forked_reset(void)
{
        atomic_fetch_add_explicit(&os_forks, 1, memory_order_relaxed);
        if (os_fork_word != &no_fork_word)
                atomic_store_explicit(os_fork_word, 1, memory_order_relaxed);
        else
                fork_pid = getpid();
}

/* --- Who is who --- */

/* 32 digits and 4 dashes. */
static bool parse_boot(const char *text, unsigned char boot[16])
{
        for (size_t digits = 0; digits < 32; text++) {
                static const char hex[] = "0123456789abcdef";
                const char *digit;

                if (*text == '-')
                        continue;
                digit = *text ? strchr(hex, *text) : NULL;
                if (!digit)
                        return false;
                boot[digits / 2] = (unsigned char)(boot[digits / 2] << 4 | (digit - hex));
                digits++;
        }
        return true;
}

/* The file is for kernels and filters that do not know the call. */
int os_random(void *bytes, size_t length)
{
        struct os_calm calm = os_calm_begin();
        ssize_t n = getrandom(bytes, length, 0);
        int fd, rc;

        if (n == (ssize_t)length)
                return os_calm_end(calm, 0);
        if ((fd = os_open("/dev/urandom", false, false)) < 0)
                return os_calm_end(calm, fd);
        n = read(fd, bytes, length);
        rc = n == (ssize_t)length ? 0 : n < 0 ? -errno : -EIO;
        close(fd);
        return os_calm_end(calm, rc);
}

/* False: it cannot be had now. */
static bool ask_boot(unsigned char boot[16])
{
        struct os_calm calm = os_calm_begin();
        char text[64] = "";
        int fd = os_open("/proc/sys/kernel/random/boot_id", false, false);

        if (fd >= 0) {
                os_read_at(fd, 0, text, 36);
                close(fd);
        }
        os_calm_end(calm, 0);
        return parse_boot(text, boot);
}

/* Asked once: it outlives the process.  Relaxed: known is released when its bytes are there,
 * and whoever stores them stores the same. */
void os_boot(unsigned char boot[16])
{
        static _Atomic unsigned char bytes[16];
        static _Atomic bool known;

        if (!atomic_load_explicit(&known, memory_order_acquire)) {
                if (!ask_boot(boot)) {
                        memset(boot, 0, 16);
                        return;
                }
                for (size_t i = 0; i < 16; i++)
                        atomic_store_explicit(&bytes[i], boot[i], memory_order_relaxed);
                atomic_store_explicit(&known, true, memory_order_release);
        }
        for (size_t i = 0; i < 16; i++)
                boot[i] = atomic_load_explicit(&bytes[i], memory_order_relaxed);
}

/* Linux 6.11 tells without /proc. */
static uint64_t ask_pid_space(void)
{
        int self = (int)syscall(SYS_pidfd_open, (pid_t)os_thread(), PIDFD_THREAD);
        int space = self < 0 ? -1 : ioctl(self, PIDFD_GET_PID_NAMESPACE, 0);
        struct stat st;
        uint64_t name = space < 0 || fstat(space, &st) < 0 ? 0 : st.st_ino;

        if (space >= 0)
                close(space);
        if (self >= 0)
                close(self);
        return name;
}

/* A process stays in its own for as long as it lives; where its children go is another's name. */
uint64_t os_pid_space(void)
{
        uint64_t name = pid_space_known ? atomic_load_explicit(pid_space_known, memory_order_relaxed) : 0;
        struct os_calm calm;
        struct stat st;

        if (name)
                return name;
        calm = os_calm_begin();
        name = stat("/proc/thread-self/ns/pid", &st) < 0 ? ask_pid_space() : st.st_ino;
        if (pid_space_known)
                atomic_store_explicit(pid_space_known, name, memory_order_relaxed);
        os_calm_end(calm, 0);
        return name;
}

bool os_parent_is_near(void)
{
        return getppid() != 0;
}

uint32_t os_process(void)
{
        return (uint32_t)getpid();
}

uint32_t os_thread(void)
{
        return (uint32_t)syscall(SYS_gettid);
}

/* EINVAL: no thread is ever named so. */
bool os_thread_gone(uint32_t process, uint32_t thread)
{
        struct os_calm calm = os_calm_begin();
        bool gone = syscall(SYS_tgkill, (pid_t)process, (pid_t)thread, 0) < 0 && (errno == ESRCH || errno == EINVAL);

        os_calm_end(calm, 0);
        return gone;
}

/* --- Whether another process lives --- */

/* What /proc says of it: the state's letter, how many threads it has, and when it started.
 * False: nothing. */
static bool read_stat(int32_t pid, char *state, unsigned long *threads, uint64_t *start)
{
        enum { THREADS = 20, START = 22 }; /* fields, the state being the third */
        char path[32], text[1024], *at;
        ssize_t length;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
                return false;
        length = read(fd, text, sizeof text - 1);
        close(fd);
        text[length > 0 ? length : 0] = '\0';
        at = strrchr(text, ')'); /* the name before it may hold anything */
        if (!at || at[1] != ' ' || !at[2])
                return false;
        *state = at[2];
        *threads = 0;
        at += 2;
        for (int field = 4; field <= START; field++) {
                if (!(at = strchr(at + 1, ' ')))
                        return false;
                if (field == THREADS)
                        *threads = strtoul(at, NULL, 10);
        }
        *start = strtoull(at, NULL, 10);
        return true;
}

/* Its parent may not yet have waited for it.  Of a process whose first thread has ended the
 * state is the same. */
static bool has_ended(const struct os_peer *peer)
{
        unsigned long threads;
        uint64_t start;
        char state;

        if (kill(peer->pid, 0) < 0 && errno == ESRCH)
                return true;
        if (!read_stat(peer->pid, &state, &threads, &start))
                return false;
        return (peer->start && start != peer->start) || ((state == 'Z' || state == 'X') && threads <= 1);
}

int os_peer_begin(struct os_peer *peer, int32_t pid)
{
        struct os_calm calm = os_calm_begin();
        unsigned long threads;
        char state;

        *peer = (struct os_peer){ .pid = pid, .fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) };
        if (peer->fd < 0 && errno == ESRCH)
                return os_calm_end(calm, -ESRCH);
        if (peer->fd >= 0 && peer->fd < OS_FD_MIN) {
                int fd = os_dup(peer->fd);

                close(peer->fd);
                peer->fd = fd < 0 ? -1 : fd;
        }
        if (peer->fd < 0) {
                peer->fd = -1;
                if (kill(pid, 0) < 0 && errno == ESRCH)
                        return os_calm_end(calm, -ESRCH);
                if (!read_stat(pid, &state, &threads, &peer->start))
                        peer->start = 0;
        }
        return os_calm_end(calm, 0);
}

bool os_peer_ended(const struct os_peer *peer)
{
        struct os_calm calm = os_calm_begin();
        struct pollfd ended = { .fd = peer->fd, .events = POLLIN };
        bool has = peer->fd < 0 ? has_ended(peer) : poll(&ended, 1, 0) > 0 && (ended.revents & POLLIN);

        os_calm_end(calm, 0);
        return has;
}

void os_peer_end(const struct os_peer *peer)
{
        struct os_calm calm = os_calm_begin();

        if (peer->fd >= 0)
                close(peer->fd);
        os_calm_end(calm, 0);
}
