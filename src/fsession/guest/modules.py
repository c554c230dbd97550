"""The kernel's modules for a guest: the tree of the package, with the indexes depmod would make.

busybox's modprobe reads ``modules.dep`` and ``modules.alias`` as text. Debian makes them when a
package is installed; here they are made from the ``.modinfo`` section of each module.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.guest.cpio import Entry, file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "Module",
    "find_release",
    "indexed",
    "load_order",
    "module_name",
    "read_module",
    "tree_entries",
]

_TREE = "usr/lib/modules/"
_SUFFIX = re.compile(r"\.ko(?:\.xz)?$")


@frozen
class Module:
    """A module: its `path` below the release's folder, what it needs, names it also goes by."""

    path: str
    depends: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """As in ``/proc/modules``."""
        return module_name(self.path)


def find_release(entries: Iterable[Entry]) -> str | None:
    """What ``uname -r`` will say: the name of the folder of modules."""
    for entry in entries:
        if entry.path.startswith(_TREE):
            return entry.path.removeprefix(_TREE).split("/")[0]
    return None


def module_name(path: str) -> str:
    """``kernel/net/nf-log.ko.xz`` is ``nf_log``."""
    return _SUFFIX.sub("", PurePosixPath(path).name).replace("-", "_")


def read_module(path: str, content: bytes) -> Module:
    """What the ``.modinfo`` section says: NUL-terminated ``key=value`` strings."""
    image = lzma.decompress(content) if path.endswith(".xz") else content
    depends = re.search(rb"\0depends=([^\0]*)\0", image)
    names = depends[1].decode().split(",") if depends else []
    aliases = {match.decode() for match in re.findall(rb"\0alias=([^\0]*)", image)}
    return Module(
        path, tuple(name.replace("-", "_") for name in names if name), tuple(sorted(aliases))
    )


def indexed(entries: Sequence[Entry], release: str) -> list[Entry]:
    """`entries` with modules compressed, and the two index files of the modules.

    Debian compresses them since Linux 6.12; a tree of plain ones is 70 MB more to unpack.
    """
    folder = f"{_TREE}{release}/"
    kept = [_compressed(entry) if entry.path.endswith(".ko") else entry for entry in entries]
    modules: dict[str, Module] = {}
    for entry in kept:
        if _SUFFIX.search(entry.path) and entry.path.startswith(folder):
            module = read_module(entry.path.removeprefix(folder), entry.data)
            modules[module.name] = module
    dep = "".join(f"{module.path}: {_needs(module, modules)}\n" for module in modules.values())
    alias = "".join(
        f"alias {alias} {module.name}\n" for module in modules.values() for alias in module.aliases
    )
    return [
        *kept,
        file(f"{folder}modules.dep", dep.encode()),
        file(f"{folder}modules.alias", alias.encode()),
    ]


def tree_entries(folder: Path, release: str, names: Iterable[str]) -> list[Entry]:
    """The modules `names`, with those they need, of the tree in `folder` as entries.

    Modules that are compressed otherwise than by xz are left out: the guest can't read them.
    """
    modules = {
        module_name(path.name): (
            path,
            read_module(str(path.relative_to(folder)), path.read_bytes()),
        )
        for path in sorted(folder.rglob("*.ko*"))
        if _SUFFIX.search(path.name)
    }
    known = {name: module for name, (_, module) in modules.items()}
    chosen = {needed.name for name in names for needed in load_order(name, known)}
    return [
        file(f"{_TREE}{release}/{known[name].path}", modules[name][0].read_bytes())
        for name in sorted(chosen)
    ]


def load_order(name: str, modules: dict[str, Module]) -> list[Module]:
    """All modules `name` needs, itself last, each after those it needs."""
    seen: set[str] = set()
    order: list[Module] = []

    def visit(wanted: str) -> None:
        module = modules.get(wanted)
        if module is None or wanted in seen:
            return
        seen.add(wanted)
        for needed in module.depends:
            visit(needed)
        order.append(module)

    visit(name)
    return order


def _compressed(entry: Entry) -> Entry:
    """CRC32 is the one check the kernel's own decompressor knows (Documentation/staging/xz.rst)."""
    packed = lzma.compress(entry.data, check=lzma.CHECK_CRC32, preset=0)
    return replace(entry, path=f"{entry.path}.xz", data=packed)


def _needs(module: Module, modules: dict[str, Module]) -> str:
    """What modules.dep has after the colon: the nearest need first, as depmod writes it."""
    order = load_order(module.name, modules)[:-1]
    return " ".join(needed.path for needed in reversed(order))
