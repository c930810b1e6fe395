/* draw.c - the operations that a seed stands for
 *
 * SPDX-License-Identifier: MIT
 *
 * A seed draws how a run is to go, the maps, and for each thread what it does.  A thread waits
 * only for what comes behind all that it holds, so that no two wait for each other.
 */
#include "draw.h"

#include "map/map.h"

#include <string.h>

enum { CLONES_MAX = 4 }; /* of a run: each has memory of its own */

enum op {
        OP_READ,
        OP_UPDATE,
        OP_SLICE,
        OP_MUT_SLICE,
        OP_RELEASE,
        OP_DOWNGRADE,
        OP_SLEEP,
        OP_COPY,
        OP_RESIZE,
        OP_WATCH,
        OP_ZERO,
        OP_RECOVER,
        OP_FREEZE,
        OP_FORK,
        /* From here on: in some runs alone. */
        OP_DETACH,
        OP_MEND,
        OP_CLONE,
        OP_VIEW,
        OP_LOAD,
        OP_WAIT_WORD,
        OP_WAKE_WORD,
        OP_HOLDERS,
        OP_VISIT,
        OPS,
        OPS_ALWAYS = OP_DETACH
};

static struct chance chance[THREADS_MAX + 1]; /* the last one: what is drawn before */
static uint32_t share[OPS];                   /* how often each is drawn */
static unsigned length;                       /* operations of a thread */
static bool dies, small, waits, sharing, doubled;
static enum place place;
static unsigned clones_left;
static bool hoards;

struct chance *mine(void)
{
        return &chance[current ? current->number : THREADS_MAX];
}

uint32_t below(uint32_t count)
{
        return draw_below(mine(), count);
}

static void begin_chances(uint64_t seed)
{
        for (unsigned i = 0; i <= THREADS_MAX; i++)
                chance[i].state = seed * (THREADS_MAX + 2) + i + 1;
}

/* A few of the others, so that what has been found with those above is found as soon. */
static void draw_others(bool any)
{
        for (unsigned op = OPS_ALWAYS; op < OPS; op++)
                share[op] = any && below(3) == 0 ? 1 + below(8) : 0;
        clones_left = CLONES_MAX;
        visits_begin();
}

/* Apart from all else that is drawn. */
static void draw_place(uint64_t seed)
{
        struct chance chance = { ~seed };

        place = !sharing ? PRIVATE : draw_below(&chance, 3) == 0 ? IN_FILE : SHARED;
        if (place == IN_FILE && share[OP_FORK] > 0)
                plan.refusals = 0; /* a child that is refused a descriptor has no map */
}

/* Likewise. */
static void draw_hoards(uint64_t seed)
{
        struct chance chance = { ~seed << 1 };

        hoards = draw_below(&chance, 8) == 0;
}

void draw_plan(uint64_t seed)
{
        begin_chances(seed);
        plan = (struct plan){ .seed = seed };
        plan.order = below(4) == 0 ? ORDER_WALK : ORDER_PRIORITIES;
        plan.threads = 2 + below(3);
        plan.changes = below(8);
        plan.length = 32U << below(7);
        plan.walk = 2U << below(6);
        plan.drain = below(3) == 0 ? 1 : below(2) ? 0 : 2U << below(6);
        plan.spins = below(3) == 0;
        plan.asymmetric = below(2);
        plan.plain = below(8) == 0;
        plan.spurious = below(16) == 0 ? 2 + below(8) : 0;
        plan.jumps = below(3) == 0 ? 1 + below(4) : 0;
        plan.stops = below(8) == 0 ? 1 + below(2) : 0;
        sharing = below(3) == 0;
        doubled = sharing && below(3) == 0;
        plan.processes = sharing ? 1 + below(plan.threads) : 1;
        plan.kills = plan.processes > 1 && below(2) ? 1 + below(2) : 0;
        length = 1 + (below(6) == 0 ? below(24) : below(6));
        dies = below(8) == 0;
        small = below(2);
        waits = below(2);
        for (unsigned op = 0; op < OPS_ALWAYS; op++)
                share[op] = below(3) == 0 ? 0 : 1 + below(8);
        share[OP_RELEASE] += 2;
        share[OP_FREEZE] = below(16) == 0;
        share[OP_RECOVER] = dies || plan.kills ? share[OP_RECOVER] : 0;
        share[OP_FORK] = below(4) == 0;
        if (share[OP_FORK] && below(2))
                share[OP_FREEZE] = 1;
        if (below(2))
                share[OP_RESIZE] = 0;
        if (plan.kills)
                share[OP_FREEZE] = 0;
        draw_others(below(4) == 0);
        plan.refusals = below(6) == 0 ? 2 + below(12) : 0;
        draw_place(seed);
        draw_hoards(seed);
}

