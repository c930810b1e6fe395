/* descriptors.h - what lies behind a descriptor, and descriptors of all kinds
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef AMMAP_TESTS_DESCRIPTORS_H
#define AMMAP_TESTS_DESCRIPTORS_H

#include "share.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define GARBAGE ((ammap_t *)share_directory)

static inline int seals_of(int fd)
{
        int seals = fcntl(fd, F_GET_SEALS);

        ck_assert_int_ge(seals, 0);
        return seals;
}

static inline uint64_t size_of(int fd)
{
        struct stat stat;

        ck_assert_int_eq(fstat(fd, &stat), 0);
        return (uint64_t)stat.st_size;
}

/* What the descriptor is of, by the kernel's account. */
static inline void link_of(int fd, char text[512])
{
        char path[64];
        ssize_t length;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = readlink(path, text, 511);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
}

static inline void check_descriptor(int fd, const char *name)
{
        struct stat stat;
        char link[512];

        ck_assert_int_ge(fd, 0);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
        ck_assert(seals_of(fd) & F_SEAL_SHRINK);
        ck_assert_int_eq(seals_of(fd) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
        ck_assert_int_eq(fstat(fd, &stat), 0);
        ck_assert_uint_eq(stat.st_mode, S_IFREG | 0644);
        errno = 0;
        ck_assert_int_eq(ftruncate(fd, stat.st_size - 1), -1);
        ck_assert_int_eq(errno, EPERM);
        link_of(fd, link);
        ck_assert_ptr_eq(strstr(link, "/memfd:"), link);
        ck_assert_ptr_nonnull(strstr(link, name));
}

static inline unsigned char *contents_of(int fd, size_t size)
{
        unsigned char *bytes = malloc(size);

        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(pread(fd, bytes, size, 0), (ssize_t)size);
        return bytes;
}

enum kind_of_fd {
        NEGATIVE,
        AT_CWD,
        LARGEST,
        CLOSED,
        PIPE_OUT,
        PIPE_IN,
        SOCKET,
        DIRECTORY,
        DEV_NULL,
        DEV_ZERO,
        EVENTS,
        POLLS,
        PATH_ONLY,
        WRITE_ONLY,
        HUGE_PAGES,
        KINDS_OF_FD
};

/* A descriptor that no map is behind, and what import says of it. */
static inline int fd_of_kind(enum kind_of_fd kind, ammap_t *map, int *second, int *want)
{
        char path[64];
        int ends[2];

        *second = -1;
        *want = AMMAP_ERR_FORMAT;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", ammap_fd(map));
        switch (kind) {
        case NEGATIVE:
                *want = -EBADF;
                return -1;
        case AT_CWD:
                *want = -EBADF;
                return AT_FDCWD;
        case LARGEST:
                *want = -EBADF;
                return INT_MAX;
        case CLOSED:
                *want = -EBADF;
                ends[0] = dup(0);
                close(ends[0]);
                return ends[0];
        case PIPE_OUT:
        case PIPE_IN:
                ck_assert_int_eq(pipe(ends), 0);
                *second = ends[kind == PIPE_OUT ? 1 : 0];
                return ends[kind == PIPE_OUT ? 0 : 1];
        case SOCKET:
                ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
                *second = ends[1];
                return ends[0];
        case DIRECTORY:
                return open("/", O_RDONLY | O_DIRECTORY);
        case DEV_NULL:
                return open("/dev/null", O_RDWR);
        case DEV_ZERO:
                return open("/dev/zero", O_RDWR);
        case EVENTS:
                return eventfd(0, 0);
        case POLLS:
                return epoll_create1(0);
        case PATH_ONLY:
                return open(path, O_PATH);
        case WRITE_ONLY:
                return open(path, O_WRONLY);
        case HUGE_PAGES:
                ends[0] = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB);
                *want = ends[0] < 0 ? -EBADF : AMMAP_ERR_UNSUPPORTED;
                return ends[0];
        case KINDS_OF_FD:
                break;
        }
        return -1;
}

/* The bytes of a map's descriptor in another one. */
static inline int forge(ammap_t *map, int seals)
{
        size_t size = (size_t)size_of(ammap_fd(map));
        unsigned char *bytes = contents_of(ammap_fd(map), size);
        int fd = memory_file(size, 0);

        ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
        free(bytes);
        if (seals)
                ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static inline ammap_t *open_map(const char *path, uint64_t size, bool faults)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.allow_faults = faults;
        ck_assert_int_eq(open_by_kernel(&map, path, size, &options), 0);
        ck_assert_ptr_nonnull(map);
        return map;
}

#endif
