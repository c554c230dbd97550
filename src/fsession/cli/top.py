"""``fsession top``: functions of a pattern ranked by calls, time, errors, while they run."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.counting import counting_options, run
from fsession.cli.options import WorkloadCommand, quiet, verbose, workload
from fsession.sinks.ranking import SORTS

if TYPE_CHECKING:
    from typing import TextIO

    from fsession.cli.engine import Place
    from fsession.sinks.ranking import RankingJson, RankingText
    from fsession.trace import Summary
    from fsession.trace.counted import FunctionCounts
    from fsession.tracer.top import Ranking

__all__ = ["top"]


@click.command(cls=WorkloadCommand)
@click.argument("targets", nargs=-1, required=True, metavar="PATTERN...")
@click.option("--sort", type=click.Choice(list(SORTS)), default="time", show_default=True)
@click.option("-n", "--lines", type=click.IntRange(1), default=20, show_default=True)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Show what came each S seconds; on a terminal 1, else only the end.",
)
@counting_options
@verbose
@quiet
def top(
    targets: tuple[str, ...],
    sort: str,
    lines: int,
    interval_s: float | None,
    timeout_s: float | None,
    kind: str,
    path: str | None,
    place: Place,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Rank the functions of PATTERN by calls, failed calls and time, counted in the kernel.

    \b
    fsession top 'tcp_*' --sort calls --interval 1
    fsession top 'ext4_*' 'jbd2_*' -- sync
    """
    from fsession.tracer.top import top as make_ranking

    live = kind == "text" and path is None and sys.stdout.isatty()
    place.check(workload(), dry_run=dry_run)
    with ExitStack() as stack:
        counter = make_ranking(*targets, host=place.host(stack), **options)

        def shown(out: TextIO) -> _Shown:
            from fsession.sinks.ranking import RankingJson, RankingText

            if kind == "json":
                return _Shown(counter, RankingJson(out, sort))
            return _Shown(counter, RankingText(out, sort, lines, live=live, quiet=quiet))

        return run(
            counter,
            shown,
            path=path,
            interval_s=interval_s or (1.0 if live else None),
            timeout_s=timeout_s,
            place=place,
            dry_run=dry_run,
        )


class _Shown:
    """Differences at each tick, everything at the end."""

    def __init__(self, counter: Ranking, sink: RankingJson | RankingText) -> None:
        self._counter = counter
        self._sink = sink
        self._before: dict[str, FunctionCounts] = {}

    def tick(self) -> None:
        now = {row.function: row for row in self._counter.read()}
        new = [
            row.less(self._before[name]) if name in self._before else row
            for name, row in now.items()
        ]
        self._before = now
        self._sink.show([row for row in new if row.calls])

    def end(self, summary: Summary) -> None:
        self._sink.end(self._counter.read(), summary)
