"""Give a program's BTF, function and line infos to the kernel."""

from __future__ import annotations

import struct
from errno import EINVAL, EPERM
from typing import TYPE_CHECKING

from fsession.errors import KernelError
from fsession.kernel.layout import pack
from fsession.kernel.syscall import Buffer, bpf_fd
from fsession.uapi import Cmd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsession.host import Fd
    from fsession.spec import FuncInfo, LineInfo

__all__ = ["StringTable", "encode_funcs", "encode_lines", "load_btf"]

_HEADER = struct.Struct("<HBBIIIII")  # struct btf_header: magic … str_off, str_len
_FUNC_INFO = struct.Struct("<II")
_LINE_INFO = struct.Struct("<IIII")
_LOG_BYTES = 1 << 16
_COLUMN_BITS = 10
_MOST_LINE, _MOST_COLUMN = (1 << 22) - 1, (1 << _COLUMN_BITS) - 1


class StringTable:
    """A BTF object whose string section, the last one, grows by the texts of line infos."""

    def __init__(self, btf: bytes) -> None:
        self._btf = btf
        header = _HEADER.unpack_from(btf)
        self._header_bytes, self._string_off, self._string_len = header[3], header[6], header[7]
        self._added = bytearray()
        self._places: dict[str, int] = {"": 0}

    def offset(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = self._string_len + len(self._added)
            self._added += text.encode().replace(b"\0", b" ") + b"\0"
        return self._places[text]

    def to_bytes(self) -> bytes:
        start = self._header_bytes + self._string_off
        out = bytearray(self._btf[: start + self._string_len]) + self._added
        struct.pack_into("<I", out, _HEADER.size - 4, self._string_len + len(self._added))
        return bytes(out)


def encode_funcs(funcs: Iterable[FuncInfo]) -> bytes:
    """Records of ``struct bpf_func_info``."""
    return b"".join(_FUNC_INFO.pack(func.at, func.type) for func in funcs)


def encode_lines(lines: Iterable[LineInfo], strings: StringTable) -> bytes:
    """Records of ``struct bpf_line_info``; ``line_col`` has the line in its upper 22 bits."""
    return b"".join(
        _LINE_INFO.pack(
            line.at,
            strings.offset(line.file),
            strings.offset(line.text),
            min(line.line, _MOST_LINE) << _COLUMN_BITS | min(line.column, _MOST_COLUMN),
        )
        for line in lines
    )


def load_btf(data: bytes, what: str) -> Fd:
    """BPF_BTF_LOAD, without the kinds of newer kernels where this one refuses them.

    Raises `KernelError` with the kernel's log.
    """
    try:
        return _load(data, what)
    except KernelError as error:
        from fsession.obj.older import for_older_kernels

        older = for_older_kernels(data)
        if error.errno != EINVAL or older == data:
            raise
        try:
            return _load(older, what)
        except KernelError:
            raise error from None


def _load(data: bytes, what: str) -> Fd:
    blob = Buffer(data)
    attr = pack("btf_load", btf=blob.address, btf_size=blob.size)
    try:
        return bpf_fd(Cmd.BTF_LOAD, attr, f"load BTF of {what}")
    except KernelError as error:
        if error.errno == EPERM:
            raise
        log = Buffer(_LOG_BYTES)
        attr = pack(
            "btf_load",
            btf=blob.address,
            btf_size=blob.size,
            btf_log_buf=log.address,
            btf_log_size=log.size,
            btf_log_level=1,
        )
        try:
            return bpf_fd(Cmd.BTF_LOAD, attr, f"load BTF of {what}")
        except KernelError:
            raise KernelError(error.call, error.errno, log.text) from None
