/* words.h - views and words; what is told of a map
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WORDS_H
#define WORDS_H

#include "step.h"

#include <limits.h>

/* --- Views and words ------------------------------------------------------------------ */

static void do_view(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        uint64_t size = take_bool(step->input) ? 8 : 4, offset, count;
        struct verdict verdict = { .count = 0 };
        struct view *view = NULL;
        int rc;

        for (unsigned i = 0; i < VIEWS && !view; i++)
                if (!model.view[i].handle)
                        view = &model.view[i];
        if (!handle || !view)
                return;
        offset = take_extent(step->input, handle->memory->length);
        if (take_bool(step->input))
                offset &= ~(size - 1);
        count = take_byte(step->input) % 4 ? 1 : take_extent(step->input, handle->memory->length / size);
        because(&verdict, offset % size != 0, AMMAP_ERR_MISALIGNED);
        because(&verdict, verdict.count == 0 && (count > UINT64_MAX / size || !in_map(handle, offset, count * size)),
                AMMAP_ERR_BOUNDS);
        if (verdict.count == 0) {
                because(&verdict, handle->may_fault && !handle->faults, AMMAP_ERR_UNSUPPORTED);
                because(&verdict, is_frozen(handle), AMMAP_ERR_READ_ONLY);
                because(&verdict, handle->read_only && !is_frozen(handle),
                        has_words(handle->kind) ? AMMAP_ERR_UNSUPPORTED : AMMAP_ERR_READ_ONLY);
        }
        memset(&view->u32, 0x5a, sizeof(view->u32));
        memset(&view->u64, 0x5a, sizeof(view->u64));
        if (size == 4)
                rc = count == 1 ? ammap_atomic_u32(handle->map, offset, &view->u32)
                                : ammap_atomic_u32_slice(handle->map, offset, count, &view->u32);
        else
                rc = count == 1 ? ammap_atomic_u64(handle->map, offset, &view->u64)
                                : ammap_atomic_u64_slice(handle->map, offset, count, &view->u64);
        JUDGE(&verdict, rc, "a view");
        if (rc < 0) {
                MUST(size == 4 ? is_zeros(&view->u32, sizeof(view->u32)) : is_zeros(&view->u64, sizeof(view->u64)),
                     "something in a view that there is not");
                return;
        }
        view->handle = handle;
        view->begin = offset;
        view->count = count;
        view->size = size;
        MUST((size == 4 ? view->u32.count : view->u64.count) == count, "of another count");
}

static void release_view(struct view *view)
{
        if (view->size == 4)
                ammap_u32_view_release(&view->u32);
        else
                ammap_u64_view_release(&view->u64);
        MUST(view->size == 4 ? is_zeros(&view->u32, sizeof(view->u32)) : is_zeros(&view->u64, sizeof(view->u64)),
             "a released view has something");
        view->handle = NULL;
}

static void do_view_use(struct step *step)
{
        struct view *view = &model.view[take_below(step->input, VIEWS)];
        bool releases = take_bool(step->input);
        uint64_t value = take_number(step->input, 2) * UINT64_C(0x0001000100010001), found, at;

        if (!view->handle)
                return;
        if (view->count > 0) {
                at = view->count - 1;
                found = 0;
                memcpy(&found, view->handle->memory->bytes + view->begin + at * view->size, view->size);
                if (view->size == 4) {
                        MUST(atomic_exchange(&view->u32.value[at], (uint32_t)value) == (uint32_t)found, "another word");
                } else {
                        MUST(atomic_exchange(&view->u64.value[at], value) == found, "another word");
                }
                memcpy(view->handle->memory->bytes + view->begin + at * view->size, &value, view->size);
                compare(view->handle);
        }
        if (releases)
                release_view(view);
}

static struct verdict judge_word(const struct handle *handle, uint64_t offset, uint64_t size)
{
        struct verdict verdict = { .count = 0 };

