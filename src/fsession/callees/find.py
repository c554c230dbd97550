"""The functions that some functions call, directly and to a depth, from their machine code.

Breadth first, all functions of a depth read at once; in the order of the code, so that the same
kernel gives the same list in every run.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fsession.callees.machine import branches, entry_skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fsession.callees.memory import Symbol

__all__ = ["Callee", "Memory", "Verdict", "find_callees"]

MAX_BYTES = 1 << 16
"""Of a function that is read: the last one in front of a hole seems to be as long as that."""


class Verdict(Enum):
    """What becomes of a function that is called."""

    KEEP = "kept, and its callees looked for"
    LEAF = "kept, its callees are not looked for"
    THROUGH = "not kept, but its callees are looked for"
    PART = "code of the caller that the compiler put elsewhere: its callees are the caller's"
    DROP = "left out, with all that only it calls"


class Callee(NamedTuple):
    """A function that was kept, with its address, and the least depth at which it is called."""

    symbol: Symbol
    address: int
    depth: int


class Memory(Protocol):
    """What is read of a kernel, or of a process."""

    def read(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]: ...
    def symbols(self, addresses: Iterable[int]) -> list[Symbol | None]: ...
    def goals(self, places: Iterable[int]) -> list[int]: ...


def find_callees(
    memory: Memory,
    machine: str,
    roots: Sequence[int],
    depth: int,
    judge: Callable[[Sequence[Symbol]], Sequence[Verdict]],
) -> list[Callee]:
    """What the functions that start at `roots` call, at depths from 1 to `depth`.

    `judge` is asked once about each function.
    """
    finder = _Finder(memory, machine, judge)
    finder.known = dict.fromkeys(roots, Verdict.KEEP)
    level = list(dict.fromkeys(roots))
    for number in range(1, depth + 1):
        level = finder.level(level, number)
    return finder.found


class _Finder:
    def __init__(
        self, memory: Memory, machine: str, judge: Callable[[Sequence[Symbol]], Sequence[Verdict]]
    ) -> None:
        self._memory, self._machine, self._judge = memory, machine, judge
        self._names: dict[int, Symbol | None] = {}
        self.known: dict[int, Verdict] = {}
        self.found: list[Callee] = []

    def level(self, functions: Sequence[int], depth: int) -> list[int]:
        """Note what `functions` call; those of them whose callees are to be looked for."""
        following: list[int] = []
        while functions:
            fresh = self._fresh(self._targets(functions))
            functions = []
            for start, verdict in fresh:
                symbol = self._names[start]
                assert symbol is not None
                if verdict in (Verdict.KEEP, Verdict.LEAF):
                    self.found.append(Callee(symbol, start, depth))
                if verdict is Verdict.PART:
                    functions.append(start)
                elif verdict in (Verdict.KEEP, Verdict.THROUGH):
                    following.append(start)
        return following

    def _fresh(self, targets: Iterable[int]) -> list[tuple[int, Verdict]]:
        """Starts of functions that were not seen before, each judged."""
        starts = [start for start in dict.fromkeys(targets) if start not in self.known]
        symbols = [self._names[start] for start in starts]
        verdicts = self._judge([symbol for symbol in symbols if symbol])
        pairs = list(zip(starts, verdicts, strict=True))
        self.known |= pairs
        return pairs

    def _targets(self, functions: Sequence[int]) -> list[int]:
        """Starts of the functions that `functions` go to, in the order of their code."""
        self._learn(functions)
        sizes = [self._size(start) for start in functions]
        codes = self._memory.read(zip(functions, sizes, strict=True))
        places = [
            branch.target
            for start, code in zip(functions, codes, strict=True)
            for branch in branches(code, start, self._machine)
        ]
        places = self._memory.goals(places)
        self._learn(places)
        return [start for place in places if (start := self._start(place)) is not None]

    def _size(self, start: int) -> int:
        symbol = self._names[start]
        return min(symbol.size, MAX_BYTES) if symbol else 0

    def _start(self, place: int) -> int | None:
        """Of the function that is entered at `place`; None for a place in the middle of one.

        The compiler's parts of functions are jumped into anywhere.
        """
        symbol = self._names[place]
        if symbol is None:
            return None
        start = place - symbol.offset
        if symbol.offset > entry_skip(self._machine) and not symbol.name.endswith(".cold"):
            return None
        self._names.setdefault(start, symbol._replace(offset=0))
        return start

    def _learn(self, addresses: Iterable[int]) -> None:
        fresh = [item for item in dict.fromkeys(addresses) if item not in self._names]
        self._names |= zip(fresh, self._memory.symbols(fresh), strict=True)
