/* test-word.c - lib/memory/word.h: a copy of one word is one access
 *
 * SPDX-License-Identifier: MIT
 *
 * Words of 2, 4 and 8 bytes at aligned offsets, in and out by every call that copies,
 * on maps of every kind whose memory stays, within one lane and across two, with a
 * buffer that is not aligned.  Threads store and load the word as a program would, by
 * views.  And a child is led through each call instruction by instruction: whatever is
 * copied out while the word changes at each of them is one of the values, and what is
 * copied in is there whole or not at all.
 */
#include "lead.h"

enum { SIZE = 4095, NEAR = 64 };

/* Equal in no two bytes at one place. */
static const unsigned char first_word[8] = { 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87 };
static const unsigned char second_word[8] = { 0xef, 0xde, 0xcd, 0xbc, 0xab, 0x9a, 0x89, 0x78 };

static const size_t sizes[] = { 2, 4, 8 };

/* Where in the map; a lane of three ends at 1365. */
struct spot {
        const char *name;
        ammap_share_t share;
        uint64_t lanes;
        bool guard, across;
};

static const struct spot spots[] = {
        { "private", AMMAP_PRIVATE, 1, false, false },
        { "private, guarded", AMMAP_PRIVATE, 1, true, false },
        { "private, lanes", AMMAP_PRIVATE, 3, false, false },
        { "private, two lanes", AMMAP_PRIVATE, 3, false, true },
#if TEST_OS_LINUX
        { "shared", AMMAP_SHARED, 1, false, false },
        { "shared, two lanes", AMMAP_SHARED, 3, false, true },
        { "raw", AMMAP_RAW, 1, false, false },
        { "raw, two lanes", AMMAP_RAW, 3, false, true },
#endif
};

static ammap_t *map_of(const struct spot *spot)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = spot->share;
        options.lanes = spot->lanes;
        options.guard = spot->guard ? AMMAP_TRY : AMMAP_NO;
        return make_with(SIZE, &options);
}

static uint64_t offset_of(const struct spot *spot, size_t size)
{
        return spot->across ? 1365 / size * size : NEAR;
}

/* What is promised: 8 bytes where the processor has such atomics. */
static bool is_promised(size_t size)
{
        return size < 8 || ATOMIC_LLONG_LOCK_FREE == 2;
}

static const enum op ops_out[] = { OP_READ_INTO, OP_TRY_READ, OP_TIMED_READ, OP_COPY_FROM };
static const enum op ops_in[] = { OP_UPDATE, OP_TRY_UPDATE, OP_TIMED_UPDATE, OP_COPY_TO, OP_FILL };

/* --- As a program does it ------------------------------------------------------- */

/* A word in the map, by its atomic. */
static void store_word(void *word, size_t size, const unsigned char *bytes)
{
        uint64_t eight;
        uint32_t four;
        uint16_t two;

        memcpy(&eight, bytes, 8);
        memcpy(&four, bytes, 4);
        memcpy(&two, bytes, 2);
        if (size == 8)
                atomic_store_explicit((ammap_atomic_uint64_t *)word, eight, memory_order_relaxed);
        else if (size == 4)
                atomic_store_explicit((ammap_atomic_uint32_t *)word, four, memory_order_relaxed);
        else
                atomic_store_explicit((_Atomic uint16_t *)word, two, memory_order_relaxed);
}

static void load_word(void *word, size_t size, unsigned char *bytes)
{
        uint64_t eight;
        uint32_t four;
        uint16_t two;

        if (size == 8) {
                eight = atomic_load_explicit((ammap_atomic_uint64_t *)word, memory_order_relaxed);
                memcpy(bytes, &eight, 8);
        } else if (size == 4) {
                four = atomic_load_explicit((ammap_atomic_uint32_t *)word, memory_order_relaxed);
                memcpy(bytes, &four, 4);
        } else {
                two = atomic_load_explicit((_Atomic uint16_t *)word, memory_order_relaxed);
                memcpy(bytes, &two, 2);
        }
}

static bool is_whole(const unsigned char *bytes, size_t size)
{
        return memcmp(bytes, first_word, size) == 0 || memcmp(bytes, second_word, size) == 0;
}

struct pair {
        ammap_t *map, *other;
        uint64_t offset;
        size_t size;
        enum op op;
        _Atomic bool stop;
};

