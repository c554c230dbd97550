"""What the host tells of its kernel, and what it says where a privilege is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from fsession.btf.types import Func, Struct
from fsession.errors import KernelError, NotFoundError
from fsession.host import Feature
from fsession.kernel import KernelHost, symbols

VERSIONS = [
    ("mainline", "7.2.13-cloud-amd64", "#1 SMP Debian 7.2.13-1 (2026-10-28)", (7, 2, 13)),
    ("Debian's stable release", "6.1.0-49-amd64", "#1 SMP Debian 6.1.192-2 (2026)", (6, 1, 192)),
    ("own build", "6.18.44-fc", "#1 SMP PREEMPT_DYNAMIC", (6, 18, 44)),
    ("release candidate", "7.3.0-rc2+", "#7 SMP", (7, 3, 0)),
    ("no patch level", "7.3", "#7 SMP", (7, 3, 0)),
    ("a patch level over 255", "4.14.336", "#1 SMP", (4, 14, 255)),
]


@pytest.mark.parametrize(
    ("release", "version", "expected"), [row[1:] for row in VERSIONS], ids=[r[0] for r in VERSIONS]
)
def test_version_code(monkeypatch, release: str, version: str, expected: tuple[int, int, int]):
    named = os.uname_result(("Linux", "host", release, version, "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: named)
    major, minor, patch = expected
    assert symbols.version_code() == major << 16 | minor << 8 | patch


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.mark.kernel
def test_types_of_the_kernel(host: KernelHost):
    types = host.types()
    assert types.find("task_struct", Struct)
    assert types.prototype(types.id_of("bpf_fentry_test1", Func)).params[0].name == "a"
    assert host.types() is types
    for module in host.modules()[:3]:
        assert host.types(module).base is types
    with pytest.raises(NotFoundError, match="no_such_module"):
        host.types("no_such_module")


@pytest.mark.kernel
def test_symbols(host: KernelHost):
    lines = Path("/proc/kallsyms").read_text()
    found = re.search(r"^([0-9a-f]+) T bpf_prog_alloc$", lines, re.MULTILINE)
    assert found
    assert host.symbol("bpf_prog_alloc") == int(found[1], 16)
    assert host.symbol("bpf_prog_allo") is None
    assert host.symbol("no_such_symbol") is None
    assert host.symbol("bpf_prog_alloc", "no_such_module") is None


@pytest.mark.kernel
def test_the_kernel_is_described(host: KernelHost):
    assert os.uname().release in host.description
    assert host.cpu_count >= (os.cpu_count() or 1)
    config = host.kconfig()
    assert not config or config["CONFIG_BPF_SYSCALL"] == "y"


@pytest.mark.kernel
@pytest.mark.parametrize("feature", Feature, ids=lambda feature: feature.name)
def test_a_feature_is_there_or_has_a_reason_and_nothing_stays(feature: Feature):
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    with KernelHost() as host:
        try:
            assert host.supports(feature) != bool(host.why_not(feature))
            assert "\n" not in host.why_not(feature)
        except KernelError as error:
            assert error.errno == 1  # noqa: PT017 (EPERM: not asked, so not answered)
    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before


LOAD = """
from fsession.errors import FsessionError
from fsession.host import LoadRequest
from fsession.isa.insn import alu, exit_
from fsession.isa.opcode import Alu
from fsession.kernel import KernelHost
from fsession.spec import MapSpec
from fsession.uapi import MapType, ProgType
insns = alu(Alu.MOV, 0, imm=0), exit_()
try:
    with KernelHost() as host, host.create_map(MapSpec("m", MapType.HASH, 4, 8, 10)) as made:
        made.update(b"1234", bytes(8))
        with host.load(LoadRequest("p", ProgType.RAW_TRACEPOINT, insns)) as program:
            program.test_run()
    print("fine")
except FsessionError as error:
    print(error, *error.__notes__)
"""
NOBODY = ["setpriv", "--reuid", "65534", "--clear-groups"]
BOTH = ["--inh-caps", "+bpf,+perfmon", "--ambient-caps", "+bpf,+perfmon"]
ONE = ["--inh-caps", "+bpf", "--ambient-caps", "+bpf"]
PRIVILEGES = [
    ("none", NOBODY, ["EPERM", "CAP_BPF and CAP_PERFMON"]),
    ("only CAP_BPF", NOBODY + ONE, ["EPERM", "lacks CAP_PERFMON"]),
    ("both", NOBODY + BOTH, ["fine"]),
]


def need_setpriv() -> None:
    """busybox has one of this name that can't change the user."""
    path = which("setpriv")
    shown = subprocess.run([path, "--version"], capture_output=True, check=False) if path else None
    if not shown or b"util-linux" not in shown.stdout:
        pytest.skip("no setpriv of util-linux on this machine")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("command", "words"), [row[1:] for row in PRIVILEGES], ids=[row[0] for row in PRIVILEGES]
)
def test_two_capabilities_are_enough_and_missing_ones_are_named(command, words: list[str]):
    need_setpriv()
    run = subprocess.run(
        [*command, sys.executable, "-c", LOAD], capture_output=True, text=True, check=False
    )
    for word in words:
        assert word in run.stdout, run.stdout + run.stderr


@pytest.mark.kernel
def test_shut_tracefs_is_an_error_with_a_next_step():
    need_setpriv()
    script = (
        "from fsession.errors import UnsupportedError\n"
        "from fsession.kernel import KernelHost\n"
        "for ask in KernelHost().traceable, KernelHost().printk_lines:\n"
        "    try: ask()\n"
        "    except UnsupportedError as error: print(error, *error.__notes__)\n"
    )
    run = subprocess.run(
        [*NOBODY, sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    assert all("run as root" in line for line in lines)
