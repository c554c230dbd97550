"""Change a program and keep everything that counts slots right.

Jumps, calls between functions and references to functions are distances. `Edit` takes changes at
places of the old program, and `Edit.apply` computes all distances anew::

    edit = Edit(insns)
    edit.replace(InsnOff(4), alu(Alu.MOV, R0, imm=0))         # one instruction by others
    edit.insert(InsnOff(0), *prologue, jumps="behind")        # code that only falls through sees
    slow = edit.append(*function)                             # a function behind all others
    edit.insert(InsnOff(9), ToLabel(call_local(0), slow))     # and a call of it
    edited = edit.apply()
    relocs = [replace(reloc, at=edited.at[reloc.at]) for reloc in relocs]

New code may jump inside itself by plain distances (within the instructions of one call of a method)
and to labels by `ToLabel`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NewType

from fsession.errors import BadInputError, InternalError
from fsession.isa.insn import Insn, InsnOff, offsets
from fsession.isa.opcode import Class, Jmp

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Edit", "Edited", "Label", "ToLabel"]

Label = NewType("Label", int)
"""A place in the new program, known when `Edit.apply` is done."""

_GOTOL = int(Class.JMP32 | Jmp.JA)
_U32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class ToLabel:
    """`insn`, a jump, a local call or a function reference, that goes to `label`."""

    insn: Insn
    label: Label


@dataclass(frozen=True, slots=True)
class Edited:
    """The new program.

    `at` is where each old instruction is now (the first of those that replaced it); `start` where
    the code put before it begins, for func and line infos; `labels` where the labels came to lie.
    """

    insns: tuple[Insn, ...]
    at: dict[InsnOff, InsnOff]
    start: dict[InsnOff, InsnOff]
    labels: dict[Label, InsnOff]


@dataclass(slots=True)
class _Item:
    """An instruction of the new program; `target` is an old slot, a label, or nothing."""

    insn: Insn
    target: InsnOff | None = None
    label: Label | None = None


class Edit:
    """Changes of one program, applied together. Slots are those of the old program."""

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = tuple(insns)
        self._offsets = offsets(self._insns)
        self._known = frozenset(self._offsets[:-1])
        self._replaced: dict[InsnOff, list[_Item]] = {}
        self._before: dict[InsnOff, list[_Item]] = {}
        self._front: dict[InsnOff, list[_Item]] = {}
        self._appended: list[tuple[Label, list[_Item]]] = []
        self._marks: list[tuple[Label, InsnOff]] = []
        self._next_label = 0

    def replace(self, at: InsnOff, *new: Insn | ToLabel) -> None:
        """Put `new` in the place of the instruction at `at`; jumps to it go to its first."""
        self._check(at)
        if at in self._replaced or not new:
            raise InternalError(f"the instruction at slot {at} is replaced twice or by nothing")
        self._replaced[at] = _items(new)

    def insert(
        self, at: InsnOff, *new: Insn | ToLabel, jumps: Literal["here", "behind"] = "here"
    ) -> None:
        """Put `new` before the instruction at `at`.

        Jumps and calls to `at` come to `new`, or with ``jumps="behind"`` to what was there: then
        only code that falls through, or enters the program at its start, runs `new`.
        """
        self._check(at)
        places = self._before if jumps == "here" else self._front
        places.setdefault(at, []).extend(_items(new))

    def append(self, *new: Insn | ToLabel) -> Label:
        """Put a function behind all others; the label is its first instruction."""
        label = self._new_label()
        self._appended.append((label, _items(new)))
        return label

    def mark(self, at: InsnOff) -> Label:
        """A label at what jumps to `at` reach."""
        self._check(at)
        label = self._new_label()
        self._marks.append((label, at))
        return label

    def apply(self) -> Edited:
        """The new program. Raises `BadInputError` where a distance no longer fits its field."""
        items: list[_Item] = []
        at, start, landing = {}, {}, {}
        for old, insn in zip(self._offsets, self._insns, strict=False):
            start[old] = len(items)
            items += self._front.get(old, [])
            landing[old] = len(items)
            items += self._before.get(old, [])
            at[old] = len(items)
            items += self._replaced.get(old) or [self._old_item(old, insn)]
        labels = {label: landing[old] for label, old in self._marks}
        for label, function in self._appended:
            labels[label] = len(items)
            items += function
        places = offsets([item.insn for item in items])
        return Edited(
            insns=tuple(
                _link(places, index, item, landing, labels) for index, item in enumerate(items)
            ),
            at={old: places[index] for old, index in at.items()},
            start={old: places[index] for old, index in start.items()},
            labels={label: places[index] for label, index in labels.items()},
        )

    def _check(self, at: InsnOff) -> None:
        if at not in self._known:
            raise InternalError(f"no instruction starts at slot {at}")

    def _new_label(self) -> Label:
        self._next_label += 1
        return Label(self._next_label)

    def _old_item(self, at: InsnOff, insn: Insn) -> _Item:
        target = _target(at, insn)
        if target is None:
            return _Item(insn)
        if target not in self._known:
            raise BadInputError(f"instruction {at} goes to {target}, where none starts")
        return _Item(insn, target)


def _items(new: Sequence[Insn | ToLabel]) -> list[_Item]:
    return [
        _Item(item.insn, label=item.label) if isinstance(item, ToLabel) else _Item(item)
        for item in new
    ]


def _target(at: InsnOff, insn: Insn) -> InsnOff | None:
    """The slot that a jump, local call or function reference at `at` goes to."""
    if insn.is_jump:
        return InsnOff(at + 1 + insn.jump_off)
    if insn.is_local_call:
        return InsnOff(at + 1 + insn.imm)
    if insn.is_func_ref:
        low = insn.imm & _U32
        return InsnOff(at + 1 + (low - (1 << 32) if low >> 31 else low))
    return None


def _link(
    places: list[InsnOff],
    index: int,
    item: _Item,
    landing: dict[InsnOff, int],
    labels: dict[Label, int],
) -> Insn:
    """The instruction with its distance, from its own place to its target's."""
    if item.label is not None:
        goal = labels[item.label]
    elif item.target is not None:
        goal = landing[item.target]
    else:
        return item.insn
    distance = places[goal] - places[index] - 1
    insn = item.insn
    if insn.is_func_ref:
        return replace(insn, imm=insn.imm >> 32 << 32 | distance & _U32)
    if insn.is_call or insn.opcode == _GOTOL:
        return replace(insn, imm=distance)
    if not -0x8000 <= distance <= 0x7FFF:
        raise BadInputError(f"a jump over {distance} slots does not fit its 16 bits")
    return replace(insn, off=distance)
