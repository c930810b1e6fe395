/* region.c - the address range of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "memory/region.h"

#include "memory/bytes.h"
#include "memory/huge.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where a page's first byte stands is all that is aligned without guards. */
enum { ALIGNMENT = 16 };

/* Through a pointer that the compiler must take for anything, so that it does
 * not leave out the wiping of memory that nobody reads again. */
static void *(*const volatile wipe)(void *bytes, int byte, size_t size) = memset;

static size_t page_down(size_t n)
{
        return n & ~(os_page_size() - 1);
}

static size_t page_up(size_t n)
{
        return page_down(n + os_page_size() - 1);
}

size_t region_pages(uint64_t length)
{
        return page_up((size_t)length);
}

/* Whether what is written here others see. */
static bool is_shared(const struct region *region)
{
        return region->backing != NULL;
}

/* --- All or nothing -------------------------------------------------------
 *
 * The kernel goes through a range mapping by mapping, and where it fails half-way
 * (too many mappings, no memory for what is to be present) what it has done stays
 * done.  Here that is taken back, which needs no more mappings than there were.
 */

/* Change the access of what is committed; or leave it as it was.  True in *torn:
 * neither could be done, and nobody knows what can be written. */
static int change_access(struct region *region, enum os_access from, enum os_access to, bool *torn)
{
        int rc = os_protect(region->data, region->committed, to);

        *torn = rc < 0 && os_protect(region->data, region->committed, from) < 0;
        return rc;
}

/* Have the kernel lock of a range what is noted, and no more. */
static void lock_as_noted(struct region *region, size_t from, size_t to)
{
        for (size_t i = 0; i < region->locked->count; i++) {
                const struct stretch *lock = &region->locked->stretch[i];
                size_t first = lock->from > from ? lock->from : from, end = lock->to < to ? lock->to : to;

                if (first >= end)
                        continue;
                if (from < first)
                        os_unlock(region->data + from, first - from);
                os_lock(region->data + first, end - first);
                from = end;
        }
        if (from < to)
                os_unlock(region->data + from, to - from);
}

/* Room to note one more.  A fork in the midst finds a list that it can free. */
static int make_room(struct region *region)
{
        struct locked *more, *old = region->locked;
        size_t count = old ? old->count : 0, room = old ? 2 * old->room : 4;

        if (old && count < old->room)
                return 0;
        more = malloc(sizeof *more + room * sizeof more->stretch[0]);
        if (!more)
                return -ENOMEM;
        if (count)
                memcpy(more->stretch, old->stretch, count * sizeof more->stretch[0]);
        more->count = count;
        more->room = room;
        region->locked = more;
        free(old);
        return 0;
}

/* Note a range as locked, or as not; with room for one more. */
static void note_locked(struct locked *all, size_t from, size_t to, bool locked)
{
        struct stretch *list = all->stretch, put[2];
        size_t first = 0, end, n = 0;

        while (first < all->count && list[first].to < from)
                first++;
        for (end = first; end < all->count && list[end].from <= to;)
                end++;
        /* Those from first to end overlap the range or touch it. */
        if (locked) {
                put[n++] = (struct stretch){ first < end && list[first].from < from ? list[first].from : from,
                                             first < end && list[end - 1].to > to ? list[end - 1].to : to };
        } else {
                if (first < end && list[first].from < from)
                        put[n++] = (struct stretch){ list[first].from, from };
                if (first < end && list[end - 1].to > to)
                        put[n++] = (struct stretch){ to, list[end - 1].to };
        }
        if (end < all->count)
                memmove(&list[first + n], &list[end], (all->count - end) * sizeof *list);
        for (size_t i = 0; i < n; i++)
                list[first + i] = put[i];
        all->count = all->count - (end - first) + n;
}

/* The same of what has been unlocked.  Where there is no memory for that, no lock is noted any more: what is noted must
 * be locked. */
static void note_unlocked(struct region *region, size_t from, size_t to)
{
        if (!region->locked)
                return;
        if (make_room(region) < 0)
                region->locked->count = 0;
        else
                note_locked(region->locked, from, to, false);
}

static int set_locked(struct region *region, size_t from, size_t to, bool locked)
{
        int rc;

        if (from >= to)
                return 0;
        if ((rc = make_room(region)) < 0)
                return rc;
        rc = locked ? os_lock(region->data + from, to - from) : os_unlock(region->data + from, to - from);
        if (rc < 0)
                lock_as_noted(region, from, to);
        else
                note_locked(region->locked, from, to, locked);
        return rc;
}

