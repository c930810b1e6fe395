/* model.c - what is to be true of the maps of a run
 *
 * SPDX-License-Identifier: MIT
 *
 * Each write stores one value, its stamp, in all words of its range.  So a word says which write
 * it comes from, and the log of writes says which one it may be.  Each event has a number, its
 * tick; of a write the first is before it could be seen, and the last after it was.
 */
#include "model.h"

#include "map/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct model_map model_map[MAPS_MAX];
unsigned maps;

enum { WRITES_MAX = 4096, STALLED = 1000000000 /* ns */ };
static const uint64_t VALUE = UINT64_C(0x5e) << 56, NOT_YET = UINT64_MAX;

struct write {
        struct range range;
        unsigned thread;
        uint64_t begin, end; /* end: NOT_YET */
        int64_t ended;       /* the clock's time */
        bool zeros, dropped, torn, resizes, copies;
};
static struct write written[WRITES_MAX];
static unsigned writes;

enum { RANGES = 2 };
struct call {
        bool is;
        unsigned ranges;
        struct range range[RANGES];
        enum how how[RANGES];
        enum patience patience;
        int64_t deadline, latest; /* latest: as the library has it, that reads the clock later */
        uint64_t begin;
        bool own;                    /* own slices are in the way */
        unsigned lanes_dead[RANGES]; /* those that were when it began, a bit for each */
        bool watches, freezes;
        bool looks, recovers; /* it takes no lane; also lanes whose writer died */
        int64_t free_since;   /* nobody seems to be in its way; 0: somebody is */
        int64_t woke;
        uint64_t since; /* ... for writes that begin after that */
};
static struct call call[THREADS_MAX];
static struct held held[THREADS_MAX][HOLDS_MAX];
static struct held ending[THREADS_MAX]; /* what a thread is about to release, and may wait for a mutex the while */
static uint64_t reached_until[MAPS_MAX][WORDS_MAX]; /* the last tick of a slice or of a call that has the word */
static uint64_t there_until[THREADS_MAX][MAPS_MAX]; /* the last tick of a call or a hold */
/* Of a shared map: lanes that a slice named which has left a place in the record that another one
 * shares.  They stay named, and in the way of writers, until the thread has no slice of the map. */
static unsigned still_named[THREADS_MAX + PROCESSES_MAX][MAPS_MAX]; /* behind the threads' those of the processes */
static bool alone[THREADS_MAX];                                     /* of a forked child, where nobody is in its way */
static bool closing[THREADS_MAX];                                   /* it takes nothing over any more */
static struct viewed viewed[THREADS_MAX];
static uint64_t view_until[PROCESSES_MAX][MAPS_MAX]; /* the last tick of a view */
static bool inherited[PROCESSES_MAX][MAPS_MAX];      /* a fork has left a view that nobody will end */
static uint64_t ticks;

uint64_t model_tick(void)
{
        return ++ticks;
}

void model_begin(void)
{
        memset(model_map, 0, sizeof model_map);
        memset(call, 0, sizeof call);
        memset(held, 0, sizeof held);
        memset(ending, 0, sizeof ending);
        memset(there_until, 0, sizeof there_until);
        memset(reached_until, 0, sizeof reached_until);
        memset(still_named, 0, sizeof still_named);
        memset(alone, 0, sizeof alone);
        memset(closing, 0, sizeof closing);
        memset(viewed, 0, sizeof viewed);
        memset(view_until, 0, sizeof view_until);
        memset(inherited, 0, sizeof inherited);
        fair_begin();
        maps = 0;
        writes = 1; /* the first one is of the zeros that maps begin with */
        ticks = 0;
}

static unsigned me(void)
{
        return current ? current->number : 0;
}

ammap_t *handle_of(unsigned map)
{
        const struct model_map *of = &model_map[map];
        unsigned process = current ? current->process : 0;

        return of->other[process] && draw_below(&scheduling, 2) ? of->other[process] : of->handle[process];
}

/* --- Lanes --- */

struct lanes {
        unsigned first, last;
};

static struct lanes lanes_of(struct range range)
{
        return (struct lanes){ range.first / WORDS, (range.first + range.count - 1) / WORDS };
}

static bool lanes_meet(struct range a, struct range b)
{
        struct lanes one = lanes_of(a), other = lanes_of(b);

        return a.map == b.map && one.first <= other.last && other.first <= one.last;
}

static bool words_meet(struct range a, struct range b)
{
        return a.map == b.map && a.first < b.first + b.count && b.first < a.first + a.count;
}

static bool has_word(const struct write *write, unsigned map, unsigned word)
{
        return write->range.map == map && word >= write->range.first && word < write->range.first + write->range.count;
}

/* --- Bytes --- */

uint64_t write_begin(struct range range, bool zeros)
{
        if (writes == WRITES_MAX)
                fail("the simulation's log of writes is full");
        written[writes] =
                (struct write){ .range = range, .thread = me(), .begin = model_tick(), .end = NOT_YET, .zeros = zeros };
        return writes++;
}

void write_end(uint64_t stamp)
{
        written[stamp].end = model_tick();
        written[stamp].ended = clock_now;
}

void write_resizes(uint64_t stamp)
{
        written[stamp].resizes = true;
}

void write_copies(uint64_t stamp)
{
        written[stamp].copies = true;
}

void write_drop(uint64_t stamp)
{
        written[stamp].dropped = true;
}

