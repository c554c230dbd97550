"""Running a command in a guest: make the image, boot it, relay, bring the status back."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.guest import qemu
from fsession.guest.boot import Guest, Streams, boot
from fsession.guest.cache import locked
from fsession.guest.copies import copied
from fsession.guest.cpio import archive
from fsession.guest.image import Wanted, image, machine_for
from fsession.guest.init import init_files
from fsession.guest.progress import Progress, Quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Completed", "capture", "run"]


@frozen
class Completed:
    """How a command ended: `status` as a shell has it (128 + n for signal n), and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


def capture(command: Sequence[str], *, stdin: bytes = b"", **options: Any) -> Completed:
    """Run `command` in a guest and keep what it writes. `options` are those of `run`."""
    out, err = io.BytesIO(), io.BytesIO()
    with tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        status = run(command, stdin=source, stdout=out, stderr=err, **options)
    return Completed(status, out.getvalue(), err.getvalue())


def run(
    command: Sequence[str] = (),
    *,
    kernel: str = "7.2",
    arch: str | None = None,
    cpus: int = 2,
    memory_mib: int = 1024,
    timeout_s: float | None = None,
    copies: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    packages: Sequence[str] = (),
    mirror: str | None = None,
    append: str = "",
    icount: bool = False,
    update: bool = False,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    progress: Progress | None = None,
) -> int:
    """Run `command` under a real kernel in QEMU; its exit status, 128 + n for signal n.

    `kernel` is a series (``7.2``) or the path of an image; `arch` is ``x86_64`` or ``arm64``, the
    host's if None. `timeout_s` counts from the command's start. `copies` maps files and folders
    here to places in the guest, `outputs` places in the guest to files or folders here.
    `packages` are Debian packages to have in the guest. `icount` gives every instruction the
    same time, so that two runs measure the same. `update` looks for newer packages on the mirror.

    Without a command: a shell, interactive if `stdin` is a terminal. `stdin` None: no input.
    `stdout` and `stderr` None: those of this process.
    """
    news = progress or Quiet()
    emulated = machine_for(kernel, arch)
    program = qemu.program(emulated)
    wanted = Wanted(kernel, emulated, tuple(packages), mirror, update)
    with locked("cache.lock", lambda: news.note("waiting for another process to make a guest")):
        parts = image(wanted, news)
    terminal = not command and stdin is not None and stdin.isatty()
    files = init_files(
        command,
        env=_environment(env or {}, terminal, icount),
        outputs=tuple(outputs or ()),
        terminal=terminal,
        settle=icount,
        early_modules=parts.early_modules,
    )
    guest = Guest(
        machine=emulated,
        program=program,
        image=parts,
        last_layer=archive([*files, *copied(copies or {})]),
        options=qemu.BootOptions(cpus, memory_mib, append, icount),
        timeout_s=timeout_s,
        outputs=dict(outputs or {}),
        progress=news,
        terminal=terminal,
        streams=Streams(stdin, stdout or sys.stdout.buffer, stderr or sys.stderr.buffer),
    )
    with locked("guest.lock", lambda: news.note("waiting for another guest to end")):
        return boot(guest)


def _environment(env: Mapping[str, str], terminal: bool, icount: bool) -> dict[str, str]:
    for name in env:
        if not name.isidentifier():
            raise BadInputError(f"not a name of an environment variable: '{name}'")
    own = {"TERM": os.environ.get("TERM", "linux") if terminal else "dumb"}
    if icount:
        own["PYTHONHASHSEED"] = "0"
    return own | dict(env)
