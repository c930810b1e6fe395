/* test-downgrade.c - mut slices that become slices (lib/slice.c), on every kind of map
 *
 * SPDX-License-Identifier: MIT
 *
 * What is refused, and changes nothing.  Who gets in afterwards, and who does not; that no
 * writer does in between, of this process or another.  Resizes, freezes, forks, the end of a
 * thread and of a process beside a slice that was a mut slice.
 */
#define WORLD_PAGES 16
#include "calls.h"

#if TEST_OS_LINUX
#include "refuse.h"
#endif

static void take_mut(ammap_t *map, uint64_t offset, uint64_t length, ammap_mut_slice_t *mut)
{
        ck_assert_int_eq(ammap_as_mut_slice(map, offset, length, mut), 0);
}

static void downgrade(ammap_mut_slice_t *mut, ammap_slice_t *slice)
{
        memset(slice, 0xff, sizeof(*slice));
        ck_assert_int_eq(ammap_mut_slice_downgrade(mut, slice), 0);
        ck_assert(slice_is_zero(mut));
}

/* --- What is refused --------------------------------------------------------- */

struct refused {
        ammap_mut_slice_t *mut;
        int want;
};

static void *refused_body(void *argument)
{
        struct refused *refused = argument;
        ammap_mut_slice_t before = *refused->mut;
        ammap_slice_t slice;

        memset(&slice, 0xff, sizeof(slice));
        thread_check_int(ammap_mut_slice_downgrade(refused->mut, &slice), refused->want);
        thread_check_int(slice_is_zero(&slice), 1);
        thread_check_int(memcmp(&before, refused->mut, sizeof(before)), 0);
        return NULL;
}

DEFINE_LOOP_TEST("downgrade", bad_input, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut = { 0 }, copy;
        ammap_slice_t slice;
        struct refused refused = { &mut, AMMAP_ERR_INVALID };
        struct task task;

        world_begin(&world, &world_kinds[_i]);
        ck_assert_int_eq(ammap_mut_slice_downgrade(NULL, NULL), AMMAP_ERR_INVALID);
        memset(&slice, 0xff, sizeof(slice));
        ck_assert_int_eq(ammap_mut_slice_downgrade(NULL, &slice), AMMAP_ERR_INVALID);
        ck_assert(slice_is_zero(&slice));
        /* Nothing becomes nothing. */
        downgrade(&mut, &slice);
        ck_assert(slice_is_zero(&slice));

        take_mut(world.map, world_range(&world, 64), 64, &mut);
        copy = mut;
        ck_assert_int_eq(ammap_mut_slice_downgrade(&mut, NULL), AMMAP_ERR_INVALID);
        task_start(&task, refused_body, &refused);
        task_join(&task);
        ck_assert_mem_eq(&copy, &mut, sizeof(mut));
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world.map, world_range(&world, 64), 64), AMMAP_ERR_BUSY);
        mut.data[0] = 'x';

        /* The other copy of the structure has nothing any more. */
        downgrade(&mut, &slice);
        mut = copy;
        refused_body(&refused);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, world_range(&world, 64), 64), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        refused_body(&refused);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), 0);
        world_end(&world);
}

/* --- Who gets in ---------------------------------------------------------------- */

/* Each call, by another thread and by this one, beside a slice for reading. */
static void check_beside(ammap_t *map, uint64_t offset, uint64_t length)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                ck_assert_int_eq(op_run(op, map, offset, length, SECOND), op_writes(op) ? AMMAP_ERR_DEADLOCK : 0);
                if (!op_writes(op))
                        ck_assert_int_eq(op_elsewhere(op, map, offset, length), 0);
                else if (op_tries(op))
                        ck_assert_int_eq(op_elsewhere(op, map, offset, length), AMMAP_ERR_BUSY);
                else if (op_is_timed(op))
                        ck_assert_int_eq(op_elsewhere(op, map, offset, length), AMMAP_ERR_TIMEOUT);
        }
}

