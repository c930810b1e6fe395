/* header.h - the header of a map, as whoever may read the file sees it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef INSPECT_HEADER_H
#define INSPECT_HEADER_H

#include "picture.h"

/* Look at what lies behind a descriptor, and add to the picture what stands there.  Where it is
 * no map the kind stays; a problem is noted. */
void header_look(int fd, struct picture *picture);

#endif /* INSPECT_HEADER_H */
