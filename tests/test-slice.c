/* test-slice.c - lib/slice.c: guarded slices, and who waits for whom
 *
 * SPDX-License-Identifier: MIT
 *
 * Bounds of all six calls at every edge of 64 bits.  Who gets in beside whom:
 * each call that takes the lock against each kind of slice, of another thread
 * (waits, BUSY, TIMEOUT) and of one's own (DEADLOCK, at once), over lanes and
 * over several maps.  Reading again while a writer waits.  Release twice, by
 * another thread, by the end of a scope, by the end of a thread; the dead owner
 * and ammap_recover.  Signals and cancellation in the middle of a wait.
 */
#include "support.h"

/* Long enough to be told from "at once" on any machine. */
#define LONG (1000 * SECOND)

static const uint64_t lane_counts[] = { 1, 2, 3, 7 };

static bool conflict(bool held_writes, enum op op)
{
        return held_writes || op_writes(op);
}

/* --- Ranges ------------------------------------------------------------------ */

static int take(int kind, ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice)
{
        if (kind == 0)
                return ammap_as_slice(map, offset, length, slice);
        if (kind == 1)
                return ammap_try_as_slice(map, offset, length, slice);
        return ammap_timed_as_slice(map, offset, length, kind == 2 ? 0 : -1, slice);
}

static int take_mut(int kind, ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *slice)
{
        if (kind == 0)
                return ammap_as_mut_slice(map, offset, length, slice);
        if (kind == 1)
                return ammap_try_as_mut_slice(map, offset, length, slice);
        return ammap_timed_as_mut_slice(map, offset, length, kind == 2 ? 0 : -1, slice);
}

enum { KINDS = 4 };

static void check_range(ammap_t *map, uint64_t offset, uint64_t length)
{
        const unsigned char *bytes = ammap_as_ptr(map);
        int want = range_is_inside(ammap_len(map), offset, length) ? 0 : AMMAP_ERR_BOUNDS;

        for (int kind = 0; kind < KINDS; kind++) {
                ammap_slice_t slice;
                ammap_mut_slice_t mut;

                memset(&slice, 0xff, sizeof(slice));
                ck_assert_int_eq(take(kind, map, offset, length, &slice), want);
                if (want == 0) {
                        ck_assert_ptr_eq(slice.data, bytes + offset);
                        ck_assert_uint_eq(slice.length, length);
                        ammap_slice_release(&slice);
                }
                ck_assert(slice_is_zero(&slice));

                memset(&mut, 0xff, sizeof(mut));
                ck_assert_int_eq(take_mut(kind, map, offset, length, &mut), want);
                if (want == 0) {
                        ck_assert_ptr_eq(mut.data, bytes + offset);
                        ck_assert_uint_eq(mut.length, length);
                        ammap_mut_slice_release(&mut);
                }
                ck_assert(slice_is_zero(&mut));
        }
}

DEFINE_TEST("slice", slices_are_bounded)
{
        size_t count;
        const uint64_t *lengths = map_lengths(&count);

        for (size_t i = 0; i < count; i++)
                for (size_t k = 0; k < COUNT_OF(lane_counts) && lane_counts[k] <= lengths[i]; k++) {
                        ammap_t *map = new_pattern_map(lengths[i], lane_counts[k]);
                        uint64_t edges[EDGES_MAX];
                        size_t edge_count = edges_of(lengths[i], edges);

                        for (size_t o = 0; o < edge_count; o++)
                                for (size_t n = 0; n < edge_count; n++)
                                        check_range(map, edges[o], edges[n]);
                        ck_assert(is_pattern(map));
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

DEFINE_TEST("slice", slices_refuse_bad_input)
{
        static const struct {
                uint64_t offset, length;
        } ranges[] = { { 0, 0 }, { 0, 1 }, { 100, 0 }, { 101, 0 }, { UINT64_MAX, UINT64_MAX } };
        ammap_t *map = new_pattern_map(100, 2);

        for (size_t i = 0; i < COUNT_OF(ranges); i++)
                for (int kind = 0; kind < KINDS; kind++) {
                        ammap_slice_t slice;
                        ammap_mut_slice_t mut;

                        memset(&slice, 0xff, sizeof(slice));
                        memset(&mut, 0xff, sizeof(mut));
                        ck_assert_int_eq(take(kind, NULL, ranges[i].offset, ranges[i].length, &slice),
                                         AMMAP_ERR_INVALID);
                        ck_assert(slice_is_zero(&slice));
                        ck_assert_int_eq(take_mut(kind, NULL, ranges[i].offset, ranges[i].length, &mut),
                                         AMMAP_ERR_INVALID);
                        ck_assert(slice_is_zero(&mut));
                        ck_assert_int_eq(take(kind, map, ranges[i].offset, ranges[i].length, NULL), AMMAP_ERR_INVALID);
                        ck_assert_int_eq(take_mut(kind, map, ranges[i].offset, ranges[i].length, NULL),
                                         AMMAP_ERR_INVALID);
                        ck_assert_int_eq(take(kind, NULL, ranges[i].offset, ranges[i].length, NULL), AMMAP_ERR_INVALID);
                        ck_assert_int_eq(take_mut(kind, NULL, ranges[i].offset, ranges[i].length, NULL),
                                         AMMAP_ERR_INVALID);
                }
        ammap_slice_release(NULL);
        ammap_mut_slice_release(NULL);
        ck_assert(is_pattern(map));
        /* None of the refused holds anything. */
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 100), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slice", a_mut_slice_is_the_memory)
{
        ammap_t *map = new_map(1000, 3);
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_mut_slice(map, 100, 800, &mut), 0);
        memset(mut.data, 0x42, mut.length);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1000, &slice), 0);
        ck_assert(is_all(slice.data, 0, 100));
        ck_assert(is_all(slice.data + 100, 0x42, 800));
        ck_assert(is_all(slice.data + 900, 0, 100));
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Others' slices ------------------------------------------------------------ */

