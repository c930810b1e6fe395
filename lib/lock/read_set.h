/* read_set.h - which lanes of a shared map whoever reads
 *
 * SPDX-License-Identifier: MIT
 *
 * A read set is what stands in one of a slot record's places (format.h): lanes in a row, and
 * beside them how far into the map they are read.  Writers look at those of all slots, a
 * thread at its own before it waits.
 */
#ifndef READ_SET_H
#define READ_SET_H

#include "lock/lock.h"
#include "lock/slot.h"
#include "os/hints.h"

static inline uint32_t read_set_of(struct lane_range lanes)
{
        return SET_HELD | (lanes.last - lanes.first) << 12 | lanes.first;
}

static inline struct lane_range read_set_lanes(uint32_t set)
{
        uint32_t first = set & SET_LANES;

        return (struct lane_range){ first, first + (set >> 12 & SET_LANES) };
}

static inline bool read_set_names(uint32_t set, struct lane_range lanes)
{
        return (set & SET_HELD) && read_set_lanes(set).first <= lanes.last && read_set_lanes(set).last >= lanes.first;
}

static inline bool read_set_has(uint32_t set, struct lane_range lanes)
{
        return read_set_lanes(set).first <= lanes.first && read_set_lanes(set).last >= lanes.last;
}

/* Whether a slot reads anything.  Most do not, and all sets are seen at once.  On x86-64 two are
 * loaded as one word: there what is stored in half of an aligned word, by an instruction that
 * is locked, has its place among all accesses as any other has.  ThreadSanitizer does not know. */
static ALWAYS_INLINE bool read_set_any(const struct format_slot *record)
{
#if defined(__x86_64__) && !defined(OS_TSAN)
        const _Atomic uint64_t *pair = (const _Atomic uint64_t *)(const void *)record->read_set;

        _Static_assert(FORMAT_PLACES == 9, "four pairs and one");
        return unlikely(atomic_load(&pair[0]) != 0) || unlikely(atomic_load(&pair[1]) != 0) ||
               unlikely(atomic_load(&pair[2]) != 0) || unlikely(atomic_load(&pair[3]) != 0) ||
               unlikely(atomic_load(&record->read_set[FORMAT_COPY]) != 0);
#else
        uint32_t any = 0;

        for (unsigned i = 0; i < FORMAT_PLACES; i++)
                any |= atomic_load(&record->read_set[i]);
        return any;
#endif
}

/* Whether any slot does. */
static ALWAYS_INLINE bool read_set_any_at_all(const struct shared *shared, const struct format_head *head)
{
        const struct format_slot *record = shared->record;

        for (uint32_t left = slots_used_in(shared, head); left > 0; left--, record++)
                if (unlikely(read_set_any(record)))
                        return true;
        return false;
}

/* The set by which it reads one of the lanes, to offset or beyond; 0: it does not.  The
 * reach is acquired: it may be one that came after the set, and then what was read under
 * that has been read. */
static inline uint32_t read_set_reaching(struct format_slot *record, struct lane_range lanes, uint64_t offset)
{
        for (unsigned i = 0; i < FORMAT_PLACES; i++) {
                uint32_t set = atomic_load(&record->read_set[i]);

                if (read_set_names(set, lanes) &&
                    atomic_load_explicit(slot_reach(record, i), memory_order_acquire) >= offset)
                        return set;
        }
        return 0;
}

/* The same of the first slot, from *index on, that does. */
static inline uint32_t read_set_find(const struct shared *shared, struct lane_range lanes, uint64_t offset,
                                     uint32_t *index)
{
        uint32_t used = slots_used(shared);

        for (; *index < used; ++*index)
                if (unlikely(read_set_any(&shared->record[*index]))) {
                        uint32_t set = read_set_reaching(&shared->record[*index], lanes, offset);

                        if (set)
                                return set;
                }
        return 0;
}

/* Whether a slice of someone who lives names the lane. */
bool read_set_any_slice(const struct shared *shared, uint32_t number);

/* How many share it, as the hold has it. */
static inline uint64_t shared_hold_refs(const struct shared_hold *hold)
{
        return atomic_load_explicit(&hold->refs, memory_order_relaxed);
}

/* Whether no more of them can. */
static inline bool shared_hold_is_full(const struct shared_hold *hold)
{
        uint64_t refs = shared_hold_refs(hold);

        return refs >> 32 == UINT32_MAX || (uint32_t)refs == UINT32_MAX;
}

/* Whether the calling thread reads one of the lanes, to offset or beyond, through
 * whichever handle. */
bool read_set_mine_reaches(const struct shared *shared, struct lane_range lanes, uint64_t offset);
bool read_set_is_mine(const struct shared *shared, struct lane_range lanes);

#endif /* READ_SET_H */
