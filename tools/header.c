/* header.c - the header of a map, as whoever may read the file sees it
 *
 * SPDX-License-Identifier: MIT
 *
 * Why this does not go by ammap_import and ammap_holders, which tell much of it: they take part.
 * A file is opened under the lock of a byte, for which they wait up to ten seconds, and with
 * slots a second byte stays locked, by which others see that the file is in use.  And to read
 * a page of memory that was never touched, through a mapping, makes it: it is charged to the
 * target.  pread does none of that, and what is cut off is a short read and no SIGBUS.  So the
 * program needs the layout alone (memory/format.h, lock/slot.h), and not the library.
 *
 * What is read is a copy, and changes meanwhile; and whoever can write it may have forged it.
 * Its numbers are checked once, as header.c of the library does; what changes is cut to what
 * can be; all sizes are bounded by 4,096 lanes and 4,095 slots.
 *
 * Lanes are read before the slots and after them, as shared_is_dead does: a sequence only grows,
 * so one that is odd and the same each time has had one writer all the while, and who was owner
 * in between, and whether he lived, goes together.
 */
#include "header.h"

#include "lock/read_set.h"
#include "locks.h"
#include "memory/format.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        PAGE_MAX = 1 << 24,
        HOLDERS_MAX = 8192, /* honest ones are never so many: half of the lanes, or nine a slot */
        NAMES_MAX = 1024,
};

struct looking {
        int fd;
        struct stat stat;
        struct picture *picture;
        const struct format_head *head;
        struct format_lane *before, *lane;
        struct format_slot *slot; /* slots_used of them */
        bool *lives;
        unsigned char *state; /* of each lane, 1 + enum holding; 0: free */
};

static bool read_all(int fd, void *buffer, size_t size, uint64_t offset)
{
        unsigned char *at = buffer;

        while (size > 0) {
                ssize_t n = pread(fd, at, size, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                at += n;
                offset += (uint64_t)n;
                size -= (size_t)n;
        }
        return true;
}

/* --- Who lives --- */

/* A process may be hidden from this one, and live. */
static bool thread_lives(uint32_t pid, uint32_t tid)
{
        struct thread thread;

        if (proc_thread(pid, tid, &thread) != 0)
                return true;
        return proc_thread(pid, 0, &thread) == 0 && thread.state == '\0' &&
               !(kill((pid_t)pid, 0) < 0 && errno == ESRCH);
}

/* F_OFD_GETLK changes nothing, and wants no right to write. */
static bool is_locked(int fd, uint64_t byte, short type, bool *write)
{
        struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1 };

        if (fcntl(fd, F_OFD_GETLK, &range) < 0 || range.l_type == F_UNLCK)
                return false;
        *write = range.l_type == F_WRLCK;
        return true;
}

static bool slot_is_alive(const struct looking *looking, uint32_t index)
{
        const struct format_head *head = looking->head;
        const struct format_slot *slot = &looking->slot[index];
        const uint64_t offset = format_pages(head->lanes, head->slots, head->page) +
                                (index + UINT64_C(1)) * head->page - head->lock_word;
        uint32_t word, pid = atomic_load(&slot->process), tid = atomic_load(&slot->thread);
        bool write;

        if (looking->picture->old_run || !read_all(looking->fd, &word, sizeof word, offset) ||
            (word & FORMAT_WORD_DIED) || !(word & FORMAT_WORD_THREAD) || (word & FORMAT_WORD_THREAD) != tid)
                return false;
        if (word & FORMAT_WORD_PROCESS)
                return is_locked(looking->fd, offset, F_RDLCK, &write);
        return !looking->picture->pids_known || pid > INT32_MAX || thread_lives(pid, tid);
}

/* The index of the slot that an owner is, or slots: none that counts. */
static uint32_t slot_of(const struct looking *looking, uint64_t owner)
{
        const uint64_t id = owner & OWNER_ID;
        const uint32_t index = (uint32_t)(id >> 2 & ((UINT64_C(1) << OWNER_INDEX_BITS) - 1)) - 1;

        if (!id || index >= looking->picture->slots_used ||
            (atomic_load(&looking->slot[index].generation) & OWNER_GENERATIONS) != id >> (2 + OWNER_INDEX_BITS))
                return looking->picture->slots_max;
        return index;
}

