"""Text to instructions: the disassembler's notation, with labels.

>>> assemble('''
...     r6 = r1
... again:
...     r0 = *(u64 *)(r6 +8)        ; the second word of the context
...     if r0 == 0 goto done
...     call bpf_ktime_get_ns#5     // a helper, by name, number or both
...     goto again
... done:
...     exit
... ''')[-1]
Insn(opcode=149, dst=0, src=0, off=0, imm=0)

A line has labels, an instruction, both or none. ``;`` and ``//`` start a comment, ``#`` does so at
the start of a line or after a blank. What ``bpftool prog dump xlated`` puts before an instruction
(``12: (b7)``) is passed over. A jump goes to a label or to a distance (``goto +2``, ``goto pc+2``);
``call name`` and ``r1 = subprog[name]`` take the label of a function.

As in the kernel's notation, ``r1 = 5`` is a move of 32 bits and ``r1 = 0x5`` a load of 64 bits;
``r1 = 5 ll`` is one too. Elsewhere decimal and hexadecimal mean the same.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from fsession.errors import CompileError
from fsession.frozen import frozen
from fsession.isa.disasm import helper_number
from fsession.isa.insn import LDDW, Insn, InsnOff, call_helper, call_kfunc, call_local
from fsession.isa.notation import U32, U64, Token, shapes, tokens
from fsession.isa.opcode import REG_COUNT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsession.isa.notation import Operands, Rule, Shape

__all__ = ["assemble"]

_PREFIX = re.compile(r"\s*\d+:\s*\([0-9a-f]{2}\)")
_COMMENT = re.compile(r";|//|(?:^|(?<=\s))#")
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*):(?!:)")
_GOTOS = ("goto", "gotol", "may_goto")
_VALUES = ("r", "w", "#", "x")
_DIGITS = 40  # more are out of every range, and Python converts no more than 4300

_S16, _S32 = (-(1 << 15), (1 << 15) - 1), (-(1 << 31), (1 << 31) - 1)
_BITS32 = (-(1 << 31), U32)
_RANGES = {
    "opcode": (0, 0xFF),
    "dst": (0, REG_COUNT - 1),
    "src": (0, REG_COUNT - 1),
    "off": _S16,
    "imm": _S32,
    "imm32": _BITS32,
    "u32": _BITS32,
    "imm64": (-(1 << 63), U64),
    "lo": (0, U32),
    "hi": (0, U32),
    "rel": _S32,
    "hi16": (0, 0xFFFF),
    "lo16": (0, 0xFFFF),
}


@frozen
class _Line:
    """A line of the source, for messages: its number from 1 and its text."""

    file: str
    number: int
    text: str

    def fail(self, column: int, message: str, hint: str = "") -> NoReturn:
        """Raise with the place; `column` counts from 0."""
        error = CompileError(message, self.file, self.number, column + 1)
        blanks = re.sub(r"\S", " ", self.text[:column])
        error.hint(f"  {self.text}\n  {blanks}^")
        raise error.hint(hint) if hint else error


@frozen
class _Statement:
    """An instruction; `label` is where a distance of it comes from, to go in field `field`."""

    line: _Line
    insn: Insn
    field: str = ""
    label: Token | None = None


def assemble(text: str, file: str = "") -> tuple[Insn, ...]:
    """The instructions of an assembler text.

    Raises `CompileError` with line and column, and the line with a caret as a note.
    """
    labels: dict[str, InsnOff] = {}
    statements: list[tuple[InsnOff, _Statement]] = []
    at = 0
    for number, source in enumerate(text.splitlines(), 1):
        line = _Line(file, number, source)
        start = _take_labels(line, InsnOff(at), labels)
        words = _words(line, start)
        if words:
            statement = _statement(line, words)
            statements.append((InsnOff(at), statement))
            at += statement.insn.slots
    return tuple(_resolve(at, statement, labels) for at, statement in statements)


def _code_end(text: str) -> int:
    """Where the comment of a line starts, or the line ends."""
    comment = _COMMENT.search(text)
    return comment.start() if comment else len(text)


def _take_labels(line: _Line, at: InsnOff, labels: dict[str, InsnOff]) -> int:
    """Note the labels at the start of a line; the column behind them."""
    prefix = _PREFIX.match(line.text)
    column, end = prefix.end() if prefix else 0, _code_end(line.text)
    while (match := _LABEL.match(line.text, column, end)) is not None:
        if match[1] in labels:
            line.fail(match.start(1), f"label '{match[1]}' is defined twice")
        labels[match[1]] = at
        column = match.end()
    return column


def _words(line: _Line, start: int) -> list[Token]:
    """The tokens of a line's instruction, with the columns of the whole line."""
    found = tokens(line.text[start : _code_end(line.text)])
    return [Token(kind, text, column + start) for kind, text, column in found]