/* --- Maps --- */

static ammap_options_t options_of(const struct model_map *map)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.lanes = map->lanes;
        options.capacity = (uint64_t)map->words * 8;
        options.share = map->place == PRIVATE ? AMMAP_PRIVATE : AMMAP_SHARED;
        return options;
}

/* size: to make it; 0: it is there. */
static void open_map(const struct model_map *map, uint64_t size, bool pointers, ammap_t **handle)
{
        const char path[] = { (char)('0' + (map - model_map)), '\0' };
        ammap_options_t options = options_of(map);
        int rc;

        options.allow_faults = pointers;
        if ((rc = ammap_open(handle, path, size, &options)) < 0)
                fail("no map in a file: %d", rc);
}

/* Whoever makes a file of this kind has no pointers to it. */
static void make_file(struct model_map *made)
{
        ammap_t *first;
        int rc;

        open_map(made, (uint64_t)made->words * 8, false, &first);
        if ((rc = ammap_free(first)) < 0)
                fail("it is not freed: %d", rc);
        open_map(made, 0, true, &made->handle[0]);
}

void make_map(unsigned lanes, enum place of)
{
        struct model_map *made = &model_map[maps++];
        ammap_options_t options;
        int rc;

        made->place = of;
        made->lanes = lanes;
        made->words = made->length = lanes * WORDS;
        options = options_of(made);
        if (of == IN_FILE)
                make_file(made);
        else if ((rc = ammap_new_with(&made->handle[0], options.capacity, &options)) < 0)
                fail("no map: %d", rc);
}

static void get_map(const struct model_map *map, int fd, ammap_t **handle)
{
        int rc;

        if (map->place == IN_FILE)
                open_map(map, 0, true, handle);
        else if ((rc = ammap_import(handle, fd, NULL)) < 0)
                fail("no import: %d", rc);
}

/* The first process has made them. */
void import_maps(void)
{
        for (unsigned m = 0; m < maps; m++) {
                struct model_map *map = &model_map[m];
                int fd = ammap_fd(map->handle[0]);

                files_give(fd);
                for (unsigned p = 0; p < plan.processes; p++) {
                        enter_process(p);
                        if (p > 0)
                                get_map(map, fd, &map->handle[p]);
                        if (doubled)
                                get_map(map, fd, &map->other[p]);
                }
                enter_process(0);
        }
}

/* Counted reads, until there is a bias. */
void warm_up(void)
{
        enum { READS = 6 };

        for (unsigned m = 0; m < maps; m++)
                for (unsigned read = 0; read < READS * model_map[m].lanes; read++) {
                        ammap_slice_t slice;
                        int rc = ammap_as_slice(handle_of(m), (read / READS) * WORDS * 8, 8, &slice);

                        if (rc < 0 || (rc = ammap_slice_release(&slice)) < 0)
                                fail("a slice answers %d where nobody is", rc);
                }
}

static struct lane *lane_at(struct range range)
{
        return &model_map[range.map].handle[current ? current->process : 0]->lane[range.first / WORDS];
}

void bias_soon(struct range range)
{
        atomic_store(&lane_at(range)->bias_countdown, 0);
}

void add_readers(struct range range, uint64_t count)
{
        atomic_fetch_add(&lane_at(range)->word, count * LANE_READER);
        model_map[range.map].crowd = count;
        model_map[range.map].crowded = true;
}

void take_readers(struct range range)
{
        atomic_fetch_sub(&lane_at(range)->word, model_map[range.map].crowd * LANE_READER);
        model_map[range.map].crowd = 0;
}

