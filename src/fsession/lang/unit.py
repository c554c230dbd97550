"""What the programs of one compilation share: types, maps, variables, events."""

from __future__ import annotations

from typing import Any

from fsession.btf.encode import Builder
from fsession.btf.types import VOID, Func, FuncProto, Int, Member, Param, Ptr, TypeId
from fsession.btf.types import Array as BtfArray
from fsession.btf.types import Struct as BtfStruct
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.lang.ctypes import Array, Catalog, CType, Integer, Pointer, Record, alignment
from fsession.lang.objects import Global, Map, RingBuf, Struct, member_type, struct_record
from fsession.spec import MapSpec, Variable
from fsession.uapi import MapFlag, MapType

__all__ = ["EVENTS_MAP", "TEXTS_MAP", "Event", "EventField", "Layout", "Unit"]

EVENTS_MAP = "events"
EVENTS_BYTES = 1 << 20
GLOBALS_MAP = ".data"
TEXTS_MAP = ".rodata"
NUMBER_BYTES = 8  # of an event, before its fields


@frozen
class EventField:
    name: str
    type: CType
    offset: int


@frozen
class Event:
    """A record of the ring buffer: its number in the first 8 bytes, then the fields. `catalog` has
    the types that they are of."""

    number: int
    name: str
    fields: tuple[EventField, ...]
    size: int
    catalog: Catalog


@frozen
class Layout:
    """A key, value or record."""

    type: CType
    size: int
    btf: TypeId


