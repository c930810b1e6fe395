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

/* --- Detached ----------------------------------------------------------------- */

/* Takes a slice, detaches it, and ends. */
struct giver {
        ammap_t *map;
        uint64_t offset, length;
        ammap_slice_t *slice; /* or */
        ammap_mut_slice_t *mut;
        int result;
};

static void *giver_body(void *argument)
{
        struct giver *giver = argument;
        int rc = giver->slice ? ammap_as_slice(giver->map, giver->offset, giver->length, giver->slice)
                              : ammap_as_mut_slice(giver->map, giver->offset, giver->length, giver->mut);

        if (rc == 0)
                rc = giver->slice ? ammap_slice_detach(giver->slice) : ammap_mut_slice_detach(giver->mut);
        giver->result = rc;
        return NULL;
}

static int give(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice, ammap_mut_slice_t *mut)
{
        struct giver giver = { map, offset, length, slice, mut, INT_MIN };
        struct task task;

        task_start(&task, giver_body, &giver);
        task_join(&task);
        return giver.result;
}

/* What is in the way of all alike. */
static void check_in_the_way(ammap_t *map, uint64_t offset, bool writes)
{
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, offset, 1, 0), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, map, offset, 1, MS), AMMAP_ERR_TIMEOUT);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, offset, 1, 0), writes ? AMMAP_ERR_BUSY : 0);
        ck_assert_int_eq(op_run(OP_TIMED_SLICE, map, offset, 1, MS), writes ? AMMAP_ERR_TIMEOUT : 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, offset, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, offset, 1), writes ? AMMAP_ERR_BUSY : 0);
        ck_assert_uint_eq(stat_of(map).slices, 1);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
}

static void check_free_again(ammap_t *map)
{
        ck_assert_uint_eq(stat_of(map).slices, 0);
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 0, ammap_len(map), SECOND), 0);
}

DEFINE_LOOP_TEST("detach", detach_refuses_bad_input, 0, ALL)
{
        struct world world;
        ammap_slice_t zero = { 0 };
        ammap_mut_slice_t zero_mut = { 0 };

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_slice_detach(NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_mut_slice_detach(NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_slice_detach(&zero), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_mut_slice_detach(&zero_mut), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, 1, &world.slice), 0);
        zero = world.slice;
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_slice_detach(&zero), AMMAP_ERR_INVALID);
        world_end(&world);
}

static void *detach_body(void *argument)
{
        struct release *release = argument;

        release->result = release->slice ? ammap_slice_detach(release->slice) : ammap_mut_slice_detach(release->mut);
        return NULL;
}

static int detach_elsewhere(ammap_slice_t *slice, ammap_mut_slice_t *mut)
{
        struct release release = { slice, mut, INT_MIN };
        struct task task;

        task_start(&task, detach_body, &release);
        task_join(&task);
        return release.result;
}

DEFINE_LOOP_TEST("detach", the_wrong_thread_detaches_nothing, 0, ALL)
{
        struct world world;
        ammap_slice_t copy;
        ammap_mut_slice_t mut_copy;

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
        copy = world.slice;
        ck_assert_int_eq(detach_elsewhere(&world.slice, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(memcmp(&copy, &world.slice, sizeof(copy)), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
        mut_copy = world.mut_slice;
        ck_assert_int_eq(detach_elsewhere(NULL, &world.mut_slice), AMMAP_ERR_INVALID);
        ck_assert_int_eq(memcmp(&mut_copy, &world.mut_slice, sizeof(mut_copy)), 0);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        check_free_again(world.map);
        world_end(&world);
}

/* By the thread that took it, by another one, and when that has ended. */
DEFINE_LOOP_TEST("detach", any_thread_releases, 0, 2 * ALL)
{
        struct world world;
        bool writes = _i % 2;

        world_begin(&world, &world_kinds[_i / 2]);
        for (int round = 0; round < 6; round++) {
                ammap_slice_t *slice = writes ? NULL : &world.slice;
                ammap_mut_slice_t *mut = writes ? &world.mut_slice : NULL;

                if (round % 3 == 2) {
                        ck_assert_int_eq(give(world.map, 0, world.size, slice, mut), 0);
                } else if (writes) {
                        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, mut), 0);
                        memset(mut->data, round, mut->length);
                        ck_assert_int_eq(ammap_mut_slice_detach(mut), 0);
                        ck_assert_int_eq(ammap_mut_slice_detach(mut), 0);
                } else {
                        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, slice), 0);
                        ck_assert_int_eq(ammap_slice_detach(slice), 0);
                        ck_assert_int_eq(detach_elsewhere(slice, NULL), 0);
                }
                check_in_the_way(world.map, 0, writes);
                check_in_the_way(world.map, world.size - 1, writes);
                if (round % 3 == 0)
                        ck_assert_int_eq(release_elsewhere(slice, mut), 0);
                else
                        ck_assert_int_eq(writes ? ammap_mut_slice_release(mut) : ammap_slice_release(slice), 0);
                ck_assert(writes ? !mut->data && !mut->length : !slice->data && !slice->length);
                check_free_again(world.map);
        }
        world_end(&world);
}

