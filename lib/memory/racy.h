/* racy.h - copying bytes that may change underway
 *
 * SPDX-License-Identifier: MIT
 *
 * memcpy of bytes that another thread writes is a data race, and undefined.
 * These loads are not: they are assembly, which the C memory model does not
 * reach into, or relaxed atomics.  What they return may be torn; lane_read_valid
 * says whether it is.  The stores go to the caller's own buffer and are plain.
 */
#ifndef RACY_H
#define RACY_H

#include "memory/word.h"
#include "os/os.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__x86_64__) || (defined(__aarch64__) && defined(__LP64__))) && (defined(__GNUC__) || defined(__clang__))
#define RACY_VECTOR 1

typedef long long racy_v16 __attribute__((vector_size(16)));

/* A constraint and an instruction stand without parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define RACY_LOAD(name, type, instruction, result, memory)                                                             \
        static inline type name(const unsigned char *p)                                                                \
        {                                                                                                              \
                struct bytes {                                                                                         \
                        unsigned char byte[sizeof(type)];                                                              \
                };                                                                                                     \
                type value;                                                                                            \
                __asm__ volatile(instruction : "=" result(value) : memory(*(const struct bytes *)p));                  \
                return value;                                                                                          \
        }
/* NOLINTEND(bugprone-macro-parentheses) */

#ifdef __x86_64__
RACY_LOAD(racy_load_16, racy_v16, "movups %1, %0", "x", "m")
RACY_LOAD(racy_load_8, uint64_t, "movq %1, %0", "r", "m")
RACY_LOAD(racy_load_4, uint32_t, "movl %1, %0", "r", "m")
RACY_LOAD(racy_load_2, uint16_t, "movw %1, %0", "r", "m")
RACY_LOAD(racy_load_1, uint8_t, "movb %1, %0", "q", "m")
#else
RACY_LOAD(racy_load_16, racy_v16, "ldr %q0, %1", "w", "Q")
RACY_LOAD(racy_load_8, uint64_t, "ldr %x0, %1", "r", "Q")
RACY_LOAD(racy_load_4, uint32_t, "ldr %w0, %1", "r", "Q")
RACY_LOAD(racy_load_2, uint16_t, "ldrh %w0, %1", "r", "Q")
RACY_LOAD(racy_load_1, uint8_t, "ldrb %w0, %1", "r", "Q")
#endif

/* A word is loaded whole, though twice: see word.h. */
static inline void racy_copy_small(unsigned char *to, const unsigned char *from, size_t n)
{
        if (n >= 8) {
                uint64_t head = racy_load_8(from), tail = racy_load_8(from + n - 8);
                memcpy(to, &head, 8);
                memcpy(to + n - 8, &tail, 8);
        } else if (n >= 4) {
                uint32_t head = racy_load_4(from), tail = racy_load_4(from + n - 4);
                memcpy(to, &head, 4);
                memcpy(to + n - 4, &tail, 4);
        } else if (n >= 2) {
                uint16_t head = racy_load_2(from), tail = racy_load_2(from + n - 2);
                memcpy(to, &head, 2);
                memcpy(to + n - 2, &tail, 2);
        } else if (n) {
                *to = racy_load_1(from);
        }
}

#ifdef __x86_64__
#define RACY_WIDE 1

typedef long long racy_v32 __attribute__((vector_size(32)));

static inline __attribute__((target("avx"))) void racy_move_128(unsigned char *to, const unsigned char *from)
{
        struct bytes {
                unsigned char byte[32];
        };
        const struct bytes *block = (const struct bytes *)from;
        racy_v32 a, b, c, d;

        __asm__ volatile("vmovups %1, %0" : "=x"(a) : "m"(block[0]));
        __asm__ volatile("vmovups %1, %0" : "=x"(b) : "m"(block[1]));
        __asm__ volatile("vmovups %1, %0" : "=x"(c) : "m"(block[2]));
        __asm__ volatile("vmovups %1, %0" : "=x"(d) : "m"(block[3]));
        memcpy(to, &a, 32);
        memcpy(to + 32, &b, 32);
        memcpy(to + 64, &c, 32);
        memcpy(to + 96, &d, 32);
}

/* 128 bytes or more, on a processor with AVX.  Of many, the stores but the first are aligned:
 * each would lie in two lines of the cache else. */
