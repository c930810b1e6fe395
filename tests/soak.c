/* soak.c - processes and threads that use maps in every way for a long time, and are killed
 *
 * SPDX-License-Identifier: MIT
 *
 *      soak [SECONDS]      8 processes of 8 threads, for so long; without: 4 of 2, for some kills
 *
 * All share three maps: one in memory, one in a file whose lock is the kernel's, and one in a file that has its
 * lock in it.  Each has words to wait for, too.  Each thread has private maps of its own, too.
 *
 * A record is a sequence, its own number, bytes that follow from both, and a checksum.  Each thread has one
 * record of each map that it alone writes, by copies and by slices, and all read.  What it means to write, and
 * what it has written, stands on a board that is none of the library's: whoever reads a record finds it whole,
 * not older than what was written before he began, nor newer than what anybody had begun to write.  In each
 * lane there is one record that all write, under a mut slice: that is exactly the one on the board.
 *
 * A process that chance picks is killed after some operations of all, and another one takes its place.  Where a
 * writer died, whoever finds that repairs the lane under ammap_recover_as_mut_slice.  The first process is never
 * killed: whether its memory, descriptors and mappings grow is seen there.  It alone
 * changes lengths: who dies within that leaves what only ammap_recover ends, which would give out torn records, too
 * (torture.c does that).
 *
 * It fails at a wrong byte, a code that a call should not have returned, a thread that gets no further for a
 * minute, and growth.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ammap.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAPS = 3, PROCESSES_MAX = 8, THREADS_MAX = 8, WRITERS = PROCESSES_MAX * THREADS_MAX };
enum { LANES = 8, OWNED = WRITERS / LANES, PER_LANE = OWNED + 1, RECORDS = LANES * PER_LANE };
enum { RECORD = 448, LANE = 4096, RECORDS_END = LANES * LANE };
/* After the lanes of records one of words, and one that mostly comes and goes. */
enum { WORDS = RECORDS_END, TAIL_AT = WORDS + LANE, TAIL_LEAST = 128, CAPACITY = TAIL_AT + LANE };
enum { WORD_COUNT = 16, QUICK_KILLS = 30, HANGS = 60 };

static const char *const names[MAPS] = { "memory", "file, byte locks", "file, lock within" };
static int processes = 4, threads = 2;
static time_t hangs = HANGS; /* times AMMAP_TEST_SCALE */

struct record {
        uint64_t sequence, number;
        uint64_t body[RECORD / 8 - 3];
        uint64_t check;
};

_Static_assert(sizeof(struct record) == RECORD && PER_LANE * RECORD <= LANE, "a lane has room for its records");

/* Shared by all, without the library. */
struct board {
        struct {
                _Atomic uint64_t begun, done;
        } record[MAPS][RECORDS];
        _Atomic uint64_t progress[WRITERS];
        _Atomic unsigned doing[WRITERS]; /* the dice of what it is at, and 256 times the map */
        _Atomic uint64_t recoveries, repairs, forks, faults;
        _Atomic bool stop;
};

static struct board *board;
static char paths[MAPS][128];
static int memory_fd;

/* What a thread has. */
struct self {
        unsigned process, number; /* number: of all threads */
        uint64_t chance;
        ammap_t **map;
        ammap_t *own;       /* a private map of its own */
        unsigned char byte; /* ... all of which is this */
};

static void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fault(const char *format, ...)
{
        char text[512];
        va_list list;
        int n = snprintf(text, sizeof text, "FAULT (process %d): ", (int)getpid());

        va_start(list, format);
        vsnprintf(text + n, sizeof text - (size_t)n, format, list);
        va_end(list);
        fprintf(stderr, "%s\n", text);
        atomic_fetch_add(&board->faults, 1);
        atomic_store(&board->stop, true);
}

