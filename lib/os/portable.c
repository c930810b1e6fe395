/* portable.c - the same as linux.c from POSIX alone
 *
 * SPDX-License-Identifier: MIT
 *
 * Sleepers of a word queue in one of a fixed number of buckets, chosen by the
 * word's address, each sleeper with a condition variable of its own.
 */
#include "os/os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A full fence on both sides: there is no way to interrupt the others. */
_Atomic bool os_fence_asymmetric;

struct sleeper {
        struct sleeper *next;
        const void *word;
        bool woken;
        pthread_cond_t wake;
};

/* Guards its list and every sleeper on it. */
static struct bucket {
        pthread_mutex_t mutex;
        struct sleeper *first;
} bucket[64];

static pid_t fork_pid;

static void reset_buckets(void)
{
        for (size_t i = 0; i < sizeof bucket / sizeof bucket[0]; i++) {
                pthread_mutex_init(&bucket[i].mutex, NULL);
                bucket[i].first = NULL;
        }
}

void os_start(void)
{
        reset_buckets();
        fork_pid = getpid();
}

void os_fence_heavy(void)
{
        os_fence_full();
}

static struct bucket *bucket_of(const void *word)
{
        uintptr_t key = (uintptr_t)word >> 2;

        key ^= key >> 6 ^ key >> 12;
        return &bucket[key % (sizeof bucket / sizeof bucket[0])];
}

/* The queue is first in, first out. */
static void enqueue(struct bucket *b, struct sleeper *s)
{
        struct sleeper **link = &b->first;

        while (*link)
                link = &(*link)->next;
        *link = s;
}

static void dequeue(struct bucket *b, struct sleeper *s)
{
        struct sleeper **link = &b->first;

        while (*link != s)
                link = &(*link)->next;
        *link = s->next;
}

/* A condition wait that is cancelled would leave its sleeper on the list, and
 * this library has no cancellation points. */
static int sleep_in(struct bucket *b, struct sleeper *s, int64_t deadline)
{
        const struct timespec until = { .tv_sec = (time_t)(deadline / 1000000000),
                                        .tv_nsec = (long)(deadline % 1000000000) };
        /* 32-bit seconds end after 68 years: for ever. */
        const bool ever = until.tv_sec != deadline / 1000000000 || deadline == OS_NEVER;
        int cancel, rc = 0;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
        while (!s->woken && rc == 0)
                rc = ever ? pthread_cond_wait(&s->wake, &b->mutex)
                          : pthread_cond_timedwait(&s->wake, &b->mutex, &until);
        pthread_setcancelstate(cancel, NULL);
        return s->woken ? 0 : -rc;
}

int os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        struct bucket *b = bucket_of(word);
        struct sleeper self = { .word = word };
        pthread_condattr_t attr;
        int rc = 0;

        os_fork_check();
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&self.wake, &attr);
        pthread_condattr_destroy(&attr);

        pthread_mutex_lock(&b->mutex);
        if (atomic_load(word) == expected) {
                enqueue(b, &self);
                rc = sleep_in(b, &self, deadline);
                if (!self.woken)
                        dequeue(b, &self);
        }
        pthread_mutex_unlock(&b->mutex);
        pthread_cond_destroy(&self.wake);
        return rc == -ETIMEDOUT ? rc : 0;
}

int os_wake(const _Atomic uint32_t *word, int count)
{
        struct bucket *b = bucket_of(word);
        struct sleeper **link = &b->first;
        int woken = 0;

        os_fork_check();
        pthread_mutex_lock(&b->mutex);
        while (*link && woken < count) {
                struct sleeper *s = *link;
                if (s->word != word) {
                        link = &s->next;
                        continue;
                }
                *link = s->next;
                s->woken = true;
                pthread_cond_signal(&s->wake);
                woken++;
        }
        pthread_mutex_unlock(&b->mutex);
        return woken;
}

