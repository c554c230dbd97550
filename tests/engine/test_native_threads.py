"""Native threads call a function while sessions come and go; FSESSION_CHANGES=100000: for long."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsession.uapi import AttachType

if TYPE_CHECKING:
    from fsession.engine import Machine

THREADS = 8
CHANGES = int(os.environ.get("FSESSION_CHANGES", "300"))
SOURCE = Path(__file__).with_name("native_threads.c")
SESSION = AttachType.TRACE_FSESSION
# numbers[0] counts entries, [1] exits, [2] entries whose cookie was not 0, [3] exits whose cookie
# is not the first argument.
COUNTING = """
    r6 = r1
    call bpf_session_cookie
    r7 = r0
    r1 = r6
    call bpf_session_is_return
    r8 = *(u64 *)(r6 +0)
    r8 += {add}
    r9 = map[fd:{fd}][0]+0
    r1 = 1
    if r0 != 0 goto back
    lock *(u64 *)(r9 +0) += r1
    r2 = *(u64 *)(r7 +0)
    *(u64 *)(r7 +0) = r8
    if r2 == 0 goto end
    lock *(u64 *)(r9 +16) += r1
    goto end
back:
    lock *(u64 *)(r9 +8) += r1
    r2 = *(u64 *)(r7 +0)
    if r2 == r8 goto end
    lock *(u64 *)(r9 +24) += r1
end:
    r0 = 0
    exit
"""


@pytest.fixture
def native(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    path = tmp_path / "native_threads.so"
    flags = ["-O2", "-fPIC", "-shared", "-pthread"]
    subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    library.calls_made.restype = library.finish.restype = ctypes.c_long
    return path, library


def code_bytes() -> int:
    """Of code in memory of no file; mappings beside each other are one."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, inode, *_ = line.split()
        if (rights, inode) == ("r-xp", "0"):
            start, end = (int(number, 16) for number in place.split("-"))
            total += end - start
    return total


def test_no_call_is_wrong_lost_or_counted_twice(native, machine: Machine, program, numbers):
    """A session that stays sees each call on both sides; those that come and go never see an exit
    without its entry; no code is left."""
    path, library = native
    machine.library(str(path), "long traced(long a, long b)")
    kept = program("r0 = 0\n exit", "traced", name="kept")
    some = [
        program(COUNTING.format(fd=numbers.fd, add=at), "traced", name=f"some_{at}")
        for at in range(1, 5)
    ]
    rng = random.Random(1)
    with machine.link(kept, SESSION):
        before = code_bytes()
        links = {}
        assert not library.start(THREADS)
        for _ in range(CHANGES):
            at = rng.randrange(len(some))
            if at in links:
                links.pop(at).close()
            else:
                links[at] = machine.link(some[at], SESSION)
        for link in links.values():
            link.close()
        assert library.finish(THREADS) == 0
        calls = library.calls_made()
        machine.graveyard.sweep()
        assert len(machine.graveyard) == 0
        assert code_bytes() == before
    assert (kept.info.run_cnt, kept.info.recursion_misses) == (2 * calls, 0)
    words = [int.from_bytes(numbers.lookup(struct.pack("=I", at)), "little") for at in range(4)]
    entries, exits, stale, mismatched = words
    print(f"{CHANGES:,} changes, {calls:,} calls, {entries:,} entries and {exits:,} exits seen")
    assert 0 <= entries - exits <= THREADS * CHANGES  # a detach hides what runs at that moment
    assert 0 < entries <= len(some) * calls
    assert (stale, mismatched) == (0, 0)
    assert sum(each.info.run_cnt for each in some) == entries + exits
