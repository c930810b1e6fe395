/* calls.c - sequences of calls against a model
 *
 * SPDX-License-Identifier: MIT
 *
 * The bytes of an input are a sequence of calls on maps of all kinds, by two threads of which one
 * acts at a time.  Each code, each byte of the maps and each number told is compared with what
 * model.h says.  A call that would wait for the other thread is made with a timeout, or not at
 * all.
 */
#include "step.h"

#include <errno.h>

/* --- Life ------------------------------------------------------------------------------ */

static void adopt(ammap_t *map, struct memory *memory, uint64_t lanes, const ammap_options_t *options)
{
        struct handle *handle = note_handle(map, memory, lanes);
        uint64_t data = 0;

        handle->faults = options->allow_faults;
        handle->may_fault = handle->kind == IN_FILE || (handle->kind == RAW && !(memory->seals & AMMAP_SEAL_SHRINK));
        if (is_joint(handle->kind) && memory->data == 0) {
                MUST(pread(ammap_fd(map), &data, sizeof(data), 24) == sizeof(data), "no header");
                memory->data = data;
        }
        compare(handle);
}

static ammap_want_t take_want(struct input *input)
{
        return take_bool(input) ? AMMAP_TRY : AMMAP_NO;
}

static void do_new(struct step *step)
{
        struct input *input = step->input;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t size = take_extent(input, ROOM / 2), capacity = 0, lanes;
        ammap_t *map = (ammap_t *)&model;
        struct verdict verdict = { .count = 0 };
        enum kind kind;
        int rc;

        if (!free_handle())
                return;
        options.share = (ammap_share_t)(take_byte(input) % 8 ? take_below(input, 3) : take_below(input, 5));
        options.lanes = take_byte(input) % 16 ? take_below(input, LANES + 1) : take_extent(input, AMMAP_LANES_MAX);
        if (take_bool(input))
                capacity = options.capacity = take_extent(input, ROOM);
        options.recycle = take_want(input);
        switch (take_byte(input) % 16) {
        case 1:
                options.guard = AMMAP_TRY;
                break;
        case 2:
                options.populate = AMMAP_TRY;
                break;
        case 3:
                options.name = "fuzz";
                break;
        case 4:
                options.read_only = true;
                break;
        case 5:
                options.reserved_b = 1;
                break;
        case 6:
                options.struct_size = 7;
                break;
        case 7:
                options.guard = (ammap_want_t)3;
                break;
        case 8:
                options.noreserve = options.nodump = AMMAP_TRY;
                break;
        }
        lanes = options.lanes ? options.lanes : 1;
        capacity = capacity ? capacity : size;
        if (capacity > ROOM && capacity <= UINT64_C(1) << 47) /* more than the model has */
                return;
        if (lanes > LANES && lanes <= AMMAP_LANES_MAX)
                return;
        /* Flags come before sizes; whether lanes suit the capacity is asked after these. */
        because(&verdict,
                options.share > AMMAP_RAW || options.guard > AMMAP_MUST || options.reserved_b ||
                        options.struct_size < sizeof(size_t) || lanes > AMMAP_LANES_MAX,
                AMMAP_ERR_INVALID);
        because(&verdict, verdict.count == 0 && (size == 0 || capacity < size || capacity > UINT64_C(1) << 47),
                AMMAP_ERR_SIZE);
        because(&verdict, lanes > capacity || options.read_only || (options.share == AMMAP_RAW && capacity != size),
                AMMAP_ERR_INVALID);
        rc = ammap_new_with(&map, size, &options);
        JUDGE(&verdict, rc, "new_with");
        MUST((rc == 0) == (map != NULL), "a handle beside %d", rc);
        if (rc < 0)
                return;
        kind = options.share == AMMAP_SHARED ? SHARED : options.share == AMMAP_RAW ? RAW : PRIVATE;
        struct memory *memory = new_memory(kind, size, capacity, lanes);

        memory->seals = kind == RAW ? AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW : kind == SHARED ? AMMAP_SEAL_SHRINK : 0;
        adopt(map, memory, lanes, &options);
}