static uint64_t mix(uint64_t x)
{
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

static uint64_t chance(struct self *self, uint64_t below)
{
        self->chance += UINT64_C(0x9e3779b97f4a7c15);
        return mix(self->chance) % below;
}

/* --- Records --- */

static uint64_t place(unsigned record)
{
        return (uint64_t)(record / PER_LANE) * LANE + record % PER_LANE * RECORD;
}

static unsigned record_of(unsigned writer)
{
        return writer / OWNED * PER_LANE + writer % OWNED;
}

static void fill_record(struct record *record, unsigned number, uint64_t sequence)
{
        uint64_t sum = mix(sequence) ^ number;

        record->sequence = sequence;
        record->number = number;
        for (size_t i = 0; i < sizeof record->body / 8; i++)
                sum += record->body[i] = mix(sequence * RECORDS + number + i * UINT64_C(0x10000000000));
        record->check = sum;
}

static bool is_whole(const struct record *record, unsigned number)
{
        struct record right;

        fill_record(&right, number, record->sequence);
        return memcmp(&right, record, sizeof right) == 0;
}

static void check_record(unsigned map, unsigned number, const struct record *record, uint64_t least, uint64_t most)
{
        if (!is_whole(record, number))
                fault("%s: record %u is torn, sequence %llu", names[map], number, (unsigned long long)record->sequence);
        else if (record->sequence < least || record->sequence > most)
                fault("%s: record %u is %llu, not within %llu and %llu", names[map], number,
                      (unsigned long long)record->sequence, (unsigned long long)least, (unsigned long long)most);
}

/* In two halves, between which others have the processor: so a kill comes there, too. */
static void store_record(unsigned char *to, const struct record *record)
{
        memcpy(to, record, RECORD / 2);
        sched_yield();
        memcpy(to + RECORD / 2, (const unsigned char *)record + RECORD / 2, RECORD / 2);
}

/* A lane whose writer died: what is torn there is written again, as it was to be. */
static void recover(ammap_t *handle, unsigned map, unsigned lane)
{
        ammap_mut_slice_t slice;
        uint64_t length = lane > LANES ? TAIL_LEAST : LANE;
        int rc = ammap_recover_as_mut_slice(handle, (uint64_t)lane * LANE, length, &slice);

        if (rc == AMMAP_ERR_DEADLOCK || rc == AMMAP_ERR_BUSY) /* another thread, by another handle: later, then */
                return;
        if (rc < 0) {
                fault("%s: recover: %s", names[map], ammap_errname(rc));
                return;
        }
        for (unsigned i = 0; rc == 1 && lane < LANES && i < PER_LANE; i++) {
                unsigned number = lane * PER_LANE + i;
                struct record record;

                memcpy(&record, slice.data + i * RECORD, RECORD);
                if (!is_whole(&record, number)) {
                        fill_record(&record, number, atomic_load(&board->record[map][number].begun));
                        memcpy(slice.data + i * RECORD, &record, RECORD);
                        atomic_fetch_add(&board->repairs, 1);
                }
                if (i == OWNED) {
                        atomic_store(&board->record[map][number].begun, record.sequence);
                        atomic_store(&board->record[map][number].done, record.sequence);
                }
        }
        if (rc == 1)
                atomic_fetch_add(&board->recoveries, 1);
        if ((rc = ammap_mut_slice_release(&slice)) < 0)
                fault("%s: release of what was recovered: %s", names[map], ammap_errname(rc));
}

/* Whether a call is to be made again. */
static bool again(ammap_t *handle, unsigned map, unsigned lane, int rc, const char *call)
{
        if (rc == AMMAP_ERR_OWNER_DEAD)
                recover(handle, map, lane);
        else if (rc < 0 && rc != AMMAP_ERR_BUSY && rc != AMMAP_ERR_TIMEOUT && rc != AMMAP_ERR_DEADLOCK)
                fault("%s: %s: %s", names[map], call, ammap_errname(rc));
        return rc < 0 && !atomic_load(&board->stop);
}

static void read_record(ammap_t *handle, unsigned map, unsigned number, bool by_slice, bool detached)
{
        const unsigned lane = number / PER_LANE;
        struct record record;
        ammap_slice_t slice;
        uint64_t least;
        int rc;

        do {
                least = atomic_load(&board->record[map][number].done);
                if (!by_slice) {
                        rc = ammap_read_into(handle, place(number), &record, RECORD);
                        continue;
                }
                rc = ammap_as_slice(handle, place(number), RECORD, &slice);
                if (rc == 0) {
                        if (detached)
                                rc = ammap_slice_detach(&slice);
                        memcpy(&record, slice.data, RECORD);
                        if (ammap_slice_release(&slice) < 0 || rc < 0)
                                fault("%s: detach: %s", names[map], ammap_errname(rc));
                }
        } while (again(handle, map, lane, rc, by_slice ? "as_slice" : "read_into"));
        if (rc == 0)
                check_record(map, number, &record, least, atomic_load(&board->record[map][number].begun));
}

/* The thread's own one. */
static void write_record(struct self *self, unsigned map, bool by_slice)
{
        const unsigned number = record_of(self->number);
        uint64_t sequence = atomic_load(&board->record[map][number].begun) + 1;
        struct record record;
        ammap_mut_slice_t slice;
        int rc;

        fill_record(&record, number, sequence);
        atomic_store(&board->record[map][number].begun, sequence);
        do {
                if (!by_slice) {
                        rc = ammap_update_region(self->map[map], place(number), &record, RECORD);
                        continue;
                }
                rc = ammap_as_mut_slice(self->map[map], place(number), RECORD, &slice);
                if (rc == 0) {
                        store_record(slice.data, &record);
                        if ((sequence & 3) == 0)
                                rc = ammap_mut_slice_detach(&slice);
                        if (ammap_mut_slice_release(&slice) < 0 || rc < 0)
                                fault("%s: detach of a mut slice: %s", names[map], ammap_errname(rc));
                }
        } while (again(self->map[map], map, number / PER_LANE, rc, by_slice ? "as_mut_slice" : "update_region"));
        if (rc == 0)
                atomic_store(&board->record[map][number].done, sequence);
}

/* A lane's common one: one more than it was, exactly. */
static void count_up(struct self *self, unsigned map, unsigned lane)
{
        const unsigned number = lane * PER_LANE + OWNED;
        ammap_mut_slice_t slice;
        int rc;

        do {
                rc = ammap_as_mut_slice(self->map[map], place(number), RECORD, &slice);
        } while (again(self->map[map], map, lane, rc, "as_mut_slice"));
        if (rc == 0) {
                uint64_t done = atomic_load(&board->record[map][number].done);
                struct record record;

                memcpy(&record, slice.data, RECORD);
                check_record(map, number, &record, done, done);
                atomic_store(&board->record[map][number].begun, done + 1);
                fill_record(&record, number, done + 1);
                store_record(slice.data, &record);
                atomic_store(&board->record[map][number].done, done + 1);
                if ((rc = ammap_mut_slice_release(&slice)) < 0)
                        fault("%s: release: %s", names[map], ammap_errname(rc));
        }
}

/* --- All else --- */

static ammap_t *open_map(unsigned map)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *handle;
        int rc;

        options.allow_faults = map > 0;
        rc = map == 0 ? ammap_import(&handle, memory_fd, NULL) : ammap_open(&handle, paths[map], 0, &options);
        if (rc < 0)
                fault("%s: opened again: %s", names[map], ammap_errname(rc));
        return rc < 0 ? NULL : handle;
}

