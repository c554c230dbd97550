"""How each instruction is written: one table, read by the assembler and by the disassembler.

The notation is the kernel's own, that of the verifier's log and of ``bpftool prog dump xlated``
(kernel/bpf/disasm.c). A `Rule` pairs an opcode with a template; a field of the instruction either
appears in the template, or has the one value the rule gives it::

    Rule 0x3f, "r{dst} s/= r{src}", off=1            r1 s/= r2

For the way back a template becomes a *shape*, its tokens without the values, and the shapes of
all rules differ: a line of text finds its rule by one dictionary lookup. The few forms below that
the kernel has no words for are ours: unresolved map and BTF loads, and ``.insn``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from fsession.frozen import frozen
from fsession.isa.opcode import Alu, Atomic, Class, Jmp, Mode, Pseudo, Size, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RAW",
    "U32",
    "U64",
    "Operands",
    "Rule",
    "Shape",
    "Token",
    "render_values",
    "rules",
    "shapes",
    "tokens",
]

U32, U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

ALU_SIGNS = {
    Alu.ADD: "+=",
    Alu.SUB: "-=",
    Alu.MUL: "*=",
    Alu.DIV: "/=",
    Alu.OR: "|=",
    Alu.AND: "&=",
    Alu.LSH: "<<=",
    Alu.RSH: ">>=",
    Alu.MOD: "%=",
    Alu.XOR: "^=",
    Alu.MOV: "=",
    Alu.ARSH: "s>>=",
}
JMP_SIGNS = {
    Jmp.JEQ: "==",
    Jmp.JGT: ">",
    Jmp.JGE: ">=",
    Jmp.JSET: "&",
    Jmp.JNE: "!=",
    Jmp.JSGT: "s>",
    Jmp.JSGE: "s>=",
    Jmp.JLT: "<",
    Jmp.JLE: "<=",
    Jmp.JSLT: "s<",
    Jmp.JSLE: "s<=",
}
SIZE_TYPES = {Size.B: "u8", Size.H: "u16", Size.W: "u32", Size.DW: "u64"}
LOCKED_SIGNS = {Atomic.ADD: "+=", Atomic.OR: "|=", Atomic.AND: "&=", Atomic.XOR: "^="}
FETCH_NAMES = {
    Atomic.FETCH_ADD: "fetch_add",
    Atomic.FETCH_OR: "fetch_or",
    Atomic.FETCH_AND: "fetch_and",
    Atomic.FETCH_XOR: "fetch_xor",
    Atomic.XCHG: "xchg",
}
LOADS = {  # pseudo source of a 64-bit immediate load: what stands right of the equals sign
    Pseudo.NONE: "{imm64:#x}",
    Pseudo.MAP_FD: "map[fd:{lo}]",
    Pseudo.MAP_VALUE: "map[fd:{lo}][0]+{hi}",
    Pseudo.BTF_ID: "btf[fd:{hi}][id:{lo}]",
    Pseudo.FUNC: "subprog[{rel:+}]",
    Pseudo.MAP_IDX: "map[idx:{lo}]",
    Pseudo.MAP_IDX_VALUE: "map[idx:{lo}]+{hi}",
}

# Which bits of the immediate a placeholder shows. `imm32` and `u32` are `imm` written otherwise.
IMM_BITS = {
    "imm": -1,
    "imm32": -1,
    "u32": -1,
    "imm64": -1,
    "lo": U32,
    "rel": U32,
    "hi": ~U32,
    "hi16": ~0xFFFF,
    "lo16": 0xFFFF,
}
PLACEHOLDER = re.compile(r"\{(\w+)")


@frozen
class Rule:
    """An opcode, its template, and the values of the fields that the template does not show.

    None is a field that is shown. Of the immediate, the bits `hidden` are not shown and are `imm`.
    """

    opcode: int
    template: str
    dst: int | None = 0
    src: int | None = 0
    off: int | None = 0
    imm: int = 0
    hidden: int = -1


def _rule(opcode: int, template: str, *, src: int = 0, off: int = 0, imm: int = 0) -> Rule:
    shown = set(PLACEHOLDER.findall(template))
    hidden = -1
    for name in shown & IMM_BITS.keys():
        hidden &= ~IMM_BITS[name]
    return Rule(
        opcode,
        template,
        None if "dst" in shown else 0,
        None if "src" in shown else src,
        None if "off" in shown else off,
        imm & hidden,
        hidden,
    )


RAW = _rule(-1, ".insn {opcode:#x}, r{dst}, r{src}, {off}, {imm64}")
"""For what no rule describes: unknown opcodes, and fields that should be 0 and are not."""


def _arithmetic() -> Iterator[Rule]:
    for cls, reg, imm in ((Class.ALU64, "r", "{imm}"), (Class.ALU, "w", "{imm32}")):
        dst, src = f"{reg}{{dst}}", f"{reg}{{src}}"
        for op, sign in ALU_SIGNS.items():
            yield _rule(cls | op | Source.K, f"{dst} {sign} {imm}")
            yield _rule(cls | op | Source.X, f"{dst} {sign} {src}")
        for op, sign in ((Alu.DIV, "s/="), (Alu.MOD, "s%=")):
            yield _rule(cls | op | Source.K, f"{dst} {sign} {imm}", off=1)
            yield _rule(cls | op | Source.X, f"{dst} {sign} {src}", off=1)
        for bits in (8, 16, 32) if cls == Class.ALU64 else (8, 16):
            yield _rule(cls | Alu.MOV | Source.X, f"{dst} = (s{bits}){src}", off=bits)
        yield _rule(cls | Alu.NEG, f"{dst} = -{dst}")


def _moves_of_bits() -> Iterator[Rule]:
    swaps = (
        (Class.ALU | Source.K, "le"),
        (Class.ALU | Source.X, "be"),
        (Class.ALU64 | Source.K, "bswap"),
    )
    for kind, name in swaps:
        for bits in (16, 32, 64):
            yield _rule(kind | Alu.END, f"r{{dst}} = {name}{bits} r{{dst}}", imm=bits)
    yield _rule(
        Class.ALU64 | Alu.MOV | Source.X,
        "r{dst} = addr_space_cast(r{src}, {hi16}, {lo16})",
        off=1,
    )


def _memory() -> Iterator[Rule]:
    for size, name in SIZE_TYPES.items():
        to, imm = f"*({name} *)(r{{dst}} {{off:+}})", "{imm}" if size == Size.DW else "{imm32}"
        yield _rule(Class.ST | size | Mode.MEM, f"{to} = {imm}")
        yield _rule(Class.STX | size | Mode.MEM, f"{to} = r{{src}}")
        load = "r{dst} = *({} *)(r{src} {off:+})"
        yield _rule(Class.LDX | size | Mode.MEM, load.replace("{}", name))
        if size != Size.DW:
            yield _rule(Class.LDX | size | Mode.MEMSX, load.replace("{}", f"s{name[1:]}"))
            yield _rule(Class.LD | size | Mode.ABS, f"r0 = *({name} *)skb[{{imm}}]")
            yield _rule(Class.LD | size | Mode.IND, f"r0 = *({name} *)skb[r{{src}} + {{imm}}]")


def _atomics() -> Iterator[Rule]:
    for size, name in SIZE_TYPES.items():
        opcode = Class.STX | size | Mode.ATOMIC
        at, at_src = (f"({name} *)(r{{{reg}}} {{off:+}})" for reg in ("dst", "src"))
        yield _rule(opcode, f"r{{dst}} = load_acquire({at_src})", imm=Atomic.LOAD_ACQ)
        yield _rule(opcode, f"store_release({at}, r{{src}})", imm=Atomic.STORE_REL)
        if size not in (Size.W, Size.DW):
            continue
        for op, sign in LOCKED_SIGNS.items():
            yield _rule(opcode, f"lock *{at} {sign} r{{src}}", imm=op)
        prefix = "atomic64" if size == Size.DW else "atomic"
        for op, verb in FETCH_NAMES.items():
            yield _rule(opcode, f"r{{src}} = {prefix}_{verb}({at}, r{{src}})", imm=op)
        compare = f"r0 = {prefix}_cmpxchg({at}, r0, r{{src}})"
        yield _rule(opcode, compare, imm=Atomic.CMPXCHG)


def _jumps() -> Iterator[Rule]:
    for cls, reg in ((Class.JMP, "r"), (Class.JMP32, "w")):
        for op, sign in JMP_SIGNS.items():
            test = f"if {reg}{{dst}} {sign}"
            yield _rule(cls | op | Source.K, f"{test} {{u32:#x}} goto pc{{off:+}}")
            yield _rule(cls | op | Source.X, f"{test} {reg}{{src}} goto pc{{off:+}}")
    yield _rule(Class.JMP | Jmp.JA, "goto pc{off:+}")
    yield _rule(Class.JMP32 | Jmp.JA, "gotol pc{imm:+}")
    yield _rule(Class.JMP | Jmp.JA | Source.X, "gotox r{dst}")
    yield _rule(Class.JMP | Jmp.JCOND, "may_goto pc{off:+}")
    yield _rule(Class.JMP | Jmp.CALL, "call pc{imm:+}", src=1)
    yield _rule(Class.JMP | Jmp.EXIT, "exit")


def _loads() -> Iterator[Rule]:
    for pseudo, value in LOADS.items():
        yield _rule(Class.LD | Mode.IMM | Size.DW, f"r{{dst}} = {value}", src=pseudo)


@cache
def rules() -> dict[int, tuple[Rule, ...]]:
    """The rules of each opcode. Calls of helpers and kfuncs, which have names, are not here."""
    found: dict[int, tuple[Rule, ...]] = {}
    for group in (_arithmetic, _moves_of_bits, _memory, _atomics, _jumps, _loads):
        for rule in group():
            found[rule.opcode] = (*found.get(rule.opcode, ()), rule)
    return found


def render_values(imm: int) -> dict[str, int]:
    """The immediate as each placeholder shows it, for `str.format`."""
    low = imm & U32
    return {
        "imm": imm,
        "imm32": imm,
        "u32": low,
        "imm64": imm,
        "lo": low,
        "hi": imm >> 32,
        "rel": low - (1 << 32) if low >> 31 else low,
        "hi16": low >> 16,
        "lo16": imm & 0xFFFF,
    }


class Token(NamedTuple):
    """A piece of a line or of a template: its kind in a shape, its text, its column from 0.

    The kinds: ``r`` and ``w`` registers, ``#`` and ``x`` decimal and hexadecimal numbers; of
    anything else the text itself.
    """

    kind: str
    text: str
    column: int


# A number takes its signs along: "+8", "- 8", "+ -8". Placeholders count as what they stand for.
TOKEN = re.compile(
    r"""
    (?P<space> \s+ )
  | (?P<reg>   [rw] (?: \d+ | \{\w+\} ) (?! \w ) )
  | (?P<hex>   (?: [+-]\s* )* (?: 0[xX][0-9a-fA-F]+ | \{\w+:\#x\} ) (?! \w ) )
  | (?P<dec>   (?: [+-]\s* )* (?: \d+ | \{\w+(?::\+)?\} ) (?! \w ) )
  | (?P<sign>  s>>= | s/= | s%= | s>= | s<= | s> | s< | <<= | >>= | [-+*/|&%^=!<>]= )
  | (?P<word>  kernel-function | [A-Za-z_.$] [\w.$]* )
  | (?P<other> . )
    """,
    re.VERBOSE | re.ASCII,
)


def tokens(text: str) -> list[Token]:
    """The tokens of a line, or of a template, without the blanks between them."""
    kinds = {"hex": "x", "dec": "#"}
    found = []
    for match in TOKEN.finditer(text):
        group = match.lastgroup or ""
        if group != "space":
            kind = match[0][0] if group == "reg" else kinds.get(group, match[0])
            found.append(Token(kind, match[0], match.start()))
    return found


Shape = tuple[str, ...]
Operands = tuple[str, ...]
"""In the order of the registers and numbers of a shape: a field's name, or a constant's digits."""


@cache
def shapes() -> dict[Shape, tuple[Rule, Operands]]:
    """Each rule by its shape, with what its registers and numbers stand for."""
    every = [rule for group in rules().values() for rule in group]
    return {_shape(rule.template): (rule, _operands(rule.template)) for rule in (*every, RAW)}


def _shape(template: str) -> Shape:
    return tuple(token.kind for token in tokens(template))


def _operands(template: str) -> Operands:
    values = [token for token in tokens(template) if token.kind in ("r", "w", "#", "x")]
    return tuple(re.findall(r"\w+", token.text.lstrip("rw"))[0] for token in values)
