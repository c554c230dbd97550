"""Where calls go: ``--format``, ``-o``, ``--otlp``; one place for every command that writes calls.

A command has its own sink for text; all other formats are the same for all of them.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

import click

from fsession.cli.options import output
from fsession.cli.report import warn
from fsession.errors import BadInputError, UnsupportedError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fsession.sinks import Sink
    from fsession.trace import Call, Summary
    from fsession.trace.graph_decode import GraphEvent

__all__ = [
    "FORMATS",
    "Format",
    "Output",
    "event_writer",
    "output_options",
    "outputs",
    "rare_collections",
    "tell_summary",
]


@frozen
class Format:
    """A sink by its module and class in `fsession.sinks`; `extra` is what it needs to be installed.

    `summed`: the end of the trace is told in the output itself.
    """

    module: str
    sink: str
    binary: bool = False
    extra: str = ""
    summed: bool = False


TEXT = "text"
FORMATS = {
    TEXT: Format("text", "TextSink", summed=True),
    "json": Format("json", "JsonSink", summed=True),
    "perfetto": Format("perfetto", "PerfettoSink", binary=True, extra="perfetto"),
    "html": Format("html", "HtmlSink", summed=True),
    "folded": Format("folded", "FoldedSink"),
    "csv": Format("csv", "CsvSink"),
    "parquet": Format("arrow", "ParquetSink", binary=True, extra="arrow"),
}


@frozen
class Output:
    """What the options said. `path` None: standard output. `otlp` alone: nothing is written."""

    kind: str | None
    path: str | None
    otlp: str | None = None

    @property
    def writes(self) -> bool:
        return not self.otlp or bool(self.kind or self.path)

    @property
    def tells_summary(self) -> bool:
        """Whether the user sees the summary where the calls are."""
        shown = self.path is None or self.path == "-"
        return self.writes and shown and FORMATS[self.kind or TEXT].summed


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--format``, ``-o`` and ``--otlp``, as the one parameter `to`: an `Output`."""

    @wraps(command)
    def run(
        *args: Any, kind: str | None, path: str | None, otlp: str | None, **options: Any
    ) -> Any:
        return command(*args, to=Output(kind, path, otlp), **options)

    to_file = click.option(
        "-o", "--output", "path", metavar="FILE", help="Write to FILE, not to the terminal."
    )
    in_format = click.option(
        "--format", "kind", type=click.Choice(list(FORMATS)), help="What to write (default: text)."
    )
    to_collector = click.option(
        "--otlp",
        metavar="ENDPOINT",
        help="Send spans and histograms there: http://HOST:4318, grpc://HOST:4317.",
    )
    return in_format(to_file(to_collector(run)))


@contextmanager
def outputs(
    to: Output, text: Callable[[TextIO], Sink], *, live: bool = True
) -> Iterator[tuple[Sink, TextIO]]:
    """The sink, and the file it writes to; `text` makes the command's own.

    `live`: the calls happen here and now.
    """
    rare_collections()
    make_sink = _maker(to, text)  # before the file is made: it may need a package that is not there
    with output(to.path) as out:
        sinks = [make_sink(out)] if to.writes else []
        if to.otlp:
            make = load("fsession.sinks.otlp", "OtlpSink", "--otlp", "otlp")
            sinks.append(make(to.otlp, live=live))
        yield sinks[0] if len(sinks) == 1 else Tee(sinks), out


def rare_collections() -> None:
    """Look for garbage in cycles seldom: calls come by the hundred thousand and are in none.

    A fifth of the time of writing calls went into it.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def event_writer(sink: Sink) -> Callable[[Sequence[GraphEvent]], None]:
    """Of a graph: trees want the beginnings of calls as well, all other sinks take calls."""
    from fsession.sinks.tree import TreeSink
    from fsession.trace import Call

    if isinstance(sink, TreeSink):
        return sink.write
    if isinstance(sink, Tee):
        writers = [event_writer(each) for each in sink.sinks]

        def write_all(events: Sequence[GraphEvent]) -> None:
            for write in writers:
                write(events)

        return write_all
    return lambda events: sink.write([event for event in events if isinstance(event, Call)])


class Tee:
    """Calls to several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks

    def begin(self) -> None:
        for sink in self.sinks:
            sink.begin()

    def write(self, calls: Sequence[Call]) -> None:
        for sink in self.sinks:
            sink.write(calls)

    def end(self, summary: Summary) -> None:
        for sink in self.sinks:
            sink.end(summary)


def _maker(to: Output, text: Callable[[TextIO], Sink]) -> Callable[[TextIO], Sink]:
    kind = to.kind or TEXT
    if kind == TEXT:
        return text
    form = FORMATS[kind]
    sink = load(f"fsession.sinks.{form.module}", form.sink, f"--format {kind}", form.extra)

    def make(out: TextIO) -> Sink:
        if form.binary and out.isatty():
            error = BadInputError(f"{kind} is not for terminals")
            raise error.hint("write it to a file: -o FILE")
        made: Sink = sink(out.buffer if form.binary else out)
        return made

    return make


def load(module: str, name: str, option: str, extra: str) -> Any:
    """Of a module that may need packages which only an extra of ours installs."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("fsession"):
            raise
        missing = UnsupportedError(option, f"the package {error.name} is not installed")
        raise missing.hint(f"pip install 'fsession[{extra}]'") from None


def tell_summary(to: Output, summary: Summary, *, quiet: bool) -> None:
    """The last line, where the output does not show it; what is missing goes to stderr always."""
    from fsession.sinks import summary_line

    if not to.tells_summary and not quiet:
        warn(summary_line(summary))
    elif summary.lost or summary.missed:
        warn(f"the trace is not complete: {summary.lost} lost, {summary.missed} missed")
