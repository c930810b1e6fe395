/* waiter.c - what all who wait for a lock have
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/waiter.h"

bool waiter_may_spin;

void waiter_count_cpus(void)
{
        waiter_may_spin = os_cpus() > 1;
}
