/* torture.c - processes that are killed, and what the others then find
 *
 * SPDX-License-Identifier: MIT
 *
 *      torture [KILLS]
 *
 * Workers share one map: they read blocks and write them, by copies and by
 * slices, and one resizes it.  One of them after the other is killed at a moment
 * that chance picks, and another takes its place.  Each block is one value all
 * over, with a checksum; whoever reads a block that is not finds a fault of the
 * library's, but in one case:
 *
 * Where a writer died the block is as it was left, and AMMAP_ERR_OWNER_DEAD says
 * so until somebody has called ammap_recover.  From then on everybody may read
 * the remains.  So whoever recovers says so first, on a board that the workers
 * share without the library: it makes the suspicion of every block odd, under a
 * robust mutex of the board's.  Whoever reads remains looks at the suspicion from
 * before and after; only where it was even, and the same, the block was promised
 * to be whole.  Under the same mutex, and a mut slice of the block, remains are
 * written over and the suspicion is made even.
 *
 * The parent sees to it that everyone gets on: a worker that does not for a while
 * hangs.
 */
#include "share.h"

static int kills;

#if TEST_OS_LINUX

enum { WORKERS = 7, LANES = 2, PER_LANE = 16, BLOCKS = LANES * PER_LANE, BLOCK_MAX = 4096 };
enum { LANE_SIZE = PER_LANE * BLOCK_MAX, LENGTH = LANES * LANE_SIZE, TAIL = 100000 };

/* How long a worker may be at one thing. */
#define HANGS patience_ns()

enum role { COPY_READER, SLICE_READER, COPY_WRITER, SLICE_WRITER, MIXED, RESIZER, READ_ONLY_READER, ROLES };

static const enum role roles[WORKERS] = { COPY_READER, SLICE_READER, COPY_WRITER,     SLICE_WRITER,
                                          MIXED,       RESIZER,      READ_ONLY_READER };

struct block {
        uint64_t value;
        uint64_t check;
        unsigned char rest[];
};

struct board {
        pthread_mutex_t mutex; /* robust; guards suspicions being raised and cleared */
        _Atomic uint64_t suspicion[BLOCKS];
        _Atomic bool stop;
        _Atomic uint64_t torn, wrong;
        _Atomic uint64_t reads, writes, resizes, deaths, repairs;
        struct {
                _Atomic uint64_t progress;
                _Atomic int doing;
        } worker[WORKERS];
};

struct worker {
        ammap_t *map;
        struct board *board;
        enum role role;
        int number;
        struct random random;
        struct place place;
};

/* 64 bytes to 4096. */
static size_t block_size(int block)
{
        return (size_t)64 << (block % 7);
}

static uint64_t block_offset(int block)
{
        return (uint64_t)(block / PER_LANE) * LANE_SIZE + (uint64_t)(block % PER_LANE) * BLOCK_MAX;
}

static uint64_t check_of(uint64_t value, size_t size)
{
        struct random random = { value ^ size };

        return random_next(&random);
}

static void block_write(void *bytes, size_t size, uint64_t value)
{
        struct block *block = bytes;

        block->value = value;
        memset(block->rest, (int)(value & 0xff), size - sizeof(*block));
        block->check = check_of(value, size);
}

static bool block_is_whole(const void *bytes, size_t size)
{
        const struct block *block = bytes;

        return block->check == check_of(block->value, size) &&
               is_all(block->rest, (unsigned char)block->value, size - sizeof(*block));
}

static void complain(struct worker *worker, const char *what, int rc)
{
        if (atomic_fetch_add(&worker->board->wrong, 1) < 5)
                fprintf(stderr, "torture: worker %d (role %d): %s: %s\n", worker->number, worker->role, what,
                        ammap_errname(rc));
}

static void board_lock(struct board *board)
{
        if (pthread_mutex_lock(&board->mutex) == EOWNERDEAD)
                pthread_mutex_consistent(&board->mutex);
}

/* Suspect everything, then have it as it is. */
static void recover(struct worker *worker)
{
        struct board *board = worker->board;
        int rc;

        if (worker->role == READ_ONLY_READER)
                return; /* others will */
        board_lock(board);
        for (int i = 0; i < BLOCKS; i++) {
                uint64_t now = atomic_load(&board->suspicion[i]);

                if (now % 2 == 0)
                        atomic_store(&board->suspicion[i], now + 1);
        }
        rc = ammap_recover(worker->map);
        if (rc != 0)
                complain(worker, "recover", rc);
        atomic_fetch_add(&board->deaths, 1);
        pthread_mutex_unlock(&board->mutex);
}

