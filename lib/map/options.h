/* options.h - what a map is asked to be
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "ammap.h"

/* The caller's options (NULL: none) as this library knows them.  0 or AMMAP_ERR_INVALID. */
int options_read(const ammap_options_t *options, ammap_options_t *known);

/* Check them for a map of size bytes, and fill in what 0 stands for.  0; AMMAP_ERR_INVALID,
 * _SIZE or _UNSUPPORTED. */
int options_check(uint64_t size, ammap_options_t *options);

/* Read what can be said of a map that may be there already: size is that of a new one, or 0
 * where none is to be made.  Capacity and lanes are left as given, to be compared. */
int options_read_other(const ammap_options_t *options, uint64_t size, ammap_options_t *known);

/* Whether nothing is special about a private map but its size, capacity and lanes, and whether
 * it is to be recycled; and whether it can be. */
bool options_are_plain(const ammap_options_t *options);
bool options_can_recycle(const ammap_options_t *options, uint64_t size);

#endif /* OPTIONS_H */
