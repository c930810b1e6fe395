/* shared_shrink.c - a shared map that gets shorter, or whose writer died
 *
 * SPDX-License-Identifier: MIT
 *
 * A shrink owns its lanes as a writer does, and passes over the slices that stay.  Who
 * recovers owns a lane though its sequence is odd, and makes it even.  The essay on top of
 * shared_lock.c explains the whole.
 */
#include "lock/shared_shrink.h"

#include "ammap.h"
#include "lock/read_set.h"
#include "lock/shared_owner.h"
#include "lock/shared_wait.h"

/* For one who owns the lanes: whether a reader of one of them has moved to where one has
 * looked (shared_detach.c), as far as has been noted; and note it no more. */
static bool take_rescan(struct shared *shared, struct lane_range lanes)
{
        bool any = false;

        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++)
                if (atomic_load(&shared->lane[lane].rescan)) {
                        atomic_store(&shared->lane[lane].rescan, 0);
                        any = true;
                }
        return any;
}

/* Until nobody reads who reaches so far; but for slices. */
static int wait_until_unread_from(struct shared *shared, struct slot *slot, struct lane_range lanes, uint64_t reach,
                                  int64_t deadline)
{
        struct shared_waiter w = shared_wait_begin(shared, slot, lanes.first, deadline);
        uint32_t index = 0, set;
        int rc;

        take_rescan(shared, lanes);
        while ((set = read_set_find(shared, lanes, reach, &index)) != 0 || take_rescan(shared, lanes)) {
                if (set == 0) {
                        if ((rc = shared_wait_for_reader(&w)) < 0)
                                return shared_wait_end(&w, rc);
                        index = 0;
                } else if (!slot_lives(shared, index, waiter_is_thorough(&w.base))) {
                        index++;
                } else if ((set & SET_SLICE) || slot_mine_at(shared, index)) {
                        return shared_wait_end(&w, AMMAP_ERR_BUSY);
                } else if ((rc = shared_wait_for_reader(&w)) < 0) {
                        return shared_wait_end(&w, rc);
                }
        }
        return shared_wait_end(&w, 0);
}

/* Own the lanes, with nobody who reads so far.  On an error none is owned. */
static int own_to_shrink(struct shared *shared, struct slot *slot, struct lane_range lanes, uint64_t reach,
                         int64_t deadline)
{
        uint32_t lane = lanes.first;
        int rc = 0;

        while (lane <= lanes.last && (rc = shared_own(shared, slot, lane, TO_SHRINK, deadline)) == 0)
                lane++;
        if (rc == 0)
                rc = wait_until_unread_from(shared, slot, lanes, reach, deadline);
        if (rc < 0)
                shared_disown_lanes(shared, lanes.first, lane);
        return rc;
}

/* Copies end soon; whoever pretends to one is not waited for.  A copy from lane to lane may read one
 * of these and wait for another: so they are let go now and then, and it goes on. */
int shared_shrink(struct shared *shared, struct slot *slot, struct lane_range lanes, uint64_t reach)
{
        enum { FIRST_TRY = 2000000, NAP = 50000 }; /* ns */
        const int64_t deadline = os_now() + WAITER_PATIENCE;
        int64_t patience = FIRST_TRY;
        int rc;

        if (shared_owner_is_mine(shared, lanes) || read_set_mine_reaches(shared, lanes, reach))
                return AMMAP_ERR_BUSY; /* whom others may wait for, whom this one would wait for */
        while ((rc = own_to_shrink(shared, slot, lanes, reach, earlier(deadline, os_now() + patience))) ==
                       AMMAP_ERR_TIMEOUT &&
               os_now() < deadline) {
                waiter_nap(NAP);
                patience *= 2;
        }
        if (rc < 0)
                return rc == AMMAP_ERR_TIMEOUT ? AMMAP_ERR_BUSY : rc;
        for (uint32_t lane = lanes.first; lane <= lanes.last; lane++)
                shared_open_lane(&shared->lane[lane]);
        return 0;
}

void shared_shrink_leave(struct shared *shared, struct lane_range lanes)
{
        for (uint32_t lane = lanes.last + 1; lane-- > lanes.first;)
                shared_close_lane(&shared->lane[lane]);
}

/* --- Death --- */

/* Who lives and owns a dead lane is about to see that it is, and to let it go; who
 * has it for longer is its writer. */
static int own_dead(struct shared *shared, struct slot *slot, uint32_t lane)
{
        enum { TRIES = 8, NAP = 500000 };
        int rc;

        for (unsigned tries = 0; (rc = shared_own(shared, slot, lane, TO_RECOVER, LANE_TRY)) == AMMAP_ERR_BUSY;
             tries++) {
                if (!shared_is_odd(&shared->lane[lane]) || tries == TRIES)
                        break;
                waiter_nap(NAP);
        }
        return rc;
}

int shared_recover(struct shared *shared, uint32_t lane, void (*mend)(void *context), void *context)
{
        struct slot *slot;
        int rc;

        if (!shared_is_odd(&shared->lane[lane]) || shared_frozen(shared))
                return 0;
        if (!shared->writable)
                return shared_is_dead(shared, lane) ? AMMAP_ERR_READ_ONLY : 0;
        if ((rc = slot_mine(shared, &slot)) < 0)
                return rc;
        rc = own_dead(shared, slot, lane);
        if (rc == 0 && shared_is_odd(&shared->lane[lane])) {
                if (mend)
                        mend(context);
                atomic_store(&shared->lane[lane].dead_process, 0);
                atomic_store(&shared->lane[lane].dead_thread, 0);
                shared_close_lane(&shared->lane[lane]);
        } else if (rc == 0) {
                shared_disown(&shared->lane[lane]);
        }
        return rc == AMMAP_ERR_BUSY ? 0 : rc;
}
