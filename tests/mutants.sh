#!/bin/sh
# SPDX-License-Identifier: MIT
# Each fence, each look and each wake-up of the lock taken away, one at a time: a
# case of test-lock must fail.  Where that shows only in a store buffer, or in a
# window of a few instructions, the mutant of the same kind in the models must be
# found out instead (model.sh); the table says which.  An edit that no longer
# applies is a failure.  mutants.sh NAME... runs only those.
#
# Nobody sleeps for longer than a moment, lest a turn be one of a stopped thread.
# That hides a wake-up that is lost; so here those sleeps are long (patient), but
# for the case "passes", which is about them.
set -eu
tests=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$tests")
compiler=${CC:-cc}
# Not in TMPDIR, where it may not be allowed to run a program.
work=$(mktemp -d "$PWD/mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT
libraries=$(pkg-config --libs check)
flags='-std=gnu11 -g -O1 -w -D_GNU_SOURCE -pthread'
sources=$(cd "$top/lib" && ls ./*.c ./*/*.c | sed 's,^\./,,; s,\.c$,,; /^os.portable$/d')

# NAME|FILE of lib/lock|EDIT (sed)|CASE or -,MODEL'S MUTANT or empty
table()
{
        cat <<'EOF'
write-try-ignores-slots|lock.h|/static inline bool lane_write_try/,/^}/s/LANE_WRITER | (LANE_WRITER - 1)/LANE_WRITER \| LANE_READERS/|words,
leave-no-fence|lock.h|/static inline int lane_write_leave(/,/^}/s/os_fence_light();/;/|-,sleep-mutant-15
leave-no-second-look|lock.h|/static inline int lane_write_leave(/,/^}/s/return lane_wake_written(lane);/;/|-,sleep-mutant-2
leave-no-first-look|lock.h|/static inline int lane_write_leave(/,/^}/s/return lane_write_leave_slow(lane, 0);/goto quick;/;/static inline int lane_write_leave(/,/^}/s/atomic_store_explicit(&lane->word/quick: atomic_store_explicit(\&lane->word/|turns,
read-valid-always|lock.h|/static inline bool lane_read_valid/,/^}/s/return .*/return true; (void)(0/;/static inline bool lane_read_valid/,/^}/s/(void)(0/(void)(sequence);/|words,
read-begin-ignores-writer|lock.h|/static inline bool lane_read_begin/,/^}/s/return .*/return true;/|words,
unname-no-look|lock.c|/^void hold_withdraw/,/^}/s/lane_wake(lane);/;/|bias,sleep-mutant-18
unbias-no-look|lock.h|/static inline int lane_hold_unbias/,/^}/s/return lane_wake(lane);/;/|wakes,sleep-mutant-18
uncount-no-look|lock.h|/static inline int lane_hold_uncount/,/^}/s/return lane_wake(lane);/;/|wakes,sleep-mutant-17
count-beside-a-writer|lock.h|/static inline struct hold .lane_hold_count_try/,/^}/s/(LANE_WRITER | /(/|words,
count-beside-a-turn|lock.h|/static inline struct hold .lane_hold_count_try/,/^}/s/ | LANE_HANDOFF_WRITERS//|words,
count-no-limit|lock.h|/static inline struct hold .lane_hold_count_try/,/^}/s/ | LANE_MANY_READERS//|words,
biased-no-recheck|lock.h|/static inline bool lane_still_biased/,/^}/s/return .*/return true;/|torture,bias-mutant-2
biased-no-name|lock.h|/static inline struct hold .hold_publish/,/^}/s/hold_note(.*/;/|bias,
wake-no-count|lock.c|/^static void wake(/,/^}/s/atomic_fetch_add.*/;/|wakes,sleep-mutant-5
wake-no-call|lock.c|/^static void wake(/,/^}/s/os_wake(.*/;/|wakes,
wake-keeps-note|lock.c|/^static void wake(/,/^}/s/atomic_fetch_and.*/;/|turns,
wake-no-readers|lock.c|/^int lane_wake/,/^}/s/wake(lane, READ, INT32_MAX);/;/|wakes,
wake-no-writers|lock.c|/^int lane_wake/,/^}/s/wake(lane, WRITE, count);/;/|wakes,
wake-not-the-starving|lock.c|/^int lane_wake/,/^}/s/!(word & LANE_READERS) ||.*/!(word \& LANE_READERS))/|turns,sleep-mutant-11
end-turn-never|lock.c|/^static void end_turn/,/^}/s/while ((word & turn)/while (0 \&\& (word \& turn)/|passes,
end-turn-no-wake|lock.c|/^static void end_turn/,/^}/s/lane_wake(lane);/;/|turns,
claim-never|lock.c|/^static void claim_turn/,/^}/s/if (!may_claim(word))/if (1)/|turns,
starving-with-no-turn-sleeps|lock.c|/^static int wait(/,/^}/s/ && !(w->kind == WRITE && w->starving && may_claim(word))//|turns,sleep-mutant-12
wait-no-note|lock.c|/^static int wait(/,/^}/s/atomic_fetch_or(&lane->waiting, (uint64_t)ASLEEP << w->kind);/;/|wakes,
wait-no-fence|lock.c|/^static int wait(/,/^}/s/os_fence_heavy();/;/|-,sleep-mutant-1
wait-event-late|lock.c|/^static int wait(/,/^}/s/os_wait(&lane->event\[w->kind\], event,/os_wait(\&lane->event[w->kind], atomic_load(\&lane->event[w->kind]),/|-,sleep-mutant-6
wait-no-note-for-others|lock.c|/^static int wait(/,/^}/s/atomic_fetch_or(&lane->waiting, (uint64_t)ASLEEP << WRITE);/;/|wakes,sleep-mutant-7
woken-leaves-the-turn|lock.c|/^static int wait(/,/^}/s/if (has_slept && w->kind == WRITE/if (0/|-,sleep-mutant-14
give-up-no-fence|lock.c|/^static int finish(/,/^}/s/os_fence_heavy();/;/|-,sleep-mutant-19
give-up-no-wake|lock.c|/^static int finish(/,/^}/s/lane_wake(lane);/;/|-,sleep-mutant-8
pass-never|lock.c|/^static bool pass_over(/,/^}/s/if (!turn)/if (1)/|passes,
pass-over-the-busy|lock.c|/^static bool pass_over(/,/^}/s/(turn & LANE_HANDOFF_WRITERS) &&/0 \&\&/|passes,
pass-forgets-none|lock.c|/^static bool pass_over(/,/^}/s/forget_starving(.*/;/|passes,
forgotten-counts|lock.c|/^static bool end_starving(/,/^}/s/while (forgotten.*/while (1)/|passes,sleep-mutant-20
last-starving-no-look|lock.c|/^static int finish(/,/^}/s/end_turn(lane, w->kind);/;/|passes,
revoke-takes-slots|lock.c|/^static void revoke_bias/,/^}/s/word & ~LANE_BIAS/word \& ~(LANE_BIAS \| LANE_SLOTS)/|words,bias-mutant-4
write-no-fence|lock.c|/^static int write_slow/,/^}/s/os_fence_heavy();/;/|-,bias-mutant-1
write-fence-once|lock.c|/^static int write_slow/,/^}/s/(word & LANE_SEQUENCE) != fenced/fenced == LANE_WRITER/|-,bias-mutant-5
write-no-scan|lock.c|/^static bool blocked/,/^}/s/return (word & LANE_SLOTS).*/return false;/|bias,bias-mutant-3
bias-over-slots|lock.c|/^void lane_consider_bias/,/^}/s/? 2 \* LANE_WRITER :/? 0 :/|bias,bias-mutant-6
settle-no-fence|lock.c|/^void lane_settle/,/^}/s/os_fence_heavy();/;/|-,bias-mutant-9
settle-no-look|lock.c|/^void lane_settle/,/^}/s/thread_strike_named(.*/;/|bias,bias-mutant-10
settle-keeps-the-sequence|lock.c|/^void lane_settle/,/^}/s/ + 2 \* LANE_WRITER/ + 0/|bias,bias-mutant-11
leave-slow-no-readers-turn|lock.c|/^static NOINLINE int leave_to/,/^}/s/word | LANE_HANDOFF_READERS/word/|turns,
leave-slow-no-writers-turn|lock.c|/^static NOINLINE int leave_to/,/^}/s/word | LANE_HANDOFF_WRITERS/word/|turns,
leave-slow-no-look-at-readers|lock.c|/^static NOINLINE int leave_to/,/^}/s/end_turn(lane, READ);/;/|-,sleep-mutant-9
leave-slow-no-look-at-writers|lock.c|/^static NOINLINE int leave_to/,/^}/s/end_turn(lane, WRITE);/;/|-,sleep-mutant-9
leave-turn-no-wake|lock.c|/^static NOINLINE int leave_to/,/^}/s/lane_wake_written(lane);/;/|turns,
ask-not-heard|lock.c|/^static NOINLINE int leave_to/,/^}/s/lane_ask_no_more(lane);/;/|words,
leave-slow-no-wake|lock.c|/^int lane_write_leave_slow/,/^}/s/return lane_wake_written(lane);/return 0;/|turns,sleep-mutant-4
read-leave-no-look|lock.c|/^void lane_read_leave/,/^}/s/lane_wake(lane);/;/|wakes,sleep-mutant-17
read-no-limit|lock.c|/^static int read_slow/,/^}/s/(word & LANE_READERS) == LANE_READERS/0/|words,
downgrade-in-two-steps|lock.c|/^void lane_hold_downgrade/,/^}/s/lane_write_leave_slow(hold_lane(hold), LANE_READER);/lane_write_leave_slow(hold_lane(hold), 0); atomic_fetch_add(\&hold_lane(hold)->word, LANE_READER);/|-,bias-mutant-12
downgrade-still-writes|lock.c|/^void lane_hold_downgrade/,/^}/s/atomic_store_explicit(&hold->use.*/;/|turns,
abandon-no-wake|lock.c|/^static void die/,/^}/s/lane_wake_written(lane);/;/|ends,
abandon-no-dead|lock.c|/^static void die/,/^}/s/ | LANE_DEAD//|ends,
fork-no-dead|lock.c|/^void lane_forked/,/^}/s/kept |= LANE_DEAD;/;/|ends,
fork-keeps-waiting|lock.c|/^void lane_forked/,/^}/s/atomic_store(&lane->waiting, 0);/;/|ends,
EOF
}

