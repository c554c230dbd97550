"""What a random tracing program can reach: arguments with types, tasks, sections, iterators.

Kernel structures are read-only memory of the size that BTF says, one for each type, made when a
pointer to it is first loaded. Tasks that are held, sections and iterators are counted: all of them
must be over at the end. Some results are NULL.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import TYPE_CHECKING

from fuzz_verify import MAPS
from tracing_programs import tracing_programs
from world import World

from fsession.btf.types import Array, Func, Ptr, Struct, TypeId, Union
from fsession.engine.memory import Block, Memory, Region
from fsession.errors import FsessionError
from fsession.uapi import AttachType, FuncId, ProgType
from fsession.verify import Subject, verify
from fsession.verify.limits import NEWEST, limits

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from tracing_programs import Program

    from fsession.btf.catalog import Types
    from fsession.isa.insn import Insn

_MOST_ROUNDS = 1 << 23  # BPF_MAX_LOOPS
_MORE = 4096  # behind a structure whose last member has no length


def accepted_tracing(count: int, seed: int, types: Types, most: int) -> Iterator[Program]:
    """Those of `count` random tracing programs that are accepted, by a walk of at most `most`
    instructions."""
    rules, maps = replace(limits(NEWEST), max_insns=most), dict(enumerate(MAPS, 1))
    for made in tracing_programs(count, seed, types):
        subject = Subject(
            "random", ProgType.TRACING, made.insns, made.attach_type, maps, types,
            target=types.find(made.target, Func), target_types=types,
        )  # fmt: skip
        if verify(subject, rules).accepted:
            yield made


class TypedMemory(Memory):
    """Kernel structures by type; pointers in them lead to others."""

    def __init__(self, types: Types, rng: random.Random, regions: Sequence[Region]) -> None:
        super().__init__(regions)
        self.types, self.rng = types, rng
        self.of_type: dict[TypeId, Block] = {}
        self._type_at: dict[int, TypeId] = {}

    def structure(self, id: TypeId) -> int:
        """The address of the one structure of a type."""
        id = self.types.strip(id)
        if id not in self.of_type:
            size = self.types.size_of(id)
            made = Block(size + _MORE * is_open(self.types, id), self.rng.randbytes(size))
            self.of_type[id], self._type_at[made.address] = made, id
            self.add(Region(made.address, made.address + made.size, writable=False))
        return self.of_type[id].address

    def load(self, address: int, size: int) -> int:
        region = self.find(address, size)
        id = self._type_at.get(region.start) if region else None
        if region is not None and id is not None and size == 8:
            found = pointee_at(self.types, id, address - region.start)
            if found is not None:
                return self.structure(found)
        return super().load(address, size)


def is_open(types: Types, id: TypeId) -> bool:
    kind = types[id]
    last = kind.members[-1] if isinstance(kind, Struct | Union) and kind.members else None
    array = types[types.strip(last.type)] if last else None
    return isinstance(array, Array) and not array.nelems


def pointee_at(types: Types, id: TypeId, off: int) -> TypeId | None:
    """The structure that the pointer at byte `off` points to; None: no such pointer is there."""
    kind = types[types.strip(id)]
    if isinstance(kind, Array):
        width = types.size_of(kind.type)
        return pointee_at(types, kind.type, off % width) if width else None
    if isinstance(kind, Ptr):
        target = types.strip(kind.type)
        return target if not off and types.kind_of(target) in (Struct, Union) else None
    if not isinstance(kind, Struct | Union):
        return None
    for member in kind.members:
        start = member.bit_offset // 8
        if not member.bits and start <= off < start + types.size_of(member.type):
            return pointee_at(types, member.type, off - start)
    return None


class TracingWorld(World):
    """A `World` with the arguments of a function, and what only tracing programs can call."""

    memory_of = TypedMemory

    def __init__(self, rng: random.Random, program: Program, types: Types) -> None:
        super().__init__(rng)
        self._types, self._program = types, program
        context = replace(self.ctx.region, writable=False)
        regions = [context, *(block.region for block in self.values[:2])]
        self.memory = self.memory_of(types, rng, regions)
        self.cookie = Block(8)
        self.memory.add(self.cookie.region)
        self.held = self.sections = self.preemptions = 0
        self.loops: dict[int, tuple[list[int], Block]] = {}
        self._fill_context()

    def _fill_context(self) -> None:
        target = self._types.find(self._program.target, Func)
        assert target is not None
        for number, param in enumerate(self._types.prototype(target).params):
            found = pointee_at(self._types, param.type, 0)
            word = self.rng.getrandbits(64) if found is None else self.memory.structure(found)
            self.ctx.write(word.to_bytes(8, "little"), 8 * number)

    def run(self, insns: Sequence[Insn]) -> int:
        result = super().run(insns)
        self.check_end(result)
        return result

    def check_end(self, result: int) -> None:
        """Nothing is left, and the result is 0."""
        if self.held or self.sections or self.preemptions or self.loops:
            raise FsessionError("a task, a section or an iterator is left")
        if result:
            raise FsessionError(f"the result is {result}")

    def _call(self, insn: Insn, args: Sequence[int]) -> int:
        if insn.is_kfunc_call:
            name = self._types.name_of(TypeId(insn.imm))
            return int(_KFUNCS[name](self, args) or 0)
        if insn.imm == FuncId.get_current_task_btf:
            return self._task()
        if insn.imm == FuncId.get_current_comm:
            return self._fill(args[0], args[1])
        return super()._call(insn, args)

    def _fill(self, address: int, size: int) -> int:
        for at in range(size):
            self.memory.store(address + at, 1, self.rng.randrange(256))
        return 0

    def _task(self) -> int:
        task = self._types.find("task_struct", Struct)
        assert task is not None
        return self.memory.structure(task)

    def take(self, args: Sequence[int]) -> int:
        if self.rng.random() < 0.3:
            return 0
        self.held += 1
        return self._task()

    def take_known(self, args: Sequence[int]) -> int:
        self._check_task(args[0])
        return self.take(args)

    def give(self, args: Sequence[int]) -> None:
        self._check_task(args[0])
        self.held -= 1
        if self.held < 0:
            raise FsessionError("a task is released that was not held")

    def _check_task(self, address: int) -> None:
        if address != self._task():
            raise FsessionError(f"a task at {address:#x}")

    def enter(self, args: Sequence[int]) -> None:
        self.sections += 1

    def leave(self, args: Sequence[int]) -> None:
        self.sections -= 1

    def stop(self, args: Sequence[int]) -> None:
        self.preemptions += 1

    def go(self, args: Sequence[int]) -> None:
        self.preemptions -= 1

    def loop(self, args: Sequence[int]) -> None:
        self._check(args[0], 8)
        if args[0] in self.loops:
            raise FsessionError("an iterator over an iterator")
        made = Block(4)
        self.memory.add(Region(made.address, made.address + 4, writable=False))
        start, end = (ctypes.c_int32(arg).value for arg in args[1:3])
        if not 0 <= end - start <= _MOST_ROUNDS:  # the kernel gives none then
            start = end
        self.loops[args[0]] = ([start, end], made)

    def next(self, args: Sequence[int]) -> int:
        numbers, block = self.loops[args[0]]
        if numbers[0] >= numbers[1]:
            return 0
        block.write(numbers[0].to_bytes(4, "little", signed=True))
        numbers[0] += 1
        return block.address

    def end(self, args: Sequence[int]) -> None:
        _, block = self.loops.pop(args[0])
        self.memory.remove(Region(block.address, block.address + 4))

    def is_return(self, args: Sequence[int]) -> int:
        self._check_context(args)
        return self.rng.randrange(2)

    def cookie_of(self, args: Sequence[int]) -> int:
        self._check_context(args)
        return self.cookie.address

    def _check_context(self, args: Sequence[int]) -> None:
        if args[0] != self.ctx.address or self._program.attach_type != AttachType.TRACE_FSESSION:
            raise FsessionError("a session's call without its context")


_KFUNCS = {
    "bpf_task_from_pid": TracingWorld.take,
    "bpf_task_acquire": TracingWorld.take_known,
    "bpf_task_release": TracingWorld.give,
    "bpf_rcu_read_lock": TracingWorld.enter,
    "bpf_rcu_read_unlock": TracingWorld.leave,
    "bpf_preempt_disable": TracingWorld.stop,
    "bpf_preempt_enable": TracingWorld.go,
    "bpf_iter_num_new": TracingWorld.loop,
    "bpf_iter_num_next": TracingWorld.next,
    "bpf_iter_num_destroy": TracingWorld.end,
    "bpf_session_is_return": TracingWorld.is_return,
    "bpf_session_cookie": TracingWorld.cookie_of,
}
