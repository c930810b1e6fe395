/* mutex.h - a mutex of four bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * A pthread_mutex_t has ten times that, and every map has two.  A sleeper has set the word
 * to MUTEX_AWAITED before, and goes on doing so: whoever unlocks it wakes one.  A child that
 * is forked while another thread has it makes it anew by mutex_init.
 *
 * Reference: U. Drepper, "Futexes Are Tricky", 2011 (the third one).
 */
#ifndef OS_MUTEX_H
#define OS_MUTEX_H

#include "os/hints.h"
#include "os/os.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MUTEX_FREE, MUTEX_HELD, MUTEX_AWAITED };

struct mutex {
        _Atomic uint32_t word; /* one of these */
};

static inline void mutex_init(struct mutex *mutex)
{
        atomic_store_explicit(&mutex->word, MUTEX_FREE, memory_order_relaxed);
}

/* The acquire pairs with the release of mutex_unlock. */
static inline bool mutex_try(struct mutex *mutex)
{
        uint32_t free = MUTEX_FREE;

        return atomic_compare_exchange_strong_explicit(&mutex->word, &free, MUTEX_HELD, memory_order_acquire,
                                                       memory_order_relaxed);
}

/* Who has slept cannot know whether others still do. */
static inline void mutex_lock(struct mutex *mutex)
{
        if (likely(mutex_try(mutex)))
                return;
        while (atomic_exchange_explicit(&mutex->word, MUTEX_AWAITED, memory_order_acquire) != MUTEX_FREE)
                os_wait(&mutex->word, MUTEX_AWAITED, OS_NEVER);
}

/* It may be gone when its word is woken, with what it lay in: that wakes nobody, or
 * somebody to whom it is spurious. */
static inline void mutex_unlock(struct mutex *mutex)
{
        if (unlikely(atomic_exchange_explicit(&mutex->word, MUTEX_FREE, memory_order_release) == MUTEX_AWAITED))
                os_wake(&mutex->word, 1);
}

#endif /* OS_MUTEX_H */