patient='s/until = earlier(until, now + SLEEP_MAX);/;/; s/until = earlier(until, now + TURN_MAX);/;/'

# Long enough for any case; what hangs is caught by it.
patience=15

# sources_of CASE DIRECTORY
sources_of()
{
        mkdir -p "$2"
        cp -R "$top"/lib/. "$2/"
        test "$1" = passes || sed "$patient" "$top/lib/lock/lock.c" >"$2/lock/lock.c"
}

# What a change of a file of lib/lock makes to be compiled anew: the file itself, or all that
# may include the header.
affected()
{
        case $1 in
        *.c) echo "lock/${1%.c}" ;;
        *) for s in $sources test-lock; do case $s in os/* | memory/* | error) ;; *) echo "$s" ;; esac; done ;;
        esac
}

# compile DIRECTORY NAME...: objects of the library's sources there, or of test-lock.
compile()
{
        lib=$1 objects=$1/o
        shift
        mkdir -p "$objects"
        for s in "$@"; do
                case $s in test-lock) from=$tests/$s.c ;; *) from=$lib/$s.c ;; esac
                # shellcheck disable=SC2086
                $compiler $flags -I"$top/include" -I"$lib" -I"$tests" -c -o "$objects/$(echo "$s" | tr / -).o" "$from" ||
                        return
        done
}

# build DIRECTORY PROGRAM CHANGED: with the objects of before for what CHANGED does not touch.
build()
{
        # shellcheck disable=SC2046
        compile "$1" lock/lock $(test "$3" = lock.c || affected "$3") || return
        list=
        for object in "$work"/base/o/*.o; do
                new=$1/o/$(basename "$object")
                if test -e "$new"; then list="$list $new"; else list="$list $object"; fi
        done
        # shellcheck disable=SC2086
        $compiler $flags -o "$2" $list $libraries
}

run_case()
{
        AMMAP_TORTURE_PERCENT=40 CK_RUN_CASE=$2 timeout $patience "$1" >"$3" 2>&1
}

try()
{
        name=$1 file=$2 edit=$3 case=${4%,*} model=${4#*,} dir=$work/$1 caught=no status=0
        start=$(date +%s)
        sources_of "$case" "$dir/lib"
        cp "$dir/lib/lock/$file" "$dir/before"
        sed "$edit" "$dir/before" >"$dir/lib/lock/$file"
        if cmp -s "$dir/before" "$dir/lib/lock/$file"; then
                caught='no: the edit does not apply'
        elif ! build "$dir/lib" "$dir/test" "$file" >"$dir/log" 2>&1; then
                caught='no: it does not compile'
        else
                test "$case" = - || run_case "$dir/test" "$case" "$dir/log" || status=$?
                if test $status -eq 124; then
                        caught="test-lock, $case: it hangs"
                elif test $status -ne 0; then
                        caught="test-lock, $case: $(sed -n 's/.*:[FE]:[a-z]*:\([a-z_]*\):.*/\1/p' "$dir/log" | head -1)"
                elif test -n "$model" && "$tests/model.sh" "$model" 2>/dev/null | grep -q '^ok'; then
                        caught="model.sh, $model"
                fi
        fi
        printf '%-31s %3d s  %s\n' "$name" $(($(date +%s) - start)) "$caught"
        rm -rf "$dir"
}

mkdir "$work/base"
cp -R "$top"/lib/. "$work/base/"
# shellcheck disable=SC2086
compile "$work/base" $sources test-lock

# What is not mutated must pass, or the rest says nothing.
for case in words bias turns ends wakes torture passes; do
        sources_of $case "$work/lib"
        build "$work/lib" "$work/test" lock.c
        run_case "$work/test" $case "$work/log" || { cat "$work/log"; echo "unmutated, $case fails" >&2; exit 1; }
done

table >"$work/table"
jobs=0
while read -r line; do
        name=${line%%|*}
        case " $* " in
        '  ' | *" $name "*) ;;
        *) continue ;;
        esac
        rest=${line#*|} && how=${line##*|}
        file=${rest%%|*} && edit=${rest#*|} && edit=${edit%|*}
        try "$name" "$file" "$edit" "$how" >"$work/$name.out" &
        jobs=$((jobs + 1))
        test $((jobs % 2)) -ne 0 || wait
done <"$work/table"
wait
cat "$work"/*.out
! grep -q ' s  no' "$work"/*.out
