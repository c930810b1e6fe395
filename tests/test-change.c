/* test-change.c - lib/change.c: waiting until a range is written
 *
 * SPDX-License-Identifier: MIT
 *
 * What counts as a write, and what does not; from another thread, from another process,
 * and seen by one who may only read.  Deaths, freezes, resizes and forks.  No wake-up is lost
 * in many rounds, in which each side waits for the other.
 */
#include "share.h"

#include "calls.h"

static uint64_t generation_of(ammap_t *map, uint64_t offset, uint64_t length)
{
        uint64_t generation = 0;

        ck_assert_int_eq(ammap_wait_change(map, offset, length, &generation, 0), 0);
        ck_assert_uint_ne(generation, 0);
        return generation;
}

static void check_same(ammap_t *map, uint64_t offset, uint64_t length, uint64_t generation)
{
        const uint64_t before = generation;

        ck_assert_int_eq(ammap_wait_change(map, offset, length, &generation, 0), AMMAP_ERR_TIMEOUT);
        ck_assert_uint_eq(generation, before);
}

static uint64_t check_changed(ammap_t *map, uint64_t offset, uint64_t length, uint64_t generation)
{
        const uint64_t before = generation;

        ck_assert_int_eq(ammap_wait_change(map, offset, length, &generation, -1), 0);
        ck_assert_uint_ne(generation, before);
        check_same(map, offset, length, generation);
        return generation;
}

DEFINE_TEST("change", refuses_bad_input)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                uint64_t edges[EDGES_MAX], generation = 9;
                size_t count;

                world_begin(&world, &world_kinds[k]);
                count = edges_of(world.size, edges);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 1, NULL, 0), AMMAP_ERR_INVALID);
                for (size_t i = 0; i < count; i++)
                        for (size_t j = 0; j < count; j++) {
                                ck_assert_int_eq(ammap_wait_change(NULL, edges[i], edges[j], &generation, -1),
                                                 AMMAP_ERR_INVALID);
                                if (edges[i] <= world.size && edges[j] <= world.size - edges[i])
                                        continue;
                                ck_assert_int_eq(ammap_wait_change(world.map, edges[i], edges[j], &generation, -1),
                                                 AMMAP_ERR_BOUNDS);
                        }
                ck_assert_uint_eq(generation, 9);
                generation_of(world.map, 0, 0);
                generation_of(world.map, world.size, 0);
                world_end(&world);
        }
}

DEFINE_TEST("change", what_counts)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                uint64_t generation, rest;

                world_begin(&world, &world_kinds[k]);
                generation = generation_of(world.map, 0, 8);
                for (enum op op = 0; op < OP_COUNT; op++) {
                        ck_assert_int_eq(op_run(op, world.map, 0, 8, SECOND), 0);
                        if (op_writes(op))
                                generation = check_changed(world.map, 0, 8, generation);
                        else
                                check_same(world.map, 0, 8, generation);
                }
                rest = generation_of(world.map, 8 * PAGE, world.size - 8 * PAGE);
                ck_assert_int_eq(ammap_update_region(world.map, 0, "x", 1), 0);
                generation = check_changed(world.map, 0, 8, generation);
                if (world.kind->lanes == WORLD_LANES)
                        check_same(world.map, 8 * PAGE, world.size - 8 * PAGE, rest);
                /* One under way, and one that stores nothing. */
                ck_assert_int_eq(ammap_as_mut_slice(world.map, 0, 8, &world.mut_slice), 0);
                check_same(world.map, 0, 8, generation);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, -1), AMMAP_ERR_DEADLOCK);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, 30 * MS), AMMAP_ERR_TIMEOUT);
                ammap_mut_slice_release(&world.mut_slice);
                generation = check_changed(world.map, 0, 8, generation);
                ck_assert_int_eq(ammap_fill(world.map, 0, world.size, 1), 0);
                generation = check_changed(world.map, 0, 8, generation);
                check_changed(world.map, 8 * PAGE, world.size - 8 * PAGE, rest);
                ck_assert_int_eq(ammap_as_slice(world.map, 0, world.size, &world.slice), 0);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, -1), AMMAP_ERR_DEADLOCK);
                ammap_slice_release(&world.slice);
                check_same(world.map, 0, 8, generation);
                ck_assert_int_eq(ammap_discard(world.map, 0, 8), 0);
                generation = check_changed(world.map, 0, 8, generation);
                ck_assert_int_eq(ammap_freeze(world.map), 0);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, -1), 0);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, -1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_wait_change(world.map, 0, 8, &generation, 0), AMMAP_ERR_READ_ONLY);
                world_end(&world);
        }
}

