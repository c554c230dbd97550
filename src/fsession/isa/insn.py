"""One BPF instruction as a value: decode, encode, and functions that build the usual ones.

The wire form is a slot of 8 bytes (RFC 9669, section 3)::

    byte  0        1              2..3          4..7
    +--------+-----+-----+----------------+-----------------+
    | opcode | src | dst |  offset (s16)  | immediate (s32) |
    +--------+-----+-----+----------------+-----------------+
             7    4 3   0                     little endian

A 64-bit immediate load (``lddw``) takes two slots and is one `Insn` here; the second slot holds
the upper half of the immediate. Jump offsets, relocations and the kernel's logs count slots.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import TYPE_CHECKING, NewType

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.opcode import (
    CALL_KFUNC,
    CALL_LOCAL,
    REG_COUNT,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    Size,
    Source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "LDDW",
    "SLOT_BYTES",
    "Insn",
    "InsnOff",
    "alu",
    "alu32",
    "atomic",
    "call_helper",
    "call_kfunc",
    "call_local",
    "decode",
    "encode",
    "exit_",
    "ja",
    "jmp",
    "jmp32",
    "lddw",
    "ldx",
    "load_map_fd",
    "load_map_value",
    "mov",
    "mov32",
    "offsets",
    "slot_count",
    "st",
    "stx",
]

InsnOff = NewType("InsnOff", int)
"""A place in a program, in slots of 8 bytes from its start: the kernel's instruction number."""

SLOT_BYTES = 8
LDDW = int(Class.LD | Mode.IMM | Size.DW)

_SLOT = struct.Struct("<BBhi")
_U32 = 0xFFFF_FFFF

# Plain integers: arithmetic on enum members costs a microsecond, and every pass over a program
# asks each instruction what it is.
_CLASS = 0x07
_CLASSES = tuple(Class(number) for number in range(8))
_JUMPS = (int(Class.JMP), int(Class.JMP32))
_NOT_JUMPS = (int(Jmp.CALL), int(Jmp.EXIT))
_EXIT = int(Class.JMP | Jmp.EXIT)
_CALL = int(Class.JMP | Jmp.CALL)
_GOTOL = int(Class.JMP32 | Jmp.JA)
_PSEUDO_FUNC = int(Pseudo.FUNC)
_JUMP_OPCODES = frozenset(
    operation | source | cls
    for cls in _JUMPS
    for source in (0, int(Source.X))
    for operation in range(0, 0x100, 0x10)
    if operation not in _NOT_JUMPS
)


