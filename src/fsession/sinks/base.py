"""What an output format has to do, and what several of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from fsession.errors import errno_name
from fsession.trace.values import Errno, Pointer, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["Sink", "error_of", "kept"]

Key = TypeVar("Key")
_MOST_KEPT = 1000


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


def kept(texts: dict[Key, str], key: Key, text: str) -> str:
    """Keep a text that is likely to be asked for again; not many, so memory does not grow."""
    if len(texts) >= _MOST_KEPT:
        texts.clear()
    texts[key] = text
    return text
