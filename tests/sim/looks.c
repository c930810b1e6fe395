/* looks.c - who holds lanes, by the library's account; and copies of whole maps
 *
 * SPDX-License-Identifier: MIT
 */
#include "draw.h"

#include <string.h>

/* --- Holders --- */

enum { FIRST_PROCESS = 100, FIRST_THREAD = 1000, HOLDERS_MAX = 32 }; /* as os.c has them */

static bool lanes_meet(struct range a, struct range b)
{
        return a.map == b.map && a.first / WORDS <= (b.first + b.count - 1) / WORDS &&
               b.first / WORDS <= (a.first + a.count - 1) / WORDS;
}

/* What a slice has that was there before and after the look. */
struct seen {
        struct held held;
        unsigned thread;
        bool is;
};

/* Readers of a shared map that is frozen stand in nobody's way, and no other process knows of them; of those
 * in a file none knows who they are. */
static bool is_told(unsigned t, const struct held *held)
{
        const struct model_map *map = &model_map[held->range.map];

        return thread[t].process == current->process || map->place == PRIVATE ||
               (map->place == SHARED && !map->freezing);
}

static void note_held(struct seen seen[THREADS_MAX][HOLDS_MAX], struct range range, uint64_t since)
{
        for (unsigned t = 0; t < THREADS_MAX; t++)
                for (unsigned i = 0; i < HOLDS_MAX; i++) {
                        const struct held *held = &holds_of(t)[i];

                        /* What its thread has stored is not to be on its way still. */
                        seen[t][i] = (struct seen){ *held, t,
                                                    t < plan.threads && held->is && held->since < since &&
                                                            lanes_meet(held->range, range) && is_told(t, held) &&
                                                            (thread[t].stores == 0 || t == current->number) };
                }
}

static bool is_entry_of(const ammap_holder_t *entry, const struct seen *seen)
{
        const uint64_t lane = seen->held.range.first / WORDS * WORDS * 8;

        return entry->pid == FIRST_PROCESS + (int32_t)thread[seen->thread].process &&
               entry->tid == (seen->held.detached ? 0 : FIRST_THREAD + (int32_t)seen->thread) &&
               entry->hold == (seen->held.how == HOW_WRITE ? AMMAP_HOLD_WRITE : AMMAP_HOLD_READ) &&
               entry->offset <= (lane > 0 ? (uint64_t)seen->held.range.first * 8 : 0) &&
               entry->offset + entry->length >= (uint64_t)(seen->held.range.first + seen->held.range.count) * 8;
}

/* Who is named was there. */
static void look_at_entry(const ammap_holder_t *entry, unsigned map, uint64_t since)
{
        unsigned number = (unsigned)entry->tid - FIRST_THREAD;

        if (entry->hold == AMMAP_HOLD_VIEW) {
                if (entry->pid != FIRST_PROCESS + (int32_t)current->process || !any_view(current->process, map, since))
                        fail("a view is told of, and there was none");
                return;
        }
        if (entry->hold == AMMAP_HOLD_DEAD) {
                if (!call_saw_dead())
                        fail("a writer is told of that died, and none has");
                return;
        }
        if (entry->tid == 0)
                return;
        if (number >= plan.threads || entry->pid != FIRST_PROCESS + (int32_t)thread[number].process)
                fail("a thread is told of that is not there: %d of process %d", entry->tid, entry->pid);
        if (!was_there(number, map, since))
                fail("thread %u holds nothing, and is told of", number);
}

void do_holders(struct range range)
{
        static struct seen seen[THREADS_MAX][HOLDS_MAX];
        struct seen before[THREADS_MAX][HOLDS_MAX];
        ammap_holder_t entry[HOLDERS_MAX];
        uint64_t since = model_tick();
        int rc;

        begin(range, HOW_READ, WAITS);
        call_looks();
        note_held(before, range, since);
        rc = ammap_holders(handle_of(range.map), offset_of(range), (uint64_t)range.count * 8, entry, HOLDERS_MAX);
        if (rc == AMMAP_ERR_READ_ONLY || rc > HOLDERS_MAX)
                fail("holders: the answer is %d", rc);
        for (int i = 0; i < rc; i++)
                look_at_entry(&entry[i], range.map, since);
        if (call_end(rc > 0 ? 0 : rc) < 0)
                return;
        memcpy(seen, before, sizeof seen);
        for (unsigned t = 0; t < plan.threads; t++)
                for (unsigned i = 0; i < HOLDS_MAX; i++) {
                        const struct held *now = &holds_of(t)[i];
                        bool told = false;

                        if (!seen[t][i].is || !now->is || !is_told(t, now) || now->since != seen[t][i].held.since)
                                continue;
                        for (int at = 0; at < rc; at++)
                                told |= is_entry_of(&entry[at], &seen[t][i]);
                        if (!told)
                                fail("thread %u has words %u to %u of map %u, and is not told of", t, now->range.first,
                                     now->range.first + now->range.count - 1, range.map);
                }
}

/* --- Copies of whole maps --- */

/* Nobody else has it. */
static void look_at_clone(ammap_t *copy, unsigned map, uint64_t since)
{
        struct range range = { map, 0, (unsigned)(ammap_len(copy) / 8) };
        uint64_t value[WORDS_MAX], mark[WORDS_MAX];
        int rc;

        if (range.count == 0 || range.count > model_map[map].words)
                fail("a copy of map %u has %u words", map, range.count);
        if ((rc = ammap_try_read_into(copy, 0, value, (size_t)range.count * 8)) != 0)
                fail("a copy of a map is read: %d", rc);
        read_check(range, value, since);
        memset(mark, 0x77, sizeof mark);
        if ((rc = ammap_try_update_region(copy, 0, mark, (size_t)range.count * 8)) != 0 ||
            (rc = ammap_read_into(copy, 0, value, (size_t)range.count * 8)) != 0)
                fail("a copy of a map is written, and read: %d", rc);
        if (memcmp(value, mark, (size_t)range.count * 8) != 0)
                fail("a copy of a map does not hold what was written there");
}

void do_clone(unsigned number)
{
        struct model_map *map = &model_map[number];
        const struct range all = { number, 0, map->words };
        uint64_t since = model_tick();
        unsigned length = map->length;
        ammap_t *copy;
        int rc;

        if (!may_wait(all, HOW_READ) || own_hold(all, HOW_READ))
                return;
        begin(all, HOW_READ, WAITS);
        rc = ammap_clone(handle_of(number), &copy);
        if (rc == AMMAP_ERR_BOUNDS)
                fail("a map cannot be copied: %d", rc);
        if (call_end(rc) < 0)
                return;
        if (!map->resizing && !map->unsure && map->resized < since && ammap_len(copy) != (uint64_t)length * 8)
                fail("a copy of a map has another length");
        current->spared = true;
        look_at_clone(copy, number, since);
        current->spared = false;
        if ((rc = ammap_free(copy)) != 0)
                fail("a copy of a map is freed: %d", rc);
}
