/* test-share.c - maps that other processes have too
 *
 * SPDX-License-Identifier: MIT
 *
 * Making, opening, exporting, importing, sending, sealing: what each call
 * refuses, and what the kernel then says of the descriptor.  At the end of every
 * test the process has the descriptors that it began with.  What locks do is in
 * test-shared-lock.c.
 *
 *      test-share --fd FD BYTE
 *
 * is how this program runs itself, to be another program with an inherited
 * descriptor.
 */
#include "share.h"

#if TEST_OS_LINUX

#include <stddef.h>
#include <linux/falloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define GARBAGE ((ammap_t *)share_directory)

/* --- A new map ---------------------------------------------------------- */

static int seals_of(int fd)
{
        int seals = fcntl(fd, F_GET_SEALS);

        ck_assert_int_ge(seals, 0);
        return seals;
}

static uint64_t size_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return (uint64_t)stat.st_size;
}

/* What the descriptor is of, by the kernel's account. */
static void link_of(int fd, char text[512])
{
        char path[64];
        ssize_t length;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = readlink(path, text, 511);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
}

static void check_descriptor(int fd, const char *name)
{
        struct stat stat;
        char link[512];

        ck_assert_int_ge(fd, 0);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
        ck_assert(seals_of(fd) & F_SEAL_SHRINK);
        ck_assert_int_eq(seals_of(fd) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
        ck_assert_int_eq(fstat(fd, &stat), 0);
        ck_assert_uint_eq(stat.st_mode, S_IFREG | 0644);
        errno = 0;
        ck_assert_int_eq(ftruncate(fd, stat.st_size - 1), -1);
        ck_assert_int_eq(errno, EPERM);
        link_of(fd, link);
        ck_assert_ptr_eq(strstr(link, "/memfd:"), link);
        ck_assert_ptr_nonnull(strstr(link, name));
}

START_TEST(what_lies_behind_a_new_map)
{
        static const struct {
                uint64_t size, capacity, lanes;
                const char *name, *shown;
        } rows[] = {
                { 1, 0, 0, NULL, "" },
                { 4096, 0, 1, "scratch", "memfd:scratch" },
                { 4097, 100000, 3, "a b", "memfd:a b" },
                { 1 << 20, 1 << 24, 64, "", "" },
                { 4096, 0, 4096, "0123456789abcdef", "memfd:0123456789abcdef" },
                { 5000, 5001, 7,
                  "long long long long long long long long long long long long long long long long long long long "
                  "long long long long long long long long long long long long long long long long long long long "
                  "long long long long long long long long long long long long long long long long long long long",
                  "memfd:long long" },
        };
        struct footprint before = footprint();

        /* What a thread's first use leaves is there after the first round. */
        for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < COUNT_OF(rows); i++) {
                        uint64_t capacity = rows[i].capacity ? rows[i].capacity : rows[i].size;
                        ammap_options_t options = shared_options();
                        ammap_stat_t stat;
                        ammap_t *map;
                        int fd;

                        options.capacity = rows[i].capacity;
                        options.lanes = rows[i].lanes;
                        options.name = rows[i].name;
                        map = make_with(rows[i].size, &options);
                        fd = ammap_fd(map);
                        check_descriptor(fd, rows[i].shown);
                        ck_assert_int_eq(ammap_fd(map), fd);
                        ck_assert_uint_eq(size_of(fd), data_of(fd) + (rows[i].size + PAGE - 1) / PAGE * PAGE);
                        stat = stat_of(map);
                        ck_assert_uint_eq(stat.length, rows[i].size);
                        ck_assert_uint_eq(stat.capacity, capacity);
                        ck_assert_uint_ge(stat.mapped, capacity);
                        ck_assert_uint_eq(stat.lanes, rows[i].lanes ? rows[i].lanes : 1);
                        ck_assert_int_eq(stat.share, AMMAP_SHARED);
                        ck_assert_int_eq(stat.fork, AMMAP_FORK_COPY);
                        ck_assert(!stat.frozen && !stat.read_only);
                        ck_assert(is_all(ammap_as_ptr(map), 0, rows[i].size));
                        ck_assert_int_eq(ammap_fill(map, 0, rows[i].size, 1), 0);
                        ck_assert(holds(map, 0, rows[i].size, 1));
                        ck_assert_int_eq(ammap_free(map), 0);
                        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
                }
                if (round == 0)
                        before = footprint();
        }
        ck_assert_footprint(before);
}
END_TEST

START_TEST(a_raw_one)
{
        static const uint64_t sizes[] = { 1, 4096, 5000, 1 << 20 };

        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
                ammap_t *map = make_raw(sizes[i]);
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_stat_t stat = stat_of(map);
                unsigned char byte = 0;
                int fd = ammap_fd(map);

                check_descriptor(fd, "");
                ck_assert_uint_eq(size_of(fd), sizes[i]);
                ck_assert_uint_eq(stat.length, sizes[i]);
                ck_assert_uint_eq(stat.capacity, sizes[i]);
                ck_assert_int_eq(stat.share, AMMAP_RAW);
                ck_assert_int_eq(ammap_resize(map, sizes[i]), AMMAP_ERR_UNSUPPORTED);
                ck_assert_int_eq(ammap_resize(map, sizes[i] + 1), AMMAP_ERR_SIZE);
                ck_assert_int_eq(ammap_fill(map, sizes[i] - 1, 1, 77), 0);
                ck_assert_int_eq(pread(fd, &byte, 1, (off_t)sizes[i] - 1), 1);
                ck_assert_int_eq(byte, 77);
                ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
                ck_assert(holds(map, 0, 1, 'x'));
                ck_assert_int_eq(ammap_free(map), 0);

                options.share = AMMAP_RAW;
                options.capacity = sizes[i];
                map = make_with(sizes[i], &options);
                ck_assert_int_eq(ammap_free(map), 0);
                options.capacity = sizes[i] + 1;
                map = GARBAGE;
                ck_assert_int_eq(ammap_new_with(&map, sizes[i], &options), AMMAP_ERR_INVALID);
                ck_assert_ptr_null(map);
        }
}
END_TEST

