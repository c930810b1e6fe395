/* test-os-between.c - what others do between two calls of lib/os that a call makes
 *
 * SPDX-License-Identifier: MIT
 *
 * The library asks the system where it matters what others do: it locks a file, reads what stands there, orders its
 * stores before it looks, sleeps.  At each of these places in turn another process, or another thread, makes a call of
 * its own, whole where it does not have to wait: it writes, takes a slice, dies with one, makes the map shorter,
 * freezes it; or somebody cuts the file.  Whatever it does, the call comes to its end with a result that this can have,
 * what was read is of one write, and then the map is free.
 */
#include "share.h"

#include "os/os.h"

#include <poll.h>

enum { LENGTH = 192, SHORT = LENGTH / 2, MUCH = 4 * LENGTH };
enum { HELD = 2 /* calls of lib/os that what is held lasts */ };
#define SOON (20 * MS)

/* Where the map is, and who the other one is. */
struct scene {
        const char *name;
        ammap_share_t share;
        enum in_file file;
        uint64_t lanes;
        bool thread, first; /* first: nobody has locked the map before */
};

static const struct scene scenes[] = {
        { "a file", AMMAP_PRIVATE, BY_KERNEL, 1, false, false },
        { "a file, lanes", AMMAP_PRIVATE, BY_KERNEL, 3, false, false },
        { "a shared file", AMMAP_PRIVATE, BY_WORDS, 1, false, true },
        { "shared", AMMAP_SHARED, NO_FILE, 3, false, false },
        { "shared, at first", AMMAP_SHARED, NO_FILE, 1, false, true },
        { "shared, a thread", AMMAP_SHARED, NO_FILE, 1, true, false },
        { "private, a thread", AMMAP_PRIVATE, NO_FILE, 1, true, false },
        { "private, lanes, a thread", AMMAP_PRIVATE, NO_FILE, 3, true, true },
};

enum intruder { UPDATES, READS, HOLDS, HOLDS_MUT, DIES, RESIZES, FREEZES, CUTS, INTRUDERS };

static const char *const intruder_names[INTRUDERS] = {
        "update", "read", "slice", "mut slice", "death with a mut slice", "resize", "freeze", "cut of the file",
};

/* What is called beside those of enum op. */
enum more {
        DO_LONGER = OP_COUNT,
        DO_SHORTER,
        DO_CLONE,
        DO_CHANGE,
        DO_CHANGE_SOON,
        DO_DOWNGRADE,
        DO_RECOVER_SLICE,
        DO_RECOVER_ALL,
        DO_DISCARD,
        DO_HOLDERS,
        DO_FREEZING,
        DO_LOAD,
        DO_FLUSH,
        CALLS
};

static const char *const more_names[CALLS - OP_COUNT] = {
        "growth",  "shrink",  "clone",   "wait_change", "timed wait_change", "downgrade", "recover_as_mut_slice",
        "recover", "discard", "holders", "freeze",      "load_u64",          "flush",
};

/* --- Between ------------------------------------------------------------------ */

static _Thread_local bool is_led;

static struct {
        const struct remote *remote;
        const char *path;
        enum intruder intruder;
        long at, count, held_at;
        bool busy; /* it has not answered yet */
        int result;
} between;

static bool answered(int wait_ms)
{
        struct pollfd in = { between.remote->peer.in, POLLIN, 0 };

        if (between.busy && poll(&in, 1, wait_ms) > 0) {
                between.result = remote_reply(between.remote).result;
                between.busy = false;
        }
        return !between.busy;
}

static void ask(enum order order, enum op op, uint64_t length)
{
        remote_send(between.remote, (struct command){ order, op, 0, length, 0 });
        between.busy = true;
        answered(3); /* else it waits for this process */
}

static void intrude(void)
{
        switch (between.intruder) {
        case UPDATES:
                ask(DO_OP, OP_TRY_UPDATE, LENGTH);
                break;
        case READS:
                ask(DO_OP, OP_TRY_READ, LENGTH);
                break;
        case HOLDS:
                ask(DO_HOLD, OP_SLICE, SHORT);
                break;
        case HOLDS_MUT:
                ask(DO_HOLD, OP_MUT_SLICE, SHORT);
                break;
        case DIES:
                ask(DO_VANISH, OP_MUT_SLICE, SHORT);
                break;
        case RESIZES:
                ask(DO_RESIZE, OP_COUNT, SHORT);
                break;
        case FREEZES:
                ask(DO_FREEZE, OP_COUNT, 0);
                break;
        case CUTS:
                ck_assert_int_eq(truncate(between.path, 0), 0);
                break;
        case INTRUDERS:
                break;
        }
}

