/* rivals.c - three locks that the library's is compared with
 *
 * SPDX-License-Identifier: MIT
 *
 * Each is the bare thing: no sleep, no deadline, no fairness, no bounds.  So what a comparison
 * says of them is the best that can be said.
 *
 *   counted   readers are counted in one word, as in most reader-writer locks
 *   bravo     the same beneath a bias: a reader stores the lock in a table that all locks have,
 *             and a writer looks through that table (Dice, Kogan: BRAVO, USENIX ATC 2019)
 *   rcu       a bound, and no lock: a reader loads a pointer and stores nothing; a writer fills
 *             the other copy, and never waits for those who may read there still
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "rivals.h"

#define WRITER (UINT32_C(1) << 31)

static void relax(unsigned *pause)
{
        for (unsigned n = *pause; n > 0; n--) {
#if defined(__x86_64__) || defined(__i386__)
                __builtin_ia32_pause();
#else
                atomic_signal_fence(memory_order_seq_cst);
#endif
        }
        if (*pause < 64)
                *pause *= 2;
}

/* --- Readers that are counted --- */

struct counted {
        _Alignas(128) _Atomic uint32_t word; /* how many readers, and WRITER */
        _Alignas(128) unsigned char bytes[RIVAL_BYTES];
};

static void wait_until_free(struct counted *lock, uint32_t bits, unsigned *pause)
{
        do {
                relax(pause);
        } while (atomic_load_explicit(&lock->word, memory_order_relaxed) & bits);
}

static void enter_to_read(struct counted *lock)
{
        for (unsigned pause = 1; atomic_fetch_add_explicit(&lock->word, 1, memory_order_acquire) & WRITER;) {
                atomic_fetch_sub_explicit(&lock->word, 1, memory_order_relaxed);
                wait_until_free(lock, WRITER, &pause);
        }
}

static void leave_to_read(struct counted *lock)
{
        atomic_fetch_sub_explicit(&lock->word, 1, memory_order_release);
}

static void enter_to_write(struct counted *lock)
{
        uint32_t free = 0;

        for (unsigned pause = 1; !atomic_compare_exchange_strong_explicit(&lock->word, &free, WRITER,
                                                                          memory_order_acquire, memory_order_relaxed);
             free = 0)
                wait_until_free(lock, UINT32_MAX, &pause);
}

static void leave_to_write(struct counted *lock)
{
        atomic_fetch_sub_explicit(&lock->word, WRITER, memory_order_release);
}

static struct counted counted;

static void counted_read(unsigned thread, void *buffer)
{
        (void)thread;
        enter_to_read(&counted);
        memcpy(buffer, counted.bytes, RIVAL_BYTES);
        leave_to_read(&counted);
}

static void counted_write(unsigned thread, const void *data)
{
        (void)thread;
        enter_to_write(&counted);
        memcpy(counted.bytes, data, RIVAL_BYTES);
        leave_to_write(&counted);
}

/* --- A bias over them --- */

enum { TABLE = 4096 };

static struct {
        struct counted lock;
        _Alignas(128) _Atomic bool bias;
} bravo;
static _Alignas(128) _Atomic(void *) table[TABLE];

static _Atomic(void *) *place_of(unsigned thread)
{
        return &table[(thread + 1) * UINT32_C(2654435761) >> 20];
}

static void bravo_read(unsigned thread, void *buffer)
{
        _Atomic(void *) *place = place_of(thread);
        void *nobody = NULL;

        if (atomic_load_explicit(&bravo.bias, memory_order_relaxed) &&
            atomic_compare_exchange_strong(place, &nobody, &bravo)) {
                if (atomic_load(&bravo.bias)) {
                        memcpy(buffer, bravo.lock.bytes, RIVAL_BYTES);
                        atomic_store_explicit(place, NULL, memory_order_release);
                        return;
                }
                atomic_store_explicit(place, NULL, memory_order_release);
        }
        enter_to_read(&bravo.lock);
        memcpy(buffer, bravo.lock.bytes, RIVAL_BYTES);
        leave_to_read(&bravo.lock);
}

/* A bias that has been taken stays away: beside writes it is away for nearly all of the time. */
static void bravo_write(unsigned thread, const void *data)
{
        (void)thread;
        enter_to_write(&bravo.lock);
        if (atomic_load_explicit(&bravo.bias, memory_order_relaxed)) {
                atomic_store(&bravo.bias, false);
                for (unsigned i = 0; i < TABLE; i++)
                        for (unsigned pause = 1; atomic_load_explicit(&table[i], memory_order_acquire) == &bravo;)
                                relax(&pause);
        }
        memcpy(bravo.lock.bytes, data, RIVAL_BYTES);
        leave_to_write(&bravo.lock);
}

/* --- No lock --- */

static struct {
        _Alignas(128) _Atomic bool writing;
        _Alignas(128) _Atomic(_Atomic uint64_t *) now;
        _Alignas(128) _Atomic uint64_t copy[2][RIVAL_BYTES / 8];
} rcu;

static void rcu_read(unsigned thread, void *buffer)
{
        _Atomic uint64_t *now = atomic_load_explicit(&rcu.now, memory_order_acquire);
        uint64_t *to = buffer;

        (void)thread;
        if (!now)
                now = rcu.copy[0];
        for (unsigned i = 0; i < RIVAL_BYTES / 8; i++)
                to[i] = atomic_load_explicit(&now[i], memory_order_relaxed);
}

static void rcu_write(unsigned thread, const void *data)
{
        const uint64_t *from = data;
        _Atomic uint64_t *next;

        (void)thread;
        for (unsigned pause = 1; atomic_exchange_explicit(&rcu.writing, true, memory_order_acquire);)
                relax(&pause);
        next = rcu.copy[atomic_load_explicit(&rcu.now, memory_order_relaxed) != rcu.copy[1]];
        for (unsigned i = 0; i < RIVAL_BYTES / 8; i++)
                atomic_store_explicit(&next[i], from[i], memory_order_relaxed);
        atomic_store_explicit(&rcu.now, next, memory_order_release);
        atomic_store_explicit(&rcu.writing, false, memory_order_release);
}

const struct rival rivals[RIVALS] = {
        [RIVAL_COUNTED] = { "counted", counted_read, counted_write },
        [RIVAL_BRAVO] = { "bravo", bravo_read, bravo_write },
        [RIVAL_RCU] = { "rcu", rcu_read, rcu_write },
};

void rivals_reset(void)
{
        atomic_store(&bravo.bias, true);
}