START_TEST(what_new_refuses)
{
        static const struct {
                uint64_t size, capacity, lanes;
                ammap_fork_t fork;
                ammap_want_t secret;
                int want;
        } rows[] = {
                { 0, 0, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { 0, 4096, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { 4096, 4095, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { (UINT64_C(1) << 47) + 1, 0, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { UINT64_MAX, 0, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { 1, UINT64_MAX, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_SIZE },
                { 1, 0, 2, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 8192, 0, AMMAP_LANES_MAX + 1, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 8192, 0, UINT64_MAX, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 4096, 0, 0, AMMAP_FORK_WIPE, AMMAP_NO, AMMAP_ERR_UNSUPPORTED },
                { 4096, 0, 0, AMMAP_FORK_COPY, AMMAP_MUST, AMMAP_ERR_UNSUPPORTED },
        };

        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                ammap_options_t options = shared_options();
                ammap_t *map = GARBAGE;

                options.capacity = rows[i].capacity;
                options.lanes = rows[i].lanes;
                options.fork = rows[i].fork;
                options.secret = rows[i].secret;
                ck_assert_int_eq(ammap_new_with(&map, rows[i].size, &options), rows[i].want);
                ck_assert_ptr_null(map);
                ck_assert_int_eq(ammap_new_with(NULL, rows[i].size, &options), AMMAP_ERR_INVALID);
        }
}
END_TEST

/* --- Options ------------------------------------------------------------ */

START_TEST(properties)
{
        static const size_t fields[] = {
                offsetof(ammap_options_t, guard),     offsetof(ammap_options_t, populate),
                offsetof(ammap_options_t, lock),      offsetof(ammap_options_t, nodump),
                offsetof(ammap_options_t, noreserve), offsetof(ammap_options_t, huge),
        };
        static const ammap_want_t wants[] = { AMMAP_TRY, AMMAP_MUST };

        for (size_t w = 0; w < COUNT_OF(wants); w++)
                for (size_t f = 0; f < COUNT_OF(fields); f++) {
                        const uint64_t size = 5 * PAGE;
                        ammap_options_t options = shared_options();
                        const unsigned char *bytes;
                        ammap_stat_t stat;
                        ammap_t *map;
                        int rc;

                        memcpy((unsigned char *)&options + fields[f], &wants[w], sizeof(wants[w]));
                        rc = ammap_new_with(&map, size, &options);
                        if (rc < 0) {
                                ck_assert_int_eq(options.huge, AMMAP_MUST); /* that alone a system may lack */
                                ck_assert_ptr_null(map);
                                continue;
                        }
                        stat = stat_of(map);
                        bytes = ammap_as_ptr(map);
                        if (options.guard) {
                                ck_assert_int_ne(stat.guard, AMMAP_GUARD_NONE);
                                ck_assert(is_fatal(bytes - 1, false));
                                ck_assert(is_fatal(bytes + size, false));
                                ck_assert(is_fatal(bytes - 1, true));
                        } else {
                                ck_assert_int_eq(stat.guard, AMMAP_GUARD_NONE);
                        }
                        if (options.populate || (options.lock && !TEST_SANITIZED)) /* which lock nothing */
                                ck_assert_uint_eq(pages_in_core(bytes, (size_t)size), 5);
                        if (options.populate)
                                ck_assert_uint_ge(stat.resident, size);
                        if (options.lock && !TEST_SANITIZED)
                                ck_assert_uint_ge(stat.locked, size);
                        else
                                ck_assert_uint_eq(stat.locked, 0);
                        ck_assert_int_eq(vma_has(bytes, " dd"), options.nodump != AMMAP_NO);
                        if (options.huge == AMMAP_MUST)
                                ck_assert_int_eq(ammap_is_hugepage_backed(map), 1);
                        ck_assert_int_eq(ammap_fill(map, 0, size, 3), 0);
                        ck_assert(holds(map, 0, size, 3));
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}
END_TEST

/* Locked and kept out of dumps; more of a secret cannot be had in memory that
 * others have too. */
START_TEST(half_a_secret)
{
        ammap_options_t options = shared_options();
        ammap_t *map;

        options.secret = AMMAP_TRY;
        map = make_with(4096, &options);
        ck_assert(vma_has(ammap_as_ptr(map), " dd"));
        ck_assert(TEST_SANITIZED || stat_of(map).locked >= 4096);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(try_everything)
{
        for (int wants = 0; wants < 256; wants++)
                for (int kind = 0; kind < 4; kind++) {
                        ammap_options_t options = shared_options();
                        bool spare = kind & 1;
                        ammap_t *map, *again;

                        options.huge = wants & 1 ? AMMAP_TRY : AMMAP_NO;
                        options.populate = wants & 2 ? AMMAP_TRY : AMMAP_NO;
                        options.lock = wants & 4 ? AMMAP_TRY : AMMAP_NO;
                        options.guard = wants & 8 ? AMMAP_TRY : AMMAP_NO;
                        options.nodump = wants & 16 ? AMMAP_TRY : AMMAP_NO;
                        options.secret = wants & 32 ? AMMAP_TRY : AMMAP_NO;
                        options.noreserve = wants & 64 ? AMMAP_TRY : AMMAP_NO;
                        options.recycle = wants & 128 ? AMMAP_TRY : AMMAP_NO;
                        options.capacity = spare ? 30001 : 0;
                        options.lanes = kind & 2 ? 3 : 1;
                        options.fork = kind & 2 ? AMMAP_FORK_OMIT : AMMAP_FORK_COPY;
                        map = make_with(10001, &options);
                        ck_assert_int_eq(ammap_fill(map, 0, 10001, 5), 0);
                        ck_assert_int_eq(ammap_resize(map, 5000), 0);
                        ck_assert_int_eq(ammap_resize(map, spare ? 30001 : 10001), 0);
                        ck_assert(holds(map, 4999, 1, 5));
                        ck_assert(holds(map, 5000, ammap_len(map) - 5000, 0));
                        if (wants % 8 == 0) {
                                again = import_again(map, AMMAP_READ | AMMAP_WRITE);
                                ck_assert_int_eq(ammap_fill(again, ammap_len(map) - 1, 1, 9), 0);
                                ck_assert(holds(map, ammap_len(map) - 1, 1, 9));
                                ck_assert_int_eq(ammap_free(again), 0);
                        }
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}
END_TEST

/* The importer's own options do what they do for a map of its own. */
START_TEST(options_of_an_import)
{
        ammap_t *map = make_shared(5000, 100000, 3), *again = NULL;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int fd = export_of(map, AMMAP_READ | AMMAP_WRITE);

        static const struct {
                uint64_t capacity, lanes;
                ammap_fork_t fork;
                ammap_want_t secret;
                int want;
        } rows[] = {
                { 0, 0, AMMAP_FORK_COPY, AMMAP_NO, 0 },
                { 100000, 0, AMMAP_FORK_COPY, AMMAP_NO, 0 },
                { 0, 3, AMMAP_FORK_OMIT, AMMAP_NO, 0 },
                { 100000, 3, AMMAP_FORK_COPY, AMMAP_TRY, 0 },
                { 100001, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 99999, 3, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 1, 0, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 0, 1, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 0, 4, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 0, AMMAP_LANES_MAX + 1, AMMAP_FORK_COPY, AMMAP_NO, AMMAP_ERR_INVALID },
                { 0, 0, AMMAP_FORK_WIPE, AMMAP_NO, AMMAP_ERR_UNSUPPORTED },
                { 0, 0, AMMAP_FORK_COPY, AMMAP_MUST, AMMAP_ERR_UNSUPPORTED },
                { 0, 0, (ammap_fork_t)3, AMMAP_NO, AMMAP_ERR_INVALID },
                { 0, 0, AMMAP_FORK_COPY, (ammap_want_t)3, AMMAP_ERR_INVALID },
        };

        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                options.capacity = rows[i].capacity;
                options.lanes = rows[i].lanes;
                options.fork = rows[i].fork;
                options.secret = rows[i].secret;
                again = GARBAGE;
                ck_assert_int_eq(ammap_import(&again, fd, &options), rows[i].want);
                ck_assert_int_eq(again != NULL, rows[i].want == 0);
                if (again) {
                        ck_assert_uint_eq(stat_of(again).capacity, 100000);
                        ck_assert_uint_eq(stat_of(again).lanes, 3);
                        ck_assert_uint_eq(ammap_len(again), 5000);
                }
                ck_assert_int_eq(ammap_free(again), 0);
        }

        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.struct_size = 1;
        ck_assert_int_eq(ammap_import(&again, fd, &options), AMMAP_ERR_INVALID);
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.lock = options.populate = options.nodump = options.guard = AMMAP_MUST;
        ck_assert_int_eq(ammap_import(&again, fd, &options), 0);
        ck_assert(vma_has(ammap_as_ptr(again), " dd"));
        ck_assert(TEST_SANITIZED || stat_of(again).locked >= 5000);
        ck_assert(is_fatal((const unsigned char *)ammap_as_ptr(again) - 1, false));
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(close(fd), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

static void omitted_body(void *argument)
{
        ammap_t *map = argument;
        unsigned char byte;
        int fd;

        child_must(ammap_len(map) == 0);
        child_must(ammap_as_ptr(map) == NULL);
        child_must_int(ammap_read_into(map, 0, &byte, 1), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_update_region(map, 0, "x", 1), AMMAP_ERR_UNSUPPORTED);
        for (enum op op = 0; op < OP_COUNT; op++)
                child_must_int(op_run(op, map, 0, 1, 0), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_resize(map, 1), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_freeze(map), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_flush(map, 0, 0), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_UNSUPPORTED);
        child_must(fd == -1);
        child_must_int(ammap_free(map), 0);
}

START_TEST(a_fork_leaves_it_out)
{
        ammap_options_t options = shared_options();
        ammap_t *map;

        options.fork = AMMAP_FORK_OMIT;
        map = make_with(4096, &options);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 6), 0);
        child_passes(omitted_body, map);
        ck_assert(holds(map, 0, 4096, 6));
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Limits of the process ---------------------------------------------- */

static void file_size_body(void *argument)
{
        const struct path *path = argument;
        struct rlimit limit = { 65536, 65536 };
        ammap_options_t options = shared_options();
        unsigned before = footprint().descriptors;
        ammap_t *map = GARBAGE;
        sigset_t set, old;

        signal(SIGXFSZ, SIG_DFL);
        child_must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        child_must_int(ammap_new_with(&map, 1 << 24, &options), -EFBIG);
        child_must(!map);
        options.share = AMMAP_RAW;
        map = GARBAGE;
        child_must_int(ammap_new_with(&map, 1 << 24, &options), -EFBIG);
        child_must(!map);
        for (int raw = 0; raw < 2; raw++) {
                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                map = GARBAGE;
                child_must_int(ammap_open(&map, path->text, 1 << 24, &options), -EFBIG);
                child_must(!map);
        }
        options.share = AMMAP_RAW;
        child_must_int(ammap_new_with(&map, 65536, &options), 0);
        child_must_int(ammap_free(map), 0);

        /* Neither a signal of the program's own nor its mask is lost. */
        sigemptyset(&set);
        child_must(sigpending(&old) == 0 && !sigismember(&old, SIGXFSZ));
        child_must(pthread_sigmask(SIG_BLOCK, NULL, &old) == 0 && !sigismember(&old, SIGXFSZ));
        sigaddset(&set, SIGXFSZ);
        child_must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
        raise(SIGXFSZ);
        child_must_int(ammap_new_with(&map, 1 << 24, &options), -EFBIG);
        child_must(sigpending(&old) == 0 && sigismember(&old, SIGXFSZ));
        child_must(footprint().descriptors == before);
}

START_TEST(beyond_the_file_size)
{
        struct path path = path_of("large");

        child_passes(file_size_body, &path);
}
END_TEST

enum maker { NEW, NEW_RAW, EXPORT, IMPORT_FD, RECEIVE, OPEN_NEW, OPEN_OLD, CLONE, CLONE_FROZEN, MAKERS };

struct making {
        ammap_t *map, *frozen;
        int fd, pair[2];
        struct path fresh, old;
};

static int make_by(enum maker maker, struct making *making, ammap_t **map, int *fd)
{
        ammap_options_t options = shared_options();

        *map = NULL;
        *fd = -1;
        switch (maker) {
        case NEW:
                return ammap_new_with(map, 4096, &options);
        case NEW_RAW:
                options.share = AMMAP_RAW;
                return ammap_new_with(map, 4096, &options);
        case EXPORT:
                return ammap_export(making->map, AMMAP_READ | AMMAP_WRITE, fd);
        case IMPORT_FD:
                return ammap_import(map, making->fd, NULL);
        case RECEIVE:
                return ammap_recv(map, making->pair[1], NULL);
        case OPEN_NEW:
                unlink(making->fresh.text);
                return ammap_open(map, making->fresh.text, 4096, NULL);
        case OPEN_OLD:
                return ammap_open(map, making->old.text, 0, NULL);
        case CLONE:
                return ammap_clone(making->map, map);
        case CLONE_FROZEN:
                return ammap_clone(making->frozen, map);
        case MAKERS:
                break;
        }
        return INT_MIN;
}

/* With room for none, one, two... more descriptors: a code while it is too
 * little, and nothing left of what was begun. */
START_TEST(out_of_descriptors)
{
        struct making making = { make_shared(4096, 0, 0), make_shared(4096, 0, 0), -1, { -1, -1 },
                                 path_of("fresh"),        path_of("old") };
        struct rlimit limit, low;
        ammap_t *map;

        making.fd = export_of(making.map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_freeze(making.frozen), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, making.pair), 0);
        ck_assert_int_eq(ammap_open(&map, making.old.text, 4096, NULL), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        for (enum maker maker = 0; maker < MAKERS; maker++) {
                unsigned before = footprint().descriptors, refused = 0;
                int rc = -1, lowest = dup(0), fd;

                close(lowest);
                for (rlim_t more = 0; rc < 0 && more < 20; more++) {
                        if (maker == RECEIVE)
                                ck_assert_int_eq(ammap_send(making.map, making.pair[0]), 0);
                        low = (struct rlimit){ (rlim_t)lowest + more, limit.rlim_max };
                        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
                        rc = make_by(maker, &making, &map, &fd);
                        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
                        if (rc < 0) {
                                refused++;
                                ck_assert(rc == -EMFILE || (maker == RECEIVE && rc == AMMAP_ERR_FORMAT));
                                ck_assert_ptr_null(map);
                                ck_assert_int_eq(fd, -1);
                        }
                        ck_assert_int_eq(ammap_free(map), 0);
                        if (fd >= 0)
                                close(fd);
                        ck_assert_uint_eq(footprint().descriptors, before);
                }
                ck_assert_int_eq(rc, 0);
                if (maker != CLONE_FROZEN)
                        ck_assert_uint_gt(refused, 0);
        }
        close(making.pair[0]);
        close(making.pair[1]);
        close(making.fd);
        ck_assert_int_eq(ammap_free(making.map), 0);
        ck_assert_int_eq(ammap_free(making.frozen), 0);
}
END_TEST

/* --- What is no map, and what is private --------------------------------- */

START_TEST(null_and_private)
{
        ammap_t *map = new_map(4096, 1), *other = GARBAGE;
        struct path path = path_of("never");
        int pair[2], fd = 99;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        ck_assert_int_eq(ammap_fd(NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_fd(map), AMMAP_ERR_UNSUPPORTED);

        ck_assert_int_eq(ammap_export(NULL, AMMAP_READ, &fd), AMMAP_ERR_INVALID);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_export(NULL, 0, NULL), AMMAP_ERR_INVALID);
        fd = 99;
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(fd, -1);
        fd = 99;
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(fd, -1);
        fd = 99;
        ck_assert_int_eq(ammap_export(map, 0, &fd), AMMAP_ERR_INVALID);
        ck_assert_int_eq(fd, -1);

        ck_assert_int_eq(ammap_import(NULL, 0, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_import(NULL, -1, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_open(NULL, path.text, 4096, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_open(&other, NULL, 4096, NULL), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(other);
        ck_assert_int_eq(ammap_open(NULL, NULL, 0, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(access(path.text, F_OK), -1);

        ck_assert_int_eq(ammap_send(NULL, pair[0]), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_send(NULL, -1), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_send(map, pair[0]), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_recv(NULL, pair[0], NULL), AMMAP_ERR_INVALID);

        ck_assert_int_eq(ammap_seal(NULL, AMMAP_SEAL_SHRINK), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_seal(map, 32), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_flush(NULL, 0, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_flush(map, 0, 1), AMMAP_ERR_UNSUPPORTED);
        close(pair[0]);
        close(pair[1]);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Export ------------------------------------------------------------- */

START_TEST(rights)
{
        static const unsigned wrong[] = { 0, AMMAP_WRITE, 4, 5, 6, 7, 8, 0x80000000U, UINT_MAX };
        ammap_t *map = make_shared(4096, 0, 0);
        int fd;

        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
                fd = 99;
                ck_assert_int_eq(ammap_export(map, wrong[i], &fd), AMMAP_ERR_INVALID);
                ck_assert_int_eq(fd, -1);
                ck_assert_int_eq(ammap_export(map, wrong[i], NULL), AMMAP_ERR_INVALID);
        }
        ck_assert_int_eq(seals_of(ammap_fd(map)) & F_SEAL_FUTURE_WRITE, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(an_export_is_the_callers_own)
{
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int first = export_of(map, AMMAP_READ | AMMAP_WRITE), second = export_of(map, AMMAP_READ | AMMAP_WRITE);

        ck_assert_int_ne(first, second);
        ck_assert_int_ne(first, ammap_fd(map));
        ck_assert(fcntl(first, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(first, F_GETFL) & O_ACCMODE, O_RDWR);
        ck_assert_int_eq(close(first), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 3), 0);
        again = import_of(second, AMMAP_PRIVATE);
        ck_assert_int_ne(ammap_fd(again), second);
        ck_assert(fcntl(ammap_fd(again), F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(close(second), 0);
        /* What was exported outlives the map that it was exported from. */
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(holds(again, 0, 4096, 3));
        ck_assert_int_eq(ammap_fill(again, 0, 4096, 4), 0);
        ck_assert_int_eq(ammap_free(again), 0);
}
END_TEST

static void attack_mapping(int fd, size_t size)
{
        static const unsigned char evil[16] = { 0xee };
        struct iovec from = { (void *)(uintptr_t)evil, sizeof(evil) }, to;
        int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
        void *bytes;

        ck_assert_int_ge(self, 0);
        ck_assert_ptr_eq(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        ck_assert_ptr_eq(mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) { /* open to be written alone */
                close(self);
                return;
        }
        to = (struct iovec){ bytes, sizeof(evil) };
        ck_assert_int_eq(mprotect(bytes, size, PROT_READ | PROT_WRITE), -1);
        ck_assert_int_eq(mprotect(bytes, size, PROT_WRITE), -1);
        ck_assert_int_eq(madvise(bytes, size, MADV_REMOVE), -1);
        ck_assert_int_eq(process_vm_writev(getpid(), &from, 1, &to, 1, 0), -1);
        ck_assert_int_eq(pwrite(self, evil, sizeof(evil), (off_t)(uintptr_t)bytes), -1);
        munmap(bytes, size);
        close(self);
}

/* Everything by which the bytes could be made other than they are. */
static void attack(int fd)
{
        static const unsigned char evil[16] = { 0xee };
        size_t size = (size_t)size_of(fd), data = (size_t)data_of(fd);
        const off_t offsets[] = { 0, 128, 256, (off_t)data, (off_t)size - 16 };
        int other = memory_file(4096, 0), ends[2];

        for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                off_t in = 0, out = offsets[i];

                ck_assert_int_eq(pwrite(fd, evil, sizeof(evil), offsets[i]), -1);
                ck_assert_int_eq(copy_file_range(other, &in, fd, &out, 16, 0), -1);
                ck_assert_int_eq(lseek(fd, offsets[i], SEEK_SET), offsets[i]);
                ck_assert_int_eq(write(fd, evil, sizeof(evil)), -1);
                in = 0;
                ck_assert_int_eq(sendfile(fd, other, &in, 16), -1);
        }
        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(write(ends[1], evil, sizeof(evil)), sizeof(evil));
        ck_assert_int_eq(splice(ends[0], NULL, fd, NULL, sizeof(evil), 0), -1);
        ck_assert_int_eq(ftruncate(fd, 0), -1);
        ck_assert_int_eq(ftruncate(fd, (off_t)data), -1);
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY || (seals_of(fd) & F_SEAL_GROW)) {
                ck_assert_int_eq(ftruncate(fd, 2 * (off_t)size), -1);
                ck_assert_int_eq(fallocate(fd, 0, 0, 2 * (off_t)size), -1);
        } else { /* which makes no byte other than it is */
                ck_assert_int_eq(ftruncate(fd, (off_t)size + 12345), 0);
        }
        ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size), -1);
        ck_assert_int_eq(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)size), -1);
        attack_mapping(fd, size);
        close(ends[0]);
        close(ends[1]);
        close(other);
}

static void attack_every_way(int fd)
{
        static const int modes[] = { O_RDWR, O_RDONLY };
        char path[64];

        attack(fd);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        fchmod(fd, 0777);
        for (size_t i = 0; i < COUNT_OF(modes); i++) {
                int again = open(path, modes[i] | O_CLOEXEC);

                if (again < 0)
                        continue;
                attack(again);
                close(again);
        }
        ck_assert_int_eq(open(path, O_RDWR | O_TRUNC), -1);
}

static unsigned char *contents_of(int fd, size_t size)
{
        unsigned char *bytes = malloc(size);

        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(pread(fd, bytes, size, 0), (ssize_t)size);
        return bytes;
}

struct uses {
        ammap_t *map;
        unsigned char byte;
};

static void *use_in_thread(void *argument)
{
        const struct uses *uses = argument;

        for (enum op op = 0; op < OP_COUNT; op++)
                thread_check_int(op_run(op, uses->map, 0, ammap_len(uses->map), SECOND), 0);
        thread_check_int(ammap_fill(uses->map, 0, ammap_len(uses->map), uses->byte), 0);
        return NULL;
}

static void use_in_new_thread(ammap_t *map, unsigned char byte)
{
        struct uses uses = { map, byte };
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, use_in_thread, &uses), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(nobody_makes_a_read_export_writable)
{
        ammap_t *map = make_shared(10000, 20000, 2), *writer = import_again(map, AMMAP_READ | AMMAP_WRITE), *reader;
        unsigned char *before, *after;
        size_t size = (size_t)size_of(ammap_fd(map));
        int fd, other = 99;

        ck_assert_int_eq(ammap_fill(map, 0, 10000, 5), 0);
        fd = export_of(map, AMMAP_READ);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert(seals_of(fd) & F_SEAL_FUTURE_WRITE);
        before = contents_of(fd, size);
        attack_every_way(fd);
        after = contents_of(fd, size);
        ck_assert_int_eq(memcmp(before, after, size), 0);
        free(before);
        free(after);

        /* Nor does the map itself any more ... */
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(other, -1);
        ck_assert_int_eq(ammap_export(writer, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        other = export_of(writer, AMMAP_READ);
        close(other);

        /* ... which goes on writing, all of its threads, and the other handle. */
        reader = import_of(fd, AMMAP_SHARED);
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 0, 10000, SECOND), 0);
        use_in_new_thread(map, 7);
        ck_assert(holds(reader, 0, 10000, 7));
        use_in_new_thread(writer, 8);
        ck_assert(holds(reader, 0, 10000, 8));
        ck_assert_int_eq(ammap_resize(map, 20000), 0);
        use_in_new_thread(map, 9);
        ck_assert(holds(reader, 0, 20000, 9));
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(writer), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- A map that may only be read ------------------------------------------ */

static void check_read_only(ammap_t *map, bool frozen)
{
        uint64_t length = ammap_len(map);
        ammap_t *copy = GARBAGE;
        ammap_u32_view_t view32;
        ammap_u64_view_t view64;
        ammap_stat_t stat = stat_of(map);
        int fd = 99;

        ck_assert(stat.read_only);
        ck_assert_int_eq(stat.frozen, frozen);
        for (enum op op = 0; op < OP_COUNT; op++) {
                bool slice = op == OP_SLICE || op == OP_TRY_SLICE || op == OP_TIMED_SLICE;

                int want = op_writes(op) ? AMMAP_ERR_READ_ONLY : slice && !frozen ? AMMAP_ERR_UNSUPPORTED : 0;

                ck_assert_msg(op_run(op, map, 0, length, SECOND) == want, "%s: %s, not %s", op_name(op),
                              ammap_errname(op_run(op, map, 0, length, SECOND)), ammap_errname(want));
        }
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view32), frozen ? AMMAP_ERR_READ_ONLY : AMMAP_ERR_UNSUPPORTED);
        ck_assert(view_is_zero(&view32));
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 0, 2, &view64),
                         frozen ? AMMAP_ERR_READ_ONLY : AMMAP_ERR_UNSUPPORTED);
        ck_assert(view_is_zero(&view64));
        ck_assert_ptr_null(ammap_as_mut_ptr(map));
        ck_assert_ptr_nonnull(ammap_as_ptr(map));
        ck_assert(is_fatal(ammap_as_ptr(map), false));
        ck_assert_int_eq(ammap_resize(map, length), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_resize(map, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_discard(map, 0, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_populate(map, 0, length), 0);
        ck_assert_int_eq(ammap_mlock(map, 0, length), 0);
        ck_assert_int_eq(ammap_munlock(map, 0, length), 0);
        ck_assert_int_eq(ammap_advise(map, 0, length, AMMAP_ADVICE_RANDOM), 0);
        ck_assert_int_eq(ammap_flush(map, 0, length), 0);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(fd);
        ck_assert_int_eq(ammap_clone(map, &copy), 0);
        ck_assert_int_eq(ammap_fill(copy, 0, length, 0x7e), 0);
        ck_assert(holds(copy, 0, length, 0x7e));
        ck_assert_int_eq(ammap_free(copy), 0);
}

START_TEST(read_only_handles)
{
        ammap_t *map = make_shared(5000, 10000, 3), *reader;
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ), NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;
        unsigned char byte;

        reader = import_of(place.fd, AMMAP_SHARED);
        remote_start(&remote, &place);
        ck_assert_int_eq(ammap_fill(map, 0, 5000, 1), 0);
        check_read_only(reader, false);
        ck_assert(remote_stat(&remote).read_only);
        remote_check_bytes(&remote, 4990, 10, 1);
        ck_assert_int_eq(remote_op(&remote, OP_UPDATE, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 0, 1, 0), AMMAP_ERR_UNSUPPORTED);
        /* Bounds come first, here as elsewhere. */
        ck_assert_int_eq(ammap_read_into(reader, 5000, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_update_region(reader, 5000, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_resize(map, 10000), 0);
        ck_assert_uint_eq(ammap_len(reader), 10000);
        ck_assert(holds(reader, 5000, 5000, 0));
        ck_assert_int_eq(ammap_freeze(map), 0);
        check_read_only(reader, true);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 0, 10000, 0), 0);
        ck_assert(remote_stat(&remote).frozen);
        remote_end(&remote);
        close(place.fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Seals --------------------------------------------------------------- */

START_TEST(sealing)
{
        static const unsigned wrong[] = { 32, 64, 33, 0x80000000U, UINT_MAX };
        ammap_t *map = make_shared(4096, 9000, 0), *again = import_of(ammap_fd(map), AMMAP_SHARED);
        int fd = ammap_fd(map), other;

        for (size_t i = 0; i < COUNT_OF(wrong); i++)
                ck_assert_int_eq(ammap_seal(map, wrong[i]), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), 0);
        check_descriptor(fd, "");
        ck_assert_int_eq(ammap_resize(map, 4097), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW), 0);
        ck_assert_int_eq(ammap_resize(map, 9000), -EPERM);
        ck_assert_uint_eq(ammap_len(map), 4097);
        ck_assert_int_eq(ammap_resize(map, 1), 0);
        ck_assert_int_eq(ammap_resize(map, 8192), 0); /* as long as it was, in whole pages */
        ck_assert_int_eq(ammap_resize(map, 4096), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_WRITE), -EBUSY);
        ck_assert_int_eq(seals_of(fd) & F_SEAL_WRITE, 0);
        ck_assert_int_eq(ammap_seal(again, AMMAP_SEAL_FUTURE_WRITE), 0);
        ck_assert(seals_of(fd) & F_SEAL_FUTURE_WRITE);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 1), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SEAL), 0);
        ck_assert(seals_of(fd) & F_SEAL_SEAL);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_FUTURE_WRITE | AMMAP_SEAL_SHRINK | AMMAP_SEAL_SEAL), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_WRITE), -EPERM);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);

        /* Sealed against seals it cannot be given away to be read alone. */
        map = make_shared(4096, 0, 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SEAL), 0);
        other = 99;
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &other), -EPERM);
        ck_assert_int_eq(other, -1);
        other = export_of(map, AMMAP_READ | AMMAP_WRITE);
        close(other);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Import --------------------------------------------------------------- */

enum kind_of_fd {
        NEGATIVE,
        AT_CWD,
        LARGEST,
        CLOSED,
        PIPE_OUT,
        PIPE_IN,
        SOCKET,
        DIRECTORY,
        DEV_NULL,
        DEV_ZERO,
        EVENTS,
        POLLS,
        PATH_ONLY,
        WRITE_ONLY,
        HUGE_PAGES,
        KINDS_OF_FD
};

/* A descriptor that no map is behind, and what import says of it. */
static int fd_of_kind(enum kind_of_fd kind, ammap_t *map, int *second, int *want)
{
        char path[64];
        int ends[2];

        *second = -1;
        *want = AMMAP_ERR_FORMAT;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", ammap_fd(map));
        switch (kind) {
        case NEGATIVE:
                *want = -EBADF;
                return -1;
        case AT_CWD:
                *want = -EBADF;
                return AT_FDCWD;
        case LARGEST:
                *want = -EBADF;
                return INT_MAX;
        case CLOSED:
                *want = -EBADF;
                ends[0] = dup(0);
                close(ends[0]);
                return ends[0];
        case PIPE_OUT:
        case PIPE_IN:
                ck_assert_int_eq(pipe(ends), 0);
                *second = ends[kind == PIPE_OUT ? 1 : 0];
                return ends[kind == PIPE_OUT ? 0 : 1];
        case SOCKET:
                ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
                *second = ends[1];
                return ends[0];
        case DIRECTORY:
                return open("/", O_RDONLY | O_DIRECTORY);
        case DEV_NULL:
                return open("/dev/null", O_RDWR);
        case DEV_ZERO:
                return open("/dev/zero", O_RDWR);
        case EVENTS:
                return eventfd(0, 0);
        case POLLS:
                return epoll_create1(0);
        case PATH_ONLY:
                return open(path, O_PATH);
        case WRITE_ONLY:
                return open(path, O_WRONLY);
        case HUGE_PAGES:
                ends[0] = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB);
                *want = ends[0] < 0 ? -EBADF : AMMAP_ERR_UNSUPPORTED;
                return ends[0];
        case KINDS_OF_FD:
                break;
        }
        return -1;
}

