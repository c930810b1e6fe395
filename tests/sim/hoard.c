/* hoard.c - threads that hold more than what stands in one piece
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread has a map of its own, and more slices of it than one block of thread.c takes: so what it takes of the
 * others is in a later block, and it comes back to an earlier one that has got room.  It gives them back, or ends with
 * them, while others begin.
 */
#include "draw.h"

#include "sim.h"

enum { HOARD_MAX = 14 }; /* two blocks full */

static struct hoard {
        ammap_t *map;
        ammap_slice_t slice[HOARD_MAX];
} hoards[THREADS_MAX];

static struct hoard *own_hoard(void)
{
        return &hoards[current->number];
}

static void take(unsigned i)
{
        int rc = ammap_as_slice(own_hoard()->map, 0, 1, &own_hoard()->slice[i]);

        if (rc != 0)
                fail("one more slice of one's own: %d", rc);
}

static void give_back(unsigned i)
{
        int rc = ammap_slice_release(&own_hoard()->slice[i]);

        if (rc != 0)
                fail("one's own slice is given back: %d", rc);
}

/* The last one is where the first one was, and the first block is the current one again. */
void hoard_begin(void)
{
        const bool spared = current->spared;
        int rc;

        current->spared = true;
        if ((rc = ammap_new(&own_hoard()->map, 8)) != 0)
                fail("a map of one's own is made: %d", rc);
        for (unsigned i = 0; i < HOARD_MAX; i++)
                take(i);
        give_back(0);
        take(0);
        current->spared = spared;
}

void hoard_end(void)
{
        const bool spared = current->spared;
        int rc;

        current->spared = true;
        for (unsigned i = 0; i < HOARD_MAX; i++)
                give_back(i);
        if ((rc = ammap_free(own_hoard()->map)) != 0)
                fail("a map of one's own is freed: %d", rc);
        current->spared = spared;
}
