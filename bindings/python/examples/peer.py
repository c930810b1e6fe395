#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peer: a map of libammap's and Python's own mmap module are one memory.

Raw maps are for programs that do not use the library: all bytes behind the descriptor are data.  One process,
which does use it, makes one and exports it; another process, which does not, maps the descriptor.
"""
import mmap
import os
import subprocess
import sys

SIZE = 1 << 20
QUESTION, ANSWER = b"what is six times seven?", b"forty-two"
HALF = SIZE // 2  # where the answer is to be


def start_peer(what: str, fd: int) -> None:
    """Run this script as another process that has the descriptor and nothing else."""
    subprocess.run([sys.executable, __file__, what, str(fd)], pass_fds=[fd], check=True, timeout=60)
    os.close(fd)


def expect(found: bytes, wanted: bytes) -> None:
    if found != wanted:
        sys.exit(f"{found[:80]!r} where {wanted[:80]!r} should be")


def answer(fd: int) -> None:
    """The peer that may write: no library here, Python's mmap alone."""
    with mmap.mmap(fd, 0) as view:
        expect(view[:], QUESTION.ljust(SIZE, b"\0"))
        view[HALF : HALF + len(ANSWER)] = ANSWER


def look(fd: int) -> None:
    """The peer that may not, whatever it tries."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as view:
        expect(view[HALF : HALF + len(ANSWER)], ANSWER)
    for again in (False, True):
        try:
            mmap.mmap(os.open(f"/proc/self/fd/{fd}", os.O_RDWR) if again else fd, 0)
        except PermissionError:
            continue
        sys.exit("a descriptor exported to be read was mapped to be written")


def main() -> None:
    import ammap  # the peers are to do without it

    with ammap.Map(SIZE, share=ammap.Share.RAW) as m:
        m.write(0, QUESTION)
        start_peer("--answer", m.export(ammap.Rights.READ | ammap.Rights.WRITE))
        heard = m.read(HALF, len(ANSWER))
        expect(heard, ANSWER)
        start_peer("--look", m.export(ammap.Rights.READ))
    print(f"asked and answered through {SIZE} shared bytes: {heard.decode()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--look"]:
        look(int(sys.argv[2]))
    else:
        main()
