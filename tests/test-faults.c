/* test-faults.c - a system that refuses
 *
 * SPDX-License-Identifier: MIT
 *
 * Every call of the system's that the memory of a map may want is refused, at
 * each of its turns and always, as an old kernel would (ENOSYS, EINVAL) and one
 * short of memory (ENOMEM).  What was to be tried is gone without, what must be
 * fails with the system's own code; no mapping and no descriptor is left, and no
 * secret.  The linker puts the calls of this file before the library's
 * (--wrap): see Makefile.am.
 *
 * A call over several mappings may also do half of what it is for before it
 * fails.  And whatever the library gives back another thread has at once.
 */
#include "proc.h"

#include "os/os.h"

#include <stddef.h>

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

#define CALLS(call)                                                                                                    \
        call(os_name) call(os_guard) call(os_nodump) call(os_omit_on_fork) call(os_wipe_on_fork) call(os_discard)      \
                call(os_lock) call(os_unlock) call(os_collapse) call(os_populate) call(os_advise) call(os_usage)       \
                        call(os_present) call(os_reserve) call(os_protect) call(os_unmap)

enum refusable {
#define NUMBER(name) CALL_##name,
        CALLS(NUMBER) CALL_COUNT
};

static const char *const names[] = {
#define NAME(name) #name,
        CALLS(NAME)
};

/* What is to be refused: call number ordinal of them, or, 0, all. */
static struct {
        enum refusable call;
        int error;
        unsigned ordinal;
        bool half; /* done, of those that are refused */
        unsigned seen, refused;
} plan = { .call = CALL_COUNT };

static int refuse(enum refusable call)
{
        if (call != plan.call || plan.error == 0)
                return 0;
        plan.seen++;
        if (plan.ordinal != 0 && plan.seen != plan.ordinal)
                return 0;
        plan.refused++;
        return plan.error;
}

static void plan_nothing(void)
{
        plan.call = CALL_COUNT;
        plan.error = 0;
        plan.half = false;
}

static void plan_refusal(enum refusable call, int error, unsigned ordinal)
{
        plan.call = call;
        plan.error = error;
        plan.ordinal = ordinal;
        plan.seen = plan.refused = 0;
}

/* The first of so many bytes in whole pages. */
static size_t half_of(size_t length)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);

        return length / page / 2 * page;
}

/* --- The other thread, which has what the library unmaps ---------------- */

static struct {
        bool on;
        struct {
                unsigned char *at;
                size_t length;
        } taken[256];
        size_t count;
        unsigned hurt; /* how often the library laid hands on it */
} squatter;

static void squat(void *address, size_t length)
{
        if (!squatter.on || squatter.count == COUNT_OF(squatter.taken))
                return;
        address = mmap(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        ck_assert(address != MAP_FAILED);
        squatter.taken[squatter.count].at = address;
        squatter.taken[squatter.count++].length = length;
}

/* Whether a range is the library's own; if it is not, it is let be. */
static bool is_own(const void *address, size_t length)
{
        for (size_t i = 0; i < squatter.count; i++)
                if ((uintptr_t)address < (uintptr_t)squatter.taken[i].at + squatter.taken[i].length &&
                    (uintptr_t)squatter.taken[i].at < (uintptr_t)address + length) {
                        squatter.hurt++;
                        return false;
                }
        return true;
}

static void squat_no_more(void)
{
        while (squatter.count > 0) {
                squatter.count--;
                munmap(squatter.taken[squatter.count].at, squatter.taken[squatter.count].length);
        }
        squatter.on = false;
}

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
        return no_memory ? NULL : __real_malloc(size);
}

/* The bytes of a secret; and how often they went without having been wiped. */
static const unsigned char *secret_bytes;
static size_t secret_length;
static unsigned looked, unwiped;

static void look_for_secret(const void *address, size_t length)
{
        uintptr_t start = (uintptr_t)address, at = (uintptr_t)secret_bytes;

        for (size_t i = 0; i < secret_length; i++)
                if (at + i >= start && at + i < start + length) {
                        looked++;
                        unwiped += secret_bytes[i] != 0;
                }
}

