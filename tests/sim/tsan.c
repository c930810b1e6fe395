/* tsan.c - what the compiler makes of an access
 *
 * SPDX-License-Identifier: MIT
 *
 * The library's sources are compiled as for ThreadSanitizer, so each access to memory that may be
 * another's is a call of one of these.  __SANITIZE_THREAD__ is not defined: the sources are those
 * that ship.  A plain access is done by the code itself, after the call; an atomic one here.
 */
#include "sim.h"

#include <string.h>

/* A thread's own stack is nobody else's. */
static bool is_own(uintptr_t at)
{
        const unsigned char *stack = current->stack;

        return at - (uintptr_t)stack < 65536;
}

/* Where coverage.sh has the library's branches counted: the counts are no part of the library. */
extern char coverage_counts_begin[] __attribute__((weak)), coverage_counts_end[] __attribute__((weak));

static bool is_count(uintptr_t at)
{
        return at >= (uintptr_t)coverage_counts_begin && at < (uintptr_t)coverage_counts_end;
}

static void plain(uintptr_t at, size_t size, const char *what)
{
        if (!current || is_own(at) || is_count(at))
                return;
        if (plan.plain)
                step(what, (void *)at);
        memory_look(at, size);
        stores_settle(at, size);
}

/* It goes to memory at once, and overtakes no store that a fence keeps before it. */
static void plain_store(uintptr_t at, size_t size, const char *what)
{
        plain(at, size, what);
        if (current && current->fenced && !is_own(at))
                stores_flush(current);
}

/* Whether it is one to be seen by others. */
static bool begin(uintptr_t at, size_t size, const char *what)
{
        if (!current || is_own(at))
                return false;
        step(what, (void *)at);
        memory_look(at, size);
        return true;
}

/* The names are the compiler's: NOLINTBEGIN(bugprone-reserved-identifier) */
void __tsan_init(void);
void __tsan_init(void)
{
}

#define NOTHING(name)                                                                                                  \
        void name(void *);                                                                                             \
        void name(void *p)                                                                                             \
        {                                                                                                              \
                (void)p;                                                                                               \
        }
NOTHING(__tsan_func_entry)
NOTHING(__tsan_func_exit)

#define PLAIN(name, size, what, how)                                                                                   \
        void name(void *);                                                                                             \
        void name(void *p)                                                                                             \
        {                                                                                                              \
                how((uintptr_t)p, size, what);                                                                         \
        }
