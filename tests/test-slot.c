/* test-slot.c - lib/lock/shared_lock.c and slot.c: rare meetings, and slots that come and go
 *
 * SPDX-License-Identifier: MIT
 *
 * What the lock of a shared map does where two things meet that seldom do, each
 * brought about on purpose: a reader who enters once more past a writer that waits
 * for it, by another handle or beside a shrink; two who want to write what they
 * read; a read-only handle on a frozen map; a death between two lanes, or by exec.
 * One goes on when the other sleeps, or has slept so many times more, as the kernel
 * or a word in the header says, and not when some time has passed.
 *
 * Then the slots: that they are given back by threads that end and by processes
 * that are killed, what a thread, a slice or a map too many is told, and that a map
 * which is freed leaves nothing behind.
 *
 *      test-slot --nothing
 *
 * does nothing: what a test execs.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "lock/slot.h"
#include "lock/thread.h"
#include "map/map.h"

#include <sys/sysmacros.h>

enum { SIZE = 8192 };

/* --- What the others do ------------------------------------------------------- */

/* Until the thread has gone to sleep so many times more, and so has looked at what
 * it waits for nearly as often.  False: it has ended, or is done, instead. */
static bool looks_again(int process, int thread, long times, const _Atomic bool *done)
{
        int64_t deadline = now_ns() + patience_ns();
        long start = sleeps_of(process, thread), now = start;

        while (now >= 0 && now < start + times && !atomic_load(done)) {
                ck_assert_msg(now_ns() < deadline, "a thread that should block neither blocks nor ends");
                pause_ms(1);
                now = sleeps_of(process, thread);
        }
        return now >= 0 && !atomic_load(done);
}

static bool task_looks_again(const struct task *task)
{
        return looks_again(getpid(), atomic_load(&task->tid), 8, &task->done);
}

/* It ends by itself, or the test fails. */
static void task_ends(struct task *task)
{
        int64_t deadline = now_ns() + patience_ns();

        while (!atomic_load(&task->done)) {
                ck_assert_msg(now_ns() < deadline, "a call that should return does not");
                pause_ms(1);
        }
        task_join(task);
}

/* Until someone sleeps over a lane that someone has taken to write. */
static void lane_awaited(const ammap_t *map, uint32_t lane)
{
        int64_t deadline = now_ns() + patience_ns();

        for (;;) {
                uint64_t owner = atomic_load(&map->shared->lane[lane].owner);

                if ((owner & OWNER_ID) && (owner & OWNER_WAITERS))
                        return;
                ck_assert_msg(now_ns() < deadline, "nobody waits for lane %u", lane);
                pause_ms(1);
        }
}

struct resize {
        ammap_t *map;
        uint64_t length;
        int result;
};

static void *resize_body(void *argument)
{
        struct resize *resize = argument;

        resize->result = ammap_resize(resize->map, resize->length);
        return NULL;
}

/* A copy out that goes on until it is told to end. */
struct copier {
        ammap_t *map;
        uint64_t reach;
        enum access access; /* or in */
        int result;
        sem_t in, finish;
        struct task task;
};

static void *copier_body(void *argument)
{
        struct copier *copier = argument;
        const struct request request = { .lanes = { 0, 0 },
                                         .reach = copier->reach,
                                         .access = copier->access,
                                         .use = HOLD_COPY,
                                         .deadline = LANE_FOR_EVER };
        struct shared_hold *hold;

        copier->result = shared_enter(copier->map->shared, &request, &hold);
        sem_post(&copier->in);
        if (copier->result < 0)
                return NULL;
        sem_wait_surely(&copier->finish);
        shared_leave(hold, HOLD_COPY);
        return NULL;
}

static void copier_begin(struct copier *copier, ammap_t *map, uint64_t reach, enum access access)
{
        copier->map = map;
        copier->reach = reach;
        copier->access = access;
        sem_init(&copier->in, 0, 0);
        sem_init(&copier->finish, 0, 0);
        task_start(&copier->task, copier_body, copier);
        sem_wait_surely(&copier->in);
        ck_assert_int_eq(copier->result, 0);
}

static void copier_start(struct copier *copier, ammap_t *map, uint64_t reach)
{
        copier_begin(copier, map, reach, READ);
}

static void copier_stop(struct copier *copier)
{
        sem_post(&copier->finish);
        task_join(&copier->task);
        sem_destroy(&copier->in);
        sem_destroy(&copier->finish);
}

static void is_free(ammap_t *map, uint64_t length)
{
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, length, 0), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, length), 0);
}

/* --- Readers who enter once more -------------------------------------------------- */

/* A writer waits for a reader's slice through one handle; the reader takes another
 * one through its other handle, whose slot the writer has passed, and lets go of
 * the first. */
DEFINE_LOOP_TEST("slot", a_slice_by_another_handle, 0, 2)
{
        ammap_t *map = make_shared(SIZE, 0, 1), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        ammap_t *low = _i ? map : again, *high = _i ? again : map;
        struct call call = { OP_UPDATE, map, 0, 64, 0, INT_MIN, 0 };
        ammap_slice_t first, second;
        struct task task;

        ck_assert_int_eq(op_run(OP_SLICE, low, 0, 64, 0), 0);
        ck_assert_int_eq(ammap_as_slice(high, 0, 64, &first), 0);
        task_start(&task, call_body, &call);
        lane_awaited(map, 0);
        ck_assert(task_looks_again(&task));
        for (int round = 0; round < 3; round++) {
                ck_assert_int_eq(ammap_timed_as_slice(round % 2 ? high : low, 0, 64, patience_ns(), &second), 0);
                ammap_slice_release(&first);
                ck_assert(task_looks_again(&task));
                ck_assert(is_all(second.data, 0, 64));
                first = second;
        }
        ammap_slice_release(&first);
        task_ends(&task);
        ck_assert_int_eq(call.result, 0);
        ck_assert(holds(map, 0, 64, OP_BYTE));
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A shrink waits for a copy out; a thread with a slice that stays wants another one,
 * which would be cut.  It has to wait; or it gets in where the shrink lets go of the lanes
 * for a moment, and then that is refused. */
DEFINE_LOOP_TEST("slot", a_slice_beside_a_shrink, 0, 2)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct resize resize = { map, 200, INT_MIN };
        ammap_slice_t stays, more;
        struct copier copier;
        struct task task;
        int rc;

        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 7), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &stays), 0);
        copier_start(&copier, map, 4096);
        task_start(&task, resize_body, &resize);
        lane_awaited(map, 0);
        rc = _i ? ammap_timed_as_slice(map, 0, 4096, 30 * MS, &more) : ammap_try_as_slice(map, 0, 4096, &more);
        if (rc != 0)
                ck_assert_int_eq(rc, _i ? AMMAP_ERR_TIMEOUT : AMMAP_ERR_BUSY);
        copier_stop(&copier);
        task_ends(&task);
        ck_assert_int_eq(resize.result, rc == 0 ? AMMAP_ERR_BUSY : 0);
        ck_assert_uint_eq(ammap_len(map), rc == 0 ? SIZE : 200);
        ck_assert(is_all(stays.data, 7, 100));
        if (rc == 0) {
                ck_assert(is_all(more.data, 7, 4096));
                ammap_slice_release(&more);
        }
        ammap_slice_release(&stays);
        is_free(map, ammap_len(map));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Writers behind readers --------------------------------------------------------- */

