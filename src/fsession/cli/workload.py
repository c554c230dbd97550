"""The command behind ``--``: its process exists before anything is attached, it runs after.

The process is made early and waits on a pipe, so that its id is known and nothing of its making
is traced. It becomes the command when `Workload.start` is called.
"""

from __future__ import annotations

import os
import select
import signal
import stat
from typing import TYPE_CHECKING, NoReturn

from fsession.cli.files import as_before
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GRACE_S", "Workload"]

_SIGNALLED = 128  # as shells say it: 128 + the signal's number
_CANNOT_EXECUTE = 126
GRACE_S = 2.0
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)


class Workload:
    """A context manager: a process that is still there at the end is ended."""

    def __init__(self, words: Sequence[str]) -> None:
        """Raises `BadInputError` if there is no such command."""
        self.words = tuple(words)
        self._program = _find(words[0])
        if self._program is None:
            error = BadInputError(f"there is no command '{words[0]}'")
            raise error.hint(
                "what stands behind -- is a program and its arguments, no shell's line"
            )
        self.status: int | None = None
        wait_at, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            _become(wait_at, self._program, self.words)
        os.close(wait_at)
        self._pidfd = os.pidfd_open(self.pid)

    @property
    def name(self) -> str:
        """As the kernel will call it: the program's name, cut at 15 bytes."""
        return os.path.basename(self.words[0])[:15]  # noqa: PTH119 -- a Path for that costs an import

    def fileno(self) -> int:
        """Readable when the process has ended."""
        return self._pidfd

    def start(self) -> None:
        os.write(self._go, b"!")

    def wait(self) -> int:
        """Wait for the end; the exit status as a shell would give it."""
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else _SIGNALLED - code
        return self.status

    def end(self) -> None:
        """Ask the process to end and, if it does not within 2 seconds, end it."""
        for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
            if self.ended_within(0):
                break
            signal.pidfd_send_signal(self._pidfd, number)
            self.ended_within(patience_s)
        self.wait()

    def ended_within(self, patience_s: float | None) -> bool:
        """Whether the process ends in that time; None: however long it takes."""
        if self.status is not None:
            return True
        waiter = select.poll()
        waiter.register(self._pidfd, select.POLLIN)
        return bool(waiter.poll(None if patience_s is None else patience_s * 1000))

    def __enter__(self) -> Workload:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._go)
        if self.status is None:
            self.end()
        os.close(self._pidfd)


def _find(command: str) -> str | None:
    """As a shell finds it: `shutil.which`, whose import costs more than all of this module."""
    folders = [""] if "/" in command else os.get_exec_path()
    paths = (f"{folder}/{command}" if folder else command for folder in folders)
    return next((path for path in paths if _is_program(path)), None)


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116


def _become(wait_at: int, program: str, words: tuple[str, ...]) -> NoReturn:
    """In the child: wait for the word, then be the command. The parent's end ends us too."""
    try:
        for number in _DEFAULT_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        as_before()
        if os.read(wait_at, 1):
            os.execv(program, words)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        os.write(2, f"fsession: {program}: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_EXECUTE)
