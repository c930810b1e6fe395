/* backing.h - what a map lies on that is not memory of its own
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKING_H
#define BACKING_H

#include "ammap.h"
#include "os/os.h"

#include <errno.h>

struct backing {
        int fd;                 /* -1: there is none, the memory is this process's own */
        uint64_t device, inode; /* of what fd is of: a number that is another's by now is let be */
        uint64_t offset;        /* of the map's first byte; whole pages */
        unsigned char *data;    /* where the map's bytes are mapped */
        bool write;             /* the pages can be written */
};

extern const struct backing backing_none;

static inline bool backing_is_none(const struct backing *backing)
{
        return backing->fd < 0;
}

/* What its descriptor is of.  AMMAP_ERR_FAULT: the number is another file's by now. */
int backing_look(const struct backing *backing, struct os_file *file);

/* Seal it.  AMMAP_ERR_FAULT: the number is another file's, which is let be; or the system's
 * code. */
int backing_seal(const struct backing *backing, unsigned seals);

/* New memory that others can be given, sealed as said: a descriptor, AMMAP_ERR_UNSUPPORTED
 * or the system's code. */
int backing_memory(const char *name, uint64_t size, unsigned seals);

/* Something behind a descriptor, and what may be done to it. */
struct found {
        int fd;
        struct os_file file; /* not to be written where a seal forbids it */
        unsigned seals;
};

/* Look at it.  0; AMMAP_ERR_FORMAT: no file, and no memory; AMMAP_ERR_UNSUPPORTED: huge
 * pages, or a system without such calls; or the system's code. */
int found_look(int fd, struct found *found);

/* Whether the kernel would not map it to be written: it has been sealed since one looked,
 * or stands where nothing is to be written. */
static inline bool found_is_refused(int rc)
{
        return rc == -EPERM || rc == -EACCES;
}

/* What a caller is told where the system has no such call. */
static inline int unsupported(int rc)
{
        return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
}

#endif /* BACKING_H */
