/* bytes.h - bytes of a file that others can take away
 *
 * SPDX-License-Identifier: MIT
 *
 * Whoever may write a file may cut it short, and its disk may be full: then a plain
 * access to its memory raises a signal.  These do not.  at: where the bytes are,
 * counted from the backing's first.
 *
 * All return 0; AMMAP_ERR_FAULT: the file has the bytes no more; -ENOSPC or -EDQUOT:
 * the disk has no room for them; or the system's code.
 */
#ifndef BYTES_H
#define BYTES_H

#include "memory/backing.h"

/* Copy out.  Takes no room on the disk. */
int bytes_peek(const struct backing *backing, size_t at, void *to, size_t length);

/* One aligned word of 4 or 8 bytes, read as one. */
int bytes_load(const struct backing *backing, size_t at, void *word, size_t size);

/* Copy in.  *done: how many have been written, on an error too. */
int bytes_poke(const struct backing *backing, size_t at, const void *from, size_t length, size_t *done);

/* Make zero what is not zero.  Takes no room on the disk.  *done: as above. */
int bytes_zero(const struct backing *backing, size_t at, size_t length, size_t *done);

/* Why bytes could not be had that raised, or would raise, a signal. */
int bytes_why(const struct backing *backing, size_t at, size_t length);

#endif /* BYTES_H */
