"""The string section of a BTF object, and that of its base before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.decode import Sections

__all__ = ["MAX_NAME_BYTES", "Strings", "essential"]

MAX_NAME_BYTES = 1024  # the kernel takes 511; without a limit, a small input could fill the memory

_CACHE_STRINGS = 1 << 16
_PREFIX_MIN, _PREFIX_MAX = 3, 32
_NEAR_BYTES, _NEAR_COUNT = 64, 200
_FLAVOR = r"(.*[^_])___[^_]"


def essential(name: str) -> str:
    """A name without its flavor, which three underscores set off, no more and no less.

    >>> essential("task_struct___v514")
    'task_struct'
    """
    found = re.match(_FLAVOR, name, re.DOTALL)
    return found[1] if found else name


class Strings:
    """Strings by offset and offsets by string; offsets go through the base's section first."""

    def __init__(self, data: bytes, sections: Sections, base: Strings | None) -> None:
        self._data = data
        self._base = base
        self._start, self._stop = sections.strings, sections.strings_end
        if not base and data[self._start : self._start + 1].strip(b"\0"):
            raise BadInputError("the first BTF string is not empty", self._start)
        self.first: int = base.end if base else 0
        self.end: int = self.first + self._stop - self._start
        self._cache: dict[int, str] = {}
        self._flavored: list[str] | None = None

    @property
    def section(self) -> bytes:
        """All own strings, each ended by a NUL."""
        return self._data[self._start : self._stop]

    def __getitem__(self, offset: int) -> str:
        found = self._cache.get(offset)
        return self._read(offset) if found is None else found

    def _read(self, offset: int) -> str:
        if offset < self.first and self._base:
            return self._base[offset]
        at = self._start + offset - self.first
        if not self._start <= at < self._stop:
            raise BadInputError(f"no BTF string at {offset:#x}")
        end = self._data.find(0, at, at + MAX_NAME_BYTES)
        if end < 0:
            raise BadInputError(f"the BTF string at {offset:#x} is over {MAX_NAME_BYTES} bytes")
        if len(self._cache) >= _CACHE_STRINGS:
            self._cache.clear()
        text = self._cache[offset] = self._data[at:end].decode("utf-8", "surrogateescape")
        return text

    def offsets_of(self, text: str) -> Iterator[int]:
        """Where a string is, the base's first: one place, or more where equal ones are kept."""
        if self._base:
            yield from self._base.offsets_of(text)
        name = text.encode("utf-8", "surrogateescape")
        shift = self.first - self._start
        if self._data.startswith(name + b"\0", self._start, self._stop):
            yield self.first  # split BTF has no empty string first
        needle = b"\0" + name + b"\0"
        at = self._data.find(needle, self._start, self._stop)
        while at >= 0:
            yield at + 1 + shift
            at = self._data.find(needle, at + 1, self._stop)

    def matching(self, pattern: str) -> dict[int, str]:
        """All strings, the base's too, that a regular expression matches as a whole."""
        found = self._base.matching(pattern) if self._base else {}
        whole = re.compile(rb"\0(" + pattern.encode() + rb")(?=\0)")
        for match in whole.finditer(b"\0" + self.section):  # split BTF does not begin with a NUL
            found[self.first + match.start()] = match[1].decode("utf-8", "surrogateescape")
        return found

    def ascii(self) -> str | None:
        """The whole section as text, if it is ASCII (all kernels' are) and there is no base."""
        section = self.section
        return section.decode("ascii") if not self.first and section.isascii() else None

    def flavors(self, name: str) -> list[str]:
        """Strings, own and the base's, that are `name` with a flavor: ``name___old``."""
        if self._flavored is None:
            self._flavored = self._find_flavored()
        found = self._base.flavors(name) if self._base else []
        return found + [text for text in self._flavored if text.startswith(name + "___")]

    def _find_flavored(self) -> list[str]:
        """Own strings with ``___`` in them; a kernel has about thirty."""
        section = self.section
        texts = set()
        at = section.find(b"___")
        while at >= 0:
            start, end = section.rfind(b"\0", 0, at) + 1, section.index(b"\0", at)
            texts.add(section[start : min(end, start + MAX_NAME_BYTES)])
            at = section.find(b"___", end)
        return sorted(text.decode("utf-8", "surrogateescape") for text in texts)

    def near(self, name: str) -> Iterator[list[str]]:
        """Own strings like `name`: of those that start like it, with fewer letters each time."""
        from difflib import get_close_matches  # here: only for an error's message

        for length in range(min(len(name), _PREFIX_MAX), _PREFIX_MIN - 1, -1):
            prefix = re.escape(name[:length].encode("utf-8", "surrogateescape"))
            alike = re.compile(rb"\0(%b[^\0]{0,%d})(?=\0)" % (prefix, _NEAR_BYTES))
            found = alike.findall(self.section)[:_NEAR_COUNT]
            names = [text.decode("utf-8", "surrogateescape") for text in found]
            yield get_close_matches(name, names, 8, 0.7)