DEFINE_LOOP_TEST("downgrade", readers_come_and_writers_do_not, 0, COUNT_OF(world_kinds))
{
        static const uint64_t lengths[] = { 0, 1, 256, WORLD_PAGES * 2048 };
        struct world world;

        world_begin(&world, &world_kinds[_i]);
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                uint64_t length = lengths[i], offset = world_range(&world, length);
                ammap_mut_slice_t mut, copy;
                ammap_slice_t slice, again;

                take_mut(world.map, offset, length, &mut);
                memset(mut.data, (int)('a' + i), mut.length);
                copy = mut;
                downgrade(&mut, &slice);
                ck_assert_ptr_eq(slice.data, copy.data);
                ck_assert_uint_eq(slice.length, length);
                ck_assert_uint_eq(stat_of(world.map).slices, 1);
                check_beside(world.map, offset, length ? length : 1);
                ck_assert(is_all(slice.data, (unsigned char)('a' + i), length));
                ck_assert(!length || holds(world.map, offset, length, (unsigned char)('a' + i)));
                ck_assert_int_eq(ammap_free(world.map), AMMAP_ERR_BUSY);
                if (world.kind->lanes > 2) /* what it has not held it does not hold now */
                        ck_assert_int_eq(op_run(OP_UPDATE, world.map, world.size - 10, 10, 0), 0);
                ck_assert_int_eq(ammap_as_slice(world.map, offset, length, &again), 0);
                ammap_slice_release(&slice);
                ck_assert(slice_is_zero(&slice));
                check_beside(world.map, offset, length ? length : 1);
                ammap_slice_release(&again);
                ck_assert_uint_eq(stat_of(world.map).slices, 0);
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_elsewhere(op, world.map, 0, world.size), 0);
        }
        world_end(&world);
}

/* Those who sleep: the reader is woken, and the writer stays where it is until the end. */
DEFINE_LOOP_TEST("downgrade", those_who_wait, 0, COUNT_OF(world_kinds))
{
        struct world world;
        const uint64_t length = 256;
        uint64_t offset;

        world_begin(&world, &world_kinds[_i]);
        offset = world_range(&world, length);
        for (int order = 0; order < 3; order++) {
                struct call reader = { OP_SLICE, world.map, offset, length, -1, INT_MIN, 0 };
                struct call writer = { OP_UPDATE, world.map, offset, length, -1, INT_MIN, 0 };
                struct task reading, writing;
                ammap_mut_slice_t mut;
                ammap_slice_t slice;

                take_mut(world.map, offset, length, &mut);
                memset(mut.data, 'w', length);
                /* With a reader alone nobody else wakes it. */
                if (order == 1) {
                        task_start(&writing, call_body, &writer);
                        ck_assert(task_sleeps(&writing));
                }
                task_start(&reading, call_body, &reader);
                ck_assert(task_sleeps(&reading));
                if (order == 2) {
                        task_start(&writing, call_body, &writer);
                        ck_assert(task_sleeps(&writing));
                }
                downgrade(&mut, &slice);
                if (order == 0) {
                        task_join(&reading);
                } else {
                        ck_assert(task_sleeps(&writing));
                        ck_assert(is_all(slice.data, 'w', length));
                        /* A reader's own reads do not wait for the writer. */
                        ck_assert_int_eq(op_run(OP_SLICE, world.map, offset, length, 0), 0);
                }
                ammap_slice_release(&slice);
                if (order) {
                        task_join(&writing);
                        ck_assert_int_eq(writer.result, 0);
                        task_join(&reading);
                        ck_assert(holds(world.map, offset, length, OP_BYTE));
                }
                ck_assert_int_eq(reader.result, 0);
        }
        world_end(&world);
}

/* --- No writer in between ------------------------------------------------------------ */

struct race {
        ammap_t *map;
        uint64_t offset, size;
        struct race_board {
                _Atomic bool stop;
                _Atomic uint64_t downgrades, writes, reads;
        } * board;
};

