/* model-sleep.pml - sleeping, waking and turns (lib/lock/lock.c), on processors with
 * store buffers
 *
 * SPDX-License-Identifier: MIT
 *
 * Checked: all get in and end.  A sleeper that is not woken, a turn that is
 * no one's, show as a deadlock.  So does a starving writer past whom readers could
 * go on for ever: a reader stays in for as long as one is starving and there is no
 * HANDOFF_WRITERS.  Asserted: exclusion, and that one writer at most enters past a
 * starving reader.
 *
 * The plain stores are the quick leaving of a writer and the taking back of a
 * biased reader's name; each stands in its thread's buffer until the process
 * "hardware" gets it out, at any time.  The light fence is nothing, the heavy
 * one empties every buffer.  Time is chance: a timed waiter gives up, and any
 * becomes starving, when it likes; those that do not have no deadline.
 *
 * WRITERS and READERS say who takes part: a digit each of rounds, the last
 * writer and the last reader timed where TIMED_W, TIMED_R; BIASED adds a biased
 * reader that is in at the start.  Each MUTANT_n takes away something that the
 * proof needs, and must be found out in one of model.sh's casts.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef WRITER_ROUNDS
#define WRITER_ROUNDS 1
#endif
#ifndef READER_ROUNDS
#define READER_ROUNDS 1
#endif
#ifndef TIMED_W
#define TIMED_W 0
#endif
#ifndef TIMED_R
#define TIMED_R 0
#endif

#ifndef PASSES /* how often a turn that is out and could be taken is found idle for too long */
#define PASSES 0
#endif

#define THREADS (WRITERS + READERS)

/* The word: bits 0-1 readers counted, from bit 6 on the sequence. */
#define COUNT 3
#define HANDOFF_READERS 4
#define HANDOFF_WRITERS 8
#define SLOTS 16
#define WRITER 64

/* waiting */
#define ASLEEP_R 1
#define ASLEEP_W 2
#define STARVING_R 4 /* bits 2-3 */
#define STARVING_W 16 /* bits 4-5 */
#define STARVING_READERS(w) ((w) & 12)
#define STARVING_WRITERS(w) ((w) & 48)

short word;
byte waiting;
byte event_r, event_w;
byte asleep_w;
bit sleeping[THREADS]; /* in os_wait; the writers first */

bit buffered[WRITERS]; /* a writer's store to the word under way */
short buffer[WRITERS];

bit slot, slot_buffered; /* the biased reader's name, its clearing under way */

byte readers_in, writers_in;
byte entries; /* of writers, in all */
byte passes, forgotten_r, forgotten_w;
byte ended;

active proctype hardware()
{
        byte i;

end:    do
        :: atomic { buffered[0] -> word = buffer[0]; buffered[0] = 0; buffer[0] = 0 }
#if WRITERS > 1
        :: atomic { buffered[1] -> word = buffer[1]; buffered[1] = 0; buffer[1] = 0 }
#endif
#if WRITERS > 2
        :: atomic { buffered[2] -> word = buffer[2]; buffered[2] = 0; buffer[2] = 0 }
#endif
#ifdef BIASED
        :: atomic { slot_buffered -> slot = 0; slot_buffered = 0 }
#endif
        od
}

/* Who is not a writer has stored nothing plainly. */
#define DRAINED (me >= WRITERS || !buffered[me])
/* One's own store is seen at once. */
#define MY_WORD ((me < WRITERS && buffered[me]) -> buffer[me] : word)

inline heavy_fence()
{
        atomic {
                i = 0;
                do
                :: i < WRITERS && buffered[i] -> word = buffer[i]; buffered[i] = 0; buffer[i] = 0
                :: i < WRITERS && !buffered[i] -> i++
                :: i >= WRITERS -> break
                od;
                i = 0;
                if
                :: slot_buffered -> slot = 0; slot_buffered = 0
                :: else
                fi
        }
}

