"""A program attached by hand: bpf(2), an ELF section, its relocations, nothing else.

What the package's own attachments are measured against. Linux 7.2 and later, x86_64.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from fsession.btf.catalog import Types
from fsession.btf.types import Func

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["attached_by_hand", "link_multi", "load", "load_program"]

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BPF = 321
_MAP_CREATE, _PROG_LOAD, _LINK_CREATE = 0, 5, 28
_PROG_TYPE_TRACING = 26
_TRACE_FSESSION, _TRACE_FSESSION_MULTI = 58, 61
_MAP_TYPE_PERCPU_ARRAY = 6


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = int(_libc.syscall(_SYS_BPF, command, buffer, len(attr)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf command {command}: {os.strerror(number)}")
    return result


@contextmanager
def attached_by_hand(path: Path, name: str, target: str) -> Iterator[None]:
    """Program `name` of the object at `path` as a native session on the function `target`."""
    types = kernel_types()
    descriptors = [_bpf(_MAP_CREATE, struct.pack("=IIII", _MAP_TYPE_PERCPU_ARRAY, 4, 8, 64))]
    try:
        insns = load(path, name, descriptors[0], types)
        target_id = types.id_of(target, Func)
        descriptors.append(load_program(insns, _TRACE_FSESSION, target_id))
        attr = struct.pack("=IIIII12x", descriptors[-1], 0, _TRACE_FSESSION, 0, 0)
        descriptors.append(_bpf(_LINK_CREATE, attr))
        yield
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


def kernel_types() -> Types:
    with open("/sys/kernel/btf/vmlinux", "rb") as file:  # noqa: PTH123
        return Types.from_bytes(file.read(), name="vmlinux")


def load(path: Path, name: str, map_fd: int, types: Types) -> bytes:
    """The instructions of `name`, with the map and the kfuncs in their places."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        symbol = symbols.get_symbol_by_name(name)[0]
        section = elf.get_section(symbol["st_shndx"])
        start, size = symbol["st_value"], symbol["st_size"]
        code = bytearray(section.data()[start : start + size])
        for entry in elf.get_section_by_name(f".rel{section.name}").iter_relocations():
            at = entry["r_offset"] - start
            if 0 <= at < size:
                _relocate(code, at, symbols.get_symbol(entry["r_info_sym"]).name, map_fd, types)
    return bytes(code)


def _relocate(code: bytearray, at: int, symbol: str, map_fd: int, types: Types) -> None:
    if code[at] == 0x85:  # a call: source register 2 says that it is a kfunc's
        struct.pack_into("=BBhi", code, at, 0x85, 2 << 4, 0, types.id_of(symbol, Func))
    else:  # a wide load: source register 1 says that it is a map's descriptor
        struct.pack_into("=BBhi", code, at, code[at], code[at + 1] & 15 | 1 << 4, 0, map_fd)


def load_program(insns: bytes, attach_type: int, target_id: int) -> int:
    """``BPF_PROG_LOAD`` of a tracing program; its descriptor."""
    code, licence = ctypes.create_string_buffer(insns, len(insns)), ctypes.c_char_p(b"GPL")
    words = (_PROG_TYPE_TRACING, len(insns) // 8, ctypes.addressof(code))
    text = ctypes.cast(licence, ctypes.c_void_p).value
    attr = struct.pack("=IIQQ", *words, text) + bytes(44) + struct.pack("=I", attach_type)
    return _bpf(_PROG_LOAD, attr + bytes(36) + struct.pack("=II", target_id, 0))


def link_multi(program: int, ids: Sequence[int]) -> int:
    """One link of a multi program for the functions `ids`; its descriptor."""
    array = (ctypes.c_uint32 * len(ids))(*ids)
    place = ctypes.addressof(array)
    attr = struct.pack("=IIIIQQI4x", program, 0, _TRACE_FSESSION_MULTI, 0, place, 0, len(ids))
    return _bpf(_LINK_CREATE, attr)
