/* slot.c - a thread's place in the header of a shared map, and a process's handle on it
 *
 * SPDX-License-Identifier: MIT
 *
 * A registry of threads whose members can be asked, from any process, whether they live.
 * It rests on the kernel's robust futexes: when a thread is gone, at whatever instruction
 * it was, the kernel marks the lock word of each of its slots (os.h).
 *
 * A slot may be a process's, for the slices that are no thread's any more.  Its lock word
 * has a number that no thread has, and the process has locked the first byte of the lock
 * word in the file.  The kernel unlocks it when the last thread is gone.
 *
 * What it guarantees
 *
 *   G1  An owner id (slot and generation) stands for one thread, and is never given twice.
 *   G2  While a thread lives, all processes find its slots alive, and nobody takes them.
 *   G3  Soon after its end all processes find them dead; but for one by which nothing is held,
 *       of a process that was killed as another thread freed the map, or of a thread that
 *       called exec.  That is found when all places are taken.
 *   G4  What this process holds it knows from its own records, whatever the header says.
 *
 * The states of a slot
 *
 *      word                   record                       means
 *      0, or marked dead      anything                     free: the record means nothing
 *      a living thread        another thread, or cleared   being taken: not alive yet
 *      a living thread        that thread, generation n    alive, its owner id by n
 *      a process's number     that number, generation n    the same, while the byte is locked
 *      a process's number     anything, byte unlocked      the process is gone: whoever sees
 *                                                          so makes the word 0
 *
 *      taking      word, then the record cleared, generation + 1, process, thread
 *      leaving     the record cleared, then the word
 *      leaving, by who frees the map     the word: the record is clear
 *      taking, by a process     the byte, the word, then the record as above
 *      leaving, by a process    the record cleared, the word, then the byte
 *
 * Invariants
 *
 *   I1  The record is changed by the thread that has the word, and by none after its death:
 *       whoever takes the slot next clears it before it has an owner id.
 *   I2  The generation changes before record and word agree on the thread.  So an owner id
 *       that a dead thread left does not pass for that of the thread that has the slot now.
 *   I3  A process's number is another one each time: who makes the word 0 for a process that
 *       is gone makes no other's 0.
 *   I4  A struct slot is never freed: a slice may be released twice.
 *
 * A map may be freed while other threads of the process have slots of it.  By these nothing
 * is held.  So the one who frees it returns their places in the header, which else would keep
 * the memory of the whole map, or the file in use.  They keep a page each, until they come by
 * here: the kernel's list of a thread's places leads through it.
 *
 * Whether a thread of this process has ended with slices, for ammap_free, is not asked of
 * the header: each thread has a robust mutex of its own for that (thread_is_gone).
 */
#include "lock/slot.h"

#include "ammap.h"
#include "lock/thread.h"
#include "lock/waiter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        MINE_MAX = 1024,               /* of one thread: the kernel goes through 2,048 of its places when it ends */
        RAISE_MAX = 10 * FORMAT_SLOTS, /* tries, each of which someone else has raised it; or lowered */
        FREEZE_NAP = 50000,            /* ns */
};

/* No map has its name. */
static struct slot no_slot;

#define NO_SLOTS                                                                                                       \
        {                                                                                                              \
                &no_slot, &no_slot, &no_slot, &no_slot, &no_slot, &no_slot, &no_slot, &no_slot                         \
        }
_Static_assert(RECENT == 8, "none of them is NULL");
_Thread_local struct my_slots my_slots = { .recent = NO_SLOTS };

/* A leaf. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shared *all_shared;
static struct slot *unused; /* slots are never freed: a slice may be released twice */

/* All that there are: a list that only grows, so that a child of fork() finds them, whoever held the mutex. */
static struct slot *_Atomic every;

/* --- Who lives --- */

static bool is_process(uint32_t word)
{
        return os_slot_taken(word) && (word & FORMAT_WORD_PROCESS);
}

/* A process's own has no thread. */
struct slot_owner slot_owner_of(const struct format_slot *record)
{
        uint32_t thread = atomic_load(&record->thread);

        return (struct slot_owner){ atomic_load(&record->process), is_process(thread) ? 0 : thread };
}

