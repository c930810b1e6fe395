/* proc.c - processes, as /proc tells of them
 *
 * SPDX-License-Identifier: MIT
 */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *root = "/proc";

void proc_set_root(const char *other)
{
        root = other;
}

/* The beginning of one. */
struct place {
        char path[PATH_MAX];
};

static bool place_of(struct place *place, uint32_t pid, const char *name)
{
        int n = snprintf(place->path, sizeof place->path, "%s/%" PRIu32 "/%s", root, pid, name);

        return n > 0 && (size_t)n < sizeof place->path;
}

int proc_open(uint32_t pid, const char *name)
{
        struct place place;
        int fd;

        if (!place_of(&place, pid, name))
                return -ENAMETOOLONG;
        fd = open(place.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

static int open_stream(FILE **stream, uint32_t pid, const char *name)
{
        int fd = proc_open(pid, name);

        if (fd < 0)
                return fd;
        *stream = fdopen(fd, "r");
        if (*stream)
                return 0;
        close(fd);
        return -ENOMEM;
}

/* A line without its end; of a long one the beginning.  False: there are no more. */
static bool read_line(FILE *stream, char *line, size_t size)
{
        size_t length;
        int c;

        if (!fgets(line, (int)size, stream))
                return false;
        length = strlen(line);
        if (length > 0 && line[length - 1] == '\n')
                line[length - 1] = '\0';
        else
                while ((c = getc(stream)) != EOF && c != '\n')
                        ;
        return true;
}

static int close_stream(FILE *stream)
{
        int rc = ferror(stream) ? -EIO : 0;

        fclose(stream);
        return rc;
}

/* A name that is a number: false, else. */
static bool number_of(const char *name, uint32_t *number)
{
        uint64_t n = 0;
        const char *at = name;

        for (; *at >= '0' && *at <= '9' && n <= INT32_MAX; at++)
                n = 10 * n + (uint64_t)(*at - '0');
        *number = (uint32_t)n;
        return at > name && *at == '\0' && n <= INT32_MAX;
}

int proc_each(void (*each)(uint32_t pid, void *context), void *context)
{
        DIR *directory = opendir(root);
        struct dirent *entry;
        uint32_t pid;

        if (!directory)
                return -errno;
        while ((entry = readdir(directory)))
                if (number_of(entry->d_name, &pid) && pid > 0)
                        each(pid, context);
        closedir(directory);
        return 0;
}

/* A file of one short text. */
static int read_text(uint32_t pid, const char *name, char *text, size_t size)
{
        int fd = proc_open(pid, name);
        ssize_t n;

        if (fd < 0)
                return fd;
        n = read(fd, text, size - 1);
        if (n < 0)
                n = -errno;
        close(fd);
        text[n < 0 ? 0 : n] = '\0';
        return n < 0 ? (int)n : 0;
}

/* The name stands in parentheses, and may have some itself. */
int proc_thread(uint32_t pid, uint32_t tid, struct thread *thread)
{
        char name[64], text[512], *open, *close;
        int rc;

        memset(thread, 0, sizeof *thread);
        snprintf(name, sizeof name, "task/%" PRIu32 "/stat", tid ? tid : pid);
        rc = read_text(pid, name, text, sizeof text);
        if (rc == -ENOENT || rc == -ESRCH)
                return 0;
        if (rc < 0)
                return rc;
        open = strchr(text, '(');
        close = strrchr(text, ')');
        if (!open || !close || close < open || close[1] != ' ')
                return 1;
        *close = '\0';
        snprintf(thread->name, sizeof thread->name, "%.*s", (int)sizeof thread->name - 1, open + 1);
        thread->state = close[2] >= 'A' && close[2] <= 'z' ? close[2] : '\0';
        return thread->state == 'Z' || thread->state == 'X' || thread->state == 'x' ? 0 : 1;
}

uint64_t proc_pid_space(void)
{
        char path[PATH_MAX];
        struct stat stat_of;

        snprintf(path, sizeof path, "%s/self/ns/pid", root);
        return stat(path, &stat_of) == 0 ? (uint64_t)stat_of.st_ino : 0;
}

void proc_boot(unsigned char *boot)
{
        char path[PATH_MAX], text[64] = "";
        unsigned count = 0;
        FILE *stream;

        memset(boot, 0, 16);
        snprintf(path, sizeof path, "%s/sys/kernel/random/boot_id", root);
        stream = fopen(path, "re");
        if (!stream)
                return;
        if (!fgets(text, sizeof text, stream))
                text[0] = '\0';
        fclose(stream);
        for (const char *at = text; *at && count < 32; at++) {
                static const char digits[] = "0123456789abcdef";
                const char *digit = strchr(digits, *at);

                if (digit) {
                        boot[count / 2] |= (unsigned char)((digit - digits) << (count % 2 ? 0 : 4));
                        count++;
                }
        }
        if (count < 32)
                memset(boot, 0, 16);
}

/* --- Mappings --- */

static uint64_t kilobytes(const char *text)
{
        uint64_t n = strtoull(text, NULL, 10);

        return n <= UINT64_MAX / 1024 ? n * 1024 : 0;
}

static void take_number(struct mapping *mapping, const char *line)
{
        if (strncmp(line, "Rss:", 4) == 0)
                mapping->resident = kilobytes(line + 4);
        else if (strncmp(line, "AnonHugePages:", 14) == 0 || strncmp(line, "FilePmdMapped:", 14) == 0)
                mapping->huge += kilobytes(line + 14);
        else if (strncmp(line, "ShmemPmdMapped:", 15) == 0)
                mapping->huge += kilobytes(line + 15);
        else if (strncmp(line, "VmFlags:", 8) == 0)
                mapping->locked = strstr(line, " lo") ? mapping->resident : 0;
}

static bool begins(struct mapping *mapping, const char *line)
{
        char access[8] = "";
        int at = 0;

        memset(mapping, 0, offsetof(struct mapping, name));
        mapping->name[0] = '\0';
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 " %n", &mapping->start, &mapping->end,
                   access, &mapping->offset, &mapping->major, &mapping->minor, &mapping->inode, &at) < 7 ||
            mapping->end <= mapping->start)
                return false;
        mapping->shared = access[3] == 's' || access[3] == 'S';
        if (at > 0)
                snprintf(mapping->name, sizeof mapping->name, "%s", line + at);
        return true;
}

