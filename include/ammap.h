/* ammap.h - anonymous memory mappings behind a handle
 *
 * SPDX-License-Identifier: MIT
 *
 * An ammap_t is a region of zero-filled memory with its length and its lock.  Every
 * access is checked against the length and ordered by the lock.  Threads and processes
 * can share the region without hand-written mmap, bounds checks and pthread_rwlock.
 *
 *      ammap_t *map;
 *      int rc = ammap_new(&map, 4096);
 *      if (rc < 0)
 *              errx(1, "%s", ammap_strerror(rc));
 *      ammap_update_region(map, 0, "hello", 5);
 *      ammap_free(map);
 *
 * Units     Offsets, lengths and sizes are in bytes.  Timeouts are in nanoseconds from
 *           now, on the monotonic clock.
 * Results   A call that returns int returns 0 (or a count, where it says so) or a
 *           negative code.  The code is an AMMAP_ERR_* below where the library refused,
 *           and a negative errno (-ENOMEM, ...) where the system refused.
 * Threads   Any thread may call any function at any time.  One exception: while one
 *           thread calls ammap_free, no other thread may use the same map.
 *           No function is a cancellation point.  No function may be called from a
 *           signal handler, unless its manual page allows it.
 *
 * Each function has a manual page with all its codes.  ammap(7) describes the model.
 */
#ifndef AMMAP_H
#define AMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus) ? __cplusplus < 201103L && !defined(_MSVC_LANG)                                               \
                         : !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L
#error "ammap.h needs C11 or C++11: compile with -std=c11 or -std=c++11, or later"
/* What follows is read all the same, so that the line above is the only one to be seen. */
typedef volatile uint32_t ammap_atomic_uint32_t;
typedef volatile uint64_t ammap_atomic_uint64_t;
#elif defined(__cplusplus)
#include <atomic>
typedef std::atomic<uint32_t> ammap_atomic_uint32_t;
typedef std::atomic<uint64_t> ammap_atomic_uint64_t;
#else
#include <stdatomic.h>
typedef _Atomic uint32_t ammap_atomic_uint32_t;
typedef _Atomic uint64_t ammap_atomic_uint64_t;
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define AMMAP_VERSION_MAJOR 0
#define AMMAP_VERSION_MINOR 1
#define AMMAP_VERSION_PATCH 0
#define AMMAP_VERSION "0.1.0"

#if defined(__GNUC__) || defined(__clang__)
#define AMMAP_API __attribute__((visibility("default")))
#define AMMAP_MUST_CHECK __attribute__((warn_unused_result))
/* Written before a definition, these release the slice or the view, and free the map, at
 * the end of its scope.  A scope ends with what was defined last: define the map before
 * its slices and views, for ammap_free does nothing while one of them is alive.
 *      AMMAP_AUTO_MAP ammap_t *map = NULL;
 *      AMMAP_AUTO_SLICE ammap_slice_t slice = { 0 };
 */
#define AMMAP_AUTO_MAP __attribute__((cleanup(ammap_free_variable)))
#define AMMAP_AUTO_SLICE __attribute__((cleanup(ammap_slice_release)))
#define AMMAP_AUTO_MUT_SLICE __attribute__((cleanup(ammap_mut_slice_release)))
#define AMMAP_AUTO_U32_VIEW __attribute__((cleanup(ammap_u32_view_release)))
#define AMMAP_AUTO_U64_VIEW __attribute__((cleanup(ammap_u64_view_release)))
#else
#define AMMAP_API
#define AMMAP_MUST_CHECK
#endif

/* --- Errors ------------------------------------------------------------- */

/* The values are part of the ABI and are never renumbered. */
#define AMMAP_OK 0
/* A pointer is NULL, a flag, option or count is not valid, or options contradict each other
 * or the map that is there. */
#define AMMAP_ERR_INVALID (-10001)
/* The size is 0, or above what the platform or the capacity allows; or a raw file or memory
 * is empty. */
#define AMMAP_ERR_SIZE (-10002)
/* The range is not wholly inside the map. */
#define AMMAP_ERR_BOUNDS (-10003)
/* The offset of an atomic is not a multiple of its size. */
#define AMMAP_ERR_MISALIGNED (-10004)
/* A slice or view is in the way, or a try call would have to wait. */
#define AMMAP_ERR_BUSY (-10005)
/* The timeout ran out. */
#define AMMAP_ERR_TIMEOUT (-10006)
/* A slice that the calling thread holds is in the way. */
#define AMMAP_ERR_DEADLOCK (-10007)
/* A writer ended inside its write.  See ammap_recover_as_mut_slice and ammap_recover. */
#define AMMAP_ERR_OWNER_DEAD (-10008)
/* The map is frozen, or this process may only read it. */
#define AMMAP_ERR_READ_ONLY (-10009)
/* This kind of map, or this system, cannot do that. */
#define AMMAP_ERR_UNSUPPORTED (-10010)
/* The descriptor or file holds no map of this library, a damaged one, one with a header
 * where raw bytes were asked for, or another one than when it was opened. */
#define AMMAP_ERR_FORMAT (-10011)
/* Others could make the file or memory behind the descriptor shorter, and
 * options.allow_faults is not set. */
#define AMMAP_ERR_UNSEALED (-10012)
/* The memory behind the range is gone: its file was made shorter, or its disk failed. */
#define AMMAP_ERR_FAULT (-10013)
/* A limit of a shared map is reached: 256 threads lock it, or the calling thread holds
 * read slices of eight ranges of lanes, none of which lies within another. */
#define AMMAP_ERR_LIMIT (-10014)

/* Returns a sentence that explains a code of this library or a negative errno.
 * The result is never NULL.  The text is constant and belongs to the library. */
AMMAP_API const char *ammap_strerror(int code);

/* Returns the name of a code: "AMMAP_ERR_BOUNDS", "ENOMEM", "AMMAP_OK"; "UNKNOWN" for
 * a value that is no code.  The result is never NULL.  The text is constant and belongs
 * to the library. */
AMMAP_API const char *ammap_errname(int code);

