/* test-resize.c - growth at a fixed address
 *
 * SPDX-License-Identifier: MIT
 *
 * What a shrink takes is zero when it comes again; slices and views outlive what
 * does not cut them, and refuse what does; nobody who reads beside a resize sees
 * half of it; and address space alone costs nothing.
 */
#include "proc.h"

#define KB UINT64_C(1024)
#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

static ammap_t *make(uint64_t size, uint64_t capacity, uint64_t lanes)
{
        ammap_options_t options = AMMAP_OPTIONS_INIT;
        ammap_t *map;

        options.capacity = capacity;
        options.lanes = lanes;
        ck_assert_int_eq(ammap_new_with(&map, size, &options), 0);
        return map;
}

static bool all(const unsigned char *bytes, size_t length, unsigned char byte)
{
        for (size_t i = 0; i < length; i++)
                if (bytes[i] != byte)
                        return false;
        return true;
}

static void check_bytes(ammap_t *map, uint64_t offset, uint64_t length, unsigned char byte)
{
        ammap_slice_t slice;

        ck_assert_int_eq(ammap_as_slice(map, offset, length, &slice), 0);
        ck_assert(all(slice.data, slice.length, byte));
        ammap_slice_release(&slice);
}

DEFINE_TEST("alone", sizes_stay_within_capacities)
{
        static const struct {
                uint64_t size, capacity;
                int want;
        } cases[] = {
                { 1, 0, 0 },
                { 1, 1, 0 },
                { 1, UINT64_C(1) << 20, 0 },
                { 4096, 4097, 0 },
                { 2, 1, AMMAP_ERR_SIZE },
                { 4096, 4095, AMMAP_ERR_SIZE },
                { 0, 4096, AMMAP_ERR_SIZE },
                { 1, UINT64_MAX, AMMAP_ERR_SIZE },
                { UINT64_MAX, UINT64_MAX, AMMAP_ERR_SIZE },
                { 1, (UINT64_C(1) << 47) + 1, AMMAP_ERR_SIZE },
        };
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
                ammap_options_t options = AMMAP_OPTIONS_INIT;
                ammap_t *map;

                options.capacity = cases[i].capacity;
                ck_assert_int_eq(ammap_new_with(&map, cases[i].size, &options), cases[i].want);
                ck_assert_int_eq(map != NULL, cases[i].want == 0);
                ck_assert_uint_eq(ammap_len(map), map ? cases[i].size : 0);
                ck_assert_int_eq(ammap_free(map), 0);
        }
}

