/* model-bias.pml - readers that enter by their block, and the writers that
 * revoke the bias (lib/lock/lock.c), on processors with store buffers
 *
 * SPDX-License-Identifier: MIT
 *
 * Checked: no writer is in together with a reader or another writer, also where he
 * becomes a reader when he has written (DOWNGRADES); and all end.  A plain store stands in its thread's buffer until the process "hardware"
 * gets it out, at any time.  A read-modify-write waits for its thread's buffer to
 * be empty.  The light fence is nothing; the heavy one empties every buffer, one
 * after the other.  Each MUTANT_n takes away something that the proof needs, and
 * must be found out (model.sh).
 */
#define READERS 2
#define WRITERS 2
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef DOWNGRADES /* whether one of the writers becomes a reader */
#define DOWNGRADES 0
#endif
#ifndef SETTLES /* whether one of the writers takes the bias of many lanes at once */
#define SETTLES 0
#endif

/* The word: bits 0-1 readers counted. */
#define BIAS 4
#define SLOTS 8
#define WRITER 16
#define SEQUENCE_OF(w) ((w) >> 4)
#define COUNT 3

short word = 0;
bit slot[READERS];                          /* a reader's name for the lane */
chan buffer[READERS] = [2] of { bit };      /* stores to it under way */

byte readers_in, writers_in;
byte ended;

active proctype hardware()
{
        bit value;

end:    do
        :: atomic { buffer[0]?value -> slot[0] = value }
        :: atomic { buffer[1]?value -> slot[1] = value }
        od
}

inline heavy_fence(value)
{
        atomic { do :: buffer[0]?value -> slot[0] = value :: empty(buffer[0]) -> break od }
        atomic { do :: buffer[1]?value -> slot[1] = value :: empty(buffer[1]) -> break od }
}

inline read()
{
        atomic { readers_in++; assert(writers_in == 0) }
        atomic { assert(writers_in == 0); readers_in-- }
}

proctype reader(byte me; byte rounds)
{
        short seen;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
                seen = word;
                if
                :: seen & BIAS ->
#ifdef MUTANT_2 /* the look at BIAS comes before the name */
                        seen = word;
                        buffer[me]!1;
#else
                        buffer[me]!1;
                        seen = word;
#endif
                        if
                        :: seen & BIAS ->
#ifdef MUTANT_8 /* the name is taken back before the reading is over */
                                buffer[me]!0;
                                read();
#else
                                read();
                                buffer[me]!0;
#endif
                                goto next
                        :: else ->
                                buffer[me]!0
                        fi
                :: else
                fi;
                /* counted */
                atomic { empty(buffer[me]) && !(word & WRITER) -> word++ };
                /* consider_bias: a compare-and-swap of what was looked at */
                atomic {
                        if
                        :: !(word & SLOTS) -> word = word | BIAS | SLOTS
#ifdef MUTANT_6 /* the bias comes back while SLOTS is set, with the same sequence */
                        :: word & SLOTS -> word = word | BIAS
#else
                        :: (word & SLOTS) && !(word & BIAS) -> word = (word | BIAS) + 2 * WRITER
#endif
                        :: true
                        fi
                };
                read();
                atomic { empty(buffer[me]) -> word-- };
next:           skip
        od;
        ended++
}

/* lane_settle, as it is for one of the lanes. */
inline settle()
{
        atomic {
                word = word & ~BIAS;
                seen = word
        };
        if
        :: (seen & SLOTS) && !(seen & WRITER) ->
#ifndef MUTANT_9 /* the heavy fence of one who settles */
                heavy_fence(value);
#endif
                if
#ifndef MUTANT_10 /* the look at the blocks of one who settles */
                :: slot[0]
                :: slot[1]
                :: !slot[0] && !slot[1] ->
#else
                :: true ->
#endif
                        atomic {
                                if
#ifdef MUTANT_11 /* SLOTS goes with the same sequence */
                                :: word == seen -> word = word & ~SLOTS
#else
                                :: word == seen -> word = (word & ~SLOTS) + 2 * WRITER
#endif
                                :: else
                                fi
                        }
                fi
        :: else
        fi
}

proctype writer(bit settles; bit downgrades)
{
        short seen;
        short fenced = -1;
        bit value, scanned;

        if
        :: settles -> settle()
        :: else
        fi;
again:
        /* Loading a word that cannot be used is no progress: wait for another. */
        atomic { !(word & WRITER) && (!(word & COUNT) || (word & BIAS)) -> seen = word };
        if
        :: seen & BIAS ->
                atomic {
                        if
#ifdef MUTANT_4 /* SLOTS goes with BIAS */
                        :: word == seen -> word = word & ~(BIAS | SLOTS)
#else
                        :: word == seen -> word = word & ~BIAS
#endif
                        :: else
                        fi;
                        seen = 0
                };
                goto again
        :: else
        fi;
        if
#ifdef MUTANT_5 /* one fence serves all sequences */
        :: (seen & SLOTS) && fenced == -1 ->
#else
        :: (seen & SLOTS) && SEQUENCE_OF(seen) != fenced ->
#endif
#ifndef MUTANT_1 /* the heavy fence */
                heavy_fence(value);
#endif
                fenced = SEQUENCE_OF(seen)
        :: else
        fi;
        scanned = 0;
        if
#ifndef MUTANT_3 /* the look at the blocks */
        :: seen & SLOTS ->
                if
                :: slot[0] -> scanned = 1
                :: else ->
                        if
                        :: slot[1] -> scanned = 1
                        :: else
                        fi
                fi
#endif
        :: else
        fi;
        if
        :: scanned ->
                /* Wait for a change, so that this loop can end. */
                atomic { (word != seen || (!slot[0] && !slot[1])) -> seen = 0; scanned = 0 };
                goto again
        :: else
        fi;
        atomic {
                if
#ifdef MUTANT_7 /* entering without comparing the whole word */
                :: !(word & (WRITER | COUNT)) ->
#else
                :: word == seen ->
#endif
                        word = (word & ~(SLOTS | BIAS)) + WRITER
                :: else -> seen = 0; goto again
                fi
        };
        atomic { writers_in++; assert(writers_in == 1 && readers_in == 0) };
        if
        :: downgrades ->
                atomic { assert(writers_in == 1 && readers_in == 0); writers_in--; readers_in++ };
#ifdef MUTANT_12 /* he is counted by the store that makes the sequence even */
                word = word + WRITER;
                word = word + 1;
#else
                word = word + WRITER + 1;
#endif
                atomic { assert(writers_in == 0); readers_in-- };
                word--
        :: else ->
                atomic { assert(writers_in == 1 && readers_in == 0); writers_in-- };
                word = word + WRITER
        fi;
        ended++
}

init {
        atomic { run reader(0, ROUNDS); run reader(1, 1); run writer(0, DOWNGRADES); run writer(SETTLES, 0) };
        ended == READERS + WRITERS
}
