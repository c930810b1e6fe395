/* file_holders.c - who holds which lanes of a map in a file, for one who asks
 *
 * SPDX-License-Identifier: MIT
 *
 * The threads of this process are known, by whichever map they hold a lane.  Of the locks
 * of other processes the kernel tells where they are, but not whose: they belong to an open
 * file, which several can have.
 */
#include "lock/file_holders.h"

#include "lock/file_lanes.h"
#include "lock/file_twins.h"
#include "os/os.h"

struct looks {
        struct holders *list;
        uint32_t lane;
        bool has; /* another map of this process in the file has that lane */
};

static void add_twin(const struct file *twin, void *context)
{
        const struct looks *looks = context;

        lane_holders(twin->local, (size_t)twin->lanes, looks->list);
}

static void look_at_twin(const struct file *twin, void *context)
{
        struct looks *looks = context;

        looks->has = looks->has || (looks->lane < twin->lanes && file_has((struct file *)twin, looks->lane));
}

static void add_lane(const struct file *file, uint32_t lane, ammap_hold_t hold, struct holders *list)
{
        const struct holder holder = { .hold = hold, .lanes = one_lane(lane) };
        struct looks looks = { .list = list, .lane = lane };

        file_each_twin(file, look_at_twin, &looks);
        if (!looks.has)
                holders_add(list, &holder);
}

static int add_others(const struct file *file, struct holders *list)
{
        struct lane_range lanes = { 0, (uint32_t)file->lanes - 1 }, locked;
        bool write;
        int rc = 0;

        while (lanes.first <= lanes.last && (rc = file_find_locked(file, lanes, &locked, &write)) > 0) {
                for (uint32_t lane = locked.first; lane <= locked.last; lane++)
                        add_lane(file, lane, write ? AMMAP_HOLD_WRITE : AMMAP_HOLD_READ, list);
                lanes.first = locked.last + 1;
        }
        return rc;
}

/* Odd, and nobody has it: looked at in this order, for a writer who has it makes it even
 * before he lets it go. */
static bool is_dead(struct file *file, uint32_t lane)
{
        struct lane_range locked;
        uint64_t sequence, again;
        bool write;

        return file_read_sequence(file, lane, &sequence) == 0 && (sequence & 1) && !file_has(file, lane) &&
               file_find_locked(file, one_lane(lane), &locked, &write) == 0 &&
               file_read_sequence(file, lane, &again) == 0 && again == sequence;
}

static bool add_if_dead(struct file *file, uint32_t lane, struct holders *list)
{
        const struct holder holder = { .hold = AMMAP_HOLD_DEAD, .lanes = one_lane(lane) };
        bool dead = is_dead(file, lane);

        if (dead)
                holders_add(list, &holder);
        return dead;
}

static void add_dead(struct file *file, struct lane_range lanes, struct holders *list)
{
        bool before = false, after = false;

        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++) {
                after = add_if_dead(file, lane, list);
                before = before || (after && lane == lanes.first);
        }
        for (uint32_t lane = lanes.first; before && lane-- > 0;)
                before = add_if_dead(file, lane, list);
        for (uint32_t lane = lanes.last + 1; after && lane < file->lanes; lane++)
                after = add_if_dead(file, lane, list);
}

void file_holders(struct file *file, struct lane_range lanes, struct holders *list)
{
        struct looks looks = { .list = list };
        int rc;

        lane_holders(file->local, (size_t)file->lanes, list);
        file_each_twin(file, add_twin, &looks);
        if (atomic_load(file->frozen))
                return;
        if ((rc = add_others(file, list)) < 0)
                list->rc = rc;
        add_dead(file, lanes, list);
}
