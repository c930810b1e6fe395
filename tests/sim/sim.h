/* sim.h - what the files of the simulation have of each other
 *
 * SPDX-License-Identifier: MIT
 *
 * The essay on top of scheduler.c says what all of it is for.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

enum { THREADS_MAX = 8, PROCESSES_MAX = 6, STORES_MAX = 24, LOCALS_MAX = 256, SLOTS_MAX = 8 };

/* --- random.c's part: all chance comes from the seed --- */

struct chance {
        uint64_t state;
};

static inline uint64_t draw(struct chance *chance)
{
        uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

/* From 0 to before count. */
static inline uint32_t draw_below(struct chance *chance, uint32_t count)
{
        return (uint32_t)((draw(chance) >> 32) * count >> 32);
}

/* About as often small as large: up to 2^bits. */
static inline uint32_t draw_wide(struct chance *chance, unsigned bits)
{
        return draw_below(chance, UINT32_C(1) << (1 + draw_below(chance, bits)));
}

/* --- What a run is --- */

/* How it is decided who goes on: see scheduler.c. */
enum order { ORDER_PRIORITIES, ORDER_WALK, ORDER_SEARCH };

struct plan {
        uint64_t seed;
        enum order order;
        unsigned threads, processes; /* thread t is in process t % processes */
        unsigned changes;            /* of priorities */
        unsigned length;             /* steps among which these lie */
        unsigned preemptions;        /* ORDER_SEARCH: at most */
        unsigned walk;               /* ORDER_WALK: one switch in so many steps */
        unsigned drain;    /* a delayed store reaches memory at one step in so many; 0: when it must; 1: at once */
        bool spins;        /* there are several processors */
        bool asymmetric;   /* there is membarrier */
        bool plain;        /* plain accesses are steps, too */
        unsigned spurious; /* one sleep in so many ends by itself; 0: none */
        unsigned jumps;    /* of the clock */
        unsigned slack;    /* ns: sleepers whose time ends so near together wake at once */
        unsigned stops;    /* of a thread that was woken */
        unsigned kills;    /* of processes */
        unsigned refusals; /* one in so many calls of the system that may fail does; 0: none */
};

/* --- Threads --- */

enum state { READY, ASLEEP, ENDED };

struct store {
        uintptr_t at;
        uint64_t value;
        unsigned size;
};

struct thread {
        jmp_buf resume;
        ucontext_t first;
        unsigned char *stack;             /* a forked thread has its parent's: at the same addresses */
        unsigned char *aside;             /* ... what of it is not there now */
        unsigned char *low;               /* it is used from here on, as long as another runs */
        unsigned char locals[LOCALS_MAX]; /* its copy of the library's thread-locals */
        void (*body)(unsigned number);
        void *at_end; /* os_thread_set */
        unsigned number, process;
        uint32_t copy_of; /* of a forked thread: its parent's number, + 1; 0: of none */
        enum state state;
        bool begun, stopped, timed_out, in_step;
        bool spared;               /* nothing is refused it */
        unsigned refused;          /* what was, a bit for each of enum refusal */
        const volatile void *word; /* ASLEEP on it */
        const void *tried;         /* the mutex that it found locked last */
        int64_t deadline;          /* ... until then; of a thread that is stopped: until then */
        uint64_t priority;
        _Atomic uint32_t *slot[SLOTS_MAX]; /* words that the kernel marks at its end */
        uint64_t published;                /* model_tick: when its last store reached memory */
        bool fenced;                       /* a release fence stands behind one of them */
        unsigned stores;
        struct store store[STORES_MAX]; /* not yet in memory, oldest first */
};

extern struct plan plan;
extern struct thread thread[THREADS_MAX];
extern struct thread *current; /* NULL: outside of a run */
extern struct chance scheduling;
extern uint64_t steps;
extern uint64_t switches; /* of threads, so far */
extern int64_t clock_now;
extern bool tracing;

/* Run so many threads to their ends. */
void scheduler_run(const struct plan *plan, void (*body)(unsigned number));

/* The next run of a search; false: there is none. */
bool search_next(void);
void search_begin(void);

/* A step: another thread may go on here.  what: for a trace. */
void step(const char *what, const volatile void *address);

/* The calling thread cannot go on by itself: others do, if there are any. */
void give_way(void);

/* The calling thread is busy with its own affairs for some time, and others go on. */
void work(int64_t time);

/* Sleep on a word until it is woken (true) or the deadline. */
bool fall_asleep(const volatile void *word, int64_t deadline);
/* No thread goes on in that process. */
void kill_process(unsigned number);
/* As fork: 0 in the child, which is a thread and a process more; -1: there is no room. */
int fork_process(void);
void end_thread(void) __attribute__((noreturn));
int wake_sleepers(const volatile void *word, int count);

/* Ends the program, with the seed and the step. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* --- What the system may refuse --- */

enum refusal { NO_MEMORY, NO_DESCRIPTOR, NO_SPACE, NO_ANSWER, REFUSALS };

/* Whether it does so now. */
bool refuses(enum refusal why);
/* Its code; 0: there is none, and it only does nothing. */
int refusal_code(enum refusal why);

/* --- Stores that are delayed --- */

void stores_flush(struct thread *t);
void stores_flush_all(void);
void stores_drain_one(void);
void store_delayed(uintptr_t at, uint64_t value, unsigned size);
uint64_t load_seen(uintptr_t at, unsigned size);
void stores_settle(uintptr_t at, size_t size);

/* --- Memory --- */

void memory_begin(void); /* once: what the library's data is like before its first call */
void memory_reset(void); /* before each run */
#define FILE_VISITED "8" /* the path of the one file that a run makes meanwhile */
void files_reset(void);
void files_process_end(unsigned process);
void files_fork(unsigned child);
void files_give(int fd);
void files_unmap(uintptr_t at, size_t size);
bool files_have(uintptr_t at, size_t size);
void memory_look(uintptr_t at, size_t size);
void locals_save(unsigned char *to);
void locals_load(const unsigned char *from);
void locals_fresh(unsigned char *to);
/* Whose memory is there now; where another one's is. */
void memory_enter(unsigned process);
void memory_fork(unsigned child);
unsigned char *memory_of(unsigned process, uintptr_t at);
bool memory_is_shared(uintptr_t at);
unsigned char *memory_object(unsigned number, size_t size);
const char *memory_name(const volatile void *address);

/* --- os.c --- */

void os_reset(void);
void os_enter(unsigned process);
unsigned os_here(void); /* the process that was entered last */
bool process_is_gone(unsigned number);
void os_process_end(unsigned number);
void os_before_fork(void);
void os_after_fork(void);
void os_fork(unsigned child);
void os_in_child(void);
void os_thread_end(struct thread *t);
extern unsigned os_wakes; /* calls to wake somebody */

/* --- model.c, draw.c --- */

uint64_t model_tick(void);
void model_begin(void);
void model_end(void);
void model_tell(void);
/* Before the current thread sleeps; after a thread has ended. */
void model_sleep(int64_t deadline);
void model_woken(void);
void model_killed(unsigned thread);
void model_fork(const struct thread *child);
void model_forked(void);
void model_deadline(int64_t deadline);
void thread_is_dead(unsigned number);
/* Nobody can go on before time has passed; so much has. */
void model_quiet(void);
void model_passed(int64_t time);
void model_now(void);

/* Outside of a run: the one whose memory is there, and who makes calls. */
void enter_process(unsigned number);

void draw_plan(uint64_t seed);
void draw_scene(void);
void draw_thread(unsigned number);
extern unsigned scenario; /* of a search */
void scene_thread(unsigned number);
void scene_begin(void);
void scene_plan(unsigned preemptions);
void scene_players(void); /* of a plan that has been drawn */
const char *scene_name(void);
extern const unsigned scenarios;

/* --- lies.c --- */

/* A run of its own, with its seed; and a step of any run. */
void lies_run(uint64_t seed);
void lies_step(void);

/* --- honest.c --- */

/* Maps that nobody lies about. */
void honest_begin(void);
void honest_look(unsigned process);
void honest_end(unsigned process);
void honest_forget(void);

/* The call that the current thread is about to make has so much time; when that is over, by the library's
 * clock; and a step of it, and a sleep. */
int64_t due_begin(int64_t timeout);
void due_end(void);
void due_set(int64_t deadline);
void due_step(void);
void due_sleep(const volatile void *word, int64_t deadline);

#endif /* SIM_H */