/* Whether the call is done; where a writer has died, its remains are accepted. */
static bool done(struct worker *worker, const char *what, int rc)
{
        if (rc == 0)
                return true;
        if (rc == AMMAP_ERR_OWNER_DEAD)
                recover(worker);
        else
                complain(worker, what, rc);
        return false;
}

/* Make a suspected block whole. */
static void repair(struct worker *worker, int block)
{
        struct board *board = worker->board;
        ammap_mut_slice_t mut;
        bool dead = false;
        int rc;

        if (worker->role == READ_ONLY_READER)
                return;
        board_lock(board);
        if (atomic_load(&board->suspicion[block]) % 2) {
                rc = ammap_as_mut_slice(worker->map, block_offset(block), block_size(block), &mut);
                if (rc == 0) {
                        if (!block_is_whole(mut.data, mut.length))
                                block_write(mut.data, mut.length, random_next(&worker->random));
                        atomic_fetch_add(&board->suspicion[block], 1);
                        atomic_fetch_add(&board->repairs, 1);
                        ammap_mut_slice_release(&mut);
                }
                dead = rc == AMMAP_ERR_OWNER_DEAD;
                if (rc != 0 && !dead)
                        complain(worker, "repair", rc);
        }
        pthread_mutex_unlock(&board->mutex);
        if (dead)
                recover(worker);
}

/* What was read of a block, the suspicion having been so before. */
static void look(struct worker *worker, int block, const void *bytes, uint64_t before)
{
        struct board *board = worker->board;
        uint64_t after;

        atomic_fetch_add(&board->reads, 1);
        if (block_is_whole(bytes, block_size(block))) {
                if (before % 2)
                        repair(worker, block);
                return;
        }
        after = atomic_load(&board->suspicion[block]);
        if (before == after && before % 2 == 0) {
                if (atomic_fetch_add(&board->torn, 1) < 5)
                        fprintf(stderr, "torture: worker %d (role %d): block %d is torn\n", worker->number,
                                worker->role, block);
                return;
        }
        repair(worker, block);
}

/* --- Work ---------------------------------------------------------------- */

static void read_by_copy(struct worker *worker, int block)
{
        static _Alignas(16) unsigned char bytes[BLOCK_MAX];
        uint64_t before = atomic_load(&worker->board->suspicion[block]);

        if (done(worker, "read_into", ammap_read_into(worker->map, block_offset(block), bytes, block_size(block))))
                look(worker, block, bytes, before);
}

/* It stays as it is while the slice lives; it may be let go of only to repair. */
static void read_by_slice(struct worker *worker, int block)
{
        static _Alignas(16) unsigned char bytes[BLOCK_MAX];
        uint64_t before = atomic_load(&worker->board->suspicion[block]);
        ammap_slice_t slice;
        bool still;

        if (!done(worker, "as_slice", ammap_as_slice(worker->map, block_offset(block), block_size(block), &slice)))
                return;
        memcpy(bytes, slice.data, slice.length);
        if (random_below(&worker->random, 16) == 0)
                sched_yield();
        still = memcmp(bytes, slice.data, slice.length) == 0;
        ammap_slice_release(&slice);
        if (!still)
                complain(worker, "bytes changed under a slice", 0);
        look(worker, block, bytes, before);
}

static void write_by_copy(struct worker *worker, int block)
{
        static _Alignas(16) unsigned char bytes[BLOCK_MAX];

        block_write(bytes, block_size(block), random_next(&worker->random));
        if (done(worker, "update_region",
                 ammap_update_region(worker->map, block_offset(block), bytes, block_size(block))))
                atomic_fetch_add(&worker->board->writes, 1);
}

static void write_by_slice(struct worker *worker, int block)
{
        uint64_t before = atomic_load(&worker->board->suspicion[block]);
        ammap_mut_slice_t mut;
        bool whole;

        if (!done(worker, "as_mut_slice",
                  ammap_as_mut_slice(worker->map, block_offset(block), block_size(block), &mut)))
                return;
        whole = block_is_whole(mut.data, mut.length);
        if (!whole && before % 2 == 0 && before == atomic_load(&worker->board->suspicion[block]))
                atomic_fetch_add(&worker->board->torn, 1);
        block_write(mut.data, mut.length, random_next(&worker->random));
        ammap_mut_slice_release(&mut);
        atomic_fetch_add(&worker->board->writes, 1);
}

/* All of it at once, both lanes. */
static void write_all(struct worker *worker)
{
        ammap_mut_slice_t mut;

        if (!done(worker, "as_mut_slice", ammap_as_mut_slice(worker->map, 0, LENGTH, &mut)))
                return;
        for (int block = 0; block < BLOCKS; block++)
                block_write(mut.data + block_offset(block), block_size(block), random_next(&worker->random));
        ammap_mut_slice_release(&mut);
        atomic_fetch_add(&worker->board->writes, 1);
}

