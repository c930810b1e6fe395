/* linux-fd.c - descriptors: opened, read and written, locked, sealed, passed
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

#include <ammap.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* What a libc's headers may be too old for. */
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif
#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC 0x01021994
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/* --- Opening --- */

/* One that has just been opened.  What is written to a standard stream that is closed must not go to a map. */
static int keep(int fd)
{
        int kept, rc;

        if (fd >= OS_FD_MIN)
                return fd;
        kept = fcntl(fd, F_DUPFD_CLOEXEC, OS_FD_MIN);
        rc = kept < 0 ? -errno : kept;
        close(fd);
        return rc;
}

int os_memory(const char *name, uint64_t size)
{
        struct os_calm calm = os_calm_begin();
        const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        char label[250]; /* as long as the kernel takes */
        int fd, rc;

        (void)snprintf(label, sizeof label, "%s", name && *name ? name : "ammap");
        fd = memfd_create(label, flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(label, flags); /* before Linux 6.3 */
        if (fd < 0)
                return os_calm_end(calm, -errno);
        if ((fd = keep(fd)) < 0)
                return os_calm_end(calm, fd);
        (void)fchmod(fd, 0644); /* else who has it to read could open it again to write */
        rc = os_resize_file(fd, size);
        if (rc < 0)
                close(fd);
        return os_calm_end(calm, rc < 0 ? rc : fd);
}

/* O_NONBLOCK: a named pipe without a peer would be waited for. */
static int open_file(const char *path, bool write, int flags)
{
        int fd;

        do
                fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, 0666);
        while (fd < 0 && errno == EINTR);
        return fd < 0 ? -errno : keep(fd);
}

int os_open(const char *path, bool write, bool create)
{
        struct os_calm calm = os_calm_begin();

        return os_calm_end(calm, open_file(path, write, create ? O_CREAT | O_EXCL | O_NOFOLLOW : 0));
}

int os_reopen(int fd, bool write)
{
        struct os_calm calm = os_calm_begin();
        char path[64];
        int rc;

        if (fcntl(fd, F_GETFD) < 0)
                return os_calm_end(calm, -errno);
        /* Of the thread: /proc/self is the thread group's leader, which may have ended. */
        (void)snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
        rc = open_file(path, write, 0);
        return os_calm_end(calm, rc == -ENOENT ? -ENOSYS : rc);
}

int os_file(int fd, struct os_file *file)
{
        struct os_calm calm = os_calm_begin();
        struct stat st;
        int flags, access;

        memset(file, 0, sizeof *file);
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &st) < 0)
                return os_calm_end(calm, -errno);
        access = flags & O_ACCMODE;
        file->regular = S_ISREG(st.st_mode) && !(flags & O_PATH) && (access == O_RDONLY || access == O_RDWR);
        file->write = access == O_RDWR;
        file->size = (uint64_t)st.st_size;
        file->device = st.st_dev;
        file->inode = st.st_ino;
        return os_calm_end(calm, 0);
}

static bool lies_in(int fd, unsigned long file_system)
{
        struct os_calm calm = os_calm_begin();
        struct statfs there;
        bool here = fstatfs(fd, &there) == 0 && (unsigned long)there.f_type == file_system;

        os_calm_end(calm, 0);
        return here;
}

bool os_is_huge(int fd)
{
        return lies_in(fd, HUGETLBFS_MAGIC);
}

bool os_is_memory(int fd)
{
        return lies_in(fd, TMPFS_MAGIC);
}

/* --- Length and content --- */

static int resize(int fd, uint64_t size)
{
        int rc;

        if (size > INT64_MAX)
                return -EFBIG;
        do
                rc = ftruncate(fd, (off_t)size);
        while (rc < 0 && errno == EINTR);
        return rc < 0 ? -errno : 0;
}

static bool is_within_limit(uint64_t size)
{
        struct rlimit limit;

        return getrlimit(RLIMIT_FSIZE, &limit) == 0 && (limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur);
}

/* Beyond RLIMIT_FSIZE the kernel sends the thread SIGXFSZ, which is fatal: taken
 * back, unless one was pending before, which is not ours to take. */
struct held {
        sigset_t before;
        bool pending;
};

static struct held hold_signal(void)
{
        struct held held;
        sigset_t ours, pending;

        sigemptyset(&ours);
        sigaddset(&ours, SIGXFSZ);
        sigemptyset(&pending);
        pthread_sigmask(SIG_BLOCK, &ours, &held.before);
        sigpending(&pending);
        held.pending = sigismember(&pending, SIGXFSZ);
        return held;
}

static void take_signal(const struct held *held, int rc)
{
        const struct timespec at_once = { 0, 0 };
        sigset_t ours;

        sigemptyset(&ours);
        sigaddset(&ours, SIGXFSZ);
        if (rc == -EFBIG && !held->pending)
                while (sigtimedwait(&ours, NULL, &at_once) < 0 && errno == EINTR)
                        ; /* who filters system calls may interrupt it */
        pthread_sigmask(SIG_SETMASK, &held->before, NULL);
}

