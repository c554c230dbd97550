"""Names of the addresses in a recording: another machine could not find them.

As JSON in the file, in front of the records that have the addresses for the first time::

    {"kernel": [[ADDRESS, NAME], …], "processes": [[PID, ADDRESS, NAME], …]}
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from fsession.errors import BadInputError
from fsession.trace import Call, Decoder, Function
from fsession.trace.event import name_user_frames
from fsession.trace.graph_decode import GraphDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.recording.header import Header

__all__ = ["KnownNames", "SeenNames"]

_MOST_SEEN = 100_000  # then names are written again
_MAX = 1 << 64


class SeenNames:
    """Of a tracer's records: asks for the names of what they have, as long as it can be asked.

    `symbol` is about addresses of the kernel, `user_symbol` about those of a process.
    """

    def __init__(
        self,
        header: Header,
        symbol: Callable[[int], str | None],
        user_symbol: Callable[[int, int], str | None],
    ) -> None:
        self._symbol, self._user_symbol = symbol, user_symbol
        self._seen: set[tuple[int, ...]] = set()
        self._new: dict[str, list[list[int | str]]] = {"kernel": [], "processes": []}
        functions = tuple(
            Function.of(one.signature, one.layout, self._kernel, one.fields)
            for one in header.functions
        )
        if header.kind == "graph":
            self._events = GraphDecoder(functions, 0, self._kernel).events
        else:
            self._events = Decoder(functions, 0).calls
        symbol(1)  # a trampoline has a name only as long as it is attached

    def of(self, span: bytes) -> bytes:
        """The names in a span of records that were not in those before; b"" if there are none."""
        for event in self._events(span):
            call = event if isinstance(event, Call) else event.call
            _ = call.args  # pointers to functions
            name_user_frames(call, partial(self._user, call.pid))
        new, self._new = self._new, {"kernel": [], "processes": []}
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
        return json.dumps(new, ensure_ascii=False).encode() if any(new.values()) else b""

    def _kernel(self, address: int) -> str | None:
        return self._keep("kernel", (address,), self._symbol)

    def _user(self, pid: int, address: int) -> str | None:
        return self._keep("processes", (pid, address), self._user_symbol)

    def _keep(
        self, whose: str, where: tuple[int, ...], find: Callable[..., str | None]
    ) -> str | None:
        name = find(*where)
        if where not in self._seen:
            self._seen.add(where)
            if name and name.isprintable():
                self._new[whose].append([*where, name])
        return name


class KnownNames:
    """Of a recording, as far as it has been read."""

    def __init__(self) -> None:
        self._kernel: dict[int, str] = {}
        self._processes: dict[tuple[int, int], str] = {}

    def add(self, data: bytes) -> None:
        """Raises `BadInputError` for what `SeenNames` can't have written."""
        try:
            plain = json.loads(data)
            kernel = [_row(row, 2) for row in plain["kernel"]]
            processes = [_row(row, 3) for row in plain["processes"]]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise BadInputError(f"the recording's names can't be read: {error}") from None
        self._kernel |= dict(kernel)
        self._processes |= {(pid, address): name for pid, address, name in processes}

    def symbol(self, address: int) -> str | None:
        return self._kernel.get(address)

    def name_user_frames(self, call: Call) -> None:
        name_user_frames(call, lambda address: self._processes.get((call.pid, address)))


def _row(row: Any, length: int) -> list[Any]:
    *numbers, name = row
    fits = len(row) == length and isinstance(name, str) and name.isprintable()
    if not fits or not all(type(one) is int and 0 <= one < _MAX for one in numbers):
        raise ValueError(f"{row!r:.80} is no address with its name")
    return [*numbers, name]
