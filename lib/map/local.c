/* local.c - maps that the threads of one process lock
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/local.h"

#include "lock/holders.h"
#include "map/views.h"

/* --- The length --- */

/* A shorter length that may yet be called off does not show. */
uint64_t local_length(const struct ammap *map)
{
        for (;;) {
                uint32_t shrinks = atomic_load(&map->shrinks);
                uint64_t length = atomic_load(&map->length), undo = atomic_load(&map->undo);

                if (atomic_load(&map->shrinks) == shrinks)
                        return (shrinks & 1) && undo ? undo : length;
        }
}

static int grow(struct ammap *map, uint64_t size)
{
        int rc;

        map_drop_old(map, atomic_load(&map->length), size);
        rc = region_grow(&map->region, region_pages(map_region_offset(map, size)));
        if (rc == 0)
                atomic_store_explicit(&map->length, size, memory_order_release);
        return rc;
}

/* Between two looks, and nobody wakes us: spin, then nap on a word that stays as
 * it is for as long as resizing is held. */
static void pause_looking(struct ammap *map, unsigned looks)
{
        enum { SPINS = 100, NAP = 50000 }; /* ns */

        if (looks < SPINS)
                os_pause();
        else
                os_wait(&map->shrinks, atomic_load(&map->shrinks), os_now() + NAP);
}

/* Wait until those who copy what a shrink takes are out; or say whose slice it
 * would cut.  New ones find the length too short. */
static int wait_for_copies(struct ammap *map, struct lane *first, const struct lane *end, uint64_t size)
{
        for (unsigned looks = 0;; looks++) {
                enum reach reach = thread_reach(map->lane, map->lane + map->lanes, size);

                if (reach == REACH_NONE)
                        break;
                if (reach == REACH_COPY)
                        pause_looking(map, looks);
                else if (!thread_bury(map->lane, map->lane + map->lanes))
                        return AMMAP_ERR_BUSY;
        }
        for (struct lane *lane = first; lane < end; lane++) {
                for (unsigned looks = 0; lane_writes_unseen(lane); looks++)
                        pause_looking(map, looks);
                if (atomic_load(&lane->word) & LANE_DEAD)
                        return AMMAP_ERR_OWNER_DEAD;
        }
        return 0;
}

/* The length stays where it is and what lies behind it goes, or it goes back. */
static void end_shrink(struct ammap *map)
{
        uint64_t size = atomic_load(&map->length), undo = atomic_load(&map->undo);

        if (undo)
                atomic_store(&map->length, undo);
        else
                region_cut(&map->region, map_region_offset(map, size), map->region.used);
        atomic_fetch_add(&map->shrinks, 1);
}

/* The essay of lock.c says how this goes beside those who read and write. */
static int shrink(struct ammap *map, uint64_t size)
{
        uint64_t length = atomic_load(&map->length);
        struct lane *first = &map->lane[map_lane_index(map, size)];
        struct lane *end = &map->lane[map_lane_index(map, length - 1) + 1];
        int rc;

        atomic_store(&map->undo, length);
        atomic_fetch_add(&map->shrinks, 1);
        mutex_lock(&map->joint_views->mutex);
        rc = views_reach(map, size) ? AMMAP_ERR_BUSY : 0;
        if (rc == 0)
                atomic_store(&map->length, size);
        mutex_unlock(&map->joint_views->mutex);
        if (rc == 0) {
                os_fence_heavy();
                rc = wait_for_copies(map, first, end, size);
        }
        if (rc == 0) {
                atomic_store(&map->undo, 0);
                for (struct lane *lane = first; lane < end; lane++)
                        lane_bump_sequence(lane);
        }
        end_shrink(map);
        return rc;
}

static int resize_private(struct ammap *map, uint64_t size)
{
        uint64_t length = atomic_load(&map->length);

        if (map_frozen(map))
                return AMMAP_ERR_READ_ONLY;
        return size > length ? grow(map, size) : size < length ? shrink(map, size) : 0;
}

/* --- Who is in --- */

static bool is_any_held(const struct ammap *map)
{
        for (uint64_t i = 0; i < map->lanes; i++)
                if (lane_is_held(&map->lane[i]))
                        return true;
        return false;
}

bool local_is_held(struct ammap *map)
{
        return is_any_held(map) && (!thread_bury(map->lane, map->lane + map->lanes) || is_any_held(map));
}

uint64_t local_slices(const struct ammap *map)
{
        return thread_slices(map->lane, map->lane + map->lanes);
}

void local_holders(struct ammap *map, struct lane_range lanes, struct holders *list)
{
        (void)lanes;
        thread_bury(map->lane, map->lane + map->lanes);
        lane_holders(map->lane, (size_t)map->lanes, list);
}

int local_recover(struct ammap *map)
{
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_recover(&map->lane[i]);
        return 0;
}

/* --- Freezing --- */

bool local_frozen(struct ammap *map)
{
        return atomic_load(&map->frozen);
}

static void leave_lanes(struct ammap *map, uint64_t count, bool frozen)
{
        while (count-- > 0)
                if (frozen)
                        lane_write_leave_frozen(&map->lane[count]);
                else
                        lane_write_leave(&map->lane[count]);
}

/* All lanes to write, in ascending order, then resizing; which a thread that
 * shrinks the map may hold while it waits for us to leave the lanes. */
static int take_all(struct ammap *map)
{
        for (;;) {
                struct lane_request request = { .end = map->lane + map->lanes, .deadline = LANE_FOR_EVER };

                lane_settle(map->lane, (size_t)map->lanes);
                for (uint64_t i = 0; i < map->lanes; i++) {
                        int rc = lane_freeze(&map->lane[i], &request);

                        if (rc < 0) {
                                leave_lanes(map, i, false);
                                return rc;
                        }
                }
                if (mutex_try(&map->resizing))
                        return 0;
                leave_lanes(map, map->lanes, false);
                map_lock(map);
                map_unlock(map);
        }
}

static void leave_all(struct ammap *map, bool frozen)
{
        map_unlock(map);
        leave_lanes(map, map->lanes, frozen);
}

/* The seal is for those who come later, and the kernel may not know it. */
int local_freeze(struct ammap *map)
{
        int rc = take_all(map);

        if (rc < 0)
                return rc;
        rc = map_freeze(map, map_freeze_pages);
        if (rc == 0 && map->kind->sealable)
                backing_seal(map_backing(map), AMMAP_SEAL_FUTURE_WRITE);
        leave_all(map, rc == 0);
        return rc;
}

/* --- Forks --- */

/* The child may have a shrink to end that it does not have the thread of. */
void local_forked(struct ammap *map)
{
        if (!(atomic_load(&map->shrinks) & 1))
                return;
        if (map->region.fork == AMMAP_FORK_OMIT)
                atomic_fetch_add(&map->shrinks, 1);
        else
                end_shrink(map);
}

/* --- Private maps --- */

static const struct kind kind_private = { LOCAL_KIND, .name = "private", .share = AMMAP_PRIVATE,
                                          .resize = resize_private };

int private_make(struct ammap **made, uint64_t size, const ammap_options_t *options)
{
        const struct recipe recipe = { .kind = &kind_private, .size = size, .options = options, .backing.fd = -1 };
        int rc;

        if ((*made = map_reuse(size, options)))
                return 0;
        if ((rc = map_make(made, &recipe)) == 0)
                map_link(*made);
        return rc;
}
