/* linux.c - futexes, membarrier and advice on memory
 *
 * SPDX-License-Identifier: MIT
 */
#include "os/os.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a libc's headers may be too old for. */
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

_Atomic bool os_fence_asymmetric;

/* A page that a fork sets to zero: 1 in the process that wrote it.  Where the
 * kernel cannot (before Linux 4.14), or what claims to be one takes any advice
 * and follows none (qemu-user), the process ID is compared instead. */
_Atomic uint32_t *os_fork_word;
static pid_t fork_pid;

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
                if (madvise(page, size, MADV_WIPEONFORK) == 0 && madvise(page, size, -1) < 0)
                        os_fork_word = page;
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

int os_discard(void *address, size_t length)
{
        return madvise(address, length, MADV_DONTNEED) < 0 ? -errno : 0;
}

bool os_forked(void)
{
        if (os_fork_word)
                return atomic_load_explicit(os_fork_word, memory_order_relaxed) == 0;
        return fork_pid != getpid();
}

void os_forked_reset(void)
{
        if (os_fork_word)
                atomic_store_explicit(os_fork_word, 1, memory_order_relaxed);
        else
                fork_pid = getpid();
}

/* --- Advice on memory --- */

static int advise(void *address, size_t length, int advice)
{
        return madvise(address, length, advice) < 0 ? -errno : 0;
}

int os_name(void *address, size_t length, const char *name)
{
        return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, length, name) < 0 ? -errno : 0;
}

int os_guard(void *address, size_t length)
{
        return advise(address, length, MADV_GUARD_INSTALL);
}

int os_nodump(void *address, size_t length)
{
        return advise(address, length, MADV_DONTDUMP);
}

int os_omit_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_DONTFORK);
}

int os_keep_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_DOFORK);
}

int os_wipe_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_WIPEONFORK);
}

int os_populate(void *address, size_t length, enum os_access access)
{
        return advise(address, length, access == OS_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

int os_advise(void *address, size_t length, enum os_advice advice)
{
        static const int madv[] = {
                [OS_NORMAL] = MADV_NORMAL,
                [OS_RANDOM] = MADV_RANDOM,
                [OS_SEQUENTIAL] = MADV_SEQUENTIAL,
                [OS_WILLNEED] = MADV_WILLNEED,
                [OS_COLD] = MADV_COLD,
                [OS_PAGEOUT] = MADV_PAGEOUT,
                [OS_HUGEPAGE] = MADV_HUGEPAGE,
                [OS_NOHUGEPAGE] = MADV_NOHUGEPAGE,
        };

        return advise(address, length, madv[advice]);
}

/* A whole table of 8-byte entries, one page large, points to a huge page's worth. */
size_t os_huge_size(void)
{
        return os_page_size() / 8 * os_page_size();
}

int os_collapse(void *address, size_t length)
{
        return advise(address, length, MADV_COLLAPSE);
}
