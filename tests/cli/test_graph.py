"""Options of ``fsession graph`` that exclude each other, before anything is attached."""

from __future__ import annotations

import pytest

from fsession.cli.formats import Output
from fsession.cli.graph import _chosen
from fsession.cli.main import run


def test_flame_is_a_format_beside_the_collector():
    to = Output(None, "out", "http://127.0.0.1:4318")
    assert _chosen(to, totals=False, flame=True) == Output("folded", "out", to.otlp)
    assert _chosen(to, totals=False, flame=False) == to


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--flame", "--format", "json"], "--format folded"),
        (["--summary", "--flame"], "a table of its own"),
        (["--record", "f", "--format", "json"], "nothing else"),
        (["--record", "f", "--summary"], "nothing else"),
        (["--record", "f", "--errors"], "all trees"),
        (["--record", "f", "--max-events", "3"], "all trees"),
    ],
)
def test_what_does_not_go_together(words, said, capfd):
    assert run(["graph", "icmp_rcv", *words]) == 2
    assert said in capfd.readouterr().err
