/* clone.c - a map made of what another one holds
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/clone.h"

#include "map/span.h"

int clone_locked(struct ammap *map, clone_copy *copy, struct ammap **made)
{
        uint64_t length;
        span_t span;
        int rc;

        do {
                struct request request;

                length = map->kind->length(map);
                request = span_request(map, 0, length, READ);
                rc = span_take(map, &request, &span);
        } while (rc == AMMAP_ERR_BOUNDS); /* a shrink came between */
        if (rc < 0)
                return rc;
        rc = copy(map, length, made);
        span_leave(&span, HOLD_COPY);
        return rc;
}