        because(&verdict, offset % size != 0, AMMAP_ERR_MISALIGNED);
        because(&verdict, verdict.count == 0 && !in_map(handle, offset, size), AMMAP_ERR_BOUNDS);
        return verdict;
}

static void do_load(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        uint64_t size = take_bool(step->input) ? 8 : 4, offset, wide = 1, wanted = 0;
        struct verdict verdict;
        uint32_t narrow = 1;
        int rc;

        if (!handle)
                return;
        offset = take_extent(step->input, handle->memory->length);
        if (take_bool(step->input))
                offset &= ~(size - 1);
        verdict = judge_word(handle, offset, size);
        rc = size == 4 ? ammap_load_u32(handle->map, offset, &narrow) : ammap_load_u64(handle->map, offset, &wide);
        JUDGE(&verdict, rc, "load");
        if (rc == 0)
                memcpy(&wanted, handle->memory->bytes + offset, size);
        MUST(size == 4 ? narrow == (uint32_t)wanted : wide == wanted, "another word is loaded");
}

static void do_wait_word(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        uint8_t how = take_byte(step->input) % 4;
        bool differs = take_bool(step->input);
        uint32_t value = 0;
        struct verdict verdict;
        uint64_t offset;
        int rc;

        if (!handle)
                return;
        offset = take_extent(step->input, handle->memory->length);
        if (take_bool(step->input))
                offset &= ~UINT64_C(3);
        verdict = judge_word(handle, offset, 4);
        if (verdict.count == 0)
                memcpy(&value, handle->memory->bytes + offset, 4);
        if (how == 0) {
                int count = (int)take_below(step->input, 5) - 1;

                if (count < 0)
                        verdict = (struct verdict){ .code = { AMMAP_ERR_INVALID }, .count = 1 };
                rc = ammap_wake_u32(handle->map, offset, count);
                JUDGE(&verdict, rc, "wake_u32");
                return;
        }
        if (verdict.count == 0 && !differs) {
                because(&verdict, true, how == 3 ? AMMAP_ERR_OWNER_DEAD : AMMAP_ERR_TIMEOUT);
                verdict.free = how != 3;
        }
        if (how == 1) {
                rc = ammap_wait_u32(handle->map, offset, value + differs, differs ? -1 : 0);
        } else {
                /* No process has the last number there can be. */
                rc = ammap_wait_u32_peer(handle->map, offset, value + differs, how == 3 || differs ? -1 : 0,
                                         how == 3 ? INT32_MAX : (int32_t)getpid());
        }
        JUDGE(&verdict, rc, "wait_u32");
}

static void do_wait_change(struct step *step)
{
        struct watch *watch = &model.watch[take_below(step->input, WATCHES)];
        struct verdict verdict = { .count = 0 };
        struct lanes lanes;
        uint64_t was;
        int rc;

        if (!watch->handle || take_byte(step->input) % 4 == 0) {
                struct handle *handle = take_handle(step->input);
                struct range range;

                if (!handle)
                        return;
                range = take_range(step->input, handle);
                *watch = (struct watch){ .handle = handle, .offset = range.offset, .length = range.length };
        }
        because(&verdict, !in_map(watch->handle, watch->offset, watch->length), AMMAP_ERR_BOUNDS);
        lanes = lanes_of(watch->handle, verdict.count ? 0 : watch->offset, verdict.count ? 0 : watch->length);
        if (verdict.count == 0 && watch->generation != 0 && count_writes(watch->handle->lock, lanes) == watch->writes) {
                /* It may be that nothing is told of what was written, or that something is. */
                bool dead = any_dead(watch->handle->lock, lanes);

                because(&verdict, is_frozen(watch->handle), AMMAP_ERR_READ_ONLY);
                because(&verdict, dead, AMMAP_ERR_OWNER_DEAD);
                because(&verdict, verdict.count == 0, AMMAP_ERR_TIMEOUT);
                verdict.free = true;
        }
        was = watch->generation;
        rc = ammap_wait_change(watch->handle->map, watch->offset, watch->length, &watch->generation, 0);
        JUDGE(&verdict, rc, "wait_change");
        MUST(rc == 0 ? watch->generation != 0 : watch->generation == was, "generation %llu after %d",
             (unsigned long long)watch->generation, rc);
        if (rc == 0)
                watch->writes = count_writes(watch->handle->lock, lanes);
        if (rc == AMMAP_ERR_BOUNDS)
                watch->handle = NULL;
}

