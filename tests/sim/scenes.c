/* scenes.c - short runs, to be searched whole
 *
 * SPDX-License-Identifier: MIT
 *
 * What each thread does is fixed, and all ways are tried in which they can be interleaved with a
 * bounded number of preemptions.
 */
#include "draw.h"

static const struct range word = { 0, 0, 2 }, second = { 0, WORDS, 2 }, both = { 0, 0, 2 * WORDS },
                          further = { 0, 0, WORDS };

static void slice(struct range range)
{
        do_slice(range, WAITS);
        do_release();
}

static void mut_slice(struct range range)
{
        do_mut_slice(range, WAITS);
        do_release();
}

/* Readers get the bias first, by so many counted reads. */
static void bias(void)
{
        for (int i = 0; i < 6; i++)
                slice(word);
}

static void two_writers(unsigned number)
{
        (void)number;
        mut_slice(word);
        do_update(word, WAITS);
}

static void writer_and_reader(unsigned number)
{
        if (number == 0) {
                mut_slice(word);
        } else {
                do_read(word, WAITS);
                slice(word);
        }
}

static void writer_and_bias(unsigned number)
{
        if (number == 0) {
                bias();
                slice(word);
        } else {
                do_update(word, WAITS);
                slice(word);
        }
}

/* The bias is there already. */
static void biased(unsigned number)
{
        if (number == 0)
                slice(word);
        else
                mut_slice(word);
}

static void downgrade(unsigned number)
{
        if (number == 0) {
                do_mut_slice(word, WAITS);
                do_downgrade();
                do_release();
        } else {
                mut_slice(word);
        }
}

static void lanes(unsigned number)
{
        if (number == 0)
                mut_slice(both);
        else
                mut_slice(second);
}

/* Who reads reads again, and further, beside one who first shrinks the map and then writes it. */
static void again(unsigned number)
{
        if (number == 0) {
                do_slice(word, WAITS);
                do_slice(further, WAITS);
                do_release();
                do_release();
        } else {
                do_resize(0, 1);
                do_update(word, WAITS);
        }
}

/* What is detached, beside one who would cut it: it stands twice then, and is not missed. */
static void detached(unsigned number)
{
        if (number == 0) {
                do_slice(further, WAITS);
                do_detach();
                do_release();
        } else {
                do_resize(0, 1);
        }
}

/* Who has detached what it writes ends, and the process writes on, which another thread is told; the
 * last of both releases it.  The system may have refused the detach. */
static bool looked;

static void left_detached(unsigned number)
{
        if (number == 0) {
                const struct held *own;

                do_mut_slice(word, WAITS);
                do_detach();
                own = any_own(HOW_READ, true);
                if (own && (looked || !own->detached))
                        do_release();
        } else {
                do_update(word, TRIES);
                looked = true;
                do_detach();
        }
}

/* From lane to lane, beside one who takes both to shrink the map. */
static void copies(unsigned number)
{
        if (number == 0)
                do_copy(second, word);
        else
                do_resize(0, 1);
}

/* A copy between two maps waits for a slice of one, whose thread tries to read what a shrink of the
 * other takes. */
static void between(unsigned number)
{
        const struct range there = { 1, 0, 2 }, last = { 0, WORDS - 1, 1 };

        switch (number) {
        case 0:
                do_copy(there, word);
                break;
        case 1:
                do_mut_slice(there, WAITS);
                do_read(last, TRIES);
                do_release();
                break;
        default:
                do_resize(0, 1);
        }
}

/* The same slice's thread shrinks the map, and another one freezes it, which waits for the copy. */
static void between_frozen(unsigned number)
{
        const struct range there = { 1, 0, 2 };

        switch (number) {
        case 0:
                do_copy(there, second);
                break;
        case 1:
                do_mut_slice(there, WAITS);
                do_resize(0, 1);
                do_release();
                break;
        default:
                do_freeze(0);
        }
}

/* Each waits for what comes behind what it has, and nobody for ever. */
static void chain(unsigned number)
{
        const struct range third = { 0, 2 * WORDS, 2 }, all = { 0, 0, 3 * WORDS };

        switch (number) {
        case 0:
                do_slice(second, WAITS);
                do_update(third, WAITS);
                do_release();
                break;
        case 1:
                do_mut_slice(word, WAITS);
                do_update(second, WAITS);
                do_release();
                break;
        default:
                slice(all);
        }
}

/* Neither waits for the other's patience to end. */
static void freezes(unsigned number)
{
        if (number == 0)
                do_freeze(0);
        else
                do_resize(0, 1);
}

static void watcher(unsigned number)
{
        if (number == 0)
                do_watch(word);
        else
                do_update(word, WAITS);
}

static void three(unsigned number)
{
        if (number == 0)
                mut_slice(word);
        else
                slice(word);
}

/* A map comes and goes, and another thread forks: the child makes such a map, too. */
static void visitor(unsigned number, enum place place)
{
        if (number == 0) {
                visit(place);
        } else if (fork_process() == 0) {
                visit(place);
                end_thread();
        }
}

static void visitors(unsigned number)
{
        visitor(number, SHARED);
}

static void file_visitors(unsigned number)
{
        visitor(number, IN_FILE);
}

/* A thread ends with many slices of its own, and another one begins, and has as many. */
static void hoards(unsigned number)
{
        hoard_begin();
        if (number > 0)
                hoard_end();
}

