"""The only door to bpf(2).

`bpf` makes the call, retries what a signal interrupted, and turns an errno into `KernelError`. The
buffers that an attribute points to are `Buffer`s: they live as long as the caller holds them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import KernelError, UnsupportedError
from fsession.kernel.layout import pack
from fsession.uapi import Cmd

if TYPE_CHECKING:
    from fsession.host import Fd

__all__ = ["Buffer", "bpf", "bpf_common", "bpf_fd", "missing_capabilities"]

# Numbers of bpf(2): arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_BPF_NUMBER = {"x86_64": 321, "aarch64": 280}
_LOG_BYTES = 16384
_TRIES = 10  # the kernel answers EAGAIN to a load that a signal interrupted

# Commands that write no log of their own, but do so for struct bpf_common_attr.
_COMMON_LOG = (Cmd.MAP_CREATE, Cmd.BTF_LOAD, Cmd.LINK_CREATE)

_CAPABILITIES = {39: "CAP_BPF", 38: "CAP_PERFMON"}  # include/uapi/linux/capability.h

_libc = ctypes.CDLL(None, use_errno=True)


_MORE_FILES = "each program, link and map is an open file of this process: ulimit -n 1048576"


class Buffer:
    """Memory that the kernel reads or writes: `address` for an attribute, `bytes()` for us."""

    def __init__(self, data: bytes | bytearray | int) -> None:
        size = data if isinstance(data, int) else len(data)
        self._memory = (ctypes.c_char * max(size, 1))()
        self.size = size
        if not isinstance(data, int):
            ctypes.memmove(self._memory, bytes(data), size)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._memory)

    def __bytes__(self) -> bytes:
        return bytes(memoryview(self._memory)[: self.size])

    @property
    def text(self) -> str:
        """What the kernel wrote up to the first NUL, bytes that are no UTF-8 replaced."""
        return bytes(self).split(b"\0", 1)[0].decode(errors="replace")


def bpf(cmd: Cmd, attr: bytearray, what: str) -> int:
    """bpf(2). Returns what it returns; raises `KernelError` with `what` as the call's name."""
    result, error = _call(int(cmd), attr)
    if result >= 0:
        return result
    log = ""
    if cmd in _COMMON_LOG:
        result, log = _again_with_log(cmd, attr)
        if result >= 0:
            return result
    failure = KernelError(what, error, log)
    if error == errno.EPERM and (missing := missing_capabilities()):
        failure.add_note(f"this process lacks {' and '.join(missing)}; run as root, or grant them")
    if error == errno.EMFILE:
        failure.add_note(_MORE_FILES)
    raise failure


def bpf_fd(cmd: Cmd, attr: bytearray, what: str) -> Fd:
    """bpf(2) for commands that return a file descriptor (the kernel makes them close-on-exec)."""
    return bpf(cmd, attr, what)  # type: ignore[return-value]


def bpf_common(cmd: Cmd, attr: bytearray, common: Buffer, what: str) -> Fd:
    """bpf(2) with a ``struct bpf_common_attr`` (Linux 7.2; before, the kernel answers EINVAL)."""
    result, error = _call(cmd | Cmd.COMMON_ATTRS, attr, common)
    if error:
        raise KernelError(what, error)
    return result  # type: ignore[return-value]


def _call(cmd: int, attr: bytearray, common: Buffer | None = None) -> tuple[int, int]:
    """The call's result and errno, 0 if there was none."""
    memory = Buffer(attr)
    more = (ctypes.c_void_p(common.address), common.size) if common else (None, 0)
    for _ in range(_TRIES):
        result = _libc.syscall(_number(), cmd, ctypes.c_void_p(memory.address), len(attr), *more)
        error = 0 if result >= 0 else ctypes.get_errno()
        if error not in (errno.EAGAIN, errno.EINTR):
            break
    attr[:] = bytes(memory)
    return result, error


def _number() -> int:
    machine = os.uname().machine
    if machine not in _BPF_NUMBER:
        raise UnsupportedError(f"the architecture {machine}", "x86_64 and arm64 are")
    return _BPF_NUMBER[machine]


def _again_with_log(cmd: Cmd, attr: bytearray) -> tuple[int, str]:
    """Ask once more, for the kernel's words (Linux 7.2; older kernels know no such command)."""
    log = Buffer(_LOG_BYTES)
    attributes = pack("bpf_common_attr", log_buf=log.address, log_size=log.size, log_level=1)
    common = Buffer(attributes)
    result, _ = _call(cmd | Cmd.COMMON_ATTRS, bytearray(attr), common)
    return result, log.text.strip()


def missing_capabilities() -> tuple[str, ...]:
    """Of CAP_BPF and CAP_PERFMON, those this thread lacks (CAP_SYS_ADMIN has both)."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:", 1)[1].split()[0], 16)
    if effective >> 21 & 1:
        return ()
    return tuple(name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1)
