/* ammap.h - anonymous memory mappings behind a handle
 *
 * SPDX-License-Identifier: MIT
 *
 * An ammap_t is a region of zero-filled memory together with its length and
 * its lock.  Every access is checked against the length and ordered by the
 * lock, so that threads can share the region without mmap, bounds checks and
 * pthread_rwlock written out by hand.
 *
 *      ammap_t *map;
 *      int rc = ammap_new(&map, 4096);
 *      if (rc < 0)
 *              errx(1, "%s", ammap_strerror(rc));
 *      ammap_update_region(map, 0, "hello", 5);
 *      ammap_free(map);
 *
 * Units: offsets, lengths and sizes are in bytes; durations are relative, in
 * nanoseconds, on the monotonic clock.
 *
 * Results: a call that returns int returns 0 (or the count that it documents)
 * or a negative code: an AMMAP_ERR_* of below where the library refused, the
 * negative errno (-ENOMEM, ...) where the system did.
 *
 * Threads: every function may be called from any thread at any time, except
 * that ammap_free may race with no other use of the same map.  No function is
 * a cancellation point.  No function may be called from a signal handler
 * unless its manual page says so.
 *
 * Each function has a manual page; ammap(7) describes the model.
 */
#ifndef AMMAP_H
#define AMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<uint32_t> ammap_atomic_uint32_t;
typedef std::atomic<uint64_t> ammap_atomic_uint64_t;
extern "C" {
#else
#include <stdatomic.h>
typedef _Atomic uint32_t ammap_atomic_uint32_t;
typedef _Atomic uint64_t ammap_atomic_uint64_t;
#endif

#define AMMAP_VERSION_MAJOR 0
#define AMMAP_VERSION_MINOR 1
#define AMMAP_VERSION_PATCH 0
#define AMMAP_VERSION "0.1.0"

#if defined(__GNUC__) || defined(__clang__)
#define AMMAP_API __attribute__((visibility("default")))
#define AMMAP_MUST_CHECK __attribute__((warn_unused_result))
/* Put before a definition, these release the slice at the end of its scope:
 *      AMMAP_AUTO_SLICE ammap_slice_t slice = { 0 };
 */
#define AMMAP_AUTO_SLICE __attribute__((cleanup(ammap_slice_release)))
#define AMMAP_AUTO_MUT_SLICE __attribute__((cleanup(ammap_mut_slice_release)))
#else
#define AMMAP_API
#define AMMAP_MUST_CHECK
#endif

/* --- Errors ------------------------------------------------------------- */

/* The values are part of the ABI and are never renumbered. */
#define AMMAP_OK 0
/* NULL where none is allowed, an unknown flag or option, a contradiction. */
#define AMMAP_ERR_INVALID (-10001)
/* A size of zero, or beyond what the platform or the capacity allows. */
#define AMMAP_ERR_SIZE (-10002)
/* The range leaves the map. */
#define AMMAP_ERR_BOUNDS (-10003)
/* An atomic offset is not a multiple of its type's size. */
#define AMMAP_ERR_MISALIGNED (-10004)
/* A live slice or view stands in the way; a try-call would have to wait. */
#define AMMAP_ERR_BUSY (-10005)
/* The time given ran out. */
#define AMMAP_ERR_TIMEOUT (-10006)
/* The calling thread's own slice stands in the way. */
#define AMMAP_ERR_DEADLOCK (-10007)
/* A writer died inside its write; see ammap_recover. */
#define AMMAP_ERR_OWNER_DEAD (-10008)
/* A write to a frozen or read-only map. */
#define AMMAP_ERR_READ_ONLY (-10009)
/* This kind of map, or this system, cannot do that. */
#define AMMAP_ERR_UNSUPPORTED (-10010)
/* An imported descriptor is not a map of ours, or its header is damaged. */
#define AMMAP_ERR_FORMAT (-10011)
/* An imported descriptor could still be shrunk by a peer. */
#define AMMAP_ERR_UNSEALED (-10012)
/* The memory behind the range is gone (truncated, unbackable). */
#define AMMAP_ERR_FAULT (-10013)
/* A limit of a shared map is reached: 256 threads lock it, or the thread has read
 * slices of eight ranges of lanes that do not lie within one another. */
#define AMMAP_ERR_LIMIT (-10014)

/* A sentence for any code of this library or negative errno; never NULL.  The
 * text is constant and belongs to the library. */
AMMAP_API const char *ammap_strerror(int code);

/* The code's name: "AMMAP_ERR_BOUNDS", "ENOMEM", "AMMAP_OK"; "UNKNOWN" for a
 * value that is no code.  Never NULL; constant; the library's. */
AMMAP_API const char *ammap_errname(int code);

/* The version of the library at run time, "MAJOR.MINOR.PATCH". */
AMMAP_API const char *ammap_version(void);

/* --- Life --------------------------------------------------------------- */

typedef struct ammap ammap_t;

/* Whom a map is shared with.
 *   AMMAP_PRIVATE  nobody; where a descriptor or a file is given: as AMMAP_SHARED
 *   AMMAP_SHARED   other processes that use this library: a descriptor with a
 *                  header (ammap-format(5)), and a lock that all of them respect
 *   AMMAP_RAW      anyone: the bytes of the descriptor are all data, its size is
 *                  the length for good, and the lock is this handle's own */
typedef enum ammap_share { AMMAP_PRIVATE, AMMAP_SHARED, AMMAP_RAW } ammap_share_t;

/* What a forked child finds in place of a map: a copy; nothing, where its calls
 * answer AMMAP_ERR_UNSUPPORTED and ammap_free works; or zeros. */
typedef enum ammap_fork { AMMAP_FORK_COPY, AMMAP_FORK_OMIT, AMMAP_FORK_WIPE } ammap_fork_t;

/* Whether a property is wanted: AMMAP_TRY goes on without it where the system
 * refuses, AMMAP_MUST fails.  ammap_stat tells what was obtained. */
typedef enum ammap_want { AMMAP_NO, AMMAP_TRY, AMMAP_MUST } ammap_want_t;

/* How a map is to be made.  Zero is the default of every field but struct_size.
 *
 * struct_size says how much of the structure the caller knows; a library that
 * is older than the caller's header accepts the rest where it is all zeros and
 * refuses it with AMMAP_ERR_INVALID where it is not.
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
        bool allow_faults;           /* slices and pointers even where others can take the memory away: SIGBUS */
        unsigned char reserved_a[3]; /* 0 */
        ammap_want_t huge;           /* huge pages */
        ammap_want_t populate;       /* all pages present from the start */
        ammap_want_t lock;           /* kept in memory, never swapped */
        ammap_want_t guard;          /* a page before and after that is fatal to touch */
        ammap_want_t nodump;         /* not in core dumps */
        ammap_want_t secret;         /* lock and nodump; wiped when freed, when shrunk and in a forked child */
        ammap_want_t noreserve;      /* not accounted for as memory to be kept free */
        ammap_want_t recycle;        /* ammap_free may keep the memory for a later map like it; see ammap_trim */
        uint32_t reserved_b;         /* 0 */
} ammap_options_t;

