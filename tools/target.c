/* target.c - what somebody asked about, looked at and shown
 *
 * SPDX-License-Identifier: MIT
 *
 * A process's maps are found by its mappings and by its descriptors.  Those that have an inode
 * are one candidate, however often they are mapped: a shared map's header and data are two
 * mappings, and it has a descriptor.  To look at one it is opened by the descriptor; where
 * the process has none any more, by the mapping, which wants more rights.
 *
 * Each is shown before the next one is looked at: so it takes no more memory, however many a
 * process has.
 */
#include "target.h"

#include "header.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { CANDIDATES_MAX = 4096 };

struct candidate {
        char *name;
        int fd; /* -1 */
        uint64_t mapped, resident, huge, locked;
        unsigned major, minor;
        uint64_t inode;      /* 0: private */
        uint64_t start, end; /* of the first mapping; UNKNOWN: there is none */
};

struct list {
        const struct view *view;
        struct target *target;
        struct candidate *at;
        size_t count, room;
        uint64_t omitted, shown;
        bool unseen;
};

static bool has_prefix(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* --- The list --- */

static struct candidate *add(struct list *list, const char *name)
{
        struct candidate *candidate;

        if (list->count == list->room) {
                size_t room = list->room ? 2 * list->room : 16;
                struct candidate *at = room <= CANDIDATES_MAX ? realloc(list->at, room * sizeof *at) : NULL;

                if (!at) {
                        list->omitted++;
                        return NULL;
                }
                list->at = at;
                list->room = room;
        }
        candidate = &list->at[list->count];
        *candidate = (struct candidate){ .fd = -1, .start = UNKNOWN, .mapped = UNKNOWN };
        candidate->name = strdup(name);
        if (!candidate->name) {
                list->omitted++;
                return NULL;
        }
        list->count++;
        return candidate;
}

/* The numbers of the device are other ones in some file systems, as seen by a descriptor: then
 * it is the path that tells. */
static struct candidate *find(const struct list *list, const char *name, unsigned major, unsigned minor, uint64_t inode)
{
        for (size_t i = 0; i < list->count; i++) {
                struct candidate *candidate = &list->at[i];

                if (candidate->inode &&
                    ((candidate->inode == inode && candidate->major == major && candidate->minor == minor) ||
                     (!has_prefix(name, "/memfd:") && strcmp(candidate->name, name) == 0)))
                        return candidate;
        }
        return NULL;
}

/* Memory that no library of ours may have named so is anybody's. */
static bool is_ours(const struct list *list, const char *name)
{
        return has_prefix(name, "[anon:ammap") || (list->view->all && has_prefix(name, "[anon:"));
}

/* Neighbours of one name are one row: the kernel joins them, too, where it can. */
static void take_private(struct list *list, const struct mapping *mapping)
{
        struct candidate *last = list->count ? &list->at[list->count - 1] : NULL;

        if (!is_ours(list, mapping->name))
                return;
        if (!last || last->inode || last->end != mapping->start || strcmp(last->name, mapping->name) != 0) {
                last = add(list, mapping->name);
                if (!last)
                        return;
                last->start = mapping->start;
                last->mapped = 0;
        }
        last->end = mapping->end;
        last->mapped += mapping->end - mapping->start;
        last->resident += mapping->resident;
        last->huge += mapping->huge;
        last->locked += mapping->locked;
}

static void take_mapping(const struct mapping *mapping, void *context)
{
        struct list *list = context;
        struct candidate *candidate;

        if (mapping->inode == 0 || !mapping->shared) {
                if (mapping->inode == 0 && list->target->fd < 0)
                        take_private(list, mapping);
                return;
        }
        if (mapping->name[0] != '/' || has_prefix(mapping->name, "/SYSV") || has_prefix(mapping->name, "/dev/zero"))
                return;
        candidate = find(list, mapping->name, mapping->major, mapping->minor, mapping->inode);
        if (!candidate) {
                candidate = add(list, mapping->name);
                if (!candidate)
                        return;
                candidate->inode = mapping->inode;
                candidate->major = mapping->major;
                candidate->minor = mapping->minor;
                candidate->start = mapping->start;
                candidate->end = mapping->end;
                candidate->mapped = 0;
        }
        candidate->mapped += mapping->end - mapping->start;
        candidate->resident += mapping->resident;
        candidate->huge += mapping->huge;
        candidate->locked += mapping->locked;
}

/* One that is not mapped may be a map on its way to another process, if it is memory. */
static void take_opened(const struct opened *opened, void *context)
{
        struct list *list = context;
        struct candidate *candidate =
                find(list, opened->name, major(opened->stat.st_dev), minor(opened->stat.st_dev), opened->stat.st_ino);

        if (!candidate && (list->target->fd >= 0 || has_prefix(opened->name, "/memfd:"))) {
                candidate = add(list, opened->name);
                if (candidate) {
                        candidate->inode = opened->stat.st_ino;
                        candidate->major = major(opened->stat.st_dev);
                        candidate->minor = minor(opened->stat.st_dev);
                }
        }
        if (candidate && candidate->fd < 0)
                candidate->fd = opened->fd;
}

/* --- One of them --- */

static void name_it(struct picture *picture, const char *name)
{
        static const char deleted[] = " (deleted)";
        size_t length = strlen(name);

        if (has_prefix(name, "/memfd:")) {
                if (length >= sizeof deleted && strcmp(name + length - (sizeof deleted - 1), deleted) == 0)
                        length -= sizeof deleted - 1;
                picture->name = strndup(name + 7, length - 7);
        } else if (has_prefix(name, "[anon:")) {
                picture->name = strndup(name + 6, length > 7 ? length - 7 : 0);
        } else {
                picture->path = strdup(name);
        }
}

static int open_candidate(const struct target *target, const struct candidate *candidate)
{
        static struct mapping mapping;

        if (candidate->fd >= 0)
                return proc_open_opened(target->pid, candidate->fd);
        mapping.start = candidate->start;
        mapping.end = candidate->end;
        mapping.major = candidate->major;
        mapping.minor = candidate->minor;
        return proc_open_mapping(target->pid, &mapping);
}

/* A raw map has no header: it is one by the name that they have who were given none. */
static bool is_wanted(const struct list *list, struct picture *picture)
{
        if (picture->kind == MAP_OTHER && picture->name && strcmp(picture->name, "ammap") == 0)
                picture->kind = MAP_RAW;
        return picture->kind != MAP_OTHER || list->target->fd >= 0 || list->view->all;
}

/* Most mapped files are nobody's map, so that one which cannot be opened is told of where it is
 * memory, which may be one. */
static void show_candidate(struct list *list, const struct candidate *candidate)
{
        const bool memory = has_prefix(candidate->name, "/memfd:");
        struct picture picture;
        int fd;

        picture_begin(&picture);
        name_it(&picture, candidate->name);
        if (candidate->inode == 0) {
                picture.kind = MAP_PRIVATE;
        } else if ((fd = open_candidate(list->target, candidate)) >= 0) {
                header_look(fd, &picture);
                close(fd);
        } else {
                picture.problem = "it may not be looked at";
                list->unseen = list->unseen || memory || list->target->fd >= 0;
        }
        picture.fd = candidate->fd;
        picture.address = candidate->start;
        picture.mapped = candidate->mapped;
        if (candidate->mapped != UNKNOWN) {
                picture.resident = candidate->resident;
                picture.huge = candidate->huge;
                picture.locked = candidate->locked;
        }
        if ((picture.problem && picture.kind == MAP_OTHER && memory) || is_wanted(list, &picture)) {
                if (list->shown++ == 0)
                        list->view->show->begin_target(list->view->out, list->target);
                list->view->show->map(list->view->out, &picture);
        }
        picture_end(&picture);
}

/* --- A process --- */

static void say_why(struct target *target, int rc)
{
        const char *why = rc == -EACCES || rc == -EPERM     ? "it may not be looked at: it is another user's, or "
                                                              "guarded"
                          : rc == -ENOENT || rc == -ESRCH   ? "there is no such process, or it is hidden"
                          : rc == -EISDIR || rc == -EREMOTE ? "it is no regular file of this machine"
                                                            : strerror(-rc);

        snprintf(target->why, sizeof target->why, "%s", why);
}

/* The descriptors are looked at only where the mappings may be: it is the same right. */
static int collect(struct list *list)
{
        static struct opened opened;
        const struct target *target = list->target;
        int rc = proc_each_mapping(target->pid, take_mapping, list);

        if (rc < 0)
                return rc;
        if (target->fd < 0)
                return proc_each_opened(target->pid, take_opened, list);
        if ((rc = proc_opened(target->pid, target->fd, &opened)) == 0)
                take_opened(&opened, list);
        return rc;
}

static int show_process(struct target *target, const struct view *view, bool always)
{
        struct list list = { .view = view, .target = target };
        int rc = proc_thread(target->pid, 0, &target->thread);

        if (rc == 0 && !target->thread.state)
                rc = -ESRCH;
        if (rc >= 0)
                rc = collect(&list);
        if (rc < 0)
                say_why(target, rc);
        if ((rc == -ENOENT || rc == -ESRCH) && target->thread.state)
                snprintf(target->why, sizeof target->why, "there is no memory of it: it has ended, or is the kernel's");
        for (size_t i = 0; i < list.count && rc >= 0; i++)
                if (target->fd < 0 || list.at[i].fd == target->fd)
                        show_candidate(&list, &list.at[i]);
        for (size_t i = 0; i < list.count; i++)
                free(list.at[i].name);
        free(list.at);
        if (list.unseen && !target->why[0])
                snprintf(target->why, sizeof target->why, "some of its memory may not be looked at");
        if (always && list.shown == 0)
                view->show->begin_target(view->out, target);
        if (always || list.shown)
                view->show->end_target(view->out, target, list.omitted);
        return rc < 0 || list.unseen ? -1 : 0;
}

/* --- The rest --- */

/* By a descriptor that was inherited; which may be one only to be written. */
static int open_own(int fd)
{
        char path[64];
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return proc_open_regular(path);
}

static int show_file(struct target *target, const struct view *view)
{
        int fd = target->path ? proc_open_regular(target->path) : open_own(target->fd);
        struct picture picture;
        char self[64], name[4200] = "";

        if (fd < 0) {
                say_why(target, fd);
                if (fd == -EACCES)
                        snprintf(target->why, sizeof target->why, "it may not be read");
                if (fd == -ENOENT)
                        snprintf(target->why, sizeof target->why, "there is no such file");
                view->show->begin_target(view->out, target);
                view->show->end_target(view->out, target, 0);
                return -1;
        }
        picture_begin(&picture);
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        if (readlink(self, name, sizeof name - 1) > 0)
                name_it(&picture, name);
        header_look(fd, &picture);
        close(fd);
        if (picture.kind == MAP_OTHER && picture.name && strcmp(picture.name, "ammap") == 0)
                picture.kind = MAP_RAW;
        picture.fd = target->path ? -1 : target->fd;
        view->show->begin_target(view->out, target);
        view->show->map(view->out, &picture);
        view->show->end_target(view->out, target, 0);
        picture_end(&picture);
        return 0;
}

int target_show(struct target *target, const struct view *view)
{
        target->why[0] = '\0';
        return target->pid ? show_process(target, view, true) : show_file(target, view);
}

struct all {
        const struct view *view;
        uint64_t unseen;
};

static void show_if_maps(uint32_t pid, void *context)
{
        struct all *all = context;
        struct target target = { .pid = pid, .fd = -1 };

        if (pid == (uint32_t)getpid())
                return;
        if (show_process(&target, all->view, false) < 0)
                all->unseen += strncmp(target.why, "there is", 8) != 0;
}

uint64_t target_show_all(const struct view *view)
{
        struct all all = { .view = view };

        (void)proc_each(show_if_maps, &all);
        return all.unseen;
}
