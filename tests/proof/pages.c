/* pages.c - proved: rounding to pages
 *
 * SPDX-License-Identifier: MIT
 *
 * For pages of PROOF_PAGE bytes.  What the prover is told of a mask, mask.smt2 has shown for all numbers.
 */
#include "proof.h"

#include "memory/region.c"

/*@ axiomatic mask {
      axiom mask: \forall integer n; 0 <= n <= 0xFFFFFFFFFFFFFFFF ==>
                  (n & (0x10000000000000000 - PROOF_PAGE)) == n - n % PROOF_PAGE;
    }
 */

/*@ assigns \nothing;
    ensures \result % PROOF_PAGE == 0 && \result <= n < \result + PROOF_PAGE;
 */
static size_t page_down(size_t n);

/*@ requires n < 0x10000000000000000 - PROOF_PAGE;
    assigns \nothing;
    ensures \result % PROOF_PAGE == 0 && n <= \result < n + PROOF_PAGE;
 */
static size_t page_up(size_t n);

/*@ requires length < 0x10000000000000000 - PROOF_PAGE;
    assigns \nothing;
    ensures \result % PROOF_PAGE == 0 && length <= \result < length + PROOF_PAGE;
 */
size_t region_pages(uint64_t length);

