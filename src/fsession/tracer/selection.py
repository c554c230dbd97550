"""What is to be traced: functions with their shapes, in groups of one program each."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from fsession.attach import Plan, Strategy, choose, find_targets, is_pattern
from fsession.errors import AttachError
from fsession.frozen import frozen
from fsession.trace import Failure, Filters, Layout, Shape, Shapes, multi_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.attach import Target
    from fsession.host import Host

__all__ = ["Group", "Selection", "select"]


@frozen
class Group:
    """Functions of one program, by their indices; `many`: it is one for many functions."""

    indices: range
    layout: Layout
    many: bool


@frozen
class Selection:
    """Functions to attach to, each with its shape, in the order of their indices in records.

    `skipped` are those that were asked for by a pattern and are left out, counted by reason.
    `patterns`: the functions were not all named in full, so that one may be left out.
    """

    targets: tuple[Target, ...]
    shapes: tuple[Shape, ...]
    skipped: Counter[str]
    plan: Plan
    patterns: bool

    def groups(self) -> list[Group]:
        """One for each function, or, where many share a link, one for each module's functions."""
        if self.plan.strategy is not Strategy.MULTI:
            return self._singles(range(len(self.targets)))
        groups: list[Group] = []
        numbered = groupby(range(len(self.targets)), lambda index: _place(self.targets[index]))
        for (_, is_program), members in numbered:
            indices = list(members)
            whole = range(indices[0], indices[-1] + 1)
            groups += self._singles(whole) if is_program else [self._many(whole)]
        return groups

    def _singles(self, indices: range) -> list[Group]:
        return [Group(range(at, at + 1), self.shapes[at].layout, False) for at in indices]

    def _many(self, indices: range) -> Group:
        return Group(indices, multi_layout(self.shapes[at] for at in indices), True)


def _place(target: Target) -> tuple[str, bool]:
    """What one multi link can't mix: modules, and BPF programs, which it does not take at all."""
    return target.module, target.program is not None


def select(host: Host, names: Sequence[str], filters: Filters, strategy: str = "auto") -> Selection:
    """What `names` stand for on `host`, and how it would be attached. Attaches nothing.

    Raises `AttachError` for a name in full that can't be traced, and if nothing is left.
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
        if filters.errors and shape.failure == Failure.NONE:
            skipped["a result that tells no error"] += 1
        else:
            shapes[target] = shape
    if not shapes:
        error = AttachError(", ".join(names), "what it returns tells no error")
        raise error.hint("without --errors its calls can be traced")
    plan = choose(host.why_not, strategy, many=len(shapes) > 1)
    patterns = any(map(is_pattern, names))
    ordered = sorted(shapes, key=_place)
    return Selection(
        tuple(ordered), tuple(shapes[target] for target in ordered), skipped, plan, patterns
    )
