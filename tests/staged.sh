# SPDX-License-Identifier: MIT
# Read in by the scripts that try the library as it is installed: a folder of their own, $work; stage makes
# $work/stage, as make install DESTDIR does, and $moved, the same tree where the path has a space.  The
# libraries are in $under of the prefix.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${CC:=cc}" "${CFLAGS:=}" "${LDFLAGS:=}" "${MAKE:=make}"
: "${prefix:?}" "${libdir:?}" "${VERSION:?}"
srcdir=$(cd "$srcdir" && pwd) top_builddir=$(cd "$top_builddir" && pwd)
work=$(mktemp -d "$PWD/staged.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS

skip()
{
        echo "SKIP: $*"
        exit 77
}

# needs PROGRAM PACKAGE
needs()
{
        command -v "${1%% *}" >/dev/null || skip "there is no $1 (package $2)"
}

stage()
{
        "$MAKE" -C "$top_builddir" install DESTDIR="$work/stage" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
        case $libdir in
        "$prefix"/*) under=${libdir#"$prefix/"} ;;
        *) skip "the library's folder is not below the prefix" ;;
        esac
        moved="$work/with space/p"
        mkdir -p "$work/with space"
        cp -R "$work/stage$prefix" "$moved"
}

# is_linked KIND PROGRAM: whether it needs the library, shared, or has it, static.
is_linked()
{
        case $1:$(readelf -d "$2" 2>/dev/null | grep -c 'NEEDED.*libammap' || :) in
        shared:1 | static:0) ;;
        *) echo "the $1 client is not $1" >&2; exit 1 ;;
        esac
}
