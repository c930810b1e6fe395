/* linux-memory.c - memory: advice on it, files mapped into it, copies that raise no signal
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define _FILE_OFFSET_BITS 64

#include "os/os.h"

#include "os/calm.h"
#include "os/linux-abi.h"
#include "os/linux.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* --- Advice on memory --- */

static int advise(void *address, size_t length, int advice)
{
        /* As a kernel answers that does not know it.  Memory is given back, however. */
        if (os_advice_ignored && advice != MADV_DONTNEED)
                return -EINVAL;
        return madvise(address, length, advice) < 0 ? -errno : 0;
}

int os_discard(void *address, size_t length)
{
        return advise(address, length, MADV_DONTNEED);
}

int os_name(void *address, size_t length, const char *name)
{
        return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, length, name) < 0 ? -errno : 0;
}

int os_guard(void *address, size_t length)
{
        return advise(address, length, MADV_GUARD_INSTALL);
}

int os_nodump(void *address, size_t length)
{
        return advise(address, length, MADV_DONTDUMP);
}

int os_omit_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_DONTFORK);
}

int os_keep_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_DOFORK);
}

int os_wipe_on_fork(void *address, size_t length)
{
        return advise(address, length, MADV_WIPEONFORK);
}

int os_populate(void *address, size_t length, enum os_access access)
{
        return advise(address, length, access == OS_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

int os_advise(void *address, size_t length, enum os_advice advice)
{
        static const int madv[] = {
                [OS_NORMAL] = MADV_NORMAL,
                [OS_RANDOM] = MADV_RANDOM,
                [OS_SEQUENTIAL] = MADV_SEQUENTIAL,
                [OS_WILLNEED] = MADV_WILLNEED,
                [OS_COLD] = MADV_COLD,
                [OS_PAGEOUT] = MADV_PAGEOUT,
                [OS_HUGEPAGE] = MADV_HUGEPAGE,
                [OS_NOHUGEPAGE] = MADV_NOHUGEPAGE,
        };

        /* Of these nothing is promised. */
        return madvise(address, length, madv[advice]) < 0 ? -errno : 0;
}

/* A whole table of 8-byte entries, one page large, points to a huge page's worth. */
size_t os_huge_size(void)
{
        return os_page_size() / 8 * os_page_size();
}

int os_collapse(void *address, size_t length)
{
        return advise(address, length, MADV_COLLAPSE);
}

/* --- Mappings --- */

int os_move(void *address, void *from, size_t length)
{
        return mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, address) == MAP_FAILED ? -errno : 0;
}

int os_move_over(void *address, void *from, size_t length)
{
        int rc = os_move(address, from, length);

        if (rc < 0)
                munmap(from, length);
        return rc;
}

/* Mapped at the address at once, what is there would be gone when the file, or a
 * limit, refuses, and the hole anyone's.  So it is mapped elsewhere and moved. */
static int map_piece(void *address, size_t length, int fd, uint64_t offset, int protection)
{
        void *copy = mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)offset);
        int rc;

        if (copy == MAP_FAILED)
                return -errno;
        rc = os_move_over(address, copy, length);
        if (!os_absent(rc))
                return rc;
        /* Where nothing can be moved, the file has just not refused. */
        copy = mmap(address, length, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);
        return copy == MAP_FAILED ? -errno : 0;
}

static const int protection[] = { [OS_NONE] = PROT_NONE, [OS_READ] = PROT_READ, [OS_WRITE] = PROT_READ | PROT_WRITE };

/* In smaller pieces where there is no room for twice as much. */
int os_map_file(void *address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        const size_t least = 256 * os_page_size();
        struct os_calm calm = os_calm_begin();
        size_t piece = length;
        int rc = 0;

        for (size_t at = 0; at < length && rc == 0;) {
                if (piece > length - at)
                        piece = length - at;
                rc = map_piece((char *)address + at, piece, fd, offset + at, protection[access]);
                if (rc == 0) {
                        at += piece;
                } else if ((rc == -ENOMEM || rc == -EAGAIN) && piece > least) {
                        piece = (piece / 2 + os_page_size() - 1) & ~(os_page_size() - 1);
                        rc = 0;
                }
        }
        return os_calm_end(calm, rc);
}

int os_map_file_anywhere(void **address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        struct os_calm calm = os_calm_begin();
        void *made = mmap(NULL, length, protection[access], MAP_SHARED, fd, (off_t)offset);

        if (made == MAP_FAILED)
                return os_calm_end(calm, -errno);
        *address = made;
        return os_calm_end(calm, 0);
}

/* Of old size 0, a shared mapping is doubled; this is allowed where the file is
 * sealed against new ones.  Straight to the address, a limit on locked memory
 * would be found after what is there was unmapped. */
int os_map_again(void *address, void *shared, size_t length)
{
        struct os_calm calm = os_calm_begin();
        void *copy = mremap(shared, 0, length, MREMAP_MAYMOVE);

        if (copy == MAP_FAILED)
                return os_calm_end(calm, -errno);
        return os_calm_end(calm, os_move_over(address, copy, length));
}

