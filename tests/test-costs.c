/* test-costs.c - costs grow with what there is, not with its square
 *
 * SPDX-License-Identifier: MIT
 *
 * A cost is the least processor time of several tries, so that what else runs on
 * the machine matters little.  Sixteen times as much may cost sixteen times as much,
 * and up to SLACK times that; a square would be MORE times that.
 *
 * Instructions and system calls are counted, too, which is exact: sixteen times as much is
 * sixteen times as many instructions at most, and a few more system calls.
 */
#include "lead.h"

#include <time.h>

#ifdef __x86_64__
#define CAN_COUNT CAN_STEP
#else
#define CAN_COUNT 0
#endif

enum { TRIES = 7, MORE = 16, SLACK = 4 };

static const struct cost_kind {
        const char *name;
        ammap_share_t share;
        enum in_file file;
} kinds[] = {
        { "private", AMMAP_PRIVATE, NO_FILE },
#if TEST_OS_LINUX
        { "shared", AMMAP_SHARED, NO_FILE },
        { "file", AMMAP_SHARED, BY_KERNEL },
        { "file, words", AMMAP_SHARED, BY_WORDS },
#endif
};

static ammap_t *map_of(const struct cost_kind *kind, uint64_t size, uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = kind->share;
        options.lanes = lanes;
        options.allow_faults = kind->file;
        if (kind->file)
                ck_assert_int_eq(open_in_file(kind->file, &map, path_of("costs").text, size, &options), 0);
        else
                ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        return map;
}

static int64_t spent(void)
{
        struct timespec time;

        ck_assert_int_eq(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
        return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* --- What is done to a map, count times or with count lanes --- */

static void copy_out(ammap_t *map, size_t count)
{
        static unsigned char bytes[AMMAP_LANES_MAX];

        ck_assert_int_eq(ammap_read_into(map, 0, bytes, count), 0);
}

static void copy_in(ammap_t *map, size_t count)
{
        static const unsigned char bytes[AMMAP_LANES_MAX];

        ck_assert_int_eq(ammap_update_region(map, 0, bytes, count), 0);
}

static void live_slices(ammap_t *map, size_t count)
{
        ammap_slice_t *slice = calloc(count, sizeof *slice);

        ck_assert_ptr_nonnull(slice);
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice[i]), 0);
        for (size_t i = 0; i < count; i++)
                ammap_slice_release(&slice[i]);
        free(slice);
}

static void live_slices_last_first(ammap_t *map, size_t count)
{
        ammap_slice_t *slice = calloc(count, sizeof *slice);

        ck_assert_ptr_nonnull(slice);
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice[i]), 0);
        for (size_t i = count; i-- > 0;)
                ammap_slice_release(&slice[i]);
        free(slice);
}

static void read_lanes(ammap_t *map, size_t count)
{
        ammap_slice_t slice, again;

        ck_assert_int_eq(ammap_as_slice(map, 0, count, &slice), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, count, &again), 0);
        ammap_slice_release(&slice);
        ammap_slice_release(&again);
}

static void write_lanes(ammap_t *map, size_t count)
{
        ammap_mut_slice_t slice;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, count, &slice), 0);
        ammap_mut_slice_release(&slice);
}

static void fill_lanes(ammap_t *map, size_t count)
{
        ck_assert_int_eq(ammap_fill(map, 0, count, 'f'), 0);
}

/* A lane has its bias from the readers, and the writer takes it back. */
static void read_and_write_lanes(ammap_t *map, size_t count)
{
        ammap_slice_t slice;

        for (int i = 0; i < 8; i++) {
                ck_assert_int_eq(ammap_as_slice(map, 0, count, &slice), 0);
                ammap_slice_release(&slice);
        }
        write_lanes(map, count);
}

static void copy_lanes(ammap_t *map, size_t count)
{
        ck_assert_int_eq(ammap_copy(map, 0, map, count / 2, count / 2), 0);
}

