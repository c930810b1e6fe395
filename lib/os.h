/* os.h - the contract with the system
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything that the library wants from kernel and libc beyond plain C, each
 * call stated once.  Results are 0 (or what is documented) or a negative errno;
 * no call touches errno's meaning for the caller, prints or aborts.
 *
 * os-posix.c holds what POSIX offers everywhere.  os-linux.c and os-portable.c
 * both hold the rest, futexes and fences; configure --with-os chooses one.
 */
#ifndef OS_H
#define OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- os-posix.c --- */

/* The size of a page in bytes. */
size_t os_page_size(void);

/* Processors that this process may run on, at least 1. */
unsigned os_cpus(void);

/* Map length bytes (whole pages) of zeros, readable and writable. */
int os_map(void **address, size_t length);
int os_unmap(void *address, size_t length);

/* The same with a choice of access; noreserve: not accounted for, where the
 * system has a say in that. */
enum os_access { OS_NONE, OS_READ, OS_WRITE };
int os_reserve(void **address, size_t length, enum os_access access, bool noreserve);
int os_protect(void *address, size_t length, enum os_access access);

/* Keep pages in memory; no longer. */
int os_lock(void *address, size_t length);
int os_unlock(void *address, size_t length);

/* Nanoseconds on the monotonic clock, more than 0. */
int64_t os_now(void);

/* The deadline that lies a timeout from now; OS_NEVER for less than 0. */
#define OS_NEVER INT64_MAX
int64_t os_deadline(int64_t timeout_ns);

/* Call exit_thread(value) when the calling thread ends, if value is not NULL.
 * The library has one such function. */
int os_thread_key(void (*exit_thread)(void *value));
int os_thread_set(void *value);

/* How often a destructor that sets its value again may count on being called. */
unsigned os_thread_rounds(void);

/* Call before(), and then after() in the parent and child() in the child, at
 * every fork.  Once for the library. */
int os_at_fork(void (*before)(void), void (*after)(void), void (*child)(void));

/* A child that was made without running fork handlers (_Fork, clone) runs
 * child() here; everyone else returns false at once.  To be called where a
 * lock or a list left by a thread that the child does not have would matter. */
bool os_fork_check(void);

/* --- os-linux.c or os-portable.c --- */

/* Once, before any other call of this part. */
void os_start(void);

/* Sleep while *word is expected, until an os_wake of it or the deadline (on
 * os_now's clock; OS_NEVER: none).  0 or -ETIMEDOUT; 0 may also be spurious.
 * Reading the word and falling asleep are one step to os_wake. */
int os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);

/* Wake up to count sleepers of word; how many there were. */
int os_wake(const _Atomic uint32_t *word, int count);

/* What follows is about whole pages, and may be refused as the system likes,
 * with -ENOSYS where it has no such thing; the library goes on without. */

/* Which pages are in memory: bit 0 of a byte for each.  A hint: what is not may
 * be swapped out. */
int os_resident(void *address, size_t length, unsigned char *there);

/* Show a name in the system's account of the process. */
int os_name(void *address, size_t length, const char *name);

/* Guard pages that touching is fatal to, without a mapping of their own. */
int os_guard(void *address, size_t length);

/* Leave pages out of core dumps; out of forked children; zero in them. */
int os_nodump(void *address, size_t length);
int os_omit_on_fork(void *address, size_t length);
int os_wipe_on_fork(void *address, size_t length);

/* Give the pages of a private map back; they are zeros when touched again. */
int os_discard(void *address, size_t length);

/* Make pages present, to be read or to be written. */
int os_populate(void *address, size_t length, enum os_access access);

enum os_advice {
        OS_NORMAL,
        OS_RANDOM,
        OS_SEQUENTIAL,
        OS_WILLNEED,
        OS_COLD,
        OS_PAGEOUT,
        OS_HUGEPAGE,
        OS_NOHUGEPAGE,
};
int os_advise(void *address, size_t length, enum os_advice advice);

/* The size of a huge page, 0 where there is none; make one of pages now. */
size_t os_huge_size(void);
int os_collapse(void *address, size_t length);

/* The system's own account of pages, in bytes. */
struct os_usage {
        uint64_t resident;
        uint64_t huge;   /* of these, in huge pages */
        uint64_t locked; /* of these, locked */
        bool unreserved; /* not accounted for, all of it */
};
int os_usage(const void *address, size_t length, struct os_usage *usage);

/* For each of so many pages, whether it holds anything, in memory or swapped. */
int os_present(const void *address, size_t pages, unsigned char *present);

/* Whether this is a forked child that os_forked_reset has not been called in. */
bool os_forked(void);
void os_forked_reset(void);

/* The asymmetric fence.  os_fence_light and os_fence_heavy order a store before
 * a load like two full fences do: of two threads that each store, fence and
 * then load what the other one stored, at least one sees the other's store,
 * where at least one of the fences is a heavy one.  The light one costs nothing
 * where the heavy one can interrupt the other processors (membarrier), and is a
 * full fence elsewhere. */
extern _Atomic bool os_fence_asymmetric;
void os_fence_heavy(void);

#if defined(__SANITIZE_THREAD__)
#define OS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OS_TSAN 1
#endif
#endif

/* A fence that ThreadSanitizer understands too: it knows no fences, only
 * read-modify-writes. */
static inline void os_fence_full(void)
{
#ifdef OS_TSAN
        static _Atomic uint32_t everyone;
        atomic_fetch_add(&everyone, 1);
#else
        atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void os_fence_light(void)
{
        if (__builtin_expect(atomic_load_explicit(&os_fence_asymmetric, memory_order_relaxed), 1))
                atomic_signal_fence(memory_order_seq_cst);
        else
                os_fence_full();
}

/* Tell the processor that this is a spin loop. */
static inline void os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif /* OS_H */
