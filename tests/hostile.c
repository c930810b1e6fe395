/* hostile.c - descriptors and files that lie, and change underway
 *
 * SPDX-License-Identifier: MIT
 *
 *      hostile [ROUNDS]
 *
 * The bytes of a genuine map are damaged, one at a time, field by field, and at
 * random, cut off and made longer, put behind a descriptor, and imported; the
 * same with a file, which is opened.  What comes of it is a code, or a map on
 * which every call comes back: no signal, no descriptor left, and nothing written
 * but the map and what was asked for.  A call that waits for the lock may wait for
 * a forged owner, as long as it lives; those that take a time may not.  Then maps
 * are used while someone takes their memory away.
 */
#include "share.h"

static int damage_rounds;

#if TEST_OS_LINUX

#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>

enum { LENGTH = 3 * 4096 + 5, CAPACITY = 5 * 4096, LANES = 3, HEAD_MAX = 64 * 1024 };

/* --- What is damaged -------------------------------------------------------- */

enum form { MEMORY, UNSEALED_MEMORY, A_FILE, A_FILE_OF_WORDS, FORMS };

/* What a child is at, for the parent to say should it be its end. */
struct board {
        char text[200];
        _Atomic uint64_t imports, refused, worked, waited;
};

struct victim {
        enum form form;
        struct board *board;
        struct path path;
        struct random random;
        unsigned char genuine[HEAD_MAX], bytes[HEAD_MAX];
        unsigned char other[HEAD_MAX]; /* the head of a file in memory, and the other way round */
        size_t head;                   /* how much of the header holds anything */
        uint64_t size;
        int seals;
};

static void say(const struct victim *victim, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const struct victim *victim, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(victim->board->text, sizeof(victim->board->text), format, arguments);
        va_end(arguments);
}

