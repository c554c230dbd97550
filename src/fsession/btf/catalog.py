"""`Types`: all types of one BTF object, found by name or id.

Lazy throughout: making a `Types` checks the header and no more. Records are walked only as far as
needed (`btf.records`), and only what is asked for becomes a value. See docs/btf.md for figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.decode import read_header, read_type
from fsession.btf.glob import glob_regex
from fsession.btf.kinds import KIND_OF, KINDS
from fsession.btf.records import Records
from fsession.btf.strings import Strings
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
    from collections.abc import Iterator

__all__ = ["MAX_DEPTH", "POINTER_BYTES", "Types"]

POINTER_BYTES = 8
MAX_DEPTH = 64  # of types in each other, as members, elements or qualifiers: the kernel takes 32

_CACHE_TYPES = 4096
_TRANSPARENT = (Typedef, Const, Volatile, Restrict, TypeTag)
_SIZED = (Int, Struct, Union, Enum, Enum64, Float, DataSec)


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
        sections = read_header(data)
        self._types_at = sections.types
        self.strings: Strings = Strings(data, sections, base.strings if base else None)
        self._records = Records(data, sections, self.strings)
        self._cache: dict[int, Type] = {}
        self._aligns: dict[int, int] = {}

    @classmethod
    def from_bytes(cls, data: bytes, base: Types | None = None, name: str = "") -> Types:
        """Read raw BTF, split on `base` if there is one. `name` is for messages: ``vmlinux``."""
        return cls(data, base, name)

    def places(self) -> bytes:
        """Where all records are, for `resume` of the same BTF in another process."""
        return self._records.starts().tobytes()

    def resume(self, places: bytes) -> None:
        """Spare the walk over all records. `places` must come from `places` of the same bytes."""
        self._records.resume(places)

    def __repr__(self) -> str:
        return f"<Types {self.name or 'without a name'}, {len(self.data)} bytes>"

    # -- by id ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The next free id: ids go from 0 (void) to len - 1."""
        return self.first_id + len(self._records)

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
        return self.strings[self._word(id, 0)] if id else ""

    def kind_of(self, id: TypeId) -> type[Type]:
        """The class that ``self[id]`` has, without making the value."""
        return KINDS[self._word(id, 1) >> 24 & 0x1F].cls if id else Void

    def ref(self, id: TypeId) -> TypeId:
        """The third word of a record, a type's id or a size, without making the value: what a
        typedef or qualifier is of, a pointer's target, a function's prototype, its result."""
        return TypeId(self._word(id, 2))

    def words(self, id: TypeId) -> memoryview[int]:
        """The record as 32-bit words: name offset, info, size or type, body (see `kinds`)."""
        if id < self.first_id and self.base:
            return self.base.words(id)
        return self._records.of(self._index_of(id))

    def string(self, offset: int) -> str:
        """The string at an offset as records give it, which goes through the base's first."""
        return self.strings[offset]

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

    def id_of(self, name: str, *kinds: type[Type]) -> TypeId:
        """As `find`, but raises `NotFoundError` with names like it."""
        id = self.find(name, *kinds)
        if id is None:
            what = " or ".join(kind.__name__.lower() for kind in kinds) or "type"
            where = f" in BTF of {self.name}" if self.name else ""
            raise NotFoundError(what + where, name, self.near(name, *kinds))
        return id

    def get(self, name: str, *kinds: type[Type]) -> Type:
        """The type of that name. Raises `NotFoundError` with names like it."""
        return self[self.id_of(name, *kinds)]

    def find_enumerator(self, name: str) -> tuple[TypeId, int] | None:
        """The first enum that has an enumerator of that name, our own before the base's, and the
        enumerator's value."""
        for index, number in self._records.enumerators(name) if name else ():
            id = TypeId(self.first_id + index)
            enum = self[id]
            if isinstance(enum, Enum | Enum64):
                return id, enum.values[number].value
        return self.base.find_enumerator(name) if self.base else None

    def functions(self, glob: str = "*") -> Iterator[tuple[str, TypeId]]:
        """Name and id of the functions of this object, not the base's, in the order of ids.

        Only those that match `glob`: ``*``, ``?`` and ``[…]``, see `btf.glob`.
        """
        offsets, indexes = self._records.of_kind(KIND_OF[Func].number)
        pairs = zip(offsets, indexes, strict=True)
        first, strings, text = self.first_id, self.strings, self.strings.ascii()
        if glob != "*":
            names = strings.matching(glob_regex(glob))
            return ((names[at], TypeId(first + index)) for at, index in pairs if at in names)
        if text is None:
            return ((strings[at], TypeId(first + index)) for at, index in pairs)
        end = text.find  # beyond the last string there is none: `strings` says so
        return (
            (text[at : end("\0", at)] if at < len(text) else strings[at], TypeId(first + index))
            for at, index in pairs
        )

    # -- meaning -------------------------------------------------------------------------------

    def strip(self, id: TypeId) -> TypeId:
        """The type behind typedefs, const, volatile, restrict and type tags."""
        for _ in range(MAX_DEPTH):
            if self.kind_of(id) not in _TRANSPARENT:
                return id
            id = self.ref(id)
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
        return self._align(id, 0)

    def prototype(self, func_id: TypeId) -> FuncProto:
        """What a function (or a prototype itself) takes and returns."""
        type = self[func_id]
        if isinstance(type, Func):
            type = self[type.type]
        if not isinstance(type, FuncProto):
            raise BadInputError(f"BTF type {func_id} is no function")
        return type

    # -- inside --------------------------------------------------------------------------------

    def _word(self, id: int, at: int) -> int:
        if id < self.first_id and self.base:
            return self.base._word(id, at)
        try:
            return self._records.word(id - self.first_id, at)
        except IndexError:
            raise self._no_such(id) from None

    def _index_of(self, id: int) -> int:
        """The record of one of our own ids."""
        index = id - self.first_id
        if not self._records.has(index):
            raise self._no_such(id)
        return index

    def _no_such(self, id: int) -> BadInputError:
        where = f" of {self.name}" if self.name else ""
        return BadInputError(f"BTF type id {id} is not one{where}: those end at {len(self) - 1}")

    def _decode(self, id: int) -> Type:
        if not id:
            return Void()
        if id < self.first_id and self.base:
            return self.base[id]
        at = self._types_at + 4 * self._records.start(self._index_of(id))
        if len(self._cache) >= _CACHE_TYPES:
            self._cache.clear()
        try:
            type = self._cache[id] = read_type(self.data, at, self.strings.__getitem__)
        except BadInputError as error:
            raise BadInputError(f"BTF type {id}: {error.what}", at) from None
        return type

    def _named(self, name: str, kinds: tuple[type[Type], ...]) -> Iterator[TypeId]:
        yield from self._own_named(name, kinds)
        if self.base:
            yield from self.base._named(name, kinds)

    def _own_named(self, name: str, kinds: tuple[type[Type], ...]) -> Iterator[TypeId]:
        if name:
            numbers = {KIND_OF[kind].number for kind in kinds} or KINDS.keys()
            for index in self._records.named(name, numbers):
                yield TypeId(self.first_id + index)

    def near(self, name: str, *kinds: type[Type]) -> tuple[str, ...]:
        """Up to three names like `name`, of one of `kinds` (none: any)."""
        for alike in self.strings.near(name):
            found = [text for text in alike if self.find(text, *kinds)]
            if found:
                return tuple(found[:3])
        return ()

    def _align(self, id: TypeId, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise BadInputError(f"BTF type {id} contains itself")
        known = self._aligns.get(id)
        if known is not None:
            return known
        type = self[id]
        align = 1
        if isinstance(type, Ptr):
            align = POINTER_BYTES
        elif isinstance(type, Struct | Union):
            members = {member.type for member in type.members}
            align = max((self._align(inner, depth + 1) for inner in members), default=1)
        elif isinstance(type, (*_TRANSPARENT, Array, Var)):
            align = self._align(type.type, depth + 1)
        elif isinstance(type, _SIZED):
            align = max(1, min(type.size, 16))
        self._aligns[id] = align
        return align
