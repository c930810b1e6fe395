/* file.h - maps in files, whose lock is the kernel's
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_H
#define FILE_H

#include "map/map.h"
#include "map/opening.h"

/* Make the handle of a map without slots. */
int file_open(struct ammap **made, struct opening *opening, const ammap_options_t *options);

#endif /* FILE_H */
