"""Encodings of arm64 instructions (Arm ARM, chapter C6), each one word."""

from __future__ import annotations

import struct

from fsession.errors import BadInputError, InternalError

__all__ = [
    "BLR",
    "BR",
    "FP",
    "LDP",
    "LDP_POST",
    "LDR",
    "LDRS",
    "LR",
    "SP",
    "STP",
    "STP_PRE",
    "STR",
    "X9",
    "X10",
    "X11",
    "X12",
    "X16",
    "ZR",
    "add_extended",
    "add_imm",
    "branch_reg",
    "call_address",
    "load_imm",
    "memory",
    "move",
    "pair",
    "patch_distance",
    "rrr",
    "thread_pointer_load",
    "words",
]

X9, X10, X11, X12, X16 = 9, 10, 11, 12, 16
FP, LR, ZR = 29, 30, 31
SP = 31


def patch_distance(data: bytearray, at: int, distance: int) -> None:
    """Fill in the distance from the end of the instruction before `at`, by the kind it is of."""
    (word,) = struct.unpack_from("<I", data, at - 4)
    words = (distance + 4) // 4
    if word & 0x7C000000 == 0x14000000:  # b, bl
        word |= _field(words, 26)
    elif word & 0x1F000000 == 0x10000000:  # adr
        word |= _field(distance + 4 >> 2, 19) << 5
    else:  # b.cond, cbz, cbnz
        word |= _field(words, 19) << 5
    struct.pack_into("<I", data, at - 4, word)


def _field(value: int, bits: int) -> int:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BadInputError("the program is too long: a jump does not reach")
    return value & (1 << bits) - 1


# Encodings, each one word. `w` is 1 for 64 bits.


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def rrr(opcode: int, rd: int, rn: int, rm: int, w: int = 1) -> bytes:
    return words(opcode | w << 31 | rm << 16 | rn << 5 | rd)


def move(rd: int, rm: int, w: int = 1) -> bytes:
    return rrr(0x2A000000, rd, ZR, rm, w)


def add_imm(rd: int, rn: int, imm: int, w: int = 1) -> bytes:
    """``add`` or ``sub`` of up to 12 bits; 31 is sp."""
    opcode = 0x11000000 if imm >= 0 else 0x51000000
    if abs(imm) > 4095:
        raise InternalError(f"{imm} is no immediate of an addition")
    return words(opcode | w << 31 | abs(imm) << 10 | rn << 5 | rd)


def load_imm(rd: int, value: int) -> bytes:
    """Any 64-bit number: movz or movn, then movk for what differs."""
    value &= (1 << 64) - 1
    parts = [value >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    inverted = parts.count(0xFFFF) > parts.count(0)
    rest = 0xFFFF if inverted else 0
    todo = [(at, part) for at, part in enumerate(parts) if part != rest] or [(0, rest)]
    at, part = todo[0]
    first = 0x92800000 if inverted else 0xD2800000
    out = [first | at << 21 | (part ^ rest) << 5 | rd]
    out += [0xF2800000 | at << 21 | part << 5 | rd for at, part in todo[1:]]
    return words(*out)


def pair(opcode: int, first: int, second: int, rn: int, off: int) -> bytes:
    """``stp`` and ``ldp`` of 64-bit registers; `off` in bytes."""
    return words(opcode | (off // 8 & 0x7F) << 15 | second << 10 | rn << 5 | first)


STP_PRE, LDP_POST, STP, LDP = 0xA9800000, 0xA8C00000, 0xA9000000, 0xA9400000


def memory(opcode: int, rt: int, rn: int, off: int, log: int) -> bytes | None:
    """A load or store with an offset that fits: scaled, else of 9 bits; None if none fits.

    `opcode` is that of the unscaled form without its size.
    """
    head = opcode | log << 30 | rn << 5 | rt
    if off >= 0 and not off & (1 << log) - 1 and off >> log < 4096:
        return words(head | 1 << 24 | off >> log << 10)
    return words(head | (off & 0x1FF) << 12) if -256 <= off < 256 else None


STR, LDR, LDRS = 0x38000000, 0x38400000, 0x38800000


def branch_reg(opcode: int, rn: int) -> bytes:
    return words(opcode | rn << 5)


BR, BLR = 0xD61F0000, 0xD63F0000


def call_address(address: int) -> bytes:
    """Call of any address; x12 is lost."""
    return load_imm(X12, address) + branch_reg(BLR, X12)


def thread_pointer_load(reg: int, offset: int) -> bytes:
    """``reg = *(u64 *)(tpidr_el0 + offset)``."""
    return words(0xD53BD040 | X12) + load_imm(X11, offset) + words(0xF86B6980 | reg)


def add_extended(rd: int, rn: int, rm: int) -> bytes:
    """``add``, of which 31 as `rn` is sp."""
    return words(0x8B206000 | rm << 16 | rn << 5 | rd)
