#!/bin/sh
# SPDX-License-Identifier: MIT
# Compile and run a client of the installed library through pkg-config, as C and C++, shared and static.
set -eu
: "${DESTDIR:=}" "${CC:=cc}" "${CXX:=}" "${CFLAGS:=}" "${CXXFLAGS:=}" "${LDFLAGS:=}"
: "${libdir:?}" "${VERSION:?}"
: "${PKG_CONFIG:=pkg-config}"
# Where programs can be run, which TMPDIR may not be.
work=$(mktemp -d "$PWD/installcheck.XXXXXX")
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
case $($PKG_CONFIG --variable=prefix ammap) in
*' '*) case $($PKG_CONFIG --cflags ammap) in *'\ '*) ;; *) fail "ammap.pc does not quote a prefix with a space" ;; esac ;;
esac
grep -q '^URL: http' "$PKG_CONFIG_LIBDIR/ammap.pc" || fail "ammap.pc names no home page"
test "$($PKG_CONFIG --modversion ammap)" = "$VERSION" || fail "ammap.pc does not say $VERSION"

source=$(dirname "$0")/client.c
shared=$DESTDIR$libdir/libammap.so static=$DESTDIR$libdir/libammap.a
clients=0
client()
{
        compiler=$1 flags=$2 language=$3 standard=$4 linkage=$5 libs=$6
        # Compilers, flags and libraries are lists of words; pkg-config quotes what has spaces for the shell.
        eval "$compiler $flags -x $language -std=$standard -Wall -Wextra -Wpedantic -Werror \
                $($PKG_CONFIG --cflags ammap) -o \"\$work/client\" \"\$source\" -x none $LDFLAGS $libs" ||
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
        each static "$($PKG_CONFIG --static --libs ammap | sed 's|-lammap|"$static"|')"
        if command -v readelf >/dev/null; then
                ! readelf -d "$work/client" | grep -q 'NEEDED.*libammap' || fail "the static client is not static"
        fi
fi
# The pages of the installed tree name the release.
if test -n "${mandir:-}" && test -e "$DESTDIR$mandir/man3/ammap_new.3"; then
        for page in "$DESTDIR$mandir"/man3/ammap_*.3 "$DESTDIR$mandir/man5/ammap-format.5" "$DESTDIR$mandir/man7/ammap.7"; do
                case $(head -n 1 "$page") in '.so '*) continue ;; esac
                grep -qxF ".Os libammap $VERSION" "$page" || fail "$page does not name the release"
        done
        if command -v mandoc >/dev/null; then
                mandoc -Tascii "$DESTDIR$mandir/man3/ammap_new.3" | tail -n 1 | grep -qF "libammap $VERSION" ||
                        fail "the footer of ammap_new.3 does not name the release"
                mandoc -Tlint -W warning "$DESTDIR$mandir/man3/ammap_new.3" || fail "mandoc does not like ammap_new.3"
        fi
fi
test "$clients" -gt 0 || fail "no library in $DESTDIR$libdir"
echo "installcheck: $clients clients compiled and ran"