/* --- Waking --- */

inline wake_readers()
{
        atomic { DRAINED -> waiting = waiting & ~ASLEEP_R };
#ifndef MUTANT_5 /* the count of wake-ups */
        event_r++;
#endif
        atomic {
                i = WRITERS;
                do
                :: i < THREADS -> sleeping[i] = 0; i++
                :: else -> break
                od;
                i = 0
        }
}

inline wake_writers(all)
{
#ifdef MUTANT_13 /* the note is taken after the count */
        atomic { DRAINED -> event_w++ };
        waiting = waiting & ~ASLEEP_W;
#else
        atomic { DRAINED -> waiting = waiting & ~ASLEEP_W };
#ifndef MUTANT_5
        event_w++;
#endif
#endif
        atomic {
                if
                :: all ->
                        i = 0;
                        do
                        :: i < WRITERS -> sleeping[i] = 0; i++
                        :: else -> break
                        od;
                        i = 0
                :: else ->
                        if
                        :: sleeping[0] -> sleeping[0] = 0
#if WRITERS > 1
                        :: sleeping[1] -> sleeping[1] = 0
#endif
#if WRITERS > 2
                        :: sleeping[2] -> sleeping[2] = 0
#endif
                        :: else
                        fi
                fi
        }
}

#define WAKE_ALL ((wd & HANDOFF_WRITERS) || STARVING_WRITERS(wt))

#ifdef MUTANT_11 /* a starving writer sleeps on where there is no turn */
#define WAKE_WRITERS (!(wd & COUNT))
#else
#define WAKE_WRITERS (!(wd & COUNT) || (!(wd & HANDOFF_WRITERS) && STARVING_WRITERS(wt)))
#endif

inline lane_wake()
{
        wt = waiting;
        wd = MY_WORD;
        if
        :: wd & WRITER
        :: else ->
                if
                :: (wt & ASLEEP_R) && !(wd & HANDOFF_WRITERS) -> wake_readers()
                :: else
                fi;
                if
                :: (wt & ASLEEP_W) && !(wd & HANDOFF_READERS) && WAKE_WRITERS -> wake_writers(WAKE_ALL)
                :: else
                fi
        fi;
        atomic { wt = 0; wd = 0 }
}

/* --- Turns --- */

inline end_turn(turn, starving_ones)
{
        wd = word;
        done = 0;
        do
        :: !done && (wd & turn) ->
                if
                :: waiting & starving_ones -> done = 1; wd = 0
                :: else ->
                        atomic {
                                if
                                :: word == wd -> word = word & ~turn; done = 2
                                :: else -> wd = word
                                fi
                        }
                fi
        :: else -> break
        od;
        if
        :: done == 2 -> lane_wake()
        :: else
        fi;
        atomic { done = 0; wd = 0 }
}

/* It can be taken: idle for too long is chance.  The starving are forgotten, and the
 * turn is taken back. */
#define MAY_PASS(w)                                                                                                    \
        (passes < PASSES && !((w) & WRITER) &&                                                                         \
         (((w) & HANDOFF_READERS) || (((w) & HANDOFF_WRITERS) && !((w) & COUNT) && !slot)))

inline pass_over()
{
        atomic {
                passes++;
                if
                :: seen & HANDOFF_READERS -> waiting = waiting & ~12; forgotten_r++
                :: else -> waiting = waiting & ~48; forgotten_w++
                fi
        };
        atomic {
                done = 0;
                if
                :: word == seen -> word = word & ~(HANDOFF_READERS | HANDOFF_WRITERS); done = 1
                :: else
                fi
        };
        if
        :: done -> lane_wake()
        :: else
        fi;
        done = 0
}

/* One more is starving, which it was not, or it was forgotten. */
inline become_starving(one, forgotten)
{
        atomic {
                if
                :: starving && known != forgotten -> starving = 0
                :: else
                fi;
                if
                :: !starving -> waiting = waiting + one; known = forgotten; starving = 1
                :: else
                fi
        }
}

