/* test-range.c - offsets, lengths and lanes: what prove.sh leaves out, enumerated
 *
 * SPDX-License-Identifier: MIT
 *
 * lib/memory/range.h with numbers of 8 bits instead of 64, for all of them; the lanes of all small maps; every
 * read set; every edge of a map's size; and the moves of racy.h, word.h and move.h, of each length up to several
 * times their largest block, at each place in it.  What is expected is computed with wider numbers, or byte by
 * byte.
 */
#include "support.h"

#include "lock/read_set.h"
#include "map/map.h"
#include "map/options.h"
#include "memory/move.h"
#include "memory/racy.h"
#include "memory/region.h"

/* The twins: the same file once more. */
#undef RANGE_H
#define range_end twin_end
#define range_ok twin_ok
#define uint64_t uint8_t
#include "memory/range.h"
#undef uint64_t
#undef range_end
#undef range_ok

DEFINE_TEST("range", twins_of_8_bits_agree_with_wide_numbers)
{
        for (unsigned offset = 0; offset < 256; offset++)
                for (unsigned count = 0; count < 256; count++) {
                        uint8_t end = 0;
                        bool fits = twin_end((uint8_t)offset, (uint8_t)count, &end);

                        ck_assert(fits == (offset + count < 256));
                        ck_assert(!fits || end == offset + count);
                        for (unsigned length = 0; length < 256; length++)
                                if (twin_ok((uint8_t)length, (uint8_t)offset, (uint8_t)count) !=
                                    (offset + count <= length))
                                        ck_abort_msg("%u + %u of %u", offset, count, length);
                }
}

/* The lane of each byte, told by counting. */
static void check_lanes(struct ammap *map)
{
        for (uint64_t offset = 0; offset < map->capacity; offset++)
                for (uint64_t count = 1; count <= map->capacity - offset; count++) {
                        struct lane_range lanes = map_lanes(map, offset, count);
                        uint64_t begin = 0, first = 0, last;

                        for (; begin + map->lane_size <= offset; begin += map->lane_size)
                                first++;
                        for (last = first; begin + map->lane_size < offset + count; begin += map->lane_size)
                                last++;
                        if (lanes.first != first || lanes.last != last || last >= map->lanes)
                                ck_abort_msg("%d bytes at %d of %d in %d lanes: %u to %u", (int)count, (int)offset,
                                             (int)map->capacity, (int)map->lanes, lanes.first, lanes.last);
                }
        for (unsigned i = 0; i < 64; i++)
                for (int near = -1; near <= 1; near++) {
                        uint64_t edge = (UINT64_C(1) << i) + (uint64_t)(int64_t)near;

                        ck_assert(map_lane_index(map, edge) < map->lanes);
                        ck_assert(map_lane_last(map, edge, edge) < map->lanes);
                        ck_assert(map_lane_last(map, edge, 0) < map->lanes);
                        ck_assert(map_lane_last(map, 0, edge) < map->lanes);
                }
}

DEFINE_TEST("range", every_byte_of_every_small_map_lies_in_its_lane)
{
        static struct ammap map;

        for (map.capacity = 1; map.capacity <= 40; map.capacity++)
                for (map.lanes = 1; map.lanes <= map.capacity; map.lanes++) {
                        map.lane_size = map_lane_size(map.capacity, map.lanes);
                        check_lanes(&map);
                }
}

DEFINE_TEST("range", every_read_set_is_read_as_it_was_written)
{
        for (uint32_t first = 0; first <= AMMAP_LANES_MAX - 1; first++)
                for (uint32_t last = first; last <= AMMAP_LANES_MAX - 1; last++) {
                        uint32_t set = read_set_of((struct lane_range){ first, last });
                        struct lane_range lanes = read_set_lanes(set);

                        if (!(set & SET_HELD) || lanes.first != first || lanes.last != last)
                                ck_abort_msg("lanes %u to %u", first, last);
                }
        for (uint32_t n = 0; n < 6 * 6 * 6 * 6; n++) {
                const struct lane_range a = { n % 6, n / 6 % 6 }, b = { n / 36 % 6, n / 216 };
                unsigned both = 0, all = 0;

                if (a.first > a.last || b.first > b.last)
                        continue;
                for (uint32_t lane = b.first; lane <= b.last; lane++, all++)
                        both += lane >= a.first && lane <= a.last;
                ck_assert(read_set_names(read_set_of(a), b) == (both > 0));
                ck_assert(read_set_has(read_set_of(a), b) == (both == all));
                ck_assert(lane_count(b) == all);
        }
}