static void use_handle(struct self *self, unsigned map, unsigned number)
{
        ammap_t *handle = open_map(map);
        int rc;

        if (!handle)
                return;
        read_record(handle, map, number, chance(self, 2), false);
        if ((rc = ammap_free(handle)) < 0)
                fault("%s: free: %s", names[map], ammap_errname(rc));
}

/* The child calls nothing but the library, and _exit. */
static void use_fork(unsigned map, unsigned number, ammap_t *handle)
{
        pid_t child = fork();
        int status;

        if (child < 0) {
                if (errno != EAGAIN && errno != ENOMEM)
                        fault("fork: %s", strerror(errno));
                return;
        }
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                read_record(handle, map, number, false, false);
                _exit(0);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (status != 0)
                fault("a forked child ended with %#x", (unsigned)status);
        atomic_fetch_add(&board->forks, 1);
}

/* Bytes at the end come as zeros and go; all that is written there is 0x5a. */
static void use_tail(struct self *self, unsigned map)
{
        uint64_t at = TAIL_AT + chance(self, 2) * chance(self, LANE - 100);
        unsigned char bytes[100];
        int rc;

        switch (chance(self, 3)) {
        case 0:
                if (self->process > 0)
                        return;
                while ((rc = ammap_resize(self->map[map],
                                          TAIL_AT + TAIL_LEAST + chance(self, LANE - TAIL_LEAST + 1))) ==
                               AMMAP_ERR_OWNER_DEAD &&
                       !atomic_load(&board->stop))
                        recover(self->map[map], map, LANES + 1);
                break;
        case 1:
                rc = ammap_fill(self->map[map], at, sizeof bytes, 0x5a);
                break;
        default:
                rc = ammap_read_into(self->map[map], at, bytes, sizeof bytes);
                for (unsigned i = 0; rc == 0 && i < sizeof bytes; i++)
                        if (bytes[i] != 0 && bytes[i] != 0x5a)
                                fault("%s: byte %u of the tail is %u", names[map], i, bytes[i]);
        }
        if (rc == AMMAP_ERR_OWNER_DEAD)
                recover(self->map[map], map, LANES + 1);
        else if (rc < 0 && rc != AMMAP_ERR_BOUNDS && rc != AMMAP_ERR_BUSY && rc != AMMAP_ERR_DEADLOCK)
                fault("%s: the tail: %s", names[map], ammap_errname(rc));
}