#define AMMAP_OPTIONS_INIT                                                                                             \
        {                                                                                                              \
                sizeof(ammap_options_t), NULL, 0, 0, AMMAP_PRIVATE, AMMAP_FORK_COPY, false, { 0, 0, 0 }, AMMAP_NO,     \
                        AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, AMMAP_NO, 0                        \
        }

/* The most lanes that a map may have; it may not have more than bytes. */
#define AMMAP_LANES_MAX 4096

/* Make a map of size bytes, all zero, readable and writable.
 * Size: 1 to 128 TiB (2 GiB on 32-bit), then what the system grants.
 * 0, and *map is the caller's to ammap_free; or *map is NULL and the result
 * AMMAP_ERR_INVALID, AMMAP_ERR_SIZE or the system's code (-ENOMEM, ...). */
AMMAP_API AMMAP_MUST_CHECK int ammap_new(ammap_t **map, uint64_t size);

/* The same with options; NULL options are the default.
 * AMMAP_ERR_INVALID also for an unknown or contradictory option, AMMAP_ERR_SIZE
 * for a capacity below the size; for what AMMAP_MUST be and cannot the system's
 * code or AMMAP_ERR_UNSUPPORTED. */
AMMAP_API AMMAP_MUST_CHECK int ammap_new_with(ammap_t **map, uint64_t size, const ammap_options_t *options);

