"""``fsession list``: functions that can be traced, and why others can't."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from fsession.cli.options import quiet
from fsession.cli.report import FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.attach import Found, Refused, Target

__all__ = ["list_"]


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--counts", is_flag=True, help="Only how many, by reason.")
@click.option("--reason", metavar="CODE", help="Only functions that can't be traced for this.")
@click.option("--format", "kind", type=click.Choice(["text", "json"]), default="text")
@quiet
def list_(
    patterns: tuple[str, ...], counts: bool, reason: str | None, kind: str, quiet: bool
) -> int:
    """List functions that can be traced; behind a # those that can't, with the reason.

    PATTERN is a name, has *, ? and […], or types: '*(struct sk_buff *)', '*(…, struct sock *, …)',
    'int tcp_*(…)'; module:PATTERN for a module; prog:PATTERN for BPF programs, prog:*/* for their
    functions. Default: the whole kernel. With -q only those that can be traced. A function that
    several patterns name is listed once. The exit status is 1 if nothing can be traced.
    """
    from fsession.kernel import KernelHost

    _check_reason(reason)
    with KernelHost() as host:
        from fsession.attach import survey

        found = _joined([survey(host, pattern) for pattern in patterns or ("*",)])
    if reason:
        wanted = [item for item in found.refused if item.reason.code == reason]
        found = type(found)((), tuple(wanted))
    if not counts:
        lines = _json(found) if kind == "json" else _text(found, quiet=quiet)
        click.echo("".join(lines), nl=False)
    if not quiet:
        click.echo("".join(_totals(found, kind)), nl=False)
    return OK if found.targets or (reason and found.refused) else FAILED


def _check_reason(code: str | None) -> None:
    from fsession.attach import Reason

    codes = [reason.code for reason in Reason]
    if code is not None and code not in codes:
        raise click.BadParameter(f"no reason has the code '{code}': there are {', '.join(codes)}")


def _joined(parts: list[Found]) -> Found:
    """Each function once."""
    targets = {(item.module, item.name): item for part in parts for item in part.targets}
    refused = {item.name: item for part in parts for item in part.refused}
    return type(parts[0])(tuple(targets.values()), tuple(refused.values()))


def _text(found: Found, *, quiet: bool) -> Iterator[str]:
    for target in found.targets:
        yield f"{target.name}{'' if quiet else _program(target)}\n"
    if not quiet:
        for item in found.refused:
            detail = f" ({item.detail})" if item.detail else ""
            yield f"# {item.name}: {item.reason.code}: {item.reason}{detail}\n"


def _program(target: Target) -> str:
    """Behind an id, what it is called."""
    return f"  # {target.program.name}" if target.program else ""


def _json(found: Found) -> Iterator[str]:
    import json

    for target in found.targets:
        yield json.dumps({"function": target.name, "traceable": True}) + "\n"
    for item in found.refused:
        yield json.dumps(_refused(item)) + "\n"


def _refused(item: Refused) -> dict[str, object]:
    facts = {"function": item.name, "traceable": False, "reason": item.reason.code}
    return facts | {"why": str(item.reason)} | ({"detail": item.detail} if item.detail else {})


def _totals(found: Found, kind: str) -> Iterator[str]:
    """How many of each."""
    counts = Counter(item.reason for item in found.refused).most_common()
    if kind == "json":
        import json

        reasons = {reason.code: number for reason, number in counts}
        yield json.dumps({"traceable": len(found.targets), "refused": reasons}) + "\n"
        return
    if len(found.targets) + len(found.refused) == 1:
        return
    yield f"# {len(found.targets)} can be traced, {len(found.refused)} can't\n"
    for reason, number in counts:
        yield f"# {number:8} {reason.code}: {reason}\n"
