/* file.c - maps in files
 *
 * SPDX-License-Identifier: MIT
 *
 * What stands in a file before the data is what stands before that of any shared
 * map, without slots (format.h); the lock is another one (file_lock.c).
 *
 * The header is mapped, but touched by os_peek and os_poke only, and so is the
 * data, unless the caller takes the risk (allow_faults): whoever may write the
 * file may cut it short (AMMAP_ERR_FAULT), and the disk may be full (-ENOSPC); but
 * the header has its room from the start, so that what stands there can always be
 * changed.  Once the map is open nothing is written in any other way, which could make
 * the file longer again.
 */
#include "map/file.h"

#include "lock/file_holders.h"
#include "lock/file_lock.h"
#include "lock/file_twins.h"
#include "map/clone.h"
#include "map/header.h"
#include "map/local.h"
#include "map/opening.h"
#include "map/options.h"
#include "map/span.h"
#include "map/transfer.h"
#include "map/views.h"
#include "map/watch.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHRINK_WAIT INT64_C(1000000000) /* ns */
#define LENGTH_WAIT INT64_C(10000000000)

/* --- Its length --- */

/* From an offset of the map to another: what the file has of it, rather than all that
 * it could have. */
static int zero_data(struct ammap *map, uint64_t from, uint64_t end)
{
        const uint64_t shift = map_backing(map)->offset;
        uint64_t first, last;
        size_t done;
        int rc = 0;

        for (; rc == 0 && from < end; from = last - shift) {
                if ((rc = os_next_data(map->file->fd, shift + from, &first, &last)) < 0 || first >= last ||
                    first >= shift + end)
                        break;
                if (last > shift + end)
                        last = shift + end;
                rc = region_zero_careful(&map->region, (size_t)(first - shift), (size_t)(last - shift), &done);
        }
        return rc;
}

static int zero_rest(void *context)
{
        struct ammap *map = context;
        int rc = file_refresh(map->file);

        if (rc == 0)
                rc = zero_data(map, atomic_load(&map->length), map->region.size);
        return rc == AMMAP_ERR_FAULT ? 0 : rc;
}

/* Locked ones cannot be given back.  Where there is no memory to note that they are not locked any more, or nothing was
 * noted, they are unlocked all the same. */
static void forget_pages(struct region *region, size_t used)
{
        if (used >= region->used)
                return;
        if (!region->locked || region_unlock(region, used, region->used) < 0)
                os_unlock(region->data + used, region->used - used);
        region->used = used;
}

/* What has been stored behind the length, through a view elsewhere or by an old pointer,
 * is not to be there. */
static int grow(struct ammap *map, uint64_t size)
{
        int rc = zero_data(map, atomic_load(&map->length), region_pages(size));
        size_t used;

        region_note_cut(&map->region, region_pages(atomic_load(&map->length)));
        used = map->region.used;
        if (rc == AMMAP_ERR_FAULT) /* it was cut there, and has nothing */
                rc = 0;
        if (rc == 0)
                rc = region_grow(&map->region, region_pages(size));
        if (rc == 0 && (rc = file_set_length(map->file, size)) < 0) {
                forget_pages(&map->region, used);
                map->region.used = used;
        }
        return rc;
}

/* All who could be in these lanes are kept out.  What dies from here on has made
 * the map shorter, and leaves its bytes to be made zero. */
static int shrink_entered(struct ammap *map, uint64_t size, uint64_t length)
{
        size_t done;
        int rc;

        mutex_lock(&map->joint_views->mutex);
        rc = views_reach(map, size) ? AMMAP_ERR_BUSY : file_mark_length(map->file, true);
        if (rc == 0 && (rc = file_set_length(map->file, size)) < 0)
                file_mark_length(map->file, false);
        mutex_unlock(&map->joint_views->mutex);
        if (rc < 0)
                return rc;
        if (map->region.used < region_pages(length)) /* it has grown by another handle */
                map->region.used = region_pages(length);
        forget_pages(&map->region, region_pages(size));
        rc = region_zero_careful(&map->region, (size_t)size, (size_t)length, &done);
        if (rc == 0 || rc == AMMAP_ERR_FAULT)
                file_mark_length(map->file, false); /* else there is something to recover */
        return 0;
}

/* A slice that ends before the new length, but in a lane that gets shorter, or one of
 * another process, which cannot be told from a copy, is waited for, but not for ever. */
static int shrink(struct ammap *map, uint64_t size, uint64_t length)
{
        const struct request request = { .lanes = { (uint32_t)map_lane_index(map, size),
                                                    (uint32_t)map_lane_index(map, length - 1) },
                                         .access = WRITE,
                                         .use = HOLD_COPY,
                                         .deadline = os_now() + SHRINK_WAIT };
        span_t span;
        int rc;

        while (thread_reach(map->lane, map->lane + map->lanes, size) == REACH_SLICE)
                if (!thread_bury(map->lane, map->lane + map->lanes))
                        return AMMAP_ERR_BUSY;
        rc = span_enter_file(map, &request, &span);
        if (rc == 0) {
                rc = shrink_entered(map, size, length);
                span_leave_any(&span, HOLD_COPY);
        }
        return rc == AMMAP_ERR_TIMEOUT || rc == AMMAP_ERR_DEADLOCK ? AMMAP_ERR_BUSY : rc;
}

