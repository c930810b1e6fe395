/* model-shared.pml - a lane among processes that may die at any step
 * (lib/lock/shared_lock.c, shared_owner.c, slot.c), on processors with store buffers
 *
 * SPDX-License-Identifier: MIT
 *
 * Checked: no living writer is in together with another, or with a reader who is
 * in by a read set; whatever a reader accepts, by that or by the sequence, is whole,
 * also where a writer died over it; nobody is told of such a death where there was
 * none, and a recovery that says that it is done has not left one behind that was
 * there; and nobody alive waits for ever, which shows as a deadlock.
 *
 * Each thread takes a slot, enters some times to write, to read, to look on, to
 * recover, or to write and become a reader then, and gives the slot up.  "kernel" stops DEATHS of them, each between any
 * two steps, and marks the slots of those some time later, when their stores are
 * out.  There are fewer slots than threads, so that slots, and owner ids of theirs,
 * are found again by others.  A plain store stands in its thread's buffer until the
 * process "hardware" gets it out, at any time, in order.  A read-modify-write
 * waits for its thread's buffer to be empty.
 *
 * All sleeps end by themselves, so that waiting is to wait for a change.  The
 * bytes are two, and half written where they differ; what recovers mends them.
 * With NESTED a reader enters by a second place before it leaves the first one.
 * Each MUTANT_n takes away something that the proof needs, and must be found out
 * in one of model.sh's casts.
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

/* Who does what. */
#define WRITES 1
#define READS 2
#define LOOKS_ON 4
#define RECOVERS 8
#define DOWNGRADES 16
#ifndef FIRST
#define FIRST 15
#endif
#ifndef SECOND
#define SECOND 15
#endif
#ifndef THIRD
#define THIRD 15
#endif

#ifdef NESTED
#define PLACES 2
#else
#define PLACES 1
#endif

/* The lane. */
byte owner;    /* an owner id, or 0 */
byte sequence; /* odd while bytes may be half written */
bit rescan;    /* a reader has entered past an owner who waits for him */
byte low, high;

/* The slots: lock word, whose it is by the record, generation, and which of its
 * places name the lane. */
#define FREE 0 /* else the thread, + 1 */
#define DEAD 9
byte word[SLOTS];
byte thread_of[SLOTS];
byte generation[SLOTS];
bit named[SLOTS * PLACES];

#define TAKEN(s) (word[s] != FREE && word[s] != DEAD)

#ifdef MUTANT_11 /* the generation in an owner id */
#define OWNER_ID(s) ((s) + 1)
#else
#define OWNER_ID(s) ((s) + 1 + SLOTS * generation[s])
#endif
#define SLOT_OF(n) (((n) - 1) % SLOTS)

/* The threads. */
#define NONE 255
byte slot_of[THREADS] = NONE;
bit stopped[THREADS], ended[THREADS];
bit writing[THREADS], reading[THREADS], mending[THREADS];
byte deaths;
byte wrecks; /* how many of them in the midst of writing */
byte mends;  /* how many have begun */

/* Stores under way: where to, and what. */
#define SEQUENCE 0
#define LOW 1
#define HIGH 2
#define SET 3 /* + place */
chan buffer[THREADS] = [4] of { byte, byte };

inline store(place, value)
{
        atomic {
                if
                :: place == SEQUENCE -> sequence = value
                :: place == LOW -> low = value
                :: place == HIGH -> high = value
                :: else -> named[place - SET] = value
                fi;
                place = 0;
                value = 0
        }
}

active proctype hardware()
{
        byte place, value;

end:    do
        :: atomic { buffer[0]?place, value -> store(place, value) }
        :: atomic { buffer[1]?place, value -> store(place, value) }
#if THREADS > 2
        :: atomic { buffer[2]?place, value -> store(place, value) }
#endif
        od
}

#define MARKS(t) (stopped[t] && empty(buffer[t]) && slot_of[t] != NONE)
#define STOPS(t) (deaths < DEATHS && !stopped[t] && !ended[t])

active proctype kernel()
{
end:    do
        :: atomic { STOPS(0) -> stopped[0] = 1; deaths++; wrecks = wrecks + (writing[0] || mending[0]) }
        :: atomic { STOPS(1) -> stopped[1] = 1; deaths++; wrecks = wrecks + (writing[1] || mending[1]) }
        :: atomic { MARKS(0) -> word[slot_of[0]] = DEAD; slot_of[0] = NONE }
        :: atomic { MARKS(1) -> word[slot_of[1]] = DEAD; slot_of[1] = NONE }
#if THREADS > 2
        :: atomic { STOPS(2) -> stopped[2] = 1; deaths++; wrecks = wrecks + (writing[2] || mending[2]) }
        :: atomic { MARKS(2) -> word[slot_of[2]] = DEAD; slot_of[2] = NONE }
#endif
        od
}

