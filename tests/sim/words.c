/* words.c - views, and words that are loaded, waited for and woken
 *
 * SPDX-License-Identifier: MIT
 *
 * None of these takes a lane.  What is read is one word, so it is of one write.  It is the last one, or
 * one before that whose thread has its stores still to itself.
 */
#include "draw.h"

static struct range word_of(struct range range)
{
        range.first += below(range.count);
        range.count = 1;
        return range;
}

/* From when on a write is to be seen. */
static uint64_t seen_since(void)
{
        for (unsigned t = 0; t < plan.threads; t++)
                if (t != current->number && thread[t].stores > 0)
                        return 0;
        return model_tick();
}

static void look_at_view(ammap_atomic_uint64_t *words, struct range range)
{
        for (unsigned i = 0; i < range.count; i++) {
                const struct range word = { range.map, range.first + i, 1 };
                uint64_t since = seen_since(), value;

                step("the program loads", (uint64_t *)words + i);
                value = load_seen((uintptr_t)&words[i], sizeof value);
                read_check(word, &value, since);
        }
}

static ammap_u64_view_t view[THREADS_MAX];

/* The thread's own ends, or one more begins. */
void do_view(struct range range)
{
        ammap_u64_view_t *own = &view[current->number];

        if (own_view()) {
                do_view_end();
                return;
        }
        begin(range, HOW_READ, WAITS);
        call_looks();
        view_begin(range);
        if (call_end(ammap_atomic_u64_slice(handle_of(range.map), offset_of(range), range.count, own)) < 0) {
                view_ended(range.map);
                return;
        }
        view_begun();
        look_at_view(own->value, range);
}

void do_view_end(void)
{
        ammap_u64_view_t *own = &view[current->number];
        unsigned map;

        if (!own_view())
                return;
        map = own_view()->range.map;
        look_at_view(own->value, own_view()->range);
        view_end();
        ammap_u64_view_release(own);
        view_ended(map);
}

/* What stands in the low half of a word tells the whole of it. */
static uint64_t whole(uint32_t low)
{
        return low ? write_value(low) : 0;
}

void do_load(struct range range)
{
        const bool half = below(2);
        struct range word = word_of(range);
        uint64_t value = 0, since = seen_since();
        uint32_t low = 0;
        ammap_t *map;
        int rc;

        begin(word, HOW_READ, WAITS);
        call_looks();
        map = handle_of(word.map);
        rc = half ? ammap_load_u32(map, offset_of(word), &low) : ammap_load_u64(map, offset_of(word), &value);
        if (rc == AMMAP_ERR_READ_ONLY || was_refused(rc))
                fail("a load answers %d", rc);
        if (call_end(rc) < 0)
                return;
        if (half)
                value = whole(low);
        read_check(word, &value, since);
}

/* Until somebody wakes it, or for a time. */
void do_wait_word(struct range range)
{
        struct range word = word_of(range);
        int64_t timeout = (int64_t)draw_wide(mine(), 28), deadline;
        uint32_t expected;
        ammap_t *map = handle_of(word.map);
        int rc;

        if (holds_any() || ammap_load_u32(map, offset_of(word), &expected) < 0)
                return;
        call_begin(word, HOW_READ, TIMED, clock_now + timeout);
        call_looks();
        deadline = clock_now + timeout;
        rc = ammap_wait_u32(map, offset_of(word), expected, timeout);
        if (rc == AMMAP_ERR_READ_ONLY || was_refused(rc))
                fail("a wait answers %d", rc);
        if (rc == AMMAP_ERR_TIMEOUT) {
                if (clock_now < deadline)
                        fail("TIMEOUT, before its time");
                rc = 0;
        }
        call_end(rc);
}

void do_wake_word(struct range range)
{
        struct range word = word_of(range);
        int count = (int)below(3), rc;

        begin(word, HOW_READ, WAITS);
        call_looks();
        rc = ammap_wake_u32(handle_of(word.map), offset_of(word), count);
        if (rc > count || rc == AMMAP_ERR_READ_ONLY || was_refused(rc))
                fail("a wake-up of %d answers %d", count, rc);
        call_end(rc > 0 ? 0 : rc);
}
