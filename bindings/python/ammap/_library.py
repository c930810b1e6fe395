# SPDX-License-Identifier: MIT
"""libammap.so.0 by ctypes: structures, constants and prototypes of include/ammap.h.

tests/test_header.py compares all of this with the header.
"""
import ctypes
import enum
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ubyte, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Optional, Tuple

from ._errors import from_code

lib = ctypes.CDLL("libammap.so.0")


class Share(enum.IntEnum):
    """Who shares a map."""

    PRIVATE, SHARED, RAW = range(3)


class Fork(enum.IntEnum):
    """What a forked child has in place of the map."""

    COPY, OMIT, WIPE = range(3)


class Want(enum.IntEnum):
    """Whether a property is wanted: NO; TRY, go on without it; MUST, or the call fails."""

    NO, TRY, MUST = range(3)


class Rights(enum.IntFlag):
    """Of Map.export: READ alone, or with one of the others."""

    READ, WRITE, NO_SEAL = 1, 2, 16


class Seal(enum.IntFlag):
    """What nobody can do any more with the memory behind the descriptor."""

    SHRINK, GROW, WRITE, FUTURE_WRITE, SEAL = 1, 2, 4, 8, 16


class Advice(enum.IntEnum):
    """How the program will use a range."""

    NORMAL, RANDOM, SEQUENTIAL, WILLNEED, COLD, PAGEOUT, HUGEPAGE, NOHUGEPAGE = range(8)


class Guard(enum.IntEnum):
    """How the ends of a map are guarded."""

    NONE, PAGES, MARKERS = range(3)


class Why(enum.IntEnum):
    """Why a process may not write a map."""

    NOT, RIGHTS, FROZEN, OPTION, PID_NAMESPACE = range(5)


class Hold(enum.IntEnum):
    """How something is held."""

    READ, WRITE, DEAD, VIEW = range(4)


LANES_MAX = 4096
STAT_UNKNOWN = 2**64 - 1
RECYCLE_MAX = 64 << 20

WANTS = ("huge", "populate", "lock", "guard", "nodump", "secret", "noreserve", "recycle")


class OptionsStruct(ctypes.Structure):
    """ammap_options_t"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("capacity", c_uint64),
        ("lanes", c_uint64),
        ("share", c_int),
        ("fork", c_int),
        ("allow_faults", c_bool),
        ("read_only", c_bool),
        ("reserved_a", c_ubyte * 2),
        *((want, c_int) for want in WANTS),
        ("reserved_b", c_uint32),
    ]


class StatStruct(ctypes.Structure):
    """ammap_stat_t"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("length", c_uint64),
        ("capacity", c_uint64),
        ("mapped", c_uint64),
        ("page", c_uint64),
        ("resident", c_uint64),
        ("huge", c_uint64),
        ("locked", c_uint64),
        ("slices", c_uint64),
        ("views", c_uint64),
        ("lanes", c_uint64),
        ("share", c_int),
        ("fork", c_int),
        ("guard", c_int),
        ("frozen", c_bool),
        ("read_only", c_bool),
        ("nodump", c_bool),
        ("secret", c_bool),
        ("noreserve", c_bool),
        ("recycle", c_bool),
        ("reserved", c_ubyte * 6),
        ("lane_size", c_uint64),
        ("slots", c_uint64),
        ("slots_max", c_uint64),
        ("why_read_only", c_int),
        ("reserved_b", c_uint32),
    ]


class Span(ctypes.Structure):
    """struct ammap_span, the library's own"""

    _fields_ = [("ammap_hold", c_void_p), ("ammap_count", c_size_t)]


class SliceStruct(ctypes.Structure):
    """ammap_slice_t, ammap_mut_slice_t"""

    _fields_ = [("data", c_void_p), ("length", c_size_t), ("ammap_private", Span)]


class ViewStruct(ctypes.Structure):
    """ammap_u32_view_t, ammap_u64_view_t"""

    _fields_ = [("value", c_void_p), ("count", c_size_t), ("ammap_private", c_size_t * 2)]


class HolderStruct(ctypes.Structure):
    """ammap_holder_t"""

    _fields_ = [("pid", c_int32), ("tid", c_int32), ("offset", c_uint64), ("length", c_uint64), ("hold", c_int)]


