"""One program and one link a function: native sessions, and fentry, fexit, fmod_ret programs."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import repeat
from typing import TYPE_CHECKING

from fsession.attach.attachment import Attachment, attach_error
from fsession.attach.prepared import Left, Loaders, Programs
from fsession.errors import InternalError, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fsession.attach.prepared import Each
    from fsession.attach.targets import Refused, Target
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec

__all__ = ["Native", "recursion_misses"]


class Native(Programs):
    """The same program loaded for each of `targets`, or that which `each` gives for it. `refused`
    were left out before."""

    def __init__(
        self,
        spec: ProgramSpec,
        host: Host,
        maps: Mapping[str, Map],
        targets: Sequence[Target],
        strategy: str,
        refused: Sequence[Refused] = (),
        each: Each | None = None,
    ) -> None:
        super().__init__(strategy, host)
        if spec.attach_type is None:
            raise InternalError(f"'{spec.name}' has no attach type")
        self._attach_type = spec.attach_type
        self.targets: list[Target] = []
        left = Left(len(targets), refused)
        loaders = Loaders(host, maps)
        with ExitStack() as stack:
            for target in targets:
                loader = loaders.of(each(target) if each else spec)
                try:
                    program = stack.enter_context(loader.load(target))
                except KernelError as error:
                    left.leave_out(target, error)
                    continue
                self.programs.append(program)
                self.targets.append(target)
            stack.pop_all()
        self._refused = left.refused

    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        attachment = Attachment(self.strategy, [], recursion_misses(self.programs), self._refused)
        left = Left(len(self.targets), self._refused)
        names = []
        with ExitStack() as stack:
            stack.callback(attachment.close)
            each = cookies or repeat(cookie)
            for program, target, number in zip(self.programs, self.targets, each, strict=False):
                try:
                    link = self._host.link(program, self._attach_type, cookie=number)
                except KernelError as error:
                    left.leave_out(target, attach_error(self._host, target, error))
                    continue
                attachment.add(link)
                names.append(target.name)
            stack.pop_all()
        attachment.targets, attachment.refused = tuple(names), tuple(left.refused)
        return attachment


def recursion_misses(programs: Sequence[Program]) -> Callable[[], int]:
    """How often the kernel did not start one of `programs`, as a function."""
    kept = tuple(programs)
    return lambda: sum(program.info.recursion_misses for program in kept)
