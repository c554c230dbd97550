"""Real Debian kernels in QEMU, with this package inside.

>>> from fsession.guest import run
>>> run(["uname", "-r"], kernel="7.2", arch="arm64")  # doctest: +SKIP
"""

from fsession.guest.kernels import KERNELS, MACHINES, KernelSeries, Machine
from fsession.guest.progress import Progress, Quiet, StderrProgress
from fsession.guest.runner import Completed, capture, run

__all__ = [
    "KERNELS",
    "MACHINES",
    "Completed",
    "KernelSeries",
    "Machine",
    "Progress",
    "Quiet",
    "StderrProgress",
    "capture",
    "run",
]
