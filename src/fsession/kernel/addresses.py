"""From an address of the kernel to the symbol it is in."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from pathlib import Path

__all__ = ["Addresses"]

_LINE = re.compile(rb"^([0-9a-f]+) [^aA] (.+)$", re.MULTILINE)
_FARTHEST = 1 << 20  # from a symbol's start: what lies behind it, but not in it, has no name
_DIGITS = 16
_NOTHING = (0, "")


class Addresses:
    """/proc/kallsyms as it is when the first name is asked for.

    Lines of the kernel itself ascend by their addresses, which all have the same number of digits:
    a name is found by bisecting the text, as numbers of 200,000 lines would take longer than the
    kernel takes to write them. Lines of modules, which come behind, are sorted when an address is
    none of the kernel's.
    """

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path
        self._data: bytes | None = None
        self._own_end = self._first = self._last = 0
        self._modules: list[tuple[int, str]] | None = None
        self._known: dict[int, str | None] = {}

    def name(self, address: int) -> str | None:
        """``icmp_rcv``, ``icmp_rcv+0x12``, ``nf_ct_get+0x8 [nf_conntrack]``; None if there is none
        or the kernel hides its addresses."""
        if address not in self._known:
            self._known[address] = self._find(address)
        return self._known[address]

    def _find(self, address: int) -> str | None:
        found = max(self._own(address), self._of_module(address), key=_start)
        start, words = found
        if not start or address - start >= _FARTHEST:
            return None
        name, _, module = words.partition("\t")
        offset = f"+{address - start:#x}" if address > start else ""
        return f"{name}{offset} {module}" if module else name + offset

    def _own(self, address: int) -> tuple[int, str]:
        """The symbol at or before an address, the first of those there: its start and name."""
        data = self._data or self._read()
        ends = bisect_right(range(self._own_end), b"%016x" % address, key=self._digits_at)
        if not ends:
            return _NOTHING
        begins = bisect_left(range(ends), self._digits_at(ends - 1), key=self._digits_at)
        found = _LINE.search(data, begins, ends)
        return (int(found[1], 16), found[2].decode()) if found else _NOTHING

    def _digits_at(self, place: int) -> bytes:
        """The address in the line that has this byte."""
        assert self._data is not None
        start = self._data.rfind(b"\n", 0, place) + 1
        return self._data[start : start + _DIGITS]

    def _of_module(self, address: int) -> tuple[int, str]:
        if self._first <= address <= self._last:
            return _NOTHING
        if self._modules is None:
            lines = _LINE.finditer(self._data or b"", self._own_end)
            rows = [(int(line[1], 16), line[2].decode()) for line in lines]
            self._modules = sorted(rows, key=_start)
        at = bisect_right(self._modules, address, key=_start) - 1
        if at < 0:
            return _NOTHING
        return self._modules[bisect_left(self._modules, self._modules[at][0], key=_start)]

    def _read(self) -> bytes:
        data = self._data = self._path.read_bytes()
        module = data.find(b"\t[")
        self._own_end = data.rfind(b"\n", 0, module) + 1 if module >= 0 else len(data)
        own = _LINE.search(data, 0, self._own_end)
        self._first = int(own[1], 16) if own else 0
        self._last = int(self._digits_at(self._own_end - 1), 16) if own else 0
        return data


def _start(row: tuple[int, str]) -> int:
    return row[0]
