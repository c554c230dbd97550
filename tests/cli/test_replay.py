"""``fsession replay``, which needs no kernel."""

from __future__ import annotations

import json

import pytest

from fsession.cli.formats import FORMATS
from fsession.cli.main import run
from recording.spans import GRAPH, RECORDS, graph_recording, recording, span


@pytest.fixture
def path(kernel, tmp_path):
    file = tmp_path / "trace.fsr"
    file.write_bytes(recording(kernel, span(*RECORDS)))
    return file


FILTERS = [
    ("all", [], 7),
    ("a function", ["icmp_rcv"], 1),
    ("patterns", ["icmp_rcv", "t*"], 2),
    ("errors", ["--errors"], 2),
    ("pid", ["--pid", "1432"], 7),
    ("another pid", ["--pid", "1"], 0),
    ("tid and comm", ["--tid", "1433", "--comm", "ping"], 7),
    ("cpu", ["--cpu", "0"], 0),
    ("short", ["--min-duration", "345ns"], 7),
    ("long", ["--min-duration", "346ns"], 0),
]


@pytest.mark.parametrize(
    ("words", "count"), [row[1:] for row in FILTERS], ids=[row[0] for row in FILTERS]
)
def test_filters(path, words, count, capfd):
    assert run(["replay", str(path), *words, "--format", "json"]) == 0
    seen = capfd.readouterr()
    kinds = [json.loads(line)["type"] for line in seen.out.splitlines()]
    assert kinds == ["call"] * count + ["summary"]
    assert (f"{count} of 7 recorded calls" in seen.err) == (count != 7)
    assert "not complete: 1 lost, 2 missed" in seen.err


def test_text(path, capfd):
    assert run(["replay", str(path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].endswith("icmp_rcv(skb=0xffff888000001000) = -ENOMEM (-12)")
    assert lines[-1].startswith("8 calls · 1 lost · 2 missed · 3 functions skipped: 3 noreturn")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(path, kind, tmp_path, capfd):
    out = tmp_path / "out"
    assert run(["replay", str(path), "--format", kind, "-o", str(out)]) == 0
    assert b"icmp_rcv" in out.read_bytes()
    assert "8 calls · 1 lost" in capfd.readouterr().err


@pytest.fixture
def trees(kernel, tmp_path):
    file = tmp_path / "graph.fsr"
    file.write_bytes(graph_recording(kernel, span(*GRAPH)))
    return file


def test_trees(trees, capfd):
    assert run(["replay", str(trees)]) == 0
    seen = capfd.readouterr()
    lines = [line.strip() for line in seen.out.splitlines()]
    assert "icmp_rcv by ping/1433 on cpu 3" in lines[0]
    assert lines[1].startswith("icmp_rcv(skb=0xffff888000001000) {")
    assert [line.split("s  ")[1].strip() for line in lines[2:4]] == [
        "tick()",
        "write(buf=<lost>, count=4) = 0",
    ]
    assert lines[4].endswith("} = 0")


@pytest.mark.parametrize(
    ("words", "count"),
    [(["icmp_rcv"], 3), (["tick"], 1), (["--min-duration", "1us"], 1), (["--pid", "1"], 0)],
)
def test_trees_are_chosen_by_their_roots(trees, words, count, capfd):
    assert run(["replay", str(trees), *words, "--format", "json"]) == 0
    seen = capfd.readouterr()
    assert seen.out.count('"type": "call"') == count
    assert f"{count} of 4 recorded calls" in seen.err


@pytest.mark.parametrize("kind", FORMATS)
def test_trees_in_every_format(trees, kind, tmp_path):
    out = tmp_path / "out"
    assert run(["replay", str(trees), "--format", kind, "-o", str(out)]) == 0
    assert b"icmp_rcv" in out.read_bytes()


def test_a_recording_is_compared_with_json(trees, tmp_path, capfd):
    out = tmp_path / "out.json"
    assert run(["replay", str(trees), "--format", "json", "-o", str(out)]) == 0
    tables = []
    for before, after in ((trees, out), (out, trees), (out, out)):
        capfd.readouterr()
        assert run(["diff", str(before), str(after)]) == 0
        tables.append(capfd.readouterr().out)
    assert len(set(tables)) == 1
    assert "icmp_rcv" in tables[0]


def test_the_end_is_missing(path, capfd):
    path.write_bytes(path.read_bytes()[:-20])
    assert run(["replay", str(path), "-q"]) == 1
    seen = capfd.readouterr()
    assert len(seen.out.splitlines()) == 7
    assert "has no end" in seen.err


WRONG = [
    ("no file", "/no/such", 1, "No such file"),
    ("no recording", __file__, 2, "this is no recording"),
]


@pytest.mark.parametrize(
    ("file", "status", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_wrong(file, status, words, capfd):
    assert run(["replay", file]) == status
    assert words in capfd.readouterr().err
