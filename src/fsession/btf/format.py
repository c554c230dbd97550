"""Types as C text: declarations, definitions with their layout, prototypes.

A declaration reads inside out: `spell` starts with the name and, on the way from the outermost type
to the base, puts a star, brackets or parameters around it. A definition puts each member in place:
where the compiler would put it elsewhere, unnamed bit-fields fill the gap, and a struct whose
members stand closer than their alignment is packed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.types import (
    Array,
    Const,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Void,
    Volatile,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.btf.catalog import Types
    from fsession.btf.types import Member

__all__ = ["Spelling", "definition", "prototype", "spell"]

_QUALIFIERS = {Const: "const", Volatile: "volatile", Restrict: "restrict"}
_DEPTH = 64
_WORD_BITS = 64
_COMMENT_COLUMN = 64
_PAD_BITS_MAX = 512  # a longer gap is an array, or a corrupt size would fill the memory
_PARTS_MAX = 1 << 17  # members and parameters in one text: a type in itself twice doubles each time


def spell(types: Types, type_id: TypeId, name: str = "") -> str:
    """A declaration of `name`: ``struct sk_buff *skb``; without a name, the type."""
    return Spelling(types).declare(type_id, name)


def prototype(types: Types, func_id: TypeId) -> str:
    """``int icmp_rcv(struct sk_buff *skb)``."""
    func = types[func_id]
    if not isinstance(func, Func):
        raise BadInputError(f"BTF type {func_id} is no function")
    return spell(types, func.type, func.name)


def definition(types: Types, type_id: TypeId, *, offsets: bool = False) -> str:
    """What C declares a type with: a struct with its members, an enum with its values, …

    `offsets`: each member with its offset in bytes (and bits), and its size in bytes.
    """
    return Spelling(types, offsets=offsets).define(type_id)


class Spelling:
    """Spells types of one BTF. `tag_name` gives the name of a struct, union, enum or typedef, and
    `value_name` that of an enumerator, where the C text must not have the same one twice."""

    def __init__(
        self,
        types: Types,
        *,
        offsets: bool = False,
        tag_name: Callable[[TypeId, str], str] | None = None,
        value_name: Callable[[TypeId, str], str] | None = None,
    ) -> None:
        self._types = types
        self._offsets = offsets
        self._tag_name = tag_name or (lambda _, name: name)
        self._value_name = value_name or (lambda _, name: name)
        self._parts_left = _PARTS_MAX
        self._outer_bits = 0  # where the anonymous struct lies whose members are spelled

    def declare(self, type_id: TypeId, name: str = "", indent: str = "", depth: int = 0) -> str:
        """`type_id name`. Anonymous structs and enums are spelled out."""
        words: list[str] = []
        text = name
        for _ in range(_DEPTH):
            kind = self._types[type_id]
            match kind:
                case Const() | Volatile() | Restrict():
                    words.append(_QUALIFIERS[type(kind)])
                    type_id = kind.type
                case TypeTag():
                    type_id = kind.type
                case Ptr():
                    qualified = " ".join(reversed(words))
                    text = f"*{qualified} {text}" if qualified and text else f"*{qualified}{text}"
                    words, type_id = [], kind.type
                case Array():
                    inner = f"({text})" if text.startswith("*") else text
                    text, type_id = f"{inner}[{kind.nelems}]", kind.type
                case FuncProto():
                    inner = f"({text})" if text.startswith("*") else text
                    text, type_id = f"{inner}({self._parameters(kind, depth)})", kind.type
                case _:
                    base = self._base(type_id, indent, depth)
                    return " ".join([*dict.fromkeys(words), base, *([text] if text else [])])
        raise BadInputError(f"BTF type {type_id}: a declaration nested too deeply")

    def define(self, type_id: TypeId) -> str:
        """A definition, closed by a semicolon."""
        self._parts_left = _PARTS_MAX
        kind = self._types[type_id]
        match kind:
            case Struct() | Union():
                return self._composite(type_id, kind, "", 0) + ";"
            case Enum() | Enum64():
                return self._enum(type_id, kind, "") + ";"
            case Typedef():
                name = self._tag_name(type_id, kind.name)
                return f"typedef {self.declare(kind.type, name)};"
            case Fwd():
                return f"{'union' if kind.is_union else 'struct'} {kind.name};"
            case Func():
                return f"{self.declare(kind.type, kind.name)};"
            case _:
                return f"{self.declare(type_id)};"

    def _base(self, type_id: TypeId, indent: str, depth: int) -> str:
        kind = self._types[type_id]
        match kind:
            case Void():
                return "void"
            case Int() | Float():
                return kind.name
            case Typedef():
                return self._tag_name(type_id, kind.name)
            case Fwd():
                return f"{'union' if kind.is_union else 'struct'} {kind.name}"
            case Struct() | Union():
                if kind.name:
                    return f"{_keyword(kind)} {self._tag_name(type_id, kind.name)}"
                return self._composite(type_id, kind, indent, depth + 1)
            case Enum() | Enum64():
                if kind.name:
                    return f"enum {self._tag_name(type_id, kind.name)}"
                return self._enum(type_id, kind, indent)
            case _:
                raise BadInputError(f"BTF type {type_id}: a {type(kind).__name__} in a declaration")

    def _parameters(self, proto: FuncProto, depth: int) -> str:
        if depth > _DEPTH:
            raise BadInputError("prototypes nested too deeply")
        self._count(len(proto.params))
        params = list(proto.params)
        if not params:
            return "void"
        variadic = proto.is_variadic
        if variadic:
            params.pop()
        words = [self.declare(item.type, item.name, depth=depth + 1) for item in params]
        return ", ".join([*words, *(["..."] if variadic else [])])

    def _count(self, parts: int) -> None:
        self._parts_left -= parts
        if self._parts_left < 0:
            raise BadInputError(f"more than {_PARTS_MAX} members and parameters in one type")

    def _enum(self, type_id: TypeId, kind: Enum | Enum64, indent: str) -> str:
        name = f"enum {self._tag_name(type_id, kind.name)} " if kind.name else "enum "
        if not kind.values:
            return name.rstrip()
        rows = "".join(
            f"{indent}\t{self._value_name(type_id, item.name)} = {_constant(kind, item.value)},\n"
            for item in kind.values
        )
        small = " __attribute__((packed))" if kind.size < 4 else ""
        return f"{name}{{\n{rows}{indent}}}{small}"

    def _composite(self, type_id: TypeId, kind: Struct | Union, indent: str, depth: int) -> str:
        if depth > _DEPTH:
            raise BadInputError(f"BTF type {type_id}: structs nested too deeply")
        self._count(len(kind.members))
        name = f"{_keyword(kind)} "
        if kind.name:
            name += f"{self._tag_name(type_id, kind.name)} "
        packed = self._is_packed(kind)
        rows = [f"{indent}\t{row}\n" for row in self._rows(kind, packed, indent + "\t", depth)]
        return f"{name}{{\n{''.join(rows)}{indent}}}{' __attribute__((packed))' * packed}"

    def _rows(self, kind: Struct | Union, packed: bool, indent: str, depth: int) -> Iterator[str]:
        """Members, each behind the padding that brings it to its place."""
        at, align = 0, 1
        for member in kind.members:
            size, natural = self._size_and_align(member, packed)
            align = max(align, 1 if packed or (member.bits and not member.name) else natural)
            if isinstance(kind, Struct):
                yield from _padding(at, member.bit_offset, _next(at, member, size, natural, packed))
                at = member.bit_offset + (member.bits or size * 8)
            yield self._row(member, size, indent, depth)
        if isinstance(kind, Struct):
            end = -(-at // (align * 8)) * align * 8
            yield from _padding(at, kind.size * 8, end)

    def _row(self, member: Member, size: int, indent: str, depth: int) -> str:
        self._outer_bits += member.bit_offset
        text = self._member(member, indent, depth)
        place, bit = divmod(self._outer_bits, 8)
        self._outer_bits -= member.bit_offset
        text += f": {member.bits};" if member.bits else ";"
        if not self._offsets:
            return text
        bits = f":{bit}" if member.bits else ""
        width = max(_COMMENT_COLUMN - 8 * len(indent), 0) if "\n" not in text else 0
        return f"{text:<{width}} /* {place}{bits} {size} */"

    def _member(self, member: Member, indent: str, depth: int) -> str:
        """The declaration. A member without a name, of a struct with one, is an extension of
        Microsoft's compilers that the kernel uses; any compiler takes it with its body instead."""
        type_id = self._types.strip(member.type)
        kind = self._types[type_id]
        if member.name or not isinstance(kind, Struct | Union) or not kind.name:
            return self.declare(member.type, member.name, indent, depth)
        return self._composite(type_id, replace(kind, name=""), indent, depth + 1)

    def _size_and_align(self, member: Member, packed: bool) -> tuple[int, int]:
        size = self._types.size_of(member.type)
        return size, 1 if packed else self._types.align_of(member.type)

    def _is_packed(self, kind: Struct | Union) -> bool:
        """A member, or the end, lies where its alignment does not allow it to lie."""
        align = 1
        for member in kind.members:
            size = self._types.size_of(member.type)
            natural = self._types.align_of(member.type)
            align = max(align, natural)
            if member.bits:
                unit = size * 8
                last = member.bit_offset + member.bits - 1
                if unit and member.bit_offset // unit != last // unit:
                    return True
            elif member.bit_offset % (natural * 8):
                return True
        return bool(kind.size % align)


def _next(at: int, member: Member, size: int, align: int, packed: bool) -> int:
    """Where the compiler puts a member that comes at bit `at`."""
    if not member.bits:
        return -(-at // (align * 8)) * align * 8
    unit = max(size, 1) * 8  # corrupt BTF may have bit-fields of void
    if packed or at // unit == (at + member.bits - 1) // unit:
        return at
    return -(-at // unit) * unit


def _padding(at: int, want: int, natural: int) -> Iterator[str]:
    """Unnamed bit-fields from bit `at` to `want`, if the compiler would not go there itself."""
    if natural == want:
        return
    if want - at > _PAD_BITS_MAX:
        start = -(-at // 8)
        if at % 8:
            yield f"char: {start * 8 - at};"
        yield f"char __pad_{start}[{want // 8 - start}];"
        at = want // 8 * 8
    while at < want:
        bits = min(_WORD_BITS - at % _WORD_BITS, want - at)
        yield f"long: {bits};"
        at += bits


def _constant(kind: Enum | Enum64, value: int) -> str:
    if kind.size <= 4:
        return str(value)
    return f"{value}LL" if kind.is_signed else f"{value}ULL"


def _keyword(kind: Struct | Union) -> str:
    return "struct" if isinstance(kind, Struct) else "union"