/* --- What is told of a map ------------------------------------------------------------------ */

static void do_lane(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        uint64_t offset, begin = 1, length = 1, wanted_begin = 0, end = 0;
        struct verdict verdict = { .count = 0 };
        int rc;

        if (!handle)
                return;
        offset = take_extent(step->input, handle->memory->length);
        because(&verdict, offset >= handle->memory->length, AMMAP_ERR_BOUNDS);
        rc = ammap_lane(handle->map, offset, &begin, &length);
        JUDGE(&verdict, rc, "lane");
        if (rc == 0) {
                wanted_begin = lanes_of(handle, offset, 1).first * handle->lock->lane_size;
                end = wanted_begin + handle->lock->lane_size;
                if (end > handle->memory->length)
                        end = handle->memory->length;
        }
        MUST(begin == wanted_begin && length == end - wanted_begin, "a lane at %llu of %llu bytes",
             (unsigned long long)begin, (unsigned long long)length);
}

/* Which lanes are held in a way, by the list of the model or by the answer. */
static void check_held(const struct handle *handle, struct lanes asked, const ammap_holder_t *holder, int count,
                       ammap_hold_t kind)
{
        uint64_t told = 0, certain = 0, possible = 0;

        for (int i = 0; i < count; i++)
                if (holder[i].hold == kind && holder[i].length > 0) {
                        struct lanes lanes = lanes_of(handle, holder[i].offset, holder[i].length);

                        for (uint64_t lane = lanes.first; lane <= lanes.last; lane++)
                                told |= UINT64_C(1) << lane;
                }
        for (unsigned i = 0; i < HOLDS; i++) {
                const struct hold *hold = &model.hold[i];

                if (!hold->handle || hold->handle->lock != handle->lock || hold->write != (kind == AMMAP_HOLD_WRITE) ||
                    kind == AMMAP_HOLD_DEAD)
                        continue;
                for (uint64_t lane = hold->wide.first; lane <= hold->wide.last; lane++)
                        possible |= UINT64_C(1) << lane;
                for (uint64_t lane = hold->lanes.first; lane <= hold->lanes.last; lane++)
                        certain |= UINT64_C(1) << lane;
        }
        for (uint64_t lane = 0; lane < handle->lock->lanes; lane++) {
                uint64_t bit = UINT64_C(1) << lane;

                if (kind == AMMAP_HOLD_DEAD && handle->lock->dead[lane])
                        possible |= bit, certain |= bit;
                /* A lane without a byte has no length. */
                if (lane < asked.first || lane > asked.last || lane * handle->lock->lane_size >= handle->memory->length)
                        continue;
                MUST(!(told & bit) || (possible & bit), "lane %llu is told as held, kind %d", (unsigned long long)lane,
                     kind);
                MUST((told & bit) || !(certain & bit) || (has_words(handle->kind) && is_frozen(handle)),
                     "lane %llu is not told as held, kind %d", (unsigned long long)lane, kind);
        }
}

