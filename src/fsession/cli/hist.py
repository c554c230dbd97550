"""``fsession hist``: distributions of durations or of an expression, counted in the kernel."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.counting import counting_options, run
from fsession.cli.options import WorkloadCommand, quiet, verbose, workload

if TYPE_CHECKING:
    from typing import TextIO

    from fsession.cli.engine import Place
    from fsession.sinks.bars import HistJson, HistText
    from fsession.trace import Summary
    from fsession.trace.counted import Distribution
    from fsession.tracer.hist import Histogram

__all__ = ["hist"]


def _linear(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(-?\d+):(-?\d+):(\d+)", text)
    if not found:
        raise click.BadParameter(f"'{text}' is not MIN:MAX:STEP: 0:1500:100")
    return int(found[1]), int(found[2]), int(found[3])


@click.command(cls=WorkloadCommand)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--of", default="duration", metavar="EXPR", help="What is counted. [duration]")
@click.option(
    "--by",
    multiple=True,
    metavar="EXPR",
    help="One histogram for each value: comm, ret, 'skb->dev->name', function.",
)
@click.option("--linear", type=_linear, metavar="MIN:MAX:STEP", help="Not by powers of two.")
@click.option(
    "--max-keys", type=click.IntRange(1), default=16384, metavar="N", show_default=True,
    help="Room for so many pairs of key and bucket; calls beyond are counted as lost.",
)  # fmt: skip
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="A line of a heat map each S seconds.",
)
@counting_options
@verbose
@quiet
def hist(
    targets: tuple[str, ...],
    linear: tuple[int, int, int] | None,
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
    """Show the distribution of the durations of the calls of TARGET, or of an expression.

    \b
    fsession hist vfs_read --by comm -- make
    fsession hist icmp_rcv --of 'skb->len' --linear 0:1500:100 --by 'skb->dev->name'
    """
    from fsession.tracer.hist import hist as make_histogram

    place.check(workload(), dry_run=dry_run)
    with ExitStack() as stack:
        counter = make_histogram(*targets, host=place.host(stack), linear=linear, **options)

        def shown(out: TextIO) -> _Shown:
            from fsession.sinks.bars import HistJson, HistText

            if kind == "json":
                return _Shown(counter, HistJson(out, counter.of, counter.keys))
            return _Shown(counter, HistText(out, counter.of, counter.keys, quiet=quiet))

        return run(
            counter,
            shown,
            path=path,
            interval_s=interval_s,
            timeout_s=timeout_s,
            place=place,
            dry_run=dry_run,
        )


class _Shown:
    """Differences at each tick, everything at the end."""

    def __init__(self, counter: Histogram, sink: HistJson | HistText) -> None:
        self._counter = counter
        self._sink = sink
        self._before: dict[str, Distribution] = {}

    def tick(self) -> None:
        now = {repr(row.keys): row for row in self._counter.read()}
        new = [
            row.less(self._before[key]) if key in self._before else row for key, row in now.items()
        ]
        self._before = now
        changed = [row for row in new if row.count]
        self._sink.heat(sorted(changed, key=lambda row: -row.count))

    def end(self, summary: Summary) -> None:
        self._sink.end(self._counter.read(), summary)
