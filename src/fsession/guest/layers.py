"""The layers of a guest's root, each an archive that is kept once made.

=========  ========================================================  ==========================
layer      what is in it                                             made anew when
=========  ========================================================  ==========================
base       Python, busybox, dash, ip, ping, capsh                    the packages change
packages   the Debian packages a caller asks for                     the same
modules    the kernel's modules and config                           the kernel changes
site       Python distributions of the running interpreter           one of their files changes
package    this package                                              one of its files changes
=========  ========================================================  ==========================

A layer's file is named by a hash over what it is made of and over the code that makes it.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fsession.errors import GuestError
from fsession.guest.cache import write_atomically
from fsession.guest.cpio import Entry, archive, file
from fsession.guest.deb import unpack
from fsession.guest.index import Package
from fsession.guest.modules import find_release, indexed, tree_entries
from fsession.guest.python import distribution_files, package_files, with_byte_code
from fsession.guest.skeleton import skeleton

__all__ = [
    "base_layer",
    "debian_kernel",
    "own_modules",
    "package_layer",
    "packages_layer",
    "site_layer",
    "unpacked_root",
]

Fetch = Callable[[Sequence[Package]], list[Path]]

# Documentation, translations, and parts of Python and libc that no guest uses: 40 MB.
_DROPPED = re.compile(
    r"etc/apt/"
    r"|usr/share/(?:doc|man|locale|info|lintian|bug|bash-completion|doc-base|gcc|applications|menu"
    r"|pixmaps)/"
    r"|usr/lib/python3\.11/(?:ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter|turtledemo)/"
    r"|usr/lib/[^/]+/gconv/"
    r"|usr/lib/linux-image-[^/]+/"  # device trees: QEMU makes its own
    r"|boot/System\.map"
)
_USEFUL = ("dummy", "nf_conntrack", "veth")  # modules that tests and tools like to load


def base_layer(
    folder: Path, packages: Sequence[Package], fetch: Fetch, python: Sequence[str]
) -> Path:
    """What every guest has. `python` is the command that compiles its standard library."""

    def make() -> list[Entry]:
        # What is installed goes over busybox's names: ip and ping are the real ones.
        return with_byte_code([*skeleton(), *_unpacked(fetch(packages))], python)

    return _layer(folder, "base", _hashes(packages), make)


def packages_layer(folder: Path, packages: Sequence[Package], fetch: Fetch) -> Path:
    """Debian packages with all they need. Their maintainer scripts are not run."""
    return _layer(folder, "packages", _hashes(packages), lambda: _unpacked(fetch(packages)))


def site_layer(folder: Path, python: Sequence[str], *, native: bool = False) -> Path:
    """The Python distributions the package and its tests need. `native`: the guest is a machine
    of this kind, and takes shared libraries from here."""
    entries = list(distribution_files(native=native))
    return _layer(folder, "site", _contents(entries), lambda: with_byte_code(entries, python))


def package_layer(folder: Path, python: Sequence[str]) -> Path:
    """This package as it is now."""
    entries = package_files()
    return _layer(folder, "package", _contents(entries), lambda: with_byte_code(entries, python))


def debian_kernel(folder: Path, packages: Sequence[Package], fetch: Fetch) -> tuple[Path, Path]:
    """The image of the kernel in `packages`, and the layer of its modules and config."""
    key = _key("kernel", _hashes(packages))
    image, modules = folder / f"vmlinuz-{key}", folder / f"modules-{key}.cpio"
    if not (image.exists() and modules.exists()):
        entries = _unpacked(fetch(packages))
        vmlinuz = next((entry for entry in entries if "/vmlinuz" in entry.path), None)
        if vmlinuz is None:
            raise GuestError(f"no kernel image in {packages[0].name} {packages[0].version}")
        release = find_release(entries) or vmlinuz.path.partition("vmlinuz-")[2]
        tree = [_in_place(entry, release) for entry in entries if entry is not vmlinuz]
        write_atomically(modules, archive(indexed(tree, release)))
        write_atomically(image, vmlinuz.data)
    return image, modules


def own_modules(folder: Path, tree: Path, release: str, early: Sequence[str]) -> Path:
    """The layer of a kernel that is not Debian's: of the modules in `tree`, `early` and a few."""
    parts = [str(tree).encode(), str(tree.stat().st_mtime_ns).encode(), release.encode()]

    def make() -> list[Entry]:
        config = tree.parents[2] / "boot" / f"config-{release}"
        found = [config] if config.is_file() else []
        return [
            *indexed(tree_entries(tree, release, [*early, *_USEFUL]), release),
            *(file(f"boot/config-{release}", path.read_bytes()) for path in found),
        ]

    return _layer(folder, "own-modules", parts, make)


def unpacked_root(folder: Path, packages: Sequence[Package], fetch: Fetch) -> Path:
    """A folder with the files of `packages`, to run their programs from on this machine."""
    root = folder / f"root-{_key('root', _hashes(packages))}"
    if not root.exists():
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=".root-"))
        for entry in sorted(_unpacked(fetch(packages)), key=lambda item: item.path):
            _write(partial, entry)
        partial.rename(root)
    return root


def _in_place(entry: Entry, release: str) -> Entry:
    """The kernel's config where 6.x packages, and tools that look for it, have it."""
    if entry.path == f"usr/lib/modules/{release}/config":
        return file(f"boot/config-{release}", entry.data)
    return entry


def _unpacked(debs: Iterable[Path]) -> list[Entry]:
    return [
        entry
        for deb in debs
        for entry in unpack(deb.read_bytes(), deb.name)
        if not _DROPPED.match(f"{entry.path}/")
    ]


def _write(root: Path, entry: Entry) -> None:
    path = root / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(entry.mode):
        path.mkdir(exist_ok=True)
    elif stat.S_ISLNK(entry.mode):
        target = entry.data.decode()
        path.symlink_to(root / _usr(target) if target.startswith("/") else target)
    else:
        path.write_bytes(entry.data)
        path.chmod(stat.S_IMODE(entry.mode) | stat.S_IWUSR)


def _usr(target: str) -> str:
    """``/lib/…`` as it lies below the folder: everything is below ``usr``."""
    return target.lstrip("/") if target.startswith("/usr/") else f"usr{target}"


def _layer(
    folder: Path, name: str, parts: Iterable[bytes], make: Callable[[], Iterable[Entry]]
) -> Path:
    path = folder / f"{name}-{_key(name, parts)}.cpio"
    if not path.exists():
        write_atomically(path, archive(make()))
    return path


def _key(name: str, parts: Iterable[bytes]) -> str:
    state = hashlib.sha256(name.encode() + _RECIPE)
    for part in parts:
        state.update(hashlib.sha256(part).digest())
    return state.hexdigest()[:16]


def _hashes(packages: Iterable[Package]) -> list[bytes]:
    return [package.sha256.encode() for package in packages]


def _contents(entries: Iterable[Entry]) -> list[bytes]:
    return [part for entry in entries for part in (entry.path.encode(), entry.data)]


_RECIPE = b"".join(
    hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).digest()
    for name in ("cpio", "deb", "layers", "modules", "python", "skeleton")
)