/* One copy; the buffer is not aligned. */
static int copy_word(const struct pair *pair, unsigned char bytes[8])
{
        unsigned char buffer[8 + 8];
        int rc;

        switch (pair->op) {
        case OP_COPY_FROM:
                rc = ammap_copy(pair->other, 0, pair->map, pair->offset, pair->size);
                return rc < 0 ? rc : ammap_read_into(pair->other, 0, bytes, pair->size);
        case OP_COPY_TO:
                rc = ammap_update_region(pair->other, 0, bytes, pair->size);
                return rc < 0 ? rc : ammap_copy(pair->map, pair->offset, pair->other, 0, pair->size);
        case OP_FILL:
                return ammap_fill(pair->map, pair->offset, pair->size, bytes[0]);
        default:
                memcpy(buffer + 1, bytes, pair->size);
                rc = op_bytes(pair->op, pair->map, pair->offset, buffer + 1, pair->size, SECOND);
                memcpy(bytes, buffer + 1, pair->size);
                return rc;
        }
}

static void *word_of(const struct pair *pair)
{
        return (unsigned char *)ammap_as_mut_ptr(pair->map) + pair->offset;
}

static void *store_on(void *argument)
{
        struct pair *pair = argument;
        void *word = word_of(pair);

        while (!atomic_load_explicit(&pair->stop, memory_order_relaxed)) {
                store_word(word, pair->size, second_word);
                store_word(word, pair->size, first_word);
        }
        return NULL;
}

static void *load_on(void *argument)
{
        struct pair *pair = argument;
        unsigned char bytes[8];
        void *word = word_of(pair);

        while (!atomic_load_explicit(&pair->stop, memory_order_relaxed)) {
                load_word(word, pair->size, bytes);
                if (pair->op == OP_FILL)
                        thread_check(is_all(bytes, bytes[0], pair->size));
                else
                        thread_check(is_whole(bytes, pair->size));
        }
        return NULL;
}

/* Where one stores and another copies out; or one copies in and another loads. */
static void copy_beside(struct pair *pair, bool out)
{
        struct task task;

        store_word(word_of(pair), pair->size, first_word);
        if (pair->op == OP_FILL)
                ck_assert_int_eq(ammap_fill(pair->map, pair->offset, pair->size, 1), 0);
        atomic_store(&pair->stop, false);
        task_start(&task, out ? store_on : load_on, pair);
        for (int i = rounds(500); i > 0; i--) {
                unsigned char bytes[8];

                memcpy(bytes, i % 2 ? first_word : second_word, 8);
                ck_assert_int_eq(copy_word(pair, bytes), 0);
                ck_assert(!out || is_whole(bytes, pair->size));
        }
        atomic_store(&pair->stop, true);
        task_join(&task);
}

static void copy_beside_all(const struct spot *spot, const enum op *ops, size_t count, bool out)
{
        struct pair pair = { map_of(spot), new_map(8, 1), 0, 0, OP_COUNT, false };

        for (size_t size = 0; size < COUNT_OF(sizes); size++)
                for (size_t op = 0; op < count && is_promised(sizes[size]); op++) {
                        pair.size = sizes[size];
                        pair.offset = offset_of(spot, pair.size);
                        pair.op = ops[op];
                        copy_beside(&pair, out);
                }
        ck_assert_int_eq(ammap_free(pair.map), 0);
        ck_assert_int_eq(ammap_free(pair.other), 0);
}

DEFINE_LOOP_TEST("word", copied_out_while_a_thread_stores, 0, COUNT_OF(spots))
{
        copy_beside_all(&spots[_i], ops_out, COUNT_OF(ops_out), true);
}

DEFINE_LOOP_TEST("word", copied_in_while_a_thread_loads, 0, COUNT_OF(spots))
{
        copy_beside_all(&spots[_i], ops_in, COUNT_OF(ops_in), false);
}

/* --- At each instruction ---------------------------------------------------------- */

#if CAN_STEP

struct led {
        struct pair pair;
        struct board {
                _Atomic int phase; /* 0 before, 1 in and 2 after the call */
                int rc;
                unsigned char bytes[8];
        } * board;
};

