"""`Types`: all types of one BTF object, found by name or id."""

from __future__ import annotations

__all__ = ["Types"]


class Types:
    """All types of one BTF object."""
