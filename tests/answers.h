/* answers.h - answers of the system that are made up
 *
 * SPDX-License-Identifier: MIT
 *
 * The linker puts the calls of this file before those of libc that the library makes (--wrap, see
 * Makefile.am).  A test says what some of them answer in the kernel's place: an errno, a number, fewer
 * bytes than were asked for; and what is read in /proc.  Everything else goes through.
 *
 * Each thread has answers of its own.
 */
#ifndef AMMAP_TESTS_ANSWERS_H
#define AMMAP_TESTS_ANSWERS_H

#include "wrapped.h"

#include <signal.h>

enum answer_call {
        ANSWER_MALLOC,
        ANSWER_MMAP, /* argument: the descriptor */
        ANSWER_MUNMAP,
        ANSWER_MREMAP,   /* the old size */
        ANSWER_MADVISE,  /* the advice */
        ANSWER_MPROTECT, /* the protection */
        ANSWER_MLOCK,
        ANSWER_MSYNC,
        ANSWER_MINCORE,
        ANSWER_PRCTL,
        ANSWER_OPEN,
        ANSWER_READ,   /* the descriptor */
        ANSWER_WRITE,  /* the descriptor */
        ANSWER_PREAD,  /* the descriptor */
        ANSWER_PWRITE, /* the descriptor */
        ANSWER_PIPE2,
        ANSWER_VM_COPY,
        ANSWER_FALLOCATE,
        ANSWER_FSTAT,   /* the descriptor */
        ANSWER_FSTATFS, /* the value is the file system's number */
        ANSWER_STAT,
        ANSWER_KILL,    /* the process */
        ANSWER_RECVMSG, /* the descriptor */
        ANSWER_SIGTIMEDWAIT,
        ANSWER_IOCTL, /* the request */
        ANSWER_GETRANDOM,
        ANSWER_SYSCONF, /* the name */
        ANSWER_SYSCALL, /* the number */
        ANSWER_ATTR_SHARED,
        ANSWER_ATTR_ROBUST,
        ANSWER_MUTEX_LOCK,
        ANSWER_MUTEX_UNLOCK,
};

/* What a call with such an argument answers: after so many that go through, so many times. */
struct answer {
        enum answer_call call;
        long argument; /* ANSWER_ANY: whatever it is */
        unsigned after, times;
        int error;                   /* -1 with that errno (or, of pthread's calls, that); or, 0, ... */
        long value;                  /* ... this */
        bool through;                /* none of these: the call goes through, after... */
        void (*besides)(void *what); /* ... this; what: the call's structure or address */
};
#define ANSWER_ANY LONG_MIN
#define ANSWER_ALWAYS UINT_MAX

static _Thread_local struct {
        struct answer list[8];
        size_t count;
        unsigned given;
        const char *path, *text; /* of a file in /proc, and what is in it */
} answers;

static inline void answers_end(void)
{
        memset(&answers, 0, sizeof(answers));
}

static inline void answer_add(const struct answer *answer)
{
        if (answers.count == COUNT_OF(answers.list)) /* children add some, too */
                abort();
        answers.list[answers.count++] = *answer;
}
#define answer_with(...) answer_add(&(const struct answer){ __VA_ARGS__ })

static inline void answer_error(enum answer_call call, long argument, unsigned times, int error)
{
        answer_with(.call = call, .argument = argument, .times = times, .error = error);
}

static inline void answer_value(enum answer_call call, long argument, unsigned times, long value)
{
        answer_with(.call = call, .argument = argument, .times = times, .value = value);
}

/* NULL: it goes through. */
static inline const struct answer *answer_next(enum answer_call call, long argument, void *what)
{
        for (size_t i = 0; i < answers.count; i++) {
                struct answer *answer = &answers.list[i];

                if (answer->call != call || (answer->argument != ANSWER_ANY && answer->argument != argument) ||
                    answer->times == 0)
                        continue;
                if (answer->after > 0) {
                        answer->after--;
                        continue;
                }
                if (answer->times != ANSWER_ALWAYS)
                        answer->times--;
                answers.given++;
                if (answer->besides)
                        answer->besides(what);
                if (answer->through)
                        return NULL;
                errno = answer->error ? answer->error : errno;
                return answer;
        }
        return NULL;
}

static inline long answer_is(const struct answer *answer)
{
        return answer->error ? -1 : answer->value;
}

#define ANSWER_WRAP(type, name, parameters)                                                                            \
        type __real_##name parameters __attribute__((weak));                                                           \
        type __wrap_##name parameters;                                                                                 \
        type __wrap_##name parameters

