/* step.c - a process killed at every instruction of a call
 *
 * SPDX-License-Identifier: MIT
 *
 *      step [KILLS]
 *
 * A child is led through a call instruction by instruction, and killed after the
 * first one, after the second one...  Each time a process that has just come to
 * the map must find it whole, as before the call or as after it, or be told
 * AMMAP_ERR_OWNER_DEAD and have it as it is with ammap_recover; and a process that
 * knew the map all along must get at it.  Who dies reading leaves nothing behind.
 *
 * A writer that becomes a reader is in all the time: until it dies nobody gets in who
 * waits to write.
 *
 * "warm" calls have been made before by the same thread; "first" ones have not,
 * and are longer.  Each call is killed so many times, and the four that everybody
 * makes, warm, and those that another waits for, eight times as often; at how many
 * of its instructions that was is printed.  Each time it is others.  With AMMAP_TEST_LONG
 * it is a thousand times, which is all of them but for the longest calls.
 */
#include "lead.h"

static long kills;

#if CAN_STEP

enum { BLOCK = 192, LENGTH = 20480, SHORT = 12200, CAPACITY = 40000 };
enum { OLD = 0x11, NEW = 0x22, FILLED = 0x33 };

enum call_kind {
        CALL_READ,
        CALL_SLICE,
        CALL_UPDATE,
        CALL_MUT_SLICE,
        CALL_GROW,
        CALL_SHRINK,
        CALL_DISCARD,
        CALL_RECOVER,
        CALL_RECOVER_SLICE,
        CALL_FREEZE,
        CALL_EXPORT,
        CALL_MUT_DETACH, /* of what has been taken before */
        CALL_DETACH,
        CALL_WAIT_PEER,
        CALL_SLICE_RELEASE, /* while another process waits */
        CALL_MUT_RELEASE,
        CALL_DOWNGRADE,
        CALLS
};

static const char *const call_names[CALLS] = {
        "read_into",
        "as_slice and release",
        "update_region",
        "as_mut_slice and release",
        "growth",
        "shrink",
        "discard",
        "recover",
        "recover_as_mut_slice",
        "freeze",
        "export",
        "detach of mut",
        "detach",
        "wait_u32_peer",
        "release",
        "release of a mut slice",
        "downgrade",
};

static bool only_reads(enum call_kind kind)
{
        return kind == CALL_READ || kind == CALL_SLICE || kind == CALL_SLICE_RELEASE || kind == CALL_EXPORT ||
               kind == CALL_DETACH || kind == CALL_WAIT_PEER;
}

static bool begins_dead(enum call_kind kind)
{
        return kind == CALL_RECOVER || kind == CALL_RECOVER_SLICE;
}

static bool is_waited_for(enum call_kind kind)
{
        return kind == CALL_SLICE_RELEASE || kind == CALL_MUT_RELEASE || kind == CALL_DOWNGRADE;
}

struct board {
        _Atomic int phase; /* 0 before, 1 in and 2 after the call */
        int status;
};

struct subject {
        enum call_kind kind;
        bool warm;
        uint64_t lanes;
        ammap_t *map;
        struct board *board;
};

/* --- The child that is led ------------------------------------------------ */

struct held {
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        int fd;
};

static int run_call(const struct subject *subject, struct held *held)
{
        unsigned char bytes[BLOCK];
        int rc;

        switch (subject->kind) {
        case CALL_READ:
                return ammap_read_into(subject->map, 0, bytes, sizeof(bytes));
        case CALL_SLICE:
                rc = ammap_as_slice(subject->map, 0, BLOCK, &held->slice);
                ammap_slice_release(&held->slice);
                return rc;
        case CALL_UPDATE:
                memset(bytes, NEW, sizeof(bytes));
                return ammap_update_region(subject->map, 0, bytes, sizeof(bytes));
        case CALL_MUT_SLICE:
                rc = ammap_as_mut_slice(subject->map, 0, BLOCK, &held->mut);
                for (size_t i = 0; i < held->mut.length; i += 8) /* not at once */
                        *(volatile uint64_t *)(void *)(held->mut.data + i) = NEW * UINT64_C(0x0101010101010101);
                ammap_mut_slice_release(&held->mut);
                return rc;
        case CALL_GROW:
                return ammap_resize(subject->map, CAPACITY);
        case CALL_SHRINK:
                return ammap_resize(subject->map, SHORT);
        case CALL_DISCARD:
                return ammap_discard(subject->map, 0, BLOCK);
        case CALL_RECOVER:
                return ammap_recover(subject->map);
        case CALL_RECOVER_SLICE:
                return ammap_recover_as_mut_slice(subject->map, 0, BLOCK, &held->mut) - 1;
        case CALL_FREEZE:
                return ammap_freeze(subject->map);
        case CALL_EXPORT:
                return ammap_export(subject->map, AMMAP_READ, &held->fd);
        case CALL_MUT_DETACH:
                return ammap_mut_slice_detach(&held->mut);
        case CALL_DETACH:
                return ammap_slice_detach(&held->slice);
        case CALL_WAIT_PEER:
                rc = ammap_wait_u32_peer(subject->map, 0, OLD * UINT32_C(0x01010101), 0, (int32_t)getppid());
                return rc == AMMAP_ERR_TIMEOUT ? 0 : rc;
        case CALL_SLICE_RELEASE:
                ammap_slice_release(&held->slice);
                return 0;
        case CALL_MUT_RELEASE:
                ammap_mut_slice_release(&held->mut);
                return 0;
        case CALL_DOWNGRADE:
                return ammap_mut_slice_downgrade(&held->mut, &held->slice);
        case CALLS:
                break;
        }
        return INT_MIN;
}

