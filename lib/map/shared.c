/* shared.c - maps that several processes lock by words in their memory
 *
 * SPDX-License-Identifier: MIT
 *
 * The header and the data of a shared map are two mappings of one descriptor.  Who
 * may not write has both to be read only, and it is the kernel that keeps to that.
 *
 * The memory is sealed against being cut; or it is a file, whose users have said that they
 * take the risk (allow_faults).  A file also outlives all who have it (shared_run.c).
 */
#include "map/shared.h"

#include "lock/file_lock.h"
#include "lock/shared_holders.h"
#include "lock/shared_run.h"
#include "lock/shared_shrink.h"
#include "map/clone.h"
#include "map/header.h"
#include "map/shared_copy.h"
#include "map/span.h"
#include "map/views.h"
#include "map/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What map->shared is the first part of. */
struct share {
        struct shared shared;
        uint64_t pid_space; /* the PID namespace that this process's slots count in */
        struct share *left; /* see forked */
};

/* --- Handles --- */

static void set_parts(struct shared *shared, void *header, uint32_t lanes, uint32_t slots)
{
        unsigned char *bytes = header;

        shared->head = header;
        shared->lane = format_first_lane(shared->head);
        shared->record = (void *)(bytes + format_slots(lanes));
        shared->page = os_page_size();
        shared->pages = bytes + format_pages(lanes, slots, (uint32_t)shared->page);
        shared->lanes = lanes;
        shared->slots = slots;
}

/* How many bytes of data there are in so much memory. */
static uint64_t room_in(const struct format_head *head, uint64_t size)
{
        uint64_t room = size > head->data ? size - head->data : 0;

        return room < head->capacity ? room : head->capacity;
}

/* How a map is to be had. */
enum {
        TO_WRITE = 1,
        FRESH = 2,   /* it is not there yet */
        IN_FILE = 4, /* in memory that can be cut, and outlives the run of the machine */
        NEW_RUN = 8, /* and nobody has it open: what its lock says does not count any more */
};

/* Whether this process may write a map that counts threads in that namespace: it
 * must be its own.  A map that names none is of a process that did not know; only
 * this process and what it forks are where that one was.
 * Two who do not know where they are need not be in the same place. */
static bool is_near(uint64_t pid_space, const struct os_file *file, unsigned how)
{
        if (how & FRESH)
                return true;
        if (how & NEW_RUN)
                return how & TO_WRITE; /* it makes them mean something */
        return pid_space ? pid_space == os_pid_space() : handle_any_writes(file->device, file->inode);
}

/* Map the header of a descriptor, whose numbers have been checked. */
static int share_begin(struct share **begun, int fd, const struct format_head *head, unsigned how)
{
        struct share *share = calloc(1, sizeof *share);
        const size_t size = (size_t)format_data(head->lanes, head->slots, head->page);
        struct os_file file;
        void *header = NULL;
        bool near, write;
        int rc;

        if (!share)
                return -ENOMEM;
        if ((rc = os_file(fd, &file)) < 0) {
                free(share);
                return rc;
        }
        write = how & TO_WRITE;
        near = is_near(head->pid_space, &file, how);
        rc = os_map_file_anywhere(&header, size, fd, 0, write && near ? OS_WRITE : OS_READ);
        if (rc < 0) {
                free(share);
                return rc;
        }
        set_parts(&share->shared, header, head->lanes, head->slots);
        os_nodump(share->shared.pages, (size_t)head->slots * share->shared.page); /* a dump would make all present */
        share->shared.fd = fd;
        share->shared.writable = write && near;
        share->shared.ids_count = near;
        share->shared.in_file = how & IN_FILE;
        share->shared.old_run = (how & NEW_RUN) && !share->shared.writable;
        share->shared.device = file.device;
        share->shared.inode = file.inode;
        atomic_init(&share->shared.room, room_in(head, file.size));
        share->pid_space = head->pid_space;
        *begun = share;
        return 0;
}

static void unmap_header(struct share *share)
{
        os_unmap(share->shared.head, shared_head_size(&share->shared));
}

