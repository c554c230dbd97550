"""Programs on functions of BPF programs, whose types are those of the program's own BTF."""

from __future__ import annotations

import pytest

import fsession
from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int, Member, Param, Ptr, Struct
from fsession.errors import CompileError
from fsession.lang import compile_programs, program


@pytest.fixture
def target():
    """``int target(struct xdp_md *xdp, struct own *own)``, of a kernel that has no types."""
    build = Builder()
    u32 = build.add(Int("u32", 4, 32))
    context = build.add(Ptr(build.add(Struct("xdp_md", 4, (Member("data", u32, 0),)))))
    own = build.add(Ptr(build.add(Struct("own", 4, (Member("count", u32, 0),)))))
    proto = build.add(FuncProto(u32, (Param("xdp", context), Param("own", own))))
    found = build.add(Func("target", proto, 1))
    types = build.types()
    return lambda _: (types, found)


def compiled(function, target):
    made = program("fentry/prog:7/target")(function)
    kernel = Builder().types()
    return compile_programs([made], lambda _: kernel, program_function=target)


def test_own_structs(target):
    def counts(ctx, own):
        fsession.emit(count=own.count)

    (spec,) = compiled(counts, target).spec.programs
    assert spec.target == "prog:7/target"


def test_no_members_of_the_context(target):
    def reads(ctx, xdp):
        fsession.emit(data=xdp.data)

    with pytest.raises(CompileError, match=r"struct xdp_md has no members") as caught:
        compiled(reads, target)
    assert "has another layout in the kernel's memory" in caught.value.__notes__[-1]


def test_struct_results():
    build = Builder()
    u32 = build.add(Int("u32", 4, 32))
    pair = build.add(Struct("pair", 8, (Member("a", u32, 0), Member("b", u32, 32))))
    build.add(Func("gives", build.add(FuncProto(pair, (Param("by", pair),))), 1))

    def result(ctx):
        fsession.emit(given=fsession.ret(ctx))

    def met(ctx, by):
        one = by
        if by.a > 5:
            one = 3
        fsession.emit(one=one)

    kernel = build.types()
    for function, message in ((result, "returns a struct pair by value"), (met, "'one' is not")):
        with pytest.raises(CompileError, match=message):
            compile_programs([program("gives")(function)], lambda _: kernel)


def test_the_address_of_the_context(target):
    def sends(ctx, xdp):
        fsession.emit(at=xdp)

    assert compiled(sends, target).spec.programs
