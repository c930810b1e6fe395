/* os.h - the contract with the system
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything that the library wants from kernel and libc beyond plain C, each
 * call stated once.  Results are 0 (or what is documented) or a negative errno.
 * No call prints, aborts or is a cancellation point.  errno may change in os_start,
 * os_resident, advice, and in posix.c's calls but for descriptors; no other touches it.
 *
 * posix.c holds what POSIX offers everywhere.  The rest is in the files linux*.c, a
 * section below for each, and once more in portable.c, where most of it is -ENOSYS;
 * configure --with-os chooses.
 */
#ifndef OS_H
#define OS_H

#include "os/hints.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a refusal says that the system has no such thing: an old kernel, or a
 * filter that knows it not (of containers: EPERM, EACCES). */
static inline bool os_absent(int rc)
{
        return rc == -ENOSYS || rc == -EINVAL || rc == -EPERM || rc == -EACCES;
}

/* --- posix.c --- */

/* The size of a page in bytes. */
size_t os_page_size(void);

/* Processors that this process may run on, at least 1. */
unsigned os_cpus(void);

/* Map length bytes (whole pages) of zeros, readable and writable. */
int os_map(void **address, size_t length);
int os_unmap(void *address, size_t length);

/* The same with a choice of access; noreserve: not accounted for, where the
 * system has a say in that. */
enum os_access { OS_NONE, OS_READ, OS_WRITE };
int os_reserve(void **address, size_t length, enum os_access access, bool noreserve);
int os_protect(void *address, size_t length, enum os_access access);

/* The same open file, closed on exec. */
enum { OS_FD_MIN = 3 }; /* no descriptor is kept that a program takes for its standard streams */
int os_dup(int fd);
void os_close(int fd);

/* Whether a descriptor is still one of that file, and has not been closed by others
 * since, its number given to something else; close it if so. */
int os_is_file(int fd, uint64_t device, uint64_t inode);
void os_close_file(int fd, uint64_t device, uint64_t inode);

/* Keep pages in memory; no longer. */
int os_lock(void *address, size_t length);
int os_unlock(void *address, size_t length);

/* Nanoseconds on the monotonic clock, more than 0. */
int64_t os_now(void);

/* The deadline that lies a timeout from now; OS_NEVER for less than 0. */
#define OS_NEVER INT64_MAX
int64_t os_deadline(int64_t timeout_ns);

/* Call exit_thread(value) when the calling thread ends, if value is not NULL.
 * The library has one such function. */
int os_thread_key(void (*exit_thread)(void *value));
int os_thread_set(void *value);

/* How often a destructor that sets its value again may count on being called. */
unsigned os_thread_rounds(void);

/* Call before(), and then after() in the parent and child() in the child, at
 * every fork.  Once for the library. */
int os_at_fork(void (*before)(void), void (*after)(void), void (*child)(void));

/* A child that was made without running fork handlers (_Fork, clone) runs
 * child() here; everyone else returns false at once.  To be called where a
 * lock or a list left by a thread that the child does not have would matter. */
bool os_fork_check(void);

/* --- linux.c --- */

/* Once, before any call of what follows. */
void os_start(void);

/* Sleep while *word is expected, until an os_wake of it or the deadline (on
 * os_now's clock; OS_NEVER: none).  0 or -ETIMEDOUT; 0 may also be spurious.
 * Reading the word and falling asleep are one step to os_wake. */
int os_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);

/* Wake up to count sleepers of word; how many there were. */
int os_wake(const _Atomic uint32_t *word, int count);

/* Like os_wait and os_wake, for a word that other processes wait on and wake.
 * A word that cannot be read is 0 and spurious. */
