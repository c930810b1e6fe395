/* test-memory.c - the properties of a map's memory
 *
 * SPDX-License-Identifier: MIT
 *
 * Each property is looked for where the kernel shows it (smaps, status, mincore,
 * a core file, a fault at a byte, a forked child), and then in ammap_stat.
 */
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <stddef.h>

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))
#define MB (UINT64_C(1) << 20)
/* What ammap_stat says of untouched memory. */
#define NOTHING (TEST_OS_LINUX ? 0 : AMMAP_STAT_UNKNOWN)

static ammap_stat_t stat_of(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;

        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        return stat;
}

static ammap_t *make(uint64_t size, const ammap_options_t *options)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new_with(&map, size, options), 0);
        return map;
}

static bool all(const unsigned char *bytes, size_t length, unsigned char byte)
{
        for (size_t i = 0; i < length; i++)
                if (bytes[i] != byte)
                        return false;
        return true;
}

/* --- Options ------------------------------------------------------------ */

/* Every enum field, at values that it does not have. */
DEFINE_TEST("options", unknown_values_are_refused)
{
        static const size_t fields[] = {
                offsetof(ammap_options_t, fork),     offsetof(ammap_options_t, huge),
                offsetof(ammap_options_t, populate), offsetof(ammap_options_t, lock),
                offsetof(ammap_options_t, guard),    offsetof(ammap_options_t, nodump),
                offsetof(ammap_options_t, secret),   offsetof(ammap_options_t, noreserve),
                offsetof(ammap_options_t, recycle),  offsetof(ammap_options_t, share),
        };
        static const int values[] = { 3, 4, 255, -1, INT_MAX, INT_MIN };

        for (size_t f = 0; f < COUNT_OF(fields); f++)
                for (size_t v = 0; v < COUNT_OF(values); v++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *map = (ammap_t *)&options;

                        memcpy((unsigned char *)&options + fields[f], &values[v], sizeof(values[v]));
                        ck_assert_int_eq(ammap_new_with(&map, 4096, &options), AMMAP_ERR_INVALID);
                        ck_assert_ptr_null(map);
                        ck_assert_int_eq(ammap_new_with(&map, 0, &options), AMMAP_ERR_INVALID);
                }
}

/* All of TRY at once, at every fork policy and with spare capacity: a map that
 * works like any other. */
DEFINE_TEST("options", try_everything)
{
        for (int fork_policy = 0; fork_policy < 3; fork_policy++)
                for (int wants = 0; wants < 128; wants++)
                        for (int spare = 0; spare < 2; spare++) {
                                ammap_options_t options = AMMAP_OPTIONS_INIT;
                                unsigned char byte;
                                ammap_t *map;

                                options.fork = (ammap_fork_t)fork_policy;
                                options.huge = wants & 1 ? AMMAP_TRY : AMMAP_NO;
                                options.populate = wants & 2 ? AMMAP_TRY : AMMAP_NO;
                                options.lock = wants & 4 ? AMMAP_TRY : AMMAP_NO;
                                options.guard = wants & 8 ? AMMAP_TRY : AMMAP_NO;
                                options.nodump = wants & 16 ? AMMAP_TRY : AMMAP_NO;
                                options.secret = wants & 32 ? AMMAP_TRY : AMMAP_NO;
                                options.noreserve = wants & 64 ? AMMAP_TRY : AMMAP_NO;
                                options.capacity = spare ? 30001 : 0;
                                map = make(10001, &options);
                                ck_assert_uint_eq((uintptr_t)ammap_as_ptr(map) % 16, 0);
                                ck_assert_int_eq(ammap_fill(map, 0, 10001, 5), 0);
                                ck_assert_int_eq(ammap_resize(map, 5000), 0);
                                ck_assert_int_eq(ammap_resize(map, spare ? 30001 : 10001), 0);
                                ck_assert_int_eq(ammap_read_into(map, 4999, &byte, 1), 0);
                                ck_assert_uint_eq(byte, 5);
                                ck_assert_int_eq(ammap_read_into(map, 5000, &byte, 1), 0);
                                ck_assert_uint_eq(byte, 0);
                                ck_assert_int_eq(ammap_update_region(map, ammap_len(map) - 1, &byte, 1), 0);
                                ck_assert_int_eq(ammap_free(map), 0);
                        }
}