/* What tests/proof/headers.c takes for granted. */
DEFINE_TEST("range", options_are_taken_within_their_limits_alone)
{
        const uint64_t limit = sizeof(void *) > 4 ? UINT64_C(1) << 47 : UINT64_C(1) << 31;
        uint64_t numbers[3 * 64 + 1];
        unsigned count = 0, taken = 0;

        for (unsigned i = 0; i < 64; i++)
                for (int near = -1; near <= 1; near++)
                        numbers[count++] = (UINT64_C(1) << i) + (uint64_t)(int64_t)near;
        numbers[count++] = UINT64_MAX;
        for (unsigned i = 0; i < count * count * count; i++) {
                const uint64_t size = numbers[i % count], capacity = numbers[i / count % count],
                               lanes = numbers[i / count / count];
                ammap_options_t options = { .capacity = capacity, .lanes = lanes };
                const uint64_t most = capacity ? capacity : size, parts = lanes ? lanes : 1;
                bool right = size > 0 && size <= most && most <= limit && parts <= AMMAP_LANES_MAX && parts <= most;

                if ((options_check(size, &options) == 0) != right)
                        ck_abort_msg("size %llx capacity %llx lanes %llx", (unsigned long long)size,
                                     (unsigned long long)capacity, (unsigned long long)lanes);
                if (right)
                        ck_assert(options.capacity == most && options.lanes == parts);
                taken += right;
        }
        ck_assert(taken > 0);
}

DEFINE_TEST("range", pages_are_the_least_that_hold_the_bytes)
{
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);

        for (size_t n = 0, pages = 0; n < 4 * page; n++) {
                if (n > pages)
                        pages += page;
                if (region_pages(n) != pages)
                        ck_abort_msg("%zu bytes in %zu", n, region_pages(n));
        }
}

/* --- Moves --- */

enum { BLOCK = 32, LONGEST = 700, ROOM = LONGEST + 4 * BLOCK };

static unsigned char source[ROOM], target[ROOM], expected[ROOM];

static void move_few(unsigned char *to, const unsigned char *from, size_t n)
{
        if (n > 0 && n <= WORD_FEW)
                word_copy_in_few(to, from, n);
        else
                racy_copy(to, from, n);
}

static void move_racy(unsigned char *to, const unsigned char *from, size_t n)
{
        racy_copy(to, from, n);
}

static void move_to_map(unsigned char *to, const unsigned char *from, size_t n)
{
        move_in(to, from, n);
}

static void move_from_map(unsigned char *to, const unsigned char *from, size_t n)
{
        move_out(to, from, n);
}

static void check_move(void (*move)(unsigned char *, const unsigned char *, size_t), size_t to, size_t from, size_t n)
{
        memset(target, 0xee, sizeof target);
        memset(expected, 0xee, sizeof expected);
        for (size_t i = 0; i < n; i++)
                expected[BLOCK + to + i] = source[BLOCK + from + i];
        move(target + BLOCK + to, source + BLOCK + from, n);
        if (memcmp(target, expected, sizeof target) != 0)
                ck_abort_msg("%zu bytes from %zu to %zu", n, from, to);
}

DEFINE_TEST("range", every_length_is_moved_and_no_byte_beside_it)
{
        static void (*const moves[])(unsigned char *, const unsigned char *, size_t) = { move_few, move_racy,
                                                                                         move_to_map, move_from_map };

        for (size_t i = 0; i < sizeof source; i++)
                source[i] = (unsigned char)(i * 7 % 251);
        for (unsigned move = 0; move < COUNT_OF(moves); move++)
                for (size_t n = 0; n <= LONGEST; n++)
                        for (size_t at = 0; at < BLOCK; at++) {
                                check_move(moves[move], at, 0, n);
                                check_move(moves[move], (at * 5 + n) % BLOCK, at, n);
                        }
}

/* The two overlap in any way. */
DEFINE_TEST("range", bytes_are_moved_over_themselves)
{
        for (size_t n = 0; n <= 3 * BLOCK; n++)
                for (size_t to = 0; to <= 4 * BLOCK; to++) {
                        const size_t from = 2 * BLOCK;

                        for (size_t i = 0; i < sizeof target; i++)
                                target[i] = (unsigned char)(i * 7 % 251);
                        memcpy(expected, target, sizeof target);
                        for (size_t i = 0; i < n; i++)
                                expected[to + i] = target[from + i];
                        move_between(target + to, target + from, n);
                        if (memcmp(target, expected, sizeof target) != 0)
                                ck_abort_msg("%zu bytes from %zu to %zu", n, from, to);
                }
}

int main(void)
{
        return run_tests("range", test_case);
}
