/* shared.h - maps that several processes lock by words in their memory
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_H
#define SHARED_H

#include "map/map.h"
#include "map/opening.h"

/* Whether this machine, and this library, can have them at all. */
bool shared_is_possible(void);

/* A new map, of checked options. */
int shared_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* The map that is behind a descriptor, of options as read.  It takes the descriptor, but
 * not on an error.  AMMAP_ERR_FORMAT: there is none that this machine can use;
 * AMMAP_ERR_INVALID: it has other lanes, or another capacity. */
int shared_import(struct ammap **made, const struct found *found, const ammap_options_t *options);

/* Make the handle of a map with slots, that is in a file. */
int shared_adopt(struct ammap **made, const struct opening *opening, const ammap_options_t *options);

#endif /* SHARED_H */
