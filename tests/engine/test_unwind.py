"""Backtraces and exceptions pass through images."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fsession.engine.jit import native
from fsession.engine.prototypes import library_machine
from fsession.engine.unwind import Rules, define_cfa, offset, table
from fsession.tracer import trace

HERE = Path(__file__).parent
STRATEGIES = ["native", "multi", "split"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Other tests leave threads behind; none of them is in the library."""
    monkeypatch.setattr("fsession.engine.libraries._only_thread", lambda: True)


def compiled(compiler, name, folder):
    if native() is None:
        pytest.skip("no machine code for this architecture")
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    entry = "-fpatchable-function-entry=" + {"x86_64": "5", "aarch64": "2"}[platform.machine()]
    out = folder / "libunwind.so"
    options = ["-g", "-O2", "-shared", "-fPIC", "-fno-optimize-sibling-calls", entry]
    subprocess.run([compiler, *options, "-o", str(out), str(HERE / name)], check=True)
    return str(out)


def backtrace(library):
    found = (ctypes.c_long * 501)()
    library.outer(found)
    return list(found[1 : found[0] + 1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_backtraces(tmp_path, strategy):
    """As many frames as without, and one for each image; the same functions at the end."""
    path = compiled("gcc", "unwind.c", tmp_path)
    plain = backtrace(ctypes.CDLL(path))
    assert len(plain) > 5
    with library_machine([path]) as machine:
        with trace("inner", "middle", "outer", host=machine, strategy=strategy) as calls:
            traced = backtrace(ctypes.CDLL(path))
            assert [call.function for call in calls.read(0)] == ["inner", "middle", "outer"]
        assert len(traced) == len(plain) + 3
        assert traced[-3:] == plain[-3:]
        assert [at for at in traced if at in plain][:3] == plain[:3]
        after = backtrace(ctypes.CDLL(path))
    assert after[:3] == plain[:3]
    assert len(after) == len(plain)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exceptions(tmp_path, strategy):
    """What is caught above a traced function; the calls that were left have no end."""
    path = compiled("g++", "unwind.cpp", tmp_path)
    library = ctypes.CDLL(path)
    library.outer.restype = ctypes.c_long
    with library_machine([path]) as machine:
        with trace("inner", "middle", "outer", host=machine, strategy=strategy) as calls:
            with ThreadPoolExecutor(
                1
            ) as pool:  # which ends: a thread that left so counts as inside
                assert list(pool.map(library.outer, (-4, 4, -5))) == [-40, 6, -50]
            names = [call.function for call in calls.read(0)]
        assert names == ["outer", "inner", "middle", "outer", "outer"]
        assert [library.outer(number) for number in (-4, 4)] == [-40, 6]


def test_tables():
    rules = Rules(16, define_cfa(7, 8) + offset(16, 8), b"\x41")
    data = table(rules, 0x1000, 0x2000)
    cie = 4 + int.from_bytes(data[:4], "little")
    fde = 4 + int.from_bytes(data[cie : cie + 4], "little")
    assert data[4:16] == bytes.fromhex("00000000 01 00 01 78 10 0c0708")
    assert int.from_bytes(data[cie + 4 : cie + 8], "little") == cie + 4
    assert data[cie + 8 : cie + 25] == bytes.fromhex("0010000000000000 0020000000000000 41")
    assert data[cie + fde :] == bytes(4)
    assert cie % 8 == fde % 8 == 0