int proc_each_mapping(uint32_t pid, void (*each)(const struct mapping *mapping, void *context), void *context)
{
        static struct mapping mapping;
        static char line[4400];
        bool any = false;
        FILE *stream;
        int rc = open_stream(&stream, pid, "smaps");

        if (rc < 0)
                return rc;
        while (read_line(stream, line, sizeof line)) {
                if (line[0] >= 'A' && line[0] <= 'Z') {
                        take_number(&mapping, line);
                        continue;
                }
                if (any)
                        each(&mapping, context);
                any = begins(&mapping, line);
        }
        if (any)
                each(&mapping, context);
        return close_stream(stream);
}

/* --- Who serves a file --- */

enum { MOUNTS_MAX = 4096 };
struct mounts {
        size_t count;
        unsigned id[MOUNTS_MAX], major[MOUNTS_MAX], minor[MOUNTS_MAX];
};

/* Of those that somebody elsewhere serves; of the process that was asked about last. */
static struct mounts far_away;
static uint32_t far_pid;

static bool is_far(const char *type)
{
        static const char *const far_types[] = { "fuse", "nfs",       "cifs",   "smb",  "9p",  "ceph",   "afs",
                                                 "coda", "glusterfs", "lustre", "ocfs", "gfs", "autofs", "virtiofs" };

        for (size_t i = 0; i < sizeof far_types / sizeof far_types[0]; i++)
                if (strncmp(type, far_types[i], strlen(far_types[i])) == 0)
                        return true;
        return false;
}

static void look_at_mounts(uint32_t pid)
{
        static char line[8192];
        FILE *stream;

        far_pid = pid;
        far_away.count = 0;
        if (open_stream(&stream, pid, "mountinfo") < 0)
                return;
        while (read_line(stream, line, sizeof line)) {
                const char *type = strstr(line, " - ");
                const size_t i = far_away.count;

                if (type && is_far(type + 3) && i < MOUNTS_MAX &&
                    sscanf(line, "%u %*s %u:%u", &far_away.id[i], &far_away.major[i], &far_away.minor[i]) == 3)
                        far_away.count++;
        }
        fclose(stream);
}

/* By the number of its mount, or of its device. */
static bool is_served(uint32_t pid, unsigned mount, unsigned major, unsigned minor)
{
        if (far_pid != pid)
                look_at_mounts(pid);
        for (size_t i = 0; i < far_away.count; i++)
                if (far_away.id[i] == mount || (far_away.major[i] == major && far_away.minor[i] == minor))
                        return true;
        return false;
}

/* --- Descriptors --- */

