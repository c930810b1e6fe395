/* inject.h - the system's calls, counted, and one of them refused
 *
 * SPDX-License-Identifier: MIT
 *
 * The linker puts the calls of this file before those of libc that lib/os and the rest of the
 * library make (--wrap, see Makefile.am).  A thread that has begun an injection counts them,
 * and one of them, or all of a name, fails with an errno.  Everybody else's go through.
 *
 * The errnos of a call are those that its manual page names (Linux man-pages 6.03), and what a
 * filter of a container answers: ENOSYS, EPERM.  Whatever cannot fail (getpid, clock_gettime,
 * the sets of signals) is no call here, and no errno that is an answer: ENXIO of lseek says that
 * there is no data, ESRCH of kill that there is no such process.
 */
#ifndef AMMAP_TESTS_INJECT_H
#define AMMAP_TESTS_INJECT_H

#include "wrapped.h"

/* clang-format off */
/* Names of calls, by what they are for where that says what they can fail with. */
#define INJECT_POINTS(point) \
        point(malloc, ENOMEM) \
        point(map, EAGAIN, EINVAL, ENOMEM, EPERM, ENOSYS) \
        point(map_file, EACCES, EAGAIN, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM, ETXTBSY) \
        point(munmap, EINVAL, ENOMEM) \
        point(mprotect, EACCES, EINVAL, ENOMEM) \
        point(mremap, EAGAIN, EFAULT, EINVAL, ENOMEM, ENOSYS, EPERM) \
        point(madvise, EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EHWPOISON, EINVAL, EIO, ENOMEM, EPERM, ENOSYS) \
        point(mlock, EAGAIN, EINVAL, ENOMEM, EPERM, ENOSYS) \
        point(munlock, EAGAIN, EINVAL, ENOMEM, EPERM, ENOSYS) \
        point(msync, EBUSY, EINVAL, EIO, ENOMEM) \
        point(mincore, EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ENOSYS) \
        point(memfd_create, EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS) \
        point(open, EACCES, EBUSY, EDQUOT, EEXIST, EFAULT, EFBIG, EINTR, EINVAL, EISDIR, ELOOP, EMFILE, \
              ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOTDIR, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM, \
              EROFS, ETXTBSY, EWOULDBLOCK) \
        point(ftruncate, EACCES, EBADF, EFBIG, EINTR, EINVAL, EIO, EPERM, ETXTBSY) \
        point(fallocate, EBADF, EFBIG, EINTR, EINVAL, EIO, ENODEV, ENOSPC, EDQUOT, ENOSYS, EOPNOTSUPP, EPERM, \
              ESPIPE, ETXTBSY) \
        point(fchmod, EBADF, EIO, ENOMEM, EPERM, EROFS) \
        point(fcntl_dup, EBADF, EINVAL, EMFILE, EPERM) \
        point(fcntl_get, EBADF, EPERM) \
        point(fcntl_lock, EACCES, EAGAIN, EBADF, EDEADLK, EINTR, EINVAL, ENOLCK, EPERM) \
        point(fcntl_seals, EBADF, EINVAL, EPERM) \
        point(fcntl_seal, EBADF, EBUSY, EINVAL, EPERM) \
        point(fstat, EACCES, EBADF, EFAULT, ENOMEM, EOVERFLOW) \
        point(stat, EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EOVERFLOW) \
        point(fstatfs, EBADF, EINTR, EIO, ENOMEM, ENOSYS, EOVERFLOW) \
        point(lseek, EBADF, EINVAL, EOVERFLOW, ESPIPE) \
        point(pread, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR, ENXIO, EOVERFLOW, ESPIPE) \
        point(pwrite, EAGAIN, EBADF, EDQUOT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, ENXIO, EOVERFLOW, EPERM, ESPIPE) \
        point(read, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR) \
        point(write, EAGAIN, EBADF, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPERM, EPIPE) \
        point(pipe2, EINVAL, EMFILE, ENFILE) \
        point(process_vm, EFAULT, EINVAL, ENOMEM, EPERM, ESRCH, ENOSYS) \
        point(sendmsg, EACCES, EAGAIN, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT, EINTR, EINVAL, EISCONN, EMSGSIZE, \
              ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE) \
        point(recvmsg, EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK) \
        point(getsockopt, EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK) \
        point(setsockopt, EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK) \
        point(ioctl, EBADF, EFAULT, EINTR, EINVAL, ENOTTY, EPERM, ENOMEM) \
        point(getrandom, EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS, EPERM) \
        point(fsync, EBADF, EINTR, EIO, ENOSPC, EROFS, EDQUOT, EINVAL) \
        point(prctl, EBADF, EFAULT, EINVAL, ENOMEM, EPERM) \
        point(poll, EFAULT, EINTR, EINVAL, ENOMEM) \
        point(close, EBADF, EINTR, EIO, ENOSPC, EDQUOT) \
        point(kill, EINVAL, EPERM) \
        point(getrlimit, EFAULT, EINVAL, EPERM) \
        point(futex_wait, EACCES, EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS) \
        point(futex_wake, EACCES, EFAULT, EINVAL, ENOSYS) \
        point(membarrier, EINVAL, ENOSYS, EPERM) \
        point(pidfd_open, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS, EPERM) \
        point(tgkill, EAGAIN, EPERM) \
        point(get_robust_list, EFAULT, EINVAL, EPERM, ENOSYS) \
        point(pthread_mutexattr_init, ENOMEM) \
        point(pthread_mutex_init, EAGAIN, ENOMEM) \
        point(pthread_key_create, EAGAIN, ENOMEM) \
        point(pthread_setspecific, EINVAL, ENOMEM) \
        point(pthread_atfork, ENOMEM)
