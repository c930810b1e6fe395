/* test-socket.c - maps that are sent and received
 *
 * SPDX-License-Identifier: MIT
 *
 * What goes over a socket, what does not, and what the numbers of descriptors are worth.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

#include <sys/uio.h>

/* --- Sockets --------------------------------------------------------------- */

static const int socket_types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };

static void pair_of(int type, int pair[2])
{
        ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
        close(pair[0]);
        close(pair[1]);
}

/* Send bytes with so many descriptors beside them. */
static void send_fds(int socket, const int *fds, size_t count, size_t bytes)
{
        static const char data[16] = { 'd' };
        union {
                char room[CMSG_SPACE(253 * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec vector = { (void *)(uintptr_t)data, bytes };
        struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
        struct cmsghdr *header;

        memset(&control, 0, sizeof(control));
        if (count) {
                message.msg_control = control.room;
                message.msg_controllen = (unsigned)CMSG_SPACE(count * sizeof(int));
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = (unsigned)CMSG_LEN(count * sizeof(int));
                memcpy(CMSG_DATA(header), fds, count * sizeof(int));
        }
        /* musl's own sends no 253. */
        ck_assert_int_eq(syscall(SYS_sendmsg, socket, &message, 0), (ssize_t)bytes);
}

static void receiver_body(struct peer *parent, void *argument)
{
        int socket = *(int *)argument;
        ammap_t *map;

        child_must_int(ammap_recv(&map, socket, NULL), 0);
        child_must(ammap_len(map) == 5000);
        child_must_int(ammap_fill(map, 0, 5000, 0x11), 0);
        peer_tell(parent, 'w');
        child_expect(parent, 'e');
        child_must_int(ammap_free(map), 0);
}

DEFINE_TEST("socket", send_and_receive)
{
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                ammap_t *map = make_shared(5000, 0, 3), *raw = make_raw(777), *again;
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct peer peer;
                int pair[2];
                char byte = 0;

                pair_of(socket_types[i], pair);
                peer_start(&peer, receiver_body, &pair[1]);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                peer_expect(&peer, 'w');
                ck_assert(holds(map, 0, 5000, 0x11));
                peer_tell(&peer, 'e');
                peer_end(&peer);

                /* Several, one after the other, to oneself. */
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                ck_assert_int_eq(ammap_send(raw, pair[0]), 0);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                ck_assert_int_eq(send(pair[0], "z", 1, 0), 1);
                for (int j = 0; j < 3; j++) {
                        options.share = j == 1 ? AMMAP_RAW : AMMAP_SHARED;
                        ck_assert_int_eq(ammap_recv(&again, pair[1], &options), 0);
                        ck_assert_uint_eq(ammap_len(again), j == 1 ? 777 : 5000);
                        ck_assert(fcntl(ammap_fd(again), F_GETFD) & FD_CLOEXEC);
                        ck_assert(!stat_of(again).read_only);
                        ck_assert_int_eq(ammap_free(again), 0);
                }
                /* What follows is the program's own. */
                ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
                ck_assert_int_eq(byte, 'z');
                close_pair(pair);
                ck_assert_int_eq(ammap_free(raw), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("socket", who_may_only_read_sends_that)
{
        ammap_t *map = make_shared(5000, 0, 0), *reader = import_again(map, AMMAP_READ), *again;
        int pair[2];

        pair_of(SOCK_STREAM, pair);
        ck_assert_int_eq(ammap_send(reader, pair[0]), 0);
        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
        ck_assert(stat_of(again).read_only);
        ck_assert_int_eq(fcntl(ammap_fd(again), F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(ammap_free(again), 0);
        close_pair(pair);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- The numbers of descriptors -------------------------------------------- */

/* What a closed standard stream gives room to. */
static void closed_streams_body(void *argument)
{
        const char *path = argument;
        const unsigned both = AMMAP_READ | AMMAP_WRITE;
        int pair[2], fds[3] = { -1, -1, -1 };

        child_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        for (int fd = 0; fd < 3; fd++)
                close(fd);
        for (int kind = 0; kind < 3; kind++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map, *imported, *received, *clone;

                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                child_must((kind == 2 ? ammap_open(&map, path, 4096, &options)
                                      : ammap_new_with(&map, 4096, &options)) == 0);
                options = (ammap_options_t)AMMAP_OPTIONS_INIT;
                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                child_must(ammap_export(map, both, &fds[0]) == 0);
                child_must(ammap_import(&imported, fds[0], &options) == 0);
                child_must(ammap_send(map, pair[0]) == 0);
                child_must(ammap_recv(&received, pair[1], &options) == 0);
                child_must(ammap_clone(map, &clone) == 0);
                child_must(fds[0] >= 3 && ammap_fd(map) >= 3 && ammap_fd(imported) >= 3 && ammap_fd(received) >= 3);
                for (int fd = 0; fd < 3; fd++)
                        child_must(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
                close(fds[0]);
                child_must(ammap_free(map) == 0 && ammap_free(imported) == 0 && ammap_free(received) == 0 &&
                           ammap_free(clone) == 0);
        }
}

DEFINE_TEST("socket", no_descriptor_is_a_standard_stream)
{
        struct path path = path_of("streams");

        child_passes(closed_streams_body, path.text);
}

/* The application closes what is the map's, and the number is another file's. */
DEFINE_TEST("socket", a_number_that_is_another_files_is_let_be)
{
        struct path path = path_of("number"), other = path_of("other");

        for (int kind = 0; kind < 3; kind++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map = GARBAGE;
                int fd, given = 7, pair[2], file;

                options.share = kind == 1 ? AMMAP_RAW : AMMAP_SHARED;
                options.allow_faults = kind == 2;
                ck_assert_int_eq(kind == 2 ? ammap_open(&map, path.text, 4096, &options)
                                           : ammap_new_with(&map, 4096, &options),
                                 0);
                pair_of(SOCK_STREAM, pair);
                fd = ammap_fd(map);
                ck_assert_int_ge(fd, 3);
                file = open(other.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                for (int gone = 0; gone < 2; gone++) {
                        if (gone)
                                close(fd);
                        else
                                ck_assert_int_eq(dup2(file, fd), fd);
                        ck_assert_int_eq(ammap_fd(map), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &given), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(given, -1);
                        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &given), AMMAP_ERR_FAULT);
                        ck_assert_int_eq(ammap_send(map, pair[0]), AMMAP_ERR_FAULT);
                        if (kind != 2)
                                ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), AMMAP_ERR_FAULT);
                }
                ck_assert_int_eq(dup2(file, fd), fd);
                ck_assert_int_eq(ammap_free(map), 0);
                ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
                close(fd);
                close(file);
                close_pair(pair);
        }
}

/* It could keep whoever closes it waiting for as long as its sender chose. */
DEFINE_TEST("socket", a_socket_that_is_received_does_not_linger)
{
        struct linger linger = { .l_onoff = 1, .l_linger = 60 };
        socklen_t size = sizeof(linger);
        ammap_t *map = GARBAGE;
        int pair[2], tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (tcp < 0)
                tcp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(setsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        pair_of(SOCK_STREAM, pair);
        for (size_t count = 1; count <= 2; count++) {
                int fds[2] = { tcp, tcp };

                send_fds(pair[0], fds, count, 1);
                ck_assert_int_eq(ammap_recv(&map, pair[1], NULL), AMMAP_ERR_FORMAT);
                ck_assert_int_eq(getsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, &size), 0);
                ck_assert_int_eq(linger.l_onoff, 0);
                linger.l_onoff = 1;
                ck_assert_int_eq(setsockopt(tcp, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        }
        close(tcp);
        close_pair(pair);
}

DEFINE_TEST("socket", sockets_that_are_none)
{
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;
        int ends[2], file = memory_file(100, 0);

        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(ammap_send(map, -1), -EBADF);
        ck_assert_int_eq(ammap_send(map, INT_MAX), -EBADF);
        ck_assert_int_eq(ammap_send(map, ends[1]), -ENOTSOCK);
        ck_assert_int_eq(ammap_send(map, file), -ENOTSOCK);
        ck_assert_int_eq(ammap_recv(&again, -1, NULL), -EBADF);
        ck_assert_ptr_null(again);
        ck_assert_int_eq(ammap_recv(&again, ends[0], NULL), -ENOTSOCK);
        ck_assert_int_eq(ammap_recv(&again, file, NULL), -ENOTSOCK);
        close(file);
        close(ends[0]);
        close(ends[1]);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* None, two, ten, as many as fit: a code, and all of them closed. */
DEFINE_TEST("socket", the_wrong_number_of_descriptors)
{
        static const size_t counts[] = { 0, 2, 3, 10, 253 };
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int fds[253];

        for (size_t i = 0; i < COUNT_OF(fds); i++)
                fds[i] = export_of(map, AMMAP_READ | AMMAP_WRITE);
        for (size_t t = 0; t < COUNT_OF(socket_types); t++)
                for (size_t i = 0; i < COUNT_OF(counts); i++)
                        for (size_t bytes = 1; bytes < 4; bytes += 2) {
                                unsigned before;
                                int pair[2];

                                pair_of(socket_types[t], pair);
                                before = footprint().descriptors;
                                send_fds(pair[0], fds, counts[i], bytes);
                                again = GARBAGE;
                                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_FORMAT);
                                ck_assert_ptr_null(again);
                                ck_assert_uint_eq(footprint().descriptors, before);
                                /* The right number afterwards: the rest of the
                                 * bytes of a stream comes first. */
                                if (socket_types[t] != SOCK_STREAM || bytes == 1) {
                                        ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                                        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
                                        ck_assert_int_eq(ammap_free(again), 0);
                                }
                                close_pair(pair);
                        }
        for (size_t i = 0; i < COUNT_OF(fds); i++)
                close(fds[i]);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("socket", the_wrong_kind_of_descriptor)
{
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int pair[2];

        pair_of(SOCK_STREAM, pair);
        for (enum kind_of_fd kind = 0; kind < KINDS_OF_FD; kind++) {
                int second, want, fd = fd_of_kind(kind, map, &second, &want);
                unsigned before;

                if (want == -EBADF)
                        continue;
                before = footprint().descriptors;
                send_fds(pair[0], &fd, 1, 1);
                again = GARBAGE;
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), want);
                ck_assert_ptr_null(again);
                ck_assert_uint_eq(footprint().descriptors, before);
                close(fd);
                if (second >= 0)
                        close(second);
        }
        {
                int fd = forge(map, 0);
                unsigned before = footprint().descriptors;
                ammap_options_t options = AMMAP_OPTIONS_INIT;

                send_fds(pair[0], &fd, 1, 1);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_UNSEALED);
                ck_assert_uint_eq(footprint().descriptors, before);
                /* Options are looked at before anything is received. */
                options.struct_size = 1;
                send_fds(pair[0], &fd, 1, 1);
                ck_assert_int_eq(ammap_recv(&again, pair[1], &options), AMMAP_ERR_INVALID);
                ck_assert_ptr_null(again);
                ck_assert_uint_eq(footprint().descriptors, before);
                close(fd);
        }
        close_pair(pair);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void broken_pipe_body(void *argument)
{
        ammap_t *map = argument;
        int pair[2];

        signal(SIGPIPE, SIG_DFL);
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                int rc;

                child_must(socketpair(AF_UNIX, socket_types[i], 0, pair) == 0);
                close(pair[1]);
                rc = ammap_send(map, pair[0]);
                child_must(rc == -EPIPE || rc == -ECONNREFUSED || rc == -ECONNRESET);
                close(pair[0]);
        }
}

DEFINE_TEST("socket", the_other_end_is_gone)
{
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;

        for (size_t i = 0; i < 2; i++) { /* datagrams have no end */
                int pair[2];

                pair_of(socket_types[i], pair);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                close(pair[0]);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                again = GARBAGE;
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), -ECONNRESET);
                ck_assert_ptr_null(again);
                close(pair[1]);
        }
        child_passes(broken_pipe_body, map);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("socket", sockets_that_do_not_wait)
{
        static const char bytes[1000] = { 0 };
        ammap_t *map = make_shared(4096, 0, 0), *again = GARBAGE;

        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                int pair[2];

                pair_of(socket_types[i] | SOCK_NONBLOCK, pair);
                ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), -EAGAIN);
                ck_assert_ptr_null(again);
                while (send(pair[0], bytes, sizeof(bytes), 0) > 0)
                        ;
                while (send(pair[0], bytes, 1, 0) > 0)
                        ;
                ck_assert_int_eq(ammap_send(map, pair[0]), -EAGAIN);
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

static void no_op(int number)
{
        (void)number;
}

struct socket_call {
        ammap_t *map;
        int socket;
        int result;
};

static void *receive_body(void *argument)
{
        struct socket_call *call = argument;

        call->result = ammap_recv(&call->map, call->socket, NULL);
        return NULL;
}

static void *send_body(void *argument)
{
        struct socket_call *call = argument;

        call->result = ammap_send(call->map, call->socket);
        return NULL;
}

static void storm(const struct task *task)
{
        for (int i = 0; i < 300; i++) {
                ck_assert(!atomic_load(&task->done));
                pthread_kill(task->thread, SIGUSR1);
                if (i % 50 == 0)
                        ck_assert(task_sleeps(task));
        }
}

/* Read a message away: how many descriptors it had, or -1: there is none. */
static int swallow(int socket)
{
        char bytes[1000];
        union {
                char room[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec vector = { bytes, sizeof(bytes) };
        struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
        struct cmsghdr *header;
        int fd;

        message.msg_control = control.room;
        message.msg_controllen = sizeof(control.room);
        if (recvmsg(socket, &message, MSG_DONTWAIT) < 0)
                return -1;
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_type != SCM_RIGHTS)
                return 0;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        close(fd);
        return 1;
}

/* Signals whose handler does not ask for the call to be restarted. */
DEFINE_TEST("socket", interrupted)
{
        static char bytes[1000];
        struct sigaction action;
        ammap_t *map = make_shared(4096, 0, 0);

        memset(&action, 0, sizeof(action));
        action.sa_handler = no_op;
        sigaction(SIGUSR1, &action, NULL);
        for (size_t i = 0; i < COUNT_OF(socket_types); i++) {
                struct socket_call in = { GARBAGE, -1, 1 }, out = { map, -1, 1 };
                struct task task;
                int pair[2], maps = 0;
                bool ended;

                pair_of(socket_types[i], pair);
                in.socket = pair[1];
                out.socket = pair[0];
                task_start(&task, receive_body, &in);
                ck_assert(task_sleeps(&task));
                storm(&task);
                ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                task_join(&task);
                ck_assert_int_eq(in.result, 0);
                ck_assert_int_eq(ammap_free(in.map), 0);

                while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                        ;
                while (send(pair[0], bytes, 1, MSG_DONTWAIT) > 0)
                        ;
                task_start(&task, send_body, &out);
                ck_assert(task_sleeps(&task));
                storm(&task);
                /* Sent once, when there is room. */
                do {
                        int found;

                        ended = atomic_load(&task.done);
                        while ((found = swallow(pair[1])) >= 0)
                                maps += found;
                        sched_yield();
                } while (!ended);
                task_join(&task);
                ck_assert_int_eq(out.result, 0);
                ck_assert_int_eq(maps, 1);
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What a socket is asked to bring beside a descriptor takes no room from it, and
 * is no descriptor that stays. */
DEFINE_TEST("socket", beside_credentials)
{
        static const int wanted[] = { SO_PASSCRED, 76 /* SO_PASSPIDFD */ };
        ammap_t *map = make_shared(4096, 0, 0), *again;

        for (size_t i = 0; i < COUNT_OF(wanted); i++) {
                int pair[2], one = 1;
                unsigned before;
                int rc;

                pair_of(SOCK_STREAM, pair);
                if (setsockopt(pair[1], SOL_SOCKET, wanted[i], &one, sizeof(one)) == 0) {
                        before = footprint().descriptors;
                        ck_assert_int_eq(ammap_send(map, pair[0]), 0);
                        rc = ammap_recv(&again, pair[1], NULL);
                        ck_assert_msg(rc == 0, "option %d: %s", wanted[i], ammap_errname(rc));
                        ck_assert_int_eq(ammap_free(again), 0);
                        ck_assert_uint_eq(footprint().descriptors, before);
                        ck_assert_int_eq(send(pair[0], "x", 1, 0), 1);
                        ck_assert_int_eq(ammap_recv(&again, pair[1], NULL), AMMAP_ERR_FORMAT);
                        ck_assert_uint_eq(footprint().descriptors, before);
                }
                close_pair(pair);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("socket");
}
