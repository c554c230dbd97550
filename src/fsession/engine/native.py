"""Functions of our own in machine code, written in BPF: the engine's helpers and handlers.

Their text is the assembler's, with two more things: ``call c:NAME`` calls a C function (or what
`names` says), ``callx rN`` calls the address in a register.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.jit import native, native_images
from fsession.engine.jit.code import place
from fsession.errors import UnsupportedError
from fsession.isa.asm import assemble

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from fsession.engine.jit.code import Code, Image
    from fsession.isa.insn import Insn

__all__ = ["Function", "architecture", "c_address", "compile_text", "images"]

_FIRST = 0x7000_0000  # numbers of calls that no helper has
_CALL = re.compile(r"call c:(\w+)")
_CALLX = re.compile(r"callx r(\d)")
_LIBC = ctypes.CDLL(None)


@cache
def architecture() -> ModuleType:
    """The module that makes code for this machine. Raises `UnsupportedError`."""
    found = native()
    if found is None:
        raise UnsupportedError("machine code for this architecture")
    return found


@cache
def images() -> ModuleType:
    """The module that makes trampolines for this machine. Raises `UnsupportedError`."""
    found = native_images()
    if found is None:
        raise UnsupportedError("sessions on this architecture")
    return found


@cache
def c_address(name: str) -> int:
    """The address of a function of the C library."""
    found = ctypes.cast(getattr(_LIBC, name), ctypes.c_void_p).value
    assert found is not None
    return found


class Function:
    """Code that lives as long as the object; called from Python with numbers."""

    def __init__(self, image: Image, code: Code) -> None:
        self.image, self.code = image, code
        self.address = image.entry(code)
        kinds = (ctypes.c_uint64,) * 5
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, *kinds)(self.address)

    def __call__(self, *args: int) -> int:
        result: int = self._call(*args, *(0,) * (5 - len(args)))
        return result


def compile_text(text: str, names: Mapping[str, int | bytes]) -> Function:
    """Code of an assembler text. `names` are addresses, or code to stand there, of calls."""
    known: dict[int, int | bytes] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        known[_FIRST + len(known)] = names[name] if name in names else c_address(name)
        return f"call {_FIRST + len(known) - 1}"

    source = _CALLX.sub(r".insn 0x8d, r\1, r0, 0, 0", _CALL.sub(number, text))

    def target(insn: Insn) -> int | bytes:
        return known[insn.imm]

    code = architecture().compile_code(assemble(source), target)
    image = place(code)
    return Function(image, code)
