/* stress-lock.c - the lock under load, by facts that are counted
 *
 * SPDX-License-Identifier: MIT
 *
 *      stress-lock [TIMES]
 *
 * A test goes on until each thread has done its rounds, TIMES as many as usual,
 * however slow the machine is; the others go on until the last one has.  Torn
 * reads are counted, and there must be none.  Additions under a mut slice add up.
 * Who wants the lock under a continuous stream of the other kind gets it, time and
 * again; the longest that it took is printed.  After each test the lock is as free
 * as it was in the beginning.
 */
#include "support.h"

enum { THREADS = 8 };

static double times = 1;

/* As many rounds as a thread of a test is to do. */
static long rounds_of(int count)
{
        double wanted = times * rounds(count);

        return wanted < 1 ? 1 : (long)wanted;
}

struct load {
        ammap_t *map;
        uint64_t lanes;
        size_t block;
        long rounds;         /* of each thread */
        bool single;         /* whose rounds they are: a thread of the stream does one, at least */
        _Atomic long behind; /* so many threads have not done theirs */
        _Atomic long torn;
        _Atomic long reads;
        _Atomic long writes;
        _Atomic long wrong; /* a result that may not be */
        _Atomic int64_t longest_read;
        _Atomic int64_t longest_write;
        _Atomic uint32_t next; /* numbers the threads */
};

static void load_open(struct load *load, uint64_t size, uint64_t lanes, size_t block)
{
        memset(load, 0, sizeof(*load));
        load->map = new_map(size, lanes);
        load->lanes = lanes;
        load->block = block;
}

static void load_close(struct load *load)
{
        ck_assert_int_eq(atomic_load(&load->torn), 0);
        ck_assert_int_eq(atomic_load(&load->wrong), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, load->map, 0, ammap_len(load->map), 0), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, load->map, 0, ammap_len(load->map)), 0);
        ck_assert_int_eq(ammap_free(load->map), 0);
}

/* Run so many threads of each body, until each has done its rounds. */
static void load_run(struct load *load, void *(*first)(void *), size_t first_count, void *(*second)(void *),
                     size_t second_count, long round_count)
{
        struct task tasks[2 * THREADS];
        size_t count = first_count + second_count;

        ck_assert_uint_le(count, COUNT_OF(tasks));
        load->rounds = round_count;
        atomic_store(&load->behind, (long)count);
        for (size_t i = 0; i < count; i++)
                task_start(&tasks[i], i < first_count ? first : second, load);
        for (size_t i = 0; i < count; i++)
                task_join(&tasks[i]);
}

static bool load_goes_on(struct load *load)
{
        return atomic_load(&load->behind) > 0;
}

/* One more round of a thread that has done so many. */
static void load_did(struct load *load, long *done)
{
        if (++*done == load->rounds)
                atomic_fetch_sub(&load->behind, 1);
}

static void note_longest(_Atomic int64_t *longest, int64_t took)
{
        int64_t before = atomic_load(longest);

        while (took > before && !atomic_compare_exchange_weak(longest, &before, took))
                ;
}

static bool is_uniform(const unsigned char *bytes, size_t length)
{
        return length < 2 || !memcmp(bytes, bytes + 1, length - 1);
}

/* --- Torn reads ------------------------------------------------------------------ */

static void *write_blocks(void *argument)
{
        struct load *load = argument;
        unsigned char *block = malloc(load->block);
        unsigned kind = atomic_fetch_add(&load->next, 1);
        unsigned char byte = 0;
        long done = 0;

        thread_check(block);
        while (block && load_goes_on(load)) {
                ammap_mut_slice_t mut = { 0 };
                int result = 0;

                byte = (unsigned char)(byte + 37);
                switch (kind++ % 4) {
                case 0:
                        result = ammap_fill(load->map, 0, load->block, byte);
                        break;
                case 1:
                        result = ammap_as_mut_slice(load->map, 0, load->block, &mut);
                        if (result == 0)
                                memset(mut.data, byte, load->block);
                        ammap_mut_slice_release(&mut);
                        break;
                default:
                        memset(block, byte, load->block);
                        result = ammap_update_region(load->map, 0, block, load->block);
                        break;
                }
                if (result < 0)
                        atomic_fetch_add(&load->wrong, 1);
                atomic_fetch_add(&load->writes, 1);
                load_did(load, &done);
        }
        free(block);
        return NULL;
}

