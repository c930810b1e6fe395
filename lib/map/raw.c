/* raw.c - memory of others, or for others, without a header
 *
 * SPDX-License-Identifier: MIT
 *
 * Its length is for good, and the lock is this process's alone.
 */
#include "map/raw.h"

#include "map/header.h"
#include "map/local.h"
#include "map/options.h"

#include <string.h>

static int resize(struct ammap *map, uint64_t size)
{
        (void)map, (void)size;
        return AMMAP_ERR_UNSUPPORTED;
}

static const struct kind kind_raw = { LOCAL_KIND, .name = "raw", .share = AMMAP_RAW, .sealable = true,
                                      .resize = resize };

/* Bytes that go by a lock, which raw maps have not. */
static bool has_header(int fd)
{
        unsigned char magic[sizeof(((struct format_head *)0)->magic)];

        return os_read_at(fd, 0, magic, sizeof magic) == 0 && memcmp(magic, FORMAT_MAGIC, sizeof magic) == 0;
}

static int make(struct ammap **made, const struct found *found, const ammap_options_t *options)
{
        ammap_options_t known = *options;
        struct recipe recipe = { .kind = &kind_raw,
                                 .size = found->file.size,
                                 .options = &known,
                                 .backing = { .fd = found->fd,
                                              .device = found->file.device,
                                              .inode = found->file.inode,
                                              .write = found->file.write },
                                 .may_fault = !(found->seals & AMMAP_SEAL_SHRINK) };
        int rc = options_check(found->file.size, &known);

        if (rc < 0)
                return rc;
        if (has_header(found->fd))
                return AMMAP_ERR_FORMAT;
        rc = map_make(made, &recipe);
        if (rc == 0)
                map_link(*made);
        return rc;
}

int raw_import(struct ammap **made, const struct found *found, const ammap_options_t *options)
{
        struct found readable = *found;
        int rc = make(made, found, options);

        if (!found->file.write || !found_is_refused(rc))
                return rc;
        readable.file.write = false;
        return make(made, &readable, options);
}

/* What is behind the descriptor; it is closed on an error. */
static int take(struct ammap **made, int fd, const ammap_options_t *options,
                int (*import)(struct ammap **made, const struct found *found, const ammap_options_t *options))
{
        struct found found;
        int rc = found_look(fd, &found);

        if (rc == 0)
                rc = import(made, &found, options);
        if (rc < 0)
                os_close(fd);
        return rc;
}

int raw_adopt(struct ammap **made, int fd, const ammap_options_t *options)
{
        return take(made, fd, options, raw_import);
}

int raw_make(struct ammap **made, uint64_t size, const ammap_options_t *options)
{
        int fd = backing_memory(options->name, size, AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW);

        return fd < 0 ? fd : take(made, fd, options, make);
}
