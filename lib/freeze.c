/* freeze.c - freeze, clone
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/local.h"
#include "map/map.h"

int ammap_freeze(ammap_t *map)
{
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = map->kind->freeze(map);
        /* It is frozen already, or not ours to freeze. */
        return rc == AMMAP_ERR_READ_ONLY && !map->read_only ? 0 : rc;
}

/* A private map of it, for who keeps writers out. */
static int clone_private(struct ammap *map, uint64_t length, struct ammap **copy)
{
        ammap_options_t options = map_options(map);
        struct ammap *made;
        unsigned char *to;
        int rc;

        options.share = AMMAP_PRIVATE;
        if ((rc = private_make(&made, length, &options)) < 0)
                return rc;
        to = made->base - (map->base - map->region.data);
        if (map->may_fault)
                rc = region_copy_careful(to, &map->region, map_region_offset(map, length));
        else
                region_copy(to, &map->region, map_region_offset(map, length));
        if (rc < 0)
                map_destroy(made);
        else
                *copy = made;
        return rc;
}

int ammap_clone(ammap_t *map, ammap_t **copy)
{
        if (!copy)
                return AMMAP_ERR_INVALID;
        *copy = NULL;
        if (!map)
                return AMMAP_ERR_INVALID;
        os_fork_check();
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        return map->kind->clone(map, clone_private, copy);
}
