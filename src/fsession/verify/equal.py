"""Whether an earlier state covers a later one at the same place: see `prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.prune import Checkpoint, settled
from fsession.verify.state import Byte, Kind, Reg, Slot, reg_bit, slot_bit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.verify.state import Frame, State

__all__ = ["Comparison", "covers", "same"]

_MISC = (Byte.MISC, Byte.INVALID)
_NOTHING = Slot(bytes(8))


class Comparison:
    """One comparison of two states: the marks that count, and ids of one that are the other's.

    `marks` False: every place counts, and every scalar is precise. `exact`: ranges must be equal,
    too, for states that would come again for ever.
    """

    def __init__(self, precise: int, read: int, *, exact: bool = False) -> None:
        self.precise, self.read, self.exact = precise, read, exact
        self._ids: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._alone = 0

    def same_id(self, old: int, new: int) -> bool:
        if not old or not new:
            return old == new
        return self._ids.setdefault(old, new) == new and self._taken.setdefault(new, old) == old

    def covers_scalar_id(self, old: int, new: int) -> bool:
        """Scalars that were linked must be linked still; new links do no harm."""
        if not old:
            return True
        if not new:  # linked with nothing: a number of its own
            self._alone -= 1
            new = self._alone
        return self._ids.setdefault(old, new) == new

    def covers(self, old: Reg, new: Reg, place: int) -> bool:
        """Whether everything that `new` can be, `old` was; both at `place`."""
        if old.kind != new.kind:
            return old.kind == Kind.NOT_INIT
        if old.kind == Kind.NOT_INIT:
            return True
        if old.kind == Kind.SCALAR:
            return self._covers_scalar(old, new, place)
        if (old.off, old.flags) != (new.off, new.flags) or old.aux != new.aux:
            return False
        if old.range != new.range and (self.exact or not new.range.within(old.range)):
            return False
        return self.same_id(old.id, new.id) and self.same_id(old.ref, new.ref)

    def _covers_scalar(self, old: Reg, new: Reg, place: int) -> bool:
        if not self.precise & place:
            return True
        if self.exact:
            return old.range == new.range
        if old.range != new.range and not new.range.within(old.range):
            return False
        return self.covers_scalar_id(old.id, new.id)

    def covers_slot(self, old: Slot, new: Slot, place: int) -> bool:
        if old.extra is not None or new.extra is not None:
            return self._covers_extra(old, new)
        if old.reg is not None and new.reg is not None and old.bytes == new.bytes:
            return self.covers(old.reg, new.reg, place)
        if old.reg is not None and old.reg.kind == Kind.SCALAR:
            return self._covers_spill(old, new, place)
        return all(map(_covers_byte, old.bytes, new.bytes))

    def _covers_extra(self, old: Slot, new: Slot) -> bool:
        if old.extra is None:
            return all(kind in _MISC for kind in old.bytes)
        if new.extra is None or old.bytes != new.bytes:
            return False
        covers: Callable[[object, Comparison], bool] = old.extra.covers
        return covers(new.extra, self)

    def _covers_spill(self, old: Slot, new: Slot, place: int) -> bool:
        """A spilled scalar that need not be precise is as good as any bytes."""
        assert old.reg is not None
        if self.precise & place or self.exact:
            return False
        return new.reg is None or new.reg.kind == Kind.SCALAR


def _covers_byte(old: int, new: int) -> bool:
    """Uninitialised bytes may be read as any scalar since Linux 6.3, so they are as MISC."""
    return old == new or old in _MISC


def covers(
    point: Checkpoint, new: State, live: Sequence[Sequence[int]], *, marks: bool, exact: bool
) -> bool:
    """Whether `point` covers `new`. `live` are the registers of each frame that are read later."""
    old = point.state
    if not _same_outside(old, new):
        return False
    use_marks = marks and settled(point)
    compare = Comparison(point.precise if use_marks else -1, 0, exact=exact)
    for depth, (before, now) in enumerate(zip(old.frames, new.frames, strict=True)):
        regs, others = before.regs, now.regs
        for number in live[depth]:
            reg, other = regs[number], others[number]
            if reg is other and not reg.id and not reg.ref:
                continue
            if not compare.covers(reg, other, reg_bit(depth, number)):
                return False
        if not _covers_stack(compare, before, now, depth, point.read if use_marks else -1):
            return False
    return _same_refs(compare, old, new)


def _covers_stack(compare: Comparison, old: Frame, new: Frame, depth: int, read: int) -> bool:
    for number, slot in old.stack.items():
        bit = slot_bit(depth, number)
        if not read & bit and slot.extra is None:
            continue
        now = new.stack.get(number, _NOTHING)
        if slot is not now and not compare.covers_slot(slot, now, bit):
            return False
        if slot is now and slot.reg is not None and not compare.covers(slot.reg, slot.reg, bit):
            return False
    # An iterator or dynptr that the old state has not must not be in its way.
    return all(slot.extra is None or number in old.stack for number, slot in new.stack.items())


def _same_outside(old: State, new: State) -> bool:
    if len(old.frames) != len(new.frames) or len(old.refs) != len(new.refs):
        return False
    if (old.rcu, old.preempt, old.sleepable) != (new.rcu, new.preempt, new.sleepable):
        return False
    for before, now in zip(old.frames, new.frames, strict=True):
        if before.start != now.start or before.call != now.call:
            return False
        if before.callback is not now.callback:
            return False
    return True


def _same_refs(compare: Comparison, old: State, new: State) -> bool:
    if not compare.same_id(old.lock, new.lock):
        return False
    return not old.refs or all(
        before.what == now.what and compare.same_id(before.id, now.id)
        for before, now in zip(old.refs, new.refs, strict=True)
    )


def same(point: Checkpoint, new: State, live: Sequence[Sequence[int]]) -> bool:
    """Whether nothing has changed at all since `point`: a loop without progress."""
    regs, others = point.state.frames[-1].regs, new.frames[-1].regs
    for number in live[-1]:  # mostly one of them counts the rounds
        reg, other = regs[number], others[number]
        if reg is not other and reg.kind and reg.range != other.range:
            return False
    return covers(point, new, live, marks=False, exact=True)
