"""The terminal a user sits at while a guest's shell has it."""

from __future__ import annotations

import fcntl
import struct
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["raw", "size"]


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the guest as it is, Ctrl-C too. The terminal is put back at the end."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int]:
    """Rows and columns (``struct winsize``); 24 by 80 if the terminal does not say."""
    answer = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    rows, columns, _, _ = struct.unpack("4H", answer)
    return rows or 24, columns or 80
