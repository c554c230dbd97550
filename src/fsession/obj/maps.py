"""Maps of the section ``.maps``: a variable each, whose struct type is the definition.

What a map is stands in the types of the struct's members, not in bytes::

    int (*type)[BPF_MAP_TYPE_HASH]     a number: the length of the array pointed to
    __u32 *key                         a type: what is pointed to
    struct inner *values[]             of a map of maps: maps; of a prog array: functions

The initial values of the last kind are relocations of the section, one for each element.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.types import VOID, Array, DataSec, FuncProto, Ptr, Struct, TypeId, Var
from fsession.errors import BadInputError
from fsession.spec import MapSpec
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.btf.catalog import Types
    from fsession.btf.types import Member
    from fsession.obj.elf import Elf, Section
    from fsession.obj.types import ObjectTypes

__all__ = ["MAPS", "map_places", "read_maps"]

MAPS = ".maps"
_LEGACY = "maps"
_POINTER_BYTES = 8
_PIN_NONE, _PIN_BY_NAME = 0, 1
_MAX_U32, _MAX_U64 = (1 << 32) - 1, (1 << 64) - 1
_NUMBERS = {
    "type": ("type", _MAX_U32),
    "max_entries": ("max_entries", _MAX_U32),
    "map_flags": ("flags", _MAX_U32),
    "key_size": ("key_size", _MAX_U32),
    "value_size": ("value_size", _MAX_U32),
    "numa_node": ("numa_node", _MAX_U32),
    "map_extra": ("extra", _MAX_U64),
}
"""Members that are numbers: what they are called in `MapSpec`."""

_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
_FD_BYTES = 4


def read_maps(elf: Elf, types: ObjectTypes | None) -> tuple[MapSpec, ...]:
    """The maps that the object defines, in the order of their places."""
    if elf.section(_LEGACY) is not None:
        raise BadInputError("maps are defined in the section 'maps', a form that is gone").hint(
            'define them in SEC(".maps") with __uint() and __type()'
        )
    section = elf.section(MAPS)
    if section is None or not section.size:
        return ()
    if types is None or MAPS not in types.sections:
        raise BadInputError("the section .maps has no BTF").hint("compile with -g")
    definitions = types.types[types.sections[MAPS]]
    assert isinstance(definitions, DataSec)
    return tuple(
        _Definition(types.types, elf, section).read(place.type, place.offset)
        for place in definitions.variables
    )


def map_places(elf: Elf, types: ObjectTypes | None) -> dict[tuple[int, int], str]:
    """Names of the maps by ``(section, offset)``."""
    section = elf.section(MAPS)
    if section is None or types is None or MAPS not in types.sections:
        return {}
    definitions = types.types[types.sections[MAPS]]
    assert isinstance(definitions, DataSec)
    return {
        (section.index, place.offset): types.types.name_of(place.type)
        for place in definitions.variables
    }


class _Definition:
    """Reads one map definition."""

    def __init__(self, types: Types, elf: Elf, section: Section) -> None:
        self._types, self._elf, self._section = types, elf, section

    def read(self, var_id: TypeId, offset: int) -> MapSpec:
        var = self._types[var_id]
        assert isinstance(var, Var)
        spec = self._read_struct(var.type, var.name)
        values = self._member(var.type, "values")
        if values is None:
            return spec
        entries = tuple(self._entries(spec, offset + values.bit_offset // 8))
        return replace(spec, entries=entries)

    def _read_struct(self, type_id: TypeId, name: str, *, inner: bool = False) -> MapSpec:
        kind = self._types[self._types.strip(type_id)]
        if not isinstance(kind, Struct):
            raise BadInputError(f"map '{name}' is no struct")
        fields: dict[str, int] = {}
        inner_map = None
        for member in kind.members:
            reader = _READERS.get(member.name)
            if reader is not None:
                fields |= reader(self, name, member)
            elif member.name == "values" and not inner:
                inner_map = self._inner(name, member)
            else:
                raise BadInputError(f"map '{name}': no member of a definition: '{member.name}'")
        return _spec(name, fields, inner_map)

    def _member(self, type_id: TypeId, name: str) -> Member | None:
        kind = self._types[self._types.strip(type_id)]
        assert isinstance(kind, Struct)
        return next((member for member in kind.members if member.name == name), None)

    def number(self, name: str, member: Member) -> dict[str, int]:
        """``int (*member)[value]``."""
        pointer = self._types[self._types.strip(member.type)]
        array = self._types[self._types.strip(pointer.type)] if isinstance(pointer, Ptr) else None
        if not isinstance(array, Array):
            raise BadInputError(f"map '{name}': '{member.name}' is not written with __uint()")
        field, most = _NUMBERS[member.name]
        if array.nelems > most:
            raise BadInputError(f"map '{name}': {member.name} is {array.nelems}")
        return {field: array.nelems}

    def pinning(self, name: str, member: Member) -> dict[str, int]:
        pointer = self._types[self._types.strip(member.type)]
        array = self._types[self._types.strip(pointer.type)] if isinstance(pointer, Ptr) else None
        if not isinstance(array, Array) or array.nelems not in (_PIN_NONE, _PIN_BY_NAME):
            raise BadInputError(f"map '{name}': pinning is none of LIBBPF_PIN_NONE, _BY_NAME")
        return {"pinned_by_name": array.nelems}

    def typed(self, name: str, member: Member) -> dict[str, int]:
        """``type *member``: the type of the key or the value, and its size."""
        pointer = self._types[self._types.strip(member.type)]
        if not isinstance(pointer, Ptr):
            raise BadInputError(f"map '{name}': '{member.name}' is not written with __type()")
        size = self._types.size_of(pointer.type)
        return {f"{member.name}_type": pointer.type, f"{member.name}_size": size}

    def _inner(self, name: str, member: Member) -> MapSpec | None:
        """The template of a map of maps; None for a prog array."""
        array = self._types[self._types.strip(member.type)]
        pointer = self._types[self._types.strip(array.type)] if isinstance(array, Array) else None
        if not isinstance(pointer, Ptr):
            raise BadInputError(f"map '{name}': 'values' is not written with __array()")
        target = self._types.strip(pointer.type)
        if isinstance(self._types[target], FuncProto):
            return None
        return self._read_struct(target, f"{name}.inner", inner=True)

    def _entries(self, spec: MapSpec, start: int) -> Iterator[tuple[bytes, str]]:
        """``(key, name)`` of the maps or functions that the definition starts with."""
        for relocation in self._elf.relocations_of(self._section):
            index, odd = divmod(relocation.offset - start, _POINTER_BYTES)
            if not 0 <= index < spec.max_entries:
                continue
            if odd or not relocation.symbol.name:
                raise BadInputError(f"map '{spec.name}': an initial value of nothing known")
            yield index.to_bytes(4, "little"), relocation.symbol.name


_READERS: dict[str, Callable[[_Definition, str, Member], dict[str, int]]] = {
    **dict.fromkeys(_NUMBERS, _Definition.number),
    "pinning": _Definition.pinning,
    "key": _Definition.typed,
    "value": _Definition.typed,
}


def _spec(name: str, fields: dict[str, int], inner: MapSpec | None) -> MapSpec:
    number = fields.pop("type", 0)
    try:
        kind = MapType(number)
    except ValueError:
        raise BadInputError(f"map '{name}' has type {number}, which is none").hint(
            "the kernel's map types are in enum bpf_map_type"
        ) from None
    if kind == MapType.UNSPEC:
        raise BadInputError(f"map '{name}' has no type")
    holds_fds = kind in (*_OF_MAPS, MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY)
    if holds_fds:
        fields.setdefault("key_size", _FD_BYTES)
        fields.setdefault("value_size", _FD_BYTES)
        fields["value_type"] = VOID
    return MapSpec(
        name=name,
        type=kind,
        key_size=fields.get("key_size", 0),
        value_size=fields.get("value_size", 0),
        max_entries=fields.get("max_entries", 0),
        flags=fields.get("flags", 0),
        key_type=TypeId(fields.get("key_type", 0)),
        value_type=TypeId(fields.get("value_type", 0)),
        extra=fields.get("extra", 0),
        numa_node=fields.get("numa_node", 0),
        inner=inner,
        pinned_by_name=bool(fields.get("pinned_by_name", 0)),
    )
