"""Maps, programs and links of a graph."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from fsession.attach import Strategy, prepare_many
from fsession.btf.types import Func, Struct, Union, Var
from fsession.errors import AttachError
from fsession.trace.graph_level import CurrentTask, NoLevel, PerCpu
from fsession.trace.graph_program import (
    GRAPH_COUNTS_MAP,
    KERNEL_STACK_BYTES,
    Making,
    graph_maps,
    graph_program,
    state_types,
)
from fsession.trace.graph_record import COUNTS_STRUCT, GraphCounts, graph_cookie, record_bytes
from fsession.tracer.graph_filters import root_conditions
from fsession.tracer.signatures import target_signature
from fsession.uapi import AttachType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fsession.attach import Attachment, Target
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Host, Map
    from fsession.spec import ProgramSpec
    from fsession.trace.graph_level import Level
    from fsession.trace.graph_program import Part, RootFilters
    from fsession.tracer.graph_selection import GraphSelection

__all__ = ["GraphPrograms", "level_of", "words_of"]

_FIRST_KEY = bytes(4)
_USER_STACK_BYTES = 1 << 30  # a thread's may be as large as it likes


class GraphPrograms:
    """Loaded when made, attached by `attach`. Closing it leaves nothing in the kernel."""

    def __init__(
        self,
        host: Host,
        selection: GraphSelection,
        filters: RootFilters,
        ring_bytes: int,
        *,
        stack: bool = False,
        values: Sequence[Part] = (),
    ) -> None:
        self._selection = selection
        self._attachment: Attachment | None = None
        self._stack = ExitStack()
        self.maps: dict[str, Map] = {}
        self.skipped: Counter[str] = Counter()
        targets = selection.targets
        with self._stack:
            for map_spec in graph_maps(ring_bytes):
                types = state_types() if map_spec.value_type else None
                made = host.create_map(map_spec, types)
                self._stack.callback(made.close)
                self.maps[map_spec.name] = made
            self._texts = [_texts_of(target) for target in targets]
            making = self._making(host, filters, tuple(values), stack=stack)
            self.record_bytes = None if making.has_notes else record_bytes(making.slots)
            strategy = selection.plan.strategy
            spec = graph_program(making)
            each = _OwnPrograms(making, targets) if making.values else None
            self._prepared = prepare_many(spec, host, self.maps, targets, strategy, each=each)
            self._stack.callback(self._prepared.close)
            self._stack = self._stack.pop_all()

    def _making(
        self, host: Host, filters: RootFilters, values: tuple[Part, ...], *, stack: bool
    ) -> Making:
        types, selection = host.types(""), self._selection
        slots = max(target.slots for target in selection.targets)
        places = {(target.module, target.program is None) for target in selection.targets}
        return Making(
            slots,
            level_of(types),
            filters,
            KERNEL_STACK_BYTES if host.name == "kernel" else _USER_STACK_BYTES,
            words_of(types, slots),
            alone=selection.plan.strategy is Strategy.MULTI and len(places) == 1,
            texts=max(map(len, self._texts)),
            stack=stack,
            conditions=root_conditions(selection, filters.conditions),
            values=values,
        )

    def attach(self) -> None:
        """Roots come last: when a tree can begin, all else is attached."""
        roots = self._selection.roots
        index = {target.name: at for at, target in enumerate(self._selection.targets)}
        cookies = [
            graph_cookie(
                index[target.name],
                target.slots,
                root=target.name in roots,
                texts=self._texts[index[target.name]],
            )
            for target in self._prepared.targets
        ]
        self._attachment = self._prepared.attach(cookies=cookies)
        self._stack.callback(self._attachment.close)
        for refused in self._attachment.refused:
            if refused.name in roots:
                raise AttachError(refused.name, refused.detail)
            self.skipped[str(refused.reason)] += 1

    def detach(self) -> None:
        if self._attachment:
            self._attachment.close()

    @property
    def functions(self) -> int:
        return len(self._attachment.targets) if self._attachment else 0

    @property
    def strategy(self) -> str:
        return str(self._prepared.strategy)

    @property
    def program_count(self) -> int:
        return len(self._prepared.programs)

    @property
    def link_count(self) -> int:
        return len(self._attachment.links) if self._attachment else 0

    @property
    def missed(self) -> int:
        """Runs that the kernel did not start, or a split session had no slot for."""
        return self._attachment.missed if self._attachment else 0

    def counts(self) -> GraphCounts:
        value = self.maps[GRAPH_COUNTS_MAP].lookup(_FIRST_KEY)
        return GraphCounts.decode(value or bytes(COUNTS_STRUCT.size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


class _OwnPrograms:
    """For targets that have programs of their own: without the values of others."""

    def __init__(self, making: Making, targets: Sequence[Target]) -> None:
        self._making = making
        parts = {index: part for part in making.values for index in part.indices}
        self._parts = {target.name: parts.get(index) for index, target in enumerate(targets)}
        self._known: dict[Part | None, ProgramSpec] = {}

    def __call__(self, target: Target) -> ProgramSpec:
        part = self._parts[target.name]
        known = self._known.get(part)
        if known is None:
            spec = graph_program(replace(self._making, values=(part,) if part else ()))
            known = self._known[part] = replace(spec, attach_type=AttachType.TRACE_FSESSION)
        return known


def _texts_of(target: Target) -> tuple[int, ...]:
    """The argument words that point to texts."""
    return tuple(param.slot for param in target_signature(target).strings)


def words_of(types: Types, slots: int) -> TypeId | None:
    """A struct of the kernel that begins with at least so many words, if one can read as such."""
    registers = types.find("pt_regs", Struct)
    if registers is None or types.find("bpf_rdonly_cast", Func) is None:
        return None
    kind = types[registers]
    return registers if isinstance(kind, Struct) and kind.size >= 8 * slots else None


def level_of(types: Types) -> Level:
    """Where this kernel keeps the preemption count: x86_64 in a variable of its own, or in
    ``pcpu_hot`` (6.2 to 6.14); arm64 in the task."""
    alone = types.find("__preempt_count", Var)
    if alone is not None:
        return PerCpu(alone)
    hot, shape = types.find("pcpu_hot", Var), types.find("pcpu_hot", Struct)
    offset = _offset(types, shape, "preempt_count") if shape else None
    if hot is not None and offset is not None:
        return PerCpu(hot, offset)
    task = types.find("task_struct", Struct)
    offset = _offset(types, task, "thread_info", "preempt", "count") if task else None
    return NoLevel() if offset is None else CurrentTask(offset)


def _offset(types: Types, id: TypeId, *path: str) -> int | None:
    """Of a member, in bytes; members of anonymous structs and unions count as the outer's."""
    kind = types[types.strip(id)]
    if not path:
        return 0
    if not isinstance(kind, Struct | Union):
        return None
    for member in kind.members:
        rest = path[1:] if member.name == path[0] else path
        if member.name in ("", path[0]):
            inner = _offset(types, member.type, *rest)
            if inner is not None:
                return member.bit_offset // 8 + inner
    return None