START_TEST(descriptors_that_are_no_maps)
{
        static const ammap_share_t shares[] = { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW };
        ammap_t *map = make_shared(4096, 0, 0);

        for (enum kind_of_fd kind = 0; kind < KINDS_OF_FD; kind++) {
                int second, want, fd = fd_of_kind(kind, map, &second, &want);

                for (int faults = 0; faults < 2; faults++)
                        for (size_t i = 0; i < COUNT_OF(shares); i++) {
                                ammap_options_t options = AMMAP_OPTIONS_INIT;
                                ammap_t *made = GARBAGE;
                                int rc;

                                options.share = shares[i];
                                options.allow_faults = faults;
                                rc = ammap_import(&made, fd, &options);
                                ck_assert_msg(rc == want, "kind %d, share %d: %s", kind, shares[i], ammap_errname(rc));
                                ck_assert_ptr_null(made);
                        }
                if (want != -EBADF) {
                        ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* it is still the caller's */
                        close(fd);
                }
                if (second >= 0)
                        close(second);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* The bytes of a map's descriptor in another one. */
static int forge(ammap_t *map, int seals)
{
        size_t size = (size_t)size_of(ammap_fd(map));
        unsigned char *bytes = contents_of(ammap_fd(map), size);
        int fd = memory_file(size, 0);

        ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
        free(bytes);
        if (seals)
                ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

/* Content of a memfd against its seals: what import says, by itself, raw, and
 * both where faults are allowed. */
START_TEST(what_import_looks_at)
{
        enum content { EMPTY, BYTE, PAGE_OF_ZEROS, NOISE, GENUINE };
        static const struct {
                enum content content;
                int seals;
                int plain, raw, plain_faults, raw_faults;
        } rows[] = {
                { EMPTY, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, AMMAP_ERR_SIZE },
                { EMPTY, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, AMMAP_ERR_SIZE, AMMAP_ERR_FORMAT,
                  AMMAP_ERR_SIZE },
                { BYTE, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { PAGE_OF_ZEROS, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT, 0 },
                { NOISE, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_GROW, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, 0 },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK, 0, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_SHRINK, 0, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, 0, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL, 0, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT },
                { GENUINE, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, -1, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, -1, AMMAP_ERR_FORMAT },
        };
        ammap_t *map = make_shared(4096, 8192, 2);

        ck_assert_int_eq(ammap_fill(map, 0, 4096, 42), 0);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                const int wants[] = { rows[i].plain, rows[i].raw, rows[i].plain_faults, rows[i].raw_faults };
                unsigned char noise[5000];
                int fd;

                for (size_t j = 0; j < sizeof(noise); j++)
                        noise[j] = pattern_byte(j);
                if (rows[i].content == GENUINE) {
                        fd = forge(map, rows[i].seals);
                } else {
                        fd = memory_file(0, 0);
                        if (rows[i].content == BYTE)
                                ck_assert_int_eq(write(fd, "a", 1), 1);
                        if (rows[i].content == PAGE_OF_ZEROS)
                                ck_assert_int_eq(ftruncate(fd, 4096), 0);
                        if (rows[i].content == NOISE)
                                ck_assert_int_eq(write(fd, noise, sizeof(noise)), sizeof(noise));
                        if (rows[i].seals)
                                ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, rows[i].seals), 0);
                }
                for (int way = 0; way < 4; way++) {
                        bool read_only = rows[i].seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *made = GARBAGE;
                        unsigned char byte = 0;
                        int rc;

                        options.share = way & 1 ? AMMAP_RAW : AMMAP_SHARED;
                        options.allow_faults = way & 2;
                        rc = ammap_import(&made, fd, &options);
                        /* Written for memory that stays, it need not be taken
                         * for a file's. */
                        if (wants[way] == -1)
                                ck_assert(rc == 0 || rc == AMMAP_ERR_FORMAT);
                        else
                                ck_assert_msg(rc == wants[way], "row %zu, way %d: %s", i, way, ammap_errname(rc));
                        ck_assert_int_eq(made != NULL, rc == 0);
                        if (rc < 0)
                                continue;
                        ck_assert_int_eq(stat_of(made).read_only, read_only);
                        ck_assert_int_eq(stat_of(made).share, way & 1 ? AMMAP_RAW : AMMAP_SHARED);
                        if (way & 1)
                                ck_assert_uint_eq(ammap_len(made), size_of(fd));
                        ck_assert_int_eq(ammap_read_into(made, ammap_len(made) - 1, &byte, 1), 0);
                        if (!(way & 1))
                                ck_assert_uint_eq(byte, 42);
                        ck_assert_int_eq(ammap_update_region(made, ammap_len(made) - 1, &byte, 1),
                                         read_only ? AMMAP_ERR_READ_ONLY : 0);
                        ck_assert_int_eq(ammap_free(made), 0);
                }
                close(fd);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* A file's bytes in memory that others can shrink, and nobody can write. */
START_TEST(sealed_against_writers_alone)
{
        static const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_WRITE | F_SEAL_SEAL };
        struct path path = path_of("file");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *origin, *map;

        ck_assert_int_eq(ammap_open(&origin, path.text, 5000, NULL), 0);
        ck_assert_int_eq(ammap_fill(origin, 0, 5000, 42), 0);
        options.allow_faults = true;
        for (size_t i = 0; i < COUNT_OF(seals); i++) {
                int fd = forge(origin, seals[i]);

                ck_assert_int_eq(ammap_import(&map, fd, &options), 0);
                ck_assert(stat_of(map).read_only);
                ck_assert(holds(map, 0, 5000, 42));
                ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_free(map), 0);
                close(fd);
        }
        ck_assert_int_eq(ammap_free(origin), 0);
}
END_TEST

START_TEST(twice_in_one_process)
{
        ammap_t *map = make_shared(5000, 20000, 4), *one = import_again(map, AMMAP_READ | AMMAP_WRITE),
                *two = import_again(one, AMMAP_READ | AMMAP_WRITE);
        unsigned char *bytes;

        ck_assert_ptr_ne(ammap_as_ptr(map), ammap_as_ptr(one));
        ck_assert_ptr_ne(ammap_as_ptr(one), ammap_as_ptr(two));
        ck_assert_uint_eq(ammap_len(one), 5000);
        ck_assert_uint_eq(stat_of(two).lanes, 4);
        ck_assert_uint_eq(stat_of(two).capacity, 20000);
        ck_assert_int_eq(ammap_fill(one, 0, 5000, 1), 0);
        ck_assert(holds(two, 0, 5000, 1));
        bytes = ammap_as_mut_ptr(two);
        ck_assert_ptr_nonnull(bytes);
        bytes[4999] = 3;
        ck_assert(holds(map, 4999, 1, 3));
        ck_assert_int_eq(ammap_resize(two, 20000), 0);
        ck_assert_uint_eq(ammap_len(map), 20000);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_fill(one, 19999, 1, 8), 0);
        ck_assert(holds(two, 19999, 1, 8));
        ck_assert_int_eq(ammap_free(one), 0);
        ck_assert_int_eq(ammap_fill(two, 0, 20000, 8), 0);
        ck_assert_int_eq(ammap_free(two), 0);
}
END_TEST

/* --- Length --------------------------------------------------------------- */

static void check_everywhere(ammap_t *const *maps, const struct remote *remotes, size_t count, uint64_t offset,
                             uint64_t length, unsigned char byte)
{
        for (size_t i = 0; i < count; i++) {
                ck_assert(holds(maps[i], offset, length, byte));
                for (uint64_t at = offset; at < offset + length; at += 1000)
                        remote_check_bytes(&remotes[i], at, offset + length - at < 64 ? offset + length - at : 64,
                                           byte);
        }
}

