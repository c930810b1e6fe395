/* share.h - what the tests of sharing have in common
 *
 * SPDX-License-Identifier: MIT
 *
 * - Cases at whose end every descriptor of the beginning is there and no other,
 *   and a directory of their own.
 * - Peers: children that die with the test, words through pipes to go in step.
 * - Remotes: peers that have a handle of their own on a map, and do with it what
 *   they are told.
 * - Boards: memory that all processes of a test have, made without the library.
 */
#ifndef AMMAP_TESTS_SHARE_H
#define AMMAP_TESTS_SHARE_H

#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include "proc.h"

#include "memory/format.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* ThreadSanitizer keeps the threads that a forked child does not have, and takes
 * a new one there for one of them: no threads in children, then. */
#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* Whether copies out take the lock, too, as they do under ThreadSanitizer. */
#ifdef AMMAP_NO_OPTIMISTIC_READS
#define TEST_READS_LOCK 1
#else
#define TEST_READS_LOCK TEST_TSAN
#endif

#define KB UINT64_C(1024)
#define MB (UINT64_C(1) << 20)
#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

/* --- Cases -------------------------------------------------------------- */

static char share_directory[200];
static unsigned share_descriptors;

static inline void share_directory_make(void)
{
        const char *base = getenv("TMPDIR");

        snprintf(share_directory, sizeof(share_directory), "%.150s/ammap-test-XXXXXX", base && *base ? base : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(share_directory));
}

static inline void share_directory_remove(void)
{
        DIR *directory = opendir(share_directory);
        struct dirent *entry;

        while (directory && (entry = readdir(directory)))
                unlinkat(dirfd(directory), entry->d_name, 0);
        if (directory)
                closedir(directory);
        rmdir(share_directory);
}

/* The path of a file there, which there is not. */
struct path {
        char text[256];
};

static inline struct path path_of(const char *name)
{
        struct path path;

        snprintf(path.text, sizeof(path.text), "%s/%s", share_directory, name);
        unlink(path.text);
        return path;
}

/* What is in one file from now on is what is in the other, as a program that knows nothing of maps copies it. */
static inline void put_over(const struct path *path, const struct path *other)
{
        int to = open(path->text, O_WRONLY | O_TRUNC | O_CLOEXEC), from = open(other->text, O_RDONLY | O_CLOEXEC);
        char bytes[4096];
        ssize_t n;

        ck_assert(to >= 0 && from >= 0);
        while ((n = read(from, bytes, sizeof(bytes))) > 0)
                ck_assert_int_eq(write(to, bytes, (size_t)n), n);
        ck_assert_int_eq(n, 0);
        close(from);
        close(to);
}

static inline void share_setup(void)
{
        share_descriptors = footprint().descriptors;
}

static inline void share_teardown(void)
{
        ck_assert_uint_eq(footprint().descriptors, share_descriptors);
}

static inline TCase *share_case(Suite *suite, const char *name)
{
        TCase *tcase = test_case(suite, name);

        tcase_add_unchecked_fixture(tcase, share_directory_make, share_directory_remove);
        tcase_add_checked_fixture(tcase, share_setup, share_teardown);
        return tcase;
}

/* --- Maps --------------------------------------------------------------- */

static inline ammap_options_t shared_options(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = AMMAP_SHARED;
        return options;
}

static inline ammap_t *make_with(uint64_t size, const ammap_options_t *options)
{
        ammap_t *map;

        ck_assert_int_eq(ammap_new_with(&map, size, options), 0);
        ck_assert_ptr_nonnull(map);
        return map;
}

static inline ammap_t *make_shared(uint64_t size, uint64_t capacity, uint64_t lanes)
{
        ammap_options_t options = shared_options();

        options.capacity = capacity;
        options.lanes = lanes;
        return make_with(size, &options);
}

static inline ammap_t *make_raw(uint64_t size)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = AMMAP_RAW;
        return make_with(size, &options);
}

static inline int export_of(ammap_t *map, unsigned rights)
{
        int fd;

        ck_assert_int_eq(ammap_export(map, rights, &fd), 0);
        ck_assert_int_ge(fd, 0);
        return fd;
}