static __attribute__((target("avx"), noinline)) void racy_copy_wide(unsigned char *to, const unsigned char *from,
                                                                    size_t n)
{
        enum { MANY = 512 };

        if (n >= MANY) {
                struct bytes {
                        unsigned char byte[32];
                };
                size_t first = sizeof(racy_v32) - (uintptr_t)to % sizeof(racy_v32);
                racy_v32 a;

                __asm__ volatile("vmovups %1, %0" : "=x"(a) : "m"(*(const struct bytes *)from));
                memcpy(to, &a, sizeof a);
                to += first;
                from += first;
                n -= first;
        }
        for (size_t at = 0; at < n - 128; at += 128)
                racy_move_128(to + at, from + at);
        racy_move_128(to + n - 128, from + n - 128);
}
#endif

/* Up to 16 bytes as two overlapping halves, up to 64 as overlapping vectors,
 * more as a loop of four vectors, of which the last four overlap it. */
static ALWAYS_INLINE void racy_copy(void *buffer, const void *bytes, size_t n)
{
        unsigned char *to = buffer;
        const unsigned char *from = bytes;

        if (n <= 16) {
                racy_copy_small(to, from, n);
                return;
        }
        if (n <= 64) {
                racy_v16 a = racy_load_16(from), d = racy_load_16(from + n - 16);
                if (n > 32) {
                        racy_v16 b = racy_load_16(from + 16), c = racy_load_16(from + n - 32);
                        memcpy(to + 16, &b, 16);
                        memcpy(to + n - 32, &c, 16);
                }
                memcpy(to, &a, 16);
                memcpy(to + n - 16, &d, 16);
                return;
        }
#ifdef RACY_WIDE
        if (n >= 128 && __builtin_cpu_supports("avx")) {
                racy_copy_wide(to, from, n);
                return;
        }
#endif
        for (size_t at = 0;; at += 64) {
                if (at + 64 > n)
                        at = n - 64;
                racy_v16 a = racy_load_16(from + at), b = racy_load_16(from + at + 16);
                racy_v16 c = racy_load_16(from + at + 32), d = racy_load_16(from + at + 48);
                memcpy(to + at, &a, 16);
                memcpy(to + at + 16, &b, 16);
                memcpy(to + at + 32, &c, 16);
                memcpy(to + at + 48, &d, 16);
                if (at + 64 == n)
                        return;
        }
}

#else

/* A word, or else bytes up to the first whole word, words, bytes. */
static ALWAYS_INLINE void racy_copy(void *buffer, const void *bytes, size_t n)
{
        unsigned char *to = buffer;
        const unsigned char *from = bytes;

        if (n <= WORD_MAX && word_load(buffer, bytes, n))
                return;
        for (; n && (uintptr_t)from % sizeof(uintptr_t); n--)
                *to++ = atomic_load_explicit((const _Atomic unsigned char *)from++, memory_order_relaxed);
        for (; n >= sizeof(uintptr_t); n -= sizeof(uintptr_t)) {
                const void *aligned = from;
                uintptr_t word = atomic_load_explicit((const _Atomic uintptr_t *)aligned, memory_order_relaxed);
                memcpy(to, &word, sizeof word);
                to += sizeof word;
                from += sizeof word;
        }
        for (; n; n--)
                *to++ = atomic_load_explicit((const _Atomic unsigned char *)from++, memory_order_relaxed);
}

#endif

/* --- One aligned word, read as one --- */

static inline uint32_t racy_word_4(const void *word)
{
#ifdef RACY_VECTOR
        return racy_load_4(word);
#else
        return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_relaxed);
#endif
}

static inline uint64_t racy_word_8(const void *word)
{
#ifdef RACY_VECTOR
        return racy_load_8(word);
#else
        return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
#endif
}

#ifdef OS_TSAN
extern void __tsan_acquire(void *address); /* NOLINT(bugprone-reserved-identifier): ThreadSanitizer's */
#endif

/* After a word has been read so: what its writer stored before it, with release, is seen by
 * what follows. */
static inline void racy_acquire(const void *word)
{
        atomic_thread_fence(memory_order_acquire);
#ifdef OS_TSAN
        __tsan_acquire((void *)(uintptr_t)word);
#else
        (void)word;
#endif
}

#endif /* RACY_H */
