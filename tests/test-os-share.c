/* test-os-share.c - the part of lib/os/os.h that sharing is made of
 *
 * SPDX-License-Identifier: MIT
 *
 * Descriptors, copies out of memory that has gone, seals, sockets, byte locks,
 * and slots: what becomes of them when their thread is killed at any time, and
 * when another process writes what it likes into their words.
 * Internal functions: links the library's objects, not the shared library.
 */
#include "proc.h"

#include "os/os.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

#if TEST_OS_LINUX

/* --- Calls of the system that can be made to fail ---------------------------- */

static struct {
        int vm_copy;    /* errno of process_vm_readv and process_vm_writev */
        bool no_noexec; /* memfd_create as it was before MFD_NOEXEC_SEAL */
        bool no_pages;
} refuse;

ssize_t __real_process_vm_readv(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                                unsigned long);
ssize_t __real_process_vm_writev(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                                 unsigned long);
int __real_memfd_create(const char *, unsigned);
int __real_ammap__os_map(void **, size_t);
ssize_t __wrap_process_vm_readv(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                                unsigned long);
ssize_t __wrap_process_vm_writev(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                                 unsigned long);
int __wrap_memfd_create(const char *, unsigned);
int __wrap_ammap__os_map(void **, size_t);

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far,
                                unsigned long fars, unsigned long flags)
{
        if (!refuse.vm_copy)
                return __real_process_vm_readv(pid, near, nears, far, fars, flags);
        errno = refuse.vm_copy;
        return -1;
}

ssize_t __wrap_process_vm_writev(pid_t pid, const struct iovec *near, unsigned long nears, const struct iovec *far,
                                 unsigned long fars, unsigned long flags)
{
        if (!refuse.vm_copy)
                return __real_process_vm_writev(pid, near, nears, far, fars, flags);
        errno = refuse.vm_copy;
        return -1;
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
        if (!refuse.no_noexec || !(flags & MFD_NOEXEC_SEAL))
                return __real_memfd_create(name, flags);
        errno = EINVAL;
        return -1;
}

int __wrap_ammap__os_map(void **address, size_t length)
{
        return refuse.no_pages ? -ENOMEM : __real_ammap__os_map(address, length);
}

/* --- Around every test --------------------------------------------------------- */

static unsigned descriptors;
static size_t page;

static void os_setup(void)
{
        os_start();
        page = os_page_size();
        memset(&refuse, 0, sizeof refuse);
        descriptors = footprint().descriptors;
}

static void os_teardown(void)
{
        ck_assert_uint_eq(footprint().descriptors, descriptors);
}

static TCase *os_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_checked_fixture(tcase, os_setup, os_teardown);
        return tcase;
}

static int new_memory(uint64_t size)
{
        int fd = os_memory("test", size);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static void *map_shared(int fd, size_t length)
{
        void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        ck_assert(address != MAP_FAILED);
        return address;
}

/* A file of its own in a file system, already unlinked. */
static int new_file(void)
{
        char path[] = "/tmp/test-os-share.XXXXXX";
        int fd = mkstemp(path);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(unlink(path), 0);
        return fd;
}

static uint64_t size_of(int fd)
{
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_size;
}

/* --- Copies that raise no signal ------------------------------------------------ */

static const int refusals[] = { 0, ENOSYS, EPERM };

DEFINE_LOOP_TEST("os-share", peek_and_poke_copy, 0, COUNT_OF(refusals))
{
        const size_t lengths[] = { 0, 1, 7, 4095, 4096, 4097, 65536, 300001 };
        unsigned char *from = malloc(300001), *to = malloc(300002);
        size_t done = 0;

        refuse.vm_copy = refusals[_i];
        ck_assert(from && to);
        for (size_t i = 0; i < 300001; i++)
                from[i] = pattern_byte(i);
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                for (int poke = 0; poke < 2; poke++) {
                        memset(to, 0, 300002);
                        ck_assert_int_eq(poke ? os_poke(to, from, lengths[i], &done) : os_peek(to, from, lengths[i]),
                                         0);
                        ck_assert_int_eq(memcmp(to, from, lengths[i]), 0);
                        ck_assert_uint_eq(to[lengths[i]], 0);
                        if (poke)
                                ck_assert_uint_eq(done, lengths[i]);
                }
        }
        free(from);
        free(to);
}

DEFINE_LOOP_TEST("os-share", gone_memory_is_a_fault, 0, COUNT_OF(refusals))
{
        int fd = new_memory(4 * page);
        unsigned char *shared = map_shared(fd, 4 * page);
        unsigned char *own = malloc(4 * page);
        size_t done = 1;

        refuse.vm_copy = refusals[_i];
        memset(shared, 7, 4 * page);
        memset(own, 9, 4 * page);
        ck_assert_int_eq(ftruncate(fd, (off_t)page), 0);
        errno = 1234;
        ck_assert_int_eq(os_peek(own, shared + page, 1), -EFAULT);
        ck_assert_int_eq(os_peek(own, shared + page - 4, 8), -EFAULT);
        ck_assert_int_eq(os_peek(own, shared, 4 * page), -EFAULT);
        ck_assert_int_eq(os_poke(shared + page, own, 1, &done), -EFAULT);
        ck_assert_uint_eq(done, 0);
        ck_assert_int_eq(os_poke(shared + page - 4, own, 8, &done), -EFAULT);
        ck_assert_int_eq(os_poke(shared, own, 4 * page, &done), -EFAULT);
        ck_assert_uint_eq(done, page);
        ck_assert_int_eq(errno, 1234);
        ck_assert_uint_eq(size_of(fd), page);
        ck_assert_int_eq(os_poke(shared, own, page, &done), 0);
        ck_assert_int_eq(os_peek(own, shared, page), 0);

        /* Not to be written, not to be read, not mapped. */
        ck_assert_int_eq(mprotect(shared, page, PROT_READ), 0);
        ck_assert_int_eq(os_peek(own, shared, page), 0);
        ck_assert_int_eq(os_poke(shared, own, 1, &done), -EFAULT);
        ck_assert_int_eq(mprotect(shared, page, PROT_NONE), 0);
        ck_assert_int_eq(os_peek(own, shared, 1), -EFAULT);
        ck_assert_int_eq(munmap(shared, 4 * page), 0);
        ck_assert_int_eq(os_peek(own, shared, 1), -EFAULT);
        ck_assert_int_eq(os_poke(shared, own, 1, &done), -EFAULT);
        close(fd);
        free(own);
}

static void *peek_without_a_leader(void *argument)
{
        const int *fd = argument;
        char byte = 1, copy = 0, path[64];

        snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
        while (access(path, F_OK) == 0) /* until it has ended */
                sched_yield();
        child_must_int(os_peek(&copy, &byte, 1), 0);
        child_must(copy == 1);
        child_must(os_reopen(*fd, true) >= 0);
        child_must(os_pid_space() != 0);
        _exit(0);
}

static void leave_others_behind(void *argument)
{
        pthread_t thread;

        child_must(pthread_create(&thread, NULL, peek_without_a_leader, argument) == 0);
        syscall(SYS_exit, 0);
}

/* /proc/self, and the process's number in some calls, are the first thread.
 * (Sanitizers lock nothing, and want to be told of ends and forks: here and below.) */
DEFINE_TEST_IF(!TEST_SANITIZED, "os-share", the_first_thread_may_have_ended)
{
        int fd = new_memory(page);

        child_passes(leave_others_behind, &fd);
        close(fd);
}

/* --- Descriptors ------------------------------------------------------------------ */

