"""What the kernel holds, asked by bpf(2) directly: nothing of the package under test is used."""

from __future__ import annotations

import ctypes
import platform
import struct
import threading
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["Holdings", "holdings", "ids", "of_process"]

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]

# enum bpf_cmd, include/uapi/linux/bpf.h
_NEXT_ID = {"programs": 11, "maps": 12, "links": 31}


def ids(kind: str) -> frozenset[int]:
    """Ids of all ``programs``, ``maps`` or ``links`` of the machine."""
    found, last = set(), 0
    while (last := _next_id(_NEXT_ID[kind], last)) is not None:
        found.add(last)
    return frozenset(found)


def _next_id(command: int, last: int) -> int | None:
    attr = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0), 12)
    if _libc.syscall(_SYS_BPF, command, attr, 12):
        return None
    return int(struct.unpack_from("=II", attr.raw)[1])


@dataclass(frozen=True, slots=True)
class Holdings:
    """Ids in the kernel, and what this process holds."""

    programs: frozenset[int]
    links: frozenset[int]
    maps: frozenset[int]
    descriptors: frozenset[str]
    threads: frozenset[str]

    def more_than(self, before: Holdings) -> dict[str, list[object]]:
        """What is here and was not there `before`, by kind."""
        new = {
            field.name: sorted(getattr(self, field.name) - getattr(before, field.name), key=str)
            for field in fields(self)
        }
        new["descriptors"] = [_meaning(str(number)) for number in new["descriptors"]]
        return {kind: things for kind, things in new.items() if things}


def holdings() -> Holdings:
    """What there is now."""
    return Holdings(ids("programs"), ids("links"), ids("maps"), *of_process())


def of_process() -> tuple[frozenset[str], frozenset[str]]:
    """Descriptors and threads of this process."""
    return _descriptors(), frozenset(thread.name for thread in threading.enumerate())


def _descriptors() -> frozenset[str]:
    """Numbers; what they stand for takes ten times as long to ask, and only leaks need it."""
    return frozenset(entry.name for entry in Path("/proc/self/fd").iterdir())


def _meaning(descriptor: str) -> str:
    try:
        return f"{descriptor} -> {(Path('/proc/self/fd') / descriptor).readlink()}"
    except FileNotFoundError:  # closed meanwhile, or the listing's own
        return descriptor
