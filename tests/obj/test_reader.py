"""Programs, variables and externs of objects, by every compiler and set of headers."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from tests.obj.build import OURS, TYPES, compiled

from fsession.btf.types import DataSec, Func, Var
from fsession.errors import BadInputError
from fsession.isa.insn import (
    LDDW,
    call_kfunc,
    call_local,
    encode,
    exit_,
    ja,
    lddw,
    load_map_fd,
    offsets,
)
from fsession.obj import compile_c, read_object
from fsession.obj.elf import read_elf
from fsession.spec import (
    CoreRelo,
    KfuncCall,
    KsymRef,
    MapRef,
    MapValueRef,
    ObjectSpec,
    ProgramSpec,
)
from fsession.uapi import AttachType, CoreReloKind, MapFlag, ProgType

FSESSION, MULTI = AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI
PROGRAMS = {
    # name: attach type, target, sleepable, autoload
    "one_argument": (FSESSION, "bpf_fentry_test1", False, True),
    "calling_back": (FSESSION, "bpf_fentry_test1", False, True),
    "sleepable": (FSESSION, "bpf_fentry_test2", True, True),
    "many": (MULTI, "bpf_fentry_test*", False, True),
    "many_sleepable": (MULTI, "vfs_*", True, True),
    "in_module": (AttachType.TRACE_FENTRY, "nf_conntrack:nf_confirm", False, True),
    "without_target": (AttachType.TRACE_FEXIT, "", False, True),
    "exit_sleepable": (AttachType.TRACE_FEXIT, "bpf_fentry_test1", True, True),
    "modify": (AttachType.MODIFY_RETURN, "bpf_modify_return_test", False, True),
    "left_out": (AttachType.TRACE_FENTRY, "bpf_fentry_test1", True, False),
    "six": (AttachType.TRACE_FENTRY, "bpf_fentry_test6", False, True),
    "twelve": (None, "sys_enter", False, True),
    "typed_tracepoint": (AttachType.TRACE_RAW_TP, "sched_switch", False, True),
    "run_me": (None, "", True, True),
    "unknown": (None, "", False, True),
}
CALLEES = {
    # program: the functions that it reaches, itself first
    "one_argument": {"one_argument", "leaf"},
    "calling_back": {"calling_back", "step", "shared", "hidden", "leaf"},
    "sleepable": {"sleepable", "shared", "leaf"},
    "exit_sleepable": {"exit_sleepable", "hidden", "leaf"},
    "many": {"many"},
}


def read(program: str, toolchain: str) -> ObjectSpec:
    return read_object(compiled(program, toolchain), program)


def programs(spec: ObjectSpec) -> dict[str, ProgramSpec]:
    return {item.name: item for item in spec.programs}


def test_programs_by_section(toolchain):
    found = programs(read("functions", toolchain))
    assert {
        name: (item.attach_type, item.target, item.sleepable, item.autoload)
        for name, item in found.items()
    } == PROGRAMS
    assert found["run_me"].type is ProgType.SYSCALL
    assert found["unknown"].type is ProgType.UNSPEC


@pytest.mark.parametrize("name", CALLEES)
def test_a_program_has_the_functions_that_it_reaches(toolchain, name):
    program = programs(read("functions", toolchain))[name]
    types = program.types
    assert types is not None
    functions = [types.name_of(info.type) for info in program.funcs]
    assert functions[0] == name
    assert set(functions) == CALLEES[name]
    assert len(functions) == len(CALLEES[name])


def test_calls_lead_to_functions(toolchain):
    for program in read("functions", toolchain).programs:
        starts = {info.at for info in program.funcs}
        for at, insn in zip(offsets(program.insns), program.insns, strict=False):
            if insn.is_local_call:
                assert at + 1 + insn.imm in starts
            if insn.is_func_ref:
                distance = (insn.imm ^ 1 << 31) - (1 << 31)
                assert at + 1 + distance in starts


def test_a_callback_is_a_reference(toolchain):
    program = programs(read("functions", toolchain))["calling_back"]
    assert sum(insn.is_func_ref for insn in program.insns) == 1


def test_linkage(toolchain):
    """Global functions are verified alone, hidden and static ones with their callers."""
    types = read("functions", toolchain).types
    assert types is not None
    linkage = {
        name: types[types.id_of(name, Func)].linkage for name in ("shared", "hidden", "leaf")
    }
    assert linkage == {"shared": 1, "hidden": 0, "leaf": 0}


def test_lines_show_the_source(toolchain):
    program = programs(read("functions", toolchain))["one_argument"]
    texts = [line.text.strip() for line in program.lines]
    assert "return leaf(a) & 0;" in texts
    assert all(line.file.endswith("functions.bpf.c") for line in program.lines)
    source = (TYPES.parent.parent / "obj" / "functions.bpf.c").read_text().splitlines()
    for line in program.lines:
        if line.line:
            assert source[line.line - 1] == line.text
    assert {info.at for info in program.funcs} <= {line.at for line in program.lines}


def test_variables(toolchain):
    spec = read("globals", toolchain)
    found = {item.name: item for item in spec.variables}
    expected = {
        "counter": (".bss", 8),
        "hidden_count": (".bss", 4),
        "points": (".bss", 12),
        "level": (".data", 4),
        "text": (".data", 8),
        "use.calls": (".data", 4),
        "limit": (".rodata", 4),
        "table": (".rodata", 8),
        "apart": (".data.apart", 8),
        "last": (".data.apart", 1),
        "fixed": (".rodata.fixed", 4),
    }
    assert expected.items() <= {n: (v.map, v.size) for n, v in found.items()}.items()


def test_data_of_variables(toolchain):
    spec = read("globals", toolchain)
    maps = {item.name: item for item in spec.maps}
    values = {}
    for variable in spec.variables:
        data = maps[variable.map].data
        assert data is not None
        values[variable.name] = data[variable.offset : variable.offset + variable.size]
    assert values["level"] == (-5).to_bytes(4, "little", signed=True)
    assert values["text"] == b"text\0\0\0\0"
    assert values["table"] == b"\1\0\2\0\3\0\4\0"
    assert (values["apart"], values["last"]) == (b")" + bytes(7), b"\t")
    assert values["counter"] == bytes(8)


def test_maps_of_variables(toolchain):
    maps = {item.name: item for item in read("globals", toolchain).maps}
    assert set(maps) >= {".bss", ".data", ".rodata", ".data.apart", ".rodata.fixed"}
    assert {name for name, item in maps.items() if item.frozen} == {".rodata", ".rodata.fixed"}
    for name, item in maps.items():
        assert bool(item.flags & MapFlag.RDONLY_PROG) == item.frozen
        assert item.flags & MapFlag.MMAPABLE
        assert (item.key_size, item.max_entries) == (4, 1), name


def test_sections_of_the_types_have_their_places(toolchain):
    spec = read("globals", toolchain)
    types = spec.types
    assert types is not None
    for item in spec.maps:
        section = types[item.value_type]
        assert isinstance(section, DataSec)
        assert section.size == item.value_size
        ends = [0, *(place.offset + place.size for place in section.variables)]
        assert all(place.offset >= end for place, end in zip(section.variables, ends, strict=False))


def test_license_and_version(toolchain):
    (program,) = read("globals", toolchain).programs
    assert (program.license, program.version) == ("Dual BSD/GPL", 0x60C00)


def test_kconfig(toolchain):
    spec = read("externs", toolchain)
    sizes = {item.name: item.size for item in spec.kconfig}
    assert sizes == {
        "LINUX_KERNEL_VERSION": 4,
        "LINUX_HAS_SYSCALL_WRAPPER": 1,
        "CONFIG_HZ": 8,
        "CONFIG_NO_SUCH_TRISTATE": 4,
        "CONFIG_BPF": 1,
        "CONFIG_NO_SUCH_TEXT": 20,
    }
    assert spec.weak_kconfig == {"CONFIG_NO_SUCH_TRISTATE", "CONFIG_NO_SUCH_TEXT"}
    ends = 0
    for item in sorted(spec.kconfig, key=lambda item: item.offset):
        assert item.offset >= ends
        assert item.offset % min(item.size & -item.size, 8) == 0 or item.size == 20
        ends = item.offset + item.size
    map = next(item for item in spec.maps if item.name == ".kconfig")
    assert (map.value_size, map.frozen) == (ends, True)


def test_references_to_the_kernel(toolchain):
    found = programs(read("externs", toolchain))
    types = found["symbols"].types
    assert types is not None
    symbols = {r.name: r for r in found["symbols"].relocs if isinstance(r, KsymRef)}
    assert {name: (r.weak, bool(r.type)) for name, r in symbols.items()} == {
        "bpf_prog_put": (False, False),
        "fsession_no_such_symbol": (True, False),
        "fsession_no_such_variable": (True, True),
    }
    calls = {r.name: r for r in found["functions"].relocs if isinstance(r, KfuncCall)}
    assert {name: r.weak for name, r in calls.items()} == {
        "bpf_task_acquire": False,
        "bpf_task_release___flavored": True,
        "fsession_no_such_function": True,
    }
    assert [p.name for p in types.prototype(calls["fsession_no_such_function"].type).params] == [
        "fsession_no_such_function"
    ] * 2  # nameless in the source: the kernel wants names
    tested = {r.name for r in found["functions"].relocs if isinstance(r, KsymRef)}
    assert tested == {"bpf_task_release___flavored", "fsession_no_such_function"}


def test_types_hold_nothing_extern(toolchain):
    types = read("externs", toolchain).types
    assert types is not None
    assert all(type.linkage != 2 for type in types if isinstance(type, Func | Var))
    assert types.find(".ksyms", DataSec) is None


KINDS = {
    "fields": {
        CoreReloKind.FIELD_BYTE_OFFSET,
        CoreReloKind.FIELD_BYTE_SIZE,
        CoreReloKind.FIELD_EXISTS,
        CoreReloKind.FIELD_SIGNED,
        CoreReloKind.FIELD_LSHIFT_U64,
        CoreReloKind.FIELD_RSHIFT_U64,
    },
    "types": {
        CoreReloKind.TYPE_EXISTS,
        CoreReloKind.TYPE_SIZE,
        CoreReloKind.TYPE_ID_LOCAL,
        CoreReloKind.TYPE_ID_TARGET,
        CoreReloKind.ENUMVAL_EXISTS,
        CoreReloKind.ENUMVAL_VALUE,
    },
}


@pytest.mark.parametrize("name", KINDS)
def test_core_relocations(toolchain, name):
    program = programs(read("core", toolchain))[name]
    relocs = [reloc for reloc in program.relocs if isinstance(reloc, CoreRelo)]
    assert {reloc.kind for reloc in relocs} - {CoreReloKind.TYPE_MATCHES} == KINDS[name]
    assert {reloc.at for reloc in relocs} <= set(offsets(program.insns))
    if toolchain.startswith("zig") and name == "types":
        assert CoreReloKind.TYPE_MATCHES in {reloc.kind for reloc in relocs}


def test_every_relocation_is_at_an_instruction(toolchain):
    for name in ("maps", "globals", "externs"):
        for program in read(name, toolchain).programs:
            insns = dict(zip(offsets(program.insns), program.insns, strict=False))
            for reloc in program.relocs:
                insn = insns[reloc.at]
                if isinstance(reloc, MapRef | MapValueRef | KsymRef):
                    assert insn.is_lddw
                elif isinstance(reloc, KfuncCall):
                    assert insn.is_kfunc_call


def test_reading_twice_gives_equal_specs(toolchain):
    assert read("externs", toolchain) == read("externs", toolchain)


HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
REFUSED = [
    # name, source, words of the error
    ("undefined function", 'int far(int); SEC("raw_tp") int p(void *c) { return far(1); }',
     "'far' is not defined, nor a __ksym or __kconfig"),
    ("undefined variable", 'extern int far; SEC("raw_tp") int p(void *c) { return far; }',
     "'far' is not defined, nor a __ksym or __kconfig"),
    ("static program", 'static SEC("raw_tp") int p(void *c) { return 0; }',
     "'p' in section 'raw_tp'"),
    ("data elsewhere", 'int x SEC("mine") = 1; SEC("raw_tp") int p(void *c) { return x++; }',
     "section 'mine', which is none of .data, .bss, .rodata"),
    ("kconfig", 'extern char CONFIG_X[5000] __kconfig; SEC("raw_tp") int p(void *c) '
     "{ return CONFIG_X[1]; }", "kconfig extern 'CONFIG_X' has a type of 5000 bytes"),
    ("version", 'short v SEC("version") = 1;', "'version' is no __u32"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused_with_the_name_and_the_place(tmp_path, source, words):
    path = tmp_path / "test.bpf.c"
    path.write_text(HEAD + source)
    data = compile_c(path, include_dirs=[TYPES], headers=OURS)
    with pytest.raises(BadInputError, match=re.escape(words)):
        read_object(data, "test")


CORRUPT = [
    # name, slots from the first reference to a variable, the slot put there, words of the error
    ("jump out", -1, encode([ja(1000)]), "a jump out of the function"),
    ("jump back", -1, encode([ja(-2000)]), "a jump out of the function"),
    ("call in the middle", -1, encode([call_local(1)]), "where no function starts"),
    ("kfunc", -1, encode([call_kfunc(17)]), "a call of something that is not known"),
    ("map by number", 0, encode([load_map_fd(1, 3)])[:8], "a relocation of type 1 where none"),
    ("no load", 0, encode([exit_()]), "a relocation of type 1 where none belongs"),
    ("register", -1, b"\xb7\x0b" + bytes(6), "register r11 does not exist"),
    ("half a load", 1, b"\x01" + bytes(7), "has more than an immediate"),
]


def _with_slot(distance: int, slot: bytes) -> bytes:
    """The object of globals.bpf.c with one slot changed."""
    data = bytearray(compiled("globals"))
    section = read_elf(bytes(data)).section("raw_tp")
    assert section is not None
    at = section.offset
    while data[at] != LDDW:
        at += 8
    at += 8 * distance
    return bytes(data[:at] + slot + data[at + len(slot) :])


@pytest.mark.parametrize(
    ("distance", "slot", "words"), [row[1:] for row in CORRUPT], ids=[row[0] for row in CORRUPT]
)
def test_corrupt_instructions_never_reach_a_kernel(distance, slot, words):
    data = _with_slot(distance, slot)
    with pytest.raises(BadInputError, match=words):
        read_object(data, "test")


def test_a_place_beyond_its_section():
    data = _with_slot(0, encode([lddw(1, 4096)])[:8])
    with pytest.raises(BadInputError, match="is outside of it"):
        read_object(data, "test")


def test_an_object_without_types(tmp_path):
    """Compiled without -g: programs yes, no lines, no names of variables."""
    clang = shutil.which("clang") or pytest.skip("no clang")
    path = tmp_path / "test.bpf.c"
    path.write_text('int x = 3; __attribute__((section("raw_tp"))) int p(void *c) { return x++; }')
    out = path.with_suffix(".o")
    command = [clang, "-target", "bpf", "-O2", "-c", str(path), "-o", str(out)]
    subprocess.run(command, check=True)
    spec = read_object(out.read_bytes(), "test")
    (program,) = spec.programs
    assert (program.lines, program.funcs, program.types, spec.variables) == ((), (), None, ())
    assert {reloc.map for reloc in program.relocs if isinstance(reloc, MapValueRef)} == {".data"}
    assert program.license == ""


def test_bpftool_names_the_same_things(tmp_path):
    """The skeleton that libbpf's reader makes of the object: programs, maps and variables."""
    bpftool = shutil.which("bpftool") or pytest.skip("no bpftool")
    path = tmp_path / "globals.o"
    path.write_bytes(compiled("globals"))
    command = [bpftool, "gen", "skeleton", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spec = read("globals", "clang-ours")
    body = text[text.index("struct globals {") : text.index("#ifdef __cplusplus")]
    maps = set(re.findall(r"struct bpf_map \*(\w+);", body))
    assert maps == {item.name.lstrip(".").replace(".", "_") for item in spec.maps}
    assert set(re.findall(r"struct bpf_program \*(\w+);", body)) == {"use"}
    sections = re.findall(r"struct globals__\w+ \{(.*?)\n\t\} \*", body, re.DOTALL)
    members = {name for part in sections for name in re.findall(r"(\w+)(?:\[\d+\])?;", part)}
    statics = {"hidden_count", "origin", "table"}  # bpftool leaves them out
    ours = {item.name for item in spec.variables if "." not in item.name}
    assert {name for name in members if not name.startswith("__pad")} == ours - statics