DEFINE_LOOP_TEST("os-share", memory_is_named_sized_and_sealable, 0, 2)
{
        char longest[300], link[400], path[64];
        const char *const names[] = { NULL, "", "x", "with/slash", longest };
        const char *const shown[] = { "memfd:ammap ", "memfd:ammap ", "memfd:x ", "memfd:with/slash ", "memfd:nnnn" };
        unsigned char byte = 1;

        memset(longest, 'n', sizeof longest);
        longest[sizeof longest - 1] = '\0';
        refuse.no_noexec = _i;
        for (size_t i = 0; i < COUNT_OF(names); i++) {
                int fd = os_memory(names[i], 3 * page);
                ssize_t length;

                ck_assert_int_ge(fd, 0);
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                length = readlink(path, link, sizeof link - 1);
                ck_assert_int_gt(length, 0);
                link[length] = '\0';
                ck_assert_ptr_nonnull(strstr(link, shown[i]));
                ck_assert_uint_eq(size_of(fd), 3 * page);
                ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
                ck_assert_int_eq(os_read_at(fd, 3 * page - 1, &byte, 1), 0);
                ck_assert_uint_eq(byte, 0);
                /* Whatever the kernel adds, none of our seals. */
                ck_assert_int_eq(os_seals(fd), 0);
                ck_assert_int_eq(os_add_seals(fd, AMMAP_SEAL_SHRINK), 0);
                ck_assert_int_eq(os_seals(fd), AMMAP_SEAL_SHRINK);
                close(fd);
        }
}

static void exceed_limit(void *argument)
{
        const struct rlimit limit = { 8192, 8192 };
        sigset_t set, before, after;
        int fd = *(int *)argument;

        child_must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        errno = 1234;
        child_must_int(os_resize_file(fd, 8193), -EFBIG);
        child_must_int(errno, 1234);
        child_must_int(os_resize_file(fd, UINT64_MAX), -EFBIG);
        child_must_int(os_resize_file(fd, INT64_MAX), -EFBIG);
        child_must_int(os_memory("m", 8193), -EFBIG);
        child_must_int(os_resize_file(fd, 8192), 0);
        sigpending(&set);
        child_must(!sigismember(&set, SIGXFSZ));

        /* Blocked by the caller: still nothing is left behind. */
        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        sigprocmask(SIG_BLOCK, &set, &before);
        child_must_int(os_resize_file(fd, 8193), -EFBIG);
        sigpending(&after);
        child_must(!sigismember(&after, SIGXFSZ));

        /* The caller's own is still there after. */
        raise(SIGXFSZ);
        child_must_int(os_resize_file(fd, 8193), -EFBIG);
        sigpending(&after);
        child_must(sigismember(&after, SIGXFSZ));
        sigprocmask(SIG_SETMASK, NULL, &after);
        child_must(sigismember(&after, SIGXFSZ));
        signal(SIGXFSZ, SIG_IGN);
        sigprocmask(SIG_SETMASK, &before, NULL);
        child_must_int(os_resize_file(fd, 8193), -EFBIG);
        sigprocmask(SIG_SETMASK, NULL, &after);
        child_must(!sigismember(&after, SIGXFSZ));
}

DEFINE_TEST("os-share", a_limit_of_size_is_no_signal)
{
        int fd = new_memory(0);

        child_passes(exceed_limit, &fd);
        ck_assert_uint_eq(size_of(fd), 8192);
        ck_assert_int_eq(os_resize_file(fd, 3), 0);
        ck_assert_uint_eq(size_of(fd), 3);
        close(fd);
        ck_assert_int_eq(os_resize_file(fd, 3), -EBADF);
}

DEFINE_TEST("os-share", kinds_of_files_are_told_apart)
{
        const struct {
                const char *path;
                int flags;
                bool regular, write;
        } kinds[] = {
                { "/proc/self/exe", O_RDONLY, true, false },
                { "/proc/self/exe", O_PATH, false, false },
                { "/tmp", O_RDONLY, false, false },
                { "/dev/null", O_RDWR, false, false },
        };
        struct os_file file, same;
        char path[64];
        int ends[2], fd;

        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
                fd = open(kinds[i].path, kinds[i].flags | O_CLOEXEC);
                ck_assert_int_ge(fd, 0);
                ck_assert_int_eq(os_file(fd, &file), 0);
                ck_assert_int_eq(file.regular, kinds[i].regular);
                if (file.regular)
                        ck_assert_int_eq(file.write, kinds[i].write);
                close(fd);
        }
        ck_assert_int_eq(os_file(fd, &file), -EBADF);
        ck_assert_int_eq(os_file(-1, &file), -EBADF);
        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(os_file(ends[0], &file), 0);
        ck_assert(!file.regular);
        close(ends[0]);
        close(ends[1]);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        ck_assert_int_eq(os_file(ends[0], &file), 0);
        ck_assert(!file.regular);
        close(ends[0]);
        close(ends[1]);

        fd = new_memory(12345);
        ck_assert_int_eq(os_file(fd, &file), 0);
        ck_assert(file.regular && file.write);
        ck_assert_uint_eq(file.size, 12345);
        ends[0] = os_reopen(fd, false);
        ck_assert_int_eq(os_file(ends[0], &same), 0);
        ck_assert(same.regular && !same.write);
        ck_assert_uint_eq(same.inode, file.inode);
        ck_assert_uint_eq(same.device, file.device);
        close(ends[0]);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ends[0] = open(path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_ge(ends[0], 0);
        ck_assert_int_eq(os_file(ends[0], &same), 0);
        ck_assert(!same.regular);
        close(ends[0]);
        close(fd);
}

DEFINE_TEST("os-share", files_are_opened)
{
        char directory[] = "/tmp/test-os-share.XXXXXX", path[64];
        struct os_file file;
        int fd;

        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/file", directory);
        ck_assert_int_eq(os_open(path, false, false), -ENOENT);
        ck_assert_int_eq(os_open(path, true, false), -ENOENT);
        ck_assert_int_eq(os_open(directory, true, false), -EISDIR);
        ck_assert_int_eq(os_open(directory, true, true), -EEXIST);
        fd = os_open(path, true, true);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(os_file(fd, &file), 0);
        ck_assert(file.regular && file.write && file.size == 0);
        ck_assert_int_eq(write(fd, "abc", 3), 3);
        os_close(fd);
        /* What is there stays. */
        ck_assert_int_eq(os_open(path, true, true), -EEXIST);
        fd = os_open(path, true, false);
        ck_assert_uint_eq(size_of(fd), 3);
        os_close(fd);
        fd = os_open(path, false, false);
        ck_assert_int_eq(os_file(fd, &file), 0);
        ck_assert(file.regular && !file.write);
        os_close(fd);
        ck_assert_int_eq(unlink(path), 0);

        /* Nobody is waited for. */
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        fd = os_open(path, false, false);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(os_file(fd, &file), 0);
        ck_assert(!file.regular);
        os_close(fd);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(directory), 0);
}

DEFINE_TEST("os-share", a_duplicate_is_the_same_and_a_reopened_one_is_not)
{
        int fd = new_memory(100), copy = os_dup(fd), again = os_reopen(fd, true), reader = os_reopen(fd, false);

        ck_assert(copy >= 0 && again >= 0 && reader >= 0);
        ck_assert_int_eq(fcntl(copy, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(fcntl(again, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(lseek(fd, 50, SEEK_SET), 50);
        ck_assert_int_eq(lseek(copy, 0, SEEK_CUR), 50);
        ck_assert_int_eq(lseek(again, 0, SEEK_CUR), 0);

        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(os_lock_byte(copy, 7, OS_LOCK_WRITE), 0);
        errno = 1234;
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOCK_WRITE), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOCK_READ), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOOK_READ), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(reader, 7, OS_LOOK_READ), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOOK_READ), 0);
        ck_assert_int_eq(errno, 1234);
        ck_assert_int_eq(os_lock_byte(again, 6, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(os_lock_byte(again, 8, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_READ), 0);
        /* Who looks takes nothing. */
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOOK_READ), 0);
        ck_assert_int_eq(os_lock_byte(reader, 7, OS_LOOK_READ), 0);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOOK_READ), 0);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOOK_READ), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_READ), 0);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOCK_READ), 0);
        ck_assert_int_eq(os_lock_byte(reader, 7, OS_LOCK_READ), 0);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_WRITE), -EAGAIN);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_UNLOCK), 0);
        ck_assert_int_eq(os_lock_byte(reader, 7, OS_UNLOCK), 0);
        ck_assert_int_eq(os_lock_byte(fd, 7, OS_LOCK_WRITE), 0);
        ck_assert_int_eq(os_lock_byte(reader, 7, OS_LOCK_WRITE), -EBADF);
        ck_assert_int_eq(os_lock_byte(fd, UINT64_MAX, OS_LOCK_WRITE), -EINVAL);
        ck_assert_int_eq(os_lock_byte(fd, UINT64_MAX, OS_LOOK_READ), -EINVAL);

        /* The last of them unlocks. */
        os_close(fd);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOCK_WRITE), -EAGAIN);
        os_close(copy);
        ck_assert_int_eq(os_lock_byte(again, 7, OS_LOCK_WRITE), 0);
        os_close(again);
        os_close(reader);
        ck_assert_int_eq(os_dup(fd), -EBADF);
        ck_assert_int_eq(os_reopen(fd, true), -EBADF);
}

