"""What the programs themselves leave out, and how they decide it at the entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.lang.ir import BinaryOp, Space, Test
from fsession.trace.record import COMM_BYTES
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.lang.build import Builder
    from fsession.lang.ir import Label, Value

__all__ = ["Filters"]

_U32 = 0xFFFF_FFFF


@frozen
class Filters:
    """Calls that are shown. `pid` is a process (tgid), `tid` a thread, `comm` its name.

    `cpus`: only on one of these. `cgroup`: an id and a level, of tasks of that cgroup and of those
    below it. `errors`: only calls whose result is a negative errno or an ``ERR_PTR``.
    `conditions` are expressions, which all must hold. `sample`: one call of so many.
    """

    pid: int | None = None
    comm: bytes | None = None
    min_duration_ns: int = 0
    errors: bool = False
    tid: int | None = None
    cpus: tuple[int, ...] = ()
    cgroup: tuple[int, int] | None = None
    conditions: tuple[str, ...] = ()
    sample: int = 1

    @property
    def at_entry(self) -> bool:
        """Whether the entry leaves calls out; conditions not counted."""
        chosen = (self.pid, self.tid, self.comm, self.cgroup)
        return any(one is not None for one in chosen) or bool(self.cpus) or self.sample > 1

    def build_entry(self, build: Builder, out: Label) -> None:
        """Go on with calls by the right task, to `out` with others."""
        if self.pid is not None:
            both = build.helper(FuncId.get_current_pid_tgid, pure=True)
            pid = build.binary(BinaryOp.LSHR, both, build.const(32))
            _require_equal(build, pid, self.pid, out)
        if self.tid is not None:
            both = build.helper(FuncId.get_current_pid_tgid, pure=True)
            tid = build.binary(BinaryOp.AND, both, build.const(_U32))
            _require_equal(build, tid, self.tid, out)
        if self.cpus:
            self._build_cpus(build, out)
        if self.cgroup is not None:
            id, level = self.cgroup
            ancestor = build.helper(FuncId.get_current_ancestor_cgroup_id, build.const(level))
            _require_equal(build, ancestor, id, out)
        if self.comm is not None:
            _build_comm(build, self.comm, out)

    def _build_cpus(self, build: Builder, out: Label) -> None:
        cpu = build.helper(FuncId.get_smp_processor_id, pure=True)
        found = build.block()
        for number in self.cpus:
            other = build.block()
            build.branch(Test.EQ, cpu, build.const(number), found, other)
            build.begin(other)
        build.jump(out)
        build.begin(found)


def _require_equal(build: Builder, value: Value, wanted: int, out: Label) -> None:
    same = build.block()
    build.branch(Test.EQ, value, build.const(wanted), same, out)
    build.begin(same)


def _build_comm(build: Builder, comm: bytes, out: Label) -> None:
    slot = build.slot(COMM_BYTES)
    for at in range(0, COMM_BYTES, 8):  # Linux 6.1 leaves what was behind the name
        build.store(slot, at, build.const(0), 8, Space.STACK)
    build.helper(FuncId.get_current_comm, slot, build.const(COMM_BYTES))
    padded = comm.ljust(COMM_BYTES, b"\0")
    for at in range(0, COMM_BYTES, 8):
        word = build.load(slot, at, 8, Space.STACK)
        _require_equal(build, word, int.from_bytes(padded[at : at + 8], "little"), out)
