"""Split sessions: a fentry and a fexit program for each function, sharing a table of calls."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from itertools import repeat
from typing import TYPE_CHECKING

from fsession.attach.attachment import ALREADY, Attachment, attach_error
from fsession.attach.native import recursion_misses
from fsession.attach.plan import Strategy
from fsession.attach.prepared import Left, Loader, Programs
from fsession.attach.split import NOT_LOADED, loaded_words, split
from fsession.attach.table import Table
from fsession.errors import AttachError, InternalError, KernelError
from fsession.uapi import AttachType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fsession.attach.prepared import Each
    from fsession.attach.targets import Refused, Target
    from fsession.host import Host, Map, Program
    from fsession.spec import ProgramSpec

__all__ = ["Pairs"]

_KEY = bytes(4)


class Pairs(Programs):
    """A session program for each of `targets`, in halves: `programs` are entry, exit, entry, ….
    All have the same one, or that which `each` gives for it.

    Two calls that are inside functions at one time have different frames, whichever functions they
    are, so the pairs share one table. It belongs to one attachment: to attach again, everything is
    loaded anew. A run that was under way at the detaching can then never meet a slot of a later
    call, and slots of calls that were inside go with their table.
    """

    def __init__(
        self,
        spec: ProgramSpec,
        host: Host,
        maps: Mapping[str, Map],
        targets: Sequence[Target],
        slots: int,
        refused: Sequence[Refused] = (),
        each: Each | None = None,
    ) -> None:
        super().__init__(Strategy.SPLIT, host)
        self._spec, self._maps, self._each = spec, maps, each
        self._table = Table.for_cpus(host.cpu_count, slots)
        self._raw: Map | None = None
        self._current: Attachment | None = None
        self.targets: Sequence[Target] = tuple(targets)
        self._refused = tuple(refused)
        self._load()

    def _load(self) -> None:
        left = Left(len(self.targets), self._refused)
        targets, programs = [], []
        self._words: dict[int, frozenset[int]] = {}
        self._halves: dict[tuple[int, int], tuple[ProgramSpec, Loader, Loader]] = {}
        with ExitStack() as stack:
            raw = stack.enter_context(self._host.create_map(self._table.map_spec()))
            for target in self.targets:
                try:
                    programs += self._load_halves(target, raw, stack)
                    targets.append(target)
                except KernelError as error:
                    left.leave_out(target, error)
            stack.pop_all()
        self._raw, self.programs, self.targets = raw, programs, tuple(targets)
        self._refused = tuple(left.refused)

    def _load_halves(self, target: Target, raw: Map, stack: ExitStack) -> list[Program]:
        entry_loader, exit_loader = self._loaders_for(target, raw)
        with ExitStack() as own:
            entry = own.enter_context(entry_loader.load(target))
            exit = own.enter_context(exit_loader.load(target))
            stack.push(own.pop_all())
        return [entry, exit]

    def _loaders_for(self, target: Target, raw: Map) -> tuple[Loader, Loader]:
        """Of the halves of one program, which are the same for all functions, or for those of as
        many argument words if it loads what may be the return value."""
        spec = self._each(target) if self._each else self._spec
        words = self._words.get(id(spec))
        if words is None:
            words = self._words[id(spec)] = loaded_words(spec)
        slots = target.slots if target.slots in words else NOT_LOADED
        known = self._halves.get((slots, id(spec)))
        if known is None:
            halves = split(spec, self._table, slots)
            maps = {**self._maps, self._table.name: raw}
            entry, exit = (Loader(half, self._host, maps) for half in (halves.entry, halves.exit))
            known = self._halves[slots, id(spec)] = (spec, entry, exit)
        return known[1:]

    def attach(self, cookie: int = 0, cookies: Sequence[int] | None = None) -> Attachment:
        """The exit of each function is attached first and detached last, so that no entry is
        without its exit, and an exit without its entry finds no slot."""
        if self._current is not None:
            if not self._current.closed:
                raise AttachError(self.targets[0].name, f"{ALREADY} (EBUSY)", errno.EBUSY)
            self.close()
            self._load()
        left = Left(len(self.targets), self._refused)
        attachment = Attachment(self.strategy, [], self._count_missed())
        names = []
        each = cookies or repeat(cookie)
        halves = zip(self.programs[::2], self.programs[1::2], strict=True)
        with ExitStack() as stack:
            stack.callback(attachment.close)
            for target, (entry, exit), number in zip(self.targets, halves, each, strict=False):
                try:
                    self._attach_halves(attachment, entry, exit, number)
                    names.append(target.name)
                except KernelError as error:
                    left.leave_out(target, attach_error(self._host, target, error))
            stack.pop_all()
        attachment.targets, attachment.refused = tuple(names), tuple(left.refused)
        self._current = attachment
        return attachment

    def _attach_halves(
        self, attachment: Attachment, entry: Program, exit: Program, cookie: int
    ) -> None:
        last = self._host.link(exit, AttachType.TRACE_FEXIT, cookie=cookie)
        try:
            first = self._host.link(entry, AttachType.TRACE_FENTRY, cookie=cookie)
        except KernelError:
            last.close()
            raise
        attachment.add(last)
        attachment.add(first)

    @property
    def slots_taken(self) -> int:
        """How many calls are inside, and those whose exit never ran."""
        return self._table.taken(_value(self._raw))

    def _count_missed(self) -> Callable[[], int]:
        kernel, table, raw = recursion_misses(self.programs), self._table, self._raw
        return lambda: kernel() + table.missed(_value(raw))

    def close(self) -> None:
        super().close()
        if self._raw is not None:
            self._raw.close()


def _value(raw: Map | None) -> bytes:
    value = raw.lookup(_KEY) if raw is not None else None
    if value is None:
        raise InternalError("a session table without its value")
    return value
