/* scenes.c - short runs, to be searched whole
 *
 * SPDX-License-Identifier: MIT
 *
 * What each thread does is fixed, and all ways are tried in which they can be interleaved with a
 * bounded number of preemptions.
 */
#include "draw.h"

static const struct range word = { 0, 0, 2 }, second = { 0, WORDS, 2 }, both = { 0, 0, 2 * WORDS };

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

static void (*const scene[])(unsigned number) = {
        two_writers, writer_and_reader, writer_and_bias, downgrade, lanes, watcher, three
};
const char *const scene_name[] = {
        "two_writers", "writer_and_reader", "writer_and_bias", "downgrade", "lanes", "watcher", "three"
};
const unsigned scenarios = sizeof scene / sizeof scene[0];
unsigned scenario;

unsigned scene_threads(void)
{
        return scene[scenario] == three ? 3 : 2;
}

void scene_begin(void)
{
        make_map(scene[scenario] == lanes ? 2 : 1);
}

void scene_thread(unsigned number)
{
        scene[scenario](number);
}
