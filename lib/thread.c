/* thread.c - which thread holds which lane
 *
 * SPDX-License-Identifier: MIT
 */
#include "thread.h"

#include "os.h"

_Thread_local struct holds *thread_holds;

/* The list of all blocks, newest first.  Pushed to with release, walked with
 * acquire, never cut. */
static _Atomic(struct holds *) all_holds;

static void (*hold_left)(struct hold *hold);
static bool (*thread_ends)(bool last);

/* A thread's end.  Other destructors that run after this one may still release
 * slices: come again, last. */
static void thread_exit(void *value)
{
        struct holds *block = value, *more;
        bool busy = thread_ends(false);

        for (more = block; more; more = more->more)
                for (unsigned i = 0; i < HOLDS; i++)
                        busy = busy || hold_lane(&more->hold[i]);
        if (busy && block && ++block->exits < os_thread_rounds() && os_thread_set(block) == 0)
                return;
        thread_ends(true);

        thread_holds = NULL;
        for (; block; block = more) {
                more = block->more;
                for (unsigned i = 0; i < HOLDS; i++)
                        if (hold_lane(&block->hold[i]))
                                hold_left(&block->hold[i]);
                block->more = NULL;
                block->exits = 0;
                atomic_store_explicit(&block->claimed, false, memory_order_release);
        }
}

int thread_start(void (*left)(struct hold *hold))
{
        hold_left = left;
        return os_thread_key(thread_exit);
}

void thread_at_end(bool (*ends)(bool last))
{
        thread_ends = ends;
}

/* Take a block that an ended thread left. */
static struct holds *claim_old(void)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);

        for (; block; block = block->next)
                if (!atomic_load_explicit(&block->claimed, memory_order_relaxed) &&
                    !atomic_exchange_explicit(&block->claimed, true, memory_order_acquire))
                        return block;
        return NULL;
}

/* Put a page of new blocks on the list and take the first. */
static int claim_new(struct holds **block)
{
        size_t size = os_page_size(), count = size / sizeof **block;
        struct holds *blocks, *first;
        void *page = NULL;
        int rc = os_map(&page, size);

        if (rc < 0)
                return rc;
        blocks = page;
        for (size_t i = 0; i + 1 < count; i++)
                blocks[i].next = &blocks[i + 1];
        atomic_store_explicit(&blocks[0].claimed, true, memory_order_relaxed);
        first = atomic_load_explicit(&all_holds, memory_order_relaxed);
        do
                blocks[count - 1].next = first;
        while (!atomic_compare_exchange_weak_explicit(&all_holds, &first, blocks, memory_order_release,
                                                      memory_order_relaxed));
        *block = blocks;
        return 0;
}

int thread_room(struct hold **hold)
{
        struct holds **link = &thread_holds;
        struct holds *new;
        int rc;

        for (; *link; link = &(*link)->more)
                if ((*hold = holds_free(*link)))
                        return 0;

        os_fork_check();
        new = claim_old();
        if (!new && (rc = claim_new(&new)) < 0)
                return rc;
        if (!thread_holds && (rc = os_thread_set(new)) < 0) {
                atomic_store_explicit(&new->claimed, false, memory_order_release);
                return rc;
        }
        *link = new;
        *hold = &new->hold[0];
        return 0;
}

/* Whether a lane is one of those. */
static bool is_among(const struct lane *lane, const struct lane *first, const struct lane *end)
{
        return (uintptr_t)lane >= (uintptr_t)first && (uintptr_t)lane < (uintptr_t)end;
}

struct hold *thread_hold_next(const struct lane *first, const struct lane *end, const struct hold *after)
{
        struct holds *block = after ? hold_block(after) : thread_holds;
        struct hold *hold = after ? &block->hold[after - block->hold + 1] : block ? block->hold : NULL;

        for (; block; block = block->more, hold = block ? block->hold : NULL)
                for (; hold < block->hold + HOLDS; hold++)
                        if (is_among(hold_lane(hold), first, end))
                                return hold;
        return NULL;
}

bool thread_owns(const struct holds *block)
{
        const struct holds *mine = thread_holds;

        while (mine && mine != block)
                mine = mine->more;
        return mine;
}

bool thread_any_names(const struct lane *lane)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (atomic_load_explicit(&block->hold[i].lane, memory_order_acquire) == lane)
                                return true;
        return false;
}

bool thread_any_writes(const struct lane *lane)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (atomic_load_explicit(&block->hold[i].lane, memory_order_acquire) == lane &&
                            (atomic_load_explicit(&block->hold[i].use, memory_order_relaxed) & HOLD_KIND) == HOLD_WRITE)
                                return true;
        return false;
}

/* What a hold that may be another thread's tells; false where it is of none of
 * those lanes.  The lane is looked at twice: what stands between belongs to it.
 * A hold that has been let go, and taken again, in between may show its new reach
 * with its old lane: so whichever of the three tells of the new one is acquired,
 * and what the old one served to read has been read. */
static bool look(const struct hold *hold, const struct lane *first, const struct lane *end, uint64_t *reach,
                 uint64_t *slices)
{
        struct lane *lane = atomic_load_explicit(&hold->lane, memory_order_acquire);

        if (!is_among(lane, first, end))
                return false;
        *reach = atomic_load_explicit(&hold->reach, memory_order_acquire);
        *slices = atomic_load_explicit(&hold->use, memory_order_acquire) & UINT32_MAX;
        return atomic_load_explicit(&hold->lane, memory_order_acquire) == lane;
}

enum reach thread_reach(const struct lane *first, const struct lane *end, uint64_t offset)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);
        enum reach found = REACH_NONE;
        uint64_t reach, slices;

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (look(&block->hold[i], first, end, &reach, &slices) && reach > offset) {
                                if (slices > 0)
                                        return REACH_SLICE;
                                found = REACH_COPY;
                        }
        return found;
}

uint64_t thread_slices(const struct lane *first, const struct lane *end)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);
        uint64_t reach, slices, count = 0;

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (look(&block->hold[i], first, end, &reach, &slices))
                                count += slices;
        return count;
}

void thread_forked(void)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_relaxed);

        for (; block; block = block->next) {
                if (thread_owns(block))
                        continue;
                for (unsigned i = 0; i < HOLDS; i++)
                        atomic_store_explicit(&block->hold[i].lane, NULL, memory_order_relaxed);
                block->exits = 0;
                block->more = NULL;
                atomic_store_explicit(&block->claimed, false, memory_order_release);
        }
}
