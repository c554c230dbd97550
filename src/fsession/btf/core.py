"""CO-RE: fit an instruction that depends on a type's layout to the types of the running kernel.

The compiler leaves a `CoreRelo`: a type of the object's own BTF, a path into it (``0:1:2``) and a
question: the offset of that field, whether it exists, the value of an enumerator, and so on.
`relocate` finds the kernel's type of the same name and answers the question there; `apply` puts the
answer into the instruction. Both are pure.

Names are compared without their flavour: ``sk_buff___old`` means ``sk_buff``. A field is found by
the names on its path, through anonymous members, wherever it lies; its type must be of the same
kind. If several types of the kernel fit they must give the same answer. A question that only asks
for existence is answered by 0; without an answer to any other, the instruction is poisoned: it
becomes a call that the verifier refuses if it can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from fsession.btf.compat import essential_name, fields_fit, types_fit, types_match
from fsession.btf.types import (
    VOID,
    Array,
    Enum,
    Enum64,
    Int,
    Ptr,
    Struct,
    TypeId,
    Union,
)
from fsession.errors import BadInputError
from fsession.isa.insn import Insn, call_helper
from fsession.isa.opcode import Class, Mode, Size, Source
from fsession.uapi import CoreReloKind as Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.btf.catalog import Types
    from fsession.btf.types import Member

__all__ = ["POISON", "CoreResult", "Relocation", "apply", "relocate"]

POISON = 0xBAD2310
"""Helper number of a call that must not be reached."""

_FIELD_KINDS = frozenset(
    {
        Kind.FIELD_BYTE_OFFSET,
        Kind.FIELD_BYTE_SIZE,
        Kind.FIELD_EXISTS,
        Kind.FIELD_SIGNED,
        Kind.FIELD_LSHIFT_U64,
        Kind.FIELD_RSHIFT_U64,
    }
)
_TYPE_KINDS = frozenset(
    {Kind.TYPE_ID_LOCAL, Kind.TYPE_ID_TARGET, Kind.TYPE_EXISTS, Kind.TYPE_SIZE, Kind.TYPE_MATCHES}
)
_EXISTENCE = frozenset(
    {Kind.FIELD_EXISTS, Kind.TYPE_EXISTS, Kind.TYPE_MATCHES, Kind.ENUMVAL_EXISTS}
)
_MOST_STEPS = 64  # of an access path, as libbpf takes
_SIZES = {1: Size.B, 2: Size.H, 4: Size.W, 8: Size.DW}


class Relocation(Protocol):
    """A question to the kernel's types: `fsession.spec.CoreRelo`."""

    @property
    def kind(self) -> Kind: ...
    @property
    def type(self) -> TypeId: ...
    @property
    def access(self) -> str: ...


@dataclass(frozen=True, slots=True)
class CoreResult:
    """The answer. `local` is what the compiler put in, None where it can't be compared.

    `target` None: there is no answer, and the instruction is to be poisoned. `sizes` are the bytes
    of a field in the object and in the kernel where they differ and a load can be adjusted, and
    `question` says what was asked, for error messages.
    """

    local: int | None
    target: int | None
    question: str
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a path: member `name` of struct `type`, or element `index` of an array."""

    type: TypeId
    index: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Field:
    """A place in a type: its path, its offset, and the type found there."""

    steps: tuple[_Step, ...]
    bit_offset: int
    type: TypeId
    member: Member | None


@dataclass(frozen=True, slots=True)
class _Answer:
    value: int
    comparable: bool = True
    size: int = 0
    type: TypeId = VOID


def relocate(local: Types, relo: Relocation, targets: Sequence[Types]) -> CoreResult:
    """Answer `relo`, asked about `local`'s types, from `targets`: vmlinux, then modules.

    Raises `BadInputError` for a path that does not fit its own type, and where the kernel's types
    of that name disagree.
    """
    root = relo.type
    if not 0 < root < len(local):
        raise BadInputError(f"CO-RE relocation of type {root}, which the object does not have")
    path = _parse(relo.access)
    question = _question(local, relo)
    if relo.kind == Kind.TYPE_ID_LOCAL:
        return CoreResult(None, root, question)
    own = _ask(local, relo.kind, local, root, root, path)
    answers = [
        (types, answer)
        for types, candidate in _candidates(local, root, targets)
        if (answer := _ask(types, relo.kind, local, root, candidate, path)) is not None
    ]
    if not answers:
        missing = 0 if relo.kind in _EXISTENCE else None
        return CoreResult(None, missing, question)
    values = {answer.value for _, answer in answers}
    if len(values) > 1:
        raise BadInputError(f"CO-RE: the kernel has several answers for {question}: {values}")
    types, answer = answers[0]
    before = own.value if own and own.comparable and answer.comparable else None
    if relo.kind != Kind.FIELD_BYTE_OFFSET or own is None or own.size == answer.size:
        return CoreResult(before, answer.value, question)
    if not _adjustable(local, own.type, types, answer.type):
        return CoreResult(before, None, f"{question} ({own.size} bytes, {answer.size} here)")
    return CoreResult(before, answer.value, question, (own.size, answer.size))


def apply(insn: Insn, result: CoreResult) -> tuple[Insn, ...]:
    """The instruction with the answer in it; as many slots as before."""
    if result.target is None:
        return (call_helper(POISON),) * insn.slots
    if insn.is_lddw:
        if insn.src:
            raise BadInputError("CO-RE relocation of a load of a map or function")
        _check(insn.imm, result)
        return (replace(insn, imm=result.target & 0xFFFF_FFFF_FFFF_FFFF),)
    if insn.cls in (Class.ALU, Class.ALU64) and insn.opcode & 0x08 == Source.K:
        _check(insn.imm, result)
        return (replace(insn, imm=_fit(result, 32)),)
    if insn.cls in (Class.LDX, Class.ST, Class.STX):
        _check(insn.off, result)
        return (_adjusted(replace(insn, off=_fit(result, 16)), result),)
    raise BadInputError(f"CO-RE relocation of an instruction with opcode {insn.opcode:#x}")


def _check(found: int, result: CoreResult) -> None:
    if result.local is not None and found != result.local:
        raise BadInputError(
            f"CO-RE: an instruction has {found} for {result.question}, the types {result.local}"
        )


def _fit(result: CoreResult, bits: int) -> int:
    """The answer in a signed field; 32 bits may be used as unsigned."""
    value = result.target or 0
    if bits == 32 and 0x8000_0000 <= value <= 0xFFFF_FFFF:
        value -= 1 << 32
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BadInputError(f"CO-RE: {value} for {result.question} does not fit {bits} bits")
    return value


def _adjusted(insn: Insn, result: CoreResult) -> Insn:
    """A load or store with the kernel's size of the field."""
    if result.sizes is None:
        return insn
    before, after = result.sizes
    have = Size(insn.opcode & 0x18)
    if have.size_bytes != before or after not in _SIZES or insn.opcode & 0xE0 != Mode.MEM:
        raise BadInputError(f"CO-RE: can't make {result.question} from {before} to {after} bytes")
    return replace(insn, opcode=insn.opcode & ~0x18 | _SIZES[after])


