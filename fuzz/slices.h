/* slices.h - slices: taken, released, downgraded, detached; threads that end with them
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SLICES_H
#define SLICES_H

#include "step.h"
#include "worker.h"

/* --- Slices ------------------------------------------------------------------------------ */

static struct verdict judge_slice(enum actor actor, const struct handle *handle, struct range range, bool write,
                                  enum patience patience)
{
        struct verdict verdict = { .count = 0 };
        const struct hold *beside;
        struct lanes lanes;

        because(&verdict, !in_map(handle, range.offset, range.length), AMMAP_ERR_BOUNDS);
        if (verdict.count > 0)
                return verdict;
        lanes = lanes_of(handle, range.offset, range.length);
        because(&verdict, handle->may_fault && !handle->faults, AMMAP_ERR_UNSUPPORTED);
        if (write)
                because(&verdict, !may_write(handle), AMMAP_ERR_READ_ONLY);
        because(&verdict, has_words(handle->kind) && handle->read_only && !is_frozen(handle), AMMAP_ERR_UNSUPPORTED);
        because(&verdict, !write && has_words(handle->kind) && find_place(actor, handle, lanes, &beside) == PLACES,
                AMMAP_ERR_LIMIT);
        judge_lanes(&verdict, actor, handle, lanes, write, patience);
        return verdict;
}

static void check_slice(const struct hold *hold, const unsigned char *data, size_t length)
{
        MUST(data && length == hold->length, "a slice of %zu bytes, not %llu", length,
             (unsigned long long)hold->length);
        MUST(memcmp(data, hold->handle->memory->bytes + hold->offset, length) == 0, "a slice of other bytes");
}

static void do_slice(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        enum patience patience = (enum patience)take_below(step->input, PATIENCES);
        struct hold *hold = new_hold();
        ammap_slice_t slice;
        struct verdict verdict;
        struct range range;
        int rc;

        if (!handle || !hold)
                return;
        range = take_range(step->input, handle);
        verdict = judge_slice(step->actor, handle, range, false, patience);
        if (verdict.waits)
                verdict = judge_slice(step->actor, handle, range, false, patience = TRIES);
        memset(&slice, 0x5a, sizeof(slice));
        if (patience == TRIES)
                rc = ammap_try_as_slice(handle->map, range.offset, range.length, &slice);
        else if (patience == TIMED)
                rc = ammap_timed_as_slice(handle->map, range.offset, range.length,
                                          take_timeout(step->input, verdict.count > 0), &slice);
        else
                rc = ammap_as_slice(handle->map, range.offset, range.length, &slice);
        JUDGE(&verdict, rc, "as_slice");
        if (rc < 0) {
                MUST(is_zeros(&slice, sizeof(slice)), "something in a slice that there is not");
                return;
        }
        note_hold(hold, step->actor, handle, range.offset, range.length, false);
        hold->slice = slice;
        check_slice(hold, slice.data, slice.length);
}

static void do_mut_slice(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        enum patience patience = (enum patience)take_below(step->input, PATIENCES + 1);
        struct hold *hold = new_hold();
        ammap_mut_slice_t mut;
        bool recovers = patience == PATIENCES, died = false;
        struct verdict verdict;
        struct range range;
        int rc;

        if (!handle || !hold)
                return;
        if (recovers)
                patience = WAITS;
        range = take_range(step->input, handle);
        verdict = judge_slice(step->actor, handle, range, true, patience);
        if (verdict.waits) {
                recovers = false;
                verdict = judge_slice(step->actor, handle, range, true, patience = TRIES);
        }
        memset(&mut, 0x5a, sizeof(mut));
        if (recovers) {
                struct verdict living = { .count = 0, .free = verdict.free };

                for (unsigned i = 0; i < verdict.count; i++)
                        because(&living, verdict.code[i] != AMMAP_ERR_OWNER_DEAD, verdict.code[i]);
                rc = ammap_recover_as_mut_slice(handle->map, range.offset, range.length, &mut);
                if (rc == 1) {
                        died = true;
                        rc = 0;
                }
                JUDGE(&living, rc, "recover_as_mut_slice");
                if (rc == 0)
                        MUST(died == any_dead(handle->lock, lanes_of(handle, range.offset, range.length)),
                             "a writer had died, or had not");
        } else {
                if (patience == TRIES)
                        rc = ammap_try_as_mut_slice(handle->map, range.offset, range.length, &mut);
                else if (patience == TIMED)
                        rc = ammap_timed_as_mut_slice(handle->map, range.offset, range.length,
                                                      take_timeout(step->input, verdict.count > 0), &mut);
                else
                        rc = ammap_as_mut_slice(handle->map, range.offset, range.length, &mut);
                JUDGE(&verdict, rc, "as_mut_slice");
        }
        if (rc < 0) {
                MUST(is_zeros(&mut, sizeof(mut)), "something in a slice that there is not");
                return;
        }
        note_hold(hold, step->actor, handle, range.offset, range.length, true);
        hold->mut = mut;
        check_slice(hold, mut.data, mut.length);
        for (uint64_t i = hold->lanes.first; i <= hold->lanes.last; i++) {
                hold->handle->lock->maybe += hold->handle->lock->dead[i];
                hold->handle->lock->dead[i] = false;
        }
}

