/* test-shared-run.c - maps in files that are locked by their own words
 *
 * SPDX-License-Identifier: MIT
 */
#include "share.h"

#include "descriptors.h"

#if TEST_OS_LINUX

enum { SIZE = 40000, LANES = 4, LANE = SIZE / LANES };

static ammap_options_t options_of(uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.lanes = lanes;
        options.allow_faults = true;
        return options;
}

static ammap_t *make_in(const struct path *path, uint64_t size)
{
        ammap_options_t options = options_of(size ? LANES : 0);
        ammap_t *map;

        ck_assert_int_eq(ammap_open(&map, path->text, size, &options), 0);
        return map;
}

static void poke(const struct path *path, size_t at, const void *bytes, size_t length)
{
        int fd = open(path->text, O_RDWR | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite(fd, bytes, length, (off_t)at), (ssize_t)length);
        close(fd);
}

static struct format_head head_of(const struct path *path)
{
        int fd = open(path->text, O_RDONLY | O_CLOEXEC);
        struct format_head head;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pread(fd, &head, sizeof(head), 0), (ssize_t)sizeof(head));
        close(fd);
        return head;
}

/* --- Who makes it says how it is locked --- */

DEFINE_TEST("shared-run", the_header_says_how_it_is_locked)
{
        for (int faults = 0; faults < 2; faults++) {
                struct path path = path_of("map");
                ammap_options_t options = options_of(LANES);
                ammap_t *map, *other = GARBAGE;

                options.allow_faults = faults;
                ck_assert_int_eq(ammap_open(&map, path.text, SIZE, &options), 0);
                ck_assert_uint_eq(head_of(&path).slots, faults ? FORMAT_SLOTS : 0);
                ck_assert_int_eq(ammap_update_region(map, 7, "seven", 5), 0);
                options.allow_faults = !faults;
                ck_assert_int_eq(ammap_open(&other, path.text, SIZE, &options), faults ? AMMAP_ERR_UNSEALED : 0);
                if (faults)
                        ck_assert_ptr_null(other);
                ck_assert_int_eq(ammap_free(other), 0);
                ck_assert(holds(map, 7, 1, 's'));
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("shared-run", it_outlives_its_handles)
{
        struct path path = path_of("map");
        ammap_options_t options = options_of(LANES);
        ammap_t *map;

        options.capacity = 2 * SIZE;
        ck_assert_int_eq(ammap_open(&map, path.text, SIZE, &options), 0);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 3), 0);
        ck_assert_int_eq(ammap_resize(map, 2 * SIZE), 0);
        ck_assert_int_eq(ammap_fill(map, 2 * SIZE - 1, 1, 4), 0);
        ck_assert_int_eq(ammap_flush(map, 0, 2 * SIZE), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        map = make_in(&path, 0);
        ck_assert_uint_eq(ammap_len(map), 2 * SIZE);
        ck_assert(holds(map, 0, SIZE, 3));
        ck_assert(holds(map, 2 * SIZE - 1, 1, 4));
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        map = make_in(&path, 0);
        ck_assert_int_eq(ammap_fill(map, 0, 1, 5), AMMAP_ERR_READ_ONLY);
        ck_assert(holds(map, 0, SIZE, 3));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- What another run of the machine left --- */

/* Writes lane 1 when it is killed, and reads lane 2. */
static void killed_body(struct peer *parent, void *argument)
{
        ammap_t *map = make_in(argument, 0);
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        child_must_int(ammap_as_mut_slice(map, LANE, 10, &mut), 0);
        child_must_int(ammap_as_slice(map, 2 * LANE, 10, &slice), 0);
        peer_tell(parent, 'h');
        peer_hear(parent);
}

/* All slots are taken, and by one who lives: the first process of the machine. */
static void forge_slots(unsigned char *bytes)
{
        struct format_head *head = (void *)bytes;
        struct format_slot *record = (void *)(bytes + format_slots(head->lanes));

        head->slots_used = head->slots;
        for (uint32_t i = 0; i < head->slots; i++) {
                uint64_t page = format_pages(head->lanes, head->slots, head->page) + (uint64_t)i * head->page;
                uint32_t first = 1;

                memcpy(bytes + page + head->page - head->lock_word, &first, sizeof(first));
                record[i].process = record[i].thread = first;
        }
}

/* Of the numbers that the next one to take the first slot gets, and so is taken for. */
static void forge_owners(unsigned char *bytes)
{
        struct format_head *head = (void *)bytes;
        struct format_slot *record = (void *)(bytes + format_slots(head->lanes));
        struct format_lane *lane = (void *)(bytes + sizeof(*head));
        uint64_t generation = record[0].generation + 1;

        for (uint32_t i = 0; i <= head->lanes; i++)
                lane[i].owner = lane[i].next = generation << 14 | 1 << 2;
}

/* The words are as they were while it lived, as a machine leaves them that stops: so the
 * file is copied underneath it. */
static void leave(const struct path *path, const struct path *left, bool other_run)
{
        ammap_t *map = make_in(path, SIZE);
        struct peer peer;
        unsigned char *bytes;
        int fd = open(left->text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        size_t size;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ammap_fill(map, 0, SIZE, 6), 0);
        peer_start(&peer, killed_body, (void *)(uintptr_t)path);
        peer_expect(&peer, 'h');
        size = (size_t)size_of(ammap_fd(map));
        bytes = contents_of(ammap_fd(map), size);
        if (other_run) {
                bytes[offsetof(struct format_head, boot)] ^= 0xff;
                forge_slots(bytes);
                forge_owners(bytes);
        }
        ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
        free(bytes);
        close(fd);
        peer_kill(&peer);
        ck_assert_int_eq(ammap_free(map), 0);
}

static void check_left(ammap_t *map, bool may_write)
{
        ck_assert_int_eq(op_run(OP_TRY_READ, map, LANE, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_run(OP_TRY_READ, map, 2 * LANE, 10, 0), 0);
        if (!may_write)
                return;
        ck_assert_int_eq(op_run(OP_TRY_SLICE, map, LANE, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 2 * LANE, 10, 0), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 10, 0), 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, SIZE, 0), 0);
        ck_assert(holds(map, 20, LANE - 20, 6));
}

DEFINE_TEST("shared-run", a_write_that_the_machine_cut_short)
{
        struct path path = path_of("map"), left = path_of("left");
        ammap_options_t options = options_of(0);
        unsigned char boot[sizeof(((struct format_head *)0)->boot)];
        ammap_t *map, *reader;
        ammap_mut_slice_t mut;
        int fd, kept;

        leave(&path, &left, true);
        options.read_only = true;
        ck_assert_int_eq(ammap_open(&reader, left.text, 0, &options), 0);
        check_left(reader, false);
        fd = ammap_fd(reader);
        kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        ck_assert_int_ge(kept, 0);
        ck_assert_int_eq(close(fd), 0); /* where it can be read by no more, it is still what it was */
        ck_assert_int_eq(op_run(OP_TRY_READ, reader, LANE, 10, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(dup2(kept, fd), fd);
        close(kept);
        map = make_in(&left, 0);
        memcpy(boot, head_of(&path).boot, sizeof(boot));
        ck_assert_mem_eq(head_of(&left).boot, boot, sizeof(boot));
        check_left(reader, false);
        check_left(map, true);
        /* Who came first believes those of this run. */
        ck_assert_int_eq(op_run(OP_TRY_READ, reader, 0, SIZE, 0), 0);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 10, &mut), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_READ, reader, 0, 10), AMMAP_ERR_BUSY);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* In the same run a copy's slots are another file's threads, and those are dead too, or
 * alive by accident; only that it is the same run keeps them from being forgotten. */
DEFINE_TEST("shared-run", the_same_run_forgets_nobody)
{
        struct path path = path_of("map");
        ammap_t *map = make_in(&path, SIZE), *again;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 10, &mut), 0);
        again = make_in(&path, 0);
        ck_assert_int_eq(op_run(OP_TRY_READ, again, 0, 10, 0), AMMAP_ERR_DEADLOCK);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- And a PID namespace that is gone --- */

