/* test-map.c - lib/map/map.c: the life of a map
 *
 * SPDX-License-Identifier: MIT
 *
 * Exact lengths and zeros, the limits of size, the growth rule of the options
 * (each struct at the very end of readable memory), lanes, free and what stands
 * in its way, describe, recover; NULL for every parameter of every call.
 */
#include "support.h"

#define SIZE_LIMIT (sizeof(void *) > 4 ? UINT64_C(1) << 47 : UINT64_C(1) << 31)

/* A handle that no call has set. */
#define UNSET ((ammap_t *)&unset)
static char unset;

static const uint64_t sizes[] = { 1, 2, 3, 7, 8, 63, 511, 4095, 4096, 4097, 8191, 65536, 65537, (1 << 20) + 3 };

DEFINE_TEST("map", the_length_is_exact)
{
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
                ammap_t *map = UNSET;
                unsigned char byte = 0x77;

                ck_assert_int_eq(ammap_new(&map, sizes[i]), 0);
                ck_assert(map && map != UNSET);
                ck_assert_uint_eq(ammap_len(map), sizes[i]);
                ck_assert(!ammap_is_empty(map));
                ck_assert_int_eq(ammap_update_region(map, sizes[i] - 1, &byte, 1), 0);
                ck_assert_int_eq(ammap_update_region(map, sizes[i], &byte, 1), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_read_into(map, sizes[i], &byte, 1), AMMAP_ERR_BOUNDS);
                byte = 0;
                ck_assert_int_eq(ammap_read_into(map, sizes[i] - 1, &byte, 1), 0);
                ck_assert_uint_eq(byte, 0x77);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Dirty memory is given back each time, so that a map made of it would show. */
DEFINE_TEST("map", fresh_memory_is_zero)
{
        for (int round = 0; round < rounds(40); round++)
                for (size_t i = 0; i < COUNT_OF(sizes); i++) {
                        ammap_t *map = new_map(sizes[i], 0);

                        ck_assert(is_all(ammap_as_ptr(map), 0, sizes[i]));
                        ck_assert_int_eq(ammap_fill(map, 0, sizes[i], 0xff), 0);
                        ck_assert(is_all(ammap_as_ptr(map), 0xff, sizes[i]));
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

DEFINE_TEST("map", the_raw_pointers_are_the_memory)
{
        ammap_t *map = new_pattern_map(5000, 3);
        unsigned char byte = 1;
        unsigned char *raw = ammap_as_mut_ptr(map);
        ammap_mut_slice_t mut;

        ck_assert_ptr_eq(ammap_as_ptr(map), raw);
        raw[4999] = 99;
        ck_assert_int_eq(ammap_read_into(map, 4999, &byte, 1), 0);
        ck_assert_uint_eq(byte, 99);
        /* They take no lock: not even one's own write slice stops them. */
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 5000, &mut), 0);
        ck_assert_ptr_eq(ammap_as_ptr(map), raw);
        ck_assert_ptr_eq(ammap_as_mut_ptr(map), raw);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", sizes_out_of_limit_are_refused)
{
        const uint64_t refused[] = {
                0,          SIZE_LIMIT + 1, SIZE_LIMIT + 4096, SIZE_LIMIT * 2,    INT64_MAX,         UINT64_C(1) << 63,
                UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 4094, UINT64_MAX - 4095, UINT64_MAX - 4096,
        };

        for (size_t i = 0; i < COUNT_OF(refused); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map = UNSET;

                ck_assert_int_eq(ammap_new(&map, refused[i]), AMMAP_ERR_SIZE);
                ck_assert_ptr_null(map);
                map = UNSET;
                ck_assert_int_eq(ammap_new_with(&map, refused[i], NULL), AMMAP_ERR_SIZE);
                ck_assert_ptr_null(map);
                map = UNSET;
                ck_assert_int_eq(ammap_new_with(&map, refused[i], &options), AMMAP_ERR_SIZE);
                ck_assert_ptr_null(map);
        }
}

/* Within the library's limit it is the system that says no, in its own words. */
DEFINE_TEST("map", the_limit_itself_is_the_systems_business)
{
        const uint64_t asked[] = { SIZE_LIMIT, SIZE_LIMIT - 1, SIZE_LIMIT - 4096 };

        for (size_t i = 0; i < COUNT_OF(asked); i++) {
                ammap_t *map = UNSET;
                int result = ammap_new(&map, asked[i]);

                if (result == 0) {
                        ck_assert_uint_eq(ammap_len(map), asked[i]);
                        ck_assert_int_eq(ammap_free(map), 0);
                } else {
                        /* An errno, whichever (valgrind's is EINVAL); no code of the library's. */
                        ck_assert_int_lt(result, 0);
                        ck_assert_int_gt(result, -4096);
                        ck_assert_ptr_null(map);
                }
        }
}

DEFINE_TEST("map", the_systems_refusal_is_passed_on)
{
        struct rlimit limit, before;
        ammap_t *map = UNSET;
        int result;

        /* These need address space for themselves. */
        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, why_not_here());
                return;
        }
        ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
        limit = before;
        limit.rlim_cur = 512 << 20;
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
        result = ammap_new(&map, UINT64_C(1) << 30);
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
        ck_assert_int_eq(result, -ENOMEM);
        ck_assert_ptr_null(map);
        ck_assert_int_eq(ammap_new(&map, UINT64_C(1) << 30), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", new_refuses_bad_input)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        ck_assert_int_eq(ammap_new(NULL, 4096), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_new(NULL, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_new(NULL, UINT64_MAX), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_new_with(NULL, 4096, NULL), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_new_with(NULL, 4096, &options), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_new_with(NULL, 0, &options), AMMAP_ERR_INVALID);
        ck_assert_uint_eq(options.struct_size, sizeof(options));
        ck_assert_uint_eq(options.lanes, 0);
}

/* What each number of lanes gives for each size. */
DEFINE_TEST("map", lanes_are_checked)
{
        static const struct {
                uint64_t size;
                uint64_t lanes;
                int result;
        } cases[] = {
                { 4096, 0, 0 },
                { 4096, 1, 0 },
                { 4096, 2, 0 },
                { 4096, 3, 0 },
                { 4096, AMMAP_LANES_MAX, 0 },
                { 8192, AMMAP_LANES_MAX - 1, 0 },
                { 4095, AMMAP_LANES_MAX, AMMAP_ERR_INVALID },
                { 1, 0, 0 },
                { 1, 1, 0 },
                { 1, 2, AMMAP_ERR_INVALID },
                { 7, 7, 0 },
                { 7, 8, AMMAP_ERR_INVALID },
                { 1 << 20, AMMAP_LANES_MAX + 1, AMMAP_ERR_INVALID },
                { 1 << 20, 1 << 20, AMMAP_ERR_INVALID },
                { 1 << 20, UINT64_C(1) << 32, AMMAP_ERR_INVALID },
                { 1 << 20, (UINT64_C(1) << 32) + 1, AMMAP_ERR_INVALID },
                { 1 << 20, UINT64_C(1) << 63, AMMAP_ERR_INVALID },
                { 1 << 20, UINT64_MAX, AMMAP_ERR_INVALID },
                { 0, AMMAP_LANES_MAX + 1, AMMAP_ERR_INVALID },
                { UINT64_MAX, AMMAP_LANES_MAX + 1, AMMAP_ERR_INVALID },
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map = UNSET;
                int result;

                options.lanes = cases[i].lanes;
                result = ammap_new_with(&map, cases[i].size, &options);
                ck_assert_msg(result == cases[i].result, "case %zu: %s", i, ammap_errname(result));
                ck_assert_uint_eq(options.lanes, cases[i].lanes);
                if (result < 0) {
                        ck_assert_ptr_null(map);
                        continue;
                }
                ck_assert_uint_eq(ammap_len(map), cases[i].size);
                ck_assert_int_eq(ammap_fill(map, 0, cases[i].size, 0x11), 0);
                ck_assert(is_all(ammap_as_ptr(map), 0x11, cases[i].size));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Two pages of which the second cannot be touched: what lies at the end of the
 * first is read to the last byte and not a byte further, or the test dies. */
struct edge {
        unsigned char *start;
        size_t page;
};

static struct edge edge_open(void)
{
        struct edge edge = { NULL, (size_t)sysconf(_SC_PAGESIZE) };

        edge.start = mmap(NULL, 2 * edge.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert(edge.start != MAP_FAILED);
        ck_assert_int_eq(mprotect(edge.start + edge.page, edge.page, PROT_NONE), 0);
        return edge;
}

static void edge_close(struct edge *edge)
{
        ck_assert_int_eq(munmap(edge->start, 2 * edge->page), 0);
}

/* Make a map of options that take room bytes and say struct_size; byte at is
 * set to 1 where it is in the room. */
static int make_with(struct edge *edge, size_t room, size_t struct_size, uint64_t lanes, size_t at)
{
        unsigned char *options = edge->start + edge->page - room;
        unsigned char before[4096];
        ammap_t *map = UNSET;
        int result;

        ck_assert_uint_le(room, sizeof(before));
        memset(edge->start, 0xff, edge->page);
        memset(options, 0, room);
        memcpy(options, &struct_size, room < sizeof(struct_size) ? room : sizeof(struct_size));
        if (room >= offsetof(ammap_options_t, lanes) + sizeof(lanes))
                memcpy(options + offsetof(ammap_options_t, lanes), &lanes, sizeof(lanes));
        if (at < room)
                options[at] = 1;
        memcpy(before, options, room);
        /* By way of void, for -Wcast-align: every room is a multiple of the alignment. */
        result = ammap_new_with(&map, 4096, (const ammap_options_t *)(const void *)options);
        ck_assert_int_eq(memcmp(before, options, room), 0);
        if (result == 0) {
                ck_assert_uint_eq(ammap_len(map), 4096);
                ck_assert_int_eq(ammap_free(map), 0);
        } else {
                ck_assert_ptr_null(map);
        }
        return result;
}

DEFINE_TEST("map", options_that_are_too_small_are_refused)
{
        struct edge edge = edge_open();

        for (size_t size = 0; size < sizeof(size_t); size++)
                ck_assert_int_eq(make_with(&edge, sizeof(size_t), size, 0, SIZE_MAX), AMMAP_ERR_INVALID);
        edge_close(&edge);
}

DEFINE_TEST("map", options_of_an_older_header_are_read_no_further)
{
        struct edge edge = edge_open();
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        /* Nothing but its own size, and the next byte would be fatal. */
        ck_assert_int_eq(make_with(&edge, sizeof(size_t), sizeof(size_t), 0, SIZE_MAX), 0);
        /* The lanes are there, in memory, but not in the structure. */
        options.struct_size = offsetof(ammap_options_t, lanes);
        options.lanes = UINT64_MAX;
        ck_assert_int_eq(ammap_new_with(&map, 4096, &options), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        edge_close(&edge);
}

DEFINE_TEST("map", options_of_a_newer_header_are_accepted_where_the_rest_is_zero)
{
        struct edge edge = edge_open();
        const size_t step = _Alignof(ammap_options_t);

        ck_assert_int_eq(make_with(&edge, sizeof(ammap_options_t), sizeof(ammap_options_t), 2, SIZE_MAX), 0);
        for (size_t room = sizeof(ammap_options_t) + step; room <= 512; room += step) {
                ck_assert_int_eq(make_with(&edge, room, room, 2, SIZE_MAX), 0);
                ck_assert_int_eq(make_with(&edge, room, room, UINT64_MAX, SIZE_MAX), AMMAP_ERR_INVALID);
        }
        ck_assert_int_eq(make_with(&edge, edge.page, edge.page, 2, SIZE_MAX), 0);
        edge_close(&edge);
}

/* The same header, a field later: what is a field there is none of the bytes that
 * are let pass here.  Of every byte of the structure something is known. */
DEFINE_TEST("map", options_have_no_hidden_room)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned char *bytes = (unsigned char *)&options;
        size_t fields = 0;
        struct span {
                size_t at, length;
        } span[] = {
#define FIELD(name) { offsetof(ammap_options_t, name), sizeof(options.name) }
                FIELD(struct_size), FIELD(name),    FIELD(capacity),     FIELD(lanes),
                FIELD(share),       FIELD(fork),    FIELD(huge),         FIELD(populate),
                FIELD(lock),        FIELD(guard),   FIELD(nodump),       FIELD(secret),
                FIELD(noreserve),   FIELD(recycle), FIELD(allow_faults), FIELD(read_only),
        };

        for (size_t i = 0; i < COUNT_OF(span); i++)
                fields += span[i].length;
        for (size_t at = 0; at < sizeof(options); at++) {
                ammap_t *map = UNSET;
                bool known = false;

                for (size_t i = 0; i < COUNT_OF(span); i++)
                        known |= at - span[i].at < span[i].length;
                if (known)
                        continue;
                fields++;
                bytes[at] = 0xaa;
                ck_assert_int_eq(ammap_new_with(&map, 4096, &options), AMMAP_ERR_INVALID);
                ck_assert_ptr_null(map);
                bytes[at] = 0;
        }
        ck_assert_uint_eq(fields, sizeof(options));
}

DEFINE_TEST("map", options_of_a_newer_header_are_refused_where_the_rest_is_not_zero)
{
        struct edge edge = edge_open();
        const size_t known = sizeof(ammap_options_t);
        const size_t room = known + 64;

        for (size_t at = known; at < room; at++)
                ck_assert_int_eq(make_with(&edge, room, room, 2, at), AMMAP_ERR_INVALID);
        ck_assert_int_eq(make_with(&edge, edge.page, edge.page, 2, known), AMMAP_ERR_INVALID);
        ck_assert_int_eq(make_with(&edge, edge.page, edge.page, 2, edge.page - 1), AMMAP_ERR_INVALID);
        /* A byte behind the structure is not of the structure. */
        ck_assert_int_eq(make_with(&edge, room, known + 8, 2, known + 8), 0);
        edge_close(&edge);
}

DEFINE_TEST("map", the_initializer_fits_a_compound_literal)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new_with(&map, 100, &(ammap_options_t)AMMAP_OPTIONS_INIT), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", calls_on_no_map_answer)
{
        ck_assert_int_eq(ammap_free(NULL), 0);
        ck_assert_uint_eq(ammap_len(NULL), 0);
        ck_assert(ammap_is_empty(NULL));
        ck_assert_ptr_null(ammap_as_ptr(NULL));
        ck_assert_ptr_null(ammap_as_mut_ptr(NULL));
        ck_assert_int_eq(ammap_recover(NULL), AMMAP_ERR_INVALID);
}

DEFINE_TEST("map", free_gives_the_memory_back)
{
        const size_t size = 1 << 20;
        ammap_t *map = new_map(size, 0);
        void *memory = ammap_as_mut_ptr(map);

        memset(memory, 1, size);
        ck_assert(is_mapped(memory, size));
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(is_given_back(memory, size));
}

enum { SCOPED = 1 << 16 };

/* A map that is freed on every way out, with what holds it; where it was. */
static void *live_in_a_scope(ammap_share_t share, unsigned leave_after)
{
        AMMAP_AUTO_MAP ammap_t *map = NULL;
        AMMAP_AUTO_SLICE ammap_slice_t slice = { 0 };
        AMMAP_AUTO_U32_VIEW ammap_u32_view_t narrow = { 0 };
        AMMAP_AUTO_U64_VIEW ammap_u64_view_t wide = { 0 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        void *memory;

        options.share = share;
        if (leave_after == 0)
                return NULL;
        ck_assert_int_eq(ammap_new_with(&map, SCOPED, &options), 0);
        memory = ammap_as_mut_ptr(map);
        memset(memory, 1, SCOPED);
        if (leave_after == 1)
                return memory;
        ck_assert_int_eq(ammap_as_slice(map, 0, 100, &slice), 0);
        if (leave_after == 2)
                return memory;
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &narrow), 0);
        if (leave_after == 3)
                return memory;
        ck_assert_int_eq(ammap_atomic_u64(map, 0, &wide), 0);
        return memory;
}

DEFINE_TEST("map", the_end_of_the_scope_frees)
{
        const ammap_share_t last = TEST_OS_LINUX ? AMMAP_RAW : AMMAP_PRIVATE;

        for (ammap_share_t share = AMMAP_PRIVATE; share <= last; share++)
                for (unsigned leave_after = 0; leave_after <= 4; leave_after++) {
                        void *memory = live_in_a_scope(share, leave_after);

                        ck_assert(!memory || is_given_back(memory, SCOPED));
                }
}

static void *a_view_outlives(ammap_t **left, ammap_u32_view_t *view)
{
        AMMAP_AUTO_MAP ammap_t *map = new_map(SCOPED, 1);

        ck_assert_int_eq(ammap_atomic_u32(map, 0, view), 0);
        *left = map;
        return ammap_as_mut_ptr(map);
}

DEFINE_TEST("map", a_busy_map_outlives_its_scope)
{
        ammap_u32_view_t view;
        ammap_t *map;
        void *memory = a_view_outlives(&map, &view);

        ck_assert(is_mapped(memory, SCOPED));
        ck_assert_uint_eq(ammap_len(map), SCOPED);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(is_given_back(memory, SCOPED));
}

/* Whatever is alive, the map stays, whole and usable. */
static void check_busy(ammap_t *map)
{
        uint64_t length = ammap_len(map);

        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(ammap_len(map), length);
        ck_assert(is_pattern(map));
}

DEFINE_TEST("map", free_is_busy_while_a_slice_lives)
{
        static const uint64_t lane_counts[] = { 1, 2, 7 };

        for (size_t i = 0; i < COUNT_OF(lane_counts); i++) {
                ammap_t *map = new_pattern_map(5001, lane_counts[i]);
                ammap_slice_t slice;
                ammap_mut_slice_t mut;

                ck_assert_int_eq(ammap_as_slice(map, 4000, 100, &slice), 0);
                check_busy(map);
                ck_assert_uint_eq(slice.data[5], pattern_byte(4005));
                ammap_slice_release(&slice);

                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 5001, &mut), 0);
                check_busy(map);
                ammap_mut_slice_release(&mut);

                ck_assert_int_eq(ammap_as_slice(map, 5001, 0, &slice), 0);
                check_busy(map);
                ammap_slice_release(&slice);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("map", free_is_busy_until_the_last_of_many_is_released)
{
        ammap_t *map = new_pattern_map(4096, 4);
        ammap_slice_t slices[100];

        for (size_t i = 0; i < COUNT_OF(slices); i++)
                ck_assert_int_eq(ammap_as_slice(map, i * 40, 41, &slices[i]), 0);
        for (size_t i = 0; i < COUNT_OF(slices); i++) {
                /* 37 and 100 have no common divisor: each once, in disorder. */
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                ammap_slice_release(&slices[i * 37 % COUNT_OF(slices)]);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", free_is_busy_while_a_view_lives)
{
        ammap_t *map = new_pattern_map(4096, 2);
        ammap_u32_view_t narrow, narrow_slice;
        ammap_u64_view_t wide, wide_slice;

        ck_assert_int_eq(ammap_atomic_u32(map, 4, &narrow), 0);
        check_busy(map);
        ck_assert_int_eq(ammap_atomic_u64(map, 8, &wide), 0);
        ammap_u32_view_release(&narrow);
        check_busy(map);
        ck_assert_int_eq(ammap_atomic_u32_slice(map, 4096, 0, &narrow_slice), 0);
        ammap_u64_view_release(&wide);
        check_busy(map);
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 0, 512, &wide_slice), 0);
        ammap_u32_view_release(&narrow_slice);
        check_busy(map);
        ammap_u64_view_release(&wide_slice);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", free_is_busy_while_another_thread_holds_a_slice)
{
        for (int writes = 0; writes < 2; writes++) {
                ammap_t *map = new_pattern_map(4096, 2);
                struct holder holder;

                holder_start(&holder, map, 2048, 10, writes);
                check_busy(map);
                holder_stop(&holder);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("map", free_works_after_a_thread_ended_with_its_slice)
{
        for (int writes = 0; writes < 2; writes++) {
                ammap_t *map = new_pattern_map(4096, 2);
                struct holder holder;

                holder_start(&holder, map, 0, 4096, writes);
                check_busy(map);
                holder_vanish(&holder);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("map", describe_counts_as_snprintf_does)
{
        static const uint64_t lengths[] = { 1, 4097, 1234567 };

        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                ammap_t *map = new_map(lengths[i], i);
                char whole[1024], text[1024], number[32];
                int length = ammap_describe(map, whole, sizeof(whole));

                ck_assert_int_gt(length, 0);
                ck_assert_int_lt(length, (int)sizeof(whole) - 2);
                ck_assert_uint_eq(strlen(whole), (size_t)length);
                snprintf(number, sizeof(number), "%llu", (unsigned long long)lengths[i]);
                ck_assert_ptr_nonnull(strstr(whole, number));
                ck_assert_ptr_null(strchr(whole, '\n'));
                ck_assert_int_eq(ammap_describe(map, NULL, 0), length);
                for (size_t size = 0; size < (size_t)length + 3; size++) {
                        size_t kept = size <= (size_t)length ? size : (size_t)length + 1;

                        memset(text, 0x7e, sizeof(text));
                        ck_assert_int_eq(ammap_describe(map, text, size), length);
                        ck_assert(is_all(text + kept, 0x7e, sizeof(text) - kept));
                        if (size == 0)
                                continue;
                        ck_assert_int_eq(memcmp(text, whole, kept - 1), 0);
                        ck_assert_int_eq(text[kept - 1], '\0');
                }
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("map", describe_names_what_the_map_is)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;
        char text[400];

        options.name = "a\nname";
        options.capacity = 7654321;
        options.lanes = 17;
        ck_assert_int_eq(ammap_new_with(&map, 1234567, &options), 0);
        ck_assert_int_gt(ammap_describe(map, text, sizeof(text)), 0);
        ck_assert_ptr_nonnull(strstr(text, "1234567 bytes"));
        ck_assert_ptr_nonnull(strstr(text, "capacity 7654321"));
        ck_assert_ptr_nonnull(strstr(text, "17 lanes of 450255"));
        ck_assert_ptr_nonnull(strstr(text, "name a_name"));
        ck_assert_ptr_nonnull(strstr(text, "private"));
        ck_assert_ptr_null(strstr(text, "frozen"));
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_gt(ammap_describe(map, text, sizeof(text)), 0);
        ck_assert_ptr_nonnull(strstr(text, "frozen"));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", describe_refuses_bad_input)
{
        ammap_t *map = new_pattern_map(100, 0);
        char text[64];

        memset(text, 0x7e, sizeof(text));
        ck_assert_int_eq(ammap_describe(NULL, text, sizeof(text)), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_describe(NULL, text, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_describe(NULL, NULL, 0), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_describe(NULL, NULL, 10), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_describe(map, NULL, 1), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_describe(map, NULL, SIZE_MAX), AMMAP_ERR_INVALID);
        ck_assert(is_all(text, 0x7e, sizeof(text)));
        ck_assert(is_pattern(map));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* It takes no lock that a slice could hold. */
DEFINE_TEST("map", a_map_can_be_described_under_a_mut_slice)
{
        ammap_t *map = new_pattern_map(100, 0);
        ammap_mut_slice_t mut;
        char text[256];

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
        ck_assert_int_gt(ammap_describe(map, text, sizeof(text)), 0);
        ck_assert_uint_eq(ammap_len(map), 100);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("map", recover_has_nothing_to_do_on_a_healthy_map)
{
        ammap_t *map = new_pattern_map(4096, 3);
        struct holder holder;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_recover(map), 0);

        /* What is held stays held. */
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        holder_start(&holder, map, 0, 4096, true);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, 0, 1, 0), AMMAP_ERR_BUSY);
        holder_stop(&holder);

        ck_assert(is_pattern(map));
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 4096, 0), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void *make_and_free(void *argument)
{
        struct random random = { (uint64_t)(uintptr_t)argument };

        for (int round = rounds(500); round > 0; round--) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                uint64_t size = 1 + random_below(&random, 100000);
                ammap_slice_t slice;
                ammap_t *map = NULL;

                options.lanes = random_below(&random, 4) % size;
                thread_check_int(ammap_new_with(&map, size, &options), 0);
                if (!map)
                        return NULL;
                thread_check(is_all(ammap_as_ptr(map), 0, size));
                thread_check_int(ammap_fill(map, 0, size, 0xee), 0);
                thread_check_int(ammap_as_slice(map, 0, size, &slice), 0);
                thread_check_int(ammap_free(map), AMMAP_ERR_BUSY);
                ammap_slice_release(&slice);
                thread_check_int(ammap_free(map), 0);
        }
        return NULL;
}

DEFINE_TEST("map", threads_make_and_free_maps_at_once)
{
        struct task tasks[4];

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], make_and_free, (void *)(uintptr_t)(i + 1));
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
}

int main(void)
{
        return run_tests("map", test_case);
}
