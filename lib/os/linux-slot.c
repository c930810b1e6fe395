/* linux-slot.c - slots
 *
 * SPDX-License-Identifier: MIT
 */
#include "os/os.h"

#include "os/calm.h"
#include "os/linux.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- Slots ---------------------------------------------------------------- *
 *
 * The kernel marks the words of a thread that ends: those of the robust mutexes
 * that it holds, which it finds by a list that libc keeps in the mutexes
 * themselves.  A slot's word is made to be one of these words, with nothing else
 * of the mutex in reach of other processes: who could write the list's pointers
 * could make this process write wherever they like.
 *
 * So a slot is seen through a view of two pages, side by side, with a mutex
 * across the middle: HEAD bytes of it, the word among them, lie at the end of
 * the first page and the rest, the pointers above all, on the second.
 *
 *      first page                      second page, always private
 *      ...               | word, ... | pointers, kind, ... | copy of HEAD bytes
 *
 * libc locks and unlocks the mutex while the first page is a private one too:
 * what others have written it never reads.  In between, while the slot is held,
 * the slot's page is mapped there, and only the kernel looks, at the word, and
 * we, by plain compare and exchange.
 */

/* What of a mutex lies on the first page: its alignment allows no less. */
enum { HEAD = 8 };

struct own {
        pthread_mutex_t mutex;
        unsigned char head[HEAD]; /* as libc left them when it had locked */
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

static size_t slot_word;
static pthread_once_t slot_word_once = PTHREAD_ONCE_INIT;

/* Where in the mutex that the thread locked last the kernel looks for its word,
 * by the list as the kernel has it; SIZE_MAX: not in its head, or a pointer is. */
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

/* glibc has a pointer back, too, and who knows what others have: when neighbours
 * in the list come and go, nothing may change in a head. */
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

static void find_slot_word(void)
{
        pthread_mutex_t mutex[3];
        size_t word;

        for (size_t i = 0; i < 3; i++)
                if (robust_init(&mutex[i]) < 0)
                        return;
        word = find_word_in(mutex);
        if (word < HEAD)
                slot_word = HEAD - word;
}

size_t os_slot_word(void)
{
        struct os_calm calm = os_calm_begin();

        pthread_once(&slot_word_once, find_slot_word);
        os_calm_end(calm, 0);
        return slot_word;
}

bool os_slot_taken(uint32_t word)
{
        return (word & FUTEX_TID_MASK) != 0 && !(word & FUTEX_OWNER_DIED);
}

/* Put a page of zeros over the slot's.  It is there from the beginning, for this
 * must not fail for want of memory: with the slot's page in sight the mutex cannot
 * leave libc's list, and when the thread ends musl marks the words of all on it,
 * whoever they name by then. */
static int view_detach(void *view, void *spare)
{
        return os_move_over(view, spare, os_page_size());
}

/* Have libc take the mutex off its list. */
static void view_free(void *view)
{
        struct own *own = own_of(view);

        memcpy(&own->mutex, own->head, HEAD);
        pthread_mutex_unlock(&own->mutex);
        pthread_mutex_destroy(&own->mutex);
        munmap(view, 2 * os_page_size());
}

/* A view of a private page: its mutex is locked, and on libc's list.  A child
 * made by a bare clone has a libc that calls it by its parent's name, and a
 * kernel that knows of no list. */
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
        if (atomic_load(word_of(*view)) == thread)
                return 0;
        view_free(*view);
        return -ENOSYS;
}

/* Once: the caller has other slots to try.  FUTEX_WAITERS stays, as in a lock. */
static int take(_Atomic uint32_t *word)
{
        uint32_t was = atomic_load(word);

        if (os_slot_taken(was) || !atomic_compare_exchange_strong(word, &was, os_thread() | (was & FUTEX_WAITERS)))
                return -EBUSY;
        return (was & FUTEX_OWNER_DIED) != 0 ? OS_SLOT_LEFT : 0;
}

