/* move.h - bytes out of a map, into one, and from one to another
 *
 * SPDX-License-Identifier: MIT
 *
 * For whoever holds the lanes: nobody else changes the bytes but by views, so that a word is
 * copied whole (word.h), and all else in any way.
 *
 * memcpy has no rival where it is called with few bytes, or with so many that memory is the
 * limit.  In between glibc uses the processor's own instruction for copies (rep movsb), from 2 or
 * 4 KiB up to the size of the second cache.  Where target and source do not lie alike within a
 * line of the cache, as a map and a buffer of malloc's seldom do, that takes 16 to 30 times as
 * long on some processors (Zen 3).  The moves of racy.h do not know that case, and are as quick
 * in all others.
 */
#ifndef MOVE_H
#define MOVE_H

#include "memory/racy.h"
#include "memory/word.h"
#include "os/hints.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MOVE_MANY = 512, MOVE_MOST = 1 << 20 };

static ALWAYS_INLINE bool move_by_vectors(size_t n)
{
#ifdef RACY_VECTOR
        return n >= MOVE_MANY && n <= MOVE_MOST;
#else
        (void)n;
        return false;
#endif
}

static ALWAYS_INLINE void move_bytes(void *to, const void *from, size_t n)
{
        /* cppcheck-suppress knownConditionTrueFalse ; true only where there are vectors */
        if (move_by_vectors(n))
                racy_copy(to, from, n);
        else
                memcpy(to, from, n);
}

static ALWAYS_INLINE void move_out(void *buffer, const unsigned char *bytes, size_t n)
{
        if (n > WORD_MAX || !word_load(buffer, bytes, n))
                move_bytes(buffer, bytes, n);
}

static ALWAYS_INLINE void move_in(unsigned char *bytes, const void *data, size_t n)
{
        if (n > 0 && n <= WORD_FEW)
                word_copy_in_few(bytes, data, n);
        else
                move_bytes(bytes, data, n);
}

/* The two may overlap. */
static inline void move_between(unsigned char *to, const unsigned char *from, size_t n)
{
        uintptr_t forward = (uintptr_t)to - (uintptr_t)from, back = (uintptr_t)from - (uintptr_t)to;

        if (n <= WORD_MAX) {
                unsigned char word[WORD_MAX];

                move_out(word, from, n);
                move_in(to, word, n);
        } else if (forward >= n && back >= n) {
                move_bytes(to, from, n);
        } else {
                memmove(to, from, n);
        }
}

#endif /* MOVE_H */
