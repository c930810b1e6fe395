#!/bin/sh
# SPDX-License-Identifier: MIT
# Calls go down only.  The floors of lib/, from above: the calls themselves, map, lock, memory,
# os.  A file includes headers of its own floor and of lower ones; no two modules need each
# other, whether by what they include or, where the library was built, by what they call.  (A
# module is a .c and its .h.)
#
# With a folder as argument, that is looked at instead of lib/.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${NM:=nm}"
LC_ALL=C
export LC_ALL
lib=${1:-$srcdir/lib}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Lines of a graph: who needs whom, without .c and .h.
(cd "$lib" && grep -H '^#include "' ./*.[ch] ./*/*.[ch]) |
        sed -n 's|^\./\([^:]*\)\.[ch]:#include "\([^"]*\)\.h".*|\1 \2|p' | sort -u >"$work/includes"
test -s "$work/includes" || { echo "nothing is included in $lib" >&2; exit 1; }

# os.h is what linux, posix and portable implement together, and so is no module of its own.
same='s|os/[a-z-]*|os/os|g'

# A module's floor, 0 for os; the public header and the table of errnos are nobody's.
check_floors()
{
        awk -v graph="$1" '
                function floor(m) { return m !~ /\// ? 4 : m ~ /^map\// ? 3 : m ~ /^lock\// ? 2 : m ~ /^memory\// ? 1 : 0 }
                $2 == "ammap" { next }
                floor($2) > floor($1) { print graph ": " $1 " is below " $2; bad = 1 }
                END { exit bad }' "$work/$1" >&2 || failed=1
}

# tsort tells of each circle, and who is in it.
check_circles()
{
        sed "$same" "$work/$1" | awk '$1 != $2 && $2 != "ammap"' >"$work/edges"
        tsort <"$work/edges" >/dev/null 2>"$work/circles" || :
        test ! -s "$work/circles" || { echo "$1: a circle:" >&2; cat "$work/circles" >&2; failed=1; }
}

check_floors includes
check_circles includes

# It does find an include that goes up, and a circle.
finds()
{
        sh "$0" "$work/bad" >"$work/said" 2>&1 && { echo "$1 has not been found" >&2; exit 1; }
        grep -q "$1" "$work/said" || { echo "wanted: $1" >&2; cat "$work/said" >&2; exit 1; }
}
if test $# -eq 0; then
        mkdir -p "$work/bad/lock" "$work/bad/map"
        echo '#include "map/map.h"' >"$work/bad/lock/lock.c"
        finds "includes: lock/lock is below map/map"
        echo '#include "map/b.h"' >"$work/bad/map/a.h"
        echo '#include "map/a.h"' >"$work/bad/map/b.c"
        rm "$work/bad/lock/lock.c"
        finds "includes: a circle"
fi

# What each object defines, and what it wants of others.
if test $# -eq 0 && ls "$top_builddir"/lib/map/*.o >/dev/null 2>&1; then
        for object in "$top_builddir"/lib/*.o "$top_builddir"/lib/*/*.o; do
                module=$(echo "${object#"$top_builddir"/lib/}" | sed 's|libammap_core_la-||; s|\.o$||')
                test -e "$lib/$module.c" || continue # of a file that is no more
                $NM "$object" | awk -v m="$module" 'NF == 3 && $2 ~ /[A-TV-Z]/ { print "defines", $3, m }
                                                    NF == 2 && $1 == "U" { print "wants", $2, m }'
        done | sort | awk '$1 == "defines" { by[$2] = $3 }
                           $1 == "wants" && $2 in by && by[$2] != $3 { print $3, by[$2] }' | sort -u >"$work/calls"
        test -s "$work/calls" || echo "$NM sees no calls: only what is included has been looked at"
        check_floors calls
        check_circles calls
else
        echo "there are no objects: only what is included has been looked at"
fi

test "$failed" -ne 0 || echo "$(wc -l <"$work/includes") includes, and all of them go down"
exit "$failed"
