/* recycle.c - freed maps kept for those to come
 *
 * SPDX-License-Identifier: MIT
 *
 * A map from the kernel costs two calls, and a fault for each page touched.  A map that
 * was freed has its pages already, and to zero them again costs a tenth of that or less.
 * This is a cache of such maps, as an allocator keeps freed blocks: segregated by size,
 * the last one freed taken first (its pages may still be in the processor's cache), the
 * largest that was kept longest given up first.
 *
 * What it guarantees
 *
 *   G1  What is taken was freed by its last user, and nobody else has it: its taker zeroes it.
 *   G2  All that is kept, and all that is on its way to be destroyed, weighs
 *       AMMAP_RECYCLE_MAX at most.
 *   G3  No call waits for another's unmapping or zeroing, and no fork does.
 *
 * The states of a map, and who may touch it
 *
 *      used      its owner                  recycle_keep: kept
 *      kept      this file, under mutex     recycle_take: used; shrink_to: leaving
 *      leaving   who took it off the list   destroyed; or kept again, where the system refuses
 *
 * Invariants, all under the mutex
 *
 *   I1  A kept map stands in the list of its class, the logarithm of its weight, the newest
 *       first; and in no other list.
 *   I2  kept_bytes is the weight of all kept maps, leaving_bytes of all that leave.
 *   I3  kept_bytes + leaving_bytes <= AMMAP_RECYCLE_MAX.  The system may refuse to take a
 *       map back (it has too many mappings to split one).  The map is kept again then, and
 *       so must not have lost its room to another: it is counted as long as it leaves.
 *
 * There are no atomics here; the mutex orders all.  It is held to link and unlink alone,
 * and a walk looks at LOOKS maps at most.
 *
 * Progress: recycle_keep tries TRIES times to make room.  Where others fill the room that
 * it made, or a map cannot be destroyed, it gives up: its map is not kept.
 *
 * Forks: the handlers hold the mutex across a fork, so that the child finds the lists
 * whole.  What another thread was about to destroy is nobody's in the child: that memory
 * stays, and no longer counts (leaving_bytes = 0).  Kept maps stay on the list of all maps,
 * and are the child's as well.
 *
 * Reference: J. Bonwick, "The Slab Allocator", 1994 (caching of constructed objects).
 */
#include "memory/recycle.h"

#include "ammap.h"
#include "os/mutex.h"
#include "os/os.h"

#include <string.h>

enum { CLASSES = 64, LOOKS = 8, TRIES = 4 };

/* Guards the lists and the sums. */
static struct mutex mutex;
static struct {
        struct kept *newest, *oldest;
} list[CLASSES];
static uint64_t kept_bytes, leaving_bytes;

static unsigned class_of(uint64_t bytes)
{
        return 63 - (unsigned)__builtin_clzll(bytes);
}

/* Onto its list, as the newest or as the oldest. */
static void link_kept(struct kept *kept, bool newest)
{
        unsigned class = class_of(kept->weight);
        struct kept **end = newest ? &list[class].newest : &list[class].oldest, *beside = *end;

        kept->newer = newest ? NULL : beside;
        kept->older = newest ? beside : NULL;
        if (!beside)
                list[class].newest = list[class].oldest = kept;
        else if (newest)
                beside->newer = kept;
        else
                beside->older = kept;
        *end = kept;
        kept_bytes += kept->weight;
}

static void unlink_kept(struct kept *kept)
{
        unsigned class = class_of(kept->weight);

        *(kept->newer ? &kept->newer->older : &list[class].newest) = kept->older;
        *(kept->older ? &kept->older->newer : &list[class].oldest) = kept->newer;
        kept_bytes -= kept->weight;
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
void recycle_zero(unsigned char *bytes, size_t length)
{
        size_t page = os_page_size(), pages = length / page, first = 0;
        unsigned char there[ASK];
        bool resident = false;

        if (length <= SMALL) {
                memset(bytes, 0, length);
                return;
        }
        for (size_t i = 0; i < pages; i++) {
                size_t count = pages - i < ASK ? pages - i : ASK;

                if (i % ASK == 0 && os_resident(bytes + i * page, count * page, there) < 0)
                        memset(there, 1, sizeof there);
                if ((there[i % ASK] & 1) == resident)
                        continue;
                zero_run(bytes + first * page, (i - first) * page, resident);
                resident = !resident;
                first = i;
        }
        zero_run(bytes + first * page, (pages - first) * page, resident);
}

/* --- Keeping --- */

static void lock_kept(void)
{
        os_fork_check();
        mutex_lock(&mutex);
}

static void unlock_kept(void)
{
        mutex_unlock(&mutex);
}

struct kept *recycle_take(size_t mapped, uint64_t weight)
{
        struct kept *kept;

        lock_kept();
        kept = list[class_of(weight)].newest;
        for (unsigned looks = 0; kept && (kept->mapped != mapped || kept->weight != weight); looks++)
                kept = looks < LOOKS ? kept->older : NULL;
        if (kept)
                unlink_kept(kept);
        unlock_kept();
        return kept;
}

/* Take maps off the lists, the largest and longest kept first, until at most keep
 * bytes are left: in a list by older, to be destroyed.  Under the mutex. */
static struct kept *shrink_to(uint64_t keep)
{
        struct kept *gone = NULL;

        /* By I2 some class has them; not so in a child of a fork without handlers, in the midst of a link. */
        for (unsigned i = CLASSES; i-- > 0 && kept_bytes > keep;) /* LCOV_EXCL_BR_LINE: see above */
                while (list[i].oldest && kept_bytes > keep) {
                        struct kept *kept = list[i].oldest;

                        unlink_kept(kept);
                        leaving_bytes += kept->weight;
                        kept->older = gone;
                        gone = kept;
                }
        return gone;
}

/* Destroy those of a list; 0, or the first code, and those that could not be are
 * kept again, to be the next to go. */
static int destroy_all(struct kept *kept, recycle_destroy *destroy)
{
        int failure = 0;

        while (kept) {
                struct kept *next = kept->older;
                uint64_t weight = kept->weight;
                int rc = destroy(kept);

                lock_kept();
                leaving_bytes -= weight;
                if (rc < 0)
                        link_kept(kept, false);
                unlock_kept();
                if (failure == 0)
                        failure = rc;
                kept = next;
        }
        return failure;
}

bool recycle_keep(struct kept *kept, recycle_destroy *destroy)
{
        uint64_t weight = kept->weight;
        bool keeps = false;

        for (unsigned i = 0; i < TRIES && weight <= AMMAP_RECYCLE_MAX && !keeps; i++) {
                struct kept *gone = NULL;

                lock_kept();
                keeps = kept_bytes + leaving_bytes + weight <= AMMAP_RECYCLE_MAX;
                if (keeps)
                        link_kept(kept, true);
                else
                        gone = shrink_to(AMMAP_RECYCLE_MAX - weight);
                unlock_kept();
                if (gone && destroy_all(gone, destroy) < 0)
                        break;
        }
        return keeps;
}

int recycle_shrink(uint64_t keep, recycle_destroy *destroy)
{
        struct kept *gone;

        lock_kept();
        gone = shrink_to(keep);
        unlock_kept();
        return destroy_all(gone, destroy);
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
        mutex_init(&mutex);
        leaving_bytes = 0;
}
