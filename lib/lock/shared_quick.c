/* shared_quick.c - what is left to do by who has left without a call
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/shared_quick.h"

int shared_finish_leaving(struct format_lane *lane, enum shared_left left)
{
        if (left == LEFT_OWNED)
                shared_disown(lane);
        else
                shared_wake(lane);
        return 0;
}

int shared_slice_wake(struct slot *slot)
{
        shared_slice_unname(slot);
        return 0;
}