static void subject_body(struct peer *parent, void *argument)
{
        const struct subject *subject = argument;
        struct held held = { .fd = -1 };
        unsigned char byte = OLD;

        (void)parent;
        alarm(0); /* it would come in between */
        child_must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        if (subject->warm) {
                /* In a lane where nobody has died. */
                uint64_t offset = begins_dead(subject->kind) ? LENGTH - BLOCK : 0;

                child_must_int(op_run(OP_READ_INTO, subject->map, offset, BLOCK, 0), 0);
                child_must_int(op_run(OP_SLICE, subject->map, offset, BLOCK, 0), 0);
                child_must_int(op_run(OP_MUT_SLICE, subject->map, offset, BLOCK, 0), 0);
                child_must_int(ammap_update_region(subject->map, offset, &byte, 1), 0);
                child_must_int(ammap_as_slice(subject->map, offset, BLOCK, &held.slice), 0);
                child_must_int(ammap_slice_detach(&held.slice), 0);
                child_must_int(ammap_slice_release(&held.slice), 0);
        }
        if (subject->kind == CALL_DETACH)
                child_must_int(ammap_as_slice(subject->map, 0, LENGTH, &held.slice), 0);
        if (subject->kind == CALL_MUT_DETACH)
                child_must_int(ammap_as_mut_slice(subject->map, 0, LENGTH, &held.mut), 0);
        if (subject->kind == CALL_SLICE_RELEASE)
                child_must_int(ammap_as_slice(subject->map, 0, BLOCK, &held.slice), 0);
        if (subject->kind == CALL_MUT_RELEASE)
                child_must_int(ammap_as_mut_slice(subject->map, 0, BLOCK, &held.mut), 0);
        if (subject->kind == CALL_DOWNGRADE) /* of several lanes */
                child_must_int(ammap_as_mut_slice(subject->map, 0, LENGTH, &held.mut), 0);
        raise(SIGSTOP);
        atomic_store_explicit(&subject->board->phase, 1, memory_order_relaxed);
        subject->board->status = run_call(subject, &held);
        atomic_store_explicit(&subject->board->phase, 2, memory_order_relaxed);
        raise(SIGSTOP);
}

/* Lead it so many instructions into the call, or out of it: how many it took. */
static long lead(const struct peer *peer, const struct board *board, long count)
{
        long steps = 0;

        while (atomic_load(&board->phase) == 0)
                step_once(peer->pid);
        for (; steps < count && atomic_load(&board->phase) == 1; steps++)
                step_once(peer->pid);
        return steps;
}

/* --- The process that finds what is left ----------------------------------- */

struct finding {
        const struct subject *subject;
        int fd;
        bool complete, waited_for;
        struct found {
                _Atomic int dead, before, after;
        } * found;
};

/* Each call gives what it must, and comes back. */
static void check_clean(ammap_t *map, bool writable)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                child_must_int(op_run(op, map, 0, BLOCK, patience_ns()),
                               writable || !op_writes(op) ? 0 : AMMAP_ERR_READ_ONLY);
}

static void check_dead(ammap_t *map)
{
        for (enum op op = 0; op < OP_COUNT; op++)
                child_must_int(op_run(op, map, 0, BLOCK, patience_ns()), AMMAP_ERR_OWNER_DEAD);
}

