/* test-lock.c - lib/lock/lock.c and thread.c: the words of a lane, and the race
 *
 * SPDX-License-Identifier: MIT
 *
 * What the lock does with each value of a lane's word, as tables; then each
 * transition that the essay in lib/lock/lock.c describes, brought about on purpose:
 * bias and its revocation, turns and their end, death, recovery, forks, the end
 * of threads.  Then rounds of sleeping and waking in which no wake-up may be
 * lost, and torture on every path, where torn reads and broken exclusion are
 * counted.  The fences that only an empty store buffer would show are proved by
 * model-bias.pml and model-sleep.pml.
 */
#include "support.h"

#include "map/map.h"
#include "map/span.h"
#include "map/transfer.h"

#include <ucontext.h>

#define SEQUENCE_STEP (2 * LANE_WRITER)

/* The fields of lane.waiting. */
#define ASLEEP_BITS 3U
#define STARVING_READERS(waiting) ((waiting) >> 2 & 0x3fff)
#define STARVING_WRITERS(waiting) ((waiting) >> 17 & 0x3fff)

static struct lane *only_lane(ammap_t *map)
{
        return &map->lane[0];
}

static uint64_t word_of(ammap_t *map)
{
        return atomic_load(&only_lane(map)->word);
}

static uint32_t waiting_of(ammap_t *map)
{
        return (uint32_t)atomic_load(&only_lane(map)->waiting);
}

static uint64_t sequence_of(ammap_t *map)
{
        return word_of(map) & LANE_SEQUENCE;
}

static void no_bias(ammap_t *map)
{
        atomic_store(&only_lane(map)->bias_after, INT64_MAX);
}

#define wait_until(expression)                                                                                         \
        do {                                                                                                           \
                int64_t wait_deadline = now_ns() + patience_ns();                                                      \
                while (!(expression)) {                                                                                \
                        if (now_ns() > wait_deadline)                                                                  \
                                ck_abort_msg("never came true: %s", #expression);                                      \
                        pause_ms(1);                                                                                   \
                }                                                                                                      \
        } while (0)

/* Read until readers go by their blocks. */
static void make_biased(ammap_t *map)
{
        ammap_slice_t slice;

        atomic_store(&only_lane(map)->bias_after, 0);
        for (int i = 0; i < 10000 && !(word_of(map) & LANE_BIAS); i++) {
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
                ammap_slice_release(&slice);
        }
        ck_assert(word_of(map) & LANE_BIAS);
        ck_assert(word_of(map) & LANE_SLOTS);
}

static uint64_t kind_of(const ammap_slice_t *slice)
{
        const struct hold *hold = slice->ammap_private.ammap_hold;

        return atomic_load(&hold->use) & HOLD_KIND;
}

/* All is as at birth, but for the sequence and the bias. */
static void check_quiet(ammap_t *map)
{
        struct lane *lane = only_lane(map);

        ck_assert_uint_eq(word_of(map) & ~(LANE_SEQUENCE | LANE_BIAS | LANE_SLOTS), 0);
        ck_assert_uint_eq(word_of(map) & LANE_WRITER, 0);
        ck_assert_uint_eq(waiting_of(map) & ~ASLEEP_BITS, 0);
        ck_assert_uint_eq(atomic_load(&lane->asleep[READ]), 0);
        ck_assert_uint_eq(atomic_load(&lane->asleep[WRITE]), 0);
        ck_assert(!thread_any_names(lane));
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
}

static void free_quiet(ammap_t *map)
{
        check_quiet(map);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Words ------------------------------------------------------------------ */

static const uint64_t sequences[] = { 0, SEQUENCE_STEP, 1000 * SEQUENCE_STEP, LANE_SEQUENCE - LANE_WRITER };

/* From a word, what an attempt answers and leaves, both without the sequence;
 * writing adds half a step where it succeeds. */
static const struct {
        uint64_t word;
        int write;
        uint64_t after_write;
        int read;
        uint64_t after_read;
} rules[] = {
        { 0, 0, 0, 0, 1 },
        { 1, AMMAP_ERR_BUSY, 1, 0, 2 },
        { 77, AMMAP_ERR_BUSY, 77, 0, 78 },
        { LANE_READERS - 1, AMMAP_ERR_BUSY, LANE_READERS - 1, 0, LANE_READERS },
        { LANE_READERS, AMMAP_ERR_BUSY, LANE_READERS, -EAGAIN, LANE_READERS },
        { LANE_HANDOFF_READERS, AMMAP_ERR_BUSY, LANE_HANDOFF_READERS, 0, LANE_HANDOFF_READERS | 1 },
        { LANE_HANDOFF_READERS | 3, AMMAP_ERR_BUSY, LANE_HANDOFF_READERS | 3, 0, LANE_HANDOFF_READERS | 4 },
        { LANE_HANDOFF_WRITERS, AMMAP_ERR_BUSY, LANE_HANDOFF_WRITERS, AMMAP_ERR_BUSY, LANE_HANDOFF_WRITERS },
        { LANE_HANDOFF_WRITERS | 3, AMMAP_ERR_BUSY, LANE_HANDOFF_WRITERS | 3, AMMAP_ERR_BUSY,
          LANE_HANDOFF_WRITERS | 3 },
        { LANE_SLOTS, 0, 0, 0, LANE_SLOTS | 1 },
        { LANE_SLOTS | 1, AMMAP_ERR_BUSY, LANE_SLOTS | 1, 0, LANE_SLOTS | 2 },
        { LANE_SLOTS | LANE_HANDOFF_WRITERS, AMMAP_ERR_BUSY, LANE_SLOTS | LANE_HANDOFF_WRITERS, AMMAP_ERR_BUSY,
          LANE_SLOTS | LANE_HANDOFF_WRITERS },
        { LANE_SLOTS | LANE_HANDOFF_READERS, AMMAP_ERR_BUSY, LANE_SLOTS | LANE_HANDOFF_READERS, 0,
          LANE_SLOTS | LANE_HANDOFF_READERS | 1 },
        { LANE_BIAS | LANE_SLOTS, 0, 0, 0, LANE_BIAS | LANE_SLOTS | 1 },
        { LANE_BIAS | LANE_SLOTS | 1, AMMAP_ERR_BUSY, LANE_SLOTS | 1, 0, LANE_BIAS | LANE_SLOTS | 2 },
        { LANE_BIAS | LANE_SLOTS | LANE_READERS, AMMAP_ERR_BUSY, LANE_SLOTS | LANE_READERS, -EAGAIN,
          LANE_BIAS | LANE_SLOTS | LANE_READERS },
};

/* Nobody has seen it yet: a turn that two looks have seen with much time between them is passed over, and how much
 * time there is between those of a test is up to the machine. */
static void set_word(struct lane *lane, uint64_t word)
{
        atomic_store(&lane->word, word);
        atomic_store(&lane->idle_turn, 0);
}

/* As lane_read_slow answers, but for what it leaves to that. */
static void check_counted(struct lane *lane, uint64_t word, bool enters, uint64_t after)
{
        struct hold *hold;

        ck_assert_int_eq(thread_room(&hold), 0);
        atomic_store(&lane->word, word);
        hold = lane_hold_count_try(lane, HOLD_COPY, 7);
        ck_assert_int_eq(hold != NULL, enters);
        ck_assert_uint_eq(atomic_load(&lane->word), enters ? after : word);
        if (!enters)
                return;
        ck_assert_ptr_eq(lane_of_mine(hold, HOLD_COPY | HOLD_COUNTED), lane);
        ck_assert_uint_eq(atomic_load(&hold->reach), 7);
        lane_hold_uncount(hold, lane);
        ck_assert_ptr_null(hold_lane(hold));
        ck_assert_uint_eq(atomic_load(&lane->word), word);
}

DEFINE_LOOP_TEST("words", words_decide_who_enters, 0, COUNT_OF(rules))
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);

        no_bias(map);
        for (size_t s = 0; s < COUNT_OF(sequences); s++) {
                uint64_t word = sequences[s] + rules[_i].word;

                set_word(lane, word);
                ck_assert_int_eq(lane_write_try(lane), rules[_i].word == 0);
                set_word(lane, word);
                ck_assert_int_eq(lane_write(lane, LANE_TRY), rules[_i].write);
                ck_assert_uint_eq(atomic_load(&lane->word),
                                  sequences[s] + rules[_i].after_write + (rules[_i].write == 0 ? LANE_WRITER : 0));
                if (rules[_i].write == 0) {
                        lane_write_leave(lane);
                        ck_assert_uint_eq(atomic_load(&lane->word), sequences[s] + SEQUENCE_STEP);
                }

                set_word(lane, word);
                atomic_store(&lane->bias_after, INT64_MAX); /* revoking has set it */
                ck_assert_int_eq(lane_read_slow(lane, LANE_TRY), rules[_i].read);
                ck_assert_uint_eq(atomic_load(&lane->word), sequences[s] + rules[_i].after_read);
                if (rules[_i].read == 0) {
                        lane_read_leave(lane);
                        ck_assert_uint_eq(atomic_load(&lane->word), word);
                }
                check_counted(lane, word, rules[_i].read == 0 && !(word & LANE_MANY_READERS),
                              sequences[s] + rules[_i].after_read);
        }
        ck_assert_uint_eq(waiting_of(map), 0);
        atomic_store(&lane->word, 0);
        free_quiet(map);
}

