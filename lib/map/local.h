/* local.h - maps that the threads of one process lock
 *
 * SPDX-License-Identifier: MIT
 *
 * All but shared ones: those in files have this lock, too.
 */
#ifndef LOCAL_H
#define LOCAL_H

#include "map/clone.h"
#include "map/local_copy.h"
#include "map/map.h"
#include "map/span.h"
#include "map/watch.h"

/* A new private map of checked options. */
int private_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* The entries of struct kind that are the same in all of them. */
uint64_t local_length(const struct ammap *map);
bool local_is_held(struct ammap *map);
uint64_t local_slices(const struct ammap *map);
void local_holders(struct ammap *map, struct lane_range lanes, struct holders *list);
bool local_frozen(struct ammap *map);
int local_freeze(struct ammap *map);
int local_recover(struct ammap *map);
void local_forked(struct ammap *map);

/* What private and raw maps have in common. */
#define LOCAL_KIND                                                                                                     \
        .read = local_read, .write = local_write, .enter = span_enter_local, .length = local_length,                   \
        .refresh = map_no_refresh, .frozen = local_frozen, .is_held = local_is_held, .slices = local_slices,           \
        .holders = local_holders, .slots = map_no_slots, .freeze = local_freeze, .recover = local_recover,             \
        .writes = watch_local_writes, .watch = watch_local, .keeps_out = watch_keeps_out_local, .clone = clone_locked, \
        .thread_left = map_no_thread_left, .freeze_holds = map_never, .freeze_forked = map_nothing,                    \
        .forked = local_forked, .end = map_nothing

#endif /* LOCAL_H */
