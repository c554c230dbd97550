"""Random tracing programs as machine code, in a process of their own: a fault ends it by a signal.

What they reach ends at a page that may not be touched: the structures that their arguments point
to, the values of maps. Every pointer found in a structure leads to one large block, each word of
which is its own address, so that it can be followed as far as one likes.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import TYPE_CHECKING

from tracing_world import TracingWorld, TypedMemory, is_open, pointee_at

from fsession.engine.check import check_code
from fsession.engine.jit import native
from fsession.engine.jit.code import place
from fsession.engine.memory import Block
from fsession.errors import FsessionError
from fsession.isa.insn import lddw
from fsession.uapi import FuncId

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tracing_programs import Program

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.isa.insn import Insn

__all__ = ["NativeWorld"]

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_CALL = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 5)
_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
_FAR = 1 << 20


class Guarded(Block):
    """Memory that ends where a page begins that may not be touched."""

    def __init__(self, size: int, data: bytes = b"") -> None:
        self.size = size
        pages = -(-size // _PAGE) * _PAGE
        self._pages = mmap.mmap(-1, pages + _PAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._protect(self._start + pages, _PAGE, 0)
        self.address = self._start + (pages - size & ~7)
        self.write(data)

    def freeze(self) -> None:
        """Nothing may be written there any more."""
        self._protect(self._start, len(self._pages) - _PAGE, mmap.PROT_READ)

    @staticmethod
    def _protect(start: int, size: int, rights: int) -> None:
        if _LIBC.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), rights):
            raise OSError(ctypes.get_errno(), "mprotect")


@cache
def _commons() -> Block:
    """What all pointers lead to."""
    made = Block(_FAR)
    made.write(made.address.to_bytes(8, "little") * (_FAR // 8))
    return made


@cache
def _pointers(types: Types, id: TypeId) -> tuple[int, ...]:
    """Where in a structure pointers to structures are."""
    size = types.size_of(id)
    return tuple(off for off in range(0, size, 8) if pointee_at(types, id, off) is not None)


class NativeMemory(TypedMemory):
    """Structures that may not be read behind their end, with pointers that can be followed."""

    def structure(self, id: TypeId) -> int:
        id = self.types.strip(id)
        if id not in self.of_type:
            size = self.types.size_of(id)
            made = Block(size + _FAR) if is_open(self.types, id) else Guarded(size)
            made.write(self.rng.randbytes(size))
            for off in _pointers(self.types, id):
                if off + 8 <= size:
                    made.write(_commons().address.to_bytes(8, "little"), off)
            if isinstance(made, Guarded):
                made.freeze()
            self.of_type[id] = made
        return self.of_type[id].address


class NativeWorld(TracingWorld):
    """A `TracingWorld` for machine code, whose calls get addresses that are used as they are."""

    memory_of = NativeMemory

    def __init__(self, rng: random.Random, program: Program, types: Types) -> None:
        super().__init__(rng, program, types)
        self.error: Exception | None = None
        for number in (0, 1):
            old = self.values[number]
            self.values[number] = Guarded(old.size, old.read())

    def execute(self, insns: Sequence[Insn]) -> int:
        known = [
            lddw(insn.dst, self.maps[insn.imm - 1].address)
            if insn.is_lddw and insn.src == 1
            else insn
            for insn in insns
        ]
        check_code(known)  # as before any program is compiled
        compiler = native()
        assert compiler is not None
        kept: list[object] = []

        def target(insn: Insn) -> int:
            function = _CALL(lambda *args: self._answer(insn, args))
            kept.append(function)
            address = ctypes.cast(function, ctypes.c_void_p).value
            assert address is not None
            return address

        image = place(compiler.compile_code(known, target))
        try:
            result = _PROGRAM(image.address)(self.ctx.address)
        finally:
            image.close()
        if self.error is not None:
            raise self.error
        self.check_end(result)
        return int(result)

    def _answer(self, insn: Insn, args: Sequence[int]) -> int:
        try:
            if not insn.is_kfunc_call and insn.imm == FuncId.probe_read_kernel:
                return self._fill(args[0], args[1] & 0xFFFF_FFFF)
            return self._call(insn, args) & (1 << 64) - 1
        except Exception as error:  # nothing may be raised through machine code
            self.error = self.error or error
            return 0

    def _fill(self, address: int, size: int) -> int:
        if size > _PAGE:
            raise FsessionError(f"{size} bytes are written by a helper")
        ctypes.memmove(address, self.rng.randbytes(size), size)
        return 0

    def _check(self, address: int, size: int) -> None:  # type: ignore[override]
        ctypes.string_at(address, size)

    def _check_task(self, address: int) -> None:
        if address not in (self._task(), _commons().address):
            raise FsessionError(f"a task at {address:#x}")
