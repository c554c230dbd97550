"""The table of BTF kinds: how each is laid out, read and written (Documentation/bpf/btf.rst).

A record is a head of three words and a body that depends on the kind::

    word 0     name offset in the string section
    word 1     +-----------+------+------+--------+
               | kind_flag | kind |  0   |  vlen  |
               +-----------+------+------+--------+
                     31     28..24          15..0
    word 2     size in bytes, or a type id
    body       `fixed` bytes, then `each` bytes for every one of the vlen elements

One table for both directions: `read` makes the value of a head and a body, `write` is its inverse.
"""

from __future__ import annotations

from struct import Struct as Packer
from typing import TYPE_CHECKING, Any, NamedTuple

from fsession.btf.types import (
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Type,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from fsession.frozen import frozen
from fsession.uapi import BtfKind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEAD_BYTES", "KINDS", "KIND_OF", "MAX_VLEN", "Head", "Kind", "body_bytes"]

HEAD_BYTES = 12
MAX_VLEN = 0xFFFF

_U32 = 0xFFFF_FFFF
_WORD = Packer("<I")
_SIGNED = Packer("<i")
_ARRAY = Packer("<III")  # struct btf_array
_MEMBER = Packer("<III")  # struct btf_member
_ENUM = Packer("<Ii")  # struct btf_enum
_ENUM64 = Packer("<III")  # struct btf_enum64
_PARAM = Packer("<II")  # struct btf_param
_SECVAR = Packer("<III")  # struct btf_var_secinfo


class Head(NamedTuple):
    """The head of a record, its name resolved; `word` is the size or the type id."""

    name: str
    vlen: int
    kind_flag: bool
    word: int


@frozen
class Kind:
    """A row of the table. `read` takes head, body and the string section; `write` inverts it."""

    number: int
    cls: type
    read: Callable[[Head, bytes, Callable[[int], str]], Type]
    write: Callable[[Any, Callable[[str], int]], tuple[Head, bytes]]
    fixed: int = 0
    each: int = 0


def _read_int(head: Head, body: bytes, name: Callable[[int], str]) -> Int:
    (word,) = _WORD.unpack(body)
    return Int(head.name, head.word, word & 0xFF, word >> 24 & 0x0F, word >> 16 & 0xFF)


def _write_int(type: Int, name: Callable[[str], int]) -> tuple[Head, bytes]:
    word = type.encoding << 24 | type.bit_offset << 16 | type.bits
    return Head(type.name, 0, False, type.size), _WORD.pack(word)


def _read_array(head: Head, body: bytes, name: Callable[[int], str]) -> Array:
    element, index, nelems = _ARRAY.unpack(body)
    return Array(element, index, nelems)


def _write_array(type: Array, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head("", 0, False, 0), _ARRAY.pack(type.type, type.index_type, type.nelems)


def _reader_of_members(cls: type[Struct] | type[Union]) -> Any:
    def read(head: Head, body: bytes, name: Callable[[int], str]) -> Type:
        rows = _MEMBER.iter_unpack(body)
        if head.kind_flag:
            members = [Member(name(n), TypeId(t), at & 0xFFFFFF, at >> 24) for n, t, at in rows]
        else:
            members = [Member(name(n), TypeId(t), at) for n, t, at in rows]
        return cls(head.name, head.word, tuple(members), head.kind_flag)

    return read


def _write_members(type: Struct | Union, name: Callable[[str], int]) -> tuple[Head, bytes]:
    shift = 24 if type.kind_flag else 32
    body = b"".join(
        _MEMBER.pack(name(m.name), m.type, m.bits << shift | m.bit_offset) for m in type.members
    )
    return Head(type.name, len(type.members), type.kind_flag, type.size), body


def _read_enum(head: Head, body: bytes, name: Callable[[int], str]) -> Enum:
    mask = -1 if head.kind_flag else _U32
    values = tuple(Enumerator(name(n), value & mask) for n, value in _ENUM.iter_unpack(body))
    return Enum(head.name, head.word, values, head.kind_flag)


def _write_enum(type: Enum, name: Callable[[str], int]) -> tuple[Head, bytes]:
    body = b"".join(_PARAM.pack(name(v.name), v.value & _U32) for v in type.values)
    return Head(type.name, len(type.values), type.is_signed, type.size), body


def _read_enum64(head: Head, body: bytes, name: Callable[[int], str]) -> Enum64:
    wrap = 1 << 63 if head.kind_flag else 0
    values = tuple(
        Enumerator(name(n), ((high << 32 | low) ^ wrap) - wrap)
        for n, low, high in _ENUM64.iter_unpack(body)
    )
    return Enum64(head.name, head.word, values, head.kind_flag)


def _write_enum64(type: Enum64, name: Callable[[str], int]) -> tuple[Head, bytes]:
    body = b"".join(
        _ENUM64.pack(name(v.name), v.value & _U32, v.value >> 32 & _U32) for v in type.values
    )
    return Head(type.name, len(type.values), type.is_signed, type.size), body


def _read_fwd(head: Head, body: bytes, name: Callable[[int], str]) -> Fwd:
    return Fwd(head.name, head.kind_flag)


def _write_fwd(type: Fwd, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, type.is_union, 0), b""


def _reader_of_reference(cls: Any) -> Any:
    """Of kinds that only refer to another type: pointers and qualifiers."""
    return lambda head, body, name: cls(head.word)


def _write_reference(type: Any, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head("", 0, False, type.type), b""


def _read_typedef(head: Head, body: bytes, name: Callable[[int], str]) -> Typedef:
    return Typedef(head.name, TypeId(head.word))


def _write_typedef(type: Typedef, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, False, type.type), b""


def _read_func(head: Head, body: bytes, name: Callable[[int], str]) -> Func:
    return Func(head.name, TypeId(head.word), head.vlen)


def _write_func(type: Func, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, type.linkage, False, type.type), b""


def _read_proto(head: Head, body: bytes, name: Callable[[int], str]) -> FuncProto:
    params = tuple(Param(name(n), TypeId(t)) for n, t in _PARAM.iter_unpack(body))
    return FuncProto(TypeId(head.word), params)


def _write_proto(type: FuncProto, name: Callable[[str], int]) -> tuple[Head, bytes]:
    body = b"".join(_PARAM.pack(name(p.name), p.type) for p in type.params)
    return Head("", len(type.params), False, type.type), body


def _read_var(head: Head, body: bytes, name: Callable[[int], str]) -> Var:
    return Var(head.name, TypeId(head.word), _WORD.unpack(body)[0])


def _write_var(type: Var, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, False, type.type), _WORD.pack(type.linkage)


def _read_datasec(head: Head, body: bytes, name: Callable[[int], str]) -> DataSec:
    variables = tuple(SecVar(TypeId(t), at, size) for t, at, size in _SECVAR.iter_unpack(body))
    return DataSec(head.name, head.word, variables)


def _write_datasec(type: DataSec, name: Callable[[str], int]) -> tuple[Head, bytes]:
    body = b"".join(_SECVAR.pack(v.type, v.offset, v.size) for v in type.variables)
    return Head(type.name, len(type.variables), False, type.size), body


def _read_float(head: Head, body: bytes, name: Callable[[int], str]) -> Float:
    return Float(head.name, head.word)


def _write_float(type: Float, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, False, type.size), b""


def _read_decl_tag(head: Head, body: bytes, name: Callable[[int], str]) -> DeclTag:
    return DeclTag(head.name, TypeId(head.word), _SIGNED.unpack(body)[0], head.kind_flag)


def _write_decl_tag(type: DeclTag, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, type.kind_flag, type.type), _SIGNED.pack(type.component)


def _read_type_tag(head: Head, body: bytes, name: Callable[[int], str]) -> TypeTag:
    return TypeTag(head.name, TypeId(head.word), head.kind_flag)


def _write_type_tag(type: TypeTag, name: Callable[[str], int]) -> tuple[Head, bytes]:
    return Head(type.name, 0, type.kind_flag, type.type), b""


def _reference(number: int, cls: type) -> Kind:
    return Kind(number, cls, _reader_of_reference(cls), _write_reference)


_K = BtfKind
_ROWS = (
    Kind(_K.INT, Int, _read_int, _write_int, fixed=_WORD.size),
    _reference(_K.PTR, Ptr),
    Kind(_K.ARRAY, Array, _read_array, _write_array, fixed=_ARRAY.size),
    Kind(_K.STRUCT, Struct, _reader_of_members(Struct), _write_members, each=_MEMBER.size),
    Kind(_K.UNION, Union, _reader_of_members(Union), _write_members, each=_MEMBER.size),
    Kind(_K.ENUM, Enum, _read_enum, _write_enum, each=_ENUM.size),
    Kind(_K.FWD, Fwd, _read_fwd, _write_fwd),
    Kind(_K.TYPEDEF, Typedef, _read_typedef, _write_typedef),
    _reference(_K.VOLATILE, Volatile),
    _reference(_K.CONST, Const),
    _reference(_K.RESTRICT, Restrict),
    Kind(_K.FUNC, Func, _read_func, _write_func),  # its vlen is the linkage
    Kind(_K.FUNC_PROTO, FuncProto, _read_proto, _write_proto, each=_PARAM.size),
    Kind(_K.VAR, Var, _read_var, _write_var, fixed=_WORD.size),
    Kind(_K.DATASEC, DataSec, _read_datasec, _write_datasec, each=_SECVAR.size),
    Kind(_K.FLOAT, Float, _read_float, _write_float),
    Kind(_K.DECL_TAG, DeclTag, _read_decl_tag, _write_decl_tag, fixed=_SIGNED.size),
    Kind(_K.TYPE_TAG, TypeTag, _read_type_tag, _write_type_tag),
    Kind(_K.ENUM64, Enum64, _read_enum64, _write_enum64, each=_ENUM64.size),
)
KINDS = {int(row.number): row for row in _ROWS}
KIND_OF: dict[type, Kind] = {row.cls: row for row in _ROWS}


def body_bytes(info: int) -> int | None:
    """Length of a record's body by the second word of its head; None for an unknown kind."""
    kind = KINDS.get(info >> 24 & 0x1F)
    return None if kind is None else kind.fixed + kind.each * (info & MAX_VLEN)