_MAP, _OPTIONS, _SLICE, _VIEW = c_void_p, POINTER(OptionsStruct), POINTER(SliceStruct), POINTER(ViewStruct)
_NEW, _RANGE = POINTER(c_void_p), (c_void_p, c_uint64, c_uint64)

# name: (result, parameters)
PROTOTYPES: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "ammap_advise": (c_int, (*_RANGE, c_int)),
    "ammap_atomic_u32_slice": (c_int, (_MAP, c_uint64, c_size_t, _VIEW)),
    "ammap_atomic_u64_slice": (c_int, (_MAP, c_uint64, c_size_t, _VIEW)),
    "ammap_clone": (c_int, (_MAP, _NEW)),
    "ammap_copy": (c_int, (_MAP, c_uint64, _MAP, c_uint64, c_uint64)),
    "ammap_describe": (c_int, (_MAP, c_char_p, c_size_t)),
    "ammap_discard": (c_int, _RANGE),
    "ammap_errname": (c_char_p, (c_int,)),
    "ammap_export": (c_int, (_MAP, c_uint, POINTER(c_int))),
    "ammap_fd": (c_int, (_MAP,)),
    "ammap_fill": (c_int, (*_RANGE, c_ubyte)),
    "ammap_flush": (c_int, _RANGE),
    "ammap_free": (c_int, (_MAP,)),
    "ammap_freeze": (c_int, (_MAP,)),
    "ammap_holders": (c_int, (*_RANGE, POINTER(HolderStruct), c_size_t)),
    "ammap_import": (c_int, (_NEW, c_int, _OPTIONS)),
    "ammap_is_hugepage_backed": (c_int, (_MAP,)),
    "ammap_lane": (c_int, (_MAP, c_uint64, POINTER(c_uint64), POINTER(c_uint64))),
    "ammap_len": (c_uint64, (_MAP,)),
    "ammap_load_u32": (c_int, (_MAP, c_uint64, POINTER(c_uint32))),
    "ammap_load_u64": (c_int, (_MAP, c_uint64, POINTER(c_uint64))),
    "ammap_mlock": (c_int, _RANGE),
    "ammap_munlock": (c_int, _RANGE),
    "ammap_mut_slice_detach": (c_int, (_SLICE,)),
    "ammap_mut_slice_release": (c_int, (_SLICE,)),
    "ammap_new_with": (c_int, (_NEW, c_uint64, _OPTIONS)),
    "ammap_open": (c_int, (_NEW, c_char_p, c_uint64, _OPTIONS)),
    "ammap_populate": (c_int, _RANGE),
    "ammap_recover": (c_int, (_MAP,)),
    "ammap_recover_as_mut_slice": (c_int, (*_RANGE, _SLICE)),
    "ammap_recv": (c_int, (_NEW, c_int, _OPTIONS)),
    "ammap_resize": (c_int, (_MAP, c_uint64)),
    "ammap_seal": (c_int, (_MAP, c_uint)),
    "ammap_send": (c_int, (_MAP, c_int)),
    "ammap_slice_detach": (c_int, (_SLICE,)),
    "ammap_slice_release": (c_int, (_SLICE,)),
    "ammap_stat": (c_int, (_MAP, POINTER(StatStruct))),
    "ammap_strerror": (c_char_p, (c_int,)),
    "ammap_timed_as_mut_slice": (c_int, (*_RANGE, c_int64, _SLICE)),
    "ammap_timed_as_slice": (c_int, (*_RANGE, c_int64, _SLICE)),
    "ammap_timed_read_into": (c_int, (_MAP, c_uint64, c_void_p, c_size_t, c_int64)),
    "ammap_timed_update_region": (c_int, (_MAP, c_uint64, c_void_p, c_size_t, c_int64)),
    "ammap_trim": (c_int, (c_uint64,)),
    "ammap_try_as_mut_slice": (c_int, (*_RANGE, _SLICE)),
    "ammap_try_as_slice": (c_int, (*_RANGE, _SLICE)),
    "ammap_try_read_into": (c_int, (_MAP, c_uint64, c_void_p, c_size_t)),
    "ammap_try_update_region": (c_int, (_MAP, c_uint64, c_void_p, c_size_t)),
    "ammap_u32_view_release": (None, (_VIEW,)),
    "ammap_u64_view_release": (None, (_VIEW,)),
    "ammap_version": (c_char_p, ()),
    "ammap_wait_change": (c_int, (*_RANGE, POINTER(c_uint64), c_int64)),
    "ammap_wait_u32": (c_int, (_MAP, c_uint64, c_uint32, c_int64)),
    "ammap_wait_u32_peer": (c_int, (_MAP, c_uint64, c_uint32, c_int64, c_int32)),
    "ammap_wake_u32": (c_int, (_MAP, c_uint64, c_int)),
}