/* Store something through a mut slice. */
static void store(struct step *step, struct hold *hold)
{
        unsigned char byte = take_byte(step->input);

        if (!hold->write || hold->length == 0)
                return;
        memset(hold->mut.data + hold->length / 2, byte, (hold->length + 1) / 2);
        memset(hold->handle->memory->bytes + hold->offset + hold->length / 2, byte, (hold->length + 1) / 2);
}

static void note_left(struct hold *hold)
{
        if (hold->write) {
                note_write(hold->handle->lock, hold->lanes);
                if (hold->length == 0)
                        hold->handle->lock->maybe++;
        }
        hold->handle = NULL;
}

static void release(struct hold *hold)
{
        int rc;

        if (hold->write) {
                check_slice(hold, hold->mut.data, hold->mut.length);
                rc = ammap_mut_slice_release(&hold->mut);
                MUST(rc == 0 && is_zeros(&hold->mut, sizeof(hold->mut)), "a mut slice is not released: %d", rc);
                MUST(ammap_mut_slice_release(&hold->mut) == 0, "once more");
        } else {
                check_slice(hold, hold->slice.data, hold->slice.length);
                rc = ammap_slice_release(&hold->slice);
                MUST(rc == 0 && is_zeros(&hold->slice, sizeof(hold->slice)), "a slice is not released: %d", rc);
                MUST(ammap_slice_release(&hold->slice) == 0, "once more");
        }
        note_left(hold);
}

static void do_release(struct step *step)
{
        struct hold *hold = take_hold(step->input);

        if (!hold)
                return;
        store(step, hold);
        if (hold->owner == PROCESS || hold->owner == step->actor) {
                release(hold);
                return;
        }
        /* Another thread's. */
        MUST((hold->write ? ammap_mut_slice_release(&hold->mut) : ammap_slice_release(&hold->slice)) ==
                     AMMAP_ERR_INVALID,
             "another thread's slice is released");
        MUST((hold->write ? (const void *)hold->mut.data : hold->slice.data) != NULL, "and the structure changed");
}

static void do_downgrade(struct step *step)
{
        struct hold *hold = take_hold(step->input);
        struct verdict verdict = { .count = 0 };
        const struct hold *beside;
        ammap_slice_t slice;
        int rc;

        if (!hold || !hold->write)
                return;
        store(step, hold);
        because(&verdict, hold->owner != step->actor, AMMAP_ERR_INVALID);
        if (verdict.count == 0 && has_words(hold->handle->kind))
                because(&verdict, find_place(step->actor, hold->handle, (struct lanes){ 0, LANES }, &beside) == PLACES,
                        AMMAP_ERR_LIMIT);
        memset(&slice, 0x5a, sizeof(slice));
        rc = ammap_mut_slice_downgrade(&hold->mut, &slice);
        JUDGE(&verdict, rc, "downgrade");
        if (rc < 0) {
                MUST(is_zeros(&slice, sizeof(slice)) && hold->mut.data, "something in a slice that there is not");
                return;
        }
        MUST(is_zeros(&hold->mut, sizeof(hold->mut)), "the mut slice stays");
        note_write(hold->handle->lock, hold->lanes);
        if (hold->length == 0)
                hold->handle->lock->maybe++;
        /* It has a place of its own. */
        hold->place = has_words(hold->handle->kind)
                              ? find_place(step->actor, hold->handle, (struct lanes){ 0, LANES }, &beside)
                              : 0;
        hold->write = false;
        hold->slice = slice;
        check_slice(hold, slice.data, slice.length);
}