void draw_scene(void)
{
        unsigned count = 1 + (below(4) == 0);

        /* A copy between two shared maps may wait for a slice of one while a shrink of the other waits for it. */
        if (sharing && count > 1 && share[OP_COPY] > 0)
                share[OP_RESIZE] = 0;
        for (unsigned i = 0; i < count; i++)
                make_map(below(2) ? 1 : 1 + below(LANES_MAX), place);
        if (below(2) && !sharing)
                warm_up();
        if (sharing)
                import_maps();
}

struct range draw_range(void)
{
        unsigned map = below(maps), lane = below(model_map[map].lanes);
        struct range range = { map, lane * WORDS, 1 };

        switch (below(small ? 3 : 5)) {
        case 0:
                range.count = 2;
                break;
        case 1:
                range.count = 8;
                break;
        case 2:
                break;
        case 3:
                range.first += below(WORDS);
                range.count = 1 + below(model_map[map].words - range.first);
                break;
        default:
                range.first = 0;
                range.count = model_map[map].words;
        }
        return range;
}

uint64_t offset_of(struct range range)
{
        return (uint64_t)range.first * 8;
}

/* --- Operations --- */

static enum patience draw_patience(void)
{
        return waits || below(3) == 0 ? WAITS : below(2) ? TRIES : TIMED;
}

static unsigned lane_of(unsigned word)
{
        return word / WORDS;
}

/* Whether the thread may wait for it, whatever it holds. */
bool may_wait(struct range range, enum how how)
{
        struct held *own = own_holds();

        if (own_hold(range, how))
                return true;
        /* What has been detached of a shared map may keep more lanes than it has (still_named). */
        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is && own[i].detached && model_map[own[i].range.map].place == SHARED)
                        return false;
        for (unsigned m = 0; m < maps; m++)
                if (own_names(m))
                        return false;
        for (unsigned i = 0; i < HOLDS_MAX; i++) {
                unsigned last = lane_of(own[i].range.first + own[i].range.count - 1);

                if (!own[i].is || own[i].range.map < range.map)
                        continue;
                if (own[i].range.map > range.map || last > lane_of(range.first))
                        return false;
                /* Beside what is detached even a reader waits, behind writers who wait. */
                if (last == lane_of(range.first) && (how == HOW_WRITE || own[i].how == HOW_WRITE || own[i].detached))
                        return false;
        }
        return true;
}

bool holds_any(void)
{
        struct held *own = own_holds();

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is)
                        return true;
        return false;
}

static enum patience patience_for(struct range range, enum how how)
{
        enum patience patience = draw_patience();

        return patience == WAITS && !may_wait(range, how) ? TRIES : patience;
}

static int64_t timeout_of[THREADS_MAX]; /* 0: it is drawn */

void next_timeout(int64_t time)
{
        timeout_of[current->number] = time;
}

static int64_t draw_timeout(void)
{
        int64_t *given = current ? &timeout_of[current->number] : NULL, timeout = given ? *given : 0;

        if (given)
                *given = 0;
        return timeout ? timeout : (int64_t)draw_wide(mine(), 25);
}

int64_t begin(struct range range, enum how how, enum patience patience)
{
        int64_t timeout = patience == TIMED ? draw_timeout() : -1;

        call_begin(range, how, patience, timeout < 0 ? INT64_MAX : clock_now + timeout);
        return timeout;
}

void do_read(struct range range, enum patience patience)
{
        uint64_t value[WORDS_MAX], since = model_tick();
        int64_t timeout = begin(range, HOW_READ, patience);
        ammap_t *map = handle_of(range.map);
        size_t size = range.count * sizeof *value;
        int rc = patience == WAITS   ? ammap_read_into(map, offset_of(range), value, size)
                 : patience == TRIES ? ammap_try_read_into(map, offset_of(range), value, size)
                                     : ammap_timed_read_into(map, offset_of(range), value, size, timeout);

        if (call_end(rc) == 0)
                read_check(range, value, since);
}

