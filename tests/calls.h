/* calls.h - every call of the library, on every kind of map
 *
 * SPDX-License-Identifier: MIT
 *
 * A world is a map of a kind, and what a call may want beside it.  A call is done
 * in two steps, so that what is measured or refused is the call alone; what it left
 * is taken away by world_tidy.  The table is complete where calls_are_complete says
 * so, which reads the list of exported symbols.
 */
#ifndef AMMAP_TESTS_CALLS_H
#define AMMAP_TESTS_CALLS_H

#include "share.h"

#ifndef WORLD_PAGES
#define WORLD_PAGES 128
#endif
enum { WORLD_LANES = WORLD_PAGES / 2 };

struct world_kind {
        const char *name;
        ammap_share_t share;
        enum in_file file;
        uint64_t lanes;
        ammap_want_t more; /* guard, nodump, lock, populate, recycle and, where there is no sharing, secret */
};

static const struct world_kind world_kinds[] = {
        { "private", AMMAP_PRIVATE, NO_FILE, 1, AMMAP_NO },
        { "private, lanes", AMMAP_PRIVATE, NO_FILE, WORLD_LANES, AMMAP_NO },
        { "private, options", AMMAP_PRIVATE, NO_FILE, 2, AMMAP_TRY },
#if TEST_OS_LINUX
        { "shared", AMMAP_SHARED, NO_FILE, 1, AMMAP_NO },
        { "shared, lanes", AMMAP_SHARED, NO_FILE, WORLD_LANES, AMMAP_TRY },
        { "file", AMMAP_SHARED, BY_KERNEL, 1, AMMAP_NO },
        { "file, lanes", AMMAP_SHARED, BY_KERNEL, WORLD_LANES, AMMAP_NO },
        { "file, words", AMMAP_SHARED, BY_WORDS, 1, AMMAP_NO },
        { "file, words, lanes", AMMAP_SHARED, BY_WORDS, WORLD_LANES, AMMAP_NO },
        { "raw", AMMAP_RAW, NO_FILE, 2, AMMAP_NO },
#endif
};

struct world {
        const struct world_kind *kind;
        struct path path; /* of a file's */
        uint64_t size;    /* of every map */
        ammap_t *map, *other;
        /* What a call made, or is to work on. */
        ammap_t *made;
        ammap_slice_t slice;
        ammap_mut_slice_t mut_slice;
        ammap_u32_view_t u32;
        ammap_u64_view_t u64;
        ammap_stat_t stat;
        ammap_holder_t holders[8];
        uint64_t begin, length;
        int fd, socket[2];
        unsigned char bytes[4096];
};

static inline ammap_options_t world_options(const struct world *world)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = world->kind->share;
        options.lanes = world->kind->lanes;
        options.allow_faults = world->kind->file;
        options.guard = options.nodump = options.lock = options.populate = world->kind->more;
        options.recycle = options.secret = world->kind->share == AMMAP_PRIVATE ? world->kind->more : AMMAP_NO;
        if (options.recycle == AMMAP_MUST)
                options.recycle = AMMAP_NO;                                /* it goes with no other property */
        options.fork = options.secret ? AMMAP_FORK_WIPE : AMMAP_FORK_COPY; /* some calls are made in a child */
        if (options.share != AMMAP_RAW)
                options.capacity = 2 * world->size;
        return options;
}

static inline struct path world_file(const struct world *world, const char *name)
{
        struct path path;

        snprintf(path.text, sizeof(path.text), "%.200s-%s", world->path.text, name);
        return path;
}

/* A map of the world's kind; a file of a name is opened again. */
static inline int world_make(const struct world *world, ammap_t **map, const char *name)
{
        ammap_options_t options = world_options(world);
        struct path path = world_file(world, name);

        if (!world->kind->file)
                return ammap_new_with(map, world->size, &options);
        options.allow_faults = world->kind->file == BY_WORDS;
        return ammap_open(map, path.text, world->size, &options);
}

