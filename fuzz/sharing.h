/* sharing.h - pages, freeze, clone, export and import, seals
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SHARING_H
#define SHARING_H

#include "slices.h"

#include <errno.h>
#include <sys/socket.h>

/* --- Pages --- */

static void do_pages(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        unsigned how = (unsigned)take_below(step->input, 5);
        unsigned advice = (unsigned)take_below(step->input, 10);
        struct verdict verdict = { .count = 0 };
        struct range range;
        int rc;

        if (!handle)
                return;
        range = take_range(step->input, handle);
        because(&verdict, how == 1 && advice > AMMAP_ADVICE_NOHUGEPAGE, AMMAP_ERR_INVALID);
        because(&verdict, verdict.count == 0 && !in_map(handle, range.offset, range.length), AMMAP_ERR_BOUNDS);
        because(&verdict, verdict.count == 0 && how == 4 && handle->kind == PRIVATE, AMMAP_ERR_UNSUPPORTED);
        switch (how) {
        case 0:
                rc = ammap_populate(handle->map, range.offset, range.length);
                break;
        case 1:
                rc = ammap_advise(handle->map, range.offset, range.length, (ammap_advice_t)advice);
                break;
        case 2:
                rc = ammap_mlock(handle->map, range.offset, range.length);
                break;
        case 3:
                rc = ammap_munlock(handle->map, range.offset, range.length);
                break;
        default:
                rc = ammap_flush(handle->map, range.offset, range.length);
        }
        if (verdict.count > 0 || rc == 0 || rc <= AMMAP_ERR_INVALID || how == 3)
                JUDGE(&verdict, rc, "a call on pages"); /* else the system has refused, as it may */
        compare(handle);
}

/* --- Frozen, copied, shared --------------------------------------------------------------------- */

static bool is_memory(const struct memory *memory)
{
        return (memory->kind == RAW || memory->kind == SHARED) && (memory->seals & AMMAP_SEAL_SHRINK);
}

static struct lanes all_lanes(const struct handle *handle)
{
        return (struct lanes){ 0, handle->lock->lanes - 1 };
}

static void do_freeze(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        struct verdict verdict = { .count = 0 };
        bool was;
        int rc;

        if (!handle)
                return;
        was = is_frozen(handle);
        if (!was) {
                because(&verdict, handle->read_only, AMMAP_ERR_READ_ONLY);
                judge_lanes(&verdict, step->actor, handle, all_lanes(handle), true, WAITS);
                because(&verdict, any_view(handle), AMMAP_ERR_BUSY);
                if (verdict.waits)
                        return;
        }
        rc = ammap_freeze(handle->map);
        JUDGE(&verdict, rc, "freeze");
        if (rc == 0 && !was) {
                handle->lock->frozen = true;
                handle->lock->maybe++;
                if (is_memory(handle->memory) && !(handle->memory->seals & AMMAP_SEAL_SEAL))
                        handle->memory->seals |= AMMAP_SEAL_FUTURE_WRITE;
        }
        compare(handle);
}

static void do_clone(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        ammap_t *copy = (ammap_t *)&model;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct verdict verdict;
        struct memory *memory;
        enum kind kind;
        int rc;

        if (!handle || !free_handle())
                return;
        verdict = judge_copy(step->actor, handle, (struct range){ 0, handle->memory->length }, false, WAITS);
        if (verdict.waits)
                return;
        kind = has_words(handle->kind) && !is_frozen(handle) ? SHARED : PRIVATE;
        rc = ammap_clone(handle->map, &copy);
        JUDGE(&verdict, rc, "clone");
        MUST((rc == 0) == (copy != NULL), "a handle beside %d", rc);
        if (rc < 0)
                return;
        memory = new_memory(kind, handle->memory->length, handle->memory->capacity, handle->lock->lanes);
        memcpy(memory->bytes, handle->memory->bytes, memory->length);
        memory->seals = kind == SHARED ? AMMAP_SEAL_SHRINK : 0;
        options.allow_faults = handle->faults;
        adopt(copy, memory, handle->lock->lanes, &options);
}

/* Exported, or sent over a socket; and imported again. */
static int pass(struct step *step, const struct handle *handle, unsigned rights, int *fd, bool *reads)
{
        const unsigned unwritable = AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE;
        struct memory *memory = handle->memory;
        struct verdict verdict = { .count = 0 };
        int rc;

        (void)step;
        because(&verdict, rights != 1 && rights != 3 && rights != 17, AMMAP_ERR_INVALID);
        because(&verdict, verdict.count == 0 && handle->kind == PRIVATE, AMMAP_ERR_UNSUPPORTED);
        if (verdict.count == 0 && rights == 3) {
                because(&verdict, !may_write(handle) || (memory->seals & unwritable), AMMAP_ERR_READ_ONLY);
        } else if (verdict.count == 0 && rights == 1) {
                because(&verdict, !is_memory(memory), AMMAP_ERR_UNSUPPORTED);
                because(&verdict,
                        !(memory->seals & unwritable) && ((memory->seals & AMMAP_SEAL_SEAL) || handle->fd_reads),
                        -EPERM);
        }
        rc = ammap_export(handle->map, rights, fd);
        JUDGE(&verdict, rc, "export");
        MUST((rc == 0) == (*fd >= 0), "a descriptor %d", *fd);
        *reads = rights != 3;
        if (rc == 0 && rights == 1 && !(memory->seals & unwritable))
                memory->seals |= AMMAP_SEAL_FUTURE_WRITE;
        return rc;
}