class Unit:
    """Collects while functions are compiled."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.types = Builder()
        self.maps: dict[str, MapSpec] = {}
        self.objects: dict[str, Map] = {}
        self.globals: dict[str, Global] = {}
        self.variables: list[Variable] = []
        self.events: list[Event] = []
        self.records: dict[str, TypeId] = {}
        self._names: dict[int, str] = {}
        self._structs: dict[Record, TypeId] = {}
        self._layouts: dict[object, Layout] = {}
        self._ints: dict[tuple[str, int, bool, bool], TypeId] = {}
        self._data = bytearray()

    # -- maps ------------------------------------------------------------------------------------

    def map(self, item: Map, name: str) -> str:
        """The name of a map's spec, made when it is first used."""
        known = self._names.get(id(item))
        if known is not None:
            return known
        if name in self.maps:
            raise BadInputError(f"two maps have the name '{name}'")
        if isinstance(item, RingBuf):
            self.maps[name] = MapSpec(name, item.type, 0, 0, item.max_entries)
            self.records[name] = VOID if item.value is None else self.layout(item.value).btf
        else:
            key, value = self.layout(item.key), self.layout(item.value)
            self.maps[name] = MapSpec(
                name, item.type, key.size, value.size, item.max_entries, item.flags,
                key_type=key.btf if item.has_btf else VOID,
                value_type=value.btf if item.has_btf else VOID,
            )  # fmt: skip
        self._names[id(item)] = name
        self.objects[name] = item
        return name

    def layout(self, words: Any) -> Layout:
        """Of what a map was declared with: a type's name or a `Struct`."""
        known = self._layouts.get(words)
        if known is None:
            known = self._layouts[words] = self._layout(words)
        return known

    def _layout(self, words: Any) -> Layout:
        if isinstance(words, type) and issubclass(words, Struct):
            record = struct_record(words, self.catalog)
            return Layout(record, record.size, self.btf_of(record))
        if not isinstance(words, str):
            error = BadInputError(f"{words!r} is no type of a key or value")
            raise error.hint('a name in C ("u64", "char[16]") or a class made from fsession.Struct')
        found = member_type(words, self.catalog, "a map")
        return Layout(found, found.size, self.btf_of(found))

    def event_map(self) -> str:
        if EVENTS_MAP not in self.maps:
            self.maps[EVENTS_MAP] = MapSpec(EVENTS_MAP, MapType.RINGBUF, 0, 0, EVENTS_BYTES)
        return EVENTS_MAP

    def event(self, name: str, fields: list[tuple[str, CType]], catalog: Catalog) -> Event:
        """A new event; its fields are laid out as C does."""
        placed: list[EventField] = []
        end = NUMBER_BYTES
        for field, type in fields:
            end += -end % alignment(type)
            placed.append(EventField(field, type, end))
            end += type.size
        event = Event(len(self.events), name, tuple(placed), end + -end % 8, catalog)
        self.events.append(event)
        return event

    def text(self, text: str) -> int:
        """Where a constant text, with its NUL, is in the read-only map of them."""
        raw = text.encode() + b"\0"
        known = self.maps.get(TEXTS_MAP)
        data = known.data if known is not None and known.data is not None else b""
        at = data.find(raw)
        if at < 0:
            at, data = len(data), data + raw
        self.maps[TEXTS_MAP] = MapSpec(
            TEXTS_MAP, MapType.ARRAY, 4, len(data), 1,
            flags=MapFlag.RDONLY_PROG, data=data, frozen=True,
        )  # fmt: skip
        return at

    # -- variables -------------------------------------------------------------------------------

    def variable(self, item: Global, name: str) -> tuple[int, CType]:
        """Where a global variable is in the map of them, and its type."""
        type = member_type(item.type, self.catalog, name)
        for variable in self.variables:
            if variable.name == name:
                return variable.offset, type
        offset = len(self._data) + -len(self._data) % type.size
        self._data += bytes(offset - len(self._data) + type.size)
        raw = (item.initial & ((1 << 8 * type.size) - 1)).to_bytes(type.size, "little")
        self._data[offset : offset + type.size] = raw
        btf = self.btf_of(type)
        self.variables.append(Variable(name, GLOBALS_MAP, offset, type.size, btf))
        self.globals[name] = item
        size = len(self._data)
        self.maps[GLOBALS_MAP] = MapSpec(
            GLOBALS_MAP, MapType.ARRAY, 4, size, 1, flags=_MMAPABLE, data=bytes(self._data)
        )
        return offset, type

    # -- BTF -------------------------------------------------------------------------------------

    def btf_of(self, type: CType) -> TypeId:
        """A type in the BTF that goes to the kernel with the programs."""
        if isinstance(type, Integer):
            return self._int(type)
        if isinstance(type, Pointer):
            return self._int(Integer(8, False, "u64"))
        if isinstance(type, Array):
            index = self._int(Integer(4, False, "u32"))
            return self.types.add(BtfArray(self.btf_of(type.of), index, type.count))
        if isinstance(type, Record) and type.id < 0:
            return self._struct(type)
        raise BadInputError(f"{type} as a key or value")

    def _struct(self, record: Record) -> TypeId:
        """Of the program's own."""
        known = self._structs.get(record)
        if known is None:
            members = tuple(
                Member(name, self.btf_of(field.type), field.bit_offset)
                for name, field in self.catalog.fields(record)
            )
            known = self.types.add(BtfStruct(record.name, record.size, members))
            self._structs[record] = known
        return known

    def _int(self, type: Integer) -> TypeId:
        name = type.name if type.name and not type.enum else f"{'us'[type.signed]}{8 * type.size}"
        key = (name, type.size, type.signed, type.is_bool)
        if key not in self._ints:
            # the kernel takes one of these bits, not two
            encoding = 4 if type.is_bool else 2 if name == "char" else int(type.signed)
            self._ints[key] = self.types.add(Int(name, type.size, 8 * type.size, encoding))
        return self._ints[key]

    def function_type(self, name: str, params: tuple[str, ...], *, is_main: bool) -> TypeId:
        """A ``Func`` for the program's function infos; the main one takes a context."""
        result = self._int(Integer(4, True, "int") if is_main else Integer(8, True, "long long"))
        argument = self.types.add(Ptr(TypeId(0))) if is_main else result
        proto = self.types.add(FuncProto(result, tuple(Param(p, argument) for p in params)))
        return self.types.add(Func(name, proto, 1 if is_main else 0))

    def callback_type(self, name: str) -> TypeId:
        """A ``Func`` for what `outline` makes: ``long name(u64 index, void *shared)``."""
        result = self._int(Integer(8, True, "long"))
        index = Param("index", self._int(Integer(8, False, "u64")))
        shared = Param("shared", self.types.add(Ptr(VOID)))
        return self.types.add(Func(name, self.types.add(FuncProto(result, (index, shared))), 0))


_MMAPABLE = 1 << 10