DEFINE_TEST("os-share", reading_takes_all_or_says_so)
{
        char bytes[10] = "";
        int fd = new_file();

        ck_assert_int_eq(pwrite(fd, "0123456789", 10, 0), 10);
        ck_assert_int_eq(os_read_at(fd, 3, bytes, 7), 0);
        ck_assert_int_eq(memcmp(bytes, "3456789", 7), 0);
        ck_assert_int_eq(os_read_at(fd, 3, bytes, 8), -ENODATA);
        ck_assert_int_eq(os_read_at(fd, 10, bytes, 1), -ENODATA);
        ck_assert_int_eq(os_read_at(fd, 11, bytes, 0), 0);
        ck_assert_int_eq(os_read_at(fd, UINT64_MAX, bytes, 1), -EINVAL);
        close(fd);
        ck_assert_int_eq(os_read_at(fd, 0, bytes, 1), -EBADF);
}

DEFINE_TEST("os-share", holes_are_found)
{
        uint64_t start, end;
        int fd = new_memory(100 * page);

        ck_assert_int_eq(os_next_data(fd, 0, &start, &end), 0);
        ck_assert(start == 100 * page && end == 100 * page);
        ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)(40 * page)), 1);
        ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)(99 * page)), 1);
        ck_assert_int_eq(lseek(fd, 5, SEEK_SET), 5);
        ck_assert_int_eq(os_next_data(fd, 0, &start, &end), 0);
        ck_assert(start == 40 * page && end == 41 * page);
        ck_assert_int_eq(os_next_data(fd, start + 3, &start, &end), 0);
        ck_assert(start == 40 * page + 3 && end == 41 * page);
        ck_assert_int_eq(os_next_data(fd, end, &start, &end), 0);
        ck_assert(start == 99 * page && end == 100 * page);
        for (uint64_t at = 100 * page; at >= 100 * page; at = at == UINT64_MAX ? 0 : UINT64_MAX) {
                ck_assert_int_eq(os_next_data(fd, at, &start, &end), 0);
                ck_assert(start == 100 * page && end == 100 * page);
        }
        ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 5);
        close(fd);
        ck_assert_int_eq(os_next_data(fd, 0, &start, &end), -EBADF);
}

/* --- Mappings ------------------------------------------------------------------------ */

DEFINE_TEST("os-share", files_are_mapped)
{
        int fd = new_memory(4 * page);
        unsigned char *shared = map_shared(fd, 4 * page);
        void *room = NULL;
        unsigned char *bytes;

        ck_assert_int_eq(__real_ammap__os_map(&room, 4 * page), 0);
        bytes = room;
        ck_assert_int_eq(os_map_file(bytes + page, page, fd, 2 * page, OS_WRITE), 0);
        shared[2 * page] = 5;
        ck_assert_uint_eq(bytes[page], 5);
        bytes[page] = 6;
        ck_assert_uint_eq(shared[2 * page], 6);
        ck_assert_int_eq(os_map_file(bytes + page, page, fd, 0, OS_READ), 0);
        ck_assert(is_fatal(bytes + page, false));
        ck_assert(!is_fatal(bytes + page, true));
        ck_assert_uint_eq(bytes[2 * page], 0);
        ck_assert_int_eq(os_map_file(bytes, page, -1, 0, OS_READ), -EBADF);

        ck_assert_int_eq(os_remove(shared + 2 * page, page), 0);
        ck_assert_uint_eq(shared[2 * page], 0);
        ck_assert_int_eq(os_sync(fd, shared, 4 * page), 0);
        ck_assert_int_eq(munmap(room, 4 * page), 0);
        ck_assert_int_eq(munmap(shared, 4 * page), 0);
        close(fd);
}

DEFINE_TEST("os-share", a_file_is_made_durable)
{
        int fd = new_file();
        void *shared;

        ck_assert_int_eq(os_resize_file(fd, page), 0);
        shared = map_shared(fd, page);
        ck_assert_int_eq(os_sync(fd, shared, page), 0);
        ck_assert_int_eq(os_sync(-1, shared, page), -EBADF);
        ck_assert_int_eq(munmap(shared, page), 0);
        ck_assert_int_eq(os_sync(fd, shared, page), -ENOMEM);
        close(fd);
}

DEFINE_TEST("os-share", what_is_mapped_is_mapped_again)
{
        int fd = new_memory(2 * page);
        unsigned char *shared = map_shared(fd, 2 * page);
        void *room = NULL, *own = NULL;
        unsigned char *bytes;
        struct footprint before;

        ck_assert_int_eq(os_add_seals(fd, AMMAP_SEAL_FUTURE_WRITE | AMMAP_SEAL_SHRINK), 0);
        ck_assert_int_eq(__real_ammap__os_map(&room, 3 * page), 0);
        ck_assert_int_eq(__real_ammap__os_map(&own, page), 0);
        bytes = room;
        memset(bytes, 1, 3 * page);
        /* Only what is shared can be. */
        before = footprint();
        ck_assert_int_lt(os_map_again(bytes + page, own, page), 0);
        ck_assert_footprint(before);
        ck_assert(is_all(bytes, 1, 3 * page));
        ck_assert_int_eq(os_map_again(bytes + page, shared + page, page), 0);
        shared[page] = 3;
        ck_assert_uint_eq(bytes[page], 3);
        bytes[page + 1] = 4;
        ck_assert_uint_eq(shared[page + 1], 4);
        ck_assert(is_all(bytes, 1, page) && is_all(bytes + 2 * page, 1, page));
        ck_assert_int_eq(munmap(own, page), 0);
        ck_assert_int_eq(munmap(room, 3 * page), 0);
        ck_assert_int_eq(munmap(shared, 2 * page), 0);
        close(fd);
}