#define PLAIN_OF(size)                                                                                                 \
        PLAIN(__tsan_read##size, size, "reads", plain)                                                                 \
        PLAIN(__tsan_write##size, size, "writes", plain_store)                                                         \
        PLAIN(__tsan_unaligned_read##size, size, "reads", plain)                                                       \
        PLAIN(__tsan_unaligned_write##size, size, "writes", plain_store)
PLAIN_OF(1)
PLAIN_OF(2)
PLAIN_OF(4)
PLAIN_OF(8)
PLAIN_OF(16)

#define RANGE(name, what, how)                                                                                         \
        void name(void *, size_t);                                                                                     \
        void name(void *p, size_t size)                                                                                \
        {                                                                                                              \
                how((uintptr_t)p, size, what);                                                                         \
        }
RANGE(__tsan_read_range, "reads", plain)
RANGE(__tsan_write_range, "writes", plain_store)

#define CHANGE(type, bits, name, builtin)                                                                              \
        type __tsan_atomic##bits##_##name(volatile type *, type, int);                                                 \
        type __tsan_atomic##bits##_##name(volatile type *p, type value, int order)                                     \
        {                                                                                                              \
                (void)order;                                                                                           \
                if (begin((uintptr_t)p, sizeof *p, #name))                                                             \
                        stores_flush(current);                                                                         \
                return builtin(p, value, __ATOMIC_SEQ_CST);                                                            \
        }
#define EXCHANGE_IF(type, bits, strength)                                                                              \
        int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *, type *, type, int, int);                \
        int __tsan_atomic##bits##_compare_exchange_##strength(volatile type *p, type *expected, type value, int order, \
                                                              int failure)                                             \
        {                                                                                                              \
                (void)order, (void)failure;                                                                            \
                if (begin((uintptr_t)p, sizeof *p, "compare_exchange"))                                                \
                        stores_flush(current);                                                                         \
                return __atomic_compare_exchange_n(p, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
        }
#define ATOMIC(type, bits)                                                                                             \
        type __tsan_atomic##bits##_load(const volatile type *, int);                                                   \
        type __tsan_atomic##bits##_load(const volatile type *p, int order)                                             \
        {                                                                                                              \
                (void)order;                                                                                           \
                if (begin((uintptr_t)p, sizeof *p, "load"))                                                            \
                        return (type)load_seen((uintptr_t)p, sizeof *p);                                               \
                return *p;                                                                                             \
        }                                                                                                              \
        void __tsan_atomic##bits##_store(volatile type *, type, int);                                                  \
        void __tsan_atomic##bits##_store(volatile type *p, type value, int order)                                      \
        {                                                                                                              \
                if (!begin((uintptr_t)p, sizeof *p, order == __ATOMIC_SEQ_CST ? "store" : "stores later")) {           \
                        *p = value;                                                                                    \
                } else if (order == __ATOMIC_SEQ_CST) {                                                                \
                        stores_flush(current);                                                                         \
                        *p = value;                                                                                    \
                } else {                                                                                               \
                        store_delayed((uintptr_t)p, (uint64_t)value, sizeof *p);                                       \
                }                                                                                                      \
        }                                                                                                              \
        CHANGE(type, bits, exchange, __atomic_exchange_n)                                                              \
        CHANGE(type, bits, fetch_add, __atomic_fetch_add)                                                              \
        CHANGE(type, bits, fetch_sub, __atomic_fetch_sub)                                                              \
        CHANGE(type, bits, fetch_and, __atomic_fetch_and)                                                              \
        CHANGE(type, bits, fetch_or, __atomic_fetch_or)                                                                \
        CHANGE(type, bits, fetch_xor, __atomic_fetch_xor)                                                              \
        EXCHANGE_IF(type, bits, strong)                                                                                \
        EXCHANGE_IF(type, bits, weak)
ATOMIC(uint8_t, 8)
ATOMIC(uint16_t, 16)
ATOMIC(uint32_t, 32)
ATOMIC(uint64_t, 64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
        if (!current)
                return;
        if (order != __ATOMIC_SEQ_CST) {
                current->fenced |= order != __ATOMIC_ACQUIRE && order != __ATOMIC_CONSUME && current->stores > 0;
                return;
        }
        step("fence", NULL);
        stores_flush(current);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
        (void)order;
}

/* Calls that the compiler made of a copy: word by word, so that others can come between. */
void *__wrap_memcpy(void *to, const void *from, size_t size);
void *__wrap_memmove(void *to, const void *from, size_t size);
void *__wrap_memset(void *to, int byte, size_t size);
void *__real_memcpy(void *to, const void *from, size_t size);
void *__real_memmove(void *to, const void *from, size_t size);
void *__real_memset(void *to, int byte, size_t size);

/* Up to eight bytes are a store that may be delayed. */
static void move(unsigned char *to, const unsigned char *from, size_t size, bool out)
{
        uint64_t value = 0;

        if (!out || size > sizeof value) {
                if (out)
                        stores_flush(current);
                __real_memcpy(to, from, size);
                return;
        }
        __real_memcpy(&value, from, size);
        store_delayed((uintptr_t)to, value, (unsigned)size);
}

static void *copy(void *to, const void *from, size_t size)
{
        bool out = current && !is_own((uintptr_t)to), in = current && !is_own((uintptr_t)from);
        enum { PIECE = 8, LONG = 256 };
        size_t piece = size > LONG ? size : PIECE;

        if (!out && !in)
                return __real_memmove(to, from, size);
        if (in)
                plain((uintptr_t)from, size, "copies from");
        if (out)
                plain((uintptr_t)to, size, "copies to");
        for (size_t at = 0; at < size; at += piece) {
                if (at > 0)
                        step("copies on", (unsigned char *)(out ? to : (void *)from) + at);
                move((unsigned char *)to + at, (const unsigned char *)from + at, size - at < piece ? size - at : piece,
                     out);
        }
        return to;
}

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
        return copy(to, from, size);
}

/* Of two that overlap it is one step. */
void *__wrap_memmove(void *to, const void *from, size_t size)
{
        if ((uintptr_t)to - (uintptr_t)from >= size && (uintptr_t)from - (uintptr_t)to >= size)
                return copy(to, from, size);
        plain((uintptr_t)from, size, "moves from");
        plain_store((uintptr_t)to, size, "moves to");
        return __real_memmove(to, from, size);
}

void *__wrap_memset(void *to, int byte, size_t size)
{
        plain_store((uintptr_t)to, size, "fills");
        return __real_memset(to, byte, size);
}
/* NOLINTEND(bugprone-reserved-identifier) */