static void end_handle(struct ammap *map)
{
        struct share *share = (struct share *)map->shared;

        if (!share) /* a fork left it out */
                return;
        handle_detach(&share->shared);
        unmap_header(share);
        free(share);
}

/* Who does not know, in the child, is told by its parent's number, which is 0 for a
 * parent elsewhere. */
static bool is_still_near(uint64_t pid_space)
{
        uint64_t space = pid_space ? os_pid_space() : 0;

        return space ? space == pid_space : os_parent_is_near();
}

/* The child of a fork into another PID namespace is as strange to the others as
 * one that has come from there.  Where the memory is left out the header is, too;
 * what is left of the handle is kept, for a child that came without the fork
 * handlers may find malloc locked. */
static void forked(struct ammap *map)
{
        static struct share *left_out;
        struct share *share = (struct share *)map->shared;

        if (!share) /* the parent was such a child, too */
                return;
        if (map->region.fork == AMMAP_FORK_OMIT) {
                handle_detach(&share->shared);
                unmap_header(share);
                share->left = left_out;
                left_out = share;
                map->shared = NULL;
                map->shared_path_ok = false;
        } else if (share->shared.ids_count && !is_still_near(share->pid_space)) {
                share->shared.ids_count = false;
                if (!map->read_only)
                        map->why_read_only = AMMAP_WHY_PID_NAMESPACE;
                share->shared.writable = false;
                map->read_only = true;
        }
}

/* --- How much of it there is --------------------------------------------------
 *
 * The memory grows with the map, before the new length stands in the header, and
 * all of the capacity is mapped.  A length that goes beyond what a process has seen
 * of the memory makes it look again; and what it finds is what it goes by.
 */

static uint64_t note_room(const struct ammap *map, uint64_t size)
{
        uint64_t room = size - map_backing(map)->offset, known = map_room(map);

        if (room > map->capacity)
                room = map->capacity;
        if (atomic_load(&map->shared->frozen) == SHARED_FROZEN && room > atomic_load(&map->shared->last))
                room = atomic_load(&map->shared->last);
        while (known < room && !atomic_compare_exchange_weak(&map->shared->room, &known, room)) {
        }
        return known < room ? room : known;
}

static uint64_t look_for_room(const struct ammap *map)
{
        struct os_file file;

        return map_room(map) < map->capacity && backing_look(map_backing(map), &file) == 0 ? note_room(map, file.size)
                                                                                           : map_room(map);
}

/* Whoever else makes it longer meanwhile must not make this one fail. */
static int grow_memory(struct ammap *map, uint64_t length)
{
        uint64_t size = map_backing(map)->offset + region_pages(length);
        struct os_file file;
        int rc = backing_look(map_backing(map), &file);

        if (rc == 0 && file.size < size) {
                int refused = os_resize_file(map_backing(map)->fd, size);

                if ((rc = backing_look(map_backing(map), &file)) == 0 && file.size < size)
                        rc = refused;
        }
        if (rc == 0)
                note_room(map, file.size);
        return rc;
}

static uint64_t length_of(const struct ammap *map)
{
        uint64_t length, room;

        if (!map->shared)
                return 0;
        if (shared_frozen(map->shared))
                length = atomic_load(&map->shared->last);
        else
                length = atomic_load_explicit(&map->shared->head->length, memory_order_acquire);
        room = map_room(map);
        if (length > room)
                room = look_for_room(map);
        return length < room ? length : room;
}

/* --- Resizing --- */

static void set_length(struct ammap *map, uint64_t size)
{
        atomic_store_explicit(&map->shared->head->length, size, memory_order_release);
        atomic_fetch_add(&map->shared->head->generation, 1);
}

/* The lanes that it takes bytes from are odd meanwhile, as the one of the length
 * is, so that what a death leaves half done is seen. */