static void do_detach(struct step *step)
{
        struct hold *hold = take_hold(step->input);
        struct verdict verdict = { .count = 0 };
        int rc;

        if (!hold)
                return;
        because(&verdict, hold->owner != PROCESS && hold->owner != step->actor, AMMAP_ERR_INVALID);
        /* What the memory cannot be written through any more the process cannot open again. */
        because(&verdict,
                verdict.count == 0 && hold->owner != PROCESS && has_words(hold->handle->kind) &&
                        (hold->handle->memory->seals & AMMAP_SEAL_FUTURE_WRITE) && !is_frozen(hold->handle),
                AMMAP_ERR_UNSUPPORTED);
        verdict.free = has_code(&verdict, AMMAP_ERR_UNSUPPORTED);
        rc = hold->write ? ammap_mut_slice_detach(&hold->mut) : ammap_slice_detach(&hold->slice);
        JUDGE(&verdict, rc, "detach");
        if (rc < 0 || hold->owner == PROCESS)
                return;
        for (unsigned i = 0; i < HOLDS; i++) { /* a longer one of the process's may be beside it now */
                const struct hold *other = &model.hold[i];

                if (other != hold && other->handle == hold->handle && other->owner == PROCESS && !other->write &&
                    !hold->write && has_words(hold->handle->kind)) {
                        if (other->wide.first < hold->wide.first)
                                hold->wide.first = other->wide.first;
                        if (other->wide.last > hold->wide.last)
                                hold->wide.last = other->wide.last;
                        if (other->reach > hold->reach)
                                hold->reach = other->reach;
                }
        }
        hold->owner = PROCESS;
}

/* --- A thread that ends --------------------------------------------------------------------- */

struct passing {
        struct handle *handle;
        struct range range;
        bool write;
        struct verdict verdict;
};

static void *pass_away(void *context)
{
        struct passing *passing = context;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        int rc;

        if (passing->write)
                rc = ammap_try_as_mut_slice(passing->handle->map, passing->range.offset, passing->range.length, &mut);
        else
                rc = ammap_try_as_slice(passing->handle->map, passing->range.offset, passing->range.length, &slice);
        JUDGE(&passing->verdict, rc, "a slice of a thread that ends");
        if (rc == 0 && passing->write) {
                struct lanes lanes = lanes_of(passing->handle, passing->range.offset, passing->range.length);

                for (uint64_t i = lanes.first; i <= lanes.last; i++)
                        passing->handle->lock->dead[i] = true;
                passing->handle->lock->maybe++;
        }
        return NULL;
}

static void do_pass_away(struct step *step)
{
        struct passing passing = { .handle = take_handle(step->input), .write = take_bool(step->input) };

        if (!passing.handle)
                return;
        passing.range = take_range(step->input, passing.handle);
        /* No actor has what it has. */
        passing.verdict = judge_slice((enum actor)(PROCESS + 1), passing.handle, passing.range, passing.write, TRIES);
        on_passing_thread(pass_away, &passing);
}

static void do_recover(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        struct verdict verdict = { .count = 0 };
        bool any;
        int rc;

        if (!handle)
                return;
        any = any_dead(handle->lock, (struct lanes){ 0, handle->lock->lanes - 1 });
        because(&verdict, handle->read_only, AMMAP_ERR_READ_ONLY);
        verdict.free = !any;
        rc = ammap_recover(handle->map);
        JUDGE(&verdict, rc, "recover");
        for (uint64_t i = 0; i < handle->lock->lanes && rc == 0; i++) {
                handle->lock->writes[i] += handle->lock->dead[i];
                handle->lock->dead[i] = false;
        }
}

#endif /* SLICES_H */