/* Whoever takes the slot changes the generation first. */
bool slot_tells(const struct shared *shared, uint64_t owner_id, struct slot_owner *owner)
{
        const uint64_t generation = owner_id >> (2 + OWNER_INDEX_BITS);
        const uint32_t index = slot_index(owner_id);
        const struct format_slot *record = &shared->record[index];

        if (index >= shared->slots || (atomic_load(&record->generation) & OWNER_GENERATIONS) != generation)
                return false;
        *owner = slot_owner_of(record);
        return (atomic_load(&record->generation) & OWNER_GENERATIONS) == generation;
}

void slot_note_dead(const struct shared *shared, uint32_t index, uint32_t first, uint32_t end)
{
        for (struct format_lane *lane = &shared->lane[first]; lane < &shared->lane[end]; lane++) {
                uint64_t owner_id = atomic_load(&lane->owner) & OWNER_ID;
                struct slot_owner owner;

                if (slot_index(owner_id) == index && (atomic_load(&lane->sequence) & 1) &&
                    slot_tells(shared, owner_id, &owner)) {
                        atomic_store(&lane->dead_process, owner.process);
                        atomic_store(&lane->dead_thread, owner.thread);
                }
        }
}

/* Which byte of the file the process locks. */
static uint64_t life_offset(const struct shared *shared, uint32_t index)
{
        return (uint64_t)((uintptr_t)slot_word(shared, index) - (uintptr_t)shared->head);
}

/* Whether the process is gone that has a slot.  Where the program has closed the descriptor,
 * and others may have its number, nobody knows. */
static bool is_process_gone(const struct shared *shared, uint32_t index)
{
        return os_lock_byte(shared->fd, life_offset(shared, index), OS_LOOK_READ) == 0 &&
               os_is_file(shared->fd, shared->device, shared->inode) > 0;
}

/* A thread that called exec, and was not the first of its process, has changed its ID before the
 * kernel looked for what it had.  And one whose place was being returned is not looked for. */
static bool is_gone(const struct shared *shared, uint32_t index)
{
        const struct format_slot *record = &shared->record[index];
        uint32_t word = atomic_load(slot_word(shared, index));
        uint32_t thread = atomic_load(&record->thread);

        if (is_process(word) ? !is_process_gone(shared, index)
                             : !shared->ids_count || !os_slot_taken(word) || (word & FORMAT_WORD_THREAD) != thread ||
                                       !os_thread_gone(atomic_load(&record->process), thread))
                return false;
        if (shared->writable) {
                slot_note_dead(shared, index, 0, shared->lanes);
                atomic_compare_exchange_strong(slot_word(shared, index), &word, 0);
        }
        return true;
}

bool slot_run_is_over(const struct format_head *head)
{
        unsigned char boot[sizeof head->boot];

        os_boot(boot);
        return memcmp(boot, head->boot, sizeof boot) != 0;
}

/* Until one who may write has opened it.  The name is changed underneath, so it is read
 * through the kernel. */
static bool is_of_old_run(const struct shared *shared)
{
        struct format_head head;

        return os_read_at(shared->fd, 0, &head, sizeof head) < 0 || slot_run_is_over(&head);
}

bool slot_lives(const struct shared *shared, uint32_t index, bool thorough)
{
        uint32_t word = atomic_load(slot_word(shared, index));

        if (unlikely(shared->old_run) && is_of_old_run(shared))
                return false;
        return os_slot_taken(word) && (word & FORMAT_WORD_THREAD) == atomic_load(&shared->record[index].thread) &&
               !((thorough || is_process(word)) && is_gone(shared, index));
}

bool slot_lives_by_id(const struct shared *shared, uint64_t owner_id, bool thorough)
{
        uint32_t index = slot_index(owner_id);

        return index < shared->slots && slot_lives(shared, index, thorough) &&
               (atomic_load(&shared->record[index].generation) & OWNER_GENERATIONS) ==
                       owner_id >> (2 + OWNER_INDEX_BITS);
}

uint32_t slots_taken(const struct shared *shared)
{
        const uint32_t used = slots_used(shared);
        uint32_t taken = 0;

        for (uint32_t index = 0; index < used; index++)
                taken += os_slot_taken(atomic_load(slot_word(shared, index)));
        return taken;
}

struct slot *slot_mine_at(const struct shared *shared, uint32_t index)
{
        struct slot *slot = my_slots.all;

        while (slot && !(slot->index == index && slot->place.view && os_slot_has(&slot->place) &&
                         slot->device == shared->device && slot->inode == shared->inode))
                slot = slot->next;
        return slot;
}

