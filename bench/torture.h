/* torture.h - is what is about to be timed a lock at all?
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_TORTURE_H
#define BENCH_TORTURE_H

#include "peer.h"

/* Try each way to write against each way to read, for duration nanoseconds
 * each, in two threads or in two processes.  NULL, or what was seen that a lock does not let happen. */
const char *torture_run(const struct peer *peer, bool processes, int64_t duration);

#endif
