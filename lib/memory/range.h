/* range.h - the one range check
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RANGE_H
#define RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* Where count bytes at offset end; false: beyond all numbers. */
static inline bool range_end(uint64_t offset, uint64_t count, uint64_t *end)
{
        return !__builtin_add_overflow(offset, count, end);
}

/* Whether they lie within length.  No sum that could wrap. */
static inline bool range_ok(uint64_t length, uint64_t offset, uint64_t count)
{
        return count <= length && offset <= length - count;
}

#endif /* RANGE_H */
