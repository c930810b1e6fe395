/* error.c - codes in words, and the version
 *
 * SPDX-License-Identifier: MIT
 */
#include "ammap.h"

#include <errno.h>
#include <stddef.h>

struct code {
        int value;
        const char *name;
        const char *sentence;
};

#define OURS(name, sentence)                                                                                           \
        {                                                                                                              \
                name, #name, sentence                                                                                  \
        }
#define SYSTEM(name, sentence) { -(name), #name, sentence },

static const struct code codes[] = {
        OURS(AMMAP_OK, "Success"),
        OURS(AMMAP_ERR_INVALID, "Invalid argument: NULL, an unknown flag or option, or a contradiction"),
        OURS(AMMAP_ERR_SIZE, "The size is zero, or beyond what the platform or the capacity allows"),
        OURS(AMMAP_ERR_BOUNDS, "The range leaves the map"),
        OURS(AMMAP_ERR_MISALIGNED, "The offset is not a multiple of the atomic type's size"),
        OURS(AMMAP_ERR_BUSY, "A live slice or view stands in the way"),
        OURS(AMMAP_ERR_TIMEOUT, "The time given ran out"),
        OURS(AMMAP_ERR_DEADLOCK, "The calling thread's own slice stands in the way"),
        OURS(AMMAP_ERR_OWNER_DEAD, "A writer died inside its write"),
        OURS(AMMAP_ERR_READ_ONLY, "The map is frozen or read-only"),
        OURS(AMMAP_ERR_UNSUPPORTED, "This kind of map, or this system, cannot do that"),
        OURS(AMMAP_ERR_FORMAT, "The descriptor is not a map of this library, or its header is damaged"),
        OURS(AMMAP_ERR_UNSEALED, "The descriptor could still be shrunk by a peer"),
        OURS(AMMAP_ERR_FAULT, "The memory behind the range is gone"),
        OURS(AMMAP_ERR_LIMIT, "The shared map has no place for one more thread, or for one more slice of this one"),
#include "errno-names.h"
};

static const struct code *find(int value)
{
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
                if (codes[i].value == value)
                        return &codes[i];
        return NULL;
}

const char *ammap_strerror(int value)
{
        const struct code *code = find(value);

        return code ? code->sentence : "Unknown error code";
}

const char *ammap_errname(int value)
{
        const struct code *code = find(value);

        return code ? code->name : "UNKNOWN";
}

const char *ammap_version(void)
{
        return AMMAP_VERSION;
}