/* At each call of lib/os. */
static void step_in(void)
{
        const long now = between.count;

        if (!is_led)
                return;
        is_led = false;
        between.count++;
        if (now == between.at)
                intrude();
        if ((between.intruder == HOLDS || between.intruder == HOLDS_MUT) && now >= between.at && answered(0) &&
            between.held_at < 0)
                between.held_at = now;
        if (between.held_at >= 0 && now == between.held_at + HELD)
                ask(DO_RELEASE, OP_COUNT, 0);
        is_led = true;
}

#define BETWEEN(type, name, parameters, arguments)                                                                     \
        type __real_ammap__##name parameters;                                                                          \
        type __wrap_ammap__##name parameters;                                                                          \
        type __wrap_ammap__##name parameters                                                                           \
        {                                                                                                              \
                step_in();                                                                                             \
                return __real_ammap__##name arguments;                                                                 \
        }

BETWEEN(int, os_peek, (void *to, const void *from, size_t length), (to, from, length))
BETWEEN(int, os_poke, (void *to, const void *from, size_t length, size_t *done), (to, from, length, done))
BETWEEN(int, os_peek_pieces, (const struct os_piece *pieces, size_t count), (pieces, count))
BETWEEN(int, os_poke_pieces, (const struct os_piece *pieces, size_t count), (pieces, count))
BETWEEN(int, os_lock_bytes, (int fd, uint64_t offset, uint64_t count, enum os_lock lock), (fd, offset, count, lock))
BETWEEN(int, os_find_locked, (int fd, struct os_locked *locked), (fd, locked))
BETWEEN(int, os_next_data, (int fd, uint64_t offset, uint64_t *start, uint64_t *end), (fd, offset, start, end))
BETWEEN(int, os_is_file, (int fd, uint64_t device, uint64_t inode), (fd, device, inode))
BETWEEN(int64_t, os_now, (void), ())
BETWEEN(int, os_wake_shared, (const _Atomic uint32_t *word, int count), (word, count))
BETWEEN(bool, os_slot_taken, (uint32_t word), (word))
BETWEEN(bool, os_fork_check, (void), ())

void __real_ammap__os_fence_heavy(void);
void __wrap_ammap__os_fence_heavy(void);
void __wrap_ammap__os_fence_heavy(void)
{
        step_in();
        __real_ammap__os_fence_heavy();
}

/* How long sleeps were to be, and those that nobody ended: on memory of this process, on the map's. */
static struct {
        _Atomic int64_t longest;
        _Atomic long alone;
} naps[2];

static int nap(bool shared, int64_t until, int rc)
{
        int64_t longest = atomic_load(&naps[shared].longest);

        while (longest < until && !atomic_compare_exchange_weak(&naps[shared].longest, &longest, until))
                ;
        if (rc == -ETIMEDOUT)
                atomic_fetch_add(&naps[shared].alone, 1);
        return rc;
}

