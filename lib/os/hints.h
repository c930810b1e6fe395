/* hints.h - what the compiler is told of which way is the usual one
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HINTS_H
#define HINTS_H

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* It holds: so what follows from it is not looked at. */
#define ASSUME(condition) ((condition) ? (void)0 : __builtin_unreachable())

/* Of this library alone: an object that another file of it defines is then found where it
 * lies, and not in a table of addresses. */
#define HIDDEN __attribute__((visibility("hidden")))

/* Out of the quick path's way; into it. */
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))

#endif /* HINTS_H */