void do_update(struct range range, enum patience patience)
{
        uint64_t value[WORDS_MAX], stamp = write_begin(range, false);
        int64_t timeout = begin(range, HOW_WRITE, patience);
        ammap_t *map = handle_of(range.map);
        size_t size = range.count * sizeof *value;
        int rc;

        for (unsigned i = 0; i < range.count; i++)
                value[i] = write_value(stamp);
        rc = patience == WAITS   ? ammap_update_region(map, offset_of(range), value, size)
             : patience == TRIES ? ammap_try_update_region(map, offset_of(range), value, size)
                                 : ammap_timed_update_region(map, offset_of(range), value, size, timeout);
        if (call_end(rc) == 0)
                write_end(stamp);
        else
                write_drop(stamp);
}

static void do_zero(struct range range)
{
        uint64_t stamp, size = (uint64_t)range.count * 8;
        ammap_t *map;
        int rc;

        if (!may_wait(range, HOW_WRITE))
                return;
        stamp = write_begin(range, true);
        begin(range, HOW_WRITE, WAITS);
        map = handle_of(range.map);
        rc = below(2) ? ammap_fill(map, offset_of(range), size, 0) : ammap_discard(map, offset_of(range), size);
        if (call_end(rc) == 0)
                write_end(stamp);
        else
                write_drop(stamp);
}

bool has_room(void)
{
        struct held *own = own_holds();

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (!own[i].is)
                        return true;
        return false;
}

static void look_at(const struct held *own, const void *data, uint64_t since)
{
        uint64_t value[WORDS_MAX];

        for (unsigned i = 0; i < own->range.count; i++) {
                step("the program reads", (const uint64_t *)data + i);
                value[i] = ((const volatile uint64_t *)data)[i];
        }
        read_check(own->range, value, since);
}

struct held *do_slice(struct range range, enum patience patience)
{
        uint64_t since = model_tick();
        int64_t timeout = begin(range, HOW_READ, patience);
        ammap_t *map = handle_of(range.map);
        uint64_t size = (uint64_t)range.count * 8;
        ammap_slice_t slice;
        struct held *own;
        int rc = patience == WAITS   ? ammap_as_slice(map, offset_of(range), size, &slice)
                 : patience == TRIES ? ammap_try_as_slice(map, offset_of(range), size, &slice)
                                     : ammap_timed_as_slice(map, offset_of(range), size, timeout, &slice);

        if (call_end(rc) < 0)
                return NULL;
        own = hold_begin(range, HOW_READ);
        own->slice.read = slice;
        look_at(own, slice.data, since);
        return own;
}

void overwrite(const struct held *own)
{
        uint64_t *data = own->slice.write.data, value = write_value(own->stamp);

        for (unsigned i = 0; i < own->range.count; i++) {
                step("the program writes", data + i);
                store_delayed((uintptr_t)(data + i), value, sizeof *data);
        }
        for (unsigned i = 0; i < own->range.count; i++) {
                step("the program reads", data + i);
                if (load_seen((uintptr_t)(data + i), sizeof *data) != value)
                        fail("another thread has written within a mut slice");
        }
}

struct held *do_mut_slice(struct range range, enum patience patience)
{
        int64_t timeout = begin(range, HOW_WRITE, patience);
        ammap_t *map = handle_of(range.map);
        uint64_t size = (uint64_t)range.count * 8;
        ammap_mut_slice_t slice;
        struct held *own;
        int rc = patience == WAITS   ? ammap_as_mut_slice(map, offset_of(range), size, &slice)
                 : patience == TRIES ? ammap_try_as_mut_slice(map, offset_of(range), size, &slice)
                                     : ammap_timed_as_mut_slice(map, offset_of(range), size, timeout, &slice);

        if (call_end(rc) < 0)
                return NULL;
        own = hold_begin(range, HOW_WRITE);
        own->slice.write = slice;
        overwrite(own);
        return own;
}

static void do_one(enum op op);
static enum op draw_op(void);

void release(struct held *own)
{
        struct held was = *own;
        int rc;

        if (was.how == HOW_READ && !was.detached) /* which another thread may release the while */
                look_at(own, was.slice.read.data, model_tick());
        hold_end(own);
        if (was.how == HOW_WRITE)
                fair_leave(was.range);
        rc = was.how == HOW_READ ? ammap_slice_release(&was.slice.read) : ammap_mut_slice_release(&was.slice.write);
        if (rc != 0)
                fail("a release answers %d", rc);
        if (was.how == HOW_WRITE) {
                fair_left(was.range);
                write_end(was.stamp);
        } else {
                fair_read(was.range.map);
        }
        if (was.recovers)
                recovery_end(was.range, was.taken);
        hold_ended(was.range.map);
        reach_end(was.range);
}

