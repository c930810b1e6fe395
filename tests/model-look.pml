/* model-look.pml - what another thread's hold tells (lib/lock/thread.c, look)
 *
 * SPDX-License-Identifier: MIT
 *
 * Checked: a shrink never takes a hold for that of the writer of a lane, where one
 * writes whom no hold tells of.
 *
 * "writer" comes and goes, and notes nothing: he clears BIAS, runs a heavy fence, which
 * makes visible what others have stored before, and is in.  "owner" uses one hold over
 * and over: where he finds BIAS he names the lane, to read it, and withdraws; then he
 * notes that he writes another lane, and lets that go.  "shrinker" looks at the word, at the lane that the hold names, at its use, at
 * the lane and at the word again.  What a release stores is seen in order: "hardware"
 * makes it visible from one buffer.  A relaxed store may overtake what was stored before
 * it elsewhere: a buffer for each place.  Each MUTANT_n takes away something that the
 * proof needs, and must be found out.
 */
#ifndef ROUNDS
#define ROUNDS 3
#endif

#define NONE 0
#define HERE 1
#define THERE 2
#define READ 0
#define WRITE 1

byte word; /* counts; of four the first: BIAS; the second: neither; the third: WRITER */
#define BIAS(word) (word % 4 == 0)
#define WRITER(word) (word % 4 == 2)
byte lane = NONE;
byte use = READ;

#define LANE 0
#define USE 1
chan stores = [6] of { byte, byte };
chan overtaking = [6] of { byte, byte };

inline store(place, value)
{
        atomic {
                if
                :: place == LANE -> lane = value
                :: else -> use = value
                fi;
                place = 0;
                value = 0
        }
}

active proctype hardware()
{
        byte place, value;

end:    do
        :: atomic { stores?place, value -> store(place, value) }
        :: atomic { overtaking?place, value -> store(place, value) }
        od
}

active proctype writer()
{
        byte rounds = ROUNDS;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
                word++;
#ifndef MUTANT_5 /* the heavy fence */
                atomic { empty(stores) && empty(overtaking) -> skip };
#endif
                word++;
                word = word + 2
        od
}

inline note(which, how)
{
#ifdef MUTANT_2 /* the release of use */
        overtaking!USE, how;
#else
        stores!USE, how;
#endif
        stores!LANE, which
}

active proctype owner()
{
        byte rounds = ROUNDS;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
                if
#ifdef MUTANT_4 /* the look for BIAS */
                :: true ->
#else
                :: BIAS(word) ->
#endif
                        note(HERE, READ);
                        stores!LANE, NONE
                :: else
                fi;
                note(THERE, WRITE);
                stores!LANE, NONE
        od
}

active proctype shrinker()
{
        byte rounds = ROUNDS, found, seen, how;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
                found = word;
                seen = lane;
                if
                :: WRITER(found) && seen == HERE ->
                        how = use;
#ifndef MUTANT_1 /* the second look at the lane */
                        seen = lane;
#endif
#ifdef MUTANT_3 /* the second look at the word */
                        assert(!(seen == HERE && how == WRITE))
#else
                        assert(!(seen == HERE && how == WRITE && word == found))
#endif
                :: else
                fi
        od
}
