/* word.h - one word, copied whole
 *
 * SPDX-License-Identifier: MIT
 *
 * A copy of one naturally aligned word is one access to the map: who stores or loads the
 * word by an atomic view meanwhile sees the old value or the new one, and no mixture.
 * memcpy says nothing of that: some go byte by byte until their target is aligned.
 * The caller's buffer need not be aligned.
 *
 * A word is of 2 or 4 bytes, and of 8 where the processor has such atomics.  The accesses
 * are relaxed: the lock gives the order, where there is to be one.  They pair with the
 * program's own, through views.
 */
#ifndef WORD_H
#define WORD_H

#include "os/hints.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Room for the largest; and the longest copy that is made of a few moves, without a call. */
enum { WORD_MAX = 8, WORD_FEW = 64 };

static ALWAYS_INLINE bool word_is(const void *address, size_t n, size_t size)
{
        return n == size && (uintptr_t)address % size == 0;
}

/* Copy n bytes of a map, if they are a word. */
static ALWAYS_INLINE bool word_load(void *buffer, const void *word, size_t n)
{
#if ATOMIC_LLONG_LOCK_FREE == 2
        if (word_is(word, n, sizeof(uint64_t))) {
                uint64_t value = atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);

                memcpy(buffer, &value, sizeof value);
                return true;
        }
#endif
        if (word_is(word, n, sizeof(uint32_t))) {
                uint32_t value = atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_relaxed);

                memcpy(buffer, &value, sizeof value);
                return true;
        }
        if (word_is(word, n, sizeof(uint16_t))) {
                uint16_t value = atomic_load_explicit((const _Atomic uint16_t *)word, memory_order_relaxed);

                memcpy(buffer, &value, sizeof value);
                return true;
        }
        return false;
}

/* The same into a map. */
static ALWAYS_INLINE bool word_store(void *word, const void *data, size_t n)
{
#if ATOMIC_LLONG_LOCK_FREE == 2
        if (word_is(word, n, sizeof(uint64_t))) {
                uint64_t value;

                memcpy(&value, data, sizeof value);
                atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
                return true;
        }
#endif
        if (word_is(word, n, sizeof(uint32_t))) {
                uint32_t value;

                memcpy(&value, data, sizeof value);
                atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_relaxed);
                return true;
        }
        if (word_is(word, n, sizeof(uint16_t))) {
                uint16_t value;

                memcpy(&value, data, sizeof value);
                atomic_store_explicit((_Atomic uint16_t *)word, value, memory_order_relaxed);
                return true;
        }
        return false;
}

/* n from 1 to WORD_FEW: two moves that overlap, or four.  A word is stored once. */
static ALWAYS_INLINE void word_copy_in_few(unsigned char *bytes, const void *data, size_t n)
{
        struct block {
                unsigned char byte[16];
        } a, b, c, d;
        const unsigned char *from = data;

        if (likely(n >= sizeof a)) {
                memcpy(&a, from, sizeof a);
                memcpy(&d, from + n - sizeof d, sizeof d);
                if (likely(n > 2 * sizeof a)) {
                        memcpy(&b, from + sizeof a, sizeof b);
                        memcpy(&c, from + n - 2 * sizeof c, sizeof c);
                        memcpy(bytes + sizeof a, &b, sizeof b);
                        memcpy(bytes + n - 2 * sizeof c, &c, sizeof c);
                }
                memcpy(bytes, &a, sizeof a);
                memcpy(bytes + n - sizeof d, &d, sizeof d);
        } else if (n > WORD_MAX) {
                memcpy(&a, from, 8);
                memcpy(&b, from + n - 8, 8);
                memcpy(bytes, &a, 8);
                memcpy(bytes + n - 8, &b, 8);
        } else if (word_store(bytes, from, n)) {
                return;
        } else if (n >= 4) {
                memcpy(&a, from, 4);
                memcpy(&b, from + n - 4, 4);
                memcpy(bytes, &a, 4);
                memcpy(bytes + n - 4, &b, 4);
        } else {
                bytes[0] = from[0];
                bytes[n / 2] = from[n / 2];
                bytes[n - 1] = from[n - 1];
        }
}

static inline void word_fill(unsigned char *bytes, unsigned char byte, size_t n)
{
        unsigned char word[WORD_MAX];

        memset(word, byte, sizeof word);
        if (n > WORD_MAX || !word_store(bytes, word, n))
                memset(bytes, byte, n);
}

#endif /* WORD_H */
