"""Calls as one JSON object a line; docs/schema.json says what is in them.

Addresses are strings (``"0xffff8f75c8efd300"``: JavaScript has no integers of 64 bits), enum values
and function pointers their names, what could not be read is ``{"unreadable": "fault"}``. Other
integers are numbers, of up to 64 bits.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from fsession.sinks.base import error_of
from fsession.trace.values import Named, Pointer, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["JsonSink", "plain"]


class JsonSink:
    """Writes to `out`, one object a line: a ``call`` each, and at the end a ``summary``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encode = json.JSONEncoder(ensure_ascii=False).encode

    def begin(self) -> None:
        pass

    def write(self, calls: Sequence[Call]) -> None:
        self._out.write("".join(f"{self._encode(_call(call))}\n" for call in calls))
        self._out.flush()

    def end(self, summary: Summary) -> None:
        self._out.write(self._encode({"type": "summary", **asdict(summary)}) + "\n")
        self._out.flush()


def _call(call: Call) -> dict[str, Any]:
    record = {
        "type": "call",
        "function": call.function,
        "module": call.module,
        "time_ns": call.wall_ns,
        "start_ns": call.start_ns,
        "duration_ns": call.duration_ns,
        "pid": call.pid,
        "tid": call.tid,
        "comm": call.comm,
        "cpu": call.cpu,
        "args": {name: plain(value) for name, value in call.args.items()},
    }
    if call.place is not None:
        place = call.place
        record["place"] = {
            "tree": place.tree,
            "order": place.order,
            "parent": place.parent,
            "depth": place.depth,
        }
    if call.prints:
        record["prints"] = {name: plain(value) for name, value in call.prints.items()}
    return record if call.is_void else record | _result(call.ret)


def _result(value: Value) -> dict[str, Any]:
    error = error_of(value)
    return {"ret": plain(value), "error": error} if error else {"ret": plain(value)}


def plain(value: Value) -> Any:
    if isinstance(value, Pointer):
        return f"{int(value):#x}" if value else None
    if isinstance(value, Named):
        return value.label
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return {"unreadable": value.why} if isinstance(value, Unreadable) else value