enum { RACE_BYTES = 512 };

static void *race_write(void *argument)
{
        struct race *race = argument;
        unsigned char byte = 128;

        while (!atomic_load(&race->board->stop)) {
                byte = (unsigned char)(byte | 128);
                thread_check_int(ammap_fill(race->map, race->offset, RACE_BYTES, byte++), 0);
                atomic_fetch_add(&race->board->writes, 1);
        }
        return NULL;
}

static void *race_read(void *argument)
{
        struct race *race = argument;
        unsigned char bytes[RACE_BYTES];

        while (!atomic_load(&race->board->stop)) {
                thread_check_int(ammap_read_into(race->map, race->offset, bytes, RACE_BYTES), 0);
                thread_check_int(is_all(bytes, bytes[0], RACE_BYTES), 1);
                atomic_fetch_add(&race->board->reads, 1);
        }
        return NULL;
}

static void race_peer_body(struct peer *parent, void *argument)
{
        struct race *race = argument;

        peer_tell(parent, 'r');
        race_write(race);
        child_must(atomic_load(&thread_failures) == 0);
}

static void race_downgrade(struct race *race, unsigned char byte)
{
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        take_mut(race->map, race->offset, RACE_BYTES, &mut);
        memset(mut.data, byte, RACE_BYTES);
        downgrade(&mut, &slice);
        for (int look = 0; look < 20; look++)
                ck_assert_msg(is_all(slice.data, byte, RACE_BYTES), "a writer got in");
        ammap_slice_release(&slice);
        atomic_fetch_add(&race->board->downgrades, 1);
}

DEFINE_LOOP_TEST("downgrade", no_writer_comes_in_between, 0, COUNT_OF(world_kinds))
{
        struct race race = { .board = board_of(sizeof(struct race_board)) };
        struct world world;
        struct task writing, reading;
        struct peer peer = { 0 };

        world_begin(&world, &world_kinds[_i]);
        race.map = world.map;
        race.offset = world_range(&world, RACE_BYTES);
        ck_assert_int_eq(ammap_fill(race.map, race.offset, RACE_BYTES, 1), 0);
        if (world_is_joint(&world)) {
                peer_start(&peer, race_peer_body, &race);
                peer_expect(&peer, 'r');
        }
        task_start(&writing, race_write, &race);
        task_start(&reading, race_read, &race);
        for (int round = 0; round < rounds(2000) || !atomic_load(&race.board->writes); round++)
                race_downgrade(&race, (unsigned char)(round % 128));
        atomic_store(&race.board->stop, true);
        task_join(&writing);
        task_join(&reading);
        if (world_is_joint(&world))
                peer_end(&peer);
        munmap(race.board, sizeof(*race.board));
        world_end(&world);
}

/* --- Beside other calls --------------------------------------------------------------- */

/* A slice that ends before the new length stays, and one that does not keeps the map long. */
DEFINE_LOOP_TEST("downgrade", resizes_go_by_its_end, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        world_begin(&world, &world_kinds[_i]);
        if (world.kind->share != AMMAP_RAW) {
                const uint64_t end = world.size - 100;

                take_mut(world.map, end - 1000, 1000, &mut);
                memset(mut.data, 's', 1000);
                downgrade(&mut, &slice);
                ck_assert_int_eq(ammap_resize(world.map, end - 1), AMMAP_ERR_BUSY);
                if (!world.kind->file) /* which cannot tell it from a copy, and gives up */
                        ck_assert_int_eq(ammap_resize(world.map, end), 0);
                ck_assert(is_all(slice.data, 's', 1000));
                ck_assert_int_eq(ammap_resize(world.map, world.size), 0);
                ck_assert_int_eq(ammap_resize(world.map, world.size + 1), 0);
                ck_assert(is_all(slice.data, 's', 1000));
                ammap_slice_release(&slice);
                ck_assert_int_eq(ammap_resize(world.map, end - 1), 0);
                ck_assert_int_eq(ammap_resize(world.map, world.size), 0);
        }
        world_end(&world);
}