/* The bytes, behind a descriptor of its own. */
static int forge(const struct victim *victim)
{
        int fd = victim->form >= A_FILE ? open(victim->path.text, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                                        : memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        size_t head = victim->head < victim->size ? victim->head : (size_t)victim->size;

        child_must(fd >= 0);
        child_must(pwrite(fd, victim->bytes, head, 0) == (ssize_t)head);
        child_must(ftruncate(fd, (off_t)victim->size) == 0);
        if (victim->form < A_FILE && victim->seals)
                child_must(fcntl(fd, F_ADD_SEALS, victim->seals) == 0);
        return fd;
}

/* --- What is done with it ------------------------------------------------------ */

static bool is_code(int rc)
{
        return rc <= 0 && strcmp(ammap_errname(rc), "UNKNOWN") != 0;
}

static void check_recovery(ammap_t *map, uint64_t offset, uint64_t length)
{
        ammap_mut_slice_t mut;
        int rc = ammap_recover_as_mut_slice(map, offset, length, &mut);

        child_must(rc == 1 || is_code(rc));
        child_must(rc < 0 ? !mut.data : mut.length == length);
        ammap_mut_slice_release(&mut);
}

/* These come back whatever the lock says. */
static void calls_that_return(ammap_t *map, uint64_t limit)
{
        static const uint64_t offsets[] = {
                0, 1, 4096, LENGTH - 64, LENGTH, CAPACITY - 64, CAPACITY, UINT64_MAX - 8, INT64_MAX
        };
        ammap_stat_t stat = AMMAP_STAT_INIT;
        char text[200];
        int fd;

        child_must(is_code(ammap_stat(map, &stat)));
        child_must(stat.length <= limit && stat.length <= stat.capacity);
        child_must(ammap_len(map) <= limit);
        child_must(ammap_describe(map, text, sizeof(text)) >= 0);
        for (size_t i = 0; i < COUNT_OF(offsets); i++) {
                ammap_slice_t slice;
                ammap_mut_slice_t mut;
                ammap_u32_view_t view;

                if (ammap_try_as_slice(map, offsets[i], 64, &slice) == 0) {
                        unsigned char bytes[64];

                        child_must(offsets[i] + 64 <= limit && slice.length == 64);
                        memcpy(bytes, slice.data, 64);
                        child_must(i % 4 || is_code(ammap_slice_detach(&slice)));
                }
                child_must_int(ammap_slice_release(&slice), 0);
                if (ammap_timed_as_mut_slice(map, offsets[i], 64, MS / 10, &mut) == 0) {
                        child_must(offsets[i] + 64 <= limit && mut.length == 64);
                        memset(mut.data, 1, 64);
                        child_must(i % 4 || is_code(ammap_mut_slice_detach(&mut)));
                }
                child_must(is_code(ammap_mut_slice_downgrade(&mut, &slice)));
                child_must(!slice.data || slice.length == 64);
                ammap_slice_release(&slice);
                child_must_int(ammap_mut_slice_release(&mut), 0);
                if (ammap_atomic_u32(map, offsets[i], &view) == 0)
                        atomic_store(view.value, 1);
                ammap_u32_view_release(&view);
                child_must(is_code(ammap_wait_u32(map, offsets[i], 1, 0)));
                if (i % 4 == 0) {
                        child_must(is_code(ammap_wait_u32_peer(map, offsets[i], 1, MS / 10, (int32_t)getppid())));
                        child_must(is_code(ammap_wait_u32_peer(map, offsets[i], 1, -1, INT32_MAX)));
                }
        }
        child_must(is_code(op_run(OP_TRY_SLICE, map, 0, ammap_len(map), 0)));
        child_must(is_code(op_run(OP_TIMED_SLICE, map, 0, ammap_len(map), MS / 10)));
        child_must(is_code(ammap_populate(map, 0, 4096)));
        child_must(is_code(ammap_advise(map, 0, 4096, AMMAP_ADVICE_NORMAL)));
        child_must(is_code(ammap_flush(map, 0, 64)));
        child_must(ammap_is_hugepage_backed(map) <= 1);
        if (ammap_export(map, AMMAP_READ | AMMAP_WRITE, &fd) == 0)
                close(fd);
}

/* These may wait for a lock. */
static void calls_that_wait(ammap_t *map)
{
        unsigned char guarded[256];
        ammap_t *copy;

        memset(guarded, 0x6b, sizeof(guarded));
        child_must(is_code(ammap_read_into(map, 0, guarded + 64, 128)));
        child_must(is_all(guarded, 0x6b, 64) && is_all(guarded + 192, 0x6b, 64));
        child_must(is_code(ammap_update_region(map, 0, guarded, sizeof(guarded))));
        child_must(is_code(ammap_fill(map, 0, ammap_len(map), 3)));
        child_must(is_code(ammap_copy(map, 0, map, 100, 1000)));
        child_must(is_code(ammap_discard(map, 0, 4097)));
        child_must(is_code(ammap_resize(map, 100)));
        child_must(is_code(ammap_resize(map, CAPACITY)));
        child_must(is_code(ammap_recover(map)));
        check_recovery(map, 0, 5000);
        for (enum op op = 0; op < OP_COUNT; op++)
                child_must(is_code(op_run(op, map, 0, 64, MS)));
        if (ammap_clone(map, &copy) == 0)
                child_must_int(ammap_free(copy), 0);
        child_must(is_code(ammap_freeze(map)));
        child_must(is_code(op_run(OP_TRY_SLICE, map, 0, 64, 0)));
}

/* Bounded: where they wait for ever, an alarm ends the child. */
static void calls_in_a_child(struct victim *victim, ammap_t *map)
{
        int status;
        pid_t child;

        if (atomic_load(&victim->board->waited) >= 3)
                return;
        child = fork();
        child_must(child >= 0);
        if (child == 0) {
                signal(SIGALRM, SIG_DFL);
                alarm((unsigned)test_scale());
                calls_that_wait(map);
                _exit(0);
        }
        child_must(waitpid(child, &status, 0) == child);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                atomic_fetch_add(&victim->board->waited, 1);
        else
                child_must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void try_it(struct victim *victim, bool lock_is_damaged)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int fd = forge(victim), rc;
        ammap_t *map = (ammap_t *)victim;

        atomic_fetch_add(&victim->board->imports, 1);
        options.allow_faults =
                victim->form == UNSEALED_MEMORY || victim->form == A_FILE_OF_WORDS || random_below(&victim->random, 2);
        if (victim->form >= A_FILE)
                rc = ammap_open(&map, victim->path.text, 0, &options);
        else
                rc = ammap_import(&map, fd, &options);
        child_must(is_code(rc));
        child_must((rc == 0) == (map != NULL));
        if (rc == 0) {
                atomic_fetch_add(&victim->board->worked, 1);
                calls_that_return(map, victim->size);
                if (lock_is_damaged)
                        calls_in_a_child(victim, map);
                else
                        calls_that_wait(map);
                child_must_int(ammap_free(map), 0);
        } else {
                /* A code that says something of the descriptor. */
                child_must(rc == AMMAP_ERR_FORMAT || rc == AMMAP_ERR_UNSEALED || rc == AMMAP_ERR_SIZE ||
                           rc == AMMAP_ERR_UNSUPPORTED || rc == -ENOMEM || rc == -ENOENT);
                atomic_fetch_add(&victim->board->refused, 1);
        }
        close(fd);
}

static void restore(struct victim *victim)
{
        memcpy(victim->bytes, victim->genuine, sizeof(victim->bytes));
}

/* Where the constant part of the head ends, and what the lock is made of begins. */
static bool is_lock(uint64_t offset)
{
        return offset >= offsetof(struct format_head, length);
}

/* --- Kinds of damage -------------------------------------------------------------- */

static void undamaged(struct victim *victim)
{
        say(victim, "nothing is damaged");
        try_it(victim, false);
        child_must(atomic_load(&victim->board->worked) == 1);
        memcpy(victim->bytes, victim->other, sizeof(victim->bytes));
        say(victim, "the head is of another form");
        try_it(victim, false);
        restore(victim);
}

static void bytes_one_at_a_time(struct victim *victim)
{
        size_t end = format_slots(1) + 128 < victim->head ? (size_t)format_slots(1) + 128 : victim->head;

        for (size_t i = 0; i < end; i++) {
                unsigned char genuine = victim->genuine[i];
                unsigned char values[] = { 0,
                                           255,
                                           (unsigned char)(genuine ^ 1),
                                           (unsigned char)(genuine ^ 0x80),
                                           (unsigned char)(genuine + 1),
                                           (unsigned char)random_next(&victim->random),
                                           (unsigned char)random_next(&victim->random) };
                size_t count = is_lock(i) ? 3 : COUNT_OF(values);

                for (size_t j = 0; j < count; j++) {
                        if (values[j] == genuine || !is_in_part(i + j, 4))
                                continue;
                        victim->bytes[i] = values[j];
                        say(victim, "byte %zu is %u", i, values[j]);
                        try_it(victim, is_lock(i));
                }
                victim->bytes[i] = genuine;
        }
}

static void fields_one_at_a_time(struct victim *victim)
{
        const uint64_t values[] = { 0,
                                    1,
                                    2,
                                    3,
                                    255,
                                    256,
                                    257,
                                    4095,
                                    4096,
                                    4097,
                                    65536,
                                    victim->size,
                                    victim->size - 4096,
                                    victim->size + 4096,
                                    INT32_MAX,
                                    UINT64_C(1) << 31,
                                    UINT32_MAX,
                                    UINT64_C(1) << 32,
                                    (UINT64_C(1) << 47) + 4096,
                                    INT64_MAX,
                                    UINT64_C(1) << 63,
                                    UINT64_MAX - 4095,
                                    UINT64_MAX };

        for (size_t width = 4; width <= 8; width += 4)
                for (size_t i = 0; i + width <= format_slots(1) && i + width <= victim->head; i += width) {
                        /* What pads is not worth the time. */
                        if (is_all(victim->genuine + i, 0, width) && i > 160 && i < 256)
                                continue;
                        for (size_t j = 0; j < COUNT_OF(values); j++) {
                                if (!is_in_part(i / width + j, 4))
                                        continue;
                                memcpy(victim->bytes + i, &values[j], width);
                                say(victim, "%zu bytes at %zu are %#llx", width, i, (unsigned long long)values[j]);
                                try_it(victim, is_lock(i));
                        }
                        memcpy(victim->bytes + i, victim->genuine + i, width);
                }
}

static void bytes_at_random(struct victim *victim)
{
        for (int round = 0; round < rounds(damage_rounds); round++) {
                uint64_t count = 1 + random_below(&victim->random, 64);
                uint64_t end = random_below(&victim->random, 2) ? 128 : victim->head;

                for (uint64_t i = 0; i < count; i++)
                        victim->bytes[random_below(&victim->random, end)] = (unsigned char)random_next(&victim->random);
                say(victim, "round %d of random damage", round);
                try_it(victim, true);
                restore(victim);
        }
        for (int round = 0; round < rounds(damage_rounds) / 10; round++) {
                /* The head stands, and all that follows is noise. */
                for (size_t i = 128; i < victim->head; i++)
                        victim->bytes[i] = (unsigned char)random_next(&victim->random);
                say(victim, "round %d of noise", round);
                try_it(victim, true);
                restore(victim);
        }
}

static void sizes(struct victim *victim)
{
        uint64_t size = victim->size, data;

        memcpy(&data, victim->genuine + offsetof(struct format_head, data), sizeof(data));
        const uint64_t values[] = { 0,           1,        7,           8,        127,        128,
                                    129,         255,      256,         257,      4095,       4096,
                                    4097,        data - 1, data,        data + 1, data + 100, size - 1,
                                    size - 4096, size + 1, size + 4096, 2 * size, 1 << 30,    UINT64_C(1) << 42 };

        for (size_t i = 0; i < COUNT_OF(values); i++) {
                victim->size = values[i];
                say(victim, "the size is %llu", (unsigned long long)values[i]);
                try_it(victim, false);
        }
        victim->size = size;
}

static void missing_seals(struct victim *victim)
{
        static const int all[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL };
        int genuine = victim->seals;

        if (victim->form >= A_FILE)
                return;
        for (int set = 0; set < 32; set++) {
                victim->seals = 0;
                for (size_t i = 0; i < COUNT_OF(all); i++)
                        if (set & (1 << i))
                                victim->seals |= all[i];
                say(victim, "the seals are %#x", (unsigned)victim->seals);
                try_it(victim, false);
        }
        victim->seals = genuine;
}

static void (*const damages[])(struct victim *victim) = {
        undamaged, bytes_one_at_a_time, fields_one_at_a_time, bytes_at_random, sizes, missing_seals
};

static void victim_body(struct peer *parent, void *argument)
{
        struct victim *victim = argument;
        unsigned before = footprint().descriptors;

        (void)parent;
        for (size_t i = 0; i < COUNT_OF(damages); i++) {
                restore(victim);
                damages[i](victim);
                say(victim, "after damage %zu", i);
                child_must(footprint().descriptors == before);
        }
}

DEFINE_LOOP_TEST("hostile", damaged, 0, FORMS)
{
        struct victim *victim = calloc(1, sizeof(*victim));
        struct peer peer;
        ammap_t *map;
        int status;

        ck_assert_ptr_nonnull(victim);
        victim->form = (enum form)_i;
        victim->board = board_of(sizeof(*victim->board));
        victim->path = path_of("damaged");
        victim->random = random_start("damaged");
        victim->seals = victim->form == MEMORY ? F_SEAL_SHRINK : 0;
        for (int file = 0; file < 2; file++) {
                bool other = file != (victim->form != MEMORY);
                ammap_options_t options = shared_options();
                uint64_t head;
                int fd;

                options.capacity = CAPACITY;
                options.lanes = LANES;
                options.allow_faults = victim->form == A_FILE_OF_WORDS;
                if (file)
                        ck_assert_int_eq(ammap_open(&map, victim->path.text, LENGTH, &options), 0);
                else
                        map = make_with(LENGTH, &options);
                ck_assert_int_eq(ammap_fill(map, 0, LENGTH, 9), 0);
                fd = ammap_fd(map);
                head = data_of(fd) < HEAD_MAX ? data_of(fd) : HEAD_MAX;
                if (!other) {
                        victim->size = (uint64_t)lseek(fd, 0, SEEK_END);
                        victim->head = (size_t)head;
                }
                ck_assert_int_eq(pread(fd, other ? victim->other : victim->genuine, (size_t)head, 0), (ssize_t)head);
                ck_assert_int_eq(ammap_free(map), 0);
        }
        peer_start(&peer, victim_body, victim);
        peer_close(&peer);
        status = peer_status_within(peer.pid, (test_time() * (1 + load_scale()) - 5) * SECOND);
        ck_assert_msg(status != -1, "%s: it hangs", victim->board->text);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: the status is %#x", victim->board->text,
                      (unsigned)status);
        printf("hostile: form %d: %llu damaged maps: %llu refused, %llu worked, %llu waited for a forged owner\n", _i,
               (unsigned long long)atomic_load(&victim->board->imports),
               (unsigned long long)atomic_load(&victim->board->refused),
               (unsigned long long)atomic_load(&victim->board->worked),
               (unsigned long long)atomic_load(&victim->board->waited));
        ck_assert_uint_gt(atomic_load(&victim->board->refused), 0);
        munmap(victim->board, sizeof(*victim->board));
        free(victim);
}

