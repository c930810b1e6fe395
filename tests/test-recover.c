/* test-recover.c - mut slices of what a dead writer left (lib/slice.c), on every kind of map
 *
 * SPDX-License-Identifier: MIT
 *
 * With nobody dead it is as ammap_as_mut_slice.  Where one died, one caller gets the bytes,
 * nobody else does before he is done, and his own death leaves them as they were.
 */
#define WORLD_PAGES 16
#include "calls.h"

enum { BYTES = 600 };

/* Half a write: of x over m, by one that is dead then. */
static void die_writing(ammap_t *map, uint64_t offset, uint64_t length)
{
        struct holder holder;

        holder_start(&holder, map, offset, length, true);
        memset(holder.data, 'x', (size_t)length / 2);
        holder_vanish(&holder);
}

static void check_all(ammap_t *map, uint64_t offset, uint64_t length, int want)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                ck_assert_int_eq(op_run(op, map, offset, length, SECOND), want);
                ck_assert_int_eq(op_elsewhere(op, map, offset, length), want);
        }
}

/* Another thread, without waiting: it is told that somebody is in, not that he died. */
static void check_kept_out(ammap_t *map, uint64_t offset, uint64_t length)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                if (op_tries(op))
                        ck_assert_int_eq(op_elsewhere(op, map, offset, length), AMMAP_ERR_BUSY);
                else if (op_is_timed(op))
                        ck_assert_int_eq(op_elsewhere(op, map, offset, length), AMMAP_ERR_TIMEOUT);
}

static void recover(ammap_t *map, uint64_t offset, ammap_mut_slice_t *mut, int want)
{
        memset(mut, 0xff, sizeof(*mut));
        ck_assert_int_eq(ammap_recover_as_mut_slice(map, offset, BYTES, mut), want);
        if (want < 0)
                ck_assert(slice_is_zero(mut));
        else
                ck_assert_uint_eq(mut->length, BYTES);
}

/* --- Nobody died ---------------------------------------------------------------- */

DEFINE_LOOP_TEST("recover", bad_input, 0, COUNT_OF(world_kinds))
{
        static const struct {
                uint64_t offset, length;
        } ranges[] = { { 0, 0 }, { 0, 1 }, { UINT64_MAX, 1 }, { 1, UINT64_MAX }, { INT64_MAX, INT64_MAX } };
        struct world world;
        ammap_mut_slice_t mut;

        world_begin(&world, &world_kinds[_i]);
        for (size_t i = 0; i < COUNT_OF(ranges); i++) {
                uint64_t offset = ranges[i].offset, length = ranges[i].length;

                ck_assert_int_eq(ammap_recover_as_mut_slice(NULL, offset, length, NULL), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_recover_as_mut_slice(world.map, offset, length, NULL), AMMAP_ERR_INVALID);
                memset(&mut, 0xff, sizeof(mut));
                ck_assert_int_eq(ammap_recover_as_mut_slice(NULL, offset, length, &mut), AMMAP_ERR_INVALID);
                ck_assert(slice_is_zero(&mut));
                memset(&mut, 0xff, sizeof(mut));
                ck_assert_int_eq(ammap_recover_as_mut_slice(world.map, offset, length, &mut),
                                 range_is_inside(world.size, offset, length) ? 0 : AMMAP_ERR_BOUNDS);
                ammap_mut_slice_release(&mut);
                ck_assert(slice_is_zero(&mut));
        }
        world_end(&world);
}

static void *wait_to_recover(void *argument)
{
        ammap_t *map = argument;
        ammap_mut_slice_t mut;

        thread_check_int(ammap_recover_as_mut_slice(map, 0, ammap_len(map), &mut), 0);
        ammap_mut_slice_release(&mut);
        return NULL;
}

