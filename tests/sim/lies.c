/* lies.c - somebody who can write the header of a shared map, and stores there what he likes
 *
 * SPDX-License-Identifier: MIT
 *
 * Threads of some processes make calls, and at some steps, drawn before, a word of the header becomes another one:
 * at any instruction, which no process of a real machine can be made to do.  What is to hold is the threat model of
 * ammap(7): no access outside of the map, no fault, only codes that there are, and each call comes to its end.  One
 * that has no timeout may wait for as long as the header says that somebody is in its way; so after many steps the
 * header is made as it is when nobody is in, now and then.  Bytes and exclusion are not looked at.
 *
 * So a run may be what the model does not know.  Handles only read, or read beside one that writes; slices are
 * the process's, and whoever comes releases them, those of a shared map also twice; the system has no memory left,
 * for once or for good.  Some runs are of a private map, of which nobody can lie.
 */
#include "model.h"

#include "lock/slot.h"
#include "memory/format.h"

#include <ammap.h>
#include <errno.h>

enum {
        LIES_MAX = 12,
        HELD_MAX = 4,
        HOLDERS = 4,
        LANES = 3,
        LENGTH = LANES * 128,
        PAGE = 4096,
        MEND_AFTER = 20000,
        MEND_EVERY = 512
};

static struct chance chance;
static ammap_t *handle[PROCESSES_MAX], *reading[PROCESSES_MAX]; /* reading: one that only reads; or NULL */
static struct format_head *head;                                /* NULL: nobody lies */
static bool sharing, detaches, left[PROCESSES_MAX];             /* left: there may be a slice that nobody releases */
static uint64_t nag_from, nag_until;
static unsigned lanes, lies, operations, late, detachments;
static uint64_t lie_at[LIES_MAX], to_mend;

static struct held_slice {
        bool is, writes;
        bool released;
        unsigned number; /* how many were detached before */
        ammap_slice_t read;
        ammap_mut_slice_t write;
} held[THREADS_MAX][HELD_MAX], detached[PROCESSES_MAX];

static uint32_t below(uint32_t count)
{
        return draw_below(&chance, count);
}

/* --- What is said ------------------------------------------------------------- */

static struct format_lane *lane_of(unsigned number)
{
        return format_first_lane(head) + number;
}

static struct format_slot *record_of(unsigned number)
{
        return (struct format_slot *)(void *)((unsigned char *)head + format_slots(lanes)) + number;
}

static _Atomic uint32_t *lock_word_of(unsigned number)
{
        unsigned char *pages = (unsigned char *)head + format_pages(lanes, FORMAT_SLOTS, PAGE);

        return (_Atomic uint32_t *)(void *)(pages + (number + 1) * (size_t)PAGE - os_slot_word());
}

/* One that is taken, mostly. */
static unsigned any_slot(void)
{
        return below(16) == 0 ? below(FORMAT_SLOTS) : below(plan.threads + 1);
}

static uint64_t any_owner(void)
{
        const unsigned slot = any_slot();
        uint64_t id = 0;

        switch (below(8)) {
        case 0:
                break;
        case 1: /* perhaps of no slot at all */
                id = draw(&chance) << (below(2) ? 2 + OWNER_INDEX_BITS : 0);
                break;
        case 2: /* whoever goes on next, perhaps */
                id = current && my_slots.all ? my_slots.all->owner_id : 0;
                break;
        case 3: /* one that was there before */
                id = (atomic_load(&record_of(slot)->generation) + 1) << (2 + OWNER_INDEX_BITS) | (slot + UINT64_C(1))
                                                                                                         << 2;
                break;
        default:
                id = atomic_load(&record_of(slot)->generation) << (2 + OWNER_INDEX_BITS) | (slot + UINT64_C(1)) << 2;
        }
        return (id & OWNER_ID) | below(4);
}

static uint32_t any_set(void)
{
        const uint32_t first = below(lanes);

        switch (below(8)) {
        case 0:
                return (uint32_t)draw(&chance);
        case 1:
        case 2:
                return 0;
        default:
                return SET_HELD | (below(2) ? SET_SLICE : 0) | below(lanes - first) << 12 | first;
        }
}