uint64_t write_value(uint64_t stamp)
{
        return written[stamp].zeros ? 0 : VALUE | stamp;
}

/* Whether a word that comes from a write may be found in it by one who has read since then. */
static bool may_be(const struct write *from, unsigned map, unsigned word, uint64_t since)
{
        for (unsigned i = 1; i < writes; i++) {
                const struct write *other = &written[i];

                if (other != from && !other->dropped && !other->torn && has_word(other, map, word) &&
                    other->begin > from->end && other->end < since)
                        return false;
        }
        return true;
}

/* A copy may have brought any value. */
static const struct write *copied(unsigned map, unsigned word, uint64_t since)
{
        for (unsigned i = 1; i < writes; i++)
                if (written[i].copies && !written[i].dropped && has_word(&written[i], map, word) &&
                    may_be(&written[i], map, word, since))
                        return &written[i];
        return NULL;
}

static const struct write *source(unsigned map, unsigned word, uint64_t value, uint64_t since)
{
        static const struct write beginning = { .zeros = true, .torn = true };
        uint64_t stamp = value & ~(UINT64_C(0xff) << 56);
        const struct write *from;

        if ((from = copied(map, word, since)))
                return from;
        if (value == 0) {
                if (may_be(&beginning, map, word, since))
                        return &beginning;
                for (unsigned i = 1; i < writes; i++)
                        if (written[i].zeros && !written[i].dropped && has_word(&written[i], map, word) &&
                            may_be(&written[i], map, word, since))
                                return &written[i];
                fail("map %u, word %u is zero, which has been overwritten", map, word);
        }
        if (value - stamp != VALUE || stamp == 0 || stamp >= writes || !has_word(&written[stamp], map, word))
                fail("map %u, word %u has a value that nobody wrote there: %#" PRIx64, map, word, value);
        if (written[stamp].dropped)
                fail("map %u, word %u has a value of a write that failed", map, word);
        if (!may_be(&written[stamp], map, word, since))
                fail("map %u, word %u has the value of write %" PRIu64 ", which has been overwritten", map, word,
                     stamp);
        return &written[stamp];
}

/* All words of one moment: where one write has both words, and the other one of them, the words
 * tell in which order the two were. */
static void compare(unsigned map, const struct write *a, unsigned word_a, const struct write *b, unsigned word_b)
{
        if (a == b || a->torn || b->torn || a->zeros || b->zeros || a->copies || b->copies)
                return;
        if (has_word(a, map, word_b) && has_word(b, map, word_a))
                fail("map %u, words %u and %u are of two writes that have both: it is torn", map, word_a, word_b);
        if (has_word(a, map, word_b) && b->end < a->begin)
                fail("map %u, word %u is of a later write than word %u, which that has overwritten", map, word_a,
                     word_b);
        if (has_word(b, map, word_a) && a->end < b->begin)
                fail("map %u, word %u is of a later write than word %u, which that has overwritten", map, word_b,
                     word_a);
}

/* A word is zero, and another one is of a write that has both: then the zero is of a later write of zeros
 * that has not the other word. */
static void compare_zero(unsigned map, unsigned zero, const struct write *b, unsigned word)
{
        if (b->torn || b->zeros || b->copies || !has_word(b, map, zero))
                return;
        for (unsigned i = 1; i < writes; i++)
                if (written[i].zeros && !written[i].dropped && has_word(&written[i], map, zero) &&
                    written[i].end >= b->begin &&
                    (written[i].torn || !has_word(&written[i], map, word) || b->end == NOT_YET))
                        return;
        fail("map %u, word %u is zero, and word %u is of a write that has both: it is torn", map, zero, word);
}

void read_check(struct range range, const uint64_t *value, uint64_t since)
{
        const struct write *from[WORDS_MAX];

        for (unsigned i = 0; i < range.count; i++)
                from[i] = source(range.map, range.first + i, value[i], since);
        for (unsigned i = 0; i < range.count; i++)
                for (unsigned j = i + 1; j < range.count; j++)
                        compare(range.map, from[i], range.first + i, from[j], range.first + j);
        for (unsigned i = 0; i < range.count; i++)
                for (unsigned j = 0; from[i]->zeros && j < range.count; j++)
                        compare_zero(range.map, range.first + i, from[j], range.first + j);
}

/* --- Holds --- */

struct held *own_holds(void)
{
        return held[me()];
}

bool own_hold(struct range range, enum how how)
{
        for (unsigned i = 0; i < HOLDS_MAX; i++) {
                const struct held *own = &held[me()][i];

                if (own->is && !own->detached && lanes_meet(own->range, range) &&
                    (how == HOW_WRITE || own->how == HOW_WRITE))
                        return true;
        }
        return false;
}

/* Then it must not wait for a writer. */
static bool reads_already(struct range range)
{
        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (held[me()][i].is && !held[me()][i].detached && lanes_meet(held[me()][i].range, range))
                        return true;
        return false;
}

struct held *hold_begin(struct range range, enum how how)
{
        struct held *free = NULL;
        uint64_t readers = 1 + model_map[range.map].crowd;