/* Nobody else goes there: what comes again is zero. */
static void resize(struct worker *worker)
{
        static unsigned char bytes[TAIL];
        uint64_t tail = random_below(&worker->random, TAIL) + 1;

        if (!done(worker, "shrink", ammap_resize(worker->map, LENGTH)) ||
            !done(worker, "growth", ammap_resize(worker->map, LENGTH + tail)) ||
            !done(worker, "read of the tail", ammap_read_into(worker->map, LENGTH, bytes, (size_t)tail)))
                return;
        if (!is_all(bytes, 0, tail))
                complain(worker, "the tail is not zero", 0);
        if (done(worker, "fill of the tail", ammap_fill(worker->map, LENGTH, tail, 0xff)))
                atomic_fetch_add(&worker->board->resizes, 1);
}

static void work(struct worker *worker)
{
        enum role what = worker->role;
        int block = (int)random_below(&worker->random, BLOCKS);

        if (worker->role == MIXED)
                what = (enum role)random_below(&worker->random, ROLES - 1);
        atomic_store(&worker->board->worker[worker->number].doing, (int)what);
        switch (what) {
        case COPY_READER:
        case READ_ONLY_READER:
                read_by_copy(worker, block);
                break;
        case SLICE_READER:
                read_by_slice(worker, block);
                break;
        case COPY_WRITER:
                write_by_copy(worker, block);
                break;
        case SLICE_WRITER:
                write_by_slice(worker, block);
                break;
        case MIXED:
                write_all(worker);
                break;
        case RESIZER:
                if (worker->role == RESIZER)
                        resize(worker);
                break;
        default:
                break;
        }
        atomic_fetch_add(&worker->board->worker[worker->number].progress, 1);
}

static void worker_body(struct peer *parent, void *argument)
{
        struct worker *worker = argument;

        (void)parent;
        alarm(0); /* the parent looks after it */
        worker->map = place_join(&worker->place);
        while (!atomic_load(&worker->board->stop))
                work(worker);
        child_must_int(ammap_free(worker->map), 0);
}

/* --- The parent ------------------------------------------------------------ */

struct torture {
        ammap_t *map;
        int fd, read_only; /* -1: not exported so, and no such worker */
        struct board *board;
        struct random random;
        struct peer peers[WORKERS];
        uint64_t seen[WORKERS];
        int64_t since[WORKERS], longest;
};

static bool has_worker(const struct torture *torture, int number)
{
        return roles[number] != READ_ONLY_READER || torture->read_only >= 0;
}

static void start_worker(struct torture *torture, int number)
{
        struct worker worker = { NULL,
                                 torture->board,
                                 roles[number],
                                 number,
                                 { random_next(&torture->random) },
                                 { INHERIT, torture->map, torture->fd, NULL, AMMAP_OPTIONS_INIT } };

        if (roles[number] == READ_ONLY_READER) {
                worker.place.way = IMPORT;
                worker.place.fd = torture->read_only;
        } else if (torture->read_only < 0 && random_below(&torture->random, 2)) {
                worker.place.way = IMPORT;
        }
        peer_start(&torture->peers[number], worker_body, &worker);
        torture->since[number] = now_ns();
}

static void watch(struct torture *torture)
{
        int64_t now = now_ns();

        for (int i = 0; i < WORKERS; i++) {
                uint64_t progress = atomic_load(&torture->board->worker[i].progress);

                if (!has_worker(torture, i))
                        continue;
                if (progress != torture->seen[i]) {
                        torture->seen[i] = progress;
                        torture->since[i] = now;
                        continue;
                }
                if (now - torture->since[i] > torture->longest)
                        torture->longest = now - torture->since[i];
                ck_assert_msg(now - torture->since[i] < HANGS, "worker %d hangs, at %d", i,
                              atomic_load(&torture->board->worker[i].doing));
        }
}

static void random_pause(struct torture *torture)
{
        struct timespec time = { 0, (long)random_below(&torture->random, 1u << random_below(&torture->random, 23)) };

        nanosleep(&time, NULL);
}

/* So many kills, with workers that come by their map in every way; then again
 * with the map sealed, where they can but inherit it, and one only reads. */
