"""What a user is told while a guest is made: notes, and a bar for long downloads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Advance", "Progress", "Quiet", "StderrProgress"]

Advance = Callable[[int], None]  # called with the bytes there are by now


class Progress(Protocol):
    """Where news of slow work goes."""

    def note(self, text: str) -> None:
        """Say one line."""

    def bar(self, label: str, total_bytes: int) -> AbstractContextManager[Advance]:
        """Show the way to `total_bytes`."""


class Quiet:
    """Says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, label: str, total_bytes: int) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda done: None


class StderrProgress:
    """Notes on standard error; a bar if that is a terminal, else one line for each download."""

    def note(self, text: str) -> None:
        """Say one line."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, label: str, total_bytes: int) -> Iterator[Advance]:
        """Show the way to `total_bytes`."""
        if not sys.stderr.isatty():
            self.note(f"{label} ({total_bytes / 1e6:.1f} MB)")
            yield lambda done: None
            return
        # Only here: rich takes longer to import than a warm guest takes to start booting.
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(label, total=total_bytes)
            yield lambda done: bars.update(task, completed=done)