static void *freeze_body(void *argument)
{
        thread_check_int(ammap_freeze(argument), 0);
        return NULL;
}

/* A freeze waits for it, as for any slice; and then there are no mut slices any more. */
DEFINE_LOOP_TEST("downgrade", freezes_wait, 0, COUNT_OF(world_kinds))
{
        struct world world;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        struct task task;

        world_begin(&world, &world_kinds[_i]);
        take_mut(world.map, 0, 100, &mut);
        memset(mut.data, 'f', 100);
        task_start(&task, freeze_body, world.map);
        ck_assert(task_sleeps(&task));
        downgrade(&mut, &slice);
        ck_assert(!stat_of(world.map).frozen);
        ck_assert(is_all(slice.data, 'f', 100));
        ammap_slice_release(&slice);
        task_join(&task);
        ck_assert(stat_of(world.map).frozen);
        ck_assert(holds(world.map, 0, 100, 'f'));
        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, 100, &mut), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, 100, &slice), 0);
        ammap_slice_release(&slice);
        world_end(&world);
}

/* --- Ends ------------------------------------------------------------------------------ */

struct end {
        ammap_t *map;
        uint64_t offset;
};

static void *end_body(void *argument)
{
        struct end *end = argument;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        thread_check_int(ammap_as_mut_slice(end->map, end->offset, 256, &mut), 0);
        memset(mut.data, 'e', 256);
        thread_check_int(ammap_mut_slice_downgrade(&mut, &slice), 0);
        return NULL;
}

/* What a thread, or a process, had to read is forgotten: nobody died writing. */
DEFINE_LOOP_TEST("downgrade", a_thread_ends_as_a_reader, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct end end;
        struct task task;

        world_begin(&world, &world_kinds[_i]);
        end = (struct end){ world.map, world_range(&world, 256) };
        for (int round = 0; round < 3; round++) {
                task_start(&task, end_body, &end);
                task_join(&task);
                ck_assert(holds(world.map, end.offset, 256, 'e'));
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, world.map, 0, world.size, SECOND), 0);
        }
        world_end(&world);
}

static void killed_body(struct peer *parent, void *argument)
{
        end_body(argument);
        child_must(atomic_load(&thread_failures) == 0);
        peer_tell(parent, 'h');
        peer_hear(parent);
}

DEFINE_LOOP_TEST("downgrade", a_process_dies_as_a_reader, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct end end;
        struct peer peer;

        world_begin(&world, &world_kinds[_i]);
        end = (struct end){ world.map, world_range(&world, 256) };
        if (world_is_joint(&world)) {
                peer_start(&peer, killed_body, &end);
                peer_expect(&peer, 'h');
                ck_assert_int_eq(op_run(OP_TRY_SLICE, world.map, end.offset, 256, 0), 0);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, end.offset, 256, 0), AMMAP_ERR_BUSY);
                peer_kill(&peer);
                ck_assert(holds(world.map, end.offset, 256, 'e'));
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, world.map, 0, world.size, SECOND), 0);
        }
        world_end(&world);
}

/* --- Forks ------------------------------------------------------------------------------ */

struct forked {
        struct world *world;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
};