/* --- Who holds what --- */

static void add(struct looking *looking, struct holder holder)
{
        static const unsigned char rank[] = { [HOLD_READS] = 0, [HOLD_WAITS] = 1, [HOLD_WRITES] = 2, [HOLD_DIED] = 3 };

        if (holder.pid > INT32_MAX || holder.tid > INT32_MAX || holder.pid == 0)
                holder.pid = holder.tid = 0;
        if (looking->picture->holder_count == HOLDERS_MAX || !picture_add(looking->picture, &holder))
                looking->picture->problem = "not all are told who hold it";
        for (uint32_t lane = holder.first; lane <= holder.last; lane++) {
                unsigned char *state = &looking->state[lane];

                if (!*state || rank[*state - 1] < rank[holder.hold])
                        *state = (unsigned char)(1 + holder.hold);
        }
}

static struct holder by_slot(const struct looking *looking, uint32_t index, enum holding hold)
{
        const uint32_t tid = atomic_load(&looking->slot[index].thread);

        return (struct holder){ .pid = atomic_load(&looking->slot[index].process),
                                .tid = tid & FORMAT_WORD_PROCESS ? 0 : tid,
                                .hold = hold };
}

static bool is_odd(const struct format_lane *lane)
{
        return atomic_load(&lane->sequence) & 1;
}

/* Of a copy that is on its way out, or finds a writer, nobody is told. */
static void add_readers(struct looking *looking, uint32_t index)
{
        for (unsigned i = 0; i < FORMAT_PLACES; i++) {
                const uint32_t set = atomic_load(&looking->slot[index].read_set[i]);
                struct lane_range lanes = read_set_lanes(set);
                struct holder holder = by_slot(looking, index, HOLD_READS);
                bool in = (set & SET_HELD) && lanes.first < looking->picture->lanes;

                if (lanes.last >= looking->picture->lanes)
                        lanes.last = looking->picture->lanes - 1;
                for (uint32_t lane = lanes.first; in && lane <= lanes.last && !(set & SET_SLICE); lane++)
                        in = !is_odd(&looking->lane[lane]);
                holder.first = lanes.first;
                holder.last = lanes.last;
                holder.slice = set & SET_SLICE;
                if (in)
                        add(looking, holder);
        }
}

static bool is_same_sequence(const struct looking *looking, uint32_t lane)
{
        uint64_t again = 0;

        return read_all(looking->fd, &again, sizeof again,
                        sizeof(struct format_head) + (uint64_t)lane * sizeof(struct format_lane)) &&
               again == atomic_load(&looking->before[lane].sequence);
}

static void add_dead(struct looking *looking, uint32_t lane, uint32_t index)
{
        const struct format_lane *record = &looking->lane[lane];
        struct holder holder = { .pid = atomic_load(&record->dead_process), .tid = atomic_load(&record->dead_thread) };

        if (!is_odd(&looking->before[lane]) || !is_same_sequence(looking, lane))
                return;
        if (index < looking->picture->slots_used)
                holder = by_slot(looking, index, HOLD_DIED);
        holder.hold = HOLD_DIED;
        holder.first = holder.last = lane;
        add(looking, holder);
}

/* An owner whose sequence is even waits for those who read; or has just come, or is about to
 * leave. */
static void add_writer(struct looking *looking, uint32_t lane)
{
        const struct format_lane *record = &looking->lane[lane];
        const uint32_t index = slot_of(looking, atomic_load(&record->owner));
        const uint32_t next = slot_of(looking, atomic_load(&record->next));
        const bool alive = index < looking->picture->slots_used && looking->lives[index];
        struct holder holder;

        if (alive) {
                holder = by_slot(looking, index,
                                 !is_odd(record) && looking->state[lane] == 1 + HOLD_READS ? HOLD_WAITS : HOLD_WRITES);
                holder.first = holder.last = lane;
                add(looking, holder);
        } else if (is_odd(record)) {
                add_dead(looking, lane, index);
        }
        if (next < looking->picture->slots_used && looking->lives[next] && next != index) {
                holder = by_slot(looking, next, HOLD_WAITS);
                holder.first = holder.last = lane;
                add(looking, holder);
        }
}

