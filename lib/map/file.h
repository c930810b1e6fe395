/* file.h - maps in files
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FILE_H
#define FILE_H

#include "map/map.h"

/* Make a map of an open file that has a header, or is to have one (size > 0, and
 * there is nothing in the file).  It takes the descriptor, also on an error.  path:
 * by which it was opened, or NULL. */
int file_make(struct ammap **made, int fd, const char *path, uint64_t size, const ammap_options_t *options);

#endif /* FILE_H */