static void led_body(struct peer *parent, void *argument)
{
        const struct led *led = argument;
        unsigned char bytes[8];

        (void)parent;
        alarm(0); /* it would come in between */
        child_must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        /* What a first call makes is not made in the one that is led. */
        memcpy(bytes, led->pair.op == OP_FILL ? (const unsigned char[8]){ 0 } : first_word, 8);
        child_must_int(copy_word(&led->pair, bytes), 0);
        memcpy(bytes, led->pair.op == OP_FILL ? (const unsigned char[8]){ 0 } : second_word, 8);
        store_word(word_of(&led->pair), led->pair.size, first_word);
        raise(SIGSTOP);
        atomic_store_explicit(&led->board->phase, 1, memory_order_relaxed);
        led->board->rc = copy_word(&led->pair, bytes);
        memcpy(led->board->bytes, bytes, 8);
        atomic_store_explicit(&led->board->phase, 2, memory_order_relaxed);
        raise(SIGSTOP);
}

/* The child's word, in the eight bytes that hold it. */
struct window {
        pid_t pid;
        uintptr_t address;
        unsigned shift;
        size_t size;
};

static void look(const struct window *window, unsigned char *bytes)
{
        long eight;

        errno = 0;
        eight = ptrace(PTRACE_PEEKDATA, window->pid, (void *)window->address, NULL);
        ck_assert_int_eq(errno, 0);
        memcpy(bytes, (unsigned char *)&eight + window->shift, window->size);
}

static void change(const struct window *window, const unsigned char *bytes)
{
        long eight;

        errno = 0;
        eight = ptrace(PTRACE_PEEKDATA, window->pid, (void *)window->address, NULL);
        ck_assert_int_eq(errno, 0);
        memcpy((unsigned char *)&eight + window->shift, bytes, window->size);
        ck_assert_int_eq(ptrace(PTRACE_POKEDATA, window->pid, (void *)window->address, (void *)eight), 0);
}

static void lead_through(struct led *led, bool out)
{
        const uintptr_t word = (uintptr_t)word_of(&led->pair);
        const size_t size = led->pair.size;
        struct window window = { 0, word & ~(uintptr_t)7, (unsigned)(word & 7), size };
        unsigned char found[8], filled[8] = { 0 };
        cpu_set_t processors;
        struct peer peer;
        long steps = 0;

        atomic_store(&led->board->phase, 0);
        stay_here(&processors);
        peer_start(&peer, led_body, led);
        window.pid = peer.pid;
        wait_for_stop(peer.pid, SIGSTOP);
        while (atomic_load(&led->board->phase) == 0)
                step_once(peer.pid);
        for (; atomic_load(&led->board->phase) == 1; steps++) {
                if (out)
                        change(&window, steps % 2 ? first_word : second_word);
                step_once(peer.pid);
                look(&window, found);
                ck_assert_msg(is_whole(found, size) || memcmp(found, filled, size) == 0,
                              "%s: %zu bytes are torn after %ld instructions", op_name(led->pair.op), size, steps + 1);
        }
        ck_assert_int_eq(led->board->rc, 0);
        ck_assert_msg(!out || is_whole(led->board->bytes, size), "%s: %zu bytes came out torn", op_name(led->pair.op),
                      size);
        if (!out)
                ck_assert_int_eq(memcmp(found, led->pair.op == OP_FILL ? filled : second_word, size), 0);
        peer_kill(&peer);
        sched_setaffinity(0, sizeof(processors), &processors);
}

static void lead_all(const struct spot *spot, const enum op *ops, size_t count, bool out)
{
        struct led led = { .board = board_of(sizeof(*led.board)) };

        if (!stepping_works()) {
                printf("test-word: no single-stepping here\n");
                return;
        }
        for (size_t size = 0; size < COUNT_OF(sizes); size++)
                for (size_t op = 0; op < count; op++) {
                        led.pair.map = map_of(spot);
                        led.pair.other = new_map(8, 1);
                        led.pair.size = sizes[size];
                        led.pair.offset = offset_of(spot, led.pair.size);
                        led.pair.op = ops[op];
                        lead_through(&led, out);
                        /* A slot that died with the child counts no more. */
                        ck_assert_int_eq(ammap_free(led.pair.map), 0);
                        ck_assert_int_eq(ammap_free(led.pair.other), 0);
                }
        munmap(led.board, sizeof(*led.board));
}

DEFINE_LOOP_TEST("word", copied_out_while_each_instruction_finds_another, 0, COUNT_OF(spots))
{
        lead_all(&spots[_i], ops_out, COUNT_OF(ops_out), true);
}

DEFINE_LOOP_TEST("word", copied_in_by_one_instruction, 0, COUNT_OF(spots))
{
        lead_all(&spots[_i], ops_in, COUNT_OF(ops_in), false);
}

#endif

int main(void)
{
        return run_tests("word", share_case);
}
