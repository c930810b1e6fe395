# SPDX-License-Identifier: MIT
"""The map."""
import ctypes
import os
import select
from types import TracebackType
from typing import Any, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

from ._errors import BoundsError, BusyError, TimeoutError
from ._handle import Handle, deadline_of, get_in, offset_of, size_of, sleep, word_of
from ._library import (
    STAT_UNKNOWN,
    WANTS,
    Advice,
    Fork,
    Guard,
    Hold,
    HolderStruct,
    OptionsStruct,
    Rights,
    Seal,
    Share,
    StatStruct,
    Why,
    check,
    lib,
)
from ._slice import MutSlice, RecoverMutSlice, Slice, U32View, U64View, wait_for_others

SelfMap = TypeVar("SelfMap", bound="Map")

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)


class _Buffer(ctypes.Structure):
    """Py_buffer, of any object with the buffer protocol, also one that can only be read."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]
    _get = ctypes.pythonapi.PyObject_GetBuffer
    _get.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
    _release = ctypes.pythonapi.PyBuffer_Release
    _release.argtypes, _release.restype = (ctypes.c_void_p,), None

    @classmethod
    def of(cls, data: Any, writable: bool) -> "_Buffer":
        buffer = cls()
        cls._get(data, ctypes.addressof(buffer), int(writable))  # PyBUF_WRITABLE is 1; it raises
        return buffer

    def __del__(self) -> None:
        if self.obj:
            type(self)._release(ctypes.addressof(self))


class Stat(NamedTuple):
    """What a map is and has; sizes are in bytes.  None: the kernel does not tell."""

    length: int
    capacity: int
    mapped: int
    page: int
    resident: Optional[int]
    huge: Optional[int]
    locked: Optional[int]
    slices: int
    views: int
    lanes: int
    share: Share
    fork: Fork
    guard: Guard
    frozen: bool
    read_only: bool
    nodump: bool
    secret: bool
    noreserve: bool
    recycle: bool
    lane_size: int
    slots: int
    slots_max: int
    why_read_only: Why


class Holder(NamedTuple):
    """Who stands in the way.  pid 0: not known; tid 0: it is the process's, or not known."""

    pid: int
    tid: int
    offset: int
    length: int
    hold: Hold


class Lane(NamedTuple):
    """Where a lane begins, and the bytes of it that the map has."""

    begin: int
    length: int


def _options(**options: Any) -> OptionsStruct:
    struct = OptionsStruct(struct_size=ctypes.sizeof(OptionsStruct))
    for option, value in options.items():
        if option == "name":
            struct.name = None if value is None else os.fsencode(value)
        elif option in ("capacity", "lanes"):
            setattr(struct, option, size_of(value))
        elif option in ("share", "fork", "allow_faults", "read_only", *WANTS):
            setattr(struct, option, value)
        else:
            raise TypeError(f"there is no option {option!r}")
    return struct


def _number(socket: Any) -> int:
    number: int = socket if isinstance(socket, int) else socket.fileno()
    return number


def _ready(socket: Any, event: int, timeout: Optional[float]) -> None:
    """Wait as Python does, which hears Ctrl-C."""
    deadline_of(timeout)
    poll = select.poll()
    poll.register(_number(socket), event)
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("AMMAP_ERR_TIMEOUT: the socket was not ready")


