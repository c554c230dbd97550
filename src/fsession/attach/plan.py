"""Which strategy a session gets: a table over what the host can do."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, UnsupportedError
from fsession.frozen import frozen
from fsession.host import Feature

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Plan", "Strategy", "choose"]


class Strategy(StrEnum):
    """How one session is made of programs and links."""

    NATIVE = "native"
    MULTI = "multi"
    SPLIT = "split"


@frozen
class Plan:
    """A strategy and why it was taken, in words for `fsession features` and ``-v``."""

    strategy: Strategy
    reason: str


@frozen
class _Row:
    """`strategy` can be had where the host supports all of `needs`."""

    strategy: Strategy
    needs: tuple[Feature, ...]
    words: str


_ROWS = {
    row.strategy: row
    for row in (
        _Row(
            Strategy.NATIVE,
            (Feature.FSESSION,),
            "the kernel has fsession programs, one link a function",
        ),
        _Row(
            Strategy.MULTI,
            (Feature.FSESSION_MULTI,),
            "the kernel has fsession programs, one link for many functions",
        ),
        _Row(
            Strategy.SPLIT,
            (Feature.FENTRY, Feature.ATOMICS),
            "fentry and fexit programs that share a table of the calls under way",
        ),
    )
}
_ORDER = {
    False: (Strategy.NATIVE, Strategy.SPLIT),
    True: (Strategy.MULTI, Strategy.NATIVE, Strategy.SPLIT),
}


def choose(why_not: Callable[[Feature], str], wanted: str = "auto", *, many: bool = False) -> Plan:
    """The first strategy that the host has, or `wanted`. `why_not` is the host's.

    `many`: one program for many functions, so that one link for all of them is worth most. Raises
    `UnsupportedError` that names what is missing.
    """
    if wanted == "auto":
        order = _ORDER[many]
    elif wanted in _ROWS:
        order = (Strategy(wanted),)
    else:
        names = ", ".join(["auto", *_ROWS])
        raise BadInputError(f"no strategy is called '{wanted}'").hint(f"take one of {names}")
    lacking: list[str] = []
    for strategy in order:
        row = _ROWS[strategy]
        missing = [f"{need.value}: {why_not(need)}" for need in row.needs if why_not(need)]
        if not missing:
            because = f"; not {lacking[0]}" if lacking else ""
            return Plan(strategy, row.words + because)
        lacking.append(f"{strategy} ({missing[0]})")
    error = UnsupportedError(f"a session, {' or '.join(lacking)},")
    raise error.hint("fsession features shows what this kernel has")
