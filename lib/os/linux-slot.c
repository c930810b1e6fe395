/* linux-slot.c - slots: words in shared memory that name the thread that has them
 *
 * SPDX-License-Identifier: MIT
 *
 * Locks between processes must find out that an owner is dead, whatever killed it.  A
 * thread therefore claims a slot: it writes its thread ID into a word of a shared page.
 * When the thread is gone, the kernel marks that word (FUTEX_OWNER_DIED).
 *
 * The kernel does this for robust mutexes, and two things stand in the way of using one
 * as it is.  Only libc may keep the list by which the kernel finds them.  And libc keeps
 * the pointers of that list inside the mutexes: a peer that can write a mutex in shared
 * memory can make this process write to any address.  So only the word may be shared.
 *
 * What it guarantees
 *
 *   G1  A word that names a thread by os_slot_claim is marked when the thread is gone
 *       (with two exceptions: see exec, and the state parted).
 *   G2  Of several that claim a slot at once, one has it.
 *   G3  Whatever a peer writes to the slot's page, no memory of this process changes
 *       but that page, libc's list stays whole, and nothing waits.
 *
 * The algorithm
 *
 * It is the kernel's robust futex list (get_robust_list(2); robust-futex-ABI.rst in the
 * kernel's documentation).  Each thread has a list of entries, and one futex_offset for
 * all of them.  When the thread ends or calls exec, the kernel goes through up to 2,048
 * entries.  If the word at entry + futex_offset has the thread's ID in its lower 30 bits
 * (FUTEX_TID_MASK), the kernel replaces these by FUTEX_OWNER_DIED.  It passes over all
 * other words.  FUTEX_WAITERS stays, and one sleeper of the word is woken for it.  We
 * honour the bit and never set it.  A caller keeps a thread well below the 2,048.
 *
 * The entry is in a robust process-shared pthread mutex, which nobody else locks.  It lies
 * across the border of two neighbouring pages, the view:
 *
 *      first page: private, or the slot's      second page: always private
 *      ...                    | HEAD bytes     | the rest of the mutex | copy of HEAD bytes
 *                             | with the word  | with the pointers     | as libc left them
 *
 *   claim     Look at the word in the slot's page: -EBUSY if it is taken.  Map the view,
 *             and one more page of zeros, the spare.  Lock the mutex, and copy its HEAD
 *             bytes.  If the word is not this thread's ID, libc does not know the thread
 *             (see fork): undo, -ENOSYS.  Map the slot's page over the first page.
 *             Exchange the word, free or marked, for this thread's ID.  If another
 *             thread was quicker, detach as a release does, -EBUSY.
 *   release   Exchange the word, if it is this thread's ID, for 0.  Move the spare over
 *             the first page.  Put the HEAD bytes back.  Unlock and destroy the mutex.
 *             Unmap the view.
 *   return    By another thread, while this one lives or after it: move the spare over the
 *             first page.  If this one lives, exchange the word, if it is its ID, for 0.
 *             The release by this thread then begins with the HEAD bytes.
 *   forget    Move the spare over the first page.  Leave the rest for ever.
 *
 * HEAD is 8, which the mutex's alignment allows everywhere.  Where libc has the word is
 * not promised, so it is found out once: lock three robust mutexes, and ask for the list
 * after each.  Its first entry must be in the mutex just locked and beyond the HEAD bytes,
 * with the ID at its word.  The word must be in the HEAD bytes: 0 into the mutex (glibc:
 * 8 bytes before the page ends) or 4 (musl: 4 bytes before).  Unlocking the middle mutex
 * must change nothing in the HEAD bytes of the others.  Otherwise there are no slots.
 *
 * The states of a claim
 *
 *              shared word        first page   on list   the thread is killed
 *   none       any                -            no        nothing happens
 *   made       any                private      yes       the kernel marks the private page
 *   aimed      not its ID         the slot's   yes       the kernel passes over the word
 *   held       its ID             the slot's   yes       the kernel marks the word
 *   returned   not its ID         the slot's   yes       the kernel passes over the word
 *   detached   any                the spare    yes, no   the kernel marks the spare, or not
 *   parted     any                the spare    yes       the word stays as it is
 *   stuck      its ID, if still   the slot's   yes       the kernel marks the word
 *              free, else any
 *   forgotten  the parent's       the spare    no        nothing happens
 *
 *      none - made - aimed - held - returned - detached - none
 *      aimed - detached     another thread was quicker
 *      returned - stuck     the spare cannot be moved: too many mappings
 *      held - parted - detached - none     returned by another thread, and then released
 *
 * In stuck the view stays for good, and its entry until the thread ends.  That is a leak,
 * but no entry leads to memory of another use.  aimed can get stuck too, without the ID.
 *
 * Invariants
 *
 *   I1  The pointers of the list are in private pages.
 *   I2  libc touches the mutex only while the first page is private, and finds in it what
 *       it wrote there.  Hence the copy of the HEAD bytes.  libc refuses to unlock a mutex
 *       that does not name the thread, and a peer may have changed the name.
 *   I3  While the shared word has the thread's ID by a claim, the entry is on the list and
 *       leads to it.  Claim: list first, word last.  Release: word first, list last.
 *       But in parted others need not be told: nothing is held by the slot.  If the process
 *       is killed before the word is given back, the place is as one left by exec.  The other
 *       order would be worse.  While a move can fail the word must stay; and musl's look at
 *       the list would mark the next one's word.
 *   I4  The word is only exchanged: for the ID where it was free or marked, and for 0
 *       where it was the ID.  Nobody's name is overwritten.
 *   I5  Pages are unmapped when no entry leads to them, or never.
 *   I6  The spare is mapped before the slot's page is in view.  So no detaching fails for
 *       want of memory, only for too many mappings.  That matters with musl: when a thread
 *       ends, musl itself marks all words on the list, and a stuck one may be another's.
 *   I7  The word is given back before the mutex is unlocked.  libc would do both at once,
 *       on the shared page.  A thread killed between the two would need the kernel's look
 *       at list_op_pending, and a forged word would keep the mutex on the list (I5).
 *
 * Pairings
 *
 *        store                             load                         why
 *   P1   give_back: the ID to 0; or the    take: free or marked to the  the next owner sees what
 *        kernel's mark                     ID; a peer that finds it so  the last one wrote
 *   P2   take: free or marked to the ID    take of another thread       one has the slot (G2)
 *   P3   release: view = NULL, return:     os_slot_forget and its       a child with the spare in
 *        spare = NULL, and then the        caller, in a forked child    view leaves it alone; one
 *        spare is moved                                                 that came between the two
 *                                                                       keeps the page in view
 *   P4   ask_slot_word: slot_word          os_slot_word                 none: all find the same
 *   P5   anyone's, to the word             the look before a claim      none: a hint that spares
 *                                                                       mapping the view
 *   P6   libc's ID, in a private page      view_new                     none: one thread
 *   P7   return: spare = NULL, before      os_slot_has: has its page    who sees another thread in
 *        the word is given back                                         the place does not take it
 *                                                                       for its own
 *
 * The word is seq_cst throughout.  Acquire and release would do for P1 and P2.  But callers
 * judge a slot by its word and words of their own together, and those are seq_cst.  P3 is
 * no atomic: in the kernel, moving a page and copying the address space exclude each other.
 *
 * What comes from outside
 *
 *   kill -9        The table of states says what happens at each instruction.
 *   exec           The kernel marks the word, as at the thread's end.  But a thread that is
 *                  not the first of its process has lost its ID before the kernel looks: its
 *                  word stays as it is.  Whoever must know asks os_thread_gone.
 *   fork           The slots stay the parent's.  The list of the thread that forked is in
 *                  the child's memory.  glibc empties it.  musl goes on with it, and would
 *                  mark the parent's words when that thread ends.  So os_robust_forget cuts it
 *                  where the parent's part begins, and forget detaches.  The view stays,
 *                  because what the child locks before the cut is linked to it.  The mutex stays
 *                  locked, because unlocking it would bring the old list back into glibc's new one.
 *                  Views of other threads are on no list here.  But only the word tells whose
 *                  a slot is, and anyone may have written it, so all are treated alike.
 *   bare clone     libc writes the parent's ID, and the kernel knows no list: -ENOSYS.
 *   a signal       A handler must not call this: libc's mutexes are not async-signal-safe.
 *                  Cancellation is off, and nothing here sleeps.
 *   third thread   Only the thread that claimed a slot uses the view and releases it; but
 *                  another may return it before that, while neither claims nor releases it.
 *                  The word is for all, of all processes: of two exchanges one fails.
 *   forged word    It can give the slot to another thread, or make it seem taken.  Where a
 *                  peer keeps changing it, give_back leaves it.  G3 holds.
 *   page cut off   would be SIGBUS: the caller sees to F_SEAL_SHRINK.
 *   old kernel     Without get_robust_list, as under a filter (seccomp) or qemu-user,
 *                  os_slot_word is 0, and every claim -ENOSYS.  Where no mapping can be
 *                  doubled (valgrind), the page is mapped from the descriptor.
 */
