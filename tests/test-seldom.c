/* test-seldom.c - lib/lock/: counts that are full, calls that fail underneath, and numbers that others have by now
 *
 * SPDX-License-Identifier: MIT
 *
 * What takes a million readers, ten thousand slices or a system without memory is brought about here by a word that
 * the test stores, or by a call of lib/os that the linker has put before the library's (--wrap: see Makefile.am).  Each
 * time the answer is looked at, and that nothing is left behind: who came first has what it had, and others get in.
 */
#include "share.h"

#include "lock/shared_lock.h"
#include "lock/slot.h"
#include "map/map.h"

#include <sched.h>

enum { LENGTH = 128, HALF = LENGTH / 2 };

/* --- The system ---------------------------------------------------------------- */

static struct {
        int map, life, allot; /* what os_map, os_life_begin and os_allot answer instead, or 0 */
        bool memory;          /* malloc fails */
        int64_t hurry;        /* os_now is so much later each time */
        int64_t ahead;
} refused;

int __real_ammap__os_map(void **, size_t);
int __wrap_ammap__os_map(void **, size_t);
int __real_ammap__os_life_begin(int, uint64_t, void **);
int __wrap_ammap__os_life_begin(int, uint64_t, void **);
int __real_ammap__os_allot(int, uint64_t, uint64_t);
int __wrap_ammap__os_allot(int, uint64_t, uint64_t);
int64_t __real_ammap__os_now(void);
int64_t __wrap_ammap__os_now(void);
int __real_ammap__os_wait(const _Atomic uint32_t *, uint32_t, int64_t);
int __wrap_ammap__os_wait(const _Atomic uint32_t *, uint32_t, int64_t);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);

int __wrap_ammap__os_map(void **address, size_t length)
{
        return refused.map ? refused.map : __real_ammap__os_map(address, length);
}

int __wrap_ammap__os_life_begin(int fd, uint64_t offset, void **life)
{
        return refused.life ? refused.life : __real_ammap__os_life_begin(fd, offset, life);
}

int __wrap_ammap__os_allot(int fd, uint64_t offset, uint64_t length)
{
        return refused.allot ? refused.allot : __real_ammap__os_allot(fd, offset, length);
}

int64_t __wrap_ammap__os_now(void)
{
        if (refused.hurry == 0)
                return __real_ammap__os_now();
        refused.ahead += refused.hurry;
        return __real_ammap__os_now() + refused.ahead;
}

/* The kernel's clock does not hurry. */
int __wrap_ammap__os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        return __real_ammap__os_wait(word, expected, refused.hurry > 0 ? deadline - refused.ahead : deadline);
}

void *__wrap_malloc(size_t size)
{
        return refused.memory ? NULL : __real_malloc(size);
}

static void is_free(ammap_t *map, uint64_t length)
{
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, length), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, length, 0), 0);
}

static void make_biased(ammap_t *map)
{
        for (uint64_t i = 0; i < map->lanes; i++) {
                atomic_store(&map->lane[i].word, LANE_BIAS | LANE_SLOTS);
                atomic_store(&map->lane[i].bias_after, 0);
        }
}

/* --- Counts that are full --------------------------------------------------------- */