static void kill_some(struct torture *torture, int count)
{
        struct pollfd none = { -1, 0, 0 };
        uint64_t progress[WORKERS];

        for (int i = 0; i < WORKERS; i++)
                if (has_worker(torture, i))
                        start_worker(torture, i);
        for (int i = 0; i < count; i++) {
                int number = (int)random_below(&torture->random, WORKERS), status;

                if (!has_worker(torture, number))
                        number = 0;
                random_pause(torture);
                ck_assert_int_eq(kill(torture->peers[number].pid, SIGKILL), 0);
                if (random_below(&torture->random, 4) == 0)
                        random_pause(torture); /* dead, and not buried */
                ck_assert_int_eq(waitpid(torture->peers[number].pid, &status, 0), torture->peers[number].pid);
                ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "worker %d ended by itself: %#x",
                              number, (unsigned)status);
                peer_close(&torture->peers[number]);
                start_worker(torture, number);
                watch(torture);
                ck_assert_uint_eq(atomic_load(&torture->board->torn), 0);
                ck_assert_uint_eq(atomic_load(&torture->board->wrong), 0);
        }
        /* The last ones get on too; one that does not is seen to hang. */
        for (int i = 0; i < WORKERS; i++)
                progress[i] = atomic_load(&torture->board->worker[i].progress);
        for (int i = 0; i < WORKERS; i++)
                while (has_worker(torture, i) && atomic_load(&torture->board->worker[i].progress) < progress[i] + 20) {
                        watch(torture);
                        poll(&none, 0, 1);
                }
        atomic_store(&torture->board->stop, true);
        for (int i = 0; i < WORKERS; i++)
                if (has_worker(torture, i))
                        peer_end(&torture->peers[i]);
        atomic_store(&torture->board->stop, false);
}

static void check_all(struct torture *torture)
{
        unsigned char bytes[BLOCK_MAX];

        ck_assert_int_eq(ammap_recover(torture->map), 0);
        for (int i = 0; i < BLOCKS; i++) {
                ck_assert_int_eq(ammap_read_into(torture->map, block_offset(i), bytes, block_size(i)), 0);
                if (atomic_load(&torture->board->suspicion[i]) % 2 == 0)
                        ck_assert(block_is_whole(bytes, block_size(i)));
        }
        ck_assert_int_eq(op_run(OP_TRY_MUT_SLICE, torture->map, 0, LENGTH, 0), 0);
}

static void board_init(struct board *board)
{
        pthread_mutexattr_t attributes;

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        ck_assert_int_eq(pthread_mutex_init(&board->mutex, &attributes), 0);
        pthread_mutexattr_destroy(&attributes);
}

DEFINE_TEST("torture", kills_at_random)
{
        struct torture torture = { make_shared(LENGTH, 2 * LENGTH, LANES * 2),
                                   -1,
                                   -1,
                                   board_of(sizeof(struct board)),
                                   random_start("torture"),
                                   { { 0 } },
                                   { 0 },
                                   { 0 },
                                   0 };
        struct board *board = torture.board;
        int64_t start = now_ns();
        unsigned descriptors;

        torture.fd = ammap_fd(torture.map);
        board_init(board);
        for (int i = 0; i < BLOCKS; i++) {
                unsigned char bytes[BLOCK_MAX];

                block_write(bytes, block_size(i), (uint64_t)i);
                ck_assert_int_eq(ammap_update_region(torture.map, block_offset(i), bytes, block_size(i)), 0);
        }
        descriptors = footprint().descriptors;
        kill_some(&torture, kills - kills / 2);
        check_all(&torture);
        ck_assert_uint_eq(footprint().descriptors, descriptors);
        torture.read_only = export_of(torture.map, AMMAP_READ);
        kill_some(&torture, kills / 2);
        check_all(&torture);
        close(torture.read_only);
        ck_assert_uint_eq(footprint().descriptors, descriptors);
        printf("torture: %d kills in %.1f s: %llu reads, %llu writes, %llu resizes, %llu deaths recovered, "
               "%llu blocks repaired; 0 torn, 0 hung, longest wait %.0f ms\n",
               kills, (double)(now_ns() - start) / 1e9, (unsigned long long)atomic_load(&board->reads),
               (unsigned long long)atomic_load(&board->writes), (unsigned long long)atomic_load(&board->resizes),
               (unsigned long long)atomic_load(&board->deaths), (unsigned long long)atomic_load(&board->repairs),
               (double)torture.longest / 1e6);
        ck_assert_uint_gt(atomic_load(&board->reads), 0);
        ck_assert_uint_gt(atomic_load(&board->writes), 0);
        ck_assert_uint_gt(atomic_load(&board->resizes), 0);
        munmap(board, sizeof(*board));
        ck_assert_int_eq(ammap_free(torture.map), 0);
}

#else

DEFINE_TEST("torture", unsupported)
{
        check_unsupported();
}

#endif

int main(int argc, char **argv)
{
        kills = (int)stress_of(argc, argv, test_is_long() ? 10000 : 300, 2, "KILLS");
        test_time_extra = (unsigned)kills / 10;
        return run_sharing("torture");
}
