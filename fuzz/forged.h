/* forged.h - memory and files that lie
 *
 * SPDX-License-Identifier: MIT
 *
 * An input names a genuine map, or nothing; how long its memory is to be; its seals; what it is asked
 * to be; and bytes that are stored over the genuine ones.  So an input lasts from one run of
 * the machine to the next, though a header has numbers of the run.
 *
 * Whether the map is to be taken is found by ammap-format(5), from the bytes, in a way of our
 * own.  On what is taken calls are made.
 */
#ifndef FORGED_H
#define FORGED_H

#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GENUINE_MAX = 1100 * 1024, SLOTS_MAX = 4095 /* an owner has room for no more */ };

/* A map as it lies in memory, in a file, and in a file whose lock is words. */
enum form { NOTHING, MEMORY, A_FILE, WORDS, FORMS };

static struct genuine {
        unsigned char *bytes;
        uint64_t size, data;
} genuine[FORMS];

struct forged {
        enum form form;
        unsigned char *bytes; /* what is behind the descriptor, up to the data; the rest is 0 */
        uint64_t kept, size;
        bool lock_is_damaged; /* calls may wait for an owner that has never lived */
        unsigned seals;
        ammap_options_t options;
};

static void keep_genuine(enum form form, ammap_t *map)
{
        struct genuine *g = &genuine[form];
        struct stat stat;
        int fd = ammap_fd(map);

        MUST(ammap_fill(map, 0, LENGTH, 9) == 0 && fstat(fd, &stat) == 0, "a genuine map");
        g->size = (uint64_t)stat.st_size;
        MUST(g->size <= GENUINE_MAX && (g->bytes = malloc(g->size)) != NULL, "of %llu bytes",
             (unsigned long long)g->size);
        MUST(pread(fd, g->bytes, g->size, 0) == (ssize_t)g->size, "its bytes");
        g->data = number_at(g->bytes, 24, 8);
        MUST(ammap_free(map) == 0, "free");
}

/* Once, in each process. */
static void make_genuine(const char *path)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        if (genuine[MEMORY].bytes)
                return;
        options.capacity = CAPACITY;
        options.lanes = LANES;
        options.share = AMMAP_SHARED;
        MUST(ammap_new_with(&map, LENGTH, &options) == 0, "new_with");
        keep_genuine(MEMORY, map);
        for (int words = 0; words < 2; words++) {
                options.allow_faults = words;
                unlink(path);
                MUST(ammap_open(&map, path, LENGTH, &options) == 0, "open");
                keep_genuine(words ? WORDS : A_FILE, map);
                unlink(path);
        }
}

static ammap_options_t take_options(struct input *input)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint8_t how = take_byte(input);

        options.share = how & 1 ? AMMAP_RAW : AMMAP_SHARED;
        options.allow_faults = how & 2;
        options.read_only = how & 4;
        if (how & 8)
                options.lanes = take_below(input, 6);
        if (how & 16)
                options.capacity = take_bool(input) ? CAPACITY : take_extent(input, CAPACITY);
        return options;
}

/* Patches: where, how many bytes, and the bytes. */
static void take_forged(struct input *input, struct forged *forged)
{
        static unsigned char bytes[GENUINE_MAX];
        const struct genuine *g;
        uint8_t how = take_byte(input);

        memset(forged, 0, sizeof(*forged));
        forged->form = (enum form)(how % FORMS);
        forged->seals = take_byte(input) & 31;
        forged->options = take_options(input);
        g = &genuine[forged->form];
        forged->bytes = bytes;
        forged->kept = g->bytes ? g->size : 0;
        forged->size = g->bytes ? g->size : 8192;
        if (g->bytes)
                memcpy(bytes, g->bytes, g->size);
        memset(bytes + forged->kept, 0, sizeof(bytes) - forged->kept);
        if (how & 0x80)
                forged->size = how & 0x40 ? take_extent(input, forged->size) : take_number(input, 3);
        if (forged->size > UINT64_C(1) << 42)
                forged->size = UINT64_C(1) << 42;
        for (unsigned patches = how >> 3 & 7; patches > 0; patches--) {
                uint64_t at = take_number(input, 2), count = 1 + take_below(input, 64);

                /* The head, most of the time; or anywhere before the data. */
                at = at & 0x8000 ? (at & 0x7fff) * 8 : at % 0x200;
                if (at + count >= 128 && forged->form != NOTHING)
                        forged->lock_is_damaged = true;
                for (; count > 0 && !input_ended(input); count--, at++)
                        if (at < sizeof(bytes))
                                bytes[at] = take_byte(input);
                if (at > forged->kept)
                        forged->kept = at < sizeof(bytes) ? at : sizeof(bytes);
        }
        if (forged->kept > forged->size)
                forged->kept = forged->size;
        memset(bytes + forged->kept, 0, sizeof(bytes) - forged->kept);
}

static void put_forged(const struct forged *forged, int fd)
{
        MUST(fd >= 0 && ftruncate(fd, 0) == 0, "the memory");
        MUST(pwrite(fd, forged->bytes, forged->kept, 0) == (ssize_t)forged->kept, "its bytes");
        MUST(ftruncate(fd, (off_t)forged->size) == 0, "its size");
}