        for (unsigned t = 0; t < plan.threads; t++)
                for (unsigned i = 0; i < HOLDS_MAX; i++) {
                        struct held *other = &held[t][i];

                        if (!other->is && t == me())
                                free = other;
                        readers += other->is && lanes_meet(other->range, range);
                        if (other->is && lanes_meet(other->range, range) &&
                            (how == HOW_WRITE || other->how == HOW_WRITE))
                                fail("threads %u and %u have slices of one lane, and one of them writes", t, me());
                }
        if (how == HOW_READ && model_map[range.map].crowd && readers > LANE_READERS)
                fail("a lane has more readers than it can count");
        if (how == HOW_READ && !reads_already(range))
                fair_enter(range, HOW_READ, call[me()].begin, fair_has_slept(me()));
        *free = (struct held){ .is = true, .range = range, .how = how, .since = ++ticks, .taken = ticks };
        if (how == HOW_WRITE)
                free->stamp = write_begin(range, false);
        return free;
}

/* Before the call: then others may read. */
void hold_downgrade(struct held *own)
{
        own->how = HOW_READ;
        own->since = NOT_YET;
}

static unsigned mask_of(struct range range)
{
        struct lanes lanes = lanes_of(range);

        return (2U << lanes.last) - (1U << lanes.first);
}

bool own_names(unsigned map)
{
        return still_named[me()][map];
}

static unsigned owner_of(const struct held *own)
{
        return (unsigned)(own - &held[0][0]) / HOLDS_MAX;
}

/* A slice is no more the thread's, or the process's, that had it. */
static void unname(const struct held *own, bool detached)
{
        unsigned thread_of = owner_of(own), process = thread[thread_of].process, map = own->range.map;
        unsigned *named = &still_named[detached ? THREADS_MAX + process : thread_of][map];
        bool any = false;

        for (unsigned t = 0; t < plan.threads; t++)
                for (unsigned i = 0; i < HOLDS_MAX && (detached ? thread[t].process == process : t == thread_of); i++)
                        any |= held[t][i].is && held[t][i].range.map == map && held[t][i].detached == detached;
        if (!any)
                *named = 0;
        else if (model_map[map].place == SHARED && own->how == HOW_READ)
                *named |= mask_of(own->range);
}

/* Before the call. */
void hold_end(struct held *own)
{
        if (own->how == HOW_READ)
                fair_read(own->range.map);
        ending[me()] = *own;
        own->is = false;
        unname(own, own->detached);
        there_until[me()][own->range.map] = NOT_YET; /* until the call has ended */
}

/* After the call.  The thread has it still, but as a task. */
void hold_detached(struct held *own)
{
        own->detached = true;
        own->since = model_tick();
        unname(own, false);
}

struct held *holds_of(unsigned number)
{
        return held[number];
}

void thread_closes(void)
{
        closing[me()] = true;
}

static bool is_at_work(unsigned t)
{
        bool any = call[t].is;

        for (unsigned m = 0; m < maps; m++)
                any |= there_until[t][m] == NOT_YET;
        return any;
}

/* Another thread is to release it: one that makes no call now, so that it knows when it is to wait. */
bool hold_hand_over(struct held *own)
{
        unsigned from = draw_below(&scheduling, plan.threads);

        for (unsigned i = 0; i < plan.threads; i++) {
                unsigned t = (from + i) % plan.threads;

                if (t == me() || thread[t].state == ENDED || !thread[t].begun ||
                    thread[t].process != current->process || is_at_work(t) || alone[t] || closing[t])
                        continue;
                for (unsigned at = 0; at < HOLDS_MAX; at++)
                        if (!held[t][at].is) {
                                held[t][at] = *own;
                                own->is = false;
                                return true;
                        }
        }
        return false;
}

void reach_end(struct range range)
{
        for (unsigned i = 0; i < range.count; i++)
                if (reached_until[range.map][range.first + i] != NOT_YET)
                        reached_until[range.map][range.first + i] = model_tick();
}

/* Whether anyone may have had a slice since then that ends behind a word. */
bool was_reached(unsigned map, unsigned word, uint64_t since)
{
        for (unsigned i = word; i < model_map[map].words; i++)
                if (reached_until[map][i] > since)
                        return true;
        for (unsigned t = 0; t < plan.threads; t++) {
                if (thread[t].stores > 0 || thread[t].published > since)
                        return true;
                if (ending[t].is && ending[t].range.map == map && ending[t].range.first + ending[t].range.count > word)
                        return true;
                for (unsigned i = 0; i < HOLDS_MAX; i++)
                        if (held[t][i].is && held[t][i].range.map == map &&
                            held[t][i].range.first + held[t][i].range.count > word)
                                return true;
                for (unsigned r = 0; call[t].is && r < call[t].ranges; r++)
                        if (call[t].range[r].map == map && call[t].range[r].first + call[t].range[r].count > word)
                                return true;
        }
        return false;
}

/* Whether a slice of this process that ends behind a length has been there since before. */
bool slice_behind(unsigned map, unsigned length, uint64_t before)
{
        for (unsigned t = 0; t < plan.threads; t++)
                for (unsigned i = 0; thread[t].process == current->process && i < HOLDS_MAX; i++)
                        if (held[t][i].is && held[t][i].range.map == map && held[t][i].taken < before &&
                            held[t][i].range.first + held[t][i].range.count > length)
                                return true;
        return false;
}

void visit_begin(unsigned map)
{
        there_until[me()][map] = NOT_YET;
}

void visit_end(unsigned map)
{
        there_until[me()][map] = model_tick();
}

/* After it. */
void hold_ended(unsigned map)
{
        ending[me()].is = false;
        visit_end(map);
}

