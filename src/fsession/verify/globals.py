"""Global functions: verified by themselves, for any arguments that their types allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, Func, Int, TypeId
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.state import NOT_INIT, Frame, Kind, State, pointer, scalar

if TYPE_CHECKING:
    from fsession.verify.subject import Subject
    from fsession.verify.walk import Walk

__all__ = ["call_global", "first_state", "is_global", "start_of_global"]

_GLOBAL = 1


def is_global(subject: Subject, start: int) -> bool:
    """Whether the function at `start` has global linkage, by the program's BTF."""
    func = _func(subject, start)
    return func is not None and func.linkage == _GLOBAL and start != 0


def _func(subject: Subject, start: int) -> Func | None:
    types = subject.own_types
    if types is None:
        return None
    for info in subject.funcs:
        if info.at == start:
            found = types[info.type]
            return found if isinstance(found, Func) else None
    return None


def call_global(walk: Walk, state: State, start: int) -> int:
    """Arguments are what the function was verified for; the result may be any number."""
    func = _func(walk.subject, start)
    types = walk.subject.own_types
    assert func is not None
    assert types is not None
    for number, param in enumerate(types.prototype(func.type).params, 1):
        reg = walk.readable(state, number)
        _check_kind(walk.subject, param.type, func.name)
        if not reg.is_scalar:
            raise RefusedError(f"R{number} is not a scalar", regs=(number,))
    if state.rcu or state.preempt:
        raise NotJudgedError("a global function called inside a section")
    regs = state.frame.regs
    regs[0:6] = [scalar()] + [NOT_INIT] * 5
    walk.note_global(start)
    return state.at + 1


def _check_kind(subject: Subject, id: TypeId, name: str) -> None:
    types = subject.own_types
    assert types is not None
    if not isinstance(types[types.strip(id)], Int | Enum | Enum64):
        raise NotJudgedError(f"pointer arguments of the global function {name}")


def first_state(subject: Subject) -> State:
    """Before the program's first instruction."""
    state = State()
    frame = Frame(0, -1)
    frame.regs[1] = pointer(Kind.CTX)
    frame.regs[10] = pointer(Kind.STACK, 0)
    state.frames.append(frame)
    return state


def start_of_global(subject: Subject, start: int) -> State:
    """Before the first instruction of a global function, whatever it is called with."""
    func, types = _func(subject, start), subject.own_types
    assert func is not None
    assert types is not None
    state = State()
    state.at = start
    frame = Frame(start, -2)
    params = types.prototype(func.type).params
    for number, param in enumerate(params, 1):
        _check_kind(subject, param.type, func.name)
        frame.regs[number] = scalar()
    if not isinstance(types[types.strip(types.prototype(func.type).type)], Int | Enum | Enum64):
        raise RefusedError(
            f"Global function {func.name}() doesn't return scalar. Only those are supported."
        )
    frame.regs[10] = pointer(Kind.STACK, 0)
    state.frames.append(frame)
    return state