int region_lock(struct region *region, size_t from, size_t to)
{
        int rc = set_locked(region, from, to, true);
        unsigned char byte;

        if (rc == -ENOMEM && is_shared(region) &&
            bytes_peek(region->backing, to - 1, &byte, sizeof byte) == AMMAP_ERR_FAULT)
                rc = AMMAP_ERR_FAULT;
        return rc;
}

int region_unlock(struct region *region, size_t from, size_t to)
{
        return set_locked(region, from, to, false);
}

bool region_is_secret(const struct region *region)
{
        const struct locked *locked = region->locked;

        return region->secret && region->nodump && locked && locked->count == 1 && locked->stretch[0].from == 0 &&
               locked->stretch[0].to >= region->used;
}

/* --- Making one --- */

/* The first failure of what must be. */
static void must(ammap_want_t want, int rc, int *failure)
{
        if (want == AMMAP_MUST && rc < 0 && *failure == 0)
                *failure = rc;
}

static ammap_want_t stronger(ammap_want_t a, ammap_want_t b)
{
        return a > b ? a : b;
}

/* How a region is laid out, in bytes: what lies before and after it, and what its data is
 * aligned to. */
struct layout {
        size_t before, after, align;
};

/* Map it so, or as far from aligned as the backing is in its file: access at birth.  To align it more is mapped, and
 * the slack given back; what of it cannot be (too many mappings to split one)
 * belongs to the map, out of reach, until that goes. */
static int map_aligned(struct region *region, struct layout layout, enum os_access access, bool noreserve)
{
        size_t before = layout.before, align = layout.align;
        size_t slack = align - os_page_size(), length = before + region->size + layout.after;
        size_t phase = region->backing ? (size_t)(region->backing->offset % align) : 0, head;
        void *address = NULL;
        int rc = os_reserve(&address, length + slack, access, noreserve);

        if (rc < 0)
                return rc;
        head = (align + phase - ((uintptr_t)address + before) % align) % align;
        region->map = address;
        region->mapped = length + slack;
        region->data = region->map + head + before;
        if (head > 0 && os_unmap(address, head) == 0) {
                region->map += head;
                region->mapped -= head;
        }
        if (slack > head && os_unmap(region->data - before + length, slack - head) == 0)
                region->mapped -= slack - head;
        return 0;
}

static enum os_access access_of(const struct region *region)
{
        return region->frozen ? OS_READ : OS_WRITE;
}

/* Map the backing, with nothing around it. */
static int map_bare(struct region *region)
{
        void *address = NULL;
        int rc = os_map_file_anywhere(&address, region->size, region->backing->fd, region->backing->offset,
                                      access_of(region));

        if (rc < 0)
                return rc;
        region->map = region->data = address;
        region->mapped = region->size;
        return 0;
}

/* Make what is to be used readable and writable, or what the backing allows. */
static int commit(struct region *region)
{
        const struct backing *backing = region->backing;

        if (!backing)
                return os_protect(region->data, region->committed, OS_WRITE);
        return os_map_file(region->data, region->committed, backing->fd, backing->offset, access_of(region));
}

/* Guards without a mapping of their own, where the kernel has them. */
static int guard(struct region *region, bool marked)
{
        size_t page = os_page_size();
        unsigned char *first = region->data - page, *last = region->data + region->size;
        int rc;

        region->guard = AMMAP_GUARD_PAGES;
        if (!marked)
                return 0;
        if (os_guard(first, page) == 0 && os_guard(last, page) == 0) {
                region->guard = AMMAP_GUARD_MARKERS;
                return 0;
        }
        if ((rc = os_protect(first, page, OS_NONE)) == 0)
                rc = os_protect(last, page, OS_NONE);
        return rc;
}

static struct huge_range huge_range(const struct region *region, size_t from, size_t to)
{
        return (struct huge_range){ region->data, from, to, region->backing, access_of(region) };
}

static int make_huge(const struct region *region, size_t from, size_t to)
{
        const struct huge_range range = huge_range(region, from, to);

        return huge_make(&range);
}

static int verify_huge(const struct region *region)
{
        const struct huge_range range = huge_range(region, 0, region->used);

        return region->huge ? huge_verify(&range) : huge_verify_first(&range);
}

static int verify_noreserve(const struct region *region)
{
        struct os_usage usage;

        os_usage(region->data, region->size, &usage);
        return usage.unreserved == region->size ? 0 : AMMAP_ERR_UNSUPPORTED;
}

/* A child that takes the map out by hand must find all of it: some of it gone,
 * something else may be there. */
