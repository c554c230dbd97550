"""Where the records of a BTF object are: found by their index, by their place, by their name."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import compress, count, islice, takewhile
from typing import TYPE_CHECKING

from fsession.btf.decode import walk
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from fsession.btf.decode import Sections
    from fsession.btf.strings import Strings

__all__ = ["Records"]

_KIND_BYTE = 7  # of a record: the last of the info word
_HEAD_WORDS = 3
_ENUM_WORDS = {6: 2, 19: 3}  # of an enumerator, by the kind of the enum
_WALK_STEP = 4096
_SAMPLES = 256
_SEARCHES_BEFORE_INDEX = 8  # a search costs 2 ms in vmlinux's BTF, the index of all names 15


class Records:
    """Indexes count from 0 in the order of the type section, places are words from its start.

    The records are walked only as far as a question needs.
    """

    def __init__(self, data: bytes, sections: Sections, strings: Strings) -> None:
        self._data = data
        self._sections = sections
        self._strings = strings
        self.words = memoryview(data)[sections.types : sections.types_end].cast("I")
        self._starts = array("I")
        self._walk: Iterator[int] | None = walk(data, sections)  # None when it is done
        self._failure: BadInputError | None = None
        self._searches = 0
        self._sorted: bool | None = None
        self._index: dict[int, int] | None = None
        self._more: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self.starts())

    def starts(self) -> array[int]:
        """The places of all records."""
        while self._walk is not None:
            self._walk_on(len(self.words) + 1)
        return self._starts

    def resume(self, places: bytes) -> None:
        """Take these for the places of all records."""
        self._starts = array("I", places)
        self._walk = None

    def has(self, index: int) -> bool:
        """Whether there are so many records."""
        starts = self._starts
        while self._walk is not None and index >= len(starts):
            self._walk_on(max(index - len(starts) + 1, _WALK_STEP))
        return 0 <= index < len(starts)

    def start(self, index: int) -> int:
        """The place of a record that is there."""
        return self._starts[index]

    def of(self, index: int) -> memoryview[int]:
        """The words of a record that is there."""
        starts = self._starts
        if index + 1 < len(starts) or self.has(index + 1):
            return self.words[starts[index] : starts[index + 1]]
        return self.words[starts[index] :]

    def word(self, index: int, at: int) -> int:
        """One of the three words of the head of a record. Raises `IndexError`: there is none."""
        starts = self._starts
        if not 0 <= index < len(starts) and not self.has(index):
            raise IndexError
        return self.words[starts[index] + at]

    def kind(self, index: int) -> int:
        """The kind number of a record that is there."""
        return self.words[self._starts[index] + 1] >> 24 & 0x1F

    def of_kind(self, kind: int) -> tuple[Iterator[int], Iterator[int]]:
        """Name offsets and indexes of all records of one kind."""
        starts = self.starts()
        places = self._sections
        kinds = self._data[places.types + _KIND_BYTE : places.types_end : 4]
        flags = bytes(map(kinds.__getitem__, starts)).translate(_flags_of(kind))
        return map(self.words.__getitem__, compress(starts, flags)), compress(count(), flags)

    def named(self, name: str, kinds: Collection[int]) -> Iterator[int]:
        """Indexes of the records of one of `kinds` that have this name, in their order."""
        found = self._bisect(name, kinds) if self._is_sorted() else []
        if found:
            yield from found
            return
        for offset in self._strings.offsets_of(name):
            self._searches += 1
            many = self._searches > _SEARCHES_BEFORE_INDEX
            yield from (self._look_up if many else self._search)(offset, kinds)

    def _is_sorted(self) -> bool:
        """Whether names ascend, as in newer kernels: told by a sample, so a name that is not found
        must be searched for all the same."""
        if self._sorted is None:
            self.has(_SAMPLES)  # most that are not sorted show it at once
            self._sorted = self._ascend(range(min(_SAMPLES, len(self._starts))))
            if self._sorted:
                total = len(self)
                self._sorted = self._ascend(range(0, total, max(1, total // _SAMPLES)))
        return self._sorted

    def _ascend(self, indexes: Iterable[int]) -> bool:
        last = ""
        return all(last <= (last := name) for name in map(self._name, indexes))

    def _name(self, index: int) -> str:
        return self._strings[self.words[self._starts[index]]]

    def _bisect(self, name: str, kinds: Collection[int]) -> list[int]:
        total = len(self)
        first = bisect_left(range(total), name, key=self._name)
        same = takewhile(lambda index: self._name(index) == name, range(first, total))
        return [index for index in same if self.kind(index) in kinds]

    def _search(self, offset: int, kinds: Collection[int]) -> Iterator[int]:
        """Records whose name is at `offset`, by a search for that word.

        The word behind it tells nearly all others that hold the same number (members, parameters)
        from records: theirs is a type id, below 2**24, and so no info word of any kind.
        """
        needle = offset.to_bytes(4, "little")
        first, end = self._sections.types, self._sections.types_end
        at = self._data.find(needle, first, end - 4)
        while at >= 0:
            place, odd = divmod(at - first, 4)
            if not odd and self.words[place + 1] >> 24 & 0x1F in kinds:
                index = self._index_at(place)
                if index is not None:
                    yield index
            at = self._data.find(needle, at + 1, end - 4)

    def enumerators(self, name: str) -> Iterator[tuple[int, int]]:
        """Indexes of the enums that have an enumerator of this name, and its place in each."""
        first, end = self._sections.types, self._sections.types_end
        for offset in self._strings.offsets_of(name):
            needle = offset.to_bytes(4, "little")
            at = self._data.find(needle, first, end)
            while at >= 0:
                place, odd = divmod(at - first, 4)
                found = None if odd else self._enumerator_at(place)
                if found is not None:
                    yield found
                at = self._data.find(needle, at + 1, end)

    def _enumerator_at(self, place: int) -> tuple[int, int] | None:
        self._walk_to(place)
        index = bisect_right(self._starts, place) - 1
        if index < 0:
            return None
        words = _ENUM_WORDS.get(self.kind(index))
        number, inside = divmod(place - self._starts[index] - _HEAD_WORDS, words or 1)
        return None if words is None or inside or number < 0 else (index, number)

    def _look_up(self, offset: int, kinds: Collection[int]) -> Iterator[int]:
        """As `_search`, by an index of all names."""
        if self._index is None:
            self._index = self._build_index()
        if offset in self._index:
            for index in (self._index[offset], *self._more.get(offset, ())):
                if self.kind(index) in kinds:
                    yield index

    def _build_index(self) -> dict[int, int]:
        """The first record with each name offset; the others go to `_more`."""
        first: dict[int, int] = {}
        for index, offset in enumerate(map(self.words.__getitem__, self.starts())):
            if offset and first.setdefault(offset, index) != index:
                self._more.setdefault(offset, []).append(index)
        return first

    def _index_at(self, place: int) -> int | None:
        """The index of the record that starts at a place; None if none does."""
        self._walk_to(place)
        starts = self._starts
        index = bisect_left(starts, place)
        return index if index < len(starts) and starts[index] == place else None

    def _walk_to(self, place: int) -> None:
        while self._walk is not None and (not self._starts or self._starts[-1] < place):
            self._walk_on(_WALK_STEP)

    def _walk_on(self, records: int) -> None:
        """Walk over some more records. Raises `BadInputError` each time it comes to a bad one."""
        if self._failure is not None:
            raise self._failure
        before = len(self._starts)
        try:
            self._starts.extend(islice(self._walk or (), records))
        except BadInputError as error:
            self._failure = error
            raise
        if len(self._starts) - before < records:
            self._walk = None


def _flags_of(kind: int) -> bytes:
    """A table for `bytes.translate`: 1 for bytes with this kind, whatever the kind flag is."""
    return bytes(byte & 0x1F == kind for byte in range(256))
