"""``fsession graph``: the tree of calls below a function."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

import click

from fsession.cli.engine import Place, place_options
from fsession.cli.follow import Command, follow, workload_status
from fsession.cli.formats import Output, event_writer, output_options, outputs, tell_summary
from fsession.cli.options import (
    WorkloadCommand,
    duration_ns,
    quiet,
    use_color,
    verbose,
    workload,
)
from fsession.cli.report import OK, warn
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.sinks import Sink
    from fsession.tracer.graph import Grapher
    from fsession.tracer.graph_selection import GraphSelection

__all__ = ["graph"]


def _globs(name: str, words: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", multiple=True, metavar="GLOB", help=words)


@click.command(cls=WorkloadCommand)
@click.argument("targets", nargs=-1, required=True, metavar="FUNC...")
@click.option(
    "--depth",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help="Levels; FUNC is the first.",
)
@_globs("include", "Of the callees only these.")
@_globs("exclude", "Not these callees, nor what only they call.")
@_globs("extra", "These too: FUNC may call them by a pointer.")
@_globs("leaf", "Not what these call.")
@click.option(
    "--learn",
    is_flag=True,
    help="Run CMD once before, to see what FUNC calls through pointers.",
)
@click.option(
    "--strategy",
    type=click.Choice(["auto", "native", "multi", "split"]),
    default="auto",
    help="How sessions are made; auto takes the best that this kernel has.",
)
@click.option("--pid", type=click.IntRange(0), metavar="PID", help="Only trees of this process.")
@click.option("--tid", type=click.IntRange(0), metavar="TID", help="Only trees of this thread.")
@click.option("--comm", metavar="NAME", help="Only trees of threads of this name.")
@click.option("--cpu", type=click.IntRange(0), metavar="CPU", help="Only trees begun on this CPU.")
@click.option(
    "-f",
    "--filter",
    multiple=True,
    metavar="EXPR",
    help="Only trees at whose root's entry EXPR, in C or Python, is true: 'skb->len > 64'.",
)
@click.option(
    "--min-duration",
    "min_duration_ns",
    type=duration_ns,
    default="0ns",
    metavar="TIME",
    help="Only trees whose root took at least TIME: 250us, 1.5ms, 2s.",
)
@click.option("--errors", is_flag=True, help="Only trees whose root returned -Exxx or an ERR_PTR.")
@click.option(
    "--objects", is_flag=True, help="Show files, sockets, packets, tasks that arguments point to."
)
@click.option("--expand", is_flag=True, help="Show the whole structs that arguments point to.")
@click.option("--stack", is_flag=True, help="Show the kernel's stack above each root.")
@click.option(
    "--max-events", type=click.IntRange(1), metavar="N", help="End after N trees were shown."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End after S seconds.",
)
@output_options
@place_options
@click.option("--summary", "totals", is_flag=True, help="A table of the functions, no trees.")
@click.option("--flame", is_flag=True, help="Folded stacks by self time (--format folded).")
@click.option("--record", metavar="FILE", help="Record the trees in FILE, for fsession replay.")
@click.option("--dry-run", is_flag=True, help="Say what would be attached, and stop.")
@verbose
@quiet
def graph(
    targets: tuple[str, ...],
    timeout_s: float | None,
    to: Output,
    place: Place,
    totals: bool,
    flame: bool,
    record: str | None,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    learn: bool,
    **options: Any,
) -> int:
    """Show the calls below FUNC as a tree: arguments, results, durations.

    FUNC is a kernel function (icmp_rcv), a pattern ('tcp_v4_*'), a module's function or a BPF
    program (prog:NAME, prog:NAME/PART). What it calls is found in its machine code. With -- CMD,
    the trees from the start of CMD to its end; else until Ctrl-C. The exit status is CMD's.
    """
    to = _chosen(to, totals=totals, flame=flame)
    if record:
        _check_recording(to, options, other=totals or flame or dry_run)
    with ExitStack() as stack:
        words = workload()
        place.check(words, dry_run=dry_run)
        if learn:
            learned = _learned(targets, place, words, timeout_s, options, quiet=quiet)
            options["extra"] = (*options["extra"], *learned)
        process = None if dry_run else place.workload(words, stack)
        from fsession.tracer.graph import graph as make_grapher

        grapher = make_grapher(*targets, host=place.host(stack), **options)
        if dry_run:
            return _show(grapher.select())

        def text(out: TextIO) -> Sink:
            return _text(out, totals=totals, quiet=quiet)

        if record:
            from fsession.cli.record import record_graph

            return record_graph(grapher, record, process, timeout_s, verbose=verbose, quiet=quiet)
        sink, out = stack.enter_context(outputs(to, text))
        grapher = stack.enter_context(grapher)
        if verbose:
            _tell(grapher.selection)
        interrupted = _run(grapher, sink, out, process, timeout_s)
        status = workload_status(process, interrupted=interrupted)
        summary = grapher.summary
        sink.end(summary)
        tell_summary(to, summary, quiet=quiet)
        return status


def _learned(
    targets: tuple[str, ...],
    place: Place,
    words: Sequence[str],
    timeout_s: float | None,
    options: dict[str, Any],
    *,
    quiet: bool,
) -> list[str]:
    """What is called through pointers while CMD runs for the first time."""
    from fsession.tracer.graph import graph as make_grapher

    if not words:
        raise BadInputError("--learn needs a command to learn from").hint(
            "fsession graph --learn FUNC -- CMD runs CMD twice"
        )
    unseen = {"objects": False, "expand": False, "stack": False}
    with ExitStack() as stack:
        process = place.workload(words, stack)
        grapher = make_grapher(*targets, host=place.host(stack), learn=True, **options | unseen)
        grapher = stack.enter_context(grapher)

        def read() -> bool:
            grapher.read(0)
            return True

        interrupted = follow(grapher, read, sys.stdout, process, timeout_s)
        grapher.detach()
        read()
        workload_status(process, interrupted=interrupted)
        if interrupted:
            raise KeyboardInterrupt
        learned = grapher.learned
        if not quiet:
            from fsession.sinks import count

            candidates = count(len(grapher.selection.candidates), "candidate")
            warn(f"learned {len(learned)} of {candidates}: {', '.join(learned)}")
        return learned


def _chosen(to: Output, *, totals: bool, flame: bool) -> Output:
    """``--flame`` is a format; ``--summary`` is the text of another question."""
    if totals and (flame or to.kind not in (None, "text")):
        raise BadInputError("--summary is a table of its own: no other format goes with it")
    if flame and to.kind not in (None, "folded"):
        raise BadInputError(f"--flame is --format folded, not {to.kind}")
    return replace(to, kind="folded") if flame else to


def _check_recording(to: Output, options: dict[str, Any], *, other: bool) -> None:
    """What is decided when a tree is read can't be decided while it is recorded."""
    if to != Output(None, None) or other:
        raise BadInputError("--record writes a recording and nothing else").hint(
            "fsession replay FILE has all the formats"
        )
    if options["min_duration_ns"] or options["errors"] or options["max_events"]:
        raise BadInputError("--record takes all trees: no --min-duration, --errors, --max-events")


