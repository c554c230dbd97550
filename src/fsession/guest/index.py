"""Debian package indexes: stanzas, versions in Debian's order, and what a package depends on.

All of it works on text that somebody else has fetched and checked.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, NotFoundError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Index", "Package", "closure", "parse_stanza", "stanzas", "version_key"]

VersionKey = tuple[tuple[int, ...], ...]


@frozen
class Package:
    """One .deb of an index: `filename` is relative to the mirror, `size` in bytes."""

    name: str
    version: str
    arch: str
    filename: str
    size: int
    sha256: str
    suite: str
    depends: tuple[tuple[str, ...], ...] = ()  # all of these, each by any one of its names

    @property
    def deb_name(self) -> str:
        """The file name apt gives it: ``:`` of an epoch is escaped."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a deb822 text; a field's name is in lower case, lines are joined by \\n."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        if any(line.strip() for line in lines):
            yield parse_stanza("\n".join(lines))


def parse_stanza(text: str) -> dict[str, str]:
    """The fields of one paragraph."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
        elif line.strip():
            raise BadInputError(f"not a field of a package index: '{line[:60]}'")
    return fields


class Index:
    """A ``Packages`` file. Stanzas are parsed when they are asked for: it holds 60000 of them."""

    def __init__(self, text: str, suite: str) -> None:
        self.suite = suite
        self._text = text
        self._places: dict[str, list[int]] = {}
        for match in re.finditer(r"^Package: (\S+)$", text, re.MULTILINE):
            self._places.setdefault(match[1], []).append(match.start())
        self._provided: dict[str, list[str]] | None = None

    def find(self, name: str) -> Package | None:
        """The newest package called `name`, or None."""
        found = [self._package(place) for place in self._places.get(name, [])]
        return max(found, key=lambda package: version_key(package.version), default=None)

    def matching(self, pattern: re.Pattern[str]) -> list[tuple[Package, re.Match[str]]]:
        """The packages whose whole name matches `pattern`, with the match."""
        rows = ((name, pattern.fullmatch(name)) for name in self._places)
        return [(self._require(name), match) for name, match in rows if match]

    def providers(self, name: str) -> list[str]:
        """The names of the packages that provide the virtual package `name`."""
        if self._provided is None:
            self._provided = {}
            for match in re.finditer(r"^Provides: (.*)$", self._text, re.MULTILINE):
                owner = self._text.rfind("\nPackage: ", 0, match.start()) + len("\nPackage: ")
                package = self._text[owner : self._text.index("\n", owner)]
                for provided, *_ in _relations(match[1]):
                    self._provided.setdefault(provided, []).append(package)
        return self._provided.get(name, [])

    def _require(self, name: str) -> Package:
        package = self.find(name)
        if package is None:
            raise NotFoundError("package", name)
        return package

    def _package(self, start: int) -> Package:
        end = self._text.find("\n\n", start)
        fields = parse_stanza(self._text[start : end if end >= 0 else len(self._text)])
        wanted = ", ".join(filter(None, (fields.get("pre-depends"), fields.get("depends"))))
        try:
            return Package(
                name=fields["package"],
                version=fields["version"],
                arch=fields["architecture"],
                filename=fields["filename"],
                size=int(fields["size"]),
                sha256=fields["sha256"],
                suite=self.suite,
                depends=tuple(_relations(wanted)),
            )
        except (KeyError, ValueError) as error:
            raise BadInputError(
                f"package index of {self.suite}: bad stanza ({error})", start
            ) from None


def closure(names: Iterable[str], indexes: list[Index], without: frozenset[str]) -> list[Package]:
    """The packages `names` and all they depend on, less those called in `without`.

    Of alternatives the first that exists is taken; relations on versions are not looked at,
    since all packages come from one suite and its security updates.
    """
    chosen: dict[str, Package] = {}
    waiting: list[tuple[str, ...]] = [(name,) for name in names]
    while waiting:
        alternatives = waiting.pop(0)
        if any(name in chosen or name in without for name in alternatives):
            continue
        package = _first(alternatives, indexes)
        if package.name not in chosen:
            chosen[package.name] = package
            waiting += package.depends
    return sorted(chosen.values(), key=lambda package: package.name)


def _first(alternatives: tuple[str, ...], indexes: list[Index]) -> Package:
    for name in alternatives:
        names = [name] + [real for index in indexes for real in index.providers(name)]
        for candidate in names:
            found = [index.find(candidate) for index in indexes]
            packages = [package for package in found if package]
            if packages:
                return max(packages, key=lambda package: version_key(package.version))
    raise NotFoundError("Debian package", " or ".join(alternatives))


def _relations(text: str) -> Iterator[tuple[str, ...]]:
    """``a (>= 1), b:any | c`` as (a,), (b, c)."""
    for part in text.replace("\n", " ").split(","):
        names = [re.split(r"[\s(:\[]", name.strip())[0] for name in part.split("|")]
        if names[0]:
            yield tuple(names)


def version_key(version: str) -> VersionKey:
    """A key that sorts versions as dpkg does: ``[epoch:]upstream[-revision]``.

    Debian policy 5.6.12: parts of non-digits and digits in turn; ``~`` sorts before the end,
    the end before letters, letters before all else; digits by their number.
    """
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    if not epoch.isdigit():
        raise BadInputError(f"not a Debian version: '{version}'")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return ((int(epoch),), _part_key(upstream), _part_key(revision))


_END = 0  # where a part of non-digits ends; "~" is below, letters and then the rest above


def _part_key(part: str) -> tuple[int, ...]:
    key: list[int] = []
    pieces = re.split(r"(\d+)", part)
    for text, digits in zip_longest(pieces[::2], pieces[1::2], fillvalue=""):
        if text or digits:
            key += [*map(_order, text), _END, int(digits or "0")]
    return (*key, _END)


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
