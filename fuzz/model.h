/* model.h - what maps are to answer, written plainly
 *
 * SPDX-License-Identifier: MIT
 *
 * Memory is an array of bytes with a length.  A lock is a list of lanes.  A handle has both.  Who
 * holds what stands in a list.  What a call is to answer is found by going through that
 * list, and is a set of codes: where several causes apply and the pages do not say which is told
 * first, each of them may be.
 */
#ifndef MODEL_H
#define MODEL_H

#include "ammap.h"
#include "input.h"

#include <string.h>

enum { HANDLES = 6, HOLDS = 14, VIEWS = 6, LANES = 6, PATHS = 2, ROOM = 3 * 4096 + 100, PLACES = 8, WATCHES = 3 };

/* Who acts and holds: the main thread, another one, and with detached slices the process. */
enum actor { MAIN, WORKER, PROCESS };

enum kind { PRIVATE, RAW, SHARED, IN_FILE, WORDS_IN_FILE };

struct memory {
        unsigned users; /* handles, and the path that it has */
        enum kind kind; /* what it was made as */
        uint64_t length, capacity, lanes;
        uint64_t data;   /* where it begins behind the descriptor */
        uint64_t behind; /* so many bytes there are, in whole pages */
        unsigned seals;
        struct lock *lock; /* of all handles, where there is one for all */
        unsigned char bytes[ROOM];
};

struct lock {
        unsigned users;
        uint64_t lanes, lane_size;
        bool frozen;
        bool dead[LANES];
        uint64_t writes[LANES]; /* that a watcher must see */
        uint64_t maybe;         /* what it may see */
};

struct handle {
        ammap_t *map;
        struct memory *memory;
        struct lock *lock;
        enum kind kind;
        bool read_only, faults, may_fault, fd_reads;
};

struct lanes {
        uint64_t first, last;
};

/* A slice.  What it keeps others out of for certain are its lanes; and perhaps those of a longer one
 * beside which its thread took it (ammap(7), Limits), in a place that the two share. */
struct hold {
        struct handle *handle; /* NULL: there is none */
        enum actor owner;
        bool write, detached;
        uint64_t offset, length;
        struct lanes lanes, wide;
        uint64_t reach; /* how far the longest of them went */
        unsigned place; /* of PLACES, for a read slice of a shared map */
        ammap_slice_t slice;
        ammap_mut_slice_t mut;
};

struct view {
        struct handle *handle;
        uint64_t begin, count, size;
        ammap_u32_view_t u32;
        ammap_u64_view_t u64;
};

/* A generation, and what had been written then. */
struct watch {
        struct handle *handle;
        uint64_t offset, length, generation, writes, maybe;
};

struct model {
        struct handle handle[HANDLES];
        struct hold hold[HOLDS];
        struct view view[VIEWS];
        struct watch watch[WATCHES];
        struct memory *path[PATHS];
};

static struct model model;

/* --- Lanes --- */

static inline bool is_joint(enum kind kind)
{
        return kind >= SHARED;
}

/* Its lock is words in its memory. */
static inline bool has_words(enum kind kind)
{
        return kind == SHARED || kind == WORDS_IN_FILE;
}

static struct lanes lanes_of(const struct handle *handle, uint64_t offset, uint64_t length)
{
        const struct lock *lock = handle->lock;
        uint64_t last = lock->lanes - 1, end = offset + (length ? length - 1 : 0);
        struct lanes lanes = { offset / lock->lane_size, end / lock->lane_size };

        if (offset >= handle->memory->capacity)
                lanes.first = last;
        if (end >= handle->memory->capacity)
                lanes.last = last;
        return lanes;
}

static bool meet(struct lanes a, struct lanes b)
{
        return a.first <= b.last && b.first <= a.last;
}

static bool lies_within(struct lanes a, struct lanes b)
{
        return a.first >= b.first && a.last <= b.last;
}

static bool any_dead(const struct lock *lock, struct lanes lanes)
{
        for (uint64_t i = lanes.first; i <= lanes.last; i++)
                if (lock->dead[i])
                        return true;
        return false;
}

static void note_write(struct lock *lock, struct lanes lanes)
{
        for (uint64_t i = lanes.first; i <= lanes.last; i++)
                lock->writes[i]++;
}

