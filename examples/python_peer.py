#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""python_peer: a map of libammap's and Python's own mmap module are one memory.

    python3 python_peer.py [LIBRARY]        LIBRARY: libammap.so.0 if not given

Raw maps are for programs that do not use the library: all bytes behind the
descriptor are data.  One process, which does use it, by ctypes, makes one and
exports it; another process, which does not, maps the descriptor.
"""
import ctypes
import mmap
import os
import subprocess
import sys

AMMAP_RAW = 2
AMMAP_READ, AMMAP_WRITE = 1, 2
SIZE = 1 << 20
QUESTION, ANSWER = b"what is six times seven?", b"forty-two"
HALF = SIZE // 2  # where the answer is to be


class Options(ctypes.Structure):
    """ammap_options_t"""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("capacity", ctypes.c_uint64),
        ("lanes", ctypes.c_uint64),
        ("share", ctypes.c_int),
        ("fork", ctypes.c_int),
        ("allow_faults", ctypes.c_bool),
        ("read_only", ctypes.c_bool),
    ] + [
        (name, ctypes.c_int)
        for name in "huge populate lock guard nodump secret noreserve recycle".split()
    ]


def load(path):
    """The library, with the prototypes of what is called here."""
    lib = ctypes.CDLL(path)
    lib.ammap_strerror.restype = ctypes.c_char_p

    def checked(name, *types):
        def check(result, function, arguments):
            if result < 0:
                sys.exit(f"{name}: {lib.ammap_strerror(result).decode()}")
            return result

        function = getattr(lib, name)
        function.argtypes, function.errcheck = types, check
        return function

    map_p, u64, size_t, out = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.POINTER
    checked("ammap_new_with", out(map_p), u64, out(Options))
    checked("ammap_update_region", map_p, u64, ctypes.c_char_p, size_t)
    checked("ammap_read_into", map_p, u64, ctypes.c_char_p, size_t)
    checked("ammap_export", map_p, ctypes.c_uint, out(ctypes.c_int))
    checked("ammap_free", map_p)
    return lib


def export(lib, handle, rights):
    fd = ctypes.c_int()
    lib.ammap_export(handle, rights, ctypes.byref(fd))
    return fd.value


def start_peer(what, fd):
    """Run this script as another process that has the descriptor and nothing else."""
    subprocess.run([sys.executable, __file__, what, str(fd)], pass_fds=[fd], check=True, timeout=60)
    os.close(fd)


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"{found[:80]!r} where {wanted[:80]!r} should be")


def answer(fd):
    """The peer that may write: no library here, Python's mmap alone."""
    with mmap.mmap(fd, 0) as view:
        expect(view[:], QUESTION.ljust(SIZE, b"\0"))
        view[HALF : HALF + len(ANSWER)] = ANSWER


def look(fd):
    """The peer that may not, whatever it tries."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as view:
        expect(view[HALF : HALF + len(ANSWER)], ANSWER)
    for how in (lambda: fd, lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR)):
        try:
            mmap.mmap(how(), 0)
        except PermissionError:
            continue
        sys.exit("a descriptor exported to be read was mapped to be written")


def main(path):
    lib = load(path)
    handle = ctypes.c_void_p()
    options = Options(struct_size=ctypes.sizeof(Options), share=AMMAP_RAW)
    lib.ammap_new_with(ctypes.byref(handle), SIZE, ctypes.byref(options))
    lib.ammap_update_region(handle, 0, QUESTION, len(QUESTION))

    start_peer("--answer", export(lib, handle, AMMAP_READ | AMMAP_WRITE))
    heard = ctypes.create_string_buffer(len(ANSWER))
    lib.ammap_read_into(handle, HALF, heard, len(ANSWER))
    expect(heard.raw, ANSWER)

    start_peer("--look", export(lib, handle, AMMAP_READ))
    lib.ammap_free(handle)
    print(f"asked and answered through {SIZE} shared bytes: {heard.raw.decode()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--look"]:
        look(int(sys.argv[2]))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "libammap.so.0")
