"""The context of a program: what lies at which offset, by the program's type and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, Float, Int, Ptr, Struct, TypeId, Union, Void
from fsession.uapi import AttachType, ProgType
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.ranges import UNKNOWN, unsigned_range
from fsession.verify.state import Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import pointee, tags_of
from fsession.verify.tracepoints import is_number, may_be_null

if TYPE_CHECKING:
    from fsession.btf.types import FuncProto
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["EXIT_TYPES", "load_context"]

EXIT_TYPES = frozenset(
    {
        AttachType.TRACE_FEXIT,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION,
        AttachType.TRACE_FSESSION_MULTI,
        AttachType.MODIFY_RETURN,
    }
)
"""Programs that see a return value behind the arguments; fmod_ret sees the one so far."""

_MULTI = frozenset(
    {
        AttachType.TRACE_FENTRY_MULTI,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION_MULTI,
    }
)
_MAX_ARGS = 12
_RAW_TP_BYTES = 8 * _MAX_ARGS
_PT_REGS_BYTES = {"x86_64": 21 * 8, "arm64": 34 * 8}
_CTX_BYTES = {ProgType.RAW_TRACEPOINT: _RAW_TP_BYTES, ProgType.KPROBE: _PT_REGS_BYTES["x86_64"]}


def load_context(walk: Walk, state: State, number: int, reg: Reg, off: int, size: int) -> Reg:
    """What ``*(size *)(ctx + off)`` gives."""
    if reg.range.mask:
        raise RefusedError(
            f"variable ctx access var_off=({reg.range.value:#x}; {reg.range.mask:#x}) off={off} "
            f"size={size}",
            advice="arguments are read at known offsets; bpf_get_func_arg() takes a number",
            regs=(number,),
        )
    moved = reg.off + reg.range.smin
    if moved < 0 or (moved and not _may_move(walk)):
        raise RefusedError(
            f"{'negative offset' if moved < 0 else 'dereference of modified'} ctx ptr R{number} "
            f"off={moved} disallowed",
            advice="leave the context pointer as it is and put the offset into the load",
            regs=(number,),
        )
    off += moved
    if walk.subject.type == ProgType.TRACING:
        return _argument(walk, number, off, size)
    limit = _CTX_BYTES.get(walk.subject.type)
    if limit is None:
        raise NotJudgedError(f"the context of {walk.subject.type.name} programs")
    if off < 0 or off >= limit or off % size or off + size > limit:
        raise _invalid(off, size, number)
    return scalar(UNKNOWN if size == 8 else unsigned_range(0, (1 << 8 * size) - 1))


def _may_move(walk: Walk) -> bool:
    return walk.limits.moved_context and walk.subject.type in (
        ProgType.TRACING,
        ProgType.RAW_TRACEPOINT,
    )


def _invalid(off: int, size: int, number: int, advice: str = "", why: str = "") -> RefusedError:
    text = f"invalid bpf_context access off={off} size={size}"
    return RefusedError(f"{why}\n{text}" if why else text, advice=advice or why, regs=(number,))


def _argument(walk: Walk, number: int, off: int, size: int) -> Reg:
    """A word of the target's arguments, or its return value behind them."""
    if off < 0 or off >= 8 * _MAX_ARGS or off % size:
        raise _invalid(off, size, number)
    name = walk.subject.target_name
    if off % 8:
        raise _invalid(off, size, number, why=f"func '{name}' offset {off} is not multiple of 8")
    if walk.subject.attach_type in _MULTI:
        raise RefusedError(
            f"func 'bpf_multi_func' doesn't have {off // 8 + 1}-th argument",
            advice="a program for many functions reads arguments with bpf_get_func_arg()",
            regs=(number,),
        )
    proto = walk.subject.prototype
    if proto is None or walk.subject.target_types is None:
        raise NotJudgedError("the context of a program whose target has no type")
    found = _word(walk, proto, off // 8)
    if found is None:
        why = f"func '{name}' doesn't have {off // 8 + 1}-th argument"
        raise _invalid(off, size, number, f"it takes {len(proto.params)}", why)
    arg, id = found
    return _value(walk, number, name, arg, id, size)


def _word(walk: Walk, proto: FuncProto, word: int) -> tuple[int, TypeId] | None:
    """The argument that word `word` of the context belongs to, and its type."""
    types = walk.subject.target_types
    assert types is not None
    at = 0
    params = proto.params
    if walk.subject.attach_type == AttachType.TRACE_RAW_TP:
        params = params[1:]  # the first is not given to programs
    for arg, param in enumerate(params):
        words = max(1, -(-types.size_of(param.type) // 8))
        if at <= word < at + words:
            return arg, param.type
        at += words
    if word == at and walk.subject.attach_type in EXIT_TYPES:
        return len(params), proto.type
    return None


def _value(walk: Walk, number: int, name: str, arg: int, id: TypeId, size: int) -> Reg:
    types = walk.subject.target_types
    assert types is not None
    number_of = scalar(UNKNOWN if size == 8 else unsigned_range(0, (1 << 8 * size) - 1))
    kind = types[types.strip(id)]
    if isinstance(kind, Int | Enum | Enum64 | Struct | Union) or id == 0:
        return number_of
    if not isinstance(kind, Ptr):
        raise RefusedError(
            f"func '{name}' arg{arg} '{types.name_of(id)}' has type "
            f"{type(kind).__name__.upper()}. Only pointer access is allowed",
            regs=(number,),
        )
    if size != 8:
        raise RefusedError(f"func '{name}' size {size} must be 8", regs=(number,))
    target = types[types.strip(kind.type)]
    if isinstance(target, Void | Int | Enum | Enum64 | Float):
        return number_of
    struct = pointee(types, id)
    if struct is None:
        raise RefusedError(
            f"func '{name}' arg{arg} type {type(target).__name__.upper()} is not a struct",
            advice="read it as a number with bpf_get_func_arg()",
            regs=(number,),
        )
    return _struct_argument(walk, name, arg, id)


def _struct_argument(walk: Walk, name: str, arg: int, id: TypeId) -> Reg:
    types = walk.subject.target_types
    assert types is not None
    struct = pointee(types, id)
    tags = tags_of(types, id)
    flags = (Flag.USER if "user" in tags else 0) | (Flag.PERCPU if "percpu" in tags else 0)
    if walk.subject.attach_type != AttachType.TRACE_RAW_TP:
        return pointer(Kind.BTF, struct, int(flags))
    if types is not walk.subject.types:
        raise NotJudgedError(f"whether arguments of '{name}', a module's tracepoint, may be NULL")
    if is_number(name, arg):
        return scalar()
    flags |= Flag.TRUSTED
    if not may_be_null(name, arg):
        return pointer(Kind.BTF, struct, int(flags))
    return pointer(Kind.BTF, struct, int(flags | Flag.MAYBE_NULL), walk.new_id())