DEFINE_LOOP_TEST("recover", with_nobody_dead_it_is_a_mut_slice, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut, more;
        ammap_slice_t slice;
        struct holder holder;
        struct task task;
        uint64_t place;

        world_begin(&world, &world_kinds[_i]);
        place = world_range(&world, BYTES);
        recover(world.map, place, &mut, 0);
        ck_assert(is_all(mut.data, 'm', BYTES));
        memset(mut.data, 'n', BYTES);
        check_kept_out(world.map, place, BYTES);
        recover(world.map, place, &more, AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);
        ck_assert(holds(world.map, place, BYTES, 'n'));
        ck_assert_int_eq(ammap_as_slice(world.map, place, 10, &slice), 0);
        recover(world.map, place, &more, AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        for (int writes = 0; writes < 2; writes++) {
                holder_start(&holder, world.map, place, BYTES, writes);
                task_start(&task, wait_to_recover, world.map);
                ck_assert(task_sleeps(&task));
                holder_stop(&holder);
                task_join(&task);
        }
        check_all(world.map, 0, world.size, 0);
        ck_assert_int_eq(ammap_freeze(world.map), 0);
        recover(world.map, place, &mut, AMMAP_ERR_READ_ONLY);
        world_end(&world);
}

/* --- One died ---------------------------------------------------------------------- */

DEFINE_LOOP_TEST("recover", what_the_dead_left, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        uint64_t place;

        world_begin(&world, &world_kinds[_i]);
        place = world_range(&world, BYTES);
        for (int round = 0; round < 4; round++) {
                ck_assert_int_eq(ammap_fill(world.map, 0, world.size, 'm'), 0);
                die_writing(world.map, place, BYTES);
                check_all(world.map, place, BYTES, AMMAP_ERR_OWNER_DEAD);
                recover(world.map, place, &mut, 1);
                ck_assert(is_all(mut.data, 'x', BYTES / 2));
                ck_assert(is_all(mut.data + BYTES / 2, 'm', BYTES / 2));
                check_kept_out(world.map, place, BYTES);
                ck_assert_uint_eq(stat_of(world.map).slices, 1);
                ck_assert_int_eq(ammap_free(world.map), AMMAP_ERR_BUSY);
                /* He who has it lives: there is nothing to recover from. */
                ck_assert_int_eq(ammap_recover(world.map), 0);
                check_kept_out(world.map, place, BYTES);
                memset(mut.data, 'r', BYTES);
                if (round % 2) {
                        ammap_mut_slice_release(&mut);
                } else {
                        ck_assert_int_eq(ammap_mut_slice_downgrade(&mut, &slice), 0);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world.map, place, BYTES), 0);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, place, BYTES), AMMAP_ERR_BUSY);
                        ck_assert(is_all(slice.data, 'r', BYTES));
                        ammap_slice_release(&slice);
                }
                ck_assert(holds(world.map, place, BYTES, 'r'));
                check_all(world.map, 0, world.size, 0);
                recover(world.map, place, &mut, 0);
                ammap_mut_slice_release(&mut);
        }
        world_end(&world);
}

struct heir {
        ammap_t *map;
        uint64_t place;
        int want;
};

static void *inherit_and_end(void *argument)
{
        struct heir *heir = argument;
        ammap_mut_slice_t mut;

        thread_check_int(ammap_recover_as_mut_slice(heir->map, heir->place, BYTES, &mut), heir->want);
        return NULL;
}

/* Who dies with it leaves it as he found it: lanes that were good are dead now, too. */
DEFINE_LOOP_TEST("recover", death_upon_death, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct heir heir;
        struct task task;
        ammap_mut_slice_t mut;

        world_begin(&world, &world_kinds[_i]);
        heir = (struct heir){ world.map, world_range(&world, BYTES), 0 };
        for (int times = 0; times < 4; times++) {
                heir.want = times > 0;
                task_start(&task, inherit_and_end, &heir);
                task_join(&task);
                check_all(world.map, heir.place, BYTES, AMMAP_ERR_OWNER_DEAD);
        }
        recover(world.map, heir.place, &mut, 1);
        ammap_mut_slice_release(&mut);
        check_all(world.map, 0, world.size, 0);
        world_end(&world);
}

/* --- One of many ------------------------------------------------------------------------ */

enum { HEIRS = 4 };

struct crowd {
        ammap_t *map;
        uint64_t place;
        struct crowd_board {
                _Atomic int ones, zeros;
        } * board;
};

