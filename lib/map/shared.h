/* shared.h - maps in sealed memory that several processes lock
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARED_H
#define SHARED_H

#include "map/map.h"

/* A new map, of checked options. */
int shared_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* The map that is behind a descriptor, of options as read.  It takes the descriptor, but
 * not on an error.  AMMAP_ERR_FORMAT: there is none that this machine can use;
 * AMMAP_ERR_INVALID: it has other lanes, or another capacity. */
int shared_import(struct ammap **made, const struct found *found, const ammap_options_t *options);

#endif /* SHARED_H */
