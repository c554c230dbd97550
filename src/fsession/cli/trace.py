"""``fsession trace``: one line per call."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import click

from fsession.cli.engine import Place, place_options
from fsession.cli.follow import Command, follow, workload_status
from fsession.cli.formats import Output, output_options, outputs, tell_summary
from fsession.cli.options import (
    WorkloadCommand,
    cpu_list,
    duration_ns,
    quiet,
    sample_rate,
    use_color,
    verbose,
    workload,
)
from fsession.cli.report import OK, warn

if TYPE_CHECKING:
    from fsession.sinks import Sink
    from fsession.tracer import Selection, Tracer

__all__ = ["trace"]


@click.command(cls=WorkloadCommand)
@click.argument("targets", nargs=-1, required=True, metavar="FUNC...")
@click.option(
    "--strategy",
    type=click.Choice(["auto", "native", "multi", "split"]),
    default="auto",
    help="How sessions are made; auto takes the best that this kernel has.",
)
@click.option(
    "-f",
    "--filter",
    multiple=True,
    metavar="EXPR",
    help="Only calls for which EXPR, in C or Python, is true: 'skb->len > 64 && ret < 0'.",
)
@click.option(
    "-p", "--print", multiple=True, metavar="EXPR", help="Show the value of EXPR: 'skb->dev->name'."
)
@click.option("--pid", type=click.IntRange(0), metavar="PID", help="Only calls by this process.")
@click.option("--tid", type=click.IntRange(0), metavar="TID", help="Only calls by this thread.")
@click.option("--comm", metavar="NAME", help="Only calls by threads of this name.")
@click.option(
    "--cpu", type=cpu_list, default="", metavar="LIST", help="Only calls on these CPUs: 0-3,5."
)
@click.option(
    "--cgroup", metavar="PATH|ID", help="Only calls by tasks of this cgroup and of those below it."
)
@click.option(
    "--netns", metavar="PATH|ID", help="Only calls in this network namespace (name, path, inode)."
)
@click.option(
    "--min-duration",
    "min_duration_ns",
    type=duration_ns,
    default="0ns",
    metavar="TIME",
    help="Only calls that took at least TIME: 250us, 1.5ms, 2s.",
)
@click.option("--errors", is_flag=True, help="Only calls that returned -Exxx or an ERR_PTR.")
@click.option(
    "--sample",
    type=sample_rate,
    default="1/1",
    metavar="1/N",
    help="Only each N-th call of those that pass the filters of the entry.",
)
@click.option(
    "--objects", is_flag=True, help="Show files, sockets, packets, tasks that arguments point to."
)
@click.option("--expand", is_flag=True, help="Show the whole structs that arguments point to.")
@click.option("--stack", is_flag=True, help="Show the kernel's stack of each call.")
@click.option("--ustack", is_flag=True, help="Show the process's stack of each call.")
@click.option(
    "--vmlinux", metavar="FILE", help="Show source lines in stacks, by the debug info of FILE."
)
@click.option(
    "--max-events", type=click.IntRange(1), metavar="N", help="End after N calls were shown."
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
@click.option("--dry-run", is_flag=True, help="Say what would be attached, and stop.")
@verbose
@quiet
def trace(
    targets: tuple[str, ...],
    timeout_s: float | None,
    to: Output,
    place: Place,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Show each call of FUNC: arguments, result, duration.

    FUNC is a kernel function (icmp_rcv), a pattern ('tcp_*'), a module's function
    (nf_conntrack:nf_ct_get), or a BPF program (prog:NAME). With -- CMD, the calls from the start
    of CMD to its end; else until Ctrl-C. The exit status is CMD's.
    """
    with ExitStack() as stack:
        words = workload()
        place.check(words, dry_run=dry_run)
        process = None if dry_run else place.workload(words, stack)
        from fsession.tracer import trace as make_tracer

        tracer = make_tracer(*targets, host=place.host(stack), **options)
        if dry_run:
            return _show(tracer.select())
        sink, out = stack.enter_context(outputs(to, partial(_text, process, quiet)))
        tracer = stack.enter_context(tracer)
        if verbose:
            _tell(tracer.selection)
        interrupted = _run(tracer, sink, out, process, timeout_s)
        status = workload_status(process, interrupted=interrupted)
        summary = tracer.summary
        sink.end(summary)
        tell_summary(to, summary, quiet=quiet)
        return status


def _run(
    tracer: Tracer,
    sink: Sink,
    out: TextIO,
    process: Command | None,
    timeout_s: float | None,
) -> bool:
    """Show calls until the end; whether a signal was it."""

    from fsession.tracer import AT_ONCE

    def read() -> bool:
        _write(tracer, sink, AT_ONCE)
        return not tracer.is_done

    sink.begin()
    interrupted = follow(tracer, read, out, process, timeout_s)
    tracer.detach()
    while _write(tracer, sink, AT_ONCE):
        continue
    return interrupted


def _write(tracer: Tracer, sink: Sink, most: int) -> bool:
    """Show a portion of the calls that are there; whether there were any."""
    calls = tracer.read(0, most)
    if calls:
        sink.write(calls)
    return bool(calls)


def _text(process: Command | None, quiet: bool, out: TextIO) -> Sink:
    from fsession.sinks import TextSink

    return TextSink(
        out,
        color=use_color(out),
        quiet=quiet,
        pid_width=len(str(process.pid if process else os.getpid())),
        comm_width=len(process.name) if process else 0,
    )


def _tell(selection: Selection) -> None:
    warn(f"strategy {selection.plan.strategy}: {selection.plan.reason}")
    for reason, count in sorted(selection.skipped.items()):
        warn(f"skipped {count}: {reason}")


def _show(selection: Selection) -> int:
    """Of ``--dry-run``: the functions, then the plan."""
    from fsession.sinks import count

    for target in selection.targets:
        click.echo(target.name)
    plan = selection.plan
    functions, sessions = len(selection.targets), len(selection.groups())
    click.echo(
        f"{count(functions, 'function')} would be attached by "
        f"{count(sessions, f'{plan.strategy} session')}: {plan.reason}"
    )
    for reason, number in sorted(selection.skipped.items()):
        click.echo(f"{number} skipped: {reason}")
    return OK