/* --- Changed underway ------------------------------------------------------------------ */

/* Each field of the header, and of the slots, that may change is set to each value,
 * before the calls, and by a peer that goes back and forth between two values while they are made. */
struct sweep {
        ammap_t *map;
        unsigned char *header;
        uint64_t limit;
        struct sweep_board {
                _Atomic bool stop;
                _Atomic uint64_t offset, value, other; /* offset 0: nothing */
                _Atomic uint64_t fields, values, steps, passes;
        } * board;
};

static void flipper_body(struct peer *parent, void *argument)
{
        struct sweep *sweep = argument;

        peer_tell(parent, 'r');
        while (!atomic_load(&sweep->board->stop)) {
                uint64_t offset = atomic_load(&sweep->board->offset);
                _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)(sweep->header + offset);

                if (offset == 0) {
                        sched_yield();
                        continue;
                }
                atomic_store(word, (uint32_t)atomic_load(&sweep->board->value));
                atomic_store(word, (uint32_t)atomic_load(&sweep->board->other));
                atomic_fetch_add(&sweep->board->steps, 2);
        }
}

static void sweep_field(void *argument)
{
        static const uint32_t values[] = {
                0,          1,
                2,          3,
                4,          255,
                4096,       CAPACITY,
                INT32_MAX,  UINT32_C(1) << 31,
                UINT32_MAX, UINT32_C(0x20000001) /* a process's lock word */
        };
        struct sweep *sweep = argument;
        uint64_t offset = atomic_load(&sweep->board->fields), data = sweep->limit;
        _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)(sweep->header + offset);

        for (size_t i = 0; i < COUNT_OF(values); i++) {
                uint32_t genuine = atomic_load(word);
                uint64_t steps = atomic_load(&sweep->board->steps);

                atomic_store(word, values[i]);
                calls_that_return(sweep->map, data);
                atomic_store(&sweep->board->value, values[i]);
                atomic_store(&sweep->board->other, values[(i + 3) % COUNT_OF(values)]);
                atomic_store(&sweep->board->offset, offset);
                while (atomic_load(&sweep->board->steps) == steps)
                        sched_yield();
                calls_that_return(sweep->map, data);
                atomic_store(&sweep->board->offset, 0);
                atomic_store(word, genuine);
                atomic_fetch_add(&sweep->board->values, 1);
                atomic_fetch_add(&sweep->board->passes, 2);
        }
}

