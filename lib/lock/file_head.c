/* file_head.c - a map's file, and the header that stands in it
 *
 * SPDX-License-Identifier: MIT
 */
#include "lock/file_head.h"

#include "lock/waiter.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int result_of(int rc)
{
        return rc == -EFAULT ? AMMAP_ERR_FAULT : rc;
}

int file_peek(const struct file *file, uint64_t offset, void *bytes, size_t size)
{
        return result_of(os_peek(bytes, file->head + offset, size));
}

int file_poke(const struct file *file, uint64_t offset, const void *bytes, size_t size)
{
        size_t done;

        return result_of(os_poke(file->head + offset, bytes, size, &done));
}

bool file_may_pass(int rc, unsigned tries)
{
        enum { TRIES = 20, NAP = 100000 /* ns */ };

        if (rc == 0 || rc == AMMAP_ERR_FAULT || tries == TRIES)
                return false;
        waiter_nap(NAP);
        return true;
}

bool file_is_same(const struct file *file)
{
        unsigned char identity[sizeof file->identity];
        int rc;

        for (unsigned tries = 0;; tries++) {
                rc = file_peek(file, offsetof(struct format_head, identity), identity, sizeof identity);
                if (!file_may_pass(rc, tries))
                        break;
        }
        return rc == 0 ? memcmp(identity, file->identity, sizeof identity) == 0 : rc != AMMAP_ERR_FAULT;
}

static uint64_t sequence_of(uint64_t record)
{
        return sizeof(struct format_head) + record * sizeof(struct format_lane) +
               offsetof(struct format_lane, sequence);
}

int file_read_sequence(const struct file *file, uint64_t record, uint64_t *sequence)
{
        return file_peek(file, sequence_of(record), sequence, sizeof *sequence);
}

/* The low half, which the kernel looks at for those who sleep: it raises no signal. */
static const _Atomic uint32_t *sequence_word(const struct file *file, uint64_t record)
{
        const unsigned char *word = file->head + sequence_of(record);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word += sizeof(uint32_t);
#endif
        return (const _Atomic uint32_t *)(const void *)word;
}

void file_wake_sequence(const struct file *file, uint64_t record)
{
        os_wake_shared(sequence_word(file, record), INT32_MAX);
}

int file_write_sequence(const struct file *file, uint64_t record, uint64_t sequence)
{
        int rc;

        os_fence_full(); /* both with who reads without a lock: an odd one before the bytes, an even one after */
        rc = file_poke(file, sequence_of(record), &sequence, sizeof sequence);
        os_fence_full();
        if (rc == 0 && !(sequence & 1))
                file_wake_sequence(file, record);
        return rc;
}

/* Records of lanes in a row, as they stand in the file, some at a time: one call of the kernel's
 * for many costs less than one for each, even with all that lies between the sequences. */
enum { RECORD = sizeof(struct format_lane) / sizeof(uint64_t), FEW_RECORDS = 2, MANY_RECORDS = 512 };
_Static_assert(offsetof(struct format_lane, sequence) == 0, "a record begins with it");

struct records {
        uint64_t *words;
        uint64_t room;      /* for so many records */
        uint64_t at, count; /* those that words are of */
        uint64_t end;
        uint64_t few[FEW_RECORDS * RECORD];
};

/* In memory of the heap, where that has it. */
static void records_begin(struct records *records, struct lane_range lanes)
{
        uint64_t room = lane_count(lanes) < MANY_RECORDS ? lane_count(lanes) : MANY_RECORDS;

        memset(records, 0, sizeof *records);
        records->words = calloc((size_t)room, RECORD * sizeof(uint64_t));
        records->room = records->words ? room : FEW_RECORDS;
        if (!records->words)
                records->words = records->few;
        records->at = lanes.first;
        records->end = (uint64_t)lanes.last + 1;
}

/* The next ones; false: there are no more. */
static bool records_next(struct records *records)
{
        uint64_t left = records->end - (records->at += records->count);

        records->count = left < records->room ? left : records->room;
        return left > 0;
}

static size_t records_size(const struct records *records)
{
        return (size_t)records->count * sizeof(struct format_lane);
}

static void records_end(struct records *records)
{
        if (records->words != records->few)
                free(records->words);
}

int file_read_sequences(struct file *file, struct lane_range lanes)
{
        struct records records;
        int rc = 0;

        records_begin(&records, lanes);
        while (rc == 0 && records_next(&records)) {
                rc = file_peek(file, sequence_of(records.at), records.words, records_size(&records));
                for (uint64_t k = 0; rc == 0 && k < records.count; k++)
                        file->lane[records.at + k].sequence = records.words[k * RECORD];
        }
        records_end(&records);
        return rc;
}

/* The rest of a record is 0, where the lock is the kernel's. */
int file_write_sequences(const struct file *file, struct lane_range lanes, uint64_t step, bool keep_dead)
{
        struct records records;
        int rc = 0;

        records_begin(&records, lanes);
        os_fence_full(); /* both as of file_write_sequence */
        while (rc == 0 && records_next(&records)) {
                for (uint64_t k = 0; k < records.count; k++) {
                        const struct file_lane *lane = &file->lane[records.at + k];

                        records.words[k * RECORD] = lane->sequence + (keep_dead && lane->dead ? 1 : step);
                }
                rc = file_poke(file, sequence_of(records.at), records.words, records_size(&records));
        }
        os_fence_full();
        records_end(&records);
        return rc;
}

