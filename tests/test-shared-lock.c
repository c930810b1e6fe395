/* test-shared-lock.c - the lock of a map that several processes have
 *
 * SPDX-License-Identifier: MIT
 *
 * By what the interface promises alone, and in other processes for real: who
 * excludes whom, what is left behind by one that is killed, that execs or forks,
 * that nobody starves, and that forged lock words hurt none but the bytes.
 * Most tests run once for each kind of map that such a lock is for.
 *
 *      test-shared-lock --idle FD
 *
 * does nothing until FD is closed at the other end: what a test execs.
 */
#include "share.h"

#include "refuse.h"

#if TEST_OS_LINUX

#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34) && !TEST_SANITIZED
#define HAVE_BARE_FORK 1
#else
#define HAVE_BARE_FORK 0
#endif

enum { SIZE = 40000, LANES = 4 };

/* --- Kinds of maps, and how another process comes by one -------------------- */

static const struct kind {
        enum way way;
        enum in_file file;
        uint64_t lanes;
} kinds[] = {
        { IMPORT, NO_FILE, 1 },     { IMPORT, NO_FILE, LANES }, { INHERIT, NO_FILE, 1 },   { INHERIT, NO_FILE, LANES },
        { OPEN, BY_KERNEL, LANES }, { INHERIT, BY_KERNEL, 1 },  { OPEN, BY_WORDS, LANES },
};

struct world {
        ammap_t *map;
        uint64_t lane_size; /* 0: there is but one */
        struct path path;
        struct place place;
};

static void world_open(struct world *world, int number)
{
        const struct kind *kind = &kinds[number];
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        *world = (struct world){ NULL,
                                 kind->lanes > 1 ? SIZE / kind->lanes : 0,
                                 path_of("world"),
                                 { kind->way, NULL, -1, NULL, AMMAP_OPTIONS_INIT } };
        options.lanes = kind->lanes;
        if (kind->file) {
                options.allow_faults = world->place.options.allow_faults = true;
                ck_assert_int_eq(open_in_file(kind->file, &world->map, world->path.text, SIZE, &options), 0);
        } else {
                options.share = AMMAP_SHARED;
                world->map = make_with(SIZE, &options);
                world->place.fd = export_of(world->map, AMMAP_READ | AMMAP_WRITE);
        }
        world->place.map = world->map;
        world->place.path = world->path.text;
}

/* Another handle of this process. */
static ammap_t *world_again(const struct world *world)
{
        ammap_t *again;

        if (world->place.fd >= 0)
                return import_of(world->place.fd, AMMAP_SHARED);
        ck_assert_int_eq(ammap_open(&again, world->path.text, 0, &world->place.options), 0);
        return again;
}

static void world_close(struct world *world)
{
        /* Nothing is left locked, and no one is left dead. */
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world->map, 0, SIZE, 0), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, world->map, 0, SIZE), 0);
        ck_assert_int_eq(ammap_free(world->map), 0);
        if (world->place.fd >= 0)
                close(world->place.fd);
}

#define check_op(op, got, want)                                                                                        \
        do {                                                                                                           \
                int op_got_ = (got);                                                                                   \
                ck_assert_msg(op_got_ == (want), "%s: %s, not %s", op_name(op), ammap_errname(op_got_),                \
                              ammap_errname(want));                                                                    \
        } while (0)

static void check_ops(ammap_t *map, uint64_t offset, uint64_t length, int want)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                check_op(op, op_run(op, map, offset, length, SECOND), want);
}

static void check_remote_ops(const struct remote *remote, uint64_t offset, uint64_t length, int want)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                check_op(op, remote_op(remote, op, offset, length, SECOND), want);
}

/* --- Exclusion ----------------------------------------------------------------- */

/* What another process holds at offset keeps out of there what it must. */
static void check_held(ammap_t *map, uint64_t offset, bool writes)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                bool conflicts = writes || op_writes(op);

                if (!conflicts) {
                        check_op(op, op_run(op, map, offset, 10, 0), 0);
                } else if (op_tries(op)) {
                        check_op(op, op_run(op, map, offset, 10, 0), AMMAP_ERR_BUSY);
                } else if (op_is_timed(op)) {
                        struct call call = { op, map, offset, 10, 30 * MS, INT_MIN, 0 };

                        check_op(op, op_run(op, map, offset, 10, 0), AMMAP_ERR_TIMEOUT);
                        call_body(&call);
                        check_op(op, call.result, AMMAP_ERR_TIMEOUT);
                        ck_assert_int_ge(call.took_ns, 30 * MS);
                }
        }
}

DEFINE_LOOP_TEST("shared-lock", slices_keep_others_out, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remote;

        world_open(&world, _i);
        remote_start(&remote, &world.place);
        for (int writes = 0; writes < 2; writes++) {
                remote_hold(&remote, writes, 50, 100);
                check_held(world.map, 60, writes);
                check_held(world.map, 0, writes); /* elsewhere in the lane */
                if (world.lane_size) {
                        check_ops(world.map, world.lane_size, SIZE - world.lane_size, 0);
                        /* Refused in its last lane, a range holds none. */
                        remote_release(&remote);
                        remote_hold(&remote, writes, SIZE - 10, 10);
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, SIZE, 0), AMMAP_ERR_BUSY);
                        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, world.map, 0, SIZE, MS), AMMAP_ERR_TIMEOUT);
                        ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 0, SIZE - world.lane_size, 0), 0);
                }
                remote_release(&remote);
                check_ops(world.map, 0, SIZE, 0);
                check_remote_ops(&remote, 0, SIZE, 0);
        }
        remote_end(&remote);
        world_close(&world);
}

/* Each call that waits does so until it may, and then gets in. */
DEFINE_LOOP_TEST("shared-lock", waiting_calls, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remote;

        world_open(&world, _i);
        remote_start(&remote, &world.place);
        for (enum op op = 0; op < OP_COUNT; op++)
                for (int writes = !op_writes(op); writes < 2; writes++) {
                        struct call call = { op, world.map, 0, 10, -1, INT_MIN, 0 };
                        struct task task;

                        if (op_tries(op))
                                continue;
                        remote_hold(&remote, writes, 0, 10);
                        task_start(&task, call_body, &call);
                        ck_assert(task_sleeps(&task));
                        remote_release(&remote);
                        task_join(&task);
                        check_op(op, call.result, 0);
                }
        remote_end(&remote);
        world_close(&world);
}

DEFINE_LOOP_TEST("shared-lock", readers_of_two_processes, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remotes[2];
        ammap_slice_t slice;

        world_open(&world, _i);
        for (size_t i = 0; i < 2; i++) {
                remote_start(&remotes[i], &world.place);
                remote_hold(&remotes[i], false, 0, SIZE);
        }
        ck_assert_int_eq(ammap_try_as_slice(world.map, 0, SIZE, &slice), 0);
        ck_assert_int_eq(remote_op(&remotes[0], OP_TRY_SLICE, 0, SIZE, 0), 0);
        ck_assert_int_eq(remote_op(&remotes[0], OP_TRY_MUT_SLICE, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        remote_release(&remotes[0]);
        ck_assert_int_eq(remote_op(&remotes[0], OP_TRY_MUT_SLICE, 0, 1, 0), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_BUSY);
        remote_release(&remotes[1]);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), 0);
        for (size_t i = 0; i < 2; i++)
                remote_end(&remotes[i]);
        world_close(&world);
}

/* A reader with a slice reads on while another process waits to write. */
DEFINE_LOOP_TEST("shared-lock", readers_read_again, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remote;
        ammap_slice_t slice;

        world_open(&world, _i);
        remote_start(&remote, &world.place);
        ck_assert_int_eq(ammap_as_slice(world.map, 0, 100, &slice), 0);
        remote_send(&remote, (struct command){ DO_OP, OP_UPDATE, 0, SIZE, 0 });
        remote_sleeps(&remote);
        for (enum op op = 0; op < OP_UPDATE; op++)
                check_op(op, op_run(op, world.map, 0, 100, SECOND), 0);
        ammap_slice_release(&slice);
        ck_assert_int_eq(remote_reply(&remote).result, 0);
        remote_end(&remote);
        world_close(&world);
}

/* --- Exclusion under load --------------------------------------------------------- */

enum { BLOCK = 65536, COUNTER = BLOCK - 8 };

struct load_board {
        _Atomic bool stop;
        _Atomic uint64_t torn, wrong, added, reads, writes;
};

struct load {
        struct place place;
        uint64_t lanes;
        size_t size;
        struct load_board *board;
        uint64_t seed;
};

static void load_look(const struct load *load, const unsigned char *bytes)
{
        if (!is_all(bytes, bytes[0], load->size))
                atomic_fetch_add(&load->board->torn, 1);
        atomic_fetch_add(&load->board->reads, 1);
}

