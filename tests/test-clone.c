/* test-clone.c - copies of maps that others have
 *
 * SPDX-License-Identifier: MIT
 *
 * Of the frozen, the sparse, and of those that others go on writing.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

/* --- Clone --------------------------------------------------------------------- */

DEFINE_TEST("clone", clones_of_the_frozen)
{
        static const uint64_t lengths[] = { 1, 5000, 16 * 4096, 100001 };

        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                uint64_t length = lengths[i], capacity = length + 70000;
                ammap_t *map = make_shared(length, capacity, 1), *clone, *second;
                unsigned char *bytes = ammap_as_mut_ptr(map);

                for (uint64_t j = 0; j < length; j++)
                        bytes[j] = pattern_byte(j);
                ck_assert_int_eq(ammap_freeze(map), 0);
                ck_assert_int_eq(ammap_clone(map, &clone), 0);
                ck_assert_int_eq(ammap_clone(map, &second), 0);
                ck_assert_int_eq(stat_of(clone).share, AMMAP_PRIVATE);
                ck_assert(!stat_of(clone).frozen && !stat_of(clone).read_only);
                ck_assert_uint_eq(ammap_len(clone), length);
                ck_assert_uint_eq(stat_of(clone).capacity, capacity);
                ck_assert_int_eq(ammap_fd(clone), AMMAP_ERR_UNSUPPORTED);
                ck_assert(is_pattern(clone));
                ck_assert_int_eq(ammap_fill(clone, 0, length, 0xdd), 0);
                ck_assert(is_pattern(map));
                ck_assert(is_pattern(second));
                for (enum op op = 0; op < OP_COUNT; op++)
                        ck_assert_int_eq(op_run(op, clone, 0, length, SECOND), 0);

                /* Its zeros are zeros, and not the original's bytes. */
                ck_assert_int_eq(ammap_discard(second, 0, length), 0);
                ck_assert(is_all(ammap_as_ptr(second), 0, length));
                ck_assert_int_eq(ammap_resize(clone, 1), 0);
                ck_assert_int_eq(ammap_resize(clone, capacity), 0);
                ck_assert(is_all((const unsigned char *)ammap_as_ptr(clone) + 1, 0, capacity - 1));
                ck_assert_int_eq(ammap_free(second), 0);

                /* It needs neither the original nor its descriptor. */
                ck_assert_int_eq(ammap_clone(map, &second), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert(is_pattern(second));
                ck_assert_int_eq(ammap_fill(second, 0, length, 1), 0);
                ck_assert_int_eq(ammap_clone(second, &map), 0);
                ck_assert(is_all(ammap_as_ptr(map), 1, length));
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(second), 0);
        }
}

/* Who had the memory writable before the freeze writes on, or never was there a
 * freeze, and the flag is a lie: the clones are of nobody else's pages. */
DEFINE_TEST("clone", clones_that_follow_nobody)
{
        enum { FORGED, FROZEN, FROZEN_READ_ONLY, WAYS };

        for (int way = 0; way < WAYS; way++) {
                const uint64_t length = 9 * 4096 + 100;
                ammap_t *map = make_shared(length, 2 * length, 3), *reader = NULL, *clone, *second;
                uint64_t data = data_of(ammap_fd(map));
                unsigned char *peer =
                        mmap(NULL, (size_t)(data + length), PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);
                ammap_mut_slice_t slice;

                ck_assert_ptr_ne(peer, MAP_FAILED);
                ck_assert_int_eq(ammap_fill(map, 0, length, 5), 0);
                if (way == FORGED)
                        atomic_store(&((struct format_head *)(void *)peer)->frozen, 7);
                else
                        ck_assert_int_eq(ammap_freeze(map), 0);
                if (way == FROZEN_READ_ONLY)
                        reader = import_again(map, AMMAP_READ);
                ck_assert_int_eq(ammap_clone(reader ? reader : map, &clone), 0);
                ck_assert_int_eq(ammap_clone(clone, &second), 0);
                ck_assert_int_eq(ammap_as_mut_slice(clone, 0, length, &slice), 0);
                for (uint64_t at = 0; at < length; at += 1000)
                        peer[data + at] = 6;
                ck_assert(is_all(slice.data, 5, length));
                ammap_mut_slice_release(&slice);
                ck_assert(holds(second, 0, length, 5));
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(second), 0);
                ck_assert_int_eq(ammap_free(reader), 0);
                ck_assert_int_eq(ammap_free(map), 0);
                munmap(peer, (size_t)(data + length));
        }
}

/* What holds nothing is not copied. */
DEFINE_TEST("clone", clones_of_the_sparse)
{
        const uint64_t full = MB;
        ammap_t *map = make_shared(sizeof(void *) > 4 ? 1024 * MB : 128 * MB, 0, 1), *clone;
        unsigned long before;

        ck_assert_int_eq(ammap_fill(map, 100 * MB, full, 9), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        before = status_bytes("VmRSS:");
        ck_assert_int_eq(ammap_clone(map, &clone), 0);
        if (!TEST_SANITIZED && !under_valgrind())
                ck_assert_uint_lt(status_bytes("VmRSS:"), before + 16 * full);
        ck_assert(holds(clone, 100 * MB - 64, 64, 0));
        ck_assert(holds(clone, 100 * MB, full, 9));
        ck_assert_int_eq(ammap_free(clone), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static ino_t inode_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return stat.st_ino;
}

DEFINE_TEST("clone", clones_of_the_others)
{
        struct path path = path_of("file");
        ammap_t *maps[] = { make_shared(5000, 9000, 3), make_raw(5000), open_map(path.text, 5000, false) };

        for (size_t i = 0; i < COUNT_OF(maps); i++) {
                ammap_t *clone;

                ck_assert_int_eq(ammap_fill(maps[i], 0, 5000, 1), 0);
                ck_assert_int_eq(ammap_clone(maps[i], &clone), 0);
                ck_assert_uint_eq(ammap_len(clone), 5000);
                ck_assert(holds(clone, 0, 5000, 1));
                ck_assert_int_eq(ammap_fill(clone, 0, 5000, 2), 0);
                ck_assert(holds(maps[i], 0, 5000, 1));
                ck_assert_int_eq(ammap_fill(maps[i], 0, 5000, 3), 0);
                ck_assert(holds(clone, 0, 5000, 2));
                if (i == 0) {
                        ck_assert_int_eq(stat_of(clone).share, AMMAP_SHARED);
                        ck_assert_uint_eq(stat_of(clone).lanes, 3);
                        ck_assert_uint_eq(stat_of(clone).capacity, 9000);
                        ck_assert_uint_ne(inode_of(ammap_fd(clone)), inode_of(ammap_fd(maps[i])));
                        check_descriptor(ammap_fd(clone), "");
                } else {
                        ck_assert_int_eq(stat_of(clone).share, AMMAP_PRIVATE);
                        ck_assert_int_eq(ammap_fd(clone), AMMAP_ERR_UNSUPPORTED);
                        ck_assert_int_eq(op_run(OP_MUT_SLICE, clone, 0, 5000, 0), 0);
                }
                ck_assert_int_eq(ammap_free(clone), 0);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("clone");
}