#define NAP(name, shared)                                                                                              \
        int __real_ammap__##name(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);                   \
        int __wrap_ammap__##name(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);                   \
        int __wrap_ammap__##name(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)                    \
        {                                                                                                              \
                int64_t until = deadline - now_ns();                                                                   \
                                                                                                                       \
                step_in();                                                                                             \
                return nap(shared, until, __real_ammap__##name(word, expected, deadline));                             \
        }

NAP(os_wait, 0)
NAP(os_wait_shared, 1)

/* --- The calls ------------------------------------------------------------------ */

static int run_call(ammap_t *map, int call, unsigned char *bytes)
{
        uint64_t generation = 0, value;
        ammap_mut_slice_t mut = { 0 };
        ammap_slice_t slice = { 0 };
        ammap_holder_t holders[4];
        ammap_t *copy = NULL;
        int rc;

        if (call < OP_COUNT && (call <= OP_TIMED_READ || (call >= OP_UPDATE && call <= OP_TIMED_UPDATE)))
                return op_bytes((enum op)call, map, 0, bytes, LENGTH, SOON);
        if (call < OP_COUNT)
                return op_run((enum op)call, map, 0, LENGTH, SOON);
        switch ((enum more)call) {
        case DO_LONGER:
                return ammap_resize(map, MUCH);
        case DO_SHORTER:
                return ammap_resize(map, SHORT);
        case DO_CLONE:
                rc = ammap_clone(map, &copy);
                ck_assert_int_eq(ammap_free(copy), 0);
                return rc;
        case DO_CHANGE:
                return ammap_wait_change(map, 0, SHORT, &generation, 0);
        case DO_CHANGE_SOON:
                rc = ammap_wait_change(map, 0, SHORT, &generation, 0);
                return rc < 0 ? rc : ammap_wait_change(map, 0, SHORT, &generation, MS);
        case DO_DOWNGRADE:
                rc = ammap_timed_as_mut_slice(map, 0, LENGTH, SOON, &mut);
                if (rc == 0)
                        rc = ammap_mut_slice_downgrade(&mut, &slice);
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
                return rc;
        case DO_RECOVER_SLICE:
                rc = ammap_recover_as_mut_slice(map, 0, LENGTH, &mut);
                ammap_mut_slice_release(&mut);
                return rc > 0 ? 0 : rc;
        case DO_RECOVER_ALL:
                return ammap_recover(map);
        case DO_DISCARD:
                return ammap_discard(map, 0, LENGTH);
        case DO_HOLDERS:
                rc = ammap_holders(map, 0, SHORT, holders, COUNT_OF(holders));
                return rc > 0 ? 0 : rc;
        case DO_FREEZING:
                return ammap_freeze(map);
        case DO_LOAD:
                return ammap_load_u64(map, 8, &value);
        case DO_FLUSH:
                return ammap_flush(map, 0, LENGTH);
        case CALLS:
                break;
        }
        return INT_MIN;
}

static bool may_give(int call, enum intruder intruder, int rc)
{
        switch (rc) {
        case 0:
                return true;
        case AMMAP_ERR_BUSY:
                return call >= OP_COUNT || op_tries((enum op)call);
        case AMMAP_ERR_TIMEOUT:
                return call >= OP_COUNT || op_is_timed((enum op)call);
        case AMMAP_ERR_BOUNDS:
                return intruder == RESIZES;
        case AMMAP_ERR_READ_ONLY:
                return intruder == FREEZES;
        case AMMAP_ERR_OWNER_DEAD:
                return intruder == DIES;
        case AMMAP_ERR_FORMAT:
        case AMMAP_ERR_FAULT:
                return intruder == CUTS;
        case AMMAP_ERR_UNSUPPORTED:
                return call == DO_CLONE || call == DO_LOAD || call == DO_DOWNGRADE || call == DO_FLUSH;
        default:
                return false;
        }
}

struct other {
        struct remote remote;
        struct peer there; /* a thread's end of the pipes */
        pthread_t thread;
        bool is_thread;
};

static void *other_body(void *argument)
{
        struct other *other = argument;

        remote_serve(&other->there, &other->remote);
        return NULL;
}

static void other_start(struct other *other, const struct place *place, bool thread)
{
        int there[2], back[2];

        other->is_thread = thread;
        if (!thread) {
                remote_start(&other->remote, place);
                return;
        }
        ck_assert_int_eq(pipe2(there, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(back, O_CLOEXEC), 0);
        other->remote.board = board_of(sizeof(*other->remote.board));
        other->remote.place = place;
        other->remote.peer = (struct peer){ 0, back[0], there[1] };
        other->there = (struct peer){ 0, there[0], back[1] };
        ck_assert_int_eq(pthread_create(&other->thread, NULL, other_body, other), 0);
        peer_expect(&other->remote.peer, 'r');
}

/* A thread frees the map, too. */
static void other_end(struct other *other, ammap_t *map)
{
        if (other->is_thread) {
                remote_send(&other->remote, (struct command){ .order = DO_END });
                ck_assert_int_eq(pthread_join(other->thread, NULL), 0);
                peer_close(&other->remote.peer);
                peer_close(&other->there);
                munmap(other->remote.board, sizeof(*other->remote.board));
        } else {
                remote_end(&other->remote);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

static ammap_t *make_place(const struct scene *scene, const struct path *path, struct place *place)
{
        ammap_t *map;

        place->way = scene->file ? OPEN : INHERIT;
        place->path = path->text;
        place->options.share = scene->share;
        place->options.lanes = scene->lanes;
        place->options.capacity = MUCH;
        place->options.allow_faults = scene->file != NO_FILE;
        if (scene->file)
                ck_assert_int_eq(open_in_file(scene->file, &map, path->text, LENGTH, &place->options), 0);
        else
                map = make_with(LENGTH, &place->options);
        place->options.lanes = place->options.capacity = 0;
        place->map = map;
        return map;
}

/* What the other one was told gave. */
static bool may_be_told(enum intruder intruder, int rc)
{
        return rc == 0 || intruder == CUTS || rc == AMMAP_ERR_BUSY || rc == AMMAP_ERR_BOUNDS ||
               rc == AMMAP_ERR_READ_ONLY || rc == AMMAP_ERR_OWNER_DEAD;
}

/* Once, with the other one at one place: whether there was such a place. */
static bool try_at(const struct scene *scene, int call, enum intruder intruder, long at)
{
        const char *name = call < OP_COUNT ? op_name((enum op)call) : more_names[call - OP_COUNT];
        struct place place = { INHERIT, NULL, -1, NULL, AMMAP_OPTIONS_INIT };
        struct path path = path_of("between");
        ammap_t *map = make_place(scene, &path, &place);
        unsigned char bytes[LENGTH];
        struct other other;
        int rc;

        if (!scene->first)
                ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 1), 0);
        other_start(&other, &place, scene->thread);
        memset(bytes, 2, sizeof(bytes));
        memset(&between, 0, sizeof(between));
        between.remote = &other.remote;
        between.path = path.text;
        between.intruder = intruder;
        between.at = at;
        between.held_at = -1;
        is_led = true;
        rc = run_call(map, call, bytes);
        is_led = false;
        ck_assert_msg(may_give(call, intruder, rc), "%s, %s, a %s before call %ld of lib/os: %d (%s)", scene->name,
                      name, intruder_names[intruder], at, rc, ammap_errname(rc));
        if (rc == 0)
                ck_assert_msg(is_all(bytes, bytes[0], LENGTH) || (intruder == CUTS && is_all(bytes, bytes[0], SHORT)),
                              "%s, %s, a %s before call %ld of lib/os: torn", scene->name, name,
                              intruder_names[intruder], at);
        if (between.busy)
                between.result = remote_reply(&other.remote).result;
        between.busy = false;
        ck_assert_msg(may_be_told(intruder, between.result), "%s, %s: the %s before call %ld of lib/os: %d (%s)",
                      scene->name, name, intruder_names[intruder], at, between.result, ammap_errname(between.result));
        if (intruder == HOLDS || intruder == HOLDS_MUT)
                remote_release(&other.remote);
        if (intruder == DIES && call != DO_FREEZING)
                ck_assert_int_eq(ammap_recover(map), 0);
        if (intruder < FREEZES && call != DO_FREEZING) {
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, SHORT, 0), 0);
                ck_assert_int_eq(remote_op(&other.remote, OP_TRY_MUT_SLICE, 0, SHORT, 0), 0);
        }
        other_end(&other, map);
        return between.count > at;
}

