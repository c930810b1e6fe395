/* recycle.c - freed maps kept for those to come
 *
 * SPDX-License-Identifier: MIT
 *
 * A map from the kernel costs two calls, and a fault for each page touched.  A
 * map that was freed has its pages already: zeroing them again is a tenth of
 * that or less.  Kept maps stand in lists by size, the last one freed first: its
 * pages may still be in the cache.  They stay on the list of all maps.
 */
#include "recycle.h"

#include <pthread.h>
#include <string.h>

enum { CLASSES = 64, LOOKS = 8 };

/* Guards the lists and the sum. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ammap *kept[CLASSES]; /* by the logarithm of mapped */
static uint64_t kept_bytes;

static unsigned class_of(size_t mapped)
{
        return 63 - (unsigned)__builtin_clzll(mapped);
}

/* --- Zeroing --- */

enum {
        SMALL = 256 * 1024, /* not worth asking which pages are there */
        ASK = 16384,        /* pages asked about at once: memset is fastest when it sees how much is to come */
};

/* Pages that are there are zeroed, which is cheaper than a fault for each; those
 * that are not cost nothing to give back, and are zeros when they come again. */
static void zero_run(unsigned char *run, size_t length, bool resident)
{
        if (!resident && os_discard(run, length) == 0)
                return;
        memset(run, 0, length);
}

static void zero_map(struct ammap *map)
{
        size_t page = os_page_size(), step = ASK * page;
        unsigned char there[ASK];

        if (map->region.mapped <= SMALL) {
                memset(map->base, 0, map->region.mapped);
                return;
        }
        for (size_t at = 0; at < map->region.mapped; at += step) {
                size_t length = map->region.mapped - at < step ? map->region.mapped - at : step;
                size_t pages = length / page, first = 0;

                if (os_resident(map->base + at, length, there) < 0)
                        memset(there, 1, sizeof there);
                for (size_t i = 1; i <= pages; i++)
                        if (i == pages || (there[i] & 1) != (there[first] & 1)) {
                                zero_run(map->base + at + first * page, (i - first) * page, there[first] & 1);
                                first = i;
                        }
        }
}

/* --- Keeping --- */

static void lock_kept(void)
{
        os_fork_check();
        pthread_mutex_lock(&mutex);
}

struct ammap *recycle_take(size_t mapped, uint64_t lanes)
{
        struct ammap **link = &kept[class_of(mapped)], *map = NULL;

        lock_kept();
        for (unsigned looks = 0; *link && looks < LOOKS; looks++, link = &(*link)->kept_next)
                if ((*link)->region.mapped == mapped && (*link)->lanes == lanes) {
                        map = *link;
                        *link = map->kept_next;
                        kept_bytes -= mapped;
                        break;
                }
        pthread_mutex_unlock(&mutex);
        if (map)
                zero_map(map);
        return map;
}

/* Take maps off the lists, the largest and longest kept first, until at most
 * keep bytes are left.  Under the mutex. */
static struct ammap *shrink_to(uint64_t keep)
{
        struct ammap *gone = NULL;

        for (unsigned class = CLASSES; class -- > 0 && kept_bytes > keep;)
                while (kept[class] && kept_bytes > keep) {
                        struct ammap **link = &kept[class], *map;

                        while ((*link)->kept_next)
                                link = &(*link)->kept_next;
                        map = *link;
                        *link = NULL;
                        kept_bytes -= map->region.mapped;
                        map->kept_next = gone;
                        gone = map;
                }
        return gone;
}

static void destroy_all(struct ammap *map)
{
        while (map) {
                struct ammap *next = map->kept_next;

                map_destroy(map);
                map = next;
        }
}

bool recycle_keep(struct ammap *map)
{
        struct ammap **head = &kept[class_of(map->region.mapped)], *gone;

        if (map->region.mapped > AMMAP_RECYCLE_MAX)
                return false;
        lock_kept();
        gone = kept_bytes > AMMAP_RECYCLE_MAX - map->region.mapped ? shrink_to(AMMAP_RECYCLE_MAX - map->region.mapped)
                                                                   : NULL;
        map->kept_next = *head;
        *head = map;
        kept_bytes += map->region.mapped;
        pthread_mutex_unlock(&mutex);
        destroy_all(gone);
        return true;
}

int ammap_trim(uint64_t keep)
{
        struct ammap *gone;

        lock_kept();
        gone = shrink_to(keep);
        pthread_mutex_unlock(&mutex);
        destroy_all(gone);
        return 0;
}

void recycle_before_fork(void)
{
        lock_kept();
}

void recycle_after_fork(void)
{
        pthread_mutex_unlock(&mutex);
}

void recycle_forked(void)
{
        pthread_mutex_init(&mutex, NULL);
}