enum { READERS = 6 };

struct meeting {
        ammap_t *map;
        pthread_barrier_t barrier;
};

static void *read_together(void *argument)
{
        struct meeting *meeting = argument;
        ammap_slice_t slice;

        thread_check_int(ammap_as_slice(meeting->map, 0, 1000, &slice), 0);
        /* Nobody leaves before all are in. */
        pthread_barrier_wait(&meeting->barrier);
        ammap_slice_release(&slice);
        return NULL;
}

DEFINE_TEST("slice", readers_share)
{
        struct meeting meeting;
        struct task tasks[READERS];

        meeting.map = new_map(1000, 3);
        ck_assert_int_eq(pthread_barrier_init(&meeting.barrier, NULL, READERS), 0);
        for (size_t i = 0; i < READERS; i++)
                task_start(&tasks[i], read_together, &meeting);
        for (size_t i = 0; i < READERS; i++)
                task_join(&tasks[i]);
        pthread_barrier_destroy(&meeting.barrier);
        ck_assert_int_eq(ammap_free(meeting.map), 0);
}

/* Every call against a slice of another thread: goes in beside it, or is BUSY,
 * times out after its time, or waits until the slice is gone. */
DEFINE_TEST("slice", every_call_against_anothers_slice)
{
        for (int held_writes = 0; held_writes < 2; held_writes++)
                for (enum op op = 0; op < OP_COUNT; op++) {
                        ammap_t *map = new_pattern_map(1000, 1);
                        struct call call = { op, map, 10, 500, 30 * MS, INT_MIN, 0 };
                        struct holder holder;
                        struct task task;

                        holder_start(&holder, map, 900, 1, held_writes);
                        if (!conflict(held_writes, op)) {
                                ck_assert_msg(op_run(op, map, 10, 500, 0) == 0, "%s", op_name(op));
                        } else if (op_tries(op)) {
                                ck_assert_int_eq(op_run(op, map, 10, 500, 0), AMMAP_ERR_BUSY);
                        } else if (op_is_timed(op)) {
                                ck_assert_int_eq(op_run(op, map, 10, 500, 0), AMMAP_ERR_TIMEOUT);
                                call_body(&call);
                                ck_assert_int_eq(call.result, AMMAP_ERR_TIMEOUT);
                                ck_assert_int_ge(call.took_ns, 30 * MS);
                        }
                        ck_assert(op_writes(op) && !conflict(held_writes, op) ? true : is_pattern(map));
                        if (conflict(held_writes, op) && !op_tries(op)) {
                                call.timeout_ns = -1;
                                task_start(&task, call_body, &call);
                                ck_assert_msg(task_sleeps(&task), "%s does not wait", op_name(op));
                                ck_assert(is_pattern(map));
                                holder_stop(&holder);
                                task_join(&task);
                                ck_assert_msg(call.result == 0, "%s: %s", op_name(op), ammap_errname(call.result));
                        } else {
                                holder_stop(&holder);
                        }
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1000, 0), 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* What the writer wrote before it let go is what the one who waited reads. */
DEFINE_TEST("slice", what_waits_for_a_writer_sees_its_writes)
{
        for (int round = 0; round < rounds(20); round++) {
                ammap_t *map = new_map(64, 1);
                ammap_mut_slice_t mut;
                struct holder reader;

                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 64, &mut), 0);
                memset(&reader, 0, sizeof(reader));
                reader.map = map;
                reader.length = 64;
                reader.writes = true;
                sem_init(&reader.taken, 0, 0);
                sem_init(&reader.finish, 0, 0);
                task_start(&reader.task, holder_body, &reader);
                ck_assert(task_sleeps(&reader.task));
                memset(mut.data, 0x31, 64);
                ammap_mut_slice_release(&mut);
                sem_wait_surely(&reader.taken);
                ck_assert_int_eq(reader.result, 0);
                ck_assert(is_all(reader.data, 0x31, 64));
                holder_stop(&reader);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Times at the edges of 64 bits wait for ever, or near enough. */
DEFINE_TEST("slice", endless_times_wait)
{
        const int64_t timeouts[] = { -1, INT64_MIN, INT64_MAX, INT64_MAX - 1, INT64_MAX / 2, LONG };

        for (size_t i = 0; i < COUNT_OF(timeouts); i++)
                for (enum op op = 0; op < OP_COUNT; op++) {
                        ammap_t *map;
                        struct call call = { op, NULL, 0, 64, timeouts[i], INT_MIN, 0 };
                        struct holder holder;
                        struct task task;

                        if (!op_is_timed(op))
                                continue;
                        call.map = map = new_map(64, 1);
                        holder_start(&holder, map, 0, 1, true);
                        task_start(&task, call_body, &call);
                        ck_assert(task_sleeps(&task));
                        holder_stop(&holder);
                        task_join(&task);
                        ck_assert_int_eq(call.result, 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* A writer that gave up leaves nothing behind that stops readers. */
DEFINE_TEST("slice", a_writer_that_timed_out_is_gone)
{
        ammap_t *map = new_map(64, 1);
        struct holder holder;
        ammap_mut_slice_t mut;

        holder_start(&holder, map, 0, 64, false);
        for (int i = 0; i < 5; i++) {
                ck_assert_int_eq(ammap_timed_as_mut_slice(map, 0, 64, 2 * MS, &mut), AMMAP_ERR_TIMEOUT);
                ck_assert(slice_is_zero(&mut));
                ck_assert_int_eq(ammap_try_as_mut_slice(map, 0, 64, &mut), AMMAP_ERR_BUSY);
                ck_assert(slice_is_zero(&mut));
                ck_assert_int_eq(op_run(OP_TRY_SLICE, map, 0, 64, 0), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 64), 0);
                ck_assert_int_eq(op_elsewhere(OP_SLICE, map, 0, 64), 0);
        }
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A reader that waits behind a waiting writer comes in when that one gives up. */
DEFINE_TEST("slice", a_writer_that_times_out_lets_those_behind_it_in)
{
        ammap_t *map = new_map(64, 1);
        struct holder holder;
        struct call writer = { OP_TIMED_MUT_SLICE, map, 0, 64, 100 * MS, INT_MIN, 0 };
        struct call reader = { OP_SLICE, map, 0, 64, -1, INT_MIN, 0 };
        struct task writing, reading;

        holder_start(&holder, map, 0, 64, false);
        task_start(&writing, call_body, &writer);
        task_sleeps(&writing);
        task_start(&reading, call_body, &reader);
        task_join(&writing);
        ck_assert_int_eq(writer.result, AMMAP_ERR_TIMEOUT);
        ck_assert_int_ge(writer.took_ns, 100 * MS);
        /* The holder still reads; only the watchdog ends a reader that sleeps on. */
        task_join(&reading);
        ck_assert_int_eq(reader.result, 0);
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- One's own slices ----------------------------------------------------------- */

/* One's own slice against every call: in beside it, or DEADLOCK at once. */
DEFINE_TEST("slice", every_call_against_ones_own_slice)
{
        for (int held_writes = 0; held_writes < 2; held_writes++)
                for (enum op op = 0; op < OP_COUNT; op++) {
                        ammap_t *map = new_pattern_map(1000, 1);
                        struct call call = { op, map, 10, 500, LONG, INT_MIN, 0 };
                        ammap_slice_t slice = { 0 };
                        ammap_mut_slice_t mut = { 0 };
                        int want = conflict(held_writes, op) ? AMMAP_ERR_DEADLOCK : 0;

                        if (held_writes)
                                ck_assert_int_eq(ammap_as_mut_slice(map, 999, 1, &mut), 0);
                        else
                                ck_assert_int_eq(ammap_as_slice(map, 999, 1, &slice), 0);
                        for (int again = 0; again < 3; again++) {
                                call_body(&call);
                                ck_assert_msg(call.result == want, "%s under a %s slice: %s", op_name(op),
                                              held_writes ? "mut" : "read", ammap_errname(call.result));
                        }
                        call.timeout_ns = 0;
                        call_body(&call);
                        ck_assert_int_eq(call.result, want);
                        ck_assert(is_pattern(map));
                        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                        /* The refusals have let nothing go. */
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                        ammap_slice_release(&slice);
                        ammap_mut_slice_release(&mut);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1000), 0);
                        ck_assert_int_eq(op_run(op, map, 10, 500, 0), 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* Where both others and oneself stand in the way, it is oneself that counts. */
DEFINE_TEST("slice", a_deadlock_comes_before_busy)
{
        ammap_t *map = new_pattern_map(1000, 1);
        struct holder holder;
        ammap_slice_t slice;

        holder_start(&holder, map, 0, 1000, false);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        for (enum op op = OP_UPDATE; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 0, 100, LONG), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 100, 0), AMMAP_ERR_BUSY);
        holder_stop(&holder);
        ck_assert(is_pattern(map));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Others stand in the way of one lane and oneself of another: it is found before
 * anything is waited for, whichever comes first. */
DEFINE_LOOP_TEST("slice", a_deadlock_is_found_in_every_lane, 0, 4)
{
        enum { LANES = 4, LANE = 100 };
        bool held_writes = _i & 1, other_writes = _i & 2;
        ammap_t *map = new_pattern_map(LANES * LANE, LANES), *copy;

        for (uint64_t own = 0; own < LANES; own++)
                for (uint64_t others = 0; others < LANES; others++) {
                        ammap_slice_t slice = { 0 };
                        ammap_mut_slice_t mut = { 0 };
                        struct holder holder;

                        if (own == others)
                                continue;
                        holder_start(&holder, map, others * LANE, 1, other_writes);
                        if (held_writes)
                                ck_assert_int_eq(ammap_as_mut_slice(map, own * LANE, 1, &mut), 0);
                        else
                                ck_assert_int_eq(ammap_as_slice(map, own * LANE, 1, &slice), 0);
                        for (enum op op = 0; op < OP_COUNT; op++) {
                                int64_t timeout = op_is_timed(op) ? LONG : 0;

                                if (!conflict(held_writes, op))
                                        continue;
                                ck_assert_msg(op_run(op, map, 0, LANES * LANE, timeout) == AMMAP_ERR_DEADLOCK,
                                              "%s, mine is %u, theirs %u", op_name(op), (unsigned)own,
                                              (unsigned)others);
                        }
                        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
                        ck_assert_int_eq(ammap_discard(map, 0, LANES * LANE), AMMAP_ERR_DEADLOCK);
                        if (held_writes)
                                ck_assert_int_eq(ammap_clone(map, &copy), AMMAP_ERR_DEADLOCK);
                        /* Nothing was left taken. */
                        ammap_slice_release(&slice);
                        ammap_mut_slice_release(&mut);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, own * LANE, LANE), 0);
                        holder_stop(&holder);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, LANES * LANE), 0);
                }
        ck_assert(is_pattern(map));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Copies of nothing touch no lock, whoever holds it. */
DEFINE_TEST("slice", copies_of_nothing_need_no_lock)
{
        ammap_t *map = new_pattern_map(1000, 2);
        ammap_mut_slice_t mut;
        struct holder holder;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1000, &mut), 0);
        ck_assert_int_eq(ammap_read_into(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_update_region(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_fill(map, 10, 0, 1), 0);
        ck_assert_int_eq(ammap_copy(map, 10, map, 20, 0), 0);
        ck_assert_int_eq(ammap_try_read_into(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_timed_read_into(map, 10, NULL, 0, 0), 0);
        ck_assert_int_eq(ammap_try_update_region(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_timed_update_region(map, 10, NULL, 0, 0), 0);
        ck_assert_int_eq(ammap_fill(map, 1001, 0, 1), AMMAP_ERR_BOUNDS);
        ammap_mut_slice_release(&mut);
        holder_start(&holder, map, 0, 1000, true);
        ck_assert_int_eq(ammap_read_into(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_update_region(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_fill(map, 10, 0, 1), 0);
        ck_assert_int_eq(ammap_copy(map, 10, map, 20, 0), 0);
        ck_assert_int_eq(ammap_try_read_into(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_timed_read_into(map, 1000, NULL, 0, 0), 0);
        ck_assert_int_eq(ammap_timed_read_into(map, 10, (char[1]){ 0 }, 0, 0), 0);
        ck_assert_int_eq(ammap_try_update_region(map, 10, NULL, 0), 0);
        ck_assert_int_eq(ammap_timed_update_region(map, 1000, NULL, 0, 0), 0);
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Slices of nothing hold their lane all the same. */
DEFINE_TEST("slice", slices_of_nothing_hold_their_lane)
{
        static const struct {
                uint64_t offset, lane;
        } cases[] = { { 0, 0 }, { 1, 0 }, { 2, 1 }, { 5, 2 }, { 7, 3 }, { 8, 3 } };
        ammap_t *map = new_map(8, 4);

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                ammap_slice_t slice;
                ammap_mut_slice_t mut;

                ck_assert_int_eq(ammap_as_slice(map, cases[i].offset, 0, &slice), 0);
                ck_assert_ptr_nonnull(slice.data);
                for (uint64_t lane = 0; lane < 4; lane++) {
                        bool same = lane == cases[i].lane;

                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, lane * 2, 2), same ? AMMAP_ERR_BUSY : 0);
                        ck_assert_int_eq(op_run(OP_UPDATE, map, lane * 2, 2, 0), same ? AMMAP_ERR_DEADLOCK : 0);
                }
                ammap_slice_release(&slice);
                ck_assert_int_eq(ammap_as_mut_slice(map, cases[i].offset, 0, &mut), 0);
                ck_assert_ptr_nonnull(mut.data);
                for (uint64_t lane = 0; lane < 4; lane++)
                        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, lane * 2, 2),
                                         lane == cases[i].lane ? AMMAP_ERR_BUSY : 0);
                ammap_mut_slice_release(&mut);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Each call over each range of lanes, against a slice of each lane of three. */
static void check_lanes(bool own, bool held_writes)
{
        const uint64_t size = 1000, part = 334; /* 334 + 334 + 332 */
        ammap_t *map = new_pattern_map(size, 3);

        for (uint64_t lane = 0; lane < 3; lane++) {
                ammap_slice_t slice = { 0 };
                ammap_mut_slice_t mut = { 0 };
                struct holder holder;
                uint64_t at = lane == 2 ? size - 1 : lane * part + (lane ? 0 : part - 1);

                if (!own)
                        holder_start(&holder, map, at, 1, held_writes);
                else if (held_writes)
                        ck_assert_int_eq(ammap_as_mut_slice(map, at, 1, &mut), 0);
                else
                        ck_assert_int_eq(ammap_as_slice(map, at, 1, &slice), 0);
                for (uint64_t first = 0; first < 3; first++)
                        for (uint64_t last = first; last < 3; last++)
                                for (enum op op = 0; op < OP_COUNT; op++) {
                                        uint64_t start = first * part;
                                        uint64_t end = last == 2 ? size : (last + 1) * part;
                                        bool touched = first <= lane && lane <= last;
                                        int want = 0, result;

                                        if (touched && conflict(held_writes, op)) {
                                                if (!own && !op_tries(op) && !op_is_timed(op))
                                                        continue;
                                                want = own               ? AMMAP_ERR_DEADLOCK
                                                       : op_is_timed(op) ? AMMAP_ERR_TIMEOUT
                                                                         : AMMAP_ERR_BUSY;
                                        }
                                        result = op_run(op, map, start, end - start, 0);
                                        ck_assert_msg(result == want, "%s of lanes %d to %d with lane %d held: %s",
                                                      op_name(op), (int)first, (int)last, (int)lane,
                                                      ammap_errname(result));
                                }
                if (!own)
                        holder_stop(&holder);
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
        }
        /* A refusal at a later lane has let the earlier ones go. */
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, size), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slice", lanes_are_locked_apart)
{
        for (int own = 0; own < 2; own++)
                for (int writes = 0; writes < 2; writes++)
                        check_lanes(own, writes);
}

/* 1000 bytes in 7 lanes of 143 (the last has 142): the last byte of a lane and
 * the first of the next one are locked apart, two bytes across are both. */
DEFINE_TEST("slice", lanes_end_where_they_should)
{
        ammap_t *map = new_map(1000, 7);
        ammap_mut_slice_t mut, other;

        for (uint64_t border = 143; border < 1000; border += 143) {
                ck_assert_int_eq(ammap_as_mut_slice(map, border - 1, 1, &mut), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, border, 1), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, border - 143, 1), AMMAP_ERR_BUSY);
                ck_assert_int_eq(ammap_as_mut_slice(map, border, 1, &other), 0);
                ammap_mut_slice_release(&mut);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, border - 1, 1), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, border - 1, 2), AMMAP_ERR_BUSY);
                ammap_mut_slice_release(&other);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The last lane of several that a waiter wants is let go last. */
DEFINE_TEST("slice", a_range_waits_for_each_of_its_lanes)
{
        ammap_t *map = new_pattern_map(900, 3);
        struct call call = { OP_UPDATE, map, 0, 900, -1, INT_MIN, 0 };
        struct holder holders[3];
        struct task task;

        for (size_t i = 0; i < 3; i++)
                holder_start(&holders[i], map, i * 300, 300, i % 2);
        task_start(&task, call_body, &call);
        for (size_t i = 0; i < 3; i++) {
                ck_assert(task_sleeps(&task));
                ck_assert(is_pattern(map));
                holder_stop(&holders[i]);
        }
        task_join(&task);
        ck_assert_int_eq(call.result, 0);
        ck_assert(is_all(ammap_as_ptr(map), OP_BYTE, 900));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slice", deadlocks_over_several_maps_and_slices)
{
        enum { MAPS = 3 };
        ammap_t *maps[MAPS];
        ammap_slice_t slices[MAPS];
        ammap_mut_slice_t mut;
        ammap_t *free_map = new_pattern_map(600, 1);

        for (size_t i = 0; i < MAPS; i++) {
                maps[i] = new_pattern_map(600, i + 1);
                ck_assert_int_eq(ammap_as_slice(maps[i], 599, 1, &slices[i]), 0);
        }
        for (size_t i = 0; i < MAPS; i++) {
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, maps[i], 500, 100, LONG), op_writes(op) ? AMMAP_ERR_DEADLOCK : 0);
                /* To read from one that is read is fine, to write is not. */
                ck_assert_int_eq(ammap_copy(free_map, 0, maps[i], 0, 600), 0);
                ck_assert_int_eq(ammap_copy(maps[i], 0, free_map, 0, 600), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_copy(maps[i], 0, maps[(i + 1) % MAPS], 0, 600), AMMAP_ERR_DEADLOCK);
        }
        /* One's own mut slice beside them, on another map. */
        ck_assert_int_eq(ammap_as_mut_slice(free_map, 0, 600, &mut), 0);
        for (size_t i = 0; i < MAPS; i++) {
                ck_assert_int_eq(ammap_copy(free_map, 0, maps[i], 0, 600), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_copy(maps[i], 0, free_map, 0, 600), AMMAP_ERR_DEADLOCK);
        }
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, free_map, 0, 600, LONG), AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);
        for (size_t i = 0; i < MAPS; i++) {
                ck_assert(is_pattern(maps[i]));
                ammap_slice_release(&slices[i]);
                ck_assert_int_eq(op_run(OP_UPDATE, maps[i], 0, 600, 0), 0);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
        ck_assert(is_pattern(free_map));
        ck_assert_int_eq(ammap_free(free_map), 0);
}

