"""Objects in this kernel: loaded and run, what they saw compared with what is so.

Raw tracepoint programs are used, as these run in `test_run` without being attached.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.obj.build import compiled

from fsession.btf.types import Struct, TypeId
from fsession.errors import NotFoundError, VerifierError
from fsession.kernel import KernelHost
from fsession.session import Object

pytestmark = pytest.mark.kernel

CONTEXT = bytes(64)


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.fixture
def load(host, toolchain):
    """Load some programs of an object; closed at the end."""
    opened = []

    def open_and_load(program: str, *names: str) -> Object:
        obj = Object.open(compiled(program, toolchain), program)
        opened.append(obj)
        for name, item in obj.programs.items():
            item.autoload = not names or name in names
        return obj.load(host)

    yield open_and_load
    for obj in opened:
        obj.close()


def run(obj: Object, *names: str) -> None:
    for name in names:
        assert obj.programs[name].test_run(ctx=CONTEXT).retval == 0


def test_variables(load):
    obj = load("globals")
    obj.globals["hidden_count"] = 10
    run(obj, "use")
    seen = obj.globals
    assert seen["hidden_count"] == 10 + seen["level"] == 5
    assert seen["counter"] - 1000 - 7 in (1, 2, 3, 4)
    assert seen["points"][2] == {"x": 0, "y": -4}
    assert (seen["use.calls"], seen["apart"]) == (3, 41 + 9)


def test_kconfig(load, host):
    obj = load("externs", "kconfig")
    run(obj, "kconfig")
    seen = obj.globals["seen"]
    assert seen[0] == host.version_code()
    release = [int(part) for part in os.uname().release.split("-")[0].split(".")[:2]]
    assert [seen[0] >> 16, seen[0] >> 8 & 0xFF] == release
    assert seen[2] == int(host.kconfig()["CONFIG_HZ"])
    assert (seen[3], seen[4], seen[5]) == (0, ord("y"), 0)


def test_symbols(load):
    obj = load("externs", "symbols")
    run(obj, "symbols")
    addresses = [
        int(line.split()[0], 16)
        for line in Path("/proc/kallsyms").read_text().splitlines()
        if line.split()[2] == "bpf_prog_put"
    ]
    seen = obj.globals["seen"]
    assert seen[7] in addresses
    assert seen[8:10] == [0, 0]


def test_fields(load, host):
    obj = load("core", "fields")
    run(obj, "fields")
    types, out = host.types(), obj.globals["out"]
    task = types.get("task_struct", Struct)
    assert isinstance(task, Struct)
    bits = {member.name: member.bit_offset for member in task.members}
    comm = next(member for member in task.members if member.name == "comm")
    assert out[0] == bits["pid"] // 8
    assert out[1] == types.size_of(comm.type)
    assert out[2:4] == [1, 0]
    assert out[4] == 0  # in_execve
    assert out[5] == os.getppid()
    assert obj.globals["name"] == Path("/proc/self/comm").read_bytes().strip()


def test_types(load, host):
    obj = load("core", "types")
    run(obj, "types")
    types, out = host.types(), obj.globals["out"]
    task = types.id_of("task_struct", Struct)
    own = obj.spec.types
    assert own is not None
    assert out[8:10] == [1, 0]
    assert out[10:12] == [types.size_of(task), task]
    assert own.name_of(TypeId(out[12])) == "task_struct"
    assert out[13:16] == [1, 0, 0]  # BPF_MAP_CREATE is 0 in the kernel, 1000 in the source


def test_macros(load):
    obj = load("macros")
    run(obj, "use")
    seen, comm = obj.globals, Path("/proc/self/comm").read_bytes().strip()
    assert seen["out"] == [0x3412, 0x78563412, 3 << 56, 1, 0, 1, 0, 0]
    assert seen["parent"] == os.getppid()
    assert (seen["name"], seen["text"]) == (comm, b"12-" + comm)


def test_maps_and_tail_calls(load):
    obj = load("maps", "use", "jump_a", "jump_b")
    assert obj.programs["use"].test_run(ctx=CONTEXT).retval == 1  # of jump_a
    assert len(obj.raw_maps) == 12


def test_functions_of_the_program(load):
    obj = load("functions", "run_me", "twelve")
    program = obj.programs["run_me"]
    assert program.test_run(ctx=CONTEXT).retval == 5  # 2 + 3, neither over 3
    assert obj.globals["total"] == 5


def test_kfuncs_and_weak_ones(load, host):
    """A tracepoint program: the verifier has taken the calls and the tests before them."""
    obj = load("externs", "functions")
    assert obj.programs["functions"].info.verified_insns > 0


def test_the_log_shows_the_source(load):
    with pytest.raises(VerifierError) as caught:
        load("refused")
    assert any("return *value;" in line for line in caught.value.lines)
    assert "refused.bpf.c" in caught.value.log


def test_what_the_kernel_lacks_is_named(load):
    with pytest.raises(NotFoundError, match="fsession_no_such_strong_symbol"):
        load("lacking")