DEFINE_TEST("alone", bad_sizes_change_nothing)
{
        ammap_t *map = make(100, 10000, 1), *fixed = make(100, 0, 1);

        ck_assert_int_eq(ammap_resize(NULL, 1), AMMAP_ERR_INVALID);
        ck_assert_int_eq(ammap_resize(map, 0), AMMAP_ERR_SIZE);
        ck_assert_int_eq(ammap_resize(map, 10001), AMMAP_ERR_SIZE);
        ck_assert_int_eq(ammap_resize(map, UINT64_MAX), AMMAP_ERR_SIZE);
        ck_assert_uint_eq(ammap_len(map), 100);
        ck_assert_int_eq(ammap_resize(map, 100), 0);
        /* Without a capacity it can shrink and come back. */
        ck_assert_int_eq(ammap_resize(fixed, 101), AMMAP_ERR_SIZE);
        ck_assert_int_eq(ammap_resize(fixed, 1), 0);
        ck_assert_uint_eq(ammap_len(fixed), 1);
        ck_assert_int_eq(ammap_resize(fixed, 100), 0);
        ck_assert_int_eq(ammap_free(fixed), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Every pair of lengths around the ends of pages: the bounds follow, the address
 * stays, what is kept is kept and what is new is zero. */
DEFINE_TEST("alone", every_step_keeps_bytes_and_address)
{
        const uint64_t lengths[] = { 1,        15,       100,          PAGE - 1, PAGE,
                                     PAGE + 1, 2 * PAGE, 3 * PAGE - 7, 5 * PAGE, 20000 + PAGE };
        const uint64_t lanes[] = { 1, 3, 7 };

        for (size_t l = 0; l < COUNT_OF(lanes); l++)
                for (size_t i = 0; i < COUNT_OF(lengths); i++)
                        for (size_t j = 0; j < COUNT_OF(lengths); j++) {
                                uint64_t from = lengths[i], to = lengths[j], kept = from < to ? from : to;
                                ammap_t *map = make(from, 30000 + PAGE, lanes[l]);
                                const void *base = ammap_as_ptr(map);
                                unsigned char byte;

                                ck_assert_int_eq(ammap_fill(map, 0, from, 0xa5), 0);
                                ck_assert_int_eq(ammap_resize(map, to), 0);
                                ck_assert_ptr_eq(ammap_as_ptr(map), base);
                                ck_assert_uint_eq(ammap_len(map), to);
                                check_bytes(map, 0, kept, 0xa5);
                                check_bytes(map, kept, to - kept, 0);
                                ck_assert_int_eq(ammap_read_into(map, to, &byte, 1), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_read_into(map, to - 1, &byte, 1), 0);
                                ck_assert_int_eq(ammap_update_region(map, to, &byte, 1), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_read_into(map, to, &byte, 0), 0);
                                ck_assert_int_eq(ammap_read_into(map, to + 1, &byte, 0), AMMAP_ERR_BOUNDS);
                                ck_assert_int_eq(ammap_resize(map, 30000 + PAGE), 0);
                                check_bytes(map, 0, kept, 0xa5);
                                check_bytes(map, kept, 30000 + PAGE - kept, 0);
                                ck_assert_int_eq(ammap_free(map), 0);
                        }
}

DEFINE_LOOP_TEST("alone", slices_and_views, 0, 2)
{
        ammap_t *map = make(4096, UINT64_C(1) << 20, _i ? 4 : 1);
        ammap_slice_t low, high;
        ammap_mut_slice_t mut;
        ammap_u32_view_t view, last;
        ammap_u64_view_t none;

        ck_assert_int_eq(ammap_as_slice(map, 0, 1000, &low), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 1000, &view), 0);
        *view.value = 77;

        /* Growth disturbs none of them, and what they point at is the same. */
        ck_assert_int_eq(ammap_resize(map, 500000), 0);
        ck_assert_ptr_eq(low.data, ammap_as_ptr(map));
        ck_assert_uint_eq(*view.value, 77);
        ck_assert_int_eq(ammap_as_slice(map, 400000, 100000, &high), 0);

        /* A shrink is refused by the slice that it would cut, and only by that. */
        ck_assert_int_eq(ammap_resize(map, 499999), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(ammap_len(map), 500000);
        ammap_slice_release(&high);
        ck_assert_int_eq(ammap_resize(map, 1004), 0);
        ck_assert_int_eq(ammap_resize(map, 1003), AMMAP_ERR_BUSY); /* the view */
        ck_assert_uint_eq(ammap_len(map), 1004);
        ck_assert_uint_eq(*view.value, 77);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_resize(map, 1000), 0);
        ck_assert_int_eq(ammap_resize(map, 999), AMMAP_ERR_BUSY); /* the slice */
        ammap_slice_release(&low);
        ck_assert_int_eq(ammap_resize(map, 999), 0);

        /* One's own mut slice too: BUSY where it is cut, else not in the way. */
        ck_assert_int_eq(ammap_as_mut_slice(map, 100, 100, &mut), 0);
        mut.data[99] = 9;
        ck_assert_int_eq(ammap_resize(map, 100000), 0);
        ck_assert_int_eq(ammap_resize(map, 200), 0);
        ck_assert_int_eq(ammap_resize(map, 199), AMMAP_ERR_BUSY);
        ck_assert_uint_eq(mut.data[99], 9);
        ammap_mut_slice_release(&mut);
        ck_assert_int_eq(ammap_resize(map, 199), 0);

        /* Many views, released in another order than taken; one without words. */
        ck_assert_int_eq(ammap_resize(map, 4096), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 0, &view), 0);
        ck_assert_int_eq(ammap_atomic_u32(map, 2048, &last), 0);
        ck_assert_int_eq(ammap_atomic_u64_slice(map, 3200, 0, &none), 0);
        ck_assert_int_eq(ammap_resize(map, 3199), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_resize(map, 3200), 0);
        ammap_u64_view_release(&none);
        ck_assert_int_eq(ammap_resize(map, 2052), 0);
        ck_assert_int_eq(ammap_resize(map, 2051), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&last);
        ck_assert_int_eq(ammap_resize(map, 4), 0);
        ck_assert_int_eq(ammap_resize(map, 3), AMMAP_ERR_BUSY);
        ck_assert_int_eq(ammap_free(map), AMMAP_ERR_BUSY);
        ammap_u32_view_release(&view);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* Slices of other threads. */
struct foreign {
        ammap_t *map;
        uint64_t end;
        bool write;
        sem_t taken, release;
};

static void *hold_slice(void *argument)
{
        struct foreign *f = argument;
        ammap_slice_t slice;
        ammap_mut_slice_t mut;

        if (f->write)
                thread_check_int(ammap_as_mut_slice(f->map, 0, f->end, &mut), 0);
        else
                thread_check_int(ammap_as_slice(f->map, 0, f->end, &slice), 0);
        sem_post(&f->taken);
        while (sem_wait(&f->release) < 0)
                ;
        if (f->write)
                ammap_mut_slice_release(&mut);
        else
                ammap_slice_release(&slice);
        return NULL;
}

DEFINE_TEST("alone", slices_of_others_stop_a_shrink)
{
        for (int write = 0; write < 2; write++)
                for (uint64_t lanes = 1; lanes < 6; lanes += 2) {
                        struct foreign f = { .map = make(9000, 9000, lanes), .end = 5000, .write = write };
                        pthread_t thread;

                        sem_init(&f.taken, 0, 0);
                        sem_init(&f.release, 0, 0);
                        ck_assert_int_eq(ammap_fill(f.map, 0, 9000, 1), 0);
                        ck_assert_int_eq(pthread_create(&thread, NULL, hold_slice, &f), 0);
                        while (sem_wait(&f.taken) < 0)
                                ;
                        ck_assert_int_eq(ammap_resize(f.map, 4999), AMMAP_ERR_BUSY);
                        ck_assert_int_eq(ammap_resize(f.map, 5000), 0);
                        ck_assert_int_eq(ammap_resize(f.map, 9000), 0);
                        sem_post(&f.release);
                        pthread_join(thread, NULL);
                        check_bytes(f.map, 0, 5000, 1);
                        check_bytes(f.map, 5000, 4000, 0);
                        ck_assert_int_eq(ammap_resize(f.map, 1), 0);
                        ck_assert_int_eq(ammap_free(f.map), 0);
                }
}

static void *die_writing(void *argument)
{
        ammap_mut_slice_t mut;

        thread_check_int(ammap_as_mut_slice(argument, 0, 10, &mut), 0);
        return NULL;
}

DEFINE_TEST("alone", a_dead_lane_is_not_cut)
{
        ammap_t *map = make(9000, 10000, 3);
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, die_writing, map), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(ammap_resize(map, 8000), 0); /* the dead lane stays whole */
        ck_assert_int_eq(ammap_resize(map, 100), AMMAP_ERR_OWNER_DEAD);
        ck_assert_uint_eq(ammap_len(map), 8000);
        ck_assert_int_eq(ammap_resize(map, 10000), 0);
        ck_assert_int_eq(ammap_recover(map), 0);
        ck_assert_int_eq(ammap_resize(map, 100), 0);
        ck_assert_int_eq(ammap_free(map), 0);
}

