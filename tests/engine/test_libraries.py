"""Functions of a shared library, compiled here with each kind of patchable entry."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys

import pytest

from fsession.errors import AttachError, NotFoundError
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.uapi import AttachType, ProgType

SOURCE = """
long add(long a, long b) { return a + b; }
double scaled(long a, double b) { return a * b; }
long twice(long a) { return add(a, a); }
#ifdef CALLS
__attribute__((no_instrument_function))
#else
__attribute__((patchable_function_entry(0)))
#endif
long plain(long a) { return a; }
"""
SESSION = AttachType.TRACE_FSESSION
_FENTRY = ("-pg", "-mfentry", "-DCALLS")
_BRANCH = "-fcf-protection=branch"
COMPILERS = [
    ("gcc", ()),
    ("gcc", (_BRANCH,)),
    ("gcc", _FENTRY),
    ("gcc", (*_FENTRY, _BRANCH)),
    ("clang", ()),
    ("clang", _FENTRY),
]


@pytest.fixture(params=COMPILERS, ids=lambda row: " ".join([row[0], *row[1]]))
def library(request, tmp_path):
    compiler, flags = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    source, out = tmp_path / "lib.c", tmp_path / "lib.so"
    source.write_text(SOURCE)
    on_arm64 = "aarch64" in sys.implementation._multiarch
    command = [compiler, "-O2", "-shared", "-fPIC"]
    if "-mfentry" not in flags:
        command.append(f"-fpatchable-function-entry={2 if on_arm64 else 5}")
    elif on_arm64:
        pytest.skip("compilers have -mfentry for x86")
    subprocess.run([*command, *flags, "-o", str(out), str(source)], check=True)
    return str(out)


@pytest.fixture
def alone(monkeypatch):
    """Other tests leave threads behind; none of them is in the library."""
    monkeypatch.setattr("fsession.engine.libraries._only_thread", lambda: True)


def load(machine, name):
    id = machine.function(name).id
    request = LoadRequest(
        "p", ProgType.TRACING, assemble("r0 = 0\n exit"), SESSION, attach_btf_id=id
    )
    return machine.load(request)


def test_calls_from_anywhere_are_seen(machine, library, alone):
    add = machine.library(library, "long add(long a, long b)")
    twice = ctypes.CDLL(library).twice
    with load(machine, "add") as program:
        for _ in range(2):
            with machine.link(program, SESSION):
                assert add(2, 3) == 5
            assert add(2, 3) == 5
        assert program.info.run_cnt == 4
    assert twice(4) == 8


def test_floating_point_passes(machine, library, alone):
    machine.library(library, "long scaled(long a, long b)")
    scaled = ctypes.CDLL(library).scaled
    scaled.restype, scaled.argtypes = ctypes.c_double, (ctypes.c_long, ctypes.c_double)
    with load(machine, "scaled") as program, machine.link(program, SESSION):
        assert scaled(3, 1.5) == 4.5
        assert program.info.run_cnt == 2


def test_what_can_not_be_patched(machine, library):
    with pytest.raises(AttachError, match="not patchable"):
        machine.library(library, "long plain(long a)")
    with pytest.raises(NotFoundError, match="nothing"):
        machine.library(library, "long nothing(void)")