/* A slice that the thread has besides is its own. */
DEFINE_LOOP_TEST("detach", the_others_stay_the_threads, 0, ALL)
{
        struct world world;
        ammap_slice_t slices[3];

        world_begin(&world, &world_kinds[_i]);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &slices[i]), 0);
        ck_assert_int_eq(ammap_slice_detach(&slices[1]), 0);
        ck_assert_uint_eq(stat_of(world.map).slices, 3);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(release_elsewhere(&slices[0], NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_slice_release(&slices[0]), 0);
        ck_assert_int_eq(ammap_slice_release(&slices[2]), 0);
        check_in_the_way(world.map, 0, false);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &slices[0]), 0);
        ck_assert_int_eq(ammap_slice_detach(&slices[0]), 0);
        ck_assert_int_eq(release_elsewhere(&slices[1], NULL), 0);
        check_in_the_way(world.map, 0, false);
        ck_assert_int_eq(release_elsewhere(&slices[0], NULL), 0);
        check_free_again(world.map);
        world_end(&world);
}

/* Those who wait for it get in when it is released. */
DEFINE_LOOP_TEST("detach", those_who_wait_get_in, 0, 2 * ALL)
{
        struct world world;
        bool writes = _i % 2;
        struct task task;

        world_begin(&world, &world_kinds[_i / 2]);
        for (int before = 0; before < 2; before++) {
                struct call call = { OP_MUT_SLICE, world.map, 0, world.size, -1, INT_MIN, 0 };

                if (writes)
                        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
                else
                        ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
                if (before) {
                        task_start(&task, call_body, &call);
                        ck_assert(task_sleeps(&task));
                }
                ck_assert_int_eq(writes ? ammap_mut_slice_detach(&world.mut_slice) : ammap_slice_detach(&world.slice),
                                 0);
                if (!before)
                        task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                ck_assert_int_eq(writes ? ammap_mut_slice_release(&world.mut_slice) : ammap_slice_release(&world.slice),
                                 0);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                check_free_again(world.map);
        }
        world_end(&world);
}

/* Each of its own lane: more than a thread may have in a shared map. */
DEFINE_LOOP_TEST("detach", many_may_live, 0, 2 * ALL)
{
        enum { MANY = WORLD_LANES };
        struct world world;
        static ammap_slice_t slices[MANY];
        static ammap_mut_slice_t muts[MANY];
        bool writes = _i % 2;
        uint64_t lanes, count;

        world_begin(&world, &world_kinds[_i / 2]);
        lanes = world.kind->lanes;
        count = writes ? lanes : MANY;
        for (int round = 0; round < 3; round++) {
                for (uint64_t i = 0; i < count; i++) {
                        uint64_t offset = i % lanes * (2 * world.size / lanes) % world.size;

                        if (writes && lanes > 2)
                                offset = i % (lanes / 2) * (2 * world.size / lanes);
                        if (writes && i >= (lanes > 2 ? lanes / 2 : 1))
                                count = i;
                        else
                                ck_assert_int_eq(give(world.map, offset, 1, writes ? NULL : &slices[i], &muts[i]), 0);
                }
                ck_assert_uint_eq(stat_of(world.map).slices, count);
                for (uint64_t i = 0; i < count; i++)
                        if (i % 2)
                                ck_assert_int_eq(writes ? ammap_mut_slice_release(&muts[i])
                                                        : ammap_slice_release(&slices[i]),
                                                 0);
                ck_assert_uint_eq(stat_of(world.map).slices, (count + 1) / 2);
                for (uint64_t i = 0; i < count; i += 2)
                        ck_assert_int_eq(release_elsewhere(writes ? NULL : &slices[i], &muts[i]), 0);
                ck_assert_uint_eq(stat_of(world.map).slices, 0);
                check_free_again(world.map);
        }
        world_end(&world);
}

#if TEST_OS_LINUX