int os_wait_shared(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int os_wake_shared(const _Atomic uint32_t *word, int count);

/* Whether this is a forked child that os_forked_reset has not been called in. */
bool os_forked(void);
void os_forked_reset(void);

/* A word that a fork sets to 0; where there is none, one that is always 0. */
extern HIDDEN _Atomic uint32_t *os_fork_word;
/* Whether this may be such a child, or to know that takes a call. */
static ALWAYS_INLINE bool os_maybe_forked(void)
{
        return unlikely(atomic_load_explicit(os_fork_word, memory_order_relaxed) == 0);
}

/* The same as os_forked, mostly without a call. */
static inline bool os_forked_quick(void)
{
        return os_maybe_forked() && os_forked();
}

/* The asymmetric fence.  os_fence_light and os_fence_heavy order a store before
 * a load like two full fences do: of two threads that each store, fence and
 * then load what the other one stored, at least one sees the other's store,
 * where at least one of the fences is a heavy one.  The light one costs nothing
 * where the heavy one can interrupt the other processors (membarrier), and is a
 * full fence elsewhere. */
extern HIDDEN _Atomic bool os_fence_asymmetric;
void os_fence_heavy(void);

#if defined(__SANITIZE_THREAD__)
#define OS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OS_TSAN 1
#endif
#endif

/* A fence that ThreadSanitizer understands too: it knows no fences, only
 * read-modify-writes. */
static inline void os_fence_full(void)
{
#ifdef OS_TSAN
        static _Atomic uint32_t everyone;
        atomic_fetch_add(&everyone, 1);
#else
        atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void os_fence_light(void)
{
        if (likely(atomic_load_explicit(&os_fence_asymmetric, memory_order_relaxed)))
                atomic_signal_fence(memory_order_seq_cst);
        else
                os_fence_full();
}

/* The light one right behind a read-modify-write that is sequentially consistent. */
static inline void os_fence_light_after(void)
{
#if defined(__x86_64__) || defined(__i386__)
        atomic_signal_fence(memory_order_seq_cst);
#else
        os_fence_light();
#endif
}

/* Between a load that acquires and a later load.  A third thread stored what the later
 * one loads, fenced (os_fence_heavy), and did not yet see what the first one finds: the
 * later load finds the third's store.  Where a store reaches all other processors at
 * once the order of the two loads is enough for that; elsewhere (POWER, ARMv7) it takes
 * a fence that pairs with the third's. */
static inline void os_fence_causal(void)
{
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__riscv) || defined(__s390x__)
        atomic_signal_fence(memory_order_seq_cst);
#else
        os_fence_light();
#endif
}

/* Tell the processor that this is a spin loop. */
static inline void os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* This run of the machine; all zeros: not known. */
void os_boot(unsigned char boot[16]);

/* Bytes that nobody else gets.  0, or the system's code. */
int os_random(void *bytes, size_t length);

/* The name of this process's PID namespace; 0: not known. */
uint64_t os_pid_space(void);

/* Whether the process that forked this one is in its PID namespace. */
bool os_parent_is_near(void);

/* This process and thread, and whether there is no such thread (any more). */
uint32_t os_process(void);
uint32_t os_thread(void);
bool os_thread_gone(uint32_t process, uint32_t thread);

/* A process, to be asked whether it has ended.  Its number may be another's by then: so it is
 * a descriptor that names it, closed on exec; or where none is to be had, besides the number
 * the time at which the process started, as far as /proc tells.  0, or -ESRCH: there is no
 * such process.  Each begin that is 0 has its end. */
struct os_peer {
        int32_t pid;
        int fd;         /* -1: there is none */
        uint64_t start; /* 0: not known */
};
int os_peer_begin(struct os_peer *peer, int32_t pid);
bool os_peer_ended(const struct os_peer *peer);
void os_peer_end(const struct os_peer *peer);

/* --- linux-memory.c --- */

/* Advice on whole pages, from here to os_collapse, may be refused as the system likes;
 * the library goes on without.  What goes over several mappings may be done for some
 * of them when it fails. */

/* Show a name in the system's account of the process. */
int os_name(void *address, size_t length, const char *name);

/* Guard pages that touching is fatal to, without a mapping of their own. */
int os_guard(void *address, size_t length);

/* Leave pages out of core dumps; out of forked children; make them zero there. */
int os_nodump(void *address, size_t length);
int os_omit_on_fork(void *address, size_t length);
int os_keep_on_fork(void *address, size_t length); /* after all */
int os_wipe_on_fork(void *address, size_t length);

/* Give the pages of a private map back; they are zeros when touched again. */
int os_discard(void *address, size_t length);

/* Make pages present, to be read or to be written. */
int os_populate(void *address, size_t length, enum os_access access);

enum os_advice {
        OS_NORMAL,
        OS_RANDOM,
        OS_SEQUENTIAL,
        OS_WILLNEED,
        OS_COLD,
        OS_PAGEOUT,
        OS_HUGEPAGE,
        OS_NOHUGEPAGE,
};
int os_advise(void *address, size_t length, enum os_advice advice);

/* The size of a huge page, 0 where there is none; make one of pages now. */
size_t os_huge_size(void);
int os_collapse(void *address, size_t length);

/* Map pages of a file, as all who have it see them, over what is mapped at address.  On
 * an error there still is something, the caller's own, at each page. */
int os_map_file(void *address, size_t length, int fd, uint64_t offset, enum os_access access);

/* Map them where nothing is: *address. */
int os_map_file_anywhere(void **address, size_t length, int fd, uint64_t offset, enum os_access access);

/* Map what is mapped shared at one address at another, over what is there; on an
 * error that stays. */
int os_map_again(void *address, void *shared, size_t length);

/* Give pages of a file that is mapped here back: they are zero for everyone. */
int os_remove(void *address, size_t length);

/* Wait until a file's mapped pages, and its size, are on the disk. */
int os_sync(int fd, void *address, size_t length);

/* Copy from, and to, memory that may be gone: -EFAULT, some of it copied (*done: how
 * much for certain), where a plain access would raise a signal. */
int os_peek(void *to, const void *from, size_t length);
int os_poke(void *to, const void *from, size_t length, size_t *done);

/* Copy several pieces from memory that may be gone, as one after the other: who stores in the
 * opposite order, with a full fence between two stores, is seen in a later piece if in an
 * earlier one.  0; -EFAULT, or the system's code: some of it may be copied. */
enum { OS_PIECES_MAX = 4 };
struct os_piece {
        void *to;
        const void *from;
        size_t length;
};
int os_peek_pieces(const struct os_piece *pieces, size_t count);

/* The same to such memory: others see the pieces come one after the other. */
int os_poke_pieces(const struct os_piece *pieces, size_t count);

/* --- linux-usage.c --- */

/* Which pages are in memory: bit 0 of a byte for each.  A hint: what is not may
 * be swapped out. */
int os_resident(void *address, size_t length, unsigned char *there);

/* The system's own account of pages, in bytes, as far as it tells: 0, also where it does not
 * tell some of it; or why some of it is unknown. */
#define OS_UNKNOWN UINT64_MAX
struct os_usage {
        uint64_t resident;
        uint64_t huge;       /* of these, in huge pages */
        uint64_t locked;     /* of these, locked */
        uint64_t unreserved; /* not accounted for as memory to be kept free */
};
int os_usage(const void *address, size_t length, struct os_usage *usage);

/* For each of so many pages, whether it holds anything, in memory or swapped. */
int os_present(const void *address, size_t pages, unsigned char *present);

/* --- linux-fd.c --- */

/* A descriptor of size bytes of zeros that have no name in any file system, closed
 * on exec, that can be sealed and not be executed.  name is shown in accounts. */
int os_memory(const char *name, uint64_t size);

/* Open a file, to be written too or not; or create it, where there is none and no
 * symbolic link (-EEXIST). */
int os_open(const char *path, bool write, bool create);

/* The same file opened anew, with its own locks and position (-ENOSYS without
 * /proc). */
int os_reopen(int fd, bool write);

struct os_file {
        bool regular; /* a file, or memory, and open to be read; else nothing below counts */
        bool write;   /* open to be written */
        uint64_t size;
        uint64_t device, inode; /* the same for all who have it */
};
int os_file(int fd, struct os_file *file);
bool os_is_huge(int fd);   /* of huge pages alone, in which nothing of ours fits */
bool os_is_memory(int fd); /* on no disk: a descriptor of memory, or a file on tmpfs */

/* Make a file size bytes long.  -EFBIG, and no signal, beyond a limit. */
int os_resize_file(int fd, uint64_t size);

/* Read length bytes at offset; -ENODATA: there are not so many. */
int os_read_at(int fd, uint64_t offset, void *buffer, size_t length);

/* Write length bytes at offset, all or, on an error, perhaps some.  -EFBIG, and no
 * signal, beyond a limit. */
int os_write_at(int fd, uint64_t offset, const void *bytes, size_t length);

/* Give bytes of a file room on its disk; its size stays.  -ENOSPC or -EDQUOT: there is
 * none; or the system's code, -EOPNOTSUPP where the disk cannot say. */
int os_allot(int fd, uint64_t offset, uint64_t length);

/* Where at or after offset there is data that is no hole, and where that ends;
 * both are end of file where there is none.  A hint: holes may pass for data. */
int os_next_data(int fd, uint64_t offset, uint64_t *start, uint64_t *end);

/* Seals, by their names in ammap.h; a non-negative set of them; -EINVAL: nothing
 * that can be sealed. */
int os_add_seals(int fd, unsigned seals);
int os_seals(int fd);

/* Send, and receive, one byte and a descriptor.  Receiving: the descriptor,
 * closed on exec; -ECONNRESET: the other end is gone; -EMFILE: one was sent, and
 * this process has no room for it; -EBADMSG: none came, or several, which are closed. */
int os_send(int socket, int fd);
int os_receive(int socket);

/* Lock count bytes from offset on of an open file, all or none, against its being open
 * elsewhere, for whoever has this description of it; unlock them; make a lock to write one
 * to read, with nobody in between; see whether they could be locked to read, or to write,
 * which takes nothing.  -EAGAIN: one is locked. */
enum os_lock { OS_UNLOCK, OS_LOCK_READ, OS_LOCK_WRITE, OS_LOOK_READ, OS_LOOK_WRITE };
int os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock);

