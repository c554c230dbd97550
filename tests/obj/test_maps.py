"""Map definitions, and that `bpftool` sees the same of them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest
from tests.obj.build import OURS, TYPES, compiled

from fsession.errors import BadInputError, CompileError
from fsession.obj import compile_c, read_object
from fsession.uapi import MapFlag, MapType

if TYPE_CHECKING:
    from fsession.spec import MapSpec

FIELDS = ("type", "key_size", "value_size", "max_entries", "flags")
EXPECTED = {
    "typed": (MapType.HASH, 16, 8, 16, MapFlag.NO_PREALLOC),
    "sized": (MapType.PERCPU_ARRAY, 4, 16, 3, 0),
    "of_this_file": (MapType.LRU_HASH, 4, 12, 100, 0),
    "filter": (MapType.BLOOM_FILTER, 0, 8, 8, 0),
    "pinned": (MapType.ARRAY, 4, 4, 1, 0),
    "ring": (MapType.RINGBUF, 0, 0, 4096, 0),
    "per_task": (MapType.TASK_STORAGE, 4, 16, 0, MapFlag.NO_PREALLOC),
    "first": (MapType.ARRAY, 4, 4, 2, 0),
    "second": (MapType.ARRAY, 4, 4, 2, 0),
    "outer": (MapType.ARRAY_OF_MAPS, 4, 4, 4, 0),
    "named": (MapType.HASH_OF_MAPS, 8, 4, 4, 0),
    "jumps": (MapType.PROG_ARRAY, 4, 4, 3, 0),
}


def maps(data: bytes) -> dict[str, MapSpec]:
    return {spec.name: spec for spec in read_object(data, "maps").maps}


def fields(spec: MapSpec) -> tuple[int, ...]:
    return tuple(getattr(spec, name) for name in FIELDS)


def test_definitions(toolchain):
    found = maps(compiled("maps", toolchain))
    assert {name: fields(spec) for name, spec in found.items()} == EXPECTED


def test_inner_maps_and_initial_values(toolchain):
    found = maps(compiled("maps", toolchain))
    assert found["outer"].entries == ((_key(0), "first"), (_key(2), "second"))
    assert found["jumps"].entries == ((_key(1), "jump_a"), (_key(2), "jump_b"))
    assert found["outer"].inner
    assert found["named"].inner
    assert fields(found["outer"].inner) == fields(found["first"])
    assert fields(found["named"].inner) == (MapType.HASH, 8, 8, 5, 0)
    assert found["jumps"].inner is None


def _key(index: int) -> bytes:
    return index.to_bytes(4, "little")


def test_other_attributes(toolchain):
    found = maps(compiled("maps", toolchain))
    assert found["filter"].extra == 5
    assert [name for name, spec in found.items() if spec.pinned_by_name] == ["pinned"]


def test_types_are_kept_where_the_kernel_takes_them(toolchain):
    spec = read_object(compiled("maps", toolchain), "maps")
    types, found = spec.types, {item.name: item for item in spec.maps}
    assert types is not None
    assert types.name_of(types.strip(found["typed"].key_type)) == "pair"
    assert types.size_of(found["of_this_file"].value_type) == 12
    assert not found["named"].value_type
    assert not found["jumps"].value_type


HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
REFUSED = [
    # name, the members of a definition, words of the error
    ("no type", "__uint(max_entries, 1);", "it has no type"),
    ("type", "__uint(type, 9999);", "map type 9999 is not known"),
    ("attribute", "__uint(type, 1); __uint(colour, 3);", "the attribute 'colour' is not known"),
    ("plain", "int type;", "'type' is not written with __uint"),
    ("number", "int *type;", "'type' is no number"),
    ("sizes", "__uint(type, 1); __uint(key_size, 2); __type(key, int);", "not the size 4 of its"),
    ("void", "__uint(type, 1); __type(key, void);", "the type of its key has no size"),
    ("values", "__uint(type, 1); __array(values, int);", "'values' is for maps of maps"),
    ("prog", "__uint(type, 3); __array(values, int);", "are not functions"),
    ("inner", "__uint(type, 12); __array(values, struct { __uint(type, 12); __array(values, int);"
     " });", "not of the form __array"),
]  # fmt: skip


def build(tmp_path: Path, text: str) -> bytes:
    source = tmp_path / "test.bpf.c"
    source.write_text(HEAD + text)
    try:
        return compile_c(source, include_dirs=[TYPES], headers=OURS)
    except CompileError as error:
        pytest.fail(f"{error} {error.__notes__}")


@pytest.mark.parametrize(
    ("members", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_bad_definitions(tmp_path, members, words):
    data = build(tmp_path, f'struct {{ {members} }} wrong SEC(".maps");')
    with pytest.raises(BadInputError, match=re.escape(words)) as caught:
        read_object(data, "test")
    assert "'wrong" in str(caught.value)


def test_too_many_initial_values(tmp_path):
    text = """
    struct in { __uint(type, 2); __uint(max_entries, 1); __type(key, int); __type(value, int); };
    struct in a SEC(".maps");
    struct { __uint(type, 12); __uint(max_entries, 1); __type(key, int); __array(values, struct in);
    } wrong SEC(".maps") = { .values = { [1] = &a } };"""
    with pytest.raises(BadInputError, match="more initial values than max_entries, 1"):
        read_object(build(tmp_path, text), "test")


def test_the_legacy_section_is_refused_by_name(tmp_path):
    text = 'struct { int type, key, value, entries; } old SEC("maps") = { 1, 4, 4, 8 };'
    with pytest.raises(BadInputError, match="section 'maps'") as caught:
        read_object(build(tmp_path, text), "test")
    assert "__uint" in caught.value.__notes__[0]


def test_maps_without_btf(tmp_path):
    source = tmp_path / "test.bpf.c"
    source.write_text(HEAD + 'struct { __uint(type, 1); } m SEC(".maps");')
    clang = which("clang") or pytest.skip("no clang")
    include = ["-I", str(TYPES), "-I", str(OURS)]
    out = tmp_path / "test.o"
    command = [clang, "-target", "bpf", "-O2", "-c", *include, str(source), "-o", str(out)]
    subprocess.run(command, check=True)
    with pytest.raises(BadInputError, match="maps without BTF"):
        read_object(out.read_bytes(), "test")


@pytest.fixture
def bpffs(tmp_path):
    """A BPF file system of the test's own."""
    folder = tmp_path / "pins"
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.kernel
def test_libbpf_creates_the_same_maps(tmp_path, bpffs):
    """By bpftool, whose libbpf takes neither static maps nor __ulong."""
    if not which("bpftool"):
        pytest.skip("no bpftool")
    source = (Path(__file__).parent / "maps.bpf.c").read_text()
    for ours, theirs in (("static struct", "struct"), ("__uint(pinning, 1);", "")):
        source = source.replace(ours, theirs)
    data = build(tmp_path, source.replace("__ulong(map_extra", "__uint(map_extra"))
    (tmp_path / "maps.o").write_bytes(data)
    places = [str(tmp_path / "maps.o"), str(bpffs / "programs"), "pinmaps", str(bpffs)]
    subprocess.run(["bpftool", "prog", "loadall", *places], check=True)
    found = maps(data)
    assert found.keys() == EXPECTED.keys()
    for name, spec in found.items():
        assert _shown(bpffs / name) == (spec.type.name.lower(), *fields(spec)[1:]), name


def _shown(path: Path) -> tuple[str, int, int, int, int]:
    show = ["bpftool", "-j", "map", "show", "pinned", str(path)]
    info = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)
    return (
        info["type"],
        info["bytes_key"],
        info["bytes_value"],
        info["max_entries"],
        int(info.get("flags", 0)),
    )
