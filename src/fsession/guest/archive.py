"""Where packages come from: what the two kinds of archive have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fsession.guest.index import Index, Package

__all__ = ["Archive"]


class Archive(Protocol):
    """A Debian archive for one architecture, with a copy of what was fetched kept here."""

    def index(self, suite: str, *, update: bool = False) -> Index:
        """The package index of `suite`, fetched if it is not there or `update` is asked for."""
        ...

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """The .deb files of `packages`, in their order, downloaded if they are not there."""
        ...