/* The next one gets what the one that was killed got, or was about to get. */
static void take_over(ammap_t *map)
{
        ammap_mut_slice_t mut;

        child_must_int(ammap_recover_as_mut_slice(map, 0, BLOCK, &mut), 1);
        child_must(is_all(mut.data, OLD, BLOCK));
        ammap_mut_slice_release(&mut);
        child_must_int(ammap_recover_as_mut_slice(map, 0, BLOCK, &mut), 0);
        ammap_mut_slice_release(&mut);
}

/* The block: whole, and old or new. */
static void check_block(struct finding *finding, const unsigned char *bytes)
{
        enum call_kind kind = finding->subject->kind;
        int byte = bytes[BLOCK - 1];

        child_must(is_all(bytes, (unsigned char)byte, BLOCK));
        if (kind == CALL_UPDATE || kind == CALL_MUT_SLICE)
                child_must(byte == OLD || byte == NEW);
        else if (kind == CALL_DISCARD)
                child_must(byte == OLD || byte == 0);
        else if (finding->waited_for)
                child_must(byte == OLD || byte == OP_BYTE);
        else
                child_must(byte == OLD);
        atomic_fetch_add(byte == OLD ? &finding->found->before : &finding->found->after, 1);
        if (finding->complete && (kind == CALL_UPDATE || kind == CALL_MUT_SLICE))
                child_must(byte == NEW);
}

/* What lies behind the short length, where the length may have changed. */
static void check_tail(const struct finding *finding, ammap_t *map)
{
        enum call_kind kind = finding->subject->kind;
        unsigned char bytes[CAPACITY];
        uint64_t length = ammap_len(map);
        int rc = ammap_read_into(map, SHORT, bytes, (size_t)(length - SHORT));

        child_must(length == LENGTH || length == (kind == CALL_GROW ? CAPACITY : SHORT));
        if (finding->complete)
                child_must(length != LENGTH);
        if (rc == 0) {
                child_must(is_all(bytes, FILLED, length < LENGTH ? length - SHORT : LENGTH - SHORT));
                if (length > LENGTH)
                        child_must(is_all(bytes + LENGTH - SHORT, 0, length - LENGTH));
        } else {
                child_must_int(rc, AMMAP_ERR_OWNER_DEAD);
        }
        if (ammap_resize(map, SHORT) == AMMAP_ERR_OWNER_DEAD || ammap_resize(map, SHORT) == AMMAP_ERR_OWNER_DEAD) {
                atomic_fetch_add(&finding->found->dead, 1);
                child_must_int(ammap_recover(map), 0);
        }
        child_must_int(ammap_resize(map, SHORT), 0);
        child_must_int(ammap_resize(map, CAPACITY), 0);
        child_must_int(ammap_read_into(map, SHORT, bytes, CAPACITY - SHORT), 0);
        child_must(is_all(bytes, 0, CAPACITY - SHORT));
}

static void finder_body(struct peer *parent, void *argument)
{
        struct finding *finding = argument;
        enum call_kind kind = finding->subject->kind;
        ammap_t *map = finding->subject->map;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        unsigned char bytes[BLOCK];
        int rc;

        (void)parent;
        /* Imported; where that cannot be any more, inherited. */
        if (finding->fd >= 0)
                child_must_int(ammap_import(&map, finding->fd, NULL), 0);
        rc = ammap_read_into(map, 0, bytes, sizeof(bytes));
        if (rc == AMMAP_ERR_OWNER_DEAD) {
                child_must(!only_reads(kind));
                atomic_fetch_add(&finding->found->dead, 1);
                check_dead(map);
                if (kind == CALL_RECOVER_SLICE)
                        take_over(map);
                else
                        child_must_int(ammap_recover(map), 0);
        } else {
                child_must_int(rc, 0);
                child_must(kind != CALL_RECOVER_SLICE && kind != CALL_MUT_DETACH); /* whose writer has died */
                check_block(finding, bytes);
        }
        if (kind == CALL_GROW || kind == CALL_SHRINK)
                check_tail(finding, map);
        if (kind == CALL_FREEZE) {
                rc = op_run(OP_UPDATE, map, 0, BLOCK, 0);
                if (rc == AMMAP_ERR_OWNER_DEAD) {
                        child_must_int(ammap_recover(map), 0);
                        rc = op_run(OP_UPDATE, map, 0, BLOCK, 0);
                }
                child_must_int(ammap_stat(map, &stat), 0);
                if (finding->complete)
                        child_must(stat.frozen);
                if (stat.frozen)
                        child_must_int(rc, AMMAP_ERR_READ_ONLY);
                else
                        child_must(rc == 0 || rc == AMMAP_ERR_READ_ONLY); /* sealed, and no more */
                check_clean(map, rc == 0);
        } else {
                check_clean(map, true);
        }
        if (map != finding->subject->map)
                child_must_int(ammap_free(map), 0);
}

