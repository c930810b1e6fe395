/* files.c - descriptors of memory that processes share, and of files, and locks of their bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * A descriptor has one number in all processes that have it.  What is mapped is the one place where
 * the memory is: every process, and every handle, has it at the same address.
 */
#include "os/os.h"

#include "sim.h"

#include <errno.h>
#include <string.h>

enum { FDS_MAX = 128, OBJECTS_MAX = 9, VISITED = OBJECTS_MAX - 1, LOCKS_MAX = 128, MAPPINGS_MAX = 128, DEVICE = 1 };

struct object {
        unsigned char *bytes;
        size_t size;
        unsigned seals;
        bool file; /* by a path, that ends with its number */
};

/* Where there is one, it has an object.  It is there as long as a descriptor or a mapping is. */
struct description {
        unsigned uses;
        bool write;
        unsigned object;
};

/* Of a description, by a descriptor or a mapping.  Processes: a bit for each that has it. */
struct use {
        unsigned processes, description;
};

struct mapping {
        struct use use;
        uintptr_t at;
        size_t size;
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
static struct use descriptor[FDS_MAX];
static struct mapping mapping[MAPPINGS_MAX];
static struct byte_lock locked[LOCKS_MAX];

void files_reset(void)
{
        memset(object, 0, sizeof object);
        memset(description, 0, sizeof description);
        memset(descriptor, 0, sizeof descriptor);
        memset(mapping, 0, sizeof mapping);
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
        for (unsigned i = 0; i < OBJECTS_MAX; i++)
                if (at - (uintptr_t)object[i].bytes < object[i].size)
                        return at - (uintptr_t)object[i].bytes + size <= ((object[i].size + 4095) & ~(size_t)4095);
        return false;
}

/* --- Descriptors --- */

static unsigned here(void)
{
        return 1U << os_here();
}

static struct use begin_use(unsigned number)
{
        description[number].uses++;
        return (struct use){ here(), number };
}

static int open_description(unsigned number)
{
        for (int fd = OS_FD_MIN; fd < FDS_MAX; fd++)
                if (!descriptor[fd].processes) {
                        descriptor[fd] = begin_use(number);
                        return fd;
                }
        fail("the simulation has no more descriptors");
}

static int open_object(unsigned number, bool write)
{
        for (unsigned i = 0; i < FDS_MAX; i++)
                if (description[i].uses == 0) {
                        description[i] = (struct description){ 0, write, number };
                        return open_description(i);
                }
        fail("the simulation has no more open files");
}

/* By these processes.  The last one that has a description gives its locks back. */
static void end_use(struct use *use, unsigned processes)
{
        if (!(use->processes & processes))
                return;
        use->processes &= ~processes;
        if (use->processes || --description[use->description].uses > 0)
                return;
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (!locked[i].life && locked[i].owner == use->description)
                        locked[i].is = false;
}

static void fork_use(struct use *use, unsigned child)
{
        if (use->processes & here())
                use->processes |= 1U << child;
}

static struct description *description_of(int fd)
{
        if (fd < 0 || fd >= FDS_MAX || !(descriptor[fd].processes & here()))
                return NULL;
        return &description[descriptor[fd].description];
}

static struct object *object_of(int fd)
{
        const struct description *of = description_of(fd);

