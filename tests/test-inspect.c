/* test-inspect.c - tools/: ammap-inspect
 *
 * SPDX-License-Identifier: MIT
 *
 * Processes whose maps, holders and dead are known, and what the program says of them; that it
 * leaves all as it was; and headers, names and files that are made to mislead it.
 */
#include "share.h"

#include "json.h"

#include <inttypes.h>

enum { OUTPUT = 1 << 20 };

/* What the program said, and how it ended. */
struct said {
        int status;
        char *out;
};

static struct said collect(pid_t pid, int from)
{
        struct said said = { -1, calloc(1, OUTPUT) };
        size_t length = 0;
        ssize_t n;
        int status;

        ck_assert_ptr_nonnull(said.out);
        while (length < OUTPUT - 1 && (n = read(from, said.out + length, OUTPUT - 1 - length)) != 0)
                if (n > 0)
                        length += (size_t)n;
                else if (errno != EINTR)
                        break;
        close(from);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status), "it was killed: %#x", (unsigned)status);
        said.status = WEXITSTATUS(status);
        return said;
}

static const char *program(void)
{
        static char path[PATH_MAX];
        const char *top = getenv("top_builddir");

        snprintf(path, sizeof(path), "%s/tools/ammap-inspect", top && *top ? top : ".");
        return path;
}

/* As another user, where uid is not 0; it is killed if it hangs. */
static pid_t start(const char *const *words, uid_t uid, int *from)
{
        int ends[2];
        pid_t pid;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        fflush(NULL);
        pid = fork();
        if (pid == 0) { /* no check here: another thread may have been in one */
                int tool = open(program(), O_PATH | O_CLOEXEC);

                alarm(test_time());
                dup2(ends[1], 1);
                dup2(ends[1], 2);
                if (uid && (setgid(uid) < 0 || setuid(uid) < 0))
                        _exit(99);
                fexecve(tool, (char *const *)(uintptr_t)words, environ);
                _exit(98);
        }
        ck_assert_int_gt(pid, 0);
        close(ends[1]);
        *from = ends[0];
        return pid;
}

static struct said inspect_as(uid_t uid, const char *first, const char *second, const char *third)
{
        const char *words[] = { "ammap-inspect", first, second, third, NULL };
        int from;
        pid_t pid = start(words, uid, &from);

        return collect(pid, from);
}

static struct said inspect(const char *first, const char *second)
{
        return inspect_as(0, first, second, NULL);
}

static const char *number(int64_t n)
{
        static char text[4][32];
        static unsigned at;

        snprintf(text[++at % 4], sizeof(text[0]), "%" PRId64, n);
        return text[at % 4];
}

static struct said inspect_json(const char *what)
{
        struct said said = inspect("--json", what);

        ck_assert_msg(json_is(said.out), "no JSON: %.2000s", said.out);
        return said;
}

#define check_has(said, path, value)                                                                                   \
        ck_assert_msg(json_has((said).out, path, value), "%s is not %s: %.3000s", path, value, (said).out)

/* --- Who holds it ------------------------------------------------------- */

struct write {
        ammap_t *map;
        uint64_t offset, length;
        bool reads, detaches;
};

static void hold(struct peer *parent, void *argument)
{
        const struct write *write = argument;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        if (write->reads)
                child_must_int(ammap_as_slice(write->map, write->offset, write->length, &slice), 0);
        else
                child_must_int(ammap_as_mut_slice(write->map, write->offset, write->length, &mut), 0);
        if (write->detaches)
                child_must_int(ammap_mut_slice_detach(&mut), 0);
        peer_tell(parent, 'h');
        child_expect(parent, 0);
}

static void hold_by(struct peer *peer, struct write *write)
{
        peer_start(peer, hold, write);
        peer_expect(peer, 'h');
}

/* The first map of a process that has no other. */
#define MAP "targets/0/maps/0/"