#define WRAP(name, parameters, arguments)                                                                              \
        int __real_ammap__##name parameters;                                                                           \
        int __wrap_ammap__##name parameters;                                                                           \
        int __wrap_ammap__##name parameters                                                                            \
        {                                                                                                              \
                int rc = refuse(CALL_##name);                                                                          \
                return rc < 0 ? rc : __real_ammap__##name arguments;                                                   \
        }

/* The same for those that go over a range. */
#define WRAP_RANGE(name, parameters, arguments)                                                                        \
        int __real_ammap__##name parameters;                                                                           \
        int __wrap_ammap__##name parameters;                                                                           \
        int __wrap_ammap__##name parameters                                                                            \
        {                                                                                                              \
                int rc = refuse(CALL_##name);                                                                          \
                if (!is_own(address, length))                                                                          \
                        return -EINVAL;                                                                                \
                if (rc == 0)                                                                                           \
                        return __real_ammap__##name arguments;                                                         \
                length = half_of(length);                                                                              \
                if (plan.half && length > 0)                                                                           \
                        (void)__real_ammap__##name arguments;                                                          \
                return rc;                                                                                             \
        }

WRAP_RANGE(os_name, (void *address, size_t length, const char *name), (address, length, name))
WRAP_RANGE(os_guard, (void *address, size_t length), (address, length))
WRAP_RANGE(os_nodump, (void *address, size_t length), (address, length))
WRAP_RANGE(os_omit_on_fork, (void *address, size_t length), (address, length))
WRAP_RANGE(os_wipe_on_fork, (void *address, size_t length), (address, length))
WRAP_RANGE(os_lock, (void *address, size_t length), (address, length))
WRAP_RANGE(os_unlock, (void *address, size_t length), (address, length))
WRAP_RANGE(os_collapse, (void *address, size_t length), (address, length))
WRAP_RANGE(os_populate, (void *address, size_t length, enum os_access access), (address, length, access))
WRAP_RANGE(os_advise, (void *address, size_t length, enum os_advice advice), (address, length, advice))

/* What is to be done while the kernel is asked. */
static ammap_t *resized_beside;

/* The kernel accounts for all memory: it takes the wish to leave some out, and does not do it. */
static bool accounts_for_all;

static void *resize_beside(void *argument)
{
        thread_check_int(ammap_resize(resized_beside, 5 * PAGE), 0);
        thread_check_int(ammap_resize(resized_beside, 9 * PAGE), 0);
        return argument;
}

int __real_ammap__os_usage(const void *address, size_t length, struct os_usage *usage);
int __wrap_ammap__os_usage(const void *address, size_t length, struct os_usage *usage);
int __wrap_ammap__os_usage(const void *address, size_t length, struct os_usage *usage)
{
        int rc = refuse(CALL_os_usage);

        if (resized_beside) {
                struct task task;

                task_start(&task, resize_beside, NULL);
                task_join(&task);
        }
        if (rc == 0) {
                rc = __real_ammap__os_usage(address, length, usage);
                if (accounts_for_all)
                        usage->unreserved = 0;
                return rc;
        }
        *usage = (struct os_usage){ OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN };
        return rc;
}
WRAP(os_present, (const void *address, size_t pages, unsigned char *present), (address, pages, present))
WRAP(os_reserve, (void **address, size_t length, enum os_access access, bool noreserve),
     (address, length, access, noreserve))
WRAP_RANGE(os_protect, (void *address, size_t length, enum os_access access), (address, length, access))

int __real_ammap__os_discard(void *address, size_t length);
int __wrap_ammap__os_discard(void *address, size_t length);
int __wrap_ammap__os_discard(void *address, size_t length)
{
        int rc = refuse(CALL_os_discard);

        if (rc < 0)
                return rc;
        if (!is_own(address, length))
                return -EINVAL;
        look_for_secret(address, length);
        return __real_ammap__os_discard(address, length);
}

int __real_ammap__os_unmap(void *address, size_t length);
int __wrap_ammap__os_unmap(void *address, size_t length);
int __wrap_ammap__os_unmap(void *address, size_t length)
{
        int rc = refuse(CALL_os_unmap);

        if (rc < 0)
                return rc;
        if (!is_own(address, length))
                return -EINVAL;
        look_for_secret(address, length);
        rc = __real_ammap__os_unmap(address, length);
        if (rc == 0)
                squat(address, length);
        return rc;
}

/* --- A life, all of whose calls may be refused --------------------------- */

static bool all(const unsigned char *bytes, size_t length, unsigned char byte)
{
        for (size_t i = 0; i < length; i++)
                if (bytes[i] != byte)
                        return false;
        return true;
}

static void warm_up(void)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new(&map, 1), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static bool is_refusal(int rc)
{
        return rc == plan.error || rc == AMMAP_ERR_UNSUPPORTED || (!TEST_OS_LINUX && rc == -ENOSYS);
}

/* Forks see what the policy says, also where the child has to see to it. */
struct child {
        ammap_t *map;
        ammap_fork_t fork;
};

static void look_in_child(void *argument)
{
        struct child *child = argument;
        unsigned char bytes[100];
        struct vma vma;
        const void *base = ammap_as_ptr(child->map);

        plan_nothing();
        if (child->fork == AMMAP_FORK_OMIT) {
                child_must_int(ammap_read_into(child->map, 0, bytes, 1), AMMAP_ERR_UNSUPPORTED);
                child_must(base == NULL);
        } else {
                child_must_int(ammap_read_into(child->map, 0, bytes, sizeof(bytes)), 0);
                child_must(all(bytes, sizeof(bytes), child->fork == AMMAP_FORK_WIPE ? 0 : 7));
                child_must(find_vma(base, &vma));
        }
        child_must_int(ammap_free(child->map), 0);
}

/* What the map is made of: as many combinations as there are bits. */
static ammap_options_t some_options(unsigned which, ammap_want_t want)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.name = "ammap-faults";
        options.fork = (ammap_fork_t)(which % 3);
        options.guard = which & 1 ? want : AMMAP_NO;
        options.capacity = which & 2 ? 40 * PAGE : 20 * PAGE - 3;
        options.secret = which & 4 ? want : AMMAP_NO;
        options.lock = which & 8 ? want : AMMAP_NO;
        options.populate = which & 16 ? want : AMMAP_NO;
        options.nodump = which & 32 ? want : AMMAP_NO;
        options.huge = which & 64 ? AMMAP_TRY : AMMAP_NO;
        return options;
}

/* False where the map could not be made. */
static bool live(const ammap_options_t *options, bool forks)
{
        uint64_t length = 20 * PAGE - 3, full = options->capacity;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        struct child child;
        ammap_t *map, *copy;
        unsigned char bytes[200];
        int rc = ammap_new_with(&map, length, options);

        if (rc < 0) {
                ck_assert(is_refusal(rc));
                ck_assert_ptr_null(map);
                return false;
        }
        ck_assert_int_eq(ammap_fill(map, 0, length, 7), 0);
        if (forks) {
                child = (struct child){ map, options->secret && options->fork == AMMAP_FORK_COPY ? AMMAP_FORK_OMIT
                                                                                                 : options->fork };
                child_passes(look_in_child, &child);
        }

        /* Neither a discard nor a shrink can be refused. */
        ck_assert_int_eq(ammap_discard(map, 100, 10 * PAGE), 0);
        ck_assert_int_eq(ammap_read_into(map, 0, bytes, 200), 0);
        ck_assert(all(bytes, 100, 7) && all(bytes + 100, 100, 0));
        ck_assert(all((const unsigned char *)ammap_as_ptr(map) + 100, (size_t)(10 * PAGE), 0));
        ck_assert_int_eq(ammap_fill(map, 0, length, 7), 0);
        ck_assert_int_eq(ammap_resize(map, 3 * PAGE + 1), 0);

        /* A growth can; then nothing has changed. */
        while ((rc = ammap_resize(map, full)) < 0) {
                ck_assert(is_refusal(rc));
                ck_assert_uint_eq(ammap_len(map), 3 * PAGE + 1);
                plan_nothing();
        }
        ck_assert(all(ammap_as_ptr(map), (size_t)(3 * PAGE + 1), 7));
        ck_assert(all((const unsigned char *)ammap_as_ptr(map) + 3 * PAGE + 1, (size_t)(full - 3 * PAGE - 1), 0));

        rc = ammap_populate(map, 0, full);
        ck_assert(rc == 0 || is_refusal(rc));
        rc = ammap_advise(map, 0, full, AMMAP_ADVICE_SEQUENTIAL);
        ck_assert(rc == 0 || is_refusal(rc));
        rc = ammap_mlock(map, 0, 100);
        ck_assert(rc == 0 || is_refusal(rc));
        rc = ammap_munlock(map, 0, 100);
        ck_assert(rc == 0 || is_refusal(rc));
        rc = ammap_stat(map, &stat);
        ck_assert(rc == 0 || is_refusal(rc));

        rc = ammap_clone(map, &copy);
        if (rc == 0) {
                ck_assert_int_eq(memcmp(ammap_as_ptr(copy), ammap_as_ptr(map), (size_t)full), 0);
                while ((rc = ammap_free(copy)) < 0) {
                        ck_assert(is_refusal(rc));
                        plan_nothing();
                }
        } else {
                ck_assert(is_refusal(rc));
                ck_assert_ptr_null(copy);
        }

        while ((rc = ammap_freeze(map)) < 0) {
                ck_assert(is_refusal(rc));
                ck_assert_int_eq(ammap_update_region(map, 0, "\7", 1), 0);
                plan_nothing();
        }
        ck_assert(all(ammap_as_ptr(map), (size_t)(3 * PAGE + 1), 7));
        while ((rc = ammap_free(map)) < 0) {
                ck_assert(is_refusal(rc));
                ck_assert_uint_eq(ammap_len(map), full);
                plan_nothing();
        }
        return true;
}

static const int errors[] = { -ENOSYS, -EINVAL, -ENOMEM };

/* What cannot be gone without. */
static bool is_needed(enum refusable call)
{
        return call == CALL_os_reserve || call == CALL_os_protect || call == CALL_os_unmap;
}

/* How often something was refused. */
static unsigned live_through(enum refusable call, ammap_want_t want, unsigned which, int error)
{
        ammap_options_t options = some_options(which, want);
        unsigned refused = 0;

        for (unsigned ordinal = 0;; ordinal++) {
                struct footprint before = footprint();
                bool made;

                plan_refusal(call, error, ordinal);
                made = live(&options, false);
                ck_assert(made || want == AMMAP_MUST || is_needed(call));
                refused += plan.refused;
                plan_nothing();
                ck_assert_footprint(before);
                if (plan.refused == 0) /* it was not called that often */
                        return refused;
        }
}

static const unsigned worlds[] = { 0, 1, 2, 3, 4, 5, 8, 11, 16, 32, 38, 64, 63, 93, 127, 126 };

DEFINE_LOOP_TEST("refusals", refused_where_tried, 0, CALL_COUNT)
{
        unsigned refused = 0;

        warm_up();
        for (size_t e = 0; e < COUNT_OF(errors); e++)
                for (size_t w = 0; w < COUNT_OF(worlds); w++)
                        refused += live_through((enum refusable)_i, AMMAP_TRY, worlds[w], errors[e]);
        ck_assert_msg(refused > 0 || _i == CALL_os_collapse, "%s was never called", names[_i]);
}

/* Half is done, and then it fails: what the library cannot go without is as it
 * was, for as long as it can be put back. */
DEFINE_LOOP_TEST("refusals", refused_half_way, 0, CALL_COUNT)
{
        warm_up();
        for (size_t w = 0; w < COUNT_OF(worlds); w++)
                for (int want = AMMAP_TRY; want <= AMMAP_MUST; want++) {
                        ammap_options_t options = some_options(worlds[w], (ammap_want_t)want);

                        for (unsigned ordinal = 0;; ordinal++) {
                                struct footprint before = footprint();
                                unsigned long locked = status_bytes("VmLck:");
                                bool made;

                                plan_refusal((enum refusable)_i, -ENOMEM, ordinal);
                                plan.half = true;
                                made = live(&options, ordinal > 0);
                                plan_nothing();
                                /* What could neither be made nor be unmapped stays, and holds nothing. */
                                if (made || _i != CALL_os_unmap)
                                        ck_assert_footprint(before);
                                ck_assert_uint_eq(status_bytes("VmLck:"), locked);
                                if (plan.refused == 0)
                                        break;
                        }
                }
}

/* As long as the library has given something back it is not the library's. */
DEFINE_LOOP_TEST("refusals", never_what_is_not_ours, 0, CALL_COUNT)
{
        warm_up();
        for (unsigned which = 0; which < 4; which++)
                for (unsigned ordinal = 0;; ordinal++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        uint64_t size = which & 2 ? (UINT64_C(2) << 20) + 4 * PAGE : 20 * PAGE;
                        ammap_t *map;

                        options.huge = AMMAP_TRY;
                        options.guard = which & 1 ? AMMAP_TRY : AMMAP_NO;
                        squatter.on = true;
                        squatter.hurt = 0;
                        plan_refusal((enum refusable)_i, -ENOMEM, ordinal);
                        if (ammap_new_with(&map, size, &options) == 0) {
                                ck_assert_int_eq(ammap_fill(map, 0, size, 7), 0);
                                while (ammap_free(map) < 0)
                                        plan_nothing();
                        }
                        plan_nothing();
                        ck_assert_uint_eq(squatter.hurt, 0);
                        squat_no_more();
                        if (plan.refused == 0)
                                break;
                }
}

/* The locks of a map, and its access, are what they were before the call that
 * failed half-way; those of pages that were locked before, too. */
DEFINE_TEST("refusals", half_a_lock)
{
        const uint64_t before[][2] = { { 0, 0 }, { 0, 2 }, { 3, 6 }, { 9, 16 }, { 1, 15 } };
        ammap_t *map;

        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        warm_up();
        for (size_t b = 0; b < COUNT_OF(before); b++)
                for (uint64_t from = 0; from < 16; from += 3)
                        for (uint64_t to = from + 1; to <= 16; to += 5) {
                                unsigned long locked;

                                ck_assert_int_eq(ammap_new(&map, 16 * PAGE), 0);
                                ck_assert_int_eq(ammap_mlock(map, before[b][0] * PAGE,
                                                             before[b][1] * PAGE - before[b][0] * PAGE),
                                                 0);
                                locked = status_bytes("VmLck:");
                                for (int unlock = 0; unlock < 2; unlock++) {
                                        plan_refusal(unlock ? CALL_os_unlock : CALL_os_lock, -ENOMEM, 1);
                                        plan.half = true;
                                        ck_assert_int_eq((unlock ? ammap_munlock : ammap_mlock)(map, from * PAGE,
                                                                                                (to - from) * PAGE),
                                                         -ENOMEM);
                                        plan_nothing();
                                        ck_assert_uint_eq(status_bytes("VmLck:"), locked);
                                        for (uint64_t page = 0; page < 16; page++)
                                                ck_assert_int_eq(
                                                        vma_has((char *)ammap_as_mut_ptr(map) + page * PAGE, " lo"),
                                                        page >= before[b][0] && page < before[b][1]);
                                }
                                ck_assert_int_eq(ammap_mlock(map, from * PAGE, (to - from) * PAGE), 0);
                                ck_assert_int_eq(ammap_munlock(map, 0, 16 * PAGE), 0);
                                ck_assert_uint_eq(status_bytes("VmLck:"),
                                                  locked - (before[b][1] - before[b][0]) * PAGE);
                                ck_assert_int_eq(ammap_free(map), 0);
                        }
}

/* Of a map that is to be left out no part is: another handler of the fork may put
 * something there before this library's takes the rest away. */
/* A view that cannot be noted is none, and stops nothing. */
DEFINE_TEST("refusals", no_memory_for_a_view)
{
        ammap_u32_view_t u32;
        ammap_u64_view_t u64;
        int rc, rc_slice;
        ammap_t *map;

        ck_assert_int_eq(ammap_new(&map, 100), 0);
        no_memory = true; /* Check itself needs some */
        rc = ammap_atomic_u32(map, 0, &u32);
        rc_slice = ammap_atomic_u64_slice(map, 8, 3, &u64);
        no_memory = false;
        ck_assert_int_eq(rc, -ENOMEM);
        ck_assert(!u32.value && u32.count == 0);
        ck_assert_int_eq(rc_slice, -ENOMEM);
        ck_assert(!u64.value && u64.count == 0);
        ammap_u32_view_release(&u32);
        ammap_u64_view_release(&u64);
        ck_assert_int_eq(ammap_resize(map, 5), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &u32), 0);
        ck_assert_int_eq(ammap_resize(map, 3), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&u32);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("refusals", half_an_omission)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct child child = { .fork = AMMAP_FORK_OMIT };

        warm_up();
        options.fork = AMMAP_FORK_OMIT;
        plan_refusal(CALL_os_omit_on_fork, -ENOMEM, 0);
        plan.half = true;
        ck_assert_int_eq(ammap_new_with(&child.map, 20 * PAGE, &options), 0);
        plan_nothing();
        ck_assert(!vma_has(ammap_as_ptr(child.map), " dc"));
        child_passes(look_in_child, &child);
        ck_assert_int_eq(ammap_free(child.map), 0);
}

