"""What is to be traced: functions with their shapes, in groups of one program each."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from fsession.attach import Plan, Strategy, choose, find_targets, is_pattern
from fsession.errors import AttachError
from fsession.frozen import frozen
from fsession.trace import Failure, Layout, Shape, Shapes, Wanted, multi_layout, with_fields
from fsession.tracer.wants import Wants, Wishes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fsession.attach import Target
    from fsession.host import Host

__all__ = ["Group", "Selection", "select"]


@frozen
class Group:
    """Functions of one program, by their indices; `many`: it is one for many functions."""

    indices: range
    base: Layout
    many: bool
    wanted: Wanted

    @property
    def layout(self) -> Layout:
        """Of its records: `base` with room for the values of expressions."""
        return with_fields(self.base, self.wanted)


@frozen
class Selection:
    """Functions to attach to, in the order of their indices in records, each with its shape and
    what its program has to do.

    `skipped` are those that were asked for by a pattern and are left out, counted by reason.
    `patterns`: the functions were not all named in full, so that one may be left out.
    """

    targets: tuple[Target, ...]
    shapes: tuple[Shape, ...]
    wanted: tuple[Wanted, ...]
    skipped: Counter[str]
    plan: Plan
    patterns: bool

    def groups(self) -> list[Group]:
        """One for each function, or, where many share a link, one for each module's functions that
        are alike to the expressions."""
        if self.plan.strategy is not Strategy.MULTI:
            return self._singles(range(len(self.targets)))
        groups: list[Group] = []
        numbered = groupby(range(len(self.targets)), self._class)
        for (_, is_program, _), members in numbered:
            indices = list(members)
            whole = range(indices[0], indices[-1] + 1)
            groups += self._singles(whole) if is_program else [self._many(whole)]
        return groups

    def _singles(self, indices: range) -> list[Group]:
        return [
            Group(range(at, at + 1), self.shapes[at].layout, False, self.wanted[at])
            for at in indices
        ]

    def _many(self, indices: range) -> Group:
        layout = multi_layout(self.shapes[at] for at in indices)
        return Group(indices, layout, True, self.wanted[indices[0]])

    def _class(self, index: int) -> tuple[str, bool, int]:
        return (*_place(self.targets[index]), id(self.wanted[index]))


def _place(target: Target) -> tuple[str, bool]:
    """What one multi link can't mix: modules, and BPF programs, which it does not take at all."""
    return target.module, target.program is not None


def select(
    host: Host,
    names: Sequence[str],
    wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
    strategy: str = "auto",
) -> Selection:
    """What `names` stand for on `host`, and how it would be attached. Attaches nothing.

    Raises `AttachError` for a name in full that can't be traced, and if nothing is left, and
    `CompileError` for expressions that make sense for none of the functions.
    """
    found = find_targets(host, names)
    skipped = Counter({str(reason): count for reason, count in found.counts().items()})
    shapes: dict[Target, Shape] = {}
    known: dict[int, Shapes] = {}
    for target in found.targets:
        of_types = known.get(id(target.types))
        if of_types is None:
            of_types = known[id(target.types)] = Shapes(target.types)
        shape = of_types.of(target.btf_id, target.slots)
        if wishes.filters.errors and shape.failure == Failure.NONE:
            skipped["a result that tells no error"] += 1
        else:
            shapes[target] = shape
    if not shapes:
        error = AttachError(", ".join(names), "what it returns tells no error")
        raise error.hint("without --errors its calls can be traced")
    plan = choose(host.why_not, strategy, many=len(shapes) > 1)
    patterns = any(map(is_pattern, names))
    wanted = _wanted(shapes, wishes, plan, skipped, patterns=patterns)
    order = {id(one): at for at, one in enumerate(wanted.values())}
    ordered = sorted(wanted, key=lambda target: (*_place(target), order[id(wanted[target])]))
    return Selection(
        tuple(ordered),
        tuple(shapes[target] for target in ordered),
        tuple(wanted[target] for target in ordered),
        skipped,
        plan,
        patterns,
    )


def _wanted(
    targets: Iterable[Target],
    wishes: Wishes,
    plan: Plan,
    skipped: Counter[str],
    *,
    patterns: bool,
) -> dict[Target, Wanted]:
    """What each program has to do; functions that can't have it are skipped."""
    wants = Wants(wishes)
    found: dict[Target, Wanted] = {}
    for target in targets:
        direct = plan.strategy is not Strategy.MULTI or target.program is not None
        wanted = wants.of(target, direct=direct)
        if isinstance(wanted, Wanted):
            found[target] = wanted
            continue
        if not patterns:
            raise wants.errors[0]
        skipped[wanted] += 1
    if not found:
        raise wants.errors[0]
    return found
