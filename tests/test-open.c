/* test-open.c - maps that are found by a path
 *
 * SPDX-License-Identifier: MIT
 *
 * What ammap_open makes, takes and refuses, and what becomes of a file that is cut or may
 * only be read.  What is a file's alone (its header and its locks) is in test-file.c.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

/* --- Files ---------------------------------------------------------------- */

DEFINE_TEST("open", a_file)
{
        static const struct {
                uint64_t size, capacity, lanes;
        } rows[] = { { 1, 0, 0 }, { 4096, 0, 1 }, { 10000, 50000, 4 }, { 5000, 0, 4096 } };

        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                uint64_t capacity = rows[i].capacity ? rows[i].capacity : rows[i].size;
                struct path path = path_of("file");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map = GARBAGE, *again = GARBAGE;
                ammap_stat_t stat;

                ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), -ENOENT);
                ck_assert_ptr_null(map);
                options.capacity = rows[i].capacity;
                options.lanes = rows[i].lanes;
                ck_assert_int_eq(ammap_open(&map, path.text, rows[i].size, &options), 0);
                ck_assert(fcntl(ammap_fd(map), F_GETFD) & FD_CLOEXEC);
                stat = stat_of(map);
                ck_assert_uint_eq(stat.length, rows[i].size);
                ck_assert_uint_eq(stat.capacity, capacity);
                ck_assert_uint_eq(stat.lanes, rows[i].lanes ? rows[i].lanes : 1);
                ck_assert_int_eq(stat.share, AMMAP_SHARED);
                ck_assert(!stat.read_only && !stat.frozen);
                ck_assert(holds(map, 0, rows[i].size, 0));
                ck_assert_int_eq(ammap_fill(map, 0, rows[i].size, 4), 0);

                /* Of one that is there the size asked for counts nothing. */
                ck_assert_int_eq(ammap_open(&again, path.text, 3 * rows[i].size, NULL), 0);
                ck_assert_uint_eq(ammap_len(again), rows[i].size);
                ck_assert_uint_eq(stat_of(again).capacity, capacity);
                ck_assert_uint_eq(stat_of(again).lanes, rows[i].lanes ? rows[i].lanes : 1);
                ck_assert(holds(again, 0, rows[i].size, 4));
                ck_assert_int_eq(ammap_fill(again, 0, 1, 5), 0);
                ck_assert(holds(map, 0, 1, 5));
                if (capacity > rows[i].size) {
                        ck_assert_int_eq(ammap_resize(again, capacity), 0);
                        ck_assert_uint_eq(ammap_len(map), capacity);
                        ck_assert(holds(map, rows[i].size, capacity - rows[i].size, 0));
                        ck_assert_int_eq(ammap_resize(map, capacity + 1), AMMAP_ERR_SIZE);
                        ck_assert_int_eq(ammap_resize(map, rows[i].size), 0);
                }
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                /* It outlives its users. */
                map = open_map(path.text, 0, false);
                ck_assert_uint_eq(ammap_len(map), rows[i].size);
                ck_assert(holds(map, 0, 1, 5));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Without allow_faults: what has to touch the memory is refused, and the copies
 * work; with it all do. */
DEFINE_TEST("open", slices_of_a_file)
{
        for (int raw = 0; raw < 2; raw++)
                for (int faults = 0; faults < 2; faults++) {
                        struct path path = path_of("file");
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        int want = faults ? 0 : AMMAP_ERR_UNSUPPORTED;
                        ammap_u32_view_t view = { (ammap_atomic_uint32_t *)(void *)&path, 1, { 1, 1 } };
                        ammap_slice_t slice = { (const unsigned char *)&path, 1, { NULL, 0 } };
                        ammap_t *map;

                        options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                        options.allow_faults = faults;
                        ck_assert_int_eq(ammap_open(&map, path.text, 4096, &options), 0);
                        for (enum op op = 0; op < OP_COUNT; op++) {
                                bool copies = op <= OP_COPY_FROM || (op >= OP_UPDATE && op <= OP_COPY_WITHIN);

                                ck_assert_msg(op_run(op, map, 0, 4096, SECOND) == (copies ? 0 : want), "%s",
                                              op_name(op));
                        }
                        ck_assert_int_eq(ammap_as_slice(map, 0, 4096, &slice), want);
                        ck_assert_int_eq(slice_is_zero(&slice), !faults);
                        ammap_slice_release(&slice);
                        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), want);
                        ck_assert_int_eq(view_is_zero(&view), !faults);
                        ammap_u32_view_release(&view);
                        ck_assert_int_eq(ammap_as_ptr(map) != NULL, faults);
                        ck_assert_int_eq(ammap_as_mut_ptr(map) != NULL, faults);
                        ck_assert_int_eq(ammap_as_slice(map, 4096, 1, &slice), AMMAP_ERR_BOUNDS);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