/* Returns the version of the library that runs: "MAJOR.MINOR.PATCH". */
AMMAP_API const char *ammap_version(void);

/* --- Life --------------------------------------------------------------- */

#ifdef __cplusplus /* where ammap is a namespace, of ammap.hpp */
typedef struct ammap_handle ammap_t;
#else
typedef struct ammap ammap_t;
#endif

/* Who shares a map.
 *   AMMAP_PRIVATE  nobody.  For calls that take a descriptor or a path: AMMAP_SHARED
 *   AMMAP_SHARED   other processes that use this library.  The memory has a descriptor
 *                  and a header (ammap-format(5)), and all processes use one lock
 *   AMMAP_RAW      any program.  All bytes behind the descriptor are data, the length
 *                  never changes, and the lock belongs to this handle alone */
typedef enum ammap_share { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW } ammap_share_t;

/* What a forked child has in place of the map.
 *   AMMAP_FORK_COPY  a copy (private maps), or the same memory (all others); nothing in
 *                    place of a secret map
 *   AMMAP_FORK_OMIT  nothing: its calls return AMMAP_ERR_UNSUPPORTED; ammap_free works
 *   AMMAP_FORK_WIPE  zeros */
typedef enum ammap_fork { AMMAP_FORK_COPY, AMMAP_FORK_OMIT, AMMAP_FORK_WIPE } ammap_fork_t;

/* Whether a property is wanted.
 *   AMMAP_NO    no
 *   AMMAP_TRY   yes; where the system refuses, the map is made without it
 *   AMMAP_MUST  yes; where the system refuses, the call fails
 * ammap_stat tells what was obtained. */
typedef enum ammap_want { AMMAP_NO, AMMAP_TRY, AMMAP_MUST } ammap_want_t;

/* How to make a map.  The default of every field but struct_size is 0.
 *
 * struct_size tells the library how much of the structure the program knows.  A library
 * that is older than the program's header accepts the fields that it does not know
 * where they are 0, and returns AMMAP_ERR_INVALID where they are not.
 *
 *      ammap_options_t options = AMMAP_OPTIONS_INIT;
 *      options.lanes = 2;
 */
typedef struct ammap_options {
        size_t struct_size;          /* set by AMMAP_OPTIONS_INIT */
        const char *name;            /* for /proc/self/maps, where the kernel can; read during the call alone */
        uint64_t capacity;           /* what ammap_resize can grow it to, in bytes; 0: the size */
        uint64_t lanes;              /* equal parts locked apart, 1 to AMMAP_LANES_MAX; 0: one */
        ammap_share_t share;         /* with whom */
        ammap_fork_t fork;           /* what a forked child finds; the pages of a shared map cannot be wiped */
        bool allow_faults;           /* SIGBUS is accepted where others can take the memory away: slices and pointers
                                      * of it; and ammap_open makes maps that are as fast as memory */
        bool read_only;              /* ammap_open, _import and _recv: this process only reads the map */
        unsigned char reserved_a[2]; /* 0 */
        ammap_want_t huge;           /* huge pages; those of shared memory are made, and present, at once */
        ammap_want_t populate;       /* all pages present from the start */
        ammap_want_t lock;           /* kept in memory, never swapped */
        ammap_want_t guard;          /* a page before and after that is fatal to touch */
        ammap_want_t nodump;         /* not in core dumps */
        ammap_want_t secret;         /* lock and nodump; wiped when freed and when shrunk; no child has it */
        ammap_want_t noreserve;      /* not accounted for as memory to be kept free */
        ammap_want_t recycle;        /* ammap_free may keep the memory for a later map like it; see ammap_trim */
        uint32_t reserved_b;         /* 0 */
} ammap_options_t;

#define AMMAP_OPTIONS_INIT                                                                                             \
        {                                                                                                              \
                sizeof(ammap_options_t), NULL, 0, 0, AMMAP_PRIVATE, AMMAP_FORK_COPY, false, false, { 0, 0 }, AMMAP_NO, \
                        AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, 0                        \
        }

/* The largest number of lanes.  A map has no more lanes than bytes of capacity. */
#define AMMAP_LANES_MAX 4096

/* Creates a map of `size` bytes, all zero, readable and writable.
 *
 *   map    receives the new map; NULL on an error
 *   size   1 byte to 128 TiB (2 GiB on 32-bit systems)
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID   map is NULL
 *   AMMAP_ERR_SIZE      size is 0 or above the limit
 *   -ENOMEM, ...        the system refused the memory
 * Free the map with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_new(ammap_t **map, uint64_t size);

/* Creates a map with options.  NULL options are the default, as for ammap_new.
 *
 * Returns the codes of ammap_new, and
 *   AMMAP_ERR_INVALID      also: an option is unknown or contradicts another, as
 *                          recycle with AMMAP_MUST does with sharing and with each
 *                          property and fork policy
 *   AMMAP_ERR_SIZE         also: the capacity is less than the size
 *   AMMAP_ERR_UNSUPPORTED  the system has no such kind of map, or cannot do what an
 *                          option says with AMMAP_MUST
 *   -ENOMEM, ...           also: the system refused what an option says with AMMAP_MUST
 * Free the map with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options);

/* Frees a map: gives its memory back to the system, or keeps it (options.recycle).
 * NULL is allowed and does nothing.
 *
 * Returns 0, or
 *   AMMAP_ERR_BUSY   a slice or a view of the map is alive in this process, or another
 *                    thread sleeps in a call on the map
 *   -ENOMEM          the process has too many mappings to split one
 * On an error nothing has changed, but that a secret may have been wiped. */
AMMAP_API int ammap_free(ammap_t *map);

#ifdef AMMAP_AUTO_MAP
/* For AMMAP_AUTO_MAP, whose function is given the variable's address. */
static inline __attribute__((unused)) void ammap_free_variable(ammap_t **map)
{
        ammap_free(*map);
}
#endif

/* Returns the length in bytes; 0 if map is NULL or a fork left the map out. */
AMMAP_API uint64_t ammap_len(const ammap_t *map);

/* Returns whether the length is 0. */
AMMAP_API bool ammap_is_empty(const ammap_t *map);

