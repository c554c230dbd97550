"""What options mean."""

from __future__ import annotations

import io

import click
import pytest
from click.testing import CliRunner

from fsession.cli.options import WorkloadCommand, duration_ns, use_color, workload

TIMES = [
    ("250ns", 250),
    ("250us", 250_000),
    ("250µs", 250_000),
    ("1.5ms", 1_500_000),
    ("2s", 2_000_000_000),
]


@pytest.mark.parametrize(("text", "length_ns"), TIMES)
def test_duration(text, length_ns):
    assert duration_ns(text) == length_ns


@pytest.mark.parametrize("text", ["", "5", "ms", "-1ms", "1m", "1 ms", "1e3s"])
def test_no_duration(text):
    with pytest.raises(click.BadParameter, match="write a number with its unit"):
        duration_ns(text)


@click.command(cls=WorkloadCommand)
@click.option("-v", is_flag=True)
@click.argument("names", nargs=-1)
def command(v, names):
    click.echo(f"{v} {names} {workload()}")


LINES = [
    (["a", "b"], "False ('a', 'b') ()"),
    (["a", "-v", "--", "ls", "-v", "--", "x"], "True ('a',) ('ls', '-v', '--', 'x')"),
    (["--", "ls"], "False () ('ls',)"),
]


@pytest.mark.parametrize(("words", "shown"), LINES)
def test_workload(words, shown):
    assert CliRunner().invoke(command, words).output == f"{shown}\n"


def test_workload_is_missing():
    result = CliRunner().invoke(command, ["a", "--"])
    assert result.exit_code == 2
    assert "a command is missing behind --" in result.output


def test_color(monkeypatch):
    out = io.StringIO()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not use_color(out)
    monkeypatch.setattr(out, "isatty", lambda: True)
    assert use_color(out)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_color(out)