/* done: it was the last, or was forgotten. */
inline end_starving(one, counts, forgotten)
{
        atomic {
                if
#ifndef MUTANT_20 /* the forgotten take nothing off the count */
                :: known != forgotten -> done = 1
                :: known == forgotten ->
#else
                :: true ->
                        assert(waiting & counts);
#endif
                        done = (waiting & counts) == one;
                        waiting = waiting - one
                fi;
                starving = 0;
                known = 0
        }
}

#ifdef MUTANT_12 /* a starving writer falls asleep with nobody's turn */
#define MAY_CLAIM(w) 0
#else
#define MAY_CLAIM(w) (!((w) & (WRITER | HANDOFF_WRITERS | HANDOFF_READERS)))
#endif

#define READER_BLOCKED(w) ((w) & (WRITER | HANDOFF_WRITERS))
#define WRITER_BLOCKED(w)                                                                                              \
        (((w) & (WRITER | HANDOFF_READERS | COUNT)) || (((w) & HANDOFF_WRITERS) && !starving) || (((w) & SLOTS) && slot))

/* --- Writers --- */

inline write_leave()
{
#ifdef MUTANT_15 /* the look at waiting after the store */
        wt = waiting;
        buffer[me] = word + WRITER;
        buffered[me] = 1;
        if
        :: wt -> lane_wake()
        :: else
        fi;
#else
        wt = waiting;
        if
        :: wt ->
                wt = waiting; /* loaded anew */
                if
                :: STARVING_READERS(wt) ->
                        atomic { wt = 0; word = (word + WRITER) | HANDOFF_READERS };
#ifndef MUTANT_9 /* the look after a turn is given */
                        end_turn(HANDOFF_READERS, 12)
#endif
                :: !STARVING_READERS(wt) && STARVING_WRITERS(wt) ->
                        atomic { wt = 0; word = (word + WRITER) | HANDOFF_WRITERS };
#ifndef MUTANT_9
                        end_turn(HANDOFF_WRITERS, 48)
#endif
                :: else ->
                        atomic { wt = 0; word = word + WRITER }
                fi;
#ifndef MUTANT_4 /* the wake-up of the slow leaving */
                lane_wake()
#endif
        :: else ->
                atomic { buffer[me] = word + WRITER; buffered[me] = 1 };
                /* The light fence. */
                wt = waiting;
                if
#ifndef MUTANT_2 /* the second look at waiting */
                :: wt -> lane_wake()
#endif
                :: else
                fi
        fi
#endif
        ;
        wt = 0
}

