/* monitor: one process publishes, and others watch it that can only read.  SPDX-License-Identifier: MIT
 *
 *      monitor PATH publish      publish a sample each millisecond
 *      monitor PATH watch        print what is published
 *
 * Nobody knows anything of the others but the path.  A publisher may be killed in the middle of a sample, and another
 * one goes on where it was; it may be stopped there.  A monitor sees each of that, sees no half of a sample, and waits
 * for nobody.  Without arguments it does all that to itself, and sees what comes of it. */
#include <ammap.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

struct sample {
        uint64_t publisher, number;
        int64_t time; /* when it was published: CLOCK_MONOTONIC, in ns */
        uint64_t values[61];
};

static int64_t now(void)
{
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec * 1000 * MS + time.tv_nsec;
}

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

/* --- Who publishes --- */

/* signal: what it sends itself in the middle of the sample, or 0. */
static void publish(ammap_t *map, const struct sample *sample, int signal)
{
        ammap_mut_slice_t slice;
        const size_t half = sizeof(*sample) / 2;

        /* Where another one was killed in the middle, this takes over, and nobody reads what that one left. */
        must(ammap_recover_as_mut_slice(map, 0, sizeof(*sample), &slice));
        memcpy(slice.data, sample, half);
        if (signal)
                raise(signal);
        memcpy(slice.data + half, (const char *)sample + half, sizeof(*sample) - half);
        must(ammap_mut_slice_release(&slice));
}

/* Until a command ends it: 'k' and 's', killed and stopped in the middle of a sample; or the end of commands. */
static void publisher(const char *path, uint64_t me, int commands)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct pollfd told = { .fd = commands, .events = POLLIN };
        ammap_t *map;
        char command;

        options.allow_faults = true; /* at the speed of memory; nobody makes this file shorter */
        must(ammap_open(&map, path, sizeof(struct sample), &options));
        for (uint64_t number = 1;; number++) {
                struct sample sample = { .publisher = me, .number = number };
                int signal = 0;

                for (size_t i = 0; i < sizeof(sample.values) / sizeof(sample.values[0]); i++)
                        sample.values[i] = number;
                if (poll(&told, 1, 1) > 0) { /* ms */
                        if (read(commands, &command, 1) != 1)
                                break;
                        signal = command == 'k' ? SIGKILL : SIGSTOP;
                }
                sample.time = now();
                publish(map, &sample, signal);
        }
        must(ammap_free(map));
}

/* --- Who watches --- */

static ammap_t *attach(const char *path)
{
        const struct timespec pause = { 0, MS };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        options.allow_faults = true;
        options.read_only = true; /* whoever runs it, and whatever it does: it cannot write */
        while ((rc = ammap_open(&map, path, 0, &options)) == -ENOENT || rc == AMMAP_ERR_FORMAT)
                nanosleep(&pause, NULL); /* nobody has published yet */
        must(rc);
        return map;
}

/* A sample that has not been seen before; or why there is none now.  It never waits longer than that. */
static int next(ammap_t *map, uint64_t *generation, struct sample *sample, int64_t timeout)
{
        int rc = ammap_wait_change(map, 0, sizeof(*sample), generation, timeout);

        return rc < 0 ? rc : ammap_timed_read_into(map, 0, sample, sizeof(*sample), timeout);
}

static int compare(const void *one, const void *other)
{
        int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;

        return (a > b) - (a < b);
}

/* It tells what it sees: 'a' and 'b', SOME samples of publisher 1 and of 2; 'd', that one is dead in the middle of a
 * sample; 's', that it stands still; 'c', that it goes on. */