/* Give the memory back.  NULL is allowed and does nothing.
 * 0, or AMMAP_ERR_BUSY while a slice or a view of the map is alive in this
 * process, or the system's code (-ENOMEM: too many mappings to split one); on an error nothing
 * has changed. */
AMMAP_API int ammap_free(ammap_t *map);

/* The length in bytes; 0 for NULL, and for a map that a fork left out. */
AMMAP_API uint64_t ammap_len(const ammap_t *map);

/* Whether the length is 0. */
AMMAP_API bool ammap_is_empty(const ammap_t *map);

/* Make the map size bytes long, in place, within its capacity.  What is new, or
 * new again, is zero.  Slices and views live on; it waits for copies, and
 * changes as one for them.
 * 0; or AMMAP_ERR_BUSY where a live slice or view would be cut,
 * AMMAP_ERR_INVALID, AMMAP_ERR_SIZE (0, or beyond the capacity),
 * AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_READ_ONLY, AMMAP_ERR_UNSUPPORTED,
 * AMMAP_ERR_LIMIT, AMMAP_ERR_FAULT or the system's code (-ENOMEM; -EFBIG: beyond
 * RLIMIT_FSIZE; -EPERM: sealed against growth), and nothing has changed. */
AMMAP_API int ammap_resize(ammap_t *map, uint64_t size);

/* Describe the map in a line of text for people, the length in it, cut to fit
 * and always terminated where size > 0.  The text's form is no interface.
 * The length of the whole text, as snprintf counts; or AMMAP_ERR_INVALID. */
AMMAP_API int ammap_describe(const ammap_t *map, char *text, size_t size);

/* Clear AMMAP_ERR_OWNER_DEAD: accept the bytes as the dead writer left them.
 * 0, also where there is nothing to clear; or AMMAP_ERR_INVALID,
 * AMMAP_ERR_READ_ONLY (this process may not write it), AMMAP_ERR_FAULT,
 * AMMAP_ERR_LIMIT, AMMAP_ERR_UNSUPPORTED or the system's code. */
AMMAP_API int ammap_recover(ammap_t *map);

/* --- Copies ------------------------------------------------------------- *
 *
 * Each copies as one: no reader sees half an update.  All wait for slices of
 * other threads that stand in the way.
 *
 * 0, or AMMAP_ERR_INVALID, AMMAP_ERR_BOUNDS, AMMAP_ERR_DEADLOCK,
 * AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_READ_ONLY, AMMAP_ERR_UNSUPPORTED (a fork left
 * the map out), AMMAP_ERR_LIMIT (more threads than can lock a shared map),
 * -ENOMEM (a long copy, or one across lanes, found no memory to note what it
 * holds), -EAGAIN (more readers than can be counted).
 * In a file, or in memory that others may make shorter, also AMMAP_ERR_FAULT (it was
 * made shorter) and -ENOSPC or -EDQUOT (its disk is full).  Where some of the bytes were
 * written before one of these, their lanes answer AMMAP_ERR_OWNER_DEAD from then on.
 * On any other error the map is unchanged, and so is a buffer after AMMAP_ERR_INVALID
 * and AMMAP_ERR_BOUNDS.  A buffer may be NULL where its length is 0.
 */

/* Copy length bytes at offset into buffer. */
AMMAP_API int ammap_read_into(ammap_t *map, uint64_t offset, void *buffer, size_t length);

/* Copy length bytes of data to offset. */
AMMAP_API int ammap_update_region(ammap_t *map, uint64_t offset, const void *data, size_t length);

