#!/bin/sh
# SPDX-License-Identifier: MIT
# bindings/python, with the library of this build: its tests and its examples.
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

case $top_srcdir in /*) ;; *) top_srcdir=$PWD/$top_srcdir ;; esac
case $library in /*) ;; *) library=$PWD/$library ;; esac
LD_LIBRARY_PATH=${library%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PYTHONPATH=$top_srcdir/bindings/python
PYTHONDONTWRITEBYTECODE=1 # the sources may be read-only
export LD_LIBRARY_PATH PYTHONPATH PYTHONDONTWRITEBYTECODE
python3 -c 'import numpy' 2>/dev/null || echo "skipped: the test of arrays: numpy is not here"
python3 "$top_srcdir/bindings/python/examples/peer.py"
python3 -m unittest discover -v -s "$top_srcdir/bindings/python/tests"