/* However long the kernel takes for its account, nobody waits for it. */
DEFINE_TEST("refusals", stat_beside_a_resize)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_t *map;

        options.capacity = 10 * PAGE;
        ck_assert_int_eq(ammap_new_with(&map, PAGE, &options), 0);
        resized_beside = map;
        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        ck_assert_uint_eq(stat.length, 9 * PAGE);
        ck_assert_int_ge(ammap_is_hugepage_backed(map), TEST_OS_LINUX ? 0 : AMMAP_ERR_UNSUPPORTED);
        resized_beside = NULL;
        ck_assert_int_eq(ammap_free(map), 0);
}

static ammap_t *new_recycled(uint64_t size)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.recycle = AMMAP_TRY;
        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        return map;
}

/* What the system does not take back is kept, and ammap_trim says so. */
DEFINE_TEST("refusals", trim_says_what_is_not_taken_back)
{
        enum { COUNT = 6 };
        struct footprint before;

        warm_up();
        before = footprint();
        for (unsigned ordinal = 0; ordinal <= COUNT + 1; ordinal++) {
                ammap_t *map[COUNT];

                for (int i = 0; i < COUNT; i++)
                        map[i] = new_recycled((uint64_t)(1 + i % 2) << 20);
                for (int i = 0; i < COUNT; i++)
                        ck_assert_int_eq(ammap_free(map[i]), 0);
                plan_refusal(CALL_os_unmap, -ENOMEM, ordinal);
                ck_assert_int_eq(ammap_trim(0), ordinal > COUNT ? 0 : -ENOMEM);
                ck_assert_uint_eq(plan.refused, ordinal > COUNT ? 0 : ordinal > 0 ? 1 : COUNT);
                plan_nothing();
                /* It is still there to be used, and to be trimmed. */
                map[0] = new_recycled(1 << 20);
                ck_assert(all(ammap_as_ptr(map[0]), 1 << 20, 0));
                ck_assert_int_eq(ammap_fill(map[0], 0, 1 << 20, 1), 0);
                ck_assert_int_eq(ammap_free(map[0]), 0);
                ck_assert_int_eq(ammap_trim(0), 0);
                ck_assert_footprint(before);
        }
}

