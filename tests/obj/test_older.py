"""BTF for kernels that know fewer kinds."""

from __future__ import annotations

import os

import pytest
from tests.obj.build import compiled

from fsession.btf.catalog import Types
from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Const,
    DeclTag,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Int,
    Member,
    Ptr,
    Struct,
    TypeTag,
)
from fsession.errors import KernelError
from fsession.kernel.btf_load import load_btf
from fsession.obj import read_object
from fsession.obj.older import for_older_kernels

INT = Int("int", 4, 32, 1)
ROWS = [
    # name, a type (id 2, behind int), what older kernels get
    ("float", Float("double", 8), Struct("double", 8, ())),
    ("decl tag", DeclTag("note", 3, 0), Ptr(VOID)),
    ("type tag", TypeTag("kptr", 1), Const(1)),
    ("enum64", Enum64("e", 8, (Enumerator("BIG", 1 << 40),)), Int("e", 8, 64)),
    ("signed enum64", Enum64("", 8, (Enumerator("A", -1),), True), Int("enum64", 8, 64, 1)),
    ("function", Func("f", 4, 1), Func("f", 4, 0)),
    ("pointer", Ptr(1), Ptr(1)),
]


def build(type) -> bytes:
    builder = Builder()
    for item in (INT, type, Struct("s", 4, (Member("m", 1, 0),)), FuncProto(VOID, ())):
        builder.add(item)
    return builder.to_bytes()


@pytest.mark.parametrize(("type", "expected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_newer_kinds(type, expected):
    older = Types.from_bytes(for_older_kernels(build(type)))
    assert list(older)[1:] == [INT, expected, *list(Types.from_bytes(build(type)))[3:]]


def test_strings_stay_in_place():
    """Those of source lines are behind them."""
    data = build(ROWS[4][1])
    before, after = (Types.from_bytes(d).strings.section for d in (data, for_older_kernels(data)))
    assert after.startswith(before)


def test_nothing_to_do():
    data = build(Ptr(1))
    assert for_older_kernels(data) == data


@pytest.mark.kernel
@pytest.mark.parametrize("program", ["maps", "globals", "functions", "externs", "core"])
def test_the_kernel_takes_both(toolchain, program):
    types = read_object(compiled(program, toolchain), program).types
    assert types is not None
    for data in (types.data, for_older_kernels(types.data)):
        os.close(load_btf(data, program))


@pytest.mark.kernel
@pytest.mark.parametrize("type", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_kernel_takes_what_stands_for_it(type):
    os.close(load_btf(for_older_kernels(build(type)), "test"))


@pytest.mark.kernel
def test_what_this_kernel_refuses_is_tried_in_the_older_form():
    """No kernel of today refuses a kind; a tag of a member that is not there serves as one."""
    os.close(load_btf(build(DeclTag("note", 3, 99)), "test"))
    with pytest.raises(KernelError, match="load BTF of test: EINVAL"):
        load_btf(build(Ptr(77)), "test")
