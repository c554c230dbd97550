"""Histograms and rankings as text, and as JSON, held to docs/counted.schema.json."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fsession.sinks.bars import HistJson, HistText
from fsession.sinks.ranking import RankingJson, RankingText, ranked
from fsession.trace import Summary
from fsession.trace.buckets import Linear, Log2
from fsession.trace.counted import Distribution, FunctionCounts

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "counted.schema.json").read_text())
)
SUMMARY = Summary(10, 1, 2, 1, "native", 1, 1, "Linux 7.2 x86_64")
DURATIONS = Distribution(("ls",), {10: (4, 3000), 12: (1, 4000)}, Log2())


def test_bars():
    out = io.StringIO()
    HistText(out, "duration", ["comm"]).end([DURATIONS], SUMMARY)
    lines = out.getvalue().splitlines()
    assert lines[0] == 'comm = "ls"'
    assert lines[1].split() == ["0.5µs", "…", "1.0µs", "4", "|" + "█" * 40 + "|"]
    assert lines[2].split()[3] == "0"
    assert lines[3].endswith("1 |" + "█" * 10 + " " * 30 + "|")
    assert lines[4].startswith("  5 calls   average 1.4µs   p50 0.5µs … 1.0µs")
    assert lines[-1].startswith("10 calls · 1 lost · 2 missed")


def test_below_zero():
    """The least number first."""
    out = io.StringIO()
    row = Distribution((), {0: (1, 0), 2: (1, 3), 66: (2, -5)}, Log2(signed=True))
    HistText(out, "ret", [], quiet=True).end([row], SUMMARY)
    spans = [line.split()[:3:2] for line in out.getvalue().splitlines()[1:6]]
    assert spans == [["-3", "-2"], ["-1", "-1"], ["0", "0"], ["1", "1"], ["2", "3"]]


def test_ends_that_are_open():
    """What is above the last bucket and below the first has no bound to show."""
    out = io.StringIO()
    buckets = Linear(0, 100, 50, signed=True)
    row = Distribution((), {0: (1, -5), 1: (2, 9), 3: (7, 9000)}, buckets)
    text = HistText(out, "count", [], quiet=True)
    text.heat([row])
    text.end([row], SUMMARY)
    scale, _, _, *bars, figures, _ = out.getvalue().splitlines()
    assert scale.strip() == "|… to …"
    assert [" ".join(bar.split("|")[0].split()[:-1]) for bar in bars] == [
        "… -1",
        "0 … 49",
        "50 … 99",
        "100 …",
    ]
    assert figures.endswith("p90 100 …   p99 100 …")


def test_heat():
    out = io.StringIO()
    text = HistText(out, "len", [])
    text.heat([Distribution((), {2: (8, 0), 3: (1, 0)}, Linear(0, 100, 10))])
    text.heat([Distribution((), {3: (1, 0)}, Linear(0, 100, 10))])
    text.heat([])
    head, first, second, nothing = out.getvalue().splitlines()
    assert head.strip() == "|10 to 29"
    assert first.endswith("9 |█░| ")
    assert second.endswith("1 | █| ")
    assert nothing.endswith("0 |")


def test_hist_json():
    out = io.StringIO()
    sink = HistJson(out, "duration", ["comm"])
    sink.heat([DURATIONS])
    sink.end([DURATIONS], SUMMARY)
    interval, whole, summary = map(json.loads, out.getvalue().splitlines())
    assert (interval["type"], summary["type"], summary["lost"]) == ("interval", "summary", 1)
    assert whole == {
        "type": "histogram",
        "of": "duration",
        "keys": {"comm": "ls"},
        "count": 5,
        "sum": 7000,
        "percentiles": {"p50": [512, 1023], "p90": [2048, 4095], "p99": [2048, 4095]},
        "buckets": [[512, 1023, 4], [2048, 4095, 1]],
    }


ROWS = [
    FunctionCounts("slow", 1, 0, 9_000_000),
    FunctionCounts("often", 500, 0, 1000),
    FunctionCounts("bad", 3, 2, 2000),
]


def test_ranked():
    assert [ranked(ROWS, sort)[0].function for sort in ("time", "calls", "errors", "average")] == [
        "slow",
        "often",
        "bad",
        "slow",
    ]


def test_ranking():
    out = io.StringIO()
    sink = RankingText(out, "calls", 2)
    sink.show(ROWS)
    sink.end(ROWS, SUMMARY)
    lines = out.getvalue().splitlines()
    assert lines[1].split() == ["CALLS", "ERRORS", "TOTAL", "AVERAGE", "FUNCTION"]
    assert lines[2].split() == ["500", "0", "1.0µs", "0.0µs", "often"]
    assert lines[4] == "… and 1 functions more"
    assert lines[-1].startswith("10 calls · 1 lost")


def test_ranking_json():
    out = io.StringIO()
    RankingJson(out, "time").end(ROWS, SUMMARY)
    first, *_, summary = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "type": "function",
        "function": "slow",
        "calls": 1,
        "errors": 0,
        "total_ns": 9_000_000,
    }
    assert summary["type"] == "summary"


def test_schema():
    out = io.StringIO()
    bars, ranking = HistJson(out, "duration", ["comm"]), RankingJson(out, "time")
    bars.heat([DURATIONS])
    bars.end([DURATIONS, Distribution(("x",), {}, Log2())], SUMMARY)
    ranking.show(ROWS)
    ranking.end(ROWS, SUMMARY)
    values = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(values) == 1 + 2 + 1 + 3 + 3 + 1
    for value in values:
        SCHEMA.validate(value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "function", "function": "f", "calls": 1, "errors": 0},
        {"type": "function", "function": "f", "calls": "1", "errors": 0, "total_ns": 1},
        {"type": "function", "function": "f", "calls": 1, "errors": 0, "total_ns": 1, "more": 1},
    ],
)
def test_schema_refuses(wrong):
    assert not SCHEMA.is_valid(wrong)
