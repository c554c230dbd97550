"""``fsession verify``: texts, JSON and exit statuses, with the types of a small kernel."""

from __future__ import annotations

import json

import pytest

from fsession.cli.main import run

GOOD = """
import fsession

@fsession.program("icmp_rcv")
def good(ctx, skb):
    return
"""


@pytest.fixture
def files(tmp_path, kernel):
    (tmp_path / "btf").write_bytes(kernel.types.data)
    (tmp_path / "good.py").write_text(GOOD)
    return tmp_path


def test_accepted(files, capsys):
    assert run(["verify", str(files / "good.py"), "--btf", str(files / "btf")]) == 0
    assert capsys.readouterr().out.startswith("good: accepted, ")


def test_json(files, capsys):
    words = ["verify", str(files / "good.py"), "--btf", str(files / "btf"), "--format", "json"]
    assert run(words) == 0
    row = json.loads(capsys.readouterr().out)
    assert list(row) == ["program", "accepted", "message", "insns", "log"]
    assert (row["program"], row["accepted"], row["message"]) == ("good", True, "")


def test_log(files, capsys):
    words = ["verify", str(files / "good.py"), "--btf", str(files / "btf"), "--log", "1"]
    assert run(words) == 0
    assert "R1=ctx() R10=fp0" in capsys.readouterr().out


def test_a_series_without_a_table(files, capsys):
    words = ["verify", str(files / "good.py"), "--btf", str(files / "btf"), "--kernel", "5.4"]
    assert run(words) == 2
    assert "no table for Linux 5.4" in capsys.readouterr().err


def test_no_types(files, capsys):
    assert run(["verify", str(files / "good.py"), "--btf", "/nowhere"]) == 2
    assert "--btf" in capsys.readouterr().err
