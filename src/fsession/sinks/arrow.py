"""Calls as columns of Apache Arrow: Parquet files, tables for notebooks.

Each argument has a column of its own, ``arg.NAME``, with the type that its values have; so has the
value of each expression, ``print.EXPR``. A file's
columns are settled by its first calls (`GROUP` of them); what has no place in them, arguments of
functions that came later or values of another type, is kept in ``more``, as JSON.

Needs the package `pyarrow`, an extra (``fsession[arrow]``).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fsession.sinks.base import error_of
from fsession.trace.values import Named, Pointer, Value, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["GROUP", "ParquetSink", "to_table"]

GROUP = 1 << 16
MOST_COLUMNS = 500
MORE = "more"

_NAME = pa.dictionary(pa.int32(), pa.string())
_FIXED: dict[str, pa.DataType] = {
    "time": pa.timestamp("ns", "UTC"),
    "start_ns": pa.int64(),
    "duration_ns": pa.int64(),
    "pid": pa.uint32(),
    "tid": pa.uint32(),
    "comm": _NAME,
    "cpu": pa.uint32(),
    "module": _NAME,
    "function": _NAME,
    "ret": pa.int64(),
    "ret_text": pa.string(),
    "error": _NAME,
    "tree": pa.uint64(),
    "order": pa.int64(),
    "parent": pa.int64(),
    "depth": pa.int64(),
}
_S64 = 1 << 63

_Plain = bool | int | str | None


class ParquetSink:
    """Writes to `out` a group of calls at a time; the summary is in the file's metadata."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._waiting: list[Call] = []
        self._writer: pq.ParquetWriter | None = None
        self._types: dict[str, pa.DataType] = {}

    def begin(self) -> None:
        """The columns are those of the first calls: nothing is written before."""

    def write(self, calls: Sequence[Call]) -> None:
        self._waiting += calls
        while len(self._waiting) >= GROUP:
            self._group(self._waiting[:GROUP])
            del self._waiting[:GROUP]

    def end(self, summary: Summary) -> None:
        if self._waiting or self._writer is None:
            self._group(self._waiting)
        assert self._writer is not None
        self._writer.add_key_value_metadata({"fsession.summary": json.dumps(asdict(summary))})
        self._writer.close()
        self._out.flush()

    def _group(self, calls: Sequence[Call]) -> None:
        rows = [_args(call) for call in calls]
        if self._writer is None:
            self._types = _types(rows)
            self._writer = pq.ParquetWriter(self._out, _schema(self._types))
        self._writer.write_batch(_batch(calls, rows, self._types))


def to_table(calls: Iterable[Call]) -> pa.Table:
    """All of `calls`; ``to_table(…).to_pandas()`` makes a data frame."""
    listed = list(calls)
    rows = [_args(call) for call in listed]
    types = _types(rows)
    return pa.Table.from_batches([_batch(listed, rows, types)])


def _args(call: Call) -> dict[str, _Plain]:
    out = {f"arg.{name}": _plain(value) for name, value in call.args.items()}
    for name, value in call.prints.items():
        out[f"print.{name}"] = _plain(value)
    return out


def _plain(value: Value) -> _Plain:
    """Numbers and texts; addresses as text, since many tools know no unsigned numbers with gaps."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Named):
        return value.label
    if isinstance(value, Pointer):
        return str(value) if value else None
    return int(value) if isinstance(value, int) else text(value)


def _types(rows: Sequence[dict[str, _Plain]]) -> dict[str, pa.DataType]:
    """Of the columns of arguments, in the order of their first calls."""
    found: dict[str, set[pa.DataType]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, set()).add(_type(value))
    return {name: _common(types) for name, types in list(found.items())[:MOST_COLUMNS]}


def _type(value: _Plain) -> pa.DataType:
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if -_S64 <= value < _S64 else pa.uint64()
    return pa.string()


def _common(types: set[pa.DataType]) -> pa.DataType:
    """One type for all; text holds everything."""
    known = types - {pa.null()}
    return known.pop() if len(known) == 1 else pa.string()


def _schema(types: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*_FIXED.items(), *types.items(), (MORE, pa.string())])


def _batch(
    calls: Sequence[Call], rows: Sequence[dict[str, _Plain]], types: dict[str, pa.DataType]
) -> pa.RecordBatch:
    fixed = zip(*map(_fixed, calls), strict=True) if calls else ([] for _ in _FIXED)
    arrays = [pa.array(column, type) for column, type in zip(fixed, _FIXED.values(), strict=True)]
    more: list[dict[str, _Plain]] = [
        {name: value for name, value in row.items() if name not in types} for row in rows
    ]
    for name, type in types.items():
        column = [row.get(name) for row in rows]
        arrays.append(pa.array(_fitted(column, name, type, more), type))
    arrays.append(pa.array([_json(row) for row in more], pa.string()))
    return pa.RecordBatch.from_arrays(arrays, schema=_schema(types))


def _fitted(
    column: list[_Plain], name: str, type: pa.DataType, more: list[dict[str, _Plain]]
) -> list[_Plain]:
    """The column's values; those that are of another type go to `more`."""
    if type == pa.string():
        return [None if value is None else _text(value) for value in column]
    for at, value in enumerate(column):
        if value is not None and _type(value) != type:
            more[at][name], column[at] = value, None
    return column


def _text(value: bool | int | str) -> str:
    return value if isinstance(value, str) else text(value)


def _json(row: dict[str, _Plain]) -> str | None:
    plain = {name.removeprefix("arg."): value for name, value in row.items()}
    return json.dumps(plain, ensure_ascii=False) if plain else None


def _fixed(call: Call) -> tuple[object, ...]:
    ret, place = call.ret, call.place
    return (
        call.wall_ns, call.start_ns, call.duration_ns, call.pid, call.tid, call.comm, call.cpu,
        call.module, call.function, _number(ret),
        None if call.is_void else text(ret), error_of(ret) or None,
        *((place.tree, place.order, place.parent, place.depth) if place else (None,) * 4),
    )  # fmt: skip


def _number(value: Value) -> int | None:
    """Of what is a number and no address."""
    if not isinstance(value, int) or isinstance(value, Pointer) or not -_S64 <= value < _S64:
        return None
    return int(value)
