/* test-meanwhile.c - one thing goes another way at one place of a call
 *
 * SPDX-License-Identifier: MIT
 *
 * A call of the library makes calls of lib/os.  Here one of those, which a test names and counts, is refused with a
 * code of the system's; or before it goes on somebody else acts: another thread, another process, a fork, one who cuts
 * the file.  What test-failing and test-os-between try everywhere needs a fresh map, or one deed; the cases here are
 * those that need a map that was left in some state, two deeds, or a certain moment.
 */
#include "share.h"

#include "lock/file_head.h"
#include "lock/waiter.h"
#include "map/map.h"
#include "os/os.h"

enum { LENGTH = 720, LANES = 3, MUCH = 768 };

/* --- A place in a call ---------------------------------------------------------- */

/* clang-format off */
#define POINTS(point) \
        point(add_seals) point(at_fork) point(fence_heavy) point(file) point(find_locked) point(fork_check) point(is_file) point(lock_bytes) point(map) \
        point(next_data) point(open) point(peek) point(peek_pieces) point(peer_begin) point(peer_ended) point(poke) \
        point(poke_pieces) point(protect) point(random) point(read_at) point(reopen) point(resize_file) \
        point(unlock_bytes) point(write_at) point(getpid)
/* clang-format on */

enum point {
#define NUMBER(name) AT_##name,
        POINTS(NUMBER) POINT_COUNT
};

static _Thread_local bool is_led;

static struct {
        enum point point;
        long nth; /* 0: all of them */
        int rc;   /* instead of what it does; 0: it does it */
        void (*act)(void);
        long seen, done;
        int64_t leap; /* that the clock makes each time it is looked at */
        _Atomic int64_t leapt;
        bool no_memory, no_slots;
        void (*locks)(enum os_lock lock); /* before one, and after an unlock */
} plan = { .point = POINT_COUNT };

static void plan_next(enum point point, long nth, int rc, void (*act)(void))
{
        plan.point = point;
        plan.nth = nth;
        plan.rc = rc;
        plan.act = act;
        plan.seen = plan.done = 0;
        is_led = true;
}

/* How often it came to what was planned. */
static long plan_end(void)
{
        is_led = false;
        return plan.done;
}

/* As another one than the caller's. */
static void in_a_thread(void *(*body)(void *))
{
        struct task task;

        task_start(&task, body, NULL);
        task_join(&task);
}

static int step(enum point point)
{
        if (!is_led || point != plan.point)
                return 0;
        plan.seen++;
        if (plan.nth != 0 && plan.seen != plan.nth)
                return 0;
        plan.done++;
        is_led = false;
        if (plan.act)
                plan.act();
        is_led = true;
        return plan.rc;
}

#define STEP(type, name, parameters, arguments)                                                                        \
        type __real_ammap__os_##name parameters;                                                                       \
        type __wrap_ammap__os_##name parameters;                                                                       \
        type __wrap_ammap__os_##name parameters                                                                        \
        {                                                                                                              \
                int rc = step(AT_##name);                                                                              \
                return rc != 0 ? (type)rc : __real_ammap__os_##name arguments;                                         \
        }

STEP(int, add_seals, (int fd, unsigned seals), (fd, seals))
STEP(int, at_fork, (void (*before)(void), void (*after)(void), void (*child)(void)), (before, after, child))
STEP(int, file, (int fd, struct os_file *file), (fd, file))
STEP(int, find_locked, (int fd, struct os_locked *locked), (fd, locked))
STEP(int, is_file, (int fd, uint64_t device, uint64_t inode), (fd, device, inode))
STEP(int, map, (void **address, size_t length), (address, length))
STEP(int, next_data, (int fd, uint64_t offset, uint64_t *start, uint64_t *end), (fd, offset, start, end))
STEP(int, open, (const char *path, bool write, bool create), (path, write, create))
STEP(int, peek, (void *to, const void *from, size_t length), (to, from, length))
STEP(int, peek_pieces, (const struct os_piece *pieces, size_t count), (pieces, count))
STEP(int, poke_pieces, (const struct os_piece *pieces, size_t count), (pieces, count))
STEP(int, peer_begin, (struct os_peer * peer, int32_t pid), (peer, pid))
STEP(bool, peer_ended, (const struct os_peer *peer), (peer))
STEP(int, protect, (void *address, size_t length, enum os_access access), (address, length, access))
STEP(int, random, (void *bytes, size_t length), (bytes, length))
STEP(int, read_at, (int fd, uint64_t offset, void *buffer, size_t length), (fd, offset, buffer, length))
STEP(int, reopen, (int fd, bool write), (fd, write))
STEP(int, resize_file, (int fd, uint64_t size), (fd, size))
STEP(int, write_at, (int fd, uint64_t offset, const void *bytes, size_t length), (fd, offset, bytes, length))

int __real_ammap__os_poke(void *to, const void *from, size_t length, size_t *done);
int __wrap_ammap__os_poke(void *to, const void *from, size_t length, size_t *done);
int __wrap_ammap__os_poke(void *to, const void *from, size_t length, size_t *done)
{
        int rc = step(AT_poke);

        *done = 0;
        return rc != 0 ? rc : __real_ammap__os_poke(to, from, length, done);
}

int __real_ammap__os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock);
int __wrap_ammap__os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock);
int __wrap_ammap__os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock)
{
        int rc = step(lock == OS_UNLOCK ? AT_unlock_bytes : AT_lock_bytes);

        if (plan.locks && lock != OS_UNLOCK)
                plan.locks(lock);
        if (rc == 0)
                rc = __real_ammap__os_lock_bytes(fd, offset, count, lock);
        if (plan.locks && lock == OS_UNLOCK)
                plan.locks(lock);
        return rc;
}

bool __real_ammap__os_fork_check(void);
bool __wrap_ammap__os_fork_check(void);
bool __wrap_ammap__os_fork_check(void)
{
        step(AT_fork_check);
        return __real_ammap__os_fork_check();
}

/* Of libc: where the library asks whether it is in a forked child. */
pid_t __real_getpid(void) __attribute__((weak));
pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
        step(AT_getpid);
        return __real_getpid();
}

int64_t __real_ammap__os_now(void);
int64_t __wrap_ammap__os_now(void);
int64_t __wrap_ammap__os_now(void)
{
        return __real_ammap__os_now() + atomic_fetch_add(&plan.leapt, plan.leap) + plan.leap;
}

/* The kernel's clock has not leapt. */
int __real_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int __wrap_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int __wrap_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return __real_ammap__os_wait(word, expected, plan.leap > 0 ? deadline - plan.leapt : deadline);
}

void __real_ammap__os_fence_heavy(void);
void __wrap_ammap__os_fence_heavy(void);
void __wrap_ammap__os_fence_heavy(void)
{
        step(AT_fence_heavy);
        __real_ammap__os_fence_heavy();
}

size_t __real_ammap__os_slot_word(void);
size_t __wrap_ammap__os_slot_word(void);
size_t __wrap_ammap__os_slot_word(void)
{
        return plan.no_slots ? 0 : __real_ammap__os_slot_word();
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
        return plan.no_memory ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
        return plan.no_memory ? NULL : __real_calloc(count, size);
}

/* --- Maps in files --------------------------------------------------------------- */

static ammap_options_t file_options(uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.lanes = lanes;
        options.capacity = lanes ? MUCH : 0;
        options.allow_faults = true;
        return options;
}

static ammap_t *make_file(enum in_file by, const struct path *path, uint64_t lanes)
{
        const ammap_options_t options = file_options(lanes);
        ammap_t *map;

        ck_assert_int_eq(open_in_file(by, &map, path->text, LENGTH, &options), 0);
        return map;
}

static ammap_t *open_again(const struct path *path, bool read_only)
{
        ammap_options_t options = file_options(0);
        ammap_t *map;

        options.read_only = read_only;
        ck_assert_int_eq(ammap_open(&map, path->text, 0, &options), 0);
        return map;
}

/* Another process that has the file open by itself. */
static void remote_open(struct remote *remote, struct place *place, const struct path *path)
{
        *place = (struct place){ OPEN, NULL, -1, path->text, file_options(0) };
        remote_start(remote, place);
}

/* A thread ends with a mut slice. */
static void leave_dead(ammap_t *map, uint64_t offset, uint64_t length)
{
        struct holder holder;

        holder_start(&holder, map, offset, length, true);
        holder_vanish(&holder);
}

/* --- Opening ----------------------------------------------------------------------- */

