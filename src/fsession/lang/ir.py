"""The IR: what the front ends make and the back end turns into instructions.

A function is a graph of blocks in SSA form: each value is defined once, and a block takes what
differs between its predecessors as parameters, which their jumps fill. Values are 64-bit words as
registers hold them; what C or Python means by a word (its width, its sign) is in the operations.

Operations are the closed set of small classes below. All have `dst`, the value they define or
None, and `args`, the values they use; what else they need is in fields of their own. None is ever
subclassed. `at` is the place in the source, for line info and messages.
"""

from __future__ import annotations

from dataclasses import field, replace
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, NewType, TypeVar

from fsession.frozen import frozen, slotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "PURE",
    "AtomicAdd",
    "Binary",
    "BinaryOp",
    "Block",
    "Branch",
    "Call",
    "Compare",
    "Const",
    "End",
    "Extend",
    "FuncAddress",
    "Function",
    "Helper",
    "Jump",
    "Kfunc",
    "Label",
    "Load",
    "Local",
    "MapAddress",
    "MapValue",
    "Op",
    "Opaque",
    "Place",
    "Probe",
    "Return",
    "Slot",
    "SlotSpec",
    "Space",
    "Store",
    "Swap",
    "Test",
    "Value",
    "with_args",
]

Value = NewType("Value", int)
Label = NewType("Label", int)


@frozen
class Place:
    """A place in the source: line and column count from 1; `text` is the line."""

    file: str
    line: int
    column: int
    text: str


class BinaryOp(StrEnum):
    """Signed division and remainder round towards 0, as C's."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    UDIV = "/u"
    UMOD = "%u"
    SDIV = "/s"
    SMOD = "%s"
    AND = "&"
    OR = "|"
    XOR = "^"
    SHL = "<<"
    LSHR = ">>u"
    ASHR = ">>s"

    @property
    def commutes(self) -> bool:
        return self in _COMMUTATIVE


_COMMUTATIVE = frozenset({BinaryOp.ADD, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR})


class Test(StrEnum):
    """Comparisons, unsigned and signed, as jumps have them. SET: have bits in common."""

    EQ = "=="
    NE = "!="
    ULT = "<u"
    ULE = "<=u"
    UGT = ">u"
    UGE = ">=u"
    SLT = "<s"
    SLE = "<=s"
    SGT = ">s"
    SGE = ">=s"
    SET = "&?"

    @property
    def swapped(self) -> Test:
        """The test that says the same of the operands in the other order."""
        return _SWAPPED.get(self, self)

    @property
    def inverted(self) -> Test | None:
        """The test that holds when this one does not; SET has none."""
        return _INVERTED.get(self)


_SWAPPED = {
    Test.ULT: Test.UGT, Test.UGT: Test.ULT, Test.ULE: Test.UGE, Test.UGE: Test.ULE,
    Test.SLT: Test.SGT, Test.SGT: Test.SLT, Test.SLE: Test.SGE, Test.SGE: Test.SLE,
}  # fmt: skip
_INVERTED = {
    Test.EQ: Test.NE, Test.NE: Test.EQ,
    Test.ULT: Test.UGE, Test.UGE: Test.ULT, Test.ULE: Test.UGT, Test.UGT: Test.ULE,
    Test.SLT: Test.SGE, Test.SGE: Test.SLT, Test.SLE: Test.SGT, Test.SGT: Test.SLE,
}  # fmt: skip


class Space(Enum):
    """What memory a load or store is of. KERNEL and CTX do not change for the program: two loads
    of the same address are one."""

    CTX = auto()
    KERNEL = auto()
    STACK = auto()
    MAP = auto()


@frozen
class Const:
    dst: Value
    value: int  # as unsigned 64 bits
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class Binary:
    """With 32 bits, of the low halves; the upper half of the result is 0. Shifts count modulo."""

    dst: Value
    op: BinaryOp
    args: tuple[Value, Value]
    bits: int = 64
    at: Place | None = field(default=None, compare=False)


@frozen
class Compare:
    """1 or 0."""

    dst: Value
    test: Test
    args: tuple[Value, Value]
    bits: int = 64
    at: Place | None = field(default=None, compare=False)


@frozen
class Extend:
    """The low 8, 16 or 32 bits, extended to 64 by zeros or by the sign."""

    dst: Value
    args: tuple[Value]
    bits: int
    signed: bool
    at: Place | None = field(default=None, compare=False)


@frozen
class Swap:
    """The low 16, 32 or 64 bits with their bytes in the other order, extended by zeros."""

    dst: Value
    args: tuple[Value]
    bits: int
    at: Place | None = field(default=None, compare=False)


@frozen
class Load:
    """`size` bytes at the address ``args[0] + offset``."""

    dst: Value
    args: tuple[Value]
    offset: int
    size: int
    signed: bool
    space: Space
    at: Place | None = field(default=None, compare=False)


@frozen
class Probe:
    """`size` bytes at an address that may be bad; then 0. `user`: of the process's memory."""

    dst: Value
    args: tuple[Value]
    size: int
    signed: bool = False
    user: bool = False
    at: Place | None = field(default=None, compare=False)


