"""`Types`: all types of one BTF object, found by name or id.

Lazy throughout: making a `Types` checks the header and no more. A name is searched as bytes in the
string section, its offset as a word in the type section; an id is found by walking the records,
only as far as needed, and only what is asked for becomes a value. See docs/btf.md for figures.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from itertools import compress, count, islice
from typing import TYPE_CHECKING

from fsession.btf.decode import read_header, read_type, walk
from fsession.btf.glob import glob_regex
from fsession.btf.kinds import KIND_OF, KINDS
from fsession.btf.types import (
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Var,
    Void,
    Volatile,
)
from fsession.errors import BadInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["POINTER_BYTES", "Types"]

POINTER_BYTES = 8
MAX_NAME_BYTES = 1024  # the kernel takes 511; without a limit, a small input could fill the memory
MAX_DEPTH = 64  # of types in each other, as members, elements or qualifiers: the kernel takes 32

_CACHE_TYPES = 4096
_SEARCHES_BEFORE_INDEX = 8  # a search costs 2 ms in vmlinux's BTF, the index of all names 20
_WALK_STEP = 4096
_TRANSPARENT = (Typedef, Const, Volatile, Restrict, TypeTag)
_SIZED = (Int, Struct, Union, Enum, Enum64, Float, DataSec)
_FUNC_KIND = KIND_OF[Func].number
_FUNC_INFOS = frozenset(_FUNC_KIND << 24 | linkage for linkage in range(3))


class Types:
    """The types of a BTF object; with a `base`, ids and strings continue those of the base.

    >>> types = Types.from_bytes(Path("/sys/kernel/btf/vmlinux").read_bytes(), name="vmlinux")
    >>> types.prototype(types.id_of("icmp_rcv", Func)).params
    (Param(name='skb', type=2103),)
    """

    def __init__(self, data: bytes, base: Types | None, name: str) -> None:
        self.data = data
        self.base = base
        self.name = name
        self.first_id = TypeId(len(base) if base else 1)
        self._sections = read_header(data)
        self._first_string = base.strings_end if base else 0
        # Word offsets of the records walked so far; `_walk` continues, None at the end.
        self._starts = array("I")
        self._walk: Iterator[int] | None = walk(data, self._sections)
        sections = self._sections
        self._words = memoryview(data)[sections.types : sections.types_end].cast("I")
        self._cache: dict[int, Type] = {}
        self._strings: dict[int, str] = {}
        self._searches = 0
        self._index: dict[int, list[TypeId]] | None = None
        self._flavored: list[str] | None = None

    @classmethod
    def from_bytes(cls, data: bytes, base: Types | None = None, name: str = "") -> Types:
        """Read raw BTF, split on `base` if there is one. `name` is for messages: ``vmlinux``."""
        return cls(data, base, name)

    def __repr__(self) -> str:
        return f"<Types {self.name or 'without a name'}, {len(self.data)} bytes>"

    # -- by id ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The next free id: ids go from 0 (void) to len - 1."""
        self._walk_all()
        return self.first_id + len(self._starts)

    def __getitem__(self, id: int) -> Type:
        found = self._cache.get(id)
        return self._decode(id) if found is None else found

    def __iter__(self) -> Iterator[Type]:
        """All types in the order of their ids, the base's and void first."""
        return (self[id] for id in range(len(self)))

    def own_ids(self) -> range:
        """The ids that this object adds to those of its base."""
        return range(self.first_id, len(self))

    def name_of(self, id: TypeId) -> str:
        """A type's name, "" for the kinds that have none; cheaper than the type."""
        if id < self.first_id:
            return self.base.name_of(id) if self.base and id else ""
        return self.string(self._words[self._start(id)])

    def kind_of(self, id: TypeId) -> type[Type]:
        """The class that ``self[id]`` has, without making the value."""
        if id < self.first_id:
            return self.base.kind_of(id) if self.base and id else Void
        return KINDS[self._words[self._start(id) + 1] >> 24 & 0x1F].cls

    def words(self, id: TypeId) -> memoryview[int]:
        """The record as 32-bit words: name offset, info, size or type, body (see `kinds`)."""
        if id < self.first_id and self.base:
            return self.base.words(id)
        starts, index = self._starts, id - self.first_id
        if 0 <= index < len(starts) - 1:  # the walk was here: the usual case, made quick
            return self._words[starts[index] : starts[index + 1]]
        start, next = self._start(id), self._start(id + 1) if self._has(id + 1) else None
        return self._words[start:next]

    def string(self, offset: int) -> str:
        """The string at an offset as the records give it, which goes through the base's first."""
        if offset < self._first_string and self.base:
            return self.base.string(offset)
        found = self._strings.get(offset)
        return self._read_string(offset) if found is None else found

    @property
    def strings_end(self) -> int:
        """The string offset at which a BTF split on this one starts counting."""
        return self._first_string + self._sections.strings_end - self._sections.strings

    @property
    def string_section(self) -> bytes:
        """All strings of this object, each ended by a NUL."""
        return self.data[self._sections.strings : self._sections.strings_end]

    def string_offset(self, text: str) -> int | None:
        """Where a string is, the base's first; None if it is nowhere."""
        return next(self._offsets_of(text.encode("utf-8", "surrogateescape")), None)

    # -- by name -------------------------------------------------------------------------------

    def find(self, name: str, *kinds: type[Type]) -> TypeId | None:
        """The first type of that name, of one of `kinds` (none: any); own types before the base's.

        So a module's function is found before one of vmlinux with the same name.
        """
        return next(self._named(name, kinds), None)

    def find_all(self, name: str, *kinds: type[Type]) -> list[TypeId]:
        """All types of that name, of one of `kinds` (none: any); own types before the base's."""
        return list(self._named(name, kinds))

    def find_own(self, name: str, *kinds: type[Type]) -> list[TypeId]:
        """As `find_all`, without the base's."""
        return list(self._own_named(name, kinds))

    def flavors(self, name: str) -> list[str]:
        """Strings, own and the base's, that are `name` with a flavor: ``name___old``."""
        if self._flavored is None:
            self._flavored = self._find_flavored()
        found = self.base.flavors(name) if self.base else []
        return found + [text for text in self._flavored if text.startswith(name + "___")]

    def id_of(self, name: str, *kinds: type[Type]) -> TypeId:
        """As `find`, but raises `NotFoundError` with names like it."""
        id = self.find(name, *kinds)
        if id is None:
            what = " or ".join(kind.__name__.lower() for kind in kinds) or "type"
            where = f" in BTF of {self.name}" if self.name else ""
            raise NotFoundError(what + where, name, self._near(name, kinds))
        return id

    def get(self, name: str, *kinds: type[Type]) -> Type:
        """The type of that name. Raises `NotFoundError` with names like it."""
        return self[self.id_of(name, *kinds)]

    def functions(self, glob: str = "*") -> Iterator[tuple[str, TypeId]]:
        """Name and id of the functions of this object, not the base's, in the order of ids.

        Only those that match `glob`: ``*``, ``?`` and ``[…]``, see `btf.glob`.
        """
        self._walk_all()
        infos, starts = self._words[1:], self._starts
        flags = list(map(_FUNC_INFOS.__contains__, map(infos.__getitem__, starts)))
        ids = compress(count(self.first_id), flags)
        offsets = map(self._words.__getitem__, compress(starts, flags))
        if glob == "*":
            return self._named_by_slices(offsets, ids)
        names = list(map(self._strings_like(glob).get, offsets))
        return compress(zip(names, ids, strict=True), names)  # type: ignore[arg-type]

    # -- meaning -------------------------------------------------------------------------------

    def strip(self, id: TypeId) -> TypeId:
        """The type behind typedefs, const, volatile, restrict and type tags."""
        for _ in range(MAX_DEPTH):
            type = self[id]
            if not isinstance(type, _TRANSPARENT):
                return id
            id = type.type
        raise BadInputError(f"BTF type {id}: qualifiers and typedefs without an end")

    def size_of(self, id: TypeId) -> int:
        """``sizeof`` in bytes; 0 for void, functions and types that are only declared."""
        count = 1
        for _ in range(MAX_DEPTH):
            type = self[id]
            if isinstance(type, _SIZED):
                return count * type.size
            if isinstance(type, Ptr):
                return count * POINTER_BYTES
            if isinstance(type, Array):
                count *= type.nelems
            elif not isinstance(type, (*_TRANSPARENT, Var)):
                return 0
            id = type.type
        raise BadInputError(f"BTF type {id}: arrays and typedefs without an end")

    def align_of(self, id: TypeId) -> int:
        """``_Alignof`` in bytes of a type that is laid out naturally; at least 1.

        BTF says nothing of attributes: a packed struct shows only in its offsets.
        """
        return self._align(id, 0, {})

    def prototype(self, func_id: TypeId) -> FuncProto:
        """What a function (or a prototype itself) takes and returns."""
        type = self[func_id]
        if isinstance(type, Func):
            type = self[type.type]
        if not isinstance(type, FuncProto):
            raise BadInputError(f"BTF type {func_id} is no function")
        return type

    # -- inside --------------------------------------------------------------------------------

    def _decode(self, id: int) -> Type:
        if id < self.first_id:
            return self.base[id] if self.base and id > 0 else self._void(id)
        at = self._sections.types + 4 * self._start(id)
        if len(self._cache) >= _CACHE_TYPES:
            self._cache.clear()
            self._strings.clear()
        try:
            type = read_type(self.data, at, self.string)
        except BadInputError as error:
            raise BadInputError(f"BTF type {id}: {error.what}", at) from None
        self._cache[id] = type
        return type

    def _void(self, id: int) -> Void:
        if id:
            raise BadInputError(f"BTF type id {id} is negative")
        return Void()

    def _read_string(self, offset: int) -> str:
        sections = self._sections
        at = sections.strings + offset - self._first_string
        if not sections.strings <= at < sections.strings_end:
            raise BadInputError(f"no BTF string at {offset:#x}")
        end = self.data.find(0, at, at + MAX_NAME_BYTES)
        if end < 0:
            raise BadInputError(f"the BTF string at {offset:#x} is over {MAX_NAME_BYTES} bytes")
        text = self._strings[offset] = self.data[at:end].decode("utf-8", "surrogateescape")
        return text

    def _named_by_slices(
        self, offsets: Iterable[int], ids: Iterable[int]
    ) -> Iterator[tuple[str, TypeId]]:
        """Pairs of name and id; names are cut out of one string, if all are ASCII and our own."""
        blob = self.string_section
        if self._first_string or not blob.isascii():
            string = self.string
            return ((string(offset), TypeId(id)) for offset, id in zip(offsets, ids, strict=True))
        text = blob.decode("ascii")
        index = text.index
        pairs = zip(offsets, ids, strict=True)
        return ((text[offset : index("\0", offset)], TypeId(id)) for offset, id in pairs)

    def _strings_like(self, glob: str) -> dict[int, str]:
        """All strings, the base's too, that match `glob`, by their offsets."""
        found = self.base._strings_like(glob) if self.base else {}
        pattern = re.compile(rb"(?<![^\0])" + glob_regex(glob).encode() + rb"(?=\0)")
        shift = self._first_string
        for match in pattern.finditer(self.string_section):
            found[shift + match.start()] = match[0].decode("utf-8", "surrogateescape")
        return found

    def _has(self, id: int) -> bool:
        """Whether `id` is one of this object; walks as far as it takes to know."""
        missing = id - self.first_id - len(self._starts) + 1
        if missing > 0 and self._walk is not None:
            self._walk_on(max(missing, _WALK_STEP))
        return id - self.first_id < len(self._starts)

    def _start(self, id: int) -> int:
        """Where the record of one of our own ids starts, in words."""
        if not self._has(id):
            where = f" of {self.name}" if self.name else ""
            raise BadInputError(f"BTF type id {id} is beyond the last{where}, {len(self) - 1}")
        return self._starts[id - self.first_id]

    def _id_at(self, start: int) -> TypeId | None:
        """The id of the record that starts at word `start`; None if none does."""
        starts = self._starts
        while self._walk is not None and (not starts or starts[-1] < start):
            self._walk_on(_WALK_STEP)
        at = bisect_left(starts, start)
        return TypeId(self.first_id + at) if starts[at : at + 1] == array("I", [start]) else None

    def _walk_on(self, count: int) -> None:
        before = len(self._starts)
        if self._walk is not None:
            self._starts.extend(islice(self._walk, count))
        if len(self._starts) - before < count:
            self._walk = None

    def _walk_all(self) -> None:
        if self._walk is not None:
            self._starts.extend(self._walk)
            self._walk = None

    def _named(self, name: str, kinds: tuple[type[Type], ...]) -> Iterator[TypeId]:
        yield from self._own_named(name, kinds)
        if self.base:
            yield from self.base._named(name, kinds)

    def _own_named(self, name: str, kinds: tuple[type[Type], ...]) -> Iterator[TypeId]:
        numbers = {KIND_OF[kind].number for kind in kinds} or KINDS.keys()
        for offset in self._offsets_of(name.encode("utf-8", "surrogateescape")) if name else ():
            self._searches += 1
            many = self._searches > _SEARCHES_BEFORE_INDEX
            yield from (self._look_up if many else self._search)(offset, numbers)

    def _offsets_of(self, name: bytes) -> Iterator[int]:
        """Offsets of a string: one, or more where the maker did not merge equal strings."""
        if self.base:
            yield from self.base._offsets_of(name)
        start, end = self._sections.strings, self._sections.strings_end
        shift = self._first_string - start
        if self.data.startswith(name + b"\0", start, end):  # split BTF has no empty string first
            yield start + shift
        needle = b"\0" + name + b"\0"
        at = self.data.find(needle, start, end)
        while at >= 0:
            yield at + 1 + shift
            at = self.data.find(needle, at + 1, end)

    def _search(self, offset: int, numbers: Iterable[int]) -> Iterator[TypeId]:
        """Own types whose name is at `offset`, by a search for that word.

        The word behind it tells nearly all others that hold the same number (members, parameters)
        from records: theirs is a type id, below 2**24, and so no info word of any kind.
        """
        needle = offset.to_bytes(4, "little")
        first, end = self._sections.types, self._sections.types_end
        at = self.data.find(needle, first, end)
        while at >= 0:
            start, odd = divmod(at - first, 4)
            if not odd and self._kind_at(start) in numbers and (id := self._id_at(start)):
                yield id
            at = self.data.find(needle, at + 1, end)

    def _look_up(self, offset: int, numbers: Iterable[int]) -> Iterator[TypeId]:
        """As `_search`, by an index of all names."""
        if self._index is None:
            self._index = self._build_index()
        for id in self._index.get(offset, ()):
            if self._kind_at(self._start(id)) in numbers:
                yield id

    def _kind_at(self, start: int) -> int:
        """The kind number in the info word of the record at word `start`."""
        return self._words[start + 1] >> 24 & 0x1F if start + 1 < len(self._words) else 0

    def _build_index(self) -> dict[int, list[TypeId]]:
        self._walk_all()
        index: dict[int, list[TypeId]] = {}
        words = self._words
        for id, start in enumerate(self._starts, self.first_id):
            offset = words[start]
            if offset:
                index.setdefault(offset, []).append(TypeId(id))
        return index

    def _find_flavored(self) -> list[str]:
        """Own strings with ``___`` in them; a kernel has about thirty."""
        blob = self.string_section
        texts = set()
        at = blob.find(b"___")
        while at >= 0:
            start, end = blob.rfind(b"\0", 0, at) + 1, blob.index(b"\0", at)
            texts.add(blob[start : min(end, start + MAX_NAME_BYTES)])
            at = blob.find(b"___", end)
        return sorted(text.decode("utf-8", "surrogateescape") for text in texts)

    def _near(self, name: str, kinds: tuple[type[Type], ...]) -> tuple[str, ...]:
        """Up to three names like `name`: among those that start alike, the most similar ones."""
        from difflib import get_close_matches

        blob = self.string_section
        for length in range(min(len(name), 32), 2, -1):
            prefix = re.escape(name[:length].encode("utf-8", "surrogateescape"))
            found = re.findall(rb"\0(" + prefix + rb"[^\0]{0,64})(?=\0)", blob)[:200]
            names = [text.decode("utf-8", "surrogateescape") for text in found]
            near = [n for n in get_close_matches(name, names, 8, 0.7) if self.find(n, *kinds)]
            if near:
                return tuple(near[:3])
        return ()

    def _align(self, id: TypeId, depth: int, known: dict[TypeId, int]) -> int:
        if depth > MAX_DEPTH:
            raise BadInputError(f"BTF type {id} contains itself")
        if id in known:
            return known[id]
        type = self[id]
        align = 1
        if isinstance(type, Ptr):
            align = POINTER_BYTES
        elif isinstance(type, Struct | Union):
            members = {member.type for member in type.members}
            align = max((self._align(t, depth + 1, known) for t in members), default=1)
        elif isinstance(type, (*_TRANSPARENT, Array, Var)):
            align = self._align(type.type, depth + 1, known)
        elif isinstance(type, _SIZED):
            align = max(1, min(type.size, 16))
        known[id] = align
        return align
