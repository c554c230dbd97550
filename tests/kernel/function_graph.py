"""ftrace's function_graph beside our own: the same calls, by another hand.

Lines come in the latency format, whose third sign behind the CPU tells a softirq (s) and an
interrupt (h, H) from a task (.): what hits a function is no part of its tree.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["FunctionGraph", "Seen", "parse"]

_TRACING = Path("/sys/kernel/tracing")
_LINE = re.compile(
    r"^\s*\d+\)\s+(?P<flags>\S+)\s+\|\s*(?:[-+!#*@$]\s*)?(?:(?P<us>[\d.]+) us)?\s*\|"
    r"\s*(?:(?P<leaf>[\w.]+)\(\);|(?P<open>[\w.]+)\(\) \{|\}(?: /\* [\w.]+.*)?)"
)
_MARK = re.compile(r"^.*/\* (run \d+) \*/.*$", re.MULTILINE)
_OPTIONS = {
    "latency-format": "1",
    "funcgraph-irqs": "0",
    "funcgraph-tail": "1",
    "funcgraph-duration": "1",
    "funcgraph-cpu": "1",
    "funcgraph-proc": "0",
    "funcgraph-overhead": "1",
}


class Seen(NamedTuple):
    """A call: how deep below its root, and how long it took."""

    depth: int
    name: str
    duration_us: float


class FunctionGraph:
    """Traces `functions` below `root` for one process, from the start to the end of a ``with``."""

    def __init__(self, root: str, functions: Collection[str], pid: int) -> None:
        self._root, self._functions, self._pid = root, functions, pid
        self._before: dict[str, str] = {}
        self.text = ""

    def __enter__(self) -> Self:
        for name, value in _OPTIONS.items():
            option = _TRACING / "options" / name
            if option.exists():
                self._before[name] = option.read_text().strip()
                option.write_text(value)
        _write("tracing_on", "0")
        _write("set_ftrace_filter", _places({*self._functions, self._root}))
        _write("set_graph_function", self._root)
        _write("set_ftrace_pid", str(self._pid))
        _write("current_tracer", "function_graph")
        _write("trace", "")
        # Open all the time: to open a file is what one of the tests traces.
        self._marker = os.open(_TRACING / "trace_marker", os.O_WRONLY)
        self._switch = os.open(_TRACING / "tracing_on", os.O_WRONLY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._marker)
        os.close(self._switch)
        self.text = (_TRACING / "trace").read_text()
        _write("current_tracer", "nop")
        for name in ("set_ftrace_filter", "set_graph_function", "set_ftrace_pid", "trace"):
            _write(name, "")
        for name, value in self._before.items():
            (_TRACING / "options" / name).write_text(value)
        _write("tracing_on", "1")

    def begin(self, words: str) -> None:
        """Trace from here on; `words` mark the place."""
        os.write(self._switch, b"1")
        os.write(self._marker, words.encode())

    def end(self, words: str) -> None:
        """Trace no more: what the test does between its runs would fill the buffer."""
        os.write(self._marker, words.encode())
        os.write(self._switch, b"0")

    def runs(self) -> dict[str, list[list[Seen]]]:
        """By the words of each pair of marks: calls of each root that ended between the two, in the
        order of their entries."""
        _, *parts = _MARK.split(self.text)
        pairs = zip(parts[::4], parts[1::4], strict=True)
        return {
            mark: [tree for tree in parse(text) if tree[0].name == self._root]
            for mark, text in pairs
        }


def _places(functions: Collection[str]) -> str:
    """Of functions in ftrace's list: by its number each is found at once, by its name ftrace asks
    for the names of all there are."""
    wanted = set(functions)
    places = []
    with (_TRACING / "available_filter_functions").open() as names:
        for number, line in enumerate(names, 1):
            name, _, module = line.rstrip("\n").partition(" ")
            if name in wanted and not module:
                places.append(str(number))
    assert len(places) == len(wanted), f"{len(places)} places of {len(wanted)} functions"
    return " ".join(places)


def _write(name: str, value: str) -> None:
    (_TRACING / name).write_text(value)


def parse(text: str) -> Iterator[list[Seen]]:
    """Trees in the text of a trace of one CPU."""
    tree: list[Seen] = []
    stack: list[int] = []
    level = ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        flags = found["flags"][2]
        if not stack:
            level = flags
        elif flags != level:
            continue
        us = float(found["us"] or 0)
        if found["leaf"]:
            tree.append(Seen(len(stack), found["leaf"], us))
        elif found["open"]:
            stack.append(len(tree))
            tree.append(Seen(len(stack) - 1, found["open"], 0))
        elif stack:
            at = stack.pop()
            tree[at] = tree[at]._replace(duration_us=us)
        if not stack and tree:
            yield tree
            tree = []
