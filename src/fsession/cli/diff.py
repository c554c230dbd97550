"""``fsession diff``: two runs compared, function by function."""

from __future__ import annotations

from pathlib import Path

import click

from fsession.cli.report import OK

__all__ = ["diff"]


@click.command()
@click.argument("before", metavar="BEFORE.json")
@click.argument("after", metavar="AFTER.json")
def diff(before: str, after: str) -> int:
    """Compare the calls and self times of two runs of graph or trace (--format json -o FILE)."""
    from fsession.sinks.diff import diff_lines, read_run

    runs = []
    for path in (before, after):
        with Path(path).open(encoding="utf-8") as file:
            runs.append(read_run(file, path))
    for line in diff_lines(*runs):
        click.echo(line)
    return OK
