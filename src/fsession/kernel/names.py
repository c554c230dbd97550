"""Names as the kernel takes them: at most 15 bytes of letters, digits, ``_`` and ``.``."""

from __future__ import annotations

import re

__all__ = ["object_name"]

_NAME_BYTES = 15  # BPF_OBJ_NAME_LEN less the NUL
_FORBIDDEN = re.compile(rb"[^A-Za-z0-9_.]")


def object_name(name: str) -> bytes:
    """The name of a program or map in the kernel. Tools show the whole one from BTF."""
    return _FORBIDDEN.sub(b"_", name.encode())[:_NAME_BYTES]
