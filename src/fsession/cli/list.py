"""``fsession list``: functions that can be traced, and why others can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fsession.cli.options import quiet
from fsession.cli.report import FAILED, OK
from fsession.errors import AttachError

if TYPE_CHECKING:
    from fsession.attach import Found
    from fsession.host import Host

__all__ = ["list_"]


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@quiet
def list_(patterns: tuple[str, ...], quiet: bool) -> int:
    """List functions that can be traced; behind a # those that can't, with the reason.

    PATTERN is a name or has *, ? and […]; module:PATTERN for a module. Default: the whole kernel.
    With -q only those that can be traced.
    """
    from fsession.kernel import KernelHost

    with KernelHost() as host:
        results = [_lines(host, pattern, quiet=quiet) for pattern in patterns or ("*",)]
    return OK if any(results) else FAILED


def _lines(host: Host, pattern: str, *, quiet: bool) -> bool:
    """Write what a pattern gives; whether there was anything to trace."""
    from fsession.attach import find_targets

    try:
        found = find_targets(host, [pattern])
    except AttachError as error:
        if not quiet:
            click.echo(f"# {error.target}: {error.reason}")
        return False
    click.echo("".join(_text(found, quiet=quiet)), nl=False)
    return True


def _text(found: Found, *, quiet: bool) -> list[str]:
    lines = [f"{target.name}\n" for target in found.targets]
    if not quiet:
        for item in found.refused:
            detail = f" ({item.detail})" if item.detail else ""
            lines.append(f"# {item.name}: {item.reason}{detail}\n")
    return lines