/* Who makes a file, or makes it longer, does not wait for ever: no lock of these is held for long. */
DEFINE_TEST("opening", nobody_is_waited_for_for_ever)
{
        struct path path = path_of("waiting");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES), *again;
        const ammap_options_t options = file_options(0);
        int fd = open(path.text, O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(os_lock_byte(fd, FILE_OPENING, OS_LOCK_WRITE), 0);
        plan.leap = SECOND;
        ck_assert_int_eq(ammap_open(&again, path.text, 0, &options), AMMAP_ERR_TIMEOUT);
        ck_assert_ptr_null(again);
        ck_assert_int_eq(os_lock_byte(fd, FILE_OPENING, OS_UNLOCK), 0);
        ck_assert_int_eq(os_lock_byte(fd, FILE_LANES + LANES, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(ammap_resize(map, MUCH), AMMAP_ERR_BUSY);
        plan.leap = 0;
        close(fd);
        ck_assert_int_eq(ammap_resize(map, MUCH), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static const struct refusal {
        enum point point;
        int rc;
} refusals_of_opening[] = {
        { AT_lock_bytes, -ENOSYS }, { AT_read_at, -EIO }, { AT_random, -ENOSYS }, { AT_resize_file, -EFBIG },
        { AT_write_at, -EIO },      { AT_file, -EIO },    { AT_reopen, -EMFILE }, { AT_open, -EMFILE },
};

enum { NEW, FOUND, HALF_MADE, ON_WAYS };

static void begin_way(int way, const struct path *path, const char magic[8])
{
        int fd;

        if (way == FOUND)
                return;
        unlink(path->text);
        if (way != HALF_MADE)
                return;
        fd = open(path->text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(write(fd, magic, 8), 8);
        close(fd);
}

/* A map is opened, or the system's code comes back with no map, and the next one opens it. */
DEFINE_LOOP_TEST("opening", what_an_opening_is_refused, 0, COUNT_OF(refusals_of_opening))
{
        const struct refusal *refusal = &refusals_of_opening[_i];
        struct path path = path_of("refused");
        long refused = 0, failed = 0;

        for (int careful = 0; careful < 2; careful++)
                for (int way = 0; way < ON_WAYS; way++)
                        for (long nth = 1, done = 1; done > 0; nth++) {
                                ammap_options_t options = file_options(LANES);
                                ammap_t *map;
                                int rc;

                                options.allow_faults = !careful;
                                if (nth == 1)
                                        unlink(path.text);
                                ck_assert_int_eq(way == FOUND ? ammap_open(&map, path.text, LENGTH, &options) : 0, 0);
                                ck_assert_int_eq(way == FOUND ? ammap_free(map) : 0, 0);
                                begin_way(way, &path, FORMAT_MAGIC);
                                plan_next(refusal->point, nth, refusal->rc, NULL);
                                rc = ammap_open(&map, path.text, LENGTH, &options);
                                done = plan_end();
                                refused += done;
                                failed += rc < 0;
                                ck_assert(rc == 0 || rc == refusal->rc ||
                                          (rc == AMMAP_ERR_UNSUPPORTED && refusal->rc == -ENOSYS));
                                ck_assert(!map == (rc < 0));
                                ck_assert_int_eq(ammap_free(map), 0);
                                ck_assert_int_eq(ammap_open(&map, path.text, LENGTH, &options), 0);
                                ck_assert_int_eq(op_run(OP_UPDATE, map, 0, LENGTH, 0), 0);
                                ck_assert_int_eq(ammap_free(map), 0);
                        }
        if (refusal->point != AT_reopen)
                ck_assert_int_gt(failed, 0);
        ck_assert(refused > 0 || refusal->point == AT_reopen);
}

/* The same of a raw map, whose file gets its length once. */
DEFINE_LOOP_TEST("opening", what_a_raw_map_is_refused, 0, COUNT_OF(refusals_of_opening))
{
        const struct refusal *refusal = &refusals_of_opening[_i];
        ammap_options_t options = file_options(0);

        options.share = AMMAP_RAW;
        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("raw");
                ammap_t *map;
                int rc;

                plan_next(refusal->point, nth, refusal->rc, NULL);
                rc = ammap_open(&map, path.text, LENGTH, &options);
                done = plan_end();
                ck_assert(rc == 0 || rc == refusal->rc || (rc == AMMAP_ERR_UNSUPPORTED && refusal->rc == -ENOSYS));
                ck_assert(!map == (rc < 0));
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_open(&map, path.text, LENGTH, &options), 0);
                ck_assert_uint_eq(ammap_len(map), LENGTH);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* A file that is there and may not be written is opened to be read. */
DEFINE_TEST("opening", what_may_not_be_written_is_read)
{
        static const int errors[] = { -EACCES, -EPERM, -EROFS, -ETXTBSY };
        struct path path = path_of("readable");
        const ammap_options_t options = file_options(0);
        ammap_t *map = make_file(BY_KERNEL, &path, 1);

        ck_assert_int_eq(ammap_free(map), 0);
        for (size_t i = 0; i < COUNT_OF(errors); i++) {
                plan_next(AT_open, 1, errors[i], NULL);
                ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), 0);
                ck_assert_int_eq(plan_end(), 1);
                ck_assert(stat_of(map).read_only);
                ck_assert_int_eq(ammap_free(map), 0);
        }
        plan_next(AT_open, 1, -EMFILE, NULL);
        ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), -EMFILE);
        plan_end();
}

static void *make_one(void *argument)
{
        ammap_t *map;

        thread_check_int(ammap_new(&map, 1), 0);
        thread_check_int(ammap_free(map), 0);
        return argument;
}

static void make_one_elsewhere(void)
{
        in_a_thread(make_one);
}

/* Of a process that has no map yet: what is refused is tried again, and two threads may come at once. */
DEFINE_TEST("opening", the_first_call_of_a_process)
{
        struct path path = path_of("first");
        ammap_options_t options = file_options(1);
        int fd = memory_file(MUCH, F_SEAL_SHRINK), pair[2];
        ammap_t *map;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        options.share = AMMAP_RAW;
        options.capacity = 0;
        plan_next(AT_at_fork, 0, -ENOMEM, NULL);
        if (ammap_new(&map, 1) == -ENOMEM) { /* else it has: the tests share a process */
                ck_assert_int_eq(ammap_open(&map, path.text, LENGTH, &options), -ENOMEM);
                ck_assert_int_eq(ammap_import(&map, fd, &options), -ENOMEM);
                ck_assert_int_eq(ammap_recv(&map, pair[0], &options), -ENOMEM);
                ck_assert_int_eq(ammap_trim(0), -ENOMEM);
                ck_assert_ptr_null(map);
                ck_assert_int_eq(plan_end(), 5);
                plan_next(AT_fork_check, 1, 0, make_one_elsewhere);
        } else {
                ck_assert_int_eq(ammap_free(map), 0);
        }
        ck_assert_int_eq(ammap_import(&map, fd, &options), 0);
        plan_end();
        ck_assert_int_eq(ammap_free(map), 0);
        close(fd);
        close(pair[0]);
        close(pair[1]);
}

static ammap_t *first_map;

static void *make_first(void *argument)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.fork = AMMAP_FORK_OMIT;
        thread_check_int(ammap_new_with(&first_map, LENGTH, &options), 0);
        return argument;
}

static void make_first_elsewhere(void)
{
        in_a_thread(make_first);
}

/* Another thread makes the first map meanwhile: it is no child that leaves out what a fork is to leave out. */
DEFINE_TEST("opening", a_trim_before_the_first_map)
{
        plan_next(AT_getpid, 1, 0, make_first_elsewhere);
        ck_assert_int_eq(ammap_trim(0), 0);
        plan_end();
        if (!first_map)
                make_first(NULL);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, first_map, 0, LENGTH, 0), 0);
        ck_assert_int_eq(ammap_free(first_map), 0);
}