static void watch_all(const char *path, int told)
{
        static const char kinds[] = "adbsc";
        enum { SOME = 50, KEPT = 100000 };
        static int64_t took[KEPT];
        size_t kind = 0, count = 0, some = 0;
        struct sample sample;
        uint64_t generation = 0;
        ammap_t *map = attach(path);

        while (kind < strlen(kinds)) {
                int rc = next(map, &generation, &sample, 50 * MS);
                char seen = rc == AMMAP_ERR_OWNER_DEAD ? 'd' : rc == AMMAP_ERR_TIMEOUT ? 's' : 0;

                if (rc == 0 && sample.number > 0) {
                        int64_t late = now() - sample.time;

                        for (size_t i = 0; i < sizeof(sample.values) / sizeof(sample.values[0]); i++)
                                if (sample.values[i] != sample.number)
                                        errx(1, "half of a sample was seen");
                        seen = sample.publisher == 1 ? 'a' : kind < 3 ? 'b' : 'c';
                        if (count < KEPT)
                                took[count++] = late;
                } else if (rc < 0 && !seen) {
                        must(rc);
                }
                if (seen == kinds[kind] && (rc < 0 || ++some == SOME)) {
                        kind++;
                        some = 0;
                        if (write(told, &seen, 1) != 1)
                                err(1, "write");
                }
                if (rc == AMMAP_ERR_OWNER_DEAD) /* it says so at once, until another one publishes */
                        nanosleep(&(struct timespec){ 0, MS }, NULL);
        }
        must(ammap_free(map));
        qsort(took, count, sizeof(took[0]), compare);
        printf("%zu samples, whole; half of them within %.1f ms of their time\n", count, (double)took[count / 2] / 1e6);
}

static void watch(const char *path)
{
        uint64_t generation = 0;
        struct sample sample;
        ammap_t *map = attach(path);

        for (;;) {
                int rc = next(map, &generation, &sample, 1000 * MS);

                if (rc == 0)
                        printf("%" PRIu64 "\n", sample.number);
                else
                        printf("%s\n", ammap_strerror(rc));
                if (rc == AMMAP_ERR_OWNER_DEAD)
                        nanosleep(&(struct timespec){ 0, 100 * MS }, NULL);
        }
}

/* --- All of it at once --- */

enum { MONITORS = 6 };

static pid_t start_publisher(const char *path, uint64_t me, int *commands)
{
        int ends[2];
        pid_t pid;

        if (pipe(ends) < 0 || (pid = fork()) < 0)
                err(1, "fork");
        if (pid == 0) {
                close(ends[1]);
                publisher(path, me, ends[0]);
                exit(0);
        }
        close(ends[0]);
        *commands = ends[1];
        return pid;
}

/* Each monitor has seen it.  Some may be further: on a busy machine a publisher that goes on seems to stand still. */
static void all_have_seen(int told, char kind)
{
        static int count[UCHAR_MAX + 1];
        unsigned char seen;

        while (count[(unsigned char)kind] < MONITORS) {
                if (read(told, &seen, 1) != 1)
                        errx(1, "a monitor did not see '%c'", kind);
                count[seen]++;
        }
}

static int demonstrate(void)
{
        char directory[] = "/tmp/monitor-XXXXXX", path[64];
        int told[2], commands, status, failed = 0;
        pid_t publisher;

        if (!mkdtemp(directory) || pipe(told) < 0)
                err(1, "%s", directory);
        snprintf(path, sizeof(path), "%s/map", directory);
        fflush(stdout);
        for (int i = 0; i < MONITORS; i++)
                if (fork() == 0) {
                        close(told[0]);
                        watch_all(path, told[1]);
                        exit(0);
                }
        close(told[1]);
        publisher = start_publisher(path, 1, &commands);
        all_have_seen(told[0], 'a');
        if (write(commands, "k", 1) != 1)
                err(1, "write");
        close(commands);
        waitpid(publisher, &status, 0);
        all_have_seen(told[0], 'd');
        publisher = start_publisher(path, 2, &commands);
        all_have_seen(told[0], 'b');
        if (write(commands, "s", 1) != 1)
                err(1, "write");
        waitpid(publisher, &status, WUNTRACED);
        all_have_seen(told[0], 's');
        kill(publisher, SIGCONT);
        all_have_seen(told[0], 'c');
        close(commands);
        while (wait(&status) > 0)
                failed |= status;
        unlink(path);
        rmdir(directory);
        return failed != 0;
}

int main(int argc, char **argv)
{
        if (argc == 1)
                return demonstrate();
        if (argc == 3 && strcmp(argv[2], "publish") == 0)
                publisher(argv[1], 1, STDIN_FILENO);
        else if (argc == 3 && strcmp(argv[2], "watch") == 0)
                watch(argv[1]);
        else
                errx(2, "usage: %s [PATH publish | PATH watch]", argv[0]);
        return 0;
}
