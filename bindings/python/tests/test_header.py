# SPDX-License-Identifier: MIT
"""What is written in _library.py once more is what the compiler, the header and the symbol map say."""
import ctypes
import os
import re
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict

import ammap
from ammap import _errors, _library

TOP = Path(__file__).resolve().parents[3]
HEADER = TOP / "include" / "ammap.h"

STRUCTS = {
    "ammap_options_t": _library.OptionsStruct,
    "ammap_stat_t": _library.StatStruct,
    "struct ammap_span": _library.Span,
    "ammap_slice_t": _library.SliceStruct,
    "ammap_mut_slice_t": _library.SliceStruct,
    "ammap_u32_view_t": _library.ViewStruct,
    "ammap_u64_view_t": _library.ViewStruct,
    "ammap_holder_t": _library.HolderStruct,
}
ENUMS: Dict[str, Any] = {
    "AMMAP_": _library.Share,
    "AMMAP_FORK_": _library.Fork,
    "AMMAP_SEAL_": _library.Seal,
    "AMMAP_ADVICE_": _library.Advice,
    "AMMAP_GUARD_": _library.Guard,
    "AMMAP_WHY_": _library.Why,
    "AMMAP_HOLD_": _library.Hold,
}
TYPES: Dict[str, Any] = {
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "int32_t": ctypes.c_int32,
    "size_t": ctypes.c_size_t,
    "int": ctypes.c_int,
    "unsigned": ctypes.c_uint,
    "unsigned char": ctypes.c_ubyte,
    "ammap_advice_t": ctypes.c_int,
    "void": None,
    "char *": ctypes.c_char_p,
    "void *": ctypes.c_void_p,
    "ammap_t *": ctypes.c_void_p,
    "ammap_t **": ctypes.POINTER(ctypes.c_void_p),
    "int *": ctypes.POINTER(ctypes.c_int),
    "uint32_t *": ctypes.POINTER(ctypes.c_uint32),
    "uint64_t *": ctypes.POINTER(ctypes.c_uint64),
    **{f"{name} *": ctypes.POINTER(struct) for name, struct in STRUCTS.items()},
}


def constants() -> Dict[str, int]:
    """Of the header, by name, as Python has them."""
    found = {prefix + member.name: int(member) for prefix, kind in ENUMS.items() for member in kind}
    plain: Any = [*_library.Want, *_library.Rights]
    found.update({f"AMMAP_{member.name}": int(member) for member in plain})
    found.update({error.name: error.code for error in _errors.CLASSES.values()})
    found.update(AMMAP_LANES_MAX=ammap.LANES_MAX, AMMAP_RECYCLE_MAX=ammap.RECYCLE_MAX)
    return found


def compiled() -> Dict[str, int]:
    """Sizes, offsets and constants, by the compiler."""
    lines = []
    for name, struct in STRUCTS.items():
        lines.append(f'SHOW("{name}", sizeof({name}))')
        lines += [f'SHOW("{name}:{field[0]}", sizeof((({name} *)0)->{field[0]}))' for field in struct._fields_]
        lines += [f'SHOW("{name}.{field[0]}", offsetof({name}, {field[0]}))' for field in struct._fields_]
    lines += [f'SHOW("{name}", {name})' for name in constants()]
    with tempfile.TemporaryDirectory() as work:
        source, program = Path(work, "show.c"), Path(work, "show")
        source.write_text(
            "#include <ammap.h>\n#include <stdio.h>\n"
            '#define SHOW(name, value) printf("%s\\t%lld\\n", name, (long long)(value));\n'
            "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
        )
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, f"-I{HEADER.parent}", str(source), "-o", str(program)], check=True)
        text = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: int(value) for name, value in (line.split("\t") for line in text.splitlines())}


def declared() -> Dict[str, Any]:
    """Result and parameters of each call in the header."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = {}
    for result, name, parameters in re.findall(
        r"^AMMAP_API (?:AMMAP_MUST_CHECK )?([\w *]+?)\b(ammap_\w+)\((.*?)\);", text, flags=re.S | re.M
    ):
        kinds = []
        for parameter in parameters.split(","):
            kind = re.sub(r"\b(const|enum)\b", "", parameter).strip()
            kind = kind if kind == "void" else re.sub(r"\w+$", "", kind).strip()
            if kind != "void":
                kinds.append(re.sub(r"\s*\*", " *", kind).replace("* *", "**"))
        found[name] = (re.sub(r"\bconst\b", "", result).strip(), kinds)
    return found


class Header(unittest.TestCase):
    """The header and what Python makes of it."""

    def test_layout_and_values(self) -> None:
        try:
            values = compiled()
        except FileNotFoundError as error:
            self.skipTest(f"no C compiler: {error}")
        for name, struct in STRUCTS.items():
            self.assertEqual(values.pop(name), ctypes.sizeof(struct), name)
            for field in struct._fields_:
                key = f"{name}.{field[0]}"
                self.assertEqual(values.pop(key), getattr(struct, field[0]).offset, key)
                self.assertEqual(values.pop(f"{name}:{field[0]}"), ctypes.sizeof(field[1]), key)
        self.assertEqual(values, constants())

    def test_every_constant_of_the_header(self) -> None:
        text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
        named = set(re.findall(r"^#define (AMMAP_\w+)\s+[(\dU]", text, flags=re.M))
        for body in re.findall(r"typedef enum \w+ \{(.*?)\}", text, flags=re.S):
            named |= set(re.findall(r"AMMAP_\w+", body))
        others = {name for name in named if name.startswith(("AMMAP_VERSION", "AMMAP_STAT_")) or name == "AMMAP_OK"}
        self.assertEqual(named - others, set(constants()))

    def test_every_call_is_bound_or_said_not_to_be(self) -> None:
        calls = set(re.findall(r"^\s+(ammap_\w+);", (TOP / "lib" / "ammap.map").read_text(), flags=re.M))
        self.assertEqual(calls, set(_library.PROTOTYPES) | set(_library.NOT_BOUND))
        self.assertFalse(set(_library.PROTOTYPES) & set(_library.NOT_BOUND))

    def test_prototypes(self) -> None:
        header = declared()
        self.assertGreater(len(header), 60)
        for name, (result, parameters) in _library.PROTOTYPES.items():
            wanted_result, wanted = header[name]
            self.assertEqual(result, TYPES[wanted_result], name)
            self.assertEqual(list(parameters), [TYPES[kind] for kind in wanted], name)

    def test_an_exception_for_each_code(self) -> None:
        for code, error in _errors.CLASSES.items():
            self.assertEqual(ammap.errname(code), error.name)
            self.assertNotEqual(ammap.strerror(code), ammap.strerror(1 << 20))
        self.assertRegex(ammap.version(), r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
