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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import GuestError
from fsession.guest.cache import write_atomically
from fsession.guest.cpio import Entry, archive, directory, file, symlink
from fsession.guest.deb import unpack
from fsession.guest.index import Package
from fsession.guest.modules import find_release, indexed
from fsession.guest.python import distribution_files, package_files, with_byte_code

if TYPE_CHECKING:
    from fsession.guest.kernels import KernelSeries

__all__ = [
    "BASE",
    "WITHOUT",
    "Kernel",
    "base_layer",
    "kernel_files",
    "package_layer",
    "packages_layer",
    "site_layer",
]

Fetch = Callable[[Sequence[Package]], list[Path]]

BASE = (
    "busybox-static", "dash", "iproute2", "iputils-ping", "libcap2-bin", "libffi8",
    "libpython3.11-stdlib", "python3.11-minimal",
)  # fmt: skip

# Needed by packages for their installation, or for parts no guest uses (TLS, SQL, NIS).
WITHOUT = frozenset({
    "adduser", "ca-certificates", "debconf", "debianutils", "dpkg", "gcc-12-base", "libdb5.3",
    "libnsl2", "libsqlite3-0", "libssl3", "media-types", "perl", "perl-base",
    "readline-common", "sensible-utils", "tar", "tzdata", "libgssapi-krb5-2",
})  # fmt: skip

_DROPPED = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
    "usr/share/bug", "usr/share/bash-completion", "usr/share/doc-base", "usr/share/gcc",
    "usr/share/applications", "usr/share/pixmaps", "usr/share/menu", "etc/apt",
    *(f"usr/lib/python3.11/{name}" for name in (
        "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")),
)  # fmt: skip

_FOLDERS = (
    "dev",
    "proc",
    "root",
    "sys",
    "tmp",
    "run",
    "var/tmp",
    "usr/bin",
    "usr/sbin",
    "usr/lib64",
)
_LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    "usr/bin/python3": "python3.11", "usr/bin/python": "python3.11", "etc/mtab": "/proc/mounts",
}  # fmt: skip
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"
    b"nobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
    b"user:x:1000:1000:user:/tmp:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n",
    "etc/hosts": b"127.0.0.1 localhost fsession\n::1 localhost\n",
    "etc/hostname": b"fsession\n",
}
_APPLETS = (
    "awk", "base64", "basename", "cat", "chgrp", "chmod", "chown", "chroot", "clear", "cmp", "cp",
    "cut", "date", "dd", "df", "diff", "dirname", "dmesg", "du", "egrep", "env", "expr", "false",
    "fgrep", "find", "free", "grep", "gunzip", "gzip", "head", "hexdump", "hostname", "id",
    "ifconfig", "insmod", "kill", "killall", "less", "ln", "ls", "lsmod", "md5sum", "mkdir",
    "mkfifo", "mknod", "mktemp", "modinfo", "modprobe", "more", "mount", "mv", "nc", "netstat",
    "nice", "nl", "nohup", "nproc", "nslookup", "nsenter", "od", "paste", "patch", "pidof",
    "poweroff", "printenv", "printf", "ps", "pwd", "readlink", "realpath", "reboot", "renice", "reset", "rm",
    "rmdir", "rmmod", "route", "sed", "seq", "setpriv", "setsid", "sha256sum", "shuf", "sleep",
    "sort", "stat", "strings", "stty", "su", "sync", "sysctl", "tac", "tail", "tar", "taskset",
    "tee", "telnet", "test", "time", "timeout", "top", "touch", "tr", "true", "truncate", "tty",
    "umount", "uname", "uniq", "unshare", "unxz", "unzip", "uptime", "usleep", "vi", "watch", "wc",
    "wget", "which", "whoami", "xargs", "xxd", "xz", "xzcat", "yes", "zcat", "[",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel ready to boot: its image and, where there are any, the layer of its modules."""

    version: str
    image: Path
    modules: Path | None


def base_layer(
    folder: Path, packages: Sequence[Package], fetch: Fetch, python: Sequence[str]
) -> Path:
    """What every guest has. `python` is the command that compiles its standard library."""

    def make() -> list[Entry]:
        # What is installed goes over busybox's names: ip and ping are the real ones.
        skeleton = [symlink(f"usr/bin/{name}", "busybox") for name in _APPLETS]
        skeleton += [directory(path) for path in _FOLDERS]
        skeleton += [symlink(path, target) for path, target in _LINKS.items()]
        skeleton += [file(path, data) for path, data in _ACCOUNTS.items()]
        return with_byte_code([*skeleton, *_unpacked(fetch(packages))], python)

    return _layer(folder, "base", _hashes(packages), make)


def packages_layer(folder: Path, packages: Sequence[Package], fetch: Fetch) -> Path:
    """Debian packages with all they need. Their maintainer scripts are not run."""
    return _layer(folder, "packages", _hashes(packages), lambda: _unpacked(fetch(packages)))


def site_layer(folder: Path, python: Sequence[str]) -> Path:
    """The Python distributions the package and its tests need."""
    entries = list(distribution_files())
    return _layer(folder, "site", _contents(entries), lambda: with_byte_code(entries, python))


def package_layer(folder: Path, python: Sequence[str]) -> Path:
    """This package as it is now."""
    entries = package_files()
    return _layer(folder, "package", _contents(entries), lambda: with_byte_code(entries, python))


def kernel_files(
    folder: Path, series: KernelSeries, packages: Sequence[Package], fetch: Fetch
) -> Kernel:
    """The image and the modules layer of the kernel in `packages`."""
    key = _key("kernel", _hashes(packages))
    image, modules = folder / f"vmlinuz-{key}", folder / f"modules-{key}.cpio"
    if not (image.exists() and modules.exists()):
        entries = _unpacked(fetch(packages))
        release = find_release(entries)
        vmlinuz = next((entry for entry in entries if "/vmlinuz" in entry.path), None)
        if release is None or vmlinuz is None:
            raise GuestError(f"no kernel image in {packages[0].name} {packages[0].version}")
        tree = [_in_place(entry, release) for entry in entries if "/vmlinuz" not in entry.path]
        early = frozenset(_EARLY if series.early_modules else ())
        write_atomically(modules, archive(indexed(tree, release, early)))
        write_atomically(image, vmlinuz.data)
    return Kernel(packages[0].version, image, modules)


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
        if not any(entry.path == path or entry.path.startswith(f"{path}/") for path in _DROPPED)
    ]


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


_EARLY = (
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_console",
)
_RECIPE = b"".join(
    hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).digest()
    for name in ("cpio", "deb", "layers", "modules", "python")
)
