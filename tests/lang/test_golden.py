"""Each construct of the language: its IR, the IR after all passes, its instructions.

``pytest --update-goldens`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.btf.encode import Builder as BtfBuilder
from fsession.btf.types import Enum, Enumerator, Int
from fsession.errors import CompileError, InternalError
from fsession.isa.disasm import disassemble
from fsession.lang.check import check
from fsession.lang.clike import show_c
from fsession.lang.ctypes import Catalog
from fsession.lang.emit import emit
from fsession.lang.ir import Block, Branch, Const, Function, Jump, Return, Slot
from fsession.lang.ir import Test as Condition
from fsession.lang.link import finish
from fsession.lang.lower import lower
from fsession.lang.optimise import (
    drop_signs,
    merge_blocks,
    merge_values,
    remove_dead,
    remove_unreachable,
    thread_jumps,
    use_low_halves,
)
from fsession.lang.outline import outline
from fsession.lang.show import show
from fsession.lang.source import Source
from lang import samples
from lang.test_python import FUNCTIONS, compiled

GOLDENS = Path(__file__).parent / "data"
PASSES = (
    remove_unreachable,
    merge_values,
    use_low_halves,
    drop_signs,
    thread_jumps,
    merge_blocks,
    remove_dead,
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    builder = BtfBuilder()
    builder.add(Int("int", 4, 32, 1))
    builder.add(Enum("bpf_func_id", 4, (Enumerator("BPF_FUNC_loop", 181),)))
    return Catalog(builder.types())


@pytest.mark.parametrize("sample", FUNCTIONS, ids=lambda sample: sample.__name__)
def test_golden(sample, catalog, pytestconfig):
    function = compiled(catalog, *Source.of(sample))
    parts = [show(function)]
    for made in finish(function):
        parts.append(show(made))
        parts.append(show_c(made))
        parts.append("\n".join(map(str, disassemble(emit(made).insns))))
    text = "\n\n".join(parts) + "\n"
    golden = GOLDENS / f"{sample.__name__}.txt"
    if pytestconfig.getoption("--update-goldens"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("sample", FUNCTIONS, ids=lambda sample: sample.__name__)
def test_valid_after_each_pass(sample, catalog):
    function = compiled(catalog, *Source.of(sample))
    remove_unreachable(function)  # what a front end leaves behind a return
    check(function)
    for _ in range(3):
        for one in PASSES:
            one(function)
            check(function)
    callbacks = outline(function)
    for made in (function, *callbacks):
        remove_unreachable(made)
        check(made)
        lower(made)
        check(made)


def _function(*blocks: Block) -> Function:
    function = Function("f", values=9, labels=len(blocks))
    function.blocks = dict(enumerate(blocks))  # type: ignore[assignment]
    return function


WRONG = {
    "has no end": _function(Block()),
    "goes to b7, which is nowhere": _function(Block(end=Jump(7))),
    "b1 takes 1 values, not 0": _function(
        Block(end=Jump(1)), Block(params=[5], end=Return((5,)))
    ),
    "branches to a block with parameters": _function(
        Block(ops=[Const(1, 0)], end=Branch(Condition.EQ, (1, 1), 1, 1)),
        Block(params=[5], end=Return((5,))),
    ),
    "v1 is defined twice": _function(
        Block(ops=[Const(1, 0), Const(1, 1)], end=Return((1,)))
    ),
    "is the entry and has parameters": _function(Block(params=[1], end=Return((1,)))),
    "v2 is used where it is not defined": _function(Block(end=Return((2,)))),
    "&slot 3: no such slot": _function(Block(ops=[Slot(1, 3)], end=Return((1,)))),
    "v4 is used where it is not defined": _function(
        Block(ops=[Const(1, 0)], end=Branch(Condition.EQ, (1, 1), 1, 2)),
        Block(ops=[Const(4, 0)], end=Jump(2)),
        Block(end=Return((4,))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_check(message):
    with pytest.raises(InternalError) as caught:
        check(WRONG[message])
    assert message in str(caught.value)


def test_without_loop_helper():
    """Of a kernel before 5.17, only loops whose bound shows."""
    builder = BtfBuilder()
    builder.add(Int("int", 4, 32, 1))
    old = Catalog(builder.types())
    compiled(old, *Source.of(samples.far_large))
    with pytest.raises(CompileError, match=r"no bound that shows, and the kernel no bpf_loop"):
        compiled(old, *Source.of(samples.far_while))
