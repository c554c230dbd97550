"""C types as the front ends see them, from BTF or by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fsession.btf import types as btf
from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId

__all__ = [
    "BOOL",
    "CHAR",
    "INT",
    "LONG",
    "PROGRAM_CONTEXTS",
    "U8",
    "U16",
    "U32",
    "U64",
    "VOID",
    "WORD_BYTES",
    "Array",
    "CType",
    "Catalog",
    "Field",
    "Integer",
    "Opaque",
    "Pointer",
    "Record",
    "Stack",
    "alignment",
    "is_function",
    "is_text",
]

POINTER_BYTES = WORD_BYTES = 8
MAX_DEPTH = 32


@frozen
class Integer:
    """An integer or enum of `size` bytes; `enum` is the BTF id of the enum, for its names."""

    size: int
    signed: bool
    name: str = ""
    is_bool: bool = False
    enum: int = 0

    def __str__(self) -> str:
        return self.name or f"{'s' if self.signed else 'u'}{8 * self.size}"


@frozen
class Pointer:
    """`tag` is what BTF says of the memory it points to: "user", "percpu", "rcu" or ""."""

    to: CType
    tag: str = ""
    size: int = POINTER_BYTES

    def __str__(self) -> str:
        inner = str(self.to)
        return f"{inner}*" if inner.endswith("*") else f"{inner} *"


@frozen
class Record:
    """A struct or union of BTF."""

    id: int
    name: str
    size: int
    is_union: bool = False

    def __str__(self) -> str:
        return f"{'union' if self.is_union else 'struct'} {self.name or '{…}'}"


@frozen
class Array:
    of: CType
    count: int

    @property
    def size(self) -> int:
        return self.of.size * self.count

    def __str__(self) -> str:
        return f"{self.of}[{self.count}]"


@frozen
class Opaque:
    """What has no value: void, functions, types that are only declared."""

    name: str
    size: int = 0

    def __str__(self) -> str:
        return self.name


@frozen
class Stack:
    """In events: how many bytes of addresses there are, or a negative errno, then the addresses."""

    depth: int
    of_process: bool = False

    @property
    def size(self) -> int:
        return WORD_BYTES * (self.depth + 1)

    def __str__(self) -> str:
        return f"a stack of {self.depth}"


def is_function(type: CType) -> bool:
    """What a function pointer points to."""
    return isinstance(type, Opaque) and type.name == "funcproto"


CType = Integer | Pointer | Record | Array | Opaque | Stack

VOID = Opaque("void")
CHAR = Integer(1, True, "char")
INT = Integer(4, True, "int")
LONG = Integer(8, True, "long")
U8, U16, U32, U64 = (Integer(size, False, f"u{8 * size}") for size in (1, 2, 4, 8))
BOOL = Integer(1, False, "bool", is_bool=True)


# What a BPF program's BTF calls its context is another struct in the kernel (bpf_ctx_convert).
PROGRAM_CONTEXTS = frozenset(
    {
        "__sk_buff", "xdp_md", "bpf_sock", "bpf_sock_addr", "bpf_sock_ops", "sk_msg_md",
        "bpf_sysctl", "bpf_sockopt", "sk_reuseport_md", "bpf_sk_lookup", "bpf_perf_event_data",
        "bpf_raw_tracepoint_args", "pt_regs",
    }
)  # fmt: skip


@frozen
class Field:
    """A member, wherever in anonymous structs and unions: `bits` is 0 unless it is a bit-field."""

    type: CType
    bit_offset: int
    bits: int = 0

    @property
    def offset(self) -> int:
        return self.bit_offset // 8


_BASIC: dict[str, CType] = {
    "void": VOID, "bool": BOOL, "_Bool": BOOL,
    "char": CHAR, "signed char": Integer(1, True, "signed char"),
    "unsigned char": Integer(1, False, "unsigned char"),
    "short": Integer(2, True, "short"), "unsigned short": Integer(2, False, "unsigned short"),
    "int": INT, "unsigned int": Integer(4, False, "unsigned int"),
    "long": LONG, "unsigned long": Integer(8, False, "unsigned long"),
    "long long": Integer(8, True, "long long"),
    "unsigned long long": Integer(8, False, "unsigned long long"),
    **{f"{prefix}{sign}{8 * size}": Integer(size, sign == "s", f"{sign}{8 * size}")
       for size in (1, 2, 4, 8) for sign in "su" for prefix in ("", "__")},
    **{f"{sign}int{8 * size}_t": Integer(size, not sign, f"{sign}int{8 * size}_t")
       for size in (1, 2, 4, 8) for sign in ("", "u")},
    "size_t": Integer(8, False, "size_t"), "ssize_t": Integer(8, True, "ssize_t"),
}  # fmt: skip
_WORDS = re.compile(
    r"\s*(?:(struct|union|enum)\s+)?(\w+(?:\s+\w+)*?)\s*((?:\*\s*(?:const\s*)?)*)\s*$"
)


def is_text(type: CType) -> bool:
    """Whether it is a ``char`` array."""
    return isinstance(type, Array) and isinstance(type.of, Integer) and type.of.name == "char"


def alignment(type: CType) -> int:
    """Where a value of the type may stand: at a multiple of it."""
    if isinstance(type, Array):
        return alignment(type.of)
    return type.size if isinstance(type, Integer | Pointer) else WORD_BYTES


class Catalog:
    """The types of one BTF, made when they are asked for."""

    def __init__(self, types: Types, own: Catalog | None = None) -> None:
        """With the program's own structs of the catalog `own`."""
        self.types = types
        self._made: dict[int, CType] = {}
        self._enumerators: dict[str, tuple[int, Integer] | None] = {}
        self._local: dict[int, tuple[str, dict[str, Field]]] = own._local if own else {}

    def of(self, id: TypeId) -> CType:
        """The type behind typedefs and qualifiers."""
        found = self._made.get(id)
        if found is None:
            found = self._made[id] = self._make(id)
        return found

    def _make(self, id: TypeId) -> CType:
        name, tag = "", ""
        for _ in range(MAX_DEPTH):
            kind = self.types.kind_of(id)
            if kind is btf.Typedef:
                name = name or self.types.name_of(id)
            elif kind is btf.TypeTag:
                tag = tag or self.types.name_of(id)
            elif kind not in (btf.Const, btf.Volatile, btf.Restrict):
                break
            id = self.types.ref(id)
        return self._plain(id, name)

    def _plain(self, id: TypeId, name: str) -> CType:
        kind = self.types.kind_of(id)
        if kind in (btf.Struct, btf.Union):
            own = self.types.name_of(id)
            return Record(id, own or name, self.types.size_of(id), kind is btf.Union)
        if kind is btf.Ptr:
            target = self.types.ref(id)
            return Pointer(self.of(target), self._tag(target))
        type = self.types[id]
        if isinstance(type, btf.Int):
            return Integer(type.size, type.is_signed, name or type.name, type.is_bool)
        if isinstance(type, btf.Enum | btf.Enum64):
            own = f"enum {type.name}" if type.name else name
            return Integer(type.size, type.is_signed, own, enum=id)
        if isinstance(type, btf.Array):
            return Array(self.of(type.type), type.nelems)
        return Opaque(name or getattr(type, "name", "") or type.__class__.__name__.lower())

    def _tag(self, id: TypeId) -> str:
        for _ in range(MAX_DEPTH):
            kind = self.types.kind_of(id)
            if kind is btf.TypeTag:
                return self.types.name_of(id)
            if kind not in (btf.Const, btf.Volatile, btf.Restrict):
                break
            id = self.types.ref(id)
        return ""

    def find(self, name: str) -> CType | None:
        """A type by its name in C: ``u32``, ``struct sock``, ``enum tcp_state``, ``char **``."""
        match = _WORDS.match(name)
        if match is None:
            return None
        keyword, word, stars = match[1], " ".join(match[2].split()), match[3].count("*")
        word = re.sub(r"\b(const|volatile)\b\s*", "", word).strip()
        found = self._named(keyword or "", word)
        if found is None:
            return None
        for _ in range(stars):
            found = Pointer(found)
        return found

    def _named(self, keyword: str, word: str) -> CType | None:
        if not keyword and _sorted_words(word) in _BASIC_WORDS:
            return _BASIC_WORDS[_sorted_words(word)]
        kinds: dict[str, tuple[type[btf.Type], ...]] = {
            "struct": (btf.Struct,),
            "union": (btf.Union,),
            "enum": (btf.Enum, btf.Enum64),
            "": (btf.Typedef, btf.Int),
        }
        id = self.types.find(word, *kinds[keyword])
        return None if id is None else self.of(id)

    def local(self, name: str, fields: Sequence[Any], size: int) -> Record:
        """A struct of the program's own; its `fields` have a name, a type and an offset."""
        found = next((id for id, own in self._local.items() if own[0] == name), None)
        id = found if found is not None else -1 - len(self._local)
        members = {field.name: Field(field.type, 8 * field.offset) for field in fields}
        self._local[id] = (name, members)
        return Record(id, name, size)

    def near(self, name: str) -> list[str]:
        """Names of types like `name`."""
        match = _WORDS.match(name)
        word = match[2] if match else name
        return [name for names in self.types.strings.near(word) for name in names][:3]

    # -- members ---------------------------------------------------------------------------------

    def member(self, record: Record, name: str) -> Field | None:
        """A member by its name; those of anonymous structs and unions in it count as its own."""
        if record.id in self._local:
            return self._local[record.id][1].get(name)
        return self._member(record.id, name, 0, 0)

    def _member(self, id: int, name: str, base: int, depth: int) -> Field | None:
        struct = self.types[id]
        if not isinstance(struct, btf.Struct | btf.Union) or depth > MAX_DEPTH:
            return None
        for member in struct.members:
            at = base + member.bit_offset
            if member.name == name:
                return Field(self.of(member.type), at, member.bits)
            if not member.name:
                inner = self._member(self.types.strip(member.type), name, at, depth + 1)
                if inner is not None:
                    return inner
        return None

    def fields(self, record: Record) -> list[tuple[str, Field]]:
        """All members with their names; those of anonymous structs and unions in it, too."""
        if record.id in self._local:
            return list(self._local[record.id][1].items())
        return self._fields(record.id, 0, 0)

    def _fields(self, id: int, base: int, depth: int) -> list[tuple[str, Field]]:
        struct = self.types[id]
        if not isinstance(struct, btf.Struct | btf.Union) or depth > MAX_DEPTH:
            return []
        found: list[tuple[str, Field]] = []
        for member in struct.members:
            at = base + member.bit_offset
            if member.name:
                found.append((member.name, Field(self.of(member.type), at, member.bits)))
            else:
                found += self._fields(self.types.strip(member.type), at, depth + 1)
        return found

    def member_names(self, record: Record) -> list[str]:
        """Names of all members, for messages."""
        return [name for name, _ in self.fields(record)]

    def near_members(self, record: Record, name: str) -> list[str]:
        from difflib import get_close_matches  # here: only for an error's message

        return get_close_matches(name, self.member_names(record), 3)

    # -- enums -----------------------------------------------------------------------------------

    def enumerator(self, name: str) -> tuple[int, Integer] | None:
        """The value and type of an enumerator of any enum."""
        if name not in self._enumerators:
            found = self.types.find_enumerator(name)
            own = self.of(found[0]) if found else None
            known = (found[1], own) if found and isinstance(own, Integer) else None
            self._enumerators[name] = known
        return self._enumerators[name]

    def enum_values(self, enum: Integer) -> dict[str, int]:
        """The names of an enum."""
        type = self.types[enum.enum]
        if not isinstance(type, btf.Enum | btf.Enum64):
            raise BadInputError(f"{enum} is no enum")
        return {row.name: row.value for row in type.values}


def _sorted_words(text: str) -> str:
    """``long unsigned int`` and ``unsigned long`` are one."""
    words = sorted(text.split())
    if len(words) > 1 and "int" in words:
        words.remove("int")
    if len(words) > 1 and "signed" in words and "char" not in words:
        words.remove("signed")
    if words in (["signed"], ["unsigned"]):
        words = ["int", *words] if words == ["unsigned"] else ["int"]
    return " ".join(words)


_BASIC_WORDS = {_sorted_words(name): type for name, type in _BASIC.items()} | {
    "unsigned": _BASIC["unsigned int"],
}
