/* opening.h - a file, while the map in it is opened or made
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPENING_H
#define OPENING_H

#include "ammap.h"
#include "memory/format.h"
#include "os/os.h"

#include <stdbool.h>

struct opening {
        /* For the caller to set. */
        int shown;        /* what is to be mapped, and what others can be given */
        const char *path; /* by which it was opened, or NULL */
        uint32_t slots;   /* of a new map: 0, or as many as one has that is locked by its own words */

        int fd;                  /* the same file, opened anew: what it is locked by */
        struct os_file there;    /* not to be written where the options say so */
        struct format_head head; /* the map's, checked */
        bool fresh;              /* the map is a new one */
};

/* Lock the file, and find the map in it, or make one of so many bytes, where there is none.
 * It takes the descriptor, also on an error.  0, or what ammap_open answers. */
int opening_begin(struct opening *opening, uint64_t size, const ammap_options_t *options);

/* Unlock it.  rc: what became of the handle; where there is none, a new map is taken back. */
void opening_end(struct opening *opening, int rc);

#endif /* OPENING_H */