/* Some wait for a word, some change it and wake them. */
static void use_word(struct self *self, unsigned map)
{
        const uint64_t offset = WORDS + chance(self, WORD_COUNT) * 4;
        ammap_u32_view_t view;
        uint32_t value;
        int rc = ammap_load_u32(self->map[map], offset, &value);

        if (rc == 0 && chance(self, 2)) {
                rc = ammap_wait_u32(self->map[map], offset, value, 1000000);
                if (rc == AMMAP_ERR_TIMEOUT)
                        rc = 0;
        } else if (rc == 0 && (rc = ammap_atomic_u32(self->map[map], offset, &view)) == 0) {
                atomic_fetch_add(view.value, 1);
                ammap_u32_view_release(&view);
                rc = ammap_wake_u32(self->map[map], offset, (int)chance(self, 3));
        }
        if (rc < 0)
                fault("%s: a word: %s", names[map], ammap_errname(rc));
}

/* A copy at one instant: each record in it is whole. */
static void clone_all(struct self *self, unsigned map)
{
        uint64_t least[RECORDS];
        ammap_t *copy;
        int rc;

        for (unsigned i = 0; i < RECORDS; i++)
                least[i] = atomic_load(&board->record[map][i].done);
        rc = ammap_clone(self->map[map], &copy);
        if (rc == AMMAP_ERR_OWNER_DEAD || rc == AMMAP_ERR_BUSY || rc == AMMAP_ERR_DEADLOCK)
                return;
        if (rc < 0) {
                fault("%s: clone: %s", names[map], ammap_errname(rc));
                return;
        }
        for (unsigned i = 0; i < RECORDS; i++) {
                struct record record;

                if ((rc = ammap_read_into(copy, place(i), &record, RECORD)) < 0)
                        fault("%s: of the clone: %s", names[map], ammap_errname(rc));
                else
                        check_record(map, i, &record, least[i], atomic_load(&board->record[map][i].begun));
        }
        if ((rc = ammap_free(copy)) < 0)
                fault("%s: free the clone: %s", names[map], ammap_errname(rc));
}

/* --- The thread's own map --- */

static void check_own(const struct self *self, ammap_t *map, const char *what)
{
        unsigned char bytes[4096];
        const uint64_t length = ammap_len(map);

        for (uint64_t at = 0; at < length; at += sizeof bytes) {
                size_t n = length - at < sizeof bytes ? (size_t)(length - at) : sizeof bytes;
                int rc = ammap_read_into(map, at, bytes, n);

                if (rc < 0)
                        fault("%s: %s", what, ammap_errname(rc));
                for (size_t i = 0; rc == 0 && i < n; i++)
                        if (bytes[i] != self->byte) {
                                fault("%s: byte %llu is %u, not %u", what, (unsigned long long)(at + i), bytes[i],
                                      self->byte);
                                return;
                        }
        }
}

