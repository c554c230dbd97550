"""Functions of the program that a helper calls: any number of times, each walked from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.uapi import FuncId
from fsession.verify.problem import NotJudgedError
from fsession.verify.prune import need
from fsession.verify.state import Kind, pointer, scalar
from fsession.verify.structure import CALLBACK_HELPERS

if TYPE_CHECKING:
    from fsession.calls import Helper
    from fsession.spec import MapSpec
    from fsession.verify.state import Reg, State
    from fsession.verify.walk import Walk

__all__ = ["Callback", "call_back", "callback_of", "value_args"]


@frozen
class Callback:
    """The function at `start` with the arguments that it will get; `rounds` is how often at most.

    It must return 0 (go on) or 1 (stop).
    """

    helper: FuncId | str
    start: int
    args: tuple[Reg, ...]
    rounds: int


def callback_of(walk: Walk, state: State, helper: Helper, map: MapSpec | None) -> Callback | None:
    """What the call calls back; None: nothing. Before the arguments are gone."""
    if helper.id not in CALLBACK_HELPERS:
        return None
    regs = state.frame.regs
    if helper.id == FuncId.loop:
        need(state, regs[1].deps)
        return Callback(helper.id, regs[2].aux, (scalar(), regs[3]), regs[1].range.umax)
    if helper.id == FuncId.for_each_map_elem:
        assert map is not None
        args = (*value_args(walk, map), regs[3])
        return Callback(helper.id, regs[2].aux, args, map.max_entries)
    if helper.id == FuncId.timer_set_callback:
        assert map is not None
        walk.enter_later(regs[2].aux, value_args(walk, map), sleepable=False)
        return None
    raise NotJudgedError(f"callbacks of bpf_{helper.name}")


def value_args(walk: Walk, map: MapSpec) -> tuple[Reg, Reg, Reg]:
    """What callbacks for a value of a map get: the map, the key, the value."""
    id = walk.new_id() if walk.has_lock(map) else 0
    return (
        pointer(Kind.MAP, map),
        pointer(Kind.MAP_KEY, map),
        pointer(Kind.MAP_VALUE, map, id=id),
    )


def call_back(walk: Walk, state: State, callback: Callback) -> None:
    """Put a walk of the callback aside; the way behind the call goes on as if it were over."""
    if not walk.limits.callbacks_loop:
        raise NotJudgedError("callbacks as Linux 6.1 walks them")
    depth = len(state.frames) - 1
    if state.frames[depth].depth < callback.rounds:
        other = walk.fork(state, callback.start)
        caller = other.frames[depth]
        caller.depth += 1
        other.at = state.at
        frame = walk.enter(other, callback.start, callback.helper)
        other.at = callback.start
        frame.regs[1 : 1 + len(callback.args)] = callback.args
    state.frames[depth].depth = 0
