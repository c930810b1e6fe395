/* clone.c - a map made of what another one holds
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/clone.h"

#include "map/span.h"

/* Whether it is this long still: who resizes it makes it no longer under the lanes' locks, but those who come then
 * write there.  Another process that resizes without end is not waited for. */
static bool is_as_long(const struct ammap *map, uint64_t length, unsigned changes)
{
        return map->kind->length(map) == length || (changes >= SHRINKS_MAX && map->kind->joint);
}

int clone_locked(struct ammap *map, clone_copy *copy, struct ammap **made)
{
        for (unsigned changes = 0;; changes++) {
                const uint64_t length = map->kind->length(map);
                const struct request request = span_request(map, 0, length, READ);
                span_t span;
                int rc = span_take(map, &request, &span);

                if (rc == AMMAP_ERR_BOUNDS) /* a shrink came between */
                        continue;
                if (rc < 0)
                        return rc;
                if (is_as_long(map, length, changes)) {
                        rc = copy(map, length, made);
                        span_leave(&span, HOLD_COPY);
                        return rc;
                }
                span_leave(&span, HOLD_COPY);
        }
}