static atomic_bool has_asked;

static void *read_beside_a_writer(void *argument)
{
        ammap_t *map = argument;
        unsigned char bytes[64];

        /* Not in time with whoever looks, where threads take turns. */
        for (unsigned i = 0; !atomic_load(&has_asked); i++) {
                thread_check_int(ammap_try_read_into(map, 0, bytes, sizeof bytes), AMMAP_ERR_BUSY);
                for (unsigned n = i * i % 61; n > 0; n--)
                        os_pause();
        }
        return NULL;
}

/* A reader leaves no other trace.  It takes back what nobody has heard. */
DEFINE_TEST("words", a_reader_asks_and_is_heard_by_who_leaves_next)
{
        ammap_t *map = new_map(2000, 1);
        struct lane *lane = only_lane(map);
        unsigned char bytes[2000];
        bool heard = false;
        pthread_t reader;

        no_bias(map);
        atomic_store(&lane->word, LANE_WRITER);
        atomic_init(&has_asked, OPTIMISTIC_MAX == 0 || !waiter_may_spin);
        pthread_create(&reader, NULL, read_beside_a_writer, map);
        for (int64_t until = now_ns() + patience_ns(); !heard && now_ns() < until; pause_ms(1))
                heard = atomic_load(&has_asked) || (waiting_of(map) & LANE_ASKED);
        atomic_store(&has_asked, true);
        pthread_join(reader, NULL);
        ck_assert(heard);
        ck_assert_uint_eq(waiting_of(map), 0);

        lane_ask(lane);
        ck_assert_int_eq(lane_write(lane, LANE_TRY), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(waiting_of(map), LANE_ASKED);
        lane_write_leave(lane);
        ck_assert_uint_eq(word_of(map), SEQUENCE_STEP);
        ck_assert_uint_eq(waiting_of(map), 0);
        ck_assert_int_eq(ammap_read_into(map, 0, bytes, sizeof bytes), 0);
        free_quiet(map);
}

DEFINE_TEST("words", a_writer_keeps_all_out)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);

        for (size_t s = 0; s < COUNT_OF(sequences); s++) {
                uint64_t word = sequences[s] + LANE_WRITER;

                atomic_store(&lane->word, word);
                ck_assert(!lane_write_try(lane));
                check_counted(lane, word, false, word);
                ck_assert_int_eq(lane_write(lane, LANE_TRY), AMMAP_ERR_BUSY);
                ck_assert_int_eq(lane_read_slow(lane, LANE_TRY), AMMAP_ERR_BUSY);
                ck_assert_int_eq(lane_write(lane, 1), AMMAP_ERR_TIMEOUT);
                ck_assert_int_eq(lane_read_slow(lane, 1), AMMAP_ERR_TIMEOUT);
                ck_assert_uint_eq(atomic_load(&lane->word), word);

                atomic_store(&lane->word, word | LANE_DEAD);
                ck_assert(!lane_write_try(lane));
                for (int forever = 0; forever <= 1; forever++) {
                        int64_t deadline = forever ? LANE_FOR_EVER : LANE_TRY;

                        ck_assert_int_eq(lane_write(lane, deadline), AMMAP_ERR_OWNER_DEAD);
                        ck_assert_int_eq(lane_read_slow(lane, deadline), AMMAP_ERR_OWNER_DEAD);
                }
                ck_assert(!lane_is_held(lane));
                ck_assert_uint_eq(atomic_load(&lane->word), word | LANE_DEAD);
                lane_recover(lane);
                ck_assert_uint_eq(atomic_load(&lane->word), sequences[s] + SEQUENCE_STEP);
                lane_recover(lane);
                ck_assert_uint_eq(atomic_load(&lane->word), sequences[s] + SEQUENCE_STEP);
        }
        /* Nothing but death is recovered from. */
        for (size_t i = 0; i < COUNT_OF(rules); i++) {
                atomic_store(&lane->word, rules[i].word);
                lane_recover(lane);
                ck_assert_uint_eq(atomic_load(&lane->word), rules[i].word);
        }
        atomic_store(&lane->word, 0);
        free_quiet(map);
}

DEFINE_TEST("words", a_sequence_tells_writers_alone)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        uint64_t sequence;

        for (size_t s = 0; s < COUNT_OF(sequences); s++) {
                for (size_t i = 0; i < COUNT_OF(rules); i++) {
                        atomic_store(&lane->word, sequences[s] + rules[i].word);
                        ck_assert(lane_read_begin(lane, &sequence));
                        for (size_t k = 0; k < COUNT_OF(rules); k++) {
                                atomic_store(&lane->word, sequences[s] + rules[k].word);
                                ck_assert(lane_read_valid(lane, sequence));
                                atomic_store(&lane->word, sequences[s] + rules[k].word + SEQUENCE_STEP);
                                ck_assert(!lane_read_valid(lane, sequence));
                                atomic_store(&lane->word, sequences[s] + rules[k].word - SEQUENCE_STEP);
                                ck_assert(!lane_read_valid(lane, sequence));
                        }
                        atomic_store(&lane->word, sequences[s] + LANE_WRITER);
                        ck_assert(!lane_read_valid(lane, sequence));
                        ck_assert(!lane_read_begin(lane, &sequence));
                        atomic_store(&lane->word, sequences[s] + LANE_WRITER + LANE_DEAD);
                        ck_assert(!lane_read_begin(lane, &sequence));
                }
        }
        atomic_store(&lane->word, 0);
        free_quiet(map);
}

/* The limit as users meet it. */
DEFINE_TEST("words", too_many_readers_are_refused)
{
        enum { LONG = 70000 }; /* longer than what is read without entering */
        ammap_t *map = new_map(LONG, 1);
        struct lane *lane = only_lane(map);
        static unsigned char bytes[LONG];
        ammap_slice_t slice, more;

        no_bias(map);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        atomic_fetch_add(&lane->word, LANE_READERS - 2);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), 0);
        ammap_slice_release(&more);
        atomic_fetch_add(&lane->word, 1);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), -EAGAIN);
        ck_assert(slice_is_zero(&more));
        ck_assert_int_eq(op_elsewhere(OP_SLICE, map, 0, 1), -EAGAIN);
        ck_assert_int_eq(op_elsewhere(OP_TIMED_SLICE, map, 0, 1), -EAGAIN);
        ck_assert_int_eq(ammap_read_into(map, 0, bytes, sizeof(bytes)), -EAGAIN);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(word_of(map), LANE_READERS);
        atomic_fetch_sub(&lane->word, LANE_READERS - 1);
        ammap_slice_release(&slice);
        free_quiet(map);
}

/* --- Bias -------------------------------------------------------------------- */

DEFINE_TEST("bias", reading_sets_the_bias_and_writing_revokes_it)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        ammap_slice_t slice;

        for (int round = 0; round < 3; round++) {
                uint64_t sequence;
                int64_t before;

                make_biased(map);
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
                ck_assert_uint_eq(kind_of(&slice), HOLD_BIASED);
                ck_assert(thread_any_names(lane));
                ck_assert(lane_is_held(lane));
                ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
                ck_assert_uint_eq(word_of(map) & LANE_READERS, 0);

                sequence = sequence_of(map);
                before = now_ns();
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                ck_assert_uint_eq(word_of(map), sequence | LANE_SLOTS);
                ck_assert_int_gt(atomic_load(&lane->bias_after), before);

                /* Readers are counted now, and set it again though SLOTS is set: with
                 * another sequence, so that no writer trusts in a fence from before. */
                atomic_store(&lane->bias_after, 0);
                for (int i = 0; i < 1000; i++)
                        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), 0);
                ck_assert_uint_eq(word_of(map), (sequence + SEQUENCE_STEP) | LANE_SLOTS | LANE_BIAS);

                ammap_slice_release(&slice);
                ck_assert(!thread_any_names(lane));
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
                ck_assert_uint_eq(word_of(map), sequence + 2 * SEQUENCE_STEP);
        }
        free_quiet(map);
}

DEFINE_TEST("bias", there_is_no_bias_too_soon_or_in_a_turn)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        ammap_slice_t slice;

        no_bias(map);
        for (int i = 0; i < 1000; i++) {
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
                ck_assert_uint_eq(kind_of(&slice), HOLD_COUNTED);
                ck_assert_uint_eq(word_of(map), 1);
                ammap_slice_release(&slice);
        }
        atomic_store(&lane->bias_after, 0);
        atomic_store(&lane->word, LANE_HANDOFF_READERS);
        for (int i = 0; i < 1000; i++) {
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
                ammap_slice_release(&slice);
        }
        ck_assert_uint_eq(word_of(map), LANE_HANDOFF_READERS);
        atomic_store(&lane->word, 0);
        make_biased(map);
        free_quiet(map);
}

