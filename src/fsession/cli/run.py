"""``fsession run``: programs of the user's own."""

from __future__ import annotations

import select
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.engine import Place, parse_call, place_options
from fsession.cli.follow import follow, workload_status
from fsession.cli.options import WorkloadCommand, quiet, verbose, workload
from fsession.cli.report import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.attach import Attachment
    from fsession.host import Host
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
@place_options
@click.option(
    "--call",
    "calls",
    multiple=True,
    metavar="'F(N, …)'",
    help="On the engine: call the function with these numbers, then end. Can be repeated.",
)
@click.option("--step", is_flag=True, help="On the engine: show each instruction that runs.")
@verbose
@quiet
def run(
    file: str,
    strategy: str,
    timeout_s: float | None,
    place: Place,
    calls: tuple[str, ...],
    step: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Load FILE (.bpf.o; .bpf.c or .py, which is compiled), attach its programs and print what
    they print with bpf_printk and the events that they send.

    With -- CMD, until CMD ends, and the exit status is CMD's; else until Ctrl-C. On the engine,
    CMD is a Python script or -m MODULE; without it, until the calls are made.
    """
    words = workload()
    if place.is_engine and words and calls:
        raise click.UsageError("--call or -- CMD")
    if not place.is_engine and (calls or step or place.libraries or place.declarations):
        raise click.UsageError("--call, --step, --lib and --declare go with --on engine")
    if place.is_engine and not words:
        return _call_on_engine(file, calls, place, strategy, step=step, quiet=quiet)
    with ExitStack() as stack:
        process = place.workload(words, stack)
        obj, read_events, events_fd = _load(file, stack, place.host(stack, step=step))
        printed = stack.enter_context(obj.require_host().printk_lines())
        printed.read(0)  # what others printed before
        ready = stack.enter_context(select.epoll())
        for descriptor in (printed.fileno(), events_fd):
            if descriptor >= 0:
                ready.register(descriptor, select.EPOLLIN)

        def show() -> bool:
            _print([*read_events(), *printed.read(0)])
            return True

        with obj.attach(strategy) as attachment:
            if verbose:
                _tell(obj, attachment)
            interrupted = follow(ready, show, sys.stdout, process, timeout_s)
        show()
        status = workload_status(process, interrupted=interrupted)
        if not quiet:
            warn(_summary(obj, attachment))
        return status


def _call_on_engine(
    file: str, calls: tuple[str, ...], place: Place, strategy: str, *, step: bool, quiet: bool
) -> int:
    """Load, attach, call; then show what was printed and sent."""
    with ExitStack() as stack:
        wanted = [parse_call(text) for text in calls]
        machine = stack.enter_context(place.machine(wanted, step=step))
        obj, read_events, _ = _load(file, stack, machine)
        with obj.attach(strategy) as attachment:
            for call in wanted:
                result = call.make(machine)
                if not quiet:
                    warn(f"{call} = {result}")
        _print([*read_events(), *machine.printed])
        if not quiet:
            warn(_summary(obj, attachment))
    return 0


def _load(
    file: str, stack: ExitStack, host: Host | None
) -> tuple[Object, Callable[[], list[Any]], int]:
    """What was loaded; how its events are read, and the descriptor that tells of them."""
    if file.endswith(".py"):
        from fsession.session.python import PythonObject

        programs = stack.enter_context(PythonObject.open(file)).load(host)
        return programs.object, lambda: programs.read(0), programs.fileno()
    from fsession.session import Object

    return stack.enter_context(Object.open(file)).load(host), list, -1


def _print(items: list[Any]) -> None:
    if items:
        sys.stdout.write("".join(f"{item}\n" for item in items))
        sys.stdout.flush()


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
