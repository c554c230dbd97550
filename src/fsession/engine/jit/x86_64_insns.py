"""Encodings of x86_64 instructions (Intel SDM, volume 2)."""

from __future__ import annotations

import struct

__all__ = [
    "R8",
    "R9",
    "R12",
    "R13",
    "R14",
    "R15",
    "RAX",
    "RBP",
    "RBX",
    "RCX",
    "RDI",
    "RDX",
    "RSI",
    "RSP",
    "X10",
    "X11",
    "call_address",
    "load_imm",
    "patch_distance",
    "pop",
    "push",
    "ri",
    "rm",
    "rr",
    "thread_pointer_load",
]

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, X10, X11, R12, R13, R14, R15 = range(16)


def patch_distance(data: bytearray, at: int, distance: int) -> None:
    """The last four bytes of an instruction are its distance."""
    struct.pack_into("<i", data, at - 4, distance)


# Encodings. `w` is 1 for 64 bits.


def rr(opcode: bytes | int, reg: int, rm: int, w: int = 1, prefix: bytes = b"") -> bytes:
    """An instruction on two registers: [prefix] REX opcode ModRM."""
    code = bytes([opcode]) if isinstance(opcode, int) else opcode
    rex = 0x40 | w << 3 | (reg >> 3) << 2 | rm >> 3
    head = bytes([rex]) if rex != 0x40 or _is_byte(code) else b""
    return prefix + head + code + bytes([0xC0 | (reg & 7) << 3 | rm & 7])


def _is_byte(code: bytes) -> bool:
    """Byte registers other than al..bl need a REX prefix to be the low bytes."""
    return code in (b"\x88", b"\x0f\xb6", b"\x0f\xbe", b"\x86")


def rm(
    opcode: bytes | int, reg: int, base: int, off: int, w: int = 1, prefix: bytes = b""
) -> bytes:
    """An instruction on a register and memory at `base` + `off`."""
    code = bytes([opcode]) if isinstance(opcode, int) else opcode
    rex = 0x40 | w << 3 | (reg >> 3) << 2 | base >> 3
    head = bytes([rex]) if rex != 0x40 or _is_byte(code) else b""
    short = -128 <= off < 128
    modrm = (0x40 if short else 0x80) | (reg & 7) << 3 | base & 7
    sib = b"\x24" if base & 7 == RSP else b""
    return prefix + head + code + bytes([modrm]) + sib + struct.pack("<b" if short else "<i", off)


def ri(digit: int, reg: int, imm: int, w: int = 1) -> bytes:
    """Arithmetic with an immediate: 83 /digit ib or 81 /digit id."""
    if -128 <= imm < 128:
        return rr(0x83, digit, reg, w) + struct.pack("<b", imm)
    return rr(0x81, digit, reg, w) + struct.pack("<i", imm)


def load_imm(reg: int, value: int) -> bytes:
    """Any 64-bit number, in the shortest way."""
    value &= (1 << 64) - 1
    if value < 1 << 32:
        return (b"\x41" if reg > 7 else b"") + bytes([0xB8 | reg & 7]) + struct.pack("<I", value)
    if value >= (1 << 64) - (1 << 31):
        return rr(0xC7, 0, reg) + struct.pack("<i", value - (1 << 64))
    return bytes([0x48 | reg >> 3, 0xB8 | reg & 7]) + struct.pack("<Q", value)


def push(reg: int) -> bytes:
    return (b"\x41" if reg > 7 else b"") + bytes([0x50 | reg & 7])


def pop(reg: int) -> bytes:
    return (b"\x41" if reg > 7 else b"") + bytes([0x58 | reg & 7])


def call_address(address: int) -> bytes:
    """Call of any address; r11 is lost."""
    return load_imm(X11, address) + b"\x41\xff\xd3"


def thread_pointer_load(reg: int, offset: int) -> bytes:
    """``reg = *(u64 *)(thread pointer + offset)``: fs-relative with a 32-bit displacement."""
    head = bytes([0x64, 0x48 | (reg >> 3) << 2, 0x8B, 0x04 | (reg & 7) << 3, 0x25])
    return head + struct.pack("<i", offset)
