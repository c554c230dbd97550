"""What stays as it is until the next boot and takes long to ask for, kept in files.

Root's are in /run/fsession, another user's in $XDG_RUNTIME_DIR/fsession: both folders are emptied
by a boot. A file that somebody else could have written is not read, nor one of another boot or
that was cut off. Where nothing can be kept, everything works as without.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["Remembered", "runtime_folder"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LENGTH_BYTES = 8
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def runtime_folder() -> Path | None:
    """The folder of this user's files; None if there is no place for one."""
    if os.geteuid() == 0:
        return Path("/run/fsession")
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return Path(folder, "fsession") if folder else None


class Remembered:
    """Bytes by name."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._boot = _BOOT_ID.read_bytes() if _BOOT_ID.exists() else b""

    def get(self, name: str) -> bytes | None:
        """What was put there since the boot; None if nothing was."""
        if self._folder is None:
            return None
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read() if _is_ours(file.fileno()) else b""
        except OSError:
            return None
        head = len(self._boot) + _LENGTH_BYTES
        body = data[head:]
        return body if self._boot and data[:head] == self._head(body) else None

    def _head(self, body: bytes) -> bytes:
        """In front of what is kept: a file that was cut off, or is of another boot, has another."""
        return self._boot + len(body).to_bytes(_LENGTH_BYTES, "little")

    def put(self, name: str, body: bytes) -> None:
        """Keep it if that can be done; a reader sees all of it or nothing."""
        if self._folder is None or not self._boot:
            return
        draft = self._folder / f"{name}.{os.getpid()}"
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                draft.touch(0o600)
                draft.write_bytes(self._head(body) + body)
                draft.replace(self._folder / name)
            finally:
                draft.unlink(missing_ok=True)


def _is_ours(fd: int) -> bool:
    """Whether only root and this user can have written the file."""
    found = os.fstat(fd)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & _OTHERS_WRITE
