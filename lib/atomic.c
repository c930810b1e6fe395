/* atomic.c - atomic views, wait and wake
 *
 * SPDX-License-Identifier: MIT
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* The address of count words of size bytes at offset. */
static int find_words(ammap_t *map, uint64_t offset, uint64_t count, uint64_t size, void **words)
{
        if (!map)
                return AMMAP_ERR_INVALID;
        if (count > map->length / size || !range_ok(map->length, offset, count * size))
                return AMMAP_ERR_BOUNDS;
        if (offset % size != 0)
                return AMMAP_ERR_MISALIGNED;
        *words = map->base + offset;
        return 0;
}

/* The same, and the map pinned by a view. */
static int pin_words(ammap_t *map, uint64_t offset, uint64_t count, uint64_t size, void **words)
{
        int rc = find_words(map, offset, count, size, words);

        if (rc == 0)
                atomic_fetch_add(&map->views, 1);
        return rc;
}

/* The view's private word 0 is its map. */
static void unpin(uintptr_t private)
{
        struct ammap *map = (struct ammap *)private;

        if (map)
                atomic_fetch_sub(&map->views, 1);
}

int ammap_atomic_u32(ammap_t *map, uint64_t offset, ammap_u32_view_t *view)
{
        return ammap_atomic_u32_slice(map, offset, 1, view);
}

int ammap_atomic_u64(ammap_t *map, uint64_t offset, ammap_u64_view_t *view)
{
        return ammap_atomic_u64_slice(map, offset, 1, view);
}

int ammap_atomic_u32_slice(ammap_t *map, uint64_t offset, size_t count, ammap_u32_view_t *view)
{
        void *words;
        int rc;

        if (!view)
                return AMMAP_ERR_INVALID;
        memset(view, 0, sizeof *view);
        if ((rc = pin_words(map, offset, count, sizeof *view->value, &words)) < 0)
                return rc;
        view->value = words;
        view->count = count;
        view->ammap_private[0] = (uintptr_t)map;
        return 0;
}

int ammap_atomic_u64_slice(ammap_t *map, uint64_t offset, size_t count, ammap_u64_view_t *view)
{
        void *words;
        int rc;

        if (!view)
                return AMMAP_ERR_INVALID;
        memset(view, 0, sizeof *view);
        if ((rc = pin_words(map, offset, count, sizeof *view->value, &words)) < 0)
                return rc;
        view->value = words;
        view->count = count;
        view->ammap_private[0] = (uintptr_t)map;
        return 0;
}

void ammap_u32_view_release(ammap_u32_view_t *view)
{
        if (!view)
                return;
        unpin(view->ammap_private[0]);
        memset(view, 0, sizeof *view);
}

void ammap_u64_view_release(ammap_u64_view_t *view)
{
        if (!view)
                return;
        unpin(view->ammap_private[0]);
        memset(view, 0, sizeof *view);
}

int ammap_wait_u32(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns)
{
        void *word;
        int rc = find_words(map, offset, 1, sizeof expected, &word);

        if (rc < 0)
                return rc;
        return os_wait(word, expected, os_deadline(timeout_ns)) == -ETIMEDOUT ? AMMAP_ERR_TIMEOUT : 0;
}

int ammap_wake_u32(ammap_t *map, uint64_t offset, int count)
{
        void *word;
        int rc;

        if (count < 0)
                return AMMAP_ERR_INVALID;
        if ((rc = find_words(map, offset, 1, sizeof(uint32_t), &word)) < 0)
                return rc;
        return count > 0 ? os_wake(word, count) : 0; /* futexes take 0 for 1 */
}