struct slot *slot_mine_by_id(const struct shared *shared, uint64_t owner_id)
{
        struct slot *slot = slot_mine_at(shared, slot_index(owner_id));

        return slot && slot->owner_id == owner_id ? slot : NULL;
}

/* --- What a thread knows of its slot --- */

static struct slot *alloc_slot(void)
{
        struct slot *slot;

        pthread_mutex_lock(&mutex);
        slot = unused;
        if (slot)
                unused = slot->next;
        pthread_mutex_unlock(&mutex);
        if (slot || !(slot = aligned_alloc(_Alignof(struct slot), sizeof *slot)))
                return slot;
        memset(slot, 0, sizeof *slot);
        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                slot->read[i].slot = slot;
        slot->made_before = atomic_load(&every);
        while (!atomic_compare_exchange_weak(&every, &slot->made_before, slot)) {
        }
        return slot;
}

static void recycle_slot(struct slot *slot)
{
        pthread_mutex_lock(&mutex);
        slot->next = unused;
        unused = slot;
        pthread_mutex_unlock(&mutex);
}

struct shared_hold *slot_more_holds(struct slot *slot)
{
        struct shared_hold *hold = malloc(sizeof *hold);

        if (!hold)
                return NULL;
        memset(hold, 0, sizeof *hold);
        hold->slot = slot;
        hold->next = atomic_load_explicit(&slot->write, memory_order_relaxed);
        atomic_store_explicit(&slot->write, hold, memory_order_release);
        return hold;
}

/* Those that write first: what becomes a reader meanwhile is found as one of both
 * (shared_downgrade). */
bool slot_holds_any(const struct slot *slot)
{
        const struct shared_hold *hold = atomic_load(&slot->write);

        while (hold && !atomic_load(&hold->refs))
                hold = hold->next;
        for (unsigned i = 0; i < FORMAT_PLACES && !hold; i++)
                if (atomic_load(&slot->read[i].refs))
                        hold = &slot->read[i];
        return hold;
}

static void forget_holds(struct slot *slot)
{
        struct shared_hold *hold = atomic_load(&slot->write);

        atomic_store(&slot->writing, false);
        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                atomic_store(&slot->read[i].refs, 0);
        slot->unused = NULL;
        for (; hold; hold = hold->next) {
                atomic_store(&hold->refs, 0);
                slot_write_unhold(hold);
        }
}

/* --- Taking one --- */

static void clear_record(struct format_slot *record)
{
        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                atomic_store(&record->read_set[i], 0);
        atomic_store(&record->mut_slices, 0);
}

/* The place is the calling thread's, or the process's by a number: begin its record, and
 * give it its new owner id. */
static void begin_record(struct shared *shared, struct slot *slot, uint32_t index, uint32_t thread)
{
        struct format_slot *record = &shared->record[index];
        uint64_t generation = (atomic_load(&record->generation) + 1) & OWNER_GENERATIONS;
        uint32_t used = atomic_load(&shared->head->slots_used);

        clear_record(record);
        atomic_store(&record->generation, generation);
        atomic_store(&record->process, os_process());
        atomic_store(&record->thread, thread); /* last: as slot_lives looks */
        for (int tries = 0; used <= index && tries < RAISE_MAX; tries++)
                if (atomic_compare_exchange_strong(&shared->head->slots_used, &used, index + 1))
                        break;
        slot->record = record;
        slot->index = index;
        slot->owner_id = generation << (2 + OWNER_INDEX_BITS) | (uint64_t)(index + 1) << 2;
}

/* On a full disk the first store would raise a signal.  A number that is another file's by
 * now gets no room there. */
static int give_room(const struct shared *shared, uint64_t offset, uint64_t length)
{
        int rc;

        if (!shared->in_file || os_is_file(shared->fd, shared->device, shared->inode) <= 0)
                return 0;
        rc = os_allot(shared->fd, offset, length);
        return rc == -ENOSPC || rc == -EDQUOT ? rc : 0;
}

static int take_place(struct shared *shared, struct slot *slot)
{
        for (uint32_t index = 0; index < shared->slots; index++) {
                unsigned char *page = slot_page(shared, index);
                uint64_t offset = (uint64_t)(page - (unsigned char *)shared->head);
                int rc = os_slot_taken(atomic_load(slot_word(shared, index))) ? -EBUSY
                                                                              : give_room(shared, offset, shared->page);

                if (rc == 0)
                        rc = os_slot_claim(page, shared->fd, offset, &slot->place);

                if (rc == OS_SLOT_LEFT)
                        slot_note_dead(shared, index, 0, shared->lanes);
                if (rc >= 0)
                        begin_record(shared, slot, index, os_thread());
                if (rc != -EBUSY)
                        return rc < 0 ? rc : 0;
        }
        return -EBUSY;
}

