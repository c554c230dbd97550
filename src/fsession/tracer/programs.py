"""Maps, programs and links of one trace."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

from fsession.attach import Reason, prepare, prepare_many
from fsession.errors import AttachError, KernelError
from fsession.trace import (
    COUNTS_MAP,
    SAVED_ENTRIES,
    Counts,
    Templates,
    attach_cookie,
    map_specs,
    multi_program,
)
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fsession.attach import Attachment, Prepared, Target
    from fsession.host import Host, Map
    from fsession.spec import MapSpec, ProgramSpec
    from fsession.tracer.selection import Group, Selection

__all__ = ["CallCode", "Code", "Programs"]

_FIRST_KEY = bytes(4)


class Code(Protocol):
    """What the programs of a trace are: their maps, one for a function, one for many."""

    def maps(self, groups: Sequence[Group]) -> Sequence[MapSpec]: ...
    def single(self, target: Target, index: int, group: Group) -> ProgramSpec: ...
    def many(self, group: Group) -> ProgramSpec: ...


class CallCode:
    """Sends a record of each call through a ring buffer."""

    def __init__(self, ring_bytes: int, saved_entries: int = SAVED_ENTRIES) -> None:
        self._ring_bytes = ring_bytes
        self._saved_entries = saved_entries
        self._templates = Templates()

    def maps(self, groups: Sequence[Group]) -> Sequence[MapSpec]:
        layouts = [group.layout for group in groups]
        return map_specs(layouts, self._ring_bytes, saved_entries=self._saved_entries)

    def single(self, target: Target, index: int, group: Group) -> ProgramSpec:
        return self._templates.program(target_signature(target), index, group.wanted)

    def many(self, group: Group) -> ProgramSpec:
        return multi_program(group.base, group.wanted)


class Programs:
    """Loaded when made, attached by `attach`. Closing it leaves nothing in the kernel.

    A function that only a pattern named and that the kernel refuses is counted in `skipped`.
    """

    def __init__(
        self,
        host: Host,
        selection: Selection,
        groups: Sequence[Group],
        code: Code,
    ) -> None:
        self._host = host
        self._selection = selection
        self._code = code
        self._prepared: list[tuple[Group, Prepared]] = []
        self._attachments: list[Attachment] = []
        self._refused: KernelError | AttachError | None = None
        self._stack = ExitStack()
        self.maps: dict[str, Map] = {}
        self.skipped: Counter[str] = Counter()
        with self._stack:
            self._create_maps(code.maps(groups))
            for group in groups:
                self._prepare(group)
            self._check_left(self._prepared)
            self._stack = self._stack.pop_all()

    def _create_maps(self, specs: Sequence[MapSpec]) -> None:
        for spec in specs:
            made = self._host.create_map(spec)
            self._stack.callback(made.close)
            self.maps[spec.name] = made

    def _prepare(self, group: Group) -> None:
        try:
            prepared = self._prepare_many(group) if group.many else self._prepare_one(group)
        except KernelError as error:
            self._skip(error)
        else:
            self._stack.callback(prepared.close)
            self._prepared.append((group, prepared))

    def _prepare_one(self, group: Group) -> Prepared:
        target = self._selection.targets[group.indices[0]]
        index = group.indices[0]
        spec = self._code.single(target, index, group)
        strategy = self._selection.plan.strategy
        single = "auto" if strategy == "multi" else strategy
        return prepare(spec, self._host, self.maps, target, single)

    def _prepare_many(self, group: Group) -> Prepared:
        spec = self._code.many(group)
        targets = [self._selection.targets[index] for index in group.indices]
        return prepare_many(spec, self._host, self.maps, targets, "multi")

    def attach(self) -> None:
        for group, prepared in list(self._prepared):
            try:
                self._attachments.append(self._attach(group, prepared))
            except AttachError as error:
                self._skip(error)
                prepared.close()
                self._prepared.remove((group, prepared))
        self._check_left(self._attachments)

    def _attach(self, group: Group, prepared: Prepared) -> Attachment:
        shapes = self._selection.shapes
        cookies = [attach_cookie(shapes[index], index) for index in group.indices]
        attachment = prepared.attach(cookies=cookies if group.many else None)
        self._stack.callback(attachment.close)
        for refused in attachment.refused:
            if not self._selection.patterns:
                raise AttachError(refused.name, refused.detail)
            self.skipped[str(refused.reason)] += 1
        return attachment

    def _skip(self, error: KernelError | AttachError) -> None:
        """Go on without a function, unless it was asked for by its full name."""
        if not self._selection.patterns:
            raise error
        self._refused = self._refused or error
        self.skipped[str(Reason.KERNEL)] += 1

    def _check_left(self, left: Sequence[object]) -> None:
        if not left and self._refused:
            raise self._refused

    def detach(self) -> None:
        for attachment in reversed(self._attachments):
            attachment.close()

    @property
    def functions(self) -> int:
        """How many are attached."""
        return sum(len(attachment.targets) for attachment in self._attachments)

    @property
    def strategies(self) -> list[str]:
        """All that were used, sorted."""
        return sorted({str(attachment.strategy) for attachment in self._attachments})

    @property
    def program_count(self) -> int:
        return sum(len(prepared.programs) for _, prepared in self._prepared)

    @property
    def link_count(self) -> int:
        return sum(len(attachment.links) for attachment in self._attachments)

    @property
    def missed(self) -> int:
        """Runs that did not happen."""
        return sum(attachment.missed for attachment in self._attachments)

    def count(self, offset: int) -> int:
        """One of `fsession.trace.Counts`."""
        value = self.maps[COUNTS_MAP].lookup(_FIRST_KEY) or bytes(Counts.STRUCT.size)
        return int.from_bytes(value[offset : offset + 8], "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