DEFINE_TEST("bias", a_writer_waits_for_the_biased)
{
        ammap_t *map = new_map(100, 1);
        struct call call = { OP_MUT_SLICE, map, 0, 1, -1, INT_MIN, 0 };
        struct holder other;
        struct task task;
        ammap_slice_t slice, again;

        make_biased(map);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        holder_start(&other, map, 0, 1, false);
        task_start(&task, call_body, &call);
        ck_assert(task_sleeps(&task));
        /* It claims its turn: no other reader, but who reads already. */
        wait_until(word_of(map) & LANE_HANDOFF_WRITERS);
        ck_assert_uint_eq(word_of(map) & LANE_BIAS, 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &again), 0);
        ammap_slice_release(&slice);
        ck_assert(thread_any_names(only_lane(map)));
        ck_assert(task_sleeps(&task));
        holder_stop(&other);
        ck_assert(task_sleeps(&task));
        ammap_slice_release(&again);
        task_join(&task);
        ck_assert_int_eq(call.result, 0);
        free_quiet(map);
}

/* More biased holds than a block has room for, in two threads' blocks. */
DEFINE_TEST("bias", many_holds_are_all_seen)
{
        enum { COUNT = 40 };
        ammap_t *map = new_map(100, 1), *wide = new_map(COUNT, COUNT);
        struct holder others[3];
        ammap_slice_t slice[COUNT], lane_slice[COUNT];

        make_biased(map);
        for (size_t i = 0; i < COUNT_OF(others); i++)
                holder_start(&others[i], map, 0, 1, false);
        for (size_t i = 0; i < COUNT; i++) {
                ck_assert_int_eq(ammap_as_slice(map, i, 1, &slice[i]), 0);
                ck_assert_int_eq(ammap_as_slice(wide, i, 1, &lane_slice[i]), 0);
        }
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, wide, 0, COUNT), AMMAP_ERR_BUSY);
        for (size_t i = 0; i < COUNT; i++) {
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, wide, i, 1), AMMAP_ERR_BUSY);
                /* From both ends to the middle. */
                ammap_slice_release(&slice[i % 2 ? COUNT - 1 - i / 2 : i / 2]);
                ammap_slice_release(&lane_slice[i]);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, wide, i, 1), 0);
        }
        for (size_t i = 0; i < COUNT_OF(others); i++) {
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                holder_stop(&others[i]);
        }
        ck_assert_int_eq(ammap_free(wide), 0);
        free_quiet(map);
}

/* Who writes many lanes takes the bias of all of them, and none from a reader. */
DEFINE_TEST("bias", many_lanes_are_settled_at_once)
{
        enum { LANES = 100 };

        for (size_t held = 1; held < LANES; held += 33) {
                ammap_t *map = new_map(LANES, LANES);
                int64_t before = now_ns();
                ammap_slice_t slice;

                for (size_t i = 0; i < LANES; i++) {
                        atomic_store(&map->lane[i].bias_after, 0);
                        for (int times = 0; times < 1000 && !(atomic_load(&map->lane[i].word) & LANE_BIAS); times++) {
                                ck_assert_int_eq(ammap_as_slice(map, i, 1, &slice), 0);
                                ammap_slice_release(&slice);
                        }
                        ck_assert_uint_eq(atomic_load(&map->lane[i].word), LANE_BIAS | LANE_SLOTS);
                }
                ck_assert_int_eq(ammap_as_slice(map, held, 1, &slice), 0);
                ck_assert_uint_eq(kind_of(&slice), HOLD_BIASED);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, LANES), AMMAP_ERR_BUSY);
                for (size_t i = 0; i < LANES; i++)
                        ck_assert_uint_eq(atomic_load(&map->lane[i].word) & (LANE_BIAS | LANE_SLOTS),
                                          i == held ? LANE_SLOTS : 0);
                for (size_t i = 1; i < LANES; i++)
                        ck_assert(i == held || atomic_load(&map->lane[i].bias_after) > before);
                ammap_slice_release(&slice);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, LANES), 0);
                ck_assert_uint_eq(atomic_load(&map->lane[held].word) & (LANE_BIAS | LANE_SLOTS), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* Two slices of one thread hold a lane, one as its first and one as a later
 * lane: each release must leave the other's. */
DEFINE_TEST("bias", slices_keep_the_holds_they_noted)
{
        for (int order = 0; order < 4; order++) {
                ammap_t *map = new_map(90, 3);
                ammap_slice_t late, wide;

                if (order & 1) {
                        ck_assert_int_eq(ammap_as_slice(map, 0, 90, &wide), 0);
                        ck_assert_int_eq(ammap_as_slice(map, 40, 1, &late), 0);
                } else {
                        ck_assert_int_eq(ammap_as_slice(map, 40, 1, &late), 0);
                        ck_assert_int_eq(ammap_as_slice(map, 0, 90, &wide), 0);
                }
                ammap_slice_release(order & 2 ? &late : &wide);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 40, 1), AMMAP_ERR_BUSY);
                ammap_slice_release(order & 2 ? &wide : &late);
                ck_assert(slice_is_zero(&late) && slice_is_zero(&wide));
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 90), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

/* --- Turns --------------------------------------------------------------------- */

/* A waiter that notes at which sequence it got in. */
struct waiter {
        ammap_t *map;
        bool writes;
        int64_t timeout_ns;
        int result;
        uint64_t entered;
        struct task task;
};

static void *waiter_body(void *argument)
{
        struct waiter *w = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        w->result = w->writes ? ammap_timed_as_mut_slice(w->map, 0, 1, w->timeout_ns, &mut)
                              : ammap_timed_as_slice(w->map, 0, 1, w->timeout_ns, &slice);
        w->entered = sequence_of(w->map);
        if (w->result == 0 && w->writes)
                ammap_mut_slice_release(&mut);
        else if (w->result == 0)
                ammap_slice_release(&slice);
        return NULL;
}

static void waiter_start(struct waiter *w, ammap_t *map, bool writes, int64_t timeout_ns)
{
        w->map = map;
        w->writes = writes;
        w->timeout_ns = timeout_ns;
        task_start(&w->task, waiter_body, w);
}

struct hot {
        ammap_t *map;
        _Atomic bool stop;
};

static void *hot_writer_body(void *argument)
{
        struct hot *hot = argument;
        unsigned char byte = 1;

        while (!atomic_load(&hot->stop))
                thread_check_int(ammap_update_region(hot->map, 0, &byte, 1), 0);
        return NULL;
}

/* How often the starving were forgotten, of either kind: a turn that is not taken
 * for TURN_MAX, for those that have it get no processor, is taken back, and who
 * comes next is no more what it is to be.  A round in which this has changed shows
 * that they all get in, and not in which order; another is made for it, up to as
 * many again. */
static uint64_t turns_taken_back(ammap_t *map)
{
        return atomic_load(&only_lane(map)->waiting) >> 32;
}

static void turns_were_seen(const char *test, int rounds)
{
        if (rounds == 0)
                skip_part(test, "each turn was taken back: those that had one got no processor");
}

/* Under hot writers, a starving reader gets in as the next: no writer enters
 * after the one that leaves. */
DEFINE_TEST("turns", starving_readers_are_next)
{
        ammap_t *map = new_map(100, 1);
        int round = 0, tries;

        no_bias(map);
        for (tries = 0; round < rounds(30) && tries < 2 * rounds(30); tries++) {
                uint64_t taken_back = turns_taken_back(map);
                bool in_order = true;
                struct hot hot = { map, false };
                struct waiter readers[3];
                struct task writers[2];
                ammap_mut_slice_t mut;
                uint64_t sequence;

                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
                for (size_t i = 0; i < COUNT_OF(readers); i++)
                        waiter_start(&readers[i], map, false, -1);
                for (size_t i = 0; i < COUNT_OF(writers); i++)
                        task_start(&writers[i], hot_writer_body, &hot);
                wait_until(STARVING_READERS(waiting_of(map)) == COUNT_OF(readers));
                sequence = sequence_of(map);
                ammap_mut_slice_release(&mut);
                for (size_t i = 0; i < COUNT_OF(readers); i++) {
                        task_join(&readers[i].task);
                        ck_assert_int_eq(readers[i].result, 0);
                        in_order = in_order && readers[i].entered == sequence + LANE_WRITER;
                }
                atomic_store(&hot.stop, true);
                for (size_t i = 0; i < COUNT_OF(writers); i++)
                        task_join(&writers[i]);
                ck_assert(in_order || turns_taken_back(map) != taken_back);
                round += turns_taken_back(map) == taken_back;
                check_quiet(map);
        }
        turns_were_seen(__func__, round);
        free_quiet(map);
}

/* A writer whom readers keep out gets in before every reader that comes later;
 * then the readers that have become starving, before the next writer. */