static void note_busy(struct looking *looking)
{
        struct picture *picture = looking->picture;
        size_t count = 0;

        for (uint32_t lane = 0; lane <= picture->lanes; lane++)
                count += looking->state[lane] != 0;
        picture->busy = count ? calloc(count, sizeof *picture->busy) : NULL;
        for (uint32_t lane = 0; lane <= picture->lanes && picture->busy; lane++)
                if (looking->state[lane])
                        picture->busy[picture->busy_count++] =
                                (struct busy){ .lane = lane,
                                               .hold = (enum holding)(looking->state[lane] - 1),
                                               .waiters = atomic_load(&looking->lane[lane].owner) & OWNER_WAITERS,
                                               .sequence = atomic_load(&looking->lane[lane].sequence) };
}

/* --- Where the lock is in the header --- */

static bool look_at_slots(struct looking *looking)
{
        const struct format_head *head = looking->head;
        const uint32_t used = looking->picture->slots_used;

        looking->slot = aligned_alloc(_Alignof(struct format_slot), (used + 1) * sizeof *looking->slot);
        looking->lives = calloc(used + 1, sizeof *looking->lives);
        if (!looking->slot || !looking->lives ||
            !read_all(looking->fd, looking->slot, used * sizeof *looking->slot, format_slots(head->lanes)))
                return false;
        looking->picture->slots = 0;
        for (uint32_t index = 0; index < used; index++) {
                looking->lives[index] = slot_is_alive(looking, index);
                looking->picture->slots += looking->lives[index];
        }
        return true;
}

/* Where the map is frozen, what its lanes say does not count. */
static void look_at_shared(struct looking *looking)
{
        for (uint32_t index = 0; index < looking->picture->slots_used; index++)
                if (looking->lives[index])
                        add_readers(looking, index);
        for (uint32_t lane = 0; lane <= looking->picture->lanes && !looking->picture->frozen; lane++)
                add_writer(looking, lane);
}

/* --- Where it is the kernel's --- */

static void add_locked(uint32_t pid, bool write, uint64_t first, uint64_t last, void *context)
{
        struct looking *looking = context;
        const uint64_t base = first >= FILE_QUEUES ? FILE_QUEUES : FILE_LANES, lanes = looking->picture->lanes;
        struct holder holder = { .pid = pid, .hold = write ? HOLD_WRITES : HOLD_READS };

        if (base == FILE_QUEUES)
                holder.hold = HOLD_WAITS;
        if (last < base || first > base + lanes || (base == FILE_QUEUES && !write))
                return;
        holder.first = first > base ? (uint32_t)(first - base) : 0;
        holder.last = last - base < lanes ? (uint32_t)(last - base) : (uint32_t)lanes;
        add(looking, holder);
}

static void look_at_locked(struct looking *looking)
{
        bool write;

        if (looking->picture->frozen)
                return;
        locks_each(looking->stat.st_dev, looking->stat.st_ino, add_locked, looking);
        for (uint32_t lane = 0; lane <= looking->picture->lanes; lane++) {
                if (looking->state[lane] && looking->state[lane] != 1 + HOLD_WAITS)
                        continue;
                if (is_locked(looking->fd, FILE_LANES + lane, F_WRLCK, &write))
                        add_locked(0, write, FILE_LANES + lane, FILE_LANES + lane, looking);
                else if (is_odd(&looking->lane[lane]))
                        add_dead(looking, lane, UINT32_MAX);
        }
}

/* --- The head --- */

static const char *what_is_wrong(const struct format_head *head, uint64_t size)
{
        if (head->version == 0)
                return "it is being made, or who made it died";
        if (head->order != FORMAT_ORDER)
                return "it is of a machine of another byte order";
        if (head->version != FORMAT_VERSION)
                return "it is of a version that this program does not know";
        if (head->lanes == 0 || head->lanes > AMMAP_LANES_MAX || head->lanes > head->capacity ||
            head->capacity >> 48 != 0 || head->slots > FORMAT_SLOTS_MAX || head->page < sizeof(struct format_lane) ||
            head->page > PAGE_MAX || (head->page & (head->page - 1)) != 0 || !format_data_is_right(head) ||
            (head->slots ? head->lock_word < sizeof(uint32_t) || head->lock_word > head->page : head->lock_word != 0))
                return "its header has numbers that cannot be";
        return size < head->data ? "it has been cut" : NULL;
}

