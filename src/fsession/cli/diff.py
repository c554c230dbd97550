"""``fsession diff``: two runs compared, function by function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsession.cli.report import OK

if TYPE_CHECKING:
    from fsession.sinks.diff import Run

__all__ = ["diff"]


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
def diff(before: str, after: str) -> int:
    """Compare the calls and self times of two runs of graph or trace.

    BEFORE and AFTER are recordings (fsession record, fsession graph --record), or what --format
    json -o FILE wrote.
    """
    from fsession.sinks.diff import diff_lines

    for line in diff_lines(_run(before), _run(after)):
        click.echo(line)
    return OK


def _run(path: str) -> Run:
    from fsession.recording import Recording, is_recording
    from fsession.sinks.diff import count_run, read_run

    if is_recording(path):
        with Recording.open(path) as recording:
            return count_run(recording.batches(), lambda: recording.summary.lost)
    with Path(path).open(encoding="utf-8") as file:
        return read_run(file, path)
