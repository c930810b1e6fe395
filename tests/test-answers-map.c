/* test-answers-map.c - lib/memory and the maps above it: what a kernel may answer, and this one does not
 *
 * SPDX-License-Identifier: MIT
 *
 * What is refused twice in one call, huge pages that come and go, forks in the midst of it, files that
 * are others' by now.  answers.h says how; test-faults.c and test-failing.c refuse one call at a time.
 */
#include "answers.h"
#include "proc.h"

#include "map/map.h"
#include "memory/recycle.h"
#include "memory/region.h"
#include "os/linux-abi.h"
#include "os/os.h"

#define SOME_DISK 0xef53 /* ext4's number */

#define PAGE ((uint64_t)os_page_size())

static TCase *map_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_checked_fixture(tcase, NULL, answers_end);
        return tcase;
}

/* What the first map of a process leaves. */
static void warm_up(void)
{
        static const ammap_share_t kinds[] = { AMMAP_PRIVATE, AMMAP_SHARED };

        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.share = kinds[i];
                ck_assert_int_eq(ammap_new_with(&map, 1, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- Huge pages ---------------------------------------------------------------------- */

static bool no_huge_pages;
size_t __real_ammap__os_huge_size(void) __attribute__((weak));
size_t __wrap_ammap__os_huge_size(void);
size_t __wrap_ammap__os_huge_size(void)
{
        return no_huge_pages ? 0 : __real_ammap__os_huge_size();
}

static bool untold;
int __real_ammap__os_usage(const void *address, size_t length, struct os_usage *usage) __attribute__((weak));
int __wrap_ammap__os_usage(const void *address, size_t length, struct os_usage *usage);
int __wrap_ammap__os_usage(const void *address, size_t length, struct os_usage *usage)
{
        int rc = __real_ammap__os_usage(address, length, usage);

        if (untold)
                usage->huge = OS_UNKNOWN;
        return untold ? 0 : rc;
}

/* Of a neighbour that the kernel has joined with it some may be huge, and none is said to be the map's. */
DEFINE_TEST("huge", not_told)
{
        ammap_t *map = new_map(PAGE, 1);

        untold = true;
        ck_assert_int_eq(ammap_is_hugepage_backed(map), AMMAP_ERR_UNSUPPORTED);
        untold = false;
        ck_assert_int_eq(ammap_free(map), 0);
}

/* As a system has it that has none. */
DEFINE_TEST("huge", none_at_all)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        no_huge_pages = true;
        if (os_huge_size() == 0) {
                options.huge = AMMAP_MUST;
                ck_assert_int_eq(ammap_new_with(&map, 8 << 20, &options), AMMAP_ERR_UNSUPPORTED);
                options.huge = AMMAP_TRY;
                ck_assert_int_eq(ammap_new_with(&map, 8 << 20, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 8 << 20, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                options.huge = AMMAP_NO;
                options.share = AMMAP_SHARED;
                ck_assert_int_eq(ammap_new_with(&map, 8 << 20, &options), 0);
                ck_assert_int_eq(ammap_fill(map, 0, 8 << 20, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        } else {
                skip_part(__func__, "the linker did not wrap the call");
        }
        no_huge_pages = false;
}

/* A map that is to be in huge pages; what has been answered is gone. */
static int new_huge(ammap_share_t share, ammap_want_t want)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        options.share = share;
        options.huge = want;
        rc = ammap_new_with(&map, 2 * os_huge_size(), &options);
        answers.count = 0;
        if (rc == 0) {
                ck_assert_int_eq(ammap_fill(map, 0, ammap_len(map), 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
        return rc;
}

/* Whether this system gives them when it is asked. */
static bool has_huge(ammap_share_t share, const char *who)
{
        if (new_huge(share, AMMAP_MUST) == 0)
                return true;
        skip_part(who, "there are no huge pages here");
        return false;
}

static void collapse_first(void *address)
{
        ck_assert_int_eq(__real_madvise(address, os_huge_size(), MADV_COLLAPSE), 0);
}

/* A collapse is tried three times beside another process that looks, and what has become huge all the
 * same is. */
DEFINE_TEST("huge", collapses_beside_others)
{
        struct footprint before;

        if (!has_huge(AMMAP_SHARED, __func__))
                return;
        before = footprint();
        for (unsigned times = 1; times <= 3; times++) {
                answer_error(ANSWER_MADVISE, MADV_COLLAPSE, times, EAGAIN);
                ck_assert_int_eq(new_huge(AMMAP_SHARED, AMMAP_MUST), times < 3 ? 0 : -EAGAIN);
                ck_assert_uint_eq(answers.given, times);
                answers_end();
        }
        answer_error(ANSWER_MADVISE, MADV_COLLAPSE, ANSWER_ALWAYS, EAGAIN);
        ck_assert_int_eq(new_huge(AMMAP_SHARED, AMMAP_TRY), 0);
        answers_end();
        answer_with(.call = ANSWER_MADVISE, .argument = MADV_COLLAPSE, .times = 3, .error = EAGAIN,
                    .besides = collapse_first);
        ck_assert_int_eq(new_huge(AMMAP_SHARED, AMMAP_MUST), 0);
        ck_assert_uint_eq(answers.given, 3);
        ck_assert_footprint(before);
}

/* A kernel that says that it has, and has not: the account tells. */
DEFINE_TEST("huge", collapses_that_are_none)
{
        static const ammap_share_t kinds[] = { AMMAP_PRIVATE, AMMAP_SHARED };

        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
                int rc;

                if (!has_huge(kinds[i], __func__))
                        continue;
                answer_value(ANSWER_MADVISE, MADV_HUGEPAGE, ANSWER_ALWAYS, 0);
                answer_value(ANSWER_MADVISE, MADV_COLLAPSE, ANSWER_ALWAYS, 0);
                rc = new_huge(kinds[i], AMMAP_MUST);
                /* The administrator may have said "always": then a fault makes them. */
                ck_assert(rc == AMMAP_ERR_UNSUPPORTED || (rc == 0 && answers.given <= 2));
                answers_end();
        }
}

/* No page of the file can be had: the file says why. */
DEFINE_TEST("huge", no_page_of_the_file)
{
        static const struct {
                int error, rc;
        } cases[] = {
                { 0, AMMAP_ERR_FAULT },
                { ENOSPC, -ENOSPC },
                { EDQUOT, -EDQUOT },
                { EIO, AMMAP_ERR_FAULT },
        };
        struct footprint before;

        warm_up();
        before = footprint();
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                answer_error(ANSWER_MADVISE, MADV_POPULATE_WRITE, ANSWER_ALWAYS, EFAULT);
                answer_with(.call = ANSWER_FALLOCATE, .argument = ANSWER_ANY, .times = ANSWER_ALWAYS,
                            .error = cases[i].error);
                ck_assert_int_eq(new_huge(AMMAP_SHARED, AMMAP_MUST), cases[i].rc);
                ck_assert_uint_eq(answers.given, 2);
                answers_end();
                ck_assert_footprint(before);
        }
}

/* A fault makes none of a private map; a collapse does, or says why not. */
DEFINE_TEST("huge", the_first_of_a_private_map)
{
        static const struct {
                int error, rc;
        } cases[] = {
                { ENOMEM, -ENOMEM },
                { EAGAIN, -EAGAIN },
                { EINVAL, AMMAP_ERR_UNSUPPORTED },
                { ENOSYS, AMMAP_ERR_UNSUPPORTED },
        };
        struct footprint before;
        int rc;

        if (!has_huge(AMMAP_PRIVATE, __func__))
                return;
        before = footprint();
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                answer_value(ANSWER_MADVISE, MADV_HUGEPAGE, 1, 0);
                answer_error(ANSWER_MADVISE, MADV_COLLAPSE, ANSWER_ALWAYS, cases[i].error);
                rc = new_huge(AMMAP_PRIVATE, AMMAP_MUST);
                ck_assert(rc == cases[i].rc || (rc == 0 && answers.given == 1));
                answers_end();
                ck_assert_footprint(before);
        }
        answer_value(ANSWER_MADVISE, MADV_HUGEPAGE, 1, 0);
        ck_assert_int_eq(new_huge(AMMAP_PRIVATE, AMMAP_MUST), 0);
        answers_end();
        /* An old kernel does not populate: the page is touched. */
        answer_error(ANSWER_MADVISE, MADV_POPULATE_WRITE, ANSWER_ALWAYS, EINVAL);
        answer_error(ANSWER_MADVISE, MADV_COLLAPSE, ANSWER_ALWAYS, EINVAL);
        rc = new_huge(AMMAP_PRIVATE, AMMAP_MUST);
        ck_assert(rc == 0 || rc == AMMAP_ERR_UNSUPPORTED);
        ck_assert_uint_ge(answers.given, 1);
}

/* A file on a disk is in huge pages if the disk's driver says so, and its pages are others' too: they
 * are not touched. */
DEFINE_TEST("huge", of_a_file_on_a_disk)
{
        char path[] = "/tmp/test-answers.XXXXXX";
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        close(fd);
        unlink(path);
        for (options.huge = AMMAP_TRY; options.huge <= AMMAP_MUST; options.huge++) {
                answer_value(ANSWER_FSTATFS, ANSWER_ANY, ANSWER_ALWAYS, SOME_DISK);
                answer_error(ANSWER_MADVISE, MADV_POPULATE_WRITE, ANSWER_ALWAYS, EINVAL);
                answer_error(ANSWER_MADVISE, MADV_COLLAPSE, ANSWER_ALWAYS, EINVAL);
                ck_assert_int_eq(ammap_open(&map, path, 2 * os_huge_size(), &options),
                                 options.huge == AMMAP_TRY ? 0 : AMMAP_ERR_UNSUPPORTED);
                answers_end();
                if (options.huge == AMMAP_TRY) {
                        ck_assert_int_eq(ammap_update_region(map, 9, "x", 1), 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
        }
        unlink(path);
}

/* --- Two refusals in one call ------------------------------------------------------------ */

DEFINE_TEST("options", the_first_code_is_told)
{
        struct footprint before;

        warm_up();
        before = footprint();
        for (int swapped = 0; swapped < 2; swapped++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.huge = options.nodump = AMMAP_MUST;
                answer_error(ANSWER_MADVISE, MADV_HUGEPAGE, 1, swapped ? EACCES : ENOMEM);
                answer_error(ANSWER_MADVISE, MADV_DONTDUMP, 1, swapped ? ENOMEM : EACCES);
                ck_assert_int_eq(ammap_new_with(&map, 9, &options), swapped ? -EACCES : -ENOMEM);
                ck_assert_ptr_null(map);
                ck_assert_uint_eq(answers.given, 2);
                answers_end();
                ck_assert_footprint(before);
        }
}

/* No markers, and no mapping more for a guard: none of both. */
DEFINE_TEST("options", no_guard_of_any_kind)
{
        static const ammap_want_t wants[] = { AMMAP_TRY, AMMAP_MUST };
        struct footprint before;

        warm_up();
        before = footprint();
        for (size_t w = 0; w < COUNT_OF(wants); w++)
                for (unsigned after = 0; after < 3; after++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *map;

                        options.guard = wants[w];
                        answer_error(ANSWER_MADVISE, MADV_GUARD_INSTALL, ANSWER_ALWAYS, EINVAL);
                        answer_with(.call = ANSWER_MPROTECT, .argument = PROT_NONE, .after = after,
                                    .times = ANSWER_ALWAYS, .error = ENOMEM);
                        ck_assert_int_eq(ammap_new_with(&map, 4 * PAGE, &options), after < 2 ? -ENOMEM : 0);
                        answers_end();
                        if (map) {
                                ck_assert(is_fatal((const char *)ammap_as_ptr(map) + 4 * PAGE, true));
                                ck_assert_int_eq(ammap_free(map), 0);
                        }
                        ck_assert_footprint(before);
                }
}

static struct {
        unsigned char *at;
        size_t length;
} kept;

static void note_kept(void *address)
{
        kept.at = address;
}

/* What is refused after all is present, and then cannot be unmapped, holds nothing. */
DEFINE_TEST("options", neither_made_nor_unmapped)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        warm_up();
        options.populate = AMMAP_MUST;
        options.noreserve = AMMAP_MUST; /* looked for last */
        answer_error(ANSWER_OPEN, ANSWER_ANY, ANSWER_ALWAYS, EMFILE);
        answer_with(.call = ANSWER_MUNMAP, .argument = (long)(8 * PAGE), .times = 1, .error = ENOMEM,
                    .besides = note_kept);
        ck_assert_int_eq(ammap_new_with(&map, 8 * PAGE, &options), AMMAP_ERR_UNSUPPORTED);
        ck_assert_ptr_null(map);
        answers_end();
        ck_assert_ptr_nonnull(kept.at);
        if (!TEST_SANITIZED && !under_valgrind())
                ck_assert_uint_eq(pages_in_core(kept.at, (size_t)(8 * PAGE)), 0);
        ck_assert(is_all(kept.at, 0, 8 * PAGE));
        munmap(kept.at, (size_t)(8 * PAGE));
}

/* What could not be noted as locked is no secret; whoever only tries has the map. */
DEFINE_TEST("options", no_memory_to_note_a_lock)
{
        unsigned made = 0, refused = 0;

        warm_up();
        for (unsigned after = 0; after < 20; after++)
                for (int must = 0; must < 2; must++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_stat_t stat = AMMAP_STAT_INIT;
                        ammap_t *map;
                        unsigned given;
                        int rc;

                        options.secret = must ? AMMAP_MUST : AMMAP_TRY;
                        answer_with(.call = ANSWER_MALLOC, .argument = ANSWER_ANY, .after = after, .times = 1,
                                    .error = ENOMEM);
                        rc = ammap_new_with(&map, 100, &options);
                        given = answers.given;
                        answers_end();
                        refused += given;
                        if (rc == 0) {
                                ck_assert_int_eq(ammap_stat(map, &stat), 0);
                                ck_assert(given == 0 || (!must && !stat.secret));
                                made += given;
                                ck_assert_int_eq(ammap_fill(map, 0, 100, 1), 0);
                        } else {
                                ck_assert_int_eq(rc, -ENOMEM);
                        }
                        ck_assert_int_eq(ammap_free(map), 0);
                }
        ck_assert_uint_gt(made, 0);
        ck_assert_uint_gt(refused, made);
}

/* --- Pages ---------------------------------------------------------------------------------- */

/* More stretches than there is room for at first. */
DEFINE_TEST("pages", many_locked_stretches)
{
        enum { PAGES = 24 }; /* half of them locked, whatever the limit is */
        const unsigned long locked = status_bytes("VmLck:");
        ammap_t *map;

        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, "nothing is locked in this build");
                return;
        }
        ck_assert_int_eq(ammap_new(&map, PAGES * PAGE), 0);
        for (uint64_t page = 0; page < PAGES; page += 4)
                ck_assert_int_eq(ammap_mlock(map, page * PAGE, 2 * PAGE), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), locked + PAGES / 2 * PAGE);
        /* What fails half-way is as it was: so each is still known. */
        answer_error(ANSWER_MLOCK, (long)(PAGES * PAGE), 1, ENOMEM);
        ck_assert_int_eq(ammap_mlock(map, 0, PAGES * PAGE), -ENOMEM);
        ck_assert_uint_eq(answers.given, 1);
        for (uint64_t page = 0; page < PAGES; page++)
                ck_assert_int_eq(vma_has((const char *)ammap_as_ptr(map) + page * PAGE, " lo"), page % 4 < 2);
        ck_assert_int_eq(ammap_munlock(map, 0, PAGES * PAGE), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), locked);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A cut that ends before the last of the locked pages ends makes one stretch more.  _i: there is no memory for its
 * note, and none is noted. */
DEFINE_LOOP_TEST("pages", a_cut_within_a_locked_stretch, 0, 2)
{
        enum { STRETCHES = 4 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        const size_t page = (size_t)PAGE, end = (2 * STRETCHES + 1) * page;
        struct region region;
        unsigned char *base;
        unsigned given;

        warm_up();
        options.capacity = end;
        ck_assert_int_eq(region_make(&region, end, &options, NULL, &base), 0);
        for (size_t at = 0; at < STRETCHES; at++)
                ck_assert_int_eq(region_lock(&region, 2 * at * page, at < STRETCHES - 1 ? (2 * at + 1) * page : end),
                                 0);
        ck_assert_uint_eq(region.locked->count, STRETCHES);
        ck_assert_uint_eq(region.locked->room, STRETCHES);
        if (_i)
                answer_error(ANSWER_MALLOC, ANSWER_ANY, ANSWER_ALWAYS, ENOMEM);
        region_cut(&region, end - 2 * page, end - page);
        given = answers.given;
        answers_end();
        ck_assert_uint_eq(given, _i ? 1 : 0);
        ck_assert_uint_eq(region.locked->count, _i ? 0 : STRETCHES + 1);
        ck_assert_uint_le(region.locked->count, region.locked->room);
        ck_assert_uint_eq(region.used, end - 2 * page);
        ck_assert_int_eq(region_free(&region), 0);
}

/* Frozen pages are made present one by one, and stay what they are. */
DEFINE_TEST("pages", frozen_ones_populated_by_hand)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new(&map, 20 * PAGE), 0);
        ck_assert_int_eq(ammap_fill(map, 3 * PAGE, PAGE, 7), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        answer_error(ANSWER_MADVISE, MADV_POPULATE_READ, 1, EINVAL);
        ck_assert_int_eq(ammap_populate(map, 0, 20 * PAGE), 0);
        ck_assert_uint_eq(answers.given, 1);
        if (!TEST_SANITIZED && !under_valgrind())
                ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(20 * PAGE)), 20);
        ck_assert(is_all(ammap_as_ptr(map), 0, 3 * PAGE));
        ck_assert(is_all((const char *)ammap_as_ptr(map) + 3 * PAGE, 7, PAGE));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Forks ------------------------------------------------------------------------------------ */

struct wiping {
        ammap_t *map;
        bool refused; /* to be made writable */
};

static void look_at_wiped(void *argument)
{
        struct wiping *wiping = argument;
        unsigned char bytes[200];
        int zeros, rc = ammap_read_into(wiping->map, PAGE, bytes, sizeof(bytes));

        if (wiping->refused) {
                child_must_int(rc, AMMAP_ERR_UNSUPPORTED);
                child_must_int((int)answers.given, 2);
        } else {
                child_must_int(rc, 0);
                child_must(is_all(bytes, 0, sizeof(bytes)));
                child_must(is_all(ammap_as_ptr(wiping->map), 0, 3 * PAGE));
                child_must_int((int)answers.given, 1);
                child_must_int(ammap_update_region(wiping->map, 0, "a", 1), AMMAP_ERR_READ_ONLY);
                child_must((zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC)) >= 0);
                child_must(read(zeros, (void *)(uintptr_t)ammap_as_ptr(wiping->map), 1) < 0 && errno == EFAULT);
        }
}

/* A frozen map that a fork is to wipe, where nothing is given back: by hand; or else the child has none of it. */
DEFINE_LOOP_TEST("forks", wipe_frozen_maps_by_hand, 0, 2)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct wiping wiping = { .refused = _i };

        options.fork = AMMAP_FORK_WIPE;
        answer_error(ANSWER_MADVISE, MADV_WIPEONFORK, ANSWER_ALWAYS, EINVAL);
        ck_assert_int_eq(ammap_new_with(&wiping.map, 3 * PAGE, &options), 0);
        ck_assert_int_eq(ammap_fill(wiping.map, 0, 3 * PAGE, 7), 0);
        ck_assert_int_eq(ammap_freeze(wiping.map), 0);
        ck_assert_uint_ge(answers.given, 1);
        answers_end();
        answer_error(ANSWER_MADVISE, MADV_DONTNEED, ANSWER_ALWAYS, EINVAL);
        if (wiping.refused)
                answer_error(ANSWER_MPROTECT, PROT_READ | PROT_WRITE, ANSWER_ALWAYS, ENOMEM);
        child_passes(look_at_wiped, &wiping);
        ck_assert_uint_eq(answers.given, 0);
        answers_end();
        ck_assert(is_all(ammap_as_ptr(wiping.map), 7, 3 * PAGE));
        ck_assert_int_eq(ammap_free(wiping.map), 0);
}

