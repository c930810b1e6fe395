/* thread.c - which thread holds which lane
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/thread.h"

#include "os/os.h"

#include <errno.h>
#include <stdlib.h>

/* What a thread has before it has a block. */
#define TAKEN                                                                                                          \
        {                                                                                                              \
                .lane = (struct lane *)(void *)&no_holds                                                               \
        }
static struct holds no_holds = { .hold = { TAKEN, TAKEN, TAKEN, TAKEN, TAKEN, TAKEN, TAKEN } };
_Static_assert(HOLDS == 7, "all of them are taken");

_Thread_local struct holds *thread_holds = &no_holds;

/* The list of all blocks, newest first.  Pushed to with release, walked with
 * acquire, never cut. */
static _Atomic(struct holds *) all_holds;

static void (*hold_left)(struct hold *hold);
static bool (*thread_ends)(bool last);

/* The list of all owners, of the same kind. */
static _Atomic(struct owner *) all_owners;

/* The process, as far as it has holds that are no thread's: all of them are in blocks of
 * his.  Nobody has locked his life, and he is not on the list.  Guard of what is the
 * owner's alone: detaching.  A hold is let go without it.  While a slice is detached, its holds
 * stand twice; who counts slices, or looks how far they reach, has the mutex, too. */
static struct owner process = { .life = PTHREAD_MUTEX_INITIALIZER };
static struct holds *process_holds;
static pthread_mutex_t detaching = PTHREAD_MUTEX_INITIALIZER; /* a leaf */

/* Of blocks that a forked child has of threads that are not in it, and that had something: slices that they left in its
 * memory point there, and are released there.  So nobody takes them again. */
static struct owner gone;

/* Whose the current block is, or NULL. */
static struct owner *self(void)
{
        return atomic_load_explicit(&thread_holds->owner, memory_order_relaxed);
}

static bool holds_any(const struct holds *block)
{
        for (unsigned i = 0; i < HOLDS; i++)
                if (hold_lane(&block->hold[i]))
                        return true;
        return false;
}

static void give_back(struct holds *block)
{
        block->more = NULL;
        block->roomy = NULL;
        atomic_store_explicit(&block->owner, NULL, memory_order_release);
}

/* Also where it is locked, by a thread that a fork has left behind. */
static void new_life(struct owner *owner)
{
        pthread_mutexattr_t robust;

        pthread_mutexattr_init(&robust);
        pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&owner->life, &robust);
        pthread_mutexattr_destroy(&robust);
}

/* Nobody else has it for more than a look.  (So it is no lock that others wait for
 * under those that the caller has.) */
static void begin_life(struct owner *owner)
{
        while (pthread_mutex_trylock(&owner->life) == EBUSY)
                os_pause();
        atomic_fetch_add(&owner->number, 1);
        atomic_store_explicit(&owner->thread, os_thread(), memory_order_release); /* with thread_id */
}

/* By who has locked its life. */
static void give_back_owner(struct owner *owner)
{
        owner->first = owner->last = owner->roomy = NULL;
        owner->pages = 0;
        owner->exits = 0;
        pthread_mutex_unlock(&owner->life);
        atomic_store_explicit(&owner->claimed, false, memory_order_release);
}

/* No block is given back before all holds are left: the current one tells whose the others are that get room, and
 * once it is given back it is another thread's. */
static void leave_all(struct owner *owner)
{
        struct holds *block, *more;

        for (block = owner->first; block; block = block->more)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (hold_lane(&block->hold[i]))
                                hold_left(&block->hold[i]);
        for (block = owner->first; block; block = more) {
                more = block->more;
                give_back(block);
        }
}

/* A thread's end.  Other destructors that run after this one may still release
 * slices: come again, last. */
static void thread_exit(void *value)
{
        struct owner *owner = value;
        const struct holds *block;
        bool busy = thread_ends(false);

        for (block = owner->first; block && !busy; block = block->more)
                busy = holds_any(block);
        if (busy && ++owner->exits < os_thread_rounds() && os_thread_set(owner) == 0)
                return;
        thread_ends(true);
        leave_all(owner);
        thread_holds = &no_holds;
        give_back_owner(owner);
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

/* Take what an ended thread left, or else something new. */
static int claim_owner(struct owner **claimed)
{
        struct owner *owner = atomic_load_explicit(&all_owners, memory_order_acquire);

        for (; owner; owner = owner->next)
                if (!atomic_load_explicit(&owner->claimed, memory_order_relaxed) &&
                    !atomic_exchange_explicit(&owner->claimed, true, memory_order_acquire)) {
                        begin_life(owner);
                        *claimed = owner;
                        return 0;
                }
        owner = calloc(1, sizeof *owner);
        if (!owner)
                return -ENOMEM;
        atomic_init(&owner->claimed, true);
        new_life(owner);
        begin_life(owner);
        owner->next = atomic_load_explicit(&all_owners, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&all_owners, &owner->next, owner, memory_order_release,
                                                      memory_order_relaxed))
                ;
        *claimed = owner;
        return 0;
}

