/* copy.c - copies in, out, across, and fill
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/local_copy.h"
#include "map/map.h"
#include "map/span.h"
#include "map/transfer.h"
#include "memory/move.h"
#include "memory/word.h"
#include "os/hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- Out --- */

/* Whether it is done without a call.  These functions begin with that, and leave what it is
 * not to others by their last step: so they have nothing to save. */
static ALWAYS_INLINE bool is_few(const ammap_t *map, size_t length, size_t most)
{
        return likely(map->fast_path_ok && length > 0 && length <= most);
}

/* Without a map, or bytes. */
static NOINLINE int copy_nothing(ammap_t *map, uint64_t offset, size_t length)
{
        return map && length == 0 ? map_look(map, offset, 0) : AMMAP_ERR_INVALID;
}

static ALWAYS_INLINE int read_simple(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        if (local_read_quick(map, &map->lane[0], offset, buffer, length))
                return 0;
        return local_read_again(map, offset, buffer, length, deadline);
}

static NOINLINE int read_more(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        return read_simple(map, offset, buffer, length, deadline);
}

static NOINLINE int read_any(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (is_few(map, length, OPTIMISTIC_MAX))
                return read_more(map, offset, buffer, length, deadline);
        if (unlikely(length == 0))
                return copy_nothing(map, offset, length);
        return map->kind->read(map, offset, buffer, length, deadline);
}

static ALWAYS_INLINE int copy_out(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        if (unlikely(!map || !buffer))
                return copy_nothing(map, offset, length);
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (is_few(map, length, OPTIMISTIC_FEW))
                return read_simple(map, offset, buffer, length, deadline);
        return read_any(map, offset, buffer, length, deadline);
}

int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        return copy_out(map, offset, buffer, length, LANE_FOR_EVER);
}

int ammap_try_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length)
{
        return copy_out(map, offset, buffer, length, LANE_TRY);
}

/* The clock is read only where one has to wait: it would cost more than a short copy. */
static NOINLINE int read_timed(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t timeout_ns)
{
        int rc = copy_out(map, offset, buffer, length, LANE_TRY);

        return likely(rc != AMMAP_ERR_BUSY) ? rc
                                            : map->kind->read(map, offset, buffer, length, os_deadline(timeout_ns));
}

int ammap_timed_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t timeout_ns)
{
        /* cppcheck-suppress knownConditionTrueFalse ; true only where OPTIMISTIC_MAX is 0 */
        if (likely(map && buffer) && is_few(map, length, OPTIMISTIC_FEW) &&
            local_read_quick(map, &map->lane[0], offset, buffer, length))
                return 0;
        return read_timed(map, offset, buffer, length, timeout_ns);
}

/* --- In --- */

static ALWAYS_INLINE int write_simple(ammap_t *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        enum local_entry entry = local_write_enter(map, &map->lane[0], offset, length);

        if (unlikely(entry == WRITE_NOT_ENTERED))
                return local_write(map, offset, data, length, deadline);
        if (unlikely(entry == WRITE_RESIZED))
                return local_write_resized(map, offset, data, length, deadline);
        move_in(map->base + offset, data, length);
        return lane_write_leave(&map->lane[0]);
}

static NOINLINE int write_more(ammap_t *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        return write_simple(map, offset, data, length, deadline);
}

static NOINLINE int write_any(ammap_t *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        if (unlikely(length == 0))
                return copy_nothing(map, offset, length);
        if (map->fast_path_ok)
                return write_more(map, offset, data, length, deadline);
        return map->kind->write(map, offset, data, length, deadline);
}

static ALWAYS_INLINE int copy_in(ammap_t *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        if (unlikely(!map || !data))
                return copy_nothing(map, offset, length);
        if (is_few(map, length, WORD_FEW))
                return write_simple(map, offset, data, length, deadline);
        return write_any(map, offset, data, length, deadline);
}

int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        return copy_in(map, offset, data, length, LANE_FOR_EVER);
}

int ammap_try_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length)
{
        return copy_in(map, offset, data, length, LANE_TRY);
}

int ammap_timed_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length, int64_t timeout_ns)
{
        int rc = copy_in(map, offset, data, length, LANE_TRY);

        return likely(rc != AMMAP_ERR_BUSY) ? rc : map->kind->write(map, offset, data, length, os_deadline(timeout_ns));
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
                rc = transfer_in(map, offset, block.bytes, n, done);
        }
        block_end(&block);
        return rc;
}