static void do_open(struct step *step)
{
        struct input *input = step->input;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned at = (unsigned)take_below(input, PATHS);
        struct memory *memory = model.path[at];
        uint64_t size = take_bool(input) ? 1 + take_below(input, 9000) : 0, lanes;
        struct verdict verdict = { .count = 0 };
        bool raw = take_byte(input) % 8 == 0, fresh;
        ammap_t *map = (ammap_t *)&model;
        int rc;

        if (!free_handle())
                return;
        options.share = raw ? AMMAP_RAW : take_bool(input) ? AMMAP_SHARED : AMMAP_PRIVATE;
        options.lanes = take_below(input, 2 * LANES) < LANES ? 0 : take_below(input, LANES + 1);
        options.allow_faults = take_bool(input);
        options.read_only = take_byte(input) % 4 == 0;
        if (take_byte(input) % 4 == 0 && size && !raw)
                options.capacity = size + take_below(input, 3000);
        lanes = options.lanes ? options.lanes : 1;
        fresh = !memory && size > 0 && !options.read_only;
        if (lanes > size && size > 0) /* what it says of a map that is there is asked first */
                return;
        because(&verdict, !memory && !fresh, -ENOENT);
        if (memory && raw)
                because(&verdict, memory->kind != RAW, AMMAP_ERR_FORMAT);
        else if (memory)
                because(&verdict, memory->kind == RAW, AMMAP_ERR_FORMAT);
        if (memory && !raw && memory->kind != RAW) {
                because(&verdict, memory->kind == WORDS_IN_FILE && !options.allow_faults, AMMAP_ERR_UNSEALED);
                because(&verdict, options.lanes && options.lanes != memory->lanes, AMMAP_ERR_INVALID);
        }
        if (memory && raw && memory->kind == RAW)
                because(&verdict, lanes > memory->length, AMMAP_ERR_INVALID);
        rc = ammap_open(&map, path_name[at], size, &options);
        JUDGE(&verdict, rc, "open");
        MUST((rc == 0) == (map != NULL), "a handle beside %d", rc);
        if (rc < 0)
                return;
        if (fresh) {
                enum kind kind = raw ? RAW : options.allow_faults ? WORDS_IN_FILE : IN_FILE;

                memory = new_memory(kind, size, options.capacity && !raw ? options.capacity : size, lanes);
                model.path[at] = memory;
        }
        memory->users++;
        adopt(map, memory, raw ? lanes : memory->lanes, &options);
        for (unsigned i = 0; i < HANDLES; i++)
                if (model.handle[i].map == map)
                        model.handle[i].read_only = model.handle[i].fd_reads = options.read_only;
}

static void do_free(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        struct verdict verdict = { .count = 0 };
        int rc;

        if (!handle)
                return;
        because(&verdict, count_holds(handle) > 0 || count_views(handle) > 0, AMMAP_ERR_BUSY);
        rc = ammap_free(handle->map);
        JUDGE(&verdict, rc, "free");
        if (rc == 0)
                drop_handle(handle);
}

static void note_resize(struct handle *handle, uint64_t size)
{
        struct memory *memory = handle->memory;

        if (size < memory->length) {
                note_write(handle->lock, lanes_of(handle, size, memory->length - size));
                memset(memory->bytes + size, 0, memory->length - size);
        } else if (size > memory->length) {
                handle->lock->maybe++;
        }
        memory->length = size;
        if ((size + 4095) / 4096 * 4096 > memory->behind)
                memory->behind = (size + 4095) / 4096 * 4096;
}

static void do_resize(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        struct verdict verdict = { .count = 0 };
        struct memory *memory;
        uint64_t size;
        int rc;

        if (!handle)
                return;
        memory = handle->memory;
        size = take_extent(step->input, take_bool(step->input) ? memory->capacity : memory->length);
        because(&verdict, size == 0 || size > memory->capacity, AMMAP_ERR_SIZE);
        if (verdict.count == 0) {
                struct lanes cut = { 1, 0 };

                because(&verdict, handle->kind == RAW, AMMAP_ERR_UNSUPPORTED);
                because(&verdict, handle->kind != RAW && !may_write(handle), AMMAP_ERR_READ_ONLY);
                if (size < memory->length) {
                        cut = lanes_of(handle, size, memory->length - size);
                        if (has_words(handle->kind)) /* with that of slices of no bytes at the end */
                                cut.last = lanes_of(handle, memory->length, 0).last;
                        because(&verdict, any_dead(handle->lock, cut), AMMAP_ERR_OWNER_DEAD);
                        because(&verdict, views_beyond(handle, size) > 0, AMMAP_ERR_BUSY);
                } else if (size > memory->length) {
                        because(&verdict,
                                has_words(handle->kind) && (memory->seals & AMMAP_SEAL_GROW) &&
                                        (size + 4095) / 4096 * 4096 > memory->behind,
                                -EPERM);
                }
                for (unsigned i = 0; i < HOLDS && size < memory->length; i++) {
                        const struct hold *hold = &model.hold[i];
                        bool beyond = hold->offset + hold->length > size, in_cut = meet(hold->wide, cut);

                        if (!hold->handle || hold->handle->lock != handle->lock)
                                continue;
                        if (handle->kind == IN_FILE && in_cut && !(beyond && hold->handle == handle))
                                return; /* it is waited for */
                        because(&verdict, beyond && !has_code(&verdict, AMMAP_ERR_BUSY), AMMAP_ERR_BUSY);
                        if (!beyond && is_joint(handle->kind) && in_cut && (hold->write || hold->reach > size)) {
                                if (!has_code(&verdict, AMMAP_ERR_BUSY)) {
                                        because(&verdict, true, AMMAP_ERR_BUSY);
                                        verdict.free = !(hold->write && meet(hold->lanes, cut));
                                }
                        }
                }
        }
        rc = ammap_resize(handle->map, size);
        JUDGE(&verdict, rc, "resize");
        if (rc == 0)
                note_resize(handle, size);
        compare(handle);
}

