/* proc.h - processes, as /proc tells of them
 *
 * SPDX-License-Identifier: MIT
 *
 * What is named by a process is opened to be read, after it has been seen to be a regular
 * file: opening others may wait, or do something.  Files that a process elsewhere serves
 * (FUSE, NFS and the like) are left alone, for it may never answer.
 */
#ifndef PROC_H
#define PROC_H

#include "picture.h"

#include <sys/stat.h>

/* Another procfs than /proc. */
void proc_set_root(const char *root);

/* Open PID's file of that name in it: a descriptor, or a negative errno. */
int proc_open(uint32_t pid, const char *name);

/* Call each(pid, context) for each process. */
int proc_each(void (*each)(uint32_t pid, void *context), void *context);

/* What a thread does, 0: the process's first one.  1; 0: there is none; or a negative errno. */
int proc_thread(uint32_t pid, uint32_t tid, struct thread *thread);

/* The inode of this process's PID namespace, and the run of the machine as 16 bytes; 0, and all
 * zeros: not known. */
uint64_t proc_pid_space(void);
void proc_boot(unsigned char *boot);

/* A mapping. */
struct mapping {
        uint64_t start, end, offset, inode;
        unsigned major, minor;
        bool shared;
        uint64_t resident, huge, locked;
        char name[4200];
};

/* Call each(mapping, context) for all that a process has: 0, or a negative errno. */
int proc_each_mapping(uint32_t pid, void (*each)(const struct mapping *mapping, void *context), void *context);

/* A descriptor of a regular file. */
struct opened {
        uint32_t pid;
        int fd;
        struct stat stat;
        char name[4200];
};
int proc_each_opened(uint32_t pid, void (*each)(const struct opened *opened, void *context), void *context);
int proc_opened(uint32_t pid, int fd, struct opened *opened);

/* A lock of the kernel's on bytes of the file, of the description that the descriptor is of. */
int proc_each_lock(uint32_t pid, int fd, void (*each)(bool write, uint64_t first, uint64_t last, void *context),
                   void *context);

/* Open to be read what a path names, if that is a regular file; -EISDIR: it is not. */
int proc_open_regular(const char *path);
int proc_open_opened(uint32_t pid, int fd);
int proc_open_mapping(uint32_t pid, const struct mapping *mapping);

#endif /* PROC_H */
