/* pass.c - maps found by a path, given to us, and given to others
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/file_lock.h"
#include "map/file.h"
#include "map/map.h"
#include "map/opening.h"
#include "map/options.h"
#include "map/raw.h"
#include "map/shared.h"

#include <errno.h>

enum { UNWRITABLE = AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE };

/* --- By a path --- */

static bool may_not_write(int rc)
{
        return rc == -EACCES || rc == -EPERM || rc == -EROFS || rc == -ETXTBSY;
}

/* Others may make the file, and take it away, in between; but not often.  A symbolic
 * link to nothing is never followed to make something there. */
static int open_path(const char *path, bool create, bool read_only)
{
        enum { TRIES = 100 };
        int fd = os_open(path, !read_only, false);

        for (unsigned tries = 0; create && fd == -ENOENT && tries < TRIES; tries++) {
                fd = os_open(path, true, true);
                if (fd != -EEXIST)
                        return fd;
                fd = os_open(path, true, false);
        }
        if (create)
                return fd == -ENOENT ? -EEXIST : fd;
        return may_not_write(fd) ? os_open(path, false, false) : fd;
}

/* What is there has the length that it has, and is not made any longer. */
static int size_raw(int fd, const struct found *found, uint64_t size)
{
        struct os_file there;
        int rc = file_lock_opening(fd, found->file.write);

        if (rc < 0)
                return rc;
        rc = os_file(fd, &there);
        if (rc == 0 && there.size == 0 && size > 0)
                rc = os_resize_file(fd, size);
        file_unlock_opening(fd);
        return rc;
}

static int open_raw(struct ammap **made, int fd, uint64_t size, const ammap_options_t *options)
{
        struct found found;
        int rc = found_look(fd, &found);

        if (rc == 0)
                rc = size_raw(fd, &found, size);
        if (rc == 0)
                return raw_adopt(made, fd, options);
        os_close(fd);
        return rc;
}

/* A map with a header.  Takes the descriptor, also on an error. */
static int open_map(struct ammap **made, struct opening *opening, uint64_t size, const ammap_options_t *options)
{
        int rc;

        opening->slots = options->allow_faults && shared_is_possible() ? FORMAT_SLOTS : 0;
        if ((rc = opening_begin(opening, size, options)) < 0)
                return rc;
        rc = opening->head.slots ? shared_adopt(made, opening, options) : file_open(made, opening, options);
        opening_end(opening, rc);
        return rc;
}

int ammap_open(ammap_t **map, const char *path, uint64_t size, const ammap_options_t *options)
{
        struct opening opening = { .path = path };
        ammap_options_t known;
        int rc, fd;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if (!path)
                return AMMAP_ERR_INVALID;
        if ((rc = options_read_other(options, size, &known)) < 0 || (rc = map_start()) < 0)
                return rc;
        if (known.read_only)
                size = 0;
        fd = open_path(path, size > 0, known.read_only);
        if (fd < 0)
                return unsupported(fd);
        if (size == 0 || known.share == AMMAP_RAW)
                known.capacity = 0; /* it says nothing of what is there */
        opening.shown = fd;
        return known.share == AMMAP_RAW ? open_raw(map, fd, size, &known) : open_map(map, &opening, size, &known);
}

/* --- What others give us --- */

/* A descriptor that can only be read, in place of one, so that nobody here writes by
 * mistake, and no one who is given this one, either; where that takes a /proc that is not
 * there, the same one, and the pages alone are read only. */
static int without_write(int fd)
{
        int reader = os_reopen(fd, false);

        if (reader < 0)
                return fd;
        os_close(fd);
        return reader;
}

/* Take a descriptor, also on an error.  What others can make shorter is a file,
 * in memory or not. */
static int adopt(struct ammap **made, int fd, const ammap_options_t *options)
{
        struct opening opening = { .path = NULL };
        struct found found;
        int rc = found_look(fd, &found);
        bool sealed = rc == 0 && (found.seals & AMMAP_SEAL_SHRINK);

        if (rc == 0 && options->read_only && (found.file.write || (found.seals & UNWRITABLE))) {
                found.fd = fd = without_write(fd);
                found.file.write = false;
        }
        if (rc == 0 && !sealed && !options->allow_faults)
                rc = AMMAP_ERR_UNSEALED;
        opening.shown = fd;
        if (rc == 0 && options->share != AMMAP_RAW && !sealed)
                return open_map(made, &opening, 0, options);
        if (rc == 0)
                rc = options->share == AMMAP_RAW ? raw_import(made, &found, options)
                                                 : shared_import(made, &found, options);
        if (rc < 0)
                os_close(fd);
        return rc;
}

