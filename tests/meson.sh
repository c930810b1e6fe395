#!/bin/sh
# SPDX-License-Identifier: MIT
# A Meson project finds the library with dependency('ammap'), in a tree whose path has a space, shared
# and static.
: "${srcdir:=.}"
. "$srcdir/tests/staged.sh"

: "${PKG_CONFIG:=pkg-config}"
needs meson meson
needs ninja ninja-build
needs "$PKG_CONFIG" pkg-config
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
for kind in shared static; do
        case $kind in
        shared) static=false file=libammap.so ;;
        static) static=true file=libammap.a ;;
        esac
        test -e "$moved/$under/$file" || continue
        rm -rf "$work/build"
        { CC=$CC CFLAGS=$CFLAGS LDFLAGS=$LDFLAGS meson setup "$work/build" "$work/project" \
                -Dversion="$VERSION" -Dstatic=$static && ninja -C "$work/build"; } >"$work/log" 2>&1 ||
                { cat "$work/log" >&2; exit 1; }
        "$work/build/client" >/dev/null
        is_linked $kind "$work/build/client"
        clients=$((clients + 1))
done
test "$clients" -gt 0 || { echo "no client was tried" >&2; exit 1; }
echo "$clients clients found it with meson, and ran"