static inline ammap_t *import_of(int fd, ammap_share_t share)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = share;
        ck_assert_int_eq(ammap_import(&map, fd, &options), 0);
        ck_assert_ptr_nonnull(map);
        return map;
}

/* Another handle of this process on the same map. */
static inline ammap_t *import_again(ammap_t *map, unsigned rights)
{
        int fd = export_of(map, rights);
        ammap_t *again = import_of(fd, AMMAP_SHARED);

        ck_assert_int_eq(close(fd), 0);
        return again;
}

static inline ammap_stat_t stat_of(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;

        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        return stat;
}

/* Whether length bytes at offset are all byte, as a copy has them. */
static inline bool holds(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        unsigned char *bytes = malloc((size_t)length);
        bool same = bytes && ammap_read_into(map, offset, bytes, (size_t)length) == 0 && is_all(bytes, byte, length);

        free(bytes);
        return same;
}

/* A memfd of size bytes, with these of the kernel's seals. */
static inline int memory_file(uint64_t size, int seals)
{
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
        if (seals)
                ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

/* Where the data of a map with a header begins, by what stands in it. */
static inline uint64_t data_of(int fd)
{
        uint64_t data = 0;

        ck_assert_int_eq(pread(fd, &data, sizeof(data), offsetof(struct format_head, data)), sizeof(data));
        return data;
}

/* --- Where there is no sharing -------------------------------------------- */

/* The kernel does not tell of threads' ends (qemu-user): maps shared by a lock are
 * refused, and what needs them is skipped. */
static inline bool cannot_share(const char *suite)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        void *list;
        size_t size;
        ammap_t *map;

        if (syscall(SYS_get_robust_list, 0, &list, &size) == 0 || errno != ENOSYS)
                return false;
        options.share = AMMAP_SHARED;
        if (ammap_new_with(&map, 1, &options) != AMMAP_ERR_UNSUPPORTED)
                return false; /* and the suites fail */
        printf("%s: no robust lists in this kernel\n", suite);
        return true;
}

/* --- Boards --------------------------------------------------------------- */

static inline void *board_of(size_t size)
{
        void *board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(board, MAP_FAILED);
        return board;
}

/* --- Peers ---------------------------------------------------------------- */

struct peer {
        pid_t pid; /* of the other one */
        int in, out;
};

typedef void peer_body(struct peer *parent, void *argument);

static inline void peer_tell(const struct peer *peer, char word)
{
        while (write(peer->out, &word, 1) < 0 && errno == EINTR)
                ;
}

/* The next word; 0: the other one is gone, '?': it says nothing. */
static inline char peer_hear(const struct peer *peer)
{
        int64_t deadline = now_ns() + patience_ns();
        struct pollfd poll_in = { peer->in, POLLIN, 0 };
        char word = 0;

        while (poll(&poll_in, 1, 100) <= 0)
                if (now_ns() > deadline)
                        return '?';
        while (read(peer->in, &word, 1) < 0 && errno == EINTR)
                ;
        return word;
}

#define peer_expect(peer, word) ck_assert_int_eq(peer_hear(peer), word)
#define child_expect(peer, word) child_must(peer_hear(peer) == (word))

