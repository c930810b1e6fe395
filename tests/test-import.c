/* test-import.c - maps that are exported and imported
 *
 * SPDX-License-Identifier: MIT
 *
 * What an export gives away, what an import looks at, what may only be read, and seals.
 * At the end of every test the process has the descriptors that it began with.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

/* --- Export ------------------------------------------------------------- */

DEFINE_TEST("import", export_gives_no_more_rights)
{
        static const unsigned wrong[] = { 0, AMMAP_WRITE, 4, 5, 6, 7, 8, 0x80000000U, UINT_MAX };
        ammap_t *map = make_shared(4096, 0, 0);
        int fd;

        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
                fd = 99;
                ck_assert_int_eq(ammap_export(map, wrong[i], &fd), AMMAP_ERR_INVALID);
                ck_assert_int_eq(fd, -1);
                ck_assert_int_eq(ammap_export(map, wrong[i], NULL), AMMAP_ERR_INVALID);
        }
        ck_assert_int_eq(seals_of(ammap_fd(map)) & F_SEAL_FUTURE_WRITE, 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A reader comes, and writers can still come after it. */
DEFINE_LOOP_TEST("import", an_unsealed_export_shuts_no_writer_out, 0, 2)
{
        static const unsigned wrong[] = { AMMAP_NO_SEAL, AMMAP_WRITE | AMMAP_NO_SEAL,
                                          AMMAP_READ | AMMAP_WRITE | AMMAP_NO_SEAL };
        ammap_share_t share = _i ? AMMAP_RAW : AMMAP_SHARED;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map, *reader, *writer;
        int fd = 99;

        options.share = share;
        ck_assert_int_eq(ammap_new_with(&map, 4096, &options), 0);
        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
                ck_assert_int_eq(ammap_export(map, wrong[i], &fd), AMMAP_ERR_INVALID);
                ck_assert_int_eq(fd, -1);
        }
        fd = export_of(map, AMMAP_READ | AMMAP_NO_SEAL);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(seals_of(fd) & F_SEAL_FUTURE_WRITE, 0);
        reader = import_of(fd, share);
        close(fd);
        ck_assert(stat_of(reader).read_only);
        ck_assert_int_eq(ammap_fill(reader, 0, 1, 1), AMMAP_ERR_READ_ONLY);

        fd = export_of(map, AMMAP_READ | AMMAP_WRITE);
        writer = import_of(fd, share);
        close(fd);
        ck_assert(!stat_of(writer).read_only);
        ck_assert_int_eq(ammap_fill(writer, 0, 4096, 7), 0);
        ck_assert(holds(reader, 0, 4096, 7));

        fd = export_of(reader, AMMAP_READ | AMMAP_NO_SEAL); /* as a reader can, too */
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(writer), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("import", an_export_is_the_callers_own)
{
        ammap_t *map = make_shared(4096, 0, 0), *again;
        int first = export_of(map, AMMAP_READ | AMMAP_WRITE), second = export_of(map, AMMAP_READ | AMMAP_WRITE);

        ck_assert_int_ne(first, second);
        ck_assert_int_ne(first, ammap_fd(map));
        ck_assert(fcntl(first, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(first, F_GETFL) & O_ACCMODE, O_RDWR);
        ck_assert_int_eq(close(first), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 3), 0);
        again = import_of(second, AMMAP_PRIVATE);
        ck_assert_int_ne(ammap_fd(again), second);
        ck_assert(fcntl(ammap_fd(again), F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(close(second), 0);
        /* What was exported outlives the map that it was exported from. */
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert(holds(again, 0, 4096, 3));
        ck_assert_int_eq(ammap_fill(again, 0, 4096, 4), 0);
        ck_assert_int_eq(ammap_free(again), 0);
}

static void attack_mapping(int fd, size_t size)
{
        static const unsigned char evil[16] = { 0xee };
        struct iovec from = { (void *)(uintptr_t)evil, sizeof(evil) }, to;
        int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
        void *bytes;

        ck_assert_int_ge(self, 0);
        ck_assert_ptr_eq(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        ck_assert_ptr_eq(mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) { /* open to be written alone */
                close(self);
                return;
        }
        to = (struct iovec){ bytes, sizeof(evil) };
        ck_assert_int_eq(mprotect(bytes, size, PROT_READ | PROT_WRITE), -1);
        ck_assert_int_eq(mprotect(bytes, size, PROT_WRITE), -1);
        ck_assert_int_eq(madvise(bytes, size, MADV_REMOVE), -1);
        ck_assert_int_eq(process_vm_writev(getpid(), &from, 1, &to, 1, 0), -1);
        ck_assert_int_eq(pwrite(self, evil, sizeof(evil), (off_t)(uintptr_t)bytes), -1);
        munmap(bytes, size);
        close(self);
}

/* Everything by which the bytes could be made other than they are. */
static void attack(int fd)
{
        static const unsigned char evil[16] = { 0xee };
        size_t size = (size_t)size_of(fd), data = (size_t)data_of(fd);
        const off_t offsets[] = { 0, 128, 256, (off_t)data, (off_t)size - 16 };
        int other = memory_file(4096, 0), ends[2];

        for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                off_t in = 0, out = offsets[i];

                ck_assert_int_eq(pwrite(fd, evil, sizeof(evil), offsets[i]), -1);
                ck_assert_int_eq(copy_file_range(other, &in, fd, &out, 16, 0), -1);
                ck_assert_int_eq(lseek(fd, offsets[i], SEEK_SET), offsets[i]);
                ck_assert_int_eq(write(fd, evil, sizeof(evil)), -1);
                in = 0;
                ck_assert_int_eq(sendfile(fd, other, &in, 16), -1);
        }
        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(write(ends[1], evil, sizeof(evil)), sizeof(evil));
        ck_assert_int_eq(splice(ends[0], NULL, fd, NULL, sizeof(evil), 0), -1);
        ck_assert_int_eq(ftruncate(fd, 0), -1);
        ck_assert_int_eq(ftruncate(fd, (off_t)data), -1);
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY || (seals_of(fd) & F_SEAL_GROW)) {
                ck_assert_int_eq(ftruncate(fd, 2 * (off_t)size), -1);
                ck_assert_int_eq(fallocate(fd, 0, 0, 2 * (off_t)size), -1);
        } else { /* which makes no byte other than it is */
                ck_assert_int_eq(ftruncate(fd, (off_t)size + 12345), 0);
        }
        ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size), -1);
        ck_assert_int_eq(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)size), -1);
        attack_mapping(fd, size);
        close(ends[0]);
        close(ends[1]);
        close(other);
}

