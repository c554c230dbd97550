"""As much of bpf(2) as the tests of this package need: load a program, see what became of it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from fsession.isa.insn import Insn, encode

_NUMBER = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_MAP_CREATE, _PROG_LOAD, _OBJ_GET_INFO = 0, 5, 15
ARRAY, ARENA, SOCKET_FILTER = 2, 33, 1
MMAPABLE = 1 << 10

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = _libc.syscall(_NUMBER, command, buffer, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def create_map(
    kind: int, key: int, value: int, entries: int, flags: int = 0, extra: int = 0
) -> int:
    """The fd of a new map; `extra` is ``map_extra``, of an arena its address in user space."""
    attr = struct.pack("<5I44xQ", kind, key, value, entries, flags, extra)
    return _bpf(_MAP_CREATE, attr)


def load(insns: tuple[Insn, ...]) -> tuple[int, str]:
    """The fd of a socket filter, or -1, and the verifier's log of level 2."""
    code = encode(insns)
    log = ctypes.create_string_buffer(1 << 22)
    program = ctypes.create_string_buffer(code, len(code))
    gpl = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack(
        "<IIQQIIQ",
        SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(program),
        ctypes.addressof(gpl),
        2,
        len(log),
        ctypes.addressof(log),
    )
    try:
        fd = _bpf(_PROG_LOAD, attr.ljust(144, b"\0"))
    except OSError as error:
        return -1, f"{log.value.decode()}\n{error}"
    return fd, log.value.decode()


def info(fd: int) -> tuple[int, bytes]:
    """Id and translated instructions of a program (struct bpf_prog_info)."""
    code = ctypes.create_string_buffer(1 << 16)
    about = bytearray(40)  # type, id, tag, jited len, xlated len, jited insns, xlated insns
    struct.pack_into("<I", about, 20, len(code))
    struct.pack_into("<Q", about, 32, ctypes.addressof(code))
    raw = (ctypes.c_char * len(about)).from_buffer(about)
    _bpf(_OBJ_GET_INFO, struct.pack("<IIQ", fd, len(about), ctypes.addressof(raw)))
    length = struct.unpack_from("<I", about, 20)[0]
    return struct.unpack_from("<I", about, 4)[0], code.raw[:length]
