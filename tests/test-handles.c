/* test-handles.c - several handles of one map in one process
 *
 * SPDX-License-Identifier: MIT
 *
 * What one handle's slices and views stand in the way of, they stand in the way of by each
 * other one, too.
 */
#include "share.h"

#if TEST_OS_LINUX

enum { SIZE = 40000, LANES = 4, HALF = SIZE / 2 };

static const struct kind {
        enum in_file file;
        uint64_t lanes;
} kinds[] = { { NO_FILE, 1 }, { NO_FILE, LANES }, { BY_KERNEL, LANES }, { BY_WORDS, LANES } };

struct pair {
        ammap_t *one, *two;
        struct path path;
};

static void begin(struct pair *pair, const struct kind *kind)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        pair->path = path_of("handles");
        options.lanes = kind->lanes;
        options.allow_faults = true;
        if (kind->file) {
                ck_assert_int_eq(open_in_file(kind->file, &pair->one, pair->path.text, SIZE, &options), 0);
                ck_assert_int_eq(ammap_open(&pair->two, pair->path.text, 0, &options), 0);
        } else {
                options.share = AMMAP_SHARED;
                pair->one = make_with(SIZE, &options);
                pair->two = import_again(pair->one, AMMAP_READ | AMMAP_WRITE);
        }
        ck_assert_int_eq(ammap_fill(pair->one, 0, SIZE, 5), 0);
}

static void end(struct pair *pair)
{
        ck_assert_int_eq(ammap_free(pair->one), 0);
        ck_assert_int_eq(ammap_free(pair->two), 0);
}

/* Who holds all that it would see change waits for ever. */
DEFINE_LOOP_TEST("handles", what_one_keeps_is_not_waited_for_by_the_other, 0, COUNT_OF(kinds))
{
        struct pair pair;
        uint64_t generation = 0;
        ammap_slice_t slice;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_wait_change(pair.two, 0, 1, &generation, -1), 0);
        ck_assert_int_eq(ammap_as_slice(pair.one, 0, HALF, &slice), 0);
        ck_assert_int_eq(ammap_wait_change(pair.two, 0, 1, &generation, -1), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        end(&pair);
}

/* A file is emptied, and another map is made in it: bytes of that are none of the map that was there before. */
DEFINE_TEST("handles", no_copy_is_of_another_map)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("handles");
        ammap_t *was, *is;

        ck_assert_int_eq(ammap_open(&was, path.text, SIZE, &options), 0);
        ck_assert_int_eq(ammap_fill(was, 0, SIZE, 5), 0);
        ck_assert_int_eq(truncate(path.text, 0), 0);
        ck_assert_int_eq(ammap_open(&is, path.text, SIZE, &options), 0);
        ck_assert_int_eq(ammap_fill(is, 0, SIZE, 6), 0);
        ck_assert_int_eq(ammap_copy(is, 0, was, HALF, 8), AMMAP_ERR_FORMAT);
        ck_assert_int_eq(ammap_copy(was, 0, is, HALF, 8), AMMAP_ERR_FORMAT);
        ck_assert(holds(is, 0, SIZE, 6));
        ck_assert_int_eq(ammap_free(was), 0);
        ck_assert_int_eq(ammap_free(is), 0);
}

DEFINE_LOOP_TEST("handles", views_stand_in_the_way_of_a_shrink, 0, COUNT_OF(kinds))
{
        struct pair pair;
        ammap_u64_view_t low, high;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_atomic_u64(pair.two, 0, &low), 0);
        ck_assert_int_eq(ammap_atomic_u64(pair.two, SIZE - 8, &high), 0);
        ck_assert_int_eq(ammap_resize(pair.one, HALF), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(ammap_len(pair.one), SIZE);
        ck_assert_uint_eq(ammap_len(pair.two), SIZE);
        ck_assert(holds(pair.one, 0, SIZE, 5));
        ck_assert_int_eq(ammap_resize(pair.two, HALF), AMMAP_ERR_BUSY);
        ammap_u64_view_release(&high);
        ck_assert_int_eq(ammap_resize(pair.one, HALF), 0);
        atomic_store(low.value, 0);
        ammap_u64_view_release(&low);
        end(&pair);
}

DEFINE_LOOP_TEST("handles", views_stand_in_the_way_of_a_freeze, 0, COUNT_OF(kinds))
{
        struct pair pair;
        ammap_u32_view_t view;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_atomic_u32(pair.two, 100, &view), 0);
        ck_assert_int_eq(ammap_freeze(pair.one), AMMAP_ERR_BUSY);
        ck_assert(!stat_of(pair.one).frozen);
        ck_assert_int_eq(ammap_fill(pair.one, 0, 8, 5), 0);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_freeze(pair.one), 0);
        ck_assert_int_eq(ammap_atomic_u32(pair.two, 100, &view), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(pair.two, 0, 8, 5), AMMAP_ERR_READ_ONLY);
        end(&pair);
}

