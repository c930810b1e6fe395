# SPDX-License-Identifier: MIT
"""Maps of libammap: shared memory behind one handle, with its lock.

    import ammap

    with ammap.Map(1 << 20, share=ammap.Share.SHARED) as m:
        m.write(0, b"hello")                     # a copy in; no reader sees half of it
        m.read(0, 5)                             # a copy out
        with m.mut_slice(0, 4096) as view:       # a memoryview that holds the lock
            view[0:3] = b"HEL"

See Map, and ammap(7) for the model.
"""
from ._errors import (
    BoundsError,
    BusyError,
    DeadlockError,
    Error,
    FaultError,
    FormatError,
    InvalidError,
    LimitError,
    MisalignedError,
    OwnerDeadError,
    ReadOnlyError,
    SizeError,
    TimeoutError,
    UnsealedError,
    UnsupportedError,
)
from ._library import (
    LANES_MAX,
    RECYCLE_MAX,
    Advice,
    Fork,
    Guard,
    Hold,
    Rights,
    Seal,
    Share,
    Want,
    Why,
    errname,
    strerror,
    trim,
    version,
)
from ._map import Holder, Lane, Map, Stat
from ._slice import MutSlice, Slice, U32View, U64View

__all__ = [name for name in dir() if not name.startswith("_")]
