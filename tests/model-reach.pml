/* model-reach.pml - a slice that shares a place and goes further, beside a shrink
 * (lib/lock/shared_lock.c, shared_shrink.c), on processors with store buffers
 *
 * SPDX-License-Identifier: MIT
 *
 * Checked: nobody is in to where a shrink takes bytes away; and nobody waits for
 * ever, which shows as a deadlock.
 *
 * A map is 1 or 2 long.  "reader" names the lane for a slice that ends at 1, and by
 * the same set takes one that ends at 2; or owns the lane as a writer of a slice that
 * ends at 2, and becomes its reader.  "shrinker" owns the lane, looks at the
 * set and where it ends, and makes the map shorter, and longer again.  A plain
 * store stands in its thread's buffer until "hardware" gets it out, at any time, in
 * order.  A read-modify-write waits for its thread's buffer to be empty.  Each
 * MUTANT_n takes away something that the proof needs, and must be found out.
 */
#ifndef ROUNDS
#define ROUNDS 2
#endif

bit owned;       /* the lane, by who shrinks, or writes */
bit named;       /* in a read set */
byte reach;      /* where it ends */
byte length = 2; /* of the map */
bit shrinking, reading;

#define NAMED 0
#define REACH 1
#define LENGTH 2
chan of_reader = [4] of { byte, byte };
chan of_shrinker = [4] of { byte, byte };

inline store(place, value)
{
        atomic {
                if
                :: place == NAMED -> named = value
                :: place == REACH -> reach = value
                :: place == LENGTH -> length = value
                fi;
                place = 0;
                value = 0
        }
}

active proctype hardware()
{
        byte place, value;

end:    do
        :: atomic { of_reader?place, value -> store(place, value) }
        :: atomic { of_shrinker?place, value -> store(place, value) }
        od
}

inline exchange_set()
{
        atomic { empty(of_reader) -> named = 1 }
}

active proctype reader()
{
        byte rounds = ROUNDS;
        bit seen;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
                if
                :: goto downgrade
                :: true
                fi;
                of_reader!REACH, 1;
again:          exchange_set();
                seen = owned;
                if
                :: seen -> of_reader!NAMED, 0; !owned; goto again
                :: else
                fi;
further:
#ifdef MUTANT_1 /* the look comes after the reach */
                seen = owned;
                of_reader!REACH, 2;
                exchange_set();
#elif defined(MUTANT_2) /* the exchange */
                of_reader!REACH, 2;
                seen = owned;
#elif defined(MUTANT_3) /* the reach comes before the exchange */
                exchange_set();
                of_reader!REACH, 2;
                seen = owned;
#else
                of_reader!REACH, 2;
                exchange_set();
                seen = owned;
#endif
#ifndef MUTANT_4 /* the look */
                if
                :: seen -> of_reader!REACH, 1; !owned; goto further
                :: else
                fi;
#endif
                if
                :: length == 2 ->
                        atomic { assert(!shrinking); reading = 1 };
                        atomic { assert(!shrinking); reading = 0 }
                :: else
                fi;
                of_reader!NAMED, 0;
                goto next;
downgrade:
                atomic { empty(of_reader) && !owned -> owned = 1 };
                if
                :: length == 2 ->
#ifdef MUTANT_6 /* the reach and the set stand before the owner goes */
                        atomic { assert(!shrinking); reading = 1 };
                        atomic { empty(of_reader) -> owned = 0 };
                        of_reader!REACH, 2;
                        exchange_set();
#else
                        of_reader!REACH, 2;
                        atomic { assert(!shrinking); reading = 1 };
                        exchange_set();
                        atomic { empty(of_reader) -> owned = 0 };
#endif
                        atomic { assert(!shrinking); reading = 0 };
                        of_reader!NAMED, 0
                :: else ->
                        atomic { empty(of_reader) -> owned = 0 }
                fi;
next:           skip
        od
}

active proctype shrinker()
{
        byte rounds = ROUNDS, end;
        bit found;

        do
        :: rounds == 0 -> break
        :: else ->
                rounds--;
#ifdef MUTANT_5 /* who looks is owner */
                found = named;
                end = reach;
                atomic { empty(of_shrinker) && !owned -> owned = 1 };
#else
                atomic { empty(of_shrinker) && !owned -> owned = 1 };
                found = named;
                end = reach;
#endif
                if
                :: found && end > 1 /* it is refused */
                :: else ->
                        atomic { assert(!reading); shrinking = 1 };
                        of_shrinker!LENGTH, 1;
                        atomic { empty(of_shrinker) -> assert(!reading); shrinking = 0 }
                fi;
                atomic { empty(of_shrinker) -> owned = 0 };
                atomic { empty(of_shrinker) && !owned -> owned = 1 };
                of_shrinker!LENGTH, 2;
                atomic { empty(of_shrinker) -> owned = 0 }
        od
}
