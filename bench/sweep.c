/* sweep.c - every power of two as a length, and its neighbours
 *
 * SPDX-License-Identifier: MIT
 *
 * A copy takes another way from some length on, and what is wrong with one way is seen next to
 * where it begins.  So each power of two is measured, and one byte less and more, one after the
 * other in a round; at an offset that is a multiple of 64, and at an odd one.
 *
 * What counts is what is more than the run's own noise.  A second copy of the library, the peer
 * "again", tells how much that is: nothing but noise can be between the two.
 */
#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "sweep.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define PAGE 4096

enum {
        POWERS = 27,              /* 1 B to 64 MiB */
        LENGTHS = 3 * POWERS - 4, /* without 0, and each of 1, 2 and 3 once */
        SERIES = 8,               /* read or update, of a private or a shared map, aligned or odd */
        KEY = 40
};

enum { SERIES_UPDATE = 1, SERIES_SHARED = 2, SERIES_ODD = 4 };

/* What is short goes round in so much, as a program's would, and both halves of the copy fit the
 * first cache.  It is no power of two, as no way of copying changes there. */
#define ROUND_MAX (12 * KIB)
#define ROUND_AREA (16 * KIB)

/* Maps that take longer to make than to measure are kept. */
#define KEPT_MIN (768 * KIB)
#define KEPT_SIZE (64 * MIB + 64 * KIB)

static uint64_t lengths[LENGTHS];

/* --- Measuring --- */

static ammap_t *new_map(const struct workload *workload, const struct peer *peer, uint64_t size)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = AMMAP_SHARED;
        map = peer_new(peer, size, workload->processes ? &options : NULL);
        if (!map)
                errx(1, "%s: no map", peer->name);
        memset(peer->address(map), 0x5a, size);
        return map;
}

static ammap_t *kept_map(const struct workload *workload, const struct peer *peer)
{
        static struct kept {
                const struct peer *peer;
                bool shared;
                ammap_t *map;
        } kept[2 * PEERS_MAX];
        int i = 0;

        while (kept[i].map && (kept[i].peer != peer || kept[i].shared != workload->processes))
                i++;
        if (!kept[i].map)
                kept[i] = (struct kept){ peer, workload->processes, new_map(workload, peer, KEPT_SIZE) };
        return kept[i].map;
}

static unsigned char *kept_buffer(void)
{
        static unsigned char *buffer;

        if (!buffer) {
                buffer = aligned_alloc(PAGE, KEPT_SIZE);
                if (!buffer)
                        err(1, "aligned_alloc");
                memset(buffer, 0x5a, KEPT_SIZE);
        }
        return buffer;
}

static int run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
               double values[ROWS_MAX][EVENTS_MAX])
{
        uint64_t length = workload->size, area = length <= ROUND_MAX ? ROUND_AREA : 1;
        bool keep = length >= KEPT_MIN;
        ammap_t *map = keep ? kept_map(workload, peer) : new_map(workload, peer, area + length + PAGE);
        struct job job;

        job_init(&job, map, keep ? 1 : length, workload->variant & SERIES_ODD ? 1 : 0, area);
        job.step = (length + 127) & ~UINT64_C(63);
        if (keep) {
                free(job.buffer);
                job.buffer = kept_buffer();
                job.length = length;
        }
        values[0][0] = job_time(workload->loop, peer, &job, pace->loop);
        if (keep)
                return 1;
        job_destroy(&job);
        peer_free(peer, map);
        return 1;
}

/* --- The list --- */

static void list_lengths(void)
{
        int power, next, n = 0;

        for (power = 0; power < POWERS; power++)
                for (next = -1; next <= 1; next++) {
                        uint64_t length = (UINT64_C(1) << power) + (uint64_t)next;

                        if (length > (n ? lengths[n - 1] : 0))
                                lengths[n++] = length;
                }
}

void sweep_choose(void)
{
        static struct workload list[SERIES * LENGTHS];
        static char keys[SERIES * LENGTHS][KEY];
        int i;

        list_lengths();
        for (i = 0; i < SERIES * LENGTHS; i++) {
                unsigned variant = (unsigned)(i / LENGTHS);
                uint64_t length = lengths[i % LENGTHS];

                snprintf(keys[i], KEY, "sweep-%s%s-%llu%s", variant & SERIES_SHARED ? "shared-" : "",
                         variant & SERIES_UPDATE ? "update" : "read", (unsigned long long)length,
                         variant & SERIES_ODD ? "-odd" : "");
                list[i] = (struct workload){
                        .rows = { { keys[i], keys[i], UNIT_NS, SUMMARY_MEDIAN } },
                        .run = run,
                        .loop = variant & SERIES_UPDATE ? job_update : job_read,
                        .size = length,
                        .processes = variant & SERIES_SHARED,
                        .every = length < KEPT_MIN  ? 0
                                 : length < 6 * MIB ? 4
                                                    : 8,
                        .variant = variant,
                };
        }
        workloads = list;
        workload_count = SERIES * LENGTHS;
}

/* --- Tables --- */

