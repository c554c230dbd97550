"""What a user names to what the kernel attaches to. `pattern` says how names are written."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from fsession.attach.functions import function_target, in_types_of, match_functions, what_there_is
from fsession.attach.pattern import Pattern, is_pattern, parse
from fsession.attach.programs import match_programs, program_target
from fsession.attach.target import Found, Refused, Target
from fsession.errors import AttachError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.attach.pattern import ProgramPattern
    from fsession.host import Host, Program

__all__ = [
    "Found",
    "Refused",
    "Target",
    "find_targets",
    "function_target",
    "is_pattern",
    "program_target",
]


def find_targets(host: Host, names: Sequence[str], *, exit_side: bool = True) -> Found:
    """The functions that `names` stand for, each once, in the order of the names.

    A name in full that can't be attached to raises `AttachError`; one that a pattern gives is left
    out, with its reason. A pattern that gives nothing to attach to raises as well. `exit_side`:
    they are to be traced at their exit, too.
    """
    targets: dict[tuple[str, str], Target] = {}
    refused: list[Refused] = []
    opened: list[Program] = []
    with ExitStack() as stack:
        for name in names:
            found = _find(host, parse(name), exit_side, stack)
            if not found.targets:
                raise _nothing(host, name, found)
            opened += [target.program for target in found.targets if target.program]
            for target in found.targets:
                targets.setdefault((target.module, target.function), target)
            refused += found.refused
        stack.pop_all()
    kept = [target.program for target in targets.values()]
    for program in opened:
        if program not in kept:
            program.close()
    return Found(tuple(targets.values()), tuple(refused))


def _find(
    host: Host, pattern: Pattern | ProgramPattern, exit_side: bool, stack: ExitStack
) -> Found:
    if not isinstance(pattern, Pattern):
        if not pattern.is_name:
            return match_programs(host, pattern, stack)
        program = stack.enter_context(host.open_program(pattern.place))
        return Found((program_target(host, program, pattern.function),), ())
    if pattern.is_name:
        return Found((function_target(host, pattern.text, exit_side=exit_side),), ())
    return match_functions(host, pattern, exit_side=exit_side)


def _nothing(host: Host, pattern: str, found: Found) -> AttachError:
    if not found.refused:
        return _with_hint(host, AttachError(pattern, f"no function matches {in_types_of(host)}"))
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.counts().items())
    words = f"every function that matches is left out: {reasons}"
    return _with_hint(host, AttachError(pattern, words))


def _with_hint(host: Host, error: AttachError) -> AttachError:
    command = f"fsession list '{error.target}' shows each with its reason"
    error.add_note(what_there_is(host, command))
    return error
