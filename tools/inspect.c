/* inspect.c - ammap-inspect: the maps of a running process, of a file, or of a descriptor
 *
 * SPDX-License-Identifier: MIT
 *
 * ammap-inspect(1) is its page.  It only looks: it stops nobody, and writes, locks and maps
 * nothing of what it looks at (header.c says how).
 */
#include "locks.h"
#include "proc.h"
#include "target.h"
#include "text.h"

#include "ammap.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK, NOT_SEEN, USAGE };

struct question {
        struct view view;
        bool json;
        int64_t watch; /* ms; 0: once */
        struct target *targets;
        size_t count;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
        (void)signal;
        interrupted = 1;
}

static const char usage[] = "usage: ammap-inspect [-aj] [-w[SECONDS]] [--proc=DIRECTORY]\n"
                            "                     [PID | PID:FD | FILE | --fd=N]...\n";

static const char help[] = "Shows the maps of libammap that processes have: of each PID, in each FILE, behind a\n"
                           "descriptor, or of all processes that may be seen; and who holds their locks.\n"
                           "\n"
                           "  -f, --fd=N            what this program's own descriptor N is, which it inherited\n"
                           "  -a, --all             also memory that need not be a map of libammap\n"
                           "  -j, --json            for programs: one JSON document\n"
                           "  -w, --watch[=SECONDS] again and again, every 2 seconds, until SIGINT\n"
                           "      --proc=DIRECTORY  another procfs than /proc\n"
                           "  -h, --help            this\n"
                           "  -V, --version         the version\n"
                           "\n"
                           "A FILE whose name is a number is named with its folder: ./42.\n"
                           "Exit status: 0; 1: something of what was named could not be seen; 2: usage.\n";

static int misused(const char *what, const char *word)
{
        fprintf(stderr, "ammap-inspect: %s", what);
        if (word) {
                fputs(": ", stderr);
                text_plain(stderr, word, 200);
        }
        fprintf(stderr, "\n%s", usage);
        return USAGE;
}

/* A number up to INT_MAX, up to the end or a colon. */
static bool number_of(const char *text, const char **end, int *number)
{
        long n = 0;

        for (*end = text; **end >= '0' && **end <= '9' && n <= INT_MAX; ++*end)
                n = 10 * n + (**end - '0');
        *number = n <= INT_MAX ? (int)n : 0;
        return *end > text && n <= INT_MAX;
}

static struct target target_of(const char *word)
{
        struct target target = { .fd = -1 };
        const char *end;
        int pid, fd;

        if (number_of(word, &end, &pid) && pid > 0) {
                if (*end == '\0') {
                        target.pid = (uint32_t)pid;
                        return target;
                }
                if (*end == ':' && number_of(end + 1, &end, &fd) && *end == '\0') {
                        target.pid = (uint32_t)pid;
                        target.fd = fd;
                        return target;
                }
        }
        target.path = word;
        return target;
}

static bool add_target(struct question *question, struct target target)
{
        struct target *targets = realloc(question->targets, (question->count + 1) * sizeof *targets);

        if (!targets)
                return false;
        question->targets = targets;
        targets[question->count++] = target;
        return true;
}

static bool seconds_of(const char *text, int64_t *ms)
{
        char *end;
        double seconds = strtod(text, &end);

        *ms = seconds >= 0.01 && seconds <= 1e6 ? (int64_t)(seconds * 1000) : 0;
        return end > text && *end == '\0' && *ms > 0;
}

/* -1: go on; else the exit status. */
static int read_options(struct question *question, int argc, char **argv)
{
        enum { PROC = 256 };
        static const struct option options[] = {
                { "fd", required_argument, NULL, 'f' },    { "all", no_argument, NULL, 'a' },
                { "json", no_argument, NULL, 'j' },        { "watch", optional_argument, NULL, 'w' },
                { "proc", required_argument, NULL, PROC }, { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },     { NULL, 0, NULL, 0 },
        };
        struct target own = { 0 };
        const char *end;
        int option;

        while ((option = getopt_long(argc, argv, "f:ajw::hV", options, NULL)) != -1) {
                switch (option) {
                case 'f':
                        if (!number_of(optarg, &end, &own.fd) || *end)
                                return misused("no descriptor's number", optarg);
                        if (!add_target(question, own))
                                return misused("there is no memory", NULL);
                        break;
                case 'a':
                        question->view.all = true;
                        break;
                case 'j':
                        question->json = true;
                        break;
                case 'w':
                        question->watch = 2000;
                        if (optarg && !seconds_of(optarg, &question->watch))
                                return misused("no number of seconds", optarg);
                        break;
                case PROC:
                        proc_set_root(optarg);
                        break;
                case 'h':
                        printf("%s%s", usage, help);
                        return OK;
                case 'V':
                        printf("ammap-inspect (libammap) %s\n", AMMAP_VERSION);
                        return OK;
                default:
                        return misused("see --help", NULL);
                }
        }
        for (; optind < argc; optind++)
                if (!*argv[optind])
                        return misused("an empty name", NULL);
                else if (!add_target(question, target_of(argv[optind])))
                        return misused("there is no memory", NULL);
        return -1;
}

/* Everything is looked at before anything is written: who reads slowly does not stretch it. */
static int look(struct question *question, bool redraw)
{
        const struct show *show = question->json ? &show_json : &show_table;
        size_t size = 0, failed = 0;
        uint64_t unseen = 0;
        char *text = NULL;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return misused("there is no memory", NULL);
        question->view.show = show;
        question->view.out = out;
        locks_forget();
        show->begin(out);
        for (size_t i = 0; i < question->count; i++)
                failed += target_show(&question->targets[i], &question->view) < 0;
        if (question->count == 0)
                unseen = target_show_all(&question->view);
        if (question->count == 0 || question->json)
                show->end(out, unseen);
        if (fclose(out) == 0) {
                if (redraw)
                        fputs("\033[H\033[2J", stdout);
                fwrite(text, 1, size, stdout);
        }
        free(text);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                fprintf(stderr, "ammap-inspect: %s\n", strerror(errno));
                return NOT_SEEN;
        }
        return failed ? NOT_SEEN : OK;
}

/* SIGINT comes while it sleeps, and at no other time: so no look is torn, and none is missed. */
static int watch(struct question *question)
{
        const struct timespec nap = { (time_t)(question->watch / 1000), (long)(question->watch % 1000 * 1000000) };
        const bool redraw = !question->json && isatty(STDOUT_FILENO);
        struct sigaction action = { .sa_handler = interrupt };
        sigset_t blocked, before;
        int status;

        sigemptyset(&blocked);
        sigaddset(&blocked, SIGINT);
        sigaddset(&blocked, SIGTERM);
        sigprocmask(SIG_BLOCK, &blocked, &before);
        sigdelset(&before, SIGINT); /* who starts it in the background may have it so */
        sigdelset(&before, SIGTERM);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        for (;;) {
                status = look(question, redraw);
                if (ferror(stdout) || ppoll(NULL, 0, &nap, &before) < 0 || interrupted)
                        return status;
                if (!question->json && !redraw)
                        putchar('\n');
        }
}

int main(int argc, char **argv)
{
        struct question question = { .watch = 0 };
        int status = read_options(&question, argc, argv);

        if (status < 0)
                status = question.watch ? watch(&question) : look(&question, false);
        free(question.targets);
        return fflush(stdout) != 0 && status == OK ? NOT_SEEN : status;
}