/* What has been released is used again. */
DEFINE_LOOP_TEST_IF(!TEST_SANITIZED, "detach", it_takes_no_more_and_more, 0, ALL)
{
        enum { LIVE = 20, WARM = 100, ROUNDS = 3000 };
        ammap_slice_t slices[LIVE] = { { 0 } };
        struct footprint warm = { 0 };
        struct world world;

        world_begin(&world, &world_kinds[_i]);
        for (int i = 0; i < ROUNDS; i++) {
                if (i == WARM)
                        warm = footprint();
                ck_assert_int_eq(ammap_slice_release(&slices[i % LIVE]), 0);
                ck_assert_int_eq(ammap_as_slice(world.map, 0, 1, &slices[i % LIVE]), 0);
                ck_assert_int_eq(ammap_slice_detach(&slices[i % LIVE]), 0);
        }
        if (!under_valgrind())
                ck_assert_uint_eq(footprint().bytes, warm.bytes);
        for (int i = 0; i < LIVE; i++)
                ck_assert_int_eq(ammap_slice_release(&slices[i]), 0);
        world_end(&world);
}

#endif

/* What it reaches keeps its map that long. */
DEFINE_LOOP_TEST("detach", a_shrink_is_refused, 0, ALL)
{
        struct world world;

        world_begin(&world, &world_kinds[_i]);
        if (world.kind->share != AMMAP_RAW) {
                ck_assert_int_eq(ammap_as_slice(world.map, 0, 100, &world.slice), 0);
                ck_assert_int_eq(ammap_slice_detach(&world.slice), 0);
                ck_assert_int_eq(ammap_resize(world.map, 99), AMMAP_ERR_BUSY);
                if (!world.kind->file) { /* that waits for no slice of a lane that it cuts */
                        ck_assert_int_eq(ammap_resize(world.map, 100), 0);
                        ck_assert_int_eq(ammap_resize(world.map, world.size), 0);
                }
                ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
                ck_assert_int_eq(ammap_resize(world.map, 99), 0);
        }
        world_end(&world);
}

/* The child holds nothing, and the parent keeps what it has.  Where they have one lock the
 * slice is in the child's way; else, to write, it is a dead writer's there. */
static void child_body(struct peer *parent, void *argument)
{
        struct world *world = argument;
        bool writes = world->mut_slice.data, one_lock = world->kind->share == AMMAP_SHARED;
        int rc = op_run(OP_TRY_MUT_SLICE, world->map, 0, 1, 0);
        ammap_slice_t stale = world->slice;
        ammap_mut_slice_t stale_mut = world->mut_slice;

        child_must_int(rc, one_lock ? AMMAP_ERR_BUSY : writes ? AMMAP_ERR_OWNER_DEAD : 0);
        child_must_int(ammap_slice_release(&world->slice), 0);
        child_must_int(ammap_mut_slice_release(&world->mut_slice), 0);
        child_must_int(ammap_slice_detach(&world->slice), AMMAP_ERR_INVALID);
        child_must_int(ammap_recover(world->map), 0);
        child_must_int(op_run(OP_TRY_MUT_SLICE, world->map, 0, 1, 0), one_lock ? AMMAP_ERR_BUSY : 0);
        peer_tell(parent, 'a');
        child_expect(parent, 'b');
        /* The parent's is released; now one of the child's own. */
        child_must_int(ammap_as_mut_slice(world->map, 0, world->size, &world->mut_slice), 0);
        child_must_int(ammap_mut_slice_detach(&world->mut_slice), 0);
        child_must_int(op_run(OP_TRY_MUT_SLICE, world->map, 0, 1, 0), AMMAP_ERR_BUSY);
        /* The parent's is released again, or only now, and that is nothing to the child's own. */
        child_must_int(ammap_slice_release(&stale), 0);
        child_must_int(ammap_mut_slice_release(&stale_mut), 0);
        child_must_int(op_run(OP_TRY_MUT_SLICE, world->map, 0, 1, 0), AMMAP_ERR_BUSY);
        child_must_int(ammap_free(world->map), AMMAP_ERR_BUSY);
        peer_tell(parent, 'c');
        child_expect(parent, 'd');
        child_must_int(ammap_mut_slice_release(&world->mut_slice), 0);
        child_must_int(ammap_free(world->map), 0);
}

DEFINE_LOOP_TEST("detach", a_child_inherits_none, 0, 2 * ALL)
{
        struct world world;
        struct peer peer;
        bool writes = _i % 2, one_lock;

        world_begin(&world, &world_kinds[_i / 2]);
        one_lock = world.kind->share == AMMAP_SHARED;
        if (world.kind->more) { /* what a child does not have */
                world_end(&world);
                return;
        }
        ck_assert_int_eq(give(world.map, 0, world.size, writes ? NULL : &world.slice, &world.mut_slice), 0);
        peer_start(&peer, child_body, &world);
        peer_expect(&peer, 'a');
        check_in_the_way(world.map, 0, writes);
        ck_assert_int_eq(release_elsewhere(writes ? NULL : &world.slice, &world.mut_slice), 0);
        check_free_again(world.map);
        peer_tell(&peer, 'b');
        peer_expect(&peer, 'c');
        ck_assert_int_eq(op_run(OP_TRY_SLICE, world.map, 0, 1, 0), one_lock ? AMMAP_ERR_BUSY : 0);
        peer_tell(&peer, 'd');
        peer_end(&peer);
        check_free_again(world.map);
        world_end(&world);
}