/* Changes the length of the map.  The address does not change.  Added bytes are zero,
 * also if the map had that length before.  Slices and views stay valid.  Copies in
 * progress finish first; no copy sees half of the change.
 *
 *   size   1 byte to the capacity
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_SIZE         size is 0 or above the capacity
 *   AMMAP_ERR_BUSY         a slice or view ends behind the new length; of a shared map also:
 *                          a mut slice touches a lane that becomes shorter
 *   AMMAP_ERR_OWNER_DEAD   a writer ended inside its write
 *   AMMAP_ERR_READ_ONLY    the map is frozen, or this process may only read it
 *   AMMAP_ERR_LIMIT        256 threads lock the shared map already
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  the map is raw, or a fork left it out
 *   -ENOMEM, ...           the system has no memory for it
 *   -EFBIG                 the memory would be longer than RLIMIT_FSIZE allows
 *   -EPERM                 the memory is sealed against growth
 * On an error nothing has changed. */
AMMAP_API int ammap_resize(ammap_t *map, uint64_t size);

/* Writes a line of text about the map, for people: its length and capacity, its lanes, its
 * name.  Programs must not read it: its form may change.
 *
 *   text   receives the text, cut to fit and always terminated; NULL if size is 0
 *   size   of text, in bytes
 *
 * Returns the length of the whole text, as snprintf does, or
 *   AMMAP_ERR_INVALID      map is NULL, or text is NULL and size is not 0
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out */
AMMAP_API int ammap_describe(const ammap_t *map, char *text, size_t size);

/* Ends the state AMMAP_ERR_OWNER_DEAD of all lanes, for all processes.  The bytes stay
 * as the writer left them.  Other threads may read and write them at once.  To repair them
 * before that, call ammap_recover_as_mut_slice instead.
 *
 * Returns 0, also if no lane is in that state, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_READ_ONLY    this process may only read the map
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map is in the file now
 *   AMMAP_ERR_LIMIT        256 threads lock the shared map already
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   a negative errno       the system refused */
AMMAP_API int ammap_recover(ammap_t *map);

/* --- Copies ------------------------------------------------------------- *
 *
 * Each copy is atomic for the others: no reader sees half of an update.  Each waits for
 * slices of other threads that are in its way, except those that try or have a timeout.
 * A buffer may be NULL if its length is 0.
 *
 * A copy or a fill of exactly one word of 2, 4 or 8 bytes, at an offset that is a multiple
 * of its size, is one access to the map: it may be mixed with atomic views of the word.
 * That holds for 8 bytes where the processor has such atomics, and not for memory that
 * others can take away.
 *
 * Each returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_BOUNDS       a range is not wholly inside its map
 *   AMMAP_ERR_DEADLOCK     the calling thread holds a slice that is in the way
 *   AMMAP_ERR_OWNER_DEAD   a writer ended inside its write of one of the lanes
 *   AMMAP_ERR_READ_ONLY    to write: the map is frozen, or this process may only read it
 *   AMMAP_ERR_TIMEOUT      to read, for a process that may only read the map: writers
 *                          left no moment for it for ten seconds
 *   AMMAP_ERR_LIMIT        256 threads lock the shared map already
 *   AMMAP_ERR_FAULT        the file, or unsealed memory, was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   -ENOMEM                there was no memory to note the lanes that it locks
 *   -EAGAIN                more readers than the lock can count
 *   -ENOSPC, -EDQUOT       to write: the disk of the file has no room
 * If AMMAP_ERR_FAULT, -ENOSPC or -EDQUOT comes after some bytes were written, their lanes
 * are in the state AMMAP_ERR_OWNER_DEAD.  So they are where a process may not call
 * process_vm_writev(2), and has no descriptor left in the middle of a write to a file
 * (-EMFILE, -ENFILE).  On any other error the map is unchanged.
 * A buffer is unchanged after AMMAP_ERR_INVALID and AMMAP_ERR_BOUNDS; after the latter unless
 * the map became shorter during the call.
 */

/* Copies length bytes at offset of the map into buffer. */
AMMAP_API int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length);

/* Copies length bytes of data into the map, to offset. */
AMMAP_API int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length);

/* Sets length bytes of the map at offset to byte. */
AMMAP_API int ammap_fill(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte);

/* Copies length bytes from one map to another, or within one map.  The ranges may
 * overlap.  Two handles of one shared map, or of one file, count as one map. */
AMMAP_API int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length);

/* Copy out, and in, if nobody is in the way.  Also returned:
 *   AMMAP_ERR_BUSY   another thread is in the way; the map is unchanged */
AMMAP_API int ammap_try_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length);
AMMAP_API int ammap_try_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length);

/* Copy out, and in; wait for timeout_ns nanoseconds at most (less than 0: for as long as
 * ammap_read_into and ammap_update_region do).  Also returned:
 *   AMMAP_ERR_TIMEOUT   another thread was in the way for so long; the map is unchanged */
AMMAP_API int ammap_timed_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length, int64_t timeout_ns);
AMMAP_API int ammap_timed_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length,
                                        int64_t timeout_ns);

/* --- Slices ------------------------------------------------------------- *
 *
 * A slice is a pointer into the map that holds a lock.  While it is alive, a slice keeps
 * writers away from the lanes that it touches, and a mut slice keeps all others away.
 * A thread may hold many slices at once.
 *
 * A slice belongs to the thread that took it, and that thread releases it, or gives it to
 * the process (ammap_slice_detach).  The structure may be moved or copied; one of the copies
 * is released.  When a thread ends, its slices are released; its mut slices leave the state
 * AMMAP_ERR_OWNER_DEAD.
 *
 * Each call that takes a slice returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_BOUNDS       the range is not wholly inside the map
 *   AMMAP_ERR_DEADLOCK     the calling thread holds a slice that is in the way
 *   AMMAP_ERR_OWNER_DEAD   a writer ended inside its write of one of the lanes
 *   AMMAP_ERR_READ_ONLY    a mut slice: the map is frozen, or this process may only read it
 *   AMMAP_ERR_LIMIT        256 threads lock the shared map already, or the calling thread
 *                          holds read slices of eight other ranges
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out; or others could take the memory away
 *                          and options.allow_faults is not set; or this process may only
 *                          read the shared map, which is not frozen
 *   -ENOMEM                there was no memory to note the lanes
 *   -EAGAIN                more slices than the lock can count
 * On an error the structure is all zeros.
 */

