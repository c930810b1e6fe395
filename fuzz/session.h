/* session.h - calls on a map that is not to be trusted
 *
 * SPDX-License-Identifier: MIT
 *
 * Of each: a code that there is, or what was asked for, and nothing beyond it.
 */
#ifndef SESSION_H
#define SESSION_H

#include "ammap.h"
#include "input.h"

#include <string.h>
#include <unistd.h>

/* The genuine maps; HEAD: what stands before the records of the lanes. */
enum { HEAD = 256, LENGTH = 4096 + 77, CAPACITY = 3 * 4096, LANES = 3 };

static inline uint64_t number_at(const unsigned char *bytes, size_t at, unsigned size)
{
        uint64_t number = 0;

        memcpy(&number, bytes + at, size); /* little endian machines alone have these */
        return number;
}

static void must_be_code(int rc, const char *what)
{
        MUST(rc <= 0 && strcmp(ammap_errname(rc), "UNKNOWN") != 0, "%s answers %d", what, rc);
}

/* A slice has the bytes that were asked for, and they can be touched. */
static void try_slice(ammap_t *map, uint64_t offset, uint64_t length, bool write, bool detaches)
{
        unsigned char sum = 0;

        if (write) {
                ammap_mut_slice_t mut;
                ammap_slice_t slice = { 0 };
                int rc = ammap_timed_as_mut_slice(map, offset, length, 20000, &mut);

                must_be_code(rc, "timed_as_mut_slice");
                MUST((rc == 0) == (mut.data != NULL), "a mut slice beside %d", rc);
                if (rc < 0)
                        return;
                MUST(mut.length == length, "%zu bytes", mut.length);
                memset(mut.data, 1, mut.length);
                if (detaches)
                        must_be_code(ammap_mut_slice_detach(&mut), "detach");
                else
                        must_be_code(ammap_mut_slice_downgrade(&mut, &slice), "downgrade");
                MUST(ammap_slice_release(&slice) == 0 && ammap_mut_slice_release(&mut) == 0, "release");
        } else {
                ammap_slice_t slice;
                int rc = ammap_timed_as_slice(map, offset, length, 20000, &slice);

                must_be_code(rc, "timed_as_slice");
                MUST((rc == 0) == (slice.data != NULL), "a slice beside %d", rc);
                if (rc < 0)
                        return;
                MUST(slice.length == length, "%zu bytes", slice.length);
                for (size_t i = 0; i < slice.length; i++)
                        sum = (unsigned char)(sum + slice.data[i]);
                if (detaches)
                        must_be_code(ammap_slice_detach(&slice), "detach");
                MUST(ammap_slice_release(&slice) == 0, "release");
        }
        (void)sum;
}

