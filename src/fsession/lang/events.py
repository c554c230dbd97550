"""Records of ``fsession.emit`` as objects with the fields' names.

| in the program | here |
| --- | --- |
| numbers, pointers | `int`, `bool` |
| pointers to functions | `FunctionPointer`, an `int` with a name |
| texts | `str` |
| structs, unions | a named tuple of all members, those of anonymous ones as its own |
| other arrays | a tuple |
| ``kstack()`` | a tuple of names, the innermost call first |
| ``ustack()`` | a tuple of addresses, as texts |
"""

from __future__ import annotations

from collections import namedtuple
from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, Any

from fsession.errors import BadInputError
from fsession.lang.ctypes import Array, Integer, Pointer, Record, Stack, is_function, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.lang.ctypes import Catalog, CType, Field
    from fsession.lang.unit import Event

    Reader = Callable[[Any], Any]
    Symbols = Callable[[Sequence[int]], Sequence[str]]

__all__ = ["EventDecoder", "FunctionPointer"]

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_NUMBER = Struct("<Q")
_WORD_BYTES = 8


def _addresses(words: Sequence[int]) -> list[str]:
    return [f"{word:#x}" for word in words]


class FunctionPointer(int):
    """A pointer to a function: compares as an `int`; `name` is "" where nobody knows it."""

    name: str

    def __new__(cls, address: int, symbols: Symbols) -> FunctionPointer:
        self = super().__new__(cls, address)
        (name,) = symbols([address]) if address else ("",)
        self.name = "" if name == hex(address) else name.removesuffix("+0x0")
        return self

    def __repr__(self) -> str:
        return self.name or hex(self)


class EventDecoder:
    """Of the programs of one compilation; `symbols` gives the names of addresses.

    >>> decoder.decode(record)
    icmp(length=84, name='lo', took_ns=1830, ret=0)
    """

    def __init__(self, events: Sequence[Event], symbols: Symbols = _addresses) -> None:
        self._decoders = [_decoder(event, symbols) for event in events]

    def decode(self, record: bytes | memoryview) -> Any:
        """Raises `BadInputError` for what is none of the programs' records."""
        if len(record) < _NUMBER.size:
            raise BadInputError(f"an event of {len(record)} bytes")
        (number,) = _NUMBER.unpack_from(record)
        if number >= len(self._decoders):
            raise BadInputError(f"event {number} is none of {len(self._decoders)}")
        return self._decoders[number](record)


def _decoder(event: Event, symbols: Symbols) -> Callable[[bytes | memoryview], Any]:
    names = [field.name for field in event.fields]
    make: Any = namedtuple(event.name, names, rename=True)  # type: ignore[misc]
    layout, at, others = "<8x", _NUMBER.size, []
    for place, field in enumerate(event.fields):
        layout += f"{field.offset - at}x" if field.offset > at else ""
        at = field.offset + field.type.size
        layout += _code(field.type)
        if not isinstance(field.type, Integer | Pointer):
            others.append((place, _reader(field.type, event.catalog, symbols)))
        elif isinstance(field.type, Pointer) and is_function(field.type.to):
            others.append((place, lambda address: FunctionPointer(address, symbols)))
    unpack = Struct(layout).unpack_from

    def decode(record: bytes | memoryview) -> Any:
        values: list[Any] = list(unpack(record))
        for place, read in others:
            values[place] = read(values[place])
        return make(*values)

    return decode


def _code(type: CType) -> str:
    if not isinstance(type, Integer | Pointer):
        return f"{type.size}s"
    if isinstance(type, Integer) and type.is_bool:
        return "?"
    code = _CODES[type.size]
    return code if isinstance(type, Integer) and type.signed else code.upper()


def _reader(type: CType, catalog: Catalog, symbols: Symbols) -> Reader:
    """From the bytes of a value to Python's."""
    if is_text(type):
        return lambda raw: raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    match type:
        case Stack(of_process=of_process):
            names = _addresses if of_process else symbols
            return lambda raw: _stack(raw, names)
        case Array(of=of, count=count):
            return _array_reader(of, count, _reader(of, catalog, symbols))
        case Record():
            return _record_reader(type, catalog, symbols)
        case Integer(size=1 | 2 | 4 | 8) | Pointer():
            unpack = Struct("<" + _code(type)).unpack
            return lambda raw: unpack(raw)[0]
    return lambda raw: raw  # no type of Python's: the bytes


def _stack(raw: bytes, symbols: Symbols) -> tuple[str, ...]:
    status = int.from_bytes(raw[:_WORD_BYTES], "little", signed=True)
    words = [word for (word,) in iter_unpack("<Q", raw[_WORD_BYTES:])]
    return tuple(symbols(words[: max(status, 0) // _WORD_BYTES]))


def _array_reader(of: CType, count: int, read: Reader) -> Reader:
    size = of.size
    return lambda raw: tuple(read(raw[at * size : (at + 1) * size]) for at in range(count))


def _record_reader(record: Record, catalog: Catalog, symbols: Symbols) -> Reader:
    fields = catalog.fields(record)
    name = record.name if record.name.isidentifier() else "struct"
    make: Any = namedtuple(name, [name for name, _ in fields], rename=True)  # type: ignore[misc]
    readers = [_field_reader(field, catalog, symbols) for _, field in fields]
    return lambda raw: make(*(read(raw) for read in readers))


def _field_reader(field: Field, catalog: Catalog, symbols: Symbols) -> Reader:
    """From the bytes of the struct that it is a member of."""
    start, size = field.offset, field.type.size
    if not field.bits:
        read = _reader(field.type, catalog, symbols)
        return lambda raw: read(raw[start : start + size])
    signed = isinstance(field.type, Integer) and field.type.signed

    def bits(raw: bytes) -> int:
        number = int.from_bytes(raw, "little") >> field.bit_offset & (1 << field.bits) - 1
        return number - (1 << field.bits) if signed and number >> (field.bits - 1) else number

    return bits
