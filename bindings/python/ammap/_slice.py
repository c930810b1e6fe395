# SPDX-License-Identifier: MIT
"""Slices as memoryviews, and views of atomics."""
import ctypes
import threading
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type, TypeVar

from ._errors import LimitError, OwnerDeadError, ReadOnlyError, UnsupportedError
from ._handle import Block, Handle, Taken, get_in, kept, offset_of, word_of
from ._library import ORDER, SliceStruct, ViewStruct, atomics, check, lib

SelfAtomics = TypeVar("SelfAtomics", bound="_Atomics")

class Slice:
    """Bytes of a map as a memoryview.  While a slice is alive nobody writes its lanes.

        with m.slice(0, 100) as view:
            total = sum(view)

    At the end of the block the slice is released.  Where a buffer of it is still alive then (a NumPy array, a
    slice of the memoryview) the block ends with BufferError, and the slice is held until that buffer is gone:
    the memory of a buffer is never taken away.  If the block ends by an exception, that one goes on.

    A slice belongs to the process: any thread may use and release it.  It is in the way of all threads, the one
    that took it, too.  A call that would wait for the with block that its own thread is in raises DeadlockError.
    A forked child does not hold the slices of its parent.
    """

    _calls: Tuple[Any, Any, Any, Any] = (
        lib.ammap_try_as_slice,
        lib.ammap_timed_as_slice,
        lib.ammap_slice_detach,
        lib.ammap_slice_release,
    )

    def __init__(self, handle: Handle, offset: int, length: int, timeout: Optional[float]) -> None:
        attempt, timed, _, _ = self._calls
        pointer = handle.pointer
        self._take(
            handle,
            (offset, length),
            lambda struct: get_in(
                handle,
                (offset, length),
                timeout,
                lambda: attempt(pointer, offset, length, struct),
                lambda ns: timed(pointer, offset, length, ns, struct),
            ),
        )

    def _take(self, handle: Handle, span: Tuple[int, int], take: Callable[[SliceStruct], int]) -> int:
        _, _, detach, release = self._calls
        struct = SliceStruct()
        taken = Taken.new(struct, handle, release)
        result = check(take(struct))
        check(detach(struct))
        array: Any = (ctypes.c_ubyte * struct.length).from_address(struct.data or 0)
        array.taken = taken
        self._handle, self._span, self._number = handle, span, taken.number
        self._view: Optional[memoryview] = self._make_view(array)
        self._block: Optional[Tuple[List[Block], Block]] = None
        return result

    @staticmethod
    def _make_view(array: Any) -> memoryview:
        return memoryview(array).cast("B").toreadonly()

    @property
    def view(self) -> memoryview:
        """The bytes.  ValueError if the slice was released."""
        if self._view is None:
            raise ValueError("the slice was released")
        return self._view

    @property
    def held(self) -> bool:
        """Whether the lanes are still held, by this object or by a buffer that came of it."""
        return self._number in kept

    def release(self) -> None:
        """Release the slice.  BufferError if a buffer of it is alive: it is held until that is gone."""
        view, self._view = self._view, None
        if view is not None:
            try:
                view.release()
            except BufferError:
                pass
            del view
        if self.held:
            raise BufferError(
                "a buffer of this slice is still alive (a NumPy array, a part of the memoryview): "
                "the slice is held until it is gone"
            )

    def __enter__(self) -> memoryview:
        view = self.view
        if self._block is None:
            blocks = self._handle.blocks.setdefault(threading.get_ident(), [])
            self._block = (blocks, (*self._handle.lanes_of(*self._span), self._number))
            blocks.append(self._block[1])
        return view

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        block, self._block = self._block, None
        if block is not None:
            block[0].remove(block[1])
        try:
            self.release()
        except BufferError:
            if kind is None:
                raise


class MutSlice(Slice):
    """Bytes of a map as a memoryview that can be written.  While it is alive nobody else reads or writes its lanes.

        with m.mut_slice(0, 5) as view:
            view[:] = b"hello"

    What is said of Slice holds for it.  If the process ends while it holds one, the lanes of a shared map are
    in the state OwnerDeadError for the others.
    """

    _calls = (
        lib.ammap_try_as_mut_slice,
        lib.ammap_timed_as_mut_slice,
        lib.ammap_mut_slice_detach,
        lib.ammap_mut_slice_release,
    )

    recovered = False  # whether a writer had died: the bytes are as it left them

    @staticmethod
    def _make_view(array: Any) -> memoryview:
        return memoryview(array).cast("B")