def _statement(line: _Line, words: list[Token]) -> _Statement:
    if words[0].text == "call" and len(words) > 1 and words[1].text != "pc":
        return _call(line, words)
    words, label = _plain(words)
    rule, operands = _find(line, words)
    values = _values(line, words, operands)
    field = ""
    if label is not None:
        field = operands[[word for word in words if word.kind in _VALUES].index(label)]
    return _Statement(line, _build(rule, values), field, label)


def _plain(words: list[Token]) -> tuple[list[Token], Token | None]:
    """Forms that are the same thing, brought to the one of the table; and a label in it.

    ``goto +2`` is ``goto pc+2``; a label stands where the distance does; ``5 ll`` is hexadecimal;
    the name behind the distance of a local call says nothing.
    """
    if [word.kind for word in words] in (["r", "=", "#", "ll"], ["r", "=", "x", "ll"]):
        return [*words[:2], words[2]._replace(kind="x")], None
    if words[0].text == "call" and "#" in [word.text for word in words]:
        return words[: [word.text for word in words].index("#")], None
    if len(words) > 1 and words[-2].text in _GOTOS:
        return _plain_goto(words[:-1], words[-1])
    if [word.text for word in words[2:4]] == ["subprog", "["] and words[-1].text == "]":
        return _named(words[:4], words[4], words[5:])
    return words, None


def _plain_goto(words: list[Token], goal: Token) -> tuple[list[Token], Token | None]:
    pc = Token("pc", "pc", goal.column)
    return _named([*words, pc], goal, [])


def _named(
    before: list[Token], name: Token, after: list[Token]
) -> tuple[list[Token], Token | None]:
    """A name in the place of a distance becomes a number, whose value comes later."""
    if not _is_name(name):
        return [*before, name, *after], None
    label = name._replace(kind="#")
    return [*before, label, *after], label


def _find(line: _Line, words: Sequence[Token]) -> tuple[Rule, Operands]:
    """The rule of an instruction: by its shape, numbers in the base of the notation or not."""
    kinds = tuple(word.kind for word in words)
    found = shapes().get(kinds) or _loose_shapes().get(_loose(kinds))
    return found or _no_instruction(line, words)


def _loose(shape: Shape) -> Shape:
    return tuple("#" if kind == "x" else kind for kind in shape)


@cache
def _loose_shapes() -> dict[Shape, tuple[Rule, Operands]]:
    """The shapes with both bases alike; where that makes two the same, the decimal one."""
    decimal_last = sorted(shapes().items(), key=lambda item: item[0] == _loose(item[0]))
    return {_loose(shape): rule for shape, rule in decimal_last}


def _no_instruction(line: _Line, words: Sequence[Token]) -> NoReturn:
    """Raise with the first token that no instruction has there, and what could be there."""
    kinds = tuple(word.kind for word in words)
    known = {(*shape, "the end") for shape in _loose_shapes()}
    for place, (word, kind) in enumerate(zip(words, _loose(kinds), strict=True)):
        follow = {shape[place] for shape in known}
        if kind not in follow:
            line.fail(word.column, f"no instruction has '{word.text}' here", _expected(follow))
        known = {shape for shape in known if shape[place] == kind}
    end = words[-1].column + len(words[-1].text)
    line.fail(end, "the instruction is not complete", _expected({s[len(words)] for s in known}))


def _expected(kinds: set[str]) -> str:
    names = {"r": "a register", "w": "a 32-bit register", "#": "a number", "pc": "a label"}
    words = sorted(
        names.get(kind) or (kind if kind == "the end" else f"'{kind}'") for kind in kinds
    )
    if len(words) > 8:
        words[8:] = ["…"]
    return f"expected {', '.join(words)}"


def _values(line: _Line, words: Sequence[Token], operands: Operands) -> dict[str, int]:
    """The value of each field that the text shows."""
    values: dict[str, int] = {}
    shown = [word for word in words if word.kind in _VALUES]
    for word, name in zip(shown, operands, strict=True):
        value = _number(word)
        if name.isdigit():
            _same(line, word, value, int(name))
        elif name in values:
            _same(line, word, value, values[name])
        else:
            _in_range(line, word, name, value)
            values[name] = value
    return values


def _number(word: Token) -> int:
    """The value of a register or number; 0 for a label, which has its value later."""
    digits = re.search(r"0[xX][0-9a-fA-F]+|[0-9]+", word.text)
    if digits is None or word.kind not in _VALUES or _is_name(word):
        return 0
    if len(digits[0]) > _DIGITS:
        return 1 << 64
    value = int(digits[0], 16 if digits[0][:2] in ("0x", "0X") else 10)
    return -value if word.text.count("-") % 2 else value