/* From hand to hand, by threads that check what they have, while others shrink the map and
 * count its slices. */
enum { HANDS = 3, DESK = 4 };

struct parcel {
        _Atomic int state; /* 0 empty, 1 being filled or emptied, 2 full */
        bool writes;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        unsigned char byte;
};

struct office {
        struct world *world;
        struct parcel desk[DESK];
        uint64_t seed;
        _Atomic bool over;
        _Atomic uint64_t given;
};

static bool claim_parcel(struct parcel *parcel, int state)
{
        return atomic_compare_exchange_strong(&parcel->state, &state, 1);
}

static void put_on(struct office *office, struct parcel *parcel, struct random *random)
{
        ammap_t *map = office->world->map;
        uint64_t part = 2 * office->world->size / office->world->kind->lanes / 2;
        uint64_t lane = random_below(random, office->world->size / part), offset = lane * part / 2 / 64 * 64;
        int rc;

        parcel->writes = random_below(random, 2);
        rc = parcel->writes ? ammap_timed_as_mut_slice(map, offset, 64, MS, &parcel->mut)
                            : ammap_timed_as_slice(map, offset, 64, MS, &parcel->slice);
        if (rc == AMMAP_ERR_TIMEOUT || rc == AMMAP_ERR_BOUNDS) {
                atomic_store(&parcel->state, 0);
                return;
        }
        thread_check_int(rc, 0);
        if (parcel->writes) {
                parcel->byte = (unsigned char)random_below(random, 256);
                memset(parcel->mut.data, parcel->byte, 32);
                thread_check_int(ammap_mut_slice_detach(&parcel->mut), 0);
        } else {
                parcel->byte = parcel->slice.data[0];
                thread_check_int(ammap_slice_detach(&parcel->slice), 0);
        }
        atomic_fetch_add(&office->given, 1);
        atomic_store(&parcel->state, 2);
}

static void take_off(struct parcel *parcel)
{
        if (parcel->writes) {
                thread_check(is_all(parcel->mut.data, parcel->byte, 32));
                memset(parcel->mut.data, parcel->byte, 64);
                thread_check_int(ammap_mut_slice_release(&parcel->mut), 0);
        } else {
                thread_check(is_all(parcel->slice.data, parcel->byte, 64));
                thread_check_int(ammap_slice_release(&parcel->slice), 0);
        }
        atomic_store(&parcel->state, 0);
}

static void *hand_body(void *argument)
{
        struct office *office = argument;
        struct random random = { office->seed + (uint64_t)own_tid() };

        for (unsigned i = (unsigned)own_tid(); !atomic_load(&office->over); i++) {
                struct parcel *parcel = &office->desk[i % DESK];

                if (claim_parcel(parcel, 0))
                        put_on(office, parcel, &random);
                else if (claim_parcel(parcel, 2))
                        take_off(parcel);
        }
        return NULL;
}

static void *clerk_body(void *argument)
{
        struct office *office = argument;

        while (!atomic_load(&office->over)) {
                ammap_t *map = office->world->map;
                ammap_stat_t stat = AMMAP_STAT_INIT;

                if (office->world->kind->share != AMMAP_RAW) {
                        int rc = ammap_resize(map, office->world->size - PAGE);

                        thread_check(rc == 0 || rc == AMMAP_ERR_BUSY);
                        rc = ammap_resize(map, office->world->size);
                        thread_check(rc == 0 || rc == AMMAP_ERR_BUSY);
                }
                thread_check_int(ammap_stat(map, &stat), 0);
                thread_check(stat.slices <= 2 * DESK); /* they come and go while they are counted */
                pause_ms(1);
        }
        return NULL;
}