/* Set length bytes at offset to byte. */
AMMAP_API int ammap_fill(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte);

/* Copy length bytes from one map to another or within one; the ranges may
 * overlap.  Two handles of one shared map, or of one file, are one map. */
AMMAP_API int ammap_copy(ammap_t *to, uint64_t to_offset, ammap_t *from, uint64_t from_offset, uint64_t length);

/* --- Slices ------------------------------------------------------------- *
 *
 * A slice is a pointer into the map that holds its lock: as long as it lives,
 * a slice keeps writers away from the lanes that it touches, a mut slice keeps
 * everyone else away.  Any number of slices may be alive at once.  A slice
 * belongs to the thread that took it and is released by that thread; the
 * structure may be moved or copied, and one of the copies released.  What a
 * thread still holds when it ends is released for it; a mut slice then leaves
 * AMMAP_ERR_OWNER_DEAD behind.
 *
 * 0, or AMMAP_ERR_INVALID, AMMAP_ERR_BOUNDS, AMMAP_ERR_DEADLOCK,
 * AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_READ_ONLY, AMMAP_ERR_UNSUPPORTED,
 * AMMAP_ERR_LIMIT, -ENOMEM, -EAGAIN (more slices than can be counted); then the
 * structure is all zeros.
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

/* Wait for as long as it takes. */
AMMAP_API AMMAP_MUST_CHECK int ammap_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                  ammap_mut_slice_t *slice);

/* Do not wait: AMMAP_ERR_BUSY where another thread stands in the way. */
AMMAP_API AMMAP_MUST_CHECK int ammap_try_as_slice(ammap_t *map, uint64_t offset, uint64_t length, ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_try_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                      ammap_mut_slice_t *slice);

/* Wait for timeout_ns at most, then AMMAP_ERR_TIMEOUT; less than 0: for ever. */
AMMAP_API AMMAP_MUST_CHECK int ammap_timed_as_slice(ammap_t *map, uint64_t offset, uint64_t length, int64_t timeout_ns,
                                                    ammap_slice_t *slice);
AMMAP_API AMMAP_MUST_CHECK int ammap_timed_as_mut_slice(ammap_t *map, uint64_t offset, uint64_t length,
                                                        int64_t timeout_ns, ammap_mut_slice_t *slice);

/* Release the slice and zero the structure; a zeroed one, and NULL, is let be.
 * Called from a thread that did not take the slice, it does nothing. */
AMMAP_API void ammap_slice_release(ammap_slice_t *slice);
AMMAP_API void ammap_mut_slice_release(ammap_mut_slice_t *slice);

/* --- Raw pointers ------------------------------------------------------- */

/* The address of the map's first byte, to read or to write through.  No lock is
 * taken or implied, and the caller answers for races.  The pointer is valid until
 * ammap_free.
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
 * A view points at count atomics inside the map.  It takes no lock and stops
 * no writer; while it lives the map cannot be freed, or shrunk below its end.  The structure may be
 * moved or copied, and one of the copies released, by any thread.
 *
 * 0, or AMMAP_ERR_INVALID, AMMAP_ERR_BOUNDS, AMMAP_ERR_MISALIGNED (the offset
 * is not a multiple of 4 or 8), AMMAP_ERR_READ_ONLY (the map is frozen),
 * AMMAP_ERR_UNSUPPORTED or -ENOMEM; then the structure is all zeros.
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

/* Release the view and zero the structure; a zeroed one, and NULL, is let be. */
AMMAP_API void ammap_u32_view_release(ammap_u32_view_t *view);
AMMAP_API void ammap_u64_view_release(ammap_u64_view_t *view);

/* Sleep while the 32-bit word at offset is expected, until an ammap_wake_u32
 * of it or for timeout_ns (less than 0: for ever).
 * 0 when woken, or when the word is something else, and now and then for no
 * reason, so callers loop; AMMAP_ERR_TIMEOUT; AMMAP_ERR_INVALID,
 * AMMAP_ERR_BOUNDS or AMMAP_ERR_MISALIGNED. */
