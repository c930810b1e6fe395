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
        OURS(AMMAP_ERR_INVALID,
             "A pointer is NULL, a flag, option or count is not a valid one, or options contradict each other or the "
             "map that is there: start from AMMAP_OPTIONS_INIT, and leave capacity and lanes 0 to take the map's"),
        OURS(AMMAP_ERR_SIZE,
             "The size is zero, above the capacity (set options.capacity when the map is made) or above what the "
             "platform allows, or the raw file or memory is empty"),
        OURS(AMMAP_ERR_BOUNDS, "The range leaves the map"),
        OURS(AMMAP_ERR_MISALIGNED, "The offset is not a multiple of the atomic type's size"),
        OURS(AMMAP_ERR_BUSY, "A live slice or view stands in the way"),
        OURS(AMMAP_ERR_TIMEOUT, "The time given ran out"),
        OURS(AMMAP_ERR_DEADLOCK, "The calling thread's own slice stands in the way"),
        OURS(AMMAP_ERR_OWNER_DEAD, "A writer died inside its write"),
        OURS(AMMAP_ERR_READ_ONLY, "The map is frozen or read-only"),
        OURS(AMMAP_ERR_UNSUPPORTED, "This kind of map, or this system, cannot do that"),
        OURS(AMMAP_ERR_FORMAT,
             "The file or descriptor is not a map of this library, is a damaged one, is a map with a header where raw "
             "bytes were asked for (options.share), or another map was made in the file since"),
        OURS(AMMAP_ERR_UNSEALED,
             "The file or memory behind the descriptor could be made shorter by others: seal it with "
             "AMMAP_SEAL_SHRINK, or set options.allow_faults"),
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
