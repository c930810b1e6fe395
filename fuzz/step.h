/* step.h - one call: who makes it, on what, and what all of them need
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef STEP_H
#define STEP_H

#include "model.h"

#include <unistd.h>

struct step {
        struct input *input;
        enum actor actor;
};

static char path_name[PATHS][64];
static unsigned char buffer[ROOM + 64], expected[ROOM + 64];

/* --- What an input chooses ------------------------------------------------------------ */

static struct handle *take_handle(struct input *input)
{
        unsigned first = (unsigned)take_below(input, HANDLES);

        for (unsigned i = 0; i < HANDLES; i++)
                if (model.handle[(first + i) % HANDLES].map)
                        return &model.handle[(first + i) % HANDLES];
        return NULL;
}

static struct hold *take_hold(struct input *input)
{
        unsigned first = (unsigned)take_below(input, HOLDS);

        for (unsigned i = 0; i < HOLDS; i++)
                if (model.hold[(first + i) % HOLDS].handle)
                        return &model.hold[(first + i) % HOLDS];
        return NULL;
}

struct range {
        uint64_t offset, length;
};

static struct range take_range(struct input *input, const struct handle *handle)
{
        uint64_t size = handle->memory->length;
        struct range range = { .offset = take_extent(input, size) };

        /* Lengths that just reach the end, and beyond it, are what bounds are about. */
        range.length = take_extent(input, range.offset <= size ? size - range.offset : size);
        return range;
}

static int64_t take_timeout(struct input *input, bool waits)
{
        static const int64_t timeouts[] = { 0, 1, 1000, -1, INT64_MIN, INT64_MAX };

        return timeouts[take_below(input, waits ? 3 : COUNT_OF(timeouts))];
}

static void fill_buffer(struct input *input, size_t length)
{
        unsigned char first = take_byte(input);

        for (size_t i = 0; i < length; i++)
                buffer[i] = (unsigned char)(first + i * 7);
}

/* --- What a map holds --------------------------------------------------------------- */

static void compare(const struct handle *handle)
{
        const struct memory *memory = handle->memory;
        const unsigned char *bytes;
        ssize_t count;

        MUST(ammap_len(handle->map) == memory->length, "the length is %llu, not %llu",
             (unsigned long long)ammap_len(handle->map), (unsigned long long)memory->length);
        if (handle->kind == PRIVATE) {
                bytes = ammap_as_ptr(handle->map);
                MUST(bytes, "there is no pointer");
        } else {
                count = pread(ammap_fd(handle->map), expected, memory->length, (off_t)memory->data);
                MUST(count == (ssize_t)memory->length, "%zd bytes", count);
                bytes = expected;
        }
        for (uint64_t i = 0; i < memory->length; i++)
                MUST(bytes[i] == memory->bytes[i], "byte %llu of a map of kind %d is %u, not %u", (unsigned long long)i,
                     memory->kind, bytes[i], memory->bytes[i]);
}

static void compare_all(void)
{
        for (unsigned i = 0; i < HANDLES; i++)
                if (model.handle[i].map)
                        compare(&model.handle[i]);
}

static bool is_zeros(const void *structure, size_t size)
{
        const unsigned char *bytes = structure;

        while (size > 0 && bytes[size - 1] == 0)
                size--;
        return size == 0;
}

#endif /* STEP_H */