/* For certain, or it may be. */
static void lanes_die(struct range range, bool certain)
{
        struct lanes lanes = lanes_of(range);
        struct model_map *map = &model_map[range.map];

        for (unsigned lane = lanes.first; lane <= lanes.last; lane++) {
                map->deaths[lane] = model_tick();
                if (certain)
                        map->dead[lane] = model_tick();
        }
}

static void recovers_no_more(unsigned number, struct range range)
{
        for (unsigned lane = lanes_of(range).first; lane <= lanes_of(range).last; lane++)
                model_map[range.map].recovering[number][lane]--;
}

static bool is_recovering(unsigned map, unsigned lane)
{
        for (unsigned t = 0; t < THREADS_MAX; t++)
                if (model_map[map].recovering[t][lane])
                        return true;
        return false;
}

void recovery_begin(struct range range)
{
        for (unsigned lane = lanes_of(range).first; lane <= lanes_of(range).last; lane++)
                model_map[range.map].recovering[me()][lane]++;
}

/* From since on none of the lanes was dead, but for writers that died later. */
void recovery_end(struct range range, uint64_t since)
{
        struct model_map *map = &model_map[range.map];

        recovery_drop(range);
        for (unsigned lane = lanes_of(range).first; lane <= lanes_of(range).last; lane++) {
                map->recovered[lane] = model_tick();
                if (since > map->since[lane])
                        map->since[lane] = since;
        }
}

void recovery_fail(struct range range)
{
        struct model_map *map = &model_map[range.map];

        recovery_drop(range);
        for (unsigned lane = lanes_of(range).first; lane <= lanes_of(range).last; lane++)
                if (map->deaths[lane])
                        map->deaths[lane] = model_tick();
}

bool was_refused(int rc)
{
        for (unsigned why = 0; why < REFUSALS; why++)
                if (rc < 0 && (current->refused >> why & 1) && rc == refusal_code(why))
                        return true;
        return false;
}

void refusals_forget(void)
{
        current->refused = 0;
}

void recovery_drop(struct range range)
{
        recovers_no_more(me(), range);
}

void thread_dies(void)
{
        for (unsigned i = 0; i < HOLDS_MAX; i++) {
                struct held *own = &held[me()][i];
                struct lanes lanes;

                if (!own->is)
                        continue;
                own->is = false;
                there_until[me()][own->range.map] = NOT_YET;
                if (own->recovers)
                        recovers_no_more(me(), own->range);
                for (unsigned w = 0; w < own->range.count; w++)
                        reached_until[own->range.map][own->range.first + w] = NOT_YET; /* until somebody buries it */
                if (own->how == HOW_READ)
                        continue;
                written[own->stamp].torn = true;
                lanes = lanes_of(own->range);
                for (unsigned lane = lanes.first; lane <= lanes.last; lane++) {
                        model_map[own->range.map].deaths[lane] = model_tick();
                        model_map[own->range.map].dying[lane] = me() + 1;
                }
        }
}

void thread_is_dead(unsigned number)
{
        for (unsigned m = 0; m < maps; m++) {
                if (there_until[number][m] == NOT_YET)
                        there_until[number][m] = model_tick();
                for (unsigned lane = 0; lane < model_map[m].lanes; lane++)
                        if (model_map[m].dying[lane] == number + 1)
                                model_map[m].dead[lane] = model_tick();
        }
}

/* At any point.  What it was writing may be there or not, and its lanes may be dead. */
void model_killed(unsigned number)
{
        struct call *own = &call[number];

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (held[number][i].is && held[number][i].how == HOW_WRITE) {
                        lanes_die(held[number][i].range, true);
                        if (held[number][i].recovers)
                                recovers_no_more(number, held[number][i].range);
                }
        for (unsigned m = 0; m < maps; m++)
                for (unsigned lane = 0; lane < model_map[m].lanes; lane++)
                        if (model_map[m].recovering[number][lane] > 0) { /* it has done so, or not */
                                model_map[m].recovering[number][lane] = 0;
                                lanes_die((struct range){ m, lane * WORDS, 1 }, false);
                        }
        for (unsigned i = 0; i < HOLDS_MAX; i++) {
                if (held[number][i].is)
                        there_until[number][held[number][i].range.map] = model_tick();
                held[number][i].is = false;
        }
        memset(still_named[number], 0, sizeof still_named[number]);
        memset(still_named[THREADS_MAX + thread[number].process], 0, sizeof still_named[number]);
        viewed[number].is = viewed[number].may_be = ending[number].is = false;
        for (unsigned i = 1; i < writes; i++)
                if (written[i].thread == number && written[i].end == NOT_YET && !written[i].dropped) {
                        written[i].torn = true;
                        lanes_die(written[i].range, false);
                }
        for (unsigned r = 0; own->is && r < own->ranges; r++)
                if (own->how[r] == HOW_WRITE)
                        lanes_die(own->range[r], false);
        for (unsigned m = 0; m < maps; m++) {
                if (there_until[number][m] == NOT_YET || (own->is && own->range[0].map == m) ||
                    (own->is && own->ranges > 1 && own->range[1].map == m))
                        there_until[number][m] = model_tick();
                if (model_map[m].resizer == number + 1) {
                        model_map[m].resizer = 0;
                        model_map[m].resizing = 0;
                        model_map[m].unsure = true;
                        for (unsigned lane = 0; lane < model_map[m].lanes; lane++)
                                model_map[m].deaths[lane] = model_tick();
                }
        }
        own->is = false;
}

