"""Objects that are written here: read again by us, by libbpf (bpftool) and by llvm-objdump."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fsession.errors import CompileError
from fsession.kernel import KernelHost
from fsession.obj import read_object
from fsession.obj.write import write_object
from fsession.session.python import PythonObject
from fsession.spec import KfuncCall, MapRef, MapValueRef

UNKNOWN_TO_LLVM_14 = {"62", "6a", "72", "7a", "97"}  # stores of constants, modulo by one
EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.py"))
TWICE = """
import fsession

hits = fsession.Array("u64", 4)

@fsession.function
def double(x):
    return x * 2 if x > 3 else helper(x) + hits.get(0, 5)

@fsession.function
def helper(x):
    return x % 7

@fsession.program("icmp_rcv", "fexit/icmp_rcv")
def icmp(ctx, skb):
    n = skb.len
    while n > 1:
        n -= double(n)
    hits[double(skb.len) & 3] += n
"""

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


def written(path: Path, host):
    try:
        spec = PythonObject.open(path).compile(host).spec
    except CompileError as error:
        pytest.skip(f"not for this kernel: {error}")
    return spec, write_object(spec, host.types())


@pytest.fixture(params=[*EXAMPLES, TWICE], ids=lambda item: getattr(item, "stem", "subprograms"))
def source(request, tmp_path):
    if isinstance(request.param, Path):
        return request.param
    path = tmp_path / "twice.py"
    path.write_text(request.param)
    return path


def test_read_again(source, host):
    spec, data = written(source, host)
    again = read_object(data, spec.name)
    assert {program.name for program in again.programs} == {p.name for p in spec.programs}
    for program in spec.programs:
        other = next(item for item in again.programs if item.name == program.name)
        assert (other.section, other.attach_type, other.target) == (
            program.section, program.attach_type, program.target,
        )  # fmt: skip
        assert len(other.insns) == len(program.insns)
        assert [info.at for info in other.funcs] == [info.at for info in program.funcs]
        assert [(x.at, x.line, x.text) for x in other.lines] == [
            (x.at, x.line, x.text) for x in program.lines
        ]
        assert set(map(plain, other.relocs)) == set(map(plain, program.relocs))
    maps = {item.name: item for item in again.maps}
    for item in spec.maps:
        other = maps[item.name]
        assert (other.type, other.key_size, other.value_size, other.max_entries, other.flags) == (
            item.type, item.key_size, item.value_size, item.max_entries, item.flags,
        )  # fmt: skip
    variables = {(item.name, item.offset, item.size) for item in again.variables}
    assert variables == {(item.name, item.offset, item.size) for item in spec.variables}


def plain(reloc):
    """Without the type ids, which differ."""
    assert isinstance(reloc, MapRef | MapValueRef | KfuncCall)
    return replace(reloc, type=0) if isinstance(reloc, KfuncCall) else reloc


@pytest.mark.skipif(not shutil.which("bpftool"), reason="no bpftool")
def test_libbpf_opens_it(source, host, tmp_path):
    spec, data = written(source, host)
    path = tmp_path / "prog.bpf.o"
    path.write_bytes(data)
    made = subprocess.run(
        ["bpftool", "gen", "skeleton", str(path), "name", "prog"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    for program in spec.programs:
        assert f"struct bpf_program *{program.name};" in made.stdout
    for item in spec.maps:
        if item.data is None:
            assert f"struct bpf_map *{item.name};" in made.stdout


@pytest.mark.skipif(not shutil.which("llvm-objdump"), reason="no llvm-objdump")
def test_llvm_disassembles_it(host, tmp_path, source):
    spec, data = written(source, host)
    path = tmp_path / "prog.bpf.o"
    path.write_bytes(data)
    text = subprocess.run(
        ["llvm-objdump", "--mattr=+alu32", "-d", "-r", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"<{program.name}>:" in text for program in spec.programs)
    unknown = re.findall(r"^ +\d+:\t([0-9a-f]{2}) .*<unknown>$", text, re.MULTILINE)
    assert set(unknown) <= UNKNOWN_TO_LLVM_14
