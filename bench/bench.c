/* bench.c - measures libammap against its peers
 *
 * SPDX-License-Identifier: MIT
 *
 * The program starts itself several times, one process after another, as where
 * code and data come to lie differs from process to process.  In a process,
 * each round runs each workload over all peers, in an order drawn anew, and
 * writes its figures to the parent, which merges them.
 */
#include <err.h>
#include <fnmatch.h>
#include <getopt.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "report.h"
#include "sweep.h"
#include "team.h"
#include "torture.h"

static const char usage[] = "Usage: bench [OPTION]... NAME=LIBRARY...\n"
                            "Measure the first library against the others.\n"
                            "\n"
                            "  --quick           be done in half a minute, less exactly\n"
                            "  --only PATTERN    only workloads whose key has the (shell) pattern in it\n"
                            "  --rows KEYS       only the workloads with these keys, a space between two\n"
                            "  --rounds N        rounds in each process\n"
                            "  --processes N     processes, one after another\n"
                            "  --sweep           all lengths instead; the peer \"again\" is the first one's copy\n"
                            "  --torture         only check, for longer, that each of them is a lock\n"
                            "  --targets FILE    judge the results by the file's targets\n"
                            "  --csv FILE        write the results\n"
                            "  --help            print this\n";

struct settings {
        struct pace pace;
        int rounds;
        int processes;
        int child; /* which of the processes this is; -1: the parent */
        bool torture;
        bool sweep;
        const char *only;
        const char *rows;
        const char *targets;
        const char *csv;
};

static struct peer peers[PEERS_MAX];
static int peers_count;

/* --- The child: measures --------------------------------------------------- */

static bool is_listed(const char *keys, const char *key)
{
        const size_t length = strlen(key);

        for (; *keys; keys += strcspn(keys, " "), keys += strspn(keys, " "))
                if (strcspn(keys, " ") == length && strncmp(keys, key, length) == 0)
                        return true;
        return false;
}

static bool chosen(const struct workload *workload, const struct settings *settings)
{
        char pattern[128];

        if (settings->rows && !is_listed(settings->rows, workload->rows[0].key))
                return false;
        if (!settings->only)
                return true;
        snprintf(pattern, sizeof(pattern), "*%s*", settings->only);
        return fnmatch(pattern, workload->rows[0].key, 0) == 0;
}

static void shuffle(int *order, int n, unsigned *seed)
{
        while (n > 1) {
                int i = rand_r(seed) % n--, held = order[i];

                order[i] = order[n];
                order[n] = held;
        }
}

static void measure(int index, const struct peer *peer, int round, const struct settings *settings)
{
        static double values[ROWS_MAX][EVENTS_MAX];
        const struct workload *workload = &workloads[index];
        int row, i, n;

        if (!peer_can(peer, workload->processes))
                return;
        n = workload->run(workload, peer, &settings->pace, values);
        for (row = 0; row < ROWS_MAX && workload->rows[row].unit != UNIT_NONE; row++)
                if (workload->rows[row].summary != SUMMARY_P99)
                        for (i = 0; i < n; i++)
                                printf("%d %d %d %d %.9g\n", index, row, (int)(peer - peers), round, values[row][i]);
}

static void child(const struct settings *settings)
{
        static char buffer[1 << 18]; /* a round's figures leave at its end */
        unsigned seed = (unsigned)settings->child + 1;
        int round, index, i, order[PEERS_MAX];

        setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
        team_pin(pthread_self(), 0);
        for (i = 0; i < peers_count; i++)
                order[i] = i;
        for (round = 0; round < settings->rounds; round++) {
                for (index = 0; index < workload_count; index++) {
                        const struct workload *workload = &workloads[index];

                        if (!chosen(workload, settings))
                                continue;
                        if (!settings->only && !settings->rows && workload->every && round % workload->every != 0)
                                continue;
                        shuffle(order, peers_count, &seed);
                        for (i = 0; i < peers_count; i++)
                                measure(index, &peers[order[i]], settings->child * settings->rounds + round, settings);
                }
                printf("round %d\n", round);
                fflush(stdout);
        }
}