static void use_own(struct self *self)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        uint64_t length;
        ammap_t *copy;
        int rc = 0;

        if (!self->own) {
                options.capacity = 1 << 18;
                options.lanes = 1 + chance(self, 4);
                options.guard = chance(self, 2) ? AMMAP_TRY : AMMAP_NO;
                options.recycle = chance(self, 2) ? AMMAP_TRY : AMMAP_NO;
                self->byte = 0;
                if ((rc = ammap_new_with(&self->own, 1 + chance(self, 1 << 18), &options)) < 0)
                        fault("new: %s", ammap_errname(rc));
                return;
        }
        switch (chance(self, 6)) {
        case 0:
                check_own(self, self->own, "a private map");
                break;
        case 1:
                self->byte = (unsigned char)chance(self, 256);
                rc = ammap_fill(self->own, 0, ammap_len(self->own), self->byte);
                break;
        case 2:
                length = ammap_len(self->own);
                rc = ammap_resize(self->own, 1 + chance(self, 1 << 18));
                if (rc == 0 && ammap_len(self->own) > length)
                        rc = ammap_fill(self->own, length, ammap_len(self->own) - length, self->byte);
                break;
        case 3:
                if ((rc = ammap_clone(self->own, &copy)) == 0) {
                        check_own(self, copy, "a clone");
                        rc = ammap_free(copy);
                }
                break;
        case 4:
                if ((rc = ammap_freeze(self->own)) == 0) {
                        if (ammap_fill(self->own, 0, 1, 0) != AMMAP_ERR_READ_ONLY)
                                fault("a frozen map is written");
                        check_own(self, self->own, "a frozen map");
                        rc = ammap_free(self->own);
                        self->own = NULL;
                }
                break;
        default:
                rc = ammap_free(self->own);
                self->own = NULL;
        }
        if (rc < 0)
                fault("a private map: %s", ammap_errname(rc));
}

/* --- Threads and processes --- */

static void *work(void *argument)
{
        struct self *self = argument;

        /* What one before left: it may have died before its record was written, or after. */
        for (unsigned map = 0; map < MAPS; map++)
                write_record(self, map, false);
        while (!atomic_load(&board->stop)) {
                const unsigned map = (unsigned)chance(self, MAPS), writer = (unsigned)chance(self, WRITERS);
                const unsigned record = record_of(writer), dice = (unsigned)chance(self, 200);

                atomic_store(&board->doing[self->number], map << 8 | dice);
                if (dice < 60)
                        read_record(self->map[map], map, record, false, false);
                else if (dice < 95)
                        read_record(self->map[map], map, record, true, dice < 65);
                else if (dice < 130)
                        write_record(self, map, dice & 1);
                else if (dice < 160)
                        count_up(self, map, (unsigned)chance(self, LANES));
                else if (dice < 185)
                        use_own(self);
                else if (dice < 192)
                        use_tail(self, map);
                else if (dice < 195)
                        use_word(self, map);
                else if (dice < 197)
                        use_handle(self, map, record);
                else if (dice < 198)
                        clone_all(self, map);
                else if (chance(self, 4) == 0)
                        use_fork(map, record, self->map[map]);
                atomic_fetch_add(&board->progress[self->number], 1);
        }
        if (self->own)
                ammap_free(self->own);
        return NULL;
}

static void be_process(unsigned process, uint64_t seed)
{
        static struct self self[THREADS_MAX];
        static pthread_t thread[THREADS_MAX];
        ammap_t *map[MAPS];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; i < MAPS; i++)
                if (!(map[i] = open_map(i)))
                        _exit(1);
        for (int i = 0; i < threads; i++) {
                self[i].process = process;
                self[i].number = process * THREADS_MAX + (unsigned)i;
                self[i].chance = mix(seed * WRITERS + self[i].number);
                self[i].map = map;
                if (pthread_create(&thread[i], NULL, work, &self[i]) != 0)
                        fault("no thread");
        }
        for (int i = 0; i < threads; i++)
                pthread_join(thread[i], NULL);
        for (unsigned i = 0; i < MAPS; i++)
                if (ammap_free(map[i]) < 0)
                        fault("%s: free at the end", names[i]);
        _exit(0);
}

/* --- The supervisor --- */

struct usage {
        long rss, descriptors, mappings; /* rss in KiB */
};

static struct usage look(pid_t process)
{
        struct usage usage = { 0, 0, 0 };
        char path[64], line[512];
        FILE *file;
        DIR *folder;

        snprintf(path, sizeof path, "/proc/%d/statm", (int)process);
        if ((file = fopen(path, "r"))) {
                if (fscanf(file, "%*d %ld", &usage.rss) == 1)
                        usage.rss *= sysconf(_SC_PAGESIZE) / 1024;
                fclose(file);
        }
        snprintf(path, sizeof path, "/proc/%d/maps", (int)process);
        if ((file = fopen(path, "r"))) {
                while (fgets(line, sizeof line, file))
                        usage.mappings += strchr(line, '\n') != NULL;
                fclose(file);
        }
        snprintf(path, sizeof path, "/proc/%d/fd", (int)process);
        if ((folder = opendir(path))) {
                while (readdir(folder))
                        usage.descriptors++;
                closedir(folder);
        }
        return usage;
}

