/* test-load.c - lib/view.c: one word, read as one
 *
 * SPDX-License-Identifier: MIT
 *
 * Alignment, and then bounds, at every edge.  What is read, on every kind of map, also
 * by those who may only read it, beside writers, in a forked child, and of files that are
 * cut underway.  Two values that alternate are never mixed.
 */
#include "share.h"

#include "calls.h"

#include <inttypes.h>
#include <sys/uio.h>

static void check_refused(ammap_t *map, uint64_t offset, int narrow_result, int wide_result)
{
        uint32_t narrow = 7;
        uint64_t wide = 7;

        ck_assert_int_eq(ammap_load_u32(map, offset, &narrow), narrow_result);
        ck_assert_uint_eq(narrow, 0);
        ck_assert_int_eq(ammap_load_u64(map, offset, &wide), wide_result);
        ck_assert_uint_eq(wide, 0);
        ck_assert_int_eq(ammap_load_u32(map, offset, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_load_u64(map, offset, NULL), AMMAP_ERR_INVALID);
}

static int wanted(uint64_t length, uint64_t offset, uint64_t size)
{
        if (offset % size)
                return AMMAP_ERR_MISALIGNED;
        return offset > length || length - offset < size ? AMMAP_ERR_BOUNDS : 0;
}

DEFINE_TEST("load", refuses_bad_input)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                uint64_t edges[EDGES_MAX];
                size_t count;

                world_begin(&world, &world_kinds[k]);
                count = edges_of(world.size, edges);
                for (size_t i = 0; i < count; i++) {
                        int narrow = wanted(world.size, edges[i], 4), wide = wanted(world.size, edges[i], 8);

                        check_refused(NULL, edges[i], AMMAP_ERR_INVALID, AMMAP_ERR_INVALID);
                        if (narrow < 0 && wide < 0)
                                check_refused(world.map, edges[i], narrow, wide);
                }
                check_refused(world.map, world.size + 1, AMMAP_ERR_MISALIGNED, AMMAP_ERR_MISALIGNED);
                check_refused(world.map, world.size, AMMAP_ERR_BOUNDS, AMMAP_ERR_BOUNDS);
                check_refused(world.map, UINT64_MAX - 7, AMMAP_ERR_BOUNDS, AMMAP_ERR_BOUNDS);
                world_end(&world);
        }
}

static void check_words(ammap_t *map, uint64_t offset, uint64_t want)
{
        uint32_t half;
        uint64_t word;

        ck_assert_int_eq(ammap_load_u64(map, offset, &word), 0);
        ck_assert_uint_eq(word, want);
        for (uint64_t i = 0; i < 8; i += 4) {
                ck_assert_int_eq(ammap_load_u32(map, offset + i, &half), 0);
                ck_assert_int_eq(memcmp(&half, (char *)&want + i, 4), 0);
        }
}

static void *load_beside_a_slice(void *argument)
{
        ammap_t *map = argument;
        uint64_t word;

        thread_check_int(ammap_load_u64(map, 16, &word), 0);
        thread_check(word == UINT64_C(0x0102030405060708));
        return NULL;
}

DEFINE_TEST("load", what_is_there)
{
        const uint64_t value = UINT64_C(0x0102030405060708);

        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                struct task task;
                const uint64_t offsets[] = { 0, 16, PAGE - 8, PAGE, WORLD_PAGES * PAGE - 8 };

                world_begin(&world, &world_kinds[k]);
                for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                        check_words(world.map, offsets[i], UINT64_C(0x6d6d6d6d6d6d6d6d));
                        ck_assert_int_eq(ammap_update_region(world.map, offsets[i], &value, 8), 0);
                        check_words(world.map, offsets[i], value);
                }
                /* A writer, of the thread's own and of another, is not in the way. */
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
                check_words(world.map, 16, value);
                task_start(&task, load_beside_a_slice, world.map);
                task_join(&task);
                ammap_mut_slice_release(&world.mut_slice);
                ck_assert_int_eq(ammap_freeze(world.map), 0);
                check_words(world.map, 16, value);
                world_end(&world);
        }
}