void thread_is_alone(void)
{
        alone[me()] = true;
}

static struct forked forked[THREADS_MAX][MAPS_MAX][LANES_MAX];

/* --- Views --- */

/* Before the call; and after it. */
void view_begin(struct range range)
{
        viewed[me()] = (struct viewed){ .range = range, .may_be = true };
        view_until[current->process][range.map] = NOT_YET;
}

void view_begun(void)
{
        viewed[me()].is = true;
        viewed[me()].since = model_tick();
}

/* Before the call; and after it. */
void view_end(void)
{
        viewed[me()].is = false;
}

void view_ended(unsigned map)
{
        uint64_t *until = &view_until[current->process][map];
        bool any = inherited[current->process][map];

        viewed[me()].may_be = false;
        for (unsigned t = 0; t < plan.threads; t++)
                any |= viewed[t].may_be && viewed[t].range.map == map && thread[t].process == current->process;
        *until = any ? NOT_YET : model_tick();
}

const struct viewed *own_view(void)
{
        return viewed[me()].is ? &viewed[me()] : NULL;
}

bool any_view(unsigned process, unsigned map, uint64_t since)
{
        return view_until[process][map] > since;
}

/* Whether one that reaches behind a length has been there since before. */
bool view_behind(unsigned map, unsigned length, uint64_t before)
{
        for (unsigned t = 0; t < plan.threads; t++)
                if (viewed[t].is && thread[t].process == current->process && viewed[t].range.map == map &&
                    viewed[t].range.first + viewed[t].range.count > length && viewed[t].since < before)
                        return true;
        return false;
}

struct forked forked_lane(unsigned map, unsigned lane)
{
        return forked[me()][map][lane];
}

static bool is_lane_of(struct range range, unsigned map, unsigned lane)
{
        return range.map == map && lane >= lanes_of(range).first && lane <= lanes_of(range).last;
}

/* At the moment of the fork, by the thread that forks. */
static struct forked look_at_lane(unsigned m, unsigned lane)
{
        const struct model_map *map = &model_map[m];
        struct forked of = { .viewed = any_view(current->process, m, 0),
                             .may_be_dead = map->deaths[lane] > 0,
                             .frozen = map->frozen,
                             .may_be_frozen = map->freezing,
                             .cut = map->resizing || map->unsure || map->length < map->words };

        for (unsigned t = 0; t < plan.threads; t++) {
                for (unsigned i = 0; i < HOLDS_MAX; i++)
                        of.dead |= held[t][i].is && (t != me() || held[t][i].detached) && held[t][i].how == HOW_WRITE &&
                                   is_lane_of(held[t][i].range, m, lane);
                of.may_be_dead |= of.dead;
                if (t == me())
                        continue;
                for (unsigned i = 1; i < writes; i++)
                        of.may_be_dead |= written[i].end == NOT_YET && is_lane_of(written[i].range, m, lane);
                for (unsigned r = 0; call[t].is && !call[t].freezes && r < call[t].ranges; r++)
                        of.may_be_dead |= call[t].how[r] == HOW_WRITE && is_lane_of(call[t].range[r], m, lane);
        }
        of.may_be_dead |= of.dead;
        return of;
}

/* The child has the maps, and as many handles of them; and of a file its parent's locks, until it has closed what it
 * was forked with. */
void model_fork(const struct thread *child)
{
        memset(&call[child->number], 0, sizeof call[0]);
        alone[child->number] = false;
        memset(held[child->number], 0, sizeof held[0]);
        memset(there_until[child->number], 0, sizeof there_until[0]);
        memset(still_named[child->number], 0, sizeof still_named[0]);
        memset(still_named[THREADS_MAX + child->process], 0, sizeof still_named[0]);
        closing[child->number] = ending[child->number].is = false;
        viewed[child->number].is = viewed[child->number].may_be = false;
        for (unsigned m = 0; m < maps; m++) {
                model_map[m].handle[child->process] = model_map[m].handle[current->process];
                model_map[m].other[child->process] = model_map[m].other[current->process];
                inherited[child->process][m] = view_until[current->process][m] == NOT_YET;
                view_until[child->process][m] = inherited[child->process][m] ? NOT_YET : 0;
                if (model_map[m].place == IN_FILE)
                        there_until[child->number][m] = NOT_YET;
                for (unsigned lane = 0; lane < model_map[m].lanes; lane++)
                        forked[child->number][m][lane] = look_at_lane(m, lane);
        }
}

void model_forked(void)
{
        for (unsigned m = 0; m < maps; m++)
                if (there_until[me()][m] == NOT_YET)
                        there_until[me()][m] = model_tick();
}

/* --- Calls --- */

static unsigned dead_since_before(struct range range)
{
        const struct model_map *map = &model_map[range.map];
        struct lanes lanes = lanes_of(range);
        unsigned found = 0;

        for (unsigned lane = lanes.first; lane <= lanes.last; lane++)
                if (map->dead[lane] > map->deaths[lane] && map->deaths[lane] > map->recovered[lane] &&
                    !is_recovering(range.map, lane))
                        found |= 1U << lane;
        return found;
}