AMMAP_API int ammap_wait_u32(ammap_t *map, uint64_t offset, uint32_t expected, int64_t timeout_ns);

/* Wake up to count threads that sleep on the word at offset.
 * How many were woken; or AMMAP_ERR_INVALID (also for count < 0),
 * AMMAP_ERR_BOUNDS or AMMAP_ERR_MISALIGNED. */
AMMAP_API int ammap_wake_u32(ammap_t *map, uint64_t offset, int count);

/* --- Sharing ------------------------------------------------------------ *
 *
 * A map made with AMMAP_SHARED lies behind a descriptor that other processes can
 * be given: over a socket, by fork, or by exec.  Its address differs from process
 * to process; everything else is one: bytes, length, lock, wait and wake.  The
 * memory behind the descriptor is sealed against getting shorter from birth, and as
 * long as the map: its capacity is address space alone, until a resize.
 *
 * A process that dies, at whatever instruction, stops nobody: as a reader it is
 * forgotten; as a writer it leaves AMMAP_ERR_OWNER_DEAD behind in every process
 * until one of them calls ammap_recover.
 *
 * A map that may not be written by this process answers AMMAP_ERR_READ_ONLY to
 * writes.  It copies out consistently.  It cannot keep writers away, so it has
 * slices only once the map is frozen, and no views: AMMAP_ERR_UNSUPPORTED.  A
 * process in another PID namespace has the map to read only, because the kernel
 * would not tell the others of its death; so has one that cannot know its own.
 *
 * Where someone else could take the memory away (files, and descriptors whose
 * size is not sealed) copies answer AMMAP_ERR_FAULT when that has happened, and
 * raise no signal; slices, views and pointers need options.allow_faults, else
 * AMMAP_ERR_UNSUPPORTED.
 *
 * On an error *map is NULL, *fd is -1.
 */

/* Rights, and what ammap_export takes: the first, or both. */
#define AMMAP_READ 1U
#define AMMAP_WRITE 2U

/* Open or make a map in a file.  size is that of a new map; of one that is there
 * the length is as it is, and size 0 wants one to be there (-ENOENT).  A file
 * that may not be written is opened to be read where size is 0.  A file that holds
 * anything but a map, zeros included, is left as it is.  options as for
 * ammap_new_with; capacity is that of a new map; lanes, too, and of one that is
 * there 0 or what it has.  With AMMAP_RAW all bytes of the file are data.
 * 0, and *map is the caller's to ammap_free; or AMMAP_ERR_INVALID (also other lanes
 * than the file's), AMMAP_ERR_SIZE, AMMAP_ERR_FORMAT (something else is in the file),
 * AMMAP_ERR_UNSUPPORTED, AMMAP_ERR_TIMEOUT (another process has been opening it
 * for ten seconds) or the system's code. */
AMMAP_API AMMAP_MUST_CHECK int ammap_open(ammap_t **map, const char *path, uint64_t size,
                                          const ammap_options_t *options);

/* The descriptor behind the map.  It stays the map's: not to be closed, and gone
 * with ammap_free.  3 or more; AMMAP_ERR_INVALID; AMMAP_ERR_UNSUPPORTED: a private
 * map; AMMAP_ERR_FAULT: the program has closed it, or its number is another file's. */
AMMAP_API int ammap_fd(const ammap_t *map);

/* Make a descriptor for another process, with no more rights than those.  What
 * is exported with AMMAP_READ alone nobody can ever make writable again; for that
 * the map is sealed with AMMAP_SEAL_FUTURE_WRITE, so that it cannot be exported
 * with AMMAP_WRITE any more; those who have it go on writing.
 * 0, and *fd is the caller's own, closed on exec; or AMMAP_ERR_INVALID,
 * AMMAP_ERR_READ_ONLY (it may not be written), AMMAP_ERR_UNSUPPORTED (a private
 * map; a file, which cannot be sealed), AMMAP_ERR_FAULT (as for ammap_fd) or the
 * system's code. */
