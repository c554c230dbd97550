"""Build and read bpf(2)'s structures by field names. The layouts are generated: attr.py."""

from __future__ import annotations

from fsession.errors import InternalError
from fsession.kernel.attr import FIELDS, SIZES

__all__ = ["pack", "unpack"]


def pack(layout: str, **values: int | bytes) -> bytearray:
    """A structure with the named fields set and the others zero, in its newest size.

    A kernel that knows a shorter one takes it as long as the rest is zero.
    """
    fields = FIELDS[layout]
    out = bytearray(SIZES[layout])
    for name, value in values.items():
        if name not in fields:
            raise InternalError(f"{layout} has no field '{name}'")
        offset, size = fields[name]
        data = value if isinstance(value, bytes) else value.to_bytes(size, "little")
        out[offset : offset + size] = data.ljust(size, b"\0")
    return out


def unpack(layout: str, data: bytes | bytearray, *names: str) -> tuple[int, ...]:
    """The named integer fields of a structure; 0 for those behind the end of `data`."""
    fields = FIELDS[layout]
    out = []
    for name in names:
        offset, size = fields[name]
        out.append(int.from_bytes(data[offset : offset + size], "little"))
    return tuple(out)
