/* scheduler.c - the library's own code, step by step
 *
 * SPDX-License-Identifier: MIT
 *
 * The simulation runs the sources of lib/ as they ship.  gcc's -fsanitize=thread makes a call of
 * each access to memory, and the functions that are called are this project's (tsan.c).  So each
 * access can be a point at which another thread goes on.  The threads are coroutines in one
 * thread of the system, and what the system does for them is simulated, too (os.c).  Nothing is
 * left to chance but by a number, the seed: the same seed is the same run, step by step.
 *
 * Files
 *
 *      scheduler.c   who goes on; sleep, wake-up and time
 *      tsan.c        accesses; stores.c: stores that reach memory later
 *      memory.c      the heap, the pages and the data of each process
 *      files.c       descriptors of shared memory and of files, the kernel's copies, and locks of bytes
 *      os.c          the rest of lib/os/os.h, and the mutexes of POSIX threads
 *      model.c       what is to be true: bytes, exclusion, answers, wake-ups; fair.c: turns
 *      draw.c        which operations a seed stands for; scenes.c: short ones to be searched
 *      tasks.c       ... slices that are the process's; words.c: views and words
 *      looks.c       ... who holds what, and copies of whole maps
 *      lies.c        runs beside somebody who stores what he likes in the header of a shared map
 *      honest.c      ... what he does not reach: other maps, and the time of a call
 *      main.c        options
 *
 * Who goes on
 *
 *   priorities   Each thread has one, and the first that can goes on.  At some steps, drawn
 *                before, the one that runs falls behind all others.  A defect that takes d such
 *                steps in the right places is found with probability 1 / (threads * steps^(d-1))
 *                at least (PCT).
 *   walk         At each step there is a small chance that another goes on.
 *   search       All runs in which a thread is stopped, though it could go on, so many times at
 *                most: depth first, each run from the beginning by its list of decisions.
 *
 * A thread that waits for others without sleeping gives way, and one that has had the processor
 * for many steps falls behind, too: else a loop that waits would never end.
 *
 * Processes
 *
 * Each has the library's data, a heap and pages of its own, all at the same addresses: whose turn
 * it is has them there (memory.c).  Shared memory is at one address for all.  A process can be
 * killed at any step.  What its threads have stored reaches memory; then the kernel marks the
 * words of their slots and closes its descriptors, with which its locks of bytes go, and nothing else
 * is done for it.  A fork doubles the memory and the stack of the thread that forks, and the child has its
 * descriptors, too; the two have turns on its addresses.
 *
 * Refusals
 *
 * In some runs the system refuses memory, descriptors, the place of a thread or a process in a shared
 * map, a wake-up of other processes, and membarrier once it has granted it; a sleep may end at once.
 * The call then succeeds, or answers with the system's code where its page has one, and has done nothing.
 *
 * Time
 *
 * A step takes some nanoseconds.  When all sleep, the clock goes to the next deadline, or a little
 * further, so that who wakes then wakes together with others.  It jumps
 * now and then, as for a thread that the system stopped; and a sleeper that is woken may be
 * stopped for long, as in the handler of a signal, so that what others do without it is seen.
 *
 * What is checked
 *
 *   -  Bytes: what is read was written, is not older than what another saw, and of several
 *      words all are of one moment.
 *   -  Exclusion: of those who hold a byte one alone writes.
 *   -  Answers: DEADLOCK where and only where the caller's own slices are in the way, BUSY only
 *      where someone was there, TIMEOUT not before its time and not long after, OWNER_DEAD only
 *      where a writer ended within.
 *   -  Wake-ups: when nobody can go on, each who sleeps for a lane has someone in its way.  That
 *      finds one that is lost even if the sleep has an end.
 *   -  Accounts: who has had a slice all the while is named as a holder, and who is named was there.
 *   -  Views: no map is cut or frozen under one.
 *   -  Progress: a run has a bounded number of steps, and what goes on past one that waits is
 *      counted.  fair.c says what is promised.
 *   -  Memory that was given back is not touched.
 *
 * What is not simulated
 *
 *   -  Loads that are made early, and stores that overtake stores: processors that are weaker
 *      than x86.  What a release or acquire is missing does not show here.
 *   -  Files that are cut or written by others; hostile peers in the runs of lies.c alone.
 *   -  A child that is made without fork handlers.
 *   -  Shrinks beside copies between two maps: ammap_resize(3) tells what they may wait for.
 *   -  Memory at two addresses: a descriptor is mapped at one place for all.
 *   -  The assembly of lib/memory/racy.h and copies by vectors: the file's own code in C is taken.
 *   -  What the kernel does for real: pages, descriptors, huge pages.  tests/test-*.c have that.
 *
 * References: Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with
 * Probabilistic Guarantees of Finding Bugs, ASPLOS 2010.  Musuvathi, Qadeer: Iterative Context
 * Bounding for Systematic Testing of Multithreaded Programs, PLDI 2007.
 */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
        STACK = 65536,
        STEP_NS = 20,
        /* Of a run: more are no progress.  In one that is drawn six threads may nap for ten seconds; what is searched
         * is short. */
        STEPS_MAX = 3000000,
        STEPS_SEARCHED = 300000,
        CHANGES_MAX = 16,   /* of priorities, of the clock */
        PATIENCE_MIN = 300, /* steps of one thread before it falls behind */
        DECISIONS_MAX = 65536,
};

