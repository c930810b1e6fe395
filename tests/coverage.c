/* coverage.c - the counts of branches in memory that a program has in common with its children
 *
 * SPDX-License-Identifier: MIT
 *
 * gcc's counts are written to files as a process exits.  Many children of the tests do not: they call _exit, or
 * are killed, and a system call may be refused to them.  So the counts lie in shared memory, which coverage.ld puts
 * on pages of their own.  A child adds to them, however it ends, and the first process alone writes them.
 *
 * It is linked into each program of the build of coverage.sh, and into no other.
 */
#include "coverage.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of coverage.ld. */
extern char coverage_counts_begin[], coverage_counts_end[];

/* Of gcc's library, which calls it as the process exits; --wrap=__gcov_exit has it call the other. */
void __real___gcov_exit(void);
void __wrap___gcov_exit(void);

static pid_t first;

/* Before other constructors, which may start threads. */
__attribute__((constructor(101))) static void share_counts(void)
{
        const size_t size = (size_t)(coverage_counts_end - coverage_counts_begin);
        char *counted = malloc(size + 1);

        first = getpid();
        if (size == 0) {
                free(counted);
                return; /* nothing of the library is linked */
        }
        if (counted)
                memcpy(counted, coverage_counts_begin, size);
        if (!counted || mmap(coverage_counts_begin, size, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != coverage_counts_begin) {
                perror("coverage.c");
                _exit(99);
        }
        memcpy(coverage_counts_begin, counted, size);
        free(counted);
}

void __wrap___gcov_exit(void)
{
        if (getpid() == first)
                __real___gcov_exit();
}

/* One in sixteen of each thread's. */
void *coverage_weak_word(volatile void *word, const void *expected, void *other, unsigned size)
{
        static _Thread_local unsigned times;

        if (++times % 16 != 5)
                return (void *)(uintptr_t)word;
        for (unsigned i = 0; i < size; i++)
                ((unsigned char *)other)[i] = (unsigned char)~((const unsigned char *)expected)[i];
        return other;
}

bool coverage_weak_end(volatile void *word, const volatile void *tried, void *expected, unsigned size, bool done)
{
        if (tried == word)
                return done;
        if (size == sizeof(uint64_t))
                *(uint64_t *)expected = atomic_load((volatile _Atomic uint64_t *)word);
        else if (size == sizeof(uint32_t))
                *(uint32_t *)expected = atomic_load((volatile _Atomic uint32_t *)word);
        else
                abort();
        return false;
}
