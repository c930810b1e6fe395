/* shared_holders.h - who holds which lanes of a shared map, for one who asks
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_HOLDERS_H
#define SHARED_HOLDERS_H

#include "lock/holders.h"
#include "lock/slot.h"

/* Add them, of all lanes. */
void shared_holders(const struct shared *shared, struct holders *list);

#endif /* SHARED_HOLDERS_H */