/* Killed before take() has the word, the thread leaves a word behind that does
 * not name it, which the kernel passes over; killed after, one that it marks. */
int os_slot_claim(void *page, int fd, uint64_t offset, struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();
        void *view = NULL, *spare = NULL;
        int rc;

        slot->view = NULL;
        slot->spare = NULL;
        if (os_slot_word() == 0)
                return os_calm_end(calm, -ENOSYS);
        if (os_slot_taken(atomic_load(word_of(page))))
                return os_calm_end(calm, -EBUSY);
        rc = view_new(&view);
        if (rc < 0)
                return os_calm_end(calm, rc);
        rc = os_map(&spare, os_page_size());
        if (rc < 0) {
                view_free(view);
                return os_calm_end(calm, rc);
        }
        rc = os_map_again(view, page, os_page_size());
        if (rc == -EINVAL && fd >= 0) /* valgrind doubles no mappings */
                rc = os_map_file(view, os_page_size(), fd, offset, OS_WRITE);
        if (rc == 0) {
                rc = take(word_of(view));
                if (rc >= 0) {
                        slot->view = view;
                        slot->spare = spare;
                        return os_calm_end(calm, rc);
                }
                if (view_detach(view, spare) < 0)
                        return os_calm_end(calm, rc); /* as in os_slot_release */
        } else {
                os_unmap(spare, os_page_size());
        }
        view_free(view);
        return os_calm_end(calm, rc);
}

/* 0 in place of this thread's name.  Who keeps changing the word can delay this,
 * and who has put another name there keeps it. */
static void give_back(_Atomic uint32_t *word)
{
        uint32_t was = atomic_load(word), thread = os_thread();

        while ((was & FUTEX_TID_MASK) == thread)
                if (atomic_compare_exchange_weak(word, &was, 0)) {
                        if (was & FUTEX_WAITERS)
                                os_wake_shared(word, INT_MAX);
                        return;
                }
}

/* The order matters.  First the word is given back, while the mutex is on the
 * list still: until then the kernel marks it, and after that it names nobody, or
 * whoever took it next, and the kernel passes over it.  Then the slot's page goes
 * out of sight, and a page with this thread's name in the word into its place:
 * now the kernel would mark that, which nobody sees.  Only then libc unlocks, for
 * it refuses where the word does not name the thread, and what stands in the
 * shared word is anyone's choice; and then the pages can go, with nothing on the
 * list that points there.  (Unlocked at once, on the shared page, a thread killed
 * between leaving the list and clearing the word would rely on the kernel's look
 * at the operation pending; and one whose word was forged would stay on the list
 * and have its pages unmapped under it.)
 *
 * Where the page cannot be put there (too many mappings), the view stays for good,
 * and on the list, and the word this thread's until its end, if no one has taken
 * it yet: it is a leak, but nothing that points nowhere. */
void os_slot_release(struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();
        void *view = slot->view;

        give_back(word_of(view));
        slot->view = NULL; /* before the pages can be another's: a forked child puts one there */
        if (view_detach(view, slot->spare) == 0)
                view_free(view);
        else
                take(word_of(view));
        os_calm_end(calm, 0);
}

/* The list of the thread that forked has come along.  glibc empties it, in fork
 * but not in a bare clone; musl goes on with it, and when a thread ends writes to
 * all the words on it: the slot's page, which is the parent's, goes out of its
 * sight.  The pages must stay, for what comes onto such a list is linked to what
 * is there; and libc cannot take it off, for to one that has emptied its list
 * this would bring an old one back.  A thread that did not fork has no list here,
 * but whose a slot is the word alone says, and that anyone may have written. */
void os_slot_forget(struct os_slot *slot)
{
        struct os_calm calm = os_calm_begin();

        view_detach(slot->view, slot->spare);
        slot->view = NULL;
        os_calm_end(calm, 0);
}
