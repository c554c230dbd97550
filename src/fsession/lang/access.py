"""Memory behind typed pointers: how a member is read depends on what the verifier knows.

A pointer that the kernel gave with its BTF type is followed by plain loads: a bad address reads as
0. So does what a struct behind it points to. Any other number is read by ``bpf_probe_read_*``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.lang.ctypes import CType, Field, Integer, Pointer, Record
from fsession.lang.ir import BinaryOp, Label, Space, Test, Value
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.lang.build import Builder

__all__ = ["Access", "Place", "Trust", "Typed"]


class Trust(Enum):
    """What the verifier takes a pointer for."""

    NUMBER = auto()  # none: kernel memory is read by helpers
    USER = auto()  # an address of the process
    KERNEL = auto()  # of a struct of this BTF type, or bad
    MEMORY = auto()  # of a map value, the stack or a cookie: may be written


@frozen
class Typed:
    """A value of a C type. Integers fill 64 bits, extended as their type's sign says.

    `most` is the greatest that a number can be, where that shows.
    """

    type: CType
    value: Value
    trust: Trust = Trust.NUMBER
    most: int | None = None


@frozen
class Place:
    """Something in memory: `offset` bytes behind `base`; for a bit-field, which bits of it."""

    type: CType
    base: Value
    offset: int = 0
    trust: Trust = Trust.NUMBER
    bit: int = 0
    bits: int = 0


class Access:
    """Loads and stores of one function under construction.

    With `on_fault`, what can't be read goes on there; without, it is 0. `reads` counts the reads.
    """

    def __init__(self, builder: Builder, on_fault: Label | None = None) -> None:
        self.build = builder
        self.on_fault = on_fault
        self.reads = 0

    def target(self, pointer: Typed) -> Place:
        """What a pointer points to."""
        assert isinstance(pointer.type, Pointer)
        trust = pointer.trust
        if trust is Trust.KERNEL and not isinstance(pointer.type.to, Record):
            trust = Trust.NUMBER
        return Place(pointer.type.to, pointer.value, 0, trust)

    def member(self, place: Place, field: Field) -> Place:
        if not field.bits:
            return Place(field.type, place.base, place.offset + field.offset, place.trust)
        size = field.type.size
        # the aligned unit of the declared type that holds it
        unit = field.bit_offset // (8 * size) * size
        bit = field.bit_offset - 8 * unit
        return Place(field.type, place.base, place.offset + unit, place.trust, bit, field.bits)

    def fixed_element(self, place: Place, of: CType, number: int) -> Place:
        """Element `number` of what starts at `place`."""
        return Place(of, place.base, place.offset + number * of.size, place.trust)

    def element(self, place: Place, of: CType, index: Value) -> Place:
        """As `fixed_element`, of an index that is known when the program runs."""
        build = self.build
        distance = build.binary(BinaryOp.MUL, index, build.const(of.size))
        base = build.binary(BinaryOp.ADD, build.add(place.base, place.offset), distance)
        trust = Trust.NUMBER if place.trust is Trust.KERNEL else place.trust
        return Place(of, base, 0, trust)

    def address(self, place: Place) -> Typed:
        """A pointer to it; only one to the start of a kernel struct can be followed as such."""
        if place.bits:
            raise BadInputError("a bit-field has no address")
        at = self.build.add(place.base, place.offset)
        trust = place.trust
        if trust is Trust.KERNEL and place.offset:
            trust = Trust.NUMBER
        return Typed(Pointer(place.type), at, trust)

    def load(self, place: Place) -> Typed:
        """An integer or a pointer. Raises `BadInputError` for what has no value of its own."""
        type = place.type
        if not isinstance(type, Integer | Pointer) or type.size not in (1, 2, 4, 8):
            raise BadInputError(f"{type} is no number and no pointer")
        if place.bits:
            return Typed(type, self._bits(place))
        signed = isinstance(type, Integer) and type.signed
        value = self._read(place, type.size, signed)
        return Typed(type, value, self._trust(place, type))

    def _trust(self, place: Place, type: CType) -> Trust:
        if not isinstance(type, Pointer):
            return Trust.NUMBER
        if type.tag == "user" or place.trust is Trust.USER:
            return Trust.USER
        known = place.trust is Trust.KERNEL and isinstance(type.to, Record)
        return Trust.KERNEL if known and type.tag in ("", "rcu") else Trust.NUMBER

    def _read(self, place: Place, size: int, signed: bool) -> Value:
        if place.trust is Trust.MEMORY:
            return self.build.load(place.base, place.offset, size, Space.MAP, signed=signed)
        self.reads += 1
        if place.trust is Trust.KERNEL:
            value = self.build.load(place.base, place.offset, size, Space.KERNEL, signed=signed)
            self._check_zero(place, size, value)
            return value
        at = self.build.add(place.base, place.offset)
        user = place.trust is Trust.USER
        if self.on_fault is None:
            return self.build.probe(at, size, signed=signed, user=user)
        slot = self.build.slot(8)
        self.probe(slot, size, at, user=user)
        return self.build.load(slot, 0, size, Space.STACK, signed=signed)

    def _check_zero(self, place: Place, size: int, value: Value) -> None:
        """A direct load of a bad address gives 0: only then is it worth to ask which it was."""
        if self.on_fault is None:
            return
        build = self.build
        zero, done = build.block(), build.block()
        build.branch(Test.EQ, value, build.const(0), zero, done)
        build.begin(zero)
        self.probe(build.slot(8), size, build.add(place.base, place.offset))
        build.jump(done)
        build.begin(done)

    def probe(self, to: Value, size: int, at: Value, *, user: bool = False) -> None:
        """Copy `size` bytes from an address that may be bad, of the kernel or of the process."""
        helper = FuncId.probe_read_user if user else FuncId.probe_read_kernel
        status = self.build.helper(helper, to, self.build.const(size), at)
        self.check(status)

    def check(self, status: Value) -> None:
        """Go on only if a helper's status is no errno."""
        if self.on_fault is not None:
            done = self.build.block()
            zero = self.build.const(0)
            self.build.branch(Test.SLT, status, zero, self.on_fault, done)
            self.build.begin(done)

    def _bits(self, place: Place) -> Value:
        """Shifted to the upper end and back, which extends it."""
        signed = isinstance(place.type, Integer) and place.type.signed
        build = self.build
        word = self._read(place, place.type.size, False)
        if not signed:
            down = build.binary(BinaryOp.LSHR, word, build.const(place.bit))
            return build.binary(BinaryOp.AND, down, build.const((1 << place.bits) - 1))
        up = build.binary(BinaryOp.SHL, word, build.const(64 - place.bit - place.bits))
        return build.binary(BinaryOp.ASHR, up, build.const(64 - place.bits))

    def store(self, place: Place, value: Value) -> None:
        """Raises `BadInputError` where programs may not write."""
        if place.trust is not Trust.MEMORY:
            raise BadInputError("the kernel's memory can't be written")
        size = place.type.size
        if place.bits:
            value = self._mixed(place, value)
        self.build.store(place.base, place.offset, value, size, Space.MAP)

    def _mixed(self, place: Place, value: Value) -> Value:
        """The unit of a bit-field with new bits."""
        build = self.build
        mask = (1 << place.bits) - 1
        word = self._read(place, place.type.size, False)
        kept = build.binary(BinaryOp.AND, word, build.const(~(mask << place.bit)))
        new = build.binary(BinaryOp.AND, value, build.const(mask))
        new = build.binary(BinaryOp.SHL, new, build.const(place.bit))
        return build.binary(BinaryOp.OR, kept, new)
