"""The arguments of one call of a helper, and what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct, Union
from fsession.calls import Access, ArgKind, ResultKind
from fsession.uapi import FuncId, MapType
from fsession.verify import dynptrs
from fsession.verify.args import (
    check_memory,
    check_size,
    check_struct,
    constant_size,
    is_null,
    struct_fits,
    wrong_type,
)
from fsession.verify.kept import check_kept, exchanged
from fsession.verify.locks import lock, unlock
from fsession.verify.map_rules import check_sleepable_map
from fsession.verify.places import check_field, check_place
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.show import kind_text
from fsession.verify.special import LOCK, TIMER
from fsession.verify.state import NOT_INIT, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import StructRef
from fsession.verify.texts import format_problem

if TYPE_CHECKING:
    from fsession.calls import Arg, Helper
    from fsession.spec import MapSpec
    from fsession.verify.special import Field
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["HelperCall"]

_ITEM_NULL_ELIDED = (6, 15)


class HelperCall:
    """The arguments of one call while they are checked."""

    def __init__(self, walk: Walk, state: State, helper: Helper) -> None:
        self.walk, self.state, self.helper = walk, state, helper
        self.map: MapSpec | None = None
        self.size = 0
        self.key: Reg | None = None
        self.format: bytes | None = None
        self.percpu_of: StructRef | None = None
        self.kept: Field | None = None
        self.timer_of: MapSpec | None = None
        self.releases = 0

    def check(self, index: int, arg: Arg) -> None:
        number = index + 1
        reg = self.walk.readable(self.state, number)
        if arg.nullable and is_null(reg) and arg.kind is not ArgKind.MEM:
            need(self.state, reg.deps)
            return
        check = _CHECKS.get(arg.kind)
        if check is None:
            raise NotJudgedError(f"arguments of bpf_{self.helper.name}")
        check(self, number, reg, arg)
        if arg.releases and arg.kind is not ArgKind.DYNPTR:
            self.releases = number

    def anything(self, number: int, reg: Reg, arg: Arg) -> None:
        pass

    def scalar(self, number: int, reg: Reg, arg: Arg) -> None:
        if not reg.is_scalar:
            raise wrong_type(number, reg, "scalar")

    def context(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.CTX:
            raise wrong_type(number, reg, "ctx", "the first argument is the program's context")
        if reg.off or reg.range.mask or reg.range.value:
            raise RefusedError(
                f"dereference of modified ctx ptr R{number} off={reg.off} disallowed",
                regs=(number,),
            )

    def map_pointer(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.MAP or reg.may_be_null:
            raise wrong_type(number, reg, "map_ptr")
        self.map = reg.aux
        if self.timer_of is not None and self.timer_of is not reg.aux:
            raise RefusedError(
                "timer pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0",
                advice="a timer is made with the map that it is in",
                regs=(1, number),
            )
        if self.walk.subject.sleepable:
            check_sleepable_map(reg.aux)

    def key_memory(self, number: int, reg: Reg, arg: Arg) -> None:
        assert self.map is not None
        check_memory(self.walk, self.state, number, self.map.key_size)
        self.key = reg

    def value_memory(self, number: int, reg: Reg, arg: Arg) -> None:
        assert self.map is not None
        fills = arg.access is Access.WRITE
        size = self.map.value_size
        check_memory(self.walk, self.state, number, size, fills=fills)

    def memory(self, number: int, reg: Reg, arg: Arg) -> None:
        if not arg.size:
            return  # with its size, the next argument
        fills = arg.access is Access.WRITE
        if reg.kind == Kind.STACK and (reg.off + reg.range.value) % arg.size:
            raise RefusedError(
                f"misaligned stack access off {reg.off:+d} size {arg.size}", regs=(number,)
            )
        write = arg.access is Access.BOTH
        check_memory(self.walk, self.state, number, arg.size, write=write, fills=fills)

    def size_of(self, number: int, reg: Reg, arg: Arg) -> None:
        memory = self.helper.args[number - 2]
        check_size(
            self.walk,
            self.state,
            number,
            zero=arg.zero,
            write=memory.access is Access.BOTH,
            fills=memory.access is Access.WRITE,
            nullable=memory.nullable,
        )
        if self.format is not None:
            self._check_format(number, reg)

    def _check_format(self, number: int, size: Reg) -> None:
        """bpf_snprintf: its last argument says how many words it is given."""
        assert self.format is not None
        if size.range.mask:
            raise RefusedError(
                f"R{number} is not a known constant",
                advice="bpf_snprintf must know how many arguments there are",
                regs=(number,),
            )
        problem = format_problem(self.format, size.range.value // 8)
        if problem:
            raise RefusedError("Invalid format string", advice=problem)

    def constant(self, number: int, reg: Reg, arg: Arg) -> None:
        # The kernel keeps 32 bits of it; a longer record is never there.
        self.size = constant_size(self.walk, self.state, number) & 0xFFFF_FFFF

    def struct(self, number: int, reg: Reg, arg: Arg) -> None:
        if self.kept is not None:
            self._put(self.kept, number, reg)
            return
        check_struct(self.walk, self.state, number, arg.type)

    def _put(self, field: Field, number: int, reg: Reg) -> None:
        if reg.kind != Kind.BTF:
            raise wrong_type(number, reg, "ptr_, trusted_ptr_, rcu_ptr_")
        if reg.may_be_null:
            raise RefusedError(
                f"Possibly NULL pointer passed to helper R{number}",
                advice="compare it with 0 first",
                regs=(number,),
            )
        check_kept(self.walk, field, number, reg)

    def place(self, number: int, reg: Reg, arg: Arg) -> None:
        self.kept = check_place(self.walk, number, reg)

    def lock(self, number: int, reg: Reg, arg: Arg) -> None:
        check_field(self.walk, number, reg, LOCK)
        (lock if self.helper.id == FuncId.spin_lock else unlock)(self.state, reg)

    def timer(self, number: int, reg: Reg, arg: Arg) -> None:
        check_field(self.walk, number, reg, TIMER)
        self.timer_of = reg.aux

    def socket(self, number: int, reg: Reg, arg: Arg) -> None:
        bad = Flag.UNTRUSTED | Flag.MAYBE_NULL | Flag.USER | Flag.ALLOC
        if reg.kind != Kind.BTF or reg.flags & bad:
            raise wrong_type(number, reg, "sock_common, sock, tcp_sock, xdp_sock, ptr_")
        if not struct_fits(reg.aux, reg.off, "sock_common"):
            raise RefusedError(
                f"R{number} is of type {reg.aux.name} but sock_common is expected", regs=(number,)
            )

    def record(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.MEM or not reg.flags & Flag.RINGBUF or reg.may_be_null:
            raise wrong_type(number, reg, "ringbuf_mem")
        if reg.off or reg.range.mask or reg.range.value:
            raise RefusedError(
                f"R{number} must have zero offset when passed to release func or trusted arg to "
                "kfunc",
                regs=(number,),
            )

    def function(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.FUNC:
            raise wrong_type(number, reg, "func")

    def stack(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.STACK:
            raise wrong_type(number, reg, "fp")

    def text(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.MAP_VALUE or reg.may_be_null:
            raise wrong_type(number, reg, "map_value")
        spec: MapSpec = reg.aux
        if not spec.frozen or not spec.flags & 1 << 7 or spec.data is None:
            raise RefusedError(
                f"R{number} does not point to a readonly map'",
                advice="the text must be a constant",
                regs=(number,),
            )
        if reg.range.mask:
            raise RefusedError(f"R{number} is not a constant address'", regs=(number,))
        at = reg.off + reg.range.smin
        if not 0 <= at < spec.value_size or b"\0" not in spec.data[at:]:
            raise RefusedError("string is not zero-terminated")
        if self.helper.id == FuncId.snprintf:
            self.format = spec.data[at : spec.data.index(b"\0", at)]

    def percpu(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.BTF or not reg.flags & Flag.PERCPU:
            raise wrong_type(number, reg, "percpu_ptr_")
        if reg.flags & (Flag.MAYBE_NULL | Flag.UNTRUSTED):
            raise wrong_type(number, reg, "percpu_ptr_")
        if reg.off or reg.range.mask or reg.range.value:
            raise RefusedError(
                f"dereference of modified {kind_text(reg)} ptr R{number} off={reg.off} disallowed",
                regs=(number,),
            )
        self.percpu_of = reg.aux

    def dynptr(self, number: int, reg: Reg, arg: Arg) -> None:
        if arg.access is Access.WRITE:
            source = self.state.frame.regs[1]
            if arg.type == "local" and source.kind != Kind.MAP_VALUE:
                raise RefusedError(
                    f"Unsupported reg type {kind_text(source)} for bpf_dynptr_from_mem data",
                    regs=(1,),
                )
            dynptrs.make(self.walk, self.state, number, arg.type)
        elif arg.releases:
            dynptrs.release(self.walk, self.state, number)
        else:
            dynptrs.find(self.walk, self.state, number)

    def result(self) -> Reg:
        """What r0 is after the call."""
        found = self.helper.result
        if found.kind is ResultKind.VOID:
            return NOT_INIT
        if found.kind is ResultKind.INTEGER:
            return scalar()
        flags = int(Flag.MAYBE_NULL) if found.nullable else 0
        if found.kind is ResultKind.MAP_VALUE:
            return self._value(flags)
        if found.kind is ResultKind.MEM and found.type == "ringbuf":
            ref = self.walk.acquire(self.state, "ringbuf record")
            return pointer(Kind.MEM, self.size, flags | Flag.RINGBUF, ref, ref)
        if found.kind is ResultKind.MEM and self.helper.id == FuncId.dynptr_data:
            return dynptrs.data(self.walk, self.state, 1, self.size, rdonly=False)
        if found.kind is ResultKind.MEM_OR_BTF_ID and self.percpu_of is not None:
            return self._percpu_value(self.percpu_of, flags)
        if self.kept is not None:
            return exchanged(self.walk, self.state, self.kept)
        if found.kind is ResultKind.BTF_ID and found.type:
            return self._struct(flags | (Flag.TRUSTED if found.trusted else 0))
        raise NotJudgedError(f"the result of bpf_{self.helper.name}")

    def _percpu_value(self, of: StructRef, flags: int) -> Reg:
        """The variable of one CPU: a structure of the kernel, or bytes that may be read."""
        id = self.walk.new_id() if flags else 0
        if of.types.kind_of(of.id) in (Struct, Union):
            return pointer(Kind.BTF, of, flags, id)
        return pointer(Kind.MEM, of.types.size_of(of.id), flags | Flag.RDONLY, id)

    def _value(self, flags: int) -> Reg:
        assert self.map is not None
        if self.map.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
            if self.map.inner is None:
                raise NotJudgedError("a map of maps without its template")
            return pointer(Kind.MAP, self.map.inner, flags, self.walk.new_id())
        if self._surely_there():
            flags = 0
        named = flags or self.walk.has_lock(self.map)
        return pointer(Kind.MAP_VALUE, self.map, flags, self.walk.new_id() if named else 0)

    def _surely_there(self) -> bool:
        """A known index inside an array: never NULL since Linux 6.15."""
        if self.helper.id != FuncId.map_lookup_elem or self.walk.limits.version < _ITEM_NULL_ELIDED:
            return False
        assert self.map is not None
        key = self.key
        if self.map.type not in (MapType.ARRAY, MapType.PERCPU_ARRAY) or key is None:
            return False
        if key.kind != Kind.STACK or key.range.mask or (key.off % 8):
            return False
        slot = self.state.frames[key.aux].stack.get((-key.off - 1) // 8)
        if slot is None:
            return False
        if slot.bytes[:4] == b"\x03" * 4:
            return True
        if slot.reg is None or not slot.reg.is_scalar or slot.bytes[0] != 1:
            return False
        known = slot.reg.range
        if slot.bytes[:4] != b"\x01" * 4 or known.mask:
            return False
        need(self.state, slot.reg.deps)
        return bool(known.value < self.map.max_entries)  # all 64 bits, as the kernel

    def _struct(self, flags: int) -> Reg:
        types = self.walk.subject.types
        name = self.helper.result.type
        id = types.find(name, Struct) if types is not None else None
        if types is None or id is None:
            raise NotJudgedError(f"struct {name}, which is in no BTF here")
        made_id = self.walk.new_id() if flags & Flag.MAYBE_NULL else 0
        return pointer(Kind.BTF, StructRef(types, id, name), int(flags), made_id)


_CHECKS = {
    ArgKind.ANYTHING: HelperCall.anything,
    ArgKind.SCALAR: HelperCall.scalar,
    ArgKind.CTX: HelperCall.context,
    ArgKind.MAP: HelperCall.map_pointer,
    ArgKind.KEY: HelperCall.key_memory,
    ArgKind.VALUE: HelperCall.value_memory,
    ArgKind.MEM: HelperCall.memory,
    ArgKind.SIZE: HelperCall.size_of,
    ArgKind.ALLOC_SIZE: HelperCall.constant,
    ArgKind.BTF_ID: HelperCall.struct,
    ArgKind.SOCK: HelperCall.socket,
    ArgKind.RINGBUF_MEM: HelperCall.record,
    ArgKind.FUNC: HelperCall.function,
    ArgKind.STACK: HelperCall.stack,
    ArgKind.CONST_STR: HelperCall.text,
    ArgKind.PERCPU: HelperCall.percpu,
    ArgKind.DYNPTR: HelperCall.dynptr,
    ArgKind.KPTR: HelperCall.place,
    ArgKind.SPIN_LOCK: HelperCall.lock,
    ArgKind.TIMER: HelperCall.timer,
}
