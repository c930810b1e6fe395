/* watch.c - waiting until lanes are written
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/watch.h"

#include "lock/file_lock.h"
#include "lock/file_twins.h"
#include "lock/read_set.h"
#include "lock/shared_owner.h"
#include "lock/shared_watch.h"

/* --- Between threads --- */

int watch_local_writes(struct ammap *map, struct lane_range lanes, uint64_t *count)
{
        bool dead;

        *count = lane_writes(&map->lane[lanes.first], &map->lane[lanes.last], &dead);
        return dead ? AMMAP_ERR_OWNER_DEAD : 0;
}

void watch_local(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until)
{
        lane_watch(&map->lane[lanes.first], &map->lane[lanes.last], count, until);
}

bool watch_keeps_out_local(struct ammap *map, struct lane_range lanes)
{
        struct lane *lane = &map->lane[lanes.first];

        while (lane <= &map->lane[lanes.last] && thread_hold_next(lane, lane + 1, NULL))
                lane++;
        return lane > &map->lane[lanes.last];
}

/* --- Between processes --- */

int watch_shared_writes(struct ammap *map, struct lane_range lanes, uint64_t *count)
{
        return shared_writes(map->shared, lanes, count);
}

void watch_shared(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until)
{
        shared_watch(map->shared, lanes, count, until);
}

bool watch_keeps_out_shared(struct ammap *map, struct lane_range lanes)
{
        uint32_t lane = lanes.first;

        while (lane <= lanes.last &&
               (read_set_is_mine(map->shared, one_lane(lane)) || shared_owner_is_mine(map->shared, one_lane(lane))))
                lane++;
        return lane > lanes.last;
}

/* --- In files --- */

int watch_file_writes(struct ammap *map, struct lane_range lanes, uint64_t *count)
{
        return file_writes(map->file, lanes, count);
}

void watch_file(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until)
{
        file_watch(map->file, lanes, count, until);
}

/* By whichever of the process's maps in the file. */
bool watch_keeps_out_file(struct ammap *map, struct lane_range lanes)
{
        uint32_t lane = lanes.first;

        while (lane <= lanes.last && (thread_hold_next(&map->lane[lane], &map->lane[lane] + 1, NULL) ||
                                      file_elsewhere(map->file, one_lane(lane), READ) != 0))
                lane++;
        return lane > lanes.last;
}
