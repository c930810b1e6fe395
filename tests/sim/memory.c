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

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HEAP = 1 << 20, PAGES = 2048, GRANULE = 16, PAGE = 4096, DATA_MAX = 1 << 13, OBJECTS = 9, OBJECT = 1 << 22 };
enum { FREE, TAKEN, GIVEN_BACK };

/* The linker makes these of the sections that the build renames. */
extern unsigned char __start_simdata[], __stop_simdata[], __start_simbss[], __stop_simbss[];

/* What a process has of its own.  One of them is where the library finds it, and the others wait. */
struct image {
        unsigned char data[DATA_MAX], bss[DATA_MAX];
        unsigned char *heap, *pages;
        size_t heap_used, pages_used;
        unsigned char heap_state[HEAP / GRANULE], page_state[PAGES];
};
static struct image image[PROCESSES_MAX], before, *here;
static unsigned char locals_before[LOCALS_MAX];
static unsigned char *heap, *pages, *shared;
static size_t objects_used;

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

static size_t data_size(void)
{
        return (size_t)(__stop_simdata - __start_simdata);
}

static size_t bss_size(void)
{
        return (size_t)(__stop_simbss - __start_simbss);
}

static void *anywhere(size_t size)
{
        void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (got == MAP_FAILED) {
                perror("sim: no memory");
                exit(2);
        }
        return got;
}

void memory_begin(void)
{
        if (data_size() > DATA_MAX || bss_size() > DATA_MAX)
                abort();
        memcpy(before.data, __start_simdata, data_size());
        memcpy(before.bss, __start_simbss, bss_size());
        locals_save(locals_before);
        heap = arena(UINT64_C(0x100000000000), HEAP);
        pages = arena(UINT64_C(0x200000000000), (size_t)PAGES * PAGE);
        shared = arena(UINT64_C(0x300000000000), (size_t)OBJECTS * OBJECT);
        for (unsigned i = 0; i < PROCESSES_MAX; i++) {
                image[i].heap = anywhere(HEAP);
                image[i].pages = anywhere((size_t)PAGES * PAGE);
        }
        here = &image[0];
}

static void come(struct image *to)
{
        memcpy(__start_simdata, to->data, data_size());
        memcpy(__start_simbss, to->bss, bss_size());
        memcpy(heap, to->heap, to->heap_used);
        memcpy(pages, to->pages, to->pages_used * PAGE);
        here = to;
}

static void leave(struct image *from)
{
        memcpy(from->data, __start_simdata, data_size());
        memcpy(from->bss, __start_simbss, bss_size());
        memcpy(from->heap, heap, from->heap_used);
        memcpy(from->pages, pages, from->pages_used * PAGE);
}

/* The process that is there now, once more. */
void memory_fork(unsigned child)
{
        struct image *to = &image[child];

        to->heap_used = here->heap_used;
        to->pages_used = here->pages_used;
        memcpy(to->heap_state, here->heap_state, sizeof to->heap_state);
        memcpy(to->page_state, here->page_state, sizeof to->page_state);
        leave(to);
}

void memory_enter(unsigned process)
{
        if (here == &image[process])
                return;
        leave(here);
        come(&image[process]);
}

void memory_reset(void)
{
        for (unsigned i = 0; i < PROCESSES_MAX; i++) {
                memcpy(image[i].data, before.data, data_size());
                memcpy(image[i].bss, before.bss, bss_size());
                memset(image[i].heap_state, FREE, image[i].heap_used / GRANULE + 1);
                memset(image[i].page_state, FREE, image[i].pages_used);
                image[i].heap_used = image[i].pages_used = 0;
        }
        if (objects_used > 0)
                madvise(shared, objects_used * OBJECT, MADV_DONTNEED);
        objects_used = 0;
        come(&image[0]);
        locals_load(locals_before);
}

unsigned char *memory_of(unsigned process, uintptr_t at)
{
        struct image *of = &image[process];

        if (of == here)
                return (unsigned char *)at;
        if (at - (uintptr_t)heap < HEAP)
                return of->heap + (at - (uintptr_t)heap);
        if (at - (uintptr_t)pages < (size_t)PAGES * PAGE)
                return of->pages + (at - (uintptr_t)pages);
        if (at - (uintptr_t)__start_simdata < data_size())
                return of->data + (at - (uintptr_t)__start_simdata);
        if (at - (uintptr_t)__start_simbss < bss_size())
                return of->bss + (at - (uintptr_t)__start_simbss);
        return (unsigned char *)at;
}

bool memory_is_shared(uintptr_t at)
{
        return at - (uintptr_t)shared < (size_t)OBJECTS * OBJECT;
}

