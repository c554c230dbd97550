"""Programs that are loaded for their targets and can be attached: what all strategies share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

from fsession.attach.refusals import Reason
from fsession.attach.targets import Refused
from fsession.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from fsession.attach.attachment import Attachment
    from fsession.attach.targets import Target
    from fsession.errors import AttachError, KernelError
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec

__all__ = ["Each", "Left", "Loader", "Loaders", "Prepared", "Programs"]


class Prepared(Protocol):
    """Loaded programs of one session, to be attached as often as wanted, once at a time."""

    @property
    def strategy(self) -> str: ...
    @property
    def programs(self) -> Sequence[Program]: ...
    @property
    def targets(self) -> Sequence[Target]: ...
    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        """`cookies` are one for each of `targets`; else all have `cookie`."""

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Programs:
    """Programs that are open until `close`."""

    def __init__(self, strategy: str, host: Host) -> None:
        self.strategy = strategy
        self.programs: list[Program] = []
        self._host = host

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


class Left:
    """Of many functions, those that the kernel refuses are left out and the others kept.

    One function that is wanted by itself raises at once, and so does the last of many.
    """

    def __init__(self, wanted: int, refused: Sequence[Refused] = ()) -> None:
        self._wanted = wanted
        self._count = 0
        self.refused = list(refused)

    def leave_out(self, target: Target, error: KernelError | AttachError) -> None:
        self._count += 1
        if self._count >= self._wanted:
            raise error
        self.refused.append(Refused(target.name, Reason.KERNEL, str(error)))


Each = Callable[["Target"], "ProgramSpec"]
"""The program of a target, where not all targets have the same one."""


class Loader:
    """Loads a program for one target after another; its relocations are resolved once."""

    def __init__(self, spec: ProgramSpec, host: Host, maps: Mapping[str, Map]) -> None:
        self._host = host
        self._request = resolve(spec, host, maps)

    def load(self, target: Target) -> Program:
        return self._host.load(
            replace(
                self._request,
                attach_btf_id=target.btf_id,
                attach_module=target.module,
                attach_program=target.program,
            )
        )


class Loaders:
    """Of several programs, made when they are asked for."""

    def __init__(self, host: Host, maps: Mapping[str, Map]) -> None:
        self._host, self._maps = host, maps
        self._known: dict[int, tuple[ProgramSpec, Loader]] = {}

    def of(self, spec: ProgramSpec) -> Loader:
        known = self._known.get(id(spec))
        if known is None:  # it is kept: its id must stay its own
            known = self._known[id(spec)] = (spec, Loader(spec, self._host, self._maps))
        return known[1]
