#!/bin/sh
# SPDX-License-Identifier: MIT
# Compile and run a client of the installed library through pkg-config, as C and C++, shared and static.
set -eu
: "${DESTDIR:=}" "${CC:=cc}" "${CXX:=}" "${CFLAGS:=}" "${CXXFLAGS:=}" "${LDFLAGS:=}"
: "${libdir:?}" "${VERSION:?}"
: "${PKG_CONFIG:=pkg-config}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail()
{
        echo "installcheck: $*" >&2
        exit 1
}

# The tree under test and no other, also where it is /usr or lies under DESTDIR.
PKG_CONFIG_LIBDIR=$DESTDIR$libdir/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$DESTDIR
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS
unset PKG_CONFIG_PATH
command -v "${PKG_CONFIG%% *}" >/dev/null || fail "install the package pkg-config (pkgconf)"
test "$($PKG_CONFIG --modversion ammap)" = "$VERSION" || fail "ammap.pc does not say $VERSION"

cat >"$work/client.c" <<'END'
#include <ammap.h>
#include <string.h>

int main(void)
{
        ammap_t *map;
        char text[6] = "";
        ammap_slice_t slice;
        ammap_u64_view_t view;

        if (strcmp(ammap_version(), AMMAP_VERSION) != 0 || ammap_new(&map, 4096) != AMMAP_OK)
                return 1;
        if (ammap_update_region(map, 8, "hello", 5) != AMMAP_OK || ammap_read_into(map, 8, text, 5) != AMMAP_OK)
                return 2;
        if (ammap_as_slice(map, 8, 5, &slice) != AMMAP_OK || memcmp(slice.data, text, 5) != 0)
                return 3;
        if (ammap_free(map) != AMMAP_ERR_BUSY)
                return 4;
        ammap_slice_release(&slice);
        /* std::atomic and _Atomic have the operators in common. */
        if (ammap_atomic_u64(map, 0, &view) != AMMAP_OK || ++*view.value != 1)
                return 5;
        ammap_u64_view_release(&view);
        return ammap_free(map) == AMMAP_OK ? 0 : 6;
}
END

shared=$DESTDIR$libdir/libammap.so static=$DESTDIR$libdir/libammap.a
clients=0
client()
{
        compiler=$1 flags=$2 language=$3 standard=$4 linkage=$5 libs=$6
        # Compilers, flags and libraries are lists of words.
        $compiler $flags -x "$language" "-std=$standard" -Wall -Wextra -Wpedantic -Werror \
                $($PKG_CONFIG --cflags ammap) -o "$work/client" "$work/client.c" -x none $LDFLAGS $libs ||
                fail "$compiler -std=$standard, $linkage: does not compile"
        LD_LIBRARY_PATH=$DESTDIR$libdir "$work/client" || fail "$compiler -std=$standard, $linkage: client returned $?"
        clients=$((clients + 1))
}

each()
{
        for standard in c11 c17; do
                client "$CC" "$CFLAGS" c $standard "$1" "$2"
        done
        if test -n "$CXX"; then
                for standard in c++11 c++20; do
                        client "$CXX" "$CXXFLAGS" c++ $standard "$1" "$2"
                done
        else
                echo "installcheck: no C++ compiler: C alone is tried"
        fi
}

if test -e "$shared"; then
        each shared "$($PKG_CONFIG --libs ammap)"
        # What the last client needs at run time is the name with the ABI in it.
        if command -v readelf >/dev/null; then
                readelf -d "$work/client" | grep -q 'NEEDED.*libammap\.so\.0' || fail "soname is not libammap.so.0"
        fi
fi
if test -e "$static"; then
        # -lammap would take the shared library where there are both.
        each static "$($PKG_CONFIG --static --libs ammap | sed "s|-lammap|$static|")"
        if command -v readelf >/dev/null; then
                ! readelf -d "$work/client" | grep -q 'NEEDED.*libammap' || fail "the static client is not static"
        fi
fi
test "$clients" -gt 0 || fail "no library in $DESTDIR$libdir"
echo "installcheck: $clients clients compiled and ran"