START_TEST(a_resize_is_seen_at_once)
{
        const uint64_t capacity = 300000;
        ammap_t *map = make_shared(5000, capacity, 3);
        ammap_t *maps[] = { map, import_again(map, AMMAP_READ | AMMAP_WRITE) };
        struct place places[] = {
                { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT },
                { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, AMMAP_OPTIONS_INIT },
        };
        static const uint64_t lengths[] = { 5001, 300000, 1, 4096, 4097, 250001, 4095, 300000 };
        struct remote remotes[2];
        ammap_slice_t slice;
        int last = 0;

        for (size_t i = 0; i < 2; i++)
                remote_start(&remotes[i], &places[i]);
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                uint64_t before = ammap_len(map);

                ck_assert_int_eq(ammap_fill(map, 0, before, 6), 0);
                if (i % 2)
                        ck_assert_int_eq(ammap_resize(maps[last++ % 2], lengths[i]), 0);
                else
                        ck_assert_int_eq(remote_resize(&remotes[last++ % 2], lengths[i]), 0);
                for (size_t j = 0; j < 2; j++) {
                        ck_assert_uint_eq(ammap_len(maps[j]), lengths[i]);
                        ck_assert_uint_eq(remote_stat(&remotes[j]).length, lengths[i]);
                        ck_assert_int_eq(remote_op(&remotes[j], OP_UPDATE, lengths[i], 1, 0), AMMAP_ERR_BOUNDS);
                        ck_assert_int_eq(remote_op(&remotes[j], OP_READ_INTO, lengths[i] - 1, 1, 0), 0);
                }
                if (lengths[i] > before)
                        check_everywhere(maps, remotes, 2, before, lengths[i] - before, 0);
                check_everywhere(maps, remotes, 2, 0, before < lengths[i] ? before : lengths[i], 6);
        }
        ck_assert_int_eq(remote_resize(&remotes[0], 0), AMMAP_ERR_SIZE);
        ck_assert_int_eq(remote_resize(&remotes[1], capacity + 1), AMMAP_ERR_SIZE);

        /* Another's slice is cut no more than one's own. */
        for (size_t i = 0; i < 2; i++) {
                remote_hold(&remotes[i], false, 0, 100000);
                ck_assert_int_eq(ammap_resize(map, 99999), AMMAP_ERR_BUSY);
                ck_assert_int_eq(ammap_resize(map, 100000), 0);
                ck_assert_int_eq(ammap_resize(map, capacity), 0);
                remote_release(&remotes[i]);
                ck_assert_int_eq(ammap_resize(map, 99999), 0);
                remote_hold(&remotes[i], true, 0, 10);
                ck_assert_int_eq(ammap_resize(map, 9), AMMAP_ERR_BUSY);
                remote_release(&remotes[i]);
                ck_assert_int_eq(ammap_resize(map, capacity), 0);
        }
        ck_assert_int_eq(ammap_as_slice(map, 0, 100001, &slice), 0);
        ck_assert_int_eq(remote_resize(&remotes[1], 100000), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_resize(maps[1], 100000), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(ammap_len(map), capacity);
        ammap_slice_release(&slice);
        ck_assert_int_eq(remote_resize(&remotes[1], 100000), 0);
        for (size_t i = 0; i < 2; i++)
                remote_end(&remotes[i]);
        close(places[1].fd);
        ck_assert_int_eq(ammap_free(maps[1]), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* The memory grows with the map, so that who looks at all of it, a core dump or one
 * who may only read, makes no more present than that. */
START_TEST(capacity_costs_nothing)
{
        const uint64_t capacity = 64 * MB;
        ammap_t *map = make_shared(3 * PAGE + 1, capacity, 5);
        int fd = ammap_fd(map), reader = export_of(map, AMMAP_READ);
        uint64_t data = data_of(fd), length = 3 * PAGE + 1;

        for (int way = 0; way < 3; way++) {
                uint64_t most = data + (length + PAGE - 1) / PAGE * PAGE;
                void *bytes;
                struct stat stat;
                unsigned sum = 0;

                ck_assert_int_eq(ammap_fill(map, length - 1, 1, 1), 0);
                ck_assert_int_eq(fstat(reader, &stat), 0);
                ck_assert_uint_eq((uint64_t)stat.st_size, most);
                bytes = mmap(NULL, (size_t)(data + capacity), PROT_READ, MAP_SHARED, reader, 0);
                ck_assert_ptr_ne(bytes, MAP_FAILED);
                for (uint64_t at = 0; at < (uint64_t)stat.st_size; at += PAGE)
                        sum += ((volatile unsigned char *)bytes)[at];
                ck_assert_uint_gt(sum, 0);
                munmap(bytes, (size_t)(data + capacity));
                ck_assert_int_eq(fstat(reader, &stat), 0);
                ck_assert_uint_le((uint64_t)stat.st_blocks * 512, most);
                length = way ? length + 2 * PAGE : MB + 7;
                ck_assert_int_eq(ammap_resize(map, length), 0);
        }
        /* What it has been it stays; no slot's page is for a core dump. */
        ck_assert_int_eq(ammap_resize(map, 1), 0);
        ck_assert_uint_eq(size_of(fd), data + (length + PAGE - 1) / PAGE * PAGE);
        close(reader);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(slots_are_not_dumped)
{
        ammap_t *map = make_shared(PAGE, 16 * PAGE, 2), *reader = import_again(map, AMMAP_READ);
        struct stat stat;
        unsigned found = 0;
        char line[512];
        FILE *maps;

        ck_assert_int_eq(fstat(ammap_fd(map), &stat), 0);
        ck_assert(!vma_has(ammap_as_ptr(map), " dd"));
        maps = fopen("/proc/self/maps", "re");
        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                unsigned long from, to, offset, inode;

                if (sscanf(line, "%lx-%lx %*s %lx %*s %lu", &from, &to, &offset, &inode) == 4 && inode == stat.st_ino &&
                    to - from == 256 * PAGE) {
                        ck_assert(vma_has((const void *)from, " dd"));
                        ck_assert_uint_eq(offset + 256 * PAGE, data_of(ammap_fd(map)));
                        found++;
                }
        }
        fclose(maps);
        ck_assert_uint_eq(found, 2);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* A length that a peer claims is that of bytes that there are. */
START_TEST(a_length_beyond_the_memory)
{
        const uint64_t capacity = 40 * PAGE, length = 3 * PAGE - 5, there = 3 * PAGE;
        const uint64_t claims[] = { there + 1, capacity, INT64_MAX, UINT64_MAX };
        ammap_t *map = make_shared(length, capacity, 3), *maps[3] = { map };
        struct format_head *head =
                mmap(NULL, (size_t)data_of(ammap_fd(map)), PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);

        ck_assert_ptr_ne(head, MAP_FAILED);
        maps[1] = import_again(map, AMMAP_READ | AMMAP_WRITE);
        maps[2] = import_again(map, AMMAP_READ);
        for (size_t i = 0; i < COUNT_OF(claims) * COUNT_OF(maps); i++) {
                ammap_t *one = maps[i % 3];
                unsigned char bytes[64];
                ammap_t *clone;

                atomic_store(&head->length, claims[i / 3]);
                ck_assert_uint_eq(ammap_len(one), there);
                ck_assert_int_eq(ammap_read_into(one, there, bytes, 1), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_read_into(one, there - 64, bytes, 64), 0);
                ck_assert_int_eq(ammap_read_into(one, capacity - 1, bytes, 1), AMMAP_ERR_BOUNDS);
                for (enum op op = 0; op < OP_COUNT; op++) {
                        int rc = op_run(op, one, 0, there + 1, 0);

                        ck_assert(rc == AMMAP_ERR_BOUNDS || (i % 3 == 2 && rc < 0));
                        ck_assert_int_le(op_run(op, one, 0, there, 0), 0);
                }
                ck_assert_int_eq(ammap_populate(one, 0, capacity), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_populate(one, 0, there), 0);
                ck_assert_int_eq(ammap_clone(one, &clone), 0);
                ck_assert_uint_eq(ammap_len(clone), there);
                ck_assert_int_eq(ammap_free(clone), 0);
                if (i % 3 == 2)
                        continue;
                ck_assert_int_eq(ammap_resize(one, 1), 0);
                ck_assert_int_eq(ammap_resize(one, there), 0);
        }
        /* Who makes the memory longer may say so, too. */
        ck_assert_int_eq(ftruncate(ammap_fd(map), (off_t)(data_of(ammap_fd(map)) + 7 * PAGE + 3)), 0);
        atomic_store(&head->length, capacity);
        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                ck_assert_uint_eq(ammap_len(maps[i]), 7 * PAGE + 3);
                ck_assert(holds(maps[i], 5 * PAGE, 2 * PAGE + 3, 0));
        }
        munmap(head, (size_t)data_of(ammap_fd(map)));
        for (size_t i = 0; i < COUNT_OF(maps); i++)
                ck_assert_int_eq(ammap_free(maps[COUNT_OF(maps) - 1 - i]), 0);
}
END_TEST

/* A growth that the system refuses, or whose descriptor is another file's by now. */
static void refused_growth_body(void *argument)
{
        ammap_t *map = argument;
        struct path path = path_of("innocent");
        uint64_t data = 0, length = ammap_len(map);
        struct rlimit limit;
        struct stat stat;
        int fd = ammap_fd(map), other;

        child_must(pread(fd, &data, sizeof(data), offsetof(struct format_head, data)) == sizeof(data));
        child_must(getrlimit(RLIMIT_FSIZE, &limit) == 0);
        limit.rlim_cur = (rlim_t)(data + 4 * PAGE);
        child_must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        child_must_int(ammap_resize(map, 5 * PAGE), -EFBIG);
        child_must(ammap_len(map) == length);
        child_must_int(ammap_fill(map, 0, length, 3), 0);
        child_must_int(ammap_resize(map, 4 * PAGE), 0);
        limit.rlim_cur = limit.rlim_max;
        child_must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        other = open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        child_must(other >= 0 && dup3(other, fd, O_CLOEXEC) == fd && close(other) == 0);
        child_must(ammap_resize(map, 6 * PAGE) < 0);
        child_must(ammap_len(map) == 4 * PAGE);
        child_must(fstat(fd, &stat) == 0 && stat.st_size == 0);
        child_must_int(ammap_resize(map, PAGE), 0);
        child_must_int(ammap_resize(map, 4 * PAGE), AMMAP_ERR_FAULT);
        child_must_int(ammap_fill(map, 0, PAGE, 3), 0);
}

START_TEST(growth_that_is_refused)
{
        ammap_t *map = make_shared(3 * PAGE, 9 * PAGE, 1);

        child_passes(refused_growth_body, map);
        ck_assert_uint_eq(ammap_len(map), PAGE);
        ck_assert_int_eq(ammap_resize(map, 9 * PAGE), 0);
        ck_assert(holds(map, PAGE, 8 * PAGE, 0));
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* A store into bytes that are cut off, by an old pointer or by a peer, does not show
 * when they are the map's again. */
START_TEST(stores_beyond_the_end)
{
        for (int shared = 0; shared < 2; shared++) {
                const uint64_t capacity = 6 * PAGE + 100, ends[] = { 1, PAGE - 3, 2 * PAGE, 4 * PAGE + 5 };
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                unsigned char *bytes, *peer = NULL;
                ammap_t *map, *again = NULL;

                options.capacity = capacity;
                options.share = shared ? AMMAP_SHARED : AMMAP_PRIVATE;
                map = make_with(capacity, &options);
                bytes = ammap_as_mut_ptr(map);
                if (shared) {
                        again = import_again(map, AMMAP_READ | AMMAP_WRITE);
                        peer = ammap_as_mut_ptr(again);
                }
                for (size_t i = 0; i < COUNT_OF(ends); i++) {
                        ck_assert_int_eq(ammap_fill(map, 0, capacity, 4), 0);
                        ck_assert_int_eq(ammap_resize(map, ends[i]), 0);
                        for (uint64_t at = ends[i]; at < capacity; at += 500)
                                (peer && at % 1000 < 500 ? peer : bytes)[at] = 0xbb;
                        ck_assert_int_eq(ammap_resize(map, capacity), 0);
                        ck_assert(is_all(bytes, 4, ends[i]));
                        ck_assert(is_all(bytes + ends[i], 0, capacity - ends[i]));
                }
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

/* --- The end of a thread ---------------------------------------------------------- */

struct late {
        ammap_t *map;
        bool write;
        int round, result;
};

static pthread_key_t late_key;

/* Called again and again, as long as destructors are. */
static void take_late(void *argument)
{
        struct late *late = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        if (++late->round < PTHREAD_DESTRUCTOR_ITERATIONS)
                pthread_setspecific(late_key, late);
        else if (late->write)
                late->result = ammap_as_mut_slice(late->map, 100, 100, &mut);
        else
                late->result = ammap_as_slice(late->map, 100, 100, &slice);
}

static void *ends_late(void *argument)
{
        pthread_setspecific(late_key, argument);
        return NULL;
}

/* Whoever has found that goes on to know what it holds itself. */
static void holds_more_than_a_block(void)
{
        enum { MAPS = 20 };
        ammap_t *map[MAPS];
        ammap_slice_t slice[MAPS];

        for (int i = 0; i < MAPS; i++) {
                ck_assert_int_eq(ammap_new(&map[i], 100), 0);
                ck_assert_int_eq(ammap_as_slice(map[i], 0, 100, &slice[i]), 0);
        }
        for (int i = 0; i < MAPS; i++) {
                ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, map[i], 0, 100, 0), AMMAP_ERR_DEADLOCK);
                ammap_slice_release(&slice[i]);
                ck_assert_int_eq(ammap_free(map[i]), 0);
        }
}

/* What a thread takes when the library has seen its end is found by who is kept out. */
START_TEST(what_is_taken_in_the_last_round)
{
        enum { WAIT, SHRINK, FREE, FINDERS };
        static const struct {
                ammap_share_t share;
                bool file, lanes;
        } kinds[] = { { AMMAP_PRIVATE, false, false },
                      { AMMAP_PRIVATE, false, true },
                      { AMMAP_SHARED, false, false },
                      { AMMAP_SHARED, true, false },
                      { AMMAP_SHARED, true, true } };

        ck_assert_int_eq(pthread_key_create(&late_key, take_late), 0);
        for (int finder = 0; finder < FINDERS; finder++) {
                struct path path = path_of("late");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct late late = { .write = _i & 1, .result = 1 };
                int dead = late.write ? AMMAP_ERR_OWNER_DEAD : 0;
                pthread_t thread;

                options.share = kinds[_i / 2].share;
                options.lanes = kinds[_i / 2].lanes ? 4 : 1;
                options.allow_faults = true;
                if (kinds[_i / 2].file)
                        ck_assert_int_eq(ammap_open(&late.map, path.text, 4 * PAGE, &options), 0);
                else
                        late.map = make_with(4 * PAGE, &options);
                if (_i / 2 == 1) /* and readers go by their blocks */
                        for (int i = 0; i < 10000; i++)
                                ck_assert_int_eq(op_run(OP_SLICE, late.map, 100, 1, 0), 0);
                ck_assert_int_eq(pthread_create(&thread, NULL, ends_late, &late), 0);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                ck_assert_int_eq(late.result, 0);
                if (finder == WAIT)
                        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, late.map, 0, 4 * PAGE, 10 * SECOND), dead);
                else if (finder == SHRINK)
                        ck_assert_int_eq(ammap_resize(late.map, 50), dead);
                holds_more_than_a_block();
                if (finder != FREE) {
                        ck_assert_int_eq(ammap_recover(late.map), 0);
                        ck_assert_int_eq(op_run(OP_UPDATE, late.map, 0, 50, 0), 0);
                        ck_assert_int_eq(ammap_resize(late.map, 40), 0);
                }
                ck_assert_int_eq(ammap_free(late.map), 0);
                unlink(path.text);
        }
        ck_assert_int_eq(pthread_key_delete(late_key), 0);
}
END_TEST

/* A start that found no room for what a thread has is made again. */
START_TEST(a_start_that_fails)
{
        static pthread_key_t keys[PTHREAD_KEYS_MAX];
        size_t count = 0;
        ammap_t *map;

        while (count < COUNT_OF(keys) && pthread_key_create(&keys[count], NULL) == 0)
                count++;
        ck_assert_int_eq(ammap_new(&map, 100), -EAGAIN);
        ck_assert(!map);
        ck_assert_int_eq(ammap_new(&map, 100), -EAGAIN);
        ck_assert_int_eq(pthread_key_delete(keys[--count]), 0);
        ck_assert_int_eq(ammap_new(&map, 100), 0);
        ck_assert_int_eq(op_elsewhere(OP_MUT_SLICE, map, 0, 100), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        while (count-- > 0)
                pthread_key_delete(keys[count]);
}
END_TEST

/* A slice of no bytes at the end, which may be in a lane that has none yet. */
START_TEST(nothing_at_the_end)
{
        ammap_t *map = make_shared(2 * PAGE, 4 * PAGE, 4), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_slice(map, 2 * PAGE, 0, &slice), 0);
        ck_assert_int_eq(ammap_resize(map, PAGE), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_resize(again, 2 * PAGE - 1), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(ammap_len(map), 2 * PAGE);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_as_mut_slice(map, 2 * PAGE, 0, &mut), 0);
        ck_assert_int_eq(ammap_resize(again, PAGE), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_resize(again, PAGE), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* Slices and views live on through others' growth, at the same place. */
START_TEST(growth_elsewhere)
{
        ammap_t *map = make_shared(4096, 1 << 20, 1);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, AMMAP_OPTIONS_INIT };
        const unsigned char *bytes = ammap_as_ptr(map);
        struct remote remote;
        ammap_slice_t slice;
        ammap_u64_view_t view;

        remote_start(&remote, &place);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 2), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 4096, &slice), 0);
        ck_assert_int_eq(ammap_atomic_u64(map, 4088, &view), 0);
        ck_assert_int_eq(remote_resize(&remote, 1 << 20), 0);
        ck_assert_ptr_eq(ammap_as_ptr(map), bytes);
        ck_assert(is_all(slice.data, 2, 4096));
        ck_assert_uint_eq(atomic_load(view.value), UINT64_C(0x0202020202020202));
        ammap_slice_release(&slice);
        /* This process's view stands in its own way. */
        ck_assert_int_eq(ammap_resize(map, 4095), AMMAP_ERR_BUSY);
        ammap_u64_view_release(&view);
        ck_assert_int_eq(ammap_fill(map, (1 << 20) - 64, 64, 9), 0);
        remote_check_bytes(&remote, (1 << 20) - 64, 64, 9);
        remote_end(&remote);
        close(place.fd);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Files ---------------------------------------------------------------- */