/* Where there is no room for a freed map, and none can be made, the caller has it
 * as it was: what is kept stays within its bound. */
DEFINE_TEST("refusals", a_free_that_is_refused_changes_nothing)
{
        enum { COUNT = AMMAP_RECYCLE_MAX >> 20 };
        struct footprint before;
        ammap_t *map[COUNT];

        warm_up();
        before = footprint();
        for (int i = 0; i < COUNT; i++)
                map[i] = new_recycled(1 << 20);
        for (int i = 0; i < COUNT - 1; i++)
                ck_assert_int_eq(ammap_free(map[i]), 0);
        plan_refusal(CALL_os_unmap, -ENOMEM, 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(ammap_free(map[COUNT - 1]), -ENOMEM);
                ck_assert_int_eq(ammap_fill(map[COUNT - 1], 0, 1 << 20, 1), 0);
        }
        plan_nothing();
        ck_assert_int_eq(ammap_free(map[COUNT - 1]), 0);
        plan_refusal(CALL_os_unmap, -ENOMEM, 0);
        ck_assert_int_eq(ammap_trim(AMMAP_RECYCLE_MAX), 0); /* nothing has to go */
        plan_nothing();
        ck_assert_int_eq(ammap_trim(0), 0);
        ck_assert_footprint(before);
}