/* --- The parent ------------------------------------------------------------- */

static void bury(struct peer *peer)
{
        int status;

        kill(peer->pid, SIGKILL);
        do
                ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
        while (!WIFSIGNALED(status) && !WIFEXITED(status));
        peer_close(peer);
}

static ammap_t *prepare(const struct subject *subject)
{
        ammap_t *map = make_shared(LENGTH, CAPACITY, subject->lanes);
        struct holder holder;

        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, FILLED), 0);
        ck_assert_int_eq(ammap_fill(map, 0, BLOCK, OLD), 0);
        if (begins_dead(subject->kind)) {
                holder_start(&holder, map, 0, BLOCK, true);
                holder_vanish(&holder);
        }
        return map;
}

/* Kill it after so many instructions, and look.  How many there were; fewer than
 * asked for: that was all of the call. */
static long kill_at(struct subject *subject, long count, struct found *found)
{
        struct finding finding = { subject, -1, false, is_waited_for(subject->kind), found };
        struct place place = { INHERIT, NULL, -1, NULL, AMMAP_OPTIONS_INIT };
        struct remote waiter;
        struct peer peer, finder;
        cpu_set_t processors;
        long steps;

        subject->map = place.map = prepare(subject);
        atomic_store(&subject->board->phase, 0);
        if (finding.waited_for)
                remote_start(&waiter, &place);
        stay_here(&processors);
        peer_start(&peer, subject_body, subject);
        wait_for_stop(peer.pid, SIGSTOP);
        if (finding.waited_for) {
                remote_send(&waiter, (struct command){ DO_OP, OP_UPDATE, 0, BLOCK, 0 });
                remote_sleeps(&waiter);
        }
        steps = lead(&peer, subject->board, count);
        finding.complete = atomic_load(&subject->board->phase) == 2;
        if (finding.complete)
                ck_assert_int_eq(subject->board->status, 0);
        if (finding.complete && subject->kind == CALL_DOWNGRADE) {
                /* A reader: others read beside it, in the lane that nobody waits for. */
                ck_assert_int_eq(op_run(OP_TRY_SLICE, subject->map, LENGTH - BLOCK, BLOCK, 0), 0);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, subject->map, LENGTH - BLOCK, BLOCK, 0), AMMAP_ERR_BUSY);
                ck_assert(atomic_load(&waiter.board->busy));
        }
        bury(&peer);
        sched_setaffinity(0, sizeof(processors), &processors);
        if (finding.waited_for) {
                int rc = remote_reply(&waiter).result;

                if (rc == AMMAP_ERR_OWNER_DEAD && !only_reads(subject->kind))
                        atomic_fetch_add(&found->dead, 1);
                else
                        ck_assert_int_eq(rc, 0);
                if (rc == AMMAP_ERR_OWNER_DEAD)
                        ck_assert_int_eq(remote_order(&waiter, DO_RECOVER), 0);
                remote_end(&waiter);
        }
        if (subject->kind != CALL_EXPORT && subject->kind != CALL_FREEZE)
                finding.fd = ammap_fd(subject->map);
        peer_start(&finder, finder_body, &finding);
        peer_end(&finder);
        /* And for one that was there before. */
        if (subject->kind != CALL_FREEZE)
                ck_assert_int_eq(op_run(OP_TIMED_MUT_SLICE, subject->map, 0, BLOCK, patience_ns()), 0);
        ck_assert_int_eq(op_run(OP_TIMED_SLICE, subject->map, 0, BLOCK, patience_ns()), 0);
        ck_assert_int_eq(ammap_free(subject->map), 0);
        return steps;
}

static long common_divisor(long a, long b)
{
        return b ? common_divisor(b, a % b) : a;
}

/* All the numbers from 0 to all, in an order that begins anywhere and is as even
 * as can be after any part of it; it ends after so many. */
struct sequence {
        long all, stride, first, done, end;
};

static struct sequence sequence_of(long all, long wanted)
{
        struct random random = random_start("step");
        struct sequence order = { all, all * 62 / 100 + 1, (long)random_below(&random, (uint64_t)all + 1), 0, wanted };