static const struct scene {
        void (*body)(unsigned number);
        const char *name;
        unsigned threads, lanes, processes; /* processes: 0, a private map */
        bool spins;                         /* there are several processors */
        unsigned stops;                     /* of a thread that was woken */
        bool calm;                          /* nobody is preempted */
        bool plain;                         /* plain accesses are steps, too */
        bool file;                          /* of a map in a file */
} scene[] = {
        { two_writers, "two_writers", 2, 1, 0 },
        { writer_and_reader, "writer_and_reader", 2, 1, 0 },
        { writer_and_bias, "writer_and_bias", 2, 1, 0 },
        { biased, "biased", 2, 1, 0 },
        { biased, "biased_three", 3, 1, 0 },
        { downgrade, "downgrade", 2, 1, 0 },
        { lanes, "lanes", 2, 2, 0 },
        { between, "between", 3, 1, 0 },
        { between_frozen, "between_frozen", 3, 2, 0 },
        { watcher, "watcher", 2, 1, 0 },
        { three, "three", 3, 1, 0 },
        { two_writers, "shared_writers", 2, 1, 2 },
        { writer_and_reader, "shared_reader", 2, 1, 2 },
        { downgrade, "shared_downgrade", 2, 1, 2 },
        { lanes, "shared_lanes", 2, 2, 2 },
        { copies, "copies", 2, 2, 0 },
        { copies, "shared_copies", 2, 2, 2 },
        { again, "again", 2, 1, 0 },
        { again, "shared_again", 2, 1, 2 },
        { detached, "detached", 2, 1, 0 },
        { left_detached, "left_detached", 2, 1, 1 },
        { past_a_writer, "past_a_writer", 3, 1, 0 },
        { past_a_turn, "past_a_turn", 4, 1, 0 },
        { past_a_look, "past_a_look", 4, 1, 0 },
        { past_a_reader, "past_a_reader", 2, 1, 0 },
        { past_writers, "past_writers", 2, 1, 0 },
        { claimed_in_vain, "claimed_in_vain", 3, 1, 0 },
        { given_up, "given_up", 3, 1, 0 },
        { one_wake_up, "one_wake_up", 4, 1, 0 },
        { turn_of_nobody, "turn_of_nobody", 2, 1, 0 },
        { turn_of_no_reader, "turn_of_no_reader", 2, 1, 0 },
        { stopped, "stopped", 3, 1, 0, .stops = 1, .calm = true },
        { named, "named", 2, 1, 0 },
        { bias_back, "bias_back", 2, 1, 0, .spins = true },
        { settled_back, "settled_back", 2, 3, 0, .spins = true },
        { settled, "settled", 2, 2, 0 },
        { asks, "asks", 2, 1, 0, .spins = true },
        { crowded, "crowded", 2, 1, 0 },
        { shrinks, "shrinks", 2, 1, 0, .plain = true },
        { another_slice, "another_slice", 2, 1, 0 },
        { next_owner, "next_owner", 3, 1, 1 },
        { two_writers, "file_writers", 2, 1, 2, .file = true },
        { writer_and_reader, "file_reader", 2, 1, 2, .file = true },
        { writer_and_reader, "file_threads", 2, 1, 1, .file = true },
        { downgrade, "file_downgrade", 2, 1, 2, .file = true },
        { lanes, "file_lanes", 2, 2, 2, .file = true },
        { copies, "file_copies", 2, 2, 2, .file = true },
        { again, "file_again", 2, 1, 2, .file = true },
        { watcher, "file_watcher", 2, 1, 2, .file = true },
        { chain, "file_chain", 3, 3, 2, .file = true },
        { freezes, "file_freezes", 2, 1, 2, .file = true },
        { freezes, "file_freezes_itself", 2, 1, 1, .file = true },
        { chain, "shared_chain", 3, 3, 2 },
        { freezes, "shared_freezes", 2, 1, 2 },
        { visitors, "visitors", 2, 1, 0 },
        { hoards, "hoards", 2, 1, 0 },
        { file_visitors, "file_visitors", 2, 1, 0 },
};
const unsigned scenarios = sizeof scene / sizeof scene[0];
unsigned scenario;

const char *scene_name(void)
{
        return scene[scenario].name;
}

/* The plan of it, but for the way in which stores are delayed. */
void scene_plan(unsigned preemptions)
{
        const struct scene *of = &scene[scenario];
        enum { SLACK = 50000 };

        plan = (struct plan){ .order = ORDER_SEARCH,
                              .slack = SLACK,
                              .spins = of->spins,
                              .stops = of->stops,
                              .plain = of->plain,
                              .threads = of->threads,
                              .processes = of->processes ? of->processes : 1,
                              .preemptions = of->calm ? 0 : preemptions };
}

void scene_players(void)
{
        plan.threads = scene[scenario].threads;
        plan.processes = scene[scenario].processes ? scene[scenario].processes : 1;
        plan.kills = 0;
}

void scene_begin(void)
{
        looked = false;
        make_map(scene[scenario].lanes, scene[scenario].file            ? IN_FILE
                                        : scene[scenario].processes > 0 ? SHARED
                                                                        : PRIVATE);
        if (scene[scenario].body == between || scene[scenario].body == between_frozen ||
            scene[scenario].body == another_slice)
                make_map(1, PRIVATE);
        if (scene[scenario].body == biased)
                warm_up();
        if (plan.processes > 1)
                import_maps();
}

void scene_thread(unsigned number)
{
        scene[scenario].body(number);
}
