/* fair.c - what those who wait are promised, beyond that they enter in the end
 *
 * SPDX-License-Identifier: MIT
 *
 * Of private maps.  A thread has starved since it fell asleep for a lane and WAITER_STARVING_AFTER had
 * passed by its own looks at the clock: the library has counted it by then.  It has not entered as
 * long as it has not run since it fell asleep.
 *
 *   -  One writer at most enters past a starving reader, however long that takes to wake up.
 *   -  Readers do not come and go for ever past a starving writer that sleeps: who sleeps so while some
 *      are in has seen to it that there will be no more.
 *   -  Nor do writers that find nobody in their way, where no reader comes between.
 *   -  A waiter that the system has stopped keeps the others out for a while, once, and not again.
 *   -  A writer that was asked for a moment without writers takes notice.
 *   -  Who writes where nobody waits wakes nobody.
 */
#include "model.h"

#include "lock/waiter.h"
#include "map/map.h"

#include <string.h>

/* Two looks at a turn that nobody takes, the first of them by one who sleeps for as long as anyone does. */
enum { PASSED_OVER = 100000000 /* ns */ };

struct waiting {
        bool is;
        unsigned map, lane;
        enum how how;
        int64_t now, since; /* when it looked at the clock: last, and before it first slept */
        uint64_t starving;  /* since then; 0: it is not */
        uint64_t read;      /* a reader came or went */
        unsigned readers, writers;
};
static struct waiting waiting[THREADS_MAX];
static int64_t hindered; /* by those who are stopped alone */
static bool asked;
static uint64_t asked_at;

void fair_begin(void)
{
        memset(waiting, 0, sizeof waiting);
        hindered = 0;
}

void fair_now(void)
{
        if (current)
                waiting[current->number].now = clock_now;
}

void fair_call(unsigned number)
{
        waiting[number].is = false;
}

/* Before it falls asleep. */
void fair_sleep(unsigned map, unsigned lane, enum how how)
{
        struct waiting *own = &waiting[current->number];

        if (!own->is || own->map != map || own->lane != lane)
                *own = (struct waiting){
                        .is = true, .map = map, .lane = lane, .how = how, .now = own->now, .since = own->now
                };
        if (!own->starving && own->now - own->since >= WAITER_STARVING_AFTER)
                own->starving = model_tick();
}

bool fair_has_slept(unsigned number)
{
        return waiting[number].is;
}

/* A reader comes or goes. */
void fair_read(unsigned map)
{
        for (unsigned t = 0; t < plan.threads; t++)
                if (waiting[t].is && waiting[t].map == map) {
                        waiting[t].read = model_tick();
                        if (waiting[t].how == HOW_WRITE)
                                waiting[t].writers = 0;
                }
}

/* What is copied while the map is made shorter may be copied anew, and then it waits anew. */
static bool is_resized(unsigned map, uint64_t since)
{
        return model_map[map].resizing || model_map[map].unsure || model_map[map].resized > since;
}

static void pass_reader(unsigned t, uint64_t begun)
{
        struct waiting *other = &waiting[t];

        if (begun > other->starving && ++other->writers > 1)
                fail("thread %u has waited to read for long, and %u writers have entered since", t, other->writers);
}

static void pass_writer(unsigned t, enum how how, uint64_t begun, bool slept)
{
        struct waiting *other = &waiting[t];

        if (how == HOW_READ && thread[t].state == ASLEEP && ++other->readers > 2 * plan.threads)
                fail("thread %u sleeps to write, and %u readers have gone past it", t, other->readers);
        if (how == HOW_WRITE && !slept && begun > other->starving && begun > other->read &&
            ++other->writers > plan.threads + 2)
                fail("thread %u has waited to write for long, and %u writers have gone past it", t, other->writers);
}

/* The current thread has entered, by a call that began then. */
void fair_enter(struct range range, enum how how, uint64_t begun, bool slept)
{
        if (plan.stops || plan.jumps) /* what is stopped may be passed over */
                return;
        for (unsigned t = 0; t < plan.threads; t++) {
                struct waiting *other = &waiting[t];
                unsigned map, lane;
                enum how for_what;

                if (&thread[t] == current || !other->is || !other->starving || !thread[t].word ||
                    !sleeps_for(&thread[t], &map, &lane, &for_what) || map != range.map || lane < range.first / WORDS ||
                    lane > (range.first + range.count - 1) / WORDS || is_resized(map, begun) ||
                    is_resized(map, other->starving))
                        continue;
                if (other->how == HOW_WRITE)
                        pass_writer(t, how, begun, slept);
                else if (how == HOW_WRITE)
                        pass_reader(t, begun);
        }
}

/* Nobody can go on, but some time later: a starving writer has not left it open to readers to come. */
void fair_claimed(unsigned number)
{
        const struct waiting *own = &waiting[number];
        const struct lane *lane = &model_map[own->map].handle[thread[number].process]->lane[own->lane];
        uint64_t word;

        if (!own->starving || own->how != HOW_WRITE || plan.stops || plan.jumps || is_resized(own->map, own->starving))
                return;
        memcpy(&word, memory_of(thread[number].process, (uintptr_t)&lane->word), sizeof word);
        if ((word & LANE_READERS) &&
            !(word & (LANE_WRITER | LANE_HANDOFF_READERS | LANE_HANDOFF_WRITERS | LANE_BIAS | LANE_FROZEN)))
                fail("thread %u has waited to write for long and sleeps, and readers may come and go", number);
}

/* Some time passes in which nobody goes on; and whether somebody waits whom only threads keep out
 * that are stopped. */
void fair_quiet(int64_t time, bool kept_out)
{
        unsigned stopped = 0;

        for (unsigned t = 0; t < plan.threads; t++)
                stopped += thread[t].stopped;
        hindered = stopped == 0 ? 0 : hindered + (kept_out ? time : 0);
        if (hindered > (int64_t)stopped * PASSED_OVER)
                fail("others have waited for %.0f ms, in all, for threads that are stopped", (double)hindered / 1e6);
}

/* A write ends, and nobody else goes on meanwhile. */
void fair_leave(struct range range)
{
        const struct lane *lane = &model_map[range.map].handle[current->process]->lane[range.first / WORDS];

        asked = model_map[range.map].place == PRIVATE && (atomic_load(&lane->waiting) & LANE_ASKED) &&
                current->stores == 0;
        asked_at = switches;
}

void fair_left(struct range range)
{
        const struct lane *lane = &model_map[range.map].handle[current->process]->lane[range.first / WORDS];

        if (asked && asked_at == switches && (atomic_load(&lane->waiting) & LANE_ASKED))
                fail("a reader has asked for a moment, and the writer that leaves takes no notice");
        asked = false;
}

/* In the end: the first write takes what notes have been left behind. */
void fair_end(ammap_t *map, struct range all)
{
        static const uint64_t value[WORDS_MAX];
        size_t size = all.count * sizeof *value;

        if (model_map[all.map].place != PRIVATE || ammap_update_region(map, 0, value, size) != 0)
                return;
        os_wakes = 0;
        if (ammap_update_region(map, 0, value, size) != 0)
                fail("in the end a second write fails");
        if (os_wakes > 0)
                fail("in the end nobody waits, and a write wakes somebody");
}