struct plan plan;
struct thread thread[THREADS_MAX];
struct thread *current;
struct chance scheduling;
uint64_t steps;
uint64_t switches;
int64_t clock_now;
bool tracing;

static jmp_buf home;
static unsigned char *stacks;
static uint64_t lowest; /* priorities, below all that were given */
static uint64_t change[CHANGES_MAX], jump[CHANGES_MAX], death[CHANGES_MAX];
static unsigned patience, had; /* steps of the current thread in a row */
static unsigned stops_left, forks;

/* --- Search --- */

struct decision {
        uint8_t chosen, count;
};
static struct decision decision[DECISIONS_MAX];
static unsigned decisions, decided; /* of the last run; so far */
static unsigned preemptions_left;

void search_begin(void)
{
        decisions = 0;
}

bool search_next(void)
{
        while (decisions > 0 && decision[decisions - 1].chosen + 1 >= decision[decisions - 1].count)
                decisions--;
        if (decisions == 0)
                return false;
        decision[decisions - 1].chosen++;
        return true;
}

static unsigned decide(unsigned count)
{
        if (count < 2)
                return 0;
        if (decided == DECISIONS_MAX)
                fail("a run has too many decisions to be searched");
        if (decided == decisions)
                decision[decisions++] = (struct decision){ 0, (uint8_t)count };
        return decision[decided++].chosen;
}

/* --- Threads --- */

void fail(const char *format, ...)
{
        va_list list;

        fflush(stdout);
        printf("sim: seed %" PRIu64 ", step %" PRIu64 ", thread %d: ", plan.seed, steps,
               current ? (int)current->number : -1);
        va_start(list, format);
        vprintf(format, list);
        va_end(list);
        printf("\n");
        if (plan.order == ORDER_SEARCH)
                printf("sim: scene %s, searched\n", scene_name());
        model_tell();
        fflush(stdout);
        _exit(1);
}

static void start_thread(void);

/* --- Stacks that a fork has doubled --- */

enum { RED_ZONE = 1024 };
static struct thread *lies_there[THREADS_MAX]; /* on each stack */
static struct thread *changing_to;
static ucontext_t changer;
static unsigned char changer_stack[STACK];

static unsigned number_of_stack(const struct thread *t)
{
        return (unsigned)((size_t)(t->stack - stacks) / STACK);
}

static size_t used_stack(const struct thread *t)
{
        return (size_t)(t->stack + STACK - t->low);
}

/* On a stack of its own. */
static void change_stack(void)
{
        struct thread *next = changing_to, *was = lies_there[number_of_stack(next)];

        if (was->state != ENDED)
                memcpy(was->aside, was->low, used_stack(was));
        memcpy(next->low, next->aside, used_stack(next));
        lies_there[number_of_stack(next)] = next;
        _longjmp(next->resume, 1);
}

static void put_aside(struct thread *t)
{
        if (!t->aside)
                t->aside = malloc(STACK);
        if (!t->aside)
                abort();
}