class RecoverMutSlice(MutSlice):
    """A mut slice, also of lanes whose writer died."""

    def __init__(self, handle: Handle, offset: int, length: int) -> None:
        wait_for_others(handle, offset, length)
        call, pointer = lib.ammap_recover_as_mut_slice, handle.pointer
        result = self._take(handle, (offset, length), lambda struct: int(call(pointer, offset, length, struct)))
        self.recovered = result == 1


def wait_for_others(handle: Handle, offset: int, length: int, write: bool = True) -> None:
    """Wait until the lanes are free.

    For calls of the library that wait and have no timed form: they would not hear Ctrl-C while somebody holds a
    slice.  What hinders here the call itself tells, or it does not need it.
    """
    handle.look_for_own(offset, length)
    try:
        (MutSlice if write else Slice)(handle, offset, length, None).release()
    except (OwnerDeadError, UnsupportedError, ReadOnlyError, LimitError):
        pass


class _Atomics:
    """Unsigned words in a map, used as atomics: sequentially consistent, of all threads and processes.

    They take no lock, and slices and copies do not wait for them.  While the view is alive, the map cannot be
    frozen, or made shorter than its end.  Indexing loads and stores: view[0] = view[1].  `with` releases it.
    """

    _size: int
    _word: Any
    _calls: Tuple[Any, Any]

    def __init__(self, handle: Handle, offset: int, count: int) -> None:
        take, release = self._calls
        self._atomics: Dict[str, Any] = atomics(self._size)
        struct = ViewStruct()
        taken = Taken.new(struct, handle, release)
        check(take(handle.pointer, offset_of(offset), offset_of(count), struct))
        self._count, self._address = count, struct.value or 0
        self._taken: Optional[Taken] = taken

    def _at(self, index: int) -> Tuple[Taken, int]:
        """The address, and what keeps it valid: the caller keeps that while it uses the address."""
        taken = self._taken
        if taken is None:
            raise ValueError("the view was released")
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"a view of {self._count} words has no word {index}")
        return taken, self._address + index * self._size

    def load(self, index: int = 0) -> int:
        """The word."""
        taken, address = self._at(index)
        value: int = self._atomics["load"](address, ORDER)
        del taken
        return value

    def store(self, value: int, index: int = 0) -> None:
        """Set the word."""
        taken, address = self._at(index)
        self._atomics["store"](address, word_of(value, self._size), ORDER)
        del taken

    def exchange(self, value: int, index: int = 0) -> int:
        """Set the word; what it was."""
        taken, address = self._at(index)
        old: int = self._atomics["exchange"](address, word_of(value, self._size), ORDER)
        del taken
        return old

    def add(self, value: int, index: int = 0) -> int:
        """Add to the word, which begins again at 0 after its largest value; what it was.  Value may be negative."""
        taken, address = self._at(index)
        old: int = self._atomics["fetch_add"](address, value & ((1 << 8 * self._size) - 1), ORDER)
        del taken
        return old

    def cas(self, expected: int, value: int, index: int = 0) -> bool:
        """Set the word if it is as expected; whether it was."""
        taken, address = self._at(index)
        found = self._word(word_of(expected, self._size))
        done: bool = self._atomics["compare_exchange"](
            address, ctypes.addressof(found), word_of(value, self._size), ORDER, ORDER
        )
        del taken
        return done

    def release(self) -> None:
        """End the view."""
        self._taken = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        return self.load(index)

    def __setitem__(self, index: int, value: int) -> None:
        self.store(value, index)

    def __enter__(self: SelfAtomics) -> SelfAtomics:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.release()


class U32View(_Atomics):
    """Unsigned words of 32 bits in a map, used as atomics."""

    _size, _word = 4, ctypes.c_uint32
    _calls = (lib.ammap_atomic_u32_slice, lib.ammap_u32_view_release)


class U64View(_Atomics):
    """Unsigned words of 64 bits in a map, used as atomics."""

    _size, _word = 8, ctypes.c_uint64
    _calls = (lib.ammap_atomic_u64_slice, lib.ammap_u64_view_release)
