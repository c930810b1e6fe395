/* test-share.c - maps that other processes have too
 *
 * SPDX-License-Identifier: MIT
 *
 * New ones, their options, lengths and limits, forks, ends of threads, wait and wake:
 * what each call refuses, and what the kernel then says of the descriptor.  At the end of
 * every test the process has the descriptors that it began with.  Export and import are in
 * test-import.c, files in test-open.c, sockets in test-socket.c; what locks do is in
 * test-shared-lock.c.
 *
 *      test-share --fd FD BYTE
 *
 * is how this program runs itself, to be another program with an inherited
 * descriptor.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

#include <stddef.h>
#include <sys/resource.h>

/* --- A new map ---------------------------------------------------------- */

DEFINE_TEST("share", what_lies_behind_a_new_map)
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

static uint64_t present_in(ammap_t *map)
{
        struct stat stat;

        ck_assert_int_eq(fstat(ammap_fd(map), &stat), 0);
        return (uint64_t)stat.st_blocks * 512 / PAGE;
}

/* Of all that is before the data no page is made present before it serves for something. */
DEFINE_TEST("share", a_slot_takes_no_memory_before_a_thread_has_it)
{
        ammap_options_t options = shared_options();
        ammap_t *map = make_with(2 * PAGE, &options);

        ck_assert_uint_ge(size_of(ammap_fd(map)), 256 * PAGE);
        ck_assert_uint_eq(present_in(map), 1); /* the head */
        ck_assert_int_eq(ammap_update_region(map, 0, "a slot's", 8), 0);
        ck_assert_uint_eq(present_in(map), 3); /* the slot, the data */
        ck_assert_int_eq(ammap_update_region(map, 8, "again", 5), 0);
        ck_assert_uint_eq(present_in(map), 3);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("share", a_raw_one)
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

DEFINE_TEST("share", what_new_refuses)
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

/* --- Options ------------------------------------------------------------ */

DEFINE_TEST("share", properties)
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

/* --- Huge pages ---------------------------------------------------------- */

enum { HUGE_SHARED, HUGE_RAW, HUGE_FILE, HUGE_KINDS };

static const uint64_t huge = 2 * MB;

/* Whether the system makes huge pages of shared memory if it is asked the way the library
 * asks: seen by hand, on a file of the test's own. */
static bool can_be_huge(void)
{
        unsigned char *bytes = mmap(NULL, 4 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        unsigned char *first = (unsigned char *)(uintptr_t)(((uintptr_t)bytes + huge - 1) & ~(huge - 1));
        int fd = memory_file(huge, 0);
        bool can;

        ck_assert_ptr_ne((void *)bytes, MAP_FAILED);
        ck_assert_ptr_eq(mmap(first, huge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), first);
        close(fd);
        *first = 1;
        can = madvise(first, huge, 25 /* MADV_COLLAPSE */) == 0 && PAGE == 4096;
        munmap(bytes, 4 * huge);
        return can && !TEST_SANITIZED && !under_valgrind();
}

/* A file in memory; false where there is no place for one. */
static bool huge_path(struct path *path)
{
        snprintf(path->text, sizeof(path->text), "/dev/shm/ammap-test-huge-%d", (int)getpid());
        unlink(path->text);
        return access("/dev/shm", W_OK) == 0;
}

static int make_huge(ammap_t **map, int kind, uint64_t size, ammap_options_t options)
{
        struct path path;

        options.allow_faults = true;
        options.share = kind == HUGE_RAW ? AMMAP_RAW : AMMAP_SHARED;
        if (kind != HUGE_FILE)
                return ammap_new_with(map, size, &options);
        if (!huge_path(&path)) {
                *map = NULL;
                return AMMAP_ERR_UNSUPPORTED;
        }
        int rc = ammap_open(map, path.text, size, &options);
        unlink(path.text);
        return rc;
}

/* So much of it is huge, by the kernel's account and by stat's. */
static void check_huge(ammap_t *map, uint64_t bytes)
{
        struct vma vma;

        ck_assert(find_vma(ammap_as_ptr(map), &vma));
        ck_assert_uint_eq(vma.pmd, bytes);
        ck_assert_uint_eq(stat_of(map).huge, bytes);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), bytes > 0);
}

