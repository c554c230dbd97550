"""Links that belong together, and what attaching can fail with in words."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from fsession.errors import AttachError, KernelError, errno_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from fsession.host import Link

__all__ = ["Attachment", "attach_error"]

_ENOTSUPP = 524


class Attachment:
    """Programs attached, for as long as this is open. Closing detaches in reverse order.

    `strategy` is how, `targets` are the functions, `links` the kernel's links.
    """

    def __init__(self, strategy: str, targets: Sequence[str], missed: Callable[[], int]) -> None:
        self.strategy = strategy
        self.targets = tuple(targets)
        self.links: list[Link] = []
        self._missed = missed
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
        return self._missed()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_REASONS = {
    errno.E2BIG: (
        "its trampoline has no links left (a session takes two of them)",
        "other programs trace it: bpftool link shows them; 18 sessions fit on Linux 7.2 x86_64",
    ),
    errno.EBUSY: (
        "the program is attached to it already, or ftrace can't patch its entry",
        "fsession list NAME says whether it can be traced",
    ),
    errno.ENOENT: (
        "it has no place that ftrace can patch",
        "fsession list NAME says more",
    ),
    errno.EOPNOTSUPP: (
        "this kernel can't attach programs of this kind here",
        "fsession features shows what it can do",
    ),
    _ENOTSUPP: (
        "its entry can't be patched, or the architecture has no trampolines for it",
        "fsession features shows what this kernel can do",
    ),
    errno.EINVAL: (
        "the kernel refuses the function: noreturn, on its deny list, or of a prototype it "
        "does not take",
        "fsession list NAME says which",
    ),
}


def attach_error(target: str, error: KernelError) -> AttachError:
    """What a refused link means. The kernel says no more than an errno."""
    if error.errno not in _REASONS:
        return AttachError(target, str(error), error.errno)
    reason, hint = _REASONS[error.errno]
    words = f"{reason} ({errno_name(error.errno)})"
    if error.log:
        words += f"; the kernel says: {error.log.splitlines()[-1]}"
    failure = AttachError(target, words, error.errno)
    failure.add_note(hint.replace("NAME", target))
    return failure