/* Views are of the handle that made them, when it comes to its end. */
DEFINE_LOOP_TEST("handles", a_free_waits_for_its_own_views, 0, COUNT_OF(kinds))
{
        struct pair pair;
        ammap_u32_view_t view;
        ammap_t *three;

        begin(&pair, &kinds[_i]);
        three = pair.one;
        ck_assert_int_eq(ammap_atomic_u32(pair.two, 100, &view), 0);
        ck_assert_uint_eq(stat_of(pair.one).views, 0);
        ck_assert_uint_eq(stat_of(pair.two).views, 1);
        ck_assert_int_eq(ammap_free(pair.two), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_free(three), 0); /* and what is left is whole */
        pair.one = NULL;
        ck_assert_int_eq(ammap_resize(pair.two, 100), AMMAP_ERR_BUSY);
        atomic_store(view.value, 1);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_resize(pair.two, 100), 0);
        end(&pair);
}

DEFINE_LOOP_TEST("handles", own_slices_are_told_of, 0, COUNT_OF(kinds))
{
        struct pair pair;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_as_slice(pair.two, SIZE - 10, 10, &slice), 0);
        ck_assert_int_eq(ammap_resize(pair.one, HALF), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_freeze(pair.one), AMMAP_ERR_DEADLOCK);
        ck_assert(is_all(slice.data, 5, 10));
        ammap_slice_release(&slice);
        end(&pair);
        unlink(pair.path.text);
        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_as_mut_slice(pair.two, SIZE - 10, 10, &mut), 0);
        ck_assert_int_eq(ammap_resize(pair.one, HALF), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_freeze(pair.one), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_update_region(pair.one, SIZE - 10, "x", 1), AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_freeze(pair.one), 0);
        end(&pair);
}

struct racing {
        ammap_t *map;
        _Atomic bool stop;
};

static void *view_body(void *argument)
{
        struct racing *racing = argument;
        ammap_u32_view_t view;

        while (!atomic_load(&racing->stop)) {
                int rc = ammap_atomic_u32(racing->map, SIZE - 4, &view);

                thread_check(rc == 0 || rc == AMMAP_ERR_BOUNDS);
                if (rc == 0)
                        atomic_fetch_add(view.value, 1); /* the bytes are there as long as the view is */
                ammap_u32_view_release(&view);
        }
        return NULL;
}

DEFINE_LOOP_TEST("handles", views_and_shrinks_race, 0, COUNT_OF(kinds))
{
        struct pair pair;
        struct racing racing;
        pthread_t thread;
        int shrunk = 0;

        begin(&pair, &kinds[_i]);
        racing = (struct racing){ .map = pair.two };
        ck_assert_int_eq(pthread_create(&thread, NULL, view_body, &racing), 0);
        for (int i = 0; i < rounds(2000) || shrunk == 0; i++) {
                int rc = ammap_resize(pair.one, HALF);

                ck_assert(rc == 0 || rc == AMMAP_ERR_BUSY);
                shrunk += rc == 0;
                if (rc == 0 && i % 2) { /* what was there before is not there again */
                        uint32_t last = 1;

                        ck_assert_int_eq(ammap_resize(pair.one, SIZE - 4), 0);
                        ck_assert_int_eq(ammap_resize(pair.one, SIZE), 0);
                        ck_assert_int_eq(ammap_read_into(pair.one, SIZE - 8, &last, 4), 0);
                        ck_assert_uint_eq(last, 0);
                }
                ck_assert_int_eq(ammap_resize(pair.one, SIZE), 0);
        }
        atomic_store(&racing.stop, true);
        pthread_join(thread, NULL);
        end(&pair);
}

/* --- A handle to read --------------------------------------------------------------------- */

/* Who may only read waits no longer for what its own thread keeps by another handle. */
DEFINE_LOOP_TEST("handles", what_one_keeps_is_not_waited_for_by_who_reads, 0, 2)
{
        struct pair pair;
        uint64_t generation = 0;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_free(pair.two), 0);
        pair.two = import_again(pair.one, AMMAP_READ);
        ck_assert_int_eq(ammap_wait_change(pair.two, 0, 1, &generation, -1), 0);
        ck_assert_int_eq(ammap_as_slice(pair.one, 0, HALF, &slice), 0);
        ck_assert_int_eq(ammap_wait_change(pair.two, 0, 1, &generation, -1), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_slice_release(&slice), 0);
        ck_assert_int_eq(ammap_as_mut_slice(pair.one, 0, HALF, &mut), 0);
        ck_assert_int_eq(ammap_mut_slice_release(&mut), 0);
        ck_assert_int_eq(ammap_wait_change(pair.two, 0, 1, &generation, -1), 0);
        end(&pair);
}