/* It waits like those that are not starving, and takes nothing of those that are. */
DEFINE_TEST("seldom", more_starving_than_can_be_counted)
{
        enum { SHIFT = 17, MOST = 0x3fff };
        ammap_t *map = new_map(LENGTH, 1);
        struct lane *lane = &map->lane[0];

        atomic_store(&lane->word, LANE_READER);
        atomic_store(&lane->waiting, (uint64_t)MOST << SHIFT);
        ck_assert_int_eq(lane_write(lane, os_now() + 10 * MS), AMMAP_ERR_TIMEOUT);
        ck_assert_uint_eq(atomic_load(&lane->waiting) >> SHIFT & MOST, MOST);
        ck_assert_uint_eq(atomic_load(&lane->word), LANE_READER);
        atomic_store(&lane->waiting, 0);
        atomic_store(&lane->word, 0);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A reader that only its thread's block knows is counted when it becomes the process's. */
DEFINE_TEST("seldom", no_number_for_a_detached_reader)
{
        ammap_t *map = new_map(LENGTH, 1);
        struct lane *lane = &map->lane[0];
        ammap_slice_t slice;

        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0); /* it has a block now */
        make_biased(map);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_uint_eq(atomic_load(&lane->word) & LANE_READERS, 0);
        atomic_fetch_or(&lane->word, LANE_READERS);
        ck_assert_int_eq(ammap_slice_detach(&slice), -EAGAIN);
        ck_assert_uint_eq(atomic_load(&lane->word) & LANE_READERS, LANE_READERS);
        atomic_fetch_and(&lane->word, ~LANE_READERS);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

static struct shared_hold *hold_of(const ammap_slice_t *slice)
{
        return slice->ammap_private.ammap_hold;
}

/* Of slices, or copies, in one place of a thread's; and of the process's, who takes another place then. */
DEFINE_TEST("seldom", a_place_that_no_more_can_share)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);
        ammap_slice_t slice, more;
        uint64_t refs;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        refs = atomic_load(&hold_of(&slice)->refs);
        atomic_store(&hold_of(&slice)->refs, refs | UINT32_MAX);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), -EAGAIN);
        atomic_store(&hold_of(&slice)->refs, refs | UINT64_MAX << 32);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), -EAGAIN);
        ck_assert(slice_is_zero(&more));
        atomic_store(&hold_of(&slice)->refs, refs);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), 0);
        ck_assert_ptr_eq(hold_of(&more), hold_of(&slice));
        ammap_slice_release(&more);

        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        refs = atomic_load(&hold_of(&slice)->refs);
        atomic_store(&hold_of(&slice)->refs, refs | UINT32_MAX);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &more), 0);
        ck_assert_int_eq(ammap_slice_detach(&more), 0);
        ck_assert_ptr_ne(hold_of(&more), hold_of(&slice));
        atomic_store(&hold_of(&slice)->refs, refs);
        ammap_slice_release(&more);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* As in a handler of a signal that comes while one copies out: it has a slice's place. */
DEFINE_TEST("seldom", a_copy_within_a_copy)
{
        const struct request request = { .lanes = { 0, 0 }, .reach = 1, .use = HOLD_COPY, .deadline = LANE_TRY };
        ammap_t *map = make_shared(LENGTH, 0, 1);
        struct shared_hold *outer, *inner;
        struct slot *slot;

        ck_assert_int_eq(shared_enter(map->shared, &request, &outer), 0);
        slot = outer->slot;
        ck_assert_ptr_eq(outer, &slot->read[FORMAT_COPY]);
        ck_assert_int_eq(shared_enter(map->shared, &request, &inner), 0);
        ck_assert(inner >= slot->read && inner < &slot->read[FORMAT_SETS]);
        shared_leave(outer, HOLD_COPY);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        shared_leave(inner, HOLD_COPY);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Many holds, and no memory for one more ------------------------------------------- */

/* Blocks are mapped more and more at once, up to a limit. */
DEFINE_TEST_IF(!TEST_SANITIZED, "seldom", ten_thousands_of_lanes_held_by_one_thread)
{
        enum { MAPS = 5, LANES = AMMAP_LANES_MAX };
        ammap_slice_t slices[MAPS];
        ammap_t *maps[MAPS];

        for (int i = 0; i < MAPS; i++) {
                maps[i] = new_map(LANES, LANES);
                ck_assert_int_eq(ammap_as_slice(maps[i], 0, LANES, &slices[i]), 0);
        }
        for (int i = 0; i < MAPS; i++) {
                ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, maps[i], LANES - 1, 1), AMMAP_ERR_BUSY);
                ammap_slice_release(&slices[i]);
                is_free(maps[i], LANES);
                ck_assert_int_eq(ammap_free(maps[i]), 0);
        }
}

