"""Moving bytes between a guest's ports and the caller's streams.

One thread and one poll loop. What comes from the guest is written at once and in full: a slow
reader slows the guest down, nothing is kept or lost.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, BinaryIO

from fsession.frozen import slotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Lost", "Relay", "TimedOut", "accept", "listening"]

_CHUNK_BYTES = 65536
_TICK_S = 0.5


class Lost(Exception):
    """The guest ended without saying so. Internal: the runner makes a GuestError of it."""


class TimedOut(Exception):
    """The guest took too long. Internal, as `Lost`."""


@contextmanager
def listening(folder: Path, numbers: Sequence[int]) -> Iterator[dict[int, socket.socket]]:
    """Unix sockets in `folder`, named by their numbers, that QEMU will connect to."""
    with ExitStack() as stack:
        listeners = {}
        for number in numbers:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / str(number)))
            listener.listen(1)
            listener.settimeout(_TICK_S)
            listeners[number] = listener
        yield listeners


def accept(listener: socket.socket, alive: Callable[[], bool]) -> socket.socket:
    """The connection QEMU makes, as long as it is `alive`."""
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if not alive():
                raise Lost from None
        else:
            connection.setblocking(False)
            return connection


@slotted
class Relay:
    """The poll loop. `sinks` take what comes from a port.

    `source` is a file descriptor whose bytes go to `source_port` once `open_source` was called;
    its end closes the port. Without a source the port is closed at once.
    """

    control: socket.socket
    sinks: Mapping[socket.socket, BinaryIO]
    source: int | None
    source_port: socket.socket
    _lines: bytes = b""
    _pending: bytearray = field(default_factory=bytearray)
    _reading: bool = False

    def open_source(self) -> None:
        """Begin to read the source."""
        if self.source is None:
            self.source_port.shutdown(socket.SHUT_WR)
        else:
            self._reading = True

    def say(self, line: str) -> None:
        """Send a line to the guest's process 1."""
        self.control.send(line.encode() + b"\n")

    def wait(self, word: str, deadline: float, tick: Callable[[], object] = lambda: None) -> str:
        """Relay until the guest says `word`; the rest of its line. Calls `tick` now and then."""
        with selectors.PollSelector() as selector:
            self._register(selector)
            while True:
                while b"\n" in self._lines:
                    said, _, rest = self._take_line().partition(" ")
                    if said == word:
                        self._drain()
                        return rest
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimedOut
                for key, events in selector.select(min(left, _TICK_S)):
                    self._serve(selector, key.fileobj, events)
                tick()

    def _register(self, selector: selectors.BaseSelector) -> None:
        for stream in (self.control, *self.sinks):
            selector.register(stream, selectors.EVENT_READ)
        if self.source is not None and self._reading:
            selector.register(self.source, selectors.EVENT_READ)

    def _serve(self, selector: selectors.BaseSelector, stream: object, events: int) -> None:
        if stream is self.control:
            self._lines += self._receive(self.control)
        elif isinstance(stream, int):
            self._read_source(selector, stream)
        elif isinstance(stream, socket.socket):
            if events & selectors.EVENT_READ:
                self._pass(stream)
            if events & selectors.EVENT_WRITE:
                self._send(selector, stream)

    def _take_line(self) -> str:
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode("utf-8", "replace").strip()

    def _receive(self, stream: socket.socket) -> bytes:
        try:
            chunk = stream.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            raise Lost from None
        if not chunk:
            raise Lost
        return chunk

    def _pass(self, stream: socket.socket) -> int:
        chunk = self._receive(stream)
        if chunk:
            self.sinks[stream].write(chunk)
            self.sinks[stream].flush()
        return len(chunk)

    def _drain(self) -> None:
        """Pass what the ports still hold: the guest has written all before its last word."""
        for stream in self.sinks:
            while self._pass(stream):
                pass

    def _read_source(self, selector: selectors.BaseSelector, source: int) -> None:
        """Read once, then wait until the guest has taken it: a port's queue is short."""
        chunk = os.read(source, _CHUNK_BYTES)
        selector.unregister(source)
        if chunk:
            self._pending += chunk
            self._watch_port(selector, selectors.EVENT_WRITE)
        elif self.source_port not in self.sinks:
            self._reading = False
            self.source_port.shutdown(socket.SHUT_WR)

    def _send(self, selector: selectors.BaseSelector, port: socket.socket) -> None:
        try:
            sent = port.send(self._pending)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            raise Lost from None
        del self._pending[:sent]
        if not self._pending and self.source is not None:
            self._watch_port(selector, 0)
            selector.register(self.source, selectors.EVENT_READ)

    def _watch_port(self, selector: selectors.BaseSelector, write: int) -> None:
        """Watch the source's port for room, besides for data if it is a terminal's."""
        events = write | (selectors.EVENT_READ if self.source_port in self.sinks else 0)
        if self.source_port in selector.get_map():
            selector.unregister(self.source_port)
        if events:
            selector.register(self.source_port, events)
