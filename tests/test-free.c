/* test-free.c - a map that a thread sleeps in is not freed
 *
 * SPDX-License-Identifier: MIT
 */
#include "calls.h"

/* --- Calls that wait for a word, for bytes, for a process --- */

enum waits { WAIT_WORD, WAIT_PEER, WAIT_CHANGE, WAITS };

struct sleeper {
        ammap_t *map;
        enum waits waits;
        enum op op;
        int rc;
};

static void *sleep_body(void *argument)
{
        struct sleeper *sleeper = argument;
        uint64_t generation = 0;

        switch (sleeper->waits) {
        case WAIT_WORD:
                sleeper->rc = ammap_wait_u32(sleeper->map, 0, 0, patience_ns());
                break;
        case WAIT_PEER:
                sleeper->rc = ammap_wait_u32_peer(sleeper->map, 0, 0, patience_ns(), (int32_t)getpid());
                break;
        default:
                ck_assert_int_eq(ammap_wait_change(sleeper->map, 0, 4, &generation, -1), 0);
                sleeper->rc = ammap_wait_change(sleeper->map, 0, 4, &generation, patience_ns());
                break;
        }
        return NULL;
}

DEFINE_LOOP_TEST("free", while_one_waits, 0, COUNT_OF(world_kinds))
{
        for (enum waits waits = 0; waits < WAITS; waits++) {
                uint32_t one = 1;
                struct world world;
                struct sleeper sleeper;
                struct task task;

                world_begin(&world, &world_kinds[_i]);
                ck_assert_int_eq(ammap_fill(world.map, 0, 4, 0), 0);
                sleeper = (struct sleeper){ .map = world.map, .waits = waits, .rc = 1 };
                task_start(&task, sleep_body, &sleeper);
                ck_assert(task_sleeps(&task));
                ck_assert_int_eq(ammap_free(world.map), AMMAP_ERR_BUSY);
                ck_assert_int_eq(ammap_update_region(world.map, 0, &one, sizeof(one)), 0);
                ck_assert_int_ge(ammap_wake_u32(world.map, 0, 1), 0);
                task_join(&task);
                ck_assert_int_eq(sleeper.rc, 0);
                world_end(&world); /* which frees it */
        }
}

/* --- Calls that wait for a lane that another process has --- */

#if TEST_OS_LINUX

static void *op_body(void *argument)
{
        struct sleeper *sleeper = argument;

        sleeper->rc = op_run(sleeper->op, sleeper->map, 0, 10, patience_ns());
        return NULL;
}

DEFINE_LOOP_TEST("free", while_one_waits_for_a_lane, 0, 3)
{
        static const enum op ops[] = { OP_READ_INTO, OP_UPDATE, OP_SLICE, OP_MUT_SLICE, OP_FILL };
        struct path path = path_of("free");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        enum in_file by = (enum in_file)_i;

        options.lanes = 2;
        options.allow_faults = true;
        for (size_t i = 0; i < COUNT_OF(ops); i++) {
                struct place place = { by ? OPEN : IMPORT, NULL, -1, path.text, options };
                struct sleeper sleeper;
                struct remote remote;
                struct task task;
                ammap_t *map;

                if (by) {
                        ck_assert_int_eq(open_in_file(by, &map, path.text, 40000, &options), 0);
                } else {
                        options.share = AMMAP_SHARED;
                        map = make_with(40000, &options);
                        place.fd = ammap_fd(map);
                }
                remote_start(&remote, &place);
                remote_hold(&remote, 1, 0, 10);
                sleeper = (struct sleeper){ .map = map, .op = ops[i], .rc = 1 };
                task_start(&task, op_body, &sleeper);
                ck_assert(task_sleeps(&task));
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                remote_release(&remote);
                task_join(&task);
                ck_assert_int_eq(sleeper.rc, 0);
                remote_end(&remote);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Who sleeps in the parent does not sleep in the child. */
DEFINE_LOOP_TEST("free", in_a_child, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct sleeper sleeper;
        struct task task;
        uint32_t one = 1;
        pid_t child;
        int status;

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_fill(world.map, 0, 4, 0), 0);
        sleeper = (struct sleeper){ .map = world.map, .waits = WAIT_WORD, .rc = 1 };
        task_start(&task, sleep_body, &sleeper);
        ck_assert(task_sleeps(&task));
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(ammap_free(world.map) != 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(ammap_update_region(world.map, 0, &one, sizeof(one)), 0);
        ck_assert_int_ge(ammap_wake_u32(world.map, 0, 1), 0);
        task_join(&task);
        world_end(&world);
}

#endif

int main(void)
{
        return run_sharing("free");
}
