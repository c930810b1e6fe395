/* read_set.c - which lanes of a shared map whoever reads
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/read_set.h"

bool read_set_any_slice(const struct shared *shared, uint32_t number)
{
        uint32_t used = slots_used(shared);

        for (uint32_t index = 0; index < used; index++)
                for (unsigned i = 0; i < FORMAT_PLACES; i++) {
                        uint32_t set = atomic_load(&shared->record[index].read_set[i]);

                        if ((set & SET_SLICE) && read_set_names(set, one_lane(number)) &&
                            slot_lives(shared, index, false))
                                return true;
                }
        return false;
}

bool read_set_mine_reaches(const struct shared *shared, struct lane_range lanes, uint64_t offset)
{
        for (const struct slot *slot = my_slots.all; slot; slot = slot->next)
                if (slot->device == shared->device && slot->inode == shared->inode)
                        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                                if (shared_hold_refs(&slot->read[i]) && read_set_names(slot->read[i].set, lanes) &&
                                    atomic_load(slot_reach(slot->record, i)) >= offset)
                                        return true;
        return false;
}

bool read_set_is_mine(const struct shared *shared, struct lane_range lanes)
{
        return read_set_mine_reaches(shared, lanes, 0);
}