struct ammap_span { /* the library's own */
        void *ammap_hold;
        size_t ammap_count;
};

typedef struct ammap_slice {
        const unsigned char *data; /* the first byte */
        size_t length;             /* in bytes */
        struct ammap_span ammap_private;
} ammap_slice_t;

typedef struct ammap_mut_slice {
        unsigned char *data;
        size_t length;
        struct ammap_span ammap_private;
} ammap_mut_slice_t;

/* Take a slice; wait for as long as others are in the way. */
AMMAP_API AMMAP_MUST_CHECK int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                  ammap_mut_slice_t *slice);

/* Take a slice if nobody is in the way.  Also returned:
 *   AMMAP_ERR_BUSY   another thread is in the way */
AMMAP_API AMMAP_MUST_CHECK int ammap_try_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_try_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                      ammap_mut_slice_t *slice);

/* Take a slice; wait for timeout_ns nanoseconds at most (less than 0: for ever).
 * Also returned:
 *   AMMAP_ERR_TIMEOUT   another thread was in the way for so long */
AMMAP_API AMMAP_MUST_CHECK int ammap_timed_as_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns,
                                                    ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_timed_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                        int64_t timeout_ns, ammap_mut_slice_t *slice);

/* Takes a mut slice as ammap_as_mut_slice does, also of lanes whose writer died.  Nobody
 * else reads or writes them before the slice is released.  So the caller can repair them.
 * Releasing the slice, or ammap_mut_slice_downgrade, ends the state AMMAP_ERR_OWNER_DEAD of
 * its lanes.  If the caller ends before that, they stay in that state.
 *
 * Returns 0 if no writer of the lanes had died, or
 *   1   one had: the bytes are as it left them.  Of several callers one gets 1
 * or the codes of ammap_as_mut_slice but AMMAP_ERR_OWNER_DEAD. */
AMMAP_API AMMAP_MUST_CHECK int ammap_recover_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                          ammap_mut_slice_t *slice);

/* Turns a mut slice into a slice of the same bytes.  No other writer gets in between.
 * Others may read from then on.  The call does not wait.
 *
 *   from   the mut slice; all zeros afterwards
 *   to     receives the slice, which is released as any other; all zeros on an error
 *
 * Returns 0 (also if from is all zeros: then to is), or
 *   AMMAP_ERR_INVALID   a pointer is NULL, or from is no mut slice of the calling thread
 *   AMMAP_ERR_LIMIT     a shared map: the calling thread holds read slices of eight
 *                       other ranges
 *   AMMAP_ERR_FAULT     the file was made shorter
 *   AMMAP_ERR_FORMAT    another map was made in the file since it was opened
 *   -ENOLCK, ...        the system refused, for a map in a file
 * On an error *from is as it was, and is still to be released. */
AMMAP_API AMMAP_MUST_CHECK int ammap_mut_slice_downgrade(ammap_mut_slice_t *from, ammap_slice_t *to);

/* Release a slice and zero the structure.  They do nothing if slice is NULL or all
 * zeros.
 *
 * Return 0, or
 *   AMMAP_ERR_INVALID   another thread holds the slice; nothing is released, and the
 *                       structure stays as it is */
AMMAP_API int ammap_slice_release(ammap_slice_t *slice);
AMMAP_API int ammap_mut_slice_release(ammap_mut_slice_t *slice);

/* Give a slice of the calling thread to its process.  After that any thread of the process
 * may release the slice, and the end of a thread does not.  The end of the process does: a
 * mut slice of a shared map or a file then leaves the state AMMAP_ERR_OWNER_DEAD.
 * The slice is in the way of all threads, the calling one too, as another thread's is:
 * AMMAP_ERR_BUSY and AMMAP_ERR_TIMEOUT, never AMMAP_ERR_DEADLOCK.  A forked child does not
 * hold it.
 *
 * Return 0, also if the slice is detached already, or
 *   AMMAP_ERR_INVALID       slice is NULL or all zeros, or another thread holds it
 *   AMMAP_ERR_LIMIT         a shared map: its 256 slots are taken
 *   AMMAP_ERR_UNSUPPORTED   a shared map: the process cannot open its memory again to
 *                           write, by /proc
 *   AMMAP_ERR_FAULT         a shared map: the program closed the descriptor
 *   -ENOMEM, -EMFILE, ...   the system refused
 *   -EAGAIN                 more slices than the lock can count
 * On an error the slice stays the calling thread's. */
AMMAP_API int ammap_slice_detach(ammap_slice_t *slice);
AMMAP_API int ammap_mut_slice_detach(ammap_mut_slice_t *slice);

/* --- Lanes -------------------------------------------------------------- */

/* Tells which lane holds the byte at offset.
 *
 *   begin    receives where the lane begins, in bytes from the start of the map
 *   length   receives the bytes of the lane that the map has; the last lane of a map may
 *            be shorter than the others
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_BOUNDS       the map has no byte at offset
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 * On an error *begin and *length are 0. */
AMMAP_API int ammap_lane(const ammap_t *map, uint64_t offset, uint64_t *begin, uint64_t *length);

/* How something is held.
 *   AMMAP_HOLD_READ    lanes, by slices or copies out
 *   AMMAP_HOLD_WRITE   lanes, by a mut slice or a copy in
 *   AMMAP_HOLD_DEAD    lanes, by a writer that ended inside its write
 *   AMMAP_HOLD_VIEW    bytes, by a view: it keeps the map from being freed, frozen or cut */
typedef enum ammap_hold { AMMAP_HOLD_READ, AMMAP_HOLD_WRITE, AMMAP_HOLD_DEAD, AMMAP_HOLD_VIEW } ammap_hold_t;

