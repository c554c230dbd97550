"""The IR as text, one operation a line: for ``fsession compile --ir``, goldens and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    Branch,
    Call,
    Compare,
    Const,
    End,
    Extend,
    FuncAddress,
    Function,
    Helper,
    Jump,
    Load,
    Local,
    MapAddress,
    MapValue,
    Op,
    Opaque,
    Probe,
    Return,
    Slot,
    Store,
    Swap,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["show", "show_op"]


def show(function: Function) -> str:
    """A function, its blocks in their order.

    >>> print(show(function))
    func double(v0)
    b0:
      v1 = 2
      v2 = v0 * v1
      return v2
    """
    return "\n".join(_lines(function))


def _lines(function: Function) -> Iterator[str]:
    yield f"func {function.name}({_values(function.params)})"
    for number, slot in enumerate(function.slots):
        yield f"  slot {number}: {slot.size} bytes"
    for label, block in function.blocks.items():
        yield f"b{label}({_values(block.params)}):" if block.params else f"b{label}:"
        yield from (f"  {show_op(op)}" for op in block.ops)
        yield f"  {_end(block.end)}"


def show_op(op: Op) -> str:
    """An operation: ``v3 = v1 + v2``."""
    text = _right(op)
    return text if op.dst is None else f"v{op.dst} = {text}"


def _right(op: Op) -> str:
    match op:
        case Const(value=value):
            return _number(value)
        case Binary(op=binary, args=(a, b), bits=bits):
            return f"v{a} {binary} v{b}{_bits(bits)}"
        case Compare(test=test, args=(a, b), bits=bits):
            return f"v{a} {test} v{b}{_bits(bits)}"
        case Extend(args=(a,), bits=bits, signed=signed):
            return f"{'s' if signed else 'u'}{bits} v{a}"
        case Swap(args=(a,), bits=bits):
            return f"swap{bits} v{a}"
        case Load(args=(base,), offset=offset, size=size, signed=signed, space=space):
            return f"{_type(size, signed)} {space.name.lower()}[{_place(base, offset)}]"
        case Probe(args=(base,), size=size, signed=signed, user=user):
            return f"probe {_type(size, signed)} {'user' if user else 'kernel'}[v{base}]"
        case Store(args=(base, value), offset=offset, size=size, space=space):
            place = f"{space.name.lower()}[{_place(base, offset)}]"
            return f"{_type(size, False)} {place} = v{value}"
        case AtomicAdd(args=(base, value), offset=offset, size=size, dst=dst):
            kind = "atomic" if dst is None else "fetch"
            return f"{kind} {_type(size, False)} [{_place(base, offset)}] += v{value}"
        case Slot(slot=slot):
            return f"&slot {slot}"
        case MapAddress(name=name):
            return f"map {name}"
        case MapValue(name=name, offset=offset):
            return f"&{name}[{offset}]"
        case FuncAddress(name=name):
            return f"func {name}"
        case Opaque():
            return "opaque 0"
    return _call(op)


def _call(call: Call) -> str:
    words = _values(call.args)
    if isinstance(call.target, Helper):
        return f"call {call.target.name}#{call.target.number}({words})"
    kind = "func" if isinstance(call.target, Local) else "kfunc"
    return f"call {kind} {call.target.name}({words})"


def _end(end: End | None) -> str:
    match end:
        case Jump(target=target, args=args):
            return f"goto b{target}({_values(args)})" if args else f"goto b{target}"
        case Branch(test=test, args=(a, b), then=then, other=other, bits=bits):
            return f"if v{a} {test} v{b}{_bits(bits)} goto b{then} else b{other}"
        case Return(args=(value,)):
            return f"return v{value}"
    return "no end"


def _values(values: Iterable[int]) -> str:
    return ", ".join(f"v{value}" for value in values)


def _bits(bits: int) -> str:
    return "" if bits == 64 else f" ({bits})"


def _type(size: int, signed: bool) -> str:
    return f"{'s' if signed else 'u'}{size * 8}"


def _place(base: int, offset: int) -> str:
    return f"v{base}" if not offset else f"v{base}{offset:+}"


def _number(value: int) -> str:
    signed = value - (1 << 64) if value >> 63 else value
    return str(signed) if abs(signed) < 1 << 32 else f"{value:#x}"
