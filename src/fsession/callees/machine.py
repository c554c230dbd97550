"""Machine code to the calls and jumps in it that name their target.

Pure: bytes in, branches out. One function for each architecture; what the code jumps to inside of
itself is left out.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from fsession.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Branch", "Line", "branches", "disassemble", "entry_skip", "stub_pointer"]


class Branch(NamedTuple):
    """An instruction at `at` that goes to `target`; a jump does not come back."""

    at: int
    target: int
    is_call: bool


class Line(NamedTuple):
    """An instruction as a person reads it; `target` is where it goes, 0 if it says no place."""

    at: int
    code: bytes
    text: str
    target: int


ENTRY_BYTES = 12
"""At a function's entry, where tracing patches calls in: behind a landing pad of 4 bytes."""


def branches(code: bytes, address: int, machine: str) -> list[Branch]:
    """Direct calls and jumps of the function `code`, which lies at `address`, to other places.

    Those at its entry are calls of tracing that others have patched in, and are left out.
    """
    end = address + len(code)
    return [
        branch
        for branch in _reader(machine)(code, address)
        if not address <= branch.target < end and branch.at >= address + _first(code, machine)
    ]


def entry_skip(machine: str) -> int:
    """How far behind a function's start a direct call of it may go: over the landing pad."""
    return {"x86_64": 4, "aarch64": 4}.get(machine, 0)


def stub_pointer(code: bytes, address: int, machine: str) -> int | None:
    """Where the address is that a linker's stub, an entry of ``.plt``, jumps to."""
    return _STUBS[machine](code, address) if machine in _STUBS else None


def _x86_64_stub(code: bytes, address: int) -> int | None:
    """``jmp *DISTANCE(%rip)``, maybe behind endbr64, maybe with the prefix bnd."""
    at = 4 if code.startswith(_ENDBR64) else 0
    at += code[at : at + 1] == b"\xf2"
    if code[at : at + 2] != b"\xff\x25":
        return None
    distance: int = struct.unpack_from("<i", code, at + 2)[0] if len(code) >= at + 6 else 0
    return address + at + 6 + distance


def _aarch64_stub(code: bytes, address: int) -> int | None:
    """``adrp x16, PAGE``, ``ldr x17, [x16, OFFSET]``, maybe behind bti c."""
    at = 4 if code.startswith(_BTI_C) else 0
    page: int
    load: int
    page, load = struct.unpack_from("<II", code, at) if len(code) >= at + 8 else (0, 0)
    if page & 0x9F00_001F != 0x9000_0010 or load & 0xFFC0_03FF != 0xF940_0211:
        return None
    distance = (page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3
    distance = (distance ^ 0x10_0000) - 0x10_0000
    return (address + at & -4096) + (distance << 12) + (load >> 10 & 0xFFF) * 8


def _first(code: bytes, machine: str) -> int:
    """Offset behind what tracing patches at the entry."""
    if machine == "x86_64":
        pad = 4 if code[:4] == _ENDBR64 else 0
        return pad + 5 if code[pad : pad + 1] == b"\xe8" else pad
    return ENTRY_BYTES if machine == "aarch64" else 0


_ENDBR64 = b"\xf3\x0f\x1e\xfa"


def _reader(machine: str) -> Callable[[bytes, int], Iterator[Branch]]:
    if machine not in _READERS:
        raise UnsupportedError(f"reading machine code of {machine}")
    return _READERS[machine]


def _x86_64(code: bytes, address: int) -> Iterator[Branch]:
    """``call`` and jumps with a distance; gcc also makes conditional jumps to other functions."""
    for at, _, name, operand in _capstone("x86_64").disasm_lite(code, address):
        if operand[:2] == "0x" and (name == "call" or name[0] == "j"):
            yield Branch(at, int(operand, 16), name == "call")


def _aarch64(code: bytes, address: int) -> Iterator[Branch]:
    """``bl`` and ``b`` (C6.2.26, C6.2.34 of the architecture's manual): 26 bits of words.

    Also ``blr`` (C6.2.37) right behind the ``mov``s that make its register, which is how the
    kernel compiles calls of BPF programs.
    """
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    register, value = _NO_REGISTER, 0
    for index, word in enumerate(words):
        at = address + 4 * index
        if word & 0x7C00_0000 == 0x1400_0000:
            distance = (word & 0x03FF_FFFF ^ 0x0200_0000) - 0x0200_0000
            yield Branch(at, at + 4 * distance, bool(word >> 31))
        elif word == _BLR | register << 5:
            yield Branch(at, value, True)
        value = _moved(word, value if word & 31 == register else 0)
        register = word & 31 if word & _MOVES in _MOVE_WIDE else _NO_REGISTER


_BLR = 0xD63F_0000
_NO_REGISTER = 32
_MOVES = 0xFF80_0000
_MOVN, _MOVZ, _MOVK = 0x9280_0000, 0xD280_0000, 0xF280_0000  # of 64 bits
_MOVE_WIDE = (_MOVN, _MOVZ, _MOVK)


def _moved(word: int, before: int) -> int:
    """What the register of a ``movn``, ``movz`` or ``movk`` has behind it (C6.2.251 to 253)."""
    shift = 16 * (word >> 21 & 3)
    bits = (word >> 5 & 0xFFFF) << shift
    if word & _MOVES == _MOVN:
        return ~bits & _U64
    if word & _MOVES == _MOVZ:
        return bits
    return before & ~(0xFFFF << shift) | bits


_U64 = (1 << 64) - 1


_BTI_C = bytes.fromhex("5f2403d5")
_STUBS = {"x86_64": _x86_64_stub, "aarch64": _aarch64_stub}
_READERS = {"x86_64": _x86_64, "aarch64": _aarch64}


def disassemble(code: bytes, address: int, machine: str) -> Iterator[Line]:
    """Each instruction, in the assembler's notation."""
    targets = {branch.at: branch.target for branch in _reader(machine)(code, address)}
    for at, size, name, operand in _capstone(machine).disasm_lite(code, address):
        raw = code[at - address : at - address + size]
        yield Line(at, raw, f"{name} {operand}".rstrip(), targets.get(at, 0))


def _capstone(machine: str) -> _Disassembler:
    if machine not in _made:
        try:
            import capstone
        except ImportError as error:
            raise UnsupportedError("reading machine code without capstone").hint(
                f"pip install capstone ({error})"
            ) from None
        kinds = {
            "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
            "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
        }
        made = capstone.Cs(*kinds[machine])
        made.skipdata = True
        _made[machine] = made
    return _made[machine]


if TYPE_CHECKING:
    from typing import Protocol

    class _Disassembler(Protocol):
        def disasm_lite(self, code: bytes, address: int) -> Iterator[tuple[int, int, str, str]]: ...


_made: dict[str, _Disassembler] = {}