DEFINE_TEST("change", over_a_resize)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                uint64_t generation, last;

                if (world_kinds[k].share == AMMAP_RAW)
                        continue;
                world_begin(&world, &world_kinds[k]);
                generation = generation_of(world.map, 0, PAGE);
                last = generation_of(world.map, world.size - 1, 1);
                ck_assert_int_eq(ammap_resize(world.map, world.size + PAGE), 0);
                check_same(world.map, 0, PAGE, generation);
                ck_assert_int_eq(ammap_resize(world.map, PAGE), 0);
                ck_assert_int_eq(ammap_wait_change(world.map, world.size - 1, 1, &last, -1), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_resize(world.map, world.size), 0);
                check_changed(world.map, world.size - 1, 1, last);
                world_end(&world);
        }
}

/* --- Another thread ------------------------------------------------------ */

struct waiting {
        ammap_t *map;
        uint64_t offset, length, generation;
        int64_t took_ns;
        int result;
};

static void *wait_for_change(void *argument)
{
        struct waiting *waiting = argument;
        int64_t start = now_ns();

        waiting->result =
                ammap_wait_change(waiting->map, waiting->offset, waiting->length, &waiting->generation, patience_ns());
        waiting->took_ns = now_ns() - start;
        return NULL;
}

DEFINE_TEST("change", by_another_thread)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++)
                for (int wide = 0; wide < 2; wide++)
                        for (int slice = 0; slice < 2; slice++) {
                                struct world world;
                                struct waiting waiting = { .result = 1 };
                                struct task task;

                                world_begin(&world, &world_kinds[k]);
                                waiting.map = world.map;
                                waiting.offset = 8;
                                waiting.length = wide ? world.size - 8 : 8;
                                waiting.generation = generation_of(world.map, waiting.offset, waiting.length);
                                task_start(&task, wait_for_change, &waiting);
                                task_sleeps(&task);
                                if (slice) {
                                        ck_assert_int_eq(ammap_as_mut_slice(world.map, 8, 8, &world.mut_slice), 0);
                                        ammap_mut_slice_release(&world.mut_slice);
                                } else {
                                        ck_assert_int_eq(ammap_update_region(world.map, 8, "x", 1), 0);
                                }
                                task_join(&task);
                                ck_assert_int_eq(waiting.result, 0);
                                ck_assert_uint_eq(waiting.generation,
                                                  generation_of(world.map, waiting.offset, waiting.length));
                                world_end(&world);
                        }
}

/* For as long as it takes: of one who may only read, or who keeps writers out of some of the lanes. */
struct patient {
        ammap_t *map;
        uint64_t length, generation;
        bool reads;
        int result;
};

static void *wait_for_ever(void *argument)
{
        struct patient *patient = argument;
        ammap_slice_t slice = { 0 };

        if (patient->reads)
                thread_check_int(ammap_as_slice(patient->map, 0, 1, &slice), 0);
        patient->result = ammap_wait_change(patient->map, 0, patient->length, &patient->generation, -1);
        thread_check_int(ammap_slice_release(&slice), 0);
        return NULL;
}

DEFINE_TEST("change", for_as_long_as_it_takes)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++)
                for (int reader = 0; reader < (world_kinds[k].share == AMMAP_SHARED ? 2 : 1); reader++) {
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        struct patient patient = { .result = 1 };
                        ammap_t *import = NULL;
                        struct world world;
                        struct task task;

                        world_begin(&world, &world_kinds[k]);
                        options.share = world_kinds[k].share;
                        options.allow_faults = world_kinds[k].file != NO_FILE;
                        options.read_only = true;
                        if (reader)
                                ck_assert_int_eq(ammap_import(&import, ammap_fd(world.map), &options), 0);
                        patient.map = reader ? import : world.map;
                        patient.length = world.size;
                        patient.reads = !reader && world_kinds[k].lanes == WORLD_LANES;
                        patient.generation = generation_of(patient.map, 0, patient.length);
                        task_start(&task, wait_for_ever, &patient);
                        ck_assert(task_sleeps(&task));
                        ck_assert_int_eq(ammap_update_region(world.map, world.size - 1, "x", 1), 0);
                        task_join(&task);
                        ck_assert_int_eq(patient.result, 0);
                        ck_assert_int_eq(ammap_free(import), 0);
                        world_end(&world);
                }
}

