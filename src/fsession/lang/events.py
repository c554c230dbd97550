"""Records of ``fsession.emit`` as objects with the fields' names."""

from __future__ import annotations

from collections import namedtuple
from struct import Struct
from typing import TYPE_CHECKING, Any

from fsession.errors import BadInputError
from fsession.lang.ctypes import Array, Integer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.lang.ctypes import CType
    from fsession.lang.unit import Event

__all__ = ["EventDecoder"]

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_NUMBER = Struct("<Q")


class EventDecoder:
    """Of the programs of one compilation.

    >>> decoder.decode(record)
    icmp(length=84, name='lo', took_ns=1830, ret=0)
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self._decoders = [_decoder(event) for event in events]

    def decode(self, record: bytes | memoryview) -> Any:
        """Raises `BadInputError` for what is none of the programs' records."""
        if len(record) < _NUMBER.size:
            raise BadInputError(f"an event of {len(record)} bytes")
        (number,) = _NUMBER.unpack_from(record)
        if number >= len(self._decoders):
            raise BadInputError(f"event {number} is none of {len(self._decoders)}")
        return self._decoders[number](record)


def _decoder(event: Event) -> Callable[[bytes | memoryview], Any]:
    names = [field.name for field in event.fields]
    make: Any = namedtuple(event.name, names, rename=True)  # type: ignore[misc]
    layout, at, texts = "<8x", 8, []
    for place, field in enumerate(event.fields):
        layout += f"{field.offset - at}x" if field.offset > at else ""
        layout += _code(field.type)
        at = field.offset + field.type.size
        if isinstance(field.type, Array):
            texts.append(place)
    unpack = Struct(layout).unpack_from

    def decode(record: bytes | memoryview) -> Any:
        values: list[Any] = list(unpack(record))
        for place in texts:
            raw: bytes = values[place]
            values[place] = raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        return make(*values)

    return decode


def _code(type: CType) -> str:
    if isinstance(type, Array):
        return f"{type.size}s"
    if isinstance(type, Integer) and type.is_bool:
        return "?"
    code = _CODES[type.size]
    return code if isinstance(type, Integer) and type.signed else code.upper()
