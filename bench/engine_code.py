"""Machine instructions that are executed for one BPF instruction, of programs of examples/.

Each program runs in an emulated processor (unicorn) and in the interpreter, with the same memory:
what was never written is 0, everywhere. A call of a helper is one instruction of both; what it
does is not counted; those that give a pointer give one to memory, others 0. Each program runs on
both sides of a call.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unicorn import (
    UC_ARCH_ARM64,
    UC_ARCH_X86,
    UC_HOOK_CODE,
    UC_HOOK_MEM_UNMAPPED,
    UC_MODE_64,
    UC_MODE_ARM,
    Uc,
)
from unicorn.arm64_const import UC_ARM64_REG_LR, UC_ARM64_REG_SP, UC_ARM64_REG_X0
from unicorn.x86_const import UC_X86_REG_RDI, UC_X86_REG_RSP

from fsession.btf.catalog import Types
from fsession.btf.types import TypeId
from fsession.engine.interp import Interpreter
from fsession.engine.jit import arm64, x86_64
from fsession.engine.memory import Memory
from fsession.isa.disasm import helper_name
from fsession.isa.insn import lddw
from fsession.isa.opcode import Pseudo
from fsession.paper import PaperHost
from fsession.session import Object
from fsession.session.python import PythonObject
from guest_btf import guest_btf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.memory import Region
    from fsession.isa.insn import Insn

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CODE, HELPERS, STACK, CONTEXT, GIVEN = 0x10000, 0x100000, 0x200000, 0x300000, 0x400000
END, PAGE, STACK_BYTES = 0x40, 0x1000, 0x10000
_LIMIT = 1_000_000
_POINTERS = ("map_lookup_elem", "ringbuf_reserve", "bpf_session_cookie", "get_current_task_btf")


class _Emptiness(Memory):
    """Memory that is everywhere, and 0 until it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[int, int] = {}

    def find(self, address: int, size: int) -> Region | None:
        return None

    def load(self, address: int, size: int) -> int:
        return sum(self._bytes.get(address + at, 0) << 8 * at for at in range(size))

    def store(self, address: int, size: int, value: int) -> None:
        for at in range(size):
            self._bytes[address + at] = value >> 8 * at & 0xFF


class _Calls:
    """What calls give: one number for each place of a helper or kfunc."""

    def __init__(self, types: Types, *, is_return: bool) -> None:
        self._types, self._is_return = types, is_return
        self.results: list[int] = []

    def result(self, insn: Insn) -> int:
        kfunc = insn.is_kfunc_call and self._types.name_of(TypeId(insn.imm))
        name = kfunc or helper_name(insn.imm) or ""
        if name == "bpf_session_is_return":
            return int(self._is_return)
        return GIVEN if name.endswith(_POINTERS) else 0

    def target(self, insn: Insn) -> int:
        """The address of code that returns the result."""
        self.results.append(self.result(insn))
        return HELPERS + 16 * (len(self.results) - 1)


def ratios(architecture: str) -> dict[str, tuple[int, int]]:
    """Executed machine instructions and BPF instructions of each program."""
    types = Types.from_bytes(Path(guest_btf("7.2")).read_bytes(), name="vmlinux")
    found = {}
    for path in sorted(EXAMPLES.glob("*.py")):
        host = PaperHost(types)
        with Object(PythonObject.open(path).compile(host).spec) as obj:
            obj.load(host)
            for request in host.requests:
                insns = [_without_reference(insn) for insn in request.insns]
                sides = [_Calls(types, is_return=side) for side in (False, True)]
                machine = sum(_executed(architecture, insns, calls) for calls in sides)
                steps = sum(_interpreted(insns, calls) for calls in sides)
                found[f"{path.stem}.{request.name}"] = (machine, steps)
    return found


def _without_reference(insn: Insn) -> Insn:
    """A map's address, a variable's: memory."""
    is_reference = insn.is_lddw and insn.src not in (Pseudo.NONE, Pseudo.FUNC)
    return lddw(insn.dst, GIVEN + 0x1000) if is_reference else insn


def _interpreted(insns: Sequence[Insn], calls: _Calls) -> int:
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1

    Interpreter(
        insns, _Emptiness(), call=lambda insn, _: calls.result(insn), step=step
    ).run(CONTEXT)  # fmt: skip
    return count


def _executed(architecture: str, insns: Sequence[Insn], calls: _Calls) -> int:
    uc, returns = _processor(architecture)
    module = {"x86_64": x86_64, "arm64": arm64}[architecture]
    code = module.compile_code(insns, calls.target)
    uc.mem_map(CODE, 0x40000)
    uc.mem_map(HELPERS, 0x10000)
    uc.mem_write(CODE, code.at(CODE))
    for at, result in enumerate(calls.results):
        uc.mem_write(HELPERS + 16 * at, returns(result))
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    def there(uc: Uc, _access: int, address: int, *_: object) -> bool:
        uc.mem_map(address & -PAGE, PAGE)
        return True

    uc.hook_add(UC_HOOK_CODE, counted, begin=CODE, end=CODE + len(code.data))
    uc.hook_add(UC_HOOK_MEM_UNMAPPED, there)
    uc.emu_start(CODE + code.entries[0], END, count=_LIMIT)
    assert count < _LIMIT
    return count


def _processor(architecture: str):  # noqa: ANN202
    """An emulator at a call of the code, and what makes a function that returns a number."""
    if architecture == "arm64":
        uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        uc.mem_map(STACK, STACK_BYTES)
        uc.reg_write(UC_ARM64_REG_X0, CONTEXT)
        uc.reg_write(UC_ARM64_REG_SP, STACK + STACK_BYTES - 64)
        uc.reg_write(UC_ARM64_REG_LR, END)
        return uc, lambda result: b"".join(
            word.to_bytes(4, "little")
            for word in (
                0xD2800000 | (result & 0xFFFF) << 5,
                0xF2A00000 | (result >> 16) << 5,
                0xD65F03C0,
            )
        )
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(STACK, STACK_BYTES)
    place = STACK + STACK_BYTES - 64 - 8
    uc.mem_write(place, END.to_bytes(8, "little"))
    uc.reg_write(UC_X86_REG_RDI, CONTEXT)
    uc.reg_write(UC_X86_REG_RSP, place)
    return uc, lambda result: b"\xb8" + result.to_bytes(4, "little") + b"\xc3"


def main() -> None:
    for architecture in ("x86_64", "arm64"):
        for name, (machine, bpf) in ratios(architecture).items():
            print(f"{architecture:7} {name:40} {machine:6} {bpf:6} {machine / bpf:6.2f}")


if __name__ == "__main__":
    main()
