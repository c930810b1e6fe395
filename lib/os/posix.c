/* posix.c - what POSIX offers everywhere
 *
 * SPDX-License-Identifier: MIT
 */
#define _FILE_OFFSET_BITS 64

#include "os/os.h"

#include "os/calm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* Noted, since libc looks for it among all that it is asked. */
size_t os_page_size(void)
{
        static _Atomic size_t known; /* relaxed: whoever finds it out finds the same */
        size_t page = atomic_load_explicit(&known, memory_order_relaxed);

        if (page == 0) {
                page = (size_t)sysconf(_SC_PAGESIZE);
                atomic_store_explicit(&known, page, memory_order_relaxed);
        }
        return page;
}

unsigned os_cpus(void)
{
#ifdef _SC_NPROCESSORS_ONLN
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        return cpus < 1 ? 1 : (unsigned)cpus;
#else
        return 1;
#endif
}

int os_map(void **address, size_t length)
{
        void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return -errno;
        *address = p;
        return 0;
}

int os_unmap(void *address, size_t length)
{
        return munmap(address, length) < 0 ? -errno : 0;
}

static int protection(enum os_access access)
{
        if (access == OS_NONE)
                return PROT_NONE;
        return access == OS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
}

int os_reserve(void **address, size_t length, enum os_access access, bool noreserve)
{
        int flags = MAP_PRIVATE | MAP_ANONYMOUS;
        void *p;

#ifdef MAP_NORESERVE
        if (noreserve)
                flags |= MAP_NORESERVE;
#else
        (void)noreserve;
#endif
        p = mmap(NULL, length, protection(access), flags, -1, 0);
        if (p == MAP_FAILED)
                return -errno;
        *address = p;
        return 0;
}

int os_protect(void *address, size_t length, enum os_access access)
{
        return mprotect(address, length, protection(access)) < 0 ? -errno : 0;
}

int os_dup(int fd)
{
        struct os_calm calm = os_calm_begin();
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, OS_FD_MIN);

        return os_calm_end(calm, copy < 0 ? -errno : copy);
}

/* Interrupted, it is closed all the same. */
void os_close(int fd)
{
        struct os_calm calm = os_calm_begin();

        close(fd);
        os_calm_end(calm, 0);
}

int os_is_file(int fd, uint64_t device, uint64_t inode)
{
        struct os_calm calm = os_calm_begin();
        struct stat st;
        int rc = fstat(fd, &st) < 0 ? -errno : st.st_dev == device && st.st_ino == inode;

        return os_calm_end(calm, rc == -EBADF ? 0 : rc);
}

void os_close_file(int fd, uint64_t device, uint64_t inode)
{
        if (os_is_file(fd, device, inode) > 0)
                os_close(fd);
}

int os_lock(void *address, size_t length)
{
        return mlock(address, length) < 0 ? -errno : 0;
}

int os_unlock(void *address, size_t length)
{
        return munlock(address, length) < 0 ? -errno : 0;
}

int64_t os_now(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t os_deadline(int64_t timeout_ns)
{
        int64_t now;

        if (timeout_ns < 0)
                return OS_NEVER;
        now = os_now();
        return timeout_ns < OS_NEVER - now ? now + timeout_ns : OS_NEVER;
}

static pthread_key_t thread_key;

int os_thread_key(void (*exit_thread)(void *value))
{
        return -pthread_key_create(&thread_key, exit_thread);
}

int os_thread_set(void *value)
{
        return -pthread_setspecific(thread_key, value);
}

/* The last round is when the runtimes of sanitizers go. */
unsigned os_thread_rounds(void)
{
        return PTHREAD_DESTRUCTOR_ITERATIONS - 1;
}

static void (*fork_child)(void);

/* The child has its own copy of everything but the wake-up word. */
static void at_fork_child(void)
{
        os_forked_reset();
        if (fork_child)
                fork_child();
}

int os_at_fork(void (*before)(void), void (*after)(void), void (*child)(void))
{
        fork_child = child;
        return -pthread_atfork(before, after, at_fork_child);
}

bool os_fork_check(void)
{
        if (!os_forked())
                return false;
        at_fork_child();
        return true;
}