static struct {
        ammap_t *map;
        bool refused;
        int status;
} midst;

static ammap_t *new_midst(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.recycle = AMMAP_TRY;
        return ammap_new_with(&map, 3 * PAGE, &options) == 0 ? map : NULL;
}

/* In the child of a thread that forks while another freezes the map. */
static void live_on(void)
{
        unsigned char byte = 0;

        answers_end();
        child_must_int(ammap_read_into(midst.map, 5, &byte, 1), 0);
        child_must_int(byte, 7);
        child_must_int(ammap_update_region(midst.map, 5, "\x8", 1), midst.refused ? AMMAP_ERR_READ_ONLY : 0);
        child_must_int(ammap_read_into(midst.map, 5, &byte, 1), 0);
        child_must_int(byte, midst.refused ? 7 : 8);
        child_must_int(ammap_free(midst.map), 0);
        /* The next one is not of pages that cannot be written. */
        child_must((midst.map = new_midst()) != NULL);
        child_must(is_all(ammap_as_ptr(midst.map), 0, 3 * PAGE));
        child_must_int(ammap_fill(midst.map, 0, 3 * PAGE, 9), 0);
        child_must_int(ammap_free(midst.map), 0);
        _exit(0);
}

/* A child does so, which ends it; midst.status: how. */
static void fork_to(void (*body)(void))
{
        pid_t child = fork();

        if (child == 0) {
                alarm(test_time());
                body();
        }
        if (child < 0 || waitpid(child, &midst.status, 0) != child)
                midst.status = -1;
}