/* Copies that meet one's own slice on one lane of several. */
DEFINE_TEST("slice", copies_over_lanes_meet_ones_own_slices)
{
        ammap_t *map = new_pattern_map(600, 3);
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_slice(map, 200, 1, &slice), 0);
        ck_assert_int_eq(ammap_copy(map, 200, map, 0, 200), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_copy(map, 100, map, 400, 101), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_fill(map, 0, 201, 1), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_fill(map, 399, 201, 1), AMMAP_ERR_DEADLOCK);
        ck_assert(is_pattern(map));
        /* It may be read from, into the lanes beside it. */
        ck_assert_int_eq(ammap_copy(map, 0, map, 200, 200), 0);
        ck_assert_int_eq(memcmp(ammap_as_ptr(map), slice.data, 200), 0);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_as_mut_slice(map, 200, 1, &mut), 0);
        ck_assert_int_eq(ammap_copy(map, 0, map, 200, 200), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_copy(map, 200, map, 0, 200), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_copy(map, 0, map, 400, 200), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 200, 1), 0);
        ck_assert_int_eq(ammap_fill(map, 400, 200, 1), 0);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A lane read twice is free when both are gone, in either order. */
DEFINE_TEST("slice", slices_are_counted)
{
        for (int order = 0; order < 2; order++) {
                ammap_t *map = new_map(600, 3);
                ammap_slice_t first, second;

                ck_assert_int_eq(ammap_as_slice(map, 0, 400, &first), 0);
                ck_assert_int_eq(ammap_as_slice(map, 200, 400, &second), 0);
                ammap_slice_release(order ? &first : &second);
                ck_assert_int_eq(op_run(OP_UPDATE, map, 200, 200, 0), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 200, 200), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_run(OP_UPDATE, map, order ? 0 : 400, 200, 0), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, order ? 0 : 400, 200), 0);
                ammap_slice_release(order ? &second : &first);
                ck_assert_int_eq(op_run(OP_UPDATE, map, 0, 600, 0), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("slice", many_slices_may_live)
{
        enum { SLICES = 4000 };
        const int count = under_valgrind() ? 500 : SLICES;
        ammap_t *map = new_map(4096, 7);
        ammap_slice_t *slices = calloc((size_t)count, sizeof(*slices));

        ck_assert_ptr_nonnull(slices);
        for (int i = 0; i < count; i++)
                ck_assert_int_eq(ammap_as_slice(map, (uint64_t)i % 4096, (uint64_t)i % 4096 ? 1 : 4096, &slices[i]), 0);
        ck_assert_int_eq(op_run(OP_UPDATE, map, 0, 4096, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 4000, 1), AMMAP_ERR_BUSY);
        /* 7919 is prime and divides neither count: each once. */
        for (int i = 0; i < count; i++) {
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                ammap_slice_release(&slices[i * 7919L % count]);
        }
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 4096), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        free(slices);
}