DEFINE_LOOP_TEST("refusals", refused_where_needed, 0, CALL_COUNT)
{
        if (!TEST_OS_LINUX && _i == CALL_os_unmap)
                return; /* there is always something else that fails, and then this cannot */
        warm_up();
        for (size_t e = 0; e < COUNT_OF(errors); e++)
                for (size_t w = 0; w < COUNT_OF(worlds); w++)
                        live_through((enum refusable)_i, AMMAP_MUST, worlds[w], errors[e]);
}

/* The very code of the system, from the very call that must be; but for the code of one
 * that has no such call. */
DEFINE_TEST("refusals", codes_are_those_of_the_system)
{
        static const struct {
                enum refusable call;
                size_t field;
        } cases[] = {
                { CALL_os_lock, offsetof(ammap_options_t, lock) },
                { CALL_os_lock, offsetof(ammap_options_t, secret) },
                { CALL_os_nodump, offsetof(ammap_options_t, nodump) },
                { CALL_os_nodump, offsetof(ammap_options_t, secret) },
                { CALL_os_advise, offsetof(ammap_options_t, huge) },
        };
        static const ammap_want_t wants[] = { AMMAP_TRY, AMMAP_MUST };

        warm_up();
        for (size_t i = 0; i < COUNT_OF(cases); i++)
                for (size_t e = 0; e < COUNT_OF(errors); e++)
                        for (size_t w = 0; w < COUNT_OF(wants); w++) {
                                ammap_options_t options = AMMAP_OPTIONS_INIT;
                                struct footprint before = footprint();
                                ammap_t *map;
                                int rc;

                                if (!TEST_OS_LINUX && cases[i].field == offsetof(ammap_options_t, secret))
                                        continue; /* refused already */
                                memcpy((unsigned char *)&options + cases[i].field, &wants[w], sizeof(wants[w]));
                                plan_refusal(cases[i].call, errors[e], 0);
                                rc = ammap_new_with(&map, 100, &options);
                                plan_nothing();
                                ck_assert_uint_gt(plan.refused, 0);
                                ck_assert_int_eq(rc, wants[w] != AMMAP_MUST ? 0
                                                     : errors[e] == -ENOSYS ? AMMAP_ERR_UNSUPPORTED
                                                                            : errors[e]);
                                ck_assert_int_eq(ammap_free(map), 0);
                                ck_assert_footprint(before);
                        }
}

