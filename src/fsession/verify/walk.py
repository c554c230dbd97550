"""The walk: every way through the program, one instruction after the other.

A way is a `State` that goes on until the program ends or a checkpoint covers it (`prune`). Where
control may go two ways, a copy is put aside for later; the last one put aside is taken first.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from fsession.isa.opcode import Class
from fsession.verify.equal import covers, same
from fsession.verify.problem import RefusedError
from fsession.verify.prune import Checkpoint, followed, rebased
from fsession.verify.ranges import UNKNOWN
from fsession.verify.special import LOCK, special_fields
from fsession.verify.state import (
    MAX_FRAMES,
    Frame,
    Kind,
    Ref,
    Reg,
    State,
    pointer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fsession.isa.insn import Insn
    from fsession.spec import MapSpec
    from fsession.verify.limits import Limits
    from fsession.verify.special import Field
    from fsession.verify.structure import Structure
    from fsession.verify.subject import Subject

__all__ = ["LATER", "OVER", "Walk"]


OVER = -1
"""What a step returns where a way ends."""

LATER = -3
"""`Frame.call` of a function that a timer or a queue calls, after the program."""

_BUSY_JUMPS, _BUSY_INSNS = 20, 100
_NEW_JUMPS, _NEW_INSNS = 2, 8
_MAX_PENDING = 8192
_APART = (Kind.CTX, Kind.BTF)
_JUMP_CLASSES = (Class.JMP, Class.JMP32)


class Walk:
    """What is the same for all ways: the program, what was seen of it, ids, counts."""

    def __init__(
        self,
        subject: Subject,
        structure: Structure,
        limits: Limits,
        steps: Mapping[int, Callable[[Walk, State, Insn], int]],
        *,
        prune: bool = True,
        listen: Callable[[State, Insn], None] | None = None,
    ) -> None:
        self.subject, self.structure, self.limits = subject, structure, limits
        self.insns = 0
        self.jumps = 0
        self.state = State()
        self._listen = listen
        self._prune = prune
        self._steps = [steps[insn.opcode] if insn else None for insn in structure.code]
        self._is_jump = bytes(
            insn is not None and insn.opcode & 7 in _JUMP_CLASSES for insn in structure.code
        )
        self._kinds: dict[int, Kind] = {}
        # Each map has a spec of its own, so that pointers tell which one they are of.
        self.maps = {number: replace(spec) for number, spec in subject.maps.items()}
        self._fields: dict[int, tuple[Field, ...]] = {}
        self._specs: list[MapSpec] = []  # so that no other gets the same id()
        self._map_ids: dict[int, int] = {}
        self.globals: dict[int, None] = {}
        self._points: dict[int, list[Checkpoint]] = {}
        self._pending: list[State] = []
        self._later: set[tuple[int, object, bool]] = set()
        self._called_back: set[int] = set()
        self._last_id = 0
        self._most_at_place = self._all_points = self._held_points = self._most_held = 0
        self._insns_at_point = self._jumps_at_point = 0
        self._stack_used: dict[int, int] = {}

    # -- what steps ask for ---------------------------------------------------------------------

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def readable(self, state: State, number: int) -> Reg:
        """A register that is read. Raises where it was never written."""
        reg = state.frames[-1].regs[number]
        if not reg.kind:
            raise RefusedError(
                f"R{number} !read_ok",
                advice="the register has no value here"
                + (": calls overwrite r1 to r5" if 0 < number < 6 else ""),
                regs=(number,),
            )
        return reg

    def written(self, number: int) -> int:
        """The number of a register that may be written."""
        if number == 10:
            raise RefusedError("frame pointer is read only", regs=(10,))
        return number

    def note_kind(self, at: int, kind: Kind) -> None:
        """One instruction is for contexts, for kernel structures, or for other memory."""
        before = self._kinds.setdefault(at, kind)
        if before != kind and (before in _APART or kind in _APART):
            raise RefusedError("same insn cannot be used with different pointers")

    def fork(self, state: State, at: int) -> State:
        """A copy that will go on at `at`, later."""
        other = state.copy()
        other.at = at
        other.path = (at, state.at, state.path)
        if other.parent is not None:
            other.parent.branches += 1
        self._pending.append(other)
        if len(self._pending) > _MAX_PENDING:
            raise RefusedError(
                "The sequence of 8193 jumps is too complex.",
                advice="too many branches before one way ends: a loop whose number of rounds is "
                "not bounded by a constant, or very many conditions; bpf_loop() and bpf_for() "
                "bound a loop",
            )
        return other

    def acquire(self, state: State, what: str) -> int:
        """A new reference, which must be released on every way."""
        id = self.new_id()
        state.refs = (*state.refs, Ref(id, state.at, what))
        return id

    def release(self, state: State, id: int) -> None:
        """End a reference; every register that holds it is of no use any more."""
        state.refs = tuple(ref for ref in state.refs if ref.id != id)

        def ended(reg: Reg) -> Reg:
            return Reg(Kind.SCALAR, UNKNOWN) if reg.ref == id else reg

        state.change(ended)

    def fields(self, spec: MapSpec) -> tuple[Field, ...]:
        """The fields of a map's values that have rules of their own."""
        found = self._fields.get(id(spec))
        if found is None:
            found = special_fields(spec, self.subject.own_types)
            self._fields[id(spec)] = found
            self._specs.append(spec)
        return found

    def has_lock(self, spec: MapSpec) -> bool:
        return any(field.kind == LOCK for field in self.fields(spec))

    def id_of_map(self, number: int) -> int:
        """What the lock is known by in a value whose address is in the program; 0: it has none."""
        if not self.has_lock(self.maps[number]):
            return 0
        if number not in self._map_ids or not self.limits.functions_under_lock:
            self._map_ids[number] = self.new_id()
        return self._map_ids[number]

    def use_stack(self, depth: int, bytes: int) -> None:
        """Note how deep the stack of a frame's function goes, for all frames together."""
        start = self.state.frames[depth].start
        if bytes > self._stack_used.get(start, 0):
            self._stack_used[start] = bytes

    @property
    def stack_used(self) -> Mapping[int, int]:
        """Bytes of stack by the function's first slot."""
        return self._stack_used

    # -- calls ----------------------------------------------------------------------------------

    def enter(self, state: State, start: int, callback: object = None) -> Frame:
        """Go into the function at `start`; its frame has no arguments yet."""
        if len(state.frames) >= MAX_FRAMES:
            raise RefusedError(
                f"the call stack of {len(state.frames) + 1} frames is too deep",
                advice=f"functions call each other at most {MAX_FRAMES} deep",
            )
        depth = len(state.frames)
        if callback is not None:
            self._called_back.add(start)
        frame = Frame(start, state.at, callback)
        frame.regs[10] = pointer(Kind.STACK, depth)
        state.frames.append(frame)
        state.written |= ((1 << 64) - 1) << depth * 80 + 16
        return frame

    def enter_later(self, start: int, args: Sequence[Reg], *, sleepable: bool) -> None:
        """The function at `start` will run by itself, with these arguments: walked once."""
        key = start, tuple((reg.kind, id(reg.aux)) for reg in args), sleepable
        if key in self._later:
            return
        self._later.add(key)
        state = State()
        state.at, state.sleepable = start, sleepable
        state.path = (start, -1, None)
        frame = Frame(start, LATER)
        frame.regs[1 : 1 + len(args)] = args
        frame.regs[10] = pointer(Kind.STACK, 0)
        state.frames.append(frame)
        self._pending.append(state)

    @property
    def later(self) -> frozenset[int]:
        """Starts of the functions that run by themselves."""
        return frozenset(start for start, *_ in self._later)

    @property
    def only_later(self) -> frozenset[int]:
        """Those of them that nothing else calls back."""
        return self.later - self._called_back

    def note_global(self, start: int) -> None:
        """The global function at `start` is called, so it must be verified, too."""
        self.globals[start] = None

    @property
    def statistics(self) -> str:
        """The kernel's last line: tools read these counts."""
        return (
            f"processed {self.insns} insns (limit {self.limits.max_insns}) "
            f"max_states_per_insn {self._most_at_place} total_states {self._all_points} "
            f"peak_states {self._most_held} mark_read 0"
        )

    # -- the loop -------------------------------------------------------------------------------

    def run(self, first: State) -> None:
        """Walk every way from `first`. Raises `RefusedError` with its place."""
        first.path = (first.at, -1, None)
        self._pending.append(first)
        while self._pending:
            state = self._pending.pop()
            self.state = state
            try:
                self._follow(state)
            except RefusedError as error:
                if error.at < 0:
                    error.at = state.at
                raise
            self._finish(state)

    def _follow(self, state: State) -> None:
        steps, code, is_jump = self._steps, self.structure.code, self._is_jump
        points, listen = self.structure.points, self._listen
        most = self.limits.max_insns
        while True:
            at = state.at
            self.insns += 1
            if self.insns > most:
                raise RefusedError(
                    f"BPF program is too large. Processed {self.insns} insn",
                    advice="fewer branches inside of loops, or loops of fewer rounds",
                )
            if at in points and self._covered(state):
                return
            step, insn = steps[at], code[at]
            assert step is not None
            assert insn is not None
            self.jumps += is_jump[at]
            if listen is not None:
                listen(state, insn)
            next = step(self, state, insn)
            if next == OVER:
                return
            if next != at + insn.slots:
                state.path = (next, at, state.path)
            state.at = next

    def _finish(self, state: State) -> None:
        point = state.parent
        while point is not None:
            point.branches -= 1
            if point.branches:
                break
            point = point.parent

    # -- checkpoints ----------------------------------------------------------------------------

    def _covered(self, state: State) -> bool:
        """True if an earlier state covers this one; else it may become a checkpoint."""
        at = state.at
        jumps = self.jumps - self._jumps_at_point
        insns = self.insns - self._insns_at_point
        forced = at in self.structure.forced
        add = forced or (jumps >= _NEW_JUMPS and insns >= _NEW_INSNS)
        known = self._points.setdefault(at, [])
        looping = False
        live = self._live(state) if known else ()
        for point in list(known):
            if point.branches:
                if self._is_loop(point, state, live, forced=forced):
                    followed(state, point)
                    return True
                looping = True
                found = False
            else:
                found = self._prune and covers(point, state, live, marks=True, exact=False)
            if found:
                point.hits += 1
                followed(state, point)
                return True
            if looping and not forced and jumps < _BUSY_JUMPS and insns < _BUSY_INSNS:
                add = False
            if add:
                self._count_miss(known, point, forced=forced)
        if add:
            self._add(state, known)
        return False

    def _count_miss(self, known: list[Checkpoint], point: Checkpoint, *, forced: bool) -> None:
        """Checkpoints that never help are not compared with for ever."""
        point.misses += 1
        factor = 64 if forced and point.branches else 3
        if point.misses > point.hits * factor + factor:
            known.remove(point)
            self._held_points -= 1

    def _is_loop(
        self, point: Checkpoint, state: State, live: Sequence[Sequence[int]], *, forced: bool
    ) -> bool:
        """A state that comes back to where it came from: refused if nothing ever changes, covered
        if it is a loop that the kernel itself ends and nothing new can happen in it."""
        ends = point.progress != state.progress
        if forced:
            return ends and covers(point, state, live, marks=False, exact=False)
        if not ends and same(point, state, live):
            raise RefusedError(
                f"infinite loop detected at insn {state.at}",
                advice="nothing that the loop's condition depends on changes in it",
            )
        return False

    def _live(self, state: State) -> list[tuple[int, ...]]:
        """The registers of each frame that are read later."""
        at = [frame.call for frame in state.frames[1:]]
        return [_registers(self.structure.live[slot]) for slot in (*at, state.at)]

    def _add(self, state: State, known: list[Checkpoint]) -> None:
        self._jumps_at_point, self._insns_at_point = self.jumps, self.insns
        kept = state.copy()
        kept.path = None
        point = Checkpoint(kept)
        known.append(point)
        self._all_points += 1
        self._held_points += 1
        self._most_held = max(self._most_held, self._held_points)
        self._most_at_place = max(self._most_at_place, len(known))
        state.parent = point
        rebased(state)


@cache
def _registers(mask: int) -> tuple[int, ...]:
    """The numbers of the registers in a mask, without the frame pointer."""
    return tuple(number for number in range(10) if mask >> number & 1)
