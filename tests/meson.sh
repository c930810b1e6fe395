#!/bin/sh
# SPDX-License-Identifier: MIT
# A Meson project finds the library with dependency('ammap'), in a tree whose path has a space, shared
# and static.
set -eu
: "${srcdir:=.}" "${top_builddir:=.}" "${CC:=cc}" "${CFLAGS:=}" "${LDFLAGS:=}" "${MAKE:=make}"
: "${prefix:?}" "${libdir:?}" "${VERSION:?}"
srcdir=$(cd "$srcdir" && pwd) top_builddir=$(cd "$top_builddir" && pwd)
work=$(mktemp -d "$PWD/meson.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS

skip()
{
        echo "SKIP: $*"
        exit 77
}

# Staged, as a packager does it, then moved to a place with a space in its name.
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

: "${PKG_CONFIG:=pkg-config}"
command -v meson >/dev/null || skip "there is no meson (package meson)"
command -v ninja >/dev/null || skip "there is no ninja (package ninja-build)"
command -v "${PKG_CONFIG%% *}" >/dev/null || skip "there is no pkg-config"
stage

mkdir "$work/project"
cp "$srcdir/tests/client.c" "$work/project/"
cat >"$work/project/meson.build" <<'END'
project('client', 'c', default_options: ['c_std=c11'])
ammap = dependency('ammap', version: '>=' + get_option('version'), static: get_option('static'))
executable('client', 'client.c', dependencies: ammap)
END
cat >"$work/project/meson_options.txt" <<'END'
option('version', type: 'string')
option('static', type: 'boolean')
END
# Every folder that ammap.pc names by itself moves, too.
pc=$moved/$under/pkgconfig/ammap.pc
sed "s|=$prefix|=$moved|" "$work/stage$libdir/pkgconfig/ammap.pc" >"$pc"
PKG_CONFIG_LIBDIR=$moved/$under/pkgconfig
LD_LIBRARY_PATH=$moved/$under
export PKG_CONFIG_LIBDIR LD_LIBRARY_PATH

clients=0
for static in false true; do
        case $static in
        false) test -e "$moved/$under/libammap.so" || continue ;;
        true) test -e "$moved/$under/libammap.a" || continue ;;
        esac
        rm -rf "$work/build"
        { CC=$CC CFLAGS=$CFLAGS LDFLAGS=$LDFLAGS meson setup "$work/build" "$work/project" \
                -Dversion="$VERSION" -Dstatic=$static && ninja -C "$work/build"; } >"$work/log" 2>&1 ||
                { cat "$work/log" >&2; exit 1; }
        "$work/build/client" >/dev/null
        needs=$(readelf -d "$work/build/client" 2>/dev/null | grep -c 'NEEDED.*libammap' || :)
        test "$static:$needs" = true:0 || test "$static:$needs" = false:1 ||
                { echo "static: $static, and it needs $needs shared libammap" >&2; exit 1; }
        clients=$((clients + 1))
done
test "$clients" -gt 0 || { echo "no client was tried" >&2; exit 1; }
echo "$clients clients found it with meson, and ran"
