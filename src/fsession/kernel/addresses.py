"""From an address of the kernel to the symbol it is in."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from pathlib import Path

__all__ = ["Addresses"]

_LINE = re.compile(rb"^([0-9a-f]+) [^aA] ", re.MULTILINE)
_FARTHEST = 1 << 20  # from a symbol's start: what lies behind it, but not in it, has no name


class Addresses:
    """/proc/kallsyms as it is when the first name is asked for."""

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path
        self._data = b""
        self._starts = array("Q")
        self._places = array("Q")
        self._known: dict[int, str | None] = {}

    def name(self, address: int) -> str | None:
        """``icmp_rcv``, ``icmp_rcv+0x12``, ``nf_ct_get+0x8 [nf_conntrack]``; None if there is none
        or the kernel hides its addresses."""
        if address not in self._known:
            self._known[address] = self._find(address)
        return self._known[address]

    def _find(self, address: int) -> str | None:
        if not self._starts:
            self._read()
        at = bisect_right(self._starts, address) - 1
        if at < 0 or not self._starts[at] or address - self._starts[at] >= _FARTHEST:
            return None
        while at and self._starts[at - 1] == self._starts[at]:
            at -= 1
        place = self._places[at]
        end = self._data.find(b"\n", place)
        name, _, module = self._data[place:end].decode().partition("\t")
        offset = address - self._starts[at]
        return name + (f"+{offset:#x}" if offset else "") + (f" {module}" if module else "")

    def _read(self) -> None:
        self._data = self._path.read_bytes()
        rows = sorted((int(found[1], 16), found.end()) for found in _LINE.finditer(self._data))
        self._starts = array("Q", (start for start, _ in rows))
        self._places = array("Q", (place for _, place in rows))