static void load_result(const struct load *load, int result, bool tried)
{
        if (result != 0 && !(tried && (result == AMMAP_ERR_BUSY || result == AMMAP_ERR_TIMEOUT)) &&
            atomic_fetch_add(&load->board->wrong, 1) == 0)
                fprintf(stderr, "under load: %s\n", ammap_errname(result));
}

/* Change blocks under a mut slice that begins at the first one, bit by bit. */
static void load_change(const struct load *load, unsigned char *bytes, uint64_t lanes, unsigned char byte)
{
        for (uint64_t i = 0; i < lanes; i++) {
                unsigned char *block = bytes + i * BLOCK;
                uint64_t counter;

                load_look(load, block);
                for (size_t j = 0; j < load->size; j++)
                        ((volatile unsigned char *)block)[j] = byte;
                memcpy(&counter, block + COUNTER, sizeof(counter));
                counter++;
                memcpy(block + COUNTER, &counter, sizeof(counter));
                atomic_fetch_add(&load->board->added, 1);
        }
        atomic_fetch_add(&load->board->writes, 1);
}

static const enum op copies_out[] = { OP_READ_INTO, OP_TRY_READ, OP_TIMED_READ };
static const enum op copies_in[] = { OP_UPDATE, OP_TRY_UPDATE, OP_TIMED_UPDATE };

static void load_once(const struct load *load, ammap_t *map, struct random *random, unsigned char *buffer)
{
        uint64_t lane = random_below(random, load->lanes), offset = lane * BLOCK;
        unsigned char byte = (unsigned char)random_next(random);
        ammap_slice_t slice = { 0 };
        ammap_mut_slice_t mut = { 0 };
        int rc = 0, what = (int)random_below(random, 10);
        size_t how = (size_t)random_below(random, 3);

        switch (what) {
        case 0:
        case 1:
                rc = op_bytes(copies_out[how], map, offset, buffer, load->size, MS);
                if (rc == 0)
                        load_look(load, buffer);
                break;
        case 2:
                rc = ammap_as_slice(map, offset, BLOCK, &slice);
                break;
        case 3:
                rc = ammap_try_as_slice(map, offset, BLOCK, &slice);
                break;
        case 4:
                rc = ammap_timed_as_slice(map, offset, BLOCK, MS, &slice);
                break;
        case 5:
                memset(buffer, byte, load->size);
                rc = op_bytes(copies_in[how], map, offset, buffer, load->size, MS);
                break;
        case 6:
                rc = ammap_fill(map, offset, load->size, byte);
                break;
        case 7:
                rc = ammap_as_mut_slice(map, offset, BLOCK, &mut);
                break;
        case 8:
                rc = ammap_timed_as_mut_slice(map, 0, load->lanes * BLOCK, MS, &mut);
                break;
        default: /* all of it */
                rc = byte & 1 ? ammap_as_slice(map, 0, load->lanes * BLOCK, &slice)
                              : ammap_as_mut_slice(map, 0, load->lanes * BLOCK, &mut);
        }
        load_result(load, rc, what == 3 || what == 4 || what == 8 || (how > 0 && (what < 2 || what == 5)));
        for (uint64_t i = 0; slice.data && i < slice.length / BLOCK; i++)
                load_look(load, slice.data + i * BLOCK);
        if (mut.data)
                load_change(load, mut.data, mut.length / BLOCK, byte);
        ammap_slice_release(&slice);
        ammap_mut_slice_release(&mut);
}

static void load_body(struct peer *parent, void *argument)
{
        struct load *load = argument;
        struct random random = { load->seed };
        ammap_t *map = place_join(&load->place);
        unsigned char *buffer = malloc(BLOCK);

        child_must(buffer);
        peer_tell(parent, 'r');
        child_expect(parent, 'g');
        while (!atomic_load(&load->board->stop))
                load_once(load, map, &random, buffer);
        free(buffer);
        child_must_int(ammap_free(map), 0);
}

static bool load_is_enough(struct load_board *board)
{
        const uint64_t enough = (uint64_t)rounds_or_all(1000, 50000);

        return atomic_load(&board->reads) >= enough && atomic_load(&board->writes) >= enough;
}

DEFINE_LOOP_TEST("shared-lock", under_load, 0, COUNT_OF(kinds))
{
        static const size_t sizes[] = { 1, 64, 4096, 65000 };
        const struct kind *kind = &kinds[_i];
        struct path path = path_of("load");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct random random = random_start("under_load");

        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
                struct load load = { { kind->way, NULL, -1, path.text, AMMAP_OPTIONS_INIT },
                                     kind->lanes,
                                     sizes[s],
                                     board_of(sizeof(*load.board)),
                                     0 };
                uint64_t counted = 0;
                struct peer peers[3];
                ammap_t *map;

                options.lanes = kind->lanes;
                if (kind->file) {
                        options.allow_faults = load.place.options.allow_faults = true;
                        unlink(path.text);
                        ck_assert_int_eq(open_in_file(kind->file, &map, path.text, kind->lanes * BLOCK, &options), 0);
                } else {
                        options.share = AMMAP_SHARED;
                        map = make_with(kind->lanes * BLOCK, &options);
                        load.place.fd = ammap_fd(map);
                }
                load.place.map = map;
                for (size_t i = 0; i < COUNT_OF(peers); i++) {
                        load.seed = random_next(&random);
                        peer_start(&peers[i], load_body, &load);
                        peer_expect(&peers[i], 'r');
                }
                for (size_t i = 0; i < COUNT_OF(peers); i++)
                        peer_tell(&peers[i], 'g');
                while (!load_is_enough(load.board))
                        pause_ms(1);
                atomic_store(&load.board->stop, true);
                for (size_t i = 0; i < COUNT_OF(peers); i++)
                        peer_end(&peers[i]);
                ck_assert_uint_eq(atomic_load(&load.board->torn), 0);
                ck_assert_uint_eq(atomic_load(&load.board->wrong), 0);
                for (uint64_t i = 0; i < kind->lanes; i++) {
                        uint64_t counter;

                        ck_assert_int_eq(ammap_read_into(map, i * BLOCK + COUNTER, &counter, sizeof(counter)), 0);
                        counted += counter;
                }
                ck_assert_uint_eq(counted, atomic_load(&load.board->added));
                ck_assert_int_eq(ammap_free(map), 0);
                munmap(load.board, sizeof(*load.board));
        }
}

/* --- One's own slices, through one handle and another -------------------------------- */

DEFINE_LOOP_TEST("shared-lock", own_slices, 0, COUNT_OF(kinds))
{
        struct world world;

        world_open(&world, _i);
        for (int handles = 1; handles <= 2; handles++) {
                ammap_t *again = handles == 2 ? world_again(&world) : world.map;
                ammap_slice_t slice;
                ammap_mut_slice_t mut;

                ck_assert_int_eq(ammap_as_slice(world.map, 0, 100, &slice), 0);
                for (enum op op = 0; op < OP_COUNT; op++)
                        check_op(op, op_run(op, again, 50, 10, SECOND), op_writes(op) ? AMMAP_ERR_DEADLOCK : 0);
                if (world.lane_size)
                        check_ops(again, world.lane_size, 10, 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, again, 0, 10), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, again, 0, 10), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_elsewhere(OP_TIMED_MUT_SLICE, again, 0, 10), AMMAP_ERR_TIMEOUT);
                ammap_slice_release(&slice);
                check_ops(again, 0, SIZE, 0);

                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, 100, &mut), 0);
                check_ops(again, 50, 10, AMMAP_ERR_DEADLOCK);
                if (world.lane_size)
                        check_ops(again, world.lane_size, 10, 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, again, 0, 10), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, again, 0, 10), AMMAP_ERR_BUSY);
                ammap_mut_slice_release(&mut);
                check_ops(again, 0, SIZE, 0);
                if (handles == 2)
                        ck_assert_int_eq(ammap_free(again), 0);
        }
        world_close(&world);
}

/* --- Death ------------------------------------------------------------------------------ */

/* Of a thread that had slept so many times as something came about. */
static void check_prompt(long slept, long sleeps)
{
        if (slept >= 0) /* else it had ended */
                ck_assert_int_lt(sleeps - slept, SLEEPS_FEW);
}

/* Killed with a slice to read, and buried or not: as if it had never been. */
DEFINE_LOOP_TEST("shared-lock", dead_readers, 0, COUNT_OF(kinds))
{
        struct world world;

        world_open(&world, _i);
        for (int buried = 0; buried < 2; buried++)
                for (int waiting = 0; waiting < 2; waiting++) {
                        struct call call = { OP_MUT_SLICE, world.map, 0, SIZE, -1, INT_MIN, 0 };
                        struct remote remote;
                        struct task task;
                        long slept;

                        remote_start(&remote, &world.place);
                        remote_hold(&remote, false, 0, SIZE);
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, SIZE, 0), AMMAP_ERR_BUSY);
                        if (waiting) {
                                task_start(&task, call_body, &call);
                                ck_assert(task_sleeps(&task));
                        }
                        peer_kill_only(&remote.peer);
                        if (buried)
                                peer_bury(&remote.peer);
                        slept = sleeps_of(getpid(), waiting ? atomic_load(&task.tid) : own_tid());
                        if (waiting)
                                task_join(&task);
                        else
                                call_body(&call);
                        ck_assert_int_eq(call.result, 0);
                        check_prompt(slept, waiting ? task.sleeps : sleeps_of(getpid(), own_tid()));
                        check_ops(world.map, 0, SIZE, 0);
                        if (!buried)
                                peer_bury(&remote.peer);
                        munmap(remote.board, sizeof(*remote.board));
                }
        world_close(&world);
}

