"""What is known before an instruction: registers, stacks, what is held. See docs/verify.md.

A `Reg` is a value and shared freely; a `State` is changed in place by the walk and copied where
control may go two ways. Places of a state (register r of frame f, stack slot s of frame f) have a
bit each, so that sets of places are integers.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple

from fsession.verify.ranges import UNKNOWN, Range, constant

if TYPE_CHECKING:
    from fsession.verify.prune import Checkpoint

__all__ = [
    "FRAME_BITS",
    "MAX_FRAMES",
    "NOT_INIT",
    "SLOT_BYTES",
    "STACK_BYTES",
    "STACK_SLOTS",
    "ZERO",
    "Byte",
    "Flag",
    "Frame",
    "Kind",
    "Ref",
    "Reg",
    "Slot",
    "State",
    "frame_slots",
    "pointer",
    "reg_bit",
    "scalar",
    "slot_bit",
]

MAX_FRAMES = 8
STACK_BYTES, SLOT_BYTES = 512, 8
STACK_SLOTS = STACK_BYTES // SLOT_BYTES
FRAME_BITS = 16 + STACK_SLOTS  # eleven registers, then the slots


class Kind(IntEnum):
    """What a register holds; the kernel's names stand in `show.KIND_TEXT`."""

    NOT_INIT = 0
    SCALAR = 1
    CTX = 2
    STACK = 3
    MAP = 4
    MAP_VALUE = 5
    MAP_KEY = 6
    MEM = 7
    BTF = 8
    FUNC = 9
    DYNPTR = 10


class Flag(IntFlag):
    """What else is known of a pointer."""

    MAYBE_NULL = 1
    RDONLY = 2
    TRUSTED = 4
    RCU = 8
    UNTRUSTED = 16
    PERCPU = 32
    RINGBUF = 64
    ALLOC = 128
    USER = 256
    BORROWED = 512  # of an object in a list, while its lock is held


class Byte(IntEnum):
    """What a byte of a stack slot is."""

    INVALID = 0
    SPILL = 1
    MISC = 2
    ZERO = 3
    DYNPTR = 4
    ITER = 5


class Reg(NamedTuple):
    """A register, or what of one lies in a stack slot.

    `range` is a scalar's value, a pointer's variable offset, on top of the fixed `off`. `aux` says
    what is pointed to: the `MapSpec`, the frame's number, the bytes of memory, `btf.Struct`, the
    function's slot. Equal `id`s: the same scalar, or pointers that are NULL together. `ref` is
    the reference that it holds. `deps` are the places of the last checkpoint that a scalar was
    computed from.
    """

    kind: Kind
    range: Range
    off: int = 0
    aux: Any = None
    flags: int = 0
    id: int = 0
    ref: int = 0
    deps: int = 0

    @property
    def is_scalar(self) -> bool:
        return self.kind == 1

    @property
    def is_pointer(self) -> bool:
        return self.kind > 1

    @property
    def may_be_null(self) -> bool:
        return bool(self.flags & 1)


ZERO = constant(0)
NOT_INIT = Reg(Kind.NOT_INIT, UNKNOWN)


def scalar(range: Range = UNKNOWN, deps: int = 0, id: int = 0) -> Reg:
    return Reg(Kind.SCALAR, range, 0, None, 0, id, 0, deps)


def pointer(
    kind: Kind, aux: object = None, flags: int = 0, id: int = 0, ref: int = 0, off: int = 0
) -> Reg:
    return Reg(kind, ZERO, off, aux, int(flags), id, ref, 0)


class Slot(NamedTuple):
    """Eight bytes of stack: what each is (`Byte`), and the register that was spilled here.

    A spilled scalar of fewer bytes has SPILL in its first bytes only. Of an iterator or dynptr
    `reg` is None and `extra` says what it is (`kfuncs.Iter`, `dynptr.Dynptr`).
    """

    bytes: bytes
    reg: Reg | None = None
    extra: Any = None


class Ref(NamedTuple):
    """Something acquired that must be released: `id`, where, and what to call it."""

    id: int
    at: int
    what: str


class Frame:
    """A function that is being walked. `start` is its first slot, `call` where it was called."""

    __slots__ = ("call", "callback", "depth", "regs", "stack", "start")

    def __init__(self, start: int, call: int, callback: Any = None) -> None:
        self.start, self.call = start, call
        self.callback = callback  # what called it (`callbacks.Callback`), None for a plain call
        self.depth = 0  # how many callbacks it has called in a row
        self.regs: list[Reg] = [NOT_INIT] * 11
        self.stack: dict[int, Slot] = {}

    def copy(self) -> Frame:
        made = Frame.__new__(Frame)
        made.start, made.call, made.callback = self.start, self.call, self.callback
        made.depth = self.depth
        made.regs = self.regs.copy()
        made.stack = self.stack.copy()
        return made


class State:
    """All of it before the instruction `at`.

    `parent` is the last checkpoint passed; `written` are the stack slots overwritten since.
    `path` is a chain ``(start, from, path before)`` of the straight pieces that were walked: where
    each starts and the instruction before it. For explanations.
    """

    __slots__ = (
        "at",
        "frames",
        "goto_depth",
        "lock",
        "loops",
        "parent",
        "path",
        "preempt",
        "rcu",
        "refs",
        "sleepable",
        "written",
    )

    def __init__(self) -> None:
        self.at = 0
        self.frames: list[Frame] = []
        self.refs: tuple[Ref, ...] = ()
        self.rcu = 0
        self.preempt = 0
        self.lock = 0  # the id of the value whose lock is held
        self.sleepable = False  # of the program, or of what it has called back later
        self.goto_depth = 0
        self.loops = 0
        self.parent: Checkpoint | None = None
        self.written = 0
        self.path: Any = None

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    @property
    def progress(self) -> tuple[int, int, int]:
        """Counts of what the kernel itself ends: rounds of may_goto, iterators, callbacks."""
        depth = 0
        for frame in self.frames:
            depth += frame.depth
        return self.goto_depth, self.loops, depth

    def copy(self) -> State:
        made = State.__new__(State)
        made.at, made.frames = self.at, [frame.copy() for frame in self.frames]
        made.refs, made.rcu, made.preempt = self.refs, self.rcu, self.preempt
        made.goto_depth, made.loops, made.lock = self.goto_depth, self.loops, self.lock
        made.sleepable = self.sleepable
        made.parent, made.written, made.path = self.parent, self.written, self.path
        return made

    def change(self, function: Any) -> None:
        """Replace every register and spilled register `r` by ``function(r)``."""
        for frame in self.frames:
            regs = frame.regs
            for number, reg in enumerate(regs):
                if reg.kind:
                    regs[number] = function(reg)
            for number, slot in frame.stack.items():
                if slot.reg is not None:
                    new = function(slot.reg)
                    if new is not slot.reg:
                        frame.stack[number] = slot._replace(reg=new)


def reg_bit(frame: int, reg: int) -> int:
    return 1 << frame * FRAME_BITS + reg


def slot_bit(frame: int, slot: int) -> int:
    """`slot` counts from the frame's top: 0 is ``r10 - 8``."""
    return 1 << frame * FRAME_BITS + 16 + slot


def frame_slots(frame: int) -> int:
    """The bits of all slots of a frame."""
    return ((1 << STACK_SLOTS) - 1) << frame * FRAME_BITS + 16