AMMAP_API AMMAP_MUST_CHECK int ammap_export(ammap_t *map, unsigned rights, int *fd);

/* Make a map of a descriptor that another process, or this one, exported.  The
 * map keeps a duplicate; fd stays the caller's.  options: share AMMAP_RAW for
 * what this library did not make; capacity and lanes only for that, else 0 or
 * what the map has.  Nothing that lies behind the descriptor is trusted.
 * 0; or AMMAP_ERR_INVALID, AMMAP_ERR_FORMAT, AMMAP_ERR_UNSEALED (its size is not
 * sealed, and options.allow_faults is not set), AMMAP_ERR_SIZE (raw, and empty),
 * AMMAP_ERR_UNSUPPORTED or the system's code. */
AMMAP_API AMMAP_MUST_CHECK int ammap_import(ammap_t **map, int fd, const ammap_options_t *options);

/* Send the map over a UNIX socket, as one byte and one descriptor, with the
 * rights that this process has.  ammap_export's codes, and the system's. */
AMMAP_API int ammap_send(ammap_t *map, int socket);

/* Receive one: one byte is read from the socket.  ammap_import's codes;
 * AMMAP_ERR_FORMAT also for no descriptor, or several, which are closed; -EMFILE: one
 * was sent, this process can have no more, and it is lost; -ECONNRESET: the other end
 * is gone. */
AMMAP_API AMMAP_MUST_CHECK int ammap_recv(ammap_t **map, int socket, const ammap_options_t *options);

/* Seals: what nobody can do any more with what lies behind the descriptor. */
#define AMMAP_SEAL_SHRINK 1U       /* make it shorter */
#define AMMAP_SEAL_GROW 2U         /* make it longer */
#define AMMAP_SEAL_WRITE 4U        /* write it; while someone has it writable: -EBUSY */
#define AMMAP_SEAL_FUTURE_WRITE 8U /* write it, but for those who have it writable */
#define AMMAP_SEAL_SEAL 16U        /* add another seal */

/* Add seals.  0, also for seals that are there; or AMMAP_ERR_INVALID,
 * AMMAP_ERR_UNSUPPORTED (a private map, a file) or the system's code (-EPERM:
 * sealed against it). */
AMMAP_API int ammap_seal(ammap_t *map, unsigned seals);

/* Wait until the bytes, and the map's length, are on the disk that they belong
 * on.  0; or AMMAP_ERR_INVALID, AMMAP_ERR_BOUNDS, AMMAP_ERR_UNSUPPORTED (a
 * private map) or the system's code (-EIO). */
AMMAP_API int ammap_flush(ammap_t *map, uint64_t offset, uint64_t length);

/* --- Memory ------------------------------------------------------------- *
 *
 * The range is of bytes.  Where the work is on pages it is on all that the range
 * touches.
 *
 * 0, or AMMAP_ERR_INVALID, AMMAP_ERR_BOUNDS, AMMAP_ERR_UNSUPPORTED (a fork left
 * the map out), AMMAP_ERR_FAULT (others took the memory away) or the system's
 * code.
 */

/* Make the pages present, so that no access waits for them. */
AMMAP_API int ammap_populate(ammap_t *map, uint64_t offset, uint64_t length);

/* Make the bytes zero, as a write does, and give back the whole pages among
 * them, but for locked ones.  Also what a copy into the map returns. */
AMMAP_API int ammap_discard(ammap_t *map, uint64_t offset, uint64_t length);

/* How a range will be used.  No advice changes a byte. */
typedef enum ammap_advice {
        AMMAP_ADVICE_NORMAL,
        AMMAP_ADVICE_RANDOM,
        AMMAP_ADVICE_SEQUENTIAL,
        AMMAP_ADVICE_WILLNEED,
        AMMAP_ADVICE_COLD,       /* not for a while */
        AMMAP_ADVICE_PAGEOUT,    /* not for long: swap it out */
        AMMAP_ADVICE_HUGEPAGE,   /* in huge pages where that can be */
        AMMAP_ADVICE_NOHUGEPAGE, /* not in huge pages */
} ammap_advice_t;

