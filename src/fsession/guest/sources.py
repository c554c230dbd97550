"""Which Debian mirror a machine uses: what apt's source lists say (sources.list(5)).

Both forms are read: one line (``deb [options] URI SUITE COMPONENT…``) and deb822 stanzas.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import UnsupportedError
from fsession.frozen import frozen
from fsession.guest.index import stanzas

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MIRROR_VARIABLE",
    "Mirror",
    "Source",
    "configured_mirror",
    "mirror_at",
    "parse_deb822",
    "parse_one_line",
    "read_sources",
]

MIRROR_VARIABLE = "FSESSION_DEBIAN_MIRROR"
_RELEASES = r"(?:stable|oldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)"
_MAIN_SUITE = re.compile(_RELEASES + r"(?:-updates|-backports|-proposed-updates)?")
_SECURITY_SUITE = re.compile(_RELEASES + r"(?:-security|/updates)")


@frozen
class Source:
    """One repository of apt: a URI and one of its suites. `signed_by` is a keyring's path."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


@frozen
class Mirror:
    """A Debian mirror; `security` has its ``-security`` suites. `by_apt`: apt is set up for it."""

    main: str
    security: str
    by_apt: bool = False
    signed_by: str = ""

    def uri(self, suite: str) -> str:
        """Where `suite` lies."""
        return self.security if suite.endswith("-security") else self.main


def mirror_at(uri: str) -> Mirror:
    """The mirror a user named: its security archive is the folder ``debian-security`` beside it."""
    main = uri.rstrip("/")
    return Mirror(main, f"{main.rpartition('/')[0]}/debian-security")


def configured_mirror(named: str | None, etc_apt: Path = Path("/etc/apt")) -> Mirror:
    """The mirror to use: `named`, else the environment's, else the one apt is set up for."""
    uri = named or os.environ.get(MIRROR_VARIABLE)
    if uri:
        return mirror_at(uri)
    sources = [source for source in read_sources(etc_apt) if "main" in source.components]
    main = next((source for source in sources if _MAIN_SUITE.fullmatch(source.suite)), None)
    if main is None:
        raise UnsupportedError("finding a Debian mirror", "apt's sources name none").hint(
            f"name one with --mirror URL or the variable {MIRROR_VARIABLE}"
        )
    security = next((item for item in sources if _SECURITY_SUITE.fullmatch(item.suite)), None)
    beside = mirror_at(main.uri).security
    return Mirror(main.uri, security.uri if security else beside, True, main.signed_by)


def read_sources(etc_apt: Path) -> list[Source]:
    """All sources below `etc_apt`, in apt's order of files."""
    parts = sorted((etc_apt / "sources.list.d").glob("*"))
    found: list[Source] = []
    for path in [etc_apt / "sources.list", *parts]:
        if path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text("utf-8", "replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text("utf-8", "replace"))
    return found


def parse_one_line(text: str) -> Iterator[Source]:
    """``deb [signed-by=… arch=…] URI SUITE COMPONENT…``, one a line; deb-src lines are left out."""
    for line in text.splitlines():
        match = re.fullmatch(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)(?:#.*)?", line)
        if match:
            options = dict(re.findall(r"([\w-]+)\+?=(\S+)", match[1] or ""))
            components = tuple(match[4].split())
            yield Source(match[2].rstrip("/"), match[3], components, options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Stanzas with ``Types``, ``URIs``, ``Suites``, ``Components``; disabled ones are left out."""
    for fields in stanzas(text):
        disabled = fields.get("enabled", "yes").lower() in ("no", "false", "off", "0")
        if disabled or "deb" not in fields.get("types", "").split():
            continue
        signed_by = fields.get("signed-by", "")
        keyring = signed_by if signed_by.startswith("/") else ""  # a key can stand here too
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri.rstrip("/"), suite, components, keyring)
