/* raw.h - memory of others, or for others, without a header
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAW_H
#define RAW_H

#include "map/map.h"

/* A new map, of checked options. */
int raw_make(struct ammap **made, uint64_t size, const ammap_options_t *options);

/* A map of all bytes behind a descriptor, of options as read.  It takes the descriptor,
 * but not on an error. */
int raw_import(struct ammap **made, const struct found *found, const ammap_options_t *options);

/* The same of what is looked at here.  It takes the descriptor, also on an error. */
int raw_adopt(struct ammap **made, int fd, const ammap_options_t *options);

#endif /* RAW_H */
