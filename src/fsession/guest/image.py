"""What a guest boots: a kernel, and the layers of its root."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.guest.cache import cache_folder, prune
from fsession.guest.debian import BASE, Debian
from fsession.guest.images import KernelImage, module_folder, read_image
from fsession.guest.kernels import Machine, kernel_series, machine
from fsession.guest.layers import (
    base_layer,
    debian_kernel,
    own_modules,
    package_layer,
    packages_layer,
    site_layer,
    unpacked_root,
)
from fsession.guest.python import GUEST_PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.guest.progress import Progress

__all__ = ["Image", "Wanted", "image", "machine_for"]

_VIRTIO = ("virtio_pci", "virtio_console")


@frozen
class Wanted:
    """What a guest shall be made of: a kernel (series or path), packages besides the base."""

    kernel: str
    machine: Machine
    packages: tuple[str, ...] = ()
    mirror: str | None = None
    update: bool = False


@frozen
class Image:
    """A kernel and the layers of its root, in the order the kernel unpacks them."""

    kernel: Path
    layers: tuple[Path, ...]
    early_modules: tuple[str, ...] = ()


def machine_for(kernel: str, arch: str | None) -> Machine:
    """The machine to boot `kernel` on: `arch`, else the image's, else this host's."""
    if not _is_path(kernel):
        return machine(arch)
    found = read_image(Path(kernel))
    if arch and machine(arch).name != found.arch:
        raise BadInputError(f"{kernel} is a kernel for {found.arch}, not for {arch}")
    return machine(found.arch)


def image(wanted: Wanted, progress: Progress) -> Image:
    """Make, or find in the cache, all that a guest boots."""
    folder = cache_folder()
    layers = folder / "layers"

    def debian_of(arch: str) -> Debian:
        return Debian(arch, folder, wanted.mirror, progress, update=wanted.update)

    debian = debian_of(wanted.machine.debian)
    kernel, modules, early = _kernel(wanted, debian, layers)
    python = _compiler(layers, debian_of)
    base = debian.userland(BASE)
    paths = [base_layer(layers, base, debian.fetch, python)]
    if wanted.packages:
        extra = [item for item in debian.userland(wanted.packages) if item not in base]
        paths.append(packages_layer(layers, extra, debian.fetch))
    site = site_layer(layers, python, native=_is_this(wanted.machine))
    paths += [site, package_layer(layers, python), *modules]
    prune(layers, used=[kernel, *paths])
    return Image(kernel, tuple(paths), early)


def _kernel(
    wanted: Wanted, debian: Debian, layers: Path
) -> tuple[Path, list[Path], tuple[str, ...]]:
    """The image, the layer of its modules, and those it needs to talk to us."""
    if not _is_path(wanted.kernel):
        series = kernel_series(wanted.kernel)
        booted, modules = debian_kernel(layers, debian.kernel(series), debian.fetch)
        return booted, [modules], series.early_modules
    own: KernelImage = read_image(Path(wanted.kernel))
    tree = module_folder(own)
    return own.path, [own_modules(layers, tree, own.release, _VIRTIO)] if tree else [], _VIRTIO


def _is_this(guest: Machine) -> bool:
    """Whether the guest's machine is of the kind we run on."""
    try:
        return machine() == guest
    except BadInputError:
        return False


def _is_path(kernel: str) -> bool:
    return "/" in kernel or Path(kernel).is_file()


def _compiler(layers: Path, debian_of: Callable[[str], Debian]) -> Sequence[str]:
    """The command that makes byte code for the guest's Python.

    That is the running interpreter if it has the guest's version. If not, the guest's own Python
    runs here, in the build for this machine, by its own dynamic loader; byte code is the same on
    every architecture. Empty where neither can be: guests then compile what they import.
    """
    if sys.version_info[:2] == GUEST_PYTHON:
        return [sys.executable]
    try:
        host = machine()
    except BadInputError:
        return []
    debian = debian_of(host.debian)
    return guest_python(layers, host, debian)


def guest_python(layers: Path, host: Machine, debian: Debian) -> list[str]:
    """The command that runs the guests' Python on this host, whose machine is `host`."""
    root = unpacked_root(layers, debian.userland(BASE), debian.fetch)
    libraries = root / "usr/lib" / host.triplet
    loader = next(libraries.glob("ld-linux-*.so.*"))
    program = str(root / "usr/bin/python3.11")
    return [str(loader), "--argv0", program, "--library-path", str(libraries), program]
