"""What CO-RE tests need of an ELF object: instructions of a section and its relocations."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile

from fsession.btf.catalog import Types
from fsession.isa.insn import Insn, InsnOff, decode, offsets
from fsession.spec import CoreRelo
from fsession.uapi import CoreReloKind


@dataclass(frozen=True)
class Relocated:
    """One relocation, and the instruction it is about."""

    relo: CoreRelo
    insn: Insn


def read_relocations(data: bytes) -> tuple[Types, list[Relocated]]:
    """Types of an object and its ``struct bpf_core_relo`` records, in the file's order."""
    elf = ELFFile(io.BytesIO(data))
    types = Types.from_bytes(elf.get_section_by_name(".BTF").data(), name="object")
    ext = elf.get_section_by_name(".BTF.ext").data()
    head, at, length = struct.unpack_from("<I", ext, 4)[0], *struct.unpack_from("<II", ext, 24)
    table = ext[head + at : head + at + length]
    (size,) = struct.unpack_from("<I", table)
    out, at = [], 4
    while at < len(table):
        section, count = struct.unpack_from("<II", table, at)
        code = decode(elf.get_section_by_name(types.string(section)).data())
        insns = dict(zip(offsets(code), code, strict=False))
        at += 8
        for _ in range(count):
            off, type_id, access, kind = struct.unpack_from("<IIII", table, at)
            at += size
            slot = InsnOff(off // 8)
            relo = CoreRelo(slot, CoreReloKind(kind), type_id, types.string(access))
            out.append(Relocated(relo, insns[slot]))
    return types, out