DEFINE_LOOP_TEST("detach", from_hand_to_hand, 0, ALL)
{
        struct world world;
        struct office office = { .world = &world, .seed = random_start("detach").state };
        struct task hands[HANDS], clerk;

        world_begin(&world, &world_kinds[_i]);
        for (int i = 0; i < HANDS; i++)
                task_start(&hands[i], hand_body, &office);
        task_start(&clerk, clerk_body, &office);
        while (atomic_load(&office.given) < (uint64_t)rounds_or_all(200, 20000))
                pause_ms(1);
        atomic_store(&office.over, true);
        for (int i = 0; i < HANDS; i++)
                task_join(&hands[i]);
        for (int i = 0; i < DESK; i++)
                if (claim_parcel(&office.desk[i], 2))
                        take_off(&office.desk[i]);
        task_join(&clerk); /* after that: he may wait for them */
        check_free_again(world.map);
        world_end(&world);
}

/* --- The end of the process --------------------------------------------------- */

#if TEST_OS_LINUX

static const struct world_kind joint_kinds[] = {
        { "shared", AMMAP_SHARED, NO_FILE, 1, AMMAP_NO },       { "shared, lanes", AMMAP_SHARED, NO_FILE, 4, AMMAP_NO },
        { "file", AMMAP_SHARED, BY_KERNEL, 1, AMMAP_NO },       { "file, lanes", AMMAP_SHARED, BY_KERNEL, 4, AMMAP_NO },
        { "file, words", AMMAP_SHARED, BY_WORDS, 4, AMMAP_NO },
};
enum { JOINT = COUNT_OF(joint_kinds) };

struct cutter {
        ammap_t *map;
        uint64_t size;
        int result;
};

static void *cutter_body(void *argument)
{
        struct cutter *cutter = argument;

        cutter->result = ammap_resize(cutter->map, cutter->size);
        return NULL;
}

/* Who shrinks a file waits some time for a slice in a lane that gets shorter; and the slice is
 * detached, and released, as if he did not.  Where nothing runs for that time it is tried again. */
DEFINE_LOOP_TEST("detach", a_shrink_that_waits_is_not_waited_for, 0, JOINT)
{
        enum { TRIES = 20 };
        struct cutter cutter = { .result = AMMAP_ERR_BUSY };
        struct world world;

        world_begin(&world, &joint_kinds[_i]);
        cutter.map = world.map;
        cutter.size = world.size - PAGE;
        for (int i = 0; i < TRIES && cutter.result == AMMAP_ERR_BUSY; i++) {
                struct task task;

                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, 64, &world.mut_slice), 0);
                task_start(&task, cutter_body, &cutter);
                task_sleeps(&task);
                ck_assert_int_eq(ammap_mut_slice_detach(&world.mut_slice), 0);
                ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
                task_join(&task);
        }
        if (cutter.result != AMMAP_ERR_BUSY || world.kind->file == BY_KERNEL) /* others do not wait */
                ck_assert_int_eq(cutter.result, 0);
        world_end(&world);
}

struct doomed {
        struct world *world;
        bool writes;
        pid_t (*forker)(void); /* of a child that outlives it; NULL: none */
};

static void doomed_body(struct peer *parent, void *argument)
{
        struct doomed *doomed = argument;
        struct world *world = doomed->world;
        struct giver giver = {
                world->map, 0, world->size, doomed->writes ? NULL : &world->slice, &world->mut_slice, 0
        };
        pthread_t thread;
        char word;

        child_must(pthread_create(&thread, NULL, giver_body, &giver) == 0);
        child_must(pthread_join(thread, NULL) == 0);
        child_must_int(giver.result, 0);
        if (doomed->forker && doomed->forker() == 0) {
                while (read(parent->in, &word, 1) > 0) {
                }
                _exit(0);
        }
        peer_tell(parent, 'h');
        for (;;)
                pause();
}

struct parted {
        struct world *world;
        bool writes;
};

/* It protects nothing there, and cannot be the process's; it is released as any other. */
static void detach_in_a_child(void *argument)
{
        struct parted *parted = argument;
        struct world *world = parted->world;

        child_must_int(parted->writes ? ammap_mut_slice_detach(&world->mut_slice) : ammap_slice_detach(&world->slice),
                       AMMAP_ERR_INVALID);
        child_must_int(parted->writes ? ammap_mut_slice_release(&world->mut_slice) : ammap_slice_release(&world->slice),
                       0);
}

DEFINE_LOOP_TEST("detach", what_a_child_has_of_a_slice, 0, 4 * JOINT)
{
        struct world world;
        struct parted parted = { &world, _i & 1 };

        world_begin(&world, &joint_kinds[_i / 4]);
        if (parted.writes)
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, _i & 2 ? world.size : 1, &world.mut_slice), 0);
        else
                ck_assert_int_eq(ammap_as_slice(world.map, 0, _i & 2 ? world.size : 1, &world.slice), 0);
        child_passes(detach_in_a_child, &parted);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        world_end(&world);
}