/* A slice of two lanes: the first cannot be the process's, or, where it had one hold left, the second.
 * _i: bit 0 which of them; bit 1 biased. */
DEFINE_LOOP_TEST("seldom", no_memory_to_detach_a_slice, 0, 4)
{
        enum { MOST = 200 };
        ammap_t *map = new_map(LENGTH, 2);
        static ammap_slice_t slices[MOST];
        int count = 0, rc = 0;

        for (uint64_t i = 0; i < map->lanes; i++)
                atomic_store(&map->lane[i].bias_after, INT64_MAX);
        if (_i & 2)
                make_biased(map);
        if (_i & 1) {
                ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slices[count]), 0);
                ck_assert_int_eq(ammap_slice_detach(&slices[count++]), 0);
        }
        ck_assert_int_eq(ammap_as_slice(map, 0, LENGTH, &slices[count]), 0);
        refused.map = -ENOMEM;
        while (count < MOST - 1 && (rc = ammap_slice_detach(&slices[count])) == 0)
                ck_assert_int_eq(ammap_as_slice(map, 0, LENGTH, &slices[++count]), 0);
        refused.map = 0;
        ck_assert_int_eq(rc, -ENOMEM);
        for (int i = 0; i < count; i++)
                ammap_slice_release(&slices[i]);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_DEADLOCK); /* the thread's, as before */
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, HALF, 1), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_slice_detach(&slices[count]), 0);
        ammap_slice_release(&slices[count]);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Then each lane is asked for by itself. */
DEFINE_TEST("seldom", no_memory_to_take_the_bias_of_many_lanes)
{
        enum { LANES = 100 };
        ammap_t *map = new_map(LANES, LANES);

        make_biased(map);
        refused.memory = true;
        lane_settle(map->lane, LANES);
        refused.memory = false;
        for (int i = 0; i < LANES; i++)
                ck_assert_uint_eq(atomic_load(&map->lane[i].word), LANE_BIAS | LANE_SLOTS);
        lane_settle(map->lane, LANES);
        for (int i = 0; i < LANES; i++)
                ck_assert_uint_eq(atomic_load(&map->lane[i].word), 2 * LANE_WRITER);
        is_free(map, LANES);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What the process needs of the system for a slice of its own, in a map of a file. */
DEFINE_TEST("seldom", no_life_for_the_process)
{
        struct path path = path_of("map");
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_slice_t slice;
        ammap_t *map;

        options.allow_faults = true;
        ck_assert_int_eq(open_in_file(BY_WORDS, &map, path.text, LENGTH, &options), 0);
        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        refused.allot = -ENOSPC;
        ck_assert_int_eq(ammap_slice_detach(&slice), -ENOSPC);
        refused.allot = 0;
        refused.life = -EMFILE;
        ck_assert_int_eq(ammap_slice_detach(&slice), -EMFILE);
        refused.life = -ENOENT;
        ck_assert_int_eq(ammap_slice_detach(&slice), AMMAP_ERR_UNSUPPORTED);
        refused.life = 0;
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_DEADLOCK);
        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* The process takes the place of a writer that was killed, who is still told; and nobody is once another writer has
 * his lane. */
DEFINE_TEST("seldom", the_dead_are_told_when_a_process_has_their_place)
{
        ammap_t *map = make_shared(LENGTH, 0, 2);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, shared_options() };
        ammap_holder_t found = { 0 };
        struct remote remote;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;
        pid_t pid;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        remote_start(&remote, &place);
        pid = remote.peer.pid;
        remote_hold(&remote, true, HALF, 1);
        remote_kill(&remote);
        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        ck_assert(!slot_tells(map->shared, atomic_load(&map->shared->lane[1].owner) & OWNER_ID,
                              &(struct slot_owner){ 0, 0 }));
        ck_assert_int_eq(ammap_holders(map, HALF, 1, &found, 1), 1);
        ck_assert_int_eq(found.hold, AMMAP_HOLD_DEAD);
        ck_assert_int_eq(found.pid, pid);
        ck_assert_int_eq(found.tid, pid);
        ck_assert_int_eq(ammap_recover_as_mut_slice(map, HALF, 1, &mut), 1);
        ammap_mut_slice_release(&mut);
        ck_assert_uint_eq(atomic_load(&map->shared->lane[1].dead_process), 0);
        ck_assert_uint_eq(atomic_load(&map->shared->lane[1].dead_thread), 0);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        close(place.fd);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- A number that is another file's by now ---------------------------------------------- */

static void detached_body(struct peer *parent, void *argument)
{
        ammap_t *map = argument;
        ammap_mut_slice_t mut;

        child_must_int(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        child_must_int(ammap_mut_slice_detach(&mut), 0);
        peer_tell(parent, 'h');
        peer_hear(parent);
}

/* What is locked in that file says nothing of who has the map. */
DEFINE_TEST_IF(!TEST_TSAN, "seldom", the_program_takes_the_descriptor)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);
        const int fd = ammap_fd(map), kept = fcntl(fd, F_DUPFD_CLOEXEC, 0), other = memory_file(1 << 20, 0);
        ammap_slice_t slice;
        struct peer peer;

        ck_assert_int_ge(kept, 0);
        peer_start(&peer, detached_body, map);
        peer_expect(&peer, 'h');
        peer_kill(&peer);
        ck_assert_int_eq(dup2(other, fd), fd);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_BUSY);
        ck_assert_int_eq(dup2(kept, fd), fd);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, map, 0, 1, 0), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(dup2(other, fd), fd);
        ck_assert_int_eq(ammap_slice_detach(&slice), AMMAP_ERR_FAULT);
        ck_assert_int_eq(dup2(kept, fd), fd);
        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
        close(kept);
        close(other);
}