static void try_beside_a_slice(ammap_t *map, size_t count)
{
        struct holder other;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        holder_start(&other, map, count - 1, 1, false);
        ck_assert_int_eq(ammap_as_slice(map, 0, count - 1, &slice), 0);
        ck_assert_int_eq(ammap_try_as_mut_slice(map, 0, count, &mut), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_try_as_mut_slice(map, 0, count, &mut), AMMAP_ERR_BUSY);
        holder_stop(&other);
}

static const struct cost {
        const char *name;
        void (*act)(ammap_t *map, size_t count);
        bool lanes;
        size_t few;
} costs[] = {
        { "live slices", live_slices, false, 500 },
        { "live slices, released from the last on", live_slices_last_first, false, 500 },
        { "lanes copied out", copy_out, true, 256 },
        { "lanes copied in", copy_in, true, 256 },
        { "lanes read twice", read_lanes, true, 256 },
        { "lanes written", write_lanes, true, 256 },
        { "lanes filled", fill_lanes, true, 256 },
        { "lanes read and written", read_and_write_lanes, true, 256 },
        { "lanes copied", copy_lanes, true, 256 },
        { "lanes tried in vain", try_beside_a_slice, true, 256 },
};

static int64_t cost_of(const struct cost *cost, const struct cost_kind *kind, size_t count)
{
        ammap_t *map = map_of(kind, count, cost->lanes ? count : 1);
        int64_t least = INT64_MAX;

        for (int i = 0; i < TRIES; i++) {
                int64_t before = spent(), now;

                cost->act(map, count);
                now = spent() - before;
                least = now < least ? now : least;
        }
        ck_assert_int_eq(ammap_free(map), 0);
        return least;
}

DEFINE_LOOP_TEST("costs", costs_are_linear, 0, COUNT_OF(costs) * COUNT_OF(kinds))
{
        const struct cost *cost = &costs[(size_t)_i / COUNT_OF(kinds)];
        const struct cost_kind *kind = &kinds[(size_t)_i % COUNT_OF(kinds)];
        int64_t few = cost_of(cost, kind, cost->few), many = cost_of(cost, kind, MORE * cost->few);

        printf("%s, %s: %zu in %.1f us, %zu in %.1f us\n", kind->name, cost->name, cost->few, (double)few / 1e3,
               MORE * cost->few, (double)many / 1e3);
        ck_assert_msg(many < MORE * SLACK * few, "%s, %s: %d times as many cost %.0f times as much", kind->name,
                      cost->name, MORE, (double)many / (double)few);
}

/* --- Waiting --- */

#if TEST_OS_LINUX
enum { WAITERS = 64 };
static const int64_t waiting_time = 2 * SECOND;

struct waiting {
        ammap_t *map;
        bool writes;
        int result;
        int64_t cost;
};

static void *wait_body(void *argument)
{
        struct waiting *waiting = argument;
        int64_t before;

        op_run(waiting->writes ? OP_TRY_MUT_SLICE : OP_TRY_SLICE, waiting->map, 0, 1, 0); /* gets it a slot */
        before = spent();
        waiting->result =
                op_run(waiting->writes ? OP_TIMED_MUT_SLICE : OP_TIMED_SLICE, waiting->map, 0, 1, waiting_time);
        waiting->cost = spent() - before;
        return NULL;
}

static int64_t cost_of_waiting(ammap_t *map, bool for_writer)
{
        struct waiting waiting[WAITERS];
        pthread_t threads[WAITERS];
        int64_t cost = 0;

        for (int i = 0; i < WAITERS; i++) {
                waiting[i] = (struct waiting){ map, !for_writer || i % 2, INT_MIN, 0 };
                ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_body, &waiting[i]), 0);
        }
        for (int i = 0; i < WAITERS; i++) {
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
                ck_assert_int_eq(waiting[i].result, AMMAP_ERR_TIMEOUT);
                cost += waiting[i].cost;
        }
        return cost;
}