#define ANSWER_CALL(type, name, call, argument, what, parameters, arguments)                                           \
        ANSWER_WRAP(type, name, parameters)                                                                            \
        {                                                                                                              \
                const struct answer *answer = answer_next(ANSWER_##call, (long)(argument), (void *)(uintptr_t)(what)); \
                                                                                                                       \
                return answer ? (type)answer_is(answer) : __real_##name arguments;                                     \
        }

/* By both names that libc may have for it. */
#define ANSWER_BOTH(type, name, ...)                                                                                   \
        ANSWER_CALL(type, name, __VA_ARGS__)                                                                           \
        ANSWER_CALL(type, name##64, __VA_ARGS__)

ANSWER_WRAP(void *, malloc, (size_t size))
{
        return answer_next(ANSWER_MALLOC, (long)size, NULL) ? NULL : __real_malloc(size);
}

#define ANSWER_MMAP_AS(name)                                                                                           \
        ANSWER_WRAP(void *, name, (void *address, size_t length, int protection, int flags, int fd, off_t offset))     \
        {                                                                                                              \
                const struct answer *answer = answer_next(ANSWER_MMAP, fd, address);                                   \
                                                                                                                       \
                return answer ? MAP_FAILED : __real_##name(address, length, protection, flags, fd, offset);            \
        }
ANSWER_MMAP_AS(mmap)
ANSWER_MMAP_AS(mmap64)
ANSWER_CALL(int, munmap, MUNMAP, length, address, (void *address, size_t length), (address, length))
ANSWER_WRAP(void *, mremap, (void *address, size_t length, size_t wanted, int flags, ...))
{
        const struct answer *answer = answer_next(ANSWER_MREMAP, (long)length, address);
        void *at = NULL;
        va_list rest;

        if (answer)
                return MAP_FAILED;
        if (!(flags & MREMAP_FIXED))
                return __real_mremap(address, length, wanted, flags);
        va_start(rest, flags);
        at = va_arg(rest, void *);
        va_end(rest);
        return __real_mremap(address, length, wanted, flags, at);
}
ANSWER_CALL(int, madvise, MADVISE, advice, address, (void *address, size_t length, int advice),
            (address, length, advice))
ANSWER_CALL(int, mprotect, MPROTECT, protection, address, (void *address, size_t length, int protection),
            (address, length, protection))
ANSWER_CALL(int, mlock, MLOCK, length, address, (const void *address, size_t length), (address, length))
ANSWER_CALL(int, msync, MSYNC, flags, address, (void *address, size_t length, int flags), (address, length, flags))
ANSWER_CALL(int, mincore, MINCORE, length, there, (void *address, size_t length, unsigned char *there),
            (address, length, there))
ANSWER_WRAP(int, prctl, (int option, ...))
{
        const struct answer *answer = answer_next(ANSWER_PRCTL, option, NULL);
        unsigned long a[4];
        va_list rest;

        va_start(rest, option);
        for (int i = 0; i < 4; i++)
                a[i] = va_arg(rest, unsigned long);
        va_end(rest);
        return answer ? (int)answer_is(answer) : __real_prctl(option, a[0], a[1], a[2], a[3]);
}

/* What a test has made up, to be read from the beginning. */
static inline int answer_file(const char *text)
{
        int fd = (int)syscall(SYS_memfd_create, "made-up", 0);

        if (fd >= 0 && (pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text)))
                _exit(99);
        return fd;
}

#define ANSWER_OPEN_AS(name)                                                                                           \
        ANSWER_WRAP(int, name, (const char *path, int flags, ...))                                                     \
        {                                                                                                              \
                const struct answer *answer = answer_next(ANSWER_OPEN, flags, NULL);                                   \
                mode_t mode = 0;                                                                                       \
                va_list rest;                                                                                          \
                                                                                                                       \
                if (answer)                                                                                            \
                        return (int)answer_is(answer);                                                                 \
                if (answers.path && strcmp(path, answers.path) == 0)                                                   \
                        return answer_file(answers.text);                                                              \
                if (flags & O_CREAT) {                                                                                 \
                        va_start(rest, flags);                                                                         \
                        mode = va_arg(rest, mode_t);                                                                   \
                        va_end(rest);                                                                                  \
                }                                                                                                      \
                return __real_##name(path, flags, mode);                                                               \
        }
ANSWER_OPEN_AS(open)
ANSWER_OPEN_AS(open64)

ANSWER_CALL(ssize_t, read, READ, fd, bytes, (int fd, void *bytes, size_t length), (fd, bytes, length))
ANSWER_CALL(ssize_t, write, WRITE, fd, bytes, (int fd, const void *bytes, size_t length), (fd, bytes, length))
ANSWER_BOTH(ssize_t, pread, PREAD, fd, bytes, (int fd, void *bytes, size_t length, off_t offset),
            (fd, bytes, length, offset))
ANSWER_BOTH(ssize_t, pwrite, PWRITE, fd, bytes, (int fd, const void *bytes, size_t length, off_t offset),
            (fd, bytes, length, offset))
ANSWER_CALL(int, pipe2, PIPE2, flags, ends, (int ends[2], int flags), (ends, flags))
ANSWER_CALL(ssize_t, process_vm_readv, VM_COPY, pid, near,
            (pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far, unsigned long fars,
             unsigned long flags),
            (pid, near, nears, far, fars, flags))
ANSWER_CALL(ssize_t, process_vm_writev, VM_COPY, pid, near,
            (pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far, unsigned long fars,
             unsigned long flags),
            (pid, near, nears, far, fars, flags))
ANSWER_BOTH(int, fallocate, FALLOCATE, fd, 0, (int fd, int mode, off_t offset, off_t length),
            (fd, mode, offset, length))
ANSWER_BOTH(int, fstat, FSTAT, fd, status, (int fd, struct stat *status), (fd, status))
ANSWER_BOTH(int, stat, STAT, 0, status, (const char *path, struct stat *status), (path, status))
#define ANSWER_FSTATFS_AS(name)                                                                                        \
        ANSWER_WRAP(int, name, (int fd, struct statfs *status))                                                        \
        {                                                                                                              \
                const struct answer *answer = answer_next(ANSWER_FSTATFS, ANSWER_ANY, status);                         \
                                                                                                                       \
                if (!answer)                                                                                           \
                        return __real_##name(fd, status);                                                              \
                status->f_type = (__typeof__(status->f_type))answer->value;                                            \
                return answer->error ? -1 : 0;                                                                         \
        }
ANSWER_FSTATFS_AS(fstatfs)
ANSWER_FSTATFS_AS(fstatfs64)
ANSWER_WRAP(int, ioctl, (int fd, unsigned long request, ...))
{
        const struct answer *answer;
        void *argument;
        va_list rest;

        va_start(rest, request);
        argument = va_arg(rest, void *);
        va_end(rest);
        answer = answer_next(ANSWER_IOCTL, (long)request, argument);
        return answer ? (int)answer_is(answer) : __real_ioctl(fd, request, argument);
}
ANSWER_CALL(ssize_t, getrandom, GETRANDOM, length, bytes, (void *bytes, size_t length, unsigned flags),
            (bytes, length, flags))
ANSWER_CALL(ssize_t, recvmsg, RECVMSG, fd, message, (int fd, struct msghdr *message, int flags), (fd, message, flags))
ANSWER_CALL(int, sigtimedwait, SIGTIMEDWAIT, 0, info,
            (const sigset_t *set, siginfo_t *info, const struct timespec *time), (set, info, time))
ANSWER_CALL(int, kill, KILL, pid, 0, (pid_t pid, int number), (pid, number))
ANSWER_CALL(long, sysconf, SYSCONF, name, 0, (int name), (name))
ANSWER_WRAP(long, syscall, (long number, ...))
{
        const struct answer *answer;
        va_list rest;
        long a[6];

        va_start(rest, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(rest, long);
        va_end(rest);
        answer = answer_next(ANSWER_SYSCALL, number, a);
        return answer ? answer_is(answer) : __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* These return their error.  A lock that is answered is taken all the same: what is besides comes after it. */
#define ANSWER_PTHREAD(name, call, parameters, arguments)                                                              \
        ANSWER_WRAP(int, name, parameters)                                                                             \
        {                                                                                                              \
                const struct answer *answer = answer_next(ANSWER_##call, 0, NULL);                                     \
                                                                                                                       \
                return answer ? answer->error : __real_##name arguments;                                               \
        }
ANSWER_PTHREAD(pthread_mutexattr_setpshared, ATTR_SHARED, (pthread_mutexattr_t * attributes, int shared),
               (attributes, shared))
ANSWER_PTHREAD(pthread_mutexattr_setrobust, ATTR_ROBUST, (pthread_mutexattr_t * attributes, int robust),
               (attributes, robust))
#define ANSWER_MUTEX(name, call)                                                                                       \
        ANSWER_WRAP(int, name, (pthread_mutex_t * mutex))                                                              \
        {                                                                                                              \
                int rc = __real_##name(mutex);                                                                         \
                                                                                                                       \
                (void)answer_next(ANSWER_##call, 0, mutex);                                                            \
                return rc;                                                                                             \
        }
ANSWER_MUTEX(pthread_mutex_lock, MUTEX_LOCK)
ANSWER_MUTEX(pthread_mutex_unlock, MUTEX_UNLOCK)

/* Link-time optimisation leaves calls of libc alone. */
static inline bool answers_are_given(void)
{
        bool given;

        answer_value(ANSWER_SYSCONF, _SC_NPROCESSORS_ONLN, 1, 1);
        (void)sysconf(_SC_NPROCESSORS_ONLN);
        given = answers.given == 1;
        answers_end();
        return given;
}

#endif /* AMMAP_TESTS_ANSWERS_H */
