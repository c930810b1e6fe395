/* copy.c - copies in, out, across, and fill
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"
#include "map/span.h"
#include "memory/bytes.h"
#include "memory/racy.h"
#include "os/hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The longest copy that is worth reading twice when a writer comes by, rather
 * than keeping the writer out. */
#if defined(AMMAP_NO_OPTIMISTIC_READS) || defined(OS_TSAN)
enum { OPTIMISTIC_MAX = 0 };
#else
enum { OPTIMISTIC_MAX = 1024 };
#endif

/* Tries before entering the lane. */
enum { OPTIMISTIC_TRIES = 4 };

/* Memory that others can take away is copied by calls that survive it. */
static inline int copy_out(const struct ammap *map, uint64_t offset, void *buffer, size_t length)
{
        if (map->may_fault)
                return bytes_peek(&map->backing, (size_t)offset, map->base + offset, buffer, length);
        memcpy(buffer, map->base + offset, length);
        return 0;
}

/* *done: how many are in, besides those that were. */
static inline int copy_in(const struct ammap *map, uint64_t offset, const void *data, size_t length, size_t *done)
{
        size_t more = length;
        int rc = 0;

        if (map->may_fault)
                rc = bytes_poke(&map->backing, (size_t)offset, map->base + offset, data, length, &more);
        else
                memcpy(map->base + offset, data, length);
        *done += more;
        return rc;
}

/* --- Out --- */

/* The length is looked at between begin and valid: a shrink changes the sequence
 * before it takes bytes away. */
static ALWAYS_INLINE bool read_optimistic(const struct ammap *map, const struct lane *lane, uint64_t offset,
                                          void *buffer, size_t length)
{
        uint64_t sequence;

        if (!lane_read_begin(lane, &sequence))
                return false;
        os_fence_causal();
        if (unlikely(!map_has_simple(map, offset, length)))
                return false;
        racy_copy(buffer, map->base + offset, length);
        return lane_read_valid(lane, sequence);
}

static NOINLINE int read_locked(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        span_t span;
        int rc = map_span_take(map, offset, length, READ, LANE_FOR_EVER, HOLD_COPY, &span);

        if (rc < 0)
                return rc;
        rc = copy_out(map, offset, buffer, length);
        span_leave(&span, HOLD_COPY);
        return rc;
}

/* Counted in the lane, but not noted as a hold: a shrink does not see it and
 * may take bytes away underway, and so is looked for afterwards.
 * 1: it did; nothing has been read. */
static int read_counted(ammap_t *map, struct lane *lane, uint64_t offset, void *buffer, size_t length)
{
        uint32_t shrinks = atomic_load(&map->shrinks);
        bool within;
        int rc = lane_read_slow(lane, LANE_FOR_EVER);

        if (rc < 0)
                return rc;
        os_fence_causal();
        within = map_has_simple(map, offset, length);
        if (within)
                memcpy(buffer, map->base + offset, length);
        lane_read_leave(lane);
        atomic_thread_fence(memory_order_acquire); /* keeps the bytes before the second look */
        return !within || atomic_load_explicit(&map->shrinks, memory_order_relaxed) != shrinks ||
               !map_has_simple(map, offset, length);
}

static NOINLINE int read_again(ammap_t *map, struct lane *lane, uint64_t offset, void *buffer, size_t length)
{
        int rc = map_check(map, offset, length);

        for (unsigned tries = 1; rc == 0 && tries < OPTIMISTIC_TRIES; tries++) {
                for (unsigned n = 1U << tries; n > 0; n--)
                        os_pause();
                if (read_optimistic(map, lane, offset, buffer, length))
                        return 0;
        }
        while (rc == 0)
                if ((rc = read_counted(map, lane, offset, buffer, length)) <= 0)
                        return rc;
                else
                        rc = map_check(map, offset, length);
        return rc;
}

/* 0, 1: not now, or a negative code. */
static ALWAYS_INLINE int try_shared(const struct ammap *map, uint32_t first, uint32_t count, uint64_t offset,
                                    void *buffer, size_t length)
{
        const struct lane_range lanes = { first, first + count - 1 };
        uint64_t sequence;

        if (!shared_read_begin(map->shared, lanes, &sequence))
                return 1;
        if (unlikely(!map_has_shared(map, offset, length)))
                return shared_read_valid(map->shared, lanes, sequence) ? AMMAP_ERR_BOUNDS : 1;
        racy_copy(buffer, map->base + offset, length);
        return shared_read_valid(map->shared, lanes, sequence) ? 0 : 1;
}