        return of ? &object[of->object] : NULL;
}

/* Every process is sent it. */
void files_give(int fd)
{
        if (!object_of(fd))
                fail("a descriptor is given away that is not open");
        descriptor[fd].processes |= (1U << plan.processes) - 1;
}

void files_fork(unsigned child)
{
        for (unsigned fd = 0; fd < FDS_MAX; fd++)
                fork_use(&descriptor[fd], child);
        for (unsigned i = 0; i < MAPPINGS_MAX; i++)
                fork_use(&mapping[i].use, child);
}

void files_process_end(unsigned process)
{
        for (unsigned i = 0; i < LOCKS_MAX; i++)
                if (locked[i].life && locked[i].owner == process)
                        locked[i].is = false;
        for (unsigned fd = 0; fd < FDS_MAX; fd++)
                end_use(&descriptor[fd], 1U << process);
        for (unsigned i = 0; i < MAPPINGS_MAX; i++)
                end_use(&mapping[i].use, 1U << process);
}

int os_memory(const char *name, uint64_t size)
{
        (void)name;
        system_call("os_memory");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        if (objects == VISITED)
                fail("the simulation has no more memory to be shared");
        object[objects].bytes = memory_object(objects, (size_t)size);
        object[objects].size = (size_t)size;
        return open_object(objects++, true);
}

/* A path is a number. */
int os_open(const char *path, bool write, bool create)
{
        const unsigned number = (unsigned)(path[0] - '0');

        system_call("os_open");
        if (number >= OBJECTS_MAX)
                fail("the simulation has no such path: %s", path);
        if (create && object[number].file)
                return -EEXIST;
        if (!create && !object[number].file)
                return -ENOENT;
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        if (create) {
                if (number != VISITED && number != objects++)
                        fail("the simulation makes files in the order of their numbers");
                object[number] = (struct object){ .bytes = memory_object(number, 0), .file = true };
        }
        return open_object(number, write);
}

int os_dup(int fd)
{
        system_call("os_dup");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        return object_of(fd) ? open_description(descriptor[fd].description) : -EBADF;
}

int os_reopen(int fd, bool write)
{
        system_call("os_reopen");
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        return object_of(fd) ? open_object(description_of(fd)->object, write) : -EBADF;
}

void os_close(int fd)
{
        system_call("os_close");
        if (!object_of(fd))
                fail("a descriptor is closed that is not open");
        end_use(&descriptor[fd], here());
}

int os_is_file(int fd, uint64_t device, uint64_t inode)
{
        system_call("os_is_file");
        return object_of(fd) && device == DEVICE && inode == description_of(fd)->object + 1U;
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
                                  .write = description_of(fd)->write,
                                  .size = of->size,
                                  .device = DEVICE,
                                  .inode = description_of(fd)->object + 1U };
        return 0;
}

bool os_is_huge(int fd)
{
        (void)fd;
        return false;
}

bool os_is_memory(int fd)
{
        const struct object *of = object_of(fd);

        return of && !of->file;
}

