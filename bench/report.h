/* report.h - gathers the figures; prints, writes and judges them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "workload.h"

/* The first peer is the one that the others are compared with. */
void report_init(const struct peer *peers, int peers_count, int rounds);

/* A figure of the row-th row of a workload, measured in that round. */
void report_add(int workload, int row, int peer, int round, double value);

/* A row of a workload, and who did it. */
struct place {
        int workload, row, peer;
};

struct quartiles {
        double low, median, high;
        int count;
};

/* Of the rounds; count is 0 where there is nothing. */
struct quartiles report_figure(struct place place);

/* Of what one is to the other in each round, and of by how much it is more.  Either row is of a
 * median. */
struct quartiles report_ratio(struct place over, struct place under);
struct quartiles report_excess(struct place over, struct place under);

/* Print the figures, then the ratios. */
void report_tables(void);

/* Print which of the targets in the file are met. */
void report_targets(const char *path);

void report_csv(const char *path);

#endif
