/* pass.c - maps in memory that other processes have too
 *
 * SPDX-License-Identifier: MIT
 *
 * New ones, those that are given to us, and what we give.
 */
#include "map/header.h"
#include "map/map.h"

#include <errno.h>
#include <string.h>

/* The most that a name in a lane's owner has room for. */
enum { SLOTS_MAX = 4095, UNWRITABLE = AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE };

/* Whether this machine, and this library, can have shared maps at all. */
static bool is_possible(void)
{
        return ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2 && os_slot_word() != 0;
}

static int unsupported(int rc)
{
        return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
}

/* --- New ones --- */

/* Memory that nobody makes shorter, or what else the seals say. */
static int sealed_memory(const char *name, uint64_t size, unsigned seals)
{
        int fd = os_memory(name, size), rc;

        if (fd < 0)
                return unsupported(fd);
        rc = os_add_seals(fd, seals);
        if (rc < 0)
                os_close(fd);
        return rc < 0 ? rc : fd;
}

static int new_shared(struct ammap **made, uint64_t size, const ammap_options_t *options)
{
        struct format_head head;
        int fd, rc;

        if (!is_possible())
                return AMMAP_ERR_UNSUPPORTED;
        header_fill(&head, size, options, FORMAT_SLOTS);
        fd = sealed_memory(options->name, head.data + region_pages(size), AMMAP_SEAL_SHRINK);
        if (fd < 0)
                return fd;
        rc = shared_make(made, fd, &head, options, SHARED_WRITE | SHARED_FRESH);
        if (rc < 0)
                os_close(fd);
        return rc;
}

int share_new(struct ammap **made, uint64_t size, const ammap_options_t *options)
{
        int fd;

        if (options->share != AMMAP_RAW)
                return new_shared(made, size, options);
        fd = sealed_memory(options->name, size, AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW);
        return fd < 0 ? fd : share_raw(made, fd, options);
}

/* --- What others give us --- */

/* Something behind a descriptor, and what may be done to it. */
struct found {
        int fd;
        struct os_file file;
        unsigned seals;
};

/* Seals first: what they say of the size holds for the size that is read then. */
static int look_at(int fd, struct found *found)
{
        int seals = os_seals(fd), rc = os_file(fd, &found->file);

        if (rc < 0)
                return unsupported(rc);
        if (!found->file.regular)
                return AMMAP_ERR_FORMAT;
        if (seals < 0 && seals != -EINVAL)
                return unsupported(seals);
        found->fd = fd;
        found->seals = seals < 0 ? 0 : (unsigned)seals; /* nothing that can be sealed */
        return os_is_huge(fd) ? AMMAP_ERR_UNSUPPORTED : 0;
}

/* The kernel may refuse to map it writable all the same: it has been sealed, or
 * stands where nothing is to be written. */
static bool is_refused(int rc)
{
        return rc == -EPERM || rc == -EACCES;
}

/* Bytes that go by a lock, which raw maps have not. */
static bool has_header(int fd)
{
        unsigned char magic[sizeof(((struct format_head *)0)->magic)];

        return os_read_at(fd, 0, magic, sizeof magic) == 0 && memcmp(magic, FORMAT_MAGIC, sizeof magic) == 0;
}

static int make_raw(struct ammap **made, const struct found *found, const ammap_options_t *options)
{
        struct backing backing = { .fd = found->fd, .write = found->file.write && !(found->seals & UNWRITABLE) };
        ammap_options_t known = *options;
        int rc = map_check_options(found->file.size, &known);

        if (rc < 0)
                return rc;
        if (has_header(found->fd))
                return AMMAP_ERR_FORMAT;
        rc = map_make(made, &kind_raw, found->file.size, &known, &backing);
        if (backing.write && is_refused(rc)) {
                backing.write = false;
                rc = map_make(made, &kind_raw, found->file.size, &known, &backing);
        }
        if (rc < 0)
                return rc;
        (*made)->may_fault = !(found->seals & AMMAP_SEAL_SHRINK);
        (*made)->faults = options->allow_faults;
        (*made)->fast_path_ok = (*made)->lanes == 1 && !(*made)->may_fault;
        map_link(*made);
        return 0;
}

int share_raw(struct ammap **made, int fd, const ammap_options_t *options)
{
        struct found found;
        int rc = look_at(fd, &found);

        if (rc == 0)
                rc = make_raw(made, &found, options);
        if (rc < 0)
                os_close(fd);
        return rc;
}

/* Whether a header is one of ours, and does not lie about its numbers; options
 * then have them. */
static bool is_ours(const struct format_head *head, uint64_t size, ammap_options_t *options)
{
        uint64_t length = atomic_load(&head->length);

        if (!header_is_known(head) || head->lock_word != os_slot_word() || head->page != os_page_size() ||
            head->lanes == 0 || head->capacity == 0 || head->slots == 0 || head->slots > SLOTS_MAX)
                return false;
        options->lanes = head->lanes;
        options->capacity = head->capacity;
        if (map_check_options(length, options) < 0)
                return false;
        return head->data == format_data(head->lanes, head->slots, head->page) &&
               size >= head->data + region_pages(length);
}