/* Of lanes that were dead when a call began: nobody has recovered them since. */
static bool still_dead(const struct call *own, unsigned r)
{
        const struct model_map *map = &model_map[own->range[r].map];

        for (unsigned lane = 0; lane < map->lanes; lane++)
                if ((own->lanes_dead[r] >> lane & 1) && map->recovered[lane] < own->begin &&
                    !is_recovering(own->range[r].map, lane))
                        return true;
        return false;
}

static bool may_be_dead(struct range range, uint64_t begin)
{
        const struct model_map *map = &model_map[range.map];
        struct lanes lanes = lanes_of(range);

        for (unsigned lane = lanes.first; lane <= lanes.last; lane++)
                if (map->deaths[lane] > 0 &&
                    (map->dead[lane] < map->deaths[lane] || map->since[lane] < map->dead[lane] ||
                     map->recovered[lane] > begin || is_recovering(range.map, lane)))
                        return true;
        return false;
}

void call_begin(struct range range, enum how how, enum patience patience, int64_t deadline)
{
        call[me()] = (struct call){
                .is = true, .ranges = 0, .patience = patience, .deadline = deadline, .begin = model_tick()
        };
        refusals_forget();
        fair_call(me());
        call_also(range, how);
}

void call_also(struct range range, enum how how)
{
        struct call *own = &call[me()];

        own->lanes_dead[own->ranges] = dead_since_before(range);
        own->range[own->ranges] = range;
        own->how[own->ranges++] = how;
        own->own |= own_hold(range, how);
        if (how == HOW_READ)
                fair_read(range.map);
}

/* It writes no byte. */
void call_freezes(void)
{
        call[me()].freezes = true;
}

/* It takes no lane. */
void call_looks(void)
{
        call[me()].looks = true;
}

/* It succeeds where the writer died. */
void call_recovers(void)
{
        call[me()].recovers = true;
}

bool call_saw_dead(void)
{
        return may_be_dead(call[me()].range[0], call[me()].begin);
}

bool call_must_recover(void)
{
        return still_dead(&call[me()], 0);
}

void call_watches(uint64_t since)
{
        call[me()].watches = true;
        call[me()].since = since;
}

/* Whether the range has been written since one watches it, before a time of the clock.  A shrink
 * counts when the writer leaves who is in. */
static bool was_written(const struct call *own, int64_t before)
{
        for (unsigned i = 1; i < writes; i++)
                if (written[i].begin > own->since && written[i].end != NOT_YET && !written[i].dropped &&
                    !written[i].resizes && written[i].ended < before && lanes_meet(written[i].range, own->range[0]))
                        return true;
        return false;
}

static bool anyone_was_there(const struct call *own)
{
        for (unsigned t = 0; t < plan.threads; t++) {
                for (unsigned r = 0; r < own->ranges; r++)
                        for (unsigned i = 0; i < HOLDS_MAX; i++)
                                if (held[t][i].is && held[t][i].detached && held[t][i].range.map == own->range[r].map)
                                        return true;
                if (t == me())
                        continue;
                if (thread[t].stores > 0 || thread[t].published > own->begin)
                        return true;
                for (unsigned r = 0; r < own->ranges; r++) {
                        unsigned map = own->range[r].map;

                        if (there_until[t][map] >= own->begin)
                                return true;
                        for (unsigned i = 0; i < call[t].ranges && call[t].is; i++)
                                if (call[t].range[i].map == map)
                                        return true;
                        for (unsigned i = 0; i < HOLDS_MAX; i++)
                                if (held[t][i].is && held[t][i].range.map == map)
                                        return true;
                }
        }
        return false;
}

/* Whether a thread may have had a part of a map since then. */
bool was_there(unsigned t, unsigned map, uint64_t since)
{
        if (thread[t].stores > 0 || thread[t].published > since || there_until[t][map] >= since || still_named[t][map])
                return true;
        for (unsigned r = 0; call[t].is && r < call[t].ranges; r++)
                if (call[t].range[r].map == map)
                        return true;
        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (held[t][i].is && held[t][i].range.map == map)
                        return true;
        return false;
}

static bool could_be_short(const struct call *own)
{
        for (unsigned r = 0; r < own->ranges; r++) {
                const struct model_map *map = &model_map[own->range[r].map];

                if (map->resizing || map->unsure || map->resized > own->begin ||
                    own->range[r].first + own->range[r].count > map->length)
                        return true;
        }
        return false;
}

void call_over(void)
{
        struct call *own = &call[me()];

        for (unsigned r = 0; r < own->ranges; r++) {
                visit_end(own->range[r].map);
                reach_end(own->range[r]);
                if (own->how[r] == HOW_READ)
                        fair_read(own->range[r].map);
        }
        own->is = false;
}

static bool was_freezing(const struct call *own, unsigned r)
{
        const struct model_map *map = &model_map[own->range[r].map];

        return map->freezing || map->cancelled > own->begin;
}