static void *read_blocks(void *argument)
{
        struct load *load = argument;
        unsigned char *block = malloc(load->block);
        unsigned kind = atomic_fetch_add(&load->next, 1);
        long done = 0;

        thread_check(block);
        while (block && load_goes_on(load)) {
                ammap_slice_t slice = { 0 };
                bool torn;
                int result;

                if (kind++ % 4) {
                        result = ammap_read_into(load->map, 0, block, load->block);
                        torn = !is_uniform(block, load->block);
                } else {
                        result = ammap_as_slice(load->map, 0, load->block, &slice);
                        torn = result == 0 && !is_uniform(slice.data, load->block);
                        ammap_slice_release(&slice);
                }
                if (result < 0)
                        atomic_fetch_add(&load->wrong, 1);
                if (torn)
                        atomic_fetch_add(&load->torn, 1);
                atomic_fetch_add(&load->reads, 1);
                load_did(load, &done);
        }
        free(block);
        return NULL;
}

DEFINE_TEST("stress-lock", no_read_is_torn)
{
        static const size_t blocks[] = { 8, 24, 64, 250, 1024, 4096, 4097, 65536 + 8 };
        static const uint64_t lane_counts[] = { 1, 3 };

        for (size_t i = 0; i < COUNT_OF(blocks); i++)
                for (size_t k = 0; k < COUNT_OF(lane_counts); k++) {
                        struct load load;

                        load_open(&load, blocks[i], lane_counts[k], blocks[i]);
                        load_run(&load, write_blocks, 1 + i % 2, read_blocks, 3, rounds_of(8000));
                        load_close(&load);
                }
}

/* --- Exclusion ------------------------------------------------------------------- */

/* Plain additions, by every way of taking a mut slice. */
static void *add_plainly(void *argument)
{
        struct load *load = argument;
        unsigned kind = atomic_fetch_add(&load->next, 1);
        long done = 0;

        while (load_goes_on(load)) {
                ammap_mut_slice_t mut;
                uint64_t sum;
                int result;

                switch (kind++ % 4) {
                case 0:
                        result = ammap_try_as_mut_slice(load->map, 0, 8, &mut);
                        if (result == AMMAP_ERR_BUSY)
                                continue;
                        break;
                case 1:
                        result = ammap_timed_as_mut_slice(load->map, 0, 8, 20000, &mut);
                        if (result == AMMAP_ERR_TIMEOUT)
                                continue;
                        break;
                case 2:
                        result = ammap_timed_as_mut_slice(load->map, 0, ammap_len(load->map), -1, &mut);
                        break;
                default:
                        result = ammap_as_mut_slice(load->map, 0, 16, &mut);
                        break;
                }
                if (result < 0) {
                        atomic_fetch_add(&load->wrong, 1);
                        continue;
                }
                memcpy(&sum, mut.data, sizeof(sum));
                sum++;
                memcpy(mut.data, &sum, sizeof(sum));
                ammap_mut_slice_release(&mut);
                atomic_fetch_add(&load->writes, 1);
                load_did(load, &done);
        }
        return NULL;
}

static void *read_sum(void *argument)
{
        struct load *load = argument;
        uint64_t last = 0, sum;
        long done = 0;

        while (load_goes_on(load)) {
                AMMAP_AUTO_SLICE ammap_slice_t slice = { 0 };
                int result = ammap_timed_as_slice(load->map, 0, 8, 50000, &slice);

                if (result == AMMAP_ERR_TIMEOUT)
                        continue;
                if (result < 0) {
                        atomic_fetch_add(&load->wrong, 1);
                        continue;
                }
                memcpy(&sum, slice.data, sizeof(sum));
                /* It only grows, and not while the slice lives. */
                if (sum < last)
                        atomic_fetch_add(&load->torn, 1);
                last = sum;
                sched_yield();
                memcpy(&sum, slice.data, sizeof(sum));
                if (sum != last)
                        atomic_fetch_add(&load->torn, 1);
                atomic_fetch_add(&load->reads, 1);
                load_did(load, &done);
        }
        return NULL;
}