static int resize(struct ammap *map, uint64_t size)
{
        uint64_t length;
        int rc;

        os_fork_check();
        if (map->file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        if (!map->file->write || file_frozen(map->file))
                return AMMAP_ERR_READ_ONLY;
        if ((rc = file_enter_length(map->file, os_now() + LENGTH_WAIT)) < 0)
                return rc == AMMAP_ERR_OWNER_DEAD && !file_is_same(map->file) ? AMMAP_ERR_FORMAT : rc;
        rc = file_refresh(map->file);
        length = atomic_load(&map->length);
        if (rc == 0 && atomic_load(&map->frozen))
                rc = AMMAP_ERR_READ_ONLY;
        if (rc == 0 && size > length)
                rc = grow(map, size);
        else if (rc == 0 && size < length)
                rc = shrink(map, size, length);
        file_leave_length(map->file);
        return rc;
}

/* --- Freezing --- */

/* The flag is what holds, whatever becomes of the pages. */
static int freeze_file(struct ammap *map)
{
        int rc = file_set_frozen(map->file);

        if (rc == 0)
                region_freeze(&map->region);
        return rc;
}

/* Whoever makes it longer or shorter does so no more, for a moment. */
static int wait_for_resizes(struct ammap *map)
{
        int rc;

        map_lock(map);
        rc = file_enter_length(map->file, os_now() + LENGTH_WAIT);
        if (rc == 0)
                file_leave_length(map->file);
        map_unlock(map);
        return rc;
}

/* All lanes to write, and then the length, which is not waited for the while: who cuts the map has it, and waits for
 * the lanes. */
static int take_all(struct ammap *map, span_t *span)
{
        const struct request all = {
                .lanes = { 0, (uint32_t)map->lanes - 1 }, .access = WRITE, .use = HOLD_COPY, .deadline = LANE_FOR_EVER
        };
        int rc;

        while ((rc = span_enter_file(map, &all, span)) == 0) {
                rc = AMMAP_ERR_BUSY;
                if (mutex_try(&map->resizing)) {
                        rc = file_enter_length(map->file, LANE_TRY);
                        if (rc == 0)
                                return 0;
                        map_unlock(map);
                }
                span_leave_any(span, HOLD_COPY);
                if (rc == AMMAP_ERR_BUSY)
                        rc = wait_for_resizes(map);
                if (rc < 0)
                        return rc;
        }
        return rc;
}

static int freeze(struct ammap *map)
{
        span_t span;
        int rc;

        if (file_frozen(map->file))
                return 0;
        if ((rc = take_all(map, &span)) < 0)
                return rc == AMMAP_ERR_READ_ONLY && file_frozen(map->file) ? 0 : rc;
        rc = map_freeze(map, freeze_file);
        file_leave_length(map->file);
        map_unlock(map);
        span_leave_any(&span, HOLD_COPY);
        return rc;
}

/* --- Forks --- */

/* What stands in for the lanes of slices that a fork has made void. */
static struct file no_file = { .fd = -1 };
static const struct kind kind_file;
static struct ammap no_map = { .file = &no_file, .kind = &kind_file };
static struct lane void_lane = { .map = &no_map };

/* Nobody holds a lane any more.  A hold that slices name is kept for them, or it
 * would be another's when they are released. */
static void forget(struct ammap *map)
{
        struct lane *end = map->lane + map->lanes;

        for (struct hold *hold = NULL; (hold = thread_hold_next(map->lane, end, hold));) {
                if ((atomic_load(&hold->use) & ~HOLD_KIND) != HOLD_SLICE) {
                        hold_drop(hold);
                        continue;
                }
                atomic_store(&hold->use, HOLD_COUNTED | HOLD_SLICE);
                hold->rest = NULL;
                atomic_fetch_add(&void_lane.word, LANE_READER);
                atomic_store(&hold->lane, &void_lane);
        }
        for (struct lane *lane = map->lane; lane < end; lane++) {
                lane_forked(lane, false); /* which was told of frozen before */
                lane_recover(lane);
        }
}

static void forked(struct ammap *map)
{
        bool left_out = map->region.fork == AMMAP_FORK_OMIT;

        forget(map);
        file_forked(map->file, left_out ? -1 : map_backing(map)->fd);
        if (!left_out && map->file->fd < 0)
                region_leave_out(&map->region);
}

/* --- Copies --- */

static int read_file(struct ammap *map, uint64_t offset, void *buffer, size_t length, int64_t deadline)
{
        if (length <= FILE_UNLOCKED_MAX && map_has(map, offset, length)) {
                const struct lane_range lanes = map_lanes(map, offset, length);

                if (lanes.first == lanes.last &&
                    file_read_unlocked(map->file, lanes.first, map_backing(map)->data + offset, buffer, length))
                        return 0;
        }
        return transfer_read(map, offset, buffer, length, deadline);
}

static int write_file(struct ammap *map, uint64_t offset, const void *data, size_t length, int64_t deadline)
{
        struct os_piece bytes = { NULL, data, length };
        struct request request = span_request(map, offset, length, WRITE);
        size_t done = 0;
        span_t span;
        int rc;

        if (request.lanes.first != request.lanes.last)
                return transfer_write(map, offset, data, length, deadline);
        request.deadline = deadline;
        request.unmarked = true;
        if ((rc = span_take(map, &request, &span)) < 0)
                return rc;
        bytes.to = map_backing(map)->data + offset; /* there is no such place before that has been looked at */
        rc = file_write_unmarked(map->file, request.lanes.first, &bytes);
        if (rc == 0)
                rc = transfer_in(map, offset, data, length, &done);
        span_leave_written(&span, rc, done);
        return rc < 0 ? rc : 0;
}

/* --- The kind --- */

static uint64_t length_of(const struct ammap *map)
{
        file_refresh(map->file);
        return local_length(map);
}

/* Of this process, to the others. */
static void thread_left(struct ammap *map, uint64_t lane, enum access access)
{
        if (access == WRITE)
                file_abandon(map->file, lane);
        else
                file_leave(map->file, one_lane((uint32_t)lane), READ);
}

static void holders(struct ammap *map, struct lane_range lanes, struct holders *list)
{
        thread_bury(map->lane, map->lane + map->lanes);
        file_holders(map->file, lanes, list);
}

static int refresh(struct ammap *map)
{
        return file_refresh(map->file);
}

static bool frozen(struct ammap *map)
{
        return file_frozen(map->file);
}

/* There is a length to be mended, where the writer that died was about to cut it. */
static int recover(struct ammap *map)
{
        return file_recover(map->file, zero_rest, map);
}

static void end_file(struct ammap *map)
{
        file_end(map->file);
}

static const struct kind kind_file = {
        .name = "file",
        .share = AMMAP_SHARED,
        .joint = true,
        .read = read_file,
        .write = write_file,
        .enter = span_enter_file,
        .length = length_of,
        .refresh = refresh,
        .frozen = frozen,
        .is_held = local_is_held,
        .slices = local_slices,
        .holders = holders,
        .slots = map_no_slots,
        .resize = resize,
        .freeze = freeze,
        .recover = recover,
        .clone = clone_locked,
        .writes = watch_file_writes,
        .watch = watch_file,
        .keeps_out = watch_keeps_out_file,
        .thread_left = thread_left,
        .freeze_holds = map_never,
        .freeze_forked = map_nothing,
        .forked = forked,
        .end = end_file,
};

/* --- Making one --- */

static int new_file(struct file **made, const struct opening *opening)
{
        const struct format_head *head = &opening->head;
        struct file *file = calloc(1, sizeof *file + head->lanes * sizeof file->lane[0]);
        void *header = NULL;
        int rc;

        if (!file)
                return -ENOMEM;
        file->fd = -1;
        file->write = opening->there.write;
        file->device = opening->there.device;
        file->inode = opening->there.inode;
        memcpy(file->identity, head->identity, sizeof file->identity);
        file->head_size = region_pages(format_slots(head->lanes));
        rc = os_map_file_anywhere(&header, file->head_size, opening->shown, 0, file->write ? OS_WRITE : OS_READ);
        if (rc < 0) {
                free(file);
                return rc;
        }
        file->head = header;
        pthread_mutex_init(&file->mutex, NULL);
        *made = file;
        return 0;
}

static void drop(struct file *file)
{
        os_unmap(file->head, file->head_size);
        pthread_mutex_destroy(&file->mutex);
        free(file);
}

/* What the file has to know of its map. */
static void begin(struct ammap *map, const struct format_head *head)
{
        struct file *file = map->file;

        file->local = map->lane;
        file->lanes = map->lanes;
        file->capacity = map->capacity;
        file->length = &map->length;
        file->frozen = &map->frozen;
        atomic_store(&map->frozen, atomic_load(&head->frozen) != 0);
}

int file_open(struct ammap **made, struct opening *opening, const ammap_options_t *options)
{
        const struct format_head *head = &opening->head;
        uint64_t length = atomic_load(&head->length);
        ammap_options_t known = *options;
        struct recipe recipe = {
                .kind = &kind_file,
                .size = length,
                .options = &known,
                .backing = { .fd = opening->shown,
                             .device = opening->there.device,
                             .inode = opening->there.inode,
                             .offset = head->data,
                             .write = opening->there.write },
                .may_fault = true,
        };
        struct file *file;
        int rc;

        header_options(head, &known);
        if ((rc = options_check(length, &known)) < 0 || (rc = new_file(&file, opening)) < 0)
                return rc;
        recipe.file = file;
        if ((rc = map_make(made, &recipe)) < 0) {
                drop(file);
                return rc;
        }
        begin(*made, head);
        if ((rc = file_link(file, opening->path, opening->shown)) < 0) {
                map_unmake(*made);
                *made = NULL;
                drop(file);
                return unsupported(rc);
        }
        map_link(*made);
        return 0;
}
