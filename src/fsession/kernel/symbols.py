"""What the kernel tells in text files: symbols, traceable functions, configuration, version."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.glob import glob_regex
from fsession.errors import UnsupportedError
from fsession.host import Symbol

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.kernel.remembered import Remembered

__all__ = [
    "FunctionSymbols",
    "TraceableNames",
    "cpu_count",
    "kconfig",
    "symbol_address",
    "tracefs",
    "version_code",
]

_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_KALLSYMS = Path("/proc/kallsyms")
_MODULES = Path("/proc/modules")
_NO_FUNCTION = re.compile(rb"__pfx_|__cfi_|.*\.cold(?:\.|$)").match
_OWN_CODE = re.compile(
    rb"^\w+ (?:[tTwW] (?!__pfx_|__cfi_)\S+|\w _(?:stext|etext|sinittext|einittext))\n", re.MULTILINE
)
_SYMBOLS = "kallsyms"
_TRACEABLE = "available_filter_functions"
_RELEASE_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_DEBIAN_VERSION = re.compile(r"Debian (\d+)\.(\d+)\.(\d+)")


def tracefs() -> Path:
    """Where tracefs is mounted."""
    for folder in _TRACEFS:
        try:
            if (folder / "trace_pipe").exists():
                return folder
        except PermissionError:
            continue
    raise UnsupportedError("reading tracefs (not mounted, or not for this user)").hint(
        "run as root; if it is not mounted: mount -t tracefs tracefs /sys/kernel/tracing"
    )


class TraceableNames:
    """What ftrace can patch: tracefs's available_filter_functions.

    Its lines are "name" or "name [module]". To write them takes the kernel a third of a second
    under emulation, and those of vmlinux stay, so these are remembered.
    """

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._names: str | None = None

    def find(self, glob: str, module: str) -> list[str]:
        """Each name as often as it is there. Raises `UnsupportedError` without tracefs."""
        if module:
            words = rf"^({glob_regex(glob)}) \[{re.escape(module)}\]$"
            return re.findall(words, self._read(), re.MULTILINE)
        if self._names is None:
            self._names = self._own_names()
        if glob == "*":
            return self._names.split()
        return re.findall(rf"^{glob_regex(glob)}$", self._names, re.MULTILINE)

    def _own_names(self) -> str:
        known = self._remembered.get(_TRACEABLE)
        if known is not None:
            return known.decode()
        names = "".join(re.findall(r"^\S+\n", self._read(), re.MULTILINE))
        self._remembered.put(_TRACEABLE, names.encode())
        return names

    @staticmethod
    def _read() -> str:
        path = tracefs() / "available_filter_functions"
        try:
            return path.read_text()
        except PermissionError as error:
            by_kernel = error.errno == errno.EPERM  # not EACCES: the mode of the file lets us
            hint = "this kernel refuses it to everybody (lockdown?)" if by_kernel else "run as root"
            raise UnsupportedError(f"reading {path}").hint(hint) from None


class FunctionSymbols:
    """Symbols in /proc/kallsyms of the kind that functions have, each time one is there.

    What the build puts beside functions is left out: their cold parts, and paddings in front of
    their entries. BPF programs are no functions here. To write the file takes the kernel longer
    than all else that a load does: those of vmlinux, which stay, are remembered, and it is read
    again only for modules that have come or gone.
    """

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._found: dict[str, list[Symbol]] = {}  # in vmlinux, by glob
        self._modules: str | None = None
        self._data = b""

    def find(self, glob: str, module: str) -> list[Symbol]:
        if module:
            lines = _lines(self._read(), glob, module.encode())
            return [Symbol(name.decode()) for _, name in lines if not _NO_FUNCTION(name)]
        if glob not in self._found:
            self._found[glob] = self._find(glob)
        return self._found[glob]

    def _find(self, glob: str) -> list[Symbol]:
        data = self._remembered.get(_SYMBOLS) or self._read()
        is_code = _code_test(data)
        return [
            Symbol(name.decode(), is_code(address))
            for address, name in _lines(data, glob, b"")
            if not _NO_FUNCTION(name)
        ]

    def keep(self) -> None:
        """Remember the symbols of vmlinux, if they were read with their addresses."""
        if self._data and self._remembered.get(_SYMBOLS) is None:
            lines = _OWN_CODE.findall(self._data)
            if lines and not lines[0].startswith(b"0000000000000000 "):
                self._remembered.put(_SYMBOLS, b"".join(lines))

    def _read(self) -> bytes:
        # A line has the module's address, so one that was loaded again is told from before.
        modules = _MODULES.read_text() if _MODULES.exists() else ""
        if modules != self._modules:
            self._data = _KALLSYMS.read_bytes()
            self._modules = modules
        return self._data


def _lines(data: bytes, glob: str, module: bytes) -> list[tuple[bytes, bytes]]:
    """Address and name in the lines that match, of one module."""
    end = rb"\t\[%b\]$" % module if module else rb"$"
    line = re.compile(rb"^(\w+) [tTwW] (%b)%b" % (glob_regex(glob).encode(), end), re.MULTILINE)
    if any(sign in glob for sign in "*?["):
        return line.findall(data)
    # of one name, without a look at each line: a fiftieth of the time
    word = f" {glob}".encode()
    found = []
    at = data.find(word)
    while at >= 0:
        match = line.match(data, data.rfind(b"\n", 0, at) + 1)
        if match:
            found.append((match[1], match[2]))
        at = data.find(word, at + 1)
    return found


def _code_test(data: bytes) -> Callable[[bytes], bool]:
    """Tells addresses of the kernel's code, as the hex digits they are written with.

    The letters of symbols do not: Linux 7.2 has thousands of ``t`` that are data. Where addresses
    are hidden, all count as code.
    """
    bounds = []
    for names in ((b"_stext", b"_etext"), (b"_sinittext", b"_einittext")):
        first, last = (_address_digits(data, name) for name in names)
        if first and last:
            bounds.append((first, last))
    if not bounds or bounds[0][0] == bounds[0][1]:
        return lambda _: True
    return lambda address: any(first <= address < last for first, last in bounds)


def _address_digits(data: bytes, name: bytes) -> bytes:
    """Of a symbol of the kernel itself; empty if there is none."""
    at = data.find(b" %b\n" % name)
    return data[data.rfind(b"\n", 0, at) + 1 : at].split(b" ")[0] if at >= 0 else b""


def symbol_address(name: str, module: str = "") -> int | None:
    """Address of a symbol in /proc/kallsyms; None if there is none.

    Raises `UnsupportedError` where the kernel shows only zeros (sysctl kernel.kptr_restrict).
    """
    suffix = f"\t[{module}]" if module else ""
    pattern = rf"^([0-9a-f]+) \w {re.escape(name)}{re.escape(suffix)}$"
    found = re.search(pattern, _KALLSYMS.read_text(), re.MULTILINE)
    if found is None:
        return None
    address = int(found[1], 16)
    if not address:
        raise UnsupportedError("reading addresses from /proc/kallsyms").hint(
            "run as root, or: sysctl kernel.kptr_restrict=1 with CAP_SYSLOG"
        )
    return address


def kconfig() -> dict[str, str]:
    """The kernel's configuration, values as in its file (``y``, ``m``, numbers, "text").

    Empty where it is in none of the usual places.
    """
    release = os.uname().release
    places = (
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/lib/modules/{release}/config"),
    )
    for path in places:
        if path.exists():
            text = _unpacked(path).decode()
            pairs = (
                line.partition("=")[::2] for line in text.splitlines() if line.startswith("CONFIG_")
            )
            return dict(pairs)
    return {}


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    import gzip  # 1 ms that hardly any run needs

    return gzip.decompress(path.read_bytes())


def version_code() -> int:
    """``LINUX_KERNEL_VERSION``: of Debian's kernels what their version says, not the release."""
    kernel = os.uname()
    found = _DEBIAN_VERSION.search(kernel.version) or _RELEASE_VERSION.match(kernel.release)
    major, minor, patch = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return major << 16 | minor << 8 | min(patch, 255)


def cpu_count() -> int:
    """Possible CPUs: the values a per-CPU map has for each key."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return max(int(part.rpartition("-")[2]) for part in text.split(",")) + 1
