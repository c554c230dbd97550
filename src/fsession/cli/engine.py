"""``--on engine``: the machine in user space, its libraries, the calls that the command line makes
in it, and the script that runs beside it."""

from __future__ import annotations

import re
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from fsession.cli.report import warn
from fsession.cli.workload import Workload
from fsession.errors import BadInputError, NotFoundError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from fsession.cli.follow import Command
    from fsession.engine import Machine
    from fsession.host import Host

__all__ = ["Call", "Place", "open_machine", "parse_call", "place_options"]

_CALL = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\((?P<args>[^()]*)\)\s*")


_ON = click.option(
    "--on",
    "on",
    type=click.Choice(["kernel", "engine"]),
    default="kernel",
    help="Where programs run: this machine's kernel, or the engine in user space.",
)
_LIB = click.option(
    "--lib",
    "libraries",
    multiple=True,
    metavar="FILE",
    help="On the engine: functions of this shared library. Can be repeated.",
)
_DECLARE = click.option(
    "--declare",
    "declarations",
    multiple=True,
    metavar="'C'|FILE",
    help="On the engine: a function's declaration, or a header with some, where the library has no "
    "debug info.",
)


@frozen
class Place:
    """Where programs run, as the options say it."""

    on: str = "kernel"
    libraries: tuple[str, ...] = ()
    declarations: tuple[str, ...] = ()

    @property
    def is_engine(self) -> bool:
        return self.on == "engine"

    def check(self, words: Sequence[str], *, dry_run: bool) -> None:
        """Of the tracer: what must be said and what makes no sense."""
        if not self.is_engine and (self.libraries or self.declarations):
            raise click.UsageError("--lib and --declare go with --on engine")
        if self.is_engine and not self.libraries:
            raise click.UsageError("--on engine traces shared libraries: --lib ./libx.so")
        if self.is_engine and not words and not dry_run:
            raise click.UsageError("--on engine traces this process: -- script.py, or -- -m MODULE")

    def workload(self, words: Sequence[str], stack: ExitStack) -> Command | None:
        """What stands behind ``--``, made but not started; None if nothing does."""
        if not words:
            return None
        if not self.is_engine:
            return stack.enter_context(Workload(words))
        from fsession.cli.script import Script

        return stack.enter_context(Script(words))

    def host(self, stack: ExitStack, *, step: bool = False) -> Host | None:
        """None: this machine's kernel."""
        return stack.enter_context(self.machine(step=step)) if self.is_engine else None

    def machine(self, calls: Sequence[Call] = (), *, step: bool = False) -> Machine:
        """With the libraries' functions, or with those that are called."""
        if self.libraries:
            from fsession.engine.prototypes import library_machine

            made = library_machine(self.libraries, map(_declaration, self.declarations))
        else:
            made = open_machine(calls)
        made.step = click.echo if step else None
        return made


def _declaration(text: str) -> str:
    """Itself, or what the header of that name has."""
    from pathlib import Path

    if "(" in text:
        return text
    try:
        return Path(text).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise BadInputError(f"{text}: {error.strerror}").hint(
            "--declare takes a header or a declaration: 'long add(long a, long b)'"
        ) from None


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--on``, ``--lib`` and ``--declare``, as the one parameter `place`: a `Place`."""

    @wraps(command)
    def run(
        *args: Any, on: str, libraries: tuple[str, ...], declarations: tuple[str, ...], **rest: Any
    ) -> Any:
        return command(*args, place=Place(on, libraries, declarations), **rest)

    return _ON(_LIB(_DECLARE(run)))


class Call:
    """``bpf_fentry_test1(1)``: a function and numbers."""

    def __init__(self, name: str, args: tuple[int, ...]) -> None:
        self.name, self.args = name, args

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.args))})"

    def make(self, machine: Machine) -> int:
        return machine.function(self.name)(*self.args)


def parse_call(text: str) -> Call:
    """Raises `BadInputError` for what is no call with numbers."""
    found = _CALL.fullmatch(text)
    if found is None:
        raise BadInputError(f"no call: '{text}'").hint("it looks like: bpf_fentry_test1(1)")
    words = [word.strip() for word in found["args"].split(",")] if found["args"].strip() else []
    try:
        return Call(found["name"], tuple(int(word, 0) for word in words))
    except ValueError:
        raise BadInputError(f"arguments of a call are numbers: '{text}'") from None


def open_machine(calls: Sequence[Call]) -> Machine:
    """A machine that has the functions called: those it lacks are made, returning 0."""
    from fsession.engine import Machine

    machine = Machine()
    try:
        for name in dict.fromkeys(call.name for call in calls):
            _provide(machine, name)
    except BaseException:
        machine.close()
        raise
    return machine


def _provide(machine: Machine, name: str) -> None:
    try:
        machine.function(name)
    except NotFoundError:
        machine.define(name, lambda *_: 0)
        warn(f"{name}: a stand-in that returns 0")