def _is_name(word: Token) -> bool:
    return re.match(r"[A-Za-z_.$]", word.text) is not None and word.kind not in ("r", "w")


def _same(line: _Line, word: Token, value: int, wanted: int) -> None:
    if value != wanted:
        text = f"{word.kind}{wanted}" if word.kind in ("r", "w") else str(wanted)
        line.fail(word.column, f"'{word.text}' must be '{text}' here")


def _in_range(line: _Line, word: Token, name: str, value: int) -> None:
    low, high = _RANGES[name]
    if name == "u32" and word.kind == "#":  # only hexadecimal digits say that bits are meant
        high = _S32[1]
    if low <= value <= high:
        return
    if name in ("dst", "src"):
        line.fail(word.column, f"register {word.text} does not exist")
    hint = "a 64-bit constant is written with ' ll' behind it" if name == "imm" else ""
    line.fail(word.column, f"{word.text} is not in {low}..{high}", hint)


def _build(rule: Rule, values: Mapping[str, int]) -> Insn:
    """The instruction of a rule: shown fields from the text, the others as the rule has them."""
    imm = rule.imm
    for name in values.keys() - {"opcode", "dst", "src", "off"}:
        imm |= {
            "hi": values[name] << 32,
            "hi16": values[name] << 16,
            "rel": values[name] & U32,
        }.get(name, values[name])
    opcode = values.get("opcode", rule.opcode)
    return Insn(
        opcode,
        values.get("dst", rule.dst or 0),
        values.get("src", rule.src or 0),
        values.get("off", rule.off or 0),
        imm & U64 if opcode == LDDW else _s32(imm),
    )


def _s32(imm: int) -> int:
    imm &= U32
    return imm - (1 << 32) if imm >> 31 else imm


def _call(line: _Line, words: Sequence[Token]) -> _Statement:
    """``call 5``, ``call bpf_x#5``, ``call kfunc#7 fd_array[1]``, ``call label``."""
    what = words[1]
    if what.kind == "#" and len(words) == 2:
        return _Statement(line, call_helper(_checked(line, what)))
    if not _is_name(what):
        line.fail(what.column, f"'{what.text}' can't be called", "expected a name or a number")
    if len(words) == 2:
        number = helper_number(what.text)
        if number is None:
            return _Statement(line, call_local(0), "rel", what)
        return _Statement(line, call_helper(number))
    if words[2].text != "#" or len(words) < 4 or words[3].kind != "#":
        line.fail(words[2].column, "expected '#' and a number behind the name")
    return _Statement(line, _numbered_call(line, what, words[3], words[4:]))


def _numbered_call(line: _Line, name: Token, number: Token, rest: Sequence[Token]) -> Insn:
    """A call of a helper or, by its BTF id, of a kernel function."""
    value, helper = _checked(line, number), helper_number(name.text)
    if helper not in (None, value):
        line.fail(number.column, f"{name.text} is helper {helper}, not {value}")
    is_helper = helper is not None or name.text == "unknown"
    module = 0
    if [word.kind for word in rest] == ["fd_array", "[", "#", "]"] and not is_helper:
        _in_range(line, rest[2], "off", module := _number(rest[2]))
    elif rest:
        line.fail(rest[0].column, f"no call has '{rest[0].text}' here", "expected fd_array[…]")
    return call_helper(value) if is_helper else call_kfunc(value, module)


def _checked(line: _Line, word: Token) -> int:
    _in_range(line, word, "imm", value := _number(word))
    return value


def _resolve(at: InsnOff, statement: _Statement, labels: Mapping[str, InsnOff]) -> Insn:
    """Put the distance of a label into its instruction, which starts at slot `at`."""
    insn, label = statement.insn, statement.label
    if label is None:
        return insn
    if label.text not in labels:
        helpful = "a kernel function is called by its BTF id: 'call name#ID'"
        hint = helpful if insn.is_call else ""
        statement.line.fail(label.column, f"no label '{label.text}'", hint)
    distance = labels[label.text] - at - 1
    if statement.field == "off":
        if not _S16[0] <= distance <= _S16[1]:
            hint = "an unconditional jump further than 32767 slots is written 'gotol'"
            statement.line.fail(label.column, f"'{label.text}' is {distance} slots away", hint)
        return Insn(insn.opcode, insn.dst, insn.src, distance, insn.imm)
    imm = distance & U32 if insn.opcode == LDDW else distance
    return Insn(insn.opcode, insn.dst, insn.src, insn.off, imm)