/* --- Reading again while a writer waits -------------------------------------------- */

DEFINE_TEST("slice", a_reader_reads_on_while_a_writer_waits)
{
        for (enum op writer_op = OP_UPDATE; writer_op < OP_COUNT; writer_op++) {
                ammap_t *map = new_pattern_map(1000, 2);
                struct call writer = { writer_op, map, 0, 1000, -1, INT_MIN, 0 };
                ammap_slice_t slice, inner[4];
                struct task task;

                if (op_tries(writer_op))
                        continue;
                ck_assert_int_eq(ammap_as_slice(map, 0, 1000, &slice), 0);
                task_start(&task, call_body, &writer);
                ck_assert(task_sleeps(&task));
                for (enum op op = 0; op < OP_UPDATE; op++) {
                        int result = op_run(op, map, 100, 800, LONG);

                        ck_assert_msg(result == 0, "%s: %s", op_name(op), ammap_errname(result));
                }
                for (int i = 0; i < 4; i++)
                        ck_assert_int_eq(take(i, map, (uint64_t)i * 200, 200, &inner[i]), 0);
                for (enum op op = OP_UPDATE; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, map, 100, 800, LONG), AMMAP_ERR_DEADLOCK);
                ck_assert(is_pattern(map));
                ammap_slice_release(&slice);
                /* Still kept out, by the inner ones. */
                ck_assert(task_sleeps(&task));
                ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1000, 0), 0);
                for (int i = 0; i < 4; i++)
                        ammap_slice_release(&inner[i]);
                task_join(&task);
                ck_assert_int_eq(writer.result, 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

struct rereader {
        ammap_t *map;
        sem_t in;
        sem_t again;
        sem_t out;
};

static void *read_and_read_again(void *argument)
{
        struct rereader *reader = argument;
        ammap_slice_t slice, inner;

        thread_check_int(ammap_as_slice(reader->map, 0, 100, &slice), 0);
        sem_post(&reader->in);
        sem_wait_surely(&reader->again);
        thread_check_int(ammap_as_slice(reader->map, 50, 100, &inner), 0);
        thread_check_int(op_run(OP_READ_INTO, reader->map, 0, 200, 0), 0);
        sem_post(&reader->out);
        ammap_slice_release(&slice);
        ammap_slice_release(&inner);
        return NULL;
}

/* Three readers inside, a writer waiting, and all three read again. */
DEFINE_TEST("slice", several_readers_read_on_while_a_writer_waits)
{
        struct rereader readers[3];
        struct task tasks[3], writing;
        ammap_t *map = new_map(200, 1);
        struct call writer = { OP_MUT_SLICE, map, 0, 200, -1, INT_MIN, 0 };

        for (size_t i = 0; i < 3; i++) {
                readers[i].map = map;
                sem_init(&readers[i].in, 0, 0);
                sem_init(&readers[i].again, 0, 0);
                sem_init(&readers[i].out, 0, 0);
                task_start(&tasks[i], read_and_read_again, &readers[i]);
                sem_wait_surely(&readers[i].in);
        }
        task_start(&writing, call_body, &writer);
        ck_assert(task_sleeps(&writing));
        for (size_t i = 0; i < 3; i++) {
                sem_post(&readers[i].again);
                sem_wait_surely(&readers[i].out);
        }
        for (size_t i = 0; i < 3; i++)
                task_join(&tasks[i]);
        task_join(&writing);
        ck_assert_int_eq(writer.result, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A writer waits for lane 0 and must not keep lane 1 from those who read it. */
DEFINE_TEST("slice", a_writer_of_another_lane_does_not_matter)
{
        ammap_t *map = new_map(200, 2);
        struct call writer = { OP_MUT_SLICE, map, 0, 100, -1, INT_MIN, 0 };
        struct holder holder;
        struct task task;

        holder_start(&holder, map, 0, 100, false);
        task_start(&task, call_body, &writer);
        ck_assert(task_sleeps(&task));
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 100, 100, 0), 0);
        holder_stop(&holder);
        task_join(&task);
        ck_assert_int_eq(writer.result, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Release ------------------------------------------------------------------------ */

static void *release_slice(void *argument)
{
        thread_check_int(ammap_slice_release(argument), AMMAP_ERR_INVALID);
        return NULL;
}

static void *release_mut_slice(void *argument)
{
        thread_check_int(ammap_mut_slice_release(argument), AMMAP_ERR_INVALID);
        return NULL;
}

DEFINE_TEST("slice", another_thread_releases_nothing)
{
        ammap_t *map = new_pattern_map(100, 1);
        ammap_slice_t slice, slice_copy;
        ammap_mut_slice_t mut, mut_copy;
        struct task task;

        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &slice), 0);
        slice_copy = slice;
        task_start(&task, release_slice, &slice);
        task_join(&task);
        ck_assert_ptr_eq(slice.data, slice_copy.data);
        ck_assert_uint_eq(slice.length, slice_copy.length);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        ck_assert(slice_is_zero(&slice));
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
        mut_copy = mut;
        task_start(&task, release_mut_slice, &mut);
        task_join(&task);
        ck_assert_ptr_eq(mut.data, mut_copy.data);
        ck_assert_uint_eq(mut.length, mut_copy.length);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slice", released_twice_is_released_once)
{
        ammap_t *map = new_map(100, 1);
        ammap_slice_t first, second;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &first), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &second), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(ammap_slice_release(&first), 0);
                ck_assert(slice_is_zero(&first));
        }
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&second);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(ammap_mut_slice_release(&mut), 0);
                ck_assert(slice_is_zero(&mut));
        }
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slice", a_slice_may_move)
{
        ammap_t *map = new_map(100, 1);
        ammap_slice_t slice, *heap = malloc(sizeof(*heap));
        ammap_mut_slice_t mut, mut_moved;

        ck_assert_ptr_nonnull(heap);
        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &slice), 0);
        memcpy(heap, &slice, sizeof(slice));
        memset(&slice, 0xff, sizeof(slice));
        ammap_slice_release(heap);
        free(heap);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
        mut_moved = mut;
        memset(&mut, 0xff, sizeof(mut));
        ammap_mut_slice_release(&mut_moved);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static int leave_early(ammap_t *map, bool early)
{
        AMMAP_AUTO_SLICE ammap_slice_t slice = { 0 };
        AMMAP_AUTO_SLICE ammap_slice_t never_taken = { 0 };
        int result = ammap_as_slice(map, 0, 50, &slice);

        if (result < 0 || early || never_taken.data)
                return result;
        return ammap_free(map);
}

