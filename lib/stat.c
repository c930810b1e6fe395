/* stat.c - what a map is, and what the system's account of it says
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/map.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int ammap_describe(const ammap_t *map, char *text, size_t size)
{
        uint64_t length;

        if (!map || (!text && size))
                return AMMAP_ERR_INVALID;
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        length = ammap_len(map);
        return snprintf(text, size,
                        "ammap: %" PRIu64 " bytes, capacity %" PRIu64 ", %s, %" PRIu32 " lane%s of %" PRIu64 "%s%s%s%s",
                        length, map->capacity, map->kind->name, map->lanes, map->lanes == 1 ? "" : "s", map->lane_size,
                        *map_name(map) ? ", name " : "", map_name(map), map->read_only ? ", read-only" : "",
                        map_frozen(map->lane[0].map) ? ", frozen" : "");
}

_Static_assert(AMMAP_STAT_UNKNOWN == OS_UNKNOWN, "what is not known is told as such");
_Static_assert(offsetof(ammap_stat_t, reserved) == offsetof(ammap_stat_t, read_only) + 5 * sizeof(bool) &&
                       offsetof(ammap_stat_t, lane_size) == offsetof(ammap_stat_t, reserved) + 6 &&
                       offsetof(ammap_stat_t, reserved_b) ==
                               offsetof(ammap_stat_t, why_read_only) + sizeof(ammap_why_t) &&
                       sizeof(ammap_stat_t) == offsetof(ammap_stat_t, reserved_b) + sizeof(uint32_t),
               "no hidden room, through which bytes of the stack would be told");

/* The kernel takes the wish under strict accounting, and does not do it.  What others
 * have too is accounted for as it becomes present. */
static bool has_noreserve(const struct region *region, const struct os_usage *usage)
{
        return region->noreserve &&
               (region->backing || usage->unreserved == OS_UNKNOWN || usage->unreserved == region->size);
}

/* The kernel is asked first, with no mutex held: that takes as long as there are
 * mappings, and the pages' place is constant. */
static int fill_stat(ammap_t *map, ammap_stat_t *stat)
{
        struct os_usage usage;
        uint64_t slots_max;
        bool frozen;

        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        os_usage(map->region.data, map->region.size, &usage);
        frozen = map_frozen(map);
        map_lock(map);
        *stat = (ammap_stat_t){
                .length = ammap_len(map),
                .capacity = map->capacity,
                .mapped = map->region.mapped,
                .page = os_page_size(),
                .resident = usage.resident,
                .huge = usage.huge,
                .locked = usage.locked,
                .slices = map->kind->slices(map),
                .views = atomic_load(&map->views),
                .lanes = map->lanes,
                .share = map->kind->share,
                .fork = map->region.fork,
                .guard = map->region.guard,
                .frozen = frozen,
                .read_only = frozen || map->read_only,
                .nodump = map->region.nodump,
                .secret = region_is_secret(&map->region),
                .noreserve = has_noreserve(&map->region, &usage),
                .recycle = map->recycle,
                .lane_size = map->lane_size,
                .slots = map->kind->slots(map, &slots_max),
                .why_read_only = frozen           ? AMMAP_WHY_FROZEN
                                 : map->read_only ? map->why_read_only
                                                  : AMMAP_WHY_NOT,
        };
        stat->slots_max = slots_max;
        map_unlock(map);
        return 0;
}

int ammap_stat(ammap_t *map, ammap_stat_t *stat)
{
        const size_t first = offsetof(ammap_stat_t, length);
        ammap_stat_t known;
        size_t size;
        int rc;

        if (!stat || (size = stat->struct_size) < sizeof size)
                return AMMAP_ERR_INVALID;
        memset((unsigned char *)stat + sizeof size, 0, size - sizeof size);
        if (!map)
                return AMMAP_ERR_INVALID;
        if ((rc = fill_stat(map, &known)) < 0)
                return rc;
        size = size < sizeof known ? size : sizeof known;
        if (size > first)
                memcpy((unsigned char *)stat + first, (unsigned char *)&known + first, size - first);
        return 0;
}

int ammap_is_hugepage_backed(ammap_t *map)
{
        struct os_usage usage;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        if (atomic_load(&map->omitted))
                return AMMAP_ERR_UNSUPPORTED;
        rc = os_usage(map->region.data, map->region.size, &usage);
        if (usage.huge != OS_UNKNOWN)
                return usage.huge > 0;
        return rc == 0 || os_absent(rc) ? AMMAP_ERR_UNSUPPORTED : rc;
}