DEFINE_TEST("load", the_last_word_of_any_length)
{
        for (uint64_t length = 1; length <= 25; length++) {
                ammap_t *map = new_pattern_map(length, 1);

                for (uint64_t offset = 0; offset <= length + 8; offset++) {
                        unsigned char bytes[8] = { 0 }, want[8] = { 0 };
                        int narrow = wanted(length, offset, 4), wide = wanted(length, offset, 8);

                        for (uint64_t i = 0; i < 8; i++)
                                want[i] = pattern_byte(offset + i);
                        ck_assert_int_eq(ammap_load_u32(map, offset, (uint32_t *)(void *)bytes), narrow);
                        ck_assert(narrow < 0 ? is_all(bytes, 0, 4) : memcmp(bytes, want, 4) == 0);
                        ck_assert_int_eq(ammap_load_u64(map, offset, (uint64_t *)(void *)bytes), wide);
                        ck_assert(wide < 0 ? is_all(bytes, 0, 8) : memcmp(bytes, want, 8) == 0);
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- As one --------------------------------------------------------------- */

struct alternating {
        ammap_t *map;
        _Atomic bool stop;
};

static void *alternate(void *argument)
{
        struct alternating *alternating = argument;
        ammap_u64_view_t view;

        thread_check_int(ammap_atomic_u64(alternating->map, 8, &view), 0);
        for (uint64_t value = 0; !atomic_load(&alternating->stop); value = ~value)
                atomic_store_explicit(view.value, value, memory_order_release);
        ammap_u64_view_release(&view);
        return NULL;
}

DEFINE_TEST("load", is_of_one_store)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct alternating alternating = { 0 };
                struct world world;
                struct task task;
                const uint64_t zero = 0;

                world_begin(&world, &world_kinds[k]);
                alternating.map = world.map;
                ck_assert_int_eq(ammap_update_region(world.map, 8, &zero, 8), 0);
                task_start(&task, alternate, &alternating);
                for (int i = 0; i < rounds_or_all(5000, 50000); i++) {
                        uint32_t narrow;
                        uint64_t wide;

                        ck_assert_int_eq(ammap_load_u64(world.map, 8, &wide), 0);
                        ck_assert_msg(wide == 0 || wide == UINT64_MAX || (sizeof(void *) == 4 && world.kind->file),
                                      "%s: %016" PRIx64, world.kind->name, wide);
                        ck_assert_int_eq(ammap_load_u32(world.map, 12, &narrow), 0);
                        ck_assert_msg(narrow == 0 || narrow == UINT32_MAX, "%s: %08" PRIx32, world.kind->name, narrow);
                }
                atomic_store(&alternating.stop, true);
                task_join(&task);
                world_end(&world);
        }
}

#if TEST_OS_LINUX

/* The kernel's copies, which an interrupt may cut in two: here two in a row, of every eight,
 * at the same byte. */
static unsigned copies_cut, copies_made;

ssize_t process_vm_readv(pid_t pid, const struct iovec *to, unsigned long tos, const struct iovec *from,
                         unsigned long froms, unsigned long flags)
{
        ssize_t n = syscall(SYS_process_vm_readv, pid, to, tos, from, froms, flags);

        if (copies_cut && n == 8 && copies_made++ % 8 < 2)
                memset((char *)to[0].iov_base + copies_cut, 0xff, 8 - copies_cut);
        return n;
}

DEFINE_TEST("load", is_whole_where_copies_are_cut)
{
        const uint64_t value = UINT64_C(0x1122334455667788);

        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;

                world_begin(&world, &world_kinds[k]);
                ck_assert_int_eq(ammap_update_region(world.map, 8, &value, 8), 0);
                for (int i = 0; i < 400; i++) {
                        copies_cut = 1 + (unsigned)i % 7;
                        check_words(world.map, 8, value);
                }
                copies_cut = 0;
                world_end(&world);
        }
}

#endif

/* --- Beside a resize --------------------------------------------------------- */