/* What a shrink takes is given back to the system; what is left can be read. */
DEFINE_TEST("alone", a_shrink_gives_pages_back)
{
        ammap_t *map = make(64 * PAGE, 64 * PAGE, 1);
        const unsigned char *base = ammap_as_ptr(map);

        ck_assert_int_eq(ammap_fill(map, 0, 64 * PAGE, 3), 0);
        ck_assert_uint_eq(pages_in_core(base, (size_t)(64 * PAGE)), 64);
        ck_assert_int_eq(ammap_resize(map, 3 * PAGE + 1), 0);
#if TEST_OS_LINUX
        ck_assert_uint_eq(pages_in_core(base, (size_t)(64 * PAGE)), 4);
#endif
        ck_assert(all(base + 3 * PAGE + 1, (size_t)(61 * PAGE - 1), 0));
        ck_assert_int_eq(ammap_free(map), 0);
}

DEFINE_TEST("alone", terabytes_of_capacity_take_no_memory)
{
        uint64_t capacity = sizeof(void *) > 4 ? UINT64_C(16) << 40 : UINT64_C(512) << 20;
        unsigned long before = status_bytes("VmRSS:");
        struct footprint print;
        ammap_t *map;

        if (TEST_SANITIZED || under_valgrind()) {
                skip_part(__func__, "they shadow what is mapped");
                return;
        }
        ammap_free(make(1, 0, 1));
        print = footprint();
        map = make(PAGE, capacity, 1);
        ck_assert_uint_lt(status_bytes("VmRSS:"), before + (1 << 20));
        ck_assert_int_eq(ammap_update_region(map, PAGE - 1, "x", 1), 0);
        ck_assert_int_eq(ammap_resize(map, UINT64_C(1) << 28), 0);
        ck_assert_int_eq(ammap_update_region(map, (UINT64_C(1) << 28) - 1, "x", 1), 0);
        ck_assert(is_fatal((const unsigned char *)ammap_as_ptr(map) + (UINT64_C(1) << 28), false));
        ck_assert_uint_lt(status_bytes("VmRSS:"), before + (1 << 20));
        ck_assert_int_eq(ammap_free(map), 0);
        ck_assert_footprint(print);
}

