"""What an output format has to do, and what several of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.errors import errno_name
from fsession.trace.values import Errno, Pointer, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["Sink", "error_of"]


class Sink(Protocol):
    """Calls come in batches as they are found in the ring buffer; the summary comes last."""

    def begin(self) -> None: ...
    def write(self, calls: Sequence[Call]) -> None: ...
    def end(self, summary: Summary) -> None: ...


def error_of(value: Value) -> str:
    """The errno name that a result stands for, "" if it is no error."""
    errno = -value if isinstance(value, Errno) else 0
    errno = value.errno if isinstance(value, Pointer) else errno
    return errno_name(errno) if errno else ""