@frozen
class Store:
    """The low `size` bytes of ``args[1]`` to the address ``args[0] + offset``."""

    args: tuple[Value, Value]
    offset: int
    size: int
    space: Space
    dst: None = None
    at: Place | None = field(default=None, compare=False)


@frozen
class AtomicAdd:
    """Adds ``args[1]`` to the 4 or 8 bytes at ``args[0] + offset``; `dst` is what was there."""

    args: tuple[Value, Value]
    offset: int
    size: int
    dst: Value | None = None
    at: Place | None = field(default=None, compare=False)


@frozen
class Slot:
    """The address of the stack slot `slot` of the function."""

    dst: Value
    slot: int
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class MapAddress:
    """The map `name`, as helpers take it."""

    dst: Value
    name: str
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class MapValue:
    """The address of byte `offset` of the only value of the array map `name`."""

    dst: Value
    name: str
    offset: int = 0
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class FuncAddress:
    """The function `name` of the program, as helpers take a callback."""

    dst: Value
    name: str
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class Opaque:
    """0, which the verifier does not know: it takes what is added to this for any number."""

    dst: Value
    args: tuple[()] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class Helper:
    """A helper, by its number (``enum bpf_func_id``)."""

    number: int
    name: str


@frozen
class Kfunc:
    """A kernel function that programs may call, by its name."""

    name: str


@frozen
class Local:
    """Another function of the program."""

    name: str


@frozen
class Call:
    """`pure`: called twice with the same arguments, it answers the same and changes nothing."""

    dst: Value
    target: Helper | Kfunc | Local
    args: tuple[Value, ...]
    pure: bool = False
    type_id: int = 0  # of a kfunc's argument that is a constant type id; 0 where there is none
    at: Place | None = field(default=None, compare=False)


Op = (
    Const | Binary | Compare | Extend | Swap | Load | Probe | Store | AtomicAdd
    | Slot | MapAddress | MapValue | FuncAddress | Opaque | Call
)  # fmt: skip
PURE = (
    Const, Binary, Compare, Extend, Swap, Probe, Slot, MapAddress, MapValue, FuncAddress, Opaque,
)  # fmt: skip
"""Operations that are the same for the same arguments, and change nothing. `Load` and `Call`
are as their space and flag say."""


@frozen
class Jump:
    """To a block, with a value for each of its parameters."""

    target: Label
    args: tuple[Value, ...] = ()
    at: Place | None = field(default=None, compare=False)


@frozen
class Branch:
    """To `then` if the test holds, else to `other`; neither takes parameters."""

    test: Test
    args: tuple[Value, Value]
    then: Label
    other: Label
    bits: int = 64
    at: Place | None = field(default=None, compare=False)


@frozen
class Return:
    args: tuple[Value]
    at: Place | None = field(default=None, compare=False)


End = Jump | Branch | Return
T = TypeVar("T", bound=Op | End)


def with_args(item: T, args: tuple[Value, ...]) -> T:
    """The same operation or end with other operands."""
    return item if args == item.args else replace(item, args=args)  # type: ignore[arg-type]


@slotted
class Block:
    """Operations, and how it goes on."""

    params: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    end: End | None = None

    @property
    def successors(self) -> tuple[Label, ...]:
        match self.end:
            case Jump(target):
                return (target,)
            case Branch(then=then, other=other):
                return (then, other)
        return ()


@frozen
class SlotSpec:
    """Bytes of the stack, at addresses that are multiples of `align`."""

    size: int
    align: int = 8


@slotted
class Function:
    """`blocks` by label, the entry first; `params` arrive in r1 to r5. `far` are the heads of loops
    that the verifier is not to follow round by round: see `outline`."""

    name: str
    params: list[Value] = field(default_factory=list)
    blocks: dict[Label, Block] = field(default_factory=dict)
    slots: list[SlotSpec] = field(default_factory=list)
    far: set[Label] = field(default_factory=set)
    values: int = 0
    labels: int = 0
    at: Place | None = None

    @property
    def entry(self) -> Label:
        return next(iter(self.blocks))

    def new_value(self) -> Value:
        self.values += 1
        return Value(self.values - 1)

    def new_block(self) -> Label:
        """An empty block at the end."""
        label = self.new_label()
        self.blocks[label] = Block()
        return label

    def new_label(self) -> Label:
        self.labels += 1
        return Label(self.labels - 1)

    def new_slot(self, size: int, align: int = 8) -> int:
        self.slots.append(SlotSpec(size, align))
        return len(self.slots) - 1

    def ops(self) -> Iterator[Op]:
        for block in self.blocks.values():
            yield from block.ops

    def predecessors(self) -> Mapping[Label, list[Label]]:
        found: dict[Label, list[Label]] = {label: [] for label in self.blocks}
        for label, block in self.blocks.items():
            for successor in block.successors:
                found[successor].append(label)
        return found
