/* test-failing.c - each call of the system's fails, with each errno that it can have
 *
 * SPDX-License-Identifier: MIT
 *
 * Every call of the library is made on every kind of map by a thread that is new to it, and
 * the calls of the system are counted.  Then it is made again for each of them and each
 * errno of its manual page, on a map like the first one, and that one call fails (inject.h);
 * memory that cannot be allocated counts as one.
 *
 * What must hold.  The library's call succeeds, and does what it does otherwise; or it
 * returns what it returns otherwise, the system's code, or a code that ammap.h has for it.
 * Then the map is as it was: its length, each byte, its seals, and all that ammap_stat
 * tells; what the call was to make is NULL, zeros or -1; another thread has all lanes of the
 * maps; and the same call, made again, does what it does otherwise.  In the end no mapping, no
 * descriptor and no block of memory is left.
 *
 * With AMMAP_TEST_LONG nothing is left out, and all is done again on systems that lack
 * something; else a part of it, another one each time and for each kind of map.
 */
#define WORLD_PAGES 16
#include "calls.h"

#if TEST_OS_LINUX && defined(__LP64__)

#include "inject.h"

#include <malloc.h>

/* --- Kinds of maps ------------------------------------------------------------------ */

enum became { AS_MADE, FROZEN, IMPORTED, TO_BE_READ };

static const struct variant {
        struct world_kind kind;
        enum became became;
} variants[] = {
        { { "private", AMMAP_PRIVATE, NO_FILE, 1, AMMAP_NO }, AS_MADE },
        { { "private, lanes", AMMAP_PRIVATE, NO_FILE, WORLD_LANES, AMMAP_NO }, AS_MADE },
        { { "private, options tried", AMMAP_PRIVATE, NO_FILE, 2, AMMAP_TRY }, AS_MADE },
        { { "private, options wanted", AMMAP_PRIVATE, NO_FILE, 2, AMMAP_MUST }, AS_MADE },
        { { "private, frozen", AMMAP_PRIVATE, NO_FILE, 2, AMMAP_NO }, FROZEN },
        { { "shared", AMMAP_SHARED, NO_FILE, 1, AMMAP_NO }, AS_MADE },
        { { "shared, lanes, options tried", AMMAP_SHARED, NO_FILE, WORLD_LANES, AMMAP_TRY }, AS_MADE },
        { { "shared, options wanted", AMMAP_SHARED, NO_FILE, 2, AMMAP_MUST }, AS_MADE },
        { { "shared, imported", AMMAP_SHARED, NO_FILE, 2, AMMAP_NO }, IMPORTED },
        { { "shared, frozen", AMMAP_SHARED, NO_FILE, 2, AMMAP_NO }, FROZEN },
        { { "file", AMMAP_SHARED, BY_KERNEL, 1, AMMAP_NO }, AS_MADE },
        { { "file, lanes", AMMAP_SHARED, BY_KERNEL, WORLD_LANES, AMMAP_NO }, AS_MADE },
        { { "file, imported", AMMAP_SHARED, BY_KERNEL, 2, AMMAP_NO }, IMPORTED },
        { { "file, frozen", AMMAP_SHARED, BY_KERNEL, 2, AMMAP_NO }, FROZEN },
        { { "file, words", AMMAP_SHARED, BY_WORDS, 1, AMMAP_NO }, AS_MADE },
        { { "file, words, lanes", AMMAP_SHARED, BY_WORDS, WORLD_LANES, AMMAP_NO }, AS_MADE },
        { { "raw", AMMAP_RAW, NO_FILE, 2, AMMAP_NO }, AS_MADE },
        { { "raw, imported, options tried", AMMAP_RAW, NO_FILE, 2, AMMAP_TRY }, IMPORTED },
        { { "raw, frozen", AMMAP_RAW, NO_FILE, 2, AMMAP_NO }, FROZEN },
        { { "shared, to be read", AMMAP_SHARED, NO_FILE, 2, AMMAP_NO }, TO_BE_READ },
        { { "file, to be read", AMMAP_SHARED, BY_KERNEL, 2, AMMAP_NO }, TO_BE_READ },
        { { "file, words, to be read", AMMAP_SHARED, BY_WORDS, 2, AMMAP_NO }, TO_BE_READ },
        { { "raw, to be read", AMMAP_RAW, NO_FILE, 2, AMMAP_NO }, TO_BE_READ },
};