static void attack_every_way(int fd)
{
        static const int modes[] = { O_RDWR, O_RDONLY };
        char path[64];

        attack(fd);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        fchmod(fd, 0777);
        for (size_t i = 0; i < COUNT_OF(modes); i++) {
                int again = open(path, modes[i] | O_CLOEXEC);

                if (again < 0)
                        continue;
                attack(again);
                close(again);
        }
        ck_assert_int_eq(open(path, O_RDWR | O_TRUNC), -1);
}

struct uses {
        ammap_t *map;
        unsigned char byte;
};

static void *use_in_thread(void *argument)
{
        const struct uses *uses = argument;

        for (enum op op = 0; op < OP_COUNT; op++)
                thread_check_int(op_run(op, uses->map, 0, ammap_len(uses->map), SECOND), 0);
        thread_check_int(ammap_fill(uses->map, 0, ammap_len(uses->map), uses->byte), 0);
        return NULL;
}

static void use_in_new_thread(ammap_t *map, unsigned char byte)
{
        struct uses uses = { map, byte };
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, use_in_thread, &uses), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

DEFINE_TEST("import", nobody_makes_a_read_export_writable)
{
        ammap_t *map = make_shared(10000, 20000, 2), *writer = import_again(map, AMMAP_READ | AMMAP_WRITE), *reader;
        unsigned char *before, *after;
        size_t size = (size_t)size_of(ammap_fd(map));
        int fd, other = 99;

        ck_assert_int_eq(ammap_fill(map, 0, 10000, 5), 0);
        fd = export_of(map, AMMAP_READ);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert(seals_of(fd) & F_SEAL_FUTURE_WRITE);
        before = contents_of(fd, size);
        attack_every_way(fd);
        after = contents_of(fd, size);
        ck_assert_int_eq(memcmp(before, after, size), 0);
        free(before);
        free(after);

        /* Nor does the map itself any more ... */
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(other, -1);
        ck_assert_int_eq(ammap_export(writer, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        other = export_of(writer, AMMAP_READ);
        close(other);

        /* ... which goes on writing, all of its threads, and the other handle. */
        reader = import_of(fd, AMMAP_SHARED);
        for (enum op op = 0; op < OP_COUNT; op++)
                ck_assert_int_eq(op_run(op, map, 0, 10000, SECOND), 0);
        use_in_new_thread(map, 7);
        ck_assert(holds(reader, 0, 10000, 7));
        use_in_new_thread(writer, 8);
        ck_assert(holds(reader, 0, 10000, 8));
        ck_assert_int_eq(ammap_resize(map, 20000), 0);
        use_in_new_thread(map, 9);
        ck_assert(holds(reader, 0, 20000, 9));
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(writer), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- A map that may only be read ------------------------------------------ */

static void check_read_only(ammap_t *map, bool frozen)
{
        uint64_t length = ammap_len(map);
        ammap_t *copy = GARBAGE;
        ammap_u32_view_t view32;
        ammap_u64_view_t view64;
        ammap_stat_t stat = stat_of(map);
        int fd = 99;

        ck_assert(stat.read_only);
        ck_assert_int_eq(stat.frozen, frozen);
        for (enum op op = 0; op < OP_COUNT; op++) {
                bool slice = op == OP_SLICE || op == OP_TRY_SLICE || op == OP_TIMED_SLICE;

                int want = op_writes(op) ? AMMAP_ERR_READ_ONLY : slice && !frozen ? AMMAP_ERR_UNSUPPORTED : 0;

                ck_assert_msg(op_run(op, map, 0, length, SECOND) == want, "%s: %s, not %s", op_name(op),
                              ammap_errname(op_run(op, map, 0, length, SECOND)), ammap_errname(want));
        }
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view32), frozen ? AMMAP_ERR_READ_ONLY : AMMAP_ERR_UNSUPPORTED);
        ck_assert(view_is_zero(&view32));
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 0, 2, &view64),
                         frozen ? AMMAP_ERR_READ_ONLY : AMMAP_ERR_UNSUPPORTED);
        ck_assert(view_is_zero(&view64));
        ck_assert_ptr_null(ammap_as_mut_ptr(map));
        ck_assert_ptr_nonnull(ammap_as_ptr(map));
        ck_assert(is_fatal(ammap_as_ptr(map), false));
        ck_assert_int_eq(ammap_resize(map, length), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_resize(map, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_discard(map, 0, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_populate(map, 0, length), 0);
        ck_assert_int_eq(ammap_mlock(map, 0, length), 0);
        ck_assert_int_eq(ammap_munlock(map, 0, length), 0);
        ck_assert_int_eq(ammap_advise(map, 0, length, AMMAP_ADVICE_RANDOM), 0);
        ck_assert_int_eq(ammap_flush(map, 0, length), 0);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &fd), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(fd);
        ck_assert_int_eq(ammap_clone(map, &copy), 0);
        ck_assert_int_eq(ammap_fill(copy, 0, length, 0x7e), 0);
        ck_assert(holds(copy, 0, length, 0x7e));
        ck_assert_int_eq(ammap_free(copy), 0);
}