/* These come back whatever the lock says. */
static void call_that_returns(ammap_t *map, struct input *input, unsigned how, uint64_t size)
{
        uint64_t offset = take_extent(input, size), length = take_extent(input, offset <= size ? size - offset : size);
        unsigned char guarded[8192 + 128];
        size_t some = (size_t)(length % 8192);
        ammap_stat_t stat = AMMAP_STAT_INIT;
        ammap_holder_t holder[8];
        ammap_u32_view_t view;
        uint64_t begin, wide, generation = 0;
        uint32_t narrow;
        char text[64];
        int rc, fd;

        switch (how) {
        case 0:
        case 1:
                if (length <= 1 << 22 || offset > size)
                        try_slice(map, offset, length, how == 1, length & 1);
                break;
        case 2:
                memset(guarded, 0x6b, sizeof(guarded));
                must_be_code(ammap_timed_read_into(map, offset, guarded + 64, some, 20000), "timed_read_into");
                for (size_t i = 0; i < 64; i++)
                        MUST(guarded[i] == 0x6b && guarded[64 + some + i] == 0x6b, "a byte beyond the buffer");
                break;
        case 3:
                memset(guarded, 2, sizeof(guarded));
                must_be_code(ammap_timed_update_region(map, offset, guarded, some, 20000), "timed_update_region");
                break;
        case 4:
                must_be_code(ammap_try_update_region(map, offset, "12345678", some % 9), "try_update_region");
                must_be_code(ammap_try_read_into(map, offset, guarded, some), "try_read_into");
                break;
        case 5:
                rc = ammap_atomic_u32(map, offset & ~UINT64_C(3), &view);
                must_be_code(rc, "atomic_u32");
                if (rc == 0)
                        atomic_fetch_add(view.value, 1);
                ammap_u32_view_release(&view);
                break;
        case 6:
                must_be_code(ammap_load_u32(map, offset, &narrow), "load_u32");
                must_be_code(ammap_load_u64(map, offset & ~UINT64_C(7), &wide), "load_u64");
                break;
        case 7:
                must_be_code(ammap_wait_u32(map, offset & ~UINT64_C(3), (uint32_t)length, 0), "wait_u32");
                MUST(ammap_wake_u32(map, offset & ~UINT64_C(3), 1) <= 0, "somebody slept");
                break;
        case 8:
                must_be_code(ammap_wait_change(map, offset, length, &generation, 0), "wait_change");
                must_be_code(ammap_wait_change(map, offset, length, &generation, 20000), "wait_change");
                break;
        case 9:
                rc = ammap_stat(map, &stat);
                must_be_code(rc, "stat");
                MUST(stat.length <= stat.capacity && stat.lanes <= 4096, "%llu bytes of %llu",
                     (unsigned long long)stat.length, (unsigned long long)stat.capacity);
                MUST(stat.slots <= stat.slots_max || stat.slots_max == 0, "%llu slots", (unsigned long long)stat.slots);
                MUST(ammap_describe(map, text, sizeof(text)) > 0, "describe");
                break;
        case 10:
                rc = ammap_holders(map, offset, length, holder, COUNT_OF(holder));
                MUST(rc >= 0 || strcmp(ammap_errname(rc), "UNKNOWN") != 0, "holders answers %d", rc);
                for (int i = 0; i < rc && i < (int)COUNT_OF(holder); i++)
                        MUST(holder[i].hold <= AMMAP_HOLD_VIEW && holder[i].length <= ammap_len(map) + size,
                             "a holder of %llu bytes", (unsigned long long)holder[i].length);
                break;
        case 11:
                rc = ammap_lane(map, offset, &begin, &wide);
                must_be_code(rc, "lane");
                MUST(rc < 0 ? begin == 0 && wide == 0 : begin <= offset && wide > 0, "a lane of %llu bytes",
                     (unsigned long long)wide);
                break;
        case 12:
                rc = ammap_export(map, length & 1 ? AMMAP_READ | AMMAP_WRITE : AMMAP_READ | AMMAP_NO_SEAL, &fd);
                must_be_code(rc, "export");
                if (rc == 0)
                        close(fd);
                must_be_code(ammap_flush(map, offset, length), "flush");
                break;
        case 13:
                must_be_code(ammap_populate(map, offset, length % 65536), "populate");
                must_be_code(ammap_advise(map, offset, length, AMMAP_ADVICE_RANDOM), "advise");
                MUST(ammap_is_hugepage_backed(map) <= 1, "huge");
                break;
        }
}

/* These may wait for a lock. */
static void call_that_waits(ammap_t *map, struct input *input, unsigned how, uint64_t size)
{
        uint64_t offset = take_extent(input, size), length = take_extent(input, offset <= size ? size - offset : size);
        unsigned char bytes[64] = { 1 };
        ammap_mut_slice_t mut;
        ammap_t *copy;
        int rc;

        if (length > 1 << 22 && offset <= size)
                length %= 1 << 22;
        switch (how) {
        case 0:
                must_be_code(ammap_fill(map, offset, length, 3), "fill");
                break;
        case 1:
                must_be_code(ammap_copy(map, offset, map, length, length % 5000), "copy");
                break;
        case 2:
                must_be_code(ammap_resize(map, length), "resize");
                break;
        case 3:
                must_be_code(ammap_discard(map, offset, length), "discard");
                break;
        case 4:
                if (ammap_len(map) > 1 << 22)
                        break;
                rc = ammap_clone(map, &copy);
                must_be_code(rc, "clone");
                if (rc == 0)
                        MUST(ammap_free(copy) == 0, "free");
                break;
        case 5:
                must_be_code(ammap_recover(map), "recover");
                break;
        case 6:
                rc = ammap_recover_as_mut_slice(map, offset, length, &mut);
                MUST(rc == 1 || rc <= 0, "recover_as_mut_slice answers %d", rc);
                MUST(ammap_mut_slice_release(&mut) == 0, "release");
                break;
        case 7:
                must_be_code(ammap_freeze(map), "freeze");
                break;
        case 8:
                must_be_code(ammap_update_region(map, offset, bytes, length % 65), "update_region");
                must_be_code(ammap_read_into(map, offset, bytes, length % 65), "read_into");
                break;
        }
}

#endif /* SESSION_H */
