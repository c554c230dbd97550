"""The kernel's modules for a guest: the tree of the package, with the indexes depmod would make.

busybox's modprobe reads ``modules.dep`` and ``modules.alias`` as text. Debian makes them when a
package is installed; here they are made from the ``.modinfo`` section of each module.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fsession.guest.cpio import Entry, file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Module", "find_release", "indexed", "load_order", "module_name", "read_module"]

_TREE = "usr/lib/modules/"
_SUFFIX = re.compile(r"\.ko(?:\.xz)?$")


@dataclass(frozen=True, slots=True)
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


def indexed(
    entries: Sequence[Entry], release: str, unpack: frozenset[str] = frozenset()
) -> list[Entry]:
    """`entries` and the two index files of the modules in them.

    Modules stay compressed as they are in the package, except those called in `unpack`, which
    the guest loads before it has anything to decompress them with.
    """
    folder = f"{_TREE}{release}/"
    modules: dict[str, Module] = {}
    kept: list[Entry] = []
    for entry in entries:
        if _SUFFIX.search(entry.path) and entry.path.startswith(folder):
            module = read_module(entry.path.removeprefix(folder), entry.data)
            if module.name in unpack and entry.path.endswith(".xz"):
                entry = replace(
                    entry, path=entry.path.removesuffix(".xz"), data=lzma.decompress(entry.data)
                )
                module = replace(module, path=module.path.removesuffix(".xz"))
            modules[module.name] = module
        kept.append(entry)
    dep = "".join(f"{module.path}: {_needs(module, modules)}\n" for module in modules.values())
    alias = "".join(
        f"alias {alias} {module.name}\n" for module in modules.values() for alias in module.aliases
    )
    return [
        *kept,
        file(f"{folder}modules.dep", dep.encode()),
        file(f"{folder}modules.alias", alias.encode()),
    ]


def load_order(name: str, modules: dict[str, Module]) -> list[Module]:
    """All modules `name` needs, itself last, each after those it needs."""
    order: dict[str, Module] = {}

    def visit(wanted: str) -> None:
        module = modules.get(wanted)
        if module is None or wanted in order:
            return
        for needed in module.depends:
            visit(needed)
        order[wanted] = module

    visit(name)
    return list(order.values())


def _needs(module: Module, modules: dict[str, Module]) -> str:
    """What modules.dep has after the colon: the nearest need first, as depmod writes it."""
    order = load_order(module.name, modules)[:-1]
    return " ".join(needed.path for needed in reversed(order))