static int omit_on_fork(struct region *region)
{
        int rc = os_omit_on_fork(region->map, region->mapped);

        region->fork_by_hand = rc < 0;
        return rc < 0 && !os_absent(rc) ? os_keep_on_fork(region->map, region->mapped) : 0;
}

/* In the order in which one does not stand in another's way: no guard can be
 * put into locked memory, and what is made present is made so as advised. */
static int obtain(struct region *region, const ammap_options_t *options)
{
        int failure = 0, rc;

        if (options->name && *options->name && !region->backing)
                os_name(region->data, region->size, options->name);
        if (region->fork == AMMAP_FORK_OMIT)
                failure = omit_on_fork(region);
        if (options->huge && (rc = os_advise(region->data, region->size, OS_HUGEPAGE)) < 0)
                must(options->huge, rc, &failure);
        if (failure == 0 && region->huge)
                must(region->huge, make_huge(region, 0, region->used), &failure);
        if (options->nodump || options->secret) {
                rc = os_nodump(region->data, region->size);
                region->nodump = rc == 0;
                must(stronger(options->nodump, options->secret), rc, &failure);
        }
        if (region->fork == AMMAP_FORK_WIPE)
                region->fork_by_hand = os_wipe_on_fork(region->data, region->size) < 0;
        if (failure == 0 && region->lock)
                must(region->lock, region_lock(region, 0, region->used), &failure);
        if (failure == 0 && region->populate)
                must(region->populate, region_populate(region, 0, region->used), &failure);
        if (failure == 0 && options->huge == AMMAP_MUST)
                failure = verify_huge(region);
        if (failure == 0 && options->noreserve == AMMAP_MUST && !is_shared(region)) /* which never is accounted for */
                failure = verify_noreserve(region);
        return unsupported(failure);
}

/* Where it cannot be unmapped (too many mappings to split one), it holds nothing at least. */
static void give_up(struct region *region)
{
        free(region->locked);
        if (os_unmap(region->map, region->mapped) < 0)
                os_discard(region->data, region->size);
}

int region_make(struct region *region, uint64_t length, const ammap_options_t *options, const struct backing *backing,
                unsigned char **base)
{
        size_t page = os_page_size(), align = page;
        size_t huge = options->huge || huge_is_meant(backing) ? os_huge_size() : 0;
        size_t shift, before = options->guard ? page : 0, after = before;
        bool open, marked, bare;
        int rc;

        memset(region, 0, sizeof *region);
        region->backing = backing;
        region->size = page_up((size_t)options->capacity);
        shift = options->guard && !backing ? (region->size - (size_t)options->capacity) / ALIGNMENT * ALIGNMENT : 0;
        region->used = page_up(shift + (size_t)length);
        region->committed = backing ? region->size : region->used;
        region->frozen = is_shared(region) && !backing->write;
        region->lock = options->lock;
        if (options->secret > options->lock)
                region->lock = options->secret;
        region->populate = options->populate;
        if (options->huge && backing && os_is_memory(backing->fd))
                region->huge = options->huge;
        region->secret = options->secret != AMMAP_NO && !is_shared(region);
        region->fork = options->fork;
        if (region->secret && options->fork == AMMAP_FORK_COPY)
                region->fork = AMMAP_FORK_OMIT; /* a child that took zeros for a key would not be told */
        region->noreserve = options->noreserve != AMMAP_NO;
        /* A neighbour that is huge too would be one mapping with it, and the
         * kernel's account of both would be one: so nothing that is aligned is bare. */
        if (huge && region->size >= huge) {
                align = huge;
                after = page;
        }
        /* A fork that wipes takes the markers off. */
        marked = options->guard && align == page && region->used == region->size && region->fork != AMMAP_FORK_WIPE &&
                 !backing;
        open = marked || (before + after == 0 && region->used == region->size && !backing);

        bare = backing && before + after == 0;

        if (bare)
                rc = map_bare(region);
        else
                rc = map_aligned(region, (struct layout){ before, after, align }, open ? OS_WRITE : OS_NONE,
                                 options->noreserve != AMMAP_NO);
        if (rc < 0)
                return rc;
        if (!open && !bare)
                rc = commit(region);
        if (rc == 0 && options->guard)
                rc = guard(region, marked);
        if (rc == 0)
                rc = obtain(region, options);
        if (rc == 0)
                *base = region->data + shift;
        else
                give_up(region);
        return rc;
}

/* A failure to unmap comes after the wiping: a secret does not wait for it.  A child may be forked in the midst: where
 * the memory was it may have other things already, and where the locks were noted. */
