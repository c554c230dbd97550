"""Registers and stacks in the words of the kernel's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.ranges import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32, U64
from fsession.verify.state import Byte, Flag, Kind

if TYPE_CHECKING:
    from fsession.verify.ranges import Range
    from fsession.verify.state import Frame, Reg, Slot, State

__all__ = ["KIND_TEXT", "kind_text", "reg_text", "state_text"]

KIND_TEXT = {
    Kind.NOT_INIT: "?",
    Kind.SCALAR: "scalar",
    Kind.CTX: "ctx",
    Kind.STACK: "fp",
    Kind.MAP: "map_ptr",
    Kind.MAP_VALUE: "map_value",
    Kind.MAP_KEY: "map_key",
    Kind.MEM: "mem",
    Kind.BTF: "ptr_",
    Kind.FUNC: "func",
    Kind.DYNPTR: "dynptr_ptr",
}

_PREFIXES = {
    Flag.RDONLY: "rdonly_",
    Flag.RINGBUF: "ringbuf_",
    Flag.USER: "user_",
    Flag.PERCPU: "percpu_",
    Flag.UNTRUSTED: "untrusted_",
    Flag.TRUSTED: "trusted_",
    Flag.RCU: "rcu_",
    Flag.ALLOC: "alloc_",
}


def kind_text(reg: Reg) -> str:
    """As in ``invalid mem access 'map_value_or_null'`` (without the name of a BTF type)."""
    prefix = "".join(text for flag, text in _PREFIXES.items() if reg.flags & flag)
    text = prefix + KIND_TEXT[reg.kind]
    if not reg.may_be_null:
        return text
    return text + ("or_null_" if reg.kind == Kind.BTF else "_or_null")


def reg_text(reg: Reg) -> str:
    """As behind ``R1=``: ``scalar(umax=255,var_off=(0x0; 0xff))``, ``fp-8``, ``ptr_sk_buff()``."""
    if reg.is_scalar and not reg.range.mask:
        return str(reg.range.smin)
    if reg.is_scalar:
        return f"scalar({','.join(_range_parts(reg.range, reg.id))})"
    if reg.kind == Kind.STACK:
        return f"fp{reg.off or 0}" if not reg.range.mask else f"fp({_inside(reg)})"
    name = f"{reg.aux.name}" if reg.kind == Kind.BTF and reg.aux is not None else ""
    return f"{kind_text(reg)}{name}({_inside(reg)})"


def _inside(reg: Reg) -> str:
    parts = [f"id={reg.id}"] if reg.id else []
    if reg.ref:
        parts.append(f"ref_obj_id={reg.ref}")
    if reg.off:
        parts.append(f"off={reg.off}")
    if reg.kind in (Kind.MAP, Kind.MAP_VALUE, Kind.MAP_KEY):
        parts.append(f"map={reg.aux.name}")
        if reg.kind != Kind.MAP:
            parts += [f"ks={reg.aux.key_size}", f"vs={reg.aux.value_size}"]
    if reg.kind == Kind.MEM:
        parts.append(f"sz={reg.aux}")
    if reg.range.mask:
        parts += _range_parts(reg.range, 0)
    elif reg.range.value:
        parts.append(f"imm={reg.range.smin}")
    return ",".join(parts)


def _range_parts(a: Range, id: int) -> list[str]:
    found = [f"id={id}"] if id else []
    groups: dict[int, list[str]] = {}
    for name, value, worst in (
        ("smin", a.smin, S64_MIN),
        ("smax", a.smax, S64_MAX),
        ("umin", a.umin, 0),
        ("umax", a.umax, U64),
        ("smin32", a.s32min, S32_MIN),
        ("smax32", a.s32max, S32_MAX),
        ("umin32", a.u32min, 0),
        ("umax32", a.u32max, U32),
    ):
        if value != worst:
            groups.setdefault(value, []).append(name)
    found += [f"{'='.join(names)}={_number(value)}" for value, names in groups.items()]
    if a.mask != U64:
        found.append(f"var_off=({a.value:#x}; {a.mask:#x})")
    return found


def _number(value: int) -> str:
    return f"{value:#x}" if value >= 10000 else str(value)


_BYTES = {
    Byte.INVALID: "?",
    Byte.SPILL: "r",
    Byte.MISC: "m",
    Byte.ZERO: "0",
    Byte.DYNPTR: "d",
    Byte.ITER: "i",
}


def _slot_text(slot: Slot) -> str:
    kinds = "".join(_BYTES[Byte(kind)] for kind in reversed(slot.bytes))
    if slot.extra is not None:
        return str(slot.extra)
    if slot.reg is None:
        return kinds
    text = reg_text(slot.reg)
    return text if kinds == "rrrrrrrr" else f"{kinds.replace('r', '')}{text}"


def state_text(state: State) -> str:
    """One line for the frame that runs: ``R0=0 R1=ctx() R10=fp0 fp-8=mmmmmmmm``."""
    depth = len(state.frames) - 1
    words = [f"frame{depth}:"] if depth else []
    words += _frame_words(state.frames[-1])
    if state.refs:
        words.append(f"refs={','.join(str(ref.id) for ref in state.refs)}")
    return " ".join(words)


def _frame_words(frame: Frame) -> list[str]:
    words = [f"R{number}={reg_text(reg)}" for number, reg in enumerate(frame.regs) if reg.kind]
    for number, slot in sorted(frame.stack.items()):
        words.append(f"fp-{8 * (number + 1)}={_slot_text(slot)}")
    return words
