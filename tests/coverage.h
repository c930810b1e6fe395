/* coverage.h - weak exchanges that fail, as they may
 *
 * SPDX-License-Identifier: MIT
 *
 * atomic_compare_exchange_weak may fail though nobody has changed the word.  On x86-64 none does, and what follows is
 * never tried.  In the build of coverage.sh the library has these in their place: one in sixteen fails.
 */
#ifndef AMMAP_TESTS_COVERAGE_H
#define AMMAP_TESTS_COVERAGE_H

#include <stdatomic.h>
#include <stdbool.h>

/* Of coverage.c, where no branch is counted.  The word, or one in its place that is not what is expected... */
void *coverage_weak_word(volatile void *word, const void *expected, void *other, unsigned size);
/* ... and then what the word is. */
bool coverage_weak_end(volatile void *word, const volatile void *tried, void *expected, unsigned size, bool done);

#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit(word, expected, desired, success, failure)                               \
        __extension__({                                                                                                \
                __auto_type word_ = (word);                                                                            \
                __auto_type expected_ = (expected);                                                                    \
                __typeof__(*word_) other_;                                                                             \
                __typeof__(word_) tried_ = coverage_weak_word(word_, expected_, (void *)&other_, sizeof other_);       \
                                                                                                                       \
                coverage_weak_end(                                                                                     \
                        word_, tried_, expected_, sizeof other_,                                                       \
                        atomic_compare_exchange_strong_explicit(tried_, expected_, desired, success, failure));        \
        })
#define atomic_compare_exchange_weak(word, expected, desired)                                                          \
        atomic_compare_exchange_weak_explicit(word, expected, desired, memory_order_seq_cst, memory_order_seq_cst)

#endif