typedef struct ammap_holder {
        int32_t pid;     /* the process; 0: not known */
        int32_t tid;     /* the thread; 0: it is the process's, or not known */
        uint64_t offset; /* of lanes in a row that are held, or of the view */
        uint64_t length; /* of both, in bytes */
        ammap_hold_t hold;
} ammap_holder_t;

/* Tells who stands in the way of a range, the calling thread too.
 *
 *   holders   receives the first `count` of them, in no certain order; may be NULL if
 *             count is 0
 *   count     how many there is room for
 *
 * What one thread holds in one way is an entry for each run of lanes in a row; the run may
 * begin before the range and end after it.  A view is an entry; views of this process are
 * listed.  pid is 0 for other processes that have the map in a file, for all in a shared
 * map of another PID namespace, and for a dead writer of which nothing is known any more.
 *
 * The answer is of a moment that is over.  It takes no lock, and keeps nobody away.  A
 * copy that is under way may be missing, or be listed with a tid of 0.
 *
 * Returns how many holders there are, or
 *   AMMAP_ERR_INVALID      map is NULL, or holders is NULL and count is not 0
 *   AMMAP_ERR_BOUNDS       the range is not wholly inside the map
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   -ENOMEM                there was no memory to note the lanes
 *   a negative errno       the system refused
 * On an error holders is all zeros. */
AMMAP_API int ammap_holders(ammap_t *map, uint64_t offset, uint64_t length, ammap_holder_t *holders, size_t count);

/* --- Raw pointers ------------------------------------------------------- */

/* The address of the map's first byte, to read or to write through.  No lock is taken:
 * the caller prevents races.  The pointer is valid until ammap_free.
 *
 * Returns the address, or NULL where
 *   map is NULL
 *   a fork left the map out of this process
 *   others could take the memory away (a file, a descriptor whose size is not
 *   sealed) and options.allow_faults was not set
 *   to write: the map is frozen, or this process may only read it
 * With allow_faults an access to memory that is gone raises SIGBUS. */
AMMAP_API const void *ammap_as_ptr(const ammap_t *map);
AMMAP_API void *ammap_as_mut_ptr(ammap_t *map);

/* --- Atomic views ------------------------------------------------------- *
 *
 * A view points at atomics inside the map.  It takes no lock and keeps nobody away.
 * While it is alive the map cannot be freed, frozen, or made shorter than the view's
 * end.  The structure may be moved or copied; one of the copies is released, by any
 * thread.
 *
 * Each call that takes a view returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_BOUNDS       the atomics are not wholly inside the map
 *   AMMAP_ERR_MISALIGNED   the offset is not a multiple of their size, 4 or 8; told before
 *                          AMMAP_ERR_BOUNDS
 *   AMMAP_ERR_READ_ONLY    the map is frozen, or this process may only read the raw map
 *                          or file
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out; or others could take the memory away
 *                          and options.allow_faults is not set; or this process may only
 *                          read the shared map
 *   -ENOMEM                there was no memory to note the view
 * On an error the structure is all zeros.
 */

typedef struct ammap_u32_view {
        ammap_atomic_uint32_t *value;
        size_t count;
        uintptr_t ammap_private[2];
} ammap_u32_view_t;

typedef struct ammap_u64_view {
        ammap_atomic_uint64_t *value;
        size_t count;
        uintptr_t ammap_private[2];
} ammap_u64_view_t;

AMMAP_API AMMAP_MUST_CHECK int ammap_atomic_u32(ammap_t *map, uint64_t offset, ammap_u32_view_t *view);
AMMAP_API AMMAP_MUST_CHECK int ammap_atomic_u64(ammap_t *map, uint64_t offset, ammap_u64_view_t *view);
AMMAP_API AMMAP_MUST_CHECK int ammap_atomic_u32_slice(ammap_t *map, uint64_t offset, size_t count,
                                                      ammap_u32_view_t *view);
AMMAP_API AMMAP_MUST_CHECK int ammap_atomic_u64_slice(ammap_t *map, uint64_t offset, size_t count,
                                                      ammap_u64_view_t *view);

/* Release a view and zero the structure.  They do nothing if view is NULL or all zeros. */
AMMAP_API void ammap_u32_view_release(ammap_u32_view_t *view);
AMMAP_API void ammap_u64_view_release(ammap_u64_view_t *view);

/* Load one word.  It is read as one, with acquire order.  No lock is taken, and a slice or
 * a writer does not stand in the way.  A process that may only read the map can load, and
 * so can one that has it frozen.
 *
 *   offset  of the word, a multiple of its size
 *   value   receives the word; 0 on an error
 *
 * Of a file, and of memory that is not sealed, the kernel reads the word: in one access
 * on 64-bit systems; on others the halves of a 64-bit word may be of two moments.
 *
 * Each returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_MISALIGNED   the offset is not a multiple of 4, or 8; told before the next one
 *   AMMAP_ERR_BOUNDS       the word is not wholly inside the map
 *   AMMAP_ERR_FAULT        the file, or unsealed memory, was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   -EMFILE, ...           the system refused to read the file */
AMMAP_API int ammap_load_u32(ammap_t *map, uint64_t offset, uint32_t *value);
AMMAP_API int ammap_load_u64(ammap_t *map, uint64_t offset, uint64_t *value);

/* Waits until a range has been written.  No writer needs to know of it: copies in, fills
 * and mut slices count when they end, also one that stored nothing.  Stores through views
 * and pointers do not count.  What counts is a write to a lane that has a byte of the range,
 * and so does a resize to a shorter length, a freeze or a recovery that touched one; a
 * growth does not.
 *
 *   generation  what an earlier call stored, of the same range; or 0: the call returns at
 *               once.  It receives the generation of now, which is never 0, and stays on
 *               an error.  Two are the same or not; no other comparison has a meaning
 *   timeout_ns  less than 0: for ever
 *
 * Returns 0, and a read that follows sees the bytes that were written, or
 *   AMMAP_ERR_TIMEOUT      the time ran out, and nothing had been written
 *   AMMAP_ERR_INVALID      a pointer is NULL
 *   AMMAP_ERR_BOUNDS       the range is not wholly inside the map, any more
 *   AMMAP_ERR_READ_ONLY    the map is frozen: nobody writes any more
 *   AMMAP_ERR_OWNER_DEAD   a writer ended inside its write, and nothing was written since
 *   AMMAP_ERR_DEADLOCK     less than 0, and the calling thread's slices keep all writers out
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 * Seldom it returns 0 though nobody wrote.  Who waits is woken, but looks every 10 ms if it
 * may only read a shared map, and every millisecond for a range of several lanes that
 * processes share.  The writers of a raw map are those of this handle. */
