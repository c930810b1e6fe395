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

void file_link(struct file *file)
{
        os_fork_check();
        pthread_mutex_lock(&files_mutex);
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file)) {
                        atomic_fetch_add(&other->twins, 1);
                        atomic_fetch_add(&file->twins, 1);
                }
        file->next = files;
        files = file;
        pthread_mutex_unlock(&files_mutex);
}

void file_unlink(struct file *file)
{
        struct file **link;

        pthread_mutex_lock(&files_mutex);
        for (link = &files; *link && *link != file; link = &(*link)->next)
                ;
        if (*link)
                *link = file->next;
        for (struct file *other = files; other; other = other->next)
                if (same_file(other, file))
                        atomic_fetch_sub(&other->twins, 1);
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
}
