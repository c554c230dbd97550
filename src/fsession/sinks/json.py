"""Calls as one JSON object a line; docs/schema.json says what is in them.

Addresses are strings (``"0xffff8f75c8efd300"``: JavaScript has no integers of 64 bits), enum values
and function pointers their names, what could not be read is ``{"unreadable": "fault"}``. Other
integers are numbers, of up to 64 bits.

Lines are put together by hand, since that takes a third of the time of the `json` module: what is
the same in all calls of a function is made once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from fsession.sinks.base import error_of, kept
from fsession.trace.values import Errno, Named, Pointer, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fsession.trace.event import Call, Function, Summary

__all__ = ["JsonSink", "plain"]

_encode = json.JSONEncoder(ensure_ascii=False).encode


class JsonSink:
    """Writes to `out`, one object a line: a ``call`` each, and at the end a ``summary``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: dict[int, tuple[Function, Callable[[Call], str]]] = {}

    def begin(self) -> None:
        pass

    def write(self, calls: Sequence[Call]) -> None:
        lines = self._lines
        out: list[str] = []
        for call in calls:
            known = lines.get(id(call.traced)) or self._learn(call.traced)
            out.append(known[1](call))
        self._out.write("".join(out))
        self._out.flush()

    def _learn(self, function: Function) -> tuple[Function, Callable[[Call], str]]:
        """How calls of a function are written. It is kept: its id must stay its own."""
        known = self._lines[id(function)] = (function, _writer(function))
        return known

    def end(self, summary: Summary) -> None:
        self._out.write(_encode({"type": "summary", **asdict(summary)}) + "\n")
        self._out.flush()


def _writer(function: Function) -> Callable[[Call], str]:
    signature = function.signature
    head = (
        f'{{"type": "call", "function": {_encode(signature.function)}, '
        f'"module": {_encode(signature.module)}, "time_ns": '
    )
    is_void, simple = not signature.result, function.simple
    names = {param.name: f"{_encode(param.name)}: " for param in signature.params}
    shown = [(names[name], slot, _shower(read)) for name, slot, read in simple or ()]
    whos: dict[tuple[int, int, str, int], str] = {}
    results: dict[int, str] = {}

    def line(call: Call) -> str:
        key = (call.pid, call.tid, call.comm, call.cpu)
        who, words = whos.get(key) or kept(whos, key, _who(*key)), call.words
        if simple is None:
            args = ", ".join([names[name] + _json(value) for name, value in call.args.items()])
        else:
            args = ", ".join([name + show(words[slot]) for name, slot, show in shown])
        more = _more(call) if call.place is not None or call.prints else ""
        word = 0 if is_void else call.result_word
        result = results.get(word) or kept(
            results, word, "}\n" if is_void else _result(function.result(word)) + "}\n"
        )
        return (
            f'{head}{call.wall_ns}, "start_ns": {call.start_ns}, '
            f'"duration_ns": {call.duration_ns}, {who}, "args": {{{args}}}{more}{result}'
        )

    return line


def _who(pid: int, tid: int, comm: str, cpu: int) -> str:
    return f'"pid": {pid}, "tid": {tid}, "comm": {_encode(comm)}, "cpu": {cpu}'


def _shower(read: Callable[[int], Value]) -> Callable[[int], str]:
    """From a word to JSON; of an address without making a value of it first."""
    if read is not Pointer:
        return lambda word: _json(read(word))
    return lambda word: f'"{word:#x}"' if word else "null"


def _more(call: Call) -> str:
    """What most calls have not."""
    out = ""
    if call.place is not None:
        place = call.place
        out = (
            f', "place": {{"tree": {place.tree}, "order": {place.order}, '
            f'"parent": {place.parent}, "depth": {place.depth}}}'
        )
    return f'{out}, "prints": {_object(call.prints)}' if call.prints else out


def _object(values: Mapping[str, Value]) -> str:
    return _encode({name: plain(value) for name, value in values.items()})


def _result(value: Value) -> str:
    error = error_of(value) if type(value) in _FAILING else ""
    return f', "ret": {_json(value)}, "error": "{error}"' if error else f', "ret": {_json(value)}'


_FAILING = (Errno, Pointer)


def _json(value: Value) -> str:
    """The text of `plain`, for the usual kinds at once."""
    if type(value) is int:
        return str(value)
    if type(value) is Errno:
        return f"{value:d}"
    if type(value) is Pointer:
        return f'"{value:#x}"' if value else "null"
    return _encode(plain(value))


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