/* If each looked for itself every 10 ms it would be 200. */
DEFINE_LOOP_TEST("costs", many_wait_for_little, 0, 4)
{
        static const struct cost_kind *const shared = &kinds[1], *const words = &kinds[3];
        const int64_t limit = 40 * MS * test_scale(); /* it is 10 to 20 */
        const bool for_writer = _i % 2;
        ammap_t *map = map_of(_i < 2 ? shared : words, 64, 1);
        int64_t least = INT64_MAX;
        struct holder holder;

        holder_start(&holder, map, 0, 1, for_writer);
        for (int i = 0; i < 10 && least >= limit; i++) {
                int64_t cost = cost_of_waiting(map, for_writer);

                least = cost < least ? cost : least;
        }
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
        printf("%d threads wait for a %s: %.1f ms\n", WAITERS, for_writer ? "writer" : "reader", (double)least / 1e6);
        ck_assert_int_lt(least, limit);
}
#endif

/* --- Counted --- */

#if CAN_COUNT
enum step { BY_INSTRUCTION, BY_CALL };
enum { FEW_COUNTED = 3, MORE_COUNTED = 8, WARM = 3, CALLS_MORE = 8 };

struct counted {
        const struct cost *cost;
        const struct cost_kind *kind;
        size_t count;
};

static void counted_body(struct peer *parent, void *argument)
{
        const struct counted *counted = argument;
        const struct cost *cost = counted->cost;
        ammap_t *map = map_of(counted->kind, counted->count, cost->lanes ? counted->count : 1);

        (void)parent;
        alarm(0); /* it would come in between */
        for (int i = 0; i < WARM; i++)
                cost->act(map, counted->count);
        child_must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        cost->act(map, counted->count);
        raise(SIGSTOP);
}

static bool can_count(void)
{
        return !under_valgrind() && !TEST_SANITIZED && stepping_works();
}

/* What costs time where the kernel locks is the kernel's calls. */
static enum step step_by(const struct cost_kind *kind)
{
        return kind->file == BY_KERNEL ? BY_CALL : BY_INSTRUCTION;
}

/* How often a child stops within what costs: at each instruction, or before and after each
 * system call. */
static long count_stops(const struct cost *cost, const struct cost_kind *kind, size_t count, enum step step)
{
        struct counted counted = { cost, kind, count };
        cpu_set_t processors;
        struct peer peer;
        long stops = 0;
        int status;

        stay_here(&processors);
        peer_start(&peer, counted_body, &counted);
        wait_for_stop(peer.pid, SIGSTOP);
        do {
                stops++;
                ck_assert_int_eq(step == BY_CALL ? ptrace(PTRACE_SYSCALL, peer.pid, NULL, NULL)
                                                 : ptrace(PTRACE_SINGLESTEP, peer.pid, NULL, NULL),
                                 0);
                ck_assert_int_eq(waitpid(peer.pid, &status, 0), peer.pid);
        } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        peer_kill(&peer);
        sched_setaffinity(0, sizeof(processors), &processors);
        return stops;
}

/* What touches one lane, times over; the checks are not to be counted. */
enum { TIMES = 8 };

static void read_one(ammap_t *map, size_t count)
{
        unsigned char byte;

        for (int i = 0; i < TIMES; i++)
                (void)!ammap_read_into(map, count / 2, &byte, 1);
}

static void write_one(ammap_t *map, size_t count)
{
        const unsigned char byte = 1;

        for (int i = 0; i < TIMES; i++)
                (void)!ammap_update_region(map, count / 2, &byte, 1);
}

static void slice_one(ammap_t *map, size_t count)
{
        ammap_slice_t slice;

        for (int i = 0; i < TIMES; i++) {
                (void)!ammap_as_slice(map, count / 2, 1, &slice);
                ammap_slice_release(&slice);
        }
}

static void mut_slice_one(ammap_t *map, size_t count)
{
        ammap_mut_slice_t slice;

        for (int i = 0; i < TIMES; i++) {
                (void)!ammap_as_mut_slice(map, count / 2, 1, &slice);
                ammap_mut_slice_release(&slice);
        }
}

static const struct cost ones[] = {
        { "reads", read_one, true, 0 },
        { "updates", write_one, true, 0 },
        { "slices", slice_one, true, 0 },
        { "mut slices", mut_slice_one, true, 0 },
};

