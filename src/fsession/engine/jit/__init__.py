"""Machine code: from BPF instructions, for the architecture of this process.

A machine name that is not in the table has no machine code: sessions are refused there.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ARCHITECTURES", "native", "native_images"]

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
"""What ``uname -m`` says, and the module that makes code for it."""


def native() -> ModuleType | None:
    """The module for this machine; None if there is none."""
    name = ARCHITECTURES.get(os.uname().machine)
    return import_module(f"{__name__}.{name}") if name else None


def native_images() -> ModuleType | None:
    """The same for the images of trampolines."""
    name = ARCHITECTURES.get(os.uname().machine)
    return import_module(f"{__name__}.{name}_images") if name else None