#include "os/os.h"

#include "os/calm.h"
#include "os/linux.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        HEAD = 8,             /* bytes of a mutex on the first page */
        GIVE_BACK_MAX = 1000, /* tries, each of which another has changed the word */
};

struct own {
        pthread_mutex_t mutex;
        unsigned char head[HEAD]; /* of the mutex, as libc left them when it had locked (I2) */
};

static struct own *own_of(void *view)
{
        return (void *)((char *)view + os_page_size() - HEAD);
}

static _Atomic uint32_t *word_of(void *page)
{
        return (void *)((char *)page + os_page_size() - os_slot_word());
}

static int robust_init(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attr;
        int rc = pthread_mutexattr_init(&attr);

        if (rc != 0)
                return -rc;
        rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        if (rc == 0)
                rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        if (rc == 0)
                rc = pthread_mutex_init(mutex, &attr);
        pthread_mutexattr_destroy(&attr);
        return -rc;
}

#define NO_WORD SIZE_MAX
static _Atomic size_t slot_word; /* P4; 0: not known yet */

/* Where the word is in the mutex that the thread locked last; SIZE_MAX: not in the HEAD
 * bytes, or the entry is. */
static size_t find_word(const pthread_mutex_t *mutex)
{
        const struct robust_list_head *list = NULL;
        size_t size = 0, word;
        uintptr_t start = (uintptr_t)mutex, node;
        uint32_t thread = os_thread();

        if (syscall(SYS_get_robust_list, 0, &list, &size) < 0 || !list || size != sizeof *list)
                return SIZE_MAX;
        node = (uintptr_t)list->list.next;
        if (node < start + HEAD || node > start + sizeof(pthread_mutex_t) - sizeof(void *))
                return SIZE_MAX;
        word = node + (uintptr_t)list->futex_offset - start;
        if ((word != 0 && word != 4) || memcmp((const char *)mutex + word, &thread, sizeof thread) != 0)
                return SIZE_MAX;
        return word;
}