/* A byte that is locked though the word is free: by one who is about to take it, or who has
 * just left it, or who has no business there. */
static int take_place_for_process(struct shared *shared, struct slot *slot)
{
        for (uint32_t index = 0; index < shared->slots; index++) {
                uint32_t word = atomic_load(slot_word(shared, index));
                int rc;

                if (os_slot_taken(word))
                        continue;
                rc = give_room(shared, life_offset(shared, index), sizeof word);
                if (rc == 0)
                        rc = os_life_begin(shared->fd, life_offset(shared, index), &slot->process_life);
                if (rc == -EBUSY)
                        continue;
                if (rc < 0)
                        return rc;
                slot->word = FORMAT_WORD_PROCESS | ((uint32_t)os_now() & (FORMAT_WORD_PROCESS - 1));
                if (atomic_compare_exchange_strong(slot_word(shared, index), &word, slot->word)) {
                        if (word != 0) /* marked by the kernel */
                                slot_note_dead(shared, index, 0, shared->lanes);
                        begin_record(shared, slot, index, slot->word);
                        return 0;
                }
                os_life_end(slot->process_life);
                slot->process_life = NULL;
        }
        return -EBUSY;
}

/* Where all are taken, the kernel is asked which of their threads are gone. */
static int find_place(struct shared *shared, struct slot *slot, int (*take)(struct shared *shared, struct slot *slot))
{
        bool gone = false;
        int rc = take(shared, slot);

        if (rc != -EBUSY)
                return rc;
        for (uint32_t index = 0; index < shared->slots; index++)
                gone = is_gone(shared, index) || gone; /* and if it is, its place is free */
        if (gone)
                rc = take(shared, slot);
        return rc == -EBUSY ? AMMAP_ERR_LIMIT : rc;
}

static void link_slot(struct shared *shared, struct slot *slot)
{
        pthread_mutex_lock(&mutex);
        slot->shared = shared;
        slot->sibling = shared->mine;
        slot->link = &shared->mine;
        if (shared->mine)
                shared->mine->link = &slot->sibling;
        shared->mine = slot;
        pthread_mutex_unlock(&mutex);
}

/* --- Giving one up --- */

static void unlink_slot(struct slot *slot)
{
        *slot->link = slot->sibling;
        if (slot->sibling)
                slot->sibling->link = slot->link;
        slot->shared = NULL;
}

/* Of another thread.  The record is let be: a thread that lives and holds nothing has cleared its
 * own.  One that ended, without giving the place up, has neither record nor word any more: the
 * kernel has marked that, and somebody else may have both by now. */
static void return_place(struct shared *shared, struct slot *slot)
{
        os_slot_return(&slot->place, slot_page(shared, slot->index), thread_id(slot->life));
}

/* One of the calling thread's, which *link leads to. */
static void give_up(struct slot *slot, struct slot **link)
{
        pthread_mutex_lock(&mutex);
        if (slot->shared) {
                if (slot->place.view && slot_holds_any(slot)) /* its thread ends */
                        slot_note_dead(slot->shared, slot->index, 0, slot->shared->lanes);
                clear_record(slot->record);
                unlink_slot(slot);
        }
        pthread_mutex_unlock(&mutex);
        if (slot->place.view) {
                os_slot_release(&slot->place);
                my_slots.places--;
        }
        slot->place.view = NULL;
        slot->shared_name = 0;
        slot->owner_id = 0;
        atomic_store(&slot->thread, NULL);
        *link = slot->next;
        memcpy(my_slots.recent, (struct slot *[RECENT])NO_SLOTS, sizeof my_slots.recent);
        forget_holds(slot);
        recycle_slot(slot);
}

/* Those whose map has been freed. */
static void sweep(void)
{
        struct slot **link = &my_slots.all;

        while (*link) {
                struct slot *slot = *link;
                bool freed;

                pthread_mutex_lock(&mutex);
                freed = !slot->shared;
                pthread_mutex_unlock(&mutex);
                if (freed)
                        give_up(slot, link);
                else
                        link = &slot->next;
        }
}