def _run(
    grapher: Grapher,
    sink: Sink,
    out: TextIO,
    process: Command | None,
    timeout_s: float | None,
) -> bool:
    """Show trees until the end; whether a signal was it."""
    write = event_writer(sink)

    def read() -> bool:
        events = grapher.read(0)
        if events:
            write(events)
        return not grapher.is_done

    sink.begin()
    interrupted = follow(grapher, read, out, process, timeout_s)
    grapher.detach()
    read()
    return interrupted


def _text(out: TextIO, *, totals: bool, quiet: bool) -> Sink:
    if totals:
        from fsession.sinks.totals import TotalsSink

        return TotalsSink(out, quiet=quiet)
    from fsession.sinks.tree import TreeSink

    return TreeSink(out, color=use_color(out), quiet=quiet)


def _tell(selection: GraphSelection) -> None:
    warn(f"strategy {selection.plan.strategy}: {selection.plan.reason}")
    warn(f"{len(selection.nodes)} functions in the graph")
    for reason, number in sorted(selection.skipped.items()):
        warn(f"skipped {number}: {reason}")


def _show(selection: GraphSelection) -> int:
    """Of ``--dry-run``: the functions with their levels, then the plan."""
    from fsession.sinks import count

    for node in sorted(selection.nodes, key=lambda node: node.depth):
        click.echo(f"{'  ' * node.depth}{node.target.name}")
    functions = count(len(selection.nodes), "function")
    click.echo(f"{functions} would be attached, {selection.plan.strategy}: {selection.plan.reason}")
    for reason, number in sorted(selection.skipped.items()):
        click.echo(f"{number} callees skipped: {reason}")
    return OK