static void check_additions(size_t readers, uint64_t lanes)
{
        struct load load;
        uint64_t sum = 0;

        load_open(&load, 100, lanes, 0);
        load_run(&load, add_plainly, THREADS, read_sum, readers, rounds_of(readers > 0 ? 100 : 20000));
        ck_assert_int_eq(ammap_read_into(load.map, 0, &sum, sizeof(sum)), 0);
        ck_assert_uint_eq(sum, (uint64_t)atomic_load(&load.writes));
        ck_assert_uint_ge(sum, (uint64_t)(THREADS * load.rounds));
        load_close(&load);
}

DEFINE_TEST("stress-lock", additions_add_up)
{
        check_additions(0, 1);
        check_additions(0, 3);
}

DEFINE_TEST("stress-lock", additions_add_up_among_readers)
{
        check_additions(THREADS, 1);
        check_additions(THREADS / 2, 3);
}

/* --- Starvation -------------------------------------------------------------------- */

static void spin(int64_t time)
{
        int64_t end = now_ns() + time;

        while (now_ns() < end)
                ;
}

static void read_once(struct load *load, int64_t hold)
{
        ammap_slice_t slice;
        int64_t start = now_ns();
        int result = ammap_as_slice(load->map, 0, ammap_len(load->map), &slice);

        note_longest(&load->longest_read, now_ns() - start);
        if (result < 0) {
                atomic_fetch_add(&load->wrong, 1);
                return;
        }
        spin(hold);
        ammap_slice_release(&slice);
        atomic_fetch_add(&load->reads, 1);
}

static void write_once(struct load *load, int64_t hold)
{
        ammap_mut_slice_t mut;
        int64_t start = now_ns();
        int result = ammap_as_mut_slice(load->map, 0, ammap_len(load->map), &mut);

        note_longest(&load->longest_write, now_ns() - start);
        if (result < 0) {
                atomic_fetch_add(&load->wrong, 1);
                return;
        }
        spin(hold);
        ammap_mut_slice_release(&mut);
        atomic_fetch_add(&load->writes, 1);
}

/* A stream: no pause between one slice and the next, so that of several threads
 * one holds the lock at any time.  It flows for as long as another has not done its
 * rounds. */
static void *read_stream(void *argument)
{
        struct load *load = argument;

        for (long done = load->single ? load->rounds - 1 : 0; load_goes_on(load); load_did(load, &done))
                read_once(load, 100000);
        return NULL;
}

static void *write_stream(void *argument)
{
        struct load *load = argument;

        for (long done = load->single ? load->rounds - 1 : 0; load_goes_on(load); load_did(load, &done))
                write_once(load, 50000);
        return NULL;
}

static void *copy_stream(void *argument)
{
        struct load *load = argument;
        unsigned char buffer[64] = { 0 };

        for (long done = load->single ? load->rounds - 1 : 0; load_goes_on(load); load_did(load, &done)) {
                if (ammap_update_region(load->map, 0, buffer, sizeof(buffer)) < 0)
                        atomic_fetch_add(&load->wrong, 1);
                atomic_fetch_add(&load->writes, 1);
        }
        return NULL;
}

/* The stream flows while the caller is out of the lock. */
static void let_pass(struct load *load, long count)
{
        long until = atomic_load(&load->reads) + atomic_load(&load->writes) + count;

        while (atomic_load(&load->reads) + atomic_load(&load->writes) < until)
                sched_yield();
}

/* A single one among the stream, that wants in once in a while. */
static void *write_now_and_then(void *argument)
{
        struct load *load = argument;

        for (long done = 0; done < load->rounds; load_did(load, &done)) {
                let_pass(load, 4 + done % 4);
                write_once(load, 0);
        }
        return NULL;
}

static void *read_now_and_then(void *argument)
{
        struct load *load = argument;

        for (long done = 0; done < load->rounds; load_did(load, &done)) {
                let_pass(load, 4 + done % 4);
                read_once(load, 0);
        }
        return NULL;
}

