"""CO-RE: rules on types made here, and real objects against what libbpf makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fsession.btf import types as t
from fsession.btf.catalog import Types
from fsession.btf.core import CoreResult, Relocator, apply, is_poison, relocate
from fsession.btf.encode import Builder
from fsession.errors import BadInputError
from fsession.isa.insn import Insn, InsnOff, alu, call_helper, lddw, ldx, mov, st, stx
from fsession.isa.opcode import POISON, Alu, Size
from fsession.spec import CoreRelo
from fsession.uapi import CoreReloKind as K

from . import elf

SOURCE = Path(__file__).parent / "core_relos.c"
RUNNING = Path("/sys/kernel/btf/vmlinux")
COMPILERS = {
    "clang": ["clang", "-target", "bpf"],
    "zig": [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding"],
}


class C:
    """Builds types by a few words of C: ``int``, ``task *``, ``char[16]``; structs by members."""

    def __init__(self, base: Types | None = None) -> None:
        self.build = Builder(base)
        self.ids: dict[str, t.TypeId] = {"void": t.VOID}
        for name, size, encoding in (
            ("int", 4, 1),
            ("char", 1, 1),
            ("u8", 1, 0),
            ("u32", 4, 0),
            ("u64", 8, 0),
            ("s64", 8, 1),
        ):
            self.add(name, t.Int(name, size, 8 * size, encoding))

    def add(self, key: str, type: t.Type) -> t.TypeId:
        self.ids[key] = self.build.add(type)
        return self.ids[key]

    def type(self, text: str) -> t.TypeId:
        if text not in self.ids:
            if text.endswith(" *"):
                self.add(text, t.Ptr(self.type(text[:-2])))
            else:
                element, _, count = text.removesuffix("]").rpartition("[")
                self.add(text, t.Array(self.type(element), self.ids["int"], int(count)))
        return self.ids[text]

    def struct(self, name: str, size: int, *members: tuple, cls: type = t.Struct) -> t.TypeId:
        """Members are ``(name, type, bit offset)``, bit-fields with a fourth, their bits."""
        made = tuple(t.Member(m[0], self.type(m[1]), *m[2:]) for m in members)
        return self.add(name, cls(name, size, made, any(len(m) > 3 for m in members)))

    def enum(self, name: str, cls: type = t.Enum, /, **values: int) -> t.TypeId:
        rows = tuple(t.Enumerator(*item) for item in values.items())
        signed = any(value < 0 for value in values.values())
        return self.add(name, cls(name, 8 if cls is t.Enum64 else 4, rows, signed))


def _local() -> C:
    c = C()
    c.struct("inner", 8, ("x", "int", 0), ("y", "int", 32))
    c.struct("task", 64, ("pid", "int", 0), ("comm", "char[16]", 32), ("in", "inner", 192))
    c.struct("task___v2", 8, ("renamed", "u64", 0))
    c.struct("bits", 8, ("a", "u32", 0, 3), ("b", "int", 3, 5), ("wide", "u64", 0, 40))
    c.struct("flex", 4, ("n", "int", 0), ("tail", "int[0]", 32))
    c.struct("sizes", 32, ("up", "u32", 0), ("down", "u64", 64), ("sign", "int", 128))
    c.struct("shape", 16, ("p", "task *", 0), ("s", "inner", 64))
    c.struct("absent", 4, ("x", "int", 0))
    c.add("pid_t", t.Typedef("pid_t", c.type("int")))
    c.add("name_t", t.Typedef("name_t", c.type("char[4]")))
    c.enum("color", RED=1, GREEN=2, BLUE___mine=3, GREY=-4)
    c.enum("large", t.Enum64, BIG=2**40)
    return c


def _target() -> C:
    c = C()
    c.struct("inner", 16, ("z", "u64", 0), ("y", "u64", 64))
    c.struct("anon", 24, ("comm", "char[8]", 64), ("in", "inner", 0))
    c.ids[""] = c.build.add(t.Union("", 24, (t.Member("", c.type("anon"), 0),)))
    c.struct("task", 128, ("state", "u64", 0), ("", "", 64), ("pid", "int", 512))
    c.struct("bits", 16, ("a", "u32", 64, 4), ("b", "int", 94, 5), ("wide", "u64", 3, 41))
    c.struct("flex", 8, ("n", "u64", 0), ("tail", "int[0]", 64))
    c.struct("sizes", 32, ("up", "u64", 0), ("down", "u32", 64), ("sign", "s64", 128))
    c.struct("shape", 16, ("p", "u64", 0), ("s", "int", 64))
    c.add("pid_t", t.Typedef("pid_t", c.type("s64")))
    c.add("name_t", t.Typedef("name_t", c.type("char[9]")))
    c.enum("color", GREEN=7, BLUE=8, GREY=-9)
    c.enum("large", t.Enum64, BIG=2**50)
    return c


LOCAL, TARGET = _local(), _target()
LOCAL_TYPES, TARGET_TYPES = LOCAL.build.types("object"), TARGET.build.types("vmlinux")

# kind, type, accessor; what the program was compiled with, what it gets, None for poison.
ANSWERS = [
    ("offset", K.FIELD_BYTE_OFFSET, "task", "0:0", 0, 64),
    ("offset through anonymous", K.FIELD_BYTE_OFFSET, "task", "0:1", 4, 16),
    ("offset of an element", K.FIELD_BYTE_OFFSET, "task", "0:1:3", 7, 19),
    ("element beyond the shorter array", K.FIELD_BYTE_OFFSET, "task", "0:1:9", 13, None),
    ("offset in an inner struct", K.FIELD_BYTE_OFFSET, "task", "0:2:1", 28, 16),
    ("no such inner member", K.FIELD_BYTE_OFFSET, "task", "0:2:0", 24, None),
    ("second of an array of structs", K.FIELD_BYTE_OFFSET, "task", "1:0", 64, 192),
    ("flavor of the program", K.FIELD_EXISTS, "task___v2", "0:0", 1, 0),
    ("gone", K.FIELD_BYTE_OFFSET, "task___v2", "0:0", 0, None),
    ("gone, size", K.FIELD_BYTE_SIZE, "task___v2", "0:0", 8, None),
    ("exists", K.FIELD_EXISTS, "task", "0:1", 1, 1),
    ("exists, array too short", K.FIELD_EXISTS, "task", "0:1:12", 1, 0),
    ("exists, no struct", K.FIELD_EXISTS, "absent", "0:0", 1, 0),
    ("not compatible: pointer and number", K.FIELD_EXISTS, "shape", "0:0", 1, 0),
    ("not compatible: struct and number", K.FIELD_EXISTS, "shape", "0:1", 1, 0),
    ("flexible array", K.FIELD_BYTE_OFFSET, "flex", "0:1:5", 24, 28),
    ("size", K.FIELD_BYTE_SIZE, "task", "0:1", 16, 8),
    ("size of an element", K.FIELD_BYTE_SIZE, "task", "0:1:2", 1, 1),
    ("size of a number", K.FIELD_BYTE_SIZE, "sizes", "0:0", 4, 8),
    ("signed", K.FIELD_SIGNED, "task", "0:0", 1, 1),
    ("not signed", K.FIELD_SIGNED, "sizes", "0:0", 0, 0),
    ("shifts of a number: left", K.FIELD_LSHIFT_U64, "sizes", "0:0", 32, 0),
    ("shifts of a number: right", K.FIELD_RSHIFT_U64, "sizes", "0:0", 32, 0),
    ("bits: offset", K.FIELD_BYTE_OFFSET, "bits", "0:0", 0, 8),
    ("bits: size", K.FIELD_BYTE_SIZE, "bits", "0:0", 4, 4),
    ("bits: left", K.FIELD_LSHIFT_U64, "bits", "0:0", 61, 60),
    ("bits: right", K.FIELD_RSHIFT_U64, "bits", "0:0", 61, 60),
    ("bits across a word: offset", K.FIELD_BYTE_OFFSET, "bits", "0:1", 0, 8),
    ("bits across a word: size", K.FIELD_BYTE_SIZE, "bits", "0:1", 4, 8),
    ("bits across a word: left", K.FIELD_LSHIFT_U64, "bits", "0:1", 56, 29),
    ("bits across a word: right", K.FIELD_RSHIFT_U64, "bits", "0:1", 59, 59),
    ("bits across a word: signed", K.FIELD_SIGNED, "bits", "0:1", 1, 1),
    ("wide bits", K.FIELD_LSHIFT_U64, "bits", "0:2", 24, 20),
    ("type exists", K.TYPE_EXISTS, "task", "0", 1, 1),
    ("type is gone", K.TYPE_EXISTS, "absent", "0", 1, 0),
    ("typedef exists", K.TYPE_EXISTS, "pid_t", "0", 1, 1),
    ("type size", K.TYPE_SIZE, "task", "0", 64, 128),
    ("typedef's size", K.TYPE_SIZE, "name_t", "0", 4, 9),
    ("size of what is gone", K.TYPE_SIZE, "absent", "0", 4, 0),
    ("local id", K.TYPE_ID_LOCAL, "task", "0", LOCAL.ids["task"], LOCAL.ids["task"]),
    ("target id", K.TYPE_ID_TARGET, "task", "0", LOCAL.ids["task"], TARGET.ids["task"]),
    ("id of what is gone", K.TYPE_ID_TARGET, "absent", "0", LOCAL.ids["absent"], 0),
    ("matches", K.TYPE_MATCHES, "large", "0", 1, 1),
    ("does not match: sizes", K.TYPE_MATCHES, "sizes", "0", 1, 0),
    ("does not match: members", K.TYPE_MATCHES, "task", "0", 1, 0),
    ("does not match: enumerators", K.TYPE_MATCHES, "color", "0", 1, 0),
    ("does not match: lengths", K.TYPE_MATCHES, "name_t", "0", 1, 0),
    ("enumerator", K.ENUMVAL_VALUE, "color", "1", 2, 7),
    ("enumerator, flavor", K.ENUMVAL_VALUE, "color", "2", 3, 8),
    ("enumerator below 0", K.ENUMVAL_VALUE, "color", "3", -4, -9),
    ("enumerator of 64 bits", K.ENUMVAL_VALUE, "large", "0", 2**40, 2**50),
    ("enumerator exists", K.ENUMVAL_EXISTS, "color", "1", 1, 1),
    ("enumerator is gone", K.ENUMVAL_EXISTS, "color", "0", 1, 0),
    ("value of what is gone", K.ENUMVAL_VALUE, "color", "0", 1, None),
]


def _relo(kind: K, type: str, access: str) -> CoreRelo:
    return CoreRelo(InsnOff(0), kind, LOCAL.ids[type], access)


@pytest.mark.parametrize(
    ("kind", "type", "access", "local", "expected"),
    [row[1:] for row in ANSWERS],
    ids=[row[0] for row in ANSWERS],
)
def test_answers(kind: K, type: str, access: str, local: int, expected: int | None):
    result = relocate(LOCAL_TYPES, _relo(kind, type, access), [TARGET_TYPES])
    assert (result.local, result.target) == (local, expected)


QUESTIONS = [
    ("struct", K.TYPE_SIZE, "absent", "0", "struct 'absent'"),
    ("field, no struct", K.FIELD_BYTE_SIZE, "absent", "0:0", "struct 'absent'"),
    ("field", K.FIELD_BYTE_SIZE, "task___v2", "0:0", "struct 'task' with 'task___v2.renamed'"),
    ("element", K.FIELD_BYTE_OFFSET, "task", "0:1:9", "struct 'task' with 'task.comm[9]'"),
    ("enumerator", K.ENUMVAL_VALUE, "color", "0", "enum 'color' with 'RED'"),
]


@pytest.mark.parametrize(
    ("kind", "type", "access", "question"),
    [r[1:] for r in QUESTIONS],
    ids=[r[0] for r in QUESTIONS],
)
def test_what_is_missing_has_a_name(kind: K, type: str, access: str, question: str):
    result = relocate(LOCAL_TYPES, _relo(kind, type, access), [TARGET_TYPES])
    assert (result.question, result.exists) == (question, False)


MALFORMED = [
    ("not numbers", K.FIELD_EXISTS, "task", "0:x", "not of the form"),
    ("empty", K.FIELD_EXISTS, "task", "", "not of the form"),
    ("negative", K.FIELD_EXISTS, "task", "0:-1", "not of the form"),
    ("no end", K.FIELD_EXISTS, "task", ":".join("0" * 65), "65 steps"),
    ("member beyond the last", K.FIELD_EXISTS, "task", "0:3", "leads nowhere at 3 of task"),
    ("element beyond the last", K.FIELD_EXISTS, "task", "0:1:16", "leads nowhere at 16"),
    ("into a number", K.FIELD_EXISTS, "task", "0:0:0", "leads nowhere at 0 of task.pid"),
    ("field of a type", K.TYPE_EXISTS, "task", "0:1", "not '0'"),
    ("enumerator beyond the last", K.ENUMVAL_VALUE, "color", "4", "names no value"),
    ("enumerator of a struct", K.ENUMVAL_VALUE, "task", "0", "names no value"),
    ("sign of an element", K.FIELD_SIGNED, "task", "0:1:2", "is an element"),
    ("no name", K.TYPE_EXISTS, "task *", "0", "has no name"),
]


@pytest.mark.parametrize(
    ("kind", "type", "access", "words"), [r[1:] for r in MALFORMED], ids=[r[0] for r in MALFORMED]
)
def test_malformed_relocations(kind: K, type: str, access: str, words: str):
    LOCAL.type("task *")
    with pytest.raises(BadInputError, match=words):
        relocate(LOCAL.build.types(), _relo(kind, type, access), [TARGET_TYPES])


def test_a_type_id_that_is_none():
    relo = CoreRelo(InsnOff(0), K.TYPE_EXISTS, t.TypeId(999), "0")
    with pytest.raises(BadInputError, match="999 is not one of object"):
        relocate(LOCAL_TYPES, relo, [TARGET_TYPES])


def _two(first: int, second: int, **names: str) -> Types:
    c = C()
    c.struct(names.get("one", "absent"), 8, ("x", "int", first))
    c.struct(names.get("other", "absent"), 8, ("x", "int", second))
    return c.build.types("vmlinux")


def test_candidates_that_agree():
    result = relocate(LOCAL_TYPES, _relo(K.FIELD_BYTE_OFFSET, "absent", "0:0"), [_two(32, 32)])
    assert result.target == 4


def test_candidates_that_do_not_agree():
    with pytest.raises(BadInputError, match=r"'absent\.x' is ambiguous: 0 by type 7, 4 by type 8"):
        relocate(LOCAL_TYPES, _relo(K.FIELD_BYTE_OFFSET, "absent", "0:0"), [_two(0, 32)])


def test_candidates_without_the_field_do_not_count():
    c = C()
    c.struct("absent", 8, ("y", "int", 0))
    c.struct("absent___other", 8, ("x", "int", 32))
    target = c.build.types()
    relo = _relo(K.FIELD_BYTE_OFFSET, "absent", "0:0")
    assert relocate(LOCAL_TYPES, relo, [target]).target == 4


def test_modules_are_read_only_for_what_vmlinux_lacks():
    vmlinux = TARGET_TYPES
    c = C(vmlinux)
    module_id = c.struct("absent", 8, ("x", "int", 32))
    module = c.build.types("module")
    read = []

    def targets():
        for types in (vmlinux, module):
            read.append(types.name)
            yield types

    relocator = Relocator(LOCAL_TYPES, targets())
    assert relocator.relocate(_relo(K.FIELD_BYTE_OFFSET, "task", "0:0")).target == 64
    assert read == ["vmlinux"]
    result = relocator.relocate(_relo(K.TYPE_ID_TARGET, "absent", "0"))
    assert (result.target, result.types) == (module_id, module)
    assert read == ["vmlinux", "module"]


ESSENTIAL = [
    ("task_struct", "task_struct"),
    ("task_struct___v514", "task_struct"),
    ("a___b___c", "a___b"),
    ("a____b", "a____b"),
    ("___b", "___b"),
    ("a___", "a___"),
]


@pytest.mark.parametrize(("name", "expected"), ESSENTIAL, ids=[row[0] for row in ESSENTIAL])
def test_flavors(name: str, expected: str):
    c = C()
    c.struct(name, 4, ("x", "int", 0))
    local = c.build.types()
    relo = CoreRelo(InsnOff(0), K.TYPE_EXISTS, c.ids[name], "0")
    for kernel_name in {expected, name}:
        k = C()
        k.struct(kernel_name, 4, ("x", "int", 0))
        assert relocate(local, relo, [k.build.types()]).target == 1
    k = C()
    k.struct(expected + "_more", 4, ("x", "int", 0))
    assert relocate(local, relo, [k.build.types()]).target == 0


def _matching(build_local, build_target) -> int | None:
    local, target = C(), C()
    id = build_local(local)
    build_target(target)
    relo = CoreRelo(InsnOff(0), K.TYPE_MATCHES, id, "0")
    return relocate(local.build.types(), relo, [target.build.types()]).target


def _holder(inner: str, cls: type = t.Struct, name: str = "inner", member: str = "x"):
    def build(c: C) -> t.TypeId:
        c.struct(name, 8, (member, "int", 0), cls=cls)
        return c.struct("holder", 16, ("m", inner.replace("inner", name), 0))

    return build


def _forward(is_union: bool):
    def build(c: C) -> t.TypeId:
        c.add("inner", t.Fwd("inner", is_union))
        return c.struct("holder", 8, ("m", "inner *", 0))

    return build


def _callback(*params: str, returned: str = "void", name: str = "cb"):
    def build(c: C) -> t.TypeId:
        args = tuple(t.Param("", c.type(param)) for param in params)
        proto = c.add("proto", t.FuncProto(c.type(returned), args))
        return c.add("cb", t.Typedef(name, c.build.add(t.Ptr(proto))))

    return build


MATCHES = [
    ("same", _holder("inner"), _holder("inner"), 1),
    ("inner member is missing", _holder("inner"), _holder("inner", member="y"), 0),
    (
        "behind a pointer members do not count",
        _holder("inner *"),
        _holder("inner *", member="y"),
        1,
    ),
    ("behind a pointer the name counts", _holder("inner *"), _holder("inner *", name="outer"), 0),
    ("behind a pointer the kind counts", _holder("inner *"), _holder("inner *", t.Union), 0),
    ("declared only", _forward(is_union=False), _holder("inner *"), 1),
    ("declared as the other", _forward(is_union=True), _holder("inner *"), 0),
    ("only declared there", _holder("inner *"), _forward(is_union=False), 1),
    ("callbacks", _callback("int", "u8 *"), _callback("int", "u8 *"), 1),
    ("callbacks: parameter", _callback("int"), _callback("u32"), 0),
    ("callbacks: number", _callback("int"), _callback("int", "int"), 0),
    ("callbacks: result", _callback(), _callback(returned="int"), 0),
]


@pytest.mark.parametrize(
    ("local", "target", "expected"), [row[1:] for row in MATCHES], ids=[row[0] for row in MATCHES]
)
def test_matching_types(local, target, expected: int):
    assert _matching(local, target) == expected


def _result(local: int, target: int | None, **more: object) -> CoreResult:
    return CoreResult(K.FIELD_BYTE_OFFSET, "a field", local, target, **more)  # type: ignore[arg-type]


GROWN = {"local_size": 4, "target_size": 8, "resizable": True}
SHRUNK = {"local_size": 8, "target_size": 4, "resizable": True}
SIGNED = {"local_size": 4, "target_size": 8}
POISONED = call_helper(POISON)
PATCHES = [
    ("add", alu(Alu.ADD, 1, imm=4), _result(4, 16), (alu(Alu.ADD, 1, imm=16),)),
    ("high bit", alu(Alu.MOV, 1, imm=4), _result(4, 2**31), (alu(Alu.MOV, 1, imm=-(2**31)),)),
    ("below 0", alu(Alu.MOV, 1, imm=-4), _result(-4, -9), (alu(Alu.MOV, 1, imm=-9),)),
    ("unsigned", alu(Alu.MOV, 1, imm=-1), _result(2**32 - 1, 3), (alu(Alu.MOV, 1, imm=3),)),
    (
        "not compared",
        alu(Alu.MOV, 1, imm=5),
        _result(4, 6, validate=False),
        (alu(Alu.MOV, 1, imm=6),),
    ),
    (
        "another size does not matter",
        alu(Alu.ADD, 1, imm=4),
        _result(4, 16, **SIGNED),
        (alu(Alu.ADD, 1, imm=16),),
    ),
    ("load", ldx(Size.W, 1, 2, 4), _result(4, 16), (ldx(Size.W, 1, 2, 16),)),
    ("load, grown", ldx(Size.W, 1, 2, 4), _result(4, 16, **GROWN), (ldx(Size.DW, 1, 2, 16),)),
    ("load, shrunk", ldx(Size.DW, 1, 2, 4), _result(4, 8, **SHRUNK), (ldx(Size.W, 1, 2, 8),)),
    ("load, signed", ldx(Size.W, 1, 2, 4), _result(4, 16, **SIGNED), (POISONED,)),
    ("store", stx(Size.W, 1, 2, 4), _result(4, 16, **GROWN), (stx(Size.DW, 1, 2, 16),)),
    ("store of a constant", st(Size.W, 1, 4, 7), _result(4, 16, **GROWN), (st(Size.DW, 1, 16, 7),)),
    ("lddw", lddw(1, 7), _result(7, 2**40), (lddw(1, 2**40),)),
    ("lddw below 0", lddw(1, -4), _result(-4, -9), (lddw(1, -9),)),
    ("poison", ldx(Size.W, 1, 2, 4), _result(4, None), (POISONED,)),
    ("poison of two slots", lddw(1, 7), _result(7, None), (POISONED, POISONED)),
]


@pytest.mark.parametrize(
    ("insn", "result", "expected"), [row[1:] for row in PATCHES], ids=[row[0] for row in PATCHES]
)
def test_patches(insn: Insn, result: CoreResult, expected: tuple[Insn, ...]):
    assert apply(insn, result) == expected
    assert is_poison(expected) == (POISONED in expected)
    assert sum(new.slots for new in expected) == insn.slots


UNFIT = [
    ("other immediate", alu(Alu.ADD, 1, imm=5), _result(4, 8), "has 5 for a field, the types 4"),
    ("other offset", ldx(Size.W, 1, 2, 0), _result(4, 8), "has 0 for a field"),
    ("other lddw", lddw(1, 9), _result(7, 8), "has 9 for a field"),
    ("registers", mov(1, 2), _result(0, 8), "between registers"),
    ("call", call_helper(5), _result(0, 8), "opcode 0x85"),
    ("too far", ldx(Size.W, 1, 2, 4), _result(4, 40000), "40000 is too large"),
    ("accessed in another size", ldx(Size.B, 1, 2, 4), _result(4, 8, **GROWN), "in another size"),
    (
        "no register",
        ldx(Size.W, 1, 2, 4),
        _result(4, 8, local_size=4, target_size=16, resizable=True),
        "16 bytes fits no register",
    ),
]


@pytest.mark.parametrize(
    ("insn", "result", "words"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT]
)
def test_instructions_that_do_not_fit(insn: Insn, result: CoreResult, words: str):
    with pytest.raises(BadInputError, match=words):
        apply(insn, result)


RESIZED = [
    ("grown, unsigned", "0:0", ldx(Size.W, 1, 2, 0), (ldx(Size.DW, 1, 2, 0),)),
    ("shrunk, unsigned", "0:1", ldx(Size.DW, 1, 2, 8), (ldx(Size.W, 1, 2, 8),)),
    ("grown, signed", "0:2", ldx(Size.W, 1, 2, 16), (POISONED,)),
    ("grown, its address", "0:2", alu(Alu.ADD, 1, imm=16), (alu(Alu.ADD, 1, imm=16),)),
]


@pytest.mark.parametrize(
    ("access", "insn", "expected"), [row[1:] for row in RESIZED], ids=[row[0] for row in RESIZED]
)
def test_fields_of_another_size(access: str, insn: Insn, expected: tuple[Insn, ...]):
    relo = _relo(K.FIELD_BYTE_OFFSET, "sizes", access)
    assert apply(insn, relocate(LOCAL_TYPES, relo, [TARGET_TYPES])) == expected


@pytest.fixture(scope="module", params=COMPILERS)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object with a relocation of each kind."""
    command = COMPILERS[request.param]
    if request.param == "zig" and not find_spec("ziglang"):
        pytest.skip("ziglang is not installed")
    if request.param == "clang" and not shutil.which("clang"):
        pytest.skip("clang is not installed")
    out = tmp_path_factory.mktemp(request.param) / "core.o"
    subprocess.run([*command, "-g", "-O2", "-c", str(SOURCE), "-o", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def running() -> Types:
    if not RUNNING.exists():
        pytest.skip("this kernel has no BTF of its own")
    return Types.from_bytes(RUNNING.read_bytes(), name="vmlinux")


PATCHED = re.compile(
    r"relo #(\d+): (?:patched insn #\d+ \(.*?\) (?P<where>\w+) -?\d+ -> (?P<to>-?\d+)"
    r"|substituting insn #\d+ w/ (?P<invalid>invalid) insn)"
)


def _libbpf(path: Path) -> dict[int, dict[str, int]]:
    """What libbpf's log says it wrote into the instruction of each relocation."""
    command = ["bpftool", "-d", "prog", "load", str(path), "/sys/fs/bpf/fsession_test_core"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    out: dict[int, dict[str, int]] = {}
    for line in PATCHED.finditer(done.stdout + done.stderr):
        words = out.setdefault(int(line[1]), {})
        if line["invalid"]:
            words["invalid"] = words.get("invalid", 0) + 1
        else:
            words[line["where"].replace("imm64", "imm")] = int(line["to"])
    return out


def _ours(relocated: elf.Relocated, result: CoreResult) -> dict[str, int]:
    """The same of our own answer."""
    new = apply(relocated.insn, result)
    if is_poison(new):
        return {"invalid": len(new)}
    if not relocated.insn.is_lddw and relocated.insn.opcode & 7 in (1, 2, 3):
        size = {} if new[0].opcode == relocated.insn.opcode else {"mem_sz": result.target_size}
        return {"off": new[0].off} | size
    return {"imm": new[0].imm}


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_the_running_kernel_as_libbpf_sees_it(compiled: Path, running: Types):
    types, relocations = elf.read_relocations(compiled.read_bytes())
    theirs = _libbpf(compiled)
    assert len(theirs) == len(relocations) > 44
    assert {relocated.relo.kind for relocated in relocations} >= set(K) - {K.TYPE_MATCHES}
    relocator = Relocator(types, [running])
    for number, relocated in enumerate(relocations):
        result = relocator.relocate(relocated.relo)
        assert _ours(relocated, result) == theirs[number], result.question