/* One place less, of those that the thread has had for longest without need. */
static int spare_one(void)
{
        struct slot **found = NULL;

        for (struct slot **link = &my_slots.all; *link; link = &(*link)->next)
                if ((*link)->place.view && !slot_holds_any(*link))
                        found = link;
        if (!found)
                return AMMAP_ERR_LIMIT;
        give_up(*found, found);
        return 0;
}

static int new_slot(struct shared *shared, struct slot **made)
{
        struct slot *slot;
        int rc = 0;

        sweep();
        if (shared->writable && my_slots.places >= MINE_MAX && (rc = spare_one()) < 0)
                return rc;
        if (!(slot = alloc_slot()))
                return -ENOMEM;
        slot->record = &slot->own;
        slot->index = UINT32_MAX;
        if (shared->writable && (rc = find_place(shared, slot, take_place)) < 0) {
                recycle_slot(slot);
                return rc == -ENOSYS ? AMMAP_ERR_UNSUPPORTED : rc;
        }
        slot->shared_name = shared->name;
        slot->device = shared->device;
        slot->inode = shared->inode;
        slot->life = thread_life();
        atomic_store(&slot->thread, &my_slots);
        slot->next = my_slots.all;
        my_slots.all = slot;
        my_slots.places += slot->place.view != NULL;
        link_slot(shared, slot);
        *made = slot;
        return 0;
}

/* A process that has been refused a description of its own has none. */
static int refuse_life(int rc)
{
        return rc != AMMAP_ERR_LIMIT && (os_absent(rc) || rc == -ENOENT) ? AMMAP_ERR_UNSUPPORTED : rc;
}

int slot_take_for_process(struct shared *shared, bool in_header, struct slot **taken)
{
        struct slot *slot = alloc_slot();
        int rc = 0;

        if (!slot)
                return -ENOMEM;
        slot->record = &slot->own;
        slot->index = UINT32_MAX;
        if (in_header && (rc = os_is_file(shared->fd, shared->device, shared->inode)) == 0)
                rc = AMMAP_ERR_FAULT;
        else if (in_header && rc > 0)
                rc = find_place(shared, slot, take_place_for_process);
        if (rc < 0) {
                recycle_slot(slot);
                return refuse_life(rc);
        }
        slot->shared_name = shared->name;
        slot->device = shared->device;
        slot->inode = shared->inode;
        slot->life = (struct thread_life){ .owner = NULL };
        atomic_store(&slot->thread, slot);
        slot->next = shared->detached;
        shared->detached = slot;
        link_slot(shared, slot);
        *taken = slot;
        return 0;
}

void slot_give_up_for_process(struct shared *shared, struct slot *slot)
{
        struct slot **link = &shared->detached;

        while (*link != slot)
                link = &(*link)->next;
        *link = slot->next;
        pthread_mutex_lock(&mutex);
        clear_record(slot->record);
        unlink_slot(slot);
        pthread_mutex_unlock(&mutex);
        if (slot->process_life) {
                atomic_compare_exchange_strong(slot_word(shared, slot->index), &slot->word, 0);
                os_life_end(slot->process_life);
        }
        slot->process_life = NULL;
        slot->shared_name = 0;
        slot->owner_id = 0;
        atomic_store(&slot->thread, NULL);
        forget_holds(slot);
        recycle_slot(slot);
}

void slots_lock(void)
{
        pthread_mutex_lock(&mutex);
}

void slots_unlock(void)
{
        pthread_mutex_unlock(&mutex);
}

int slot_take(struct shared *shared, struct slot **taken)
{
        struct slot *slot;

        os_fork_check();
        for (slot = my_slots.all; slot && slot->shared_name != shared->name;)
                slot = slot->next;
        if (!slot) {
                struct hold *block; /* with one the thread's end will be told of */
                int rc = thread_room(&block);

                if (rc < 0 || (rc = new_slot(shared, &slot)) < 0)
                        return rc;
        }
        my_slots.recent[shared->recent] = slot;
        *taken = slot;
        return 0;
}

/* --- Handles, threads and processes that come and go --- */

static bool is_same(const struct shared *a, const struct shared *b)
{
        return a->device == b->device && a->inode == b->inode;
}

