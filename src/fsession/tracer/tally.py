"""What `hist` and `top` have in common: programs that count in the kernel, attached and read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from fsession.errors import BadInputError
from fsession.trace import Filters, Summary
from fsession.trace.record import COMM_BYTES
from fsession.trace.tally import TALLY_MAP, TallyCounts, tally_maps
from fsession.trace.tally_program import tally_program
from fsession.tracer.here import this_kernel
from fsession.tracer.programs import Programs
from fsession.tracer.selection import Selection, select
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from fsession.attach import Target
    from fsession.host import Host, Map
    from fsession.spec import MapSpec, ProgramSpec
    from fsession.trace.tally import Hist, Top
    from fsession.tracer.selection import Group
    from fsession.tracer.wants import Wishes

__all__ = ["Counter", "filters_of"]


class Counter:
    """Attached from its start to its end; `detach` ends the counting, what was counted stays.

    Made for one `tally` by what `_plan` makes of the functions that were found.
    """

    def __init__(
        self, names: Sequence[str], wishes: Wishes, host: Host | None, strategy: str
    ) -> None:
        self._names = tuple(names)
        self._wishes = wishes
        self._host = host
        self._strategy = strategy
        self._stack = ExitStack()
        self._entered = False

    def plan(self, selection: Selection) -> Hist | Top:
        """What is to be counted of these functions."""
        raise NotImplementedError

    def counted(self) -> int:
        """How many calls were counted until now."""
        raise NotImplementedError

    def select(self) -> Selection:
        """What would be attached; attaches nothing."""
        with ExitStack() as stack:
            host = self._host or stack.enter_context(this_kernel())
            return select(host, self._names, self._wishes, self._strategy)

    def __enter__(self) -> Self:
        if self._entered:
            raise BadInputError("it can be entered once only")
        self._entered = True
        with ExitStack() as stack:
            host = self._host or stack.enter_context(this_kernel())
            self.selection = select(host, self._names, self._wishes, self._strategy)
            for target in self.selection.targets:
                if target.program is not None:
                    stack.callback(target.program.close)
            self.tally = self.plan(self.selection)
            groups = self.selection.groups()
            made = Programs(host, self.selection, groups, _Code(self.plan, self.selection))
            self._programs = stack.enter_context(made)
            made.attach()
            self._words = host.description
            self._stack = stack.pop_all()
        return self

    @property
    def map(self) -> Map:
        """Where everything is counted."""
        return self._programs.maps[TALLY_MAP]

    def detach(self) -> None:
        self._programs.detach()

    @property
    def summary(self) -> Summary:
        """What was counted and what was not, until now; exact after `detach`."""
        programs, counts = self._programs, TallyCounts
        full = programs.count(counts.FULL)
        return Summary(
            calls=self.counted() + full,
            lost=full,
            missed=max(programs.missed, programs.count(counts.UNPAIRED)),
            functions=programs.functions,
            strategy="+".join(programs.strategies),
            programs=programs.program_count,
            links=programs.link_count,
            host=self._words,
            skipped=dict(self.selection.skipped + programs.skipped),
            faulted=programs.count(counts.FAULTED),
            unsaved=programs.count(counts.UNSAVED),
        )

    def close(self) -> None:
        self._stack.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Code:
    """Programs of one tally, `fsession.tracer.programs.Code`."""

    def __init__(self, plan: Callable[[Selection], Hist | Top], selection: Selection) -> None:
        self._tally = plan(selection)

    def maps(self, _: Sequence[Group]) -> Sequence[MapSpec]:
        return tally_maps(self._tally)

    def single(self, target: Target, index: int, group: Group) -> ProgramSpec:
        return tally_program(self._of(group), target_signature(target), index)

    def many(self, group: Group) -> ProgramSpec:
        return tally_program(self._of(group), None)

    def _of(self, group: Group) -> Hist | Top:
        from dataclasses import replace

        return replace(self._tally, wanted=group.wanted)


def filters_of(
    pid: int | None,
    tid: int | None,
    comm: str | None,
    min_duration_ns: int,
    errors: bool,
    conditions: str | Sequence[str],
) -> Filters:
    """Checked."""
    raw = None if comm is None else comm.encode()
    if raw is not None and not 0 < len(raw) < COMM_BYTES:
        raise BadInputError(f"no thread can have the name '{comm}'").hint(
            f"names of threads have 1 to {COMM_BYTES - 1} bytes: the kernel cuts longer ones"
        )
    sources = (conditions,) if isinstance(conditions, str) else tuple(conditions)
    return Filters(pid, raw, min_duration_ns, errors, tid, conditions=sources)