DEFINE_LOOP_TEST("huge", maps_are_huge, 0, HUGE_KINDS * 2 * 2)
{
        static const uint64_t sizes[] = { 2 * MB, 4 * MB + 5000, 6 * MB };
        const ammap_want_t want = _i % 2 ? AMMAP_TRY : AMMAP_MUST;
        const bool can = can_be_huge();

        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;
                int rc;

                options.huge = want;
                options.guard = _i / 2 % 2 ? AMMAP_MUST : AMMAP_NO;
                rc = make_huge(&map, _i / 4, sizes[i], options);
                if (rc < 0) {
                        ck_assert(!can || _i / 4 == HUGE_FILE);
                        ck_assert(want == AMMAP_MUST || _i / 4 == HUGE_FILE);
                        ck_assert_int_eq(rc, AMMAP_ERR_UNSUPPORTED);
                        ck_assert_ptr_null(map);
                        continue;
                }
                if (can)
                        check_huge(map, sizes[i] / huge * huge);
                ck_assert(holds(map, 0, sizes[i], 0));
                ck_assert_int_eq(ammap_fill(map, 0, sizes[i], 7), 0);
                ck_assert(holds(map, 0, sizes[i], 7));
                if (can)
                        check_huge(map, sizes[i] / huge * huge);
                if (options.guard) {
                        const unsigned char *bytes = ammap_as_ptr(map);

                        ck_assert(is_fatal(bytes - 1, false));
                        ck_assert(is_fatal(bytes + (sizes[i] + PAGE - 1) / PAGE * PAGE, false));
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_LOOP_TEST("huge", growth_is_huge, 0, 2 * 2)
{
        static const uint64_t sizes[] = { 3 * MB, 4 * MB - 1, 4 * MB, 5 * MB, 8 * MB };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        const bool can = can_be_huge();
        ammap_t *map;

        options.huge = _i % 2 && can ? AMMAP_MUST : AMMAP_TRY;
        options.capacity = 8 * MB;
        options.lanes = 3;
        if (make_huge(&map, _i / 2 ? HUGE_FILE : HUGE_SHARED, 1, options) < 0) {
                ck_assert(_i % 2 || _i / 2); /* of no huge page at first, which must be: or no such place */
                options.huge = AMMAP_TRY;
                if (make_huge(&map, _i / 2 ? HUGE_FILE : HUGE_SHARED, 1, options) < 0)
                        return;
        }
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
                ck_assert_int_eq(ammap_resize(map, sizes[i]), 0);
                if (can)
                        check_huge(map, (sizes[i] + PAGE - 1) / huge * huge);
                ck_assert(holds(map, i ? sizes[i - 1] : 0, sizes[i] - (i ? sizes[i - 1] : 0), 0));
                ck_assert_int_eq(ammap_fill(map, 0, sizes[i], 9), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Whoever else maps it has the huge pages that are there: with the option at once,
 * without it as it touches them; to be written, to be read, and in a child. */
static void touch_all(struct peer *parent, void *argument)
{
        ammap_t *map = argument;

        (void)parent;
        for (uint64_t at = 0; at < 6 * MB; at += huge)
                child_must(holds(map, at, 1, 3));
        child_must(stat_of(map).huge == 6 * MB);
}

DEFINE_TEST("huge", importers_have_huge_pages)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct peer peer;
        ammap_t *map, *again;

        if (!can_be_huge()) {
                skip_part(__func__, "no huge pages here");
                return;
        }
        options.huge = AMMAP_MUST;
        ck_assert_int_eq(make_huge(&map, HUGE_SHARED, 6 * MB, options), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 6 * MB, 3), 0);
        peer_start(&peer, touch_all, map);
        peer_end(&peer);
        for (int read = 0; read < 2; read++)
                for (ammap_want_t want = AMMAP_NO; want <= AMMAP_MUST; want++) {
                        int fd = export_of(map, AMMAP_READ | (read ? 0 : AMMAP_WRITE));

                        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
                        options.huge = want;
                        ck_assert_int_eq(ammap_import(&again, fd, &options), 0);
                        close(fd);
                        if (want == AMMAP_NO)
                                ck_assert(holds(again, 0, 6 * MB, 3));
                        check_huge(again, 6 * MB);
                        ck_assert(holds(again, 0, 6 * MB, 3));
                        ck_assert_int_eq(ammap_free(again), 0);
                }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* One that was not made for it has them where whole ones fit, and keeps its bytes. */
DEFINE_TEST("huge", a_map_becomes_huge_for_an_importer)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map = make_shared(8 * MB, 0, 1), *again;
        uint64_t data = data_of(ammap_fd(map));

        if (!can_be_huge()) {
                skip_part(__func__, "no huge pages here");
                ck_assert_int_eq(ammap_free(map), 0);
                return;
        }
        for (uint64_t at = 0; at < 8 * MB; at += MB)
                ck_assert_int_eq(ammap_fill(map, at, 1, (unsigned char)(1 + at / MB)), 0);
        options.huge = AMMAP_MUST;
        ck_assert_int_eq(ammap_import(&again, ammap_fd(map), &options), 0);
        ck_assert_uint_eq((uintptr_t)ammap_as_ptr(again) % huge, data % huge);
        check_huge(again, 6 * MB);
        for (uint64_t at = 0; at < 8 * MB; at += MB) {
                ck_assert(holds(again, at, 1, (unsigned char)(1 + at / MB)));
                ck_assert(holds(map, at + 1, MB - 1, 0));
        }
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_LOOP_TEST("huge", none_where_none_fits, 0, HUGE_KINDS)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map = GARBAGE;

        options.huge = AMMAP_MUST;
        ck_assert_int_eq(make_huge(&map, _i, huge - PAGE, options), AMMAP_ERR_UNSUPPORTED);
        ck_assert_ptr_null(map);
        options.huge = AMMAP_TRY;
        if (make_huge(&map, _i, huge - PAGE, options) < 0) {
                ck_assert_int_eq(_i, HUGE_FILE);
                return;
        }
        ck_assert_uint_eq(stat_of(map).huge, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What was obtained, of maps that others have too: no secret, and nothing is kept. */
DEFINE_TEST("share", stat_says_what_was_obtained)
{
        struct path path = path_of("obtained");

        for (int kind = 0; kind < 3; kind++)
                for (unsigned which = 0; which < 16; which++) {
                        ammap_options_t options = shared_options();
                        ammap_stat_t stat;
                        ammap_t *map;

                        options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                        options.nodump = which & 1 ? AMMAP_MUST : AMMAP_NO;
                        options.secret = which & 2 ? AMMAP_TRY : AMMAP_NO;
                        options.noreserve = which & 4 ? AMMAP_MUST : AMMAP_NO;
                        options.recycle = which & 8 ? AMMAP_TRY : AMMAP_NO;
                        options.allow_faults = true;
                        if (kind == 2)
                                ck_assert_int_eq(ammap_open(&map, path.text, 10000, &options), 0);
                        else
                                map = make_with(10000, &options);
                        stat = stat_of(map);
                        ck_assert_int_eq(stat.nodump, (which & 3) != 0);
                        ck_assert_int_eq(stat.nodump, vma_has(ammap_as_ptr(map), " dd"));
                        ck_assert_int_eq(stat.noreserve, (which & 4) != 0);
                        ck_assert(!stat.secret && !stat.recycle);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

DEFINE_TEST("share", what_must_be_recycled_cannot_be_shared)
{
        struct path path = path_of("recycled");
        ammap_t *map = make_shared(5000, 0, 1), *other;
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.recycle = AMMAP_MUST;
        other = GARBAGE;
        ck_assert_int_eq(ammap_import(&other, ammap_fd(map), &options), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(other);
        other = GARBAGE;
        ck_assert_int_eq(ammap_open(&other, path.text, 5000, &options), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(other);
        ck_assert_int_eq(access(path.text, F_OK), -1);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Locked and kept out of dumps; more of a secret cannot be had in memory that
 * others have too. */
DEFINE_TEST("share", half_a_secret)
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

DEFINE_TEST("share", try_everything)
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

/* The importer's own options do what they do for a map of its own. */
DEFINE_TEST("share", options_of_an_import)
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

DEFINE_TEST("share", a_fork_leaves_it_out)
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

/* Those of few bytes are stored by other means than long ones, and one beyond the end by none. */
DEFINE_TEST("share", a_write_is_of_its_bytes_alone)
{
        enum { MOST = 80, ROOM = 4096 };
        unsigned char data[MOST], bytes[ROOM];
        ammap_options_t options = shared_options();
        unsigned written = 0;

        for (unsigned i = 0; i < MOST; i++)
                data[i] = (unsigned char)(i + 1);
        for (options.lanes = 1; options.lanes <= 3; options.lanes += 2) {
                ammap_t *map = make_with(ROOM, &options);

                for (size_t length = 1; length <= MOST; length++)
                        for (uint64_t offset = 120; offset < 137; offset++) {
                                ck_assert_int_eq(ammap_fill(map, 0, ROOM, 0), 0);
                                ck_assert_int_eq(ammap_update_region(map, offset, data, length), 0);
                                ck_assert_int_eq(ammap_read_into(map, 0, bytes, ROOM), 0);
                                ck_assert_int_eq(memcmp(bytes + offset, data, length), 0);
                                memset(bytes + offset, 0, length);
                                for (size_t i = 0; i < ROOM; i++)
                                        written += bytes[i] != 0;
                                ck_assert_int_eq(ammap_update_region(map, ROOM - length + 1, data, length),
                                                 AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_update_region(map, UINT64_MAX - offset, data, length),
                                                 AMMAP_ERR_BOUNDS);
                        }
                ck_assert_int_eq(written, 0);
                ck_assert_int_eq(ammap_update_region(map, ROOM - 1, data, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* What is asked of a range that ends before it begins: the sum of the two wraps.  Whoever may only read is told so, or
 * that there are no such bytes, and no lane beside the map's is looked at. */
static void check_wrapped(ammap_t *map, uint64_t offset, size_t length)
{
        static const enum op reads[] = { OP_READ_INTO, OP_TRY_READ, OP_TIMED_READ };
        static const enum op others[] = { OP_SLICE,       OP_TRY_SLICE, OP_TIMED_SLICE,   OP_FILL,
                                          OP_COPY_WITHIN, OP_MUT_SLICE, OP_TRY_MUT_SLICE, OP_TIMED_MUT_SLICE };
        static const enum op updates[] = { OP_UPDATE, OP_TRY_UPDATE, OP_TIMED_UPDATE };
        ammap_t *other = new_map(PAGE, 1);
        uint64_t generation = 0;
        unsigned char bytes[8];
        ammap_holder_t holder;

        for (size_t i = 0; i < COUNT_OF(reads); i++)
                ck_assert_int_eq(op_bytes(reads[i], map, offset, bytes, length, SECOND), AMMAP_ERR_BOUNDS);
        for (size_t i = 0; i < COUNT_OF(updates); i++) {
                int rc = op_bytes(updates[i], map, offset, bytes, length, SECOND);

                ck_assert(rc == AMMAP_ERR_BOUNDS || rc == op_bytes(updates[i], map, 0, bytes, 1, SECOND));
                ck_assert_int_lt(rc, 0);
        }
        for (size_t i = 0; i < COUNT_OF(others); i++) {
                int rc = op_run(others[i], map, offset, length, SECOND);

                ck_assert(rc == AMMAP_ERR_BOUNDS || rc == op_run(others[i], map, 0, 1, SECOND));
                ck_assert_int_lt(rc, 0);
        }
        ck_assert_int_eq(ammap_copy(other, 0, map, offset, length), AMMAP_ERR_BOUNDS);
        ck_assert_int_lt(ammap_copy(map, offset, other, 0, length), 0);
        ck_assert_int_eq(ammap_wait_change(map, offset, length, &generation, SECOND), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_holders(map, offset, length, &holder, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_populate(map, offset, length), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_advise(map, offset, length, AMMAP_ADVICE_NORMAL), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_flush(map, offset, length), AMMAP_ERR_BOUNDS);
        ck_assert_int_lt(ammap_discard(map, offset, length), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* _i: shared, in a file that the kernel locks, in one that words lock, raw; of a writer, too, from 4 on. */
DEFINE_LOOP_TEST("share", a_range_that_wraps_around, 0, 8)
{
        enum { LANES = 4 };
        const uint64_t offsets[] = { 1,        PAGE - 1,      PAGE,         PAGE + 1, 3 * PAGE - 1,
                                     3 * PAGE, 3 * PAGE + 10, 4 * PAGE - 1, 4 * PAGE, UINT64_MAX };
        const uint64_t ends[] = { 0, 1, 2, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("wraps");
        const int kind = _i % 4;
        ammap_t *map, *reader;
        int fd = -1;

        options.lanes = LANES;
        options.allow_faults = true;
        if (kind == 1 || kind == 2) {
                ck_assert_int_eq(
                        open_in_file(kind == 1 ? BY_KERNEL : BY_WORDS, &map, path.text, LANES * PAGE, &options), 0);
        } else {
                options.share = kind == 0 ? AMMAP_SHARED : AMMAP_RAW;
                map = make_with(LANES * PAGE, &options);
                fd = export_of(map, AMMAP_READ);
        }
        options.read_only = true;
        if (_i >= 4)
                reader = map;
        else if (fd < 0)
                ck_assert_int_eq(ammap_open(&reader, path.text, 0, &options), 0);
        else
                ck_assert_int_eq(ammap_import(&reader, fd, &options), 0);
        if (fd >= 0)
                close(fd);
        for (size_t i = 0; i < COUNT_OF(offsets); i++)
                for (size_t n = 0; n < COUNT_OF(ends); n++)
                        if (ends[n] < offsets[i] && offsets[i] != UINT64_MAX)
                                check_wrapped(reader, offsets[i], (size_t)(ends[n] - offsets[i]));
                        else
                                check_wrapped(reader, UINT64_MAX - n, (size_t)(2 + n));
        if (reader != map)
                ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

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

DEFINE_TEST("share", beyond_the_file_size)
{
        struct path path = path_of("large");

        child_passes(file_size_body, &path);
}

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

struct left_out {
        ammap_t *map;
        int forks; /* one of the other */
};

static void left_out_body(void *argument)
{
        struct left_out *left_out = argument;
        unsigned char byte;

        child_must_int(ammap_read_into(left_out->map, 0, &byte, 1), AMMAP_ERR_UNSUPPORTED);
        if (left_out->forks-- > 0)
                child_passes(left_out_body, left_out);
        child_must_int(ammap_free(left_out->map), 0);
}

/* A child that has no map forks, too. */
DEFINE_LOOP_TEST("share", left_out_and_left_out_again, 0, 3)
{
        static const ammap_share_t shares[] = { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct left_out left_out = { .forks = 2 };

        options.share = shares[_i];
        options.fork = AMMAP_FORK_OMIT;
        left_out.map = make_with(4 * PAGE, &options);
        child_passes(left_out_body, &left_out);
        ck_assert(holds(left_out.map, 0, 4 * PAGE, 0));
        ck_assert_int_eq(ammap_free(left_out.map), 0);
}

/* With room for none, one, two... more descriptors: a code while it is too
 * little, and nothing left of what was begun. */
DEFINE_TEST("share", out_of_descriptors)
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

/* --- What is no map, and what is private --------------------------------- */

DEFINE_TEST("share", null_and_private)
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
        ck_assert_int_eq(ammap_flush(map, 1, UINT64_MAX), AMMAP_ERR_BOUNDS); /* a range is looked at before the kind */
        close(pair[0]);
        close(pair[1]);
        ck_assert_int_eq(ammap_free(map), 0);
}

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

DEFINE_TEST("share", a_resize_is_seen_at_once)
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

/* The memory grows with the map, so that who looks at all of it, a core dump or one
 * who may only read, makes no more present than that. */
DEFINE_TEST("share", capacity_costs_nothing)
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

DEFINE_TEST("share", slots_are_not_dumped)
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

/* A length that a peer claims is that of bytes that there are. */
DEFINE_TEST("share", a_length_beyond_the_memory)
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

DEFINE_TEST("share", growth_that_is_refused)
{
        ammap_t *map = make_shared(3 * PAGE, 9 * PAGE, 1);

        child_passes(refused_growth_body, map);
        ck_assert_uint_eq(ammap_len(map), PAGE);
        ck_assert_int_eq(ammap_resize(map, 9 * PAGE), 0);
        ck_assert(holds(map, PAGE, 8 * PAGE, 0));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A store into bytes that are cut off, by an old pointer or by a peer, does not show
 * when they are the map's again. */
DEFINE_TEST("share", stores_beyond_the_end)
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
/* ThreadSanitizer's own end comes before that round. */
DEFINE_LOOP_TEST_IF(!TEST_TSAN, "share", what_is_taken_in_the_last_round, 0, 12)
{
        enum { WAIT, SHRINK, FREE, FINDERS };
        static const struct {
                ammap_share_t share;
                enum in_file file;
                bool lanes;
        } kinds[] = { { AMMAP_PRIVATE, NO_FILE, false }, { AMMAP_PRIVATE, NO_FILE, true },
                      { AMMAP_SHARED, NO_FILE, false },  { AMMAP_SHARED, BY_KERNEL, false },
                      { AMMAP_SHARED, BY_KERNEL, true }, { AMMAP_SHARED, BY_WORDS, true } };

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
                        ck_assert_int_eq(open_in_file(kinds[_i / 2].file, &late.map, path.text, 4 * PAGE, &options), 0);
                else
                        late.map = make_with(4 * PAGE, &options);
                if (_i / 2 == 1) /* and readers go by their blocks */
                        for (int i = 0; i < 10000; i++)
                                ck_assert_int_eq(op_run(OP_SLICE, late.map, 100, 1, 0), 0);
                ck_assert_int_eq(pthread_create(&thread, NULL, ends_late, &late), 0);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                ck_assert_int_eq(late.result, 0);
                if (finder == WAIT)
                        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, late.map, 0, 4 * PAGE, patience_ns()), dead);
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

/* A start that found no room for what a thread has is made again. */
DEFINE_TEST("share", a_start_that_fails)
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

/* A slice of no bytes at the end, which may be in a lane that has none yet. */
DEFINE_TEST("share", nothing_at_the_end)
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

/* Slices and views live on through others' growth, at the same place. */
DEFINE_TEST("share", growth_elsewhere)
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

DEFINE_TEST("share", no_cancellation_points)
{
        struct cancelled cancelled = { path_of("file"), false };
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_body, &cancelled), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert(cancelled.through);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
}

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

DEFINE_TEST("share", another_program)
{
        ammap_t *map = make_shared(5000, 0, 3);
        int fd = export_of(map, AMMAP_READ | AMMAP_WRITE);
        struct peer peer;

        if (under_valgrind()) { /* which that would be the program */
                skip_part(__func__, "not with valgrind");
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

DEFINE_TEST("share", a_forked_child)
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

#if !TEST_SANITIZED
/* A child that libc knows nothing of, and whose death the kernel would not tell:
 * what it does not get right it is refused, and it disturbs nobody. */
DEFINE_TEST("share", a_bare_clone)
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
                reply = remote_do(&remote, (struct command){ .order = DO_READ, .offset = 4936, .length = 64 });
                if (reply.result == 0)
                        ck_assert(is_all(reply.bytes, (unsigned char)(op + 1), 64));
                else
                        ck_assert(reply.result == -ENOSYS || reply.result == AMMAP_ERR_UNSUPPORTED);
        }
        remote_end(&remote);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 5000, 0), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
#endif

/* --- Wait and wake ---------------------------------------------------------------- */

DEFINE_TEST("share", wait_and_wake)
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
                        remote_send(&remotes[i], (struct command){ DO_WAIT, OP_COUNT, 64, 0, -1 });
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
                        remote_send(&remotes[i], (struct command){ DO_WAIT, OP_COUNT, 64, 0, -1 });
                for (size_t i = 0; i < 2; i++)
                        remote_sleeps(&remotes[i]);
                ck_assert_int_eq(ammap_update_region(map, 64, &one, 4), 0);
                for (size_t i = 0; i < 2; i++)
                        ck_assert_int_eq(remote_reply(&remotes[i]).result, 0);

                /* Another value than expected; none in time. */
                reply = remote_do(&remotes[0], (struct command){ DO_WAIT, OP_COUNT, 64, 0, -1 });
                ck_assert_int_eq(reply.result, 0);
                do
                        reply = remote_do(&remotes[0], (struct command){ DO_WAIT, OP_COUNT, 64, 1, 30 * MS });
                while (reply.result == 0);
                ck_assert_int_eq(reply.result, AMMAP_ERR_TIMEOUT);
                ck_assert_int_ge(reply.took_ns, 30 * MS);
                reply = remote_do(&remotes[0], (struct command){ DO_WAIT, OP_COUNT, 4096, 1, 0 });
                ck_assert_int_eq(reply.result, AMMAP_ERR_BOUNDS);
                reply = remote_do(&remotes[0], (struct command){ DO_WAIT, OP_COUNT, 65, 1, 0 });
                ck_assert_int_eq(reply.result, AMMAP_ERR_MISALIGNED);
                for (size_t i = 0; i < 2; i++)
                        remote_end(&remotes[i]);
                if (place.fd >= 0)
                        close(place.fd);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

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

DEFINE_TEST("share", ping_pong)
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

/* --- Memory ------------------------------------------------------------------------ */

static uint64_t blocks_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return (uint64_t)stat.st_blocks * 512;
}

DEFINE_TEST("share", memory_calls)
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

static void *lock_and_wait(void *argument)
{
        struct holder *holder = argument;

        thread_check_int(ammap_fill(holder->map, 0, 1, 1), 0);
        sem_post(&holder->taken);
        sem_wait_surely(&holder->finish);
        return NULL;
}

/* Of all processes, for as long as they live. */
DEFINE_TEST("share", statistics_count_the_threads_that_lock)
{
        ammap_t *map = make_shared(4096, 10000, 4);
        struct place place = { .way = IMPORT, .fd = ammap_fd(map), .options = AMMAP_OPTIONS_INIT };
        struct holder holder = { .map = map };
        struct remote remote;
        ammap_stat_t stat = stat_of(map);

        ck_assert_uint_eq(stat.lane_size, 2500);
        ck_assert_uint_eq(stat.slots, 0);
        ck_assert_uint_eq(stat.slots_max, 256);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0);
        ck_assert_uint_eq(stat_of(map).slots, 1);
        sem_init(&holder.taken, 0, 0);
        sem_init(&holder.finish, 0, 0);
        task_start(&holder.task, lock_and_wait, &holder);
        sem_wait_surely(&holder.taken);
        ck_assert_uint_eq(stat_of(map).slots, 2);
        remote_start(&remote, &place);
        ck_assert_uint_eq(stat_of(map).slots, 2);
        ck_assert_int_eq(remote_op(&remote, OP_UPDATE, 0, 1, 0), 0);
        ck_assert_uint_eq(stat_of(map).slots, 3);
        ck_assert_uint_eq(remote_stat(&remote).slots, 3);
        sem_post(&holder.finish);
        task_join(&holder.task);
        ck_assert_uint_eq(stat_of(map).slots, 2);
        remote_kill(&remote);
        ck_assert_uint_eq(stat_of(map).slots, 1);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void check_why(ammap_t *map, ammap_why_t why)
{
        ammap_stat_t stat = stat_of(map);

        ck_assert_int_eq((int)stat.why_read_only, (int)why);
        ck_assert_int_eq(stat.read_only, why != AMMAP_WHY_NOT);
        ck_assert_int_eq(stat.frozen, why == AMMAP_WHY_FROZEN);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), why == AMMAP_WHY_NOT ? 0 : AMMAP_ERR_READ_ONLY);
}

DEFINE_TEST("share", statistics_say_why_a_map_is_only_read)
{
        static const ammap_share_t shares[] = { AMMAP_SHARED, AMMAP_RAW };

        for (size_t i = 0; i < COUNT_OF(shares); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map, *by_option, *by_rights, *by_both;
                int fd;

                options.share = shares[i];
                map = make_with(4096, &options);
                fd = export_of(map, AMMAP_READ | AMMAP_NO_SEAL);
                by_rights = import_of(fd, shares[i]);
                options.read_only = true;
                ck_assert_int_eq(ammap_import(&by_option, ammap_fd(map), &options), 0);
                ck_assert_int_eq(ammap_import(&by_both, fd, &options), 0);
                check_why(map, AMMAP_WHY_NOT);
                check_why(by_rights, AMMAP_WHY_RIGHTS);
                check_why(by_option, AMMAP_WHY_OPTION);
                check_why(by_both, AMMAP_WHY_OPTION);
                ck_assert_int_eq(ammap_freeze(map), 0);
                check_why(map, AMMAP_WHY_FROZEN);
                check_why(by_rights, shares[i] == AMMAP_SHARED ? AMMAP_WHY_FROZEN : AMMAP_WHY_RIGHTS);
                check_why(by_option, shares[i] == AMMAP_SHARED ? AMMAP_WHY_FROZEN : AMMAP_WHY_OPTION);
                ck_assert_int_eq(ammap_free(by_option), 0);
                ck_assert_int_eq(ammap_free(by_rights), 0);
                ck_assert_int_eq(ammap_free(by_both), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                close(fd);
        }
}

/* Of files by their own rights; root is given those that they lack. */
DEFINE_TEST("share", statistics_say_why_a_file_is_only_read)
{
        struct path path = path_of("why");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *by_option, *by_rights;
        int fd;

        options.allow_faults = true;
        ck_assert_int_eq(ammap_open(&map, path.text, 4096, &options), 0);
        fd = open(path.text, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(ammap_import(&by_rights, fd, &options), 0);
        options.read_only = true;
        ck_assert_int_eq(ammap_open(&by_option, path.text, 0, &options), 0);
        check_why(map, AMMAP_WHY_NOT);
        check_why(by_rights, AMMAP_WHY_RIGHTS);
        check_why(by_option, AMMAP_WHY_OPTION);
        ck_assert_int_eq(ammap_freeze(map), 0);
        check_why(map, AMMAP_WHY_FROZEN);
        check_why(by_rights, AMMAP_WHY_FROZEN);
        check_why(by_option, AMMAP_WHY_FROZEN);
        ck_assert_int_eq(ammap_free(by_option), 0);
        ck_assert_int_eq(ammap_free(by_rights), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        close(fd);
}

DEFINE_TEST("share", statistics_count_this_processs_slices)
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

/* Every range at every edge, by every copy and slice. */
DEFINE_TEST("share", ranges)
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

/* From one kind of map to every other. */
DEFINE_TEST("share", copies_between_kinds)
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

#else

DEFINE_TEST("share", unsupported)
{
        check_unsupported();
}

#endif

int main(int argc, char **argv)
{
#if TEST_OS_LINUX
        if (argc == 4 && strcmp(argv[1], "--fd") == 0)
                return other_program(atoi(argv[2]), atoi(argv[3]));
#else
        (void)argc;
        (void)argv;
#endif
        return run_sharing("share");
}