static uint64_t count_writes(const struct lock *lock, struct lanes lanes)
{
        uint64_t sum = 0;

        for (uint64_t i = lanes.first; i <= lanes.last; i++)
                sum += lock->writes[i];
        return sum;
}

static bool is_frozen(const struct handle *handle)
{
        return handle->lock->frozen;
}

static bool may_write(const struct handle *handle)
{
        return !handle->read_only && !is_frozen(handle);
}

/* --- Verdicts --- */

/* The codes of which one is to be told; none: 0 is.  free: it may be 0 all the same.  waits: the
 * call would wait for another thread, and is not to be made without a timeout. */
struct verdict {
        int code[8];
        unsigned count;
        bool free, waits;
};

static void because(struct verdict *verdict, bool is_so, int code)
{
        if (is_so)
                verdict->code[verdict->count++] = code;
}

static bool has_code(const struct verdict *verdict, int code)
{
        for (unsigned i = 0; i < verdict->count; i++)
                if (verdict->code[i] == code)
                        return true;
        return false;
}

static void judge_at(const struct verdict *verdict, int rc, const char *what, int line)
{
        bool good = verdict->count == 0 || verdict->free ? rc == 0 : false;

        if (good || has_code(verdict, rc))
                return;
        fprintf(stderr, "line %d: %s answers %s, and is to answer", line, what, ammap_errname(rc));
        for (unsigned i = 0; i < verdict->count; i++)
                fprintf(stderr, " %s", ammap_errname(verdict->code[i]));
        fprintf(stderr, "%s\n", verdict->count == 0 || verdict->free ? " 0" : "");
        abort();
}

#define JUDGE(verdict, rc, what) judge_at(verdict, rc, what, __LINE__)

/* How a call waits. */
enum patience { TRIES, TIMED, WAITS, PATIENCES };

static bool in_map(const struct handle *handle, uint64_t offset, uint64_t length)
{
        uint64_t size = handle->memory->length;

        return offset <= size && length <= size - offset;
}

/* Whether a hold is in the way of who asks for its lanes; perhaps: by those beside it alone. */
static bool stands_in_way(const struct hold *hold, const struct handle *handle, struct lanes lanes, bool write,
                          bool *perhaps)
{
        *perhaps = false;
        if (!hold->handle || hold->handle->lock != handle->lock || !(write || hold->write) || !meet(hold->wide, lanes))
                return false;
        *perhaps = !meet(hold->lanes, lanes);
        return true;
}

/* What keeps an actor from lanes of a handle; a verdict may have other causes already. */
static void judge_lanes(struct verdict *verdict, enum actor actor, const struct handle *handle, struct lanes lanes,
                        bool write, enum patience patience)
{
        bool own = false, others = false, own_perhaps = false, others_perhaps = false;

        if (is_frozen(handle) && !write)
                return;
        for (unsigned i = 0; i < HOLDS; i++) {
                const struct hold *hold = &model.hold[i];
                bool perhaps;

                if (!stands_in_way(hold, handle, lanes, write, &perhaps))
                        continue;
                if (hold->owner == actor && !perhaps)
                        own = true;
                else if (hold->owner == actor)
                        own_perhaps = true;
                else if (!perhaps)
                        others = true;
                else
                        others_perhaps = true;
        }
        because(verdict, any_dead(handle->lock, lanes), AMMAP_ERR_OWNER_DEAD);
        because(verdict, own || own_perhaps, AMMAP_ERR_DEADLOCK);
        /* One's own slice is told first, whoever else is in the way. */
        if ((others || others_perhaps) && !own) {
                because(verdict, patience != WAITS, patience == TRIES ? AMMAP_ERR_BUSY : AMMAP_ERR_TIMEOUT);
                verdict->waits = patience == WAITS;
        }
        if (!own && !others && (own_perhaps || others_perhaps) && !any_dead(handle->lock, lanes))
                verdict->free = true;
}

/* --- Slices and views --- */

static struct hold *new_hold(void)
{
        for (unsigned i = 0; i < HOLDS; i++)
                if (!model.hold[i].handle)
                        return &model.hold[i];
        return NULL;
}

/* The place of a read slice in a shared map: that of another whose lanes have these, or a free
 * one; PLACES: there is none. */
