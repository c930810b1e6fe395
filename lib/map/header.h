/* header.h - the header of a map that other processes have
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HEADER_H
#define HEADER_H

#include "ammap.h"
#include "memory/format.h"

#include <stdbool.h>

/* Fill in the header of a new map of checked options, with so many slots; in a file
 * there are none.  Its identity is left to the caller. */
void header_fill(struct format_head *head, uint64_t size, const ammap_options_t *options, uint32_t slots);

/* Whether it is one that this library can read at all, on this machine.  Its numbers
 * may lie. */
bool header_is_known(const struct format_head *head);

#endif /* HEADER_H */
