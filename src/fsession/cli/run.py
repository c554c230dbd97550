"""``fsession run``: programs of the user's own."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from fsession.cli.follow import follow, workload_status
from fsession.cli.options import WorkloadCommand, quiet, verbose, workload
from fsession.cli.report import warn
from fsession.cli.workload import Workload

if TYPE_CHECKING:
    from fsession.attach import Attachment
    from fsession.host import PrintkReader
    from fsession.session import Object

__all__ = ["run"]


@click.command(cls=WorkloadCommand)
@click.argument("file")
@click.option(
    "--strategy",
    type=click.Choice(["auto", "native", "multi", "split"]),
    default="auto",
    help="How sessions are made; auto takes the best that this kernel has.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End after S seconds.",
)
@verbose
@quiet
def run(file: str, strategy: str, timeout_s: float | None, verbose: bool, quiet: bool) -> int:
    """Load FILE (.bpf.o, or .bpf.c, which is compiled), attach its programs by their sections and
    print what they print with bpf_printk.

    With -- CMD, until CMD ends, and the exit status is CMD's; else until Ctrl-C.
    """
    with ExitStack() as stack:
        words = workload()
        process = stack.enter_context(Workload(words)) if words else None
        from fsession.session import Object

        obj = stack.enter_context(Object.open(file))
        obj.load()
        printed = stack.enter_context(obj.require_host().printk_lines())
        printed.read(0)  # what others printed before
        with obj.attach(strategy) as attachment:
            if verbose:
                _tell(obj, attachment)
            interrupted = follow(printed, lambda: _print(printed), sys.stdout, process, timeout_s)
        _print(printed)
        status = workload_status(process, interrupted=interrupted)
        if not quiet:
            warn(_summary(obj, attachment))
        return status


def _print(printed: PrintkReader) -> bool:
    lines = printed.read(0)
    if lines:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    return True


def _tell(obj: Object, attachment: Attachment) -> None:
    for name, program in obj.programs.items():
        if program.is_loaded:
            warn(f"{name}: {program.strategy}")
    warn(f"attached to {', '.join(attachment.targets)}")


def _summary(obj: Object, attachment: Attachment) -> str:
    from fsession.sinks import count

    programs = sum(program.is_loaded for program in obj.programs.values())
    return (
        f"{attachment.missed} missed · {attachment.strategy} session: "
        f"{count(programs, 'program')}, {count(len(attachment.links), 'link')} · "
        f"{obj.require_host().description}"
    )
