"""Load a program in the form that its strategy needs: see `prepare` and `prepare_many`.

Loading is where the verifier speaks; attaching what comes back only makes links.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from fsession.attach.attachment import Attachment
from fsession.attach.native import Native
from fsession.attach.plan import Strategy, choose
from fsession.errors import AttachError, BadInputError, InternalError
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from fsession.attach.prepared import Each, Prepared
    from fsession.attach.targets import Refused, Target
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec

__all__ = ["SINGLE", "prepare", "prepare_many"]

SINGLE = {
    AttachType.TRACE_FSESSION_MULTI: AttachType.TRACE_FSESSION,
    AttachType.TRACE_FENTRY_MULTI: AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT_MULTI: AttachType.TRACE_FEXIT,
}
"""The attach type for one function of each for many."""

DEFAULT_SLOTS = 16384
"""Slots in the table of a split session: 256 KiB."""

_MULTI = {single: multi for multi, single in SINGLE.items()}


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
    return _one_each(spec, host, maps, [target], strategy, slots)


def prepare_many(
    spec: ProgramSpec,
    host: Host,
    maps: Mapping[str, Map],
    targets: Sequence[Target],
    strategy: str = "auto",
    *,
    refused: Sequence[Refused] = (),
    slots: int = DEFAULT_SLOTS,
    each: Each | None = None,
) -> Prepared:
    """Load `spec` for all `targets`: one program where the kernel has multi links, else one each.

    `each` gives a program that is for one target alone, and is loaded for it instead where each
    target has its own.

    Of several targets those that the kernel refuses are left out, behind `refused`, which were
    left out before. A multi link takes functions of one BTF object: each module has its own.
    """
    if not targets:
        raise BadInputError(f"program '{spec.name}' has no function to attach to")
    plan = choose(host.why_not, strategy, many=True)
    if plan.strategy is not Strategy.MULTI:
        return _one_each(spec, host, maps, targets, plan.strategy, slots, refused, each)
    from fsession.attach.multi import Multi

    parts: list[Prepared] = []
    with ExitStack() as stack:
        for (_, is_program), members in groupby(sorted(targets, key=_place), _place):
            some = list(members)
            if is_program:
                part = _one_each(spec, host, maps, some, "auto", slots, each=each)
            else:
                part = Multi(_multi(spec), host, maps, some, Strategy.MULTI, refused)
                refused = ()
            parts.append(stack.enter_context(part))
        stack.pop_all()
    return parts[0] if len(parts) == 1 else _Group(parts)


def _place(target: Target) -> tuple[str, bool]:
    """What one multi link can't mix: modules, and BPF programs, which it does not take at all."""
    return target.module, target.program is not None


def _multi(spec: ProgramSpec) -> ProgramSpec:
    if spec.attach_type is None:
        raise InternalError(f"'{spec.name}' has no attach type")
    return replace(spec, attach_type=_MULTI.get(spec.attach_type, spec.attach_type))


def _one_each(
    spec: ProgramSpec,
    host: Host,
    maps: Mapping[str, Map],
    targets: Sequence[Target],
    strategy: str,
    slots: int,
    refused: Sequence[Refused] = (),
    each: Each | None = None,
) -> Prepared:
    """A program for each target, by a strategy that is for one function."""
    if spec.attach_type is None:
        raise InternalError(f"'{spec.name}' has no attach type")
    single = replace(spec, attach_type=SINGLE.get(spec.attach_type, spec.attach_type))
    if single.attach_type != AttachType.TRACE_FSESSION:
        return Native(single, host, maps, targets, "fentry/fexit", refused, each)
    if strategy == Strategy.MULTI:
        return prepare_many(spec, host, maps, targets, strategy, refused=refused, slots=slots)
    _refuse_sessions(targets)
    plan = choose(host.why_not, strategy)
    if plan.strategy is Strategy.SPLIT:
        from fsession.attach.pair import Pairs  # half of what importing this package would cost

        return Pairs(single, host, maps, targets, slots, refused, each)
    return Native(single, host, maps, targets, plan.strategy, refused, each)


def _refuse_sessions(targets: Sequence[Target]) -> None:
    """Kernels before 6.8 refuse to trace a tracing program, later ones do it one level deep: of a
    split session that would be one of its halves."""
    for target in targets:
        if target.program is not None and target.program.type == ProgType.TRACING:
            raise AttachError(target.name, "it is a tracing program, which sessions can't be on")


class _Group:
    """Forms that are attached together, each for some of the targets."""

    def __init__(self, parts: Sequence[Prepared]) -> None:
        self._parts = tuple(parts)
        self.strategy = parts[0].strategy

    @property
    def programs(self) -> list[Program]:
        return [program for part in self._parts for program in part.programs]

    @property
    def targets(self) -> list[Target]:
        return [target for part in self._parts for target in part.targets]

    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        members: list[Attachment] = []
        whole = Attachment(self.strategy, [], lambda: sum(member.missed for member in members))
        rest = list(cookies or ())
        with ExitStack() as stack:
            stack.callback(whole.close)
            for part in self._parts:
                own, rest = rest[: len(part.targets)], rest[len(part.targets) :]
                member = part.attach(cookie, own or None)
                whole.on_close(member.close)
                members.append(member)
                whole.links += member.links
            stack.pop_all()
        whole.targets = tuple(name for member in members for name in member.targets)
        whole.refused = tuple(item for member in members for item in member.refused)
        return whole

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def __enter__(self) -> _Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