static int compare(const void *a, const void *b)
{
        const long *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static long median(const struct usage *usage, size_t field)
{
        long value[PROCESSES_MAX];

        for (int i = 0; i < processes; i++)
                memcpy(&value[i], (const char *)&usage[i] + field, sizeof value[i]);
        qsort(value, (size_t)processes, sizeof value[0], compare);
        return value[processes / 2];
}

static void most(struct usage *so_far, struct usage now)
{
        if (now.rss > so_far->rss)
                so_far->rss = now.rss;
        if (now.descriptors > so_far->descriptors)
                so_far->descriptors = now.descriptors;
        if (now.mappings > so_far->mappings)
                so_far->mappings = now.mappings;
}

static pid_t start(unsigned process, uint64_t seed)
{
        pid_t child;

        fflush(NULL);
        if ((child = fork()) == 0)
                be_process(process, seed);
        if (child < 0)
                fault("fork: %s", strerror(errno));
        return child;
}

static uint64_t operations(void)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < WRITERS; i++)
                sum += atomic_load(&board->progress[i]);
        return sum;
}

/* A thread that lives and gets no further, while the others do much; or all of them.  Where the machine has other
 * work, a minute alone tells nothing. */
static void look_for_hangs(time_t now)
{
        static uint64_t last[WRITERS];
        static time_t since[WRITERS];
        static uint64_t by_all[WRITERS];
        const uint64_t all = operations(), many = 1000 * (uint64_t)(processes * threads);

        for (int p = 0; p < processes; p++)
                for (int t = 0; t < threads; t++) {
                        const int i = p * THREADS_MAX + t;
                        const uint64_t progress = atomic_load(&board->progress[i]);

                        if (progress != last[i] || since[i] == 0) {
                                last[i] = progress;
                                since[i] = now;
                                by_all[i] = all;
                        } else if (now - since[i] > hangs * (all - by_all[i] >= many ? 1 : 10)) {
                                fault("thread %d of process %d gets no further: %#x of %llu operations", t, p,
                                      atomic_load(&board->doing[i]), (unsigned long long)progress);
                                return;
                        }
                }
}

static ammap_t *make_maps(const char *folder)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *first = NULL;

        options.capacity = CAPACITY;
        options.lanes = LANES + 2;
        for (unsigned m = 0; m < MAPS; m++) {
                ammap_t *map;
                int rc;

                options.share = AMMAP_SHARED;
                options.allow_faults = m == 2;
                snprintf(paths[m], sizeof paths[m], "%s/map-%u", folder, m);
                rc = m == 0 ? ammap_new_with(&map, CAPACITY, &options) : ammap_open(&map, paths[m], CAPACITY, &options);
                if (rc < 0) {
                        fault("%s: made: %s", names[m], ammap_errname(rc));
                        return NULL;
                }
                for (unsigned i = 0; i < RECORDS; i++) {
                        struct record record;

                        fill_record(&record, i, 0);
                        if (ammap_update_region(map, place(i), &record, RECORD) < 0)
                                fault("%s: filled", names[m]);
                }
                if (m == 0 && (rc = ammap_export(map, AMMAP_READ | AMMAP_WRITE, &memory_fd)) < 0)
                        fault("%s: export: %s", names[m], ammap_errname(rc));
                if (m == 0)
                        first = map;
                else
                        ammap_free(map);
        }
        return first;
}

/* Nothing but noise: what threads have at the moment of a look differs by maps of their own. */
static void judge(const char *what, long first, long last, long noise)
{
        printf("%-12s of the process that was never killed: at most %ld at first, %ld at last\n", what, first, last);
        if (last > first + first / 10 + noise)
                fault("%s grew", what);
}