/* The same with slices. */
static inline int world_prepare(const struct world *world, ammap_t **map, const char *name)
{
        ammap_options_t options = world_options(world);
        int rc = world_make(world, map, name);

        if (rc < 0 || world->kind->file != BY_KERNEL)
                return rc;
        return (rc = ammap_free(*map)) < 0 ? rc : ammap_open(map, world_file(world, name).text, 0, &options);
}

static inline void world_begin(struct world *world, const struct world_kind *kind)
{
        memset(world, 0, sizeof(*world));
        world->kind = kind;
        world->size = WORLD_PAGES * PAGE;
        world->fd = -1;
        if (kind->file)
                world->path = path_of("world");
        ck_assert_int_eq(world_prepare(world, &world->map, "one"), 0);
        ck_assert_int_eq(world_prepare(world, &world->other, "two"), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, world->socket), 0);
        ck_assert_int_eq(ammap_fill(world->map, 0, world->size, 'm'), 0);
        ck_assert_int_eq(ammap_fill(world->other, 0, world->size, 'o'), 0);
}

/* The lock is shared with other processes. */
static inline bool world_is_joint(const struct world *world)
{
        return world->kind->file || world->kind->share == AMMAP_SHARED;
}

static inline uint64_t lane_size(ammap_t *map)
{
        ammap_stat_t stat = AMMAP_STAT_INIT;

        ck_assert_int_eq(ammap_stat(map, &stat), 0);
        return (stat.capacity + stat.lanes - 1) / stat.lanes;
}

static inline bool world_has_lanes(const struct world *world)
{
        return lane_size(world->map) < world->size;
}

/* A range of so many bytes that lies in two lanes, where the map has two. */
static inline uint64_t world_range(const struct world *world, uint64_t length)
{
        return world_has_lanes(world) ? lane_size(world->map) - length / 2 : 64;
}

/* What calls made. */
static inline void world_tidy(struct world *world)
{
        ammap_slice_release(&world->slice);
        ammap_mut_slice_release(&world->mut_slice);
        ammap_u32_view_release(&world->u32);
        ammap_u64_view_release(&world->u64);
        ck_assert_int_eq(ammap_free(world->made), 0);
        world->made = NULL;
        if (world->fd >= 0)
                close(world->fd);
        world->fd = -1;
}

static inline void world_end(struct world *world)
{
        world_tidy(world);
        ck_assert_int_eq(ammap_free(world->map), 0);
        ck_assert_int_eq(ammap_free(world->other), 0);
        close(world->socket[0]);
        close(world->socket[1]);
        if (world->kind->file) {
                static const char *const names[] = { "one", "two", "new" };

                for (size_t i = 0; i < COUNT_OF(names); i++) {
                        struct path path = world_file(world, names[i]);

                        unlink(path.text);
                }
        }
}

/* --- The calls ---------------------------------------------------------- */

#define RUN(name, expression)                                                                                          \
        static inline int run_##name(struct world *w)                                                                  \
        {                                                                                                              \
                return (expression);                                                                                   \
        }

