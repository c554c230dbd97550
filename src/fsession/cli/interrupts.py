"""Ctrl-C and SIGTERM as things to wait for, instead of exceptions at any place."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is open: `fileno` becomes readable when a signal has come, `came` says so.

    A second signal has its usual effect: whoever is impatient can leave.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Any] = {}

    def fileno(self) -> int:
        return self._wake_at

    def __enter__(self) -> Self:
        self._wake_at, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.came = True
        signal.signal(number, self._before[number])

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wake)
        os.close(self._wake_at)
