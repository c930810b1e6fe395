/* os.c - what the system does for threads: sleep, wake, time, fences, mutexes, a thread's end
 *
 * SPDX-License-Identifier: MIT
 *
 * lib/os/os.h says what each call is to do.  What is not here is as on a system that has POSIX
 * alone (lib/os/portable.c): no descriptors, and so no shared maps.
 */
#include "os/os.h"

#include "sim.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>

_Atomic bool os_fence_asymmetric;
_Atomic uint32_t *os_fork_word;

struct process {
        bool gone;
        bool asymmetric, settled; /* membarrier is relied on; nobody relies on it any more */
        _Atomic uint32_t fork_word;
        void (*exit_of_thread)(void *value);
        void (*before)(void), (*after)(void), (*child)(void);
};
static struct process process[PROCESSES_MAX], *own;

unsigned os_wakes;

static _Atomic uint32_t *outside[SLOTS_MAX]; /* slots of who makes calls outside of a run */

void os_reset(void)
{
        memset(outside, 0, sizeof outside);
        memset(process, 0, sizeof process);
        for (unsigned i = 0; i < PROCESSES_MAX; i++)
                process[i].fork_word = 1;
        own = NULL;
        os_enter(0);
}

void os_enter(unsigned number)
{
        if (own)
                own->asymmetric = os_fence_asymmetric;
        own = &process[number];
        os_fence_asymmetric = own->asymmetric;
        os_fork_word = &own->fork_word;
}

unsigned os_here(void)
{
        return (unsigned)(own - process);
}

bool process_is_gone(unsigned number)
{
        return process[number].gone;
}

/* What was stored before a call of the system is seen by all. */
static void system_call(const char *what, const volatile void *address)
{
        step(what, address);
        if (current)
                stores_flush(current);
}

/* --- Time and fences --- */

int64_t os_now(void)
{
        clock_now++;
        model_now();
        return clock_now;
}

int64_t os_deadline(int64_t timeout_ns)
{
        int64_t now = os_now();

        if (timeout_ns < 0)
                return OS_NEVER;
        if (timeout_ns >= OS_NEVER - now)
                return OS_NEVER;
        model_deadline(now + timeout_ns);
        due_set(now + timeout_ns);
        return now + timeout_ns;
}

unsigned os_cpus(void)
{
        return plan.spins ? 2 : 1;
}

void os_start(void)
{
        atomic_store(&os_fence_asymmetric, plan.asymmetric);
        own->settled = !plan.asymmetric;
}

void os_fence_heavy(void)
{
        system_call("os_fence_heavy", NULL);
        if (own->settled)
                return;
        if (refuses(NO_ANSWER)) { /* from now on, as in linux.c: who still relies on it is fenced once */
                atomic_store(&os_fence_asymmetric, false);
                step("... without membarrier", NULL);
                stores_flush_all();
                own->settled = true;
                return;
        }
        stores_flush_all();
}

/* --- Sleep --- */

int os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        system_call("os_wait", word);
        if (__atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED) != expected || refuses(NO_ANSWER))
                return 0;
        return fall_asleep(word, deadline) ? 0 : -ETIMEDOUT;
}

int os_wake(const _Atomic uint32_t *word, int count)
{
        os_wakes++;
        system_call("os_wake", word);
        return wake_sleepers(word, count);
}

int os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return os_wait(word, expected, deadline);
}

/* Refused by a peer that sleeps there in a way of its own (FUTEX_WAIT_REQUEUE_PI). */
int os_wake_shared(const _Atomic uint32_t *word, int count)
{
        if (refuses(NO_ANSWER))
                return 0;
        return os_wake(word, count);
}

/* --- Threads and processes --- */

enum { FIRST_PROCESS = 100, FIRST_THREAD = 1000 };

uint32_t os_process(void)
{
        return FIRST_PROCESS + (uint32_t)(own - process);
}

uint32_t os_thread(void)
{
        return FIRST_THREAD + (current ? current->number : THREADS_MAX);
}

bool os_thread_gone(uint32_t of, uint32_t id)
{
        uint32_t number = id - FIRST_THREAD;

        return number >= plan.threads || thread[number].state == ENDED || thread[number].process + FIRST_PROCESS != of;
}

int os_thread_key(void (*exit_thread)(void *value))
{
        own->exit_of_thread = exit_thread;
        return 0;
}

int os_thread_set(void *value)
{
        if (value && refuses(NO_MEMORY))
                return -ENOMEM;
        if (current)
                current->at_end = value;
        return 0;
}

/* As POSIX has them: four, of which the last is not the library's. */
enum { ROUNDS = 4 };