/* A freeze, a shrink and a death are no writes, but wake. */
enum event { EVENT_FREEZE, EVENT_SHRINK, EVENT_DEATH, EVENTS };

static void *die_writing(void *argument)
{
        ammap_mut_slice_t slice;

        thread_check_int(ammap_as_mut_slice(argument, 8, 8, &slice), 0);
        return NULL;
}

DEFINE_TEST("change", by_other_events)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++)
                for (enum event event = 0; event < EVENTS; event++) {
                        struct world world;
                        struct waiting waiting = { .length = 8, .result = 1 };
                        struct task task, death;

                        if (event == EVENT_SHRINK && world_kinds[k].share == AMMAP_RAW)
                                continue;
                        world_begin(&world, &world_kinds[k]);
                        waiting.map = world.map;
                        waiting.offset = event == EVENT_SHRINK ? world.size - 8 : 8;
                        waiting.generation = generation_of(world.map, waiting.offset, 8);
                        task_start(&task, wait_for_change, &waiting);
                        task_sleeps(&task);
                        if (event == EVENT_FREEZE) {
                                ck_assert_int_eq(ammap_freeze(world.map), 0);
                        } else if (event == EVENT_SHRINK) {
                                ck_assert_int_eq(ammap_resize(world.map, PAGE), 0);
                        } else {
                                task_start(&death, die_writing, world.map);
                                task_join(&death);
                        }
                        task_join(&task);
                        if (event == EVENT_FREEZE)
                                ck_assert(waiting.result == 0 || waiting.result == AMMAP_ERR_READ_ONLY);
                        else
                                ck_assert_int_eq(waiting.result,
                                                 event == EVENT_SHRINK ? AMMAP_ERR_BOUNDS : AMMAP_ERR_OWNER_DEAD);
                        if (event == EVENT_DEATH) {
                                ck_assert_int_eq(ammap_recover(world.map), 0);
                                check_changed(world.map, 8, 8, waiting.generation);
                        }
                        world_end(&world);
                }
}

/* --- No wake-up is lost ----------------------------------------------------- *
 *
 * Each side writes a lane of its own and waits for the other's.  One that was not woken
 * finds what it waits for by a look of its own, when a sleep has ended by itself.
 */

static _Thread_local struct {
        int count;
        bool by_itself; /* the last one ended so */
} sleeps;

static int slept(int rc)
{
        sleeps.count++;
        sleeps.by_itself = rc == -ETIMEDOUT;
        return rc;
}

int __real_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int __wrap_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int __real_ammap__os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int __wrap_ammap__os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);

int __wrap_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return slept(__real_ammap__os_wait(word, expected, deadline));
}

int __wrap_ammap__os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return slept(__real_ammap__os_wait_shared(word, expected, deadline));
}

struct turns {
        ammap_t *map;
        int count, slow, sleeps;
        uint64_t mine, other;
};

static void take_turns(struct turns *turns, bool begins)
{
        uint64_t generation = 0;
        uint32_t value;

        sleeps.count = 0;
        thread_check_int(ammap_wait_change(turns->map, turns->other, 4, &generation, 0), 0);
        for (uint32_t i = 1; i <= (uint32_t)turns->count; i++) {
                if (begins)
                        thread_check_int(ammap_update_region(turns->map, turns->mine, &i, 4), 0);
                for (;;) {
                        thread_check_int(ammap_read_into(turns->map, turns->other, &value, 4), 0);
                        if (value >= i)
                                break;
                        sleeps.by_itself = false;
                        thread_check_int(ammap_wait_change(turns->map, turns->other, 4, &generation, patience_ns()), 0);
                        turns->slow += sleeps.by_itself;
                }
                if (!begins)
                        thread_check_int(ammap_update_region(turns->map, turns->mine, &i, 4), 0);
        }
        turns->sleeps = sleeps.count;
}

static void *take_turns_body(void *argument)
{
        take_turns(argument, false);
        return NULL;
}

