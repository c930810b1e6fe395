/* options.c - what a map is asked to be
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/options.h"

#include "os/os.h"

#include <stddef.h>
#include <string.h>

/* 47 bits of address space, or what a 32-bit process could have of its. */
#define SIZE_LIMIT (sizeof(void *) > 4 ? UINT64_C(1) << 47 : UINT64_C(1) << 31)

/* A hole in the structure would hold whatever an old caller's memory held, and a
 * field that comes to lie there would be read from it. */
_Static_assert(offsetof(ammap_options_t, reserved_a) == offsetof(ammap_options_t, allow_faults) + 2 * sizeof(bool) &&
                       offsetof(ammap_options_t, huge) == offsetof(ammap_options_t, reserved_a) + 2 &&
                       sizeof(ammap_options_t) == offsetof(ammap_options_t, reserved_b) + sizeof(uint32_t) &&
                       offsetof(ammap_options_t, reserved_b) ==
                               offsetof(ammap_options_t, recycle) + sizeof(ammap_want_t),
               "no hidden room");

/* Zeros where the caller's header knew fewer, nothing but zeros where it knew
 * more. */
int options_read(const ammap_options_t *options, ammap_options_t *known)
{
        const unsigned char *bytes = (const unsigned char *)options;
        size_t size;

        memset(known, 0, sizeof *known);
        if (!options)
                return 0;
        memcpy(&size, bytes, sizeof size);
        if (size < sizeof size)
                return AMMAP_ERR_INVALID;
        for (size_t i = sizeof *known; i < size; i++)
                if (bytes[i] != 0)
                        return AMMAP_ERR_INVALID;
        memcpy(known, bytes, size < sizeof *known ? size : sizeof *known);
        return known->reserved_a[0] || known->reserved_a[1] || known->reserved_b ? AMMAP_ERR_INVALID : 0;
}

static bool is_want(ammap_want_t want)
{
        return want == AMMAP_NO || want == AMMAP_TRY || want == AMMAP_MUST;
}

bool options_are_plain(const ammap_options_t *o)
{
        return (!o->name || !*o->name) && o->share == AMMAP_PRIVATE && o->fork == AMMAP_FORK_COPY && !o->huge &&
               !o->populate && !o->lock && !o->guard && !o->nodump && !o->secret && !o->noreserve;
}

/* What is kept for the next map has nothing that would stay with it. */
bool options_can_recycle(const ammap_options_t *options, uint64_t size)
{
        uint64_t page = os_page_size();

        return options_are_plain(options) && (size + page - 1) / page == (options->capacity + page - 1) / page;
}

int options_check(uint64_t size, ammap_options_t *options)
{
        if (options->lanes == 0)
                options->lanes = 1;
        if (options->capacity == 0)
                options->capacity = size;
        if (options->lanes > AMMAP_LANES_MAX || !is_want(options->huge) || !is_want(options->populate) ||
            !is_want(options->lock) || !is_want(options->guard) || !is_want(options->nodump) ||
            !is_want(options->secret) || !is_want(options->noreserve) || !is_want(options->recycle) ||
            (options->share != AMMAP_PRIVATE && options->share != AMMAP_SHARED && options->share != AMMAP_RAW) ||
            (options->fork != AMMAP_FORK_COPY && options->fork != AMMAP_FORK_OMIT && options->fork != AMMAP_FORK_WIPE))
                return AMMAP_ERR_INVALID;
        if (size == 0 || size > options->capacity || options->capacity > SIZE_LIMIT)
                return AMMAP_ERR_SIZE;
        if (options->lanes > options->capacity || (options->share == AMMAP_RAW && options->capacity != size) ||
            (options->recycle == AMMAP_MUST && !options_can_recycle(options, size)))
                return AMMAP_ERR_INVALID;
        /* Nobody wipes what others have. */
        if (options->share != AMMAP_PRIVATE && (options->fork == AMMAP_FORK_WIPE || options->secret == AMMAP_MUST))
                return AMMAP_ERR_UNSUPPORTED;
        return 0;
}

int options_read_other(const ammap_options_t *options, uint64_t size, ammap_options_t *known)
{
        ammap_options_t trial;
        int rc = options_read(options, known);

        if (rc < 0)
                return rc;
        if (known->share == AMMAP_PRIVATE)
                known->share = AMMAP_SHARED;
        trial = *known;
        if (size == 0)
                trial.capacity = AMMAP_LANES_MAX;
        return options_check(size ? size : AMMAP_LANES_MAX, &trial);
}