AMMAP_API int ammap_wait_change(ammap_t *map, uint64_t offset, uint64_t length, uint64_t *generation,
                                int64_t timeout_ns);

/* Sleeps while the 32-bit word at offset has the value `expected`, until ammap_wake_u32
 * wakes it, or for timeout_ns nanoseconds (less than 0: for ever).
 *
 * Returns 0, or
 *   AMMAP_ERR_TIMEOUT      the time ran out; the word may have changed: look again
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_BOUNDS       the word is not wholly inside the map
 *   AMMAP_ERR_MISALIGNED   the offset is not a multiple of 4; told before AMMAP_ERR_BOUNDS
 *   AMMAP_ERR_FAULT        the file, or unsealed memory, was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 * 0 means: the thread was woken, the word has another value, or neither.  So call it in
 * a loop that looks at the word. */
AMMAP_API int ammap_wait_u32(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns);

/* As ammap_wait_u32, and looks whether a process lives: whoever waits for a process that is
 * killed learns it within 10 ms, also if that process held nothing.
 *
 *   pid   of the process, as this process's PID namespace counts, more than 0
 *
 * Returns what ammap_wait_u32 returns, or
 *   AMMAP_ERR_INVALID      also: pid is less than 1
 *   AMMAP_ERR_OWNER_DEAD   the process has ended, and the word is as expected
 * A number that another process has got before the call is that process's.  From the call
 * on that cannot happen. */
AMMAP_API int ammap_wait_u32_peer(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns, int32_t pid);

/* Wakes threads that sleep on the word at offset.
 *
 *   count   how many threads at most, 0 or more
 *
 * Returns how many threads were woken, or
 *   AMMAP_ERR_INVALID      map is NULL, or count is less than 0
 *   AMMAP_ERR_BOUNDS       the word is not wholly inside the map
 *   AMMAP_ERR_MISALIGNED   the offset is not a multiple of 4; told before AMMAP_ERR_BOUNDS
 *   AMMAP_ERR_FAULT        the file, or unsealed memory, was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out */
AMMAP_API int ammap_wake_u32(ammap_t *map, uint64_t offset, int count);

/* --- Sharing ------------------------------------------------------------ *
 *
 * A shared map lies behind a descriptor that other processes can receive: over a socket,
 * by fork or by exec.  Its address differs between processes.  All else is common to
 * them: bytes, length, lock, wait and wake.  The memory is sealed against getting
 * shorter.  It is as long as the map; the capacity is address space alone.
 *
 * A process may end at any instruction.  As a reader it is forgotten.  As a writer it
 * leaves the state AMMAP_ERR_OWNER_DEAD, in every process, until one of them calls
 * ammap_recover.
 *
 * A process may have a map that it can only read.  Its writes return
 * AMMAP_ERR_READ_ONLY.  Its copies out are consistent.  It has slices once the map is
 * frozen.  It has no views, and can load single words.  This is also so for a process in
 * another PID namespace, because the kernel would not tell the others of its death, and
 * for a process that cannot know its own namespace.
 *
 * Others can take away the memory of a file, and of a descriptor that is not sealed.
 * After that copies return AMMAP_ERR_FAULT and raise no signal.  Slices, views and
 * pointers of such maps need options.allow_faults.  A map that ammap_open makes with
 * allow_faults has its lock in the file, and all its calls are as fast as in memory; then
 * an access to bytes that are gone raises SIGBUS in copies too.
 *
 * On an error *map is NULL and *fd is -1.
 */

/* Rights.  ammap_export takes AMMAP_READ alone, or with one of the others. */
#define AMMAP_READ 1U
#define AMMAP_WRITE 2U
#define AMMAP_NO_SEAL 16U /* to read, and new writers can still come */

/* Opens the map in a file, or makes one.
 *
 *   map      receives the map; NULL on an error
 *   path     of the file
 *   size     of a new map; an old one keeps its length.  0: the file must have a map
 *   options  as for ammap_new_with; NULL is the default.  capacity is that of a new map;
 *            lanes are 0, or those of the map that is there.  With AMMAP_RAW all bytes
 *            of the file are data.  With read_only nothing is made, whatever size is
 *
 * If size is 0 and the file may not be written, it is opened to be read.  A file that
 * holds anything but a map is not changed.
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL, an option is bad, or the lanes are not the
 *                          file's
 *   AMMAP_ERR_SIZE         the size or the capacity is not possible
 *   AMMAP_ERR_FORMAT       the file holds something else, or a damaged map
 *   AMMAP_ERR_UNSEALED     the map was made with allow_faults, which is not set here
 *   AMMAP_ERR_BUSY         the file was emptied, and the map that was made in it with
 *                          allow_faults is still open; or the one made without is written
 *   AMMAP_ERR_TIMEOUT      another process was making or opening it for ten seconds
 *   AMMAP_ERR_UNSUPPORTED  the system has no such maps, or the file's pages are huge
 *   -ENOENT                nothing is to be made, and there is no such file
 *   -ENOSPC, -EACCES, ...  the system refused
 * Free the map with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_open(ammap_t **map, const char *path, uint64_t size,
                                          const ammap_options_t *options);

/* Returns the descriptor behind the map, 3 or more.  It belongs to the map: do not close
 * it.  It is closed by ammap_free.  Or returns
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_UNSUPPORTED  the map is private
 *   AMMAP_ERR_FAULT        the program closed the descriptor, or its number is of another
 *                          file now */
AMMAP_API int ammap_fd(const ammap_t *map);

