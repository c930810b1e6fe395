/* same-path: programs that know nothing of one another but a path.  SPDX-License-Identifier: MIT
 *
 *      same-path PATH write TEXT     leave a note in the map in the file PATH
 *      same-path PATH read           wait until there is one, and print it
 *
 * Start them in any order, at the same time or with a reboot between.  Without arguments it runs itself as both, in a
 * directory of its own, and sees what comes of it. */
#include <ammap.h>
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct note {
        uint32_t there; /* readers sleep while it is 0 */
        char text[124];
};

static void must(int rc)
{
        if (rc < 0)
                errx(1, "%s", ammap_strerror(rc));
}

/* Whoever comes first makes the map; it does not matter who that is. */
static ammap_t *attach(const char *path)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.allow_faults = true; /* for slices: nobody makes this file shorter */
        must(ammap_open(&map, path, sizeof(struct note), &options));
        return map;
}

static void leave_note(const char *path, const char *text)
{
        ammap_t *map = attach(path);
        struct note note = { .there = 1 };
        ammap_mut_slice_t slice;

        snprintf(note.text, sizeof(note.text), "%s", text);
        /* No reader, in any process, sees half of it.  If a writer was killed inside its write, or the machine
         * stopped, this returns 1, and nobody reads what that one left: we write all of it anew. */
        must(ammap_recover_as_mut_slice(map, 0, sizeof(note), &slice));
        memcpy(slice.data, &note, sizeof(note));
        ammap_mut_slice_release(&slice);
        must(ammap_wake_u32(map, 0, INT_MAX));
        must(ammap_flush(map, 0, sizeof(note)));
        must(ammap_free(map));
}

static void print_note(const char *path)
{
        ammap_t *map = attach(path);
        struct note note;

        must(ammap_read_into(map, 0, &note, sizeof(note)));
        while (!note.there) {
                must(ammap_wait_u32(map, 0, 0, INT64_C(10000000000)));
                must(ammap_read_into(map, 0, &note, sizeof(note)));
        }
        printf("%.*s\n", (int)sizeof(note.text), note.text);
        must(ammap_free(map));
}

/* Another process, and nothing in common with it; output: what it prints goes there. */
static pid_t run(char *program, char *path, char *verb, char *text, int output)
{
        pid_t pid = fork();

        if (pid < 0)
                err(1, "fork");
        if (pid == 0) {
                dup2(output, STDOUT_FILENO);
                execvp(program, (char *[]){ program, path, verb, text, NULL });
                err(1, "%s", program);
        }
        return pid;
}

static int demonstrate(char *program)
{
        char directory[] = "/tmp/same-path-XXXXXX", path[64], heard[64] = "";
        char said[] = "so this is where you are";
        int failed = 0, ends[2];

        if (!mkdtemp(directory) || pipe(ends) < 0)
                err(1, "%s", directory);
        snprintf(path, sizeof(path), "%s/map", directory);
        run(program, path, "read", NULL, ends[1]);
        run(program, path, "write", said, STDOUT_FILENO);
        close(ends[1]);
        for (int status; wait(&status) > 0;)
                failed |= status;
        ssize_t length = read(ends[0], heard, sizeof(heard) - 1);
        unlink(path);
        rmdir(directory);
        printf("%s: one process wrote, another read: %s", path, heard);
        return failed || length < 1 || strncmp(heard, said, strlen(said)) != 0;
}

int main(int argc, char **argv)
{
        if (argc == 1)
                return demonstrate(argv[0]);
        if (argc == 4 && strcmp(argv[2], "write") == 0)
                leave_note(argv[1], argv[3]);
        else if (argc == 3 && strcmp(argv[2], "read") == 0)
                print_note(argv[1]);
        else
                errx(2, "usage: %s [PATH write TEXT | PATH read]", argv[0]);
        return 0;
}
