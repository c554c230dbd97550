"""The folder where guests' files are kept, and the locks that share it between processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["cache_folder", "locked", "prune", "write_atomically"]

_DAY_S = 24 * 60 * 60


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/fsession``, or ``~/.cache/fsession``. It is safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "fsession"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold the lock file `name` of the cache; call `waiting` once if another process has it.

    The kernel drops the lock when the holder dies, however it dies.
    """
    with (cache_folder() / name).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that others see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def prune(folder: Path, used: Iterable[Path]) -> None:
    """Mark the files in `used` as used now; delete those of `folder` unused for two weeks.

    Layers of this package are made anew with every change of it, and are kept for a day.
    """
    now = time.time()
    for path in used:
        if path.parent == folder:
            os.utime(path)
    for path in folder.glob("*.cpio"):
        age_s = now - path.stat().st_mtime
        if age_s > (_DAY_S if path.name.startswith("package-") else 14 * _DAY_S):
            path.unlink(missing_ok=True)