RUN(strerror, ammap_strerror(AMMAP_ERR_BUSY) && w ? 0 : -1)
RUN(errname, ammap_errname(AMMAP_ERR_BUSY) && w ? 0 : -1)
RUN(version, ammap_version() && w ? 0 : -1)
RUN(new, ammap_new(&w->made, w->size))
RUN(new_with, world_make(w, &w->made, "new"))
RUN(len, ammap_len(w->map) > 0 ? 0 : -1)
RUN(is_empty, ammap_is_empty(w->map))
RUN(grow, ammap_resize(w->map, w->size + PAGE + 1))
RUN(shrink, ammap_resize(w->map, w->size - PAGE - 1))
RUN(describe, ammap_describe(w->map, (char *)w->bytes, sizeof(w->bytes)))
RUN(recover, ammap_recover(w->map))
RUN(read_into, ammap_read_into(w->map, 1, w->bytes, sizeof(w->bytes)))
RUN(read_little, ammap_read_into(w->map, 8, w->bytes, 8))
RUN(update_region, ammap_update_region(w->map, 1, w->bytes, sizeof(w->bytes)))
RUN(try_read_into, ammap_try_read_into(w->map, 1, w->bytes, sizeof(w->bytes)))
RUN(timed_read_into, ammap_timed_read_into(w->map, 1, w->bytes, sizeof(w->bytes), 1000))
RUN(try_update_region, ammap_try_update_region(w->map, 1, w->bytes, sizeof(w->bytes)))
RUN(timed_update_region, ammap_timed_update_region(w->map, 1, w->bytes, sizeof(w->bytes), 1000))
RUN(fill, ammap_fill(w->map, 1, w->size - 1, 'f'))
RUN(copy, ammap_copy(w->map, 1, w->other, 3, w->size - 3))
RUN(copy_within, ammap_copy(w->map, 1, w->map, 3, w->size - 3))
RUN(as_slice, ammap_as_slice(w->map, 0, w->size, &w->slice))
RUN(as_mut_slice, ammap_as_mut_slice(w->map, 0, w->size, &w->mut_slice))
RUN(try_as_slice, ammap_try_as_slice(w->map, 0, w->size, &w->slice))
RUN(try_as_mut_slice, ammap_try_as_mut_slice(w->map, 0, w->size, &w->mut_slice))
RUN(timed_as_slice, ammap_timed_as_slice(w->map, 0, w->size, 1000, &w->slice))
RUN(timed_as_mut_slice, ammap_timed_as_mut_slice(w->map, 0, w->size, 1000, &w->mut_slice))
RUN(recover_as_mut_slice, ammap_recover_as_mut_slice(w->map, 0, w->size, &w->mut_slice))
RUN(slice_release, ammap_slice_release(&w->slice))
RUN(mut_slice_release, ammap_mut_slice_release(&w->mut_slice))
RUN(slice_detach, ammap_slice_detach(&w->slice))
RUN(lane, ammap_lane(w->map, w->size - 1, &w->begin, &w->length))
RUN(holders, ammap_holders(w->map, 1, w->size - 1, w->holders, COUNT_OF(w->holders)))
RUN(as_ptr, ammap_as_ptr(w->map) ? 0 : -1)
RUN(as_mut_ptr, ammap_as_mut_ptr(w->map) || w->kind->share != AMMAP_PRIVATE ? 0 : -1)
RUN(atomic_u32, ammap_atomic_u32(w->map, 4, &w->u32))
RUN(atomic_u64, ammap_atomic_u64(w->map, 8, &w->u64))
RUN(atomic_u32_slice, ammap_atomic_u32_slice(w->map, 4, 9, &w->u32))
RUN(atomic_u64_slice, ammap_atomic_u64_slice(w->map, 8, 9, &w->u64))
RUN(u32_view_release, (ammap_u32_view_release(&w->u32), 0))
RUN(u64_view_release, (ammap_u64_view_release(&w->u64), 0))
RUN(load_u32, ammap_load_u32(w->map, 4, (uint32_t *)(void *)w->bytes))
RUN(load_u64, ammap_load_u64(w->map, 8, (uint64_t *)(void *)w->bytes))
RUN(wait_change, ammap_wait_change(w->map, 1, w->size - 1, (uint64_t *)(void *)w->bytes, 1000))
RUN(wait_u32, ammap_wait_u32(w->map, 4, UINT32_C(0x01010101) * 'm', 1000))
RUN(wait_u32_peer, ammap_wait_u32_peer(w->map, 4, UINT32_C(0x01010101) * 'm', 1000, getpid()))
RUN(wake_u32, ammap_wake_u32(w->map, 4, 1))
RUN(fd, ammap_fd(w->map))
RUN(export, ammap_export(w->map, AMMAP_READ | AMMAP_WRITE, &w->fd))
RUN(send, ammap_send(w->map, w->socket[0]))
RUN(seal, ammap_seal(w->map, AMMAP_SEAL_SHRINK))
RUN(flush, ammap_flush(w->map, 1, w->size - 1))
RUN(populate, ammap_populate(w->map, 1, w->size - 1))
RUN(discard, ammap_discard(w->map, 1, w->size - 2))
RUN(advise, ammap_advise(w->map, 1, w->size - 1, AMMAP_ADVICE_RANDOM))
RUN(mlock, ammap_mlock(w->map, 1, 10 * PAGE))
RUN(munlock, ammap_munlock(w->map, 1, 10 * PAGE))
RUN(freeze, ammap_freeze(w->map))
RUN(clone, ammap_clone(w->map, &w->made))
RUN(is_hugepage_backed, ammap_is_hugepage_backed(w->map))
RUN(trim, w ? ammap_trim(0) : -1)