/* What stands in a header must fit together. */
DEFINE_TEST("opening", headers_that_lie)
{
        struct path path = path_of("liar");
        ammap_options_t options = file_options(0);
        const uint64_t none = 0, few = LANES - 1;
        ammap_t *map = make_shared(LENGTH, MUCH, LANES), *again;
        int fd = export_of(map, AMMAP_READ | AMMAP_WRITE);

        options.share = AMMAP_SHARED;
        ck_assert_int_eq(pwrite(fd, &none, sizeof(none), offsetof(struct format_head, capacity)), sizeof(none));
        ck_assert_int_eq(ammap_import(&again, fd, &options), AMMAP_ERR_FORMAT);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);

        map = make_file(BY_KERNEL, &path, LANES);
        fd = open(path.text, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pwrite(fd, &few, sizeof(few), offsetof(struct format_head, capacity)), sizeof(few));
        ck_assert_int_eq(ammap_open(&again, path.text, 0, &options), AMMAP_ERR_FORMAT);
        ck_assert_ptr_null(again);
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* An import says what the map is to be like, too. */
DEFINE_TEST("opening", another_capacity_is_refused)
{
        struct path path = path_of("capacity");
        ammap_options_t options = file_options(0);
        ammap_t *map = make_file(BY_KERNEL, &path, LANES), *again;

        options.capacity = MUCH + 1;
        ck_assert_int_eq(ammap_import(&again, ammap_fd(map), &options), AMMAP_ERR_INVALID);
        options.capacity = MUCH;
        ck_assert_int_eq(ammap_import(&again, ammap_fd(map), &options), 0);
        ck_assert_int_eq(ammap_free(again), 0);

        /* Where nothing can be opened anew it is the pages alone that cannot be written. */
        options = shared_options();
        options.read_only = true;
        ck_assert_int_eq(ammap_free(map), 0);
        map = make_shared(LENGTH, MUCH, 1);
        plan_next(AT_reopen, 0, -ENOSYS, NULL);
        ck_assert_int_eq(ammap_import(&again, ammap_fd(map), &options), 0);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert(stat_of(again).read_only);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* No thread's end is told of: there are no locks of words, and a file is locked by the kernel. */
DEFINE_TEST("opening", where_there_are_no_slots)
{
        struct path path = path_of("no-slots"), words = path_of("words");
        const ammap_options_t options = file_options(0), shared = shared_options();
        const uint32_t none = 0;
        ammap_t *map = make_shared(LENGTH, MUCH, 1), *other;
        int fd;

        ck_assert_int_eq(ammap_free(make_file(BY_WORDS, &words, 1)), 0);
        plan.no_slots = true;
        ck_assert_int_eq(ammap_new_with(&other, LENGTH, &shared), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_import(&other, ammap_fd(map), &shared), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_open(&other, words.text, 0, &options), AMMAP_ERR_FORMAT);
        fd = open(words.text, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pwrite(fd, &none, sizeof(none), offsetof(struct format_head, lock_word)), sizeof(none));
        close(fd);
        ck_assert_int_eq(ammap_open(&other, words.text, 0, &options), AMMAP_ERR_UNSUPPORTED);
        ck_assert_ptr_null(other);
        ck_assert_int_eq(ammap_open(&other, path.text, LENGTH, &options), 0);
        ck_assert_int_eq(op_run(OP_UPDATE, other, 0, LENGTH, 0), 0);
        ck_assert_uint_eq(stat_of(other).slots_max, 0);
        ck_assert_int_eq(ammap_free(other), 0);
        plan.no_slots = false;
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Seals --------------------------------------------------------------------------- */

/* What cannot be sealed says so. */
DEFINE_TEST("seals", what_cannot_be_sealed)
{
        struct path path = path_of("raw");
        ammap_options_t options = file_options(0);
        int plain = memfd_create("test", MFD_CLOEXEC), fd;
        char name[64];
        ammap_t *map;

        options.share = AMMAP_RAW;
        ck_assert_int_eq(ammap_open(&map, path.text, LENGTH, &options), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_GROW), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_free(map), 0);

        ck_assert_int_eq(ftruncate(plain, MUCH), 0);
        ck_assert_int_eq(ammap_import(&map, plain, &options), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_GROW), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_free(map), 0);

        /* A map with a header in memory that has seals, which nobody asked for. */
        options = file_options(1);
        ck_assert_int_eq(ftruncate(plain, 0), 0);
        snprintf(name, sizeof(name), "/proc/self/fd/%d", plain);
        ck_assert_int_eq(open_by_kernel(&map, name, LENGTH, &options), 0);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(ammap_free(map), 0);
        close(plain);

        /* It is sealed against writers, and so another descriptor of it does. */
        map = make_shared(LENGTH, MUCH, 1);
        plan_next(AT_reopen, 0, -ENOSYS, NULL);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), 0);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_int_ne(fcntl(fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE, 0);
        close(fd);
        plan_next(AT_add_seals, 0, -EINVAL, NULL); /* a seal that this kernel has not: it says so itself */
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_GROW), -EINVAL);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What could not be exported to be read is not sealed for it. */
DEFINE_TEST("seals", an_export_for_which_there_is_no_descriptor)
{
        ammap_t *maps[] = { make_shared(LENGTH, MUCH, 1), make_raw(LENGTH) };

        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                int before = fcntl(ammap_fd(maps[i]), F_GET_SEALS), fd;

                plan_next(AT_reopen, 0, -EMFILE, NULL);
                ck_assert_int_eq(ammap_export(maps[i], AMMAP_READ, &fd), -EMFILE);
                ck_assert_int_eq(plan_end(), 1);
                ck_assert_int_eq(fd, -1);
                ck_assert_int_eq(fcntl(ammap_fd(maps[i]), F_GET_SEALS), before);
                ck_assert_int_eq(ammap_export(maps[i], AMMAP_READ | AMMAP_WRITE, &fd), 0);
                close(fd);
                ck_assert_int_eq(ammap_export(maps[i], AMMAP_READ, &fd), 0);
                ck_assert_int_ne(fcntl(fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE, 0);
                close(fd);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}

/* --- Refused in the middle --------------------------------------------------------------- */

enum deed {
        UPDATES,
        FILLS,
        READS,
        GROWS,
        SHRINKS,
        FREEZES,
        CLONES,
        RECOVERS,
        RECOVERS_A_SLICE,
        DOWNGRADES,
        LISTS,
        WAITS,
        DEEDS
};

static int run_one(enum deed deed, ammap_t *map)
{
        unsigned char bytes[LENGTH];
        ammap_mut_slice_t mut = { 0 };
        ammap_slice_t slice = { 0 };
        ammap_holder_t holders[LANES];
        uint64_t generation = 0;
        ammap_t *copy = NULL;
        int rc = 0;

        memset(bytes, 7, sizeof(bytes));
        switch (deed) {
        case UPDATES:
                return ammap_update_region(map, 0, bytes, LENGTH / 4);
        case FILLS:
                return ammap_fill(map, 0, LENGTH, 7);
        case READS:
                return ammap_read_into(map, 0, bytes, LENGTH);
        case GROWS:
                return ammap_resize(map, MUCH);
        case SHRINKS:
                return ammap_resize(map, LENGTH / 2);
        case FREEZES:
                return ammap_freeze(map);
        case CLONES:
                rc = ammap_clone(map, &copy);
                ck_assert(!copy == (rc < 0));
                ck_assert_int_eq(ammap_free(copy), 0);
                return rc;
        case RECOVERS:
                return ammap_recover(map);
        case RECOVERS_A_SLICE:
                rc = ammap_recover_as_mut_slice(map, 0, LENGTH, &mut);
                ammap_mut_slice_release(&mut);
                return rc;
        case DOWNGRADES:
                rc = ammap_as_mut_slice(map, 0, LENGTH, &mut);
                if (rc == 0)
                        rc = ammap_mut_slice_downgrade(&mut, &slice);
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
                return rc;
        case LISTS:
                rc = ammap_holders(map, 0, LENGTH, holders, COUNT_OF(holders));
                return rc > 0 ? 0 : rc;
        case WAITS:
                rc = ammap_wait_change(map, 0, LENGTH / 4, &generation, 0);
                return rc < 0 ? rc : ammap_wait_change(map, 0, LENGTH / 4, &generation, 1);
        case DEEDS:
                break;
        }
        return INT_MIN;
}

static const struct refusal refusals_of_files[] = {
        { AT_lock_bytes, -ENOLCK },  { AT_peek, -ENOMEM },   { AT_poke, -ENOMEM },   { AT_peek_pieces, -ENOMEM },
        { AT_poke_pieces, -ENOMEM }, { AT_next_data, -EIO }, { AT_reopen, -EMFILE }, { AT_file, -EIO },
};

/* Who has died in the map. */
enum { NOBODY, IN_ONE_LANE, IN_TWO, STATES };

static void try_refusal(const struct refusal *refusal, enum deed deed, int state, uint64_t lanes)
{
        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("middle");
                ammap_t *map = make_file(BY_KERNEL, &path, lanes), *again = open_again(&path, false);
                uint64_t length;
                int rc;

                ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), 0);
                if (state != NOBODY)
                        leave_dead(map, 0, state == IN_ONE_LANE ? 1 : LENGTH);
                plan_next(refusal->point, nth, refusal->rc, NULL);
                rc = run_one(deed, map);
                done = plan_end();
                ck_assert_msg(rc == 0 || rc == refusal->rc || rc == AMMAP_ERR_OWNER_DEAD ||
                                      (rc == 1 && deed == RECOVERS_A_SLICE) || rc == AMMAP_ERR_BUSY ||
                                      (rc == AMMAP_ERR_TIMEOUT && deed == WAITS),
                              "call %d refused at %d, %ld, state %d: %s", (int)deed, (int)refusal->point, nth, state,
                              ammap_errname(rc));
                /* A call that returned 0 has left no dead lane, whoever looks. */
                if (rc == 0 && state == NOBODY && deed != FREEZES)
                        for (int i = 0; i < 2; i++)
                                ck_assert_msg(op_run(OP_TRY_MUT_SLICE, i ? again : map, 0, LENGTH / 2, 0) == 0,
                                              "call %d refused at %d, %ld, and left", (int)deed, (int)refusal->point,
                                              nth);
                /* Both handles have all of it, once what died is recovered from. */
                ck_assert_int_eq(ammap_recover(map), 0);
                length = ammap_len(map);
                ck_assert(length == LENGTH || length == (deed == GROWS ? MUCH : deed == SHRINKS ? LENGTH / 2 : LENGTH));
                ck_assert_uint_eq(ammap_len(again), length);
                ck_assert(holds(again, 0, length < LENGTH ? length : LENGTH, 7));
                if (deed != FREEZES) {
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, length, 0), 0);
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, 0, length, 0), 0);
                        ck_assert_int_eq(ammap_resize(again, MUCH), 0);
                        ck_assert(length == MUCH || holds(map, length, MUCH - length, 0));
                }
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_LOOP_TEST("middle", what_a_call_is_refused, 0, COUNT_OF(refusals_of_files))
{
        for (enum deed deed = 0; deed < DEEDS; deed++)
                for (int state = 0; state < STATES; state++)
                        try_refusal(&refusals_of_files[_i], deed, state, state == NOBODY ? 1 : LANES + (uint64_t)state);
}

/* What is given back, and then is refused once, is given back: lanes whose locks the kernel has as one lock, too. */
DEFINE_LOOP_TEST("middle", an_unlock_is_refused, 0, 2)
{
        const bool writes = _i != 0;

        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("unlock");
                ammap_t *map = make_file(BY_KERNEL, &path, LANES), *again = open_again(&path, false);
                ammap_slice_t slice[LANES];
                ammap_mut_slice_t mut[LANES];
                const uint64_t lane = MUCH / LANES;

                for (uint64_t i = 0; i < LANES; i++)
                        ck_assert_int_eq(writes ? ammap_as_mut_slice(map, i * lane, 1, &mut[i])
                                                : ammap_as_slice(map, i * lane, 1, &slice[i]),
                                         0);
                plan_next(AT_unlock_bytes, nth, -ENOLCK, NULL);
                ck_assert_int_eq(writes ? ammap_mut_slice_release(&mut[1]) : ammap_slice_release(&slice[1]), 0);
                done = plan_end();
                ck_assert(done > 0 || nth > 1);
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, lane, 1, 0), 0);
                for (uint64_t i = 0; i < LANES; i += 2) {
                        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, i * lane, 1, 0), AMMAP_ERR_DEADLOCK);
                        ck_assert_int_eq(writes ? ammap_mut_slice_release(&mut[i]) : ammap_slice_release(&slice[i]), 0);
                }
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, 0, LENGTH, 0), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Pages that a growth has locked, and a shrink, are unlocked with it, and noted so.  _i: there is no memory for the note. */
DEFINE_LOOP_TEST_IF(!TEST_SANITIZED, "middle", what_is_locked_goes_with_the_length, 0, 2)
{
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        const unsigned long before = status_bytes("VmLck:");
        struct path path = path_of("locked");
        ammap_options_t options = file_options(1);
        const struct locked *locked;
        ammap_t *map;
        long refused = 0;

        options.capacity = 8 * page;
        options.lock = AMMAP_MUST;
        ck_assert_int_eq(open_in_file(BY_KERNEL, &map, path.text, page, &options), 0);
        for (long nth = 1, done = 1; done > 0; nth++) {
                int rc;

                ck_assert_uint_eq(status_bytes("VmLck:"), before + page);
                plan_next(AT_poke, nth, -ENOMEM, NULL);
                rc = ammap_resize(map, 8 * page);
                done = plan_end();
                if (rc < 0) {
                        refused++;
                        ck_assert_int_eq(ammap_recover(map), 0);
                        ck_assert_uint_eq(ammap_len(map), page);
                }
        }
        ck_assert_int_gt(refused, 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 8 * page);
        for (uint64_t at = 1; _i && at < 8; at += 2)
                ck_assert_int_eq(ammap_munlock(map, at * page, page), 0);
        locked = map->region.locked;
        ck_assert_uint_eq(locked->count, _i ? 4 : 1);
        plan.no_memory = _i && locked->count == locked->room;
        ck_assert_int_eq(ammap_resize(map, 2 * page), 0);
        plan.no_memory = false;
        ck_assert_uint_eq(status_bytes("VmLck:"), before + (_i ? page : 2 * page));
        if (!_i)
                ck_assert_uint_eq(locked->stretch[0].to, 2 * page);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before);
}

