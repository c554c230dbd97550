"""A Python script or module as the command behind ``--``: it runs in this process, in its main
thread, while another thread shows what comes."""

from __future__ import annotations

import os
import re
import runpy
import signal
import sys
import threading
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

__all__ = ["Script"]

_PYTHON = re.compile(r"python[0-9.]*")
_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
_TERMINATED = 143


class Script:
    """``script.py ARG…`` or ``-m MODULE ARG…``, with the word ``python3`` in front or without.

    The same to the rest of the command line as a `fsession.cli.workload.Workload`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Raises `BadInputError` if there is no such script or module."""
        given = list(words)
        if _PYTHON.fullmatch(Path(given[0]).name):
            given = given[1:]
        self._is_module = given[:1] == ["-m"]
        self._words = given[1:] if self._is_module else given
        if self._is_module:
            sys.path.insert(0, str(Path.cwd()))
        self._check()
        self.pid = os.getpid()
        self.name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        self.status: int | None = None
        self._over = self._stopped = self._interrupted = False
        self._lock = threading.Lock()
        self._end_at, self._end = os.pipe()

    def _check(self) -> None:
        if not self._words:
            raise BadInputError("no script is given").hint("behind -- stands: script.py, -m MODULE")
        name = self._words[0]
        try:
            found = find_spec(name) is not None if self._is_module else Path(name).is_file()
        except ImportError:
            found = False
        if not found:
            what = "module" if self._is_module else "script"
            raise BadInputError(f"there is no {what} '{name}'").hint(
                "on the engine, what stands behind -- is a Python script or -m MODULE"
            )

    def fileno(self) -> int:
        """Readable when the script has ended."""
        return self._end_at

    def start(self) -> None:
        """`run_beside` has done so."""

    def run_beside(self, follow: Callable[[], bool]) -> bool:
        """Run the script, with `follow` in a thread; whether Ctrl-C ended it.

        When `follow` ends before the script, the script gets a Ctrl-C. What `follow` raises is
        raised here.
        """
        failed: list[BaseException] = []

        def beside() -> None:
            try:
                follow()
            except BaseException as error:
                failed.append(error)
            self._stop()

        thread = threading.Thread(target=beside, name="fsession")
        handlers = {signal.SIGTERM: _terminate, signal.SIGINT: signal.default_int_handler}
        before = {number: signal.signal(number, handlers[number]) for number in handlers}
        try:
            thread.start()
            self.status = self._execute()
        finally:
            os.close(self._end)
            thread.join()
            for number, handler in before.items():
                signal.signal(number, handler)
        if failed:
            raise failed[0]
        return self._interrupted

    def _stop(self) -> None:
        with self._lock:
            if not self._over:
                self._stopped = True
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _execute(self) -> int:
        """The script's exit status, as the interpreter would give it."""
        try:
            try:
                self._run()
            finally:
                with self._lock:
                    self._over = True
        except SystemExit as error:
            return _code(error)
        except KeyboardInterrupt:
            self._over = True
            self._interrupted = not self._stopped
            return 0 if self._stopped else _INTERRUPTED
        except BaseException as error:
            _tell(error, self._words[0])
            return 1
        return 0

    def _run(self) -> None:
        argv, path, out = sys.argv, list(sys.path), sys.stdout
        sys.argv = list(self._words)
        out.flush()
        sys.stdout = _own_stdout()
        try:
            if self._is_module:
                runpy.run_module(self._words[0], run_name="__main__", alter_sys=True)
            else:
                sys.path.insert(0, str(Path(self._words[0]).resolve().parent))
                runpy.run_path(self._words[0], run_name="__main__")
        finally:
            if not sys.stdout.closed:
                sys.stdout.flush()
            sys.argv, sys.path[:], sys.stdout = argv, path, out

    # What a workload offers to those who end it.

    def wait(self) -> int:
        return self.status or 0

    def ended_within(self, patience_s: float | None) -> bool:
        return self.status is not None

    def end(self) -> None:
        """It has ended when anybody can ask for that."""

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end_at)


def _own_stdout() -> TextIO:
    """With a buffer of its own, as another process would have: lines of both stay whole."""
    if not hasattr(sys.stdout, "fileno"):
        return sys.stdout
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    return open(sys.stdout.fileno(), "w", encoding=encoding, errors=errors, closefd=False)


def _terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _tell(error: BaseException, script: str) -> None:
    """As the interpreter does, without what is ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") != "__main__":
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)