static void *resize_again(void *argument)
{
        struct alternating *resizing = argument;
        const uint64_t size = ammap_len(resizing->map), word = UINT64_MAX;

        while (!atomic_load(&resizing->stop)) {
                thread_check_int(ammap_resize(resizing->map, size / 4), 0);
                thread_check_int(ammap_resize(resizing->map, size), 0);
                thread_check_int(ammap_update_region(resizing->map, size - 8, &word, 8), 0);
        }
        return NULL;
}

DEFINE_TEST("load", beside_a_resize)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct alternating resizing = { 0 };
                struct world world;
                struct task task;

                if (world_kinds[k].share == AMMAP_RAW)
                        continue;
                world_begin(&world, &world_kinds[k]);
                ck_assert_int_eq(ammap_fill(world.map, 0, world.size, 0xff), 0);
                resizing.map = world.map;
                task_start(&task, resize_again, &resizing);
                for (int i = 0; i < rounds(3000); i++) {
                        uint64_t wide = 1;
                        int rc = ammap_load_u64(world.map, world.size - 8, &wide);

                        ck_assert_msg(rc == 0 || rc == AMMAP_ERR_BOUNDS, "%s", ammap_errname(rc));
                        ck_assert(wide == 0 || (rc == 0 && wide == UINT64_MAX));
                        ck_assert_int_eq(ammap_load_u64(world.map, world.size / 4 - 8, &wide), 0);
                        ck_assert_uint_eq(wide, UINT64_MAX);
                }
                atomic_store(&resizing.stop, true);
                task_join(&task);
                world_end(&world);
        }
}

/* --- Other processes ----------------------------------------------------------- */

#if TEST_OS_LINUX

DEFINE_TEST("load", by_those_who_may_only_read)
{
        const uint64_t value = UINT64_C(0x1122334455667788);
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.read_only = true;
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                ammap_t *reader;

                if (world_kinds[k].share == AMMAP_PRIVATE)
                        continue;
                world_begin(&world, &world_kinds[k]);
                ck_assert_int_eq(ammap_update_region(world.map, 64, &value, 8), 0);
                options.share = world.kind->share;
                options.allow_faults = world.kind->file;
                ck_assert_int_eq(ammap_import(&reader, ammap_fd(world.map), &options), 0);
                ck_assert(stat_of(reader).read_only);
                check_words(reader, 64, value);
                check_refused(reader, world.size, AMMAP_ERR_BOUNDS, AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, world.size, &world.mut_slice), 0);
                check_words(reader, 64, value);
                ammap_mut_slice_release(&world.mut_slice);
                ck_assert_int_eq(ammap_freeze(world.map), 0);
                check_words(reader, 64, value);
                ck_assert_int_eq(ammap_free(reader), 0);
                world_end(&world);
        }
}

struct family {
        ammap_t *map;
        ammap_fork_t fork;
};

static void child_loads(struct peer *parent, void *argument)
{
        const struct family *family = argument;
        uint64_t word = 7, want = family->fork == AMMAP_FORK_COPY ? 9 : 0;
        int rc = ammap_load_u64(family->map, 8, &word);

        (void)parent;
        child_must_int(rc, family->fork == AMMAP_FORK_OMIT ? AMMAP_ERR_UNSUPPORTED : 0);
        child_must(word == want);
        child_must_int(ammap_load_u64(family->map, 7, &word), AMMAP_ERR_MISALIGNED);
}

DEFINE_TEST("load", in_a_forked_child)
{
        static const ammap_share_t shares[] = { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW };
        static const ammap_fork_t forks[] = { AMMAP_FORK_COPY, AMMAP_FORK_WIPE, AMMAP_FORK_OMIT };
        const uint64_t nine = 9;

        for (size_t i = 0; i <= COUNT_OF(shares); i++)
                for (size_t k = 0; k < COUNT_OF(forks); k++) {
                        struct family family = { NULL, forks[k] };
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        struct path path = path_of("family");
                        struct peer peer;

                        if (i > 0 && forks[k] == AMMAP_FORK_WIPE)
                                continue;
                        options.fork = forks[k];
                        if (i < COUNT_OF(shares)) {
                                options.share = shares[i];
                                family.map = make_with(4096, &options);
                        } else {
                                ck_assert_int_eq(open_by_kernel(&family.map, path.text, 4096, &options), 0);
                        }
                        ck_assert_int_eq(ammap_update_region(family.map, 8, &nine, 8), 0);
                        peer_start(&peer, child_loads, &family);
                        peer_end(&peer);
                        ck_assert_int_eq(ammap_free(family.map), 0);
                }
}

