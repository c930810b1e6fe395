#!/bin/sh
# SPDX-License-Identifier: MIT
# Which branches of lib/ do the tests take?  In coverage/ of the build folder: a build of its own, index.html in html/,
# and a line here for each file.  It fails where fewer are taken than this, of 100:
least=98
# coverage.sh TEST...: these alone.
#
# Comments in lib/ take lines out, with the reason: LCOV_EXCL_BR_LINE and LCOV_EXCL_BR_START to _STOP.
set -eu

top=$(cd "${top_srcdir:-.}" && pwd)
MAKE=${MAKE:-make}
CC=${CC:-gcc}
jobs=$(nproc 2>/dev/null || echo 1)

for tool in lcov genhtml gcov; do
        command -v $tool >/dev/null || { echo "coverage.sh: there is no $tool: it wants gcc, and the package lcov" >&2; exit 1; }
done
case $($CC --version 2>/dev/null) in
*clang*) echo "coverage.sh: it wants gcc, and not $CC" >&2; exit 1 ;;
esac

mkdir -p coverage
cd coverage
log=$PWD/coverage.log
: >"$log"
step()
{
        "$@" >>"$log" 2>&1 || { grep -E '^FAIL:|:[FE]:|[Ee]rror:' "$log" || tail -n 40 "$log"
                echo "coverage.sh: $1 failed: $log" >&2; exit 1; }
}

# Nothing is optimised, and nothing inlined: a branch of the compiler's own, or one that is left over where an argument
# is a constant, is none that a test could take.  The tests' own branches are not counted.  Weak exchanges fail now and
# then, as on other processors.
count='-fprofile-arcs -ftest-coverage -fprofile-update=atomic -fdata-sections -Dalways_inline=unused'
count="$count -include $top/tests/coverage.h"
# shellcheck disable=SC2086 # a compiler may have options
step $CC -O2 -Wall -Wextra -c "$top/tests/coverage.c" -o coverage.o
test -f Makefile || step "$top/configure" --disable-shared CC="$CC" CFLAGS='-O0 -g' \
        LDFLAGS="-Wl,-T,$top/tests/coverage.ld -Wl,--wrap=__gcov_exit" LIBS="$PWD/coverage.o -lgcov"
flags="$(sed -n 's/^LIB_CFLAGS = //p' Makefile) $count"

# Left out is what counts instructions, or does something at each of them, and so holds for optimised code alone.
# So are the two that kill processes at any instruction: gcc counts a part of the branches, and has the others from what
# is missing, so that one never taken would seem to be.  The simulation is built here, to be counted (below).
tests= simulation=
# shellcheck disable=SC2086 # they are words
test $# -gt 0 || set -- $TESTS
for test; do
        case $test in
        */test-costs | */test-fork-points | */test-instructions | */test-stack) ;;
        */torture | */step) ;;
        */sim.sh) simulation=yes ;;
        *) tests="$tests $test" ;;
        esac
done
find . -name '*.gcda' -exec rm -f {} +
# One program has the library's sources as its own.
replay="fuzz_replay_hostile_CFLAGS=-pthread -finstrument-functions $count"
step "$MAKE" -j"$jobs" check TESTS= LIB_CFLAGS="$flags" "$replay"
step "$MAKE" -k -j"$jobs" check TESTS="$tests" LIB_CFLAGS="$flags" "$replay"

# The simulation runs the same sources through races that come seldom, and beside who lies in the header of a map: the
# scenes, and so many runs, always the same.
# Its counts are the library's by line and branch, as flags that make no difference to these are all that it has beside;
# left out is the one file that it has in another form (sim/shadow).
runs=200000 lies=100000
simulate()
{
        SIM_CFLAGS="-O0 $(echo "$count" | sed "s/update=atomic/update=single/;s/-include .*//")" \
                SIM_LD="-T $top/tests/sim/counts.ld" LDFLAGS="-Wl,-T,$top/tests/coverage.ld" LIBS=-lgcov \
                CC=$CC top_srcdir=$top sh "$top/tests/sim.sh" build "$PWD/sim" || return
        sim/sim --exhaustive 1 && sim/sim --runs $runs && sim/sim --lies --runs $lies
}
if test -n "$simulation"; then
        rc=0
        simulate >>"$log" 2>&1 || rc=$?
        case $rc in
        0) ;;
        77) simulation= ;; # not here
        *) grep '^sim: seed' "$log" || tail -n 40 "$log"
                echo "coverage.sh: the simulation failed: $log" >&2; exit 1 ;;
        esac
fi

branches='--rc lcov_branch_coverage=1'
step lcov -q $branches -c -d lib -o all.info
step lcov -q $branches -e all.info "$top/lib/*" -o lib.info
if test -n "$simulation"; then
        step lcov -q $branches -c -d sim/o -o all-sim.info
        step lcov -q $branches -e all-sim.info "$top/lib/*" -o lib-sim.info
        step lcov -q $branches -r lib-sim.info '*/memory/racy.h' -o lib-sim.info
        step lcov -q $branches -a lib.info -a lib-sim.info -o both.info
        mv both.info lib.info
fi
rm -rf html
step genhtml -q --branch-coverage --prefix "$top" --title 'ammap, lib/' -o html lib.info

awk -F '[:,]' -v top="$top/" -v least="$least" '
        /^SF:/ { file = substr($0, 4 + length(top)); found = taken = 0; lines = ""; last = 0 }
        /^BRDA:/ {
                found++
                if ($5 > 0) taken++
                else if ($2 != last) { lines = lines " " $2; last = $2 }
        }
        /^end_of_record/ && found {
                printf "%-28s %4d of %4d %6.1f %% %s\n", file, taken, found, 100 * taken / found, \
                        lines == "" ? "" : "not:" lines
                all += found; all_taken += taken
        }
        END {
                printf "%-28s %4d of %4d %6.1f %%\n", "branches of lib/", all_taken, all, all ? 100 * all_taken / all : 0
                if (!all || 100 * all_taken < least * all) {
                        printf "fewer than %d of 100 branches are taken\n", least
                        exit 1
                }
        }' lib.info || failed=1
# Of a file that no program has run there are no counts at all.
# shellcheck disable=SC2044 # the names are ours
for notes in $(find lib -name '*.gcno'); do
        test -f "${notes%.gcno}.gcda" || { echo "nothing of it has run: ${notes%.gcno}"; failed=1; }
done
echo "each line: $PWD/html/index.html"
test -z "${failed-}"
