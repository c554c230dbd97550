"""This machine: its kernel and its clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsession.kernel import KernelHost

__all__ = ["this_kernel", "wall_offset_ns"]


def this_kernel() -> KernelHost:
    from fsession.kernel import KernelHost  # who traces another host does not need it

    return KernelHost()


def wall_offset_ns() -> int:
    """CLOCK_REALTIME less CLOCK_MONOTONIC, which is what ``bpf_ktime_get_ns`` reads."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall - (before + time.monotonic_ns()) // 2
