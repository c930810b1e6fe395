/* shared.h - memory between processes, for the peers that bring a lock alone
 *
 * SPDX-License-Identifier: MIT
 *
 * A memfd: the lock's page, then the data.  C and C++.
 */
#ifndef BENCH_SHARED_H
#define BENCH_SHARED_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARED_LOCK_ROOM 4096

struct shared {
        unsigned char *base; /* NULL: none */
        uint64_t size;       /* of all of it */
        int fd;
};

/* Map what lies behind the descriptor, which becomes shared's own. */
static inline int shared_map(struct shared *shared, int fd)
{
        struct stat file;
        void *base;

        if (fd < 0 || fstat(fd, &file) < 0)
                return -errno;
        base = mmap(NULL, (size_t)file.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED) {
                int rc = -errno;

                close(fd);
                return rc;
        }
        shared->base = (unsigned char *)base;
        shared->size = (uint64_t)file.st_size;
        shared->fd = fd;
        return 0;
}

static inline int shared_new(struct shared *shared, uint64_t data)
{
        int fd = memfd_create("bench", MFD_CLOEXEC);

        if (fd >= 0 && ftruncate(fd, (off_t)(SHARED_LOCK_ROOM + data)) < 0) {
                int rc = -errno;

                close(fd);
                return rc;
        }
        return shared_map(shared, fd);
}

static inline int shared_duplicate(int fd)
{
        return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static inline void shared_free(struct shared *shared)
{
        munmap(shared->base, (size_t)shared->size);
        close(shared->fd);
}

#endif