DEFINE_LOOP_TEST("shared-run", a_namespace_that_nobody_is_left_of, 0, 4)
{
        struct path path = path_of("map"), left = path_of("left");
        const uint64_t other = _i & 2 ? 0 /* not known */ : 4711;
        const bool kept = _i & 1;
        ammap_options_t options = options_of(0);
        ammap_t *map, *keeper = NULL;
        uint64_t mine;

        leave(&path, &left, false);
        mine = head_of(&left).pid_space;
        poke(&left, offsetof(struct format_head, pid_space), &other, sizeof(other));
        if (kept) { /* who only reads has it open, too */
                options.read_only = true;
                ck_assert_int_eq(ammap_open(&keeper, left.text, 0, &options), 0);
                options.read_only = false;
        }
        ck_assert_int_eq(ammap_open(&map, left.text, 0, &options), 0);
        ck_assert_int_eq(stat_of(map).read_only, kept);
        ck_assert_uint_eq(head_of(&left).pid_space, kept ? other : mine);
        if (!kept)
                check_left(map, true);
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(ammap_free(keeper), 0);
}

/* --- Cut --- */

/* No new map comes to stand where an old handle would write. */
DEFINE_TEST("shared-run", emptied_while_it_is_in_use)
{
        struct path path = path_of("map");
        ammap_options_t options = options_of(LANES);
        ammap_t *map = make_in(&path, SIZE), *made = GARBAGE;

        ck_assert_int_eq(truncate(path.text, 0), 0);
        ck_assert_int_eq(ammap_open(&made, path.text, SIZE, &options), AMMAP_ERR_BUSY);
        ck_assert_ptr_null(made);
        ck_assert_int_eq(ammap_free(map), 0);
        map = make_in(&path, SIZE);
        ck_assert(holds(map, 0, SIZE, 0));
        ck_assert_int_eq(ammap_free(map), 0);
}

#else

DEFINE_NO_TEST("no map is shared here");

#endif

int main(void)
{
        return run_sharing("shared-run");
}