int region_free(struct region *region)
{
        const size_t mapped = region->mapped;
        struct locked *locked = region->locked;
        bool torn;
        int rc = region->secret && region->frozen ? change_access(region, OS_READ, OS_WRITE, &torn) : 0;

        if (rc < 0)
                return rc;
        if (region->secret) {
                region->frozen = false;
                wipe(region->data, 0, region->used);
        }
        region->mapped = 0;
        rc = os_unmap(region->map, mapped);
        if (rc < 0) {
                region->mapped = mapped;
                return rc;
        }
        region->locked = NULL;
        free(locked);
        return 0;
}

void region_forget(struct region *region)
{
        free(region->locked);
        region->locked = NULL;
}

/* --- Its pages --- */

int region_populate(struct region *region, size_t from, size_t to)
{
        enum os_access access = access_of(region);
        int rc = from < to ? os_populate(region->data + from, to - from, access) : 0;

        if (rc == -EFAULT && is_shared(region)) /* a file may end within the last page, which is there then */
                return bytes_why(region->backing, from, to - os_page_size() + 1 - from);
        /* Others may be able to take away what is theirs too: let it be. */
        if ((rc != -ENOSYS && rc != -EINVAL) || is_shared(region))
                return rc;
        /* One at a time, and under the feet of those who write there. */
        for (; from < to; from += os_page_size()) {
                _Atomic unsigned char *byte = (_Atomic unsigned char *)(region->data + from);

                if (access == OS_WRITE)
                        atomic_fetch_or_explicit(byte, 0, memory_order_relaxed);
                else
                        atomic_load_explicit(byte, memory_order_relaxed);
        }
        return 0;
}

int region_grow(struct region *region, size_t used)
{
        size_t from = region->used;
        int rc;

        if (used > region->committed) {
                rc = os_protect(region->data + region->committed, used - region->committed, OS_WRITE);
                if (rc < 0) {
                        os_protect(region->data + region->committed, used - region->committed, OS_NONE);
                        return rc;
                }
                region->committed = used;
        }
        if (used > from && region->huge) {
                size_t back = (uintptr_t)(region->data + from) % os_huge_size();

                rc = make_huge(region, from > back ? from - back : 0, used);
                if (rc < 0 && region->huge == AMMAP_MUST)
                        return rc;
        }
        if (used > from && region->lock) {
                rc = region_lock(region, from, used);
                if (rc < 0 && region->lock == AMMAP_MUST)
                        return rc;
        }
        if (used > from && region->populate) {
                rc = region_populate(region, from, used);
                if (rc < 0 && region->populate == AMMAP_MUST) {
                        if (region->lock)
                                region_unlock(region, from, used);
                        return rc;
                }
        }
        region->used = used;
        return 0;
}

/* The next bytes from an offset on, and before an end, that the file below has: all that
 * are left where it does not tell, or cannot be asked any more.  False: there are none. */
static bool next_data(const struct region *region, size_t from, size_t to, size_t *first, size_t *end)
{
        const struct backing *backing = region->backing;
        uint64_t start = backing->offset + from, last = backing->offset + to, stop = last;
        struct os_file file;

        /* A hole that was made between its two looks makes it nothing at all. */
        if (backing_look(backing, &file) < 0 || os_next_data(backing->fd, start, &start, &stop) < 0 || stop <= start)
                stop = last;
        *first = from;
        if (from >= to || start >= last)
                return false;
        if (start > backing->offset + from)
                *first = (size_t)(start - backing->offset);
        *end = stop < last ? (size_t)(stop - backing->offset) : to;
        return true;
}

/* Wipe what the file has of whole pages; the rest is zero there. */
static void wipe_data(struct region *region, size_t from, size_t to)
{
        size_t first, end;

        for (; next_data(region, from, to, &first, &end); from = end)
                wipe(region->data + first, 0, end - first);
}

/* Make whole pages zero. */
static void zero_pages(struct region *region, size_t from, size_t to)
{
        if (region->secret)
                wipe(region->data + from, 0, to - from);
        if (is_shared(region)) {
                /* Refused where it is locked, or sealed against new writers. */
                if (os_remove(region->data + from, to - from) < 0)
                        wipe_data(region, from, to);
        } else if (os_discard(region->data + from, to - from) < 0 && !region->secret) {
                /* Locked memory is not given back. */
                wipe(region->data + from, 0, to - from);
        }
}

