"""Calls of helpers: is it there, are the arguments right, what does it give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct, Union
from fsession.calls import Access, ArgKind, Only, ResultKind, find_helper
from fsession.isa.disasm import helper_name
from fsession.uapi import AttachType, FuncId, MapType, ProgType
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
from fsession.verify.callbacks import call_back, callback_of
from fsession.verify.map_rules import check_map_call, check_sleepable_map
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.show import kind_text
from fsession.verify.state import NOT_INIT, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import StructRef
from fsession.verify.texts import format_problem

if TYPE_CHECKING:
    from fsession.calls import Arg, Helper
    from fsession.isa.insn import Insn
    from fsession.spec import MapSpec
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["call_helper"]

_ITEM_NULL_ELIDED = (6, 15)
_CONDITIONAL = {FuncId.get_func_arg, FuncId.get_func_ret, FuncId.get_func_arg_cnt}
_NO_TRAMPOLINE = (AttachType.TRACE_RAW_TP, AttachType.TRACE_ITER)
_EVERYWHERE = frozenset(
    FuncId[name]
    for name in """
        map_lookup_elem map_update_elem map_delete_elem ktime_get_ns trace_printk
        get_prandom_u32 get_smp_processor_id tail_call get_current_pid_tgid get_current_uid_gid
        get_current_comm perf_event_output get_stackid get_current_task probe_read_kernel
        probe_read_user probe_read_kernel_str probe_read_user_str get_stack map_push_elem
        map_pop_elem map_peek_elem jiffies64 ktime_get_boot_ns ringbuf_output ringbuf_reserve
        ringbuf_submit ringbuf_discard ringbuf_query for_each_map_elem loop strncmp
        get_current_task_btf task_storage_get dynptr_from_mem ringbuf_reserve_dynptr
        ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_read dynptr_write dynptr_data
        task_storage_delete per_cpu_ptr this_cpu_ptr
        snprintf map_lookup_percpu_elem get_current_cgroup_id get_numa_node_id
    """.split()  # noqa: SIM905
)
"""Helpers that raw tracepoints and kprobes have as well."""


def call_helper(walk: Walk, state: State, insn: Insn) -> int:
    """Check one call; r0 is the result, r1 to r5 are gone."""
    helper = _find(walk, state, insn)
    call = _Call(walk, state, helper)
    for index, arg in enumerate(helper.args):
        call.check(index, arg)
    if call.map is not None:
        check_map_call(call.map, helper.id)
        if helper.id == FuncId.map_update_elem or helper.id == FuncId.map_delete_elem:
            _check_writable(call.map)
    callback = callback_of(walk, state, helper, call.map)
    if helper.releases is not None and helper.args[helper.releases].kind is not ArgKind.DYNPTR:
        _release(walk, state, helper.releases + 1)
    result = call.result()
    regs = state.frame.regs
    if callback is not None:
        call_back(walk, state, callback)
    regs[1:6] = [NOT_INIT] * 5
    regs[0] = result
    return state.at + 1


def _find(walk: Walk, state: State, insn: Insn) -> Helper:
    poison = walk.subject.poison.get(state.at)
    name = helper_name(insn.imm)
    if name is None or poison:
        raise RefusedError(
            f"invalid func unknown#{insn.imm}", advice=f"{poison}: guard it" if poison else ""
        )
    helper = find_helper(insn.imm)
    words = f"program of this type cannot use helper {name}#{insn.imm}"
    if helper is None or _version(helper.since) > walk.limits.version:
        since = f"since Linux {helper.since}" if helper is not None else "not in tracing programs"
        raise RefusedError(words, advice=f"{name} exists {since}")
    _check_place(walk, helper, words)
    if helper.gpl and not walk.subject.is_gpl:
        raise RefusedError(
            "cannot call GPL-restricted function from non-GPL compatible program",
            advice=f"{name} needs a program whose license is GPL",
        )
    if helper.id == FuncId.tail_call and (state.refs or state.rcu or state.preempt):
        raise RefusedError(
            "tail_call would lead to reference leak",
            advice="a tail call does not come back: release everything before it",
        )
    if helper.sleeps:
        _check_sleep(walk, state, f"{name}#{insn.imm}")
    return helper


def _check_place(walk: Walk, helper: Helper, words: str) -> None:
    subject = walk.subject
    if helper.only not in (Only.EVERYWHERE, Only.FSESSION):
        raise NotJudgedError(f"bpf_{helper.name}, which is for {helper.only.value}")
    if subject.type == ProgType.TRACING:
        if subject.attach_type in _NO_TRAMPOLINE and helper.id in _CONDITIONAL:
            raise RefusedError(words)
        if subject.attach_type not in _NO_TRAMPOLINE:
            return
    if helper.id not in _EVERYWHERE:
        raise NotJudgedError(f"bpf_{helper.name} in programs of this type")


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _check_sleep(walk: Walk, state: State, name: str) -> None:
    if not walk.subject.sleepable:
        raise RefusedError(
            "helper call might sleep in a non-sleepable prog",
            advice=f"{name} waits: a sleepable program (section fentry.s/…) may call it",
        )
    if state.rcu:
        raise RefusedError(f"sleepable helper {name} in rcu_read_lock region")
    if state.preempt:
        raise RefusedError(f"sleepable helper {name} in non-preemptible region")


def _release(walk: Walk, state: State, number: int) -> None:
    reg = state.frame.regs[number]
    if not reg.ref or not any(ref.id == reg.ref for ref in state.refs):
        raise RefusedError(
            f"R{number} must be referenced when passed to release function", regs=(number,)
        )
    walk.release(state, reg.ref)


def _check_writable(spec: MapSpec) -> None:
    if spec.flags & 1 << 7:  # BPF_F_RDONLY_PROG
        raise RefusedError("write into map forbidden")


class _Call:
    """The arguments of one call while they are checked."""

    def __init__(self, walk: Walk, state: State, helper: Helper) -> None:
        self.walk, self.state, self.helper = walk, state, helper
        self.map: MapSpec | None = None
        self.size = 0
        self.key: Reg | None = None
        self.format: bytes | None = None
        self.percpu_of: StructRef | None = None

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
        check_struct(self.walk, self.state, number, arg.type)

    def socket(self, number: int, reg: Reg, arg: Arg) -> None:
        if reg.kind != Kind.BTF or reg.flags & (Flag.UNTRUSTED | Flag.MAYBE_NULL | Flag.USER):
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
        return pointer(Kind.MAP_VALUE, self.map, flags, self.walk.new_id() if flags else 0)

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
    ArgKind.ANYTHING: _Call.anything,
    ArgKind.SCALAR: _Call.scalar,
    ArgKind.CTX: _Call.context,
    ArgKind.MAP: _Call.map_pointer,
    ArgKind.KEY: _Call.key_memory,
    ArgKind.VALUE: _Call.value_memory,
    ArgKind.MEM: _Call.memory,
    ArgKind.SIZE: _Call.size_of,
    ArgKind.ALLOC_SIZE: _Call.constant,
    ArgKind.BTF_ID: _Call.struct,
    ArgKind.SOCK: _Call.socket,
    ArgKind.RINGBUF_MEM: _Call.record,
    ArgKind.FUNC: _Call.function,
    ArgKind.STACK: _Call.stack,
    ArgKind.CONST_STR: _Call.text,
    ArgKind.PERCPU: _Call.percpu,
    ArgKind.DYNPTR: _Call.dynptr,
}