int os_remove(void *address, size_t length)
{
        struct os_calm calm = os_calm_begin();

        return os_calm_end(calm, advise(address, length, MADV_REMOVE));
}

int os_sync(int fd, void *address, size_t length)
{
        struct os_calm calm = os_calm_begin();
        int rc;

        do
                rc = msync(address, length, MS_SYNC);
        while (rc < 0 && errno == EINTR);
        while (rc == 0 && fsync(fd) < 0)
                if (errno != EINTR)
                        rc = -1;
        return os_calm_end(calm, rc < 0 ? -errno : 0);
}

/* --- Copies that raise no signal --- */

/* The bytes go through a pipe, in pieces that fit in for certain. */
static int copy_piece(const int ends[2], void *to, const void *from, size_t length, size_t *done)
{
        ssize_t n;

        do
                n = write(ends[1], from, length);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if ((size_t)n < length)
                return -EFAULT;
        do
                n = read(ends[0], to, length);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        *done += (size_t)n;
        return (size_t)n < length ? -EFAULT : 0;
}

static int copy_by_pipe(char *to, const char *from, size_t length, size_t *done)
{
        int ends[2], rc = 0;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        while (*done < length && rc == 0)
                rc = copy_piece(ends, to + *done, from + *done, length - *done < PIPE_BUF ? length - *done : PIPE_BUF,
                                done);
        close(ends[0]);
        close(ends[1]);
        return rc;
}

/* The calling thread's ID, which stays, but for a child's: for a child that nobody was told of
 * the kernel is asked each time.  (The process's ID would name nobody where its first thread
 * has ended.) */
static pid_t own_id(void)
{
        static _Thread_local pid_t id;
        static _Thread_local uint32_t noted_at;
        const uint32_t forks = atomic_load_explicit(&os_forks, memory_order_relaxed);

        if (os_forked_quick())
                return (pid_t)os_thread();
        if (id == 0 || noted_at != forks) {
                id = (pid_t)os_thread();
                noted_at = forks;
        }
        return id;
}

/* The kernel copies up to 2 GiB at once, or up to the page that it cannot have. */
static int copy_by_kernel(bool write, char *local, char *remote, size_t length, size_t *done)
{
        while (*done < length) {
                struct iovec near = { local + *done, length - *done }, far = { remote + *done, length - *done };
                pid_t self = own_id();
                ssize_t n = write ? process_vm_writev(self, &near, 1, &far, 1, 0)
                                  : process_vm_readv(self, &near, 1, &far, 1, 0);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EFAULT;
                *done += (size_t)n;
        }
        return 0;
}

int os_peek(void *to, const void *from, size_t length)
{
        struct os_calm calm = os_calm_begin();
        size_t done = 0;
        int rc = copy_by_kernel(false, to, (char *)(uintptr_t)from, length, &done);

        if (rc < 0 && rc != -EFAULT)
                rc = copy_by_pipe(to, from, length, &done);
        return os_calm_end(calm, rc);
}

int os_poke(void *to, const void *from, size_t length, size_t *done)
{
        struct os_calm calm = os_calm_begin();
        int rc;

        *done = 0;
        rc = copy_by_kernel(true, (char *)(uintptr_t)from, to, length, done);
        if (rc < 0 && rc != -EFAULT)
                rc = copy_by_pipe(to, from, length, done);
        return os_calm_end(calm, rc);
}

/* The kernel copies them in a row.  Processors that let loads, or stores, pass one another are given one
 * at a time, with a fence between two, which holds for what the kernel does on the same
 * processor. */
#if defined(__x86_64__) || defined(__i386__)
enum { PIECES_AT_ONCE = OS_PIECES_MAX };
#else
enum { PIECES_AT_ONCE = 1 };
#endif

static int copy_pieces(bool write, const struct os_piece *pieces, size_t count)
{
        struct os_calm calm = os_calm_begin();
        struct iovec to[OS_PIECES_MAX], from[OS_PIECES_MAX];
        int rc = 0;

        for (size_t n; count > 0 && rc == 0; pieces += n, count -= n) { /* LCOV_EXCL_BR_LINE: once, on x86 */
                ssize_t copied, length = 0;

                for (n = 0; n < count && n < PIECES_AT_ONCE; n++) { /* LCOV_EXCL_BR_LINE: on x86 there are no more */
                        to[n] = (struct iovec){ pieces[n].to, pieces[n].length };
                        from[n] = (struct iovec){ (void *)(uintptr_t)pieces[n].from, pieces[n].length };
                        length += (ssize_t)pieces[n].length;
                }
                copied = write ? process_vm_writev(own_id(), from, n, to, n, 0)
                               : process_vm_readv(own_id(), to, n, from, n, 0);
                if (copied != length)
                        rc = copied < 0 ? -errno : -EFAULT;
                os_fence_full();
        }
        return os_calm_end(calm, rc);
}

int os_peek_pieces(const struct os_piece *pieces, size_t count)
{
        return copy_pieces(false, pieces, count);
}

int os_poke_pieces(const struct os_piece *pieces, size_t count)
{
        return copy_pieces(true, pieces, count);
}
