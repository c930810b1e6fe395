/* model.h - what is to be true of the maps of a run
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_H
#define MODEL_H

#include "sim.h"

#include <ammap.h>

enum { MAPS_MAX = 2, LANES_MAX = 3, WORDS = 16, WORDS_MAX = LANES_MAX * WORDS, HOLDS_MAX = 4 };
enum how { HOW_READ, HOW_WRITE };
enum patience { WAITS, TRIES, TIMED };
enum place { PRIVATE, SHARED, IN_FILE }; /* IN_FILE: shared, with the kernel's lock */

/* Words, of 8 bytes, in a row. */
struct range {
        unsigned map, first, count;
};

struct model_map {
        ammap_t *handle[PROCESSES_MAX], *other[PROCESSES_MAX]; /* other: a second one of it; or NULL */
        enum place place;
        unsigned lanes, words;      /* words: as made */
        unsigned length;            /* in words; what it is cut to and grown from, by whoever has resizing */
        uint64_t cancelled;         /* when the last freeze failed */
        uint64_t resized;           /* when the last resize ended; 0: never */
        unsigned resizing, resizer; /* the thread's number, plus 1 */
        uint64_t freezing, frozen;  /* when that began, and ended; 0: never */
        uint64_t deaths[LANES_MAX], dead[LANES_MAX]; /* when a writer of the lane began to die, and had died */
        unsigned dying[LANES_MAX];                   /* whose writer that is: the thread's number, plus 1 */
        /* Of a lane: when the last recovery ended; when the latest that has ended began; by whom one goes on. */
        uint64_t recovered[LANES_MAX], since[LANES_MAX];
        unsigned char recovering[THREADS_MAX][LANES_MAX];
        uint64_t crowd; /* so many others read its first lane */
        bool crowded;   /* they have done so */
        bool unsure;    /* who was killed may have changed its length, or frozen it, or not */
};
extern struct model_map model_map[MAPS_MAX];
extern unsigned maps;

/* The current process's. */
ammap_t *handle_of(unsigned map);

/* A call into the library, by the current thread. */
void call_begin(struct range range, enum how how, enum patience patience, int64_t deadline);
void call_also(struct range range, enum how how);
void call_watches(uint64_t since);
void call_looks(void);
void call_recovers(void);
bool call_saw_dead(void);     /* a lane may have been dead since the call began */
bool call_must_recover(void); /* ... is */
void call_freezes(void);
int call_end(int rc);
bool was_there(unsigned thread, unsigned map, uint64_t since);
void call_over(void); /* of a call whose answer is looked at elsewhere */

/* The current thread does something with a map that is no call with a range. */
void reach_end(struct range range);
bool was_reached(unsigned map, unsigned word, uint64_t since);
void visit_begin(unsigned map);
void visit_end(unsigned map);

/* Held from here, to here. */
struct held {
        bool is;
        struct range range;
        enum how how;
        uint64_t stamp;        /* of what is written */
        uint64_t taken, since; /* since: in this way, by this thread or process; UINT64_MAX: a call is changing that */
        bool detached;         /* it is the process's; the thread is to release it, and another one may */
        bool recovers;         /* lanes whose writer had died */
        union {
                ammap_slice_t read;
                ammap_mut_slice_t write;
        } slice;
};
struct held *hold_begin(struct range range, enum how how);
void hold_downgrade(struct held *held);
void hold_end(struct held *held);
void hold_ended(unsigned map);
bool own_hold(struct range range, enum how how);
struct held *own_holds(void);
bool own_names(unsigned map); /* more than it holds */
void hold_detached(struct held *held);
bool hold_hand_over(struct held *held); /* to another thread of the process; false: there is none */
struct held *holds_of(unsigned thread);
void thread_closes(void); /* nothing is handed to it any more */

/* Around what ends the state of lanes whose writer died; or it comes to nothing. */
void recovery_begin(struct range range);
void recovery_end(struct range range, uint64_t since);
void recovery_drop(struct range range);
void recovery_fail(struct range range); /* of some lanes it may have come to something */

/* Whether a code is the system's, and was the answer to the current thread since that was forgotten. */
bool was_refused(int rc);
void refusals_forget(void);

/* Views, one of a thread at most. */
struct viewed {
        bool is, may_be; /* may_be: a call may have made it, or not ended it */
        struct range range;
        uint64_t since;
};
void view_begin(struct range range);
void view_begun(void);
void view_end(void);
void view_ended(unsigned map);
const struct viewed *own_view(void);
bool any_view(unsigned process, unsigned map, uint64_t since);
bool view_behind(unsigned map, unsigned length, uint64_t before);
bool slice_behind(unsigned map, unsigned length, uint64_t before);

/* What is written; not after all; or it may be there in part. */
uint64_t write_begin(struct range range, bool zeros);
void write_end(uint64_t stamp);
void write_drop(uint64_t stamp);
void write_resizes(uint64_t stamp);
void write_copies(uint64_t stamp); /* what it stores comes from elsewhere */
uint64_t write_value(uint64_t stamp);

/* What has been read since then. */
uint64_t model_tick(void);
void read_check(struct range range, const uint64_t *value, uint64_t since);

/* What a lane of a private map is like in the child of a fork. */
struct forked {
        bool dead, may_be_dead; /* another thread wrote there; or may have */
        bool frozen, may_be_frozen;
        bool cut;    /* it may be */
        bool viewed; /* there may be a view */
};
void thread_is_alone(void); /* from here on it is never to sleep */
struct forked forked_lane(unsigned map, unsigned lane);

/* fair.c */
void fair_begin(void);
void fair_now(void);
void fair_call(unsigned number);
void fair_sleep(unsigned map, unsigned lane, enum how how);
bool fair_has_slept(unsigned number);
void fair_read(unsigned map);
void fair_enter(struct range range, enum how how, uint64_t begun, bool slept);
void fair_claimed(unsigned number);
void fair_quiet(int64_t time, bool kept_out);
void fair_leave(struct range range);
void fair_left(struct range range);
void fair_end(ammap_t *map, struct range all);

/* The lane of a private map that a thread sleeps for, and as what; false: it sleeps on something else. */
bool sleeps_for(const struct thread *t, unsigned *map, unsigned *lane, enum how *how);

void thread_dies(void);
void thread_is_dead(unsigned number);

#endif /* MODEL_H */
