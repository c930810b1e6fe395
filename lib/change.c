/* change.c - waiting until bytes are written
 *
 * SPDX-License-Identifier: MIT
 *
 * Each lane counts its writes already.  A generation is the sum of those counts over the lanes
 * of a range, doubled and with 1 added, so that it is never 0.  Two generations of one range
 * are the same only if no lane was written in between, for no count goes back: neither over a
 * resize or a freeze, nor where a writer died, nor in a forked child.
 */
#include "map/map.h"

/* 1: nothing has been written since. */
static int look(ammap_t *map, struct lane_range lanes, uint64_t *generation, uint64_t *count)
{
        int rc = map->kind->writes(map, lanes, count);
        uint64_t found = 2 * *count + 1;

        if (rc < 0 && rc != AMMAP_ERR_OWNER_DEAD)
                return rc;
        if (found == *generation)
                return map_frozen(map) ? AMMAP_ERR_READ_ONLY : rc < 0 ? rc : 1;
        *generation = found;
        return 0;
}

static int wait_change(ammap_t *map, uint64_t offset, uint64_t length, uint64_t *generation, int64_t deadline)
{
        for (bool first = true;; first = false) {
                struct lane_range lanes;
                uint64_t count;
                int rc = map_look(map, offset, length);

                if (rc < 0)
                        return rc;
                if (atomic_load(&map->omitted))
                        return AMMAP_ERR_UNSUPPORTED;
                lanes = map_lanes(map, offset, length);
                if ((rc = look(map, lanes, generation, &count)) <= 0)
                        return rc;
                if (first && deadline == OS_NEVER && map->kind->keeps_out(map, lanes))
                        return AMMAP_ERR_DEADLOCK;
                if (deadline != OS_NEVER && os_now() >= deadline)
                        return AMMAP_ERR_TIMEOUT;
                map->kind->watch(map, lanes, count, deadline);
        }
}

int ammap_wait_change(ammap_t *map, uint64_t offset, uint64_t length, uint64_t *generation, int64_t timeout_ns)
{
        int rc;

        if (!map || !generation)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        map_begin_sleep(map);
        rc = wait_change(map, offset, length, generation, os_deadline(timeout_ns));
        map_end_sleep(map);
        return rc;
}
