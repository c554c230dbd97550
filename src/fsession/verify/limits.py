"""What each kernel series has that changes a verdict; docs/verify.md has the sources."""

from __future__ import annotations

from fsession.errors import BadInputError
from fsession.frozen import frozen

__all__ = ["NEWEST", "SERIES", "Limits", "limits"]


@frozen
class Limits:
    """Rules of one series; see docs/verify.md for where each is from."""

    series: str
    version: tuple[int, int]
    uninit_stack: bool = True  # 6.3: privileged programs may read it
    partial_spills: bool = True  # 6.4: constants, 6.8: all scalars of fewer than 8 bytes
    div_ranges: bool = True  # 7.0: bounds of quotients by known numbers
    may_goto: bool = True  # 6.9
    signed_ops: bool = True  # 6.6: ISA v4
    callbacks_loop: bool = True  # 6.8: callbacks are walked until nothing changes
    functions_under_lock: bool = True  # 6.9: calls of the program's own functions
    load_acquire: bool = True  # 6.15
    same_operands: bool = True  # 7.0: conditions of a register and itself are known
    dead_ways: bool = False  # 7.2: a way on which bounds contradict each other is not walked
    moved_context: bool = False  # 7.2: a context pointer that was moved on is read through
    one_offset: bool = False  # 7.2: a pointer's fixed and variable offset are one range
    max_insns: int = 1_000_000


NEWEST = "7.2"
SERIES = {
    "6.1": Limits(
        "6.1",
        (6, 1),
        uninit_stack=False,
        partial_spills=False,
        div_ranges=False,
        may_goto=False,
        signed_ops=False,
        callbacks_loop=False,
        functions_under_lock=False,
        load_acquire=False,
        same_operands=False,
    ),
    "6.12": Limits("6.12", (6, 12), div_ranges=False, load_acquire=False, same_operands=False),
    "7.0": Limits("7.0", (7, 0)),
    "7.2": Limits("7.2", (7, 2), dead_ways=True, moved_context=True, one_offset=True),
    "7.3": Limits("7.3", (7, 3), dead_ways=True, moved_context=True, one_offset=True),
}


def limits(series: str) -> Limits:
    """The rules of a series. Raises `BadInputError` for one without a table."""
    if series not in SERIES:
        raise BadInputError(f"there is no table for Linux {series}").hint(
            f"there are tables for {', '.join(SERIES)}"
        )
    return SERIES[series]
