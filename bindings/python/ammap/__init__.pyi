# SPDX-License-Identifier: MIT
"""Types of what a program uses; the descriptions stand in the code."""
import builtins
import os
from types import TracebackType
from typing import Any, List, Optional, Protocol, Type, TypeVar, Union, overload

from ._errors import (
    BoundsError as BoundsError,
    BusyError as BusyError,
    DeadlockError as DeadlockError,
    Error as Error,
    FaultError as FaultError,
    FormatError as FormatError,
    InvalidError as InvalidError,
    LimitError as LimitError,
    MisalignedError as MisalignedError,
    OwnerDeadError as OwnerDeadError,
    ReadOnlyError as ReadOnlyError,
    SizeError as SizeError,
    TimeoutError as TimeoutError,
    UnsealedError as UnsealedError,
    UnsupportedError as UnsupportedError,
)
from ._library import (
    LANES_MAX as LANES_MAX,
    RECYCLE_MAX as RECYCLE_MAX,
    Advice as Advice,
    Fork as Fork,
    Guard as Guard,
    Hold as Hold,
    Rights as Rights,
    Seal as Seal,
    Share as Share,
    Want as Want,
    Why as Why,
    errname as errname,
    strerror as strerror,
    trim as trim,
    version as version,
)
from ._map import (
    Holder as Holder,
    Lane as Lane,
    Stat as Stat,
)

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Descriptor = Union[int, _HasFileno]
_Path = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
# What has the buffer protocol: before Python 3.12 that cannot be said.
_Buffer = Any
_SelfMap = TypeVar("_SelfMap", bound="Map")
_SelfView = TypeVar("_SelfView", bound="_Atomics")

class Slice:
    @property
    def view(self) -> memoryview: ...
    @property
    def held(self) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> memoryview: ...
    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...

class MutSlice(Slice):
    recovered: bool

class _Atomics:
    def load(self, index: int = ...) -> int: ...
    def store(self, value: int, index: int = ...) -> None: ...
    def exchange(self, value: int, index: int = ...) -> int: ...
    def add(self, value: int, index: int = ...) -> int: ...
    def cas(self, expected: int, value: int, index: int = ...) -> bool: ...
    def release(self) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> int: ...
    def __setitem__(self, index: int, value: int) -> None: ...
    def __enter__(self: _SelfView) -> _SelfView: ...
    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...

class U32View(_Atomics): ...
class U64View(_Atomics): ...

class Map:
    def __init__(
        self,
        size: int,
        *,
        name: Optional[str] = ...,
        capacity: int = ...,
        lanes: int = ...,
        share: int = ...,
        fork: int = ...,
        allow_faults: bool = ...,
        huge: int = ...,
        populate: int = ...,
        lock: int = ...,
        guard: int = ...,
        nodump: int = ...,
        secret: int = ...,
        noreserve: int = ...,
        recycle: int = ...,
    ) -> None: ...
    @classmethod
    def open(
        cls: Type[_SelfMap],
        path: _Path,
        size: int = ...,
        *,
        name: Optional[str] = ...,
        capacity: int = ...,
        lanes: int = ...,
        share: int = ...,
        fork: int = ...,
        allow_faults: bool = ...,
        read_only: bool = ...,
        huge: int = ...,
        populate: int = ...,
        lock: int = ...,
        guard: int = ...,
        nodump: int = ...,
        secret: int = ...,
        noreserve: int = ...,
        recycle: int = ...,
    ) -> _SelfMap: ...
    @classmethod
    def from_fd(
        cls: Type[_SelfMap],
        fd: _Descriptor,
        *,
        name: Optional[str] = ...,
        capacity: int = ...,
        lanes: int = ...,
        share: int = ...,
        fork: int = ...,
        allow_faults: bool = ...,
        read_only: bool = ...,
        huge: int = ...,
        populate: int = ...,
        lock: int = ...,
        guard: int = ...,
        nodump: int = ...,
        secret: int = ...,
        noreserve: int = ...,
        recycle: int = ...,
    ) -> _SelfMap: ...
    @classmethod
    def recv(
        cls: Type[_SelfMap],
        socket: _Descriptor,
        *,
        timeout: Optional[float] = ...,
        name: Optional[str] = ...,
        capacity: int = ...,
        lanes: int = ...,
        share: int = ...,
        fork: int = ...,
        allow_faults: bool = ...,
        read_only: bool = ...,
        huge: int = ...,
        populate: int = ...,
        lock: int = ...,
        guard: int = ...,
        nodump: int = ...,
        secret: int = ...,
        noreserve: int = ...,
        recycle: int = ...,
    ) -> _SelfMap: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def __enter__(self: _SelfMap) -> _SelfMap: ...
    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __reduce__(self) -> Any: ...
    def describe(self) -> str: ...
    def resize(self, size: int) -> None: ...
    def recover(self) -> None: ...
    def freeze(self) -> None: ...
    def clone(self) -> Map: ...
    def stat(self) -> Stat: ...
    def read(
        self, offset: int = ..., length: Optional[int] = ..., *, timeout: Optional[float] = ...
    ) -> bytes: ...
    def readinto(self, offset: int, buffer: _Buffer, *, timeout: Optional[float] = ...) -> int: ...
    def write(self, offset: int, data: _Buffer, *, timeout: Optional[float] = ...) -> int: ...
    def fill(self, byte: int, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def copy_from(self, offset: int, source: Map, source_offset: int, length: int) -> None: ...
    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: builtins.slice) -> bytes: ...
    @overload
    def __setitem__(self, index: int, value: int) -> None: ...
    @overload
    def __setitem__(self, index: builtins.slice, value: _Buffer) -> None: ...
    def slice(
        self, offset: int = ..., length: Optional[int] = ..., *, timeout: Optional[float] = ...
    ) -> Slice: ...
    def mut_slice(
        self, offset: int = ..., length: Optional[int] = ..., *, timeout: Optional[float] = ...
    ) -> MutSlice: ...
    def recover_mut_slice(self, offset: int = ..., length: Optional[int] = ...) -> MutSlice: ...
    def u32(self, offset: int, count: int = ...) -> U32View: ...
    def u64(self, offset: int, count: int = ...) -> U64View: ...
    def load_u32(self, offset: int) -> int: ...
    def load_u64(self, offset: int) -> int: ...
    def lane(self, offset: int) -> Lane: ...
    def holders(self, offset: int = ..., length: Optional[int] = ...) -> List[Holder]: ...
    def wait_u32(
        self, offset: int, expected: int, *, timeout: Optional[float] = ..., pid: Optional[int] = ...
    ) -> None: ...
    def wake_u32(self, offset: int, count: int = ...) -> int: ...
    def wait_change(
        self,
        offset: int = ...,
        length: Optional[int] = ...,
        generation: int = ...,
        *,
        timeout: Optional[float] = ...,
    ) -> int: ...
    def fileno(self) -> int: ...
    def export(self, rights: int = ...) -> int: ...
    def send(self, socket: _Descriptor, *, timeout: Optional[float] = ...) -> None: ...
    def seal(self, seals: int) -> None: ...
    def flush(self, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def populate(self, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def discard(self, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def advise(self, advice: int, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def mlock(self, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def munlock(self, offset: int = ..., length: Optional[int] = ...) -> None: ...
    def is_hugepage_backed(self) -> bool: ...