DEFINE_TEST("turns", turns_alternate)
{
        ammap_t *map = new_map(100, 1);
        int round = 0, tries;

        no_bias(map);
        for (tries = 0; round < rounds(20) && tries < 2 * rounds(20); tries++) {
                uint64_t taken_back = turns_taken_back(map);
                uint64_t sequence = sequence_of(map), first, second;
                struct waiter readers[3], writers[2];
                bool in_order = true;
                struct holder holder;

                holder_start(&holder, map, 0, 1, false);
                for (size_t i = 0; i < COUNT_OF(writers); i++)
                        waiter_start(&writers[i], map, true, -1);
                wait_until(STARVING_WRITERS(waiting_of(map)) == COUNT_OF(writers));
                wait_until(word_of(map) & LANE_HANDOFF_WRITERS);
                for (size_t i = 0; i < COUNT_OF(readers); i++)
                        waiter_start(&readers[i], map, false, -1);
                wait_until(STARVING_READERS(waiting_of(map)) == COUNT_OF(readers));
                ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                holder_stop(&holder);
                for (size_t i = 0; i < COUNT_OF(readers); i++) {
                        task_join(&readers[i].task);
                        ck_assert_int_eq(readers[i].result, 0);
                        in_order = in_order && readers[i].entered == sequence + SEQUENCE_STEP;
                }
                for (size_t i = 0; i < COUNT_OF(writers); i++)
                        task_join(&writers[i].task);
                first = writers[0].entered < writers[1].entered ? writers[0].entered : writers[1].entered;
                second = writers[0].entered + writers[1].entered - first;
                ck_assert_uint_eq(first, sequence + LANE_WRITER);
                ck_assert_uint_eq(second, sequence + SEQUENCE_STEP + LANE_WRITER);
                ck_assert(in_order || turns_taken_back(map) != taken_back);
                round += turns_taken_back(map) == taken_back;
                check_quiet(map);
        }
        turns_were_seen(__func__, round);
        free_quiet(map);
}

struct long_reader {
        ammap_t *map;
        sem_t in, out;
};

static void *long_reader_body(void *argument)
{
        struct long_reader *reader = argument;
        ammap_slice_t slice;

        thread_check_int(ammap_as_slice(reader->map, 0, 1, &slice), 0);
        sem_post(&reader->in);
        sem_wait_surely(&reader->out);
        ammap_slice_release(&slice);
        return NULL;
}

/* A starving writer that sleeps through a turn of readers claims the next, while
 * those readers are still in and nobody leaves. */
DEFINE_TEST("turns", a_writer_claims_after_a_turn_of_readers)
{
        ammap_t *map = new_map(100, 1);
        int round = 0, tries;

        no_bias(map);
        for (tries = 0; round < rounds(10) && tries < 2 * rounds(10); tries++) {
                uint64_t taken_back = turns_taken_back(map);
                struct long_reader reader = { .map = map };
                struct waiter writer;
                struct task task;
                ammap_mut_slice_t mut;

                sem_init(&reader.in, 0, 0);
                sem_init(&reader.out, 0, 0);
                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
                task_start(&task, long_reader_body, &reader);
                waiter_start(&writer, map, true, -1);
                wait_until(STARVING_READERS(waiting_of(map)) == 1 && STARVING_WRITERS(waiting_of(map)) == 1);
                ck_assert(task_sleeps(&writer.task));
                ammap_mut_slice_release(&mut);
                sem_wait_surely(&reader.in);
                /* Else the writer may have been in before the reader. */
                if (turns_taken_back(map) == taken_back) {
                        wait_until(word_of(map) & LANE_HANDOFF_WRITERS);
                        round++;
                }
                sem_post(&reader.out);
                task_join(&task);
                task_join(&writer.task);
                ck_assert_int_eq(writer.result, 0);
                check_quiet(map);
        }
        turns_were_seen(__func__, round);
        free_quiet(map);
}

/* The same for a turn that is taken back under it, by a starving one that gave up. */
DEFINE_TEST("turns", a_writer_claims_after_another_gave_up)
{
        ammap_t *map = new_map(100, 1);

        no_bias(map);
        for (int round = 0; round < rounds(30); round++) {
                struct waiter brief, patient;
                struct holder holder;

                holder_start(&holder, map, 0, 1, false);
                waiter_start(&brief, map, true, (1 + round % 5) * MS);
                waiter_start(&patient, map, true, -1);
                task_join(&brief.task);
                ck_assert_int_eq(brief.result, AMMAP_ERR_TIMEOUT);
                wait_until(word_of(map) & LANE_HANDOFF_WRITERS);
                wait_until(STARVING_WRITERS(waiting_of(map)) == 1);
                ck_assert(task_sleeps(&patient.task));
                ck_assert(word_of(map) & LANE_HANDOFF_WRITERS);
                holder_stop(&holder);
                task_join(&patient.task);
                ck_assert_int_eq(patient.result, 0);
        }
        free_quiet(map);
}

/* Who is starving decides what a leaving writer stores. */
DEFINE_TEST("turns", a_leaving_writer_gives_the_turn)
{
        static const struct {
                uint32_t readers, writers;
                uint64_t turn;
        } turns[] = { { 0, 0, 0 },
                      { 1, 0, LANE_HANDOFF_READERS },
                      { 0, 1, LANE_HANDOFF_WRITERS },
                      { 1, 1, LANE_HANDOFF_READERS },
                      { 0x3fff, 0x3fff, LANE_HANDOFF_READERS },
                      { 0, 0x3fff, LANE_HANDOFF_WRITERS } };
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);

        for (size_t i = 0; i < COUNT_OF(turns); i++)
                for (uint32_t asleep = 0; asleep <= ASLEEP_BITS; asleep++) {
                        uint32_t waiting = turns[i].readers << 2 | turns[i].writers << 17 | asleep;
                        uint64_t sequence = sequence_of(map), turn = turns[i].turn;
                        bool readers = (asleep & 1) && turn != LANE_HANDOFF_WRITERS;
                        bool writers = (asleep & 2) && turn != LANE_HANDOFF_READERS;

                        ck_assert(lane_write_try(lane));
                        atomic_store(&lane->waiting, waiting);
                        lane_write_leave(lane);
                        ck_assert_uint_eq(word_of(map), (sequence + SEQUENCE_STEP) | turn);
                        /* Woken: the notes of those who may now enter are gone. */
                        ck_assert_uint_eq(waiting_of(map), waiting & ~((readers ? 1U : 0) | (writers ? 2U : 0)));
                        atomic_store(&lane->waiting, 0);
                        atomic_store(&lane->word, sequence + SEQUENCE_STEP);
                }
        free_quiet(map);
}

/* One that stays as a reader gives the same turns; no writer enters before it has left. */
DEFINE_TEST("turns", a_writer_that_reads_on_gives_the_turn)
{
        for (int kind = READ; kind <= WRITE; kind++) {
                ammap_t *map = new_map(100, 1);
                struct waiter waiter;
                ammap_mut_slice_t mut;
                ammap_slice_t slice;

                no_bias(map);
                ck_assert_int_eq(ammap_as_mut_slice(map, 0, 100, &mut), 0);
                waiter_start(&waiter, map, kind == WRITE, -1);
                wait_until(kind == READ ? STARVING_READERS(waiting_of(map)) == 1
                                        : STARVING_WRITERS(waiting_of(map)) == 1);
                ck_assert_int_eq(ammap_mut_slice_downgrade(&mut, &slice), 0);
                if (kind == READ) {
                        task_join(&waiter.task);
                        ck_assert_uint_eq(word_of(map), sequence_of(map) | 1);
                } else {
                        ck_assert(task_sleeps(&waiter.task));
                        ck_assert_uint_eq(word_of(map), sequence_of(map) | LANE_HANDOFF_WRITERS | 1);
                        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0);
                }
                ammap_slice_release(&slice);
                if (kind == WRITE)
                        task_join(&waiter.task);
                ck_assert_int_eq(waiter.result, 0);
                free_quiet(map);
        }
}

DEFINE_TEST("turns", a_turn_of_no_one_is_taken_back)
{
        ammap_t *map = new_map(100, 1);
        struct waiter waiter;
        struct holder holder;
        ammap_mut_slice_t mut;

        no_bias(map);
        /* A writer's, by who leaves it. */
        holder_start(&holder, map, 0, 1, false);
        waiter_start(&waiter, map, true, 50 * MS);
        task_join(&waiter.task);
        ck_assert_int_eq(waiter.result, AMMAP_ERR_TIMEOUT);
        ck_assert_uint_eq(word_of(map), sequence_of(map) | 1);
        ck_assert_uint_eq(waiting_of(map) & ~ASLEEP_BITS, 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), 0);
        holder_stop(&holder);
        check_quiet(map);

        /* A reader's: it has left before it could be given. */
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        waiter_start(&waiter, map, false, 50 * MS);
        task_join(&waiter.task);
        ck_assert_int_eq(waiter.result, AMMAP_ERR_TIMEOUT);
        ck_assert_uint_eq(waiting_of(map) & ~ASLEEP_BITS, 0);
        ammap_mut_slice_release(&mut);
        check_quiet(map);
        free_quiet(map);
}

/* The starving are forgotten, as one does who passes them over.  False: there is none. */
static bool forget(ammap_t *map, bool writers)
{
        _Atomic uint64_t *waiting = &only_lane(map)->waiting;
        uint64_t counts = writers ? UINT64_C(0x3fff) << 17 : UINT64_C(0x3fff) << 2;
        uint64_t before = atomic_load(waiting);

        do
                if (!(before & counts))
                        return false;
        while (!atomic_compare_exchange_weak(waiting, &before,
                                             (before & ~counts) + (writers ? UINT64_C(1) << 48 : UINT64_C(1) << 32)));
        return true;
}

/* --- Looks at holds that change underway ---------------------------------------- */

#if defined(__x86_64__) && !TEST_SANITIZED

static struct {
        unsigned long at, count;
        struct hold *hold;
        struct lane *there;
} step;

enum { TRAP = 0x100 }; /* of the flags: after each instruction */