AMMAP_API int ammap_advise(ammap_t *map, uint64_t offset, uint64_t length, ammap_advice_t advice);

/* Keep the pages in memory; no longer. */
AMMAP_API int ammap_mlock(ammap_t *map, uint64_t offset, uint64_t length);
AMMAP_API int ammap_munlock(ammap_t *map, uint64_t offset, uint64_t length);

/* Make the map read-only for good: every later write is AMMAP_ERR_READ_ONLY, and
 * the pages themselves cannot be written.  Waits for slices of other threads.
 * A shared map is frozen in every process, a raw one in this handle; views are
 * looked for in this process alone.
 * Also AMMAP_ERR_BUSY while a view is alive, AMMAP_ERR_DEADLOCK,
 * AMMAP_ERR_OWNER_DEAD, AMMAP_ERR_LIMIT and AMMAP_ERR_READ_ONLY (this process may
 * not write it); then the map is as it was.  A frozen map: 0. */
AMMAP_API int ammap_freeze(ammap_t *map);

/* Make a copy of the map as it is at one instant: of its length, capacity, lanes
 * and options, not frozen.  Pages that hold nothing are not made present.  Of a
 * shared map that is not frozen it is another shared one; of a frozen one, of a raw
 * one and of a file, a private one.
 * 0, and *copy is the caller's to ammap_free; or *copy is NULL, and the result is
 * that of a read or of ammap_new_with. */
AMMAP_API AMMAP_MUST_CHECK int ammap_clone(ammap_t *map, ammap_t **copy);

/* How a map is guarded. */
typedef enum ammap_guard {
        AMMAP_GUARD_NONE,
        AMMAP_GUARD_PAGES,   /* by mappings that cannot be touched */
        AMMAP_GUARD_MARKERS, /* by markers in the map's own */
} ammap_guard_t;

/* What a map is and has.  Set struct_size, by AMMAP_STAT_INIT; fields that the
 * library does not know become 0. */
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
        bool read_only;            /* no write can succeed */
        unsigned char reserved[2]; /* 0 */
} ammap_stat_t;

#define AMMAP_STAT_INIT                                                                                                \
        {                                                                                                              \
                sizeof(ammap_stat_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, AMMAP_PRIVATE, AMMAP_FORK_COPY, AMMAP_GUARD_NONE,  \
                        false, false,                                                                                  \
                {                                                                                                      \
                        0, 0                                                                                           \
                }                                                                                                      \
        }

/* What resident, huge and locked are where the kernel does not tell: there is no
 * /proc, it may not be read, or no descriptor is left to read it by. */
#define AMMAP_STAT_UNKNOWN UINT64_MAX

/* 0; or AMMAP_ERR_INVALID or AMMAP_ERR_UNSUPPORTED (a fork left the map out): then
 * all but struct_size is zero. */
AMMAP_API int ammap_stat(ammap_t *map, ammap_stat_t *stat);

/* Whether a huge page is behind any part of the map: 1 or 0; or AMMAP_ERR_INVALID,
 * AMMAP_ERR_UNSUPPORTED (also where the kernel does not tell) or the system's code
 * (-EMFILE, ...). */
AMMAP_API int ammap_is_hugepage_backed(ammap_t *map);

/* Give back to the system what ammap_free has kept of maps made with
 * options.recycle, all but keep bytes of it.  The library keeps at most
 * AMMAP_RECYCLE_MAX bytes, what it needs to manage the maps included, and zeroes
 * them before they become a map again.
 * 0; or the system's code (-ENOMEM: too many mappings to split one), and what could
 * not be given back is kept. */
#define AMMAP_RECYCLE_MAX (UINT64_C(64) << 20)
AMMAP_API int ammap_trim(uint64_t keep);

#ifdef __cplusplus
}
#endif

#endif /* AMMAP_H */