static void detach_anew(void *argument)
{
        struct world *world = argument;
        ammap_mut_slice_t mut;

        child_must_int(ammap_recover(world->map), 0);
        child_must_int(ammap_as_mut_slice(world->map, 0, world->size, &mut), 0);
        child_must_int(ammap_mut_slice_detach(&mut), 0);
        child_must_int(ammap_mut_slice_release(&world->mut_slice), 0);
        child_must_int(op_run(OP_TRY_UPDATE, world->map, 0, 1, 0), AMMAP_ERR_BUSY);
        child_must_int(ammap_mut_slice_release(&mut), 0);
        child_must_int(op_run(OP_TRY_UPDATE, world->map, 0, 1, 0), 0);
}

static void fork_again(void *argument)
{
        detach_anew(argument);
        child_passes(detach_anew, argument);
}

/* What a child detaches does not stand where its parent's stood. */
DEFINE_LOOP_TEST("detach", a_child_detaches_its_own, 0, 2 * ALL)
{
        struct world world;

        world_begin(&world, &world_kinds[_i / 2]);
        if (world.kind->share != AMMAP_SHARED && !world.kind->more) {
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
                ck_assert_int_eq(ammap_mut_slice_detach(&world.mut_slice), 0);
                child_passes(_i % 2 ? fork_again : detach_anew, &world);
                ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        }
        world_end(&world);
}

static void check_after_the_end(ammap_t *map, bool writes)
{
        if (writes) {
                ck_assert_int_eq(op_run(OP_TIMED_SLICE, map, 0, ammap_len(map), patience_ns()), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(ammap_recover(map), 0);
        }
        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, map, 0, ammap_len(map), patience_ns()), 0);
        check_free_again(map);
}

DEFINE_LOOP_TEST_IF(!TEST_TSAN, "detach", the_end_of_the_process_ends_it, 0, 6 * JOINT)
{
        static pid_t (*const forkers[])(void) = { NULL, usual_fork, clone_fork };
        struct world world;
        struct doomed doomed = { &world, _i % 2, forkers[_i / 2 % 3] };
        struct peer peer;

        world_begin(&world, &joint_kinds[_i / 6]);
        if (!(world.kind->file && doomed.forker == clone_fork)) /* such a child may only exec or exit */
                for (int round = 0; round < 3; round++) {
                        peer_start(&peer, doomed_body, &doomed);
                        peer_expect(&peer, 'h');
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, world.size - 1, 1, 0), AMMAP_ERR_BUSY);
                        ck_assert_int_eq(op_run(OP_TRY_SLICE, world.map, 0, 1, 0), doomed.writes ? AMMAP_ERR_BUSY : 0);
                        peer_kill_only(&peer);
                        check_after_the_end(world.map, doomed.writes);
                        peer_bury(&peer);
                }
        world_end(&world);
}

/* The first thread, and the one that detached it, are gone; another one is not. */
struct rest {
        struct peer *parent;
        struct world *world;
        bool writes;
};

static void *rest_body(void *argument)
{
        struct rest *rest = argument;
        struct world *world = rest->world;

        peer_tell(rest->parent, 'h');
        child_expect(rest->parent, 'r');
        child_must_int(rest->writes ? ammap_mut_slice_release(&world->mut_slice) : ammap_slice_release(&world->slice),
                       0);
        peer_tell(rest->parent, 'd');
        child_expect(rest->parent, 'e');
        _exit(0);
}

static void leader_body(struct peer *parent, void *argument)
{
        struct doomed *doomed = argument;
        struct world *world = doomed->world;
        static struct rest rest;
        static struct peer kept;
        pthread_t thread;

        kept = *parent;
        rest = (struct rest){ &kept, world, doomed->writes };
        if (doomed->writes) {
                child_must_int(ammap_as_mut_slice(world->map, 0, world->size, &world->mut_slice), 0);
                child_must_int(ammap_mut_slice_detach(&world->mut_slice), 0);
        } else {
                child_must_int(ammap_as_slice(world->map, 0, world->size, &world->slice), 0);
                child_must_int(ammap_slice_detach(&world->slice), 0);
        }
        child_must(pthread_create(&thread, NULL, rest_body, &rest) == 0);
        pthread_exit(NULL);
}

DEFINE_LOOP_TEST_IF(!TEST_TSAN, "detach", the_end_of_the_first_thread_does_not, 0, 2 * JOINT)
{
        static struct world world; /* whose child's first thread ends before its others */
        struct doomed doomed = { &world, _i % 2, NULL };
        struct peer peer;

        world_begin(&world, &joint_kinds[_i / 2]);
        peer_start(&peer, leader_body, &doomed);
        peer_expect(&peer, 'h');
        while (process_state(peer.pid) != 'Z')
                pause_ms(1);
        for (int i = 0; i < 30; i++) {
                ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, world.map, world.size - 1, 1, MS), AMMAP_ERR_TIMEOUT);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_BUSY);
        }
        peer_tell(&peer, 'r');
        peer_expect(&peer, 'd');
        check_free_again(world.map);
        peer_tell(&peer, 'e');
        peer_end(&peer);
        world_end(&world);
}

