"""What must hold before memory is used, and what a load gives: by the kind of its pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.uapi import MapType
from fsession.verify import stack
from fsession.verify.context import load_context
from fsession.verify.kept import load_kept, store_kept
from fsession.verify.map_fields import load_field, struct_of_map
from fsession.verify.objects import access_object
from fsession.verify.problem import RefusedError
from fsession.verify.prune import need
from fsession.verify.ranges import UNKNOWN, Range, constant, sign_extended, unsigned_range
from fsession.verify.show import kind_text
from fsession.verify.special import field_at
from fsession.verify.state import Flag, Kind, Reg, scalar
from fsession.verify.structs import load_member

if TYPE_CHECKING:
    from fsession.spec import MapSpec
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["check_region", "load", "loaded", "signed_load", "store"]

_RDONLY_PROG, _WRONLY_PROG = 1 << 7, 1 << 8  # BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG
_FAR = 1 << 29


def loaded(size: int) -> Range:
    """What a load of `size` bytes gives where nothing else is known."""
    return UNKNOWN if size == 8 else unsigned_range(0, (1 << 8 * size) - 1)


def load(walk: Walk, state: State, number: int, off: int, size: int) -> Reg:
    """The register that ``*(size *)(rN + off)`` gives; refused where that may not be read."""
    reg = walk.readable(state, number)
    kind = reg.kind
    walk.note_kind(state.at, kind)
    if kind == Kind.STACK:
        return _load_stack(walk, state, number, reg, off, size)
    if kind == Kind.CTX:
        return load_context(walk, state, number, reg, off, size)
    _check_usable(walk, number, reg)
    if kind == Kind.BTF and reg.flags & Flag.ALLOC:
        return access_object(walk, state, number, reg, off, size)
    if kind == Kind.BTF:
        return load_member(walk, state, number, reg, off, size)
    if kind == Kind.MAP_VALUE:
        check_region(walk, state, number, reg, off, size, write=False)
        field = field_at(walk.fields(reg.aux), number, reg, off, size, direct=True)
        if field is not None:
            return load_kept(walk, state, field)
        return _map_constant(reg, off, size) or scalar(loaded(size))
    if kind == Kind.MEM:
        check_region(walk, state, number, reg, off, size, write=False)
        return scalar(loaded(size))
    if kind == Kind.MAP_KEY:
        check_region(walk, state, number, reg, off, size, write=False)
        return scalar(loaded(size))
    if kind == Kind.MAP:
        return load_field(walk, state, number, reg, off, size)
    raise _no_memory(number, reg)


def store(
    walk: Walk, state: State, number: int, off: int, size: int, value: Reg, src: int | None = None
) -> None:
    """``*(size *)(rN + off) = value``, which is that of register `src` if it is not a constant."""
    reg = walk.readable(state, number)
    kind = reg.kind
    if kind == Kind.STACK:
        _align_stack(number, reg, off, size)
        low, high = stack.span(walk, number, reg, off, size, "write to")
        if low == high:
            stack.write_fixed(walk, state, reg.aux, low, size, value)
        else:
            need(state, reg.deps)
            stack.write_variable(walk, state, reg.aux, low, high, size)
        return
    if kind == Kind.CTX:
        raise RefusedError(
            f"invalid bpf_context access off={off + reg.off} size={size}",
            advice="the context of a tracing program can't be written",
            regs=(number,),
        )
    _check_usable(walk, number, reg)
    if kind == Kind.MAP:
        name = struct_of_map(reg.aux.type) or "the map"
        raise RefusedError(f"only read from {name} is supported", regs=(number,))
    if kind == Kind.BTF and reg.flags & Flag.ALLOC:
        walk.note_kind(state.at, kind)
        access_object(walk, state, number, reg, off, size)
        return
    if kind == Kind.BTF:
        raise RefusedError("only read is supported", advice="kernel memory is not written to")
    if reg.flags & Flag.RDONLY:
        raise RefusedError(f"R{number} cannot write into {kind_text(reg)}", regs=(number,))
    if kind == Kind.MAP_KEY:
        raise RefusedError(f"write to change key R{number} not allowed")
    if kind not in (Kind.MAP_VALUE, Kind.MEM):
        raise _no_memory(number, reg)
    check_region(walk, state, number, reg, off, size, write=True)
    if kind == Kind.MAP_VALUE:
        field = field_at(walk.fields(reg.aux), number, reg, off, size, direct=True)
        if field is not None:
            store_kept(walk, state, field, value, src)


def _no_memory(number: int, reg: Reg) -> RefusedError:
    advice = ""
    if reg.is_scalar:
        advice = (
            "a number is no address: read kernel memory with bpf_probe_read_kernel, or follow "
            "typed pointers from the arguments"
        )
    elif reg.may_be_null:
        advice = "it may be NULL: compare it with 0 first"
    return RefusedError(
        f"R{number} invalid mem access '{kind_text(reg)}'", advice=advice, regs=(number,)
    )


def _check_usable(walk: Walk, number: int, reg: Reg) -> None:
    if reg.may_be_null or reg.is_scalar:
        raise _no_memory(number, reg)


def _align_stack(number: int, reg: Reg, off: int, size: int) -> None:
    """The stack is only used aligned to the size of the access."""
    where = reg.off + off
    known = reg.range.value + where
    if known % size or (reg.range.mask & size - 1):
        raise RefusedError(
            f"misaligned stack access off {where:+d} size {size}",
            advice=f"its distance from r10 must be a multiple of {size}",
            regs=(number,),
        )


def _load_stack(walk: Walk, state: State, number: int, reg: Reg, off: int, size: int) -> Reg:
    _align_stack(number, reg, off, size)
    low, high = stack.span(walk, number, reg, off, size, "read from")
    if low == high:
        return stack.read_fixed(walk, state, reg.aux, low, size)
    need(state, reg.deps)
    return stack.read_variable(walk, state, reg.aux, low, high, size)


def check_region(
    walk: Walk, state: State, number: int, reg: Reg, off: int, size: int, *, write: bool
) -> None:
    """The access lies inside what `reg` points to, wherever in its bounds it is."""
    limit = _limit(reg)
    if reg.kind == Kind.MAP_VALUE:
        _check_map_rights(reg.aux, number, reg, off, size, write=write)
    if reg.range.smin < 0 and (
        reg.range.smin == -(1 << 63)
        or reg.off + reg.range.smin != _s32(reg.off + reg.range.smin)
        or reg.range.smin + reg.off + off < 0
    ):
        raise RefusedError(
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) "
            "check.",
            advice="the index may be negative",
            regs=(number,),
        )
    low = reg.range.smin + reg.off + off
    if low < 0 or low + size > limit:
        raise _outside(number, reg, low, size, limit, "min")
    before = walk.limits.one_offset and reg.off + reg.range.smin < 0
    if reg.range.umax >= _FAR or before:
        raise RefusedError(
            f"R{number} unbounded memory access, make sure to bounds check any such access",
            advice="the pointer itself may not point before the memory, also where the load goes "
            "on from there"
            if before
            else "compare the index with the size, or mask it with &, before it is added",
            regs=(number,),
        )
    high = reg.range.umax + reg.off + off
    if high < 0 or high + size > limit:
        raise _outside(number, reg, high, size, limit, "max")


def _s32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def _limit(reg: Reg) -> int:
    if reg.kind == Kind.MAP_VALUE:
        return int(reg.aux.value_size)
    return int(reg.aux.key_size) if reg.kind == Kind.MAP_KEY else int(reg.aux)


def _outside(number: int, reg: Reg, off: int, size: int, limit: int, which: str) -> RefusedError:
    if reg.kind == Kind.MAP_VALUE:
        text = f"invalid access to map value, value_size={limit} off={off} size={size}"
    elif reg.kind == Kind.MAP_KEY:
        text = f"invalid access to map key, key_size={limit} off={off} size={size}"
    else:
        text = f"invalid access to memory, mem_size={limit} off={off} size={size}"
    text = f"{text}\nR{number} {which} value is outside of the allowed memory range"
    return RefusedError(text, advice=f"bytes 0 to {limit - 1} are there", regs=(number,))


def _check_map_rights(
    spec: MapSpec, number: int, reg: Reg, off: int, size: int, *, write: bool
) -> None:
    denied = spec.flags & (_RDONLY_PROG if write else _WRONLY_PROG)
    if denied:
        doing = "write into" if write else "read from"
        raise RefusedError(
            f"{doing} map forbidden, value_size={spec.value_size} off={reg.off + off} size={size}",
            advice="the map's flags say so (const variables are in a read-only map)",
            regs=(number,),
        )


def _map_constant(reg: Reg, off: int, size: int) -> Reg | None:
    """A value of a map that nobody can change any more is a known number."""
    spec: MapSpec = reg.aux
    frozen = spec.frozen and spec.flags & _RDONLY_PROG and spec.data is not None
    if not frozen or reg.range.mask or spec.type != MapType.ARRAY:
        return None
    at = reg.range.value + reg.off + off
    assert spec.data is not None
    return scalar(constant(int.from_bytes(spec.data[at : at + size], "little")))


def signed_load(reg: Reg, size: int) -> Reg:
    """A load that extends by the sign: of a number as it is, of a pointer anything."""
    if reg.is_scalar:
        return scalar(sign_extended(reg.range, 8 * size), reg.deps)
    return scalar(sign_extended(UNKNOWN, 8 * size))