@frozen
class Insn:
    """An instruction; `imm` is signed 32 bits, or for ``lddw`` 64 bits (unsigned).

    In a pseudo ``lddw`` the low half of `imm` is the first slot's immediate (map fd, BTF id,
    relative function), the high half the second's (offset into the map value, BTF object fd).
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    @property
    def cls(self) -> Class:
        return _CLASSES[self.opcode & _CLASS]

    @property
    def is_lddw(self) -> bool:
        return self.opcode == LDDW

    @property
    def slots(self) -> int:
        """How many 8-byte slots the instruction takes: 2 for ``lddw``, otherwise 1."""
        return 2 if self.opcode == LDDW else 1

    @property
    def is_jump(self) -> bool:
        """A jump inside the function, conditional or not; calls and exit are none."""
        return self.opcode in _JUMP_OPCODES

    @property
    def is_exit(self) -> bool:
        return self.opcode == _EXIT

    @property
    def is_call(self) -> bool:
        return self.opcode & 0xF7 == _CALL

    @property
    def is_local_call(self) -> bool:
        """A call of another function of the same program; `imm` is relative, in slots."""
        return self.opcode == _CALL and self.src == CALL_LOCAL

    @property
    def is_kfunc_call(self) -> bool:
        """A call of a kernel function; `imm` is its BTF id, `off` an index into the fd array."""
        return self.opcode == _CALL and self.src == CALL_KFUNC

    @property
    def is_func_ref(self) -> bool:
        """A ``lddw`` of the address of a function of the program, for a callback."""
        return self.opcode == LDDW and self.src == _PSEUDO_FUNC

    @property
    def jump_off(self) -> int:
        """Distance of a jump in slots, from the next instruction: `imm` for ``gotol``."""
        return self.imm if self.opcode == _GOTOL else self.off

    @property
    def func_off(self) -> int:
        """Distance in slots of the function a local call or func ref names, from the next slot."""
        return _s32(self.imm)


def decode(data: bytes) -> tuple[Insn, ...]:
    """Instructions of raw bytecode. Raises `BadInputError` with the byte offset."""
    if len(data) % SLOT_BYTES:
        raise BadInputError("bytecode is not a whole number of 8-byte slots", len(data))
    insns: list[Insn] = []
    slots = enumerate(_SLOT.iter_unpack(data))
    for at, (opcode, regs, off, imm) in slots:
        dst, src = regs & 0x0F, regs >> 4
        if dst >= REG_COUNT or src >= REG_COUNT:
            raise BadInputError(f"register r{max(dst, src)} does not exist", at * SLOT_BYTES)
        if opcode == LDDW:
            imm = (imm & _U32) | _second_half(slots, at) << 32
        insns.append(Insn(opcode, dst, src, off, imm))
    return tuple(insns)


def _second_half(slots: Iterator[tuple[int, tuple[int, ...]]], at: int) -> int:
    """The immediate of the next slot, which must hold nothing else; `at` is the first slot."""
    slot = next(slots, None)
    if slot is None:
        raise BadInputError("the second half of a 64-bit immediate is missing", at * SLOT_BYTES)
    opcode, regs, off, imm = slot[1]
    if opcode or regs or off:
        what = "the second half of a 64-bit immediate has more than an immediate"
        raise BadInputError(what, (at + 1) * SLOT_BYTES)
    return imm & _U32


def encode(insns: Iterable[Insn]) -> bytes:
    """The bytecode of instructions, little endian.

    Raises `BadInputError` with the instruction's number (slot) when a field does not fit.
    """
    out = bytearray()
    for insn in insns:
        if not (0 <= insn.dst < REG_COUNT and 0 <= insn.src < REG_COUNT):
            raise _misfit(insn, len(out) // SLOT_BYTES)
        try:
            out += _encode_one(insn)
        except struct.error:
            raise _misfit(insn, len(out) // SLOT_BYTES) from None
    return bytes(out)


def _encode_one(insn: Insn) -> bytes:
    regs, imm = insn.src << 4 | insn.dst, insn.imm
    if insn.opcode != LDDW:
        return _SLOT.pack(insn.opcode, regs, insn.off, imm)
    if not -(1 << 63) <= imm < 1 << 64:
        raise struct.error
    first = _SLOT.pack(LDDW, regs, insn.off, _s32(imm))
    return first + _SLOT.pack(0, 0, 0, _s32(imm >> 32))


def _misfit(insn: Insn, at: int) -> BadInputError:
    """Which field of the instruction at slot `at` is out of range."""
    imm = (-(1 << 63), (1 << 64) - 1) if insn.opcode == LDDW else (-(1 << 31), (1 << 31) - 1)
    ranges = {
        "opcode": (insn.opcode, 0, 0xFF),
        "dst": (insn.dst, 0, REG_COUNT - 1),
        "src": (insn.src, 0, REG_COUNT - 1),
        "off": (insn.off, -(1 << 15), (1 << 15) - 1),
        "imm": (insn.imm, *imm),
    }
    bad = [
        f"{name} {value} is not in {low}..{high}"
        for name, (value, low, high) in ranges.items()
        if not low <= value <= high
    ]
    return BadInputError(f"instruction {at}: {', '.join(bad)}")


def _s32(value: int) -> int:
    value &= _U32
    return value - (1 << 32) if value >> 31 else value


def offsets(insns: Sequence[Insn]) -> list[InsnOff]:
    """The slot at which each instruction starts, and as last element the end of the program."""
    slots = (2 if insn.opcode == LDDW else 1 for insn in insns)
    return [InsnOff(at) for at in accumulate(slots, initial=0)]


def slot_count(insns: Iterable[Insn]) -> int:
    """Length of a program in slots, as ``bpf_attr.insn_cnt`` counts."""
    return sum(insn.slots for insn in insns)


def mov(dst: int, src: int) -> Insn:
    """``dst = src``, 64 bits, between registers. For a constant: ``alu(Alu.MOV, dst, imm=…)``."""
    return Insn(Class.ALU64 | Alu.MOV | Source.X, dst, src)


def mov32(dst: int, src: int) -> Insn:
    """``(u32)dst = src``: the upper half becomes 0."""
    return Insn(Class.ALU | Alu.MOV | Source.X, dst, src)


def alu(op: Alu, dst: int, src: int | None = None, imm: int = 0, off: int = 0) -> Insn:
    """64-bit arithmetic, with register `src` or, where it is None, the immediate."""
    return _alu(Class.ALU64, op, dst, src, imm, off)


def alu32(op: Alu, dst: int, src: int | None = None, imm: int = 0, off: int = 0) -> Insn:
    """32-bit arithmetic; the upper half of `dst` becomes 0."""
    return _alu(Class.ALU, op, dst, src, imm, off)


def _alu(cls: Class, op: Alu, dst: int, src: int | None, imm: int, off: int) -> Insn:
    if src is None:
        return Insn(cls | op | Source.K, dst, 0, off, imm)
    return Insn(cls | op | Source.X, dst, src, off, 0)


def ldx(size: Size, dst: int, src: int, off: int = 0, *, signed: bool = False) -> Insn:
    """``dst = *(size *)(src + off)``, extended by zeros or, `signed`, by the sign."""
    return Insn(Class.LDX | size | (Mode.MEMSX if signed else Mode.MEM), dst, src, off)


def stx(size: Size, dst: int, src: int, off: int = 0) -> Insn:
    """``*(size *)(dst + off) = src``."""
    return Insn(Class.STX | size | Mode.MEM, dst, src, off)


def st(size: Size, dst: int, off: int, imm: int) -> Insn:
    """``*(size *)(dst + off) = imm``."""
    return Insn(Class.ST | size | Mode.MEM, dst, 0, off, imm)


def atomic(op: Atomic, size: Size, dst: int, src: int, off: int = 0) -> Insn:
    """Atomic `op` on ``*(size *)(dst + off)``; CMPXCHG compares with r0 and answers in r0."""
    return Insn(Class.STX | size | Mode.ATOMIC, dst, src, off, op)


def lddw(dst: int, imm: int, src: int = Pseudo.NONE) -> Insn:
    """``dst = imm``, 64 bits; `src` gives the immediate its meaning (`Pseudo`)."""
    return Insn(LDDW, dst, src, 0, imm & 0xFFFF_FFFF_FFFF_FFFF)


def load_map_fd(dst: int, fd: int) -> Insn:
    """``dst = map``, by its file descriptor in this process."""
    return lddw(dst, fd & _U32, Pseudo.MAP_FD)


def load_map_value(dst: int, fd: int, offset: int = 0) -> Insn:
    """``dst = &map_value[offset]`` of an array map with one entry."""
    return lddw(dst, (fd & _U32) | offset << 32, Pseudo.MAP_VALUE)


def jmp(op: Jmp, dst: int, src: int | None = None, imm: int = 0, off: int = 0) -> Insn:
    """``if dst op src goto pc+off``, all 64 bits compared."""
    return _jmp(Class.JMP, op, dst, src, imm, off)


def jmp32(op: Jmp, dst: int, src: int | None = None, imm: int = 0, off: int = 0) -> Insn:
    """``if (u32)dst op src goto pc+off``."""
    return _jmp(Class.JMP32, op, dst, src, imm, off)


def _jmp(cls: Class, op: Jmp, dst: int, src: int | None, imm: int, off: int) -> Insn:
    if src is None:
        return Insn(cls | op | Source.K, dst, 0, off, imm)
    return Insn(cls | op | Source.X, dst, src, off, 0)


def ja(off: int) -> Insn:
    """``goto pc+off``."""
    return Insn(Class.JMP | Jmp.JA, off=off)


def call_helper(number: int) -> Insn:
    """Call of a helper by its number (``enum bpf_func_id``)."""
    return Insn(Class.JMP | Jmp.CALL, imm=number)


def call_local(off: int) -> Insn:
    """Call of a function of the program, `off` slots from the next instruction."""
    return Insn(Class.JMP | Jmp.CALL, src=CALL_LOCAL, imm=off)


def call_kfunc(btf_id: int, fd_index: int = 0) -> Insn:
    """Call of a kernel function by BTF id; `fd_index` is the place of its BTF in the fd array."""
    return Insn(Class.JMP | Jmp.CALL, src=CALL_KFUNC, off=fd_index, imm=btf_id)


def exit_() -> Insn:
    """Leave the function; r0 is its result."""
    return Insn(Class.JMP | Jmp.EXIT)