static inline int os_lock_byte(int fd, uint64_t offset, enum os_lock lock)
{
        return os_lock_bytes(fd, offset, 1, lock);
}

/* Find bytes from offset to before end that are locked by another description: 1, and
 * which of them, in a row; 0: none is; or the system's code. */
struct os_locked {
        uint64_t offset, end;
        bool write;
};
int os_find_locked(int fd, struct os_locked *locked);

/* --- linux-slot.c --- */

/* Slots.  A slot is a word in a page of shared memory, os_slot_word() bytes before
 * its end, that names the thread that has it; the kernel marks it when that
 * thread is gone, however it went.
 *
 * Claim the slot in a page that is mapped shared, from an open file, if fd is not
 * -1: 0, or OS_SLOT_LEFT, its thread is gone, and *slot is the calling thread's;
 * -EBUSY: it is another's; or the system's code.  Release it, and what *slot took.
 * Before that another thread may return it, if it can: page is any mapping of its page,
 * thread the ID by which it was claimed (0: that thread has ended, and the word is nobody's
 * or somebody else's).  Then the shared page is the thread's no more, and what else *slot
 * took still is.
 * In a forked child a slot is the parent's, and os_slot_forget says that the child
 * has no use for it. */
#define OS_SLOT_LEFT 1
struct os_slot {
        void *view;          /* two pages: the slot's, and one of the thread's own */
        void *_Atomic spare; /* a page to replace the slot's in the end; NULL: it has */
};

