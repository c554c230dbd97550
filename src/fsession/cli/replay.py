"""``fsession replay``: a recording in any format."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.formats import Output, output_options, outputs, tell_summary
from fsession.cli.options import duration_ns, quiet, use_color
from fsession.cli.report import FAILED, OK, warn

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from fsession.recording import Recording
    from fsession.sinks import Sink
    from fsession.trace import Call

__all__ = ["replay"]


@click.command()
@click.argument("file")
@click.argument("functions", nargs=-1, metavar="[FUNC]...")
@click.option("--pid", type=click.IntRange(0), metavar="PID", help="Only calls by this process.")
@click.option("--tid", type=click.IntRange(0), metavar="TID", help="Only calls by this thread.")
@click.option("--comm", metavar="NAME", help="Only calls by threads of this name.")
@click.option("--cpu", type=click.IntRange(0), metavar="N", help="Only calls that ended there.")
@click.option(
    "--min-duration",
    "min_duration_ns",
    type=duration_ns,
    default="0ns",
    metavar="TIME",
    help="Only calls that took at least TIME: 250us, 1.5ms, 2s.",
)
@click.option("--errors", is_flag=True, help="Only calls that returned -Exxx or an ERR_PTR.")
@output_options
@quiet
def replay(file: str, functions: tuple[str, ...], to: Output, quiet: bool, **filters: Any) -> int:
    """Show the calls that are recorded in FILE, of all functions or of FUNC, names or patterns.

    Of a graph, FUNC and the options are about the roots: their trees are shown whole.
    Needs no privileges, and no kernel like the one that was traced. The exit status is 1 if the end
    of the recording is missing.
    """
    from fsession.recording import Recording

    is_shown = _filter(functions, **filters)
    with ExitStack() as stack:
        recording = stack.enter_context(Recording.open(file))
        text = partial(_tree if recording.is_graph else _text, quiet=quiet)
        sink, _ = stack.enter_context(outputs(to, text, live=False))
        if recording.is_graph:
            seen, shown = _show_trees(recording, sink, is_shown)
        else:
            seen, shown = _show(recording, sink, is_shown)
        tell_summary(to, recording.summary, quiet=quiet)
    if shown != seen and not quiet:
        warn(f"{shown} of {seen} recorded calls were shown")
    if recording.is_cut:
        warn(f"{file} has no end: what was lost and missed is known in part only")
        return FAILED
    return OK


def _show(
    recording: Recording, sink: Sink, is_shown: Callable[[Call], bool] | None
) -> tuple[int, int]:
    """How many calls were read, and how many of them shown."""
    seen = shown = 0
    sink.begin()
    for batch in recording.batches():
        calls = [call for call in batch if is_shown(call)] if is_shown else batch
        seen += len(batch)
        shown += len(calls)
        if calls:
            sink.write(calls)
    sink.end(recording.summary)
    return seen, shown


def _show_trees(
    recording: Recording, sink: Sink, is_shown: Callable[[Call], bool] | None
) -> tuple[int, int]:
    """As `_show`: whole trees, by what their roots are."""
    from fsession.cli.formats import event_writer
    from fsession.trace import Call
    from fsession.trace.graph_trees import HeldTrees

    seen = shown = 0
    held = HeldTrees(is_shown) if is_shown else None
    write = event_writer(sink)
    sink.begin()
    for events in recording.events():
        seen += sum(isinstance(event, Call) for event in events)
        wanted = [item for event in events for item in held.add(event)] if held else events
        shown += sum(isinstance(event, Call) for event in wanted)
        if wanted:
            write(wanted)
    sink.end(recording.summary)
    return seen, shown


def _tree(out: TextIO, quiet: bool) -> Sink:
    from fsession.sinks.tree import TreeSink

    return TreeSink(out, color=use_color(out), quiet=quiet)


def _text(out: TextIO, quiet: bool) -> Sink:
    from fsession.sinks import TextSink

    return TextSink(out, color=use_color(out), quiet=quiet)


def _filter(
    functions: tuple[str, ...],
    pid: int | None,
    tid: int | None,
    comm: str | None,
    cpu: int | None,
    min_duration_ns: int,
    errors: bool,
) -> Callable[[Call], bool] | None:
    """What all the options together let through; None if that is everything."""
    from fsession.btf.glob import glob_regex
    from fsession.sinks.base import error_of

    wanted = {"pid": pid, "tid": tid, "comm": comm, "cpu": cpu}
    exact = [(name, value) for name, value in wanted.items() if value is not None]
    names = re.compile("|".join(map(glob_regex, functions)))
    if not exact and not functions and not min_duration_ns and not errors:
        return None

    def is_shown(call: Call) -> bool:
        return (
            all(getattr(call, name) == value for name, value in exact)
            and call.duration_ns >= min_duration_ns
            and bool(not functions or names.fullmatch(call.label) or names.fullmatch(call.function))
            and (not errors or bool(error_of(call.ret)))
        )

    return is_shown
