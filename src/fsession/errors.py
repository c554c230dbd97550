"""Every error this package raises on purpose.

The tree::

    FsessionError
    ├── BadInputError(ValueError)      bytes, text or arguments from outside that make no sense
    │   └── CompileError               a program or expression in source form, with its place
    ├── NotFoundError(LookupError)     a name that is not there: type, function, map, program
    ├── KernelError(OSError)           a system call failed; which one, errno, the kernel's words
    │   └── VerifierError              BPF_PROG_LOAD was refused; the verifier's log
    ├── UnsupportedError               this host can't; what is missing and since when it exists
    ├── AttachError                    a target that can't be attached, with the reason
    ├── GuestError                     a QEMU guest did not come up or was lost
    └── InternalError                  a bug of ours; please report it

An error says what failed, why, and what to do next: the first two are the message, the third
is a note (`BaseException.add_note`), so that ``str(error)`` stays one line.
"""

from __future__ import annotations

import errno as _errno
import os

__all__ = [
    "AttachError",
    "BadInputError",
    "CompileError",
    "FsessionError",
    "GuestError",
    "InternalError",
    "KernelError",
    "NotFoundError",
    "UnsupportedError",
    "VerifierError",
    "errno_name",
]

# ENOTSUPP is the kernel's own (include/linux/errno.h); 95 has two names in libc, one in the kernel.
_KERNEL_ERRNOS = {524: "ENOTSUPP", 512: "ERESTARTSYS", 95: "EOPNOTSUPP"}


def errno_name(number: int) -> str:
    """The symbol of an errno: ``EINVAL`` for 22, ``ENOTSUPP`` for the kernel's own 524."""
    return _KERNEL_ERRNOS.get(number) or _errno.errorcode.get(number) or f"errno {number}"


class FsessionError(Exception):
    """Base of all errors of this package."""

    def hint(self, text: str) -> FsessionError:
        """Add what to do next and return the error itself, so that it can be raised at once."""
        self.add_note(text)
        return self


class BadInputError(FsessionError, ValueError):
    """Input from outside is malformed. `what` names the thing, `offset` its place in bytes."""

    def __init__(self, what: str, offset: int | None = None) -> None:
        super().__init__(what if offset is None else f"{what} (at byte {offset:#x})")
        self.what = what
        self.offset = offset


class CompileError(BadInputError):
    """A program in source form can't be compiled: ``file:line:column: message``."""

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.file = file
        self.line = line
        self.column = column


class NotFoundError(FsessionError, LookupError):
    """No `kind` (type, function, map, …) has the name `name`; `near` are names like it."""

    def __init__(self, kind: str, name: str, near: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"no {kind} named '{name}'{hint}")
        self.kind = kind
        self.name = name
        self.near = near


class KernelError(FsessionError, OSError):
    """A system call failed. `call` says which one and for what, `errno` is positive.

    `log` is what the kernel wrote about it, if it wrote anything (``struct bpf_common_attr``
    on newer kernels, the verifier's or the BTF checker's log buffer otherwise).
    """

    errno: int

    def __init__(self, call: str, errno: int, log: str = "") -> None:
        text = os.strerror(errno) if errno in _errno.errorcode else ""
        words = f"{call}: {errno_name(errno)} ({text})" if text else f"{call}: {errno_name(errno)}"
        last = log.strip().splitlines()[-1:] if log else []
        FsessionError.__init__(self, ": ".join([words, *last]))
        self.call = call
        self.errno = errno
        self.log = log

    def __str__(self) -> str:
        return str(self.args[0])


class VerifierError(KernelError):
    """The kernel refused to load `program`. The message has the log's telling lines.

    `summary` is one line; `lines` are the telling ones, with the source line they belong to;
    `log` is everything the verifier wrote.
    """

    def __init__(
        self,
        program: str,
        errno: int,
        log: str = "",
        summary: str = "",
        lines: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"load program '{program}'", errno)
        reason = summary or (log.strip().splitlines() or ["the kernel gave no log"])[-1]
        message = f"program '{program}' was refused: {reason} ({errno_name(errno)})"
        self.args = ("\n".join([message, *(f"  {line}" for line in lines)]),)
        self.program = program
        self.log = log
        self.summary = reason
        self.lines = lines


class UnsupportedError(FsessionError):
    """This host lacks `feature`; `since` says where it is to be had (``Linux 7.0``)."""

    def __init__(self, feature: str, since: str = "") -> None:
        super().__init__(f"{feature} is not supported here" + (f" ({since})" if since else ""))
        self.feature = feature
        self.since = since


class AttachError(FsessionError):
    """`target` can't be attached, and why. `errno` is the kernel's, 0 if it was not asked."""

    def __init__(self, target: str, reason: str, errno: int = 0) -> None:
        super().__init__(f"can't attach to '{target}': {reason}")
        self.target = target
        self.reason = reason
        self.errno = errno


class GuestError(FsessionError):
    """A guest could not be made, did not boot, or was lost. `console` has its last lines."""

    def __init__(self, what: str, console: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.console = console


class InternalError(FsessionError):
    """A bug in this package."""
