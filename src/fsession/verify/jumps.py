"""Conditions: where control may go, and what each way knows that the other does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Class, Jmp
from fsession.verify.branch import NEGATED, is_dead, outcome, refine
from fsession.verify.prune import need
from fsession.verify.ranges import Range, constant
from fsession.verify.state import ZERO, Flag, Kind, Reg, scalar
from fsession.verify.trust import is_trusted
from fsession.verify.widen import widen

if TYPE_CHECKING:
    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["mark_null", "step_condition", "step_goto", "step_may_goto"]

_X = 8
_JEQ, _JNE = int(Jmp.JEQ), int(Jmp.JNE)


def step_goto(walk: Walk, state: State, insn: Insn) -> int:
    """``goto`` and ``gotol``; the distance is checked with the structure."""
    return state.at + 1 + insn.jump_off


def step_may_goto(walk: Walk, state: State, insn: Insn) -> int:
    """``may_goto``: the loop goes on below or, when the kernel has had enough, ends at the goal."""
    other = walk.fork(state, state.at + 1)
    other.goto_depth += 1
    widen(state, other)
    return state.at + 1 + insn.off


def step_condition(walk: Walk, state: State, insn: Insn) -> int:
    """``if dst op src goto``: the way that can't be is not walked."""
    op, half = insn.opcode & 0xF0, insn.opcode & 7 == Class.JMP32
    goal, next = state.at + 1 + insn.off, state.at + 1
    second = walk.readable(state, insn.src) if insn.opcode & _X else scalar(constant(insn.imm))
    first = walk.readable(state, insn.dst)
    if insn.opcode & _X and insn.src == insn.dst and walk.limits.same_operands:
        known = _of_one(op, first, half)
    else:
        known = _outcome(op, first, second, half)
        if known is None and walk.limits.dead_ways and first.is_scalar and second.is_scalar:
            known = _only_way(op, first.range, second.range, half)
    if known is not None:
        need(state, first.deps | second.deps)
        return goal if known else next
    other = walk.fork(state, goal)
    if first.is_scalar and second.is_scalar:
        if insn.opcode & _X and insn.src == insn.dst:
            return next
        for way, condition in ((other, op), (state, NEGATED[op])):
            sides = refine(condition, first.range, second.range, half=half)
            if sides is None:
                continue  # it can't be; kernels that do not see it walk it as it was
            _learn(way, first, second, sides, insn)
    elif _is_null_check(op, half, first, second):
        for way, is_null in ((other, op == _JEQ), (state, op == _JNE)):
            mark_null(walk, way, first, is_null=is_null)
    elif first.is_pointer and second.is_pointer and op in (_JEQ, _JNE) and not half:
        _learn_equal(walk, other if op == _JEQ else state, first, second)
    return next


def _of_one(op: int, reg: Reg, half: bool) -> bool | None:
    """``if r op r``: the order of a number and itself is known, whatever it is. It has bits in
    common with itself if its signed bounds say that it is not 0; the kernel asks no more."""
    if not reg.is_scalar:
        return _outcome(op, reg, reg, half)
    if op == Jmp.JSET:
        low, high = (reg.range.s32min, reg.range.s32max) if half else reg.range[4:6]
        return None if low <= 0 <= high and (low, high) != (0, 0) else (low, high) != (0, 0)
    return op in _REFLEXIVE


def _only_way(op: int, first: Range, second: Range, half: bool) -> bool | None:
    """The way that is left where the views of a number contradict each other on the other one."""
    if is_dead(NEGATED[op], first, second, half=half):
        return True
    return False if is_dead(op, first, second, half=half) else None


_REFLEXIVE = frozenset(map(int, (Jmp.JEQ, Jmp.JGE, Jmp.JLE, Jmp.JSGE, Jmp.JSLE)))


def _outcome(op: int, first: Reg, second: Reg, half: bool) -> bool | None:
    if first.is_scalar and second.is_scalar:
        return outcome(op, first.range, second.range, half=half)
    if half or op not in (_JEQ, _JNE):
        return None
    if second.is_scalar and second.range == ZERO and _never_null(first):
        return op == _JNE
    if first.is_scalar and first.range == ZERO and _never_null(second):
        return op == _JNE
    return None


def _never_null(reg: Reg) -> bool:
    if reg.flags & (Flag.MAYBE_NULL | Flag.UNTRUSTED):
        return False
    if reg.kind == Kind.BTF:
        return is_trusted(reg)
    return reg.kind in (Kind.MAP_VALUE, Kind.MAP_KEY, Kind.MEM)


def _is_null_check(op: int, half: bool, first: Reg, second: Reg) -> bool:
    return (
        op in (_JEQ, _JNE)
        and not half
        and first.may_be_null
        and second.is_scalar
        and second.range == ZERO
    )


def _learn(state: State, first: Reg, second: Reg, sides: tuple[Range, Range], insn: Insn) -> None:
    """Both operands as they are on this way, and every copy of them."""
    deps = first.deps | second.deps
    regs = state.frame.regs
    if sides[0] is not first.range:
        made = first._replace(range=sides[0], deps=deps)
        regs[insn.dst] = made
        _to_copies(state, made)
    if insn.opcode & _X and sides[1] is not second.range:
        made = second._replace(range=sides[1], deps=deps)
        regs[insn.src] = made
        _to_copies(state, made)


def _to_copies(state: State, known: Reg) -> None:
    """Scalars with the same id are the same value."""
    if not known.id:
        return

    def copied(reg: Reg) -> Reg:
        if reg.id == known.id and reg.kind == Kind.SCALAR:
            return reg._replace(range=known.range, deps=reg.deps | known.deps)
        return reg

    state.change(copied)


def _learn_equal(walk: Walk, state: State, first: Reg, second: Reg) -> None:
    """A pointer that equals one that is never NULL is not NULL either."""
    for maybe, sure in ((first, second), (second, first)):
        usable = maybe.kind != Kind.BTF and sure.kind != Kind.BTF
        if maybe.may_be_null and _never_null(sure) and usable:
            mark_null(walk, state, maybe, is_null=False)


def mark_null(walk: Walk, state: State, known: Reg, *, is_null: bool) -> None:
    """All copies of a pointer that was compared with NULL are NULL, or all are not."""

    def marked(reg: Reg) -> Reg:
        if reg.id != known.id or not reg.may_be_null:
            return reg
        if is_null:
            return scalar(ZERO)
        named = reg.ref or (reg.kind == Kind.MAP_VALUE and walk.has_lock(reg.aux))
        return reg._replace(flags=reg.flags & ~Flag.MAYBE_NULL, id=reg.id if named else 0)

    state.change(marked)
    if is_null and known.ref and known.id == known.ref:
        state.refs = tuple(ref for ref in state.refs if ref.id != known.ref)
