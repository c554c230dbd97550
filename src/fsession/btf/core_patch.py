"""Put the answer to a CO-RE relocation into its instruction."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from fsession.btf.types import VOID, TypeId
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.insn import Insn, call_helper
from fsession.isa.opcode import POISON, Class, Size, Source

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.uapi import CoreReloKind

__all__ = ["CoreResult", "apply", "is_poison"]

_SIZES = {1: Size.B, 2: Size.H, 4: Size.W, 8: Size.DW}
_SIZE_MASK = 0x18
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_MAX_OFFSET = (1 << 15) - 1


@frozen
class CoreResult:
    """What one relocation asks for, as the program was compiled and on the target.

    `target` is None where the target has no answer, and 0 where absence is one. `validate`: the
    instruction must have held `local`. The sizes are those of the field's load or store, 0 if the
    question was another; a `resizable` one may change them. `question` says what the program needs,
    for messages: ``struct 'sk_buff' with 'sk_buff.len'``. `types` and `type` are what was chosen.
    """

    kind: CoreReloKind
    question: str
    local: int
    target: int | None
    validate: bool = True
    local_size: int = 0
    target_size: int = 0
    resizable: bool = False
    types: Types | None = field(default=None, compare=False, repr=False)
    type: TypeId = VOID

    @property
    def exists(self) -> bool:
        """Whether the target has the type, field or enumerator."""
        return self.types is not None


def apply(insn: Insn, result: CoreResult) -> tuple[Insn, ...]:
    """The instructions, of as many slots as `insn`, that take its place.

    Raises `BadInputError` if `insn` is of no kind that can be relocated, or was not compiled with
    the program's own layout.
    """
    if result.target is None or not _fits(insn, result):
        return (call_helper(POISON),) * insn.slots
    if insn.cls in (Class.ALU, Class.ALU64):
        return (_apply_alu(insn, result, result.target),)
    if insn.cls in (Class.LDX, Class.ST, Class.STX):
        return (_apply_memory(insn, result, result.target),)
    if insn.is_lddw:
        _check(insn.imm, result, _U32 if result.local == result.local & _U32 else _U64)
        return (replace(insn, imm=result.target & _U64),)
    raise BadInputError(f"CO-RE relocation of opcode {insn.opcode:#04x}, which holds no layout")


def is_poison(insns: tuple[Insn, ...]) -> bool:
    """Whether `apply` had no answer to put into the instruction."""
    return insns[0].is_call and insns[0].imm == POISON


def _fits(insn: Insn, result: CoreResult) -> bool:
    """False for a load or store of a field whose value would change with its size."""
    is_memory = insn.cls in (Class.LDX, Class.ST, Class.STX)
    return not is_memory or result.resizable or result.local_size == result.target_size


def _apply_alu(insn: Insn, result: CoreResult, value: int) -> Insn:
    if insn.opcode & Source.X:
        raise BadInputError("CO-RE relocation of arithmetic between registers")
    _check(insn.imm, result, _U32)
    value &= _U32
    return replace(insn, imm=value - (1 << 32) if value >> 31 else value)


def _apply_memory(insn: Insn, result: CoreResult, offset: int) -> Insn:
    _check(insn.off, result, _U64)
    if offset > _MAX_OFFSET:
        raise BadInputError(f"CO-RE: offset {offset} is too large for a load or store")
    moved = replace(insn, off=offset)
    return moved if result.local_size == result.target_size else _resize(moved, result)


def _resize(insn: Insn, result: CoreResult) -> Insn:
    """Load or store the field in the size it has on the target."""
    if _SIZES.get(result.local_size) != insn.opcode & _SIZE_MASK:
        raise BadInputError(
            f"CO-RE: a field of {result.local_size} bytes is accessed in another size"
        )
    size = _SIZES.get(result.target_size)
    if size is None:
        raise BadInputError(f"CO-RE: a field of {result.target_size} bytes fits no register")
    return replace(insn, opcode=insn.opcode & ~_SIZE_MASK | size)


def _check(found: int, result: CoreResult, mask: int) -> None:
    if result.validate and (found ^ result.local) & mask:
        raise BadInputError(
            f"CO-RE: an instruction has {found} for {result.question}, the types {result.local}"
        )