static int shrink(struct ammap *map, uint64_t length, uint64_t size, struct slot *slot)
{
        /* With the lane that slices of no bytes at the end are in. */
        struct lane_range lanes = { (uint32_t)map_lane_index(map, size), (uint32_t)map_lane_index(map, length) };
        int rc;

        mutex_lock(&map->joint_views->mutex);
        rc = views_reach(map, size) ? AMMAP_ERR_BUSY : shared_shrink(map->shared, slot, lanes, size + 1);
        if (rc == 0) {
                set_length(map, size);
                region_cut(&map->region, (size_t)size, (size_t)look_for_room(map));
                shared_shrink_leave(map->shared, lanes);
        }
        mutex_unlock(&map->joint_views->mutex);
        return rc;
}

static int resize(struct ammap *map, uint64_t size)
{
        uint64_t length;
        struct slot *slot;
        int rc;

        if (map_frozen(map))
                return AMMAP_ERR_READ_ONLY;
        if ((rc = shared_write(map->shared, map->shared->lanes, LANE_FOR_EVER, &slot)) < 0)
                return rc;
        length = length_of(map);
        if (size < length) {
                rc = shrink(map, length, size, slot);
        } else if (size > length) {
                rc = grow_memory(map, size);
                if (rc == 0) {
                        map_drop_old(map, length, size);
                        region_note_cut(&map->region, region_pages(length));
                        rc = region_grow(&map->region, region_pages(size));
                }
                if (rc == 0)
                        set_length(map, size);
        }
        shared_write_leave(map->shared, map->shared->lanes, slot);
        return rc;
}

/* --- Who is in --- */

static bool is_held(struct ammap *map)
{
        return map->shared && handle_is_held(map->shared);
}

static uint64_t slices(const struct ammap *map)
{
        return handle_slices(map->shared);
}

static uint64_t slots(const struct ammap *map, uint64_t *max)
{
        *max = map->shared->slots;
        return slots_taken(map->shared);
}

/* The writer of the length that died may have been about to cut it. */
static void mend_length(void *context)
{
        struct ammap *map = context;

        if (!map->region.frozen)
                region_cut(&map->region, (size_t)length_of(map), (size_t)look_for_room(map));
}

static int recover(struct ammap *map)
{
        uint32_t lanes = map->shared->lanes;
        int rc;

        map_lock(map); /* region_cut's */
        rc = shared_recover(map->shared, lanes, mend_length, map);
        map_unlock(map);
        for (uint32_t lane = 0; lane < lanes && rc == 0; lane++)
                rc = shared_recover(map->shared, lane, NULL, NULL);
        return rc;
}

/* --- Freezing --- */

static bool is_frozen(struct ammap *map)
{
        if (!atomic_load(&map->frozen) && map->shared && shared_frozen(map->shared))
                atomic_store(&map->frozen, true);
        return atomic_load(&map->frozen);
}

/* The pages were frozen before. */
static bool freeze_holds(const struct ammap *map)
{
        return atomic_load(&map->shared->frozen) == SHARED_FROZEN;
}

static void freeze_forked(struct ammap *map)
{
        if (atomic_load(&map->frozen))
                handle_learn_frozen(map->shared);
        else
                handle_freeze_cancel(map->shared);
}

/* All that the header tells of lanes counts as long as the map is not frozen. */
static void holders(struct ammap *map, struct lane_range lanes, struct holders *list)
{
        (void)lanes, (void)is_frozen(map);
        shared_holders(map->shared, list);
}

static struct lane_range all_lanes(const struct shared *shared)
{
        return (struct lane_range){ 0, shared->lanes - 1 };
}

/* The length, then all lanes, as a shrink takes them: who has the length waits for
 * no slice.  So one of these is waited for without it. */
static int take_all(struct ammap *map, struct slot **slot)
{
        struct shared *shared = map->shared;
        const struct request request = {
                .lanes = all_lanes(shared), .access = WRITE, .use = HOLD_COPY, .deadline = LANE_FOR_EVER
        };
        struct shared_hold *hold;

        for (;;) {
                int rc;

                map_lock(map);
                rc = shared_write(shared, shared->lanes, LANE_FOR_EVER, slot);
                if (rc == 0) {
                        rc = shared_shrink(shared, *slot, request.lanes, 0);
                        if (rc == 0)
                                return 0;
                        shared_write_leave(shared, shared->lanes, *slot);
                }
                map_unlock(map);
                if (rc != AMMAP_ERR_BUSY)
                        return rc;
                rc = shared_enter(shared, &request, &hold);
                if (rc < 0)
                        return rc;
                shared_leave(hold, HOLD_COPY);
        }
}

