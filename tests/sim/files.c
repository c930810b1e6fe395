/* files.c - descriptors of memory that processes share, and locks of its bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * A descriptor is one number for all processes.  What is mapped of it is the one place where the
 * memory is: every process, and every handle, has it at the same address.
 */
#include "os/os.h"

#include "sim.h"

#include <errno.h>
#include <string.h>

enum { FDS_MAX = 64, OBJECTS_MAX = 8, LOCKS_MAX = 64, DEVICE = 1 };

struct object {
        unsigned char *bytes;
        size_t size;
        unsigned seals;
};

struct description {
        bool is, write;
        unsigned object;
};

/* Of a description's, or of a process's life. */
struct byte_lock {
        bool is, write, life;
        unsigned owner, object;
        uint64_t offset, end;
};

static struct object object[OBJECTS_MAX];
static unsigned objects;
static struct description description[FDS_MAX];
static struct byte_lock locked[LOCKS_MAX];

void files_reset(void)
{
        memset(object, 0, sizeof object);
        memset(description, 0, sizeof description);
        memset(locked, 0, sizeof locked);
        objects = 0;
}

static void system_call(const char *what)
{
        step(what, NULL);
        if (current)
                stores_flush(current);
}

bool files_have(uintptr_t at, size_t size)
{
        for (unsigned i = 0; i < objects; i++)
                if (at - (uintptr_t)object[i].bytes < object[i].size)
                        return at - (uintptr_t)object[i].bytes + size <= ((object[i].size + 4095) & ~(size_t)4095);
        return false;
}

static int open_object(unsigned number, bool write)
{
        for (int fd = OS_FD_MIN; fd < FDS_MAX; fd++)
                if (!description[fd].is) {
                        description[fd] = (struct description){ true, write, number };
                        return fd;
                }
        fail("the simulation has no more descriptors");
}

static struct object *object_of(int fd)
{
        if (fd < 0 || fd >= FDS_MAX || !description[fd].is)
                return NULL;
        return &object[description[fd].object];
}

int os_memory(const char *name, uint64_t size)
{
        (void)name;
        system_call("os_memory");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        if (objects == OBJECTS_MAX)
                fail("the simulation has no more memory to be shared");
        object[objects].bytes = memory_object(objects, (size_t)size);
        object[objects].size = (size_t)size;
        return open_object(objects++, true);
}

int os_dup(int fd)
{
        system_call("os_dup");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        return object_of(fd) ? open_object(description[fd].object, description[fd].write) : -EBADF;
}

int os_reopen(int fd, bool write)
{
        system_call("os_reopen");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        return object_of(fd) ? open_object(description[fd].object, write) : -EBADF;
}

void os_close(int fd)
{
        system_call("os_close");
        if (!object_of(fd))
                fail("a descriptor is closed that is not open");
        description[fd].is = false;
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (!locked[i].life && locked[i].owner == (unsigned)fd)
                        locked[i].is = false;
}

int os_is_file(int fd, uint64_t device, uint64_t inode)
{
        system_call("os_is_file");
        return object_of(fd) && device == DEVICE && inode == description[fd].object + 1U;
}

void os_close_file(int fd, uint64_t device, uint64_t inode)
{
        if (os_is_file(fd, device, inode) > 0)
                os_close(fd);
}

int os_file(int fd, struct os_file *file)
{
        struct object *of = object_of(fd);

        system_call("os_file");
        *file = (struct os_file){ .regular = false };
        if (!of)
                return -EBADF;
        *file = (struct os_file){ .regular = true,
                                  .write = description[fd].write,
                                  .size = of->size,
                                  .device = DEVICE,
                                  .inode = description[fd].object + 1U };
        return 0;
}

bool os_is_huge(int fd)
{
        (void)fd;
        return false;
}

bool os_is_memory(int fd)
{
        (void)fd;
        return true;
}

int os_resize_file(int fd, uint64_t size)
{
        struct object *of = object_of(fd);

        system_call("os_resize_file");
        if (!of)
                return -EBADF;
        if (refuses(NO_SPACE))
                return -ENOSPC;
        memory_object(description[fd].object, (size_t)size);
        if (size < of->size)
                memset(of->bytes + size, 0, of->size - (size_t)size);
        of->size = (size_t)size;
        return 0;
}

int os_read_at(int fd, uint64_t offset, void *buffer, size_t length)
{
        const struct object *of = object_of(fd);

        system_call("os_read_at");
        if (!of || offset + length > of->size)
                return of ? -ENODATA : -EBADF;
        memcpy(buffer, of->bytes + offset, length);
        return 0;
}

int os_write_at(int fd, uint64_t offset, const void *bytes, size_t length)
{
        const struct object *of = object_of(fd);

        system_call("os_write_at");
        if (!of || offset + length > of->size)
                return of ? -ENOSPC : -EBADF;
        memcpy(of->bytes + offset, bytes, length);
        return 0;
}

int os_allot(int fd, uint64_t offset, uint64_t length)
{
        (void)fd, (void)offset, (void)length;
        return 0;
}

