/* test-detach.c - slices in the hands of other threads, on every kind of map
 *
 * SPDX-License-Identifier: MIT
 */
#include "calls.h"

enum { ALL = COUNT_OF(world_kinds) };

/* --- Release by the wrong thread ------------------------------------------- */

struct release {
        ammap_slice_t *slice;
        ammap_mut_slice_t *mut;
        int result;
};

static void *release_body(void *argument)
{
        struct release *release = argument;

        release->result = release->slice ? ammap_slice_release(release->slice) : ammap_mut_slice_release(release->mut);
        return NULL;
}

static int release_elsewhere(ammap_slice_t *slice, ammap_mut_slice_t *mut)
{
        struct release release = { slice, mut, INT_MIN };
        struct task task;

        task_start(&task, release_body, &release);
        task_join(&task);
        return release.result;
}

DEFINE_LOOP_TEST("release", another_threads_slice_stays, 0, ALL)
{
        struct world world;
        ammap_slice_t copy;
        ammap_mut_slice_t mut_copy;

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
        copy = world.slice;
        ck_assert_int_eq(release_elsewhere(&world.slice, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(memcmp(&copy, &world.slice, sizeof(copy)), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_ptr_null(world.slice.data);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), 0);

        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
        mut_copy = world.mut_slice;
        ck_assert_int_eq(release_elsewhere(NULL, &world.mut_slice), AMMAP_ERR_INVALID);
        ck_assert_int_eq(memcmp(&mut_copy, &world.mut_slice, sizeof(mut_copy)), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world.map, 0, world.size), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        ck_assert_ptr_null(world.mut_slice.data);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), 0);
        world_end(&world);
}

DEFINE_LOOP_TEST("release", what_holds_nothing_is_released, 0, ALL)
{
        struct world world;
        ammap_slice_t copy;

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_slice_release(NULL), 0);
        ck_assert_int_eq(ammap_mut_slice_release(NULL), 0);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
        copy = world.slice;
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_slice_release(&copy), 0);
        ck_assert_ptr_null(copy.data);
        world_end(&world);
}

/* The parent's slices hold nothing in the child, and stay the parent's. */
static void heir_body(struct peer *parent, void *argument)
{
        struct world *world = argument;

        (void)parent;
        child_must_int(ammap_slice_release(&world->slice), 0);
        child_must(!world->slice.data);
        child_must_int(ammap_mut_slice_release(&world->mut_slice), 0);
        child_must(!world->mut_slice.data);
}

DEFINE_LOOP_TEST("release", a_child_releases_nothing, 0, 2 * ALL)
{
        struct world world;
        struct peer peer;
        bool writes = _i % 2;

        world_begin(&world, &world_kinds[_i / 2]);
        if (writes)
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
        else
                ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
        peer_start(&peer, heir_body, &world);
        peer_end(&peer);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world.map, 0, world.size), writes ? AMMAP_ERR_BUSY : 0);
        world_end(&world);
}

int main(void)
{
        return run_sharing("detach");
}