static void begin(struct world *world, const struct variant *variant)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *imported;

        world_begin(world, &variant->kind);
        if (variant->became == IMPORTED || variant->became == TO_BE_READ) {
                options.read_only = variant->became == TO_BE_READ;
                options.share = variant->kind.share;
                options.allow_faults = variant->kind.file;
                ck_assert_int_eq(ammap_import(&imported, ammap_fd(world->map), &options), 0);
                ck_assert_int_eq(ammap_free(world->map), 0);
                world->map = imported;
        } else if (variant->became == FROZEN) {
                ck_assert_int_eq(ammap_freeze(world->map), 0);
        }
}

/* --- What a map is ------------------------------------------------------------------- */

struct snapshot {
        int rc, seals;
        ammap_stat_t stat;
        unsigned char bytes[(WORLD_PAGES + 2) * 4096];
};

static void take_snapshot(ammap_t *map, struct snapshot *snapshot)
{
        memset(snapshot, 0, sizeof(*snapshot));
        snapshot->stat = (ammap_stat_t)AMMAP_STAT_INIT;
        ck_assert_int_eq(ammap_stat(map, &snapshot->stat), 0);
        snapshot->stat.resident = snapshot->stat.huge = snapshot->stat.locked = 0; /* hints */
        snapshot->stat.slots = 0;                                                  /* threads come and go */
        snapshot->seals = snapshot->stat.share == AMMAP_PRIVATE ? 0 : fcntl(ammap_fd(map), F_GET_SEALS);
        ck_assert_uint_le(snapshot->stat.length, sizeof(snapshot->bytes));
        snapshot->rc = ammap_read_into(map, 0, snapshot->bytes, (size_t)snapshot->stat.length);
}

/* Where two differ; NULL: they are the same. */
static const char *difference(const struct snapshot *one, const struct snapshot *two)
{
        if (one->rc != two->rc)
                return "can be read otherwise";
        if (one->stat.length != two->stat.length)
                return "has another length";
        if (one->seals != two->seals)
                return "has other seals";
        if (memcmp(one->bytes, two->bytes, sizeof(one->bytes)) != 0)
                return "has other bytes";
        if (one->stat.slices != two->stat.slices || one->stat.views != two->stat.views)
                return "has other slices or views";
        return memcmp(&one->stat, &two->stat, sizeof(one->stat)) == 0 ? NULL : "is another one by ammap_stat";
}

static struct {
        const struct variant *variant;
        const struct injection *lacks; /* what the system has not, for all calls */
        const struct api_call *call;
        int plain; /* what it answers where nothing is refused */
        int taken; /* and what who wants all lanes is answered */
        struct snapshot before, after, now;
        unsigned tried, failed, half, wrong, next;
} run;

/* Memory of a file that is gone, or a disk that is full, is found out in the middle of a write.
 * So is it where the kernel does not copy, and the pipe that does it instead fails. */
static bool may_be_half_written(const struct injection *refusal)
{
        const enum inject_point point = refusal->point;

        if (!run.variant->kind.file)
                return false;
        if (run.lacks->point == INJECT_process_vm &&
            (point == INJECT_pipe2 || point == INJECT_write || point == INJECT_read))
                return true;
        return (point == INJECT_process_vm && refusal->error == EFAULT) ||
               (point == INJECT_fallocate && (refusal->error == ENOSPC || refusal->error == EDQUOT));
}

/* All lanes can be had, at once. */
static int take_all(ammap_t *map)
{
        ammap_mut_slice_t mut_slice;
        ammap_slice_t slice;
        int rc = ammap_try_as_mut_slice(map, 0, ammap_len(map), &mut_slice);

        ammap_mut_slice_release(&mut_slice);
        if (rc != AMMAP_ERR_READ_ONLY)
                return rc;
        rc = ammap_try_as_slice(map, 0, ammap_len(map), &slice);
        ammap_slice_release(&slice);
        return rc;
}