static void *crowd_body(void *argument)
{
        struct crowd *crowd = argument;
        ammap_mut_slice_t mut;
        int rc = ammap_recover_as_mut_slice(crowd->map, crowd->place, BYTES, &mut);

        thread_check(rc == 0 || rc == 1);
        if (rc == 0) /* after the repair */
                thread_check(is_all(mut.data, 'r', BYTES));
        memset(mut.data, 'r', BYTES);
        atomic_fetch_add(rc ? &crowd->board->ones : &crowd->board->zeros, 1);
        ammap_mut_slice_release(&mut);
        return NULL;
}

static void crowd_peer_body(struct peer *parent, void *argument)
{
        (void)parent;
        crowd_body(argument);
        child_must(atomic_load(&thread_failures) == 0);
}

/* Of several at once, in one process or in two, one gets 1, and the others see what it did. */
DEFINE_LOOP_TEST("recover", one_gets_it, 0, COUNT_OF(world_kinds))
{
        struct crowd crowd = { .board = board_of(sizeof(struct crowd_board)) };
        struct world world;

        world_begin(&world, &world_kinds[_i]);
        crowd.map = world.map;
        crowd.place = world_range(&world, BYTES);
        for (int round = 0; round < rounds(100); round++) {
                struct task tasks[HEIRS];
                struct peer peer = { 0, -1, -1 };

                die_writing(world.map, crowd.place, BYTES);
                if (world_is_joint(&world))
                        peer_start(&peer, crowd_peer_body, &crowd);
                for (size_t i = 0; i < HEIRS; i++)
                        task_start(&tasks[i], crowd_body, &crowd);
                for (size_t i = 0; i < HEIRS; i++)
                        task_join(&tasks[i]);
                if (world_is_joint(&world))
                        peer_end(&peer);
                ck_assert_int_eq(atomic_load(&crowd.board->ones), round + 1);
                ck_assert(holds(world.map, crowd.place, BYTES, 'r'));
        }
        munmap(crowd.board, sizeof(*crowd.board));
        world_end(&world);
}

/* --- Of several lanes ------------------------------------------------------------------- */

/* Where it fails, what was dead is dead, and what was good is good. */
DEFINE_LOOP_TEST("recover", a_call_that_fails_changes_nothing, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        uint64_t lane;

        world_begin(&world, &world_kinds[_i]);
        lane = lane_size(world.map);
        if (2 * lane < world.size) {
                die_writing(world.map, lane, 10);
                ck_assert_int_eq(ammap_as_slice(world.map, 2 * lane, 10, &slice), 0);
                /* Lane 0 is good, 1 is dead, and 2 is the calling thread's. */
                ck_assert_int_eq(ammap_recover_as_mut_slice(world.map, 0, 2 * lane + 1, &mut), AMMAP_ERR_DEADLOCK);
                ck_assert(slice_is_zero(&mut));
                check_all(world.map, 0, lane, 0);
                check_all(world.map, lane, lane, AMMAP_ERR_OWNER_DEAD);
                ammap_slice_release(&slice);
                ck_assert_int_eq(ammap_recover_as_mut_slice(world.map, 0, 2 * lane + 1, &mut), 1);
                check_kept_out(world.map, 0, lane);
                check_kept_out(world.map, lane, lane);
                check_kept_out(world.map, 2 * lane, 1);
                ammap_mut_slice_release(&mut);
                check_all(world.map, 0, world.size, 0);
        }
        world_end(&world);
}

static void *recover_all(void *argument)
{
        ammap_t *map = argument;
        ammap_mut_slice_t mut;

        thread_check_int(ammap_recover_as_mut_slice(map, 0, ammap_len(map), &mut), 1);
        thread_check(is_all(mut.data, 'x', 5));
        ammap_mut_slice_release(&mut);
        return NULL;
}