/* What is beyond the length is told before what the lane is in. */
DEFINE_LOOP_TEST("handles", beyond_the_length_while_one_writes, 0, 2)
{
        struct pair pair;
        ammap_mut_slice_t mut;
        unsigned char byte;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_free(pair.two), 0);
        pair.two = import_again(pair.one, AMMAP_READ);
        ck_assert_int_eq(ammap_resize(pair.one, HALF), 0);
        ck_assert_int_eq(ammap_as_mut_slice(pair.one, 0, HALF, &mut), 0);
        ck_assert_int_eq(ammap_try_read_into(pair.two, HALF - 1, &byte, 1), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_try_read_into(pair.two, HALF, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_read_into(pair.two, HALF, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_mut_slice_release(&mut), 0);
        end(&pair);
}

/* --- Two of raw memory ---------------------------------------------------------------------- */

/* Neither knows of the other; the bytes are the same ones. */
DEFINE_LOOP_TEST("handles", bytes_of_raw_memory_are_moved, 0, 4)
{
        enum { MUCH = 300000, BY = 1000 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("raw");
        unsigned char *expected = malloc(MUCH), *found = malloc(MUCH);
        const uint64_t from = _i & 1 ? BY : 0, to = _i & 1 ? 0 : BY;
        ammap_t *one, *two;

        options.share = AMMAP_RAW;
        if (_i & 2) {
                ck_assert_int_eq(ammap_open(&one, path.text, MUCH, &options), 0);
                ck_assert_int_eq(ammap_open(&two, path.text, 0, &options), 0);
        } else {
                one = make_raw(MUCH);
                two = import_of(ammap_fd(one), AMMAP_RAW);
        }
        for (size_t i = 0; i < MUCH; i++)
                expected[i] = pattern_byte(i);
        ck_assert_int_eq(ammap_update_region(one, 0, expected, MUCH), 0);
        memmove(expected + to, expected + from, MUCH - BY);
        ck_assert_int_eq(ammap_copy(two, to, one, from, MUCH - BY), 0);
        ck_assert_int_eq(ammap_read_into(one, 0, found, MUCH), 0);
        ck_assert_int_eq(memcmp(found, expected, MUCH), 0);
        free(expected);
        free(found);
        ck_assert_int_eq(ammap_free(one), 0);
        ck_assert_int_eq(ammap_free(two), 0);
}

/* --- Pages ------------------------------------------------------------------------------ */

/* The second one is as the map is now. */
static void import_anew(struct pair *pair, const struct kind *kind, ammap_want_t populate)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.allow_faults = kind->file != NO_FILE;
        options.populate = populate;
        ck_assert_int_eq(ammap_free(pair->two), 0);
        ck_assert_int_eq(ammap_import(&pair->two, ammap_fd(pair->one), &options), 0);
}

/* What another handle has cut and this one makes longer again are new pages, as options.populate has it. */
DEFINE_LOOP_TEST("handles", pages_that_come_again_are_populated, 0, COUNT_OF(kinds))
{
        struct pair pair;
        uint64_t resident;

        begin(&pair, &kinds[_i]);
        import_anew(&pair, &kinds[_i], AMMAP_MUST);
        ck_assert_int_eq(ammap_resize(pair.one, 100), 0);
        ck_assert_int_eq(ammap_resize(pair.two, HALF), 0);
        resident = stat_of(pair.two).resident;
        if (resident != AMMAP_STAT_UNKNOWN)
                ck_assert_uint_ge(resident, HALF);
        end(&pair);
}

/* What another handle has made longer, and this one has locked, is unlocked where this one cuts it. */
DEFINE_LOOP_TEST("handles", pages_that_go_are_unlocked, 0, COUNT_OF(kinds))
{
        struct pair pair;
        uint64_t locked;

        begin(&pair, &kinds[_i]);
        ck_assert_int_eq(ammap_resize(pair.one, 100), 0);
        import_anew(&pair, &kinds[_i], AMMAP_NO);
        ck_assert_int_eq(ammap_resize(pair.one, SIZE), 0);
        if (ammap_mlock(pair.two, 0, SIZE) < 0) {
                skip_part(__func__, "no memory may be locked");
        } else {
                ck_assert_int_eq(ammap_resize(pair.two, HALF), 0);
                locked = stat_of(pair.two).locked;
                if (locked != AMMAP_STAT_UNKNOWN)
                        ck_assert_uint_lt(locked, HALF + 4096 * 2);
        }
        end(&pair);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("handles");
}