/* --- Beside others ------------------------------------------------------ */

enum { BLOCK = 3000, AT = 5000 };

struct race {
        ammap_t *map;
        _Atomic bool stop;
        _Atomic unsigned long inside, outside, torn;
};

static void note(struct race *race, int rc, const unsigned char *bytes, size_t length)
{
        if (rc == AMMAP_ERR_BOUNDS) {
                atomic_fetch_add(&race->outside, 1);
                return;
        }
        thread_check_int(rc, 0);
        atomic_fetch_add(&race->inside, 1);
        if (!all(bytes, length, bytes[0]))
                atomic_fetch_add(&race->torn, 1);
}

/* Without entering, entering, by slice, and by a copy from map to map. */
static void *read_block(void *argument)
{
        static const size_t lengths[] = { 8, 64, 500, 1000, BLOCK };
        struct race *race = argument;
        unsigned char bytes[BLOCK];
        ammap_slice_t slice;
        unsigned turn = 0;
        ammap_t *other;

        if (ammap_new(&other, BLOCK) < 0)
                abort();
        while (!atomic_load(&race->stop)) {
                for (size_t i = 0; i < COUNT_OF(lengths); i++)
                        for (uint64_t from = 0; from + lengths[i] <= BLOCK; from += 500)
                                note(race, ammap_read_into(race->map, AT + from, bytes, lengths[i]), bytes, lengths[i]);
                if (turn++ % 8 == 0 && ammap_as_slice(race->map, AT, BLOCK, &slice) == 0) {
                        note(race, 0, slice.data, slice.length);
                        /* Not every time: on one processor the shrink would run
                         * while a slice is alive, and never else. */
                        if (turn % 64 == 1)
                                sched_yield();
                        note(race, 0, slice.data, slice.length);
                        ammap_slice_release(&slice);
                }
                if (ammap_copy(other, 0, race->map, AT, BLOCK) == 0) {
                        thread_check_int(ammap_read_into(other, 0, bytes, BLOCK), 0);
                        note(race, 0, bytes, BLOCK);
                }
        }
        thread_check_int(ammap_free(other), 0);
        return NULL;
}

/* The map grows and shrinks across a block that is written as one. */
enum { ROUNDS = 5000 };

DEFINE_LOOP_TEST("beside others", readers_beside, 0, 2)
{
        static const uint64_t lanes[] = { 1, 4 };
        struct race race = { .map = make(AT, 40000, lanes[_i]) };
        unsigned char bytes[BLOCK];
        struct task readers[2];
        int round, busy = 0;

        for (size_t i = 0; i < COUNT_OF(readers); i++)
                task_start(&readers[i], read_block, &race);
        for (round = 0; round < rounds_or_all(ROUNDS, 20 * ROUNDS) || busy == 0 || atomic_load(&race.inside) == 0 ||
                        atomic_load(&race.outside) == 0;
             round++) {
                int rc;

                ck_assert_int_eq(ammap_resize(race.map, 5 * AT), 0);
                memset(bytes, 1 + round % 255, sizeof(bytes));
                ck_assert_int_eq(ammap_update_region(race.map, AT, bytes, BLOCK), 0);
                if ((rc = ammap_resize(race.map, AT - (uint64_t)round % BLOCK)) != 0) {
                        ck_assert_int_eq(rc, AMMAP_ERR_BUSY); /* a slice */
                        ck_assert_uint_eq(ammap_len(race.map), 5 * AT);
                        busy++;
                        sched_yield();
                }
        }
        atomic_store(&race.stop, true);
        for (size_t i = 0; i < COUNT_OF(readers); i++)
                task_join(&readers[i]);
        printf("race: %d rounds, %lu reads inside, %lu outside, %d times busy\n", round, atomic_load(&race.inside),
               atomic_load(&race.outside), busy);
        ck_assert_uint_eq(atomic_load(&race.torn), 0);
        ck_assert_int_eq(ammap_free(race.map), 0);
}