int file_write_between(const struct file *file, uint64_t record, const struct os_piece *bytes, uint64_t even)
{
        unsigned char *sequence = file->head + sequence_of(record);
        const uint64_t odd = even + 1, next = even + 2;
        const struct os_piece pieces[] = {
                { sequence, &odd, sizeof odd },
                *bytes,
                { sequence, &next, sizeof next },
        };
        int rc = os_poke_pieces(pieces, sizeof pieces / sizeof pieces[0]);

        if (rc == 0)
                file_wake_sequence(file, record);
        return rc;
}

void file_wait_sequence(const struct file *file, uint64_t record, uint64_t sequence, int64_t until)
{
        os_wait_shared(sequence_word(file, record), (uint32_t)sequence, until);
}

/* The part of the head that changes, and what must not. */
struct state {
        unsigned char identity[16], unused[40];
        uint64_t length, generation;
        uint32_t frozen;
};
enum {
        STATE = offsetof(struct format_head, identity),
        LENGTH = offsetof(struct format_head, length),
        STATE_SIZE = offsetof(struct format_head, frozen) + sizeof(uint32_t) - STATE
};
_Static_assert(offsetof(struct state, length) == LENGTH - STATE, "as it stands in the file");

/* A length that is another one than was known is one that some copies in a row agree on: a copy may be cut within a
 * word, and be half of each of two (bytes.c).  Or the last one of many, from under a writer who never pauses. */
static int settle(const struct file *file, struct state *state)
{
        enum { TRIES = 256, AGREE = 3 };
        uint64_t last = state->length;
        int rc = 0;

        for (int tries = 0, agreed = 1; rc == 0 && tries < TRIES && agreed < AGREE; tries++) {
                rc = file_peek(file, STATE, state, STATE_SIZE);
                agreed = rc == 0 && state->length == last ? agreed + 1 : 1;
                last = state->length;
        }
        return rc;
}

/* Under the file's mutex, so that of two who look the later one has the last
 * word.  Zeros are what is found where a file was cut and made longer again. */
static int take_over(struct file *file, struct state *state)
{
        if (unlikely(state->length != atomic_load_explicit(file->length, memory_order_relaxed))) {
                int rc = settle(file, state);

                if (rc < 0)
                        return rc;
        }
        if (state->length == 0)
                return AMMAP_ERR_FAULT;
        if (memcmp(state->identity, file->identity, sizeof state->identity) != 0)
                return AMMAP_ERR_FORMAT;
        if (state->length > file->capacity)
                state->length = file->capacity;
        if (state->frozen)
                atomic_store(file->frozen, true);
        atomic_store_explicit(file->length, state->length, memory_order_release);
        return 0;
}

static int look(struct file *file, struct state *state)
{
        int rc = file_peek(file, STATE, state, STATE_SIZE);

        return rc < 0 ? rc : take_over(file, state);
}

int file_look(struct file *file)
{
        struct state state;

        return look(file, &state);
}

/* By one call, where the system has it. */
int file_look_at(struct file *file, uint64_t record, uint64_t *sequence)
{
        struct state state;
        const struct os_piece pieces[] = {
                { sequence, file->head + sequence_of(record), sizeof *sequence },
                { &state, file->head + STATE, STATE_SIZE },
        };
        int rc;

        if (os_peek_pieces(pieces, sizeof pieces / sizeof pieces[0]) == 0)
                return take_over(file, &state);
        rc = file_read_sequence(file, record, sequence);
        return rc < 0 ? rc : look(file, &state);
}

int file_refresh(struct file *file)
{
        int rc;

        os_fork_check();
        if (file->fd < 0)
                return AMMAP_ERR_UNSUPPORTED;
        pthread_mutex_lock(&file->mutex);
        rc = file_look(file);
        pthread_mutex_unlock(&file->mutex);
        return rc;
}

/* Pieces in the order of a seqlock: the sequence, the bytes, whose file it is and how long, and
 * the sequence again.  Whatever is not as this process knows it is for one who locks. */
bool file_read_unlocked(struct file *file, uint64_t record, const void *from, void *to, size_t length)
{
        const unsigned char *sequence = file->head + sequence_of(record);
        unsigned char bytes[FILE_UNLOCKED_MAX];
        uint64_t before, after;
        struct state state;
        const struct os_piece pieces[] = {
                { &before, sequence, sizeof before },
                { bytes, from, length },
                { &state, file->head + STATE, STATE_SIZE },
                { &after, sequence, sizeof after },
        };

        os_fork_check();
        if (file->fd < 0 || length > sizeof bytes || os_peek_pieces(pieces, sizeof pieces / sizeof pieces[0]) < 0)
                return false;
        if ((before & 1) || after != before || memcmp(state.identity, file->identity, sizeof state.identity) != 0 ||
            state.length != atomic_load(file->length) || (state.frozen && !atomic_load(file->frozen)))
                return false;
        memcpy(to, bytes, length);
        return true;
}

bool file_frozen(struct file *file)
{
        if (!atomic_load(file->frozen))
                file_refresh(file);
        return atomic_load(file->frozen);
}

int file_set_frozen(struct file *file)
{
        const uint32_t frozen = 1;
        int rc = file_poke(file, offsetof(struct format_head, frozen), &frozen, sizeof frozen);

        if (rc == 0)
                atomic_store(file->frozen, true);
        return rc;
}

int file_set_length(struct file *file, uint64_t length)
{
        struct state state;
        int rc;

        pthread_mutex_lock(&file->mutex);
        rc = look(file, &state);
        if (rc == 0) {
                uint64_t both[2] = { length, state.generation + 1 };

                rc = file_poke(file, LENGTH, both, sizeof both);
        }
        if (rc == 0)
                atomic_store_explicit(file->length, length, memory_order_release);
        pthread_mutex_unlock(&file->mutex);
        return rc;
}