static void check_turns(const struct turns *turns)
{
        if (turns->sleeps == 0)
                skip_part(__func__, "nobody has slept, or the linker does not wrap calls");
        ck_assert_msg(turns->slow <= 2 + turns->count / 20, "%d of %d waits were not ended by a wake-up", turns->slow,
                      turns->count);
}

static ammap_t *make_turns(const struct world_kind *kind, struct world *world)
{
        static const uint32_t zero;

        world_begin(world, kind);
        ck_assert_int_eq(ammap_update_region(world->map, 0, &zero, 4), 0);
        ck_assert_int_eq(ammap_update_region(world->map, world->size - 4, &zero, 4), 0);
        return world->map;
}

DEFINE_TEST("change", no_wake_up_is_lost)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                ammap_t *map = make_turns(&world_kinds[k], &world);
                const int count = rounds(world_kinds[k].file ? 1000 : 10000);
                struct turns one = { .map = map, .count = count, .other = world.size - 4 },
                             two = { .map = map, .count = count, .mine = world.size - 4 };
                struct task task;

                task_start(&task, take_turns_body, &two);
                take_turns(&one, true);
                task_join(&task);
                check_turns(&one);
                check_turns(&two);
                world_end(&world);
        }
}

/* --- Other processes ----------------------------------------------------------- */

#if TEST_OS_LINUX

static void take_turns_elsewhere(struct peer *parent, void *argument)
{
        (void)parent;
        take_turns(argument, false);
        child_must(atomic_load(&thread_failures) == 0);
}

DEFINE_TEST("change", between_processes)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                struct turns one, two;
                struct peer peer;
                ammap_t *map;

                if (world_kinds[k].share != AMMAP_SHARED)
                        continue;
                map = make_turns(&world_kinds[k], &world);
                one = (struct turns){ .map = map, .count = rounds(1000), .other = world.size - 4 };
                two = (struct turns){ .map = map, .count = rounds(1000), .mine = world.size - 4 };
                peer_start(&peer, take_turns_elsewhere, &two);
                take_turns(&one, true);
                peer_end(&peer);
                check_turns(&one);
                world_end(&world);
        }
}

static void follow(struct peer *parent, void *argument)
{
        const struct place *place = argument;
        ammap_t *map = place_join(place);
        uint64_t generation = 0, word = 0;

        child_must_int(ammap_wait_change(map, 0, 8, &generation, 0), 0);
        child_must_int(ammap_wait_change(map, 0, 8, &generation, 15 * MS), AMMAP_ERR_TIMEOUT);
        for (uint64_t i = 1; i <= 20; i++) {
                peer_tell(parent, 'w');
                while (word < i) {
                        child_must_int(ammap_wait_change(map, 0, 8, &generation, patience_ns()), 0);
                        child_must_int(ammap_read_into(map, 0, &word, 8), 0);
                }
        }
        /* The writer dies within. */
        peer_tell(parent, 'w');
        child_must_int(ammap_wait_change(map, 0, 8, &generation, patience_ns()), AMMAP_ERR_OWNER_DEAD);
        child_must_int(ammap_free(map), 0);
}

static void *die_in_lane_0(void *argument)
{
        ammap_mut_slice_t slice;

        thread_check_int(ammap_as_mut_slice(argument, 0, 8, &slice), 0);
        return NULL;
}

DEFINE_TEST("change", seen_by_those_who_may_only_read)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++)
                for (int only_read = 0; only_read < 2; only_read++) {
                        struct world world;
                        struct peer peer;
                        struct place place = { IMPORT, NULL, -1, NULL, AMMAP_OPTIONS_INIT };
                        const uint64_t zero = 0;
                        struct task task;

                        if (world_kinds[k].share != AMMAP_SHARED)
                                continue;
                        world_begin(&world, &world_kinds[k]);
                        ck_assert_int_eq(ammap_update_region(world.map, 0, &zero, 8), 0);
                        place.fd = ammap_fd(world.map);
                        place.options.read_only = only_read;
                        place.options.allow_faults = world.kind->file;
                        peer_start(&peer, follow, &place);
                        for (uint64_t i = 1; i <= 20; i++) {
                                peer_expect(&peer, 'w');
                                ck_assert_int_eq(ammap_update_region(world.map, 0, &i, 8), 0);
                        }
                        peer_expect(&peer, 'w');
                        task_start(&task, die_in_lane_0, world.map);
                        task_join(&task);
                        peer_end(&peer);
                        ck_assert_int_eq(ammap_recover(world.map), 0);
                        world_end(&world);
                }
}

