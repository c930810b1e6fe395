/* text.h - names that anybody may have chosen, shown so that they do no harm
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdint.h>
#include <stdio.h>

/* For a terminal: what is no printable character of valid UTF-8 stands as \xHH, a byte each.
 * At most so many columns, or 0: all. */
void text_plain(FILE *out, const char *text, unsigned columns);

/* With its quotes.  A byte that is not of valid UTF-8 becomes U+FFFD.  NULL: null. */
void text_json(FILE *out, const char *text);

#endif /* TEXT_H */
