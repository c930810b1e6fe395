/* linux-usage.c - the kernel's account of memory
 *
 * SPDX-License-Identifier: MIT
 *
 * smaps tells what each mapping holds.  The kernel joins neighbours that are alike into
 * one mapping, and a range may be a part of one: then pagemap is asked, page by page.
 *
 * Both are read as the calling thread's.  The files of the process, in /proc/self, are
 * those of the thread that it began with, and they are empty when that one has ended.
 * What cannot be opened or read leaves its part of the answer unknown.
 */
#include "os/os.h"

#include "os/calm.h"
#include "os/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMAPS "/proc/thread-self/smaps"
#define PAGEMAP "/proc/thread-self/pagemap"

static int open_proc(const char *path)
{
        int fd;

        /* What is emulated has not the addresses that the kernel knows it by. */
        if (os_advice_ignored)
                return -ENOSYS;
        do
                fd = open(path, O_RDONLY | O_CLOEXEC);
        while (fd < 0 && errno == EINTR);
        if (fd < 0)
                return errno == ENOENT ? -ENOSYS : -errno;
        return fd;
}

/* --- pagemap: page by page --- */

#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
enum { ENTRIES = 64 };

/* Call each(index, entry, context) for pages of an open pagemap. */
static int each_entry(int fd, uintptr_t start, size_t pages, void (*each)(size_t page, uint64_t entry, void *context),
                      void *context)
{
        uint64_t entries[ENTRIES] = { 0 };
        int rc = 0;

        for (size_t at = 0, count; at < pages && rc == 0; at += count) {
                count = pages - at < ENTRIES ? pages - at : ENTRIES;
                rc = os_read_at(fd, (start / os_page_size() + at) * sizeof entries[0], entries,
                                count * sizeof entries[0]);
                for (size_t i = 0; i < count && rc == 0; i++)
                        each(at + i, entries[i], context);
        }
        return rc == -ENODATA ? -ENOSYS : rc;
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
                rc = each_entry(fd, (uintptr_t)address, pages, note_present, present);
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
#ifdef __GLIBC__
#define SCAN _IOWR('f', 16, struct scan)
#else
#define SCAN ((int)_IOWR('f', 16, struct scan)) /* what ioctl takes by POSIX, and with musl */
#endif
enum { SCAN_PRESENT = 8, SCAN_ZERO_PAGE = 32, SCAN_HUGE = 64, SCAN_REGIONS = 16 };

static int scan(int fd, uintptr_t start, uintptr_t end, struct holding *holding)
{
        struct scan_region region[SCAN_REGIONS] = { 0 }; /* valgrind does not know that the kernel stores them */
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
                rc = each_entry(fd, start, (end - start) / page, count_present, &pages);
                holding->present = at_most(pages * page, m->resident);
        } else {
                rc = each_entry(fd, m->start, (start - m->start) / page, count_present, &pages);
                if (rc == 0)
                        rc = each_entry(fd, end, (m->end - end) / page, count_present, &pages);
                holding->present = m->resident - at_most(pages * page, m->resident);
        }
        outside = m->resident - holding->present;
        holding->huge = m->huge - at_most(outside, m->huge);
        if (holding->huge < at_most(m->huge, holding->present))
                holding->huge = OS_UNKNOWN;
        return rc;
}

/* What a range that is part of a mapping holds. */
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

int os_resident(void *address, size_t length, unsigned char *there)
{
        return mincore(address, length, there) < 0 ? -errno : 0;
}