static ammap_t *open_map(const char *path, uint64_t size, bool faults)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.allow_faults = faults;
        ck_assert_int_eq(ammap_open(&map, path, size, &options), 0);
        ck_assert_ptr_nonnull(map);
        return map;
}

START_TEST(a_file)
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
END_TEST

/* Without allow_faults: what has to touch the memory is refused, and the copies
 * work; with it all do. */
START_TEST(slices_of_a_file)
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
END_TEST

START_TEST(what_open_refuses)
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
END_TEST

/* Nobody knows what an empty file was to become; a map, for whoever wants one. */
START_TEST(an_empty_file)
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
END_TEST

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

START_TEST(racing_creators)
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
END_TEST

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
START_TEST(killed_creators)
{
        struct random random = random_start("killed_creators");
        int opened = 0, not_opened = 0;

        for (int round = 0; round < rounds(300); round++) {
                struct path path = path_of("half");
                struct peer peer;
                ammap_t *map;
                int64_t until;
                struct pollfd poll_in;

                peer_start(&peer, creator_body, path.text);
                peer_expect(&peer, 'g');
                until = now_ns() + (int64_t)random_below(&random, 400000);
                while (now_ns() < until)
                        ;
                kill(peer.pid, SIGKILL);
                waitpid(peer.pid, NULL, 0);
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
END_TEST

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

START_TEST(truncated_in_the_data)
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
                ck_assert_int_eq(ammap_open(&map, path.text, size, &options), 0);
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
END_TEST

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
START_TEST(truncated_to_nothing)
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
                ck_assert_int_eq(ammap_open(&map, path.text, raw ? 4 * PAGE : 2 * PAGE, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 2 * PAGE, 3), 0);
                ck_assert_int_eq(truncate(path.text, 0), 0);
                use_headless(map);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(unlink(path.text), 0);
        }
}
END_TEST

/* A memfd that anybody can shrink, imported all the same. */
START_TEST(truncated_imports)
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
END_TEST

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

START_TEST(a_file_that_may_not_be_written)
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
END_TEST

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

START_TEST(flush)
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
                ck_assert_int_eq(ammap_free(map), 0);

                map = raw ? make_raw(5000) : make_shared(5000, 0, 0);
                ck_assert_int_eq(ammap_flush(map, 0, 5000), 0);
                ck_assert_int_eq(ammap_flush(map, 5000, 0), 0);
                ck_assert_int_eq(ammap_flush(map, 5000, 1), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

START_TEST(raw_files)
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
END_TEST

START_TEST(a_header_is_not_raw_bytes)
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
END_TEST

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

START_TEST(another_user_opens_none_of_it_to_write)
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
END_TEST

START_TEST(a_file_has_no_seals)
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
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Sockets --------------------------------------------------------------- */

static const int socket_types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };

static void pair_of(int type, int pair[2])
{
        ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
        close(pair[0]);
        close(pair[1]);
}