/* From where the owner has come to: all that he takes costs him one walk. */
static struct holds *claim_old(struct owner *owner)
{
        while (owner->unseen != owner->seen) {
                struct holds *block = owner->unseen;
                struct owner *nobody = NULL;

                owner->unseen = block->next;
                if (!atomic_load_explicit(&block->owner, memory_order_relaxed) &&
                    atomic_compare_exchange_strong_explicit(&block->owner, &nobody, owner, memory_order_acquire,
                                                            memory_order_relaxed))
                        return block;
        }
        return NULL;
}

/* Put a page of new blocks on the list, or more for one who has many, and take the
 * first. */
static int claim_new(struct owner *owner, struct holds **block)
{
        enum { PAGES_MAX = 64 };
        size_t pages = owner->pages == 0 ? 1 : owner->pages < PAGES_MAX ? 2 * (size_t)owner->pages : PAGES_MAX;
        size_t size = pages * os_page_size(), count = size / sizeof **block;
        struct holds *blocks, *first;
        void *page = NULL;
        int rc = os_map(&page, size);

        if (rc < 0)
                return rc;
        blocks = page;
        for (size_t i = 0; i + 1 < count; i++)
                blocks[i].next = &blocks[i + 1];
        atomic_store_explicit(&blocks[0].owner, owner, memory_order_relaxed);
        first = atomic_load_explicit(&all_holds, memory_order_relaxed);
        do
                blocks[count - 1].next = first;
        while (!atomic_compare_exchange_weak_explicit(&all_holds, &first, blocks, memory_order_release,
                                                      memory_order_relaxed));
        owner->pages = (unsigned)pages;
        owner->unseen = blocks[0].next;
        owner->seen = first;
        *block = blocks;
        return 0;
}

static int add_block(struct owner *owner, struct holds **current)
{
        struct holds *block = claim_old(owner);
        int rc;

        if (!block && (rc = claim_new(owner, &block)) < 0)
                return rc;
        if (owner->last)
                owner->last->more = block;
        else
                owner->first = block;
        owner->last = block;
        *current = block;
        return 0;
}

static int begin(void)
{
        struct owner *owner;
        int rc = claim_owner(&owner);

        if (rc < 0)
                return rc;
        owner->unseen = atomic_load_explicit(&all_holds, memory_order_acquire);
        owner->seen = NULL;
        if ((rc = os_thread_set(owner)) < 0) {
                give_back_owner(owner);
        } else if ((rc = add_block(owner, &thread_holds)) < 0) {
                os_thread_set(NULL);
                give_back_owner(owner);
        }
        return rc;
}

/* To a block with room. */
static int move_on(struct owner *owner, struct holds **current)
{
        struct holds *block = owner->roomy;

        if (!block)
                return add_block(owner, current);
        owner->roomy = block->roomy == block ? NULL : block->roomy;
        block->roomy = NULL;
        *current = block;
        return 0;
}

int thread_room(struct hold **hold)
{
        struct owner *owner;
        int rc;

        if (holds_free(thread_holds, hold))
                return 0;

        os_fork_check();
        owner = self();
        rc = owner ? move_on(owner, &thread_holds) : begin();
        if (rc == 0)
                holds_free(thread_holds, hold);
        return rc;
}

static void note_room(struct owner *owner, struct holds *block)
{
        if (block->roomy)
                return;
        block->roomy = owner->roomy ? owner->roomy : block;
        owner->roomy = block;
}

static void process_has_room(struct holds *block)
{
        if (block != process_holds)
                note_room(&process, block);
}

void thread_has_room(struct holds *block)
{
        struct owner *owner = atomic_load_explicit(&block->owner, memory_order_relaxed);

        if (owner == &process) {
                pthread_mutex_lock(&detaching);
                process_has_room(block);
                pthread_mutex_unlock(&detaching);
        } else if ((owner = self())) {
                note_room(owner, block);
        }
}

void thread_begin_detach(void)
{
        os_fork_check();
        pthread_mutex_lock(&detaching);
}

void thread_end_detach(void)
{
        pthread_mutex_unlock(&detaching);
}