int ammap_fill(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        span_t span;
        size_t done = 0;
        int rc = span_take_range(map, offset, length, &span);

        if (rc <= 0)
                return rc;
        rc = 0;
        if (map->may_fault)
                rc = fill_carefully(map, offset, length, byte, &done);
        else
                word_fill(map->base + offset, byte, (size_t)length);
        span_leave_written(&span, rc, done);
        return rc;
}

/* --- From map to map --- */

/* Whether the bytes of both are the same ones, by one handle or by two, which lie elsewhere in memory. */
static bool is_one_memory(const ammap_t *a, const ammap_t *b)
{
        return a == b ||
               (!backing_is_none(map_backing(a)) && !backing_is_none(map_backing(b)) &&
                map_backing(a)->device == map_backing(b)->device && map_backing(a)->inode == map_backing(b)->inode);
}

/* Handles of one memory, or of one file, lock the same lanes: they are one map. */
static bool is_same(const ammap_t *a, const ammap_t *b)
{
        return a == b || (a->kind->joint && a->kind == b->kind && is_one_memory(a, b));
}

/* Where the lock of a map lies, as all processes agree on it; those of this process
 * alone come last, by their address. */
static struct os_file place_of(const ammap_t *map)
{
        if (map->kind->joint)
                return (struct os_file){ .device = map_backing(map)->device, .inode = map_backing(map)->inode };
        return (struct os_file){ .device = UINT64_MAX, .inode = (uintptr_t)map };
}

static bool comes_first(const ammap_t *map, const ammap_t *other)
{
        struct os_file a = place_of(map), b = place_of(other);

        return a.device != b.device ? a.device < b.device : a.inode < b.inode;
}

/* One copy: so many bytes, from there to here. */
struct copy {
        ammap_t *to, *from;
        uint64_t to_offset, from_offset, length;
};

/* What one of its maps is asked for; map: NULL, nothing. */
struct part {
        ammap_t *map;
        struct request request;
};

/* What it must hold, in the order in which every copy takes it: by map, then by lane.
 * Within one map, of lanes that are written and read, the write; what is read besides lies
 * on one side of it, for both ranges are of one length.  How many parts it is. */
static unsigned plan_copy(const struct copy *copy, struct part part[2])
{
        struct part to = { copy->to, span_request(copy->to, copy->to_offset, copy->length, WRITE) };
        struct part from = { copy->from, span_request(copy->from, copy->from_offset, copy->length, READ) };
        struct lane_range write = to.request.lanes, *read = &from.request.lanes;
        bool read_first = to.map == from.map ? read->first < write.first : comes_first(from.map, to.map);

        if (to.map == from.map) {
                if (to.request.reach < from.request.reach)
                        to.request.reach = from.request.reach;
                if (read_first && read->last >= write.first)
                        read->last = write.first - 1;
                else if (read->last > write.last && read->first <= write.last)
                        read->first = write.last + 1;
                else if (!read_first && read->last <= write.last)
                        from.map = NULL; /* the write has all of them */
        }
        part[0] = read_first ? from : to;
        part[1] = read_first ? to : from;
        return from.map ? 2 : 1;
}

static void leave_parts(const struct part part[2], const span_t span[2], unsigned count, int rc, size_t done)
{
        while (count-- > 0)
                if (part[count].request.access == WRITE)
                        span_leave_written(&span[count], rc, done);
                else
                        span_leave(&span[count], HOLD_COPY);
}

/* A shrink of a map that threads lock waits for each copy that has noted how far beyond the new length
 * it reaches.  A copy that waits for its second part must not be waited for: the slice in its way may
 * be of a thread that waits for the shrink.  So it notes that when it has both. */
static bool reaches_late(const struct part *part)
{
        return part->map->kind->enter == span_enter_local;
}

static int enter_part(const struct part *part, int64_t deadline, span_t *span)
{
        struct request request = part->request;

        request.deadline = deadline;
        if (reaches_late(part))
                request.reach = 0;
        return part->map->kind->enter(part->map, &request, span);
}

/* Whether the calling thread itself is in the way; whoever else is does not matter. */
static int look_at_own(const struct part *part)
{
        span_t span;
        int rc = enter_part(part, LANE_TRY, &span);

        if (rc == 0)
                span_leave(&span, HOLD_COPY);
        return rc == AMMAP_ERR_DEADLOCK ? rc : 0;
}