/* Room may be about to grow to what the memory has, which is no harm. */
static void note_frozen(struct shared *shared, uint64_t length)
{
        uint64_t room = atomic_load(&shared->room);

        if (atomic_load(&shared->frozen) == SHARED_FROZEN)
                return;
        atomic_store(&shared->last, length);
        while (room > length && !atomic_compare_exchange_weak(&shared->room, &room, length)) {
        }
        atomic_store(&shared->frozen, SHARED_FROZEN);
}

bool handle_learn_frozen(struct shared *shared)
{
        uint64_t length = atomic_load(&shared->head->length);

        pthread_mutex_lock(&mutex);
        for (struct shared *other = all_shared; other; other = other->next)
                if (is_same(other, shared))
                        note_frozen(other, length);
        pthread_mutex_unlock(&mutex);
        return true;
}

/* What a slot of this process still writes: AMMAP_ERR_BUSY, or _DEADLOCK for the
 * caller's own slice; 1: a call is under way; 0.  The call is looked for first: it notes its
 * hold before it is over. */
static int slot_writes(const struct slot *slot)
{
        const bool calls = !slot_is_mine(slot) && atomic_load(&slot->writing);
        const struct shared_hold *hold = atomic_load(&slot->write);

        while (hold && !atomic_load(&hold->refs))
                hold = hold->next;
        if (hold)
                return slot_is_mine(slot) ? AMMAP_ERR_DEADLOCK : AMMAP_ERR_BUSY;
        return calls;
}

/* What stands in the way of a free, or of a freeze, and whose thread's it was then; slot NULL: nothing. */
struct in_way {
        struct slot *slot;
        struct thread_life life;
        int rc; /* slot_writes' */
};

/* Whether that thread ended with slices, or in a call, that nobody saw: then it holds nothing any
 * more.  Another one may have the slot by now. */
static bool forget_ended(const struct shared *shared, const struct in_way *in_way)
{
        struct slot *slot = in_way->slot;

        if (!slot || !in_way->life.owner || !thread_is_gone(in_way->life))
                return false;
        pthread_mutex_lock(&mutex);
        if (slot->shared == shared && slot->life.owner == in_way->life.owner &&
            slot->life.number == in_way->life.number)
                forget_holds(slot);
        pthread_mutex_unlock(&mutex);
        return true;
}

static struct in_way find_writing(struct shared *shared)
{
        struct in_way in_way = { .rc = 0 };

        pthread_mutex_lock(&mutex);
        for (struct slot *slot = shared->mine; slot && in_way.rc == 0; slot = slot->sibling)
                in_way = (struct in_way){ slot, slot->life, slot_writes(slot) };
        pthread_mutex_unlock(&mutex);
        if (in_way.rc == 0)
                in_way.slot = NULL;
        return in_way;
}

int handle_freeze_begin(struct shared *shared)
{
        const int64_t deadline = os_now() + WAITER_PATIENCE; /* with every lane its own */
        uint32_t live = SHARED_LIVE;
        int rc;

        pthread_mutex_lock(&mutex);
        atomic_compare_exchange_strong(&shared->frozen, &live, SHARED_FREEZING);
        pthread_mutex_unlock(&mutex);
        os_fence_heavy();
        for (;;) {
                const struct in_way in_way = find_writing(shared);

                if (forget_ended(shared, &in_way))
                        continue;
                if ((rc = in_way.rc) <= 0)
                        break;
                if (os_now() > deadline) {
                        rc = AMMAP_ERR_BUSY;
                        break;
                }
                waiter_nap(FREEZE_NAP);
        }
        if (rc < 0)
                handle_freeze_cancel(shared);
        return rc;
}

void handle_freeze_cancel(struct shared *shared)
{
        uint32_t freezing = SHARED_FREEZING;

        pthread_mutex_lock(&mutex);
        atomic_compare_exchange_strong(&shared->frozen, &freezing, SHARED_LIVE);
        pthread_mutex_unlock(&mutex);
}

void handle_attach(struct shared *shared)
{
        static _Atomic uint64_t names;

        shared->name = atomic_fetch_add(&names, 1) + 1;
        shared->recent = (uint32_t)(shared->name % RECENT);
        shared->mine = NULL;
        shared->detached = NULL;
        atomic_store(&shared->frozen, SHARED_LIVE);
        pthread_mutex_lock(&mutex);
        for (const struct shared *other = all_shared; other; other = other->next)
                if (is_same(other, shared) && atomic_load(&other->frozen) == SHARED_FROZEN)
                        note_frozen(shared, atomic_load(&other->last));
        shared->next = all_shared;
        shared->link = &all_shared;
        if (all_shared)
                all_shared->link = &shared->next;
        all_shared = shared;
        pthread_mutex_unlock(&mutex);
}