struct words {
        uint64_t from, to;
};

/* Where they are: what changes of the head, the first lane's record, that of the
 * length; or the records and the lock words of three slots: another's, that of who makes
 * the calls, and one that nobody has taken. */
static size_t find_words(const unsigned char *header, bool slots, struct words words[6])
{
        const struct format_head *head = (const void *)header;
        uint64_t records = format_slots(head->lanes), pages = format_pages(head->lanes, head->slots, head->page);

        if (!slots) {
                words[0] = (struct words){ offsetof(struct format_head, length), 152 };
                words[1] = (struct words){ 256, 256 + 84 };
                words[2] = (struct words){ records - sizeof(struct format_lane), records };
                return 3;
        }
        for (uint64_t slot = 0; slot < 3; slot++) {
                uint64_t record = records + slot * sizeof(struct format_slot);
                uint64_t lock = pages + (slot + 1) * head->page - head->lock_word;

                words[2 * slot] = (struct words){ record, record + sizeof(struct format_slot) };
                words[2 * slot + 1] = (struct words){ lock, lock + sizeof(uint32_t) };
        }
        return 6;
}

DEFINE_LOOP_TEST("hostile", fields_changed_underway, 0, 2)
{
        struct sweep sweep = { 0 };
        struct words words[6];
        uint64_t data, size, count = 0;
        unsigned char *saved;
        struct peer peer;
        size_t parts;

        sweep.board = board_of(sizeof(*sweep.board));
        sweep.map = make_shared(LENGTH, CAPACITY, LANES);
        data = data_of(ammap_fd(sweep.map));
        size = data + LENGTH;
        sweep.limit = CAPACITY;
        sweep.header = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, ammap_fd(sweep.map), 0);
        ck_assert_ptr_ne(sweep.header, MAP_FAILED);
        ck_assert_int_eq(ammap_fill(sweep.map, 0, LENGTH, 1), 0);
        saved = malloc((size_t)data);
        ck_assert_ptr_nonnull(saved);
        memcpy(saved, sweep.header, (size_t)data);
        parts = find_words(sweep.header, _i == 1, words);
        peer_start(&peer, flipper_body, &sweep);
        peer_expect(&peer, 'r');
        for (size_t part = 0; part < parts; part++)
                for (uint64_t at = words[part].from; at < words[part].to; at += 4) {
                        if (!is_in_part(at / 4, 3))
                                continue;
                        count++;
                        atomic_store(&sweep.board->fields, at);
                        child_passes(sweep_field, &sweep);
                        atomic_store(&sweep.board->offset, 0);
                        memcpy(sweep.header + 128, saved + 128, (size_t)data - 128);
                }
        atomic_store(&sweep.board->stop, true);
        peer_end(&peer);
        printf("hostile: %llu words of %s, %llu values, %llu passes of all calls, %llu changes underway\n",
               (unsigned long long)count, _i ? "slots" : "the head and lanes",
               (unsigned long long)atomic_load(&sweep.board->values),
               (unsigned long long)atomic_load(&sweep.board->passes),
               (unsigned long long)atomic_load(&sweep.board->steps));
        free(saved);
        munmap(sweep.header, (size_t)size);
        ck_assert_int_eq(ammap_free(sweep.map), 0);
        munmap(sweep.board, sizeof(*sweep.board));
}

