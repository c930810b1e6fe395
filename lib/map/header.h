/* header.h - the header of a map that other processes have
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HEADER_H
#define HEADER_H

#include "ammap.h"
#include "memory/format.h"

#include <stdbool.h>

/* Fill in the header of a new map of checked options, with so many slots; where the lock is
 * the kernel's there are none.  Its identity is left to the caller. */
void header_fill(struct format_head *head, uint64_t size, const ammap_options_t *options, uint32_t slots);

/* Whether a header found in so many bytes is one of ours, that this library can use on
 * this machine, and does not lie about its numbers: with slots, and without. */
bool header_is_shared(const struct format_head *head, uint64_t size);
bool header_is_file(const struct format_head *head, uint64_t size);

/* What a header says of its map, in place of what a caller has said. */
void header_options(const struct format_head *head, ammap_options_t *options);

#endif /* HEADER_H */