/* At one of them the hold becomes another's lane to write, and no more is stopped at. */
static void stepped(int signal_number, siginfo_t *info, void *context)
{
        (void)signal_number, (void)info;
        if (step.count++ != step.at)
                return;
        hold_drop(step.hold);
        hold_note(step.hold, step.there, HOLD_COPY | HOLD_WRITE, 0);
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
}

static bool writes_unseen_stepping(const struct lane *lane)
{
        bool result;

        step.count = 0;
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP);
        result = lane_writes_unseen(lane);
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(unsigned long long)TRAP);
        return result;
}

/* One writes here whom no hold tells of.  Whatever becomes meanwhile of a hold that only
 * looked here, to read, a shrink must not take it for the writer's. */
DEFINE_TEST("turns", a_hold_that_moves_on)
{
        ammap_t *map = new_map(8192, 2);
        struct lane *here = &map->lane[0];
        struct sigaction action = { .sa_sigaction = stepped, .sa_flags = SA_SIGINFO }, before;
        uint64_t word = atomic_load(&here->word);

        if (under_valgrind()) {
                skip_part(__func__, "not with valgrind");
                ck_assert_int_eq(ammap_free(map), 0);
                return;
        }
        ck_assert_int_eq(thread_room(&step.hold), 0);
        step.there = &map->lane[1];
        atomic_store(&here->word, word | LANE_WRITER);
        ck_assert_int_eq(sigaction(SIGTRAP, &action, &before), 0);
        for (step.at = 0; step.at < 150; step.at++) { /* among the first holds that are looked at */
                hold_note(step.hold, here, HOLD_COPY | HOLD_BIASED, 0);
                ck_assert_msg(writes_unseen_stepping(here), "it moved on after %lu of %lu instructions", step.at,
                              step.count);
                ck_assert_uint_gt(step.count, step.at); /* it was one of them */
                hold_drop(step.hold);
        }
        ck_assert_int_eq(sigaction(SIGTRAP, &before, NULL), 0);
        atomic_store(&here->word, word);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

/* One has a turn and is stopped; it stands in the words alone.  The others wait for
 * it, or try again, for so long and no longer. */
DEFINE_LOOP_TEST("passes", a_turn_that_nobody_takes_ends, 0, 5)
{
        static const struct {
                uint64_t turn;
                enum op op;
        } turns[] = { { LANE_HANDOFF_READERS, OP_TRY_MUT_SLICE },
                      { LANE_HANDOFF_WRITERS, OP_TRY_MUT_SLICE },
                      { LANE_HANDOFF_WRITERS, OP_TRY_SLICE },
                      { LANE_HANDOFF_READERS, OP_MUT_SLICE },
                      { LANE_HANDOFF_WRITERS, OP_SLICE } };
        bool trying = turns[_i].op == OP_TRY_MUT_SLICE || turns[_i].op == OP_TRY_SLICE;
        bool writers = turns[_i].turn == LANE_HANDOFF_WRITERS;
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        const int64_t turn = 5 * MS;
        int64_t before;
        int rc;

        no_bias(map);
        for (int round = 1; round <= 3; round++) {
                atomic_store(&lane->word, sequence_of(map) | turns[_i].turn);
                atomic_fetch_add(&lane->waiting, writers ? 1U << 17 : 1U << 2);
                before = now_ns();
                if (trying) {
                        ck_assert_int_eq(op_elsewhere(turns[_i].op, map, 0, 1), AMMAP_ERR_BUSY);
                        ck_assert_int_ge(atomic_load(&lane->idle_since), before);
                        before = atomic_load(&lane->idle_since) + turn;
                        rc = op_elsewhere(turns[_i].op, map, 0, 1);
                        if (rc == AMMAP_ERR_BUSY) {
                                atomic_fetch_sub(&lane->idle_since, 1000 * MS);
                                before -= 1000 * MS;
                                rc = op_elsewhere(turns[_i].op, map, 0, 1);
                        }
                } else {
                        before += turn;
                        rc = op_elsewhere(turns[_i].op, map, 0, 1);
                }
                ck_assert_int_eq(rc, 0);
                ck_assert_int_ge(now_ns(), before);
                ck_assert_uint_eq(word_of(map), sequence_of(map));
                ck_assert_uint_eq(STARVING_READERS(waiting_of(map)) + STARVING_WRITERS(waiting_of(map)), 0);
                ck_assert_uint_eq(atomic_load(&lane->waiting) >> (writers ? 48 : 32), (unsigned)round);
        }
        free_quiet(map);
}

/* A writer's turn is not idle while it waits for readers. */
DEFINE_LOOP_TEST("passes", a_turn_that_cannot_be_taken_stays, 0, 2)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        struct waiter writer;
        struct holder reader;

        if (_i)
                make_biased(map);
        else
                no_bias(map);
        holder_start(&reader, map, 0, 1, false);
        waiter_start(&writer, map, true, -1);
        wait_until(word_of(map) & LANE_HANDOFF_WRITERS);
        for (int round = 0; round < 3; round++) {
                ck_assert_int_eq(op_elsewhere(OP_TRY_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
                atomic_store(&lane->idle_since, now_ns() - 1000 * MS);
        }
        ck_assert(word_of(map) & LANE_HANDOFF_WRITERS);
        holder_stop(&reader);
        task_join(&writer.task);
        ck_assert_int_eq(writer.result, 0);
        free_quiet(map);
}

/* One that was passed over goes on as if it had come just now, and takes nothing off
 * the count of those that came since. */
DEFINE_LOOP_TEST("passes", the_forgotten_go_on, 0, 4)
{
        bool writes = _i & 1, gives_up = _i & 2, forgotten = false;
        int64_t timeout = 50 * MS;
        ammap_t *map = new_map(100, 1);
        struct waiter waiters[2];
        struct holder holder;
        ammap_slice_t slice;

        no_bias(map);
        if (writes)
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        else
                holder_start(&holder, map, 0, 1, true);
        /* One that gave up before it was seen to starve tries again, for longer. */
        for (; !forgotten; timeout *= 2) {
                waiter_start(&waiters[0], map, writes, gives_up ? timeout : -1);
                while (!forgotten && !atomic_load(&waiters[0].task.done))
                        forgotten = forget(map, writes);
                if (!forgotten)
                        task_join(&waiters[0].task);
        }
        if (gives_up) {
                task_join(&waiters[0].task);
                ck_assert_int_eq(waiters[0].result, AMMAP_ERR_TIMEOUT);
                ck_assert_uint_eq(word_of(map) & (LANE_HANDOFF_READERS | LANE_HANDOFF_WRITERS), 0);
                ck_assert_uint_eq(STARVING_READERS(waiting_of(map)) + STARVING_WRITERS(waiting_of(map)), 0);
        } else {
                waiter_start(&waiters[1], map, writes, -1);
                wait_until((writes ? STARVING_WRITERS(waiting_of(map)) : STARVING_READERS(waiting_of(map))) >= 1);
        }
        if (writes)
                ammap_slice_release(&slice);
        else
                holder_stop(&holder);
        for (size_t i = 0; !gives_up && i < COUNT_OF(waiters); i++) {
                task_join(&waiters[i].task);
                ck_assert_int_eq(waiters[i].result, 0);
        }
        check_quiet(map);
        free_quiet(map);
}

/* Starving ones that give up about when they get the turn. */
DEFINE_TEST("turns", giving_up_races_with_the_turn)
{
        struct random random = random_start("giving_up_races_with_the_turn");
        ammap_t *map = new_map(100, 1);

        for (int round = 0; round < rounds(100); round++) {
                struct waiter waiters[5];
                struct holder holder;
                bool writes = random_below(&random, 2);

                holder_start(&holder, map, 0, 1, writes);
                for (size_t i = 0; i < COUNT_OF(waiters); i++)
                        waiter_start(&waiters[i], map, random_below(&random, 2),
                                     4 * MS + (int64_t)random_below(&random, 40) * MS / 20);
                for (int64_t end = now_ns() + 5 * MS; now_ns() < end;)
                        sched_yield();
                holder_stop(&holder);
                for (size_t i = 0; i < COUNT_OF(waiters); i++) {
                        task_join(&waiters[i].task);
                        ck_assert(waiters[i].result == 0 || waiters[i].result == AMMAP_ERR_TIMEOUT);
                }
                check_quiet(map);
        }
        free_quiet(map);
}

/* Readers that overlap at all times, and a writer that still gets in. */
struct relay {
        ammap_t *map;
        _Atomic bool stop;
        _Atomic uint64_t passed;
};

static void *relay_body(void *argument)
{
        struct relay *relay = argument;
        ammap_slice_t slice[2];
        unsigned at = 0;

        thread_check_int(ammap_as_slice(relay->map, 0, 1, &slice[0]), 0);
        while (!atomic_load(&relay->stop)) {
                uint64_t before = atomic_load(&relay->passed);

                /* Until another has come. */
                for (int i = 0; i < 200 && atomic_load(&relay->passed) == before; i++)
                        sched_yield();
                ammap_slice_release(&slice[at]);
                at = !at;
                thread_check_int(ammap_as_slice(relay->map, 0, 1, &slice[at]), 0);
                atomic_fetch_add(&relay->passed, 1);
        }
        ammap_slice_release(&slice[at]);
        return NULL;
}

DEFINE_LOOP_TEST("turns", writers_get_in_among_readers, 0, 2)
{
        ammap_t *map = new_map(100, 1);
        struct relay relay = { .map = map };
        struct task readers[4];

        if (_i == 0)
                no_bias(map);
        for (size_t i = 0; i < COUNT_OF(readers); i++)
                task_start(&readers[i], relay_body, &relay);
        for (int round = 0; round < rounds(200); round++) {
                struct waiter writer = { .map = map, .writes = true, .timeout_ns = -1 };
                uint64_t passed = atomic_load(&relay.passed);

                waiter_body(&writer);
                ck_assert_int_eq(writer.result, 0);
                for (int i = 0; i < 1000 && atomic_load(&relay.passed) < passed + 8; i++)
                        sched_yield();
        }
        atomic_store(&relay.stop, true);
        for (size_t i = 0; i < COUNT_OF(readers); i++)
                task_join(&readers[i]);
        free_quiet(map);
}

DEFINE_TEST("turns", readers_get_in_among_writers)
{
        ammap_t *map = new_map(5000, 1);
        struct hot hot = { map, false };
        struct task writers[3];

        for (size_t i = 0; i < COUNT_OF(writers); i++)
                task_start(&writers[i], hot_writer_body, &hot);
        for (int round = 0; round < rounds(100); round++) {
                struct waiter reader = { .map = map, .writes = false, .timeout_ns = -1 };

                waiter_body(&reader);
                ck_assert_int_eq(reader.result, 0);
        }
        atomic_store(&hot.stop, true);
        for (size_t i = 0; i < COUNT_OF(writers); i++)
                task_join(&writers[i]);
        free_quiet(map);
}

/* --- Death, threads, forks ------------------------------------------------------- */

DEFINE_TEST("ends", all_who_wait_hear_of_a_death)
{
        ammap_t *map = new_map(100, 1);

        for (int round = 0; round < rounds(10); round++) {
                struct waiter waiters[6];
                struct holder holder;
                uint64_t sequence = sequence_of(map);

                holder_start(&holder, map, 0, 1, true);
                for (size_t i = 0; i < COUNT_OF(waiters); i++)
                        waiter_start(&waiters[i], map, i % 2, i < 3 ? -1 : 1000 * SECOND);
                /* Some starving, some not. */
                for (size_t i = 0; i < COUNT_OF(waiters) && round % 2; i++)
                        ck_assert(task_sleeps(&waiters[i].task));
                holder_vanish(&holder);
                for (size_t i = 0; i < COUNT_OF(waiters); i++) {
                        task_join(&waiters[i].task);
                        ck_assert_int_eq(waiters[i].result, AMMAP_ERR_OWNER_DEAD);
                }
                ck_assert_uint_eq(word_of(map), (sequence + LANE_WRITER) | LANE_DEAD);
                ck_assert_int_eq(ammap_recover(map), 0);
                ck_assert_uint_eq(word_of(map), sequence + SEQUENCE_STEP);
                check_quiet(map);
        }
        free_quiet(map);
}

struct hot_recover {
        ammap_t *map;
        _Atomic bool stop;
        _Atomic uint64_t deaths;
};

static void *recoverer_body(void *argument)
{
        struct hot_recover *hot = argument;

        while (!atomic_load(&hot->stop))
                thread_check_int(ammap_recover(hot->map), 0);
        return NULL;
}

static void *surviving_body(void *argument)
{
        struct hot_recover *hot = argument;
        unsigned char byte = 1;

        while (!atomic_load(&hot->stop)) {
                int result = ammap_update_region(hot->map, 0, &byte, 1);

                thread_check(result == 0 || result == AMMAP_ERR_OWNER_DEAD);
                atomic_fetch_add(&hot->deaths, result != 0);
        }
        return NULL;
}

/* Two recover at once, while others write and die: never a broken word. */
DEFINE_TEST("ends", recovery_races_with_everyone)
{
        ammap_t *map = new_map(100, 1);
        struct hot_recover hot = { .map = map };
        struct task tasks[4];

        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_start(&tasks[i], i < 2 ? recoverer_body : surviving_body, &hot);
        for (int round = 0; round < rounds(1000); round++) {
                struct holder holder = { .map = map, .length = 1, .writes = true, .leaves = true };
                uint64_t sequence = sequence_of(map);

                sem_init(&holder.taken, 0, 0);
                sem_init(&holder.finish, 0, 1);
                task_start(&holder.task, holder_body, &holder);
                task_join(&holder.task);
                ck_assert(holder.result == 0 || holder.result == AMMAP_ERR_OWNER_DEAD);
                if (holder.result == 0)
                        ck_assert_uint_gt(sequence_of(map), sequence);
        }
        atomic_store(&hot.stop, true);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        ck_assert_int_eq(ammap_recover(map), 0);
        free_quiet(map);
}

static void *block_body(void *argument)
{
        ammap_t *map = argument;
        ammap_slice_t slice[20];
        struct holds *block;

        for (size_t i = 0; i < COUNT_OF(slice); i++)
                thread_check_int(ammap_as_slice(map, 0, 1, &slice[i]), 0);
        block = thread_holds;
        thread_check(thread_owns(block));
        /* And it ends with half of them. */
        for (size_t i = 0; i < COUNT_OF(slice); i += 2)
                ammap_slice_release(&slice[i]);
        return block;
}

DEFINE_LOOP_TEST("ends", threads_leave_nothing_behind, 0, 2)
{
        ammap_t *map = new_map(100, 1);
        void *first = NULL;
        int others = 0;

        if (_i == 0)
                no_bias(map);
        else
                make_biased(map);
        for (int round = 0; round < rounds(300); round++) {
                pthread_t thread;
                void *block;

                ck_assert_int_eq(pthread_create(&thread, NULL, block_body, map), 0);
                ck_assert_int_eq(pthread_join(thread, &block), 0);
                ck_assert_ptr_nonnull(block);
                ck_assert(!thread_owns(block));
                others += first && block != first;
                first = first ? first : block;
                ck_assert_uint_eq(word_of(map) & LANE_READERS, 0);
                ck_assert(!thread_any_names(only_lane(map)));
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), 0);
                if (_i == 1)
                        make_biased(map);
        }
        /* Each takes the blocks that the last one gave back. */
        ck_assert_int_eq(others, 0);
        free_quiet(map);
}