struct upgrader {
        ammap_t *map;
        sem_t in, go, said, finish;
        struct task task;
        enum op op;
        int result;
};

static void *upgrader_body(void *argument)
{
        struct upgrader *upgrader = argument;
        ammap_slice_t slice;

        upgrader->result = ammap_as_slice(upgrader->map, 0, 10, &slice);
        sem_post(&upgrader->in);
        sem_wait_surely(&upgrader->go);
        /* The timed one first: where it is not seen that the lane is read, it ends. */
        upgrader->op = OP_TIMED_MUT_SLICE;
        upgrader->result = op_run(upgrader->op, upgrader->map, 0, 10, SECOND);
        for (enum op op = OP_UPDATE; op < OP_COUNT && upgrader->result == AMMAP_ERR_DEADLOCK; op++) {
                upgrader->op = op;
                upgrader->result = op_run(op, upgrader->map, 0, 10, SECOND);
        }
        sem_post(&upgrader->said);
        sem_wait_surely(&upgrader->finish);
        ammap_slice_release(&slice);
        return NULL;
}

/* Of two that read and want to write, each is told so at once, whichever slot it
 * has, and whether the other one wants to write too. */
DEFINE_LOOP_TEST("slot", two_upgraders, 0, 3)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct upgrader upgraders[2];

        for (size_t i = 0; i < 2; i++) {
                upgraders[i].map = map;
                sem_init(&upgraders[i].in, 0, 0);
                sem_init(&upgraders[i].go, 0, 0);
                sem_init(&upgraders[i].said, 0, 0);
                sem_init(&upgraders[i].finish, 0, 0);
                task_start(&upgraders[i].task, upgrader_body, &upgraders[i]);
                sem_wait_surely(&upgraders[i].in);
                ck_assert_int_eq(upgraders[i].result, 0);
        }
        for (size_t i = 0; i < 2; i++) {
                struct upgrader *upgrader = &upgraders[_i ? 1 - i : i];

                sem_post(&upgrader->go);
                if (_i < 2)
                        sem_wait_surely(&upgrader->said);
        }
        for (size_t i = 0; i < 2; i++) {
                if (_i == 2)
                        sem_wait_surely(&upgraders[i].said);
                ck_assert_msg(upgraders[i].result == AMMAP_ERR_DEADLOCK, "upgrader %zu: %s: %s", i,
                              op_name(upgraders[i].op), ammap_errname(upgraders[i].result));
        }
        for (size_t i = 0; i < 2; i++) {
                sem_post(&upgraders[i].finish);
                task_ends(&upgraders[i].task);
                sem_destroy(&upgraders[i].in);
                sem_destroy(&upgraders[i].go);
                sem_destroy(&upgraders[i].said);
                sem_destroy(&upgraders[i].finish);
        }
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A writer waits for a slice.  A shrink does not wait for the writer then, and the
 * slice's holder can go on. */
DEFINE_LOOP_TEST("slot", a_shrink_behind_a_writer, 0, 2)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct call call = { _i ? OP_MUT_SLICE : OP_UPDATE, map, 0, 64, 0, INT_MIN, 0 };
        struct resize resize = { map, 200, INT_MIN };
        struct task writer, shrinker;
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_slice(map, 0, 4096, &slice), 0);
        task_start(&writer, call_body, &call);
        lane_awaited(map, 0);
        task_start(&shrinker, resize_body, &resize);
        task_ends(&shrinker);
        ck_assert_int_eq(resize.result, AMMAP_ERR_BUSY);
        ck_assert_uint_eq(stat_of(map).length, SIZE);
        ck_assert(!atomic_load(&writer.done));
        ammap_slice_release(&slice);
        task_ends(&writer);
        ck_assert_int_eq(call.result, 0);
        ck_assert_int_eq(ammap_resize(map, 200), 0);
        is_free(map, 200);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Who cannot write ------------------------------------------------------------------ */

/* Where the flag is set nothing else is looked at: not an owner id that is nobody's, nor
 * an odd sequence of a writer, or a freezer, who has died with the lane, or lives. */
/* Of the threads of a process one looks after a lane for those that wait there; but a slice may come in the way of a
 * shrink, which no owner tells. */