/* Send bytes with so many descriptors beside them. */
static void send_fds(int socket, const int *fds, size_t count, size_t bytes)
{
        static const char data[16] = { 'd' };
        union {
                char room[CMSG_SPACE(253 * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec vector = { (void *)(uintptr_t)data, bytes };
        struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
        struct cmsghdr *header;

        memset(&control, 0, sizeof(control));
        if (count) {
                message.msg_control = control.room;
                message.msg_controllen = (unsigned)CMSG_SPACE(count * sizeof(int));
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = (unsigned)CMSG_LEN(count * sizeof(int));
                memcpy(CMSG_DATA(header), fds, count * sizeof(int));
        }
        /* musl's own sends no 253. */
        ck_assert_int_eq(syscall(SYS_sendmsg, socket, &message, 0), (ssize_t)bytes);
}

static void receiver_body(struct peer *parent, void *argument)
{
        int socket = *(int *)argument;
        ammap_t *map;

        child_must_int(ammap_recv(&map, socket, NULL), 0);
        child_must(ammap_len(map) == 5000);
        child_must_int(ammap_fill(map, 0, 5000, 0x11), 0);
        peer_tell(parent, 'w');
        child_expect(parent, 'e');
        child_must_int(ammap_free(map), 0);
}

START_TEST(send_and_receive)
{
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                ammap_t *map = make_shared(5000, 0, 3), *raw = make_raw(777), *again;
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct peer peer;
                int pair[2];
                char byte = 0;

                pair_of(socket_types[i], pair);
                peer_start(&peer, receiver_body, &pair[1]);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                peer_expect(&peer, 'w');
                ck_assert(holds(map, 0, 5000, 0x11));
                peer_tell(&peer, 'e');
                peer_end(&peer);

                /* Several, one after the other, to oneself. */
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                ck_assert_int_eq(ammap_send(raw, pair[0]), 0);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                ck_assert_int_eq(send(pair[0], "z", 1, 0), 1);
                for (int j = 0; j < 3; j++) {
                        options.share = j == 1 ? AMMAP_RAW : AMMAP_SHARED;
                        ck_assert_int_eq(ammap_recv(&again, pair[1], &options), 0);
                        ck_assert_uint_eq(ammap_len(again), j == 1 ? 777 : 5000);
                        ck_assert(fcntl(ammap_fd(again), F_GETFD) & FD_CLOEXEC);
                        ck_assert(!stat_of(again).read_only);
                        ck_assert_int_eq(ammap_free(again), 0);
                }
                /* What follows is the program's own. */
                ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
                ck_assert_int_eq(byte, 'z');
                close_pair(pair);
                ck_assert_int_eq(ammap_free(raw), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

START_TEST(who_may_only_read_sends_that)
{
        ammap_t *map = make_shared(5000, 0, 0), *reader = import_again(map, AMMAP_READ), *again;
        int pair[2];

        pair_of(SOCK_STREAM, pair);
        ck_assert_int_eq(ammap_send(reader, pair[0]), 0);
        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
        ck_assert(stat_of(again).read_only);
        ck_assert_int_eq(fcntl(ammap_fd(again), F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(ammap_free(again), 0);
        close_pair(pair);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- The numbers of descriptors -------------------------------------------- */

/* What a closed standard stream gives room to. */
static void closed_streams_body(void *argument)
{
        const char *path = argument;
        const unsigned both = AMMAP_READ | AMMAP_WRITE;
        int pair[2], fds[3] = { -1, -1, -1 };

        child_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        for (int fd = 0; fd < 3; fd++)
                close(fd);
        for (int kind = 0; kind < 3; kind++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map, *imported, *received, *clone;

                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                child_must((kind == 2 ? ammap_open(&map, path, 4096, &options)
                                      : ammap_new_with(&map, 4096, &options)) == 0);
                options = (ammap_options_t)AMMAP_OPTIONS_INIT;
                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                child_must(ammap_export(map, both, &fds[0]) == 0);
                child_must(ammap_import(&imported, fds[0], &options) == 0);
                child_must(ammap_send(map, pair[0]) == 0);
                child_must(ammap_recv(&received, pair[1], &options) == 0);
                child_must(ammap_clone(map, &clone) == 0);
                child_must(fds[0] >= 3 && ammap_fd(map) >= 3 && ammap_fd(imported) >= 3 && ammap_fd(received) >= 3);
                for (int fd = 0; fd < 3; fd++)
                        child_must(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
                close(fds[0]);
                child_must(ammap_free(map) == 0 && ammap_free(imported) == 0 && ammap_free(received) == 0 &&
                           ammap_free(clone) == 0);
        }
}

START_TEST(no_descriptor_is_a_standard_stream)
{
        struct path path = path_of("streams");

        child_passes(closed_streams_body, path.text);
}
END_TEST

/* The application closes what is the map's, and the number is another file's. */
START_TEST(a_number_that_is_another_files_is_let_be)
{
        struct path path = path_of("number"), other = path_of("other");

        for (int kind = 0; kind < 3; kind++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map = GARBAGE;
                int fd, given = 7, pair[2], file;

                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                ck_assert_int_eq(kind == 2 ? ammap_open(&map, path.text, 4096, &options)
                                           : ammap_new_with(&map, 4096, &options),
                                 0);
                pair_of(SOCK_STREAM, pair);
                fd = ammap_fd(map);
                ck_assert_int_ge(fd, 3);
                file = open(other.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                for (int gone = 0; gone < 2; gone++) {
                        if (gone)
                                close(fd);
                        else
                                ck_assert_int_eq(dup2(file, fd), fd);
                        ck_assert_int_eq(ammap_fd(map), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &given), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(given, -1);
                        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &given), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(ammap_send(map, pair[0]), AMMAP_ERR_FAULT);
                        if (kind != 2)
                                ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), AMMAP_ERR_FAULT);
                }
                ck_assert_int_eq(dup2(file, fd), fd);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
                close(fd);
                close(file);
                close_pair(pair);
        }
}
END_TEST

/* It could keep whoever closes it waiting for as long as its sender chose. */
START_TEST(a_socket_that_is_received_does_not_linger)
{
        struct linger linger = { .l_onoff = 1, .l_linger = 60 };
        socklen_t size = sizeof(linger);
        ammap_t *map = GARBAGE;
        int pair[2], tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (tcp < 0)
                tcp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(setsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        pair_of(SOCK_STREAM, pair);
        for (size_t count = 1; count <= 2; count++) {
                int fds[2] = { tcp, tcp };

                send_fds(pair[0], fds, count, 1);
                ck_assert_int_eq(ammap_recv(&map, pair[1], NULL), AMMAP_ERR_FORMAT);
                ck_assert_int_eq(getsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, &size), 0);
                ck_assert_int_eq(linger.l_onoff, 0);
                linger.l_onoff = 1;
                ck_assert_int_eq(setsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        }
        close(tcp);
        close_pair(pair);
}
END_TEST

START_TEST(sockets_that_are_none)
{
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;
        int ends[2], file = memory_file(100, 0);

        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(ammap_send(map, -1), -EBADF);
        ck_assert_int_eq(ammap_send(map, INT_MAX), -EBADF);
        ck_assert_int_eq(ammap_send(map, ends[1]), -ENOTSOCK);
        ck_assert_int_eq(ammap_send(map, file), -ENOTSOCK);
        ck_assert_int_eq(ammap_recv(&again, -1, NULL), -EBADF);
        ck_assert_ptr_null(again);
        ck_assert_int_eq(ammap_recv(&again, ends[0], NULL), -ENOTSOCK);
        ck_assert_int_eq(ammap_recv(&again, file, NULL), -ENOTSOCK);
        close(file);
        close(ends[0]);
        close(ends[1]);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* None, two, ten, as many as fit: a code, and all of them closed. */
START_TEST(the_wrong_number_of_descriptors)
{
        static const size_t counts[] = { 0, 2, 3, 10, 253 };
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int fds[253];

        for (size_t i = 0; i < COUNT_OF(fds); i++)
                fds[i] = export_of(map, AMMAP_READ | AMMAP_WRITE);
        for (size_t t = 0; t < COUNT_OF(socket_types); t++)
                for (size_t i = 0; i < COUNT_OF(counts); i++)
                        for (size_t bytes = 1; bytes < 4; bytes += 2) {
                                unsigned before;
                                int pair[2];

                                pair_of(socket_types[t], pair);
                                before = footprint().descriptors;
                                send_fds(pair[0], fds, counts[i], bytes);
                                again = GARBAGE;
                                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_FORMAT);
                                ck_assert_ptr_null(again);
                                ck_assert_uint_eq(footprint().descriptors, before);
                                /* The right number afterwards: the rest of the
                                 * bytes of a stream comes first. */
                                if (socket_types[t] != SOCK_STREAM || bytes == 1) {
                                        ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                                        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
                                        ck_assert_int_eq(ammap_free(again), 0);
                                }
                                close_pair(pair);
                        }
        for (size_t i = 0; i < COUNT_OF(fds); i++)
                close(fds[i]);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(the_wrong_kind_of_descriptor)
{
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int pair[2];

        pair_of(SOCK_STREAM, pair);
        for (enum kind_of_fd kind = 0; kind < KINDS_OF_FD; kind++) {
                int second, want, fd = fd_of_kind(kind, map, &second, &want);
                unsigned before;

                if (want == -EBADF)
                        continue;
                before = footprint().descriptors;
                send_fds(pair[0], &fd, 1, 1);
                again = GARBAGE;
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), want);
                ck_assert_ptr_null(again);
                ck_assert_uint_eq(footprint().descriptors, before);
                close(fd);
                if (second >= 0)
                        close(second);
        }
        {
                int fd = forge(map, 0);
                unsigned before = footprint().descriptors;
                ammap_options_t options = AMMAP_OPTIONS_INIT;

                send_fds(pair[0], &fd, 1, 1);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_UNSEALED);
                ck_assert_uint_eq(footprint().descriptors, before);
                /* Options are looked at before anything is received. */
                options.struct_size = 1;
                send_fds(pair[0], &fd, 1, 1);
                ck_assert_int_eq(ammap_recv(&again, pair[1], &options), AMMAP_ERR_INVALID);
                ck_assert_ptr_null(again);
                ck_assert_uint_eq(footprint().descriptors, before);
                close(fd);
        }
        close_pair(pair);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

static void broken_pipe_body(void *argument)
{
        ammap_t *map = argument;
        int pair[2];

        signal(SIGPIPE, SIG_DFL);
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                int rc;

                child_must(socketpair(AF_UNIX, socket_types[i], 0, pair) == 0);
                close(pair[1]);
                rc = ammap_send(map, pair[0]);
                child_must(rc == -EPIPE || rc == -ECONNREFUSED || rc == -ECONNRESET);
                close(pair[0]);
        }
}

START_TEST(the_other_end_is_gone)
{
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;

        for (size_t i = 0; i < 2; i++) { /* datagrams have no end */
                int pair[2];

                pair_of(socket_types[i], pair);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                close(pair[0]);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                again = GARBAGE;
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), -ECONNRESET);
                ck_assert_ptr_null(again);
                close(pair[1]);
        }
        child_passes(broken_pipe_body, map);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(sockets_that_do_not_wait)
{
        static const char bytes[1000] = { 0 };
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;

        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                int pair[2];

                pair_of(socket_types[i] | SOCK_NONBLOCK, pair);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), -EAGAIN);
                ck_assert_ptr_null(again);
                while (send(pair[0], bytes, sizeof(bytes), 0) > 0)
                        ;
                while (send(pair[0], bytes, 1, 0) > 0)
                        ;
                ck_assert_int_eq(ammap_send(map, pair[0]), -EAGAIN);
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

static void no_op(int number)
{
        (void)number;
}

struct socket_call {
        ammap_t *map;
        int socket;
        int result;
};

static void *receive_body(void *argument)
{
        struct socket_call *call = argument;

        call->result = ammap_recv(&call->map, call->socket, NULL);
        return NULL;
}

static void *send_body(void *argument)
{
        struct socket_call *call = argument;

        call->result = ammap_send(call->map, call->socket);
        return NULL;
}

static void storm(const struct task *task)
{
        for (int i = 0; i < 300; i++) {
                ck_assert(!atomic_load(&task->done));
                pthread_kill(task->thread, SIGUSR1);
                if (i % 50 == 0)
                        ck_assert(task_sleeps(task));
        }
}

/* Read a message away: how many descriptors it had, or -1: there is none. */
static int swallow(int socket)
{
        char bytes[1000];
        union {
                char room[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec vector = { bytes, sizeof(bytes) };
        struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
        struct cmsghdr *header;
        int fd;

        message.msg_control = control.room;
        message.msg_controllen = sizeof(control.room);
        if (recvmsg(socket, &message, MSG_DONTWAIT) < 0)
                return -1;
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_type != SCM_RIGHTS)
                return 0;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        close(fd);
        return 1;
}

/* Signals whose handler does not ask for the call to be restarted. */
START_TEST(interrupted)
{
        static char bytes[1000];
        struct sigaction action;
        ammap_t *map = make_shared(4096, 0, 0);

        memset(&action, 0, sizeof(action));
        action.sa_handler = no_op;
        sigaction(SIGUSR1, &action, NULL);
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                struct socket_call in = { GARBAGE, -1, 1 }, out = { map, -1, 1 };
                struct task task;
                int pair[2], maps = 0;
                bool ended;

                pair_of(socket_types[i], pair);
                in.socket = pair[1];
                out.socket = pair[0];
                task_start(&task, receive_body, &in);
                ck_assert(task_sleeps(&task));
                storm(&task);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                task_join(&task);
                ck_assert_int_eq(in.result, 0);
                ck_assert_int_eq(ammap_free(in.map), 0);

                while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                        ;
                while (send(pair[0], bytes, 1, MSG_DONTWAIT) > 0)
                        ;
                task_start(&task, send_body, &out);
                ck_assert(task_sleeps(&task));
                storm(&task);
                /* Sent once, when there is room. */
                do {
                        int found;

                        ended = atomic_load(&task.done);
                        while ((found = swallow(pair[1])) >= 0)
                                maps += found;
                        sched_yield();
                } while (!ended);
                task_join(&task);
                ck_assert_int_eq(out.result, 0);
                ck_assert_int_eq(maps, 1);
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* What a socket is asked to bring beside a descriptor takes no room from it, and
 * is no descriptor that stays. */
START_TEST(beside_credentials)
{
        static const int wanted[] = { SO_PASSCRED, 76 /* SO_PASSPIDFD */ };
        ammap_t *map = make_shared(4096, 0, 0), *again;

        for (size_t i = 0; i < COUNT_OF(wanted); i++) {
                int pair[2], one = 1;
                unsigned before;
                int rc;

                pair_of(SOCK_STREAM, pair);
                if (setsockopt(pair[1], SOL_SOCKET, wanted[i], &one, sizeof(one)) == 0) {
                        before = footprint().descriptors;
                        ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                        rc = ammap_recv(&again, pair[1], NULL);
                        ck_assert_msg(rc == 0, "option %d: %s", wanted[i], ammap_errname(rc));
                        ck_assert_int_eq(ammap_free(again), 0);
                        ck_assert_uint_eq(footprint().descriptors, before);
                        ck_assert_int_eq(send(pair[0], "x", 1, 0), 1);
                        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_FORMAT);
                        ck_assert_uint_eq(footprint().descriptors, before);
                }
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Cancellation ------------------------------------------------------------ */

struct cancelled {
        struct path path;
        bool through;
};

/* Cancelled already: the first cancellation point would be the end. */
static void *cancelled_body(void *argument)
{
        struct cancelled *cancelled = argument;
        ammap_options_t options = shared_options();
        ammap_t *map, *again, *file, *clone;
        int pair[2], fd;

        options.capacity = 20000;
        thread_check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        pthread_cancel(pthread_self());
        thread_check_int(ammap_new_with(&map, 5000, &options), 0);
        thread_check_int(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), 0);
        thread_check_int(ammap_import(&again, fd, NULL), 0);
        thread_check_int(ammap_free(again), 0);
        thread_check_int(ammap_send(map, pair[0]), 0);
        thread_check_int(ammap_recv(&again, pair[1], NULL), 0);
        thread_check_int(ammap_open(&file, cancelled->path.text, 5000, NULL), 0);
        for (int i = 0; i < 3; i++) {
                ammap_t *each = i == 0 ? map : i == 1 ? again : file;

                for (enum op op = 0; op < OP_COUNT; op++)
                        if (each != file ||
                            (op != OP_SLICE && op != OP_TRY_SLICE && op != OP_TIMED_SLICE && op < OP_MUT_SLICE))
                                thread_check_int(op_run(op, each, 0, 64, SECOND), 0);
                thread_check_int(ammap_resize(each, 4000), 0);
                thread_check_int(ammap_wait_u32(each, 0, 0x5a5a5a5a, MS), AMMAP_ERR_TIMEOUT);
                thread_check_int(ammap_discard(each, 0, 4000), 0);
                thread_check_int(ammap_populate(each, 0, 4000), 0);
                thread_check_int(ammap_flush(each, 0, 4000), 0);
                thread_check_int(ammap_recover(each), 0);
        }
        thread_check_int(ammap_seal(map, AMMAP_SEAL_FUTURE_WRITE), 0);
        thread_check_int(ammap_clone(map, &clone), 0);
        thread_check_int(ammap_free(clone), 0);
        thread_check_int(ammap_freeze(map), 0);
        thread_check_int(ammap_clone(map, &clone), 0);
        thread_check_int(ammap_free(clone), 0);
        thread_check_int(ammap_free(again), 0);
        thread_check_int(ammap_free(map), 0);
        thread_check_int(ammap_free(file), 0);
        cancelled->through = true;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        close(fd);
        close(pair[0]);
        close(pair[1]);
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        pthread_testcancel();
        return NULL;
}

START_TEST(no_cancellation_points)
{
        struct cancelled cancelled = { path_of("file"), false };
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_body, &cancelled), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert(cancelled.through);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
}
END_TEST

/* --- By fork, by exec ------------------------------------------------------- */

static void other_program_body(struct peer *parent, void *argument)
{
        char fd[20];

        snprintf(fd, sizeof(fd), "%d", *(int *)argument);
        child_must(fcntl(*(int *)argument, F_SETFD, 0) == 0);
        (void)parent;
        execl("/proc/self/exe", "test-share", "--fd", fd, "51", (char *)NULL);
        child_must(errno == 0);
}

/* Run by that. */
static int other_program(int fd, int byte)
{
        ammap_t *map;
        int rc = ammap_import(&map, fd, NULL);

        if (rc < 0)
                return 1;
        if (!holds(map, 0, ammap_len(map), 0x4e))
                return 2;
        if (ammap_fill(map, 0, ammap_len(map), (unsigned char)byte) < 0)
                return 3;
        return ammap_free(map) < 0 ? 4 : 0;
}

START_TEST(another_program)
{
        ammap_t *map = make_shared(5000, 0, 3);
        int fd = export_of(map, AMMAP_READ | AMMAP_WRITE);
        struct peer peer;

        if (under_valgrind()) { /* which that would be the program */
                close(fd);
                ck_assert_int_eq(ammap_free(map), 0);
                return;
        }
        ck_assert_int_eq(ammap_fill(map, 0, 5000, 0x4e), 0);
        peer_start(&peer, other_program_body, &fd);
        peer_end(&peer);
        ck_assert(holds(map, 0, 5000, 51));
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(a_forked_child)
{
        ammap_t *map = make_shared(5000, 9000, 3);
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;

        ck_assert_int_eq(ammap_fill(map, 0, 5000, 1), 0);
        remote_start(&remote, &place);
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(remote_op(&remote, op, 0, 5000, SECOND), 0);
        remote_check_bytes(&remote, 0, 64, OP_BYTE);
        ck_assert(holds(map, 0, 5000, OP_BYTE));
        ck_assert_int_eq(remote_resize(&remote, 9000), 0);
        ck_assert_int_eq(ammap_fill(map, 8999, 1, 2), 0);
        remote_check_bytes(&remote, 8999, 1, 2);
        /* What it frees is its own. */
        remote_end(&remote);
        ck_assert_int_eq(ammap_fill(map, 0, 9000, 3), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

#if !TEST_SANITIZED
/* A child that libc knows nothing of, and whose death the kernel would not tell:
 * what it does not get right it is refused, and it disturbs nobody. */
START_TEST(a_bare_clone)
{
        ammap_t *map = make_shared(5000, 9000, 3);
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;

        remote_start_by(&remote, clone_fork, &place);
        for (enum op op = 0; op < OP_COUNT; op++) {
                int rc = remote_op(&remote, op, 0, 5000, SECOND);
                struct reply reply;

                ck_assert_msg(rc == 0 || rc == -ENOSYS || rc == AMMAP_ERR_UNSUPPORTED ||
                                      (rc == AMMAP_ERR_READ_ONLY && op_writes(op)),
                              "%s: %s", op_name(op), ammap_errname(rc));
                ck_assert_int_eq(ammap_fill(map, 0, 5000, (unsigned char)(op + 1)), 0);
                reply = remote_do(&remote, (struct request){ .order = DO_READ, .offset = 4936, .length = 64 });
                if (reply.result == 0)
                        ck_assert(is_all(reply.bytes, (unsigned char)(op + 1), 64));
                else
                        ck_assert(reply.result == -ENOSYS || reply.result == AMMAP_ERR_UNSUPPORTED);
        }
        remote_end(&remote);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 5000, 0), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST
#endif

/* --- Freeze ------------------------------------------------------------------ */

START_TEST(frozen_for_all)
{
        for (int who = 0; who < 3; who++) {
                ammap_t *map = make_shared(5000, 9000, 3), *again = import_again(map, AMMAP_READ | AMMAP_WRITE), *late;
                struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL,
                                       AMMAP_OPTIONS_INIT };
                struct remote remote;
                int fd = 99;

                remote_start(&remote, &place);
                ck_assert_int_eq(ammap_fill(map, 0, 5000, 1), 0);
                if (who == 0)
                        ck_assert_int_eq(ammap_freeze(map), 0);
                else if (who == 1)
                        ck_assert_int_eq(ammap_freeze(again), 0);
                else
                        ck_assert_int_eq(remote_order(&remote, DO_FREEZE), 0);
                for (enum op op = 0; op < OP_COUNT; op++) {
                        int want = op_writes(op) ? AMMAP_ERR_READ_ONLY : 0;

                        ck_assert_int_eq(op_run(op, map, 0, 5000, SECOND), want);
                        ck_assert_int_eq(op_run(op, again, 0, 5000, SECOND), want);
                        ck_assert_int_eq(op_elsewhere(op, map, 0, 5000), want);
                        ck_assert_int_eq(remote_op(&remote, op, 0, 5000, SECOND), want);
                }
                ck_assert(stat_of(map).frozen && stat_of(again).frozen && remote_stat(&remote).frozen);
                ck_assert(stat_of(map).read_only && remote_stat(&remote).read_only);
                ck_assert_int_eq(ammap_freeze(map), 0);
                ck_assert_int_eq(remote_order(&remote, DO_FREEZE), 0);
                ck_assert_int_eq(remote_resize(&remote, 9000), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_resize(map, 5000), AMMAP_ERR_READ_ONLY);
                ck_assert_ptr_null(ammap_as_mut_ptr(map));
                ck_assert_ptr_null(ammap_as_mut_ptr(again));
                if (who == 0)
                        ck_assert(is_fatal(ammap_as_ptr(map), false));
                ck_assert(seals_of(place.fd) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
                ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(fd, -1);
                late = import_of(place.fd, AMMAP_SHARED);
                ck_assert(stat_of(late).frozen && stat_of(late).read_only);
                ck_assert_int_eq(op_run(OP_SLICE, late, 0, 5000, 0), 0);
                ck_assert(holds(late, 0, 5000, 1));
                remote_end(&remote);
                close(place.fd);
                ck_assert_int_eq(ammap_free(late), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

START_TEST(a_freeze_waits)
{
        ammap_t *map = make_shared(5000, 0, 3);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, AMMAP_OPTIONS_INIT };
        ammap_u32_view_t view;
        struct remote remote;
        ammap_slice_t slice;

        remote_start(&remote, &place);
        for (int writes = 0; writes < 2; writes++) {
                remote_hold(&remote, writes, 100, 100);
                remote_release(&remote);
        }
        ck_assert_int_eq(ammap_as_slice(map, 0, 10, &slice), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
        remote_send(&remote, (struct request){ .order = DO_FREEZE });
        remote_sleeps(&remote);
        ammap_slice_release(&slice);
        ck_assert_int_eq(remote_reply(&remote).result, 0);
        ck_assert(stat_of(map).frozen);
        remote_end(&remote);
        close(place.fd);
        ck_assert_int_eq(ammap_free(map), 0);

        map = make_shared(5000, 0, 3);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_fill(map, 0, 10, 1), 0);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

START_TEST(frozen_files)
{
        struct path path = path_of("file");
        ammap_t *map = open_map(path.text, 5000, true), *again = open_map(path.text, 0, false);
        struct place place = { OPEN, NULL, -1, path.text, AMMAP_OPTIONS_INIT };
        struct remote remote;

        remote_start(&remote, &place);
        ck_assert_int_eq(ammap_fill(map, 0, 5000, 3), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(again, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(remote_op(&remote, OP_UPDATE, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(op_run(OP_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0);
        ck_assert(stat_of(again).frozen && stat_of(again).read_only);
        remote_check_bytes(&remote, 0, 64, 3);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        map = open_map(path.text, 0, false); /* for good */
        ck_assert(stat_of(map).frozen);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert(holds(map, 0, 5000, 3));
        ck_assert_int_eq(ammap_free(map), 0);

        map = make_raw(5000);
        again = import_of(ammap_fd(map), AMMAP_RAW);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert(seals_of(ammap_fd(map)) & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE));
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* What a process has seen frozen stays so for it, through whichever handle, and so
 * does the length: a peer who takes the flag back, or says that it is another map's
 * header, is not believed. */
static void frozen_for_good(ammap_t *map, uint64_t length)
{
        static const enum op writes[] = { OP_UPDATE, OP_FILL, OP_MUT_SLICE, OP_TRY_MUT_SLICE, OP_TIMED_MUT_SLICE };
        ammap_u32_view_t view;

        for (size_t i = 0; i < COUNT_OF(writes); i++)
                child_must_int(op_run(writes[i], map, 0, 8, SECOND), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_copy(map, 0, map, 100, 10), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_discard(map, 0, 4096), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_resize(map, length + 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_resize(map, 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_atomic_u32(map, 0, &view), AMMAP_ERR_READ_ONLY);
        child_must(ammap_as_mut_ptr(map) == NULL);
        child_must_int(ammap_freeze(map), 0);
        child_must_int(ammap_recover(map), 0);
        child_must_int(ammap_populate(map, 0, length), 0);
        child_must_int(op_run(OP_SLICE, map, 0, length, 0), 0);
        child_must_int(op_run(OP_READ_INTO, map, 0, length, 0), 0);
        child_must_int(op_run(OP_READ_INTO, map, length - 8, 9, 0), AMMAP_ERR_BOUNDS);
        child_must_int(op_run(OP_SLICE, map, 0, length + 1, 0), AMMAP_ERR_BOUNDS);
        child_must(ammap_len(map) == length);
}

static void thawed_body(void *argument)
{
        const uint64_t length = 3 * 4096 + 1000, capacity = 40000;
        static const uint64_t lengths[] = { 0, 1, 3 * 4096 + 1001, UINT64_MAX };
        bool inherited = *(const int *)argument & 1, by_another = *(const int *)argument & 2;
        ammap_options_t options = shared_options();
        struct format_head *head;
        ammap_t *map, *maps[3];
        int status, fd;
        pid_t child;

        options.capacity = capacity;
        options.lanes = 3;
        child_must_int(ammap_new_with(&map, length, &options), 0);
        fd = dup(ammap_fd(map));
        head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        child_must(fd >= 0 && head != MAP_FAILED);
        maps[0] = map;
        child_must_int(ammap_import(&maps[1], fd, NULL), 0);
        child_must_int(ammap_fill(maps[1], 0, length, 1), 0);
        child = by_another ? fork() : 0;
        child_must(child >= 0);
        if (child || !by_another)
                child = child ? child : -1;
        if (child <= 0)
                child_must_int(ammap_freeze(map), 0);
        if (child == 0)
                _exit(0);
        if (child > 0) {
                child_must(waitpid(child, &status, 0) == child && status == 0);
                child_must_int(ammap_fill(maps[1], 0, 1, 1), AMMAP_ERR_READ_ONLY); /* and so it knows */
        }
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                atomic_store(&head->frozen, 0);
                atomic_store(&head->length, lengths[i]);
                frozen_for_good(maps[0], length);
                frozen_for_good(maps[1], length);
        }
        atomic_store(&head->length, length);
        child_must_int(ammap_import(&maps[2], fd, NULL), 0); /* to which the flag never was shown */
        frozen_for_good(maps[0], length);
        child_must_int(ammap_fill(maps[2], 0, 1, 1), AMMAP_ERR_READ_ONLY);
        child_must(ammap_len(maps[2]) == length);
        if (inherited) {
                child = fork();
                child_must(child >= 0);
                if (child == 0) {
                        frozen_for_good(maps[0], length);
                        frozen_for_good(maps[1], length);
                        _exit(0);
                }
                child_must(waitpid(child, &status, 0) == child && status == 0);
        }
        for (size_t i = 0; i < COUNT_OF(maps); i++)
                child_must_int(ammap_free(maps[i]), 0);
}

START_TEST(what_was_frozen_stays_so)
{
        child_passes(thawed_body, &_i);
}
END_TEST

/* --- Clone --------------------------------------------------------------------- */

START_TEST(clones_of_the_frozen)
{
        static const uint64_t lengths[] = { 1, 5000, 16 * 4096, 100001 };

        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                uint64_t length = lengths[i], capacity = length + 70000;
                ammap_t *map = make_shared(length, capacity, 1), *clone, *second;
                unsigned char *bytes = ammap_as_mut_ptr(map);

                for (uint64_t j = 0; j < length; j++)
                        bytes[j] = pattern_byte(j);
                ck_assert_int_eq(ammap_freeze(map), 0);
                ck_assert_int_eq(ammap_clone(map, &clone), 0);
                ck_assert_int_eq(ammap_clone(map, &second), 0);
                ck_assert_int_eq(stat_of(clone).share, AMMAP_PRIVATE);
                ck_assert(!stat_of(clone).frozen && !stat_of(clone).read_only);
                ck_assert_uint_eq(ammap_len(clone), length);
                ck_assert_uint_eq(stat_of(clone).capacity, capacity);
                ck_assert_int_eq(ammap_fd(clone), AMMAP_ERR_UNSUPPORTED);
                ck_assert(is_pattern(clone));
                ck_assert_int_eq(ammap_fill(clone, 0, length, 0xdd), 0);
                ck_assert(is_pattern(map));
                ck_assert(is_pattern(second));
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, clone, 0, length, SECOND), 0);

                /* Its zeros are zeros, and not the original's bytes. */
                ck_assert_int_eq(ammap_discard(second, 0, length), 0);
                ck_assert(is_all(ammap_as_ptr(second), 0, length));
                ck_assert_int_eq(ammap_resize(clone, 1), 0);
                ck_assert_int_eq(ammap_resize(clone, capacity), 0);
                ck_assert(is_all((const unsigned char *)ammap_as_ptr(clone) + 1, 0, capacity - 1));
                ck_assert_int_eq(ammap_free(second), 0);

                /* It needs neither the original nor its descriptor. */
                ck_assert_int_eq(ammap_clone(map, &second), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert(is_pattern(second));
                ck_assert_int_eq(ammap_fill(second, 0, length, 1), 0);
                ck_assert_int_eq(ammap_clone(second, &map), 0);
                ck_assert(is_all(ammap_as_ptr(map), 1, length));
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(second), 0);
        }
}
END_TEST

/* Who had the memory writable before the freeze writes on, or never was there a
 * freeze, and the flag is a lie: the clones are of nobody else's pages. */
START_TEST(clones_that_follow_nobody)
{
        enum { FORGED, FROZEN, FROZEN_READ_ONLY, WAYS };

        for (int way = 0; way < WAYS; way++) {
                const uint64_t length = 9 * 4096 + 100;
                ammap_t *map = make_shared(length, 2 * length, 3), *reader = NULL, *clone, *second;
                uint64_t data = data_of(ammap_fd(map));
                unsigned char *peer =
                        mmap(NULL, (size_t)(data + length), PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);
                ammap_mut_slice_t slice;

                ck_assert_ptr_ne(peer, MAP_FAILED);
                ck_assert_int_eq(ammap_fill(map, 0, length, 5), 0);
                if (way == FORGED)
                        atomic_store(&((struct format_head *)(void *)peer)->frozen, 7);
                else
                        ck_assert_int_eq(ammap_freeze(map), 0);
                if (way == FROZEN_READ_ONLY)
                        reader = import_again(map, AMMAP_READ);
                ck_assert_int_eq(ammap_clone(reader ? reader : map, &clone), 0);
                ck_assert_int_eq(ammap_clone(clone, &second), 0);
                ck_assert_int_eq(ammap_as_mut_slice(clone, 0, length, &slice), 0);
                for (uint64_t at = 0; at < length; at += 1000)
                        peer[data + at] = 6;
                ck_assert(is_all(slice.data, 5, length));
                ammap_mut_slice_release(&slice);
                ck_assert(holds(second, 0, length, 5));
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(second), 0);
                ck_assert_int_eq(ammap_free(reader), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                munmap(peer, (size_t)(data + length));
        }
}
END_TEST

/* What holds nothing is not copied. */
START_TEST(clones_of_the_sparse)
{
        const uint64_t full = MB;
        ammap_t *map = make_shared(sizeof(void *) > 4 ? 1024 * MB : 128 * MB, 0, 1), *clone;
        unsigned long before;

        ck_assert_int_eq(ammap_fill(map, 100 * MB, full, 9), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        before = status_bytes("VmRSS:");
        ck_assert_int_eq(ammap_clone(map, &clone), 0);
        if (!TEST_SANITIZED && !under_valgrind())
                ck_assert_uint_lt(status_bytes("VmRSS:"), before + 16 * full);
        ck_assert(holds(clone, 100 * MB - 64, 64, 0));
        ck_assert(holds(clone, 100 * MB, full, 9));
        ck_assert_int_eq(ammap_free(clone), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

static ino_t inode_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return stat.st_ino;
}

START_TEST(clones_of_the_others)
{
        struct path path = path_of("file");
        ammap_t *maps[] = { make_shared(5000, 9000, 3), make_raw(5000), open_map(path.text, 5000, false) };

        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                ammap_t *clone;

                ck_assert_int_eq(ammap_fill(maps[i], 0, 5000, 1), 0);
                ck_assert_int_eq(ammap_clone(maps[i], &clone), 0);
                ck_assert_uint_eq(ammap_len(clone), 5000);
                ck_assert(holds(clone, 0, 5000, 1));
                ck_assert_int_eq(ammap_fill(clone, 0, 5000, 2), 0);
                ck_assert(holds(maps[i], 0, 5000, 1));
                ck_assert_int_eq(ammap_fill(maps[i], 0, 5000, 3), 0);
                ck_assert(holds(clone, 0, 5000, 2));
                if (i == 0) {
                        ck_assert_int_eq(stat_of(clone).share, AMMAP_SHARED);
                        ck_assert_uint_eq(stat_of(clone).lanes, 3);
                        ck_assert_uint_eq(stat_of(clone).capacity, 9000);
                        ck_assert_uint_ne(inode_of(ammap_fd(clone)), inode_of(ammap_fd(maps[i])));
                        check_descriptor(ammap_fd(clone), "");
                } else {
                        ck_assert_int_eq(stat_of(clone).share, AMMAP_PRIVATE);
                        ck_assert_int_eq(ammap_fd(clone), AMMAP_ERR_UNSUPPORTED);
                        ck_assert_int_eq(op_run(OP_MUT_SLICE, clone, 0, 5000, 0), 0);
                }
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}
END_TEST

/* --- Wait and wake ---------------------------------------------------------------- */

START_TEST(wait_and_wake)
{
        enum { SHARED, RAW_MEMORY, A_FILE, READER, KINDS };

        for (int kind = 0; kind < KINDS; kind++) {
                struct path path = path_of("file");
                struct place place = { IMPORT, NULL, -1, path.text, AMMAP_OPTIONS_INIT };
                struct remote remotes[2];
                struct reply reply;
                ammap_t *map;
                uint32_t one = 1;
                int woken = 0;

                if (kind == A_FILE) {
                        place.way = OPEN;
                        map = open_map(path.text, 4096, false);
                } else {
                        map = kind == RAW_MEMORY ? make_raw(4096) : make_shared(4096, 0, 0);
                        place.options.share = kind == RAW_MEMORY ? AMMAP_RAW : AMMAP_SHARED;
                        place.fd = export_of(map, kind == READER ? AMMAP_READ : AMMAP_READ | AMMAP_WRITE);
                }
                for (size_t i = 0; i < 2; i++)
                        remote_start(&remotes[i], &place);
                ck_assert_int_eq(ammap_wake_u32(map, 64, INT_MAX), 0);
                for (size_t i = 0; i < 2; i++)
                        remote_send(&remotes[i], (struct request){ DO_WAIT, OP_COUNT, 64, 0, -1 });
                for (size_t i = 0; i < 2; i++)
                        remote_sleeps(&remotes[i]);
                ck_assert_int_eq(ammap_wake_u32(map, 60, INT_MAX), 0); /* another word */
                while (woken == 0) /* each looks at the word now and then, and sleeps on */
                        woken = ammap_wake_u32(map, 64, 1);
                ck_assert_int_eq(woken, 1);
                while ((woken = ammap_wake_u32(map, 64, INT_MAX)) == 0)
                        ;
                ck_assert_int_eq(woken, 1);
                for (size_t i = 0; i < 2; i++)
                        ck_assert_int_eq(remote_reply(&remotes[i]).result, 0);

                /* Nobody wakes them: another has taken the wake-up away. */
                for (size_t i = 0; i < 2; i++)
                        remote_send(&remotes[i], (struct request){ DO_WAIT, OP_COUNT, 64, 0, -1 });
                for (size_t i = 0; i < 2; i++)
                        remote_sleeps(&remotes[i]);
                ck_assert_int_eq(ammap_update_region(map, 64, &one, 4), 0);
                for (size_t i = 0; i < 2; i++)
                        ck_assert_int_eq(remote_reply(&remotes[i]).result, 0);

                /* Another value than expected; none in time. */
                reply = remote_do(&remotes[0], (struct request){ DO_WAIT, OP_COUNT, 64, 0, -1 });
                ck_assert_int_eq(reply.result, 0);
                do
                        reply = remote_do(&remotes[0], (struct request){ DO_WAIT, OP_COUNT, 64, 1, 30 * MS });
                while (reply.result == 0);
                ck_assert_int_eq(reply.result, AMMAP_ERR_TIMEOUT);
                ck_assert_int_ge(reply.took_ns, 30 * MS);
                reply = remote_do(&remotes[0], (struct request){ DO_WAIT, OP_COUNT, 4096, 1, 0 });
                ck_assert_int_eq(reply.result, AMMAP_ERR_BOUNDS);
                reply = remote_do(&remotes[0], (struct request){ DO_WAIT, OP_COUNT, 65, 1, 0 });
                ck_assert_int_eq(reply.result, AMMAP_ERR_MISALIGNED);
                for (size_t i = 0; i < 2; i++)
                        remote_end(&remotes[i]);
                if (place.fd >= 0)
                        close(place.fd);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

/* Words handed to and fro; each end has the map by itself. */
static void pong_body(struct peer *parent, void *argument)
{
        const struct place *place = argument;
        ammap_t *map = place_join(place);
        ammap_u32_view_t ping, pong;

        (void)parent;
        child_must_int(ammap_atomic_u32(map, 0, &ping), 0);
        child_must_int(ammap_atomic_u32(map, 128, &pong), 0);
        for (uint32_t i = 1; i <= 2000; i++) {
                while (atomic_load(ping.value) < i)
                        child_must_int(ammap_wait_u32(map, 0, i - 1, patience_ns()), 0);
                atomic_store(pong.value, i);
                child_must(ammap_wake_u32(map, 128, 1) >= 0);
        }
        ammap_u32_view_release(&ping);
        ammap_u32_view_release(&pong);
        child_must_int(ammap_free(map), 0);
}

START_TEST(ping_pong)
{
        ammap_t *map = make_shared(4096, 0, 0);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, AMMAP_OPTIONS_INIT };
        ammap_u32_view_t ping, pong;
        struct peer peer;

        peer_start(&peer, pong_body, &place);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &ping), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 128, &pong), 0);
        for (uint32_t i = 1; i <= 2000; i++) {
                atomic_store(ping.value, i);
                ck_assert_int_ge(ammap_wake_u32(map, 0, 1), 0);
                while (atomic_load(pong.value) < i)
                        ck_assert_int_eq(ammap_wait_u32(map, 128, i - 1, patience_ns()), 0);
        }
        ammap_u32_view_release(&ping);
        ammap_u32_view_release(&pong);
        peer_end(&peer);
        close(place.fd);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* --- Memory ------------------------------------------------------------------------ */

static uint64_t blocks_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return (uint64_t)stat.st_blocks * 512;
}

START_TEST(memory_calls)
{
        const uint64_t size = 64 * PAGE;
        ammap_t *maps[] = { make_shared(size, 2 * size, 3), make_raw(size) };

        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                struct place place = { IMPORT, NULL, export_of(maps[i], AMMAP_READ | AMMAP_WRITE), NULL,
                                       AMMAP_OPTIONS_INIT };
                uint64_t edges[EDGES_MAX], empty = blocks_of(ammap_fd(maps[i]));
                size_t count = edges_of(size, edges);
                struct remote remote;
                ammap_stat_t stat;

                if (i == 1)
                        place.options.share = AMMAP_RAW;
                remote_start(&remote, &place);
                ck_assert_int_eq(ammap_populate(maps[i], 0, size), 0);
                ck_assert_uint_ge(blocks_of(ammap_fd(maps[i])), empty + size);
                ck_assert_uint_ge(stat_of(maps[i]).resident, size);
                ck_assert_int_eq(ammap_mlock(maps[i], PAGE, 2 * PAGE), 0);
                ck_assert_uint_eq(stat_of(maps[i]).locked, TEST_SANITIZED ? 0 : 2 * PAGE);
                ck_assert_int_eq(ammap_munlock(maps[i], 0, size), 0);
                ck_assert_uint_eq(stat_of(maps[i]).locked, 0);
                for (int advice = AMMAP_ADVICE_NORMAL; advice <= AMMAP_ADVICE_WILLNEED; advice++)
                        ck_assert_int_eq(ammap_advise(maps[i], 1, size - 2, (ammap_advice_t)advice), 0);

                /* Zero for everyone, and the pages are free again. */
                ck_assert_int_eq(ammap_fill(maps[i], 0, size, 8), 0);
                remote_check_bytes(&remote, size - 64, 64, 8);
                ck_assert_int_eq(ammap_discard(maps[i], 10, size - 20), 0);
                ck_assert_uint_le(blocks_of(ammap_fd(maps[i])), empty + 4 * PAGE);
                ck_assert(holds(maps[i], 0, 10, 8));
                ck_assert(holds(maps[i], 10, size - 20, 0));
                ck_assert(holds(maps[i], size - 10, 10, 8));
                remote_check_bytes(&remote, 0, 10, 8);
                for (uint64_t at = 10; at + 74 < size; at += 1111)
                        remote_check_bytes(&remote, at, 64, 0);

                for (size_t j = 0; j < count; j++)
                        for (size_t k = 0; k < count; k++) {
                                bool inside = range_is_inside(size, edges[j], edges[k]);

                                if (inside)
                                        continue;
                                ck_assert_int_eq(ammap_populate(maps[i], edges[j], edges[k]), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_discard(maps[i], edges[j], edges[k]), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_mlock(maps[i], edges[j], edges[k]), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_advise(maps[i], edges[j], edges[k], AMMAP_ADVICE_NORMAL),
                                                 AMMAP_ERR_BOUNDS);
                        }
                stat = remote_stat(&remote);
                ck_assert_uint_eq(stat.slices, 0);
                ck_assert_uint_eq(stat.views, 0);
                ck_assert_uint_eq(stat.page, PAGE);
                ck_assert_int_ge(ammap_is_hugepage_backed(maps[i]), 0);
                {
                        char text[400];
                        int length = ammap_describe(maps[i], text, sizeof(text));

                        ck_assert_int_gt(length, 0);
                        ck_assert_uint_eq(strlen(text), (size_t)length);
                }
                remote_end(&remote);
                close(place.fd);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}
END_TEST

START_TEST(statistics_count_this_processs_slices)
{
        ammap_t *map = make_shared(4096, 0, 4);
        ammap_slice_t slices[2];
        ammap_u64_view_t view;

        ck_assert_int_eq(ammap_as_slice(map, 0, 10, &slices[0]), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 4096, &slices[1]), 0);
        ck_assert_int_eq(ammap_atomic_u64(map, 8, &view), 0);
        ck_assert_uint_eq(stat_of(map).slices, 2);
        ck_assert_uint_eq(stat_of(map).views, 1);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_slice_release(&slices[0]);
        ammap_u64_view_release(&view);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_slice_release(&slices[1]);
        ck_assert_uint_eq(stat_of(map).slices, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
END_TEST

/* Every range at every edge, by every copy and slice. */
START_TEST(ranges)
{
        static const uint64_t lengths[] = { 1, 8, 4096, 4099 };

        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                ammap_t *map = make_shared(lengths[i], 0, lengths[i] < 3 ? 1 : 3);
                uint64_t edges[EDGES_MAX];
                size_t count = edges_of(lengths[i], edges);
                static unsigned char buffer[8192];

                for (size_t j = 0; j < count; j++)
                        for (size_t k = 0; k < count; k++) {
                                bool inside = range_is_inside(lengths[i], edges[j], edges[k]);
                                int want = inside ? 0 : AMMAP_ERR_BOUNDS;
                                ammap_slice_t slice = { buffer, 1, { NULL, 0 } };
                                ammap_mut_slice_t mut = { buffer, 1, { NULL, 0 } };

                                if (edges[k] <= SIZE_MAX) {
                                        size_t size = (size_t)edges[k];

                                        ck_assert_int_eq(ammap_read_into(map, edges[j], buffer, size), want);
                                        ck_assert_int_eq(ammap_update_region(map, edges[j], buffer, size), want);
                                }
                                ck_assert_int_eq(ammap_fill(map, edges[j], edges[k], 0), want);
                                ck_assert_int_eq(ammap_as_slice(map, edges[j], edges[k], &slice), want);
                                ck_assert_int_eq(slice_is_zero(&slice), !inside);
                                ammap_slice_release(&slice);
                                ck_assert_int_eq(ammap_as_mut_slice(map, edges[j], edges[k], &mut), want);
                                ck_assert_int_eq(slice_is_zero(&mut), !inside);
                                ammap_mut_slice_release(&mut);
                        }
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

/* From one kind of map to every other. */
START_TEST(copies_between_kinds)
{
        struct path path = path_of("file");
        ammap_t *maps[] = { new_map(6000, 2), make_shared(6000, 0, 3), make_raw(6000),
                            open_map(path.text, 6000, false) };

        for (size_t i = 0; i < COUNT_OF(maps); i++)
                for (size_t j = 0; j < COUNT_OF(maps); j++) {
                        unsigned char byte = (unsigned char)(10 * i + j + 1);

                        ck_assert_int_eq(ammap_fill(maps[j], 0, 6000, 0), 0);
                        ck_assert_int_eq(ammap_fill(maps[i], 0, 5000, byte), 0);
                        ck_assert_int_eq(ammap_copy(maps[j], 500, maps[i], 0, 5000), 0);
                        ck_assert(holds(maps[j], 500, 5000, byte));
                        ck_assert_int_eq(ammap_copy(maps[j], 1001, maps[i], 0, 5000), AMMAP_ERR_BOUNDS);
                }
        for (size_t i = 0; i < COUNT_OF(maps); i++)
                ck_assert_int_eq(ammap_free(maps[i]), 0);

        /* Two handles on one memory: memmove's rule, or a refusal. */
        {
                ammap_t *map = make_shared(6000, 0, 3), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
                unsigned char bytes[6000], moved[6000];

                for (size_t i = 0; i < sizeof(bytes); i++)
                        bytes[i] = pattern_byte(i);
                for (int back = 0; back < 2; back++) {
                        size_t to = back ? 0 : 900, from = back ? 900 : 0;

                        memcpy(moved, bytes, sizeof(bytes));
                        memmove(moved + to, moved + from, 5000);
                        ck_assert_int_eq(ammap_update_region(map, 0, bytes, sizeof(bytes)), 0);
                        if (ammap_copy(again, to, map, from, 5000) == 0) {
                                ck_assert_int_eq(memcmp(moved, ammap_as_ptr(map), sizeof(moved)), 0);
                        } else {
                                ck_assert_int_eq(ammap_copy(again, to, map, from, 5000), AMMAP_ERR_DEADLOCK);
                                ck_assert_int_eq(memcmp(bytes, ammap_as_ptr(map), sizeof(bytes)), 0);
                        }
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 6000, 0), 0);
                }
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}
END_TEST

#else

START_TEST(unsupported)
{
        check_unsupported();
}
END_TEST

#endif

int main(int argc, char **argv)
{
        Suite *suite;
        TCase *tcase;

#if TEST_OS_LINUX
        if (argc == 4 && strcmp(argv[1], "--fd") == 0)
                return other_program(atoi(argv[2]), atoi(argv[3]));
        if (cannot_share("test-share"))
                return SKIPPED;
#else
        (void)argc;
        (void)argv;
#endif

        suite = suite_create("share");
        tcase = share_case(suite, "share");
#if TEST_OS_LINUX
        tcase_add_test(tcase, what_lies_behind_a_new_map);
        tcase_add_test(tcase, a_raw_one);
        tcase_add_test(tcase, what_new_refuses);
        tcase_add_test(tcase, properties);
        tcase_add_test(tcase, half_a_secret);
        tcase_add_test(tcase, try_everything);
        tcase_add_test(tcase, options_of_an_import);
        tcase_add_test(tcase, a_fork_leaves_it_out);
        tcase_add_test(tcase, beyond_the_file_size);
        tcase_add_test(tcase, out_of_descriptors);
        tcase_add_test(tcase, null_and_private);
        tcase_add_test(tcase, rights);
        tcase_add_test(tcase, an_export_is_the_callers_own);
        tcase_add_test(tcase, nobody_makes_a_read_export_writable);
        tcase_add_test(tcase, read_only_handles);
        tcase_add_test(tcase, sealing);
        tcase_add_test(tcase, descriptors_that_are_no_maps);
        tcase_add_test(tcase, what_import_looks_at);
        tcase_add_test(tcase, sealed_against_writers_alone);
        tcase_add_test(tcase, twice_in_one_process);
        tcase_add_test(tcase, a_resize_is_seen_at_once);
        tcase_add_test(tcase, capacity_costs_nothing);
        tcase_add_test(tcase, slots_are_not_dumped);
        tcase_add_test(tcase, a_length_beyond_the_memory);
        tcase_add_test(tcase, growth_that_is_refused);
        tcase_add_test(tcase, stores_beyond_the_end);
        if (!TEST_TSAN) /* whose own end comes before that round */
                tcase_add_loop_test(tcase, what_is_taken_in_the_last_round, 0, 10);
        tcase_add_test(tcase, a_start_that_fails);
        tcase_add_test(tcase, nothing_at_the_end);
        tcase_add_test(tcase, growth_elsewhere);
        tcase_add_test(tcase, a_file);
        tcase_add_test(tcase, slices_of_a_file);
        tcase_add_test(tcase, what_open_refuses);
        tcase_add_test(tcase, an_empty_file);
        tcase_add_test(tcase, racing_creators);
        tcase_add_test(tcase, killed_creators);
        tcase_add_test(tcase, truncated_in_the_data);
        tcase_add_test(tcase, truncated_to_nothing);
        tcase_add_test(tcase, truncated_imports);
        tcase_add_test(tcase, a_file_that_may_not_be_written);
        tcase_add_test(tcase, flush);
        tcase_add_test(tcase, raw_files);
        tcase_add_test(tcase, a_header_is_not_raw_bytes);
        tcase_add_test(tcase, another_user_opens_none_of_it_to_write);
        tcase_add_test(tcase, a_file_has_no_seals);
        tcase_add_test(tcase, send_and_receive);
        tcase_add_test(tcase, who_may_only_read_sends_that);
        tcase_add_test(tcase, sockets_that_are_none);
        tcase_add_test(tcase, no_descriptor_is_a_standard_stream);
        tcase_add_test(tcase, a_number_that_is_another_files_is_let_be);
        tcase_add_test(tcase, a_socket_that_is_received_does_not_linger);
        tcase_add_test(tcase, the_wrong_number_of_descriptors);
        tcase_add_test(tcase, the_wrong_kind_of_descriptor);
        tcase_add_test(tcase, the_other_end_is_gone);
        tcase_add_test(tcase, sockets_that_do_not_wait);
        tcase_add_test(tcase, interrupted);
        tcase_add_test(tcase, beside_credentials);
        tcase_add_test(tcase, no_cancellation_points);
        tcase_add_test(tcase, another_program);
        tcase_add_test(tcase, a_forked_child);
#if !TEST_SANITIZED
        tcase_add_test(tcase, a_bare_clone);
#endif
        tcase_add_test(tcase, frozen_for_all);
        tcase_add_test(tcase, a_freeze_waits);
        tcase_add_test(tcase, frozen_files);
        tcase_add_loop_test(tcase, what_was_frozen_stays_so, 0, 4);
        tcase_add_test(tcase, clones_of_the_frozen);
        tcase_add_test(tcase, clones_that_follow_nobody);
        tcase_add_test(tcase, clones_of_the_sparse);
        tcase_add_test(tcase, clones_of_the_others);
        tcase_add_test(tcase, wait_and_wake);
        tcase_add_test(tcase, ping_pong);
        tcase_add_test(tcase, memory_calls);
        tcase_add_test(tcase, statistics_count_this_processs_slices);
        tcase_add_test(tcase, ranges);
        tcase_add_test(tcase, copies_between_kinds);
#else
        tcase_add_test(tcase, unsupported);
#endif
        return test_run(suite);
}