/* That nothing is kept free for a map is told as the kernel tells it; or, where that does not, as it was made. */
DEFINE_TEST_IF(TEST_OS_LINUX, "refusals", what_noreserve_came_to)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_t *map;

        options.noreserve = AMMAP_TRY;
        ck_assert_int_eq(ammap_new_with(&map, 20 * PAGE, &options), 0);
        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        if (stat.noreserve) {
                plan_refusal(CALL_os_usage, -EINVAL, 0);
                ck_assert_int_eq(ammap_stat(map, &stat), 0);
                plan_nothing();
                ck_assert(stat.noreserve);
                accounts_for_all = true;
                ck_assert_int_eq(ammap_stat(map, &stat), 0);
                accounts_for_all = false;
                ck_assert(!stat.noreserve);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Huge pages are off: madvise says 0, and none come. */
DEFINE_TEST("refusals", no_huge_pages)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        struct footprint before;
        ammap_t *map;

        warm_up();
        before = footprint();
        if (os_huge_size() == 0) {
                skip_part(__func__, "no huge pages here");
                return;
        }
        options.huge = AMMAP_MUST;
        for (size_t e = 0; e < COUNT_OF(errors); e++) {
                plan_refusal(CALL_os_advise, errors[e], 0);
                ck_assert_int_eq(ammap_new_with(&map, 2 * os_huge_size(), &options),
                                 errors[e] == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : errors[e]);
                plan_nothing();
                ck_assert_footprint(before);
        }
        options.huge = AMMAP_TRY;
        plan_refusal(CALL_os_advise, -EINVAL, 0);
        ck_assert_int_eq(ammap_new_with(&map, 2 * os_huge_size(), &options), 0);
        plan_nothing();
        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        ck_assert_uint_eq(stat.huge, 0);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_footprint(before);
}

