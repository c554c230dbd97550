"""What a random program can reach: its context, the values of maps, records; all with bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fuzz_verify import MAPS

from fsession.engine.interp import Interpreter
from fsession.engine.memory import Block, Memory, Region
from fsession.errors import FsessionError
from fsession.isa.insn import lddw
from fsession.uapi import FuncId

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["CTX_BYTES", "World"]

CTX_BYTES = 96
_WORDS = (0, 1, 7, 8, 63, 1 << 31, 1 << 63, (1 << 64) - 1)


class World:
    """What one run of one program has."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.ctx = Block(CTX_BYTES, self._bytes(CTX_BYTES))
        self.maps = [Block(8) for _ in MAPS]  # nothing in them may be touched
        self.values = [Block(max(spec.value_size, 8)) for spec in MAPS]
        self.memory = Memory([replace(self.ctx.region, writable=False)])
        self.records: dict[int, Block] = {}
        for block in self.values[:2]:
            block.write(self._bytes(block.size))
            self.memory.add(block.region)

    def _bytes(self, size: int) -> bytes:
        words = (self.rng.choice((*_WORDS, self.rng.getrandbits(64))) for _ in range(size // 8))
        return b"".join(word.to_bytes(8, "little") for word in words)

    def run(self, insns: Sequence[Insn]) -> int:
        known = [
            lddw(insn.dst, self.maps[insn.imm - 1].address)
            if insn.is_lddw and insn.src == 1
            else insn
            for insn in insns
        ]
        done = Interpreter(known, self.memory, call=self._call).run(self.ctx.address)
        if self.records:
            raise FsessionError("a record was not given back")
        return done

    def _call(self, insn: Insn, args: Sequence[int]) -> int:
        match insn.imm:
            case FuncId.map_lookup_elem:
                number = self._map(args[0])
                self._check(args[1], MAPS[number].key_size)
                there = self.rng.random() < 0.8 or number == 1
                return self.values[number].address if there else 0
            case FuncId.probe_read_kernel:
                size = args[1] & 0xFFFF_FFFF
                for at in range(size):
                    self.memory.store(args[0] + at, 1, self.rng.randrange(256))
                return 0
            case FuncId.ringbuf_reserve:
                return self._reserve(self._map(args[0]), args[1])
            case FuncId.ringbuf_submit:
                self.memory.remove(self.records.pop(args[0]).region)
                return 0
            case FuncId.ktime_get_ns | FuncId.get_prandom_u32:
                return self.rng.getrandbits(32)
        raise FsessionError(f"a call of helper {insn.imm}")

    def _map(self, address: int) -> int:
        return [block.address for block in self.maps].index(address)

    def _check(self, address: int, size: int) -> Region:
        found = self.memory.find(address, size)
        if found is None:
            raise FsessionError(f"{size} bytes at {address:#x} given to a helper")
        return found

    def _reserve(self, number: int, size: int) -> int:
        if size > MAPS[number].max_entries or self.rng.random() < 0.3:
            return 0
        made = Block(size)
        self.records[made.address] = made
        self.memory.add(made.region)
        return made.address
