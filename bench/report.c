/* report.c - gathers the figures; prints, writes and judges them
 *
 * SPDX-License-Identifier: MIT
 *
 * A ratio is taken inside a round, where both sides were measured within a few
 * milliseconds of one another, and the median is taken of the ratios: the
 * machine's own changes of speed cancel out.
 */
#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

struct series {
        double *values; /* one a round, NAN where there is none; but any number of events */
        int count;
        int room;
};

static const struct peer *peers;
static int peers_count, rounds;
static struct series *all; /* of each workload, row and peer */

static struct series *series_of(struct place place)
{
        return &all[(place.workload * ROWS_MAX + place.row) * PEERS_MAX + place.peer];
}

static bool is_events(int workload)
{
        return workloads[workload].rows[1].summary == SUMMARY_P99;
}

void report_init(const struct peer *the_peers, int the_count, int the_rounds)
{
        peers = the_peers;
        peers_count = the_count;
        rounds = the_rounds;
        all = calloc((size_t)workload_count * ROWS_MAX * PEERS_MAX, sizeof(*all));
        if (!all)
                err(1, "calloc");
}

static void grow(struct series *series, int room)
{
        if (room <= series->room)
                return;
        series->values = realloc(series->values, (size_t)room * sizeof(double));
        if (!series->values)
                err(1, "realloc");
        while (series->room < room)
                series->values[series->room++] = NAN;
}

void report_add(int workload, int row, int peer, int round, double value)
{
        struct series *series = series_of((struct place){ workload, row, peer });

        if (is_events(workload)) {
                if (series->count == series->room)
                        grow(series, series->room ? series->room * 2 : 1024);
                series->values[series->count++] = value;
        } else {
                grow(series, rounds);
                series->values[round] = value;
                series->count = rounds;
        }
}

/* --- Summaries ------------------------------------------------------------ */

static int compare(const void *one, const void *other)
{
        double a = *(const double *)one, b = *(const double *)other;

        return (a > b) - (a < b);
}

static double quantile(const double *sorted, int count, double share)
{
        double place = share * (count - 1);
        int below = (int)place;

        if (below + 1 >= count)
                return sorted[count - 1];
        return sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
}

/* Sorts what it is given. */
static struct quartiles summarise(double *values, int count, enum summary summary)
{
        struct quartiles result = { NAN, NAN, NAN, 0 };
        int i, n = 0;

        for (i = 0; i < count; i++)
                if (!isnan(values[i]))
                        values[n++] = values[i];
        if (!n)
                return result;
        qsort(values, (size_t)n, sizeof(values[0]), compare);
        result.count = n;
        if (summary == SUMMARY_MEDIAN) {
                result.low = quantile(values, n, .25);
                result.median = quantile(values, n, .50);
                result.high = quantile(values, n, .75);
        } else {
                result.median = quantile(values, n, summary == SUMMARY_P99 ? .99 : 1);
        }
        return result;
}

struct quartiles report_figure(struct place place)
{
        enum summary summary = workloads[place.workload].rows[place.row].summary;
        struct series *series;
        struct quartiles result;
        double *copy;

        if (summary == SUMMARY_P99)
                place.row = 0;
        series = series_of(place);
        copy = malloc((size_t)series->count * sizeof(double) + 1);
        if (!copy)
                err(1, "malloc");
        if (series->count)
                memcpy(copy, series->values, (size_t)series->count * sizeof(double));
        result = summarise(copy, series->count, summary);
        free(copy);
        return result;
}

static double quotient(double over, double under)
{
        return over / under;
}

static double difference(double over, double under)
{
        return over - under;
}

static struct quartiles compared(struct place one, struct place other, double how(double, double))
{
        struct series *over = series_of(one), *under = series_of(other);
        struct quartiles result = { NAN, NAN, NAN, 0 };
        double *values;
        int i;

        if (!over->count || !under->count)
                return result;
        values = malloc((size_t)rounds * sizeof(double));
        if (!values)
                err(1, "malloc");
        for (i = 0; i < rounds; i++)
                values[i] = how(over->values[i], under->values[i]);
        result = summarise(values, rounds, SUMMARY_MEDIAN);
        free(values);
        return result;
}