/* Noise is not the same where a call is all, where the first cache is, and beyond. */
enum { RANGES = 3 };
static const uint64_t range_end[RANGES] = { KIB, 64 * KIB + 1, UINT64_MAX };
static double noise[RANGES]; /* what a ratio of no difference differs from 1 by, 95 times of 100 */

static int range_of(uint64_t length)
{
        int range = 0;

        while (length >= range_end[range])
                range++;
        return range;
}

static int peer_named(const char *name, const struct peer *peers, int peers_count)
{
        int peer;

        for (peer = 0; peer < peers_count; peer++)
                if (strcmp(peers[peer].name, name) == 0)
                        return peer;
        return -1;
}

static struct place at(int workload, int peer)
{
        return (struct place){ workload, 0, peer };
}

/* What the median is with 95 % confidence more than, by its quartiles. */
static double surely(struct quartiles q)
{
        return q.median - 1.57 * (q.high - q.low) / sqrt(q.count);
}

static int compare(const void *one, const void *other)
{
        double a = *(const double *)one, b = *(const double *)other;

        return (a > b) - (a < b);
}

static void learn_noise(int again)
{
        static double off[SERIES * LENGTHS];
        int range, i;

        for (range = 0; range < RANGES; range++) {
                int n = 0;

                for (i = 0; i < workload_count && again >= 0; i++) {
                        struct quartiles q = report_ratio(at(i, 0), at(i, again));

                        if (q.count && range_of(workloads[i].size) == range)
                                off[n++] = fabs(q.median - 1);
                }
                qsort(off, (size_t)n, sizeof(off[0]), compare);
                noise[range] = n ? off[(n - 1) * 95 / 100] : 0;
        }
}

static void print_name(int workload)
{
        const struct workload *this = &workloads[workload];

        printf("  %-7s %-6s %9llu B %-10s", this->processes ? "shared" : "private",
               this->loop == job_update ? "update" : "read", (unsigned long long)this->size,
               this->variant & SERIES_ODD ? "at offset 1" : "");
        printf(" %10.1f ns", report_figure(at(workload, 0)).median);
}

static void print_slower(int rival)
{
        int i, n = 0, of = 0;

        printf("\nSlower than mmap-io, by more than the noise:\n");
        for (i = 0; i < workload_count; i++) {
                struct quartiles q = report_ratio(at(i, 0), at(i, rival));

                of += q.count > 0;
                if (!q.count || q.median <= 1 + noise[range_of(workloads[i].size)] || surely(q) <= 1)
                        continue;
                print_name(i);
                printf("  %.3f of mmap-io's (%.3f-%.3f)\n", q.median, q.low, q.high);
                n++;
        }
        printf("  %d of %d\n", n, of);
}

static void print_over(int bare)
{
        int i, n = 0, of = 0;

        printf("\nMore than 5 ns over bare's memcpy, of 1 KiB to 64 KiB:\n");
        for (i = 0; i < workload_count; i++) {
                struct quartiles q = report_excess(at(i, 0), at(i, bare));

                if (!q.count || range_of(workloads[i].size) != 1)
                        continue;
                of++;
                if (surely(q) <= 5)
                        continue;
                print_name(i);
                printf("  %.1f ns over (%.1f-%.1f)\n", q.median, q.low, q.high);
                n++;
        }
        printf("  %d of %d\n", n, of);
}

static void print_cliffs(int bare)
{
        int i, n = 0, of = 0;

        printf("\nCliffs: a length that takes over 1.15 times as long as one byte less does:\n");
        for (i = 1; i < workload_count; i++) {
                struct quartiles q, bares;

                if (workloads[i].size != workloads[i - 1].size + 1)
                        continue;
                q = report_ratio(at(i, 0), at(i - 1, 0));
                if (!q.count)
                        continue;
                of++;
                if (q.median <= 1.15 + noise[range_of(workloads[i].size)] || surely(q) <= 1.15)
                        continue;
                print_name(i);
                bares = bare < 0 ? (struct quartiles){ 0 } : report_ratio(at(i, bare), at(i - 1, bare));
                printf("  %.2f times", q.median);
                if (bares.count)
                        printf(" (bare's: %.2f)", bares.median);
                putchar('\n');
                n++;
        }
        printf("  %d of %d\n", n, of);
}

void sweep_tables(const struct peer *peers, int peers_count)
{
        int again = peer_named("again", peers, peers_count), rival = peer_named("mmap-io", peers, peers_count);
        int bare = peer_named("bare", peers, peers_count);

        learn_noise(again);
        printf("SWEEP of %s: every power of two from 1 B to 64 MiB, and one byte less and more\n", peers[0].name);
        if (again >= 0)
                printf("Noise: what the same library differs from itself by, 95 times of 100: %.1f %% below 1 KiB, "
                       "%.1f %% to 64 KiB, %.1f %% above.\n",
                       100 * noise[0], 100 * noise[1], 100 * noise[2]);
        if (rival >= 0)
                print_slower(rival);
        else
                printf("\nWithout mmap-io there is nothing to be slower than.\n");
        if (bare >= 0)
                print_over(bare);
        print_cliffs(bare);
}