struct held *any_own(enum how how, bool whichever)
{
        struct held *own = own_holds(), *found = NULL;
        unsigned count = 0;

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is && (whichever || own[i].how == how) && below(++count) == 0)
                        found = &own[i];
        return found;
}

void do_release(void)
{
        struct held *own = any_own(HOW_READ, true);

        if (own)
                release(own);
}

void do_downgrade(void)
{
        struct held *own = any_own(HOW_WRITE, false);
        ammap_slice_t slice;
        int rc;

        if (!own || own->detached)
                return;
        hold_downgrade(own);
        rc = ammap_mut_slice_downgrade(&own->slice.write, &slice);
        if (rc != 0)
                fail("a downgrade answers %d", rc);
        write_end(own->stamp);
        if (own->recovers)
                recovery_end(own->range, own->taken);
        own->recovers = false;
        own->since = model_tick();
        own->slice.read = slice;
}

void do_rest(int64_t time)
{
        static char nothing;

        stores_flush(current); /* as before each call of the system */
        fall_asleep(&nothing, clock_now + time);
}

static void do_sleep(void)
{
        do_rest((int64_t)draw_wide(mine(), below(4) == 0 ? 25 : 14));
}

/* Within one map, or from one to another; by whichever handles. */
void do_copy(struct range to, struct range from)
{
        uint64_t stamp;
        int rc;

        if (holds_any())
                return;
        to.count = from.count = to.count < from.count ? to.count : from.count;
        stamp = write_begin(to, false);
        write_copies(stamp);
        begin(to, HOW_WRITE, WAITS);
        call_also(from, HOW_READ);
        rc = ammap_copy(handle_of(to.map), offset_of(to), handle_of(from.map), offset_of(from), (uint64_t)to.count * 8);
        if (call_end(rc) == 0)
                write_end(stamp);
        else
                write_drop(stamp);
}

/* A shrink of a shared map waits for copies, and a copy between two maps waits for slices of one while
 * it has the other: so it is with two maps as with two locks. */
static bool holds_another(const struct model_map *map)
{
        const struct held *own = own_holds();

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is && &model_map[own[i].range.map] != map)
                        return true;
        return false;
}

void do_resize(unsigned number, unsigned to)
{
        struct model_map *map = &model_map[number];
        unsigned from = map->length;
        uint64_t stamp = 0, begun;
        int rc;

        if (map->resizing || (map->place != PRIVATE && holds_another(map)))
                return;
        begun = model_tick();
        refusals_forget();
        map->resizing++;
        map->resizer = current->number + 1;
        if (to < from)
                stamp = write_begin((struct range){ (unsigned)(map - model_map), to, from - to }, true);
        if (stamp)
                write_resizes(stamp);
        visit_begin((unsigned)(map - model_map));
        rc = ammap_resize(handle_of((unsigned)(map - model_map)), (uint64_t)to * 8);
        visit_end((unsigned)(map - model_map));
        if (rc != 0 && rc != AMMAP_ERR_BUSY && rc != AMMAP_ERR_OWNER_DEAD && rc != AMMAP_ERR_READ_ONLY &&
            !was_refused(rc))
                fail("a resize answers %d", rc);
        if (rc == 0 && to < from && (view_behind(number, to, begun) || slice_behind(number, to, begun)))
                fail("a map is made shorter, and a view or a slice ends behind that");
        if (rc == AMMAP_ERR_BUSY && map->place == PRIVATE &&
            (to >= from || !(was_reached(number, to, begun) || any_view(current->process, number, begun))))
                fail("map %u is not made shorter, to %u words, and no slice was in the way", number, to);
        if (rc == 0)
                map->length = to;
        if (stamp && rc == 0)
                write_end(stamp);
        else if (stamp)
                write_drop(stamp);
        map->resized = model_tick();
        map->resizing--;
        map->resizer = 0;
}

