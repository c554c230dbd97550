"""Maps as C code defines them in the section ``.maps``: everything is said by the types.

A definition is a variable of a struct type whose members carry numbers and types in theirs, as
the macros of ``bpf_helpers.h`` write them (docs.kernel.org/bpf/libbpf/libbpf_overview.html)::

    __uint(max_entries, 16)     int (*max_entries)[16];              the number of elements
    __type(key, u32)            u32 *key;                            what is pointed to
    __ulong(map_extra, 5)       enum { __unique_value0 = 5 } map_extra;
    __array(values, struct in)  struct in *values[];                 inner map, or function

The variable's bytes matter only for `values`: relocations there name the initial entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsession.btf.types import (
    VOID,
    Array,
    DataSec,
    Enum,
    Enum64,
    FuncProto,
    Member,
    Ptr,
    Struct,
    TypeId,
    Var,
)
from fsession.errors import BadInputError
from fsession.obj.elf import ABS64
from fsession.spec import MapSpec
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fsession.btf.catalog import Types
    from fsession.obj.elf import Elf, Relocation, Section
    from fsession.obj.types import ObjectTypes

__all__ = ["MAPS", "map_places", "read_maps", "refuse_legacy"]

MAPS = ".maps"
_SLOT = 8
_MAX_U32 = (1 << 32) - 1
_PIN_BY_NAME = 1

OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_WITHOUT_BTF = OF_MAPS | {
    MapType.PROG_ARRAY,
    MapType.PERF_EVENT_ARRAY,
    MapType.CGROUP_ARRAY,
    MapType.STACK_TRACE,
    MapType.DEVMAP,
    MapType.DEVMAP_HASH,
    MapType.CPUMAP,
    MapType.XSKMAP,
    MapType.SOCKMAP,
    MapType.SOCKHASH,
    MapType.REUSEPORT_SOCKARRAY,
    MapType.RINGBUF,
    MapType.USER_RINGBUF,
}
"""Kinds for which the kernel refuses key and value types (``map_check_no_btf``)."""


def refuse_legacy(elf: Elf) -> None:
    """Objects from before BTF define maps in the section ``maps``."""
    section = elf.section("maps")
    if section is not None and section.size:
        raise BadInputError(
            "maps in the section 'maps' (struct bpf_map_def) are not supported", section.offset
        ).hint('define them with __uint and __type in SEC(".maps"), and compile with -g')


def map_places(elf: Elf, types: ObjectTypes | None) -> dict[tuple[int, int], str]:
    """Names of the maps by the section and the offset that relocations refer to."""
    section = elf.section(MAPS)
    if section is None or not section.size:
        return {}
    if types is None or MAPS not in types.sections:
        raise BadInputError("maps without BTF", section.offset).hint("compile with -g")
    return {
        (section.index, place.offset): types.types.name_of(place.type)
        for place in _definitions(types)
    }


def read_maps(
    elf: Elf, types: ObjectTypes | None, places: dict[tuple[int, int], str]
) -> list[MapSpec]:
    """The maps of the section, in their order there. `places` are those of `map_places`."""
    section = elf.section(MAPS)
    if section is None or types is None or not places:
        return []
    names = _Names(elf, section, places)
    found = []
    for place in _definitions(types):
        var = types.types[place.type]
        assert isinstance(var, Var)
        definition = _Definition(types.types, var.name, var.type)
        entries = names.entries(place.offset, place.size, definition.values_offset)
        found.append(definition.spec(entries))
    return found


def _definitions(types: ObjectTypes) -> tuple[Any, ...]:
    section = types.types[types.sections[MAPS]]
    assert isinstance(section, DataSec)
    return section.variables


class _Names:
    """Names of maps and functions that relocations in the section of maps refer to."""

    def __init__(self, elf: Elf, section: Section, places: Mapping[tuple[int, int], str]) -> None:
        self._section, self._places = section, places
        self._relocations = elf.relocations_of(section)
        self._functions = {
            (symbol.section, symbol.value): symbol.name
            for symbol in elf.symbols
            if symbol.is_func and symbol.section is not None
        }

    def entries(self, start: int, size: int, values: int | None) -> list[tuple[bytes, str]]:
        """Index and name of the initial entries of the map at `start`."""
        found = []
        for relocation in self._relocations:
            if start <= relocation.offset < start + size:
                index, odd = divmod(relocation.offset - start - (values or 0), _SLOT)
                if values is None or index < 0 or odd:
                    raise BadInputError(
                        "a relocation in a map's definition, but not of its values",
                        self._section.offset + relocation.offset,
                    )
                found.append((index.to_bytes(4, "little"), self._name(relocation)))
        return found

    def _name(self, relocation: Relocation) -> str:
        symbol, at = relocation.symbol, relocation.offset
        addend = int.from_bytes(self._section.data[at : at + _SLOT], "little")
        section = -1 if symbol.section is None else symbol.section
        key = (section, symbol.value + addend)
        name = self._places.get(key) or self._functions.get(key)
        if name is None or relocation.type != ABS64:
            raise BadInputError(
                f"the initial value '{symbol.name}' of a map is neither map nor program",
                self._section.offset + at,
            )
        return name


class _Definition:
    """The members of one definition's struct, read into the fields of a `MapSpec`."""

    def __init__(self, types: Types, name: str, type: TypeId, *, is_inner: bool = False) -> None:
        self._types, self._name, self._is_inner = types, name, is_inner
        self._numbers: dict[str, int] = {}
        self._kinds: dict[str, TypeId] = {}
        self.values_offset: int | None = None
        self._values: TypeId | None = None
        struct = types[types.strip(type)]
        if not isinstance(struct, Struct):
            raise self._bad("its type is no struct")
        for member in struct.members:
            read = _MEMBERS.get(member.name)
            if read is None:
                raise self._bad(f"the attribute '{member.name}' is not known")
            read(self, member)

    def spec(self, entries: list[tuple[bytes, str]]) -> MapSpec:
        number, kind = self._numbers.get, self._map_type()
        sizes = {side: self._side_bytes(side, kind) for side in ("key", "value")}
        typed = kind not in _WITHOUT_BTF
        self._check_entries(entries)
        return MapSpec(
            name=self._name,
            type=kind,
            key_size=sizes["key"],
            value_size=sizes["value"],
            max_entries=number("max_entries", 0),
            flags=number("map_flags", 0),
            key_type=self._kinds.get("key", VOID) if typed else VOID,
            value_type=self._kinds.get("value", VOID) if typed else VOID,
            extra=number("map_extra", 0),
            numa_node=number("numa_node", 0),
            inner=self._inner(kind),
            pinned_by_name=number("pinning", 0) == _PIN_BY_NAME,
            entries=tuple(entries),
        )

    def read_number(self, member: Member) -> None:
        """``int (*name)[number]``, or an enum with one value."""
        type = self._types[self._types.strip(member.type)]
        if isinstance(type, Enum | Enum64) and len(type.values) == 1:
            number = type.values[0].value & (1 << 64) - 1
        else:
            array = self._pointed_to(member, type)
            found = self._types[self._types.strip(array)]
            if not isinstance(found, Array):
                raise self._bad(f"'{member.name}' is no number: write __uint({member.name}, …)")
            number = found.nelems
        if member.name != "map_extra" and number > _MAX_U32:
            raise self._bad(f"{member.name} {number} is over 32 bits")
        self._numbers[member.name] = number

    def read_type(self, member: Member) -> None:
        """``type *name``."""
        type = self._types[self._types.strip(member.type)]
        self._kinds[member.name] = self._pointed_to(member, type)

    def read_values(self, member: Member) -> None:
        """``type *values[]``."""
        array = self._types[self._types.strip(member.type)]
        if not isinstance(array, Array) or self.values_offset is not None or self._is_inner:
            raise self._bad("'values' is not of the form __array(values, …)")
        pointer = self._types[self._types.strip(array.type)]
        self._values = self._pointed_to(member, pointer)
        self.values_offset = member.bit_offset // 8

    def _pointed_to(self, member: Member, type: object) -> TypeId:
        if not isinstance(type, Ptr):
            raise self._bad(f"'{member.name}' is not written with __uint, __type or __array")
        return type.type

    def _map_type(self) -> MapType:
        number = self._numbers.get("type")
        if number is None:
            raise self._bad("it has no type: write __uint(type, BPF_MAP_TYPE_…)")
        try:
            return MapType(number)
        except ValueError:
            raise self._bad(f"map type {number} is not known") from None

    def _side_bytes(self, side: str, kind: MapType) -> int:
        """Size of key or value, given as a number or by a type; maps hold ids of 4 bytes."""
        said = self._numbers.get(f"{side}_size")
        type = self._kinds.get(side)
        size = self._types.size_of(type) if type is not None else said
        if type is not None and (not size or size > _MAX_U32):
            raise self._bad(f"the type of its {side} has no size")
        if size != said and said is not None:
            raise self._bad(f"{side}_size {said} is not the size {size} of its type")
        holds_ids = kind in OF_MAPS or kind is MapType.PROG_ARRAY
        return size if size is not None else 4 if holds_ids else 0

    def _inner(self, kind: MapType) -> MapSpec | None:
        if self._values is None:
            return None
        inner = self._types.strip(self._values)
        if kind is MapType.PROG_ARRAY:
            if not isinstance(self._types[inner], FuncProto):
                raise self._bad("the values of a prog array are not functions")
            return None
        if kind not in OF_MAPS:
            raise self._bad("'values' is for maps of maps and prog arrays")
        return _Definition(self._types, f"{self._name}.inner", inner, is_inner=True).spec([])

    def _check_entries(self, entries: list[tuple[bytes, str]]) -> None:
        limit = self._numbers.get("max_entries", 0)
        if any(int.from_bytes(index, "little") >= limit for index, _ in entries):
            raise self._bad(f"it has more initial values than max_entries, {limit}")

    def _bad(self, what: str) -> BadInputError:
        return BadInputError(f"map '{self._name}': {what}")


_MEMBERS: dict[str, Callable[[_Definition, Member], None]] = {
    "type": _Definition.read_number,
    "max_entries": _Definition.read_number,
    "map_flags": _Definition.read_number,
    "map_extra": _Definition.read_number,
    "numa_node": _Definition.read_number,
    "key_size": _Definition.read_number,
    "value_size": _Definition.read_number,
    "pinning": _Definition.read_number,
    "key": _Definition.read_type,
    "value": _Definition.read_type,
    "values": _Definition.read_values,
}