static void resume(struct thread *next)
{
        if (lies_there[number_of_stack(next)] == next)
                _longjmp(next->resume, 1);
        put_aside(lies_there[number_of_stack(next)]);
        changing_to = next;
        getcontext(&changer);
        changer.uc_stack.ss_sp = changer_stack;
        changer.uc_stack.ss_size = sizeof changer_stack;
        makecontext(&changer, change_stack, 0);
        setcontext(&changer);
}

static void go_to(struct thread *next)
{
        struct thread *from = current;

        if (next == from)
                return;
        had = 0;
        switches++;
        if (from) {
                locals_save(from->locals);
                from->low = (unsigned char *)__builtin_frame_address(0) - RED_ZONE;
                if (_setjmp(from->resume))
                        return;
        }
        current = next;
        memory_enter(next->process);
        os_enter(next->process);
        locals_load(next->locals);
        if (next->begun)
                resume(next);
        next->begun = true;
        setcontext(&next->first);
}

static bool can_go_on(struct thread *t)
{
        if (t->state == ASLEEP && t->deadline <= clock_now) {
                t->timed_out = !t->stopped;
                t->stopped = false;
                t->state = READY;
        }
        return t->state == READY;
}

/* Which of those that can go on, not to be passed over: it is to be another. */
static struct thread *choose(const struct thread *passed)
{
        struct thread *ready[THREADS_MAX], *best = NULL;
        unsigned count = 0;

        for (unsigned i = 0; i < plan.threads; i++)
                if (&thread[i] != passed && can_go_on(&thread[i]))
                        ready[count++] = &thread[i];
        if (count == 0)
                return NULL;
        if (plan.order == ORDER_SEARCH)
                return ready[decide(count)];
        if (plan.order == ORDER_WALK)
                return ready[draw_below(&scheduling, count)];
        for (unsigned i = 0; i < count; i++)
                if (!best || ready[i]->priority > best->priority)
                        best = ready[i];
        return best;
}

static bool pass_time(void)
{
        int64_t next = INT64_MAX;

        for (unsigned i = 0; i < plan.threads; i++)
                if (thread[i].state == ASLEEP && thread[i].deadline < next)
                        next = thread[i].deadline;
        if (next == INT64_MAX)
                return false;
        if (next + plan.slack > clock_now)
                clock_now = next + plan.slack;
        return true;
}

static void count_step(const char *why)
{
        const uint64_t most = plan.order == ORDER_SEARCH ? STEPS_SEARCHED : STEPS_MAX;

        if (++steps > most)
                fail("no end: %s", why);
}

/* For a thread that cannot go on. */
static void go_on(void)
{
        for (;;) {
                struct thread *next = choose(NULL);
                bool any = false;
                int64_t before;

                if (next) {
                        go_to(next);
                        return;
                }
                for (unsigned i = 0; i < plan.threads; i++) {
                        any |= thread[i].state != ENDED;
                        stores_flush(&thread[i]);
                }
                if (!any)
                        _longjmp(home, 1);
                model_quiet();
                before = clock_now;
                if (!pass_time())
                        fail("all who are left sleep for ever");
                model_passed(clock_now - before);
                count_step("the clock goes on, and nobody else");
        }
}

static void fall_behind(void)
{
        if (current)
                current->priority = lowest--;
}

void give_way(void)
{
        struct thread *next;

        fall_behind();
        next = choose(current);
        if (next)
                go_to(next);
        else
                clock_now += 1000;
}

static bool is_among(const uint64_t *list, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                if (list[i] == steps)
                        return true;
        return false;
}

static struct thread *next_at_step(void)
{
        switch (plan.order) {
        case ORDER_WALK:
                return draw_below(&scheduling, plan.walk) == 0 ? choose(NULL) : current;
        case ORDER_SEARCH: {
                struct thread *other[THREADS_MAX];
                unsigned count = 0, chosen;

                if (preemptions_left == 0)
                        return current;
                for (unsigned i = 0; i < plan.threads; i++)
                        if (&thread[i] != current && can_go_on(&thread[i]))
                                other[count++] = &thread[i];
                chosen = decide(count + 1);
                if (chosen == 0)
                        return current;
                preemptions_left--;
                return other[chosen - 1];
        }
        default:
                if (is_among(change, plan.changes))
                        fall_behind();
                return choose(NULL);
        }
}