DEFINE_TEST("slot", a_shrink_relies_on_nobody)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct call slice = { .op = OP_SLICE, .map = map, .length = 1 };
        struct resize resize = { map, SIZE / 2, -1 };
        struct copier writer;
        struct task waits, shrinks;

        copier_begin(&writer, map, SIZE, WRITE);
        task_start(&waits, call_body, &slice);
        ck_assert(task_sleeps(&waits) && task_looks_again(&waits));
        task_start(&shrinks, resize_body, &resize);
        ck_assert(task_sleeps(&shrinks) && task_looks_again(&shrinks));
        copier_stop(&writer);
        task_ends(&waits);
        task_ends(&shrinks);
        ck_assert_int_eq(slice.result, 0);
        ck_assert_int_eq(resize.result, 0);
        is_free(map, SIZE / 2);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("slot", a_frozen_map_read_only)
{
        enum { FORGED_OWNER, ALIVE, DEAD, WAYS };

        for (int way = 0; way < WAYS; way++) {
                ammap_t *map = make_shared(SIZE, 0, 1), *reader = import_again(map, AMMAP_READ), *clone;
                struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
                struct format_lane *lane = &map->shared->lane[0];
                struct remote remote;
                ammap_slice_t slice;

                ck_assert_int_eq(ammap_fill(map, 0, SIZE, 7), 0);
                ck_assert_int_eq(ammap_try_as_slice(reader, 0, 10, &slice), AMMAP_ERR_UNSUPPORTED);
                remote_start(&remote, &place);
                if (way == FORGED_OWNER)
                        atomic_store(&lane->owner, UINT64_C(5) << (2 + OWNER_INDEX_BITS) | 1 << 2);
                else
                        remote_hold(&remote, true, 0, 10);
                atomic_store(&map->shared->head->frozen, 1);
                if (way == DEAD)
                        remote_kill(&remote);
                for (int thawed = 0; thawed < 2; thawed++) {
                        ck_assert_int_eq(op_run(OP_SLICE, reader, 0, 10, 0), 0);
                        ck_assert_int_eq(op_run(OP_TRY_SLICE, reader, 0, SIZE, 0), 0);
                        ck_assert_int_eq(op_run(OP_TIMED_SLICE, map, 0, SIZE, MS), 0);
                        ck_assert_int_eq(op_run(OP_READ_INTO, reader, 0, 10, 0), 0);
                        ck_assert(holds(reader, 0, SIZE, 7) && holds(map, 0, SIZE, 7));
                        ck_assert_int_eq(ammap_clone(reader, &clone), 0);
                        ck_assert_int_eq(ammap_free(clone), 0);
                        ck_assert_int_eq(ammap_recover(reader), 0);
                        ck_assert_int_eq(ammap_recover(map), 0);
                        ck_assert_int_eq(ammap_freeze(map), 0);
                        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 8), AMMAP_ERR_READ_ONLY);
                        ck_assert_int_eq(op_run(OP_UPDATE, map, 0, 10, 0), AMMAP_ERR_READ_ONLY);
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 10, 0), AMMAP_ERR_READ_ONLY);
                        ck_assert_int_eq(ammap_resize(map, 10), AMMAP_ERR_READ_ONLY);
                        atomic_store(&map->shared->head->frozen, 0);
                }
                if (way != DEAD)
                        remote_kill(&remote);
                ck_assert_int_eq(ammap_free(reader), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* A peer makes a lane look free that a thread of this process writes: the pages are
 * not made read only under it. */
static void *freeze_body(void *argument)
{
        return (void *)(intptr_t)ammap_freeze(argument);
}

DEFINE_TEST("slot", a_freeze_beside_a_robbed_writer)
{
        ammap_t *map = make_shared(SIZE, 0, 3);
        ammap_mut_slice_t slice, *of_mine = &slice;
        pthread_t thread;
        void *result;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, SIZE, &slice), 0);
        for (int other = 1; other >= 0; other--) {
                for (uint32_t i = 0; i < 3; i++) {
                        atomic_store(&map->shared->lane[i].owner, 0);
                        atomic_store(&map->shared->lane[i].sequence, 8);
                }
                if (other) {
                        ck_assert_int_eq(pthread_create(&thread, NULL, freeze_body, map), 0);
                        ck_assert_int_eq(pthread_join(thread, &result), 0);
                        ck_assert_int_eq((int)(intptr_t)result, AMMAP_ERR_BUSY);
                } else {
                        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
                }
                memset(of_mine->data, 5, of_mine->length);
                ck_assert(!stat_of(map).frozen);
        }
        ammap_mut_slice_release(&slice);
        ck_assert_int_eq(ammap_recover(map), 0);
        for (uint32_t i = 0; i < 3; i++)
                atomic_store(&map->shared->lane[i].sequence, 8);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 6), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert(holds(map, 0, SIZE, 6));
        ck_assert_int_eq(ammap_free(map), 0);
}

struct elsewhere {
        ammap_t *map; /* inherited; NULL: to be imported */
        int fd;
        _Atomic int process; /* the reader, as it is called here; -1: no PID namespaces */
        _Atomic bool done;
        int result;
        unsigned char bytes[10];
};

static void elsewhere_body(struct peer *parent, void *argument)
{
        struct elsewhere *elsewhere = argument;
        pid_t child;
        int status;

        if (unshare(CLONE_NEWPID) < 0) {
                atomic_store(&elsewhere->process, -1);
                return;
        }
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                ammap_t *map = elsewhere->map;

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (!map)
                        child_must_int(ammap_import(&map, elsewhere->fd, NULL), 0);
                peer_tell(parent, 'r');
                elsewhere->result = ammap_read_into(map, 0, elsewhere->bytes, sizeof(elsewhere->bytes));
                atomic_store(&elsewhere->done, true);
                child_must_int(ammap_free(map), 0);
                _exit(0);
        }
        atomic_store(&elsewhere->process, child);
        child_must(waitpid(child, &status, 0) == child);
        child_must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What is a thread's ID here is none in another PID namespace: there a writer is not
 * taken for dead because there is no such thread. */
DEFINE_LOOP_TEST("slot", a_reader_in_another_pid_namespace, 0, 2)
{
        enum { LOOKS = 256 }; /* it asks about the writer at the 256th, and sleeps before most of them */
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct elsewhere *elsewhere = board_of(sizeof(*elsewhere));
        ammap_mut_slice_t mut;
        struct peer peer;
        char word;

        elsewhere->map = _i ? map : NULL;
        elsewhere->fd = ammap_fd(map);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 10, &mut), 0);
        peer_start(&peer, elsewhere_body, elsewhere);
        word = peer_hear(&peer);
        if (word == 'r') {
                while (atomic_load(&elsewhere->process) == 0)
                        pause_ms(1);
                looks_again(atomic_load(&elsewhere->process), atomic_load(&elsewhere->process), LOOKS,
                            &elsewhere->done);
                ck_assert_msg(!atomic_load(&elsewhere->done) || elsewhere->result == AMMAP_ERR_TIMEOUT,
                              "it answers %s while the writer lives", ammap_errname(elsewhere->result));
                memset(mut.data, 9, 10);
        } else {
                ck_assert_int_eq(atomic_load(&elsewhere->process), -1);
                skip_part(__func__, "no PID namespaces here");
        }
        ammap_mut_slice_release(&mut);
        peer_end(&peer);
        if (word == 'r' && elsewhere->result != AMMAP_ERR_TIMEOUT) { /* as it is where time is short */
                ck_assert_int_eq(elsewhere->result, 0);
                ck_assert(is_all(elsewhere->bytes, 9, 10));
        }
        munmap(elsewhere, sizeof(*elsewhere));
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Deaths -------------------------------------------------------------------------------- */

/* Killed while it has its first lane and waits for the second: it wrote nothing. */
DEFINE_LOOP_TEST("slot", killed_between_lanes, 0, 2)
{
        ammap_t *map = make_shared(SIZE, 0, 2);
        struct place place = { INHERIT, map, -1, NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_slice(map, SIZE - 10, 10, &slice), 0);
        remote_start(&remote, &place);
        remote_send(&remote, (struct command){ DO_OP, _i ? OP_MUT_SLICE : OP_UPDATE, 0, SIZE, 0 });
        lane_awaited(map, 1);
        remote_kill(&remote);
        ck_assert_int_eq(op_run(OP_READ_INTO, map, 0, SIZE, 0), 0);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, 0, SIZE, 0), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, SIZE / 2, 0), 0);
        ammap_slice_release(&slice);
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

