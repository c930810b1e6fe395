/* tail.c - how long a call takes where many threads want to run
 *
 * SPDX-License-Identifier: MIT
 *
 * More threads than processors read and update.  Each call is timed, from the end of the one
 * before, so that the clock's own time is in each figure (bare has that, and little else).  A
 * thread that loses its processor does so in a call, too: that is in the longest ones of every
 * peer.  What a peer adds is that the others wait for it meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "team.h"
#include "workload.h"

/* Each power of two nanoseconds in so many parts: 3 % apart. */
enum { PARTS_BITS = 5, PARTS = 1 << PARTS_BITS, POWERS = 40 };

struct histogram {
        uint64_t counts[POWERS * PARTS];
        int64_t longest;
        bool warm; /* the first batch is over, which the team does not time */
};

static unsigned bucket_of(int64_t ns)
{
        uint64_t value = ns < 0 ? 0 : (uint64_t)ns;
        unsigned shift, bucket;

        if (value < PARTS)
                return (unsigned)value;
        shift = 63 - (unsigned)__builtin_clzll(value) - PARTS_BITS;
        bucket = shift * PARTS + (unsigned)(value >> shift);
        return bucket < POWERS * PARTS ? bucket : POWERS * PARTS - 1;
}

/* The middle of the bucket. */
static double bucket_ns(unsigned bucket)
{
        unsigned shift = bucket < PARTS ? 0 : bucket / PARTS - 1;

        return ((double)(bucket - shift * PARTS) + .5) * (double)(UINT64_C(1) << shift);
}

static void count(struct histogram *histogram, int64_t ns)
{
        histogram->counts[bucket_of(ns)]++;
        if (ns > histogram->longest)
                histogram->longest = ns;
}

static int job_mix_timed(const struct peer *peer, struct job *job, uint64_t n)
{
        int64_t before = clock_now(), now;
        int bad = 0;

        if (!job->calls->warm) {
                job->calls->warm = true;
                return job_mix(peer, job, n);
        }
        for (; n; n--) {
                bad |= job_mix(peer, job, 1);
                now = clock_now();
                count(job->calls, now - before);
                before = now;
        }
        return bad;
}

/* What so many of all the calls do not take longer than. */
static double quantile(const struct histogram *all, double share)
{
        uint64_t total = 0, below = 0;
        unsigned i;

        for (i = 0; i < POWERS * PARTS; i++)
                total += all->counts[i];
        for (i = 0; i < POWERS * PARTS - 1; i++) {
                below += all->counts[i];
                if ((double)below >= share * (double)total)
                        break;
        }
        return bucket_ns(i);
}

static void merge(struct histogram *all, const struct histogram *one)
{
        unsigned i;

        for (i = 0; i < POWERS * PARTS; i++)
                all->counts[i] += one->counts[i];
        if (one->longest > all->longest)
                all->longest = one->longest;
}

int tail_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX])
{
        static struct histogram all, each[TEAM_MAX];
        ammap_t *map;
        struct team *team = workload_team(workload, peer, &map);
        int i;

        memset(&all, 0, sizeof(all));
        memset(each, 0, sizeof(each));
        for (i = 0; i < team->size; i++) {
                team->members[i].loop = job_mix_timed;
                team->members[i].job.calls = &each[i];
        }
        team_run(team, pace->crowd);
        for (i = 0; i < team->size; i++)
                merge(&all, &each[i]);
        workload_dismiss(team, map);
        values[0][0] = quantile(&all, .5);
        values[1][0] = quantile(&all, .99);
        values[2][0] = quantile(&all, .999) / 1e3;
        values[3][0] = (double)all.longest / 1e6;
        return 1;
}
