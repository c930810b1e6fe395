#!/bin/sh
# SPDX-License-Identifier: MIT
# Reads of different threads share no cache line that one of them writes: not those of private
# maps, nor of shared ones, copies or slices.  bench/lines.c records who touches what, in the
# library's own sources; and it must find out who counts reads in one place.
#
# lines.sh build PROGRAM only makes that program.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}" "${CC:=cc}" "${CPPFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}"
# Not in TMPDIR, where it may not be allowed to run a program.
work=$(mktemp -d "$PWD/lines.XXXXXX")
trap 'rm -rf "$work"' EXIT

skip()
{
        echo "skipped: $*"
        exit 77
}

compile="$CC -std=gnu11 -O2 -w -D_GNU_SOURCE -pthread $CPPFLAGS -I$top_srcdir/include -I$top_srcdir/bench"
record='-fsanitize=thread -U__SANITIZE_THREAD__ -Wno-tsan'
wrap='-Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset,--wrap=os_fence_heavy'

# record_source FILE OBJECT: FILE is of a library that lies in $lib.
record_source()
{
        # shellcheck disable=SC2086
        $compile $record -I"$lib" -c -o "$2" "$1"
}

# link PROGRAM
link()
{
        # shellcheck disable=SC2086
        $CC -pthread $LDFLAGS $wrap -o "$1" "$work"/o/*.o $LIBS
}

case " $CC $LDFLAGS " in
*-fsanitize=*) skip "a sanitizer has calls of the same names" ;;
esac
# clang has no way to hide from the sources that it is asked for ThreadSanitizer.
if echo | $CC -dM -E - 2>/dev/null | grep -q __clang__; then
        skip "$CC is clang: only gcc records the library as it ships"
fi
mkdir "$work/o"
lib=$top_srcdir/lib
record_source "$lib/error.c" "$work/o/error.o" 2>"$work/log" || skip "$CC cannot: $(head -1 "$work/log")"

for source in "$top_srcdir"/lib/*.c "$top_srcdir"/lib/*/*.c "$top_srcdir/bench/rivals.c"; do
        case $source in
        */os/portable.c) ;;
        *) record_source "$source" "$work/o/$(basename "$source" .c).o" ;;
        esac
done
# shellcheck disable=SC2086
$compile -I"$lib" -c -o "$work/o/lines.o" "$top_srcdir/bench/lines.c"

if test "${1-}" = build; then
        link "$2"
        exit
fi
link "$work/lines"
"$work/lines" --check

# counted FILE FUNCTION: with each call of that function counted, the check must fail.
counted()
{
        object=$work/o/$(basename "$1" .c).o
        cp "$object" "$work/kept.o"
        sed "/$2(.*[^;]\$/,/^{/s/^{/{ static _Atomic unsigned long calls; calls++;/" "$top_srcdir/lib/$1" >"$lib/$1"
        if cmp -s "$lib/$1" "$top_srcdir/lib/$1"; then
                echo "there is no $2 in $1" >&2
                exit 1
        fi
        record_source "$lib/$1" "$object"
        link "$work/mutant"
        if "$work/mutant" --check >"$work/said"; then
                cat "$work/said"
                echo "$2, in $1, counts its calls in one place, and that has not been noticed" >&2
                exit 1
        fi
        grep FAIL "$work/said" | sed "s/^FAIL/with calls of $2 counted, as is to be/"
        mv "$work/kept.o" "$object"
}

cp -R "$lib" "$work/lib"
chmod -R u+w "$work/lib"
lib=$work/lib
counted copy.c copy_out
counted slice.c ammap_as_slice
counted slice.c ammap_slice_release