enum { HANDLES = 32 };

struct exec {
        ammap_t *maps[HANDLES]; /* handles on one map: the thread has a slot of each */
        int count;
        bool writes;
};

static void *exec_body(void *argument)
{
        const struct exec *exec = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        for (int i = 0; i < exec->count; i++)
                if (exec->writes)
                        child_must_int(ammap_timed_as_mut_slice(exec->maps[i], 0, 10, patience_ns(), &mut), 0);
                else
                        child_must_int(ammap_timed_as_slice(exec->maps[i], 0, 10, patience_ns(), &slice), 0);
        execl("/proc/self/exe", "test-slot", "--nothing", (char *)NULL);
        child_must(errno == 0);
        return NULL;
}

/* The second thread takes slices, and becomes another program; which ends. */
static void execs_body(void *argument)
{
        pthread_t thread;

        child_must(pthread_create(&thread, NULL, exec_body, argument) == 0);
        for (;;)
                pause();
}

/* The kernel does not look at the slots of a thread that has called exec, whose ID has
 * changed by then.  Yet those who only try are told at once that it is gone. */
DEFINE_LOOP_TEST_IF(!TEST_TSAN, "slot", tries_after_an_exec, 0, 2)
{
        static const enum op tries[] = { OP_TRY_MUT_SLICE, OP_TRY_SLICE };
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct exec exec = { { map }, 1, true };

        child_passes(execs_body, &exec);
        for (size_t i = 0; i < COUNT_OF(tries); i++)
                ck_assert_int_eq(op_run(tries[_i ? 1 - i : i], map, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_run(OP_READ_INTO, map, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        is_free(map, SIZE);
        exec.writes = false;
        child_passes(execs_body, &exec);
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Such slots are taken again when there are no others. */
DEFINE_TEST_IF(!TEST_TSAN, "slot", more_execs_than_slots)
{
        struct exec exec = { { make_shared(SIZE, 0, 1) }, HANDLES, false };

        for (int i = 1; i < HANDLES; i++)
                exec.maps[i] = import_again(exec.maps[0], AMMAP_READ | AMMAP_WRITE);
        for (int i = 0; i < FORMAT_SLOTS / HANDLES; i++)
                child_passes(execs_body, &exec);
        exec.count = 1;
        child_passes(execs_body, &exec);
        ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, exec.maps[0], 0, 10, patience_ns()), 0);
        ck_assert_int_eq(op_elsewhere(OP_MUT_SLICE, exec.maps[0], 0, 10), 0);
        for (int i = HANDLES; i-- > 0;)
                ck_assert_int_eq(ammap_free(exec.maps[i]), 0);
}

struct recover {
        ammap_t *map;
        _Atomic long sleeps; /* before the call */
        int result;
};

static void *recover_body(void *argument)
{
        struct recover *recover = argument;

        thread_check_int(op_run(OP_SLICE, recover->map, SIZE - 1, 1, 0), 0); /* for a slot */
        atomic_store(&recover->sleeps, sleeps_of(getpid(), own_tid()));
        recover->result = ammap_recover(recover->map);
        return NULL;
}

/* One who lives owns a dead lane, and has yet to see that it is dead.  Recover is
 * patient; not without end, so that here it may give up before it is noticed that
 * it sleeps: not every time. */
DEFINE_TEST("slot", recover_waits_for_one_who_tries)
{
        ammap_t *map = make_shared(SIZE, 0, 2);
        struct format_lane *lane = &map->shared->lane[0];
        int cleared = 0;
        uint64_t owner_id;

        ck_assert_int_eq(op_run(OP_UPDATE, map, 0, 10, 0), 0);
        owner_id = slot_mine_at(map->shared, 0)->owner_id;
        for (int round = 0; round < 200 && cleared < 5; round++) {
                struct recover recover = { map, -1, INT_MIN };
                struct task task;

                atomic_store(&lane->owner, owner_id);
                atomic_fetch_add(&lane->sequence, 1);
                task_start(&task, recover_body, &recover);
                while (atomic_load(&recover.sleeps) < 0)
                        pause_ms(1);
                while (!atomic_load(&task.done) &&
                       sleeps_of(getpid(), atomic_load(&task.tid)) <= atomic_load(&recover.sleeps))
                        ;
                if (!atomic_load(&task.done))
                        atomic_store(&lane->owner, 0);
                task_ends(&task);
                ck_assert_int_eq(recover.result, 0);
                if (atomic_load(&lane->sequence) & 1) {
                        ck_assert_int_eq(op_run(OP_READ_INTO, map, SIZE - 1, 1, 0), 0);
                        atomic_store(&lane->owner, 0);
                        ck_assert_int_eq(op_run(OP_READ_INTO, map, 0, 1, 0), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(ammap_recover(map), 0);
                } else {
                        cleared++;
                }
                is_free(map, SIZE);
        }
        ck_assert_int_gt(cleared, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void dies_writing(void *argument)
{
        ammap_mut_slice_t mut;

        child_must_int(ammap_as_mut_slice(argument, 0, 10, &mut), 0);
        raise(SIGKILL);
}

static void keeps_trying(struct peer *parent, void *argument)
{
        static const unsigned char bytes[8];

        peer_tell(parent, 'r');
        for (;;)
                ammap_update_region(argument, 0, bytes, sizeof(bytes));
}

/* The same for real.  Under load it may take more than one call. */
DEFINE_TEST("slot", recover_beside_those_who_try)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct peer peers[2];
        int deaths = 0, left = 0;

        for (size_t i = 0; i < COUNT_OF(peers); i++) {
                peer_start(&peers[i], keeps_trying, map);
                peer_expect(&peers[i], 'r');
        }
        while (deaths < rounds_or_all(50, 500)) {
                int status = child_status(dies_writing, map), tries = 0;

                ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                ck_assert_int_eq(op_run(OP_MUT_SLICE, map, 0, 10, 0), AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(ammap_recover(map), 0);
                for (int rc; (rc = op_run(OP_MUT_SLICE, map, 0, 10, 0)) != 0; tries++) {
                        ck_assert_int_eq(rc, AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_lt(tries, 100);
                        ck_assert_int_eq(ammap_recover(map), 0);
                }
                left += tries;
                deaths++;
        }
        printf("recover_beside_those_who_try: %d deaths, %d left\n", deaths, left);
        for (size_t i = 0; i < COUNT_OF(peers); i++)
                peer_kill(&peers[i]);
        ck_assert_int_eq(ammap_recover(map), 0);
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Slots ------------------------------------------------------------------------------------ */

static uint32_t used_slots(const ammap_t *map)
{
        return atomic_load(&map->shared->head->slots_used);
}

static unsigned taken_slots(const ammap_t *map)
{
        const struct shared *shared = map->shared;
        unsigned count = 0;

        for (size_t i = 0; i < shared->slots; i++) {
                const unsigned char *word = shared->pages + (i + 1) * shared->page - os_slot_word();

                count += os_slot_taken(atomic_load((const _Atomic uint32_t *)(const void *)word));
        }
        return count;
}

static void *short_body(void *map)
{
        thread_check_int(op_run(OP_UPDATE, map, 0, 10, 0), 0);
        thread_check_int(op_run(OP_SLICE, map, 0, 10, 0), 0);
        return NULL;
}

/* A thread that ends gives its slot back, and what it had mapped for it. */
DEFINE_TEST("slot", short_threads)
{
        ammap_t *map = make_shared(SIZE, 0, 1);
        struct footprint early = footprint(), late;
        pthread_t threads[4];

        short_body(map);
        ck_assert_uint_eq(taken_slots(map), 1);
        for (int round = 0; round < rounds(500); round++) {
                for (size_t i = 0; i < COUNT_OF(threads); i++)
                        ck_assert_int_eq(pthread_create(&threads[i], NULL, short_body, map), 0);
                for (size_t i = 0; i < COUNT_OF(threads); i++)
                        pthread_join(threads[i], NULL);
                ck_assert_uint_eq(taken_slots(map), 1);
                if (round == 10)
                        early = footprint();
        }
        late = footprint();
        if (!TEST_SANITIZED)
                ck_assert_uint_le(late.mappings, early.mappings + 20);
        ck_assert_uint_le(used_slots(map), 1 + COUNT_OF(threads));
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

enum { VICTIMS = 16 };

/* A slot of each handle. */
static void victim_body(struct peer *parent, void *argument)
{
        ammap_t *const *maps = argument;
        ammap_slice_t slice;

        for (int i = 0; i < VICTIMS; i++)
                child_must_int(ammap_as_slice(maps[i], 0, 10, &slice), 0);
        peer_tell(parent, 'r');
        for (;;)
                pause();
}

/* Those of a killed process are nobody's, and taken again. */
DEFINE_TEST("slot", killed_processes)
{
        ammap_t *maps[VICTIMS] = { make_shared(SIZE, 0, 1) }, *map = maps[0];

        for (int i = 1; i < VICTIMS; i++)
                maps[i] = import_again(map, AMMAP_READ | AMMAP_WRITE);
        short_body(map);
        for (int round = 0; round < 2 * FORMAT_SLOTS / VICTIMS; round++) {
                struct peer peer;

                peer_start(&peer, victim_body, maps);
                peer_expect(&peer, 'r');
                ck_assert_uint_eq(taken_slots(map), 1 + VICTIMS);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 10, 0), AMMAP_ERR_BUSY);
                peer_kill(&peer);
                ck_assert_uint_eq(taken_slots(map), 1);
                ck_assert_uint_le(used_slots(map), 1 + VICTIMS);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 10, 0), 0);
        }
        is_free(map, SIZE);
        for (int i = VICTIMS; i-- > 0;)
                ck_assert_int_eq(ammap_free(maps[i]), 0);
}

/* --- Limits --------------------------------------------------------------------------------- */

/* Threads of which each has a slot until it is told to end. */
struct crowd {
        ammap_t *map;
        size_t count;
        pthread_t threads[FORMAT_SLOTS];
        sem_t in, finish;
};

static void *crowd_member(void *argument)
{
        struct crowd *crowd = argument;

        thread_check_int(op_run(OP_UPDATE, crowd->map, (uint64_t)own_tid() * 64 % SIZE, 64, 0), 0);
        sem_post(&crowd->in);
        sem_wait_surely(&crowd->finish);
        return NULL;
}

static bool crowd_start(struct crowd *crowd, ammap_t *map, size_t count)
{
        pthread_attr_t attributes;
        bool started = true;

        crowd->map = map;
        crowd->count = count;
        sem_init(&crowd->in, 0, 0);
        sem_init(&crowd->finish, 0, 0);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 512 * 1024);
        for (size_t i = 0; i < count && started; i++)
                started = pthread_create(&crowd->threads[i], &attributes, crowd_member, crowd) == 0;
        pthread_attr_destroy(&attributes);
        for (size_t i = 0; i < count && started; i++)
                sem_wait_surely(&crowd->in);
        return started && atomic_load(&thread_failures) == 0;
}

static void crowd_end(struct crowd *crowd)
{
        for (size_t i = 0; i < crowd->count; i++)
                sem_post(&crowd->finish);
        for (size_t i = 0; i < crowd->count; i++)
                ck_assert_int_eq(pthread_join(crowd->threads[i], NULL), 0);
        sem_destroy(&crowd->in);
        sem_destroy(&crowd->finish);
}

static void crowd_body(struct peer *parent, void *map)
{
        static struct crowd crowd;

        child_must(crowd_start(&crowd, map, FORMAT_SLOTS / 2));
        peer_tell(parent, 'r');
        for (;;)
                pause();
}

/* What one more thread is told, by waiting, trying and timed calls alike: no waiting
 * would end, for nobody is about to go. */
static void is_full(ammap_t *map)
{
        ammap_t *copy;

        /* But for copies out, which look on where nobody writes. */
        for (enum op op = OP_COPY_FROM; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 100, 64, patience_ns()), AMMAP_ERR_LIMIT);
        if (!TEST_READS_LOCK)
                ck_assert(holds(map, 0, 64, 0) || holds(map, 0, 64, OP_BYTE));
        ck_assert_int_eq(ammap_discard(map, 0, SIZE), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(ammap_resize(map, SIZE - 1), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(ammap_clone(map, &copy), AMMAP_ERR_LIMIT);
        ck_assert_ptr_null(copy);
        ck_assert_uint_eq(ammap_len(map), SIZE);
}

/* As many threads as there can be, of one process or of two: the next one is told,
 * until one of them ends; or all of a process are killed. */
DEFINE_LOOP_TEST("slot", more_threads_than_slots, 0, 2)
{
        static struct crowd crowd, last;
        ammap_t *map = make_shared(SIZE, 0, 2);
        bool two = _i == 1 && !TEST_TSAN;
        struct peer peer = { .pid = 0 };

        if (two) {
                peer_start(&peer, crowd_body, map);
                peer_expect(&peer, 'r');
        }
        ck_assert(crowd_start(&crowd, map, (two ? FORMAT_SLOTS / 2 : FORMAT_SLOTS) - 1));
        ck_assert(crowd_start(&last, map, 1));
        ck_assert_uint_eq(taken_slots(map), FORMAT_SLOTS);
        is_full(map);
        crowd_end(&last);
        ck_assert_uint_eq(taken_slots(map), FORMAT_SLOTS - 1);
        ck_assert_int_eq(op_elsewhere(OP_MUT_SLICE, map, 0, SIZE), 0);
        ck_assert(crowd_start(&last, map, 1));
        is_full(map);
        if (two) {
                peer_kill(&peer);
                is_free(map, SIZE);
        }
        crowd_end(&last);
        crowd_end(&crowd);
        is_free(map, SIZE);
        ck_assert_uint_eq(taken_slots(map), 1);
        ck_assert_int_eq(ammap_free(map), 0);
}

enum { LANES = 20, LANE = 4096 };

/* More ranges than a thread has places for: the next one is told so, whichever call
 * it is, and nothing has been locked for it.  What lies within a range that is held
 * is not one more; neither is what is copied, or written. */
DEFINE_TEST("slot", more_slices_than_places)
{
        static unsigned char bytes[LANES * LANE];
        ammap_t *map = make_shared(LANES * LANE, 0, LANES), *copy, *other = make_shared(LANE, 0, 1);
        ammap_slice_t slices[FORMAT_SETS], slice, inner[3];
        ammap_mut_slice_t mut;

        for (uint64_t i = 0; i < FORMAT_SETS; i++) /* lanes 0 and 1, 2 and 3, ... */
                ck_assert_int_eq(ammap_as_slice(map, 2 * i * LANE, 2 * LANE, &slices[i]), 0);
        ck_assert_int_eq(ammap_as_slice(map, 17 * LANE, 1, &slice), AMMAP_ERR_LIMIT);
        ck_assert(slice_is_zero(&slice));
        ck_assert_int_eq(ammap_try_as_slice(map, 17 * LANE, 1, &slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(ammap_timed_as_slice(map, 15 * LANE, 2 * LANE, patience_ns(), &slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 16 * LANE, 4 * LANE), 0);
        ck_assert_uint_eq(stat_of(map).slices, FORMAT_SETS);

        ck_assert_int_eq(ammap_read_into(map, 0, bytes, sizeof(bytes)), 0);
        ck_assert_int_eq(ammap_copy(other, 0, map, 16 * LANE + 1, LANE), 0);
        ck_assert_int_eq(ammap_clone(map, &copy), 0);
        ck_assert_int_eq(ammap_free(copy), 0);
        ck_assert_int_eq(ammap_copy(map, 17 * LANE, map, 3 * LANE, 2 * LANE), 0);
        ck_assert_int_eq(ammap_as_mut_slice(map, 17 * LANE, 2 * LANE, &mut), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 17 * LANE, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_as_slice(map, 17 * LANE, 1, &slice), AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);

        ck_assert_int_eq(ammap_as_slice(map, 4 * LANE, 1, &inner[0]), 0);
        ck_assert_int_eq(ammap_try_as_slice(map, 5 * LANE, LANE, &inner[1]), 0);
        ck_assert_int_eq(ammap_timed_as_slice(map, 4 * LANE + 1, 2 * LANE - 1, 0, &inner[2]), 0);
        ck_assert_uint_eq(stat_of(map).slices, FORMAT_SETS + 3);
        ck_assert_int_eq(ammap_as_mut_slice(map, 5 * LANE, 1, &mut), AMMAP_ERR_DEADLOCK);

        /* The lanes are held as long as one of those who share them is there. */
        ammap_slice_release(&slices[2]);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 4 * LANE, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&inner[0]);
        ammap_slice_release(&inner[2]);
        ck_assert_int_eq(ammap_as_slice(map, 17 * LANE, 1, &slice), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 4 * LANE, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&inner[1]);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 4 * LANE, 2 * LANE), 0);
        ck_assert_int_eq(ammap_as_slice(map, 17 * LANE, 1, &slice), 0);
        ammap_slice_release(&slice);
        for (size_t i = 0; i < FORMAT_SETS; i++)
                ammap_slice_release(&slices[i]);
        is_free(map, LANES * LANE);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

struct shrinker {
        ammap_t *map;
        uint64_t length;
        _Atomic bool stop;
        _Atomic long done, refused;
};

static void *shrinker_body(void *argument)
{
        struct shrinker *shrinker = argument;

        while (!atomic_load(&shrinker->stop)) {
                int rc = ammap_resize(shrinker->map, shrinker->length);

                thread_check(rc == 0 || rc == AMMAP_ERR_BUSY);
                atomic_fetch_add(rc == 0 ? &shrinker->done : &shrinker->refused, 1);
                thread_check_int(ammap_resize(shrinker->map, SIZE), 0);
                for (int looks = 0; looks < 500; looks++) /* or it is short nearly always */
                        thread_check(ammap_len(shrinker->map) == SIZE);
        }
        return NULL;
}

/* A slice that shares the lane of one that a shrink lets be, and reaches beyond what
 * the shrink leaves: it keeps the shrink off, or there is none. */
DEFINE_LOOP_TEST("slot", slices_share_beside_shrinks, 1, 3)
{
        const uint64_t lanes = (uint64_t)_i, lane = SIZE / lanes;
        ammap_t *map = make_shared(SIZE, 0, lanes), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        struct shrinker shrinker = { again, lane / 2, false, 0, 0 };
        ammap_slice_t small, large;
        int taken = 0, count = rounds(30000);
        struct task task;

        task_start(&task, shrinker_body, &shrinker);
        while (count-- > 0 || atomic_load(&shrinker.done) < 10) {
                int rc;

                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &small), 0);
                rc = ammap_as_slice(map, 0, lane, &large);
                ck_assert(rc == 0 || rc == AMMAP_ERR_BOUNDS);
                for (int looks = 0; rc == 0 && looks < 20; looks++)
                        ck_assert_uint_ge(ammap_len(map), lane);
                taken += rc == 0;
                ammap_slice_release(&large);
                ammap_slice_release(&small);
        }
        atomic_store(&shrinker.stop, true);
        task_ends(&task);
        printf("slices_share_beside_shrinks: %d slices; %ld shrinks, %ld refused\n", taken, atomic_load(&shrinker.done),
               atomic_load(&shrinker.refused));
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Own slices ----------------------------------------------------------------------------- */

/* Another thread has the first lane, and the calling one the last of four: whatever
 * wants both is told at once, though it would come to wait for the first before it
 * comes to its own; through the same handle or another one. */
DEFINE_LOOP_TEST("slot", own_slices_come_first, 0, 4)
{
        const bool mine_writes = _i & 1, other_writes = _i & 2;
        ammap_t *map = make_shared(4 * KB, 0, 4), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        ammap_t *hand[] = { map, again }, *copy;
        ammap_mut_slice_t mut = { 0 };
        ammap_slice_t slice = { 0 };
        struct holder other;

        holder_start(&other, map, 0, 10, other_writes);
        for (size_t i = 0; i < COUNT_OF(hand); i++) {
                const uint64_t lane = 3 * KB;

                if (mine_writes)
                        ck_assert_int_eq(ammap_as_mut_slice(hand[i], lane, 10, &mut), 0);
                else
                        ck_assert_int_eq(ammap_as_slice(hand[i], lane, 10, &slice), 0);
                for (enum op op = 0; op < OP_COUNT; op++)
                        if (mine_writes || op_writes(op))
                                ck_assert_int_eq(op_run(op, map, 1, 3 * KB, 3600 * SECOND), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_discard(map, 0, 4 * KB), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_resize(map, KB), AMMAP_ERR_BUSY);
                if (mine_writes) {
                        ck_assert_int_eq(ammap_clone(map, &copy), AMMAP_ERR_DEADLOCK);
                        ck_assert_int_eq(ammap_copy(map, 0, map, lane, 10), AMMAP_ERR_DEADLOCK);
                }
                if (other_writes)
                        ck_assert_int_eq(ammap_copy(map, lane, map, 0, 10), AMMAP_ERR_DEADLOCK);
                ammap_mut_slice_release(&mut);
                ammap_slice_release(&slice);
        }
        holder_stop(&other);
        is_free(map, 4 * KB);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* One who writes lanes 1 to 3 has the first two and waits for the calling thread's
 * slice of the last: to take bytes from all of them, or to freeze them, would be to
 * wait for him, as long as one waits for a copy, which is ten seconds. */
DEFINE_LOOP_TEST("slot", own_slices_beside_a_copy, 0, 2)
{
        const bool writes = _i == 1;
        ammap_t *map = make_shared(4 * KB, 0, 4);
        struct call call = { OP_FILL, map, KB, 3 * KB, 0, INT_MIN, 0 };
        ammap_mut_slice_t mut = { 0 };
        ammap_slice_t slice = { 0 };
        struct task task;
        long slept;

        if (writes)
                ck_assert_int_eq(ammap_as_mut_slice(map, 3 * KB, 10, &mut), 0);
        else
                ck_assert_int_eq(ammap_as_slice(map, 3 * KB, 10, &slice), 0);
        task_start(&task, call_body, &call);
        lane_awaited(map, 3);
        ck_assert(atomic_load(&map->shared->lane[1].owner) & OWNER_ID);
        slept = sleeps_of(getpid(), own_tid());
        ck_assert_int_eq(ammap_resize(map, KB), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
        ck_assert_int_lt(sleeps_of(getpid(), own_tid()) - slept, SLEEPS_FEW);
        ammap_mut_slice_release(&mut);
        ammap_slice_release(&slice);
        task_ends(&task);
        ck_assert_int_eq(call.result, 0);
        ck_assert_int_eq(ammap_resize(map, KB), 0);
        is_free(map, KB);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Many ---------------------------------------------------------------------------------------- */

static int64_t own_time_ns(void)
{
        struct timespec time;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

/* What it takes a thread to have so many mut slices at once; the least of some. */
static int64_t time_of(ammap_t *map, uint64_t count, ammap_mut_slice_t *slices)
{
        int64_t least = INT64_MAX;

        for (int round = 0; round < 8; round++) {
                int64_t start = own_time_ns(), took;

                for (uint64_t i = 0; i < count; i++)
                        ck_assert_int_eq(ammap_as_mut_slice(map, i, 1, &slices[i]), 0);
                for (uint64_t i = 0; i < count; i++)
                        ammap_mut_slice_release(&slices[i]);
                took = own_time_ns() - start;
                least = took < least ? took : least;
        }
        return least;
}

/* Sixteen times as many take sixteen times as long, and not 256 times. */
DEFINE_TEST_IF(!TEST_SANITIZED, "slot", many_slices_of_one_thread)
{
        enum { FEW = 256, ALL = AMMAP_LANES_MAX };
        static ammap_mut_slice_t slices[ALL];
        ammap_t *map = make_shared(ALL, 0, ALL);
        int64_t few = time_of(map, FEW, slices), all = time_of(map, ALL, slices);

        printf("many_slices_of_one_thread: %.1f us, %.1f us\n", (double)few / 1e3, (double)all / 1e3);
        ck_assert_int_lt(all, few * (ALL / FEW) * 5 / 2);
        ck_assert_int_eq(ammap_free(map), 0);
}

enum { MANY = 1024 + 40 };

/* More maps than the kernel would look for of one thread: those go that it holds
 * nothing of. */
DEFINE_TEST_IF(!TEST_TSAN, "slot", more_maps_than_places)
{
        static ammap_t *maps[MANY];
        static ammap_slice_t slices[MANY];
        struct rlimit limit, raised;
        ammap_t *frozen, *reader;
        int count = 0;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        raised = limit;
        raised.rlim_cur = raised.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &raised), 0);
        if (raised.rlim_cur < 4 * MANY) {
                skip_part(__func__, "so many descriptors there cannot be");
                return;
        }
        frozen = make_shared(1, 0, 1);
        reader = import_again(frozen, AMMAP_READ);
        ck_assert_int_eq(ammap_freeze(frozen), 0);
        ck_assert_int_eq(op_run(OP_SLICE, reader, 0, 1, 0), 0); /* by a slot that has no place */
        for (int i = 0; i < MANY; i++) {
                maps[i] = make_shared(1, 0, 1);
                ck_assert_int_eq(ammap_update_region(maps[i], 0, "x", 1), 0);
        }
        for (int i = 0; i < MANY; i++)
                ck_assert_int_eq(ammap_update_region(maps[i], 0, "y", 1), 0);
        ck_assert_uint_eq(taken_slots(maps[0]) + taken_slots(maps[MANY - 1]), 1);
        while (count < MANY && ammap_as_slice(maps[count], 0, 1, &slices[count]) == 0)
                count++;
        ck_assert_int_eq(count, 1024);
        ck_assert_int_eq(ammap_update_region(maps[count], 0, "z", 1), AMMAP_ERR_LIMIT);
        ck_assert_int_eq(op_elsewhere(OP_MUT_SLICE, maps[count], 0, 1), 0);
        ammap_slice_release(&slices[500]);
        ck_assert_int_eq(ammap_update_region(maps[count], 0, "z", 1), 0);
        ck_assert_int_eq(op_elsewhere(OP_MUT_SLICE, maps[500], 0, 1), 0);
        for (int i = 0; i < MANY; i++) {
                ammap_slice_release(&slices[i]);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(frozen), 0);
        setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- Maps that are freed ------------------------------------------------------------------------- */

enum { FREED_MAX = 300 };

struct user {
        ammap_t *maps[FREED_MAX];
        size_t count; /* 0: to end */
        sem_t go, done;
};

static void *user_body(void *argument)
{
        struct user *user = argument;

        for (;;) {
                sem_wait_surely(&user->go);
                if (user->count == 0)
                        return NULL;
                for (size_t i = 0; i < user->count; i++)
                        short_body(user->maps[i]);
                sem_post(&user->done);
        }
}

static void user_begin(struct user *user, struct task *task)
{
        sem_init(&user->go, 0, 0);
        sem_init(&user->done, 0, 0);
        task_start(task, user_body, user);
}

static void user_locks(struct user *user, size_t count)
{
        user->count = count;
        sem_post(&user->go);
        sem_wait_surely(&user->done);
}

static void user_use(struct user *user, size_t count)
{
        for (size_t i = 0; i < count; i++)
                user->maps[i] = make_shared(SIZE, 0, 1);
        user_locks(user, count);
}

static void user_end(struct user *user, struct task *task)
{
        user->count = 0;
        sem_post(&user->go);
        task_ends(task);
        sem_destroy(&user->go);
        sem_destroy(&user->done);
}

static void user_free(struct user *user, size_t count)
{
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(ammap_free(user->maps[i]), 0);
}

/* Many maps that a thread has used, freed by another; and then the thread comes to
 * one more. */
DEFINE_TEST("slot", freed_by_another_thread)
{
        const size_t many = TEST_TSAN ? 40 : FREED_MAX; /* a slot is a mutex, and there a thread has 64 at most */
        static struct user user;
        struct footprint before, between, after;
        struct task task;

        user_begin(&user, &task);
        user_use(&user, 1);
        before = footprint();
        user_free(&user, 1);
        user_use(&user, many);
        between = footprint();
        user_free(&user, many);
        user_use(&user, 1);
        after = footprint();
        user_free(&user, 1);
        ck_assert_uint_ge(between.mappings, before.mappings + 2 * (many - 1));
        if (TEST_HEAP && !TEST_SANITIZED)
                ck_assert_uint_le(after.mappings, before.mappings + 8);
        ck_assert_uint_le(after.mappings, between.mappings - many);
        ck_assert_uint_eq(after.descriptors, before.descriptors);
        user_end(&user, &task);
}

/* How many mappings this process has of that memory, or file. */
static int mappings_of(const struct stat *file)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        int count = 0;

        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                unsigned major_number, minor_number;
                unsigned long long inode;

                if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major_number, &minor_number, &inode) == 3)
                        count += inode == file->st_ino && makedev(major_number, minor_number) == file->st_dev;
        }
        fclose(maps);
        return count;
}

/* A thread that has locked a map, and lives on, keeps neither its memory nor a place in it. */
DEFINE_LOOP_TEST("slot", freed_beside_a_thread_that_stays, 0, 2)
{
        static struct user user;
        struct path path = path_of("kept");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *again;
        struct stat file;
        struct task task;

        if (_i == 0) {
                map = make_shared(SIZE, 0, 1);
                again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        } else {
                options.allow_faults = true;
                ck_assert_int_eq(ammap_open(&map, path.text, SIZE, &options), 0);
                ck_assert_int_eq(ammap_open(&again, path.text, 0, &options), 0);
        }
        ck_assert_int_eq(fstat(ammap_fd(map), &file), 0);
        user_begin(&user, &task);
        user.maps[0] = map;
        user_locks(&user, 1);
        ck_assert_int_gt(mappings_of(&file), 0);
        ck_assert_uint_eq(taken_slots(again), 1);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_uint_eq(taken_slots(again), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(mappings_of(&file), 0);
        user_end(&user, &task);
}

static void *free_body(void *map)
{
        thread_check_int(ammap_free(map), 0);
        return NULL;
}

/* Another thread frees a handle, and a third one has the place now that this thread had by
 * it: what it holds there is not taken for what this thread holds. */
DEFINE_TEST("slot", a_place_that_was_given_back)
{
        ammap_t *map = make_shared(SIZE, 0, 1), *freed = import_again(map, AMMAP_READ | AMMAP_WRITE);
        struct copier copier;
        struct task task;

        short_body(freed);
        short_body(map);
        ck_assert_uint_eq(taken_slots(map), 2);
        task_start(&task, free_body, freed);
        task_ends(&task);
        ck_assert_uint_eq(taken_slots(map), 1);
        copier_start(&copier, map, SIZE);
        ck_assert_uint_eq(taken_slots(map), 2);
        ck_assert_uint_eq(used_slots(map), 2);
        ck_assert_int_eq(op_run(OP_TIMED_UPDATE, map, 0, 10, 1), AMMAP_ERR_TIMEOUT);
        copier_stop(&copier);
        is_free(map, SIZE);
        ck_assert_int_eq(ammap_free(map), 0);
}

struct mortal {
        ammap_t *map;
        struct thread_life life;
        uint32_t id;
};

static void *mortal_body(void *argument)
{
        struct mortal *mortal = argument;

        short_body(mortal->map);
        mortal->life = thread_life();
        mortal->id = thread_id(mortal->life);
        return NULL;
}

/* Whose a place was is not told by the one that has the same owner now. */
DEFINE_TEST("slot", an_id_is_of_one_life)
{
        struct mortal first = { .map = make_shared(SIZE, 0, 1) }, second = first;
        struct task task;

        task_start(&task, mortal_body, &first);
        task_ends(&task);
        task_start(&task, mortal_body, &second);
        task_ends(&task);
        ck_assert_ptr_eq(first.life.owner, second.life.owner);
        ck_assert_uint_eq(thread_id(first.life), 0);
        ck_assert_uint_eq(thread_id(second.life), second.id);
        ck_assert_int_eq(ammap_free(first.map), 0);
}

#else

DEFINE_TEST("slot", unsupported)
{
        check_unsupported();
}

#endif

int main(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "--nothing") == 0)
                return 0;
        return run_sharing("slot");
}