/* Makes a descriptor of the map for another process.
 *
 *   rights   AMMAP_READ: nobody can ever write through it.  For that the memory is sealed
 *            with AMMAP_SEAL_FUTURE_WRITE: it cannot be exported with AMMAP_WRITE any
 *            more, and those who can write it go on.  AMMAP_READ | AMMAP_NO_SEAL: it is
 *            not sealed, and a peer of the same user could open /proc to write.
 *            AMMAP_READ | AMMAP_WRITE: both
 *   fd       receives the descriptor, closed on exec; -1 on an error
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL, or the rights are others
 *   AMMAP_ERR_READ_ONLY    it is to be written, and may not be
 *   AMMAP_ERR_UNSUPPORTED  the map is private; or it is a file, which cannot be sealed; or
 *                          with AMMAP_NO_SEAL, there is no /proc
 *   AMMAP_ERR_FAULT        as for ammap_fd
 *   a negative errno       the system refused
 * Close the descriptor with close(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_export(ammap_t *map, unsigned rights, int *fd);

/* Makes a map of a descriptor that a process exported.  Nothing that lies behind the
 * descriptor is trusted.
 *
 *   map      receives the map; NULL on an error
 *   fd       the descriptor.  It stays the caller's: the map has a duplicate
 *   options  share is AMMAP_RAW for memory that this library did not make.  capacity and
 *            lanes are for that; else they are 0, or those of the map.  With read_only
 *            the duplicate can only be read.  NULL is the default
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      map is NULL, an option is bad, or contradicts the map
 *   AMMAP_ERR_FORMAT       the descriptor is of no map, or of a damaged one
 *   AMMAP_ERR_UNSEALED     its size is not sealed, and options.allow_faults is not set
 *   AMMAP_ERR_SIZE         the raw memory is empty
 *   AMMAP_ERR_UNSUPPORTED  the system has no such maps, or the pages are huge
 *   AMMAP_ERR_TIMEOUT      of a map in a file: another process was making or opening it for ten
 *                          seconds
 *   a negative errno       the system refused
 * Free the map with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_import(ammap_t **map, int fd, const ammap_options_t *options);

/* Sends the map over a UNIX socket, as one byte and one descriptor.  The receiver has
 * the rights that this process has.
 * Returns 0, the codes of ammap_fd, or a negative errno where the system refused. */
AMMAP_API int ammap_send(ammap_t *map, int socket);

/* Receives a map that ammap_send sent.  It reads one byte from the socket.
 *
 * Returns 0, the codes of ammap_import, or
 *   AMMAP_ERR_FORMAT   also: no descriptor came, or several, which are closed
 *   -EMFILE            this process can have no more descriptors; the map is lost
 *   -ECONNRESET        the other end is closed
 * Free the map with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_recv(ammap_t **map, int socket, const ammap_options_t *options);

/* Seals: what nobody can do any more with the memory behind the descriptor. */
#define AMMAP_SEAL_SHRINK 1U       /* make it shorter */
#define AMMAP_SEAL_GROW 2U         /* make it longer */
#define AMMAP_SEAL_WRITE 4U        /* write it; while someone has it writable: -EBUSY */
#define AMMAP_SEAL_FUTURE_WRITE 8U /* write it, but for those who have it writable */
#define AMMAP_SEAL_SEAL 16U        /* add another seal */

/* Adds seals to the memory of the map.
 *
 * Returns 0, also if it has these seals, or
 *   AMMAP_ERR_INVALID      map is NULL, or a seal is unknown
 *   AMMAP_ERR_UNSUPPORTED  the map is private or a file
 *   AMMAP_ERR_FAULT        as for ammap_fd
 *   -EPERM                 the memory is sealed against more seals
 *   -EBUSY                 AMMAP_SEAL_WRITE, while a process has it writable */
AMMAP_API int ammap_seal(ammap_t *map, unsigned seals);

/* Waits until the bytes of the range, and the length of the map, are on the disk.
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_BOUNDS       the range is not wholly inside the map
 *   AMMAP_ERR_UNSUPPORTED  the map is private
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   -EIO, ...              the disk failed, or the system refused */
AMMAP_API int ammap_flush(ammap_t *map, uint64_t offset, uint64_t length);

/* --- Memory ------------------------------------------------------------- *
 *
 * Ranges are in bytes.  Work on pages is done on all pages that the range touches.
 *
 * Each call with a range returns 0, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_BOUNDS       the range is not wholly inside the map
 *   AMMAP_ERR_FAULT        the file, or unsealed memory, was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   a negative errno       the system refused
 */

/* Makes the pages present, so that no access waits for them.  -ENOSPC: the disk of the
 * file has no room. */
AMMAP_API int ammap_populate(ammap_t *map, uint64_t offset, uint64_t length);

/* Makes the bytes zero, as a write does, and gives the whole pages among them back to
 * the system.  Locked pages become zero and stay.  It needs no room on a disk.  It also
 * returns what a copy into the map returns. */
AMMAP_API int ammap_discard(ammap_t *map, uint64_t offset, uint64_t length);

/* How the program will use a range.  No advice changes a byte. */
typedef enum ammap_advice {
        AMMAP_ADVICE_NORMAL,
        AMMAP_ADVICE_RANDOM,
        AMMAP_ADVICE_SEQUENTIAL,
        AMMAP_ADVICE_WILLNEED,
        AMMAP_ADVICE_COLD,      /* not for a while */
        AMMAP_ADVICE_PAGEOUT,   /* not for long: swap it out */
        AMMAP_ADVICE_HUGEPAGE,  /* in huge pages where that can be */
        AMMAP_ADVICE_NOHUGEPAGE /* not in huge pages */
} ammap_advice_t;

AMMAP_API int ammap_advise(ammap_t *map, uint64_t offset, uint64_t length, ammap_advice_t advice);

/* Lock the pages in memory, and unlock them. */
AMMAP_API int ammap_mlock(ammap_t *map, uint64_t offset, uint64_t length);
AMMAP_API int ammap_munlock(ammap_t *map, uint64_t offset, uint64_t length);