DEFINE_TEST("options", names)
{
        char text[200];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        memcpy(text, "ammap-test", 10);
        for (size_t length = 0; length < sizeof(text) - 1; length += 9) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                char name[200];
                struct vma vma;
                ammap_t *map;

                snprintf(name, sizeof(name), "%.*s", (int)length, text);
                if (length > 20)
                        name[11] = "[\n\x7f"[length / 9 % 3];
                options.name = name;
                map = make(4096, &options);
                memset(name, 0, sizeof(name)); /* it is only read during the call */
                ck_assert(find_vma(ammap_as_ptr(map), &vma));
                if (length > 10 && vma.name[0]) /* the kernel has such names */
                        ck_assert_ptr_nonnull(strstr(vma.name, "ammap-test"));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- Properties --------------------------------------------------------- */

DEFINE_TEST("properties", stat_says_what_a_plain_map_is)
{
        ammap_t *map = make(100000, NULL);
        ammap_stat_t stat;

        stat = stat_of(map);
        ck_assert_uint_eq(stat.struct_size, sizeof(stat));
        ck_assert_uint_eq(stat.length, 100000);
        ck_assert_uint_eq(stat.capacity, 100000);
        ck_assert_uint_eq(stat.page, PAGE);
        ck_assert_uint_eq(stat.mapped, (100000 + PAGE - 1) / PAGE * PAGE);
        ck_assert_uint_eq(stat.resident, NOTHING);
        ck_assert_uint_eq(stat.huge, NOTHING);
        ck_assert_uint_eq(stat.locked, NOTHING);
        ck_assert_uint_eq(stat.slices, 0);
        ck_assert_uint_eq(stat.views, 0);
        ck_assert_uint_eq(stat.lanes, 1);
        ck_assert_int_eq((int)stat.share, AMMAP_PRIVATE);
        ck_assert_int_eq((int)stat.fork, AMMAP_FORK_COPY);
        ck_assert_int_eq((int)stat.guard, AMMAP_GUARD_NONE);
        ck_assert(!stat.frozen && !stat.read_only);
        ck_assert_uint_eq(stat.lane_size, 100000);
        ck_assert_uint_eq(stat.slots, 0);
        ck_assert_uint_eq(stat.slots_max, 0);
        ck_assert_int_eq((int)stat.why_read_only, AMMAP_WHY_NOT);
        ck_assert(!stat.nodump && !stat.secret && !stat.noreserve && !stat.recycle);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), TEST_OS_LINUX ? 0 : AMMAP_ERR_UNSUPPORTED);
        ck_assert_int_eq(ammap_is_hugepage_backed(NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The caller's structure is larger, smaller, or none. */
DEFINE_TEST("properties", stat_fills_structures_of_every_size)
{
        struct {
                ammap_stat_t stat;
                unsigned char later[40];
        } larger;
        ammap_t *map = make(777, NULL);
        ammap_stat_t stat;

        ck_assert_int_eq(ammap_stat(map, NULL), AMMAP_ERR_INVALID);
        memset(&larger, 0xee, sizeof(larger));
        larger.stat.struct_size = sizeof(larger);
        ck_assert_int_eq(ammap_stat(map, &larger.stat), 0);
        ck_assert_uint_eq(larger.stat.struct_size, sizeof(larger));
        ck_assert_uint_eq(larger.stat.length, 777);
        ck_assert(all(larger.later, sizeof(larger.later), 0));
        for (size_t size = 0; size <= sizeof(stat); size++) {
                memset(&stat, 0xee, sizeof(stat));
                stat.struct_size = size;
                ck_assert_int_eq(ammap_stat(map, &stat), size < sizeof(size_t) ? AMMAP_ERR_INVALID : 0);
                ck_assert_uint_eq(stat.struct_size, size);
                if (size >= offsetof(ammap_stat_t, capacity))
                        ck_assert_uint_eq(stat.length, 777);
                ck_assert(all((unsigned char *)&stat + (size < sizeof(size) ? sizeof(size) : size),
                              sizeof(stat) - (size < sizeof(size) ? sizeof(size) : size), 0xee));
        }
        memset(&stat, 0xee, sizeof(stat));
        stat.struct_size = sizeof(stat);
        ck_assert_int_eq(ammap_stat(NULL, &stat), AMMAP_ERR_INVALID);
        ck_assert(all((unsigned char *)&stat + sizeof(size_t), sizeof(stat) - sizeof(size_t), 0));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Nothing but what the fields say comes over: the rest is 0, whatever the stack held. */
DEFINE_TEST("properties", stat_has_no_hidden_room)
{
        ammap_t *map = make(777, NULL);
        unsigned char stack[2][8192];
        ammap_stat_t stat;

        for (int i = 0; i < 2; i++) {
                memset(stack[i], 0xee, sizeof(stack[i]));
                __asm__ volatile("" ::"r"(stack[i]) : "memory");
                memset(&stat, 0xee, sizeof(stat));
                stat.struct_size = sizeof(stat);
                ck_assert_int_eq(ammap_stat(map, &stat), 0);
                ck_assert(all(stat.reserved, sizeof(stat.reserved), 0));
                ck_assert_uint_eq(stat.reserved_b, 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *count_there(void *argument)
{
        ammap_slice_t slice;

        thread_check_int(ammap_as_slice(argument, 0, 1, &slice), 0);
        thread_check(stat_of(argument).slices == 4);
        ammap_slice_release(&slice);
        return NULL;
}

DEFINE_TEST("properties", stat_counts_slices_and_views)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *other = make(100, NULL);
        ammap_slice_t slice[2], elsewhere;
        ammap_mut_slice_t mut;
        ammap_u32_view_t view[2];
        pthread_t thread;

        options.lanes = 5;
        map = make(1000, &options);
        ck_assert_int_eq(ammap_as_slice(other, 0, 100, &elsewhere), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 500, &slice[0]), 0);
        ck_assert_int_eq(ammap_as_slice(map, 10, 500, &slice[1]), 0);
        ck_assert_int_eq(ammap_as_mut_slice(map, 800, 100, &mut), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view[0]), 0);
        ck_assert_int_eq(ammap_atomic_u32_slice(map, 0, 250, &view[1]), 0);
        ck_assert_uint_eq(stat_of(map).slices, 3);
        ck_assert_uint_eq(stat_of(map).views, 2);
        ck_assert_uint_eq(stat_of(map).lanes, 5);
        ck_assert_uint_eq(stat_of(other).slices, 1);
        ck_assert_int_eq(pthread_create(&thread, NULL, count_there, map), 0);
        pthread_join(thread, NULL);
        ammap_slice_release(&slice[0]);
        ammap_u32_view_release(&view[1]);
        ck_assert_uint_eq(stat_of(map).slices, 2);
        ck_assert_uint_eq(stat_of(map).views, 1);
        ammap_slice_release(&slice[1]);
        ammap_mut_slice_release(&mut);
        ammap_u32_view_release(&view[0]);
        ck_assert_uint_eq(stat_of(map).slices, 0);
        ammap_slice_release(&elsewhere);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* A stray access of each byte of the guards' ends dies there and nowhere else. */
DEFINE_TEST("properties", guards_stop_stray_accesses)
{
        static const uint64_t sizes[] = { 1, 16, 100, 4080, 4096, 5000, 8192, 65536 };

        for (size_t s = 0; s < COUNT_OF(sizes); s++)
                for (int kind = 0; kind < 3; kind++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        struct footprint before = footprint();
                        const unsigned char *base, *end;
                        uintptr_t first, last;
                        ammap_t *map;

                        options.guard = AMMAP_MUST;
                        options.fork = kind == 1 ? AMMAP_FORK_WIPE : AMMAP_FORK_COPY;
                        options.capacity = kind == 2 ? sizes[s] + 20000 : 0;
                        map = make(sizes[s], &options);
                        if (kind == 2) {
                                base = ammap_as_ptr(map);
                                first = (uintptr_t)(((uintptr_t)base + sizes[s] + PAGE - 1) & ~(PAGE - 1));
                                ck_assert(is_fatal((const unsigned char *)first, false));
                                ck_assert_int_eq(ammap_resize(map, options.capacity), 0);
                        }
                        base = ammap_as_ptr(map);
                        end = base + ammap_len(map);
                        ck_assert_uint_eq((uintptr_t)base % 16, 0);
                        first = (uintptr_t)((uintptr_t)base & ~(PAGE - 1));
                        last = (uintptr_t)(((uintptr_t)end + PAGE - 1) & ~(PAGE - 1));
                        ck_assert_uint_lt(last - (uintptr_t)end, 16); /* flush, but for the alignment */
                        ck_assert(!is_fatal(end - 1, false));
                        ck_assert(!is_fatal(base, false));
                        for (int read = 0; read < 2; read++) {
                                ck_assert(is_fatal((const unsigned char *)first - 1, read));
                                ck_assert(is_fatal((const unsigned char *)first - PAGE, read));
                                ck_assert(is_fatal((const unsigned char *)last, read));
                                ck_assert(is_fatal((const unsigned char *)last + PAGE / 2, read));
                                ck_assert(is_fatal((const unsigned char *)last + PAGE - 1, read));
                        }
                        ck_assert(is_fatal(base - PAGE, false));
                        ck_assert(is_fatal(end + 15, false) || PAGE < 16);
                        ck_assert_int_ne((int)stat_of(map).guard, AMMAP_GUARD_NONE);
                        ck_assert_uint_ge(stat_of(map).mapped, ammap_len(map) + 2 * PAGE);
                        ck_assert_int_eq(ammap_free(map), 0);
                        if (s || kind)
                                ck_assert_footprint(before);
                }
}

DEFINE_TEST("properties", populated_pages_are_there)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.populate = AMMAP_MUST;
        options.capacity = 200 * PAGE;
        map = make(100 * PAGE, &options);
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(100 * PAGE)), 100);
        ck_assert_int_eq(ammap_resize(map, 150 * PAGE), 0);
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(150 * PAGE)), 150);
#if TEST_OS_LINUX
        ck_assert_uint_eq(stat_of(map).resident, 150 * PAGE);