static void lock_again(void *argument)
{
        const struct rlimit none = { 0, 0 };
        unsigned char **at = argument;

        child_must(mlock(at[0], page) == 0);
        child_must(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
        if (geteuid() == 0)
                child_must(setresuid(65534, 65534, 65534) == 0);
        child_must_int(os_map_again(at[1], at[0], page), -EAGAIN);
        child_must(is_all(at[1], 1, page));
}

/* The limit on locked memory is what the kernel looks at last. */
DEFINE_TEST_IF(!TEST_SANITIZED, "os-share", what_cannot_be_mapped_again_leaves_what_is_there)
{
        int fd = new_memory(page);
        unsigned char *at[2] = { map_shared(fd, page) };
        void *room = NULL;

        ck_assert_int_eq(__real_ammap__os_map(&room, page), 0);
        at[1] = room;
        memset(room, 1, page);
        child_passes(lock_again, at);
        ck_assert_int_eq(munmap(room, page), 0);
        ck_assert_int_eq(munmap(at[0], page), 0);
        close(fd);
}

/* --- Seals ---------------------------------------------------------------------------- */

DEFINE_TEST("os-share", seals_add_up)
{
        const unsigned each[] = { AMMAP_SEAL_GROW, AMMAP_SEAL_SHRINK, AMMAP_SEAL_FUTURE_WRITE, AMMAP_SEAL_WRITE,
                                  AMMAP_SEAL_SEAL };
        int fd = new_memory(page), file = new_file(), reader;
        void *shared = map_shared(fd, page);
        unsigned seals = 0;

        ck_assert_int_eq(os_add_seals(fd, AMMAP_SEAL_WRITE), -EBUSY);
        ck_assert_int_eq(os_seals(fd), 0);
        ck_assert_int_eq(munmap(shared, page), 0);
        ck_assert_int_eq(os_add_seals(fd, 0), 0);
        for (size_t i = 0; i < COUNT_OF(each); i++) {
                seals |= each[i];
                ck_assert_int_eq(os_add_seals(fd, each[i]), 0);
                ck_assert_int_eq(os_seals(fd), (int)seals);
        }
        for (size_t i = 0; i < COUNT_OF(each); i++)
                ck_assert_int_eq(os_add_seals(fd, each[i]), 0);
        ck_assert_int_eq(os_resize_file(fd, 2 * page), -EPERM);
        ck_assert_int_eq(os_resize_file(fd, 0), -EPERM);
        ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
        close(fd);

        fd = new_memory(page);
        ck_assert_int_eq(os_add_seals(fd, AMMAP_SEAL_SEAL), 0);
        ck_assert_int_eq(os_add_seals(fd, AMMAP_SEAL_SEAL | AMMAP_SEAL_GROW), -EPERM);
        close(fd);
        fd = new_memory(page);
        reader = os_reopen(fd, false);
        ck_assert_int_eq(os_add_seals(reader, AMMAP_SEAL_GROW), -EPERM);
        close(reader);
        close(fd);
        ck_assert_int_eq(os_seals(fd), -EBADF);
        ck_assert_int_eq(os_seals(file), -EINVAL);
        ck_assert_int_eq(os_add_seals(file, AMMAP_SEAL_GROW), -EINVAL);
        close(file);
}

/* --- Sockets ----------------------------------------------------------------------------- */

static const int sockets[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };

static void socket_pair(int type, int ends[2])
{
        ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
}

/* Send bytes and so many duplicates of a descriptor. */
static void send_many(int socket, size_t bytes, const int *fd, size_t count)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(253 * sizeof(int))];
        } control;
        char data[64] = "";
        struct iovec vector = { data, bytes };
        struct msghdr message;

        memset(&message, 0, sizeof message);
        message.msg_iov = &vector;
        message.msg_iovlen = 1;
        if (count > 0) {
                struct cmsghdr *header;

                memset(&control, 0, sizeof control);
                message.msg_control = control.bytes;
                message.msg_controllen = (unsigned)CMSG_SPACE(count * sizeof(int));
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = (unsigned)CMSG_LEN(count * sizeof(int));
                for (size_t i = 0; i < count; i++)
                        memcpy(CMSG_DATA(header) + i * sizeof(int), fd, sizeof(int));
        }
        /* musl's own sends no 253. */
        ck_assert_int_eq(syscall(SYS_sendmsg, socket, &message, 0), (int)bytes);
}