/* clang-format on */

enum inject_point {
#define INJECT_ENUM(name, ...) INJECT_##name,
        INJECT_POINTS(INJECT_ENUM) INJECT_COUNT
};

enum { INJECT_ERRORS = 28 };

static const struct {
        const char *name;
        int errors[INJECT_ERRORS];
} inject_points[] = {
#define INJECT_ROW(name, ...) { #name, { __VA_ARGS__ } },
        INJECT_POINTS(INJECT_ROW)
};

/* One refusal: of call number nth of a name, or, 0, of all. */
struct injection {
        enum inject_point point; /* INJECT_COUNT: none */
        int error;
        unsigned nth;
};

static _Thread_local struct {
        bool on;
        struct injection first, always; /* always: what this system does not have */
        unsigned refused;               /* by the first */
        unsigned seen[INJECT_COUNT];
        size_t kept; /* bytes that munmap would have given back */
} inject;

static inline void inject_begin(const struct injection *first, const struct injection *always)
{
        memset(&inject, 0, sizeof(inject));
        inject.first = first ? *first : (struct injection){ .point = INJECT_COUNT };
        inject.always = always ? *always : (struct injection){ .point = INJECT_COUNT };
        inject.on = true;
}

/* How often something was refused. */
static inline unsigned inject_end(void)
{
        inject.on = false;
        return inject.refused;
}

/* 0, or the errno to fail with. */
static inline int inject_next(enum inject_point point)
{
        if (!inject.on)
                return 0;
        inject.seen[point]++;
        if (point == inject.first.point && (inject.first.nth == 0 || inject.first.nth == inject.seen[point])) {
                inject.refused++;
                return inject.first.error;
        }
        return point == inject.always.point ? inject.always.error : 0;
}

/* In musl's headers, up to 1.2.3, these are macros, and would make a second wrapper of each. */
#undef mmap64
#undef ftruncate64
#undef fallocate64
#undef fstat64
#undef stat64
#undef fstatfs64
#undef lseek64
#undef pread64
#undef pwrite64
#undef open64
#undef fcntl64
#undef getrlimit64

/* --- Blocks of memory -------------------------------------------------------- */

/* Alive, of those that the objects of this program have allocated. */
static _Atomic long inject_blocks;

#define INJECT_WRAP(type, name, parameters)                                                                            \
        type __real_##name parameters __attribute__((weak));                                                           \
        type __wrap_##name parameters;                                                                                 \
        type __wrap_##name parameters