static void *fork_beside(void *unused)
{
        if (midst.refused)
                answer_error(ANSWER_MPROTECT, PROT_READ | PROT_WRITE, ANSWER_ALWAYS, ENOMEM);
        fork_to(live_on);
        return unused;
}

/* When the pages are read only already. */
static void fork_in_the_midst(void *pages)
{
        pthread_t thread;

        ck_assert_int_eq(__real_mprotect(pages, (size_t)(3 * PAGE), PROT_READ), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, fork_beside, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* The child has nobody who would go on with it: the map is writable there, or frozen where it cannot be. */
DEFINE_LOOP_TEST("forks", in_the_midst_of_a_freeze, 0, 2)
{
        warm_up();
        midst.refused = _i;
        midst.status = -1;
        ck_assert_ptr_nonnull(midst.map = new_midst());
        ck_assert_int_eq(ammap_fill(midst.map, 0, 3 * PAGE, 7), 0);
        fflush(NULL);
        answer_with(.call = ANSWER_MPROTECT, .argument = PROT_READ, .times = 1, .through = true,
                    .besides = fork_in_the_midst);
        ck_assert_int_eq(ammap_freeze(midst.map), 0);
        ck_assert_uint_eq(answers.given, 1);
        ck_assert_int_eq(midst.status, 0);
        ck_assert_int_eq(ammap_update_region(midst.map, 5, "\x8", 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_free(midst.map), 0);
}

/* Of a shared map, when its lock is frozen and the map does not say so yet. */
static void look_at_pages(void)
{
        answers_end();
        child_must_int(ammap_update_region(midst.map, 5, "\x8", 1), AMMAP_ERR_READ_ONLY);
        child_must(ammap_as_mut_ptr(midst.map) == NULL);
        child_must(is_fatal(ammap_as_ptr(midst.map), false));
        child_must_int(ammap_free(midst.map), 0);
        _exit(0);
}

static void *fork_beside_frozen(void *unused)
{
        fork_to(look_at_pages);
        return unused;
}

static void fork_when_frozen(void *unused)
{
        pthread_t thread;

        (void)unused;
        if (atomic_load(&midst.map->shared->frozen) != SHARED_FROZEN || atomic_load(&midst.map->frozen) ||
            midst.status != -1)
                return;
        ck_assert_int_eq(pthread_create(&thread, NULL, fork_beside_frozen, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* The child's pages are as its lock is: nobody there writes them by a pointer. */
DEFINE_TEST("forks", behind_the_point_of_no_return_of_a_freeze)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        warm_up();
        midst.status = -1;
        options.share = AMMAP_SHARED;
        ck_assert_int_eq(ammap_new_with(&midst.map, 3 * PAGE, &options), 0);
        ck_assert_int_eq(ammap_fill(midst.map, 0, 3 * PAGE, 7), 0);
        fflush(NULL);
        answer_with(.call = ANSWER_MUTEX_UNLOCK, .argument = ANSWER_ANY, .times = ANSWER_ALWAYS,
                    .besides = fork_when_frozen);
        ck_assert_int_eq(ammap_freeze(midst.map), 0);
        answers_end();
        ck_assert_int_eq(midst.status, 0);
        ck_assert(is_fatal(ammap_as_ptr(midst.map), false));
        ck_assert_int_eq(ammap_free(midst.map), 0);
}

/* --- Maps that are kept ---------------------------------------------------------------------------- */

/* Memory that comes back is zero, whatever the system does not tell or not take. */
DEFINE_LOOP_TEST("kept", zero_by_hand, 0, 3)
{
        const size_t length = 3 << 20;
        unsigned char *bytes = NULL;

        ck_assert_int_eq(os_map((void **)&bytes, length), 0);
        for (size_t at = 0; at < length; at += 3 * (size_t)PAGE)
                bytes[at] = 1;
        if (_i != 1)
                answer_error(ANSWER_MINCORE, ANSWER_ANY, ANSWER_ALWAYS, ENOSYS);
        if (_i != 0)
                answer_error(ANSWER_MADVISE, MADV_DONTNEED, ANSWER_ALWAYS, EINVAL);
        recycle_zero(bytes, length);
        ck_assert_uint_gt(answers.given, 0);
        answers_end();
        ck_assert(is_all(bytes, 0, length));
        ck_assert_int_eq(os_unmap(bytes, length), 0);
}

enum { CROWD = 16, SHARE = AMMAP_RECYCLE_MAX / CROWD };
static struct {
        struct kept kept[8 * CROWD];
        unsigned next, destroyed;
} crowd;

static int destroy_only(struct kept *gone)
{
        (void)gone;
        crowd.destroyed++;
        return 0;
}

/* Another thread has the room of the one before by the time that this one goes. */
static int destroy_and_fill(struct kept *gone)
{
        if (crowd.destroyed > 0)
                recycle_keep(&crowd.kept[crowd.next++], destroy_only);
        return destroy_only(gone);
}

/* Who finds the room taken time and again gives up, and has its own map destroyed. */
DEFINE_TEST("kept", room_that_others_fill)
{
        struct kept mine = { .mapped = 4096, .weight = AMMAP_RECYCLE_MAX };

        for (size_t i = 0; i < COUNT_OF(crowd.kept); i++)
                crowd.kept[i] = (struct kept){ .mapped = 4096, .weight = SHARE };
        ck_assert_int_eq(recycle_shrink(0, destroy_only), 0);
        /* What could never be kept costs nobody his place. */
        ck_assert(recycle_keep(&crowd.kept[0], destroy_only));
        crowd.destroyed = 0;
        mine.weight++;
        ck_assert(!recycle_keep(&mine, destroy_only));
        mine.weight--;
        ck_assert_uint_eq(crowd.destroyed, 0);
        ck_assert_ptr_eq(recycle_take(4096, SHARE), &crowd.kept[0]);
        for (int filled = 0; filled < 2; filled++) {
                for (crowd.next = 0; crowd.next < CROWD;)
                        ck_assert(recycle_keep(&crowd.kept[crowd.next++], destroy_only));
                crowd.destroyed = 0;
                ck_assert(recycle_keep(&mine, filled ? destroy_and_fill : destroy_only) == !filled);
                if (filled) {
                        /* It tries, and not for ever; what the others keep stays. */
                        ck_assert_uint_gt(crowd.destroyed, CROWD);
                        ck_assert_uint_gt(crowd.next, crowd.destroyed);
                } else {
                        ck_assert_uint_eq(crowd.destroyed, CROWD);
                        ck_assert_ptr_eq(recycle_take(mine.mapped, mine.weight), &mine);
                }
                ck_assert_ptr_null(recycle_take(mine.mapped, mine.weight));
        }
        crowd.next -= crowd.destroyed;
        crowd.destroyed = 0;
        ck_assert_int_eq(recycle_shrink(0, destroy_only), 0);
        ck_assert_uint_eq(crowd.destroyed, crowd.next);
}

/* --- Files that are others' ----------------------------------------------------------------------------- */

static struct {
        int descriptor, other;
} robbed;

/* The descriptor of a memory with that name. */
static int descriptor_named(const char *name)
{
        char path[64], link[256];

        for (int fd = 3; fd < 1024; fd++) {
                ssize_t length;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                length = readlink(path, link, sizeof(link) - 1);
                link[length > 0 ? length : 0] = '\0';
                if (strstr(link, name))
                        return fd;
        }
        return -1;
}

static void rob(void *unused)
{
        (void)unused;
        if (robbed.other >= 0)
                dup2(robbed.other, robbed.descriptor);
        else
                close(robbed.descriptor);
}

/* Others have closed the map's descriptor, or its number is another file's: that is not asked, nor given room. */
DEFINE_LOOP_TEST("files", of_which_nothing_can_be_learned, 0, 2)
{
        enum { LONG_ENOUGH = 64 << 20 }; /* for the map and its header */
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct stat there;
        ammap_t *map;

        options.share = AMMAP_SHARED;
        options.name = "robbed";
        ck_assert_int_eq(ammap_new_with(&map, 8 * PAGE, &options), 0);
        robbed.descriptor = descriptor_named("/memfd:robbed");
        ck_assert_int_ge(robbed.descriptor, 0);
        robbed.other = _i ? os_memory("another", LONG_ENOUGH) : -1;
        answer_with(.call = ANSWER_MADVISE, .argument = MADV_POPULATE_WRITE, .times = 1, .error = EFAULT,
                    .besides = rob);
        answer_value(ANSWER_FALLOCATE, ANSWER_ANY, ANSWER_ALWAYS, 0);
        ck_assert_int_eq(ammap_populate(map, 0, 8 * PAGE), AMMAP_ERR_FAULT);
        ck_assert_uint_eq(answers.given, 1);
        answers_end();
        ck_assert_int_eq(ammap_fill(map, 0, 8 * PAGE, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        if (_i) {
                ck_assert_int_eq(fstat(robbed.descriptor, &there), 0); /* it is let be */
                ck_assert_uint_eq((uint64_t)there.st_size, LONG_ENOUGH);
                close(robbed.descriptor);
                close(robbed.other);
        }
}

#define STEP UINT64_C(0x0100000001)
static unsigned char *written;

static void write_on(void *unused)
{
        uint64_t word;

        (void)unused;
        memcpy(&word, written, sizeof(word));
        word += STEP;
        memcpy(written, &word, sizeof(word));
}

/* A word is taken that three looks agree on; from under one who never pauses the last. */
DEFINE_TEST("files", a_word_that_never_rests)
{
        char path[] = "/tmp/test-answers.XXXXXX";
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        static const unsigned counts[] = { 1, 2, 3, 100, 10000 };
        uint64_t value = 0, last = 0;
        int fd = mkstemp(path);
        ammap_t *map;

        ck_assert_int_ge(fd, 0);
        close(fd);
        unlink(path);
        ck_assert_int_eq(ammap_open(&map, path, 8 * PAGE, &options), 0);
        fd = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ammap_update_region(map, 0, "12345678", 8), 0);
        written = mmap(NULL, (size_t)(16 * PAGE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ck_assert(written != MAP_FAILED);
        for (uint64_t at = 0; at < 8 * PAGE && memcmp(written, "12345678", 8) != 0; at++)
                written++;
        ck_assert(memcmp(written, "12345678", 8) == 0);
        for (size_t i = 0; i < COUNT_OF(counts); i++) {
                answer_with(.call = ANSWER_VM_COPY, .argument = ANSWER_ANY, .times = counts[i], .through = true,
                            .besides = write_on);
                ck_assert_int_eq(ammap_load_u64(map, 0, &value), 0);
                memcpy(&last, written, sizeof(last));
                /* Behind it only the header is read. */
                ck_assert_uint_eq((last - value) % STEP, 0);
                ck_assert_uint_le((last - value) / STEP, counts[i] < 10000 ? 0 : 4);
                ck_assert_uint_gt(answers.given, 0);
                ck_assert_uint_lt(answers.given, 10000);
                answers_end();
        }
        munmap((void *)((uintptr_t)written & ~(uintptr_t)(PAGE - 1)), (size_t)(16 * PAGE));
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
        unlink(path);
}

int main(void)
{
        if (answers_are_given())
                return run_tests("answers-map", map_case);
        printf("answers-map: the linker did not wrap the calls\n");
        return SKIPPED;
}
