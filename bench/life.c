/* life.c - the life of a map: create, touch each page, free
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/sysinfo.h>

#include "clock.h"
#include "workload.h"

#define PAGE 4096

/* The peers that know no options do what they can; what a variant is compared
 * with is their only way. */
static bool variant_options(unsigned variant, const struct peer *peer, ammap_options_t *options)
{
        (void)options;
        if (!peer->new_with)
                return false;
        if (variant == LIFE_RECYCLED) {
                options->recycle = AMMAP_TRY;
                return true;
        }
        if (variant == LIFE_HUGE) {
                options->huge = AMMAP_TRY;
                return true;
        }
        return variant != LIFE_PLAIN;
}

static void live(const struct peer *peer, uint64_t size, const ammap_options_t *options)
{
        ammap_t *map = peer_new(peer, size, options);
        volatile unsigned char *bytes = peer->address(map);
        uint64_t i;

        for (i = 0; i < size; i += PAGE)
                bytes[i] = 1;
        peer_free(peer, map);
}

static bool fits_memory(uint64_t size)
{
        struct sysinfo info;

        return sysinfo(&info) == 0 && size < (uint64_t)info.freeram * info.mem_unit / 2;
}

int life_run(const struct workload *workload, const struct peer *peer, const struct pace *pace,
             double values[ROWS_MAX][EVENTS_MAX])
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        const ammap_options_t *chosen = variant_options(workload->variant, peer, &options) ? &options : NULL;
        double unit = workload->rows[0].unit == UNIT_MS ? 1e6 : 1e3;
        int64_t start, elapsed = 0;
        int n = 0;

        if (!fits_memory(workload->size))
                return 0;
        /* A recycled map is what there is from the second life on, and a virtual
         * machine's memory is slow at the first touch after a while. */
        live(peer, workload->size, chosen);
        start = clock_now();
        do {
                live(peer, workload->size, chosen);
                n++;
                elapsed = clock_now() - start;
        } while (elapsed < pace->loop);
        values[0][0] = (double)elapsed / n / unit;
        return 1;
}