#define INJECT_FAIL(point, value)                                                                                      \
        do {                                                                                                           \
                int error_ = inject_next(INJECT_##point);                                                              \
                if (error_) {                                                                                          \
                        errno = error_;                                                                                \
                        return value;                                                                                  \
                }                                                                                                      \
        } while (0)

static inline void *inject_block(void *block)
{
        if (block)
                atomic_fetch_add(&inject_blocks, 1);
        return block;
}

INJECT_WRAP(void *, malloc, (size_t size))
{
        INJECT_FAIL(malloc, NULL);
        return inject_block(__real_malloc(size));
}

INJECT_WRAP(void *, calloc, (size_t count, size_t size))
{
        INJECT_FAIL(malloc, NULL);
        return inject_block(__real_calloc(count, size));
}

INJECT_WRAP(void *, aligned_alloc, (size_t alignment, size_t size))
{
        INJECT_FAIL(malloc, NULL);
        return inject_block(__real_aligned_alloc(alignment, size));
}

INJECT_WRAP(int, posix_memalign, (void **block, size_t alignment, size_t size))
{
        int rc = inject_next(INJECT_malloc);

        if (rc == 0 && (rc = __real_posix_memalign(block, alignment, size)) == 0)
                inject_block(*block);
        return rc;
}

INJECT_WRAP(void, free, (void *block))
{
        if (block)
                atomic_fetch_sub(&inject_blocks, 1);
        __real_free(block);
}

/* --- Memory ------------------------------------------------------------------- */

#define INJECT_MMAP(name)                                                                                              \
        INJECT_WRAP(void *, name, (void *address, size_t length, int protection, int flags, int fd, off_t offset))     \
        {                                                                                                              \
                if (fd < 0)                                                                                            \
                        INJECT_FAIL(map, MAP_FAILED);                                                                  \
                else                                                                                                   \
                        INJECT_FAIL(map_file, MAP_FAILED);                                                             \
                return __real_##name(address, length, protection, flags, fd, offset);                                  \
        }
INJECT_MMAP(mmap)
INJECT_MMAP(mmap64)

INJECT_WRAP(int, munmap, (void *address, size_t length))
{
        int error = inject_next(INJECT_munmap);

        if (!error)
                return __real_munmap(address, length);
        inject.kept += length;
        errno = error;
        return -1;
}

INJECT_WRAP(void *, mremap, (void *address, size_t length, size_t wanted, int flags, ...))
{
        void *at = NULL;
        va_list rest;

        if (flags & MREMAP_FIXED) {
                va_start(rest, flags);
                at = va_arg(rest, void *);
                va_end(rest);
        }
        INJECT_FAIL(mremap, MAP_FAILED);
        return flags & MREMAP_FIXED ? __real_mremap(address, length, wanted, flags, at)
                                    : __real_mremap(address, length, wanted, flags);
}

/* A call that is refused and does nothing. */
#define INJECT_CALL(type, name, point, parameters, arguments)                                                          \
        INJECT_WRAP(type, name, parameters)                                                                            \
        {                                                                                                              \
                INJECT_FAIL(point, -1);                                                                                \
                return __real_##name arguments;                                                                        \
        }

INJECT_CALL(int, mprotect, mprotect, (void *address, size_t length, int protection), (address, length, protection))
INJECT_CALL(int, madvise, madvise, (void *address, size_t length, int advice), (address, length, advice))
INJECT_CALL(int, mlock, mlock, (const void *address, size_t length), (address, length))
INJECT_CALL(int, munlock, munlock, (const void *address, size_t length), (address, length))
INJECT_CALL(int, msync, msync, (void *address, size_t length, int flags), (address, length, flags))
INJECT_CALL(int, mincore, mincore, (void *address, size_t length, unsigned char *there), (address, length, there))
INJECT_CALL(ssize_t, process_vm_readv, process_vm,
            (pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far, unsigned long fars,
             unsigned long flags),
            (pid, near, nears, far, fars, flags))
INJECT_CALL(ssize_t, process_vm_writev, process_vm,
            (pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far, unsigned long fars,
             unsigned long flags),
            (pid, near, nears, far, fars, flags))

/* --- Descriptors ---------------------------------------------------------------- */

INJECT_CALL(int, memfd_create, memfd_create, (const char *name, unsigned flags), (name, flags))
INJECT_CALL(int, ftruncate, ftruncate, (int fd, off_t size), (fd, size))
INJECT_CALL(int, ftruncate64, ftruncate, (int fd, off_t size), (fd, size))
INJECT_CALL(int, fallocate, fallocate, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
INJECT_CALL(int, fallocate64, fallocate, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
INJECT_CALL(int, fchmod, fchmod, (int fd, mode_t mode), (fd, mode))
INJECT_CALL(int, fstat, fstat, (int fd, struct stat *status), (fd, status))
INJECT_CALL(int, fstat64, fstat, (int fd, struct stat *status), (fd, status))
INJECT_CALL(int, stat, stat, (const char *path, struct stat *status), (path, status))
INJECT_CALL(int, stat64, stat, (const char *path, struct stat *status), (path, status))
INJECT_CALL(int, fstatfs, fstatfs, (int fd, struct statfs *status), (fd, status))
INJECT_CALL(int, fstatfs64, fstatfs, (int fd, struct statfs *status), (fd, status))
INJECT_CALL(off_t, lseek, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
INJECT_CALL(off_t, lseek64, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
INJECT_CALL(ssize_t, pread, pread, (int fd, void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
INJECT_CALL(ssize_t, pread64, pread, (int fd, void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
INJECT_CALL(ssize_t, pwrite, pwrite, (int fd, const void *bytes, size_t length, off_t offset),
            (fd, bytes, length, offset))
INJECT_CALL(ssize_t, pwrite64, pwrite, (int fd, const void *bytes, size_t length, off_t offset),
            (fd, bytes, length, offset))
INJECT_CALL(ssize_t, read, read, (int fd, void *bytes, size_t length), (fd, bytes, length))
INJECT_CALL(ssize_t, write, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
INJECT_CALL(int, pipe2, pipe2, (int ends[2], int flags), (ends, flags))
INJECT_CALL(ssize_t, sendmsg, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
INJECT_CALL(ssize_t, recvmsg, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
INJECT_CALL(int, getsockopt, getsockopt, (int fd, int level, int option, void *value, socklen_t *size),
            (fd, level, option, value, size))
INJECT_CALL(int, setsockopt, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
            (fd, level, option, value, size))
INJECT_CALL(ssize_t, getrandom, getrandom, (void *bytes, size_t length, unsigned flags), (bytes, length, flags))
INJECT_CALL(int, fsync, fsync, (int fd), (fd))
INJECT_CALL(int, poll, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))
INJECT_CALL(int, kill, kill, (pid_t pid, int number), (pid, number))

/* The descriptor is closed, whatever the call says (close(2)). */
INJECT_WRAP(int, close, (int fd))
{
        int error = inject_next(INJECT_close), rc = __real_close(fd);

        if (!error)
                return rc;
        errno = error;
        return -1;
}

#define INJECT_OPEN(name)                                                                                              \
        INJECT_WRAP(int, name, (const char *path, int flags, ...))                                                     \
        {                                                                                                              \
                mode_t mode = 0;                                                                                       \
                va_list rest;                                                                                          \
                                                                                                                       \
                if (flags & O_CREAT) {                                                                                 \
                        va_start(rest, flags);                                                                         \
                        mode = va_arg(rest, mode_t);                                                                   \
                        va_end(rest);                                                                                  \
                }                                                                                                      \
                INJECT_FAIL(open, -1);                                                                                 \
                return __real_##name(path, flags, mode);                                                               \
        }
INJECT_OPEN(open)
INJECT_OPEN(open64)

static inline enum inject_point inject_fcntl(int command)
{
        switch (command) {
        case F_DUPFD:
        case F_DUPFD_CLOEXEC:
                return INJECT_fcntl_dup;
        case F_ADD_SEALS:
                return INJECT_fcntl_seal;
        case F_GET_SEALS:
                return INJECT_fcntl_seals;
        case F_GETFD:
        case F_GETFL:
                return INJECT_fcntl_get;
        default:
                return INJECT_fcntl_lock;
        }
}

/* The argument is a pointer, an int, or is not there: all are in a register. */
#define INJECT_FCNTL(name)                                                                                             \
        INJECT_WRAP(int, name, (int fd, int command, ...))                                                             \
        {                                                                                                              \
                int error = inject_next(inject_fcntl(command));                                                        \
                va_list rest;                                                                                          \
                void *argument;                                                                                        \
                                                                                                                       \
                va_start(rest, command);                                                                               \
                argument = va_arg(rest, void *);                                                                       \
                va_end(rest);                                                                                          \
                if (!error)                                                                                            \
                        return __real_##name(fd, command, argument);                                                   \
                errno = error;                                                                                         \
                return -1;                                                                                             \
        }
INJECT_FCNTL(fcntl)
INJECT_FCNTL(fcntl64)

INJECT_WRAP(int, ioctl, (int fd, unsigned long request, ...))
{
        va_list rest;
        void *argument;

        va_start(rest, request);
        argument = va_arg(rest, void *);
        va_end(rest);
        INJECT_FAIL(ioctl, -1);
        return __real_ioctl(fd, request, argument);
}

INJECT_WRAP(int, prctl, (int option, ...))
{
        unsigned long a[4];
        va_list rest;

        va_start(rest, option);
        for (int i = 0; i < 4; i++)
                a[i] = va_arg(rest, unsigned long);
        va_end(rest);
        INJECT_FAIL(prctl, -1);
        return __real_prctl(option, a[0], a[1], a[2], a[3]);
}

/* --- The rest --------------------------------------------------------------------- */

#ifdef __GLIBC__ /* where the resource is an enum */
typedef __rlimit_resource_t inject_resource;
#else
typedef int inject_resource;
#endif
INJECT_CALL(int, getrlimit, getrlimit, (inject_resource resource, struct rlimit *limit), (resource, limit))
INJECT_CALL(int, getrlimit64, getrlimit, (inject_resource resource, struct rlimit *limit), (resource, limit))

static inline enum inject_point inject_syscall(long number, long operation)
{
        switch (number) {
#ifdef SYS_futex
        case SYS_futex:
#endif
#ifdef SYS_futex_time64
        case SYS_futex_time64:
#endif
                operation &= ~(long)FUTEX_PRIVATE_FLAG;
                return operation == FUTEX_WAKE ? INJECT_futex_wake : INJECT_futex_wait;
        case SYS_membarrier:
                return INJECT_membarrier;
        case SYS_pidfd_open:
                return INJECT_pidfd_open;
        case SYS_tgkill:
                return INJECT_tgkill;
        case SYS_get_robust_list:
                return INJECT_get_robust_list;
        default:
                return INJECT_COUNT; /* gettid: it cannot fail */
        }
}

INJECT_WRAP(long, syscall, (long number, ...))
{
        enum inject_point point;
        va_list rest;
        long a[6];
        int error;

        va_start(rest, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(rest, long);
        va_end(rest);
        point = inject_syscall(number, a[1]);
        error = point == INJECT_COUNT ? 0 : inject_next(point);
        if (!error)
                return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        errno = error;
        return -1;
}

/* These return their error. */
#define INJECT_RETURN(name, parameters, arguments)                                                                     \
        INJECT_WRAP(int, name, parameters)                                                                             \
        {                                                                                                              \
                int error = inject_next(INJECT_##name);                                                                \
                                                                                                                       \
                return error ? error : __real_##name arguments;                                                        \
        }
INJECT_RETURN(pthread_mutexattr_init, (pthread_mutexattr_t * attributes), (attributes))
INJECT_RETURN(pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes), (mutex, attributes))
INJECT_RETURN(pthread_key_create, (pthread_key_t * key, void (*destructor)(void *)), (key, destructor))
INJECT_RETURN(pthread_setspecific, (pthread_key_t key, const void *value), (key, value))
INJECT_RETURN(pthread_atfork, (void (*before)(void), void (*after)(void), void (*child)(void)), (before, after, child))

#endif /* AMMAP_TESTS_INJECT_H */
