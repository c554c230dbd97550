"""The generated programs: their text, and what must hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.isa.disasm import disassemble
from fsession.isa.insn import Insn, offsets
from fsession.isa.opcode import R10, Class
from fsession.spec import KfuncCall, MapRef, MapValueRef
from fsession.trace.body import Wanted
from fsession.trace.filters import Filters
from fsession.trace.program import (
    attach_cookie,
    function_program,
    map_specs,
    multi_layout,
    multi_program,
)
from fsession.trace.record import Layout
from fsession.uapi import AttachType, MapType

GOLDENS = Path(__file__).parent / "data"
ALL = Filters(pid=77, comm=b"ping", min_duration_ns=5_000_000_000, errors=True)
STACK_BYTES = 512

PROGRAMS = [
    ("one_word", ["icmp_rcv"], Filters(), False),
    ("filtered", ["icmp_rcv"], ALL, False),
    ("void", ["tick"], Filters(), False),
    ("string", ["filp_open"], Filters(errors=True), False),
    ("by_helper", ["drop"], Filters(), False),
    ("multi", ["icmp_rcv", "tick"], Filters(), True),
    ("multi_strings", ["icmp_rcv", "rename"], Filters(errors=True), True),
]


def build(kernel, functions, filters, multi):
    signatures = [kernel.signature(name) for name in functions]
    if multi:
        return multi_program(multi_layout(one.shape for one in signatures), Wanted(filters))
    return function_program(signatures[0], 3, Wanted(filters))


def listing(spec):
    """Instructions, with the name of what a relocation will put in."""
    names = {reloc.at: _what(reloc) for reloc in spec.relocs}
    starts = offsets(spec.insns)
    lines = zip(starts, disassemble(spec.insns), strict=False)
    return "".join(f"{line}{names.get(at, '')}\n" for at, line in lines)


def _what(reloc):
    match reloc:
        case KfuncCall():
            return f"  ; {reloc.name}"
        case MapRef():
            return f"  ; {reloc.map}"
        case MapValueRef():
            return f"  ; {reloc.map}+{reloc.offset}"


@pytest.mark.parametrize(("name", "functions", "filters", "multi"), PROGRAMS)
def test_listing(kernel, name, functions, filters, multi, pytestconfig):
    text = listing(build(kernel, functions, filters, multi))
    golden = GOLDENS / f"{name}.txt"
    if pytestconfig.getoption("--update-goldens"):
        golden.write_text(text)
    assert text == golden.read_text()


CASES = [
    (name, filters, multi)
    for name in ("icmp_rcv", "filp_open", "tick", "give", "drop", "rename", "crowd")
    for filters in (Filters(), Filters(pid=1), ALL)
    for multi in (False, True)
]


@pytest.mark.parametrize(("name", "filters", "multi"), CASES)
def test_jumps_and_stack(kernel, name, filters, multi):
    spec = build(kernel, [name], filters, multi)
    starts = offsets(spec.insns)
    for at, insn in zip(starts, spec.insns, strict=False):
        if insn.is_jump:
            assert at + 1 + insn.jump_off in starts[:-1]
        if _is_stack_access(insn):
            assert -STACK_BYTES <= insn.off <= -8
    assert spec.insns[-1].is_exit


def _is_stack_access(insn: Insn) -> bool:
    base = insn.src if insn.cls is Class.LDX else insn.dst
    return insn.cls in (Class.LDX, Class.ST, Class.STX) and base == R10


@pytest.mark.parametrize(("name", "filters", "multi"), CASES)
def test_maps_are_those_that_are_made(kernel, name, filters, multi):
    spec = build(kernel, [name], filters, multi)
    layout = kernel.signature(name).layout
    made = {one.name for one in map_specs([layout], 1 << 20)}
    assert {reloc.map for reloc in spec.relocs if isinstance(reloc, MapRef | MapValueRef)} == made


def test_maps():
    ring, counts, two, zeros = map_specs([Layout(3), Layout(6, 2)], 1 << 20)
    assert (ring.type, ring.max_entries) == (MapType.RINGBUF, 1 << 20)
    assert (counts.type, counts.value_size) == (MapType.ARRAY, 40)
    assert (two.type, two.key_size, two.value_size) == (MapType.HASH, 8, 8 + 2 * 96)
    assert (zeros.type, zeros.key_size, zeros.value_size) == (MapType.ARRAY, 4, 8 + 2 * 96)


def test_attach_types(kernel):
    one = build(kernel, ["icmp_rcv"], Filters(), False)
    assert (one.attach_type, one.target) == (AttachType.TRACE_FSESSION, "icmp_rcv")
    many = build(kernel, ["icmp_rcv"], Filters(), True)
    assert many.attach_type == AttachType.TRACE_FSESSION_MULTI


COOKIES = [
    ("icmp_rcv", 7, 7 | 1 << 48),
    ("filp_open", 1, 1 | 1 << 32 | 2 << 48),
    ("rename", 2, 2 | 0x21 << 32 | 1 << 48),
    ("tick", 0xFFFF_FFFF, 0xFFFF_FFFF),
]


@pytest.mark.parametrize(("name", "index", "cookie"), COOKIES)
def test_attach_cookie(kernel, name, index, cookie):
    assert attach_cookie(kernel.signature(name).shape, index) == cookie


def test_a_call_costs_few_instructions(kernel):
    """Straight through, for one word: the figure that the cost of a traced call starts from."""
    spec = build(kernel, ["icmp_rcv"], Filters(), False)
    assert len(spec.insns) <= 51
