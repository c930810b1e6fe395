/* picture.c - what is known of a map
 *
 * SPDX-License-Identifier: MIT
 */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

void picture_begin(struct picture *picture)
{
        *picture = (struct picture){ .kind = MAP_OTHER,
                                     .address = UNKNOWN,
                                     .inode = UNKNOWN,
                                     .fd = -1,
                                     .length = UNKNOWN,
                                     .capacity = UNKNOWN,
                                     .mapped = UNKNOWN,
                                     .resident = UNKNOWN,
                                     .huge = UNKNOWN,
                                     .locked = UNKNOWN,
                                     .allocated = UNKNOWN,
                                     .seals = -1,
                                     .pid_space = UNKNOWN,
                                     .generation = UNKNOWN };
}

void picture_end(struct picture *picture)
{
        free(picture->name);
        free(picture->path);
        free(picture->busy);
        free(picture->holders);
}

bool picture_add(struct picture *picture, const struct holder *holder)
{
        if (picture->holder_count == picture->holder_room) {
                size_t room = picture->holder_room ? 2 * picture->holder_room : 16;
                struct holder *holders = realloc(picture->holders, room * sizeof *holders);

                if (!holders)
                        return false;
                picture->holders = holders;
                picture->holder_room = room;
        }
        picture->holders[picture->holder_count++] = *holder;
        return true;
}

static int order(uint32_t a, uint32_t b)
{
        return (a > b) - (a < b);
}

static int compare_who(const struct holder *a, const struct holder *b)
{
        int rc = order(a->pid, b->pid);

        if (rc == 0)
                rc = order(a->tid, b->tid);
        if (rc == 0)
                rc = order((uint32_t)a->hold, (uint32_t)b->hold);
        return rc ? rc : order(a->slice, b->slice);
}

static int compare(const void *one, const void *other)
{
        const struct holder *a = one, *b = other;
        int rc = compare_who(a, b);

        return rc ? rc : order(a->first, b->first);
}

static int compare_lanes(const void *one, const void *other)
{
        const struct holder *a = one, *b = other;
        int rc = order(a->first, b->first);

        return rc ? rc : compare_who(a, b);
}

void picture_merge(struct picture *picture)
{
        struct holder *holders = picture->holders;
        size_t kept = 0;

        if (picture->holder_count == 0)
                return;
        qsort(holders, picture->holder_count, sizeof *holders, compare);
        for (size_t i = 1; i < picture->holder_count; i++) {
                if (compare_who(&holders[kept], &holders[i]) != 0 || holders[i].first > holders[kept].last + 1)
                        holders[++kept] = holders[i];
                else if (holders[i].last > holders[kept].last)
                        holders[kept].last = holders[i].last;
        }
        picture->holder_count = kept + 1;
        qsort(holders, picture->holder_count, sizeof *holders, compare_lanes);
}

const char *picture_kind(enum map_kind kind)
{
        static const char *const name[] = {
                [MAP_PRIVATE] = "private", [MAP_SHARED] = "shared",   [MAP_FILE] = "file",
                [MAP_RAW] = "raw",         [MAP_DAMAGED] = "damaged", [MAP_OTHER] = "other"
        };

        return name[kind];
}

const char *picture_hold(enum holding hold)
{
        static const char *const name[] = {
                [HOLD_READS] = "read", [HOLD_WRITES] = "write", [HOLD_DIED] = "dead", [HOLD_WAITS] = "wait"
        };

        return name[hold];
}

const char *picture_seal(unsigned i, int *bit)
{
        /* F_SEAL_SEAL, _SHRINK, _GROW, _WRITE, _FUTURE_WRITE, _EXEC: older headers have not all of them. */
        static const char *const name[] = { "seal", "shrink", "grow", "write", "future_write", "exec" };

        if (i >= sizeof name / sizeof name[0])
                return NULL;
        *bit = 1 << i;
        return name[i];
}
