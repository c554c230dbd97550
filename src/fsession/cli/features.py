"""``fsession features``: what this host can do, found by trying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fsession.cli.options import verbose
from fsession.cli.report import OK
from fsession.errors import KernelError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from fsession.host import Host

__all__ = ["features"]

KFUNCS = ("bpf_session_is_return", "bpf_session_cookie")
_SESSIONS = (("one function", False), ("many functions", True))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one object.")
@verbose
def features(as_json: bool, verbose: bool) -> int:
    """Say what this host can do, and which strategy sessions will use.

    Each answer comes from a trial. With -v, the kernel's words where it said no.
    """
    from fsession.kernel import KernelHost

    with KernelHost() as host:
        report = _report(host)
    if as_json:
        import json

        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(report, verbose=verbose)
    return OK


def _report(host: Host) -> dict[str, Any]:
    from fsession.host import Feature

    return {
        "host": host.description,
        "features": {item.name.lower(): _feature(host, item) for item in Feature},
        "kfuncs": {name: _prototype(host, name) for name in KFUNCS},
        "strategies": {words: _strategy(host, many=many) for words, many in _SESSIONS},
    }


def _feature(host: Host, item: Any) -> dict[str, Any]:
    why_not = host.why_not(item)
    return {"what": item.value, "supported": not why_not, "why_not": why_not}


def _prototype(host: Host, name: str) -> str | None:
    """Of a kernel function, as C; None if this kernel has none of that name."""
    from fsession.btf.format import prototype
    from fsession.btf.types import Func

    try:
        types = host.types()
        return prototype(types, types.id_of(name, Func))
    except (NotFoundError, KernelError):
        return None


def _strategy(host: Host, *, many: bool) -> dict[str, str | None]:
    from fsession.attach import choose

    try:
        plan = choose(host.why_not, many=many)
    except UnsupportedError as error:
        return {"strategy": None, "reason": " ".join([str(error), *error.__notes__[:1]])}
    return {"strategy": str(plan.strategy), "reason": plan.reason}


def _show(report: dict[str, Any], *, verbose: bool) -> None:
    click.echo(report["host"])
    for item in report["features"].values():
        why = f"  ({item['why_not']})" if verbose and item["why_not"] else ""
        click.echo(f"  {'yes' if item['supported'] else 'no':3}  {item['what']}{why}")
    click.echo("kernel functions that sessions call")
    for name, found in report["kfuncs"].items():
        click.echo(f"  {'yes' if found else 'no':3}  {found or name}")
    click.echo("sessions on")
    for words, plan in report["strategies"].items():
        click.echo(f"  {words}: {plan['strategy'] or 'not possible'}: {plan['reason']}")
