/* turns.c - scenes of those who wait for long, of the bias that comes and goes, and of what else is rare
 *
 * SPDX-License-Identifier: MIT
 *
 * Each is made so that one moment of the lock can be found in it by one preemption or none: times
 * are such that those wake together who are to meet.  The essay on top of lock.c has the moments.
 */
#include "draw.h"

#include "lock/lock.h"

enum { US = 1000, MS = 1000000 };

static const struct range word = { 0, 0, 2 }, second = { 0, WORDS, 2 }, third = { 0, 2 * WORDS, 2 },
                          both = { 0, 0, 2 * WORDS }, all = { 0, 0, 3 * WORDS };

/* More than may pass anyone (fair.c). */
enum { MANY = 8 };

static void slice_for(struct range range, int64_t time)
{
        do_slice(range, WAITS);
        do_rest(time);
        do_release();
}

static void write_for(struct range range, int64_t time)
{
        do_mut_slice(range, WAITS);
        do_rest(time);
        do_release();
}

static void work_in_slice(struct range range)
{
        do_slice(range, WAITS);
        work(1 * US);
        do_release();
}

static void work_in_mut_slice(struct range range)
{
        do_mut_slice(range, WAITS);
        work(1 * US);
        do_release();
}

static void slices(struct range range, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                do_slice(range, WAITS);
                do_release();
        }
}

static void writes(struct range range, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                do_mut_slice(range, WAITS);
                do_release();
        }
}

/* So that its next slice takes no call: a thread that has had none has no room for it yet. */
static void begin_slices(void)
{
        slices(word, 1);
}

/* A reader stays in for longer than a turn may be out that could be taken, a writer waits, and another
 * reader comes again and again. */
void past_a_writer(unsigned number)
{
        switch (number) {
        case 0:
                begin_slices();
                do_rest(4 * MS);
                slices(word, MANY);
                break;
        case 1:
                slice_for(word, 40 * MS);
                break;
        default:
                writes(word, 1);
        }
}

/* A writer and a reader have waited for long.  The reader has its turn, and then others come. */
void past_a_turn(unsigned number)
{
        switch (number) {
        case 0:
                begin_slices();
                do_rest(7 * MS);
                slices(word, 1);
                break;
        case 1:
                write_for(word, 5 * MS);
                break;
        case 2:
                writes(word, 1);
                break;
        default:
                slice_for(word, 5 * MS);
        }
}

/* A writer is about to wait for its turn when the one that is in leaves, and a reader enters. */
void past_a_look(unsigned number)
{
        switch (number) {
        case 0:
                write_for(word, 2 * MS);
                break;
        case 1:
                writes(word, 1);
                break;
        case 2:
                do_rest(1 * MS);
                slice_for(word, 5 * MS);
                break;
        default:
                do_rest(4 * MS);
                slices(word, 1);
        }
}

static void writes_on(void)
{
        write_for(word, 4 * MS);
        writes(word, MANY);
}

void past_a_reader(unsigned number)
{
        if (number == 0)
                writes_on();
        else
                slices(word, 1);
}

void past_writers(unsigned number)
{
        if (number == 0)
                writes_on();
        else
                writes(word, 1);
}

/* A writer keeps readers out, for its turn, and gives up before it has slept. */
void claimed_in_vain(unsigned number)
{
        switch (number) {
        case 0:
                slice_for(word, 20 * MS);
                break;
        case 1:
                next_timeout(1);
                if (do_mut_slice(word, TIMED))
                        do_release();
                break;
        default:
                slices(word, 1);
        }
}

/* Two writers wait.  The one that is woken gives up, while a store that lets the other one in is
 * under way. */
void given_up(unsigned number)
{
        switch (number) {
        case 0:
                write_for(word, 100 * US);
                work(1 * MS);
                writes(word, 1);
                work(1 * US);
                break;
        case 1:
                next_timeout(500 * US);
                if (do_mut_slice(word, TIMED))
                        do_release();
                break;
        default:
                writes(word, 1);
        }
}

/* The one wake-up of a writer that saw nobody starving comes when another writer gives a turn. */
void one_wake_up(unsigned number)
{
        switch (number) {
        case 0:
                write_for(word, 2 * MS);
                break;
        case 1:
                do_rest(1 * MS);
                writes(word, 1);
                break;
        case 2:
                writes(word, 1);
                break;
        default:
                do_rest(2 * MS);
                work_in_mut_slice(word);
        }
}