/* --- A trial --------------------------------------------------------------------------- */

struct trial {
        const struct api_call *call;
        struct world *world;
        const struct injection *refusal;
        sem_t made, looked;
        int rc, again;
        unsigned refused;
        unsigned seen[INJECT_COUNT];
        size_t kept;
        bool ready; /* what the call needs first could be had */
        bool clean; /* what it was to make is not there */
};

/* What a call needs first, and what a failed one has used up. */
static int prepare_again(const struct api_call *call, struct world *world)
{
        char byte;

        if (call->run == run_recv)
                while (recv(world->socket[1], &byte, 1, MSG_DONTWAIT) > 0)
                        ;
        else if (call->run != run_mut_slice_detach && call->run != run_mut_slice_downgrade)
                return 0;
        return call->prepare(world);
}

static bool made_nothing(const struct api_call *call, const struct world *world)
{
        if (call->run == run_free || call->run == run_import || call->run == run_slice_detach ||
            call->run == run_holders)
                return true;
        return !world->made && slice_is_zero(&world->slice) && slice_is_zero(&world->mut_slice) &&
               view_is_zero(&world->u32) && view_is_zero(&world->u64) && (call->run != run_export || world->fd == -1);
}

static void *try_call(void *argument)
{
        struct trial *trial = argument;
        const struct api_call *call = trial->call;

        trial->ready = !call->prepare || call->prepare(trial->world) >= 0;
        if (trial->ready) {
                inject_begin(trial->refusal, run.lacks);
                trial->rc = call->run(trial->world);
                trial->refused = inject_end();
        }
        memcpy(trial->seen, inject.seen, sizeof(trial->seen));
        trial->kept = inject.kept;
        trial->clean = trial->rc >= 0 || made_nothing(call, trial->world);
        trial->again = trial->rc;
        sem_post(&trial->made);
        sem_wait_surely(&trial->looked);
        if (trial->rc < 0 && trial->refused > 0) {
                thread_check(prepare_again(call, trial->world) >= 0);
                inject_begin(NULL, run.lacks);
                trial->again = call->run(trial->world);
                inject_end();
        }
        ammap_slice_release(&trial->world->slice); /* they would keep others from reading */
        ammap_mut_slice_release(&trial->world->mut_slice);
        sem_post(&trial->made);
        sem_wait_surely(&trial->looked);
        world_tidy(trial->world);
        return NULL;
}

/* --- What must hold --------------------------------------------------------------------- */

static bool is_one_of(int error, const int *errors)
{
        while (*errors && *errors != error)
                errors++;
        return *errors != 0;
}

/* The codes that ammap.h has for what the system says. */
static bool may_answer(const struct injection *refusal, int rc)
{
        static const int absent[] = { ENOSYS, EPERM, EACCES, EINVAL, ENOTTY, ENOENT, EOPNOTSUPP, ENOPROTOOPT, 0 };
        static const int taken[] = { EAGAIN, EACCES, 0 };

        if (rc >= 0 || rc == run.plain)
                return true;
        if (refusal->error == EINTR)
                return false;
        if (rc == AMMAP_ERR_UNSUPPORTED)
                return is_one_of(refusal->error, absent);
        if (rc == AMMAP_ERR_FAULT)
                return refusal->error == EFAULT || refusal->error == EBADF;
        /* A lock is another's, it says; that of a pipe no kernel says. */
        if ((refusal->point == INJECT_fcntl_lock || run.lacks->point == INJECT_process_vm) &&
            is_one_of(refusal->error, taken))
                return rc == AMMAP_ERR_BUSY || rc == AMMAP_ERR_TIMEOUT || rc == -EAGAIN || rc == -refusal->error;
        if (refusal->point == INJECT_fcntl_seals && refusal->error == EINVAL) /* nothing that has seals, or this one */
                return rc == AMMAP_ERR_UNSEALED || (run.call->run == run_seal && rc == -EINVAL);
        if (refusal->point == INJECT_mremap && refusal->error == EINVAL && rc == -EPERM)
                return run.variant->became == FROZEN; /* it is mapped from the file, which is sealed */
        return rc == -refusal->error;
}