static unsigned find_place(enum actor actor, const struct handle *handle, struct lanes lanes,
                           const struct hold **beside)
{
        const struct hold *at[PLACES] = { NULL };
        unsigned i;

        *beside = NULL;
        for (i = 0; i < HOLDS; i++) {
                const struct hold *hold = &model.hold[i];

                if (hold->handle == handle && hold->owner == actor && !hold->write &&
                    (!at[hold->place] || at[hold->place]->reach < hold->reach))
                        at[hold->place] = hold;
        }
        for (i = 0; i < PLACES; i++)
                if (at[i] && lies_within(lanes, at[i]->wide)) {
                        *beside = at[i];
                        return i;
                }
        for (i = 0; i < PLACES && at[i]; i++)
                ;
        return i;
}

static void note_hold(struct hold *hold, enum actor actor, struct handle *handle, uint64_t offset, uint64_t length,
                      bool write)
{
        const struct hold *beside = NULL;

        *hold = (struct hold){ .owner = actor, .write = write, .offset = offset, .length = length };
        hold->lanes = hold->wide = lanes_of(handle, offset, length);
        hold->reach = offset + length;
        if (!write && has_words(handle->kind)) {
                hold->place = find_place(actor, handle, hold->lanes, &beside);
                if (beside) {
                        hold->wide = beside->wide;
                        if (hold->reach < beside->reach)
                                hold->reach = beside->reach;
                }
        }
        hold->handle = handle;
}

static uint64_t count_holds(const struct handle *handle)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < HOLDS; i++)
                count += model.hold[i].handle == handle;
        return count;
}

static uint64_t count_views(const struct handle *handle)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < VIEWS; i++)
                count += model.view[i].handle == handle;
        return count;
}

/* Of all handles that have the views in common. */
static uint64_t views_beyond(const struct handle *handle, uint64_t end)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < VIEWS; i++) {
                const struct view *view = &model.view[i];

                count += view->handle && view->handle->lock == handle->lock &&
                         view->begin + view->count * view->size > end;
        }
        return count;
}

static bool any_view(const struct handle *handle)
{
        for (unsigned i = 0; i < VIEWS; i++)
                if (model.view[i].handle && model.view[i].handle->lock == handle->lock)
                        return true;
        return false;
}

/* --- Memory and handles --- */

static void drop_lock(struct lock *lock)
{
        if (--lock->users == 0)
                free(lock);
}

static void drop_memory(struct memory *memory)
{
        if (--memory->users > 0)
                return;
        if (memory->lock)
                drop_lock(memory->lock);
        free(memory);
}

static struct lock *new_lock(uint64_t capacity, uint64_t lanes)
{
        struct lock *lock = calloc(1, sizeof(*lock));

        MUST(lock && lanes > 0 && lanes <= LANES, "a lock of %llu lanes", (unsigned long long)lanes);
        *lock = (struct lock){ .users = 1, .lanes = lanes, .lane_size = (capacity + lanes - 1) / lanes };
        return lock;
}

static struct memory *new_memory(enum kind kind, uint64_t length, uint64_t capacity, uint64_t lanes)
{
        struct memory *memory = calloc(1, sizeof(*memory));

        MUST(memory && length <= capacity && capacity <= ROOM, "memory of %llu bytes", (unsigned long long)capacity);
        memory->kind = kind;
        memory->length = length;
        memory->capacity = capacity;
        memory->lanes = lanes;
        memory->behind = (length + 4095) / 4096 * 4096;
        memory->users = 1;
        if (is_joint(kind))
                memory->lock = new_lock(capacity, lanes);
        return memory;
}

static struct handle *free_handle(void)
{
        for (unsigned i = 0; i < HANDLES; i++)
                if (!model.handle[i].map)
                        return &model.handle[i];
        return NULL;
}

/* Takes a use of the memory. */
static struct handle *note_handle(ammap_t *map, struct memory *memory, uint64_t lanes)
{
        struct handle *handle = free_handle();

        handle->map = map;
        handle->memory = memory;
        handle->kind = memory->kind;
        handle->lock = memory->lock ? memory->lock : new_lock(memory->capacity, lanes);
        if (memory->lock)
                memory->lock->users++;
        return handle;
}

static void drop_handle(struct handle *handle)
{
        for (unsigned i = 0; i < WATCHES; i++)
                if (model.watch[i].handle == handle)
                        model.watch[i].handle = NULL;
        drop_lock(handle->lock);
        drop_memory(handle->memory);
        memset(handle, 0, sizeof(*handle));
}

#endif /* MODEL_H */
