"""Programs loaded in the form that a strategy needs, ready to be attached.

`prepare` takes a program and its target, `prepare_many` a program for many functions. Loading is
where the verifier speaks; attaching only makes links.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

from fsession.attach.attachment import Attachment, attach_error
from fsession.attach.plan import Strategy, choose
from fsession.attach.split import split
from fsession.attach.table import DEFAULT_SLOTS, Table
from fsession.errors import KernelError
from fsession.resolve import resolve
from fsession.uapi import AttachType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from fsession.attach.targets import Target
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec

__all__ = ["SINGLE", "Prepared", "prepare", "prepare_many"]

SINGLE = {
    AttachType.TRACE_FSESSION_MULTI: AttachType.TRACE_FSESSION,
    AttachType.TRACE_FENTRY_MULTI: AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT_MULTI: AttachType.TRACE_FEXIT,
}
"""The attach type for one function of each for many."""

_MULTI = {single: multi for multi, single in SINGLE.items()}


class Prepared(Protocol):
    """Loaded programs of one session."""

    @property
    def strategy(self) -> str: ...
    @property
    def programs(self) -> Sequence[Program]: ...
    def attach(self, cookie: int = 0) -> Attachment: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...


def prepare(
    spec: ProgramSpec,
    host: Host,
    maps: Mapping[str, Map],
    target: Target,
    strategy: str = "auto",
    *,
    slots: int = DEFAULT_SLOTS,
) -> Prepared:
    """Load `spec` for `target`. `slots`: how many calls a split session can be inside at once.

    Programs that are no sessions (fentry, fexit, fmod_ret) have one form, whatever the strategy.
    """
    if spec.attach_type != AttachType.TRACE_FSESSION:
        return _Single(_load(spec, host, maps, target), host, spec, target, "fentry/fexit")
    plan = choose(host.why_not, strategy)
    if plan.strategy is Strategy.SPLIT:
        return _split(spec, host, maps, target, slots)
    if plan.strategy is Strategy.MULTI:
        return prepare_many(spec, host, maps, [target], strategy)
    return _Single(_load(spec, host, maps, target), host, spec, target, plan.strategy)


def prepare_many(
    spec: ProgramSpec,
    host: Host,
    maps: Mapping[str, Map],
    targets: Sequence[Target],
    strategy: str = "auto",
) -> Prepared:
    """Load `spec` for all `targets`: one program where the kernel has multi links, else one each.

    The targets of one multi link are functions of one BTF object: vmlinux, or one module.
    """
    attach_type = spec.attach_type
    assert attach_type is not None
    plan = choose(host.why_not, strategy, many=True)
    modules = {target.module for target in targets}
    kernel_functions = all(target.program is None for target in targets)
    if plan.strategy is Strategy.MULTI and kernel_functions and len(modules) == 1:
        multi = replace(spec, attach_type=_MULTI.get(attach_type, attach_type))
        request = resolve(multi, host, maps, attach_module=modules.pop())
        return _Multi(host.load(request), host, multi, targets)
    single = replace(spec, attach_type=SINGLE.get(attach_type, attach_type))
    one = choose(host.why_not, "auto" if strategy == "multi" else strategy).strategy
    with ExitStack() as stack:
        parts = []
        for target in targets:
            parts.append(prepare(single, host, maps, target, one))
            stack.callback(parts[-1].close)
        stack.pop_all()
    return _Group(parts)


def _load(spec: ProgramSpec, host: Host, maps: Mapping[str, Map], target: Target) -> Program:
    request = resolve(
        spec,
        host,
        maps,
        attach_btf_id=target.btf_id,
        attach_module=target.module,
        attach_program=target.program,
    )
    return host.load(request)


class _Base:
    """What all forms share: programs that are open until `close`."""

    def __init__(self, strategy: str, programs: Sequence[Program]) -> None:
        self.strategy = strategy
        self.programs = tuple(programs)

    def _recursion_misses(self) -> int:
        return sum(program.info.recursion_misses for program in self.programs)

    def close(self) -> None:
        for program in self.programs:
            program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Single(_Base):
    """One program, one link: native sessions, fentry, fexit, fmod_ret."""

    def __init__(
        self, program: Program, host: Host, spec: ProgramSpec, target: Target, strategy: str
    ) -> None:
        super().__init__(strategy, [program])
        self._host, self._spec, self._target = host, spec, target

    def attach(self, cookie: int = 0) -> Attachment:
        attachment = Attachment(self.strategy, [self._target.name], self._recursion_misses)
        assert self._spec.attach_type is not None
        try:
            link = self._host.link(self.programs[0], self._spec.attach_type, cookie=cookie)
        except KernelError as error:
            raise attach_error(self._target.name, error) from error
        attachment.add(link)
        return attachment


class _Multi(_Base):
    """One program, one link for all the functions."""

    def __init__(
        self, program: Program, host: Host, spec: ProgramSpec, targets: Sequence[Target]
    ) -> None:
        super().__init__(Strategy.MULTI, [program])
        self._host, self._spec, self._targets = host, spec, tuple(targets)

    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        """`cookies` are one for each target; else all have `cookie`."""
        names = [target.name for target in self._targets]
        attachment = Attachment(self.strategy, names, self._recursion_misses)
        assert self._spec.attach_type is not None
        ids = [int(target.btf_id) for target in self._targets]
        each = cookies or ([cookie] * len(ids) if cookie else None)
        try:
            link = self._host.link_multi(self.programs[0], self._spec.attach_type, ids, each)
        except KernelError as error:
            what = names[0] if len(names) == 1 else f"{len(names)} functions"
            raise attach_error(what, error) from error
        attachment.add(link)
        return attachment


class _Split(_Base):
    """Two programs that share a table. The exit is attached first and detached last."""

    def __init__(
        self, entry: Program, exit: Program, table: Table, raw: Map, host: Host, target: Target
    ) -> None:
        super().__init__(Strategy.SPLIT, [entry, exit])
        self._table, self._raw, self._host, self._target = table, raw, host, target
        self._attached = 0

    def attach(self, cookie: int = 0) -> Attachment:
        if not self._attached:  # slots of calls that were inside when the last link went
            self._raw.update(bytes(4), bytes(self._raw.value_size))
        attachment = Attachment(self.strategy, [self._target.name], self._missed)
        entry, exit = self.programs
        self._attached += 1
        attachment.on_close(self._detached)
        try:
            attachment.add(self._host.link(exit, AttachType.TRACE_FEXIT, cookie=cookie))
            attachment.add(self._host.link(entry, AttachType.TRACE_FENTRY, cookie=cookie))
        except KernelError as error:
            attachment.close()
            raise attach_error(self._target.name, error) from error
        return attachment

    @property
    def slots_taken(self) -> int:
        """How many calls are inside, and those whose exit never ran."""
        return self._table.taken(self._raw.lookup(bytes(4)) or b"")

    def _missed(self) -> int:
        return self._recursion_misses() + self._table.missed(self._raw.lookup(bytes(4)) or b"")

    def _detached(self) -> None:
        self._attached -= 1

    def close(self) -> None:
        super().close()
        self._raw.close()


def _split(
    spec: ProgramSpec, host: Host, maps: Mapping[str, Map], target: Target, slots: int
) -> _Split:
    table = Table.for_cpus(host.cpu_count, slots)
    halves = split(spec, table, target.slots)
    with ExitStack() as stack:
        raw = host.create_map(halves.table)
        stack.callback(raw.close)
        entry = _load(halves.entry, host, {**maps, table.name: raw}, target)
        stack.callback(entry.close)
        exit = _load(halves.exit, host, {**maps, table.name: raw}, target)
        stack.pop_all()
    return _Split(entry, exit, table, raw, host, target)


class _Group(_Base):
    """One form for each function, attached together."""

    def __init__(self, parts: Sequence[Prepared]) -> None:
        super().__init__(
            parts[0].strategy if parts else "none",
            [program for part in parts for program in part.programs],
        )
        self._parts = tuple(parts)

    def attach(self, cookie: int = 0) -> Attachment:
        members: list[Attachment] = []
        names: list[str] = []
        whole = Attachment(self.strategy, names, lambda: sum(part.missed for part in members))
        try:
            for part in self._parts:
                member = part.attach(cookie)
                whole.on_close(member.close)
                members.append(member)
                whole.links += member.links
        except BaseException:
            whole.close()
            raise
        whole.targets = tuple(name for member in members for name in member.targets)
        return whole

    def close(self) -> None:
        for part in self._parts:
            part.close()
