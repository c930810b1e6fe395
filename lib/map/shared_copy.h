/* shared_copy.h - copies of maps that processes lock by words in their memory
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_COPY_H
#define SHARED_COPY_H

#include "map/map.h"

/* Any range; entries of struct kind.  Length is not 0. */
int shared_read(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline);
int shared_update(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline);

#endif /* SHARED_COPY_H */
