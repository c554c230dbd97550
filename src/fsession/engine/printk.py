"""What programs print, for readers that wait on a descriptor."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PrintkQueue"]


class PrintkQueue:
    """Lines of one machine from the time it is made."""

    def __init__(self, on_close: Callable[[PrintkQueue], None]) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lines: list[str] = []
        self._on_close = on_close
        self.lost = 0

    def put(self, text: str) -> None:
        self._lines += text.removesuffix("\n").split("\n")
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        return self._event

    def read(self, timeout_s: float | None = None) -> list[str]:
        """Lines that have come, waiting at most `timeout_s` for the first; [] if none came."""
        if not self._lines and timeout_s != 0:
            waiter = select.poll()
            waiter.register(self._event, select.POLLIN)
            waiter.poll(None if timeout_s is None else timeout_s * 1000)
        with suppress(BlockingIOError):  # nothing new
            os.eventfd_read(self._event)
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        event, self._event = self._event, -1
        if event >= 0:
            self._on_close(self)
            os.close(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
