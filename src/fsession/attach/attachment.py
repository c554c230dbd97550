"""Links that belong together, and what attaching can fail with in words."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from fsession.attach.refusals import Reason
from fsession.errors import AttachError, KernelError, errno_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from fsession.attach.targets import Refused, Target
    from fsession.host import Host, Link

__all__ = ["ALREADY", "Attachment", "attach_error"]

_ENOTSUPP = 524


class Attachment:
    """Programs attached, for as long as this is open. Closing detaches in reverse order.

    `strategy` is how, `targets` are the functions, `links` the kernel's links. `refused` are the
    functions that a pattern gave and that were left out, each with its reason.
    """

    def __init__(
        self,
        strategy: str,
        targets: Sequence[str],
        missed: Callable[[], int],
        refused: Sequence[Refused] = (),
    ) -> None:
        self.strategy = strategy
        self.targets = tuple(targets)
        self.refused = tuple(refused)
        self.links: list[Link] = []
        self._missed = missed
        self._missed_in_all: int | None = None
        self._stack = ExitStack()

    def add(self, link: Link) -> None:
        self._stack.callback(link.close)
        self.links.append(link)

    def on_close(self, action: Callable[[], object]) -> None:
        """Do `action` behind the detaching of what was added after this call."""
        self._stack.callback(action)

    @property
    def missed(self) -> int:
        """Runs that did not happen, so far: the program was already running on the CPU, or the
        table of a split session had no room."""
        return self._missed() if self._missed_in_all is None else self._missed_in_all

    @property
    def closed(self) -> bool:
        return self._missed_in_all is not None

    def close(self) -> None:
        if self._missed_in_all is None:
            self._stack.close()
            self._missed_in_all = self._missed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


ALREADY = "this program is already attached to it"
_UNPATCHABLE = (errno.EBUSY, errno.ENOENT, _ENOTSUPP)
_REASONS = {
    errno.E2BIG: (
        "it has no room for another: a session takes two of the 38 links that the trampoline of a "
        "function has (36 on Linux 7.2 x86_64)",
        "bpftool link shows what traces it",
    ),
    errno.EBUSY: (
        f"{ALREADY}, or another tracer has changed its entry",
        "bpftool link shows what traces it",
    ),
    errno.ENOENT: (Reason.NOT_TRACEABLE, "fsession list NAME says more"),
    errno.EOPNOTSUPP: (
        "this kernel can't attach programs of this kind here",
        "fsession features shows what it can do",
    ),
    _ENOTSUPP: (
        "the architecture has no trampolines for it",
        "fsession features shows what this kernel can do",
    ),
    errno.EINVAL: (
        "the kernel refuses it: noreturn, on its deny list, or of a prototype it does not take",
        "fsession list NAME says which",
    ),
    errno.EMFILE: (
        "this process may have no more open files, and each program and link is one",
        "ulimit -n 1048576 allows more",
    ),
    errno.ENODEV: (
        "this kernel is built without what trampolines patch functions by",
        "it needs CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
    ),
}


def attach_error(host: Host, target: Target, error: KernelError) -> AttachError:
    """What a refused link means. The kernel says no more than an errno.

    EBUSY and others are asked of a function's entry too, so that is looked at first.
    """
    reason, hint = _REASONS.get(error.errno, (error.args[0], ""))
    if error.errno in _UNPATCHABLE and target.program is None and not _is_traceable(host, target):
        reason, hint = _REASONS[errno.ENOENT]
    words = f"{reason} ({errno_name(error.errno)})"
    if error.log:
        words += f"; the kernel says: {error.log.splitlines()[-1]}"
    failure = AttachError(target.name, words, error.errno)
    if hint:
        failure.add_note(hint.replace("NAME", target.name))
    return failure


def _is_traceable(host: Host, target: Target) -> bool:
    return target.function in host.traceable(target.function, target.module)