/* A block that is said to have room may have been filled since, as the current one. */
static int process_room(struct hold **hold)
{
        int rc = 0;

        if (!process.first) {
                process.unseen = atomic_load_explicit(&all_holds, memory_order_acquire);
                process.seen = NULL;
        }
        while (!process_holds || !holds_free(process_holds, hold))
                if ((rc = move_on(&process, &process_holds)) < 0)
                        break;
        return rc;
}

/* The acquire pairs with the release of whoever let the hold go: he has read rest. */
int thread_detach(const struct hold *hold, uint64_t kind, struct hold **detached)
{
        uint64_t use = atomic_load_explicit(&hold->use, memory_order_relaxed);
        int rc = process_room(detached);

        if (rc < 0)
                return rc;
        (void)atomic_load_explicit(&(*detached)->lane, memory_order_acquire);
        hold_note(*detached, hold_lane(hold), (use & ~HOLD_KIND) | kind,
                  atomic_load_explicit(&hold->reach, memory_order_relaxed));
        (*detached)->rest = NULL;
        return 0;
}

void thread_reattach(struct hold *detached)
{
        atomic_store_explicit(&detached->lane, NULL, memory_order_release);
        process_has_room(hold_block(detached));
}

bool thread_is_detached(const struct hold *hold)
{
        return atomic_load_explicit(&hold_block(hold)->owner, memory_order_relaxed) == &process && hold_lane(hold);
}

/* Whether a lane is one of those. */
static bool is_among(const struct lane *lane, const struct lane *first, const struct lane *end)
{
        return (uintptr_t)lane >= (uintptr_t)first && (uintptr_t)lane < (uintptr_t)end;
}

struct hold *thread_hold_any(const struct hold *after)
{
        const struct owner *owner = self();
        struct holds *block = after ? hold_block(after) : owner ? owner->first : NULL;
        struct hold *hold = after ? &block->hold[after - block->hold + 1] : block ? block->hold : NULL;

        for (; block; block = block->more, hold = block ? block->hold : NULL)
                for (; hold < block->hold + HOLDS; hold++)
                        if (hold_lane(hold))
                                return hold;
        return NULL;
}

struct hold *thread_hold_next(const struct lane *first, const struct lane *end, const struct hold *after)
{
        struct hold *hold = thread_hold_any(after);

        while (hold && !is_among(hold_lane(hold), first, end))
                hold = thread_hold_any(hold);
        return hold;
}

bool thread_owns(struct holds *block)
{
        return self() && atomic_load_explicit(&block->owner, memory_order_relaxed) == self();
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

void thread_strike_named(const struct lane *first, size_t count, size_t size, uint64_t *words)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++) {
                        const struct lane *lane = atomic_load_explicit(&block->hold[i].lane, memory_order_acquire);
                        size_t at = ((uintptr_t)lane - (uintptr_t)first) / size;

                        if (lane && at < count)
                                words[at] = 0;
                }
}

/* What a hold that may be another thread's tells; false where it is of none of
 * those lanes.  The lane is looked at twice: what stands between belongs to it.
 * A hold that has been let go, and taken again, in between may show what it is used
 * for now, or its new reach, with its old lane.  So both are stored by a release
 * (hold_note) and read by an acquire: who has seen either sees the old lane no more
 * at the second look, and what the old one served to read has been read. */
static bool look(const struct hold *hold, const struct lane *first, const struct lane *end, uint64_t *reach,
                 uint64_t *use)
{
        struct lane *lane = atomic_load_explicit(&hold->lane, memory_order_acquire);

        if (!is_among(lane, first, end))
                return false;
        *reach = atomic_load_explicit(&hold->reach, memory_order_acquire);
        *use = atomic_load_explicit(&hold->use, memory_order_acquire);
        return atomic_load_explicit(&hold->lane, memory_order_acquire) == lane;
}

bool thread_any_writes(const struct lane *lane)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);
        const struct lane *end = (const struct lane *)((uintptr_t)lane + 1);
        uint64_t reach, use;

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (look(&block->hold[i], lane, end, &reach, &use) && (use & HOLD_KIND) == HOLD_WRITE)
                                return true;
        return false;
}

static uint32_t id_of(const struct owner *owner)
{
        return owner ? atomic_load_explicit(&owner->thread, memory_order_acquire) : 0;
}

uint32_t hold_thread(const struct hold *hold)
{
        return id_of(atomic_load_explicit(&hold_block(hold)->owner, memory_order_acquire));
}