static int import_shared(struct ammap **made, const struct found *found, const ammap_options_t *options)
{
        ammap_options_t known = *options;
        struct format_head head;
        struct os_file file;
        bool write;
        int rc;

        if (!is_possible())
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_read_at(found->fd, 0, &head, sizeof head);
        if (rc == 0)
                rc = os_file(found->fd, &file); /* after the length, which may have grown, and the memory before it */
        if (rc != 0)
                return rc == -ENODATA ? AMMAP_ERR_FORMAT : rc;
        if (!is_ours(&head, file.size, &known))
                return AMMAP_ERR_FORMAT;
        if ((options->lanes && options->lanes != known.lanes) ||
            (options->capacity && options->capacity != known.capacity))
                return AMMAP_ERR_INVALID;
        write = found->file.write && !(found->seals & UNWRITABLE);
        rc = shared_make(made, found->fd, &head, &known, write ? SHARED_WRITE : 0);
        if (write && is_refused(rc))
                rc = shared_make(made, found->fd, &head, &known, 0);
        return rc;
}

/* Take a descriptor, also on an error.  What others can make shorter is a file,
 * in memory or not. */
static int adopt(struct ammap **made, int fd, const ammap_options_t *options)
{
        struct found found;
        int rc = look_at(fd, &found);
        bool sealed = rc == 0 && (found.seals & AMMAP_SEAL_SHRINK);

        if (rc == 0 && !sealed && !options->allow_faults)
                rc = AMMAP_ERR_UNSEALED;
        if (rc == 0 && options->share != AMMAP_RAW && !sealed)
                return file_make(made, fd, NULL, 0, options);
        if (rc == 0)
                rc = options->share == AMMAP_RAW ? make_raw(made, &found, options)
                                                 : import_shared(made, &found, options);
        if (rc < 0)
                os_close(fd);
        return rc;
}

/* What can be said of options before there is anything to compare them with. */
static int read_options(const ammap_options_t *options, ammap_options_t *known)
{
        ammap_options_t trial;
        int rc = map_read_options(options, known);

        if (rc < 0)
                return rc;
        if (known->share == AMMAP_PRIVATE)
                known->share = AMMAP_SHARED;
        trial = *known;
        trial.capacity = AMMAP_LANES_MAX;
        return map_check_options(AMMAP_LANES_MAX, &trial);
}

int ammap_import(ammap_t **map, int fd, const ammap_options_t *options)
{
        ammap_options_t known;
        int rc, own;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = read_options(options, &known)) < 0 || (rc = map_start()) < 0)
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
        if ((rc = read_options(options, &known)) < 0 || (rc = map_start()) < 0)
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
        if (map->backing.own || atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_is_file(map->backing.fd, map->backing.device, map->backing.inode);
        return rc > 0 ? 0 : rc == 0 ? AMMAP_ERR_FAULT : rc;
}

int ammap_fd(const ammap_t *map)
{
        int rc = check_given(map);

        return rc < 0 ? rc : map->backing.fd;
}

/* -EINVAL: there is nothing to seal, or the kernel does not know the seal; -EPERM:
 * what was sealed so since, or is from birth, as files in memory are. */
static int add_seals(ammap_t *map, unsigned seals)
{
        int rc = map->kind->sealable ? os_add_seals(map->backing.fd, seals) : AMMAP_ERR_UNSUPPORTED;
        int found = rc < 0 ? os_seals(map->backing.fd) : 0;

        if ((rc == -EINVAL && found < 0) || (rc == -EPERM && found == AMMAP_SEAL_SEAL))
                return AMMAP_ERR_UNSUPPORTED;
        return rc;
}

/* That it is sealed against new writers is what keeps it from being written; that
 * it is not open to be written, only that nobody tries. */
static int export_read(ammap_t *map)
{
        int rc = os_seals(map->backing.fd), fd;

        if (rc < 0 || !map->kind->sealable || !(rc & UNWRITABLE))
                rc = add_seals(map, AMMAP_SEAL_FUTURE_WRITE);
        if (rc < 0)
                return rc;
        fd = os_reopen(map->backing.fd, false);
        return fd == -ENOSYS ? os_dup(map->backing.fd) : fd;
}

static int export_write(ammap_t *map)
{
        int seals = map->kind->sealable ? os_seals(map->backing.fd) : 0;

        if (map->read_only || map_frozen(map) || (seals > 0 && ((unsigned)seals & UNWRITABLE)))
                return AMMAP_ERR_READ_ONLY;
        return os_dup(map->backing.fd);
}

int ammap_export(ammap_t *map, unsigned rights, int *fd)
{
        int rc;

        if (!fd)
                return AMMAP_ERR_INVALID;
        *fd = -1;
        if (!map || (rights != AMMAP_READ && rights != (AMMAP_READ | AMMAP_WRITE)))
                return AMMAP_ERR_INVALID;
        if ((rc = check_given(map)) < 0)
                return rc;
        rc = rights & AMMAP_WRITE ? export_write(map) : export_read(map);
        if (rc < 0)
                return rc;
        *fd = rc;
        return 0;
}

int ammap_send(ammap_t *map, int socket)
{
        int rc = check_given(map);

        return rc < 0 ? rc : os_send(socket, map->backing.fd);
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