/* Nobody writes it, and what its lanes say does not count. */
static int read_frozen(const ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        return map_has_shared(map, offset, length) ? copy_out(map, offset, buffer, length) : AMMAP_ERR_BOUNDS;
}

/* One who cannot enter, and so never keeps a writer out, may never get a long copy
 * past writers who never pause. */
static int read_looking_on(ammap_t *map, uint32_t first, uint32_t count, uint64_t offset, void *buffer, size_t length)
{
        int64_t patience = 10 * INT64_C(1000000000), since = os_now();
        int rc;

        for (unsigned looks = 0; (rc = try_shared(map, first, count, offset, buffer, length)) > 0; looks++) {
                if (map_frozen(map))
                        return read_frozen(map, offset, buffer, length);
                if ((rc = shared_look_again(map->shared, (struct lane_range){ first, first + count - 1 }, looks)) < 0)
                        return rc;
                if (looks % 64 == 63 && os_now() - since > patience)
                        return AMMAP_ERR_TIMEOUT;
        }
        return rc;
}

static NOINLINE int read_shared(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        uint32_t first = (uint32_t)map_lane_index(map, offset);
        uint32_t count = (uint32_t)map_lane_last(map, offset, length) - first + 1;

        if (unlikely(atomic_load_explicit(&map->omitted, memory_order_relaxed)))
                return AMMAP_ERR_UNSUPPORTED;
        /* cppcheck-suppress unsignedLessThanZero ; true only where OPTIMISTIC_MAX is 0 */
        if (likely(length <= OPTIMISTIC_MAX && count == 1)) {
                int rc = try_shared(map, first, 1, offset, buffer, length);

                if (likely(rc <= 0))
                        return rc;
                for (unsigned tries = 1; tries < OPTIMISTIC_TRIES; tries++) {
                        for (unsigned n = 1U << tries; n > 0; n--)
                                os_pause();
                        if ((rc = try_shared(map, first, 1, offset, buffer, length)) <= 0)
                                return rc;
                }
        }
        if (map_frozen(map))
                return read_frozen(map, offset, buffer, length);
        if (!map->shared->writable)
                return read_looking_on(map, first, count, offset, buffer, length);
        return read_locked(map, offset, buffer, length);
}

/* Any map but a simple one. */
static int read_other(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        uint64_t first = map_lane_index(map, offset);

        if (map->shared)
                return read_shared(map, offset, buffer, length);
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (map->may_fault || length > OPTIMISTIC_MAX || first != map_lane_last(map, offset, length))
                return read_locked(map, offset, buffer, length);
        if (read_optimistic(map, &map->lane[first], offset, buffer, length))
                return 0;
        return read_again(map, &map->lane[first], offset, buffer, length);
}

int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        if (!map || (!buffer && length))
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_look(map, offset, 0);
        if (unlikely(!map->fast_path_ok))
                return read_other(map, offset, buffer, length);
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (length > OPTIMISTIC_MAX)
                return read_locked(map, offset, buffer, length);
        if (read_optimistic(map, &map->lane[0], offset, buffer, length))
                return 0;
        return read_again(map, &map->lane[0], offset, buffer, length);
}

/* --- In --- */

static NOINLINE int update_span(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        span_t span;
        size_t done = 0;
        int rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span);

        if (rc < 0)
                return rc;
        rc = copy_in(map, offset, data, length, &done);
        span_leave_written(&span, rc, done);
        return rc;
}

static ALWAYS_INLINE int update_lane(ammap_t *map, struct lane *lane, uint64_t offset, const void *data, size_t length)
{
        int rc = lane_write(lane, LANE_FOR_EVER);

        if (rc < 0)
                return rc;
        os_fence_light(); /* as in hold_reaches: a shrink sees that someone writes */
        if (unlikely(!map_has_simple(map, offset, length))) {
                lane_write_leave(lane);
                return update_span(map, offset, data, length);
        }
        memcpy(map->base + offset, data, length);
        lane_write_leave(lane);
        return 0;
}

