/* map.c - the life of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "internal.h"
#include "recycle.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 47 bits of address space, or what a 32-bit process could have of its. */
#define SIZE_LIMIT (sizeof(void *) > 4 ? UINT64_C(1) << 47 : UINT64_C(1) << 31)

/* All maps, for fork.  The mutex is held across a fork, so that the child finds
 * the list whole. */
static pthread_mutex_t all_maps_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ammap *all_maps;

static pthread_once_t started = PTHREAD_ONCE_INIT;
static int start_result;

static void lock_maps(void)
{
        os_fork_check();
        pthread_mutex_lock(&all_maps_mutex);
}

static void unlock_maps(void)
{
        pthread_mutex_unlock(&all_maps_mutex);
}

static void fork_before(void)
{
        recycle_before_fork();
        lock_maps();
}

static void fork_after(void)
{
        unlock_maps();
        recycle_after_fork();
}

static void fork_child(void)
{
        pthread_mutex_init(&all_maps_mutex, NULL);
        recycle_forked();
        thread_forked();
        for (struct ammap *map = all_maps; map; map = map->next)
                for (uint64_t i = 0; i < map->lanes; i++)
                        lane_forked(&map->lane[i]);
}

static void start(void)
{
        os_start();
        start_result = lane_start();
        if (start_result == 0)
                start_result = os_at_fork(fork_before, fork_after, fork_child);
}

/* A forked child that ran no fork handlers may find the list between two of
 * these stores: it is whole for a walk at each. */
static void link_map(struct ammap *map)
{
        lock_maps();
        map->next = all_maps;
        map->link = &all_maps;
        if (all_maps)
                all_maps->link = &map->next;
        all_maps = map;
        unlock_maps();
}

static void unlink_map(struct ammap *map)
{
        lock_maps();
        *map->link = map->next;
        if (map->next)
                map->next->link = map->link;
        unlock_maps();
}

/* --- Options --- */

/* The caller's options as this library knows them: zeros where the caller's
 * header knew fewer, nothing but zeros where it knew more. */
static int read_options(const ammap_options_t *options, ammap_options_t *known)
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
        return 0;
}

static int check_options(uint64_t size, ammap_options_t *options)
{
        if (options->lanes == 0)
                options->lanes = 1;
        if (options->lanes > AMMAP_LANES_MAX || options->recycle > AMMAP_MUST)
                return AMMAP_ERR_INVALID;
        if (size == 0 || size > SIZE_LIMIT)
                return AMMAP_ERR_SIZE;
        return options->lanes > size ? AMMAP_ERR_INVALID : 0;
}

/* --- Life --- */

/* What a new map and a recycled one have in common; the map is all zeros but
 * for what its memory is. */
static void map_begin(struct ammap *map, uint64_t size, const ammap_options_t *options)
{
        map->length = size;
        map->lanes = options->lanes;
        map->lane_size = (size + map->lanes - 1) / map->lanes;
        map->recycle = options->recycle != AMMAP_NO;
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_init(&map->lane[i]);
}

static int map_make(struct ammap **made, size_t mapped, uint64_t size, const ammap_options_t *options)
{
        struct ammap *map;
        void *block, *base;
        int rc = posix_memalign(&block, _Alignof(struct ammap),
                                sizeof *map + (size_t)options->lanes * sizeof map->lane[0]);

        if (rc)
                return -rc;
        if ((rc = os_map(&base, mapped)) < 0) {
                free(block);
                return rc;
        }
        map = block;
        memset(map, 0, sizeof *map);
        map->base = base;
        map->mapped = mapped;
        map_begin(map, size, options);
        link_map(map);
        *made = map;
        return 0;
}

int map_destroy(struct ammap *map)
{
        int rc = os_unmap(map->base, map->mapped);

        if (rc < 0)
                return rc;
        unlink_map(map);
        free(map);
        return 0;
}

int ammap_new(ammap_t **map, uint64_t size)
{
        return ammap_new_with(map, size, NULL);
}

int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options)
{
        ammap_options_t known;
        size_t page, mapped;
        int rc;

        if (!map)
                return AMMAP_ERR_INVALID;
        *map = NULL;
        if ((rc = read_options(options, &known)) < 0 || (rc = check_options(size, &known)) < 0)
                return rc;
        pthread_once(&started, start);
        if (start_result < 0)
                return start_result;
        page = os_page_size();
        mapped = ((size_t)size + page - 1) & ~(page - 1);
        if (known.recycle != AMMAP_NO && (*map = recycle_take(mapped, known.lanes))) {
                map_begin(*map, size, &known);
                return 0;
        }
        return map_make(map, mapped, size, &known);
}

int ammap_free(ammap_t *map)
{
        if (!map)
                return 0;
        os_fork_check();
        if (atomic_load(&map->views) > 0)
                return AMMAP_ERR_BUSY;
        for (uint64_t i = 0; i < map->lanes; i++)
                if (lane_is_held(&map->lane[i]))
                        return AMMAP_ERR_BUSY;

        if (map->recycle && recycle_keep(map))
                return 0;
        return map_destroy(map);
}

uint64_t ammap_len(const ammap_t *map)
{
        return map ? map->length : 0;
}

bool ammap_is_empty(const ammap_t *map)
{
        return ammap_len(map) == 0;
}

int ammap_describe(const ammap_t *map, char *text, size_t size)
{
        if (!map || (!text && size))
                return AMMAP_ERR_INVALID;
        return snprintf(text, size, "ammap: %" PRIu64 " bytes, private, %" PRIu64 " lane%s", map->length, map->lanes,
                        map->lanes == 1 ? "" : "s");
}

int ammap_recover(ammap_t *map)
{
        if (!map)
                return AMMAP_ERR_INVALID;
        for (uint64_t i = 0; i < map->lanes; i++)
                lane_recover(&map->lane[i]);
        return 0;
}

/* --- Raw pointers --- */

const void *ammap_as_ptr(const ammap_t *map)
{
        return map ? map->base : NULL;
}

void *ammap_as_mut_ptr(ammap_t *map)
{
        return map ? map->base : NULL;
}