#endif
        ck_assert_int_eq(ammap_free(map), 0);

        map = make(100 * PAGE, NULL);
        ck_assert_int_eq(ammap_populate(map, 10 * PAGE + 5, PAGE), 0); /* two pages are touched */
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(100 * PAGE)), 2);
        ck_assert_int_eq(ammap_populate(map, 100 * PAGE, 0), 0);
        ck_assert_int_eq(ammap_populate(map, 50 * PAGE, 0), 0);
        ck_assert_int_eq(ammap_populate(map, 99 * PAGE, PAGE), 0);
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(100 * PAGE)), 3);
        ck_assert_int_eq(ammap_populate(NULL, 0, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_populate(map, 100 * PAGE, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_populate(map, 1, UINT64_MAX), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Whoever has a hundred thousand small maps has this as often: by the system's account of all
 * memory, which the heap's and the mappings' is part of. */
DEFINE_TEST("properties", a_map_is_light)
{
        enum { MAPS = 10000, MOST = 512 };
        static ammap_t *maps[MAPS];
        unsigned long before, each;

        if (!TEST_OS_LINUX || TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        maps[0] = make(PAGE, NULL); /* and what a thread has */
        before = status_bytes("VmData:");
        for (int i = 1; i < MAPS; i++)
                maps[i] = make(PAGE, NULL);
        each = (status_bytes("VmData:") - before) / (MAPS - 1) - (unsigned long)PAGE;
        printf("a private map: %lu bytes beside its page\n", each);
        ck_assert_uint_lt(each, MOST);
        for (int i = 0; i < MAPS; i++)
                ck_assert_int_eq(ammap_free(maps[i]), 0);
}

DEFINE_TEST("properties", locked_pages_are_there_and_counted)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned long before = status_bytes("VmLck:");
        ammap_t *map;

        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        options.lock = AMMAP_MUST;
        options.capacity = 40 * PAGE;
        map = make(10 * PAGE, &options);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 10 * PAGE);
        ck_assert_int_eq(ammap_resize(map, 30 * PAGE - 5), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 30 * PAGE);
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(30 * PAGE - 5)), 30);
#if TEST_OS_LINUX
        ck_assert(vma_has(ammap_as_ptr(map), " lo"));
        ck_assert_uint_eq(stat_of(map).locked, 30 * PAGE);
#endif
        /* Locked pages are zeroed where they are; a shrink lets them go. */
        ck_assert_int_eq(ammap_fill(map, 0, 30 * PAGE - 5, 1), 0);
        ck_assert_int_eq(ammap_discard(map, 0, 10 * PAGE), 0);
        ck_assert(all(ammap_as_ptr(map), (size_t)(10 * PAGE), 0));
        ck_assert_int_eq(ammap_resize(map, 5 * PAGE), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 5 * PAGE);
        ck_assert_int_eq(ammap_resize(map, 6 * PAGE), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 6 * PAGE);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before);

        map = make(10 * PAGE, NULL);
        ck_assert_int_eq(ammap_mlock(map, 2 * PAGE - 1, 2), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + 2 * PAGE);
        ck_assert_int_eq(ammap_munlock(map, 2 * PAGE, 1), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before + PAGE);
        ck_assert_int_eq(ammap_munlock(map, 0, 10 * PAGE), 0);
        ck_assert_uint_eq(status_bytes("VmLck:"), before);
        ck_assert_int_eq(ammap_mlock(map, 10 * PAGE, 0), 0);
        ck_assert_int_eq(ammap_mlock(map, 10 * PAGE, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_munlock(map, 1, UINT64_MAX), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_mlock(NULL, 0, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_munlock(NULL, 0, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Root locks what it likes: a child is nobody. */
static void lock_too_much(void *argument)
{
        const struct rlimit limit = { 16 * 4096, 16 * 4096 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        (void)argument;
        child_must(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
        if (geteuid() == 0) {
                child_must(setgroups(0, NULL) == 0);
                child_must(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        }
        for (int secret = 0; secret < 2; secret++) {
                memset(&options, 0, sizeof(options));
                options.struct_size = sizeof(options);
                *(secret ? &options.secret : &options.lock) = AMMAP_MUST;
                rc = ammap_new_with(&map, 100 * 4096, &options);
                child_must(!map);
                child_must(rc == -ENOMEM || rc == -EPERM || rc == -EAGAIN || (secret && rc == AMMAP_ERR_UNSUPPORTED));
                *(secret ? &options.secret : &options.lock) = AMMAP_TRY;
                child_must_int(ammap_new_with(&map, 100 * 4096, &options), 0);
                child_must(status_bytes("VmLck:") == 0);
                child_must(stat_of(map).locked == NOTHING);
                child_must(!stat_of(map).secret);
                child_must(stat_of(map).nodump == (secret && TEST_OS_LINUX));
                child_must_int(ammap_fill(map, 0, 100 * 4096, 1), 0);
                child_must_int(ammap_resize(map, 1), 0);
                child_must_int(ammap_resize(map, 100 * 4096), 0);
                child_must_int(ammap_free(map), 0);
        }
        /* What fits, but cannot grow: nothing has changed then. */
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.lock = AMMAP_MUST;
        options.capacity = 100 * 4096;
        child_must_int(ammap_new_with(&map, 4096, &options), 0);
        rc = ammap_resize(map, 100 * 4096);
        child_must(rc == -ENOMEM || rc == -EAGAIN);
        child_must(ammap_len(map) == 4096);
        child_must(status_bytes("VmLck:") == 4096);
        child_must_int(ammap_resize(map, 2 * 4096), 0);
        child_must_int(ammap_mlock(map, 0, 4096), 0);
        child_must_int(ammap_free(map), 0);
}

DEFINE_TEST("properties", locking_stays_within_the_limit)
{
        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        child_passes(lock_too_much, NULL);
}

static void run_out_of_space(void *argument)
{
        ammap_t *warm, *map, *copy;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct footprint before;
        struct rlimit limit;

        (void)argument;
        child_must_int(ammap_new(&warm, 4096), 0);
        child_must_int(ammap_fill(warm, 0, 4096, 1), 0); /* where a thread notes its holds */
        before = footprint();
        limit.rlim_cur = limit.rlim_max = status_bytes("VmSize:") + 16 * MB;
        child_must(setrlimit(RLIMIT_AS, &limit) == 0);
        child_must_int(ammap_new(&map, 64 * MB), -ENOMEM);
        child_must(!map);
        options.capacity = 64 * MB;
        child_must_int(ammap_new_with(&map, 4096, &options), -ENOMEM);
        options.capacity = 0;
        options.guard = options.huge = options.lock = AMMAP_TRY;
        child_must_int(ammap_new_with(&map, 64 * MB, &options), -ENOMEM);
        child_must_int(ammap_new(&map, 10 * MB), 0);
        child_must_int(ammap_clone(map, &copy), -ENOMEM);
        child_must(!copy);
        child_must_int(ammap_free(map), 0);
        child_must(footprint().mappings == before.mappings && footprint().bytes == before.bytes);
        child_must_int(ammap_free(warm), 0);
}

DEFINE_TEST("properties", no_address_space_leaves_nothing_behind)
{
        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        child_passes(run_out_of_space, NULL);
}

#if TEST_OS_LINUX
static bool huge_enabled(void)
{
        char text[64] = "";
        FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

        if (!file)
                return false;
        if (!fgets(text, sizeof(text), file))
                text[0] = '\0';
        fclose(file);
        return strstr(text, "[madvise]") || strstr(text, "[always]");
}

DEFINE_TEST("properties", huge)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat;
        struct footprint before;
        struct vma vma;
        ammap_t *map, *twin;
        int rc;

        if (PAGE != 4096 || under_valgrind()) {
                skip_part(__func__, "not with valgrind, or pages of this size");
                return;
        }
        map = make(1, NULL);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), 0); /* where a thread notes its holds */
        ck_assert_int_eq(ammap_free(map), 0);
        before = footprint();
        options.huge = AMMAP_MUST;
        ck_assert_int_eq(ammap_new_with(&map, 2 * MB - PAGE, &options), AMMAP_ERR_UNSUPPORTED);
        ck_assert_footprint(before);
        rc = ammap_new_with(&map, 4 * MB, &options);
        if (rc < 0) {
                ck_assert_footprint(before);
                if (!huge_enabled()) {
                        skip_part(__func__, "huge pages are off");
                        return;
                }
        }
        ck_assert_int_eq(rc, 0);
        ck_assert_uint_eq((uintptr_t)ammap_as_ptr(map) % (2 * MB), 0);
        ck_assert(find_vma(ammap_as_ptr(map), &vma));
        ck_assert_uint_ge(vma.huge, 2 * MB);
        ck_assert_uint_eq(stat_of(map).huge, vma.huge);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), 1);

        /* A neighbour of the same kind that is untouched has none. */
        options.huge = AMMAP_TRY;
        twin = make(2 * MB, &options);
        ck_assert(vma_has(ammap_as_ptr(twin), " hg"));
        ck_assert_uint_eq(stat_of(twin).huge, 0);
        ck_assert_int_eq(ammap_is_hugepage_backed(twin), 0);
        ck_assert_int_eq(ammap_free(twin), 0);

        /* No longer huge once the pages have been given back. */
        ck_assert_int_eq(ammap_discard(map, 0, 4 * MB), 0);
        stat = stat_of(map);
        ck_assert_uint_eq(stat.huge, 0);
        ck_assert_uint_eq(stat.resident, 0);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_footprint(before);
}

DEFINE_TEST("properties", noreserve_reaches_the_system)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        int rc;

        options.noreserve = AMMAP_MUST;
        rc = ammap_new_with(&map, 16 * PAGE, &options);
        if (rc == AMMAP_ERR_UNSUPPORTED) {
                skip_part(__func__, "the system accounts strictly");
                return;
        }
        ck_assert_int_eq(rc, 0);
        ck_assert(vma_has(ammap_as_ptr(map), " nr"));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("properties", nodump_and_secret_reach_the_system)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        options.nodump = AMMAP_MUST;
        map = make(5000, &options);
        ck_assert(vma_has(ammap_as_ptr(map), " dd"));
        ck_assert(!vma_has(ammap_as_ptr(map), " lo"));
        ck_assert_int_eq(ammap_free(map), 0);

        options.nodump = AMMAP_NO;
        options.secret = AMMAP_MUST;
        options.capacity = 50000;
        options.guard = AMMAP_MUST;
        map = make(5000, &options);
        for (int grown = 0; grown < 2; grown++) {
                const unsigned char *last = (const unsigned char *)ammap_as_ptr(map) + ammap_len(map) - 1;

                ck_assert(vma_has(last, " dd"));
                ck_assert(vma_has(last, " lo"));
                ck_assert(vma_has(last, " dc"));
                ck_assert_int_eq((int)stat_of(map).fork, AMMAP_FORK_OMIT);
                ck_assert_int_eq(ammap_resize(map, 50000), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What stat says was obtained is what the kernel's account shows, of TRY as of MUST. */
static void check_obtained(ammap_t *map)
{
        ammap_stat_t stat = stat_of(map);

        if (!TEST_OS_LINUX || TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        ck_assert_int_eq(stat.nodump, vma_has(ammap_as_ptr(map), " dd"));
        ck_assert_int_eq(stat.noreserve, vma_has(ammap_as_ptr(map), " nr"));
        ck_assert_int_eq(stat.secret, stat.nodump && vma_has(ammap_as_ptr(map), " lo"));
}

DEFINE_TEST("properties", stat_says_what_was_obtained)
{
        for (unsigned which = 0; which < 8; which++)
                for (ammap_want_t want = AMMAP_TRY; want <= AMMAP_MUST; want++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *map;
                        int rc;

                        options.nodump = which & 1 ? want : AMMAP_NO;
                        options.secret = which & 2 ? want : AMMAP_NO;
                        options.noreserve = which & 4 ? want : AMMAP_NO;
                        options.capacity = 20 * PAGE;
                        rc = ammap_new_with(&map, 10 * PAGE, &options);
                        if (rc < 0) { /* strict accounting, or a system without any of that */
                                ck_assert_int_eq(want, AMMAP_MUST);
                                ck_assert(options.noreserve || !TEST_OS_LINUX);
                                ck_assert_int_eq(rc, AMMAP_ERR_UNSUPPORTED);
                                continue;
                        }
                        for (int grown = 0; grown < 2; grown++) {
                                ammap_stat_t stat = stat_of(map);

                                check_obtained(map);
                                if (want == AMMAP_MUST || TEST_OS_LINUX) {
                                        ck_assert_int_eq(stat.nodump, (which & 3) != 0);
                                        ck_assert_int_eq(stat.secret, (which & 2) != 0);
                                }
                                ck_assert(options.noreserve || !stat.noreserve);
                                ck_assert(want == AMMAP_TRY || stat.noreserve == ((which & 4) != 0));
                                ck_assert_int_eq(ammap_resize(map, 20 * PAGE), 0);
                        }
                        if (options.secret && stat_of(map).secret) {
                                ck_assert_int_eq(ammap_munlock(map, PAGE, 1), 0);
                                ck_assert(!stat_of(map).secret && stat_of(map).nodump);
                                ck_assert_int_eq(ammap_mlock(map, PAGE, 1), 0);
                                ck_assert(stat_of(map).secret);
                        }
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* Whether the memory may be kept: of a map that asked for it, has nothing special, and
 * is not too large. */
DEFINE_TEST("properties", stat_says_whether_it_can_be_recycled)
{
        for (ammap_want_t want = AMMAP_TRY; want <= AMMAP_MUST; want++)
                for (int what = 0; what < 5; what++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *map;

                        options.recycle = want;
                        map = make(8192, &options);
                        ck_assert(stat_of(map).recycle);
                        if (what == 1)
                                ck_assert_int_eq(ammap_freeze(map), 0);
                        if (what == 2)
                                ck_assert_int_eq(ammap_advise(map, 0, 8192, AMMAP_ADVICE_RANDOM), 0);
                        if (what == 3)
                                ck_assert_int_eq(ammap_mlock(map, 0, 1), 0);
                        if (what == 4)
                                ck_assert_int_eq(ammap_resize(map, 1), 0);
                        ck_assert_int_eq(stat_of(map).recycle, what == 0 || what == 4);
                        ck_assert_int_eq(ammap_free(map), 0);
                        map = make(8192, &options);
                        ck_assert(stat_of(map).recycle);
                        ck_assert_int_eq(ammap_free(map), 0);

                        map = (ammap_t *)&options;
                        ck_assert_int_eq(ammap_new_with(&map, AMMAP_RECYCLE_MAX, &options),
                                         want == AMMAP_MUST ? AMMAP_ERR_UNSUPPORTED : 0);
                        ck_assert_int_eq(map == NULL, want == AMMAP_MUST);
                        ck_assert(!map || !stat_of(map).recycle);
                        ck_assert_int_eq(ammap_free(map), 0);
                        ck_assert_int_eq(ammap_trim(0), 0);
                }
}

/* What rules recycling out makes a map without it, or where it must be no map. */
DEFINE_TEST("options", recycling_is_ruled_out)
{
        static const size_t fields[] = {
                offsetof(ammap_options_t, huge),   offsetof(ammap_options_t, populate),
                offsetof(ammap_options_t, lock),   offsetof(ammap_options_t, guard),
                offsetof(ammap_options_t, nodump), offsetof(ammap_options_t, secret),
                offsetof(ammap_options_t, share),  offsetof(ammap_options_t, noreserve),
                offsetof(ammap_options_t, fork),   offsetof(ammap_options_t, capacity),
        };

        for (size_t i = 0; i <= COUNT_OF(fields); i++)
                for (ammap_want_t want = AMMAP_TRY; want <= AMMAP_MUST; want++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *map = (ammap_t *)&options;
                        bool shares;
                        int one = 1; /* AMMAP_TRY, AMMAP_SHARED, AMMAP_FORK_OMIT */

                        options.recycle = want;
                        if (i == COUNT_OF(fields))
                                options.name = "named";
                        else if (fields[i] == offsetof(ammap_options_t, capacity))
                                options.capacity = 10 * PAGE;
                        else
                                memcpy((unsigned char *)&options + fields[i], &one, sizeof(one));
                        shares = options.share != AMMAP_PRIVATE;
                        ck_assert_int_eq(ammap_new_with(&map, 100, &options), want == AMMAP_MUST ? AMMAP_ERR_INVALID
                                                                              : shares && !TEST_OS_LINUX
                                                                                      ? AMMAP_ERR_UNSUPPORTED
                                                                                      : 0);
                        ck_assert(map ? !stat_of(map).recycle : want == AMMAP_MUST || !TEST_OS_LINUX);
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* --- A core ------------------------------------------------------------- */

enum { NEEDLE = 64 };

/* Nowhere in memory but where it is written. */
static unsigned char needle_byte(unsigned which, size_t i)
{
        return (unsigned char)((i + 3) * (which * 2 + 37) ^ (i >> 2) * 11 ^ 0x5b);
}

static void dump_core(void *argument)
{
        const struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
        struct rlimit now;
        char *directory = argument;
        ammap_t *map[3];

        if (setrlimit(RLIMIT_CORE, &limit) < 0) {
                child_must(getrlimit(RLIMIT_CORE, &now) == 0);
                now.rlim_cur = now.rlim_max;
                child_must(setrlimit(RLIMIT_CORE, &now) == 0);
        }
        child_must(chdir(directory) == 0);
        for (unsigned which = 0; which < 3; which++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                volatile unsigned char *bytes;

                options.nodump = which == 1 ? AMMAP_MUST : AMMAP_NO;
                options.secret = which == 2 ? AMMAP_MUST : AMMAP_NO;
                child_must_int(ammap_new_with(&map[which], 4096, &options), 0);
                bytes = ammap_as_mut_ptr(map[which]);
                for (size_t i = 0; i < NEEDLE; i++)
                        bytes[i] = needle_byte(which, i);
        }
        signal(SIGABRT, SIG_DFL);
        abort();
}

static bool file_has(const char *path, unsigned which)
{
        FILE *file = fopen(path, "re");
        size_t matched = 0;
        int c;

        ck_assert_ptr_nonnull(file);
        while (matched < NEEDLE && (c = getc(file)) != EOF) {
                if (c != needle_byte(which, matched))
                        matched = 0;
                if (c == needle_byte(which, matched))
                        matched++;
        }
        fclose(file);
        return matched == NEEDLE;
}

DEFINE_TEST("properties", a_core_file_holds_no_secret)
{
        char directory[] = "/tmp/ammap-core-XXXXXX", path[600] = "", pattern[64] = "";
        FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");
        struct dirent *entry;
        DIR *entries;
        int status;

        if (file) {
                if (!fgets(pattern, sizeof(pattern), file))
                        pattern[0] = '\0';
                fclose(file);
        }
        if (TEST_SANITIZED || under_valgrind() || pattern[0] == '\0' || pattern[0] == '|' || pattern[0] == '/') {
                skip_part(__func__, "no core file is written here; nodump_and_secret_reach_the_system looks for dd");
                return;
        }
        ck_assert_ptr_nonnull(mkdtemp(directory));
        status = child_status(dump_core, directory);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        entries = opendir(directory);
        while ((entry = readdir(entries)))
                if (entry->d_name[0] != '.')
                        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        closedir(entries);
        if (!WCOREDUMP(status) || !path[0]) {
                skip_part(__func__, "no core file was written; nodump_and_secret_reach_the_system looks for dd");
        } else {
                ck_assert(file_has(path, 0));
                ck_assert(!file_has(path, 1));
                ck_assert(!file_has(path, 2));
                unlink(path);
        }
        rmdir(directory);
}
#endif

/* --- Ranges ------------------------------------------------------------- */

DEFINE_LOOP_TEST("ranges", discards, 0, 2)
{
        const uint64_t length = 20 * PAGE + 123;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned char *bytes;
        ammap_t *map;
        ammap_slice_t slice;
        struct random random = random_start("discards");

        options.guard = _i ? AMMAP_MUST : AMMAP_NO;
        options.lanes = _i ? 3 : 1;
        map = make(length, &options);
        bytes = ammap_as_mut_ptr(map);
        for (int round = 0; round < rounds(300); round++) {
                uint64_t from = random_below(&random, length + 1), count = random_below(&random, length - from + 1);

                if (round % 3 == 0) { /* whole pages */
                        from = from / PAGE * PAGE;
                        count = count / PAGE * PAGE;
                }
                memset(bytes, 0xaa, (size_t)length);
                ck_assert_int_eq(ammap_discard(map, from, count), 0);
                ck_assert(all(bytes, (size_t)from, 0xaa));
#if TEST_OS_LINUX
                uintptr_t first = (uintptr_t)(((uintptr_t)bytes + from + PAGE - 1) & ~(PAGE - 1));
                uintptr_t last = (uintptr_t)(((uintptr_t)bytes + from + count) & ~(PAGE - 1));

                if (first < last)
                        ck_assert_uint_eq(pages_in_core((void *)first, last - first), 0);
#endif
                ck_assert(all(bytes + from, (size_t)count, 0));
                ck_assert(all(bytes + from + count, (size_t)(length - from - count), 0xaa));
        }
        ck_assert_int_eq(ammap_discard(NULL, 0, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_discard(map, length, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_discard(map, length + 1, 0), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_discard(map, 1, UINT64_MAX), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_discard(map, 0, 1), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("ranges", advice)
{
        static const ammap_advice_t known[] = {
                AMMAP_ADVICE_NORMAL, AMMAP_ADVICE_RANDOM,  AMMAP_ADVICE_SEQUENTIAL, AMMAP_ADVICE_WILLNEED,
                AMMAP_ADVICE_COLD,   AMMAP_ADVICE_PAGEOUT, AMMAP_ADVICE_HUGEPAGE,   AMMAP_ADVICE_NOHUGEPAGE,
        };
        ammap_t *map = make(10 * PAGE, NULL);

        ck_assert_int_eq(ammap_fill(map, 0, 10 * PAGE, 7), 0);
        for (size_t i = 0; i < COUNT_OF(known); i++) {
                int rc = ammap_advise(map, 3 * PAGE - 1, 2 * PAGE, known[i]);

                ck_assert(rc == 0 || rc == -EINVAL || rc == -ENOSYS);
                if (i < 3)
                        ck_assert_int_eq(rc, 0);
                ck_assert(all(ammap_as_ptr(map), (size_t)(10 * PAGE), 7));
                ck_assert_int_eq(ammap_advise(map, 10 * PAGE, 0, known[i]), 0);
                ck_assert_int_eq(ammap_advise(map, 10 * PAGE, 1, known[i]), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_advise(NULL, 0, 0, known[i]), AMMAP_ERR_INVALID);
        }
        ck_assert_int_eq(ammap_advise(map, 0, 1, (ammap_advice_t)8), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_advise(map, 0, 1, (ammap_advice_t)-1), AMMAP_ERR_INVALID);
#if TEST_OS_LINUX
        ck_assert_int_eq(ammap_advise(map, 5 * PAGE, 1, AMMAP_ADVICE_RANDOM), 0);
        ck_assert(vma_has((const unsigned char *)ammap_as_ptr(map) + 5 * PAGE, " rr"));
        ck_assert(!vma_has((const unsigned char *)ammap_as_ptr(map) + 8 * PAGE, " rr"));
#endif
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Freezing ----------------------------------------------------------- */

DEFINE_LOOP_TEST("freeze", freezes, 0, 4)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *other, *copy;
        unsigned char byte = 1, bytes[4];
        ammap_u32_view_t view;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        options.lanes = _i ? 4 : 1;
        options.capacity = 30000;
        options.secret = _i > 1 ? AMMAP_TRY : AMMAP_NO;            /* which is written to when it is freed */
        options.fork = _i > 1 ? AMMAP_FORK_WIPE : AMMAP_FORK_COPY; /* is_fatal looks in a child */
        options.guard = _i > 2 ? AMMAP_TRY : AMMAP_NO;
        map = make(20000, &options);
        other = make(20000, NULL);
        ck_assert_int_eq(ammap_update_region(map, 100, "abcd", 4), 0);

        ck_assert_int_eq(ammap_freeze(NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_as_slice(map, 19000, 10, &slice), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_update_region(map, 0, "e", 1), 0); /* nothing has changed */
        ck_assert(!stat_of(map).frozen);

        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert(stat_of(map).frozen && stat_of(map).read_only);
        ck_assert(is_fatal(ammap_as_ptr(map), false));
        ck_assert(is_fatal((const unsigned char *)ammap_as_ptr(map) + 19999, false));
        ck_assert(!is_fatal((const unsigned char *)ammap_as_ptr(map) + 19999, true));
        ck_assert_ptr_null(ammap_as_mut_ptr(map));
        for (uint64_t at = 0; at < 20000; at += 4999) {
                ck_assert_int_eq(ammap_update_region(map, at, &byte, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_fill(map, at, 1, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_copy(map, at, other, 0, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_discard(map, at, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_as_mut_slice(map, at, 1, &mut), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_try_as_mut_slice(map, at, 1, &mut), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_timed_as_mut_slice(map, at, 1, SECOND, &mut), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_atomic_u32(map, at / 4 * 4, &view), AMMAP_ERR_READ_ONLY);
                ck_assert_ptr_null(view.value);
        }
        ck_assert_int_eq(ammap_update_region(map, 0, bytes, 4), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(map, 0, 20000, 1), AMMAP_ERR_READ_ONLY); /* all lanes */
        ck_assert_int_eq(ammap_fill(map, 20000, 1, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_resize(map, 30000), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_resize(map, 100), AMMAP_ERR_READ_ONLY);

        /* It is read as ever, also by a thread that holds a slice of it. */
        ck_assert_int_eq(ammap_as_slice(map, 0, 20000, &slice), 0);
        ck_assert_int_eq(memcmp(slice.data + 100, "abcd", 4), 0);
        ck_assert_int_eq(ammap_update_region(map, 0, bytes, 4), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_read_into(map, 100, bytes, 4), 0);
        ck_assert_int_eq(memcmp(bytes, "abcd", 4), 0);
        ck_assert_int_eq(ammap_copy(other, 0, map, 0, 20000), 0);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_populate(map, 0, 20000), 0);
        ck_assert_int_eq(ammap_recover(map), 0);

        /* Its copy is not frozen. */
        ck_assert_int_eq(ammap_clone(map, &copy), 0);
        ck_assert_int_eq(ammap_update_region(copy, 0, "x", 1), 0);
        ck_assert_int_eq(ammap_resize(copy, 30000), 0);
        ck_assert(!stat_of(copy).frozen);
        ck_assert_int_eq(ammap_free(copy), 0);
        ck_assert_int_eq(ammap_free(other), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

struct writer {
        ammap_t *map;
        int rc;
};

/* Of a process that has as many mappings as it may, and gets one back each time:
 * a lock, an unlock and a freeze that fail leave everything as it was. */
static ammap_t *make_kind(int kind, uint64_t size)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        char path[] = "/tmp/ammap-test-XXXXXX";
        ammap_t *map;
        int fd;

        options.share = kind == 2 ? AMMAP_RAW : kind == 1 ? AMMAP_SHARED : AMMAP_PRIVATE;
        options.guard = kind == 3 ? AMMAP_TRY : AMMAP_NO;
        if (kind < 4)
                return make(size, &options);
        fd = mkstemp(path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(ammap_open(&map, path, size, NULL), 0);
        unlink(path);
        return map;
}

static void at_the_limit(void *argument)
{
        const size_t most = 200000;
        const uint64_t size = 64 * PAGE;
        ammap_t *above = make_kind(0, size), *map = make_kind(*(int *)argument, size), *below = make_kind(0, size);
        unsigned char *fill =
                mmap(NULL, most * (size_t)PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        size_t used = 1;
        unsigned refused_locks = 0, refused_freezes = 0;
        int rc = -1;

        child_must(fill != MAP_FAILED);
        child_must_int(ammap_fill(map, 0, size, 1), 0);
        child_must_int(ammap_mlock(map, 50 * PAGE, PAGE), 0);
        /* A mapping of its own, that is locked without another one ... */
        child_must_int(ammap_advise(map, 20 * PAGE, 10 * PAGE, AMMAP_ADVICE_RANDOM), 0);
        while (used < most && mprotect(fill + used * PAGE, (size_t)PAGE, PROT_READ) == 0)
                used += 2;
        child_must(used < most);
        for (; rc < 0; munmap(fill + (used -= 2) * PAGE, (size_t)PAGE)) {
                unsigned long before = status_bytes("VmLck:");

                /* ... and what must be split for it. */
                rc = ammap_mlock(map, 20 * PAGE, 20 * PAGE);
                child_must(rc == 0 || status_bytes("VmLck:") == before);
                refused_locks += rc < 0;
        }
        for (rc = -1; rc < 0; munmap(fill + (used -= 2) * PAGE, (size_t)PAGE)) {
                rc = ammap_freeze(map);
                child_must_int(ammap_fill(map, 0, size, 2), rc == 0 ? AMMAP_ERR_READ_ONLY : 0);
                refused_freezes += rc < 0;
        }
        child_must(refused_locks > 0);
        child_must(refused_freezes > 0 || *(int *)argument != 0); /* this has neighbours */
        child_must_int(ammap_free(map), 0);
        child_must_int(ammap_free(above), 0);
        child_must_int(ammap_free(below), 0);
}

DEFINE_LOOP_TEST("freeze", too_many_mappings, 0, 5)
{
        if (TEST_SANITIZED || under_valgrind() || !TEST_OS_LINUX) {
                skip_part(__func__, why_not_here());
                return;
        }
        child_passes(at_the_limit, &_i);
}

static void *write_on(void *argument)
{
        struct writer *writer = argument;
        ammap_mut_slice_t mut;
        unsigned n = 0;

        do {
                if (n % 3 == 0 && (writer->rc = ammap_as_mut_slice(writer->map, 0, 5000, &mut)) == 0) {
                        memset(mut.data, 1, mut.length);
                        ammap_mut_slice_release(&mut);
                }
                if (n++ % 3)
                        writer->rc = ammap_fill(writer->map, n % 3000, 2000, 2);
        } while (writer->rc == 0);
        return NULL;
}

/* Writers, those that wait too, come to know of it. */
DEFINE_TEST("freeze", freezes_beside_writers)
{
        for (int round = 0; round < rounds(300); round++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct writer writer[3];
                struct task task[3];
                ammap_slice_t slice;

                options.lanes = 1 + (uint64_t)round % 3;
                writer[0].map = make(5000, &options);
                writer[1] = writer[2] = writer[0];
                for (size_t i = 0; i < COUNT_OF(task); i++)
                        task_start(&task[i], write_on, &writer[i]);
                if (round % 10 == 0) { /* let them wait */
                        ck_assert_int_eq(ammap_as_slice(writer[0].map, 0, 5000, &slice), 0);
                        for (size_t i = 0; i < COUNT_OF(task); i++)
                                task_sleeps(&task[i]);
                        ammap_slice_release(&slice);
                }
                ck_assert_int_eq(ammap_freeze(writer[0].map), 0);
                for (size_t i = 0; i < COUNT_OF(task); i++) {
                        task_join(&task[i]);
                        ck_assert_int_eq(writer[i].rc, AMMAP_ERR_READ_ONLY);
                }
                ck_assert_int_eq(ammap_free(writer[0].map), 0);
        }
}

static void *freeze_later(void *argument)
{
        thread_check_int(ammap_freeze(argument), 0);
        return NULL;
}

/* A freeze waits for a slice; the slice's thread can resize and take views all
 * the while. */
DEFINE_TEST("freeze", freeze_waits)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_u32_view_t view;
        ammap_slice_t slice;
        struct task task;
        ammap_t *map;

        options.capacity = 50000;
        map = make(20000, &options);
        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &slice), 0);
        task_start(&task, freeze_later, map);
        ck_assert(task_sleeps(&task));
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_resize(map, 50000), 0);
        ck_assert_int_eq(ammap_resize(map, 100), 0);
        ck_assert_int_eq(ammap_resize(map, 99), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        task_join(&task);
        ck_assert(stat_of(map).frozen);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Cloning ------------------------------------------------------------ */

DEFINE_LOOP_TEST("clone", clones, 0, 2)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *copy = (ammap_t *)&options;
        ammap_mut_slice_t mut;
        ammap_stat_t stat;
        unsigned char byte;

        options.lanes = 3;
        options.capacity = 300 * PAGE;
        options.guard = _i ? AMMAP_TRY : AMMAP_NO;
        options.nodump = AMMAP_TRY;
        options.fork = AMMAP_FORK_WIPE;
        map = make(200 * PAGE - 7, &options);
        for (uint64_t at = 0; at < 10; at++)
                ck_assert_int_eq(ammap_fill(map, at * 20 * PAGE + 100, 50, (unsigned char)(at + 1)), 0);
        /* Pages that have only been read hold nothing either. */
        ck_assert_int_eq(ammap_read_into(map, 150 * PAGE, &byte, 1), 0);

        ck_assert_int_eq(ammap_clone(NULL, &copy), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(copy);
        ck_assert_int_eq(ammap_clone(map, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        ck_assert_int_eq(ammap_clone(map, &copy), AMMAP_ERR_DEADLOCK);
        ck_assert_ptr_null(copy);
        ammap_mut_slice_release(&mut);

#if TEST_OS_LINUX
        size_t before = pages_in_core(ammap_as_ptr(map), (size_t)(200 * PAGE - 7));
#endif
        ck_assert_int_eq(ammap_clone(map, &copy), 0);
#if TEST_OS_LINUX
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(map), (size_t)(200 * PAGE - 7)), before);
        ck_assert_uint_eq(pages_in_core(ammap_as_ptr(copy), (size_t)(200 * PAGE - 7)), 10);
        ck_assert_uint_eq(stat_of(copy).resident, 10 * PAGE);
        ck_assert(vma_has(ammap_as_ptr(copy), " dd"));
#endif
        stat = stat_of(copy);
        ck_assert_uint_eq(stat.length, 200 * PAGE - 7);
        ck_assert_uint_eq(stat.capacity, 300 * PAGE);
        ck_assert_uint_eq(stat.lanes, 3);
        ck_assert_int_eq((int)stat.fork, AMMAP_FORK_WIPE);
        ck_assert_int_eq((int)stat.guard, (int)stat_of(map).guard);
        ck_assert_ptr_ne(ammap_as_ptr(copy), ammap_as_ptr(map));
        ck_assert_int_eq(memcmp(ammap_as_ptr(copy), ammap_as_ptr(map), (size_t)(200 * PAGE - 7)), 0);
        /* Each is its own from here on. */
        ck_assert_int_eq(ammap_fill(map, 0, 10, 99), 0);
        ck_assert_int_eq(ammap_read_into(copy, 0, &byte, 1), 0);
        ck_assert_uint_eq(byte, 0);
        ck_assert_int_eq(ammap_resize(copy, 300 * PAGE), 0);
        ck_assert_uint_eq(ammap_len(map), 200 * PAGE - 7);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_read_into(copy, 180 * PAGE + 149, &byte, 1), 0);
        ck_assert_uint_eq(byte, 10);
        ck_assert_int_eq(ammap_free(copy), 0);
}

static void *write_all(void *argument)
{
        struct writer *writer = argument;

        for (unsigned n = 1; atomic_load((_Atomic int *)&writer->rc) == 0; n++) {
                if (n % 50 == 0) {
                        thread_check_int(ammap_resize(writer->map, 30000), 0);
                        thread_check_int(ammap_resize(writer->map, 50000), 0);
                }
                thread_check_int(ammap_fill(writer->map, 0, 50000, (unsigned char)n), 0);
        }
        return NULL;
}

/* Taken at one instant: all its bytes are of one fill, or zeros behind. */
DEFINE_TEST("clone", clones_at_once)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct writer writer = { .rc = 0 };
        struct task task;

        options.lanes = 4;
        writer.map = make(50000, &options);
        task_start(&task, write_all, &writer);
        for (int round = 0; round < rounds(500); round++) {
                const unsigned char *bytes;
                ammap_t *copy;
                uint64_t n = 0;

                ck_assert_int_eq(ammap_clone(writer.map, &copy), 0);
                bytes = ammap_as_ptr(copy);
                while (n < ammap_len(copy) && bytes[n] == bytes[0])
                        n++;
                ck_assert(n == ammap_len(copy) || n == 30000);
                ck_assert(all(bytes + n, (size_t)(ammap_len(copy) - n), 0));
                ck_assert_int_eq(ammap_free(copy), 0);
        }
        atomic_store((_Atomic int *)&writer.rc, 1);
        task_join(&task);
        ck_assert_int_eq(ammap_free(writer.map), 0);
}

/* --- Fork policies ------------------------------------------------------ */

struct family {
        ammap_t *map;
        const void *base;
        ammap_slice_t slice;
        ammap_u32_view_t view;
};

static void omitted(void *argument)
{
        struct family *family = argument;
        ammap_t *map = family->map, *copy, *fresh;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        unsigned char byte = 0;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
        ammap_u32_view_t view;
        char text[100];
        struct vma vma;

        child_must(!find_vma(family->base, &vma));
        child_must(ammap_len(map) == 0);
        child_must(ammap_is_empty(map));
        child_must(ammap_as_ptr(map) == NULL && ammap_as_mut_ptr(map) == NULL);
        for (size_t length = 0; length < 2; length++) {
                child_must_int(ammap_read_into(map, 0, &byte, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_update_region(map, 0, &byte, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_fill(map, 0, length, 1), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_copy(map, 0, map, 0, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_as_slice(map, 0, length, &slice), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_try_as_mut_slice(map, 0, length, &mut), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_atomic_u32_slice(map, 0, length, &view), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_populate(map, 0, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_discard(map, 0, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_advise(map, 0, length, AMMAP_ADVICE_NORMAL), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_mlock(map, 0, length), AMMAP_ERR_UNSUPPORTED);
                child_must_int(ammap_munlock(map, 0, length), AMMAP_ERR_UNSUPPORTED);
        }
        child_must_int(ammap_read_into(map, 5000, &byte, 2000), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_wait_u32(map, 0, 0, 0), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_wake_u32(map, 0, 0), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_resize(map, 100), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_freeze(map), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_clone(map, &copy), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_stat(map, &stat), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_is_hugepage_backed(map), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_recover(map), AMMAP_ERR_UNSUPPORTED);
        child_must_int(ammap_describe(map, text, sizeof(text)), AMMAP_ERR_UNSUPPORTED);
        /* What another map has at that address is not unmapped. */
        child_must(mmap((void *)(uintptr_t)family->base, 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == family->base);
        if (family->view.value) {
                child_must_int(ammap_free(map), AMMAP_ERR_BUSY);
                ammap_u32_view_release(&family->view);
                ammap_slice_release(&family->slice);
        }
        child_must_int(ammap_free(map), 0);
        child_must(find_vma(family->base, &vma));
        child_must_int(ammap_new(&fresh, 100), 0);
        child_must_int(ammap_free(fresh), 0);
}

DEFINE_LOOP_TEST("fork", fork_omits, 0, 8)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct family family = { .map = NULL };
        unsigned char byte;

        options.secret = _i & 2 ? AMMAP_TRY : AMMAP_NO;
        options.fork = _i & 1 || !options.secret ? AMMAP_FORK_OMIT : AMMAP_FORK_COPY;
        options.guard = _i & 1 ? AMMAP_TRY : AMMAP_NO;
        options.capacity = _i & 4 ? 100000 : 0;
        family.map = make(8192, &options);
        family.base = (const void *)((uintptr_t)ammap_as_ptr(family.map) & ~(uintptr_t)(PAGE - 1));
        ck_assert_int_eq((int)stat_of(family.map).fork, AMMAP_FORK_OMIT);
        ck_assert_int_eq(ammap_fill(family.map, 0, 8192, 4), 0);
        child_passes(omitted, &family);
        ck_assert_int_eq(ammap_as_slice(family.map, 0, 10, &family.slice), 0);
        ck_assert_int_eq(ammap_atomic_u32(family.map, 16, &family.view), 0);
        child_passes(omitted, &family);
        ammap_slice_release(&family.slice);
        ammap_u32_view_release(&family.view);
        ck_assert_int_eq(ammap_read_into(family.map, 8191, &byte, 1), 0);
        ck_assert_uint_eq(byte, 4);
        ck_assert_int_eq(ammap_free(family.map), 0);
}

static void wiped(void *argument)
{
        struct family *family = argument;
        bool frozen = ammap_as_mut_ptr(family->map) == NULL;

        child_must(ammap_len(family->map) == 8000);
        child_must(ammap_as_ptr(family->map) == family->base);
        child_must(all(family->base, 8000, 0));
        child_must_int(ammap_fill(family->map, 0, 8000, 9), frozen ? AMMAP_ERR_READ_ONLY : 0);
        child_must_int(ammap_free(family->map), 0);
}

DEFINE_LOOP_TEST("fork", fork_wipes, 0, 8)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct family family = { .map = NULL };

        options.fork = AMMAP_FORK_WIPE;
        options.secret = _i & 2 ? AMMAP_TRY : AMMAP_NO;
        options.guard = _i & 4 ? AMMAP_TRY : AMMAP_NO;
        family.map = make(8000, &options);
        family.base = ammap_as_ptr(family.map);
        ck_assert_int_eq((int)stat_of(family.map).fork, AMMAP_FORK_WIPE);
        ck_assert_int_eq(ammap_fill(family.map, 0, 8000, 4), 0);
        if (_i & 1)
                ck_assert_int_eq(ammap_freeze(family.map), 0);
        child_passes(wiped, &family);
        ck_assert(all(family.base, 8000, 4));
        ck_assert_int_eq(ammap_free(family.map), 0);
}

static void copied(void *argument)
{
        struct family *family = argument;

        child_must(all(family->base, 8000, 4));
        child_must_int(ammap_resize(family->map, 100), 0);
        child_must_int(ammap_freeze(family->map), 0);
        child_must_int(ammap_free(family->map), 0);
}

DEFINE_TEST("fork", fork_copies)
{
        struct family family = { .map = make(8000, NULL) };

        family.base = ammap_as_ptr(family.map);
        ck_assert_int_eq(ammap_fill(family.map, 0, 8000, 4), 0);
        child_passes(copied, &family);
        ck_assert_uint_eq(ammap_len(family.map), 8000);
        ck_assert(all(family.base, 8000, 4));
        ck_assert_int_eq(ammap_fill(family.map, 0, 8000, 5), 0);
        ck_assert_int_eq(ammap_free(family.map), 0);
}

/* What was advised, locked or frozen is not what the next map gets. */
DEFINE_TEST("properties", recycles_plain)
{
        for (int what = 0; what < 5; what++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                const void *base;
                ammap_t *map;

                options.recycle = what == 4 ? AMMAP_TRY : AMMAP_MUST;
                options.secret = what == 4 ? AMMAP_TRY : AMMAP_NO;
                map = make(8192, &options);
                base = ammap_as_ptr(map);
                ck_assert_int_eq(ammap_fill(map, 0, 8192, 1), 0);
                if (what == 1)
                        ck_assert_int_eq(ammap_freeze(map), 0);
                if (what == 2)
                        ck_assert_int_eq(ammap_advise(map, 0, 8192, AMMAP_ADVICE_RANDOM), 0);
                if (what == 3)
                        ck_assert_int_eq(ammap_resize(map, 1), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                options.secret = AMMAP_NO;
                map = make(8192, &options);
                if (what == 0 || what == 3)
                        ck_assert_ptr_eq(ammap_as_ptr(map), base);
                ck_assert_uint_eq(ammap_len(map), 8192);
                ck_assert(all(ammap_as_ptr(map), 8192, 0));
                ck_assert_int_eq(ammap_fill(map, 0, 8192, 1), 0);
                ck_assert_uint_eq(stat_of(map).length, 8192);
                ck_assert(!stat_of(map).frozen);
#if TEST_OS_LINUX
                ck_assert(!vma_has(ammap_as_ptr(map), " rr"));
#endif
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_trim(0), 0);
        }
}

/* --- What the kernel does not tell --------------------------------------- */

/* The rest is told all the same. */
static void must_know_the_rest(ammap_t *map, const ammap_stat_t *stat)
{
        child_must(stat->length == ammap_len(map) && stat->capacity == 50 * PAGE && stat->lanes == 3);
        child_must(stat->slices == 1 && stat->views == 1 && stat->page == PAGE && stat->mapped >= 50 * PAGE);
}

static void without_descriptors(void *argument)
{
        const struct rlimit none = { 0, 0 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_slice_t slice;
        ammap_u32_view_t view;
        ammap_t *map, *other;

        options.lanes = 3;
        options.capacity = 50 * PAGE;
        options.share = *(int *)argument ? AMMAP_SHARED : AMMAP_PRIVATE;
        child_must_int(ammap_new_with(&map, 40 * PAGE, &options), 0);
        child_must_int(ammap_fill(map, 0, 40 * PAGE, 1), 0);
        child_must_int(ammap_as_slice(map, 0, 10, &slice), 0);
        child_must_int(ammap_atomic_u32(map, 40, &view), 0);
        child_must_int(ammap_stat(map, &stat), 0);
        child_must(stat.resident == 40 * PAGE && stat.huge == 0 && stat.locked == 0);
        must_know_the_rest(map, &stat);
        child_must_int(setrlimit(RLIMIT_NOFILE, &none), 0);
        child_must_int(ammap_stat(map, &stat), 0);
        child_must(stat.resident == AMMAP_STAT_UNKNOWN && stat.huge == AMMAP_STAT_UNKNOWN &&
                   stat.locked == AMMAP_STAT_UNKNOWN);
        must_know_the_rest(map, &stat);
        child_must_int(ammap_is_hugepage_backed(map), -EMFILE);
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.noreserve = AMMAP_MUST;
        child_must_int(ammap_new_with(&other, PAGE, &options), AMMAP_ERR_UNSUPPORTED);
        options.noreserve = AMMAP_NO;
        options.huge = AMMAP_MUST;
        child_must_int(ammap_new_with(&other, 4 * MB, &options), AMMAP_ERR_UNSUPPORTED);
}

DEFINE_LOOP_TEST("accounts", no_descriptor, 0, 2)
{
        if (TEST_OS_LINUX)
                child_passes(without_descriptors, &_i);
}

/* Neighbours that the kernel joins, and a pagemap that may not be opened. */
static void not_dumpable(void *argument)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;
        unsigned unknown = 0;
        ammap_t *map[5];

        (void)argument;
        for (unsigned i = 0; i < COUNT_OF(map); i++) {
                child_must_int(ammap_new(&map[i], 20 * PAGE), 0);
                child_must_int(ammap_fill(map[i], 0, 2 * i * PAGE, 1), 0);
        }
        child_must(geteuid() != 0 || setuid(65534) == 0);
        prctl(PR_SET_DUMPABLE, 0);
        for (unsigned i = 0; i < COUNT_OF(map); i++) {
                child_must_int(ammap_stat(map[i], &stat), 0);
                child_must(stat.resident == 2 * i * PAGE || stat.resident == AMMAP_STAT_UNKNOWN);
                child_must(stat.huge == 0 && stat.locked == 0);
                child_must_int(ammap_is_hugepage_backed(map[i]), 0);
                unknown += stat.resident == AMMAP_STAT_UNKNOWN;
        }
        child_must(unknown > 0);
}

DEFINE_TEST("accounts", no_pagemap)
{
        if (TEST_OS_LINUX && !TEST_SANITIZED && !under_valgrind())
                child_passes(not_dumpable, NULL);
}

/* The thread that the process began with ends; its files in /proc are empty. */
static void *look_alone(void *argument)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_stat_t stat = AMMAP_STAT_INIT;
        char path[64], text[256] = "";
        ammap_t *map, *copy;

        (void)argument;
        snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
        while (!strstr(text, ") Z ")) {
                FILE *file = fopen(path, "re");

                child_must(file && fgets(text, sizeof(text), file));
                fclose(file);
        }
        for (int share = 0; share < 3; share++) {
                options = (ammap_options_t)AMMAP_OPTIONS_INIT;
                options.share = (ammap_share_t)share;
                child_must_int(ammap_new_with(&map, 30 * PAGE, &options), 0);
                child_must_int(ammap_fill(map, 10 * PAGE, 10 * PAGE, 1), 0);
                child_must_int(ammap_mlock(map, 10 * PAGE, 2 * PAGE), 0);
                child_must_int(ammap_stat(map, &stat), 0);
                child_must(stat.resident == 10 * PAGE && stat.locked == 2 * PAGE);
                child_must_int(ammap_is_hugepage_backed(map), 0);
                child_must_int(ammap_clone(map, &copy), 0);
                child_must_int(ammap_stat(copy, &stat), 0);
                child_must(stat.resident == 10 * PAGE);
        }
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        options.noreserve = AMMAP_MUST;
        child_must_int(ammap_new_with(&map, 30 * PAGE, &options), 0);
        _exit(0);
        return NULL;
}

static void end_leader(void *argument)
{
        pthread_t thread;

        child_must(pthread_create(&thread, NULL, look_alone, argument) == 0);
        pthread_exit(NULL);
}

DEFINE_TEST("accounts", no_leader)
{
        if (TEST_OS_LINUX && !TEST_SANITIZED && !under_valgrind())
                child_passes(end_leader, NULL);
}

/* --- What it tells of files and of shared memory -------------------------- */

DEFINE_LOOP_TEST("accounts", huge_shared, 0, 2)
{
        const uint64_t one = 2 * MB;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned char *start;
        struct vma vma;
        ammap_t *map;

        if (!TEST_OS_LINUX || TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        options.share = _i ? AMMAP_RAW : AMMAP_SHARED;
        options.huge = AMMAP_TRY;
        map = make(4 * one, &options);
        ck_assert_int_eq(ammap_fill(map, 0, 4 * one, 1), 0);
        start = ammap_as_mut_ptr(map);
        if (madvise((void *)(uintptr_t)(((uintptr_t)start + one - 1) & ~(one - 1)), one, 25 /* MADV_COLLAPSE */) < 0) {
                skip_part(__func__, "no huge pages of shared memory here");
                ck_assert_int_eq(ammap_free(map), 0);
                return;
        }
        ck_assert(find_vma(start, &vma));
        ck_assert_uint_gt(vma.pmd, 0);
        ck_assert_uint_eq(stat_of(map).huge, vma.pmd);
        ck_assert_int_eq(ammap_is_hugepage_backed(map), 1);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* One that may only read a file knows whether it is frozen, too. */
DEFINE_TEST("accounts", frozen_file)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        char path[] = "/tmp/ammap-test-XXXXXX", text[100];
        ammap_t *map, *reader[2];
        int fd = mkstemp(path);

        if (!TEST_OS_LINUX) {
                close(fd);
                unlink(path);
                return;
        }
        close(fd);
        options.allow_faults = true;
        ck_assert_int_eq(ammap_open(&map, path, 3 * PAGE, NULL), 0);
        for (int i = 0; i < 2; i++) {
                fd = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_eq(ammap_import(&reader[i], fd, &options), 0);
                close(fd);
                ck_assert_int_ge(ammap_describe(reader[i], text, sizeof(text)), 0);
                ck_assert_int_eq(strstr(text, ", frozen") != NULL, i);
                ck_assert_int_eq(stat_of(reader[i]).frozen, i);
                ck_assert(stat_of(reader[i]).read_only);
                ck_assert_int_eq(ammap_freeze(map), 0);
        }
        for (int i = 0; i < 2; i++) {
                ck_assert(stat_of(reader[i]).frozen && stat_of(reader[i]).read_only);
                ck_assert_int_ge(ammap_describe(reader[i], text, sizeof(text)), 0);
                ck_assert_ptr_nonnull(strstr(text, ", read-only, frozen"));
                ck_assert_int_eq(ammap_free(reader[i]), 0);
        }
        ck_assert_int_eq(ammap_free(map), 0);
        unlink(path);
}

int main(void)
{
        return run_tests("memory", test_case);
}
