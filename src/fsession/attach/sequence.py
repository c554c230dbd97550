"""A short piece of code put together from instructions, labels and addresses in the slot table.

    compose(
        address(R3, 0),                       # r3 = &table[0]
        jump(Jmp.JEQ, R0, "free", imm=0),
        exit_(),
        "free",                               # a label: a string by itself
        ...
    )

The assembler would do as well; this costs no import of it on the way to attaching.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.isa.insn import Insn, InsnOff, jmp, load_map_value

if TYPE_CHECKING:
    from fsession.isa.opcode import Jmp

__all__ = ["Address", "Jump", "Sequence", "address", "compose", "jump"]


@frozen
class Jump:
    """`insn` is a jump to the label `to`."""

    insn: Insn
    to: str


@frozen
class Address:
    """Load the address of byte `offset` of the table into register `dst`."""

    dst: int
    offset: int


@frozen
class Sequence:
    """Instructions, and the places (slots from the start) that load a table address."""

    insns: tuple[Insn, ...]
    addresses: tuple[tuple[InsnOff, int], ...]


def jump(op: Jmp, dst: int, to: str, src: int | None = None, imm: int = 0) -> Jump:
    """``if dst op (src or imm) goto to``."""
    return Jump(jmp(op, dst, src, imm), to)


def address(dst: int, offset: int) -> Address:
    """``dst = &table[offset]``."""
    return Address(dst, offset)


def compose(*parts: Insn | Jump | Address | str) -> Sequence:
    """Lay the parts out and fill in the distances."""
    labels: dict[str, int] = {}
    placed: list[tuple[int, Insn | Jump | Address]] = []
    at = 0
    for part in parts:
        if isinstance(part, str):
            labels[part] = at
            continue
        placed.append((at, part))
        at += 2 if isinstance(part, Address) else 1
    return Sequence(
        tuple(_insn(at, part, labels) for at, part in placed),
        tuple((InsnOff(at), part.offset) for at, part in placed if isinstance(part, Address)),
    )


def _insn(at: int, part: Insn | Jump | Address, labels: dict[str, int]) -> Insn:
    if isinstance(part, Jump):
        return replace(part.insn, off=labels[part.to] - at - 1)
    if isinstance(part, Address):
        return load_map_value(part.dst, 0, part.offset)
    return part
