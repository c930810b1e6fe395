/* visits.c - maps that come and go beside those that a run is of
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread makes a map, or opens the one file that all of them open, locks it in memory or not, writes a word of its
 * own there, reads it, and frees the map.  Meanwhile others fork: what the library has listed, and what it had locked, is to serve the child.
 */
#include "draw.h"

#include "sim.h"

enum { VISITS_MAX = 2 }; /* of a run: each shared map has memory of its own */

static unsigned visits;

void visits_begin(void)
{
        visits = 0;
}

/* Of who died in there the file may be left as it was then. */
static int write_and_read(ammap_t *map, uint64_t offset, uint64_t value, uint64_t *found)
{
        int rc;

        while ((rc = ammap_update_region(map, offset, &value, sizeof value)) == AMMAP_ERR_OWNER_DEAD ||
               (rc == 0 && (rc = ammap_read_into(map, offset, found, sizeof *found)) == AMMAP_ERR_OWNER_DEAD))
                if (plan.kills == 0 || (rc = ammap_recover(map)) < 0)
                        break;
        return rc;
}

/* A file's map is as the file is. */
static ammap_options_t draw_options(enum place place)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = place == PRIVATE ? AMMAP_PRIVATE : AMMAP_SHARED;
        options.recycle = place == PRIVATE && below(2) ? AMMAP_TRY : AMMAP_NO;
        options.fork = place != IN_FILE && below(2) ? AMMAP_FORK_OMIT : AMMAP_FORK_COPY;
        if (place == PRIVATE && below(4) == 0)
                options.fork = AMMAP_FORK_WIPE;
        return options;
}

void visit(enum place place)
{
        ammap_options_t options = draw_options(place);
        const uint64_t size = THREADS_MAX * sizeof(uint64_t), value = model_tick();
        const bool spared = current->spared;
        uint64_t found = 0;
        ammap_t *map;
        int rc;

        current->spared = true;
        rc = place == IN_FILE ? ammap_open(&map, FILE_VISITED, size, &options) : ammap_new_with(&map, size, &options);
        if (rc != 0)
                fail("a map is made beside the others: %d", rc);
        if (below(2) && (rc = ammap_mlock(map, 0, size)) != 0)
                fail("a map beside the others is locked in memory: %d", rc);
        if ((rc = write_and_read(map, current->number * sizeof value, value, &found)) != 0 || found != value)
                fail("a map beside the others is written and read: %d", rc);
        if ((rc = ammap_free(map)) != 0)
                fail("a map beside the others is freed: %d", rc);
        current->spared = spared;
}

void do_visit(void)
{
        if (visits++ < VISITS_MAX)
                visit((enum place)below(IN_FILE + 1));
}