static int update_shared(ammap_t *map, uint32_t lane, uint64_t offset, const void *data, size_t length)
{
        struct slot *slot;
        int rc = shared_write(map->shared, lane, &slot);

        if (rc < 0)
                return rc;
        if (unlikely(!map_has_shared(map, offset, length)))
                rc = AMMAP_ERR_BOUNDS;
        else
                memcpy(map->base + offset, data, length);
        shared_write_leave(map->shared, lane, slot);
        return rc;
}

/* On any map but a simple one; the range has been checked. */
static NOINLINE int update_other(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        uint64_t first = map_lane_index(map, offset);

        if (map->may_fault || first != map_lane_last(map, offset, length))
                return update_span(map, offset, data, length);
        if (map->shared)
                return update_shared(map, (uint32_t)first, offset, data, length);
        return update_lane(map, &map->lane[first], offset, data, length);
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        int rc;

        if (!map || (!data && length))
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_look(map, offset, 0);
        if ((rc = map_check(map, offset, length)) < 0)
                return rc;
        if (unlikely(!map->fast_path_ok))
                return update_other(map, offset, data, length);
        return update_lane(map, &map->lane[0], offset, data, length);
}

/* Some bytes between one place and another: of the heap, where that has them. */
struct block {
        unsigned char *bytes;
        size_t size;
        unsigned char few[512];
};

static void block_begin(struct block *block, uint64_t length)
{
        enum { MANY = 65536 };

        block->bytes = length > sizeof block->few ? malloc(MANY) : NULL;
        block->size = block->bytes ? MANY : sizeof block->few;
        if (!block->bytes)
                block->bytes = block->few;
}

static void block_end(struct block *block)
{
        if (block->bytes != block->few)
                free(block->bytes);
}

/* One block after the other of the same. */
static int fill_carefully(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte, size_t *done)
{
        struct block block;
        int rc = 0;

        block_begin(&block, length);
        memset(block.bytes, byte, length < block.size ? (size_t)length : block.size);
        for (size_t n; length > 0 && rc == 0; offset += n, length -= n) {
                n = length < block.size ? (size_t)length : block.size;
                rc = copy_in(map, offset, block.bytes, n, done);
        }
        block_end(&block);
        return rc;
}

int ammap_fill(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        span_t span;
        size_t done = 0;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return map_look(map, offset, 0);
        if ((rc = map_span_take(map, offset, length, WRITE, LANE_FOR_EVER, HOLD_COPY, &span)) < 0)
                return rc;
        if (map->may_fault)
                rc = fill_carefully(map, offset, length, byte, &done);
        else
                memset(map->base + offset, byte, (size_t)length);
        span_leave_written(&span, rc, done);
        return rc;
}

/* --- From map to map --- */

/* Handles of one memory, or of one file, lock the same lanes: they are one map. */
static bool is_same(const ammap_t *a, const ammap_t *b)
{
        return a == b || (a->kind->joint && a->kind == b->kind && a->backing.device == b->backing.device &&
                          a->backing.inode == b->backing.inode);
}

/* Where the lock of a map lies, as all processes agree on it; those of this process
 * alone come last, by their address. */
static struct os_file place_of(const ammap_t *map)
{
        if (map->kind->joint)
                return (struct os_file){ .device = map->backing.device, .inode = map->backing.inode };
        return (struct os_file){ .device = UINT64_MAX, .inode = (uintptr_t)map };
}

static bool comes_first(const ammap_t *map, const ammap_t *other)
{
        struct os_file a = place_of(map), b = place_of(other);

        return a.device != b.device ? a.device < b.device : a.inode < b.inode;
}

/* What a copy must hold, in the order in which every copy takes it: by map, then
 * by lane.  Within one map, of lanes that are written and read, the write; what is
 * read besides lies on one side of it, for both ranges are of one length.  How many
 * parts it is. */
static unsigned plan_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length,
                          struct part part[2])
{
        struct part write = part_of(to, to_offset, length, WRITE);
        struct part read = part_of(from, from_offset, length, READ);
        bool read_first = to == from ? read.first < write.first : comes_first(from, to);