/* --- Shared maps alone ----------------------------------------------------------- */

/* Who may only read sees the same, though the memory is sealed. */
DEFINE_LOOP_TEST_IF(!TEST_TSAN, "detach", readers_see_the_end, 0, 2)
{
        struct world world;
        struct doomed doomed = { &world, true, NULL };
        struct peer peer;
        ammap_t *reader;
        char byte;

        world_begin(&world, &joint_kinds[_i]);
        reader = import_again(world.map, AMMAP_READ);
        peer_start(&peer, doomed_body, &doomed);
        peer_expect(&peer, 'h');
        ck_assert_int_eq(ammap_try_read_into(reader, 0, &byte, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_timed_read_into(reader, world.size - 1, &byte, 1, 50 * MS), AMMAP_ERR_TIMEOUT);
        peer_kill_only(&peer);
        ck_assert_int_eq(ammap_timed_read_into(reader, 0, &byte, 1, patience_ns()), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_try_read_into(reader, world.size - 1, &byte, 1), AMMAP_ERR_OWNER_DEAD);
        peer_bury(&peer);
        check_after_the_end(world.map, true);
        ck_assert_int_eq(ammap_free(reader), 0);
        world_end(&world);
}

static int lock_all(int fd, short type)
{
        struct flock all = { .l_type = type, .l_whence = SEEK_SET };

        return fcntl(fd, F_OFD_SETLK, &all);
}

/* Who may only read can keep others from detaching; but those who have done that live,
 * and those who have died are dead. */
DEFINE_TEST_IF(!TEST_TSAN, "detach", readers_cannot_pretend)
{
        struct world world;
        struct doomed doomed = { &world, true, NULL };
        struct peer peer;
        char path[64];
        int fd;

        world_begin(&world, &joint_kinds[1]);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", ammap_fd(world.map));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(lock_all(fd, F_RDLCK), 0);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, 1, &world.slice), 0);
        ck_assert_int_eq(ammap_slice_detach(&world.slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(lock_all(fd, F_UNLCK), 0);
        peer_start(&peer, doomed_body, &doomed);
        peer_expect(&peer, 'h');
        ck_assert_int_eq(lock_all(fd, F_RDLCK), -1);
        for (unsigned i = 0; i < 3; i++) { /* but for what is taken */
                struct flock some = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = i << 20, .l_len = 1 << 20 };

                (void)fcntl(fd, F_OFD_SETLK, &some);
        }
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_BUSY);
        peer_kill_only(&peer);
        ck_assert_int_eq(lock_all(fd, F_RDLCK), 0);
        check_after_the_end(world.map, true);
        peer_bury(&peer);
        close(fd);
        world_end(&world);
}

/* Make all slots but those that are taken another's who lives, or nobody's. */
static void take_slots(ammap_t *map, uint64_t lanes, bool take)
{
        const uint32_t page = (uint32_t)PAGE;
        size_t size = (size_t)format_data((uint32_t)lanes, FORMAT_SLOTS, page);
        unsigned char *header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);
        struct format_head *head = (void *)header;
        struct format_slot *record = (void *)(header + format_slots((uint32_t)lanes));
        uint32_t me = (uint32_t)own_tid();

        ck_assert_ptr_ne(header, MAP_FAILED);
        for (uint32_t i = 0; i < FORMAT_SLOTS; i++) {
                unsigned char *end = header + format_pages((uint32_t)lanes, FORMAT_SLOTS, page) + (i + 1) * page;
                _Atomic uint32_t *word = (void *)(end - head->lock_word);
                uint32_t from = take ? 0 : me;

                if (i > 0 && atomic_compare_exchange_strong(word, &from, take ? me : 0) && take) {
                        atomic_store(&record[i].process, (uint32_t)getpid());
                        atomic_store(&record[i].thread, me);
                }
        }
        munmap(header, size);
}