int os_discard(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_resident(void *address, size_t length, unsigned char *there)
{
        (void)address, (void)length, (void)there;
        return -ENOSYS;
}

static _Atomic uint32_t no_fork_word;
_Atomic uint32_t *os_fork_word = &no_fork_word;

bool os_forked(void)
{
        return fork_pid != getpid();
}

/* Whoever slept or held a bucket in the parent is not here. */
void os_forked_reset(void)
{
        reset_buckets();
        fork_pid = getpid();
}

/* --- Memory: POSIX advises, and has none of the rest --- */

int os_advise(void *address, size_t length, enum os_advice advice)
{
        switch (advice) {
        case OS_NORMAL:
                return -posix_madvise(address, length, POSIX_MADV_NORMAL);
        case OS_RANDOM:
                return -posix_madvise(address, length, POSIX_MADV_RANDOM);
        case OS_SEQUENTIAL:
                return -posix_madvise(address, length, POSIX_MADV_SEQUENTIAL);
        case OS_WILLNEED:
                return -posix_madvise(address, length, POSIX_MADV_WILLNEED);
        default:
                return -ENOSYS;
        }
}

int os_name(void *address, size_t length, const char *name)
{
        (void)address, (void)length, (void)name;
        return -ENOSYS;
}

int os_guard(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_nodump(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_omit_on_fork(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

/* Nothing was omitted. */
int os_keep_on_fork(void *address, size_t length)
{
        (void)address, (void)length;
        return 0;
}

int os_wipe_on_fork(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_populate(void *address, size_t length, enum os_access access)
{
        (void)address, (void)length, (void)access;
        return -ENOSYS;
}

size_t os_huge_size(void)
{
        return 0;
}

int os_collapse(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_usage(const void *address, size_t length, struct os_usage *usage)
{
        (void)address, (void)length;
        *usage = (struct os_usage){ OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN, OS_UNKNOWN };
        return -ENOSYS;
}

int os_present(const void *address, size_t pages, unsigned char *present)
{
        (void)address, (void)pages, (void)present;
        return -ENOSYS;
}

/* --- Sharing: POSIX has no memory that cannot be taken away --- */

int os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        (void)word, (void)expected, (void)deadline;
        return -ENOSYS;
}

int os_wake_shared(const _Atomic uint32_t *word, int count)
{
        (void)word, (void)count;
        return -ENOSYS;
}

int os_peek(void *to, const void *from, size_t length)
{
        (void)to, (void)from, (void)length;
        return -ENOSYS;
}

int os_peek_pieces(const struct os_piece *pieces, size_t count)
{
        (void)pieces, (void)count;
        return -ENOSYS;
}

int os_poke_pieces(const struct os_piece *pieces, size_t count)
{
        (void)pieces, (void)count;
        return -ENOSYS;
}

int os_poke(void *to, const void *from, size_t length, size_t *done)
{
        (void)to, (void)from, (void)length;
        *done = 0;
        return -ENOSYS;
}

int os_memory(const char *name, uint64_t size)
{
        (void)name, (void)size;
        return -ENOSYS;
}

int os_open(const char *path, bool write, bool create)
{
        (void)path, (void)write, (void)create;
        return -ENOSYS;
}

int os_reopen(int fd, bool write)
{
        (void)fd, (void)write;
        return -ENOSYS;
}

int os_file(int fd, struct os_file *file)
{
        (void)fd;
        *file = (struct os_file){ .regular = false };
        return -ENOSYS;
}

bool os_is_huge(int fd)
{
        (void)fd;
        return false;
}

bool os_is_memory(int fd)
{
        (void)fd;
        return false;
}

int os_resize_file(int fd, uint64_t size)
{
        (void)fd, (void)size;
        return -ENOSYS;
}

int os_read_at(int fd, uint64_t offset, void *buffer, size_t length)
{
        (void)fd, (void)offset, (void)buffer, (void)length;
        return -ENOSYS;
}

int os_next_data(int fd, uint64_t offset, uint64_t *start, uint64_t *end)
{
        (void)fd;
        *start = *end = offset;
        return -ENOSYS;
}

int os_map_file(void *address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        (void)address, (void)length, (void)fd, (void)offset, (void)access;
        return -ENOSYS;
}

int os_map_file_anywhere(void **address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        (void)address, (void)length, (void)fd, (void)offset, (void)access;
        return -ENOSYS;
}

int os_map_again(void *address, void *shared, size_t length)
{
        (void)address, (void)shared, (void)length;
        return -ENOSYS;
}

int os_remove(void *address, size_t length)
{
        (void)address, (void)length;
        return -ENOSYS;
}

int os_sync(int fd, void *address, size_t length)
{
        (void)fd, (void)address, (void)length;
        return -ENOSYS;
}

int os_add_seals(int fd, unsigned seals)
{
        (void)fd, (void)seals;
        return -ENOSYS;
}

int os_seals(int fd)
{
        (void)fd;
        return -ENOSYS;
}

int os_send(int socket, int fd)
{
        (void)socket, (void)fd;
        return -ENOSYS;
}

int os_receive(int socket)
{
        (void)socket;
        return -ENOSYS;
}

int os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock)
{
        (void)fd, (void)offset, (void)count, (void)lock;
        return -ENOSYS;
}

int os_find_locked(int fd, struct os_locked *locked)
{
        (void)fd, (void)locked;
        return -ENOSYS;
}

int os_random(void *bytes, size_t length)
{
        (void)bytes, (void)length;
        return -ENOSYS;
}

int os_write_at(int fd, uint64_t offset, const void *bytes, size_t length)
{
        (void)fd, (void)offset, (void)bytes, (void)length;
        return -ENOSYS;
}

int os_allot(int fd, uint64_t offset, uint64_t length)
{
        (void)fd, (void)offset, (void)length;
        return -ENOSYS;
}

void os_boot(unsigned char boot[16])
{
        memset(boot, 0, 16);
}

uint64_t os_pid_space(void)
{
        return 0;
}

bool os_parent_is_near(void)
{
        return true;
}

uint32_t os_process(void)
{
        return (uint32_t)getpid();
}

/* By its number alone. */
int os_peer_begin(struct os_peer *peer, int32_t pid)
{
        *peer = (struct os_peer){ .pid = pid, .fd = -1 };
        return os_peer_ended(peer) ? -ESRCH : 0;
}

bool os_peer_ended(const struct os_peer *peer)
{
        int saved = errno;
        bool has = kill((pid_t)peer->pid, 0) < 0 && errno == ESRCH;

        errno = saved;
        return has;
}

void os_peer_end(const struct os_peer *peer)
{
        (void)peer;
}

/* Threads have no number. */
uint32_t os_thread(void)
{
        return 0;
}

bool os_thread_gone(uint32_t process, uint32_t thread)
{
        (void)process, (void)thread;
        return false;
}

size_t os_slot_word(void)
{
        return 0;
}

int os_slot_claim(void *page, int fd, uint64_t offset, struct os_slot *slot)
{
        (void)page, (void)fd, (void)offset;
        slot->view = NULL;
        return -ENOSYS;
}

void os_slot_release(struct os_slot *slot)
{
        (void)slot;
}

void os_slot_return(struct os_slot *slot, void *page, uint32_t thread)
{
        (void)slot, (void)page, (void)thread;
}

/* POSIX says nothing of a list. */
void os_robust_forget(void)
{
}

void os_slot_forget(struct os_slot *slot)
{
        (void)slot;
}

bool os_slot_taken(uint32_t word)
{
        (void)word;
        return false;
}

int os_life_begin(int fd, uint64_t offset, void **life)
{
        (void)fd, (void)offset;
        *life = NULL;
        return -ENOSYS;
}

void os_life_end(void *life)
{
        (void)life;
}
