"""``fsession vm``: a command, or a shell, under a real kernel in QEMU."""

from __future__ import annotations

import sys
from typing import Any

import click

from fsession.errors import GuestError
from fsession.guest import KERNELS, MACHINES, StderrProgress, run

__all__ = ["vm"]

_SERIES = ", ".join(series.name for series in KERNELS)


class _Pair(click.ParamType[tuple[str, str]]):
    """Two words with a separator between them: ``HOST:GUEST``, ``NAME=VALUE``."""

    def __init__(self, name: str, separator: str) -> None:
        self.name = name
        self._separator = separator

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        left, separator, right = value.partition(self._separator)
        if not left or not separator:
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
        return left, right


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--kernel",
    default="7.2",
    show_default=True,
    metavar="V|PATH",
    help=f"Series ({_SERIES}), or the path of a kernel image.",
)
@click.option(
    "--arch", type=click.Choice([item.name for item in MACHINES]), help="Default: this machine's."
)
@click.option("--cpus", default=2, show_default=True, type=click.IntRange(1, 8))
@click.option(
    "--memory",
    "memory_mib",
    default=1024,
    show_default=True,
    metavar="MIB",
    type=click.IntRange(256),
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(0, min_open=True),
    help="Give up when COMMAND takes longer than S seconds.",
)
@click.option(
    "--copy",
    "copies",
    multiple=True,
    type=_Pair("HOST:GUEST", ":"),
    metavar="HOST:GUEST",
    help="Copy a file or folder into the guest.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    type=_Pair("GUEST:HOST", ":"),
    metavar="GUEST:HOST",
    help="Bring a file or folder out of the guest at the end.",
)
@click.option(
    "--env",
    multiple=True,
    type=_Pair("NAME=VALUE", "="),
    metavar="NAME=VALUE",
    help="Set a variable in the guest.",
)
@click.option(
    "--with",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="Have a Debian package in the guest.",
)
@click.option(
    "--mirror", metavar="URL", help="Debian mirror. Default: $FSESSION_DEBIAN_MIRROR, or apt's."
)
@click.option(
    "--append", default="", metavar="WORDS", help="More words for the kernel's command line."
)
@click.option(
    "--icount",
    is_flag=True,
    help="Each instruction takes 1 ns: figures repeat exactly. One cpu, slower.",
)
@click.option("--update", is_flag=True, help="Look for newer packages on the mirror.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def vm(command: tuple[str, ...], **options: Any) -> None:
    """Run COMMAND (default: a shell) under a real Debian kernel in QEMU, with this fsession inside.

    The exit status is COMMAND's: 128 + n if signal n ended it.
    """
    for name in ("copies", "outputs", "env"):
        options[name] = dict(options[name])
    try:
        sys.exit(run(command, stdin=sys.stdin.buffer, progress=StderrProgress(), **options))
    except GuestError as error:
        for line in error.console.splitlines():
            click.echo(f"  console: {line}", err=True)
        raise
