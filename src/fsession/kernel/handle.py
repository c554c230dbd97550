"""A kernel object held by a file descriptor, and the commands that all kinds share."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Self

from fsession.kernel.layout import pack
from fsession.kernel.syscall import Buffer, bpf, bpf_fd
from fsession.uapi import Cmd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from fsession.host import Fd

__all__ = ["Handle", "get_info", "ids", "open_id", "open_pinned"]


class Handle:
    """Owns one descriptor. Closing twice is fine; forgetting to close is a `ResourceWarning`."""

    def __init__(self, fd: Fd) -> None:
        self._fd: Fd | None = fd

    @property
    def fd(self) -> Fd:
        if self._fd is None:
            raise ValueError(f"the {type(self).__name__} is closed")
        return self._fd

    def fileno(self) -> int:
        return self.fd

    @property
    def closed(self) -> bool:
        return self._fd is None

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            warnings.warn(f"{type(self).__name__} was not closed", ResourceWarning, stacklevel=2)
            self.close()

    def pin(self, path: str) -> None:
        """Keep the object alive under `path` in a BPF file system (``/sys/fs/bpf``)."""
        name = Buffer(os.fsencode(path) + b"\0")
        bpf(Cmd.OBJ_PIN, pack("obj", pathname=name.address, bpf_fd=self.fd), f"pin as {path}")


def open_pinned(path: str) -> Fd:
    """A new descriptor of what is pinned at `path`."""
    name = Buffer(os.fsencode(path) + b"\0")
    return bpf_fd(Cmd.OBJ_GET, pack("obj", pathname=name.address), f"open {path}")


def get_info(fd: Fd, info: bytearray, what: str) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: `info` as the kernel filled it, as long as the kernel knows it.

    `info` may hold addresses of buffers and their lengths, which the kernel fills as well.
    """
    memory = Buffer(info)
    attr = pack("info", bpf_fd=fd, info_len=memory.size, info=memory.address)
    bpf(Cmd.OBJ_GET_INFO_BY_FD, attr, what)
    return bytes(memory)


def ids(cmd: Cmd) -> Iterator[int]:
    """Ids of all objects of a kind: ``BPF_PROG_GET_NEXT_ID`` and its like."""
    last = 0
    while True:
        attr = pack("get_id", start_id=last)
        try:
            bpf(cmd, attr, f"list ids ({cmd.name})")
        except OSError as error:
            if error.errno == 2:  # ENOENT: there is no next one
                return
            raise
        last = int.from_bytes(attr[4:8], "little")
        yield last


def open_id(cmd: Cmd, number: int) -> Fd:
    """A descriptor of the object with this id: ``BPF_PROG_GET_FD_BY_ID`` and its like."""
    return bpf_fd(cmd, pack("get_id", start_id=number), f"open id {number} ({cmd.name})")
