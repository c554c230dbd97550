"""From attached to the end: hand on what comes, until the workload, the user or a limit ends it."""

from __future__ import annotations

import select
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from fsession.cli.interrupts import Interrupts
from fsession.cli.workload import GRACE_S, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.cli.script import Script

Command: TypeAlias = "Workload | Script"

__all__ = ["Command", "Source", "follow", "workload_status"]


class Source(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int: ...


def follow(
    source: Source,
    read: Callable[[], bool],
    out: Source,
    workload: Command | None = None,
    timeout_s: float | None = None,
) -> bool:
    """Start the workload and call `read` whenever `source` has something.

    Ends when `read` answers False, the workload has ended, the time is over, or a signal came,
    which is the answer.
    Raises `BrokenPipeError` when nobody reads what goes to `out`, even if nothing is written.
    """
    loop = partial(_follow, source, read, out, workload, timeout_s)
    if workload is not None and not isinstance(workload, Workload):
        return workload.run_beside(partial(loop, None))  # signals are for the script
    with Interrupts() as interrupts:
        return loop(interrupts)


def _follow(
    source: Source,
    read: Callable[[], bool],
    out: Source,
    workload: Command | None,
    timeout_s: float | None,
    interrupts: Interrupts | None,
) -> bool:
    poll = select.poll()
    for item in filter(None, (source, interrupts, workload)):
        poll.register(item.fileno(), select.POLLIN)
    poll.register(out.fileno(), 0)  # tells only that the other end is closed
    if workload:
        workload.start()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while read() and not (interrupts and interrupts.came):
        ready = {fd for fd, _ in poll.poll(_left_ms(deadline))}
        if out.fileno() in ready:
            raise BrokenPipeError
        if not ready or (workload and workload.fileno() in ready):
            break
    return bool(interrupts and interrupts.came)


def _left_ms(deadline: float | None) -> int | None:
    return None if deadline is None else max(0, round((deadline - time.monotonic()) * 1000))


def workload_status(workload: Command | None, *, interrupted: bool) -> int:
    """The exit status of a command that ran `workload`: the workload's, if it ended by itself.

    Ctrl-C goes to the workload, too: `interrupted`, it has some time to end in its own way.
    """
    if workload is None:
        return 0
    if workload.ended_within(GRACE_S if interrupted else 0):
        return workload.wait()
    workload.end()
    return 0