DEFINE_LOOP_TEST("os-share", a_descriptor_is_sent_and_received, 0, COUNT_OF(sockets))
{
        int ends[2], fd = new_memory(page), got, on = 1;
        struct os_file sent, received;

        socket_pair(sockets[_i], ends);
        ck_assert_int_eq(os_file(fd, &sent), 0);
        for (int round = 0; round < 3; round++) {
                /* Whatever else comes along; where the kernel is new enough a descriptor. */
                if (round == 1)
                        ck_assert_int_eq(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
                if (round == 2)
                        (void)setsockopt(ends[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on);
                for (int i = 0; i < 3; i++)
                        ck_assert_int_eq(os_send(ends[0], fd), 0);
                for (int i = 0; i < 3; i++) {
                        got = os_receive(ends[1]);
                        ck_assert_int_ge(got, 0);
                        ck_assert_int_eq(fcntl(got, F_GETFD), FD_CLOEXEC);
                        ck_assert_int_eq(os_file(got, &received), 0);
                        ck_assert_uint_eq(sent.inode, received.inode);
                        close(got);
                }
                ck_assert_uint_eq(footprint().descriptors, descriptors + 3);
        }
        close(fd);
        close(ends[0]);
        close(ends[1]);
}

DEFINE_LOOP_TEST("os-share", what_is_not_one_descriptor_is_closed, 0, COUNT_OF(sockets))
{
        int ends[2], fd = new_memory(page), on = 1;

        socket_pair(sockets[_i], ends);
        for (int passing = 0; passing < 2; passing++) {
                for (size_t count = 0; count <= 253; count = count == 0 ? 2 : count * 5 / 4 + 1) {
                        send_many(ends[0], 1, &fd, count);
                        ck_assert_int_eq(os_receive(ends[1]), -EBADMSG);
                        ck_assert_uint_eq(footprint().descriptors, descriptors + 3);
                }
                send_many(ends[0], 1, &fd, 253);
                ck_assert_int_eq(os_receive(ends[1]), -EBADMSG);
                ck_assert_int_eq(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
                (void)setsockopt(ends[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on);
        }
        /* Longer than a byte: where there are messages that is another one, in a
         * stream the rest comes next, and with nothing to it. */
        send_many(ends[0], 2, &fd, 1);
        if (sockets[_i] == SOCK_STREAM) {
                int got = os_receive(ends[1]);

                ck_assert_int_ge(got, 0);
                close(got);
        }
        ck_assert_int_eq(os_receive(ends[1]), -EBADMSG);
        if (sockets[_i] == SOCK_DGRAM) {
                send_many(ends[0], 0, &fd, 1);
                ck_assert_int_eq(os_receive(ends[1]), -EBADMSG);
                send_many(ends[0], 0, &fd, 0);
                ck_assert_int_eq(os_receive(ends[1]), -EBADMSG);
        }
        ck_assert_uint_eq(footprint().descriptors, descriptors + 3);

        /* No room for any, or for all. */
        for (unsigned room = 0; room < 2; room++) {
                struct rlimit before, none;

                ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
                none = before;
                none.rlim_cur = (rlim_t)dup(fd) + room;
                close((int)(none.rlim_cur - room));
                send_many(ends[0], 1, &fd, 1 + room);
                ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
                ck_assert_int_eq(os_receive(ends[1]), room == 0 ? -EMFILE : -EBADMSG);
                ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
                ck_assert_uint_eq(footprint().descriptors, descriptors + 3);
        }
        close(fd);
        close(ends[0]);
        close(ends[1]);
}

DEFINE_LOOP_TEST("os-share", the_other_end_may_be_gone, 0, COUNT_OF(sockets))
{
        int ends[2], fd = new_memory(page);

        socket_pair(sockets[_i], ends);
        ck_assert_int_eq(os_send(ends[0], -1), -EBADF);
        close(ends[0]);
        if (sockets[_i] != SOCK_DGRAM)
                ck_assert_int_eq(os_receive(ends[1]), -ECONNRESET);
        /* No SIGPIPE. */
        ck_assert_int_eq(os_send(ends[1], fd), sockets[_i] == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE);
        close(ends[1]);
        ck_assert_int_eq(os_receive(ends[1]), -EBADF);
        ck_assert_int_eq(os_send(ends[1], fd), -EBADF);
        ck_assert_int_eq(os_receive(fd), -ENOTSOCK);
        ck_assert_int_eq(os_send(fd, fd), -ENOTSOCK);

        socket_pair(sockets[_i] | SOCK_NONBLOCK, ends);
        ck_assert_int_eq(os_receive(ends[1]), -EAGAIN);
        close(ends[0]);
        close(ends[1]);
        close(fd);
}

static void no_action(int number)
{
        (void)number;
}

static void *receive_in_thread(void *argument)
{
        int *socket = argument;

        *socket = os_receive(*socket);
        return NULL;
}

/* Signals do not end it, and it cannot be cancelled. */
DEFINE_TEST("os-share", receiving_is_not_disturbed)
{
        int ends[2], fd = new_memory(page), receiver;
        struct sigaction action, before;
        struct task task;
        void *result;

        memset(&action, 0, sizeof action);
        action.sa_handler = no_action;
        ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
        socket_pair(SOCK_STREAM, ends);
        receiver = ends[1];
        task_start(&task, receive_in_thread, &receiver);
        for (int i = 0; i < 3; i++) {
                ck_assert(task_sleeps(&task));
                pthread_kill(task.thread, SIGUSR1);
        }
        pthread_cancel(task.thread);
        ck_assert(task_sleeps(&task));
        ck_assert_int_eq(os_send(ends[0], fd), 0);
        ck_assert_int_eq(pthread_join(task.thread, &result), 0);
        ck_assert(result != PTHREAD_CANCELED);
        ck_assert_int_ge(receiver, 0);
        ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
        close(receiver);
        close(fd);
        close(ends[0]);
        close(ends[1]);
}

static void *call_all_cancelled(void *argument)
{
        int ends[2], fd, copy, again, *reached = argument;
        size_t done;
        struct os_usage usage;
        struct os_file file;
        unsigned char boot[16], present = 0, byte = 0;
        struct os_slot slot;
        uint64_t start, end;
        void *shared, *room = NULL;

        pthread_cancel(pthread_self());
        fd = os_memory("m", page);
        copy = os_dup(fd);
        again = os_reopen(fd, true);
        thread_check_int(os_file(fd, &file), 0);
        thread_check_int(os_lock_byte(fd, 0, OS_LOCK_WRITE), 0);
        thread_check_int(os_resize_file(fd, 2 * page), 0);
        thread_check_int(os_allot(fd, 0, page), 0);
        thread_check_int(os_read_at(fd, 0, &byte, 1), 0);
        thread_check_int(os_next_data(fd, 0, &start, &end), 0);
        thread_check_int(__real_ammap__os_map(&room, page), 0);
        thread_check_int(os_map_file(room, page, fd, 0, OS_WRITE), 0);
        shared = room;
        thread_check_int(os_peek(&byte, shared, 1), 0);
        refuse.vm_copy = ENOSYS;
        thread_check_int(os_poke(shared, &byte, 1, &done), 0);
        thread_check_int(os_sync(fd, shared, page), 0);
        thread_check_int(os_usage(shared, page, &usage), 0);
        thread_check_int(os_present(shared, 1, &present), 0);
        thread_check_int(os_slot_claim(shared, -1, 0, &slot), 0);
        os_slot_release(&slot);
        thread_check_int(os_remove(shared, page), 0);
        thread_check_int(os_unmap(shared, page), 0);
        thread_check_int(os_add_seals(fd, AMMAP_SEAL_GROW), 0);
        thread_check_int(os_seals(fd), AMMAP_SEAL_GROW);
        os_boot(boot);
        os_pid_space();
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
                thread_check_int(os_send(ends[0], fd), 0);
                os_close(fd);
                fd = os_receive(ends[1]);
                thread_check(fd >= 0);
                os_close(ends[0]);
                os_close(ends[1]);
        }
        os_close(os_open("/proc/self/stat", false, false));
        os_close(fd);
        os_close(copy);
        os_close(again);
        *reached = 1;
        pthread_testcancel();
        *reached = 2;
        return NULL;
}

DEFINE_TEST("os-share", no_call_is_a_cancellation_point)
{
        struct task task;
        void *result;
        int reached = 0;

        task_start(&task, call_all_cancelled, &reached);
        ck_assert_int_eq(pthread_join(task.thread, &result), 0);
        ck_assert_int_eq(reached, 1);
        ck_assert(result == PTHREAD_CANCELED);
}

/* --- Who is who ----------------------------------------------------------------------------- */

DEFINE_TEST("os-share", the_machine_and_the_namespace_have_names)
{
        unsigned char boot[16], again[16];
        char text[37] = "", path[64], expected[64];
        FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
        int length = 0;

        memset(boot, 0xee, sizeof boot);
        os_boot(boot);
        os_boot(again);
        ck_assert_int_eq(memcmp(boot, again, sizeof boot), 0);
        ck_assert(file && fread(text, 1, 36, file) == 36);
        fclose(file);
        for (size_t i = 0; i < 16; i++)
                length += snprintf(expected + length, sizeof expected - (size_t)length, "%s%02x",
                                   i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", boot[i]);
        ck_assert_str_eq(text, expected);

        length = (int)readlink("/proc/self/ns/pid", path, sizeof path - 1);
        ck_assert_int_gt(length, 0);
        path[length] = '\0';
        snprintf(expected, sizeof expected, "pid:[%llu]", (unsigned long long)os_pid_space());
        ck_assert_str_eq(path, expected);
}

static void *own_number(void *argument)
{
        *(_Atomic uint32_t *)argument = os_thread();
        return NULL;
}

DEFINE_TEST("os-share", the_dead_are_told_from_the_living)
{
        _Atomic uint32_t thread = 0;
        struct task task;
        int status;
        pid_t child;

        ck_assert_uint_eq(os_process(), (uint32_t)getpid());
        ck_assert(!os_thread_gone(os_process(), os_thread()));
        task_start(&task, own_number, (void *)&thread);
        task_join(&task);
        ck_assert_uint_eq(atomic_load(&thread), (uint32_t)atomic_load(&task.tid));
        /* Joined is a moment earlier than gone. */
        while (!os_thread_gone(os_process(), atomic_load(&thread)))
                sched_yield();
        /* A thread of another process is none of this one. */
        ck_assert(os_thread_gone(os_process(), 1) || getpid() == 1);
        for (uint32_t forged = 1; forged != 0; forged <<= 1)
                (void)os_thread_gone(forged, forged ^ UINT32_MAX);
        ck_assert(os_thread_gone(os_process(), 0));
        ck_assert(os_thread_gone(os_process(), UINT32_MAX));
        ck_assert(os_thread_gone(0, 0));

        fflush(NULL);
        child = fork();
        if (child == 0) {
                pause();
                _exit(1);
        }
        ck_assert_int_gt(child, 0);
        ck_assert(!os_thread_gone((uint32_t)child, (uint32_t)child));
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(os_thread_gone((uint32_t)child, (uint32_t)child));
}

/* --- Waiting across processes --------------------------------------------------------------- */

DEFINE_TEST("os-share", wake_ups_cross_processes)
{
        const int count = rounds(2000);
        int fd = new_memory(page), status;
        _Atomic uint32_t *word = map_shared(fd, page);
        pid_t child;

        fflush(NULL);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                /* Elsewhere in memory. */
                _Atomic uint32_t *own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

                alarm(test_time());
                for (uint32_t i = 0; i < (uint32_t)count; i++) {
                        while (atomic_load(own) == 2 * i)
                                child_must_int(os_wait_shared(own, 2 * i, OS_NEVER), 0);
                        atomic_fetch_add(own, 1);
                        os_wake_shared(own, INT_MAX);
                }
                _exit(0);
        }
        for (uint32_t i = 0; i < (uint32_t)count; i++) {
                atomic_fetch_add(word, 1);
                os_wake_shared(word, INT_MAX);
                while (atomic_load(word) == 2 * i + 1)
                        ck_assert_int_eq(os_wait_shared(word, 2 * i + 1, OS_NEVER), 0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_int_eq(munmap((void *)word, page), 0);
        close(fd);
}

DEFINE_TEST("os-share", a_shared_wait_ends)
{
        int fd = new_memory(page), result;
        _Atomic uint32_t *word = map_shared(fd, page);
        int64_t deadline = os_now() + 20 * MS;

        ck_assert_int_eq(os_wait_shared(word, 1, OS_NEVER), 0);
        while ((result = os_wait_shared(word, 0, deadline)) == 0)
                ;
        ck_assert_int_eq(result, -ETIMEDOUT);
        ck_assert_int_ge(os_now(), deadline);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        errno = 1234;
        ck_assert_int_eq(os_wait_shared(word, 0, OS_NEVER), 0);
        ck_assert_int_eq(os_wake_shared(word, INT_MAX), 0);
        ck_assert_int_eq(errno, 1234);
        ck_assert_int_eq(munmap((void *)word, page), 0);
        close(fd);
}

/* --- Slots ---------------------------------------------------------------------------------- */

struct slots {
        int fd;
        unsigned char *pages;
};
enum { SLOTS = 4 };

static struct slots slots_new(void)
{
        struct slots slots = { .fd = new_memory(SLOTS * page) };

        slots.pages = map_shared(slots.fd, SLOTS * page);
        return slots;
}

static void slots_free(struct slots *slots)
{
        ck_assert_int_eq(munmap(slots->pages, SLOTS * page), 0);
        close(slots->fd);
}

static void *slot_page(const struct slots *slots, size_t index)
{
        return slots->pages + index * page;
}

static _Atomic uint32_t *slot_word(const struct slots *slots, size_t index)
{
        return (void *)(slots->pages + (index + 1) * page - os_slot_word());
}

/* How long libc's list of this thread is; -1: broken, or without end. */
static int list_length(void)
{
        struct robust_list_head *head = NULL;
        const struct robust_list *at;
        size_t size = 0;
        int length = 0;

        if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || !head || head->list_op_pending)
                return -1;
        for (at = head->list.next; at != &head->list; length++) {
                struct robust_list copy;

                if (length > 1000 || os_peek(&copy, at, sizeof copy) < 0)
                        return -1;
                at = copy.next;
        }
        return length;
}

DEFINE_TEST("os-share", a_slot_names_its_thread)
{
        struct slots slots = slots_new();
        struct os_slot slot, other, second;
        struct footprint before = footprint();

        ck_assert(os_slot_word() == 4 || os_slot_word() == 8);
        for (int i = 0; i < 3; i++) {
                errno = 1234;
                ck_assert_int_eq(os_slot_claim(slot_page(&slots, 1), -1, 0, &slot), 0);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 1)), os_thread());
                ck_assert(os_slot_taken(atomic_load(slot_word(&slots, 1))));
                ck_assert_int_eq(os_slot_claim(slot_page(&slots, 1), -1, 0, &other), -EBUSY);
                ck_assert_ptr_null(other.view);
                ck_assert_int_eq(os_slot_claim(slot_page(&slots, 2), -1, 0, &second), 0);
                ck_assert_int_eq(list_length(), 2);
                os_slot_release(&slot);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 1)), 0);
                ck_assert_int_eq(list_length(), 1);
                os_slot_release(&second);
                ck_assert_int_eq(list_length(), 0);
                ck_assert_int_eq(errno, 1234);
        }
        /* Of the page nothing else was written. */
        ck_assert(is_all(slots.pages, 0, SLOTS * page));
        ck_assert_footprint(before);
        ck_assert(os_slot_taken(1) && os_slot_taken(1 | FUTEX_WAITERS));
        ck_assert(!os_slot_taken(0) && !os_slot_taken(FUTEX_WAITERS));
        ck_assert(!os_slot_taken(FUTEX_OWNER_DIED) && !os_slot_taken(1 | FUTEX_OWNER_DIED));
        slots_free(&slots);
}

