"""Types as C text: spelling, layout, whole headers, judged by real compilers."""

from __future__ import annotations

import random
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from fsession.btf import types as t
from fsession.btf.catalog import Types
from fsession.btf.format import definition, prototype, spell
from fsession.btf.vmlinux_h import vmlinux_h
from fsession.errors import BadInputError

from .test_core import COMPILERS, C

RUNNING = Path("/sys/kernel/btf/vmlinux")


def _small() -> C:
    c = C()
    c.struct("list", 16, ("next", "void *", 0), ("prev", "void *", 64))
    c.add("const char", t.Const(c.type("char")))
    c.add("const char *const", t.Const(c.type("const char *")))
    c.add("volatile int", t.Volatile(c.type("int")))
    c.add("const volatile int", t.Const(c.type("volatile int")))
    c.add("restrict", t.Restrict(c.type("char *")))
    c.add("user", t.TypeTag("user", c.type("char")))
    c.add("proto", t.FuncProto(c.type("int"), (t.Param("a", c.type("list *")), t.Param("", 0))))
    c.add("noargs", t.FuncProto(c.type("void *"), ()))
    c.add("handlers", t.FuncProto(c.type("proto *"), (t.Param("n", c.type("int")),)))
    c.add("func", t.Func("printk_like", c.type("proto")))
    c.add("typedef", t.Typedef("u_t", c.type("u32")))
    c.add("callback_t", t.Typedef("callback_t", c.type("proto *")))
    c.add("fwd", t.Fwd("later"))
    c.add("fwd union", t.Fwd("later", is_union=True))
    c.add("double", t.Float("double", 8))
    c.enum("color", RED=1, GREEN=-2)
    c.enum("large", t.Enum64, BIG=2**40)
    c.add("packed enum", t.Enum("tiny", 1, (t.Enumerator("T", 1),)))
    c.add("anonymous", t.Struct("", 8, (t.Member("x", c.type("int"), 0), t.Member("y", 1, 32))))
    return c


SMALL = _small()
SPELLED = [
    ("void", "", "void"),
    ("int", "x", "int x"),
    ("list *", "skb", "struct list *skb"),
    ("list * *", "", "struct list **"),
    ("const char *", "name", "const char *name"),
    ("const char *const", "name", "const char *const name"),
    ("const volatile int", "x", "const volatile int x"),
    ("restrict", "s", "char *restrict s"),
    ("user *", "buf", "char *buf"),
    ("char[16]", "comm", "char comm[16]"),
    ("int[2][3]", "grid", "int grid[3][2]"),
    ("list *[4]", "heads", "struct list *heads[4]"),
    ("char[16] *", "row", "char (*row)[16]"),
    ("proto", "f", "int f(struct list *a, ...)"),
    ("proto *", "f", "int (*f)(struct list *a, ...)"),
    ("proto *[2]", "f", "int (*f[2])(struct list *a, ...)"),
    ("noargs *", "f", "void *(*f)(void)"),
    ("handlers", "get", "int (*get(int n))(struct list *a, ...)"),
    ("callback_t", "cb", "callback_t cb"),
    ("fwd *", "p", "struct later *p"),
    ("fwd union *", "p", "union later *p"),
    ("color", "c", "enum color c"),
    ("anonymous", "pos", "struct {\n\tint x;\n\tint y;\n} pos"),
]


@pytest.mark.parametrize(
    ("type", "name", "expected"), SPELLED, ids=[f"{row[0]} {row[1]}" for row in SPELLED]
)
def test_spelling(type: str, name: str, expected: str):
    id = SMALL.type(type)
    assert spell(SMALL.build.types(), id, name) == expected


DEFINED = [
    ("list", "struct list {\n\tvoid *next;\n\tvoid *prev;\n};"),
    ("color", "enum color {\n\tRED = 1,\n\tGREEN = -2,\n};"),
    ("large", "enum large {\n\tBIG = 1099511627776ULL,\n};"),
    ("packed enum", "enum tiny {\n\tT = 1,\n} __attribute__((packed));"),
    ("typedef", "typedef u32 u_t;"),
    ("callback_t", "typedef int (*callback_t)(struct list *a, ...);"),
    ("fwd union", "union later;"),
    ("func", "int printk_like(struct list *a, ...);"),
    ("double", "double;"),
]


@pytest.mark.parametrize(("type", "expected"), DEFINED, ids=[row[0] for row in DEFINED])
def test_definitions(type: str, expected: str):
    assert definition(SMALL.build.types(), SMALL.type(type)) == expected


def test_prototype():
    types = SMALL.build.types()
    assert prototype(types, SMALL.ids["func"]) == "int printk_like(struct list *a, ...)"
    with pytest.raises(BadInputError, match="is no function"):
        prototype(types, SMALL.ids["proto"])


