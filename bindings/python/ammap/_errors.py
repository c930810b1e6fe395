# SPDX-License-Identifier: MIT
"""The codes of the library as exceptions."""
import builtins
import os
from typing import Dict, Optional, Type


class Error(OSError):
    """The library refused.  What the system refuses is a plain OSError of Python's, with its errno."""

    code = 0
    name = "AMMAP_OK"

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.name)


class InvalidError(Error, ValueError):
    """A flag, option or count is not valid, or options contradict each other or the map that is there."""

    code, name = -10001, "AMMAP_ERR_INVALID"


class SizeError(Error, ValueError):
    """The size is 0, or above what the platform or the capacity allows; or raw memory is empty."""

    code, name = -10002, "AMMAP_ERR_SIZE"


class BoundsError(Error, IndexError):
    """The range is not wholly inside the map."""

    code, name = -10003, "AMMAP_ERR_BOUNDS"


class MisalignedError(Error, ValueError):
    """The offset of an atomic is not a multiple of its size."""

    code, name = -10004, "AMMAP_ERR_MISALIGNED"


class BusyError(Error):
    """A slice or view is in the way, or a call with timeout=0 would have to wait."""

    code, name = -10005, "AMMAP_ERR_BUSY"


class TimeoutError(Error, builtins.TimeoutError):  # pylint: disable=redefined-builtin
    """The timeout ran out."""

    code, name = -10006, "AMMAP_ERR_TIMEOUT"


class DeadlockError(Error):
    """A slice whose with block the calling thread is in is in the way."""

    code, name = -10007, "AMMAP_ERR_DEADLOCK"


class OwnerDeadError(Error):
    """A writer ended inside its write.  See Map.recover and Map.recover_mut_slice."""

    code, name = -10008, "AMMAP_ERR_OWNER_DEAD"


class ReadOnlyError(Error):
    """The map is frozen, or this process may only read it."""

    code, name = -10009, "AMMAP_ERR_READ_ONLY"


class UnsupportedError(Error):
    """This kind of map, or this system, cannot do that."""

    code, name = -10010, "AMMAP_ERR_UNSUPPORTED"


class FormatError(Error):
    """The descriptor or file holds no map of the library's, a damaged one, or another one than before."""

    code, name = -10011, "AMMAP_ERR_FORMAT"


class UnsealedError(Error):
    """Others could make the file or memory shorter, and allow_faults is not set."""

    code, name = -10012, "AMMAP_ERR_UNSEALED"


class FaultError(Error):
    """The memory behind the range is gone: its file was made shorter, or its disk failed."""

    code, name = -10013, "AMMAP_ERR_FAULT"


class LimitError(Error):
    """A limit of a shared map is reached: 256 threads lock it, or its places for slices are taken."""

    code, name = -10014, "AMMAP_ERR_LIMIT"


CLASSES: Dict[int, Type[Error]] = {
    error.code: error
    for error in (
        InvalidError,
        SizeError,
        BoundsError,
        MisalignedError,
        BusyError,
        TimeoutError,
        DeadlockError,
        OwnerDeadError,
        ReadOnlyError,
        UnsupportedError,
        FormatError,
        UnsealedError,
        FaultError,
        LimitError,
    )
}


def from_code(code: int, text: str, path: Optional[str] = None) -> OSError:
    """The exception for a negative result, to be raised."""
    if code in CLASSES:
        return CLASSES[code](f"{CLASSES[code].name}: {text}" + (f": {path!r}" if path else ""))
    # OSError picks FileNotFoundError and the like by the number.
    return OSError(-code, os.strerror(-code), path) if path else OSError(-code, os.strerror(-code))
