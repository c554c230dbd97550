"""What is kept until the next boot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsession.host import Symbol
from fsession.kernel import remembered, symbols
from fsession.kernel.remembered import Remembered, runtime_folder
from fsession.kernel.symbols import FunctionSymbols, TraceableNames

KALLSYMS = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t twice
ffffffff81000200 T __pfx_icmp_rcv
ffffffff81000210 T icmp_rcv
ffffffff81000300 t icmp_rcv.cold
ffffffff81000400 t twice
ffffffff81000800 T _etext
ffffffff82000000 t table
ffffffff82000010 d number
ffffffffc0000000 t nf_ct_get\t[nf_conntrack]
ffffffffc1000000 t bpf_prog_1234\t[bpf]
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Files like the kernel's, which a test may change."""
    for name, text in {
        "boot_id": "1-2-3\n",
        "kallsyms": KALLSYMS,
        "modules": "nf_conntrack 1 0 - Live 0xffffffffc0000000\n",
        "trace_pipe": "",
        "available_filter_functions": "icmp_rcv\ntwice\ntwice\nnf_ct_get [nf_conntrack]\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(remembered, "_BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr(symbols, "_KALLSYMS", tmp_path / "kallsyms")
    monkeypatch.setattr(symbols, "_MODULES", tmp_path / "modules")
    monkeypatch.setattr(symbols, "_TRACEFS", (tmp_path,))
    return tmp_path


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run" / "fsession"


@pytest.fixture(autouse=True)
def _run(tmp_path):
    (tmp_path / "run").mkdir()


def test_what_was_put_is_there_until_the_next_boot(kernel, folder):
    assert Remembered(folder).get("a") is None
    Remembered(folder).put("a", b"one")
    Remembered(folder).put("a", b"two")
    assert Remembered(folder).get("a") == b"two"
    assert [entry.name for entry in folder.iterdir()] == ["a"]
    assert (folder / "a").stat().st_mode & 0o77 == 0
    (kernel / "boot_id").write_text("4-5-6\n")
    assert Remembered(folder).get("a") is None


def test_a_file_that_was_cut_off_is_not_read(kernel, folder):
    Remembered(folder).put("a", b"one")
    whole = (folder / "a").read_bytes()
    for size in range(len(whole)):
        (folder / "a").write_bytes(whole[:size])
        assert Remembered(folder).get("a") is None
    (folder / "a").write_bytes(whole)
    assert Remembered(folder).get("a") == b"one"


def test_a_file_that_others_could_have_written_is_not_read(kernel, folder):
    Remembered(folder).put("a", b"one")
    (folder / "a").chmod(0o620)
    assert Remembered(folder).get("a") is None
    if os.geteuid() == 0:
        (folder / "a").chmod(0o600)
        os.chown(folder / "a", 1000, 1000)
        assert Remembered(folder).get("a") is None


@pytest.mark.parametrize("place", [None, Path("/proc/no/such/place"), Path("/dev/null")])
def test_without_a_place_nothing_is_kept_and_nothing_fails(kernel, place):
    Remembered(place).put("a", b"one")
    assert Remembered(place).get("a") is None


def test_without_a_boot_id_nothing_is_kept(kernel, folder):
    (kernel / "boot_id").unlink()
    Remembered(folder).put("a", b"one")
    assert Remembered(folder).get("a") is None


def test_the_folder_of_a_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert runtime_folder() == Path("/run/user/1000/fsession")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_folder() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime_folder() == Path("/run/fsession")


def test_symbols_are_the_same_read_and_remembered(kernel, folder):
    first = FunctionSymbols(Remembered(folder))
    first.find("icmp_rcv", "")
    first.keep()
    (kernel / "kallsyms").write_text("")
    for found in (first, FunctionSymbols(Remembered(folder))):
        assert found.find("icmp_rcv", "") == [Symbol("icmp_rcv", True)]
        assert found.find("twice", "") == [Symbol("twice", True)] * 2
        assert found.find("t*", "") == [*[Symbol("twice", True)] * 2, Symbol("table", False)]
        assert not found.find("nf_ct_get", "")
        assert not found.find("icmp_rc", "")


def test_symbols_of_modules_are_read_again_when_modules_change(kernel, folder):
    found = FunctionSymbols(Remembered(folder))
    assert found.find("nf_*", "nf_conntrack") == [Symbol("nf_ct_get")]
    assert not found.find("nf_ct_get", "other")
    (kernel / "kallsyms").write_text(KALLSYMS.replace("nf_ct_get", "nf_ct_put"))
    assert found.find("nf_ct_get", "nf_conntrack") == [Symbol("nf_ct_get")]
    (kernel / "modules").write_text("nf_conntrack 1 0 - Live 0xffffffffd0000000\n")
    assert found.find("nf_ct_put", "nf_conntrack") == [Symbol("nf_ct_put")]
    assert not found.find("bpf_prog_1234", "")


def test_hidden_addresses_are_not_remembered(kernel, folder):
    hidden = "".join(f"{'0' * 16}{line[16:]}\n" for line in KALLSYMS.splitlines())
    (kernel / "kallsyms").write_text(hidden)
    found = FunctionSymbols(Remembered(folder))
    assert found.find("table", "") == [Symbol("table", True)]
    found.keep()
    assert not folder.exists()


def test_traceable_names(kernel, folder):
    for _ in range(2):
        found = TraceableNames(Remembered(folder))
        assert found.find("*", "") == ["icmp_rcv", "twice", "twice"]
        assert found.find("tw*", "") == ["twice", "twice"]
        assert found.find("icmp_rcv", "") == ["icmp_rcv"]
        assert found.find("*", "nf_conntrack") == ["nf_ct_get"]
        assert not found.find("*", "nf_")
        assert not found.find("nf_ct_get", "")
        (kernel / "available_filter_functions").write_text("nf_ct_get [nf_conntrack]\n")