static void check_dead(const struct world *world, const struct remote *witness)
{
        ammap_t *copy = NULL;

        check_ops(world->map, 0, 10, AMMAP_ERR_OWNER_DEAD);
        check_remote_ops(witness, 0, 10, AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, world->map, 0, 10), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, world->map, 0, SIZE, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_clone(world->map, &copy), AMMAP_ERR_OWNER_DEAD);
        ck_assert_ptr_null(copy);
        ck_assert_int_eq(ammap_freeze(world->map), AMMAP_ERR_OWNER_DEAD);
        if (world->lane_size) {
                check_ops(world->map, world->lane_size, SIZE - world->lane_size, 0);
                check_remote_ops(witness, world->lane_size, 10, 0);
        }
}

/* Killed with a mut slice: each process is told, those that waited too, until one
 * of them has it as it is. */
DEFINE_LOOP_TEST("shared-lock", dead_writers, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote witness;

        world_open(&world, _i);
        remote_start(&witness, &world.place);
        for (int buried = 0; buried < 2; buried++)
                for (int who = 0; who < 3; who++) {
                        struct call call = { OP_READ_INTO, world.map, 0, 10, -1, INT_MIN, 0 };
                        struct remote victim, fresh;
                        struct task task;
                        long slept;

                        remote_start(&victim, &world.place);
                        remote_hold(&victim, true, 0, 10);
                        task_start(&task, call_body, &call);
                        ck_assert(task_sleeps(&task));
                        remote_send(&witness, (struct command){ DO_OP, who ? OP_SLICE : OP_UPDATE, 0, 10, -1 });
                        remote_sleeps(&witness);
                        peer_kill_only(&victim.peer);
                        if (buried)
                                peer_bury(&victim.peer);
                        slept = sleeps_of(getpid(), atomic_load(&task.tid));
                        task_join(&task);
                        ck_assert_int_eq(call.result, AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(remote_reply(&witness).result, AMMAP_ERR_OWNER_DEAD);
                        check_prompt(slept, task.sleeps);

                        check_dead(&world, &witness);
                        remote_start(&fresh, &world.place);
                        check_remote_ops(&fresh, 0, 10, AMMAP_ERR_OWNER_DEAD);
                        check_dead(&world, &witness);
                        ck_assert_int_eq(who == 0   ? ammap_recover(world.map)
                                         : who == 1 ? remote_order(&witness, DO_RECOVER)
                                                    : remote_order(&fresh, DO_RECOVER),
                                         0);
                        check_ops(world.map, 0, SIZE, 0);
                        check_remote_ops(&witness, 0, SIZE, 0);
                        check_remote_ops(&fresh, 0, SIZE, 0);
                        ck_assert_int_eq(ammap_recover(world.map), 0);
                        if (!buried)
                                peer_bury(&victim.peer);
                        munmap(victim.board, sizeof(*victim.board));
                        remote_end(&fresh);
                }
        remote_end(&witness);
        world_close(&world);
}

/* Of many threads one looks for all: whether it is still there, has waited for too long, or
 * gets in, the others learn in time what has become of the lane. */
static void many_wait(int number, bool first_gives_up, bool dies)
{
        enum { MANY = 24 };
        long slept[MANY];
        struct task tasks[MANY];
        struct call calls[MANY];
        struct remote remote;
        struct world world;

        world_open(&world, number);
        remote_start(&remote, &world.place);
        remote_hold(&remote, true, 0, SIZE);
        for (int i = 0; i < MANY; i++) {
                enum op op = i == 0 && first_gives_up ? OP_TIMED_MUT_SLICE : i % 2 ? OP_SLICE : OP_MUT_SLICE;

                calls[i] = (struct call){ op, world.map, 0, SIZE, 300 * MS, INT_MIN, 0 };
                task_start(&tasks[i], call_body, &calls[i]);
                if (i == 0)
                        task_sleeps(&tasks[i]);
        }
        if (first_gives_up)
                task_join(&tasks[0]);
        for (int i = first_gives_up; i < MANY; i++)
                ck_assert(task_sleeps(&tasks[i]));
        if (dies)
                remote_kill(&remote);
        else
                remote_release(&remote);
        /* Not before: one of them sleeps again and again, and how often until then is up to the machine. */
        for (int i = first_gives_up; i < MANY; i++)
                slept[i] = sleeps_of(getpid(), atomic_load(&tasks[i].tid));
        for (int i = first_gives_up; i < MANY; i++) {
                task_join(&tasks[i]);
                check_prompt(slept[i], tasks[i].sleeps);
        }
        for (int i = 0; i < MANY; i++)
                check_op(calls[i].op, calls[i].result,
                         i == 0 && first_gives_up ? AMMAP_ERR_TIMEOUT
                         : dies                   ? AMMAP_ERR_OWNER_DEAD
                                                  : 0);
        if (dies)
                ck_assert_int_eq(ammap_recover(world.map), 0);
        else
                remote_end(&remote);
        world_close(&world);
}

DEFINE_LOOP_TEST("shared-lock", many_learn_of_a_death, 0, COUNT_OF(kinds))
{
        many_wait(_i, false, true);
        many_wait(_i, true, true);
}

DEFINE_LOOP_TEST("shared-lock", many_learn_of_a_release, 0, COUNT_OF(kinds))
{
        many_wait(_i, false, false);
        many_wait(_i, true, false);
}

/* The first one to come where a writer has died, and nobody was waiting. */
DEFINE_LOOP_TEST("shared-lock", unseen_deaths, 0, COUNT_OF(kinds))
{
        struct world world;

        world_open(&world, _i);
        for (enum op op = 0; op < OP_COUNT; op++) {
                struct remote remote;

                remote_start(&remote, &world.place);
                remote_hold(&remote, true, 0, SIZE);
                remote_kill(&remote);
                check_op(op, op_run(op, world.map, 0, 10, SECOND), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(ammap_recover(world.map), 0);
                check_op(op, op_run(op, world.map, 0, 10, SECOND), 0);
        }
        /* recover itself is the first one. */
        for (int times = 0; times < 2; times++) {
                struct remote remote;

                remote_start(&remote, &world.place);
                remote_hold(&remote, true, 0, SIZE);
                remote_kill(&remote);
                ck_assert_int_eq(ammap_recover(world.map), 0);
                check_ops(world.map, 0, SIZE, 0);
        }
        world_close(&world);
}

/* What they wrote until then is there. */
DEFINE_TEST("shared-lock", readers_of_the_dead)
{
        ammap_t *map = make_shared(SIZE, 0, 1), *reader;
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        int fd = export_of(map, AMMAP_READ);
        struct place of_reader = { IMPORT, NULL, fd, NULL, AMMAP_OPTIONS_INIT };
        struct remote victim, remote;
        unsigned char byte = 0;

        reader = import_of(fd, AMMAP_SHARED);
        remote_start(&remote, &of_reader);
        remote_start(&victim, &place);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 7), 0);
        ck_assert_int_eq(ammap_recover(reader), 0);
        remote_hold(&victim, true, 0, 10);
        remote_kill(&victim);
        ck_assert_int_eq(ammap_read_into(reader, 0, &byte, 1), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(remote_op(&remote, OP_READ_INTO, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(remote_order(&remote, DO_RECOVER), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_read_into(reader, 0, &byte, 1), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_read_into(reader, 0, &byte, 1), 0);
        ck_assert_int_eq(byte, 7);
        remote_check_bytes(&remote, 0, 64, 7);
        ck_assert_int_eq(ammap_recover(reader), 0);
        remote_end(&remote);
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Those who may only read ---------------------------------------------------------------- */

/* What keeps such a handle from copying out: a writer, seen by the sequence alone.  The
 * copy is within one lane, and within the reach of the quick path, or neither. */
static void check_reader_waits(ammap_t *reader, uint64_t length)
{
        unsigned char *bytes = malloc((size_t)length);
        enum { NAP = 100000 }; /* ns, of who cannot enter */
        int64_t start;
        long slept;

        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(ammap_try_read_into(reader, 0, bytes, (size_t)length), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_timed_read_into(reader, 0, bytes, (size_t)length, 0), AMMAP_ERR_TIMEOUT);
        slept = sleeps_of(getpid(), own_tid());
        start = now_ns();
        ck_assert_int_eq(ammap_timed_read_into(reader, 0, bytes, (size_t)length, 30 * MS), AMMAP_ERR_TIMEOUT);
        ck_assert_int_ge(now_ns() - start, 30 * MS);
        ck_assert_int_lt(sleeps_of(getpid(), own_tid()) - slept,
                         30 * MS / NAP + SLEEPS_FEW); /* not ten seconds of them */
        free(bytes);
}

DEFINE_LOOP_TEST("shared-lock", readers_that_cannot_enter, 0, 2)
{
        static const uint64_t lengths[] = { 8, SIZE };
        ammap_t *map = make_shared(SIZE, 0, _i ? LANES : 1), *reader = import_again(map, AMMAP_READ);
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;

        remote_start(&remote, &place);
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                struct call call = { OP_TIMED_READ, reader, 0, lengths[i], patience_ns(), INT_MIN, 0 };
                ammap_mut_slice_t mut;
                struct task task;

                remote_hold(&remote, true, 0, 10);
                check_reader_waits(reader, lengths[i]);
                ck_assert_int_eq(ammap_try_update_region(reader, 0, "", 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_timed_update_region(reader, 0, "", 1, SECOND), AMMAP_ERR_READ_ONLY);
                task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                remote_release(&remote);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                for (enum op op = 0; op <= OP_TIMED_READ; op++)
                        check_op(op, op_run(op, reader, 0, lengths[i], 0), 0);

                /* One's own writing, by the other handle, is not waited for. */
                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 10, &mut), 0);
                for (enum op op = 0; op <= OP_TIMED_READ; op++) {
                        struct call own = { op, reader, 0, lengths[i], -1, INT_MIN, 0 };
                        long slept = sleeps_of(getpid(), own_tid());

                        call_body(&own);
                        check_op(op, own.result, AMMAP_ERR_DEADLOCK);
                        check_prompt(slept, sleeps_of(getpid(), own_tid()));
                }
                ck_assert_int_eq(op_elsewhere(OP_TRY_READ, reader, 0, lengths[i]), AMMAP_ERR_BUSY);
                ammap_mut_slice_release(&mut);
        }
        remote_hold(&remote, true, 0, 10);
        remote_kill(&remote);
        for (size_t i = 0; i < COUNT_OF(lengths); i++)
                for (enum op op = 0; op <= OP_TIMED_READ; op++)
                        check_op(op, op_run(op, reader, 0, lengths[i], SECOND), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        check_op(OP_TRY_READ, op_run(OP_TRY_READ, reader, 0, SIZE, 0), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        for (enum op op = 0; op <= OP_TIMED_READ; op++)
                check_op(op, op_run(op, reader, 0, SIZE, 0), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Those who are stopped ------------------------------------------------------------------- */

/* A process that is stopped with a slice lives, and is waited for as long as is said. */
DEFINE_LOOP_TEST("shared-lock", the_stopped_stop_nobody, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remote;
        int status;

        world_open(&world, _i);
        remote_start(&remote, &world.place);
        for (int writes = 0; writes < 2; writes++) {
                remote_hold(&remote, writes, 0, 10);
                ck_assert_int_eq(kill(remote.peer.pid, SIGSTOP), 0);
                ck_assert_int_eq(waitpid(remote.peer.pid, &status, WUNTRACED), remote.peer.pid);
                ck_assert(WIFSTOPPED(status));
                check_held(world.map, 0, writes);
                if (!kinds[_i].file && writes) {
                        ammap_t *reader = import_again(world.map, AMMAP_READ);

                        check_reader_waits(reader, 8);
                        ck_assert_int_eq(ammap_free(reader), 0);
                }
                ck_assert_int_eq(kill(remote.peer.pid, SIGCONT), 0);
                remote_release(&remote);
                check_ops(world.map, 0, SIZE, 0);
        }
        remote_end(&remote);
        world_close(&world);
}

/* A thread that ends with a slice, here and elsewhere, is a dead one too. */
DEFINE_LOOP_TEST("shared-lock", ended_threads, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote remote;

        world_open(&world, _i);
        remote_start(&remote, &world.place);
        for (int far = 0; far < 2; far++)
                for (int writes = 0; writes < 2; writes++) {
                        struct command request = { DO_VANISH, writes ? OP_MUT_SLICE : OP_SLICE, 0, 10, 0 };
                        struct holder holder;

                        if (far) {
                                ck_assert_int_eq(remote_do(&remote, request).result, 0);
                        } else {
                                holder_start(&holder, world.map, 0, 10, writes);
                                holder_vanish(&holder);
                        }
                        if (writes) {
                                check_dead(&world, &remote);
                                ck_assert_int_eq(far ? remote_order(&remote, DO_RECOVER) : ammap_recover(world.map), 0);
                        }
                        check_ops(world.map, 0, SIZE, 0);
                        check_remote_ops(&remote, 0, SIZE, 0);
                }
        remote_end(&remote);
        world_close(&world);
}

/* --- Other PID namespaces ---------------------------------------------------------------- */

struct elsewhere {
        ammap_t *inherited, *reader;
        ammap_why_t why; /* the reader */
        pid_t pid;
        int fd, made;
        bool refused;
        char directory[200];
};

static void check_foreign(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;
        unsigned char byte = 0;

        child_must_int(ammap_stat(map, &stat), 0);
        child_must(stat.read_only);
        child_must(stat.why_read_only == AMMAP_WHY_PID_NAMESPACE);
        child_must_int(ammap_read_into(map, 5, &byte, 1), 0);
        child_must(byte == 7);
        for (enum op op = OP_UPDATE; op < OP_COUNT; op++)
                child_must_int(op_run(op, map, 0, 10, SECOND), AMMAP_ERR_READ_ONLY);
        child_must_int(op_run(OP_SLICE, map, 0, 10, SECOND), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_resize(map, 10), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_recover(map), 0);
        child_must_int(ammap_free(map), 0);
}

static ammap_why_t why_read_only(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;

        child_must_int(ammap_stat(map, &stat), 0);
        child_must(stat.read_only);
        return stat.why_read_only;
}

static void namespace_body(struct peer *parent, void *argument)
{
        struct elsewhere *elsewhere = argument;
        ammap_t *map;
        pid_t child;
        int status;

        (void)parent;
        if (unshare(CLONE_NEWPID) < 0) {
                elsewhere->refused = true;
                return;
        }
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                child_must(getpid() == 1);
                child_must_int(ammap_import(&map, elsewhere->fd, NULL), 0);
                check_foreign(map);
                /* Who could only read it before says so; and the child's child is not nearer. */
                child_must(why_read_only(elsewhere->reader) == elsewhere->why);
                child = fork();
                child_must(child >= 0);
                if (child == 0) {
                        check_foreign(elsewhere->inherited);
                        _exit(0);
                }
                child_must(waitpid(child, &status, 0) == child && status == 0);
                check_foreign(elsewhere->inherited);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child);
        child_must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

DEFINE_TEST("namespaces", another_pid_namespace)
{
        ammap_t *map = make_shared(SIZE, 0, 2), *seen = make_shared(SIZE, 0, 1);
        struct elsewhere *elsewhere = board_of(sizeof(*elsewhere));
        struct peer peer;

        elsewhere->inherited = map;
        elsewhere->reader = import_again(seen, AMMAP_READ);
        elsewhere->why = stat_of(elsewhere->reader).why_read_only;
        elsewhere->fd = ammap_fd(map);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 7), 0);
        peer_start(&peer, namespace_body, elsewhere);
        peer_end(&peer);
        if (elsewhere->refused)
                skip_part(__func__, "no PID namespaces here");
        check_ops(map, 0, SIZE, 0);
        ck_assert_int_eq(ammap_free(elsewhere->reader), 0);
        ck_assert_int_eq(ammap_free(seen), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        munmap(elsewhere, sizeof(*elsewhere));
}

/* In a root without /proc, behind a filter that does not know pidfds, a process does
 * not know where it is. */
static bool lose_the_namespace(const char *directory)
{
        if (chroot(directory) < 0 && (unshare(CLONE_NEWUSER) < 0 || chroot(directory) < 0))
                return false;
        child_must(chdir("/") == 0);
        return refuse_call(SYS_pidfd_open, EPERM);
}

static void check_writes(ammap_t *map)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                child_must_int(op_run(op, map, 0, 10, SECOND), 0);
}

static void check_lost(ammap_t *map, ammap_t *elsewhere)
{
        pid_t child = fork();
        int status;

        child_must(child >= 0);
        if (child == 0) {
                check_writes(map);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child && status == 0);
        child_must_int(ammap_fill(map, 0, SIZE, 7), 0);
        if (unshare(CLONE_NEWPID) < 0)
                return;
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                check_foreign(map);
                check_foreign(elsewhere);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child && status == 0);
}

static void be_lost(struct peer *parent, struct elsewhere *elsewhere)
{
        ammap_t *imported, *made, *again, *mine;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int fd;

        elsewhere->pid = getpid();
        child_must_int(ammap_import(&imported, elsewhere->fd, NULL), 0);
        options.share = AMMAP_SHARED;
        options.lanes = 2;
        child_must_int(ammap_new_with(&made, SIZE, &options), 0);
        child_must_int(ammap_fill(made, 0, SIZE, 7), 0);
        child_must_int(ammap_export(made, AMMAP_READ | AMMAP_WRITE, &fd), 0);
        child_must_int(ammap_import(&again, fd, NULL), 0);
        child_must_int(ammap_export(made, AMMAP_READ | AMMAP_WRITE, &elsewhere->made), 0);
        peer_tell(parent, 'm');
        child_expect(parent, 'e');

        /* Where it has come from with a map it still is; and who goes by what it makes is its own. */
        mine = elsewhere->inherited;
        check_writes(mine);
        check_writes(again);
        check_writes(made);
        child_must_int(ammap_fill(made, 0, SIZE, 7), 0);
        child_must_int(ammap_fill(mine, 0, SIZE, 7), 0);
        check_foreign(imported);
        check_lost(made, mine);
}

/* What a process has known of itself it goes on to know; its child does not. */
static void lost_body(struct peer *parent, void *argument)
{
        struct elsewhere *elsewhere = argument;
        pid_t child;
        int status;

        if (!lose_the_namespace(elsewhere->directory)) {
                elsewhere->refused = true;
                peer_tell(parent, 'x');
                return;
        }
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                be_lost(parent, elsewhere);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child && status == 0);
}

DEFINE_TEST("namespaces", not_to_know_is_not_the_same)
{
        ammap_t *map = make_shared(SIZE, 0, 2), *theirs;
        struct elsewhere *elsewhere = board_of(sizeof(*elsewhere));
        char path[64];
        struct peer peer;
        char word;
        int fd;

        elsewhere->inherited = map;
        elsewhere->fd = ammap_fd(map);
        snprintf(elsewhere->directory, sizeof elsewhere->directory, "%s", share_directory);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 7), 0);
        peer_start(&peer, lost_body, elsewhere);
        word = peer_hear(&peer);
        if (word == 'm') {
                snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)elsewhere->pid, elsewhere->made);
                fd = open(path, O_RDWR | O_CLOEXEC);
                ck_assert_int_eq(ammap_import(&theirs, fd, NULL), 0);
                close(fd);
                check_foreign(theirs);
                peer_tell(&peer, 'e');
        }
        peer_end(&peer);
        if (elsewhere->refused)
                skip_part(__func__, "no root of one's own here");
        check_ops(map, 0, SIZE, 0);
        ck_assert_int_eq(ammap_free(map), 0);
        munmap(elsewhere, sizeof(*elsewhere));
}