/* Sealed against new writable mappings: whoever has one goes on. */
DEFINE_TEST("os-share", a_slot_is_claimed_after_sealing)
{
        struct slots slots = slots_new();
        struct os_slot slot;

        ck_assert_int_eq(os_add_seals(slots.fd, AMMAP_SEAL_FUTURE_WRITE), 0);
        ck_assert_int_eq(os_slot_claim(slot_page(&slots, 0), -1, 0, &slot), 0);
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), os_thread());
        os_slot_release(&slot);
        slots_free(&slots);
}

static void claim_and_wait(struct slots *slots)
{
        struct os_slot slot;

        alarm(test_time());
        if (os_slot_claim(slot_page(slots, 0), -1, 0, &slot) == 0)
                os_wake_shared(slot_word(slots, 0), INT_MAX);
        pause();
        _exit(1);
}

DEFINE_TEST("os-share", a_killed_process_leaves_its_slot)
{
        struct slots slots = slots_new();
        struct os_slot slot;
        int status;

        for (int i = 0; i < 5; i++) {
                pid_t child;

                fflush(NULL);
                child = fork();
                if (child == 0)
                        claim_and_wait(&slots);
                ck_assert_int_gt(child, 0);
                while (atomic_load(slot_word(&slots, 0)) == 0)
                        os_wait_shared(slot_word(&slots, 0), 0, OS_NEVER);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), (uint32_t)child);
                ck_assert_int_eq(os_slot_claim(slot_page(&slots, 0), -1, 0, &slot), -EBUSY);
                ck_assert_int_eq(kill(child, SIGKILL), 0);
                ck_assert_int_eq(waitpid(child, &status, 0), child);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), FUTEX_OWNER_DIED);
                ck_assert_int_eq(os_slot_claim(slot_page(&slots, 0), -1, 0, &slot), OS_SLOT_LEFT);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), os_thread());
                os_slot_release(&slot);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), 0);
        }
        slots_free(&slots);
}

struct claim {
        void *page;
        struct os_slot slot;
        int result;
};

static void *claim_and_end(void *argument)
{
        struct claim *claim = argument;

        claim->result = os_slot_claim(claim->page, -1, 0, &claim->slot);
        return NULL;
}

DEFINE_TEST("os-share", a_thread_that_ends_leaves_its_slot)
{
        struct slots slots = slots_new();
        struct claim claim = { .page = slot_page(&slots, 3) };
        struct os_slot slot;
        struct task task;

        task_start(&task, claim_and_end, &claim);
        task_join(&task);
        ck_assert_int_eq(claim.result, 0);
        /* The kernel has marked it before the thread can be joined. */
        ck_assert_int_eq(os_slot_claim(slot_page(&slots, 3), -1, 0, &slot), OS_SLOT_LEFT);
        os_slot_release(&slot);
        ck_assert_int_eq(munmap(claim.slot.view, 2 * page), 0);
        slots_free(&slots);
}

static void torture(struct slots *slots)
{
        struct os_slot slot[SLOTS];

        for (;;) {
                int result[SLOTS];

                for (size_t i = 0; i < SLOTS; i++)
                        result[i] = os_slot_claim(slot_page(slots, i), -1, 0, &slot[i]);
                for (size_t i = 0; i < SLOTS; i++)
                        if (result[i] >= 0)
                                os_slot_release(&slot[i]);
        }
}

DEFINE_TEST("os-share", killed_anywhere_nothing_stays_taken)
{
        struct random random = random_start("killed_anywhere_nothing_stays_taken");
        struct slots slots = slots_new();
        struct os_slot slot;
        int left = 0;

        for (int round = 0; round < rounds(300); round++) {
                struct timespec nap = { 0, 100000 + (long)random_below(&random, 300000) };
                int status;
                pid_t child;

                fflush(NULL);
                child = fork();
                if (child == 0) {
                        alarm(test_time());
                        torture(&slots);
                }
                ck_assert_int_gt(child, 0);
                nanosleep(&nap, NULL);
                ck_assert_int_eq(kill(child, SIGKILL), 0);
                ck_assert_int_eq(waitpid(child, &status, 0), child);
                ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                for (size_t i = 0; i < SLOTS; i++) {
                        int result = os_slot_claim(slot_page(&slots, i), -1, 0, &slot);

                        ck_assert(result == 0 || result == OS_SLOT_LEFT);
                        left += result == OS_SLOT_LEFT;
                        os_slot_release(&slot);
                }
        }
        ck_assert_int_gt(left, 0);
        slots_free(&slots);
}

