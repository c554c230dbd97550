"""``fsession compile`` and ``show``: they read this kernel's types and load nothing."""

from __future__ import annotations

import pytest

from fsession.cli.main import run
from fsession.obj import read_object

pytestmark = pytest.mark.kernel

PROGRAM = """
import fsession

@fsession.program("icmp_rcv")
def icmp(ctx, skb):
    if skb.len > 64:
        fsession.emit(length=skb.len)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    return path


def test_instructions_with_their_lines(program, capfd):
    assert run(["compile", str(program)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("icmp: fsession/icmp_rcv, ")
    assert f"; if skb.len > 64: @ {program}:6" in lines
    assert lines[-1].endswith("(95) exit")


def test_ir(program, capfd):
    assert run(["compile", str(program), "--ir"]) == 0
    assert capfd.readouterr().out.startswith("func icmp(v0)\nb0:\n")


def test_c_like(program, capfd):
    assert run(["compile", str(program), "--c-like"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("u64 icmp(u64 v0)\n{\n")
    assert "    // 6: if skb.len > 64:\n" in out
    assert "bpf_ringbuf_submit(" in out


def test_object(program, tmp_path, capfd):
    path = tmp_path / "prog.bpf.o"
    assert run(["compile", str(program), "-o", str(path)]) == 0
    assert capfd.readouterr().out == ""
    (read,) = read_object(path.read_bytes(), "prog").programs
    assert (read.name, read.section) == ("icmp", "fsession/icmp_rcv")


def test_error_with_its_place(program, capfd):
    program.write_text(PROGRAM.replace("skb.len > 64", "skb.lenn > 64"))
    assert run(["compile", str(program)]) == 2
    first, line, caret, hint = capfd.readouterr().err.splitlines()
    assert first == f"fsession: {program}:6:8: struct sk_buff has no member 'lenn'"
    assert line == "      if skb.lenn > 64:"
    assert caret == "         ^^^^^^^^"
    assert hint.startswith("  did you mean len")


@pytest.mark.parametrize("words", [["struct", "list_head"], ["struct list_head"], ["list_head"]])
def test_show_a_struct(words, capfd):
    assert run(["show", *words]) == 0
    assert capfd.readouterr().out.startswith("struct list_head {\n")