static void complain(const struct injection *refusal, const char *what, int rc)
{
        run.wrong++;
        printf("ammap_%s, %s: %s at call %u of %s: %s%s%s\n", run.call->name, run.variant->kind.name,
               refusal->error ? ammap_errname(-refusal->error) : "nothing", refusal->nth,
               refusal->point == INJECT_COUNT ? "none" : inject_points[refusal->point].name, what, rc < 0 ? " " : "",
               rc < 0 ? ammap_errname(rc) : "");
}

/* Slices that the call left alive are in the way. */
static bool holds_lanes(const struct api_call *call)
{
        return call->run == run_slice_detach || call->run == run_holders || call->run == run_slice_release;
}

static void check_failed(struct trial *trial)
{
        const char *what;
        int rc;

        if (!may_answer(trial->refusal, trial->rc))
                complain(trial->refusal, "returns", trial->rc);
        if (!trial->clean)
                complain(trial->refusal, "leaves something made", 0);
        take_snapshot(trial->world->map, &run.now);
        if (run.now.rc == AMMAP_ERR_OWNER_DEAD && may_be_half_written(trial->refusal)) {
                run.half++;
                if (ammap_recover(trial->world->map) < 0 || run.now.stat.length != run.before.stat.length)
                        complain(trial->refusal, "leaves more than half a write", 0);
        } else if ((what = difference(&run.before, &run.now))) {
                complain(trial->refusal, what, 0);
        }
        if (holds_lanes(run.call))
                return;
        rc = take_all(trial->world->map);
        if (rc != run.taken)
                complain(trial->refusal, "leaves the map", rc);
        rc = take_all(trial->world->other);
        if (rc < 0)
                complain(trial->refusal, "leaves the other map", rc);
}

/* A map that was made can be used. */
static void check_made(const struct trial *trial)
{
        ammap_t *made = trial->world->made;
        unsigned char bytes[100];
        int rc;

        if (!made)
                return;
        rc = ammap_update_region(made, 5, "made", 4);
        if (rc < 0 && rc != AMMAP_ERR_READ_ONLY)
                complain(trial->refusal, "makes a map that is not to be written", rc);
        rc = ammap_read_into(made, 0, bytes, sizeof(bytes));
        if (rc < 0)
                complain(trial->refusal, "makes a map that is not to be read", rc);
}

enum { DESCRIPTORS = 64 };

static struct {
        struct footprint print;
        long blocks;
        bool open[DESCRIPTORS];
} started;

