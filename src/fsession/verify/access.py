"""Loads, stores and atomic operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Atomic, Mode, Size
from fsession.verify.memory import load, loaded, signed_load, store
from fsession.verify.problem import RefusedError
from fsession.verify.ranges import constant
from fsession.verify.show import kind_text
from fsession.verify.special import check_plain
from fsession.verify.state import Flag, Kind, Reg, scalar

if TYPE_CHECKING:
    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["step_ldx", "step_st", "step_stx"]

_BYTES = {int(size): size.size_bytes for size in Size}
_SIZE, _MODE = 0x18, 0xE0
_FETCH = 1
_PLAIN_OPS = frozenset(map(int, (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR)))
_FETCH_OPS = frozenset(
    map(int, (Atomic.FETCH_ADD, Atomic.FETCH_OR, Atomic.FETCH_AND, Atomic.FETCH_XOR, Atomic.XCHG))
)


def step_ldx(walk: Walk, state: State, insn: Insn) -> int:
    """``dst = *(size *)(src + off)``"""
    size, mode = _BYTES[insn.opcode & _SIZE], insn.opcode & _MODE
    dst = walk.written(insn.dst)
    reg = load(walk, state, insn.src, insn.off, size)
    if mode == Mode.MEMSX:
        reg = signed_load(reg, size)
    state.frame.regs[dst] = reg
    return state.at + 1


def step_st(walk: Walk, state: State, insn: Insn) -> int:
    """``*(size *)(dst + off) = imm``"""
    size = _BYTES[insn.opcode & _SIZE]
    store(walk, state, insn.dst, insn.off, size, scalar(constant(insn.imm)))
    return state.at + 1


def step_stx(walk: Walk, state: State, insn: Insn) -> int:
    """``*(size *)(dst + off) = src``, or an atomic operation."""
    size = _BYTES[insn.opcode & _SIZE]
    if insn.opcode & _MODE == Mode.ATOMIC:
        return _atomic(walk, state, insn, size)
    value = walk.readable(state, insn.src)
    if value.kind == Kind.SCALAR and value.range.mask and not value.id and size == 8:
        base = state.frame.regs[insn.dst]
        if base.kind == Kind.STACK:  # the copy on the stack is the same value
            value = state.frame.regs[insn.src] = value._replace(id=walk.new_id())
    store(walk, state, insn.dst, insn.off, size, value, insn.src)
    return state.at + 1


def _atomic(walk: Walk, state: State, insn: Insn, size: int) -> int:
    op = insn.imm
    if op == Atomic.LOAD_ACQ and walk.limits.load_acquire:
        return _load_acquire(walk, state, insn, size)
    if op == Atomic.STORE_REL and walk.limits.load_acquire:
        return _store_release(walk, state, insn, size)
    if op not in _PLAIN_OPS | _FETCH_OPS and op != Atomic.CMPXCHG:
        raise RefusedError(f"BPF_ATOMIC uses invalid atomic opcode {op & 0xFF:02x}")
    if size < 4:
        raise RefusedError("invalid atomic operand size")
    walk.readable(state, insn.src)
    target = _check_atomic_target(walk, state, insn, size)
    if op == Atomic.CMPXCHG:
        walk.readable(state, 0)
    if target.kind == Kind.STACK and target.range.mask:
        raise RefusedError(
            "variable offset stack pointer cannot be passed into helper function", regs=(insn.dst,)
        )
    old = load(walk, state, insn.dst, insn.off, size)  # what was spilled there may be a pointer
    store(walk, state, insn.dst, insn.off, size, scalar(loaded(size)))
    regs = state.frame.regs
    if op == Atomic.CMPXCHG:
        regs[0] = old
    elif op & _FETCH:
        regs[walk.written(insn.src)] = old
    return state.at + 1


def _check_atomic_target(walk: Walk, state: State, insn: Insn, size: int) -> Reg:
    target = walk.readable(state, insn.dst)
    if target.kind == Kind.MAP_VALUE:
        check_plain(walk.fields(target.aux), insn.dst, target, insn.off, size)
    if target.kind == Kind.CTX or (target.kind == Kind.BTF and not target.flags & Flag.ALLOC):
        raise RefusedError(
            f"BPF_ATOMIC stores into R{insn.dst} {kind_text(target)} is not allowed",
            regs=(insn.dst,),
        )
    return target


def _load_acquire(walk: Walk, state: State, insn: Insn, size: int) -> int:
    base = walk.readable(state, insn.src)
    dst = walk.written(insn.dst)
    if base.kind in (Kind.CTX, Kind.BTF):
        raise RefusedError(
            f"BPF_ATOMIC loads from R{insn.src} {kind_text(base)} is not allowed",
            regs=(insn.src,),
        )
    if base.kind == Kind.MAP_VALUE:
        check_plain(walk.fields(base.aux), insn.src, base, insn.off, size)
    state.frame.regs[dst] = load(walk, state, insn.src, insn.off, size)
    return state.at + 1


def _store_release(walk: Walk, state: State, insn: Insn, size: int) -> int:
    value = walk.readable(state, insn.src)
    _check_atomic_target(walk, state, insn, size)
    store(walk, state, insn.dst, insn.off, size, value)
    return state.at + 1
