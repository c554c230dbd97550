"""Red-black trees of objects in map values: put in by a comparison, looked at, taken out.

The comparison is a function of the program that is called back while the tree's lock is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.callbacks import Callback, call_back
from fsession.verify.objects import check_node, held_in, lend, put, root_at, taken
from fsession.verify.problem import RefusedError
from fsession.verify.special import TREE
from fsession.verify.state import Flag, Kind, Reg, pointer, scalar

if TYPE_CHECKING:
    from fsession.verify.kfunc_args import KfuncTarget
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["COMPARISON", "add", "first", "remove"]

COMPARISON = "bpf_rbtree_add"
_OFTEN = 1 << 32


def _check_outside(state: State, name: str) -> None:
    if any(frame.callback == COMPARISON for frame in state.frames):
        raise RefusedError(f"{name} not allowed in rbtree cb")


def add(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    _check_outside(state, target.name)
    root = put(walk, state, TREE)
    function = walk.readable(state, 3)
    if function.kind != Kind.FUNC:
        raise RefusedError("R3 expected pointer to func", regs=(3,))
    if len(target.proto.params) > 3 and not walk.readable(state, 5).is_scalar:
        raise RefusedError("R5 is not a scalar", regs=(5,))
    struct, off = held_in(walk, root)
    node = pointer(Kind.BTF, struct, Flag.ALLOC | Flag.BORROWED, off=off)
    call_back(walk, state, Callback(COMPARISON, function.aux, (node, node), _OFTEN))
    lend(state, state.frame.regs[2].ref)
    return scalar()


def first(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """bpf_rbtree_first: borrowed from the tree, or NULL."""
    struct, off = held_in(walk, root_at(walk, state, TREE))
    flags = Flag.ALLOC | Flag.BORROWED | Flag.MAYBE_NULL
    return pointer(Kind.BTF, struct, flags, walk.new_id(), off=off)


def remove(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """The object of a borrowed node is the program's again, or it was not in the tree: NULL."""
    _check_outside(state, target.name)
    root = root_at(walk, state, TREE)
    reg = walk.readable(state, 2)
    if reg.may_be_null:
        raise RefusedError("Possibly NULL pointer passed to trusted R2", regs=(2,))
    if reg.kind != Kind.BTF or not reg.flags & Flag.BORROWED:
        raise RefusedError("rbtree_remove node input must be non-owning ref", regs=(2,))
    check_node(walk, root, reg)
    return taken(walk, state, root)
