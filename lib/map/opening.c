/* opening.c - a file, while the map in it is opened or made
 *
 * SPDX-License-Identifier: MIT
 *
 * A file is made, and looked at when it is opened, under the lock of one byte.  So of two
 * who make it one comes first, and the other finds it made.  The magic is written first,
 * then the file gets its size, then the header is written, the version last.  Who dies in
 * between leaves a file with the magic and without the version, and the next one starts
 * over.  Meanwhile no lane can be locked to write: a file may have been emptied while a map was
 * open in it, and whoever has that must not write into the new one.
 *
 * The lock needs a description of its own: a mapping, and whoever is given the other
 * descriptor, would share it.
 */
#include "map/opening.h"

#include "lock/file_lock.h"
#include "lock/file_twins.h"
#include "lock/slot.h"
#include "map/header.h"
#include "map/options.h"
#include "memory/backing.h"
#include "memory/region.h"

#include <string.h>

/* What is in a file: 1, a map; 0, nothing, or what someone left who died while he made
 * one; AMMAP_ERR_FORMAT, something else; or the system's code. */
static int read_head(int fd, uint64_t size, struct format_head *head)
{
        int rc;

        if (size == 0)
                return 0;
        memset(head, 0, sizeof *head);
        rc = os_read_at(fd, 0, head, size < sizeof *head ? (size_t)size : sizeof *head);
        if (rc < 0)
                return rc == -ENODATA ? AMMAP_ERR_FORMAT : rc;
        if (head->slots ? header_is_shared(head, size) : header_is_file(head, size))
                return 1;
        return memcmp(head->magic, FORMAT_MAGIC, sizeof head->magic) == 0 && head->version == 0 ? 0 : AMMAP_ERR_FORMAT;
}

/* All of it but the magic. */
static int write_head(int fd, const struct format_head *head)
{
        enum { NUMBER = offsetof(struct format_head, version), REST = NUMBER + sizeof head->version };
        int rc = os_write_at(fd, REST, (const unsigned char *)head + REST, sizeof *head - REST);

        return rc < 0 ? rc : os_write_at(fd, NUMBER, &head->version, sizeof head->version);
}

/* What there was is none any more, and the head stands.  Where the lock is in the file, the file grows with the map, as
 * memory does. */
static int write_new(struct opening *opening, uint64_t size)
{
        const struct format_head *head = &opening->head;
        int rc = opening->there.size > 0 ? os_resize_file(opening->fd, 0) : 0, fd = opening->fd;

        if (rc < 0)
                return rc;
        opening->fresh = true;
        rc = os_write_at(fd, 0, head->magic, sizeof head->magic);
        if (rc == 0)
                rc = os_resize_file(fd, head->data + region_pages(head->slots ? size : head->capacity));
        if (rc == 0 && (rc = os_allot(fd, 0, format_pages(head->lanes, head->slots, head->page))) != -ENOSPC &&
            rc != -EDQUOT)
                rc = write_head(fd, head);
        return rc;
}

/* Whoever had the map that the file was emptied of is kept from writing meanwhile: by what stands in the file he can
 * tell only when the head does. */
static int make_new(struct opening *opening, uint64_t size, const ammap_options_t *options)
{
        struct format_head *head = &opening->head;
        ammap_options_t known = *options;
        int rc = options_check(size, &known), fd = opening->fd;

        if (rc < 0)
                return rc;
        if ((rc = file_in_use(fd)) != 0) /* by who cannot tell that it was emptied */
                return rc > 0 ? AMMAP_ERR_BUSY : unsupported(rc);
        header_fill(head, size, &known, opening->slots);
        if ((rc = os_random(head->identity, sizeof head->identity)) < 0)
                return rc;
        if ((rc = file_lock_making(fd)) < 0)
                return rc;
        rc = write_new(opening, size);
        file_unlock_making(fd);
        return rc;
}

/* The name of this run of the machine, in a map whose lock is the kernel's: who has a lock
 * in the file has more to do (shared_run.c). */
static int note_run(const struct opening *opening)
{
        const struct format_head *head = &opening->head;
        unsigned char boot[sizeof head->boot];

        if (head->slots || !opening->there.write || !slot_run_is_over(head))
                return 0;
        os_boot(boot);
        return os_write_at(opening->fd, offsetof(struct format_head, boot), boot, sizeof boot);
}

static int find_or_make(struct opening *opening, uint64_t size, const ammap_options_t *options)
{
        const struct format_head *head = &opening->head;
        struct found found;
        int rc = found_look(opening->fd, &found);

        opening->there = found.file;
        if (rc < 0 || (rc = read_head(opening->fd, found.file.size, &opening->head)) < 0)
                return rc;
        if (rc == 0)
                return size > 0 ? make_new(opening, size, options) : AMMAP_ERR_FORMAT;
        if (head->slots && !options->allow_faults)
                return AMMAP_ERR_UNSEALED;
        if ((options->lanes && options->lanes != head->lanes) ||
            (size == 0 && options->capacity && options->capacity != head->capacity))
                return AMMAP_ERR_INVALID;
        return note_run(opening);
}

int opening_begin(struct opening *opening, uint64_t size, const ammap_options_t *options)
{
        struct found found;
        int rc = found_look(opening->shown, &found);

        opening->there = found.file;
        if (options->read_only)
                opening->there.write = false;
        opening->fd = rc < 0 ? rc : file_open_again(opening->path, opening->shown, &opening->there);
        if (opening->fd < 0) {
                os_close(opening->shown);
                return unsupported(opening->fd);
        }
        rc = file_lock_opening(opening->fd, opening->there.write);
        if (rc == 0)
                rc = find_or_make(opening, size, options);
        if (rc < 0)
                opening_end(opening, rc);
        return rc;
}

void opening_end(struct opening *opening, int rc)
{
        if (rc < 0 && opening->fresh)
                os_resize_file(opening->fd, 0);
        file_unlock_opening(opening->fd);
        if (rc < 0)
                os_close(opening->shown);
        os_close(opening->fd);
}
