/* test-lane.c - which lane a byte lies in, and who stands in the way
 *
 * SPDX-License-Identifier: MIT
 */
#include "share.h"

/* Lanes of 1000 bytes, the last one with 500 of its bytes in the map. */
enum { LANES = 8, LANE = 1000, LENGTH = 7500, ROOM = 32 };

/* --- Maps of every kind --- */

struct kind {
        const char *name;
        ammap_share_t share;
        bool file;
};

static const struct kind kinds[] = {
        { "private", AMMAP_PRIVATE, false },
#if TEST_OS_LINUX
        { "shared", AMMAP_SHARED, false },
        { "file", AMMAP_SHARED, true },
        { "raw", AMMAP_RAW, false },
#endif
};
enum { PRIVATE, SHARED, IN_FILE, RAW };

#define DEFINE_KIND_TEST(name) DEFINE_LOOP_TEST("lane", name, 0, COUNT_OF(kinds))

static struct path file_path;

static uint64_t end_of(uint64_t lane, uint64_t length)
{
        return (lane + 1) * LANE < length ? (lane + 1) * LANE : length;
}

static ammap_options_t options_of(int kind)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = kinds[kind].share;
        options.allow_faults = true;
        options.lanes = LANES;
        if (options.share != AMMAP_RAW)
                options.capacity = LANES * LANE;
        return options;
}

/* A raw map's capacity is its length. */
static uint64_t length_of(int kind)
{
        return kinds[kind].share == AMMAP_RAW ? LANES * LANE : LENGTH;
}

static ammap_t *make(int kind)
{
        ammap_options_t options = options_of(kind);
        ammap_t *map;

        if (!kinds[kind].file)
                return make_with(length_of(kind), &options);
        file_path = path_of("lane");
        ck_assert_int_eq(open_by_kernel(&map, file_path.text, LENGTH, &options), 0);
        return map;
}

/* --- What is found --- */

struct found {
        int count;
        ammap_holder_t at[ROOM];
};

static int compare(const void *one, const void *other)
{
        const ammap_holder_t *a = one, *b = other;

        if (a->offset != b->offset)
                return a->offset < b->offset ? -1 : 1;
        if (a->hold != b->hold)
                return a->hold < b->hold ? -1 : 1;
        return a->tid < b->tid ? -1 : a->tid > b->tid;
}

/* In order of their offsets. */
static struct found look(ammap_t *map, uint64_t offset, uint64_t length)
{
        struct found found = { 0 };

        found.count = ammap_holders(map, offset, length, found.at, ROOM);
        ck_assert_int_ge(found.count, 0);
        ck_assert_int_le(found.count, ROOM);
        qsort(found.at, (size_t)found.count, sizeof(found.at[0]), compare);
        return found;
}

static struct found look_at_all(ammap_t *map)
{
        return look(map, 0, ammap_len(map));
}

static void check_holder(const ammap_holder_t *holder, const ammap_holder_t *want)
{
        ck_assert_int_eq(holder->hold, want->hold);
        ck_assert_int_eq(holder->pid, want->pid);
        ck_assert_int_eq(holder->tid, TEST_OS_LINUX ? want->tid : 0);
        ck_assert_uint_eq(holder->offset, want->offset);
        ck_assert_uint_eq(holder->length, want->length);
}

/* Lanes first to last, held by a thread of this process. */
static ammap_holder_t lanes_by(int tid, ammap_hold_t hold, uint64_t first, uint64_t last)
{
        return (ammap_holder_t){ getpid(), tid, first * LANE, (last - first + 1) * LANE, hold };
}

static void check_is(const ammap_holder_t *holder, int tid, ammap_hold_t hold, uint64_t first, uint64_t last)
{
        const ammap_holder_t want = lanes_by(tid, hold, first, last);

        check_holder(holder, &want);
}

/* --- ammap_lane --- */

static void check_lanes(const ammap_t *map, uint64_t length)
{
        for (uint64_t offset = 0; offset < length;
             offset += offset % LANE == 0 || offset % LANE == LANE - 1 ? 1 : 499) {
                uint64_t begin = 1, size = 1;

                ck_assert_int_eq(ammap_lane(map, offset, &begin, &size), 0);
                ck_assert_uint_eq(begin, offset / LANE * LANE);
                ck_assert_uint_eq(size, end_of(offset / LANE, length) - begin);
        }
        for (size_t i = 0; i < 4; i++) {
                const uint64_t beyond[] = { length, length + 1, UINT64_MAX - 1, UINT64_MAX };
                uint64_t begin = 1, size = 1;

                ck_assert_int_eq(ammap_lane(map, beyond[i], &begin, &size), AMMAP_ERR_BOUNDS);
                ck_assert_uint_eq(begin, 0);
                ck_assert_uint_eq(size, 0);
        }
}