bool handle_any_writes(uint64_t device, uint64_t inode)
{
        bool found = false;

        pthread_mutex_lock(&mutex);
        for (const struct shared *shared = all_shared; shared && !found; shared = shared->next)
                found = shared->writable && shared->device == device && shared->inode == inode;
        pthread_mutex_unlock(&mutex);
        return found;
}

void handle_detach(struct shared *shared)
{
        while (shared->detached)
                slot_give_up_for_process(shared, shared->detached);
        pthread_mutex_lock(&mutex);
        *shared->link = shared->next;
        if (shared->next)
                shared->next->link = shared->link;
        while (shared->mine) {
                if (shared->mine->place.view && !slot_is_mine(shared->mine))
                        return_place(shared, shared->mine);
                unlink_slot(shared->mine);
        }
        pthread_mutex_unlock(&mutex);
        sweep();
}

/* They are all the parent's, and what slices still point at stays as it is. */
static void forget_slot(struct slot *slot)
{
        atomic_store(&slot->thread, NULL);
        forget_holds(slot);
        if (slot->place.view)
                os_slot_forget(&slot->place);
        slot->place.view = NULL;
        slot->process_life = NULL; /* which the child does not have */
}

/* The links are made anew: without fork handlers another thread may have been about to change them. */
void slot_forked(void)
{
        struct shared **link = &all_shared;

        pthread_mutex_init(&mutex, NULL);
        for (struct shared *shared = all_shared; shared; link = &shared->next, shared = shared->next) {
                shared->link = link;
                shared->mine = shared->detached = NULL;
                atomic_store(&shared->sleepers, 0);
                for (unsigned i = 0; i < LOOKOUTS; i++)
                        atomic_store(&shared->lookout[i].lane, 0);
        }
        for (struct slot *slot = atomic_load(&every); slot; slot = slot->made_before)
                forget_slot(slot);
        my_slots = (struct my_slots){ .recent = NO_SLOTS };
        unused = NULL;
}

/* A slot that still writes is left with an owner id that is nobody's: its writer died. */
bool slot_thread_exit(bool last)
{
        for (struct slot *slot = my_slots.all; slot && !last; slot = slot->next)
                if (slot_holds_any(slot))
                        return true;
        while (my_slots.all)
                give_up(my_slots.all, &my_slots.all);
        return false;
}

void handle_each_unseen(const struct shared *shared, handle_found *found, void *context)
{
        pthread_mutex_lock(&mutex);
        for (const struct shared *handle = all_shared; handle; handle = handle->next)
                for (const struct slot *slot = handle->mine; slot && is_same(handle, shared); slot = slot->sibling)
                        for (unsigned i = 0; i < FORMAT_PLACES && slot->record == &slot->own; i++)
                                found(atomic_load(&slot->own.read_set[i]), thread_id(slot->life), context);
        pthread_mutex_unlock(&mutex);
}

uint64_t handle_slices(struct shared *shared)
{
        uint64_t count = 0;

        pthread_mutex_lock(&mutex);
        for (const struct slot *slot = shared->mine; slot; slot = slot->sibling) {
                for (const struct shared_hold *hold = atomic_load(&slot->write); hold; hold = hold->next)
                        count += (uint32_t)atomic_load(&hold->refs);
                for (unsigned i = 0; i < FORMAT_PLACES; i++)
                        count += (uint32_t)atomic_load(&slot->read[i].refs);
        }
        pthread_mutex_unlock(&mutex);
        return count;
}

static struct in_way find_holding(struct shared *shared)
{
        struct in_way in_way = { .slot = NULL };

        pthread_mutex_lock(&mutex);
        for (struct slot *slot = shared->mine; slot && !in_way.slot; slot = slot->sibling)
                if (slot_holds_any(slot))
                        in_way = (struct in_way){ .slot = slot, .life = slot->life };
        pthread_mutex_unlock(&mutex);
        return in_way;
}

bool handle_is_held(struct shared *shared)
{
        struct in_way in_way;

        do
                in_way = find_holding(shared);
        while (forget_ended(shared, &in_way));
        return in_way.slot || atomic_load(&shared->sleepers) > 0;
}
