"""A clock that can be waited for."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Self

__all__ = ["Ticker"]


class Ticker:
    """Readable each `interval_s`; with None, never. A context manager."""

    def __init__(self, interval_s: float | None) -> None:
        self._interval_s = interval_s
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def fileno(self) -> int:
        return self._read

    def ticked(self) -> bool:
        """Whether an interval has ended since the last time it was asked."""
        try:
            return bool(os.read(self._read, 4096))
        except BlockingIOError:
            return False

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            with suppress(BlockingIOError):  # nobody has read the last thousands
                os.write(self._write, b"t")

    def __enter__(self) -> Self:
        if self._interval_s is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._interval_s is not None:
            self._thread.join()
        os.close(self._read)
        os.close(self._write)
