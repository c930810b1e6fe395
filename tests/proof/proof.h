/* proof.h - before the library's own source, for the prover
 *
 * SPDX-License-Identifier: MIT
 *
 * Numbers in a contract are integers without a limit: a + b is never less than a.  So a function whose answer
 * is what its contract says cannot have wrapped on the way to it, where that matters.
 */
#ifndef PROOF_H
#define PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As gcc's manual has it. */
/*@ requires \valid(sum);
    assigns *sum;
    ensures a + b <= 0xFFFFFFFFFFFFFFFF ==> !\result && *sum == a + b;
    ensures a + b > 0xFFFFFFFFFFFFFFFF ==> \result;
 */
bool proof_add_overflow(uint64_t a, uint64_t b, uint64_t *sum);
#define __builtin_add_overflow(a, b, sum) proof_add_overflow(a, b, sum)

/* Any that a system has; where a mask is made of it, one after the other (PROOF_PAGE). */
#ifdef PROOF_PAGE
/*@ assigns \nothing;
    ensures \result == PROOF_PAGE;
 */
#else
/*@ assigns \nothing;
    ensures 512 <= \result <= 0x80000000;
 */
#endif
size_t ammap__os_page_size(void);

#endif /* PROOF_H */
