/* test-recycle.c - lib/memory/recycle.c: freed maps kept, zeroed and given back
 *
 * SPDX-License-Identifier: MIT
 *
 * What comes back is zero whatever had been written, of every size and lane
 * count; what is kept is bounded, and trimmed to the byte asked for; without the
 * option nothing is kept.  Whether memory is kept is seen in its address being
 * mapped, or not, and in how much this process has mapped.
 */
#include "support.h"

#include <sys/mman.h>
#include <sys/wait.h>

static ammap_t *new_recycled(uint64_t size, uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map = NULL;

        options.lanes = lanes;
        options.recycle = AMMAP_TRY;
        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        return map;
}

/* Dirty all of a map, free it, and look at the next. */
static void use(uint64_t size, uint64_t lanes)
{
        ammap_t *map = new_recycled(size, lanes);
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        ck_assert_uint_eq(ammap_len(map), size);
        ck_assert(is_all(ammap_as_ptr(map), 0, (size_t)size));
        /* What is asked for no bytes leaves no trace. */
        ck_assert_int_eq(ammap_mlock(map, size, 0), 0);
        ck_assert_int_eq(ammap_munlock(map, 0, 0), 0);
        ck_assert_int_eq(ammap_advise(map, 0, 0, AMMAP_ADVICE_NORMAL), 0);
        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        ck_assert(stat.recycle);
        /* The lock is as of a new map too. */
        ck_assert_int_eq(ammap_as_slice(map, 0, size, &slice), 0);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_try_as_mut_slice(map, 0, size, &mut), 0);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_fill(map, 0, size, 0xee), 0);
        memset(ammap_as_mut_ptr(map), 0xee, (size_t)size);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("recycle", recycled_memory_is_zero)
{
        static const uint64_t sizes[] = { 1, 4095, 4096, 4097, 65536, 262144, 262145, 1048577, 9437184, 33554432 };
        static const uint64_t lanes[] = { 1, 2, 1, 3, 1 };

        for (size_t s = 0; s < COUNT_OF(sizes); s++)
                for (size_t l = 0; l < COUNT_OF(lanes); l++)
                        use(sizes[s], lanes[l] < sizes[s] ? lanes[l] : 1);
}