void region_zero(struct region *region, size_t from, size_t to)
{
        size_t first = page_up(from), last = page_down(to);

        if (first >= last) {
                wipe(region->data + from, 0, to - from);
                return;
        }
        wipe(region->data + from, 0, first - from);
        wipe(region->data + last, 0, to - last);
        zero_pages(region, first, last);
}

int region_zero_careful(struct region *region, size_t from, size_t to, size_t *done)
{
        size_t first = page_up(from), last = page_down(to), more;
        unsigned char byte;
        int rc;

        if (first >= last || os_remove(region->data + first, last - first) < 0)
                return bytes_zero(region->backing, from, to - from, done);
        rc = bytes_zero(region->backing, from, first - from, done);
        *done += last - first;
        if (rc < 0)
                return rc;
        rc = bytes_zero(region->backing, last, to - last, &more);
        *done += more;
        if (rc < 0)
                return rc;
        /* Nothing was removed, and nobody said so, where the file has become shorter. */
        return bytes_peek(region->backing, to - 1, &byte, 1);
}

void region_cut(struct region *region, size_t from, size_t to)
{
        size_t end = page_up(from), last = page_up(to);

        if (end < last) {
                if (region->secret)
                        wipe(region->data + end, 0, last - end);
                os_unlock(region->data + end, last - end);
                note_unlocked(region, end, last);
                region_zero(region, end, last);
        }
        region_note_cut(region, end);
        wipe(region->data + from, 0, end - from);
}

/* Torn, it is as good as frozen: some of it would be fatal to write. */
int region_freeze(struct region *region)
{
        bool torn;
        int rc = change_access(region, OS_WRITE, OS_READ, &torn);

        if (rc == 0 || torn)
                region->frozen = true;
        return torn ? 0 : rc;
}

int region_thaw(struct region *region)
{
        int rc = os_protect(region->data, region->committed, OS_WRITE);

        if (rc == 0)
                region->frozen = false;
        return rc;
}

/* A child has none of the locks.  What cannot be wiped it must not have. */
void region_forked(struct region *region)
{
        bool torn;

        if (region->locked)
                region->locked->count = 0;
        if (!region->fork_by_hand)
                return;
        if (region->fork == AMMAP_FORK_WIPE) {
                if (os_discard(region->data, region->committed) == 0)
                        return;
                if (!region->frozen || change_access(region, OS_READ, OS_WRITE, &torn) == 0) {
                        wipe(region->data, 0, region->used);
                        if (region->frozen)
                                os_protect(region->data, region->committed, OS_READ);
                        return;
                }
        }
        region_leave_out(region);
}

void region_leave_out(struct region *region)
{
        const size_t mapped = region->mapped;

        region->fork = AMMAP_FORK_OMIT;
        region->mapped = 0; /* a child of the child does not unmap what is there by then */
        if (mapped > 0)
                os_unmap(region->map, mapped);
}

/* --- Copying one --- */

static bool is_zero(const unsigned char *bytes, size_t size)
{
        return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Which of so many pages from an offset on may hold anything. */
static void find_pages(const struct region *region, size_t at, size_t pages, unsigned char *there)
{
        size_t page = os_page_size(), end = at + pages * page, first, stop;

        memset(there, 0, pages);
        if (!is_shared(region) && os_present(region->data + at, pages, there) < 0)
                memset(there, 1, pages);
        for (size_t from = at; is_shared(region) && next_data(region, from, end, &first, &stop); from = stop)
                memset(there + (first - at) / page, 1, (page_up(stop) - page_down(first)) / page);
}

enum { BATCH = 512 };

void region_copy(unsigned char *to, const struct region *from, size_t length)
{
        unsigned char there[BATCH];
        size_t page = os_page_size();

        for (size_t at = 0, batch; at < length; at += batch) {
                batch = length - at < BATCH * page ? length - at : BATCH * page;
                find_pages(from, at, page_up(batch) / page, there);
                for (size_t n = 0; n < batch; n += page) {
                        size_t size = batch - n < page ? batch - n : page;

                        if (there[n / page] && !is_zero(from->data + at + n, size))
                                memcpy(to + at + n, from->data + at + n, size);
                }
        }
}

int region_copy_careful(unsigned char *to, const struct region *from, size_t length)
{
        size_t first, end;
        int rc = 0;

        for (size_t at = 0; rc == 0 && next_data(from, at, length, &first, &end); at = end)
                rc = bytes_peek(from->backing, first, to + first, end - first);
        /* Beyond a file's end there is no data either. */
        if (rc == 0)
                rc = bytes_peek(from->backing, length - 1, to + length - 1, 1);
        return rc;
}