int main(int argc, char **argv)
{
        const long seconds = argc > 1 ? atol(argv[1]) : 0;
        const time_t begin = time(NULL);
        char folder[] = "soak.XXXXXX";
        struct usage usage[PROCESSES_MAX], first = { 0, 0, 0 }, last = { 0, 0, 0 };
        pid_t process[PROCESSES_MAX];
        uint64_t chance_state = (uint64_t)begin, kills = 0, next_kill = 0, starts = 0;
        time_t printed = begin, looked = 0;
        ammap_t *map;

        if (getenv("AMMAP_TEST_SCALE") && atol(getenv("AMMAP_TEST_SCALE")) > 0)
                hangs *= atol(getenv("AMMAP_TEST_SCALE"));
        if (seconds > 0)
                processes = PROCESSES_MAX, threads = THREADS_MAX;
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED || !mkdtemp(folder) || !(map = make_maps(folder)))
                return 1;
        printf("seed %llu, %d processes of %d threads\n", (unsigned long long)chance_state, processes, threads);
        for (unsigned i = 0; i < (unsigned)processes; i++)
                process[i] = start(i, chance_state + starts++);
        while (!atomic_load(&board->stop)) {
                const struct timespec pause = { 0, 2000000 };
                const time_t now = time(NULL);
                siginfo_t ended = { .si_pid = 0 };

                nanosleep(&pause, NULL);
                look_for_hangs(now);
                if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0 &&
                    !atomic_load(&board->stop))
                        fault("process %d ended by itself: %d", (int)ended.si_pid, ended.si_status);
                if (operations() >= next_kill) {
                        const uint64_t dice = mix(++chance_state);
                        const unsigned victim = 1 + (unsigned)(dice % (uint64_t)(processes - 1));

                        if (next_kill > 0) {
                                kill(process[victim], SIGKILL);
                                waitpid(process[victim], NULL, 0);
                                process[victim] = start(victim, (uint64_t)begin + starts++);
                                kills++;
                        }
                        next_kill = operations() + 200 + mix(dice) % (seconds > 0 ? 20000 : 1000);
                }
                if (now > looked) {
                        looked = now;
                        for (int i = 0; i < processes; i++)
                                usage[i] = look(process[i]);
                        if (now - begin > 5 && now - begin <= (seconds < 3600 ? seconds / 3 : 600))
                                most(&first, usage[0]);
                        else if (now - begin > seconds - (seconds < 3600 ? seconds / 3 : 600))
                                most(&last, usage[0]);
                }
                if (now - printed >= 60) {
                        struct usage top = { 0, 0, 0 };

                        printed = now;
                        for (int i = 0; i < processes; i++)
                                most(&top, usage[i]);
                        printf("%5ld s: %llu operations, %llu kills, %llu recoveries, %llu repairs, %llu forks; "
                               "median/most: RSS %ld/%ld KiB, descriptors %ld/%ld, mappings %ld/%ld\n",
                               (long)(now - begin), (unsigned long long)operations(), (unsigned long long)kills,
                               (unsigned long long)atomic_load(&board->recoveries),
                               (unsigned long long)atomic_load(&board->repairs),
                               (unsigned long long)atomic_load(&board->forks),
                               median(usage, offsetof(struct usage, rss)), top.rss,
                               median(usage, offsetof(struct usage, descriptors)), top.descriptors,
                               median(usage, offsetof(struct usage, mappings)), top.mappings);
                        fflush(stdout);
                }
                if (seconds > 0 ? now - begin >= seconds : kills >= QUICK_KILLS)
                        atomic_store(&board->stop, true);
        }
        if (atomic_load(&board->faults) > 0)
                for (int i = 0; i < processes; i++)
                        kill(process[i], SIGKILL);
        for (int i = 0; i < processes; i++) {
                int status = 0;

                waitpid(process[i], &status, 0);
                if (status != 0 && atomic_load(&board->faults) == 0)
                        fault("process %d ended with %#x", i, (unsigned)status);
        }
        for (unsigned m = 1; m < MAPS; m++)
                unlink(paths[m]);
        rmdir(folder);
        ammap_free(map);
        if (seconds >= 60) {
                judge("RSS (KiB)", first.rss, last.rss, 2048);
                judge("descriptors", first.descriptors, last.descriptors, 8);
                judge("mappings", first.mappings, last.mappings, 32);
        }
        printf("%llu operations, %llu kills, %llu recoveries, %llu repairs, %llu forks: %llu faults\n",
               (unsigned long long)operations(), (unsigned long long)kills,
               (unsigned long long)atomic_load(&board->recoveries), (unsigned long long)atomic_load(&board->repairs),
               (unsigned long long)atomic_load(&board->forks), (unsigned long long)atomic_load(&board->faults));
        return atomic_load(&board->faults) > 0;
}