proctype writer(byte me; byte rounds; bit timed)
{
        bit starving, slept, fenced, brief;
        byte i, wt, event, done, known;
        short seen, wd;

        do
        :: rounds == 0 -> break
        :: else ->
                atomic { DRAINED -> rounds--; slept = 0; fenced = 0 };
again:
                seen = word;
                if
                :: (seen & SLOTS) && !fenced -> heavy_fence(); fenced = 1
                :: else
                fi;
                if
                :: !WRITER_BLOCKED(seen) ->
                        atomic {
                                if
                                :: word == seen ->
                                        word = (word & ~(HANDOFF_WRITERS | SLOTS)) + WRITER;
                                        seen = 0;
                                        entries++;
                                        writers_in++;
                                        assert(writers_in == 1 && readers_in == 0 && !slot)
                                :: else -> seen = 0; goto again
                                fi
                        }
                :: else ->
                        if
                        :: MAY_PASS(seen) -> pass_over(); seen = 0; goto again
                        :: true
                        fi;
                        /* claim_turn */
                        if
                        :: !(seen & (WRITER | HANDOFF_WRITERS | HANDOFF_READERS)) ->
                                become_starving(STARVING_W, forgotten_w);
                                atomic {
                                        if
                                        :: !(word & (WRITER | HANDOFF_WRITERS | HANDOFF_READERS)) -> word = word | HANDOFF_WRITERS
                                        :: else
                                        fi
                                }
                        :: !slept || (seen & (WRITER | HANDOFF_WRITERS | HANDOFF_READERS))
                        fi;
                        /* wait; one that was woken takes the turn of the starving */
                        brief = 0;
                        if
                        :: slept && !starving && (word & HANDOFF_WRITERS) ->
#ifndef MUTANT_14 /* that it does */
                                become_starving(STARVING_W, forgotten_w)
#else
                                skip
#endif
                        :: else
                        fi;
                        if
                        :: timed -> goto give_up
                        :: !starving -> become_starving(STARVING_W, forgotten_w)
                        :: !starving -> brief = 1 /* sleeps until it is starving */
                        :: true
                        fi;
                        slept = 1;
#ifndef MUTANT_6 /* the count of wake-ups is read before the last look */
                        event = event_w;
#endif
#ifdef MUTANT_3 /* the note comes after the last look */
                        seen = word;
                        atomic { asleep_w++; waiting = waiting | ASLEEP_W };
#else
                        asleep_w++;
                        waiting = waiting | ASLEEP_W;
#ifndef MUTANT_1 /* the heavy fence */
                        heavy_fence();
#endif
                        seen = word;
#endif
                        if
                        :: WRITER_BLOCKED(seen) && !(starving && MAY_CLAIM(seen)) ->
#ifdef MUTANT_6
                                event = event_w;
#endif
                                atomic {
                                        if
                                        :: event_w == event -> sleeping[me] = 1
                                        :: else
                                        fi;
                                        seen = 0; event = 0
                                };
                                if
                                :: atomic { !sleeping[me] -> skip }
                                :: atomic { timed && sleeping[me] -> sleeping[me] = 0 }
                                :: atomic { brief && sleeping[me] -> sleeping[me] = 0 }
                                fi
                        :: else -> atomic { seen = 0; event = 0 }
                        fi;
                        /* A wake-up of one writer took the note of all. */
                        atomic { asleep_w--; done = asleep_w > 0 };
#ifndef MUTANT_7 /* the note for those who sleep on */
                        if
                        :: done -> waiting = waiting | ASLEEP_W
                        :: else
                        fi;
#endif
                        done = 0;
                        if
                        :: brief -> brief = 0; become_starving(STARVING_W, forgotten_w)
                        :: else
                        fi;
                        goto again
                fi;
                /* finish */
                if
                :: starving ->
                        end_starving(STARVING_W, 48, forgotten_w);
                        if
                        :: done -> end_turn(HANDOFF_WRITERS, 48)
                        :: else
                        fi;
                        done = 0
                :: else
                fi;
                atomic { assert(writers_in == 1 && readers_in == 0 && !slot); writers_in-- };
                write_leave();
                goto next;
give_up:
                seen = 0;
                if
                :: starving ->
                        end_starving(STARVING_W, 48, forgotten_w);
#ifndef MUTANT_10 /* the look of the last starving one that leaves */
                        if
                        :: done -> end_turn(HANDOFF_WRITERS, 48)
                        :: else
                        fi;
#endif
                        done = 0
                :: else
                fi;
#ifndef MUTANT_8 /* the wake-up by one that gives up */
                if
                :: slept ->
#ifndef MUTANT_19 /* the heavy fence of one that gives up */
                        heavy_fence();
#endif
                        lane_wake()
                :: else
                fi;
#endif
next:           slept = 0
        od;
        ended++
}

/* --- Readers --- */

inline reader_sated()
{
        if
        :: starving ->
                end_starving(STARVING_R, 12, forgotten_r);
#ifndef MUTANT_16 /* the look of the last starving reader */
                if
                :: done -> end_turn(HANDOFF_READERS, 12)
                :: else
                fi;
#endif
                done = 0
        :: else
        fi
}