#define DRAINED empty(buffer[me])

#define IN(what, t) (what[t] && !stopped[t])
#if THREADS > 2
#define OTHERS_IN(what) ((me != 0 && IN(what, 0)) || (me != 1 && IN(what, 1)) || (me != 2 && IN(what, 2)))
#else
#define OTHERS_IN(what) ((me != 0 && IN(what, 0)) || (me != 1 && IN(what, 1)))
#endif

/* With a record, for it to be told by. */
#define ASSERT_NONE(what) none = !OTHERS_IN(what); assert(none); none = 0

/* What one who looks at all of it at once would say. */
#ifdef MUTANT_16 /* a slot whose taker has not named it yet is nobody's */
#define IS_NAMED(s) 1
#else
#define IS_NAMED(s) (thread_of[s] == word[s])
#endif
#define IS_ALIVE(s) (TAKEN(s) && IS_NAMED(s))
#define LIVES(n) (IS_ALIVE(SLOT_OF(n)) && OWNER_ID(SLOT_OF(n)) == (n))

/* In the order in which a taker writes. */
inline look_alive(n)
{
#ifdef MUTANT_17 /* that order */
        atomic { alive = OWNER_ID(SLOT_OF(n)) == n; who = word[SLOT_OF(n)] };
        atomic { alive = alive && who != FREE && who != DEAD && thread_of[SLOT_OF(n)] == who; who = 0 }
#else
        atomic { who = word[SLOT_OF(n)]; alive = who != FREE && who != DEAD };
#ifndef MUTANT_16
        atomic { alive = alive && thread_of[SLOT_OF(n)] == who };
#endif
        atomic { alive = alive && OWNER_ID(SLOT_OF(n)) == n; who = 0 }
#endif
}

/* --- Slots --- */

inline claim()
{
        atomic {
                if
                :: !TAKEN(0) -> slot = 0
                :: !TAKEN(1) -> slot = 1
                fi;
                word[slot] = me + 1;
                slot_of[me] = slot
        };
#ifndef MUTANT_12 /* what the last one left is cleared */
        named[slot * PLACES] = 0;
#ifdef NESTED
        named[slot * PLACES + 1] = 0;
#endif
#endif
        generation[slot]++;
        atomic { thread_of[slot] = me + 1; owner_id = OWNER_ID(slot) }
}

/* --- Owning the lane: result 0, or why not --- */

#define OWNER_DEAD 1
#define BUSY 2

inline owner_dead()
{
        atomic { assert(wrecks > 0); result = OWNER_DEAD }
}

inline take_free(recovers)
{
        if
        :: seen == 0 -> owner = owner_id; mends = mends + recovers
        :: else
        fi
}

inline own(recovers)
{
        atomic { DRAINED -> result = 0; seen = owner; take_free(recovers) };
        do
        :: seen == 0 -> break
        :: atomic { seen != 0 -> assert(seen != owner_id) };
                look_alive(seen);
                if
                :: alive && recovers -> result = BUSY; break
                :: alive && !recovers ->
#ifdef MUTANT_10 /* who waits for an owner sees him die */
                        atomic { owner != seen -> alive = 0 }
#else
                        atomic { (owner != seen || !LIVES(seen)) -> alive = 0 }
#endif
                :: else ->
#if !defined(MUTANT_4) && !defined(MUTANT_15) /* no one but who recovers takes an odd lane, be it for a moment */
                        who = !recovers && (sequence & 1);
                        atomic {
                                if
#ifdef MUTANT_22 /* whose the odd sequence was */
                                :: who -> who = 0; owner_dead(); break
#else
                                :: who && owner == seen -> who = 0; owner_dead(); break
#endif
                                :: else -> who = 0
                                fi
                        };
#endif
                        atomic {
                                DRAINED;
                                if
#ifdef MUTANT_5 /* that it is still the same who is dead */
                                :: true -> seen = 0; take_free(recovers)
#else
                                :: owner == seen -> seen = 0; take_free(recovers)
                                :: else
#endif
                                fi
                        };
                        if
                        :: seen == 0 -> break
                        :: else
                        fi
                fi;
                atomic { DRAINED -> seen = owner; take_free(recovers) }
        od;
#ifndef MUTANT_4 /* the look at the sequence */
        if
        :: !result && !recovers && (sequence & 1) -> disown(); owner_dead()
        :: else
        fi;
#endif
        atomic { seen = 0; alive = 0 }
}

