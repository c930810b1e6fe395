/* transfer.h - bytes in and out of a map, while its lanes are held
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "map/map.h"
#include "memory/bytes.h"
#include "memory/move.h"

/* The longest copy that is worth reading twice when a writer comes by, rather than keeping
 * the writer out: where racy.h is as quick as memcpy, it is what costs much more than to enter.
 * And the tries, of short ones, after the first: before the lane is entered or, of maps that
 * threads lock, before a moment without writers is asked for.  Of the longer there is one. */
enum {
#if defined(AMMAP_NO_OPTIMISTIC_READS) || defined(OS_TSAN)
        OPTIMISTIC_MAX = 0,
#elif defined(RACY_VECTOR)
        OPTIMISTIC_MAX = 65536,
#else
        OPTIMISTIC_MAX = 1024,
#endif
        OPTIMISTIC_SHORT = 1024,
        OPTIMISTIC_FEW = OPTIMISTIC_MAX < WORD_FEW ? (int)OPTIMISTIC_MAX : (int)WORD_FEW, /* made without a call */
        OPTIMISTIC_TRIES = 4
};

/* Copy out, and in, for who holds the lanes.  Memory that others can take away is copied
 * by calls that survive it: AMMAP_ERR_FAULT, -ENOSPC, ...  *done: how many are in, besides
 * those that were. */
static inline int transfer_out(const struct ammap *map, uint64_t offset, void *buffer, size_t length)
{
        if (map->may_fault)
                return bytes_peek(map->region.backing, (size_t)offset, buffer, length);
        move_out(buffer, map->base + offset, length);
        return 0;
}

static inline int transfer_in(const struct ammap *map, uint64_t offset, const void *data, size_t length, size_t *done)
{
        size_t more = length;
        int rc = 0;

        if (map->may_fault)
                rc = bytes_poke(map->region.backing, (size_t)offset, data, length, &more);
        else
                move_in(map->base + offset, data, length);
        *done += more;
        return rc;
}

/* Between two tries, the longer the more there were. */
static inline void transfer_pause(unsigned tries)
{
        for (unsigned n = 1U << tries; n > 0; n--)
                os_pause();
}

/* Hold the lanes, and copy: what read and write of a kind come to at last. */
int transfer_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline);
int transfer_write(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline);

#endif /* TRANSFER_H */