int call_end(int rc)
{
        struct call *own = &call[me()];
        bool writes_any = false;

        for (unsigned r = 0; r < own->ranges; r++)
                writes_any |= own->how[r] == HOW_WRITE;
        call_over();
        for (unsigned r = 0; r < own->ranges; r++)
                if (rc != AMMAP_ERR_READ_ONLY && rc != AMMAP_ERR_OWNER_DEAD && rc != AMMAP_ERR_BOUNDS &&
                    !was_refused(rc) && own->how[r] == HOW_WRITE && model_map[own->range[r].map].frozen &&
                    model_map[own->range[r].map].frozen < own->begin)
                        fail("a map is frozen, and who would write it is answered %d", rc);
        switch (rc) {
        case 0:
                if (own->own && !own->looks)
                        fail("a call succeeds that the thread's own slices are in the way of");
                for (unsigned r = 0; r < own->ranges && !own->watches && !own->looks && !own->recovers; r++)
                        if (still_dead(own, r))
                                fail("a call succeeds in a lane whose writer died");
                for (unsigned r = 0; r < own->ranges; r++) {
                        if (own->how[r] == HOW_WRITE && model_map[own->range[r].map].frozen &&
                            model_map[own->range[r].map].frozen < own->begin)
                                fail("a map that is frozen has been written");
                        if (own->how[r] == HOW_WRITE) /* one who reads need not have entered */
                                fair_enter(own->range[r], HOW_WRITE, own->begin, fair_has_slept(me()));
                }
                break;
        case AMMAP_ERR_DEADLOCK:
                for (unsigned r = 0; r < own->ranges; r++)
                        if (own->how[r] == HOW_WRITE && (still_named[me()][own->range[r].map] & mask_of(own->range[r])))
                                own->own = true;
                /* Who is in the way of one who reads a file again by another handle may wait for what he reads. */
                for (unsigned r = 0; r < own->ranges; r++)
                        own->own |= model_map[own->range[r].map].place == IN_FILE && reads_already(own->range[r]);
                if (!own->own)
                        fail("DEADLOCK, and the thread's slices are not in the way");
                break;
        case AMMAP_ERR_BUSY:
                if (own->patience != TRIES)
                        fail("BUSY is the answer of a call that waits");
                if (!anyone_was_there(own))
                        fail("BUSY, and nobody was there");
                break;
        case AMMAP_ERR_TIMEOUT:
                if (own->patience != TIMED || clock_now < own->deadline)
                        fail("TIMEOUT, before its time");
                /* It has looked after it slept. */
                if (own->watches && was_written(own, own->woke < own->deadline ? own->woke : own->deadline))
                        fail("TIMEOUT, and the range has been written");
                if (!own->watches && !anyone_was_there(own))
                        fail("TIMEOUT, and nobody was there");
                break;
        case AMMAP_ERR_OWNER_DEAD: {
                bool may = false;

                for (unsigned r = 0; r < own->ranges; r++)
                        may |= may_be_dead(own->range[r], own->begin);
                if (!may || own->looks || own->recovers)
                        fail("OWNER_DEAD, and no writer has died");
                break;
        }
        case AMMAP_ERR_BOUNDS:
                if (!could_be_short(own))
                        fail("BOUNDS, and the map was never shorter");
                break;
        case AMMAP_ERR_READ_ONLY:
                if ((!writes_any && !own->watches && !own->looks) ||
                    (!was_freezing(own, 0) && !was_freezing(own, own->ranges - 1)))
                        fail("READ_ONLY, and nobody has frozen the map");
                break;
        case -EAGAIN:
                if (!model_map[own->range[0].map].crowded)
                        fail("EAGAIN, and few read");
                break;
        default:
                if (!was_refused(rc) || own->watches)
                        fail("a call answers %d", rc);
        }
        return rc;
}

/* --- Sleep --- */

bool sleeps_for(const struct thread *t, unsigned *map, unsigned *lane, enum how *how)
{
        for (unsigned m = 0; m < maps; m++) {
                const struct ammap *of = model_map[m].place != PRIVATE ? NULL : model_map[m].handle[t->process];

                for (unsigned l = 0; of && l < model_map[m].lanes; l++)
                        for (int kind = 0; kind < 2; kind++)
                                if (t->word == (const volatile void *)&of->lane[l].event[kind]) {
                                        *map = m;
                                        *lane = l;
                                        *how = kind ? HOW_WRITE : HOW_READ;
                                        return true;
                                }
        }
        return false;
}

void model_deadline(int64_t deadline)
{
        call[me()].latest = deadline;
}

void model_woken(void)
{
        call[me()].woke = clock_now;
}

/* Before a thread falls asleep. */
void model_sleep(int64_t deadline)
{
        struct call *own = &call[me()];
        unsigned map, lane;
        enum how how;

        if (alone[me()])
                fail("the only thread of a forked child sleeps");
        if (!own->is || !sleeps_for(current, &map, &lane, &how))
                return;
        if (own->patience == TRIES)
                fail("a call sleeps that is not to wait");
        if (own->patience == TIMED && deadline > own->latest)
                fail("a call sleeps for longer than its timeout");
        fair_sleep(map, lane, how);
}

void model_now(void)
{
        fair_now();
}

/* Whether a thread may hold a lane that it does not sleep for. */
static bool may_hold(unsigned t, unsigned map, unsigned lane, enum how how)
{
        if (how == HOW_WRITE && ((still_named[t][map] | still_named[THREADS_MAX + thread[t].process][map]) >> lane & 1))
                return true;
        for (unsigned i = 0; i <= HOLDS_MAX; i++) {
                const struct held *other = i < HOLDS_MAX ? &held[t][i] : &ending[t];

                if (other->is && other->range.map == map && lane >= lanes_of(other->range).first &&
                    lane <= lanes_of(other->range).last && (how == HOW_WRITE || other->how == HOW_WRITE))
                        return true;
        }
        for (unsigned r = 0; call[t].is && r < call[t].ranges; r++) {
                const struct range *range = &call[t].range[r];

                if (range->map == map && lane >= lanes_of(*range).first && lane <= lanes_of(*range).last &&
                    (how == HOW_WRITE || call[t].how[r] == HOW_WRITE))
                        return true;
        }
        return false;
}

