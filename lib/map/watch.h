/* watch.h - waiting until lanes are written
 *
 * SPDX-License-Identifier: MIT
 *
 * The entries of struct kind that count writes and sleep until there are more: for maps that
 * the threads of one process lock, for shared ones, and for those in files.
 */
#ifndef WATCH_H
#define WATCH_H

#include "map/map.h"

int watch_local_writes(struct ammap *map, struct lane_range lanes, uint64_t *count);
void watch_local(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until);
bool watch_keeps_out_local(struct ammap *map, struct lane_range lanes);

int watch_shared_writes(struct ammap *map, struct lane_range lanes, uint64_t *count);
void watch_shared(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until);
bool watch_keeps_out_shared(struct ammap *map, struct lane_range lanes);

int watch_file_writes(struct ammap *map, struct lane_range lanes, uint64_t *count);
void watch_file(struct ammap *map, struct lane_range lanes, uint64_t count, int64_t until);
bool watch_keeps_out_file(struct ammap *map, struct lane_range lanes);

#endif /* WATCH_H */
