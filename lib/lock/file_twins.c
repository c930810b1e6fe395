/* file_twins.c - maps of one process that lie in one file
 *
 * SPDX-License-Identifier: MIT
 *
 * Each has a description of its own for its locks, so they keep each other out as other
 * processes do, and one thread may be in its own way (G5 in file_lock.c): it looks, before it
 * naps, whether it is itself in its way through another map: AMMAP_ERR_DEADLOCK; or, if it
 * reads what it reads there, no queue.
 */
#include "lock/file_twins.h"

#include "os/os.h"

#include <pthread.h>

/* All files of this process. */
static pthread_mutex_t files_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;

static bool same_file(const struct file *a, const struct file *b)
{
        return a->device == b->device && a->inode == b->inode;
}

/* By its path it takes no /proc; but another file may be there by now. */
int file_open_again(const char *path, int shown, const struct os_file *there)
{
        int fd = path ? os_open(path, there->write, false) : -1;

        if (fd >= 0 && os_is_file(fd, there->device, there->inode) > 0)
                return fd;
        if (fd >= 0)
                os_close(fd);
        return os_reopen(shown, there->write);
}

static void add(struct file *file)
{
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file)) {
                        atomic_fetch_add(&other->twins, 1);
                        atomic_fetch_add(&file->twins, 1);
                }
        file->next = files;
        files = file;
}

static void close_its_own(struct file *file)
{
        if (file->fd >= 0)
                os_close_file(file->fd, file->device, file->inode);
        file->fd = -1;
}

int file_link(struct file *file, const char *path, int shown)
{
        const struct os_file there = { .write = file->write, .device = file->device, .inode = file->inode };
        int rc;

        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        rc = file->fd = file_open_again(path, shown, &there);
        if (rc >= 0)
                add(file);
        pthread_mutex_unlock(&files_mutex);
        return rc < 0 ? rc : 0;
}

void file_unlink(struct file *file)
{
        struct file **link;

        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (link = &files; *link != file; link = &(*link)->next)
                ;
        *link = file->next;
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file))
                        atomic_fetch_sub(&other->twins, 1);
        close_its_own(file);
        pthread_mutex_unlock(&files_mutex);
}

void file_each_twin(const struct file *file, void (*found)(const struct file *twin, void *context), void *context)
{
        if (atomic_load_explicit(&file->twins, memory_order_relaxed) == 0)
                return;
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (const struct file *other = files; other; other = other->next)
                if (other != file && same_file(other, file))
                        found(other, context);
        pthread_mutex_unlock(&files_mutex);
}

int file_elsewhere(const struct file *file, struct lane_range lanes, enum access access)
{
        int rc = 0;

        if (atomic_load_explicit(&file->twins, memory_order_relaxed) == 0)
                return 0;
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (const struct file *other = files; other; other = other->next) {
                const struct lane *from = &other->local[lanes.first];
                const struct lane *end = &other->local[lanes.last < other->lanes ? lanes.last + 1 : other->lanes];

                if (other == file || !same_file(other, file))
                        continue;
                for (struct hold *hold = NULL; rc >= 0 && (hold = thread_hold_next(from, end, hold));)
                        rc = access == WRITE || (atomic_load(&hold->use) & HOLD_KIND) == HOLD_WRITE ? AMMAP_ERR_DEADLOCK
                                                                                                    : 1;
        }
        pthread_mutex_unlock(&files_mutex);
        return rc;
}

void file_twins_before_fork(void)
{
        pthread_mutex_lock(&files_mutex);
}

void file_twins_after_fork(void)
{
        pthread_mutex_unlock(&files_mutex);
}

void file_twins_forked(void)
{
        pthread_mutex_init(&files_mutex, NULL);
        for (struct file *file = files; file; file = file->next)
                close_its_own(file);
        files = NULL;
}

void file_relink(struct file *file, int shown)
{
        if (shown >= 0 && os_is_file(shown, file->device, file->inode) > 0)
                file->fd = os_reopen(shown, file->write);
        atomic_store(&file->twins, 0);
        add(file);
}