/* --- The parent: gathers --------------------------------------------------- */

/* For people who wait; nothing of it where nobody looks. */
static void progress(const struct settings *settings, int process, int round, int64_t start)
{
        int done = process * settings->rounds + round, total = settings->processes * settings->rounds;
        int64_t left;

        if (!isatty(STDERR_FILENO))
                return;
        if (done == total) {
                fprintf(stderr, "\r\033[K");
                return;
        }
        fprintf(stderr, "\r\033[Kround %d of %d", done + 1, total);
        if (done) {
                left = (clock_now() - start) / done * (total - done) / 1000000000;
                fprintf(stderr, ", %d:%02d left", (int)(left / 60), (int)(left % 60));
        }
        fflush(stderr);
}

static void run_child(const struct settings *settings, int process, int64_t start, char **arguments)
{
        int pipe_ends[2], workload, row, peer, round, status;
        char option[32], line[128];
        double value;
        FILE *figures;
        pid_t pid;

        snprintf(option, sizeof(option), "--child=%d", process);
        arguments[1] = option;
        if (pipe(pipe_ends) < 0)
                err(1, "pipe");
        pid = fork();
        if (pid < 0)
                err(1, "fork");
        if (pid == 0) {
                dup2(pipe_ends[1], STDOUT_FILENO);
                close(pipe_ends[0]);
                close(pipe_ends[1]);
                execv("/proc/self/exe", arguments);
                err(1, "%s", arguments[0]);
        }
        close(pipe_ends[1]);
        figures = fdopen(pipe_ends[0], "r");
        if (!figures)
                err(1, "fdopen");
        while (fgets(line, sizeof(line), figures)) {
                if (sscanf(line, "round %d", &round) == 1)
                        progress(settings, process, round + 1, start);
                else if (sscanf(line, "%d %d %d %d %lf", &workload, &row, &peer, &round, &value) == 5)
                        report_add(workload, row, peer, round, value);
                else
                        errx(1, "not a figure: %s", line);
        }
        fclose(figures);
        if (waitpid(pid, &status, 0) < 0)
                err(1, "waitpid");
        if (status != 0)
                errx(1, "a measuring process failed (status %#x)", status);
}

/* Whether all are locks but "bare", which is not meant to be one. */
static bool torture(int64_t duration)
{
        bool good = true;
        int i;

        printf("Is it a lock?\n");
        for (i = 0; i < 2 * peers_count; i++) {
                const struct peer *peer = &peers[i % peers_count];
                bool bare = strcmp(peer->name, "bare") == 0, processes = i >= peers_count;
                const char *why;

                if (!peer_can(peer, processes))
                        continue;
                why = torture_run(peer, processes, duration);
                printf("  %-16s among %-10s %s%s%s\n", peer->name,
                       processes ? "processes:" : "threads:", why ? "NO: " : "yes", why ? why : "",
                       why && bare ? " (as it should be)" : "");
                fflush(stdout);
                good = good && (!why || bare);
        }
        return good;
}

static void describe_machine(const struct settings *settings)
{
        char line[256] = "", model[128] = "unknown processor";
        FILE *file = fopen("/proc/cpuinfo", "r");
        struct utsname system;
        double load;

        while (file && fgets(line, sizeof(line), file))
                if (sscanf(line, "model name : %127[^\n]", model) == 1)
                        break;
        if (file)
                fclose(file);
        uname(&system);
        printf("%s%s%s against %d peers\n", peers[0].name, peers[0].version ? " " : "",
               peers[0].version ? peers[0].version() : "", peers_count - 1);
        printf("%s, %d processors, %s %s, glibc %s, compiler %s\n", model, team_processors(), system.sysname,
               system.release, gnu_get_libc_version(), __VERSION__);
        if (!settings->torture)
                printf("%d processes of %d rounds\n", settings->processes, settings->rounds);
        if (getloadavg(&load, 1) == 1 && load > .5)
                printf("NOTE: load average %.1f; the figures of several at a time want an idle machine\n", load);
        putchar('\n');
        fflush(stdout);
}