/* Of the thread itself: what it has given to its process. */
static bool own_detached(unsigned t, unsigned map, unsigned lane, enum how how)
{
        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (held[t][i].is && held[t][i].detached && is_lane_of(held[t][i].range, map, lane) &&
                    (how == HOW_WRITE || held[t][i].how == HOW_WRITE))
                        return true;
        return how == HOW_WRITE && (still_named[THREADS_MAX + thread[t].process][map] >> lane & 1);
}

/* moving: those do not count that are stopped in their sleep, whose turn may be out. */
static bool is_in_the_way(unsigned sleeper, unsigned map, unsigned lane, enum how how, bool moving)
{
        if (own_detached(sleeper, map, lane, how))
                return true;
        for (unsigned t = 0; t < plan.threads; t++) {
                unsigned other_map, other_lane;
                enum how other_how;
                bool sleeps = thread[t].state == ASLEEP && !(thread[t].stopped && !moving) &&
                              sleeps_for(&thread[t], &other_map, &other_lane, &other_how);

                if (t == sleeper)
                        continue;
                if (!sleeps || other_map != map || other_lane != lane) {
                        if (may_hold(t, map, lane, how))
                                return true;
                } else {
                        /* Slices count all the same; and a writer that is kept out may have a turn. */
                        for (unsigned i = 0; i < HOLDS_MAX; i++)
                                if (held[t][i].is && held[t][i].range.map == map &&
                                    lane >= lanes_of(held[t][i].range).first &&
                                    lane <= lanes_of(held[t][i].range).last &&
                                    (how == HOW_WRITE || held[t][i].how == HOW_WRITE))
                                        return true;
                        if (how == HOW_READ && other_how == HOW_WRITE && is_in_the_way(t, map, lane, HOW_WRITE, moving))
                                return true;
                }
        }
        return false;
}

/* Where a sleep ends by itself and goes on: not for long, with nobody in the way. */
static void look_for_stall(unsigned number)
{
        struct call *own = &call[number];
        bool any = own->watches;

        for (unsigned r = 0; r < own->ranges; r++) {
                struct lanes lanes = lanes_of(own->range[r]);

                for (unsigned t = 0; t < plan.threads; t++)
                        for (unsigned lane = lanes.first; lane <= lanes.last; lane++)
                                any |= t != number ? may_hold(t, own->range[r].map, lane, own->how[r])
                                                   : own_detached(t, own->range[r].map, lane, own->how[r]);
        }
        if (any || !own->free_since)
                own->free_since = any ? 0 : clock_now;
        else if (clock_now - own->free_since > STALLED)
                fail("thread %u sleeps again and again, and nobody is in its way", number);
}

static bool kept_out; /* somebody, by threads that are stopped */

void model_quiet(void)
{
        kept_out = false;
        for (unsigned t = 0; t < plan.threads; t++) {
                unsigned map, lane;
                enum how how;

                if (thread[t].state != ASLEEP || thread[t].stopped || !call[t].is)
                        continue;
                if (call[t].watches && model_map[call[t].range[0].map].place == PRIVATE &&
                    thread[t].word == (const volatile void *)&model_map[call[t].range[0].map]
                                              .handle[thread[t].process]
                                              ->common.written &&
                    was_written(&call[t], clock_now))
                        fail("thread %u watches a range that has been written: a wake-up is lost", t);
                if (!sleeps_for(&thread[t], &map, &lane, &how)) {
                        look_for_stall(t);
                        continue;
                }
                fair_claimed(t);
                kept_out |= !is_in_the_way(t, map, lane, how, true);
                if (!is_in_the_way(t, map, lane, how, false))
                        fail("thread %u sleeps for lane %u of map %u, and nobody is in its way: a wake-up is lost", t,
                             lane, map);
        }
}

void model_passed(int64_t time)
{
        fair_quiet(time, kept_out);
}

/* For who reads of a failure. */
void model_tell(void)
{
        for (unsigned t = 0; t < plan.threads; t++) {
                printf("sim:   thread %u of process %u, %s:", t, thread[t].process,
                       thread[t].state == ENDED    ? "ended"
                       : thread[t].state == ASLEEP ? "asleep"
                                                   : "ready");
                for (unsigned i = 0; i < HOLDS_MAX; i++)
                        if (held[t][i].is)
                                printf(" has map %u words %u to %u to %s;", held[t][i].range.map,
                                       held[t][i].range.first, held[t][i].range.first + held[t][i].range.count - 1,
                                       held[t][i].how == HOW_WRITE ? "write" : "read");
                for (unsigned r = 0; call[t].is && r < call[t].ranges; r++)
                        printf(" wants map %u words %u to %u to %s%s;", call[t].range[r].map, call[t].range[r].first,
                               call[t].range[r].first + call[t].range[r].count - 1,
                               call[t].how[r] == HOW_WRITE ? "write" : "read",
                               call[t].patience == TRIES   ? ", if it need not wait"
                               : call[t].patience == TIMED ? ", for a time"
                                                           : "");
                printf("\n");
        }
}

void model_end(void)
{
        for (unsigned t = 0; t < plan.threads; t++)
                if (call[t].is)
                        fail("thread %u has ended within a call", t);
}