DEFINE_TEST("import", read_only_handles)
{
        ammap_t *map = make_shared(5000, 10000, 3), *reader;
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ), NULL, AMMAP_OPTIONS_INIT };
        struct remote remote;
        unsigned char byte;

        reader = import_of(place.fd, AMMAP_SHARED);
        remote_start(&remote, &place);
        ck_assert_int_eq(ammap_fill(map, 0, 5000, 1), 0);
        check_read_only(reader, false);
        ck_assert(remote_stat(&remote).read_only);
        remote_check_bytes(&remote, 4990, 10, 1);
        ck_assert_int_eq(remote_op(&remote, OP_UPDATE, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 0, 1, 0), AMMAP_ERR_UNSUPPORTED);
        /* Bounds come first, here as elsewhere. */
        ck_assert_int_eq(ammap_read_into(reader, 5000, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_update_region(reader, 5000, &byte, 1), AMMAP_ERR_BOUNDS);
        ck_assert_int_eq(ammap_resize(map, 10000), 0);
        ck_assert_uint_eq(ammap_len(reader), 10000);
        ck_assert(holds(reader, 5000, 5000, 0));
        ck_assert_int_eq(ammap_freeze(map), 0);
        check_read_only(reader, true);
        ck_assert_int_eq(remote_op(&remote, OP_TRY_SLICE, 0, 10000, 0), 0);
        ck_assert(remote_stat(&remote).frozen);
        remote_end(&remote);
        close(place.fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Who could write chooses not to: nothing of it can be written through this handle, what
 * it says of its descriptor included, and the writers are not kept from anything. */
static void check_reader_by_choice(ammap_t *reader, ammap_t *writer)
{
        unsigned char byte = 9;

        ck_assert(stat_of(reader).read_only);
        ck_assert(!stat_of(reader).frozen);
        ck_assert_int_eq(fcntl(ammap_fd(reader), F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(ammap_update_region(reader, 0, &byte, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(reader, 0, 1, 9), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_freeze(reader), AMMAP_ERR_READ_ONLY);
        ck_assert_ptr_null(ammap_as_mut_ptr(reader));
        ck_assert(is_fatal(ammap_as_ptr(reader), false));
        ck_assert_int_eq(ammap_seal(reader, AMMAP_SEAL_FUTURE_WRITE), -EPERM);
        ck_assert_int_eq(ammap_fill(writer, 0, 5000, 3), 0);
        ck_assert(holds(reader, 0, 5000, 3));
        ck_assert_int_eq(seals_of(ammap_fd(writer)) & F_SEAL_FUTURE_WRITE, 0);
}

DEFINE_LOOP_TEST("import", a_reader_by_choice_writes_nothing, 0, 2)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *writer, *reader = GARBAGE;
        int fd, ends[2];

        options.share = _i ? AMMAP_RAW : AMMAP_SHARED;
        ck_assert_int_eq(ammap_new_with(&writer, 5000, &options), 0);
        options.read_only = true;
        ck_assert_int_eq(ammap_new_with(&reader, 5000, &options), AMMAP_ERR_INVALID);
        ck_assert_ptr_null(reader);

        fd = export_of(writer, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_import(&reader, fd, &options), 0);
        check_reader_by_choice(reader, writer);
        ck_assert_int_eq(ammap_free(reader), 0);

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        ck_assert_int_eq(ammap_send(writer, ends[0]), 0);
        ck_assert_int_eq(ammap_recv(&reader, ends[1], &options), 0);
        check_reader_by_choice(reader, writer);
        close(ends[0]);
        close(ends[1]);
        close(fd);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(writer), 0);
}

/* A seal against writers does not make a descriptor one that can only be read. */
DEFINE_LOOP_TEST("import", a_reader_by_choice_seals_nothing, 0, 2)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *writer, *reader;
        int fd;

        options.share = _i ? AMMAP_RAW : AMMAP_SHARED;
        options.capacity = _i ? 0 : 10000;
        ck_assert_int_eq(ammap_new_with(&writer, 5000, &options), 0);
        fd = export_of(writer, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_seal(writer, AMMAP_SEAL_FUTURE_WRITE), 0);
        options.read_only = true;
        ck_assert_int_eq(ammap_new_with(&reader, 0, &options), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_import(&reader, fd, &options), 0);
        ck_assert_int_eq(fcntl(ammap_fd(reader), F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(ammap_seal(reader, AMMAP_SEAL_SEAL), -EPERM);
        ck_assert_int_eq(ammap_free(reader), 0);
        options.read_only = false;
        ck_assert_int_eq(ammap_import(&reader, fd, &options), 0);
        ck_assert(stat_of(reader).read_only);
        ck_assert_int_eq(ammap_seal(reader, AMMAP_SEAL_SEAL), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(writer), 0);
        close(fd);
}

/* --- Seals --------------------------------------------------------------- */

DEFINE_TEST("import", sealing)
{
        static const unsigned wrong[] = { 32, 64, 33, 0x80000000U, UINT_MAX };
        ammap_t *map = make_shared(4096, 9000, 0), *again = import_of(ammap_fd(map), AMMAP_SHARED);
        int fd = ammap_fd(map), other;

        for (size_t i = 0; i < COUNT_OF(wrong); i++)
                ck_assert_int_eq(ammap_seal(map, wrong[i]), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK), 0);
        check_descriptor(fd, "");
        ck_assert_int_eq(ammap_resize(map, 4097), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SHRINK | AMMAP_SEAL_GROW), 0);
        ck_assert_int_eq(ammap_resize(map, 9000), -EPERM);
        ck_assert_uint_eq(ammap_len(map), 4097);
        ck_assert_int_eq(ammap_resize(map, 1), 0);
        ck_assert_int_eq(ammap_resize(map, 8192), 0); /* as long as it was, in whole pages */
        ck_assert_int_eq(ammap_resize(map, 4096), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_WRITE), -EBUSY);
        ck_assert_int_eq(seals_of(fd) & F_SEAL_WRITE, 0);
        ck_assert_int_eq(ammap_seal(again, AMMAP_SEAL_FUTURE_WRITE), 0);
        ck_assert(seals_of(fd) & F_SEAL_FUTURE_WRITE);
        ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &other), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(map, 0, 4096, 1), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SEAL), 0);
        ck_assert(seals_of(fd) & F_SEAL_SEAL);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_FUTURE_WRITE | AMMAP_SEAL_SHRINK | AMMAP_SEAL_SEAL), 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_WRITE), -EPERM);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);

        /* Sealed against seals it cannot be given away to be read alone. */
        map = make_shared(4096, 0, 0);
        ck_assert_int_eq(ammap_seal(map, AMMAP_SEAL_SEAL), 0);
        other = 99;
        ck_assert_int_eq(ammap_export(map, AMMAP_READ, &other), -EPERM);
        ck_assert_int_eq(other, -1);
        other = export_of(map, AMMAP_READ | AMMAP_WRITE);
        close(other);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Import --------------------------------------------------------------- */