void step(const char *what, const volatile void *address)
{
        struct thread *next;

        if (!current)
                return;
        if (tracing)
                printf("%8" PRIu64 " %12.3f us  thread %u %s %s\n", steps, (double)(clock_now - 1000000000) / 1000,
                       current->number, what, address ? memory_name(address) : "");
        count_step("too many steps");
        clock_now += STEP_NS;
        lies_step();
        due_step();
        if (is_among(jump, plan.jumps))
                clock_now += (int64_t)draw_wide(&scheduling, 26);
        if (plan.drain > 1 && draw_below(&scheduling, plan.drain) == 0)
                stores_drain_one();
        if (is_among(death, plan.kills))
                kill_process(draw_below(&scheduling, plan.processes + forks));
        if (++had > patience) {
                had = 0;
                give_way();
                return;
        }
        next = next_at_step();
        if (next)
                go_to(next);
}

void work(int64_t time)
{
        struct thread *next;

        step("works", NULL);
        clock_now += time;
        next = choose(NULL);
        if (next)
                go_to(next);
}

bool fall_asleep(const volatile void *word, int64_t deadline)
{
        struct thread *t = current;

        if (!t)
                fail("no thread is left, and who looks at the maps in the end is to wait");
        if (tracing)
                printf("         thread %u sleeps on %s\n", t->number, memory_name(word));
        t->word = word;
        model_sleep(deadline);
        due_sleep(word, deadline);
        t->state = ASLEEP;
        t->deadline = deadline;
        t->timed_out = false;
        if (plan.spurious && draw_below(&scheduling, plan.spurious) == 0)
                t->state = READY;
        go_on();
        t->word = NULL;
        if (deadline != INT64_MAX) /* else perhaps for a mutex, behind which nobody looks again */
                model_woken();
        return !t->timed_out;
}

static bool is_to_stop(void)
{
        return plan.order == ORDER_SEARCH ? decide(2) == 0 : draw_below(&scheduling, 2) == 0;
}

static int64_t stop_time(void)
{
        enum { LONG = 400000000, SHORT = 1000000 };

        return plan.order == ORDER_SEARCH ? LONG : SHORT + (int64_t)draw_wide(&scheduling, 28);
}

/* In whatever order.  One that is stopped does not hear of it for a while. */
int wake_sleepers(const volatile void *word, int count)
{
        unsigned from = plan.order == ORDER_SEARCH ? 0 : draw_below(&scheduling, plan.threads);
        int woken = 0;

        for (unsigned i = 0; i < plan.threads && woken < count; i++) {
                struct thread *t = &thread[(from + i) % plan.threads];

                if (t->state != ASLEEP || t->word != word || t->stopped ||
                    (!memory_is_shared((uintptr_t)word) && current && t->process != current->process))
                        continue;
                woken++;
                if (stops_left > 0 && is_to_stop()) {
                        stops_left--;
                        t->stopped = true;
                        t->deadline = clock_now + stop_time();
                } else {
                        t->state = READY;
                }
        }
        return woken;
}

/* --- Refusals --- */

bool refuses(enum refusal why)
{
        if (!current || plan.refusals == 0 || current->spared || draw_below(&scheduling, plan.refusals) > 0)
                return false;
        if (tracing)
                printf("         thread %u is refused: %d\n", current->number, refusal_code(why));
        current->refused |= 1U << why;
        return true;
}

int refusal_code(enum refusal why)
{
        static const int code[REFUSALS] = { -ENOMEM, -EMFILE, -ENOSPC, 0 };

        return code[why];
}

void enter_process(unsigned number)
{
        unsigned char locals[LOCALS_MAX];

        memory_enter(number);
        os_enter(number);
        locals_fresh(locals);
        locals_load(locals);
}