/* A map of each kind that has a descriptor, all of it 7; and the number is by now that of a longer file, all of it holes,
 * which it returns. */
enum { SHARED_ONE, RAW_ONE, RAW_FILE, KERNEL_FILE, WORDS_FILE, WITH_DESCRIPTOR };

static int give_number_away(int kind, const struct path *path, uint64_t length, ammap_t **map)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int other = memory_file(1 << 26, 0), fd;

        options.allow_faults = true;
        options.share = kind == RAW_FILE ? AMMAP_RAW : AMMAP_PRIVATE;
        if (kind == SHARED_ONE)
                *map = make_shared(length, 0, 1);
        else if (kind == RAW_ONE)
                *map = make_raw(length);
        else if (kind == RAW_FILE)
                ck_assert_int_eq(ammap_open(map, path->text, length, &options), 0);
        else
                ck_assert_int_eq(
                        open_in_file(kind == KERNEL_FILE ? BY_KERNEL : BY_WORDS, map, path->text, length, &options), 0);
        ck_assert_int_eq(ammap_fill(*map, 0, length, 7), 0);
        fd = ammap_fd(*map);
        ck_assert_int_eq(dup2(other, fd), fd);
        close(other);
        return fd;
}

/* It is not asked where the map has holes. */
DEFINE_LOOP_TEST("seldom", clones_beside_another_file, 0, WITH_DESCRIPTOR)
{
        const uint64_t length = 40000;
        struct path path = path_of("map");
        ammap_t *map, *clone;
        int other = give_number_away(_i, &path, length, &map);

        ck_assert_int_eq(ammap_clone(map, &clone), 0);
        ck_assert(holds(clone, 0, length, 7));
        ck_assert_int_eq(ammap_free(clone), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        close(other);
}

/* It is not sealed, and gets no room for a thread that is new to the map. */
DEFINE_LOOP_TEST("seldom", freezes_beside_another_file, 0, WITH_DESCRIPTOR)
{
        struct path path = path_of("map");
        struct stat stat;
        ammap_t *map;
        int other = give_number_away(_i, &path, LENGTH, &map);

        ck_assert_int_eq(op_elsewhere(OP_SLICE, map, 0, 1), 0);
        ck_assert_int_eq(fstat(other, &stat), 0);
        ck_assert_int_eq((int)stat.st_blocks, 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(op_run(OP_TRY_UPDATE, map, 0, 1, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(fcntl(other, F_GET_SEALS), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        close(other);
}

/* --- Slices that are none any more ---------------------------------------------------------- */

/* A copy of the structure holds nothing when the slice has been released.  _i: shared. */
DEFINE_LOOP_TEST("seldom", a_detached_slice_is_released_once, 0, 2)
{
        ammap_t *map = _i ? make_shared(LENGTH, 0, 1) : new_map(LENGTH, 1);
        ammap_mut_slice_t mut, mut_copy;
        ammap_slice_t slice, copy;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_slice_detach(&slice), 0);
        copy = slice;
        ck_assert_int_eq(ammap_slice_release(&slice), 0);
        ck_assert_int_eq(ammap_slice_release(&copy), 0);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, 1, &mut), 0);
        ck_assert_int_eq(ammap_mut_slice_detach(&mut), 0);
        mut_copy = mut;
        ck_assert_int_eq(ammap_mut_slice_release(&mut), 0);
        ck_assert_int_eq(ammap_mut_slice_release(&mut_copy), 0);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Of a slice to read by the name of one to write. */
DEFINE_TEST("seldom", what_reads_is_not_downgraded)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);
        ammap_slice_t slice, more;
        ammap_mut_slice_t mut;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        memcpy(&mut, &slice, sizeof(mut));
        ck_assert_int_eq(ammap_mut_slice_downgrade(&mut, &more), AMMAP_ERR_INVALID);
        ck_assert(slice_is_zero(&more));
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A handle that only reads, whose thread has written another map by what it has now for this one. */
DEFINE_TEST("seldom", a_writer_by_a_handle_that_only_reads)
{
        ammap_t *map = make_shared(LENGTH, 0, 1), *before = make_shared(LENGTH, 0, 1), *reader;
        ammap_mut_slice_t mut;
        ammap_slice_t slice, further;

        ck_assert_int_eq(op_run(OP_MUT_SLICE, before, 0, 1, 0), 0);
        ck_assert_int_eq(ammap_free(before), 0);
        reader = import_again(map, AMMAP_READ);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_as_slice(reader, 0, 1, &slice), 0);
        ck_assert_int_eq(ammap_as_mut_slice(reader, 0, 1, &mut), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_as_slice(reader, 0, LENGTH, &further), 0);
        ammap_slice_release(&further);
        ammap_slice_release(&slice);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* A header that does not say where its threads' numbers count: it is known by who writes the same map. */
DEFINE_TEST("seldom", a_map_of_no_namespace_among_others)
{
        ammap_t *map = make_shared(LENGTH, 0, 1), *other = make_shared(LENGTH, 0, 1), *again, *reader, *file;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        struct path path = path_of("map");
        int fd;

        options.allow_faults = true;
        ck_assert_int_eq(open_in_file(BY_WORDS, &file, path.text, LENGTH, &options), 0);
        reader = import_again(other, AMMAP_READ);
        map->shared->head->pid_space = 0;
        again = import_again(map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(op_run(OP_MUT_SLICE, again, 0, LENGTH, 0), 0);
        fd = export_of(map, AMMAP_READ | AMMAP_WRITE);
        ck_assert_int_eq(ammap_free(again), 0);
        ck_assert_int_eq(ammap_free(map), 0);
        options = shared_options();
        ck_assert_int_eq(ammap_import(&again, fd, &options), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, again, 0, LENGTH, 0), AMMAP_ERR_READ_ONLY);
        ck_assert_int_eq(ammap_free(again), 0);
        close(fd);
        ck_assert_int_eq(ammap_free(file), 0);
        ck_assert_int_eq(ammap_free(reader), 0);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* --- Threads, and who looks at them ------------------------------------------------------------- */

static void *say_life(void *argument)
{
        struct hold *hold;

        thread_check_int(thread_room(&hold), 0);
        *(struct thread_life *)argument = thread_life();
        return NULL;
}

/* Somebody asks whether the one before lives, and the next one waits until he knows. */
DEFINE_TEST("seldom", a_thread_begins_while_its_like_is_looked_at)
{
        struct thread_life before, after = { NULL, 0 };
        struct task task;
        ammap_t *map = new_map(LENGTH, 1);

        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0); /* this thread has begun */
        task_start(&task, say_life, &before);
        task_join(&task);
        ck_assert_int_eq(pthread_mutex_lock(&before.owner->life), 0);
        task_start(&task, say_life, &after);
        while (!atomic_load(&before.owner->claimed))
                sched_yield();
        for (int i = 0; i < 1000; i++) {
                sched_yield();
                ck_assert(!atomic_load(&task.done));
        }
        ck_assert_int_eq(pthread_mutex_unlock(&before.owner->life), 0);
        task_join(&task);
        ck_assert_ptr_eq(after.owner, before.owner);
        ck_assert_uint_eq(after.number, before.number + 1);
        ck_assert(thread_is_gone(before));
        ck_assert_int_eq(ammap_free(map), 0);
}

/* In the last round of its destructors, behind the library's, a thread takes slices of up to three maps. */
static struct last_round {
        ammap_t *map[3];
        bool writes;
        int result;
} last_round;
static pthread_key_t last_key;

static void take_at_last(void *value)
{
        const uintptr_t left = (uintptr_t)value - 1;
        ammap_mut_slice_t mut;
        ammap_slice_t slice;

        if (left > 0) {
                pthread_setspecific(last_key, (void *)left);
                return;
        }
        for (int i = 0; i < 3 && last_round.map[i] && last_round.result == 0; i++)
                last_round.result = last_round.writes ? ammap_as_mut_slice(last_round.map[i], 0, 1, &mut)
                                                      : ammap_as_slice(last_round.map[i], 0, 1, &slice);
}

static void *end_with_slices(void *argument)
{
        pthread_setspecific(last_key, (void *)(uintptr_t)sysconf(_SC_THREAD_DESTRUCTOR_ITERATIONS));
        return argument;
}

/* A thread that nobody sees end, with a slice of each of the maps. */
static void run_last_round(void)
{
        struct task task;

        ck_assert_int_eq(pthread_key_create(&last_key, take_at_last), 0); /* behind the library's */
        task_start(&task, end_with_slices, NULL);
        task_join(&task);
        ck_assert_int_eq(last_round.result, 0);
        pthread_key_delete(last_key);
}

static void *free_only(void *argument)
{
        thread_check_int(ammap_free(argument), 0);
        return NULL;
}

/* Whoever frees one of the maps buries the thread, and has no holds itself; the next thread has its number when the
 * other map is freed. */
DEFINE_TEST_IF(!TEST_SANITIZED, "seldom", a_thread_that_nobody_saw_end)
{
        struct thread_life next;
        struct task task;

        for (int i = 0; i < 3; i++) {
                last_round.map[i] = i < 2 ? make_shared(LENGTH, 0, 1) : new_map(LENGTH, 1);
                ck_assert_int_eq(op_run(OP_SLICE, last_round.map[i], 0, 1, 0), 0);
        }
        run_last_round();
        task_start(&task, free_only, last_round.map[0]);
        task_join(&task);
        task_start(&task, say_life, &next);
        task_join(&task);
        ck_assert_int_eq(ammap_free(last_round.map[1]), 0);
        ck_assert_int_eq(ammap_free(last_round.map[2]), 0);
}

/* The slot that is not this thread's. */
static const struct slot *slot_of_another(const struct shared *shared)
{
        const struct slot *slot = shared->mine;

        while (slot && slot_is_mine(slot))
                slot = slot->sibling;
        ck_assert_ptr_nonnull(slot);
        return slot;
}

/* A thread of another process has its place before the map is freed: what that one holds stays. */
DEFINE_TEST_IF(!TEST_SANITIZED, "seldom", a_place_of_a_thread_that_nobody_saw_end)
{
        ammap_t *map = make_shared(LENGTH, 0, 1), *other = import_again(map, AMMAP_READ | AMMAP_WRITE);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, shared_options() };
        const struct slot *slot;
        struct remote remote;

        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0);
        ck_assert_int_eq(op_run(OP_SLICE, other, 0, 1, 0), 0);
        last_round.map[0] = map;
        run_last_round();
        slot = slot_of_another(map->shared);
        remote_start(&remote, &place);
        remote_hold(&remote, false, 0, 1);
        ck_assert(slot_lives(other->shared, slot->index, true));
        ck_assert(!slot_lives_by_id(other->shared, slot->owner_id, false));
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, other, 0, 1, 0), AMMAP_ERR_BUSY);
        remote_release(&remote);
        remote_end(&remote);
        is_free(other, LENGTH);
        close(place.fd);
        ck_assert_int_eq(ammap_free(other), 0);
}

