# SPDX-License-Identifier: MIT
"""The handle of a map, what is taken of it, and how Python waits.

No order of events may leave a pointer to memory that is gone, so lifetime is by references:

    memoryview, NumPy array ... -> ctypes array -> Taken ... kept[number] -> Handle

A call keeps a reference to the handle while it runs.  A slice is released when the last reference to its Taken is
dropped, by whichever thread: so slices are detached.  A map is freed when it is closed, or forgotten, and nothing is
taken of it.
"""
import ctypes
import itertools
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._errors import BoundsError, BusyError, DeadlockError, SizeError, TimeoutError
from ._library import StatStruct, check, lib

BUSY, TIMED_OUT = BusyError.code, TimeoutError.code

# Python hears a signal between two of its instructions, never inside a call of C, and the library goes on
# sleeping after a signal.  So whoever waits sleeps in steps, and Ctrl-C is heard after one step at most.
STEP = 100_000_000  # ns

U64_MAX = 2**64 - 1

Block = Tuple[int, int, int]  # begin and end of the lanes, number of what is taken


class Handle:
    """An ammap_t that is freed with the last reference."""

    __slots__ = ("pointer", "blocks", "lane_size")

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self.pointer: Optional[ctypes.c_void_p] = pointer
        # Of slices in with blocks, by the thread that is in the block.
        self.blocks: Dict[int, List[Block]] = {}
        self.lane_size = 0

    def __del__(self, free: Any = lib.ammap_free) -> None:
        # The finalizer of another object in a cycle may come back: NULL is an error that is told.
        pointer, self.pointer = self.pointer, None
        free(pointer)

    def is_taken(self) -> bool:
        """Whether a slice or a view is alive.

        After a fork the library no longer counts the slices of the parent, but the buffers are there.
        """
        return any(handle is self for _, handle, _ in list(kept.values()))

    def lanes_of(self, offset: int, length: int) -> Tuple[int, int]:
        """The range, widened to the lanes that it touches."""
        if not length:
            return (0, 0)
        if not self.lane_size:
            stat = StatStruct(struct_size=ctypes.sizeof(StatStruct))
            check(lib.ammap_stat(self.pointer, stat))
            self.lane_size = stat.lane_size
        size = self.lane_size
        return (offset // size * size, -(-(offset + length) // size) * size)

    def look_for_own(self, offset: int, length: int) -> None:
        """Raise DeadlockError where the calling thread would wait for its own with block."""
        blocks = self.blocks.get(threading.get_ident())
        if blocks:
            begin, end = self.lanes_of(offset, length)
            if any(first < end and begin < last and number in kept for first, last, number in blocks):
                raise DeadlockError(
                    "AMMAP_ERR_DEADLOCK: the calling thread is in the with block of a slice of these lanes"
                )


# What is taken: the structure, the handle, and what releases it.
kept: Dict[int, Tuple[ctypes.Structure, Handle, Any]] = {}
_numbers = itertools.count(1)


# Of what it finds in a cycle, the garbage collector runs all finalizers in any order, also while another of them
# could still use the memoryview.  What it does not track goes last, by reference count.
_untrack = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes, _untrack.restype = (ctypes.py_object,), None


class Taken(int):
    """The number of a slice or a view in `kept`, which is released with the last reference."""

    __slots__ = ()

    @classmethod
    def new(cls, structure: ctypes.Structure, handle: Handle, release: Any) -> "Taken":
        """Made before the slice is taken: an exception at any moment then releases it."""
        self = cls(next(_numbers))
        _untrack(self)
        kept[self.number] = (structure, handle, release)
        return self

    @property
    def number(self) -> int:
        return int(self)

    def __del__(self, entries: Dict[int, Tuple[ctypes.Structure, Handle, Any]] = kept) -> None:
        entry = entries.pop(int(self), None)
        if entry:
            entry[2](entry[0])


def offset_of(value: int) -> int:
    """An offset or a length.  ctypes would cut what 64 bits have no room for."""
    if not 0 <= value <= U64_MAX:
        raise BoundsError(f"AMMAP_ERR_BOUNDS: {value} is outside of every map")
    return value


def size_of(value: int) -> int:
    """The size of a map."""
    if not 0 <= value <= U64_MAX:
        raise SizeError(f"AMMAP_ERR_SIZE: {value} is not the size of a map")
    return value


def word_of(value: int, size: int) -> int:
    """An unsigned word of so many bytes."""
    if not 0 <= value < 1 << 8 * size:
        raise OverflowError(f"{value} is no unsigned number of {8 * size} bits")
    return value


def deadline_of(timeout: Optional[float]) -> Optional[int]:
    """When a wait is over, on the monotonic clock in nanoseconds; None: never."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"{timeout} is no timeout: None waits, 0 tries, more is in seconds")
    if timeout >= 1e9:
        return None  # thirty years
    return time.monotonic_ns() + int(timeout * 1e9)


def sleep(call: Callable[[int], Any], deadline: Optional[int]) -> int:
    """The call's result; it is given the nanoseconds that it may take, and called until they are over."""
    while True:
        left = STEP if deadline is None else max(0, deadline - time.monotonic_ns())
        result: int = call(min(left, STEP))
        if result != TIMED_OUT or left < STEP:
            return result


def get_in(
    handle: Handle,
    span: Tuple[int, int],
    timeout: Optional[float],
    attempt: Callable[[], Any],
    wait: Callable[[int], Any],
) -> int:
    """The result of a call that takes the lock of the lanes of `span`, offset and length."""
    deadline = deadline_of(timeout)
    result: int = attempt()
    if result == BUSY:
        handle.look_for_own(*span)
        if timeout != 0:
            result = sleep(wait, deadline)
    return check(result)