/* Memory behind a descriptor, zeros. */
unsigned char *memory_object(unsigned number, size_t size)
{
        if (number >= OBJECTS || size > OBJECT)
                fail("the simulation has no such memory: %zu bytes", size);
        if (objects_used <= number)
                objects_used = number + 1;
        return shared + (size_t)number * OBJECT;
}

/* Before an access of the library's. */
void memory_look(uintptr_t at, size_t size)
{
        size_t in_heap = at - (uintptr_t)heap, in_pages = at - (uintptr_t)pages;

        if (in_heap < HEAP) {
                if (size > 0 && (here->heap_state[in_heap / GRANULE] != TAKEN ||
                                 here->heap_state[(in_heap + size - 1) / GRANULE] != TAKEN))
                        fail("it touches %zu bytes of the heap that it does not have: %s", size,
                             memory_name((void *)at));
        } else if (in_pages < (size_t)PAGES * PAGE) {
                if (size > 0 && (here->page_state[in_pages / PAGE] != TAKEN ||
                                 here->page_state[(in_pages + size - 1) / PAGE] != TAKEN))
                        fail("it touches a page that it does not have: %s", memory_name((void *)at));
        } else if (memory_is_shared(at)) {
                if (size > 0 && !files_have(at, size))
                        fail("it touches memory beyond the end of its file: %s", memory_name((void *)at));
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
        else if (memory_is_shared(at))
                snprintf(text, sizeof text, "shared+%#zx", (size_t)(at - (uintptr_t)shared));
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
        size_t at = here->heap_used + 2 * GRANULE - 1, end;

        if (align < GRANULE)
                align = GRANULE;
        at = (at + align - 1) & ~(align - 1);
        end = (at + size + GRANULE - 1) & ~(size_t)(GRANULE - 1);
        if (end + GRANULE > HEAP)
                fail("the heap of the simulation is full");
        memset(&here->heap_state[at / GRANULE], TAKEN, (end - at) / GRANULE);
        memcpy(heap + at - sizeof size, &size, sizeof size);
        here->heap_used = end;
        memset(heap + at, 0, size);
        return heap + at;
}

void *__wrap_malloc(size_t size)
{
        unsigned char *got = refuses(NO_MEMORY) ? NULL : take(GRANULE, size);

        if (!got)
                return NULL;
        memset(got, 0xa5, size);
        return got;
}

void *__wrap_calloc(size_t count, size_t size)
{
        return refuses(NO_MEMORY) ? NULL : take(GRANULE, count * size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
        unsigned char *got = refuses(NO_MEMORY) ? NULL : take(align, size);

        if (!got)
                return NULL;
        memset(got, 0xa5, size);
        return got;
}

int __wrap_posix_memalign(void **memory, size_t align, size_t size)
{
        *memory = __wrap_aligned_alloc(align, size);
        return *memory ? 0 : ENOMEM;
}

void __wrap_free(void *memory)
{
        size_t size, at = (size_t)((unsigned char *)memory - heap);

        if (!memory)
                return;
        if (at >= HEAP || here->heap_state[at / GRANULE] != TAKEN)
                fail("it frees what it does not have");
        memcpy(&size, (unsigned char *)memory - sizeof size, sizeof size);
        if (current)
                stores_flush(current);
        memset(&here->heap_state[at / GRANULE], GIVEN_BACK, (size + GRANULE - 1) / GRANULE);
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
        if (refuses(NO_MEMORY))
                return -ENOMEM;
        if (here->pages_used + count > PAGES)
                fail("the pages of the simulation are used up");
        *address = pages + here->pages_used * PAGE;
        memset(*address, 0, count * PAGE);
        memset(&here->page_state[here->pages_used], TAKEN, count);
        here->pages_used += count;
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
        if (memory_is_shared((uintptr_t)address)) {
                files_unmap((uintptr_t)address, length);
                return 0;
        }
        memset(&here->page_state[page_at(address)], GIVEN_BACK, (length + PAGE - 1) / PAGE);
        return 0;
}

int os_protect(void *address, size_t length, enum os_access access)
{
        (void)length, (void)access;
        system_call("os_protect", address);
        return refuses(NO_MEMORY) ? -ENOMEM : 0;
}

int os_lock(void *address, size_t length)
{
        (void)length;
        system_call("os_lock", address);
        return refuses(NO_MEMORY) ? -ENOMEM : 0;
}

int os_unlock(void *address, size_t length)
{
        (void)length;
        system_call("os_unlock", address);
        return 0;
}

int os_discard(void *address, size_t length)
{
        system_call("os_discard", address);
        memset(address, 0, length);
        return 0;
}