/* What it wrote is recovered, and it writes no more. */
DEFINE_TEST_IF(!TEST_SANITIZED, "seldom", a_freeze_after_a_writer_that_nobody_saw_end)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);

        ck_assert_int_eq(op_run(OP_SLICE, map, 0, 1, 0), 0);
        last_round.map[0] = map;
        last_round.writes = true;
        run_last_round();
        ck_assert_int_eq(ammap_freeze(map), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

struct freezer {
        ammap_t *map;
        int result;
};

static void *freeze_begin(void *argument)
{
        struct freezer *freezer = argument;

        freezer->result = handle_freeze_begin(freezer->map->shared);
        return NULL;
}

/* A thread that is stopped in the middle of a write, in whose lane others have the freezer. */
DEFINE_TEST("seldom", a_freeze_does_not_wait_for_ever)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);
        struct freezer freezer = { map, 0 };
        struct slot *slot;
        struct task task;

        ck_assert_int_eq(op_run(OP_MUT_SLICE, map, 0, 1, 0), 0);
        slot = map->shared->mine;
        ck_assert_ptr_nonnull(slot);
        atomic_store(&slot->writing, true);
        refused.hurry = SECOND;
        task_start(&task, freeze_begin, &freezer);
        task_join(&task);
        refused.hurry = 0;
        ck_assert_int_eq(freezer.result, AMMAP_ERR_BUSY);
        ck_assert_uint_eq(atomic_load(&map->shared->frozen), SHARED_LIVE);
        atomic_store(&slot->writing, false);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_freeze(map), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- One who is to come next, and does not -------------------------------------------------------- */