/* A slice of a shared map names which lanes, where there are several. */
DEFINE_LOOP_TEST("counted", one_lane_of_many_costs_what_one_costs, 0, COUNT_OF(ones) * COUNT_OF(kinds))
{
        enum { LANES = 256, MORE_STEPS = 120 * TIMES, OTHERS = 5 };
        const struct cost *cost = &ones[(size_t)_i / COUNT_OF(kinds)];
        const struct cost_kind *kind = &kinds[(size_t)_i % COUNT_OF(kinds)];
        struct cost alone = *cost;
        long one, many;

        if (!can_count()) {
                skip_part(__func__, why_not_here());
                return;
        }
        alone.lanes = false;
        one = count_stops(&alone, kind, LANES, step_by(kind));
        many = count_stops(cost, kind, LANES, step_by(kind));
        printf("%s, %s: %ld, of %d lanes %ld\n", kind->name, cost->name, one / TIMES, LANES, many / TIMES);
        ck_assert_msg(many <= (kind->share == AMMAP_PRIVATE ? one + MORE_STEPS : OTHERS * one),
                      "%s, %s: %ld steps, in one of %d lanes %ld", kind->name, cost->name, one / TIMES, LANES,
                      many / TIMES);
}

/* What the test itself calls around so many is less than one more for each. */
DEFINE_LOOP_TEST("counted", calls_of_the_kernels_where_nobody_is_in_the_way, 0, COUNT_OF(ones))
{
#if defined(__x86_64__) || defined(__i386__)
        static const long most[COUNT_OF(ones)] = { 1, 6, 4, 8 };
#else /* where one call of the kernel's copies one piece, as the order of several is not certain */
        static const long most[COUNT_OF(ones)] = { 4, 9, 6, 11 };
#endif

        if (!can_count()) {
                skip_part(__func__, why_not_here());
                return;
        }
        for (size_t k = 0; k < COUNT_OF(kinds); k++) {
                long calls;

                if (step_by(&kinds[k]) != BY_CALL)
                        continue;
                calls = count_stops(&ones[_i], &kinds[k], 2, BY_CALL) / 2 / TIMES;
                ck_assert_msg(calls <= most[_i], "%s, %s: %ld system calls", kinds[k].name, ones[_i].name, calls);
        }
}

/* A square would be MORE_COUNTED times as many. */
DEFINE_LOOP_TEST("counted", counted_costs_are_linear, 0, COUNT_OF(costs) * COUNT_OF(kinds))
{
        const struct cost *cost = &costs[(size_t)_i / COUNT_OF(kinds)];
        const struct cost_kind *kind = &kinds[(size_t)_i % COUNT_OF(kinds)];
        long few, many;

        /* Slices are taken in a loop, whose checks are the test's own; one takes long, one a thread. */
        if (!can_count()) {
                skip_part(__func__, "no single-stepping here");
                return;
        }
        if (!cost->lanes || cost->act == read_and_write_lanes || cost->act == try_beside_a_slice)
                return;
        if (!is_in_part((unsigned long)_i, 3))
                return;
        few = count_stops(cost, kind, FEW_COUNTED, step_by(kind));
        many = count_stops(cost, kind, MORE_COUNTED * FEW_COUNTED, step_by(kind));
        ck_assert_msg(many <= (MORE_COUNTED + 1) * few, "%s, %s: %ld steps, and of %d times as many %ld", kind->name,
                      cost->name, few, MORE_COUNTED, many);
        few = count_stops(cost, kind, FEW_COUNTED, BY_CALL);
        many = count_stops(cost, kind, MORE_COUNTED * FEW_COUNTED, BY_CALL);
        printf("%s, %s: calls %ld %ld\n", kind->name, cost->name, few / 2, many / 2);
        ck_assert_msg(many <= few + 2 * CALLS_MORE, "%s, %s: %ld system calls, and of %d times as many %ld", kind->name,
                      cost->name, few / 2, MORE_COUNTED, many / 2);
}
#endif

int main(void)
{
        return run_tests("costs", share_case);
}
