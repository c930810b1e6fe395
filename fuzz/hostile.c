/* hostile.c - a process that may write a shared map, and stores what it likes while calls run
 *
 * SPDX-License-Identifier: MIT
 *
 * The library is compiled so that each of its functions tells when it begins and ends, inlined ones
 * too (-finstrument-functions).  These are the points at which the other process comes: an input
 * says how many of them pass before each store, so that what it does is the same each time.
 *
 * What is to hold is the threat model of ammap(7): no access outside the map, no crash, only codes
 * that there are, and calls with a timeout end.  Calls without one may wait for as long as
 * the header says that somebody lives who does not: after some thousand points the header is as
 * it was, and then they end, too.
 */
#include "session.h"

#include <sys/mman.h>

#define NO_POINT __attribute__((no_instrument_function))

void __cyg_profile_func_enter(void *function, void *caller);
void __cyg_profile_func_exit(void *function, void *caller);

enum { STORES = 8, PATIENCE = 4000, SLOTS_SEEN = 3, SAVED = 8192 };

struct store {
        unsigned delay; /* points after the one before */
        uint64_t at;
        unsigned size;
        uint64_t value;
};

static struct attack {
        bool armed, waits;
        unsigned char *header; /* the attacker's own mapping */
        uint64_t data, records, pages, page, lock_word;
        struct store store[STORES];
        unsigned count, next, delay;
        unsigned points;
        /* The header as it is while nobody is in: head and records, and the lock words. */
        unsigned char saved[SAVED];
        uint32_t word[SLOTS_SEEN];
} attack;

static NO_POINT uint64_t lock_word_at(unsigned slot)
{
        return attack.pages + (slot + 1) * attack.page - attack.lock_word;
}

static NO_POINT void save(void)
{
        memcpy(attack.saved, attack.header, SAVED);
        for (unsigned i = 0; i < SLOTS_SEEN; i++)
                memcpy(&attack.word[i], attack.header + lock_word_at(i), 4);
}

/* All but how often things have happened, which only ever grows. */
static NO_POINT void restore(void)
{
        const uint64_t sequence_mask = ~UINT64_C(1);

        for (uint64_t at = 128; at < SAVED; at += 8) {
                bool is_sequence = at >= HEAD && at < attack.records && (at - HEAD) % 128 == 0;
                _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(attack.header + at);
                uint64_t value;

                memcpy(&value, attack.saved + at, 8);
                if (is_sequence)
                        value = (atomic_load(word) + 1) & sequence_mask;
                atomic_store(word, value);
        }
        for (unsigned i = 0; i < SLOTS_SEEN; i++)
                atomic_store((_Atomic uint32_t *)(void *)(attack.header + lock_word_at(i)), attack.word[i]);
}

static NO_POINT void do_store(const struct store *store)
{
        unsigned char *at = attack.header + store->at;

        switch (store->size) {
        case 1:
                *at = (unsigned char)store->value;
                break;
        case 4:
                atomic_store((_Atomic uint32_t *)(void *)at, (uint32_t)store->value);
                break;
        default:
                atomic_store((_Atomic uint64_t *)(void *)at, store->value);
        }
}

static NO_POINT void point(void)
{
        if (!attack.armed)
                return;
        attack.points++;
        if (attack.waits && attack.points % PATIENCE == 0)
                restore();
        if (attack.next == attack.count || attack.delay-- > 0)
                return;
        do_store(&attack.store[attack.next++]);
        attack.delay = attack.next < attack.count ? attack.store[attack.next].delay : 0;
}

NO_POINT void __cyg_profile_func_enter(void *function, void *caller)
{
        (void)function, (void)caller;
        point();
}

NO_POINT void __cyg_profile_func_exit(void *function, void *caller)
{
        (void)function, (void)caller;
        point();
}

/* Mostly what lanes and threads have there. */
static uint64_t take_place(struct input *input)
{
        uint8_t how = take_byte(input), field = take_byte(input);

        switch (how % 6) {
        case 0:
                return 128 + (uint64_t)field % 4 * 8;
        case 1:
                return HEAD + (uint64_t)how / 6 % (LANES + 1) * 128 + field % 24U * 4;
        case 2:
                return HEAD + (uint64_t)how / 6 % (LANES + 1) * 128 + (field % 4 ? 64U + field % 3U * 8 : 0);
        case 3:
                return attack.records + (uint64_t)how / 6 % SLOTS_SEEN * 128 + field % 32U * 4;
        case 4:
                return lock_word_at(how / 6 % SLOTS_SEEN);
        default:
                return (uint64_t)field * 4; /* and what is constant: nobody looks there again */
        }
}