/* Neighbours in the list have pointers to each other.  None may be in the HEAD bytes. */
static size_t find_word_in(pthread_mutex_t mutex[3])
{
        unsigned char head[3][HEAD];
        size_t word = 0;

        for (size_t i = 0; i < 3; i++) {
                pthread_mutex_lock(&mutex[i]); /* just made: nobody else has it */
                word = find_word(&mutex[i]);
                memcpy(head[i], &mutex[i], HEAD);
        }
        pthread_mutex_unlock(&mutex[1]);
        if (memcmp(head[0], &mutex[0], HEAD) != 0 || memcmp(head[2], &mutex[2], HEAD) != 0)
                word = SIZE_MAX;
        pthread_mutex_unlock(&mutex[0]);
        pthread_mutex_unlock(&mutex[2]);
        return word;
}

/* 0: there was no room for the mutexes, and it is asked again. */
static size_t ask_slot_word(void)
{
        struct os_calm calm = os_calm_begin();
        pthread_mutex_t mutex[3];
        size_t made = 0, word = 0;

        while (made < 3 && robust_init(&mutex[made]) == 0)
                made++;
        if (made == 3) {
                word = find_word_in(mutex);
                word = word < HEAD ? HEAD - word : NO_WORD;
                atomic_store_explicit(&slot_word, word, memory_order_relaxed);
        }
        while (made > 0)
                pthread_mutex_destroy(&mutex[--made]);
        os_calm_end(calm, 0);
        return word;
}

