"""``fsession verify``: would a kernel take these programs, and why not."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from fsession.cli.report import FAILED, OK

if TYPE_CHECKING:
    from fsession.session.verdicts import Verdict

__all__ = ["verify"]


@click.command()
@click.argument("file")
@click.option("--kernel", "series", default="7.2", show_default=True, help="Rules of this series.")
@click.option("--btf", metavar="FILE", help="The kernel's BTF; default: that of this machine.")
@click.option("--against", type=click.Choice(["kernel"]), help="Ask this kernel, too.")
@click.option("--explain", is_flag=True, help="How a refused program came to where it failed.")
@click.option("--log", "level", type=click.IntRange(1, 2), help="The walk, as kernels log it.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def verify(
    file: str,
    series: str,
    btf: str | None,
    against: str | None,
    explain: bool,
    level: int | None,
    form: str,
) -> int:
    """Judge the programs of FILE (.bpf.o, .bpf.c, .py) without loading them.

    The exit status is 1 if one is refused. What is not judged is refused, with these words.
    """
    from fsession.session.verdicts import verdicts

    with ExitStack() as stack:
        host = None
        if against:
            from fsession.kernel import KernelHost

            host = stack.enter_context(KernelHost())
        found = verdicts(file, series, btf, against=host, level=level or 0)
    for verdict in found:
        if form == "json":
            click.echo(json.dumps(_row(verdict), ensure_ascii=False))
        else:
            _show(verdict, explain=explain, log=bool(level))
    return OK if all(verdict.accepted for verdict in found) else FAILED


def _row(verdict: Verdict) -> dict[str, object]:
    row: dict[str, object] = {
        "program": verdict.program,
        "accepted": verdict.accepted,
        "message": verdict.message,
        "insns": verdict.insns,
        "log": verdict.log,
    }
    if verdict.kernel is not None:
        row["kernel"] = {
            "accepted": not verdict.kernel,
            "message": verdict.kernel,
            "insns": verdict.kernel_insns,
        }
    return row


def _show(verdict: Verdict, *, explain: bool, log: bool) -> None:
    if log and verdict.log:
        click.echo(verdict.log.rstrip())
    if verdict.accepted:
        click.echo(f"{verdict.program}: accepted, {verdict.insns} instructions")
    else:
        click.echo(f"{verdict.program}: refused: {verdict.message.splitlines()[-1]}")
        if verdict.source:
            click.echo(f"  {verdict.source}")
        if verdict.advice:
            click.echo(f"  {verdict.advice}")
        if explain and verdict.explanation:
            click.echo(verdict.explanation.rstrip())
    if verdict.kernel is not None:
        words = f"accepted, {verdict.kernel_insns} instructions"
        if verdict.kernel:
            words = f"refused: {verdict.kernel}"
        click.echo(f"  this kernel: {words}")