static int resize_beyond(int fd, uint64_t size)
{
        struct os_calm calm = os_calm_begin();
        struct held held = hold_signal();
        int rc = resize(fd, size);

        take_signal(&held, rc);
        return os_calm_end(calm, rc);
}

int os_resize_file(int fd, uint64_t size)
{
        struct os_calm calm = os_calm_begin();

        return os_calm_end(calm, is_within_limit(size) ? resize(fd, size) : resize_beyond(fd, size));
}

int os_read_at(int fd, uint64_t offset, void *buffer, size_t length)
{
        struct os_calm calm = os_calm_begin();
        int rc = 0;

        for (size_t at = 0; at < length && rc == 0;) {
                ssize_t n = pread(fd, (char *)buffer + at, length - at, (off_t)(offset + at));

                if (n > 0)
                        at += (size_t)n;
                else if (n == 0)
                        rc = -ENODATA;
                else if (errno != EINTR)
                        rc = -errno;
        }
        return os_calm_end(calm, rc);
}

static int write_at(int fd, uint64_t offset, const void *bytes, size_t length)
{
        while (length > 0) {
                ssize_t n = pwrite(fd, bytes, length, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                bytes = (const char *)bytes + n;
                offset += (uint64_t)n;
                length -= (size_t)n;
        }
        return 0;
}

int os_write_at(int fd, uint64_t offset, const void *bytes, size_t length)
{
        struct os_calm calm = os_calm_begin();
        struct held held;
        int rc;

        if (is_within_limit(offset + length))
                return os_calm_end(calm, write_at(fd, offset, bytes, length));
        held = hold_signal();
        rc = write_at(fd, offset, bytes, length);
        take_signal(&held, rc);
        return os_calm_end(calm, rc);
}

int os_allot(int fd, uint64_t offset, uint64_t length)
{
        struct os_calm calm = os_calm_begin();
        int rc;

        do
                rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
        while (rc == -EINTR);
        return os_calm_end(calm, rc);
}

static int seek_data(int fd, uint64_t offset, uint64_t *start, uint64_t *end)
{
        off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

        if (data < 0)
                return -errno;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
                return -errno;
        *start = (uint64_t)data;
        *end = (uint64_t)hole;
        return 0;
}

/* Seeking moves the position that everyone has who has this open file: not
 * ours to move.  Where the file cannot be opened anew all of it is data. */
int os_next_data(int fd, uint64_t offset, uint64_t *start, uint64_t *end)
{
        struct os_calm calm = os_calm_begin();
        struct os_file file;
        int own, rc = os_file(fd, &file);

        if (rc < 0)
                return os_calm_end(calm, rc);
        *start = offset < file.size ? offset : file.size;
        *end = file.size;
        own = *start < *end ? os_reopen(fd, false) : -1;
        if (own < 0)
                return os_calm_end(calm, 0);
        rc = seek_data(own, offset, start, end);
        if (rc == -ENXIO) /* no more data, or cut short since */
                *start = *end;
        close(own);
        return os_calm_end(calm, rc == -ENXIO ? 0 : rc);
}

/* --- Byte locks --- */

int os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock)
{
        static const short type[] = {
                [OS_UNLOCK] = F_UNLCK,    [OS_LOCK_READ] = F_RDLCK,  [OS_LOCK_WRITE] = F_WRLCK,
                [OS_LOOK_READ] = F_RDLCK, [OS_LOOK_WRITE] = F_WRLCK,
        };
        struct flock range = {
                .l_type = type[lock],
                .l_whence = SEEK_SET,
                .l_start = (off_t)offset,
                .l_len = (off_t)count,
                .l_pid = 0,
        };
        bool looks = lock == OS_LOOK_READ || lock == OS_LOOK_WRITE;
        struct os_calm calm = os_calm_begin();
        int rc;

        do
                rc = fcntl(fd, looks ? F_OFD_GETLK : F_OFD_SETLK, &range);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
                rc = errno == EACCES ? -EAGAIN : -errno;
        else if (looks && range.l_type != F_UNLCK)
                rc = -EAGAIN;
        return os_calm_end(calm, rc);
}

int os_find_locked(int fd, struct os_locked *locked)
{
        const uint64_t offset = locked->offset, end = locked->end;
        struct flock range = { .l_type = F_WRLCK,
                               .l_whence = SEEK_SET,
                               .l_start = (off_t)offset,
                               .l_len = (off_t)(end - offset),
                               .l_pid = 0 };
        struct os_calm calm = os_calm_begin();
        int rc = 0;

        if (end <= offset)
                return os_calm_end(calm, 0); /* to the kernel it would be all that follow */
        do
                rc = fcntl(fd, F_OFD_GETLK, &range) < 0 ? -errno : 0;
        while (rc == -EINTR);
        if (rc == 0 && range.l_type != F_UNLCK) {
                const uint64_t from = (uint64_t)range.l_start, to = range.l_len ? from + (uint64_t)range.l_len : end;

                locked->offset = from > offset ? from : offset;
                locked->end = to < end ? to : end;
                locked->write = range.l_type == F_WRLCK;
                rc = 1;
        }
        return os_calm_end(calm, rc);
}

