"""Loads that fault read 0, as the kernel's of BTF pointers do (PROBE_MEM).

A handler of SIGSEGV and SIGBUS, machine code itself, looks for the faulting instruction in the
tables of the images; where it is one, its register becomes 0 and the code goes on behind it. Every
other fault goes to the handler that was there before.
"""

from __future__ import annotations

import ctypes
import signal
import struct
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from fsession.engine.memory import Block, poke
from fsession.engine.native import architecture, compile_text
from fsession.engine.threads import FAULT, threads

if TYPE_CHECKING:
    from fsession.engine.jit.code import Code, Image

__all__ = ["Faults", "faults"]

_SA_SIGINFO, _SA_ONSTACK, _SA_NODEFER = 4, 0x08000000, 0x40000000
_SIGACTION_BYTES = 152
_FLAGS_AT = 136
_libc = ctypes.CDLL(None, use_errno=True)

# r1 signal, r2 information, r3 machine state. A table: next one, start and end of the code, address
# and number of its entries: faulting instruction, where to go on, offset of the register's value.
_HANDLER = """
    r6 = r1
    r7 = r2
    r8 = r3
    r9 = *(u64 *)(r8 +{pc})
    r1 = {head:#x} ll
    r1 = *(u64 *)(r1 +0)
look:
    if r1 == 0 goto other
    r2 = *(u64 *)(r1 +8)
    if r9 < r2 goto next
    r2 = *(u64 *)(r1 +16)
    if r9 >= r2 goto next
    r2 = *(u64 *)(r1 +24)
    r3 = *(u64 *)(r1 +32)
entry:
    if r3 == 0 goto other
    r4 = *(u64 *)(r2 +0)
    if r4 == r9 goto found
    r2 += 24
    r3 += -1
    goto entry
found:
    r4 = *(u64 *)(r2 +8)
    *(u64 *)(r8 +{pc}) = r4
    r4 = *(u64 *)(r2 +16)
    r4 += r8
    *(u64 *)(r4 +0) = 0
    call c:thread
    if r0 == 0 goto done
    *(u64 *)(r0 +{fault}) = 1
done:
    r0 = 0
    exit
next:
    r1 = *(u64 *)(r1 +0)
    goto look
other:
    r4 = {old:#x} ll
    if r6 == {segv} goto known
    r4 += {action}
known:
    r0 = *(u64 *)(r4 +0)
    if r0 > 1 goto chain
    r1 = r6
    r2 = r4
    r3 = 0
    call c:sigaction
    exit
chain:
    r1 = r6
    r2 = r7
    r3 = r8
    callx r0
    exit
"""


class Faults:
    """The handler and the tables of all images."""

    def __init__(self) -> None:
        self._head = Block(8)
        self._old = Block(2 * _SIGACTION_BYTES)
        self._nodes: list[Block] = []
        self._free: list[Block] = []
        self._tables: dict[int, Block] = {}
        self._lock = Lock()
        text = _HANDLER.format(
            pc=architecture().UCONTEXT_PC,
            head=self._head.address,
            old=self._old.address,
            action=_SIGACTION_BYTES,
            fault=FAULT,
            segv=int(signal.SIGSEGV),
        )
        self._handler = compile_text(text, {"thread": threads().load})
        action = Block(_SIGACTION_BYTES)
        poke(action.address, 8, self._handler.address)
        poke(action.address + _FLAGS_AT, 4, _SA_SIGINFO | _SA_ONSTACK | _SA_NODEFER)
        for at, number in enumerate((signal.SIGSEGV, signal.SIGBUS)):
            old = self._old.address + at * _SIGACTION_BYTES
            _libc.sigaction(int(number), ctypes.c_void_p(action.address), ctypes.c_void_p(old))

    def add(self, image: Image, code: Code) -> Table | None:
        """Watch the loads of `code`, which lies in `image`."""
        if not code.faults:
            return None
        registers = architecture().UCONTEXT_REGISTERS
        rows = [
            (image.address + fault.at, image.address + fault.next, registers[fault.reg])
            for fault in code.faults
        ]
        data = b"".join(struct.pack("<3Q", *row) for row in rows)
        table = Block(len(data), data)
        with self._lock:
            node = self._free.pop() if self._free else self._new_node()
            for at, value in ((32, len(rows)), (24, table.address), (16, image.end)):
                poke(node.address + at, 8, value)
            poke(node.address + 8, 8, image.address)
        self._tables[node.address] = table
        return Table(self, node)

    def _new_node(self) -> Block:
        """Nodes are never freed: a handler may be looking at one."""
        node = Block(40, struct.pack("<2Q", self._head_value(), (1 << 64) - 1))
        self._nodes.append(node)
        poke(self._head.address, 8, node.address)
        return node

    def _head_value(self) -> int:
        return int.from_bytes(self._head.read(), "little")

    def remove(self, node: Block) -> None:
        with self._lock:
            poke(node.address + 8, 8, (1 << 64) - 1)
            self._free.append(node)


class Table:
    """The loads of one image, while it is watched."""

    def __init__(self, owner: Faults, node: Block) -> None:
        self._owner, self._node = owner, node

    def close(self) -> None:
        self._owner.remove(self._node)


@cache
def faults() -> Faults:
    """The one of this process; making it sets the signal handlers."""
    return Faults()