static void check_starvation(const char *what, void *(*stream)(void *), size_t streams, void *(*single)(void *),
                             uint64_t lanes)
{
        struct load load;
        int64_t read_wait, write_wait;

        load_open(&load, 4096, lanes, 0);
        load.single = true;
        load_run(&load, stream, streams, single, 1, rounds_of(20));
        read_wait = atomic_load(&load.longest_read);
        write_wait = atomic_load(&load.longest_write);
        printf("stress-lock: %s, %d lanes: %ld reads, longest wait %.1f ms; %ld writes, longest wait %.1f ms\n", what,
               (int)lanes, atomic_load(&load.reads), (double)read_wait / 1e6, atomic_load(&load.writes),
               (double)write_wait / 1e6);
        fflush(stdout);
        load_close(&load);
}

DEFINE_TEST("stress-lock", a_writer_gets_in_among_readers)
{
        check_starvation("a writer among readers", read_stream, 4, write_now_and_then, 1);
        check_starvation("a writer among readers", read_stream, THREADS, write_now_and_then, 1);
        check_starvation("a writer among readers", read_stream, 4, write_now_and_then, 3);
}

DEFINE_TEST("stress-lock", a_reader_gets_in_among_writers)
{
        check_starvation("a reader among writers", write_stream, 4, read_now_and_then, 1);
        check_starvation("a reader among writers", write_stream, THREADS, read_now_and_then, 1);
        check_starvation("a reader among writers", write_stream, 4, read_now_and_then, 3);
        check_starvation("a reader among copies", copy_stream, 4, read_now_and_then, 1);
}

DEFINE_TEST("stress-lock", a_writer_gets_in_among_writers)
{
        check_starvation("a writer among writers", write_stream, 4, write_now_and_then, 1);
        check_starvation("a writer among copies", copy_stream, 4, write_now_and_then, 3);
}

DEFINE_TEST("stress-lock", all_get_in_among_all)
{
        struct load load;

        load_open(&load, 4096, 1, 0);
        load_run(&load, read_stream, 4, write_stream, 4, rounds_of(100));
        load_close(&load);
}

/* --- Lanes -------------------------------------------------------------------------- */

/* One lane is held all the time; the other one is written all the same. */
DEFINE_TEST("stress-lock", a_held_lane_stops_no_other)
{
        ammap_t *map = new_map(200, 2);
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
        for (int i = 0; i < rounds(200); i++)
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_elsewhere(op, map, 100, 100), 0);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Half of the writers in each of two lanes, beside those who want both. */
static void *write_own_lane(void *argument)
{
        struct load *load = argument;
        uint64_t offset = atomic_fetch_add(&load->next, 1) % 2 * 2048;
        long done = 0;

        while (load_goes_on(load)) {
                ammap_mut_slice_t mut;
                uint64_t sum;

                if (ammap_as_mut_slice(load->map, offset, 2048, &mut) < 0) {
                        atomic_fetch_add(&load->wrong, 1);
                        continue;
                }
                memcpy(&sum, mut.data, sizeof(sum));
                sum++;
                memcpy(mut.data, &sum, sizeof(sum));
                ammap_mut_slice_release(&mut);
                atomic_fetch_add(&load->reads, 1); /* the additions to one lane */
                load_did(load, &done);
        }
        return NULL;
}

static void *write_both_lanes(void *argument)
{
        struct load *load = argument;
        long done = 0;

        while (load_goes_on(load)) {
                ammap_mut_slice_t mut;
                uint64_t sums[2];

                if (ammap_as_mut_slice(load->map, 0, 4096, &mut) < 0) {
                        atomic_fetch_add(&load->wrong, 1);
                        continue;
                }
                memcpy(&sums[0], mut.data, 8);
                memcpy(&sums[1], mut.data + 2048, 8);
                sums[0]++;
                sums[1]++;
                memcpy(mut.data, &sums[0], 8);
                memcpy(mut.data + 2048, &sums[1], 8);
                ammap_mut_slice_release(&mut);
                atomic_fetch_add(&load->writes, 1); /* the additions to both */
                load_did(load, &done);
        }
        return NULL;
}

