"""Global functions: verified by themselves, for any arguments that their types allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import (
    DeclTag,
    Enum,
    Enum64,
    Func,
    Fwd,
    Int,
    Ptr,
    Struct,
    TypeId,
    Union,
)
from fsession.frozen import frozen
from fsession.verify.args import check_memory
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.state import NOT_INIT, ZERO, Flag, Frame, Kind, Reg, State, pointer, scalar

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.verify.subject import Subject
    from fsession.verify.walk import Walk

__all__ = ["call_global", "first_state", "is_global", "start_of_global"]

_GLOBAL = 1
_FIRST_ID = 1 << 40  # ids of arguments; those of the walk are lower


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
    for number, contract in enumerate(_contracts(walk.subject, start), 1):
        _check_argument(walk, state, number, contract)
    if state.lock:
        raise RefusedError(
            "global function calls are not allowed while holding a lock,\n"
            "use static function instead"
        )
    if state.rcu or state.preempt:
        raise NotJudgedError("a global function called inside a section")
    regs = state.frame.regs
    regs[0:6] = [scalar()] + [NOT_INIT] * 5
    walk.note_global(start)
    return state.at + 1


@frozen
class _Contract:
    """What an argument must be: a number, the context, or `bytes` of memory, or NULL."""

    kind: Kind
    bytes: int = 0
    nullable: bool = False

    @property
    def reg(self) -> Reg:
        """As the function finds it."""
        if self.kind == Kind.SCALAR:
            return scalar()
        return pointer(self.kind, self.bytes or None, Flag.MAYBE_NULL if self.nullable else 0)


def _contracts(subject: Subject, start: int) -> list[_Contract]:
    """By the function's prototype and its argument tags (``__arg_ctx``, ``__arg_nonnull``)."""
    func, types = _func(subject, start), subject.own_types
    assert func is not None
    assert types is not None
    tags = _tags(subject, start)
    return [
        _contract(types, param.type, tags.get(index, set()), func.name)
        for index, param in enumerate(types.prototype(func.type).params)
    ]


def _contract(types: Types, id: TypeId, tags: set[str], name: str) -> _Contract:
    kind = types[types.strip(id)]
    if isinstance(kind, Int | Enum | Enum64) and not tags:
        return _Contract(Kind.SCALAR)
    if isinstance(kind, Ptr) and tags == {"ctx"}:
        return _Contract(Kind.CTX)
    if not isinstance(kind, Ptr) or not tags <= {"nonnull"}:
        raise NotJudgedError(f"the arguments of the global function {name}")
    target = types.strip(kind.type)
    if types.kind_of(target) is Fwd or not (size := types.size_of(target)):
        raise NotJudgedError(f"memory of an unknown size, an argument of {name}")
    if types.kind_of(target) in (Struct, Union) and types.name_of(target) in _NO_MEMORY:
        raise NotJudgedError(f"struct {types.name_of(target)}, an argument of {name}")
    return _Contract(Kind.MEM, size, nullable=not tags)


_NO_MEMORY = {"bpf_dynptr", "bpf_raw_tracepoint_args", "pt_regs", "user_pt_regs"}
"""Pointers to these have a meaning of their own."""


def _tags(subject: Subject, start: int) -> dict[int, set[str]]:
    """The words behind ``arg:`` in the declaration tags of a function, by argument."""
    types = subject.own_types
    found: dict[int, set[str]] = {}
    assert types is not None
    id = next(info.type for info in subject.funcs if info.at == start)
    for tag in types:
        if isinstance(tag, DeclTag) and tag.type == id and tag.name.startswith("arg:"):
            found.setdefault(tag.component, set()).add(tag.name.removeprefix("arg:"))
    return found


def _check_argument(walk: Walk, state: State, number: int, contract: _Contract) -> None:
    reg = walk.readable(state, number)
    if contract.kind == Kind.SCALAR:
        if not reg.is_scalar:
            raise RefusedError(f"R{number} is not a scalar", regs=(number,))
        return
    if contract.kind == Kind.CTX:
        if reg.kind != Kind.CTX or reg.off or reg.range != ZERO:
            raise RefusedError(f"R{number} expected pointer to ctx", regs=(number,))
        return
    null = reg.is_scalar and reg.range == ZERO
    if null or reg.may_be_null:
        if not contract.nullable:
            raise RefusedError(f"arg#{number - 1} is expected to be non-NULL", regs=(number,))
        need(state, reg.deps)
        if null:
            return
    held = state.frame.regs[number]
    state.frame.regs[number] = held._replace(flags=held.flags & ~Flag.MAYBE_NULL)
    check_memory(walk, state, number, contract.bytes, write=True)
    state.frame.regs[number] = held


def first_state(subject: Subject) -> State:
    """Before the program's first instruction."""
    state = State()
    state.sleepable = subject.sleepable
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
    state.at, state.sleepable = start, subject.sleepable
    frame = Frame(start, -2)
    for number, contract in enumerate(_contracts(subject, start), 1):
        made = contract.reg
        frame.regs[number] = made._replace(id=_FIRST_ID + number) if made.may_be_null else made
    if not isinstance(types[types.strip(types.prototype(func.type).type)], Int | Enum | Enum64):
        raise RefusedError(
            f"Global function {func.name}() doesn't return scalar. Only those are supported."
        )
    frame.regs[10] = pointer(Kind.STACK, 0)
    state.frames.append(frame)
    return state
