/* life.c - new, resize, recover, free
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/local.h"
#include "map/map.h"
#include "map/options.h"
#include "map/raw.h"
#include "map/shared.h"

int ammap_new(ammap_t **map, uint64_t size)
{
        return ammap_new_with(map, size, NULL);
}

int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        ammap_options_t known;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = options_read(options, &known)) < 0)
                return rc;
        if (known.read_only) /* nobody could ever write it */
                return AMMAP_ERR_INVALID;
        if ((rc = options_check(size, &known)) < 0 || (rc = map_start()) < 0)
                return rc;
        switch (known.share) {
        case AMMAP_SHARED:
                return shared_make(map, size, &known);
        case AMMAP_RAW:
                return raw_make(map, size, &known);
        default:
                return private_make(map, size, &known);
        }
}

int ammap_free(ammap_t *map)
{
        if (!map)
                return 0;
        os_fork_check();
        if (atomic_load(&map->views) > 0 || atomic_load(&map->common.sleepers) > 0 || map->kind->is_held(map))
                return AMMAP_ERR_BUSY;
        return map_keep(map) ? 0 : map_destroy(map);
}

/* Before the first map, too: until then nobody can tell this process from a forked child. */
int ammap_trim(uint64_t keep)
{
        int rc = map_start();

        return rc < 0 ? rc : map_trim(keep);
}

uint64_t ammap_len(const ammap_t *map)
{
        return map ? map->kind->length(map) : 0;
}

bool ammap_is_empty(const ammap_t *map)
{
        return ammap_len(map) == 0;
}

int ammap_resize(ammap_t *map, uint64_t size)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (size == 0 || size > map->capacity)
                return AMMAP_ERR_SIZE;
        map_lock(map);
        rc = atomic_load(&map->omitted) ? AMMAP_ERR_UNSUPPORTED : map->kind->resize(map, size);
        map_unlock(map);
        return rc;
}

int ammap_recover(ammap_t *map)
{
        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        return map->kind->recover(map);
}

const void *ammap_as_ptr(const ammap_t *map)
{
        return map && (!map->may_fault || map->faults) ? map->base : NULL;
}

void *ammap_as_mut_ptr(ammap_t *map)
{
        if (!map || (map->may_fault && !map->faults) || !map->base || !map_may_write(map))
                return NULL;
        return map->base;
}