/* The thread's other processes and threads go on at any step of it; what the kernel does is one. */
int fork_process(void)
{
        struct thread *parent = current, *child = &thread[plan.threads];
        unsigned number = plan.threads;
        unsigned char *aside;

        if (number == THREADS_MAX || plan.processes + forks == PROCESSES_MAX)
                return -1;
        os_before_fork();
        if (plan.threads != number || plan.processes + forks == PROCESSES_MAX) { /* another one was quicker */
                os_after_fork();
                return -1;
        }
        aside = child->aside;
        memset((void *)child, 0, offsetof(struct thread, store));
        child->aside = aside;
        child->number = number;
        child->copy_of = parent->number + 1;
        child->process = plan.processes + forks++;
        child->stack = parent->stack;
        child->at_end = parent->at_end;
        child->state = READY;
        child->begun = true;
        child->priority = draw(&scheduling) | UINT64_C(1) << 33;
        stores_flush_all(); /* the kernel takes the pages from all processors to double them */
        model_fork(child);
        memory_fork(child->process);
        files_fork(child->process);
        os_fork(child->process);
        plan.threads++;
        locals_save(child->locals);
        put_aside(child);
        child->low = (unsigned char *)__builtin_frame_address(0) - RED_ZONE;
        if (_setjmp(child->resume)) {
                os_in_child();
                model_forked();
                return 0;
        }
        memcpy(child->aside, child->low, used_stack(child));
        os_after_fork();
        return (int)number;
}

static bool any_lives_elsewhere(unsigned number)
{
        for (unsigned i = 0; i < plan.threads; i++)
                if (thread[i].process != number && !process_is_gone(thread[i].process))
                        return true;
        return false;
}

/* What its threads have stored reaches memory: a processor does not forget.  The last process
 * stays. */
void kill_process(unsigned number)
{
        if (process_is_gone(number) || !any_lives_elsewhere(number))
                return;
        if (tracing)
                printf("         process %u is killed\n", number);
        for (unsigned i = 0; i < plan.threads; i++)
                if (thread[i].process == number) {
                        stores_flush(&thread[i]);
                        if (thread[i].state != ENDED)
                                model_killed(i);
                        thread[i].state = ENDED;
                }
        os_process_end(number);
        if (current->process == number)
                go_on();
}

static void start_thread(void)
{
        current->body(current->number);
        end_thread();
}

void end_thread(void)
{
        os_thread_end(current);
        stores_flush(current);
        current->state = ENDED;
        thread_is_dead(current->number);
        go_on();
        abort();
}

static void draw_steps(uint64_t *list, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                list[i] = 1 + draw_below(&scheduling, plan.length);
}

void scheduler_run(const struct plan *wanted, void (*body)(unsigned number))
{
        if (!stacks) {
                stacks = mmap(NULL, (size_t)STACK * THREADS_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                              -1, 0);
                if (stacks == MAP_FAILED)
                        abort();
        }
        plan = *wanted;
        steps = 0;
        clock_now = 1000000000;
        scheduling.state = plan.seed ^ UINT64_C(0x5eed);
        lowest = UINT64_C(1) << 32;
        patience = plan.order == ORDER_SEARCH ? 2000 : PATIENCE_MIN + draw_wide(&scheduling, 11);
        had = 0;
        stops_left = plan.stops;
        forks = 0;
        decided = 0;
        preemptions_left = plan.preemptions;
        draw_steps(change, plan.changes);
        draw_steps(jump, plan.jumps);
        draw_steps(death, plan.kills);
        for (unsigned i = 0; i < plan.threads; i++) {
                struct thread *t = &thread[i];

                unsigned char *aside = t->aside;

                memset((void *)t, 0, offsetof(struct thread, store));
                t->aside = aside;
                lies_there[i] = t;
                t->number = i;
                t->process = i % plan.processes;
                t->body = body;
                t->priority = draw(&scheduling) | UINT64_C(1) << 33;
                t->stack = stacks + (size_t)STACK * i;
                locals_fresh(t->locals);
                getcontext(&t->first);
                t->first.uc_stack.ss_sp = t->stack;
                t->first.uc_stack.ss_size = STACK;
                makecontext(&t->first, start_thread, 0);
        }
        current = NULL;
        if (_setjmp(home) == 0) {
                go_on();
                abort();
        }
        current = NULL;
}