static int leave_early_mut(ammap_t *map, bool early)
{
        AMMAP_AUTO_MUT_SLICE ammap_mut_slice_t mut = { 0 };
        int result = ammap_as_mut_slice(map, 0, 50, &mut);

        if (result < 0 || early)
                return result;
        return ammap_free(map);
}

DEFINE_TEST("slice", the_end_of_the_scope_releases)
{
        ammap_t *map = new_map(100, 1);

        ck_assert_int_eq(leave_early(map, true), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(leave_early(map, false), AMMAP_ERR_BUSY);
        ck_assert_int_eq(leave_early_mut(map, true), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(leave_early_mut(map, false), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Threads that end --------------------------------------------------------------- */

DEFINE_TEST("slice", a_reader_that_ends_is_forgotten)
{
        ammap_t *map = new_pattern_map(600, 3);
        struct holder holder;

        for (int round = 0; round < 3; round++) {
                holder_start(&holder, map, 100, 400, false);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 600, 0), AMMAP_ERR_BUSY);
                holder_vanish(&holder);
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, map, 0, 600, 0), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The lanes of the dead writer, and no others, say so until ammap_recover. */
DEFINE_TEST("slice", a_writer_that_ends_leaves_a_dead_owner)
{
        ammap_t *map = new_pattern_map(600, 3);
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        struct holder holder;

        for (int round = 0; round < 3; round++) {
                holder_start(&holder, map, 200, 200, true);
                memset(holder.data, 0x99, 100);
                holder_vanish(&holder);
                for (enum op op = 0; op < OP_COUNT; op++) {
                        ck_assert_int_eq(op_run(op, map, 200, 200, LONG), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(op_run(op, map, 399, 1, LONG), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(op_elsewhere(op, map, 0, 600), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(op_elsewhere(op, map, 199, 2), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(op_run(op, map, 0, 200, 0), 0);
                        ck_assert_int_eq(op_elsewhere(op, map, 400, 200), 0);
                }
                ck_assert_int_eq(ammap_as_slice(map, 0, 600, &slice), AMMAP_ERR_OWNER_DEAD);
                ck_assert(slice_is_zero(&slice));
                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 600, &mut), AMMAP_ERR_OWNER_DEAD);
                ck_assert(slice_is_zero(&mut));
                /* What is wrong with the call itself comes first. */
                ck_assert_int_eq(ammap_read_into(map, 300, NULL, 1), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_fill(map, 300, 301, 0), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_recover(map), 0);
                /* The bytes are as the dead left them. */
                ck_assert_int_eq(ammap_as_slice(map, 0, 600, &slice), 0);
                ck_assert(is_all(slice.data + 200, 0x99, 100));
                for (uint64_t i = 300; i < 400; i++)
                        ck_assert_uint_eq(slice.data[i], round ? OP_BYTE : pattern_byte(i));
                ammap_slice_release(&slice);
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_elsewhere(op, map, 0, 600), 0);
        }
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Whoever waits for a writer that ends is told, not left. */
DEFINE_TEST("slice", those_who_wait_for_a_writer_that_ends_are_told)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                ammap_t *map = new_pattern_map(100, 1);
                struct call calls[3];
                struct task tasks[3];
                struct holder holder;

                if (op_tries(op))
                        continue;
                holder_start(&holder, map, 0, 100, true);
                for (size_t i = 0; i < 3; i++) {
                        calls[i] = (struct call){ op, map, 0, 100, i ? -1 : LONG, INT_MIN, 0 };
                        task_start(&tasks[i], call_body, &calls[i]);
                        ck_assert(task_sleeps(&tasks[i]));
                }
                holder_vanish(&holder);
                for (size_t i = 0; i < 3; i++) {
                        task_join(&tasks[i]);
                        ck_assert_msg(calls[i].result == AMMAP_ERR_OWNER_DEAD, "%s: %s", op_name(op),
                                      ammap_errname(calls[i].result));
                }
                ck_assert(is_pattern(map));
                ck_assert_int_eq(ammap_recover(map), 0);
                ck_assert_int_eq(op_run(op, map, 0, 100, 0), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Whoever waits for a reader that ends gets in. */
DEFINE_TEST("slice", those_who_wait_for_a_reader_that_ends_get_in)
{
        for (enum op op = OP_UPDATE; op < OP_COUNT; op++) {
                ammap_t *map = new_pattern_map(100, 1);
                struct call call = { op, map, 0, 100, -1, INT_MIN, 0 };
                struct holder holder;
                struct task task;

                if (op_tries(op))
                        continue;
                holder_start(&holder, map, 0, 100, false);
                task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                holder_vanish(&holder);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

struct leaver {
        ammap_t *maps[3];
};

static void *leave_with_many(void *argument)
{
        struct leaver *leaver = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        for (uint64_t i = 0; i < 50; i++)
                thread_check_int(ammap_as_slice(leaver->maps[i % 2], i, 10, &slice), 0);
        thread_check_int(ammap_as_mut_slice(leaver->maps[2], 0, 10, &mut), 0);
        thread_check_int(ammap_as_slice(leaver->maps[2], 299, 1, &slice), 0);
        return NULL;
}

DEFINE_TEST("slice", a_thread_ends_with_many_slices_of_many_maps)
{
        struct leaver leaver;
        struct task task;

        for (size_t i = 0; i < 3; i++)
                leaver.maps[i] = new_map(300, 3);
        task_start(&task, leave_with_many, &leaver);
        task_join(&task);
        ck_assert_int_eq(op_run(OP_UPDATE, leaver.maps[0], 0, 300, 0), 0);
        ck_assert_int_eq(op_run(OP_UPDATE, leaver.maps[1], 0, 300, 0), 0);
        ck_assert_int_eq(op_run(OP_UPDATE, leaver.maps[2], 0, 100, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_run(OP_UPDATE, leaver.maps[2], 100, 200, 0), 0);
        for (size_t i = 0; i < 3; i++)
                ck_assert_int_eq(ammap_free(leaver.maps[i]), 0);
}

/* --- Signals and cancellation --------------------------------------------------------- */

static void ignore_signal(int signal_number)
{
        (void)signal_number;
}

/* Without SA_RESTART: the system says EINTR each time. */
DEFINE_TEST("slice", signals_do_not_end_a_wait)
{
        struct sigaction action, before;

        memset(&action, 0, sizeof(action));
        action.sa_handler = ignore_signal;
        ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
        for (enum op op = 0; op < OP_COUNT; op++) {
                ammap_t *map = new_pattern_map(100, 1);
                struct call call = { op, map, 0, 100, 60 * MS, INT_MIN, 0 };
                struct holder holder;
                struct task task;

                if (op_tries(op))
                        continue;
                holder_start(&holder, map, 0, 100, true);
                task_start(&task, call_body, &call);
                if (op_is_timed(op)) {
                        while (!atomic_load(&task.done)) {
                                pthread_kill(task.thread, SIGUSR1);
                                sched_yield();
                        }
                        holder_stop(&holder);
                        task_join(&task);
                        ck_assert_int_eq(call.result, AMMAP_ERR_TIMEOUT);
                        ck_assert_int_ge(call.took_ns, 60 * MS);
                } else {
                        ck_assert(task_sleeps(&task));
                        for (int i = 0; i < 300; i++) {
                                pthread_kill(task.thread, SIGUSR1);
                                sched_yield();
                        }
                        ck_assert(task_sleeps(&task));
                        ck_assert(is_pattern(map));
                        holder_stop(&holder);
                        task_join(&task);
                        ck_assert_int_eq(call.result, 0);
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
        ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
}

static void *be_cancelled(void *argument)
{
        call_body(argument);
        pthread_testcancel();
        return NULL;
}

/* A cancelled thread gets what it waits for, and is cancelled afterwards. */
DEFINE_TEST("slice", no_call_is_a_cancellation_point)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                ammap_t *map = new_map(100, 1);
                struct call call = { op, map, 0, 100, -1, INT_MIN, 0 };
                struct holder holder;
                struct task task;
                void *result;

                if (op_tries(op))
                        continue;
                holder_start(&holder, map, 0, 100, true);
                task_start(&task, be_cancelled, &call);
                ck_assert(task_sleeps(&task));
                ck_assert_int_eq(pthread_cancel(task.thread), 0);
                holder_stop(&holder);
                ck_assert_int_eq(pthread_join(task.thread, &result), 0);
                ck_assert(result == PTHREAD_CANCELED);
                ck_assert_msg(call.result == 0, "%s: %s", op_name(op), ammap_errname(call.result));
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 100, 0), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

int main(void)
{
        return run_tests("slice", test_case);
}
