/* bytes.c - bytes of a file that others can take away
 *
 * SPDX-License-Identifier: MIT
 *
 * The kernel says -EFAULT of memory whose page it cannot have, and not why.  The file
 * tells: it is shorter; or room on its disk is refused for that page.  Where room is
 * given, the page is there now, and one goes on.
 *
 * A page that nothing was ever written to is nowhere on the disk.  On tmpfs a look at
 * it through memory takes room, too; a read of the file does not.
 */
#include "memory/bytes.h"

#include <errno.h>
#include <string.h>

/* Whether it is still the backing's own, and has so many bytes. */
static bool has(const struct backing *backing, uint64_t end)
{
        struct os_file there;

        return backing_look(backing, &there) == 0 && there.size >= end;
}

/* Give a page of the file room.  0, or why not. */
static int allot(const struct backing *backing, size_t at, size_t length)
{
        uint64_t page = os_page_size(), from = backing->offset + at, first = from & ~(page - 1);
        int rc = has(backing, from + length) ? os_allot(backing->fd, first, from + length - first) : -EFAULT;

        return rc == 0 || rc == -ENOSPC || rc == -EDQUOT ? rc : AMMAP_ERR_FAULT;
}

int bytes_why(const struct backing *backing, size_t at, size_t length)
{
        int rc = allot(backing, at, length);

        return rc < 0 ? rc : AMMAP_ERR_FAULT;
}

int bytes_peek(const struct backing *backing, size_t at, void *to, size_t length)
{
        int rc = os_peek(to, backing->data + at, length);

        if (rc != -EFAULT)
                return rc;
        if (!has(backing, backing->offset + at + length) ||
            os_read_at(backing->fd, backing->offset + at, to, length) < 0)
                return AMMAP_ERR_FAULT;
        return 0;
}

/* No call of the kernel's promises that it reads a word as one, but a load of our own could
 * raise a signal.  A copy of 8 aligned bytes is one access on most processors; on x86-64 it is
 * one string instruction, which an interrupt can cut in two.  So the word is taken that three
 * copies in a row agree on, or the last one of many, from under a writer who never pauses.
 * (Two in a row were cut at the same byte now and then, on a machine that was busy.)
 * Less than 8 may be copied byte by byte: 8 are asked for always, unless the file ends within
 * them. */
int bytes_load(const struct backing *backing, size_t at, void *word, size_t size)
{
        enum { TRIES = 256, AGREE = 3 };
        uint64_t block = 0, last = 0;
        const size_t within = at % sizeof block;
        int rc = 0;

        for (int tries = 0, agreed = 0; tries < TRIES && agreed < AGREE && rc == 0; tries++) {
                rc = bytes_peek(backing, at - within, &block, sizeof block);
                agreed = agreed > 0 && block == last ? agreed + 1 : 1;
                last = block;
        }
        if (rc == AMMAP_ERR_FAULT && size < sizeof block)
                return bytes_peek(backing, at, word, size);
        if (rc == 0)
                memcpy(word, (const unsigned char *)&block + within, size);
        return rc;
}

int bytes_poke(const struct backing *backing, size_t at, const void *from, size_t length, size_t *done)
{
        size_t refused = SIZE_MAX;

        for (*done = 0;;) {
                size_t n;
                int rc = os_poke(backing->data + at + *done, (const unsigned char *)from + *done, length - *done, &n);

                *done += n;
                if (rc != -EFAULT)
                        return rc;
                if (*done == refused)
                        return AMMAP_ERR_FAULT;
                refused = *done;
                if ((rc = allot(backing, at + *done, 1)) < 0)
                        return rc;
        }
}

int bytes_zero(const struct backing *backing, size_t at, size_t length, size_t *done)
{
        static const unsigned char zeros[1024];
        unsigned char found[sizeof zeros];
        int rc = 0;

        *done = 0;
        for (size_t from = 0, n, written; from < length && rc == 0; from += n) {
                n = length - from < sizeof zeros ? length - from : sizeof zeros;
                rc = bytes_peek(backing, at + from, found, n);
                if (rc == 0 && memcmp(found, zeros, n) != 0) {
                        rc = bytes_poke(backing, at + from, zeros, n, &written);
                        *done += written;
                }
        }
        return rc;
}
