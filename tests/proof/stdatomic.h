/* stdatomic.h - atomics as the prover reads them
 *
 * SPDX-License-Identifier: MIT
 *
 * frama-c knows of one thread.  A value that the library loads once is any value to the proofs, which is
 * all that they need of an atomic; nothing that is proved here is about order.
 */
#ifndef PROOF_STDATOMIC_H
#define PROOF_STDATOMIC_H

#define ATOMIC_LLONG_LOCK_FREE 2

typedef enum {
        memory_order_relaxed,
        memory_order_acquire,
        memory_order_release,
        memory_order_acq_rel,
        memory_order_seq_cst
} memory_order;

/* Never looked into. */
int proof_swapped(void *word, void *expected);
unsigned long long proof_swap(void *word);

#define atomic_init(word, value) ((void)(*(word) = (value)))
#define atomic_load(word) (*(word))
#define atomic_load_explicit(word, order) (*(word))
#define atomic_store(word, value) (*(word) = (value))
#define atomic_store_explicit(word, value, order) (*(word) = (value))
#define atomic_fetch_add(word, value) (*(word) += (value))
#define atomic_fetch_sub(word, value) (*(word) -= (value))
#define atomic_fetch_or(word, value) (*(word) |= (value))
#define atomic_fetch_and(word, value) (*(word) &= (value))
#define atomic_fetch_add_explicit(word, value, order) (*(word) += (value))
#define atomic_fetch_sub_explicit(word, value, order) (*(word) -= (value))
#define atomic_fetch_or_explicit(word, value, order) (*(word) |= (value))
#define atomic_fetch_and_explicit(word, value, order) (*(word) &= (value))
#define atomic_exchange(word, value) proof_swap(word)
#define atomic_exchange_explicit(word, value, order) proof_swap(word)
#define atomic_compare_exchange_strong(word, expected, value) proof_swapped(word, expected)
#define atomic_compare_exchange_weak(word, expected, value) proof_swapped(word, expected)
#define atomic_compare_exchange_strong_explicit(word, expected, value, yes, no) proof_swapped(word, expected)
#define atomic_compare_exchange_weak_explicit(word, expected, value, yes, no) proof_swapped(word, expected)
#define atomic_thread_fence(order) ((void)0)
#define atomic_signal_fence(order) ((void)0)

#endif /* PROOF_STDATOMIC_H */
