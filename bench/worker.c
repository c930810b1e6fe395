/* worker.c - a thread, or a process, that runs a function
 *
 * SPDX-License-Identifier: MIT
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker.h"

void *worker_memory(size_t size)
{
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                err(1, "mmap");
        return memory;
}

void worker_start(struct worker *worker, bool process, void *(*run)(void *), void *argument)
{
        pid_t parent = getpid(), pid;

        worker->pid = 0;
        if (!process) {
                errno = pthread_create(&worker->thread, NULL, run, argument);
                if (errno)
                        err(1, "pthread_create");
                return;
        }
        pid = fork();
        if (pid < 0)
                err(1, "fork");
        if (pid == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                        err(1, "prctl");
                if (getppid() == parent)
                        run(argument);
                _exit(0); /* the parent's unwritten output is not this process's to write */
        }
        worker->pid = pid; /* by the parent alone: both may see it */
}

void worker_check(const struct worker *worker)
{
        int status;

        if (worker->pid && waitpid(worker->pid, &status, WNOHANG) != 0)
                errx(1, "a working process ended too early");
}

void worker_join(const struct worker *worker)
{
        int status;

        if (!worker->pid)
                pthread_join(worker->thread, NULL);
        else if (waitpid(worker->pid, &status, 0) < 0)
                err(1, "waitpid");
        else if (status != 0)
                errx(1, "a working process failed (status %#x)", (unsigned)status);
}