/* --- Files that are cut ----------------------------------------------------------- */

static ammap_t *open_to_cut(const struct path *path, bool raw, bool faults, uint64_t *data)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
        options.allow_faults = faults;
        ck_assert_int_eq(open_by_kernel(&map, path->text, 4 * PAGE, &options), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 4 * PAGE, 1), 0);
        *data = raw ? 0 : data_of(ammap_fd(map));
        return map;
}

DEFINE_TEST("load", of_a_file_that_is_cut)
{
        for (int kind = 0; kind < 4; kind++) {
                struct path path = path_of("cut");
                uint64_t data;
                ammap_t *map = open_to_cut(&path, kind & 1, kind & 2, &data);

                check_words(map, 2 * PAGE, UINT64_C(0x0101010101010101));
                ck_assert_int_eq(truncate(path.text, (off_t)(data + 2 * PAGE)), 0);
                check_words(map, 2 * PAGE - 8, UINT64_C(0x0101010101010101));
                check_refused(map, 2 * PAGE, AMMAP_ERR_FAULT, AMMAP_ERR_FAULT);
                check_refused(map, 4 * PAGE - 8, AMMAP_ERR_FAULT, AMMAP_ERR_FAULT);
                check_refused(map, 4 * PAGE, AMMAP_ERR_BOUNDS, AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(truncate(path.text, (off_t)(data + 4 * PAGE)), 0);
                check_words(map, 2 * PAGE, 0);
                ck_assert_int_eq(truncate(path.text, 0), 0);
                check_refused(map, 0, AMMAP_ERR_FAULT, AMMAP_ERR_FAULT);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

struct cutting {
        const char *path;
        off_t size;
        _Atomic bool stop;
};

static void *cut_again(void *argument)
{
        struct cutting *cutting = argument;

        while (!atomic_load(&cutting->stop)) {
                thread_check_int(truncate(cutting->path, cutting->size / 2), 0);
                thread_check_int(truncate(cutting->path, cutting->size), 0);
        }
        return NULL;
}

DEFINE_TEST("load", beside_one_who_cuts)
{
        for (int kind = 0; kind < 2; kind++) {
                struct path path = path_of("cut");
                uint64_t data;
                ammap_t *map = open_to_cut(&path, true, kind, &data);
                struct cutting cutting = { .path = path.text, .size = (off_t)(4 * PAGE) };
                struct task task;

                task_start(&task, cut_again, &cutting);
                for (int i = 0; i < rounds(20000); i++) {
                        uint64_t word = 7;
                        int rc = ammap_load_u64(map, 3 * PAGE, &word);

                        ck_assert_msg(rc == 0 || rc == AMMAP_ERR_FAULT, "%s", ammap_errname(rc));
                        ck_assert(word == 0 || (rc == 0 && word == UINT64_C(0x0101010101010101)));
                }
                atomic_store(&cutting.stop, true);
                task_join(&task);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Its last word is not followed by as many bytes as are read at once. */
DEFINE_TEST("load", of_a_raw_file_of_any_length)
{
        struct path path = path_of("short");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint32_t narrow;
        ammap_t *map;

        options.share = AMMAP_RAW;
        ck_assert_int_eq(ammap_open(&map, path.text, PAGE + 12, &options), 0);
        ck_assert_int_eq(ammap_fill(map, 0, PAGE + 12, 3), 0);
        ck_assert_int_eq(ammap_load_u32(map, PAGE + 8, &narrow), 0);
        ck_assert_uint_eq(narrow, 0x03030303);
        check_refused(map, PAGE + 16, AMMAP_ERR_BOUNDS, AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

int main(void)
{
        return cannot_share("load") ? SKIPPED : run_tests("load", share_case);
}