static inline int run_free(struct world *w)
{
        int rc = ammap_free(w->made);

        if (rc == 0)
                w->made = NULL;
        return rc;
}

/* What it has not given away a thread that ends here would leave half written. */
static inline int run_mut_slice_detach(struct world *w)
{
        int rc = ammap_mut_slice_detach(&w->mut_slice);

        if (rc < 0)
                ammap_mut_slice_release(&w->mut_slice);
        return rc;
}

static inline int run_mut_slice_downgrade(struct world *w)
{
        int rc = ammap_mut_slice_downgrade(&w->mut_slice, &w->slice);

        if (rc < 0)
                ammap_mut_slice_release(&w->mut_slice);
        return rc;
}

static inline int run_open(struct world *w)
{
        return world_make(w, &w->made, "one");
}

static inline int run_stat(struct world *w)
{
        w->stat = (ammap_stat_t)AMMAP_STAT_INIT;
        return ammap_stat(w->map, &w->stat);
}

static inline int run_import(struct world *w)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = w->kind->share;
        options.allow_faults = w->kind->file;
        return ammap_import(&w->made, w->fd, &options);
}

static inline int run_recv(struct world *w)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;

        options.share = w->kind->share;
        options.allow_faults = w->kind->file;
        return ammap_recv(&w->made, w->socket[1], &options);
}

/* A call that says nothing else is for maps of every kind. */
enum {
        SHARES = 1,  /* not for private maps */
        FILES = 2,   /* for files alone */
        CHANGES = 4, /* what cannot be changed back: the last one in its world */
        LENGTH = 8,  /* not for raw maps, whose length is for good */
};

struct api_call {
        const char *name; /* without ammap_ */
        int (*prepare)(struct world *), (*run)(struct world *);
        unsigned flags;
};

