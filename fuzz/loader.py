"""A guest that says of each program that it is sent whether its kernel takes it: `exchange`.

The other end is loader.c, compiled here for the guest. Both work at the same time: programs are
made and judged here while the guest loads those before them.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO

from fuzz_verify import MAPS

from fsession.errors import GuestError
from fsession.isa.insn import encode, slot_count
from fsession.kernel.verifier_log import telling_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsession.verify import Subject

__all__ = ["FIRST_FD", "exchange", "packed"]

FIRST_FD = 101
_SOURCE = Path(__file__).with_suffix(".c")
_MAP, _ROW, _VERDICT = struct.Struct("<IIIII"), struct.Struct("<IIIII"), struct.Struct("<II")


def packed(subject: Subject, *, expected: bool) -> bytes:
    """A program as loader.c reads it. The log is read where the kernel refuses what is expected."""
    attach, target = subject.attach_type or 0, subject.target or 0
    head = _ROW.pack(subject.type, attach, target, slot_count(subject.insns), expected)
    return head + encode(subject.insns)


def exchange(rows: Iterable[bytes], kernel: str, timeout_s: float) -> Iterator[str]:
    """For each of `rows` "" where the kernel takes it, else why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fsession", "vm", "--kernel", kernel, "--arch", "x86_64"]
        command += ["--cpus", "1", "--timeout", str(timeout_s)]
        command += ["--copy", f"{_built(Path(folder))}:/root/loader", "--", "/root/loader"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1 << 16
        ) as guest:
            assert guest.stdin is not None
            assert guest.stdout is not None
            feeder = Thread(target=_feed, args=(guest.stdin, rows), daemon=True)
            feeder.start()
            yield from _answers(guest.stdout)
            feeder.join()
    if guest.returncode:
        raise GuestError(f"loading in Linux {kernel} ended with {guest.returncode}")


def _built(folder: Path) -> Path:
    made = folder / "loader"
    subprocess.run(["cc", "-O2", "-Wall", "-static", "-o", made, _SOURCE], check=True)
    return made


def _feed(pipe: BinaryIO, rows: Iterable[bytes]) -> None:
    maps = (
        _MAP.pack(spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
        for spec in MAPS
    )
    with pipe:
        pipe.write(struct.pack("<I", len(MAPS)) + b"".join(maps))
        for row in rows:
            pipe.write(row)


def _answers(pipe: BinaryIO) -> Iterator[str]:
    while head := pipe.read(_VERDICT.size):
        taken, length = _VERDICT.unpack(head)
        log = pipe.read(length).decode(errors="replace").rstrip("\0")
        yield "" if taken else telling_lines(log)[0].replace("\n", " ")
