"""What is in a graph: its roots, and what they call, found in the machine code."""

from __future__ import annotations

import platform
from collections import Counter
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fsession.attach import Reason, Target, choose, find_targets
from fsession.attach.refusals import refused_by_name
from fsession.attach.safety import unsafe
from fsession.btf.model import Models
from fsession.btf.types import Func
from fsession.callees import KernelMemory, Verdict, find_callees
from fsession.errors import BadInputError, NotFoundError
from fsession.frozen import frozen
from fsession.tracer.graph_places import CodePlaces, close_programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.attach import Plan
    from fsession.btf.catalog import Types
    from fsession.callees import Symbol
    from fsession.callees.library import LibraryMemory
    from fsession.host import Host

__all__ = ["Extent", "GraphSelection", "Node", "select_graph"]


@frozen
class Extent:
    """How far a graph goes.

    `depth` counts levels: 1 is the roots alone. `include`, `exclude`, `extra` and `leaf` are names
    with ``*``, ``?`` and ``[…]``: only callees that match one of `include` are shown; those of
    `exclude` are not, nor is what only they call; callees of `leaf` are not looked for. `extra`
    are functions that the code of the roots does not name, but which they may call by a pointer.
    """

    depth: int = 5
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    leaf: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether `include` and `exclude` let a callee be shown."""
        included = not self.include or _matches(name, self.include)
        return included and not _matches(name, self.exclude)


@frozen
class Node:
    """A function of a graph, and the least number of calls that lead from a root to it."""

    target: Target
    depth: int


@frozen
class GraphSelection:
    """Functions of a graph, roots last, as they are attached in this order.

    `skipped` are callees that are left out, counted by reason. `candidates` are among them to see
    whether they are called: `fsession.tracer.graph_learn`.
    """

    nodes: tuple[Node, ...]
    skipped: Counter[str]
    plan: Plan
    candidates: frozenset[str] = frozenset()

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(node.target for node in self.nodes)

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(node.target.name for node in self.nodes if not node.depth)


def select_graph(
    host: Host, names: Sequence[str], extent: Extent, strategy: str = "auto"
) -> GraphSelection:
    """The graph below the functions `names`. Attaches nothing."""
    if extent.depth < 1:
        raise BadInputError("a graph has at least one level, its roots")
    with ExitStack() as stack:
        found = find_targets(host, names).targets
        stack.callback(close_programs, found)
        extra = find_targets(host, extent.extra).targets if extent.extra else ()
        stack.callback(close_programs, extra)
        selection = _select(host, found, extra, extent, strategy)
        stack.pop_all()
    return selection


def _select(
    host: Host, found: Sequence[Target], extra: Sequence[Target], extent: Extent, strategy: str
) -> GraphSelection:
    roots = {target.name: target for target in found}
    judge = _Judge(host, extent)
    known = dict.fromkeys(roots, 0)
    known |= {target.name: 1 for target in extra if target.name not in known}
    targets = roots | {target.name: target for target in extra if target.name not in roots}
    if extent.depth > 1:
        callees = _callees(host, roots, extra, extent.depth, judge)
        kept = {target.name: target for target in judge.targets.values()}
        for name, depth in callees:
            if name not in known:
                known[name] = depth
                targets[name] = kept[name]
    nodes = [Node(targets[name], depth) for name, depth in known.items()]
    ordered = sorted(nodes, key=lambda node: not node.depth)
    plan = choose(host.why_not, strategy, many=len(nodes) > 1)
    return GraphSelection(tuple(ordered), judge.skipped, plan)


def _callees(
    host: Host, roots: dict[str, Target], extra: Sequence[Target], depth: int, judge: _Judge
) -> list[tuple[str, int]]:
    """Names and depths, breadth first."""
    with _memory(host) as memory:
        judge.places = places = CodePlaces(host, memory)
        starts = [start for start in places.addresses([*roots.values()]) if start]
        machine = platform.machine()
        callees = find_callees(memory, machine, starts, depth - 1, judge)
        others = [start for start in places.addresses(extra) if start]
        if others and depth > 2:
            more = find_callees(memory, machine, others, depth - 2, judge)
            callees += [callee._replace(depth=callee.depth + 1) for callee in more]
    return [(judge.targets[callee.symbol.label].name, callee.depth) for callee in callees]


def _memory(host: Host) -> KernelMemory | LibraryMemory:
    if host.name == "kernel":
        return KernelMemory(host)
    from fsession.callees.library import LibraryMemory
    from fsession.engine import Machine

    assert isinstance(host, Machine)
    return LibraryMemory(host, platform.machine())


class _Judge:
    """Which functions of the machine code are taken into the graph; keeps their targets."""

    def __init__(self, host: Host, extent: Extent) -> None:
        self._host = host
        self._extent = extent
        self._places: dict[str, Counter[str]] = {}
        self._modules: dict[str, tuple[Types | None, Models | None]] = {}
        self._reasons: dict[str, str] = {}
        self.targets: dict[str, Target] = {}
        self.places: CodePlaces | None = None

    @property
    def skipped(self) -> Counter[str]:
        return Counter(self._reasons.values())

    def __call__(self, symbols: Sequence[Symbol]) -> list[Verdict]:
        avoid = unsafe([symbol.name for symbol in symbols if not symbol.module])
        return [self._verdict(symbol, symbol.name in avoid) for symbol in symbols]

    def _verdict(self, symbol: Symbol, is_unsafe: bool) -> Verdict:
        part = self.places.target(symbol) if self.places else None
        if part is not None:
            return self._part_of_program(symbol, part)
        if _matches(symbol.label, self._extent.exclude):
            return Verdict.DROP
        reason = self._why_not(symbol, is_unsafe)
        if reason:
            return self._left_out(symbol, reason)
        if self._extent.include and not _matches(symbol.label, self._extent.include):
            return Verdict.THROUGH
        return Verdict.LEAF if _matches(symbol.label, self._extent.leaf) else Verdict.KEEP

    def _part_of_program(self, symbol: Symbol, target: Target) -> Verdict:
        """The globs are about the names that functions have in their program."""
        self.targets[symbol.label] = target
        name = target.types.name_of(target.btf_id)
        if _matches(name, self._extent.exclude):
            return Verdict.DROP
        if self._extent.include and not _matches(name, self._extent.include):
            return Verdict.THROUGH
        return Verdict.LEAF if _matches(name, self._extent.leaf) else Verdict.KEEP

    def _left_out(self, symbol: Symbol, reason: str) -> Verdict:
        if "." in symbol.name or symbol.name.startswith("__SCT__"):
            return Verdict.PART
        if reason != Reason.NO_BTF or self._places_of(symbol):
            self._reasons[symbol.label] = reason
        if reason in (Reason.NO_BTF, Reason.AMBIGUOUS, Reason.PROTOTYPE):
            return Verdict.THROUGH
        return Verdict.DROP

    def _why_not(self, symbol: Symbol, is_unsafe: bool) -> str:
        """Why the function can't be attached to, "" if it can; then it is kept as a target."""
        refused = Reason.UNSAFE if is_unsafe else refused_by_name(symbol.name)
        if refused:
            return refused
        types, models = self._of_module(symbol.module)
        ids = types.find_own(symbol.name, Func) if types else []
        if types is None or models is None or not ids:
            return Reason.NO_BTF
        places = self._places_of(symbol)
        if places != 1 or len(ids) != 1:
            return Reason.AMBIGUOUS if places else Reason.NOT_TRACEABLE
        slots = models.slots(ids[0])
        if not isinstance(slots, int):
            return Reason.PROTOTYPE
        target = Target(symbol.label, ids[0], slots, types, symbol.module)
        self.targets[symbol.label] = target
        return ""

    def _places_of(self, symbol: Symbol) -> int:
        """How many places to trace have this name."""
        module = symbol.module
        if module not in self._places:
            self._places[module] = Counter(self._host.traceable("*", module))
        return self._places[module][symbol.name]

    def _of_module(self, module: str) -> tuple[Types | None, Models | None]:
        if module not in self._modules:
            try:
                types = self._host.types(module)
                self._modules[module] = (types, Models(types))
            except NotFoundError:
                self._modules[module] = (None, None)
        return self._modules[module]


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
