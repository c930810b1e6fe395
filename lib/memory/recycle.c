/* recycle.c - freed maps kept for those to come
 *
 * SPDX-License-Identifier: MIT
 *
 * A map from the kernel costs two calls, and a fault for each page touched.  A
 * map that was freed has its pages already: zeroing them again is a tenth of
 * that or less.  Kept maps stand in lists by weight, the last one freed first: its
 * pages may still be in the cache.  They stay on the list of all maps.
 *
 * The weight of a map is all of its memory, its lanes included.  What is on the
 * lists and what has been taken off to be destroyed weigh AMMAP_RECYCLE_MAX
 * together, at most: a map that the system does not take back, because it has too
 * many mappings to split one, goes back on its list.
 *
 * fork() waits for the mutex.  So nothing is done under it but to link and unlink,
 * each in a time of its own.
 */
#include "memory/recycle.h"

#include <pthread.h>
#include <string.h>

enum { CLASSES = 64, LOOKS = 8, TRIES = 4 };

/* Guards the lists and the sums. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
        struct ammap *newest, *oldest;
} kept[CLASSES]; /* by the logarithm of the weight */
static uint64_t kept_bytes, leaving_bytes;

static uint64_t weight_of(size_t mapped, uint64_t lanes)
{
        return mapped + sizeof(struct ammap) + lanes * sizeof(struct lane);
}

static uint64_t weight(const struct ammap *map)
{
        return weight_of(map->region.mapped, map->lanes);
}

static unsigned class_of(uint64_t bytes)
{
        return 63 - (unsigned)__builtin_clzll(bytes);
}

/* Onto its list, as the newest or as the oldest. */
static void link_kept(struct ammap *map, bool newest)
{
        unsigned class = class_of(weight(map));
        struct ammap **end = newest ? &kept[class].newest : &kept[class].oldest, *beside = *end;

        map->kept_newer = newest ? NULL : beside;
        map->kept_older = newest ? beside : NULL;
        if (!beside)
                kept[class].newest = kept[class].oldest = map;
        else if (newest)
                beside->kept_newer = map;
        else
                beside->kept_older = map;
        *end = map;
        kept_bytes += weight(map);
}

static void unlink_kept(struct ammap *map)
{
        unsigned class = class_of(weight(map));

        if (map->kept_newer)
                map->kept_newer->kept_older = map->kept_older;
        else
                kept[class].newest = map->kept_older;
        if (map->kept_older)
                map->kept_older->kept_newer = map->kept_newer;
        else
                kept[class].oldest = map->kept_newer;
        kept_bytes -= weight(map);
}

/* --- Zeroing --- */

enum {
        SMALL = 256 * 1024, /* not worth asking which pages are there */
        ASK = 512,          /* pages asked about at once */
};

/* Pages that are there are zeroed, which is cheaper than a fault for each; those
 * that are not cost nothing to give back, and are zeros when they come again. */
static void zero_run(unsigned char *run, size_t length, bool resident)
{
        if (!resident && os_discard(run, length) == 0)
                return;
        memset(run, 0, length);
}

/* In runs as long as can be: memset is fastest when it sees how much is to come. */
static void zero_map(struct ammap *map)
{
        size_t page = os_page_size(), pages = map->region.mapped / page, first = 0;
        unsigned char there[ASK];
        bool resident = false;

        if (map->region.mapped <= SMALL) {
                memset(map->base, 0, map->region.mapped);
                return;
        }
        for (size_t i = 0; i < pages; i++) {
                size_t count = pages - i < ASK ? pages - i : ASK;

                if (i % ASK == 0 && os_resident(map->base + i * page, count * page, there) < 0)
                        memset(there, 1, sizeof there);
                if ((there[i % ASK] & 1) == resident)
                        continue;
                zero_run(map->base + first * page, (i - first) * page, resident);
                resident = !resident;
                first = i;
        }
        zero_run(map->base + first * page, (pages - first) * page, resident);
}

/* --- Keeping --- */

static void lock_kept(void)
{
        os_fork_check();
        pthread_mutex_lock(&mutex);
}

static void unlock_kept(void)
{
        pthread_mutex_unlock(&mutex);
}

struct ammap *recycle_take(size_t mapped, uint64_t lanes)
{
        struct ammap *map;

        lock_kept();
        map = kept[class_of(weight_of(mapped, lanes))].newest;
        for (unsigned looks = 0; map && (map->region.mapped != mapped || map->lanes != lanes); looks++)
                map = looks < LOOKS ? map->kept_older : NULL;
        if (map)
                unlink_kept(map);
        unlock_kept();
        if (map)
                zero_map(map);
        return map;
}

/* Take maps off the lists, the largest and longest kept first, until at most keep
 * bytes are left: in a list by kept_older, to be destroyed.  Under the mutex. */
static struct ammap *shrink_to(uint64_t keep)
{
        struct ammap *gone = NULL;

        for (unsigned class = CLASSES; class -- > 0 && kept_bytes > keep;)
                while (kept[class].oldest && kept_bytes > keep) {
                        struct ammap *map = kept[class].oldest;

                        unlink_kept(map);
                        leaving_bytes += weight(map);
                        map->kept_older = gone;
                        gone = map;
                }
        return gone;
}

/* Destroy those of a list; 0, or the first code, and those that could not be are
 * kept again, to be the next to go. */
static int destroy_all(struct ammap *map)
{
        int failure = 0;

        while (map) {
                struct ammap *next = map->kept_older;
                uint64_t bytes = weight(map);
                int rc = map_destroy(map);

                lock_kept();
                leaving_bytes -= bytes;
                if (rc < 0)
                        link_kept(map, false);
                unlock_kept();
                if (failure == 0)
                        failure = rc;
                map = next;
        }
        return failure;
}

/* Where others fill the room that was made, or it cannot be made, this one is not kept. */
bool recycle_keep(struct ammap *map)
{
        uint64_t bytes = weight(map);
        bool keeps = false;

        for (unsigned i = 0; i < TRIES && bytes <= AMMAP_RECYCLE_MAX && !keeps; i++) {
                struct ammap *gone = NULL;

                lock_kept();
                keeps = kept_bytes + leaving_bytes + bytes <= AMMAP_RECYCLE_MAX;
                if (keeps)
                        link_kept(map, true);
                else
                        gone = shrink_to(AMMAP_RECYCLE_MAX - bytes);
                unlock_kept();
                if (destroy_all(gone) < 0)
                        break;
        }
        return keeps;
}

int ammap_trim(uint64_t keep)
{
        struct ammap *gone;

        lock_kept();
        gone = shrink_to(keep);
        unlock_kept();
        return destroy_all(gone);
}

void recycle_before_fork(void)
{
        lock_kept();
}

void recycle_after_fork(void)
{
        unlock_kept();
}

/* What another thread was to destroy nobody has here. */
void recycle_forked(void)
{
        pthread_mutex_init(&mutex, NULL);
        leaving_bytes = 0;
}
