"""Lines of ``bpf_printk``: tracefs's trace_pipe.

There is one pipe for the whole machine: a line that one reader takes no other one sees. A line of
it has task, CPU, flags and time before the event, and the message may go on in lines of its own::

               ping-1432    [001] ...2.  6442.927779: bpf_trace_printk: hello
    CPU:1 [LOST 12 EVENTS]
"""

from __future__ import annotations

import os
import re
import select
import time
from typing import TYPE_CHECKING, Self

from fsession.errors import UnsupportedError
from fsession.kernel.symbols import tracefs

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Messages", "PrintkPipe"]

_READ_BYTES = 1 << 16
_EVENT = re.compile(r"^ *.+-\d+ .*\[\d+\] +\S+ +\d+\.\d+: (\w+): ?(.*)$")
_LOST = re.compile(r"^CPU:\d+ \[LOST (\d+) EVENTS\]$")


class Messages:
    """What programs printed, from the lines of trace_pipe. Pure; `lost` counts what was not seen.

    A line that is no event belongs to the message before it; an empty one to a message that ended
    in a newline of its own.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._ours = False

    def of(self, line: str) -> str | None:
        """The text of a line; None for one of another event, or one that says what was lost."""
        if lost := _LOST.match(line):
            self.lost += int(lost[1])
            self._ours = False
            return None
        if event := _EVENT.match(line):
            self._ours = event[1] == "bpf_trace_printk"
            return event[2] if self._ours else None
        return line if self._ours and line else None


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
        self._messages = Messages()

    @property
    def lost(self) -> int:
        """Events of all kinds that the kernel dropped because nobody read them in time."""
        return self._messages.lost

    def fileno(self) -> int:
        return self._fd

    def read(self, timeout_s: float | None = None) -> list[str]:
        """What programs have printed, waiting at most `timeout_s` for the first line.

        Lines of other events, and wake-ups without any line, do not end the waiting.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._wait(deadline):
            lines, ended = self._lines()
            texts = [text for text in map(self._messages.of, lines) if text is not None]
            if texts or ended:
                return texts
        return []

    def _wait(self, deadline: float | None) -> bool:
        left_ms = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
        waiter = select.poll()
        waiter.register(self._fd, select.POLLIN)
        return bool(waiter.poll(left_ms))

    def _lines(self) -> tuple[list[str], bool]:
        """Whole lines that are there, and whether the pipe ended (tracing was switched off)."""
        lines: list[str] = []
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return lines, False
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += [line.decode(errors="replace") for line in whole]
            if not data:
                return lines, True

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