#if TEST_OS_LINUX
/* The kernel does not collapse what others have too, or cannot make it present. */
DEFINE_LOOP_TEST("refusals", no_huge_pages_of_shared_memory, 0, 2)
{
        const enum refusable call = _i ? CALL_os_populate : CALL_os_collapse;
        static const ammap_share_t kinds[] = { AMMAP_SHARED, AMMAP_RAW };

        for (size_t k = 0; k < COUNT_OF(kinds); k++)
                for (size_t e = 0; e < COUNT_OF(errors); e++) {
                        const uint64_t size = 2 * os_huge_size();
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        struct footprint before;
                        ammap_t *map;
                        int rc;

                        options.share = kinds[k];
                        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0); /* what a first one leaves */
                        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                        before = footprint();
                        options.huge = AMMAP_MUST;
                        plan_refusal(call, errors[e], 0);
                        rc = ammap_new_with(&map, size, &options);
                        plan_nothing();
                        ck_assert_uint_gt(plan.refused, 0);
                        /* A fault may make huge pages, too: the administrator says so. */
                        ck_assert(rc == (errors[e] == -ENOMEM ? -ENOMEM : AMMAP_ERR_UNSUPPORTED) || (rc == 0 && !_i));
                        ck_assert(rc < 0 || ammap_is_hugepage_backed(map));
                        ck_assert_int_eq(ammap_free(map), 0);
                        ck_assert_footprint(before);

                        options.huge = AMMAP_TRY;
                        options.capacity = kinds[k] == AMMAP_SHARED ? 2 * size : 0;
                        plan_refusal(call, errors[e], 0);
                        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
                        if (options.capacity)
                                ck_assert_int_eq(ammap_resize(map, 2 * size), 0);
                        plan_nothing();
                        ck_assert_int_eq(ammap_fill(map, 0, ammap_len(map), 1), 0);
                        ck_assert_int_ge(ammap_is_hugepage_backed(map), 0);
                        ck_assert_int_eq(ammap_free(map), 0);
                        ck_assert_footprint(before);
                }
}

/* A growth that must be huge and cannot changes nothing. */
DEFINE_TEST("refusals", no_huge_growth_of_shared_memory)
{
        const uint64_t size = os_huge_size();
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = AMMAP_SHARED;
        options.huge = AMMAP_MUST;
        options.capacity = 3 * size;
        if (ammap_new_with(&map, size, &options) < 0) {
                skip_part(__func__, "no huge pages of shared memory here");
                return;
        }
        for (size_t e = 0; e < COUNT_OF(errors); e++) {
                plan_refusal(CALL_os_populate, errors[e], 0);
                ck_assert_int_eq(ammap_resize(map, 3 * size), errors[e] == -ENOMEM ? -ENOMEM : AMMAP_ERR_UNSUPPORTED);
                plan_nothing();
                ck_assert_uint_eq(ammap_len(map), size);
        }
        ck_assert_int_eq(ammap_resize(map, 3 * size), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 3 * size, 1), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}
#endif

/* Guards are there where the kernel has no markers, and so is what a fork finds
 * where it has no policies. */