/* --- exec ----------------------------------------------------------------------------------- */

struct exec {
        struct place *place;
        bool writes, leader;
        struct peer *parent;
};

static void *exec_body(void *argument)
{
        const struct exec *exec = argument;
        ammap_t *map = place_join(exec->place);
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        char fd[20];

        if (exec->writes)
                child_must_int(ammap_as_mut_slice(map, 0, 10, &mut), 0);
        else
                child_must_int(ammap_as_slice(map, 0, 10, &slice), 0);
        peer_tell(exec->parent, 'h');
        child_expect(exec->parent, 'x');
        snprintf(fd, sizeof(fd), "%d", exec->parent->in);
        child_must(fcntl(exec->parent->in, F_SETFD, 0) == 0);
        execl("/proc/self/exe", "test-shared-lock", "--idle", fd, (char *)NULL);
        child_must(errno == 0);
        return NULL;
}

static void execs_body(struct peer *parent, void *argument)
{
        struct exec *exec = argument;
        pthread_t thread;

        exec->parent = parent;
        if (exec->leader)
                exec_body(exec);
        child_must(pthread_create(&thread, NULL, exec_body, exec) == 0);
        for (;;)
                pause();
}

/* Whether it is done within the time: it closes the pipe. */
static bool exec_is_done(const struct peer *peer, int time_ms)
{
        struct pollfd closed = { peer->in, POLLIN, 0 };

        return poll(&closed, 1, time_ms) != 0;
}