/* Of one who waits for the lane, with its turn asked for. */
static void stop_waiting(const struct remote *remote, ammap_t *map, uint32_t lane)
{
        int status;

        remote_send(remote, (struct command){ DO_OP, OP_UPDATE, lane * (map->capacity / map->lanes), 1, 0 });
        while (atomic_load(&map->shared->lane[lane].next) == 0)
                sched_yield();
        ck_assert_int_eq(kill(remote->peer.pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(remote->peer.pid, &status, WUNTRACED), remote->peer.pid);
        ck_assert(WIFSTOPPED(status));
}

/* Whoever only tries is let in at last, and the other one when it goes on.  _i: of two lanes by turns, in which the
 * same is noted of the two. */
DEFINE_LOOP_TEST("seldom", tries_pass_over_the_stopped, 0, 2)
{
        enum { LANES = 2 * LOOKOUTS };
        ammap_t *map = make_shared(LENGTH, 0, LANES);
        struct place place = { IMPORT, NULL, export_of(map, AMMAP_READ | AMMAP_WRITE), NULL, shared_options() };
        const int count = _i + 1;
        struct remote remote[2];
        ammap_mut_slice_t mut;
        int done[2] = { 0, 0 };

        for (int i = 0; i < count; i++)
                remote_start(&remote[i], &place);
        ck_assert_int_eq(ammap_as_mut_slice(map, 0, LENGTH, &mut), 0);
        for (int i = 0; i < count; i++)
                stop_waiting(&remote[i], map, (uint32_t)i * LOOKOUTS);
        ammap_mut_slice_release(&mut);
        while (done[0] == 0 || done[count - 1] == 0)
                for (int i = 0; i < count; i++) {
                        int rc = op_run(OP_TRY_UPDATE, map, (uint64_t)i * LOOKOUTS * (LENGTH / LANES), 1, 0);

                        ck_assert(rc == 0 || rc == AMMAP_ERR_BUSY);
                        done[i] += rc == 0;
                }
        for (int i = 0; i < count; i++) {
                ck_assert_int_eq(kill(remote[i].peer.pid, SIGCONT), 0);
                ck_assert_int_eq(remote_reply(&remote[i]).result, 0);
        }
        for (int i = 0; i < count; i++)
                remote_end(&remote[i]);
        close(place.fd);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- A fork while one waits ------------------------------------------------------------------------ */

static struct forked {
        ammap_t *map;
        pid_t parent, child;
        bool raw;
        int want, result;
} forked;

static void fork_here(int number)
{
        (void)number;
        forked.child = forked.raw ? clone_fork() : usual_fork();
        if (forked.child == 0)
                alarm(test_time());
}

/* The child comes back to the call that its parent waits in. */
static void *wait_for_slice(void *argument)
{
        ammap_slice_t slice;
        int rc = ammap_timed_as_slice(forked.map, 0, 1, patience_ns(), &slice);

        if (getpid() != forked.parent)
                _exit(rc == forked.want ? 0 : 1);
        forked.result = rc;
        ammap_slice_release(&slice);
        return argument;
}

/* _i: bit 0 by the system's call alone; bit 1 shared: there it has no slot to wait by; else its copy of the map has a
 * writer that it does not have. */
DEFINE_LOOP_TEST_IF(!TEST_SANITIZED, "seldom", a_handler_that_forks_while_one_waits, 0, 4)
{
        struct sigaction action = { .sa_handler = fork_here };
        struct holder holder;
        struct task task;
        int status;

        forked.raw = _i & 1;
        forked.map = _i & 2 ? make_shared(LENGTH, 0, 1) : new_map(LENGTH, 1);
        forked.want = _i & 2 ? AMMAP_ERR_UNSUPPORTED : AMMAP_ERR_OWNER_DEAD;
        forked.parent = getpid();
        sigaction(SIGUSR1, &action, NULL);
        holder_start(&holder, forked.map, 0, LENGTH, true);
        task_start(&task, wait_for_slice, NULL);
        ck_assert(task_sleeps(&task));
        ck_assert_int_eq(pthread_kill(task.thread, SIGUSR1), 0);
        for (int64_t until = now_ns() + patience_ns(); !*(volatile pid_t *)&forked.child; pause_ms(1))
                ck_assert(now_ns() < until);
        ck_assert_int_gt(forked.child, 0);
        status = peer_status(forked.child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", (unsigned)status);
        holder_stop(&holder);
        task_join(&task);
        ck_assert_int_eq(forked.result, 0);
        is_free(forked.map, LENGTH);
        ck_assert_int_eq(ammap_free(forked.map), 0);
}

/* The child's first call: it holds nothing, and lets go of nothing of its parent's. */
DEFINE_TEST_IF(!TEST_TSAN, "seldom", a_child_that_releases_first)
{
        ammap_t *map = make_shared(LENGTH, 0, 1);
        ammap_slice_t slice;
        pid_t child;
        int status;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1, &slice), 0);
        child = clone_fork();
        if (child == 0)
                _exit(ammap_slice_release(&slice) == AMMAP_ERR_INVALID ? 0 : 1);
        status = peer_status(child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %#x", (unsigned)status);
        ck_assert_int_eq(op_elsewhere(OP_TRY_MUT_SLICE, map, 0, 1), AMMAP_ERR_BUSY);
        ammap_slice_release(&slice);
        is_free(map, LENGTH);
        ck_assert_int_eq(ammap_free(map), 0);
}

int main(void)
{
        return run_sharing("seldom");
}
