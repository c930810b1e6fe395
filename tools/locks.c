/* locks.c - which bytes of files the kernel has locked, and for whom
 *
 * SPDX-License-Identifier: MIT
 */
#include "locks.h"

#include "proc.h"

enum { LOCKS_MAX = 16384 };

struct lock {
        dev_t device;
        ino_t inode;
        uint32_t pid;
        bool write;
        uint64_t first, last;
};

static struct lock list[LOCKS_MAX];
static unsigned count;
static bool known;

static void take(bool write, uint64_t first, uint64_t last, void *context)
{
        const struct opened *opened = context;

        if (count < LOCKS_MAX)
                list[count++] =
                        (struct lock){ opened->stat.st_dev, opened->stat.st_ino, opened->pid, write, first, last };
}

static void look_at_opened(const struct opened *opened, void *context)
{
        (void)context;
        (void)proc_each_lock(opened->pid, opened->fd, take, (void *)opened);
}

static void look_at_process(uint32_t pid, void *context)
{
        (void)proc_each_opened(pid, look_at_opened, context);
}

void locks_each(dev_t device, ino_t inode,
                void (*each)(uint32_t pid, bool write, uint64_t first, uint64_t last, void *context), void *context)
{
        if (!known) {
                count = 0;
                (void)proc_each(look_at_process, NULL);
                known = true;
        }
        for (unsigned i = 0; i < count; i++)
                if (list[i].device == device && list[i].inode == inode)
                        each(list[i].pid, list[i].write, list[i].first, list[i].last, context);
}

void locks_forget(void)
{
        known = false;
}