static void do_import(struct step *step)
{
        struct input *input = step->input;
        struct handle *handle = take_handle(input), *made;
        static const unsigned rights[] = { 1, 3, 17, 3, 1, 3, 17, 2, 0, 19 };
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        unsigned given = rights[take_below(input, COUNT_OF(rights))];
        bool sends = take_byte(input) % 4 == 0, reads;
        struct verdict verdict = { .count = 0 };
        ammap_t *map = (ammap_t *)&model;
        struct memory *memory;
        int fd, socket[2], rc;

        if (!handle || !free_handle())
                return;
        memory = handle->memory;
        options.share = (ammap_share_t)(take_bool(input) ? take_below(input, 3)
                                                         : (memory->kind == RAW ? AMMAP_RAW : AMMAP_SHARED));
        options.read_only = take_byte(input) % 4 == 0;
        options.allow_faults = take_bool(input);
        options.lanes = take_below(input, 2 * LANES) < LANES ? 0 : take_below(input, LANES + 1);
        if (pass(step, handle, given, &fd, &reads) < 0)
                return;
        because(&verdict, !is_memory(memory) && !options.allow_faults, AMMAP_ERR_UNSEALED);
        because(&verdict, (options.share == AMMAP_RAW) != (memory->kind == RAW), AMMAP_ERR_FORMAT);
        if (options.share == AMMAP_RAW)
                because(&verdict, options.lanes > memory->length, AMMAP_ERR_INVALID);
        else
                because(&verdict, memory->kind != RAW && options.lanes && options.lanes != memory->lanes,
                        AMMAP_ERR_INVALID);
        if (sends) {
                reads = handle->fd_reads;
                MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, socket) == 0, "sockets");
                MUST(ammap_send(handle->map, socket[0]) == 0, "send");
                rc = ammap_recv(&map, socket[1], &options);
                close(socket[0]);
                close(socket[1]);
        } else {
                rc = ammap_import(&map, fd, &options);
        }
        close(fd);
        JUDGE(&verdict, rc, "import");
        MUST((rc == 0) == (map != NULL), "a handle beside %d", rc);
        if (rc < 0)
                return;
        memory->users++;
        made = free_handle();
        adopt(map, memory, options.lanes ? options.lanes : 1, &options);
        made->fd_reads = reads || options.read_only;
        made->read_only = made->fd_reads || (memory->seals & (AMMAP_SEAL_WRITE | AMMAP_SEAL_FUTURE_WRITE));
}

static void do_seal(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        unsigned seals = take_byte(step->input) & (take_byte(step->input) % 8 ? 31U : 63U);
        struct verdict verdict = { .count = 0 };
        int rc;

        if (!handle)
                return;
        because(&verdict, seals > 31, AMMAP_ERR_INVALID);
        if (verdict.count == 0 && !is_memory(handle->memory)) {
                because(&verdict, true, AMMAP_ERR_UNSUPPORTED);
                /* A file of tmpfs has that seal from the start. */
                verdict.free = (handle->kind == RAW || handle->kind == WORDS_IN_FILE) && !(seals & ~AMMAP_SEAL_SEAL);
        } else if (verdict.count == 0) {
                because(&verdict, (handle->memory->seals & AMMAP_SEAL_SEAL) || handle->fd_reads, -EPERM);
                because(&verdict, seals & AMMAP_SEAL_WRITE, -EBUSY);
                verdict.free = (seals & AMMAP_SEAL_WRITE) || (seals & ~handle->memory->seals) == 0;
        }
        rc = ammap_seal(handle->map, seals);
        JUDGE(&verdict, rc, "seal");
        if (rc == 0 && is_memory(handle->memory))
                handle->memory->seals |= seals;
}

/* --- Pointers that are NULL, and flags that there are not ------------------------------------------ */