/* Another program has no slice, whichever thread became it. */
DEFINE_LOOP_TEST("shared-lock", exec_lets_go, 0, COUNT_OF(kinds))
{
        struct world world;

        if (under_valgrind()) { /* which that would be the program */
                skip_part(__func__, why_not_here());
                return;
        }
        world_open(&world, _i);
        for (int leader = TEST_TSAN; leader < 2; leader++)
                for (int writes = 0; writes < 2; writes++) {
                        struct exec exec = { &world.place, writes, leader, NULL };
                        struct call call = { OP_MUT_SLICE, world.map, 0, 10, -1, INT_MIN, 0 };
                        struct task task;
                        struct peer peer;
                        long slept;

                        peer_start(&peer, execs_body, &exec);
                        peer_expect(&peer, 'h');
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 10, 0), AMMAP_ERR_BUSY);
                        peer_tell(&peer, 'x');
                        task_start(&task, call_body, &call);
                        ck_assert(exec_is_done(&peer, -1));
                        slept = sleeps_of(getpid(), atomic_load(&task.tid));
                        task_join(&task);
                        ck_assert_int_eq(call.result, writes ? AMMAP_ERR_OWNER_DEAD : 0);
                        check_prompt(slept, task.sleeps);
                        if (writes) {
                                ck_assert_int_eq(op_run(OP_READ_INTO, world.map, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
                                ck_assert_int_eq(ammap_recover(world.map), 0);
                        }
                        check_ops(world.map, 0, SIZE, 0);
                        peer_end(&peer);
                }
        world_close(&world);
}

/* The kernel is asked also by one who only tries, and cannot enter. */
DEFINE_TEST_IF(!TEST_TSAN, "shared-lock", exec_is_seen_by_those_who_only_try)
{
        ammap_t *map = make_shared(SIZE, 0, 1), *reader;
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct exec exec = { &place, true, false, NULL };
        struct peer peer;
        int rc;

        if (under_valgrind()) {
                skip_part(__func__, "not with valgrind");
                ck_assert_int_eq(ammap_free(map), 0);
                return;
        }
        reader = import_again(map, AMMAP_READ);
        peer_start(&peer, execs_body, &exec);
        peer_expect(&peer, 'h');
        ck_assert_int_eq(op_run(OP_TRY_READ, reader, 0, 8, 0), AMMAP_ERR_BUSY);
        peer_tell(&peer, 'x');
        while ((rc = op_run(OP_TRY_READ, reader, 0, 8, 0)) == AMMAP_ERR_BUSY && !exec_is_done(&peer, 0))
                sched_yield();
        if (rc == AMMAP_ERR_BUSY) /* which came before that */
                rc = op_run(OP_TRY_READ, reader, 0, 8, 0);
        ck_assert_int_eq(rc, AMMAP_ERR_OWNER_DEAD);
        peer_end(&peer);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Run by that. */
static int idle(int fd)
{
        char byte;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (read(fd, &byte, 1) > 0)
                ;
        return 0;
}

/* --- fork -------------------------------------------------------------------------------------- */

#if HAVE_BARE_FORK
static pid_t bare_fork(void)
{
        return _Fork();
}
#endif

static pid_t (*const forkers[])(void) = {
        usual_fork,
#if HAVE_BARE_FORK
        bare_fork,
#endif
};

struct heirloom {
        ammap_t *map;
        ammap_slice_t *slice;
        ammap_mut_slice_t *mut;
};

/* A slice of the parent's is nothing of the child's: not to be released by it,
 * and no deadlock. */
static void heir_body(struct peer *parent, void *argument)
{
        struct heirloom *heirloom = argument;
        bool writes = heirloom->mut->data;

        for (int round = 0; round < 2; round++) {
                for (enum op op = 0; op < OP_COUNT; op++) {
                        bool conflicts = writes || op_writes(op);

                        if (op_tries(op))
                                child_must_int(op_run(op, heirloom->map, 0, 10, 0), conflicts ? AMMAP_ERR_BUSY : 0);
                        if (op_is_timed(op))
                                child_must_int(op_run(op, heirloom->map, 0, 10, MS), conflicts ? AMMAP_ERR_TIMEOUT : 0);
                }
                ammap_slice_release(heirloom->slice);
                ammap_mut_slice_release(heirloom->mut);
        }
        child_must_int(ammap_recover(heirloom->map), 0);
        peer_tell(parent, 'd');
        child_expect(parent, 'e');
        /* When the parent has let go it is the child's turn. */
        child_must_int(op_run(OP_TRY_MUT_SLICE, heirloom->map, 0, 10, 0), 0);
        child_must_int(op_run(OP_UPDATE, heirloom->map, 0, 10, 0), 0);
        child_must_int(ammap_free(heirloom->map), 0);
}

DEFINE_LOOP_TEST("shared-lock", slices_are_not_inherited, 0, COUNT_OF(kinds))
{
        struct world world;
        struct remote witness;

        world_open(&world, _i);
        remote_start(&witness, &world.place);
        for (size_t f = 0; f < COUNT_OF(forkers); f++)
                for (int writes = 0; writes < 2; writes++)
                        for (int killed = 0; killed < 2; killed++) {
                                ammap_slice_t slice = { 0 };
                                ammap_mut_slice_t mut = { 0 };
                                struct heirloom heirloom = { world.map, &slice, &mut };
                                struct peer peer;

                                if (writes)
                                        ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, 10, &mut), 0);
                                else
                                        ck_assert_int_eq(ammap_as_slice(world.map, 0, 10, &slice), 0);
                                peer_start_by(&peer, forkers[f], heir_body, &heirloom);
                                peer_expect(&peer, 'd');
                                if (killed)
                                        peer_kill(&peer);
                                /* It is still the parent's, and still one. */
                                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, world.map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
                                ck_assert_int_eq(remote_op(&witness, OP_TRY_MUT_SLICE, 0, 1, 0), AMMAP_ERR_BUSY);
                                ck_assert_int_eq(remote_op(&witness, OP_TRY_SLICE, 0, 1, 0),
                                                 writes ? AMMAP_ERR_BUSY : 0);
                                ammap_slice_release(&slice);
                                ammap_mut_slice_release(&mut);
                                if (!killed) {
                                        peer_tell(&peer, 'e');
                                        peer_end(&peer);
                                }
                                check_remote_ops(&witness, 0, SIZE, 0);
                                check_ops(world.map, 0, SIZE, 0);
                        }
        remote_end(&witness);
        world_close(&world);
}