static int number_of(const char *text)
{
        char *end;
        long value = strtol(text, &end, 10);

        if (*text == '\0' || *end != '\0' || value < 0 || value > 10000)
                errx(2, "%s: not a number that will do", text);
        return (int)value;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "quick", no_argument, NULL, 'q' },         { "only", required_argument, NULL, 'o' },
                { "rounds", required_argument, NULL, 'r' },  { "processes", required_argument, NULL, 'p' },
                { "torture", no_argument, NULL, 't' },       { "sweep", no_argument, NULL, 's' },
                { "targets", required_argument, NULL, 'g' }, { "csv", required_argument, NULL, 'c' },
                { "child", required_argument, NULL, 'C' },   { "rows", required_argument, NULL, 'k' },
                { "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
        };
        struct settings settings = {
                .pace = { 3 * MILLISECOND, 8 * MILLISECOND, 250 * MILLISECOND, 100 },
                .rounds = 40,
                .processes = 3,
                .child = -1,
        };
        char **arguments = calloc((size_t)argc + 2, sizeof(*arguments));
        int64_t start;
        int i, option;

        if (!arguments)
                err(1, "calloc");
        /* The child gets the same, behind a place for --child; kept as given,
         * for peer_load cuts the names off. */
        arguments[0] = argv[0];
        for (i = 1; i < argc; i++) {
                arguments[i + 1] = strdup(argv[i]);
                if (!arguments[i + 1])
                        err(1, "strdup");
        }
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (option) {
                case 'q':
                        settings.pace = (struct pace){ MILLISECOND, 3 * MILLISECOND, 60 * MILLISECOND, 40 };
                        settings.rounds = 6;
                        break;
                case 's':
                        settings.sweep = true;
                        settings.pace.loop = 4 * MILLISECOND / 10;
                        settings.rounds = 16;
                        sweep_choose();
                        break;
                case 'o':
                        settings.only = optarg;
                        break;
                case 'k':
                        settings.rows = optarg;
                        break;
                case 'r':
                        settings.rounds = number_of(optarg);
                        break;
                case 'p':
                        settings.processes = number_of(optarg);
                        break;
                case 't':
                        settings.torture = true;
                        break;
                case 'g':
                        settings.targets = optarg;
                        break;
                case 'c':
                        settings.csv = optarg;
                        break;
                case 'C':
                        settings.child = number_of(optarg);
                        break;
                case 'h':
                        fputs(usage, stdout);
                        return 0;
                default:
                        fputs(usage, stderr);
                        return 2;
                }
        if (optind == argc || argc - optind > PEERS_MAX) {
                fputs(usage, stderr);
                return 2;
        }
        team_init();
        for (i = optind; i < argc; i++)
                peer_load(&peers[peers_count++], argv[i]);

        if (settings.child >= 0) {
                child(&settings);
                return 0;
        }
        describe_machine(&settings);
        if (!torture(settings.torture ? 1000 * MILLISECOND : 8 * MILLISECOND)) {
                fprintf(stderr, "No times of what is no lock.\n");
                return 1;
        }
        if (settings.torture)
                return 0;
        fflush(stdout);
        report_init(peers, peers_count, settings.processes * settings.rounds);
        start = clock_now();
        for (i = 0; i < settings.processes; i++)
                run_child(&settings, i, start, arguments);
        if (settings.sweep)
                sweep_tables(peers, peers_count);
        else
                report_tables();
        if (settings.targets)
                report_targets(settings.targets);
        if (settings.csv)
                report_csv(settings.csv);
        return 0;
}
