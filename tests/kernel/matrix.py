"""What we know of the kernels of our matrix: what they must be able to do.

A test asks for a feature; a kernel of this table that should have it and has not fails the test
instead of skipping it. Figures were measured in guests; see docs/testing.md.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from triggers import ON_ENGINE

__all__ = ["MATRIX", "Facts", "this_kernel"]


@dataclass(frozen=True, slots=True)
class Facts:
    """One kernel on one architecture.

    `words` is how many argument words the trampoline takes; `crowd` how many sessions with a
    cookie one function takes, natively and split; `modules` says that a
    guest has the modules, `sleepable_tests` that sleepable programs may trace the kernel's
    test functions. `forced` says that split sessions are tried beside native ones, `commands` that
    the command line's words, statuses and messages are tried: those are the same on all kernels.
    """

    fentry: bool = True
    native: bool = False
    multi: bool = False
    words: int = 12
    crowd_native: int = 0
    crowd_split: int = 0
    modules: bool = True
    sleepable_tests: bool = True
    forced: bool = False
    commands: bool = False

    def has(self, strategy: str) -> bool:
        """Whether sessions of this strategy must work here."""
        return {"native": self.native, "multi": self.multi, "split": self.fentry}[strategy]

    def tries(self, strategy: str) -> bool:
        return strategy != "split" or not self.native or self.forced


MATRIX = {
    ("6.1", "x86_64"): Facts(words=6, sleepable_tests=False, crowd_split=19),
    ("6.1", "arm64"): Facts(fentry=False),
    ("6.12", "x86_64"): Facts(crowd_split=19),
    ("6.12", "arm64"): Facts(words=8, crowd_split=19),
    ("7.0", "x86_64"): Facts(native=True, modules=False, crowd_native=19, crowd_split=19),
    ("7.2", "x86_64"): Facts(
        native=True, multi=True, crowd_native=18, crowd_split=18, forced=True, commands=True
    ),
    ("7.2", "arm64"): Facts(native=True, crowd_native=17, crowd_split=18),
    ("7.3", "x86_64"): Facts(native=True, multi=True, crowd_native=18, crowd_split=18),
    ("engine", "x86_64"): Facts(
        native=True, forced=True, multi=True, modules=False, crowd_native=18, crowd_split=18
    ),
    ("engine", "arm64"): Facts(
        native=True, forced=True, multi=True, modules=False, crowd_native=17, crowd_split=18
    ),
}


def this_kernel() -> Facts | None:
    """The row of the guest this runs in, or of the engine; None elsewhere."""
    series = "engine" if ON_ENGINE else os.environ.get("FSESSION_KERNEL", "")
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return MATRIX.get((series, machine))