/* It waits for the living beside the dead. */
DEFINE_LOOP_TEST("recover", the_living_are_waited_for, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct holder holder;
        struct task task;

        world_begin(&world, &world_kinds[_i]);
        if (world_has_lanes(&world))
                for (int writes = 0; writes < 2; writes++) {
                        die_writing(world.map, 0, 10);
                        holder_start(&holder, world.map, lane_size(world.map), 10, writes);
                        task_start(&task, recover_all, world.map);
                        ck_assert(task_sleeps(&task));
                        holder_stop(&holder);
                        task_join(&task);
                        check_all(world.map, 0, world.size, 0);
                }
        world_end(&world);
}

/* --- Processes ------------------------------------------------------------------------------ */

static void killed_body(struct peer *parent, void *argument)
{
        inherit_and_end(argument);
        child_must(atomic_load(&thread_failures) == 0);
        peer_tell(parent, 'h');
        peer_hear(parent);
}

/* Killed with it, again and again. */
DEFINE_LOOP_TEST("recover", killed_with_it, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct heir heir;
        struct peer peer;
        ammap_mut_slice_t mut;

        world_begin(&world, &world_kinds[_i]);
        heir = (struct heir){ world.map, world_range(&world, BYTES), 0 };
        if (world_is_joint(&world)) {
                for (int times = 0; times < 3; times++) {
                        heir.want = times > 0;
                        peer_start(&peer, killed_body, &heir);
                        peer_expect(&peer, 'h');
                        check_kept_out(world.map, heir.place, BYTES);
                        peer_kill(&peer);
                        check_all(world.map, heir.place, BYTES, AMMAP_ERR_OWNER_DEAD);
                }
                recover(world.map, heir.place, &mut, 1);
                ammap_mut_slice_release(&mut);
                check_all(world.map, 0, world.size, 0);
        }
        world_end(&world);
}

/* A child finds dead what a thread wrote that it does not have; and its parent goes on. */
static void forked_body(void *argument)
{
        struct world *world = argument;
        uint64_t place = world_range(world, BYTES);
        ammap_mut_slice_t mut;

        child_must_int(op_run(OP_READ_INTO, world->map, place, BYTES, 0), AMMAP_ERR_OWNER_DEAD);
        child_must_int(ammap_recover_as_mut_slice(world->map, place, BYTES, &mut), 1);
        /* What is secret is wiped there. */
        child_must(is_all(mut.data, world->kind->more && world->kind->share == AMMAP_PRIVATE ? 0 : 'm', BYTES));
        child_must_int(op_elsewhere(OP_TRY_SLICE, world->map, place, BYTES), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        child_must_int(op_run(OP_UPDATE, world->map, 0, world->size, 0), 0);
}

DEFINE_LOOP_TEST("recover", forks_leave_the_dead, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct holder holder;

        world_begin(&world, &world_kinds[_i]);
        if (!world_is_joint(&world) && !TEST_TSAN) {
                holder_start(&holder, world.map, world_range(&world, BYTES), BYTES, true);
                child_passes(forked_body, &world);
                check_kept_out(world.map, world_range(&world, BYTES), BYTES);
                holder_stop(&holder);
                check_all(world.map, 0, world.size, 0);
        }
        world_end(&world);
}

#if TEST_OS_LINUX

/* Who may not write a map does not repair it. */
DEFINE_TEST("recover", readers_do_not)
{
        ammap_t *map = make_shared(1000, 0, 1), *reader = import_again(map, AMMAP_READ);
        ammap_mut_slice_t mut;

        for (int dead = 0; dead < 2; dead++) {
                memset(&mut, 0xff, sizeof(mut));
                ck_assert_int_eq(ammap_recover_as_mut_slice(reader, 0, BYTES, &mut), AMMAP_ERR_READ_ONLY);
                ck_assert(slice_is_zero(&mut));
                if (!dead)
                        die_writing(map, 0, BYTES);
        }
        ck_assert_int_eq(ammap_read_into(reader, 0, &(char){ 0 }, 1), AMMAP_ERR_OWNER_DEAD);
        recover(map, 0, &mut, 1);
        ck_assert_int_eq(ammap_try_read_into(reader, 0, &(char){ 0 }, 1), AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_read_into(reader, 0, &(char){ 0 }, 1), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

int main(void)
{
        return run_tests("recover", share_case);
}