static void check_child(pid_t child)
{
        int status;

        ck_assert_int_gt(child, 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                ck_abort_msg("the child ended with %#x", (unsigned)status);
}

/* In the child nothing may be asserted: its result is the line that failed. */
#define child_check(expression)                                                                                        \
        do {                                                                                                           \
                if (!(expression)) {                                                                                   \
                        fprintf(stderr, "in the child: line %d: %s\n", __LINE__, #expression);                         \
                        _exit(1);                                                                                      \
                }                                                                                                      \
        } while (0)

/* fork runs handlers; the raw call does not, and the library finds out.
 * ThreadSanitizer's own locks do not survive that. */
static pid_t fork_some(bool raw)
{
#if defined(OS_TSAN)
        (void)raw;
        return fork();
#elif defined(SYS_fork)
        return raw ? (pid_t)syscall(SYS_fork) : fork();
#else
        return raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
#endif
}

/* ThreadSanitizer sees the threads that the child does not have race with free. */
static int child_free(ammap_t *map)
{
#ifdef OS_TSAN
        return lane_is_held(only_lane(map)) ? AMMAP_ERR_BUSY : 0;
#else
        return ammap_free(map);
#endif
}

/* _i: bit 0 raw, bit 1 biased */
DEFINE_LOOP_TEST("ends", a_child_keeps_its_own_reads, 0, 4)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        struct holder others[2];
        struct waiter writer;
        ammap_slice_t slice, more;
        ammap_mut_slice_t mut;
        pid_t child;

        if (_i & 2)
                make_biased(map);
        else
                no_bias(map);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        for (size_t i = 0; i < COUNT_OF(others); i++)
                holder_start(&others[i], map, 0, 1, false);
        waiter_start(&writer, map, true, -1);
        wait_until(STARVING_WRITERS(waiting_of(map)) == 1);
        ck_assert(task_sleeps(&writer.task));
        child = fork_some(_i & 1);
        if (child == 0) {
                alarm(test_time());
                child_check(ammap_as_slice(map, 0, 1, &more) == 0);
                ammap_slice_release(&more);
                if (!(_i & 1)) {
                        child_check(atomic_load(&lane->waiting) == 0);
                        child_check((word_of(map) & (LANE_READERS | LANE_HANDOFF_WRITERS)) == (_i & 2 ? 0 : 1));
                }
                child_check(ammap_try_as_mut_slice(map, 0, 1, &mut) == AMMAP_ERR_DEADLOCK);
                ammap_slice_release(&slice);
                child_check(ammap_try_as_mut_slice(map, 0, 1, &mut) == 0);
                ammap_mut_slice_release(&mut);
                child_check(ammap_update_region(map, 0, "x", 1) == 0);
                child_check(atomic_load(&lane->waiting) == 0);
                child_check(child_free(map) == 0);
                _exit(0);
        }
        check_child(child);
        ammap_slice_release(&slice);
        for (size_t i = 0; i < COUNT_OF(others); i++)
                holder_stop(&others[i]);
        task_join(&writer.task);
        ck_assert_int_eq(writer.result, 0);
        free_quiet(map);
}

enum { CHILD_TRY, CHILD_NO_TIME, CHILD_WAIT, CHILD_FREE, CHILD_READ, CHILD_LAST };

/* A child's first act meets what a thread that it has not left: a reader that
 * is in, or a writer. */
DEFINE_LOOP_TEST("ends", a_child_is_not_kept_out_by_the_gone, 0, 4)
{
        bool raw = _i & 1, writes = _i & 2;
        ammap_t *map = new_map(100, 1);
        struct holder other;

        no_bias(map);
        holder_start(&other, map, 0, 1, writes);
        for (int act = CHILD_TRY; act < CHILD_LAST; act++) {
                int want = writes ? AMMAP_ERR_OWNER_DEAD : 0;
                ammap_mut_slice_t mut;
                unsigned char byte = 1;
                pid_t child = fork_some(raw);

                if (child > 0) {
                        check_child(child);
                        continue;
                }
                alarm(test_time());
                if (act == CHILD_TRY) {
                        child_check(ammap_try_as_mut_slice(map, 0, 1, &mut) == want);
                        ammap_mut_slice_release(&mut);
                } else if (act == CHILD_NO_TIME) {
                        child_check(ammap_timed_as_mut_slice(map, 0, 1, 0, &mut) == want);
                        ammap_mut_slice_release(&mut);
                } else if (act == CHILD_READ) {
                        child_check(ammap_read_into(map, 0, &byte, 1) == want);
                } else if (act == CHILD_FREE) {
                        child_check(child_free(map) == 0);
                        _exit(0);
                }
                child_check(ammap_update_region(map, 0, &byte, 1) == want);
                child_check(ammap_recover(map) == 0);
                for (int i = 0; i < 3; i++)
                        child_check(ammap_update_region(map, 0, &byte, 1) == 0);
                child_check(atomic_load(&only_lane(map)->waiting) == 0);
                child_check(child_free(map) == 0);
                _exit(0);
        }
        holder_stop(&other);
        free_quiet(map);
}

DEFINE_LOOP_TEST("ends", a_child_keeps_its_own_write, 0, 2)
{
        ammap_t *map = new_map(100, 1);
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        uint64_t sequence;
        pid_t child;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        sequence = sequence_of(map);
        child = fork_some(_i & 1);
        if (child == 0) {
                child_check(ammap_try_as_slice(map, 0, 1, &slice) == AMMAP_ERR_DEADLOCK);
                child_check(word_of(map) == sequence);
                ammap_mut_slice_release(&mut);
                child_check(word_of(map) == sequence + LANE_WRITER);
                child_check(ammap_try_as_slice(map, 0, 1, &slice) == 0);
                _exit(0);
        }
        check_child(child);
        ck_assert_uint_eq(word_of(map), sequence);
        ammap_mut_slice_release(&mut);
        free_quiet(map);
}

/* Forks while everyone fights for the lock. */
DEFINE_TEST("ends", children_of_a_fight_go_on)
{
        ammap_t *map = new_map(5000, 2);
        struct relay relay = { .map = map };
        struct hot hot = { map, false };
        struct task tasks[5];
        int dead = 0;

        for (size_t i = 0; i < COUNT_OF(tasks); i++) {
                if (i < 2)
                        task_start(&tasks[i], relay_body, &relay);
                else
                        task_start(&tasks[i], hot_writer_body, &hot);
        }
        for (int round = 0; round < rounds(150); round++) {
                unsigned char bytes[100];
                pid_t child = fork_some(round % 2);
                int status;

                if (child == 0) {
                        int result;

                        alarm(test_time());
                        result = ammap_update_region(map, 0, bytes, 100);
                        child_check(result == 0 || result == AMMAP_ERR_OWNER_DEAD);
                        child_check(ammap_recover(map) == 0);
                        child_check(ammap_update_region(map, 0, bytes, 100) == 0);
                        child_check(ammap_read_into(map, 0, bytes, 100) == 0);
                        child_check(ammap_fill(map, 0, 5000, 1) == 0);
                        child_check(child_free(map) == 0);
                        _exit(result ? 2 : 0);
                }
                ck_assert_int_gt(child, 0);
                ck_assert_int_eq(waitpid(child, &status, 0), child);
                if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
                        ck_abort_msg("the child ended with %#x", (unsigned)status);
                dead += WEXITSTATUS(status) == 2;
        }
        atomic_store(&relay.stop, true);
        atomic_store(&hot.stop, true);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
                task_join(&tasks[i]);
        printf("children_of_a_fight_go_on: %d found a writer gone\n", dead);
        free_quiet(map);
}

/* --- Wake-ups ---------------------------------------------------------------------- */

/* Whoever is not woken waits for ever, and the watchdog bites. */
#define FOR_EVER INT64_C(-1)

struct party {
        ammap_t *map;
        int count;
        uint64_t seed;
        uint64_t *shared; /* two words in the map, always equal but inside a write */
        uint64_t took, gave_up;
};

static void be_inside(struct random *random)
{
        uint64_t how = random_below(random, 8);

        if (how == 0)
                sched_yield();
        else if (how == 1)
                nanosleep(&(struct timespec){ 0, 1000 }, NULL);
        else
                for (uint64_t i = random_below(random, 300); i > 0; i--)
                        os_pause();
}

static void *party_body(void *argument)
{
        struct party *p = argument;
        struct random random = { p->seed };

        for (int i = 0; i < p->count; i++) {
                bool brief = random_below(&random, 4) == 0;
                int64_t timeout = brief ? (int64_t)random_below(&random, 200000) : FOR_EVER;
                ammap_mut_slice_t mut;
                ammap_slice_t slice;
                int result;

                if (random_below(&random, 10) < 6) {
                        result = ammap_timed_as_mut_slice(p->map, 0, 16, timeout, &mut);
                        if (result == 0) {
                                thread_check(p->shared[0] == p->shared[1]);
                                p->shared[0]++;
                                be_inside(&random);
                                p->shared[1]++;
                                ammap_mut_slice_release(&mut);
                        }
                } else {
                        result = ammap_timed_as_slice(p->map, 0, 16, timeout, &slice);
                        if (result == 0) {
                                uint64_t first = p->shared[0];

                                be_inside(&random);
                                thread_check(first == p->shared[1]);
                                ammap_slice_release(&slice);
                        }
                }
                if (result == 0)
                        p->took++;
                else if (brief && result == AMMAP_ERR_TIMEOUT)
                        p->gave_up++;
                else
                        thread_check_int(result, 0);
        }
        return NULL;
}

static const unsigned crowds[] = { 2, 3, 8, 32 };

DEFINE_LOOP_TEST("wakes", no_wake_up_is_lost, 0, COUNT_OF(crowds))
{
        struct random random = random_start("no_wake_up_is_lost");
        ammap_t *map = new_map(100, 1);
        struct party party[32];
        struct task tasks[32];
        uint64_t took = 0, gave_up = 0;
        int count = rounds(12000) / (int)crowds[_i] + 1;

        for (unsigned i = 0; i < crowds[_i]; i++) {
                party[i] = (struct party){ .map = map, .count = count, .seed = random_next(&random) };
                party[i].shared = ammap_as_mut_ptr(map);
                task_start(&tasks[i], party_body, &party[i]);
        }
        for (unsigned i = 0; i < crowds[_i]; i++) {
                task_join(&tasks[i]);
                took += party[i].took;
                gave_up += party[i].gave_up;
        }
        ck_assert_uint_eq(took + gave_up, (uint64_t)count * crowds[_i]);
        printf("no_wake_up_is_lost: %u threads, %llu times in, %llu gave up\n", crowds[_i], (unsigned long long)took,
               (unsigned long long)gave_up);
        free_quiet(map);
}

/* Two threads, each of which sleeps until the other lets go, for each pair of
 * kinds; the sleeper is seen asleep before it is woken. */
struct ping {
        ammap_t *map;
        bool writes;
        int count;
        sem_t go;
        _Atomic int rounds_done;
};

static void *ping_body(void *argument)
{
        struct ping *ping = argument;

        for (int i = 0; i < ping->count; i++) {
                struct waiter waiter = { .map = ping->map, .writes = ping->writes, .timeout_ns = FOR_EVER };

                sem_wait_surely(&ping->go);
                waiter_body(&waiter);
                thread_check_int(waiter.result, 0);
                atomic_fetch_add(&ping->rounds_done, 1);
        }
        return NULL;
}

static const struct {
        bool sleeper_writes, holder_writes, biased;
} couples[] = { { true, false, false }, { true, false, true }, { false, true, false }, { true, true, false } };

DEFINE_LOOP_TEST("wakes", sleepers_are_woken, 0, 4)
{
        ammap_t *map = new_map(100, 1);
        struct lane *lane = only_lane(map);
        struct ping ping = { .map = map, .writes = couples[_i].sleeper_writes, .count = rounds(150) };
        struct task task;

        if (!couples[_i].biased)
                no_bias(map);
        sem_init(&ping.go, 0, 0);
        task_start(&task, ping_body, &ping);
        for (int i = 0; i < ping.count; i++) {
                ammap_slice_t slice = { 0 };
                ammap_mut_slice_t mut = { 0 };

                if (couples[_i].biased)
                        make_biased(map);
                if (couples[_i].holder_writes)
                        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
                else
                        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
                sem_post(&ping.go);
                wait_until(atomic_load(&lane->asleep[ping.writes ? WRITE : READ]) == 1);
                /* On both sides of falling asleep, of a sleep's end, of starvation. */
                for (int64_t end = now_ns() + i % 40 * 100000; i % 4 && now_ns() < end;)
                        sched_yield();
                ammap_slice_release(&slice);
                ammap_mut_slice_release(&mut);
                wait_until(atomic_load(&ping.rounds_done) == i + 1);
        }
        task_join(&task);
        free_quiet(map);
}

/* Writers asleep for the same lane all get in, one wake-up each. */
DEFINE_TEST("wakes", one_writer_wakes_the_next)
{
        ammap_t *map = new_map(100, 1);

        for (int round = 0; round < rounds(30); round++) {
                struct waiter waiters[8];
                uint64_t sequence;
                struct holder holder;
                uint64_t entered = 0;

                holder_start(&holder, map, 0, 1, round % 2);
                sequence = sequence_of(map) & ~LANE_WRITER;
                for (size_t i = 0; i < COUNT_OF(waiters); i++)
                        waiter_start(&waiters[i], map, true, i % 4 == 3 ? 8 * MS : FOR_EVER);
                if (round % 3 == 0)
                        for (size_t i = 0; i < COUNT_OF(waiters); i += 2)
                                ck_assert(task_sleeps(&waiters[i].task));
                holder_stop(&holder);
                for (size_t i = 0; i < COUNT_OF(waiters); i++) {
                        task_join(&waiters[i].task);
                        ck_assert(waiters[i].result == 0 || (i % 4 == 3 && waiters[i].result == AMMAP_ERR_TIMEOUT));
                        entered += waiters[i].result == 0;
                }
                ck_assert_uint_eq(sequence_of(map), sequence + (entered + (uint64_t)(round % 2)) * SEQUENCE_STEP);
                check_quiet(map);
        }
        free_quiet(map);
}

/* --- Torture ------------------------------------------------------------------------ */

enum path { OPTIMISTIC, COUNTED, BIASED, HANDOVER, MIXED, PATHS };

enum { TORTURE_LENGTH = 512 };

struct torture {
        ammap_t *map;
        enum path path;
        _Atomic bool stop;
        _Atomic unsigned to_come;
        _Atomic int writers_in, readers_in;
        _Atomic uint64_t torn, crowded, reads, writes, biased, counted;
};

struct torturer {
        struct torture *torture;
        uint64_t seed;
};

static bool is_torn(const unsigned char *bytes)
{
        return !is_all(bytes, bytes[0], TORTURE_LENGTH);
}

static void torture_slice(struct torture *t, struct random *random)
{
        ammap_slice_t slice;
        int result = ammap_as_slice(t->map, 0, TORTURE_LENGTH, &slice);

        thread_check_int(result, 0);
        if (result < 0)
                return;
        atomic_fetch_add_explicit(&t->readers_in, 1, memory_order_relaxed);
        if (atomic_load_explicit(&t->writers_in, memory_order_relaxed) != 0)
                atomic_fetch_add(&t->crowded, 1);
        atomic_fetch_add_explicit(kind_of(&slice) == HOLD_BIASED ? &t->biased : &t->counted, 1, memory_order_relaxed);
        if (is_torn(slice.data))
                atomic_fetch_add(&t->torn, 1);
        if (t->path >= HANDOVER)
                be_inside(random);
        atomic_fetch_sub_explicit(&t->readers_in, 1, memory_order_relaxed);
        ammap_slice_release(&slice);
}

static void torture_read(struct torture *t, size_t length)
{
        unsigned char bytes[2048];

        thread_check_int(ammap_read_into(t->map, 0, bytes, length), 0);
        if (is_torn(bytes))
                atomic_fetch_add(&t->torn, 1);
}

static void torture_write(struct torture *t, struct random *random)
{
        unsigned char byte = (unsigned char)random_next(random), bytes[TORTURE_LENGTH];
        ammap_mut_slice_t mut;
        int result;

        if (t->path == OPTIMISTIC || random_below(random, 3) == 0) {
                memset(bytes, byte, sizeof(bytes));
                thread_check_int(ammap_update_region(t->map, 0, bytes, sizeof(bytes)), 0);
                return;
        }
        result = random_below(random, 4) ? ammap_as_mut_slice(t->map, 0, TORTURE_LENGTH, &mut)
                                         : ammap_try_as_mut_slice(t->map, 0, TORTURE_LENGTH, &mut);
        if (result < 0) {
                thread_check_int(result, AMMAP_ERR_BUSY);
                return;
        }
        if (atomic_fetch_add_explicit(&t->writers_in, 1, memory_order_relaxed) != 0 ||
            atomic_load_explicit(&t->readers_in, memory_order_relaxed) != 0)
                atomic_fetch_add(&t->crowded, 1);
        for (size_t i = 0; i < TORTURE_LENGTH; i++)
                ((volatile unsigned char *)mut.data)[i] = byte;
        if (t->path >= HANDOVER)
                be_inside(random);
        if (atomic_load_explicit(&t->readers_in, memory_order_relaxed) != 0)
                atomic_fetch_add(&t->crowded, 1);
        atomic_fetch_sub_explicit(&t->writers_in, 1, memory_order_relaxed);
        ammap_mut_slice_release(&mut);
}

static void *torturer_body(void *argument)
{
        struct torturer *torturer = argument;
        struct torture *t = torturer->torture;
        struct random random = { torturer->seed };
        static const unsigned write_in[PATHS] = { 3, 3, 200, 2, 10 };

        /* The others have begun, too. */
        atomic_fetch_sub(&t->to_come, 1);
        while (atomic_load(&t->to_come) > 0)
                sched_yield();
        while (!atomic_load_explicit(&t->stop, memory_order_relaxed)) {
                struct lane *lane = only_lane(t->map);

                if (random_below(&random, write_in[t->path]) == 0) {
                        torture_write(t, &random);
                        if (t->path == BIASED || t->path == MIXED) {
                                atomic_store_explicit(&lane->bias_after, 0, memory_order_relaxed);
                                atomic_store_explicit(&lane->bias_countdown, 0, memory_order_relaxed);
                        }
                        atomic_fetch_add_explicit(&t->writes, 1, memory_order_relaxed);
                        continue;
                }
                if (t->path == OPTIMISTIC || (t->path == MIXED && random_below(&random, 2)))
                        torture_read(t, TORTURE_LENGTH);
                else if (t->path == COUNTED && random_below(&random, 2))
                        torture_read(t, 2048);
                else
                        torture_slice(t, &random);
                atomic_fetch_add_explicit(&t->reads, 1, memory_order_relaxed);
        }
        return NULL;
}

static const unsigned packs[] = { 2, 3, 8 };

/* So many rounds, and some of each kind. */
static bool torture_is_over(struct torture *t, uint64_t wanted)
{
        uint64_t reads = atomic_load(&t->reads), writes = atomic_load(&t->writes);

        return reads + writes >= wanted && reads > 0 && writes > 0 &&
               (t->path != BIASED || atomic_load(&t->biased) > 0) &&
               (t->path != COUNTED || atomic_load(&t->counted) > 0);
}

DEFINE_LOOP_TEST("torture", torture, 0, COUNT_OF(packs) * PATHS)
{
        static const char *const names[PATHS] = { "optimistic", "counted", "biased", "handover", "mixed" };
        struct torture t = { .path = (enum path)(_i / (int)COUNT_OF(packs)) };
        unsigned count = packs[_i % (int)COUNT_OF(packs)];
        struct random random = random_start("torture");
        struct torturer torturers[8];
        struct task tasks[8];
        static const int enough[PATHS] = { 60000, 40000, 60000, 8000, 25000 };
        const char *given = getenv("AMMAP_TORTURE_PERCENT");
        int percent = given ? atoi(given) : test_is_long() ? 2000 : 100;

        t.map = new_map(2048, 1);
        if (t.path == COUNTED)
                no_bias(t.map);
        atomic_init(&t.to_come, count);
        for (unsigned i = 0; i < count; i++) {
                torturers[i] = (struct torturer){ &t, random_next(&random) };
                task_start(&tasks[i], torturer_body, &torturers[i]);
        }
        while (!torture_is_over(&t, (uint64_t)rounds(enough[t.path]) * (uint64_t)percent / 100))
                pause_ms(1);
        atomic_store(&t.stop, true);
        for (unsigned i = 0; i < count; i++)
                task_join(&tasks[i]);
        printf("torture: %s, %u threads: %llu reads (%llu biased, %llu counted slices), %llu writes\n", names[t.path],
               count, (unsigned long long)t.reads, (unsigned long long)t.biased, (unsigned long long)t.counted,
               (unsigned long long)t.writes);
        ck_assert_uint_eq(t.torn, 0);
        ck_assert_uint_eq(t.crowded, 0);
        free_quiet(t.map);
}

int main(void)
{
        return run_tests("lock", test_case);
}