/* --- By the page ------------------------------------------------------------------------------- */

/* Whether there is such a header before so many bytes: with slots, as in memory, or without. */
static bool is_header(const struct forged *forged, bool slots)
{
        const unsigned char *b = forged->bytes;
        uint64_t page = number_at(b, 20, 4), data, huge, capacity = number_at(b, 32, 8), lanes = number_at(b, 40, 4),
                 count = number_at(b, 44, 4), length = number_at(b, 128, 8), needed;

        if (forged->size < HEAD || memcmp(b, "ammap\0\r\n", 8) != 0 || number_at(b, 8, 4) != 1 ||
            number_at(b, 12, 4) != 0x01020304)
                return false;
        if (page == 0 || (page & (page - 1)) != 0 || lanes == 0 || lanes > 4096 || lanes > capacity ||
            capacity > UINT64_C(1) << 47 || length == 0 || length > capacity)
                return false;
        if (slots && (count == 0 || count > SLOTS_MAX || page != (uint64_t)sysconf(_SC_PAGESIZE) ||
                      number_at(b, 16, 4) != number_at(genuine[MEMORY].bytes, 16, 4)))
                return false;
        if (!slots && (count != 0 || number_at(b, 16, 4) != 0 || page < (uint64_t)sysconf(_SC_PAGESIZE)))
                return false;
        data = HEAD + 128 * (lanes + 1 + count);
        data = (data + page - 1) / page * page + count * page;
        huge = page / 8 * page;
        huge = (data + huge - 1) / huge * huge;
        if (number_at(b, 24, 8) != data && number_at(b, 24, 8) != huge)
                return false;
        needed = slots ? (length + page - 1) / page * page : capacity;
        return forged->size >= number_at(b, 24, 8) + needed;
}

/* What memory or a file with these bytes is to be answered; sealed: nobody can make it shorter.  In
 * `codes`, 0 among them where it is to be taken, ended by 1. */
static void judge_forged(const struct forged *forged, bool is_memory, int codes[8])
{
        const ammap_options_t *o = &forged->options;
        const bool sealed = is_memory && (forged->seals & AMMAP_SEAL_SHRINK), raw = o->share == AMMAP_RAW;
        const bool magic = forged->size >= 8 && memcmp(forged->bytes, "ammap\0\r\n", 8) == 0;
        const bool words = forged->size >= HEAD && number_at(forged->bytes, 44, 4) != 0;
        const uint64_t lanes = o->lanes ? o->lanes : 1, capacity = number_at(forged->bytes, 32, 8);
        const bool is_map = is_header(forged, sealed || words);
        unsigned count = 0;

        if (is_memory && !sealed && !o->allow_faults)
                codes[count++] = AMMAP_ERR_UNSEALED;
        if (raw && magic)
                codes[count++] = AMMAP_ERR_FORMAT;
        /* To a file that is opened raw a capacity says nothing. */
        if (raw && (forged->size == 0 || (is_memory && o->capacity && o->capacity < forged->size) ||
                    (is_memory && o->capacity > UINT64_C(1) << 47)))
                codes[count++] = AMMAP_ERR_SIZE;
        else if (raw && (lanes > forged->size || (is_memory && o->capacity && o->capacity != forged->size)))
                codes[count++] = AMMAP_ERR_INVALID;
        if (!raw && !is_map)
                codes[count++] = AMMAP_ERR_FORMAT;
        if (!raw && is_map && words && !sealed && !o->allow_faults)
                codes[count++] = AMMAP_ERR_UNSEALED;
        if (!raw && is_map &&
            ((o->lanes && o->lanes != number_at(forged->bytes, 40, 4)) ||
             (o->capacity && is_memory && o->capacity != capacity)))
                codes[count++] = AMMAP_ERR_INVALID;
        if (count == 0) {
                codes[count++] = 0;
                if (!raw && capacity > UINT64_C(1) << 40) /* more addresses than there may be */
                        codes[count++] = -ENOMEM;
                if (raw && forged->size > UINT64_C(1) << 40)
                        codes[count++] = -ENOMEM;
        }
        codes[count] = 1;
}

static void check_answer(const struct forged *forged, bool is_memory, int rc, const ammap_t *map)
{
        int codes[8], i = 0;

        judge_forged(forged, is_memory, codes);
        MUST((rc == 0) == (map != NULL), "a handle beside %d", rc);
        while (codes[i] != rc && codes[i] != 1)
                i++;
        MUST(codes[i] == rc, "%s, and not %s; of form %d", ammap_errname(rc), ammap_errname(codes[0]), forged->form);
}

/* --- What is done with it ------------------------------------------------------------------------ */

static void use_forged(const struct forged *forged, ammap_t *map, struct input *input)
{
        uint64_t size = ammap_len(map);

        MUST(size <= forged->size, "%llu bytes of %llu", (unsigned long long)size, (unsigned long long)forged->size);
        for (unsigned calls = 0; calls < 24 && !input_ended(input); calls++) {
                unsigned how = take_byte(input);

                if (how & 0x80 && !forged->lock_is_damaged)
                        call_that_waits(map, input, how % 9, size);
                else
                        call_that_returns(map, input, how % 14, size);
        }
        MUST(ammap_free(map) == 0, "free");
}

#endif /* FORGED_H */