static void *lock_and_end(void *argument)
{
        pthread_mutex_lock(argument);
        return NULL;
}

/* Shared, for musl tells the kernel of no other. */
static void new_robust(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attr;

        ck_assert_int_eq(pthread_mutexattr_init(&attr), 0);
        ck_assert_int_eq(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
        ck_assert_int_eq(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
        ck_assert_int_eq(pthread_mutex_init(mutex, &attr), 0);
        pthread_mutexattr_destroy(&attr);
}

struct abuse {
        struct slots *slots;
        pthread_mutex_t before, after; /* robust ones of the same thread */
        int wanted;
        uint32_t forged;
        int claimed, broken;
};

/* The thread holds two mutexes of its own, and ends with them. */
static void abuse_run(struct abuse *abuse, void *(*body)(void *))
{
        pthread_mutex_t *const mutex[] = { &abuse->before, &abuse->after };
        struct task task;

        new_robust(&abuse->before);
        new_robust(&abuse->after);
        task_start(&task, body, abuse);
        task_join(&task);
        ck_assert_int_eq(abuse->broken, 0);
        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_eq(pthread_mutex_lock(mutex[i]), EOWNERDEAD);
                ck_assert_int_eq(pthread_mutex_consistent(mutex[i]), 0);
                ck_assert_int_eq(pthread_mutex_unlock(mutex[i]), 0);
                ck_assert_int_eq(pthread_mutex_destroy(mutex[i]), 0);
        }
}

static void *release_forged(void *argument)
{
        struct abuse *abuse = argument;
        unsigned char *head = (unsigned char *)slot_page(abuse->slots, 1) - 8;
        struct os_slot slot;

        lock_and_end(&abuse->before);
        abuse->claimed = os_slot_claim(slot_page(abuse->slots, 0), -1, 0, &slot);
        memset(head, 0xff, 8);
        atomic_store(slot_word(abuse->slots, 0), abuse->forged);
        lock_and_end(&abuse->after);
        if (abuse->claimed == 0)
                os_slot_release(&slot);
        abuse->broken = list_length() != 2;
        return NULL;
}

/* Each is left as it is: it is not this thread's to change. */
DEFINE_LOOP_TEST("os-share", a_forged_word_does_not_stop_a_release, 0, 9)
{
        const uint32_t forged[] = { 0,          1,          UINT32_MAX, FUTEX_OWNER_DIED, FUTEX_WAITERS, 0x3fffffff,
                                    0x3ffffffe, 0x7fffffff, 16 };
        struct slots slots = slots_new();
        struct abuse abuse = { .slots = &slots, .forged = forged[_i] };
        struct footprint before;

        abuse_run(&abuse, release_forged); /* the thread's stack stays */
        atomic_store(slot_word(&slots, 0), 0);
        before = footprint();
        abuse_run(&abuse, release_forged);
        ck_assert_int_eq(abuse.claimed, 0);
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), forged[_i]);
        ck_assert_footprint(before);
        slots_free(&slots);
}

static void *claim_forged(void *argument)
{
        struct abuse *abuse = argument;
        struct os_slot slot;

        lock_and_end(&abuse->before);
        atomic_store(slot_word(abuse->slots, 0), abuse->forged);
        abuse->claimed = os_slot_claim(slot_page(abuse->slots, 0), -1, 0, &slot);
        lock_and_end(&abuse->after);
        if (abuse->claimed >= 0)
                os_slot_release(&slot);
        abuse->broken = list_length() != 2;
        return NULL;
}

DEFINE_TEST("os-share", a_forged_word_is_taken_by_its_looks)
{
        const struct {
                uint32_t word;
                int claimed;
        } forged[] = {
                { 0, 0 },
                { FUTEX_WAITERS, 0 },
                { FUTEX_OWNER_DIED, OS_SLOT_LEFT },
                { FUTEX_OWNER_DIED | FUTEX_WAITERS, OS_SLOT_LEFT },
                { FUTEX_OWNER_DIED | 1, OS_SLOT_LEFT },
                { UINT32_MAX, OS_SLOT_LEFT },
                { 0x7fffffff, OS_SLOT_LEFT },
                { 0x3fffffff, -EBUSY }, /* musl's "not recoverable" */
                { 1, -EBUSY },
                { 0x7ffffff0 & ~FUTEX_OWNER_DIED, -EBUSY },
        };
        struct slots slots = slots_new();

        for (size_t i = 0; i < COUNT_OF(forged); i++) {
                struct abuse abuse = { .slots = &slots, .forged = forged[i].word };

                abuse_run(&abuse, claim_forged);
                ck_assert_int_eq(abuse.claimed, forged[i].claimed);
                ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), abuse.claimed < 0 ? forged[i].word : 0);
        }
        slots_free(&slots);
}

static void *claim_on_and_on(void *argument)
{
        struct abuse *abuse = argument;
        struct os_slot slot[SLOTS];

        lock_and_end(&abuse->before);
        while (abuse->claimed < abuse->wanted && !abuse->broken) {
                int result[SLOTS];

                for (size_t i = 0; i < SLOTS; i++)
                        result[i] = os_slot_claim(slot_page(abuse->slots, i), -1, 0, &slot[i]);
                for (size_t i = 0; i < SLOTS; i++) {
                        if (result[i] < 0)
                                continue;
                        abuse->claimed++;
                        os_slot_release(&slot[i]);
                }
                if (list_length() != 1)
                        abuse->broken++;
        }
        lock_and_end(&abuse->after);
        return NULL;
}

/* Another process writes all 8 bytes that it can reach, at random and with what
 * would do most harm: the thread's own name above all. */
static void forge(struct slots *slots, const _Atomic uint32_t *thread)
{
        struct random random = { (uint64_t)now_ns() };

        for (;;) {
                const uint32_t name = atomic_load(thread);
                const uint32_t words[] = { 0,
                                           name,
                                           name | FUTEX_WAITERS,
                                           name | FUTEX_OWNER_DIED,
                                           FUTEX_OWNER_DIED,
                                           FUTEX_WAITERS,
                                           UINT32_MAX,
                                           (uint32_t)random_next(&random) };
                size_t slot = (size_t)random_below(&random, SLOTS);
                _Atomic uint32_t *at = (void *)(slots->pages + (slot + 1) * page - 8);

                atomic_store(&at[random_below(&random, 2)], words[random_below(&random, COUNT_OF(words))]);
        }
}

static void *note_and_claim(void *argument)
{
        struct abuse *abuse = argument;

        atomic_store((_Atomic uint32_t *)slot_page(abuse->slots, 0), os_thread());
        return claim_on_and_on(argument);
}

DEFINE_TEST("os-share", forged_words_break_nothing)
{
        struct slots slots = slots_new();
        struct abuse abuse = { .slots = &slots };
        int status;
        pid_t child;

        fflush(NULL);
        child = fork();
        if (child == 0) {
                alarm(test_time());
                forge(&slots, slot_page(&slots, 0));
        }
        ck_assert_int_gt(child, 0);
        abuse.wanted = rounds_or_all(20000, 500000);
        abuse_run(&abuse, note_and_claim);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        slots_free(&slots);
}

static void *release_without_pages(void *argument)
{
        struct abuse *abuse = argument;
        struct os_slot slot;

        lock_and_end(&abuse->before);
        abuse->claimed = os_slot_claim(slot_page(abuse->slots, 0), -1, 0, &slot);
        lock_and_end(&abuse->after);
        refuse.no_pages = true;
        os_slot_release(&slot);
        abuse->broken = slot.view != NULL || atomic_load(slot_word(abuse->slots, 0)) != 0 || list_length() != 2;
        /* Nor is one claimed. */
        abuse->broken += os_slot_claim(slot_page(abuse->slots, 0), -1, 0, &slot) != -ENOMEM;
        refuse.no_pages = false;
        /* It can be taken again, by the same thread, too. */
        abuse->broken += os_slot_claim(slot_page(abuse->slots, 0), -1, 0, &slot) != 0;
        os_slot_release(&slot);
        abuse->broken += list_length() != 2;
        return NULL;
}