static void look_at_head(struct picture *picture, const struct format_head *head, uint64_t size)
{
        static const unsigned char unknown[sizeof head->boot] = { 0 };
        const uint64_t room = size - head->data;
        unsigned char boot[sizeof head->boot];

        proc_boot(boot);
        picture->kind = head->slots ? MAP_SHARED : MAP_FILE;
        picture->capacity = head->capacity;
        picture->length = atomic_load(&head->length);
        if (picture->length > head->capacity || picture->length > room) {
                picture->length = room < head->capacity ? room : head->capacity;
                picture->problem = "it is shorter than its header says";
        }
        picture->frozen = atomic_load(&head->frozen) != 0;
        picture->generation = atomic_load(&head->generation);
        picture->lanes = head->lanes;
        picture->lane_size = (head->capacity + head->lanes - 1) / head->lanes;
        picture->slots_max = head->slots;
        picture->slots_used = atomic_load(&head->slots_used);
        if (picture->slots_used > head->slots)
                picture->slots_used = head->slots;
        picture->old_run = head->slots && memcmp(head->boot, unknown, sizeof boot) != 0 &&
                           memcmp(boot, unknown, sizeof boot) != 0 && memcmp(boot, head->boot, sizeof boot) != 0;
        if (head->slots)
                picture->pid_space = head->pid_space;
        picture->pids_known = !head->slots || (head->pid_space && head->pid_space == proc_pid_space());
}

static bool look_at_lanes(struct looking *looking)
{
        const size_t size = ((size_t)looking->head->lanes + 1) * sizeof *looking->lane;
        bool done;

        looking->before = aligned_alloc(_Alignof(struct format_lane), size);
        looking->lane = aligned_alloc(_Alignof(struct format_lane), size);
        looking->state = calloc(looking->head->lanes + 1U, 1);
        done = looking->before && looking->lane && looking->state &&
               read_all(looking->fd, looking->before, size, sizeof(struct format_head)) && look_at_slots(looking) &&
               read_all(looking->fd, looking->lane, size, sizeof(struct format_head));
        if (done) {
                if (looking->head->slots)
                        look_at_shared(looking);
                else
                        look_at_locked(looking);
                note_busy(looking);
        }
        free(looking->before);
        free(looking->lane);
        free(looking->state);
        free(looking->slot);
        free(looking->lives);
        return done;
}

static void name_threads(struct picture *picture)
{
        for (size_t i = 0; i < picture->holder_count && i < NAMES_MAX && picture->pids_known; i++) {
                struct holder *holder = &picture->holders[i];

                if (holder->pid && holder->hold != HOLD_DIED)
                        (void)proc_thread(holder->pid, holder->tid, &holder->thread);
        }
}

void header_look(int fd, struct picture *picture)
{
        struct format_head head;
        struct looking looking = { .fd = fd, .picture = picture, .head = &head };

        if (fstat(fd, &looking.stat) < 0) {
                picture->problem = "it cannot be looked at";
                return;
        }
        picture->inode = looking.stat.st_ino;
        picture->allocated = (uint64_t)looking.stat.st_blocks * 512;
        picture->seals = fcntl(fd, F_GET_SEALS);
        picture->length = (uint64_t)looking.stat.st_size;
        if (!read_all(fd, &head, sizeof head, 0) || memcmp(head.magic, FORMAT_MAGIC, sizeof head.magic) != 0)
                return;
        picture->kind = MAP_DAMAGED;
        picture->problem = what_is_wrong(&head, (uint64_t)looking.stat.st_size);
        if (picture->problem)
                return;
        look_at_head(picture, &head, (uint64_t)looking.stat.st_size);
        if (!look_at_lanes(&looking))
                picture->problem = "it was cut, or there is no memory to look at it";
        picture_merge(picture);
        name_threads(picture);
}