size_t os_slot_word(void)
{
        size_t word = atomic_load_explicit(&slot_word, memory_order_relaxed);

        if (word == 0)
                word = ask_slot_word();
        return word == NO_WORD ? 0 : word;
}

bool os_slot_taken(uint32_t word)
{
        return (word & FUTEX_TID_MASK) != 0 && !(word & FUTEX_OWNER_DIED);
}

static int view_detach(void *view, void *spare)
{
        return os_move_over(view, spare, os_page_size());
}

/* Of a view whose first page is private. */
static void view_free(void *view)
{
        struct own *own = own_of(view);

        memcpy(&own->mutex, own->head, HEAD);
        pthread_mutex_unlock(&own->mutex);
        pthread_mutex_destroy(&own->mutex);
        munmap(view, 2 * os_page_size());
}

/* Two private pages.  The mutex is locked, and on the list. */
static int view_new(void **view)
{
        uint32_t thread = os_thread();
        struct own *own;
        int rc = os_map(view, 2 * os_page_size());

        if (rc < 0)
                return rc;
        own = own_of(*view);
        rc = robust_init(&own->mutex);
        if (rc == 0)
                rc = -pthread_mutex_trylock(&own->mutex);
        if (rc < 0) {
                os_unmap(*view, 2 * os_page_size());
                return rc;
        }
        memcpy(own->head, &own->mutex, HEAD);
        if (atomic_load(word_of(*view)) == thread) /* P6 */
                return 0;
        view_free(*view);
        return -ENOSYS;
}

/* Valgrind doubles no mappings. */
static int view_attach(void *view, void *page, int fd, uint64_t offset)
{
        int rc = os_map_again(view, page, os_page_size());

        if (rc == -EINVAL && fd >= 0)
                rc = os_map_file(view, os_page_size(), fd, offset, OS_WRITE);
        return rc;
}

/* P1, P2.  It tries once: the caller has other slots. */
static int take(_Atomic uint32_t *word)
{
        uint32_t was = atomic_load(word);

        if (os_slot_taken(was) || !atomic_compare_exchange_strong(word, &was, os_thread() | (was & FUTEX_WAITERS)))
                return -EBUSY;
        return (was & FUTEX_OWNER_DIED) != 0 ? OS_SLOT_LEFT : 0;
}

int os_slot_claim(void *page, int fd, uint64_t offset, struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();
        void *view = NULL, *spare = NULL;
        int rc;

        slot->view = NULL;
        atomic_store(&slot->spare, NULL);
        if (os_slot_word() == 0)
                return os_calm_end(calm, -ENOSYS);
        if (os_slot_taken(atomic_load(word_of(page)))) /* P5 */
                return os_calm_end(calm, -EBUSY);
        rc = view_new(&view);
        if (rc < 0)
                return os_calm_end(calm, rc);
        rc = os_map(&spare, os_page_size());
        if (rc == 0) {
                rc = view_attach(view, page, fd, offset);
                if (rc < 0)
                        os_unmap(spare, os_page_size());
        }
        if (rc < 0) {
                view_free(view);
                return os_calm_end(calm, rc);
        }
        rc = take(word_of(view));
        if (rc >= 0) {
                slot->view = view;
                atomic_store(&slot->spare, spare);
        } else if (view_detach(view, spare) == 0) {
                view_free(view);
        }
        return os_calm_end(calm, rc);
}

/* P1.  A name that another has put there stays (I4). */
static void give_back(_Atomic uint32_t *word, uint32_t thread)
{
        uint32_t was = atomic_load(word);

        for (int tries = 0; (was & FUTEX_TID_MASK) == thread && tries < GIVE_BACK_MAX; tries++)
                if (atomic_compare_exchange_weak(word, &was, 0)) {
                        if (was & FUTEX_WAITERS)
                                os_wake_shared(word, INT_MAX);
                        return;
                }
}