/* Under the mutex of the views: none is made by another handle in between. */
static int freeze_pages(struct ammap *map)
{
        int rc = map_freeze_pages(map);

        if (rc == 0) {
                handle_learn_frozen(map->shared);
                atomic_store(&map->shared->head->frozen, 1);
        }
        return rc;
}

/* Others look at the flag whenever they have entered to write.  The seal is for
 * those who come later, and the kernel may not know it. */
static int freeze(struct ammap *map)
{
        struct shared *shared = map->shared;
        struct slot *slot;
        int rc;

        if (is_frozen(map))
                return 0;
        if (map->read_only)
                return AMMAP_ERR_READ_ONLY;
        rc = take_all(map, &slot);
        if (rc < 0)
                return rc;
        rc = handle_freeze_begin(shared);
        if (rc == 0 && (rc = map_freeze(map, freeze_pages)) < 0)
                handle_freeze_cancel(shared);
        if (rc == 0)
                backing_seal(map_backing(map), AMMAP_SEAL_FUTURE_WRITE);
        shared_shrink_leave(shared, all_lanes(shared));
        shared_write_leave(shared, shared->lanes, slot);
        map_unlock(map);
        return rc;
}

/* --- Cloning --- */

static int copy(struct ammap *map, uint64_t length, struct ammap **made)
{
        const ammap_options_t options = map_options(map);
        int rc = length ? shared_make(made, length, &options) : AMMAP_ERR_SIZE;

        if (rc == 0)
                region_copy((*made)->base, &map->region, (size_t)length);
        return rc;
}

/* The same for one who cannot keep writers out: until none came by. */
static int copy_unentered(struct ammap *map, struct ammap **made)
{
        const int64_t deadline = os_now() + WAITER_PATIENCE;
        struct shared *shared = map->shared;
        const struct lane_range lanes = { 0, shared->lanes }; /* and the length's */
        uint64_t sequence;
        int rc = 0;

        for (unsigned looks = 0; rc == 0; looks++) {
                if (shared_read_begin(shared, lanes, &sequence)) {
                        rc = copy(map, length_of(map), made);
                        if (rc < 0 || shared_read_valid(shared, lanes, sequence))
                                return rc;
                        map_destroy(*made);
                        *made = NULL;
                }
                rc = shared_look_again(shared, lanes, looks, deadline);
        }
        return rc;
}

static int clone_map(struct ammap *map, clone_copy *to_private, struct ammap **made)
{
        if (is_frozen(map)) {
                uint64_t length = length_of(map);

                return length ? to_private(map, length, made) : AMMAP_ERR_SIZE; /* who wrote that lies */
        }
        if (map->read_only)
                return copy_unentered(map, made);
        return clone_locked(map, copy, made);
}

static const struct kind kind_shared = {
        .name = "shared",
        .share = AMMAP_SHARED,
        .joint = true,
        .sealable = true,
        .needs_write_to_lock = true,
        .read = shared_read,
        .write = shared_update,
        .enter = span_enter_shared,
        .length = length_of,
        .refresh = map_no_refresh,
        .frozen = is_frozen,
        .is_held = is_held,
        .slices = slices,
        .holders = holders,
        .slots = slots,
        .resize = resize,
        .freeze = freeze,
        .recover = recover,
        .clone = clone_map,
        .writes = watch_shared_writes,
        .watch = watch_shared,
        .keeps_out = watch_keeps_out_shared,
        .thread_left = map_no_thread_left,
        .freeze_holds = freeze_holds,
        .freeze_forked = freeze_forked,
        .forked = forked,
        .end = end_handle,
};

/* --- Making one, and finding one --- */

