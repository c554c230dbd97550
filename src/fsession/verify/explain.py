"""A refusal as a person would tell it: the instructions that led there, and what registers held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsession.isa.disasm import format_insn
from fsession.isa.insn import InsnOff
from fsession.verify.show import reg_text, state_text
from fsession.verify.structure import uses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsession.isa.insn import Insn
    from fsession.spec import LineInfo
    from fsession.verify.state import State
    from fsession.verify.subject import Subject
    from fsession.verify.walk import Walk

__all__ = ["Log", "Results", "explain", "source_line"]

_MOST = 24
_CALLS_WRITE = 0b111111


def source_line(subject: Subject, at: int) -> str:
    """``file:line: text`` of the source at a slot; "" if the program has none."""
    found: LineInfo | None = None
    for line in subject.lines:
        if line.line and line.at <= at and (found is None or line.at >= found.at):
            found = line
    return f"{found.file}:{found.line}: {found.text.strip()}" if found is not None else ""


class Results:
    """What each instruction left in its register when it last ran, as text."""

    def __init__(self) -> None:
        self.of: dict[int, str] = {}
        self._before = -1
        self._last: tuple[State, int, int] | None = None

    def __call__(self, state: State, insn: Insn) -> None:
        """Before an instruction is executed: the one before it is over."""
        if self._last is not None and self._last[:2] == (state, state.at):
            number = self._last[2]
            reg = state.frame.regs[number]
            self.of[self._before] = f"R{number} is {reg_text(reg)}" if reg.kind else ""
        _, written = uses(insn)
        self._before, self._last = state.at, None
        if written and not insn.is_local_call:
            self._last = state, state.at + insn.slots, (written & -written).bit_length() - 1


def explain(
    subject: Subject,
    code: Sequence[Insn | None],
    state: State,
    regs: tuple[int, ...],
    at: int,
    results: Mapping[int, str],
) -> str:
    """The slice of the way that made what the registers `regs` held at `at`, oldest first, with the
    `results` of its instructions."""
    way = _way(code, state.path, at)
    kept = _slice(code, way, regs, at)
    lines, last = [], ""
    for place in kept[-_MOST:]:
        insn = code[place]
        assert insn is not None
        source = source_line(subject, place)
        if source and source != last:
            lines.append(f"  ; {source}")
            last = source
        text = format_insn(insn, InsnOff(place))
        made = results.get(place, "") if place != at else ""
        lines.append(f"  {place:4}: {text:<40}; {made}" if made else f"  {place:4}: {text}")
    held = [
        f"R{number} is {reg_text(state.frame.regs[number])}"
        for number in regs
        if state.frame.regs[number].kind
    ]
    if held:
        lines.append(f"  there {', '.join(held)}")
    if len(kept) > _MOST:
        lines.insert(0, f"  … {len(kept) - _MOST} instructions before")
    return "\n".join(lines)


def _way(code: Sequence[Insn | None], path: Any, at: int) -> list[int]:
    """The slots that were walked up to `at`, the last first."""
    found: list[int] = []
    while path is not None:
        start, came, path = path
        found += [place for place in range(at, start - 1, -1) if code[place] is not None]
        at = came
    return found


def _slice(
    code: Sequence[Insn | None], way: list[int], regs: tuple[int, ...], at: int
) -> list[int]:
    """Going back, the instructions that wrote what is wanted, and the conditions on the way that
    looked at it."""
    wanted = sum(1 << number for number in regs)
    kept = [at]
    for place in way[1:] if way and way[0] == at else way:
        insn = code[place]
        assert insn is not None
        read, written = uses(insn)
        if insn.is_call:
            written = _CALLS_WRITE
            read = 0
        if written & wanted:
            kept.append(place)
            wanted = wanted & ~written | read
        elif insn.is_jump and read & wanted:
            kept.append(place)
        if not wanted:
            break
    return kept[::-1]


class Log:
    """The walk in the kernel's words: level 1 what is executed, level 2 with every state."""

    def __init__(self, subject: Subject, level: int, most: int = 100_000) -> None:
        self.lines: list[str] = []
        self._subject, self._level, self._most = subject, level, most
        self._source = ""
        self._next = -1

    def __call__(self, state: State, insn: Insn) -> None:
        """Before an instruction is executed."""
        if len(self.lines) >= self._most:
            return
        at = state.at
        if at != self._next or self._level > 1:
            came = state.path[1]
            jumped = at != self._next and came >= 0
            self.lines.append(f"{f'from {came} to ' if jumped else ''}{at}: {state_text(state)}")
        source = source_line(self._subject, at)
        if source and source != self._source:
            file, line, text = source.split(":", 2)
            self.lines.append(f"; {text.strip()} @ {file}:{line}")
            self._source = source
        self.lines.append(f"{at}: ({insn.opcode:02x}) {format_insn(insn, InsnOff(at))}")
        self._next = at + insn.slots

    def text(self, message: str, walk: Walk | None) -> str:
        """All of it, with the reason and the counts at the end."""
        tail = [message] if message else []
        tail.append(walk.statistics if walk is not None else "processed 0 insns (limit 1000000)")
        return "\n".join([*self.lines, *tail]) + "\n"
