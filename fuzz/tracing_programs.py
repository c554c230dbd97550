"""Random tracing programs: as those of `fuzz_verify`, and what only tracing programs have.

They read arguments with types, follow them, call functions of their own and of the kernel, hold
tasks, use RCU sections, iterators and the cookie of a session.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fuzz_verify import Maker, mutated

from fsession.btf.types import Func
from fsession.isa.insn import (
    Insn,
    alu,
    call_helper,
    call_kfunc,
    call_local,
    exit_,
    jmp,
    ldx,
    mov,
    st,
    stx,
)
from fsession.isa.opcode import Alu, Jmp, Size
from fsession.uapi import AttachType, FuncId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types

SECTIONS = (
    (AttachType.TRACE_FENTRY, "bpf_fentry_test1"),
    (AttachType.TRACE_FEXIT, "bpf_fentry_test1"),
    (AttachType.TRACE_FSESSION, "bpf_fentry_test1"),
    (AttachType.TRACE_FENTRY, "wake_up_new_task"),
    (AttachType.TRACE_FSESSION, "do_sys_openat2"),
    (AttachType.TRACE_FEXIT, "tcp_v4_connect"),
)


@dataclass(frozen=True)
class Program:
    """One random program and what it is for."""

    attach_type: AttachType
    target: str
    insns: tuple[Insn, ...]


class TracingMaker(Maker):
    """`kinds` has pointers to structs (``struct``), tasks that are held (``task``)."""

    def __init__(self, seed: int, types: Types) -> None:
        super().__init__(seed)
        self.types = types
        self.attach_type, self.target = self.random.choice(SECTIONS)
        self.calls: list[int] = []

    def program(self) -> tuple[Insn, ...]:
        choose = self.random
        self.out.append(mov(6, 1))
        self.kinds[6] = "ctx"
        self.numbers()
        plain = (self._alu, self._jump, self._stack, self._lookup, self._value, self._pointer,
                 self._call, self._copy, self._loop, self._record)  # fmt: skip
        own = (self._argument, self._member, self._task, self._held, self._section, self._numbers,
               self._cookie, self._function, self._read)  # fmt: skip
        for _ in range(choose.randint(3, 25)):
            self._land()
            choose.choices(
                plain + own, (16, 10, 10, 4, 10, 6, 3, 6, 1, 2, 8, 16, 4, 3, 3, 2, 5, 3, 4)
            )[0]()
        while self.open_jumps:
            self._land(True)
        self.out += [alu(Alu.MOV, 0, imm=0), exit_()]
        self._functions()
        return tuple(self.out)

    def _kfunc(self, name: str) -> None:
        found = self.types.find(name, Func)
        assert found is not None, name
        self.out.append(call_kfunc(int(found)))
        self._called()

    def _argument(self) -> None:
        two = self.target != "bpf_fentry_test1" or self.attach_type != AttachType.TRACE_FENTRY
        word = int(two and self.target != "wake_up_new_task" and self.random.random() < 0.4)
        dst = self._free()
        self.out.append(ldx(Size.DW, dst, 6, 8 * word))
        self.kinds[dst] = "num" if self.target == "bpf_fentry_test1" else "struct"

    def _member(self) -> None:
        base = self._reg("struct", "task")
        if base is None:
            self._argument()
            return
        size = self.random.choice((Size.DW, Size.DW, Size.W, Size.B))
        dst = self._free()
        self.out.append(ldx(size, dst, base, 8 * self.random.choice((0, 1, 2, 3, 6, 12, 24, 300))))
        self.kinds[dst] = self.random.choice(("struct", "num"))

    def _task(self) -> None:
        """The current task, or one by its number that must be given back."""
        choose = self.random
        if choose.random() < 0.5:
            self.out.append(call_helper(FuncId.get_current_task_btf))
            self._called()
        else:
            self.out.append(alu(Alu.MOV, 1, imm=1))
            self._kfunc("bpf_task_from_pid")
        dst = choose.choice((7, 8, 9))
        self.out.append(mov(dst, 0))
        self.kinds[0] = self.kinds[dst] = "struct"

    def _held(self) -> None:
        """A task acquired, looked at and released."""
        choose = self.random
        src = self._reg("struct")
        if src is None or choose.random() < 0.5:
            self.out.append(alu(Alu.MOV, 1, imm=1))
            self._kfunc("bpf_task_from_pid")
        else:
            self.out.append(mov(1, src))
            self._kfunc("bpf_task_acquire")
        dst = choose.choice((7, 8, 9))
        self.out.append(mov(dst, 0))
        body = [
            ldx(choose.choice((Size.W, Size.DW)), choose.choice((0, 2, 3)), dst, 8 * word)
            for word in choose.sample(range(40), choose.randint(0, 3))
        ]
        if choose.random() < 0.3:
            body.append(stx(Size.DW, 10, dst, -8 * choose.randint(1, 4)))
        found = self.types.find("bpf_task_release", Func)
        body += [mov(1, dst), call_kfunc(int(found or 0))]
        self.out.append(jmp(Jmp.JEQ, 0, imm=0, off=sum(insn.slots for insn in body)))
        self.out += body
        self._called()
        if choose.random() < 0.8:
            self.kinds.pop(dst, None)
        else:
            self.kinds[dst] = "struct"

    def _section(self) -> None:
        """Something inside of an RCU section, or with preemption off."""
        before, after = self.random.choice(
            (("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
             ("bpf_preempt_disable", "bpf_preempt_enable"))
        )  # fmt: skip
        self._kfunc(before)
        kept, self.open_jumps = self.open_jumps, []
        for _ in range(self.random.randint(1, 4)):
            self.random.choice((self._member, self._alu, self._value, self._task, self._stack))()
        if self.random.random() < 0.95:
            self._kfunc(after)
        self.open_jumps = kept

    def _numbers(self) -> None:
        """A loop over an iterator of numbers, with something in it."""
        choose = self.random
        off = -8 * choose.randint(1, 8)
        place = [mov(1, 10), alu(Alu.ADD, 1, imm=off)]
        self.out += [*place, alu(Alu.MOV, 2, imm=0), alu(Alu.MOV, 3, imm=choose.choice((1, 5, 50)))]
        self._kfunc("bpf_iter_num_new")
        start = len(self.out)
        self.out += place
        self._kfunc("bpf_iter_num_next")
        leave = len(self.out)
        self.out.append(jmp(Jmp.JEQ, 0, imm=0))
        dst = choose.choice((7, 8, 9))
        self.out.append(ldx(Size.W, dst, 0, 0))
        self.kinds[dst] = "num"
        kept, self.open_jumps = self.open_jumps, []
        for _ in range(choose.randint(0, 3)):
            choose.choice((self._alu, self._stack, self._value, self._pointer))()
        self.open_jumps = kept
        self.out.append(jmp(Jmp.JA, 0, imm=0, off=-sum(i.slots for i in self.out[start:]) - 1))
        distance = sum(insn.slots for insn in self.out[leave + 1 :])
        self.out[leave] = jmp(Jmp.JEQ, 0, imm=0, off=distance)
        self.out += place
        self._kfunc("bpf_iter_num_destroy")

    def _cookie(self) -> None:
        sure = self.attach_type == AttachType.TRACE_FSESSION
        if not sure and self.random.random() < 0.98:
            self._argument()
            return
        self.out.append(mov(1, 6))
        if self.random.random() < 0.5:
            self._kfunc("bpf_session_is_return")
            self.kinds[0] = "num"
            return
        self._kfunc("bpf_session_cookie")
        self.kinds[0] = "value"
        if self.random.random() < 0.5:
            self.out.append(stx(Size.DW, 0, self._number(), self.random.choice((0, 0, 0, 4, 8))))

    def _function(self) -> None:
        """A call of a function of the program, made behind it."""
        choose = self.random
        for reg in range(1, choose.randint(1, 3)):
            src = self._reg("num", "value", "stack", "struct", "maybe")
            self.out.append(
                alu(Alu.MOV, reg, imm=choose.randrange(64)) if src is None else mov(reg, src)
            )
        self.calls.append(len(self.out))
        self.out.append(call_local(0))
        self._called()
        self.kinds[0] = "num"

    def _functions(self) -> None:
        for at in self.calls:
            start = sum(insn.slots for insn in self.out[at + 1 :])
            self.out[at] = call_local(start)
            self.kinds = {10: "fp", 1: self.random.choice(("num", "value", "struct", "stack"))}
            for _ in range(self.random.randint(1, 4)):
                self.random.choice((self._alu, self._stack, self._value, self._member))()
            if self.random.random() < 0.95:
                number = self.kinds.get(0) == "num"
                self.out += [] if number else [alu(Alu.MOV, 0, imm=self.random.randrange(9))]
            self.out.append(exit_())

    def _read(self) -> None:
        """Memory of the kernel copied to the stack or a value."""
        choose = self.random
        src = self._reg("struct", "num", "value")
        size = choose.choice((1, 8, 16, 24))
        to = self._reg("value") if choose.random() < 0.3 else None
        self.out.append(alu(Alu.MOV, 3, imm=0) if src is None else mov(3, src))
        self.out += [mov(1, to if to is not None and to not in (2, 3) else 10)]
        if self.out[-1].src == 10:
            self.out.append(alu(Alu.ADD, 1, imm=-8 * choose.randint(1, 6)))
        self.out += [alu(Alu.MOV, 2, imm=size)]
        self.out.append(
            call_helper(choose.choice((FuncId.probe_read_kernel, FuncId.get_current_comm)))
        )
        self._called()
        self.kinds[0] = "num"
        if choose.random() < 0.2:
            self.out.append(st(Size.DW, 10, -8, 0))


def tracing_programs(count: int, seed: int, types: Types) -> Iterator[Program]:
    for number in range(count):
        maker = TracingMaker(seed * 1_000_003 + number, types)
        made = maker.program()
        if number % 4 == 3:
            made = mutated(made, random.Random(seed * 7 + number))
        yield Program(maker.attach_type, maker.target, made)
