#!/bin/sh
# SPDX-License-Identifier: MIT
# ammap.hpp: compiles as each C++ that it promises, with each compiler here, without a warning; what it promises
# holds (tests/cpp/checks.cc, examples/relay.cc); what it refuses does not compile (tests/cpp/refused.cc).
#
# make check takes the oldest and the newest C++, runs what the first compiler makes, and is content with what the
# others say of it; make check-long (AMMAP_TEST_LONG=1) takes all, and runs it.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}" "${top_builddir:=.}" "${CC:=cc}" "${CXX:=}" "${CFLAGS:=}" "${LDFLAGS:=}" "${LIBS:=}"
LC_ALL=C
export LC_ALL
top_srcdir=$(cd "$top_srcdir" && pwd)
test "${AMMAP_TEST_LONG:-0}" -gt 0 && long=yes || long=no
library=$top_builddir/.libs/libammap.a
test -e "$library" || library=$top_builddir/.libs/libammap.so
test ! -e "$library" || library=$(cd "$top_builddir/.libs" && pwd)/${library##*/}
cases=$top_srcdir/tests/cpp/refused.cc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip()
{
        echo "skipped: $*"
        exit 77
}

fail()
{
        echo "failed: $*" >&2
        : >"$work/failed"
}

warnings='-Wall -Wextra -Wpedantic -Wold-style-cast -Wconversion -Wsign-conversion -Wshadow -Werror'
compile()
{
        # shellcheck disable=SC2086 # flags are words
        $compiler $machine "-std=$standard" $warnings -I"$top_srcdir/include" "$@"
}

# The name of a standard before and after it was one.
standards()
{
        last=
        for standard in c++17 c++20 c++23 c++2b; do
                test "$standard" != c++2b || test "$last" != c++23 || continue
                ! compile -fsyntax-only -x c++ /dev/null 2>/dev/null || { last=$standard; echo "$standard"; }
        done
}

# What the library was compiled for, C++ is, too: the machine and the sanitizers.
machine='' sanitized=no
for word in $CC $CFLAGS; do
        case $word in
        -m32 | -m64 | -mx32) machine="$machine $word" ;;
        -fsanitize=*) machine="$machine $word" sanitized=yes ;;
        esac
done

cat >"$work/probe.cc" <<'PROBE'
#include <ammap.h>
#include <version>
#include <thread>

int main()
{
        ammap_t *map;

        return ammap_new(&map, 1) || ammap_free(map);
}
PROBE

run()
{
        (cd "$work" && LD_LIBRARY_PATH=$(dirname "$library") "$@")
}

# Each compiler once, whatever its name: $CXX, and those with the well-known names.
compilers=
for compiler in "$CXX" g++ clang++; do
        test -n "$compiler" && command -v "${compiler%% *}" >/dev/null || continue
        case " $compilers " in
        *" $compiler "*) ;;
        *) compilers="$compilers $compiler" ;;
        esac
done
test -n "$compilers" || skip "there is no C++ compiler here"

# What a compiler makes of the header: each standard; of the first and the last, the programs run, too.
accepts()
{
        all=$(standards)
        for standard in $all; do
                # To do without exceptions is one thing with all of them.
                variants=with
                test "$standard" != c++17 || variants='with -fno-exceptions'
                runs=no
                case $standard in
                c++17 | "${all##*[!a-z0-9+]}") ;;
                *) test $long = yes || continue ;;
                esac
                case $1:$long:$standard in
                [2-9]:no:*) ;;
                *:c++17 | *:"${all##*[!a-z0-9+]}")
                        program=$work/$1
                        # shellcheck disable=SC2086 # flags are words
                        compile -o "$program" "$work/probe.cc" "$library" $LDFLAGS $LIBS -pthread 2>"$program.why" &&
                                run "$program" && runs=yes
                        test "$runs" = yes || echo "$compiler -std=$standard makes no program that runs with this library"
                        ;;
                esac
                for variant in $variants; do
                        variant=${variant#with}
                        variant=${variant:+$variant -fno-rtti}
                        for source in tests/cpp/checks.cc examples/relay.cc; do
                                if test "$runs" = no || { test $long = no && test -n "$variant"; }; then
                                        # shellcheck disable=SC2086 # flags are words
                                        compile $variant -fsyntax-only "$top_srcdir/$source" ||
                                                fail "$compiler -std=$standard $variant: $source"
                                        echo tried >>"$work/done"
                                        continue
                                fi
                                # shellcheck disable=SC2086 # flags are words
                                compile $variant -o "$program" "$top_srcdir/$source" "$library" $LDFLAGS $LIBS -pthread ||
                                        { fail "$compiler -std=$standard $variant: $source"; continue; }
                                echo tried >>"$work/done"
                                if run "$program" >"$program.output" 2>&1; then
                                        echo ran >>"$work/done"
                                else
                                        cat "$program.output" >&2
                                        fail "$compiler -std=$standard $variant: $source does not end well"
                                fi
                        done
                done
        done
}

# What it refuses: with the last of its standards, which has most of the library's ways into a thread.
refuses()
{
        all=$(standards)
        standard=${all##*[!a-z0-9+]}
        test -n "$standard" || return 0
        compile -fsyntax-only "$cases" || fail "$compiler: $cases, without a case"
        # What all have in common is read once.
        grep '^#include' "$cases" >"$work/head.hh"
        compile -x c++-header -o "$work/head.hh.gch" "$work/head.hh" 2>/dev/null || rm -f "$work/head.hh.gch"
        for name in $(sed -n 's/.*case \([A-Z_]*\):.*/\1/p' "$cases"); do
                reason=$(sed -n "s/.*case $name: \(.*\) \*\/\$/\1/p" "$cases")
                if compile -fsyntax-only -include "$work/head.hh" "-D$name" "$cases" 2>"$work/why"; then
                        fail "$compiler -std=$standard compiles what is to be refused: $name"
                elif grep -q 'is_not_here' "$work/why"; then
                        echo "$compiler -std=$standard has not what $name is about"
                elif grep 'error' "$work/why" | grep -Eq "$reason"; then
                        echo refused >>"$work/done"
                else
                        cat "$work/why" >&2
                        fail "$compiler -std=$standard refuses $name for another reason than: $reason"
                fi
        done
}

# All at once; the mistakes are shown to the first compiler, which $CXX is.
: >"$work/done"
number=0
for compiler in $compilers; do
        # The sanitizers of gcc and of clang do not go together.
        case $sanitized:$CC:$compiler in
        yes:*clang*:*clang++*) ;;
        yes:*clang*:* | yes:*:*clang*) continue ;;
        esac
        number=$((number + 1))
        test $number -gt 1 || refuses &
        accepts $number &
done
wait
count()
{
        grep -c "^$1$" "$work/done" || :
}
tried=$(count tried) ran=$(count ran) refused=$(count refused)

test ! -e "$work/failed" || exit 1
test "$tried" -eq 0 || test "$refused" -gt 0 || { echo "no case in $cases was tried" >&2; exit 1; }
test "$tried" -gt 0 || skip "no compiler here knows C++17: $compilers"
echo "$tried compilations without a warning, $ran programs ran, $refused mistakes were refused"
