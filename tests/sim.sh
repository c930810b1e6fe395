#!/bin/sh
# SPDX-License-Identifier: MIT
# The library's own code is run step by step, by a scheduler of the project's (sim/scheduler.c).
#
# sim.sh                          the runs that make check has, always the same
# sim.sh ARGUMENT...              runs the program with these (sim/main.c)
# sim.sh build DIRECTORY [LIB]    only makes DIRECTORY/sim, of the sources in LIB; what DIRECTORY/base
#                                 has been made of files that are the same is not compiled again
#
# Flags of coverage.sh's, which counts branches: SIM_CFLAGS, with which the library's sources are compiled beside, and
# SIM_LD, of the linker as it makes one piece of them.
set -eu
: "${top_srcdir:=$(cd "$(dirname "$0")/.." && pwd)}" "${CC:=cc}" "${CPPFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}"
: "${SIM_CFLAGS:=}" "${SIM_LD:=}"

skip()
{
        echo "skipped: $*"
        exit 77
}

case " $CC $LDFLAGS " in
*-fsanitize=*) skip "a sanitizer has calls of the same names" ;;
esac
# clang has no way to hide from the sources that it is asked for ThreadSanitizer.
if echo | $CC -dM -E - 2>/dev/null | grep -q __clang__; then
        skip "$CC is clang: only gcc takes the library as it ships"
fi
test "$(uname -s -m)" = 'Linux x86_64' || skip "the simulated processor is an x86-64"
command -v objcopy >/dev/null || skip "there is no objcopy"

lib=$top_srcdir/lib
if test "${1-}" = build; then
        work=$2 lib=${3-$lib}
else
        # Not in TMPDIR, where it may not be allowed to run a program.
        work=$(mktemp -d "$PWD/sim.XXXXXX")
        trap 'rm -rf "$work"' EXIT
fi

compile="$CC -std=gnu11 -O1 -g -w -D_GNU_SOURCE -fno-pie $CPPFLAGS -I$top_srcdir/include"
record='-fsanitize=thread -U__SANITIZE_THREAD__ -Wno-tsan'
calls=
for name in memcpy memmove memset malloc calloc aligned_alloc posix_memalign free pthread_mutex_init pthread_mutex_destroy \
        pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock pthread_mutex_consistent pthread_once; do
        calls="$calls --redefine-sym $name=__wrap_$name"
done

# Whether the headers are those of the library; then what is the same has the same object.
same_headers()
{
        for header in "$lib"/*.h "$lib"/*/*.h; do
                cmp -s "$header" "$top_srcdir/lib/${header#"$lib"/}" || return 1
        done
}

mkdir -p "$work/o"
# The shadow's header comes first by name: a source would find the one in its own folder before.
same=no
if test -d "$work/base" && same_headers; then same=yes; fi
for source in "$lib"/*.c "$lib"/map/*.c "$lib"/lock/*.c "$lib"/memory/*.c; do
        object=$(basename "$source" .c).o
        if test $same = yes && cmp -s "$source" "$top_srcdir/lib/${source#"$lib"/}"; then
                cp "$work/base/$object" "$work/o/$object"
        else
                echo "$source"
        fi
done >"$work/sources"
# shellcheck disable=SC2016,SC2086
xargs -P 2 -n 4 sh -c 'compile=$0 work=$1; shift; for s; do
        $compile -c -o "$work/o/$(basename "$s" .c).o" "$s" || exit 255; done' \
        "$compile $record $SIM_CFLAGS -I$top_srcdir/tests/sim/shadow -I$lib -include memory/racy.h" "$work" <"$work/sources" 2>"$work/log" ||
        { cat "$work/log" >&2; exit 1; }
# The library's data is one piece, and what it calls is the simulation's.
# shellcheck disable=SC2086
ld -r $SIM_LD -o "$work/all.o" "$work"/o/*.o
# shellcheck disable=SC2086
objcopy $calls --set-section-flags .bss=alloc,load,contents,data --rename-section .bss=simbss \
        --rename-section .data=simdata "$work/all.o" "$work/library.o"
if test -d "$work/base"; then
        own=$work/base/sim
else
        own=$work/simulation
        mkdir -p "$own"
        for source in "$top_srcdir"/tests/sim/*.c; do
                # shellcheck disable=SC2086
                $compile -O2 -I"$top_srcdir/lib" -c -o "$own/$(basename "$source" .c).o" "$source"
        done
        for source in portable posix; do
                # shellcheck disable=SC2086
                $compile -I"$top_srcdir/lib" -c -o "$own/os-$source.o" "$top_srcdir/lib/os/$source.c"
                objcopy --weaken "$own/os-$source.o"
        done
fi
# shellcheck disable=SC2086
$CC -no-pie -pthread $LDFLAGS -o "$work/sim" "$own"/*.o "$work/library.o" \
        -Wl,--defsym=__real_memcpy=memcpy,--defsym=__real_memmove=memmove,--defsym=__real_memset=memset $LIBS
test "${1-}" != build || exit 0
if test $# -gt 0; then
        "$work/sim" "$@"
else
        "$work/sim" --exhaustive 1
        "$work/sim" --runs 30000
        "$work/sim" --lies --runs 3000
fi
