/* deny.h - one thing that a process may not do, from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * A filter (seccomp) that refuses a call of the system's, or one flavour of it, as a
 * container's profile does; a limit (setrlimit); or a file system without /proc.  They stay
 * for good: only in a child that ends soon.
 */
#ifndef AMMAP_TESTS_DENY_H
#define AMMAP_TESTS_DENY_H

#include "os/linux-abi.h"
#include "share.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

/* A call; or of one argument (0: the first) the bits of a mask have this value. */
struct flavour {
        const char *name;
        long number;
        int argument; /* -1: all are meant */
        unsigned mask, value;
};

#define DENY(call)                                                                                                     \
        {                                                                                                              \
#call, SYS_##call, -1, 0, 0                                                                            \
        }
#define DENY_IF(call, argument, value)                                                                                 \
        {                                                                                                              \
#call " " #value, SYS_##call, argument, ~0U, (unsigned)(value)                                         \
        }
#define DENY_FLAG(call, argument, flag)                                                                                \
        {                                                                                                              \
#call " " #flag, SYS_##call, argument, (unsigned)(flag), (unsigned)(flag)                              \
        }

/* All that the library makes but what libc itself does not go without (munmap, close, mprotect
 * of a thread's stack, ...); and some that it is not to make. */
static const struct flavour flavours[] = {
        DENY(membarrier),
        DENY(memfd_create),
        DENY_FLAG(memfd_create, 1, MFD_NOEXEC_SEAL),
        DENY_IF(futex, 1, FUTEX_WAIT_BITSET_PRIVATE),
        DENY_IF(futex, 1, FUTEX_WAIT_BITSET),
        DENY(madvise),
        DENY_IF(madvise, 2, MADV_NORMAL),
        DENY_IF(madvise, 2, MADV_RANDOM),
        DENY_IF(madvise, 2, MADV_WILLNEED),
        DENY_IF(madvise, 2, MADV_DONTNEED),
        DENY_IF(madvise, 2, MADV_REMOVE),
        DENY_IF(madvise, 2, MADV_DONTFORK),
        DENY_IF(madvise, 2, MADV_DOFORK),
        DENY_IF(madvise, 2, MADV_HUGEPAGE),
        DENY_IF(madvise, 2, MADV_NOHUGEPAGE),
        DENY_IF(madvise, 2, MADV_DONTDUMP),
        DENY_IF(madvise, 2, MADV_WIPEONFORK),
        DENY_IF(madvise, 2, MADV_COLD),
        DENY_IF(madvise, 2, MADV_PAGEOUT),
        DENY_IF(madvise, 2, MADV_POPULATE_READ),
        DENY_IF(madvise, 2, MADV_POPULATE_WRITE),
        DENY_IF(madvise, 2, MADV_COLLAPSE),
        DENY_IF(madvise, 2, MADV_GUARD_INSTALL),
        DENY_FLAG(mmap, 3, MAP_NORESERVE),
        DENY_FLAG(mmap, 3, MAP_SHARED),
        DENY(mremap),
        DENY_IF(mremap, 1, 0), /* which doubles a mapping */
        DENY_FLAG(mremap, 3, MREMAP_FIXED),
        DENY(mlock),
        DENY(munlock),
        DENY(mincore),
        DENY(msync),
        DENY(fsync),
        DENY(process_vm_readv),
        DENY(process_vm_writev),
        DENY(pipe2),
        DENY(ftruncate),
        DENY(fallocate),
        DENY(fchmod),
        DENY(fstatfs),
        DENY(lseek),
        DENY(pread64),
        DENY(pwrite64),
        DENY_IF(fcntl, 1, F_DUPFD_CLOEXEC),
        DENY_IF(fcntl, 1, F_GETFD),
        DENY_IF(fcntl, 1, F_ADD_SEALS),
        DENY_IF(fcntl, 1, F_GET_SEALS),
        DENY_IF(fcntl, 1, F_OFD_SETLK),
        DENY_IF(fcntl, 1, F_OFD_GETLK),
        DENY(sendmsg),
        DENY(recvmsg),
        DENY(getsockopt),
        DENY(setsockopt),
        DENY(ioctl),
        DENY(prctl),
        DENY_IF(prctl, 0, PR_SET_VMA),
        DENY(getrandom),
        DENY(get_robust_list),
        DENY(pidfd_open),
        DENY(sched_getaffinity),
        DENY(rt_sigtimedwait),
        DENY(rt_sigpending),
        DENY(poll),
        DENY(kill),
        DENY(statx),
#ifdef SYS_close_range
        DENY(close_range),
#endif
};

/* False: there are no filters here. */
static inline bool deny_flavour(const struct flavour *flavour, int error)
{
        const bool all = flavour->argument < 0;
        const unsigned short order = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0; /* of the lower half */
        const unsigned argument =
                (unsigned)(offsetof(struct seccomp_data, args) + 8U * (unsigned)(all ? 0 : flavour->argument) + order);
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)flavour->number, 0, 4),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, all ? 0 : flavour->mask),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? 0 : flavour->value & flavour->mask, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { COUNT_OF(filter), filter };

        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* --- Limits ------------------------------------------------------------------------ */

/* The administrator's process may lock what it likes: not this one any more. */
static inline void give_up_locking(void)
{
        struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
        struct __user_cap_data_struct data[2];

        if (syscall(SYS_capget, &header, data) < 0)
                return;
        data[0].effective &= ~(1U << CAP_IPC_LOCK);
        syscall(SYS_capset, &header, data);
}

/* glibc has an enumeration, and musl an int. */
#ifdef __GLIBC__
typedef __rlimit_resource_t limit_number;
#else
typedef int limit_number;
#endif

static inline bool set_limit(limit_number resource, uint64_t value)
{
        struct rlimit limit;

        if (resource == RLIMIT_MEMLOCK)
                give_up_locking();
        if (getrlimit(resource, &limit) < 0)
                return false;
        limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
        return setrlimit(resource, &limit) == 0;
}

/* --- No /proc ------------------------------------------------------------------------- */

/* Where nothing can be mounted the linker puts these before the library's (--wrap). */
static bool deny_proc;

#define DENY_PATH(type, name, parameters, arguments)                                                                   \
        type __real_##name parameters __attribute__((weak));                                                           \
        type __wrap_##name parameters;                                                                                 \
        type __wrap_##name parameters                                                                                  \
        {                                                                                                              \
                if (deny_proc && strncmp(path, "/proc", 5) == 0) {                                                     \
                        errno = ENOENT;                                                                                \
                        return -1;                                                                                     \
                }                                                                                                      \
                return __real_##name arguments;                                                                        \
        }
DENY_PATH(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
DENY_PATH(int, open64, (const char *path, int flags, mode_t mode), (path, flags, mode))
DENY_PATH(int, stat, (const char *path, struct stat *status), (path, status))
DENY_PATH(int, stat64, (const char *path, struct stat *status), (path, status))

#endif /* AMMAP_TESTS_DENY_H */
