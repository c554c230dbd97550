"""What `hist` and `top` have in common: options, and the way from attached to the end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import click

from fsession.cli.engine import Place, place_options
from fsession.cli.follow import follow, workload_status
from fsession.cli.options import duration_ns, output, workload
from fsession.cli.report import OK, warn
from fsession.cli.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from fsession.trace import Summary
    from fsession.tracer.tally import Counter

__all__ = ["counting_options", "run"]

Command = TypeVar("Command", bound="Callable[..., Any]")
_SECONDS = click.FloatRange(0, min_open=True)

_OPTIONS = (
    click.option(
        "--strategy",
        type=click.Choice(["auto", "native", "multi", "split"]),
        default="auto",
        help="How sessions are made; auto takes the best that this kernel has.",
    ),
    click.option(
        "-f",
        "--filter",
        multiple=True,
        metavar="EXPR",
        help="Only calls for which EXPR, in C or Python, is true: 'skb->len > 64 && ret < 0'.",
    ),
    click.option("--pid", type=click.IntRange(0), metavar="PID", help="Only this process's calls."),
    click.option("--tid", type=click.IntRange(0), metavar="TID", help="Only this thread's calls."),
    click.option("--comm", metavar="NAME", help="Only calls by threads of this name."),
    click.option(
        "--min-duration",
        "min_duration_ns",
        type=duration_ns,
        default="0ns",
        metavar="TIME",
        help="Only calls that took at least TIME: 250us, 1.5ms, 2s.",
    ),
    click.option("--errors", is_flag=True, help="Only calls that returned -Exxx or an ERR_PTR."),
    click.option("--timeout", "timeout_s", type=_SECONDS, metavar="S", help="End after S seconds."),
    click.option("--format", "kind", type=click.Choice(["text", "json"]), default="text"),
    click.option("-o", "--output", "path", metavar="FILE", help="Write to FILE."),
    click.option("--dry-run", is_flag=True, help="Say what would be attached, and stop."),
)


def counting_options(command: Command) -> Command:
    """Filters, and where and when it ends."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return cast("Command", place_options(command))


class Shown(Protocol):
    """What is written: each interval, and at the end."""

    def tick(self) -> None: ...
    def end(self, summary: Summary) -> None: ...


def run(
    counter: Counter,
    make: Callable[[TextIO], Shown],
    *,
    path: str | None,
    interval_s: float | None,
    timeout_s: float | None,
    place: Place,
    dry_run: bool,
) -> int:
    """Count until the workload, the user or the time ends it; the exit status."""
    with ExitStack() as stack:
        words = workload()
        if dry_run:
            return _dry_run(counter)
        process = place.workload(words, stack)
        out = stack.enter_context(output(path))
        stack.enter_context(counter)
        shown = make(out)
        ticker = stack.enter_context(Ticker(interval_s))

        def tick() -> bool:
            if ticker.ticked():
                shown.tick()
            return True

        interrupted = follow(ticker, tick, out, process, timeout_s)
        counter.detach()
        status = workload_status(process, interrupted=interrupted)
        summary = counter.summary
        shown.end(summary)
        _warn(summary)
        return status


def _warn(summary: Summary) -> None:
    """What is missing goes to stderr as well."""
    if summary.lost or summary.missed or summary.faulted or summary.unsaved:
        warn(
            f"the counts are not complete: {summary.lost} lost (no room for more keys), "
            f"{summary.missed} missed, {summary.faulted} faulted, {summary.unsaved} not kept"
        )


def _dry_run(counter: Counter) -> int:
    selection = counter.select()
    names: Sequence[str] = [target.name for target in selection.targets]
    click.echo("\n".join(names))
    plan = selection.plan
    click.echo(f"{len(names)} functions would be attached, {plan.strategy}: {plan.reason}")
    for reason, number in sorted(selection.skipped.items()):
        click.echo(f"{number} skipped: {reason}")
    return OK
