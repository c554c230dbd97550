"""Spin locks in map values: one at a time, and nothing is called while it is held.

A lock is known by the id of the pointer it was found by: that of its lookup, or that of the map for
a value whose address is in the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.ranges import UNKNOWN
from fsession.verify.state import Flag, Kind, Reg

if TYPE_CHECKING:
    from fsession.verify.state import State

__all__ = ["check_no_lock", "lock", "unlock"]

_ADVICE = "give the lock back before, with bpf_spin_unlock()"


def check_no_lock(state: State) -> None:
    if state.lock:
        raise RefusedError("function calls are not allowed while holding a lock", advice=_ADVICE)


def lock(state: State, reg: Reg) -> None:
    if not reg.id:
        raise NotJudgedError("a lock in a value that was not looked up")
    state.lock = reg.id


def unlock(state: State, reg: Reg) -> None:
    if not state.lock:
        raise RefusedError("bpf_spin_unlock without taking a lock", regs=(1,))
    if any(isinstance(frame.callback, str) for frame in state.frames):
        raise RefusedError("can't spin_{lock,unlock} in rbtree cb")
    if state.lock != reg.id:
        raise RefusedError(
            "bpf_spin_unlock of different lock",
            advice="a lookup gives a value of its own each time, also of the same key",
            regs=(1,),
        )
    state.lock = 0

    def taken_back(reg: Reg) -> Reg:
        return Reg(Kind.SCALAR, UNKNOWN) if reg.flags & Flag.BORROWED else reg

    state.change(taken_back)
