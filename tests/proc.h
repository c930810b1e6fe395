/* proc.h - what the kernel says of the process, and children to try things in
 *
 * SPDX-License-Identifier: MIT
 *
 * Read here anew, and not by the library's own means: what a property is worth
 * is what the kernel does, not what a call returned.
 */
#ifndef AMMAP_TESTS_PROC_H
#define AMMAP_TESTS_PROC_H

#include "support.h"

#include <dirent.h>

/* --- /proc/self/smaps --------------------------------------------------- */

struct vma {
        uintptr_t start, end;
        char access[5];
        char name[128];
        unsigned long resident, huge, pmd, locked; /* bytes; pmd: huge ones of files and shared memory */
        char flags[256];                           /* of two letters, " rd wr ..." */
};

/* The mapping that an address lies in.  False where there is none. */
static inline bool find_vma(const void *address, struct vma *vma)
{
        FILE *file = fopen("/proc/self/smaps", "re");
        char line[512], *next;
        bool found = false;

        ck_assert_ptr_nonnull(file);
        memset(vma, 0, sizeof(*vma));
        while (fgets(line, sizeof(line), file)) {
                if (line[0] >= 'A' && line[0] <= 'Z') {
                        unsigned long kb = strchr(line, ':') ? strtoul(strchr(line, ':') + 1, NULL, 10) : 0;

                        if (!found)
                                continue;
                        if (strncmp(line, "Rss:", 4) == 0)
                                vma->resident = kb * 1024;
                        if (strncmp(line, "AnonHugePages:", 14) == 0)
                                vma->huge = kb * 1024;
                        if (strncmp(line, "ShmemPmdMapped:", 15) == 0 || strncmp(line, "FilePmdMapped:", 14) == 0)
                                vma->pmd += kb * 1024;
                        if (strncmp(line, "Locked:", 7) == 0)
                                vma->locked = kb * 1024;
                        if (strncmp(line, "VmFlags:", 8) == 0)
                                snprintf(vma->flags, sizeof(vma->flags), "%.200s", line + 8);
                        continue;
                }
                if (found)
                        break;
                vma->start = (uintptr_t)strtoull(line, &next, 16);
                vma->end = (uintptr_t)strtoull(next + 1, &next, 16);
                found = (uintptr_t)address >= vma->start && (uintptr_t)address < vma->end;
                snprintf(vma->access, sizeof(vma->access), "%.4s", next + 1);
                snprintf(vma->name, sizeof(vma->name), "%.100s", strchr(line, '[') ? strchr(line, '[') : "");
        }
        fclose(file);
        return found;
}

static inline bool vma_has(const void *address, const char *flag)
{
        struct vma vma;

        return find_vma(address, &vma) && strstr(vma.flags, flag);
}

/* A number of /proc/self/status, in bytes. */
static inline unsigned long status_bytes(const char *key)
{
        FILE *file = fopen("/proc/self/status", "re");
        unsigned long kb = 0;
        char line[256];

        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, key, strlen(key)) == 0)
                        kb = strtoul(line + strlen(key) + 1, NULL, 10);
        fclose(file);
        return kb * 1024;
}

/* How many pages of a range mincore finds. */
static inline size_t pages_in_core(const void *address, size_t length)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
        uintptr_t start = (uintptr_t)address & ~(page - 1);
        size_t pages = ((uintptr_t)address + length - start + page - 1) / page;
        unsigned char *core = malloc(pages);

        ck_assert_ptr_nonnull(core);
        ck_assert_int_eq(mincore((void *)start, pages * page, core), 0);
        for (size_t i = 0; i < pages; i++)
                count += core[i] & 1;
        free(core);
        return count;
}

/* --- What a call must leave as it was ----------------------------------- *
 *
 * Sanitizers map what they like, and lock nothing; and only glibc's malloc keeps to
 * the heap.
 */

