"""Ranges of 64 bits against words: what arithmetic and conditions do to words, they allow."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fsession.engine.interp import SIGNED_ALU
from fsession.isa.opcode import Alu, Jmp
from fsession.verify import branch
from fsession.verify.alu import alu, alu32, compute, signed_div, signed_mod
from fsession.verify.ranges import (
    U32,
    U64,
    UNKNOWN,
    Range,
    constant,
    intersection,
    low_half,
    narrow,
    sign_extended,
)

OPS = [op for op in Alu if op not in (Alu.MOV, Alu.END, Alu.NEG)]
EDGES = [0, 1, 2, 7, 8, 31, 32, 63, 64, 255]
EDGES += [1 << bit for bit in (7, 15, 31, 32, 63)] + [
    (1 << bit) - 1 for bit in (15, 31, 32, 63, 64)
]
WORDS = st.one_of(
    st.sampled_from(EDGES),
    st.integers(0, U64),
    st.integers(0, 300),
    st.integers(0, 300).map(lambda word: -word & U64),
)


def _signed(word: int, bits: int = 64) -> int:
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> bits - 1 else word


@st.composite
def known(draw: st.DrawFn) -> tuple[Range, list[int]]:
    """A range that is made of what some words have in common, some of its views left out."""
    words = draw(st.lists(WORDS, min_size=1, max_size=3))
    views = list(UNKNOWN)
    if draw(st.booleans()):
        views[1] = 0
        for word in words:
            views[1] |= word ^ words[0]
        views[0] = words[0] & ~views[1]
    sets = (words, [_signed(word) for word in words])
    halves = ([word & U32 for word in words], [_signed(word, 32) for word in words])
    for at, values in zip((2, 4, 6, 8), (*sets, *halves), strict=True):
        if draw(st.booleans()):
            views[at], views[at + 1] = min(values), max(values)
    found = narrow(*views)
    assert found is not None
    return found, words


@given(known())
@settings(max_examples=500)
def test_narrowing_loses_no_word(some):
    found, words = some
    assert all(found.holds(word) for word in words)
    assert found.within(UNKNOWN)
    assert found.within(found)


@given(st.sampled_from(OPS), known(), known())
@settings(max_examples=1500)
def test_arithmetic(op, a, b):
    wide, half = alu(op, a[0], b[0]), alu32(op, a[0], b[0])
    for x in a[1]:
        for y in b[1]:
            assert wide.holds(compute(op, x, y, 64)), (op, x, y)
            assert half.holds(compute(op, x & U32, y & U32, 32)), (op, x, y)


@given(st.sampled_from([Alu.DIV, Alu.MOD]), known(), st.one_of(WORDS, st.just(U64)), st.booleans())
@settings(max_examples=800)
def test_signed_division(op, a, divisor, half):
    """By one number; the interpreter says what is right."""
    bits, full = (32, U32) if half else (64, U64)
    found = (signed_div if op == Alu.DIV else signed_mod)(a[0], constant(divisor), half=half)
    for word in a[1]:
        assert found.holds(SIGNED_ALU[op](word & full, divisor & full, bits) & full)


@given(known(), st.sampled_from([8, 16, 32]))
def test_extensions(a, bits):
    low, signed = low_half(a[0]), sign_extended(a[0], bits)
    for word in a[1]:
        assert low.holds(word & U32)
        assert signed.holds(_signed(word, bits) & U64)


TESTS = {
    Jmp.JEQ: lambda a, b, bits: a == b,
    Jmp.JNE: lambda a, b, bits: a != b,
    Jmp.JGT: lambda a, b, bits: a > b,
    Jmp.JGE: lambda a, b, bits: a >= b,
    Jmp.JLT: lambda a, b, bits: a < b,
    Jmp.JLE: lambda a, b, bits: a <= b,
    Jmp.JSGT: lambda a, b, bits: _signed(a, bits) > _signed(b, bits),
    Jmp.JSGE: lambda a, b, bits: _signed(a, bits) >= _signed(b, bits),
    Jmp.JSLT: lambda a, b, bits: _signed(a, bits) < _signed(b, bits),
    Jmp.JSLE: lambda a, b, bits: _signed(a, bits) <= _signed(b, bits),
    Jmp.JSET: lambda a, b, bits: bool(a & b),
}


@given(st.sampled_from(list(TESTS)), known(), known(), st.booleans())
@settings(max_examples=1500)
def test_conditions(op, a, b, half):
    bits = 32 if half else 64
    expected = branch.outcome(op, a[0], b[0], half=half)
    for x in a[1]:
        for y in b[1]:
            full = (1 << bits) - 1
            true = TESTS[op](x & full, y & full, bits)
            assert expected in (None, true)
            sides = branch.refine(op if true else branch.NEGATED[op], a[0], b[0], half=half)
            assert sides is not None
            assert sides[0].holds(x)
            assert sides[1].holds(y)


@given(known(), known())
def test_intersections(a, b):
    both = intersection(a[0], b[0])
    for word in {*a[1], *b[1]}:
        if a[0].holds(word) and b[0].holds(word):
            assert both is not None
            assert both.holds(word)


def test_constants():
    minus_one = constant(-1)
    assert (minus_one.umin, minus_one.smax, minus_one.u32max, minus_one.s32min) == (
        U64,
        -1,
        U32,
        -1,
    )
    assert narrow(*UNKNOWN[:2], 5, 5, *UNKNOWN[4:]) == constant(5)
    assert narrow(*UNKNOWN[:2], 5, 4, *UNKNOWN[4:]) is None