DEFINE_TEST("stress-lock", writers_of_lanes_and_of_all_lanes)
{
        struct load load;
        uint64_t sums[2];

        load_open(&load, 4096, 2, 0);
        load_run(&load, write_own_lane, 4, write_both_lanes, 2, rounds_of(50000));
        ck_assert_int_eq(ammap_read_into(load.map, 0, &sums[0], 8), 0);
        ck_assert_int_eq(ammap_read_into(load.map, 2048, &sums[1], 8), 0);
        ck_assert_uint_eq(sums[0] + sums[1],
                          (uint64_t)atomic_load(&load.reads) + 2 * (uint64_t)atomic_load(&load.writes));
        load_close(&load);
}

/* --- Everything at once ---------------------------------------------------------------- */

enum { MIX_BLOCK = 500, MIX_LANES = 3 };

/* Each lane is a block of one value.  Calls of every kind on a lane or on all,
 * whose results may only be those that the call can have. */
static void *mix(void *argument)
{
        struct load *load = argument;
        struct random random = { atomic_fetch_add(&load->next, 1) + UINT64_C(1) };
        unsigned char buffer[MIX_BLOCK];
        long done = 0;

        while (load_goes_on(load)) {
                uint64_t lane = random_below(&random, MIX_LANES);
                uint64_t other = random_below(&random, MIX_LANES);
                uint64_t choice = random_below(&random, 14);
                uint64_t offset = lane * MIX_BLOCK;
                int64_t timeout = (int64_t)random_below(&random, 200000);
                unsigned char byte = (unsigned char)random_next(&random);
                ammap_slice_t slice = { 0 }, second = { 0 };
                ammap_mut_slice_t mut = { 0 };
                int result = 0, may = 0;

                switch (choice) {
                case 0:
                        result = ammap_read_into(load->map, offset, buffer, MIX_BLOCK);
                        if (!is_uniform(buffer, MIX_BLOCK))
                                atomic_fetch_add(&load->torn, 1);
                        break;
                case 1:
                        memset(buffer, byte, MIX_BLOCK);
                        result = ammap_update_region(load->map, offset, buffer, MIX_BLOCK);
                        break;
                case 2:
                        result = ammap_fill(load->map, 0, MIX_LANES * MIX_BLOCK, byte);
                        break;
                case 3:
                        result = ammap_copy(load->map, offset, load->map, other * MIX_BLOCK, MIX_BLOCK);
                        break;
                case 4:
                        result = ammap_try_as_mut_slice(load->map, offset, MIX_BLOCK, &mut);
                        may = AMMAP_ERR_BUSY;
                        break;
                case 5:
                        result = ammap_timed_as_mut_slice(load->map, offset, MIX_BLOCK, timeout, &mut);
                        may = AMMAP_ERR_TIMEOUT;
                        break;
                case 6:
                        result = ammap_try_as_slice(load->map, offset, MIX_BLOCK, &slice);
                        may = AMMAP_ERR_BUSY;
                        break;
                case 7:
                        result = ammap_timed_as_slice(load->map, offset, MIX_BLOCK, timeout, &slice);
                        may = AMMAP_ERR_TIMEOUT;
                        break;
                case 8:
                        result = ammap_as_mut_slice(load->map, offset, MIX_BLOCK, &mut);
                        break;
                case 10:
                        result = ammap_try_read_into(load->map, offset, buffer, MIX_BLOCK);
                        may = AMMAP_ERR_BUSY;
                        if (result == 0 && !is_uniform(buffer, MIX_BLOCK))
                                atomic_fetch_add(&load->torn, 1);
                        break;
                case 11:
                        result = ammap_timed_read_into(load->map, offset, buffer, MIX_BLOCK, timeout);
                        may = AMMAP_ERR_TIMEOUT;
                        if (result == 0 && !is_uniform(buffer, MIX_BLOCK))
                                atomic_fetch_add(&load->torn, 1);
                        break;
                case 12:
                        memset(buffer, byte, MIX_BLOCK);
                        result = ammap_try_update_region(load->map, offset, buffer, MIX_BLOCK);
                        may = AMMAP_ERR_BUSY;
                        break;
                case 13:
                        memset(buffer, byte, MIX_BLOCK);
                        result = ammap_timed_update_region(load->map, offset, buffer, MIX_BLOCK, timeout);
                        may = AMMAP_ERR_TIMEOUT;
                        break;
                default:
                        result = ammap_as_slice(load->map, 0, MIX_LANES * MIX_BLOCK, &slice);
                        break;
                }
                if (result != 0 && result != may)
                        atomic_fetch_add(&load->wrong, 1);
                if (mut.data) {
                        if (!is_uniform(mut.data, MIX_BLOCK))
                                atomic_fetch_add(&load->torn, 1);
                        memset(mut.data, byte, MIX_BLOCK);
                        if (ammap_fill(load->map, offset, 1, 1) != AMMAP_ERR_DEADLOCK)
                                atomic_fetch_add(&load->wrong, 1);
                }
                if (slice.data) {
                        if (!is_uniform(slice.data, MIX_BLOCK))
                                atomic_fetch_add(&load->torn, 1);
                        /* Again, whoever waits. */
                        if (ammap_as_slice(load->map, choice == 9 ? 0 : offset, MIX_BLOCK, &second) != 0)
                                atomic_fetch_add(&load->wrong, 1);
                        if (ammap_fill(load->map, choice == 9 ? other * MIX_BLOCK : offset, 1, 1) != AMMAP_ERR_DEADLOCK)
                                atomic_fetch_add(&load->wrong, 1);
                }
                /* In either order. */
                ammap_slice_release(byte % 2 ? &slice : &second);
                ammap_slice_release(byte % 2 ? &second : &slice);
                ammap_mut_slice_release(&mut);
                load_did(load, &done);
        }
        return NULL;
}