DEFINE_TEST("import", descriptors_that_are_no_maps)
{
        static const ammap_share_t shares[] = { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW };
        ammap_t *map = make_shared(4096, 0, 0);

        for (enum kind_of_fd kind = 0; kind < KINDS_OF_FD; kind++) {
                int second, want, fd = fd_of_kind(kind, map, &second, &want);

                for (int faults = 0; faults < 2; faults++)
                        for (size_t i = 0; i < COUNT_OF(shares); i++) {
                                ammap_options_t options = AMMAP_OPTIONS_INIT;
                                ammap_t *made = GARBAGE;
                                int rc;

                                options.share = shares[i];
                                options.allow_faults = faults;
                                rc = ammap_import(&made, fd, &options);
                                ck_assert_msg(rc == want, "kind %d, share %d: %s", kind, shares[i], ammap_errname(rc));
                                ck_assert_ptr_null(made);
                        }
                if (want != -EBADF) {
                        ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* it is still the caller's */
                        close(fd);
                }
                if (second >= 0)
                        close(second);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Content of a memfd against its seals: what import says, by itself, raw, and
 * both where faults are allowed. */
DEFINE_TEST("import", what_import_looks_at)
{
        enum content { EMPTY, BYTE, PAGE_OF_ZEROS, NOISE, GENUINE };
        static const struct {
                enum content content;
                int seals;
                int plain, raw, plain_faults, raw_faults;
        } rows[] = {
                { EMPTY, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, AMMAP_ERR_SIZE },
                { EMPTY, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, AMMAP_ERR_SIZE, AMMAP_ERR_FORMAT,
                  AMMAP_ERR_SIZE },
                { BYTE, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { PAGE_OF_ZEROS, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_GROW | F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_SHRINK, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT, 0 },
                { NOISE, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, 0 },
                { NOISE, F_SEAL_GROW, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, AMMAP_ERR_FORMAT, 0 },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK, 0, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_SHRINK, 0, AMMAP_ERR_FORMAT, 0, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, 0, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL, 0, AMMAP_ERR_FORMAT, 0,
                  AMMAP_ERR_FORMAT },
                { GENUINE, 0, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, -1, AMMAP_ERR_FORMAT },
                { GENUINE, F_SEAL_GROW, AMMAP_ERR_UNSEALED, AMMAP_ERR_UNSEALED, -1, AMMAP_ERR_FORMAT },
        };
        ammap_t *map = make_shared(4096, 8192, 2);

        ck_assert_int_eq(ammap_fill(map, 0, 4096, 42), 0);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
                const int wants[] = { rows[i].plain, rows[i].raw, rows[i].plain_faults, rows[i].raw_faults };
                unsigned char noise[5000];
                int fd;

                for (size_t j = 0; j < sizeof(noise); j++)
                        noise[j] = pattern_byte(j);
                if (rows[i].content == GENUINE) {
                        fd = forge(map, rows[i].seals);
                } else {
                        fd = memory_file(0, 0);
                        if (rows[i].content == BYTE)
                                ck_assert_int_eq(write(fd, "a", 1), 1);
                        if (rows[i].content == PAGE_OF_ZEROS)
                                ck_assert_int_eq(ftruncate(fd, 4096), 0);
                        if (rows[i].content == NOISE)
                                ck_assert_int_eq(write(fd, noise, sizeof(noise)), sizeof(noise));
                        if (rows[i].seals)
                                ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, rows[i].seals), 0);
                }
                for (int way = 0; way < 4; way++) {
                        bool read_only = rows[i].seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
                        ammap_options_t options = AMMAP_OPTIONS_INIT;
                        ammap_t *made = GARBAGE;
                        unsigned char byte = 0;
                        int rc;

                        options.share = way & 1 ? AMMAP_RAW : AMMAP_SHARED;
                        options.allow_faults = way & 2;
                        rc = ammap_import(&made, fd, &options);
                        /* Written for memory that stays, it need not be taken
                         * for a file's. */
                        if (wants[way] == -1)
                                ck_assert(rc == 0 || rc == AMMAP_ERR_FORMAT);
                        else
                                ck_assert_msg(rc == wants[way], "row %zu, way %d: %s", i, way, ammap_errname(rc));
                        ck_assert_int_eq(made != NULL, rc == 0);
                        if (rc < 0)
                                continue;
                        ck_assert_int_eq(stat_of(made).read_only, read_only);
                        ck_assert_int_eq(stat_of(made).share, way & 1 ? AMMAP_RAW : AMMAP_SHARED);
                        if (way & 1)
                                ck_assert_uint_eq(ammap_len(made), size_of(fd));
                        ck_assert_int_eq(ammap_read_into(made, ammap_len(made) - 1, &byte, 1), 0);
                        if (!(way & 1))
                                ck_assert_uint_eq(byte, 42);
                        ck_assert_int_eq(ammap_update_region(made, ammap_len(made) - 1, &byte, 1),
                                         read_only ? AMMAP_ERR_READ_ONLY : 0);
                        ck_assert_int_eq(ammap_free(made), 0);
                }
                close(fd);
        }
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A file's bytes in memory that others can shrink, and nobody can write. */
DEFINE_TEST("import", sealed_against_writers_alone)
{
        static const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_WRITE | F_SEAL_SEAL };
        struct path path = path_of("file");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *origin, *map;

        ck_assert_int_eq(ammap_open(&origin, path.text, 5000, NULL), 0);
        ck_assert_int_eq(ammap_fill(origin, 0, 5000, 42), 0);
        options.allow_faults = true;
        for (size_t i = 0; i < COUNT_OF(seals); i++) {
                int fd = forge(origin, seals[i]);

                ck_assert_int_eq(ammap_import(&map, fd, &options), 0);
                ck_assert(stat_of(map).read_only);
                ck_assert(holds(map, 0, 5000, 42));
                ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_free(map), 0);
                close(fd);
        }
        ck_assert_int_eq(ammap_free(origin), 0);
}

