"""Unwind tables for images, so that exceptions and backtraces pass through them.

A table is an ``.eh_frame`` of its own (LSB, 10.6; DWARF 5, 6.4): a CIE, an FDE for the image, and
the end. The C compiler's run-time library is told of it, and of its end before the code is freed.
Where there is no such library nothing throws.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.memory import Block
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.engine.jit.code import Image

__all__ = ["Rules", "advance", "define_cfa", "offset", "watch"]

_VERSION = 1
_DATA_ALIGN = 0x78  # -8 as SLEB128
_NOP = b"\0"
_REGISTER, _DEREGISTER = "__register_frame", "__deregister_frame"


@frozen
class Rules:
    """Of an architecture and an image: number of the return address's column, what holds at the
    first instruction, what changes behind it."""

    return_column: int
    first: bytes
    later: bytes


def define_cfa(register: int, distance: int) -> bytes:
    """The frame's address is `register` + `distance`."""
    return bytes([0x0C, register]) + _uleb(distance)


def offset(register: int, below: int) -> bytes:
    """The caller's `register` is `below` bytes below the frame's address."""
    return bytes([0x80 | register]) + _uleb(below // 8)


def advance(size: int) -> bytes:
    """What follows holds behind `size` more bytes of code."""
    return bytes([0x40 | size]) if size < 0x40 else b"\x03" + size.to_bytes(2, "little")


def _uleb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def table(rules: Rules, address: int, size: int) -> bytes:
    """The whole section; pointers in it are absolute."""
    head = struct.pack("<IB", 0, _VERSION) + b"\0" + bytes([1, _DATA_ALIGN, rules.return_column])
    cie = _entry(head + rules.first)
    fde = struct.pack("<IQQ", len(cie) + 4, address, size) + rules.later
    return cie + _entry(fde) + bytes(4)


def _entry(data: bytes) -> bytes:
    padded = data + _NOP * (-(len(data) + 4) % 8)
    return struct.pack("<I", len(padded)) + padded


def watch(image: Image, rules: Rules) -> None:
    """Register a table for as long as the image is there."""
    library = _library()
    if library is None:
        return
    data = table(rules, image.address, image.size)
    block = Block(len(data), data)
    place = ctypes.c_void_p(block.address)
    getattr(library, _REGISTER)(place)

    def forget() -> None:
        getattr(library, _DEREGISTER)(place)
        block.write(b"")  # it was kept until here

    image.before_close = forget


@cache
def _library() -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL("libgcc_s.so.1")
    except OSError:
        return None
    return found if hasattr(found, _REGISTER) else None