void do_watch(struct range range)
{
        uint64_t generation = 0, since;
        int64_t timeout = (int64_t)draw_wide(mine(), 26);
        ammap_t *map = handle_of(range.map);

        if (holds_any())
                return;
        call_begin(range, HOW_READ, TIMED, INT64_MAX);
        call_watches(UINT64_MAX);
        if (call_end(ammap_wait_change(map, offset_of(range), (uint64_t)range.count * 8, &generation, 0)) < 0)
                return;
        since = model_tick();
        call_begin(range, HOW_READ, TIMED, clock_now + timeout);
        call_watches(since);
        call_end(ammap_wait_change(map, offset_of(range), (uint64_t)range.count * 8, &generation, timeout));
}

static void do_recover(void)
{
        const unsigned map = below(maps);
        const struct range all = { map, 0, model_map[map].words };
        uint64_t since = model_tick();
        int rc;

        recovery_begin(all);
        visit_begin(map);
        refusals_forget();
        rc = ammap_recover(handle_of(map));
        visit_end(map);
        if (rc != 0 && !was_refused(rc))
                fail("a recovery answers %d", rc);
        if (rc != 0)
                recovery_fail(all);
        else
                recovery_end(all, since);
}

void do_freeze(unsigned number)
{
        struct model_map *map = &model_map[number];
        uint64_t begun;
        int rc;

        if (holds_any() || map->freezing)
                return;
        begun = model_tick();
        map->freezing = model_tick();
        call_begin((struct range){ number, 0, map->words }, HOW_WRITE, WAITS, INT64_MAX);
        call_freezes();
        rc = ammap_freeze(handle_of(number));
        call_over();
        if (rc == 0 && view_behind(number, 0, begun))
                fail("a map is frozen, and a view is alive");
        if (rc == 0) {
                map->frozen = model_tick();
                return;
        }
        map->freezing = 0;
        map->cancelled = model_tick();
        if (rc != AMMAP_ERR_OWNER_DEAD && !was_refused(rc) &&
            !(rc == AMMAP_ERR_BUSY && any_view(current->process, number, begun)))
                fail("a freeze answers %d", rc);
}

/* A private map in a forked child, whose only thread holds nothing: nobody is in the way. */
static void look_at_copy(unsigned m, uint64_t since)
{
        ammap_t *map = handle_of(m);
        int rc;

        for (unsigned lane = 0; lane < model_map[m].lanes; lane++) {
                struct range range = { m, lane * WORDS, WORDS };
                struct forked was = forked_lane(m, lane);
                uint64_t value[WORDS];

                rc = ammap_try_read_into(map, offset_of(range), value, sizeof value);
                if (rc != 0 && !(rc == AMMAP_ERR_OWNER_DEAD && was.may_be_dead) && !(rc == AMMAP_ERR_BOUNDS && was.cut))
                        fail("a forked child reads its copy of a map: %d", rc);
                if (rc == 0 && was.dead)
                        fail("a forked child reads what another thread had begun to write");
                if (rc == 0)
                        read_check(range, value, since);
        }
        if ((rc = ammap_recover(map)) != 0)
                fail("a forked child recovers its copy of a map: %d", rc);
        for (unsigned lane = 0; lane < model_map[m].lanes; lane++) {
                struct range range = { m, lane * WORDS, WORDS };
                struct forked was = forked_lane(m, lane);
                uint64_t value[WORDS] = { lane }, found[WORDS];

                (void)ammap_update_region(map, offset_of(range), value, sizeof value);
                rc = ammap_update_region(map, offset_of(range), value, sizeof value);
                if (rc == 0 && was.frozen)
                        fail("a forked child writes a map that is frozen");
                if (rc == 0 && (rc = ammap_read_into(map, offset_of(range), found, sizeof found)) == 0 &&
                    memcmp(value, found, sizeof value) != 0)
                        fail("a forked child does not find what it wrote");
                if (rc != 0 && !(rc == AMMAP_ERR_READ_ONLY && was.may_be_frozen) &&
                    !(rc == AMMAP_ERR_BOUNDS && was.cut))
                        fail("a forked child writes its copy of a map: %d", rc);
        }
        if ((rc = ammap_resize(map, (uint64_t)model_map[m].words * 8)) != 0 &&
            !(rc == AMMAP_ERR_READ_ONLY && forked_lane(m, 0).may_be_frozen))
                fail("a forked child resizes its copy of a map: %d", rc);
        if ((rc = ammap_free(map)) != 0 && !(rc == AMMAP_ERR_BUSY && forked_lane(m, 0).viewed))
                fail("a forked child frees its copy of a map: %d", rc);
}