/* A child that is made while other threads hold, wait and die. */
DEFINE_LOOP_TEST("shared-lock", children_of_the_busy, 0, COUNT_OF(kinds))
{
        struct world world;

        world_open(&world, _i);
        for (size_t f = 0; f < COUNT_OF(forkers); f++) {
                struct call call = { OP_MUT_SLICE, world.map, 0, SIZE, -1, INT_MIN, 0 };
                struct place place = { INHERIT, world.map, -1, NULL, AMMAP_OPTIONS_INIT };
                struct holder holder;
                struct remote remote, second;
                struct task task;

                holder_start(&holder, world.map, 0, 10, false);
                task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                remote_start_by(&remote, forkers[f], &place);
                remote_start_by(&second, forkers[f], &place);
                /* The vanished reader and writer live in the parent. */
                ck_assert_int_eq(remote_op(&remote, OP_TRY_MUT_SLICE, 0, SIZE, 0), AMMAP_ERR_BUSY);
                holder_stop(&holder);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                check_remote_ops(&remote, 0, SIZE, 0);

                /* The child holds, the parent waits, and then the other child. */
                remote_hold(&remote, true, 0, 10);
                task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                remote_send(&second, (struct command){ DO_OP, OP_UPDATE, 0, SIZE, 0 });
                remote_sleeps(&second);
                remote_release(&remote);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                ck_assert_int_eq(remote_reply(&second).result, 0);

                /* Killed: dead for the parent. */
                remote_hold(&remote, true, 0, 10);
                remote_kill(&remote);
                ck_assert_int_eq(op_run(OP_SLICE, world.map, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(remote_op(&second, OP_SLICE, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(remote_order(&second, DO_RECOVER), 0);
                check_ops(world.map, 0, SIZE, 0);
                remote_end(&second);
        }
        world_close(&world);
}

/* --- Many threads --------------------------------------------------------------------------------- */

enum { CROWD = 160, FEW = 40 }; /* few, where the kernel locks: there are no slots */

struct crowd_board {
        _Atomic int arrived, failed;
};

struct crowd {
        struct place *place;
        ammap_t *map;
        int threads, total; /* of a process, of all */
        struct crowd_board *board;
};

static void crowd_ops(struct crowd *crowd, uint64_t offset)
{
        for (enum op op = 0; op < OP_COUNT; op++) {
                int rc = op_run(op, crowd->map, offset, 64, patience_ns());

                if (rc == 0 || rc == AMMAP_ERR_LIMIT || (op_tries(op) && rc == AMMAP_ERR_BUSY))
                        continue;
                if (atomic_fetch_add(&crowd->board->failed, 1) == 0)
                        fprintf(stderr, "in a crowd: %s: %s\n", op_name(op), ammap_errname(rc));
        }
}

/* Stays until all have had a turn: there are more threads than slots then, and some
 * are told so. */
static void *crowd_member(void *argument)
{
        struct crowd *crowd = argument;
        uint64_t offset = (uint64_t)own_tid() * 64 % (SIZE - 64);

        crowd_ops(crowd, offset);
        atomic_fetch_add(&crowd->board->arrived, 1);
        while (atomic_load(&crowd->board->arrived) < crowd->total)
                pause_ms(1);
        crowd_ops(crowd, offset);
        return NULL;
}

static int crowd_run(struct crowd *crowd)
{
        pthread_t threads[CROWD];
        pthread_attr_t attributes;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 512 * 1024);
        for (int i = 0; i < crowd->threads; i++)
                if (pthread_create(&threads[i], &attributes, crowd_member, crowd) != 0)
                        return -1;
        for (int i = 0; i < crowd->threads; i++)
                pthread_join(threads[i], NULL);
        pthread_attr_destroy(&attributes);
        return 0;
}

static void crowd_body(struct peer *parent, void *argument)
{
        struct crowd *crowd = argument;

        (void)parent;
        crowd->map = place_join(crowd->place);
        child_must(crowd_run(crowd) == 0);
        child_must_int(ammap_free(crowd->map), 0);
}

DEFINE_LOOP_TEST("shared-lock", more_threads_than_slots, 0, COUNT_OF(kinds))
{
        const int others = TEST_TSAN ? 0 : 2, threads = kinds[_i].file == BY_KERNEL ? FEW : CROWD;
        struct world world;
        struct crowd crowd;
        struct peer peers[2];

        world_open(&world, _i);
        crowd = (struct crowd){ &world.place, world.map, threads, (1 + others) * threads,
                                board_of(sizeof(*crowd.board)) };
        for (int round = 0; round < 2; round++) {
                atomic_store(&crowd.board->arrived, 0);
                for (int i = 0; i < others; i++)
                        peer_start(&peers[i], crowd_body, &crowd);
                ck_assert_int_eq(crowd_run(&crowd), 0);
                for (int i = 0; i < others; i++)
                        peer_end(&peers[i]);
                ck_assert_int_eq(atomic_load(&crowd.board->failed), 0);
        }
        munmap(crowd.board, sizeof(*crowd.board));
        world_close(&world);
}

struct hoarder {
        ammap_t *map;
        pthread_barrier_t *barrier;
        int first, second;
};

static void *hoarder_body(void *argument)
{
        struct hoarder *hoarder = argument;
        ammap_slice_t slice;
        unsigned char byte;

        hoarder->first = ammap_as_slice(hoarder->map, 0, 10, &slice);
        pthread_barrier_wait(hoarder->barrier);
        if (hoarder->first == 0) /* who has a slot */
                thread_check_int(ammap_read_into(hoarder->map, 0, &byte, 1), 0);
        pthread_barrier_wait(hoarder->barrier);
        ammap_slice_release(&slice);
        hoarder->second = op_run(OP_SLICE, hoarder->map, 0, 10, 0);
        pthread_barrier_wait(hoarder->barrier);
        return NULL;
}

/* More threads with slices than there can be: those that are too many are told so,
 * as long as the others are there. */
DEFINE_LOOP_TEST("shared-lock", more_holders_than_slots, 0, 2)
{
        enum { HOARDERS = 300 };
        static struct hoarder hoarders[HOARDERS];
        static pthread_t threads[HOARDERS];
        struct world world;
        pthread_barrier_t barrier;
        int held = 0;

        world_open(&world, _i);
        pthread_barrier_init(&barrier, NULL, HOARDERS + 1);
        for (size_t i = 0; i < HOARDERS; i++) {
                hoarders[i] = (struct hoarder){ world.map, &barrier, 1, 1 };
                ck_assert_int_eq(pthread_create(&threads[i], NULL, hoarder_body, &hoarders[i]), 0);
        }
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < HOARDERS; i++) {
                ck_assert(hoarders[i].first == 0 || hoarders[i].first == AMMAP_ERR_LIMIT);
                held += hoarders[i].first == 0;
        }
        ck_assert_int_ge(held, FORMAT_SLOTS - 1); /* world_open may have one */
        ck_assert_int_lt(op_run(OP_TRY_MUT_SLICE, world.map, 0, 10, 0), 0);
        ck_assert_int_lt(op_run(OP_TIMED_MUT_SLICE, world.map, 0, 10, MS), 0);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < HOARDERS; i++) {
                pthread_join(threads[i], NULL);
                ck_assert_int_eq(hoarders[i].second, hoarders[i].first);
        }
        pthread_barrier_destroy(&barrier);
        check_ops(world.map, 0, SIZE, 0);
        world_close(&world);
}

/* --- Maps that come and go under threads that stay ---------------------------------------------------- */

struct stayer {
        pthread_barrier_t *barrier;
        ammap_t *volatile *map;
        const _Atomic bool *stop;
        pthread_mutex_t robust;
};

static void robust_init(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attributes;

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        ck_assert_int_eq(pthread_mutex_init(mutex, &attributes), 0);
        pthread_mutexattr_destroy(&attributes);
}

static void *stayer_body(void *argument)
{
        struct stayer *stayer = argument;

        for (;;) {
                pthread_barrier_wait(stayer->barrier);
                if (atomic_load(stayer->stop))
                        break;
                thread_check_int(op_run(OP_UPDATE, *stayer->map, 0, 10, 0), 0);
                thread_check_int(op_run(OP_SLICE, *stayer->map, 0, 10, 0), 0);
                thread_check_int(op_run(OP_MUT_SLICE, *stayer->map, 0, 10, 0), 0);
                pthread_barrier_wait(stayer->barrier);
        }
        thread_check_int(pthread_mutex_lock(&stayer->robust), 0);
        return NULL;
}

/* Neither mappings nor descriptors pile up; and the threads' robust lists, which
 * the library has its part in, are whole: a mutex of the program's own is marked
 * when its owner ends. */
DEFINE_TEST("shared-lock", maps_come_and_go)
{
        enum { STAYERS = 4 };
        struct stayer stayers[STAYERS];
        pthread_t threads[STAYERS];
        pthread_barrier_t barrier;
        _Atomic bool stop = false;
        ammap_t *volatile map;
        struct footprint early = footprint(), late;

        pthread_barrier_init(&barrier, NULL, STAYERS + 1);
        for (size_t i = 0; i < STAYERS; i++) {
                stayers[i].barrier = &barrier;
                stayers[i].map = &map;
                stayers[i].stop = &stop;
                robust_init(&stayers[i].robust);
                ck_assert_int_eq(pthread_create(&threads[i], NULL, stayer_body, &stayers[i]), 0);
        }
        for (int round = 0; round < rounds(2000); round++) {
                map = make_shared(10000, 0, 1 + (uint64_t)round % 3);
                pthread_barrier_wait(&barrier);
                pthread_barrier_wait(&barrier);
                ck_assert_int_eq(ammap_free(map), 0);
                if (round == 100)
                        early = footprint();
        }
        late = footprint();
        if (!TEST_SANITIZED && !under_valgrind()) {
                ck_assert_uint_le(late.mappings, early.mappings + 32);
                ck_assert_uint_le(late.bytes, early.bytes + 16 * MB);
        }
        atomic_store(&stop, true);
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < STAYERS; i++) {
                pthread_join(threads[i], NULL);
                ck_assert_int_eq(pthread_mutex_lock(&stayers[i].robust), EOWNERDEAD);
                pthread_mutex_consistent(&stayers[i].robust);
                pthread_mutex_unlock(&stayers[i].robust);
                pthread_mutex_destroy(&stayers[i].robust);
        }
        pthread_barrier_destroy(&barrier);
}

