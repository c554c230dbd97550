"""The command ``fsession``: finds the subcommand, runs it, tells errors, sets the exit status.

A subcommand is imported only when it is used: what a trace needs to start is all that it pays for.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from fsession.cli.files import allow_many
from fsession.cli.options import Settings
from fsession.cli.report import exit_status, report
from fsession.errors import FsessionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main", "run"]

COMMANDS = {
    "compile": "a program in Python at each stage: IR, instructions",
    "diff": "two runs compared, function by function",
    "disasm": "machine code of a kernel function, callees by name",
    "features": "what this host can do, and which strategy sessions will use",
    "graph": "the tree of calls below a function",
    "hist": "distribution of durations, or of an expression, counted in the kernel",
    "list": "functions that can be traced; for each that can't, the reason",
    "record": "calls to a file, for replay",
    "replay": "a recording in any format, on any machine",
    "run": "programs of your own: load, attach, print what they print",
    "show": "prototype of a function, layout of a type, values of an enum",
    "top": "functions of a pattern ranked by calls, time, errors",
    "trace": "one line per call: arguments, result, duration",
    "verify": "would a kernel take these programs, and why not",
    "vm": "run a command under a real kernel in QEMU, with this fsession inside",
}
"""Name, which is also the module's and the function's, and what it is for."""

_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
_USAGE = 2


class _Commands(click.Group):
    """The table above; subcommands are found by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"fsession.cli.{cmd_name}")
        command = getattr(module, _attribute(cmd_name))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def _attribute(command: str) -> str:
    """Of the module: ``list`` is a builtin of Python, so it is ``list_`` there."""
    return "list_" if command == "list" else command


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"fsession {version('fsession')}")
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    options_metavar="",
    subcommand_metavar="COMMAND [OPTION]... [ARG]...",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version)
def cli() -> None:
    """Tracing sessions: one BPF program at the entry and the exit of kernel functions.

    \b
    fsession trace icmp_rcv -- ping -c 3 127.0.0.1
    fsession run program.bpf.c -- ls
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its status."""
    sys.exit(run(list(sys.argv[1:] if args is None else args)))


def run(words: list[str]) -> int:
    """Run the command line; its exit status. Errors are told on stderr."""
    settings = Settings()
    allow_many()
    try:
        with cli.make_context("fsession", [*words] or ["--help"], obj=settings) as context:
            status = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code if words else _USAGE
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except (click.ClickException, FsessionError, OSError) as error:
        report(error, verbose=settings.verbose)
        return exit_status(error)
    return status if isinstance(status, int) else 0


def _silence_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