        ck_assert_int_gt(all, 0);
        while (common_divisor(order.stride, all + 1) != 1)
                order.stride++;
        return order;
}

static bool order_next(struct sequence *order, long *number)
{
        if (order->done > order->all || order->done >= order->end)
                return false;
        *number =
                (long)((uint64_t)(order->first + order->done++) * (uint64_t)order->stride % ((uint64_t)order->all + 1));
        return true;
}

static void kill_everywhere(struct subject *subject)
{
        bool longer = is_waited_for(subject->kind) || (subject->warm && subject->kind <= CALL_MUT_SLICE);
        struct found *found = board_of(sizeof(*found));
        struct sequence order = sequence_of(kill_at(subject, LONG_MAX, found), longer ? 8 * kills : kills);
        long at;

        while (order_next(&order, &at))
                kill_at(subject, at, found);
        printf("step: %s %s, %lu lanes: %ld instructions, killed at %ld of them; "
               "found as before %d times, as after %d, OWNER_DEAD %d\n",
               subject->warm ? "warm" : "first", call_names[subject->kind], (unsigned long)subject->lanes, order.all,
               order.done, atomic_load(&found->before), atomic_load(&found->after), atomic_load(&found->dead));
        munmap(found, sizeof(*found));
}

static void step_through(enum call_kind kind, bool warm)
{
        struct subject subject = { kind, warm, kind % 2 && !begins_dead(kind) && kind != CALL_DOWNGRADE ? 1 : 3, NULL,
                                   board_of(sizeof(struct board)) };

        kill_everywhere(&subject);
        munmap(subject.board, sizeof(*subject.board));
}

DEFINE_LOOP_TEST("step", warm_calls, 0, CALLS)
{
        step_through((enum call_kind)_i, true);
}

DEFINE_LOOP_TEST("step", first_calls, 0, CALL_SLICE_RELEASE)
{
        step_through((enum call_kind)_i, false);
}

/* --- The making of a file ----------------------------------------------------- */

struct making {
        const char *path;
        ammap_options_t options;
        struct board *board;
};

static void maker_body(struct peer *parent, void *argument)
{
        const struct making *making = argument;
        ammap_t *map;

        (void)parent;
        alarm(0);
        child_must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        atomic_store_explicit(&making->board->phase, 1, memory_order_relaxed);
        making->board->status = ammap_open(&map, making->path, LENGTH, &making->options);
        atomic_store_explicit(&making->board->phase, 2, memory_order_relaxed);
        raise(SIGSTOP);
}

static long kill_maker_at(const struct making *making, long count)
{
        struct peer peer;
        cpu_set_t processors;
        ammap_t *map;
        long steps;

        unlink(making->path);
        atomic_store(&making->board->phase, 0);
        stay_here(&processors);
        peer_start(&peer, maker_body, (void *)(uintptr_t)making);
        wait_for_stop(peer.pid, SIGSTOP);
        steps = lead(&peer, making->board, count);
        bury(&peer);
        sched_setaffinity(0, sizeof(processors), &processors);
        ck_assert_int_eq(ammap_open(&map, making->path, LENGTH, &making->options), 0);
        ck_assert_uint_eq(ammap_len(map), LENGTH);
        ck_assert(holds(map, 0, LENGTH, 0));
        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        return steps;
}

DEFINE_LOOP_TEST("step", half_made_files, 0, 2)
{
        struct path path = path_of("made");
        struct making making = { path.text, AMMAP_OPTIONS_INIT, board_of(sizeof(struct board)) };
        struct sequence order;
        long at;

        making.options.allow_faults = _i;
        order = sequence_of(kill_maker_at(&making, LONG_MAX), kills);
        while (order_next(&order, &at))
                kill_maker_at(&making, at);
        printf("step: open of a new file: %ld instructions, killed at %ld of them\n", order.all, order.done);
        munmap(making.board, sizeof(*making.board));
}

#elif !TEST_OS_LINUX

DEFINE_TEST("step", unsupported)
{
        check_unsupported();
}

#else

DEFINE_NO_TEST("no single-stepping on this processor");

#endif

int main(int argc, char **argv)
{
#if CAN_STEP
        if (!stepping_works()) {
                printf("step: no single-stepping here\n");
                return SKIPPED;
        }
#endif
        kills = (long)stress_of(argc, argv, test_is_long() ? 1000 : 5, 1, "KILLS");
        test_time_extra = (unsigned)kills / 2;
        return run_tests("step", share_case);
}
