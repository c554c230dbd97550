"""`verify`: a program in, a verdict out. See docs/verify.md."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fsession.isa.insn import offsets
from fsession.verify.explain import Log, Results, explain, source_line
from fsession.verify.fields import check_fields
from fsession.verify.globals import first_state, start_of_global
from fsession.verify.kfuncs import is_iter_next
from fsession.verify.limits import NEWEST, Limits, limits
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.program import calls_of, check_depth, check_program
from fsession.verify.report import Report
from fsession.verify.steps import STEPS
from fsession.verify.structure import structure
from fsession.verify.walk import Walk

if TYPE_CHECKING:
    from fsession.verify.subject import Subject

__all__ = ["verify"]

_TOLD = 5_000  # instructions of a walk of which an explanation says what they left


def verify(
    subject: Subject, kernel: str | Limits = NEWEST, *, prune: bool = True, log_level: int = 0
) -> Report:
    """Whether `subject` may be loaded, by the rules of the series `kernel`.

    `prune` False walks every way to its end, for tests of the pruning. `log_level` 1 or 2: the
    report has a log.
    """
    rules = limits(kernel) if isinstance(kernel, str) else kernel
    log = Log(subject, log_level) if log_level else None
    walk: Walk | None = None
    try:
        check_program(subject, rules)
        found = structure(subject.insns, _iterator_steps(subject))
        check_fields(subject.insns, rules)
        walk = Walk(subject, found, rules, STEPS, prune=prune, listen=log)
        walk.run(first_state(subject))
        _walk_globals(subject, walk)
        check_depth(walk.stack_used, calls_of(found, walk.only_later), walk.later)
    except RefusedError as error:
        return _refusal(subject, error, walk, log)
    text = log.text("", walk) if log else ""
    return Report(subject.name, True, insns=walk.insns, log=text)


def _iterator_steps(subject: Subject) -> frozenset[int]:
    return frozenset(
        int(at)
        for at, insn in zip(offsets(subject.insns), subject.insns, strict=False)
        if is_iter_next(subject.types, insn)
    )


def _refusal(subject: Subject, error: RefusedError, walk: Walk | None, log: Log | None) -> Report:
    story, insns = "", 0
    if walk is not None:
        insns = walk.insns
        if error.at >= 0 and walk.state.frames:
            code, results = walk.structure.code, _results(subject, walk)
            story = explain(subject, code, walk.state, error.regs, error.at, results)
    return Report(
        subject.name,
        accepted=False,
        message=error.message,
        at=error.at,
        insns=insns,
        advice=error.advice,
        log=log.text(error.message, walk) if log else "",
        explanation=story,
        source=source_line(subject, error.at) if error.at >= 0 else "",
        judged=not isinstance(error, NotJudgedError),
    )


def _results(subject: Subject, walk: Walk) -> dict[int, str]:
    """What the instructions of a short walk left: it is walked once more."""
    found = Results()
    if walk.insns <= _TOLD:
        again = Walk(subject, walk.structure, walk.limits, STEPS, listen=found)
        with suppress(RefusedError):
            again.run(first_state(subject))
            _walk_globals(subject, again)
    return found.of


def _walk_globals(subject: Subject, walk: Walk) -> None:
    done: set[int] = set()
    while todo := [start for start in walk.globals if start not in done]:
        for start in todo:
            done.add(start)
            walk.run(start_of_global(subject, start))
