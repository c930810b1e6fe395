/* test-stack.c - no call needs more than 4 KiB of stack
 *
 * SPDX-License-Identifier: MIT
 *
 * Every call on every kind of map is made by a thread that has made none before,
 * on a stack that has been painted; what is not painted any more was used.  What
 * the linker resolves at a first call is resolved before that (-z now).
 */
#include "calls.h"

enum {
        STACK = 256 * 1024,
        PAINT = 0x5a,
        OWN = 768, /* what the measuring function may have of its own */
        LIMIT = 4096
};

struct measure {
        const struct api_call *call;
        struct world *world;
        unsigned char *stack;
        size_t used;
        int rc;
};

static __attribute__((noinline)) void measure(struct measure *m)
{
        volatile unsigned char *top = (volatile unsigned char *)__builtin_frame_address(0) - OWN, *at;

        for (at = m->stack; at < top; at++)
                *at = PAINT;
        m->rc = m->call->run(m->world);
        for (at = m->stack; at < top && *at == PAINT;)
                at++;
        m->used = (size_t)((uintptr_t)top - (uintptr_t)at);
}

static void *measuring(void *argument)
{
        struct measure *m = argument;

        if (m->call->prepare)
                thread_check(m->call->prepare(m->world) >= 0);
        measure(m);
        world_tidy(m->world);
        return NULL;
}

static size_t stack_of(const struct api_call *call, struct world *world, unsigned char *stack)
{
        struct measure m = { .call = call, .world = world, .stack = stack };
        pthread_attr_t attributes;
        pthread_t thread;

        pthread_attr_init(&attributes);
        ck_assert_int_eq(pthread_attr_setstack(&attributes, stack, STACK), 0);
        ck_assert_int_eq(pthread_create(&thread, &attributes, measuring, &m), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        pthread_attr_destroy(&attributes);
        ck_assert_msg(m.rc >= 0 || m.rc == AMMAP_ERR_UNSUPPORTED || m.rc == AMMAP_ERR_TIMEOUT ||
                              (!TEST_OS_LINUX && m.rc == -ENOSYS),
                      "ammap_%s on a map that is %s: %s", call->name, world->kind->name, ammap_errname(m.rc));
        return m.used;
}

DEFINE_LOOP_TEST("calls", four_kibibytes, 0, COUNT_OF(world_kinds))
{
        const struct world_kind *kind = &world_kinds[_i];
        unsigned char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        size_t most = 0;
        const char *which = "";

        ck_assert_ptr_ne(stack, MAP_FAILED);
        for (size_t c = 0; c < COUNT_OF(api_calls); c++) {
                struct world world;
                size_t used;

                if (!call_is_for(&api_calls[c], kind))
                        continue;
                world_begin(&world, kind);
                used = stack_of(&api_calls[c], &world, stack);
                world_end(&world);
                if (used > most) {
                        most = used;
                        which = api_calls[c].name;
                }
                ck_assert_msg(used <= LIMIT, "ammap_%s on a map that is %s uses %zu bytes of stack", api_calls[c].name,
                              kind->name, used);
        }
        printf("%s: ammap_%s uses most, %zu bytes of stack\n", kind->name, which, most);
        munmap(stack, STACK);
}

/* A measure that finds nothing would find nothing wrong. */
static int run_deep(struct world *world)
{
        volatile unsigned char deep[LIMIT];

        for (size_t i = 0; i < sizeof(deep); i++)
                deep[i] = 1;
        return world ? deep[0] - 1 : 0;
}

DEFINE_TEST("calls", what_is_used_is_found)
{
        const struct api_call call = { "deep", NULL, run_deep, 0 };
        unsigned char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct world world;

        ck_assert_ptr_ne(stack, MAP_FAILED);
        world_begin(&world, &world_kinds[0]);
        ck_assert_uint_gt(stack_of(&call, &world, stack), LIMIT - OWN);
        world_end(&world);
        munmap(stack, STACK);
        ck_assert(calls_are_complete());
}

int main(void)
{
#ifndef __OPTIMIZE__
        printf("stack: compiled without optimisation\n");
        return SKIPPED;
#endif
        if (!TEST_SANITIZED)
                return run_tests("stack", share_case);
        printf("stack: a sanitizer has its own use of it\n");
        return SKIPPED;
}