int os_next_data(int fd, uint64_t offset, uint64_t *start, uint64_t *end)
{
        const struct object *of = object_of(fd);

        system_call("os_next_data");
        *start = *end = of ? of->size : offset;
        if (!of)
                return -EBADF;
        if (offset < of->size)
                *start = offset;
        return 0;
}

int os_add_seals(int fd, unsigned seals)
{
        struct object *of = object_of(fd);

        system_call("os_add_seals");
        if (!of)
                return -EBADF;
        of->seals |= seals;
        return 0;
}

int os_seals(int fd)
{
        const struct object *of = object_of(fd);

        system_call("os_seals");
        return of ? (int)of->seals : -EBADF;
}

/* --- Mapped --- */

int os_map_file_anywhere(void **address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        struct object *of = object_of(fd);

        (void)access;
        system_call("os_map_file_anywhere");
        if (!of || refuses(NO_MEMORY))
                return of ? -ENOMEM : -EBADF;
        memory_object(description[fd].object, (size_t)offset + length);
        *address = of->bytes + offset;
        return 0;
}

int os_map_file(void *address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        void *there;
        int rc = os_map_file_anywhere(&there, length, fd, offset, access);

        if (rc == 0 && there != address)
                fail("the simulation maps memory at one address alone");
        return rc;
}

int os_remove(void *address, size_t length)
{
        system_call("os_remove");
        memset(address, 0, length);
        return 0;
}

int os_peek(void *to, const void *from, size_t length)
{
        system_call("os_peek");
        memcpy(to, from, length);
        return 0;
}

int os_poke(void *to, const void *from, size_t length, size_t *done)
{
        system_call("os_poke");
        memcpy(to, from, length);
        *done = length;
        return 0;
}

/* --- Locks of bytes --- */

static bool is_in_the_way(const struct byte_lock *lock, unsigned owner, unsigned of, struct os_locked bytes)
{
        return lock->is && lock->object == of && (lock->life || lock->owner != owner) && lock->offset < bytes.end &&
               bytes.offset < lock->end && (lock->write || bytes.write);
}

static bool is_free(unsigned owner, unsigned of, struct os_locked bytes)
{
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (is_in_the_way(&locked[i], owner, of, bytes))
                        return false;
        return true;
}

static struct byte_lock *add_lock(void)
{
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (!locked[i].is)
                        return &locked[i];
        fail("the simulation has no more locks of bytes");
}

static void unlock(unsigned owner, uint64_t offset, uint64_t end)
{
        for (unsigned i = 0; i < LOCKS_MAX; i++) {
                struct byte_lock *lock = &locked[i];
                uint64_t was = lock->end;

                if (!lock->is || lock->life || lock->owner != owner || lock->offset >= end || lock->end <= offset)
                        continue;
                lock->is = lock->offset < offset;
                lock->end = lock->is ? offset : lock->end;
                if (was > end) {
                        struct byte_lock *rest = add_lock(), copy = *lock;

                        copy.is = true;
                        copy.offset = end;
                        copy.end = was;
                        *rest = copy;
                }
        }
}

int os_lock_bytes(int fd, uint64_t offset, uint64_t count, enum os_lock lock)
{
        bool write = lock == OS_LOCK_WRITE || lock == OS_LOOK_WRITE;
        struct os_locked bytes = { offset, offset + count, write };

        system_call("os_lock_bytes");
        if (!object_of(fd))
                return -EBADF;
        if (lock != OS_UNLOCK && !is_free((unsigned)fd, description[fd].object, bytes))
                return -EAGAIN;
        if (lock == OS_LOOK_READ || lock == OS_LOOK_WRITE)
                return 0;
        unlock((unsigned)fd, offset, offset + count);
        if (lock != OS_UNLOCK)
                *add_lock() = (struct byte_lock){ true,         write,    false, (unsigned)fd, description[fd].object,
                                                  bytes.offset, bytes.end };
        return 0;
}

int os_find_locked(int fd, struct os_locked *bytes)
{
        struct os_locked asked = { bytes->offset, bytes->end, true };

        system_call("os_find_locked");
        if (!object_of(fd))
                return -EBADF;
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (is_in_the_way(&locked[i], (unsigned)fd, description[fd].object, asked)) {
                        *bytes = (struct os_locked){ locked[i].offset, locked[i].end, locked[i].write };
                        return 1;
                }
        return 0;
}

int os_life_begin(int fd, uint64_t offset, void **life)
{
        struct os_locked byte = { offset, offset + 1, true };
        struct byte_lock *lock;

        system_call("os_life_begin");
        *life = NULL;
        if (!object_of(fd))
                return -EBADF;
        if (!is_free(FDS_MAX, description[fd].object, byte))
                return -EBUSY;
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        lock = add_lock();
        *lock = (struct byte_lock){ true,   true,      true, current ? current->process : 0, description[fd].object,
                                    offset, offset + 1 };
        *life = lock;
        return 0;
}

void os_life_end(void *life)
{
        system_call("os_life_end");
        ((struct byte_lock *)life)->is = false;
}

void files_process_end(unsigned process)
{
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (locked[i].life && locked[i].owner == process)
                        locked[i].is = false;
}
