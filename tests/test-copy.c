/* test-copy.c - lib/copy.c: read_into, update_region, fill, copy
 *
 * SPDX-License-Identifier: MIT
 *
 * Every edge of 64 bits as offset and as length, on maps of odd and even sizes,
 * against what the bytes must be afterwards: inside, exactly the range has
 * changed; outside, nothing has.  NULL for every parameter.  A random walk over
 * all four calls against a plain array.  Two and three maps copied in circles
 * by threads at once: no deadlock, and no copy seen half done.  The lanes that a
 * copy takes, and that handles of one map are one map.  Copies that do not wait, or
 * for a time; test-slice.c and test-shared-lock.c have every call against slices, one's
 * own and dead ones too.
 */
#include "share.h"

#define CANARY 0xa5
#define MARGIN 64

static const uint64_t lane_counts[] = { 1, 2, 3, 7 };

/* Go through every pair of edges. */
static void each_range(void (*check)(ammap_t *map, uint64_t offset, uint64_t length))
{
        size_t count;
        const uint64_t *lengths = map_lengths(&count);

        for (size_t i = 0; i < count; i++)
                for (size_t k = 0; k < COUNT_OF(lane_counts) && lane_counts[k] <= lengths[i]; k++) {
                        ammap_t *map = new_pattern_map(lengths[i], lane_counts[k]);
                        uint64_t edges[EDGES_MAX];
                        size_t edge_count = edges_of(lengths[i], edges);

                        for (size_t o = 0; o < edge_count; o++)
                                for (size_t n = 0; n < edge_count; n++)
                                        check(map, edges[o], edges[n]);
                        ck_assert(is_pattern(map));
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

/* The map is the pattern but for the range, which is byte; and is made the
 * pattern again. */
static void check_changed(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        unsigned char *bytes = ammap_as_mut_ptr(map);

        ck_assert(is_all(bytes + offset, byte, length));
        for (uint64_t i = offset; i < offset + length; i++)
                bytes[i] = pattern_byte(i);
        ck_assert(is_pattern(map));
}

/* Those that copy out, and those that copy in. */
static const enum op reads[] = { OP_READ_INTO, OP_TRY_READ, OP_TIMED_READ };
static const enum op updates[] = { OP_UPDATE, OP_TRY_UPDATE, OP_TIMED_UPDATE };

static void check_read_by(enum op op, ammap_t *map, uint64_t offset, uint64_t length)
{
        unsigned char buffer[4200 + MARGIN];
        int result;

        if (length > SIZE_MAX)
                return;
        memset(buffer, CANARY, sizeof(buffer));
        result = op_bytes(op, map, offset, buffer + MARGIN / 2, (size_t)length, 0);
        if (!range_is_inside(ammap_len(map), offset, length)) {
                ck_assert_int_eq(result, AMMAP_ERR_BOUNDS);
                ck_assert(is_all(buffer, CANARY, sizeof(buffer)));
                return;
        }
        ck_assert_int_eq(result, 0);
        for (uint64_t i = 0; i < length; i++)
                ck_assert_uint_eq(buffer[MARGIN / 2 + i], pattern_byte(offset + i));
        ck_assert(is_all(buffer, CANARY, MARGIN / 2));
        ck_assert(is_all(buffer + MARGIN / 2 + length, CANARY, sizeof(buffer) - MARGIN / 2 - length));
}

/* They take turns: the ranges are many. */
static void check_read(ammap_t *map, uint64_t offset, uint64_t length)
{
        static size_t turn;

        check_read_by(reads[turn++ % COUNT_OF(reads)], map, offset, length);
}

DEFINE_TEST("copy", read_into_is_bounded)
{
        each_range(check_read);
}

static void check_update_by(enum op op, ammap_t *map, uint64_t offset, uint64_t length)
{
        unsigned char buffer[4200];
        int result;

        if (length > SIZE_MAX)
                return;
        memset(buffer, CANARY, sizeof(buffer));
        result = op_bytes(op, map, offset, buffer, (size_t)length, 0);
        ck_assert(is_all(buffer, CANARY, sizeof(buffer)));
        if (range_is_inside(ammap_len(map), offset, length)) {
                ck_assert_int_eq(result, 0);
                check_changed(map, offset, length, CANARY);
        } else {
                ck_assert_int_eq(result, AMMAP_ERR_BOUNDS);
        }
}

static void check_update(ammap_t *map, uint64_t offset, uint64_t length)
{
        static size_t turn;

        check_update_by(updates[turn++ % COUNT_OF(updates)], map, offset, length);
}

DEFINE_TEST("copy", update_region_is_bounded)
{
        each_range(check_update);
}

static void check_fill(ammap_t *map, uint64_t offset, uint64_t length)
{
        int result = ammap_fill(map, offset, length, 0xc3);

        if (range_is_inside(ammap_len(map), offset, length)) {
                ck_assert_int_eq(result, 0);
                check_changed(map, offset, length, 0xc3);
        } else {
                ck_assert_int_eq(result, AMMAP_ERR_BOUNDS);
        }
}

DEFINE_TEST("copy", fill_is_bounded)
{
        each_range(check_fill);
}

/* Two maps of unlike length, every triple of edges; and one map on itself. */
DEFINE_TEST("copy", copy_is_bounded_on_both_sides)
{
        static const struct {
                uint64_t to, to_lanes, from, from_lanes;
        } pairs[] = { { 1, 1, 1, 1 }, { 8, 1, 24, 3 }, { 24, 7, 7, 2 }, { 100, 3, 99, 1 } };

        for (size_t p = 0; p < COUNT_OF(pairs); p++) {
                ammap_t *to = new_pattern_map(pairs[p].to, pairs[p].to_lanes);
                ammap_t *from = new_map(pairs[p].from, pairs[p].from_lanes);
                uint64_t to_edges[EDGES_MAX], from_edges[EDGES_MAX];
                size_t to_count = edges_of(pairs[p].to, to_edges);
                size_t from_count = edges_of(pairs[p].from, from_edges);

                ck_assert_int_eq(ammap_fill(from, 0, pairs[p].from, CANARY), 0);
                for (size_t t = 0; t < to_count; t++)
                        for (size_t f = 0; f < from_count; f++)
                                for (size_t n = 0; n < to_count; n++) {
                                        uint64_t length = to_edges[n];
                                        bool inside = range_is_inside(pairs[p].to, to_edges[t], length) &&
                                                      range_is_inside(pairs[p].from, from_edges[f], length);
                                        int result = ammap_copy(to, to_edges[t], from, from_edges[f], length);

                                        ck_assert_int_eq(result, inside ? 0 : AMMAP_ERR_BOUNDS);
                                        if (inside)
                                                check_changed(to, to_edges[t], length, CANARY);
                                }
                ck_assert(is_pattern(to));
                ck_assert(is_all(ammap_as_ptr(from), CANARY, pairs[p].from));
                ck_assert_int_eq(ammap_free(to), 0);
                ck_assert_int_eq(ammap_free(from), 0);
        }
}

DEFINE_TEST("copy", copy_within_one_map_is_bounded)
{
        ammap_t *map = new_pattern_map(24, 3);
        unsigned char *bytes = ammap_as_mut_ptr(map);
        unsigned char model[24];
        uint64_t edges[EDGES_MAX];
        size_t count = edges_of(24, edges);

        memcpy(model, bytes, sizeof(model));
        for (size_t t = 0; t < count; t++)
                for (size_t f = 0; f < count; f++)
                        for (size_t n = 0; n < count; n++) {
                                bool inside = range_is_inside(24, edges[t], edges[n]) &&
                                              range_is_inside(24, edges[f], edges[n]);
                                int result = ammap_copy(map, edges[t], map, edges[f], edges[n]);

                                ck_assert_int_eq(result, inside ? 0 : AMMAP_ERR_BOUNDS);
                                if (inside)
                                        memmove(model + edges[t], model + edges[f], (size_t)edges[n]);
                                ck_assert_int_eq(memcmp(model, bytes, sizeof(model)), 0);
                                if (!inside)
                                        continue;
                                for (uint64_t i = 0; i < sizeof(model); i++)
                                        model[i] = bytes[i] = pattern_byte(i);
                        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- NULL and the like, one table per call --------------------------------- */

DEFINE_TEST("copy", read_into_refuses_bad_input)
{
        ammap_t *map = new_pattern_map(100, 2);
        unsigned char buffer[128];
        const struct {
                ammap_t *map;
                uint64_t offset;
                void *buffer;
                size_t length;
                int result;
        } cases[] = {
                { NULL, 0, buffer, 1, AMMAP_ERR_INVALID },
                { NULL, 0, buffer, 0, AMMAP_ERR_INVALID },
                { NULL, 0, NULL, 0, AMMAP_ERR_INVALID },
                { NULL, UINT64_MAX, buffer, SIZE_MAX, AMMAP_ERR_INVALID },
                { map, 0, NULL, 1, AMMAP_ERR_INVALID },
                { map, 101, NULL, 1, AMMAP_ERR_INVALID },
                { map, UINT64_MAX, NULL, SIZE_MAX, AMMAP_ERR_INVALID },
                { map, 0, NULL, 0, 0 },
                { map, 100, NULL, 0, 0 },
                { map, 101, NULL, 0, AMMAP_ERR_BOUNDS },
                { map, UINT64_MAX, NULL, 0, AMMAP_ERR_BOUNDS },
                { map, 100, buffer, 1, AMMAP_ERR_BOUNDS },
                { map, 0, buffer, 101, AMMAP_ERR_BOUNDS },
                { map, 1, buffer, SIZE_MAX, AMMAP_ERR_BOUNDS },
        };

        memset(buffer, CANARY, sizeof(buffer));
        for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(reads); i++) {
                size_t n = i / COUNT_OF(reads);
                enum op op = reads[i % COUNT_OF(reads)];
                int result = op_bytes(op, cases[n].map, cases[n].offset, cases[n].buffer, cases[n].length, SECOND);

                ck_assert_msg(result == cases[n].result, "%s, case %zu: %s", op_name(op), n, ammap_errname(result));
                ck_assert(is_all(buffer, CANARY, sizeof(buffer)));
                ck_assert(is_pattern(map));
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("copy", update_region_refuses_bad_input)
{
        ammap_t *map = new_pattern_map(100, 2);
        unsigned char buffer[128] = { 0 };
        const struct {
                ammap_t *map;
                uint64_t offset;
                void *data;
                size_t length;
                int result;
        } cases[] = {
                { NULL, 0, buffer, 1, AMMAP_ERR_INVALID },
                { NULL, 0, buffer, 0, AMMAP_ERR_INVALID },
                { NULL, 0, NULL, 0, AMMAP_ERR_INVALID },
                { NULL, UINT64_MAX, buffer, SIZE_MAX, AMMAP_ERR_INVALID },
                { map, 0, NULL, 1, AMMAP_ERR_INVALID },
                { map, 101, NULL, 1, AMMAP_ERR_INVALID },
                { map, UINT64_MAX, NULL, SIZE_MAX, AMMAP_ERR_INVALID },
                { map, 0, NULL, 0, 0 },
                { map, 100, NULL, 0, 0 },
                { map, 101, NULL, 0, AMMAP_ERR_BOUNDS },
                { map, 100, buffer, 1, AMMAP_ERR_BOUNDS },
                { map, 1, buffer, 100, AMMAP_ERR_BOUNDS },
                { map, 1, buffer, SIZE_MAX, AMMAP_ERR_BOUNDS },
        };

        for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(updates); i++) {
                size_t n = i / COUNT_OF(updates);
                enum op op = updates[i % COUNT_OF(updates)];
                int result = op_bytes(op, cases[n].map, cases[n].offset, cases[n].data, cases[n].length, SECOND);

                ck_assert_msg(result == cases[n].result, "%s, case %zu: %s", op_name(op), n, ammap_errname(result));
                ck_assert(is_pattern(map));
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("copy", fill_refuses_bad_input)
{
        ammap_t *map = new_pattern_map(100, 2);
        const struct {
                ammap_t *map;
                uint64_t offset;
                uint64_t length;
                int result;
        } cases[] = {
                { NULL, 0, 0, AMMAP_ERR_INVALID },
                { NULL, 0, 1, AMMAP_ERR_INVALID },
                { NULL, UINT64_MAX, UINT64_MAX, AMMAP_ERR_INVALID },
                { map, 0, 0, 0 },
                { map, 100, 0, 0 },
                { map, 101, 0, AMMAP_ERR_BOUNDS },
                { map, 100, 1, AMMAP_ERR_BOUNDS },
                { map, 1, UINT64_MAX, AMMAP_ERR_BOUNDS },
                { map, 100, UINT64_MAX - 99, AMMAP_ERR_BOUNDS },
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                int result = ammap_fill(cases[i].map, cases[i].offset, cases[i].length, 0xff);

                ck_assert_msg(result == cases[i].result, "case %zu: %s", i, ammap_errname(result));
                ck_assert(is_pattern(map));
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("copy", copy_refuses_bad_input)
{
        ammap_t *map = new_pattern_map(100, 2);
        ammap_t *other = new_pattern_map(50, 1);
        const struct {
                ammap_t *to;
                uint64_t to_offset;
                ammap_t *from;
                uint64_t from_offset;
                uint64_t length;
                int result;
        } cases[] = {
                { NULL, 0, NULL, 0, 0, AMMAP_ERR_INVALID },
                { NULL, 0, map, 0, 0, AMMAP_ERR_INVALID },
                { map, 0, NULL, 0, 0, AMMAP_ERR_INVALID },
                { NULL, 0, map, 0, 1, AMMAP_ERR_INVALID },
                { map, 0, NULL, 0, 1, AMMAP_ERR_INVALID },
                { map, UINT64_MAX, NULL, 0, UINT64_MAX, AMMAP_ERR_INVALID },
                { NULL, 0, map, UINT64_MAX, UINT64_MAX, AMMAP_ERR_INVALID },
                { map, 100, other, 50, 0, 0 },
                { map, 101, other, 50, 0, AMMAP_ERR_BOUNDS },
                { map, 100, other, 51, 0, AMMAP_ERR_BOUNDS },
                { map, 1, other, 0, 51, AMMAP_ERR_BOUNDS },
                { other, 0, map, 1, 51, AMMAP_ERR_BOUNDS },
                { map, 1, map, 0, 100, AMMAP_ERR_BOUNDS },
                { map, 0, map, 1, 100, AMMAP_ERR_BOUNDS },
                { map, 0, map, 0, 100, 0 },
                { map, 50, map, 50, 0, 0 },
        };

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                int result = ammap_copy(cases[i].to, cases[i].to_offset, cases[i].from, cases[i].from_offset,
                                        cases[i].length);

                ck_assert_msg(result == cases[i].result, "case %zu: %s", i, ammap_errname(result));
                ck_assert(is_pattern(map));
                ck_assert(is_pattern(other));
        }
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* --- What the bytes are ----------------------------------------------------- */

DEFINE_TEST("copy", fill_sets_every_byte_value)
{
        ammap_t *map = new_map(1000, 7);

        for (unsigned byte = 0; byte < 256; byte++) {
                ck_assert_int_eq(ammap_fill(map, 0, 1000, (unsigned char)byte), 0);
                ck_assert(is_all(ammap_as_ptr(map), (unsigned char)byte, 1000));
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* 1000 bytes in 7 lanes are six of 143 and one of 142: each range that begins
 * or ends at a border, or next to it. */
DEFINE_TEST("copy", ranges_go_over_lanes_of_uneven_size)
{
        ammap_t *map = new_pattern_map(1000, 7);
        uint64_t borders[7 * 3 + 1];
        size_t count = 0;

        for (uint64_t border = 0; border < 1000; border += 143) {
                if (border)
                        borders[count++] = border - 1;
                borders[count++] = border;
                borders[count++] = border + 1;
        }
        borders[count++] = 1000;
        ck_assert_uint_le(count, COUNT_OF(borders));
        for (size_t i = 0; i < count; i++)
                for (size_t k = i; k < count; k++) {
                        check_fill(map, borders[i], borders[k] - borders[i]);
                        check_update(map, borders[i], borders[k] - borders[i]);
                        check_read(map, borders[i], borders[k] - borders[i]);
                }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A map of which the last lanes are empty: 10 bytes in 6 lanes of 2. */
DEFINE_TEST("copy", lanes_may_be_empty)
{
        for (uint64_t size = 1; size < 40; size++)
                for (uint64_t lanes = 1; lanes <= size; lanes++) {
                        ammap_t *map = new_pattern_map(size, lanes);

                        for (uint64_t offset = 0; offset <= size; offset++) {
                                check_fill(map, offset, size - offset);
                                check_update(map, offset, 0);
                                check_read(map, 0, offset);
                                ck_assert_int_eq(op_run(OP_MUT_SLICE, map, offset, size - offset, 0), 0);
                                ck_assert_int_eq(op_run(OP_SLICE, map, offset, 0, 0), 0);
                        }
                        ck_assert_int_eq(ammap_free(map), 0);
                }
}

static void *new_model(uint64_t size)
{
        void *model = calloc(1, (size_t)size);

        ck_assert_ptr_nonnull(model);
        return model;
}

/* Ranges from a byte to the whole, half of them outside now and then. */
static void random_range(struct random *random, uint64_t size, uint64_t *offset, uint64_t *length)
{
        *offset = random_below(random, size + 1);
        *length = random_below(random, size - *offset + 1);
        if (random_below(random, 2))
                *length = *length < 32 ? *length : *length % 32;
        if (random_below(random, 16) == 0)
                *length += size;
}

DEFINE_TEST("copy", all_calls_agree_with_a_plain_array)
{
        struct random random = random_start("test-copy: all_calls_agree_with_a_plain_array");

        for (int round = 0; round < rounds(60); round++) {
                ammap_t *maps[2];
                unsigned char *models[2];
                uint64_t lengths[2];
                unsigned char buffer[3000 * 2];

                for (int i = 0; i < 2; i++) {
                        lengths[i] = 1 + random_below(&random, 3000);
                        maps[i] = new_map(lengths[i], 1 + random_below(&random, lengths[i] < 9 ? lengths[i] : 9));
                        models[i] = new_model(lengths[i]);
                }
                for (int step = 0; step < 500; step++) {
                        uint64_t which = random_below(&random, 2);
                        uint64_t source = random_below(&random, 2);
                        ammap_t *map = maps[which];
                        unsigned char *model = models[which];
                        unsigned char byte = (unsigned char)random_next(&random);
                        uint64_t offset, length, from;
                        int result, want;

                        random_range(&random, lengths[which], &offset, &length);
                        want = range_is_inside(lengths[which], offset, length) ? 0 : AMMAP_ERR_BOUNDS;
                        switch (random_below(&random, 5)) {
                        case 0:
                                memset(buffer, byte, sizeof(buffer));
                                result = ammap_read_into(map, offset, buffer, (size_t)length);
                                if (want == 0)
                                        ck_assert_int_eq(memcmp(buffer, model + offset, (size_t)length), 0);
                                else
                                        ck_assert(is_all(buffer, byte, sizeof(buffer)));
                                break;
                        case 1:
                                for (size_t i = 0; i < length; i++)
                                        buffer[i] = (unsigned char)random_next(&random);
                                result = ammap_update_region(map, offset, buffer, (size_t)length);
                                if (want == 0)
                                        memcpy(model + offset, buffer, (size_t)length);
                                break;
                        case 2:
                                result = ammap_fill(map, offset, length, byte);
                                if (want == 0)
                                        memset(model + offset, byte, (size_t)length);
                                break;
                        default:
                                from = random_below(&random, lengths[source] + 1);
                                if (random_below(&random, 4) && from <= lengths[source] &&
                                    length > lengths[source] - from && want == 0)
                                        length = lengths[source] - from;
                                if (!range_is_inside(lengths[source], from, length))
                                        want = AMMAP_ERR_BOUNDS;
                                result = ammap_copy(map, offset, maps[source], from, length);
                                if (want == 0)
                                        memmove(model + offset, models[source] + from, (size_t)length);
                                break;
                        }
                        ck_assert_int_eq(result, want);
                        for (int i = 0; i < 2; i++)
                                ck_assert_int_eq(memcmp(ammap_as_ptr(maps[i]), models[i], (size_t)lengths[i]), 0);
                }
                for (int i = 0; i < 2; i++) {
                        ck_assert_int_eq(ammap_free(maps[i]), 0);
                        free(models[i]);
                }
        }
}

/* Overlap by every distance, in both directions, over lanes. */
DEFINE_TEST("copy", copy_within_one_map_is_memmove)
{
        enum { SIZE = 200 };
        ammap_t *map = new_map(SIZE, 7);
        unsigned char *bytes = ammap_as_mut_ptr(map);
        unsigned char model[SIZE];

        for (uint64_t to = 0; to < SIZE; to += 3)
                for (uint64_t from = 0; from < SIZE; from += 5)
                        for (uint64_t length = 0; to + length <= SIZE && from + length <= SIZE; length += 7) {
                                for (uint64_t i = 0; i < SIZE; i++)
                                        model[i] = bytes[i] = pattern_byte(i);
                                ck_assert_int_eq(ammap_copy(map, to, map, from, length), 0);
                                memmove(model + to, model + from, (size_t)length);
                                ck_assert_int_eq(memcmp(model, bytes, SIZE), 0);
                        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The same of many bytes, which are copied by other means where the two do not overlap. */
DEFINE_TEST("copy", long_copies_within_one_map_are_memmove)
{
        enum { SIZE = 12000 };
        static const uint64_t lengths[] = { 511, 512, 513, 2048, 4099 };
        ammap_t *map = new_map(SIZE, 1);
        unsigned char *bytes = ammap_as_mut_ptr(map);
        unsigned char model[SIZE];

        for (size_t l = 0; l < COUNT_OF(lengths); l++)
                for (uint64_t from = 4500; from < 4503; from++)
                        for (int step = -3; step <= 3; step++)
                                for (int near = -1; near <= 1; near++) {
                                        /* Apart, by a byte more or less than their length, and all but alike. */
                                        int64_t length = (int64_t)lengths[l];
                                        int64_t apart = step * length / 3 + near;
                                        uint64_t to = (uint64_t)((int64_t)from + apart);

                                        if (apart < -4500 || to + lengths[l] > SIZE)
                                                continue;
                                        for (uint64_t i = 0; i < SIZE; i++)
                                                model[i] = bytes[i] = pattern_byte(i);
                                        ck_assert_int_eq(ammap_copy(map, to, map, from, lengths[l]), 0);
                                        memmove(model + to, model + from, (size_t)length);
                                        ck_assert_int_eq(memcmp(model, bytes, SIZE), 0);
                                }
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("copy", large_copies_are_whole)
{
        const uint64_t size = (5 << 20) + 13;
        ammap_t *map = new_pattern_map(size, 3);
        ammap_t *other = new_map(size, 2);
        unsigned char *buffer = malloc(size);

        ck_assert_ptr_nonnull(buffer);
        ck_assert_int_eq(ammap_copy(other, 0, map, 0, size), 0);
        ck_assert(is_pattern(other));
        ck_assert_int_eq(ammap_read_into(other, 0, buffer, size), 0);
        ck_assert_int_eq(ammap_fill(map, 0, size, 0), 0);
        ck_assert(is_all(ammap_as_ptr(map), 0, size));
        ck_assert_int_eq(ammap_update_region(map, 0, buffer, size), 0);
        ck_assert(is_pattern(map));
        free(buffer);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* Small ones are made of moves that overlap, longer ones by other means: each from and to
 * every alignment, and not a byte beside it. */
DEFINE_LOOP_TEST("copy", every_short_length_is_exact, 1, 3)
{
        enum { EVERY = 300, ALIGNMENTS = 33, ROOM = (1 << 17) + 256 };
        static const size_t longer[] = {
                511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537, 131072
        };
        ammap_t *map = new_map(ROOM, (uint64_t)_i);
        unsigned char *bytes = ammap_as_mut_ptr(map), *model = malloc(ROOM), *buffer = malloc(ROOM);

        ck_assert(model && buffer);
        for (size_t i = 0; i < EVERY + COUNT_OF(longer); i++)
                for (size_t at = 0; at < ALIGNMENTS; at += i < EVERY ? 1 : 8) {
                        const size_t n = i < EVERY ? i : longer[i - EVERY], to = 64 + at, from = 64 + (at * 7 + 3) % 32;
                        const size_t checked = n + 256; /* of both, from 0 on */

                        for (size_t k = 0; k < checked; k++)
                                bytes[k] = buffer[k] = (unsigned char)(k * 5 + i);
                        for (size_t k = 0; k < n; k++)
                                buffer[from + k] = pattern_byte(k + i);
                        memcpy(model, bytes, checked);
                        memcpy(model + to, buffer + from, n);
                        ck_assert_int_eq(ammap_update_region(map, to, buffer + from, n), 0);
                        ck_assert_int_eq(memcmp(model, bytes, checked), 0);

                        memcpy(model, buffer, checked);
                        memset(buffer + from, CANARY, n);
                        ck_assert_int_eq(ammap_read_into(map, to, buffer + from, n), 0);
                        ck_assert_int_eq(memcmp(model, buffer, checked), 0);
                }
        free(model);
        free(buffer);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Copies in circles ------------------------------------------------------ */

enum { CIRCLE_SIZE = 3000 };

struct circle {
        ammap_t *maps[3];
        size_t count;
        _Atomic bool stop;
        _Atomic long torn;
        _Atomic long checked;
};

struct copier {
        struct circle *circle;
        size_t to;
        size_t from;
};

static void *copy_on(void *argument)
{
        struct copier *copier = argument;
        ammap_t *to = copier->circle->maps[copier->to];
        ammap_t *from = copier->circle->maps[copier->from];

        for (int round = rounds(20000); round > 0; round--)
                thread_check_int(ammap_copy(to, 0, from, 0, CIRCLE_SIZE), 0);
        return NULL;
}

/* Every map holds one value throughout at all times: a second one in it was
 * left by a copy seen half done. */
static void *look_for_torn_copies(void *argument)
{
        struct circle *circle = argument;
        unsigned char buffer[CIRCLE_SIZE];

        while (!atomic_load(&circle->stop))
                for (size_t i = 0; i < circle->count; i++) {
                        thread_check_int(ammap_read_into(circle->maps[i], 0, buffer, CIRCLE_SIZE), 0);
                        if (!is_all(buffer, buffer[0], CIRCLE_SIZE))
                                atomic_fetch_add(&circle->torn, 1);
                        atomic_fetch_add(&circle->checked, 1);
                }
        return NULL;
}

static void run_circle(size_t map_count, size_t copier_count, const uint64_t lanes[3])
{
        struct circle circle = { { NULL, NULL, NULL }, map_count, false, 0, 0 };
        struct copier copiers[6];
        struct task tasks[6], looker;

        for (size_t i = 0; i < map_count; i++) {
                circle.maps[i] = new_map(CIRCLE_SIZE, lanes[i]);
                ck_assert_int_eq(ammap_fill(circle.maps[i], 0, CIRCLE_SIZE, (unsigned char)(i + 1)), 0);
        }
        task_start(&looker, look_for_torn_copies, &circle);
        while (atomic_load(&circle.checked) == 0) /* or it might begin when all is over */
                pause_ms(1);
        for (size_t i = 0; i < copier_count; i++) {
                copiers[i] = (struct copier){ &circle, i % map_count, (i + 1) % map_count };
                task_start(&tasks[i], copy_on, &copiers[i]);
        }
        for (size_t i = 0; i < copier_count; i++)
                task_join(&tasks[i]);
        atomic_store(&circle.stop, true);
        task_join(&looker);
        ck_assert_int_eq(atomic_load(&circle.torn), 0);
        ck_assert_int_gt(atomic_load(&circle.checked), 0);
        for (size_t i = 0; i < map_count; i++) {
                ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, circle.maps[i], 0, CIRCLE_SIZE, 0), 0);
                ck_assert_int_eq(ammap_free(circle.maps[i]), 0);
        }
}

/* A deadlock is the watchdog's. */
DEFINE_TEST("copy", two_maps_are_copied_both_ways_at_once)
{
        run_circle(2, 2, (const uint64_t[3]){ 1, 1, 0 });
        run_circle(2, 4, (const uint64_t[3]){ 3, 7, 0 });
}

DEFINE_TEST("copy", three_maps_are_copied_in_a_circle)
{
        run_circle(3, 3, (const uint64_t[3]){ 1, 1, 1 });
        run_circle(3, 6, (const uint64_t[3]){ 2, 1, 5 });
}

struct halves {
        ammap_t *map;
        bool up;
};

static void *copy_halves(void *argument)
{
        struct halves *halves = argument;

        for (int round = rounds(20000); round > 0; round--)
                thread_check_int(
                        ammap_copy(halves->map, halves->up ? 2000 : 0, halves->map, halves->up ? 0 : 2000, 2000), 0);
        return NULL;
}

DEFINE_TEST("copy", one_map_is_copied_up_and_down_at_once)
{
        static const uint64_t lanes[] = { 1, 2, 5 };

        for (size_t i = 0; i < COUNT_OF(lanes); i++) {
                ammap_t *map = new_map(4000, lanes[i]);
                struct halves up = { map, true }, down = { map, false };
                struct task tasks[2];
                const unsigned char *bytes = ammap_as_ptr(map);

                ck_assert_int_eq(ammap_fill(map, 0, 2000, 1), 0);
                ck_assert_int_eq(ammap_fill(map, 2000, 2000, 2), 0);
                task_start(&tasks[0], copy_halves, &up);
                task_start(&tasks[1], copy_halves, &down);
                task_join(&tasks[0]);
                task_join(&tasks[1]);
                /* Whichever came first has won, whole. */
                ck_assert(is_all(bytes, bytes[0], 4000));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- Lanes, and handles ------------------------------------------------------- */

enum { LANE = 64, LANES = 6 };

/* By kind: two handles of one map, of LANES lanes of LANE bytes; or one and the
 * same, where there are no two. */
enum { PRIVATE, RAW, SHARED, IN_FILE, KINDS = TEST_OS_LINUX ? IN_FILE + 1 : PRIVATE + 1 };

struct pair {
        ammap_t *one, *two;
        struct path path;
};

static void pair_make(struct pair *pair, int kind, const char *name)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.lanes = LANES;
        options.allow_faults = kind == IN_FILE; /* or there are no slices */
        options.share = kind == PRIVATE ? AMMAP_PRIVATE : kind == RAW ? AMMAP_RAW : AMMAP_SHARED;
        pair->path = path_of(name);
        if (kind == IN_FILE) {
                ck_assert_int_eq(ammap_open(&pair->one, pair->path.text, LANES * LANE, &options), 0);
                ck_assert_int_eq(ammap_open(&pair->two, pair->path.text, 0, &options), 0);
                return;
        }
        pair->one = make_with(LANES * LANE, &options);
        pair->two = kind == SHARED ? import_again(pair->one, AMMAP_READ | AMMAP_WRITE) : pair->one;
}

static void pair_free(struct pair *pair)
{
        if (pair->two != pair->one)
                ck_assert_int_eq(ammap_free(pair->two), 0);
        ck_assert_int_eq(ammap_free(pair->one), 0);
        unlink(pair->path.text);
}

static void check_lane(ammap_t *map, uint64_t lane, unsigned char byte)
{
        unsigned char bytes[LANE];

        ck_assert_int_eq(ammap_read_into(map, lane * LANE, bytes, LANE), 0);
        ck_assert(is_all(bytes, byte, LANE));
}

/* Others have the lanes between the two ranges, and read the source, and the
 * calling thread does both: nobody is in the way, and nobody is waited for. */
DEFINE_LOOP_TEST("handles", a_copy_takes_no_other_lanes, 0, KINDS)
{
        struct pair pair;
        struct holder between, reader;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        pair_make(&pair, _i, "no-other");
        for (uint64_t lane = 0; lane < LANES; lane++)
                ck_assert_int_eq(ammap_fill(pair.one, lane * LANE, LANE, (unsigned char)(lane + 1)), 0);
        holder_start(&between, pair.two, 2 * LANE, LANE, true);
        ck_assert_int_eq(ammap_as_mut_slice(pair.one, 3 * LANE, 1, &mut), 0);
        for (int up = 0; up < 2; up++) {
                uint64_t to = up ? 4 * LANE : LANE, from = up ? 0 : 5 * LANE;

                holder_start(&reader, pair.two, from, 1, false);
                ck_assert_int_eq(ammap_as_slice(pair.one, from, 1, &slice), 0);
                ck_assert_int_eq(ammap_copy(pair.one, to, pair.two, from, LANE), 0);
                check_lane(pair.two, to / LANE, (unsigned char)(from / LANE + 1));
                ammap_slice_release(&slice);
                holder_stop(&reader);
        }
        ammap_mut_slice_release(&mut);
        holder_stop(&between);

        /* Of two ranges that overlap, the lane that is read alone, on either side. */
        for (int up = 0; up < 2; up++) {
                holder_start(&reader, pair.one, up ? LANE : 3 * LANE, 1, false);
                ck_assert_int_eq(ammap_as_slice(pair.two, up ? LANE : 3 * LANE, 1, &slice), 0);
                ck_assert_int_eq(ammap_copy(pair.two, up ? 2 * LANE : LANE, pair.one, up ? LANE : 2 * LANE, 2 * LANE),
                                 0);
                ammap_slice_release(&slice);
                holder_stop(&reader);
        }
        pair_free(&pair);
}

DEFINE_LOOP_TEST("handles", a_copy_takes_all_of_its_lanes, 0, KINDS)
{
        struct pair pair;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        pair_make(&pair, _i, "its-lanes");
        for (int up = 0; up < 2; up++) {
                uint64_t to = up ? 3 * LANE : 0, from = up ? 0 : 3 * LANE;

                for (uint64_t n = 0; n < 2; n++) {
                        ck_assert_int_eq(ammap_as_slice(pair.one, to + n * LANE, 1, &slice), 0);
                        ck_assert_int_eq(ammap_copy(pair.one, to, pair.two, from, 2 * LANE), AMMAP_ERR_DEADLOCK);
                        ck_assert_int_eq(ammap_copy(pair.two, to, pair.one, from, 2 * LANE), AMMAP_ERR_DEADLOCK);
                        ammap_slice_release(&slice);
                        ck_assert_int_eq(ammap_as_mut_slice(pair.one, from + n * LANE, 1, &mut), 0);
                        ck_assert_int_eq(ammap_copy(pair.one, to, pair.two, from, 2 * LANE), AMMAP_ERR_DEADLOCK);
                        ck_assert_int_eq(ammap_copy(pair.two, to, pair.one, from, 2 * LANE), AMMAP_ERR_DEADLOCK);
                        ammap_mut_slice_release(&mut);
                }
        }
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, pair.one, 0, LANES * LANE, 0), 0);
        pair_free(&pair);
}

/* By whichever handle, overlapping by every distance. */
DEFINE_LOOP_TEST("handles", two_handles_are_one_map, 0, KINDS)
{
        enum { SIZE = LANES * LANE };
        unsigned char model[SIZE], bytes[SIZE];
        struct pair pair;

        pair_make(&pair, _i, "one-map");
        for (uint64_t to = 0; to < SIZE; to += 23)
                for (uint64_t from = 0; from < SIZE; from += 29)
                        for (uint64_t length = 1; to + length <= SIZE && from + length <= SIZE; length += 61) {
                                bool swap = (to + from + length) % 2;

                                for (uint64_t i = 0; i < SIZE; i++)
                                        model[i] = pattern_byte(i);
                                ck_assert_int_eq(ammap_update_region(pair.one, 0, model, SIZE), 0);
                                ck_assert_int_eq(ammap_copy(swap ? pair.one : pair.two, to, swap ? pair.two : pair.one,
                                                            from, length),
                                                 0);
                                memmove(model + to, model + from, (size_t)length);
                                ck_assert_int_eq(ammap_read_into(pair.one, 0, bytes, SIZE), 0);
                                ck_assert_int_eq(memcmp(model, bytes, SIZE), 0);
                        }
        ck_assert_int_eq(ammap_copy(pair.one, 1, pair.two, 0, SIZE), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_copy(pair.one, 0, pair.two, 1, SIZE), AMMAP_ERR_BOUNDS);
        pair_free(&pair);
}

struct route {
        ammap_t *to, *from;
        uint64_t to_offset, from_offset, length;
        int rounds;
        _Atomic int *wrong;
};

static void *go(void *argument)
{
        struct route *route = argument;

        for (int round = route->rounds; round > 0; round--)
                if (ammap_copy(route->to, route->to_offset, route->from, route->from_offset, route->length) != 0)
                        atomic_fetch_add(route->wrong, 1);
        return NULL;
}

static void go_body(struct peer *parent, void *argument)
{
        (void)parent;
        go(argument);
}

/* There and back, between two handles of one map, and between two maps, by threads
 * and by processes.  A deadlock is the watchdog's. */
DEFINE_LOOP_TEST("handles", handles_are_copied_both_ways_at_once, 0, KINDS)
{
        _Atomic int *wrong = board_of(sizeof(*wrong));
        int count = rounds(_i == IN_FILE ? 300 : 5000);
        struct pair first, second;

        pair_make(&first, _i, "first");
        pair_make(&second, _i, "second");
        for (int maps = 1; maps <= 2; maps++) {
                ammap_t *far = maps == 1 ? first.two : second.one;
                ammap_t *near = maps == 1 ? first.one : first.two, *other = maps == 1 ? first.two : second.two;
                struct route there = { far, first.one, 2 * LANE, 0, 2 * LANE, count, wrong };
                struct route back = { near, other, 0, 2 * LANE, 2 * LANE, count, wrong };
                bool others = _i >= SHARED && !TEST_TSAN;
                struct task tasks[2];
                struct peer peers[2] = { { 0, -1, -1 }, { 0, -1, -1 } };

                if (others) {
                        peer_start(&peers[0], go_body, &there);
                        peer_start(&peers[1], go_body, &back);
                }
                task_start(&tasks[0], go, &there);
                task_start(&tasks[1], go, &back);
                task_join(&tasks[0]);
                task_join(&tasks[1]);
                if (others) {
                        peer_end(&peers[0]);
                        peer_end(&peers[1]);
                }
        }
        ck_assert_int_eq(atomic_load(wrong), 0);
        munmap((void *)wrong, sizeof(*wrong));
        pair_free(&second);
        pair_free(&first);
}

/* --- Copies that do not wait, or not for ever ------------------------------------ */

static const enum op unwaiting[] = { OP_TRY_READ, OP_TIMED_READ, OP_TRY_UPDATE, OP_TIMED_UPDATE };

/* Another thread's slice in the first lane of a range, or in its last one; the range
 * within one lane, or over several. */
DEFINE_LOOP_TEST("handles", copies_do_not_wait_for_slices, 0, KINDS)
{
        static const struct {
                uint64_t held, offset, length;
        } cases[] = { { 0, 0, 1 }, { LANE + 1, LANE, LANE }, { 0, 0, LANES * LANE }, { 4 * LANE, LANE, 4 * LANE } };
        struct pair pair;

        pair_make(&pair, _i, "unwaiting");
        ck_assert_int_eq(ammap_fill(pair.one, 0, LANES * LANE, 0), 0);
        for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(unwaiting) * 2; i++) {
                enum op op = unwaiting[i % COUNT_OF(unwaiting)];
                bool held_writes = i / COUNT_OF(unwaiting) % 2;
                size_t n = i / COUNT_OF(unwaiting) / 2;
                struct call call = { op, pair.two, cases[n].offset, cases[n].length, 20 * MS, INT_MIN, 0 };
                struct holder holder;

                holder_start(&holder, pair.one, cases[n].held, 1, held_writes);
                call_body(&call);
                if (!held_writes && !op_writes(op)) {
                        ck_assert_int_eq(call.result, 0);
                } else if (op_tries(op)) {
                        ck_assert_int_eq(call.result, AMMAP_ERR_BUSY);
                } else {
                        ck_assert_int_eq(call.result, AMMAP_ERR_TIMEOUT);
                        ck_assert_int_ge(call.took_ns, 20 * MS);
                }
                holder_stop(&holder);
                ck_assert(holds(pair.two, 0, LANES * LANE, 0)); /* none of it */
        }
        pair_free(&pair);
}

/* One that is released in time. */
DEFINE_LOOP_TEST("handles", timed_copies_wait_for_slices, 0, KINDS)
{
        static const enum op timed[] = { OP_TIMED_READ, OP_TIMED_UPDATE };
        struct pair pair;

        pair_make(&pair, _i, "timed");
        for (size_t i = 0; i < COUNT_OF(timed) * 2; i++) {
                struct call call = { timed[i % 2], pair.two, 0, i < 2 ? 8 : LANES * LANE, patience_ns(), INT_MIN, 0 };
                struct holder holder;
                struct task task;

                holder_start(&holder, pair.one, 7, 1, true);
                task_start(&task, call_body, &call);
                ck_assert(task_sleeps(&task));
                holder_stop(&holder);
                task_join(&task);
                ck_assert_int_eq(call.result, 0);
                if (op_writes(call.op))
                        ck_assert(holds(pair.one, 0, call.length, OP_BYTE));
        }
        pair_free(&pair);
}

static TCase *copy_case(Suite *suite, const char *name)
{
        return strcmp(name, "handles") == 0 ? share_case(suite, name) : test_case(suite, name);
}

int main(void)
{
        return run_tests("copy", copy_case);
}
