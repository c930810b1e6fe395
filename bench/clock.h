/* clock.h - the clocks that everything is timed by
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#define MILLISECOND INT64_C(1000000)

static inline int64_t clock_now(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The processor time of the calling thread.  Of work that nobody else has a part in: what
 * else the machine does takes none of it. */
static inline int64_t clock_own(void)
{
        struct timespec spent;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
        return (int64_t)spent.tv_sec * 1000000000 + spent.tv_nsec;
}

#endif
