/* huge.c - huge pages, made and verified
 *
 * SPDX-License-Identifier: MIT
 *
 * The administrator's setting for memory that processes share is "never" where he has not
 * touched it, and a fault makes no huge page of it then.  A collapse does, of what holds
 * anything: so one page of each is made present.  It is a huge page for all who have the
 * memory at an address that fits.
 */
#include "memory/huge.h"

#include "memory/bytes.h"

#include <errno.h>
#include <stdint.h>

/* Whether so many bytes are in huge pages, and the system says so. */
static bool is_huge(const unsigned char *bytes, size_t length)
{
        struct os_usage usage;

        os_usage(bytes, length, &usage);
        return usage.huge != OS_UNKNOWN && usage.huge >= length;
}

/* Where in a range the first huge page can be, and how many bytes of them fit. */
static size_t find(const struct huge_range *range, size_t huge, size_t *first)
{
        uintptr_t start = (uintptr_t)(range->data + range->from);

        if (huge == 0)
                return 0;
        *first = range->from + (huge - (size_t)(start % huge)) % huge;
        return range->to > *first ? (range->to - *first) / huge * huge : 0;
}

/* A collapse fails where another process just looks at one of the pages. */
static int collapse(unsigned char *bytes, size_t huge)
{
        enum { TRIES = 3 };
        int rc = -EAGAIN;

        for (unsigned i = 0; i < TRIES && rc == -EAGAIN; i++)
                rc = os_collapse(bytes, huge);
        return rc;
}

static int make_one(const struct huge_range *range, size_t at, size_t huge)
{
        int rc = os_populate(range->data + at, os_page_size(), range->access);

        if (rc == -EFAULT)
                return bytes_why(range->backing, at, os_page_size());
        if (rc == 0 && (rc = collapse(range->data + at, huge)) < 0 && is_huge(range->data + at, huge))
                return 0;
        return rc;
}

int huge_make(const struct huge_range *range)
{
        size_t huge = os_huge_size(), first, length = find(range, huge, &first);
        int rc = 0;

        for (size_t done = 0; done < length && rc == 0; done += huge)
                rc = make_one(range, first + done, huge);
        return os_absent(rc) ? AMMAP_ERR_UNSUPPORTED : rc;
}

int huge_verify(const struct huge_range *range)
{
        size_t huge = os_huge_size(), first, length = find(range, huge, &first);

        return length > 0 && is_huge(range->data + first, length) ? 0 : AMMAP_ERR_UNSUPPORTED;
}

int huge_verify_first(const struct huge_range *range)
{
        size_t huge = os_huge_size(), first;
        unsigned char *bytes;
        int rc;

        if (find(range, huge, &first) == 0)
                return AMMAP_ERR_UNSUPPORTED;
        bytes = range->data + first;
        rc = os_populate(bytes, os_page_size(), range->access);
        if (rc < 0 && !range->backing)
                *(volatile unsigned char *)bytes = 0;
        if (is_huge(bytes, huge))
                return 0;
        rc = os_collapse(bytes, huge);
        if (is_huge(bytes, huge))
                return 0;
        return rc < 0 && !os_absent(rc) ? rc : AMMAP_ERR_UNSUPPORTED;
}

bool huge_is_meant(const struct backing *backing)
{
        return backing && backing->offset > 0 && os_huge_size() > 0 && backing->offset % os_huge_size() == 0;
}
