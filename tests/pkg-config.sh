#!/bin/sh
# SPDX-License-Identifier: MIT
# ammap.pc serves a client of the staged tree and of one whose path has a space, shared and static;
# ammap-uninstalled.pc one of the tree where the library was built.
: "${srcdir:=.}"
. "$srcdir/tests/staged.sh"

: "${PKG_CONFIG:=pkg-config}"
needs "$PKG_CONFIG" pkg-config
stage

installcheck()
{
        CXX='' sh "$srcdir/tests/installcheck.sh"
}

DESTDIR=$work/stage installcheck
# What configure --prefix writes.
pc=$moved/$under/pkgconfig/ammap.pc
if grep -q '^libdir=[$]' "$top_builddir/ammap.pc"; then
        sed "s|^prefix=.*|prefix=$moved|" "$work/stage$libdir/pkgconfig/ammap.pc" >"$pc"
        ! grep -q "[=\"]$prefix/" "$pc" || { echo "ammap.pc names the prefix more than once" >&2; exit 1; }
else
        # Who packages for rpm gives configure every folder: so does ammap.pc.
        sed "s|=$prefix|=$moved|" "$work/stage$libdir/pkgconfig/ammap.pc" >"$pc"
fi
DESTDIR='' libdir=$moved/$under mandir='' installcheck

PKG_CONFIG_PATH=$top_builddir
export PKG_CONFIG_PATH
$PKG_CONFIG --uninstalled ammap || { echo "pkg-config does not see ammap-uninstalled.pc" >&2; exit 1; }
# shellcheck disable=SC2086,SC2046 # flags are words
eval "$CC $CFLAGS $($PKG_CONFIG --cflags ammap) -o \"\$work/client\" \"\$srcdir/tests/client.c\" $LDFLAGS \
        $($PKG_CONFIG --static --libs ammap)"
LD_LIBRARY_PATH=$top_builddir/.libs "$work/client"
echo "clients of the installed, the moved and the uninstalled library ran"
