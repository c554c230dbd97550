"""`verify`: a program in, a verdict out. See docs/verify.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.cfg import callees
from fsession.isa.insn import offsets
from fsession.verify.globals import first_state, start_of_global
from fsession.verify.kfuncs import is_iter_next
from fsession.verify.limits import NEWEST, Limits, limits
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.program import check_depth, check_program
from fsession.verify.report import Report
from fsession.verify.steps import STEPS
from fsession.verify.structure import structure
from fsession.verify.walk import Walk

if TYPE_CHECKING:
    from fsession.verify.subject import Subject

__all__ = ["verify"]


def verify(subject: Subject, kernel: str | Limits = NEWEST, *, prune: bool = True) -> Report:
    """Whether `subject` may be loaded, by the rules of the series `kernel`.

    `prune` False walks every way to its end, for tests of the pruning.
    """
    rules = limits(kernel) if isinstance(kernel, str) else kernel
    walk: Walk | None = None
    try:
        check_program(subject, rules)
        steps = frozenset(
            int(at)
            for at, insn in zip(offsets(subject.insns), subject.insns, strict=False)
            if is_iter_next(subject.types, insn)
        )
        found = structure(subject.insns, steps)
        walk = Walk(subject, found, rules, STEPS, prune=prune)
        walk.run(first_state(subject))
        _walk_globals(subject, walk)
        check_depth(walk.stack_used, callees(subject.insns))
    except RefusedError as error:
        return Report(
            subject.name,
            False,
            error.message,
            error.at,
            walk.insns if walk else 0,
            error.advice,
            judged=not isinstance(error, NotJudgedError),
        )
    return Report(subject.name, True, insns=walk.insns)


def _walk_globals(subject: Subject, walk: Walk) -> None:
    done: set[int] = set()
    while todo := [start for start in walk.globals if start not in done]:
        for start in todo:
            done.add(start)
            walk.run(start_of_global(subject, start))