DEFINE_TEST("refusals", done_by_hand)
{
        static const enum refusable calls[] = { CALL_os_guard, CALL_os_omit_on_fork, CALL_os_wipe_on_fork,
                                                CALL_os_discard };
        struct footprint before;

        warm_up();
        before = footprint();
        for (size_t c = 0; c < COUNT_OF(calls); c++)
                for (unsigned which = 0; which < 12; which++)
                        for (unsigned ordinal = 0; ordinal < 3; ordinal++) {
                                ammap_options_t options = some_options(which, AMMAP_TRY);
                                ammap_stat_t stat = AMMAP_STAT_INIT;
                                ammap_t *map;

                                plan_refusal(calls[c], -EINVAL, ordinal);
                                ck_assert(live(&options, true));
                                plan_refusal(calls[c], -EINVAL, ordinal);
                                ck_assert_int_eq(ammap_new_with(&map, 20 * PAGE, &options),
                                                 options.capacity < 20 * PAGE ? AMMAP_ERR_SIZE : 0);
                                plan_nothing();
                                if (map && options.guard) {
                                        const unsigned char *base = ammap_as_ptr(map);

                                        ck_assert(is_fatal(base - PAGE, false));
                                        ck_assert(is_fatal(base + options.capacity + 15, true));
                                        if (ammap_stat(map, &stat) == 0 && calls[c] == CALL_os_guard && ordinal == 0)
                                                ck_assert_int_eq((int)stat.guard, AMMAP_GUARD_PAGES);
                                }
                                ck_assert_int_eq(ammap_free(map), 0);
                                ck_assert_footprint(before);
                        }
}

/* No byte of a secret goes back to the system as it was: not by a shrink, a
 * discard, a free or a clone that fails, whatever is refused. */
DEFINE_TEST("refusals", no_secret_goes_back_unwiped)
{
        for (enum refusable call = 0; call <= CALL_COUNT; call++)
                for (unsigned which = 0; which < 4; which++)
                        for (unsigned ordinal = 0; ordinal < 4; ordinal++) {
                                ammap_options_t options = AMMAP_OPTIONS_INIT;
                                ammap_t *map, *copy;
                                int rc;

                                options.secret = AMMAP_TRY;
                                options.guard = which & 1 ? AMMAP_TRY : AMMAP_NO;
                                plan_refusal(call, -EINVAL, which & 2 ? 0 : ordinal);
                                rc = ammap_new_with(&map, 3 * PAGE - 5, &options);
                                if (rc < 0)
                                        continue;
                                ck_assert_int_eq(ammap_fill(map, 0, 3 * PAGE - 5, 0x77), 0);
                                secret_bytes = ammap_as_ptr(map);
                                secret_length = (size_t)(3 * PAGE - 5);
                                looked = unwiped = 0;
                                ck_assert_int_eq(ammap_resize(map, PAGE + 9), 0);
                                ck_assert(all(secret_bytes + PAGE + 9, secret_length - (size_t)PAGE - 9, 0));
                                ck_assert_int_eq(unwiped, 0);
                                ck_assert_int_eq(ammap_discard(map, 0, PAGE), 0);
                                secret_bytes += which & 1 ? 0 : PAGE;
                                ck_assert_int_eq(unwiped, 0);
                                if (ammap_clone(map, &copy) == 0)
                                        while (ammap_free(copy) < 0)
                                                plan_nothing();
                                if (ordinal & 1 && ammap_freeze(map) < 0)
                                        plan_nothing();
                                secret_bytes = ammap_as_ptr(map);
                                secret_length = (size_t)PAGE;
                                looked = unwiped = 0;
                                while (ammap_free(map) < 0)
                                        plan_nothing();
                                plan_nothing();
                                ck_assert_uint_ge(looked, PAGE);
                                ck_assert_uint_eq(unwiped, 0);
                                secret_length = 0;
                        }
}

/* The test of the test: what is no secret is seen to go. */
DEFINE_TEST("refusals", what_is_no_secret_is_seen_to_go)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new(&map, 100), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 100, 1), 0);
        secret_bytes = ammap_as_ptr(map);
        secret_length = 100;
        looked = unwiped = 0;
        ck_assert_int_eq(ammap_free(map), 0);
        secret_length = 0;
        ck_assert_uint_eq(looked, 100);
        ck_assert_uint_eq(unwiped, 100);
}

/* Link-time optimisation binds the library's calls before the linker can. */
/* Link-time optimisation wraps some of them and not others. */
static bool is_wrapped(void)
{
        static const enum refusable always[] = { CALL_os_reserve, CALL_os_unmap, CALL_os_lock };
        bool wrapped = true;
        ammap_t *map;

        for (size_t i = 0; i < COUNT_OF(always); i++) {
                plan_refusal(always[i], -ENOMEM, 0);
                if (ammap_new(&map, 1) == 0) {
                        ammap_mlock(map, 0, 1);
                        ammap_free(map);
                }
                wrapped &= plan.seen > 0;
                plan_nothing();
        }
        return wrapped;
}

int main(void)
{
        if (is_wrapped())
                return run_tests("faults", test_case);
        printf("faults: the linker did not wrap the calls\n");
        return SKIPPED;
}