/* --- Death in the middle of a shrink ------------------------------------------------------- */

static const struct path *shrunk_path;
static long dies_at;

static void die(void)
{
        _exit(0);
}

static void shrink_and_die(void *argument)
{
        const ammap_options_t options = file_options(0);
        ammap_t *map;

        (void)argument;
        child_must_int(ammap_open(&map, shrunk_path->text, 0, &options), 0);
        plan_next(AT_poke, dies_at, 0, die);
        child_must_int(ammap_resize(map, LENGTH / 2), 0);
        _exit(2);
}

/* It is mended by one who may write, as often as that is refused, and not by others. */
static void mend(ammap_t *map, const struct path *path)
{
        ammap_t *reader = open_again(path, true);
        int rc = AMMAP_ERR_OWNER_DEAD;

        ck_assert_int_eq(ammap_recover(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_free(reader), 0);
        for (size_t i = 0; i < COUNT_OF(refusals_of_files) && rc < 0; i++)
                for (long nth = 1, done = 1; done > 0 && rc < 0; nth++) {
                        const struct refusal *refusal = &refusals_of_files[i];

                        plan_next(refusal->point, nth, refusal->rc, NULL);
                        rc = ammap_recover(map);
                        done = plan_end();
                        ck_assert(rc == 0 || rc == refusal->rc);
                }
        ck_assert_int_eq(ammap_recover(map), 0);
}

DEFINE_LOOP_TEST("middle", who_dies_in_a_shrink, 1, LANES + 1)
{
        long half = 0;
        int status = 0;

        for (dies_at = 1; status == 0; dies_at++) {
                struct path path = path_of("shrunk");
                ammap_t *map = make_file(BY_KERNEL, &path, (uint64_t)_i);
                uint64_t length;
                int rc;

                ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), 0);
                shrunk_path = &path;
                status = child_status(shrink_and_die, NULL);
                ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 1);
                rc = ammap_resize(map, ammap_len(map));
                ck_assert(rc == 0 || (rc == AMMAP_ERR_OWNER_DEAD && status == 0));
                if (rc < 0) {
                        half++;
                        mend(map, &path);
                }
                ck_assert_int_eq(ammap_recover(map), 0); /* the lanes that it had */
                length = ammap_len(map);
                ck_assert(length == LENGTH || length == LENGTH / 2);
                ck_assert_int_eq(ammap_resize(map, MUCH), 0);
                ck_assert(holds(map, 0, length, 7) && holds(map, length, MUCH - length, 0));
                ck_assert_int_eq(ammap_free(map), 0);
        }
        ck_assert_int_gt(half, 0);
}

/* A dead lane, for one who may not write it. */
DEFINE_TEST("middle", readers_do_not_recover)
{
        struct path path = path_of("reader");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES), *reader = open_again(&path, true);

        ck_assert_int_eq(ammap_recover(reader), 0);
        leave_dead(map, 0, 1);
        ck_assert_int_eq(ammap_recover(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_recover(reader), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The living are in no one's way who recovers, whoever of them looks, and where that is refused. */
DEFINE_TEST("middle", the_living_are_not_recovered_from)
{
        struct path path = path_of("living");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES);
        struct place place;
        struct remote remote;
        ammap_slice_t slice;

        remote_open(&remote, &place, &path);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        remote_hold(&remote, true, LENGTH - 1, 1);
        ck_assert_int_eq(ammap_recover(map), 0);
        for (long nth = 1, done = 1; done > 0; nth++) {
                int rc;

                plan_next(AT_peek, nth, -ENOMEM, NULL);
                rc = ammap_recover(map);
                done = plan_end();
                ck_assert(rc == 0 || rc == -ENOMEM);
        }
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, LENGTH - 1, 1, 0), AMMAP_ERR_BUSY);
        remote_release(&remote);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, LENGTH - 1, 1, 0), 0);
        ck_assert_int_eq(ammap_slice_release(&slice), 0);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Meanwhile ------------------------------------------------------------------------------- */

static struct {
        ammap_t *map, *writer;
        const struct remote *remote;
        const struct path *path;
        uint64_t length;
        long times;
} other;

static void *recover_other(void *argument)
{
        thread_check_int(ammap_recover(other.map), 0);
        return argument;
}

static void recover_meanwhile(void)
{
        in_a_thread(recover_other);
}