def _parse(access: str) -> tuple[int, ...]:
    parts = access.split(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BadInputError(f"CO-RE access path '{access}' is no list of numbers")
    if len(parts) > _MOST_STEPS:
        raise BadInputError(f"CO-RE access path of {len(parts)} steps")
    return tuple(map(int, parts))


def _question(local: Types, relo: Relocation) -> str:
    """For people: ``FIELD_BYTE_OFFSET of sk_buff 0:24``."""
    name = local.name_of(relo.type) or f"type {relo.type}"
    return f"{relo.kind.name} of {name} {relo.access}"


def _candidates(
    local: Types, root: TypeId, targets: Sequence[Types]
) -> Iterator[tuple[Types, TypeId]]:
    """Types of the same kind and name: of vmlinux, or where it has none, of the modules."""
    name = essential_name(local.name_of(root))
    if not name:
        raise BadInputError(f"CO-RE relocation of type {root}, which has no name")
    kind = type(local[root])
    kinds = (Enum, Enum64) if kind in (Enum, Enum64) else (kind,)
    vmlinux_has_it = False
    for number, types in enumerate(targets):
        if number and vmlinux_has_it:
            return
        for candidate in types.find_all(name, *kinds):
            if candidate >= types.first_id or not number:
                vmlinux_has_it |= not number
                yield types, candidate


def _ask(
    types: Types, kind: Kind, local: Types, root: TypeId, candidate: TypeId, path: tuple[int, ...]
) -> _Answer | None:
    """The answer that `candidate` of `types` gives; None if it does not fit."""
    if kind in _TYPE_KINDS:
        return _ask_type(types, kind, local, root, candidate, path)
    if kind in _FIELD_KINDS:
        field = _walk(local, root, path)
        if types is not local or candidate != root:
            found = _find(local, root, field, types, candidate, path[0])
            if found is None:
                return None
            field = found
        return _field_answer(types, kind, field)
    return _ask_enumerator(types, kind, local, root, candidate, path)


def _ask_type(
    types: Types, kind: Kind, local: Types, root: TypeId, candidate: TypeId, path: tuple[int, ...]
) -> _Answer | None:
    if path != (0,):
        raise BadInputError("CO-RE: a question about a type has the path 0")
    fits = types_match if kind == Kind.TYPE_MATCHES else types_fit
    if not fits(local, root, types, candidate):
        return None
    if kind == Kind.TYPE_SIZE:
        return _Answer(types.size_of(candidate))
    return _Answer(candidate, comparable=False) if kind == Kind.TYPE_ID_TARGET else _Answer(1)


def _ask_enumerator(
    types: Types, kind: Kind, local: Types, root: TypeId, candidate: TypeId, path: tuple[int, ...]
) -> _Answer | None:
    enum = local[local.strip(root)]
    if not isinstance(enum, Enum | Enum64) or len(path) != 1 or path[0] >= len(enum.values):
        raise BadInputError(f"CO-RE: type {root} has no enumerator {path}")
    wanted = essential_name(enum.values[path[0]].name)
    target = types[types.strip(candidate)]
    if not isinstance(target, Enum | Enum64):
        return None
    for item in target.values:
        if essential_name(item.name) == wanted:
            return _Answer(1 if kind == Kind.ENUMVAL_EXISTS else item.value)
    return None


def _walk(types: Types, root: TypeId, path: tuple[int, ...]) -> _Field:
    """The field at `path` of the object's own type `root`."""
    current = types.strip(root)
    steps, member = [_Step(current, path[0])], None
    bit_offset = path[0] * types.size_of(current) * 8
    for index in path[1:]:
        kind = types[current]
        if isinstance(kind, Struct | Union):
            if index >= len(kind.members):
                raise BadInputError(f"CO-RE: {kind.name or 'a struct'} has no member {index}")
            member = kind.members[index]
            bit_offset += member.bit_offset
            if member.name:
                steps.append(_Step(current, index, member.name))
            current = types.strip(member.type)
        elif isinstance(kind, Array):
            current, member = types.strip(kind.type), None
            steps.append(_Step(current, index))
            bit_offset += index * types.size_of(current) * 8
        else:
            raise BadInputError(f"CO-RE: step {index} into a {type(kind).__name__}")
    return _Field(tuple(steps), bit_offset, current, member)


def _find(
    local: Types, root: TypeId, field: _Field, types: Types, candidate: TypeId, first: int
) -> _Field | None:
    """The field of `candidate` with the same names on its path; None if there is none."""
    current = types.strip(candidate)
    if not fields_fit(local, local.strip(root), types, current):
        return None
    bit_offset, member = first * types.size_of(current) * 8, None
    for step in field.steps[1:]:
        kind = types[current]
        if step.name:
            own = local[step.type]
            assert isinstance(own, Struct | Union)
            found = _find_member(types, current, step.name)
            if found is None:
                return None
            member, offset = found
            if not fields_fit(local, own.members[step.index].type, types, member.type):
                return None
            bit_offset += offset
            current = types.strip(member.type)
        elif isinstance(kind, Array) and _in_bounds(kind, step.index, member, types, candidate):
            current, member = types.strip(kind.type), None
            bit_offset += step.index * types.size_of(current) * 8
        else:
            return None
    return _Field(field.steps, bit_offset, current, member)


def _in_bounds(
    array: Array, index: int, member: Member | None, types: Types, struct: TypeId
) -> bool:
    """Inside the array; a last member without a length has any."""
    if index < array.nelems:
        return True
    if array.nelems or member is None:
        return False
    holder = types[types.strip(struct)]
    return isinstance(holder, Struct) and member.bit_offset // 8 >= holder.size - 8


def _find_member(types: Types, struct: TypeId, name: str) -> tuple[Member, int] | None:
    """A member by name, those of anonymous members included, with its offset in bits."""
    kind = types[struct]
    if not isinstance(kind, Struct | Union):
        return None
    for member in kind.members:
        if member.name == name:
            return member, member.bit_offset
        if not member.name:
            inner = _find_member(types, types.strip(member.type), name)
            if inner is not None:
                return inner[0], member.bit_offset + inner[1]
    return None


def _field_answer(types: Types, kind: Kind, field: _Field) -> _Answer | None:
    if kind == Kind.FIELD_EXISTS:
        return _Answer(1)
    size = types.size_of(field.type)
    bits = field.member.bits if field.member else 0
    byte_offset, byte_size = _load_window(field.bit_offset, bits, size)
    match kind:
        case Kind.FIELD_BYTE_OFFSET:
            return _Answer(byte_offset, not bits, 0 if bits else size, field.type)
        case Kind.FIELD_BYTE_SIZE:
            return _Answer(byte_size, not bits)
        case Kind.FIELD_SIGNED:
            return _Answer(int(bool(getattr(types[field.type], "is_signed", False))))
        case Kind.FIELD_LSHIFT_U64:
            end = field.bit_offset + (bits or byte_size * 8)
            return _Answer(64 - (end - byte_offset * 8), comparable=False)
        case _:
            return _Answer(64 - (bits or byte_size * 8), comparable=not bits)


def _load_window(bit_offset: int, bits: int, size: int) -> tuple[int, int]:
    """Offset and size in bytes of the aligned load that has the whole field in it."""
    if not bits:
        return bit_offset // 8, size
    while True:
        start = bit_offset // 8 // size * size
        if bit_offset + bits <= (start + size) * 8:
            return start, size
        if size >= 8:
            raise BadInputError("CO-RE: a bit-field that no load of 8 bytes holds")
        size *= 2


def _adjustable(local: Types, own: TypeId, types: Types, found: TypeId) -> bool:
    """Whether a load may change its size: of pointers, and of integers without a sign."""
    one, other = local[local.strip(own)], types[types.strip(found)]
    if isinstance(one, Ptr) and isinstance(other, Ptr):
        return True
    integers = isinstance(one, Int) and isinstance(other, Int)
    return integers and not one.is_signed and not other.is_signed  # type: ignore[union-attr]