static void *use_end(void *argument)
{
        struct race *race = argument;
        unsigned char bytes[64];
        ammap_u32_view_t view;

        while (!atomic_load(&race->stop)) {
                thread_check(ammap_len(race->map) == 9000);
                thread_check_int(ammap_read_into(race->map, 8936, bytes, 64), 0);
                thread_check_int(ammap_update_region(race->map, 8500, bytes, 64), 0);
                thread_check_int(ammap_fill(race->map, 8500, 64, 1), 0);
                thread_check_int(ammap_atomic_u32(race->map, 8996, &view), 0);
                ammap_u32_view_release(&view);
                atomic_fetch_add(&race->inside, 1);
        }
        return NULL;
}

/* A shrink that is refused changes nothing, at no moment and for no one. */
DEFINE_TEST("beside others", a_refused_shrink_is_never_seen)
{
        struct race race = { .map = make(9000, 9000, 3) };
        ammap_slice_t slice;
        struct task users[2];

        ck_assert_int_eq(ammap_as_slice(race.map, 8950, 50, &slice), 0);
        ammap_slice_release(&slice);
        for (size_t i = 0; i < COUNT_OF(users); i++)
                task_start(&users[i], use_end, &race);
        while (atomic_load(&race.inside) < (unsigned long)rounds_or_all(20000, 200000)) {
                ammap_u64_view_t view;

                ck_assert_int_eq(ammap_atomic_u64(race.map, 8000, &view), 0);
                ck_assert_int_eq(ammap_resize(race.map, 8007), AMMAP_ERR_BUSY);
                ammap_u64_view_release(&view);
                ck_assert_int_eq(ammap_as_slice(race.map, 5000, 500, &slice), 0);
                ck_assert_int_eq(ammap_resize(race.map, 5200), AMMAP_ERR_BUSY);
                ammap_slice_release(&slice);
        }
        atomic_store(&race.stop, true);
        for (size_t i = 0; i < COUNT_OF(users); i++)
                task_join(&users[i]);
        ck_assert_int_eq(ammap_free(race.map), 0);
}

/* A fork in the midst of it: the child has one length or the other. */
static void forked_body(void *argument)
{
        ammap_t *map = argument;
        uint64_t length = ammap_len(map);
        unsigned char byte;

        child_must(length == 5000 || length == 20000);
        ammap_recover(map);
        child_must_int(ammap_read_into(map, length - 1, &byte, 1), 0);
        child_must_int(ammap_read_into(map, length, &byte, 1), AMMAP_ERR_BOUNDS);
        child_must_int(ammap_resize(map, 20000), 0);
        child_must_int(ammap_fill(map, 0, 20000, 1), 0);
        child_must_int(ammap_resize(map, 5000), 0);
        child_must_int(ammap_resize(map, 20000), 0);
        child_must_int(ammap_read_into(map, 5000, &byte, 1), 0);
        child_must(byte == 0);
        child_must_int(ammap_free(map), 0);
}

static void *resize_on(void *argument)
{
        struct race *race = argument;

        while (!atomic_load(&race->stop)) {
                thread_check_int(ammap_resize(race->map, 20000), 0);
                thread_check_int(ammap_fill(race->map, 10000, 10000, 1), 0);
                thread_check_int(ammap_resize(race->map, 5000), 0);
        }
        return NULL;
}

DEFINE_TEST("beside others", forks_beside_resizes_are_whole)
{
        struct race race = { .map = make(5000, 20000, 2) };
        struct task resizer;

        task_start(&resizer, resize_on, &race);
        for (int i = 0; i < rounds(200); i++)
                child_passes(forked_body, race.map);
        atomic_store(&race.stop, true);
        task_join(&resizer);
        ck_assert_int_eq(ammap_free(race.map), 0);
}

int main(void)
{
        return run_tests("resize", test_case);
}