/* Take all of it, or none.  Before one is waited for one looks at the other, too. */
static int take_parts(const struct part part[2], unsigned count, span_t span[2])
{
        for (unsigned taken = 0; taken < count; taken++) {
                bool last = taken == count - 1;
                int rc = enter_part(&part[taken], last ? LANE_FOR_EVER : LANE_TRY, &span[taken]);

                if (rc == AMMAP_ERR_BUSY && !last && (rc = look_at_own(&part[taken + 1])) == 0)
                        rc = enter_part(&part[taken], LANE_FOR_EVER, &span[taken]);
                if (rc < 0) {
                        leave_parts(part, span, taken, rc, 0);
                        return rc;
                }
        }
        for (unsigned i = 0; i < count; i++)
                if (reaches_late(&part[i]))
                        span_note_reach(span[i].ammap_hold, part[i].request.reach);
        return 0;
}

/* Block by block, from the end that is not overwritten before it is read. */
static int move_carefully(const struct copy *copy, size_t *done)
{
        struct block block;
        bool backwards = copy->to_offset > copy->from_offset && is_one_memory(copy->to, copy->from);
        int rc = 0;

        block_begin(&block, copy->length);
        for (uint64_t left = copy->length, at; left > 0 && rc == 0;) {
                size_t n = left < block.size ? (size_t)left : block.size;

                at = backwards ? left - n : copy->length - left;
                if ((rc = transfer_out(copy->from, copy->from_offset + at, block.bytes, n)) == 0)
                        rc = transfer_in(copy->to, copy->to_offset + at, block.bytes, n, done);
                left -= n;
        }
        block_end(&block);
        return rc;
}

/* For who holds all of it. */
static int move(const struct copy *copy, size_t *done)
{
        if (copy->to->may_fault || copy->from->may_fault ||
            (copy->to != copy->from && is_one_memory(copy->to, copy->from)))
                return move_carefully(copy, done);
        move_between(copy->to->base + copy->to_offset, copy->from->base + copy->from_offset, (size_t)copy->length);
        return 0;
}

/* Out of a map that this process cannot keep writers from. */
static int copy_looking_on(const struct copy *copy)
{
        size_t length = (size_t)copy->length;
        void *buffer = copy->length <= SIZE_MAX ? malloc(length) : NULL;
        int rc =
                buffer ? copy->from->kind->read(copy->from, copy->from_offset, buffer, length, LANE_FOR_EVER) : -ENOMEM;

        if (rc == 0)
                rc = transfer_write(copy->to, copy->to_offset, buffer, length, LANE_FOR_EVER);
        free(buffer);
        return rc;
}

/* As span_take does for one map. */
static int copy_entered(const struct copy *copy)
{
        struct part part[2];
        unsigned count = plan_copy(copy, part);

        for (unsigned shrinks = 0; shrinks < SHRINKS_MAX; shrinks++) {
                span_t span[2];
                size_t done = 0;
                int rc = map_check(copy->to, copy->to_offset, copy->length);
                bool within;

                if (rc < 0 || (rc = map_check(copy->from, copy->from_offset, copy->length)) < 0 ||
                    (rc = take_parts(part, count, span)) < 0)
                        return rc;
                within = map_has(copy->to, copy->to_offset, copy->length) &&
                         map_has(copy->from, copy->from_offset, copy->length);
                if (within)
                        rc = move(copy, &done);
                leave_parts(part, span, count, rc, done);
                if (within)
                        return rc;
        }
        return AMMAP_ERR_BOUNDS;
}

int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length)
{
        struct copy copy = { to, from, to_offset, from_offset, length };
        int rc;

        if (!to || !from)
                return AMMAP_ERR_INVALID;
        if (length == 0)
                return (rc = map_look(to, to_offset, 0)) < 0 ? rc : map_look(from, from_offset, 0);
        if ((rc = map_check(to, to_offset, length)) < 0 || (rc = map_check(from, from_offset, length)) < 0)
                return rc;
        if (to->read_only)
                return AMMAP_ERR_READ_ONLY;
        if (to != from && is_same(to, from)) {
                if ((rc = map_look(from, from_offset, length)) < 0) /* it may be of a map that was in the file before */
                        return rc;
                copy.from = to;
        }
        if (copy.from->read_only && copy.from->kind->needs_write_to_lock && !map_frozen(copy.from))
                return copy_looking_on(&copy);
        return copy_entered(&copy);
}