struct quartiles report_ratio(struct place over, struct place under)
{
        return compared(over, under, quotient);
}

struct quartiles report_excess(struct place over, struct place under)
{
        return compared(over, under, difference);
}

/* What the first peer did in one row to what a peer did in another. */
static struct quartiles ratio(int workload, int row, struct place to)
{
        struct place own = { workload, row, 0 };
        struct quartiles result = { NAN, NAN, NAN, 0 }, a, b;

        if (!is_events(workload) && workloads[workload].rows[row].summary == SUMMARY_MEDIAN)
                return report_ratio(own, to);
        a = report_figure(own);
        b = report_figure(to);
        result.median = a.median / b.median;
        result.count = a.count < b.count ? a.count : b.count;
        return result;
}

/* --- Tables --------------------------------------------------------------- */

#define TITLE "%-25.25s"

static const char *number(double value, char text[16])
{
        if (value >= 99.95)
                snprintf(text, 16, "%.0f", value);
        else if (value >= 9.995)
                snprintf(text, 16, "%.1f", value);
        else if (value >= .0995)
                snprintf(text, 16, "%.2f", value);
        else
                snprintf(text, 16, "%.3f", value);
        return text;
}

static const char *cell(struct quartiles q, char text[48])
{
        char low[16], median[16], high[16], range[34] = "";

        if (!q.count) {
                snprintf(text, 48, "%6s %-11s", "-", "");
                return text;
        }
        if (!isnan(q.low))
                snprintf(range, sizeof(range), "%s-%s", number(q.low, low), number(q.high, high));
        snprintf(text, 48, "%6s %-11s", number(q.median, median), range);
        return text;
}

static const char *unit_name(enum unit unit)
{
        static const char *const names[] = { "", "ns", "us", "ms", "Mops", "MB/s", "x" };

        return names[unit];
}

static bool measured(int workload, int peer)
{
        return series_of((struct place){ workload, 0, peer })->count > 0;
}

static void rule(char of, int columns)
{
        int i;

        for (i = 0; i < 29 + 18 * columns; i++)
                putchar(of);
        putchar('\n');
}

/* The peers from the first on that did any of the work. */
static int columns(int first, bool processes, int *chosen)
{
        int workload, peer, n = 0;

        for (peer = first; peer < peers_count; peer++)
                for (workload = 0; workload < workload_count; workload++)
                        if (workloads[workload].processes == processes && measured(workload, peer)) {
                                chosen[n++] = peer;
                                break;
                        }
        return n;
}

static void table(const char *title, const char *note, bool ratios, bool processes)
{
        int chosen[PEERS_MAX], n = columns(ratios ? 1 : 0, processes, chosen), workload, row, i;
        const char *heading = NULL;

        if (!n)
                return;
        printf("\n%s%s\n%s\n\n%29s", title, processes ? ", between processes" : "", note, "");
        for (i = 0; i < n; i++)
                printf("  %-16.16s", peers[chosen[i]].name);
        putchar('\n');
        for (workload = 0; workload < workload_count; workload++) {
                const struct workload *this = &workloads[workload];
                bool any = false;

                if (this->heading)
                        heading = this->heading;
                for (i = 0; i < n; i++)
                        any = any || measured(workload, chosen[i]);
                if (this->processes != processes || !any)
                        continue;
                if (heading) {
                        rule('-', n);
                        printf("%s\n", heading);
                        heading = NULL;
                }
                for (row = 0; row < ROWS_MAX && this->rows[row].unit != UNIT_NONE; row++) {
                        printf(TITLE "%-4s", this->rows[row].title, ratios ? "" : unit_name(this->rows[row].unit));
                        for (i = 0; i < n; i++) {
                                struct place place = { workload, row, chosen[i] };
                                char text[48];

                                fputs(cell(ratios ? ratio(workload, row, place) : report_figure(place), text), stdout);
                        }
                        putchar('\n');
                }
        }
}

void report_tables(void)
{
        char title[80];
        int processes;

        snprintf(title, sizeof(title), "RATIOS of %s to the others", peers[0].name);
        for (processes = 0; processes < 2; processes++) {
                table("FIGURES",
                      "Median and quartiles of the rounds.  ns, us, ms: less is better; Mops (million operations a "
                      "second), MB/s: more is.",
                      false, processes);
                table(title, "Median and quartiles of the ratios in each round: of the times, or of the Mops.", true,
                      processes);
        }
}

