"""A recording as calls, on any machine."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from fsession.btf.catalog import Types
from fsession.errors import BadInputError
from fsession.recording.chunks import HEAD, MAGIC, RECS, SUMS, SYMS, TYPE, Chunk, chunks
from fsession.recording.header import decode_header, decode_summary
from fsession.recording.names import KnownNames
from fsession.trace import Call, Decoder, Summary
from fsession.trace.graph_decode import GraphDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike

    import pyarrow

    from fsession.trace import Function
    from fsession.trace.graph_decode import GraphEvent

__all__ = ["Recording", "is_recording"]

_RING = struct.Struct("<II")  # before a record in a span: length and flags, the kernel's word
_LENGTH, _BUSY = (1 << 30) - 1, 1 << 31
_U64 = 1 << 64


class Recording:
    """Of `file`, which is read once, from its start to its end, in little memory.

    ::

        with Recording.open("trace.fsr") as recording:
            for call in recording:
                print(call.function, call.args, call.ret)

    `summary` is complete when all calls have been read; `is_cut` then says whether the end of the
    file was missing: the tracer was killed, the disk was full, or it is still being written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunks = chunks(file)
        self._names = KnownNames()
        types: list[Types] = []
        for chunk in self._chunks:
            if not chunk.whole:
                break
            if chunk.kind == TYPE:
                types.append(Types.from_bytes(chunk.payload, name="the recording"))
            if chunk.kind == HEAD:
                self.header = decode_header(chunk.payload, types, self._names.symbol)
                break
        if not hasattr(self, "header"):
            raise BadInputError("the recording was cut before its first record")
        self._decode = self._decoder()
        self._read = 0
        self._told: Summary | None = None
        self.is_cut = False

    def _decoder(self) -> Callable[[memoryview], Iterable[GraphEvent]]:
        """From a span of records to events."""
        what = self.header.functions, self.header.wall_offset_ns
        if self.is_graph:
            return GraphDecoder(*what, self._names.symbol).events
        if self.header.kind == "trace":
            calls = Decoder(*what).calls
            has_symbols = any(one.has_symbols for one in self.functions)
            return partial(self._named, calls) if has_symbols else calls
        raise BadInputError(f"a recording of '{self.header.kind}' can't be read by this version")

    def _named(
        self, decode: Callable[[memoryview], Iterable[Call]], span: memoryview
    ) -> Iterator[Call]:
        for call in decode(span):
            self._names.name_user_frames(call)
            yield call

    @property
    def is_graph(self) -> bool:
        """Whether the calls have places in trees."""
        return self.header.kind == "graph"

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Recording:
        """Of the file at `path`; to be closed, or used in a ``with``."""
        with ExitStack() as stack:
            recording = cls(stack.enter_context(Path(path).open("rb")))
            stack.pop_all()
        return recording

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def functions(self) -> tuple[Function, ...]:
        """Those that were traced, in the order of their indices in records."""
        return self.header.functions

    @property
    def summary(self) -> Summary:
        """As the tracer told it; of a recording that was cut, what it had told before.

        `calls` is at least what has been read.
        """
        told = self._told or Summary(0, 0, 0, len(self.functions), "", 0, 0, self.header.host)
        return replace(told, calls=max(told.calls, self._read + told.lost))

    def __iter__(self) -> Iterator[Call]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Call]]:
        """The calls in the order of their ends, in lists of a handy size."""
        for events in self.events():
            yield [event for event in events if isinstance(event, Call)]

    def events(self) -> Iterator[list[GraphEvent]]:
        """Calls, and of a graph the beginnings of those that made others as well."""
        for span in self.spans():
            events = list(self._decode(span))
            _check_times(events)
            self._read += sum(isinstance(event, Call) for event in events)
            yield events

    def to_arrow(self) -> pyarrow.Table:
        """All calls as a table, for notebooks; ``.to_pandas()`` makes a data frame of it."""
        from fsession.sinks.arrow import to_table

        return to_table(self)

    def spans(self) -> Iterator[memoryview]:
        """The records as they lay in the ring buffer, whole ones, many at once."""
        ended = False
        for chunk in self._chunks:
            ended = False
            if chunk.kind == RECS:
                yield memoryview(chunk.payload)[: whole_bytes(chunk)]
            elif chunk.kind == SYMS and chunk.whole:
                self._names.add(chunk.payload)
            elif chunk.kind == SUMS and chunk.whole:
                self._told, ended = decode_summary(chunk.payload)
        self.is_cut = not ended


def is_recording(path: str | PathLike[str]) -> bool:
    """Whether the file at `path` begins as one does."""
    with Path(path).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _check_times(events: Iterable[GraphEvent]) -> None:
    for event in events:
        call = event if isinstance(event, Call) else event.call
        if call.duration_ns < 0 or not 0 <= call.wall_ns < _U64:
            raise BadInputError("a record has impossible times")


def whole_bytes(chunk: Chunk) -> int:
    """Up to the first record that is not all there. In a chunk that was not cut there is none."""
    data, at, end = chunk.payload, 0, len(chunk.payload)
    while at + _RING.size <= end:
        head, _ = _RING.unpack_from(data, at)
        length = head & _LENGTH
        following = at + _RING.size + length + (-length & 7)
        if following > end or head & _BUSY:
            break
        at = following
    if chunk.whole and at != end:
        raise BadInputError("records in the recording make no sense", chunk.at + at)
    return at