DEFINE_TEST("holders", a_writer_that_is_stopped_is_named)
{
        ammap_t *map = make_shared(4 * PAGE, 0, 4);
        struct write write = { .map = map, .offset = PAGE, .length = PAGE };
        struct peer peer;
        struct said said;
        char text[128];
        int status;

        hold_by(&peer, &write);
        ck_assert_int_eq(kill(peer.pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(peer.pid, &status, WUNTRACED), peer.pid);
        said = inspect_json(number(getpid()));
        ck_assert_int_eq(said.status, 0);
        check_has(said, "targets/0/pid", number(getpid()));
        check_has(said, MAP "kind", "\"shared\"");
        check_has(said, MAP "name", "\"ammap\"");
        check_has(said, MAP "length", number((int64_t)(4 * PAGE)));
        check_has(said, MAP "lanes", "4");
        check_has(said, MAP "lane_size", number((int64_t)PAGE));
        check_has(said, MAP "fd", number(ammap_fd(map)));
        check_has(said, MAP "slots", "1");
        check_has(said, MAP "slots_max", number(FORMAT_SLOTS));
        check_has(said, MAP "seals/0", "\"shrink\"");
        check_has(said, MAP "busy", "[{\"lane\":1,\"state\":\"write\",\"sequence\":1,\"waiters\":false}]");
        check_has(said, MAP "holders/0/hold", "\"write\"");
        check_has(said, MAP "holders/0/first", "1");
        check_has(said, MAP "holders/0/last", "1");
        check_has(said, MAP "holders/0/pid", number(peer.pid));
        check_has(said, MAP "holders/0/tid", number(peer.pid));
        check_has(said, MAP "holders/0/state", "\"T\"");
        ck_assert_ptr_null(json_at(said.out, MAP "holders/1"));
        free(said.out);
        said = inspect(number(getpid()), NULL);
        snprintf(text, sizeof(text), "lane 1: written by process %d, thread %d (", (int)peer.pid, (int)peer.pid);
        ck_assert_msg(strstr(said.out, text) && strstr(said.out, "STOPPED by a signal"), "%.3000s", said.out);
        free(said.out);
        ck_assert_int_eq(kill(peer.pid, SIGCONT), 0);
        peer_end(&peer);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("holders", readers_are_named_with_their_lanes)
{
        ammap_t *map = make_shared(4 * PAGE, 0, 4);
        struct write write = { .map = map, .offset = PAGE, .length = 2 * PAGE, .reads = true };
        struct peer peer;
        struct said said;

        hold_by(&peer, &write);
        said = inspect_json(number(peer.pid));
        check_has(said, MAP "holders/0/hold", "\"read\"");
        check_has(said, MAP "holders/0/slice", "true");
        check_has(said, MAP "holders/0/first", "1");
        check_has(said, MAP "holders/0/last", "2");
        check_has(said, MAP "holders/0/tid", number(peer.pid));
        free(said.out);
        peer_end(&peer);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void check_dead(ammap_t *map, const char *what, const char *pid)
{
        struct said said = inspect_json(what);

        check_has(said, MAP "busy/0/state", "\"dead\"");
        check_has(said, MAP "holders/0/hold", "\"dead\"");
        check_has(said, MAP "holders/0/first", "2");
        check_has(said, MAP "holders/0/pid", pid);
        check_has(said, MAP "holders/0/state", "null");
        free(said.out);
        ck_assert_int_eq(ammap_recover(map), 0);
        said = inspect_json(what);
        check_has(said, MAP "holders", "[]");
        free(said.out);
}

DEFINE_TEST("holders", a_writer_that_died_is_named)
{
        ammap_t *map = make_shared(4 * PAGE, 0, 4);
        struct write write = { .map = map, .offset = 2 * PAGE, .length = 1 };
        struct peer peer;

        hold_by(&peer, &write);
        peer_kill(&peer);
        check_dead(map, number(getpid()), number(peer.pid));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("holders", a_detached_slice_is_its_process_s)
{
        ammap_t *map = make_shared(PAGE, 0, 1);
        struct write write = { .map = map, .length = 1, .detaches = true };
        struct peer peer;
        struct said said;

        hold_by(&peer, &write);
        said = inspect_json(number(peer.pid));
        check_has(said, MAP "holders/0/hold", "\"write\"");
        check_has(said, MAP "holders/0/pid", number(peer.pid));
        check_has(said, MAP "holders/0/tid", "null");
        free(said.out);
        peer_kill(&peer);
        said = inspect_json(number(getpid()));
        check_has(said, MAP "holders/0/hold", "\"dead\"");
        check_has(said, MAP "holders/0/pid", number(peer.pid));
        free(said.out);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("holders", a_writer_that_waits_is_named_beside_the_reader)
{
        ammap_t *map = make_shared(PAGE, 0, 1);
        struct holder reader, writer;
        bool waits = false;

        holder_start(&reader, map, 0, 1, false);
        writer = (struct holder){ .map = map, .length = 1, .writes = true };
        sem_init(&writer.taken, 0, 0);
        sem_init(&writer.finish, 0, 0);
        task_start(&writer.task, holder_body, &writer);
        for (int64_t until = now_ns() + patience_ns(); !waits && now_ns() < until;) {
                struct said said = inspect_json(number(getpid()));

                for (unsigned i = 0; i < 2 && json_at(said.out, MAP "holders/1"); i++)
                        waits = waits ||
                                (json_has(said.out, i ? MAP "holders/1/hold" : MAP "holders/0/hold", "\"wait\"") &&
                                 json_has(said.out, i ? MAP "holders/0/hold" : MAP "holders/1/hold", "\"read\""));
                free(said.out);
        }
        ck_assert(waits);
        holder_stop(&reader);
        sem_wait_surely(&writer.taken);
        ck_assert_int_eq(writer.result, 0);
        holder_stop(&writer);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Files and other maps -------------------------------------------------- */

static void hold_file(struct peer *parent, void *argument)
{
        struct write write = { .offset = 2 * PAGE, .length = 1 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.allow_faults = true; /* else there are no slices; the lock stays the kernel's */
        child_must_int(ammap_open(&write.map, argument, 0, &options), 0);
        hold(parent, &write);
}

DEFINE_TEST("files", of_a_lock_of_the_kernel_s_the_process_is_named)
{
        struct path path = path_of("file");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct peer peer;
        struct said said;
        ammap_t *map;

        options.lanes = 4;
        ck_assert_int_eq(ammap_open(&map, path.text, 4 * PAGE, &options), 0);
        peer_start(&peer, hold_file, path.text);
        peer_expect(&peer, 'h');
        said = inspect_json(path.text);
        check_has(said, MAP "kind", "\"file\"");
        check_has(said, MAP "slots", "null");
        check_has(said, MAP "holders/0/hold", "\"write\"");
        check_has(said, MAP "holders/0/first", "2");
        check_has(said, MAP "holders/0/last", "2");
        check_has(said, MAP "holders/0/pid", number(peer.pid));
        free(said.out);
        peer_kill(&peer);
        check_dead(map, path.text, "null");
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("files", with_slots_and_raw_maps_are_found)
{
        struct path path = path_of("fast");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *raw = make_raw(PAGE);
        struct said said;

        options.allow_faults = true;
        ck_assert_int_eq(ammap_open(&map, path.text, PAGE, &options), 0);
        said = inspect_json(number(getpid()));
        ck_assert_int_eq(said.status, 0);
        for (unsigned i = 0; i < 2; i++) {
                char where[64];

                snprintf(where, sizeof(where), "targets/0/maps/%u/kind", i);
                ck_assert(json_has(said.out, where, "\"shared\"") || json_has(said.out, where, "\"raw\""));
        }
        ck_assert_ptr_null(json_at(said.out, "targets/0/maps/2"));
        free(said.out);
        ck_assert_int_eq(ammap_free(raw), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("files", a_descriptor_alone)
{
        ammap_t *map = make_shared(PAGE, 0, 1);
        int fd = export_of(map, AMMAP_READ | AMMAP_WRITE), pipe_ends[2];
        struct said said;
        char text[64];

        ck_assert_int_eq(fcntl(fd, F_SETFD, 0), 0);
        said = inspect_as(0, "--json", "--fd", number(fd));
        ck_assert_int_eq(said.status, 0);
        check_has(said, "targets/0/pid", "null");
        check_has(said, MAP "kind", "\"shared\"");
        free(said.out);
        snprintf(text, sizeof(text), "%d:%d", (int)getpid(), fd);
        said = inspect_json(text);
        ck_assert_int_eq(said.status, 0);
        check_has(said, MAP "fd", number(fd));
        ck_assert_ptr_null(json_at(said.out, "targets/0/maps/1"));
        free(said.out);
        ck_assert_int_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
        snprintf(text, sizeof(text), "%d:%d", (int)getpid(), pipe_ends[0]);
        said = inspect_json(text);
        ck_assert_int_eq(said.status, 1);
        free(said.out);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void write_text(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

/* Many kernels keep no names of memory: so /proc is one of ours. */
DEFINE_TEST("files", private_maps_by_the_name_of_their_memory)
{
        static const char smaps[] = "7f0000000000-7f0000010000 rw-p 00000000 00:00 0    [anon:ammap jobs]\n"
                                    "Rss:                  12 kB\n"
                                    "AnonHugePages:         0 kB\n"
                                    "VmFlags: rd wr mr mw me lo\n"
                                    "7f0000010000-7f0000011000 rw-p 00000000 00:00 0    [anon:ammap jobs]\n"
                                    "Rss:                   4 kB\n"
                                    "VmFlags: rd wr mr mw me\n"
                                    "7f0000020000-7f0000021000 rw-p 00000000 00:00 0    [anon:other]\n"
                                    "Rss:                   4 kB\n";
        char root[256], path[320];
        struct said said;

        snprintf(root, sizeof(root), "%s/proc", share_directory);
        for (const char *const *name = (const char *const[]){ "", "/7", "/7/task", "/7/task/7", "/7/fd", NULL }; *name;
             name++) {
                snprintf(path, sizeof(path), "%s%s", root, *name);
                ck_assert_int_eq(mkdir(path, 0700), 0);
        }
        snprintf(path, sizeof(path), "%s/7/task/7/stat", root);
        write_text(path, "7 (a) b) \\\x1b[31m) S 1 7\n");
        snprintf(path, sizeof(path), "%s/7/smaps", root);
        write_text(path, smaps);
        snprintf(path, sizeof(path), "--proc=%s", root);
        said = inspect_as(0, "--json", path, "7");
        ck_assert_msg(json_is(said.out), "%.2000s", said.out);
        ck_assert_int_eq(said.status, 0);
        check_has(said, "targets/0/comm", "\"a) b) \\\\\\u001b[31m\"");
        check_has(said, MAP "kind", "\"private\"");
        check_has(said, MAP "name", "\"ammap jobs\"");
        check_has(said, MAP "mapped", "69632");
        check_has(said, MAP "resident", "16384");
        check_has(said, MAP "locked", "12288");
        ck_assert_ptr_null(json_at(said.out, "targets/0/maps/1"));
        free(said.out);
        said = inspect_as(0, "-aj", path, "7");
        check_has(said, "targets/0/maps/1/name", "\"other\"");
        free(said.out);
        snprintf(path, sizeof(path), "rm -rf %s", root);
        ck_assert_int_eq(system(path), 0);
}

/* --- It only looks ---------------------------------------------------------- */

DEFINE_TEST("looks", and_leaves_all_as_it_was)
{
        struct path path = path_of("file");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t sizes[3];

        for (unsigned kind = 0; kind < 3; kind++) {
                ammap_t *map;
                unsigned char *before, *after;
                struct stat stat_before, stat_after;
                struct said said;
                size_t size;

                options.allow_faults = kind == 1;
                unlink(path.text);
                if (kind == 2)
                        map = make_shared(64 * PAGE, 0, 64);
                else
                        ck_assert_int_eq(ammap_open(&map, path.text, 64 * PAGE, &options), 0);
                ck_assert_int_eq(ammap_update_region(map, 8, "bytes", 5), 0);
                ck_assert_int_eq(fstat(ammap_fd(map), &stat_before), 0);
                sizes[kind] = size = (size_t)stat_before.st_size;
                before = malloc(size);
                after = malloc(size);
                ck_assert(before && after && sizes[kind] > 0);
                ck_assert_int_eq(pread(ammap_fd(map), before, size, 0), (ssize_t)size);
                ck_assert_int_eq(fstat(ammap_fd(map), &stat_before), 0);
                for (unsigned i = 0; i < 3; i++) {
                        said = inspect(kind == 2 || i ? number(getpid()) : path.text, NULL);
                        ck_assert_int_eq(said.status, 0);
                        ck_assert_ptr_nonnull(strstr(said.out, kind ? "shared" : "file "));
                        free(said.out);
                }
                ck_assert_int_eq(fstat(ammap_fd(map), &stat_after), 0);
                ck_assert_int_eq(stat_after.st_blocks, stat_before.st_blocks);
                ck_assert_int_eq(stat_after.st_mtim.tv_nsec, stat_before.st_mtim.tv_nsec);
                ck_assert_int_eq(stat_after.st_atim.tv_nsec, stat_before.st_atim.tv_nsec);
                ck_assert_int_eq(pread(ammap_fd(map), after, size, 0), (ssize_t)size);
                ck_assert_int_eq(memcmp(before, after, size), 0);
                free(before);
                free(after);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* A file that is being opened by a process that is stopped keeps the library waiting. */
DEFINE_TEST("looks", and_waits_for_no_lock)
{
        struct path path = path_of("file");
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        struct said said;
        ammap_t *map;
        int fd;

        ck_assert_int_eq(ammap_open(&map, path.text, PAGE, NULL), 0);
        fd = open(path.text, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
        said = inspect_json(path.text);
        ck_assert_int_eq(said.status, 0);
        check_has(said, MAP "holders/0/hold", "\"write\"");
        free(said.out);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- What it refuses, and how ----------------------------------------------- */

DEFINE_TEST("refusals", are_told_by_the_exit_status)
{
        struct said said = inspect("--fd=x", NULL);

        ck_assert_int_eq(said.status, 2);
        ck_assert_ptr_nonnull(strstr(said.out, "usage: ammap-inspect"));
        free(said.out);
        said = inspect("--watch=0", "1");
        ck_assert_int_eq(said.status, 2);
        free(said.out);
        said = inspect("--help", NULL);
        ck_assert_int_eq(said.status, 0);
        free(said.out);
        said = inspect("--version", NULL);
        ck_assert_int_eq(said.status, 0);
        ck_assert_ptr_nonnull(strstr(said.out, AMMAP_VERSION));
        free(said.out);
        said = inspect_json("2147483647");
        ck_assert_int_eq(said.status, 1);
        ck_assert_ptr_nonnull(strstr(said.out, "there is no such process"));
        free(said.out);
        said = inspect_json("/dev/null");
        ck_assert_int_eq(said.status, 1);
        free(said.out);
        said = inspect_json("/nowhere/at/all");
        ck_assert_int_eq(said.status, 1);
        free(said.out);
}

DEFINE_TEST_IF(getuid() == 0, "refusals", another_user_s_process)
{
        ammap_t *map = make_shared(PAGE, 0, 1);
        struct said said = inspect_as(65534, "--json", number(getpid()), NULL);

        ck_assert_msg(json_is(said.out), "%.2000s", said.out);
        ck_assert_int_eq(said.status, 1);
        ck_assert_ptr_nonnull(strstr(said.out, "it may not be looked at"));
        check_has(said, "targets/0/maps", "[]");
        free(said.out);
        said = inspect_as(65534, "--json", NULL, NULL);
        ck_assert_int_eq(said.status, 0);
        ck_assert(json_is(said.out) && !json_has(said.out, "unseen", "0"));
        free(said.out);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void just_end(struct peer *parent, void *argument)
{
        (void)parent, (void)argument;
}

DEFINE_TEST("refusals", a_process_that_ends_meanwhile)
{
        ammap_t *map = make_shared(PAGE, 0, 1);

        for (unsigned i = 0; i < 20; i++) {
                struct peer peer;
                struct said said;

                peer_start(&peer, just_end, NULL);
                said = inspect_json(number(peer.pid));
                ck_assert(said.status == 0 || said.status == 1);
                free(said.out);
                peer_end(&peer);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- What is made to mislead it ----------------------------------------------- */

static void check_harmless(const char *text)
{
        for (; *text; text++)
                ck_assert_msg((unsigned char)*text >= 0x20 || *text == '\n', "byte %#x", (unsigned)*text);
}

DEFINE_TEST("hostile", names_do_no_harm)
{
        static const char *const names[] = { "\x1b]0;x\a\x1b[2J",
                                             "\"\\,}]{",
                                             "\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
                                             "\xe2\x80\xae"
                                             "evil",
                                             "caf\xc3\xa9 \xf0\x9f\x94\x92",
                                             "a\nb (deleted)",
                                             "\xc3",
                                             "\xc2\x9b"
                                             "31m" };

        for (size_t i = 0; i < COUNT_OF(names); i++) {
                ammap_options_t options = shared_options();
                struct said said;
                ammap_t *map;

                options.name = names[i];
                map = make_with(PAGE, &options);
                said = inspect_json(number(getpid()));
                check_has(said, MAP "kind", "\"shared\"");
                free(said.out);
                said = inspect(number(getpid()), NULL);
                check_harmless(said.out);
                ck_assert_ptr_null(strstr(said.out, "\xc2\x9b"));
                ck_assert_ptr_null(strstr(said.out, "\xe2\x80\xae"));
                free(said.out);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

static uint64_t any(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* A head that passes, or nearly; and lanes and slots of anything. */
static void forge(int fd, const unsigned char *honest, size_t size, uint64_t *state)
{
        unsigned char *forged = malloc(size);
        unsigned long count = 1 + any(state) % 64;

        ck_assert_ptr_nonnull(forged);
        memcpy(forged, honest, size);
        for (unsigned long i = 0; i < count; i++) {
                size_t room = any(state) % 3 ? size : 256, at = 8 + (size_t)any(state) % (room - 16);
                static const uint64_t odd[] = { 0, 1, UINT64_MAX, UINT32_MAX, INT32_MAX, 1U << 31, 0x1003, 0x80fff000 };
                uint64_t word = any(state) % 2 ? odd[any(state) % COUNT_OF(odd)] : any(state);

                memcpy(forged + at / 4 * 4, &word, any(state) % 2 ? 8 : 4);
        }
        ck_assert_int_eq(pwrite(fd, forged, size, 0), (ssize_t)size);
        free(forged);
}

DEFINE_TEST("hostile", headers_of_anything)
{
        struct path path = path_of("forged");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
        const unsigned rounds = 80 / (unsigned)test_scale() + 1;

        for (unsigned kind = 0; kind < 2; kind++) {
                unsigned char *honest;
                struct stat stat;
                ammap_t *map;
                size_t size;
                int fd;

                options.allow_faults = kind;
                options.lanes = 8;
                unlink(path.text);
                ck_assert_int_eq(ammap_open(&map, path.text, 8 * PAGE, &options), 0);
                ck_assert_int_eq(ammap_update_region(map, 0, "x", 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                fd = open(path.text, O_RDWR | O_CLOEXEC);
                ck_assert_int_eq(fstat(fd, &stat), 0);
                size = kind ? 48 * 1024 : 4096;
                honest = malloc(size);
                ck_assert_int_eq(pread(fd, honest, size, 0), (ssize_t)size);
                for (unsigned i = 0; i < rounds; i++) {
                        struct said said;

                        forge(fd, honest, size, &state);
                        said = inspect_json(path.text);
                        ck_assert_int_eq(said.status, 0);
                        free(said.out);
                        if (i % 8)
                                continue;
                        said = inspect(path.text, NULL);
                        ck_assert_int_eq(said.status, 0);
                        check_harmless(said.out);
                        ck_assert_uint_lt(strlen(said.out), 16384);
                        free(said.out);
                }
                free(honest);
                close(fd);
        }
}

/* All slots, and all lanes, of forged holders. */
DEFINE_TEST("hostile", a_header_that_is_full_is_told_in_part)
{
        enum { LANES = 4096 };
        const size_t size = (size_t)format_data(LANES, 4095, 4096);
        struct path path = path_of("full");
        unsigned char *bytes = calloc(1, size);
        struct format_head head = { .magic = FORMAT_MAGIC,
                                    .version = FORMAT_VERSION,
                                    .order = FORMAT_ORDER,
                                    .lock_word = 8,
                                    .page = 4096,
                                    .data = size,
                                    .capacity = LANES,
                                    .lanes = LANES,
                                    .slots = 4095 };
        int fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct said said;

        ck_assert(bytes && fd >= 0);
        atomic_init(&head.length, LANES);
        atomic_init(&head.slots_used, UINT32_MAX);
        memcpy(bytes, &head, sizeof(head));
        for (uint32_t lane = 0; lane <= LANES; lane++) {
                uint64_t owner = (UINT64_C(1) << 14) | (uint64_t)(1 + lane % 4095) << 2, sequence = lane % 2;

                memcpy(bytes + 256 + 128 * (size_t)lane, &sequence, 8);
                memcpy(bytes + 256 + 128 * (size_t)lane + 64, &owner, 8);
        }
        for (uint32_t slot = 0; slot < 4095; slot++) {
                unsigned char *record = bytes + format_slots(LANES) + 128 * (size_t)slot;
                uint32_t id = 1000000 + slot, set = 0xc0fff000;
                uint64_t generation = 1;

                for (unsigned i = 0; i < 9; i++)
                        memcpy(record + 4 * i, &set, 4);
                memcpy(record + 40, &generation, 8);
                memcpy(record + 48, &id, 4);
                memcpy(record + 52, &id, 4);
                memcpy(bytes + format_pages(LANES, 4095, 4096) + 4096 * (slot + (size_t)1) - 8, &id, 4);
        }
        ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
        ck_assert_int_eq(ftruncate(fd, (off_t)size + LANES), 0);
        said = inspect(path.text, NULL);
        ck_assert_int_eq(said.status, 0);
        ck_assert_uint_lt(strlen(said.out), 16384);
        ck_assert_ptr_nonnull(strstr(said.out, "more, which --json tells"));
        free(said.out);
        close(fd);
        free(bytes);
}

struct cutting {
        const char *path;
        off_t size;
        _Atomic bool stop;
};

static void *cut(void *argument)
{
        struct cutting *cutting = argument;

        while (!atomic_load(&cutting->stop)) {
                ck_assert_int_eq(truncate(cutting->path, 300), 0);
                ck_assert_int_eq(truncate(cutting->path, cutting->size), 0);
        }
        return NULL;
}

DEFINE_TEST("hostile", a_file_that_is_cut_meanwhile)
{
        struct path path = path_of("cut");
        struct cutting cutting = { .path = path.text };
        struct stat status;
        struct task task;
        ammap_t *map;

        ck_assert_int_eq(ammap_open(&map, path.text, PAGE, NULL), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(stat(path.text, &status), 0);
        cutting.size = status.st_size;
        task_start(&task, cut, &cutting);
        for (unsigned i = 0; i < 50; i++) {
                struct said said = inspect_json(path.text);

                ck_assert_int_eq(said.status, 0);
                free(said.out);
        }
        atomic_store(&cutting.stop, true);
        task_join(&task);
}

/* A reader of a FIFO would wait for its writer. */
DEFINE_TEST("hostile", a_fifo_is_not_opened)
{
        struct path path = path_of("fifo");
        struct said said;

        ck_assert_int_eq(mkfifo(path.text, 0600), 0);
        said = inspect_json(path.text);
        ck_assert_int_eq(said.status, 1);
        free(said.out);
}

/* --- Again and again --------------------------------------------------------- */

DEFINE_TEST("watch", ends_by_sigint)
{
        ammap_t *map = make_shared(PAGE, 0, 1);
        const char *words[] = { "ammap-inspect", "--json", "--watch=0.01", number(getpid()), NULL };
        char byte;
        unsigned lines = 0;
        struct said said;
        int from;
        pid_t pid = start(words, 0, &from);

        while (lines < 3) {
                ck_assert_int_eq(read(from, &byte, 1), 1);
                lines += byte == '\n';
        }
        ck_assert_int_eq(kill(pid, SIGINT), 0);
        said = collect(pid, from);
        ck_assert_int_eq(said.status, 0);
        ck_assert(said.out[0] == '\0' || said.out[strlen(said.out) - 1] == '\n');
        free(said.out);
        ck_assert_int_eq(ammap_free(map), 0);
}

int main(void)
{
        return cannot_share("inspect") ? SKIPPED : run_tests("inspect", share_case);
}