/* --- Targets -------------------------------------------------------------- */

static bool find_row(const char *key, int *workload, int *row)
{
        for (*workload = 0; *workload < workload_count; ++*workload)
                for (*row = 0; *row < ROWS_MAX && workloads[*workload].rows[*row].unit != UNIT_NONE; ++*row)
                        if (strcmp(key, workloads[*workload].rows[*row].key) == 0)
                                return true;
        return false;
}

/* "-" against nothing: the figure itself; "=ROW": against the same peer's own
 * other row; else against that peer's same row. */
static struct quartiles reached(const char *key, const char *against)
{
        struct quartiles none = { NAN, NAN, NAN, 0 };
        int workload, row, to_workload, to_row, peer;

        if (!find_row(key, &workload, &row))
                return none;
        if (strcmp(against, "-") == 0)
                return report_figure((struct place){ workload, row, 0 });
        if (against[0] == '=') {
                if (!find_row(against + 1, &to_workload, &to_row))
                        errx(1, "a target names the row %s, which there is not", against + 1);
                return ratio(workload, row, (struct place){ to_workload, to_row, 0 });
        }
        for (peer = 1; peer < peers_count; peer++)
                if (strcmp(peers[peer].name, against) == 0)
                        return ratio(workload, row, (struct place){ workload, row, peer });
        return none;
}

void report_targets(const char *path)
{
        char line[256], key[64], against[64], sign[4], text[48], wanted[16];
        int met = 0, missed = 0, unknown = 0;
        FILE *file = fopen(path, "r");
        double value;

        if (!file)
                err(1, "%s", path);
        printf("\nTARGETS of %s\nThe ratio to a peer, to its own other row (=), or the figure alone (-).\n\n",
               peers[0].name);
        while (fgets(line, sizeof(line), file)) {
                struct quartiles q;
                bool good;

                if (line[0] == '#' || line[strspn(line, " \t\n")] == '\0')
                        continue;
                if (sscanf(line, "%63s %63s %3s %lf", key, against, sign, &value) != 4 ||
                    (strcmp(sign, "<=") != 0 && strcmp(sign, ">=") != 0))
                        errx(1, "%s: not a target: %s", path, line);
                q = reached(key, against);
                if (!q.count) {
                        unknown++;
                        continue;
                }
                good = sign[0] == '<' ? q.median <= value : q.median >= value;
                met += good;
                missed += !good;
                printf(TITLE " %-18.18s %s %6s   got %s %s\n", key, against, sign, number(value, wanted), cell(q, text),
                       good ? "met" : "NOT MET");
        }
        fclose(file);
        printf("\n%d met, %d not met, %d not measured.\n", met, missed, unknown);
}

/* --- CSV ------------------------------------------------------------------ */

static void csv_number(FILE *file, double value)
{
        putc(',', file);
        if (!isnan(value))
                fprintf(file, "%.6g", value);
}

void report_csv(const char *path)
{
        FILE *file = fopen(path, "w");
        int workload, row, peer;

        if (!file)
                err(1, "%s", path);
        fprintf(file, "row,unit,peer,median,q1,q3,samples,ratio,ratio_q1,ratio_q3\n");
        for (workload = 0; workload < workload_count; workload++) {
                const struct row *rows = workloads[workload].rows;

                for (row = 0; row < ROWS_MAX && rows[row].unit != UNIT_NONE; row++)
                        for (peer = 0; peer < peers_count; peer++) {
                                struct place place = { workload, row, peer };
                                struct quartiles q = report_figure(place), to = ratio(workload, row, place);

                                if (!q.count)
                                        continue;
                                fprintf(file, "%s,%s,%s", rows[row].key, unit_name(rows[row].unit), peers[peer].name);
                                csv_number(file, q.median);
                                csv_number(file, q.low);
                                csv_number(file, q.high);
                                fprintf(file, ",%d", q.count);
                                csv_number(file, to.median);
                                csv_number(file, to.low);
                                csv_number(file, to.high);
                                putc('\n', file);
                        }
        }
        if (fclose(file) != 0)
                err(1, "%s", path);
}
