/* test-atomic.c - lib/view.c: atomic views, wait and wake
 *
 * SPDX-License-Identifier: MIT
 *
 * Bounds and alignment at every edge of 64 bits, for single views and arrays,
 * products that overflow included.  Views pin the map and take no lock.  Sums
 * of concurrent additions.  Waiting: the value, the monotonic time, signals,
 * the number of the woken, and 20,000 rounds of ping-pong in which one lost
 * wake-up is a hang.
 */
#include "support.h"

static const uint64_t lane_counts[] = { 1, 3 };

/* The library's order: alignment, then bounds.  The bound of an array is said
 * by division here, the map being far shorter than what could overflow. */
static int wanted(uint64_t map_length, uint64_t offset, uint64_t count, unsigned size)
{
        if (offset % size)
                return AMMAP_ERR_MISALIGNED;
        return offset > map_length || count > (map_length - offset) / size ? AMMAP_ERR_BOUNDS : 0;
}

static void check_u32(ammap_t *map, uint64_t offset, uint64_t count, bool array)
{
        ammap_u32_view_t view;
        int want = wanted(ammap_len(map), offset, count, 4);

        memset(&view, 0xff, sizeof(view));
        if (array)
                ck_assert_int_eq(ammap_atomic_u32_slice(map, offset, (size_t)count, &view), want);
        else
                ck_assert_int_eq(ammap_atomic_u32(map, offset, &view), want);
        if (want < 0) {
                ck_assert(view_is_zero(&view));
                return;
        }
        ck_assert_ptr_eq((void *)view.value, (unsigned char *)ammap_as_mut_ptr(map) + offset);
        ck_assert_uint_eq(view.count, count);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&view);
        ck_assert(view_is_zero(&view));
}

static void check_u64(ammap_t *map, uint64_t offset, uint64_t count, bool array)
{
        ammap_u64_view_t view;
        int want = wanted(ammap_len(map), offset, count, 8);

        memset(&view, 0xff, sizeof(view));
        if (array)
                ck_assert_int_eq(ammap_atomic_u64_slice(map, offset, (size_t)count, &view), want);
        else
                ck_assert_int_eq(ammap_atomic_u64(map, offset, &view), want);
        if (want < 0) {
                ck_assert(view_is_zero(&view));
                return;
        }
        ck_assert_ptr_eq((void *)view.value, (unsigned char *)ammap_as_mut_ptr(map) + offset);
        ck_assert_uint_eq(view.count, count);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u64_view_release(&view);
        ck_assert(view_is_zero(&view));
}