/* The system call alone, without what libc does beside it. */
static inline pid_t clone_fork(void)
{
        return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static inline pid_t usual_fork(void)
{
        return fork();
}

/* The child dies when the thread that calls this ends. */
static inline void peer_start_by(struct peer *peer, pid_t (*forker)(void), peer_body *body, void *argument)
{
        pid_t self = getpid();
        int there[2], back[2];

        ck_assert_int_eq(pipe2(there, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(back, O_CLOEXEC), 0);
        fflush(NULL);
        peer->pid = forker();
        ck_assert_int_ge(peer->pid, 0);
        if (peer->pid == 0) {
                struct peer parent = { self, there[0], back[1] };

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != self)
                        _exit(1);
                close(there[1]);
                close(back[0]);
                watchdog_since = now_ns();
                alarm(test_time());
                body(&parent, argument);
                _exit(0);
        }
        close(there[0]);
        close(back[1]);
        peer->in = back[0];
        peer->out = there[1];
}

static inline void peer_start(struct peer *peer, peer_body *body, void *argument)
{
        peer_start_by(peer, usual_fork, body, argument);
}

static inline void peer_close(struct peer *peer)
{
        close(peer->in);
        close(peer->out);
}

/* The child's wait status, or -1: it does not end, and is made to. */
static inline int peer_status_within(pid_t pid, int64_t time_ns)
{
        int64_t deadline = now_ns() + time_ns;
        struct pollfd ended = { (int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };
        int status = -1;
        pid_t found;

        do {
                if (ended.fd >= 0)
                        poll(&ended, 1, 100);
                else
                        pause_ms(1);
                found = waitpid(pid, &status, WNOHANG);
        } while ((found == 0 || (found < 0 && errno == EINTR)) && now_ns() < deadline);
        if (ended.fd >= 0)
                close(ended.fd);
        if (found == pid)
                return status;
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return -1;
}

static inline int peer_status(pid_t pid)
{
        return peer_status_within(pid, patience_ns());
}

/* It comes to its end, and well. */
static inline void peer_end(struct peer *peer)
{
        int status;

        peer_close(peer);
        status = peer_status(peer->pid);
        ck_assert_msg(status != -1, "the child hangs");
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", (unsigned)status);
}

/* Dead, and not yet waited for. */
static inline void peer_kill_only(const struct peer *peer)
{
        siginfo_t info;

        ck_assert_int_eq(kill(peer->pid, SIGKILL), 0);
        ck_assert_int_eq(waitid(P_PID, (id_t)peer->pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(info.si_code, CLD_KILLED);
        ck_assert_int_eq(info.si_status, SIGKILL);
}

static inline void peer_bury(struct peer *peer)
{
        int status;

        ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
        peer_close(peer);
}

static inline void peer_kill(struct peer *peer)
{
        peer_kill_only(peer);
        peer_bury(peer);
}

/* The state letter of a process's first thread, '?' where there is none. */
static inline char process_state(pid_t pid)
{
        char path[64], text[512];
        const char *after_name;
        ssize_t length;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return '?';
        length = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[length > 0 ? length : 0] = '\0';
        after_name = strrchr(text, ')');
        return after_name && after_name[1] ? after_name[2] : '?';
}

/* --- Remotes -------------------------------------------------------------- *
 *
 * How a remote comes by its handle: it has inherited it, imports the descriptor,
 * or opens the path.
 */

enum way { INHERIT, IMPORT, OPEN };

struct place {
        enum way way;
        ammap_t *map;
        int fd;
        const char *path;
        ammap_options_t options;
};

enum order {
        DO_OP,
        DO_HOLD,
        DO_RELEASE,
        DO_STAT,
        DO_READ,
        DO_RESIZE,
        DO_RECOVER,
        DO_FREEZE,
        DO_WAIT,
        DO_VANISH,
        DO_END
};

struct command {
        enum order order;
        enum op op; /* DO_OP; DO_HOLD, DO_VANISH: OP_SLICE or OP_MUT_SLICE */
        uint64_t offset, length;
        int64_t timeout_ns;
};

enum { REMOTE_BYTES = 64 };

struct reply {
        int result;
        int64_t took_ns;
        unsigned char bytes[REMOTE_BYTES];
        ammap_stat_t stat;
};

struct remote_board {
        _Atomic bool busy;
};

struct remote {
        struct peer peer;
        struct remote_board *board;
        const struct place *place;
};

static inline ammap_t *place_join(const struct place *place)
{
        ammap_t *map = place->map;

        if (place->way == IMPORT)
                child_must_int(ammap_import(&map, place->fd, &place->options), 0);
        if (place->way == OPEN)
                child_must_int(ammap_open(&map, place->path, 0, &place->options), 0);
        return map;
}

struct vanish {
        ammap_t *map;
        struct command request;
        int result;
};

/* Ends with its slice alive. */
static inline void *vanish_body(void *argument)
{
        struct vanish *vanish = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        if (vanish->request.op == OP_MUT_SLICE)
                vanish->result = ammap_as_mut_slice(vanish->map, vanish->request.offset, vanish->request.length, &mut);
        else
                vanish->result = ammap_as_slice(vanish->map, vanish->request.offset, vanish->request.length, &slice);
        return NULL;
}

static inline void remote_serve(struct peer *parent, void *argument)
{
        struct remote *remote = argument;
        ammap_t *map = place_join(remote->place);
        ammap_slice_t slice = { 0 };
        ammap_mut_slice_t mut = { 0 };
        struct command request;

        peer_tell(parent, 'r');
        for (;;) {
                struct reply reply = { INT_MIN, 0, { 0 }, AMMAP_STAT_INIT };
                struct vanish vanish;
                pthread_t thread;
                int64_t start;

                if (read(parent->in, &request, sizeof(request)) != sizeof(request) || request.order == DO_END)
                        break;
                atomic_store(&remote->board->busy, true);
                start = now_ns();
                switch (request.order) {
                case DO_OP:
                        reply.result = op_run(request.op, map, request.offset, request.length, request.timeout_ns);
                        break;
                case DO_HOLD:
                        if (request.op == OP_MUT_SLICE)
                                reply.result = ammap_as_mut_slice(map, request.offset, request.length, &mut);
                        else
                                reply.result = ammap_as_slice(map, request.offset, request.length, &slice);
                        break;
                case DO_RELEASE:
                        ammap_slice_release(&slice);
                        ammap_mut_slice_release(&mut);
                        reply.result = 0;
                        break;
                case DO_STAT:
                        reply.result = ammap_stat(map, &reply.stat);
                        break;
                case DO_READ:
                        reply.result = ammap_read_into(map, request.offset, reply.bytes, (size_t)request.length);
                        break;
                case DO_RESIZE:
                        reply.result = ammap_resize(map, request.length);
                        break;
                case DO_RECOVER:
                        reply.result = ammap_recover(map);
                        break;
                case DO_FREEZE:
                        reply.result = ammap_freeze(map);
                        break;
                case DO_WAIT: /* while the word is length */
                        reply.result =
                                ammap_wait_u32(map, request.offset, (uint32_t)request.length, request.timeout_ns);
                        break;
                case DO_VANISH:
                        vanish = (struct vanish){ map, request, INT_MIN };
                        child_must(pthread_create(&thread, NULL, vanish_body, &vanish) == 0);
                        child_must(pthread_join(thread, NULL) == 0);
                        reply.result = vanish.result;
                        break;
                case DO_END:
                        break;
                }
                reply.took_ns = now_ns() - start;
                atomic_store(&remote->board->busy, false);
                child_must(write(parent->out, &reply, sizeof(reply)) == sizeof(reply));
        }
        ammap_slice_release(&slice);
        ammap_mut_slice_release(&mut);
        child_must_int(ammap_free(map), 0);
}

static inline void remote_start_by(struct remote *remote, pid_t (*forker)(void), const struct place *place)
{
        remote->board = board_of(sizeof(*remote->board));
        remote->place = place;
        peer_start_by(&remote->peer, forker, remote_serve, remote);
        peer_expect(&remote->peer, 'r');
}

static inline void remote_start(struct remote *remote, const struct place *place)
{
        remote_start_by(remote, usual_fork, place);
}

static inline void remote_send(const struct remote *remote, struct command request)
{
        ck_assert_int_eq(write(remote->peer.out, &request, sizeof(request)), sizeof(request));
}

static inline struct reply remote_reply(const struct remote *remote)
{
        struct pollfd poll_in = { remote->peer.in, POLLIN, 0 };
        int64_t deadline = now_ns() + patience_ns();
        struct reply reply;

        while (poll(&poll_in, 1, 100) <= 0)
                ck_assert_msg(now_ns() < deadline, "the remote hangs");
        ck_assert_msg(read(remote->peer.in, &reply, sizeof(reply)) == sizeof(reply), "the remote is gone");
        return reply;
}

static inline struct reply remote_do(const struct remote *remote, struct command request)
{
        remote_send(remote, request);
        return remote_reply(remote);
}

static inline int remote_op(const struct remote *remote, enum op op, uint64_t offset, uint64_t length,
                            int64_t timeout_ns)
{
        return remote_do(remote, (struct command){ DO_OP, op, offset, length, timeout_ns }).result;
}

static inline void remote_hold(const struct remote *remote, bool writes, uint64_t offset, uint64_t length)
{
        struct command request = { DO_HOLD, writes ? OP_MUT_SLICE : OP_SLICE, offset, length, 0 };

        ck_assert_int_eq(remote_do(remote, request).result, 0);
}

static inline void remote_release(const struct remote *remote)
{
        ck_assert_int_eq(remote_do(remote, (struct command){ .order = DO_RELEASE }).result, 0);
}

static inline int remote_order(const struct remote *remote, enum order order)
{
        return remote_do(remote, (struct command){ .order = order }).result;
}

static inline int remote_resize(const struct remote *remote, uint64_t length)
{
        return remote_do(remote, (struct command){ .order = DO_RESIZE, .length = length }).result;
}

static inline ammap_stat_t remote_stat(const struct remote *remote)
{
        struct reply reply = remote_do(remote, (struct command){ .order = DO_STAT });

        ck_assert_int_eq(reply.result, 0);
        return reply.stat;
}

static inline void remote_check_bytes(const struct remote *remote, uint64_t offset, uint64_t length, unsigned char byte)
{
        struct command request = { .order = DO_READ, .offset = offset, .length = length };
        struct reply reply = remote_do(remote, request);

        ck_assert_int_eq(reply.result, 0);
        ck_assert(is_all(reply.bytes, byte, length));
}

/* It is at what it was told last, and sleeps over it. */
static inline void remote_sleeps(const struct remote *remote)
{
        int64_t deadline = now_ns() + patience_ns();

        for (int seen = 0; seen < 5;) {
                ck_assert_msg(now_ns() < deadline, "a process that should block does not");
                pause_ms(1);
                seen = atomic_load(&remote->board->busy) && process_state(remote->peer.pid) == 'S' ? seen + 1 : 0;
        }
}

static inline void remote_end(struct remote *remote)
{
        /* Others that were forked later have its pipes too: to close them says nothing. */
        remote_send(remote, (struct command){ .order = DO_END });
        peer_end(&remote->peer);
        munmap(remote->board, sizeof(*remote->board));
}

static inline void remote_kill(struct remote *remote)
{
        peer_kill(&remote->peer);
        munmap(remote->board, sizeof(*remote->board));
}

/* --- Where there is no sharing -------------------------------------------- */

#if !TEST_OS_LINUX
static inline void check_unsupported(void)
{
        static const ammap_share_t shared[] = { AMMAP_SHARED, AMMAP_RAW };
        struct path path = path_of("unsupported");
        int pair[2], file = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ammap_t *map;

        ck_assert_int_ge(file, 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        for (size_t i = 0; i < COUNT_OF(shared); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;

                options.share = shared[i];
                map = (ammap_t *)&options;
                ck_assert_int_eq(ammap_new_with(&map, 4096, &options), AMMAP_ERR_UNSUPPORTED);
                ck_assert_ptr_null(map);
                map = (ammap_t *)&options;
                ck_assert_int_eq(ammap_import(&map, file, &options), AMMAP_ERR_UNSUPPORTED);
                ck_assert_ptr_null(map);
                map = (ammap_t *)&options;
                ck_assert_int_eq(ammap_open(&map, path.text, 4096, &options), AMMAP_ERR_UNSUPPORTED);
                ck_assert_ptr_null(map);
                map = (ammap_t *)&options;
                ck_assert_int_eq(ammap_recv(&map, pair[0], &options), AMMAP_ERR_UNSUPPORTED);
                ck_assert_ptr_null(map);
        }
        close(pair[0]);
        close(pair[1]);
        close(file);
}
#endif

/* A suite whose tests need shared maps. */
static inline int run_sharing(const char *name)
{
        return cannot_share(name) ? SKIPPED : run_tests(name, share_case);
}

/* --- A small disk --- */

/* Mount one, that this process alone sees; false where that is not to be had. */
static inline bool mount_small(const char *directory, const char *size)
{
        char options[64];

        snprintf(options, sizeof(options), "size=%s", size);
        return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
               mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("none", directory, "tmpfs", 0, options) == 0;
}

#endif /* AMMAP_TESTS_SHARE_H */