static const struct api_call api_calls[] = {
#define CALL(name, prepare, flags)                                                                                     \
        {                                                                                                              \
#name, prepare, run_##name, flags                                                                      \
        }
        CALL(strerror, NULL, 0),
        CALL(errname, NULL, 0),
        CALL(version, NULL, 0),
        CALL(len, NULL, 0),
        CALL(is_empty, NULL, 0),
        CALL(describe, NULL, 0),
        CALL(new, NULL, 0),
        CALL(new_with, NULL, 0),
        CALL(free, run_new_with, 0),
        CALL(recover, NULL, 0),
        CALL(read_into, NULL, 0),
        CALL(read_little, NULL, 0),
        CALL(update_region, NULL, 0),
        CALL(try_read_into, NULL, 0),
        CALL(timed_read_into, NULL, 0),
        CALL(try_update_region, NULL, 0),
        CALL(timed_update_region, NULL, 0),
        CALL(fill, NULL, 0),
        CALL(copy, NULL, 0),
        CALL(copy_within, NULL, 0),
        CALL(as_slice, NULL, 0),
        CALL(as_mut_slice, NULL, 0),
        CALL(try_as_slice, NULL, 0),
        CALL(try_as_mut_slice, NULL, 0),
        CALL(timed_as_slice, NULL, 0),
        CALL(timed_as_mut_slice, NULL, 0),
        CALL(recover_as_mut_slice, NULL, 0),
        CALL(mut_slice_downgrade, run_as_mut_slice, 0),
        CALL(slice_release, run_as_slice, 0),
        CALL(mut_slice_release, run_as_mut_slice, 0),
        CALL(slice_detach, run_as_slice, 0),
        CALL(mut_slice_detach, run_as_mut_slice, 0),
        CALL(lane, NULL, 0),
        CALL(holders, run_as_slice, 0),
        CALL(as_ptr, NULL, 0),
        CALL(as_mut_ptr, NULL, 0),
        CALL(atomic_u32, NULL, 0),
        CALL(atomic_u64, NULL, 0),
        CALL(atomic_u32_slice, NULL, 0),
        CALL(atomic_u64_slice, NULL, 0),
        CALL(u32_view_release, run_atomic_u32, 0),
        CALL(u64_view_release, run_atomic_u64, 0),
        CALL(load_u32, NULL, 0),
        CALL(load_u64, NULL, 0),
        CALL(wait_change, NULL, 0),
        CALL(wait_u32, NULL, 0),
        CALL(wait_u32_peer, NULL, 0),
        CALL(wake_u32, NULL, 0),
        CALL(populate, NULL, 0),
        CALL(advise, NULL, 0),
        CALL(mlock, NULL, 0),
        CALL(munlock, NULL, 0),
        CALL(stat, NULL, 0),
        CALL(is_hugepage_backed, NULL, 0),
        CALL(trim, NULL, 0),
        CALL(clone, NULL, 0),
        CALL(flush, NULL, SHARES),
        CALL(fd, NULL, SHARES),
        CALL(export, NULL, SHARES),
        CALL(import, run_export, SHARES),
        CALL(send, NULL, SHARES),
        CALL(recv, run_send, SHARES),
        CALL(open, NULL, FILES),
        CALL(discard, NULL, CHANGES),
        CALL(grow, NULL, CHANGES | LENGTH),
        CALL(shrink, NULL, CHANGES | LENGTH),
        CALL(freeze, NULL, CHANGES),
        CALL(seal, NULL, SHARES | CHANGES),
};

static inline bool call_is_for(const struct api_call *call, const struct world_kind *kind)
{
        return (!(call->flags & SHARES) || kind->share != AMMAP_PRIVATE) && (!(call->flags & FILES) || kind->file) &&
               (!(call->flags & LENGTH) || kind->share != AMMAP_RAW);
}

/* Whether the table has every symbol that is exported; where the list is not at hand, true. */
static inline bool calls_are_complete(void)
{
        const char *directory = getenv("srcdir");
        char path[4096], line[200], name[100];
        bool complete = true;
        FILE *list;

        snprintf(path, sizeof(path), "%s/lib/ammap.map", directory ? directory : ".");
        if (!(list = fopen(path, "re")))
                return true;
        while (fgets(line, sizeof(line), list)) {
                bool found = false;

                if (sscanf(line, " ammap_%99[a-z0-9_];", name) != 1)
                        continue;
                for (size_t i = 0; i < COUNT_OF(api_calls) && !found; i++)
                        found = strcmp(api_calls[i].name, name) == 0 ||
                                (strcmp(name, "resize") == 0 && strcmp(api_calls[i].name, "grow") == 0);
                if (!found)
                        printf("calls.h lacks ammap_%s\n", name);
                complete &= found;
        }
        fclose(list);
        return complete;
}

#endif /* AMMAP_TESTS_CALLS_H */
