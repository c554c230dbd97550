"""Functions by calls, failures and time, counted in the kernel.

with top("tcp_*") as counted:
    time.sleep(1)
    for row in counted.read():
        print(row.function, row.calls, row.errors, row.total_ns)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.trace.counted import FunctionCounts
from fsession.trace.tally import ROW, Top
from fsession.tracer.tally import Counter, filters_of
from fsession.tracer.wants import Wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.host import Host
    from fsession.tracer.selection import Selection

__all__ = ["Ranking", "top"]


def top(
    *targets: str,
    host: Host | None = None,
    strategy: str = "auto",
    pid: int | None = None,
    tid: int | None = None,
    comm: str | None = None,
    min_duration_ns: int = 0,
    errors: bool = False,
    filter: str | Sequence[str] = (),
) -> Ranking:
    """Counts of the calls of each function that `targets` name, to be used in a ``with``.

    The options are as for `fsession.trace`.
    """
    filters = filters_of(pid, tid, comm, min_duration_ns, errors, filter)
    return Ranking(targets, Wishes(filters), host, strategy)


class Ranking(Counter):
    """Counts from its start to its end; `read` may be called at any time."""

    def plan(self, selection: Selection) -> Top:
        return Top(selection.wanted[0], len(selection.targets))

    def counted(self) -> int:
        return sum(row.calls for row in self.read())

    def read(self) -> list[FunctionCounts]:
        """Functions that were called until now; the one with most time first."""
        targets = self.selection.targets
        rows = []
        for key, value in self.map.items():
            cpus = list(ROW.iter_unpack(value))
            calls, errors, total_ns = (sum(cpu[at] for cpu in cpus) for at in range(3))
            index = int.from_bytes(key, "little")
            if calls and index < len(targets):
                rows.append(FunctionCounts(targets[index].name, calls, errors, total_ns))
        return sorted(rows, key=lambda row: -row.total_ns)
