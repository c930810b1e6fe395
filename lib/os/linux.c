/* linux.c - futexes, membarrier, advice on memory and the kernel's account of it
 *
 * SPDX-License-Identifier: MIT
 */
#include "os/os.h"

#include "os/calm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

int os_resident(void *address, size_t length, unsigned char *there)
{
        return mincore(address, length, there) < 0 ? -errno : 0;
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

/* --- The kernel's account of memory ---------------------------------------
 *
 * Of the calling thread: the thread that the process began with may have ended,
 * and its files (those of /proc/self) are empty then.  Whatever cannot be opened
 * or read leaves what it would have told unknown.
 */

#define SMAPS "/proc/thread-self/smaps"
#define PAGEMAP "/proc/thread-self/pagemap"

static int open_proc(const char *path)
{
        int fd;

        do
                fd = open(path, O_RDONLY | O_CLOEXEC);
        while (fd < 0 && errno == EINTR);
        if (fd < 0)
                return errno == ENOENT ? -ENOSYS : -errno;
        return fd;
}

/* --- pagemap: page by page --- */

static int read_entries(int fd, const void *address, size_t pages, uint64_t *entries)
{
        unsigned char *at = (unsigned char *)entries;
        size_t left = pages * sizeof *entries;
        off_t offset = (off_t)((uintptr_t)address / os_page_size() * sizeof *entries);

        while (left > 0) {
                ssize_t n = pread(fd, at, left, offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -ENOSYS;
                at += n;
                offset += n;
                left -= (size_t)n;
        }
        return 0;
}

#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
enum { ENTRIES = 64 };

/* Call each(index, entry, context) for pages of an open pagemap. */
static int each_entry(int fd, const void *address, size_t pages,
                      void (*each)(size_t page, uint64_t entry, void *context), void *context)
{
        uint64_t entries[ENTRIES] = { 0 };
        int rc = 0;

        for (size_t at = 0, count; at < pages && rc == 0; at += count) {
                count = pages - at < ENTRIES ? pages - at : ENTRIES;
                rc = read_entries(fd, (const unsigned char *)address + at * os_page_size(), count, entries);
                for (size_t i = 0; i < count && rc == 0; i++)
                        each(at + i, entries[i], context);
        }
        return rc;
}

static void note_present(size_t page, uint64_t entry, void *context)
{
        ((unsigned char *)context)[page] = (entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) != 0;
}

int os_present(const void *address, size_t pages, unsigned char *present)
{
        struct os_calm calm = os_calm_begin();
        int fd = open_proc(PAGEMAP), rc = fd;

        if (fd >= 0) {
                rc = each_entry(fd, address, pages, note_present, present);
                close(fd);
        }
        return os_calm_end(calm, rc);
}

/* What a range of one mapping holds, in bytes. */
struct holding {
        uint64_t present, huge;
};

static void count_present(size_t page, uint64_t entry, void *context)
{
        (void)page;
        *(uint64_t *)context += (entry & ENTRY_PRESENT) != 0;
}

/* Since Linux 6.7 the kernel goes over a range itself, and quickly over what is
 * not there.  (The structure of linux/fs.h.) */
struct scan_region {
        uint64_t start, end, categories;
};
struct scan {
        uint64_t size, flags, start, end, walk_end, regions, regions_length, max_pages;
        uint64_t inverted, all_of, any_of, returned;
};
#define SCAN _IOWR('f', 16, struct scan)
enum { SCAN_PRESENT = 8, SCAN_ZERO_PAGE = 32, SCAN_HUGE = 64, SCAN_REGIONS = 16 };

static int scan(int fd, uintptr_t start, uintptr_t end, struct holding *holding)
{
        struct scan_region region[SCAN_REGIONS];
        struct scan scan = { .size = sizeof scan,
                             .start = start,
                             .end = end,
                             .regions = (uintptr_t)region,
                             .regions_length = SCAN_REGIONS,
                             .inverted = SCAN_ZERO_PAGE,
                             .all_of = SCAN_PRESENT | SCAN_ZERO_PAGE,
                             .returned = SCAN_HUGE };

        while (scan.start < end) {
                int n = ioctl(fd, SCAN, &scan);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                for (int i = 0; i < n; i++) {
                        holding->present += region[i].end - region[i].start;
                        if (region[i].categories & SCAN_HUGE)
                                holding->huge += region[i].end - region[i].start;
                }
                if (scan.walk_end <= scan.start)
                        return -ENOSYS;
                scan.start = scan.walk_end;
        }
        return 0;
}

/* --- smaps: mapping by mapping --- */

struct mapping {
        uintptr_t start, end;
        uint64_t resident, huge; /* bytes */
        bool locked, unreserved;
};

struct account {
        uintptr_t start, end; /* what is asked about */
        struct mapping mapping;
        struct os_usage *usage;
        uint64_t covered; /* of it, in mappings */
        int unknown;      /* why pagemap told nothing; 0 */
};

static uint64_t at_most(uint64_t n, uint64_t limit)
{
        return n < limit ? n : limit;
}

/* Without a scan only the presence of pages is known: looked up in the smaller part,
 * inside the range or outside.  So many huge ones must be inside as do not fit in
 * outside; if that is not all that there can be it is not known. */
static int count(int fd, const struct mapping *m, uintptr_t start, uintptr_t end, struct holding *holding)
{
        const size_t page = os_page_size();
        uint64_t pages = 0, outside;
        int rc;

        if (end - start <= m->end - m->start - (end - start)) {
                /* The kernel's own address: NOLINTNEXTLINE(performance-no-int-to-ptr) */
                rc = each_entry(fd, (const void *)start, (end - start) / page, count_present, &pages);
                holding->present = at_most(pages * page, m->resident);
        } else {
                /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
                rc = each_entry(fd, (const void *)m->start, (start - m->start) / page, count_present, &pages);
                if (rc == 0)
                        /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
                        rc = each_entry(fd, (const void *)end, (m->end - end) / page, count_present, &pages);
                holding->present = m->resident - at_most(pages * page, m->resident);
        }
        outside = m->resident - holding->present;
        holding->huge = m->huge - at_most(outside, m->huge);
        if (holding->huge < at_most(m->huge, holding->present))
                holding->huge = OS_UNKNOWN;
        return rc;
}

/* What a range that is part of a mapping holds: the kernel joins neighbours that
 * are alike, and counts them together. */
static int look_inside(const struct mapping *m, uintptr_t start, uintptr_t end, struct holding *holding)
{
        int fd = open_proc(PAGEMAP), rc;

        if (fd < 0)
                return fd;
        rc = scan(fd, start, end, holding);
        if (rc < 0)
                rc = count(fd, m, start, end, holding);
        close(fd);
        return rc;
}

static void add(uint64_t *sum, uint64_t n)
{
        *sum = *sum == OS_UNKNOWN || n == OS_UNKNOWN ? OS_UNKNOWN : *sum + n;
}

/* Add what of a mapping lies in the range. */
static void add_mapping(struct account *account)
{
        const struct mapping *m = &account->mapping;
        bool whole = m->start >= account->start && m->end <= account->end;
        uintptr_t start = m->start > account->start ? m->start : account->start;
        uintptr_t end = m->end < account->end ? m->end : account->end;
        struct holding holding = { .present = 0 };
        int rc = 0;

        if (start >= end)
                return;
        if (whole)
                holding = (struct holding){ .present = m->resident, .huge = m->huge };
        else if (m->resident > 0)
                rc = look_inside(m, start, end, &holding);
        if (rc < 0) {
                account->unknown = rc;
                holding.present = OS_UNKNOWN;
                holding.huge = m->huge ? OS_UNKNOWN : 0;
        }
        account->covered += end - start;
        add(&account->usage->resident, holding.present);
        add(&account->usage->huge, holding.huge);
        add(&account->usage->locked, m->locked ? holding.present : 0);
        add(&account->usage->unreserved, m->unreserved ? end - start : 0);
}

static uint64_t kilobytes(const char *text)
{
        return strtoull(text, NULL, 10) * 1024;
}

/* A line of smaps, perhaps cut.  False: beyond the range. */
static bool take_line(struct account *account, const char *line)
{
        struct mapping *m = &account->mapping;
        char *next;

        if (*line >= 'A' && *line <= 'Z') {
                if (strncmp(line, "Rss:", 4) == 0)
                        m->resident = kilobytes(line + 4);
                else if (strncmp(line, "AnonHugePages:", 14) == 0 || strncmp(line, "FilePmdMapped:", 14) == 0)
                        m->huge += kilobytes(line + 14);
                else if (strncmp(line, "ShmemPmdMapped:", 15) == 0)
                        m->huge += kilobytes(line + 15);
                else if (strncmp(line, "VmFlags:", 8) == 0) {
                        m->locked = strstr(line, " lo") != NULL;
                        m->unreserved = strstr(line, " nr") != NULL;
                }
                return true;
        }
        add_mapping(account);
        memset(m, 0, sizeof *m);
        m->start = (uintptr_t)strtoull(line, &next, 16);
        if (*next == '-')
                m->end = (uintptr_t)strtoull(next + 1, NULL, 16);
        return m->start < account->end;
}

/* The text up to here in lines; of a long one the beginning. */
struct lines {
        char line[256];
        size_t length;
};

static bool take_text(struct account *account, struct lines *lines, const char *text, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (text[i] != '\n') {
                        if (lines->length < sizeof lines->line - 1)
                                lines->line[lines->length++] = text[i];
                        continue;
                }
                lines->line[lines->length] = '\0';
                lines->length = 0;
                if (!take_line(account, lines->line))
                        return false;
        }
        return true;
}

/* -EAGAIN: mappings came, went or were joined while they were read. */
static int take_account(struct account *account)
{
        struct lines lines = { .length = 0 };
        char text[512];
        ssize_t n;
        int rc = 0, fd = open_proc(SMAPS);

        if (fd < 0)
                return fd;
        do {
                n = read(fd, text, sizeof text);
                if (n < 0 && errno != EINTR)
                        rc = -errno;
        } while ((n < 0 && rc == 0) || (n > 0 && take_text(account, &lines, text, (size_t)n)));
        close(fd);
        add_mapping(account);
        return rc < 0 || account->covered == account->end - account->start ? rc : -EAGAIN;
}

int os_usage(const void *address, size_t length, struct os_usage *usage)
{
        enum { TRIES = 4 };
        struct os_calm calm = os_calm_begin();
        int rc = -EAGAIN;

        for (unsigned i = 0; i < TRIES && rc == -EAGAIN; i++) {
                struct account account = { .start = (uintptr_t)address,
                                           .end = (uintptr_t)address + length,
                                           .usage = usage };

                memset(usage, 0, sizeof *usage);
                rc = take_account(&account);
                if (rc == 0)
                        rc = account.unknown;
                else
                        *usage = (struct os_usage){ OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN };
        }
        return os_calm_end(calm, rc);
}