static void hold_for_ever(struct peer *parent, void *argument)
{
        ammap_mut_slice_t slice;

        child_must_int(ammap_as_mut_slice(argument, 8, 8, &slice), 0);
        peer_tell(parent, 'h');
        peer_hear(parent);
}

DEFINE_TEST("change", a_writer_is_killed)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                struct waiting waiting = { .offset = 8, .length = 8 };
                struct task task;
                struct peer peer;

                if (world_kinds[k].share != AMMAP_SHARED)
                        continue;
                world_begin(&world, &world_kinds[k]);
                waiting.map = world.map;
                waiting.generation = generation_of(world.map, 8, 8);
                peer_start(&peer, hold_for_ever, world.map);
                peer_expect(&peer, 'h');
                task_start(&task, wait_for_change, &waiting);
                task_sleeps(&task);
                check_same(world.map, 8, 8, waiting.generation);
                peer_kill(&peer);
                task_join(&task);
                ck_assert_int_eq(waiting.result, AMMAP_ERR_OWNER_DEAD);
                ck_assert_int_eq(ammap_recover(world.map), 0);
                check_changed(world.map, 8, 8, waiting.generation);
                world_end(&world);
        }
}

struct inherited {
        ammap_t *map;
        uint64_t generation;
        ammap_fork_t fork;
};

static void child_waits(struct peer *parent, void *argument)
{
        struct inherited *inherited = argument;
        uint64_t generation = inherited->generation;

        (void)parent;
        if (inherited->fork == AMMAP_FORK_OMIT) {
                child_must_int(ammap_wait_change(inherited->map, 0, 8, &generation, -1), AMMAP_ERR_UNSUPPORTED);
                return;
        }
        child_must_int(ammap_wait_change(inherited->map, 0, 8, &generation, MS), AMMAP_ERR_TIMEOUT);
        child_must_int(ammap_update_region(inherited->map, 0, "child", 5), 0);
        child_must_int(ammap_wait_change(inherited->map, 0, 8, &generation, -1), 0);
        child_must(generation != inherited->generation);
}

DEFINE_TEST("change", in_a_forked_child)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                struct inherited inherited = { .fork = AMMAP_FORK_COPY };
                struct peer peer;

                world_begin(&world, &world_kinds[k]);
                inherited.map = world.map;
                inherited.generation = generation_of(world.map, 0, 8);
                peer_start(&peer, child_waits, &inherited);
                peer_end(&peer);
                if (world.kind->share == AMMAP_SHARED)
                        check_changed(world.map, 0, 8, inherited.generation);
                else
                        check_same(world.map, 0, 8, inherited.generation);
                world_end(&world);
        }
        for (int share = 0; share < 2; share++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct inherited inherited = { .fork = AMMAP_FORK_OMIT };
                struct peer peer;

                options.share = share ? AMMAP_SHARED : AMMAP_PRIVATE;
                options.fork = AMMAP_FORK_OMIT;
                inherited.map = make_with(100, &options);
                inherited.generation = generation_of(inherited.map, 0, 8);
                peer_start(&peer, child_waits, &inherited);
                peer_end(&peer);
                ck_assert_int_eq(ammap_free(inherited.map), 0);
        }
}

DEFINE_TEST("change", of_a_file_that_is_cut_and_made_anew)
{
        struct path path = path_of("anew");
        ammap_t *map, *other;
        uint64_t generation;

        ck_assert_int_eq(ammap_open(&map, path.text, 4096, NULL), 0);
        generation = generation_of(map, 0, 8);
        ck_assert_int_eq(truncate(path.text, 0), 0);
        ck_assert_int_eq(ammap_wait_change(map, 0, 8, &generation, -1), AMMAP_ERR_FAULT);
        ck_assert_int_eq(ammap_open(&other, path.text, 4096, NULL), 0);
        ck_assert_int_eq(ammap_wait_change(map, 0, 8, &generation, -1), AMMAP_ERR_FORMAT);
        check_changed(other, 0, 8, generation);
        ck_assert_int_eq(ammap_free(other), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

int main(void)
{
        return cannot_share("change") ? SKIPPED : run_tests("change", share_case);
}