DEFINE_KIND_TEST(the_lane_of_each_byte)
{
        ammap_t *map = make(_i);

        check_lanes(map, length_of(_i));
        if (kinds[_i].share != AMMAP_RAW) {
                ck_assert_int_eq(ammap_resize(map, LANES * LANE), 0);
                check_lanes(map, LANES * LANE);
                ck_assert_int_eq(ammap_resize(map, 2 * LANE + 1), 0);
                check_lanes(map, 2 * LANE + 1);
        }
        ck_assert_int_eq(ammap_freeze(map), 0);
        check_lanes(map, ammap_len(map));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What is told is what is locked. */
DEFINE_KIND_TEST(a_lane_is_what_a_slice_locks)
{
        ammap_t *map = make(_i);
        uint64_t begin, size;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_lane(map, 3 * LANE + 7, &begin, &size), 0);
        ck_assert_int_eq(ammap_as_mut_slice(map, 3 * LANE + 7, 1, &mut), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, begin - 1, 1), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, begin, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, begin + size - 1, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, begin + size, 1), 0);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("lane", lane_refuses_null)
{
        ammap_t *map = make(PRIVATE);
        uint64_t begin = 1, size = 1;

        ck_assert_int_eq(ammap_lane(NULL, 0, &begin, &size), AMMAP_ERR_INVALID);
        ck_assert_uint_eq(begin, 0);
        ck_assert_uint_eq(size, 0);
        begin = size = 1;
        ck_assert_int_eq(ammap_lane(map, 0, NULL, &size), AMMAP_ERR_INVALID);
        ck_assert_uint_eq(size, 0);
        ck_assert_int_eq(ammap_lane(map, 0, &begin, NULL), AMMAP_ERR_INVALID);
        ck_assert_uint_eq(begin, 0);
        ck_assert_int_eq(ammap_lane(map, UINT64_MAX, NULL, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- ammap_holders --- */

DEFINE_KIND_TEST(holders_refuses_bad_input)
{
        ammap_t *map = make(_i);
        ammap_holder_t holders[3];
        const uint64_t length = length_of(_i);
        uint64_t edges[EDGES_MAX];
        size_t count = edges_of(length, edges);

        ck_assert_int_eq(ammap_holders(NULL, 0, 0, NULL, 0), AMMAP_ERR_INVALID);
        memset(holders, 0x7e, sizeof(holders));
        ck_assert_int_eq(ammap_holders(NULL, 0, 1, holders, 2), AMMAP_ERR_INVALID);
        ck_assert(is_all(holders, 0, sizeof(holders[0]) * 2));
        ck_assert(is_all(&holders[2], 0x7e, sizeof(holders[0])));
        ck_assert_int_eq(ammap_holders(map, 0, 1, NULL, 1), AMMAP_ERR_INVALID);
        for (size_t i = 0; i < count; i++)
                for (size_t j = 0; j < count; j++) {
                        bool inside = range_is_inside(length, edges[i], edges[j]);

                        memset(holders, 0x7e, sizeof(holders));
                        ck_assert_int_eq(ammap_holders(map, edges[i], edges[j], holders, 3),
                                         inside ? 0 : AMMAP_ERR_BOUNDS);
                        if (!inside)
                                ck_assert(is_all(holders, 0, sizeof(holders)));
                }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* One entry for lanes in a row, however many slices they are of; of the range asked for
 * those alone that stand in its way, and each as long as it is. */
DEFINE_KIND_TEST(own_slices_are_listed)
{
        static const ammap_hold_t holds[] = { AMMAP_HOLD_READ, AMMAP_HOLD_WRITE };
        ammap_t *map = make(_i);

        for (size_t i = 0; i < COUNT_OF(holds); i++) {
                const bool writes = holds[i] == AMMAP_HOLD_WRITE;
                ammap_slice_t slice[3] = { 0 };
                ammap_mut_slice_t mut[3] = { 0 };
                static const uint64_t offset[] = { LANE + 5, 3 * LANE, 5 * LANE + 1 }, length[] = { LANE, 1, 0 };
                ammap_holder_t one = { 0 };
                struct found found;

                for (size_t j = 0; j < 3; j++)
                        ck_assert_int_eq(writes ? ammap_as_mut_slice(map, offset[j], length[j], &mut[j])
                                                : ammap_as_slice(map, offset[j], length[j], &slice[j]),
                                         0);
                found = look_at_all(map);
                ck_assert_int_eq(found.count, 2);
                check_is(&found.at[0], own_tid(), holds[i], 1, 3);
                check_is(&found.at[1], own_tid(), holds[i], 5, 5);
                found = look(map, 2 * LANE + 2, 1);
                ck_assert_int_eq(found.count, 1);
                check_is(&found.at[0], own_tid(), holds[i], 1, 3);
                ck_assert_int_eq(look(map, 4 * LANE, LANE).count, 0);
                ck_assert_int_eq(look(map, 4 * LANE, LANE + 1).count, 1);
                ck_assert_int_eq(look(map, 5 * LANE, 0).count, 1);
                ck_assert_int_eq(look(map, 0, LANE).count, 0);

                ck_assert_int_eq(ammap_holders(map, 0, LENGTH, NULL, 0), 2);
                ck_assert_int_eq(ammap_holders(map, 0, LENGTH, &one, 1), 2);
                ck_assert_int_eq(one.pid, getpid());
                for (size_t j = 0; j < 3; j++) {
                        ammap_slice_release(&slice[j]);
                        ammap_mut_slice_release(&mut[j]);
                }
                ck_assert_int_eq(look_at_all(map).count, 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_KIND_TEST(the_last_lane_ends_with_the_map)
{
        ammap_t *map = make(_i);
        ammap_slice_t slice;
        struct found found;

        ck_assert_int_eq(ammap_as_slice(map, 6 * LANE, LANE + 1, &slice), 0);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 1);
        ck_assert_uint_eq(found.at[0].offset, 6 * LANE);
        ck_assert_uint_eq(found.at[0].length, length_of(_i) - 6 * LANE);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_KIND_TEST(each_thread_is_named)
{
        ammap_t *map = make(_i);
        struct holder reader[2], writer;
        int tids[2];
        struct found found;

        holder_start(&reader[0], map, 0, 2 * LANE, false);
        holder_start(&reader[1], map, LANE, 2 * LANE, false);
        holder_start(&writer, map, 4 * LANE, LANE, true);
        tids[0] = atomic_load(&reader[0].task.tid);
        tids[1] = atomic_load(&reader[1].task.tid);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, TEST_OS_LINUX ? 3 : 2); /* threads without numbers are one */
        if (TEST_OS_LINUX) {
                check_is(&found.at[0], tids[0], AMMAP_HOLD_READ, 0, 1);
                check_is(&found.at[1], tids[1], AMMAP_HOLD_READ, 1, 2);
                check_is(&found.at[2], atomic_load(&writer.task.tid), AMMAP_HOLD_WRITE, 4, 4);
        }
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 2 * LANE, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(look(map, 2 * LANE, 1).count, 1);
        holder_stop(&reader[1]);
        ck_assert_int_eq(look(map, 2 * LANE, 1).count, 0);
        holder_stop(&reader[0]);
        holder_stop(&writer);
        ck_assert_int_eq(look_at_all(map).count, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Many readers, of which some name what they read and some are counted. */
DEFINE_KIND_TEST(biased_readers_are_named)
{
        ammap_t *map = make(_i);
        ammap_slice_t slice[2];
        struct holder reader;

        for (int i = 0; i < 200; i++) {
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice[0]), 0);
                ammap_slice_release(&slice[0]);
        }
        holder_start(&reader, map, 0, 1, false);
        for (int i = 0; i < 200; i++) {
                struct found found;

                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice[0]), 0);
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice[1]), 0);
                found = look_at_all(map);
                ck_assert_int_eq(found.count, TEST_OS_LINUX ? 2 : 1);
                for (int j = 0; j < found.count; j++)
                        ck_assert(!TEST_OS_LINUX || found.at[j].tid == own_tid() ||
                                  found.at[j].tid == atomic_load(&reader.task.tid));
                ammap_slice_release(&slice[0]);
                ammap_slice_release(&slice[1]);
        }
        holder_stop(&reader);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *write_first_lane(void *argument)
{
        thread_check_int(ammap_fill(argument, 0, 10, 'w'), 0);
        return NULL;
}

/* Who waits stands in nobody's way. */
DEFINE_KIND_TEST(who_waits_is_not_listed)
{
        ammap_t *map = make(_i);
        ammap_slice_t slice;
        struct task task;
        struct found found;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        task_start(&task, write_first_lane, map);
        ck_assert(task_sleeps(&task));
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 1);
        check_is(&found.at[0], own_tid(), AMMAP_HOLD_READ, 0, 0);
        ammap_slice_release(&slice);
        task_join(&task);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- A copy under way --- */

static unsigned char *gate; /* a page that cannot be read until it is open */
static _Atomic int gate_waits, gate_open;

static void wait_at_gate(int number, siginfo_t *info, void *context)
{
        const struct timespec moment = { 0, MS };

        (void)number, (void)context;
        if ((unsigned char *)info->si_addr < gate || (unsigned char *)info->si_addr >= gate + PAGE)
                _exit(3);
        atomic_store(&gate_waits, 1);
        while (!atomic_load(&gate_open))
                nanosleep(&moment, NULL);
        mprotect(gate, (size_t)PAGE, PROT_READ);
}

static void *update_slowly(void *argument)
{
        thread_check_int(ammap_update_region(argument, 2 * LANE, gate, 100), 0);
        return NULL;
}

/* Whoever copies without a note of it is listed without a name. */
DEFINE_KIND_TEST(a_copy_that_stands_still_is_listed)
{
        struct sigaction action = { .sa_sigaction = wait_at_gate, .sa_flags = SA_SIGINFO }, was;
        ammap_t *map = make(_i);
        struct task task;
        struct found found;

        if (kinds[_i].file || TEST_SANITIZED) {
                ck_assert_int_eq(ammap_free(map), 0); /* a file's copies are the kernel's */
                return;
        }
        gate = mmap(NULL, (size_t)PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(gate, MAP_FAILED);
        atomic_store(&gate_waits, 0);
        atomic_store(&gate_open, 0);
        ck_assert_int_eq(sigaction(SIGSEGV, &action, &was), 0);
        task_start(&task, update_slowly, map);
        while (!atomic_load(&gate_waits))
                pause_ms(1);
        ck_assert_int_eq(ammap_try_update_region(map, 2 * LANE, "x", 1), AMMAP_ERR_BUSY);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 1);
        check_is(&found.at[0], kinds[_i].share == AMMAP_SHARED ? atomic_load(&task.tid) : 0, AMMAP_HOLD_WRITE, 2, 2);
        ck_assert_int_eq(look(map, 0, 2 * LANE).count, 0);
        atomic_store(&gate_open, 1);
        task_join(&task);
        ck_assert_int_eq(look_at_all(map).count, 0);
        ck_assert_int_eq(sigaction(SIGSEGV, &was, NULL), 0);
        munmap(gate, (size_t)PAGE);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Death --- */

DEFINE_KIND_TEST(a_dead_writers_lanes_are_listed)
{
        ammap_t *map = make(_i);
        struct holder writer;
        ammap_holder_t want;
        struct found found;

        holder_start(&writer, map, 2 * LANE, 2 * LANE, true);
        holder_vanish(&writer);
        want = lanes_by(atomic_load(&writer.task.tid), AMMAP_HOLD_DEAD, 2, 3);
        if (kinds[_i].file)
                want.pid = want.tid = 0;
        for (int round = 0; round < 2; round++) {
                found = look_at_all(map);
                ck_assert_int_eq(found.count, 1);
                check_holder(&found.at[0], &want);
                found = look(map, 3 * LANE, 1);
                ck_assert_int_eq(found.count, 1);
                check_holder(&found.at[0], &want);
                found = look(map, 2 * LANE, 1);
                ck_assert_int_eq(found.count, 1);
                check_holder(&found.at[0], &want);
                ck_assert_int_eq(look(map, 0, 2 * LANE).count, 0);
                /* Others who find it, and take places, change nothing. */
                ck_assert_int_eq(op_elsewhere(OP_UPDATE, map, 2 * LANE, 1), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(op_elsewhere(OP_UPDATE, map, 6 * LANE, 1), 0);
                ck_assert_int_eq(op_elsewhere(OP_SLICE, map, 6 * LANE, 1), 0);
        }
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(look_at_all(map).count, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A thread that takes a slice in the last round of its destructors, which ThreadSanitizer's
 * own end comes before. */
static pthread_key_t late_key;

static void take_late(void *argument)
{
        static _Thread_local long round;
        ammap_mut_slice_t mut;

        if (++round < sysconf(_SC_THREAD_DESTRUCTOR_ITERATIONS))
                pthread_setspecific(late_key, argument);
        else
                thread_check_int(ammap_as_mut_slice(argument, 0, 1, &mut), 0);
}

static void *end_late(void *argument)
{
        pthread_setspecific(late_key, argument);
        return NULL;
}

DEFINE_LOOP_TEST_IF(!TEST_TSAN, "lane", a_writer_that_ended_unseen_is_dead, 0, COUNT_OF(kinds))
{
        ammap_t *map = make(_i);
        struct holder holder;
        struct task task;
        struct found found;

        ck_assert_int_eq(pthread_key_create(&late_key, take_late), 0);
        task_start(&task, end_late, map);
        task_join(&task);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 1);
        ck_assert_int_eq(found.at[0].hold, AMMAP_HOLD_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);

        /* What it left is forgotten, and what others hold is not. */
        holder_start(&holder, map, 2 * LANE, 1, true);
        task_start(&task, end_late, map);
        task_join(&task);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        holder_stop(&holder);
        ck_assert_int_eq(pthread_key_delete(late_key), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Views --- */

DEFINE_KIND_TEST(views_are_listed)
{
        ammap_t *map = make(_i);
        ammap_u32_view_t one, none;
        ammap_u64_view_t many;
        const ammap_holder_t want[] = { { getpid(), 0, 8, 4, AMMAP_HOLD_VIEW },
                                        { getpid(), 0, 2 * LANE, 24, AMMAP_HOLD_VIEW },
                                        { getpid(), 0, 4 * LANE, 0, AMMAP_HOLD_VIEW } };
        struct found found;

        ck_assert_int_eq(ammap_atomic_u32(map, 8, &one), 0);
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 2 * LANE, 3, &many), 0);
        ck_assert_int_eq(ammap_atomic_u32_slice(map, 4 * LANE, 0, &none), 0);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 3);
        for (int i = 0; i < 3; i++)
                check_holder(&found.at[i], &want[i]);
        ck_assert_int_eq(look(map, 0, 8).count, 0);
        ck_assert_int_eq(look(map, 0, 9).count, 1);
        ck_assert_int_eq(look(map, 11, 1).count, 1);
        ck_assert_int_eq(look(map, 12, 1).count, 0);
        ck_assert_int_eq(look(map, 2 * LANE + 23, 1).count, 1);
        ck_assert_int_eq(look(map, 2 * LANE + 24, 1).count, 0);
        ck_assert_int_eq(look(map, 4 * LANE - 1, 1).count, 1);
        ck_assert_int_eq(look(map, 4 * LANE, 1).count, 1);
        ck_assert_int_eq(look(map, 4 * LANE + 1, 1).count, 0);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&one);
        ammap_u32_view_release(&none);
        ammap_u64_view_release(&many);
        ck_assert_int_eq(look_at_all(map).count, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- A fork --- */

static void look_in_child(void *argument)
{
        ammap_t *map = ((ammap_t **)argument)[0];
        bool is_shared = ((ammap_t **)argument)[1];
        ammap_holder_t holder;

        child_must_int(ammap_holders(map, 0, LENGTH, &holder, 1), 1);
        child_must(holder.hold == AMMAP_HOLD_READ);
        child_must(holder.pid == (is_shared ? getppid() : getpid()));
        child_must(!TEST_OS_LINUX || holder.tid == holder.pid);
        child_must(holder.offset == LANE && holder.length == LANE);
}

/* The child has a private map's slices as its own; of a shared map they are the parent's,
 * and of a file, too, which are not named. */
DEFINE_KIND_TEST(a_forked_child_looks)
{
        ammap_t *map = make(_i), *argument[2] = { map, kinds[_i].share == AMMAP_SHARED ? map : NULL };
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_slice(map, LANE, 1, &slice), 0);
        if (!kinds[_i].file)
                child_passes(look_in_child, argument);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void dead_in_child(void *argument)
{
        ammap_t *map = argument;
        ammap_holder_t holder;

        child_must_int(ammap_holders(map, 0, LENGTH, &holder, 1), 1);
        child_must(holder.hold == AMMAP_HOLD_DEAD);
        child_must(holder.pid == 0 && holder.tid == 0);
        child_must_int(ammap_recover(map), 0);
        child_must_int(ammap_holders(map, 0, LENGTH, NULL, 0), 0);
}

DEFINE_TEST("lane", a_writer_that_the_child_does_not_have_is_not_its_own)
{
        ammap_t *map = make(PRIVATE);
        struct holder writer;

        holder_start(&writer, map, 0, 1, true); /* an earlier one, which is not the one */
        holder_vanish(&writer);
        ck_assert_int_eq(ammap_recover(map), 0);
        holder_start(&writer, map, 0, 1, true);
        child_passes(dead_in_child, map);
        holder_stop(&writer);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void omitted_in_child(void *argument)
{
        ammap_holder_t holder;
        uint64_t begin = 1, length = 1, generation = 0;
        ammap_u32_view_t view;

        memset(&holder, 1, sizeof(holder));
        child_must_int(ammap_holders(argument, 0, 0, &holder, 1), AMMAP_ERR_UNSUPPORTED);
        child_must(is_all(&holder, 0, sizeof(holder)));
        child_must_int(ammap_lane(argument, 0, &begin, &length), AMMAP_ERR_UNSUPPORTED);
        child_must(begin == 0 && length == 0);
        child_must_int(ammap_wait_change(argument, 0, 0, &generation, 0), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_atomic_u32_slice(argument, 0, 0, &view), AMMAP_ERR_UNSUPPORTED);
}

DEFINE_KIND_TEST(a_map_that_a_fork_left_out)
{
        ammap_options_t options = options_of(_i);
        ammap_t *map;

        options.fork = AMMAP_FORK_OMIT;
        if (kinds[_i].file) {
                file_path = path_of("omitted");
                ck_assert_int_eq(open_by_kernel(&map, file_path.text, LENGTH, &options), 0);
        } else {
                map = make_with(length_of(_i), &options);
        }
        child_passes(omitted_in_child, map);
        ck_assert_int_eq(ammap_free(map), 0);
}

#if TEST_OS_LINUX
/* --- Other processes --- */

/* The kinds that they share. */
#define DEFINE_SHARED_TEST(name) DEFINE_LOOP_TEST("processes", name, SHARED, IN_FILE + 1)

static struct place place_of(int kind, ammap_t *map)
{
        struct place place = { .way = IMPORT, .map = map, .options = AMMAP_OPTIONS_INIT };

        place.fd = ammap_fd(map);
        place.options.allow_faults = true;
        if (kinds[kind].file) {
                place.way = OPEN;
                place.path = file_path.text;
        }
        return place;
}

/* Another handle on it, for what processes share. */
static ammap_t *again(int kind, ammap_t *map)
{
        ammap_options_t options = options_of(kind);
        ammap_t *other;

        if (!kinds[kind].file)
                return import_again(map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_open(&other, file_path.text, 0, &options), 0);
        return other;
}

/* By any of the process pid, which has one thread. */
static void check_is_of(const ammap_holder_t *holder, pid_t pid, ammap_hold_t hold, uint64_t first, uint64_t last)
{
        ammap_holder_t want = lanes_by(pid, hold, first, last);

        want.pid = pid;
        check_holder(holder, &want);
}

/* The pid that is told of a process. */
static pid_t told(int kind, const struct remote *remote)
{
        return kinds[kind].file ? 0 : remote->peer.pid;
}

DEFINE_SHARED_TEST(processes_are_named)
{
        ammap_t *map = make(_i);
        struct place place = place_of(_i, map);
        struct remote reader, writer;
        struct found found;
        ammap_slice_t slice;

        remote_start(&reader, &place);
        remote_start(&writer, &place);
        remote_hold(&reader, false, LANE, 2 * LANE);
        remote_hold(&writer, true, 4 * LANE, LANE + 1);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 2);
        check_is_of(&found.at[0], told(_i, &reader), AMMAP_HOLD_READ, 1, 2);
        check_is_of(&found.at[1], told(_i, &writer), AMMAP_HOLD_WRITE, 4, 5);
        ck_assert_int_eq(ammap_try_update_region(map, 2 * LANE, "x", 1), AMMAP_ERR_BUSY);
        found = look(map, 2 * LANE, 1);
        ck_assert_int_eq(found.count, 1);
        check_is_of(&found.at[0], told(_i, &reader), AMMAP_HOLD_READ, 1, 2);
        ck_assert_int_eq(look(map, 3 * LANE, 1).count, 0);

        /* Beside an own one. */
        ck_assert_int_eq(ammap_as_slice(map, 2 * LANE, 1, &slice), 0);
        found = look(map, 2 * LANE, 1);
        ck_assert_int_eq(found.count, 2);
        check_is_of(&found.at[0], told(_i, &reader), AMMAP_HOLD_READ, 1, 2);
        check_is(&found.at[1], own_tid(), AMMAP_HOLD_READ, 2, 2);
        ammap_slice_release(&slice);

        remote_release(&reader);
        ck_assert_int_eq(look(map, 0, 3 * LANE).count, 0);
        remote_release(&writer);
        ck_assert_int_eq(look_at_all(map).count, 0);
        remote_end(&reader);
        remote_end(&writer);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A reader that died is forgotten, a writer is named; also when its place is another's. */
DEFINE_SHARED_TEST(the_dead_are_named)
{
        ammap_t *map = make(_i);
        struct place place = place_of(_i, map);
        struct remote remote[2];
        struct found found;
        pid_t pid, tid;

        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0);
        for (int i = 0; i < 2; i++)
                remote_start(&remote[i], &place);
        remote_hold(&remote[0], true, LANE, 2 * LANE);
        remote_hold(&remote[1], false, 4 * LANE, 1);
        pid = told(_i, &remote[0]);
        tid = pid;
        for (int i = 0; i < 2; i++)
                remote_kill(&remote[i]);
        for (int round = 0; round < 3; round++) {
                found = look_at_all(map);
                ck_assert_int_eq(found.count, 1);
                ck_assert_int_eq(found.at[0].tid, tid);
                check_is_of(&found.at[0], pid, AMMAP_HOLD_DEAD, 1, 2);
                ck_assert_int_eq(ammap_try_update_region(map, LANE, "x", 1), AMMAP_ERR_OWNER_DEAD);
                for (int i = 0; i < 3; i++)
                        ck_assert_int_eq(op_elsewhere(OP_UPDATE, map, 6 * LANE, 1), 0);
                remote_start(&remote[0], &place);
                ck_assert_int_eq(remote_op(&remote[0], OP_UPDATE, 6 * LANE, 1, 0), 0);
                ck_assert_int_eq(remote_op(&remote[0], OP_UPDATE, LANE, 1, 0), AMMAP_ERR_OWNER_DEAD);
                remote_end(&remote[0]);
        }
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(look_at_all(map).count, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* One after the other dies in one lane, and each is told. */
DEFINE_TEST("processes", the_last_of_the_dead_is_named)
{
        ammap_t *map = make(SHARED);
        struct place place = place_of(SHARED, map);

        for (int round = 0; round < 3; round++) {
                struct remote remote;
                struct found found;
                pid_t pid;

                remote_start(&remote, &place);
                pid = remote.peer.pid;
                remote_hold(&remote, true, 0, 1);
                remote_kill(&remote);
                ck_assert_int_eq(ammap_fill(map, LANE, 1, 1), 0);
                ck_assert_int_eq(op_elsewhere(OP_UPDATE, map, LANE, 1), 0);
                found = look_at_all(map);
                ck_assert_int_eq(found.count, 1);
                check_is_of(&found.at[0], pid, AMMAP_HOLD_DEAD, 0, 0);
                ck_assert_int_eq(ammap_recover(map), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Whoever asks for one lane is told of all that was left with it, to the map's last lane. */
DEFINE_SHARED_TEST(the_dead_of_the_last_lanes)
{
        ammap_t *map = make(_i);
        struct holder writer;
        struct found found;

        holder_start(&writer, map, 5 * LANE, LENGTH - 5 * LANE, true);
        holder_vanish(&writer);
        for (uint64_t lane = 5; lane < LANES; lane++) {
                found = look(map, lane * LANE, 1);
                ck_assert_int_eq(found.count, 1);
                ck_assert_int_eq(found.at[0].hold, AMMAP_HOLD_DEAD);
                ck_assert_uint_eq(found.at[0].offset, 5 * LANE);
                ck_assert_uint_eq(found.at[0].offset + found.at[0].length, LENGTH);
        }
        ck_assert_int_eq(look(map, 0, 5 * LANE).count, 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What one of them holds the kernel shows to each other one as a stranger's. */
DEFINE_TEST("processes", three_maps_in_one_file)
{
        ammap_options_t options = options_of(IN_FILE);
        ammap_t *map[3] = { make(IN_FILE) };
        ammap_mut_slice_t mut;

        for (int i = 1; i < 3; i++)
                ck_assert_int_eq(ammap_open(&map[i], file_path.text, LENGTH, &options), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(ammap_as_mut_slice(map[i], 0, 1, &mut), 0);
                for (int j = 0; j < 3; j++) {
                        struct found found = look_at_all(map[j]);

                        ck_assert_int_eq(found.count, 1);
                        check_is(&found.at[0], (int)syscall(SYS_gettid), AMMAP_HOLD_WRITE, 0, 0);
                }
                ammap_mut_slice_release(&mut);
        }
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(ammap_free(map[i]), 0);
}

/* Nor is one for the other where nothing tells of the later one. */
DEFINE_TEST("processes", the_dead_of_before_is_not_named)
{
        ammap_t *map = make(SHARED);
        const off_t lane = sizeof(struct format_head);
        struct holder writer;
        struct found found;
        uint64_t sequence;

        holder_start(&writer, map, 0, 1, true);
        holder_vanish(&writer);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(pread(ammap_fd(map), &sequence, 8, lane), 8);
        sequence |= 1;
        ck_assert_int_eq(pwrite(ammap_fd(map), &sequence, 8, lane), 8);
        found = look_at_all(map);
        ck_assert_int_eq(found.count, 1);
        check_is_of(&found.at[0], 0, AMMAP_HOLD_DEAD, 0, 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A handle that may only read tells who keeps it from reading. */
DEFINE_SHARED_TEST(a_reader_without_rights_is_told)
{
        ammap_t *map = make(_i), *reader;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct holder writer;
        struct found found;
        char byte;

        options.read_only = true;
        options.allow_faults = true;
        if (kinds[_i].file)
                ck_assert_int_eq(ammap_open(&reader, file_path.text, 0, &options), 0);
        else
                ck_assert_int_eq(ammap_import(&reader, ammap_fd(map), &options), 0);
        holder_start(&writer, map, 0, 1, true);
        ck_assert_int_eq(op_elsewhere(OP_TRY_READ, reader, 0, 1), AMMAP_ERR_BUSY);
        found = look_at_all(reader);
        ck_assert_int_eq(found.count, 1);
        check_is(&found.at[0], atomic_load(&writer.task.tid), AMMAP_HOLD_WRITE, 0, 0);
        holder_vanish(&writer);
        ck_assert_int_eq(ammap_try_read_into(reader, 0, &byte, 1), AMMAP_ERR_OWNER_DEAD);
        found = look_at_all(reader);
        ck_assert_int_eq(found.count, 1);
        ck_assert_int_eq(found.at[0].hold, AMMAP_HOLD_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(look_at_all(reader).count, 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Several handles of this process are one: none is listed as another process. */
DEFINE_SHARED_TEST(all_handles_are_one)
{
        ammap_t *map = make(_i), *other = again(_i, map);
        struct holder reader, writer;
        ammap_u32_view_t view;
        struct found found;

        holder_start(&reader, map, 0, 1, false);
        holder_start(&writer, map, 2 * LANE, 1, true);
        ck_assert_int_eq(ammap_atomic_u32(map, 4 * LANE, &view), 0);
        found = look_at_all(other);
        ck_assert_int_eq(found.count, 3);
        check_is(&found.at[0], atomic_load(&reader.task.tid), AMMAP_HOLD_READ, 0, 0);
        check_is(&found.at[1], atomic_load(&writer.task.tid), AMMAP_HOLD_WRITE, 2, 2);
        ck_assert_int_eq(found.at[2].hold, AMMAP_HOLD_VIEW);
        ck_assert_int_eq(found.at[2].pid, getpid());
        ammap_u32_view_release(&view);
        holder_stop(&reader);
        holder_stop(&writer);
        ck_assert_int_eq(look_at_all(other).count, 0);
        ck_assert_int_eq(ammap_free(other), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_KIND_TEST(slices_of_a_frozen_map_are_listed)
{
        ammap_t *map = make(_i), *reader = map;
        ammap_slice_t slice;
        struct found found;

        ck_assert_int_eq(ammap_freeze(map), 0);
        if (_i == SHARED)
                reader = import_again(map, AMMAP_READ);
        ck_assert_int_eq(ammap_as_slice(reader, 0, 1, &slice), 0);
        for (int i = 0; i < 2; i++) {
                found = look_at_all(i ? map : reader);
                ck_assert_int_eq(found.count, 1);
                check_is(&found.at[0], own_tid(), AMMAP_HOLD_READ, 0, 0);
        }
        ammap_slice_release(&slice);
        ck_assert_int_eq(look_at_all(reader).count, 0);
        if (reader != map)
                ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A process of another PID namespace has other numbers for all of them. */
struct elsewhere {
        int fd;
        _Atomic bool refused;
};

static void look_from_elsewhere(struct peer *parent, void *argument)
{
        struct elsewhere *elsewhere = argument;
        ammap_holder_t holder;
        ammap_t *map;
        pid_t child;
        int status;

        (void)parent;
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0 && unshare(CLONE_NEWPID) < 0) {
                atomic_store(&elsewhere->refused, true);
                return;
        }
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                child_must_int(ammap_import(&map, elsewhere->fd, NULL), 0);
                child_must_int(ammap_holders(map, 0, LENGTH, &holder, 1), 1);
                child_must(holder.hold == AMMAP_HOLD_WRITE && holder.pid == 0 && holder.tid == 0);
                child_must(holder.offset == LANE && holder.length == LANE);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child);
        child_must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

DEFINE_TEST("processes", another_pid_namespace_knows_no_names)
{
        ammap_t *map = make(SHARED);
        struct elsewhere *elsewhere = board_of(sizeof(*elsewhere));
        ammap_mut_slice_t mut;
        struct peer peer;

        elsewhere->fd = ammap_fd(map);
        ck_assert_int_eq(ammap_as_mut_slice(map, LANE, 1, &mut), 0);
        peer_start(&peer, look_from_elsewhere, elsewhere);
        peer_end(&peer);
        if (atomic_load(&elsewhere->refused))
                skip_part(__func__, "no PID namespaces here");
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
        munmap(elsewhere, sizeof(*elsewhere));
}

/* What a peer writes is not handed on where it could mean more than a process: to kill(),
 * say. */
DEFINE_TEST("processes", numbers_that_no_process_has_are_not_told)
{
        static const uint32_t lies[] = { 0x80000000U, UINT32_MAX, (uint32_t)-2 };
        const off_t lane = sizeof(struct format_head);
        const uint64_t odd = 1;
        ammap_t *map = make(SHARED);
        int fd = ammap_fd(map);

        ck_assert_int_eq(pwrite(fd, &odd, 8, lane), 8);
        for (size_t i = 0; i < COUNT_OF(lies); i++) {
                struct found found;

                ck_assert_int_eq(pwrite(fd, &lies[i], 4, lane + (off_t)offsetof(struct format_lane, dead_process)), 4);
                ck_assert_int_eq(pwrite(fd, &lies[i], 4, lane + (off_t)offsetof(struct format_lane, dead_thread)), 4);
                found = look_at_all(map);
                ck_assert_int_eq(found.count, 1);
                check_is_of(&found.at[0], 0, AMMAP_HOLD_DEAD, 0, 0);
        }
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("processes", a_file_that_was_cut)
{
        ammap_t *map = make(IN_FILE);
        ammap_holder_t holder;
        uint64_t begin = 1, length = 1;

        memset(&holder, 1, sizeof(holder));
        ck_assert_int_eq(truncate(file_path.text, 0), 0);
        ck_assert_int_eq(ammap_holders(map, 0, 1, &holder, 1), AMMAP_ERR_FAULT);
        ck_assert(is_all(&holder, 0, sizeof(holder)));
        ck_assert_int_eq(ammap_lane(map, 0, &begin, &length), AMMAP_ERR_FAULT);
        ck_assert_uint_eq(begin, 0);
        ck_assert_uint_eq(length, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
#endif

/* --- Many --- */

DEFINE_TEST("lane", more_holders_than_there_is_room_for_at_first)
{
        enum { MANY = 100 };
        ammap_t *map = new_map(2 * MANY, 2 * MANY);
        ammap_holder_t holders[MANY];
        ammap_mut_slice_t mut[MANY];

        for (int i = 0; i < MANY; i++) {
                ck_assert_int_eq(ammap_as_mut_slice(map, 2 * (uint64_t)i, 1, &mut[i]), 0);
                ck_assert_int_eq(ammap_holders(map, 0, 2 * MANY, holders, MANY), i + 1);
                for (int j = 0, sum = 0; j <= i; j++) {
                        ck_assert_uint_eq(holders[j].length, 1);
                        sum += (int)holders[j].offset;
                        ck_assert(j < i || sum == i * (i + 1));
                }
        }
        for (int i = 0; i < MANY; i++)
                ammap_mut_slice_release(&mut[i]);
        ck_assert_int_eq(ammap_holders(map, 0, 2 * MANY, holders, MANY), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Beside those who come and go --- */

struct crowd {
        ammap_t *map;
        _Atomic bool stop;
};

static void *come_and_go(void *argument)
{
        struct crowd *crowd = argument;

        for (uint64_t i = 0; !atomic_load(&crowd->stop); i++) {
                const uint64_t offset = i * 7 % LANES * LANE % LENGTH;
                ammap_slice_t slice = { 0 };
                ammap_mut_slice_t mut = { 0 };

                if (i % 3)
                        thread_check_int(ammap_as_slice(crowd->map, offset, LENGTH - offset, &slice), 0);
                else
                        thread_check_int(ammap_as_mut_slice(crowd->map, offset, 1, &mut), 0);
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
                thread_check_int(ammap_fill(crowd->map, offset, 1, 'c'), 0);
        }
        return NULL;
}

DEFINE_KIND_TEST(a_snapshot_beside_a_crowd)
{
        struct crowd crowd = { .map = make(_i) };
        struct task tasks[3];

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], come_and_go, &crowd);
        for (int round = rounds(2000); round > 0; round--) {
                struct found found = look_at_all(crowd.map);

                for (int i = 0; i < found.count; i++) {
                        const ammap_holder_t *at = &found.at[i];

                        ck_assert(at->hold == AMMAP_HOLD_READ || at->hold == AMMAP_HOLD_WRITE);
                        ck_assert(at->pid == getpid() || (kinds[_i].file && at->pid == 0));
                        ck_assert_uint_eq(at->offset % LANE, 0);
                        ck_assert(at->length > 0 && at->offset + at->length <= length_of(_i));
                }
        }
        atomic_store(&crowd.stop, true);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(look_at_all(crowd.map).count, 0);
        ck_assert_int_eq(ammap_free(crowd.map), 0);
}

int main(void)
{
        return run_sharing("lane");
}