/* --- Taken away underway --------------------------------------------------------------- */

struct thief {
        const char *path;
        bool raw, punches;
        int fd;
        uint64_t size;
        struct thief_board {
                _Atomic bool stop;
                _Atomic uint64_t done, faults;
        } * board;
        struct random random;
};

/* Cut the file, make it longer again; or put holes in it, which no seal forbids. */
static void thief_body(struct peer *parent, void *argument)
{
        struct thief *thief = argument;

        peer_tell(parent, 'r');
        while (!atomic_load(&thief->board->stop)) {
                off_t size = (off_t)thief->size, at = (off_t)random_below(&thief->random, thief->size);

                if (thief->punches) {
                        fallocate(thief->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
                                  1 + (off_t)random_below(&thief->random, 100000));
                        continue;
                }
                child_must(ftruncate(thief->fd, random_below(&thief->random, 8) ? at : 0) == 0);
                if (random_below(&thief->random, 2))
                        sched_yield();
                child_must(ftruncate(thief->fd, size) == 0);
        }
}

static void robbed_body(struct peer *parent, void *argument)
{
        struct thief *thief = argument;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.share = thief->raw ? AMMAP_RAW : AMMAP_SHARED;
        if (thief->path)
                child_must_int(ammap_open(&map, thief->path, 0, &options), 0);
        else
                child_must_int(ammap_import(&map, thief->fd, &options), 0);
        peer_tell(parent, 'r');
        child_expect(parent, 'g');
        while (!atomic_load(&thief->board->stop)) {
                unsigned char bytes[5000] = { 1 };
                uint64_t offset = random_below(&thief->random, LENGTH - sizeof(bytes));
                int rc = 0;

                switch (random_below(&thief->random, thief->punches ? 4 : 8)) {
                case 0:
                        calls_that_return(map, thief->size);
                        break;
                case 1:
                        rc = op_run(OP_TIMED_MUT_SLICE, map, offset, 64, MS);
                        break;
                case 2:
                        rc = op_run(OP_TRY_SLICE, map, offset, 64, MS);
                        break;
                case 3:
                        if (!thief->punches && random_below(&thief->random, 2)) /* it may wait */
                                check_recovery(map, offset, sizeof(bytes));
                        else
                                rc = ammap_recover(map);
                        break;
                case 4:
                        rc = ammap_read_into(map, offset, bytes, sizeof(bytes));
                        break;
                case 5:
                        rc = ammap_update_region(map, offset, bytes, sizeof(bytes));
                        break;
                case 6:
                        rc = ammap_fill(map, offset, sizeof(bytes), 2);
                        break;
                case 7:
                        rc = ammap_copy(map, 0, map, offset, sizeof(bytes));
                        break;
                }
                child_must(is_code(rc));
                atomic_fetch_add(&thief->board->done, 1);
                if (rc == AMMAP_ERR_FAULT)
                        atomic_fetch_add(&thief->board->faults, 1);
        }
        child_must_int(ammap_free(map), 0);
}