_TIMED = "the timed form does it in steps, so that Ctrl-C is heard"
_POINTER = "a bare address has no lock, and no lifetime that Python could keep"

# Every other call, and why Python does not have it.
NOT_BOUND: Dict[str, str] = {
    "ammap_as_mut_ptr": _POINTER,
    "ammap_as_ptr": _POINTER,
    "ammap_as_mut_slice": _TIMED,
    "ammap_as_slice": _TIMED,
    "ammap_read_into": _TIMED,
    "ammap_update_region": _TIMED,
    "ammap_atomic_u32": "one atomic is a run of one",
    "ammap_atomic_u64": "one atomic is a run of one",
    "ammap_is_empty": "len(map) == 0",
    "ammap_mut_slice_downgrade": "it wants a thread's slice, and those of Python are detached",
    "ammap_new": "ammap_new_with, with the default options",
}

for _name, (_result, _parameters) in PROTOTYPES.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _parameters

# libatomic has the atomics as functions.
ORDER = 5  # __ATOMIC_SEQ_CST
_atomics: Optional[Dict[int, Dict[str, Any]]] = None


def atomics(size: int) -> Dict[str, Any]:
    """The functions on atomics of so many bytes.  They are short: the interpreter's lock is kept."""
    global _atomics  # pylint: disable=global-statement
    if _atomics is None:
        try:
            library = ctypes.PyDLL("libatomic.so.1")
        except OSError as error:
            raise from_code(-10010, "atomic views need libatomic.so.1 (Debian: libatomic1)") from error
        is_lock_free = getattr(library, "__atomic_is_lock_free")
        is_lock_free.restype, is_lock_free.argtypes = c_bool, (c_size_t, c_void_p)
        _atomics = {}
        for width, word in ((4, c_uint32), (8, c_uint64)):
            if not is_lock_free(width, None):
                continue  # libatomic would lock, and processes have not that lock in common
            forms: Dict[str, Tuple[Any, List[Any]]] = {
                "load": (word, [c_void_p, c_int]),
                "store": (None, [c_void_p, word, c_int]),
                "exchange": (word, [c_void_p, word, c_int]),
                "fetch_add": (word, [c_void_p, word, c_int]),
                "compare_exchange": (c_bool, [c_void_p, c_void_p, word, c_int, c_int]),
            }
            _atomics[width] = {}
            for form, (result, parameters) in forms.items():
                function = getattr(library, f"__atomic_{form}_{width}")
                function.restype, function.argtypes = result, parameters
                _atomics[width][form] = function
    if size not in _atomics:
        raise from_code(-10010, f"this processor has no atomics of {size} bytes")
    return _atomics[size]


def strerror(code: int) -> str:
    """A sentence that explains a code of the library or a negative errno."""
    text: bytes = lib.ammap_strerror(code)
    return text.decode()


def errname(code: int) -> str:
    """The name of a code: "AMMAP_ERR_BOUNDS", "ENOMEM"; "UNKNOWN" for a value that is no code."""
    text: bytes = lib.ammap_errname(code)
    return text.decode()


def version() -> str:
    """The version of the library that runs: "MAJOR.MINOR.PATCH"."""
    text: bytes = lib.ammap_version()
    return text.decode()


def check(result: int, path: Optional[str] = None) -> int:
    """The result, or what it stands for where it is negative."""
    if result < 0:
        raise from_code(result, strerror(result), path)
    return result


def trim(keep: int = 0) -> None:
    """Give memory back that was kept of maps with recycle; so many bytes may stay."""
    check(lib.ammap_trim(keep))