/* --- Copies ------------------------------------------------------------------------------ */

/* What a copy of so many bytes is to answer. */
static struct verdict judge_copy(enum actor actor, const struct handle *handle, struct range range, bool write,
                                 enum patience patience)
{
        struct verdict verdict = { .count = 0 };

        because(&verdict, !in_map(handle, range.offset, range.length), AMMAP_ERR_BOUNDS);
        if (verdict.count > 0 || range.length == 0)
                return verdict;
        because(&verdict, write && !may_write(handle), AMMAP_ERR_READ_ONLY);
        judge_lanes(&verdict, actor, handle, lanes_of(handle, range.offset, range.length), write, patience);
        return verdict;
}

static void note_copy(struct handle *handle, struct range range)
{
        if (range.length > 0)
                note_write(handle->lock, lanes_of(handle, range.offset, range.length));
}

static void do_read(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        enum patience patience = (enum patience)take_below(step->input, PATIENCES);
        struct verdict verdict;
        struct range range;
        int rc;

        if (!handle)
                return;
        range = take_range(step->input, handle);
        if (take_byte(step->input) == 255 && range.length > 0) {
                MUST(ammap_read_into(handle->map, range.offset, NULL, range.length) == AMMAP_ERR_INVALID, "NULL");
                return;
        }
        verdict = judge_copy(step->actor, handle, range, false, patience);
        if (verdict.waits)
                verdict = judge_copy(step->actor, handle, range, false, patience = TRIES);
        memset(buffer, 0xa5, sizeof(buffer));
        if (patience == TRIES)
                rc = ammap_try_read_into(handle->map, range.offset, buffer, range.length);
        else if (patience == TIMED)
                rc = ammap_timed_read_into(handle->map, range.offset, buffer, range.length,
                                           take_timeout(step->input, verdict.count > 0));
        else
                rc = ammap_read_into(handle->map, range.offset, buffer, range.length);
        JUDGE(&verdict, rc, "read_into");
        if (rc == 0)
                MUST(memcmp(buffer, handle->memory->bytes + range.offset, range.length) == 0, "other bytes were read");
        for (size_t i = rc == 0 ? range.length : rc == AMMAP_ERR_BOUNDS ? 0 : ROOM; i < sizeof(buffer); i++)
                MUST(buffer[i] == 0xa5, "byte %zu of the buffer was written", i);
}

static void do_update(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        enum patience patience = (enum patience)take_below(step->input, PATIENCES);
        struct verdict verdict;
        struct range range;
        int rc;

        if (!handle)
                return;
        range = take_range(step->input, handle);
        fill_buffer(step->input, range.length < ROOM ? range.length : 0);
        verdict = judge_copy(step->actor, handle, range, true, patience);
        if (verdict.waits)
                verdict = judge_copy(step->actor, handle, range, true, patience = TRIES);
        if (patience == TRIES)
                rc = ammap_try_update_region(handle->map, range.offset, buffer, range.length);
        else if (patience == TIMED)
                rc = ammap_timed_update_region(handle->map, range.offset, buffer, range.length,
                                               take_timeout(step->input, verdict.count > 0));
        else
                rc = ammap_update_region(handle->map, range.offset, range.length ? buffer : NULL, range.length);
        JUDGE(&verdict, rc, "update_region");
        if (rc == 0) {
                memcpy(handle->memory->bytes + range.offset, buffer, range.length);
                note_copy(handle, range);
        }
        compare(handle);
}