static void do_holders(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        ammap_holder_t holder[HOLDS * LANES + VIEWS];
        struct verdict verdict = { .count = 0 };
        struct range range;
        int rc, views = 0;

        if (!handle)
                return;
        range = take_range(step->input, handle);
        because(&verdict, !in_map(handle, range.offset, range.length), AMMAP_ERR_BOUNDS);
        memset(holder, 0x5a, sizeof(holder));
        rc = ammap_holders(handle->map, range.offset, range.length, holder, COUNT_OF(holder));
        JUDGE(&verdict, rc < 0 ? rc : 0, "holders");
        if (rc < 0) {
                MUST(is_zeros(holder, sizeof(holder)), "something in holders that there are not");
                return;
        }
        MUST(rc <= (int)COUNT_OF(holder), "%d holders", rc);
        MUST(ammap_holders(handle->map, range.offset, range.length, NULL, 0) == rc, "another count");
        for (ammap_hold_t kind = AMMAP_HOLD_READ; kind <= AMMAP_HOLD_DEAD; kind = (ammap_hold_t)(kind + 1))
                check_held(handle, lanes_of(handle, range.offset, range.length), holder, rc, kind);
        for (int i = 0; i < rc; i++)
                views += holder[i].hold == AMMAP_HOLD_VIEW;
        for (unsigned i = 0; i < VIEWS; i++) {
                const struct view *view = &model.view[i];
                uint64_t end = view->begin + view->count * view->size;

                if (!view->handle || view->handle->lock != handle->lock)
                        continue;
                if (view->begin == end)
                        views -= view->begin >= range.offset && view->begin <= range.offset + range.length;
                else
                        views -= view->begin < range.offset + range.length && end > range.offset;
        }
        MUST(views == 0, "%d views too many", views);
}

static void do_stat(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        ammap_stat_t stat = AMMAP_STAT_INIT;
        char text[200];
        size_t size;
        int length;

        if (!handle)
                return;
        if (take_byte(step->input) % 4 == 0)
                stat.struct_size = take_below(step->input, sizeof(stat) + 1);
        size = stat.struct_size;
        if (size < sizeof(size)) {
                MUST(ammap_stat(handle->map, &stat) == AMMAP_ERR_INVALID, "a size of %zu", size);
                return;
        }
        MUST(ammap_stat(handle->map, &stat) == 0, "stat");
        MUST(is_zeros((unsigned char *)&stat + size, sizeof(stat) - size), "it wrote beyond");
        if (size == sizeof(stat)) {
                MUST(stat.length == handle->memory->length && stat.capacity == handle->memory->capacity, "sizes");
                MUST(stat.lanes == handle->lock->lanes && stat.lane_size == handle->lock->lane_size, "lanes");
                MUST(stat.slices == count_holds(handle), "%llu slices", (unsigned long long)stat.slices);
                MUST(stat.views == count_views(handle), "%llu views", (unsigned long long)stat.views);
                MUST(stat.frozen == is_frozen(handle) && stat.read_only == !may_write(handle), "frozen, read_only");
                MUST((stat.why_read_only == AMMAP_WHY_NOT) == may_write(handle), "why %d", stat.why_read_only);
                MUST((stat.why_read_only == AMMAP_WHY_FROZEN) == is_frozen(handle), "why %d", stat.why_read_only);
                MUST(stat.share == (handle->kind == PRIVATE ? AMMAP_PRIVATE
                                    : handle->kind == RAW   ? AMMAP_RAW
                                                            : AMMAP_SHARED),
                     "share");
        }
        memset(text, 1, sizeof(text));
        size = take_below(step->input, sizeof(text));
        length = ammap_describe(handle->map, text, size);
        MUST(length > 0 && length < (int)sizeof(text), "a text of %d", length);
        MUST(size == 0 || strlen(text) == ((size_t)length < size ? (size_t)length : size - 1), "a text cut wrongly");
        MUST(text[size] == 1, "and too long");
}

static void do_pointers(struct step *step)
{
        struct handle *handle = take_handle(step->input);
        bool hidden;

        if (!handle)
                return;
        hidden = handle->may_fault && !handle->faults;
        MUST((ammap_as_ptr(handle->map) == NULL) == hidden, "a pointer to read");
        MUST((ammap_as_mut_ptr(handle->map) == NULL) == (hidden || !may_write(handle)), "a pointer to write");
        MUST(!ammap_is_empty(handle->map), "it is empty");
        MUST(ammap_is_hugepage_backed(handle->map) <= 1, "huge pages");
}

#endif /* WORDS_H */