int os_resize_file(int fd, uint64_t size)
{
        struct object *of = object_of(fd);

        system_call("os_resize_file");
        if (!of)
                return -EBADF;
        if (refuses(NO_SPACE))
                return -ENOSPC;
        memory_object(description_of(fd)->object, (size_t)size);
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
        struct object *of = object_of(fd);

        system_call("os_write_at");
        if (!of)
                return -EBADF;
        if (offset + length > of->size) {
                memory_object(description_of(fd)->object, (size_t)offset + length);
                of->size = (size_t)offset + length;
        }
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

static void note_mapping(uintptr_t at, size_t size, unsigned number)
{
        for (unsigned i = 0; i < MAPPINGS_MAX; i++)
                if (!mapping[i].use.processes) {
                        mapping[i] = (struct mapping){ begin_use(number), at, size };
                        return;
                }
        fail("the simulation has no more mappings");
}

/* Of two that are at one address either may be meant. */
void files_unmap(uintptr_t at, size_t size)
{
        for (unsigned i = 0; i < MAPPINGS_MAX; i++)
                if (mapping[i].at == at && mapping[i].size == size && (mapping[i].use.processes & here())) {
                        end_use(&mapping[i].use, here());
                        return;
                }
        fail("what is unmapped is not mapped");
}

int os_map_file_anywhere(void **address, size_t length, int fd, uint64_t offset, enum os_access access)
{
        struct object *of = object_of(fd);

        (void)access;
        system_call("os_map_file_anywhere");
        if (!of || refuses(NO_MEMORY))
                return of ? -ENOMEM : -EBADF;
        memory_object(description_of(fd)->object, (size_t)offset + length);
        *address = of->bytes + offset;
        note_mapping((uintptr_t)*address, length, descriptor[fd].description);
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

/* The kernel copies word by word, as any thread does, and other threads go on in between. */
static int copy(unsigned char *to, const unsigned char *from, size_t length, size_t *done)
{
        enum { WORD = 8 };

        for (*done = 0; *done < length;) {
                size_t size = WORD - ((uintptr_t)(to + *done) & (WORD - 1));

                if (*done > 0)
                        step("... and on", NULL);
                if (size > length - *done)
                        size = length - *done;
                if ((memory_is_shared((uintptr_t)from + *done) && !files_have((uintptr_t)from + *done, size)) ||
                    (memory_is_shared((uintptr_t)to + *done) && !files_have((uintptr_t)to + *done, size)))
                        return -EFAULT;
                memcpy(to + *done, from + *done, size);
                *done += size;
        }
        return 0;
}

int os_peek(void *to, const void *from, size_t length)
{
        size_t done;

        system_call("os_peek");
        return copy(to, from, length, &done);
}

int os_poke(void *to, const void *from, size_t length, size_t *done)
{
        system_call("os_poke");
        return copy(to, from, length, done);
}

static int copy_pieces(const struct os_piece *pieces, size_t count)
{
        size_t done;
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < count; i++) {
                if (i > 0)
                        step("... the next piece", NULL);
                rc = copy(pieces[i].to, pieces[i].from, pieces[i].length, &done);
        }
        return rc;
}

int os_peek_pieces(const struct os_piece *pieces, size_t count)
{
        system_call("os_peek_pieces");
        return copy_pieces(pieces, count);
}

int os_poke_pieces(const struct os_piece *pieces, size_t count)
{
        system_call("os_poke_pieces");
        return copy_pieces(pieces, count);
}

int os_sync(int fd, void *address, size_t length)
{
        (void)address, (void)length;
        return object_of(fd) ? 0 : -EBADF;
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
        unsigned owner, of;

        system_call("os_lock_bytes");
        if (!object_of(fd))
                return -EBADF;
        owner = descriptor[fd].description;
        of = description[owner].object;
        if (lock != OS_UNLOCK && !is_free(owner, of, bytes))
                return -EAGAIN;
        if (lock == OS_LOOK_READ || lock == OS_LOOK_WRITE)
                return 0;
        unlock(owner, offset, offset + count);
        if (lock != OS_UNLOCK)
                *add_lock() = (struct byte_lock){ true, write, false, owner, of, bytes.offset, bytes.end };
        return 0;
}

int os_find_locked(int fd, struct os_locked *bytes)
{
        struct os_locked asked = { bytes->offset, bytes->end, true };

        system_call("os_find_locked");
        if (!object_of(fd))
                return -EBADF;
        for (unsigned i = 0; i < LOCKS_MAX && asked.offset < asked.end; i++)
                if (is_in_the_way(&locked[i], descriptor[fd].description, description_of(fd)->object, asked)) {
                        *bytes = (struct os_locked){ locked[i].offset > asked.offset ? locked[i].offset : asked.offset,
                                                     locked[i].end < asked.end ? locked[i].end : asked.end,
                                                     locked[i].write };
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
        if (!is_free(FDS_MAX, description_of(fd)->object, byte))
                return -EBUSY;
        if (refuses(NO_DESCRIPTOR))
                return -EMFILE;
        lock = add_lock();
        *lock = (struct byte_lock){ true, true, true, os_here(), description_of(fd)->object, offset, offset + 1 };
        *life = lock;
        return 0;
}

void os_life_end(void *life)
{
        system_call("os_life_end");
        ((struct byte_lock *)life)->is = false;
}