/* A thread that has detached what it holds may fork all the same. */
static bool holds_for_good(void)
{
        const struct held *own = own_holds();

        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is && !own[i].detached)
                        return true;
        return false;
}

/* Before a thread's end. */
static void end_tasks(void)
{
        struct held *own = own_holds();

        thread_closes();
        for (unsigned i = 0; i < HOLDS_MAX; i++)
                if (own[i].is && own[i].detached && (below(2) || !hold_hand_over(&own[i])))
                        release(&own[i]);
        do_view_end();
}

/* The child goes on with maps that are shared, and has a look at its copies of the others. */
static void do_fork(void)
{
        uint64_t since = model_tick();

        if (holds_for_good() || own_view() || fork_process() != 0)
                return;
        if (!sharing) {
                if (share[OP_VISIT] > 0)
                        do_visit();
                thread_is_alone();
                current->spared = true;
        }
        for (unsigned m = 0; m < maps && !sharing; m++)
                look_at_copy(m, since);
        for (unsigned done = 0; done < length && sharing; done++)
                do_one(draw_op());
        end_tasks();
        for (struct held *own; (own = any_own(HOW_READ, true));)
                release(own);
        end_thread();
}

static void do_one(enum op op)
{
        struct range range = draw_range();
        unsigned words = model_map[range.map].words;

        switch (op) {
        case OP_READ:
                do_read(range, patience_for(range, HOW_READ));
                break;
        case OP_UPDATE:
                do_update(range, patience_for(range, HOW_WRITE));
                break;
        case OP_SLICE:
                if (has_room())
                        do_slice(range, patience_for(range, HOW_READ));
                break;
        case OP_MUT_SLICE:
                if (has_room())
                        do_mut_slice(range, patience_for(range, HOW_WRITE));
                break;
        case OP_RELEASE:
                do_release();
                break;
        case OP_DOWNGRADE:
                do_downgrade();
                break;
        case OP_SLEEP:
                do_sleep();
                break;
        case OP_COPY:
                do_copy(range, draw_range());
                break;
        case OP_RESIZE:
                do_resize(range.map, below(2) ? words : 1 + below(words));
                break;
        case OP_WATCH:
                do_watch(range);
                break;
        case OP_ZERO:
                do_zero(range);
                break;
        case OP_RECOVER:
                do_recover();
                break;
        case OP_FORK:
                do_fork();
                break;
        case OP_DETACH:
                do_detach();
                break;
        case OP_MEND:
                if (has_room())
                        do_mend(range);
                break;
        case OP_CLONE:
                if (clones_left > 0) {
                        clones_left--;
                        do_clone(range.map);
                }
                break;
        case OP_VIEW:
                do_view(range);
                break;
        case OP_LOAD:
                do_load(range);
                break;
        case OP_WAIT_WORD:
                do_wait_word(range);
                break;
        case OP_WAKE_WORD:
                do_wake_word(range);
                break;
        case OP_HOLDERS:
                do_holders(range);
                break;
        case OP_VISIT:
                do_visit();
                break;
        default:
                do_freeze(below(maps));
        }
}

static enum op draw_op(void)
{
        uint32_t all = 0, at;

        for (unsigned op = 0; op < OPS; op++)
                all += share[op];
        at = below(all);
        for (unsigned op = 0;; op++) {
                if (at < share[op])
                        return (enum op)op;
                at -= share[op];
        }
}

void draw_thread(unsigned number)
{
        const bool hoard = hoards && below(2), left = hoard && below(2);

        (void)number;
        if (hoard)
                hoard_begin();
        for (unsigned done = 0; done < length; done++)
                do_one(draw_op());
        end_tasks();
        if (hoard && !left)
                hoard_end();
        if (dies && below(2)) {
                thread_dies();
                return;
        }
        for (struct held *own; (own = any_own(HOW_READ, true));)
                release(own);
}
