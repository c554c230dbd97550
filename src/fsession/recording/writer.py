"""Records of a trace to a file, as they are: nothing is decoded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

from fsession.recording.chunks import HEAD, RECS, SUMS, SYMS, TYPE, chunk_head, file_head
from fsession.recording.header import encode_header, encode_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.recording.header import Header
    from fsession.recording.names import SeenNames
    from fsession.trace import Summary

__all__ = ["RecordingWriter"]

_SUMMARY_S = 1.0


class RecordingWriter:
    """Writes to `file`, which should not buffer: what was written survives a kill of the tracer.

    `summary` is asked for now and then, so that a recording that was cut tells what it had lost.
    `names` finds those of the addresses in the records: without them, nothing is decoded.
    """

    def __init__(
        self,
        file: BinaryIO,
        header: Header,
        summary: Callable[[], Summary],
        names: SeenNames | None = None,
    ) -> None:
        self._file = file
        self._summary = summary
        self._names = names
        blobs, head = encode_header(header)
        file.write(file_head())
        for blob in blobs:
            self._chunk(TYPE, blob)
        self._chunk(HEAD, head)
        self._told_s = time.monotonic()

    def write(self, span: bytes) -> None:
        """A span of the ring buffer, as ``read_batch()`` of its reader gives it."""
        if span:
            new = self._names.of(span) if self._names else b""
            if new:
                self._chunk(SYMS, new)
            self._chunk(RECS, span)
        now = time.monotonic()
        if now - self._told_s >= _SUMMARY_S:
            self._told_s = now
            self._chunk(SUMS, encode_summary(self._summary(), last=False))

    def end(self, summary: Summary) -> None:
        self._chunk(SUMS, encode_summary(summary, last=True))

    def _chunk(self, kind: bytes, payload: bytes) -> None:
        self._file.write(chunk_head(kind, payload))
        self._file.write(payload)