/* The child has its slices of a map that it has to itself, and none of one that it shares. */
static void forked_body(void *argument)
{
        struct forked *forked = argument;
        ammap_mut_slice_t mut = forked->mut;
        ammap_slice_t slice;

        if (world_is_joint(forked->world)) {
                child_must_int(ammap_mut_slice_downgrade(&mut, &slice), AMMAP_ERR_INVALID);
                child_must(slice_is_zero(&slice));
                child_must(memcmp(&mut, &forked->mut, sizeof(mut)) == 0);
                return;
        }
        child_must_int(ammap_mut_slice_downgrade(&mut, &slice), 0);
        child_must_int(op_run(OP_SLICE, forked->world->map, 0, 100, 0), 0);
        child_must_int(op_run(OP_TRY_MUT_SLICE, forked->world->map, 0, 100, 0), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ammap_slice_release(&forked->slice);
        child_must_int(op_run(OP_TRY_MUT_SLICE, forked->world->map, 0, forked->world->size, 0), 0);
}

DEFINE_LOOP_TEST("downgrade", forks_have_their_own, 0, COUNT_OF(world_kinds))
{
        struct world world;
        struct forked forked = { .world = &world };
        ammap_mut_slice_t mut;

        world_begin(&world, &world_kinds[_i]);
        if (world_has_lanes(&world)) { /* one that has become a slice already */
                take_mut(world.map, lane_size(world.map), 10, &mut);
                downgrade(&mut, &forked.slice);
        }
        take_mut(world.map, 0, 100, &forked.mut);
        child_passes(forked_body, &forked);
        /* Nothing of that was here. */
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world.map, 0, 100), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&forked.mut);
        ammap_slice_release(&forked.slice);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world.map, 0, world.size), 0);
        world_end(&world);
}

/* --- Many lanes -------------------------------------------------------------------------- */

DEFINE_LOOP_TEST("downgrade", many_lanes, 0, COUNT_OF(world_kinds))
{
        const uint64_t size = 8 * AMMAP_LANES_MAX;
        struct path path = path_of("many");
        struct world world;
        ammap_options_t options;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        ammap_t *map;

        world_begin(&world, &world_kinds[_i]);
        options = world_options(&world);
        options.capacity = 0;
        options.lanes = AMMAP_LANES_MAX;
        if (world.kind->file)
                ck_assert_int_eq(open_by_kernel(&map, path.text, size, &options), 0);
        else
                ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        for (int round = 0; round < 3; round++) {
                take_mut(map, 0, size, &mut);
                memset(mut.data, 'm' + round, (size_t)size);
                downgrade(&mut, &slice);
                for (uint64_t at = 0; at < size; at += round ? 8 * 511 : 8 * 64) {
                        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, at, 1), 0);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, at, 1), AMMAP_ERR_BUSY);
                }
                ck_assert(is_all(slice.data, (unsigned char)('m' + round), size));
                ammap_slice_release(&slice);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, size), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
        world_end(&world);
}

#if TEST_OS_LINUX

/* --- Shared maps: places -------------------------------------------------------------------- */

/* With slices of eight ranges there is no place for a ninth: the mut slice stays one. */
DEFINE_TEST("downgrade", a_thread_without_a_place)
{
        enum { PLACES = 8 };
        ammap_t *map = make_shared(1000, 0, 10);
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        ammap_slice_t slices[PLACES], slice;
        ammap_mut_slice_t mut;
        struct refused refused = { &mut, AMMAP_ERR_LIMIT };
        struct remote remote;

        remote_start(&remote, &place);
        for (unsigned i = 0; i < PLACES; i++)
                ck_assert_int_eq(ammap_as_slice(map, i * 100, 1, &slices[i]), 0);
        take_mut(map, 800, 200, &mut);
        for (int times = 0; times < 3; times++) {
                refused_body(&refused);
                memset(mut.data, 'p' + times, 200);
                ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 900, 1, 0), AMMAP_ERR_BUSY);
                ck_assert_int_eq(ammap_resize(map, 950), AMMAP_ERR_BUSY);
                ck_assert_uint_eq(stat_of(map).slices, PLACES + 1);
        }
        ammap_slice_release(&slices[3]);
        downgrade(&mut, &slice);
        ck_assert(is_all(slice.data, 'r', 200));
        ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 900, 1, 0), 0);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 900, 1, 0), AMMAP_ERR_BUSY);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 300, 1, 0), 0);
        ck_assert_int_eq(ammap_as_slice(map, 300, 1, &slices[3]), AMMAP_ERR_LIMIT);
        /* What lies within its lanes shares its place. */
        ck_assert_int_eq(ammap_as_slice(map, 900, 100, &slices[3]), 0);
        ammap_slice_release(&slice);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 900, 1, 0), AMMAP_ERR_BUSY);
        for (unsigned i = 0; i < PLACES; i++)
                ammap_slice_release(&slices[i]);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 0, 1000, 0), 0);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Files -------------------------------------------------------------------------------- */