/* --- Seals --- */

static const struct {
        unsigned ours;
        int system;
} seal[] = {
        { AMMAP_SEAL_SHRINK, F_SEAL_SHRINK }, { AMMAP_SEAL_GROW, F_SEAL_GROW },
        { AMMAP_SEAL_WRITE, F_SEAL_WRITE },   { AMMAP_SEAL_FUTURE_WRITE, F_SEAL_FUTURE_WRITE },
        { AMMAP_SEAL_SEAL, F_SEAL_SEAL },
};
enum { SEALS = sizeof seal / sizeof seal[0] };

int os_seals(int fd)
{
        struct os_calm calm = os_calm_begin();
        int system = fcntl(fd, F_GET_SEALS);
        unsigned seals = 0;

        if (system < 0)
                return os_calm_end(calm, -errno);
        for (size_t i = 0; i < SEALS; i++)
                if (system & seal[i].system)
                        seals |= seal[i].ours;
        return os_calm_end(calm, (int)seals);
}

/* The kernel refuses seals that are there, too, where it takes no more. */
int os_add_seals(int fd, unsigned seals)
{
        struct os_calm calm = os_calm_begin();
        int system = 0, there, rc;

        for (size_t i = 0; i < SEALS; i++)
                if (seals & seal[i].ours)
                        system |= seal[i].system;
        rc = fcntl(fd, F_ADD_SEALS, system) < 0 ? -errno : 0;
        if (rc < 0 && (there = os_seals(fd)) < 0)
                rc = there;
        else if (rc < 0 && (seals & ~(unsigned)there) == 0)
                rc = 0;
        return os_calm_end(calm, rc);
}

/* --- Sockets --- */

int os_send(int socket, int fd)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char byte = 0;
        struct iovec data = { &byte, 1 };
        struct msghdr message = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
        };
        struct os_calm calm = os_calm_begin();
        struct cmsghdr *header;
        ssize_t n;

        memset(&control, 0, sizeof control);
        header = &control.align; /* the first */
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        do
                n = sendmsg(socket, &message, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return os_calm_end(calm, n < 0 ? -errno : 0);
}

/* A libc's macro may not be up to our warnings (musl's). */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
static struct cmsghdr *next_header(struct msghdr *message, struct cmsghdr *header)
{
        return CMSG_NXTHDR(message, header);
}
#pragma GCC diagnostic pop

/* What was received is closed sooner or later: a socket is not to linger then for as
 * long as its sender chose. */
static void linger_not(int fd)
{
        const struct linger at_once = { .l_onoff = 0 };

        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/* A stream at its end gives no byte; so does a datagram that has none. */
static bool is_datagram(int socket)
{
        int type = 0;
        socklen_t size = sizeof type;

        (void)getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size); /* refused, the type stays none */
        return type == SOCK_DGRAM;
}

/* Close what came but the first that was sent; how many were. */
static size_t take_descriptors(struct msghdr *message, int *first)
{
        size_t sent = 0;

        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = next_header(message, header)) {
                bool rights = header->cmsg_type == SCM_RIGHTS;

                if (header->cmsg_level != SOL_SOCKET || !(rights || header->cmsg_type == SCM_PIDFD))
                        continue;
                for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
                        if (rights)
                                linger_not(fd);
                        if (rights && sent++ == 0)
                                *first = fd;
                        else if (fd >= 0) /* an SCM_PIDFD may hold an error */
                                close(fd);
                }
        }
        return sent;
}

/* Of those that are sent at once as many as there is room for are received, to be
 * closed; the rest of the room is for what the socket's owner has asked for besides. */
enum { MOST_SENT = 16, OTHERS = 512 };

int os_receive(int socket)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(MOST_SENT * sizeof(int)) + OTHERS];
        } control;
        char byte;
        struct iovec data = { &byte, 1 };
        struct msghdr message = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
        };
        struct os_calm calm = os_calm_begin();
        size_t sent;
        ssize_t n;
        int fd = -1;

        do
                n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return os_calm_end(calm, -errno);
        sent = take_descriptors(&message, &fd);
        if (n == 0 && sent == 0 && !is_datagram(socket))
                return os_calm_end(calm, -ECONNRESET);
        if (n == 1 && sent == 1 && !(message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
                return os_calm_end(calm, keep(fd));
        if (n == 1 && sent == 0 && (message.msg_flags & MSG_CTRUNC))
                return os_calm_end(calm, -EMFILE);
        if (sent > 0)
                close(fd);
        return os_calm_end(calm, -EBADMSG);
}