/* Call take(line, context) for each line. */
static int each_info(uint32_t pid, int fd, void (*take)(const char *line, void *context), void *context)
{
        char name[64], line[256];
        FILE *stream;
        int rc;

        snprintf(name, sizeof name, "fdinfo/%d", fd);
        if ((rc = open_stream(&stream, pid, name)) < 0)
                return rc;
        while (read_line(stream, line, sizeof line))
                take(line, context);
        return close_stream(stream);
}

static void take_mount(const char *line, void *context)
{
        (void)sscanf(line, "mnt_id: %u", (unsigned *)context);
}

int proc_opened(uint32_t pid, int fd, struct opened *opened)
{
        struct place place;
        unsigned mount = 0;
        char name[64];
        ssize_t length;
        int rc;

        opened->pid = pid;
        opened->fd = fd;
        snprintf(name, sizeof name, "fd/%d", fd);
        if (!place_of(&place, pid, name))
                return -ENAMETOOLONG;
        length = readlink(place.path, opened->name, sizeof opened->name - 1);
        if (length < 0)
                return -errno;
        opened->name[length] = '\0';
        if (opened->name[0] != '/')
                return -EISDIR;
        if ((rc = each_info(pid, fd, take_mount, &mount)) < 0)
                return rc;
        if (is_served(pid, mount, UINT_MAX, UINT_MAX))
                return -EREMOTE;
        if (stat(place.path, &opened->stat) < 0)
                return -errno;
        return S_ISREG(opened->stat.st_mode) ? 0 : -EISDIR;
}

int proc_each_opened(uint32_t pid, void (*each)(const struct opened *opened, void *context), void *context)
{
        static struct opened opened;
        struct place place;
        struct dirent *entry;
        DIR *directory;
        uint32_t fd;

        directory = place_of(&place, pid, "fd") ? opendir(place.path) : NULL;
        if (!directory)
                return -errno;
        while ((entry = readdir(directory)))
                if (number_of(entry->d_name, &fd) && proc_opened(pid, (int)fd, &opened) == 0)
                        each(&opened, context);
        closedir(directory);
        return 0;
}

struct locks {
        void (*each)(bool write, uint64_t first, uint64_t last, void *context);
        void *context;
};

/* lock:  1: OFDLCK  ADVISORY  WRITE -1 00:31:25 256 EOF */
static void take_lock(const char *line, void *context)
{
        const struct locks *locks = context;
        char type[16], access[16], end[32];
        uint64_t first, last;

        if (sscanf(line, "lock: %*s %15s %*s %15s %*s %*s %" SCNu64 " %31s", type, access, &first, end) != 4 ||
            strcmp(type, "OFDLCK") != 0)
                return;
        last = strcmp(end, "EOF") == 0 ? UINT64_MAX : strtoull(end, NULL, 10);
        if (last >= first)
                locks->each(strcmp(access, "WRITE") == 0, first, last, locks->context);
}

int proc_each_lock(uint32_t pid, int fd, void (*each)(bool write, uint64_t first, uint64_t last, void *context),
                   void *context)
{
        struct locks locks = { each, context };

        return each_info(pid, fd, take_lock, &locks);
}

/* --- To be read --- */

/* First what does nothing to it (O_PATH), and if it is a file, that one once more.  The time of
 * the last access stays what it was, where that is allowed. */
int proc_open_regular(const char *path)
{
        const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        int place = open(path, O_PATH | O_CLOEXEC), fd;
        struct stat stat_of;
        char self[64];

        if (place < 0)
                return -errno;
        if (fstat(place, &stat_of) < 0 || !S_ISREG(stat_of.st_mode)) {
                close(place);
                return -EISDIR;
        }
        snprintf(self, sizeof self, "/proc/self/fd/%d", place);
        fd = open(self, flags | O_NOATIME);
        if (fd < 0 && errno == EPERM)
                fd = open(self, flags);
        if (fd < 0)
                fd = -errno;
        close(place);
        return fd;
}

int proc_open_opened(uint32_t pid, int fd)
{
        struct place place;
        char name[64];

        snprintf(name, sizeof name, "fd/%d", fd);
        return place_of(&place, pid, name) ? proc_open_regular(place.path) : -ENAMETOOLONG;
}

int proc_open_mapping(uint32_t pid, const struct mapping *mapping)
{
        struct place place;
        char name[64];

        if (is_served(pid, UINT_MAX, mapping->major, mapping->minor))
                return -EREMOTE;
        snprintf(name, sizeof name, "map_files/%" PRIx64 "-%" PRIx64, mapping->start, mapping->end);
        return place_of(&place, pid, name) ? proc_open_regular(place.path) : -ENAMETOOLONG;
}
