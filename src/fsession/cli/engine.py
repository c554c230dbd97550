"""``--on engine``: the machine in user space and the calls that the command line makes in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.cli.report import warn
from fsession.errors import BadInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine import Machine

__all__ = ["Call", "open_machine", "parse_call"]

_CALL = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\((?P<args>[^()]*)\)\s*")


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
