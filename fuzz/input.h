/* input.h - the bytes of a fuzzer, decoded to numbers
 *
 * SPDX-License-Identifier: MIT
 *
 * What is taken from an input that has ended is 0, so every string of bytes is an input.
 */
#ifndef INPUT_H
#define INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A defect ends the process, as fuzzers want it. */
#define MUST(condition, ...)                                                                                           \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);                        \
                        fprintf(stderr, __VA_ARGS__);                                                                  \
                        fputc('\n', stderr);                                                                           \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct input {
        const uint8_t *at, *end;
};

static inline bool input_ended(const struct input *input)
{
        return input->at == input->end;
}

static inline uint8_t take_byte(struct input *input)
{
        return input_ended(input) ? 0 : *input->at++;
}

/* The lowest byte first. */
static inline uint64_t take_number(struct input *input, unsigned size)
{
        uint64_t number = 0;

        for (unsigned i = 0; i < size; i++)
                number |= (uint64_t)take_byte(input) << 8 * i;
        return number;
}

static inline uint64_t take_below(struct input *input, uint64_t limit)
{
        return take_number(input, limit <= 256 ? 1 : 2) % limit;
}

static inline bool take_bool(struct input *input)
{
        return take_byte(input) & 1;
}

/* An offset or a length: mostly one that a map of that size has, or one beside an edge of it; and
 * now and then one at an edge of 64 bits. */
static inline uint64_t take_extent(struct input *input, uint64_t size)
{
        static const uint64_t edges[] = { UINT64_MAX,        UINT64_MAX - 7,          INT64_MAX,  UINT64_C(1) << 63,
                                          UINT64_C(1) << 47, (UINT64_C(1) << 47) + 1, UINT32_MAX, UINT64_C(1) << 32,
                                          UINT64_C(1) << 62, UINT64_C(1) << 61 };
        uint8_t how = take_byte(input);

        if (how < 0x60)
                return how;
        if (how < 0xc0)
                return take_below(input, size + 1);
        if (how < 0xe0)
                return size - (how & 15) + 8;
        if (how < 0xf0)
                return (take_number(input, 2) & ~UINT64_C(7)) % (size + 1);
        return edges[how - 0xf0 < (int)COUNT_OF(edges) ? how - 0xf0 : 0] - take_byte(input) % 9;
}

/* Where this process has a file of its own: in memory, where there is such a place. */
static inline void name_file(char name[64], unsigned number)
{
        const char *folder = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

        snprintf(name, 64, "%.36s/ammap-fuzz.%d.%u", folder ? folder : "/tmp", (int)getpid(), number);
}

#endif /* INPUT_H */
