"""Errors as a user reads them, three lines at most, and the exit statuses of the command."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from fsession.errors import (
    AttachError,
    BadInputError,
    CompileError,
    InternalError,
    KernelError,
    NotFoundError,
    UnsupportedError,
    VerifierError,
)

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["FAILED", "OK", "UNSUPPORTED", "USAGE", "exit_status", "report", "warn"]

OK, FAILED, USAGE, UNSUPPORTED = 0, 1, 2, 77

LINES = 3

_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (click.ClickException, USAGE),
    (BadInputError, USAGE),
    (NotFoundError, USAGE),
    (UnsupportedError, UNSUPPORTED),
)

_NO_PRIVILEGE = "run it as root (CAP_BPF and CAP_PERFMON), or in a guest: fsession vm -- fsession …"
_NOT_EVEN_ROOT = (
    "root may not either (lockdown? a container?); try a guest: fsession vm -- fsession …"
)


def exit_status(error: BaseException) -> int:
    """What `error` ends the command with: 2 bad usage or input, 77 this host can't, 1 the rest."""
    if _is_privilege(error):
        return UNSUPPORTED
    if isinstance(error, AttachError) and not error.errno:
        return USAGE  # a name that can't be: the kernel was not even asked
    return next((status for kind, status in _STATUS if isinstance(error, kind)), FAILED)


def report(error: BaseException, *, verbose: bool = False, to: TextIO | None = None) -> None:
    """Write what failed, why, and what to do next; `verbose`: all that the kernel said, too."""
    out = to or sys.stderr
    log = error.log.rstrip() if verbose and isinstance(error, KernelError) else ""
    if log:
        out.write(log + "\n")
    lines = _compiler_lines(error) if isinstance(error, CompileError) else _lines(error)[:LINES]
    out.write("\n".join(lines) + "\n")


def _compiler_lines(error: CompileError) -> list[str]:
    """The place in the source, its line with a caret below, what to write instead."""
    notes = getattr(error, "__notes__", [])
    more = [note if note.startswith("  ") else f"  {note}" for note in notes]
    return [f"fsession: {error}", *more]


def _lines(error: BaseException) -> list[str]:
    first, *more = _message(error).splitlines() or [type(error).__name__]
    hint = _hint(error)
    more = more[: LINES - 1 - bool(hint)]
    return [f"fsession: {first}", *more, *([hint] if hint else [])]


def _message(error: BaseException) -> str:
    if isinstance(error, click.UsageError) and error.ctx and error.ctx.parent:
        return f"{error.ctx.info_name}: {error.format_message()}"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and not isinstance(error, KernelError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    return str(error)


def _hint(error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    if notes:
        return f"  {notes[0]}"
    if isinstance(error, click.UsageError) and error.ctx:
        return f"  {error.ctx.command_path} --help lists what there is"
    if _is_privilege(error):
        return f"  {_NO_PRIVILEGE if os.geteuid() else _NOT_EVEN_ROOT}"
    if _is_full_disk(error):
        return "  what was to be written is not whole: make room, or write to another disk"
    if isinstance(error, VerifierError):
        return "  -v shows the whole log of the verifier"
    if isinstance(error, UnsupportedError):
        return "  fsession features shows what this host can do"
    if isinstance(error, InternalError):
        return "  this is a bug of fsession: please report it"
    return ""


def _is_privilege(error: BaseException) -> bool:
    if not isinstance(error, KernelError) or (isinstance(error, VerifierError) and error.log):
        return False
    return error.errno in (errno.EPERM, errno.EACCES)


def _is_full_disk(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full and not isinstance(error, KernelError)


def warn(message: str) -> None:
    """A line on stderr that is no error."""
    sys.stderr.write(f"fsession: {message}\n")
