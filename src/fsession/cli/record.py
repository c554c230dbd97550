"""``fsession record``: calls to a file, to be looked at later and elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.engine import Place, place_options
from fsession.cli.follow import follow, workload_status
from fsession.cli.options import WorkloadCommand, workload
from fsession.cli.report import warn
from fsession.cli.trace import trace as trace_command
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from fsession.cli.follow import Command
    from fsession.recording import RecordingWriter
    from fsession.tracer import Tracer
    from fsession.tracer.graph import Grapher

__all__ = ["record", "record_graph"]

_OUTPUT = click.Option(
    ["-o", "--output", "path"], required=True, metavar="FILE", help="The recording, made new."
)
_NOT_OF_TRACE = {"kind", "path", "otlp", "dry_run", *(place.name for place in fields(Place))}
_OF_TRACE = [item for item in trace_command.params if item.name not in _NOT_OF_TRACE]


@click.command(cls=WorkloadCommand, params=[*_OF_TRACE, _OUTPUT])
@place_options
def record(
    targets: tuple[str, ...],
    place: Place,
    timeout_s: float | None,
    path: str,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Record each call of FUNC in FILE: arguments, result, duration.

    FUNC is as in fsession trace. fsession replay shows the recording, on any machine. With -- CMD,
    the calls from the start of CMD to its end; else until Ctrl-C. The exit status is CMD's.
    """
    with ExitStack() as stack:
        words = workload()
        place.check(words, dry_run=False)
        process = place.workload(words, stack)
        from fsession.tracer import trace

        tracer = trace(*targets, host=place.host(stack), **options)
        return _record("trace", tracer, path, process, timeout_s, verbose=verbose, quiet=quiet)


def record_graph(
    grapher: Grapher,
    path: str,
    process: Command | None,
    timeout_s: float | None,
    *,
    verbose: bool,
    quiet: bool,
) -> int:
    """The same for the trees of ``fsession graph``; the exit status."""
    return _record("graph", grapher, path, process, timeout_s, verbose=verbose, quiet=quiet)


def _record(
    kind: str,
    tracer: Tracer | Grapher,
    path: str,
    process: Command | None,
    timeout_s: float | None,
    *,
    verbose: bool,
    quiet: bool,
) -> int:
    from fsession.recording import RecordingWriter
    from fsession.recording.header import Header
    from fsession.recording.names import SeenNames
    from fsession.sinks import summary_line

    if path == "-":
        raise BadInputError("a recording is a file: give its name")
    with Path(path).open("wb", buffering=0) as out, tracer:
        if verbose:
            warn(f"strategy {tracer.selection.plan.strategy}: {tracer.selection.plan.reason}")
        header = Header(kind, tracer.host, tracer.wall_offset_ns, tuple(tracer.functions))
        names = None
        if tracer.has_symbols:
            names = SeenNames(header, tracer.symbol_at, tracer.user_symbol_at)
        writer = RecordingWriter(out, header, lambda: tracer.summary, names)
        interrupted = follow(tracer, lambda: _write(tracer, writer), out, process, timeout_s)
        tracer.detach()
        _write(tracer, writer)
        status = workload_status(process, interrupted=interrupted)
        summary = tracer.summary
        writer.end(summary)
        if not quiet or summary.lost or summary.missed:
            warn(summary_line(summary))
        return status


def _write(tracer: Tracer | Grapher, writer: RecordingWriter) -> bool:
    """Take what is there; whether more is wanted."""
    writer.write(tracer.read_raw())
    return not tracer.is_done
