/* memory.c - the library's memory: its data, its heap and its pages
 *
 * SPDX-License-Identifier: MIT
 *
 * All of it is as before the library's first call at the beginning of each run.  What is given
 * back is not given out again within a run, so that who still touches it is found.
 */
#include "sim.h"

#include "lock/slot.h"
#include "lock/thread.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HEAP = 1 << 20, PAGES = 2048, GRANULE = 16, PAGE = 4096, DATA_MAX = 1 << 16 };
enum { FREE, TAKEN, GIVEN_BACK };

/* The linker makes these of the sections that the build renames. */
extern unsigned char __start_simdata[], __stop_simdata[], __start_simbss[], __stop_simbss[];

static unsigned char data_before[DATA_MAX], bss_before[DATA_MAX], locals_before[LOCALS_MAX];
static unsigned char *heap, *pages;
static size_t heap_used, pages_used;
static unsigned char heap_state[HEAP / GRANULE], page_state[PAGES];

_Static_assert(sizeof thread_holds + sizeof my_slots <= LOCALS_MAX, "the thread-locals have room");

void locals_save(unsigned char *to)
{
        memcpy(to, &thread_holds, sizeof thread_holds);
        memcpy(to + sizeof thread_holds, &my_slots, sizeof my_slots);
}

void locals_load(const unsigned char *from)
{
        memcpy(&thread_holds, from, sizeof thread_holds);
        memcpy(&my_slots, from + sizeof thread_holds, sizeof my_slots);
}

void locals_fresh(unsigned char *to)
{
        memcpy(to, locals_before, LOCALS_MAX);
}

/* At addresses that are the same in each run of the program: some things go by them. */
static void *arena(uintptr_t at, size_t size)
{
        void *got = mmap((void *)at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                         -1, 0);

        if (got != (void *)at) {
                perror("sim: no memory at its address");
                exit(2);
        }
        return got;
}

void memory_begin(void)
{
        if (__stop_simdata - __start_simdata > DATA_MAX || __stop_simbss - __start_simbss > DATA_MAX)
                abort();
        memcpy(data_before, __start_simdata, (size_t)(__stop_simdata - __start_simdata));
        memcpy(bss_before, __start_simbss, (size_t)(__stop_simbss - __start_simbss));
        locals_save(locals_before);
        heap = arena(UINT64_C(0x100000000000), HEAP);
        pages = arena(UINT64_C(0x200000000000), (size_t)PAGES * PAGE);
}

void memory_reset(void)
{
        memcpy(__start_simdata, data_before, (size_t)(__stop_simdata - __start_simdata));
        memcpy(__start_simbss, bss_before, (size_t)(__stop_simbss - __start_simbss));
        locals_load(locals_before);
        memset(heap, 0, heap_used);
        memset(heap_state, FREE, heap_used / GRANULE + 1);
        memset(pages, 0, pages_used * PAGE);
        memset(page_state, FREE, pages_used);
        heap_used = pages_used = 0;
}

/* Before an access of the library's. */
void memory_look(uintptr_t at, size_t size)
{
        size_t in_heap = at - (uintptr_t)heap, in_pages = at - (uintptr_t)pages;

        if (in_heap < HEAP) {
                if (size > 0 &&
                    (heap_state[in_heap / GRANULE] != TAKEN || heap_state[(in_heap + size - 1) / GRANULE] != TAKEN))
                        fail("it touches %zu bytes of the heap that it does not have: %s", size,
                             memory_name((void *)at));
        } else if (in_pages < (size_t)PAGES * PAGE) {
                if (size > 0 &&
                    (page_state[in_pages / PAGE] != TAKEN || page_state[(in_pages + size - 1) / PAGE] != TAKEN))
                        fail("it touches a page that it does not have: %s", memory_name((void *)at));
        }
}

const char *memory_name(const volatile void *address)
{
        static char text[64];
        uintptr_t at = (uintptr_t)address;

        if (at - (uintptr_t)heap < HEAP)
                snprintf(text, sizeof text, "heap+%#zx", (size_t)(at - (uintptr_t)heap));
        else if (at - (uintptr_t)pages < (size_t)PAGES * PAGE)
                snprintf(text, sizeof text, "pages+%#zx", (size_t)(at - (uintptr_t)pages));
        else
                snprintf(text, sizeof text, "%p", (void *)at);
        return text;
}

/* --- The heap --- */

/* The names are the linker's: NOLINTBEGIN(bugprone-reserved-identifier) */
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **memory, size_t align, size_t size);
void __wrap_free(void *memory);

/* The size stands before it. */
static void *take(size_t align, size_t size)
{
        size_t at = heap_used + 2 * GRANULE - 1, end;

        if (align < GRANULE)
                align = GRANULE;
        at = (at + align - 1) & ~(align - 1);
        end = (at + size + GRANULE - 1) & ~(size_t)(GRANULE - 1);
        if (end + GRANULE > HEAP)
                fail("the heap of the simulation is full");
        memset(&heap_state[at / GRANULE], TAKEN, (end - at) / GRANULE);
        memcpy(heap + at - sizeof size, &size, sizeof size);
        heap_used = end;
        return heap + at;
}

void *__wrap_malloc(size_t size)
{
        unsigned char *got = take(GRANULE, size);

        memset(got, 0xa5, size);
        return got;
}

void *__wrap_calloc(size_t count, size_t size)
{
        return take(GRANULE, count * size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
        unsigned char *got = take(align, size);

        memset(got, 0xa5, size);
        return got;
}

int __wrap_posix_memalign(void **memory, size_t align, size_t size)
{
        *memory = __wrap_aligned_alloc(align, size);
        return 0;
}

void __wrap_free(void *memory)
{
        size_t size, at = (size_t)((unsigned char *)memory - heap);

        if (!memory)
                return;
        if (at >= HEAP || heap_state[at / GRANULE] != TAKEN)
                fail("it frees what it does not have");
        memcpy(&size, (unsigned char *)memory - sizeof size, sizeof size);
        if (current)
                stores_flush(current);
        memset(&heap_state[at / GRANULE], GIVEN_BACK, (size + GRANULE - 1) / GRANULE);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- Pages --- */

static size_t page_at(const void *address)
{
        return (size_t)((unsigned char *)address - pages) / PAGE;
}

/* Calls of the system: what was stored before is seen by all. */
static void system_call(const char *what, const void *address)
{
        step(what, address);
        if (current)
                stores_flush(current);
}

size_t os_page_size(void)
{
        return PAGE;
}

int os_map(void **address, size_t length)
{
        size_t count = (length + PAGE - 1) / PAGE;

        system_call("os_map", NULL);
        if (pages_used + count > PAGES)
                fail("the pages of the simulation are used up");
        *address = pages + pages_used * PAGE;
        memset(&page_state[pages_used], TAKEN, count);
        pages_used += count;
        return 0;
}

int os_reserve(void **address, size_t length, enum os_access access, bool noreserve)
{
        (void)access, (void)noreserve;
        return os_map(address, length);
}

int os_unmap(void *address, size_t length)
{
        system_call("os_unmap", address);
        memset(&page_state[page_at(address)], GIVEN_BACK, (length + PAGE - 1) / PAGE);
        return 0;
}

int os_protect(void *address, size_t length, enum os_access access)
{
        (void)length, (void)access;
        system_call("os_protect", address);
        return 0;
}

int os_discard(void *address, size_t length)
{
        system_call("os_discard", address);
        memset(address, 0, length);
        return 0;
}
