/* backing.c - what a map lies on that is not memory of its own
 *
 * SPDX-License-Identifier: MIT
 */
#include "memory/backing.h"

const struct backing backing_none = { .fd = -1 };

int backing_look(const struct backing *backing, struct os_file *file)
{
        int rc = os_file(backing->fd, file);

        if (rc < 0)
                return rc;
        return file->device == backing->device && file->inode == backing->inode ? 0 : AMMAP_ERR_FAULT;
}

int backing_seal(const struct backing *backing, unsigned seals)
{
        struct os_file file;
        int rc = backing_look(backing, &file);

        return rc < 0 ? rc : os_add_seals(backing->fd, seals);
}

int backing_memory(const char *name, uint64_t size, unsigned seals)
{
        int fd = os_memory(name, size), rc;

        if (fd < 0)
                return unsupported(fd);
        rc = os_add_seals(fd, seals);
        if (rc < 0)
                os_close(fd);
        return rc < 0 ? rc : fd;
}

/* Seals first: what they say of the size holds for the size that is read then.
 * -EINVAL: nothing that can be sealed. */
int found_look(int fd, struct found *found)
{
        int seals = os_seals(fd), rc = os_file(fd, &found->file);

        if (rc < 0)
                return unsupported(rc);
        if (!found->file.regular)
                return AMMAP_ERR_FORMAT;
        if (seals < 0 && seals != -EINVAL)
                return unsupported(seals);
        found->fd = fd;
        found->seals = seals < 0 ? 0 : (unsigned)seals;
        if (found->seals & (AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE))
                found->file.write = false;
        return os_is_huge(fd) ? AMMAP_ERR_UNSUPPORTED : 0;
}
