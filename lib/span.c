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
                struct hold *hold = NULL;

                while ((hold = thread_hold_next(&first[count], hold))) {
                        uint64_t use = atomic_load(&hold->use);

                        if ((use & HOLD_SHARES) >> 32 > (use & UINT32_MAX)) {
                                lane_hold_leave(hold, HOLD_COPY);
                                break;
                        }
                }
        }
}

int span_take_rest(struct lane *first, size_t count, enum access access, int64_t deadline)
{
        for (size_t n = 1; n < count; n++) {
                struct hold *hold;
                int rc = access == WRITE ? lane_hold_write(&first[n], deadline, HOLD_COPY, &hold)
                                         : lane_hold_read(&first[n], deadline, HOLD_COPY, &hold);

                if (rc < 0) {
                        leave_lanes(first + 1, n - 1);
                        return rc;
                }
        }
        return 0;
}

void span_leave_rest(struct lane *first, size_t count)
{
        leave_lanes(first + 1, count - 1);
}
