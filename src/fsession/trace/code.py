"""A program under construction: instructions with labels, and its relocations.

Jumps name a label; `Code.insns` fills in the distances. Calls of kernel functions and uses of maps
leave the relocations that `fsession.resolve` fills for one host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.errors import InternalError
from fsession.isa.insn import (
    Insn,
    InsnOff,
    call_helper,
    call_kfunc,
    call_local,
    ja,
    jmp,
    load_map_fd,
    load_map_value,
)
from fsession.spec import KfuncCall, MapRef, MapValueRef, Reloc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsession.isa.opcode import Jmp
    from fsession.uapi import FuncId

__all__ = ["Code"]


class Code:
    """Grows by its methods; offsets are slots of 8 bytes."""

    def __init__(self) -> None:
        self._insns: list[Insn] = []
        self._starts: list[int] = []
        self._end = 0
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []
        self._calls: list[tuple[int, str]] = []
        self._relocs: list[Reloc] = []

    def emit(self, *insns: Insn) -> None:
        for insn in insns:
            self._insns.append(insn)
            self._starts.append(self._end)
            self._end += insn.slots

    def label(self, name: str) -> None:
        """The place that jumps to `name` go to is here."""
        self._labels[name] = self._end

    def goto(self, label: str) -> None:
        self._jumps.append((len(self._insns), label))
        self.emit(ja(0))

    def jump(self, op: Jmp, dst: int, label: str, src: int | None = None, imm: int = 0) -> None:
        """``if dst op (src or imm) goto label``."""
        self._jumps.append((len(self._insns), label))
        self.emit(jmp(op, dst, src, imm))

    def call(self, label: str) -> None:
        """Call the function at `label`."""
        self._calls.append((len(self._insns), label))
        self.emit(call_local(0))

    def function(self, label: str, insns: Iterable[Insn], relocs: Iterable[Reloc]) -> None:
        """A function that was made elsewhere. Those stand behind the main one."""
        self.label(label)
        self._relocs += [replace(one, at=InsnOff(self._end + one.at)) for one in relocs]
        self.emit(*insns)

    def helper(self, function: FuncId) -> None:
        self.emit(call_helper(int(function)))

    def kfunc(self, name: str) -> None:
        self._relocs.append(KfuncCall(InsnOff(self._end), name))
        self.emit(call_kfunc(0))

    def map(self, dst: int, name: str) -> None:
        """``dst = map``."""
        self._relocs.append(MapRef(InsnOff(self._end), name))
        self.emit(load_map_fd(dst, 0))

    def map_value(self, dst: int, name: str, offset: int) -> None:
        """``dst = &value[offset]`` of the array map `name`."""
        self._relocs.append(MapValueRef(InsnOff(self._end), name, offset))
        self.emit(load_map_value(dst, 0, offset))

    @property
    def relocs(self) -> tuple[Reloc, ...]:
        return tuple(self._relocs)

    def insns(self) -> tuple[Insn, ...]:
        """The program. Every label that a jump names must have its place by now."""
        out = list(self._insns)
        for index, label in self._jumps:
            out[index] = replace(out[index], off=self._distance(index, label))
        for index, label in self._calls:
            out[index] = replace(out[index], imm=self._distance(index, label))
        return tuple(out)

    def _distance(self, index: int, label: str) -> int:
        if label not in self._labels:
            raise InternalError(f"jump to the label '{label}', which is nowhere")
        return self._labels[label] - self._starts[index] - 1