inline disown()
{
        atomic { DRAINED -> owner = 0 }
}

/* --- Writing --- */

/* Until no living slot names the lane. */
inline wait_until_unread()
{
        place = 0;
once_more:
        do
        :: place == SLOTS * PLACES -> break
        :: atomic { place < SLOTS * PLACES && !named[place] -> place++ }
        :: else ->
                assert(place / PLACES != slot);
#ifdef MUTANT_9 /* a dead reader is passed over */
                !named[place]
#else
                atomic {
                        (!named[place] || !IS_ALIVE(place / PLACES));
                        if
                        :: !IS_ALIVE(place / PLACES) -> place++
                        :: else
                        fi
                }
#endif
        od;
        place = 0;
#if defined(NESTED) && !defined(MUTANT_18) /* the look whether a reader moved behind one's back */
        atomic {
                if
                :: rescan -> rescan = 0; goto once_more
                :: else
                fi
        }
#endif
}

inline write()
{
        own(0);
        if
        :: result
        :: else ->
#ifndef MUTANT_3 /* the look at the read sets */
                wait_until_unread();
#endif
                atomic { writing[me] = 1; ASSERT_NONE(writing); ASSERT_NONE(reading); ASSERT_NONE(mending); sum = sequence };
#ifdef MUTANT_6 /* odd before the bytes */
                buffer[me]!LOW, me + 1;
                buffer[me]!SEQUENCE, sum + 1;
#else
                buffer[me]!SEQUENCE, sum + 1;
                buffer[me]!LOW, me + 1;
#endif
                if
                :: does & DOWNGRADES -> downgrade()
                :: else -> leave()
                fi
        fi
}

inline leave()
{
#ifdef MUTANT_19 /* the owner goes after the sequence */
        buffer[me]!HIGH, me + 1;
        disown();
        buffer[me]!SEQUENCE, sum + 2;
#elif defined(MUTANT_7) /* even after them */
        buffer[me]!SEQUENCE, sum + 2;
        buffer[me]!HIGH, me + 1;
#else
        buffer[me]!HIGH, me + 1;
        buffer[me]!SEQUENCE, sum + 2;
#endif
        atomic { DRAINED -> ASSERT_NONE(writing); ASSERT_NONE(reading); writing[me] = 0; sum = 0 };
        disown()
}

/* He reads from the moment on at which he has written.  Who is stopped before his
 * sequence is even has died writing, and who is stopped after it has died reading. */
inline downgrade()
{
        buffer[me]!HIGH, me + 1;
#ifdef MUTANT_23 /* the set stands before the sequence is even, and before the owner goes */
        buffer[me]!SEQUENCE, sum + 2;
        atomic { DRAINED -> ASSERT_NONE(writing); ASSERT_NONE(reading); writing[me] = 0; reading[me] = 1; sum = 0 };
        disown();
        name_lane(0);
#elif defined(MUTANT_24) /* the sequence is even before the owner goes */
        name_lane(0);
        atomic { DRAINED -> ASSERT_NONE(writing); ASSERT_NONE(reading); writing[me] = 0; reading[me] = 1 };
        disown();
        buffer[me]!SEQUENCE, sum + 2;
        sum = 0;
#else
        name_lane(0);
        buffer[me]!SEQUENCE, sum + 2;
        atomic { DRAINED -> ASSERT_NONE(writing); ASSERT_NONE(reading); writing[me] = 0; reading[me] = 1; sum = 0 };
        disown();
#endif
        look_at_bytes();
        atomic { reading[me] = 0; unname_lane(0) }
}

/* --- Reading by a read set --- */

inline name_lane(p)
{
#ifdef MUTANT_1 /* a read-modify-write */
        buffer[me]!SET + slot * PLACES + p, 1
#else
        atomic { DRAINED -> named[slot * PLACES + p] = 1 }
#endif
}

inline unname_lane(p)
{
        buffer[me]!SET + slot * PLACES + p, 0
}

inline look_at_bytes()
{
        atomic { ASSERT_NONE(writing); sum = low };
        atomic { ASSERT_NONE(writing); assert(sum == high); sum = 0 }
}

inline find_writer()
{
        seen = owner;
#ifdef MUTANT_8 /* a dead owner is one, too */
        seen = (seen && !LIVES(seen) -> 0 : seen);
#else
        seen = (!seen && (sequence & 1) -> NONE : seen);
#endif
}