        if (to == from) {
                write.reach = write.reach > read.reach ? write.reach : read.reach;
                if (read_first && read.last >= write.first)
                        read.last = write.first - 1;
                else if (read.last > write.last && read.first <= write.last)
                        read.first = write.last + 1;
                else if (!read_first && read.last <= write.last)
                        read.map = NULL; /* the write has all of them */
        }
        part[0] = read_first ? read : write;
        part[1] = read_first ? write : read;
        return read.map ? 2 : 1;
}

static void leave_parts(const struct part part[2], const span_t span[2], unsigned count, int rc, size_t done)
{
        while (count-- > 0)
                if (part[count].access == WRITE)
                        span_leave_written(&span[count], rc, done);
                else
                        span_leave(&span[count], HOLD_COPY);
}

/* Whether the calling thread itself is in the way; whoever else is does not matter. */
static int look_at_own(struct part part)
{
        span_t span;
        int rc = part_take(part, LANE_TRY, HOLD_COPY, &span);

        if (rc == 0)
                span_leave(&span, HOLD_COPY);
        return rc == AMMAP_ERR_DEADLOCK ? rc : 0;
}

/* Take all of it, or none.  Before one is waited for one looks at the other, too. */
static int take_parts(const struct part part[2], unsigned count, span_t span[2])
{
        for (unsigned taken = 0; taken < count; taken++) {
                bool last = taken == count - 1;
                int rc = part_take(part[taken], last ? LANE_FOR_EVER : LANE_TRY, HOLD_COPY, &span[taken]);

                if (rc == AMMAP_ERR_BUSY && !last && (rc = look_at_own(part[taken + 1])) == 0)
                        rc = part_take(part[taken], LANE_FOR_EVER, HOLD_COPY, &span[taken]);
                if (rc < 0) {
                        leave_parts(part, span, taken, rc, 0);
                        return rc;
                }
        }
        return 0;
}

/* Block by block, from the end that is not overwritten before it is read. */
static int move_carefully(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length,
                          size_t *done)
{
        struct block block;
        bool backwards = to == from && to_offset > from_offset;
        int rc = 0;

        block_begin(&block, length);
        for (uint64_t left = length, at; left > 0 && rc == 0;) {
                size_t n = left < block.size ? (size_t)left : block.size;

                at = backwards ? left - n : length - left;
                if ((rc = copy_out(from, from_offset + at, block.bytes, n)) == 0)
                        rc = copy_in(to, to_offset + at, block.bytes, n, done);
                left -= n;
        }
        block_end(&block);
        return rc;
}

/* Out of a map that this process cannot keep writers from. */
static int copy_looking_on(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        void *buffer = length <= SIZE_MAX ? malloc((size_t)length) : NULL;
        int rc = buffer ? read_shared(from, from_offset, buffer, (size_t)length) : -ENOMEM;

        if (rc == 0)
                rc = update_span(to, to_offset, buffer, (size_t)length);
        free(buffer);
        return rc;
}

static int copy_entered(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        struct part part[2];
        unsigned count = plan_copy(to, to_offset, from, from_offset, length, part);

        for (unsigned shrinks = 0; shrinks < SHRINKS_MAX; shrinks++) {
                span_t span[2];
                size_t done = 0;
                int rc = map_check(to, to_offset, length);
                bool within;

                if (rc < 0 || (rc = map_check(from, from_offset, length)) < 0 ||
                    (rc = take_parts(part, count, span)) < 0)
                        return rc;
                within = map_has(to, to_offset, length) && map_has(from, from_offset, length);
                if (within && (to->may_fault || from->may_fault))
                        rc = move_carefully(to, to_offset, from, from_offset, length, &done);
                else if (within)
                        memmove(to->base + to_offset, from->base + from_offset, (size_t)length);
                leave_parts(part, span, count, rc, done);
                if (within)
                        return rc;
        }
        return AMMAP_ERR_BOUNDS;
}

int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        int rc;

        if (!to || !from)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return (rc = map_look(to, to_offset, 0)) < 0 ? rc : map_look(from, from_offset, 0);
        if ((rc = map_check(to, to_offset, length)) < 0 || (rc = map_check(from, from_offset, length)) < 0)
                return rc;
        if (to->read_only)
                return AMMAP_ERR_READ_ONLY;
        if (is_same(to, from))
                from = to;
        if (from->shared && !from->shared->writable && !map_frozen(from))
                return copy_looking_on(to, to_offset, from, from_offset, length);
        return copy_entered(to, to_offset, from, from_offset, length);
}