/* Whether this machine, and this library, can have shared maps at all. */
bool shared_is_possible(void)
{
        return ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2 && os_slot_word() != 0;
}

/* The map of a checked header. */
static int make(struct ammap **made, int fd, const struct format_head *head, const ammap_options_t *options,
                unsigned how)
{
        struct recipe recipe = { .kind = &kind_shared,
                                 .size = head->length,
                                 .options = options,
                                 .backing = { .fd = fd, .offset = head->data } };
        struct share *share;
        int rc = share_begin(&share, fd, head, how);

        if (rc < 0)
                return rc;
        recipe.shared = &share->shared;
        recipe.backing.device = share->shared.device;
        recipe.backing.inode = share->shared.inode;
        recipe.backing.write = share->shared.writable;
        if ((rc = map_make(made, &recipe)) < 0) {
                unmap_header(share);
                free(share);
                return rc;
        }
        if ((how & TO_WRITE) && !share->shared.writable)
                (*made)->why_read_only = AMMAP_WHY_PID_NAMESPACE;
        if ((how & FRESH) && !(how & IN_FILE))
                memcpy(share->shared.head, head, sizeof *head);
        if ((how & NEW_RUN) && share->shared.writable)
                shared_run_begin(&share->shared);
        handle_attach(&share->shared);
        map_link(*made);
        return 0;
}

int shared_make(struct ammap **made, uint64_t size, const ammap_options_t *options)
{
        struct format_head head;
        int fd, rc;

        if (!shared_is_possible())
                return AMMAP_ERR_UNSUPPORTED;
        header_fill(&head, size, options, FORMAT_SLOTS);
        fd = backing_memory(options->name, head.data + region_pages(size), AMMAP_SEAL_SHRINK);
        if (fd < 0)
                return fd;
        rc = make(made, fd, &head, options, TO_WRITE | FRESH);
        if (rc < 0)
                os_close(fd);
        return rc;
}

int shared_import(struct ammap **made, const struct found *found, const ammap_options_t *options)
{
        ammap_options_t known = *options;
        struct format_head head;
        struct os_file file;
        int rc;

        if (!shared_is_possible())
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_read_at(found->fd, 0, &head, sizeof head);
        if (rc == 0)
                rc = os_file(found->fd, &file); /* after the length, which may have grown, and the memory before it */
        if (rc != 0)
                return rc == -ENODATA ? AMMAP_ERR_FORMAT : rc;
        if (!header_is_shared(&head, file.size))
                return AMMAP_ERR_FORMAT;
        header_options(&head, &known);
        if ((options->lanes && options->lanes != known.lanes) ||
            (options->capacity && options->capacity != known.capacity))
                return AMMAP_ERR_INVALID;
        rc = make(made, found->fd, &head, &known, found->file.write ? TO_WRITE : 0);
        return found->file.write && found_is_refused(rc) ? make(made, found->fd, &head, &known, 0) : rc;
}

/* Whether all whose names the lock has are gone: with the run of the machine, or with a PID
 * namespace that nobody is left of. */
static bool is_new_run(const struct opening *opening)
{
        uint64_t pid_space = opening->head.pid_space;

        if (opening->fresh)
                return false;
        return slot_run_is_over(&opening->head) ||
               (!(pid_space && pid_space == os_pid_space()) && file_in_use(opening->fd) == 0);
}

int shared_adopt(struct ammap **made, const struct opening *opening, const ammap_options_t *options)
{
        unsigned how = IN_FILE | (opening->there.write ? TO_WRITE : 0) | (opening->fresh ? FRESH : 0);
        struct format_head head = opening->head;
        ammap_options_t known = *options;
        int rc;

        if (!shared_is_possible())
                return AMMAP_ERR_UNSUPPORTED;
        header_options(&head, &known);
        if (is_new_run(opening)) {
                how |= NEW_RUN;
                if (opening->there.write)
                        head.pid_space = os_pid_space();
        }
        rc = file_use(opening->shown);
        return rc < 0 ? rc : make(made, opening->shown, &head, &known, how);
}
