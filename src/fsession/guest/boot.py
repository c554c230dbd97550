"""One guest, from its start to the end of its command."""

from __future__ import annotations

import io
import math
import re
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fsession.errors import GuestError
from fsession.frozen import frozen
from fsession.guest import qemu
from fsession.guest.copies import extract
from fsession.guest.relay import Lost, Relay, TimedOut, accept, listening
from fsession.guest.terminal import raw, size

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from fsession.guest.image import Image
    from fsession.guest.kernels import Machine
    from fsession.guest.progress import Progress

__all__ = ["Guest", "Streams", "boot"]

_BOOTS = 2
_CONSOLE_LINES = 12
_BEFORE_LINES = 4
_PANIC = "Kernel panic"


@frozen
class Streams:
    """Where the command's input comes from (None: nowhere) and its output goes."""

    stdin: BinaryIO | None
    stdout: BinaryIO
    stderr: BinaryIO


@frozen
class Guest:
    """All there is to know about a guest before it is booted."""

    machine: Machine
    program: str
    image: Image
    last_layer: bytes
    options: qemu.BootOptions
    timeout_s: float | None
    outputs: Mapping[str, str]
    progress: Progress
    terminal: bool
    streams: Streams

    @property
    def ports(self) -> list[int]:
        """The ports it has. Control comes last: once it is open, all are."""
        relayed = [qemu.TERMINAL] if self.terminal else [qemu.STDOUT, qemu.STDERR, qemu.STDIN]
        return [*relayed, *([qemu.OUTPUTS] if self.outputs else []), qemu.CONTROL]


def boot(guest: Guest) -> int:
    """Boot `guest` and run its command; the status. A boot that fails is tried once more."""
    with _temporary_folder() as folder:
        initrd = folder / "initrd"
        with initrd.open("wb") as stream:
            for layer in guest.image.layers:
                stream.write(layer.read_bytes())
            stream.write(guest.last_layer)
        for attempt in range(_BOOTS):
            if attempt:
                guest.progress.note("the guest did not come up: starting it again")
            with tempfile.TemporaryDirectory(dir=folder) as name:
                status = _attempt(guest, initrd, Path(name), last=attempt == _BOOTS - 1)
            if status is not None:
                return status
    raise GuestError("the guest did not come up")


def _attempt(guest: Guest, initrd: Path, folder: Path, *, last: bool) -> int | None:
    """One boot: the command's status; None if it ended on its way up and another is allowed."""
    arguments = qemu.arguments(
        guest.machine, guest.options, guest.image.kernel, initrd, folder, guest.ports
    )
    up = False
    with ExitStack() as stack:
        listeners = stack.enter_context(listening(folder, guest.ports))
        process = stack.enter_context(qemu.running([guest.program, *arguments], folder / "errors"))
        try:
            connections = {
                number: stack.enter_context(accept(listener, lambda: process.poll() is None))
                for number, listener in listeners.items()
            }
            tar = io.BytesIO()
            relay = _relay(guest, connections, tar)
            relay.wait("up", time.monotonic() + guest.machine.boot_timeout_s)
            up = True
            initrd.unlink()  # QEMU has read it: 100 MB less, whatever happens to us
            status = _command(guest, relay)
        except TimedOut:
            if not up and not last:
                return None
            raise _late(guest, up, folder) from None
        except Lost:
            if not up and not last:
                return None
            raise _lost(process, folder) from None
    missing = extract(tar, guest.outputs)
    if missing and status == 0:
        raise GuestError(f"the command left nothing at {', '.join(missing)} in the guest")
    return status


def _relay(guest: Guest, connections: dict[int, socket.socket], tar: BinaryIO) -> Relay:
    streams = guest.streams
    sinks = {
        qemu.TERMINAL: streams.stdout,
        qemu.STDOUT: streams.stdout,
        qemu.STDERR: streams.stderr,
        qemu.OUTPUTS: tar,
    }
    return Relay(
        control=connections[qemu.CONTROL],
        sinks={
            connections[number]: sink for number, sink in sinks.items() if number in connections
        },
        source=streams.stdin.fileno() if streams.stdin else None,
        source_port=connections[qemu.TERMINAL if guest.terminal else qemu.STDIN],
    )


def _command(guest: Guest, relay: Relay) -> int:
    """Let the command run to its end."""
    deadline = math.inf if guest.timeout_s is None else time.monotonic() + guest.timeout_s
    if not guest.terminal or guest.streams.stdin is None:
        relay.open_source()
        relay.say("go")
        return int(relay.wait("exit", deadline))
    with raw(guest.streams.stdin.fileno()):
        known = size(guest.streams.stdin.fileno())
        relay.open_source()
        relay.say(f"go {known[0]} {known[1]}")

        def follow_size() -> None:
            nonlocal known
            assert guest.streams.stdin is not None
            now = size(guest.streams.stdin.fileno())
            if now != known:
                known = now
                relay.say(f"size {now[0]} {now[1]}")

        return int(relay.wait("exit", deadline, follow_size))


def _late(guest: Guest, up: bool, folder: Path) -> GuestError:
    if up:
        what = f"the command did not end within {guest.timeout_s:g} s"
        hint = "give it more time with --timeout"
    else:
        what = f"the guest did not come up within {guest.machine.boot_timeout_s:g} s, twice"
        hint = "--append loglevel=7 makes the kernel say more on its console"
    return _with_console(what, folder, hint)


def _lost(process: subprocess.Popen[bytes], folder: Path) -> GuestError:
    """Why there is no guest any more: a panic, QEMU's own complaint, or a power off."""
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return _with_console("the guest closed its ports and went on", folder, "")
    console = _tail(folder / "console")
    panic = next((line for line in console if _PANIC in line), "").partition(_PANIC)[2]
    if panic:
        return _with_console(f"the guest's kernel panicked{panic}", folder, "")
    complaint = _tail(folder / "errors")
    if process.returncode:
        said = complaint[-1] if complaint else f"exit status {process.returncode}"
        return _with_console(f"QEMU ended: {said}", folder, "")
    return _with_console("the guest switched itself off before its command had ended", folder, "")


def _with_console(what: str, folder: Path, hint: str) -> GuestError:
    lines = _telling(_tail(folder / "console"))
    error = GuestError(what, "\n".join(lines))
    if hint:
        error.hint(hint)
    return error


def _telling(console: list[str]) -> list[str]:
    """The last lines of a console; if the kernel panicked, those around its words about it."""
    panic = next((number for number, line in enumerate(console) if _PANIC in line), None)
    first = max(0, len(console) - _CONSOLE_LINES if panic is None else panic - _BEFORE_LINES)
    return console[first : first + _CONSOLE_LINES]


def _tail(path: Path) -> list[str]:
    """The lines of a console, without control sequences (ECMA-48) and empty ones."""
    if not path.exists():
        return []
    text = path.read_bytes()[-65536:].decode("utf-8", "replace")
    plain = re.sub(r"\x1b(?:\[[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]|[^\[])", "", text)
    printable = ("".join(filter(str.isprintable, line)) for line in plain.splitlines())
    return [line for line in printable if line.strip()]


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that goes away also when this process is told to end."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fsession-vm-"))
        if threading.current_thread() is threading.main_thread():  # else signals are not ours
            for number in (signal.SIGTERM, signal.SIGHUP):
                stack.callback(signal.signal, number, signal.signal(number, stop))
        yield Path(folder)