def test_offsets_and_sizes():
    c = C()
    c.add("", t.Union("", 8, (t.Member("u", c.type("u64"), 0), t.Member("s", c.type("s64"), 0))))
    c.struct("outer", 24, ("a", "u32", 0, 3), ("b", "u32", 3, 5), ("", "", 64), ("c", "char", 128))
    text = definition(c.build.types(), c.ids["outer"], offsets=True)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert rows == [
        "struct outer {",
        "u32 a: 3; /* 0:0 4 */",
        "u32 b: 5; /* 0:3 4 */",
        "union {",
        "u64 u; /* 8 8 */",
        "s64 s; /* 8 8 */",
        "}; /* 8 8 */",
        "char c; /* 16 1 */",
        "};",
    ]


# Structs whose layout plain members would not give: padding, packing, bit-fields, holes.
LAYOUTS = [
    ("hole", 24, [("a", "char", 0), ("b", "u64", 128)]),
    ("tail", 40, [("a", "u64", 0)]),
    ("packed", 5, [("a", "char", 0), ("b", "u32", 8)]),
    ("packed end", 9, [("a", "u64", 0), ("b", "char", 64)]),
    ("bits", 8, [("a", "u32", 0, 3), ("b", "u32", 5, 7), ("c", "u32", 32, 32)]),
    ("bits at the end of a word", 8, [("a", "u32", 29, 3), ("b", "u8", 32)]),
    ("bits across", 8, [("a", "u32", 0, 30), ("b", "u32", 30, 30)]),
    ("large hole", 4096, [("a", "u8", 0), ("b", "u8", 8 * 4000)]),
    ("large tail", 1 << 20, [("a", "u32", 0), ("b", "u32", 32, 3)]),
    ("empty", 0, []),
    ("only size", 3, []),
]
_PRELUDE = """
typedef unsigned char u8; typedef unsigned u32;
typedef unsigned long long u64; typedef long long s64;
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
def test_layouts_are_what_clang_makes_of_the_text(tmp_path: Path):
    c = C()
    for number, (_, size, members) in enumerate(LAYOUTS):
        c.struct(f"s{number}", size, *members)
    types = c.build.types()
    ids = [c.ids[f"s{number}"] for number in range(len(LAYOUTS))]
    text = [_PRELUDE, *(definition(types, id) for id in ids)]
    text += [row for id in ids for row in _asserts(types, types[id])]
    text += [f"struct s{n} v{n}; " for n in range(len(LAYOUTS))]
    out = _compile(tmp_path, "\n".join(text), COMPILERS["clang"])
    made = Types.from_bytes(out)
    for number, (name, _, members) in enumerate(LAYOUTS):
        struct = made.get(f"s{number}", t.Struct)
        assert isinstance(struct, t.Struct)
        kept = [m for m in struct.members if m.name and not m.name.startswith("__pad_")]
        places = [(m.name, m.bit_offset, m.bits) for m in kept]
        assert places == [(m[0], m[2], *(m[3:] or (0,))) for m in members], name


def _asserts(types: Types, struct: t.Type, tag: str = "") -> list[str]:
    """C that compiles only if a struct has the size and offsets that BTF says."""
    assert isinstance(struct, t.Struct | t.Union)
    name = f"{type(struct).__name__.lower()} {tag or struct.name}"
    rows = [f"sizeof({name}) == {struct.size}"]
    for member in struct.members:
        if member.name and not member.bits and member.bit_offset % 8 == 0:
            rows.append(f"__builtin_offsetof({name}, {member.name}) == {member.bit_offset // 8}")
            rows.append(f"sizeof((({name} *)0)->{member.name}) == {types.size_of(member.type)}")
    return [f'_Static_assert({row}, "{row}");' for row in rows]


def _compile(folder: Path, text: str, command: list[str]) -> bytes:
    """Compile C text for BPF; its BTF."""
    import io

    from elftools.elf.elffile import ELFFile

    source, out = folder / "text.c", folder / "text.o"
    source.write_text(text)
    done = subprocess.run(
        [*command, "-g", "-O2", "-w", "-c", str(source), "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[:4000]
    return ELFFile(io.BytesIO(out.read_bytes())).get_section_by_name(".BTF").data()


@pytest.fixture(scope="module")
def running() -> Types:
    if not RUNNING.exists():
        pytest.skip("this kernel has no BTF of its own")
    return Types.from_bytes(RUNNING.read_bytes(), name="vmlinux")


@pytest.fixture(scope="module")
def header(running: Types, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("header") / "vmlinux.h"
    path.write_text("\n".join(vmlinux_h(running)))
    return path


_TAGGED = (t.Struct, t.Union, t.Enum, t.Enum64)  # one name space in C


def _unique_composites(types: Types) -> list[t.Type]:
    """Structs and unions with a tag that no other type has."""
    found: dict[str, list[t.TypeId]] = {}
    for id in map(t.TypeId, types.own_ids()):
        if types.kind_of(id) in _TAGGED and types.name_of(id):
            found.setdefault(types.name_of(id), []).append(id)
    ids = [rows[0] for rows in found.values() if len(rows) == 1]
    return [types[id] for id in ids if types.kind_of(id) in _TAGGED[:2]]


def _has_small_enum(types: Types, type: t.Type) -> bool:
    """Whether an enum of less than 4 bytes is inside; bpftool 7.1 writes it as one of 4."""
    if isinstance(type, t.Enum):
        return type.size < 4
    if isinstance(type, t.Array):
        return _has_small_enum(types, types[types.strip(type.type)])
    if not isinstance(type, t.Struct | t.Union):
        return False
    inner = {types.strip(member.type) for member in type.members}
    return any(_has_small_enum(types, types[id]) for id in inner)


def _skip_without(compiler: str) -> None:
    if compiler == "zig" and not find_spec("ziglang"):
        pytest.skip("ziglang is not installed")
    if compiler == "clang" and not shutil.which("clang"):
        pytest.skip("clang is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_struct_of_vmlinux_h_lies_as_the_kernel_says(
    compiler: str, running: Types, header: Path, tmp_path: Path
):
    _skip_without(compiler)
    structs = _unique_composites(running)
    assert len(structs) > 8000
    checks = [row for struct in structs for row in _asserts(running, struct)]
    program = "int use(struct sk_buff *skb) { return skb->len; }"
    text = "\n".join([f'#include "{header}"', *checks, program])
    _compile(tmp_path, text, COMPILERS[compiler])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
def test_500_structs_lie_as_in_the_header_of_bpftool(running: Types, tmp_path: Path):
    command = ["bpftool", "btf", "dump", "file", str(RUNNING), "format", "c"]
    theirs = tmp_path / "bpftool.h"
    theirs.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    structs = [kind for kind in _unique_composites(running) if not _has_small_enum(running, kind)]
    assert len(structs) > 7500
    structs = random.Random(500).sample(structs, 500)
    checks = [row for struct in structs for row in _asserts(running, struct)]
    assert len(checks) > 3000
    text = "\n".join([f'#include "{theirs}"', *checks, "struct sk_buff *use;"])
    _compile(tmp_path, text, COMPILERS["clang"])


PROGRAM = """
extern void use(int);
__attribute__((section("fentry/x"))) int program(unsigned long long *ctx)
{
    struct task_struct *task = bpf_task_acquire((struct task_struct *)ctx[0]);
    if (!task)
        return 0;
    bpf_task_release(task);
    return BPF_PROG_TYPE_TRACING;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_program_calls_kfuncs_of_vmlinux_h(
    compiler: str, running: Types, header: Path, tmp_path: Path
):
    _skip_without(compiler)
    made = Types.from_bytes(
        _compile(tmp_path, f'#include "{header}"\n{PROGRAM}', COMPILERS[compiler])
    )
    kfuncs = made.get(".ksyms", t.DataSec)
    assert isinstance(kfuncs, t.DataSec)
    names = {made.name_of(variable.type) for variable in kfuncs.variables}
    assert names == {"bpf_task_acquire", "bpf_task_release"}
    release = made.prototype(made.id_of("bpf_task_release", t.Func))
    assert spell(made, release.params[0].type) == "struct task_struct *"


def test_header_of_types_that_need_an_order(tmp_path: Path):
    c = C()
    c.add("fwd", t.Fwd("node"))
    outer = c.build.next_id + 2
    c.add("by value", t.Array(t.TypeId(outer + 2), c.type("int"), 2))
    c.struct("outer", 24, ("n", "by value", 0), ("p", "fwd *", 128))
    c.struct("inner", 8, ("up", "outer *", 0))
    c.struct("node", 8, ("self", "fwd *", 0))
    c.struct("same", 4, ("a", "int", 0))
    c.struct("same", 8, ("b", "u64", 0))
    c.add("same_t", t.Typedef("same", c.type("same")))
    text = "\n".join(vmlinux_h(c.build.types()))
    for line in ("struct same___2 {", "typedef struct same___2 same;", "struct inner {"):
        assert line in text
    assert text.index("struct inner {") < text.index("struct outer {")


def test_a_bit_field_of_void():
    c = C()
    c.struct("s", 4, ("a", "u8", 0), ("b", "void", 8, 3))
    assert "void b: 3;" in definition(c.build.types(), c.ids["s"])