static void take_store(struct input *input, struct store *store)
{
        uint64_t words[2];
        uint8_t how;

        store->delay = (unsigned)take_number(input, 1);
        if (store->delay > 200)
                store->delay = (store->delay - 200) * 40;
        store->at = take_place(input);
        how = take_byte(input);
        store->size = how & 1 ? 4 : 8;
        store->at &= ~(uint64_t)(store->size - 1);
        memcpy(&words[0], attack.saved + (store->at < SAVED - 8 ? store->at : 0), 8);
        switch (how >> 1 & 7) {
        case 0:
                store->value = take_byte(input);
                break;
        case 1:
                store->value = take_number(input, 8);
                break;
        case 2:
                store->value = words[0] ^ UINT64_C(1) << take_byte(input) % 64;
                break;
        case 3:
                store->value = words[0] + take_byte(input) - 128;
                break;
        case 4: { /* the number of a slot's owner */
                unsigned slot = take_byte(input) % SLOTS_SEEN;

                memcpy(&words[1], attack.saved + attack.records + slot * 128 + 40, 8);
                store->value = (uint64_t)(slot + 1) << 2 | words[1] << 14;
                break;
        }
        case 5: /* a read set */
                store->value = UINT64_C(0xc0000000) | (uint64_t)(take_byte(input) % 5) << 12 | take_byte(input) % 5;
                break;
        case 6: /* a thread that lives, or has died */
                store->value = attack.word[0] | (take_bool(input) ? 1U << 30 : 0) | (take_bool(input) ? 1U << 29 : 0);
                break;
        default:
                store->value = UINT64_MAX << take_byte(input) % 64;
        }
}

static ammap_t *make_victim(bool in_file, const char *path)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.capacity = CAPACITY;
        options.lanes = LANES;
        options.share = AMMAP_SHARED;
        options.allow_faults = in_file;
        if (in_file)
                MUST(ammap_open(&map, path, LENGTH, &options) == 0, "open");
        else
                MUST(ammap_new_with(&map, LENGTH, &options) == 0, "new_with");
        return map;
}

/* The thread has a place in the lock of a handle after that. */
static void settle(ammap_t *map)
{
        MUST(ammap_fill(map, 0, LENGTH, 7) == 0, "fill");
        try_slice(map, 0, 10, true, true);
}

static void attack_calls(ammap_t *map, struct input *input)
{
        unsigned how = take_byte(input);

        attack.count = how & 7;
        for (unsigned i = 0; i < attack.count; i++)
                take_store(input, &attack.store[i]);
        if (how & 8) {
                for (unsigned i = 0; i < attack.count; i++) /* before the call */
                        do_store(&attack.store[i]);
                attack.count = 0;
        }
        attack.next = attack.points = 0;
        attack.delay = attack.store[0].delay;
        attack.waits = how & 0x80;
        attack.armed = true;
        if (attack.waits)
                call_that_waits(map, input, how >> 4 & 7, CAPACITY);
        else
                call_that_returns(map, input, take_byte(input) % 14, CAPACITY);
        attack.armed = false;
        MUST(ammap_len(map) <= CAPACITY, "%llu bytes", (unsigned long long)ammap_len(map));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
        struct input input = { bytes, bytes + size };
        bool in_file = take_bool(&input), two = take_bool(&input);
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *other = NULL;
        uint64_t mapped;
        char path[64];

        name_file(path, 0);
        unlink(path);
        map = make_victim(in_file, path);
        options.allow_faults = true;
        settle(map);
        if (two) {
                MUST(ammap_import(&other, ammap_fd(map), &options) == 0, "import");
                settle(other);
        }
        MUST(pread(ammap_fd(map), attack.saved, 64, 0) == 64, "the head");
        attack.data = number_at(attack.saved, 24, 8);
        attack.page = number_at(attack.saved, 20, 4);
        attack.lock_word = number_at(attack.saved, 16, 4);
        attack.records = HEAD + 128 * (LANES + 1);
        attack.pages = (attack.records + 256 * 128 + attack.page - 1) / attack.page * attack.page;
        mapped = attack.data + attack.page;
        attack.header = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(map), 0);
        MUST(attack.header != MAP_FAILED, "mmap");
        save();
        for (unsigned calls = 0; calls < 12 && !input_ended(&input); calls++) {
                uint8_t how = take_byte(&input);

                attack_calls(how & 1 && other ? other : map, &input);
                if (how & 2)
                        restore();
        }
        restore();
        MUST(ammap_free(other) == 0 && ammap_free(map) == 0, "free");
        munmap(attack.header, mapped);
        unlink(path);
        return 0;
}
