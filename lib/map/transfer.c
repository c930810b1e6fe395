/* transfer.c - bytes in and out of a map, while its lanes are held
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/transfer.h"

#include "map/span.h"

int transfer_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        struct request request = span_request(map, offset, length, READ);
        span_t span;
        int rc;

        request.deadline = deadline;
        if ((rc = span_take(map, &request, &span)) < 0)
                return rc;
        rc = transfer_out(map, offset, buffer, length);
        span_leave(&span, HOLD_COPY);
        return rc;
}

int transfer_write(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        struct request request = span_request(map, offset, length, WRITE);
        span_t span;
        size_t done = 0;
        int rc;

        request.deadline = deadline;
        if ((rc = span_take(map, &request, &span)) < 0)
                return rc;
        rc = transfer_in(map, offset, data, length, &done);
        span_leave_written(&span, rc, done);
        return rc;
}
