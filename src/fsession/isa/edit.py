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

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NewType

from fsession.errors import BadInputError, InternalError
from fsession.frozen import frozen, slotted
from fsession.isa.cfg import goal
from fsession.isa.insn import Insn, InsnOff, offsets
from fsession.isa.opcode import Class, Jmp, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Edit", "Edited", "Label", "ToLabel"]

Label = NewType("Label", int)
"""A place in the new program, known when `Edit.apply` is done."""

_GOTOL = int(Class.JMP32 | Jmp.JA)
_GOTOX = int(Class.JMP | Jmp.JA | Source.X)
_U32 = 0xFFFF_FFFF


@frozen
class ToLabel:
    """`insn`, a jump, a local call or a function reference, that goes to `label`."""

    insn: Insn
    label: Label


@frozen
class Edited:
    """The new program.

    `at` is where each old instruction is now (the first of those that replaced it); `start` where
    the code put before it begins, for func and line infos; `labels` where the labels came to lie.
    """

    insns: tuple[Insn, ...]
    at: dict[InsnOff, InsnOff]
    start: dict[InsnOff, InsnOff]
    labels: dict[Label, InsnOff]


@slotted
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
        self._marks: dict[Label, InsnOff] = {}
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

        Jumps to `at` come to `new`, or with ``jumps="behind"`` to what was there: then only code
        that falls through, or enters a function there, runs `new`. Calls of a function that starts
        at `at`, and references to it, always come to `new`.
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
        """A label at what jumps to `at` reach, or, of a function, calls."""
        self._check(at)
        label = self._new_label()
        self._marks[label] = at
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
        labels = {label: landing[old] for label, old in self._marks.items()}
        for label, function in self._appended:
            labels[label] = len(items)
            items += function
        places = offsets([item.insn for item in items])
        linked = []
        for index, item in enumerate(items):
            to = self._goal(item, start, landing, labels)
            linked.append(item.insn if to is None else _link(item.insn, places, index, to))
        return Edited(
            insns=tuple(linked),
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
        if insn.opcode == _GOTOX:
            raise BadInputError(f"instruction {at} is an indirect jump (gotox), with goals unknown")
        target = goal(insn, at)
        if target is None:
            return _Item(insn)
        if target not in self._known:
            raise BadInputError(f"instruction {at} goes to {target}, where none starts")
        return _Item(insn, target)

    def _goal(
        self,
        item: _Item,
        start: dict[InsnOff, int],
        landing: dict[InsnOff, int],
        labels: dict[Label, int],
    ) -> int | None:
        """The place in the new program, by its index, that an instruction goes to."""
        target = item.target
        if item.label is not None:
            target = self._marks.get(item.label)
            if target is None:
                return labels[item.label]
        if target is None:
            return None
        return landing[target] if item.insn.is_jump else start[target]


def _items(new: Sequence[Insn | ToLabel]) -> list[_Item]:
    return [
        _Item(item.insn, label=item.label) if isinstance(item, ToLabel) else _Item(item)
        for item in new
    ]


def _link(insn: Insn, places: list[InsnOff], index: int, to: int) -> Insn:
    """The instruction with its distance, from its own place to its goal's."""
    distance = places[to] - places[index] - 1
    if insn.is_func_ref:
        return replace(insn, imm=insn.imm >> 32 << 32 | distance & _U32)
    if insn.is_call or insn.opcode == _GOTOL:
        return replace(insn, imm=distance)
    if not insn.is_jump:
        raise InternalError(f"the instruction {insn} goes nowhere, and was given a label")
    if not -0x8000 <= distance <= 0x7FFF:
        what = f"the jump at instruction {places[index]} is now {distance} slots far"
        raise BadInputError(f"{what}, which does not fit its 16 bits")
    return replace(insn, off=distance)
