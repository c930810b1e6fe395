/* sweep.h - every power of two as a length, and its neighbours
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_SWEEP_H
#define BENCH_SWEEP_H

#include "peer.h"

/* Have the sweep measured in place of the other workloads. */
void sweep_choose(void);

/* Print where the first peer is slower than mmap-io, where it takes much longer than bare, and
 * which lengths cost much more than those before. */
void sweep_tables(const struct peer *peers, int peers_count);

#endif
