"""C objects in memory of this process, with their fields by BTF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsession.btf.types import Struct, TypeId, Union
from fsession.btf.values import decode_value, encode_value
from fsession.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types
    from fsession.engine.memory import Block

__all__ = ["CObject", "find_type", "members"]


def find_type(types: Types, text: str) -> TypeId:
    """``struct sk_buff``, ``union u`` or a name."""
    keyword, _, name = text.rpartition(" ")
    kinds = {"struct": (Struct,), "union": (Union,)}.get(keyword, ())
    return types.id_of(name, *kinds)


class CObject:
    """A struct or another value at a fixed address; fields are attributes.

    >>> skb = machine.new("struct sk_buff", len=84)
    >>> skb.len
    84
    """

    def __init__(self, types: Types, id: TypeId, memory: Block, fields: dict[str, Any]) -> None:
        object.__setattr__(self, "_types", types)
        object.__setattr__(self, "_id", types.strip(id))
        object.__setattr__(self, "_memory", memory)
        for name, value in fields.items():
            setattr(self, name, value)

    @property
    def address(self) -> int:
        """What a pointer to the object holds."""
        address: int = self._memory.address
        return address

    def __int__(self) -> int:
        return self.address

    def __bytes__(self) -> bytes:
        data: bytes = self._memory.read()
        return data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        id, bit, bits = self._field(name)
        size = self._types.size_of(id)
        if bits:
            word = int.from_bytes(self._memory.read(bit // 8, (bit % 8 + bits + 7) // 8), "little")
            return word >> bit % 8 & (1 << bits) - 1
        return decode_value(self._types, id, self._memory.read(bit // 8, size))

    def __setattr__(self, name: str, value: Any) -> None:
        id, bit, bits = self._field(name)
        if isinstance(value, CObject):
            value = value.address
        if not bits:
            self._memory.write(encode_value(self._types, id, value, name), bit // 8)
            return
        count = (bit % 8 + bits + 7) // 8
        word = int.from_bytes(self._memory.read(bit // 8, count), "little")
        mask = (1 << bits) - 1 << bit % 8
        word = word & ~mask | int(value) << bit % 8 & mask
        self._memory.write(word.to_bytes(count, "little"), bit // 8)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(name for name, *_ in members(self._types, self._id))]

    def _field(self, name: str) -> tuple[TypeId, int, int]:
        for found, id, bit, bits in members(self._types, self._id):
            if found == name:
                return id, bit, bits
        raise NotFoundError("field", name)


def members(types: Types, id: TypeId, base: int = 0) -> Iterator[tuple[str, TypeId, int, int]]:
    """Name, type, offset and width in bits; those of anonymous members as if they were own."""
    kind = types[id]
    if not isinstance(kind, Struct | Union):
        return
    for member in kind.members:
        at = base + member.bit_offset
        if member.name:
            yield member.name, member.type, at, member.bits
        else:
            yield from members(types, types.strip(member.type), at)