static void do_fill(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        bool discards = take_bool(step->input);
        unsigned char byte = take_byte(step->input);
        struct verdict verdict;
        struct range range;
        int rc;

        if (!handle)
                return;
        range = take_range(step->input, handle);
        verdict = judge_copy(step->actor, handle, range, true, WAITS);
        if (verdict.waits)
                return;
        rc = discards ? ammap_discard(handle->map, range.offset, range.length)
                      : ammap_fill(handle->map, range.offset, range.length, byte);
        JUDGE(&verdict, rc, discards ? "discard" : "fill");
        if (rc == 0) {
                memset(handle->memory->bytes + range.offset, discards ? 0 : byte, range.length);
                note_copy(handle, range);
        }
        compare(handle);
}

static void do_copy(struct step *step)
{
        struct handle *to = take_handle(step->input), *from = take_handle(step->input);
        struct verdict verdict = { .count = 0 }, source;
        uint64_t from_offset;
        struct range range;
        int rc;

        if (!to)
                return;
        range = take_range(step->input, to);
        from_offset = take_extent(step->input, from->memory->length);
        if (to->memory == from->memory && to->lock != from->lock)
                return; /* two locks of one memory: nothing is promised of ranges that overlap */
        because(&verdict, !in_map(to, range.offset, range.length) || !in_map(from, from_offset, range.length),
                AMMAP_ERR_BOUNDS);
        if (verdict.count == 0) {
                verdict = judge_copy(step->actor, to, range, true, WAITS);
                source = judge_copy(step->actor, from, (struct range){ from_offset, range.length }, false, WAITS);
                if (verdict.waits || source.waits)
                        return;
                for (unsigned i = 0; i < source.count; i++)
                        because(&verdict, !has_code(&verdict, source.code[i]), source.code[i]);
                verdict.free = verdict.free || source.free;
        }
        rc = ammap_copy(to->map, range.offset, from->map, from_offset, range.length);
        JUDGE(&verdict, rc, "copy");
        if (rc == 0) {
                memmove(to->memory->bytes + range.offset, from->memory->bytes + from_offset, range.length);
                note_copy(to, range);
        }
        compare(to);
        compare(from);
}

#include "slices.h"

#include "sharing.h"
#include "words.h"

/* --- A session ------------------------------------------------------------------------------ */

static void (*const steps[])(struct step *step) = {
        do_new,       do_new,      do_open,      do_free,    do_resize,  do_read,      do_update,      do_fill,
        do_copy,      do_slice,    do_mut_slice, do_release, do_release, do_downgrade, do_detach,      do_pass_away,
        do_recover,   do_view,     do_view_use,  do_load,    do_lane,    do_wait_word, do_wait_change, do_holders,
        do_stat,      do_pointers, do_pages,     do_freeze,  do_clone,   do_import,    do_seal,        do_nothing_right,
        do_mut_slice, do_slice,    do_update,    do_read,    do_copy,    do_resize,
};

static void make_step(void *context)
{
        struct step *step = context;

        steps[take_below(step->input, COUNT_OF(steps))](step);
}

static void release_own(void *context)
{
        const enum actor *actor = context;

        for (unsigned i = 0; i < HOLDS; i++)
                if (model.hold[i].handle && model.hold[i].owner == *actor)
                        release(&model.hold[i]);
}

static void begin(void)
{
        memset(&model, 0, sizeof(model));
        for (unsigned i = 0; i < PATHS; i++) {
                name_file(path_name[i], i);
                unlink(path_name[i]);
        }
}

static void end(void)
{
        enum actor actor = WORKER;

        compare_all();
        on_worker(release_own, &actor);
        for (actor = MAIN; actor <= PROCESS; actor = (enum actor)(actor + 2))
                release_own(&actor);
        for (unsigned i = 0; i < VIEWS; i++)
                if (model.view[i].handle)
                        release_view(&model.view[i]);
        for (unsigned i = 0; i < HANDLES; i++)
                if (model.handle[i].map) {
                        MUST(ammap_free(model.handle[i].map) == 0, "a map is not freed");
                        drop_handle(&model.handle[i]);
                }
        for (unsigned i = 0; i < PATHS; i++)
                if (model.path[i]) {
                        unlink(path_name[i]);
                        drop_memory(model.path[i]);
                }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
        struct input input = { bytes, bytes + size };

        begin();
        for (unsigned count = 0; count < 200 && !input_ended(&input); count++) {
                struct step step = { .input = &input, .actor = take_byte(&input) & 1 ? WORKER : MAIN };

                if (step.actor == WORKER)
                        on_worker(make_step, &step);
                else
                        make_step(&step);
        }
        end();
        return 0;
}