struct lingerer {
        ammap_t *first, *second;
        sem_t did, may;
};

static void *lingerer_body(void *argument)
{
        struct lingerer *lingerer = argument;

        thread_check_int(op_run(OP_SLICE, lingerer->first, 0, 10, 0), 0);
        thread_check_int(op_run(OP_UPDATE, lingerer->first, 0, 10, 0), 0);
        sem_post(&lingerer->did);
        sem_wait_surely(&lingerer->may);
        if (lingerer->second)
                thread_check_int(op_run(OP_UPDATE, lingerer->second, 0, 10, 0), 0);
        return NULL;
}

/* A map is freed, others lie where it lay, and then the thread ends that once
 * used it: nobody writes there. */
DEFINE_TEST("shared-lock", freed_before_the_thread_ends)
{
        enum { OTHERS = 64 };
        static unsigned char *others[OTHERS];

        for (int round = 0; round < rounds(50); round++) {
                struct lingerer lingerer = { make_shared(10000, 0, 1), NULL, { { 0 } }, { { 0 } } };
                struct task task;

                sem_init(&lingerer.did, 0, 0);
                sem_init(&lingerer.may, 0, 0);
                if (round % 2)
                        lingerer.second = make_shared(10000, 0, 1);
                task_start(&task, lingerer_body, &lingerer);
                sem_wait_surely(&lingerer.did);
                ck_assert_int_eq(ammap_free(lingerer.first), 0);
                for (size_t i = 0; i < OTHERS; i++) {
                        /* Of the size of a slot's mapping, and of a map's. */
                        others[i] = mmap(NULL, i % 2 ? 8192 : 2 * MB, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                        ck_assert_ptr_ne(others[i], MAP_FAILED);
                        memset(others[i], 0xa7, 8192);
                }
                sem_post(&lingerer.may);
                task_join(&task);
                for (size_t i = 0; i < OTHERS; i++) {
                        ck_assert(is_all(others[i], 0xa7, 8192));
                        munmap(others[i], i % 2 ? 8192 : 2 * MB);
                }
                ck_assert_int_eq(ammap_free(lingerer.second), 0);
                sem_destroy(&lingerer.did);
                sem_destroy(&lingerer.may);
        }
}

/* --- Starvation ------------------------------------------------------------------------------------------ */

struct endless {
        struct place *place;
        struct load_board *board;
        bool writes;
};

/* One after the other, without pause. */
static void endless_body(struct peer *parent, void *argument)
{
        const struct endless *endless = argument;
        static const enum op reads[] = { OP_READ_INTO, OP_SLICE, OP_SLICE },
                             writes[] = { OP_UPDATE, OP_MUT_SLICE, OP_FILL };
        ammap_t *map = place_join(endless->place);
        ammap_slice_t last = { 0 }, next;

        for (uint64_t rounds_done = 0; !atomic_load(&endless->board->stop); rounds_done++) {
                for (size_t i = 0; i < COUNT_OF(reads); i++)
                        child_must_int(op_run(endless->writes ? writes[i] : reads[i], map, 0, 64, 0), 0);
                if (rounds_done == 0)
                        peer_tell(parent, 'r');
                if (endless->writes)
                        continue;
                /* Two readers like this one leave no moment without a slice. */
                child_must_int(ammap_as_slice(map, 0, 64, &next), 0);
                ammap_slice_release(&last);
                last = next;
                if (rounds_done % 8 == 0)
                        ammap_slice_release(&last);
        }
        ammap_slice_release(&last);
        child_must_int(ammap_free(map), 0);
}

DEFINE_LOOP_TEST("shared-lock", nobody_starves, 0, COUNT_OF(kinds))
{
        static const enum op ops[] = { OP_READ_INTO, OP_SLICE, OP_UPDATE, OP_MUT_SLICE };
        struct world world;

        world_open(&world, _i);
        for (int writes = 0; writes < 2; writes++) {
                struct endless endless = { &world.place, board_of(sizeof(*endless.board)), writes };
                struct peer peers[2];
                int64_t longest = 0;

                for (size_t i = 0; i < COUNT_OF(peers); i++) {
                        peer_start(&peers[i], endless_body, &endless);
                        peer_expect(&peers[i], 'r');
                }
                for (size_t i = 0; i < COUNT_OF(ops); i++)
                        for (int times = 0; times < 50; times++) {
                                struct call call = { ops[i], world.map, 0, 64, -1, INT_MIN, 0 };

                                call_body(&call);
                                check_op(ops[i], call.result, 0);
                                longest = call.took_ns > longest ? call.took_ns : longest;
                        }
                printf("nobody_starves: beside those who %s, %.1f ms at most\n", writes ? "write" : "read",
                       (double)longest / 1e6);
                atomic_store(&endless.board->stop, true);
                for (size_t i = 0; i < COUNT_OF(peers); i++)
                        peer_end(&peers[i]);
                munmap(endless.board, sizeof(*endless.board));
        }
        world_close(&world);
}

/* Who can but read gets whole copies while two write without pause. */
DEFINE_TEST("shared-lock", readers_do_not_starve)
{
        ammap_t *map = make_shared(SIZE, 0, 1), *reader;
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct endless endless = { &place, board_of(sizeof(*endless.board)), true };
        int fd = export_of(map, AMMAP_READ);
        struct peer peers[2];

        reader = import_of(fd, AMMAP_SHARED);
        for (size_t i = 0; i < COUNT_OF(peers); i++) {
                peer_start(&peers[i], endless_body, &endless);
                peer_expect(&peers[i], 'r');
        }
        for (int times = 0; times < 200; times++) {
                unsigned char bytes[64];

                ck_assert_int_eq(ammap_read_into(reader, 0, bytes, sizeof(bytes)), 0);
                ck_assert(is_all(bytes, bytes[0], sizeof(bytes)));
        }
        atomic_store(&endless.board->stop, true);
        for (size_t i = 0; i < COUNT_OF(peers); i++)
                peer_end(&peers[i]);
        munmap(endless.board, sizeof(*endless.board));
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Forged lock words ------------------------------------------------------------------------------------- */

struct forgery {
        struct place place;
        int fd;
        uint64_t data, size;
        struct forgery_board {
                _Atomic bool stop;
                _Atomic uint64_t calls, blocked;
        } * board;
        bool waits;
};

/* Random bytes, and words that look like something, all over what stands before
 * the data. */
static void forger_body(struct peer *parent, void *argument)
{
        const struct forgery *forgery = argument;
        unsigned char *bytes = mmap(NULL, (size_t)forgery->size, PROT_READ | PROT_WRITE, MAP_SHARED, forgery->fd, 0);
        struct random random = random_start("forged_words");
        const struct format_head *head = (const struct format_head *)(const void *)bytes;
        uint64_t pages = format_pages(head->lanes, head->slots, head->page);
        uint32_t word = head->lock_word, slots = head->slots, page = head->page;

        child_must(bytes != MAP_FAILED);
        peer_tell(parent, 'r');
        while (!atomic_load(&forgery->board->stop)) {
                uint64_t value = random_next(&random), at;

                switch (random_below(&random, 4)) {
                case 0: /* anywhere */
                        at = random_below(&random, forgery->data / 8) * 8;
                        break;
                case 1: /* a slot's lock word */
                        at = slots ? pages + random_below(&random, slots) * page + page - word : 128;
                        break;
                default: /* lanes and lines */
                        at = 128 + random_below(&random, (pages - 128) / 8) * 8;
                }
                if (random_below(&random, 2))
                        value >>= random_below(&random, 64);
                if (random_below(&random, 8) == 0)
                        value = (uint64_t)(uint32_t)getppid() << (random_below(&random, 2) * 32);
                if (at + 8 <= forgery->data)
                        *(volatile uint64_t *)(void *)(bytes + at) = value;
        }
}

static void forged_result(int rc)
{
        child_must(rc <= 0);
        child_must(rc != AMMAP_ERR_INVALID);
}

/* Every call that comes back by itself, and what it gives looked at. */
static void victim_calls(ammap_t *map, const unsigned char *base, uint64_t size)
{
        static unsigned char buffer[256 + 2 * 64];
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        ammap_u64_view_t view;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_t *copy;
        char text[300];
        int rc;

        memset(buffer, 0x5d, sizeof(buffer));
        rc = ammap_timed_as_slice(map, 0, 4096, MS, &slice);
        forged_result(rc);
        if (rc == 0) {
                volatile unsigned char sum = 0;

                child_must(slice.data == base && slice.length == 4096);
                for (size_t i = 0; i < slice.length; i += 64)
                        sum = (unsigned char)(sum + slice.data[i]);
        }
        ammap_slice_release(&slice);
        rc = ammap_try_as_mut_slice(map, 100, 4000, &mut);
        forged_result(rc);
        if (rc == 0) {
                child_must(mut.data == base + 100 && mut.length == 4000);
                memset(mut.data, 1, mut.length);
        }
        ammap_mut_slice_release(&mut);
        rc = ammap_timed_as_mut_slice(map, 0, 1, MS, &mut);
        forged_result(rc);
        ammap_mut_slice_release(&mut);
        rc = ammap_try_as_slice(map, size - 1, 1, &slice);
        if (rc == 0)
                (void)*(const volatile unsigned char *)slice.data;
        ammap_slice_release(&slice);
        rc = ammap_atomic_u64_slice(map, size - 16, 2, &view);
        if (rc == 0)
                atomic_fetch_add(&view.value[1], 1);
        ammap_u64_view_release(&view);
        child_must(ammap_len(map) <= size);
        child_must(ammap_stat(map, &stat) <= 0);
        child_must(stat.length <= size);
        ammap_describe(map, text, sizeof(text));
        if (ammap_clone(map, &copy) == 0)
                child_must_int(ammap_free(copy), 0);
        child_must(is_all(buffer, 0x5d, sizeof(buffer)));
}

/* Those that wait for the lock, for ever, until the process is ended. */
static void victim_waits(ammap_t *map, uint64_t size)
{
        static unsigned char buffer[256 + 2 * 64];

        memset(buffer, 0x5d, sizeof(buffer));
        forged_result(ammap_read_into(map, 0, buffer + 64, 256));
        child_must(is_all(buffer, 0x5d, 64) && is_all(buffer + 64 + 256, 0x5d, 64));
        forged_result(ammap_update_region(map, 8, buffer + 64, 256));
        forged_result(ammap_fill(map, 0, 4096, 2));
        forged_result(ammap_copy(map, 0, map, 2048, 1000));
        forged_result(ammap_discard(map, 0, 4096));
        forged_result(ammap_resize(map, size / 2));
        forged_result(ammap_resize(map, size));
        forged_result(ammap_recover(map));
        forged_result(ammap_wait_u32(map, 0, 77, MS));
        forged_result(ammap_populate(map, 0, 4096));
}

static void *victim_thread(void *argument)
{
        struct forgery *forgery = argument;

        victim_calls(forgery->place.map, ammap_as_ptr(forgery->place.map), 8 * 4096);
        return NULL;
}

static void victim_body(struct peer *parent, void *argument)
{
        struct forgery *forgery = argument;
        bool waits = forgery->waits;
        unsigned char *mine = malloc(1 << 20);
        const unsigned char *base;

        child_must(mine);
        memset(mine, 0x3c, 1 << 20);
        forgery->place.map = place_join(&forgery->place);
        base = ammap_as_ptr(forgery->place.map);
        peer_tell(parent, 'r');
        child_expect(parent, 'g');
        if (waits) {
                for (;;) {
                        victim_waits(forgery->place.map, 8 * 4096);
                        atomic_fetch_add(&forgery->board->blocked, 1);
                        child_must(is_all(mine, 0x3c, 1 << 20));
                }
        }
        for (int i = 0; i < rounds_or_all(400, 8000); i++) {
                pthread_t thread;

                victim_calls(forgery->place.map, base, 8 * 4096);
                atomic_fetch_add(&forgery->board->calls, 1);
                if (TEST_TSAN)
                        continue;
                child_must(pthread_create(&thread, NULL, victim_thread, forgery) == 0);
                child_must(pthread_join(thread, NULL) == 0);
                child_must(is_all(mine, 0x3c, 1 << 20));
        }
}

/* What a peer that may write does to the lock it does to the bytes and to the
 * time that things take; to nothing else. */
DEFINE_TEST("shared-lock", forged_words)
{
        for (enum in_file file = NO_FILE; file <= BY_WORDS; file++) {
                struct path path = path_of("forged");
                ammap_options_t options = shared_options();
                struct forgery forgery = { { IMPORT, NULL, -1, NULL, AMMAP_OPTIONS_INIT },
                                           -1,
                                           0,
                                           0,
                                           board_of(sizeof(*forgery.board)),
                                           false };
                struct peer forger, calls, waits;
                ammap_t *map;
                int status;

                options.lanes = 3;
                options.allow_faults = forgery.place.options.allow_faults = true;
                if (file)
                        ck_assert_int_eq(open_in_file(file, &map, path.text, 8 * 4096, &options), 0);
                else
                        map = make_with(8 * 4096, &options);
                forgery.fd = forgery.place.fd = ammap_fd(map);
                forgery.data = data_of(forgery.fd);
                forgery.size = forgery.data + 8 * 4096;
                peer_start(&calls, victim_body, &forgery);
                peer_expect(&calls, 'r');
                forgery.waits = true;
                peer_start(&waits, victim_body, &forgery);
                peer_expect(&waits, 'r');
                peer_start(&forger, forger_body, &forgery);
                peer_expect(&forger, 'r');
                peer_tell(&calls, 'g');
                peer_tell(&waits, 'g');
                peer_end(&calls);
                ck_assert_int_eq(kill(waits.pid, SIGUSR1), 0);
                ck_assert_int_eq(waitpid(waits.pid, &status, 0), waits.pid);
                peer_close(&waits);
                ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1, "the status is %#x",
                              (unsigned)status);
                atomic_store(&forgery.board->stop, true);
                peer_end(&forger);
                printf("forged_words: %llu rounds of calls, %llu of waiting ones\n",
                       (unsigned long long)atomic_load(&forgery.board->calls),
                       (unsigned long long)atomic_load(&forgery.board->blocked));
                munmap(forgery.board, sizeof(*forgery.board));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

#else

DEFINE_TEST("namespaces", unsupported)
{
        check_unsupported();
}

#endif

int main(int argc, char **argv)
{
#if TEST_OS_LINUX
        if (argc == 3 && strcmp(argv[1], "--idle") == 0)
                return idle(atoi(argv[2]));
#else
        (void)argc;
        (void)argv;
#endif
        return run_sharing("shared-lock");
}