/* The owner is looked at twice, as the lane is in look: what stands between is his. */
void thread_each(const struct lane *first, const struct lane *end, thread_found *found, void *context)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);
        uint64_t reach, use;

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++) {
                        const struct owner *owner = atomic_load_explicit(&block->owner, memory_order_acquire);
                        struct lane *lane = atomic_load_explicit(&block->hold[i].lane, memory_order_acquire);
                        const struct lane *next = (const struct lane *)((uintptr_t)lane + 1);

                        if (is_among(lane, first, end) && look(&block->hold[i], lane, next, &reach, &use) &&
                            atomic_load_explicit(&block->owner, memory_order_acquire) == owner)
                                found(lane, use, id_of(owner), context);
                }
}

enum reach thread_reach(const struct lane *first, const struct lane *end, uint64_t offset)
{
        enum reach found = REACH_NONE;
        struct holds *block;
        uint64_t reach, use;

        pthread_mutex_lock(&detaching);
        block = atomic_load_explicit(&all_holds, memory_order_acquire);
        for (; block && found != REACH_SLICE; block = block->next)
                for (unsigned i = 0; i < HOLDS && found != REACH_SLICE; i++)
                        if (look(&block->hold[i], first, end, &reach, &use) && reach > offset)
                                found = (use & HOLD_SLICE) != 0 ? REACH_SLICE : REACH_COPY;
        pthread_mutex_unlock(&detaching);
        return found;
}

uint64_t thread_slices(const struct lane *first, const struct lane *end)
{
        uint64_t reach, use, count = 0;
        struct holds *block;

        pthread_mutex_lock(&detaching);
        block = atomic_load_explicit(&all_holds, memory_order_acquire);
        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++)
                        if (look(&block->hold[i], first, end, &reach, &use))
                                count += use & HOLD_SLICE;
        pthread_mutex_unlock(&detaching);
        return count;
}

/* Whether its thread has ended without that: then its life is the caller's. */
static bool is_dead(struct owner *owner)
{
        int rc = pthread_mutex_trylock(&owner->life);

        if (rc == EOWNERDEAD)
                pthread_mutex_consistent(&owner->life);
        else if (rc == 0)
                pthread_mutex_unlock(&owner->life);
        return rc == EOWNERDEAD;
}

static void bury(struct owner *owner)
{
        for (struct holds *block = owner->first; block; block = block->more)
                block->roomy = block; /* or it would become one of the caller's that have room */
        leave_all(owner);
        give_back_owner(owner);
}

bool thread_bury(const struct lane *first, const struct lane *end)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_acquire);
        bool found = false;

        for (; block; block = block->next)
                for (unsigned i = 0; i < HOLDS; i++) {
                        struct owner *owner = atomic_load_explicit(&block->owner, memory_order_acquire);

                        if (owner && owner != self() && is_among(hold_lane(&block->hold[i]), first, end) &&
                            is_dead(owner)) {
                                bury(owner);
                                found = true;
                        }
                }
        return found;
}

struct thread_life thread_life(void)
{
        struct owner *owner = self();

        return (struct thread_life){ owner, atomic_load(&owner->number) };
}

uint32_t thread_id(struct thread_life life)
{
        uint32_t thread = id_of(life.owner);

        return thread != 0 && atomic_load(&life.owner->number) == life.number ? thread : 0;
}

bool thread_is_gone(struct thread_life life)
{
        if (atomic_load(&life.owner->number) != life.number)
                return true;
        if (!is_dead(life.owner))
                return false;
        bury(life.owner);
        return true;
}

void thread_forked(void)
{
        struct holds *block = atomic_load_explicit(&all_holds, memory_order_relaxed);
        struct owner *owner = atomic_load_explicit(&all_owners, memory_order_relaxed);

        pthread_mutex_init(&detaching, NULL);
        process.first = process.last = process.roomy = process_holds = NULL;
        process.pages = 0;
        for (; block; block = block->next) {
                /* Or the parent was a child, too. */
                bool kept = holds_any(block) || atomic_load_explicit(&block->owner, memory_order_relaxed) == &gone;

                if (thread_owns(block))
                        continue;
                for (unsigned i = 0; i < HOLDS; i++)
                        atomic_store_explicit(&block->hold[i].lane, NULL, memory_order_relaxed);
                give_back(block);
                if (kept)
                        atomic_store_explicit(&block->owner, &gone, memory_order_relaxed);
        }
        os_robust_forget();
        for (; owner; owner = owner->next) {
                new_life(owner);
                begin_life(owner);
                if (owner != self())
                        give_back_owner(owner);
        }
}
