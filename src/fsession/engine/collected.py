"""Types from several sources in one BTF: their ids are known before what they are."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from fsession.btf.encode import Builder
from fsession.btf.types import VOID, TypeId
from fsession.errors import InternalError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.types import Type

__all__ = ["Collected"]

_REFERENCES = ("type", "index_type")
_LISTS = ("members", "params", "variables")


class Collected:
    """`reserve` gives an id, `fill` says what it is; `named` is for whoever looks for equals."""

    def __init__(self) -> None:
        self._types: list[Type | None] = []
        self.named: dict[object, TypeId] = {}

    def reserve(self) -> TypeId:
        self._types.append(None)
        return TypeId(len(self._types))

    def fill(self, id: TypeId, type: Type) -> None:
        self._types[id - 1] = type

    def add(self, type: Type) -> TypeId:
        self._types.append(type)
        return TypeId(len(self._types))

    def take(self, types: Types) -> int:
        """All types of a BTF that stands alone; how much their ids have grown."""
        by = len(self._types)
        for id in types.own_ids():
            self._types.append(_moved(types[TypeId(id)], by))
        return by

    def types(self, name: str = "") -> Types:
        build = Builder()
        for type in self._types:
            if type is None:
                raise InternalError("a type was reserved and never made")
            build.add(type)
        return build.types(name)


def _moved(type: Type, by: int) -> Type:
    """With larger ids."""
    changes: dict[str, Any] = {}
    for field in fields(type):
        value = getattr(type, field.name)
        if field.name in _REFERENCES and value != VOID:
            changes[field.name] = value + by
        elif field.name in _LISTS:
            changes[field.name] = tuple(
                replace(item, type=item.type + by if item.type else VOID) for item in value
            )
    moved: Type = replace(type, **changes) if changes else type
    return moved