static void do_nothing_right(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        ammap_mut_slice_t mut = { .length = 1 };
        ammap_slice_t slice = { .length = 1 };
        ammap_u32_view_t u32 = { .count = 1 };
        ammap_u64_view_t u64 = { .count = 1 };
        ammap_t *map = handle ? handle->map : NULL, *other = (ammap_t *)&model;
        uint64_t number = 1, begin = 1;
        uint32_t word = 1;
        int fd = 1;

        MUST(ammap_new(NULL, 1) == AMMAP_ERR_INVALID, "new");
        MUST(ammap_new(&other, 0) == AMMAP_ERR_SIZE && !other, "new");
        MUST(ammap_as_slice(NULL, 0, 1, &slice) == AMMAP_ERR_INVALID && is_zeros(&slice, sizeof(slice)), "as_slice");
        MUST(ammap_as_mut_slice(NULL, 0, 1, &mut) == AMMAP_ERR_INVALID && is_zeros(&mut, sizeof(mut)), "as_mut_slice");
        mut.length = 1;
        MUST(ammap_recover_as_mut_slice(NULL, 0, 1, &mut) == AMMAP_ERR_INVALID && is_zeros(&mut, sizeof(mut)),
             "recover_as_mut_slice");
        MUST(ammap_atomic_u32(NULL, 1, &u32) == AMMAP_ERR_INVALID && is_zeros(&u32, sizeof(u32)), "atomic_u32");
        MUST(ammap_atomic_u64(NULL, 1, &u64) == AMMAP_ERR_INVALID && is_zeros(&u64, sizeof(u64)), "atomic_u64");
        MUST(ammap_load_u32(NULL, 1, &word) == AMMAP_ERR_INVALID && word == 0, "load_u32");
        MUST(ammap_load_u64(NULL, 1, &number) == AMMAP_ERR_INVALID && number == 0, "load_u64");
        MUST(ammap_wait_u32(NULL, 1, 0, 0) == AMMAP_ERR_INVALID, "wait_u32");
        MUST(ammap_wake_u32(NULL, 1, 0) == AMMAP_ERR_INVALID, "wake_u32");
        MUST(ammap_len(NULL) == 0 && ammap_is_empty(NULL) && !ammap_as_ptr(NULL) && !ammap_as_mut_ptr(NULL), "len");
        MUST(ammap_export(NULL, 1, &fd) == AMMAP_ERR_INVALID && fd == -1, "export");
        MUST(ammap_import(NULL, -1, NULL) == AMMAP_ERR_INVALID, "import");
        other = (ammap_t *)&model;
        MUST(ammap_import(&other, -1, NULL) == -EBADF && !other, "import");
        other = (ammap_t *)&model;
        MUST(ammap_open(&other, NULL, 1, NULL) == AMMAP_ERR_INVALID && !other, "open");
        MUST(ammap_slice_release(NULL) == 0 && ammap_mut_slice_release(NULL) == 0, "release");
        MUST(ammap_slice_detach(NULL) == AMMAP_ERR_INVALID && ammap_slice_detach(&slice) == AMMAP_ERR_INVALID,
             "detach");
        MUST(ammap_mut_slice_downgrade(&mut, &slice) == 0 &&
                     ammap_mut_slice_downgrade(NULL, &slice) == AMMAP_ERR_INVALID,
             "downgrade");
        MUST(ammap_trim(take_byte(step->input) % 4 ? UINT64_MAX : 0) == 0, "trim");
        MUST(ammap_clone(NULL, &other) == AMMAP_ERR_INVALID && !other, "clone");
        if (!map)
                return;
        MUST(ammap_as_slice(map, 0, 1, NULL) == AMMAP_ERR_INVALID, "as_slice");
        MUST(ammap_atomic_u64(map, 0, NULL) == AMMAP_ERR_INVALID, "atomic_u64");
        MUST(ammap_update_region(map, UINT64_MAX, NULL, 1) == AMMAP_ERR_INVALID, "update_region");
        MUST(ammap_copy(map, 0, NULL, 0, 1) == AMMAP_ERR_INVALID && ammap_copy(NULL, 0, map, 0, 1) == AMMAP_ERR_INVALID,
             "copy");
        MUST(ammap_lane(map, 0, NULL, &begin) == AMMAP_ERR_INVALID && begin == 0, "lane");
        MUST(ammap_holders(map, 0, 1, NULL, 1) == AMMAP_ERR_INVALID, "holders");
        MUST(ammap_describe(map, NULL, 1) == AMMAP_ERR_INVALID, "describe");
        MUST(ammap_wait_change(map, 0, 1, NULL, 0) == AMMAP_ERR_INVALID, "wait_change");
        MUST(ammap_wait_u32_peer(map, 1, 0, 0, 0) == AMMAP_ERR_INVALID, "wait_u32_peer");
        MUST(ammap_clone(map, NULL) == AMMAP_ERR_INVALID, "clone");
        if (handle->kind == PRIVATE)
                MUST(ammap_fd(map) == AMMAP_ERR_UNSUPPORTED, "fd");
        else
                MUST(ammap_fd(map) >= 3, "fd");
}

#endif /* SHARING_H */
