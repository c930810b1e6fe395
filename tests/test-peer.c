/* test-peer.c - lib/view.c: waiting for a word and for the process that is to change it
 *
 * SPDX-License-Identifier: MIT
 *
 * A peer that lives, one that is killed while one waits, one that is gone already, and one
 * that stored the word before; also where the kernel gives no descriptor of a process.
 */
#include "share.h"

#include "calls.h"

DEFINE_TEST("peer", refuses_bad_input)
{
        static const int32_t pids[] = { 0, -1, INT32_MIN };

        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;

                world_begin(&world, &world_kinds[k]);
                for (size_t i = 0; i < COUNT_OF(pids); i++)
                        ck_assert_int_eq(ammap_wait_u32_peer(world.map, 0, 0, -1, pids[i]), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_wait_u32_peer(NULL, 0, 0, -1, getpid()), AMMAP_ERR_INVALID);
                ck_assert_int_eq(ammap_wait_u32_peer(world.map, world.size, 0, -1, getpid()), AMMAP_ERR_BOUNDS);
                ck_assert_int_eq(ammap_wait_u32_peer(world.map, 2, 0, -1, getpid()), AMMAP_ERR_MISALIGNED);
                world_end(&world);
        }
}

enum { M = 0x6d6d6d6d }; /* what a world is filled with */

DEFINE_TEST("peer", of_ones_own_process)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                int64_t start = now_ns();

                world_begin(&world, &world_kinds[k]);
                ck_assert_int_eq(ammap_wait_u32_peer(world.map, 8, 1, -1, getpid()), 0);
                ck_assert_int_eq(ammap_wait_u32_peer(world.map, 8, M, 0, getpid()), AMMAP_ERR_TIMEOUT);
                ck_assert_int_eq(ammap_wait_u32_peer(world.map, 8, M, 20 * MS, getpid()), AMMAP_ERR_TIMEOUT);
                ck_assert_int_ge(now_ns() - start, 20 * MS);
                world_end(&world);
        }
}

struct waiting {
        ammap_t *map;
        pid_t pid;
        int result;
};

static void *wait_for_word(void *argument)
{
        struct waiting *waiting = argument;

        waiting->result = ammap_wait_u32_peer(waiting->map, 8, M, patience_ns(), (int32_t)waiting->pid);
        return NULL;
}

DEFINE_TEST("peer", is_woken_by_a_wake)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;
                struct waiting waiting = { .pid = getpid(), .result = 1 };
                struct task task;
                const uint32_t one = 1;

                world_begin(&world, &world_kinds[k]);
                waiting.map = world.map;
                task_start(&task, wait_for_word, &waiting);
                task_sleeps(&task);
                ck_assert_int_eq(ammap_update_region(world.map, 8, &one, 4), 0);
                ammap_wake_u32(world.map, 8, 1);
                task_join(&task);
                ck_assert_int_eq(waiting.result, 0);
                world_end(&world);
        }
}

#if TEST_OS_LINUX

#include "refuse.h"

static void live(struct peer *parent, void *argument)
{
        (void)argument;
        peer_tell(parent, 'l');
        peer_hear(parent);
}

/* Dead, and dead and buried; and one that stored the word before its end. */
static void check_deaths(ammap_t *map, bool at_once)
{
        struct waiting waiting = { .map = map, .result = 1 };
        const uint32_t one = 1, m = M;
        struct task task;
        struct peer peer;
        long slept;

        peer_start(&peer, live, NULL);
        waiting.pid = peer.pid;
        peer_expect(&peer, 'l');
        task_start(&task, wait_for_word, &waiting);
        task_sleeps(&task);
        peer_kill_only(&peer);
        slept = sleeps_of(getpid(), atomic_load(&task.tid));
        task_join(&task);
        ck_assert_int_eq(waiting.result, AMMAP_ERR_OWNER_DEAD);
        ck_assert(!at_once || slept < 0 || task.sleeps - slept < SLEEPS_FEW);
        ck_assert_int_eq(ammap_wait_u32_peer(map, 8, M, -1, peer.pid), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_wait_u32_peer(map, 8, M, 0, peer.pid), AMMAP_ERR_OWNER_DEAD);
        ck_assert_int_eq(ammap_update_region(map, 8, &one, 4), 0);
        ck_assert_int_eq(ammap_wait_u32_peer(map, 8, M, -1, peer.pid), 0);
        ck_assert_int_eq(ammap_update_region(map, 8, &m, 4), 0);
        peer_bury(&peer);
        ck_assert_int_eq(ammap_wait_u32_peer(map, 8, M, -1, peer.pid), AMMAP_ERR_OWNER_DEAD);
}

DEFINE_TEST("peer", that_is_killed)
{
        for (size_t k = 0; k < COUNT_OF(world_kinds); k++) {
                struct world world;

                world_begin(&world, &world_kinds[k]);
                check_deaths(world.map, true);
                world_end(&world);
        }
}

static void deaths_without_descriptors(struct peer *parent, void *argument)
{
        ammap_t *map = argument;

        (void)parent;
        if (refuse_call(SYS_pidfd_open, ENOSYS))
                check_deaths(map, true);
        else
                skip_part(__func__, "no filters here");
        child_must(atomic_load(&thread_failures) == 0);
}

DEFINE_TEST("peer", without_a_descriptor_of_it)
{
        ammap_t *map = make_shared(4096, 0, 0);
        struct peer peer;

        ck_assert_int_eq(ammap_fill(map, 0, 4096, 'm'), 0);
        peer_start(&peer, deaths_without_descriptors, map);
        peer_end(&peer);
        ck_assert_int_eq(ammap_free(map), 0);
}

#endif

int main(void)
{
        return cannot_share("peer") ? SKIPPED : run_tests("peer", share_case);
}
