/* lane.c - which lane a byte lies in, and who holds it
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/holders.h"
#include "map/map.h"
#include "map/views.h"

#include <string.h>

/* Of lanes in a row, as much as a map of that length has. */
static uint64_t lane_bytes(const ammap_t *map, struct lane_range lanes, uint64_t length, uint64_t *begin)
{
        uint64_t end = ((uint64_t)lanes.last + 1) * map->lane_size;

        *begin = lanes.first * map->lane_size;
        if (end > length)
                end = length;
        return end > *begin ? end - *begin : 0;
}

int ammap_lane(const ammap_t *map, uint64_t offset, uint64_t *begin, uint64_t *length)
{
        uint64_t size;
        int rc;

        if (begin)
                *begin = 0;
        if (length)
                *length = 0;
        if (!map || !begin || !length)
                return AMMAP_ERR_INVALID;
        if ((rc = map_look(map->lane[0].map, offset, 1)) < 0)
                return rc;
        if ((size = ammap_len(map)) <= offset) /* it has become shorter */
                return AMMAP_ERR_BOUNDS;
        *length = lane_bytes(map, one_lane((uint32_t)map_lane_index(map, offset)), size, begin);
        return 0;
}

/* --- Who holds them --- */

/* What is asked for, and where to. */
struct question {
        ammap_t *map;
        uint64_t offset, end;
        ammap_holder_t *holders;
        size_t count, found;
};

static void answer(struct question *question, const ammap_holder_t *holder)
{
        if (question->found < question->count)
                question->holders[question->found] = *holder;
        question->found++;
}

static void answer_lanes(struct question *question, const struct holders *list)
{
        const struct lane_range asked = map_lanes(question->map, question->offset, question->end - question->offset);
        const uint64_t length = ammap_len(question->map);

        for (size_t i = 0; i < list->count; i++) {
                const struct holder *from = &list->at[i];
                ammap_holder_t holder = { .pid = (int32_t)from->process,
                                          .tid = (int32_t)from->thread,
                                          .hold = from->hold };

                if (from->lanes.first > asked.last || from->lanes.last < asked.first)
                        continue;
                holder.length = lane_bytes(question->map, from->lanes, length, &holder.offset);
                answer(question, &holder);
        }
}

/* Also one of no bytes: it pins the map, too. */
static bool is_asked(const struct question *question, const struct view *view)
{
        if (view->begin == view->end)
                return view->begin >= question->offset && view->begin <= question->end;
        return view->begin < question->end && view->end > question->offset;
}

static void answer_views(struct question *question)
{
        struct views *views = question->map->joint_views;

        mutex_lock(&views->mutex);
        for (const struct view *view = views->first; view; view = view->next) {
                const ammap_holder_t holder = { .pid = (int32_t)os_process(),
                                                .offset = view->begin,
                                                .length = view->end - view->begin,
                                                .hold = AMMAP_HOLD_VIEW };

                if (is_asked(question, view))
                        answer(question, &holder);
        }
        mutex_unlock(&views->mutex);
}

static int ask(struct question *question)
{
        ammap_t *map = question->map;
        struct holders list = { .rc = 0 };

        map->kind->holders(map, map_lanes(map, question->offset, question->end - question->offset), &list);
        if (list.rc == 0) {
                holders_merge(&list);
                answer_lanes(question, &list);
                answer_views(question);
        }
        holders_end(&list);
        return list.rc;
}

int ammap_holders(ammap_t *map, uint64_t offset, uint64_t length, ammap_holder_t *holders, size_t count)
{
        struct question question = {
                .map = map, .offset = offset, .end = offset + length, .holders = holders, .count = count
        };
        int rc = AMMAP_ERR_INVALID;

        if (map && (holders || count == 0) && (rc = map_look(map, offset, length)) == 0)
                rc = ask(&question);
        if (rc < 0 && holders)
                memset(holders, 0, count * sizeof *holders);
        return rc < 0 ? rc : (int)question.found;
}