/* Makes the map read-only for good: each later write returns AMMAP_ERR_READ_ONLY, and the
 * pages cannot be written.  A shared map or a file is frozen in every process, a raw map
 * in this handle.  It waits for slices of other threads.  It looks for views in this
 * process alone.
 *
 * Returns 0, also if the map is frozen already, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_BUSY         a view is alive
 *   AMMAP_ERR_DEADLOCK     the calling thread holds a slice
 *   AMMAP_ERR_OWNER_DEAD   a writer ended inside its write
 *   AMMAP_ERR_READ_ONLY    this process may only read the map
 *   AMMAP_ERR_LIMIT        256 threads lock the shared map already
 *   AMMAP_ERR_FAULT        the file was made shorter
 *   AMMAP_ERR_FORMAT       another map was made in the file since it was opened
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 *   -ENOMEM                the process has too many mappings to split one
 * On an error the map is as it was. */
AMMAP_API int ammap_freeze(ammap_t *map);

/* Makes a copy of the map as it is at one instant: with its length, capacity, lanes and
 * options, not frozen.  Pages that hold nothing are not made present.  The copy of a
 * shared map is shared, if the map is not frozen; all other copies are private.
 *
 *   copy   receives the new map; NULL on an error
 *
 * Returns 0, or the codes of ammap_read_into and ammap_new_with.
 * Free the copy with ammap_free(). */
AMMAP_API AMMAP_MUST_CHECK int ammap_clone(ammap_t *map, ammap_t **copy);

/* How the ends of a map are guarded. */
typedef enum ammap_guard {
        AMMAP_GUARD_NONE,
        AMMAP_GUARD_PAGES,  /* by mappings that cannot be touched */
        AMMAP_GUARD_MARKERS /* by markers in the map's own */
} ammap_guard_t;

/* Why a process may not write a map.  Of several causes the first of these is told.
 *   AMMAP_WHY_NOT            it may write
 *   AMMAP_WHY_FROZEN         the map is frozen: nobody may
 *   AMMAP_WHY_OPTION         options.read_only
 *   AMMAP_WHY_RIGHTS         the descriptor or file can only be read, or the memory is
 *                            sealed against new writers
 *   AMMAP_WHY_PID_NAMESPACE  the shared map belongs to another PID namespace, or this
 *                            process cannot know its own */
typedef enum ammap_why {
        AMMAP_WHY_NOT,
        AMMAP_WHY_RIGHTS,
        AMMAP_WHY_FROZEN,
        AMMAP_WHY_OPTION,
        AMMAP_WHY_PID_NAMESPACE
} ammap_why_t;

/* What a map is and has.  The caller sets struct_size, by AMMAP_STAT_INIT.  Fields that
 * the library does not know become 0. */
typedef struct ammap_statistics {
        size_t struct_size;
        uint64_t length;   /* all of these in bytes */
        uint64_t capacity; /* what it can grow to */
        uint64_t mapped;   /* address space, guards included */
        uint64_t page;     /* the size of a page */
        uint64_t resident; /* in memory, by the kernel's account */
        uint64_t huge;     /* in huge pages, by the kernel's account */
        uint64_t locked;   /* in memory and locked there, by the kernel's account */
        uint64_t slices;   /* alive, of all threads */
        uint64_t views;    /* alive */
        uint64_t lanes;
        ammap_share_t share;
        ammap_fork_t fork;
        ammap_guard_t guard;
        bool frozen;
        bool read_only; /* no write can succeed */
        /* What was asked for and obtained of these, and still is so: */
        bool nodump;
        bool secret;               /* all of it locked, not in core dumps, and wiped */
        bool noreserve;            /* by the kernel's account, where that tells */
        bool recycle;              /* ammap_free may keep the memory */
        unsigned char reserved[6]; /* 0 */
        uint64_t lane_size;        /* of every lane but the last ones, in bytes */
        uint64_t slots;            /* threads that lock a shared map, of all processes; else 0 */
        uint64_t slots_max;        /* how many there can be; else 0 */
        ammap_why_t why_read_only;
        uint32_t reserved_b; /* 0 */
} ammap_stat_t;

#define AMMAP_STAT_INIT                                                                                                \
        {                                                                                                              \
                sizeof(ammap_stat_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, AMMAP_PRIVATE, AMMAP_FORK_COPY, AMMAP_GUARD_NONE,  \
                        false, false, false, false, false, false, { 0, 0, 0, 0, 0, 0 }, 0, 0, 0, AMMAP_WHY_NOT, 0      \
        }

/* The value of resident, huge and locked if the kernel does not tell: there is no /proc,
 * it may not be read, or the process can have no more descriptors. */
#define AMMAP_STAT_UNKNOWN UINT64_MAX

/* Tells what a map is and has.
 *
 *   stat   receives it; its struct_size is set
 *
 * Returns 0, or
 *   AMMAP_ERR_INVALID      a pointer is NULL, or struct_size is less than its own size
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out
 * On an error all of *stat but struct_size is 0. */
AMMAP_API int ammap_stat(ammap_t *map, ammap_stat_t *stat);

/* Returns 1 if a huge page is behind any part of the map, 0 if none is, or
 *   AMMAP_ERR_INVALID      map is NULL
 *   AMMAP_ERR_UNSUPPORTED  a fork left the map out, or the kernel does not tell
 *   -EMFILE, ...           the system refused */
AMMAP_API int ammap_is_hugepage_backed(ammap_t *map);

/* Gives memory back to the system that ammap_free has kept of maps with options.recycle.
 * The library keeps AMMAP_RECYCLE_MAX bytes at most, its own notes included, and makes
 * them zero before they become a map again.
 *
 *   keep   how many bytes may stay
 *
 * Returns 0, or
 *   -ENOMEM            the process has too many mappings to split one; the rest is kept
 *   a negative errno   there is no map yet, and the system refused what the first one
 *                      needs; nothing is kept */
#define AMMAP_RECYCLE_MAX (UINT64_C(64) << 20)
AMMAP_API int ammap_trim(uint64_t keep);

#ifdef __cplusplus
}
#endif

#endif /* AMMAP_H */