/* A lane is recovered from while somebody looks who is dead. */
DEFINE_LOOP_TEST("meanwhile", one_recovers_while_another_looks, 0, 2)
{
        long alive = 0;

        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("looks");
                ammap_t *map = make_file(BY_KERNEL, &path, LANES);
                ammap_holder_t holder;
                uint64_t generation = 0;
                int rc;

                other.map = open_again(&path, false);
                leave_dead(map, 0, 1);
                plan_next(AT_peek, nth, 0, recover_meanwhile);
                if (_i) {
                        rc = ammap_holders(map, 0, 1, &holder, 1);
                        ck_assert(rc == 0 || (rc == 1 && holder.hold == AMMAP_HOLD_DEAD));
                        alive += rc == 0;
                } else {
                        ck_assert_int_eq(ammap_wait_change(map, 0, 1, &generation, 0), 0);
                        rc = ammap_wait_change(map, 0, 1, &generation, 0);
                        ck_assert(rc == AMMAP_ERR_OWNER_DEAD || rc == AMMAP_ERR_TIMEOUT || rc == 0);
                        alive += rc != AMMAP_ERR_OWNER_DEAD;
                }
                done = plan_end();
                ck_assert_int_eq(ammap_recover(map), 0);
                ck_assert_int_eq(ammap_free(other.map), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
        ck_assert_int_gt(alive, 0);
}

static void leave_and_come_back(void)
{
        remote_release(other.remote);
        remote_hold(other.remote, true, 0, 1);
}

/* A writer that leaves and comes back is none that died. */
DEFINE_TEST("meanwhile", a_writer_comes_back)
{
        struct path path = path_of("back");
        struct remote remote;
        struct place place;

        other.map = make_file(BY_KERNEL, &path, 1);
        remote_open(&remote, &place, &path);
        other.remote = &remote;
        for (long nth = 1; nth < 8; nth++) {
                remote_hold(&remote, true, 0, 1);
                plan_next(AT_peek, nth, 0, leave_and_come_back);
                ck_assert_int_eq(ammap_recover(other.map), 0);
                ck_assert_int_eq(plan_end(), 1);
                ck_assert_int_eq(op_run(OP_TRY_UPDATE, other.map, 0, 1, 0), AMMAP_ERR_BUSY);
                remote_release(&remote);
        }
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

static void cut_file(void)
{
        ck_assert_int_eq(truncate(other.path->text, 0), 0);
}

/* Cut between two looks: it is no map. */
DEFINE_TEST("meanwhile", cut_while_its_header_is_read)
{
        struct path path = path_of("header");
        const ammap_options_t options = file_options(0);
        ammap_t *map;

        ck_assert_int_eq(ammap_free(make_file(BY_KERNEL, &path, 1)), 0);
        other.path = &path;
        plan_next(AT_read_at, 1, 0, cut_file);
        ck_assert_int_eq(ammap_open(&map, path.text, 0, &options), AMMAP_ERR_FORMAT);
        ck_assert_ptr_null(map);
        ck_assert_int_eq(plan_end(), 1);
}

/* The file is emptied, and a map made in it, after one has looked whose file it is and before he writes. */
static void make_anew(void)
{
        const ammap_options_t options = file_options(LANES);
        ammap_t *map;

        cut_file();
        plan.leap = 10 * MS;
        ck_assert_int_eq(ammap_open(&map, other.path->text, LENGTH, &options), AMMAP_ERR_BUSY);
        plan.leap = 0;
        ck_assert_ptr_null(map);
}

/* He writes nothing of another map's, nor is one made until he has left. */
DEFINE_LOOP_TEST("meanwhile", made_anew_while_one_writes, 0, 4)
{
        struct path path = path_of("anew");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES), *fresh;
        const bool sets_length = _i == 3;
        int rc;

        other.path = &path;
        plan_next(_i == 0 ? AT_poke_pieces : AT_poke, 1, 0, make_anew);
        if (sets_length)
                rc = ammap_resize(map, MUCH);
        else
                rc = _i == 0 ? ammap_update_region(map, 0, "x", 1) : ammap_fill(map, 0, _i == 1 ? 1 : LENGTH, 7);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_int_eq(rc, AMMAP_ERR_FAULT);
        fresh = make_file(BY_KERNEL, &path, LANES);
        ck_assert_uint_eq(ammap_len(fresh), LENGTH);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, fresh, 0, LENGTH, 0), 0);
        ck_assert(holds(fresh, 0, LENGTH, 0));
        ck_assert_int_eq(ammap_resize(fresh, MUCH), 0);
        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), AMMAP_ERR_FORMAT);
        ck_assert_int_eq(ammap_free(fresh), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* ... and while a length is mended: there is nothing to be made zero any more, nor to be recovered. */
DEFINE_TEST("meanwhile", cut_while_it_is_mended)
{
        for (int point = AT_next_data; point <= AT_peek; point += AT_peek - AT_next_data)
                for (long nth = 1; nth < 4; nth++) {
                        struct path path = path_of("mended");
                        ammap_t *map = make_file(BY_KERNEL, &path, 1);
                        int rc;

                        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), 0);
                        shrunk_path = other.path = &path;
                        dies_at = 4; /* the length stands in the file */
                        child_passes(shrink_and_die, NULL);
                        ck_assert_int_eq(ammap_resize(map, MUCH), AMMAP_ERR_OWNER_DEAD);
                        plan_next((enum point)point, nth, 0, cut_file);
                        rc = ammap_recover(map);
                        ck_assert(plan_end() > 0 ? rc == AMMAP_ERR_FAULT || rc == AMMAP_ERR_FORMAT : rc == 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* The length is being changed: that is nothing to recover from. */
DEFINE_TEST("meanwhile", one_recovers_while_it_grows)
{
        struct path path = path_of("grows");

        other.map = make_file(BY_KERNEL, &path, 1);
        plan_next(AT_next_data, 1, 0, recover_meanwhile);
        ck_assert_int_eq(ammap_resize(other.map, MUCH), 0);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_uint_eq(ammap_len(other.map), MUCH);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

static void resize_meanwhile(void)
{
        ck_assert_int_eq(remote_resize(other.remote, other.length), 0);
}

/* One copy of the length is half of each of two, as it is where the kernel's copy is cut within the word. */
static struct {
        uint64_t right, torn;
} lengths;

static void put_length(uint64_t length)
{
        int fd = open(other.path->text, O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(pwrite(fd, &length, sizeof(length), offsetof(struct format_head, length)), sizeof(length));
        close(fd);
}

static void mend_length(void)
{
        put_length(lengths.right);
}

static void tear_length(void)
{
        put_length(lengths.torn);
        plan.point = AT_peek;
        plan.seen = 0;
        plan.nth = 0;
        plan.act = mend_length;
}

/* A length that never was is not taken for one, nor for a file that was cut. */
DEFINE_LOOP_TEST("meanwhile", a_length_is_torn, 0, 8)
{
        struct path path = path_of("torn");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES);
        const bool by_pieces = _i & 1, grown = _i & 2;

        other.path = &path;
        lengths.right = grown ? LENGTH + 1 : LENGTH;
        lengths.torn = _i & 4 ? 0 : MUCH;
        mend_length();
        plan_next(by_pieces ? AT_peek_pieces : AT_peek, 1, 0, tear_length);
        if (by_pieces)
                ck_assert_int_eq(op_run(OP_TRY_UPDATE, map, 0, 1, 0), 0);
        else
                ck_assert_uint_eq(ammap_len(map), lengths.right);
        ck_assert_int_gt(plan_end(), 1);
        ck_assert_uint_eq(ammap_len(map), lengths.right);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* It is shorter by the time that its length is looked at. */
DEFINE_TEST("meanwhile", a_lane_is_cut_off)
{
        struct path path = path_of("lane");
        uint64_t begin, length;
        struct remote remote;
        struct place place;

        other.map = make_file(BY_KERNEL, &path, LANES);
        remote_open(&remote, &place, &path);
        other.remote = &remote;
        for (long nth = 1, done = 1; done > 0; nth++) {
                int rc;

                other.length = LENGTH / 4;
                ck_assert_int_eq(remote_resize(&remote, LENGTH), 0);
                ck_assert_uint_eq(ammap_len(other.map), LENGTH);
                plan_next(AT_peek, nth, 0, resize_meanwhile);
                rc = ammap_lane(other.map, LENGTH / 2, &begin, &length);
                done = plan_end();
                ck_assert(rc == AMMAP_ERR_BOUNDS || (rc == 0 && (done == 0 || nth > 1)));
                ck_assert(rc == 0 || (begin == 0 && length == 0));
        }
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

static void leave_and_cut(void)
{
        remote_release(other.remote);
        ck_assert_int_eq(remote_resize(other.remote, 1), 0);
}

/* Who had a lane has left, and cut it off. */
DEFINE_TEST("meanwhile", a_holder_leaves)
{
        struct path path = path_of("holder");
        ammap_holder_t holders[4];
        struct remote remote;
        struct place place;
        long seen = 0;

        other.map = make_file(BY_KERNEL, &path, LANES);
        ck_assert_int_eq(ammap_resize(other.map, MUCH), 0);
        remote_open(&remote, &place, &path);
        other.remote = &remote;
        for (long nth = 1, done = 1; done > 0; nth++) {
                int rc;

                ck_assert_int_eq(ammap_resize(other.map, MUCH), 0);
                remote_hold(&remote, true, MUCH - 1, 1);
                plan_next(AT_peek, nth, 0, leave_and_cut);
                rc = ammap_holders(other.map, LENGTH / 2, MUCH - LENGTH / 2, holders, COUNT_OF(holders));
                done = plan_end();
                ck_assert(rc == 0 || rc == 1 || rc == AMMAP_ERR_BOUNDS);
                if (rc == 1) {
                        ck_assert_int_eq((int)holders[0].hold, AMMAP_HOLD_WRITE);
                        seen += holders[0].length == 0;
                }
                if (done == 0) {
                        ck_assert_int_eq(rc, 1);
                        leave_and_cut();
                }
        }
        ck_assert_int_gt(seen, 0);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

/* Somebody makes it shorter each time one is about to lock it, and longer again when one has left. */
static void come_and_go(enum os_lock lock)
{
        const bool is_short = other.times % 2 != 0;

        if (is_short != (lock == OS_UNLOCK) || lock == OS_LOOK_READ || lock == OS_LOOK_WRITE)
                return;
        other.times++;
        ck_assert_int_eq(remote_resize(other.remote, is_short ? LENGTH : 1), 0);
}

DEFINE_LOOP_TEST("meanwhile", a_map_that_comes_and_goes, 0, 2)
{
        enum { OFTEN = 100 };
        struct path path = path_of("comes"), path_of_other = path_of("other");
        struct remote remote;
        struct place place;
        ammap_t *to;
        int rc;

        other.map = make_file(BY_KERNEL, &path, 1);
        to = make_file(BY_KERNEL, &path_of_other, 1);
        remote_open(&remote, &place, &path);
        other.remote = &remote;
        other.times = 0;
        plan.locks = come_and_go;
        rc = _i ? ammap_copy(to, 0, other.map, 0, LENGTH) : ammap_fill(other.map, 0, LENGTH, 7);
        plan.locks = NULL;
        ck_assert_int_eq(rc, AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(other.times, 2 * OFTEN);
        ck_assert_uint_eq(ammap_len(other.map), LENGTH);
        ck_assert_int_eq(ammap_fill(other.map, 0, LENGTH, 7), 0);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(to), 0);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

static struct {
        int queue, reader, judge; /* descriptions of the file */
        bool has_come, has_gone;
} crowd;

static int lock_really(int fd, uint64_t byte, enum os_lock lock)
{
        return __real_ammap__os_lock_bytes(fd, byte, 1, lock);
}

/* As one goes past the queue, whoever had it ends, and a reader comes first, who stays until somebody has the queue:
 * others would come to read meanwhile, and be looked for in vain. */
static void crowd_in(enum os_lock lock)
{
        if (!crowd.has_come && lock == OS_LOCK_WRITE) {
                crowd.has_come = true;
                ck_assert_int_eq(lock_really(crowd.reader, FILE_LANES, OS_LOCK_READ), 0);
                ck_assert_int_eq(lock_really(crowd.queue, FILE_QUEUES, OS_UNLOCK), 0);
        } else if (crowd.has_come && !crowd.has_gone && lock_really(crowd.judge, FILE_QUEUES, OS_LOOK_READ) < 0) {
                crowd.has_gone = true;
                ck_assert_int_eq(lock_really(crowd.reader, FILE_LANES, OS_UNLOCK), 0);
        }
}

/* A writer that has gone past the queue once comes to have it yet. */
DEFINE_TEST("meanwhile", past_the_queue_and_in_it)
{
        struct path path = path_of("queue");
        ammap_t *map = make_file(BY_KERNEL, &path, 1);
        int rc;

        memset(&crowd, 0, sizeof(crowd));
        crowd.queue = open(path.text, O_RDWR | O_CLOEXEC);
        crowd.reader = open(path.text, O_RDWR | O_CLOEXEC);
        crowd.judge = open(path.text, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(lock_really(crowd.queue, FILE_QUEUES, OS_LOCK_WRITE), 0);
        plan.locks = crowd_in;
        plan.leap = 10 * MS;
        rc = op_run(OP_TIMED_UPDATE, map, 0, 1, 10 * SECOND);
        plan.leap = 0;
        plan.locks = NULL;
        ck_assert(crowd.has_come && crowd.has_gone);
        ck_assert_int_eq(rc, 0);
        close(crowd.queue);
        close(crowd.reader);
        close(crowd.judge);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- In a child -------------------------------------------------------------------------------- */

static void look_in_vain(void *argument)
{
        child_must_int(op_run(OP_TRY_READ, argument, 0, 1, 0), AMMAP_ERR_UNSUPPORTED);
        child_must(ammap_len(argument) == 0);
}

static void look_in_vain_twice(void *argument)
{
        pid_t child;
        int status;

        look_in_vain(argument);
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                look_in_vain(argument);
                child_must_int(ammap_free(argument), 0);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child && status == 0);
        child_must_int(ammap_free(argument), 0);
}

/* The number that ammap_fd told is another file's by now, and the child has no map; nor has its child. */
DEFINE_TEST("child", the_descriptor_is_another_files)
{
        struct path path = path_of("another");
        ammap_t *map = make_file(BY_KERNEL, &path, 1);
        int file = memory_file(MUCH, 0), fd = ammap_fd(map);

        ck_assert_int_eq(dup2(file, fd), fd);
        child_passes(look_in_vain_twice, map);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, map, 0, 1, 0), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(close(fd), 0);
        ck_assert_int_eq(close(file), 0);
}

/* --- Maps of one file ------------------------------------------------------------------------- */

/* The file was emptied, and another map made in it, while one had the first. */
DEFINE_TEST("twins", one_with_fewer_lanes)
{
        struct path path = path_of("twin"), path_of_other = path_of("other");
        ammap_t *old = make_file(BY_KERNEL, &path, 1), *map, *again, *elsewhere;
        ammap_holder_t holders[8];
        struct remote remote;
        struct place place;
        ammap_slice_t slice;

        ck_assert_int_eq(truncate(path.text, 0), 0);
        map = make_file(BY_KERNEL, &path, LANES);
        elsewhere = make_file(BY_KERNEL, &path_of_other, 1);
        again = open_again(&path, false);
        remote_open(&remote, &place, &path);

        /* Of another process: whose it is nobody tells.  Of this one: by whichever map. */
        remote_hold(&remote, true, LENGTH - 1, 1);
        ck_assert_int_eq(ammap_holders(map, 0, LENGTH, holders, COUNT_OF(holders)), 1);
        ck_assert_int_eq((int)holders[0].hold, AMMAP_HOLD_WRITE);
        ck_assert_int_eq(holders[0].pid, 0);
        remote_release(&remote);
        ck_assert_int_eq(ammap_as_slice(again, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_holders(map, 0, LENGTH, holders, COUNT_OF(holders)), 1);
        ck_assert_int_eq(holders[0].pid, getpid());
        ck_assert_int_eq(ammap_slice_release(&slice), 0);

        /* A generation is looked at while another process writes. */
        for (int dead = 0; dead < 2; dead++) {
                uint64_t generation = 0;

                remote_hold(&remote, true, 0, 1);
                ck_assert_int_eq(ammap_wait_change(map, 0, 1, &generation, 0), 0);
                ck_assert_int_eq(ammap_wait_change(map, 0, 1, &generation, 1), AMMAP_ERR_TIMEOUT);
                remote_release(&remote);
                ck_assert_int_eq(ammap_wait_change(map, 0, 1, &generation, 0), 0);
        }
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(elsewhere), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(old), 0);
}

static void *cut_other(void *argument)
{
        (void)argument;
        return (void *)(intptr_t)ammap_resize(other.writer, LENGTH / 2);
}

static struct task cutting;

/* It waits for who makes the view, where he keeps it out. */
static void start_to_cut(void)
{
        task_start(&cutting, cut_other, NULL);
        task_sleeps(&cutting);
}

/* A view does not reach beyond what another handle has left of the file. */
DEFINE_TEST("twins", cut_while_a_view_is_made)
{
        long cut = 0;

        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("viewed");
                ammap_u64_view_t view;
                void *answer;
                int rc;

                other.map = make_file(BY_KERNEL, &path, LANES);
                other.writer = open_again(&path, false);
                plan_next(AT_fork_check, nth, 0, start_to_cut);
                rc = ammap_atomic_u64(other.map, LENGTH - 8, &view);
                done = plan_end();
                if (done > 0) {
                        ck_assert_int_eq(pthread_join(cutting.thread, &answer), 0);
                        ck_assert_int_eq(rc, answer ? 0 : AMMAP_ERR_BOUNDS);
                        ck_assert_int_eq((intptr_t)answer, answer ? AMMAP_ERR_BUSY : 0);
                        cut += !answer;
                }
                ammap_u64_view_release(&view);
                ck_assert_int_eq(ammap_free(other.map), 0);
                ck_assert_int_eq(ammap_free(other.writer), 0);
        }
        ck_assert_int_gt(cut, 0);
}

/* Who reads a lane, and finds the file cut when it reads it again, has it yet. */
DEFINE_TEST("twins", cut_between_two_slices)
{
        struct path path = path_of("cut");
        ammap_t *map = make_file(BY_KERNEL, &path, 1);
        ammap_slice_t slice, more;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(truncate(path.text, 0), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), AMMAP_ERR_FAULT);
        ck_assert(slice_is_zero(&more));
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_slice_release(&slice), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Who reads what is frozen has locked nothing, and leaves nothing when its thread ends. */
DEFINE_TEST("twins", a_thread_ends_that_reads_what_is_frozen)
{
        struct path path = path_of("ended");
        ammap_t *map = make_file(BY_KERNEL, &path, LANES), *again = open_again(&path, false);
        struct holder holder;

        ck_assert_int_eq(ammap_freeze(map), 0);
        for (int i = 0; i < 2; i++) {
                holder_start(&holder, i ? map : again, 0, LENGTH, false);
                holder_vanish(&holder);
        }
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, 0, LENGTH, 0), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What an old pointer stored beyond the end that is to come is not looked at yet, nor kept. */
DEFINE_TEST("twins", a_store_far_beyond_the_end)
{
        struct path path = path_of("beyond");
        ammap_options_t options = file_options(0);
        uint64_t data;
        ammap_t *map;
        int fd;

        options.capacity = 16 * PAGE;
        ck_assert_int_eq(open_by_kernel(&map, path.text, PAGE, &options), 0);
        fd = open(path.text, O_RDWR | O_CLOEXEC);
        data = data_of(fd);
        ck_assert_int_eq(pwrite(fd, "far", 3, (off_t)(data + 15 * PAGE)), 3);
        ck_assert_int_eq(ammap_resize(map, 2 * PAGE), 0);
        ck_assert(holds(map, PAGE, PAGE, 0));
        ck_assert_int_eq(ammap_resize(map, 16 * PAGE), 0);
        ck_assert(holds(map, 0, 16 * PAGE, 0));
        close(fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Threads of one process ------------------------------------------------------------------- */

static void *recover_a_slice(void *argument)
{
        ammap_mut_slice_t mut;

        thread_check_int(ammap_recover_as_mut_slice(other.map, 0, 1, &mut), 1);
        thread_check_int(ammap_mut_slice_release(&mut), 0);
        return argument;
}

static struct task recovering;
static _Atomic bool ends;

/* The thread that ends has given its lane back to the file, and is about to leave it to the others of its process. */
static void wait_for_the_dying(enum os_lock lock)
{
        if (lock != OS_UNLOCK || !atomic_exchange(&ends, false))
                return;
        thread_check_int(op_elsewhere(OP_TRY_UPDATE, other.map, 0, 1), AMMAP_ERR_OWNER_DEAD);
        task_start(&recovering, recover_a_slice, NULL);
        thread_check(task_sleeps(&recovering));
}

DEFINE_TEST("threads", one_recovers_while_another_dies)
{
        struct path path = path_of("dying");
        struct holder holder;

        other.map = make_file(BY_KERNEL, &path, 1);
        holder_start(&holder, other.map, 0, 1, true);
        plan.locks = wait_for_the_dying;
        atomic_store(&ends, true);
        holder_vanish(&holder);
        ck_assert(!atomic_load(&ends));
        task_join(&recovering);
        plan.locks = NULL;
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, other.map, 0, LENGTH, 0), 0);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

/* More holds than a thread has in one piece, and then one in the first of them again. */
enum { HOLDS_IN_A_PIECE = 7, MANY_HOLDS = 2 * HOLDS_IN_A_PIECE };

static void *end_with_many(void *argument)
{
        ammap_slice_t slice[MANY_HOLDS];
        const uint64_t lane_size = stat_of(argument).lane_size;

        for (unsigned i = 0; i < MANY_HOLDS; i++)
                thread_check_int(ammap_as_slice(argument, i * lane_size, 1, &slice[i]), 0);
        thread_check_int(ammap_slice_release(&slice[0]), 0);
        thread_check_int(ammap_as_slice(argument, 0, 1, &slice[0]), 0);
        return NULL;
}

static struct {
        ammap_t *map;
        struct task task;
        sem_t begun, may_go_on;
        _Atomic int unlocked; /* how many lanes have been given back */
} beginner;

/* Another thread's slices are its own, and it alone writes. */
static void *take_many(void *argument)
{
        ammap_slice_t slice[MANY_HOLDS];

        thread_check_int(ammap_as_slice(beginner.map, 0, 1, &slice[0]), 0);
        sem_post(&beginner.begun);
        sem_wait_surely(&beginner.may_go_on);
        for (unsigned i = 1; i < MANY_HOLDS; i++)
                thread_check_int(ammap_as_slice(beginner.map, 0, 1, &slice[i]), 0);
        for (unsigned i = 0; i < MANY_HOLDS; i++)
                thread_check_int(ammap_slice_release(&slice[i]), 0);
        return argument;
}

static void begin_another(enum os_lock lock)
{
        if (lock != OS_UNLOCK || atomic_fetch_add(&beginner.unlocked, 1) != HOLDS_IN_A_PIECE + 1)
                return;
        task_start(&beginner.task, take_many, NULL);
        sem_wait_surely(&beginner.begun);
}

/* A thread begins while another one ends, that has given back a part of what it had. */
DEFINE_TEST("threads", one_begins_while_another_ends)
{
        struct path path = path_of("begins");
        struct task task;

        other.map = make_file(BY_KERNEL, &path, MANY_HOLDS);
        beginner.map = new_map(LENGTH, 1);
        atomic_store(&beginner.unlocked, 0);
        sem_init(&beginner.begun, 0, 0);
        sem_init(&beginner.may_go_on, 0, 0);
        plan.locks = begin_another;
        task_start(&task, end_with_many, other.map);
        task_join(&task);
        plan.locks = NULL;
        ck_assert_int_eq(atomic_load(&beginner.unlocked), MANY_HOLDS + 1);
        sem_post(&beginner.may_go_on);
        task_join(&beginner.task);
        sem_destroy(&beginner.begun);
        sem_destroy(&beginner.may_go_on);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, other.map, 0, LENGTH, 0), 0);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, beginner.map, 0, LENGTH, 0), 0);
        ck_assert_int_eq(ammap_free(beginner.map), 0);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

static void *shrink_other(void *argument)
{
        thread_check_int(ammap_resize(other.map, LENGTH / 2 + 1), 0);
        return argument;
}

static void shrink_elsewhere(void)
{
        in_a_thread(shrink_other);
}

/* A writer had died in the first lane, and the last one is cut before it is locked: who was to recover leaves it as
 * it was. */
DEFINE_TEST("threads", what_is_recovered_is_cut)
{
        long cut = 0;

        for (long nth = 1, done = 1; done > 0; nth++) {
                ammap_mut_slice_t mut;
                int rc;

                other.map = new_map(LENGTH, 2);
                leave_dead(other.map, 0, 1);
                plan_next(AT_fork_check, nth, 0, shrink_elsewhere);
                rc = ammap_recover_as_mut_slice(other.map, 0, LENGTH, &mut);
                done = plan_end();
                ck_assert(rc == 1 || rc == AMMAP_ERR_BOUNDS);
                cut += rc < 0;
                ck_assert_int_eq(ammap_mut_slice_release(&mut), 0);
                ck_assert_int_eq(op_run(OP_TRY_UPDATE, other.map, 0, 1, 0), rc < 0 ? AMMAP_ERR_OWNER_DEAD : 0);
                ck_assert_int_eq(ammap_free(other.map), 0);
        }
        ck_assert_int_gt(cut, 0);
}

static void *grow_and_write(void *argument)
{
        int rc;

        thread_check_int(ammap_resize(other.writer, MUCH), 0);
        rc = ammap_try_update_region(other.writer, 0, &(unsigned char){ 1 }, 1);
        thread_check(rc == 0 || rc == AMMAP_ERR_BUSY); /* it is being cloned */
        return argument;
}

static void grow_elsewhere(void)
{
        in_a_thread(grow_and_write);
}

struct cloned {
        enum point point;
        long nth, done;
        uint64_t length;
        unsigned char byte;
};

/* By a thread that is new to the library. */
static void *clone_meanwhile(void *argument)
{
        struct cloned *cloned = argument;
        ammap_t *clone;
        int rc;

        plan_next(cloned->point, cloned->nth, 0, grow_elsewhere);
        rc = ammap_clone(other.map, &clone);
        cloned->done = plan_end();
        thread_check_int(rc, 0);
        cloned->length = ammap_len(clone);
        thread_check_int(ammap_read_into(clone, 0, &cloned->byte, 1), 0);
        thread_check_int(ammap_free(clone), 0);
        return NULL;
}

/* It gets longer, and then is written: a clone that has what was written has the new length. */
DEFINE_LOOP_TEST("threads", a_growth_beside_a_clone, 0, 4)
{
        static const enum in_file files[] = { NO_FILE, NO_FILE, BY_KERNEL, BY_WORDS };
        static const enum point points[] = { AT_fork_check, AT_peek };
        long grown = 0;

        for (unsigned i = 0; i < COUNT_OF(points); i++) {
                struct cloned cloned = { .point = points[i], .done = 1 };

                while (cloned.done > 0) {
                        struct path path = path_of("clone");
                        ammap_options_t options = file_options(LANES);
                        struct task task;

                        if (files[_i]) {
                                other.map = make_file(files[_i], &path, LANES);
                                other.writer = open_again(&path, false);
                        } else {
                                options.allow_faults = false;
                                options.share = _i ? AMMAP_SHARED : AMMAP_PRIVATE;
                                other.map = other.writer = make_with(LENGTH, &options);
                        }
                        cloned.nth++;
                        task_start(&task, clone_meanwhile, &cloned);
                        task_join(&task);
                        ck_assert(cloned.length == MUCH || (cloned.length == LENGTH && !cloned.byte));
                        grown += cloned.byte;
                        ck_assert_int_eq(ammap_free(other.map), 0);
                        if (files[_i])
                                ck_assert_int_eq(ammap_free(other.writer), 0);
                }
        }
        ck_assert_int_gt(grown, 0);
}

/* Of several lanes all are the process's, or all stay the thread's. */
DEFINE_LOOP_TEST("threads", no_room_to_detach, 0, 2)
{
        enum { MANY = 100 };
        ammap_mut_slice_t mut[MANY];
        ammap_slice_t slice[MANY];
        ammap_t *map[MANY];
        int rc = 0, count = 0;

        while (rc == 0 && count < MANY) {
                map[count] = new_map(LENGTH, _i ? 7 : 5);
                memset(&mut[count], 0, sizeof(mut[count]));
                memset(&slice[count], 0, sizeof(slice[count]));
                if (_i) {
                        ck_assert_int_eq(ammap_as_slice(map[count], 0, LENGTH, &slice[count]), 0);
                        plan_next(AT_map, 0, -ENOMEM, NULL);
                        rc = ammap_slice_detach(&slice[count]);
                } else {
                        ck_assert_int_eq(ammap_as_mut_slice(map[count], 0, LENGTH, &mut[count]), 0);
                        plan_next(AT_map, 0, -ENOMEM, NULL);
                        rc = ammap_mut_slice_detach(&mut[count]);
                }
                plan_end();
                count++;
        }
        ck_assert_int_eq(rc, -ENOMEM);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map[count - 1], 0, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(_i ? ammap_slice_detach(&slice[count - 1]) : ammap_mut_slice_detach(&mut[count - 1]), 0);
        while (count-- > 0) {
                ck_assert_int_eq(ammap_slice_release(&slice[count]), 0);
                ck_assert_int_eq(ammap_mut_slice_release(&mut[count]), 0);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map[count], 0, LENGTH), 0);
                ck_assert_int_eq(ammap_free(map[count]), 0);
        }
}

/* With one processor nobody spins. */
DEFINE_TEST("threads", on_one_processor)
{
        ammap_t *map = new_map(LENGTH, 1);
        const bool may_spin = waiter_may_spin;
        struct holder holder;

        holder_start(&holder, map, 0, 1, true);
        waiter_may_spin = false;
        ck_assert_int_eq(op_run(OP_TRY_READ, map, 0, 1, 0), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_run(OP_TIMED_READ, map, 0, 1, MS), AMMAP_ERR_TIMEOUT);
        waiter_may_spin = may_spin;
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Another thread forks while the pages of a map are about to be frozen.  The child ends that: they can be written; or
 * they stay as they are, where the system refuses. */
static bool thaws;

static void *fork_beside(void *argument)
{
        pid_t child;
        int status;

        plan_next(AT_protect, 0, thaws ? 0 : -ENOMEM, NULL);
        child = fork();
        if (child == 0) {
                int rc;

                plan_end();
                alarm(test_time());
                rc = ammap_fill(other.map, 0, LENGTH, 9);
                if (thaws && rc == AMMAP_ERR_OWNER_DEAD) {
                        child_must_int(ammap_recover(other.map), 0);
                        rc = ammap_fill(other.map, 0, LENGTH, 9);
                }
                child_must_int(rc, thaws ? 0 : AMMAP_ERR_READ_ONLY);
                child_must(holds(other.map, 0, LENGTH, thaws ? 9 : 7));
                child_must_int(ammap_free(other.map), 0);
                _exit(0);
        }
        plan_end();
        thread_check(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        return argument;
}

static void fork_elsewhere(void)
{
        in_a_thread(fork_beside);
}

DEFINE_LOOP_TEST_IF(!TEST_TSAN, "threads", one_forks_in_a_freeze, 0, 2)
{
        thaws = _i != 0;
        other.map = new_map(LENGTH, 1);
        ck_assert_int_eq(ammap_fill(other.map, 0, LENGTH, 7), 0);
        plan_next(AT_protect, 1, 0, fork_elsewhere);
        ck_assert_int_eq(ammap_freeze(other.map), 0);
        plan_end();
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, other.map, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert(holds(other.map, 0, LENGTH, 7));
        ck_assert_int_eq(ammap_free(other.map), 0);
}

/* A thread ends that writes a file: its lane is dead here, until the file says so; and nobody makes it good before. */
DEFINE_TEST("threads", one_dies_and_another_recovers)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("dies");
        struct holder holder;
        ammap_t *map;

        options.allow_faults = true;
        ck_assert_int_eq(open_by_kernel(&map, path.text, LENGTH, &options), 0);
        holder_start(&holder, map, 0, 1, true);
        atomic_fetch_or(&map->lane[0].word, LANE_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert(atomic_load(&map->lane[0].word) & LANE_DEAD);
        atomic_fetch_and(&map->lane[0].word, ~(uint64_t)LANE_DEAD);
        holder_stop(&holder);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* ... or while a file is opened: the child is none of those who have the locks that the map takes then. */
struct outlived {
        const char *path;
        _Atomic pid_t child; /* of who opens it */
} * outlived;

static void *fork_one_that_stays(void *argument)
{
        pid_t child = fork();

        if (child == 0) {
                alarm(test_time());
                for (;;)
                        pause();
        }
        atomic_store(&outlived->child, child);
        return argument;
}

static void fork_beside_an_opening(void)
{
        in_a_thread(fork_one_that_stays);
}

static void opens_beside_a_fork(struct peer *parent, void *argument)
{
        const ammap_options_t *options = argument;
        ammap_mut_slice_t mut;
        ammap_t *map;

        plan_next(AT_read_at, 1, 0, fork_beside_an_opening);
        child_must_int(open_by_kernel(&map, outlived->path, 0, options), 0);
        child_must(plan_end() == 1);
        child_must_int(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        peer_tell(parent, 'h');
        for (;;)
                pause();
}

DEFINE_TEST_IF(!TEST_TSAN, "threads", one_forks_in_an_opening)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("outlived");
        struct peer peer;
        ammap_t *map;

        outlived = board_of(sizeof(*outlived));
        outlived->path = path.text;
        options.allow_faults = true;
        ck_assert_int_eq(open_by_kernel(&map, path.text, LENGTH, &options), 0);
        peer_start(&peer, opens_beside_a_fork, &options);
        peer_expect(&peer, 'h');
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, map, 0, 1, 0), AMMAP_ERR_BUSY);
        peer_kill(&peer);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, map, 0, 1, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(kill(atomic_load(&outlived->child), SIGKILL), 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        munmap(outlived, sizeof(*outlived));
}

/* ... or while a map is made shorter, which the child ends: there it is as short, or not at all. */
static bool is_omitted;

static void *fork_beside_a_shrink(void *argument)
{
        pid_t child = fork();
        int status;

        if (child == 0) {
                alarm(test_time());
                child_must(ammap_len(other.map) == (is_omitted ? 0 : LENGTH) || ammap_len(other.map) == LENGTH / 2);
                child_must_int(ammap_resize(other.map, MUCH), is_omitted ? AMMAP_ERR_UNSUPPORTED : 0);
                child_must(is_omitted || holds(other.map, 0, LENGTH / 2, 7));
                child_must_int(ammap_free(other.map), 0);
                _exit(0);
        }
        thread_check(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        return argument;
}

static void fork_beside_it(void)
{
        in_a_thread(fork_beside_a_shrink);
}

DEFINE_LOOP_TEST_IF(!TEST_TSAN, "threads", one_forks_in_a_shrink, 0, 2)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        is_omitted = _i != 0;
        options.capacity = MUCH;
        options.fork = is_omitted ? AMMAP_FORK_OMIT : AMMAP_FORK_COPY;
        other.map = make_with(LENGTH, &options);
        ck_assert_int_eq(ammap_fill(other.map, 0, LENGTH, 7), 0);
        plan_next(AT_fence_heavy, 1, 0, fork_beside_it);
        ck_assert_int_eq(ammap_resize(other.map, LENGTH / 2), 0);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_uint_eq(ammap_len(other.map), LENGTH / 2);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

/* --- Shared maps -------------------------------------------------------------------------------- */

static void cut_to_the_data(void)
{
        int fd = open(other.path->text, O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(ftruncate(fd, (off_t)data_of(fd)), 0);
        close(fd);
}

/* A file is cut after its header has been looked at: it has no bytes. */
DEFINE_TEST("shared", cut_while_it_is_opened)
{
        long empty = 0;

        for (long nth = 1, done = 1; done > 0; nth++) {
                struct path path = path_of("words");
                const ammap_options_t options = file_options(0);
                unsigned char byte;
                ammap_t *map;
                int rc;

                ck_assert_int_eq(ammap_free(make_file(BY_WORDS, &path, 1)), 0);
                other.path = &path;
                plan_next(AT_file, nth, 0, cut_to_the_data);
                rc = ammap_open(&map, path.text, 0, &options);
                done = plan_end();
                ck_assert(rc == 0 || (rc == AMMAP_ERR_FORMAT && !map));
                if (rc == 0 && ammap_len(map) == 0) {
                        empty++;
                        ck_assert_int_eq(ammap_read_into(map, 0, &byte, 1), AMMAP_ERR_BOUNDS);
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
        ck_assert_int_gt(empty, 0);
}

static void grow_and_die(void *argument)
{
        plan_next(AT_resize_file, 1, 0, die);
        child_must_int(ammap_resize(argument, 8 * PAGE), 0);
}

/* Who was to make it longer died: the length is mended by one who may write. */
DEFINE_TEST("shared", who_dies_in_a_growth)
{
        ammap_t *map = make_shared(PAGE, 8 * PAGE, LANES), *reader = import_again(map, AMMAP_READ);

        ck_assert_int_eq(ammap_fill(map, 0, PAGE, 7), 0);
        child_passes(grow_and_die, map);
        ck_assert_int_eq(ammap_resize(map, 8 * PAGE), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_recover(reader), 0);
        ck_assert_int_eq(ammap_resize(map, 8 * PAGE), 0);
        ck_assert(holds(map, 0, PAGE, 7) && holds(map, PAGE, 7 * PAGE, 0));
        leave_dead(map, 0, 1);
        ck_assert_int_eq(ammap_recover(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* argument: there is no memory, which Check wants, too. */
static void *clone_other(void *argument)
{
        ammap_t *clone;
        int rc;

        if (argument)
                plan.no_memory = true;
        rc = ammap_clone(other.map, &clone);
        if (argument)
                plan.no_memory = false;
        thread_check(!clone == (rc < 0));
        thread_check_int(ammap_free(clone), 0);
        return (void *)(intptr_t)rc;
}

static void store_one(void)
{
        const uint32_t one = 1;

        ck_assert_int_eq(ammap_update_region(other.writer, 0, &one, sizeof(one)), 0);
}

/* Who may only read looks again until no writer is in: but not for ever, and not where he died. */
DEFINE_TEST("shared", a_reader_clones)
{
        ammap_t *map = make_shared(LENGTH, MUCH, LANES);
        struct holder holder;
        struct task task;
        void *rc;

        other.map = import_again(map, AMMAP_READ);
        holder_start(&holder, map, 0, 1, true);
        task_start(&task, clone_other, NULL);
        task_sleeps(&task);
        holder_stop(&holder);
        ck_assert_int_eq(pthread_join(task.thread, &rc), 0);
        ck_assert_ptr_null(rc);

        holder_start(&holder, map, 0, 1, true);
        plan.leap = SECOND;
        ck_assert_int_eq((intptr_t)clone_other(NULL), AMMAP_ERR_TIMEOUT);
        plan.leap = 0;
        holder_vanish(&holder);
        ck_assert_int_eq((intptr_t)clone_other(NULL), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);

        ck_assert_int_eq((intptr_t)clone_other(&other), -ENOMEM);

        /* A write came by: the clone is made once more. */
        other.writer = map;
        plan_next(AT_file, 1, 0, store_one);
        ck_assert_int_eq((intptr_t)clone_other(NULL), 0);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_int_ge(plan.seen, 2);
        ck_assert_int_eq(ammap_free(other.map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A copy out of what one may only read takes memory, and not where there is none. */
DEFINE_TEST("shared", a_copy_for_which_there_is_no_memory)
{
        ammap_t *map = make_shared(LENGTH, MUCH, 1), *reader = import_again(map, AMMAP_READ), *to = new_map(LENGTH, 1);
        int rc;

        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), 0);
        plan.no_memory = true;
        rc = ammap_copy(to, 0, reader, 0, LENGTH);
        plan.no_memory = false;
        ck_assert_int_eq(rc, -ENOMEM);
        ck_assert(holds(to, 0, LENGTH, 0));
        ck_assert_int_eq(ammap_copy(to, 0, reader, 0, LENGTH), 0);
        ck_assert(holds(to, 0, LENGTH, 7));
        ck_assert_int_eq(ammap_free(to), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* In memory and in a file: two maps, though both are locked by words. */
DEFINE_TEST("shared", a_copy_between_two_places)
{
        struct path path = path_of("words");
        ammap_t *map = make_shared(LENGTH, MUCH, LANES), *file = make_file(BY_WORDS, &path, LANES);

        ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 7), 0);
        ck_assert_int_eq(ammap_copy(file, 0, map, 0, LENGTH), 0);
        ck_assert(holds(file, 0, LENGTH, 7));
        ck_assert_int_eq(ammap_fill(file, 0, LENGTH, 8), 0);
        ck_assert_int_eq(ammap_copy(map, 0, file, 0, LENGTH), 0);
        ck_assert(holds(map, 0, LENGTH, 8));
        ck_assert_int_eq(ammap_free(file), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *read_other(void *argument)
{
        return (void *)(intptr_t)ammap_read_into(other.map, 0, argument, LENGTH);
}

static struct format_head *head_of(ammap_t *map)
{
        void *head = mmap(NULL, sizeof(struct format_head), PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);

        ck_assert_ptr_ne(head, MAP_FAILED);
        return head;
}

/* It is frozen, or said to be, while one who may only read waits for a writer. */
DEFINE_TEST("shared", frozen_under_a_reader)
{
        ammap_t *map = make_shared(LENGTH, MUCH, LANES);
        struct format_head *head = head_of(map);
        unsigned char bytes[LENGTH];
        struct holder holder;
        struct task task;
        void *rc;

        other.map = import_again(map, AMMAP_READ);
        holder_start(&holder, map, 0, 1, true);
        task_start(&task, read_other, bytes);
        ck_assert(task_sleeps(&task));
        atomic_store(&head->frozen, 1);
        ck_assert_int_eq(pthread_join(task.thread, &rc), 0);
        ck_assert_ptr_null(rc);
        ck_assert(is_all(bytes, 0, LENGTH));
        /* And what it has not is not read. */
        ck_assert_int_eq(ammap_read_into(other.map, LENGTH / 2, bytes, LENGTH), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_read_into(map, LENGTH / 2, bytes, LENGTH), AMMAP_ERR_BOUNDS);
        holder_stop(&holder);
        munmap(head, sizeof(*head));
        ck_assert_int_eq(ammap_free(other.map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A length of 0 is a lie: there is nothing to clone. */
DEFINE_LOOP_TEST("shared", a_length_that_is_a_lie, 0, 3)
{
        ammap_t *map = make_shared(LENGTH, MUCH, 1), *reader, *clone;
        struct format_head *head = head_of(map);

        reader = import_again(map, AMMAP_READ);
        atomic_store(&head->length, 0);
        if (_i == 2)
                atomic_store(&head->frozen, 1);
        ck_assert_int_eq(ammap_clone(_i == 1 ? reader : map, &clone), AMMAP_ERR_SIZE);
        ck_assert_ptr_null(clone);
        munmap(head, sizeof(*head));
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Who has not seen it grow sees as much of it as there was when it was frozen. */
DEFINE_TEST("shared", frozen_with_a_new_length)
{
        ammap_t *map = make_shared(PAGE, 8 * PAGE, 1), *again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        unsigned char bytes[2];

        ck_assert_int_eq(ammap_resize(map, 2 * PAGE + 1), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_uint_eq(ammap_len(again), 2 * PAGE + 1);
        ck_assert_int_eq(ammap_read_into(again, 2 * PAGE, bytes, 1), 0);
        ck_assert_int_eq(ammap_read_into(again, 2 * PAGE, bytes, 2), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The peer has ended, or there is none; but what it stored before counts. */
DEFINE_LOOP_TEST("shared", what_an_ended_peer_has_stored, 0, 4)
{
        const enum point point = _i & 1 ? AT_peer_ended : AT_peer_begin;
        const bool stores = _i & 2;

        other.map = other.writer = make_shared(LENGTH, MUCH, 1);
        plan_next(point, 1, point == AT_peer_ended ? 1 : -ESRCH, stores ? store_one : NULL);
        ck_assert_int_eq(ammap_wait_u32_peer(other.map, 0, 0, -1, getpid()), stores ? 0 : AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(plan_end(), 1);
        ck_assert_int_eq(ammap_free(other.map), 0);
}

/* Link-time optimisation binds the library's calls before the linker can.  In a child: no map has been made yet. */
static bool is_wrapped(void)
{
        pid_t child = fork();
        int status = 1;
        ammap_t *map;

        if (child == 0) {
                plan_next(AT_open, 0, -EMFILE, NULL);
                _exit(ammap_open(&map, "/dev/null", 0, NULL) == -EMFILE && plan_end() > 0 ? 0 : 1);
        }
        return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
        if (is_wrapped())
                return run_sharing("meanwhile");
        printf("meanwhile: the linker did not wrap the calls\n");
        return SKIPPED;
}
