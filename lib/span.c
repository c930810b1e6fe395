/* span.c - a run of lanes held by the calling thread
 *
 * SPDX-License-Identifier: MIT
 *
 * A span notes where its first lane's hold stands, which is all of them for
 * most, and looks for the others.  Of several read holds that a thread has of
 * one lane any may be left for any other, except for those that slices have
 * noted.
 */
#include "span.h"

static void leave_lanes(struct lane *first, size_t count)
{
        while (count-- > 0) {
                struct holds *block = NULL;
                unsigned i;

                while (thread_hold_next(&first[count], &block, &i))
                        if (block->hold[i].count > block->hold[i].slices) {
                                lane_hold_leave(block, i);
                                break;
                        }
        }
}

int span_take_rest(const span_t *span, enum access access, int64_t deadline)
{
        struct lane *first = span->ammap_lane;

        for (size_t n = 1; n < span->ammap_count; n++) {
                struct holds *block;
                unsigned i;
                int rc = access == WRITE ? lane_hold_write(&first[n], deadline, &block, &i)
                                         : lane_hold_read(&first[n], deadline, &block, &i);

                if (rc < 0) {
                        leave_lanes(first + 1, n - 1);
                        return rc;
                }
        }
        return 0;
}

void span_leave_rest(const span_t *span)
{
        leave_lanes((struct lane *)span->ammap_lane + 1, span->ammap_count - 1);
}
