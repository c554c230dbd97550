"""Memory and symbols of shared libraries in this process, for the machine of the engine."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Self

from fsession.callees.machine import stub_pointer
from fsession.callees.memory import Symbol
from fsession.engine.memory import probe_read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsession.engine import Machine

__all__ = ["LibraryMemory"]

_STUB_BYTES = 16


class LibraryMemory:
    """The same as `KernelMemory`, for the libraries of a machine.

    A linker's stub, through which a library calls what may be elsewhere, has the symbol of the
    function that it goes to.
    """

    def __init__(self, machine: Machine, architecture: str) -> None:
        libraries = machine.libraries.values()
        self._architecture = architecture
        self._symbols = sorted(
            {one.start: one for library in libraries for one in library.functions}.values(),
            key=lambda symbol: symbol.start,
        )
        self._starts = [symbol.start for symbol in self._symbols]
        self._names = {symbol.name: symbol.start for symbol in reversed(self._symbols)}
        self._stubs = [stubs for library in libraries for stubs in library.stubs]

    def read(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (address, size); none where they can't be read."""
        return [probe_read(address, size) or b"" for address, size in ranges]

    def symbols(self, addresses: Iterable[int]) -> list[Symbol | None]:
        """What is at each address; None for what is in no library of the machine."""
        return [self._symbol(address) for address in addresses]

    def addresses(self, names: Iterable[str]) -> list[int]:
        """Where each symbol is, the first of that name; 0 for what there is not."""
        return [self._names.get(name, 0) for name in names]

    def goals(self, places: Iterable[int]) -> list[int]:
        """Where calls of `places` get to: behind the linker's stubs."""
        return [self._goal(place) for place in places]

    def _goal(self, place: int) -> int:
        if not any(place in stubs for stubs in self._stubs):
            return place
        code = probe_read(place, _STUB_BYTES) or b""
        pointer = stub_pointer(code, place, self._architecture)
        word = probe_read(pointer, 8) if pointer else None
        return int.from_bytes(word, "little") if word else place

    def _symbol(self, address: int) -> Symbol | None:
        at = bisect_right(self._starts, address) - 1
        found = self._symbols[at] if at >= 0 else None
        if found is None or address >= found.start + found.size:
            return None
        return Symbol(found.name, address - found.start, found.size, "")

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