static uint32_t any_lock_word(void)
{
        switch (below(6)) {
        case 0:
                return 0;
        case 1:
                return FORMAT_WORD_DIED;
        case 2:
                return FORMAT_WORD_PROCESS | below(1024);
        case 3:
                return os_thread();
        case 4:
                return 1000 + below(plan.threads);
        default:
                return (uint32_t)draw(&chance);
        }
}

static uint64_t other(uint64_t value, uint64_t most)
{
        switch (below(6)) {
        case 0:
                return 0;
        case 1:
                return value - 1;
        case 2:
                return draw(&chance);
        case 3:
                return most;
        case 4:
                return value ^ 1;
        default:
                return value + 1;
        }
}

static void lie_of_lane(struct format_lane *lane)
{
        switch (below(8)) {
        case 0:
        case 1:
        case 2:
                atomic_store(&lane->owner, any_owner());
                break;
        case 3:
        case 4:
                atomic_store(&lane->sequence, other(atomic_load(&lane->sequence), 1));
                break;
        case 5:
                atomic_store(&lane->next, any_owner());
                break;
        case 6:
                atomic_store(&lane->rescan, below(3) ? 1 : 0);
                break;
        default:
                atomic_store(&lane->dead_process, (uint32_t)draw(&chance));
                atomic_store(&lane->dead_thread, (uint32_t)draw(&chance));
        }
}

static void lie_of_slot(unsigned number)
{
        struct format_slot *record = record_of(number);

        switch (below(10)) {
        case 0:
                atomic_store(&record->generation, other(atomic_load(&record->generation), OWNER_GENERATIONS));
                break;
        case 1:
                atomic_store(&record->thread, below(2) ? any_lock_word() : 1000 + below(plan.threads));
                break;
        case 2:
                atomic_store(&record->process, below(2) ? (uint32_t)draw(&chance) : 100 + below(plan.processes));
                break;
        case 3:
                atomic_store(&record->mut_slices, below(3));
                break;
        case 4:
                atomic_store(&record->reach[below(FORMAT_SETS)], other(LENGTH, UINT64_MAX));
                atomic_store(&record->copy_reach, other(LENGTH, UINT64_MAX));
                break;
        case 5:
        case 6:
                atomic_store(lock_word_of(number), any_lock_word());
                break;
        default:
                atomic_store(&record->read_set[below(FORMAT_PLACES)], any_set());
        }
}

/* What is read once, when the map is opened. */
static void lie_of_numbers(void)
{
        switch (below(4)) {
        case 0:
                head->lanes = (uint32_t)other(head->lanes, UINT32_MAX);
                break;
        case 1:
                head->slots = (uint32_t)other(head->slots, UINT32_MAX);
                break;
        case 2:
                head->capacity = other(head->capacity, UINT64_MAX);
                break;
        default:
                ((unsigned char *)head)[below(offsetof(struct format_head, length))] = (unsigned char)draw(&chance);
        }
}

static void lie(void)
{
        switch (below(17)) {
        case 0:
                atomic_store(&head->slots_used, (uint32_t)other(atomic_load(&head->slots_used), UINT32_MAX));
                break;
        case 1:
                if (below(8) == 0)
                        atomic_store(&head->frozen, below(3));
                else
                        atomic_store(&head->length, other(atomic_load(&head->length), atomic_load(&head->length) / 2));
                break;
        case 2: /* no place is free */
                for (unsigned i = 0; i < FORMAT_SLOTS; i++)
                        if (!os_slot_taken(atomic_load(lock_word_of(i))))
                                atomic_store(lock_word_of(i), 999);
                break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
                lie_of_lane(lane_of(below(lanes + 1)));
                break;
        case 9:
                lie_of_numbers();
                break;
        default:
                lie_of_slot(any_slot());
        }
}

/* At each step: nobody changes an owner, or has looked for readers once for all, before it is another one. */
static void nag(void)
{
        struct format_lane *lane = lane_of(below(lanes));
        uint64_t owner = atomic_load(&lane->owner);

        if (!(owner & OWNER_ID))
                atomic_store(&lane->owner, OWNER_RESERVED | (~owner & OWNER_WAITERS));
        atomic_store(&lane->rescan, 1);
}

