"""The limit of open files: raised for ourselves, as before for the command that we start.

Each program, link and map is an open file. The usual limit, 1,024, protects those who use
select(2); it ends a trace of 250 functions where there are no multi links.
"""

from __future__ import annotations

import resource

__all__ = ["allow_many", "as_before"]

_KIND = resource.RLIMIT_NOFILE
_before = resource.getrlimit(_KIND)


def allow_many() -> None:
    """As many as this process may allow itself."""
    _, most = _before
    resource.setrlimit(_KIND, (most, most))


def as_before() -> None:
    """In a child: as it was when this process started."""
    resource.setrlimit(_KIND, _before)