/* In this order: I3, I5, I7. */
void os_slot_release(struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();
        void *view = slot->view, *spare = atomic_load(&slot->spare);

        if (spare)
                give_back(word_of(view), os_thread());
        slot->view = NULL; /* P3 */
        if (!spare || view_detach(view, spare) == 0)
                view_free(view);
        else
                take(word_of(view)); /* stuck */
        os_calm_end(calm, 0);
}

/* P3, P7.  Where the spare cannot be moved it stays for the release. */
void os_slot_return(struct os_slot *slot, void *page, uint32_t thread)
{
        struct os_calm calm = os_calm_begin();
        void *spare = atomic_exchange(&slot->spare, NULL);

        if (os_move(slot->view, spare, os_page_size()) < 0)
                atomic_store(&slot->spare, spare);
        else if (thread != 0) /* which in a word means that it is free, or marked */
                give_back(word_of(page), thread);
        os_calm_end(calm, 0);
}

/* P3; see fork. */
void os_slot_forget(struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();

        if (os_slot_has(slot))
                view_detach(slot->view, atomic_load(&slot->spare));
        slot->view = NULL;
        os_calm_end(calm, 0);
}

/* --- The list in a forked child --- */

/* An entry of the list is another thread's if its word has not this thread's ID.  What the child has
 * locked itself is in front. */
static void cut_list(void)
{
        const uint32_t thread = os_thread();
        const struct robust_list_head *head = NULL;
        uintptr_t entry, next, end;
        size_t size = 0;
        uint32_t word;

        if (syscall(SYS_get_robust_list, 0, &head, &size) < 0 || !head || size != sizeof *head)
                return;
        end = (uintptr_t)&head->list;
        for (entry = end;; entry = next) {
                next = (uintptr_t)((struct robust_list *)entry)->next & ~(uintptr_t)1; /* glibc has a flag there */
                if (next == end)
                        return;
                memcpy(&word, (const char *)next + head->futex_offset, sizeof word);
                if ((word & FUTEX_TID_MASK) != thread)
                        break;
        }
        ((struct robust_list *)entry)->next = (struct robust_list *)end;
}

/* The kernel knows musl's list once something is on it. */
void os_robust_forget(void)
{
        struct os_calm calm = os_calm_begin();
        pthread_mutex_t mutex;

        if (robust_init(&mutex) == 0) {
                pthread_mutex_lock(&mutex); /* just made: nobody else has it */
                cut_list();
                pthread_mutex_unlock(&mutex);
                pthread_mutex_destroy(&mutex);
        }
        os_calm_end(calm, 0);
}

/* --- The life of a process ---
 *
 * A lock of a byte belongs to an open file description, and is gone when the last that has
 * that is.  A mapping keeps it as a descriptor does, but no program closes it by mistake,
 * and it can be left out of forked children.  To write, because who may only read the file
 * must not be able to pretend; the mapping itself is of no use.
 */
int os_life_begin(int fd, uint64_t offset, void **life)
{
        const size_t page = os_page_size();
        struct os_calm calm = os_calm_begin();
        int own = os_reopen(fd, true), rc;
        void *map;

        *life = NULL;
        if (own < 0)
                return os_calm_end(calm, own);
        rc = os_lock_byte(own, offset, OS_LOCK_WRITE);
        if (rc == -EAGAIN) { /* which means something else of the others */
                rc = -EBUSY;
        } else if (rc == 0) {
                map = mmap(NULL, page, PROT_NONE, MAP_SHARED, own, (off_t)(offset / page * page));
                rc = map == MAP_FAILED ? -errno : os_omit_on_fork(map, page);
                if (rc == 0)
                        *life = map;
                else if (map != MAP_FAILED)
                        munmap(map, page);
        }
        close(own);
        return os_calm_end(calm, rc);
}

void os_life_end(void *life)
{
        os_unmap(life, os_page_size());
}