DEFINE_TEST("stress-lock", all_calls_mixed)
{
        struct load load;

        load_open(&load, MIX_LANES * MIX_BLOCK, MIX_LANES, 0);
        load_run(&load, mix, THREADS, NULL, 0, rounds_of(50000));
        load_close(&load);
}

/* --- Threads that end in the middle ------------------------------------------------------ */

static void *end_with_a_slice(void *argument)
{
        struct load *load = argument;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        int result;

        if (atomic_fetch_add(&load->next, 1) % 2)
                result = ammap_as_mut_slice(load->map, 0, 64, &mut);
        else
                result = ammap_as_slice(load->map, 0, 64, &slice);
        if (result != 0 && result != AMMAP_ERR_OWNER_DEAD)
                atomic_fetch_add(&load->wrong, 1);
        return NULL;
}

static void *start_enders(void *argument)
{
        struct load *load = argument;
        long done = 0;

        while (load_goes_on(load)) {
                pthread_t thread;

                if (pthread_create(&thread, NULL, end_with_a_slice, load) != 0)
                        continue;
                pthread_join(thread, NULL);
                load_did(load, &done);
        }
        return NULL;
}

static void *write_and_recover(void *argument)
{
        struct load *load = argument;
        long done = 0;

        while (load_goes_on(load)) {
                int result = ammap_fill(load->map, 0, 64, 1);

                if (result == AMMAP_ERR_OWNER_DEAD)
                        result = ammap_recover(load->map);
                else
                        load_did(load, &done);
                if (result != 0)
                        atomic_fetch_add(&load->wrong, 1);
        }
        return NULL;
}

DEFINE_TEST("stress-lock", threads_end_with_slices_under_load)
{
        struct load load;

        load_open(&load, 64, 1, 0);
        load_run(&load, start_enders, 3, write_and_recover, 2, rounds_of(1500));
        ck_assert_int_eq(ammap_recover(load.map), 0);
        load_close(&load);
}

int main(int argc, char **argv)
{
        times = stress_of(argc, argv, test_is_long() ? 20 : 1, 1e-3, "TIMES");
        test_time_extra = (unsigned)times * 10;
        return run_tests("stress-lock", test_case);
}