static void rob(struct thief *thief)
{
        struct peer users[2], peer;

        thief->board = board_of(sizeof(*thief->board));
        thief->random = random_start("robbed");
        for (size_t i = 0; i < COUNT_OF(users); i++) {
                random_next(&thief->random);
                peer_start(&users[i], robbed_body, thief);
                peer_expect(&users[i], 'r');
        }
        peer_start(&peer, thief_body, thief);
        peer_expect(&peer, 'r');
        for (size_t i = 0; i < COUNT_OF(users); i++)
                peer_tell(&users[i], 'g');
        while (atomic_load(&thief->board->done) < (uint64_t)rounds_or_all(1500, 30000))
                pause_ms(1);
        atomic_store(&thief->board->stop, true);
        for (size_t i = 0; i < COUNT_OF(users); i++)
                peer_end(&users[i]);
        peer_end(&peer);
        printf("hostile: %llu calls while %s, %llu answered FAULT\n",
               (unsigned long long)atomic_load(&thief->board->done),
               thief->punches ? "holes were punched" : "the file was cut",
               (unsigned long long)atomic_load(&thief->board->faults));
        ck_assert(thief->punches || atomic_load(&thief->board->faults) > 0);
        munmap(thief->board, sizeof(*thief->board));
}

DEFINE_TEST("hostile", files_cut_while_in_use)
{
        for (int raw = 0; raw < 2; raw++) {
                struct path path = path_of("cut");
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                struct thief thief = { path.text, raw, false, -1, 0, NULL, { 0 } };
                ammap_t *map;

                options.share = raw ? AMMAP_RAW : AMMAP_SHARED;
                ck_assert_int_eq(ammap_open(&map, path.text, LENGTH, &options), 0);
                thief.fd = dup(ammap_fd(map));
                thief.size = (uint64_t)lseek(thief.fd, 0, SEEK_END);
                rob(&thief);
                ck_assert_int_eq(ammap_free(map), 0);
                close(thief.fd);
        }
}