static void note_start(void)
{
        started.print = footprint();
        started.blocks = atomic_load(&inject_blocks);
        for (int fd = 0; fd < DESCRIPTORS; fd++)
                started.open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static void close_what_is_left(void)
{
        for (int fd = 0; fd < DESCRIPTORS; fd++)
                if (!started.open[fd])
                        close(fd);
}

static void check_leaks(const struct trial *trial)
{
        struct footprint ended = footprint();

        if (TEST_HEAP && !TEST_SANITIZED && !under_valgrind() && ended.bytes > started.print.bytes + trial->kept)
                complain(trial->refusal, "leaves a mapping", 0);
        if (ended.descriptors != started.print.descriptors) {
                /* A number of which the system does not say whose it is is not closed. */
                if (trial->refusal->point != INJECT_fstat || run.call->run != run_free)
                        complain(trial->refusal, "leaves a descriptor", 0);
                close_what_is_left();
        }
        if (atomic_load(&inject_blocks) > started.blocks)
                complain(trial->refusal, "leaves memory", 0);
        note_start();
}

/* Who waits for a word may wake for no reason. */
static bool is_spurious(const struct trial *trial)
{
        return trial->again == 0 && (run.call->run == run_wait_u32 || run.call->run == run_wait_u32_peer);
}

/* Make the call, of a map that is as the others were. */
static void try_once(const struct injection *refusal, struct trial *trial)
{
        struct world world;
        struct task task;

        begin(&world, run.variant);
        memset(trial, 0, sizeof(*trial));
        trial->call = run.call;
        trial->world = &world;
        trial->refusal = refusal;
        sem_init(&trial->made, 0, 0);
        sem_init(&trial->looked, 0, 0);
        task_start(&task, try_call, trial);
        sem_wait_surely(&trial->made);
        if (refusal && trial->refused > 0) {
                run.tried++;
                run.failed += trial->rc < 0 && trial->rc != run.plain;
                if (trial->rc < 0)
                        check_failed(trial);
        }
        sem_post(&trial->looked);
        sem_wait_surely(&trial->made);
        if (!refusal) {
                run.plain = trial->rc;
                take_snapshot(world.map, &run.after);
        } else if (trial->refused > 0) {
                const char *what;

                take_snapshot(world.map, &run.now);
                if (run.now.rc == AMMAP_ERR_OWNER_DEAD && may_be_half_written(refusal)) {
                        run.half++; /* by a release, which says nothing */
                        ck_assert_int_eq(ammap_recover(world.map), 0);
                        take_snapshot(world.map, &run.now);
                }
                /* What was to be tried is gone without; and so is a seal where the system does not say whose number it
                 * is. */
                if (run.call->run == run_freeze &&
                    (refusal->point == INJECT_fcntl_seal || refusal->point == INJECT_fcntl_get ||
                     refusal->point == INJECT_fstat))
                        run.now.seals = run.after.seals;
                if (run.variant->kind.more == AMMAP_TRY && refusal->point == INJECT_mlock)
                        run.now.stat.secret = run.after.stat.secret;
                if (trial->again != run.plain && (run.plain < 0 || trial->again < 0) && !is_spurious(trial))
                        complain(refusal, "returns once more", trial->again);
                else if ((what = difference(&run.after, &run.now)))
                        complain(refusal, what, 0);
                if (trial->rc >= 0)
                        check_made(trial);
        }
        sem_post(&trial->looked);
        task_join(&task);
        world_end(&world);
        sem_destroy(&trial->made);
}

/* How the map is where the call has not been made. */
static void note_before(void)
{
        struct world world;

        begin(&world, run.variant);
        if (holds_lanes(run.call))
                ck_assert_int_ge(run_as_slice(&world), 0);
        take_snapshot(world.map, &run.before);
        run.taken = take_all(world.map);
        world_end(&world);
}

/* Refused for ever, some answers would be waited for for ever. */
static bool is_passing(enum inject_point point, int error)
{
        return error == EINTR || error == EAGAIN || error == EEXIST || point == INJECT_futex_wait ||
               (point == INJECT_fcntl_lock && error == EACCES);
}

/* EINVAL says that there is mremap, and that it doubles no mapping (valgrind's): the file is mapped then. */
static bool is_contrary(const struct injection *refusal)
{
        return run.lacks->point == INJECT_mremap && refusal->point == INJECT_mremap && refusal->error == EINVAL;
}

/* Those that the library's own code answers always, of the others some. */
static bool is_chosen(const struct injection *refusal)
{
        return is_in_part(run.next++, 17) || refusal->error == EINTR || refusal->error == EACCES ||
               refusal->point >= INJECT_pthread_mutexattr_init;
}

static void try_call_in_every_way(void)
{
        static const struct injection none = { INJECT_COUNT, 0, 0 };
        struct trial plain, trial;

        try_once(NULL, &plain); /* what a first one leaves for good */
        if (!plain.ready)
                return; /* there is no such thing of this map */
        note_before();
        try_once(NULL, &plain);
        note_start();
        try_once(NULL, &trial);
        plain.refusal = &none;
        check_leaks(&plain);
        for (enum inject_point point = 0; point < INJECT_COUNT; point++)
                for (size_t e = 0; e < INJECT_ERRORS && inject_points[point].errors[e]; e++)
                        for (unsigned nth = plain.seen[point] > 1 ? 0 : 1; nth <= plain.seen[point]; nth++) {
                                struct injection refusal = { point, inject_points[point].errors[e], nth };

                                if ((nth == 0 && is_passing(point, refusal.error)) || is_contrary(&refusal) ||
                                    !is_chosen(&refusal))
                                        continue;
                                try_once(&refusal, &trial);
                                check_leaks(&trial);
                        }
}

/* Systems that lack something, and what is done instead can fail, too. */
static const struct injection lacking[] = {
        { INJECT_COUNT, 0, 0 },        { INJECT_process_vm, ENOSYS, 0 }, { INJECT_mremap, ENOSYS, 0 },
        { INJECT_madvise, EINVAL, 0 }, { INJECT_pidfd_open, ENOSYS, 0 },
};

static void try_variant(const struct variant *variant, const struct injection *lacks)
{
        memset(&run, 0, sizeof(run));
        run.variant = variant;
        run.lacks = lacks;
        run.next = (unsigned)(variant - variants);
#ifdef M_ARENA_MAX /* of glibc */
        mallopt(M_ARENA_MAX, 1);
#endif
        for (size_t c = 0; c < COUNT_OF(api_calls); c++) {
                run.call = &api_calls[c];
                if (call_is_for(run.call, &variant->kind))
                        try_call_in_every_way();
        }
        printf("%s%s%s: %u refusals, of which %u made a call fail, %u within a write\n", variant->kind.name,
               lacks->error ? ", without " : "", lacks->error ? inject_points[lacks->point].name : "", run.tried,
               run.failed, run.half);
        ck_assert_uint_gt(run.failed, 0);
        ck_assert_uint_eq(run.wrong, 0);
}

DEFINE_LOOP_TEST("failing", each_call, 0, COUNT_OF(variants))
{
        try_variant(&variants[_i], &lacking[0]);
}

DEFINE_LOOP_TEST_IF(test_is_long(), "failing", each_call_where_something_lacks, COUNT_OF(variants),
                    COUNT_OF(variants) * COUNT_OF(lacking))
{
        try_variant(&variants[(size_t)_i % COUNT_OF(variants)], &lacking[(size_t)_i / COUNT_OF(variants)]);
}

/* --- A child that was left out ---------------------------------------------------------------- */

static long blocks_of_map;

static void free_what_is_left_out(void *argument)
{
        long before = atomic_load(&inject_blocks);
        int rc = ammap_free(argument);

        child_must_int((int)(before - atomic_load(&inject_blocks)), (int)blocks_of_map);
        child_must_int(rc, 0);
}

/* What was noted of its pages goes with it, too. */
DEFINE_TEST("failing", a_map_that_was_left_out_leaves_no_memory)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.fork = AMMAP_FORK_OMIT;
        for (int round = 0; round < 2; round++) { /* the first map of a process leaves something */
                long before = atomic_load(&inject_blocks);
                ammap_t *map;
                int made = ammap_new_with(&map, PAGE, &options), locked = ammap_mlock(map, 0, PAGE);

                blocks_of_map = atomic_load(&inject_blocks) - before;
                ck_assert_int_eq(made, 0);
                ck_assert_int_eq(locked, 0);
                if (round > 0)
                        child_passes(free_what_is_left_out, map);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- The first call of a process ------------------------------------------------------------ */

struct first {
        int rc, again;
        unsigned refused, descriptors;
        unsigned seen[INJECT_COUNT];
        bool ended;
};

static const struct variant *first_variant;

static struct world first_world(void)
{
        struct world world;

        memset(&world, 0, sizeof(world));
        world.kind = &first_variant->kind;
        world.size = WORLD_PAGES * PAGE;
        world.path = path_of("first");
        return world;
}

static int make_first(ammap_t **map)
{
        struct world world = first_world();

        return world_make(&world, map, "new");
}

static void first_tidy(void)
{
        struct world world = first_world();

        unlink(world_file(&world, "new").text);
}

/* Of what there is in a system or not one call is believed, for the life of the process; and
 * that there is no memory for a mutex, no libc says. */
static bool first_may_fail(const struct injection *refusal, int rc)
{
        return rc == AMMAP_ERR_UNSUPPORTED &&
               (refusal->point == INJECT_get_robust_list || refusal->point == INJECT_pthread_mutex_init ||
                refusal->point == INJECT_pthread_mutexattr_init);
}

static void *write_all(void *argument)
{
        ammap_t *map = argument;

        thread_check_int(ammap_fill(map, 0, ammap_len(map), 7), 0);
        return NULL;
}

/* In a child of a process that has not used the library: it calls nothing of Check's. */
static void first_call(const struct injection *refusal, struct first *first)
{
        ammap_t *map = NULL;
        unsigned char byte = 0;
        pthread_t thread;

        alarm(test_time());
        inject_begin(refusal, NULL);
        first->rc = make_first(&map);
        first->refused = inject_end();
        memcpy(first->seen, inject.seen, sizeof(first->seen));
        if (first->rc < 0 && map)
                _exit(3);
        first->again = first->rc < 0 ? make_first(&map) : first->rc;
        if (first->again >= 0) {
                child_must_int(pthread_create(&thread, NULL, write_all, map), 0);
                child_must_int(pthread_join(thread, NULL), 0);
                child_must_int(thread_failures, 0);
                child_must_int(ammap_read_into(map, 9, &byte, 1), 0);
                child_must_int(byte, 7);
                child_must_int(ammap_free(map), 0);
        }
        for (int fd = 0; fd < DESCRIPTORS; fd++)
                first->descriptors += fcntl(fd, F_GETFD) >= 0;
        first->ended = true;
        _exit(0);
}

static void try_first(const struct injection *refusal, struct first *first)
{
        pid_t child;
        int status;

        memset(first, 0, sizeof(*first));
        first_tidy();
        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                first_call(refusal, first);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        if (status != 0 || !first->ended)
                complain(refusal, "ends the process", 0);
}

DEFINE_LOOP_TEST("failing", first_of_a_process, 0, COUNT_OF(variants))
{
        static const struct injection none = { INJECT_COUNT, 0, 0 };
        static const struct api_call call = { "new_with", NULL, run_new_with, 0 };
        struct first *plain = board_of(sizeof(*plain)), *first = board_of(sizeof(*first));

        memset(&run, 0, sizeof(run));
        run.variant = first_variant = &variants[_i];
        run.lacks = &lacking[0];
        run.call = &call;
        run.next = (unsigned)_i;
        if (first_variant->became != AS_MADE)
                return;
        try_first(&none, plain);
        ck_assert_int_eq(plain->rc, 0);
        for (enum inject_point point = 0; point < INJECT_COUNT; point++)
                for (size_t e = 0; e < INJECT_ERRORS && inject_points[point].errors[e]; e++)
                        for (unsigned nth = 1; nth <= plain->seen[point]; nth++) {
                                struct injection refusal = { point, inject_points[point].errors[e], nth };

                                if (!is_chosen(&refusal))
                                        continue;
                                try_first(&refusal, first);
                                run.tried += first->refused;
                                if (!may_answer(&refusal, first->rc) && !first_may_fail(&refusal, first->rc))
                                        complain(&refusal, "returns", first->rc);
                                if (first->again < 0 &&
                                    !(point == INJECT_get_robust_list && first_may_fail(&refusal, first->again)))
                                        complain(&refusal, "returns once more", first->again);
                                if (first->descriptors != plain->descriptors && point != INJECT_fstat)
                                        complain(&refusal, "leaves a descriptor", 0);
                        }
        printf("%s: %u refusals in the first call of a process\n", first_variant->kind.name, run.tried);
        ck_assert_uint_gt(run.tried, 0);
        ck_assert_uint_eq(run.wrong, 0);
        munmap(plain, sizeof(*plain));
        munmap(first, sizeof(*first));
}

#else

DEFINE_NO_TEST("the calls are counted on 64-bit Linux alone");

#endif

int main(void)
{
        setvbuf(stdout, NULL, _IOLBF, 0);
        test_time_extra = test_is_long() ? 1200 : 60;
        return run_tests("failing", share_case);
}
