"""BTF for kernels that know fewer kinds: what is left of it still shows source lines and types.

Kinds came with Linux 5.13 (FLOAT), 5.16 (DECL_TAG), 5.17 (TYPE_TAG), 6.0 (ENUM64), and global
functions with 5.6; a kernel refuses BTF that has something newer. In its place stands what is most
like it, at the same id::

    FLOAT f, 4 bytes        STRUCT f of 4 bytes without members
    DECL_TAG                void *, which nothing refers to
    TYPE_TAG of T           CONST T
    ENUM64 e                INT e of 8 bytes
    FUNC, global            FUNC, static
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Const,
    DeclTag,
    Enum64,
    Float,
    Func,
    Int,
    Ptr,
    Struct,
    TypeTag,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.types import Type

__all__ = ["for_older_kernels"]

_STATIC = 0


def for_older_kernels(data: bytes) -> bytes:
    """The same BTF without newer kinds; equal to `data` if it has none. Strings stay in place."""
    types = Types.from_bytes(data)
    builder = Builder()
    builder.keep_strings(types)
    for id in types.own_ids():
        type = types[id]
        instead = _INSTEAD.get(type.__class__)
        builder.add(instead(type) if instead else type)
    return builder.to_bytes()


def _float(type: Float) -> Type:
    return Struct(type.name, type.size, ())


def _decl_tag(type: DeclTag) -> Type:
    return Ptr(VOID)


def _type_tag(type: TypeTag) -> Type:
    return Const(type.type)


def _enum64(type: Enum64) -> Type:
    return Int(type.name or "enum64", type.size, 8 * type.size, int(type.is_signed))


def _func(type: Func) -> Type:
    return replace(type, linkage=_STATIC)


_INSTEAD: dict[type, Callable[..., Type]] = {
    Float: _float,
    DeclTag: _decl_tag,
    TypeTag: _type_tag,
    Enum64: _enum64,
    Func: _func,
}