inline read()
{
        result = NONE;
        do
        :: result != NONE -> break
        :: else ->
#ifdef MUTANT_2 /* the look at owner comes after the set */
                find_writer();
                name_lane(0);
#else
                name_lane(0);
                find_writer();
#endif
                if
                :: seen == 0 ->
                        atomic { reading[me] = 1; result = 0 };
                        look_at_bytes();
#ifdef NESTED
                        move();
#endif
                        atomic { reading[me] = 0; unname_lane(0) }
                :: else ->
#ifndef MUTANT_13 /* a reader that waits has taken its set back */
                        unname_lane(0);
#endif
                        wait_until_unowned()
                fi
        od;
        seen = 0
}

#ifdef MUTANT_21 /* the second look at the sequence */
#define SAME_STILL 1
#else
#define SAME_STILL (sequence == sum)
#endif

inline wait_until_unowned()
{
        sum = sequence;
        seen = owner;
        if
        :: seen == 0 -> alive = 0
        :: else -> look_alive(seen)
        fi;
        if
        :: atomic { alive -> (owner != seen || !LIVES(seen)) }
        :: !alive && (sum & 1) && SAME_STILL -> owner_dead()
        :: atomic { !alive && !((sum & 1) && SAME_STILL) ->
                if
                :: seen && !(sequence & 1) -> DRAINED; owner = (owner == seen -> 0 : owner)
                :: else
                fi }
        fi;
        atomic { alive = 0; sum = 0 }
}

/* The other place, and back: one of the two ways leads to where an owner who waits
 * has looked already. */
inline move()
{
        name_lane(1);
        seen = owner;
        if
        :: seen -> atomic { DRAINED -> rescan = 1 } /* he waits for us */
        :: else
        fi;
        unname_lane(0);
        look_at_bytes();
        name_lane(0);
        seen = owner;
        if
        :: seen -> atomic { DRAINED -> rescan = 1 }
        :: else
        fi;
        unname_lane(1);
        look_at_bytes()
}

/* --- Looking on, recovering --- */

inline look_on()
{
        seen = sequence;
        if
        :: seen & 1
        :: else ->
                sum = low;
                alive = sum == high;
#ifndef MUTANT_14 /* the second look at the sequence */
                if
                :: sequence != seen
                :: else -> assert(alive)
                fi
#else
                assert(alive)
#endif
        fi;
        atomic { seen = 0; sum = 0; alive = 0 }
}

/* A writer who was dead when this began, and whom nobody has begun to mend. */
#define WRECK ((sequence & 1) && owner && word[SLOT_OF(owner)] == DEAD && OWNER_ID(SLOT_OF(owner)) == owner)

inline recover()
{
        atomic { sum = (WRECK -> mends : NONE); result = !(sequence & 1) };
        if
        :: result
        :: else ->
#ifdef MUTANT_20 /* who recovers is owner meanwhile */
                result = 0;
#else
                own(1);
#endif
                if
                :: result == BUSY -> assert(sum != mends)
                :: else ->
                        if
                        :: sequence & 1 ->
                                atomic { mending[me] = 1; ASSERT_NONE(writing); ASSERT_NONE(reading); ASSERT_NONE(mending) };
                                atomic { sum = sequence; buffer[me]!HIGH, low };
                                buffer[me]!SEQUENCE, sum + 1;
                                atomic { DRAINED; mending[me] = 0 }
                        :: else
                        fi;
                        disown()
                fi
        fi;
        sum = 0
}

proctype thread(byte me; byte rounds; byte does)
{
        byte slot, owner_id, seen, sum, result, place, who;
        bit alive, none;

        {
                claim();
                do
                :: rounds == 0 -> break
                :: atomic { rounds > 0 && (does & (WRITES | DOWNGRADES)) -> rounds-- }; write()
                :: atomic { rounds > 0 && (does & READS) -> rounds-- }; read()
                :: atomic { rounds > 0 && (does & LOOKS_ON) -> rounds-- }; look_on()
                :: atomic { rounds > 0 && (does & RECOVERS) -> rounds-- }; recover()
                od;
                atomic { DRAINED -> thread_of[slot] = 0; word[slot] = FREE; slot_of[me] = NONE; ended[me] = 1 }
        } unless {
                stopped[me]
        }
}

init {
        atomic {
                run thread(0, ROUNDS, FIRST);
                run thread(1, ROUNDS, SECOND);
#if THREADS > 2
                run thread(2, 1, THIRD)
#endif
        }
}