/* As if nobody were in. */
static void mend(void)
{
        for (unsigned i = 0; i <= lanes; i++) {
                struct format_lane *lane = lane_of(i);

                atomic_store(&lane->sequence, (atomic_load(&lane->sequence) + 1) & ~UINT64_C(1));
                atomic_store(&lane->owner, 0);
                atomic_store(&lane->next, 0);
        }
        for (unsigned i = 0; i < FORMAT_SLOTS; i++)
                for (unsigned place = 0; place < FORMAT_PLACES; place++)
                        atomic_store(&record_of(i)->read_set[place], 0);
        if (atomic_load(&head->slots_used) > 2 * THREADS_MAX) /* or each look at all of them is many steps */
                atomic_store(&head->slots_used, 2 * THREADS_MAX);
}

void lies_step(void)
{
        if (!head)
                return;
        for (unsigned i = 0; i < lies; i++)
                if (lie_at[i] == steps)
                        lie();
        if (steps >= nag_from && steps < nag_until)
                nag();
        if (steps >= to_mend) {
                mend();
                to_mend = steps + MEND_EVERY;
        }
}

/* --- What is called ------------------------------------------------------------ */

/* Whatever the header says: a code that there is, and none of the system but what it has refused. */
static int answer(const char *call, int rc)
{
        due_end();
        if (rc > 0 || rc < AMMAP_ERR_LIMIT ||
            (rc < 0 && rc > AMMAP_ERR_INVALID && rc != -EAGAIN && !(current && was_refused(rc))))
                fail("%s answers %d", call, rc);
        return rc;
}

/* The same of bytes that the map may have, or has never had. */
static int answer_of_range(const char *call, uint64_t offset, int rc)
{
        if (rc >= 0 && offset >= LENGTH)
                fail("%s answers %d for bytes that the map has never had", call, rc);
        return answer(call, rc);
}

/* Where nobody mends anything, none waits for ever while others may wait for what it holds. */
static int64_t timeout(void)
{
        return due_begin(sharing && below(3) == 0 ? -1 : (int64_t)draw_wide(&chance, 25));
}

static struct held_slice *find_held(bool is)
{
        struct held_slice *found = NULL;

        for (unsigned i = 0, count = 0; i < HELD_MAX; i++) {
                struct held_slice *one = &held[current->number][i];

                if (one->is == is && below(++count) == 0)
                        found = one;
        }
        return found;
}

static void look(const void *data, uint64_t offset, uint64_t length)
{
        if (length == 0 || offset + length > LENGTH || (sharing && !files_have((uintptr_t)data, (size_t)length)))
                fail("a slice of %d bytes is not in the map", (int)length);
        memory_look((uintptr_t)data, (size_t)length);
}

static void take(ammap_t *map, uint64_t offset, uint64_t length, bool writes)
{
        struct held_slice *one = find_held(false);
        const bool waits = sharing || (!detaches && !find_held(true));
        unsigned how = below(writes ? 4 : 3);
        int rc;

        if (!one)
                return;
        if (!waits && how != 1)
                how = 2;
        *one = (struct held_slice){ .writes = writes };
        if (writes)
                rc = how == 0   ? ammap_as_mut_slice(map, offset, length, &one->write)
                     : how == 1 ? ammap_try_as_mut_slice(map, offset, length, &one->write)
                     : how == 2 ? ammap_timed_as_mut_slice(map, offset, length, timeout(), &one->write)
                                : ammap_recover_as_mut_slice(map, offset, length, &one->write);
        else
                rc = how == 0   ? ammap_as_slice(map, offset, length, &one->read)
                     : how == 1 ? ammap_try_as_slice(map, offset, length, &one->read)
                                : ammap_timed_as_slice(map, offset, length, timeout(), &one->read);
        if (how == 3 && rc == 1) /* its writer had died */
                rc = 0;
        if (answer_of_range("a slice", offset, rc) < 0)
                return;
        one->is = true;
        look(writes ? one->write.data : one->read.data, offset, length);
}

