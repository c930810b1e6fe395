/* range.h - the one range check
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RANGE_H
#define RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether count bytes at offset lie within length.  No sum that could wrap. */
static inline bool range_ok(uint64_t length, uint64_t offset, uint64_t count)
{
        return count <= length && offset <= length - count;
}

#endif /* RANGE_H */