class Map:
    """Zero-filled memory with its length and its lock, for the threads of a process, or for many processes.

        with ammap.Map(1 << 20, share=ammap.Share.SHARED) as m:
            m.write(0, b"hello")
            with m.slice(0, 5) as view:
                print(bytes(view))

    Offsets and lengths are in bytes.  Without a length a range reaches to the end of the map.

    timeout=None waits, timeout=0 does not (BusyError), and a number of seconds ends with TimeoutError.  Whoever
    waits hears Ctrl-C within a tenth of a second.

    close() and the end of a with block free the memory; BusyError if a slice or view of the map is still alive.  A
    map that nobody refers to any more is freed, too.

    Options, of the constructor, and of open, from_fd and recv where that is said in ammap_new_with(3):
        name, capacity, lanes, share, fork, allow_faults, read_only, and huge, populate, lock, guard, nodump, secret,
        noreserve, recycle, each of which is Want.NO, Want.TRY (or True) or Want.MUST.
    """

    _handle: Optional[Handle] = None

    def __init__(self, size: int, **options: Any) -> None:
        """Create a map of `size` bytes, all zero."""
        pointer = ctypes.c_void_p()
        check(lib.ammap_new_with(pointer, size_of(size), _options(**options)))
        self._handle = Handle(pointer)

    @classmethod
    def _of(cls: Type[SelfMap], pointer: ctypes.c_void_p) -> SelfMap:
        self = cls.__new__(cls)
        self._handle = Handle(pointer)
        return self

    @classmethod
    def open(cls: Type[SelfMap], path: Any, size: int = 0, **options: Any) -> SelfMap:
        """Open the map in a file, or make one of `size` bytes.  size=0: the file must have a map."""
        pointer = ctypes.c_void_p()
        check(lib.ammap_open(pointer, os.fsencode(path), size_of(size), _options(**options)), os.fspath(path))
        return cls._of(pointer)

    @classmethod
    def from_fd(cls: Type[SelfMap], fd: int, **options: Any) -> SelfMap:
        """Make a map of a descriptor that a process exported.  It stays yours: the map has a duplicate."""
        pointer = ctypes.c_void_p()
        check(lib.ammap_import(pointer, _number(fd), _options(**options)))
        return cls._of(pointer)

    @classmethod
    def recv(cls: Type[SelfMap], socket: Any, *, timeout: Optional[float] = None, **options: Any) -> SelfMap:
        """Receive a map that send sent, by a UNIX socket or its descriptor."""
        pointer, struct = ctypes.c_void_p(), _options(**options)
        _ready(socket, select.POLLIN, timeout)
        check(lib.ammap_recv(pointer, _number(socket), struct))
        return cls._of(pointer)

    def _open(self) -> Handle:
        """The handle.  The caller keeps it as long as it uses its pointer."""
        handle = self._handle
        if handle is None:
            raise ValueError("the map was closed")
        return handle

    def _range(self, offset: int, length: Optional[int]) -> Tuple[Handle, int, int]:
        handle = self._open()
        if length is None:
            length = max(0, lib.ammap_len(handle.pointer) - offset)
        return handle, offset_of(offset), offset_of(length)

    def _on_range(self, call: Any, offset: int, length: Optional[int], *rest: int) -> None:
        handle, offset, length = self._range(offset, length)
        check(call(handle.pointer, offset, length, *rest))

    # --- Life ---

    def close(self) -> None:
        """Free the map.  BusyError if a slice or a view is alive; nothing if it was closed."""
        handle = self._handle
        if handle is None:
            return
        if handle.is_taken():
            raise BusyError("AMMAP_ERR_BUSY: a slice or a view of the map is alive")
        self._handle = None

    @property
    def closed(self) -> bool:
        """Whether the map was closed."""
        return self._handle is None

    def __enter__(self: SelfMap) -> SelfMap:
        self._open()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            # What is alive keeps the memory; the exception is of more interest.
            self._handle = None

    def __len__(self) -> int:
        length: int = lib.ammap_len(self._open().pointer)
        return length

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<ammap.Map, closed>" if self._handle is None else f"<ammap.Map {self.describe()}>"

    def describe(self) -> str:
        """A line about the map, for people."""
        handle = self._open()
        text = ctypes.create_string_buffer(512)
        check(lib.ammap_describe(handle.pointer, text, len(text)))
        return text.value.decode(errors="replace")

    def resize(self, size: int) -> None:
        """Change the length, 1 byte to the capacity.  Added bytes are zero; slices and views stay valid."""
        handle = self._open()
        check(lib.ammap_resize(handle.pointer, size_of(size)))

    def recover(self) -> None:
        """End the state OwnerDeadError.  The bytes stay as the writer left them."""
        handle = self._open()
        check(lib.ammap_recover(handle.pointer))

    def freeze(self) -> None:
        """Make the map read-only for good, for all processes that have it."""
        handle = self._open()
        wait_for_others(handle, 0, lib.ammap_len(handle.pointer))
        check(lib.ammap_freeze(handle.pointer))

    def clone(self) -> "Map":
        """A copy of the map as it is at one instant."""
        handle, pointer = self._open(), ctypes.c_void_p()
        wait_for_others(handle, 0, lib.ammap_len(handle.pointer), write=False)
        check(lib.ammap_clone(handle.pointer, pointer))
        return Map._of(pointer)

    def stat(self) -> Stat:
        """What the map is and has."""
        handle, struct = self._open(), StatStruct(struct_size=ctypes.sizeof(StatStruct))
        check(lib.ammap_stat(handle.pointer, struct))
        told = {field: getattr(struct, field) for field in Stat._fields}
        for field in ("resident", "huge", "locked"):
            if told[field] == STAT_UNKNOWN:
                told[field] = None
        for field, kind in (("share", Share), ("fork", Fork), ("guard", Guard), ("why_read_only", Why)):
            told[field] = kind(told[field])
        return Stat(**told)

    # --- Copies ---

    def read(self, offset: int = 0, length: Optional[int] = None, *, timeout: Optional[float] = None) -> bytes:
        """Copy bytes out, all of one moment."""
        handle, offset, length = self._range(offset, length)
        pointer = handle.pointer
        if offset + length > lib.ammap_len(pointer):  # before memory is taken for it
            raise BoundsError(f"AMMAP_ERR_BOUNDS: {length} bytes at {offset} are not wholly inside the map")
        data: bytes = _new_bytes(None, length)
        if timeout is not None or lib.ammap_try_read_into(pointer, offset, data, length) != 0:
            get_in(
                handle,
                (offset, length),
                timeout,
                lambda: lib.ammap_try_read_into(pointer, offset, data, length),
                lambda ns: lib.ammap_timed_read_into(pointer, offset, data, length, ns),
            )
        return data

    def readinto(self, offset: int, buffer: Any, *, timeout: Optional[float] = None) -> int:
        """Copy out as many bytes as the buffer has; how many that is."""
        handle, into = self._open(), _Buffer.of(buffer, writable=True)
        pointer, offset = handle.pointer, offset_of(offset)
        get_in(
            handle,
            (offset, into.len),
            timeout,
            lambda: lib.ammap_try_read_into(pointer, offset, into.buf, into.len),
            lambda ns: lib.ammap_timed_read_into(pointer, offset, into.buf, into.len, ns),
        )
        return int(into.len)

    def write(self, offset: int, data: Any, *, timeout: Optional[float] = None) -> int:
        """Copy bytes in; no reader sees half of them.  How many they are."""
        handle, given = self._open(), _Buffer.of(data, writable=False)
        pointer, offset = handle.pointer, offset_of(offset)
        get_in(
            handle,
            (offset, given.len),
            timeout,
            lambda: lib.ammap_try_update_region(pointer, offset, given.buf, given.len),
            lambda ns: lib.ammap_timed_update_region(pointer, offset, given.buf, given.len, ns),
        )
        return int(given.len)

    def fill(self, byte: int, offset: int = 0, length: Optional[int] = None) -> None:
        """Set all bytes of the range to `byte`."""
        handle, offset, length = self._range(offset, length)
        byte = word_of(byte, 1)
        wait_for_others(handle, offset, length)
        check(lib.ammap_fill(handle.pointer, offset, length, byte))

    def copy_from(self, offset: int, source: "Map", source_offset: int, length: int) -> None:
        """Copy bytes of another map, or of this one, to offset.  The ranges may overlap."""
        handle, offset, length = self._range(offset, length)
        other, source_offset, length = source._range(source_offset, length)
        wait_for_others(other, source_offset, length, write=False)
        wait_for_others(handle, offset, length)
        check(lib.ammap_copy(handle.pointer, offset, other.pointer, source_offset, length))

    def _place(self, index: Union[int, slice]) -> Tuple[int, int]:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                raise ValueError("a map has slices of step 1 alone")
            return begin, max(0, end - begin)
        if index < 0:
            index += len(self)
        return index, 1

    def __getitem__(self, index: Any) -> Any:
        """m[i] is a number, m[begin:end] are bytes: a copy, as by read."""
        data = self.read(*self._place(index))
        return data if isinstance(index, slice) else data[0]

    def __setitem__(self, index: Any, value: Any) -> None:
        """m[i] = number, m[begin:end] = as many bytes: a copy, as by write."""
        offset, length = self._place(index)
        if not isinstance(index, slice):
            value = bytes((value,))
        elif memoryview(value).nbytes != length:
            raise ValueError(f"{memoryview(value).nbytes} bytes for a range of {length}")
        self.write(offset, value)

    # --- Slices and views ---

    def slice(self, offset: int = 0, length: Optional[int] = None, *, timeout: Optional[float] = None) -> Slice:
        """Take a slice: bytes that nobody writes until it is released."""
        return Slice(*self._range(offset, length), timeout)

    def mut_slice(self, offset: int = 0, length: Optional[int] = None, *, timeout: Optional[float] = None) -> MutSlice:
        """Take a mut slice: bytes that nobody else reads or writes until it is released."""
        return MutSlice(*self._range(offset, length), timeout)

    def recover_mut_slice(self, offset: int = 0, length: Optional[int] = None) -> MutSlice:
        """Take a mut slice, also of lanes whose writer died; then its `recovered` is True.

        Nobody else reads the lanes before it is released, which ends their state OwnerDeadError.
        """
        return RecoverMutSlice(*self._range(offset, length))

    def u32(self, offset: int, count: int = 1) -> U32View:
        """A view of 32-bit atomics."""
        return U32View(self._open(), offset, count)

    def u64(self, offset: int, count: int = 1) -> U64View:
        """A view of 64-bit atomics."""
        return U64View(self._open(), offset, count)

    def load_u32(self, offset: int) -> int:
        """Load one word, as one, also of a map that can only be read.  No lock is taken."""
        handle, word = self._open(), ctypes.c_uint32()
        check(lib.ammap_load_u32(handle.pointer, offset_of(offset), word))
        return word.value

    def load_u64(self, offset: int) -> int:
        """Load one word of 64 bits."""
        handle, word = self._open(), ctypes.c_uint64()
        check(lib.ammap_load_u64(handle.pointer, offset_of(offset), word))
        return word.value

    def lane(self, offset: int) -> Lane:
        """Which lane holds the byte."""
        handle, begin, length = self._open(), ctypes.c_uint64(), ctypes.c_uint64()
        check(lib.ammap_lane(handle.pointer, offset_of(offset), begin, length))
        return Lane(begin.value, length.value)

    def holders(self, offset: int = 0, length: Optional[int] = None) -> List[Holder]:
        """Who stands in the way of the range, the calling thread too.  The answer is of a moment that is over."""
        handle, offset, length = self._range(offset, length)
        room = 16
        while True:
            found = (HolderStruct * room)()
            count = check(lib.ammap_holders(handle.pointer, offset, length, found, room))
            if count <= room:
                return [Holder(h.pid, h.tid, h.offset, h.length, Hold(h.hold)) for h in found[:count]]
            room = 2 * count

    # --- Waiting ---

    def wait_u32(
        self, offset: int, expected: int, *, timeout: Optional[float] = None, pid: Optional[int] = None
    ) -> None:
        """Sleep while the word is as expected, until it is woken.  Call it in a loop that looks at the word.

        TimeoutError if the time ran out.  With pid, OwnerDeadError if that process has ended.  A waker changes the
        word before it wakes.
        """
        handle, offset, expected = self._open(), offset_of(offset), word_of(expected, 4)
        pointer = handle.pointer
        if pid is None:
            check(sleep(lambda ns: lib.ammap_wait_u32(pointer, offset, expected, ns), deadline_of(timeout)))
        else:
            peer = pid
            check(
                sleep(lambda ns: lib.ammap_wait_u32_peer(pointer, offset, expected, ns, peer), deadline_of(timeout))
            )

    def wake_u32(self, offset: int, count: int = 2**31 - 1) -> int:
        """Wake threads that sleep on the word, of all processes; how many."""
        handle = self._open()
        return check(lib.ammap_wake_u32(handle.pointer, offset_of(offset), word_of(count, 4)))

    def wait_change(
        self, offset: int = 0, length: Optional[int] = None, generation: int = 0, *, timeout: Optional[float] = None
    ) -> int:
        """Wait until the range has been written since `generation`; the generation of now, for the next call.

        generation=0 returns at once.  Copies in, fills and mut slices count, stores through views do not.
        """
        handle, offset, length = self._range(offset, length)
        pointer, word = handle.pointer, ctypes.c_uint64(word_of(generation, 8))
        check(sleep(lambda ns: lib.ammap_wait_change(pointer, offset, length, word, ns), deadline_of(timeout)))
        return word.value

    # --- Sharing ---

    def fileno(self) -> int:
        """The descriptor behind the map.  It belongs to the map."""
        handle = self._open()
        return check(lib.ammap_fd(handle.pointer))

    def export(self, rights: int = Rights.READ | Rights.WRITE) -> int:
        """A descriptor of the map for another process.  Close it with os.close."""
        handle, fd = self._open(), ctypes.c_int(-1)
        check(lib.ammap_export(handle.pointer, word_of(rights, 4), fd))
        return fd.value

    def send(self, socket: Any, *, timeout: Optional[float] = None) -> None:
        """Send the map over a UNIX socket.  The receiver has the rights that this process has."""
        handle = self._open()
        _ready(socket, select.POLLOUT, timeout)
        check(lib.ammap_send(handle.pointer, _number(socket)))

    def seal(self, seals: int) -> None:
        """Add seals to the memory: Seal.GROW and the others."""
        handle = self._open()
        check(lib.ammap_seal(handle.pointer, word_of(seals, 4)))

    def __reduce__(self) -> Any:
        """For multiprocessing: the other process gets the same memory by a descriptor."""
        from multiprocessing.reduction import DupFd  # pylint: disable=import-outside-toplevel

        stat = self.stat()
        options = {"read_only": stat.read_only and not stat.frozen, "share": stat.share}
        if stat.share == Share.RAW:
            options.update(lanes=stat.lanes)
        return _rebuild, (type(self), DupFd(self.fileno()), options)

    # --- Memory ---

    def flush(self, offset: int = 0, length: Optional[int] = None) -> None:
        """Wait until the bytes, and the length of the map, are on the disk."""
        self._on_range(lib.ammap_flush, offset, length)

    def populate(self, offset: int = 0, length: Optional[int] = None) -> None:
        """Make the pages present, so that no access waits for them."""
        self._on_range(lib.ammap_populate, offset, length)

    def discard(self, offset: int = 0, length: Optional[int] = None) -> None:
        """Make the bytes zero, and give the whole pages among them back to the system."""
        handle, offset, length = self._range(offset, length)
        wait_for_others(handle, offset, length)
        check(lib.ammap_discard(handle.pointer, offset, length))

    def advise(self, advice: int, offset: int = 0, length: Optional[int] = None) -> None:
        """Say how the program will use the range: Advice.RANDOM and the others.  No byte changes."""
        self._on_range(lib.ammap_advise, offset, length, advice)

    def mlock(self, offset: int = 0, length: Optional[int] = None) -> None:
        """Lock the pages in memory."""
        self._on_range(lib.ammap_mlock, offset, length)

    def munlock(self, offset: int = 0, length: Optional[int] = None) -> None:
        """Unlock the pages."""
        self._on_range(lib.ammap_munlock, offset, length)

    def is_hugepage_backed(self) -> bool:
        """Whether a huge page is behind any part of the map."""
        handle = self._open()
        return check(lib.ammap_is_hugepage_backed(handle.pointer)) == 1


def _rebuild(cls: Type[SelfMap], duplicate: Any, options: Any) -> SelfMap:
    fd = duplicate.detach()
    try:
        return cls.from_fd(fd, **options)
    finally:
        os.close(fd)