static ammap_t *file_of(const struct path *path, uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.allow_faults = true;
        options.lanes = lanes;
        ck_assert_int_eq(open_by_kernel(&map, path->text, 8192, &options), 0);
        return map;
}

/* The kernel changes no lock any more. */
static void unlockable_body(void *argument)
{
        bool *denied = argument;
#ifdef SYS_fcntl64
        const int call = SYS_fcntl64; /* of machines with 32 bits */
#else
        const int call = SYS_fcntl;
#endif
        struct path path = path_of("unlockable");
        ammap_t *map = file_of(&path, 2);
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        child_must_int(ammap_as_mut_slice(map, 0, 8192, &mut), 0);
        if (!refuse_call(call, ENOLCK))
                _exit(0);
        *denied = true;
        child_must_int(ammap_mut_slice_downgrade(&mut, &slice), -ENOLCK);
        child_must(slice_is_zero(&slice));
        child_must(mut.length == 8192);
        memset(mut.data, 'u', 8192);
        _exit(0); /* as a writer */
}

/* What the system refuses is a mut slice as before: who ends with it died writing. */
DEFINE_TEST("downgrade", a_lock_that_stays)
{
        struct path path = path_of("unlockable");
        bool *denied = board_of(sizeof(*denied));
        ammap_t *map;

        child_passes(unlockable_body, denied);
        map = file_of(&path, 2);
        ck_assert_int_eq(ammap_fill(map, 0, 8192, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        if (*denied)
                ck_assert(holds(map, 0, 8192, 'u'));
        else
                skip_part(__func__, "no filters here");
        ck_assert_int_eq(ammap_fill(map, 0, 8192, 0), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        munmap(denied, sizeof(*denied));
}

DEFINE_TEST("downgrade", files_that_are_gone)
{
        struct path path = path_of("gone");
        struct path other_path = path_of("other");
        ammap_t *map = file_of(&path, 2), *other;
        ammap_mut_slice_t mut;
        struct refused refused = { &mut, AMMAP_ERR_FAULT };

        take_mut(map, 0, 8192, &mut);
        ck_assert_int_eq(truncate(path.text, 0), 0);
        refused_body(&refused);
        ck_assert_int_eq(truncate(path.text, MB), 0);
        refused_body(&refused);
        ck_assert_int_eq(truncate(path.text, 0), 0);
        ck_assert_int_eq(ammap_free(file_of(&other_path, 2)), 0);
        put_over(&path, &other_path); /* the library makes none while that is written */
        other = file_of(&path, 2);
        refused.want = AMMAP_ERR_FORMAT;
        refused_body(&refused);
        /* The lanes of the file are this map's for as long as it writes. */
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, other, 0, 1), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, other, 0, 8192), 0);
        ck_assert_int_eq(ammap_free(other), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Two handles of one file, or of one shared map, are one map to their thread. */
DEFINE_LOOP_TEST("downgrade", two_handles, 0, 2)
{
        struct path path = path_of("twice");
        ammap_t *map = _i ? file_of(&path, 2) : make_shared(8192, 0, 2);
        ammap_t *again = _i ? file_of(&path, 2) : import_again(map, AMMAP_READ | AMMAP_WRITE);
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        take_mut(map, 0, 8192, &mut);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, again, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        downgrade(&mut, &slice);
        ck_assert_int_eq(op_run(OP_SLICE, again, 0, 8192, 0), 0);
        ck_assert_int_eq(op_run(OP_UPDATE, again, 0, 8192, 0), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ck_assert_int_eq(op_run(OP_UPDATE, again, 0, 8192, 0), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

int main(void)
{
        return run_tests("downgrade", share_case);
}
