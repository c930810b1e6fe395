/* holders.c - who holds which lanes, for one who asks
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/holders.h"

#include "lock/thread.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- The list --- */

void holders_add(struct holders *list, const struct holder *holder)
{
        if (list->count == list->room) {
                size_t room = list->room ? 2 * list->room : 16;
                struct holder *at = malloc(room * sizeof *at);

                if (!at) {
                        list->rc = -ENOMEM;
                        return;
                }
                if (list->count)
                        memcpy(at, list->at, list->count * sizeof *at);
                free(list->at);
                list->at = at;
                list->room = room;
        }
        list->at[list->count++] = *holder;
}

static bool is_same(const struct holder *a, const struct holder *b)
{
        return a->process == b->process && a->thread == b->thread && a->hold == b->hold;
}

static int order(uint32_t a, uint32_t b)
{
        return (a > b) - (a < b);
}

static int compare(const void *one, const void *other)
{
        const struct holder *a = one, *b = other;
        int rc = order(a->process, b->process);

        if (rc == 0)
                rc = order(a->thread, b->thread);
        if (rc == 0)
                rc = order((uint32_t)a->hold, (uint32_t)b->hold);
        return rc ? rc : order(a->lanes.first, b->lanes.first);
}

void holders_merge(struct holders *list)
{
        size_t kept = 0;

        if (list->count == 0)
                return;
        qsort(list->at, list->count, sizeof *list->at, compare);
        for (size_t i = 1; i < list->count; i++) {
                struct holder *last = &list->at[kept];
                const struct holder *next = &list->at[i];

                if (!is_same(last, next) || next->lanes.first > last->lanes.last + 1)
                        list->at[++kept] = *next;
                else if (next->lanes.last > last->lanes.last)
                        last->lanes.last = next->lanes.last;
        }
        list->count = kept + 1;
}

void holders_end(struct holders *list)
{
        free(list->at);
}

/* --- Between threads --- */

struct looks {
        struct lane *first;
        uint64_t *words; /* as they were at the start of lanes that somebody is in, whom no hold has told of; else 0 */
        struct holders *list;
};

/* One to read may name a lane for a moment beside its writer, by a reader that withdraws;
 * one to write is of somebody who has left where no writer is in. */
static void note_hold(struct lane *lane, uint64_t use, uint32_t thread, void *context)
{
        const struct looks *looks = context;
        const bool writes = (use & HOLD_KIND) == HOLD_WRITE;
        const uint32_t number = (uint32_t)(lane - looks->first);
        const struct holder holder = { .process = os_process(),
                                       .thread = thread,
                                       .hold = writes ? AMMAP_HOLD_WRITE : AMMAP_HOLD_READ,
                                       .lanes = one_lane(number) };

        if (!(atomic_load(&lane->word) & LANE_WRITER) == writes)
                return;
        looks->words[number] = 0;
        holders_add(looks->list, &holder);
}

/* A copy that is done in a moment is in a lane without a hold, and so is a thread on its
 * way to note one. */
static void add_unseen(const struct looks *looks, uint32_t number)
{
        const uint64_t word = looks->words[number];
        const struct holder holder = { .process = os_process(),
                                       .hold = (word & LANE_WRITER) ? AMMAP_HOLD_WRITE : AMMAP_HOLD_READ,
                                       .lanes = one_lane(number) };

        if (word && atomic_load(&looks->first[number].word) == word)
                holders_add(looks->list, &holder);
}

static void add_dead(const struct lane *lane, uint32_t number, struct holders *list)
{
        const struct holder holder = { .process = atomic_load(&lane->dead_process),
                                       .thread = atomic_load(&lane->dead_thread),
                                       .hold = AMMAP_HOLD_DEAD,
                                       .lanes = one_lane(number) };

        holders_add(list, &holder);
}

void lane_holders(struct lane *first, size_t count, struct holders *list)
{
        uint64_t *words = malloc(count * sizeof *words);
        struct looks looks = { first, words, list };

        if (!words) {
                list->rc = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < count; i++) {
                uint64_t word = atomic_load(&first[i].word);

                if (word & LANE_DEAD)
                        add_dead(&first[i], (uint32_t)i, list);
                words[i] = (word & LANE_DEAD) || !(word & (LANE_WRITER | LANE_READERS)) ? 0 : word;
        }
        thread_each(first, first + count, note_hold, &looks);
        for (size_t i = 0; i < count; i++)
                add_unseen(&looks, (uint32_t)i);
        free(words);
}