/* Of one that has been claimed and not released: whether it has not been returned. */
static inline bool os_slot_has(const struct os_slot *slot)
{
        return atomic_load_explicit(&slot->spare, memory_order_relaxed) != NULL;
}

size_t os_slot_word(void); /* 0: there can be no slots */
int os_slot_claim(void *page, int fd, uint64_t offset, struct os_slot *slot);
void os_slot_release(struct os_slot *slot);
void os_slot_return(struct os_slot *slot, void *page, uint32_t thread);
void os_slot_forget(struct os_slot *slot);

/* In a forked child, before a robust mutex that its parent's thread had locked is made anew: musl still has it on
 * the thread's list.  Locked again it would be there twice, and the thread's end never come to the list's. */
void os_robust_forget(void);

/* Whether a slot's word, as read, says that a thread has it that has not gone. */
bool os_slot_taken(uint32_t word);

/* Lock the byte at offset of an open file for this process, which needs no thread nor
 * descriptor for it, until it unlocks it or its last thread is gone.  A forked child has
 * nothing of it.  No fork may run the while.  Others see it by OS_LOOK_READ.  -EBUSY: it
 * is locked; -ENOSYS: without /proc; or the system's code. */
int os_life_begin(int fd, uint64_t offset, void **life);
void os_life_end(void *life);

#endif /* OS_H */
