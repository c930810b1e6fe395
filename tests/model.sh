#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The models of the lock, whole and with each part of the proof taken away: the
# whole ones must verify, every mutant must be found out.
#
#   model.sh            all but the large casts
#   model.sh deep       all
#   model.sh NAME...    only the lines so named: sleep-3w, bias-mutant-4, ...
set -eu
tests=$(cd "$(dirname "$0")" && pwd)
command -v spin >/dev/null || { echo 'spin is not installed'; exit 77; }
compiler=${CC:-cc}
# Not in TMPDIR, where it may not be allowed to run a program.
work=$(mktemp -d "$PWD/model.XXXXXX")
trap 'rm -rf "$work"' EXIT
running=0
wanted=" $* "

# search NAME WANTED MODEL WORDS-FOR-SPIN...: WANTED is errors or none, with what the search is compiled with after it
search()
{
        name=$1 want=${2%%,*} search=${2#*,} model=$3
        shift 3
        test "$search" != "$want" || search=
        mkdir "$work/$name" && cd "$work/$name"
        spin -a "$@" "$tests/$model" >spin.log 2>&1 || { cat spin.log; : >"$work/failed"; return 0; }
        # shellcheck disable=SC2086
        $compiler -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 $search -o pan pan.c
        start=$(date +%s)
        ./pan -m2000000 >pan.log 2>&1 || true
        took=$(($(date +%s) - start))
        found=$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' pan.log)
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
        if grep -q 'errors: 0$' pan.log && ! grep -q -e 'out of memory' -e 'MEMLIM' -e 'max search depth' pan.log; then
                got=none
        elif test -n "$found"; then
                got=errors
        else
                got=unfinished
        fi
        verdict=ok
        test "$got" = "$want" || { verdict=FAIL; : >"$work/failed"; }
        printf '%-4s %-18s %4d s %9s states  %s\n' $verdict "$name" "$took" "$states" "${found:-$got}"
        cd "$work" && rm -r "${work:?}/$name"
}

# The same, if it is wanted, two at a time.
check()
{
        case $wanted in
        '  ' | ' deep ') ;;
        *" $1 "*) ;;
        *) return 0 ;;
        esac
        test $running -lt 2 || { wait -n || true; running=$((running - 1)); }
        search "$@" &
        running=$((running + 1))
}

sleep_2w='-DWRITERS=2 -DREADERS=0 -DWRITER_ROUNDS=2 -DTIMED_W=1'
sleep_1w2r='-DWRITERS=1 -DREADERS=2'
sleep_3w='-DWRITERS=3 -DREADERS=0 -DTIMED_W=1'
sleep_3w_twice="$sleep_3w -DWRITER_ROUNDS=2"
sleep_biased='-DWRITERS=2 -DREADERS=0 -DBIASED'
sleep_pass_w='-DWRITERS=2 -DREADERS=1 -DPASSES=1'
sleep_pass_r='-DWRITERS=1 -DREADERS=2 -DPASSES=1'
sleep_2w1r='-DWRITERS=2 -DREADERS=1 -DTIMED_W=1'

shared_3='-DFIRST=1 -DSECOND=3 -DTHIRD=15'
shared_2_deaths='-DFIRST=1 -DSECOND=8 -DTHIRD=10 -DDEATHS=2'
shared_nested='-DNESTED -DFIRST=2 -DSECOND=1 -DTHIRD=1'
shared_dead='-DFIRST=1 -DSECOND=12 -DTHIRD=13'
shared_downgrades='-DFIRST=16 -DSECOND=3 -DTHIRD=13'
shared_deaths='-DFIRST=1 -DSECOND=9 -DTHIRD=14 -DDEATHS=2'

sleep_mutants()
{
        cast=$1
        shift
        for n in "$@"; do
                # shellcheck disable=SC2086
                check "sleep-mutant-${n%%,*}" "errors,${n#*,}" model-sleep.pml $cast "-DMUTANT_${n%%,*}"
        done
}

check bias none model-bias.pml
check bias-settles none model-bias.pml -DSETTLES=1 -DROUNDS=1
check bias-downgrades none model-bias.pml -DDOWNGRADES=1 -DROUNDS=1
for n in 1 2 3 4 5 6 7 8; do
        check "bias-mutant-$n" errors model-bias.pml "-DMUTANT_$n"
done
for n in 9 10; do
        check "bias-mutant-$n" errors model-bias.pml -DSETTLES=1 -DROUNDS=1 "-DMUTANT_$n"
done
check bias-mutant-12 errors model-bias.pml -DDOWNGRADES=1 -DROUNDS=1 -DMUTANT_12
check bias-mutant-11 errors,-DREVERSE model-bias.pml -DSETTLES=1 -DMUTANT_11

check look none model-look.pml
for n in 1 2 3 4 5; do
        check "look-mutant-$n" errors model-look.pml "-DMUTANT_$n"
done

check reach none model-reach.pml
for n in 1 2 3 4 5 6; do
        check "reach-mutant-$n" errors model-reach.pml "-DMUTANT_$n"
done

# shellcheck disable=SC2086
{
        check shared-3 none model-shared.pml $shared_3
        check shared-2-deaths none model-shared.pml $shared_2_deaths
        check shared-nested none model-shared.pml $shared_nested
        check shared-downgrades none model-shared.pml $shared_downgrades
        for n in 1 2 3 5 6 7 8 9 10 11 12 13 19 21 22; do
                check "shared-mutant-$n" errors,-O0 model-shared.pml $shared_3 "-DMUTANT_$n"
        done
        for n in 4 14 15 16 17 20; do
                check "shared-mutant-$n" errors,-O0 model-shared.pml $shared_dead "-DMUTANT_$n"
        done
        for n in 23 24; do
                check "shared-mutant-$n" errors,-O0 model-shared.pml $shared_downgrades "-DMUTANT_$n"
        done
        check shared-mutant-18 errors,-O0 model-shared.pml $shared_nested -DMUTANT_18
}

# shellcheck disable=SC2086
{
        check sleep-2w none model-sleep.pml $sleep_2w
        check sleep-1w2r none model-sleep.pml $sleep_1w2r
        check sleep-3w none model-sleep.pml $sleep_3w
        check sleep-biased none model-sleep.pml $sleep_biased
        check sleep-pass-r none model-sleep.pml $sleep_pass_r
}
sleep_mutants "$sleep_2w" 1, 2, 3, 4, 5, 6, 15,
sleep_mutants "$sleep_1w2r" 12, 13, 17,
sleep_mutants "$sleep_3w" 7,
sleep_mutants "$sleep_biased" 18,
sleep_mutants "$sleep_pass_w" 20,
sleep_mutants "$sleep_2w1r" 9, 10, 11, 16,
sleep_mutants "$sleep_3w_twice" 14,
case $wanted in
*' deep '* | *' bias-'*)
        check bias-settles-twice none model-bias.pml -DSETTLES=1
        ;;
esac
case $wanted in
*' deep '* | *' shared-'*)
        # shellcheck disable=SC2086
        {
                check shared-all none model-shared.pml
                check shared-deaths none model-shared.pml $shared_deaths
        }
        ;;
esac
case $wanted in
*' deep '* | *' sleep-'*)
        # shellcheck disable=SC2086
        {
                check sleep-pass-w none model-sleep.pml $sleep_pass_w
                check sleep-2w1r none model-sleep.pml $sleep_2w1r
                check sleep-3w-twice none model-sleep.pml $sleep_3w_twice
        }
        sleep_mutants "$sleep_3w_twice" 8,-DREVERSE 19,-DREVERSE
        ;;
esac
wait
test ! -e "$work/failed"