DEFINE_TEST("hostile", holes_punched_while_in_use)
{
        ammap_t *map = make_shared(LENGTH, 0, LANES);
        struct thief thief = { NULL, false, true, ammap_fd(map), 0, NULL, { 0 } };

        thief.size = (uint64_t)lseek(thief.fd, 0, SEEK_END);
        rob(&thief);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* --- Memory that there is not ------------------------------------------------------------ */

struct full {
        const char *directory;
        bool refused;
};

/* A file system of 128 KB, and a file there with holes that it has no room for. */
static void full_body(void *argument)
{
        struct full *full = argument;
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        char path[300];
        ammap_t *map;
        int fd, full_at = 0, rc;

        if (!mount_small(full->directory, "128k")) {
                full->refused = true;
                return;
        }
        snprintf(path, sizeof(path), "%s/sparse", full->directory);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        child_must(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
        close(fd);
        options.share = AMMAP_RAW;
        child_must_int(ammap_open(&map, path, 0, &options), 0);
        for (uint64_t at = 0; at < 1 << 20; at += 4096) {
                rc = ammap_update_region(map, at, "x", 1);
                full_at += rc == -ENOSPC;
                child_must(rc == 0 || rc == -ENOSPC);
        }
        child_must(full_at > 0);
        child_must_int(ammap_fill(map, 0, 1 << 20, 1), -ENOSPC);
        child_must_int(ammap_free(map), 0);
        child_must(unlink(path) == 0);

        snprintf(path, sizeof(path), "%s/map", full->directory);
        rc = ammap_open(&map, path, 1 << 20, NULL);
        child_must(rc == 0 || rc == -ENOSPC);
        if (rc == 0) {
                rc = ammap_fill(map, 0, 1 << 20, 1);
                child_must_int(rc, -ENOSPC);
                child_must_int(ammap_free(map), 0);
        }
}

DEFINE_TEST("hostile", a_full_disk)
{
        char directory[250];
        struct full *full = board_of(sizeof(*full));

        snprintf(directory, sizeof(directory), "%s/full", share_directory);
        ck_assert_int_eq(mkdir(directory, 0700), 0);
        full->directory = directory;
        child_passes(full_body, full);
        if (full->refused)
                skip_part(__func__, "no file systems to be mounted here");
        ck_assert_int_eq(rmdir(directory), 0);
        munmap(full, sizeof(*full));
}

/* Huge pages that the system does not have: refused, or a code from copies. */
static void unbacked_body(void *argument)
{
        (void)argument;
        for (int noreserve = 0; noreserve < 2; noreserve++) {
                int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB), rc;
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                unsigned char byte = 1;
                ammap_t *map;

                if (fd < 0) {
                        skip_part(__func__, "no huge pages of memory here");
                        return;
                }
                child_must(ftruncate(fd, (off_t)1 << 40) == 0 || ftruncate(fd, 2 << 20) == 0);
                child_must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
                options.share = AMMAP_RAW;
                options.noreserve = noreserve ? AMMAP_TRY : AMMAP_NO;
                rc = ammap_import(&map, fd, &options);
                child_must(is_code(rc));
                if (rc == 0) {
                        child_must(is_code(ammap_read_into(map, 0, &byte, 1)));
                        child_must(is_code(ammap_update_region(map, 0, &byte, 1)));
                        child_must(is_code(ammap_fill(map, 0, 4096, 1)));
                        child_must_int(ammap_free(map), 0);
                }
                close(fd);
        }
}

DEFINE_TEST("hostile", pages_that_there_are_not)
{
        child_passes(unbacked_body, NULL);
}

#else

DEFINE_TEST("hostile", unsupported)
{
        check_unsupported();
}

#endif

int main(int argc, char **argv)
{
        damage_rounds = (int)stress_of(argc, argv, test_is_long() ? 10000 : 250, 1, "ROUNDS");
        test_time_extra = (unsigned)damage_rounds / 100;
        /* Thousands of files are written and flushed: better to no disk. */
        if (access("/dev/shm", R_OK | W_OK | X_OK) == 0)
                setenv("TMPDIR", "/dev/shm", 0);
        return run_sharing("hostile");
}