int ammap_import(ammap_t **map, int fd, const ammap_options_t *options)
{
        ammap_options_t known;
        int rc, own;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = options_read_other(options, 0, &known)) < 0 || (rc = map_start()) < 0)
                return rc;
        own = os_dup(fd);
        return own < 0 ? unsupported(own) : adopt(map, own, &known);
}

int ammap_recv(ammap_t **map, int socket, const ammap_options_t *options)
{
        ammap_options_t known;
        int rc, fd;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = options_read_other(options, 0, &known)) < 0 || (rc = map_start()) < 0)
                return rc;
        fd = os_receive(socket);
        if (fd < 0)
                return fd == -EBADMSG ? AMMAP_ERR_FORMAT : unsupported(fd);
        return adopt(map, fd, &known);
}

/* --- What we give others --- */

/* Whether there is a descriptor that others can be given. */
static int check_given(const ammap_t *map)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (backing_is_none(map_backing(map)) || atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_is_file(map_backing(map)->fd, map_backing(map)->device, map_backing(map)->inode);
        return rc > 0 ? 0 : rc == 0 ? AMMAP_ERR_FAULT : rc;
}

int ammap_fd(const ammap_t *map)
{
        int rc = check_given(map);

        return rc < 0 ? rc : map_backing(map)->fd;
}

/* -EINVAL: there is nothing to seal, or the kernel does not know the seal; -EPERM:
 * what was sealed so since, or is from birth, as files in memory are. */
static int add_seals(ammap_t *map, unsigned seals)
{
        int rc = map->kind->sealable ? os_add_seals(map_backing(map)->fd, seals) : AMMAP_ERR_UNSUPPORTED;
        int found = rc < 0 ? os_seals(map_backing(map)->fd) : 0;

        if ((rc == -EINVAL && found < 0) || (rc == -EPERM && found == AMMAP_SEAL_SEAL))
                return AMMAP_ERR_UNSUPPORTED;
        return rc;
}

/* That it is sealed against new writers is what keeps it from being written; that
 * it is not open to be written, only that nobody tries.  The seal is for good, and comes
 * when there is something to give. */
static int export_read(ammap_t *map)
{
        int fd, rc;

        if (!map->kind->sealable)
                return AMMAP_ERR_UNSUPPORTED;
        fd = os_reopen(map_backing(map)->fd, false);
        if (fd == -ENOSYS)
                fd = os_dup(map_backing(map)->fd);
        if (fd < 0)
                return fd;
        rc = os_seals(map_backing(map)->fd);
        if (rc < 0 || !(rc & UNWRITABLE))
                rc = add_seals(map, AMMAP_SEAL_FUTURE_WRITE);
        if (rc >= 0)
                return fd;
        os_close(fd);
        return rc;
}

/* A duplicate would do in place of a descriptor opened anew where the seal keeps it from
 * being written; here nothing would. */
static int export_unsealed(ammap_t *map)
{
        return unsupported(os_reopen(map_backing(map)->fd, false));
}

static int export_write(ammap_t *map)
{
        int seals = map->kind->sealable ? os_seals(map_backing(map)->fd) : 0;

        if (!map_may_write(map) || (seals > 0 && ((unsigned)seals & UNWRITABLE)))
                return AMMAP_ERR_READ_ONLY;
        return os_dup(map_backing(map)->fd);
}

int ammap_export(ammap_t *map, unsigned rights, int *fd)
{
        int rc;

        if (!fd)
                return AMMAP_ERR_INVALID;
        *fd = -1;
        if (!map ||
            (rights != AMMAP_READ && rights != (AMMAP_READ | AMMAP_WRITE) && rights != (AMMAP_READ | AMMAP_NO_SEAL)))
                return AMMAP_ERR_INVALID;
        if ((rc = check_given(map)) < 0)
                return rc;
        rc = rights & AMMAP_WRITE     ? export_write(map)
             : rights & AMMAP_NO_SEAL ? export_unsealed(map)
                                      : export_read(map);
        if (rc < 0)
                return rc;
        *fd = rc;
        return 0;
}

int ammap_send(ammap_t *map, int socket)
{
        int rc = check_given(map);

        return rc < 0 ? rc : os_send(socket, map_backing(map)->fd);
}

int ammap_seal(ammap_t *map, unsigned seals)
{
        const unsigned all =
                AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW | AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE | AMMAP_SEAL_SEAL;
        int rc;

        if (!map || (seals & ~all))
                return AMMAP_ERR_INVALID;
        rc = check_given(map);
        return rc < 0 ? rc : add_seals(map, seals);
}