DEFINE_TEST("import", twice_in_one_process)
{
        ammap_t *map = make_shared(5000, 20000, 4), *one = import_again(map, AMMAP_READ | AMMAP_WRITE),
                *two = import_again(one, AMMAP_READ | AMMAP_WRITE);
        unsigned char *bytes;

        ck_assert_ptr_ne(ammap_as_ptr(map), ammap_as_ptr(one));
        ck_assert_ptr_ne(ammap_as_ptr(one), ammap_as_ptr(two));
        ck_assert_uint_eq(ammap_len(one), 5000);
        ck_assert_uint_eq(stat_of(two).lanes, 4);
        ck_assert_uint_eq(stat_of(two).capacity, 20000);
        ck_assert_int_eq(ammap_fill(one, 0, 5000, 1), 0);
        ck_assert(holds(two, 0, 5000, 1));
        bytes = ammap_as_mut_ptr(two);
        ck_assert_ptr_nonnull(bytes);
        bytes[4999] = 3;
        ck_assert(holds(map, 4999, 1, 3));
        ck_assert_int_eq(ammap_resize(two, 20000), 0);
        ck_assert_uint_eq(ammap_len(map), 20000);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_fill(one, 19999, 1, 8), 0);
        ck_assert(holds(two, 19999, 1, 8));
        ck_assert_int_eq(ammap_free(one), 0);
        ck_assert_int_eq(ammap_fill(two, 0, 20000, 8), 0);
        ck_assert_int_eq(ammap_free(two), 0);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("import");
}
