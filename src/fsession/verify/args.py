"""What must hold of the arguments of a helper or kfunc: memory, sizes, typed pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.types import Array, Ptr, Struct, TypeId, Union
from fsession.verify import stack
from fsession.verify.dynptrs import Dynptr
from fsession.verify.memory import check_region
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.show import kind_text
from fsession.verify.special import field_at
from fsession.verify.state import ZERO, Byte, Flag, Kind, Reg, Slot, scalar, slot_bit

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.verify.state import State
    from fsession.verify.structs import StructRef
    from fsession.verify.walk import Walk

__all__ = [
    "check_memory",
    "check_size",
    "check_struct",
    "constant_size",
    "fill",
    "is_null",
    "struct_fits",
    "wrong_type",
]

_MEMORY = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"
_FAR = 1 << 29


def is_null(reg: Reg) -> bool:
    return reg.is_scalar and reg.range == ZERO


def wrong_type(number: int, reg: Reg, expected: str, advice: str = "") -> RefusedError:
    if not advice and reg.may_be_null:
        advice = "it may be NULL: compare it with 0 first"
    return RefusedError(
        f"R{number} type={kind_text(reg)} expected={expected}", advice=advice, regs=(number,)
    )


def check_memory(
    walk: Walk,
    state: State,
    number: int,
    size: int,
    *,
    write: bool = False,
    fills: bool = False,
) -> None:
    """`size` bytes at register `number` are there, to be read and with `write` written.

    `fills`: they are overwritten as a whole, so they need not be initialised.
    """
    reg = walk.readable(state, number)
    if reg.kind == Kind.STACK:
        _check_stack(walk, state, number, reg, size, write=write or fills, fills=fills)
        return
    if reg.kind not in (Kind.MAP_VALUE, Kind.MAP_KEY, Kind.MEM) or reg.may_be_null:
        if reg.kind == Kind.BTF and reg.flags & Flag.TRUSTED and not reg.may_be_null:
            raise NotJudgedError("a kernel structure as memory of a call")
        raise wrong_type(number, reg, _MEMORY)
    if (write or fills) and (reg.flags & Flag.RDONLY or reg.kind == Kind.MAP_KEY):
        raise RefusedError(f"R{number} cannot write into {kind_text(reg)}", regs=(number,))
    check_region(walk, state, number, reg, 0, max(size, 0), write=write or fills)
    if reg.kind == Kind.MAP_VALUE:
        field_at(walk.fields(reg.aux), number, reg, 0, max(size, 0), direct=False)


def _check_stack(
    walk: Walk, state: State, number: int, reg: Reg, size: int, *, write: bool, fills: bool
) -> None:
    low, high = stack.span(walk, number, reg, 0, size, "write to" if write else "read from")
    if reg.range.mask:
        need(state, reg.deps)
    if fills and low == high:
        fill(walk, state, reg.aux, low, size)
    else:
        stack.use_memory(walk, state, reg.aux, low, high + size - low, write=write)


def fill(walk: Walk, state: State, depth: int, off: int, size: int) -> None:
    """Something unknown is written to all of these bytes of the stack."""
    at = off
    end = off + size
    while at < end:
        count = next(step for step in (8, 4, 2, 1) if at % step == 0 and at + step <= end)
        number = (-at - 1) // 8
        if count == 8:
            _no_dynptr(state, depth, number, at)
            slot = state.frames[depth].stack.get(number)
            if slot is not None and slot.extra is not None:
                slot.extra.overwritten(walk, state, state.frames[depth], number)
            state.frames[depth].stack[number] = Slot(bytes([Byte.MISC]) * 8)
            state.written |= slot_bit(depth, number)
        else:
            _no_dynptr(state, depth, number, at)
            for byte in range(at, at + count):
                stack.write_fixed(walk, state, depth, byte, 1, scalar())
        at += count


def _no_dynptr(state: State, depth: int, number: int, at: int) -> None:
    slot = state.frames[depth].stack.get(number)
    if slot is not None and isinstance(slot.extra, Dynptr):
        raise RefusedError(f"potential write to dynptr at off={at} disallowed")


def check_size(
    walk: Walk,
    state: State,
    number: int,
    *,
    zero: bool,
    write: bool,
    fills: bool,
    nullable: bool = False,
) -> None:
    """Register `number` is the size of the memory in the register before it.

    `zero`: it may be 0; `nullable`: and the memory NULL then.
    """
    size = walk.readable(state, number)
    if not size.is_scalar:
        raise wrong_type(number, size, "scalar")
    memory = walk.readable(state, number - 1)
    need(state, size.deps)
    if size.range.smin < 0:
        raise RefusedError(
            f"R{number} min value is negative, either use unsigned or 'var &= const'",
            advice="the size may be negative: mask it with &, or compare it first",
            regs=(number,),
        )
    if not size.range.umin and not zero:
        raise RefusedError(
            f"R{number} invalid zero-sized read: u64=[{size.range.umin},{size.range.umax}]",
            advice="the size may be 0",
            regs=(number,),
        )
    if size.range.umax >= _FAR:
        raise RefusedError(
            f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'",
            advice="the size has no upper bound",
            regs=(number,),
        )
    if is_null(memory):
        need(state, memory.deps)
        if not (zero and nullable and not size.range.umax):
            raise wrong_type(number - 1, memory, _MEMORY, "NULL goes with a size of 0 only")
        return
    known = not size.range.mask
    try:
        check_memory(
            walk,
            state,
            number - 1,
            size.range.umax,
            write=write or (fills and not known),
            fills=fills and known,
        )
    except RefusedError as error:
        error.regs = (*error.regs, number)
        raise


def constant_size(walk: Walk, state: State, number: int) -> int:
    """The number in a register that must be known."""
    reg = walk.readable(state, number)
    if not reg.is_scalar:
        raise wrong_type(number, reg, "scalar")
    if reg.range.mask:
        raise RefusedError(f"R{number} is not a known constant'", regs=(number,))
    need(state, reg.deps)
    return reg.range.value


def check_struct(walk: Walk, state: State, number: int, name: str) -> Reg:
    """A register that points to struct `name`."""
    reg = walk.readable(state, number)
    if reg.kind != Kind.BTF or reg.may_be_null or reg.flags & (Flag.UNTRUSTED | Flag.USER):
        raise wrong_type(number, reg, "ptr_, trusted_ptr_, rcu_ptr_")
    if reg.flags & (Flag.PERCPU | Flag.ALLOC):
        raise wrong_type(number, reg, "ptr_, trusted_ptr_, rcu_ptr_")
    if reg.range.mask:
        raise RefusedError(f"variable {kind_text(reg)} access var_off", regs=(number,))
    off = reg.off + reg.range.smin
    if off < 0:
        raise RefusedError(
            f"negative offset {kind_text(reg)} ptr R{number} off={off} disallowed", regs=(number,)
        )
    if not struct_fits(reg.aux, off, name):
        raise RefusedError(
            f"R{number} is of type {reg.aux.name} but {name} is expected", regs=(number,)
        )
    return reg


def struct_fits(struct: StructRef, off: int, name: str) -> bool:
    """Whether a struct `name` lies at byte `off` of `struct`, as itself or as a member."""
    types: Types = struct.types
    id: TypeId = struct.id
    for _ in range(MAX_DEPTH):
        kind = types[id]
        if not isinstance(kind, Struct | Union):
            return False
        if not off and kind.name == name:
            return True
        inner = _member_at(types, kind, off)
        if inner is None:
            return False
        id, off = inner
    return False


def _member_at(types: Types, kind: Struct | Union, off: int) -> tuple[TypeId, int] | None:
    """The member that holds byte `off`, where it is a struct, and the byte in it."""
    for member in kind.members:
        start = member.bit_offset // 8
        inner = types.strip(member.type)
        held = types[inner]
        size = types.size_of(inner)
        if member.bits or isinstance(held, Ptr) or not start <= off < start + max(size, 1):
            continue
        if isinstance(held, Array):
            width = types.size_of(held.type)
            return types.strip(held.type), (off - start) % max(width, 1)
        return inner, off - start
    return None
