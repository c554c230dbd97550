"""The kernels and machines a guest can have: the matrix that tests and docs read.

Only series are named here, never full versions: the newest version of a series is looked up
in the package index of the mirror (`find_kernel`). Debian ships a kernel in one of two shapes:

========  =====================================================================================
6.1-6.12  ``linux-image-ABI-cloud-ARCH``: vmlinuz, modules and config in one package
7.0-      ``linux-binary-ABI-…`` (vmlinuz), ``linux-modules-ABI-…``, ``linux-base-ABI-…`` (config);
          a version that is not signed yet has ``linux-binary-unsigned-ABI-…`` only
========  =====================================================================================
"""

from __future__ import annotations

import os
import re

from fsession.errors import BadInputError, UnsupportedError
from fsession.frozen import frozen
from fsession.guest.index import Index, Package, version_key

__all__ = [
    "KERNELS",
    "MACHINES",
    "KernelSeries",
    "Machine",
    "find_kernel",
    "kernel_series",
    "machine",
]


@frozen
class Machine:
    """An architecture: its name here and at Debian, and what QEMU and the kernel call things."""

    name: str
    aliases: tuple[str, ...]
    debian: str  # Debian's architecture
    triplet: str  # the multiarch folder of its libraries
    qemu: str  # the emulator's program
    qemu_package: str  # the Debian package that has it
    options: tuple[str, ...]  # QEMU options of the machine
    console: str  # the kernel's name of the serial console
    boot_timeout_s: float  # a boot that takes longer hangs: it is started again


MACHINES = (
    Machine(
        name="x86_64",
        aliases=("amd64", "x86-64"),
        debian="amd64",
        triplet="x86_64-linux-gnu",
        qemu="qemu-system-x86_64",
        qemu_package="qemu-system-x86",
        options=("-machine", "pc", "-cpu", "max"),
        console="ttyS0",
        boot_timeout_s=60,
    ),
    Machine(
        name="arm64",
        aliases=("aarch64",),
        debian="arm64",
        triplet="aarch64-linux-gnu",
        qemu="qemu-system-aarch64",
        qemu_package="qemu-system-arm",
        options=("-machine", "virt", "-cpu", "max,pauth-impdef=on"),
        console="ttyAMA0",
        boot_timeout_s=120,
    ),
)


@frozen
class KernelSeries:
    """A kernel series: where Debian has it, in which shape, and what is known not to work.

    `suites` are searched all, the newest version wins. `split` is the shape since 7.0 (see the
    module's head). `sessions` says whether the kernel has ``BPF_TRACE_FSESSION``, `multi` for
    which machines one link can hold many functions. `modules` is false when the archive no
    longer has the module package; `early_modules` must be loaded before there is a console.
    """

    name: str
    suites: tuple[str, ...]
    split: bool
    sessions: bool
    multi: tuple[str, ...] = ()
    modules: bool = True
    early_modules: tuple[str, ...] = ()


_VIRTIO = ("virtio_pci", "virtio_console")

KERNELS = (
    KernelSeries(
        "6.1",
        ("bookworm-security", "bookworm"),
        split=False,
        sessions=False,
        early_modules=_VIRTIO,
    ),
    KernelSeries("6.12", ("trixie-security", "trixie"), split=False, sessions=False),
    KernelSeries("7.0", ("trixie-backports",), split=True, sessions=True, modules=False),
    KernelSeries("7.1", ("trixie-backports",), split=True, sessions=True, modules=False),
    KernelSeries("7.2", ("sid",), split=True, sessions=True, multi=("x86_64",)),
    KernelSeries("7.3", ("trixie-backports",), split=True, sessions=True, multi=("x86_64",)),
)


def machine(name: str | None = None) -> Machine:
    """The machine called `name` (``x86_64``, ``arm64`` or Debian's names); None: this host's."""
    wanted = name or os.uname().machine
    for candidate in MACHINES:
        if wanted == candidate.name or wanted in candidate.aliases:
            return candidate
    known = ", ".join(candidate.name for candidate in MACHINES)
    raise BadInputError(f"no guest of architecture '{wanted}'").hint(
        f"use --arch with one of {known}"
    )


def kernel_series(name: str) -> KernelSeries:
    """The series called `name` (``7.2``)."""
    for series in KERNELS:
        if series.name == name:
            return series
    known = ", ".join(series.name for series in KERNELS)
    raise BadInputError(f"no kernel series '{name}'").hint(
        f"use one of {known}, or the path of a kernel image"
    )


def find_kernel(series: KernelSeries, indexes: list[Index], debian: str) -> list[Package]:
    """The packages of the newest kernel of `series`: the one with the image comes first.

    `debian` is Debian's name of the architecture. A signed image is preferred to an unsigned
    one of the same version: both hold the same kernel, the signed one is what machines boot.
    """
    found = [
        (version_key(package.version), "unsigned" not in package.name, index, package, match[1])
        for index in indexes
        for package, match in index.matching(_image_pattern(series, debian))
    ]
    if not found:
        places = ", ".join(series.suites)
        raise UnsupportedError(
            f"Linux {series.name} for {debian}", f"not in {places} of the mirror"
        )
    _, _, index, image, abi = max(found, key=lambda row: row[:2])
    rest = [f"linux-{part}-{abi}-cloud-{debian}" for part in ("modules", "base")]
    return [image, *filter(None, (index.find(name) for name in rest if series.split))]


def _image_pattern(series: KernelSeries, debian: str) -> re.Pattern[str]:
    stem = "binary" if series.split else "image"
    abi = rf"({re.escape(series.name)}\.\S+?)"
    return re.compile(rf"linux-{stem}-(?:unsigned-)?{abi}-cloud-{debian}(?:-unsigned)?")