DEFINE_TEST("atomic", views_are_bounded_and_aligned)
{
        size_t length_count;
        const uint64_t *lengths = map_lengths(&length_count);

        for (size_t i = 0; i < length_count; i++)
                for (size_t k = 0; k < COUNT_OF(lane_counts) && lane_counts[k] <= lengths[i]; k++) {
                        ammap_t *map = new_pattern_map(lengths[i], lane_counts[k]);
                        uint64_t edges[EDGES_MAX];
                        size_t count = edges_of(lengths[i], edges);

                        for (size_t o = 0; o < count; o++) {
                                check_u32(map, edges[o], 1, false);
                                check_u64(map, edges[o], 1, false);
                                for (size_t n = 0; n < count; n++) {
                                        if (edges[n] > SIZE_MAX)
                                                continue;
                                        check_u32(map, edges[o], edges[n], true);
                                        check_u64(map, edges[o], edges[n], true);
                                }
                                /* Products that come out small again. */
                                check_u32(map, edges[o], (size_t)1 << (sizeof(size_t) * 8 - 2), true);
                                check_u64(map, edges[o], (size_t)1 << (sizeof(size_t) * 8 - 3), true);
                                check_u32(map, edges[o], ((size_t)1 << (sizeof(size_t) * 8 - 2)) + 1, true);
                                check_u64(map, edges[o], ((size_t)1 << (sizeof(size_t) * 8 - 3)) + 1, true);
                        }
                        ck_assert(is_pattern(map));
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* Every offset of a small map, aligned or not. */
DEFINE_TEST("atomic", every_offset_of_a_small_map)
{
        for (uint64_t length = 1; length <= 33; length++) {
                ammap_t *map = new_pattern_map(length, 1);

                for (uint64_t offset = 0; offset <= length + 9; offset++) {
                        check_u32(map, offset, 1, false);
                        check_u64(map, offset, 1, false);
                        for (uint64_t count = 0; count < 10; count++) {
                                check_u32(map, offset, count, true);
                                check_u64(map, offset, count, true);
                        }
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("atomic", views_refuse_bad_input)
{
        ammap_t *map = new_pattern_map(64, 1);
        const uint64_t offsets[] = { 0, 1, 64, UINT64_MAX };
        ammap_u32_view_t narrow;
        ammap_u64_view_t wide;

        for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                memset(&narrow, 0xff, sizeof(narrow));
                ck_assert_int_eq(ammap_atomic_u32(NULL, offsets[i], &narrow), AMMAP_ERR_INVALID);
                ck_assert(view_is_zero(&narrow));
                memset(&narrow, 0xff, sizeof(narrow));
                ck_assert_int_eq(ammap_atomic_u32_slice(NULL, offsets[i], 1, &narrow), AMMAP_ERR_INVALID);
                ck_assert(view_is_zero(&narrow));
                memset(&narrow, 0xff, sizeof(narrow));
                ck_assert_int_eq(ammap_atomic_u32_slice(NULL, offsets[i], 0, &narrow), AMMAP_ERR_INVALID);
                ck_assert(view_is_zero(&narrow));
                memset(&wide, 0xff, sizeof(wide));
                ck_assert_int_eq(ammap_atomic_u64(NULL, offsets[i], &wide), AMMAP_ERR_INVALID);
                ck_assert(view_is_zero(&wide));
                memset(&wide, 0xff, sizeof(wide));
                ck_assert_int_eq(ammap_atomic_u64_slice(NULL, offsets[i], SIZE_MAX, &wide), AMMAP_ERR_INVALID);
                ck_assert(view_is_zero(&wide));
                ck_assert_int_eq(ammap_atomic_u32(map, offsets[i], NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u64(map, offsets[i], NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u32_slice(map, offsets[i], 1, NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u64_slice(map, offsets[i], 1, NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u32(NULL, offsets[i], NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u64(NULL, offsets[i], NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u32_slice(NULL, offsets[i], 0, NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_atomic_u64_slice(NULL, offsets[i], 0, NULL), AMMAP_ERR_INVALID);
        }
        ammap_u32_view_release(NULL);
        ammap_u64_view_release(NULL);
        ck_assert(is_pattern(map));
        /* None of the refused has left a view behind. */
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("atomic", wait_refuses_bad_input)
{
        ammap_t *map = new_map(64, 1);
        const struct {
                ammap_t *map;
                uint64_t offset;
                int result;
        } cases[] = {
                { NULL, 0, AMMAP_ERR_INVALID },
                { NULL, 1, AMMAP_ERR_INVALID },
                { NULL, UINT64_MAX, AMMAP_ERR_INVALID },
                { map, 61, AMMAP_ERR_MISALIGNED },
                { map, 63, AMMAP_ERR_MISALIGNED },
                { map, 64, AMMAP_ERR_BOUNDS },
                { map, 65, AMMAP_ERR_MISALIGNED },
                { map, UINT64_C(1) << 32, AMMAP_ERR_BOUNDS },
                { map, INT64_MAX, AMMAP_ERR_MISALIGNED },
                { map, UINT64_MAX - 3, AMMAP_ERR_BOUNDS },
                { map, UINT64_MAX - 2, AMMAP_ERR_MISALIGNED },
                { map, UINT64_MAX, AMMAP_ERR_MISALIGNED },
                { map, 1, AMMAP_ERR_MISALIGNED },
                { map, 2, AMMAP_ERR_MISALIGNED },
                { map, 3, AMMAP_ERR_MISALIGNED },
                { map, 58, AMMAP_ERR_MISALIGNED },
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                ck_assert_int_eq(ammap_wait_u32(cases[i].map, cases[i].offset, 0, -1), cases[i].result);
                ck_assert_int_eq(ammap_wait_u32(cases[i].map, cases[i].offset, 0, 0), cases[i].result);
                ck_assert_int_eq(ammap_wait_u32(cases[i].map, cases[i].offset, 7, INT64_MAX), cases[i].result);
                ck_assert_int_eq(ammap_wake_u32(cases[i].map, cases[i].offset, 1), cases[i].result);
                ck_assert_int_eq(ammap_wake_u32(cases[i].map, cases[i].offset, 0), cases[i].result);
                ck_assert_int_eq(ammap_wake_u32(cases[i].map, cases[i].offset, INT_MAX), cases[i].result);
                /* A count below 0 comes before the range. */
                ck_assert_int_eq(ammap_wake_u32(cases[i].map, cases[i].offset, -1), AMMAP_ERR_INVALID);
        }
        ck_assert_int_eq(ammap_wake_u32(map, 0, -1), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_wake_u32(map, 60, INT_MIN), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_wake_u32(map, 60, 1), 0);
        ck_assert_int_eq(ammap_wait_u32(map, 60, 1, -1), 0);
        ck_assert(is_all(ammap_as_ptr(map), 0, 64));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("atomic", a_view_is_the_memory)
{
        ammap_t *map = new_map(64, 2);
        ammap_u32_view_t narrow;
        ammap_u64_view_t wide;
        uint32_t word = 0;
        uint64_t word64 = 0;

        ck_assert_int_eq(ammap_atomic_u32_slice(map, 4, 3, &narrow), 0);
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 16, 6, &wide), 0);
        atomic_store(&narrow.value[2], 0xdeadbeef);
        atomic_store(&wide.value[5], UINT64_C(0x0123456789abcdef));
        ck_assert_int_eq(ammap_read_into(map, 12, &word, 4), 0);
        ck_assert_uint_eq(word, 0xdeadbeef);
        ck_assert_int_eq(ammap_read_into(map, 56, &word64, 8), 0);
        ck_assert(word64 == UINT64_C(0x0123456789abcdef));
        word = 5;
        ck_assert_int_eq(ammap_update_region(map, 4, &word, 4), 0);
        ck_assert_uint_eq(atomic_load(&narrow.value[0]), 5);
        ammap_u32_view_release(&narrow);
        ammap_u64_view_release(&wide);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The lock knows nothing of views, in either direction. */
DEFINE_TEST("atomic", a_view_takes_no_lock)
{
        ammap_t *map = new_map(64, 1);
        ammap_u32_view_t view, second;
        ammap_mut_slice_t mut;
        struct holder holder;

        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        for (enum op op = 0; op < OP_COUNT; op++) {
                ck_assert_int_eq(op_run(op, map, 0, 64, 0), 0);
                ck_assert_int_eq(op_elsewhere(op, map, 0, 64), 0);
        }
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 64, &mut), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 4, &second), 0);
        atomic_store(&second.value[0], 1);
        ck_assert_int_eq(ammap_wake_u32(map, 4, 1), 0);
        ck_assert_int_eq(ammap_wait_u32(map, 4, 0, -1), 0);
        ammap_u32_view_release(&second);
        ammap_mut_slice_release(&mut);
        holder_start(&holder, map, 0, 64, true);
        ck_assert_int_eq(ammap_atomic_u32(map, 4, &second), 0);
        ammap_u32_view_release(&second);
        holder_vanish(&holder);
        /* The lane's owner is dead, and the views do not care. */
        ck_assert_int_eq(op_run(OP_READ_INTO, map, 0, 64, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_atomic_u32(map, 4, &second), 0);
        atomic_store(&second.value[0], 2);
        ammap_u32_view_release(&second);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *release_u64_view(void *argument)
{
        ammap_u64_view_release(argument);
        return NULL;
}

DEFINE_TEST("atomic", a_view_is_released_once_and_by_any_thread)
{
        ammap_t *map = new_map(64, 1);
        ammap_u64_view_t view, moved, second;
        struct task task;

        ck_assert_int_eq(ammap_atomic_u64(map, 0, &view), 0);
        ck_assert_int_eq(ammap_atomic_u64(map, 0, &second), 0);
        moved = view;
        task_start(&task, release_u64_view, &moved);
        task_join(&task);
        ck_assert(view_is_zero(&moved));
        /* Zeroed, so that again does nothing, to the other view above all. */
        ammap_u64_view_release(&moved);
        ammap_u64_view_release(&moved);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u64_view_release(&second);
        ck_assert_int_eq(ammap_free(map), 0);
}

static int leave_early(ammap_t *map, bool wide, bool early)
{
        AMMAP_AUTO_U32_VIEW ammap_u32_view_t narrow_view = { 0 };
        AMMAP_AUTO_U64_VIEW ammap_u64_view_t wide_view = { 0 };
        int rc = wide ? ammap_atomic_u64(map, 0, &wide_view) : ammap_atomic_u32(map, 0, &narrow_view);

        if (rc < 0 || early)
                return rc;
        return ammap_free(map);
}

DEFINE_TEST("atomic", the_end_of_the_scope_releases)
{
        ammap_t *map = new_map(64, 1);

        for (int wide = 0; wide < 2; wide++) {
                ammap_stat_t stat = AMMAP_STAT_INIT;

                ck_assert_int_eq(leave_early(map, wide, true), 0);
                ck_assert_int_eq(leave_early(map, wide, false), AMMAP_ERR_BUSY);
                ck_assert_int_eq(ammap_stat(map, &stat), 0);
                ck_assert_uint_eq(stat.views, 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Sums -------------------------------------------------------------------- */

enum { ADDERS = 8, CELLS = 5 };

struct adders {
        ammap_t *map;
        int each;
};

static void *add(void *argument)
{
        struct adders *adders = argument;
        ammap_u32_view_t narrow;
        ammap_u64_view_t wide;

        thread_check_int(ammap_atomic_u32_slice(adders->map, 0, CELLS, &narrow), 0);
        thread_check_int(ammap_atomic_u64_slice(adders->map, 64, CELLS, &wide), 0);
        for (int i = 0; i < adders->each; i++) {
                atomic_fetch_add(&narrow.value[i % CELLS], 1);
                atomic_fetch_add(&wide.value[i % CELLS], UINT64_C(1) << 33);
        }
        ammap_u32_view_release(&narrow);
        ammap_u64_view_release(&wide);
        return NULL;
}

DEFINE_TEST("atomic", additions_are_not_lost)
{
        struct adders adders = { new_map(128, 2), rounds(100000) };
        struct task tasks[ADDERS];
        uint32_t narrow[CELLS];
        uint64_t wide[CELLS], narrow_sum = 0, wide_sum = 0;

        for (size_t i = 0; i < ADDERS; i++)
                task_start(&tasks[i], add, &adders);
        for (size_t i = 0; i < ADDERS; i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(ammap_read_into(adders.map, 0, narrow, sizeof(narrow)), 0);
        ck_assert_int_eq(ammap_read_into(adders.map, 64, wide, sizeof(wide)), 0);
        for (size_t i = 0; i < CELLS; i++) {
                narrow_sum += narrow[i];
                wide_sum += wide[i] >> 33;
        }
        ck_assert_uint_eq(narrow_sum, (uint64_t)ADDERS * (uint64_t)adders.each);
        ck_assert_uint_eq(wide_sum, (uint64_t)ADDERS * (uint64_t)adders.each);
        ck_assert_int_eq(ammap_free(adders.map), 0);
}

static void *view_and_release(void *argument)
{
        ammap_t *map = argument;

        for (int i = 0; i < rounds(20000); i++) {
                ammap_u32_view_t view;

                thread_check_int(ammap_atomic_u32(map, 0, &view), 0);
                ammap_u32_view_release(&view);
        }
        return NULL;
}

DEFINE_TEST("atomic", views_are_counted_by_threads_at_once)
{
        ammap_t *map = new_map(64, 1);
        struct task tasks[4];

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], view_and_release, map);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Wait and wake ----------------------------------------------------------- */

DEFINE_TEST("atomic", another_value_does_not_wait)
{
        ammap_t *map = new_map(64, 1);
        const int64_t timeouts[] = { -1, INT64_MIN, 0, 1, SECOND, INT64_MAX };

        for (size_t i = 0; i < COUNT_OF(timeouts); i++) {
                ck_assert_int_eq(ammap_wait_u32(map, 8, 1, timeouts[i]), 0);
                ck_assert_int_eq(ammap_wait_u32(map, 8, UINT32_MAX, timeouts[i]), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Wait as callers do: 0 may come for no reason. */
static int wait_out(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns, int64_t *took_ns)
{
        for (;;) {
                int64_t start = now_ns();
                int result = ammap_wait_u32(map, offset, expected, timeout_ns);

                *took_ns = now_ns() - start;
                if (result != 0)
                        return result;
        }
}

DEFINE_TEST("atomic", the_time_runs_out_on_the_monotonic_clock)
{
        ammap_t *map = new_map(64, 1);
        const int64_t timeouts[] = { 0, 1, 1000, MS, 20 * MS, 150 * MS };

        for (size_t i = 0; i < COUNT_OF(timeouts); i++) {
                int64_t took;

                ck_assert_int_eq(wait_out(map, 60, 0, timeouts[i], &took), AMMAP_ERR_TIMEOUT);
                ck_assert_int_ge(took, timeouts[i]);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

struct waiter {
        ammap_t *map;
        uint64_t offset;
        int64_t timeout_ns;
        int result;
        struct task task;
};

static void *wait_once(void *argument)
{
        struct waiter *waiter = argument;

        waiter->result = ammap_wait_u32(waiter->map, waiter->offset, 0, waiter->timeout_ns);
        return NULL;
}

/* Start it, and see it asleep. */
static void waiter_start(struct waiter *waiter, ammap_t *map, uint64_t offset, int64_t timeout_ns)
{
        waiter->map = map;
        waiter->offset = offset;
        waiter->timeout_ns = timeout_ns;
        waiter->result = INT_MIN;
        task_start(&waiter->task, wait_once, waiter);
        ck_assert(task_sleeps(&waiter->task));
}

DEFINE_TEST("atomic", the_woken_are_counted)
{
        enum { WAITERS = 5 };
        ammap_t *map = new_map(64, 1);
        const int64_t timeouts[WAITERS] = { -1, INT64_MIN, INT64_MAX, INT64_MAX - 1, SECOND * 1000000 };
        struct waiter waiters[WAITERS];
        int64_t deadline;
        int woken = 0;

        ck_assert_int_eq(ammap_wake_u32(map, 8, INT_MAX), 0);
        for (size_t i = 0; i < WAITERS; i++)
                waiter_start(&waiters[i], map, 8, timeouts[i]);

        /* Nobody of count 0, nobody of another word. */
        ck_assert_int_eq(ammap_wake_u32(map, 8, 0), 0);
        ck_assert_int_eq(ammap_wake_u32(map, 4, INT_MAX), 0);
        ck_assert_int_eq(ammap_wake_u32(map, 12, INT_MAX), 0);
        for (size_t i = 0; i < WAITERS; i++)
                ck_assert(!atomic_load(&waiters[i].task.done));

        deadline = now_ns() + patience_ns();
        while (woken < WAITERS && now_ns() < deadline) {
                int count = woken == 0 ? 2 : 1;
                int now_woken = ammap_wake_u32(map, 8, count);

                ck_assert_int_ge(now_woken, 0);
                ck_assert_int_le(now_woken, count);
                woken += now_woken;
        }
        ck_assert_int_eq(woken, WAITERS);
        for (size_t i = 0; i < WAITERS; i++) {
                task_join(&waiters[i].task);
                ck_assert_int_eq(waiters[i].result, 0);
        }
        ck_assert_int_eq(ammap_wake_u32(map, 8, INT_MAX), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("atomic", all_are_woken_at_once)
{
        enum { WAITERS = 6 };
        ammap_t *map = new_map(4096, 3);
        struct waiter waiters[WAITERS];
        int64_t deadline;
        int woken = 0;

        for (size_t i = 0; i < WAITERS; i++)
                waiter_start(&waiters[i], map, 4092, -1);
        deadline = now_ns() + patience_ns();
        while (woken < WAITERS && now_ns() < deadline)
                woken += ammap_wake_u32(map, 4092, INT_MAX);
        ck_assert_int_eq(woken, WAITERS);
        for (size_t i = 0; i < WAITERS; i++) {
                task_join(&waiters[i].task);
                ck_assert_int_eq(waiters[i].result, 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The time given and a wake: woken in time is 0, whatever the time was. */
DEFINE_TEST("atomic", a_timed_wait_is_woken)
{
        ammap_t *map = new_map(64, 1);
        struct waiter waiter;
        int64_t deadline = now_ns() + patience_ns();
        int woken = 0;

        waiter_start(&waiter, map, 0, 1000 * SECOND);
        while (!woken && now_ns() < deadline)
                woken = ammap_wake_u32(map, 0, 1);
        ck_assert_int_eq(woken, 1);
        task_join(&waiter.task);
        ck_assert_int_eq(waiter.result, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void ignore_signal(int signal_number)
{
        (void)signal_number;
}

struct stormed {
        ammap_t *map;
        int64_t took_ns;
        int result;
};

static void *wait_in_a_storm(void *argument)
{
        struct stormed *stormed = argument;

        stormed->result = wait_out(stormed->map, 0, 0, 300 * MS, &stormed->took_ns);
        return NULL;
}

/* How many signals were sent. */
static long storm(struct stormed *stormed)
{
        struct task task;
        long sent = 0;

        task_start(&task, wait_in_a_storm, stormed);
        while (!atomic_load(&task.done)) {
                ck_assert_int_eq(pthread_kill(task.thread, SIGUSR1), 0);
                sent++;
                sched_yield();
        }
        task_join(&task);
        return sent;
}

/* The handler is without SA_RESTART, so that the system says EINTR each time. */
DEFINE_TEST("atomic", signals_neither_end_nor_stretch_a_wait)
{
        struct stormed stormed = { new_map(64, 1), 0, INT_MIN };
        struct sigaction action, before;
        long sent;

        memset(&action, 0, sizeof(action));
        action.sa_handler = ignore_signal;
        ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
        do { /* on a busy machine the thread may be alone for all of its time */
                sent = storm(&stormed);
                ck_assert_int_eq(stormed.result, AMMAP_ERR_TIMEOUT);
                ck_assert_int_ge(stormed.took_ns, 300 * MS);
        } while (sent < 2);
        ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
        ck_assert_int_eq(ammap_free(stormed.map), 0);
}

struct pingpong {
        ammap_t *map;
        int count;
        uint32_t turn; /* whose it is: the word is odd or even */
};

static void *play(void *argument)
{
        struct pingpong *player = argument;
        ammap_u32_view_t word;

        thread_check_int(ammap_atomic_u32(player->map, 4, &word), 0);
        for (int i = 0; i < player->count; i++) {
                uint32_t value;

                while ((value = atomic_load(&word.value[0])) % 2 != player->turn)
                        thread_check_int(ammap_wait_u32(player->map, 4, value, -1), 0);
                atomic_store(&word.value[0], value + 1);
                thread_check(ammap_wake_u32(player->map, 4, 1) >= 0);
        }
        ammap_u32_view_release(&word);
        return NULL;
}

DEFINE_TEST("atomic", no_wake_up_is_lost)
{
        const int count = under_valgrind() ? 2000 : 20000;
        ammap_t *map = new_map(64, 1);
        struct pingpong players[2] = { { map, count, 0 }, { map, count, 1 } };
        struct task tasks[2];
        uint32_t last = 0;

        for (size_t i = 0; i < 2; i++)
                task_start(&tasks[i], play, &players[i]);
        for (size_t i = 0; i < 2; i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(ammap_read_into(map, 4, &last, 4), 0);
        ck_assert_uint_eq(last, 2 * (uint32_t)count);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Many words and many threads: a wake for one is not swallowed by another. */
DEFINE_TEST("atomic", no_wake_up_goes_to_another_word)
{
        enum { PAIRS = 4 };
        ammap_t *maps[PAIRS];
        struct pingpong players[PAIRS][2];
        struct task tasks[PAIRS][2];
        const int count = rounds(3000);

        for (size_t p = 0; p < PAIRS; p++) {
                maps[p] = new_map(4096 * (p + 1), 1);
                for (uint32_t i = 0; i < 2; i++)
                        players[p][i] = (struct pingpong){ maps[p], count, i };
        }
        for (size_t p = 0; p < PAIRS; p++)
                for (size_t i = 0; i < 2; i++)
                        task_start(&tasks[p][i], play, &players[p][i]);
        for (size_t p = 0; p < PAIRS; p++)
                for (size_t i = 0; i < 2; i++)
                        task_join(&tasks[p][i]);
        for (size_t p = 0; p < PAIRS; p++)
                ck_assert_int_eq(ammap_free(maps[p]), 0);
}

int main(void)
{
        return run_tests("atomic", test_case);
}
