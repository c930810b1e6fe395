/* test-freeze.c - maps that are frozen in every process
 *
 * SPDX-License-Identifier: MIT
 *
 * What freezing means to other handles and processes, and that it cannot be undone.
 */
#include "share.h"

#if TEST_OS_LINUX

#include "descriptors.h"

/* --- Freeze ------------------------------------------------------------------ */

DEFINE_TEST("freeze", frozen_for_all)
{
        for (int who = 0; who < 3; who++) {
                ammap_t *map = make_shared(5000, 9000, 3), *again = import_again(map, AMMAP_READ | AMMAP_WRITE), *late;
                struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL,
                                       AMMAP_OPTIONS_INIT };
                struct remote remote;
                int fd = 99;

                remote_start(&remote, &place);
                ck_assert_int_eq(ammap_fill(map, 0, 5000, 1), 0);
                if (who == 0)
                        ck_assert_int_eq(ammap_freeze(map), 0);
                else if (who == 1)
                        ck_assert_int_eq(ammap_freeze(again), 0);
                else
                        ck_assert_int_eq(remote_order(&remote, DO_FREEZE), 0);
                for (enum op op = 0; op < OP_COUNT; op++) {
                        int want = op_writes(op) ? AMMAP_ERR_READ_ONLY : 0;

                        ck_assert_int_eq(op_run(op, map, 0, 5000, SECOND), want);
                        ck_assert_int_eq(op_run(op, again, 0, 5000, SECOND), want);
                        ck_assert_int_eq(op_elsewhere(op, map, 0, 5000), want);
                        ck_assert_int_eq(remote_op(&remote, op, 0, 5000, SECOND), want);
                }
                ck_assert(stat_of(map).frozen && stat_of(again).frozen && remote_stat(&remote).frozen);
                ck_assert(stat_of(map).read_only && remote_stat(&remote).read_only);
                ck_assert_int_eq(ammap_freeze(map), 0);
                ck_assert_int_eq(remote_order(&remote, DO_FREEZE), 0);
                ck_assert_int_eq(remote_resize(&remote, 9000), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(ammap_resize(map, 5000), AMMAP_ERR_READ_ONLY);
                ck_assert_ptr_null(ammap_as_mut_ptr(map));
                ck_assert_ptr_null(ammap_as_mut_ptr(again));
                if (who == 0)
                        ck_assert(is_fatal(ammap_as_ptr(map), false));
                ck_assert(seals_of(place.fd) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
                ck_assert_int_eq(ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd), AMMAP_ERR_READ_ONLY);
                ck_assert_int_eq(fd, -1);
                late = import_of(place.fd, AMMAP_SHARED);
                ck_assert(stat_of(late).frozen && stat_of(late).read_only);
                ck_assert_int_eq(op_run(OP_SLICE, late, 0, 5000, 0), 0);
                ck_assert(holds(late, 0, 5000, 1));
                remote_end(&remote);
                close(place.fd);
                ck_assert_int_eq(ammap_free(late), 0);
                ck_assert_int_eq(ammap_free(again), 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("freeze", a_freeze_waits)
{
        ammap_t *map = make_shared(5000, 0, 3);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, AMMAP_OPTIONS_INIT };
        ammap_u32_view_t view;
        struct remote remote;
        ammap_slice_t slice;

        remote_start(&remote, &place);
        for (int writes = 0; writes < 2; writes++) {
                remote_hold(&remote, writes, 100, 100);
                remote_release(&remote);
        }
        ck_assert_int_eq(ammap_as_slice(map, 0, 10, &slice), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
        ammap_slice_release(&slice);
        /* Of no bytes, and at the begin: it holds its lane all the same. */
        ck_assert_int_eq(ammap_as_slice(map, 0, 0, &slice), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_DEADLOCK);
        remote_send(&remote, (struct command){ .order = DO_FREEZE });
        remote_sleeps(&remote);
        ammap_slice_release(&slice);
        ck_assert_int_eq(remote_reply(&remote).result, 0);
        ck_assert(stat_of(map).frozen);
        remote_end(&remote);
        close(place.fd);
        ck_assert_int_eq(ammap_free(map), 0);

        map = make_shared(5000, 0, 3);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_fill(map, 0, 10, 1), 0);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("freeze", frozen_files)
{
        struct path path = path_of("file");
        ammap_t *map = open_map(path.text, 5000, true), *again = open_map(path.text, 0, false);
        struct place place = { OPEN, NULL, -1, path.text, AMMAP_OPTIONS_INIT };
        struct remote remote;

        remote_start(&remote, &place);
        ck_assert_int_eq(ammap_fill(map, 0, 5000, 3), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_fill(again, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(remote_op(&remote, OP_UPDATE, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(op_run(OP_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0);
        ck_assert(stat_of(again).frozen && stat_of(again).read_only);
        remote_check_bytes(&remote, 0, 64, 3);
        remote_end(&remote);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(again), 0);
        map = open_map(path.text, 0, false); /* for good */
        ck_assert(stat_of(map).frozen);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert(holds(map, 0, 5000, 3));
        ck_assert_int_eq(ammap_free(map), 0);

        map = make_raw(5000);
        again = import_of(ammap_fd(map), AMMAP_RAW);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 1), AMMAP_ERR_READ_ONLY);
        ck_assert(seals_of(ammap_fd(map)) & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE));
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What a process has seen frozen stays so for it, through whichever handle, and so
 * does the length: a peer who takes the flag back, or says that it is another map's
 * header, is not believed. */
static void frozen_for_good(ammap_t *map, uint64_t length)
{
        static const enum op writes[] = { OP_UPDATE,    OP_TRY_UPDATE,    OP_TIMED_UPDATE,   OP_FILL,
                                          OP_MUT_SLICE, OP_TRY_MUT_SLICE, OP_TIMED_MUT_SLICE };
        ammap_u32_view_t view;

        for (size_t i = 0; i < COUNT_OF(writes); i++)
                child_must_int(op_run(writes[i], map, 0, 8, SECOND), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_copy(map, 0, map, 100, 10), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_discard(map, 0, 4096), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_resize(map, length + 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_resize(map, 1), AMMAP_ERR_READ_ONLY);
        child_must_int(ammap_atomic_u32(map, 0, &view), AMMAP_ERR_READ_ONLY);
        child_must(ammap_as_mut_ptr(map) == NULL);
        child_must_int(ammap_freeze(map), 0);
        child_must_int(ammap_recover(map), 0);
        child_must_int(ammap_populate(map, 0, length), 0);
        child_must_int(op_run(OP_SLICE, map, 0, length, 0), 0);
        child_must_int(op_run(OP_READ_INTO, map, 0, length, 0), 0);
        child_must_int(op_run(OP_READ_INTO, map, length - 8, 9, 0), AMMAP_ERR_BOUNDS);
        child_must_int(op_run(OP_SLICE, map, 0, length + 1, 0), AMMAP_ERR_BOUNDS);
        child_must(ammap_len(map) == length);
}

static void thawed_body(void *argument)
{
        const uint64_t length = 3 * 4096 + 1000, capacity = 40000;
        static const uint64_t lengths[] = { 0, 1, 3 * 4096 + 1001, UINT64_MAX };
        bool inherited = *(const int *)argument & 1, by_another = *(const int *)argument & 2;
        ammap_options_t options = shared_options();
        struct format_head *head;
        ammap_t *map, *maps[3];
        int status, fd;
        pid_t child;

        options.capacity = capacity;
        options.lanes = 3;
        child_must_int(ammap_new_with(&map, length, &options), 0);
        fd = dup(ammap_fd(map));
        head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        child_must(fd >= 0 && head != MAP_FAILED);
        maps[0] = map;
        child_must_int(ammap_import(&maps[1], fd, NULL), 0);
        child_must_int(ammap_fill(maps[1], 0, length, 1), 0);
        child = by_another ? fork() : 0;
        child_must(child >= 0);
        if (child || !by_another)
                child = child ? child : -1;
        if (child <= 0)
                child_must_int(ammap_freeze(map), 0);
        if (child == 0)
                _exit(0);
        if (child > 0) {
                child_must(waitpid(child, &status, 0) == child && status == 0);
                child_must_int(ammap_fill(maps[1], 0, 1, 1), AMMAP_ERR_READ_ONLY); /* and so it knows */
        }
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
                atomic_store(&head->frozen, 0);
                atomic_store(&head->length, lengths[i]);
                frozen_for_good(maps[0], length);
                frozen_for_good(maps[1], length);
        }
        atomic_store(&head->length, length);
        child_must_int(ammap_import(&maps[2], fd, NULL), 0); /* to which the flag never was shown */
        frozen_for_good(maps[0], length);
        child_must_int(ammap_fill(maps[2], 0, 1, 1), AMMAP_ERR_READ_ONLY);
        child_must(ammap_len(maps[2]) == length);
        if (inherited) {
                child = fork();
                child_must(child >= 0);
                if (child == 0) {
                        frozen_for_good(maps[0], length);
                        frozen_for_good(maps[1], length);
                        _exit(0);
                }
                child_must(waitpid(child, &status, 0) == child && status == 0);
        }
        for (size_t i = 0; i < COUNT_OF(maps); i++)
                child_must_int(ammap_free(maps[i]), 0);
}

DEFINE_LOOP_TEST("freeze", what_was_frozen_stays_so, 0, 4)
{
        child_passes(thawed_body, &_i);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("freeze");
}