proctype reader(byte me; byte rounds; bit timed)
{
        bit starving, brief;
        byte i, wt, event, done, known, before;
        short seen, wd;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
again:
                seen = word;
                if
                :: !READER_BLOCKED(seen) ->
                        atomic {
                                if
                                :: word == seen ->
                                        word++;
                                        seen = 0;
                                        readers_in++;
                                        assert(writers_in == 0);
                                        assert(!starving || known != forgotten_r || entries <= before + 1);
                                        before = 0
                                :: else -> seen = 0; goto again
                                fi
                        }
                :: else ->
                        brief = 0;
                        if
                        :: MAY_PASS(seen) -> pass_over(); seen = 0; goto again
                        :: true
                        fi;
                        if
                        :: timed -> goto give_up
                        :: !starving -> atomic { become_starving(STARVING_R, forgotten_r); before = entries }
                        :: !starving -> brief = 1
                        :: true
                        fi;
#ifndef MUTANT_6
                        event = event_r;
#endif
#ifdef MUTANT_3
                        seen = word;
                        waiting = waiting | ASLEEP_R;
#else
                        waiting = waiting | ASLEEP_R;
#ifndef MUTANT_1
                        heavy_fence();
#endif
                        seen = word;
#endif
                        if
                        :: READER_BLOCKED(seen) ->
#ifdef MUTANT_6
                                event = event_r;
#endif
                                atomic {
                                        if
                                        :: event_r == event -> sleeping[me] = 1
                                        :: else
                                        fi;
                                        seen = 0; event = 0
                                };
                                if
                                :: atomic { !sleeping[me] -> skip }
                                :: atomic { timed && sleeping[me] -> sleeping[me] = 0 }
                                :: atomic { brief && sleeping[me] -> sleeping[me] = 0 }
                                fi
                        :: else -> atomic { seen = 0; event = 0 }
                        fi;
                        if
                        :: brief ->
                                atomic { brief = 0; become_starving(STARVING_R, forgotten_r); before = entries }
                        :: else
                        fi;
                        goto again
                fi;
                reader_sated();
                /* Others could come and go: no reason to leave while a writer starves. */
                atomic { !STARVING_WRITERS(waiting) || (word & HANDOFF_WRITERS) -> assert(writers_in == 0); readers_in-- };
                word--;
                wt = waiting;
                if
#ifndef MUTANT_17 /* the look of a counted reader that leaves */
                :: wt -> lane_wake()
#endif
                :: else
                fi;
                wt = 0;
                goto next;
give_up:
                atomic { seen = 0; before = 0 };
                reader_sated();
next:           skip
        od;
        ended++
}

#ifdef BIASED
/* lane_unshow */
proctype biased_reader()
{
        byte i, wt;
        short wd;
        byte me = WRITERS; /* any but a writer */

        slot_buffered = 1;
        wt = waiting;
        if
#ifndef MUTANT_18 /* the look of a biased reader that leaves */
        :: wt ->
                atomic { !slot_buffered -> wt = 0 }; /* a read-modify-write is next */
                lane_wake()
#endif
        :: else
        fi;
        ended++
}
#endif

init {
        atomic {
                run writer(0, WRITER_ROUNDS, WRITERS == 1 && TIMED_W);
#if WRITERS > 1
                run writer(1, 1, WRITERS == 2 && TIMED_W);
#endif
#if WRITERS > 2
                run writer(2, 1, TIMED_W);
#endif
#if READERS > 0
                run reader(WRITERS, READER_ROUNDS, READERS == 1 && TIMED_R);
#endif
#if READERS > 1
                run reader(WRITERS + 1, 1, TIMED_R);
#endif
#ifdef BIASED
                slot = 1;
                word = SLOTS;
                run biased_reader()
#endif
        };
#ifdef BIASED
        ended == THREADS + 1
#else
        ended == THREADS
#endif
}
