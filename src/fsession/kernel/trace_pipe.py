"""Lines of ``bpf_printk``: tracefs's trace_pipe.

There is one pipe for the whole machine: a line that one reader takes no other one sees.
"""

from __future__ import annotations

import os
import re
import select
from typing import TYPE_CHECKING, Self

from fsession.errors import UnsupportedError
from fsession.kernel.symbols import tracefs

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PrintkPipe", "printed"]

_READ_BYTES = 1 << 16
_LINE = re.compile(r": bpf_trace_printk: (.*)$")


def printed(line: str) -> str | None:
    """What a program printed, from a line of trace_pipe; None for a line of something else."""
    found = _LINE.search(line)
    return found[1] if found else None


class PrintkPipe:
    """An open trace_pipe, read without blocking."""

    def __init__(self) -> None:
        path = tracefs() / "trace_pipe"
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise UnsupportedError(f"reading {path}").hint(
                "tracefs is root's; run as root to see bpf_printk lines"
            ) from None
        except OSError as error:
            raise UnsupportedError(f"reading {path} ({error.strerror})").hint(
                "only one reader at a time: is another one open?"
            ) from error
        self._rest = b""

    def fileno(self) -> int:
        return self._fd

    def read(self, timeout_s: float | None = None) -> list[str]:
        """What programs have printed, waiting at most `timeout_s` for the first line."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return []
        lines: list[str] = []
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += [line.decode(errors="replace") for line in whole]
            if not data:
                break
        return [text for line in lines if (text := printed(line)) is not None]

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
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
