"""Values of the IR as expressions of C. What is used once is written where it is used."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fsession.lang.fold import signed
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    BinaryOp,
    Branch,
    Call,
    Compare,
    Const,
    Extend,
    FuncAddress,
    Function,
    Helper,
    Load,
    MapAddress,
    MapValue,
    Opaque,
    Slot,
    Space,
    Store,
    Swap,
    Test,
    Value,
)

if TYPE_CHECKING:
    from fsession.lang.ir import Op

__all__ = ["Words"]

_ALWAYS = (Const, Slot, MapAddress, MapValue, FuncAddress, Opaque)
_SYMBOLS = {
    BinaryOp.ADD: "+", BinaryOp.SUB: "-", BinaryOp.MUL: "*", BinaryOp.AND: "&", BinaryOp.OR: "|",
    BinaryOp.XOR: "^", BinaryOp.SHL: "<<", BinaryOp.LSHR: ">>", BinaryOp.ASHR: ">>",
    BinaryOp.UDIV: "/", BinaryOp.UMOD: "%", BinaryOp.SDIV: "/", BinaryOp.SMOD: "%",
}  # fmt: skip
_SIGNED_OPS = (BinaryOp.ASHR, BinaryOp.SDIV, BinaryOp.SMOD)
_SHIFTS = (BinaryOp.SHL, BinaryOp.LSHR, BinaryOp.ASHR)
_DIVISIONS = (BinaryOp.UDIV, BinaryOp.UMOD, BinaryOp.SDIV, BinaryOp.SMOD)


class Words:
    """Of one function; `named` are the values that get a variable."""

    def __init__(self, function: Function) -> None:
        self.defs = {op.dst: op for op in function.ops() if op.dst is not None}
        self._uses: Counter[Value] = Counter()
        block_of: dict[Value, object] = {}
        read_in: dict[Value, object] = {}
        for label, block in function.blocks.items():
            for item in (*block.ops, *([block.end] if block.end else [])):
                self._uses.update(item.args)
                read_in |= dict.fromkeys(item.args, label)
            block_of |= {op.dst: label for op in block.ops if op.dst is not None}
        self._here = {value for value, label in block_of.items() if read_in.get(value) == label}
        params = {value for block in function.blocks.values() for value in block.params}
        self._params = params
        self.named = [
            op.dst for op in function.ops()
            if op.dst is not None and not self._is_inline(op) and self._uses[op.dst]
        ]  # fmt: skip

    def _is_inline(self, op: Op) -> bool:
        assert op.dst is not None
        if isinstance(op, _ALWAYS):
            return True
        if self._uses[op.dst] != 1 or op.dst not in self._here:
            return False
        if isinstance(op, Load):
            return op.space in (Space.CTX, Space.KERNEL)
        return isinstance(op, Binary | Compare | Extend | Swap)

    def read_by(self, value: Value) -> set[Value]:
        """The variables that are read where `value` is written down."""
        op = self.defs.get(value)
        if op is None or not self._is_inline(op):
            return {value}
        return set().union(*(self.read_by(arg) for arg in op.args)) if op.args else set()

    def statement(self, op: Op) -> str:
        """Empty for what is written where it is used."""
        match op:
            case Store(args=(base, value), offset=offset, size=size):
                return f"{self._place(base, offset, size)} = {self.value(value)};"
            case AtomicAdd(args=(base, value), offset=offset, size=size):
                at = f"({self._pointer(size)}){self._address(base, offset)}"
                return f"__sync_fetch_and_add({at}, {self.value(value)});"
        assert op.dst is not None
        if self._is_inline(op):
            return ""
        return f"v{op.dst} = {self._right(op)};" if self._uses[op.dst] else f"{self._right(op)};"

    def value(self, value: Value) -> str:
        op = self.defs.get(value)
        if isinstance(op, Slot):
            return f"(u64)s{op.slot}"
        return self._right(op) if op is not None and self._is_inline(op) else f"v{value}"

    # -- operations ------------------------------------------------------------------------------

    def _right(self, op: Op) -> str:
        match op:
            case Const(value=value):
                return _number(value)
            case Opaque():
                return "0"
            case Binary():
                return self._binary(op)
            case Compare():
                return self.test(op)
            case Extend(args=(a,), bits=bits, signed=sign):
                return f"({_wide(sign)})({_type(bits, sign)}){self._part(a)}"
            case Swap(args=(a,), bits=bits):
                return f"__builtin_bswap{bits}({self.value(a)})"
            case Load(args=(base,), offset=offset, size=size, signed=sign):
                narrow = f"({_wide(sign)})" if size < 8 else ""
                return narrow + self._place(base, offset, size, signed=sign)
            case MapAddress(name=name):
                return f"&{_identifier(name)}"
            case MapValue(name=name, offset=offset):
                return f"((u64)&{_identifier(name)}[0] + {offset})"
            case FuncAddress(name=name):
                return name
            case Call():
                return self._call(op)
        raise AssertionError(op)

    def _binary(self, op: Binary) -> str:
        sign = op.op in _SIGNED_OPS
        a = self._as(op.args[0], op.bits, signed=sign)
        b = self._part(op.args[1])
        const = self._const(op.args[1])
        if op.op in _SHIFTS:
            b = str(const % op.bits) if const is not None else f"({b} & {op.bits - 1})"
        elif op.bits == 32 or sign:
            b = self._as(op.args[1], op.bits, signed=sign)
        text = f"{a} {_SYMBOLS[op.op]} {b}"
        if op.op in _DIVISIONS and not const:
            instead = "0" if op.op in (BinaryOp.UDIV, BinaryOp.SDIV) else a
            text = f"{b} ? {text} : {instead}"
        if op.bits == 32:
            return f"(u64)(u32)({text})"
        return f"(u64)({text})" if sign else text

    def test(self, item: Compare | Branch, instead: Test | None = None) -> str:
        test = instead or item.test
        symbol = test.value.rstrip("us?")
        sign = test.value.endswith("s")
        a, b = (self._as(arg, item.bits, signed=sign) for arg in item.args)
        const = self._const(item.args[1])
        if const is not None and (sign or signed(const) >= 0):
            b = self._part(item.args[1])
        return f"{a} {symbol} {b}"

    def _as(self, value: Value, bits: int, *, signed: bool) -> str:
        """With the width and sign that an operator takes; a variable is a u64 as it is."""
        if bits == 64 and not signed:
            const = self._const(value) is not None
            return f"(u64){self._part(value)}" if const else self._part(value)
        return f"({_type(bits, signed)}){self._part(value)}"

    def _part(self, value: Value) -> str:
        """As an operand: in parentheses if it is an expression."""
        text = self.value(value)
        plain = text.lstrip("-").replace("_", "a").isalnum() or text.startswith(("(u64)s", "("))
        whole = text.startswith("(") and _closes_last(text)
        return text if (plain and " " not in text) or whole else f"({text})"

    def _const(self, value: Value) -> int | None:
        op = self.defs.get(value)
        return op.value if isinstance(op, Const) else None

    def _call(self, call: Call) -> str:
        words = ", ".join(self._argument(value) for value in call.args)
        name = call.target.name
        return f"{'bpf_' * isinstance(call.target, Helper)}{name}({words})"

    def _argument(self, value: Value) -> str:
        op = self.defs.get(value)
        return f"s{op.slot}" if isinstance(op, Slot) else self.value(value)

    # -- memory ----------------------------------------------------------------------------------

    def _place(self, base: Value, offset: int, size: int, *, signed: bool = False) -> str:
        return f"*({self._pointer(size, signed)}){self._address(base, offset)}"

    def _pointer(self, size: int, signed: bool = False) -> str:
        return f"{_type(8 * size, signed)} *"

    def _address(self, base: Value, offset: int) -> str:
        op = self.defs.get(base)
        text = f"s{op.slot}" if isinstance(op, Slot) else self._part(base)
        return f"({text} {'-' if offset < 0 else '+'} {abs(offset)})" if offset else text


def _closes_last(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return at == len(text) - 1
    return False


def _identifier(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _type(bits: int, signed: bool) -> str:
    return f"{'s' if signed else 'u'}{bits}"


def _wide(signed: bool) -> str:
    return "s64" if signed else "u64"


def _number(value: int) -> str:
    number = signed(value)
    if number == -(1 << 63):
        return "0x8000000000000000ULL"
    return str(number) if abs(number) < 1 << 31 else f"{number}LL"
