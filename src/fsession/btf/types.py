"""BTF types as values: one frozen class for each kind (Documentation/bpf/btf.rst).

A type refers to others by id (`TypeId`), never by object: ids belong to a catalog
(`fsession.btf.catalog.Types`), id 0 is ``void``. Sizes are bytes, member offsets are bits.
"""

from __future__ import annotations

from typing import NewType

from fsession.frozen import frozen

__all__ = [
    "VOID",
    "Array",
    "Const",
    "DataSec",
    "DeclTag",
    "Enum",
    "Enum64",
    "Enumerator",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Member",
    "Param",
    "Ptr",
    "Restrict",
    "SecVar",
    "Struct",
    "Type",
    "TypeId",
    "TypeTag",
    "Typedef",
    "Union",
    "Var",
    "Void",
    "Volatile",
]

TypeId = NewType("TypeId", int)
"""Number of a type in a BTF object, from 1; module types continue after vmlinux's last."""

VOID = TypeId(0)


@frozen
class Void:
    """Type id 0."""


@frozen
class Int:
    """``BTF_KIND_INT``: `encoding` bits are SIGNED 1, CHAR 2, BOOL 4."""

    name: str
    size: int
    bits: int
    encoding: int = 0
    bit_offset: int = 0

    @property
    def is_signed(self) -> bool:
        return bool(self.encoding & 1)

    @property
    def is_char(self) -> bool:
        return bool(self.encoding & 2)

    @property
    def is_bool(self) -> bool:
        return bool(self.encoding & 4)


@frozen
class Ptr:
    """``BTF_KIND_PTR``: a pointer to `type`."""

    type: TypeId


@frozen
class Array:
    """``BTF_KIND_ARRAY``: `nelems` elements of `type`; 0 for a flexible array."""

    type: TypeId
    index_type: TypeId
    nelems: int


@frozen
class Member:
    """A member of a struct or union; `bits` is 0 unless it is a bit-field."""

    name: str
    type: TypeId
    bit_offset: int
    bits: int = 0


@frozen
class Struct:
    """``BTF_KIND_STRUCT``. `kind_flag`: the wire form gives bit-field sizes with the offsets."""

    name: str
    size: int
    members: tuple[Member, ...]
    kind_flag: bool = False


@frozen
class Union:
    """``BTF_KIND_UNION``: as `Struct`, its members overlap."""

    name: str
    size: int
    members: tuple[Member, ...]
    kind_flag: bool = False


@frozen
class Enumerator:
    """A name and value of an enum."""

    name: str
    value: int


@frozen
class Enum:
    """``BTF_KIND_ENUM``: values of up to 32 bits, signed if `is_signed`."""

    name: str
    size: int
    values: tuple[Enumerator, ...]
    is_signed: bool = False


@frozen
class Enum64:
    """``BTF_KIND_ENUM64``: values of up to 64 bits, signed if `is_signed` (Linux 6.0)."""

    name: str
    size: int
    values: tuple[Enumerator, ...]
    is_signed: bool = False


@frozen
class Fwd:
    """``BTF_KIND_FWD``: a struct, or a union, that is only declared."""

    name: str
    is_union: bool = False


@frozen
class Typedef:
    """``BTF_KIND_TYPEDEF``."""

    name: str
    type: TypeId


@frozen
class Volatile:
    """``BTF_KIND_VOLATILE``."""

    type: TypeId


@frozen
class Const:
    """``BTF_KIND_CONST``."""

    type: TypeId


@frozen
class Restrict:
    """``BTF_KIND_RESTRICT``."""

    type: TypeId


@frozen
class Func:
    """``BTF_KIND_FUNC``: `type` is a `FuncProto`; `linkage` 0 static, 1 global, 2 extern."""

    name: str
    type: TypeId
    linkage: int = 0


@frozen
class Param:
    """A parameter; name "" and type 0 as the last one mean variadic."""

    name: str
    type: TypeId


@frozen
class FuncProto:
    """``BTF_KIND_FUNC_PROTO``: `type` is what is returned, 0 for void."""

    type: TypeId
    params: tuple[Param, ...]

    @property
    def is_variadic(self) -> bool:
        return bool(self.params) and not self.params[-1].name and not self.params[-1].type


@frozen
class Var:
    """``BTF_KIND_VAR``: a global variable; `linkage` 0 static, 1 global, 2 extern."""

    name: str
    type: TypeId
    linkage: int = 0


@frozen
class SecVar:
    """A variable's place in a section, in bytes."""

    type: TypeId
    offset: int
    size: int


@frozen
class DataSec:
    """``BTF_KIND_DATASEC``: an ELF section and its variables."""

    name: str
    size: int
    variables: tuple[SecVar, ...]


@frozen
class Float:
    """``BTF_KIND_FLOAT``."""

    name: str
    size: int


@frozen
class DeclTag:
    """``BTF_KIND_DECL_TAG``: `component` is a member's or parameter's index, -1 the whole."""

    name: str
    type: TypeId
    component: int = -1
    kind_flag: bool = False


@frozen
class TypeTag:
    """``BTF_KIND_TYPE_TAG``: ``__user``, ``__rcu`` and the like, on what a pointer points to."""

    name: str
    type: TypeId
    kind_flag: bool = False


Type = (
    Void
    | Int
    | Ptr
    | Array
    | Struct
    | Union
    | Enum
    | Enum64
    | Fwd
    | Typedef
    | Volatile
    | Const
    | Restrict
    | Func
    | FuncProto
    | Var
    | DataSec
    | Float
    | DeclTag
    | TypeTag
)