static void release(struct held_slice *one)
{
        if (!one)
                return;
        one->is = false;
        answer("a release", one->writes ? ammap_mut_slice_release(&one->write) : ammap_slice_release(&one->read));
}

/* Of a slice: it becomes one to read; or the process's. */
static void change(struct held_slice *one, bool detach)
{
        if (!one || (!detach && !one->writes))
                return;
        if (detach) {
                struct held_slice *there = &detached[current->process];

                if (answer("detach",
                           one->writes ? ammap_mut_slice_detach(&one->write) : ammap_slice_detach(&one->read)) == 0 &&
                    !there->is) {
                        *there = *one;
                        there->number = detachments++;
                        there->released = false;
                        one->is = false;
                }
        } else if (answer("downgrade", ammap_mut_slice_downgrade(&one->write, &one->read)) == 0)
                one->writes = false;
}

/* By whichever thread of the process; and of a shared map once more, perhaps at the same time: what then has its place
 * may be released too early, or never. */
static void release_detached(void)
{
        struct held_slice *there = &detached[current->process], one = *there;

        if (!one.is)
                return;
        left[current->process] |= there->released;
        there->released = true;
        there->is = sharing;
        release(&one);
        if (there->number == one.number)
                there->is = sharing && below(2) && there->is;
}

/* Whom one may signal, and where in the map. */
static void holders_check(const ammap_holder_t *holders, int count)
{
        for (int i = 0; i < count; i++)
                if (holders[i].pid < 0 || holders[i].tid < 0 || holders[i].hold > AMMAP_HOLD_VIEW ||
                    holders[i].offset > LENGTH || holders[i].length > LENGTH - holders[i].offset)
                        fail("a holder has bytes that are not in the map, or a number that nobody has");
}

static void call(void)
{
        const uint64_t within = below(LENGTH / 8) * UINT64_C(8), offset = below(8) ? within : LENGTH + within,
                       length = 8 * (1 + (uint64_t)below((LENGTH - (uint32_t)within) / 8));
        const unsigned process = current->process;
        ammap_t *map = reading[process] && below(2) ? reading[process] : handle[process];
        unsigned char bytes[LENGTH] = { 0 };
        ammap_holder_t holders[HOLDERS];
        uint64_t generation = 0;
        int rc;

        if (below(8) == 0)
                honest_look(process);
        switch (below(22)) {
        case 0:
        case 1:
                answer_of_range("read_into", offset, ammap_timed_read_into(map, offset, bytes, length, timeout()));
                break;
        case 2:
                answer_of_range("try_read_into", offset, ammap_try_read_into(map, offset, bytes, length));
                break;
        case 3:
        case 4:
                answer_of_range("update", offset, ammap_timed_update_region(map, offset, bytes, length, timeout()));
                break;
        case 5:
                answer_of_range("try_update", offset, ammap_try_update_region(map, offset, bytes, length));
                break;
        case 6:
        case 7:
        case 8:
                take(map, offset, length, false);
                break;
        case 9:
        case 10:
        case 11:
                take(map, offset, length, true);
                break;
        case 12:
        case 13:
                release(find_held(true));
                break;
        case 14:
                change(find_held(true), false);
                break;
        case 15:
                if (detaches)
                        change(find_held(true), true);
                break;
        case 16:
                answer("resize", ammap_resize(map, 8 * (1 + (uint64_t)below(LENGTH / 8))));
                break;
        case 17:
                answer("recover", ammap_recover(map));
                break;
        case 18:
                release_detached();
                break;
        case 19:
                if (below(4) == 0 && (sharing || !detaches)) /* it has no timeout */
                        answer("freeze", ammap_freeze(map));
                break;
        case 20:
                rc = ammap_holders(map, 0, 8, holders, HOLDERS);
                answer("holders", rc > 0 ? 0 : rc);
                holders_check(holders, rc < HOLDERS ? rc : HOLDERS);
                break;
        default:
                answer("wait_change",
                       ammap_wait_change(map, offset, 8, &generation, due_begin(draw_wide(&chance, 25))));
        }
}