/* Pages touched here and there: runs that are there and runs that are not. */
DEFINE_TEST("recycle", sparse_memory_is_zero)
{
        struct random random = random_start("sparse_memory_is_zero");
        uint64_t size = 24 << 20;

        for (int round = 0; round < rounds(20); round++) {
                ammap_t *map = new_recycled(size, 1);

                ck_assert(is_all(ammap_as_ptr(map), 0, (size_t)size));
                if (round % 2)
                        madvise(ammap_as_mut_ptr(map), (size_t)size, MADV_DONTNEED);
                for (int i = 0; i < 300; i++)
                        ck_assert_int_eq(ammap_fill(map, random_below(&random, size - 9000), 9000, 0x55), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("recycle", it_is_the_same_memory)
{
        ammap_t *map = new_recycled(65536, 1);
        const void *first = ammap_as_ptr(map);

        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(is_mapped(first, 1));
        map = new_recycled(65000, 1); /* as many pages */
        ck_assert_ptr_eq(ammap_as_ptr(map), first);
        ck_assert_uint_eq(ammap_len(map), 65000);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_trim(0), 0);
        ck_assert(is_given_back(first, 1));
}

DEFINE_TEST("recycle", without_the_option_nothing_is_kept)
{
        ammap_t *map = new_map(65536, 1);
        const void *first = ammap_as_ptr(map);

        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(is_given_back(first, 1));
}

DEFINE_TEST("recycle", a_map_in_use_is_not_kept)
{
        ammap_t *map = new_recycled(4096, 1);
        ammap_u32_view_t view;
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_free(map), 0);
}

enum { MANY = 100 };

static int free_many(uint64_t size, const void *address[MANY], int count)
{
        ammap_t *map[MANY];
        int kept = 0;

        for (int i = 0; i < count; i++) {
                map[i] = new_recycled(size, 1);
                address[i] = ammap_as_ptr(map[i]);
        }
        for (int i = 0; i < count; i++)
                ck_assert_int_eq(ammap_free(map[i]), 0);
        for (int i = 0; i < count; i++)
                kept += is_mapped(address[i], 1);
        return kept;
}

DEFINE_TEST("recycle", what_is_kept_is_bounded)
{
        const void *address[MANY];
        ammap_t *map;

        ck_assert_int_eq(ammap_trim(0), 0); /* in one process with other tests */
        /* What manages them counts too, and is less than one of them. */
        ck_assert_int_eq(free_many(1 << 20, address, MANY), (int)(AMMAP_RECYCLE_MAX >> 20) - 1);
        /* More than all of it is not kept, and does not push out what is. */
        map = new_recycled(AMMAP_RECYCLE_MAX + 1, 1);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(is_mapped(address[MANY - 1], 1));
        ck_assert_int_eq(ammap_trim(0), 0);
}

DEFINE_TEST("recycle", trim_keeps_what_it_is_told)
{
        static const uint64_t keep[] = { UINT64_MAX, 10 << 20, (5 << 20) + 65536, 5 << 20, (5 << 20) - 1, 1, 0 };
        static const int left[] = { 20, 9, 5, 4, 4, 0, 0 };
        const void *address[MANY];

        ck_assert_int_eq(ammap_trim(0), 0);
        ck_assert_int_eq(free_many(1 << 20, address, 20), 20);
        for (size_t k = 0; k < COUNT_OF(keep); k++) {
                int kept = 0;

                ck_assert_int_eq(ammap_trim(keep[k]), 0);
                for (int i = 0; i < 20; i++)
                        kept += is_mapped(address[i], 1);
                ck_assert_int_eq(kept, left[k]);
        }
}

/* A lane has a line of the cache for itself. */
DEFINE_TEST("recycle", lanes_are_counted)
{
        enum { LANES = 4096, LANE = 64 };
        static ammap_t *map[300];
        static const void *address[COUNT_OF(map)];
        const uint64_t most[] = { AMMAP_RECYCLE_MAX, 10 << 20, 1 << 20, 1 << 18 };

        ck_assert_int_eq(ammap_trim(0), 0);
        for (size_t i = 0; i < COUNT_OF(map); i++) {
                map[i] = new_recycled(LANES, LANES);
                address[i] = ammap_as_ptr(map[i]);
        }
        for (size_t i = 0; i < COUNT_OF(map); i++)
                ck_assert_int_eq(ammap_free(map[i]), 0);
        for (size_t m = 0; m < COUNT_OF(most); m++) {
                uint64_t kept = 0;

                ck_assert_int_eq(ammap_trim(most[m]), 0);
                for (size_t i = 0; i < COUNT_OF(map); i++)
                        kept += is_mapped(address[i], 1);
                ck_assert_uint_le(kept * (4096 + LANES * LANE), most[m]);
        }
        ck_assert_int_eq(ammap_trim(0), 0);
}

/* The oldest of a size goes first, the newest comes back first; so in any order of
 * going and coming. */
DEFINE_TEST("recycle", the_oldest_goes_first)
{
        enum { COUNT = 6 };
        ammap_t *map[COUNT];
        const void *address[COUNT];

        ck_assert_int_eq(ammap_trim(0), 0);
        for (int i = 0; i < COUNT; i++) {
                map[i] = new_recycled(1 << 20, 1);
                address[i] = ammap_as_ptr(map[i]);
        }
        for (int i = 0; i < COUNT; i++)
                ck_assert_int_eq(ammap_free(map[i]), 0);
        map[0] = new_recycled(1 << 20, 1);
        ck_assert_ptr_eq(ammap_as_ptr(map[0]), address[COUNT - 1]);
        for (int gone = 1; gone < COUNT; gone++) {
                ck_assert_int_eq(ammap_trim((uint64_t)(COUNT - 1 - gone) * ((1 << 20) + 65536)), 0);
                for (int i = 0; i < COUNT - 1; i++)
                        ck_assert_int_eq(is_mapped(address[i], 1), i >= gone);
        }
        /* As the only one: newest and oldest. */
        ck_assert_int_eq(ammap_free(map[0]), 0);
        map[0] = new_recycled(1 << 20, 1);
        ck_assert_ptr_eq(ammap_as_ptr(map[0]), address[COUNT - 1]);
        ck_assert_int_eq(ammap_free(map[0]), 0);
        ck_assert_int_eq(ammap_trim(0), 0);
        ck_assert(is_given_back(address[COUNT - 1], 1));
}

DEFINE_TEST("recycle", an_unknown_want_is_refused)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int beyond = AMMAP_MUST + 1;

        memcpy(&options.recycle, &beyond, sizeof beyond);
        ck_assert_int_eq(ammap_new_with(&map, 1, &options), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(map);
        options.recycle = AMMAP_MUST;
        ck_assert_int_eq(ammap_new_with(&map, 1, &options), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *churn(void *argument)
{
        struct random random = random_start("churn");

        random_below(&random, 1 + (uint64_t)(uintptr_t)argument);
        for (int round = 0; round < rounds(3000); round++) {
                uint64_t size = 1 + random_below(&random, 40) * 4096;
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.recycle = AMMAP_TRY;
                thread_check_int(ammap_new_with(&map, size, &options), 0);
                thread_check(is_all(ammap_as_ptr(map), 0, (size_t)size));
                memset(ammap_as_mut_ptr(map), (int)(uintptr_t)argument + 1, (size_t)size);
                thread_check(is_all(ammap_as_ptr(map), (unsigned char)((uintptr_t)argument + 1), (size_t)size));
                thread_check_int(ammap_free(map), 0);
                if (round % 64 == 0)
                        thread_check_int(ammap_trim(random_below(&random, 1 << 20)), 0);
        }
        return NULL;
}

DEFINE_TEST("recycle", threads_share_what_is_kept)
{
        struct task tasks[4];

        for (uintptr_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], churn, (void *)i);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(thread_failures, 0);
}

/* The child has a copy of what is kept, and of the lists. */
DEFINE_TEST("recycle", a_child_recycles_on_its_own)
{
        ammap_t *map = new_recycled(65536, 1);
        const void *first = ammap_as_ptr(map);
        pid_t child;
        int status;

        ck_assert_int_eq(ammap_fill(map, 0, 65536, 0xdd), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;

                options.recycle = AMMAP_TRY;
                _exit(ammap_new_with(&map, 65536, &options) == 0 && ammap_as_ptr(map) == first &&
                                      is_all(first, 0, 65536) && ammap_free(map) == 0 && ammap_trim(0) == 0 &&
                                      is_given_back(first, 1)
                              ? 0
                              : 1);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        map = new_recycled(65536, 1);
        ck_assert_ptr_eq(ammap_as_ptr(map), first);
        ck_assert(is_all(first, 0, 65536));
        ck_assert_int_eq(ammap_free(map), 0);
}

int main(void)
{
        return run_tests("recycle", test_case);
}
