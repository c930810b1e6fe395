/* clone.h - a map made of what another one holds
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CLONE_H
#define CLONE_H

#include "map/map.h"

/* Keep writers out, and copy. */
int clone_locked(struct ammap *map, clone_copy *copy, struct ammap **made);

#endif /* CLONE_H */