DEFINE_TEST("os-share", without_memory_a_slot_is_released_all_the_same)
{
        struct slots slots = slots_new();
        struct abuse abuse = { .slots = &slots };

        abuse_run(&abuse, release_without_pages);
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), 0);
        slots_free(&slots);
}

struct waiter {
        _Atomic uint32_t *word;
        uint32_t value;
        int result;
};

static void *wait_for_release(void *argument)
{
        struct waiter *waiter = argument;

        while (atomic_load(waiter->word) == waiter->value)
                waiter->result = os_wait_shared(waiter->word, waiter->value, OS_NEVER);
        return NULL;
}

DEFINE_TEST("os-share", who_waits_for_a_slot_is_woken)
{
        struct slots slots = slots_new();
        struct waiter waiter = { slot_word(&slots, 0), os_thread() | FUTEX_WAITERS, 1 };
        struct os_slot slot;
        struct task task;

        atomic_store(waiter.word, FUTEX_WAITERS);
        ck_assert_int_eq(os_slot_claim(slot_page(&slots, 0), -1, 0, &slot), 0);
        ck_assert_uint_eq(atomic_load(waiter.word), waiter.value);
        task_start(&task, wait_for_release, &waiter);
        ck_assert(task_sleeps(&task));
        os_slot_release(&slot);
        task_join(&task);
        ck_assert_uint_eq(atomic_load(waiter.word), 0);
        slots_free(&slots);
}

struct family {
        struct slots *slots;
        struct os_slot slot;
        pthread_mutex_t mutex;
};

/* Once the first thread has ended and its slot is marked. */
static void *end_last(void *argument)
{
        struct family *family = argument;

        while (os_slot_taken(atomic_load(slot_word(family->slots, 2))))
                sched_yield();
        _exit(0);
}

/* The child's one thread is the one that forked, and it ends as a thread. */
static void use_slots_in_child(void *argument)
{
        struct family *family = argument;
        struct os_slot slot;
        pthread_t thread;

        child_must_int(os_slot_claim(slot_page(family->slots, 0), -1, 0, &slot), -EBUSY);
        os_slot_forget(&family->slot);
        child_must(family->slot.view == NULL);
        child_must_int(os_slot_claim(slot_page(family->slots, 0), -1, 0, &slot), -EBUSY);
        for (int i = 0; i < 3; i++) {
                child_must_int(os_slot_claim(slot_page(family->slots, 1), -1, 0, &slot), 0);
                child_must(atomic_load(slot_word(family->slots, 1)) == os_thread());
                child_must(os_thread() == (uint32_t)getpid());
                os_slot_release(&slot);
        }
        child_must_int(pthread_mutex_lock(&family->mutex), 0);
        child_must_int(os_slot_claim(slot_page(family->slots, 2), -1, 0, &slot), 0);
        child_must_int(pthread_create(&thread, NULL, end_last, family), 0);
        pthread_exit(NULL);
}

DEFINE_TEST("os-share", a_forked_child_has_slots_of_its_own)
{
        /* Not on the stack: the child's thread that has it ends before the child does. */
        static struct slots slots;
        static struct family family = { .slots = &slots };
        struct os_slot slot;

        slots = slots_new();
        new_robust(&family.mutex);
        ck_assert_int_eq(os_slot_claim(slot_page(&slots, 0), -1, 0, &family.slot), 0);
        child_passes(use_slots_in_child, &family);
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), os_thread());
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 1)), 0);
        ck_assert_int_eq(os_slot_claim(slot_page(&slots, 2), -1, 0, &slot), OS_SLOT_LEFT);
        os_slot_release(&slot);
        ck_assert_ptr_nonnull(family.slot.view);
        os_slot_release(&family.slot);
        ck_assert_int_eq(list_length(), 0);
        pthread_mutex_destroy(&family.mutex);
        slots_free(&slots);
}

/* A libc that was not told of the fork gives its mutexes the parent's name. */
DEFINE_TEST_IF(!TEST_SANITIZED, "os-share", a_bare_clone_claims_nothing_that_would_stay)
{
        struct slots slots = slots_new();
        int status = 0;
        long child;

        fflush(NULL);
        child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
                struct os_slot slot;
                int result = os_slot_claim(slot_page(&slots, 0), -1, 0, &slot);

                syscall(SYS_exit_group, result == -ENOSYS && !slot.view ? 0 : 1);
        }
        ck_assert_int_gt(child, 0);
        ck_assert_int_eq(waitpid((pid_t)child, &status, 0), (pid_t)child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_uint_eq(atomic_load(slot_word(&slots, 0)), 0);
        slots_free(&slots);
}

/* Link-time optimisation may leave a call nothing to be wrapped in. */
static bool is_wrapped(void)
{
        void *address = NULL;
        int rc;

        refuse.no_pages = true;
        rc = os_map(&address, os_page_size());
        refuse.no_pages = false;
        if (rc == 0)
                os_unmap(address, os_page_size());
        return rc == -ENOMEM;
}

#else

DEFINE_TEST("os-share", there_is_no_sharing)
{
        unsigned char boot[16], byte = 0;
        struct os_slot slot;
        struct os_file file;
        uint64_t start, end;
        size_t done;

        ck_assert_int_eq(os_peek(&byte, &byte, 1), -ENOSYS);
        ck_assert_int_eq(os_poke(&byte, &byte, 1, &done), -ENOSYS);
        ck_assert_int_eq(os_allot(0, 0, 1), -ENOSYS);
        ck_assert_int_eq(os_memory("m", 1), -ENOSYS);
        ck_assert_int_eq(os_open("/tmp", false, false), -ENOSYS);
        ck_assert_int_eq(os_reopen(0, false), -ENOSYS);
        ck_assert_int_eq(os_file(0, &file), -ENOSYS);
        ck_assert_int_eq(os_resize_file(0, 1), -ENOSYS);
        ck_assert_int_eq(os_read_at(0, 0, &byte, 1), -ENOSYS);
        ck_assert_int_eq(os_next_data(0, 0, &start, &end), -ENOSYS);
        ck_assert_int_eq(os_map_again(&byte, &byte, 1), -ENOSYS);
        ck_assert_int_eq(os_remove(&byte, 1), -ENOSYS);
        ck_assert_int_eq(os_sync(0, &byte, 1), -ENOSYS);
        ck_assert_int_eq(os_add_seals(0, 1), -ENOSYS);
        ck_assert_int_eq(os_seals(0), -ENOSYS);
        ck_assert_int_eq(os_send(0, 0), -ENOSYS);
        ck_assert_int_eq(os_receive(0), -ENOSYS);
        ck_assert_int_eq(os_lock_byte(0, 0, OS_LOCK_READ), -ENOSYS);
        ck_assert_int_eq(os_lock_byte(0, 0, OS_LOOK_READ), -ENOSYS);
        memset(boot, 1, sizeof boot);
        os_boot(boot);
        ck_assert(is_all(boot, 0, sizeof boot));
        ck_assert_uint_eq(os_pid_space(), 0);
        ck_assert_uint_eq(os_slot_word(), 0);
        ck_assert_int_eq(os_slot_claim(&byte, -1, 0, &slot), -ENOSYS);
}

#endif

int main(void)
{
#if TEST_OS_LINUX
        if (!is_wrapped()) {
                printf("os-share: the linker did not wrap the calls\n");
                return SKIPPED;
        }
        return run_tests("os-share", os_case);
#else
        return run_tests("os-share", test_case);
#endif
}