#ifdef __GLIBC__
#define TEST_HEAP 1
#else
#define TEST_HEAP 0
#endif

struct footprint {
        unsigned long mappings, bytes; /* without the heap and the stack */
        unsigned descriptors;
};

static inline struct footprint footprint(void)
{
        struct footprint print = { 0, 0, 0 };
        FILE *file = fopen("/proc/self/maps", "re");
        char line[512], *next;
        DIR *directory;

        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file)) {
                unsigned long long start = strtoull(line, &next, 16), end = strtoull(next + 1, NULL, 16);

                if (strstr(line, "[heap]") || strstr(line, "[stack]"))
                        continue;
                print.mappings++;
                print.bytes += (unsigned long)(end - start);
        }
        fclose(file);
        directory = opendir("/proc/self/fd");
        ck_assert_ptr_nonnull(directory);
        while (readdir(directory))
                print.descriptors++;
        closedir(directory);
        return print;
}

#define ck_assert_footprint(before)                                                                                    \
        do {                                                                                                           \
                struct footprint after_ = footprint();                                                                 \
                if (TEST_HEAP && !TEST_SANITIZED && !under_valgrind()) {                                               \
                        ck_assert_uint_eq(after_.mappings, (before).mappings);                                         \
                        ck_assert_uint_eq(after_.bytes, (before).bytes);                                               \
                }                                                                                                      \
                ck_assert_uint_eq(after_.descriptors, (before).descriptors);                                           \
        } while (0)

/* --- Children ----------------------------------------------------------- */

/* Called in a child: what is not so ends it. */
#define child_must(expression)                                                                                         \
        do {                                                                                                           \
                if (!(expression)) {                                                                                   \
                        fprintf(stderr, "%s:%d: in a child: '%s' is false\n", __FILE__, __LINE__, #expression);        \
                        _exit(1);                                                                                      \
                }                                                                                                      \
        } while (0)

#define child_must_int(got, want)                                                                                      \
        do {                                                                                                           \
                int got_ = (got), want_ = (want);                                                                      \
                if (got_ != want_) {                                                                                   \
                        fprintf(stderr, "%s:%d: in a child: %s is %d (%s), not %d\n", __FILE__, __LINE__, #got, got_,  \
                                ammap_errname(got_), want_);                                                           \
                        _exit(1);                                                                                      \
                }                                                                                                      \
        } while (0)

/* The wait status of a child that runs body. */
static inline int child_status(void (*body)(void *), void *argument)
{
        pid_t child;
        int status;

        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                alarm(test_time());
                body(argument);
                _exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        return status;
}

static inline void child_passes(void (*body)(void *), void *argument)
{
        int status = child_status(body, argument);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", (unsigned)status);
}

/* A child that writes (or reads) a byte and dies of it there. */
struct stray {
        volatile unsigned char *byte;
        bool read;
};

static inline volatile unsigned char *stray_expected(volatile unsigned char *set)
{
        static volatile unsigned char *volatile byte;

        if (set)
                byte = set;
        return byte;
}

static inline void stray_caught(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)context;
        _exit(info->si_addr == (const volatile void *)stray_expected(NULL) ? 42 : 43);
}

static inline void stray_body(void *argument)
{
        const struct stray *stray = argument;
        struct sigaction action;

        memset(&action, 0, sizeof(action));
        action.sa_sigaction = stray_caught;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, NULL);
        stray_expected(stray->byte);
        if (stray->read)
                (void)*stray->byte;
        else
                *stray->byte = 1;
}

static inline bool is_fatal(const void *byte, bool read)
{
        struct stray stray = { (volatile unsigned char *)(uintptr_t)byte, read };
        int status = child_status(stray_body, &stray);

        ck_assert(WIFEXITED(status));
        ck_assert_int_ne(WEXITSTATUS(status), 43); /* on another byte */
        return WEXITSTATUS(status) == 42;
}

#endif /* AMMAP_TESTS_PROC_H */
