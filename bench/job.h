/* job.h - one thread's part of a workload: the tight loops
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_JOB_H
#define BENCH_JOB_H

#include "peer.h"

struct histogram;

struct job {
        ammap_t *map;
        unsigned char *buffer;
        size_t length;           /* of one operation */
        uint64_t base;           /* the operations go round in the part of the map that begins here, */
        uint64_t mask;           /* of this length less one (a power of two), */
        uint64_t step;           /* by so much at a time */
        uint64_t position;       /* where the next one goes; kept between calls */
        uint64_t random;         /* the state of the generator; kept between calls */
        uint32_t writes;         /* the share of writes in a mix, of 2^32 */
        struct histogram *calls; /* how long each took, where tail.c times them */
};

/* Do n operations.  0, or the bits of every error code that came. */
typedef int job_loop(const struct peer *peer, struct job *job, uint64_t n);

job_loop job_read, job_update, job_alternate, job_slice, job_mut_slice, job_mix, job_random;
job_loop job_try_read, job_try_update, job_downgrade;

/* length bytes go round in area bytes (a power of two) of the map, from base. */
void job_init(struct job *job, ammap_t *map, size_t length, uint64_t base, uint64_t area);

void job_destroy(struct job *job);

/* What one operation takes, in nanoseconds of this thread's processor time, by a run of about
 * the duration after a shorter one. */
double job_time(job_loop *loop, const struct peer *peer, struct job *job, int64_t duration);

#endif
