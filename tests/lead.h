/* lead.h - a child that is led instruction by instruction
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef AMMAP_TESTS_LEAD_H
#define AMMAP_TESTS_LEAD_H

#include "share.h"

#if TEST_OS_LINUX && (defined(__x86_64__) || defined(__aarch64__))
#define CAN_STEP 1

#include <sys/ptrace.h>

/* Two processes that take turns do so faster on one processor. */
static inline void stay_here(cpu_set_t *before)
{
        cpu_set_t here;
        int cpu = sched_getcpu();

        sched_getaffinity(0, sizeof(*before), before);
        CPU_ZERO(&here);
        CPU_SET(cpu < 0 ? 0 : (size_t)cpu, &here);
        sched_setaffinity(0, sizeof(here), &here);
}

/* Wait until it stops, and be sure that it has not ended. */
static inline void wait_for_stop(pid_t pid, int want)
{
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSTOPPED(status), "the child has ended: %#x", (unsigned)status);
        if (want)
                ck_assert_int_eq(WSTOPSIG(status), want);
}

static inline void step_once(pid_t pid)
{
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        wait_for_stop(pid, SIGTRAP);
}

/* Whether a child can be led here: sandboxes and emulators know better. */
static inline bool stepping_works(void)
{
        pid_t child = fork();
        bool works = false;
        int status;

        if (child == 0) {
                if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                        _exit(1);
                raise(SIGSTOP);
                _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
                return false;
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child)
                works = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        return works;
}

#else
#define CAN_STEP 0
#endif

#endif /* AMMAP_TESTS_LEAD_H */