DEFINE_TEST("open", what_open_refuses)
{
        struct path foreign = path_of("foreign"), fifo = path_of("fifo"), short_one = path_of("short");
        char missing[300];
        const struct {
                const char *path;
                uint64_t size;
                int want, other;
        } rows[] = {
                { "", 0, -ENOENT, 0 },
                { "", 4096, -ENOENT, 0 },
                { missing, 0, -ENOENT, 0 },
                { missing, 4096, -ENOENT, 0 },
                { share_directory, 0, -EISDIR, AMMAP_ERR_FORMAT },
                { share_directory, 4096, -EISDIR, AMMAP_ERR_FORMAT },
                { "/dev/null", 0, AMMAP_ERR_FORMAT, 0 },
                { "/dev/null", 4096, AMMAP_ERR_FORMAT, 0 },
                { fifo.text, 0, AMMAP_ERR_FORMAT, 0 },
                { fifo.text, 4096, AMMAP_ERR_FORMAT, 0 },
                { foreign.text, 0, AMMAP_ERR_FORMAT, 0 },
                { foreign.text, 4096, AMMAP_ERR_FORMAT, 0 },
                { short_one.text, 0, AMMAP_ERR_FORMAT, 0 },
                { short_one.text, 4096, AMMAP_ERR_FORMAT, 0 },
                { foreign.text, UINT64_MAX, AMMAP_ERR_SIZE, AMMAP_ERR_FORMAT },
        };
        unsigned char bytes[10000], found[10001];
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map = GARBAGE;
        int fd;

        snprintf(missing, sizeof(missing), "%s/no/such", share_directory);
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = pattern_byte(i);
        fd = open(foreign.text, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
        close(fd);
        fd = open(short_one.text, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_eq(write(fd, "x", 1), 1);
        close(fd);
        ck_assert_int_eq(mkfifo(fifo.text, 0600), 0);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                int rc;

                map = GARBAGE;
                rc = ammap_open(&map, rows[i].path, rows[i].size, NULL);
                ck_assert_msg(rc == rows[i].want || (rows[i].other && rc == rows[i].other), "row %zu: %s", i,
                              ammap_errname(rc));
                ck_assert_ptr_null(map);
        }
        /* What was somebody else's still is as it was. */
        fd = open(foreign.text, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(read(fd, found, sizeof(found)), sizeof(bytes));
        ck_assert_int_eq(memcmp(bytes, found, sizeof(bytes)), 0);
        close(fd);

        options.struct_size = 2;
        ck_assert_int_eq(ammap_open(&map, missing, 4096, &options), AMMAP_ERR_INVALID);
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.capacity = 4095;
        path_of("new");
        snprintf(missing, sizeof(missing), "%s/new", share_directory);
        ck_assert_int_eq(ammap_open(&map, missing, 4096, &options), AMMAP_ERR_SIZE);
        options.capacity = 0;
        options.lanes = 4097;
        ck_assert_int_eq(ammap_open(&map, missing, 4096, &options), AMMAP_ERR_INVALID);
        options.lanes = 0;
        options.fork = AMMAP_FORK_WIPE;
        ck_assert_int_eq(ammap_open(&map, missing, UINT64_MAX, NULL), AMMAP_ERR_SIZE);
        ck_assert_int_eq(access(missing, F_OK), -1); /* refused before it is made */
        ck_assert_int_eq(ammap_open(&map, missing, 4096, &options), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(access(missing, F_OK), -1);
}

/* Nobody knows what an empty file was to become; a map, for whoever wants one. */
DEFINE_TEST("open", an_empty_file)
{
        struct path path = path_of("empty");
        ammap_t *map = GARBAGE;
        int fd = open(path.text, O_CREAT | O_RDWR | O_CLOEXEC, 0600), rc;

        rc = ammap_open(&map, path.text, 0, NULL);
        ck_assert(rc == -ENOENT || rc == AMMAP_ERR_FORMAT);
        ck_assert_ptr_null(map);
        ck_assert_uint_eq(size_of(fd), 0);
        map = open_map(path.text, 4096, false);
        ck_assert(holds(map, 0, 4096, 0));
        ck_assert_int_eq(ammap_free(map), 0);
        close(fd);
}

struct race {
        const char *path;
        struct {
                _Atomic int ready, opened;
        } * board;
        int index, of;
        bool raw;
};

/* All wait for one another, open, write, wait again, and read what all wrote. */
static void race_body(struct peer *parent, void *argument)
{
        struct race *race = argument;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned char byte = (unsigned char)(race->index + 1), bytes[8];
        ammap_t *map;

        options.lanes = 3;
        options.share = race->raw ? AMMAP_RAW : AMMAP_SHARED;
        atomic_fetch_add(&race->board->ready, 1);
        while (atomic_load(&race->board->ready) < race->of)
                sched_yield();
        child_must_int(ammap_open(&map, race->path, 5000, &options), 0);
        child_must(ammap_len(map) == 5000);
        child_must_int(ammap_update_region(map, 4000 + (uint64_t)race->index, &byte, 1), 0);
        peer_tell(parent, 'w');
        child_expect(parent, 'r');
        child_must_int(ammap_read_into(map, 4000, bytes, (size_t)race->of), 0);
        for (int i = 0; i < race->of; i++)
                child_must(bytes[i] == i + 1);
        child_must_int(ammap_free(map), 0);
}

DEFINE_TEST("open", racing_creators)
{
        struct path path = path_of("race");
        struct race race = { path.text, board_of(sizeof(*race.board)), 0, 0, false };
        struct peer peers[8];

        for (int round = 0; round < rounds(120); round++) {
                unlink(path.text);
                race.of = 2 + round % 7;
                race.raw = round % 5 == 4;
                atomic_store(&race.board->ready, 0);
                for (race.index = 0; race.index < race.of; race.index++)
                        peer_start(&peers[race.index], race_body, &race);
                for (int i = 0; i < race.of; i++)
                        peer_expect(&peers[i], 'w');
                for (int i = 0; i < race.of; i++)
                        peer_tell(&peers[i], 'r');
                for (int i = 0; i < race.of; i++)
                        peer_end(&peers[i]);
        }
        munmap(race.board, sizeof(*race.board));
}

static void creator_body(struct peer *parent, void *argument)
{
        const char *path = argument;
        ammap_t *map;

        peer_tell(parent, 'g');
        child_must_int(ammap_open(&map, path, 1 << 20, NULL), 0);
        peer_tell(parent, 'o');
        peer_hear(parent);
}

/* Whenever its creator dies, a file is nothing that cannot be opened. */
DEFINE_TEST("open", killed_creators)
{
        struct random random = random_start("killed_creators");
        int opened = 0, not_opened = 0;

        for (int round = 0; round < rounds_or_all(60, 300); round++) {
                struct path path = path_of("half");
                struct peer peer;
                ammap_t *map;
                int64_t until;
                struct pollfd poll_in;
                int status;

                peer_start(&peer, creator_body, path.text);
                peer_expect(&peer, 'g');
                until = now_ns() + (int64_t)random_below(&random, 400000);
                while (now_ns() < until)
                        ;
                kill(peer.pid, SIGKILL);
                ck_assert_int_eq(waitpid(peer.pid, &status, 0), peer.pid);
                ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                poll_in = (struct pollfd){ peer.in, POLLIN, 0 };
                opened += poll(&poll_in, 1, 0) == 1 && peer_hear(&peer) == 'o';
                not_opened += access(path.text, F_OK) != 0;
                peer_close(&peer);
                map = open_map(path.text, 1 << 20, false);
                ck_assert_uint_eq(ammap_len(map), 1 << 20);
                ck_assert(holds(map, 0, 1 << 20, 0));
                ck_assert_int_eq(ammap_fill(map, 0, 1 << 20, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
        printf("killed_creators: %d had opened, %d had not begun\n", opened, not_opened);
}

/* --- Files that shrink ---------------------------------------------------- */

/* Each copy of a range: done, or FAULT, and no signal. */
static void check_copies(ammap_t *map, uint64_t offset, uint64_t length, int want)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                bool copies = op <= OP_COPY_FROM || (op >= OP_UPDATE && op <= OP_COPY_WITHIN);
                int rc;

                if (!copies)
                        continue;
                rc = op_run(op, map, offset, length, SECOND);
                ck_assert_msg(rc == want || (rc == AMMAP_ERR_OWNER_DEAD && want == AMMAP_ERR_FAULT),
                              "%s at %llu: %s, not %s", op_name(op), (unsigned long long)offset, ammap_errname(rc),
                              ammap_errname(want));
        }
        ck_assert_int_eq(ammap_recover(map), 0);
}

DEFINE_TEST("open", truncated_in_the_data)
{
        const uint64_t size = 16 * PAGE;

        for (int kind = 0; kind < 4; kind++) {
                bool raw = kind & 1, faults = kind & 2;
                struct path path = path_of("truncated");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                uint64_t data;
                ammap_t *map;

                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = faults;
                ck_assert_int_eq(open_by_kernel(&map, path.text, size, &options), 0);
                data = raw ? 0 : data_of(ammap_fd(map));
                ck_assert_int_eq(ammap_fill(map, 0, size, 3), 0);
                check_copies(map, 0, size, 0);
                ck_assert_int_eq(truncate(path.text, (off_t)(data + size / 2)), 0);
                check_copies(map, 0, size / 2, 0);
                check_copies(map, size / 2, PAGE, AMMAP_ERR_FAULT);
                check_copies(map, size - 1, 1, AMMAP_ERR_FAULT);
                check_copies(map, 0, size, AMMAP_ERR_FAULT);
                ck_assert_int_eq(ammap_discard(map, size - PAGE, PAGE), AMMAP_ERR_FAULT);
                ammap_recover(map);
                ck_assert_int_eq(ammap_wait_u32(map, size - 8, 0, MS), AMMAP_ERR_FAULT);
                ck_assert_int_ne(ammap_populate(map, 0, size), 0);
                ck_assert_uint_eq(size_of(ammap_fd(map)), data + size / 2); /* nobody made it longer */
                ck_assert_int_eq(truncate(path.text, (off_t)(data + size)), 0);
                check_copies(map, size / 2, size / 2, 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

static void use_headless(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;
        char text[200];
        ammap_t *copy;

        for (enum op op = 0; op < OP_COUNT; op++)
                if (op != OP_SLICE && op != OP_MUT_SLICE && op != OP_TRY_SLICE && op != OP_TRY_MUT_SLICE &&
                    op != OP_TIMED_SLICE && op != OP_TIMED_MUT_SLICE)
                        ck_assert_int_lt(op_run(op, map, 0, 8, MS), 0);
        ck_assert_int_lt(ammap_wait_u32(map, 0, 0, MS), 0);
        ammap_stat(map, &stat);
        ammap_describe(map, text, sizeof(text));
        ammap_resize(map, 100);
        ammap_resize(map, 2 * PAGE);
        ammap_recover(map);
        ammap_flush(map, 0, 100);
        ammap_populate(map, 0, 100);
        ammap_discard(map, 0, 100);
        ammap_advise(map, 0, 100, AMMAP_ADVICE_WILLNEED);
        if (ammap_clone(map, &copy) == 0)
                ck_assert_int_eq(ammap_free(copy), 0);
        ammap_freeze(map);
        ammap_len(map);
}

/* The header is gone too. */
DEFINE_TEST("open", truncated_to_nothing)
{
        for (int kind = 0; kind < 4; kind++) {
                bool raw = kind & 1, faults = kind & 2;
                struct path path = path_of("truncated");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = faults;
                if (!raw)
                        options.capacity = 4 * PAGE;
                ck_assert_int_eq(open_by_kernel(&map, path.text, raw ? 4 * PAGE : 2 * PAGE, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 2 * PAGE, 3), 0);
                ck_assert_int_eq(truncate(path.text, 0), 0);
                use_headless(map);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(unlink(path.text), 0);
        }
}

/* A memfd that anybody can shrink, imported all the same. */
DEFINE_TEST("open", truncated_imports)
{
        for (int with_header = 0; with_header < 2; with_header++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct path path = path_of("file");
                ammap_t *map, *origin = NULL;
                ammap_slice_t slice;
                uint64_t data = 0;
                int fd;

                options.allow_faults = true;
                if (with_header) {
                        origin = open_map(path.text, 4 * PAGE, false);
                        fd = dup(ammap_fd(origin));
                        data = data_of(fd);
                } else {
                        fd = memory_file(4 * PAGE, 0);
                        options.share = AMMAP_RAW;
                }
                ck_assert_int_eq(ammap_import(&map, fd, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 4 * PAGE, 7), 0);
                ck_assert_int_eq(ammap_as_slice(map, 0, 4 * PAGE, &slice), 0);
                ck_assert(is_all(slice.data, 7, 4 * PAGE));
                ck_assert_int_eq(ftruncate(fd, (off_t)(data + PAGE)), 0);
                ck_assert(is_all(slice.data, 7, PAGE));
                ammap_slice_release(&slice);
                check_copies(map, 0, PAGE, 0);
                check_copies(map, PAGE, 1, AMMAP_ERR_FAULT);
                check_copies(map, 0, 4 * PAGE, AMMAP_ERR_FAULT);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_free(origin), 0);
                close(fd);
        }
}

/* --- Files that may only be read, and their disk -------------------------- */

struct unprivileged {
        const char *path;
        bool raw;
};

static void read_only_body(void *argument)
{
        const struct unprivileged *file = argument;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        unsigned char byte = 0;
        ammap_t *map = GARBAGE;
        int fd;

        options.share = file->raw ? AMMAP_RAW : AMMAP_SHARED;
        child_must(getuid() != 0 || setresuid(65534, 65534, 65534) == 0);
        child_must_int(ammap_open(&map, file->path, 4096, &options), -EACCES);
        child_must(!map);
        child_must_int(ammap_open(&map, file->path, 0, &options), 0);
        child_must_int(ammap_stat(map, &stat), 0);
        child_must(stat.read_only && stat.length == 4096);
        child_must_int(ammap_read_into(map, 4095, &byte, 1), 0);
        child_must(byte == 0x2b);
        child_must_int(ammap_update_region(map, 0, &byte, 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_resize(map, 1), file->raw ? AMMAP_ERR_UNSUPPORTED : AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_flush(map, 0, 4096), 0);
        child_must_int(ammap_recover(map), 0);
        child_must_int(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_free(map), 0);
}

DEFINE_TEST("open", a_file_that_may_not_be_written)
{
        for (int raw = 0; raw < 2; raw++) {
                struct path path = path_of("read-only");
                struct unprivileged file = { path.text, raw };
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                ck_assert_int_eq(ammap_open(&map, path.text, 4096, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 4096, 0x2b), 0);
                ck_assert_int_eq(chmod(path.text, 0444), 0);
                ck_assert_int_eq(chmod(share_directory, 0755), 0);
                child_passes(read_only_body, &file);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_LOOP_TEST("open", a_reader_by_choice_makes_and_changes_nothing, 0, 2)
{
        struct path path = path_of("reader");
        ammap_options_t options = AMMAP_OPTIONS_INIT, reading;
        unsigned char byte = 1;
        ammap_t *map, *reader = GARBAGE;

        options.share = _i ? AMMAP_RAW : AMMAP_SHARED;
        reading = options;
        reading.read_only = true;
        ck_assert_int_eq(ammap_open(&reader, path.text, 4096, &reading), -ENOENT);
        ck_assert_ptr_null(reader);
        ck_assert_int_eq(access(path.text, F_OK), -1);

        ck_assert_int_eq(ammap_open(&map, path.text, 4096, &options), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 0x2b), 0);
        ck_assert_int_eq(ammap_open(&reader, path.text, 4096, &reading), 0);
        ck_assert(stat_of(reader).read_only);
        ck_assert(holds(reader, 0, 4096, 0x2b));
        ck_assert_int_eq(fcntl(ammap_fd(reader), F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(ammap_update_region(reader, 0, &byte, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_discard(reader, 0, 4096), AMMAP_ERR_READ_ONLY);
        ck_assert_int_lt(ammap_resize(reader, 1), 0);
        ck_assert_int_eq(ammap_update_region(map, 0, &byte, 1), 0);
        ck_assert(holds(reader, 0, 1, 1));
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

struct expected {
        const char *path;
        off_t offset;
};

static void plain_read_body(void *argument)
{
        const struct expected *expected = argument;
        unsigned char bytes[5000];
        int fd = open(expected->path, O_RDONLY);

        child_must(fd >= 0);
        child_must(pread(fd, bytes, sizeof(bytes), expected->offset) == sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
                child_must(bytes[i] == pattern_byte(i));
}

DEFINE_TEST("open", flush)
{
        for (int raw = 0; raw < 2; raw++) {
                struct path path = path_of("flushed");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct expected expected = { path.text, 0 };
                unsigned char bytes[5000];
                uint64_t edges[EDGES_MAX];
                size_t count = edges_of(5000, edges);
                ammap_t *map;

                for (size_t i = 0; i < sizeof(bytes); i++)
                        bytes[i] = pattern_byte(i);
                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                ck_assert_int_eq(ammap_open(&map, path.text, 5000, &options), 0);
                ck_assert_int_eq(ammap_update_region(map, 0, bytes, sizeof(bytes)), 0);
                ck_assert_int_eq(ammap_flush(map, 0, 5000), 0);
                expected.offset = raw ? 0 : (off_t)data_of(ammap_fd(map));
                child_passes(plain_read_body, &expected);
                for (size_t i = 0; i < count; i++)
                        for (size_t j = 0; j < count; j++)
                                ck_assert_int_eq(ammap_flush(map, edges[i], edges[j]),
                                                 range_is_inside(5000, edges[i], edges[j]) ? 0 : AMMAP_ERR_BOUNDS);
                /* No pointer is made of an offset that there is not: -fsanitize=undefined sees it. */
                for (size_t i = 0; i < count; i++)
                        ck_assert_int_eq(ammap_update_region(map, edges[i], bytes, 8),
                                         range_is_inside(5000, edges[i], 8) ? 0 : AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_free(map), 0);

                map = raw ? make_raw(5000) : make_shared(5000, 0, 0);
                ck_assert_int_eq(ammap_flush(map, 0, 5000), 0);
                ck_assert_int_eq(ammap_flush(map, 5000, 0), 0);
                ck_assert_int_eq(ammap_flush(map, 5000, 1), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("open", raw_files)
{
        struct path path = path_of("raw");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned char bytes[5000], found[5000];
        ammap_t *map = GARBAGE;
        int fd;

        options.share = AMMAP_RAW;
        ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), -ENOENT);
        ck_assert_ptr_null(map);
        ck_assert_int_eq(ammap_open(&map, path.text, 5000, &options), 0);
        ck_assert_uint_eq(size_of(ammap_fd(map)), 5000);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(unlink(path.text), 0);

        /* What anyone has written. */
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = pattern_byte(i);
        fd = open(path.text, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), AMMAP_ERR_SIZE);
        ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
        ck_assert_int_eq(ammap_open(&map, path.text, 9999, &options), 0);
        ck_assert_uint_eq(ammap_len(map), 5000);
        ck_assert_uint_eq(size_of(fd), 5000);
        ck_assert_int_eq(ammap_read_into(map, 0, found, 5000), 0);
        ck_assert_int_eq(memcmp(found, bytes, 5000), 0);
        ck_assert_int_eq(ammap_update_region(map, 4999, "x", 1), 0);
        ck_assert_int_eq(pread(fd, found, 1, 4999), 1);
        ck_assert_int_eq(found[0], 'x');
        ck_assert_int_eq(ammap_resize(map, 4000), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), AMMAP_ERR_UNSUPPORTED);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("open", a_header_is_not_raw_bytes)
{
        struct path path = path_of("map");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *maps[2], *raw;

        maps[0] = make_shared(4096, 0, 0);
        ck_assert_int_eq(ammap_open(&maps[1], path.text, 4096, NULL), 0);
        options.share = AMMAP_RAW;
        options.allow_faults = true;
        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                raw = GARBAGE;
                ck_assert_int_eq(ammap_import(&raw, ammap_fd(maps[i]), &options), AMMAP_ERR_FORMAT);
                ck_assert_ptr_null(raw);
        }
        for (uint64_t size = 0; size <= 4096; size += 4096)
                ck_assert_int_eq(ammap_open(&raw, path.text, size, &options), AMMAP_ERR_FORMAT);
        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                ck_assert(holds(maps[i], 0, 4096, 0));
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}

/* By another user, who was given it to read. */
static void reopen_body(struct peer *parent, void *argument)
{
        const int *fd = argument;
        char path[64];

        (void)parent;
        snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
        if (setgid(65534) < 0 || setuid(65534) < 0)
                return;
        child_must(open(path, O_RDWR) < 0 && errno == EACCES);
        child_must(open(path, O_WRONLY) < 0 && errno == EACCES);
}

DEFINE_TEST("open", another_user_opens_none_of_it_to_write)
{
        static const ammap_share_t shares[] = { AMMAP_SHARED, AMMAP_RAW };

        for (size_t i = 0; i < COUNT_OF(shares); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct peer peer;
                ammap_t *map;
                int fd;

                options.share = shares[i];
                ck_assert_int_eq(ammap_new_with(&map, 4096, &options), 0);
                fd = ammap_fd(map);
                peer_start(&peer, reopen_body, &fd);
                peer_end(&peer);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* The system itself writes nothing of what is not there, and is content. */
DEFINE_LOOP_TEST("open", what_is_cut_is_neither_flushed_nor_locked, 0, 3)
{
        struct path path = path_of("cut");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t size;
        ammap_t *map;

        options.share = _i == 1 ? AMMAP_RAW : AMMAP_SHARED;
        options.allow_faults = _i == 2;
        ck_assert_int_eq(ammap_open(&map, path.text, 5000, &options), 0);
        ck_assert_int_eq(ammap_flush(map, 0, 5000), 0);
        size = size_of(ammap_fd(map));
        ck_assert_int_eq(truncate(path.text, _i ? (off_t)(size - 4096) & ~4095 : 0), 0);
        ck_assert_int_eq(ammap_flush(map, 0, 5000), AMMAP_ERR_FAULT);
        ck_assert_int_eq(ammap_flush(map, 4998, 1), AMMAP_ERR_FAULT);
        if (!TEST_SANITIZED) { /* which lock nothing */
                ck_assert_int_eq(ammap_mlock(map, 4998, 1), AMMAP_ERR_FAULT);
                ck_assert_int_eq(ammap_mlock(map, 0, 5000), AMMAP_ERR_FAULT);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("open", a_file_has_no_seals)
{
        struct path path = path_of("file");
        ammap_t *map = open_map(path.text, 4096, false), *again;
        int fd = 99;

        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(fd, -1);
        fd = export_of(map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_import(&again, fd, NULL), AMMAP_ERR_UNSEALED);
        close(fd);
        fd = export_of(map, AMMAP_READ | AMMAP_NO_SEAL);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("open");
}
