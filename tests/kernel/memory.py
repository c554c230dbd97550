"""The memory of the running kernel by /proc/kcore, with the layouts of its BTF: read only."""

from __future__ import annotations

import io
import re
import struct
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, Struct, Union

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = ["KernelMemory"]

_PT_LOAD = 1


class KernelMemory:
    """Symbols, structs and words of a kernel, for root."""

    def __init__(self, types: Types) -> None:
        self.types = types
        self._file = io.FileIO("/proc/kcore")
        header = self._file.read(64)
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        self._file.seek(offset)
        table = self._file.read(size * count)
        rows = (struct.unpack_from("<IIQQQQ", table, at) for at in range(0, len(table), size))
        self._segments = [(row[3], row[2], row[5]) for row in rows if row[0] == _PT_LOAD]

    def close(self) -> None:
        self._file.close()

    def read(self, address: int, size: int) -> bytes:
        for start, offset, length in self._segments:
            if start <= address < start + length:
                self._file.seek(offset + address - start)
                return self._file.read(size)
        raise AssertionError(f"{address:#x} is no address of the kernel")

    def u32(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    @cached_property
    def symbols(self) -> dict[str, int]:
        """Addresses of data of BPF's."""
        text = Path("/proc/kallsyms").read_text()
        found = re.findall(r"^([0-9a-f]+) [bBdDrR] (bpf_\w+|btf_\w+)$", text, re.MULTILINE)
        return {name: int(address, 16) for address, name in found}

    @cache  # noqa: B019
    def offsets(self, name: str) -> dict[str, int]:
        """Of the members of a struct, those of anonymous ones in it too."""
        found: dict[str, int] = {}

        def walk(id: int, base: int) -> None:
            record = self.types[id]
            assert isinstance(record, Struct | Union)
            for member in record.members:
                at = base + member.bit_offset // 8
                if member.name:
                    found[member.name] = at
                else:
                    walk(self.types.strip(member.type), at)

        walk(self.types.id_of(name, Struct), 0)
        return found

    @cache  # noqa: B019
    def enum(self, name: str) -> dict[int, str]:
        """Names of an enum's values."""
        found = self.types[self.types.id_of(name, Enum, Enum64)]
        assert isinstance(found, Enum | Enum64)
        return {row.value: row.name for row in found.values}