/* Who waits gives up when the writer that leaves has seen it. */
void turn_of_nobody(unsigned number)
{
        if (number == 0) {
                write_for(word, 4 * MS);
        } else {
                next_timeout(4 * MS);
                if (do_mut_slice(word, TIMED))
                        do_release();
        }
}

void turn_of_no_reader(unsigned number)
{
        if (number == 0) {
                write_for(word, 4 * MS);
        } else {
                next_timeout(4 * MS);
                if (do_slice(word, TIMED))
                        do_release();
        }
}

/* Each writer that leaves would give a turn to one that is stopped, and a reader waits for its end. */
void stopped(unsigned number)
{
        switch (number) {
        case 0:
                write_for(word, 5 * MS);
                for (unsigned i = 0; i < 2 * MANY; i++) {
                        do_rest(15 * MS);
                        writes(word, 1);
                }
                break;
        case 1:
                writes(word, 1);
                break;
        default:
                do_rest(6 * MS);
                for (unsigned i = 0; i < 5 * MANY; i++) {
                        slices(word, 1);
                        do_rest(4 * MS);
                }
        }
}

/* From its next read on the thread reads the lane by a name. */
static void make_bias(struct range range)
{
        bias_soon(range);
        slices(range, 1);
}

/* A reader is about to name the lane when a writer takes the bias. */
void named(unsigned number)
{
        if (number == 0) {
                make_bias(word);
                slices(word, 2);
        } else {
                work_in_mut_slice(word);
        }
}

/* The bias is taken by one who gives up, and comes back while another waits for those who had it. */
void bias_back(unsigned number)
{
        if (number == 0) {
                make_bias(word);
                work_in_slice(word);
                work(1 * MS);
                make_bias(word);
                work_in_slice(word);
        } else {
                if (do_mut_slice(word, TRIES))
                        do_release();
                writes(word, 1);
        }
}

/* The same, and in between somebody settles the lane, and does not enter. */
void settled_back(unsigned number)
{
        if (number == 0) {
                make_bias(third);
                make_bias(second);
                work_in_slice(third);
                do_slice(second, WAITS);
                if (do_mut_slice(all, TRIES))
                        do_release();
                do_release();
                work(1 * MS);
                bias_soon(third);
                make_bias(third);
                make_bias(second);
                work_in_slice(third);
        } else {
                if (do_mut_slice(third, TRIES))
                        do_release();
                writes(third, 1);
        }
}

/* A name is under way when a writer of two lanes takes the bias of the second. */
void settled(unsigned number)
{
        if (number == 0) {
                make_bias(second);
                work_in_slice(second);
        } else {
                writes(both, 1);
        }
}

/* A reader that does not enter finds a writer at each look. */
void asks(unsigned number)
{
        if (number == 0) {
                work_in_mut_slice(word);
        } else {
                do_read(word, WAITS);
        }
}

/* There is room for one reader more. */
void crowded(unsigned number)
{
        if (number == 0)
                add_readers(word, LANE_READERS - 1);
        for (int i = 0; i < 2; i++)
                if (do_slice(word, WAITS)) {
                        work(1 * US);
                        do_release();
                }
        if (number == 0)
                take_readers(word);
}

/* A map is made shorter while somebody writes there, and then as long again. */
void shrinks(unsigned number)
{
        if (number == 0) {
                do_update((struct range){ 0, 8, 4 }, WAITS);
        } else {
                do_resize(0, 1);
                do_resize(0, WORDS);
        }
}

/* The place in the record that has a slice has that of another map next, which is longer. */
void another_slice(unsigned number)
{
        const struct range there = { 1, 0, WORDS };

        if (number == 0) {
                slices(word, 1);
                work_in_slice(word);
                work_in_slice(there);
        } else {
                do_resize(0, 8);
        }
}

/* A slot has had one thread, and gets another one, while somebody asks who holds what. */
void next_owner(unsigned number)
{
        switch (number) {
        case 0:
                slices(word, 1);
                break;
        case 1:
                do_rest(1 * MS);
                work_in_slice(word);
                break;
        default:
                do_rest(1 * MS);
                do_holders(word);
        }
}
