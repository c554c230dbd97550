"""What an output format has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["Sink"]


class Sink(Protocol):
    """Calls come in batches as they are found in the ring buffer; the summary comes last."""

    def begin(self) -> None: ...
    def write(self, calls: Sequence[Call]) -> None: ...
    def end(self, summary: Summary) -> None: ...