static void make_calls(unsigned number)
{
        const bool dies = below(4) == 0;

        for (unsigned i = 0; number > 0 && i < late; i++) /* others may be at their end when it begins */
                step("it is late", NULL);
        for (unsigned i = 0; i < operations; i++)
                call();
        for (struct held_slice *one; !dies && (one = find_held(true));)
                release(one);
        left[current->process] |= find_held(true) != NULL;
}

/* --- A run ---------------------------------------------------------------------- */

static void draw_lies(uint64_t seed)
{
        chance.state = seed;
        plan = (struct plan){ .seed = seed,
                              .order = below(2) ? ORDER_WALK : ORDER_PRIORITIES,
                              .threads = 1 + below(4) };
        sharing = below(4) > 0;
        detaches = sharing || below(2);
        plan.processes = sharing ? 1 + below(plan.threads) : 1;
        plan.changes = below(8);
        plan.length = 64U << below(6);
        plan.walk = 2U << below(6);
        plan.drain = 1;
        plan.spins = below(4) == 0;
        plan.asymmetric = below(2);
        plan.kills = below(4) == 0;
        plan.stops = below(8) == 0;
        to_mend = MEND_AFTER;
        nag_from = below(plan.length);
        nag_until = below(16) == 0 ? nag_from + draw_wide(&chance, 17) : 0;
        plan.refusals = below(3) == 0 ? 1U << below(7) : 0;
        late = below(4) == 0 ? draw_wide(&chance, 10) : 0;
        operations = 1 + below(12);
        lies = 1 + below(LIES_MAX);
        for (unsigned i = 0; i < lies; i++)
                lie_at[i] = i > 0 && below(2) ? lie_at[i - 1] + 1 + below(24) : 1 + below(plan.length);
}

static void make_maps(void)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        int rc, fd;

        lanes = 1 + below(LANES);
        options.lanes = lanes;
        options.share = sharing ? AMMAP_SHARED : AMMAP_PRIVATE;
        if ((rc = ammap_new_with(&handle[0], LENGTH, &options)) < 0)
                fail("no map: %d", rc);
        if (!sharing)
                return;
        fd = ammap_fd(handle[0]);
        files_give(fd);
        options = (ammap_options_t)AMMAP_OPTIONS_INIT;
        for (unsigned p = 0; p < plan.processes; p++) {
                enter_process(p);
                options.read_only = true;
                if (below(3) == 0 && (rc = ammap_import(&reading[p], fd, &options)) < 0)
                        fail("no import to read: %d", rc);
                options.read_only = below(8) == 0;
                if (p > 0 && (rc = ammap_import(&handle[p], fd, &options)) < 0)
                        fail("no import: %d", rc);
        }
        enter_process(0);
        head = (struct format_head *)(void *)memory_object(0, 0);
}

/* Whether somebody is in it, a process knows by what it has noted itself. */
static void free_handle(ammap_t *map, unsigned process)
{
        int rc = answer("free", ammap_free(map));

        if (rc != 0 && !left[process])
                fail("nobody of the process is in, and ammap_free answers %d", rc);
}

void lies_run(uint64_t seed)
{
        static const struct held_slice none;

        for (unsigned t = 0; t < THREADS_MAX; t++)
                for (unsigned i = 0; i < HELD_MAX; i++)
                        held[t][i] = none;
        for (unsigned p = 0; p < PROCESSES_MAX; p++) {
                detached[p] = none;
                left[p] = false;
                handle[p] = reading[p] = NULL;
        }
        detachments = 0;
        draw_lies(seed);
        honest_forget();
        make_maps();
        if (sharing && below(2))
                honest_begin();
        scheduler_run(&plan, make_calls);
        if (head)
                mend();
        head = NULL;
        for (unsigned p = 0; p < plan.processes; p++)
                if (!process_is_gone(p)) {
                        enter_process(p);
                        honest_end(p);
                        left[p] |= detached[p].is;
                        free_handle(reading[p], p);
                        free_handle(handle[p], p);
                }
}
