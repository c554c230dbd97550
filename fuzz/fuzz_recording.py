"""Mutated recordings into the reader, and the calls it gives into text, JSON and columns.

python fuzz/fuzz_recording.py --count 2000 --seed 1
"""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from mutate import Span, main

from fsession.recording import Recording
from fsession.sinks.csv import CsvSink
from fsession.sinks.json import JsonSink
from fsession.sinks.text import TextSink

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import _make_types
from recording.spans import RECORDS, recording, span, values_recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FILE_HEAD = 12
_HEAD = struct.Struct("<4sII")


def bases() -> Sequence[tuple[bytes, Sequence[Span]]]:
    """A recording of each kind of argument, and of a graph with values and stacks.

    Payloads are changed more often than their heads.
    """
    kernel = _make_types()
    plain = recording(kernel, span(*RECORDS[:4]), span(*RECORDS[4:]))
    return [
        (raw, [(start, start + length) for start, length in _payloads(raw)])
        for raw in (plain, values_recording(kernel))
    ]


def _payloads(raw: bytes) -> Iterator[tuple[int, int]]:
    at = _FILE_HEAD
    while at + _HEAD.size <= len(raw):
        length = _HEAD.unpack_from(raw, at)[1]
        yield at + _HEAD.size, length
        at += _HEAD.size + length


def healed(raw: bytes) -> bytes:
    """With the checksums that its payloads have now: else all that is changed would be refused."""
    out = bytearray(raw)
    for start, length in _payloads(raw):
        struct.pack_into("<I", out, start - 4, crc32(raw[start : start + length]))
    return bytes(out)


def use(data: bytes) -> None:
    """Read all calls and write each in several ways."""
    opened = Recording(io.BytesIO(healed(data)))
    sinks = [kind(io.StringIO()) for kind in (TextSink, JsonSink, CsvSink)]
    for calls in opened.batches():
        for sink in sinks:
            sink.write(calls)
    for sink in sinks:
        sink.end(opened.summary)


if __name__ == "__main__":
    sys.exit(main("fuzz_recording", bases, use))
