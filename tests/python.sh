#!/bin/sh
# SPDX-License-Identifier: MIT
# A map and Python's mmap module are one memory: examples/python_peer.py.
set -eu
: "${srcdir:=.}"
: "${top_srcdir:=$srcdir}" "${top_builddir:=.}" "${CC:=cc}" "${CFLAGS:=}" "${LDFLAGS:=}"
library=$top_builddir/.libs/libammap.so.0

skip()
{
        echo "skipped: $*"
        exit 77
}

command -v python3 >/dev/null && python3 -c 'import ctypes, mmap' 2>/dev/null || skip "there is no python3 here"
test -e "$library" || skip "the library was built without a shared one"
# The one would have to be loaded before everything else, and the other is not the libc that Python has.
case " $CC $CFLAGS $LDFLAGS " in
*-fsanitize=*) skip "a sanitizer's library cannot be loaded by a program without it" ;;
*musl*) skip "the library is for another libc than Python's" ;;
esac
# What a cross compiler made is not for the Python of this machine: the ELF header's class and machine say so.
python3 - "$library" <<'END' || skip "the library is for another machine than Python"
import sys
kind = lambda path: (lambda head: (head[4:6], head[18:20]))(open(path, "rb").read(20))
sys.exit(kind(sys.argv[1]) != kind(sys.executable))
END

PYTHONDONTWRITEBYTECODE=1 python3 "$top_srcdir/examples/python_peer.py" "$library"