unsigned os_thread_rounds(void)
{
        return ROUNDS - 1;
}

/* What the kernel does when a thread is gone: a word that names it is marked. */
static void mark_slots(struct thread *t)
{
        for (unsigned i = 0; i < SLOTS_MAX; i++) {
                _Atomic uint32_t *word = t->slot[i];

                if (!word || (atomic_load(word) & FUTEX_TID_MASK) != FIRST_THREAD + t->number)
                        continue;
                atomic_store(word, (atomic_load(word) & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
                if (atomic_load(word) & FUTEX_WAITERS)
                        wake_sleepers(word, 1);
        }
}

void os_process_end(unsigned number)
{
        process[number].gone = true;
        for (unsigned i = 0; i < plan.threads; i++)
                if (thread[i].process == number)
                        mark_slots(&thread[i]);
        files_process_end(number);
}

void os_thread_end(struct thread *t)
{
        for (int round = 0; round < ROUNDS && t->at_end; round++) {
                void *value = t->at_end;

                t->at_end = NULL;
                own->exit_of_thread(value);
        }
        mark_slots(t);
}

int os_at_fork(void (*before)(void), void (*after)(void), void (*child)(void))
{
        own->before = before;
        own->after = after;
        own->child = child;
        return 0;
}

bool os_forked(void)
{
        return os_maybe_forked();
}

void os_forked_reset(void)
{
        atomic_store(os_fork_word, 1);
}

void os_in_child(void)
{
        os_forked_reset();
        if (own->child)
                own->child();
}

bool os_fork_check(void)
{
        if (!os_forked())
                return false;
        os_in_child();
        return true;
}

void os_before_fork(void)
{
        if (own->before)
                own->before();
        system_call("fork", NULL);
}

void os_after_fork(void)
{
        if (own->after)
                own->after();
}

void os_fork(unsigned child)
{
        process[child] = *own;
        process[child].fork_word = 0;
}

int os_random(void *bytes, size_t length)
{
        for (size_t i = 0; i < length; i++)
                ((unsigned char *)bytes)[i] = (unsigned char)draw(&scheduling);
        return 0;
}

void os_boot(unsigned char boot[16])
{
        memset(boot, 1, 16);
}

uint64_t os_pid_space(void)
{
        return 1;
}

bool os_parent_is_near(void)
{
        return true;
}

int os_peer_begin(struct os_peer *peer, int32_t pid)
{
        *peer = (struct os_peer){ .pid = pid, .fd = -1 };
        return os_peer_ended(peer) ? -ESRCH : 0;
}

bool os_peer_ended(const struct os_peer *peer)
{
        uint32_t number = (uint32_t)peer->pid - FIRST_PROCESS;

        return number >= PROCESSES_MAX || process[number].gone;
}

void os_peer_end(const struct os_peer *peer)
{
        (void)peer;
}

/* --- Slots: lib/os/linux-slot.c --- */

enum { WORD_AT = 8 };

size_t os_slot_word(void)
{
        return WORD_AT;
}

bool os_slot_taken(uint32_t word)
{
        return (word & FUTEX_TID_MASK) != 0 && !(word & FUTEX_OWNER_DIED);
}

static _Atomic uint32_t **free_entry(void)
{
        _Atomic uint32_t **slot = current ? current->slot : outside;

        for (unsigned i = 0; i < SLOTS_MAX; i++)
                if (!slot[i])
                        return &slot[i];
        fail("a thread has too many slots");
}

/* On the list first, and then the word, as there. */
int os_slot_claim(void *page, int fd, uint64_t offset, struct os_slot *slot)
{
        _Atomic uint32_t *word = (void *)((char *)page + os_page_size() - WORD_AT);
        _Atomic uint32_t **entry;
        uint32_t was;

        (void)fd, (void)offset;
        slot->view = NULL;
        atomic_store(&slot->spare, NULL);
        system_call("os_slot_claim", word);
        was = atomic_load(word);
        if (os_slot_taken(was))
                return -EBUSY;
        if (refuses(NO_MEMORY))
                return -ENOMEM;
        entry = free_entry();
        *entry = word;
        step("... takes it", word);
        was = atomic_load(word);
        if (os_slot_taken(was)) {
                *entry = NULL;
                return -EBUSY;
        }
        atomic_store(word, os_thread() | (was & FUTEX_WAITERS));
        slot->view = page;
        atomic_store(&slot->spare, entry);
        return (was & FUTEX_OWNER_DIED) ? OS_SLOT_LEFT : 0;
}

static void give_back(_Atomic uint32_t *word, uint32_t thread)
{
        uint32_t was = atomic_load(word);

        if ((was & FUTEX_TID_MASK) != thread)
                return;
        atomic_store(word, 0);
        if (was & FUTEX_WAITERS)
                wake_sleepers(word, THREADS_MAX);
}

void os_slot_release(struct os_slot *slot)
{
        _Atomic uint32_t *word = (void *)((char *)slot->view + os_page_size() - WORD_AT);
        _Atomic uint32_t **entry = atomic_load(&slot->spare);

        system_call("os_slot_release", word);
        slot->view = NULL;
        if (!entry)
                return;
        give_back(word, os_thread());
        step("... off the list", word);
        if (*entry != word)
                fail("a thread gives up a slot that it does not have");
        *entry = NULL;
}

/* Of a thread that is gone the list is, too, and its place another's list's by now. */
void os_slot_return(struct os_slot *slot, void *page, uint32_t thread)
{
        _Atomic uint32_t *word = (void *)((char *)page + os_page_size() - WORD_AT);
        _Atomic uint32_t **entry;

        system_call("os_slot_return", word);
        if (refuses(NO_MEMORY))
                return;
        entry = atomic_exchange(&slot->spare, NULL);
        if (*entry == word)
                *entry = NULL;
        step("... gives the word back", word);
        if (thread != 0)
                give_back(word, thread);
}

void os_slot_forget(struct os_slot *slot)
{
        slot->view = NULL;
}

/* --- Mutexes --- */

struct lock {
        uint32_t owner; /* number of the thread, plus 1; 0: nobody */
        uint32_t robust;
};
_Static_assert(sizeof(struct lock) <= sizeof(pthread_mutex_t), "it has room there");

static struct lock *lock_of(pthread_mutex_t *mutex)
{
        return (struct lock *)mutex;
}

static uint32_t me(void)
{
        return current ? current->number + 1 : THREADS_MAX + 1;
}

static bool owner_is_gone(const struct lock *lock)
{
        return lock->owner > 0 && lock->owner <= THREADS_MAX && thread[lock->owner - 1].state == ENDED;
}

/* A forked thread has locked what the one had that it is a copy of. */
static bool is_mine(const struct lock *lock)
{
        return lock->owner == me() || (current && current->copy_of > 0 && lock->owner == current->copy_of);
}

/* The names are the linker's: NOLINTBEGIN(bugprone-reserved-identifier) */
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_consistent(pthread_mutex_t *mutex);
int __wrap_pthread_once(pthread_once_t *once, void (*routine)(void));

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
        int robust = PTHREAD_MUTEX_STALLED;

        if (attr)
                pthread_mutexattr_getrobust(attr, &robust);
        *lock_of(mutex) = (struct lock){ .robust = robust == PTHREAD_MUTEX_ROBUST };
        return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
        if (lock_of(mutex)->owner)
                fail("it destroys a mutex that is locked");
        return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
        struct lock *lock = lock_of(mutex);

        system_call("pthread_mutex_trylock", mutex);
        if (current && lock->owner == 0)
                current->tried = NULL;
        if (lock->owner == 0) {
                lock->owner = me();
                return 0;
        }
        if (lock->robust && owner_is_gone(lock)) {
                lock->owner = me();
                return EOWNERDEAD;
        }
        /* Who tries it again at once waits for it. */
        if (current && current->tried == mutex)
                give_way();
        else if (current)
                current->tried = mutex;
        return EBUSY;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
        struct lock *lock = lock_of(mutex);

        system_call("pthread_mutex_lock", mutex);
        while (lock->owner != 0) {
                if (lock->owner == me())
                        fail("it locks a mutex that it has locked");
                if (owner_is_gone(lock))
                        fail("it waits for a mutex that a thread has locked which has ended");
                fall_asleep(mutex, OS_NEVER);
        }
        lock->owner = me();
        return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
        system_call("pthread_mutex_unlock", mutex);
        if (!is_mine(lock_of(mutex)))
                fail("it unlocks a mutex that it has not locked");
        lock_of(mutex)->owner = 0;
        wake_sleepers(mutex, 1);
        return 0;
}

int __wrap_pthread_mutex_consistent(pthread_mutex_t *mutex)
{
        (void)mutex;
        return 0;
}

int __wrap_pthread_once(pthread_once_t *once, void (*routine)(void))
{
        enum { NOT_YET, BEGUN, DONE };
        int *state = (int *)once;

        step("pthread_once", once);
        while (*state == BEGUN)
                fall_asleep(once, OS_NEVER);
        if (*state == DONE)
                return 0;
        *state = BEGUN;
        routine();
        *state = DONE;
        wake_sleepers(once, THREADS_MAX);
        return 0;
}
/* NOLINTEND(bugprone-reserved-identifier) */
