"""Options and arguments that several subcommands have."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from fsession.frozen import slotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = [
    "Settings",
    "WorkloadCommand",
    "cpu_list",
    "duration_ns",
    "output",
    "quiet",
    "sample_rate",
    "use_color",
    "verbose",
    "workload",
]


@slotted
class Settings:
    """Of the whole command line: what the report of an error must know of it."""

    verbose: bool = False


def _set_verbose(ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    if isinstance(ctx.obj, Settings):
        ctx.obj.verbose = wanted
    return wanted


def verbose(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-v``: more of what was done and of what the kernel said."""
    return click.option(
        "-v", "--verbose", is_flag=True, callback=_set_verbose, help="Say more, of errors too."
    )(command)


def quiet(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-q``: nothing but the results."""
    return click.option("-q", "--quiet", is_flag=True, help="Only the results.")(command)


class WorkloadCommand(click.Command):
    """A command with ``-- CMD [ARG]...``: everything behind the first ``--`` is the workload."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["fsession.workload"] = tuple(args[at + 1 :])
        if at == len(args) - 1:
            raise click.UsageError("a command is missing behind --", ctx)
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- CMD [ARG]...]"]


def workload() -> tuple[str, ...]:
    """The words of the workload of the command that runs; () if there is none."""
    words = click.get_current_context().meta["fsession.workload"]
    assert isinstance(words, tuple)
    return words


_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def duration_ns(text: str) -> int:
    """Of ``250us``, ``1.5ms``, ``2s``: a number and its unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zµ]+)", text)
    if not found or found[2] not in _UNITS_NS:
        units = ", ".join(_UNITS_NS)
        raise click.BadParameter(f"'{text}' is no time: write a number with its unit ({units})")
    return round(float(found[1]) * _UNITS_NS[found[2]])


def cpu_list(text: str) -> tuple[int, ...]:
    """Of ``0-3,5``: numbers and ranges; none for an empty text."""
    cpus: list[int] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found or int(found[2] or found[1]) - int(found[1]) not in range(4096):
            raise click.BadParameter(f"'{part}' is no CPU and no range of them")
        cpus += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(cpus)


def sample_rate(text: str) -> int:
    """Of ``1/100``: 100."""
    found = re.fullmatch(r"1/(\d+)", text)
    if not found or not 0 < int(found[1]) < 1 << 31:
        raise click.BadParameter(f"'{text}' is no part of the calls: write 1/100 for one of 100")
    return int(found[1])


def use_color(out: TextIO) -> bool:
    """Colour is for terminals, and for those who do not forbid it (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """The file at `path`, made new; None or ``-``: standard output, whatever its encoding is."""
    if path is None or path == "-":
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        yield sys.stdout
        return
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a Path costs an import
        yield file