DEFINE_LOOP_TEST("between", calls_hold_whatever_comes_between, 0, COUNT_OF(scenes))
{
        long places = 0;

        for (int call = 0; call < CALLS; call++)
                for (enum intruder intruder = 0; intruder < INTRUDERS; intruder++)
                        if (intruder != CUTS || scenes[_i].file == BY_KERNEL)
                                for (long at = 0; try_at(&scenes[_i], call, intruder, at); at++)
                                        places++;
        printf("test-os-between: %s: %ld places\n", scenes[_i].name, places);
        ck_assert_int_gt(places, 0);
}

/* --- How soon a death is noticed -------------------------------------------------- *
 *
 * Nobody wakes those who wait for one that is killed.  Of a process somebody looks every 10 ms, and tells the others,
 * so that nobody learns it by a long sleep of its own.  How busy the machine is does not count: how long a sleep was
 * to be does, and that somebody ended it.
 */

static void *wait_for_bytes(void *argument)
{
        return (void *)(intptr_t)op_run(OP_SLICE, argument, 0, SHORT, 0);
}

/* How many of them found the death by a sleep of their own. */
static long learn_of_a_death(const struct scene *scene)
{
        enum { MANY = 16 };
        struct place place = { INHERIT, NULL, -1, NULL, AMMAP_OPTIONS_INIT };
        struct path path = path_of("between");
        ammap_t *map = make_place(scene, &path, &place);
        struct task tasks[MANY];
        struct remote remote;
        void *rc;

        remote_start(&remote, &place);
        remote_hold(&remote, true, 0, SHORT);
        for (int i = 0; i < MANY; i++)
                task_start(&tasks[i], wait_for_bytes, map);
        for (int i = 0; i < MANY; i++)
                ck_assert(task_sleeps(&tasks[i]));
        atomic_store(&naps[0].alone, 0);
        remote_kill(&remote);
        for (int i = 0; i < MANY; i++) {
                ck_assert_int_eq(pthread_join(tasks[i].thread, &rc), 0);
                ck_assert_int_eq((intptr_t)rc, AMMAP_ERR_OWNER_DEAD);
        }
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        return atomic_load(&naps[0].alone);
}

DEFINE_LOOP_TEST("between", many_learn_soon_of_a_death, 0, COUNT_OF(scenes))
{
        const int64_t until = now_ns() + patience_ns(); /* one that looks may not come to run for a second */
        long alone;

        if (scenes[_i].thread || scenes[_i].file == BY_KERNEL)
                return;
        atomic_store(&naps[1].longest, 0);
        do
                alone = learn_of_a_death(&scenes[_i]);
        while (alone > 0 && now_ns() < until);
        ck_assert_int_eq(alone, 0);
        ck_assert_int_gt(atomic_load(&naps[1].longest), 0);
        ck_assert_int_le(atomic_load(&naps[1].longest), 10 * MS);
}

int main(void)
{
        return run_sharing("os-between");
}
