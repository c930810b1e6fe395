/* ranges.c - proved: which bytes a map has, and which lanes they lie in
 *
 * SPDX-License-Identifier: MIT
 *
 * The functions are those of lib/; what stands here of them is what they promise (prove.sh).
 */
#include "proof.h"

#include "map/span.h"
#include "lane.c"

/* --- memory/range.h --- */

/*@ requires \valid(end);
    assigns *end;
    ensures \result <==> offset + count <= 0xFFFFFFFFFFFFFFFF;
    ensures \result ==> *end == offset + count;
 */
static inline bool range_end(uint64_t offset, uint64_t count, uint64_t *end);

/*@ assigns \nothing;
    ensures \result <==> offset + count <= length;
 */
static inline bool range_ok(uint64_t length, uint64_t offset, uint64_t count);

/* --- map/map.h, map/span.h --- */

/*@ requires lanes.first <= lanes.last;
    assigns \nothing;
    ensures \result == lanes.last - lanes.first + 1;
 */
static inline uint64_t lane_count(struct lane_range lanes);

/* The lanes cover the capacity, and no lane less would. */
/*@ requires 1 <= lanes <= 4096 && lanes <= capacity <= 0x800000000000;
    assigns \nothing;
    ensures \result >= 1 && capacity <= lanes * \result < capacity + lanes;
 */
static inline uint64_t map_lane_size(uint64_t capacity, uint32_t lanes);

/*@ predicate is_map(struct ammap *map) =
        \valid_read(&map->lanes) && \valid_read(&map->capacity) && \valid_read(&map->lane_size) &&
        1 <= map->lanes <= 4096 && map->lanes <= map->capacity <= 0x800000000000 &&
        map->lane_size >= 1 && map->capacity <= map->lanes * map->lane_size < map->capacity + map->lanes;
    predicate in_lane(struct ammap *map, integer lane, integer offset) =
        lane * map->lane_size <= offset < (lane + 1) * map->lane_size;
 */

/* Of any offset. */
/*@ requires is_map(map);
    assigns \nothing;
    ensures \result < map->lanes;
    ensures offset < map->capacity ==> in_lane(map, \result, offset);
    ensures offset >= map->capacity ==> \result == map->lanes - 1;
 */
static inline uint64_t map_lane_index(const struct ammap *map, uint64_t offset);

/* Of any range there is a lane; of one within the capacity the right one. */
/*@ requires is_map(map);
    assigns \nothing;
    ensures \result < map->lanes;
    ensures count > 0 && offset + count <= map->capacity ==> in_lane(map, \result, offset + count - 1);
 */
static inline uint64_t map_lane_last(const struct ammap *map, uint64_t offset, uint64_t count);

/*@ requires is_map(map);
    assigns \nothing;
    ensures \result.first < map->lanes && \result.last < map->lanes;
    ensures count > 0 && offset + count <= map->capacity ==> in_lane(map, \result.first, offset);
    ensures count > 0 && offset + count <= map->capacity ==> in_lane(map, \result.last, offset + count - 1);
    ensures count > 0 && offset + count <= map->capacity ==> \result.first <= \result.last;
 */
static inline struct lane_range map_lanes(const struct ammap *map, uint64_t offset, uint64_t count);

/*@ requires \valid_read(&map->length);
    assigns \nothing;
    behavior none:
        assumes end == 0;
        ensures !\result;
    behavior some:
        assumes end > 0;
        ensures \result <==> end <= map->length;
    complete behaviors;
    disjoint behaviors;
 */
static inline bool map_reaches(const struct ammap *map, uint64_t end);

/*@ requires \valid_read(&map->length);
    assigns \nothing;
    ensures \result <==> offset + count <= map->length && (count > 0 || map->length > 0);
 */
static inline bool map_has_simple(const struct ammap *map, uint64_t offset, uint64_t count);

/*@ requires \valid_read(head);
    assigns \nothing;
    ensures \result <==> end <= head->length;
 */
static inline bool head_reaches(const struct format_head *head, uint64_t end);

/*@ requires \valid_read(head);
    assigns \nothing;
    ensures \result <==> offset + count <= head->length && offset + count <= room;
 */
static inline bool head_has(const struct format_head *head, uint64_t room, uint64_t offset, uint64_t count);

/*@ requires is_map(map);
    assigns \nothing;
    ensures \result.offset == offset && \result.length == length && \result.access == access;
    ensures offset + length <= map->capacity ==> \result.reach == offset + length;
    ensures length > 0 && offset + length <= map->capacity ==>
                in_lane(map, \result.lanes.first, offset) &&
                in_lane(map, \result.lanes.last, offset + length - 1);
 */
static inline struct request span_request(const struct ammap *map, uint64_t offset, uint64_t length,
                                          enum access access);

/* --- lane.c --- */

/*@ requires is_map(map) && \valid(begin) && \separated(&map->lane_size, begin);
    requires lanes.first <= lanes.last < map->lanes;
    assigns *begin;
    ensures *begin == lanes.first * map->lane_size;
    ensures *begin <= length ==> *begin + \result <= length;
    ensures \result <= (lanes.last - lanes.first + 1) * map->lane_size;
    ensures *begin < length ==> \result > 0 && (*begin + \result == length ||
                                                *begin + \result == (lanes.last + 1) * map->lane_size);
    ensures *begin >= length ==> \result == 0;
 */
static uint64_t lane_bytes(const struct ammap *map, struct lane_range lanes, uint64_t length, uint64_t *begin);

/* What nobody calls the prover leaves out. */
uint64_t proof_calls(const struct ammap *map, const struct format_head *head, uint64_t n)
{
        uint64_t end;

        return range_end(n, n, &end) + range_ok(n, n, n) + map_has_simple(map, n, n) + map_reaches(map, n) +
               head_has(head, n, n, n) + head_reaches(head, n) + span_request(map, n, n, READ).reach +
               lane_count(map_lanes(map, n, n)) + map_lane_size(n, 1);
}