DEFINE_TEST("detach", without_a_slot_it_stays)
{
        struct world world;

        world_begin(&world, &joint_kinds[1]);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, 1, &world.slice), 0);
        ck_assert_int_eq(ammap_as_mut_slice(world.map, world.size - 1, 1, &world.mut_slice), 0);
        take_slots(world.map, 4, true);
        ck_assert_int_eq(ammap_slice_detach(&world.slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(ammap_mut_slice_detach(&world.mut_slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, world.map, world.size - 1, 1, 0), AMMAP_ERR_DEADLOCK);
        take_slots(world.map, 4, false);
        ck_assert_int_eq(ammap_slice_detach(&world.slice), 0);
        ck_assert_int_eq(ammap_mut_slice_detach(&world.mut_slice), 0);
        ck_assert_int_eq(ammap_slice_release(&world.slice), 0);
        ck_assert_int_eq(ammap_mut_slice_release(&world.mut_slice), 0);
        check_free_again(world.map);
        world_end(&world);
}

/* What processes have left that ended so is found where there is nothing else. */
DEFINE_TEST_IF(!TEST_TSAN, "detach", slots_come_back)
{
        struct world world;
        struct doomed doomed = { &world, false, NULL };

        world_begin(&world, &joint_kinds[0]);
        for (int round = 0; round < FORMAT_SLOTS + 10; round++) {
                struct peer peer;

                peer_start(&peer, doomed_body, &doomed);
                peer_expect(&peer, 'h');
                peer_kill(&peer);
        }
        check_after_the_end(world.map, false);
        world_end(&world);
}

/* In a process that finds no /proc. */
static void blind_body(struct peer *parent, void *argument)
{
        struct world *world = argument;
        bool blind = mount_small("/proc", "1m");

        peer_tell(parent, blind ? 'b' : 's');
        if (!blind)
                return;
        child_must_int(ammap_as_slice(world->map, 0, 1, &world->slice), 0);
        child_must_int(ammap_slice_detach(&world->slice), AMMAP_ERR_UNSUPPORTED);
        child_must_int(op_run(OP_TRY_MUT_SLICE, world->map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        child_must_int(ammap_slice_release(&world->slice), 0);
        child_must_int(ammap_as_mut_slice(world->map, 0, 1, &world->mut_slice), 0);
        child_must_int(ammap_mut_slice_detach(&world->mut_slice), AMMAP_ERR_UNSUPPORTED);
        child_must_int(op_run(OP_TRY_SLICE, world->map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        child_must_int(ammap_mut_slice_release(&world->mut_slice), 0);
        /* Where nobody writes any more nobody need know. */
        child_must_int(ammap_freeze(world->map), 0);
        child_must_int(ammap_as_slice(world->map, 0, 1, &world->slice), 0);
        child_must_int(ammap_slice_detach(&world->slice), 0);
        child_must_int(ammap_free(world->map), AMMAP_ERR_BUSY);
        child_must_int(ammap_slice_release(&world->slice), 0);
        child_must_int(ammap_free(world->map), 0);
}

DEFINE_TEST("detach", without_proc_it_stays)
{
        struct world world;
        struct peer peer;

        world_begin(&world, &joint_kinds[1]);
        peer_start(&peer, blind_body, &world);
        if (peer_hear(&peer) == 's')
                skip_part(__func__, "nothing can be mounted here");
        peer_end(&peer);
        world_end(&world);
}

/* Who may only read has slices of a frozen map. */
DEFINE_TEST("detach", slices_of_readers)
{
        struct world world;
        ammap_t *reader;

        world_begin(&world, &joint_kinds[1]);
        reader = import_again(world.map, AMMAP_READ);
        ck_assert_int_eq(ammap_freeze(world.map), 0);
        for (int i = 0; i < 2; i++) {
                ammap_t *map = i ? reader : world.map;
                ammap_slice_t slice;

                ck_assert_int_eq(give(map, 0, world.size, &slice, NULL), 0);
                ck_assert_uint_eq(stat_of(map).slices, 1);
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                ck_assert_int_eq(release_elsewhere(&slice, NULL), 0);
        }
        ck_assert_int_eq(ammap_free(reader), 0);
        world_end(&world);
}

/* Another handle of the process sees what this one has, as anybody. */
DEFINE_LOOP_TEST("detach", handles_see_each_other, 0, 4)
{
        struct world world;
        ammap_t *again;
        bool writes = _i % 2;

        world_begin(&world, &joint_kinds[_i / 2]);
        again = import_again(world.map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(give(world.map, 0, world.size, writes ? NULL : &world.slice, &world.mut_slice), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, 0, 1, 0), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, again, 0, 1, 0), writes ? AMMAP_ERR_BUSY : 0);
        ck_assert_int_eq(release_elsewhere(writes ? NULL : &world.slice, &world.mut_slice), 0);
        check_free_again(again);
        ck_assert_int_eq(ammap_free(again), 0);
        world_end(&world);
}

#endif

int main(void)
{
        return run_sharing("detach");
}
